"""Scores by region as a tidy table: one row per region and metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from neuro.errors import ShapeMismatch
from neuro.stats.bootstrap import _mean, bootstrap_r, bootstrap_weights, percentile_interval
from neuro.stats.metrics import match, pearson_r
from neuro.stats.permutation import permutation_test_rois


def roi_summary(
    Y: Any,
    Y_hat: Any,
    rois: Mapping[str, np.ndarray],
    ceiling: np.ndarray | None = None,
    *,
    ceiling_floor: float = 0.1,
    n_bootstraps: int = 1000,
    n_permutations: int = 1000,
    groups: Any = None,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Summarise held-out predictions by region.

    Parameters
    ----------
    Y, Y_hat : arrays (n_images, n_voxels)
        Held-out responses and predictions.
    rois : dict name -> mask (n_voxels,)
    ceiling : array (n_voxels,), optional
        Noise ceiling, share of variance; adds rows with metric "r2/NC" over voxels above ``ceiling_floor``.
    n_bootstraps, groups, seed
        Of the interval over images, see :func:`bootstrap_weights`.
    n_permutations : int
        Of the test of mean r against shuffled images.
    level : float

    Returns
    -------
    DataFrame with roi, metric ("r" or "r2/NC"), score (mean over voxels), median, ci_low, ci_high, ceiling (mean),
    n_voxels, p
    """
    Y, Y_hat = match(Y, Y_hat)
    for name, mask in rois.items():
        if np.asarray(mask).shape != (Y.shape[1],) or np.asarray(mask).dtype != bool:
            raise ShapeMismatch(f"region {name!r} must be a boolean mask of {Y.shape[1]:,} voxels.")
    r = pearson_r(Y, Y_hat)
    samples = bootstrap_r(Y, Y_hat, bootstrap_weights(len(Y), n_bootstraps, groups, seed))
    p = permutation_test_rois(Y, Y_hat, rois, n_permutations, groups, seed)
    rows = []
    for name, mask in rois.items():
        limit = float(_mean(ceiling[None, mask])[0]) if ceiling is not None else np.nan
        rows.append(_row(name, "r", r[mask], samples[:, mask], level) | {"ceiling": limit, "p": p[name]})
        if ceiling is None:
            continue
        good = mask & (ceiling > ceiling_floor)
        if good.any():
            share, shares = (np.maximum(x, 0) ** 2 / ceiling[good] for x in (r[good], samples[:, good]))
            limit = float(ceiling[good].mean())
            rows.append(_row(name, "r2/NC", share, shares, level) | {"ceiling": limit, "p": p[name]})
    return pd.DataFrame(rows)


def _row(roi: str, metric: str, values: np.ndarray, samples: np.ndarray, level: float) -> dict[str, Any]:
    value = float(_mean(values[None])[0])
    interval = percentile_interval(_mean(samples), value, level)
    finite = values[np.isfinite(values)]
    return {
        "roi": roi,
        "metric": metric,
        "score": value,
        "median": float(np.median(finite)) if finite.size else np.nan,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "n_voxels": len(values),
    }
