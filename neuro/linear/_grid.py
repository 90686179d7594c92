"""How to score every penalty of a grid at the price of one.

In the eigenbasis of one fold's training Gram matrix (eigenvalues lambda_i) let ``c`` be the coordinates of a voxel's
cross-product with the features, and ``Z`` (n_val, k) the held-out rows. With ``f_i = 1 / (lambda_i + alpha)`` the
held-out predictions are ``Z (f * c)``, and a score needs of them only

    cross = sum_i f_i c_i w_i,              w = Z'y
    quad  = sum_ij M_ij c_i c_j f_i f_j,    M = Z'Z.

The double sum is taken apart by partial fractions, ``f_i f_j = (f_i - f_j) / (lambda_j - lambda_i)``:

    quad  = sum_i f_i c_i (P c)_i + sum_i f_i^2 c_i (N c)_i,    P_ij = 2 M_ij / (lambda_j - lambda_i),

where ``P`` holds the pairs that are well apart and ``N`` the others (the diagonal, and pairs so close that
``f_i f_j ~ (f_i^2 + f_j^2) / 2``, wrong by half their squared relative distance). ``P c`` is one k x k product whatever
the number of penalties; what remains per penalty are k multiplications. As ``sum_i c_i (P c)_i = 0``, ``f_i`` may
be replaced by ``f_i - f_max`` there, which removes the cancellation at large penalties.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from neuro.linear._chunks import Buffers

NEAR = {torch.float32: 5e-3, torch.float64: 1e-5}  # relative distance: balances NEAR^2 / 2 against rounding / NEAR


@dataclass(frozen=True)
class FoldFactor:
    """One fold in the eigenbasis of its training rows."""

    lam: torch.Tensor  # (k,) float64, ascending, positive
    Z: torch.Tensor  # (n_val, k): held-out rows, minus the training mean, in the basis
    basis: torch.Tensor  # (p, k) or (n_train, k): takes X'Y, or training rows of Y, to coordinates c
    x_mean: torch.Tensor | None = None  # (p,) training mean of the features, in the primal form


class PartialFractions:
    """The penalty-independent products of one fold, ready for any number of voxels."""

    def __init__(self, lam: torch.Tensor, Z: torch.Tensor, alphas: torch.Tensor, dtype: torch.dtype):
        k = len(lam)
        tolerance = NEAR[dtype]
        f = 1 / (lam[:, None] + alphas)  # (k, n_alphas) float64
        self.n_val = len(Z)
        self.f = f.to(dtype)
        self.f_far = ((lam[-1] - lam)[:, None] * f * f[-1]).to(dtype)  # f - f[-1], without cancelling
        self.f_near = f.square().to(dtype)
        self.f_sum = (f * Z.sum(0, dtype=torch.float64)[:, None]).to(dtype)
        self.f_both = torch.cat([self.f, self.f_near])
        self.far = torch.empty(k, k, dtype=dtype, device=lam.device)
        self.far_blocks: list[tuple[slice, list[slice]]] = []
        self.near_blocks: list[tuple[slice, slice, torch.Tensor]] = []
        slack = tolerance * float(alphas.min())
        first = torch.searchsorted(lam, lam * (1 - tolerance) - slack).tolist()
        last = torch.searchsorted(lam, (lam + slack) / (1 - tolerance), right=True).tolist()
        for here in _blocks(0, k, max(512, -(-k // 8))):
            M = Z.T @ Z[:, here]  # (k, block)
            gap = lam[here] - lam[:, None]  # [j, i] = lambda_i - lambda_j
            close = gap.abs() <= tolerance * torch.maximum(lam[here], lam[:, None]) + slack
            # column i of ``far`` is row i of P
            self.far[:, here] = torch.div(M, torch.where(close, torch.inf, gap).to(M.dtype)).mul_(-2)
            self.far_blocks.append((here, _without(k, first[here.stop - 1], last[here.start])))
            for part in _blocks(here.start, here.stop, 64):
                rows = slice(first[part.start], last[part.stop - 1])
                columns = slice(part.start - here.start, part.stop - here.start)
                block = torch.where(close[rows, columns], M[rows, columns], 0).to(dtype)
                self.near_blocks.append((part, rows, block))

    def sums(self, c: torch.Tensor, both: torch.Tensor, y_mean: torch.Tensor, parts: bool):
        """Return (excess, None, None, None) or (None, cross, quad, total), each (n_voxels, n_alphas).

        Parameters
        ----------
        c : tensor (n_voxels, k)
        both : contiguous tensor (n_voxels, 2 k)
            The first half holds ``w = Z'y`` with y *not* centred on the training mean; all of it is overwritten.
        y_mean : tensor (n_voxels,)
            Training mean of y.
        parts : bool
            Whether cross and quad are needed apart.
        """
        v, k = c.shape
        far, near = both[:, :k], both[:, k:]
        total = c @ self.f_sum
        cross = None
        if parts:
            cross = torch.mul(c, far, out=near) @ self.f - y_mean[:, None] * total
        keep_w = 0.0 if parts else -2.0  # quad alone, or quad - 2 cross
        for here, ranges in self.far_blocks:
            beta = keep_w
            for rows in ranges:
                far[:, here].addmm_(c[:, rows], self.far[rows, here], beta=beta)
                beta = 1.0
            if not ranges:
                far[:, here].mul_(keep_w)
        for here, rows, block in self.near_blocks:
            torch.mm(c[:, rows], block, out=near[:, here])
        both.view(v, 2, k).mul_(c[:, None, :])
        if parts:
            return None, cross, far @ self.f_far + near @ self.f_near, total
        return (both @ self.f_both).add_(y_mean[:, None] * total, alpha=2), None, None, None


def _blocks(start: int, stop: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, stop)) for i in range(start, stop, size)]


def _without(k: int, start: int, stop: int) -> list[slice]:
    """Return 0..k without start..stop, or whole where leaving that out is not worth a second product."""
    if stop - start <= k // 8:
        return [slice(0, k)]
    return [s for s in (slice(0, start), slice(stop, k)) if s.stop > s.start]


class Predictions:
    """The direct way: predict the held-out rows for every penalty. Cheaper for few penalties or few held-out rows."""

    def __init__(self, lam: torch.Tensor, Z: torch.Tensor, alphas: torch.Tensor, dtype: torch.dtype):
        self.f = (1 / (lam[:, None] + alphas)).to(dtype)
        self.Z = Z.to(dtype)

    def sums(self, c: torch.Tensor, y: torch.Tensor, y_mean: torch.Tensor, parts: bool, buffers: Buffers):
        """Return what ``PartialFractions.sums`` does, from the held-out responses ``y`` (n_val, n_voxels)."""
        v, n_alphas = len(c), self.f.shape[1]
        cross, quad, total = (torch.empty(v, n_alphas, dtype=c.dtype, device=c.device) for _ in range(3))
        predicted = buffers("predicted", len(y), v)
        for a in range(n_alphas):
            torch.mm(self.Z * self.f[:, a], c.T, out=predicted)
            total[:, a] = predicted.sum(0)
            cross[:, a] = torch.linalg.vecdot(predicted, y, dim=0)
            quad[:, a] = torch.linalg.vecdot(predicted, predicted, dim=0)
        cross -= y_mean[:, None] * total
        return (None, cross, quad, total) if parts else (quad.add_(cross, alpha=-2), None, None, None)


def cheaper_way(n_val: int, k: int, n_alphas: int, n_voxels: int):
    """Return the class with fewer multiplications: per voxel k^2 against n_alphas n_val k, and the cost of P."""
    fractions = n_voxels * k * k * 1.1 + 2 * n_val * k * k + 20 * k * k
    predictions = n_voxels * n_val * k * n_alphas + n_alphas * n_val * k
    return PartialFractions if fractions < predictions else Predictions
