"""Ridge with one penalty per voxel, chosen by cross-validation: the solver under ``RidgeCV``.

For every fold: centre on its training rows, diagonalise once, score all penalties at once (``_grid``); average over
folds, take the best penalty of each voxel, and solve on all rows. Voxels go through in chunks of bounded memory;
decompositions of folds are kept as long as they fit, otherwise the voxels are gone through once per group of folds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from neuro.encoders._alphas import AlphaBoundary, Grid, auto_alphas, select
from neuro.encoders._chunks import Buffers, Responses, in_threads, over_chunks
from neuro.encoders._design import Design, take
from neuro.encoders._eigh import BIG
from neuro.encoders._grid import PartialFractions, Predictions, cheaper_way
from neuro.encoders._loo import leave_one_out
from neuro.encoders._refit import refit
from neuro.encoders._scores import NEEDS_PARTS, SCORES, FoldSums
from neuro.encoders._splits import Fold, order_folds


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
        total, baseline, products = _cv_scores(design, folds, responses, scaled, scoring, memory_limit, n_jobs)
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


@dataclass(frozen=True)
class _FoldTable:
    """One fold, ready for any number of voxels."""

    fold: Fold
    Z: torch.Tensor  # (n_val, k)
    basis: torch.Tensor
    x_mean: torch.Tensor | None
    way: PartialFractions | Predictions

    @classmethod
    def prepare(cls, design: Design, fold: Fold, alphas: torch.Tensor, n_voxels: int) -> _FoldTable:
        factor = design.fold(fold, float(alphas.min()))
        way = cheaper_way(len(factor.Z), len(factor.lam), len(alphas), n_voxels)
        table = way(factor.lam, factor.Z, alphas, design.dtype)
        return cls(fold, factor.Z.to(design.dtype), factor.basis, factor.x_mean, table)

    @property
    def from_products(self) -> bool:
        """Whether coordinates come from X'Y of all rows minus the fold's own, instead of from training rows."""
        return self.fold.complement and self.x_mean is not None


def _cv_scores(design: Design, folds: list[Fold], responses: Responses, alphas, scoring: str, memory_limit, n_jobs):
    """Return scores (n_voxels, n_alphas) and baseline's (n_voxels,), summed over folds, and X'Y (n_voxels, p) or None.

    X'Y is None in the dual form, which needs none.
    """
    v = responses.n_voxels
    total = torch.zeros(v, len(alphas), dtype=design.dtype, device=design.X.device)
    baseline = torch.zeros(v, dtype=design.dtype, device=design.X.device)
    groups = _fold_groups(design, folds, memory_limit)
    primal = design.form == "primal"
    products: Any = torch.empty(v, design.p, dtype=design.dtype, device=design.X.device) if primal else None
    if primal and len(groups) > 1:

        def multiply(voxels: slice, buffers: Buffers) -> None:
            torch.mm(responses.chunk(voxels, buffers).T, design.X, out=products[voxels])

        over_chunks(multiply, responses, design.n, memory_limit, n_jobs)
    for group in groups:
        tasks = [partial(_FoldTable.prepare, design, fold, alphas, v) for fold in group]
        if len(groups) == 1 and design.rank < BIG:
            tasks.append(partial(design.whole, float(alphas.min())))  # kept for the refit
        tables = in_threads(tasks, design.X.device, one_by_one=design.rank >= BIG)[: len(group)]
        # rows that outnumber the features are first reduced to X'Y of the fold
        reduced = primal and len(groups) == 1 and _is_partition(folds, design)

        def score(voxels: slice, buffers: Buffers, tables=tables, reduced=reduced) -> None:
            Y = responses.chunk(voxels, buffers)
            own: Any = [None] * len(tables)
            if reduced:
                own = buffers("own", len(tables), Y.shape[1], design.p)
                for table, out in zip(tables, own, strict=True):
                    torch.mm(take(Y, table.fold.val).T, take(design.X, table.fold.val), out=out)
                torch.sum(own, 0, out=products[voxels])
            elif primal and len(groups) == 1:
                torch.mm(Y.T, design.X, out=products[voxels])
            floor = responses.rounding(voxels)
            for table, h in zip(tables, own, strict=True):
                g = None if products is None else products[voxels]
                sums = _fold_sums(table, Y, g, h, floor, design.intercept, scoring in NEEDS_PARTS, buffers)
                total[voxels] += SCORES[scoring](sums)
                baseline[voxels] += SCORES[scoring](sums.of_baseline())[:, 0]

        per_voxel = design.n + 3 * max(t.Z.shape[1] for t in tables) + reduced * len(tables) * design.p
        over_chunks(score, responses, per_voxel, memory_limit, n_jobs)
        del tables
    return total, baseline, products


def _is_partition(folds: list[Fold], design: Design) -> bool:
    return (
        all(f.complement and isinstance(f.val, slice) and f.n_val > design.p for f in folds)
        and sum(f.n_val for f in folds) == design.n
    )


def _fold_groups(design: Design, folds: list[Fold], memory_limit: int) -> list[list[Fold]]:
    """Split the folds so that the tables of one group fill at most half of the memory."""
    size = torch.finfo(design.dtype).bits // 8
    groups: list[list[Fold]] = []
    free = 0
    for fold in folds:
        k = min(fold.n_train, design.p)
        rows = design.p if design.form == "primal" and fold.complement else fold.n_train
        need = size * k * (k + rows + fold.n_val)
        if not groups or need > free:
            groups.append([])
            free = memory_limit // 2
        groups[-1].append(fold)
        free -= need
    return groups


def _fold_sums(table: _FoldTable, Y, g: Any, h: Any, floor, intercept: bool, parts: bool, buffers: Buffers) -> FoldSums:
    """Sums of one fold for one chunk of voxels.

    Parameters
    ----------
    Y : tensor (n, n_chunk)
        Responses in fold order, minus their mean over all rows.
    g : tensor (n_chunk, p) or None
        ``Y'X`` over all rows.
    h : tensor (n_chunk, p) or None
        ``Y'X`` over the fold's own rows. Overwritten.
    """
    fold, Z = table.fold, table.Z
    v, k = Y.shape[1], Z.shape[1]
    held_out = take(Y, fold.val)
    y_sum = held_out.sum(0)
    if not intercept:
        y_mean = torch.zeros_like(y_sum)
    elif fold.complement:
        y_mean = y_sum / -fold.n_train
    else:
        y_mean = take(Y, fold.train).mean(0)
    both = buffers("both", v, 2 * k)
    c, w = buffers("c", v, k), both[:, :k]
    if h is not None:
        torch.mm(h.addr_(y_sum, table.x_mean, alpha=-1), table.basis, out=w)
    elif table.from_products or isinstance(table.way, PartialFractions):
        torch.mm(held_out.T, Z, out=w)
    if table.from_products:
        # Q'(X'Y of the training rows, centred on their means): the mean terms cancel down to this
        torch.addmm(w, g, table.basis, beta=-1, out=c)
    else:
        _project(Y, fold.train, table.basis, c)
    y_sq = torch.linalg.vecdot(held_out, held_out, dim=0) - y_mean * (2 * y_sum - fold.n_val * y_mean)
    if isinstance(table.way, PartialFractions):
        found = table.way.sums(c, both, y_mean, parts)
    else:
        found = table.way.sums(c, held_out, y_mean, parts, buffers)
    return FoldSums(fold.n_val, y_sum - fold.n_val * y_mean, y_sq, floor * fold.n_val, *found)


def _project(Y: torch.Tensor, rows, basis: torch.Tensor, out: torch.Tensor) -> None:
    """``out = Y[rows]' basis`` without copying rows that are slices."""
    if not isinstance(rows, tuple):
        torch.mm(take(Y, rows).T, basis, out=out)
        return
    start, beta = 0, 0.0
    for piece in rows:
        stop = start + piece.stop - piece.start
        out.addmm_(Y[piece].T, basis[start:stop], beta=beta)
        start, beta = stop, 1.0
