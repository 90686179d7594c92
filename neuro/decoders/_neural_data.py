"""Trials of several subjects and targets of images, as batches: rows stay where they are until a batch needs them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from neuro._check import check_option
from neuro.data import Responses
from neuro.decoders._rows import TokenSource
from neuro.errors import DuplicateIds, EmptySelection, ShapeMismatch, UnknownStimulus, UnknownSubject, nearest
from neuro.features.store import Features

REPEATS = ("cycle", "single", "average")


class SubjectTrials:
    """One subject's trials: which image each shows, and how to read them.

    Attributes
    ----------
    X : TokenSource (n_trials, n_voxels) or (n_trials, n_times, n_voxels)
    ids : array (n_trials,)
    images : array (n_images,)
        Ascending; ``trials[i]`` are the rows that show ``images[i]``.
    """

    def __init__(self, subject: Hashable, X: Any, ids: Any):
        self.subject = str(subject)
        self.X = TokenSource(X)
        self.ids = np.array(ids)
        if len(self.X.shape) not in (2, 3) or 0 in self.X.shape:
            raise ShapeMismatch(
                f"responses of subject {subject} must be (n_trials, n_voxels) or (n_trials, n_times, n_voxels) and not "
                f"empty, got {self.X.shape}."
            )
        if self.ids.shape != (len(self.X),):
            raise ShapeMismatch(
                f"ids of subject {subject} must name the stimulus of each of {len(self.X):,} trials, got shape "
                f"{self.ids.shape}."
            )
        for start in range(0, len(self.X), 4096):
            block = self.X.read(np.arange(start, min(start + 4096, len(self.X))))
            if not np.isfinite(block).all():
                bad = np.flatnonzero(~np.isfinite(block.reshape(-1, block.shape[-1])).all(0))
                raise ValueError(
                    f"responses of subject {subject} contain NaN or infinity in {len(bad):,} of {block.shape[-1]:,} "
                    f"voxels, first {bad[0]}. Leave those voxels (or the trials where they are missing) out."
                )
        order = np.argsort(self.ids, kind="stable")
        self.images, first = np.unique(self.ids[order], return_index=True)
        self.trials = np.split(order, first[1:])

    @property
    def n_voxels(self) -> int:
        """Columns of a trial."""
        return self.X.shape[-1]

    def where(self, images: Any) -> np.ndarray:
        """Return the numbers of those ``images`` that this subject saw."""
        return np.flatnonzero(np.isin(self.images, images))

    def read(self, at: np.ndarray, repeats: np.ndarray | None = None) -> np.ndarray:
        """Return responses (k, ...) to images number ``at``: repeat ``repeats`` (modulo their number), or the mean."""
        if repeats is not None:
            rows = [self.trials[i][r % len(self.trials[i])] for i, r in zip(at, repeats, strict=True)]
            return self.X.read(rows)
        rows = np.concatenate([self.trials[i] for i in at])
        counts = np.array([len(self.trials[i]) for i in at])
        sums = np.add.reduceat(self.X.read(rows), np.cumsum(counts) - counts, axis=0)
        return sums / counts.reshape(-1, *[1] * (sums.ndim - 1)).astype(np.float32)


class TargetRows:
    """Targets of images by name, read by image id.

    A target is rows (n_images, ...) in the order of ``target_ids``, or a function ``f(ids, rng) -> (k, ...)`` that
    makes those of a batch, as embeddings of augmented images.
    """

    def __init__(self, targets: Any, target_ids: Any = None):
        if isinstance(targets, Features):
            target_ids = targets.ids if target_ids is None else target_ids
            targets = {name: TokenSource(targets[name], shape) for name, shape in targets.layers.items()}
        if not isinstance(targets, Mapping) or not targets:
            raise ValueError("targets must be a dict {name: rows (n_images, ...)}, as {'image_tokens': tokens}.")
        self.functions = {k: v for k, v in targets.items() if callable(v)}
        self.sources = {k: TokenSource(v) for k, v in targets.items() if not callable(v)}
        lengths = {k: len(v) for k, v in self.sources.items()}
        n = next(iter(lengths.values()), 0)
        if any(v != n for v in lengths.values()):
            raise ShapeMismatch(f"all targets must have one row per image, got {lengths}.")
        names = np.arange(n) if target_ids is None else np.asarray(target_ids)
        if self.sources and names.shape != (n,):
            raise ShapeMismatch(f"target_ids must name the image of each of {n:,} rows, got shape {names.shape}.")
        self.row_of = {value: i for i, value in enumerate(names.tolist())}
        if len(self.row_of) < len(names):
            raise DuplicateIds(f"target_ids name {len(names) - len(self.row_of):,} images more than once.")

    def __contains__(self, name: object) -> bool:
        return name in self.sources or name in self.functions

    @property
    def names(self) -> list[str]:
        """Names of all targets."""
        return [*self.sources, *self.functions]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of one image's target; None where a function makes it."""
        return self.sources[name].shape[1:] if name in self.sources else None

    def check(self, ids: np.ndarray) -> None:
        """Refuse images without targets."""
        missing = [v for v in ids.tolist() if v not in self.row_of] if self.sources else []
        if missing:
            raise UnknownStimulus(
                f"{len(missing):,} of {len(ids):,} training stimuli have no target, first {missing[0]!r}"
                f"{nearest(str(missing[0]), map(str, list(self.row_of)[:20000])) or '.'} target_ids name the image of "
                "each row of the targets."
            )

    def read(self, name: str, ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return targets (k, ...) float32 of images ``ids``."""
        if name in self.functions:
            return np.asarray(self.functions[name](ids, rng), dtype=np.float32)
        return self.sources[name].read([self.row_of[v] for v in ids.tolist()])


def read_subjects(X: Any, ids: Any) -> list[SubjectTrials]:
    """Return the trials of every subject, from a dict, ``Responses`` or a list of ``Responses``.

    Raises
    ------
    UnknownSubject
        If responses do not say whose they are, or ids name somebody else.
    """
    if isinstance(X, Responses):
        X = [X]
    if not isinstance(X, Mapping):
        if not isinstance(X, Sequence) or not all(isinstance(r, Responses) for r in X):
            raise ValueError("X must be {subject: (n_trials, n_voxels)}, Responses, or a list of Responses.")
        named = [(subject_of(r), r) for r in X]
        if len({s for s, _ in named}) < len(named):
            raise DuplicateIds("two of the responses are of one subject: put their trials together first.")
        X = dict(named)
    if not X:
        raise EmptySelection("X has no subjects: give {subject: responses}.")
    if ids is not None and not isinstance(ids, Mapping):
        if len(X) > 1:
            raise ValueError("with several subjects ids must be a dict {subject: ids}, as X is.")
        ids = dict.fromkeys(X, ids)
    unknown = [s for s in ids or {} if s not in X]
    if unknown:
        raise UnknownSubject(f"ids name subject {unknown[0]!r}, X has {', '.join(map(repr, X))}.")
    out = []
    for subject, data in X.items():
        own = None if ids is None else ids.get(subject)
        rows, own = plain_rows(data, own)
        if own is None:
            raise ValueError(f"nothing names the stimuli of subject {subject!r}: pass ids={{subject: (n_trials,)}}.")
        out.append(SubjectTrials(subject, rows, own))
    return out


def plain_rows(data: Any, ids: Any) -> tuple[Any, Any]:
    """Return the array of ``Responses`` (or of anything) and the ids of its rows."""
    if not isinstance(data, Responses):
        return data, ids
    if ids is None and "stimulus" in data.trials:
        ids = data.stimulus
    values = data.to_numpy()
    return (values.swapaxes(1, 2) if values.ndim == 3 else values), ids  # times before voxels, as networks take them


def subject_of(responses: Responses) -> Any:
    """Return whose responses they are."""
    named = responses.trials["subject"].unique() if "subject" in responses.trials else []
    if len(named) != 1:
        raise UnknownSubject(
            f"responses must be of one subject, named in the trials table; got {len(named)} names. Pass "
            "{subject: responses} instead."
        )
    return named[0].item() if isinstance(named[0], np.generic) else named[0]


class Batches:
    """Which image, and which repeat, stands where in every epoch: a function of (seed, epoch) alone.

    Parameters
    ----------
    trials : list of SubjectTrials
    images : list of arrays
        Numbers of the training images of each subject.
    sizes : list of int
        Images of each subject in a batch.
    repeats : {"cycle", "single", "average"}
        One repeat per epoch and image, the next in the next epoch; every trial once per epoch; or the mean of all.
    """

    def __init__(self, trials: list[SubjectTrials], images: list[np.ndarray], sizes: list[int], repeats: str):
        check_option("repeats", repeats, REPEATS)
        self.trials, self.images, self.repeats = trials, images, repeats
        self.sizes = [min(size, len(own)) for size, own in zip(sizes, images, strict=True)]
        self.n_batches = max(self._length(s) // size for s, size in enumerate(self.sizes))
        self._cached: dict[int, tuple[int, list[tuple[np.ndarray, np.ndarray]]]] = {}

    def _length(self, s: int) -> int:
        if self.repeats != "single":
            return len(self.images[s])
        return sum(len(own) // self.sizes[s] * self.sizes[s] for own in self._rounds(s))

    def _rounds(self, s: int) -> list[np.ndarray]:
        """Images that have a first trial, a second, ..."""
        if self.repeats != "single":
            return [self.images[s]]
        counts = np.array([len(self.trials[s].trials[i]) for i in self.images[s]])
        rounds = [self.images[s][counts > r] for r in range(counts.max())]
        return [own for own in rounds if len(own) >= self.sizes[s]]

    def of(self, s: int, epoch: int, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return image numbers and repeats of subject number ``s``; no image comes twice in a batch."""
        if self._cached.get(s, (None,))[0] != epoch:
            self._cached[s] = (epoch, self._order(s, epoch, seed))
        return self._cached[s][1][batch]

    def _order(self, s: int, epoch: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng([seed, epoch, s, 0])
        size, out = self.sizes[s], []
        while len(out) < self.n_batches:
            for number, own in enumerate(self._rounds(s)):
                order = rng.permutation(own)
                repeat = number if self.repeats == "single" else epoch
                for start in range(0, len(order) - size + 1, size):
                    out.append((order[start : start + size], np.full(size, repeat)))
        return out
