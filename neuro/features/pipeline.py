"""From stimuli to features, batch by batch: what every source of features has in common.

A source (a network, a Gabor pyramid, pixel statistics, a text tower) says what it is and computes one batch. Here the
batches are read ahead, computed, checked, and kept in memory or in a store; only what a store lacks is computed.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import neuro
from neuro._check import check_option, check_positive_int
from neuro._files import fingerprint
from neuro.data import Stimuli
from neuro.errors import NeuroDataError, ShapeMismatch, StaleStore
from neuro.features.fingerprint import FEATURES_VERSION
from neuro.features.store import Features, FeatureStore, RowIndex, headers_current, read_index, read_manifest
from neuro.features.writer import StoreWriter, check_identity, check_space, human, read_tokens

DTYPES = ("float32", "float16")


class BadFeatures(NeuroDataError, ValueError):
    """A network gave numbers that cannot be stored: infinite, not a number, or beyond float16."""


@dataclass(frozen=True)
class Plan:
    """What an extraction will do; printed before it starts.

    Attributes
    ----------
    n_stimuli, n_missing : int
        Asked for; not yet in the store.
    shapes : dict layer -> shape of one stimulus's features
    dtype : str
    """

    n_stimuli: int
    n_missing: int
    shapes: dict[str, tuple[int, ...]]
    dtype: str

    @property
    def bytes_per_stimulus(self) -> int:
        """Bytes that one stimulus takes over all layers."""
        return sum(int(np.prod(s, dtype=np.int64)) for s in self.shapes.values()) * np.dtype(self.dtype).itemsize

    @property
    def n_bytes(self) -> int:
        """Bytes of the whole result."""
        return self.bytes_per_stimulus * self.n_stimuli

    def __str__(self) -> str:
        what = f"{self.n_stimuli:,} stimuli x {len(self.shapes)} layers: {human(self.n_bytes)} ({self.dtype})"
        return what if self.n_missing == self.n_stimuli else f"{what}, {self.n_missing:,} stimuli to compute"


class FeatureSource:
    """Base of everything that turns stimuli into features."""

    name: str = ""
    batch_size: int = 32
    dtype: str = "float32"
    workers: int = 1
    kinds: tuple[str, ...] = ("image", "clip")

    # What a subclass says

    def identity(self) -> dict[str, Any]:
        """Return what every row depends on, apart from the layers' own settings."""
        raise NotImplementedError

    def layer_specs(self, layers: Sequence[str] | None) -> dict[str, dict[str, Any]]:
        """Return name -> dict(shape, spec) of the layers asked for, in order."""
        raise NotImplementedError

    def prepare(self, items: list[Any]) -> Any:
        """Turn stimuli into what :meth:`compute` takes; runs ahead in another thread."""
        return items

    def compute(self, prepared: Any, layers: Sequence[str], pad_to: int) -> dict[str, np.ndarray]:
        """Return layer -> features (n, n_features) float32 of one batch.

        ``pad_to`` asks for that batch size in the arithmetic, so that a row's last bits do not depend on which others
        were missing.
        """
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        """Return what is worth recording but changes nothing."""
        return {}

    def items(self, stimuli: Stimuli, ids: np.ndarray) -> list[Any]:
        """Return what to compute on."""
        return stimuli.images(ids)

    def hashes(self, stimuli: Stimuli, ids: np.ndarray) -> list[str]:
        """Return content hashes of what is computed on."""
        return stimuli.hashes(ids)

    def token(self, stimuli: Stimuli) -> str | None:
        """Return a cheap token of the contents; None where only hashes can tell."""
        return stimuli.source_token()

    # What everyone calls

    def plan(self, stimuli: Any, layers: Sequence[str] | None = None) -> Plan:
        """Return shapes and sizes of an extraction into memory or a new store, without computing."""
        specs = self.layer_specs(layers)
        n = len(as_stimuli(stimuli))
        return Plan(n, n, {k: tuple(v["shape"]) for k, v in specs.items()}, self.dtype)

    def extract(
        self,
        stimuli: Any,
        store: str | os.PathLike[str] | None = None,
        layers: Sequence[str] | None = None,
        ids: Any = None,
        on_change: str = "error",
        progress: bool = True,
    ) -> Features:
        """Compute features of all stimuli, or those that a store lacks.

        Parameters
        ----------
        stimuli : Stimuli, uint8 array (n, h, w, 3), or path of a folder of images
        store : path of a folder, optional
            Rows are written as they come and survive a crash; calling again computes only what is missing. In memory
            by default.
        layers : list of names, optional
            Those given to the constructor by default.
        ids : sequence, optional
            Only these stimuli.
        on_change : {"error", "recompute"}
            What to do when the store holds an id whose contents are different now.
        progress : bool
            Announce the size and show a progress bar on standard error.

        Returns
        -------
        Features
            Rows in the order of the stimuli. With a store they stay on disk until read.

        Raises
        ------
        UnknownLayer
            With the nearest names.
        StaleStore
            The store was made by another network, weights, preprocessing, pooling, projection, precision or from other
            stimuli; the message names the difference.
        StoreLocked, StoreError
            Another process writes the store; it cannot be written.
        """
        check_option("on_change", on_change, ("error", "recompute"))
        check_option("dtype", self.dtype, DTYPES)
        stimuli = as_stimuli(stimuli)
        if ids is not None:
            stimuli = stimuli.select(ids)
        if stimuli.kind not in self.kinds:
            raise ShapeMismatch(f"{self.name} takes stimuli of kind {' or '.join(self.kinds)}, got {stimuli.kind}.")
        specs = self.layer_specs([layers] if isinstance(layers, str) else layers)
        described = {k: {"shape": list(v["shape"]), "dtype": self.dtype, "spec": v["spec"]} for k, v in specs.items()}
        described = _as_json(described)
        identity = _as_json({"features_version": FEATURES_VERSION, **self.identity()})
        if store is None:
            return self._in_memory(stimuli, identity, described, progress)
        return self._in_store(Path(store), stimuli, identity, described, on_change, progress)

    def _in_memory(self, stimuli: Stimuli, identity: dict, described: dict, progress: bool) -> Features:
        shapes = {k: tuple(v["shape"]) for k, v in described.items()}
        plan = Plan(len(stimuli), len(stimuli), shapes, self.dtype)
        _check_memory(plan)
        _announce(self.name, plan, progress)
        out = {k: np.empty((len(stimuli), int(np.prod(s, dtype=np.int64))), self.dtype) for k, s in shapes.items()}
        start = 0
        for ids, _, blocks in self._batches(stimuli, stimuli.ids, list(out), False, False, _bar(plan, progress)):
            for name, block in blocks.items():
                out[name][start : start + len(ids)] = block
            start += len(ids)
        for array in out.values():
            array.flags.writeable = False
        numbered = {k: {"number": i, **v} for i, (k, v) in enumerate(described.items())}
        return Features(
            stimuli.ids, out, shapes, {"identity": identity, "layers": numbered, "info": _as_json(self._all_info())}
        )

    def _in_store(
        self, path: Path, stimuli: Stimuli, identity: dict, described: dict, on_change: str, progress: bool
    ) -> Features:
        shapes = {k: tuple(v["shape"]) for k, v in described.items()}
        ids_print = fingerprint(stimuli.ids.tolist())
        token = self.token(stimuli)
        complete, manifest, index = False, {}, RowIndex()
        seen: dict[Any, str] = {}
        if (path / "manifest.json").exists():
            manifest = read_manifest(path)
            check_identity(path, manifest, identity, described)
            index = read_index(path / "index.jsonl")[0]
            changed = self._changed(path, index, stimuli, token, ids_print, seen)
            complete = not changed and not _missing(manifest, index, stimuli.ids, described)
        noted = token is None or (token, ids_print) in read_tokens(path)
        if not complete or not noted or not headers_current(path, manifest, described, index.n_rows):
            try:
                with StoreWriter(path, identity, described, _as_json(self._all_info())) as writer:
                    # Between the look above and the lock another process may have written: look again.
                    changed = self._changed(path, writer.working, stimuli, token, ids_print, seen)
                    self._refuse(path, changed, len(stimuli), on_change)
                    groups = _missing(writer.manifest, writer.working, stimuli.ids, described, changed)
                    plan = Plan(len(stimuli), sum(len(g) for g in groups.values()), shapes, self.dtype)
                    if groups:
                        each = plan.bytes_per_stimulus * sum(len(k) * len(g) for k, g in groups.items()) // len(shapes)
                        check_space(path, each)
                        _announce(self.name, plan, progress)
                        if changed:
                            writer.forget()
                        self._write(writer, stimuli, groups, changed, _bar(plan, progress))
                        writer.commit()
                    writer.remember(token, ids_print)
            except OSError:
                if not complete:
                    raise
                # Nothing was missing; only a note for next time could not be left behind.
        return FeatureStore.open(path).select(stimuli.ids, list(described))

    def _write(self, writer: StoreWriter, stimuli: Stimuli, groups: Mapping, changed: set, bar: Any) -> None:
        known = writer.working.n_rows > 0
        with bar:
            for layers, ids in groups.items():
                fresh = np.array([_key(i) not in writer.working.row_of or _key(i) in changed for i in ids])
                for part, new in ((ids[fresh], True), (ids[~fresh], False)):
                    pad = known or len(part) > self.batch_size
                    for batch, hashes, blocks in self._batches(stimuli, part, list(layers), pad, new, bar):
                        if new:
                            writer.append(batch.tolist(), hashes, blocks)
                        else:
                            writer.fill(batch.tolist(), blocks)

    def _changed(
        self, path: Path, index: RowIndex, stimuli: Stimuli, token: str | None, ids_print: str, seen: dict[Any, str]
    ) -> set:
        """Return the ids whose contents are not what the store's rows were made from; ``seen`` keeps hashes taken."""
        if token is not None and (token, ids_print) in read_tokens(path):
            return set()
        known = [i for i in stimuli.ids.tolist() if i in index.row_of]
        new = [i for i in known if i not in seen]
        if new:
            seen.update(zip(new, self.hashes(stimuli, np.array(new)), strict=True))
        return {i for i in known if index.hashes[index.row_of[i]] != seen[i]}

    def _refuse(self, path: Path, changed: set, total: int, on_change: str) -> None:
        if changed and on_change == "error":
            raise StaleStore(
                f"{path} holds features of other contents for {len(changed):,} of these {total:,} stimuli, first "
                f"{sorted(changed, key=str)[:3]}: on_change='recompute' replaces them, another folder keeps both."
            )

    def _batches(
        self, stimuli: Stimuli, ids: np.ndarray, layers: list[str], pad: bool, hashes: bool, bar: Any
    ) -> Iterator[tuple[np.ndarray, list[str], dict[str, np.ndarray]]]:
        """Yield (ids, content hashes, layer -> block), reading and preparing a few batches ahead."""
        size = check_positive_int("batch_size", self.batch_size)
        parts = [ids[i : i + size] for i in range(0, len(ids), size)]

        def load(part: np.ndarray):
            items = self.items(stimuli, part)
            return self.prepare(items), self.hashes(stimuli, part) if hashes else []

        for part, (prepared, found) in zip(parts, _ahead(load, parts, self.workers), strict=True):
            blocks = self.compute(prepared, layers, size if pad else 0)
            yield part, found, {k: _checked(v, self.dtype, k, part, self.name) for k, v in blocks.items()}
            bar.update(len(part))

    def _all_info(self) -> dict[str, Any]:
        return {"name": self.name, "batch_size": self.batch_size, **self.info(), "software": versions()}


def as_stimuli(given: Any) -> Stimuli:
    """Return Stimuli from Stimuli, a uint8 array of images or clips, or the path of a folder."""
    if isinstance(given, Stimuli):
        return given
    if isinstance(given, (str, os.PathLike)):
        return Stimuli.from_folder(given)
    return Stimuli.from_array(given if isinstance(given, np.ndarray) else np.asarray(given))


def frames_of(items: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[int]]:
    """Return all frames of images (h, w, 3) and clips (t, h, w, 3), and the number of frames of each."""
    counts = [len(item) if item.ndim == 4 else 1 for item in items]
    return [frame for item in items for frame in (item if item.ndim == 4 else [item])], counts


def mean_of_groups(x: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Average neighbouring rows: ``counts[i]`` rows make row i.

    >>> mean_of_groups(np.array([[1.0], [3.0], [5.0]]), [2, 1]).tolist()
    [[2.0], [5.0]]
    """
    if all(c == 1 for c in counts):
        return x
    edges = np.cumsum([0, *counts])
    return np.stack([x[a:b].mean(0) for a, b in pairwise(edges)])


def versions() -> dict[str, str]:
    """Return versions of neuro and of the libraries whose numbers are stored, of those loaded."""
    found = {"neuro": neuro.__version__, "python": platform.python_version(), "numpy": np.__version__}
    for name in ("torch", "timm", "open_clip", "torchvision"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            found[name] = str(version)
    return found


def _missing(
    manifest: Mapping, index: RowIndex, ids: np.ndarray, layers: Mapping, changed: set | frozenset = frozenset()
) -> dict[tuple[str, ...], np.ndarray]:
    """Return layers -> ids that lack exactly those layers."""
    have = {}
    at = np.array([index.row_of.get(i, -1) for i in ids.tolist()], dtype=np.int64)
    fresh = np.array([i in changed for i in ids.tolist()]) if changed else np.zeros(len(ids), bool)
    for name in layers:
        known = manifest["layers"].get(name)
        done = index.done(known["number"]) if known else np.zeros(index.n_rows, bool)
        have[name] = (at >= 0) & ~fresh & (done[at] if index.n_rows else False)
    groups: dict[tuple[str, ...], list[int]] = {}
    for i in range(len(ids)):
        lacking = tuple(name for name in layers if not have[name][i])
        if lacking:
            groups.setdefault(lacking, []).append(i)
    return {k: ids[v] for k, v in groups.items()}


def _ahead(load: Callable[[Any], Any], parts: Sequence[Any], workers: int = 1) -> Iterator[Any]:
    """Apply ``load`` to the parts in order, a few ahead of the consumer, in other threads."""
    if len(parts) < 2:
        yield from map(load, parts)
        return
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="neuro-read") as pool:
        waiting: list[Future] = []
        try:
            for part in parts:
                waiting.append(pool.submit(load, part))
                if len(waiting) > workers + 1:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _checked(block: np.ndarray, dtype: str, layer: str, ids: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        out = np.asarray(block).astype(dtype, copy=False)
    finite = np.isfinite(out)
    if not finite.all():
        bad = ids[~finite.reshape(len(out), -1).all(1)][:3].tolist()
        if np.isfinite(block).all():
            raise BadFeatures(
                f"layer {layer!r} of {name} reaches {np.abs(block).max():.3g} for stimuli {bad}, beyond float16's "
                "65,504: store float32 (dtype='float32')."
            )
        raise BadFeatures(
            f"layer {layer!r} of {name} gives infinite or undefined numbers for stimuli {bad}. With "
            "precision='float16' activations overflow: use 'bfloat16' or 'float32'."
        )
    return out


def _check_memory(plan: Plan) -> None:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    if plan.n_bytes > total:
        raise MemoryError(
            f"these features are {human(plan.n_bytes)} and this computer has {human(total)} of memory: give "
            "store=<folder>, or pool or project the layers."
        )


def _announce(name: str, plan: Plan, progress: bool) -> None:
    if progress:
        print(f"{name}: {plan}", file=sys.stderr, flush=True)


def _bar(plan: Plan, progress: bool) -> Any:
    if not progress:
        return _NoBar()
    from tqdm.auto import tqdm

    return tqdm(total=plan.n_missing, unit=" stimuli", leave=False, mininterval=0.2, disable=not sys.stderr.isatty())


class _NoBar(contextlib.AbstractContextManager):
    def update(self, n: int) -> None: ...

    def __exit__(self, *_: Any) -> None:
        return None


def _as_json(value: Any) -> Any:
    """Bring a description to the form in which a manifest gives it back, so that the two can be compared."""
    return json.loads(json.dumps(value, default=str))


def _key(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
