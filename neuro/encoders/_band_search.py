"""Search over band weights: every candidate is a ridge regression with all penalties, each voxel keeps its best."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from neuro.encoders._band_design import BandDesign
from neuro.encoders._band_halving import ROUNDS, among_best, cover, fill, n_first
from neuro.encoders._band_products import multiply
from neuro.encoders._band_scores import fold_scores
from neuro.linear._alphas import MARGIN, AlphaBoundary
from neuro.linear._chunks import Buffers, Responses, over_chunks
from neuro.linear._refit import refit
from neuro.linear._splits import Fold

SEARCHES = ("full", "halving")


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

            def form(voxels: slice, buffers: Buffers) -> None:
                multiply(responses.chunk(voxels, buffers).T, design.X, out[voxels])

            over_chunks(form, responses, design.n, self.memory_limit, self.n_jobs)
            self._products = out
        return self._products

    def only(self, voxels: torch.Tensor) -> Problem:
        """Return the problem of some voxels."""
        old = self.responses
        Y = old.Y[:, voxels.to(old.Y.device)]
        responses = Responses(Y, self.order, old.intercept, old.dtype, old.device)
        products = None if self.products is None else self.products[voxels]
        responses.scale, responses.mean = old.scale, old.mean[voxels]
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


def search(problem: Problem, candidates: torch.Tensor, how: str) -> Found:
    """Score candidates (n_candidates, n_bands) and keep the best of every voxel; scores are means over splits.

    ``how`` is "full", every candidate for every voxel, or "halving", what ``_band_halving`` expects to matter.
    """
    v, n = problem.responses.n_voxels, len(candidates)
    device, dtype = problem.design.X.device, problem.design.dtype
    found = Found(
        torch.zeros(v, dtype=torch.int64, device=device),
        torch.zeros(v, dtype=torch.int64, device=device),
        torch.full((v,), -torch.inf, dtype=dtype, device=device),
        torch.full((n, v), torch.nan, dtype=dtype, device=device),
        torch.zeros(v, dtype=dtype, device=device),
    )
    first = n if how == "full" else min(n, n_first(candidates.shape[1]))
    for i in range(first):
        _try(problem, candidates, i, None, found)
    done = list(range(first))
    size = found.baseline.abs() if problem.scoring == "neg_mse" else torch.ones_like(found.baseline)
    size = torch.where(size > 0, size, 1.0)
    for _ in range(ROUNDS if first < n else 0):
        table = fill(candidates, found.table / size)
        more = cover(table, done, first)
        for i in more:
            where = torch.nonzero(among_best(table, done + more, i))[:, 0]
            if len(where):
                _try(problem, candidates, i, where, found)
        done += more
    unit = problem.responses.score_unit(problem.scoring)
    found.score *= unit
    found.table *= unit
    found.baseline *= unit
    return found


def _try(problem: Problem, candidates: torch.Tensor, i: int, where: torch.Tensor | None, found: Found) -> None:
    """Score candidate ``i`` for the voxels ``where`` (None: all), and note where it is the best so far."""
    some = problem if where is None else problem.only(where)
    scores, baseline = fold_scores(some, problem.design.at(candidates[i]), problem.folds)
    scores /= len(problem.folds)
    rows = torch.arange(problem.responses.n_voxels, device=scores.device) if where is None else where
    falling = torch.argsort(problem.alphas, descending=True)  # of equal scores the largest penalty wins
    top, place = scores[:, falling].max(1)
    found.table[i, rows] = top
    found.baseline[rows] = baseline / len(problem.folds)
    better = top > found.score[rows]
    rows = rows[better]
    found.score[rows] = top[better]
    found.candidate[rows] = i
    found.alpha[rows] = falling[place[better]]


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
