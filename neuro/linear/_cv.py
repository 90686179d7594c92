"""Ridge with one penalty per voxel, chosen by cross-validation: the solver under ``RidgeCV``.

For every fold: centre on its training rows, diagonalise once, score all penalties at once (``_grid``, ``_folds``);
average over folds, take the best penalty of each voxel, and solve on all rows (``_refit``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neuro.linear._alphas import AlphaBoundary, Grid, auto_alphas, select
from neuro.linear._chunks import Responses
from neuro.linear._design import Design
from neuro.linear._folds import cv_scores
from neuro.linear._loo import leave_one_out
from neuro.linear._refit import refit
from neuro.linear._splits import order_folds


@dataclass(frozen=True)
class RidgeCVSolution:
    """What ``solve_ridge_cv`` found; tensors on the device of the computation."""

    alphas: np.ndarray  # (n_alphas,)
    best: np.ndarray  # (n_voxels,) index into alphas
    cv_scores: np.ndarray  # (n_alphas, n_voxels)
    boundary: AlphaBoundary
    form: str
    x_mean: torch.Tensor  # (p,)
    y_mean: torch.Tensor  # (n_voxels,)
    coef: Any  # (n_voxels, p); None where the pair below is smaller
    dual: Any  # (n_voxels, n): coef = dual @ X_train
    X_train: Any  # (n, p), centred


def solve_ridge_cv(
    X: torch.Tensor,
    Y: torch.Tensor,
    alphas: np.ndarray | None,
    splits: list[tuple[np.ndarray, np.ndarray]] | str,
    *,
    scoring: str = "neg_mse",
    intercept: bool = True,
    form: str = "auto",
    local_alpha: bool = True,
    extend_grid: bool = False,
    dtype: torch.dtype = torch.float32,
    memory_limit: int = 2**30,
    n_jobs: int | None = None,
) -> RidgeCVSolution:
    """Choose a penalty per voxel by cross-validation and solve.

    Parameters
    ----------
    X : tensor (n_stimuli, n_features)
        On the device to compute on. Never written to.
    Y : tensor (n_stimuli, n_voxels)
        May be on the CPU while X is on a GPU: chunks are moved.
    alphas : array (n_alphas,) or None
        Absolute penalties; None takes ``auto_alphas``.
    splits : list of (train, validation) index arrays, or "loo" or "gcv"
    scoring : str, key of ``SCORES``
    intercept, form, local_alpha, extend_grid, memory_limit, n_jobs
        As in ``RidgeCV``.
    dtype : torch.dtype
        Of the products with voxels; Gram matrices and decompositions are float64.
    """
    device = X.device
    order, folds = (None, None) if isinstance(splits, str) else order_folds(splits, len(X), device)
    design = Design(X, order, intercept, resolve_form(form, X), dtype)
    grid = Grid.plan(auto_alphas(design.mean_square) if alphas is None else alphas, extend_grid)
    scaled = torch.from_numpy(grid.alphas * design.scale**2).to(device)
    responses = Responses(Y, order, intercept, dtype, device)

    if folds is None:
        total, baseline, products = leave_one_out(design, responses, scaled, str(splits), memory_limit, n_jobs)
        unit = responses.score_unit("neg_mse")
    else:
        total, baseline, products = cv_scores(design, folds, responses, scaled, scoring, memory_limit, n_jobs)
        unit = responses.score_unit(scoring) / len(folds)
    scores = total.T.cpu().numpy() * unit
    floor = baseline.cpu().numpy() * unit
    variance = np.abs(floor) if scoring == "neg_mse" else 1.0
    kept, best, boundary = select(scores, floor, variance, grid, local_alpha)
    chosen = torch.from_numpy(best).to(device)
    coef, dual = refit(design, responses, products, scaled[kept], chosen, memory_limit, n_jobs)
    return RidgeCVSolution(
        alphas=grid.alphas[kept],
        best=best,
        cv_scores=np.ascontiguousarray(scores[kept]),
        boundary=boundary,
        form=design.form,
        x_mean=design.x_mean,
        y_mean=responses.mean,
        coef=coef,
        dual=dual,
        X_train=None if dual is None else design.X,
    )


def resolve_form(form: str, X: torch.Tensor) -> str:
    """Return "primal" or "dual": for "auto", whichever has the smaller matrix to diagonalise."""
    return ("dual" if X.shape[1] > X.shape[0] else "primal") if form == "auto" else form
