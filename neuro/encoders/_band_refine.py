"""Every voxel's own band weights by gradient descent on its cross-validation error, from the best candidate on.

With log weights ``delta_k = log(gamma_k / alpha)`` and ``D = diag(exp(delta / 2))`` over the columns, the weights of
one split are ``w = D a`` with ``(D G D + I) a = D g`` (``G = X'X``, ``g = X'y`` of its training rows). For held-out
residuals ``e = X_val w - y_val`` and ``(D G D + I) b = D X_val' e``, implicit differentiation gives

    d |e|^2 / d delta_k = 2 sum_{j in band k} a_j b_j.

With kernels, ``(K + I) c = y`` where ``K = sum_k exp(delta_k) K_k``, the residuals are
``e = sum_k exp(delta_k) K_k,val c - y_val``, and with ``(K + I) b = K_val' e`` the derivative is
``2 exp(delta_k) (e' K_k,val c - b' K_k c)``. The systems are solved for all voxels at once by conjugate gradients,
preconditioned with the decomposition of the candidate that the voxels start from. Steps that do not lower the error are
taken back and shortened, so the last iterate is the best one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from neuro.encoders._band_design import BandDesign
from neuro.encoders._band_search import Found, Problem
from neuro.encoders._chunks import Buffers, over_chunks
from neuro.encoders._design import _double_centred, as_index, take
from neuro.encoders._eigh import decompose
from neuro.encoders._splits import Fold

# residuals of the linear systems, relative
LOOSE = 3e-3  # on the way, where only products of two such errors matter
LAST = {torch.float32: 3e-4, torch.float64: 1e-5}  # for the score that is reported
TIGHT = {torch.float32: 1e-5, torch.float64: 1e-10}  # for the weights
GROW, SHRINK, FIRST_STEP = 1.6, 0.4, 1.0  # of steps in log weights
HEADROOM = 2.3  # how far, in log weights, a penalty may go below the grid: one decade


@dataclass
class _Features:
    """Rows of one fit in the primal form."""

    gram: torch.Tensor  # (p, p)
    val: torch.Tensor | None  # (n_val, p)
    band: torch.Tensor  # (p,)
    n_bands: int

    def spread(self, delta: torch.Tensor) -> torch.Tensor:
        return (delta / 2).exp()[:, self.band]

    def operator(self, delta: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        d = self.spread(delta)
        return lambda u: (d * u) @ self.gram * d + u

    def right_side(self, delta: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return self.spread(delta) * g

    def predict(self, delta: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        assert self.val is not None
        return (self.spread(delta) * a) @ self.val.T

    def adjoint(self, delta: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        assert self.val is not None
        return self.spread(delta) * (e @ self.val)

    def gradient(self, delta: torch.Tensor, a: torch.Tensor, b: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(len(a), self.n_bands, dtype=a.dtype, device=a.device)
        return out.index_add_(1, self.band, 2 * a * b)


@dataclass
class _Kernels:
    """Rows of one fit in the dual form."""

    within: torch.Tensor  # (n_bands, m, m)
    across: torch.Tensor | None  # (n_bands, n_val, m)

    def operator(self, delta: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        weights = delta.exp()

        def apply(u: torch.Tensor) -> torch.Tensor:
            out = u.clone()
            for k, K in enumerate(self.within):
                out += weights[:, k, None] * (u @ K)
            return out

        return apply

    def right_side(self, delta: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return g

    def predict(self, delta: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        assert self.across is not None
        parts = [delta[:, k, None].exp() * (a @ K.T) for k, K in enumerate(self.across)]
        return torch.stack(parts).sum(0)

    def adjoint(self, delta: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        assert self.across is not None
        parts = [delta[:, k, None].exp() * (e @ K) for k, K in enumerate(self.across)]
        return torch.stack(parts).sum(0)

    def gradient(self, delta: torch.Tensor, a: torch.Tensor, b: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        assert self.across is not None
        parts = [
            torch.linalg.vecdot(e @ across, a) - torch.linalg.vecdot(b @ within, a)
            for within, across in zip(self.within, self.across, strict=True)
        ]
        return 2 * delta.exp() * torch.stack(parts, 1)


@dataclass
class _System:
    """One split, or all rows, with the preconditioner of one candidate."""

    rows: Any  # _Features or _Kernels
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
            return lambda r: r - ((r @ self.Q) * factor) @ self.Q.T

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


def refine(problem: Problem, candidates: torch.Tensor, found: Found, max_iter: int, max_cg: int = 200):
    """Refine the log weights of every voxel.

    Returns
    -------
    delta : tensor (n_voxels, n_bands), float64
        ``log(gamma_k / alpha)`` in the units of the design, band scales included.
    score : tensor (n_voxels,)
        Never below ``found.score``.
    moved : bool tensor (n_voxels,)
        Whether the gradient improved on the candidate.
    """
    design = problem.design
    alpha = problem.alphas[found.alpha]
    delta = ((candidates * design.band_scales)[found.candidate] / alpha[:, None]).log()
    score = found.score.clone()
    moved = torch.zeros_like(score, dtype=torch.bool)
    highest = float(design.band_scales.log().max() - problem.alphas.min().log()) + HEADROOM
    for i in torch.unique(found.candidate).tolist():
        where = torch.nonzero(found.candidate == i)[:, 0]
        some, start, here = problem.only(where), delta[where], alpha[where]
        view = design.at(candidates[i])
        systems = [_system(view, fold) for fold in problem.folds]

        def work(
            voxels: slice, buffers: Buffers, some=some, start=start, here=here, systems=systems, where=where
        ) -> None:
            best, value = _descend(
                some, systems, voxels, start[voxels], here[voxels], max_iter, max_cg, highest, buffers
            )
            better = value > score[where[voxels]]
            rows = where[voxels][better]
            delta[rows], score[rows], moved[rows] = best[better], value[better], True

        over_chunks(work, some.responses, 12 * design.n, problem.memory_limit, problem.n_jobs)
        del systems, work
    return delta, score, moved


def solve_refined(problem: Problem, candidates: torch.Tensor, found: Found, delta: torch.Tensor, max_cg: int = 500):
    """Solve on all rows with each voxel's own log weights.

    Returns
    -------
    tensor (n_voxels, p) or, in the dual form, (n_voxels, n)
        The weights of the scaled problem.
    """
    design, v = problem.design, problem.responses.n_voxels
    primal = design.form == "primal"
    out = torch.empty(v, design.p if primal else design.n, dtype=design.dtype, device=design.X.device)
    alpha = problem.alphas[found.alpha]
    for i in torch.unique(found.candidate).tolist():
        where = torch.nonzero(found.candidate == i)[:, 0]
        some, start, here = problem.only(where), delta[where].to(design.dtype), alpha[where]
        system = _system(design.at(candidates[i]), None)

        def work(
            voxels: slice, buffers: Buffers, some=some, start=start, here=here, system=system, where=where
        ) -> None:
            d = start[voxels]
            g = some.products[voxels] if primal else some.responses.chunk(voxels, buffers).T.clone()
            rhs = system.rows.right_side(d, g)
            a, _ = system.solve(d, rhs, torch.zeros_like(rhs), here[voxels], TIGHT[design.dtype], max_cg)
            out[where[voxels]] = system.rows.spread(d) * a if primal else a

        over_chunks(work, some.responses, 12 * design.n, problem.memory_limit, problem.n_jobs)
    return out


def _system(view: BandDesign, fold: Fold | None) -> _System:
    dtype = view.dtype
    if view.form == "primal":
        train = mean = val = None
        if fold is None:
            gram = view.gram
        else:
            val, train, gram, mean = view.fold_gram(fold)
            val, mean = val - mean.to(dtype), mean.to(dtype)
        root = view.weights[view.band].sqrt()
        lam, Q = decompose(gram * root * root[:, None], view.p, 0.0, torch.float64)
        return _System(_Features(gram.to(dtype), val, view.band, view.n_bands), lam, Q.to(dtype), fold, mean, train)
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
    lam, Q = decompose(torch.einsum("k,kij->ij", view.weights, within), within.shape[1], 0.0, torch.float64)
    across = None if across is None else across.to(dtype)
    return _System(_Kernels(within.to(dtype), across), lam, Q.to(dtype), fold, None, None)


def _each_centred(kernels: torch.Tensor) -> torch.Tensor:
    return torch.stack([_double_centred(K) for K in kernels])


def _descend(problem: Problem, systems, voxels, start, alpha, max_iter: int, max_cg: int, highest: float, buffers):
    """Return the best log weights (n_chunk, n_bands) and their scores."""
    dtype = problem.design.dtype
    Y = problem.responses.chunk(voxels, buffers)
    targets = [_targets(problem, system, Y, voxels) for system in systems]
    warm: list[Any] = [None] * len(systems)

    def evaluate(delta: torch.Tensor, tolerance: float):
        d = delta.to(dtype)
        score = torch.zeros(len(d), dtype=dtype, device=d.device)
        slope = torch.zeros_like(d)
        for i, (system, (g, y_val, weight, offset)) in enumerate(zip(systems, targets, strict=True)):
            rhs = system.rows.right_side(d, g)
            a0, b0 = warm[i] if warm[i] is not None else (torch.zeros_like(rhs), torch.zeros_like(rhs))
            a, left = system.solve(d, rhs, a0, alpha, tolerance, max_cg)
            e = system.rows.predict(d, a) - y_val
            b, _ = system.solve(d, system.rows.adjoint(d, e), b0, alpha, LOOSE, max_cg)
            warm[i] = a, b
            # what a still lacks changes the error by 2 b' (its residual), up to the product of two small numbers
            score += offset - weight * (torch.linalg.vecdot(e, e) + 2 * torch.linalg.vecdot(b, left))
            slope += weight[:, None] * system.rows.gradient(d, a, b, e)
        unit = problem.responses.score_unit(problem.scoring) / len(systems)
        return score * unit, slope

    best = start.clone()
    score, slope = evaluate(best, LOOSE)
    step = torch.full((len(best), 1), FIRST_STEP, dtype=best.dtype, device=best.device)
    for _ in range(max_iter):
        size = slope.abs().amax(1, keepdim=True)
        direction = slope / torch.where(size > 0, size, 1.0)
        trial = (best - step * direction).clamp(max=highest)
        value, new_slope = evaluate(trial, LOOSE)
        better = value > score
        best = torch.where(better[:, None], trial, best)
        score = torch.where(better, value, score)
        slope = torch.where(better[:, None], new_slope, slope)
        step = step * torch.where(better, GROW, SHRINK)[:, None]
    return best, evaluate(best, LAST[dtype])[0]


def _targets(problem: Problem, system: _System, Y: torch.Tensor, voxels: slice):
    """Right-hand side, held-out responses, and what turns squared error into a score, of one split."""
    design, fold = problem.design, system.fold
    assert fold is not None
    t, own = as_index(fold.train, design.n, design.X.device), take(Y, fold.val)
    y_mean = Y[t].mean(0) * design.intercept
    if design.form == "dual":
        g = (Y[t] - y_mean).T.clone()
    elif fold.complement:
        assert system.x_mean is not None
        g = problem.products[voxels] - own.T @ take(design.X, fold.val)
        g -= fold.n_train * y_mean[:, None] * system.x_mean
    else:
        g = Y[t].T @ system.train  # type: ignore[operator]
    y_val = (own - y_mean).T.clone()
    if problem.scoring == "neg_mse":
        weight = torch.full((len(y_val),), 1 / fold.n_val, dtype=Y.dtype, device=Y.device)
        return g, y_val, weight, torch.zeros_like(weight)
    spread = (y_val - y_val.mean(1, keepdim=True)).square().sum(1)
    varies = spread > problem.responses.rounding(voxels) * fold.n_val
    weight = torch.where(varies, 1 / torch.where(varies, spread, 1.0), 0.0)
    return g, y_val, weight, varies.to(Y.dtype)
