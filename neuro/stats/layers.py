"""Which layer of a network predicts a voxel best, and how deep is it?

The layer is chosen on one set of scores (cross-validation on training images) and reported on another (test images):
the best of many noisy scores is too good, and a layer chosen on the test set reports exactly that. Next to the best
layer stands the mean depth weighted by scores, which does not jump when two layers are nearly as good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_positive_int
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats._moments import to_numpy
from neuro.stats._rois import RoiMeans, check_rois, roi_means
from neuro.stats.bootstrap import bootstrap_weights, check_level, percentile_interval, resampled_scores


@dataclass(frozen=True, eq=False)
class LayerPreference:
    """Result of :func:`layer_preference`.

    Parameters
    ----------
    layers : tuple of str
    depth : array (n_layers,)
    best : array (n_voxels,), int
        Index of the layer with the largest selection score, -1 for voxels without a preference.
    best_depth, soft_depth : array (n_voxels,)
        Depth of that layer, and mean depth weighted by selection scores; NaN without a preference.
    score : array (n_voxels,)
        Reported score of the best layer: from images on which it was not chosen.
    rois : tuple of str
    roi_n_voxels : array (n_rois,), int
        Voxels with a preference, over which the following are means.
    roi_share : array (n_rois, n_layers)
        Share of voxels that prefer each layer.
    roi_score, roi_best_depth, roi_soft_depth : array (n_rois,)
    roi_best_interval, roi_soft_interval : array (n_rois, 2), or None
        Where resamples were given.
    power, minimum, level, n_resamples
        Settings.
    """

    layers: tuple[str, ...]
    depth: np.ndarray
    best: np.ndarray
    best_depth: np.ndarray
    soft_depth: np.ndarray
    score: np.ndarray
    rois: tuple[str, ...]
    roi_n_voxels: np.ndarray
    roi_share: np.ndarray
    roi_score: np.ndarray
    roi_best_depth: np.ndarray
    roi_soft_depth: np.ndarray
    roi_best_interval: np.ndarray | None
    roi_soft_interval: np.ndarray | None
    power: float
    minimum: float
    level: float
    n_resamples: int

    def to_frame(self) -> pd.DataFrame:
        """Return one tidy row per region."""
        blank = np.full((len(self.rois), 2), np.nan)
        best = blank if self.roi_best_interval is None else self.roi_best_interval
        soft = blank if self.roi_soft_interval is None else self.roi_soft_interval
        favourite = [
            self.layers[share.argmax()] if n else "" for share, n in zip(self.roi_share, self.roi_n_voxels, strict=True)
        ]
        return pd.DataFrame(
            {
                "roi": self.rois,
                "layer": favourite,
                "score": self.roi_score,
                "best_depth": self.roi_best_depth,
                "best_depth_low": best[:, 0],
                "best_depth_high": best[:, 1],
                "soft_depth": self.roi_soft_depth,
                "soft_depth_low": soft[:, 0],
                "soft_depth_high": soft[:, 1],
                "n_voxels": self.roi_n_voxels,
            }
        )


def layer_preference(
    select: Any,
    report: Any,
    *,
    layers: Sequence[str] | None = None,
    depth: Any = None,
    rois: Mapping[str, Any] | None = None,
    power: float = 1.0,
    minimum: float = 0.0,
    samples: Any = None,
    level: float = 0.95,
) -> LayerPreference:
    """Return which layer each voxel prefers and how deep it lies, per voxel and region.

    ``best = argmax_l s_l`` and ``soft = sum_l depth_l max(s_l, 0)^power / sum_l max(s_l, 0)^power``.

    Parameters
    ----------
    select : array (n_layers, n_voxels)
        Scores to choose by: cross-validated on training images, or of a validation set.
    report : array (n_layers, n_voxels)
        Scores on other images, of which the chosen layer's is reported.
    layers : sequence of str, optional
        Names in the order of depth; by default "0", "1"...
    depth : array (n_layers,), optional
        By default evenly from 0 (first) to 1 (last).
    rois : dict name -> boolean mask or indices, optional
        By default one region "all".
    power : float
        Of scores as weights. With 1, layers that predict nearly alike pull the depth to the middle of the network; the
        larger, the nearer to the best layer.
    minimum : float
        Voxels whose best selection score is not above it have no preference.
    samples : array (n_resamples, n_layers, n_voxels), or the iterator :func:`resampled_layers`, optional
        Selection scores of resampled images, for intervals of the regions' mean depths.
    level : float
        Coverage of the intervals.

    Returns
    -------
    LayerPreference

    Raises
    ------
    ShapeMismatch
        If there are fewer than two layers, or sizes do not agree.
    EmptySelection
        If no voxel has a preference.
    ValueError
        If the layers are chosen on the scores that are reported.

    References
    ----------
    Guclu & van Gerven (2015), Journal of Neuroscience 35, 10005-10014 (best layer). Eickenberg, Gramfort, Varoquaux &
    Thirion (2017), NeuroImage 152, 184-194 (depth from the scores of all layers).

    Examples
    --------
    >>> chosen_by = np.array([[0.5, 0.1], [0.4, 0.1], [0.1, 0.6]])
    >>> found = layer_preference(chosen_by, chosen_by - 0.05)
    >>> found.best, found.soft_depth.round(3), found.score
    (array([0, 2]), array([0.3  , 0.812]), array([0.45, 0.55]))
    """
    check_level(level)
    if not power > 0:
        raise ValueError(f"power must be above 0, got {power!r}.")
    S, R = (np.array(to_numpy(x), dtype=float) for x in (select, report))
    if S.ndim != 2 or S.shape != R.shape:
        raise ShapeMismatch(f"select and report must both be (n_layers, n_voxels), got {S.shape} and {R.shape}.")
    n_layers, n_voxels = S.shape
    if n_layers < 2:
        raise ShapeMismatch(f"a preference needs at least 2 layers, got {n_layers}.")
    if np.array_equal(S, R, equal_nan=True) and np.isfinite(S).any():
        raise ValueError(
            "select and report are the same scores: the best of them is too good. Choose the layer by "
            "cross-validation on training images and report test images."
        )
    names, where = _check_layers(layers, depth, n_layers)
    roi_names, masks = check_rois(rois, n_voxels)
    best, best_depth, soft_depth = _depths(S[None], where, power)
    best, best_depth, soft_depth = best[0], best_depth[0], soft_depth[0]
    with np.errstate(invalid="ignore"):
        prefers = np.isfinite(S).all(0) & (S.max(0) > minimum)
    if not prefers.any():
        raise EmptySelection(
            f"no voxel has a preference: {int(np.isfinite(S).all(0).sum()):,} of {n_voxels:,} voxels have scores from "
            f"all layers, none above minimum={minimum}."
        )
    best = np.where(prefers, best, -1)
    best_depth, soft_depth = (np.where(prefers, d, np.nan) for d in (best_depth, soft_depth))
    score = np.where(prefers, np.take_along_axis(R, np.maximum(best, 0)[None], axis=0)[0], np.nan)
    count = (masks & prefers).sum(1)
    share = np.stack([roi_means(np.where(prefers, best == k, np.nan), masks) for k in range(n_layers)], axis=1)
    limits, n_resamples = _intervals(samples, where, power, prefers, masks, level, S.shape)
    return LayerPreference(
        layers=names,
        depth=where,
        best=best,
        best_depth=best_depth,
        soft_depth=soft_depth,
        score=score,
        rois=roi_names,
        roi_n_voxels=count,
        roi_share=share,
        roi_score=roi_means(score, masks),
        roi_best_depth=roi_means(best_depth, masks),
        roi_soft_depth=roi_means(soft_depth, masks),
        roi_best_interval=limits[0],
        roi_soft_interval=limits[1],
        power=float(power),
        minimum=float(minimum),
        level=level,
        n_resamples=n_resamples,
    )


def resampled_layers(
    Y: Any,
    predictions: Sequence[Any],
    n_bootstraps: int = 1000,
    groups: Any = None,
    metric: str | Callable[[Any, Any], Any] = "pearson_r",
    seed: int | np.random.Generator = 0,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (voxels, scores (n_bootstraps, n_layers, n_block)) of all layers on the same resamples of images.

    Parameters
    ----------
    Y : array or tensor (n_rows, n_voxels)
        Responses of the images on which layers are chosen.
    predictions : sequence of array or tensor (n_rows, n_voxels)
        One per layer, in the order of depth.
    n_bootstraps : int
    groups : array (n_rows,), optional
        The stimulus of each row, where rows are repeats.
    metric : str or callable
    seed : int or Generator

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> Y = rng.standard_normal((100, 5))
    >>> layers = [Y + s * rng.standard_normal(Y.shape) for s in (0.5, 2)]
    >>> [(columns, scores.shape) for columns, scores in resampled_layers(Y, layers, 20)]
    [(slice(0, 5, None), (20, 2, 5))]
    """
    predictions = list(predictions)
    if len(predictions) < 2:
        raise ShapeMismatch(f"a preference needs at least 2 layers, got predictions of {len(predictions)}.")
    check_positive_int("n_bootstraps", n_bootstraps)
    weights = bootstrap_weights(len(Y), n_bootstraps, groups, seed)
    for blocks in zip(*(resampled_scores(Y, hat, weights, metric) for hat in predictions), strict=True):
        yield blocks[0][0], np.stack([scores for _, scores in blocks], axis=1)


def _check_layers(layers: Any, depth: Any, n_layers: int) -> tuple[tuple[str, ...], np.ndarray]:
    names = tuple(str(k) for k in (range(n_layers) if layers is None else layers))
    where = np.linspace(0, 1, n_layers) if depth is None else np.array(depth, dtype=float)
    if len(names) != n_layers or where.shape != (n_layers,):
        raise ShapeMismatch(
            f"layers and depth must have one entry for each of {n_layers} layers, got {len(names)} and {where.shape}."
        )
    if not (np.diff(where) > 0).all():
        raise ValueError(f"depth must rise from layer to layer, got {where.tolist()}.")
    return names, where


def _depths(S: np.ndarray, depth: np.ndarray, power: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best layer, its depth and the weighted depth of scores (n, n_layers, n_voxels); NaN scores never win."""
    filled = np.where(np.isfinite(S), S, -np.inf)
    best = filled.argmax(1)
    top = np.maximum(filled.max(1, keepdims=True), 0)
    # Relative to the largest, so that large powers do not underflow.
    weights = (np.maximum(filled, 0) / np.where(top > 0, top, 1)) ** power
    with np.errstate(invalid="ignore"):
        soft = (weights * depth[:, None]).sum(1) / weights.sum(1)
    return best, depth[best], soft


def _intervals(
    samples: Any,
    depth: np.ndarray,
    power: float,
    prefers: np.ndarray,
    masks: np.ndarray,
    level: float,
    shape: tuple[int, int],
) -> tuple[tuple[np.ndarray | None, np.ndarray | None], int]:
    """Percentile intervals (n_rois, 2) of the regions' mean best and weighted depths, and the number of resamples."""
    if samples is None:
        return (None, None), 0
    blocks: Iterable[tuple[slice, Any]] = [(slice(0, shape[1]), samples)] if hasattr(samples, "shape") else samples
    means: list[RoiMeans] = []
    n, seen = 0, 0
    for columns, block in blocks:
        block = np.asarray(to_numpy(block), dtype=float)
        if block.ndim != 3 or block.shape[1:] != (shape[0], columns.stop - columns.start) or columns.stop > shape[1]:
            raise ShapeMismatch(f"samples must be (n_resamples, {shape[0]}, {shape[1]:,}), got {block.shape}.")
        n, seen = len(block), seen + block.shape[2]
        means = means or [RoiMeans(masks, n), RoiMeans(masks, n)]
        for mean, values in zip(means, _depths(block, depth, power)[1:], strict=True):
            mean.add(columns, np.where(prefers[columns], values, np.nan))
    if seen != shape[1]:
        raise ShapeMismatch(f"samples describe {seen:,} voxels, select {shape[1]:,}.")
    best, soft = (np.stack(percentile_interval(mean.means, level), axis=1) for mean in means)
    return (best, soft), n
