"""Which of several encoders predicts best, where, and could it be chance?

All encoders are scored on the same draws of images, so every difference is paired, and the p of many voxels are
corrected within families that the caller names. For two models :func:`neuro.stats.compare_models` does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats._encoder_comparison import EncoderComparison
from neuro.stats._moments import as_columns, to_numpy
from neuro.stats._rois import RoiMeans, check_rois, roi_means
from neuro.stats.bootstrap import _units, bootstrap_weights, check_level, percentile_interval, resampled_scores
from neuro.stats.compare import TESTS, _sign_p, _swapped_differences, _two_sided_p
from neuro.stats.metrics import resolve_metric
from neuro.stats.multiple import fdr
from neuro.stats.score import KIND_OF_METRIC, KINDS, normalise

FAMILIES = ("pair", "all")


def compare_encoders(
    predictions: Mapping[str, Any],
    Y: Any,
    *,
    rois: Mapping[str, Any] | None = None,
    groups: Any = None,
    family: Any = "pair",
    metric: str | Callable[[Any, Any], Any] = "pearson_r",
    ceiling: Any = None,
    normalised: str | None = None,
    floor: float = 0.1,
    test: str = "swap",
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int | np.random.Generator = 0,
) -> EncoderComparison:
    """Compare the predictions of several encoders of the same test responses, every pair, paired over images.

    Parameters
    ----------
    predictions : dict name -> array or tensor (n_rows, n_voxels)
        At least two encoders.
    Y : array or tensor (n_rows, n_voxels)
        Responses that no encoder has seen.
    rois : dict name -> boolean mask or indices, optional
        By default one region "all".
    groups : array (n_rows,), optional
        The stimulus of each row, where rows are repeats: they are drawn and swapped together.
    family : "pair", "all" or array (n_voxels,)
        Tests that are one question and corrected together (Benjamini-Hochberg): all voxels of a pair of encoders; all
        voxels of all pairs; or, within each pair, the voxels with the same label. The p of regions are corrected over
        all pairs with "all", otherwise within each pair.
    metric : str or callable
        "pearson_r", "r2", "explained_variance", or f(Y, Y_hat) -> (n_voxels,), which is slow.
    ceiling : array (n_voxels,), optional
        Noise ceiling, a share of variance: scores and differences are then relative to it, and voxels whose ceiling is
        not above ``floor`` are NaN and no tests.
    normalised : str, optional
        With ``ceiling``: the unit, by default the first of ``neuro.stats.KINDS`` (``r |r| / NC`` for correlations).
    floor : float
    test : "swap" or "bootstrap"
        As in :func:`compare_models`.
    n_resamples : int
        Of the bootstrap and of the swaps.
    level : float
    seed : int or Generator

    Returns
    -------
    EncoderComparison

    Raises
    ------
    ShapeMismatch
        If predictions differ from Y in shape, or labels or ceiling in voxels.
    EmptySelection
        If no voxel has a score from every encoder.
    ValueError
        If there are fewer than two encoders, or an option is unknown.

    References
    ----------
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 16. Benjamini & Hochberg (1995), J. R. Stat.
    Soc. B 57, 289-300.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> Y = rng.standard_normal((300, 4))
    >>> noise = {"good": 1, "bad": 2, "worse": 3}
    >>> found = compare_encoders({k: Y + s * rng.standard_normal(Y.shape) for k, s in noise.items()}, Y)
    >>> found.to_frame()[["model_a", "model_b", "difference", "q"]].round(3)
      model_a model_b  difference    q
    0    good     bad       0.237  0.0
    1    good   worse       0.429  0.0
    2     bad   worse       0.192  0.0
    """
    check_option("test", test, TESTS)
    check_level(level)
    check_positive_int("n_resamples", n_resamples)
    if not isinstance(predictions, Mapping) or len(predictions) < 2:
        got = list(predictions) if isinstance(predictions, Mapping) else type(predictions).__name__
        raise ValueError(f"predictions must be a dict name -> (n_rows, n_voxels) of at least two encoders, got {got}.")
    metric_name, function, formula = resolve_metric(metric)
    names = tuple(str(name) for name in predictions)
    hats = []
    for name, Y_hat in predictions.items():
        try:
            Y, Y_hat, _ = as_columns(Y, Y_hat, max_ndim=2)
        except ShapeMismatch as error:
            raise ShapeMismatch(f"predictions of {str(name)!r}: {error}") from None
        hats.append(Y_hat)
    n_rows, n_voxels = Y.shape
    kind, view = _units_of(metric_name, ceiling, normalised, floor, n_voxels)
    roi_names, masks = check_rois(rois, n_voxels)
    pairs = tuple(combinations(range(len(names)), 2))
    families, family_name = _families(family, len(pairs), n_voxels)

    whole = slice(0, n_voxels)
    scores = np.stack([view(to_numpy(function(Y, p)).reshape(n_voxels), whole) for p in hats])
    common = np.isfinite(scores).all(0)
    if not common.any():
        raise EmptySelection(
            "no voxel has a score from every encoder: responses or predictions are constant or contain NaN"
            + ("." if ceiling is None else f", or no ceiling is above floor={floor}.")
        )
    rng = as_rng(seed)
    weights = bootstrap_weights(n_rows, n_resamples, groups, rng)
    shared = np.where(common, scores, np.nan)
    difference = np.stack([shared[i] - shared[j] for i, j in pairs])
    roi_scores = np.stack([roi_means(s, masks) for s in shared])
    roi_difference = np.stack([roi_scores[i] - roi_scores[j] for i, j in pairs])

    low, high, p = np.empty((3, len(pairs), n_voxels))
    means = [RoiMeans(masks, n_resamples) for _ in names]
    for blocks in zip(*(resampled_scores(Y, hat, weights, metric) for hat in hats), strict=True):
        columns = blocks[0][0]
        samples = [np.where(common[columns], view(block, columns), np.nan) for _, block in blocks]
        for mean, sample in zip(means, samples, strict=True):
            mean.add(columns, sample)
        for k, (i, j) in enumerate(pairs):
            change = samples[i] - samples[j]
            low[k, columns], high[k, columns] = percentile_interval(change, level)
            if test == "bootstrap":
                p[k, columns] = _sign_p(change, difference[k, columns])
    roi_samples = np.stack([mean.means for mean in means])
    changes = np.stack([roi_samples[i] - roi_samples[j] for i, j in pairs])
    if test == "bootstrap":
        roi_p = np.stack([_sign_p(c, d) for c, d in zip(changes, roi_difference, strict=True)])
    else:
        units, labels = _units(n_rows, groups, None)
        swaps = rng.integers(2, size=(n_resamples, units))[:, labels]
        roi_p = np.empty_like(roi_difference)
        for k, (i, j) in enumerate(pairs):
            null_means = RoiMeans(masks, n_resamples)
            for columns, null in _swapped_differences(Y, hats[i], hats[j], swaps, function, formula, metric_name, view):
                null_means.add(columns, np.where(common[columns], null, np.nan))
                p[k, columns] = _two_sided_p(null, difference[k, columns])
            roi_p[k] = _two_sided_p(null_means.means, roi_difference[k])
    roi_limits = [percentile_interval(c, level) for c in changes]
    score_limits = [percentile_interval(s, level) for s in roi_samples]
    return EncoderComparison(
        names=names,
        scores=scores,
        pairs=tuple((names[i], names[j]) for i, j in pairs),
        difference=difference,
        low=low,
        high=high,
        p=p,
        q=fdr(p, families=families),
        rois=roi_names,
        roi_scores=roi_scores,
        roi_score_low=np.stack([a for a, _ in score_limits]),
        roi_score_high=np.stack([b for _, b in score_limits]),
        roi_difference=roi_difference,
        roi_low=np.stack([a for a, _ in roi_limits]),
        roi_high=np.stack([b for _, b in roi_limits]),
        roi_p=roi_p,
        roi_q=fdr(roi_p, families=_families("all" if family_name == "all" else "pair", *roi_p.shape)[0]),
        roi_samples=roi_samples,
        kind=kind,
        test=test,
        family=family_name,
        level=level,
        n_resamples=n_resamples,
        n_units=_units(n_rows, groups, None)[0],
        seed=seed,
    )


def _units_of(
    metric: str, ceiling: Any, normalised: str | None, floor: float, n_voxels: int
) -> tuple[str, Callable[[Any, slice], np.ndarray]]:
    """Return the kind of the scores and a function (raw scores, voxels) -> scores of that kind."""
    raw = KIND_OF_METRIC.get(metric, metric)
    if ceiling is None:
        if normalised is not None:
            raise ValueError(f"normalised={normalised!r} needs the voxels' noise ceilings: give ceiling=.")
        return raw, lambda scores, columns: scores
    if raw not in KINDS:
        raise ValueError(f"metric {metric!r} has no known kind, so it cannot be divided by a ceiling.")
    kind = check_option("normalised", KINDS[raw][0] if normalised is None else normalised, KINDS[raw])
    ceiling = np.asarray(to_numpy(ceiling), dtype=float)
    if ceiling.shape != (n_voxels,):
        raise ShapeMismatch(f"ceiling must have one entry per voxel ({n_voxels:,}), got shape {ceiling.shape}.")
    return kind, lambda scores, columns: normalise(scores, ceiling[columns], kind, raw, floor)


def _families(family: Any, n_pairs: int, n_tests: int) -> tuple[np.ndarray, str]:
    """Return the family of every test (n_pairs, n_tests) and what to call the rule."""
    rows = np.broadcast_to(np.arange(n_pairs)[:, None], (n_pairs, n_tests))
    if isinstance(family, str):
        check_option("family", family, FAMILIES)
        return (rows if family == "pair" else np.zeros_like(rows)), family
    labels = np.asarray(family)
    if labels.shape != (n_tests,):
        raise ShapeMismatch(
            f"family must be 'pair', 'all' or one label per voxel ({n_tests:,}), got shape {labels.shape}."
        )
    codes = np.unique(labels, return_inverse=True)[1].reshape(-1)
    return rows * (codes.max() + 1) + codes, "labels"
