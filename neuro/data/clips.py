"""Clips: stimuli that move, all at one frame rate.

A clip is (n_frames, height, width, 3) uint8. Clips may differ in length, never in the size of a frame; where their
frame rates differ, they are brought to one by taking the frame nearest in time, or refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_option
from neuro._files import fingerprint
from neuro.data._clip_files import ArrayClips, FolderClips, HDF5Clips, Resampled, Stills
from neuro.data.stimuli import Backing, Stimuli, _as_ids, _check_pixels
from neuro.errors import EmptySelection, ShapeMismatch

MOMENTS = ("middle", "first", "last", "mean")


class Clips(Stimuli):
    """An ordered, lazy, immutable collection of clips at one frame rate.

    Make one with :meth:`from_array`, :meth:`from_folder` or :meth:`from_hdf5`. Whatever takes :class:`Stimuli` takes
    clips; indexing, ``select``, ``batches``, captions and the table work as there.

    Parameters
    ----------
    backing, ids, rows, table
        As the constructors make them.
    fps : float, or one number per clip (sequence in the order of the clips, or mapping of id)
        Frames per second.
    resample : bool or float
        What to do where frame rates differ. False is an error; True brings all clips to the lowest rate, so that no
        frame is shown twice; a number brings all clips to that rate. Every frame is the one nearest in time.

    Examples
    --------
    >>> clips = Clips.from_array(np.zeros((3, 10, 8, 8, 3), np.uint8), fps=5, ids=["a", "b", "c"])
    >>> clips["b"].shape, clips[["c", "a"]].shape, clips.duration.tolist()
    ((10, 8, 8, 3), (2, 10, 8, 8, 3), [2.0, 2.0, 2.0])
    >>> clips.frames("a", [0, 9]).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        backing: Backing,
        ids: Sequence[Any] | np.ndarray,
        rows: np.ndarray,
        table: pd.DataFrame | None,
        fps: Any = None,
        resample: bool | float = False,
    ):
        if backing.kind != "clip":
            raise ShapeMismatch(
                f"clips are (n_frames, height, width, 3) each, got {backing.kind}s from {backing.name}. Use Stimuli."
            )
        super().__init__(backing, ids, rows, table)
        shapes = [backing.shape(row) for row in self._rows]  # type: ignore[attr-defined]
        for key, shape in zip(self._ids.tolist(), shapes, strict=True):
            if shape[1:3] != shapes[0][1:3]:
                raise ShapeMismatch(
                    f"all clips must have one frame size: {self._ids[0]!s} is {shapes[0][1]} x {shapes[0][2]}, clip "
                    f"{key!s} is {shape[1]} x {shape[2]} (height x width). Scale or crop it first."
                )
            if not shape[0]:
                raise EmptySelection(f"clip {key!s} has no frames.")
        rates = _rates(fps, self._ids)
        self._fps = _one_rate(rates, self._ids, resample)
        if (rates != self._fps).any():
            by_row = dict(zip(self._rows.tolist(), rates.tolist(), strict=True))
            self._backing = Resampled(backing, by_row, self._fps)
            shapes = [self._backing.shape(row) for row in self._rows]
        self._n_frames = np.array([shape[0] for shape in shapes])
        self._n_frames.flags.writeable = False
        self._size = (int(shapes[0][1]), int(shapes[0][2]))

    # Constructors

    @classmethod
    def from_array(
        cls,
        clips: np.ndarray,
        ids: Sequence[Any] | None = None,
        table: Any = None,
        *,
        fps: Any = None,
        resample: bool | float = False,
    ) -> Clips:
        """Clips (n, n_frames, height, width, 3), uint8; memory maps stay on disk; ids default to 0..n-1."""
        clips = clips if isinstance(clips, np.ndarray) else np.asarray(clips)
        if clips.ndim != 5:
            raise ShapeMismatch(
                f"clips must be uint8 (n, n_frames, height, width, 3), got {clips.dtype} {clips.shape}."
            )
        _check_pixels(clips, "the array", clips=True)
        rows = np.arange(len(clips))
        return cls(ArrayClips(clips), rows if ids is None else ids, rows, table, fps, resample)

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        ids: Sequence[Any] | None = None,
        table: Any = None,
        *,
        fps: Any = None,
        resample: bool | float = False,
    ) -> Clips:
        """Clips of a folder, ordered by name: subfolders of image files, or ``.npy`` files (n_frames, h, w, 3) uint8.

        Frames are ordered by name with numbers as numbers, so that ``frame10`` follows ``frame9``. Ids are the names
        of the subfolders and the stems of the files, unless given in that order.
        """
        path = Path(path)
        if not path.is_dir():
            raise FileNotFoundError(f"no folder {path}.")
        found = sorted(
            (p for p in path.iterdir() if not p.name.startswith(".") and (p.is_dir() or p.suffix == ".npy")),
            key=lambda p: p.name,
        )
        if not found:
            raise EmptySelection(f"no clip in {path}: expected subfolders of image files, or .npy files.")
        backing = FolderClips(found, path)
        names = [p.stem if p.suffix == ".npy" else p.name for p in found]
        return cls(backing, names if ids is None else ids, np.arange(len(found)), table, fps, resample)

    @classmethod
    def from_hdf5(
        cls,
        path: str | Path,
        dataset: str = "clips",
        ids: Sequence[Any] | None = None,
        table: Any = None,
        *,
        fps: Any = None,
        resample: bool | float = False,
    ) -> Clips:
        """Clips (n, n_frames, height, width, 3) uint8 of one HDF5 data set, read when asked for.

        ``fps`` defaults to the data set's attribute of that name.
        """
        backing = HDF5Clips(Path(path), dataset)
        rows = np.arange(len(backing))
        fps = backing.fps() if fps is None else fps
        return cls(backing, rows if ids is None else ids, rows, table, fps, resample)

    # Looking

    @property
    def fps(self) -> float:
        """Frames per second, of every clip."""
        return self._fps

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of every frame in pixels."""
        return self._size

    @property
    def n_frames(self) -> np.ndarray:
        """Number of frames of each clip, (n,)."""
        return self._n_frames

    @property
    def duration(self) -> np.ndarray:
        """Length of each clip in seconds, (n,)."""
        return self._n_frames / self._fps

    def __repr__(self) -> str:
        low, high = self._n_frames.min(), self._n_frames.max()
        frames = f"{low}" if low == high else f"{low}-{high}"
        size = f"{self._size[0]} x {self._size[1]}"
        return f"Clips({len(self):,} of {frames} frames, {size}, {self._fps:g} fps, from {self._backing.name})"

    def __iter__(self) -> Iterator[tuple[Any, np.ndarray]]:
        """Iterate over (id, frames), one clip in memory at a time."""
        for key in self._ids.tolist():
            yield key, self.frames(key)

    def frames(self, clip: Any, which: Any = None) -> np.ndarray:
        """Return the frames of one clip.

        Parameters
        ----------
        clip : id
        which : slice, indices or mask, optional
            Some of the frames, by number.

        Returns
        -------
        uint8 array (n_frames, height, width, 3)
        """
        at = int(self.positions([clip])[0])
        frames = self._backing.read(self._rows[[at]])[0]
        if which is None:
            return frames
        try:
            chosen = frames[which if isinstance(which, slice) else np.atleast_1d(which)]
        except IndexError:
            raise ShapeMismatch(f"clip {clip!s} has frames 0 to {len(frames) - 1}, got {which!r}.") from None
        return chosen

    def stills(self, at: str = "middle") -> Stimuli:
        """Return one picture of each clip, read when asked for: what a model of static vision sees.

        Parameters
        ----------
        at : {"middle", "first", "last", "mean"}
            Which frame; "mean" is the average of all, rounded.
        """
        check_option("at", at, MOMENTS)
        return Stimuli(Stills(self._backing, at), self._ids, self._rows, self._table)

    def select(self, ids: Sequence[Any] | np.ndarray) -> Clips:
        """Return the clips of these ids, in this order."""
        at = self.positions(ids)
        return Clips(self._backing, self._ids[at], self._rows[at], self._table.iloc[at], self._fps)

    def with_table(self, table: pd.DataFrame) -> Clips:
        """Return the same clips with another table."""
        return Clips(self._backing, self._ids, self._rows, table, self._fps)

    def fingerprint(self) -> str:
        """Return a fingerprint of ids, contents and frame rate."""
        return fingerprint({"stimuli": super().fingerprint(), "fps": self._fps})


def _rates(fps: Any, ids: np.ndarray) -> np.ndarray:
    """Frame rate of every clip, (n,)."""
    if fps is None:
        raise ValueError("say how many frames per second the clips have: fps=, one number or one per clip.")
    if isinstance(fps, Mapping):
        by_name = dict(zip(_as_ids(list(fps)).tolist(), fps.values(), strict=True))
        missing = [key for key in ids.tolist() if key not in by_name]
        if missing:
            raise ShapeMismatch(f"fps names no rate for {len(missing):,} clips, first {missing[:3]}.")
        fps = [by_name[key] for key in ids.tolist()]
    rates = np.atleast_1d(np.asarray(fps, dtype=float))
    if rates.ndim != 1 or len(rates) not in (1, len(ids)):
        raise ShapeMismatch(f"fps must be one number or one for each of {len(ids):,} clips, got shape {rates.shape}.")
    rates = np.broadcast_to(rates, len(ids))
    wrong = np.flatnonzero(~(np.isfinite(rates) & (rates > 0)))
    if len(wrong):
        raise ValueError(f"fps must be above 0 frames per second, got {rates[wrong[0]]:g} for clip {ids[wrong[0]]!s}.")
    return rates


def _one_rate(rates: np.ndarray, ids: np.ndarray, resample: bool | float) -> float:
    if not isinstance(resample, (bool, np.bool_)):
        if not (np.isfinite(resample) and resample > 0):
            raise ValueError(f"resample must be True, False or a rate above 0 frames per second, got {resample!r}.")
        return float(resample)
    other = np.flatnonzero(rates != rates[0])
    if len(other) and not resample:
        raise ShapeMismatch(
            f"all clips must have one frame rate: {ids[0]!s} has {rates[0]:g} frames per second, clip "
            f"{ids[other[0]]!s} has {rates[other[0]]:g}. Pass resample=True to bring all to the lowest rate, or "
            "resample=<rate>."
        )
    return float(rates.min())
