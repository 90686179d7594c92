"""Features of a study: one store per model and collection of stimuli, filled once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuro._files import fingerprint
from neuro.data import Stimuli
from neuro.features.pipeline import FeatureSource
from neuro.features.sources import is_control, open_source
from neuro.features.store import Features, FeatureStore
from neuro.study.cache import StepCache
from neuro.study.config import ModelConfig, StudyConfig


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of one model for one collection of stimuli.

    Parameters
    ----------
    model : ModelConfig
    source : FeatureSource
    features : Features
        Lazily read rows.
    layers : tuple of str
        In order of depth.
    fingerprint : str
    """

    model: ModelConfig
    source: FeatureSource
    features: Features
    layers: tuple[str, ...]
    fingerprint: str

    def rows(self, layer: str, ids: np.ndarray) -> np.ndarray:
        """Return float32 (n_ids, n_features)."""
        return self.features.rows(layer, ids)

    def receptive_fields(self, layer: str, encoder: Any) -> np.ndarray | None:
        """Return x, y, size (degrees) of each voxel from its weights, (3, n_voxels); None for features without places.

        Weights are those of z-scored features, so their squares weigh places by how much they contribute.
        """
        positions = getattr(self.source, "positions", None)
        if positions is None or len(positions) != encoder.n_features_in_:
            return None
        from neuro.encoders import receptive_field

        coef = encoder.coef_
        places, at = np.unique(positions[["x", "y"]].to_numpy(float), axis=0, return_inverse=True)
        importance = np.zeros((len(coef), len(places)), np.float32)
        np.add.at(importance.T, at.ravel(), (coef.T**2).astype(np.float32))
        return np.stack(receptive_field(importance, places)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class OpenModel:
    """A model of the study, opened, with the shapes and settings of the layers that the study names."""

    model: ModelConfig
    source: FeatureSource
    specs: dict[str, dict[str, Any]]


def open_model(config: StudyConfig, model: ModelConfig) -> OpenModel:
    """Open a model and look its layers up; nothing is computed."""
    source = _open(config, model)
    return OpenModel(model, source, source.layer_specs(None if model.layers == "all" else list(model.layers)))


def make_features(opened: OpenModel, stimuli: Stimuli, root: Path, cache: StepCache) -> FeatureSet:
    """Compute what the store of an open model lacks, and return the rows.

    Stores live in ``root/<model>-<fingerprint>``, so changed settings or weights open another one.
    """
    model, source, specs = opened.model, opened.source, opened.specs
    collection = stimuli.source_token() or stimuli.fingerprint()
    key = fingerprint({"identity": source.identity(), "layers": specs, "stimuli": collection})
    folder = root / f"{re.sub(r'[^A-Za-z0-9]+', '-', model.name).strip('-')}-{key[:10]}"
    label = f"features   {model.name}  ({len(specs)} layers, {len(stimuli):,} images)"
    if _complete(folder, stimuli, specs):
        cache.cached.append(label)
        cache.say(f"cached    {label}")
    else:
        import time

        start = time.perf_counter()
        source.extract(stimuli, store=folder, layers=list(specs), on_change="recompute", progress=False)
        cache.computed.append(label)
        cache.seconds[label] = time.perf_counter() - start
        cache.say(f"computed  {label}  ({cache.seconds[label]:.1f} s)")
    features = FeatureStore.open(folder).select(stimuli.ids)
    return FeatureSet(model, source, features, tuple(specs), key)


def describe_model(model: ModelConfig, sets: Sequence[FeatureSet]) -> dict[str, Any]:
    """Return what a report says of a model."""
    network = getattr(sets[0].source, "network", None)
    kind = "control" if model.control or is_control(model.model) else "untrained"
    if kind != "control" and network is not None and network.trained:
        kind = "pretrained"
    preprocess = getattr(sets[0].source, "preprocess", "")
    return {
        "name": model.name,
        "kind": kind,
        "layers": list(sets[0].layers),
        "model": model.model,
        "fingerprint": sets[0].fingerprint,
        "preprocessing": str(preprocess),
        "pool": str(model.pool),
        "projection": model.project,
    }


def _open(config: StudyConfig, model: ModelConfig) -> FeatureSource:
    options = dict(model.options)
    if is_control(model.model):
        return open_source(model.model, **options)
    for name in ("mean", "std", "interpolation", "crop_pct"):
        if name in options:
            options.setdefault("preprocess", {})
            options["preprocess"] = {**options["preprocess"], name: options.pop(name)}
    pretrained = model.pretrained
    if isinstance(pretrained, str) and config.path(pretrained).exists():
        pretrained = str(config.path(pretrained))
    if pretrained is not None:
        options["pretrained"] = pretrained
    if model.pool is not None:
        options["pool"] = model.pool
    if model.project is not None:
        options["project"] = model.project
    options.setdefault("seed", config.seed)
    return open_source(model.model, **options)


def _complete(folder: Path, stimuli: Stimuli, specs: dict[str, Any]) -> bool:
    if not (folder / "manifest.json").is_file():
        return False
    store = FeatureStore.open(folder)
    return all(k in store.layers and np.isin(stimuli.ids, store.finished(k)).all() for k in specs)
