"""From stimuli and responses to a fitted estimator, and the scaling of features that it was fitted with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone

from neuro.data import Responses, Stimuli, Voxels
from neuro.encoders._encoder_readout import as_tokens, is_spatial, only_layer, scaled
from neuro.encoders.in_context import InContextEncoder
from neuro.errors import NoRepeats, ShapeMismatch
from neuro.features.extractor import Extractor
from neuro.features.pipeline import FeatureSource, as_stimuli
from neuro.linear._arrays import array_of
from neuro.linear.ridge import RidgeCV


class Fitted(NamedTuple):
    """An estimator, the layers it was fitted to, and layer -> (mean, scale)."""

    estimator: Any
    layer: Any
    scaler: dict[str, tuple[torch.Tensor, torch.Tensor]] | None


def fit_estimator(
    stimuli: Any,
    responses: Any,
    extractor: FeatureSource,
    layer: Any,
    estimator: Any,
    standardize: bool | None,
    groups: Any,
    progress: bool,
) -> Fitted:
    """Extract features, standardise them over the rows of the fit, and fit a copy of the estimator."""
    stimuli = as_stimuli(stimuli)
    estimator = RidgeCV() if estimator is None else clone(estimator)
    named = _named(only_layer(extractor) if layer is None else layer)
    ids, rows, Y = _rows_of(stimuli, responses)
    found = extractor.extract(stimuli, layers=list(dict.fromkeys(named.values())), ids=ids, progress=progress)
    flat = {of: torch.from_numpy(np.asarray(found[of][:], dtype=np.float32)[rows]) for of in named.values()}
    if standardize is None:
        standardize = not is_spatial(estimator) and not isinstance(estimator, InContextEncoder)
    scaler = {of: moments(x) for of, x in flat.items()} if standardize else {}
    X = {name: scaled(flat, scaler)[of] for name, of in named.items()}
    keywords = {}
    if "groups" in inspect.signature(estimator.fit).parameters:
        keywords["groups"] = groups
        if groups is None and not isinstance(responses, Responses):
            keywords["groups"] = _same_contents(stimuli)
    bands = estimator.get_params().get("bands", ...) is None
    apart = isinstance(layer, Mapping) or len(named) > 1
    if is_spatial(estimator):
        given: Any = {name: _spatial(extractor, of, X[name]) for name, of in named.items()}
        given = given if apart else next(iter(given.values()))
    elif bands and apart:
        given = {name: x.numpy() for name, x in X.items()}
    else:
        given, apart = torch.cat(list(X.values()), 1).numpy(), False
    estimator.fit(given, Y, **keywords)
    return Fitted(estimator, named if apart else list(named.values()), scaler or None)


def moments(X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of every column; 1 for the deviation of a constant one."""
    mean, scale = X.double().mean(0), X.double().std(0, correction=0)
    return mean.float(), torch.where(scale <= 1e-6 * mean.abs(), 1.0, scale).float()


def ceiling_of(responses: Responses) -> np.ndarray | None:
    """Return the noise ceiling of responses, if their repeats tell it."""
    try:
        return responses.noise_ceiling()
    except (NoRepeats, ShapeMismatch):
        return None


def as_voxels(voxels: Any, n: int) -> Voxels:
    """Return what is known of ``n`` responses: ``Voxels``, or a table of ids."""
    if voxels is None:
        return Voxels(n)
    if not isinstance(voxels, Voxels):
        voxels = Voxels(pd.DataFrame({"voxel": np.asarray(array_of(voxels))}))
    if len(voxels) != n:
        raise ShapeMismatch(f"voxels must describe the estimator's {n:,} responses, got {len(voxels):,}.")
    return voxels


def _named(layer: Any) -> dict[str, str]:
    if isinstance(layer, Mapping):
        return {str(k): str(v) for k, v in layer.items()}
    return {str(one): str(one) for one in ([layer] if isinstance(layer, str) else layer)}


def _rows_of(stimuli: Stimuli, responses: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    """Return ids of the stimuli that are needed, the row among them of every response, and the responses."""
    if isinstance(responses, Responses):
        ids, rows = np.unique(responses.stimulus, return_inverse=True)
        return ids, rows.reshape(-1), responses
    Y = np.asarray(array_of(responses))
    if len(Y) != len(stimuli):
        raise ShapeMismatch(
            f"responses must have one row per stimulus, {len(stimuli):,}, got {len(Y):,}. Repeats need Responses, "
            "which say what was shown in every trial."
        )
    return stimuli.ids, np.arange(len(Y)), Y


def _same_contents(stimuli: Stimuli) -> np.ndarray | None:
    """Return codes of the stimuli's contents, if some are the same."""
    codes = np.unique(stimuli.hashes(), return_inverse=True)[1].reshape(-1)
    return codes if codes.max() + 1 < len(codes) else None


def _spatial(extractor: FeatureSource, layer: str, x: torch.Tensor) -> np.ndarray:
    shape = tuple(extractor.layer_specs([layer])[layer]["shape"])
    info = extractor.layers.info(layer) if isinstance(extractor, Extractor) else None
    special = info.special if info is not None and len(shape) == 2 else ()
    return as_tokens(x, shape, special).numpy()
