"""Training and test pictures by name, so that "the NSD test set" always says which.

================  ==================================================================================================
``shared1000``    test: the pictures that everybody was to see; training: the person's own
``shared515``     test: shared pictures that everybody saw three times
``shared766``     test: shared pictures that everybody saw at least twice
``shared907``     test: shared pictures that everybody saw at least once
``shared982``     the 982 test / 8,859 training pictures of the decoding literature: ``shared1000`` as it stood when
                  the last 3 sessions of each person were held back
``algonauts2023``  training: all pictures of all but the last 3 sessions; test: pictures of the last 3 sessions only
================  ==================================================================================================

The numbers in the names are those of the real data set; on a smaller tree each name stands for its rule. A split
names pictures, not trials: it never puts one picture on both sides. In ``shared515``, ``766`` and ``907`` the other
shared pictures are on neither side; in ``shared982`` pictures first seen in the last 3 sessions are on neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neuro._files import fingerprint
from neuro.datasets.nsd.design import Design
from neuro.errors import SplitLeakage, nearest

HELD_BACK = 3
_LEAST = {"shared515": 3, "shared766": 2, "shared907": 1}
SPLITS = ("shared1000", *_LEAST, "shared982", "algonauts2023")

# Sessions that each of the eight people completed. Splits are defined by what was recorded, not by what is on disk.
_COMPLETED = (40, 40, 32, 30, 40, 32, 40, 30)


@dataclass(frozen=True, eq=False)
class Split:
    """Training and test pictures of one person.

    Parameters
    ----------
    name : str
    subject : int
    train, test : arrays of stimulus ids, ascending
    """

    name: str
    subject: int
    train: np.ndarray
    test: np.ndarray

    def __post_init__(self):
        for side in ("train", "test"):
            ids = np.unique(np.asarray(getattr(self, side), dtype=np.int64))
            ids.flags.writeable = False
            object.__setattr__(self, side, ids)
        both = np.intersect1d(self.train, self.test)
        if len(both):
            raise SplitLeakage(f"split {self.name!r} has {len(both):,} pictures on both sides, first {both[:3]}.")

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the ids of both sides."""
        return fingerprint({"train": self.train.tolist(), "test": self.test.tolist()})

    def describe(self) -> dict[str, object]:
        """Return what a result should say about its split."""
        return {
            "split": self.name,
            "subject": self.subject,
            "n_train": len(self.train),
            "n_test": len(self.test),
            "fingerprint": self.fingerprint,
        }

    def __repr__(self) -> str:
        return f"Split({self.name!r}, subject {self.subject}: {len(self.train):,} train, {len(self.test):,} test)"


def completed_sessions(design: Design, on_disk: Mapping[int, int]) -> dict[int, int]:
    """Return how many sessions each person completed.

    For a design of NSD's own size these are the published counts, so that a split does not change with how much was
    downloaded; for any other, the highest session number on disk.
    """
    if design.n_subjects == len(_COMPLETED) and design.n_sessions == 40 and len(design.order) == 30000:
        return dict(enumerate(_COMPLETED, 1))
    return {s: min(n, design.n_sessions) for s, n in on_disk.items() if n}


def make_split(name: str, design: Design, subject: int, completed: Mapping[int, int]) -> Split:
    """Return a named split.

    Parameters
    ----------
    name : one of SPLITS
    design : Design
    subject : int
    completed : dict subject -> sessions
        As :func:`completed_sessions` gives it.
    """
    if name not in SPLITS:
        raise ValueError(f"no split {name!r}{nearest(name, SPLITS)} Splits: {', '.join(SPLITS)}.")
    last = completed.get(subject, design.n_sessions)
    shared = design.shared
    seen = design.seen(subject, range(1, last + 1)).index.to_numpy()
    own = np.setdiff1d(seen, shared)
    if name == "shared1000":
        return Split(name, subject, own, np.intersect1d(seen, shared))
    if name in _LEAST:
        # All people see the shared pictures in the same trials, so the one who stopped first decides.
        counts = design.seen(subject, range(1, min(completed.values(), default=last) + 1))
        often = counts.index[counts >= _LEAST[name]].to_numpy()
        return Split(name, subject, own, np.intersect1d(often, shared))
    if last <= HELD_BACK:
        raise ValueError(
            f"split {name!r} holds back the last {HELD_BACK} sessions, but subject {subject} has {last} sessions."
        )
    early = design.seen(subject, range(1, last - HELD_BACK + 1)).index.to_numpy()
    if name == "shared982":
        return Split(name, subject, np.setdiff1d(early, shared), np.intersect1d(early, shared))
    late = np.setdiff1d(seen, early)
    if last < design.n_sessions:  # further trials of these shared pictures were planned but never run
        late = np.setdiff1d(late, shared)
    return Split(name, subject, early, late)
