"""How many images does an encoder need?

Encoders are fitted to growing random subsets of the training images and scored on the same test images. All encoders
see the same subsets, so their curves are paired draw by draw. The spread over draws is that of other images from this
pool: subsets of nearly all images are nearly the same, and the spread vanishes there. What other test images would have
shown is another question, for which test images are resampled, alike for all fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_positive_int
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats._efficiency_folder import EfficiencyFolder
from neuro.stats._fit import check_models, fit_predict, n_rows, take
from neuro.stats._moments import to_numpy
from neuro.stats._rois import RoiMeans, check_rois, roi_means
from neuro.stats.bootstrap import _units, bootstrap_weights, percentile_interval, resampled_scores
from neuro.stats.metrics import resolve_metric


@dataclass(frozen=True, eq=False)
class EfficiencyCurve:
    """Result of :func:`efficiency_curve`.

    Parameters
    ----------
    names : tuple of str
        Encoders.
    sizes : array (n_sizes,), int
        Number of training images.
    scores : array (n_encoders, n_sizes, n_draws, n_voxels)
        On the test images.
    rois : tuple of str
    roi_scores : array (n_encoders, n_sizes, n_draws, n_rois)
    metric, nested, n_units, seed
        Settings; ``n_units`` is the number of images that were drawn from.
    samples : array (n_encoders, n_sizes, n_draws, n_bootstraps, n_rois), or None
        Scores of regions on resampled test images, the same for all fits.
    """

    names: tuple[str, ...]
    sizes: np.ndarray
    scores: np.ndarray
    rois: tuple[str, ...]
    roi_scores: np.ndarray
    metric: str
    nested: bool
    n_units: int
    seed: int
    samples: np.ndarray | None = None

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return (low, high), each (n_encoders, n_sizes, n_rois): the central ``level`` of draws."""
        by_draw = np.moveaxis(self.roi_scores, 2, 0)
        low, high = percentile_interval(by_draw.reshape(len(by_draw), -1), level)
        return low.reshape(by_draw.shape[1:]), high.reshape(by_draw.shape[1:])

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return one tidy row per encoder, region and size; ``error`` is the s.d. over draws."""
        low, high = self.interval(level)
        n_draws = self.roi_scores.shape[2]
        return pd.DataFrame(
            [
                {"model": name, "roi": roi, "n_images": int(size), "metric": self.metric}
                | {"score": self.roi_scores[i, k, :, j].mean()}
                | {"error": self.roi_scores[i, k, :, j].std(ddof=1) if n_draws > 1 else np.nan}
                | {"ci_low": low[i, k, j], "ci_high": high[i, k, j], "n_draws": n_draws}
                for i, name in enumerate(self.names)
                for j, roi in enumerate(self.rois)
                for k, size in enumerate(self.sizes)
            ]
        )


def efficiency_curve(
    estimators: Any,
    X: Any,
    Y: Any,
    X_test: Any,
    Y_test: Any,
    sizes: Sequence[int],
    n_draws: int = 10,
    *,
    groups: Any = None,
    nested: bool = True,
    metric: str | Callable[[Any, Any], Any] = "pearson_r",
    rois: Mapping[str, Any] | None = None,
    n_bootstraps: int = 0,
    test_groups: Any = None,
    path: Any = None,
    n_jobs: int | None = None,
    seed: int = 0,
) -> EfficiencyCurve:
    """Score encoders that were fitted to random subsets of the training images.

    Parameters
    ----------
    estimators : dict name -> estimator or callable, or one of them
        Estimators are cloned for every fit. A callable takes (X_train, Y_train, X_test) and returns predictions.
    X : array, tensor, or dict of them (n_rows, n_features)
    Y : array or tensor (n_rows, n_voxels)
    X_test, Y_test
        The same of images that are not among the training images.
    sizes : sequence of int
        Numbers of training images, at most those there are.
    n_draws : int
    groups : array (n_rows,), optional
        The stimulus of each row: whole stimuli are drawn and counted, and estimators whose ``fit`` takes ``groups`` get
        theirs.
    nested : bool
        The smaller subsets of a draw are parts of the larger, which makes its curve smoother. Otherwise every size is
        drawn for itself.
    metric : str or callable
    rois : dict name -> boolean mask or indices, optional
        By default one region "all".
    n_bootstraps : int
        Resamples of the test images, for intervals ``over="images"`` in :func:`data_efficiency`.
    test_groups : array (n_test_rows,), optional
        The stimulus of each test row, where rows are repeats: they are drawn together.
    path : path, optional
        Folder for the scores of finished fits. A run that was killed continues there and returns the same numbers; more
        draws may be asked for later. Everything else must be the same; of a callable only its name is known.
    n_jobs : int, optional
        Threads (or what ``joblib.parallel_config`` says) over draws and sizes.
    seed : int

    Returns
    -------
    EfficiencyCurve

    Raises
    ------
    ShapeMismatch
        If rows, features or voxels do not agree.
    StaleStore
        If the folder holds scores of something else.
    ValueError
        If a size exceeds the number of images.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((500, 20))
    >>> Y = X @ rng.standard_normal((20, 4)) + 4 * rng.standard_normal((500, 4))
    >>> curve = efficiency_curve({"ridge": Ridge(10)}, X[:300], Y[:300], X[300:], Y[300:], [30, 100, 300])
    >>> curve.to_frame()["score"].round(2).tolist()
    [0.55, 0.67, 0.71]
    """
    from joblib import Parallel, delayed

    models = check_models(estimators)
    check_positive_int("n_draws", n_draws)
    check_positive_int("seed", seed, 0)
    check_positive_int("n_bootstraps", n_bootstraps, 0)
    Y, Y_test = check_data(X, Y, "X and Y"), check_data(X_test, Y_test, "X_test and Y_test")
    if Y.shape[1] != Y_test.shape[1]:
        raise ShapeMismatch(f"Y has {Y.shape[1]:,} voxels, Y_test has {Y_test.shape[1]:,}.")
    units, labels = _units(len(Y), groups, None)
    wanted = _check_sizes(sizes, units, groups is not None)
    roi_names, masks = check_rois(rois, Y.shape[1])
    metric_name, function, _ = resolve_metric(metric)
    rows_of = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    codes = None if groups is None else labels
    weights = bootstrap_weights(len(Y_test), n_bootstraps, test_groups, seed) if n_bootstraps else None

    def scored(hat: Any) -> np.ndarray:
        of_voxels = np.asarray(to_numpy(function(Y_test, hat)), dtype=float)
        if weights is None:
            return of_voxels
        means = RoiMeans(masks, n_bootstraps)
        for columns, block in resampled_scores(Y_test, hat, weights, metric):
            means.add(columns, block)
        return np.concatenate([of_voxels, means.means.reshape(-1)])

    def one(draw: int, size: int) -> np.ndarray:
        order = np.random.default_rng([seed, draw] if nested else [seed, draw, size]).permutation(units)
        rows = np.concatenate([rows_of[u] for u in order[:size]])
        some = None if codes is None else codes[rows]
        parts = take(X, rows), take(Y, rows)
        hats = [fit_predict(model, *parts, X_test, some, Y_test.shape) for model in models.values()]
        return np.stack([scored(hat) for hat in hats])

    tasks = [(draw, int(size)) for draw in range(n_draws) for size in wanted]
    work: Callable[[int, int], np.ndarray] = one
    if path is not None:
        folder = EfficiencyFolder(path, (len(models), Y.shape[1] + n_bootstraps * len(roi_names)))
        resampled = None if weights is None else (weights, masks)
        folder.open(models, (X, Y, X_test, Y_test), codes, wanted, nested, metric_name, seed, resampled)
        work = folder.remembered(one)
    done = Parallel(n_jobs=n_jobs, prefer="threads")(delayed(work)(*task) for task in tasks)
    scores = np.stack(list(done), axis=1).reshape(len(models), n_draws, len(wanted), -1).swapaxes(1, 2)
    scores, samples = scores[..., : Y.shape[1]], scores[..., Y.shape[1] :]
    flat = scores.reshape(-1, Y.shape[1])
    return EfficiencyCurve(
        names=tuple(models),
        sizes=wanted,
        scores=scores,
        rois=roi_names,
        roi_scores=np.stack([roi_means(s, masks) for s in flat]).reshape(*scores.shape[:3], -1),
        metric=metric_name,
        nested=nested,
        n_units=units,
        seed=seed,
        samples=samples.reshape(*scores.shape[:3], n_bootstraps, -1) if n_bootstraps else None,
    )


def check_data(X: Any, Y: Any, what: str) -> Any:
    """Return Y as (n_rows, n_voxels) with as many rows as X and some voxel that varies."""
    Y = Y if hasattr(Y, "shape") else np.asarray(Y)
    if len(Y.shape) != 2:
        raise ShapeMismatch(f"{what}: responses must be (n_rows, n_voxels), got shape {tuple(Y.shape)}.")
    if n_rows(X) != len(Y):
        raise ShapeMismatch(f"{what} must describe the same stimuli, got {n_rows(X):,} and {len(Y):,} rows.")
    values = to_numpy(Y)
    if not (np.isfinite(values).all(0) & (values != values[:1]).any(0)).any():
        raise EmptySelection(f"{what}: none of {Y.shape[1]:,} voxels has responses that are finite and vary.")
    return Y


def _check_sizes(sizes: Sequence[int], units: int, grouped: bool) -> np.ndarray:
    wanted = np.array([check_positive_int("size", s, 2) for s in np.atleast_1d(np.asarray(sizes, dtype=object))])
    if not wanted.size or (np.diff(wanted) <= 0).any():
        raise ValueError(f"sizes must rise, got {wanted.tolist()}.")
    if wanted[-1] > units:
        raise ValueError(
            f"sizes must be at most {units:,}, the number of training {'stimuli' if grouped else 'rows'}, got "
            f"{wanted[-1]:,}."
        )
    return wanted
