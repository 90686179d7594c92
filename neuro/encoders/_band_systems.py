"""The linear systems of banded ridge with weights of every voxel's own, in the primal and in the dual form.

See ``_band_refine`` for the equations. They are solved for all voxels at once by conjugate gradients, preconditioned
with the decomposition of the candidate that the voxels start from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from neuro.encoders._band_design import BandDesign, by_lapack
from neuro.encoders._band_products import product
from neuro.linear._design import _double_centred, as_index
from neuro.linear._eigh import BIG, decompose
from neuro.linear._splits import Fold


@dataclass
class Features:
    """Rows of one fit in the primal form."""

    gram: torch.Tensor  # (p, p)
    val: torch.Tensor | None  # (n_val, p)
    band: torch.Tensor  # (p,)
    n_bands: int

    def spread(self, delta: torch.Tensor) -> torch.Tensor:
        return (delta / 2).exp()[:, self.band]

    def operator(self, delta: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        d = self.spread(delta)
        return lambda u: product(d * u, self.gram).mul_(d).add_(u)

    def right_side(self, delta: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return self.spread(delta) * g

    def predict(self, delta: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        assert self.val is not None
        return product(self.spread(delta) * a, self.val.T)

    def adjoint(self, delta: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        assert self.val is not None
        return self.spread(delta) * product(e, self.val)

    def gradient(self, delta: torch.Tensor, a: torch.Tensor, b: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(len(a), self.n_bands, dtype=a.dtype, device=a.device)
        return out.index_add_(1, self.band, 2 * a * b)


@dataclass
class Kernels:
    """Rows of one fit in the dual form."""

    within: torch.Tensor  # (n_bands, m, m)
    across: torch.Tensor | None  # (n_bands, n_val, m)

    def operator(self, delta: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        weights = delta.exp()

        def apply(u: torch.Tensor) -> torch.Tensor:
            out = u.clone()
            for k, K in enumerate(self.within):
                out += weights[:, k, None] * product(u, K)
            return out

        return apply

    def right_side(self, delta: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return g

    def predict(self, delta: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        assert self.across is not None
        parts = [delta[:, k, None].exp() * product(a, K.T) for k, K in enumerate(self.across)]
        return torch.stack(parts).sum(0)

    def adjoint(self, delta: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        assert self.across is not None
        parts = [delta[:, k, None].exp() * product(e, K) for k, K in enumerate(self.across)]
        return torch.stack(parts).sum(0)

    def gradient(self, delta: torch.Tensor, a: torch.Tensor, b: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        assert self.across is not None
        parts = [
            torch.linalg.vecdot(product(e, across), a) - torch.linalg.vecdot(product(b, within), a)
            for within, across in zip(self.within, self.across, strict=True)
        ]
        return 2 * delta.exp() * torch.stack(parts, 1)


@dataclass
class System:
    """One split, or all rows, with the preconditioner of one candidate."""

    rows: Any  # Features or Kernels
    lam: torch.Tensor
    Q: torch.Tensor
    fold: Fold | None
    x_mean: torch.Tensor | None
    train: torch.Tensor | None

    def solve(self, delta, rhs, guess, alpha, tolerance: float, max_iter: int):
        """Solve for rows of ``rhs`` (n_voxels, m); ``alpha`` (n_voxels,) is where the preconditioner is exact."""
        shrink = (self.lam / (self.lam + alpha[:, None])).to(rhs.dtype)

        def precondition(rows: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
            factor = shrink[rows]
            return lambda r: r - product(product(r, self.Q).mul_(factor), self.Q.T)

        return conjugate_gradients(
            lambda rows: self.rows.operator(delta[rows]), rhs, guess, precondition, tolerance, max_iter
        )


def conjugate_gradients(operator, rhs, guess, precondition, tolerance: float, max_iter: int):
    """Solve for many right-hand sides, the rows, each until its residual is below ``tolerance``.

    Parameters
    ----------
    operator, precondition : callables
        ``rows -> (u -> A u)`` of the systems ``rows``, an index tensor: systems leave as they converge.

    Returns
    -------
    x, residual : tensors like ``rhs``
    """
    x, residual = guess.clone(), rhs.clone()
    tiny = torch.finfo(rhs.dtype).tiny
    rows = torch.arange(len(rhs), device=rhs.device)
    limit = (tolerance**2 * torch.linalg.vecdot(rhs, rhs)).clamp_(min=tiny)
    apply, first = operator(rows), precondition(rows)
    r = rhs - apply(x)
    z = first(r)
    p, rz, y = z.clone(), torch.linalg.vecdot(r, z), x.clone()
    for _ in range(max_iter):
        active = torch.linalg.vecdot(r, r) > limit[rows]
        n_active = int(active.sum())
        if n_active == 0:
            break
        if n_active < 0.7 * len(rows):
            x[rows], residual[rows] = y, r
            rows, r, p, rz, y = rows[active], r[active], p[active], rz[active], y[active]
            apply, first = operator(rows), precondition(rows)
        Ap = apply(p)
        step = rz / torch.linalg.vecdot(p, Ap).clamp(min=tiny)
        y = y + step[:, None] * p
        r = r - step[:, None] * Ap
        z = first(r)
        new = torch.linalg.vecdot(r, z)
        p = z + (new / rz.clamp(min=tiny))[:, None] * p
        rz = new
    x[rows], residual[rows] = y, r
    return x, residual


def system_of(view: BandDesign, fold: Fold | None) -> System:
    dtype = view.dtype
    if view.form == "primal":
        train = mean = val = None
        if fold is None:
            gram = view.gram
        else:
            val, train, gram, mean = view.fold_gram(fold)
            val, mean = val - mean.to(dtype), mean.to(dtype)
        root = view.weights[view.band].sqrt()
        lam, Q = _rough(gram * root * root[:, None], dtype)
        return System(Features(gram.to(dtype), val, view.band, view.n_bands), lam, Q.to(dtype), fold, mean, train)
    assert view.kernels is not None
    if fold is None:
        within = _each_centred(view.kernels) if view.intercept else view.kernels
        across = None
    else:
        t, f = as_index(fold.train, view.n, view.X.device), as_index(fold.val, view.n, view.X.device)
        within, across = view.kernels[:, t[:, None], t], view.kernels[:, f[:, None], t]
        if view.intercept:
            mean = within.mean(1, keepdim=True)
            across = across - across.mean(2, keepdim=True) - mean + mean.mean(2, keepdim=True)
            within = _each_centred(within)
    lam, Q = _rough(torch.einsum("k,kij->ij", view.weights, within), dtype)
    across = None if across is None else across.to(dtype)
    return System(Kernels(within.to(dtype), across), lam, Q.to(dtype), fold, None, None)


def _rough(gram: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Diagonalise well enough for a preconditioner."""
    if gram.device.type != "cpu" or len(gram) >= BIG:
        return decompose(gram, len(gram), 0.0, torch.float64)
    lam, Q = by_lapack(gram.to(dtype))
    return lam.clamp(min=0), Q


def _each_centred(kernels: torch.Tensor) -> torch.Tensor:
    return torch.stack([_double_centred(K) for K in kernels])
