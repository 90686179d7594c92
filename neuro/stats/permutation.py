"""Permutation tests of a fixed model: which scores come about when images and responses are paired at random?

p = (1 + #{null >= observed}) / (1 + n_permutations). Whole stimuli are permuted, so repeats stay together; time series
are shifted round, which keeps their autocorrelation. The maximum over voxels controls the family-wise error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int
from neuro.errors import ShapeMismatch
from neuro.stats.bootstrap import _standard
from neuro.stats.metrics import match

SCHEMES = ("stimuli", "shift")


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """Result of :func:`permutation_test`.

    Parameters
    ----------
    observed : array (n_voxels,)
    p : array (n_voxels,)
        One-sided, uncorrected.
    p_max : array (n_voxels,)
        Corrected over voxels by the maximum statistic.
    null_max : array (n_permutations,)
    n_permutations : int
    scheme : str
    """

    observed: np.ndarray
    p: np.ndarray
    p_max: np.ndarray
    null_max: np.ndarray
    n_permutations: int
    scheme: str


def permutation_orders(
    n: int, n_permutations: int, groups: Any = None, scheme: str = "stimuli", seed: Any = 0
) -> np.ndarray:
    """Return row orders (n_permutations, n).

    Parameters
    ----------
    n, n_permutations : int
    groups : array (n,), optional
        Rows of one stimulus. Groups move whole, among groups of the same size.
    scheme : "stimuli" or "shift"
        Permute rows (or groups), or shift them round by a random lag.
    seed : int or Generator
    """
    check_option("scheme", scheme, SCHEMES)
    check_positive_int("n_permutations", n_permutations)
    rng = as_rng(seed)
    if scheme == "shift":
        lags = rng.integers(1, n, size=n_permutations)
        return (np.arange(n) + lags[:, None]) % n
    if groups is None:
        return rng.permuted(np.tile(np.arange(n), (n_permutations, 1)), axis=1)
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise ShapeMismatch(f"groups must be ({n},), got {groups.shape}.")
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    orders = np.empty((n_permutations, n), int)
    for size in sorted({len(m) for m in members}):
        block = np.stack([m for m in members if len(m) == size])
        shuffled = rng.permuted(np.tile(np.arange(len(block)), (n_permutations, 1)), axis=1)
        orders[:, block.ravel()] = block[shuffled].reshape(n_permutations, -1)
    return orders


def permutation_test(
    Y: Any,
    Y_hat: Any,
    n_permutations: int = 1000,
    groups: Any = None,
    scheme: str = "stimuli",
    seed: Any = 0,
) -> PermutationTest:
    """Test Pearson r of every voxel against shuffled pairings of predictions with responses.

    Parameters
    ----------
    Y, Y_hat : arrays (n_stimuli, n_voxels)
        Held-out responses and predictions; the model is not refitted.
    n_permutations : int
    groups : array (n_stimuli,), optional
        Rows that belong to one stimulus.
    scheme : "stimuli" or "shift"
        "shift" for time series.
    seed : int or Generator

    Returns
    -------
    PermutationTest; voxels without a score have p NaN
    """
    Y, Y_hat = match(Y, Y_hat)
    y, p = _standard(Y), _standard(Y_hat)
    n = len(y)
    observed = (y * p).sum(0, dtype=np.float64) / n
    orders = permutation_orders(n, n_permutations, groups, scheme, seed)
    exceed = np.zeros(y.shape[1], int)
    null_max = np.empty(n_permutations)
    for i, order in enumerate(orders):
        r = np.einsum("ij,ij->j", y[order], p) / n
        exceed += r >= observed - 1e-7
        null_max[i] = np.nanmax(r) if np.isfinite(r).any() else np.nan
    scored = np.isfinite(observed)
    above = (null_max[:, None] >= observed - 1e-7).sum(0)
    p_voxel, p_max = ((1 + k) / (1 + n_permutations) for k in (exceed, above))
    return PermutationTest(
        observed,
        np.where(scored, p_voxel, np.nan),
        np.where(scored, p_max, np.nan),
        null_max,
        n_permutations,
        scheme,
    )


def permutation_test_rois(
    Y: Any,
    Y_hat: Any,
    rois: Mapping[str, np.ndarray],
    n_permutations: int = 1000,
    groups: Any = None,
    seed: Any = 0,
) -> dict[str, float]:
    """Return the p value of each region's mean r.

    The mean over voxels of any pairing needs only the (n_stimuli, n_stimuli) products of a region, so thousands of
    permutations cost one matrix product.
    """
    Y, Y_hat = match(Y, Y_hat)
    y, p = np.nan_to_num(_standard(Y)), np.nan_to_num(_standard(Y_hat))
    rows = np.arange(len(y))
    orders = permutation_orders(len(y), n_permutations, groups, "stimuli", seed)
    out = {}
    for name, mask in rois.items():
        cross = y[:, mask] @ p[:, mask].T
        observed = np.trace(cross)
        null = cross[orders, rows].sum(1)
        tolerance = 1e-6 * np.abs(cross).max()
        out[name] = float((1 + (null >= observed - tolerance).sum()) / (1 + n_permutations))
    return out
