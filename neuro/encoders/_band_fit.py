"""What banded and multiple-kernel ridge share: search over band weights, refinement, and what a fit keeps of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from neuro._check import check_option, check_positive_int
from neuro._provenance import provenance
from neuro.encoders._band_design import BandDesign
from neuro.encoders._band_refine import refine, solve_refined
from neuro.encoders._band_search import SEARCHES, Found, Problem, boundary_of, refit_bands, search, weights_of
from neuro.encoders._bands import check_weights, sample_weights, warn_of_collinear
from neuro.linear._alphas import auto_alphas, check_alphas, warn_of_edges
from neuro.linear._arrays import like_input
from neuro.linear._chunks import Responses as Chunks
from neuro.linear._scores import SCORES


class BandSearch:
    """The search over band weights that banded and multiple-kernel ridge share; a mix-in of estimators."""

    alphas: Any
    cv: Any
    n_iter: int
    band_weights: Any
    concentration: Any
    refine: int
    search: str = "full"
    scoring: str
    random_state: int | None
    memory_limit: int
    n_jobs: int | None

    def _check_options(self) -> None:
        check_option("scoring", self.scoring, SCORES)
        check_option("search", self.search, SEARCHES)
        check_positive_int("memory_limit", self.memory_limit)
        check_positive_int("refine", self.refine, 0)
        if self.refine and self.scoring == "pearson":
            raise ValueError("refine lowers squared errors and works with scoring 'neg_mse' or 'r2', got 'pearson'.")

    def _candidates(self, n_bands: int) -> np.ndarray:
        if self.band_weights is None:
            return sample_weights(self.n_iter, n_bands, self.concentration, self.random_state)
        return check_weights(self.band_weights, n_bands)

    def _search(
        self, design: BandDesign, folds: Any, order: Any, Y: torch.Tensor, names: tuple[str, ...], home: Any, flat: bool
    ):
        """Search, refine, solve; sets the attributes that do not depend on what a band is.

        Returns
        -------
        coef : tensor (n_voxels, p)
        dual : tensor (n_voxels, n_stimuli) or None
            Rows in the order they were given.
        y_mean : tensor (n_voxels,), float64
        delta : tensor (n_voxels, n_bands), float64
        """
        grid = check_alphas(self.alphas)
        grid = auto_alphas(design.mean_square / design.n_bands) if grid is None else grid
        device = design.X.device
        candidates = torch.from_numpy(self._candidates(design.n_bands)).to(device)
        if design.n_bands > 1:
            warn_of_collinear(design.similarity().cpu().numpy(), names, stacklevel=5)
        responses = Chunks(Y, order, bool(design.intercept), design.dtype, device)
        scaled = torch.from_numpy(grid * design.scale**2).to(device)
        design.keep = self.memory_limit // 4
        problem = Problem(design, folds, responses, scaled, self.scoring, self.memory_limit, self.n_jobs, order)
        found = search(problem, candidates, self.search)
        warn_of_edges(boundary_of(found, grid, self.scoring), False, stacklevel=4)
        delta, score, moved = self._refined(problem, candidates, found)
        coef, dual = refit_bands(problem, candidates, found)
        if bool(moved.any()):
            rows = torch.nonzero(moved)[:, 0]
            some = Found(
                *(t[..., rows] for t in (found.candidate, found.alpha, found.score, found.table, found.baseline))
            )
            solution = solve_refined(problem.only(rows), candidates, some, delta[rows])
            if dual is None:
                coef[rows] = solution * (design.scale / responses.scale)
            else:
                coef[rows], dual[rows] = weights_of(problem, solution, delta[rows].exp())
                # the solution is that of alpha = 1: back to the alpha of weights that sum to 1
                total = (delta[rows].exp() / design.band_scales).sum(1, keepdim=True)
                dual[rows] *= total.to(dual.dtype)
        if dual is not None and design.intercept:
            dual -= dual.mean(1, keepdim=True)  # the part that centred kernels do not see
        if dual is not None and order is not None:
            given = torch.empty_like(dual)
            given[:, order] = dual
            dual = given
        delta = delta + 2 * float(np.log(design.scale))  # penalties of the data, not of the scaled design
        self._keep_search(design, candidates, grid, found, delta, score, moved, home, flat)
        return coef, dual, responses.mean, delta

    def _refined(self, problem: Problem, candidates: torch.Tensor, found: Found):
        if self.refine:
            return refine(problem, candidates, found, self.refine)
        weights = (candidates * problem.design.band_scales)[found.candidate]
        delta = (weights / problem.alphas[found.alpha][:, None]).log()
        return delta, found.score, torch.zeros_like(found.score, dtype=torch.bool)

    def _keep_search(self, design, candidates, grid, found: Found, delta, score, moved, home, flat: bool) -> None:
        alphas = torch.from_numpy(grid).to(delta.device)[found.alpha]
        weights = candidates[found.candidate].clone()
        if bool(moved.any()):
            free = (delta[moved] - design.band_scales.log()).exp()
            alphas[moved] = 1 / free.sum(1)
            weights[moved] = free / free.sum(1, keepdim=True)

        def keep(t: torch.Tensor) -> Any:
            return like_input(t[..., 0] if flat else t, home)

        self.alphas_ = like_input(torch.from_numpy(grid), home)
        self.candidates_ = like_input(candidates, home)
        self.candidate_ = int(found.candidate[0]) if flat else keep(found.candidate)
        self.alpha_ = float(alphas[0]) if flat else keep(alphas)
        self.band_weights_ = keep(weights.T.contiguous())
        self.deltas_ = keep(delta.T.contiguous())
        self.cv_scores_ = keep(found.table.double())
        self.best_score_ = float(score[0]) if flat else keep(score.double())
        self.refined_ = bool(moved[0]) if flat else keep(moved)
        self.boundary_ = boundary_of(found, grid, self.scoring)
        self.band_scales_ = like_input(design.band_scales, home)
        self.solver_form_ = design.form
        dtype = str(design.dtype).removeprefix("torch.")
        self.provenance_ = provenance(design.X.device, self.random_state, dtype=dtype)
