"""When can it be read from the sensors? A decoder for every window of time.

A window is ``start <= time < stop``. *Sliding* windows have one width and say when the signal is there; *growing* ones
begin together and say how much had arrived by then. A decoder sees nothing but the samples of its window, so what is
recorded later never changes what it says.

Every score is of held-out images: folds keep the repeats of an image together, and within a fold the repeats of an
image are merged, so that an image is in the pool of candidates once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from neuro.data import Responses
from neuro.decoders._window_folds import FoldProblem, fit_decoder, rows_of
from neuro.decoders._window_times import (
    ROUNDING,
    baseline_correct,
    check_windows,
    extent,
    growing_windows,
    recording,
    sliding_windows,
    window_features,
)
from neuro.decoders.metrics.result import MetricResult, mean_result
from neuro.errors import ShapeMismatch

__all__ = [
    "Generalisation",
    "TimeCourse",
    "WindowedDecoder",
    "baseline_correct",
    "decode_windows",
    "generalise_over_time",
    "growing_windows",
    "sliding_windows",
    "window_features",
]


class WindowedDecoder(BaseEstimator):
    """One decoder per window, usable while a recording comes in.

    Parameters
    ----------
    windows : array (n_windows, 2)
        From :func:`sliding_windows` or :func:`growing_windows`.
    decoder : sklearn-style estimator, optional
        Cloned for every window; by default :class:`neuro.linear.RidgeCV`. One whose ``fit`` knows ``groups`` is given
        the images, so that its own cross-validation keeps repeats together too.
    summary : {"samples", "mean"}

    Attributes
    ----------
    decoders_ : list of fitted decoders
    windows_ : (n_windows, 2)

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> Y, times = rng.standard_normal((60, 4, 10)), np.arange(10) / 10
    >>> targets = Y[:, :2, 4] + rng.standard_normal((60, 2))
    >>> online = WindowedDecoder(sliding_windows(times, 0.2)).fit(Y, targets, times=times)
    >>> [len(said) for said in online.predict(Y[:, :, :6], times=times[:6])]     # three windows are over by then
    [60, 60, 60]
    """

    def __init__(self, windows: Any, decoder: Any = None, *, summary: str = "samples"):
        self.windows = windows
        self.decoder = decoder
        self.summary = summary

    def fit(self, Y: Any, targets: Any, groups: Any = None, *, times: Any = None) -> WindowedDecoder:
        """Fit.

        Parameters
        ----------
        Y : array (n_trials, n_sensors, n_times) or Responses with times
        targets : array (n_trials, n_features), or labels (n_trials,)
        groups : array (n_trials,), optional
            The image of each trial; by default the stimuli of ``Responses``.
        times : array (n_times,)
            Seconds; by default those of ``Responses``.
        """
        if groups is None and isinstance(Y, Responses) and "stimulus" in Y.trials:
            groups = Y.stimulus
        features = window_features(Y, times, self.windows, self.summary)
        targets = rows_of("targets", targets, len(features[0]))
        self.windows_ = check_windows(self.windows)
        self.decoders_ = [fit_decoder(self.decoder, X, targets, groups) for X in features]
        return self

    def predict(self, Y: Any, *, times: Any = None) -> list[np.ndarray]:
        """Predict from every window that is over: a list of (n_trials, n_features), shorter for shorter recordings."""
        check_is_fitted(self)
        Y, times = recording(Y, times)
        end = extent(times)[1]
        over = [i for i, (_, stop) in enumerate(self.windows_) if stop <= end + ROUNDING]
        features = window_features(Y, times, self.windows_[over], self.summary) if over else []
        return [np.asarray(self.decoders_[i].predict(X)) for i, X in zip(over, features, strict=True)]


@dataclass(frozen=True, eq=False)
class TimeCourse:
    """Result of :func:`decode_windows`: a score per window.

    Attributes
    ----------
    windows : array (n_windows, 2)
        Seconds.
    results : tuple of MetricResult
        One per window; ``per_item`` is the score of each image, in the order of ``images``.
    images : array (n_images,)
    """

    windows: np.ndarray
    results: tuple[MetricResult, ...]
    images: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """(n_windows,)."""
        return np.array([r.value for r in self.results])

    @property
    def peak(self) -> tuple[float, float]:
        """The window of the best score, in seconds."""
        start, stop = self.windows[int(np.nanargmax(self.scores))]
        return float(start), float(stop)

    @property
    def above_chance(self) -> np.ndarray:
        """Windows whose 95 % interval lies above chance, bool (n_windows,); not corrected for their number."""
        return np.array([r.ci is not None and r.chance is not None and r.ci[0] > r.chance for r in self.results])

    def table(self) -> pd.DataFrame:
        """Return one row per window: start, stop, value, ci_low, ci_high, chance, n."""
        rows = []
        for (start, stop), r in zip(self.windows, self.results, strict=True):
            low, high = r.ci or (np.nan, np.nan)
            rows.append(
                {"start": start, "stop": stop, "value": r.value, "ci_low": low, "ci_high": high}
                | {"chance": r.chance, "n": r.n, "metric": r.metric, "protocol": r.protocol}
            )
        return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class Generalisation:
    """Result of :func:`generalise_over_time`.

    Attributes
    ----------
    windows : array (n_windows, 2)
        Seconds.
    scores : array (n_windows, n_windows)
        ``scores[i, j]``: trained on window i, tested on window j.
    chance : float or None
    protocol : str
    """

    windows: np.ndarray
    scores: np.ndarray
    chance: float | None
    protocol: str


def decode_windows(
    Y: Any,
    targets: Any,
    windows: Any,
    *,
    times: Any = None,
    groups: Any = None,
    decoder: Any = None,
    cv: Any = 5,
    scoring: str | Callable[[np.ndarray, np.ndarray], np.ndarray] = "two_way",
    summary: str = "samples",
    repeats: str = "average",
    n_bootstraps: int = 1000,
    random_state: int | None = 0,
) -> TimeCourse:
    """Cross-validate a decoder in every window of time.

    Parameters
    ----------
    Y : array (n_trials, n_sensors, n_times) or Responses with times
    targets : array (n_trials, n_features), or labels (n_trials,) with ``scoring="accuracy"``
        The same for all repeats of an image.
    windows : array (n_windows, 2)
        Seconds.
    times, groups
        As in :meth:`WindowedDecoder.fit`. Without groups every trial is an image of its own.
    decoder, summary
        As in :class:`WindowedDecoder`.
    cv : int, splitter or iterable of (train, test)
        An int makes so many folds of whole images.
    scoring : {"two_way", "top1", "top5", "correlation", "accuracy"} or callable
        Of each held-out image: share of the fold's other images that are less like the prediction; whether it is the
        most alike, or among five; correlation with the truth; whether the label is right. Alike is meant as correlation
        over features, less the mean of the training images (with one feature: closeness). A callable gets predictions
        and targets (n, n_features) of a fold and returns (n,).
    repeats : {"average", "single"}
        Average the predictions of an image's trials, or score each trial and average the scores. The pool of
        candidates holds every image of the fold once in either case.
    n_bootstraps : int
        Draws of images, for the 95 % interval.
    random_state : int or None
        Of folds and draws. All windows share both.

    Returns
    -------
    TimeCourse

    Raises
    ------
    ShapeMismatch
        If shapes disagree, or the repeats of an image have different targets.
    SplitLeakage
        If ``cv`` puts an image on both sides.
    EmptySelection
        If a window holds no sample.
    """
    problem = FoldProblem(Y, targets, windows, times, groups, cv, scoring, summary, repeats, random_state)
    items = np.full((len(problem.windows), len(problem.images)), np.nan)
    for train, test in problem.splits:
        for w, X in enumerate(problem.features):
            fitted = fit_decoder(decoder, X[train], problem.targets[train], problem.codes[train])
            images, values = problem.score(fitted.predict(X[test]), train, test)
            items[w, images] = values
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score")
    results = tuple(
        mean_result(
            name,
            row,
            protocol=problem.protocol,
            chance=problem.chance,
            rng=random_state,
            n_bootstraps=n_bootstraps,
            details={"window": [float(start), float(stop)]},
        )
        for row, (start, stop) in zip(items, problem.windows, strict=True)
    )
    return TimeCourse(problem.windows, results, problem.images)


def generalise_over_time(
    Y: Any,
    targets: Any,
    windows: Any,
    *,
    times: Any = None,
    groups: Any = None,
    decoder: Any = None,
    cv: Any = 5,
    scoring: str | Callable[[np.ndarray, np.ndarray], np.ndarray] = "two_way",
    summary: str = "mean",
    repeats: str = "average",
    random_state: int | None = 0,
) -> Generalisation:
    """Train in each window, test in every other: does the code for an image last, or change?

    Training and testing images are different in every cell. Parameters are those of :func:`decode_windows`; with
    ``summary="samples"`` all windows must hold equally many samples.

    References
    ----------
    King & Dehaene (2014), Trends in Cognitive Sciences 18, 203-210.
    """
    problem = FoldProblem(Y, targets, windows, times, groups, cv, scoring, summary, repeats, random_state)
    widths = {X.shape[1] for X in problem.features}
    if len(widths) > 1:
        raise ShapeMismatch(
            f"a decoder of one window cannot read another of a different number of samples (features: {sorted(widths)})"
            ". Use summary='mean', or windows of one width."
        )
    n = len(problem.windows)
    items = np.full((n, n, len(problem.images)), np.nan)
    for train, test in problem.splits:
        for i, X in enumerate(problem.features):
            fitted = fit_decoder(decoder, X[train], problem.targets[train], problem.codes[train])
            for j, other in enumerate(problem.features):
                images, values = problem.score(fitted.predict(other[test]), train, test)
                items[i, j, images] = values
    return Generalisation(problem.windows, np.nanmean(items, -1), problem.chance, problem.protocol)
