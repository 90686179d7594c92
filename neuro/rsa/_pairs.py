"""Condensed dissimilarities (i < j, row by row, as scipy orders them) and square matrices, numpy or torch."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.errors import ShapeMismatch


def n_from_pairs(n_pairs: int) -> int:
    """Return n of n (n - 1) / 2 pairs.

    >>> n_from_pairs(4186)
    92
    """
    n = (1 + math.isqrt(1 + 8 * n_pairs)) // 2
    if n < 2 or n * (n - 1) // 2 != n_pairs:
        raise ShapeMismatch(f"{n_pairs:,} is no number of pairs: expected n (n - 1) / 2 for some n of at least 2.")
    return n


@lru_cache(maxsize=8)
def pair_indices(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows i and columns j of the pairs, read-only."""
    i, j = np.triu_indices(n, 1)
    i.flags.writeable = j.flags.writeable = False
    return i, j


def to_condensed(matrices: Any) -> Any:
    """Upper triangles of square matrices (..., n, n) -> (..., n_pairs), without checks."""
    n = matrices.shape[-1]
    flat = matrices.reshape(*matrices.shape[:-2], n * n)
    return flat[..., _as_index(_upper(n), matrices)]


def to_square(d: Any) -> Any:
    """Condensed (..., n_pairs) -> symmetric matrices (..., n, n) with zero diagonal."""
    n = n_from_pairs(d.shape[-1])
    i, j = (_as_index(k, d) for k in pair_indices(n))
    matrices = d.new_zeros((*d.shape[:-1], n, n)) if is_tensor(d) else np.zeros((*d.shape[:-1], n, n), d.dtype)
    matrices[..., i, j] = d
    matrices[..., j, i] = d
    return matrices


@lru_cache(maxsize=8)
def _upper(n: int) -> np.ndarray:
    i, j = pair_indices(n)
    return i * n + j


def _as_index(index: np.ndarray, like: Any) -> Any:
    if not is_tensor(like):
        return index
    import torch

    return torch.tensor(index, device=like.device)
