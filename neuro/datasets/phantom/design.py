"""Which picture is shown when: the experiment files of a phantom, in NSD's conventions.

Ids on disk are 1-based in ``nsd_expdesign.mat`` and ``responses.tsv`` and 0-based in the picture table, as in NSD.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

N_RUNS = 12
#: NSD shows every picture three times, and has 750 trials in a session.
N_REPEATS = 3
N_TRIALS = 750
_STIM_SLOTS = 75
# Seconds from the start of one trial to that of the next.
_TRIAL = 4.0


@dataclass(frozen=True, eq=False)
class Design:
    """The plan of all sessions, the same order for everyone.

    Parameters
    ----------
    masterordering : array (n_planned,), 1-based into a subject's own pictures, each as often as there are repeats
    subjectim : array (n_subjects, n_images), 1-based picture ids; the first ``n_shared`` are everyone's
    sharedix : array (n_shared,), 1-based, ascending
    n_pictures : int
    trials_per_session, n_sessions : int
    """

    masterordering: np.ndarray
    subjectim: np.ndarray
    sharedix: np.ndarray
    n_pictures: int
    trials_per_session: int
    n_sessions: int

    @classmethod
    def of(cls, parameters: dict[str, Any]) -> Design:
        """Return the design of a phantom by its parameters."""
        names = ("n_subjects", "n_images", "n_sessions", "trials_per_session", "repeats", "seed")
        return make_design(*(parameters[k] for k in names))

    def shown_rows(self, session: int) -> np.ndarray:
        """Return which of a subject's pictures, from 0, each trial of a session (from 1) shows."""
        k = self.trials_per_session
        return self.masterordering[(session - 1) * k : session * k] - 1

    def shown(self, subject: int) -> np.ndarray:
        """Return the 0-based picture id of every trial that is run, (n_sessions * trials_per_session,)."""
        own = self.masterordering[: self.n_sessions * self.trials_per_session] - 1
        return self.subjectim[subject - 1][own] - 1

    def run_lengths(self) -> np.ndarray:
        """Return trials per run: as even as can be, odd runs one longer, as NSD's 63 and 62."""
        base, extra = divmod(self.trials_per_session, N_RUNS)
        lengths = np.full(N_RUNS, base)
        order = np.r_[np.arange(0, N_RUNS, 2), np.arange(1, N_RUNS, 2)]
        lengths[order[:extra]] += 1
        return lengths


def fit_session(n_images: int, n_sessions: int, repeats: int = N_REPEATS) -> int:
    """Return NSD's trials per session, or as many as the planned trials fill.

    >>> fit_session(1000, 4), fit_session(100, 3)
    (750, 100)
    """
    return min(N_TRIALS, repeats * n_images // n_sessions)


def make_design(
    n_subjects: int, n_images: int, n_sessions: int, trials_per_session: int, repeats: int = N_REPEATS, seed: int = 0
) -> Design:
    """Plan a phantom's experiment.

    Trials are in random order over the whole experiment, no picture twice in a row. With 1,000 pictures a first session
    of 750 trials then holds some 580 different ones; NSD's has 583.

    Parameters
    ----------
    n_subjects, n_images, n_sessions, trials_per_session : int
        ``n_images`` per subject, a tenth of them shared by all.
    repeats : int, 1 to 3
        Planned trials of every picture; those beyond the last session are not run.
    seed : int

    Raises
    ------
    ValueError
        If more trials are asked for than are planned.
    """
    if not 1 <= repeats <= N_REPEATS:
        raise ValueError(f"repeats must be 1 to {N_REPEATS}, NSD's tables have room for no more; got {repeats}.")
    planned, run = repeats * n_images, n_sessions * trials_per_session
    if run > planned:
        raise ValueError(
            f"{n_sessions} sessions of {trials_per_session} trials need at least {-(-run // repeats):,} images per "
            f"subject (each is shown {repeats} times), got {n_images:,}. Ask for more images or fewer trials, or leave "
            "trials_per_session out."
        )
    if not N_RUNS <= trials_per_session <= N_RUNS * _STIM_SLOTS:
        raise ValueError(
            f"a session has {N_RUNS} to {N_RUNS * _STIM_SLOTS} trials, got {trials_per_session}. Ask for more images, "
            "or fewer sessions."
        )
    rng = np.random.default_rng([seed, 0])
    n_shared = max(1, n_images // 10)
    n_pictures = n_shared + n_subjects * (n_images - n_shared)
    ids = rng.permutation(n_pictures) + 1
    sharedix = np.sort(ids[:n_shared])
    own = ids[n_shared:].reshape(n_subjects, -1)
    subjectim = np.concatenate([np.tile(sharedix, (n_subjects, 1)), own], axis=1)
    order = rng.permutation(np.tile(np.arange(1, n_images + 1), repeats))
    for _ in range(1000):
        twice = np.flatnonzero(order[1:] == order[:-1]) + 1
        if not twice.size or n_images < 3:
            break
        other = rng.integers(0, planned, twice.size)
        for a, b in zip(twice.tolist(), other.tolist(), strict=True):
            order[[a, b]] = order[[b, a]]
    return Design(order, subjectim, sharedix, n_pictures, trials_per_session, n_sessions)


def expdesign(design: Design) -> dict[str, np.ndarray]:
    """Return the variables of ``nsd_expdesign.mat``."""
    pattern = np.zeros((design.n_sessions, N_RUNS, _STIM_SLOTS), np.uint8)
    for run, length in enumerate(design.run_lengths()):
        pattern[:, run, :length] = 1
    counts = np.zeros((3, design.n_sessions), np.uint16)
    for s in range(design.n_sessions):
        part = design.masterordering[s * design.trials_per_session : (s + 1) * design.trials_per_session]
        times = np.bincount(part)
        counts[:, s] = [(times == k).sum() for k in (1, 2, 3)]
    return {
        "masterordering": design.masterordering[None].astype(np.uint16),
        "subjectim": design.subjectim.astype(np.int32),
        "sharedix": design.sharedix[None].astype(np.int32),
        "stimpattern": pattern,
        "basiccnt": counts,
    }


def picture_table(design: Design) -> pd.DataFrame:
    """Return ``nsd_stim_info_merged.csv``: one row per picture, trials 1-based over all that are planned."""
    n = design.n_pictures
    table = pd.DataFrame(
        {
            "cocoId": 500_000 + 7 * np.arange(n),
            "cocoSplit": np.where(np.arange(n) % 10 == 9, "val2017", "train2017"),
            "cropBox": "(0.0, 0.0, 0.0, 0.0)",
            "loss": 0.0,
            "nsdId": np.arange(n),
            "flagged": False,
            "BOLD5000": False,
            "shared1000": np.isin(np.arange(n) + 1, design.sharedix),
        }
    )
    n_subjects = len(design.subjectim)
    for subject in range(1, 9):
        seen = np.zeros(n, int)
        if subject <= n_subjects:
            seen[design.subjectim[subject - 1] - 1] = 1
        table[f"subject{subject}"] = seen
    columns = {}
    for subject in range(1, 9):
        repeats = np.zeros((N_REPEATS, n), int)  # 0: not planned
        if subject <= n_subjects:
            picture = design.subjectim[subject - 1][design.masterordering - 1] - 1
            rank = pd.Series(picture).groupby(picture).cumcount().to_numpy()
            repeats[rank, picture] = np.arange(1, len(picture) + 1)
        columns |= {f"subject{subject}_rep{r}": repeats[r] for r in range(N_REPEATS)}
    return pd.concat([table, pd.DataFrame(columns)], axis=1)


def behaviour(design: Design, subject: int, rng: np.random.Generator, missing: tuple[int, ...] = ()) -> pd.DataFrame:
    """Return ``responses.tsv``: the recognition task, one row per trial, ids 1-based.

    Parameters
    ----------
    design : Design
    subject : int
    rng : Generator
    missing : ints
        Sessions that were not recorded.
    """
    n = design.n_sessions * design.trials_per_session
    trial = np.arange(n)
    own = design.masterordering[:n]
    lengths = design.run_lengths()
    seen_before = pd.Series(own).groupby(own).cumcount().to_numpy()
    session = trial // design.trials_per_session + 1
    first = pd.Series(session).groupby([session, own]).cumcount().to_numpy() == 0
    correct = (rng.random(n) < 0.85).astype(float)
    reaction = np.round(rng.lognormal(6.8, 0.25, n), 1)
    silent = rng.random(n) < 0.01
    correct[silent], reaction[silent] = np.nan, np.nan
    # Runs take five and a half minutes, sessions are a week apart, and MATLAB's clock counts days.
    within = np.concatenate([330.0 * run + _TRIAL * np.arange(k) for run, k in enumerate(lengths)])
    day = 737_000 + 7 * (session - 1) + np.tile(within, design.n_sessions) / 86400
    table = pd.DataFrame(
        {
            "SUBJECT": subject,
            "SESSION": session,
            "RUN": np.tile(np.repeat(np.arange(1, N_RUNS + 1), lengths), design.n_sessions),
            "TRIAL": np.tile(np.concatenate([np.arange(1, k + 1) for k in lengths]), design.n_sessions),
            "73KID": design.shown(subject) + 1,
            "10KID": own,
            "TIME": day,
            "ISOLD": (seen_before > 0).astype(int),
            "ISCORRECT": correct,
            "RT": reaction,
            "CHANGEMIND": (rng.random(n) < 0.03).astype(float),
            "MEMORYRECENT": np.where(seen_before > 0, (~first).astype(float), np.nan),
            "MISSINGDATA": silent.astype(int),
        }
    )
    return table.loc[~table["SESSION"].isin(missing)]
