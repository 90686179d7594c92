"""What each of several encoders reads: layers of the study's models as features, feature spaces, maps or embeddings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuro._files import fingerprint
from neuro.errors import StudyError
from neuro.features.store import Features
from neuro.study.config import alpha_grid
from neuro.study.encode_config import WHERE, EncodeConfig, check_encoders, options_of
from neuro.study.evaluate import column_scale

Specs = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Inputs:
    """Features of the images of one subject, as one encoder reads them.

    Parameters
    ----------
    data : dict name -> array (n_images, n_features) or (n_images, n_channels, height, width)
        Feature spaces, or layers.
    reads : str
        As in :class:`neuro.study.encode_config.Kind`.
    """

    data: Mapping[str, np.ndarray]
    reads: str

    def without(self, name: str) -> Inputs:
        """Return the inputs that lack one feature space."""
        return dataclasses.replace(self, data={k: v for k, v in self.data.items() if k != name})

    def scaled_by(self, train: np.ndarray) -> Callable[[np.ndarray], Any]:
        """Return a function from rows to X; columns of features are z-scored with the rows ``train``.

        Encoders of maps and of embeddings scale for themselves.
        """
        first = next(iter(self.data.values()))
        if self.reads == "maps":
            return lambda rows: first[rows] if len(self.data) == 1 else {k: v[rows] for k, v in self.data.items()}
        if self.reads == "embedding":
            return lambda rows: first[rows]
        scales = {name: column_scale(values[train]) for name, values in self.data.items()}

        def scaled(rows: np.ndarray) -> Any:
            parts = {k: (v[rows] - scales[k][0]) / scales[k][1] for k, v in self.data.items()}
            return parts if self.reads == "bands" else np.concatenate(list(parts.values()), axis=1)

        return scaled


def sources_of(entry: EncodeConfig, layers: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, str]]:
    """Return name of a feature space or layer -> (model, layer), for an entry that was checked."""
    if entry.model is None:
        return {name: (str(model), str(layer)) for name, (model, layer) in entry.bands.items()}
    return {layer: (entry.model, layer) for layer in entry.layers_of(entry.model) or layers[entry.model]}


def read_inputs(entry: EncodeConfig, features: Mapping[str, Features], ids: np.ndarray) -> Inputs:
    """Read what an encoder needs of these images."""
    where = sources_of(entry, {model: list(f.layers) for model, f in features.items()})
    if entry.about.reads == "maps":
        arrays = {name: _maps(features[model].maps(layer, ids)) for name, (model, layer) in where.items()}
    else:
        arrays = {name: features[model].rows(layer, ids) for name, (model, layer) in where.items()}
    return Inputs(arrays, entry.about.reads)


def describe_inputs(entry: EncodeConfig, layers: Mapping[str, Sequence[str]]) -> str:
    """Return what an encoder reads, in words."""
    where = sources_of(entry, layers)
    if entry.model is not None:
        return f"{entry.model} {', '.join(where)}"
    return " + ".join(f"{model} {layer}" for model, layer in where.values())


def check_inputs(
    entries: Sequence[EncodeConfig], specs: Mapping[str, Specs], path: Callable[[str], Path], where: str = WHERE
) -> None:
    """Refuse encoders that cannot read what they ask for, before anything is computed.

    Parameters
    ----------
    entries : list of EncodeConfig
    specs : dict model -> dict layer -> {"shape", "spec"}
        As :meth:`neuro.features.pipeline.FeatureSource.layer_specs` returns them.
    path : function from a path of the study file to an absolute one
    where : str
        As for :func:`neuro.study.encode_config.check_encoders`.
    """
    check_encoders(entries, {model: list(layers) for model, layers in specs.items()}, where)
    for i, entry in enumerate(entries):
        here = where.format(i=i, name=entry.name)
        try:
            encoder = make_estimator(entry, path=path)
        except StudyError:
            raise
        except (TypeError, ValueError, OSError) as error:
            raise StudyError(f"{here}: {error}") from error
        for model, layer in sources_of(entry, specs).values():
            shape, spec = specs[model][layer]["shape"], specs[model][layer].get("spec") or {}
            if entry.about.reads == "maps":
                problem = _lacks_places(shape, spec)
                if problem:
                    raise StudyError(
                        f"{here}: kind {entry.kind!r} reads places, but layer {layer!r} of {model!r} {problem}"
                    )
            if entry.about.reads == "embedding":
                problem = _unfit(entry, encoder._network().config, math.prod(shape))
                if problem:
                    raise StudyError(f"{here}: layer {layer!r} of {model!r}: {problem}")


def _unfit(entry: EncodeConfig, network: Any, width: int) -> str:
    """Say why an in-context network cannot read embeddings of this width or so short contexts; "" if it can."""
    if width != network.n_features:
        return (
            f"the network reads embeddings of {network.n_features} numbers, got {width:,}. Name the layer that it was "
            "trained with."
        )
    if entry.curve and min(entry.curve) < network.min_context:
        return (
            f"curve asks for {min(entry.curve)} images, but the network was trained with at least "
            f"{network.min_context}."
        )
    return ""


def _lacks_places(shape: Sequence[int], spec: Mapping[str, Any]) -> str:
    """Say why features of this shape are no maps; "" if they are."""
    remedy = "Give a model pool = 'spatial:7' and no project (layerwise = false keeps it out of the layer profiles)."
    if spec.get("project") is not None:
        return f"is projected to {math.prod(shape):,} numbers, which mixes places. {remedy}"
    pool = str(spec.get("pool"))
    if pool.startswith("spatial") and len(shape) == 3:
        return "" if shape[1] * shape[2] > 1 else f"is a single place ({tuple(shape)}). {remedy}"
    if pool == "tokens" and len(shape) == 2 and math.isqrt(shape[0]) ** 2 == shape[0] > 1:
        return ""
    return f"has features of shape {tuple(shape)} (pool {spec.get('pool')!r}), which are no grid of places. {remedy}"


def _maps(values: np.ndarray) -> np.ndarray:
    """Return (n, channels, height, width) of maps, or of the square that tokens (n, T, C) make."""
    if values.ndim == 4:
        return values
    side = math.isqrt(values.shape[1])
    return np.ascontiguousarray(values.transpose(0, 2, 1)).reshape(len(values), -1, side, side)


def make_estimator(
    entry: EncodeConfig,
    *,
    seed: int = 0,
    rois: Mapping[str, np.ndarray] | None = None,
    hemispheres: np.ndarray | None = None,
    z_scored: bool = True,
    path: Callable[[str], Path] = Path,
    names: Sequence[str] | None = None,
) -> Any:
    """Return the unfitted encoder of an entry.

    Parameters
    ----------
    entry : EncodeConfig
    seed : int
        Of its random parts.
    rois : dict name -> mask (n_voxels,), optional
        For ``queries = "rois"``; without, all voxels share one query.
    hemispheres : array of "L" and "R" (n_voxels,), optional
    z_scored : bool
        Whether responses are in units of z-scores; if not, an in-context network standardises them.
    path : function from a path of the study file to an absolute one
    names : list of str, optional
        The feature spaces that are left, if not all.
    """
    import neuro.encoders

    options = dict(entry.options)
    for name in ("kernels", "kernel_params"):
        if names is not None and entry.kind == "multiple-kernel" and isinstance(options.get(name), Mapping):
            options[name] = {k: v for k, v in options[name].items() if k in names}
    if "alphas" in options:
        options["alphas"] = alpha_grid(options["alphas"])
    if isinstance(options.get("fields"), Mapping):
        options["fields"] = neuro.encoders.receptive_field_grid(options.get("extent", 2.0), **options["fields"])
    if entry.kind in ("attention", "factorised"):
        asked = options.get("queries", "rois" if entry.kind == "attention" else "voxels")
        options["queries"] = _queries(asked, rois, hemispheres)
    if entry.kind == "in-context":
        return load_in_context(entry, path, {"standardize": not z_scored, **options, "random_state": seed})
    if "scoring" in options_of(entry.kind):
        options.setdefault("scoring", "r2")  # as for the layers of a study
    return getattr(neuro.encoders, entry.about.estimator)(**options, random_state=seed)


def _queries(asked: str, rois: Mapping[str, np.ndarray] | None, hemispheres: np.ndarray | None) -> Any:
    if asked == "rois":
        return dict(rois) if rois else "one"
    if asked == "hemispheres" and hemispheres is not None:
        return {side: hemispheres == side for side in ("L", "R") if (hemispheres == side).any()}
    return asked


def load_in_context(entry: EncodeConfig, path: Callable[[str], Path], options: Mapping[str, Any]) -> Any:
    """Return an in-context encoder over the network that an entry names.

    Raises
    ------
    StudyError
        If "phantom" is asked for and no such network ships.
    DataNotDownloaded
        If there is no network in the folder.
    """
    from neuro.encoders import InContextEncoder

    settings = {"normalize": True, **options}
    if entry.network != "phantom":
        return InContextEncoder.load(path(str(entry.network)), **settings)
    try:
        from neuro.encoders.in_context import phantom_network
    except ImportError:
        raise StudyError(
            "this version of neuro ships no in-context network of the phantom: give network = the folder that "
            "train_in_context wrote."
        ) from None
    return phantom_network(**settings)


def network_key(encoder: Any) -> str | None:
    """Return a fingerprint of an in-context encoder's network, None for others."""
    if not hasattr(encoder, "context_attention"):
        return None
    state = encoder._network().state_dict()
    return fingerprint({name: value.detach().cpu().numpy() for name, value in state.items()})
