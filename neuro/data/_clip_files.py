"""Where clips are kept, and what can be made of them while they are read: other frame rates, single pictures.

A backing of clips is one of stimuli (:class:`neuro.data.stimuli.Backing`) that also knows ``shape(row)``, the shape
(n_frames, height, width, 3) of a clip, without reading its frames.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from neuro._files import fingerprint, hash_bytes
from neuro.data.stimuli import _HDF5, IMAGE_SUFFIXES, _Array, _decode, _stat
from neuro.errors import CorruptFile, EmptySelection, ShapeMismatch


class ArrayClips(_Array):
    def shape(self, row: int) -> tuple[int, ...]:
        return self.array.shape[1:]


class FolderClips:
    """Subfolders of frames, and ``.npy`` files; sizes come from headers."""

    kind = "clip"

    def __init__(self, clips: list[Path], folder: Path):
        self.clips, self.name = clips, str(folder)
        self.files = [[p] if p.suffix == ".npy" else _frame_files(p) for p in clips]
        self.shapes = [self._shape(i) for i in range(len(clips))]

    def shape(self, row: int) -> tuple[int, ...]:
        return self.shapes[row]

    def _shape(self, row: int) -> tuple[int, ...]:
        files = self.files[row]
        if self.clips[row].suffix == ".npy":
            return _open_npy(files[0]).shape
        from PIL import Image

        try:
            with Image.open(files[0]) as image:
                width, height = image.size
        except OSError as error:
            raise CorruptFile(f"{files[0]} cannot be read as an image: {error}. Remove or replace the file.") from error
        return (len(files), height, width, 3)

    def read(self, rows: np.ndarray) -> list[np.ndarray]:
        return [self._read(row) for row in rows]

    def _read(self, row: int) -> np.ndarray:
        files = self.files[row]
        if self.clips[row].suffix == ".npy":
            return np.array(_open_npy(files[0]))
        out = np.empty(self.shapes[row], np.uint8)
        for i, path in enumerate(files):
            frame = _decode(path.read_bytes(), str(path))
            if frame.shape != out.shape[1:]:
                raise ShapeMismatch(
                    f"clip {self.clips[row].name}: frame {path.name} is {frame.shape[0]} x {frame.shape[1]}, the first "
                    f"frame {out.shape[1]} x {out.shape[2]} (height x width)."
                )
            out[i] = frame
        return out

    def hashes(self, rows: np.ndarray) -> list[str]:
        out = []
        for row in rows:
            if self.clips[row].suffix == ".npy":
                out.append(hash_bytes(self._read(row)))
            else:
                out.append(fingerprint([hash_bytes(path.read_bytes()) for path in self.files[row]]))
        return out

    def token(self) -> str:
        return fingerprint([[_stat(path) for path in files] for files in self.files])


class HDF5Clips(_HDF5):
    kind = "clip"
    axes = ("n", "n_frames", "height", "width", "3")

    def shape(self, row: int) -> tuple[int, ...]:
        return tuple(self._data().shape[1:])

    def fps(self) -> float | None:
        found = self._data().attrs.get("fps")
        return None if found is None else float(found)

    def hashes(self, rows: np.ndarray) -> list[str]:
        # One at a time: two hundred clips, unlike two hundred images, do not fit into memory.
        return [hash_bytes(self.read(rows[i : i + 1])[0]) for i in range(len(rows))]


class Resampled:
    """Clips at another frame rate: frame i is the one whose middle is nearest to that of the wanted frame."""

    kind = "clip"

    def __init__(self, parent: Any, rates: dict[int, float], fps: float):
        self.parent, self.rates, self.fps, self.name = parent, rates, fps, parent.name

    def _frames(self, row: int) -> np.ndarray:
        have, rate = self.parent.shape(row)[0], self.rates[int(row)]
        wanted = max(1, round(have * self.fps / rate))
        return np.minimum(((np.arange(wanted) + 0.5) * rate / self.fps).astype(int), have - 1)

    def shape(self, row: int) -> tuple[int, ...]:
        return (len(self._frames(row)), *self.parent.shape(row)[1:])

    def read(self, rows: np.ndarray) -> list[np.ndarray]:
        clips = self.parent.read(rows)
        return [clip[self._frames(row)] for row, clip in zip(rows, clips, strict=True)]

    def hashes(self, rows: np.ndarray) -> list[str]:
        return [fingerprint([h, self.rates[int(r)]]) for r, h in zip(rows, self.parent.hashes(rows), strict=True)]

    def token(self) -> str | None:
        token = self.parent.token()
        return None if token is None else fingerprint([token, sorted(self.rates.items()), self.fps])


class Stills:
    """One picture of each clip."""

    kind = "image"

    def __init__(self, parent: Any, at: str):
        self.parent, self.at, self.name = parent, at, f"the {at} frames of {parent.name}"

    def read(self, rows: np.ndarray) -> list[np.ndarray]:
        return [self._still(self.parent.read(rows[i : i + 1])[0]) for i in range(len(rows))]

    def _still(self, clip: np.ndarray) -> np.ndarray:
        if self.at == "mean":
            return np.round(clip.mean(0)).astype(np.uint8)
        return clip[{"first": 0, "middle": len(clip) // 2, "last": -1}[self.at]]

    def hashes(self, rows: np.ndarray) -> list[str]:
        return [fingerprint([h, self.at]) for h in self.parent.hashes(rows)]

    def token(self) -> str | None:
        token = self.parent.token()
        return None if token is None else fingerprint([token, self.at])


def _frame_files(folder: Path) -> list[Path]:
    files = [p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != "."]
    if not files:
        raise EmptySelection(f"clip folder {folder} holds no image files.")
    return sorted(files, key=lambda p: [int(s) if s.isdecimal() else s for s in re.split(r"(\d+)", p.name)])


def _open_npy(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise CorruptFile(f"{path} cannot be read as a NumPy array: {error}.") from error
    if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8:
        raise ShapeMismatch(f"{path} must be uint8 (n_frames, height, width, 3), got {array.dtype} {array.shape}.")
    return array
