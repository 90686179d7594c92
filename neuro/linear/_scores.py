"""From four sums per fold, voxel and penalty to a cross-validation score.

With ``y`` the held-out responses and ``f`` their predictions, both minus the training mean of ``y``:
``y_sq`` = sum y^2, ``y_sum`` = sum y, ``cross`` = sum y f, ``quad`` = sum f^2, ``total`` = sum f.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class FoldSums:
    """Sums over the ``n`` held-out rows; ``(n_voxels,)`` for y, ``(n_voxels, n_alphas)`` for predictions."""

    n: int
    y_sum: torch.Tensor
    y_sq: torch.Tensor
    floor: torch.Tensor  # sums of squares below this are rounding: the voxel is constant
    excess: Any = None  # quad - 2 cross, where the two are not needed apart
    cross: Any = None
    quad: Any = None
    total: Any = None

    @property
    def spread(self) -> torch.Tensor:
        """Sum of squares of y about its own mean."""
        return self.y_sq - self.y_sum**2 / self.n

    def of_baseline(self) -> FoldSums:
        """Return the sums of the prediction that knows only the training mean (f = 0)."""
        zero = torch.zeros_like(self.y_sq)[:, None]
        return FoldSums(self.n, self.y_sum, self.y_sq, self.floor, zero, zero, zero, zero)


def neg_mse(s: FoldSums) -> torch.Tensor:
    """Minus the mean squared error: ``-(y_sq + quad - 2 cross) / n``."""
    return -(s.y_sq[:, None] + s.excess) / s.n


def r2(s: FoldSums) -> torch.Tensor:
    """``1 - (y_sq + quad - 2 cross) / spread``; 0 for a voxel that is constant on the held-out rows."""
    spread = s.spread[:, None]
    constant = spread <= s.floor[:, None]
    score = 1 - (s.y_sq[:, None] + s.excess) / torch.where(constant, 1.0, spread)
    return torch.where(constant, 0.0, score)


def pearson(s: FoldSums) -> torch.Tensor:
    """``(cross - y_sum total / n) / sqrt(spread (quad - total^2 / n))``; 0 where either side is constant."""
    spread = s.spread[:, None]
    predicted = s.quad - s.total**2 / s.n
    constant = (spread <= s.floor[:, None]) | (predicted <= 1e-6 * s.quad.abs())
    covariance = s.cross - s.y_sum[:, None] * s.total / s.n
    score = covariance / torch.where(constant, 1.0, spread * predicted).sqrt()
    return torch.where(constant, 0.0, score.clamp(-1, 1))


SCORES: dict[str, Callable[[FoldSums], torch.Tensor]] = {"neg_mse": neg_mse, "r2": r2, "pearson": pearson}
NEEDS_PARTS = {"pearson"}  # scores that use cross, quad and total apart
