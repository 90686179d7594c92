"""Which picture was shown in which trial, and what the person answered.

NSD numbers pictures from 1 in its design and behaviour files and from 0 in its table and picture brick. Here a
picture has one id, ``stimulus``, from 0: the row of the brick, the column ``nsdId`` of the table. Every file is
converted where it is read, and checked against the base it must have.

With t the trial over the whole experiment, from 0, in time order::

    img10k = masterordering[t] - 1;   stimulus = subjectim[subject - 1, img10k] - 1
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro.datasets.nsd.layout import subject_name
from neuro.errors import CorruptFile, DataNotDownloaded, ShapeMismatch

SECONDS_PER_TRIAL = 4.0
TRIALS_PER_SESSION = 750
RUN_LENGTHS = (63, 62)


@dataclass(frozen=True, eq=False)
class Design:
    """The planned experiment, all numbers from 0.

    Parameters
    ----------
    order : array (n_trials,)
        Which of a person's pictures each trial shows, the same for all.
    images : array (n_subjects, n_images)
        Stimulus id of each person's pictures; the first ``n_shared`` columns are everybody's.
    n_shared : int
    session, run, trial_in_run : arrays (n_trials,)
        From 1, as in file names and in the behaviour files.
    onset : array (n_trials,) or None
        Seconds from the start of the run.
    """

    order: np.ndarray
    images: np.ndarray
    n_shared: int
    session: np.ndarray
    run: np.ndarray
    trial_in_run: np.ndarray
    onset: np.ndarray | None

    @property
    def n_sessions(self) -> int:
        """Planned sessions."""
        return int(self.session[-1])

    @property
    def n_subjects(self) -> int:
        """People in the design."""
        return len(self.images)

    @property
    def shared(self) -> np.ndarray:
        """Ids of the pictures that everybody sees, ascending."""
        return np.sort(self.images[0, : self.n_shared])

    def trials_in(self, session: int) -> int:
        """Planned trials of one session."""
        return int((self.session == session).sum())

    def stimulus(self, subject: int) -> np.ndarray:
        """Stimulus id of every planned trial, (n_trials,)."""
        if subject > self.n_subjects:
            raise DataNotDownloaded(
                f"the design describes {self.n_subjects} subjects, so there is no {subject_name(subject)}."
            )
        return self.images[subject - 1, self.order]

    def trials(self, subject: int) -> pd.DataFrame:
        """One row per planned trial: subject, trial, session, run, trial_in_run, stimulus, repeat, shared1000."""
        stimulus = self.stimulus(subject)
        table = pd.DataFrame(
            {
                "subject": subject,
                "trial": np.arange(len(stimulus)),
                "session": self.session,
                "run": self.run,
                "trial_in_run": self.trial_in_run,
                "stimulus": stimulus,
                "repeat": pd.Series(stimulus).groupby(stimulus).cumcount().to_numpy(),
                "shared1000": self.order < self.n_shared,
            }
        )
        return table if self.onset is None else table.assign(onset=self.onset)

    def seen(self, subject: int, sessions: Any) -> pd.Series:
        """Trials of each picture in these sessions: counts by stimulus id."""
        return pd.Series(self.stimulus(subject)[np.isin(self.session, list(sessions))]).value_counts().sort_index()


def read_design(path: Path) -> Design:
    """Read ``nsd_expdesign.mat``."""
    from scipy.io import loadmat

    try:
        file = loadmat(path)
    except Exception as error:
        raise CorruptFile(f"{path} cannot be read as a MATLAB file: {error}") from error
    missing = [name for name in ("masterordering", "subjectim", "sharedix") if name not in file]
    if missing:
        raise CorruptFile(f"{path} lacks {', '.join(missing)}.")
    order = file["masterordering"].ravel().astype(np.int64)
    images = np.atleast_2d(file["subjectim"]).astype(np.int64)
    shared = file["sharedix"].ravel().astype(np.int64)
    if not order.size or order.min() < 1 or images.min() < 1 or shared.min() < 1:
        raise CorruptFile(
            f"{path}: masterordering, subjectim and sharedix number pictures from 1, here the lowest are "
            f"{order.min(initial=0)}, {images.min()} and {shared.min()}. Was the file written with numbers from 0?"
        )
    if order.max() > images.shape[1]:
        raise CorruptFile(
            f"{path}: masterordering refers to picture {order.max():,} of {images.shape[1]:,} in subjectim. "
            "masterordering holds positions in subjectim, from 1."
        )
    if not (images[:, : len(shared)] == shared).all():
        raise CorruptFile(f"{path}: the first {len(shared):,} columns of subjectim must be sharedix for everybody.")
    session, run, trial_in_run, onset = _schedule(file.get("stimpattern"), len(order), path)
    order = order[: len(session)]  # a shorter experiment may order more trials than it has sessions for
    return Design(order - 1, images - 1, len(shared), session, run, trial_in_run, onset)


def _schedule(pattern: np.ndarray | None, n_trials: int, path: Path) -> tuple[Any, Any, Any, Any]:
    """Session, run and trial in run (from 1) of every trial, and seconds from the start of the run."""
    if pattern is not None:
        marks = np.asarray(pattern) != 0  # (n_sessions, n_runs, n_slots)
        if marks.ndim != 3 or not 0 < marks.sum() <= n_trials:
            raise CorruptFile(
                f"{path}: stimpattern {marks.shape} marks {marks.sum():,} trials, masterordering orders {n_trials:,}."
            )
        session, run, slot = np.nonzero(marks)
        onset, n_trials = slot * SECONDS_PER_TRIAL, len(session)
    else:
        session, inside = np.divmod(np.arange(n_trials), TRIALS_PER_SESSION)
        pair, inside = np.divmod(inside, sum(RUN_LENGTHS))
        run = 2 * pair + (inside >= RUN_LENGTHS[0])
        onset = None
    new_run = np.r_[True, (np.diff(session) != 0) | (np.diff(run) != 0)]
    starts = np.flatnonzero(new_run)
    trial_in_run = np.arange(n_trials) - starts[np.cumsum(new_run) - 1]
    return session + 1, run + 1, trial_in_run + 1, onset


def read_behaviour(path: Path) -> pd.DataFrame:
    """Read ``responses.tsv``; columns in lower case, the two picture numbers still from 1."""
    try:
        table = pd.read_csv(path, sep="\t")
    except Exception as error:
        raise CorruptFile(f"{path} cannot be read as a table: {error}") from error
    table.columns = [str(c).strip().lower() for c in table.columns]
    missing = [c for c in ("session", "run", "trial") if c not in table]
    if missing:
        raise CorruptFile(f"{path} lacks the columns {', '.join(c.upper() for c in missing)}.")
    return table


def join_behaviour(trials: pd.DataFrame, behaviour: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Add the person's answers, joined by session, run and trial in run; checks the picture numbers on the way."""
    keys = ["session", "run", "trial_in_run"]
    answers = behaviour.rename(columns={"trial": "trial_in_run"}).drop(columns=["subject"], errors="ignore")
    if answers.duplicated(keys).any():
        raise CorruptFile(f"{path} holds two rows for one trial.")
    joined = trials[keys].merge(answers, on=keys, how="left", validate="one_to_one")
    if len(joined) != len(trials):
        raise ShapeMismatch(f"{path} does not match the design's trials.")
    if "73kid" in joined:
        known = joined["73kid"].notna().to_numpy()
        theirs, ours = joined["73kid"].to_numpy(float)[known], trials["stimulus"].to_numpy()[known]
        wrong = theirs - 1 != ours
        if wrong.any():
            hint = " They equal it without subtracting 1: the file numbers from 0." if (theirs == ours).all() else ""
            raise CorruptFile(
                f"{path}: 73KID - 1 differs from the design's picture in {wrong.sum():,} of {known.sum():,} trials."
                f"{hint}"
            )
    extra = [c for c in joined if c not in (*trials, "73kid", "10kid")]
    return pd.concat([trials.reset_index(drop=True), joined[extra]], axis=1)


def read_pictures(path: Path) -> pd.DataFrame:
    """Read ``nsd_stim_info_merged.csv``; row = column ``stimulus`` = ``nsdId``, from 0."""
    try:
        table = pd.read_csv(path, index_col=0, keep_default_na=False, na_values=[""])
    except Exception as error:
        raise CorruptFile(f"{path} cannot be read as a table: {error}") from error
    if "nsdId" not in table:
        raise CorruptFile(f"{path} lacks the column nsdId.")
    ids = table["nsdId"].to_numpy()
    if not np.array_equal(ids, np.arange(len(ids))):
        raise CorruptFile(
            f"{path}: nsdId must be the row number from 0, it starts {ids[:3].tolist()}. "
            "Was the table sorted, cut, or numbered from 1?"
        )
    flags = [c for c in table if c in ("flagged", "BOLD5000", "shared1000")]
    table = table.astype({c: bool for c in flags}).reset_index(drop=True)
    table.insert(0, "stimulus", ids)
    return table


def check_identities(design: Design, pictures: pd.DataFrame, subject: int) -> list[tuple[str, bool]]:
    """Compare the two routes from trials to pictures: the design file and the picture table.

    Returns
    -------
    list of (claim, holds)
    """
    out = []
    if "shared1000" in pictures:
        flagged = np.flatnonzero(pictures["shared1000"].to_numpy())
        out.append(("the table's shared1000 pictures are the design's", np.array_equal(flagged, design.shared)))
    names = [f"subject{subject}_rep{r}" for r in range(3)]
    if set(names) <= set(pictures):
        at = pictures[names].to_numpy(float)  # trial numbers from 1; 0 = not shown to this person
        picture, repeat = np.nonzero(at > 0)
        trial = at[picture, repeat].astype(np.int64) - 1
        stimulus = design.stimulus(subject)
        inside = trial < len(stimulus)
        same = np.array_equal(stimulus[trial[inside]], picture[inside])
        out.append((f"the table's trials of subject {subject} show the design's pictures", same))
        out.append((f"the table names every planned trial of subject {subject}", inside.sum() == len(stimulus)))
    return out
