"""Wrong pairings of items, from which chance levels are measured."""

from __future__ import annotations

from typing import Any

import numpy as np


def derangement(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return a permutation of n items that leaves none in place: one random cycle through all.

    >>> bool((derangement(5, np.random.default_rng(0)) == np.arange(5)).any())
    False
    """
    cycle = rng.permutation(n)
    out = np.empty(n, dtype=int)
    out[cycle] = np.roll(cycle, 1)
    return out


def check_shuffles(n_shuffles: Any) -> int:
    """Return ``n_shuffles`` as int, at least 0."""
    if isinstance(n_shuffles, bool) or not isinstance(n_shuffles, (int, np.integer)) or n_shuffles < 0:
        raise ValueError(f"n_shuffles must be an integer of at least 0, got {n_shuffles!r}.")
    return int(n_shuffles)
