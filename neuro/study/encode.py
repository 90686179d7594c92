"""One step of a study: one layer of one model against one subject."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuro._files import read_json, write_json
from neuro.study.cache import StepCache
from neuro.study.config import StudyConfig
from neuro.study.evaluate import evaluate
from neuro.study.features import FeatureSet
from neuro.study.prepare import Prepared
from neuro.study.summary import layer_rows

# Raised when this step computes something else than before from the same settings.
VERSION = 1


def encode_layer(
    config: StudyConfig,
    cache: StepCache,
    subject: Prepared,
    features: FeatureSet,
    layer: str,
    model: str,
    shuffled: bool = False,
) -> tuple[Mapping[str, Any], str]:
    """Fit, score and summarise; from the cache where it stands.

    Parameters
    ----------
    config, cache
    subject : Prepared
    features : FeatureSet
    layer : str
    model : str
        Name in the results.
    shuffled : bool
        Pair responses with the features of other images: the score to expect from nothing.

    Returns
    -------
    dict with ``rows`` (of the tidy table), ``r``, ``alpha`` (n_voxels,) and, for features with places, ``prf``
    (3, n_voxels): x, y, size in degrees
    key : str
    """
    ev = config.evaluation
    depends = {
        "version": VERSION,
        "responses": subject.key,
        "features": features.fingerprint,
        "layer": layer,
        "encoder": [config.encoder.kind, config.encoder.alphas, config.encoder.cv],
        "summary": [ev.n_bootstraps, ev.n_permutations, ev.ceiling_floor],
        "rois": {name: mask for name, mask in subject.rois.items()},
        "seed": config.seed,
        "shuffled": shuffled,
    }

    def work(target: Path) -> None:
        design = subject.design
        X = features.rows(layer, design.stimulus)
        if shuffled:
            X = X[np.random.default_rng(config.seed).permutation(len(X))]
        found = evaluate(X, design, config.encoder, config.seed)
        rows = layer_rows(config, subject, model, layer, found)
        write_json(target / "rows.json", rows)
        for name in ("r", "alpha"):
            np.save(target / f"{name}.npy", np.asarray(found[name], np.float32), allow_pickle=False)
        fields = features.receptive_fields(layer, found["encoder"])
        if fields is not None:
            np.save(target / "prf.npy", fields, allow_pickle=False)

    folder, key = cache.run("encode", f"encode     {subject.name}  {model}  {layer}", depends, work)
    out = {p.stem: np.load(p, allow_pickle=False) for p in folder.glob("*.npy")}
    return {**out, "rows": read_json(folder / "rows.json")}, key
