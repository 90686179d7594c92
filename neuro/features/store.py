"""Features of stimuli, in memory or in a folder, read by stimulus id.

A store is a folder::

    manifest.json      what the rows were made from (identity), the layers with shapes and dtypes, software versions
    index.jsonl        one line per written batch: rows, ids, content hashes, layers; a checksum before each line
    000_<layer>.npy    one row per stimulus, (rows, features), C order; ``numpy.load`` reads it
    sources.json       tokens of backing files whose contents were already compared
    lock               held while a process writes

A row exists when its index line does; see :mod:`neuro.features.writer`.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuro._files import fingerprint
from neuro.errors import CorruptFile, EmptySelection, StoreError, UnknownLayer, UnknownStimulus, nearest

FORMAT = 1
HEADER = 128  # bytes before the rows of a layer's file; fixed, so that the header can be rewritten in place


class LayerRows:
    """One layer's features, rows in the order of ids, read when indexed.

    Behaves like a read-only array of shape (n_stimuli, n_features): ``rows[3]``, ``rows[10:20]``, ``rows[mask]``,
    ``np.asarray(rows)``.
    """

    def __init__(self, base: np.ndarray, at: np.ndarray | None = None):
        self._base = np.asarray(base)
        self._at = None if at is None or (len(at) == len(base) and np.array_equal(at, np.arange(len(base)))) else at

    @property
    def shape(self) -> tuple[int, int]:
        """(n_stimuli, n_features)."""
        return (len(self._base) if self._at is None else len(self._at), self._base.shape[1])

    @property
    def dtype(self) -> np.dtype:
        """As stored."""
        return self._base.dtype

    ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        at = rows if self._at is None else self._at[rows]
        if np.ndim(at) == 1 and not isinstance(at, slice):
            at = np.asarray(at)
            if at.dtype != bool and len(at) and np.array_equal(at, np.arange(at[0], at[0] + len(at))):
                at = slice(int(at[0]), int(at[0]) + len(at))  # a run of neighbours is one read
        fancy = not isinstance(at, (slice, int, np.integer))
        picked = self._base[at]
        if not (isinstance(columns, slice) and columns == slice(None)):
            picked, fancy = picked[..., columns], False
        return picked if fancy else np.array(picked)  # fancy indexing has copied already

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all rows as an array."""
        return self[:].astype(dtype or self.dtype, copy=False)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def take(self, at: np.ndarray) -> LayerRows:
        """Return these rows, still unread."""
        return LayerRows(self._base, np.asarray(at) if self._at is None else self._at[at])

    def __repr__(self) -> str:
        return f"LayerRows(shape={self.shape}, dtype={self.dtype})"


class Features:
    """Features of stimuli: several layers over one list of ids.

    ``features[layer]`` is a lazy (n_stimuli, n_features) array; ``features.rows(layer, ids)`` is float32.

    Attributes
    ----------
    ids : array of shape (n_stimuli,)
    layers : dict name -> shape of one stimulus's features before flattening
    manifest : dict
        How the features were made.
    """

    def __init__(
        self, ids: Any, rows: Mapping[str, Any], shapes: Mapping[str, Sequence[int]], manifest: Mapping[str, Any]
    ):
        self._ids = np.array(ids)
        self._ids.flags.writeable = False
        self._rows = {k: v if isinstance(v, LayerRows) else LayerRows(v) for k, v in rows.items()}
        self._shapes = {k: tuple(int(s) for s in shapes[k]) for k in self._rows}
        self._manifest = dict(manifest)
        self._positions: dict[Any, int] | None = None

    @property
    def ids(self) -> np.ndarray:
        """Ids in the order of the rows, read-only."""
        return self._ids

    @property
    def layers(self) -> dict[str, tuple[int, ...]]:
        """Layer -> shape of one stimulus's features before flattening."""
        return dict(self._shapes)

    @property
    def manifest(self) -> dict[str, Any]:
        """A copy of what is known about how the features were made."""
        return json.loads(json.dumps(self._manifest))

    @property
    def fingerprint(self) -> str:
        """Fingerprint of network, weights, preprocessing, pooling, projection and precision, not of the stimuli."""
        parts = {k: v.get("spec") for k, v in self._manifest.get("layers", {}).items() if k in self._shapes}
        return fingerprint({"identity": self._manifest.get("identity"), "layers": parts})

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, layer: object) -> bool:
        return layer in self._rows

    def __getitem__(self, layer: str) -> LayerRows:
        if layer not in self._rows:
            raise UnknownLayer(
                f"no layer {layer!r} here{nearest(layer, self._rows)} (there are: {', '.join(self._rows)})"
            )
        return self._rows[layer]

    def rows(self, layer: str, ids: Any = None) -> np.ndarray:
        """Return features (n, n_features) float32 of ``ids``, order and duplicates kept; all stimuli by default."""
        block = self[layer] if ids is None else self[layer].take(self.positions(ids))
        return block[:].astype(np.float32, copy=False)

    def positions(self, ids: Any) -> np.ndarray:
        """Return where ``ids`` stand in ``self.ids``."""
        if self._positions is None:
            self._positions = {key: i for i, key in enumerate(self._ids.tolist())}
        wanted = np.asarray(ids).reshape(-1).tolist()
        missing = [key for key in wanted if key not in self._positions]
        if missing:
            close = nearest(str(missing[0]), map(str, self._ids[:20000].tolist()))
            raise UnknownStimulus(
                f"{len(missing):,} of {len(wanted):,} ids have no features among {len(self):,}, first "
                f"{missing[:3]}{close or '.'}"
            )
        return np.array([self._positions[key] for key in wanted], dtype=np.int64)

    def select(self, ids: Any) -> Features:
        """Return the features of these ids, in this order, still unread."""
        at = self.positions(ids)
        if not len(at):
            raise EmptySelection("no stimulus id given.")
        rows = {k: v.take(at) for k, v in self._rows.items()}
        return Features(self._ids[at], rows, self._shapes, self._manifest)

    def maps(self, layer: str, ids: Any = None) -> np.ndarray:
        """Return features in their unflattened shape, ``(n, *layers[layer])`` float32."""
        return self.rows(layer, ids).reshape(-1, *self._shapes[layer])

    def __repr__(self) -> str:
        network = self._manifest.get("info", {}).get("name", "")
        lines = [f"  {k}: {v.shape[1]:,} features {self._shapes[k]}" for k, v in self._rows.items()]
        return "\n".join([f"{type(self).__name__}({len(self):,} stimuli, {network})", *lines])


class FeatureStore(Features):
    """A folder of features, read lazily; made by ``extractor.extract(stimuli, store=folder)``.

    Examples
    --------
    >>> store = FeatureStore.open("features/resnet50")     # doctest: +SKIP
    >>> X = store.rows("layer3.5", responses.stimuli)      # doctest: +SKIP
    """

    def __init__(self, path: Path, manifest: dict[str, Any], index: RowIndex):
        self.path = path
        ids = list(index.row_of)
        at = np.array([index.row_of[i] for i in ids], dtype=np.int64)
        rows: dict[str, Any] = {}
        self._incomplete: dict[str, str] = {}
        for name, layer in manifest["layers"].items():
            done = index.done(layer["number"])[at] if len(at) else np.zeros(0, bool)
            rows[name] = LayerRows(
                map_rows(path / layer["file"], layer, int(at[done].max()) + 1 if done.any() else 0), at
            )
            if not done.all():
                self._incomplete[name] = f"{int((~done).sum()):,} of {len(done):,}"
        super().__init__(np.array(ids) if ids else np.zeros(0, np.int64), rows, _shapes(manifest), manifest)
        self._index = index

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FeatureStore:
        """Open a store for reading; a process may be writing it meanwhile."""
        path = Path(path)
        return cls(path, read_manifest(path), read_index(path / "index.jsonl")[0])

    def __getitem__(self, layer: str) -> LayerRows:
        rows = super().__getitem__(layer)
        if layer in self._incomplete:
            raise StoreError(
                f"layer {layer!r} of {self.path} lacks {self._incomplete[layer]} stimuli, an extraction was "
                "interrupted: run it again to compute just those, or read finished ones with .finished(layer)."
            )
        return rows

    def rows(self, layer: str, ids: Any = None) -> np.ndarray:
        """Return features (n, n_features) float32 of ``ids``, order and duplicates kept; all stimuli by default."""
        if ids is not None and layer in self._incomplete:
            return self.select(ids, [layer]).rows(layer)
        return super().rows(layer, ids)

    def finished(self, layer: str) -> np.ndarray:
        """Return the ids whose row of this layer is there."""
        if layer not in self._rows:
            Features.__getitem__(self, layer)
        number = self._manifest["layers"][layer]["number"]
        at = np.array([self._index.row_of[i] for i in self._ids.tolist()], dtype=np.int64)
        return self._ids[self._index.done(number)[at]] if len(at) else self._ids

    def hashes(self, ids: Any = None) -> list[str]:
        """Return the content hash each row was made from."""
        wanted = self._ids.tolist() if ids is None else self._ids[self.positions(ids)].tolist()
        return [self._index.hashes[self._index.row_of[i]] for i in wanted]

    def select(self, ids: Any, layers: Sequence[str] | None = None) -> Features:
        """Return these ids and layers as lazily read features; rows that are not finished are an error."""
        at = self.positions(ids)
        names = list(self._rows) if layers is None else list(layers)
        rows = {}
        for name in names:
            whole = Features.__getitem__(self, name)
            if name in self._incomplete:
                missing = len(set(self._ids[at].tolist()) - set(self.finished(name).tolist()))
                if missing:
                    raise StoreError(f"layer {name!r} of {self.path} lacks {missing:,} of these {len(at):,} stimuli.")
            rows[name] = whole.take(at)
        return Features(self._ids[at], rows, self._shapes, self._manifest)


class RowIndex:
    """Which row belongs to which stimulus, what it was made from, and which layers have it."""

    def __init__(self):
        self.row_of: dict[Any, int] = {}
        self.hashes: list[str] = []
        self._done: dict[int, list[list[int]]] = {}

    @property
    def n_rows(self) -> int:
        """Rows given out so far, superseded ones included."""
        return len(self.hashes)

    def apply(self, record: Mapping[str, Any]) -> None:
        """Take in one line of the index."""
        if "ids" in record:
            start = self.n_rows
            if record["start"] != start or len(record["ids"]) != len(record["hashes"]):
                raise ValueError("rows are not in order")
            self.hashes += record["hashes"]
            rows = list(range(start, self.n_rows))
            # A recomputed stimulus moves to its new row but keeps its place in the order of ids.
            self.row_of.update(zip(record["ids"], rows, strict=True))
        else:
            rows = record["at"]
            if rows and not 0 <= min(rows) <= max(rows) < self.n_rows:
                raise ValueError("rows out of range")
        for layer in record["layers"]:
            runs = self._done.setdefault(layer, [])
            for row in rows:
                if runs and runs[-1][1] == row:
                    runs[-1][1] = row + 1
                else:
                    runs.append([row, row + 1])

    def done(self, layer: int) -> np.ndarray:
        """Return for every row whether this layer has it."""
        mask = np.zeros(self.n_rows, dtype=bool)
        for start, stop in self._done.get(layer, ()):
            mask[start:stop] = True
        return mask


def encode_record(record: Mapping[str, Any]) -> bytes:
    """Return one index line: checksum, blank, JSON, newline."""
    text = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def read_index(path: Path) -> tuple[RowIndex, int]:
    """Return the index and how many bytes of its file are whole lines; a torn last line is as if never written."""
    index = RowIndex()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return index, 0
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}.") from error
    position = 0
    while position < len(data):
        end = data.find(b"\n", position)
        line = data[position : end if end >= 0 else len(data)]
        try:
            if end < 0 or int(line[:8], 16) != zlib.crc32(line[9:]):
                raise ValueError("checksum")
            index.apply(json.loads(line[9:]))
        except (ValueError, KeyError, TypeError) as error:
            if end < 0 or end == len(data) - 1:
                break
            raise CorruptFile(
                f"{path} is damaged at byte {position} ({error}): delete the store and extract again."
            ) from error
        position = end + 1
    return index, position


def read_manifest(path: Path) -> dict[str, Any]:
    """Read and check a store's manifest."""
    file = path / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"no feature store at {path}: manifest.json is missing.") from None
    except NotADirectoryError:
        raise StoreError(f"{path} is a file; a feature store is a folder.") from None
    except OSError as error:
        raise StoreError(f"cannot read {file}: {error.strerror}.") from error
    except ValueError as error:
        raise CorruptFile(f"{file} is not JSON ({error}).") from error
    if not isinstance(manifest, dict) or not {"format", "identity", "layers"} <= set(manifest):
        raise CorruptFile(f"{file} is not the manifest of a feature store.")
    if manifest["format"] != FORMAT:
        raise StoreError(f"{path} has format {manifest['format']}; this version of neuro reads format {FORMAT}.")
    for layer in manifest["layers"].values():
        if Path(layer["file"]).name != layer["file"]:
            raise CorruptFile(f"{file} names a file outside the store: {layer['file']!r}.")
    return manifest


def header(dtype: np.dtype, rows: int, columns: int) -> bytes:
    """Return a ``.npy`` version 1 header of exactly :data:`HEADER` bytes.

    The number of rows stands in a field of fixed width, so rewriting it touches nothing else.
    """
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': ({rows:12d}, {columns}), }}"
    return b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.encode().ljust(HEADER - 11) + b"\n"


def headers_current(path: Path, manifest: Mapping[str, Any], layers: Iterable[str], rows: int) -> bool:
    """Whether the layers' headers say ``rows``; after a crash they lag behind, which other readers would notice."""
    for name in layers:
        layer = manifest["layers"][name]
        with open(path / layer["file"], "rb") as file:
            if file.read(HEADER) != header(np.dtype(layer["dtype"]), rows, _numel(layer["shape"])):
                return False
    return True


def check_layer_file(path: Path, layer: Mapping[str, Any], rows: int) -> None:
    """Check that a layer's file is the .npy it should be and holds at least ``rows`` rows."""
    dtype, columns = np.dtype(layer["dtype"]), _numel(layer["shape"])
    try:
        with open(path, "rb") as file:
            start = file.read(HEADER)
        size = path.stat().st_size
    except FileNotFoundError:
        raise CorruptFile(f"{path} is missing: delete the store and extract again.") from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}.") from error
    if start[:6] != b"\x93NUMPY":
        found = "a pickle, which neuro never reads" if start[:1] == b"\x80" else "something else"
        raise CorruptFile(
            f"{path} should be a .npy array of {dtype} and is {found}: delete the store and extract again."
        )
    # The count of rows may lag behind after a crash; everything around it must be as written.
    before, after = header(dtype, 0, columns).split(b"%12d" % 0)
    if not start.startswith(before) or not start.endswith(after):
        said = start[10:].decode("latin1").strip()
        raise CorruptFile(f"{path} should hold {dtype} rows of {columns:,} features and says {said!r}.")
    if size < HEADER + rows * columns * dtype.itemsize:
        raise CorruptFile(
            f"{path} is truncated: {rows:,} rows need {HEADER + rows * columns * dtype.itemsize:,} bytes, "
            f"it has {size:,}."
        )


def map_rows(path: Path, layer: Mapping[str, Any], rows: int) -> np.ndarray:
    """Map the first ``rows`` rows of a layer's file, read-only."""
    dtype, columns = np.dtype(layer["dtype"]), _numel(layer["shape"])
    check_layer_file(path, layer, rows)
    if not rows * columns:
        return np.zeros((rows, columns), dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=HEADER, shape=(rows, columns))


def _shapes(manifest: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(layer["shape"]) for name, layer in manifest["layers"].items()}


def _numel(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
