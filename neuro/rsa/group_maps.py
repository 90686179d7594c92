"""Is a map above zero in the population, where the largest of thousands of tests is what has to be beaten?

Signs of whole subjects' maps are flipped; t = mean / (s / sqrt(n)) at each centre, and p_fwe counts the flips whose
largest t over all centres reaches the observed one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int
from neuro.errors import ShapeMismatch


@dataclass(frozen=True, eq=False)
class GroupTest:
    """Result of :func:`group_max_stat`: t, p and p_fwe have the shape of one subject's maps, NaN where any map is."""

    t: np.ndarray
    p: np.ndarray
    p_fwe: np.ndarray
    null_max: np.ndarray
    n_permutations: int


def group_max_stat(
    maps: Any,
    n_permutations: int = 5000,
    *,
    tail: str = "greater",
    across_models: bool = False,
    rng: int | np.random.Generator | None = None,
) -> GroupTest:
    """Test the mean of subjects' maps against 0 by flipping signs of whole subjects, with the largest t of each flip.

    Parameters
    ----------
    maps : array (n_subjects, n_centres) or (n_subjects, n_models, n_centres)
        Aligned to a common space. Scores whose null expectation is 0: correlations, not cosines of distances.
    n_permutations : int
        All 2^n_subjects flips are used instead if they are no more than this.
    tail : "greater" or "two-sided"
    across_models : bool
        Take the largest t over models, too.
    rng : int or Generator, optional

    Returns
    -------
    GroupTest

    References
    ----------
    Nichols & Holmes (2002), Human Brain Mapping 15, 1-25.
    """
    x = np.asarray(maps, dtype=float)
    if x.ndim not in (2, 3):
        raise ShapeMismatch(f"maps are (n_subjects[, n_models], n_centres), got {x.shape}.")
    check_option("tail", tail, ["greater", "two-sided"])
    check_positive_int("n_permutations", n_permutations)
    n = len(x)
    if n < 2:
        raise ShapeMismatch("a test over subjects needs at least two, got one.")
    stack = x if x.ndim == 3 else x[:, None]
    n_models, n_centres = stack.shape[1:]
    flat = stack.reshape(n, -1)
    known = ~np.isnan(flat).any(0)
    if 2**n <= n_permutations:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        drawn, extra = signs[1:], 1
    else:
        drawn, extra = as_rng(rng).choice([-1.0, 1.0], (n_permutations, n)), 1
    y = flat[:, known]
    squares = (y**2).sum(0)

    def t_of(means: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            t = means / np.sqrt(np.maximum(squares - n * means**2, 0) / (n * (n - 1)))
        return np.nan_to_num(t, nan=0.0, posinf=np.inf, neginf=-np.inf)

    observed = t_of(y.mean(0))
    size = observed if tail == "greater" else np.abs(observed)
    model = np.repeat(np.arange(n_models), n_centres)[known]
    groups = [np.ones(len(size), bool)] if across_models else [model == m for m in range(n_models)]
    count = np.zeros(len(size), int)
    null_max = np.full((len(drawn), len(groups)), -np.inf)
    slack = 1e-10 * np.maximum(np.abs(np.where(np.isfinite(size), size, 0.0)), 1.0)
    for start in range(0, len(drawn), 64):
        null = t_of(drawn[start : start + 64] @ y / n)
        null = null if tail == "greater" else np.abs(null)
        count += (null >= size - slack).sum(0)
        for g, members in enumerate(groups):
            if members.any():
                null_max[start : start + 64, g] = null[:, members].max(1)
    p_fwe = np.empty(len(size))
    for g, members in enumerate(groups):
        beaten = count_at_least(null_max[:, g], (size - slack)[members])
        p_fwe[members] = (extra + beaten) / (extra + len(drawn))
    out = {}
    for name, values in (("t", observed), ("p", (extra + count) / (extra + len(drawn))), ("p_fwe", p_fwe)):
        full = np.full(flat.shape[1], np.nan)
        full[known] = values
        out[name] = full.reshape(x.shape[1:])
    return GroupTest(**out, null_max=null_max, n_permutations=len(drawn))


def count_at_least(null: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return how many entries of ``null`` are at least each value."""
    return len(null) - np.searchsorted(np.sort(null), values, side="left")
