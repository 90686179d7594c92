"""Betas of a set of voxels over all sessions: read from the data set once, then from memory-mapped files.

The cache of one set of voxels is a folder with one ``.npy`` per session, (n_voxels, n_trials), holding what the data
set holds (int16, or float32 from surfaces), so it is half the size of float32 and gives the same bits. Each file is
written whole under a temporary name and renamed; its own name carries a fingerprint of the names, sizes and times of
the files it was made from. Hence a build that was interrupted goes on where it stopped, a new session costs only
itself, and a session that was replaced is built again.

Memory: a build holds one block of voxels of one session, whatever the number of sessions.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from neuro._files import atomic_path, fingerprint
from neuro.datasets.nsd.betas import SessionReader, to_psc
from neuro.errors import StoreError


@dataclass(frozen=True, eq=False)
class BetaSource:
    """Responses of some voxels in some sessions, (n_trials, n_voxels) in % signal change: a Source for Responses.

    Parameters
    ----------
    readers : tuple of SessionReader
        In the order of the trials.
    index : array (n_voxels,)
        Canonical positions of the voxels in their space.
    cache : path or None
        Folder for this set of voxels; None reads the data set's own files each time.
    label : str
        Names the progress bar.
    """

    readers: tuple[SessionReader, ...]
    index: np.ndarray
    cache: Path | None = None
    label: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """(n_trials, n_voxels)."""
        return sum(r.n_trials for r in self.readers), len(self.index)

    @property
    def dtype(self) -> np.dtype:
        """Always float32."""
        return np.dtype(np.float32)

    def read(self, columns: slice | np.ndarray) -> np.ndarray:
        """Return all trials of some voxels, (n_trials, k) float32."""
        files = self._built
        wanted = self.index[columns]
        out = np.empty((self.shape[0], len(wanted)), np.float32)
        start = 0
        for n, reader in enumerate(self.readers):
            stored = _open(files[n])[columns] if files else reader.read(wanted)
            out[start : start + reader.n_trials] = to_psc(stored).T
            start += reader.n_trials
        return out

    @cached_property
    def files(self) -> list[Path]:
        """Where each session's cache file stands, or would."""
        if self.cache is None:
            return []
        return [
            self.cache / f"session{r.session.number:02d}_{fingerprint(r.session.token())[:12]}.npy"
            for r in self.readers
        ]

    @cached_property
    def _built(self) -> list[Path]:
        return self.build()

    def build(self, progress: Callable[..., object] | None = None) -> list[Path]:
        """Write the sessions that are not in the cache yet and return all files.

        Parameters
        ----------
        progress : function (iterable, **options) -> iterable, optional
            By default a tqdm bar, shown on a terminal only.
        """
        missing = [i for i, path in enumerate(self.files) if not self._whole(i, path)]
        if not missing or self.cache is None:
            return self.files
        need = sum(self.readers[i].n_trials * len(self.index) * self.readers[i].dtype.itemsize for i in missing)
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.cache).free
        except OSError as error:
            message = f"no cache can be written at {self.cache}: {error}. Choose NSD(root, cache=folder)."
            raise StoreError(message) from error
        if free < need:
            raise StoreError(
                f"the cache of {self.label} needs {need / 1e9:.2f} GB at {self.cache}, where {free / 1e9:.2f} GB are "
                "free. Choose another place with NSD(root, cache=folder), or cache=None to read without one."
            )
        if progress is None:
            from tqdm.auto import tqdm

            progress = tqdm
        label = f"reading {self.label} once, {need / 1e9:.2f} GB"
        bar = progress(missing, desc=label, unit="session", disable=None)
        for i in bar:  # type: ignore[attr-defined]
            self._write(self.readers[i], self.files[i])
        return self.files

    def _write(self, reader: SessionReader, path: Path) -> None:
        try:
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                shape = (len(self.index), reader.n_trials)
                header = {"descr": reader.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for block in reader.blocks(len(self.index)):
                    file.write(np.ascontiguousarray(reader.read(self.index[block])))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"{path} could not be written: {error}. Sessions written before it are kept.") from error
        for old in path.parent.glob(f"{path.name.split('_')[0]}_*.npy"):
            if old != path:  # made from another version of this session's file
                old.unlink(missing_ok=True)

    def _whole(self, i: int, path: Path) -> bool:
        if not path.is_file():
            return False
        try:
            array = _open(path)
        except (OSError, ValueError):  # cut short, or no .npy at all
            return False
        reader = self.readers[i]
        return array.shape == (len(self.index), reader.n_trials) and array.dtype == reader.dtype


def cache_folder(root: Path, cache: str | Path | None) -> Path | None:
    """Return where caches of a data set go.

    "auto" means ``$NEURO_CACHE`` where that is set, else ``.neuro_cache`` inside the data set where that is writable
    (the cache is part of the data, under the same terms), else ``neuro`` in the user's cache folder. Outside the data
    set each root has a folder of its own.
    """
    if cache is None:
        return None
    own = f"nsd_{fingerprint(str(root.resolve()))[:8]}"
    if str(cache) != "auto":
        return Path(cache).expanduser().absolute() / own
    if os.environ.get("NEURO_CACHE"):
        return Path(os.environ["NEURO_CACHE"]).expanduser().absolute() / own
    if os.access(root, os.W_OK):
        return root / ".neuro_cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neuro" / own


def _open(path: Path) -> np.ndarray:
    return np.lib.format.open_memmap(path, mode="r")  # refuses objects, and whatever is not .npy
