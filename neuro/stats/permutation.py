"""Could these predictions have done so well if they had nothing to do with the stimuli?

The pairing of responses and predictions is permuted by whole stimuli (all repeats of one together), p = (1 + number of
permutations at least as good) / (1 + number of permutations).

Permutations are built in pairs. With s_0, s_1... and t_0, t_1... drawn uniformly from the allowed permutations and
s_0 = t_0 = identity, cell (a, b) correlates y permuted by s_a with y_hat permuted by t_b, and (0, 0) is what was
observed. So a thousand permutations cost 64 reorderings per voxel and one small matrix product. Nothing is lost: any
two cells are independent permutations of the data, and since multiplying all s and t by one further random permutation
changes neither side's distribution, the observed cell is exchangeable with all others under the null hypothesis, which
makes p exact.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int, is_tensor
from neuro.errors import ShapeMismatch
from neuro.stats._moments import Moments, as_columns, column_blocks, moments, namespace, to_numpy
from neuro.stats._rois import RoiMeans, check_rois, roi_means
from neuro.stats.metrics import resolve_metric

SCHEMES = ("stimuli", "shift", "blocks")
TAILS = ("greater", "two-sided")


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """Result of :func:`permutation_test`. ``n`` is the number of voxels, or of regions if those were tested.

    Parameters
    ----------
    observed : array (n,)
        Scores.
    p : array (n,)
        Each for itself; NaN where the score is.
    p_fwer : array (n,)
        Against the largest score of each permutation: rejecting at 0.05 errs anywhere with 5 % probability.
    null_max : array (n_permutations,)
        The largest score over all n (largest absolute deviation from the null's mean, if two-sided).
    null_mean, null_sd : array (n,)
        Of the scores under permutation.
    rois : tuple of str, or None
        Names of the regions, if their mean scores were tested.
    null : array (n_permutations, n_rois), or None
        All permuted means, for regions.
    metric, scheme, tail, n_permutations, seed
        Settings.
    """

    observed: np.ndarray
    p: np.ndarray
    p_fwer: np.ndarray
    null_max: np.ndarray
    null_mean: np.ndarray
    null_sd: np.ndarray
    rois: tuple[str, ...] | None
    null: np.ndarray | None
    metric: str
    scheme: str
    tail: str
    n_permutations: int
    seed: Any


def permutation_test(
    Y: Any,
    Y_hat: Any,
    n_permutations: int = 1000,
    groups: Any = None,
    metric: str | Callable[[Any, Any], Any] = "pearson_r",
    seed: int | np.random.Generator = 0,
    *,
    rois: Mapping[str, Any] | None = None,
    scheme: str = "stimuli",
    block_length: int | None = None,
    tail: str = "greater",
) -> PermutationTest:
    """Test the scores of given predictions against permuted pairings of responses and predictions.

    The model is not refitted: use it on a test set that the model has not seen.

    Parameters
    ----------
    Y, Y_hat : array or tensor (n_rows, n_voxels)
        Responses and predictions. Tensors are computed where they are; the result is numpy.
    n_permutations : int
        The smallest p is 1 / (1 + n_permutations).
    groups : array (n_rows,), optional
        scheme "stimuli": the stimulus of every row, whose rows move together; a stimulus changes places with those
        that have as many rows. The other schemes: runs, within which rows stay.
    metric : str or callable
        "pearson_r", "r2", "explained_variance", or f(Y, Y_hat) -> (n_voxels,), which is slow.
    seed : int or Generator
    rois : dict name -> boolean mask or indices, optional
        Test the mean score of each region instead of voxels.
    scheme : "stimuli", "shift" or "blocks"
        Rows that follow one another in time are not exchangeable: shift responses circularly against predictions, or
        exchange blocks of ``block_length`` rows longer than their autocorrelation.
    block_length : int, optional
        Rows of a block, for "blocks". Rows left over at the end of a run stay where they are.
    tail : "greater" or "two-sided"
        Two-sided compares distances from the mean of the permuted scores.

    Returns
    -------
    PermutationTest

    Raises
    ------
    ValueError
        If nothing can be permuted, or an option is unknown.

    References
    ----------
    Phipson & Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9, 39 (p is never 0). Nichols & Holmes (2002), Human Brain
    Mapping 15, 1-25 (largest score). Winkler et al. (2014), NeuroImage 92, 381-397 (exchanging blocks of equal size).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> Y = rng.standard_normal((100, 2))
    >>> Y_hat = np.c_[Y[:, 0] + rng.standard_normal(100), rng.standard_normal(100)]
    >>> permutation_test(Y, Y_hat).p.round(3)
    array([0.001, 0.99 ])
    """
    check_option("tail", tail, TAILS)
    check_positive_int("n_permutations", n_permutations)
    name, function, formula = resolve_metric(metric)
    Y, Y_hat, _ = as_columns(Y, Y_hat, max_ndim=2)
    n_rows, n_voxels = Y.shape
    names, masks = (None, np.zeros((0, n_voxels), bool)) if rois is None else check_rois(rois, n_voxels)
    rng = as_rng(seed)
    draw = _drawer(n_rows, groups, scheme, block_length)
    observed = to_numpy(function(Y, Y_hat))
    if formula is None:
        blocks = iter([(slice(0, n_voxels), _null_of_callable(function, Y, Y_hat, draw(rng, n_permutations)))])
    else:
        blocks = _null_blocks(formula, Y, Y_hat, draw, rng, n_permutations)
    null = None
    if names is not None:
        means = RoiMeans(masks, n_permutations)
        for columns, block in blocks:
            means.add(columns, block)
        observed, null = roi_means(observed, masks), means.means
        blocks = iter([(slice(0, len(names)), null)])
    tally = _Tally(observed, n_permutations, tail)
    for columns, block in blocks:
        tally.add(columns, block)
    p, p_fwer = tally.p_values()
    return PermutationTest(
        observed=observed,
        p=p,
        p_fwer=p_fwer,
        null_max=tally.largest,
        null_mean=tally.mean,
        null_sd=tally.sd,
        rois=names,
        null=null,
        metric=name,
        scheme=scheme,
        tail=tail,
        n_permutations=n_permutations,
        seed=seed,
    )


class _Tally:
    """Counts how often the null reaches the observed scores, block by block."""

    # Two sums of the same numbers in another order are equal up to rounding (float32); ties count against us.
    TIE = 2e-6

    def __init__(self, observed: np.ndarray, n_permutations: int, tail: str):
        self.observed, self.tail, self.n = observed, tail, n_permutations
        self.reached = np.zeros(len(observed), int)
        self.mean, self.sd = np.full((2, len(observed)), np.nan)
        self.largest = np.full(n_permutations, -np.inf)

    def add(self, columns: slice, null: np.ndarray) -> None:
        self.mean[columns], self.sd[columns] = null.mean(0, dtype=float), null.std(0, dtype=float)
        distance = self._distance(null, columns)
        scale = np.maximum(np.abs(self.observed[columns]), 1.0)
        self.reached[columns] = (distance >= self._distance(self.observed[columns], columns) - self.TIE * scale).sum(0)
        if distance.shape[1]:
            self.largest = np.maximum(self.largest, np.where(np.isnan(distance), -np.inf, distance).max(1))

    def p_values(self) -> tuple[np.ndarray, np.ndarray]:
        undefined = np.isnan(self.observed)
        p = np.where(undefined, np.nan, (1 + self.reached) / (1 + self.n))
        level = self._distance(self.observed, slice(None)) - self.TIE * np.maximum(np.abs(self.observed), 1.0)
        below = np.searchsorted(np.sort(self.largest), level, side="left")
        return p, np.where(undefined, np.nan, (1 + self.n - below) / (1 + self.n))

    def _distance(self, scores: np.ndarray, columns: slice) -> np.ndarray:
        return scores if self.tail == "greater" else np.abs(scores - self.mean[columns])


# Which rows may take whose place


def _drawer(
    n: int, groups: Any, scheme: str, block_length: int | None
) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Return a function (rng, k) -> k random row orders (k, n), uniform over a group of permutations."""
    check_option("scheme", scheme, SCHEMES)
    if (scheme == "blocks") != (block_length is not None):
        raise ValueError(f"block_length goes with scheme='blocks', got scheme={scheme!r}, block_length={block_length}.")
    if groups is None:
        labels = np.arange(n) if scheme == "stimuli" else np.zeros(n, int)
    else:
        labels = np.asarray(to_numpy(groups))
        if labels.shape != (n,):
            raise ShapeMismatch(f"groups must name one group for each of {n:,} rows, got shape {labels.shape}.")
        labels = np.unique(labels, return_inverse=True)[1].reshape(-1)
    runs = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    if scheme == "shift":
        return lambda rng, k: _shift(runs, n, rng, k)
    if scheme == "blocks":
        length = check_positive_int("block_length", block_length)
        sets = [run[: len(run) // length * length].reshape(-1, length) for run in runs]
    else:
        sizes = np.array([len(run) for run in runs])
        sets = [np.stack([runs[i] for i in np.flatnonzero(sizes == size)]) for size in np.unique(sizes)]
    if not any(len(units) > 1 for units in sets):
        raise ValueError(
            f"nothing can be permuted: {len(runs)} groups of {n:,} rows, no two "
            + ("blocks in one run." if scheme == "blocks" else "of the same size.")
        )
    return lambda rng, k: _exchange(sets, n, rng, k)


def _exchange(sets: list[np.ndarray], n: int, rng: np.random.Generator, k: int) -> np.ndarray:
    """Random exchanges of units (rows of an index array) within each set of units of equal length."""
    orders = np.tile(np.arange(n), (k, 1))
    for units in sets:
        drawn = rng.permuted(np.tile(np.arange(len(units)), (k, 1)), axis=1)
        orders[:, units.ravel()] = units[drawn].reshape(k, -1)
    return orders


def _shift(runs: list[np.ndarray], n: int, rng: np.random.Generator, k: int) -> np.ndarray:
    """Random circular shifts, each run by its own; no shift is among them, as p needs."""
    orders = np.empty((k, n), int)
    for run in runs:
        by = rng.integers(len(run), size=(k, 1))
        orders[:, run] = run[(np.arange(len(run)) + by) % len(run)]
    return orders


# Scores under permutation


def _null_blocks(
    formula: Any, Y: Any, Y_hat: Any, draw: Any, rng: np.random.Generator, n_permutations: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (voxels, permuted scores (n_permutations, n_block))."""
    xp = namespace(Y)
    side = int(np.ceil(np.sqrt(n_permutations + 1)))
    identity = np.arange(Y.shape[0])
    first, second = (np.vstack([identity, draw(rng, side - 1)]) for _ in range(2))
    cells = 1 + np.sort(rng.permutation(side * side - 1)[:n_permutations])
    on_cpu = xp is np
    if not on_cpu:
        torch, device = xp, Y.device
        first, second, cells = (torch.as_tensor(a, device=device) for a in (first, second, cells))
    # Few voxels at a time stay in the processor's cache; a GPU wants many.
    elements = 2**20 if on_cpu or Y.device.type == "cpu" else 2**26
    with _one_blas_thread(on_cpu):
        for columns in column_blocks(Y.shape[1], side * Y.shape[0], elements, smallest=8):
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                m = moments(Y[:, columns], Y_hat[:, columns])
                y, p = (_unit(x[:, columns]) for x in (Y, Y_hat))
                r = xp.matmul(_reorder(y, first), _reorder(p, second).swapaxes(1, 2))  # (n_block, side, side)
                r = r.reshape(len(r), -1)[:, cells].T
                # Permuting leaves every sum but the product of y and y_hat as it was.
                product = r * (m.yy * m.pp) ** 0.5
                yield columns, to_numpy(formula(Moments(m.n, m.shift, m.yy, m.pp, product)))


def _unit(x: Any) -> Any:
    """Columns as rows of mean 0 and length 1, (n_block, n_rows) float32; constant ones become 0."""
    xp = namespace(x)
    x = (x.to(xp.float64) if x.device.type != "mps" else x) if is_tensor(x) else np.asarray(x, dtype=np.float64)
    x = x - x.mean(0)
    length = ((x * x).sum(0)) ** 0.5
    x = x / xp.where(length > 0, length, xp.ones_like(length))
    return xp.asarray(x.T, dtype=xp.float32).contiguous() if is_tensor(x) else np.ascontiguousarray(x.T, np.float32)


def _reorder(x: Any, orders: Any) -> Any:
    """(n_block, n_rows) by (side, n_rows) -> (n_block, side, n_rows)."""
    return x[:, orders] if is_tensor(x) else np.take(x, orders, axis=1, mode="clip")


def _one_blas_thread(numpy: bool):
    """Products this small are several times slower when BLAS splits them between threads."""
    if not numpy:
        return contextlib.nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, "blas")


def _null_of_callable(function: Any, Y: Any, Y_hat: Any, orders: np.ndarray) -> np.ndarray:
    return np.stack([to_numpy(function(Y[order], Y_hat)) for order in orders])
