"""Whose responses, to which stimuli: what decoders accept as X, and repeats of a stimulus."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.data import Responses
from neuro.errors import EmptySelection, ShapeMismatch, UnknownSubject


@dataclass(frozen=True, eq=False)
class SubjectRows:
    """Responses of one subject: ``X`` (n, n_voxels), ``ids`` (n,) or None."""

    subject: Hashable
    X: np.ndarray
    ids: np.ndarray | None


def one_subject(X: Any, ids: Any = None, subject: Hashable = None) -> SubjectRows:
    """Read one subject's responses from an array, a tensor or ``Responses``; finite, two-dimensional, float."""
    if isinstance(X, Responses):
        if X.times is not None:
            raise ShapeMismatch(f"linear decoders take (n_trials, n_voxels), got responses with a time axis {X.shape}.")
        if ids is None and "stimulus" in X.trials:
            ids = X.stimulus
        named = X.trials["subject"].unique() if "subject" in X.trials else []
        if subject is None and len(named) == 1:
            subject = named[0].item() if isinstance(named[0], np.generic) else named[0]
        data = X.to_numpy()
    else:
        data = X.detach().cpu().numpy() if is_tensor(X) else np.asarray(X)
    if data.ndim != 2 or data.shape[1] == 0 or data.dtype.kind not in "fiub":
        raise ShapeMismatch(f"X must be numbers (n_trials, n_voxels), got {data.dtype} {data.shape}.")
    if len(data) == 0:
        raise EmptySelection("X has no rows: was the selection empty?")
    if data.dtype not in (np.float32, np.float64):
        data = data.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(data.sum(0)))
    bad = bad[~np.isfinite(data[:, bad]).all(0)]
    if len(bad):
        raise ValueError(
            f"X contains NaN or infinity in {len(bad):,} of {data.shape[1]:,} voxels (the first is {bad[0]}). "
            "Leave those voxels out, or the trials where they are missing."
        )
    if ids is not None:
        ids = np.array(ids)
        if ids.shape != (len(data),):
            raise ShapeMismatch(f"ids must name {len(data):,} rows of X, got shape {ids.shape}.")
    return SubjectRows(subject, data, ids)


def all_subjects(X: Any, ids: Any) -> list[SubjectRows]:
    """Read one or several subjects; a dict maps subject -> responses, and ``ids`` likewise."""
    if not isinstance(X, Mapping):
        return [one_subject(X, ids)]
    if not X:
        raise EmptySelection("X has no subjects: give {subject: responses}.")
    if ids is not None and not isinstance(ids, Mapping):
        raise ValueError("with several subjects ids must be a dict {subject: ids}, as X is.")
    for subject in ids or {}:
        if subject not in X:
            raise UnknownSubject(f"ids name subject {subject!r}, X has {', '.join(map(repr, X))}.")
    return [one_subject(data, (ids or {}).get(subject), subject) for subject, data in X.items()]


@dataclass(frozen=True, eq=False)
class Repeats:
    """Which rows are repeats of one stimulus: ``ids`` (n_items,) in order of first appearance, ``of_row`` (n_rows,)."""

    ids: np.ndarray
    of_row: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray) -> Repeats:
        """Find the repeats."""
        values, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        rank = np.empty(len(values), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(values))
        return cls(values[np.argsort(first)], rank[inverse.reshape(-1)])

    def average(self, rows: np.ndarray) -> np.ndarray:
        """Return the mean over the repeats of each stimulus, (n_items, ...); every trial that is there counts once."""
        if len(self.ids) == len(self.of_row):
            return rows
        order = np.argsort(self.of_row, kind="stable")
        counts = np.bincount(self.of_row, minlength=len(self.ids))
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        total = np.add.reduceat(rows[order], starts, axis=0, dtype=np.float64)
        return (total / counts.reshape(-1, *[1] * (rows.ndim - 1))).astype(rows.dtype)
