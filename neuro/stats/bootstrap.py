"""How sure is a score, had other images been shown?

Images are drawn with replacement, all repeats of one together, and scores computed again. One matrix of draws serves
all voxels, regions and models, so differences between them are paired. A score is a formula on five sums over rows,
hence the scores of all resamples come from matrix products of the counts of draws with y, y_hat, y^2, y_hat^2 and
y y_hat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int, is_tensor
from neuro.errors import ShapeMismatch
from neuro.stats._moments import Moments, as_columns, column_blocks, double, is_single, moments, namespace, to_numpy
from neuro.stats._rois import RoiMeans, check_rois, roi_means
from neuro.stats.metrics import resolve_metric

METHODS = ("percentile", "bca")


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Result of :func:`bootstrap_scores`.

    Parameters
    ----------
    observed, low, high, error : array (n_voxels,)
        Score of each voxel, its confidence interval and standard error.
    rois : tuple of str
    roi_observed, roi_low, roi_high, roi_error : array (n_rois,)
        The same for the mean score of each region.
    roi_samples : array (n_bootstraps, n_rois)
        Mean score of each region in each resample. Resamples of two results with the same seed, groups and number
        are paired.
    samples : array (n_bootstraps, n_voxels), float32, or None
        All scores, where they were to be kept.
    metric, level, method, n_bootstraps, n_units, seed
        Settings; ``n_units`` is the number of images (groups, blocks) that were drawn from.
    """

    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    error: np.ndarray
    rois: tuple[str, ...]
    roi_observed: np.ndarray
    roi_low: np.ndarray
    roi_high: np.ndarray
    roi_error: np.ndarray
    roi_samples: np.ndarray
    samples: np.ndarray | None
    metric: str
    level: float
    method: str
    n_bootstraps: int
    n_units: int
    seed: Any

    def difference(self, a: str, b: str) -> tuple[float, float, float]:
        """Return (mean of region a - mean of region b, lower, upper percentile bound): images are paired."""
        for name in (a, b):
            check_option("region", name, self.rois)
        i, j = self.rois.index(a), self.rois.index(b)
        samples = self.roi_samples[:, [i]] - self.roi_samples[:, [j]]
        low, high = percentile_interval(samples, self.level)
        return float(self.roi_observed[i] - self.roi_observed[j]), float(low[0]), float(high[0])


def bootstrap_weights(
    n: int,
    n_bootstraps: int = 1000,
    groups: Any = None,
    seed: int | np.random.Generator = 0,
    *,
    block_length: int | None = None,
) -> np.ndarray:
    """Return how often each row is drawn in each resample.

    Parameters
    ----------
    n : int
        Number of rows.
    n_bootstraps : int
    groups : array (n,), optional
        The stimulus of each row: as many stimuli as there are are drawn, each with all its rows. With
        ``block_length``: the run of each row, which no block leaves.
    seed : int or Generator
    block_length : int, optional
        For time series: draw blocks of so many successive rows, circular within a run, instead of single rows.

    Returns
    -------
    array (n_bootstraps, n), float32, whole numbers

    Examples
    --------
    >>> bootstrap_weights(4, 3, groups=["a", "b", "b", "a"])
    array([[1., 1., 1., 1.],
           [1., 1., 1., 1.],
           [0., 2., 2., 0.]], dtype=float32)
    """
    check_positive_int("n_bootstraps", n_bootstraps)
    units, labels = _units(n, groups, block_length)
    rng = as_rng(seed)
    if block_length is None:
        draws = rng.multinomial(units, np.full(units, 1 / units), size=n_bootstraps)
        return draws.astype(np.float32)[:, labels]
    out = np.zeros((n_bootstraps, n), np.float32)
    for run in range(units):
        rows = np.flatnonzero(labels == run)
        k = len(rows)
        full, rest = divmod(k, min(block_length, k))
        for length, count in ((min(block_length, k), full), (rest, 1)):
            if length:
                starts = rng.multinomial(count, np.full(k, 1 / k), size=n_bootstraps).astype(np.float32)
                out[:, rows] += sum(np.roll(starts, shift, axis=1) for shift in range(length))
    return out


def bootstrap_scores(
    Y: Any,
    Y_hat: Any,
    n_bootstraps: int = 1000,
    groups: Any = None,
    metric: str | Callable[[Any, Any], Any] = "pearson_r",
    seed: int | np.random.Generator = 0,
    *,
    rois: Mapping[str, Any] | None = None,
    level: float = 0.95,
    method: str = "percentile",
    block_length: int | None = None,
    keep_samples: bool = False,
) -> Bootstrap:
    """Return confidence intervals of scores, per voxel and for regions' means, by resampling images.

    Voxels are taken in blocks: memory holds n_bootstraps x n_rois means, not all scores, unless asked.

    Parameters
    ----------
    Y, Y_hat : array or tensor (n_rows, n_voxels)
        Responses and predictions of a test set. Tensors are computed where they are; the result is numpy.
    n_bootstraps : int
    groups : array (n_rows,), optional
        The stimulus of each row, where rows are repeats: they are drawn together.
    metric : str or callable
        "pearson_r", "r2", "explained_variance", or f(Y, Y_hat) -> (n_voxels,), which is slow.
    seed : int or Generator
    rois : dict name -> boolean mask or indices, optional
        By default one region "all".
    level : float
        Coverage of the intervals.
    method : "percentile" or "bca"
        BCa corrects for bias and skew, for which it leaves out every image once.
    block_length : int, optional
        For time series, see :func:`bootstrap_weights`.
    keep_samples : bool
        Keep every score, n_bootstraps x n_voxels x 4 bytes.

    Returns
    -------
    Bootstrap

    References
    ----------
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapters 13 and 14. Politis & Romano (1992), in
    Exploring the Limits of Bootstrap, 263-270 (circular blocks).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> Y = rng.standard_normal((200, 3))
    >>> b = bootstrap_scores(Y, Y + rng.standard_normal((200, 3)))
    >>> print(f"{b.roi_observed[0]:.2f} [{b.roi_low[0]:.2f}, {b.roi_high[0]:.2f}]")
    0.74 [0.70, 0.77]
    """
    check_option("method", method, METHODS)
    check_level(level)
    name, function, _ = resolve_metric(metric)
    Y, Y_hat, _ = as_columns(Y, Y_hat, max_ndim=2)
    n_rows, n_voxels = Y.shape
    names, masks = check_rois(rois, n_voxels)
    weights = bootstrap_weights(n_rows, n_bootstraps, groups, seed, block_length=block_length)
    without = leave_one_out_weights(n_rows, groups, block_length) if method == "bca" else None

    observed = to_numpy(function(Y, Y_hat)).reshape(n_voxels)
    low, high, error = np.empty((3, n_voxels))
    kept = np.empty((n_bootstraps, n_voxels), np.float32) if keep_samples else None
    means = RoiMeans(masks, n_bootstraps)
    means_without = None if without is None else RoiMeans(masks, len(without))
    left_out = None
    for columns, samples in resampled_scores(Y, Y_hat, weights, metric):
        means.add(columns, samples)
        if without is not None and means_without is not None:
            _, left_out = next(resampled_scores(Y[:, columns], Y_hat[:, columns], without, metric, whole=True))
            means_without.add(columns, left_out)
        error[columns] = _sd(samples)
        low[columns], high[columns] = interval(samples, observed[columns], left_out, level)
        if kept is not None:
            kept[:, columns] = samples
    roi_observed = roi_means(observed, masks)
    roi_without = None if means_without is None else means_without.means
    roi_low, roi_high = interval(means.means, roi_observed, roi_without, level)
    return Bootstrap(
        observed=observed,
        low=low,
        high=high,
        error=error,
        rois=names,
        roi_observed=roi_observed,
        roi_low=roi_low,
        roi_high=roi_high,
        roi_error=_sd(means.means),
        roi_samples=means.means,
        samples=kept,
        metric=name,
        level=level,
        method=method,
        n_bootstraps=n_bootstraps,
        n_units=_units(n_rows, groups, None)[0],
        seed=seed,
    )


def resampled_scores(
    Y: Any,
    Y_hat: Any,
    weights: np.ndarray,
    metric: str | Callable[[Any, Any], Any] = "pearson_r",
    *,
    whole: bool = False,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (voxels, scores (n_resamples, n_block)) under weights of rows, block by block.

    Parameters
    ----------
    Y, Y_hat : array or tensor (n_rows, n_voxels)
    weights : array (n_resamples, n_rows)
        From :func:`bootstrap_weights`; for callables whole numbers.
    metric : str or callable
    whole : bool
        All voxels as one block.
    """
    _, function, formula = resolve_metric(metric)
    Y, Y_hat, _ = as_columns(Y, Y_hat, max_ndim=2)
    n_rows, n_voxels = Y.shape
    if weights.ndim != 2 or weights.shape[1] != n_rows:
        raise ShapeMismatch(f"weights must be (n_resamples, {n_rows:,}), one per row, got {weights.shape}.")
    if formula is None:
        repeated = (np.repeat(np.arange(n_rows), w.astype(int)) for w in weights)
        yield slice(0, n_voxels), np.stack([to_numpy(function(Y[rows], Y_hat[rows])) for rows in repeated])
        return
    xp = namespace(Y)
    W: Any = weights.astype(np.float32 if is_single(Y) and is_single(Y_hat) else np.float64)
    if is_tensor(Y):
        W = xp.as_tensor(W, device=Y.device)
    total = W.sum(1)[:, None]
    elements = n_voxels * max(weights.shape) if whole else 2**22
    for columns in column_blocks(n_voxels, max(weights.shape), elements, smallest=16):
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            yield columns, to_numpy(formula(_weighted_moments(Y[:, columns], Y_hat[:, columns], W, total)))


def _weighted_moments(Y: Any, Y_hat: Any, W: Any, total: Any) -> Moments:
    """Moments of every resample, in units of each voxel's s.d.; products run in the precision of ``W``."""
    xp = namespace(Y)
    m = moments(Y, Y_hat)
    # Centred and scaled in float64, so that the sums of squares keep their digits in float32.
    sy, sp = (m.yy / m.n) ** 0.5, (m.pp / m.n) ** 0.5
    one = xp.ones_like(sp)
    y, p = double(Y), double(Y_hat)
    y = _cast((y - y.mean(0)) / sy, W)
    p = _cast((p - p.mean(0)) / xp.where(sp > 0, sp, one), W)
    ratio, shift = _cast(sp / sy, W), _cast(m.shift / sy, W)
    my, mp = W @ y / total, W @ p / total
    yy, pp, yp = W @ (y * y), W @ (p * p), W @ (y * p)
    rounding = 1e-5 if is_single(W) else 1e-12
    yy_c, pp_c = yy - total * my**2, pp - total * mp**2
    # A resample in which y does not vary says nothing; one in which y_hat does not vary is a constant prediction.
    yy_c = xp.where(yy_c > rounding * yy, yy_c, xp.ones_like(yy_c) * np.nan)
    pp_c = xp.where(pp_c > rounding * pp, pp_c, xp.zeros_like(pp_c))
    pp_c = xp.where(pp == pp, pp_c, pp)
    return Moments(total, shift + my - ratio * mp, yy_c, ratio**2 * pp_c, ratio * (yp - total * my * mp))


def _cast(x: Any, like: Any) -> Any:
    return x.to(like.dtype) if is_tensor(x) else x.astype(like.dtype)


# Intervals


def interval(
    samples: np.ndarray, observed: np.ndarray, left_out: np.ndarray | None, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (low, high) per column: percentile, or BCa where scores with each unit left out are given."""
    if left_out is None:
        return percentile_interval(samples, level)
    from scipy.special import ndtr, ndtri

    tail = (1 - level) / 2
    n = np.isfinite(samples).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = ((samples < observed).sum(0) + 0.5 * (samples == observed).sum(0)) / n
        bias = ndtri(np.clip(below, 0.5 / n, 1 - 0.5 / n))
        away = np.nansum(left_out, axis=0) / np.isfinite(left_out).sum(0) - left_out
        skew = np.nansum(away**3, axis=0) / (6 * np.nansum(away**2, axis=0) ** 1.5)
        skew = np.where(np.isfinite(skew), skew, 0.0)
        z = bias + np.array([[ndtri(tail)], [ndtri(1 - tail)]])
        levels = ndtr(bias + z / (1 - skew * z))
    low, high = column_quantiles(samples, levels)
    return low, high


def percentile_interval(samples: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the central ``level`` of each column of samples (n_resamples, n)."""
    tail = (1 - check_level(level)) / 2
    low, high = column_quantiles(samples, np.array([[tail], [1 - tail]]))
    return low, high


def column_quantiles(samples: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return quantiles (n_levels, n) of the columns at levels (n_levels, 1 or n), interpolated, NaN left out."""
    n_levels, n = len(levels), samples.shape[1]
    ordered = np.sort(samples, axis=0).astype(np.float64, copy=False)  # NaN come last
    count = np.isfinite(samples).sum(0)
    position = np.broadcast_to(levels, (n_levels, n)) * np.maximum(count - 1, 0)
    usable = np.isfinite(position) & (count > 0)
    position = np.where(usable, position, 0.0)
    lower = np.floor(position).astype(int)
    upper = np.minimum(lower + 1, np.maximum(count - 1, 0))
    a, b = (np.take_along_axis(ordered, at, axis=0) for at in (lower, upper))
    return np.where(usable, a + (position - lower) * (b - a), np.nan)


def leave_one_out_weights(n: int, groups: Any = None, block_length: int | None = None) -> np.ndarray:
    """Return weights (n_units, n) that leave out one image (with all its rows), or one block, at a time."""
    units, labels = _units(n, groups, block_length)
    if block_length is not None:
        start = 0
        blocks = np.empty(n, int)
        for run in range(units):
            rows = np.flatnonzero(labels == run)
            blocks[rows] = start + np.arange(len(rows)) // block_length
            start = blocks[rows].max() + 1
        labels, units = blocks, start
    return (labels[None] != np.arange(units)[:, None]).astype(np.float32)


def check_level(level: float) -> float:
    """Return ``level`` if it is a coverage."""
    if not 0 < level < 1:
        raise ValueError(f"level is a coverage between 0 and 1 such as 0.95, got {level!r}.")
    return level


def bootstrap_subjects(
    samples: Any, observed: Any, *, level: float = 0.95, seed: int | np.random.Generator = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (mean over subjects, low, high) for claims about people: resamples images, then subjects.

    Parameters
    ----------
    samples : array (n_subjects, n_bootstraps, ...)
        What each subject scored in each resample of images (``Bootstrap.roi_samples``, or differences of them). If the
        subjects saw the same images, use the same seed, so that the resamples are the same images.
    observed : array (n_subjects, ...)
        What they scored on the images as they were.

    Notes
    -----
    With few subjects the percentile interval is too narrow, by sqrt((n-1)/n) and more; eight subjects are few.
    """
    samples, observed = np.asarray(samples, dtype=float), np.asarray(observed, dtype=float)
    if samples.ndim < 2 or observed.shape != samples.shape[:1] + samples.shape[2:]:
        raise ShapeMismatch(
            f"expected samples (n_subjects, n_bootstraps, ...) and observed (n_subjects, ...), got {samples.shape} and "
            f"{observed.shape}."
        )
    n, b = samples.shape[:2]
    drawn = as_rng(seed).integers(n, size=(b, n))
    means = samples[drawn, np.arange(b)[:, None]].mean(1)  # (n_bootstraps, ...)
    low, high = percentile_interval(means.reshape(b, -1), level)
    shape = observed.shape[1:]
    return observed.mean(0), low.reshape(shape), high.reshape(shape)


def _units(n: int, groups: Any, block_length: int | None) -> tuple[int, np.ndarray]:
    """Number of groups and the group of each row as 0, 1, 2..."""
    if block_length is not None:
        check_positive_int("block_length", block_length)
    if groups is None:
        labels = np.arange(n) if block_length is None else np.zeros(n, int)
    else:
        labels = to_numpy(groups)
        if labels.shape != (n,):
            raise ShapeMismatch(f"groups must name one group for each of {n:,} rows, got shape {labels.shape}.")
        labels = np.unique(labels, return_inverse=True)[1].reshape(-1)
    units = int(labels.max()) + 1
    if block_length is None and units < 2:
        raise ShapeMismatch("resampling needs at least two images, got one group.")
    return units, labels


def _sd(samples: np.ndarray) -> np.ndarray:
    finite = np.isfinite(samples)
    n = finite.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(finite, samples, 0).sum(0, dtype=float) / n
        return np.sqrt((np.where(finite, samples - mean, 0) ** 2).sum(0, dtype=float) / (n - 1))
