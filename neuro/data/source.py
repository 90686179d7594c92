"""Where response values come from: anything that can read some voxels of all trials.

A source is read by voxel blocks, because every operation on responses (z-scoring, averaging repeats, fitting an
encoder) needs all trials of a voxel and never all voxels of a trial. Operations are sources over a source, so a
chain of them costs no memory until a block is read.

All reductions run on float64 rows of one voxel each, so that a value does not depend on which other voxels were read
with it: selecting then loading equals loading then selecting, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Source(Protocol):
    """Lazily readable responses of shape (n_trials, n_voxels[, n_times])."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_trials, n_voxels) or (n_trials, n_voxels, n_times)."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Type of the values that ``read`` returns."""
        ...

    def read(self, columns: slice | np.ndarray) -> np.ndarray:
        """Return all trials of the voxels in ``columns``, (n_trials, k[, n_times]); the caller may keep it."""
        ...


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Responses that stand in an array or a memory map."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def read(self, columns: slice | np.ndarray) -> np.ndarray:
        return np.array(self.array[:, columns])


@dataclass(frozen=True, eq=False)
class SelectedTrials:
    """Some rows of a source, in the order given."""

    parent: Source
    rows: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.parent.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self.parent.dtype

    def read(self, columns: slice | np.ndarray) -> np.ndarray:
        return self.parent.read(columns)[self.rows]


@dataclass(frozen=True, eq=False)
class SelectedVoxels:
    """Some columns of a source, in the order given."""

    parent: Source
    columns: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.parent.shape[0], len(self.columns), *self.parent.shape[2:])

    @property
    def dtype(self) -> np.dtype:
        return self.parent.dtype

    def read(self, columns: slice | np.ndarray) -> np.ndarray:
        return self.parent.read(self.columns[columns])


@dataclass(frozen=True, eq=False)
class ZScored:
    """Mean 0 and s.d. 1 per voxel (and time) within each group of trials; s.d. 0 or no data gives NaN.

    ``codes`` (n_trials,) numbers the groups; ``fit`` (n_trials,) marks the trials whose mean and s.d. are used.
    """

    parent: Source
    codes: np.ndarray
    fit: np.ndarray
    ddof: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.parent.shape

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    def read(self, columns: slice | np.ndarray) -> np.ndarray:
        block = self.parent.read(columns)
        out = np.empty(block.shape, np.float32)
        for code in np.unique(self.codes):
            rows = np.flatnonzero(self.codes == code)
            part = _voxel_major(block[rows])
            mean, sd = _moments(part[..., self.fit[rows]], self.ddof)
            with np.errstate(invalid="ignore", divide="ignore"):
                part -= mean[..., None]
                part /= np.where(sd > 0, sd, np.nan)[..., None]
            out[rows] = np.moveaxis(part, -1, 0)
        return out


@dataclass(frozen=True, eq=False)
class Averaged:
    """Mean over the trials of each stimulus, NaN trials left out; ``order`` sorts trials, ``starts`` opens groups."""

    parent: Source
    order: np.ndarray
    starts: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.starts), *self.parent.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    def read(self, columns: slice | np.ndarray) -> np.ndarray:
        sorted_ = _voxel_major(self.parent.read(columns)[self.order])
        present = np.isfinite(sorted_)
        counts = np.add.reduceat(present, self.starts, axis=-1, dtype=np.int64)
        sorted_[~present] = 0.0
        sums = np.add.reduceat(sorted_, self.starts, axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(counts > 0, sums / counts, np.nan)
        return np.ascontiguousarray(np.moveaxis(means, -1, 0), dtype=np.float32)


def _voxel_major(block: np.ndarray) -> np.ndarray:
    """(n, k[, t]) -> a fresh float64 (k[, t], n): one voxel's trials side by side, so sums are per voxel."""
    return np.array(np.moveaxis(block, 0, -1), dtype=np.float64, order="C")


def _moments(values: np.ndarray, ddof: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and s.d. over the last axis, NaN left out; NaN where fewer than ``ddof + 1`` values are finite."""
    present = np.isfinite(values)
    n = present.sum(-1)
    filled = np.where(present, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(-1) / n
        deviation = np.where(present, filled - mean[..., None], 0.0)
        sd = np.sqrt((deviation**2).sum(-1) / (n - ddof))
    # A constant voxel whose mean rounds leaves a deviation of rounding size; that is s.d. 0, not signal.
    sd[(n <= ddof) | (sd <= 1e-12 * np.abs(mean))] = 0.0
    return mean, sd
