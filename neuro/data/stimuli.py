"""Stimuli: an ordered, lazy collection of images, clips or sentences with ids.

Nothing is read until it is asked for. ``stimuli[ids]`` keeps order and duplicates. Pixels are uint8 RGB.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import pandas as pd

from neuro._files import fingerprint, hash_bytes
from neuro.errors import CorruptFile, DuplicateIds, EmptySelection, ShapeMismatch, UnknownStimulus, nearest

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm")


class Stimuli:
    """An ordered, lazy, immutable collection of stimuli.

    Make one with :meth:`from_folder`, :meth:`from_array`, :meth:`from_hdf5`, :meth:`from_zip` or :meth:`from_texts`.

    Examples
    --------
    >>> stimuli = Stimuli.from_array(np.zeros((3, 8, 8, 3), np.uint8), ids=["a", "b", "c"])
    >>> stimuli["b"].shape, stimuli[["c", "a", "a"]].shape
    ((8, 8, 3), (3, 8, 8, 3))
    """

    def __init__(self, backing: Backing, ids: Sequence[Any] | np.ndarray, rows: np.ndarray, table: pd.DataFrame | None):
        self._backing = backing
        self._ids = _as_ids(ids)
        self._rows = np.asarray(rows, dtype=np.int64)
        if not len(self._ids):
            raise EmptySelection(f"no stimulus in {backing.name}.")
        if len(self._ids) != len(self._rows):
            raise ShapeMismatch(f"{len(self._ids):,} ids for {len(self._rows):,} stimuli in {backing.name}.")
        self._index = {key: i for i, key in enumerate(self._ids.tolist())}
        if len(self._index) != len(self._ids):
            seen = pd.Series(self._ids.tolist())
            twice = seen[seen.duplicated()].unique()[:5].tolist()
            raise DuplicateIds(f"stimulus ids must be unique; these come more than once: {twice}.")
        self._table = self._check_table(table)

    # Constructors

    @classmethod
    def from_folder(
        cls, path: str | Path, pattern: str | None = None, ids: Sequence[Any] | None = None, table: Any = None
    ) -> Stimuli:
        """Images of a folder, ordered by name; ids are the file stems unless given in that order.

        Parameters
        ----------
        path : folder
        pattern : str, optional
            Glob such as ``"*.png"`` or ``"**/*.jpg"``; by default every image file directly inside.
        ids : sequence, optional
            One id per file, in the order of the sorted names.
        table : DataFrame, optional
            Captions, labels...; a column ``stimulus`` aligns it to the ids, otherwise the order does.
        """
        path = Path(path)
        if not path.is_dir():
            raise FileNotFoundError(f"no folder {path}.")
        found = path.glob(pattern) if pattern else (p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        files = sorted(p for p in found if p.is_file() and not p.name.startswith("."))
        if not files:
            raise EmptySelection(f"no image in {path}{f' for pattern {pattern!r}' if pattern else ''}.")
        backing = _Files(files, path)
        return cls(backing, [p.stem for p in files] if ids is None else ids, np.arange(len(files)), table)

    @classmethod
    def from_array(cls, images: np.ndarray, ids: Sequence[Any] | None = None, table: Any = None) -> Stimuli:
        """Images (n, h, w, 3) or clips (n, frames, h, w, 3), uint8; memory maps stay on disk; ids default to 0..n-1."""
        if not isinstance(images, np.ndarray):
            images = np.asarray(images)
        _check_pixels(images, "the array", clips=True)
        return cls(_Array(images), np.arange(len(images)) if ids is None else ids, np.arange(len(images)), table)

    @classmethod
    def from_hdf5(
        cls, path: str | Path, dataset: str = "imgBrick", ids: Sequence[Any] | None = None, table: Any = None
    ) -> Stimuli:
        """Images (n, h, w, 3) uint8 of one HDF5 data set, read when asked for; ids default to the row numbers."""
        backing = _HDF5(Path(path), dataset)
        return cls(backing, np.arange(len(backing)) if ids is None else ids, np.arange(len(backing)), table)

    @classmethod
    def open(cls, path: str | Path) -> Stimuli:
        """Images of a folder, a zip or an HDF5 file, by what ``path`` is."""
        path = Path(path)
        if path.suffix.lower() == ".zip":
            return cls.from_zip(path)
        return cls.from_hdf5(path) if path.is_file() else cls.from_folder(path)

    @classmethod
    def from_zip(cls, path: str | Path, ids: Sequence[Any] | None = None, table: Any = None) -> Stimuli:
        """Images inside a zip, ordered by member name; nothing is extracted to disk."""
        backing = _Zip(Path(path))
        names = [PurePosixPath(name).stem for name in backing.members]
        return cls(backing, names if ids is None else ids, np.arange(len(names)), table)

    @classmethod
    def from_texts(cls, texts: Sequence[str], ids: Sequence[Any] | None = None, table: Any = None) -> Stimuli:
        """Sentences."""
        texts = [str(t) for t in texts]
        return cls(_Texts(texts), np.arange(len(texts)) if ids is None else ids, np.arange(len(texts)), table)

    # Looking

    @property
    def ids(self) -> np.ndarray:
        """Ids in order, (n,) of int64 or str, read-only."""
        return self._ids

    @property
    def kind(self) -> str:
        """What one stimulus is: "image", "clip" or "text"."""
        return self._backing.kind

    @property
    def table(self) -> pd.DataFrame:
        """A copy of the table: column ``stimulus`` and whatever was given (captions, labels...)."""
        return self._table.copy()

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return f"Stimuli({len(self):,} {self.kind}s from {self._backing.name})"

    def __contains__(self, key: Any) -> bool:
        return key in self._index

    def __getitem__(self, ids: Any) -> Any:
        """Return one stimulus for one id, a stack for a list of ids (order and duplicates kept)."""
        single = np.ndim(ids) == 0
        items = self.images([ids] if single else ids)
        if single:
            return items[0]
        if self.kind == "text":
            return items
        shapes = {item.shape for item in items}
        if len(shapes) > 1:
            raise ShapeMismatch(
                f"these images have {len(shapes)} different sizes ({sorted(shapes)[:3]}...) and cannot be stacked: "
                "use .images(ids), which returns a list."
            )
        return np.stack(items)

    def images(self, ids: Sequence[Any] | np.ndarray | None = None) -> list[Any]:
        """Return a list of stimuli: arrays (h, w, 3) uint8 of any size, clips, or sentences."""
        rows = self._rows[self.positions(ids)]
        unique, inverse = np.unique(rows, return_inverse=True)
        items = self._backing.read(unique)
        return [items[i] for i in inverse]

    def positions(self, ids: Sequence[Any] | np.ndarray | None = None) -> np.ndarray:
        """Return where the ids stand in ``self.ids``; unknown ids are an error that names them."""
        if ids is None:
            return np.arange(len(self))
        wanted = np.asarray(ids).reshape(-1).tolist()
        missing = [key for key in wanted if key not in self._index]
        if missing:
            close = nearest(str(missing[0]), (str(k) for k in self._ids[:20000]))
            raise UnknownStimulus(
                f"{len(missing):,} of {len(wanted):,} ids are not among the {len(self):,} stimuli, "
                f"first {missing[:3]}{close or '.'}"
            )
        if not wanted:
            raise EmptySelection("no stimulus id given.")
        return np.array([self._index[key] for key in wanted])

    def batches(
        self, size: int, ids: Sequence[Any] | np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, list[Any]]]:
        """Iterate over (ids, list of stimuli), ``size`` at a time."""
        chosen = self._ids[self.positions(ids)]
        for start in range(0, len(chosen), size):
            part = chosen[start : start + size]
            yield part, self.images(part)

    def captions(self, ids: Sequence[Any] | np.ndarray | None = None) -> list[list[str]]:
        """Return the captions of each stimulus, a list of lists."""
        if "captions" not in self._table:
            raise UnknownStimulus("these stimuli have no captions: give a table with a column 'captions'.")
        values = self._table["captions"].to_numpy()
        return [[v] if isinstance(v, str) else list(v) for v in values[self.positions(ids)]]

    def select(self, ids: Sequence[Any] | np.ndarray) -> Stimuli:
        """Return the stimuli of these ids, in this order."""
        at = self.positions(ids)
        return Stimuli(self._backing, self._ids[at], self._rows[at], self._table.iloc[at])

    def with_table(self, table: pd.DataFrame) -> Stimuli:
        """Return the same stimuli with another table."""
        return Stimuli(self._backing, self._ids, self._rows, table)

    # Identity

    def hashes(self, ids: Sequence[Any] | np.ndarray | None = None) -> list[str]:
        """Return a content hash per stimulus: of the pixels, or of the file's bytes for folders and zips."""
        rows = self._rows[self.positions(ids)]
        return self._backing.hashes(rows)

    def source_token(self) -> str | None:
        """Return a cheap token of the backing files (names, sizes, times); None where only contents can tell."""
        return self._backing.token()

    def fingerprint(self) -> str:
        """Return a fingerprint of ids and contents."""
        return fingerprint({"ids": self._ids.tolist(), "hashes": self.hashes(), "kind": self.kind})

    def _check_table(self, table: pd.DataFrame | None) -> pd.DataFrame:
        if table is None:
            return pd.DataFrame({"stimulus": self._ids})
        frame = pd.DataFrame(table).copy()
        if "stimulus" in frame:
            at = pd.Index(frame["stimulus"].tolist())
            if at.has_duplicates:
                raise DuplicateIds("column 'stimulus' of the table names some ids more than once.")
            rows = at.get_indexer(pd.Index(self._ids.tolist()))
            if (rows < 0).any():
                missing = self._ids[rows < 0]
                raise ShapeMismatch(f"the table lacks {len(missing):,} of the stimuli, first {missing[:3].tolist()}.")
            frame = frame.iloc[rows]
        elif len(frame) != len(self):
            raise ShapeMismatch(
                f"the table has {len(frame):,} rows for {len(self):,} stimuli; "
                "give one row each, or a column 'stimulus' with the ids."
            )
        else:
            frame.insert(0, "stimulus", self._ids)
        return frame.reset_index(drop=True)


class Backing(Protocol):
    """Where stimuli are kept; rows are sorted and unique when read."""

    kind: str
    name: str

    def read(self, rows: np.ndarray) -> list[Any]:
        """Return the stimuli in ``rows``."""
        ...

    def hashes(self, rows: np.ndarray) -> list[str]:
        """Return content hashes of ``rows``."""
        ...

    def token(self) -> str | None:
        """Return a cheap token of the backing files."""
        ...


class _Array:
    def __init__(self, images: np.ndarray):
        self.array = images
        self.kind = "clip" if images.ndim == 5 else "image"
        self.name = "an array"

    def read(self, rows):
        return [np.array(self.array[r]) for r in rows]

    def hashes(self, rows):
        return [hash_bytes(np.asarray(self.array[r])) for r in rows]

    def token(self):
        return None


class _Texts:
    kind, name = "text", "a list of texts"

    def __init__(self, texts: list[str]):
        self.texts = texts

    def read(self, rows):
        return [self.texts[r] for r in rows]

    def hashes(self, rows):
        return [hash_bytes(self.texts[r].encode()) for r in rows]

    def token(self):
        return None


class _Encoded:
    """Image files as bytes, from a folder or a zip."""

    kind = "image"
    name: str

    def bytes_of(self, row: int) -> bytes:
        raise NotImplementedError

    def label(self, row: int) -> str:
        raise NotImplementedError

    def read(self, rows):
        return [_decode(self.bytes_of(r), self.label(r)) for r in rows]

    def hashes(self, rows):
        return [hash_bytes(self.bytes_of(r)) for r in rows]


class _Files(_Encoded):
    def __init__(self, files: list[Path], folder: Path):
        self.files, self.name = files, str(folder)

    def bytes_of(self, row):
        return self.files[row].read_bytes()

    def label(self, row):
        return str(self.files[row])

    def token(self):
        return fingerprint([_stat(p) for p in self.files])


class _Zip(_Encoded):
    def __init__(self, path: Path):
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}.")
        self.path, self.name = path, str(path)
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile as error:
            raise CorruptFile(f"{path} is not a whole zip archive ({error}).") from error
        self.members = sorted(
            n
            for n in names
            if PurePosixPath(n).suffix.lower() in IMAGE_SUFFIXES
            and not PurePosixPath(n).name.startswith(".")
            and "__MACOSX" not in n
        )
        self._open: tuple[int, zipfile.ZipFile] | None = None

    def bytes_of(self, row):
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), zipfile.ZipFile(self.path))
        try:
            return self._open[1].read(self.members[row])
        except (zipfile.BadZipFile, OSError) as error:
            raise CorruptFile(f"{self.label(row)} cannot be read: {error}.") from error

    def label(self, row):
        return f"{self.path}:{self.members[row]}"

    def token(self):
        return fingerprint([_stat(self.path), len(self.members)])

    def __getstate__(self):
        return {**self.__dict__, "_open": None}


class _HDF5:
    """One HDF5 data set; the handle is opened once per process, since handles survive no fork and no pickle."""

    kind = "image"
    axes = ("n", "height", "width", "3")

    def __init__(self, path: Path, dataset: str):
        self.path, self.dataset, self.name = path, dataset, f"{path}:{dataset}"
        self._open: Any = None
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}.")
        data = self._data()
        if data.ndim != len(self.axes) or data.shape[-1] != 3 or data.dtype != np.uint8:
            raise ShapeMismatch(
                f"{self.name} must be uint8 {self.kind}s ({', '.join(self.axes)}), got {data.dtype} "
                f"{tuple(data.shape)}."
            )

    def __len__(self):
        return self._data().shape[0]

    def _data(self) -> Any:
        if self._open is None or self._open[0] != os.getpid():
            import h5py

            try:
                file = h5py.File(self.path, "r")
            except OSError as error:
                raise CorruptFile(
                    f"{self.path} cannot be opened as HDF5: it is truncated or another format. {error}"
                ) from error
            if self.dataset not in file:
                raise CorruptFile(f"{self.path} has no data set {self.dataset!r}; it holds {list(file)}.")
            self._open = (os.getpid(), file[self.dataset])
        return self._open[1]

    def read(self, rows):
        data = self._data()
        out: list[np.ndarray] = []
        # h5py slows down on long index lists; a run of neighbours is one slice.
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        for run in np.split(rows, breaks):
            for start in range(0, len(run), 500):
                part = run[start : start + 500]
                try:
                    out.extend(data[part[0] : part[-1] + 1])
                except OSError as error:
                    raise CorruptFile(f"{self.name}: rows {part[0]}-{part[-1]} cannot be read ({error}).") from error
        return out

    def hashes(self, rows):
        order = np.argsort(rows, kind="stable")
        out = [""] * len(rows)
        for start in range(0, len(rows), 200):
            at = order[start : start + 200]
            unique, inverse = np.unique(rows[at], return_inverse=True)
            images = self.read(unique)
            for i, j in zip(at, inverse, strict=True):
                out[i] = hash_bytes(images[j])
        return out

    def token(self):
        return fingerprint([_stat(self.path), self.dataset])

    def __getstate__(self):
        return {**self.__dict__, "_open": None}


def _decode(data: bytes, name: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert("RGB"))
    except Exception as error:
        raise CorruptFile(f"{name} cannot be read as an image: {error}. Remove or replace the file.") from error


def _check_pixels(images: np.ndarray, name: str, clips: bool) -> None:
    allowed = (4, 5) if clips else (4,)
    if images.ndim not in allowed or images.shape[-1] != 3 or images.dtype != np.uint8:
        hint = ""
        if images.ndim == 4 and images.shape[1] == 3 and images.shape[-1] != 3:
            hint = " These look like (n, 3, height, width): move the colour axis last."
        elif images.dtype.kind == "f":
            hint = " Scale to 0..255 and round to uint8."
        raise ShapeMismatch(f"{name} must be uint8 (n, height, width, 3), got {images.dtype} {images.shape}.{hint}")


def _as_ids(ids: Any) -> np.ndarray:
    array = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))
    whole = array.dtype.kind == "f" and array.size > 0 and bool((array == np.round(array)).all())
    array = array.astype(np.int64 if whole or array.dtype.kind in "iu" else str)
    array = array.reshape(-1).copy()
    array.flags.writeable = False
    return array


def _stat(path: Path) -> list[Any]:
    info = path.stat()
    return [path.name, info.st_size, info.st_mtime_ns]
