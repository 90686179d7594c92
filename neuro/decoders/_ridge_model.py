"""One subject's fitted ridge decoder: the decomposition, and for each target its columns and penalties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neuro.decoders._linear_targets import MAX_COLUMNS, TargetTable
from neuro.decoders._ridge_factor import KernelFactor, RidgeFactor
from neuro.linear._arrays import as_tensor, check_device


@dataclass(frozen=True, eq=False)
class RidgeTarget:
    """One kind of target.

    Attributes
    ----------
    shape : tuple
        Of one item.
    mean, intercept : arrays (n_targets,), float64
        Mean of the training targets, and what a prediction starts from.
    alpha : array () or (n_targets,)
    coordinates : array (n_targets, k) or None
        What the factor keeps of a target, see ``solve`` there.
    table : TargetTable or None
        The training targets themselves where they lie on disk: they take no more room than any coefficient would, and
        predicting from them is cheaper than working coefficients out.
    """

    shape: tuple[int, ...]
    mean: np.ndarray
    intercept: np.ndarray
    alpha: np.ndarray
    coordinates: np.ndarray | None
    table: TargetTable | None


@dataclass(frozen=True, eq=False)
class RidgeModel:
    """A ``SubjectModel``; arrays live on the CPU, products run where ``device`` says."""

    factor: RidgeFactor | KernelFactor
    targets: dict[str, RidgeTarget]
    n: int

    @property
    def n_voxels(self) -> int:
        """Voxels of this subject."""
        return len(self.factor.mean)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one item of each target."""
        return {name: target.shape for name, target in self.targets.items()}

    @property
    def dtype(self) -> str:
        """Precision of predictions."""
        return "float64" if self.factor.right.dtype == torch.float64 else "float32"

    def chunk(self, n_rows: int, memory_limit: int) -> int:
        """Return how many columns fit: targets twice (as read, centred), their coordinates, and predictions."""
        return chunk_size(self.n, self.factor.width, n_rows, memory_limit, self.dtype)

    def predictor(self, X: np.ndarray, device: Any, memory_limit: int) -> Callable[[str, slice], np.ndarray]:
        """Return what predicts any columns of any target for the rows of ``X``."""
        rows = self.factor.coordinates(as_tensor(X))
        return self.from_coordinates(rows, device, memory_limit)

    def from_coordinates(
        self, rows: torch.Tensor, device: Any, memory_limit: int, intercept: bool = True
    ) -> Callable[[str, slice], np.ndarray]:
        """Return what predicts from ``xc right`` (n_rows, k), with or without the intercept."""
        rows = rows.to(check_device(device, rows))
        factor = self.factor.to(rows.device)
        smoothers: dict[float, torch.Tensor] = {}

        def smoother(alpha: float) -> torch.Tensor:
            if alpha not in smoothers:
                smoothers[alpha] = factor.smoother(rows, alpha)
            return smoothers[alpha]

        def predict(name: str, columns: slice) -> np.ndarray:
            target = self.targets[name]
            alpha = target.alpha if target.alpha.ndim == 0 else target.alpha[columns]
            if target.coordinates is not None:
                C = as_tensor(np.asarray(target.coordinates[columns])).to(rows.device)
                out = factor.apply(rows, C, alpha)
            else:
                assert target.table is not None
                Y = centred_columns(target.table, columns, target.mean, rows)
                distinct = np.unique(target.alpha)
                if alpha.ndim and len(distinct) * rows[:, :1].nbytes * self.n > memory_limit:
                    out = factor.apply(rows, factor.solve(Y, alpha), alpha)
                elif alpha.ndim == 0:
                    out = smoother(float(alpha)) @ Y
                else:
                    out = torch.empty(len(rows), Y.shape[1], dtype=rows.dtype, device=rows.device)
                    for value in np.unique(alpha):
                        mine = torch.from_numpy(np.flatnonzero(alpha == value)).to(rows.device)
                        out[:, mine] = smoother(float(value)) @ Y[:, mine]
            if intercept:
                out = out + torch.from_numpy(target.intercept[columns]).to(device=out.device, dtype=out.dtype)
            return out.cpu().numpy()

        return predict


def centred_columns(table: TargetTable, columns: slice, mean: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """Return training targets (n, n_columns) minus their mean, in the precision and place of ``like``."""
    block = table.read(columns, np.float64 if like.dtype == torch.float64 else np.float32)
    block -= mean[columns].astype(block.dtype)
    return torch.from_numpy(block).to(like.device)


def chunk_size(n: int, k: int, n_rows: int, memory_limit: int, dtype: str = "float32") -> int:
    """Return how many targets are worked on at once."""
    each = (8 if dtype == "float64" else 4) * (2 * n + 2 * k + 3 * n_rows)
    return int(max(1, min(MAX_COLUMNS, memory_limit // each)))
