"""Targets of a decoder as columns: arrays, memory maps and feature stores, read a few columns at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.errors import EmptySelection, ShapeMismatch, UnknownStimulus, nearest
from neuro.features.store import Features, LayerRows

MAX_COLUMNS = 16384  # at once: more gains nothing


class TargetTable:
    """One kind of target: a row per training item, flattened to columns that are read when asked for.

    Parameters
    ----------
    source : array, tensor, memory map or LayerRows (n_source, ...)
    rows : integer array (n,), optional
        Which row of ``source`` belongs to each training item; repeats of an image may name one row several times.
    shape : tuple, optional
        Shape of one item, where ``source`` holds it flattened.
    """

    def __init__(self, name: str, source: Any, rows: np.ndarray | None = None, shape: tuple[int, ...] | None = None):
        if is_tensor(source):
            source = source.detach().cpu().numpy()
        self.on_disk = isinstance(source, (np.memmap, LayerRows)) or isinstance(
            getattr(source, "base", None), np.memmap
        )
        if not isinstance(source, (np.ndarray, LayerRows)):
            source = np.asarray(source)
        if source.ndim < 2 or source.dtype.kind not in "fiub":
            raise ShapeMismatch(
                f"targets {name!r} must be numbers with one row per item, (n, ...), got {source.dtype} {source.shape}. "
                "One number per item is (n, 1)."
            )
        self.name, self.rows = name, rows
        self.shape = tuple(int(s) for s in (shape or source.shape[1:]))
        self.n_targets = math.prod(self.shape)
        self._source = source if isinstance(source, LayerRows) else source.reshape(len(source), -1)
        if self._source.shape[1] != self.n_targets:
            raise ShapeMismatch(f"one item of {name!r} is {self.shape}, but has {self._source.shape[1]:,} columns.")
        if self.n_targets == 0:
            raise EmptySelection(f"targets {name!r} have no columns: shape {tuple(source.shape)}.")

    def __len__(self) -> int:
        return len(self._source) if self.rows is None else len(self.rows)

    @property
    def dtype(self) -> np.dtype:
        """As stored."""
        return self._source.dtype

    def subset(self, rows: np.ndarray) -> TargetTable:
        """Return some training items, unread."""
        chosen = np.asarray(rows) if self.rows is None else self.rows[rows]
        return TargetTable(self.name, self._source, chosen, self.shape)

    def read(self, columns: slice, dtype: Any = None) -> np.ndarray:
        """Return (n, n_columns) as a new array; in the stored precision, half precision as float32."""
        wanted = np.dtype(dtype or (self.dtype if self.dtype in (np.float32, np.float64) else np.float32))
        rows = slice(None) if self.rows is None else self.rows
        return np.array(self._source[rows, columns], dtype=wanted, order="C")

    def chunks(self, size: int) -> Iterator[slice]:
        """Iterate over column slices of at most ``size``."""
        size = max(1, min(size, MAX_COLUMNS))
        for start in range(0, self.n_targets, size):
            yield slice(start, min(start + size, self.n_targets))

    def statistics(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation (ddof 1) of every column, float64, after checking that all are finite."""
        mean, sd = np.empty(self.n_targets), np.empty(self.n_targets)
        for columns in self.chunks(size):
            block = self.read(columns)
            mean[columns] = block.mean(0, dtype=np.float64)
            if not np.isfinite(mean[columns]).all():
                bad = np.flatnonzero(~np.isfinite(block).all(0))
                raise ValueError(
                    f"targets {self.name!r} contain NaN or infinity in {len(bad):,} of the columns {columns.start:,} "
                    f"to {columns.stop:,}, first {columns.start + int(bad[0]) if len(bad) else columns.start:,}. Half "
                    "precision overflows beyond 65,504: store such targets as float32, or leave the columns out."
                )
            block -= mean[columns].astype(block.dtype)
            sd[columns] = np.sqrt(np.einsum("ij,ij->j", block, block, dtype=np.float64) / max(len(block) - 1, 1))
        return mean, sd


def target_tables(targets: Any, ids: np.ndarray | None, target_ids: Any, n: int) -> dict[str, TargetTable]:
    """Return a table per name with one row for each of ``n`` training items.

    Parameters
    ----------
    targets : array, dict of name -> array (n, ...), or Features
        A single array is called ``"targets"``; ``Features`` are found by their ids.
    ids : array (n,) or None
        Stimulus of each training item.
    target_ids : sequence or None
        Stimulus of each row of the targets, where they are not in the order of the training items.
    """
    if isinstance(targets, Features):
        if target_ids is None:
            target_ids = targets.ids
        shapes: Mapping[str, Any] = targets.layers
        sources: Mapping[str, Any] = {name: targets[name] for name in shapes}
    else:
        shapes = {}
        sources = targets if isinstance(targets, Mapping) else {"targets": targets}
    if not sources:
        raise EmptySelection("no targets: give an array (n, ...) or a dict of name -> array (n, ...).")
    rows = None if target_ids is None else _find_rows(ids, target_ids)
    tables = {}
    for name, source in sources.items():
        length = len(source)
        expected = n if target_ids is None else len(target_ids)
        if length != expected:
            remedy = (
                "Were repeats averaged in one but not in the other? With target_ids every training item finds its row."
                if target_ids is None
                else "There must be one id per row."
            )
            what = "training items" if target_ids is None else "target_ids"
            raise ShapeMismatch(f"targets {name!r} have {length:,} rows for {expected:,} {what}. {remedy}")
        tables[name] = TargetTable(name, source, rows, shapes.get(name))
    return tables


def _find_rows(ids: np.ndarray | None, target_ids: Any) -> np.ndarray:
    if ids is None:
        raise ValueError("target_ids name the stimuli of the targets, but nothing names those of X: pass ids.")
    where = {value: i for i, value in enumerate(np.asarray(target_ids).tolist())}
    missing = [v for v in ids.tolist() if v not in where]
    if missing:
        raise UnknownStimulus(
            f"{len(missing):,} training items have no target, first {missing[0]!r}"
            f"{nearest(str(missing[0]), map(str, list(where)[:20000])) or '.'}"
        )
    return np.array([where[v] for v in ids.tolist()], dtype=np.int64)
