"""Intervals over images: the images (all repeats of one together) are drawn again, not the voxels.

A bootstrap sample is a row of weights saying how often each image was drawn. One weight matrix serves every model and
voxel of a subject, so differences between models are paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import as_rng, check_positive_int
from neuro.errors import ShapeMismatch
from neuro.stats.metrics import match


@dataclass(frozen=True, eq=False)
class Interval:
    """A value with its bootstrap interval; ``samples`` (n_bootstraps,) are the bootstrap values themselves."""

    value: float
    low: float
    high: float
    level: float
    n_bootstraps: int
    samples: np.ndarray


def bootstrap_weights(n_images: int, n_bootstraps: int = 1000, groups: Any = None, seed: Any = 0) -> np.ndarray:
    """Return how often each image is drawn in each sample, (n_bootstraps, n_images) float32.

    Parameters
    ----------
    n_images, n_bootstraps : int
    groups : array (n_images,), optional
        Rows that are drawn together: repeats, or identical pictures under several ids.
    seed : int or Generator
    """
    check_positive_int("n_bootstraps", n_bootstraps)
    groups = np.arange(n_images) if groups is None else np.asarray(groups)
    if groups.shape != (n_images,):
        raise ShapeMismatch(f"groups must be ({n_images},), got {groups.shape}.")
    _, code = np.unique(groups, return_inverse=True)
    k = int(code.max()) + 1
    draws = as_rng(seed).multinomial(k, np.full(k, 1 / k), size=n_bootstraps)
    return draws[:, code].astype(np.float32)


def bootstrap_r(Y: Any, Y_hat: Any, weights: np.ndarray) -> np.ndarray:
    """Return Pearson r of every voxel in every bootstrap sample, (n_bootstraps, n_voxels).

    Five matrix products of ``weights`` (n_bootstraps, n_images) with (n_images, n_voxels) do all samples at once.
    """
    Y, Y_hat = match(Y, Y_hat)
    if weights.ndim != 2 or weights.shape[1] != len(Y):
        raise ShapeMismatch(f"weights must be (n_bootstraps, {len(Y)}), got {weights.shape}.")
    # Centred and scaled first, so that float32 sums lose nothing.
    y, p = (_standard(a) for a in (Y, Y_hat))
    n = weights.sum(1, keepdims=True)
    my, mp, yp, yy, pp = (weights @ a / n for a in (y, p, y * p, y * y, p * p))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (yp - my * mp) / np.sqrt((yy - my**2) * (pp - mp**2))


def percentile_interval(samples: np.ndarray, value: float, level: float = 0.95) -> Interval:
    """Return the percentile interval of bootstrap ``samples``; NaN samples are left out."""
    samples = np.asarray(samples, dtype=float)
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(samples, [tail, 100 - tail]) if np.isfinite(samples).any() else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high), level, len(samples), samples)


def bootstrap_scores(
    Y: Any,
    Y_hat: Any,
    rois: Mapping[str, np.ndarray] | None = None,
    n_bootstraps: int = 1000,
    groups: Any = None,
    level: float = 0.95,
    seed: Any = 0,
) -> dict[str, Interval]:
    """Return the mean r of each region with its interval over images.

    Parameters
    ----------
    Y, Y_hat : arrays (n_images, n_voxels)
    rois : dict name -> mask (n_voxels,), optional
        By default one region "all".
    n_bootstraps, groups, seed
        As in :func:`bootstrap_weights`.
    level : float

    Returns
    -------
    dict name -> Interval
    """
    Y, Y_hat = match(Y, Y_hat)
    weights = bootstrap_weights(len(Y), n_bootstraps, groups, seed)
    everything = bootstrap_r(Y, Y_hat, np.ones((1, len(Y)), np.float32))[0]
    samples = bootstrap_r(Y, Y_hat, weights)
    rois = {"all": np.ones(Y.shape[1], bool)} if rois is None else rois
    return {
        name: percentile_interval(_mean(samples[:, mask]), float(_mean(everything[None, mask])[0]), level)
        for name, mask in rois.items()
    }


def _standard(a: np.ndarray) -> np.ndarray:
    a = a.astype(np.float64)
    a = a - a.mean(0)
    sd = a.std(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a / np.where(sd > 0, sd, np.nan)).astype(np.float32)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over voxels without NaN ones; NaN where none is left."""
    present = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(present, values, 0).sum(1) / present.sum(1)
