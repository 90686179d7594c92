"""Which rows of the data are which condition in which fold, and their means, in blocks of channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import is_tensor
from neuro.errors import EmptySelection, ShapeMismatch

BLOCK_BYTES = 8 * 2**20  # one block of patterns; small beside the data, large enough for BLAS


def as_float(x: Any, name: str = "data") -> Any:
    """Return ``x`` as a float32 or float64 array or tensor, without a copy where it is one already."""
    if is_tensor(x):
        if x.is_complex():
            raise ValueError(f"{name} must be real numbers, got dtype {x.dtype}.")
        if not x.is_floating_point():
            return x.double()
        return x if x.element_size() >= 4 else x.float()
    x = x if isinstance(x, np.ndarray) else np.asarray(x)
    if x.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real numbers, got dtype {x.dtype}.")
    if x.dtype in (np.float32, np.float64):
        return x
    return x.astype(np.float32 if x.dtype.kind == "f" and x.dtype.itemsize <= 4 else np.float64)


@dataclass(frozen=True, eq=False)
class Plan:
    """Where each row belongs.

    Parameters
    ----------
    names : array (n_conditions,)
        In order of first appearance.
    codes : array (n_rows,) of int
        Index into ``names``.
    folds : array (n_rows,) of int, or None
    n_folds : int
        0 without folds.
    """

    names: np.ndarray
    codes: np.ndarray
    folds: np.ndarray | None
    n_folds: int
    fold_names: tuple[Any, ...] = ()

    @property
    def n(self) -> int:
        """Number of conditions."""
        return len(self.names)

    @property
    def counts(self) -> np.ndarray:
        """Rows of each condition (n_conditions,), or of each condition in each fold (n_folds, n_conditions)."""
        if self.folds is None:
            return np.bincount(self.codes, minlength=self.n)
        cells = np.bincount(self.folds * self.n + self.codes, minlength=self.n * self.n_folds)
        return cells.reshape(self.n_folds, self.n)

    @cached_property
    def identity(self) -> bool:
        """Whether the rows are the conditions, each once and in order."""
        return self.folds is None and len(self.codes) == self.n and bool((np.diff(self.codes) == 1).all())


def make_plan(n_rows: int, conditions: Any = None, folds: Any = None) -> Plan:
    """Sort ``n_rows`` rows into conditions and folds.

    Parameters
    ----------
    conditions : sequence (n_rows,), optional
        Name of each row's condition; every row is its own by default.
    folds : sequence (n_rows,) or "occurrence", optional
        Fold of each row. "occurrence" makes the k-th row of a condition fold k, for equal counts only.
    """
    if conditions is None:
        codes, names = np.arange(n_rows), np.arange(n_rows)
    else:
        labels = labels_of("conditions", conditions, n_rows)
        codes, names = _factorize(labels)
    if len(names) < 2:
        raise EmptySelection(
            f"an RDM needs at least two conditions, got {len(names)} ({n_rows} row{'s' if n_rows != 1 else ''})."
        )
    if folds is None:
        return Plan(names, codes, None, 0)
    if isinstance(folds, str):
        if folds != "occurrence":
            raise ValueError(f"folds must name the fold of every row (or be 'occurrence'), got {folds!r}.")
        counts = np.bincount(codes, minlength=len(names))
        if (counts != counts[0]).any():
            raise ShapeMismatch(
                f"conditions have between {counts.min()} and {counts.max()} rows, so the k-th row of each is no common "
                "fold k. Give folds=, one label per row (the run or session it comes from)."
            )
        number = pd.Series(codes).groupby(codes).cumcount().to_numpy()
        return Plan(names, codes, number, int(counts[0]), tuple(range(int(counts[0]))))
    fold_codes, fold_names = _factorize(labels_of("folds", folds, n_rows), sort=True)
    return Plan(names, codes, fold_codes, len(fold_names), tuple(fold_names.tolist()))


def labels_of(name: str, labels: Any, n_rows: int) -> np.ndarray:
    """Return labels as a one-dimensional array without missing values, one per row."""
    array = labels.detach().cpu().numpy() if is_tensor(labels) else np.asarray(labels)
    if array.ndim != 1 or len(array) != n_rows:
        raise ShapeMismatch(f"{name} must hold one label for each of {n_rows:,} rows, got shape {array.shape}.")
    if pd.isna(array).any():
        raise ValueError(f"{name} has {int(pd.isna(array).sum())} missing labels among {n_rows:,}.")
    return array


def _factorize(labels: np.ndarray, sort: bool = False) -> tuple[np.ndarray, np.ndarray]:
    codes, names = pd.factorize(labels, sort=sort)
    return np.asarray(codes), np.asarray(names)


class Patterns:
    """Condition means of one data set: (n, p), or (n_folds, n, p) where the plan has folds.

    Parameters
    ----------
    X : array or tensor (n_rows, p), float32 or float64
    plan : Plan
        Every condition has at least one row, in every fold if it has folds.
    """

    def __init__(self, X: Any, plan: Plan):
        self.X, self.plan = X, plan
        self.n, self.p = plan.n, int(X.shape[1])
        self._single = False
        self.tensor = is_tensor(X)
        self.shape = (plan.n_folds, plan.n) if plan.folds is not None else (plan.n,)
        if not plan.identity:
            cells = plan.codes if plan.folds is None else plan.folds * plan.n + plan.codes
            self._order = np.argsort(cells, kind="stable")
            self._counts = np.bincount(cells, minlength=int(np.prod(self.shape)))
            self._single = bool((self._counts == 1).all())
            self._starts = np.concatenate([[0], np.cumsum(self._counts)[:-1]])

    @property
    def whole(self) -> bool:
        """Whether the data are the patterns, in float64 and ready for BLAS."""
        return self.plan.identity and not self.tensor and self.X.dtype == np.float64 and self.X.flags.c_contiguous

    @property
    def dtype(self) -> Any:
        """float32 or float64, of the data."""
        return self.X.dtype

    def take(self, columns: slice) -> np.ndarray:
        """Return the means of some channels, (..., n, b), C-ordered and free to be written into (numpy only)."""
        block = self.X[:, columns]
        if self.plan.identity:
            return np.array(block, order="C")
        if self._single:
            return np.take(block, self._order, axis=0).reshape(*self.shape, -1)
        summed = np.add.reduceat(np.take(block, self._order, axis=0), self._starts, axis=0, dtype=np.float64)
        summed /= self._counts[:, None]
        return summed.astype(self.X.dtype, copy=False).reshape(*self.shape, -1)

    def blocks(self, centre: bool = False, own: np.ndarray | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """Iterate over (channels, their means (..., n, b)); each block is free to be written into until the next.

        Parameters
        ----------
        centre : bool
            Subtract a pattern that all conditions have in common, near their mean: enough for differences not to
            cancel, at the cost of a few rows.
        own : array (..., n, 1), optional
            Subtract a number from each pattern.
        """
        width = self.block_width()
        own = None if own is None else own.astype(self.X.dtype)
        in_order = self.plan.identity or (self._single and bool((np.diff(self._order) == 1).all()))
        buffer = np.empty(int(np.prod(self.shape)) * width, self.X.dtype) if in_order else None
        for start in range(0, self.p, width):
            columns = slice(start, min(start + width, self.p))
            if buffer is None:
                Y = self.take(columns)
                if own is not None:
                    Y -= own
                if centre:
                    Y -= _common(Y)
            else:  # read, subtract and write at once
                block = self.X[:, columns].reshape(*self.shape, -1)
                Y = buffer[: block.size].reshape(block.shape)
                first = own if own is not None else _common(block) if centre else self.X.dtype.type(0)
                np.subtract(block, first, out=Y)
                if own is not None and centre:
                    Y -= _common(Y)
            yield columns, Y

    def block_width(self) -> int:
        """Channels per block."""
        rows = max(len(self.X), int(np.prod(self.shape)))
        return max(256, BLOCK_BYTES // (rows * self.X.dtype.itemsize))

    def array(self) -> Any:
        """Return all means, (..., n, p); may be the data themselves, so not to be written into."""
        if self.plan.identity:
            return self.X
        if not self.tensor:
            return self.take(slice(None))
        import torch

        order = torch.as_tensor(self._order, device=self.X.device)
        if self._single:
            return self.X[order].reshape(*self.shape, self.p)
        cells = self.plan.codes if self.plan.folds is None else self.plan.folds * self.n + self.plan.codes
        index = torch.as_tensor(np.asarray(cells), device=self.X.device)
        summed = self.X.new_zeros((int(np.prod(self.shape)), self.p)).index_add(0, index, self.X)
        counts = torch.as_tensor(self._counts, device=self.X.device, dtype=self.X.dtype)
        return (summed / counts[:, None]).reshape(*self.shape, self.p)

    def channel_means(self) -> np.ndarray:
        """Mean of every pattern over channels, (..., n, 1), float64 (numpy only)."""
        if self.plan.identity:
            return self.X.mean(1, dtype=np.float64, keepdims=True)
        summed = np.zeros((*self.shape, 1))
        for _, block in self.blocks():
            summed += block.sum(-1, dtype=np.float64, keepdims=True)
        return summed / self.p


def _common(Y: np.ndarray) -> np.ndarray:
    """Mean of some 16 patterns, (..., 1, b)."""
    return Y[..., :: max(1, Y.shape[-2] // 16), :].mean(-2, keepdims=True, dtype=np.float64).astype(Y.dtype)
