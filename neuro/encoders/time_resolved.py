"""When does a site carry what the features say? A ridge regression for every site and time.

``y_s(event, t) ~ X(event) w_st + b_st`` with a penalty of its own for each site s and time t after the event: electrode
by electrode, as in intracranial, EEG and MEG studies. Sites x times are the voxels of one :class:`RidgeCV`, so features
are decomposed once for all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from neuro._check import is_tensor
from neuro.data import Responses
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.linear.ridge import RidgeCV
from neuro.stats.metrics import resolve_metric

# Times of equal steps are not equal to the last bit.
_ROUNDING = 1e-9


class TimeResolvedRidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """:class:`RidgeCV` for responses with a time axis.

    Parameters
    ----------
    alphas, cv
        As in ``RidgeCV``.
    lags : array (n_lags,), optional
        Times after the event to predict, in the unit of ``times`` (seconds for ``Responses``): middles of windows. By
        default every time; with ``window`` every time around which the window is whole.
    window : float, optional
        Average responses over ``lag - window / 2 <= time < lag + window / 2`` first, 0.2 s for instance. By default no
        averaging: the time nearest to each lag.
    scoring, fit_intercept, form, extend_grid, random_state, device, memory_limit, n_jobs
        As in ``RidgeCV``.

    Attributes
    ----------
    lags_ : (n_lags,)
    coef_ : (n_sites, n_lags, n_features)
    intercept_, alpha_, best_score_ : (n_sites, n_lags)
    ridge_ : RidgeCV
        Fitted to sites x lags, lags fastest.

    References
    ----------
    Subramaniam et al. (2024), ICML, arXiv 2406.14481 (200 ms windows, one penalty per electrode and time).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.standard_normal((100, 3)), rng.standard_normal((100, 2, 50))
    >>> Y[:, 0, 20:30] += 5 * X[:, :1]                        # site 0 answers from 0.2 s to 0.3 s
    >>> encoder = TimeResolvedRidgeCV(10.0, window=0.1, lags=[0.05, 0.15, 0.25, 0.35])
    >>> encoder.fit(X, Y, times=np.arange(50) / 100).coef_.shape
    (2, 4, 3)
    >>> encoder.latency(encoder.scores(X, Y, times=np.arange(50) / 100))[0]
    np.float64(0.25)
    """

    def __init__(
        self,
        alphas: Any = "auto",
        cv: Any = 5,
        *,
        lags: Any = None,
        window: float | None = None,
        scoring: str = "neg_mse",
        fit_intercept: bool = True,
        form: str = "auto",
        extend_grid: bool = False,
        random_state: int | None = 0,
        device: Any = None,
        memory_limit: int = 2**30,
        n_jobs: int | None = None,
    ):
        self.alphas = alphas
        self.cv = cv
        self.lags = lags
        self.window = window
        self.scoring = scoring
        self.fit_intercept = fit_intercept
        self.form = form
        self.extend_grid = extend_grid
        self.random_state = random_state
        self.device = device
        self.memory_limit = memory_limit
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any, groups: Any = None, *, times: Any = None) -> TimeResolvedRidgeCV:
        """Choose penalties and fit.

        Parameters
        ----------
        X : array or tensor (n_events, n_features)
        y : array or tensor (n_events, n_sites, n_times), or Responses with times
        groups : array (n_events,), optional
            What must stay together in a split, such as the sentence or the scene that events belong to. By default the
            stimuli that ``Responses`` name.
        times : array (n_times,), optional
            Ascending. By default those of ``Responses``, else 0, 1, 2...

        Returns
        -------
        self

        Raises
        ------
        ShapeMismatch
            If y has no time axis or times do not fit it.
        EmptySelection
            If a window holds no time, or reaches beyond the times.
        ValueError
            If y is not finite; else as ``RidgeCV.fit``.
        """
        if groups is None and isinstance(y, Responses) and "stimulus" in y.trials:
            groups = y.stimulus
        Y, self.lags_ = average_windows(_like(y, X), _times_of(y, times), self.lags, self.window)
        self.n_sites_ = int(Y.shape[1])
        own = ("lags", "window")
        self.ridge_ = RidgeCV(**{k: v for k, v in self.get_params(deep=False).items() if k not in own})
        self.ridge_.fit(X, Y.reshape(len(Y), -1), groups)
        self.n_features_in_ = self.ridge_.n_features_in_
        shape = (self.n_sites_, len(self.lags_))
        self.coef_ = self.ridge_.coef_.reshape(*shape, -1)
        self.intercept_ = self.ridge_.intercept_.reshape(shape)
        self.alpha_ = self.ridge_.alpha_.reshape(shape)
        self.best_score_ = self.ridge_.best_score_.reshape(shape)
        return self

    def predict(self, X: Any) -> Any:
        """Predict responses at ``lags_``, (n_events, n_sites, n_lags)."""
        check_is_fitted(self)
        guess = self.ridge_.predict(X)
        return guess.reshape(len(guess), self.n_sites_, len(self.lags_))

    def scores(self, X: Any, y: Any, metric: Any = "pearson_r", *, times: Any = None) -> np.ndarray:
        """Return the score of every site and lag on held-out events.

        Parameters
        ----------
        X, y, times : as in ``fit``
        metric : str or callable
            "pearson_r", "r2", "explained_variance", or f(Y, Y_hat) -> (n_voxels,).

        Returns
        -------
        array or tensor (n_sites, n_lags)
        """
        _, function, _ = resolve_metric(metric)
        Y, guess = self._pair(X, y, times)
        return function(Y, guess).reshape(self.n_sites_, len(self.lags_))

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, times: Any = None) -> float:
        """Return R2, averaged over sites and lags."""
        Y, _ = self._pair(X, y, times)
        return self.ridge_.score(X, Y, sample_weight)

    def latency(self, scores: Any) -> np.ndarray:
        """Return the lag at which each site scores highest, (n_sites,); NaN for a site that scores nowhere above 0."""
        check_is_fitted(self)
        scores = scores.detach().cpu().numpy() if is_tensor(scores) else np.asarray(scores, dtype=float)
        if scores.shape != (self.n_sites_, len(self.lags_)):
            raise ShapeMismatch(f"scores must be ({self.n_sites_}, {len(self.lags_)}), got shape {scores.shape}.")
        known = np.where(np.isnan(scores), -np.inf, scores)
        return np.where(known.max(1) > 0, self.lags_[known.argmax(1)], np.nan)

    def _pair(self, X: Any, y: Any, times: Any) -> tuple[Any, Any]:
        """Responses and predictions, (n_events, n_sites * n_lags) each."""
        guess = self.predict(X)
        Y, _ = average_windows(_like(y, X), _times_of(y, times), self.lags_, self.window)
        if tuple(Y.shape) != tuple(guess.shape):
            raise ShapeMismatch(
                f"y must be of {len(guess)} events and {self.n_sites_} sites, as X and fit say; "
                f"got {tuple(Y.shape[:2])}."
            )
        return Y.reshape(len(Y), -1), guess.reshape(len(guess), -1)


def average_windows(Y: Any, times: Any = None, lags: Any = None, window: float | None = None) -> tuple[Any, np.ndarray]:
    """Average responses over windows in time.

    Parameters
    ----------
    Y : array or tensor (n_events, n_sites, n_times), or Responses with times
        Responses are read block by block: only averages are held.
    times : array (n_times,), ascending, optional
    lags, window
        As in :class:`TimeResolvedRidgeCV`.

    Returns
    -------
    Y : array or tensor (n_events, n_sites, n_lags)
    lags : array (n_lags,)

    Examples
    --------
    >>> Y, lags = average_windows(np.arange(6.0).reshape(1, 1, 6), times=np.arange(6) / 10, window=0.2)
    >>> Y[0, 0], lags
    (array([0.5, 1.5, 2.5, 3.5, 4.5]), array([0.1, 0.2, 0.3, 0.4, 0.5]))
    """
    times = _times_of(Y, times)
    if len(np.shape(Y)) != 3 and not isinstance(Y, Responses):
        raise ShapeMismatch(
            f"responses must be (n_events, n_sites, n_times), got shape {tuple(np.shape(Y))}. Without times, use "
            "RidgeCV."
        )
    n_times = Y.shape[-1] if len(Y.shape) == 3 else 0
    times = np.arange(n_times, dtype=float) if times is None else np.asarray(times, dtype=float)
    if times.shape != (n_times,) or not n_times or (np.diff(times) <= 0).any():
        raise ShapeMismatch(f"times must be {n_times} ascending numbers, one per time of the responses.")
    chosen, bins = _windows(times, lags, window)
    if isinstance(Y, Responses):
        out = np.empty((Y.n_trials, Y.n_voxels, len(chosen)), np.float32)
        for columns, block in Y.iter_blocks():
            out[:, columns] = _means(block, bins)
    else:
        out = _means(Y, bins)
    finite = out.isfinite() if is_tensor(out) else np.isfinite(out)
    if not bool(finite.all()):
        bad = np.flatnonzero(np.asarray((~finite).any(0).any(-1).tolist()))
        raise ValueError(
            f"responses contain NaN or infinity in {len(bad):,} of {out.shape[1]:,} sites (the first is {bad[0]}). "
            "Leave those sites out, or the events where they are missing."
        )
    return out, chosen


def _windows(times: np.ndarray, lags: Any, window: float | None) -> tuple[np.ndarray, list[np.ndarray]]:
    """Middles of windows, and the times inside each."""
    if window is not None and not (np.isfinite(window) and window > 0):
        raise ValueError(f"window must be above 0 in the unit of times, got {window!r}.")
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    slack = _ROUNDING * max(1.0, float(np.abs(times).max()))
    half = 0.0 if window is None else window / 2
    # A time stands for the step that begins with it, so the last window may end one step after the last time.
    first, last = times[0] + half - slack, times[-1] + step - half + slack
    if lags is None:
        chosen = times if window is None else times[(times >= first) & (times <= last)]
        if not len(chosen):
            raise EmptySelection(f"no window of {window:g} is whole within times {times[0]:g} to {times[-1]:g}.")
    else:
        chosen = np.atleast_1d(np.asarray(lags, dtype=float))
        if chosen.ndim != 1 or not chosen.size or not np.isfinite(chosen).all():
            raise EmptySelection(f"lags must be one or more finite numbers, got {lags!r}.")
        outside = chosen[(chosen < first) | (chosen > last)]
        if len(outside):
            around = "" if window is None else f" with its window of {window:g}"
            raise EmptySelection(
                f"lag {outside[0]:g}{around} reaches beyond the times, which go from {times[0]:g} to {times[-1]:g}."
            )
    if window is None:
        return chosen, [np.array([np.abs(times - lag).argmin()]) for lag in chosen]
    bins = [np.flatnonzero((times >= lag - half - slack) & (times < lag + half - slack)) for lag in chosen]
    empty = [lag for lag, inside in zip(chosen, bins, strict=True) if not len(inside)]
    if empty:
        raise EmptySelection(f"no time lies in the window of {window:g} around {empty[0]:g}: times are {step:g} apart.")
    return chosen, bins


def _means(Y: Any, bins: list[np.ndarray]) -> Any:
    if is_tensor(Y):
        import torch

        Y = Y if Y.is_floating_point() else Y.float()
        return torch.stack([Y[..., torch.from_numpy(inside).to(Y.device)].mean(-1) for inside in bins], -1)
    return np.stack([np.asarray(Y)[..., inside].mean(-1) for inside in bins], -1)


def _times_of(Y: Any, times: Any) -> Any:
    if not isinstance(Y, Responses):
        return times
    if Y.times is None:
        raise ShapeMismatch("these responses have no time axis: use RidgeCV.")
    return Y.times if times is None else times


def _like(Y: Any, X: Any) -> Any:
    """Responses as a tensor, if the features are one."""
    return Y.to_torch(X.device) if isinstance(Y, Responses) and is_tensor(X) else Y
