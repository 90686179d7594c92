"""Penalties: which are tried, and whether the grid reached far enough."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import is_tensor

MARGIN = 1e-6  # share of the response's variance by which a prediction must beat the mean to count as one
EDGE_SHARE = 0.05  # of the voxels above baseline that may sit on an edge before it is worth a word
EDGE_STEP = 2  # decades that an edge is moved by
EDGE_MOVES = 2  # at most


class AlphaAtBoundaryWarning(UserWarning):
    """The best penalty of many predictable voxels lies on the edge of the grid."""


@dataclass(frozen=True)
class AlphaBoundary:
    """How many voxels took the smallest or the largest penalty of the grid.

    Only voxels above baseline (cross-validated better than predicting the training mean) say that a grid is too
    narrow: noise voxels rightly want an infinite penalty, and are counted apart.
    """

    lower: float
    upper: float
    n_voxels: int
    n_above_baseline: int
    n_at_lower: int
    n_at_upper: int
    n_noise_at_lower: int
    n_noise_at_upper: int
    n_extended_lower: int = 0
    n_extended_upper: int = 0

    @property
    def share_at_lower(self) -> float:
        """Share of the voxels above baseline that took the smallest penalty."""
        return self.n_at_lower / max(self.n_above_baseline, 1)

    @property
    def share_at_upper(self) -> float:
        """Share of the voxels above baseline that took the largest penalty."""
        return self.n_at_upper / max(self.n_above_baseline, 1)


def check_alphas(alphas: Any) -> np.ndarray | None:
    """Return ``alphas`` as float64 (n_alphas,), or None for ``"auto"``."""
    if isinstance(alphas, str):
        if alphas == "auto":
            return None
        raise ValueError(f"alphas must be 'auto' or positive numbers, got {alphas!r}.")
    grid = positive("alphas", alphas)
    if grid.ndim > 1 or grid.size == 0:
        raise ValueError(f"alphas must be a number or a flat list of at least one, got shape {grid.shape}.")
    grid = np.atleast_1d(grid)
    if len(np.unique(grid)) != len(grid):
        raise ValueError(f"alphas must differ from one another, got {grid.tolist()}.")
    return grid


def positive(name: str, value: Any) -> np.ndarray:
    """Return ``value`` as a float64 array of finite positive numbers."""
    try:
        array = np.array(value.detach().cpu().numpy() if is_tensor(value) else value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be positive numbers, got {value!r}.") from None
    bad = array[~(np.isfinite(array) & (array > 0))]
    if bad.size:
        raise ValueError(
            f"{name} must be finite and above 0, got {bad.reshape(-1)[0]!r}"
            + (f" and {bad.size - 1} more." if bad.size > 1 else ". For no penalty at all use LinearRegression.")
        )
    return array


def auto_alphas(scale: float) -> np.ndarray:
    """Return 21 penalties from 1e-4 to 1e6 times ``scale`` = trace(K) / n, the mean squared norm of a centred row."""
    return np.logspace(-4, 6, 21) * (scale or 1.0)


@dataclass(frozen=True)
class Grid:
    """A grid of penalties with the room to move its edges: ``alphas[given]`` is what was asked for."""

    alphas: np.ndarray
    given: slice
    steps: tuple[int, ...]  # how many penalties one move adds below, and above

    @classmethod
    def plan(cls, alphas: np.ndarray, extend: bool) -> Grid:
        """Add, where wanted, the penalties that moving the edges could ask for: scoring them costs next to nothing."""
        if not extend:
            return cls(alphas, slice(0, len(alphas)), (0, 0))
        if len(alphas) < 2:
            raise ValueError("extend_grid=True needs at least two alphas, got 1.")
        alphas = np.sort(alphas)
        below = alphas[0] / _moved(alphas[1] / alphas[0])
        above = alphas[-1] * _moved(alphas[-1] / alphas[-2])
        both = np.concatenate([below[::-1], alphas, above])
        return cls(
            both, slice(len(below), len(below) + len(alphas)), (len(below) // EDGE_MOVES, len(above) // EDGE_MOVES)
        )


def _moved(ratio: float) -> np.ndarray:
    per_move = max(1, round(EDGE_STEP / np.log10(ratio)))
    return 10.0 ** (EDGE_STEP * np.arange(1, per_move * EDGE_MOVES + 1) / per_move)


def select(scores: np.ndarray, baseline: np.ndarray, variance: np.ndarray | float, grid: Grid, local: bool):
    """Choose penalties by score, moving the edges of the grid where too many predictable voxels sit on one.

    Parameters
    ----------
    scores : array (n_alphas of the whole grid, n_voxels)
    baseline : array (n_voxels,)
        Score of predicting the training mean.
    variance : array (n_voxels,) or float
        What one unit of explained variance is worth in scores.
    grid : Grid
    local : bool
        One penalty per voxel, or one for all by the mean score.

    Returns
    -------
    kept : slice of ``grid.alphas``
    best : integer array (n_voxels,), index into ``grid.alphas[kept]``
    boundary : AlphaBoundary
    """
    start, stop = grid.given.start, grid.given.stop
    moves = [EDGE_MOVES if s else 0 for s in grid.steps]
    while True:
        best, boundary = _best(scores[start:stop], baseline + MARGIN * variance, grid.alphas[start:stop], local)
        low = moves[0] and boundary.share_at_lower > EDGE_SHARE
        high = moves[1] and boundary.share_at_upper > EDGE_SHARE
        if not (low or high):
            break
        if low:
            start, moves[0] = start - grid.steps[0], moves[0] - 1
        if high:
            stop, moves[1] = stop + grid.steps[1], moves[1] - 1
    extended = {"n_extended_lower": grid.given.start - start, "n_extended_upper": stop - grid.given.stop}
    return slice(start, stop), best, AlphaBoundary(**{**boundary.__dict__, **extended})


def _best(scores: np.ndarray, baseline: np.ndarray, alphas: np.ndarray, local: bool):
    n_voxels = scores.shape[1]
    falling = np.argsort(-alphas)  # of equal scores (a constant voxel's, say) the largest penalty wins
    if local:
        best = falling[scores[falling].argmax(0)]
    else:
        best = np.full(n_voxels, falling[scores.mean(1, dtype=np.float64)[falling].argmax()])
    above = scores[best, np.arange(n_voxels)] > baseline
    at_lower, at_upper = best == alphas.argmin(), best == alphas.argmax()
    if len(alphas) == 1:
        at_lower = at_upper = np.zeros(n_voxels, bool)
    counts = [int(np.count_nonzero(x)) for x in (above, at_lower & above, at_upper & above, at_lower & ~above)]
    return best, AlphaBoundary(
        float(alphas.min()), float(alphas.max()), n_voxels, *counts, int(np.count_nonzero(at_upper & ~above))
    )


def warn_of_edges(boundary: AlphaBoundary, extend: bool, stacklevel: int = 3) -> None:
    """Emit one AlphaAtBoundaryWarning if too many predictable voxels sit on an edge of the grid."""
    parts = []
    for name, share, alpha in (
        ("smallest", boundary.share_at_lower, boundary.lower),
        ("largest", boundary.share_at_upper, boundary.upper),
    ):
        if share > EDGE_SHARE:
            parts.append(f"the {name} ({alpha:.3g}) is the best for {100 * share:.0f}%")
    if parts:
        remedy = "Even the widened grid is too narrow" if extend else "Widen alphas, or pass extend_grid=True"
        warnings.warn(
            f"The penalty grid is too narrow: of the {boundary.n_above_baseline:,} voxels above baseline, "
            f"{' and '.join(parts)}. {remedy}.",
            AlphaAtBoundaryWarning,
            stacklevel=stacklevel,
        )
