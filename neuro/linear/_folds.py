"""Cross-validation scores of every voxel and penalty, fold by fold and chunk by chunk.

Decompositions of folds are kept as long as they fit into memory and voxels go through once; otherwise folds are taken
in groups and voxels go through once per group.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from neuro.linear._chunks import Buffers, Responses, in_threads, over_chunks
from neuro.linear._design import Design, take
from neuro.linear._eigh import BIG
from neuro.linear._grid import PartialFractions, Predictions, cheaper_way
from neuro.linear._scores import NEEDS_PARTS, SCORES, FoldSums
from neuro.linear._splits import Fold


@dataclass(frozen=True)
class FoldTable:
    """One fold, ready for any number of voxels."""

    fold: Fold
    Z: torch.Tensor  # (n_val, k)
    basis: torch.Tensor
    x_mean: torch.Tensor | None
    way: PartialFractions | Predictions

    @classmethod
    def prepare(cls, design: Design, fold: Fold, alphas: torch.Tensor, n_voxels: int) -> FoldTable:
        factor = design.fold(fold, float(alphas.min()))
        way = cheaper_way(len(factor.Z), len(factor.lam), len(alphas), n_voxels)
        table = way(factor.lam, factor.Z, alphas, design.dtype)
        return cls(fold, factor.Z.to(design.dtype), factor.basis, factor.x_mean, table)

    @property
    def from_products(self) -> bool:
        """Whether coordinates come from X'Y of all rows minus the fold's own, instead of from training rows."""
        return self.fold.complement and self.x_mean is not None


def cv_scores(design: Design, folds: list[Fold], responses: Responses, alphas, scoring: str, memory_limit, n_jobs):
    """Return scores (n_voxels, n_alphas) and baseline's (n_voxels,), summed over folds, and X'Y (n_voxels, p) or None.

    X'Y is None in the dual form, which needs none.
    """
    v = responses.n_voxels
    total = torch.zeros(v, len(alphas), dtype=design.dtype, device=design.X.device)
    baseline = torch.zeros(v, dtype=design.dtype, device=design.X.device)
    groups = fold_groups(design, folds, memory_limit)
    primal = design.form == "primal"
    products: Any = torch.empty(v, design.p, dtype=design.dtype, device=design.X.device) if primal else None
    if primal and len(groups) > 1:

        def multiply(voxels: slice, buffers: Buffers) -> None:
            torch.mm(responses.chunk(voxels, buffers).T, design.X, out=products[voxels])

        over_chunks(multiply, responses, design.n, memory_limit, n_jobs)
    for group in groups:
        tasks = [partial(FoldTable.prepare, design, fold, alphas, v) for fold in group]
        if len(groups) == 1 and design.rank < BIG:
            tasks.append(partial(design.whole, float(alphas.min())))  # kept for the refit
        tables = in_threads(tasks, design.X.device, one_by_one=design.rank >= BIG)[: len(group)]
        # rows that outnumber the features are first reduced to X'Y of the fold
        reduced = primal and len(groups) == 1 and _is_partition(folds, design)

        # once X'Y is there, a fold needs no other rows than its own
        own_rows = len(groups) > 1 and all(t.from_products for t in tables)

        def score(voxels: slice, buffers: Buffers, tables=tables, reduced=reduced, own_rows=own_rows) -> None:
            Y: Any = None if own_rows else responses.chunk(voxels, buffers)
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
                held_out = responses.rows(voxels, table.fold.val, buffers) if Y is None else take(Y, table.fold.val)
                sums = fold_sums(table, held_out, Y, g, h, floor, design.intercept, scoring in NEEDS_PARTS, buffers)
                total[voxels] += SCORES[scoring](sums)
                baseline[voxels] += SCORES[scoring](sums.of_baseline())[:, 0]

        n_rows = max(f.n_val for f in group) if own_rows else design.n
        per_voxel = n_rows + 3 * max(t.Z.shape[1] for t in tables) + reduced * len(tables) * design.p
        over_chunks(score, responses, per_voxel, memory_limit, n_jobs)
        del tables, score  # before the next group is decomposed
    return total, baseline, products


def _is_partition(folds: list[Fold], design: Design) -> bool:
    return (
        all(f.complement and isinstance(f.val, slice) and f.n_val > design.p for f in folds)
        and sum(f.n_val for f in folds) == design.n
    )


def fold_groups(design: Design, folds: list[Fold], memory_limit: int) -> list[list[Fold]]:
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


def fold_sums(
    table: FoldTable, held_out, Y: Any, g: Any, h: Any, floor, intercept: bool, parts: bool, buffers: Buffers
) -> FoldSums:
    """Sums of one fold for one chunk of voxels.

    Parameters
    ----------
    held_out : tensor (n_val, n_chunk)
        The fold's own responses, minus their mean over all rows.
    Y : tensor (n, n_chunk) or None
        Those of all rows, where there is no X'Y to start from.
    g : tensor (n_chunk, p) or None
        ``Y'X`` over all rows.
    h : tensor (n_chunk, p) or None
        ``Y'X`` over the fold's own rows. Overwritten.
    """
    fold, Z = table.fold, table.Z
    v, k = held_out.shape[1], Z.shape[1]
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
