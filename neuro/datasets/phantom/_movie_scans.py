"""When each clip is shown, and what a scanner adds to the signal."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from neuro.datasets.phantom.clips import PhantomClips

# Blank seconds after the last clip of a run, so that its response is seen.
_TAIL = 10.0


def plan_scans(
    movies: PhantomClips, n_runs: int, tr: float, gap: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Time points and events."""
    duration = float(movies.clips.duration[0])
    slot = math.ceil(round((duration + gap) / tr, 9))  # scans from one clip to the next
    tail = math.ceil(_TAIL / tr)
    points, events = [], []
    for run, clips in enumerate(np.array_split(rng.permutation(movies.clips.ids), n_runs)):
        n = slot * len(clips) + tail
        time = np.arange(n) * tr
        onset = np.arange(len(clips)) * slot * tr
        which = np.minimum((time / (slot * tr) + 1e-9).astype(int), len(clips) - 1)
        shown = time < onset[which] + duration - 1e-9
        clip = np.where(shown, clips[which], -1)
        points.append(pd.DataFrame({"run": run, "time": time, "clip": clip}))
        events.append(pd.DataFrame({"run": run, "onset": onset, "duration": duration, "clip": clips}))
    return pd.concat(points, ignore_index=True), pd.concat(events, ignore_index=True)


def scan_movie(
    signal: np.ndarray, points: pd.DataFrame, ncsnr: np.ndarray, n_repeats: int, rho: float, seed: int
) -> tuple[np.ndarray, pd.DataFrame]:
    """Signal plus noise of variance 1, whose neighbours in time correlate rho within a run."""
    from scipy.signal import lfilter

    rng = np.random.default_rng([seed, 4])
    data, trials = [], []
    for repeat in range(n_repeats):
        for run in points["run"].unique():
            rows = np.flatnonzero(points["run"] == run)
            white = rng.standard_normal((len(rows), signal.shape[1]))
            white[1:] *= np.sqrt(1 - rho**2)  # the first scan is already in the steady state
            noise = lfilter([1.0], [1.0, -rho], white, axis=0)
            data.append(ncsnr * signal[rows] + noise)
            trials.append(points.iloc[rows].assign(stimulus=rows, repeat=repeat))
    table = pd.concat(trials, ignore_index=True)
    order = ["stimulus", "run", "repeat", "time", "clip"]
    return np.concatenate(data).astype(np.float32), table.reindex(columns=order)
