"""One decomposition of the responses that serves every target and every penalty.

With centred (and, where asked, standardised) responses ``Xc = U S V'`` the ridge prediction for new responses ``x`` is

    y = (xc V S) diag(1 / (S^2 + alpha)) (U' Yc) + b,

so ``Xc`` is decomposed once and each target is a column of ``U' Yc`` (at most n - 1 numbers, often fewer than it has
voxels as weights). For one penalty the first two factors and ``U'`` make the smoother ``h = (xc V S) diag(...) U'``,
(n_new, n), and ``y = h Yc + b``: predictions straight from the training targets, without any coefficient.

Where all penalties are given and the kernel ``Xc Xc'`` is the smaller matrix, a Cholesky factor of ``Xc Xc' + alpha I``
gives the same for a fraction of the eigendecomposition's work, once per penalty.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from neuro._check import check_option
from neuro.errors import ShapeMismatch
from neuro.linear._arrays import as_tensor, check_device, gram64
from neuro.linear._cv import resolve_form
from neuro.linear._eigh import decompose

FORMS = ("auto", "primal", "dual")
TINY = 1e-11  # of the kernel's trace: below, a penalty does not lift its null space safely above rounding


@dataclass(frozen=True, eq=False)
class RidgeFactor:
    """Decomposed responses of one subject.

    Attributes
    ----------
    mean, scale : tensors (n_voxels,)
        ``xc = (x - mean) / scale``.
    lam : tensor (k,), float64
        Squared singular values.
    left : tensor (n, k)
        Takes training targets to coordinates: ``left' Yc``.
    right : tensor (n_voxels, k)
        Takes new responses to coordinates: ``xc right``. Of each pair of columns one carries the singular value.
    form : str
        "primal" or "dual": which matrix was diagonalised.
    """

    FIELDS = ("mean", "scale", "lam", "left", "right")

    mean: torch.Tensor
    scale: torch.Tensor
    lam: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    form: str

    @property
    def width(self) -> int:
        """Numbers kept per target."""
        return self.right.shape[1]

    def coordinates(self, X: torch.Tensor) -> torch.Tensor:
        """Return ``xc right`` (n_new, k) of new responses (n_new, n_voxels)."""
        return self.directions((X.to(self.mean) - self.mean) / self.scale)

    def directions(self, xc: torch.Tensor) -> torch.Tensor:
        """Return ``xc right`` (n_new, k) of centred and scaled responses."""
        return xc.to(self.right) @ self.right

    def solve(self, Yc: torch.Tensor, alpha: np.ndarray) -> torch.Tensor:
        """Return what is kept of centred targets (n, n_targets): ``Yc' left``, whatever the penalty."""
        return Yc.T @ self.left

    def apply(self, rows: torch.Tensor, kept: torch.Tensor, alpha: np.ndarray) -> torch.Tensor:
        """Return predictions (n_new, n_targets) without intercept, for one penalty or one per target."""
        if alpha.ndim == 0:
            return (rows * self._shrink(alpha)) @ kept.T
        return rows @ (kept * self._shrink(alpha)).T

    def smoother(self, rows: torch.Tensor, alpha: float) -> torch.Tensor:
        """Return ``h`` (n_new, n), with predictions ``h Yc``."""
        return (rows * self._shrink(np.array(alpha))) @ self.left.T

    def _shrink(self, alpha: np.ndarray) -> torch.Tensor:
        penalty = torch.as_tensor(alpha, dtype=torch.float64, device=self.lam.device)
        return (1 / (self.lam + penalty[..., None])).to(self.right.dtype)

    def to(self, device: Any) -> RidgeFactor:
        """Return the same numbers on another device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in self.FIELDS})


@dataclass(frozen=True, eq=False)
class KernelFactor:
    """Responses of one subject and their kernel, for a few given penalties; the interface of :class:`RidgeFactor`.

    Attributes
    ----------
    mean, scale : tensors (n_voxels,)
    rows : tensor (n, n_voxels), float32
        ``Xc``.
    gram : tensor (n, n), float64, or None
        ``Xc Xc'``; worked out again when asked for.
    """

    FIELDS = ("mean", "scale", "rows")
    form = "dual"

    mean: torch.Tensor
    scale: torch.Tensor
    rows: torch.Tensor
    gram: torch.Tensor | None = None
    _inverses: dict[float, torch.Tensor] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Numbers kept per target."""
        return len(self.rows)

    @property
    def right(self) -> torch.Tensor:
        """``Xc'`` (n_voxels, n): takes new responses to coordinates."""
        return self.rows.T

    def coordinates(self, X: torch.Tensor) -> torch.Tensor:
        """Return the kernel ``xc Xc'`` (n_new, n) of new responses (n_new, n_voxels)."""
        return self.directions((X.to(self.mean) - self.mean) / self.scale)

    def directions(self, xc: torch.Tensor) -> torch.Tensor:
        """Return ``xc Xc'`` (n_new, n) of centred and scaled responses."""
        return xc.to(self.rows) @ self.rows.T

    def solve(self, Yc: torch.Tensor, alpha: np.ndarray) -> torch.Tensor:
        """Return the dual coefficients (n_targets, n) of centred targets (n, n_targets), all with one penalty."""
        penalty = float(alpha)
        if penalty not in self._inverses:
            self._inverses[penalty] = torch.cholesky_inverse(self._cholesky(penalty)).to(self.rows.dtype)
        return Yc.T @ self._inverses[penalty]

    def apply(self, rows: torch.Tensor, kept: torch.Tensor, alpha: np.ndarray) -> torch.Tensor:
        """Return predictions (n_new, n_targets) without intercept; the penalty is in the coefficients."""
        return rows @ kept.T

    def smoother(self, rows: torch.Tensor, alpha: float) -> torch.Tensor:
        """Return ``h`` (n_new, n), with predictions ``h Yc``."""
        return torch.cholesky_solve(rows.double().T, self._cholesky(alpha)).T.to(rows.dtype)

    def _cholesky(self, alpha: float) -> torch.Tensor:
        gram = gram64(self.rows.T) if self.gram is None else self.gram.clone()
        gram.diagonal().add_(alpha)
        return torch.linalg.cholesky(gram)

    def slim(self) -> KernelFactor:
        """Return the same without what only :meth:`solve` and :meth:`smoother` need."""
        return KernelFactor(self.mean, self.scale, self.rows)

    def to(self, device: Any) -> KernelFactor:
        """Return the same numbers on another device."""
        gram = None if self.gram is None else self.gram.to(device)
        return KernelFactor(self.mean.to(device), self.scale.to(device), self.rows.to(device), gram)


def factorise(
    X: np.ndarray,
    *,
    standardize: bool = False,
    form: str = "auto",
    alpha_min: float = 0.0,
    given: bool = False,
    double: bool = False,
    device: Any = None,
) -> RidgeFactor | KernelFactor:
    """Decompose responses (n, n_voxels), centred on their mean and with ``standardize`` divided by their sd (ddof 1).

    float32 responses go through the float64 eigendecomposition of ``Xc'Xc`` (primal) or ``Xc Xc'`` (dual), float64
    (``double``) through the singular value decomposition of ``Xc``. With few penalties that are ``given``, all of at
    least ``alpha_min``, the dual form in float32 needs no eigendecomposition. A constant voxel has weight 0.
    """
    check_option("form", form, FORMS)
    if len(X) < 2:
        raise ShapeMismatch(f"a linear decoder needs at least 2 training items, got {len(X)}.")
    A = as_tensor(X)
    A = A.to(check_device(device, A))
    dtype = torch.float64 if double else torch.float32
    mean = A.mean(0, dtype=torch.float64)
    Xc = (A.double() - mean).to(dtype) if double else _centred(A, mean)
    if standardize:
        sd = Xc.square().sum(0, dtype=torch.float64).div_(len(X) - 1).sqrt_()
        constant = sd <= 1e-6 * mean.abs()
        scale = torch.where(constant, 1.0, sd)
        Xc /= scale.to(dtype)
        Xc[:, constant] = 0
    else:
        scale = torch.ones_like(mean)
    form = resolve_form(form, Xc)
    rank = min(len(X) - 1, X.shape[1])
    if double:
        U, s, Vt = torch.linalg.svd(Xc, full_matrices=False)
        keep = s > s[:1] * max(X.shape) * torch.finfo(dtype).eps
        keep[rank:] = False
        return RidgeFactor(mean, scale, s[keep] ** 2, U[:, keep].contiguous(), (Vt.T * s)[:, keep].contiguous(), form)
    gram = gram64(Xc if form == "primal" else Xc.T)
    if given and form == "dual" and alpha_min > TINY * float(gram.diagonal().sum()):
        return KernelFactor(mean, scale, Xc, gram)
    lam, basis = decompose(gram, rank, alpha_min, dtype)
    basis = basis.to(dtype)
    if form == "primal":
        return RidgeFactor(mean, scale, lam, Xc @ basis, basis, form)
    return RidgeFactor(mean, scale, lam, basis, Xc.T @ basis, form)


def _centred(A: torch.Tensor, mean: torch.Tensor, block: int = 2**22) -> torch.Tensor:
    """Return ``A - mean`` in float32, subtracted in float64 a few rows at a time."""
    out = torch.empty(A.shape, dtype=torch.float32, device=A.device)
    step = max(1, block // A.shape[1])
    for start in range(0, len(A), step):
        out[start : start + step] = A[start : start + step].double() - mean
    return out
