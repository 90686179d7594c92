"""Ridge regression in which every target unit reads from the voxels that correlate with it most.

For unit ``t`` let ``S_t`` be the ``n_select`` voxels with the largest ``|corr(x_v, y_t)|`` over training items. With
voxels and units z-scored by training mean and standard deviation (ddof 1)

    w_t = (Z_S' Z_S + alpha I)^-1 Z_S' z_t,        prediction  sd_t (z_new,S w_t) + m_t.

Selection keeps thousands of voxels that know nothing of a unit from adding their noise to it; with all voxels it is
plain ridge on z-scores.

References
----------
Horikawa and Kamitani (2017), Nature Communications 8, 15037.
Shen et al. (2019), PLOS Computational Biology 15, e1006633.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neuro._check import check_positive_int
from neuro.decoders._linear_base import LinearDecoder
from neuro.decoders._linear_targets import MAX_COLUMNS, TargetTable
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.linear._alphas import positive
from neuro.linear._arrays import as_tensor, check_device, gram64

NEAR_CONSTANT = 1e-6  # standard deviation relative to the mean's size: above float32's rounding, below any signal


def zscore_columns(X: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return z-scores (ddof 1), means and standard deviations of the columns of X (n, n_columns).

    Columns that are constant, or vary by no more than the rounding of their mean, get standard deviation 0 and z-scores
    of 0.

    >>> z, mean, sd = zscore_columns(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> mean.tolist(), sd.round(3).tolist(), z.round(3).tolist()
    ([2.0, 5.0], [1.414, 0.0], [[-0.707, 0.0], [0.707, 0.0]])
    """
    X = np.asarray(X)
    mean = X.mean(0, dtype=np.float64)
    centred = X - mean.astype(X.dtype)
    sd = np.sqrt(np.einsum("ij,ij->j", centred, centred, dtype=np.float64) / max(len(X) - 1, 1))
    sd[sd <= NEAR_CONSTANT * np.abs(mean)] = 0
    gain = np.divide(1, sd, out=np.zeros_like(sd), where=sd > 0)
    return centred * gain.astype(X.dtype), mean, sd


def select_voxels(Z: Any, T: Any, n_select: int) -> np.ndarray:
    """Return for every unit the voxels with the largest absolute correlation.

    Parameters
    ----------
    Z : array (n, n_voxels), z-scored; near-constant voxels 0 throughout (see :func:`zscore_columns`)
    T : array (n, n_units), z-scored
    n_select : int

    Returns
    -------
    integer array (n_units, min(n_select, voxels that vary))
        Ascending; of equal correlations the first voxels are taken.

    Examples
    --------
    >>> z = zscore_columns(np.array([[0.0, 1.0, 3.0], [1.0, -1.0, 2.0], [2.0, -1.0, 1.1], [3.0, 1.0, 0.0]]))[0]
    >>> select_voxels(z, z[:, [2]], 2).tolist()
    [[0, 2]]
    """
    Z, T = np.asarray(Z), np.asarray(T)
    varying = np.flatnonzero(np.any(Z != 0, axis=0))
    if not len(varying):
        raise EmptySelection("no voxel varies over the training items.")
    n_select = min(check_positive_int("n_select", n_select), len(varying))
    if n_select == len(varying):
        return np.broadcast_to(varying, (T.shape[1], n_select)).copy()
    strength = -np.abs(T.T @ Z[:, varying])
    return np.sort(varying[np.argsort(strength, axis=1, kind="stable")[:, :n_select]], axis=1)


def solve_selected(Z: Any, T: Any, voxels: Any, alpha: float, *, gram: Any = None, batch: int = 64) -> np.ndarray:
    """Minimise ``|t - Z_S w|^2 + alpha |w|^2`` for every unit with its own voxels S.

    Parameters
    ----------
    Z : array or tensor (n, n_voxels)
    T : array or tensor (n, n_units)
    voxels : integer array or tensor (n_units, n_select)
    alpha : float, > 0
    gram : tensor (n_voxels, n_voxels), optional
        ``Z'Z``: with it every unit picks its entries instead of multiplying its own voxels again.
    batch : int
        Units solved together.

    Returns
    -------
    array (n_units, n_select), float64

    Notes
    -----
    With fewer items than selected voxels the items' kernel (n, n) is solved instead.
    """
    Z, T, voxels = (a if isinstance(a, torch.Tensor) else torch.as_tensor(np.asarray(a)) for a in (Z, T, voxels))
    n, n_select = len(Z), voxels.shape[1]
    out = torch.empty(voxels.shape, dtype=torch.float64)
    for start in range(0, len(voxels), batch):
        units = slice(start, start + batch)
        S, t = voxels[units].to(Z.device), T[:, units].T.double()[:, :, None]  # (b, n_select), (b, n, 1)
        if gram is not None and n_select <= n:
            A = gram[S[:, :, None], S[:, None, :]].double()
            right = (Z.double().T @ T[:, units].double()).T.gather(1, S)[:, :, None]
            out[units] = _solve_penalised(A, alpha, right)[:, :, 0].cpu()
            continue
        own = Z.T[S].double()  # (b, n_select, n)
        if n_select <= n:
            out[units] = _solve_penalised(own @ own.mT, alpha, own @ t)[:, :, 0].cpu()
        else:
            out[units] = (own @ _solve_penalised(own.mT @ own, alpha, t))[:, :, 0].cpu()
    return out.numpy()


def _solve_penalised(A: torch.Tensor, alpha: float, right: torch.Tensor) -> torch.Tensor:
    A.diagonal(dim1=-2, dim2=-1).add_(alpha)
    return torch.cholesky_solve(right, torch.linalg.cholesky(A))


@dataclass(frozen=True, eq=False)
class SelectedTarget:
    """One kind of target: voxels and weights (n_targets, n_select) in z-scores, mean and sd of its columns."""

    shape: tuple[int, ...]
    voxels: np.ndarray
    weights: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


@dataclass(frozen=True, eq=False)
class SelectedModel:
    """One subject's fitted decoder."""

    mean: np.ndarray
    sd: np.ndarray
    targets: dict[str, SelectedTarget]
    dtype: str

    @property
    def n_voxels(self) -> int:
        """Voxels of this subject."""
        return len(self.mean)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one item of each target."""
        return {name: target.shape for name, target in self.targets.items()}

    def chunk(self, n_rows: int, memory_limit: int) -> int:
        """Return how many columns fit: the voxels of each, gathered for all rows."""
        widest = max(t.voxels.shape[1] for t in self.targets.values())
        return int(max(1, min(MAX_COLUMNS, memory_limit // (16 * n_rows * widest))))

    def predictor(self, X: np.ndarray, device: Any, memory_limit: int) -> Callable[[str, slice], np.ndarray]:
        """Return what predicts any columns of any target for the rows of ``X``."""
        gain = np.divide(1, self.sd, out=np.zeros_like(self.sd), where=self.sd > 0)
        Z = as_tensor(((X - self.mean) * gain).astype(self.dtype))
        Z = Z.to(check_device(device, Z))

        def predict(name: str, columns: slice) -> np.ndarray:
            target = self.targets[name]
            own = Z.T[torch.as_tensor(target.voxels[columns]).to(Z.device)]  # (n_columns, n_select, n_rows)
            weights = torch.as_tensor(target.weights[columns]).to(device=Z.device, dtype=Z.dtype)
            z = torch.einsum("tk,tkn->nt", weights, own).cpu().numpy()
            return (z * target.sd[columns] + target.mean[columns]).astype(self.dtype)

        return predict


class VoxelSelectionDecoder(LinearDecoder):
    """Ridge regression from the voxels that correlate most with each target unit.

    Parameters
    ----------
    n_select : int
        Voxels per unit; all that vary if there are fewer.
    alpha : float
        Penalty, for z-scored voxels and units.
    average_repeats, rescaling, reference_sd, device
        As in :class:`~neuro.decoders.linear.RidgeDecoder`.
    random_state : int or None
        Of the folds of ``rescaling="train_fold"``.
    memory_limit : int
        Bytes. If ``Z'Z`` of all voxels (float64) takes less than half of it, all units pick from it; otherwise every
        unit multiplies its own voxels, which is slower.

    Attributes
    ----------
    models_ : dict of subject -> fitted model
    train_ids_, target_statistics_, provenance_
        As in :class:`~neuro.decoders.linear.RidgeDecoder`.

    Notes
    -----
    Units that do not vary over training items are predicted as their mean.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 40))
    >>> decoder = VoxelSelectionDecoder(n_select=2, alpha=1.0).fit(X, {"unit": X[:, [3]] - X[:, [9]]})
    >>> decoder.selected()["unit"].tolist()
    [[3, 9]]
    """

    models_: dict[Hashable, SelectedModel]

    def __init__(
        self,
        n_select: int = 500,
        alpha: float = 100.0,
        *,
        average_repeats: str = "voxels",
        rescaling: str = "none",
        reference_sd: Any = None,
        random_state: int | None = 0,
        device: Any = None,
        memory_limit: int = 2**31,
    ):
        self.n_select = n_select
        self.alpha = alpha
        self.average_repeats = average_repeats
        self.rescaling = rescaling
        self.reference_sd = reference_sd
        self.random_state = random_state
        self.device = device
        self.memory_limit = memory_limit

    def _check(self) -> None:
        super()._check()
        check_positive_int("n_select", self.n_select)
        if positive("alpha", self.alpha).ndim:
            raise ShapeMismatch(f"alpha must be one number, got shape {np.shape(self.alpha)}.")

    def _describe(self) -> dict[str, Any]:
        return {"n_select": self.n_select, "alpha": self.alpha}

    def _fit_subject(
        self, X: np.ndarray, tables: dict[str, TargetTable], moments: Any, groups: np.ndarray | None
    ) -> SelectedModel:
        if len(X) < 2:
            raise ShapeMismatch(f"a linear decoder needs at least 2 training items, got {len(X)}.")
        Z, mean, sd = zscore_columns(X)
        n, v = Z.shape
        on_device = as_tensor(Z).to(check_device(self.device, as_tensor(Z)))
        keep = min(self.n_select, int(np.count_nonzero(sd)))
        if keep == 0:
            raise EmptySelection(f"none of the {v:,} voxels varies over the {n:,} training items.")
        gram = gram64(on_device) if keep <= n and 16 * v * v <= self.memory_limit else None
        side = min(keep, n)
        room = max(1, self.memory_limit // 2)
        batch = int(max(1, min(256, room // (8 * (2 * side * side + (0 if gram is not None else keep * n))))))
        step = int(max(1, min(MAX_COLUMNS, room // (8 * (2 * n + 3 * v + 2 * keep)))))
        targets = {}
        for name, table in tables.items():
            voxels = np.empty((table.n_targets, keep), np.int32)
            weights = np.empty((table.n_targets, keep), np.float64 if Z.dtype == np.float64 else np.float32)
            column_mean, column_sd = moments[name]
            column_sd = np.where(column_sd <= NEAR_CONSTANT * np.abs(column_mean), 0.0, column_sd)
            gain = np.divide(1, column_sd, out=np.zeros_like(column_sd), where=column_sd > 0)
            for columns in table.chunks(step):
                T = ((table.read(columns, Z.dtype) - column_mean[columns]) * gain[columns]).astype(Z.dtype)
                chosen = select_voxels(Z, T, keep)
                voxels[columns] = chosen
                units = torch.from_numpy(T).to(on_device.device)
                weights[columns] = solve_selected(
                    on_device, units, torch.from_numpy(chosen), float(self.alpha), gram=gram, batch=batch
                )
            targets[name] = SelectedTarget(table.shape, voxels, weights, column_mean, column_sd)
        return SelectedModel(mean, sd, targets, Z.dtype.name)

    def selected(self, subject: Hashable = None) -> dict[str, np.ndarray]:
        """Return the voxels of each unit, name -> (..., n_select), in ascending order."""
        if subject is None and len(self.models_) == 1:
            subject = next(iter(self.models_))
        return {name: t.voxels.reshape(*t.shape, -1).copy() for name, t in self.models_[subject].targets.items()}
