"""Inner products of RDMs without the RDMs: squared Euclidean distances need only p x q sums over stimuli.

With centred X, Y, k_i = |x_i|^2, l_i = |y_i|^2 and A = |X'Y|_F^2, the squared distances d, d' have, over pairs,

    2 d.d' = 4 A + 2 n k.l + 2 (sum k)(sum l)        r_i = n k_i + sum k        s = 2 n sum k

so that every product 2 d.d' - c1 r.r' + c2 s s' (whitened cosine, all CKAs) and Pearson's correlation of the distances
follow from A, k.l, sum k and sum l. Correlation and cosine distances are half the squared Euclidean distances of
patterns scaled to norm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro.errors import ShapeMismatch
from neuro.rsa._array import lib
from neuro.rsa._whitened import CONSTANTS


@dataclass(frozen=True)
class Sums:
    """Sums over stimuli of one pair of representations."""

    cross: Any  # |X'Y|_F^2
    joint: Any  # k.l
    total_x: Any  # sum k
    total_y: Any
    n: int

    def inner(self, method: str) -> Any:
        """Return the inner product of the two RDMs under ``method`` (up to a constant factor)."""
        n, both = self.n, self.total_x * self.total_y
        plain = 4 * self.cross + 2 * n * self.joint + 2 * both
        if method == "cosine":
            return plain
        if method == "corr":  # 2 (d.d' - P mean mean')
            return plain - 4 * n * both / (n - 1)
        if method == "corr_cov":  # the constant part of the whitened product, eigenvalue 2 / n, taken out
            return 4 * self.cross - 4 * both / (n - 1)
        c1, c2 = CONSTANTS[method](n)
        return 4 * self.cross + (2 * n - c1 * n**2) * self.joint + (2 - 3 * n * c1 + 4 * n**2 * c2) * both


def sums(x: Any, y: Any) -> Sums:
    """Return the sums of centred ``x`` (n, p) and ``y`` (n, q), by features or by stimuli, whichever is less work."""
    n, p, q = x.shape[0], x.shape[1], y.shape[1]
    k, l = (x * x).sum(1), (y * y).sum(1)
    if p * q <= n * (p + q):
        product = x.T @ y
        cross = (product * product).sum()
    else:
        cross = ((x @ x.T) * (y @ y.T)).sum()
    return Sums(cross, (k * l).sum(), k.sum(), l.sum(), n)


def ratio(xy: Sums, xx: Sums, yy: Sums, method: str) -> Any:
    """Return inner(x, y) / sqrt(inner(x, x) inner(y, y)); NaN where a denominator is not above its rounding."""
    if xy.n < 4 and method == "debiased":
        raise ShapeMismatch(f"a debiased estimate needs at least 4 stimuli, got {xy.n}.")
    xp = lib(xy.cross)
    norms = [s.inner(method) for s in (xx, yy)]
    if any(not bool(v > 1e-13 * s.cross) for v, s in zip(norms, (xx, yy), strict=True)):
        return xy.cross * np.nan
    return xy.inner(method) / xp.sqrt(norms[0] * norms[1])
