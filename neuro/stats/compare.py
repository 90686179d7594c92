"""Is one model better than another? A paired test over images; folds and voxels are not independent of each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro.stats.bootstrap import Interval, _mean, bootstrap_r, bootstrap_weights, percentile_interval
from neuro.stats.metrics import match


@dataclass(frozen=True, eq=False)
class Comparison:
    """Difference of mean r between two models in one region.

    Parameters
    ----------
    a, b : float
        Mean r of each model.
    difference : Interval
        a - b, with its bootstrap interval over images.
    p : float
        Two-sided: twice the share of bootstrap differences on the other side of 0, by (1 + k) / (1 + n).
    """

    a: float
    b: float
    difference: Interval
    p: float


def compare_models(
    Y: Any,
    Y_hat_a: Any,
    Y_hat_b: Any,
    rois: Mapping[str, np.ndarray] | None = None,
    n_bootstraps: int = 1000,
    groups: Any = None,
    level: float = 0.95,
    seed: Any = 0,
) -> dict[str, Comparison]:
    """Compare two models' predictions of the same responses, region by region.

    Parameters
    ----------
    Y, Y_hat_a, Y_hat_b : arrays (n_images, n_voxels)
    rois : dict name -> mask (n_voxels,), optional
        By default one region "all".
    n_bootstraps, groups, seed
        As in :func:`bootstrap_weights`; both models see the same samples.
    level : float

    Returns
    -------
    dict name -> Comparison
    """
    Y, Y_hat_a = match(Y, Y_hat_a)
    Y, Y_hat_b = match(Y, Y_hat_b)
    weights = bootstrap_weights(len(Y), n_bootstraps, groups, seed)
    whole = np.ones((1, len(Y)), np.float32)
    rois = {"all": np.ones(Y.shape[1], bool)} if rois is None else rois
    samples = [bootstrap_r(Y, p, weights) for p in (Y_hat_a, Y_hat_b)]
    values = [bootstrap_r(Y, p, whole) for p in (Y_hat_a, Y_hat_b)]
    out = {}
    for name, mask in rois.items():
        a, b = (float(_mean(v[:, mask])[0]) for v in values)
        differences = _mean(samples[0][:, mask]) - _mean(samples[1][:, mask])
        other_side = min((differences <= 0).sum(), (differences >= 0).sum())
        p = min(1.0, 2 * (1 + other_side) / (1 + n_bootstraps))
        out[name] = Comparison(a, b, percentile_interval(differences, a - b, level), float(p))
    return out
