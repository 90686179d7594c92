"""Which columns belong to which feature space, and which relative weights of the spaces are worth a try.

A *band* is a feature space: a name and the columns of X that it owns. Band weights ``gamma`` (one per band, usually
summing to 1) turn the penalty ``alpha`` into one penalty per band, ``alpha / gamma_k``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neuro._check import as_rng, check_positive_int, is_tensor
from neuro.errors import DuplicateIds, EmptySelection, ShapeMismatch

SAME = 1 - 1e-6  # similarity of two bands' centred kernels above which their weights cannot be told apart


class CollinearBandsWarning(UserWarning):
    """Two bands have the same kernel up to a factor: how the prediction is shared between them is arbitrary."""


@dataclass(frozen=True, eq=False)
class Bands:
    """Names of the bands and the band of every column."""

    names: tuple[str, ...]
    columns: tuple[np.ndarray, ...]
    n_features: int

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return len(self.names)

    @property
    def of_column(self) -> np.ndarray:
        """Index of the band (n_features,) of every column."""
        out = np.empty(self.n_features, np.int64)
        for k, columns in enumerate(self.columns):
            out[columns] = k
        return out

    def join(self, X: Any) -> Any:
        """Return the bands' arrays side by side, checked against the names and widths of ``fit``."""
        if not is_named(X):
            return X
        X = {str(name): values for name, values in X.items()}
        check_names("X", X, self.names)
        parts = _parts(X, self.names)
        for name, part, columns in zip(self.names, parts, self.columns, strict=True):
            if part.shape[1] != len(columns):
                raise ShapeMismatch(
                    f"band {name!r} must have {len(columns):,} features, as in fit; its shape is {tuple(part.shape)}."
                )
        return _side_by_side(parts)


def is_named(X: Any) -> bool:
    """Whether X is a mapping of names to arrays (sparse matrices of one kind are mappings, too)."""
    return isinstance(X, Mapping) and not hasattr(X, "shape")


def check_names(what: str, X: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Raise unless the mapping called ``what`` has exactly the bands ``names``."""
    missing, extra = [n for n in names if n not in X], [n for n in X if n not in names]
    if missing or extra:
        raise ValueError(f"{what} must have the bands {list(names)}; missing {missing}, unknown {extra}.")


def take_bands(X: Any, bands: Mapping[str, Any] | None) -> tuple[Any, Callable[[int], Bands]]:
    """Return X as one array, and a function from its number of columns, once checked, to its bands.

    Parameters
    ----------
    X : mapping of name to (n_stimuli, n_features of the band), or array or tensor (n_stimuli, n_features)
    bands : mapping of name to slice, indices or boolean mask of columns; None with a mapping X
        With an array X and None, all columns are one band, "features".

    Raises
    ------
    ValueError
        If both, or no band, or columns that no band owns are given.
    DuplicateIds
        If a column stands in two bands.
    EmptySelection
        If a band has no column.
    ShapeMismatch
        If bands have different numbers of rows, or indices reach beyond the columns.
    """
    if is_named(X):
        if bands is not None:
            raise ValueError("give feature spaces either as a mapping X or as bands= of an array X, got both.")
        if not X:
            raise EmptySelection("X must name at least one band, got an empty mapping.")
        names = tuple(str(name) for name in X)
        if len(set(names)) < len(names):
            raise DuplicateIds(f"bands must have different names, got {list(names)}.")
        parts = _parts(X, tuple(X))
        stops = np.cumsum([part.shape[1] for part in parts])
        columns = tuple(np.arange(stop - part.shape[1], stop) for stop, part in zip(stops, parts, strict=True))
        found = Bands(names, columns, int(stops[-1]))
        return _side_by_side(parts), lambda n_features: found
    return X, lambda n_features: resolve_bands(bands, n_features)


def resolve_bands(bands: Mapping[str, Any] | None, n_features: int) -> Bands:
    """Return ``bands`` of an array with ``n_features`` columns as index arrays that cover each column once."""
    everything = np.arange(n_features)
    if bands is None:
        return Bands(("features",), (everything,), n_features)
    if not isinstance(bands, Mapping):
        raise ValueError(f"bands must map names to slices or indices of columns, got {type(bands).__name__}.")
    if not bands:
        raise EmptySelection("bands must name at least one band, got an empty mapping.")
    owned: dict[str, np.ndarray] = {}
    for name, where in bands.items():
        where = where.detach().cpu().numpy() if is_tensor(where) else where
        try:
            columns = np.atleast_1d(everything[where if isinstance(where, slice) else np.asarray(where)])
        except IndexError as error:
            raise ShapeMismatch(f"band {name!r} must index the {n_features:,} columns of X: {error}.") from None
        if columns.size == 0:
            raise EmptySelection(f"band {name!r} has no columns.")
        owned[str(name)] = columns
    count = np.bincount(np.concatenate(list(owned.values())), minlength=n_features)
    if count.max() > 1:
        first = int(np.flatnonzero(count > 1)[0])
        whose = [name for name, columns in owned.items() if first in columns]
        raise DuplicateIds(
            f"each column must stand in one band, but {int((count > 1).sum()):,} stand in several: column {first} in "
            f"{whose}. Give overlapping spaces as a mapping of arrays instead."
        )
    if count.min() == 0:
        raise ValueError(
            f"bands must cover all {n_features:,} columns of X, but {int((count == 0).sum()):,} are in none (the first "
            f"is {int(np.flatnonzero(count == 0)[0])}). Leave those columns out of X, or give them a band."
        )
    return Bands(tuple(owned), tuple(owned.values()), n_features)


def _parts(X: Mapping[str, Any], names: tuple[Any, ...]) -> list[Any]:
    parts = [X[name] if is_tensor(X[name]) else np.asarray(X[name]) for name in names]
    kinds = {is_tensor(part) for part in parts}
    if len(kinds) > 1:
        raise TypeError("bands must all be arrays or all be tensors, got both.")
    for name, part in zip(names, parts, strict=True):
        if part.ndim != 2:
            raise ShapeMismatch(f"band {name!r} must be (n_stimuli, n_features); its shape is {tuple(part.shape)}.")
        if part.shape[1] == 0:
            raise EmptySelection(f"band {name!r} has no columns.")
    rows = {str(name): len(part) for name, part in zip(names, parts, strict=True)}
    if len(set(rows.values())) > 1:
        raise ShapeMismatch(f"bands must describe the same stimuli; their numbers of rows are {rows}.")
    return parts


def _side_by_side(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    return torch.cat(parts, 1) if is_tensor(parts[0]) else np.concatenate(parts, 1)


def sample_weights(n_candidates: int, n_bands: int, concentration: Any, rng: Any) -> np.ndarray:
    """Return candidate band weights (n_candidates, n_bands) on the simplex.

    The first are equal weights; the others are drawn from Dirichlet distributions whose concentrations take turns:
    0.1 favours few bands, 1 is uniform. One band has one candidate.

    >>> sample_weights(2, 1, (0.1, 1.0), 0)
    array([[1.]])
    """
    check_positive_int("n_iter", n_candidates)
    rng = as_rng(rng)
    if n_bands == 1:
        return np.ones((1, 1))
    turns = np.atleast_1d(np.asarray(concentration, float))
    if turns.ndim != 1 or not turns.size or not (np.isfinite(turns) & (turns > 0)).all():
        raise ValueError(f"concentration must be positive numbers, got {concentration!r}.")
    draws = [rng.dirichlet(np.full(n_bands, turns[i % len(turns)])) for i in range(n_candidates - 1)]
    return np.stack([np.full(n_bands, 1 / n_bands), *draws])


def check_weights(weights: Any, n_bands: int) -> np.ndarray:
    """Return given candidate band weights as float64 (n_candidates, n_bands), none negative and no row all zero."""
    weights = weights.detach().cpu().numpy() if is_tensor(weights) else weights
    try:
        candidates = np.atleast_2d(np.array(weights, np.float64))
    except (TypeError, ValueError):
        raise ValueError(f"band_weights must be numbers, got {weights!r}.") from None
    if candidates.ndim != 2 or candidates.shape[1] != n_bands or not len(candidates):
        raise ShapeMismatch(f"band_weights must be (n_candidates, {n_bands} bands); the shape is {candidates.shape}.")
    if not (np.isfinite(candidates) & (candidates >= 0)).all() or not candidates.any(1).all():
        raise ValueError("band_weights must be finite, not negative, and not all zero for a candidate.")
    return candidates


@contextmanager
def gathered_warnings(what: str, stacklevel: int = 4) -> Iterator[None]:
    """Let every kind of warning out once, saying how many of the ``what`` gave it: many fits are one piece of work."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    first: dict[type[Warning], list[str]] = {}
    for w in caught:
        first.setdefault(w.category, []).append(str(w.message))
    for category, messages in first.items():
        more = f" ({len(messages)} {what} warn like this; this is the first.)" if len(messages) > 1 else ""
        warnings.warn(messages[0] + more, category, stacklevel=stacklevel)


def warn_of_collinear(similarity: np.ndarray, names: tuple[str, ...], stacklevel: int = 3) -> None:
    """Warn once if kernels of bands are the same; ``similarity`` (n_bands, n_bands) holds their cosines."""
    pairs = [(i, j) for i in range(len(names)) for j in range(i) if similarity[i, j] > SAME]
    if pairs:
        i, j = pairs[-1] if len(pairs) == 1 else pairs[0]
        warnings.warn(
            f"{len(pairs)} of {len(names) * (len(names) - 1) // 2} pairs of bands are the same up to a factor (such as "
            f"{names[j]!r} and {names[i]!r}): predictions are unaffected, but how they are shared between those bands "
            "is arbitrary. Leave one out.",
            CollinearBandsWarning,
            stacklevel=stacklevel,
        )
