"""Does an encoder of one person, or data set, predict another?

Every encoder is fitted on each data set and tested on each. Responses are brought together voxel by voxel (one common
space), by the means of regions, or by a linear map between the two people's voxels that is learnt on images both saw.
A score is read relative to that of the encoder fitted on the tested data set itself: 1 says that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_option, check_positive_int
from neuro.errors import EmptySelection
from neuro.stats._fit import check_models, fit_predict
from neuro.stats._generalise import join, linear_map, prepare
from neuro.stats._moments import to_numpy
from neuro.stats._rois import RoiMeans, roi_means
from neuro.stats.bootstrap import bootstrap_weights, check_level, percentile_interval, resampled_scores
from neuro.stats.metrics import resolve_metric

MATCHES = ("voxels", "rois", "linear")


@dataclass(frozen=True, eq=False)
class GeneralisationMatrix:
    """Result of :func:`generalisation_matrix`.

    Parameters
    ----------
    models, names, rois : tuple of str
        Encoders, data sets, regions.
    scores : array (n_models, n_fitted, n_tested, n_rois)
        Mean score over the region's voxels; rows are what was fitted, columns what was tested.
    normalised, low, high : array of the same shape
        Scores divided by that of the encoder fitted on the tested data set, and its interval over test images. NaN
        where that encoder's score is not above 0.
    samples : array (n_models, n_fitted, n_tested, n_bootstraps, n_rois)
        Bootstrapped scores: the same test images for all models and all fitted data sets, so that they are paired.
    match, metric, level, n_bootstraps, seed
        Settings.
    """

    models: tuple[str, ...]
    names: tuple[str, ...]
    rois: tuple[str, ...]
    scores: np.ndarray
    normalised: np.ndarray
    low: np.ndarray
    high: np.ndarray
    samples: np.ndarray
    match: str
    metric: str
    level: float
    n_bootstraps: int
    seed: int

    def transfer(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (mean normalised score over pairs of different data sets, low, high), each (n_models, n_rois).

        The interval is one over images, for these data sets.
        """
        away = ~np.eye(len(self.names), dtype=bool)
        values = self.normalised[:, away].mean(1)
        draws = _relative(self.samples)[:, away].mean(1)  # (n_models, n_bootstraps, n_rois)
        limits = [percentile_interval(d, self.level) for d in draws]
        return values, np.stack([a for a, _ in limits]), np.stack([b for _, b in limits])

    def to_frame(self) -> pd.DataFrame:
        """Return one tidy row per encoder, fitted and tested data set, and region."""
        rows = []
        for index in np.ndindex(*self.scores.shape):
            m, i, j, k = index
            rows.append(
                {"model": self.models[m], "fitted": self.names[i], "tested": self.names[j], "roi": self.rois[k]}
                | {"metric": self.metric, "score": self.scores[index], "normalised": self.normalised[index]}
                | {"ci_low": self.low[index], "ci_high": self.high[index]}
            )
        return pd.DataFrame(rows)


def generalisation_matrix(
    estimators: Any,
    datasets: Mapping[str, Any],
    *,
    match: str = "voxels",
    metric: str | Callable[[Any, Any], Any] = "pearson_r",
    n_bootstraps: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> GeneralisationMatrix:
    """Fit encoders on each data set and test them on each.

    Parameters
    ----------
    estimators : dict name -> estimator or callable, or one of them
        Estimators are cloned for every fit. A callable takes (X_train, Y_train, X_test) and returns predictions.
    datasets : dict name -> EncodingData or (X, Y, X_test, Y_test)
        At least two subjects or data sets, with the same features. Regions (``EncodingData.rois``) must have the same
        names in all; without, there is one region "all".
    match : "voxels", "rois" or "linear"
        "voxels": column k is the same place in all. "rois": encoders are fitted to the mean responses of regions.
        "linear": predictions are mapped to the tested data set's voxels by a ridge regression, learnt on measured
        training responses to the images that all saw (``EncodingData.shared``), with a penalty per voxel by exact
        leave-one-out.
    metric : str or callable
    n_bootstraps : int
        Of test images. With test sets of one size the same rows are drawn in all.
    level : float
    seed : int

    Returns
    -------
    GeneralisationMatrix

    Raises
    ------
    ShapeMismatch
        If features, voxels, regions or shared images do not agree between data sets.
    EmptySelection
        If no voxel of a data set has a score from every encoder.

    Notes
    -----
    Encoders fitted on fewer images or noisier responses predict others less well, whoever they are: a row of low
    values may say no more than that. The reference is the tested data set's own encoder, so a value above 1 means that
    the other's encoder is the better one.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> rng = np.random.default_rng(0)
    >>> shared, private = rng.standard_normal((10, 5)), rng.standard_normal((2, 10, 5))
    >>> people = {}
    >>> for name, own in zip(["S1", "S2"], private):
    ...     X = rng.standard_normal((500, 10))
    ...     Y = X @ (shared + own) + rng.standard_normal((500, 5))
    ...     people[name] = X[:300], Y[:300], X[300:], Y[300:]
    >>> generalisation_matrix(Ridge(1.0), people).normalised[0, :, :, 0].round(1)
    array([[1. , 0.6],
           [0.6, 1. ]])
    """
    check_option("match", match, MATCHES)
    check_level(level)
    check_positive_int("n_bootstraps", n_bootstraps)
    check_positive_int("seed", seed, 0)
    models = check_models(estimators)
    metric_name, function, _ = resolve_metric(metric)
    data, rois = prepare(datasets, match)
    names = tuple(data)
    n = len(names)
    everything = join([d.X_test for d in data.values()])
    ends = np.cumsum([len(d.Y_test) for d in data.values()])
    scores = np.full((len(models), n, n, len(rois)), np.nan)
    samples = np.full((len(models), n, n, n_bootstraps, len(rois)), np.nan)
    hats: dict[tuple[int, int, int], Any] = {}
    for m, model in enumerate(models.values()):
        for i, source in enumerate(data.values()):
            shape = (int(ends[-1]), source.Y.shape[1])
            whole = fit_predict(model, source.X, source.Y, everything, source.groups, shape)
            for j, target in enumerate(data.values()):
                hat = whole[ends[j] - len(target.Y_test) : ends[j]]
                if match == "linear" and i != j:
                    hat = linear_map(source.Y[source.shared], target.Y[target.shared], hat)
                hats[m, i, j] = hat
    for j, (name, target) in enumerate(data.items()):
        masks = target.masks
        weights = bootstrap_weights(len(target.Y_test), n_bootstraps, target.test_groups, seed)
        cells = [(m, i) for m in range(len(models)) for i in range(n)]
        raw = [np.asarray(to_numpy(function(target.Y_test, hats[m, i, j])), dtype=float) for m, i in cells]
        common = np.isfinite(raw).all(0)
        if not common.any():
            raise EmptySelection(f"no voxel of {name!r} has a score from every encoder.")
        for (m, i), values in zip(cells, raw, strict=True):
            scores[m, i, j] = roi_means(np.where(common, values, np.nan), masks)
            means = RoiMeans(masks, n_bootstraps)
            for columns, block in resampled_scores(target.Y_test, hats[m, i, j], weights, metric):
                means.add(columns, np.where(common[columns], block, np.nan))
            samples[m, i, j] = means.means
    low, high = np.empty((2, *scores.shape))
    relative = _relative(samples)
    for index in np.ndindex(*scores.shape[:3]):
        low[index], high[index] = percentile_interval(relative[index], level)
    return GeneralisationMatrix(
        models=tuple(models),
        names=names,
        rois=rois,
        scores=scores,
        normalised=_relative(scores),
        low=low,
        high=high,
        samples=samples,
        match=match,
        metric=metric_name,
        level=level,
        n_bootstraps=n_bootstraps,
        seed=seed,
    )


def _relative(scores: np.ndarray) -> np.ndarray:
    """Divide scores (n_models, n_fitted, n_tested, ...) by those of the tested data set's own encoder."""
    own = np.stack([scores[:, j, j] for j in range(scores.shape[1])], axis=1)[:, None]
    return scores / np.where(own > 0, own, np.nan)
