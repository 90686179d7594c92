"""Which picture is shown when: the experiment files of a phantom, in NSD's conventions.

Ids on disk are 1-based in ``nsd_expdesign.mat`` and ``responses.tsv`` and 0-based in the picture table, as in NSD.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

N_RUNS = 12
N_REPEATS = 3
_STIM_SLOTS = 75


@dataclass(frozen=True, eq=False)
class Design:
    """The plan of all sessions, the same order for everyone.

    Parameters
    ----------
    masterordering : array (n_planned,), 1-based into a subject's own pictures, each three times
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

    def shown(self, subject: int) -> np.ndarray:
        """Return the 0-based picture id of every trial that is run, (n_sessions * trials_per_session,)."""
        own = self.masterordering[: self.n_sessions * self.trials_per_session] - 1
        return self.subjectim[subject - 1][own] - 1

    def run_lengths(self) -> np.ndarray:
        """Return trials per run: alternately one more and one fewer, as NSD's 63 and 62."""
        base, extra = divmod(self.trials_per_session, N_RUNS)
        lengths = np.full(N_RUNS, base)
        order = np.r_[np.arange(0, N_RUNS, 2), np.arange(1, N_RUNS, 2)]
        lengths[order[:extra]] += 1
        return lengths


def make_design(
    n_subjects: int, n_images: int, n_sessions: int, trials_per_session: int, rng: np.random.Generator
) -> Design:
    """Plan a phantom's experiment.

    Parameters
    ----------
    n_subjects, n_images, n_sessions, trials_per_session : int
        ``n_images`` per subject, a tenth of them shared by all.
    rng : Generator

    Raises
    ------
    ValueError
        If more trials are asked for than three of every picture.
    """
    planned, run = N_REPEATS * n_images, n_sessions * trials_per_session
    if run > planned:
        raise ValueError(
            f"{n_sessions} sessions of {trials_per_session} trials need at least {-(-run // N_REPEATS):,} images per "
            f"subject (each is shown {N_REPEATS} times), got {n_images:,}. Ask for more images or fewer sessions."
        )
    if trials_per_session > N_RUNS * _STIM_SLOTS or trials_per_session < N_RUNS:
        raise ValueError(f"trials_per_session must be {N_RUNS} to {N_RUNS * _STIM_SLOTS}, got {trials_per_session}.")
    n_shared = max(1, n_images // 10)
    n_pictures = n_shared + n_subjects * (n_images - n_shared)
    ids = rng.permutation(n_pictures) + 1
    sharedix = np.sort(ids[:n_shared])
    own = ids[n_shared:].reshape(n_subjects, -1)
    subjectim = np.concatenate([np.tile(sharedix, (n_subjects, 1)), own], axis=1)
    # Each picture's trials are dealt to thirds of the experiment, so that repeats fall into different sessions.
    thirds = [rng.permutation(n_images) + 1 for _ in range(N_REPEATS)]
    return Design(np.concatenate(thirds), subjectim, sharedix, n_pictures, trials_per_session, n_sessions)


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
        repeats = np.zeros((N_REPEATS, n), int)
        if subject <= n_subjects:
            picture = design.subjectim[subject - 1][design.masterordering - 1] - 1
            rank = pd.Series(picture).groupby(picture).cumcount().to_numpy()
            repeats[rank, picture] = np.arange(1, len(picture) + 1)
        columns |= {f"subject{subject}_rep{r}": repeats[r] for r in range(N_REPEATS)}
    return pd.concat([table, pd.DataFrame(columns)], axis=1)


def behaviour(design: Design, subject: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return ``responses.tsv``: the recognition task, one row per trial, ids 1-based."""
    n = design.n_sessions * design.trials_per_session
    trial = np.arange(n)
    own = design.masterordering[:n]
    lengths = design.run_lengths()
    run = np.tile(np.repeat(np.arange(1, N_RUNS + 1), lengths), design.n_sessions)
    within = np.tile(np.concatenate([np.arange(1, k + 1) for k in lengths]), design.n_sessions)
    old = pd.Series(own).groupby(own).cumcount().to_numpy() > 0
    correct = rng.random(n) < 0.85
    table = pd.DataFrame(
        {
            "SUBJECT": subject,
            "SESSION": trial // design.trials_per_session + 1,
            "RUN": run,
            "TRIAL": within,
            "73KID": design.shown(subject) + 1,
            "10KID": own,
            "TIME": trial * 4.0 / 86400,
            "ISOLD": old.astype(int),
            "ISCORRECT": correct.astype(float),
            "RT": np.round(rng.lognormal(6.8, 0.25, n), 1),
            "CHANGEMIND": 0,
        }
    )
    missed = rng.random(n) < 0.01
    table.loc[missed, ["ISCORRECT", "RT"]] = np.nan
    table["MISSINGDATA"] = missed.astype(int)
    return table
