"""Cross-validation scores of every voxel and penalty for one candidate of band weights: the inner loop of a search.

The algebra is that of ``_grid``, arranged for many candidates on the same rows. Per candidate and split there are one
decomposition and three products with voxels, and nothing else may cost anything beside them: Gram matrices of splits
are kept, and bands that the candidate switches off are left out before the decomposition.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch

from neuro.encoders._band_design import BandDesign
from neuro.encoders._band_products import multiply, product
from neuro.linear._chunks import Buffers, in_threads, over_chunks
from neuro.linear._design import take
from neuro.linear._eigh import BIG
from neuro.linear._grid import NEAR, Predictions, cheaper_way
from neuro.linear._scores import NEEDS_PARTS, SCORES, FoldSums
from neuro.linear._splits import Fold

COLUMNS = 64  # of one block of near pairs


class Fractions:
    """The penalty-independent products of one split, as ``_grid.PartialFractions``, cheaper to set up."""

    def __init__(self, lam: torch.Tensor, Z: torch.Tensor, alphas: torch.Tensor, dtype: torch.dtype):
        k = len(lam)
        tolerance = NEAR[dtype]
        slack = tolerance * float(alphas.min())
        f = 1 / (lam[:, None] + alphas)
        self.f_far = ((lam[-1] - lam)[:, None] * f * f[-1]).to(dtype)  # f - f[-1], without cancelling
        self.f_sum = (f * Z.sum(0, dtype=torch.float64)[:, None]).to(dtype)
        self.f, self.f_near = f.to(dtype), f.square().to(dtype)
        self.f_both = torch.cat([self.f, self.f_near])
        # eigenvalues ascend, so the pairs of one column that are near are neighbours
        first = torch.searchsorted(lam, lam * (1 - tolerance) - slack).tolist()
        last = torch.searchsorted(lam, (lam + slack) / (1 - tolerance), right=True).tolist()
        M = product(Z.T, Z).to(dtype)
        self.near: list[tuple[slice, slice, torch.Tensor]] = []
        for start in range(0, k, COLUMNS):
            here = slice(start, min(start + COLUMNS, k))
            rows = slice(first[here.start], last[here.stop - 1])
            gap = lam[:, None] - lam[here]
            size = torch.maximum(lam[rows, None], lam[here])
            close = gap[rows].abs() <= tolerance * size + slack
            block = M[rows, here]
            self.near.append((here, rows, torch.where(close, block, 0)))
            block.masked_fill_(close, 0.0)
            gap[rows].masked_fill_(close, 1.0)
            M[:, here].div_(gap.mul_(0.5).to(dtype))  # column i is row i of P
        self.far = M

    def sums(self, c: torch.Tensor, both: torch.Tensor, y_mean: Any, parts: bool, buffers: Buffers):
        """Return what ``PartialFractions.sums`` does; the second half of ``both`` holds ``w``, ``y_mean`` may be 0."""
        v, k = c.shape
        near, far = both[:, :k], both[:, k:]
        total: Any = c @ self.f_sum if parts or y_mean is not None else None
        cross: Any = None
        if parts:
            cross = torch.mul(c, far, out=near) @ self.f
            if y_mean is not None:
                cross -= y_mean[:, None] * total
            far.zero_()
        torch.sub(multiply(c, self.far, buffers("product", v, k)), far, alpha=2, out=far)
        for here, rows, block in self.near:
            multiply(c[:, rows], block, near[:, here])
        both.view(v, 2, k).mul_(c[:, None, :])
        if parts:
            return None, cross, far @ self.f_far + near @ self.f_near, total
        excess = near @ self.f_near + far @ self.f
        if y_mean is not None:
            excess.add_(y_mean[:, None] * total, alpha=2)
        return excess, None, None, None


@dataclass(frozen=True)
class Table:
    """One split of one candidate, ready for any number of voxels."""

    fold: Fold
    Z: torch.Tensor  # (n_val, k)
    basis: torch.Tensor  # (p or n_train, k)
    columns: torch.Tensor | None  # of X that the basis is of; None is all
    from_products: bool  # coordinates come from X'Y of all rows minus the split's own
    way: Fractions | Predictions

    @classmethod
    def prepare(cls, view: BandDesign, fold: Fold, alphas: torch.Tensor, n_voxels: int) -> Table:
        factor, columns = view.factor(fold, float(alphas.min()))
        direct = cheaper_way(len(factor.Z), len(factor.lam), len(alphas), n_voxels) is Predictions
        way = (Predictions if direct else Fractions)(factor.lam, factor.Z, alphas, view.dtype)
        from_products = fold.complement and factor.x_mean is not None
        return cls(fold, factor.Z.to(view.dtype), factor.basis, columns, from_products, way)


def fold_scores(problem: Any, view: BandDesign, folds: list[Fold]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores (n_voxels, n_alphas) of one candidate and of the mean (n_voxels,), summed over ``folds``."""
    responses, alphas, scoring = problem.responses, problem.alphas, problem.scoring
    v, device = responses.n_voxels, view.X.device
    total = torch.zeros(v, len(alphas), dtype=view.dtype, device=device)
    baseline = torch.zeros(v, dtype=view.dtype, device=device)
    products = problem.products
    for group in _groups(view, folds, problem.memory_limit):
        tasks: list[Callable[[], Table]] = [partial(Table.prepare, view, fold, alphas, v) for fold in group]
        tables = prepared(tasks, device, one_by_one=view.rank >= BIG)
        g = _of_columns(products, tables[0].columns)
        own_rows = all(table.from_products for table in tables)

        def score(voxels: slice, buffers: Buffers, tables=tables, g=g, own_rows=own_rows) -> None:
            Y: Any = None if own_rows else responses.chunk(voxels, buffers)
            floor = responses.rounding(voxels)
            for table in tables:
                held_out = responses.rows(voxels, table.fold.val, buffers) if Y is None else take(Y, table.fold.val)
                mine = None if g is None else g[voxels]
                sums = _sums(table, held_out, Y, mine, floor, view.intercept, scoring in NEEDS_PARTS, buffers)
                total[voxels] += SCORES[scoring](sums)
                baseline[voxels] += SCORES[scoring](sums.of_baseline())[:, 0]

        k = max(table.Z.shape[1] for table in tables)
        n_rows = max(fold.n_val for fold in group) if own_rows else view.n
        over_chunks(score, responses, n_rows + 4 * k, problem.memory_limit, problem.n_jobs)
        del tables, tasks, score
    return total, baseline


def _of_columns(products: torch.Tensor | None, columns: torch.Tensor | None) -> torch.Tensor | None:
    return products if products is None or columns is None else products.index_select(1, columns)


def _groups(view: BandDesign, folds: list[Fold], memory_limit: int) -> list[list[Fold]]:
    """Split the folds so that the tables of one group fill at most half of the memory."""
    size = torch.finfo(view.dtype).bits // 8
    groups: list[list[Fold]] = []
    free = 0
    for fold in folds:
        k = min(fold.n_train, view.p)
        need = size * k * (k + (view.p if view.form == "primal" else fold.n_train) + fold.n_val)
        if not groups or need > free:
            groups.append([])
            free = memory_limit // 2
        groups[-1].append(fold)
        free -= need
    return groups


def _sums(table: Table, held_out, Y: Any, g: Any, floor, intercept: bool, parts: bool, buffers: Buffers) -> FoldSums:
    """Sums of one split for one chunk of voxels.

    Parameters
    ----------
    held_out : tensor (n_val, n_chunk)
        The split's own responses, minus their mean over all rows.
    Y : tensor (n, n_chunk) or None
        Those of all rows, where there is no X'Y to start from.
    g : tensor (n_chunk, p) or None
        ``Y'X`` over all rows, of the table's columns.
    """
    fold, Z = table.fold, table.Z
    v, k = held_out.shape[1], Z.shape[1]
    y_sum = held_out.sum(0)
    y_mean: Any = None
    if intercept:
        y_mean = y_sum / -fold.n_train if fold.complement else take(Y, fold.train).mean(0)
    both = buffers("both", v, 2 * k)
    c, w = buffers("c", v, k), both[:, k:]
    if table.from_products or isinstance(table.way, Fractions):
        multiply(held_out.T, Z, w)
    if table.from_products:
        # Q'(X'Y of the training rows, centred on their means): the mean terms cancel down to this
        multiply(g, table.basis, c).sub_(w)
    else:
        _project(Y, fold.train, table.basis, c, buffers("product", v, k))
    y_sq = torch.linalg.vecdot(held_out, held_out, dim=0)
    y_off = y_sum
    if intercept:
        y_sq -= y_mean * (2 * y_sum - fold.n_val * y_mean)
        y_off = y_sum - fold.n_val * y_mean
    if isinstance(table.way, Fractions):
        found = table.way.sums(c, both, y_mean, parts, buffers)
    else:
        found = table.way.sums(c, held_out, torch.zeros_like(y_sum) if y_mean is None else y_mean, parts, buffers)
    return FoldSums(fold.n_val, y_off, y_sq, floor * fold.n_val, *found)


def _project(Y: torch.Tensor, rows: Any, basis: torch.Tensor, out: torch.Tensor, other: torch.Tensor) -> None:
    """``out = Y[rows]' basis`` without copying rows that are slices."""
    if not isinstance(rows, tuple):
        multiply(take(Y, rows).T, basis, out)
        return
    start = 0
    for piece in rows:
        stop = start + piece.stop - piece.start
        part = multiply(Y[piece].T, basis[start:stop], other if start else out)
        if start:
            out += part
        start = stop


def prepared(tasks: list[Callable[[], Any]], device: torch.device, one_by_one: bool) -> list[Any]:
    """Return the results of ``tasks``, side by side with one core each where there are several cores and tasks."""
    side_by_side = not one_by_one and device.type == "cpu" and torch.get_num_threads() > 1 and len(tasks) > 1
    with _libraries().limit(limits=1) if side_by_side else nullcontext():
        return in_threads(tasks, device, one_by_one)


@cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
