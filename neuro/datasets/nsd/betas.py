"""Readers of beta files: some voxels, all trials, in % signal change.

Every format has its own scale, and the reader knows it: int16 files hold 300 times the % signal change, float32
surface files hold it as it is. Voxels come as positions in the canonical order of the space (C order over X, Y, Z; or
left, then right vertices).

HDF5 files are laid out so that the trials of a voxel lie together, hence the reader asks for runs of neighbours in
file order. NIfTI and MGH files hold one whole volume after another, so they are streamed from the first to the last.
Files are opened inside each read, so a reader may be pickled and shared between processes.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from neuro.datasets.nsd.layout import SURFACES, Session
from neuro.errors import CorruptFile, ShapeMismatch

SCALE = 300
# Rows of one read of a streamed file, and of one run of an HDF5 file; bounds memory for whole brains and surfaces.
STREAM_BYTES = 192 * 2**20
BLOCK_BYTES = 64 * 2**20


class Reader(Protocol):
    """The betas of one file."""

    @property
    def n_trials(self) -> int:
        """Trials in the file."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Type of the values that ``read`` returns."""
        ...

    @property
    def block_bytes(self) -> int:
        """Size of one read that keeps memory small and is not wasteful."""
        ...

    def read(self, index: np.ndarray, n_trials: int | None = None) -> np.ndarray:
        """Return the stored values of the voxels at ``index``, (k, n_trials), unscaled; first trials on request."""
        ...


@dataclass(frozen=True)
class SessionReader:
    """The betas of one session: a volume, or a left and a right surface read as one.

    Parameters
    ----------
    readers : tuple of Reader
    sizes : tuple of int
        Voxels of each reader's whole space, in canonical order.
    """

    session: Session
    readers: tuple[Reader, ...]
    sizes: tuple[int, ...]

    @property
    def n_trials(self) -> int:
        """Trials of the session."""
        return self.readers[0].n_trials

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored values."""
        return self.readers[0].dtype

    def read(self, index: np.ndarray, n_trials: int | None = None) -> np.ndarray:
        """Return stored values of the voxels at ``index`` (any order), (k, n_trials)."""
        out = np.empty((len(index), self.n_trials if n_trials is None else n_trials), self.dtype)
        start = 0
        for reader, size in zip(self.readers, self.sizes, strict=True):
            here = np.flatnonzero((index >= start) & (index < start + size))
            if here.size:
                out[here] = reader.read(index[here] - start, n_trials)
            start += size
        return out

    def blocks(self, n: int) -> Iterator[slice]:
        """Slices of ``n`` voxels that one read each may take without much memory."""
        size = max(1, self.readers[0].block_bytes // (self.n_trials * self.dtype.itemsize))
        return (slice(start, min(start + size, n)) for start in range(0, n, size))


def open_session(session: Session, space: str, shape: tuple[int, ...], n_trials: int | None = None) -> SessionReader:
    """Open the beta files of a session and check type and sizes; no betas are read.

    Parameters
    ----------
    session : Session
    space : str
    shape : (X, Y, Z), or (left, right) numbers of vertices
    n_trials : int, optional
        Trials that the design plans for this session.
    """
    reader = HDF5Reader if session.format == "hdf5" else StreamReader
    if space in SURFACES:
        sides = zip(session.paths, shape, strict=True)
        readers = tuple(reader.open(path, (n,)) for path, n in sides)
        sizes = shape
    else:
        readers = (reader.open(session.paths[0], shape),)
        sizes = (int(np.prod(shape)),)
    counts = {r.n_trials for r in readers}
    if len(counts) > 1:
        raise ShapeMismatch(f"{session.paths[0]} and {session.paths[1].name} differ in number of trials: {counts}.")
    if n_trials is not None and counts != {n_trials}:
        raise ShapeMismatch(
            f"{session.paths[0]} holds {counts.pop():,} trials, the design plans {n_trials:,} for this session."
        )
    return SessionReader(session, readers, tuple(sizes))


def to_psc(stored: np.ndarray) -> np.ndarray:
    """Turn stored values (k, n_trials) of one session into % signal change, float32; no data becomes NaN.

    A voxel that is 0 in every trial of a session lay outside the field of view.
    """
    out = stored.astype(np.float32)
    if stored.dtype.kind == "i":
        out /= np.float32(SCALE)
    out[~stored.any(axis=1)] = np.nan
    return out


def no_data(stored: np.ndarray) -> np.ndarray:
    """Voxels (k,) without data in the session: all 0 or all NaN."""
    present = stored.astype(bool) & ~np.isnan(stored)
    return np.asarray(~present.any(axis=1))


@dataclass(frozen=True)
class HDF5Reader:
    """``betas`` (n_trials, Z, Y, X) or (n_trials, n_vertices), int16."""

    path: Path
    shape: tuple[int, ...]
    n_trials: int
    by_voxel: bool
    block_bytes: int = BLOCK_BYTES

    @property
    def dtype(self) -> np.dtype:
        """Type of the values that ``read`` returns."""
        return np.dtype(np.int16)

    @classmethod
    def open(cls, path: Path, shape: tuple[int, ...]) -> HDF5Reader:
        """Check a file against the grid (X, Y, Z) or the number of vertices."""
        with open_hdf5(path) as data:
            found, dtype, chunks = data.shape, data.dtype, data.chunks
        expected = tuple(shape[::-1])
        if len(found) != len(expected) + 1 or found[1:] != expected:
            hint = " The axes are reversed: h5py must see trials first." if found[:-1] == tuple(shape) else ""
            names = "n_trials, Z, Y, X" if len(shape) == 3 else "n_trials, n_vertices"
            raise ShapeMismatch(
                f"{path}: expected betas ({names}) = (n_trials, {', '.join(map(str, expected))}), found {found}.{hint}"
            )
        _check_dtype(path, dtype, np.int16)
        by_voxel = chunks is not None and chunks[0] == found[0] and all(c == 1 for c in chunks[1:])
        return cls(path, tuple(shape), int(found[0]), by_voxel)

    def read(self, index: np.ndarray, n_trials: int | None = None) -> np.ndarray:
        """Return (k, n_trials) int16."""
        grid = np.unravel_index(index, self.shape)  # canonical positions -> i, j, k
        at = np.ravel_multi_index(grid[::-1], self.shape[::-1])  # file order: x fastest
        order = np.argsort(at, kind="stable")
        at, width = at[order], self.shape[0]
        # Where trials do not lie together by voxel, a few wide reads beat many narrow ones.
        gap = 1 if self.by_voxel else width
        longest = max(1, BLOCK_BYTES // (2 * self.n_trials))
        out = np.empty((len(at), self.n_trials if n_trials is None else n_trials), np.int16)
        with open_hdf5(self.path) as data:
            for a, b in _runs(at, width, gap, longest):
                x = at[a:b] % width
                row = np.unravel_index(at[a] // width, self.shape[:0:-1]) if len(self.shape) > 1 else ()
                try:
                    block = data[(slice(0, n_trials), *(int(r) for r in row), slice(int(x[0]), int(x[-1]) + 1))]
                except OSError as error:
                    raise CorruptFile(f"{self.path}: betas cannot be read ({error}). Download it again.") from error
                out[order[a:b]] = block[:, x - x[0]].T
        return out


def _runs(at: np.ndarray, width: int, gap: int, longest: int) -> Iterator[tuple[int, int]]:
    """Split sorted positions where the row changes, the step exceeds ``gap``, or a run would span too much."""
    breaks = (np.diff(at) > gap) | (np.diff(at // width) != 0)
    starts = np.r_[0, np.flatnonzero(breaks) + 1, len(at)]
    for first, last in pairwise(starts):
        a = int(first)
        while a < last:
            b = int(a + np.searchsorted(at[a:last], at[a] + longest))
            yield a, b
            a = b


@dataclass(frozen=True)
class StreamReader:
    """A file of whole volumes, one after another: NIfTI (X, Y, Z, n_trials) int16, MGH (n_vertices, 1, 1, n_trials)."""

    path: Path
    shape: tuple[int, ...]
    n_trials: int
    stored: np.dtype
    offset: int
    block_bytes: int = STREAM_BYTES

    @property
    def dtype(self) -> np.dtype:
        """Native type of the values that ``read`` returns."""
        return self.stored.newbyteorder("=")

    @classmethod
    def open(cls, path: Path, shape: tuple[int, ...]) -> StreamReader:
        """Check a file against the grid (X, Y, Z) or the number of vertices."""
        import nibabel as nib
        from nibabel.filebasedimages import ImageFileError

        try:
            image: Any = nib.load(path)
            found, proxy = tuple(int(n) for n in image.shape), image.dataobj
        except (ImageFileError, OSError, EOFError, ValueError) as error:
            raise CorruptFile(f"{path} cannot be read: {error}. Download it again.") from error
        expected = tuple(shape) if len(shape) == 3 else (*shape, 1, 1)
        if len(found) != 4 or found[:3] != expected:
            other = expected in (found[2::-1], found[1:], found[:0:-1])
            hint = " The axes are reversed: NIfTI files hold X, Y, Z, trials." if other else ""
            raise ShapeMismatch(f"{path}: expected ({', '.join(map(str, expected))}, n_trials), found {found}.{hint}")
        surface = len(shape) == 1
        _check_dtype(path, proxy.dtype, np.float32 if surface else np.int16)
        slope, intercept = (1.0, 0.0) if surface else (float(proxy.slope), float(proxy.inter))
        # Integers are divided by 300 once, here; a header that says the same thing says nothing more.
        if intercept != 0 or not (slope == 1 or np.isclose(slope, 1 / SCALE, rtol=1e-4)):
            raise CorruptFile(
                f"{path}: the header scales values by {slope:g} and shifts them by {intercept:g}; NSD's betas are "
                f"int16 at {SCALE} times % signal change, with no scaling or 1/{SCALE}."
            )
        if not path.name.endswith(".gz"):
            whole = proxy.offset + int(np.prod(found)) * proxy.dtype.itemsize
            if path.stat().st_size < whole:
                raise CorruptFile(f"{path} is {path.stat().st_size:,} bytes, expected {whole:,}. Download it again.")
        return cls(path, tuple(shape), int(found[3]), proxy.dtype, int(proxy.offset))

    def read(self, index: np.ndarray, n_trials: int | None = None) -> np.ndarray:
        """Return (k, n_trials); the file is read from its start, the volumes never all at once."""
        grid = np.unravel_index(index, self.shape)
        at = np.ravel_multi_index(grid, self.shape, order="F")  # both formats: first axis fastest
        size = int(np.prod(self.shape))
        out = np.empty((self.n_trials if n_trials is None else n_trials, len(at)), self.dtype)
        with _open_bytes(self.path) as file:
            try:
                file.seek(self.offset)
                for row in out:
                    data = file.read(size * self.stored.itemsize)
                    row[:] = np.frombuffer(data, self.stored, size)[at]
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise CorruptFile(f"{self.path} ends early or is damaged ({error}). Download it again.") from error
        return out.T


def _open_bytes(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.name.endswith(".gz") else open(path, "rb")  # type: ignore[return-value]


def hdf5_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of ``betas`` in an HDF5 file."""
    with open_hdf5(path) as data:
        return tuple(int(n) for n in data.shape)


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open ``betas`` of an HDF5 file, or say that the file is damaged."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise CorruptFile(
            f"{path} cannot be opened as HDF5: it is cut short or something else ({error}). Download it again."
        ) from error
    with file:
        if "betas" not in file:
            raise CorruptFile(f"{path} has no data set 'betas'; it holds {list(file) or 'nothing'}.")
        yield file["betas"]


def _check_dtype(path: Path, found: np.dtype, expected: Any) -> None:
    expected = np.dtype(expected)
    if (found.kind, found.itemsize) != (expected.kind, expected.itemsize):
        raise CorruptFile(
            f"{path}: betas must be {expected}, found {found}. "
            + (f"int16 betas hold {SCALE} times % signal change." if expected.kind == "i" else "They are in %.")
        )
