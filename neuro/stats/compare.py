"""Does one model predict better than another?

Both predict the same responses, so the comparison is paired over images: a bootstrap with shared draws for the size of
the difference, and a test of whether it could be chance. Neither folds of a cross-validation (they share training data)
nor voxels (neighbours are alike) are independent observations; images and subjects are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, check_positive_int, is_tensor
from neuro.errors import ShapeMismatch
from neuro.stats._moments import Moments, as_columns, column_blocks, double, is_single, moments, namespace, to_numpy
from neuro.stats._rois import RoiMeans, check_rois, roi_means
from neuro.stats.bootstrap import _units, bootstrap_weights, check_level, percentile_interval, resampled_scores
from neuro.stats.metrics import resolve_metric

TESTS = ("swap", "bootstrap")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Result of :func:`compare_models`: model a minus model b.

    Parameters
    ----------
    difference, low, high, p : array (n_voxels,)
        Difference of each voxel's scores, confidence interval, two-sided p (not corrected for their number).
    rois : tuple of str
    roi_a, roi_b, roi_difference, roi_low, roi_high, roi_p : array (n_rois,)
        Mean scores of regions, and the same for their differences.
    roi_samples : array (n_resamples, n_rois)
        Bootstrapped differences, for :func:`bootstrap_subjects`.
    names, metric, test, level, n_resamples, n_units, seed
        Settings; ``n_units`` is the number of images.
    """

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    rois: tuple[str, ...]
    roi_a: np.ndarray
    roi_b: np.ndarray
    roi_difference: np.ndarray
    roi_low: np.ndarray
    roi_high: np.ndarray
    roi_p: np.ndarray
    roi_samples: np.ndarray
    names: tuple[str, str]
    metric: str
    test: str
    level: float
    n_resamples: int
    n_units: int
    seed: Any

    def to_frame(self) -> pd.DataFrame:
        """Return one tidy row per region."""
        return pd.DataFrame(
            {
                "roi": self.rois,
                "model_a": self.names[0],
                "model_b": self.names[1],
                "metric": self.metric,
                "score_a": self.roi_a,
                "score_b": self.roi_b,
                "difference": self.roi_difference,
                "ci_low": self.roi_low,
                "ci_high": self.roi_high,
                "p": self.roi_p,
                "n_images": self.n_units,
            }
        )


def compare_models(
    Y: Any,
    Y_hat_a: Any,
    Y_hat_b: Any,
    *,
    metric: str | Callable[[Any, Any], Any] = "pearson_r",
    groups: Any = None,
    rois: Mapping[str, Any] | None = None,
    test: str = "swap",
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int | np.random.Generator = 0,
    names: tuple[str, str] = ("a", "b"),
) -> Comparison:
    """Compare two models' predictions of the same test responses, paired over images.

    Parameters
    ----------
    Y, Y_hat_a, Y_hat_b : array or tensor (n_rows, n_voxels)
        Responses and the two predictions. Tensors are computed where they are; the result is numpy.
    metric : str or callable
        "pearson_r", "r2", "explained_variance", or f(Y, Y_hat) -> (n_voxels,), which is slow.
    groups : array (n_rows,), optional
        The stimulus of each row, where rows are repeats: they are drawn and swapped together.
    rois : dict name -> boolean mask or indices, optional
        By default one region "all".
    test : "swap" or "bootstrap"
        Where p comes from; the interval always comes from the bootstrap. "swap" is the sign-flip test over images: the
        two models' predictions of randomly chosen images are exchanged (for correlations after bringing them to one
        scale). It is exact, for few images too, if the models are interchangeable, and approximate for models that are
        equally good but err in different ways. "bootstrap" is how often the bootstrapped difference has the other
        sign, so that p < 0.05 when the 95 % interval excludes 0; below 100 images it rejects too often, 6-10 % of the
        time at 0.05 with 40.
    n_resamples : int
        Of the bootstrap and of the swaps.
    level : float
    seed : int or Generator
    names : pair of str

    Returns
    -------
    Comparison

    Raises
    ------
    ShapeMismatch
        If the three arrays differ in shape.

    References
    ----------
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 16. Nichols & Holmes (2002), Human Brain
    Mapping 15, 1-25.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> Y = rng.standard_normal((300, 4))
    >>> good, bad = Y + rng.standard_normal((300, 4)), Y + 2 * rng.standard_normal((300, 4))
    >>> c = compare_models(Y, good, bad)
    >>> print(f"{c.roi_difference[0]:.2f} [{c.roi_low[0]:.2f}, {c.roi_high[0]:.2f}], p = {c.roi_p[0]:.4f}")
    0.24 [0.18, 0.29], p = 0.0005
    """
    check_option("test", test, TESTS)
    check_level(level)
    check_positive_int("n_resamples", n_resamples)
    name, function, formula = resolve_metric(metric)
    Y, Y_hat_a, _ = as_columns(Y, Y_hat_a, max_ndim=2)
    Y, Y_hat_b, _ = as_columns(Y, Y_hat_b, max_ndim=2)
    n_rows, n_voxels = Y.shape
    roi_names, masks = check_rois(rois, n_voxels)
    rng = as_rng(seed)
    weights = bootstrap_weights(n_rows, n_resamples, groups, rng)
    score_a, score_b = (to_numpy(function(Y, p)).reshape(n_voxels) for p in (Y_hat_a, Y_hat_b))
    difference = score_a - score_b
    # Region means over the voxels that both models have a score for.
    score_a, score_b = (np.where(np.isnan(difference), np.nan, s) for s in (score_a, score_b))
    roi_difference = roi_means(difference, masks)

    low, high, p = np.empty((3, n_voxels))
    means = RoiMeans(masks, n_resamples)
    pairs = zip(
        resampled_scores(Y, Y_hat_a, weights, metric), resampled_scores(Y, Y_hat_b, weights, metric), strict=True
    )
    for (columns, a), (_, b) in pairs:
        samples = a - b
        means.add(columns, samples)
        low[columns], high[columns] = percentile_interval(samples, level)
        if test == "bootstrap":
            p[columns] = _sign_p(samples, difference[columns])
    roi_samples = means.means
    roi_low, roi_high = percentile_interval(roi_samples, level)
    if test == "bootstrap":
        roi_p = _sign_p(roi_samples, roi_difference)
    else:
        units, labels = _units(n_rows, groups, None)
        swaps = rng.integers(2, size=(n_resamples, units))[:, labels]
        null_means = RoiMeans(masks, n_resamples)
        for columns, null in _swapped_differences(Y, Y_hat_a, Y_hat_b, swaps, function, formula, name):
            null_means.add(columns, null)
            p[columns] = _two_sided_p(null, difference[columns])
        roi_p = _two_sided_p(null_means.means, roi_difference)
    return Comparison(
        difference=difference,
        low=low,
        high=high,
        p=p,
        rois=roi_names,
        roi_a=roi_means(score_a, masks),
        roi_b=roi_means(score_b, masks),
        roi_difference=roi_difference,
        roi_low=roi_low,
        roi_high=roi_high,
        roi_p=roi_p,
        roi_samples=roi_samples,
        names=(str(names[0]), str(names[1])),
        metric=name,
        test=test,
        level=level,
        n_resamples=n_resamples,
        n_units=_units(n_rows, groups, None)[0],
        seed=seed,
    )


def sign_flip_test(
    differences: Any, n_permutations: int = 10_000, seed: int | np.random.Generator = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return (mean, two-sided p) of paired differences of independent units, usually subjects.

    Under the null hypothesis a difference is as likely to have the other sign. All 2^n sign patterns are used where
    they are at most ``n_permutations``, which makes p exact; six subjects are needed for p < 0.05.

    Parameters
    ----------
    differences : array (n_units, ...)
        NaN where a subject has no value: it is left out there.
    n_permutations : int
    seed : int or Generator

    Examples
    --------
    >>> sign_flip_test([0.02, 0.01, 0.03, 0.05, 0.02, 0.04, 0.01, 0.02])[1]
    array(0.0078125)
    """
    d = np.asarray(differences, dtype=float)
    check_positive_int("n_permutations", n_permutations)
    if d.ndim < 1 or len(d) < 2:
        raise ShapeMismatch(f"a sign-flip test needs at least 2 units, got shape {d.shape}.")
    n, shape = len(d), d.shape[1:]
    flat = d.reshape(n, -1)
    exact = n < 63 and 2**n <= n_permutations
    if exact:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = 1.0 - 2.0 * as_rng(seed).integers(2, size=(n_permutations, n))
    present = np.isfinite(flat)
    filled = np.where(present, flat, 0.0)
    with np.errstate(invalid="ignore"):
        mean = filled.sum(0) / present.sum(0)
    p = np.empty(flat.shape[1])
    for columns in column_blocks(flat.shape[1], len(signs)):
        reached = np.abs(signs @ filled[:, columns])
        observed = np.abs(filled[:, columns].sum(0))
        count = (reached >= observed - 1e-12 * np.abs(filled[:, columns]).sum(0)).sum(0)
        p[columns] = count / len(signs) if exact else (1 + count) / (1 + len(signs))
    return mean.reshape(shape), np.where(np.isnan(mean), np.nan, p).reshape(shape)


def _sign_p(samples: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Twice the share of resamples on the other side of 0 (half of those at 0), never 0."""
    n = np.isfinite(samples).sum(0)
    ties = 0.5 * (samples == 0).sum(0)
    smaller = np.minimum((samples < 0).sum(0) + ties, (samples > 0).sum(0) + ties)
    return np.where(np.isnan(observed), np.nan, np.minimum(2 * (1 + smaller) / (1 + n), 1.0))


def _two_sided_p(null: np.ndarray, observed: np.ndarray) -> np.ndarray:
    reached = (np.abs(null) >= np.abs(observed) - 2e-6 * np.maximum(np.abs(observed), 1e-3)).sum(0)
    return np.where(np.isnan(observed), np.nan, (1 + reached) / (1 + len(null)))


def _swapped_differences(
    Y: Any,
    A: Any,
    B: Any,
    swaps: np.ndarray,
    function: Any,
    formula: Any,
    name: str,
    view: Callable[[np.ndarray, slice], np.ndarray] | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (voxels, score of a - score of b (n_resamples, n_block)), predictions exchanged where ``swaps`` is 1.

    ``view(scores, voxels)`` brings scores to other units before they are subtracted.
    """
    xp = namespace(Y)
    everything = slice(0, Y.shape[1])
    view = (lambda scores, columns: scores) if view is None else view
    if formula is None:
        null = np.empty((len(swaps), Y.shape[1]))
        for row, swap in zip(null, swaps.astype(bool), strict=True):
            take = xp.as_tensor(swap, device=Y.device)[:, None] if is_tensor(Y) else swap[:, None]
            first, second = xp.where(take, B, A), xp.where(take, A, B)
            row[:] = view(to_numpy(function(Y, first)), everything) - view(to_numpy(function(Y, second)), everything)
        yield everything, null
        return
    W: Any = swaps.astype(np.float32 if is_single(Y) and is_single(A) and is_single(B) else np.float64)
    if is_tensor(Y):
        W = xp.as_tensor(W, device=Y.device)
    n = Y.shape[0]
    for columns in column_blocks(Y.shape[1], max(swaps.shape), 2**20, smallest=16):
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            m = moments(Y[:, columns], A[:, columns])
            y, a, b = (double(x[:, columns]) for x in (Y, A, B))
            centre = y.mean(0)
            y, a, b = y - centre, a - centre, b - centre
            if name == "pearson_r":
                # Correlations see no scale, but a mixture of two predictions does.
                a, b = _standardised(a), _standardised(b)
            change = b - a, b * b - a * a, y * (b - a)
            moved = [double(W @ (c.to(W.dtype) if is_tensor(c) else c.astype(W.dtype))) for c in change]
            scores = []
            for x, sign in ((a, 1), (b, -1)):
                total, square, product = (
                    s + sign * d for s, d in zip((x.sum(0), (x * x).sum(0), (y * x).sum(0)), moved, strict=True)
                )
                spread = square - total**2 / n
                spread = xp.where(spread > 1e-6 * square, spread, xp.zeros_like(spread))
                scores.append(formula(Moments(n, -total / n, m.yy + xp.zeros_like(spread), spread, product)))
            a, b = (view(to_numpy(x), columns) for x in scores)
            yield columns, a - b


def _standardised(x: Any) -> Any:
    xp = namespace(x)
    x = x - x.mean(0)
    sd = ((x * x).mean(0)) ** 0.5
    return x / xp.where(sd > 0, sd, xp.ones_like(sd))
