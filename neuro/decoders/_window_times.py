"""Windows of time: where they lie, and what a decoder sees of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import check_option
from neuro.data import Responses
from neuro.errors import EmptySelection, ShapeMismatch

SUMMARIES = ("samples", "mean")
# Times of equal steps are not equal to the last bit.
ROUNDING = 1e-9


def sliding_windows(times: Any, width: float, step: float | None = None) -> np.ndarray:
    """Return windows of one width that lie wholly within the recording.

    Parameters
    ----------
    times : array (n_times,), ascending
        Seconds.
    width : float
        Seconds.
    step : float, optional
        Between the beginnings of windows; by default ``width``, so that windows tile the time axis.

    Returns
    -------
    array (n_windows, 2)
        Start and stop in seconds; a window holds ``start <= time < stop``.

    Raises
    ------
    EmptySelection
        If the recording is shorter than a window.

    Examples
    --------
    >>> sliding_windows([0.0, 0.1, 0.2, 0.3], 0.2)
    array([[0. , 0.2],
           [0.2, 0.4]])
    """
    times, end = extent(times)
    width, step = _positive("width", width), _positive("step", width if step is None else step)
    last = end - width
    if last < times[0] - ROUNDING:
        raise EmptySelection(f"a window of {width:g} s does not fit into the recording, {times[0]:g} to {end:g} s.")
    starts = times[0] + step * np.arange(int(np.floor((last - times[0]) / step + ROUNDING)) + 1)
    return _rounded(np.stack([starts, starts + width], 1))


def growing_windows(times: Any, step: float, start: float | None = None) -> np.ndarray:
    """Return windows that begin together and end later and later.

    Parameters
    ----------
    times : array (n_times,), ascending
        Seconds.
    step : float
        By how much each window is longer than the one before, seconds.
    start : float, optional
        Where all begin; by default with the recording.

    Returns
    -------
    array (n_windows, 2)

    Examples
    --------
    >>> growing_windows([-0.1, 0.0, 0.1, 0.2], 0.1, start=0.0)
    array([[0. , 0.1],
           [0. , 0.2],
           [0. , 0.3]])
    """
    times, end = extent(times)
    step = _positive("step", step)
    start = float(times[0] if start is None else start)
    n = int(np.floor((end - start) / step + ROUNDING))
    if start < times[0] - ROUNDING or n < 1:
        raise EmptySelection(
            f"no window that begins at {start:g} s and grows by {step:g} s lies within {times[0]:g} to {end:g} s."
        )
    return _rounded(np.stack([np.full(n, start), start + step * np.arange(1, n + 1)], 1))


def baseline_correct(Y: Any, times: Any, interval: tuple[float, float] = (-0.2, 0.0)) -> np.ndarray:
    """Subtract from every trial and sensor its mean over ``interval[0] <= time < interval[1]``.

    Parameters
    ----------
    Y : array (n_trials, n_sensors, n_times)
    times : array (n_times,)
        Seconds.
    interval : (start, stop)
        Before the stimulus, seconds.

    Returns
    -------
    array (n_trials, n_sensors, n_times)

    Examples
    --------
    >>> baseline_correct(np.array([[[1.0, 3.0, 7.0]]]), [-0.2, -0.1, 0.0])
    array([[[-1.,  1.,  5.]]])
    """
    Y, times = recording(Y, times)
    inside = _inside(times, np.asarray([interval], dtype=float))[0]
    return Y - Y[:, :, inside].mean(-1, keepdims=True)


def window_features(Y: Any, times: Any, windows: Any, summary: str = "samples") -> list[np.ndarray]:
    """Return what a decoder sees of every window: a list of arrays (n_trials, n_features).

    Parameters
    ----------
    Y : array (n_trials, n_sensors, n_times) or Responses with times
    times : array (n_times,), or None to take those of ``Responses``
    windows : array (n_windows, 2)
    summary : {"samples", "mean"}
        All samples, sensors x times of the window, or the mean of each sensor.
    """
    check_option("summary", summary, SUMMARIES)
    Y, times = recording(Y, times)
    picked = [Y[:, :, inside] for inside in _inside(times, check_windows(windows))]
    return [part.reshape(len(Y), -1) if summary == "samples" else part.mean(-1) for part in picked]


def check_windows(windows: Any) -> np.ndarray:
    """Return windows as (n_windows, 2) with start < stop."""
    out = np.array(windows, dtype=float)
    if out.ndim != 2 or out.shape[1:] != (2,) or not len(out) or not (out[:, 0] < out[:, 1]).all():
        raise ShapeMismatch(
            f"windows must be (n_windows, 2), start before stop in seconds, got shape {out.shape}. "
            "sliding_windows and growing_windows make them."
        )
    return out


def recording(Y: Any, times: Any) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(Y, Responses):
        times = Y.times if times is None else times
        Y = Y.to_numpy()
    Y = np.asarray(Y)
    if Y.ndim != 3:
        raise ShapeMismatch(f"recordings must be (n_trials, n_sensors, n_times), got shape {Y.shape}.")
    if times is None:
        raise ShapeMismatch("times (seconds, one per sample) must be given, unless Responses carry them.")
    times = np.asarray(times, dtype=float)
    if times.shape != (Y.shape[2],):
        raise ShapeMismatch(f"times must have one entry for each of {Y.shape[2]} samples, got shape {times.shape}.")
    extent(times)
    return Y, times


def extent(times: Any) -> tuple[np.ndarray, float]:
    """Times, and where the last sample ends: a sample stands for the step that begins with it."""
    times = np.asarray(times, dtype=float)
    if times.ndim != 1 or not len(times) or (np.diff(times) <= 0).any():
        raise ShapeMismatch("times must be ascending seconds from stimulus onset, (n_times,).")
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return times, float(times[-1] + step)


def _inside(times: np.ndarray, windows: np.ndarray) -> list[np.ndarray]:
    found = [np.flatnonzero((times >= a - ROUNDING) & (times < b - ROUNDING)) for a, b in windows]
    for (a, b), samples in zip(windows, found, strict=True):
        if not len(samples):
            raise EmptySelection(f"no sample lies in {a:g} to {b:g} s; times go from {times[0]:g} to {times[-1]:g} s.")
    return found


def _positive(name: str, value: Any) -> float:
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be above 0 s, got {value!r}.")
    return float(value)


def _rounded(windows: np.ndarray) -> np.ndarray:
    return np.round(windows, 9) + 0.0
