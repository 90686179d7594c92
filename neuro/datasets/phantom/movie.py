"""A phantom that watches movies: clips in runs, motion- and category-selective voxels, blood, noise, and the truth."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_positive_int
from neuro._files import atomic_path, read_json, write_json, write_npy
from neuro.data import Clips, Responses, Voxels, convolve_hrf, downsample_to_tr
from neuro.data.hrf import hrf_kernel
from neuro.datasets.phantom._movie_scans import plan_scans, scan_movie
from neuro.datasets.phantom._movie_voxels import drives, plant_voxels
from neuro.datasets.phantom.clips import PhantomClips
from neuro.errors import DataNotDownloaded, ShapeMismatch

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class MovieResponses:
    """Responses to runs of clips, and what was planted.

    Attributes
    ----------
    responses : Responses
        Scans (rows) of all runs and repeats, in the order of scanning. Trials: ``stimulus`` (the time point of the
        movie, a row of ``points``), ``run``, ``repeat``, ``time`` (seconds from the start of the run), ``clip``. The
        voxel table is ``truth``. ``responses.average_repeats()`` has one row per time point, in their order.
    points : DataFrame
        One row per time point of the movie: ``run``, ``time``, ``clip`` (id of what is shown, -1 for nothing).
    truth : DataFrame
        One row per voxel: ``kind`` (motion, category, joint); ``direction`` (degrees, 0 rightward, 90 upward) and
        ``speed`` (degrees per second) it prefers, NaN for category voxels; ``x y size``, centre and s.d. of its
        receptive field, degrees, y upward; ``category`` it prefers, "none" for motion voxels; ``ncsnr``.
    signal : float64 array (n_points, n_voxels)
        Noiseless responses, mean 0 and s.d. 1 over time points.
    events : DataFrame
        ``run``, ``onset``, ``duration`` (seconds), ``clip``: what was shown when.
    clip_ids : array (n_clips,)
        In the order of the clips.
    tr : float
        Seconds per scan.
    fps : float
        Frames per second of the clips.
    """

    responses: Responses
    points: pd.DataFrame
    truth: pd.DataFrame
    signal: np.ndarray
    events: pd.DataFrame
    clip_ids: np.ndarray
    tr: float
    fps: float

    @property
    def runs(self) -> np.ndarray:
        """The run of each time point, (n_points,): for delays, convolution and splits."""
        return self.points["run"].to_numpy()

    def timeline(self, features: Any, blank: float | np.ndarray = 0.0) -> np.ndarray:
        """Return features of frames at the scanner's pace: what was on the screen at each time point, not delayed.

        Parameters
        ----------
        features : array (n_clips, n_frames, n_features), or (n_clips, n_features) for the same in all frames
            In the order of the clips.
        blank : float or array (n_features,)
            What features are where nothing is shown.

        Returns
        -------
        float64 array (n_points, n_features)
        """
        features = np.asarray(features, dtype=float)
        shown = self.events.iloc[0]
        frames = round(shown["duration"] * self.fps)
        if features.ndim == 2:
            features = np.repeat(features[:, None], frames, axis=1)
        n_clips = len(self.clip_ids)
        if features.ndim != 3 or features.shape[:2] != (n_clips, frames):
            raise ShapeMismatch(
                f"features must be ({n_clips} clips, {frames} frames, n_features) or ({n_clips} clips, n_features), "
                f"got shape {features.shape}."
            )
        out = np.empty((len(self.points), features.shape[2]))
        row_of = {clip: row for row, clip in enumerate(self.clip_ids.tolist())}
        for run, events in self.events.groupby("run"):
            here = np.flatnonzero(self.runs == run)
            movie = np.empty((math.ceil(len(here) * self.tr * self.fps), features.shape[2]))
            movie[:] = blank
            for _, event in events.iterrows():
                start = round(event["onset"] * self.fps)
                movie[start : start + frames] = features[row_of[event["clip"]]]
            out[here] = downsample_to_tr(movie, self.fps, self.tr, len(here))
        return out


def simulate_movie_responses(
    movies: PhantomClips,
    n_voxels: int = 60,
    *,
    shares: tuple[float, float, float] = (0.5, 0.3, 0.2),
    tr: float = 1.0,
    n_runs: int = 4,
    n_repeats: int = 2,
    gap: float = 1.0,
    hrf: Any = "spm",
    ncsnr: float | tuple[float, float] = (0.5, 1.5),
    autocorrelation: float = 0.3,
    seed: int = 0,
) -> MovieResponses:
    """Simulate the responses of a phantom that watches clips.

    Parameters
    ----------
    movies : PhantomClips
        Every clip is shown once in each repeat, in random order, the same order in every repeat.
    n_voxels : int
    shares : (motion, category, joint)
        Of the three kinds of voxels.
    tr : float
        Seconds per scan.
    n_runs : int
        Runs that a repeat is divided into.
    n_repeats : int
        How often every run is scanned.
    gap : float
        Least time without a picture after each clip, seconds; the next clip begins with a scan.
    hrf : {"spm", "glover"} or array (n,)
        Response function, or weights of delays 0, 1, 2... scans.
    ncsnr : float or (low, high)
        s.d. of signal over s.d. of noise of single scans: of all voxels, or drawn uniformly for each.
    autocorrelation : float, -1 to 1
        Of the noise, between successive scans.
    seed : int

    Returns
    -------
    MovieResponses

    Raises
    ------
    ValueError
        If shares, times or ratios are impossible.

    Examples
    --------
    >>> from neuro.datasets.phantom import render_clips
    >>> movies = render_clips(4, n_frames=10, size=16)
    >>> scanned = simulate_movie_responses(movies, n_voxels=10, n_runs=2, n_repeats=3)
    >>> scanned.responses.shape, scanned.signal.shape, scanned.truth["kind"].value_counts().to_dict()
    ((84, 10), (28, 10), {'motion': 5, 'category': 3, 'joint': 2})
    """
    n_voxels, n_runs = check_positive_int("n_voxels", n_voxels), check_positive_int("n_runs", n_runs)
    n_repeats, seed = check_positive_int("n_repeats", n_repeats), check_positive_int("seed", seed, 0)
    shares_, ratios = np.asarray(shares, float), np.atleast_1d(np.asarray(ncsnr, float))
    if shares_.shape != (3,) or not (np.isfinite(shares_) & (shares_ >= 0)).all() or not shares_.any():
        raise ValueError(f"shares must be three numbers, not negative, for motion, category and joint; got {shares!r}.")
    if ratios.size not in (1, 2) or not (np.isfinite(ratios) & (ratios > 0)).all() or ratios[0] > ratios[-1]:
        raise ValueError(f"ncsnr must be above 0, one number or (low, high), got {ncsnr!r}.")
    if not gap >= 0:
        raise ValueError(f"gap must be 0 s or more, got {gap!r}.")
    if not -1 < autocorrelation < 1:
        raise ValueError(f"autocorrelation must lie between -1 and 1, got {autocorrelation!r}.")
    if n_runs > len(movies):
        raise ValueError(f"n_runs={n_runs} needs at least as many clips, got {len(movies)}.")
    hrf_kernel(tr, hrf)  # refuses impossible ones before work
    points, events = plan_scans(movies, n_runs, float(tr), float(gap), np.random.default_rng([seed, 0]))
    truth = plant_voxels(n_voxels, tuple(shares_.tolist()), np.random.default_rng([seed, 1]))
    truth["ncsnr"] = np.random.default_rng([seed, 2]).uniform(ratios[0], ratios[-1], n_voxels)
    answers = drives(movies, truth, np.random.default_rng([seed, 3]))
    rest = (events, movies.clips.ids, float(tr), movies.clips.fps)
    planned = MovieResponses(Responses(np.zeros((1, 1))), points, truth, np.zeros((1, 1)), *rest)
    signal = convolve_hrf(planned.timeline(answers), tr, hrf, planned.runs)
    signal -= signal.mean(0)
    sd = signal.std(0)
    signal /= np.where(sd > 1e-12, sd, np.inf)  # a voxel that nothing drives has no signal
    truth.loc[sd <= 1e-12, "ncsnr"] = 0.0
    data, trials = scan_movie(signal, points, truth["ncsnr"].to_numpy(), n_repeats, autocorrelation, seed)
    step = {"step": "simulate movie", "seed": seed, "tr": float(tr), "clips": movies.clips.fingerprint()}
    responses = Responses(data, trials, Voxels(truth), units="a.u.", provenance=(step,))
    return MovieResponses(responses, points, truth, signal, *rest)


def write_movie(folder: str | Path, movies: PhantomClips, scanned: MovieResponses | None = None) -> Path:
    """Write clips with their truth, and responses if given, into ``folder``: whole, or not at all.

    Arrays are ``.npy``, tables ``.tsv``, captions and the rest ``.json``; responses as :meth:`Responses.save` does.
    """
    folder = Path(folder)
    with atomic_path(folder, directory=True) as temporary:
        n, size = len(movies), movies.clips.frame_size
        frames = np.lib.format.open_memmap(
            temporary / "frames.npy", "w+", np.uint8, (n, int(movies.clips.n_frames[0]), *size, 3)
        )
        for i, (_, clip) in enumerate(movies.clips):
            frames[i] = clip
        frames.flush()
        del frames
        write_npy(temporary / "flow.npy", movies.flow)
        write_npy(temporary / "masks.npy", movies.masks)
        _write_table(temporary / "motion.tsv", movies.motion)
        meta = {
            "format": _FORMAT,
            "fps": movies.clips.fps,
            "ids": movies.clips.ids,
            "table": movies.clips.table.to_dict("records"),
            "tr": None if scanned is None else scanned.tr,
        }
        if scanned is not None:
            scanned.responses.save(temporary / "responses")
            write_npy(temporary / "signal.npy", scanned.signal)
            for name in ("points", "truth", "events"):
                _write_table(temporary / f"{name}.tsv", getattr(scanned, name))
        write_json(temporary / "movie.json", meta)
    return folder


def load_movie(folder: str | Path) -> tuple[PhantomClips, MovieResponses | None]:
    """Return what :func:`write_movie` wrote; frames, flow and responses stay on disk until asked for.

    Raises
    ------
    DataNotDownloaded
        If there is no movie in ``folder``.
    """
    folder = Path(folder)
    if not (folder / "movie.json").is_file():
        raise DataNotDownloaded(f"{folder} holds no phantom movie: there is no movie.json.")
    meta = read_json(folder / "movie.json")
    arrays = {k: np.load(folder / f"{k}.npy", mmap_mode="r", allow_pickle=False) for k in ("frames", "flow", "masks")}
    clips = Clips.from_array(arrays["frames"], meta["ids"], pd.DataFrame(meta["table"]), fps=meta["fps"])
    movies = PhantomClips(clips, arrays["flow"], arrays["masks"], _read_table(folder / "motion.tsv"))
    if meta["tr"] is None:
        return movies, None
    tables = {name: _read_table(folder / f"{name}.tsv") for name in ("points", "truth", "events")}
    signal = np.load(folder / "signal.npy", allow_pickle=False)
    responses = Responses.load(folder / "responses")
    rest = {"clip_ids": clips.ids, "tr": meta["tr"], "fps": meta["fps"]}
    return movies, MovieResponses(responses, signal=signal, **tables, **rest)


def _write_table(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, sep="\t", index=False, na_rep="NaN")


def _read_table(path: Path) -> pd.DataFrame:
    # Numbers are parsed by Python, to the last bit; pandas' own reader rounds.
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    for name in table:
        for kind in (np.int64, np.float64):
            with contextlib.suppress(ValueError):
                table[name] = np.array(table[name].tolist()).astype(kind)
                break
    return table
