"""How far do two RDMs order their pairs alike? Ranks, rho-a, and Kendall's tau.

With average ranks x, y of P pairs, centred,

    spearman = x'y / (|x| |y|)          rho-a = 12 x'y / (P^3 - P)
    tau-a    = (concordant - discordant) / (P (P - 1) / 2)

rho-a is what Spearman's correlation would be on average if ties were broken at random. Spearman and tau-b reward a
model for its ties; use rho-a or tau-a where a model has many (categories).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.rsa._array import constant, to_numpy
from neuro.rsa._products import unit


def average_ranks(d: Any) -> Any:
    """Return ranks 1..P of every row (m, P) in float64, ties given their average.

    >>> average_ranks(np.array([[3.0, 1.0, 3.0]]))
    array([[2.5, 1. , 2.5]])
    """
    if is_tensor(d):
        import torch

        d = d.detach().contiguous()
        ordered = d.sort(dim=1).values
        below = torch.searchsorted(ordered, d)
        return (below + torch.searchsorted(ordered, d, right=True) + 1).double() / 2
    out = np.empty(d.shape)
    for row, ranks in zip(d, out, strict=True):
        order = np.argsort(row)
        ordered = row[order]
        new = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        if len(new) == len(row):
            ranks[order] = np.arange(1.0, len(row) + 1)
        else:
            end = np.r_[new[1:], len(row)]
            ranks[order] = np.repeat((new + 1 + end) / 2, end - new)
    return out


def spearman_tokens(d: Any) -> Any:
    """Centred average ranks of unit norm; a constant row becomes zero."""
    return unit(average_ranks(d) - (d.shape[1] + 1) / 2)


def rho_a_tokens(d: Any) -> Any:
    """Centred average ranks times sqrt(12 / (P^3 - P)); unit norm exactly where there are no ties."""
    p = float(d.shape[1])
    return (average_ranks(d) - (p + 1) / 2) * np.sqrt(12 / (p**3 - p))


def tau(a: Any, b: Any, kind: str = "a") -> Any:
    """Return Kendall's tau between all rows of ``a`` (n_a, P) and ``b`` (n_b, P), as float64.

    Rows are sorted once each; every pair then costs one count of discordant pairs, O(P log P). ``kind`` "a" divides by
    all pairs, "b" by those untied in either (0 where a row is constant). Tensors are counted on the CPU.
    """
    same = b is a
    left, right = _Ranked(to_numpy(a)), _Ranked(to_numpy(b))
    out = np.empty((len(left.dense), len(right.dense)))
    for i in range(out.shape[0]):
        x = left.dense[i][left.order[i]]
        for j in range(i if same else 0, out.shape[1]):
            y = right.dense[j][left.order[i]]
            both = _joint_ties(x, y) if left.ties[i] and right.ties[j] else 0
            n = left.total
            excess = n - left.ties[i] - right.ties[j] + both - 2 * discordant(x, y)
            out[i, j] = excess / n if kind == "a" else _ratio(excess, n - left.ties[i], n - right.ties[j])
    if same:
        lower = np.tril_indices(len(out), -1)
        out[lower] = out.T[lower]
    return constant(out, a)


def discordant(x: np.ndarray, y: np.ndarray) -> int:
    """Return the number of pairs ordered one way in ``x`` and the other in ``y``; ``x`` sorted, dense ranks from 1."""
    return int(_counter()(x, y))


class _Ranked:
    """Order, dense ranks and number of tied pairs of every row."""

    def __init__(self, d: np.ndarray):
        self.total = d.shape[1] * (d.shape[1] - 1) // 2
        self.order, self.dense, self.ties = [], [], []
        for row in d:
            order = np.argsort(row)
            ordered = row[order]
            rank = np.r_[True, ordered[1:] != ordered[:-1]].cumsum(dtype=np.intp)
            dense = np.empty(len(row), np.intp)
            dense[order] = rank
            counts = np.bincount(rank) if rank[-1] < len(row) else np.zeros(1, np.int64)
            self.order.append(order)
            self.dense.append(dense)
            self.ties.append(int((counts * (counts - 1) // 2).sum()))


def _joint_ties(x: np.ndarray, y: np.ndarray) -> int:
    code = x * (y.max() + 1) + y
    counts = np.bincount(code) if code.max() < 16 * len(code) else np.unique(code, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def _ratio(excess: int, untied_x: int, untied_y: int) -> float:
    return excess / np.sqrt(float(untied_x) * float(untied_y)) if untied_x and untied_y else 0.0


def _counter() -> Any:
    """Return scipy's compiled counter (the one behind ``scipy.stats.kendalltau``) where this scipy has it."""
    try:
        from scipy.stats._stats import _kendall_dis
    except ImportError:
        return count_discordant
    return _kendall_dis


def count_discordant(x: np.ndarray, y: np.ndarray) -> int:
    """The same count in numpy: halve the positions, and count across halves with one search per level.

    Positions of equal ``x`` are ordered by ``y`` first, so that ties never count.
    """
    y = y[np.lexsort((y, x))].astype(np.int64)
    n, step, total = len(y), 1, 0
    span = int(y.max()) + 1
    position = np.arange(n)
    while step < n:
        block = position // (2 * step)
        keyed = y + block * span  # sorted within each half; all left halves together are sorted, block after block
        is_left = position % (2 * step) < step
        left, right = keyed[is_left], keyed[~is_left]
        ends = np.cumsum(np.bincount(block[is_left], minlength=block[-1] + 1))[block[~is_left]]
        total += int((ends - np.searchsorted(left, right, side="right")).sum())
        y = np.sort(keyed) - block * span
        step *= 2
    return total
