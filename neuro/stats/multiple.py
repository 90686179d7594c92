"""Many voxels, many tests: which survive?

Adjusted values are compared with the level directly: q <= 0.05 keeps the expected share of false discoveries below
5 % (Benjamini-Hochberg, -Yekutieli), an adjusted p <= 0.05 the probability of any false discovery (Holm).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import check_option
from neuro.errors import ShapeMismatch


def fdr(p: Any, method: str = "bh", families: Any = None) -> np.ndarray:
    """Return q, the smallest false discovery rate at which each test would be rejected.

    Parameters
    ----------
    p : array of any shape, 0 to 1
        NaN (a voxel without data) is no test: it counts nowhere and stays NaN.
    method : "bh" or "by"
        Benjamini-Hochberg: q_(k) = min over j >= k of p_(j) m / j, valid for independent and positively dependent
        tests, such as voxels. Benjamini-Yekutieli: the same times 1 + 1/2 + ... + 1/m, valid under any dependence.
    families : array of the shape of ``p``, optional
        Tests that were asked as one question; each family is corrected for itself.

    Returns
    -------
    array of the shape of ``p``

    Raises
    ------
    ValueError
        If a p lies outside 0 to 1, or the method is unknown.

    References
    ----------
    Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57, 289-300. Benjamini & Yekutieli (2001), Ann. Stat. 29, 1165-1188.

    Examples
    --------
    >>> fdr([0.01, 0.02, 0.5, np.nan])
    array([0.03, 0.03, 0.5 ,  nan])
    """
    check_option("method", method, ["bh", "by"])

    def adjust(p: np.ndarray) -> np.ndarray:
        m = len(p)
        rank = np.arange(1, m + 1)
        penalty = np.sum(1.0 / rank) if method == "by" else 1.0
        return np.minimum.accumulate((p * (m * penalty / rank))[::-1])[::-1]

    return _adjusted(p, families, adjust)


def holm(p: Any, families: Any = None) -> np.ndarray:
    """Return p adjusted by Holm's step-down method: the largest over j <= k of p_(j) (m + 1 - j).

    Parameters, NaN and errors as for :func:`fdr`. Valid under any dependence; where permutations are at hand, the
    largest-score p of :func:`permutation_test` is more powerful.

    References
    ----------
    Holm (1979), Scand. J. Stat. 6, 65-70.

    Examples
    --------
    >>> holm([0.01, 0.02, 0.5, np.nan])
    array([0.03, 0.04, 0.5 ,  nan])
    """
    return _adjusted(p, families, lambda p: np.maximum.accumulate(p * np.arange(len(p), 0, -1)))


def _adjusted(p: Any, families: Any, adjust: Any) -> np.ndarray:
    """Apply ``adjust`` to the ascending p of each family, and bring them back to their places."""
    p = np.asarray(p.detach().cpu() if hasattr(p, "detach") else p, dtype=float)
    flat = p.reshape(-1)
    if ((flat < 0) | (flat > 1)).any():
        wrong = flat[(flat < 0) | (flat > 1)]
        raise ValueError(f"p must lie between 0 and 1, got {wrong.size} outside, first {wrong[0]:g}.")
    if families is None:
        family = np.zeros(flat.size, int)
    else:
        families = np.asarray(families)
        if families.shape != p.shape:
            raise ShapeMismatch(f"families must have the shape of p, {p.shape}, got {families.shape}.")
        family = np.unique(families.reshape(-1), return_inverse=True)[1].reshape(-1)
    out = np.full(flat.size, np.nan)
    for k in range(family.max() + 1 if family.size else 0):
        tests = np.flatnonzero((family == k) & np.isfinite(flat))
        if tests.size:
            ordered = tests[np.argsort(flat[tests], kind="stable")]
            out[ordered] = np.minimum(adjust(flat[ordered]), 1.0)
    return out.reshape(p.shape)
