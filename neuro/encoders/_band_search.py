"""Search over band weights: every candidate is a ridge regression with all penalties, each voxel keeps its best.

Halving (``halving=True``) scores all candidates on the first split, keeps for every voxel the better half, scores those
on the next split, and so on; a candidate that no voxel keeps is not decomposed again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from neuro.encoders._alphas import MARGIN, AlphaBoundary
from neuro.encoders._band_design import BandDesign
from neuro.encoders._chunks import Buffers, Responses, in_threads, over_chunks
from neuro.encoders._design import take
from neuro.encoders._eigh import BIG
from neuro.encoders._folds import FoldTable, _fold_groups, _fold_sums
from neuro.encoders._refit import refit
from neuro.encoders._scores import NEEDS_PARTS, SCORES
from neuro.encoders._splits import Fold

ENOUGH = 0.5  # share of the candidates that a voxel takes to the next split
LEAST = 2  # candidates of a voxel on every split


@dataclass
class Problem:
    """One fit: data, splits and penalties, in the units of the design."""

    design: BandDesign
    folds: list[Fold]
    responses: Responses
    alphas: torch.Tensor  # (n_alphas,) float64
    scoring: str
    memory_limit: int
    n_jobs: int | None
    order: torch.Tensor | None = None
    _products: Any = field(default=None, repr=False)

    @property
    def products(self) -> Any:
        """``Y'X`` of the centred rows (n_voxels, p), formed once; None in the dual form."""
        if self._products is None and self.design.form == "primal":
            design, responses = self.design, self.responses
            out = torch.empty(responses.n_voxels, design.p, dtype=design.dtype, device=design.X.device)

            def multiply(voxels: slice, buffers: Buffers) -> None:
                torch.mm(responses.chunk(voxels, buffers).T, design.X, out=out[voxels])

            over_chunks(multiply, responses, design.n, self.memory_limit, self.n_jobs)
            self._products = out
        return self._products

    def only(self, voxels: torch.Tensor) -> Problem:
        """Return the problem of some voxels."""
        old = self.responses
        Y = old.Y[:, voxels.to(old.Y.device)]
        responses = Responses(Y, self.order, old.intercept, old.dtype, old.device)
        responses.scale = old.scale
        products = None if self.products is None else self.products[voxels]
        return Problem(
            self.design,
            self.folds,
            responses,
            self.alphas,
            self.scoring,
            self.memory_limit,
            self.n_jobs,
            self.order,
            products,
        )


@dataclass
class Found:
    """Best candidate and penalty of every voxel."""

    candidate: torch.Tensor  # (n_voxels,)
    alpha: torch.Tensor  # (n_voxels,) index
    score: torch.Tensor  # (n_voxels,)
    table: torch.Tensor  # (n_candidates, n_voxels) best score over penalties; NaN where halving left it out
    baseline: torch.Tensor  # (n_voxels,)


def fold_scores(problem: Problem, view: BandDesign, folds: list[Fold]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores (n_voxels, n_alphas) of one candidate and of the mean (n_voxels,), summed over ``folds``."""
    responses, alphas, scoring = problem.responses, problem.alphas, problem.scoring
    v = responses.n_voxels
    total = torch.zeros(v, len(alphas), dtype=view.dtype, device=view.X.device)
    baseline = torch.zeros(v, dtype=view.dtype, device=view.X.device)
    products = problem.products
    for group in _fold_groups(view, folds, problem.memory_limit):
        tasks = [lambda fold=fold: FoldTable.prepare(view, fold, alphas, v) for fold in group]
        tables = in_threads(tasks, view.X.device, one_by_one=view.rank >= BIG)

        def score(voxels: slice, buffers: Buffers, tables=tables) -> None:
            Y = responses.chunk(voxels, buffers)
            floor = responses.rounding(voxels)
            g = None if products is None else products[voxels]
            for table in tables:
                own = take(Y, table.fold.val)
                sums = _fold_sums(table, own, Y, g, None, floor, view.intercept, scoring in NEEDS_PARTS, buffers)
                total[voxels] += SCORES[scoring](sums)
                baseline[voxels] += SCORES[scoring](sums.of_baseline())[:, 0]

        per_voxel = view.n + 3 * max(t.Z.shape[1] for t in tables)
        over_chunks(score, responses, per_voxel, problem.memory_limit, problem.n_jobs)
        del tables, score
    return total, baseline


def search(problem: Problem, candidates: torch.Tensor, halving: bool) -> Found:
    """Score candidates (n_candidates, n_bands) for every voxel and keep the best; scores are means over splits."""
    v, n = problem.responses.n_voxels, len(candidates)
    device, dtype = problem.design.X.device, problem.design.dtype
    falling = torch.argsort(problem.alphas, descending=True)  # of equal scores the largest penalty wins
    unit = problem.responses.score_unit(problem.scoring) / len(problem.folds)
    if halving and n > LEAST and len(problem.folds) > 1:
        kept, partial, baseline = _rungs(problem, candidates)
        last = problem.folds[-1:]
    else:
        kept, partial, last = None, None, problem.folds
        baseline = torch.zeros(v, dtype=dtype, device=device)
    found = Found(
        torch.zeros(v, dtype=torch.int64, device=device),
        torch.zeros(v, dtype=torch.int64, device=device),
        torch.full((v,), -torch.inf, dtype=dtype, device=device),
        torch.full((n, v), torch.nan, dtype=dtype, device=device),
        baseline,
    )
    for i, weights in enumerate(candidates):
        view = problem.design.at(weights)
        if kept is None or partial is None:
            where = slice(None)
            scores, found.baseline = fold_scores(problem, view, last)
        else:
            where = torch.nonzero(kept[i])[:, 0]
            if not len(where):
                continue
            scores, floor = fold_scores(problem.only(where), view, last)
            scores = scores + partial[i]
            if i == 0:
                found.baseline = baseline + floor
        top, place = scores[:, falling].max(1)
        found.table[i, where] = top * unit
        better = top > found.score[where]
        rows = torch.arange(v, device=device)[where][better]
        found.score[rows] = top[better]
        found.candidate[rows] = i
        found.alpha[rows] = falling[place[better]]
    found.score *= unit
    found.baseline = found.baseline * unit
    return found


def _rungs(problem: Problem, candidates: torch.Tensor):
    """Halve on all splits but the last.

    Returns
    -------
    kept : bool tensor (n_candidates, n_voxels)
        The first candidate (equal weights) stays for all.
    partial : list of tensors (n kept voxels, n_alphas)
        Scores summed over the splits so far.
    baseline : tensor (n_voxels,)
    """
    v, n, device = problem.responses.n_voxels, len(candidates), problem.design.X.device
    kept = torch.ones(n, v, dtype=torch.bool, device=device)
    partial: list[Any] = [0.0] * n
    baseline = torch.zeros(v, dtype=problem.design.dtype, device=device)
    for r, fold in enumerate(problem.folds[:-1]):
        best = torch.full((n, v), -torch.inf, dtype=problem.design.dtype, device=device)
        for i, weights in enumerate(candidates):
            where = torch.nonzero(kept[i])[:, 0]
            if not len(where):
                continue
            some = problem if len(where) == v else problem.only(where)
            scores, floor = fold_scores(some, problem.design.at(weights), [fold])
            partial[i] = partial[i] + scores
            best[i, where] = partial[i].amax(1)
            if i == 0:
                baseline += floor
        n_next = max(LEAST, int(np.ceil(n * ENOUGH ** (r + 1))))
        survivors = torch.zeros_like(kept)
        survivors.scatter_(0, torch.topk(best, min(n_next, n), dim=0).indices, True)
        survivors &= kept
        survivors[0] = True
        for i in range(n):
            if isinstance(partial[i], torch.Tensor):
                partial[i] = partial[i][survivors[i][kept[i]]]
        kept = survivors
    return kept, partial, baseline


def boundary_of(found: Found, alphas: np.ndarray, scoring: str) -> AlphaBoundary:
    """Count the voxels whose best penalty is the smallest or largest of the grid."""
    alpha = found.alpha.cpu().numpy()
    floor = found.baseline.double().cpu().numpy()
    variance = np.abs(floor) if scoring == "neg_mse" else 1.0
    above = found.score.double().cpu().numpy() > floor + MARGIN * variance
    several = len(alphas) > 1
    low, high = several & (alpha == alphas.argmin()), several & (alpha == alphas.argmax())
    counts = [int(np.count_nonzero(x)) for x in (above, low & above, high & above, low & ~above, high & ~above)]
    return AlphaBoundary(float(alphas.min()), float(alphas.max()), len(alpha), *counts)


def refit_bands(problem: Problem, candidates: torch.Tensor, found: Found) -> tuple[torch.Tensor, Any]:
    """Solve on all rows, voxels with the same candidate together.

    Returns
    -------
    coef : tensor (n_voxels, p)
    dual : tensor (n_voxels, n) or None
        In the order of the rows of the design, for responses and kernels in their own units; None in the primal form.
    """
    design, responses = problem.design, problem.responses
    v = responses.n_voxels
    coef = torch.empty(v, design.X.shape[1], dtype=design.dtype, device=design.X.device)
    dual: Any = None
    if design.form == "dual":
        dual = torch.empty(v, design.n, dtype=design.dtype, device=design.X.device)
    for i in torch.unique(found.candidate).tolist():
        where = torch.nonzero(found.candidate == i)[:, 0]
        some = problem.only(where)
        view = design.at(candidates[i])
        chosen = found.alpha[where]
        if dual is None:
            products = some.products if len(where) < v else some.products.clone()
            coef[where] = refit(
                view, some.responses, products, problem.alphas, chosen, problem.memory_limit, problem.n_jobs
            )[0]
        else:
            dual[where] = _solve_dual(some, view, chosen)
    if dual is not None:
        coef, dual = weights_of(problem, dual, (candidates * design.band_scales)[found.candidate])
    return coef, dual


def weights_of(problem: Problem, dual: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return primal weights, and dual ones, in the data's units, from the solution ``dual`` of the scaled problem.

    ``weights`` (n_voxels, n_bands) multiply the kernels.
    """
    design, unit = problem.design, 1 / problem.responses.scale
    coef = (dual @ design.X) * (weights.to(design.dtype)[:, design.band] * (design.scale * unit))
    return coef, dual * (design.scale**2 * unit)


def _solve_dual(problem: Problem, view: BandDesign, chosen: torch.Tensor) -> torch.Tensor:
    responses = problem.responses
    lam, U = view.whole(float(problem.alphas[chosen].min()))
    shrink = (1 / (lam + problem.alphas[:, None])).to(view.dtype)
    out = torch.empty(responses.n_voxels, view.n, dtype=view.dtype, device=U.device)

    def solve(voxels: slice, buffers: Buffers) -> None:
        c = responses.chunk(voxels, buffers).T @ U
        out[voxels] = c.mul_(shrink[chosen[voxels]]) @ U.T

    over_chunks(solve, responses, 2 * len(lam) + view.n, problem.memory_limit, problem.n_jobs)
    return out
