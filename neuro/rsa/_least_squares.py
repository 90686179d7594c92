"""Least squares from a small Gram matrix, free or non-negative."""

from __future__ import annotations

import numpy as np


def nnls_gram(k: np.ndarray, y: np.ndarray, penalty: float = 0.0) -> np.ndarray:
    """Minimise over theta >= 0 of theta' k theta - 2 theta' y + penalty |theta|^2, by active sets.

    References
    ----------
    Lawson & Hanson (1974), Solving Least Squares Problems, ch. 23; Bro & de Jong (1997), J. Chemometrics 11, 393-401.

    Examples
    --------
    >>> nnls_gram(np.eye(2), np.array([2.0, -1.0]))
    array([2., 0.])
    """
    scale = np.sqrt(np.maximum(np.diagonal(k), 0.0))
    usable = scale > 0
    theta = np.zeros(len(y))
    if not usable.any():
        return theta
    s = scale[usable]
    a = k[np.ix_(usable, usable)] / np.outer(s, s) + np.diag(penalty / s**2)
    b = y[usable] / s
    x, active = np.zeros(len(b)), np.zeros(len(b), bool)
    tolerance = 1e-12 * max(float(np.abs(b).max()), 1e-300)
    blocked = np.zeros(len(b), bool)
    for _ in range(10 * len(b) + 10):
        gradient = b - a @ x
        candidates = ~active & ~blocked & (gradient > tolerance)
        if not candidates.any():
            break
        newest = int(np.argmax(np.where(candidates, gradient, -np.inf)))
        active[newest] = True
        while True:
            z = np.zeros(len(b))
            z[active] = solve_gram(a[np.ix_(active, active)], b[active])
            if not active.any() or (z[active] > 0).all():
                break
            falling = active & (z <= 0)
            ratio = np.where(falling, x / np.where(falling, x - z, 1.0), np.inf)
            step = min(1.0, float(ratio.min()))
            x = x + step * (z - x)
            active &= x > 1e-15 * max(float(np.abs(x).max()), 1e-300)
            x[~active] = 0.0
        blocked[:] = False
        if not active[newest]:
            blocked[newest] = True
        x = z
    theta[usable] = x / s
    return theta


def solve_gram(k: np.ndarray, y: np.ndarray, penalty: float = 0.0) -> np.ndarray:
    """(k + penalty I)^-1 y; the shortest solution where RDMs are collinear."""
    a = k + penalty * np.eye(len(k))
    scale = np.sqrt(np.maximum(np.diagonal(a), 0.0))
    safe = np.where(scale > 0, scale, 1.0)
    return np.linalg.pinv(a / np.outer(safe, safe), rcond=1e-12, hermitian=True) @ (y / safe) / safe
