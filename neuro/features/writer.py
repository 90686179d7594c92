"""Writing a store so that nothing already computed can be lost.

The order is always: rows into the layers' files, ``fsync``, then one line per batch into the index, ``fsync``. Whatever
ends the process, at any moment, leaves whole batches or nothing: rows without an index line do not exist and are
overwritten by the next run. Rows are never changed once indexed; a stimulus computed again gets a new row.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuro._files import read_json, write_json
from neuro.errors import StaleStore, StoreError, StoreLocked
from neuro.features.fingerprint import differences
from neuro.features.store import (
    FORMAT,
    HEADER,
    RowIndex,
    check_layer_file,
    encode_record,
    header,
    read_index,
    read_manifest,
)

COMMIT_SECONDS = 2.0  # how much work a crash may cost; every batch is its own index line either way


class StoreWriter:
    """Exclusive access to one store; use as a context manager.

    Parameters
    ----------
    path : folder
        Made if missing.
    identity : dict
        What all rows depend on; another identity in the store is a :class:`~neuro.errors.StaleStore`.
    layers : dict name -> dict(shape, dtype, spec)
        The layers about to be written; layers that the store lacks are added.
    info : dict
        Recorded but not compared: versions, device, batch size.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Mapping, layers: Mapping[str, Mapping], info: Mapping):
        self.path = Path(path)
        self._files: dict[str, Any] = {}
        self._pending: list[bytes] = []
        self.working = RowIndex()
        self.safe_rows = 0
        self._lock: Any = None
        self._index_file: Any = None
        self._committed = time.monotonic()
        with self._errors("open"):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _acquire(self.path)
        try:
            with self._errors("open"):
                self._open(dict(identity), layers, dict(info))
        except BaseException:
            self._release()
            raise

    def _open(self, identity: dict[str, Any], layers: Mapping[str, Mapping], info: dict[str, Any]) -> None:
        for left in self.path.glob(".*.tmp*"):  # of a process killed while it replaced a file
            left.unlink(missing_ok=True)
        if (self.path / "manifest.json").exists():
            self.manifest = read_manifest(self.path)
            check_identity(self.path, self.manifest, identity, layers)
        else:
            # What a process killed while starting may leave is no stranger.
            ours = re.compile(r"lock|\d{3}_.*\.npy")
            strangers = [p.name for p in self.path.iterdir() if not ours.fullmatch(p.name)]
            if strangers:
                raise StoreError(
                    f"{self.path} is not a feature store and not empty ({strangers[0]}...): name another folder."
                )
            self.manifest = {"format": FORMAT, "identity": identity, "layers": {}, "info": info}
        self.working, whole = read_index(self.path / "index.jsonl")
        self.safe_rows = self.working.n_rows
        new = [name for name in layers if name not in self.manifest["layers"]]
        for name in new:
            number = len(self.manifest["layers"])
            file = f"{number:03d}_{re.sub(r'[^A-Za-z0-9._-]+', '_', name)[:80]}.npy"
            self.manifest["layers"][name] = {"number": number, "file": file, **layers[name]}
            with open(self.path / file, "wb") as out:
                layer = self.manifest["layers"][name]
                out.write(header(np.dtype(layer["dtype"]), 0, _columns(layer)))
                out.flush()
                os.fsync(out.fileno())
        if new or not (self.path / "manifest.json").exists():
            write_json(self.path / "manifest.json", self.manifest)
            _sync_folder(self.path)
        for name in layers:
            layer = self.manifest["layers"][name]
            check_layer_file(self.path / layer["file"], layer, 0)
            self._files[name] = open(self.path / layer["file"], "r+b", buffering=0)  # noqa: SIM115
        self._index_file = open(self.path / "index.jsonl", "ab", buffering=0)  # noqa: SIM115
        self._index_file.truncate(whole)

    def append(self, ids: Sequence[Any], hashes: Sequence[str], blocks: Mapping[str, np.ndarray]) -> None:
        """Write a batch of stimuli as new rows; ids that are there already are superseded."""
        start = self.working.n_rows
        record = {
            "start": start,
            "ids": [_plain(i) for i in ids],
            "hashes": list(hashes),
            "layers": self._numbers(blocks),
        }
        rows = range(start, start + len(record["ids"]))
        self._put(record, rows, blocks)

    def fill(self, ids: Sequence[Any], blocks: Mapping[str, np.ndarray]) -> None:
        """Write layers that existing rows of these stimuli still lack."""
        rows = [self.working.row_of[_plain(i)] for i in ids]
        self._put({"at": rows, "layers": self._numbers(blocks)}, rows, blocks)

    def _put(self, record: dict[str, Any], rows: Sequence[int], blocks: Mapping[str, np.ndarray]) -> None:
        with self._errors("write"):
            for name, block in blocks.items():
                layer = self.manifest["layers"][name]
                data = np.ascontiguousarray(block, dtype=np.dtype(layer["dtype"]))
                for first, last in _runs(rows):
                    part = data[first:last]
                    _write_at(self._files[name], HEADER + rows[first] * part.strides[0], memoryview(part).cast("B"))
        self._pending.append(encode_record(record))
        self.working.apply(record)
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Make everything written so far permanent."""
        if self._pending:
            with self._errors("write"):
                for file in self._files.values():
                    os.fsync(file.fileno())
                self._index_file.seek(0, os.SEEK_END)
                end = self._index_file.tell()
                try:
                    _write_at(self._index_file, end, memoryview(b"".join(self._pending)))
                    os.fsync(self._index_file.fileno())
                except OSError:
                    with contextlib.suppress(OSError):
                        self._index_file.truncate(end)
                    raise
            self._pending = []
            self.safe_rows = self.working.n_rows
        self._committed = time.monotonic()

    def remember(self, token: str | None, ids_print: str) -> None:
        """Record that the contents behind ``token`` have been compared for these ids."""
        known = [pair for pair in read_tokens(self.path) if pair != (token, ids_print)]
        if token is not None:
            with contextlib.suppress(OSError):
                write_json(self.path / "sources.json", [*known[-99:], (token, ids_print)])

    def forget(self) -> None:
        """Drop all tokens: rows have been replaced."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / "sources.json").unlink()

    def close(self) -> None:
        """Commit, bring the files' headers and lengths up to date, and let go of the store."""
        try:
            self.commit()
            with self._errors("write"):
                rows = read_index(self.path / "index.jsonl")[0].n_rows
                for name, file in self._files.items():
                    layer = self.manifest["layers"][name]
                    dtype, columns = np.dtype(layer["dtype"]), _columns(layer)
                    file.truncate(HEADER + rows * columns * dtype.itemsize)
                    _write_at(file, 0, memoryview(header(dtype, rows, columns)))
                    os.fsync(file.fileno())
        finally:
            self._release()

    def _release(self) -> None:
        for file in [*self._files.values(), self._index_file, self._lock]:
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()
        self._files, self._index_file, self._lock = {}, None, None

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self.close()
            return
        with contextlib.suppress(OSError):
            self.close()  # what was computed before the error is kept

    def _numbers(self, blocks: Mapping[str, Any]) -> list[int]:
        return [self.manifest["layers"][name]["number"] for name in blocks]

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            if error.errno is None:
                raise
            saved = f" {self.safe_rows:,} rows are safe; run again to go on from there." if self.safe_rows else ""
            why = {
                errno.ENOSPC: "the disk is full",
                errno.EDQUOT: "your quota is used up",
                errno.EFBIG: "a file may not grow further (file size limit)",
                errno.EROFS: "the file system is read-only",
                errno.EACCES: "no permission",
                errno.EPERM: "no permission",
            }.get(error.errno, os.strerror(error.errno))
            raise StoreError(error.errno, f"cannot {doing} the feature store {self.path}: {why}.{saved}") from error


def check_identity(path: Path, manifest: Mapping, identity: Mapping, layers: Mapping[str, Mapping]) -> None:
    """Raise StaleStore, naming the fields, unless a store was made exactly as asked now."""
    found = differences(manifest["identity"], identity)
    for name, layer in layers.items():
        if name in manifest["layers"]:
            old = {k: manifest["layers"][name].get(k) for k in ("shape", "dtype", "spec")}
            found += differences(old, {k: layer.get(k) for k in ("shape", "dtype", "spec")}, f"layers[{name!r}]")
    if found:
        shown = "; ".join(found[:6]) + (f"; and {len(found) - 6} more" if len(found) > 6 else "")
        raise StaleStore(f"{path} was made differently: {shown}. Use another folder, or delete this one.")


def read_tokens(path: Path) -> list[tuple[str, str]]:
    """Return (token, fingerprint of ids) pairs already compared; an unreadable file is an empty one."""
    try:
        return [(str(token), str(ids)) for token, ids in read_json(path / "sources.json")]
    except (OSError, ValueError, TypeError):
        return []


def check_space(path: str | os.PathLike[str], needed: int) -> None:
    """Raise StoreError unless the disk under ``path`` has ``needed`` bytes free."""
    folder = Path(path).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StoreError(
            errno.ENOSPC,
            f"features for {path} need {human(needed)} and {human(free)} are free there. Pool or project the layers, "
            "store float16, or name another disk.",
        )


def human(size: float) -> str:
    """Return a number of bytes for people.

    >>> human(36_900_000)
    '36.9 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _acquire(folder: Path) -> Any:
    """Return the open lock file. The lock dies with its process, so a stale one never has to be removed by hand."""
    file = open(folder / "lock", "a+", encoding="utf-8")  # noqa: SIM115
    try:
        import fcntl
    except ImportError:  # pragma: no cover - systems without POSIX locks
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise StoreError(error.errno, f"{folder} cannot be locked ({error.strerror}): use a local disk.") from error
        raise StoreLocked(
            f"{folder} is being written by {holder}. Wait for it to finish, or use another folder."
        ) from None
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def _write_at(file: Any, offset: int, data: memoryview) -> None:
    file.seek(offset)
    while len(data):
        data = data[file.write(data) :]


def _runs(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, last) positions of neighbouring rows.

    >>> list(_runs([4, 5, 6, 9]))
    [(0, 3), (3, 4)]
    """
    start = 0
    for i in range(1, len(rows) + 1):
        if i == len(rows) or rows[i] != rows[i - 1] + 1:
            yield start, i
            start = i


def _columns(layer: Mapping[str, Any]) -> int:
    return int(np.prod(layer["shape"], dtype=np.int64))


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _plain(key: Any) -> Any:
    return key.item() if isinstance(key, np.generic) else key
