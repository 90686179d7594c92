"""From scores per voxel to one row per region."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_option, check_positive_int
from neuro.errors import ShapeMismatch
from neuro.stats._moments import as_columns, to_numpy
from neuro.stats._rois import RoiMeans, check_rois, roi_means
from neuro.stats.bootstrap import (
    METHODS,
    bootstrap_weights,
    check_level,
    interval,
    leave_one_out_weights,
    resampled_scores,
)
from neuro.stats.metrics import METRICS
from neuro.stats.permutation import permutation_test
from neuro.stats.score import KIND_OF_METRIC, KINDS, Score, normalise


def roi_summary(
    scores: Any,
    rois: Mapping[str, Any],
    *,
    Y: Any = None,
    Y_hat: Any = None,
    metric: str = "pearson_r",
    ceiling: Any = None,
    normalised: str | None = None,
    floor: float = 0.1,
    groups: Any = None,
    n_bootstraps: int = 1000,
    n_permutations: int = 0,
    level: float = 0.95,
    method: str = "percentile",
    seed: int = 0,
    labels: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Return a tidy table of regions: mean and median score, interval, ceiling, p.

    Parameters
    ----------
    scores : array (n_voxels,), Score, or None
        None computes them from Y and Y_hat.
    rois : dict name -> boolean mask or voxel indices
    Y, Y_hat : array or tensor (n_rows, n_voxels), optional
        Test responses and predictions. With them every mean gets a confidence interval by bootstrap over images (the
        same draws for every call with this seed, so tables of several models are paired).
    metric : "pearson_r", "r2" or "explained_variance"
        What the scores are.
    ceiling : array (n_voxels,), optional
        Noise ceiling, share of variance: adds one row per region for the score relative to it, over the voxels whose
        ceiling is above ``floor``.
    normalised : str, optional
        Kind of these rows; "r2/NC" for correlations, unless "r/sqrtNC" is asked for.
    floor : float
    groups : array (n_rows,), optional
        The stimulus of each row, where rows are repeats.
    n_bootstraps, n_permutations : int
        0 for none. Permutations test the mean raw score of a region, see :func:`permutation_test`.
    level, method
        Of the interval, see :func:`bootstrap_scores`.
    seed : int
    labels : dict, optional
        Further columns, put first: ``{"subject": 1, "model": "clip", "layer": "block3"}``.

    Returns
    -------
    DataFrame
        ``roi, metric, score`` (mean over voxels), ``median, ci_low, ci_high, ceiling`` (mean of the same voxels),
        ``n_voxels`` (with a score), ``n_missing`` (of the region, without), ``n_images, p``. ``metric`` is a kind as in
        :class:`Score`. A region without voxels keeps its row, with NaN.

    Raises
    ------
    ShapeMismatch
        If masks, scores and responses disagree in voxels.
    ValueError
        If ``scores`` are not those of Y and Y_hat.

    Examples
    --------
    >>> table = roi_summary([0.1, 0.3, 0.5], {"V1": [0, 1], "FFA": [2]}, labels={"subject": 1})
    >>> table[["subject", "roi", "metric", "score", "n_voxels"]]
       subject  roi metric  score  n_voxels
    0        1   V1      r    0.2         2
    1        1  FFA      r    0.5         1
    """
    check_option("metric", metric, METRICS)
    check_option("method", method, METHODS)
    check_level(level)
    for name, number in (("n_bootstraps", n_bootstraps), ("n_permutations", n_permutations)):
        check_positive_int(name, number, 0)
    if (Y is None) != (Y_hat is None):
        raise ValueError("give both Y and Y_hat, or neither.")
    if isinstance(scores, Score):
        if scores.raw_kind != KIND_OF_METRIC[metric]:
            raise ValueError(f"these scores are of kind {scores.raw_kind!r}, but metric is {metric!r}.")
        ceiling = scores.ceiling if ceiling is None else ceiling
        scores = scores.raw
    if Y is not None:
        Y, Y_hat, _ = as_columns(Y, Y_hat, max_ndim=2)
        scores = _matching(scores, to_numpy(METRICS[metric](Y, Y_hat)), metric)
    elif scores is None:
        raise ValueError("give scores, or Y and Y_hat to compute them from.")
    elif n_permutations:
        raise ValueError(f"n_permutations = {n_permutations} needs Y and Y_hat.")
    scores = np.asarray(to_numpy(scores), dtype=float)
    if scores.ndim != 1:
        raise ShapeMismatch(f"scores must be (n_voxels,), got shape {scores.shape}.")
    names, masks = check_rois(rois, len(scores))
    raw_kind = KIND_OF_METRIC[metric]
    ceiling = None if ceiling is None else np.asarray(to_numpy(ceiling), dtype=float)
    kinds = [raw_kind] if ceiling is None else [raw_kind, normalised or KINDS[raw_kind][0]]

    def view(values: np.ndarray, kind: str, columns: slice = slice(None)) -> np.ndarray:
        if kind == raw_kind or ceiling is None:
            return values
        return normalise(values, ceiling[columns], kind, raw_kind, floor)

    values = {kind: view(scores, kind) for kind in kinds}
    observed = {kind: roi_means(values[kind], masks) for kind in kinds}
    limits = {kind: np.full((2, len(names)), np.nan) for kind in kinds}
    p, n_images = np.full(len(names), np.nan), np.nan
    if Y is not None:
        n_images = Y.shape[0] if groups is None else len(np.unique(to_numpy(groups)))
        draws = [bootstrap_weights(Y.shape[0], n_bootstraps, groups, seed)] if n_bootstraps else []
        if draws and method == "bca":
            draws.append(leave_one_out_weights(Y.shape[0], groups))
        resampled = [_resampled_means(Y, Y_hat, w, metric, kinds, view, masks) for w in draws]
        for kind in kinds if draws else ():
            left_out = resampled[1][kind] if len(resampled) > 1 else None
            limits[kind] = np.stack(interval(resampled[0][kind], observed[kind], left_out, level))
        if n_permutations:
            p = permutation_test(Y, Y_hat, n_permutations, groups, metric, seed, rois=rois).p
    rows = []
    for kind in kinds:
        for i, name in enumerate(names):
            scored = masks[i] & np.isfinite(values[kind])
            rows.append(
                dict(labels or {})
                | {"roi": name, "metric": kind, "score": observed[kind][i]}
                | {"median": np.median(values[kind][scored]) if scored.any() else np.nan}
                | {"ci_low": limits[kind][0, i], "ci_high": limits[kind][1, i]}
                | {"ceiling": np.nan if ceiling is None else roi_means(ceiling, scored[None])[0]}
                | {"n_voxels": int(scored.sum()), "n_missing": int((masks[i] & ~scored).sum())}
                | {"n_images": n_images, "p": p[i]}
            )
    return pd.DataFrame(rows)


def _resampled_means(
    Y: Any, Y_hat: Any, weights: np.ndarray, metric: str, kinds: list[str], view: Any, masks: np.ndarray
) -> dict[str, np.ndarray]:
    """Mean scores of every region in every resample, (n_resamples, n_rois) by kind."""
    means = {kind: RoiMeans(masks, len(weights)) for kind in kinds}
    for columns, samples in resampled_scores(Y, Y_hat, weights, metric):
        for kind in kinds:
            means[kind].add(columns, view(samples, kind, columns))
    return {kind: m.means for kind, m in means.items()}


def _matching(scores: Any, computed: np.ndarray, metric: str) -> np.ndarray:
    """Return ``scores``, after a look whether they are those of the predictions."""
    if scores is None:
        return computed
    scores = np.asarray(to_numpy(scores), dtype=float)
    if scores.shape != computed.shape:
        raise ShapeMismatch(f"{scores.shape} scores for the {computed.shape} voxels of Y.")
    both = np.isfinite(scores) & np.isfinite(computed)
    if (np.abs(scores - computed)[both] > 1e-3 * np.maximum(1, np.abs(computed[both]))).any():
        raise ValueError(f"scores are not the {metric} of Y and Y_hat, so an interval would belong to other numbers.")
    return scores
