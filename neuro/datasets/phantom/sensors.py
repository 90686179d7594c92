"""A phantom under sensors: M/EEG-like recordings in which what is seen shows at a known time, at known places.

    y_s(trial, sensor, t) = snr * course(t) * sum_k z_k(image) pattern_s(k, sensor) + noise(trial, sensor, t)

z are standardised projections of the images' embeddings, the same for all subjects; patterns are smooth over the
sensors' positions and differ between subjects; the course is exactly 0 outside its interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_positive_int
from neuro.data import Responses, Voxels
from neuro.errors import ShapeMismatch

WIDTH = 0.2  # s.d. of a spatial pattern's bump, in units of the sensor array, which spans 0..1


@dataclass(frozen=True, eq=False)
class SensorRecordings:
    """Simulated recordings, and what was planted.

    Attributes
    ----------
    responses : dict of subject -> Responses (n_trials, n_sensors, n_times)
        Trials: ``stimulus`` (row of the embeddings), ``repeat``, ``subject``. Sensors have columns ``x`` and ``y``.
    positions : array (n_sensors, 2)
        Of the sensors, flattened onto the unit square.
    times : array (n_times,)
        Seconds from stimulus onset.
    course : array (n_times,)
        Planted time course, peak 1, exactly 0 outside ``interval``.
    interval : (start, stop)
        Seconds.
    components : array (n_images, n_components)
        z: what of the images reaches the sensors, each column of mean 0 and s.d. 1.
    patterns : dict of subject -> array (n_components, n_sensors)
    """

    responses: dict[int, Responses]
    positions: np.ndarray
    times: np.ndarray
    course: np.ndarray
    interval: tuple[float, float]
    components: np.ndarray
    patterns: dict[int, np.ndarray]


def simulate_sensors(
    embeddings: Any,
    *,
    n_subjects: int = 1,
    n_sensors: int = 32,
    n_components: int | None = None,
    n_repeats: int = 2,
    times: Any = None,
    interval: tuple[float, float] = (0.1, 0.2),
    snr: float = 0.5,
    idiosyncrasy: float = 0.5,
    autocorrelation: float = 0.6,
    seed: int = 0,
) -> SensorRecordings:
    """Simulate what sensors record while images are shown.

    Parameters
    ----------
    embeddings : array (n_images, n_features)
        What there is to know of every image, as CLIP vectors of phantom scenes.
    n_subjects, n_sensors, n_repeats : int
        Every subject sees every image ``n_repeats`` times, in random order.
    n_components : int, optional
        Random projections of the embeddings that reach the sensors; by default at most 8.
    times : array (n_times,), ascending, optional
        Seconds from stimulus onset; by default -0.2 to 0.8 in steps of 0.02.
    interval : (start, stop)
        Seconds: the only times at which sensors depend on the image. The course is a Hann window over them.
    snr : float
        s.d. of the signal over s.d. of the noise at the peak, over trials and sensors.
    idiosyncrasy : float, 0 to 1
        Share of a pattern's variance that is the subject's own; 0 gives all subjects the same patterns.
    autocorrelation : float, 0 to 1
        Of the noise between successive times; the noise has s.d. 1.
    seed : int

    Returns
    -------
    SensorRecordings

    Raises
    ------
    ShapeMismatch
        If embeddings are no finite matrix of at least 2 rows.
    ValueError
        If no time lies within the interval, or a number is impossible.

    Examples
    --------
    >>> meg = simulate_sensors(np.random.default_rng(0).standard_normal((6, 4)), n_sensors=5, n_subjects=2)
    >>> meg.responses[1].shape, np.flatnonzero(meg.course).size
    ((12, 5, 50), 4)
    """
    X = np.asarray(embeddings, dtype=float)
    if X.ndim != 2 or len(X) < 2 or not np.isfinite(X).all():
        raise ShapeMismatch(f"embeddings must be finite, (n_images, n_features) with n_images >= 2; got {X.shape}.")
    n_subjects, n_sensors = check_positive_int("n_subjects", n_subjects), check_positive_int("n_sensors", n_sensors, 2)
    n_repeats, seed = check_positive_int("n_repeats", n_repeats), check_positive_int("seed", seed, 0)
    k = min(8, X.shape[1]) if n_components is None else check_positive_int("n_components", n_components)
    if not (np.isfinite(snr) and snr >= 0):
        raise ValueError(f"snr must be 0 or more, got {snr!r}.")
    if not 0 <= idiosyncrasy <= 1 or not 0 <= autocorrelation < 1:
        raise ValueError(
            f"idiosyncrasy must be 0 to 1 and autocorrelation 0 to below 1, got {idiosyncrasy} and {autocorrelation}."
        )
    times = np.arange(-10, 40) / 50 if times is None else np.asarray(times, dtype=float)
    course = planted_course(times, interval)
    rng = np.random.default_rng([seed, 0])
    z = (X - X.mean(0)) @ rng.standard_normal((X.shape[1], k))
    if (z.std(0) <= 1e-12).any():
        raise ValueError("embeddings must differ between images: some projection of them is constant.")
    z = (z - z.mean(0)) / z.std(0)
    positions = sensor_positions(n_sensors)
    shared = smooth_patterns(positions, k, rng)
    responses, patterns = {}, {}
    for subject in range(1, n_subjects + 1):
        rng = np.random.default_rng([seed, subject])
        own = smooth_patterns(positions, k, rng)
        pattern = np.sqrt(1 - idiosyncrasy) * shared + np.sqrt(idiosyncrasy) * own
        pattern /= np.sqrt((pattern**2).sum(0).mean())  # the signal then has s.d. 1 over trials and sensors
        order = rng.permutation(np.repeat(np.arange(len(X)), n_repeats))
        noise = _noise(rng, (len(order), n_sensors, len(times)), autocorrelation)
        data = snr * (z[order] @ pattern)[:, :, None] * course + noise
        trials = pd.DataFrame({"stimulus": order, "subject": subject})
        trials["repeat"] = trials.groupby("stimulus").cumcount()
        table = pd.DataFrame({"x": positions[:, 0], "y": positions[:, 1]})
        step = {"step": "simulate sensors", "seed": seed, "subject": subject, "snr": float(snr)}
        responses[subject] = Responses(
            data.astype(np.float32), trials, Voxels(table), units="noise s.d.", times=times, provenance=(step,)
        )
        patterns[subject] = pattern
    start, stop = (float(v) for v in interval)
    return SensorRecordings(responses, positions, times, course, (start, stop), z, patterns)


def planted_course(times: Any, interval: tuple[float, float]) -> np.ndarray:
    """Return a Hann window over ``start <= time < stop``, largest value 1, exactly 0 elsewhere; (n_times,).

    >>> planted_course([0.0, 0.1, 0.15, 0.2], (0.1, 0.2)).round(2)
    array([0., 0., 1., 0.])
    """
    times, (start, stop) = np.asarray(times, dtype=float), interval
    if times.ndim != 1 or (np.diff(times) <= 0).any():
        raise ValueError("times must be ascending seconds from stimulus onset.")
    slack = 1e-9
    inside = (times >= start - slack) & (times < stop - slack)
    course = np.where(inside, np.sin(np.pi * (times - start) / (stop - start)) ** 2, 0.0)
    course[np.abs(course) < 1e-12] = 0.0
    if not course.any():
        raise ValueError(f"no time lies within interval {start:g} to {stop:g} s, where the effect is to be planted.")
    return course / course.max()


def sensor_positions(n_sensors: int) -> np.ndarray:
    """Return evenly spread places on a disc inside the unit square (sunflower spiral), (n_sensors, 2)."""
    i = np.arange(n_sensors)
    radius, angle = 0.45 * np.sqrt((i + 0.5) / n_sensors), np.pi * (3 - np.sqrt(5)) * i
    return 0.5 + np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


def smooth_patterns(positions: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``n`` patterns (n, n_sensors): each a positive and a negative bump, as of a dipole; mean square 1."""
    bumps = []
    for _ in range(2):
        centre = rng.uniform(0.1, 0.9, (n, 1, 2))
        bumps.append(np.exp(-((positions - centre) ** 2).sum(-1) / (2 * WIDTH**2)))
    pattern = bumps[0] - bumps[1]
    return pattern / np.sqrt((pattern**2).mean(1, keepdims=True))


def _noise(rng: np.random.Generator, shape: Sequence[int], autocorrelation: float) -> np.ndarray:
    """First-order autoregressive along the last axis, s.d. 1."""
    from scipy.signal import lfilter

    noise = rng.standard_normal(shape)
    if not autocorrelation:
        return noise
    noise[..., 1:] *= np.sqrt(1 - autocorrelation**2)
    return np.asarray(lfilter([1.0], [1.0, -autocorrelation], noise, axis=-1))
