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

from typing import Any

import torch

from neuro.encoders._band_search import Found, Problem
from neuro.encoders._band_systems import System, system_of
from neuro.linear._chunks import Buffers, over_chunks
from neuro.linear._design import as_index, take

# residuals of the linear systems, relative
LOOSE = 3e-3  # on the way, where only products of two such errors matter
LAST = {torch.float32: 3e-4, torch.float64: 1e-5}  # for the score that is reported
TIGHT = {torch.float32: 1e-5, torch.float64: 1e-10}  # for the weights
GROW, SHRINK, FIRST_STEP = 1.6, 0.4, 1.0  # of steps in log weights
HEADROOM = 2.3  # how far, in log weights, a penalty may go below the grid: one decade


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
        systems = [system_of(view, fold) for fold in problem.folds]

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
        system = system_of(design.at(candidates[i]), None)

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


def _targets(problem: Problem, system: System, Y: torch.Tensor, voxels: slice):
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
