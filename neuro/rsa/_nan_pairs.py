"""Distances over the channels that both conditions know, with masks instead of a loop over pairs."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.rsa._array import lib
from neuro.rsa._distances import epsilon, root
from neuro.rsa._pairs import to_condensed


def shared_distances(A: Any, metric: str, scale: Any = None, remove_mean: bool = False) -> Any:
    """Return (n_pairs,) over shared channels; NaN where a pair shares none (or a pattern is constant there).

    Parameters
    ----------
    A : array or tensor (n, p), or (n_folds, n, p) for "crossnobis"
        NaN where not known. With folds, a channel counts for a pair of conditions and of folds where all four are
        known, and pairs of folds are weighted by the channels they have.
    scale : (p,), optional
        Root of a diagonal precision, for "mahalanobis" and "crossnobis".
    """
    A = A if is_tensor(A) else A.astype(np.float64)
    xp = lib(A)
    known = ~xp.isnan(A)
    zero = xp.zeros_like(A)
    M = known.to(A.dtype) if is_tensor(A) else known.astype(A.dtype)
    A0 = xp.where(known, A, zero)
    floor = 0.0
    if metric == "correlation":  # what rounding leaves of a constant pattern
        floor = (16 * epsilon(A) * A0.sum(-1) / M.sum(-1).clip(1)) ** 2 * M.sum(-1)
    if remove_mean or metric == "correlation":
        A0 = xp.where(known, A0 - (A0.sum(-1) / M.sum(-1).clip(1))[..., None], zero)
    if metric not in ("correlation", "cosine"):
        count = M.sum(-2).clip(1)
        A0 = xp.where(known, A0 - (A0.sum(-2) / count)[..., None, :], zero)
    if scale is not None:
        A0 = A0 * scale
    if metric == "crossnobis":
        d = _crossnobis(A0, M)
    elif metric in ("correlation", "cosine"):
        d = _normalised(A0, M, metric == "correlation", floor)
    else:
        squares = A0**2 @ M.T
        d = _ratio(squares + squares.T - 2 * A0 @ A0.T, M @ M.T).clip(0)
    d = to_condensed(d)
    lost = int((d != d).sum())
    if lost:
        warnings.warn(
            f"{lost} of {len(d)} pairs of conditions share no channel (or no variance) and are NaN.", stacklevel=2
        )
    return root(d) if metric == "euclidean" else d


def _crossnobis(A0: Any, M: Any) -> Any:
    numerator = denominator = 0
    for k in range(len(A0)):
        for other in range(k + 1, len(A0)):
            both = M[k] * M[other]
            a, b = A0[k] * both, A0[other] * both
            own = (a * b) @ both.T
            numerator = numerator + own + own.T - a @ b.T - b @ a.T
            denominator = denominator + both @ both.T
    return _ratio(numerator, denominator)


def _normalised(A0: Any, M: Any, centre: bool, floor: Any) -> Any:
    count = M @ M.T
    cross, squares = A0 @ A0.T, A0**2 @ M.T
    if centre:
        sums = A0 @ M.T
        cross = cross - _ratio(sums * sums.T, count)
        left = squares - _ratio(sums**2, count)
        xp = lib(A0)
        squares = xp.where((left > 1e-13 * squares) & (left > floor[:, None]), left, xp.zeros_like(left))
    norms = squares.clip(0) * squares.T.clip(0)
    return (1 - _ratio(cross, norms**0.5)).clip(0)


def _ratio(a: Any, b: Any) -> Any:
    xp = lib(a)
    good = b > 0
    out = a / xp.where(good, b, xp.ones_like(b))
    return xp.where(good, out, xp.full_like(out, float("nan")))
