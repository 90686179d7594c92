"""Similarity of feature vectors: corr(a_i, b_j), or the cosine, for all pairs or for pairs of the same row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from neuro._check import check_option, is_tensor
from neuro.errors import ShapeMismatch

SIMILARITIES = ("correlation", "cosine")
_CHUNK = 1 << 24  # numbers of one chunk of columns


def as_array(x: Any) -> np.ndarray:
    """Return an array of a tensor on any device, or of anything array-like; memory maps stay maps."""
    return x.detach().cpu().numpy() if is_tensor(x) else x if isinstance(x, np.ndarray) else np.asarray(x)


def flat_features(name: str, x: Any, at_least: int = 2) -> np.ndarray:
    """Return finite floating-point features with one row per item, (n, d).

    Raises
    ------
    ShapeMismatch
        If there is no item axis, or fewer than ``at_least`` items.
    ValueError
        If a number is not finite.
    """
    array = as_array(x)
    if array.ndim < 2:
        raise ShapeMismatch(f"{name} must be (n_items, ...features), got {array.shape}.")
    if len(array) < at_least:
        raise ShapeMismatch(
            f"{name} has {len(array)} item: comparing an item with others needs at least {at_least}. "
            "Score several test items at once."
        )
    array = array.reshape(len(array), -1)
    if array.dtype.kind != "f" or array.dtype.itemsize < 4:
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    for where in _columns(array):
        bad = ~np.isfinite(array[:, where]).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{name} holds NaN or infinite numbers in {bad.sum()} of {len(array)} items (first: item "
                f"{int(np.argmax(bad))}). Was something decoded in float16, or from missing voxels?"
            )
    return array


def check_pairs(names: tuple[str, str], a: Any, b: Any, at_least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of features of the same items, both (n, d)."""
    shapes = [np.shape(x) for x in (a, b)]
    if shapes[0] != shapes[1]:
        raise ShapeMismatch(
            f"{names[0]} and {names[1]} must be features of the same items in the same space, got {shapes[0]} and "
            f"{shapes[1]}."
        )
    return flat_features(names[0], a, at_least), flat_features(names[1], b, at_least)


def similarity(a: np.ndarray, b: np.ndarray, metric: str = "correlation") -> np.ndarray:
    """Return the similarity of every row of ``a`` (n, d) with every row of ``b`` (m, d), float64 (n, m).

    Equal rows get bit-equal similarities, so that ties are ties: a matrix product alone may round them apart. Rows
    without variance (without length, for the cosine) give NaN. Columns are streamed.
    """
    check_option("similarity", metric, SIMILARITIES)
    groups_a, groups_b = equal_rows(a), equal_rows(b)
    rows_a, rows_b = (np.unique(g, return_index=True)[1] for g in (groups_a, groups_b))
    whole = len(rows_a) == len(a) and len(rows_b) == len(b)
    x, y = (a, b) if whole else (a[rows_a], b[rows_b])
    work = np.result_type(a.dtype, b.dtype, np.float32)
    mean_x, mean_y = _means(x, metric, work), _means(y, metric, work)
    products = np.zeros((len(x), len(y)))
    squares_x, squares_y = np.zeros(len(x)), np.zeros(len(y))
    for where in _columns(x, y):
        u, v = x[:, where].astype(work) - mean_x, y[:, where].astype(work) - mean_y
        products += u @ v.T
        squares_x += np.einsum("nd,nd->n", u, u)
        squares_y += np.einsum("nd,nd->n", v, v)
    products /= np.outer(_lengths(squares_x, mean_x, x, work), _lengths(squares_y, mean_y, y, work))
    return products if whole else products[np.ix_(groups_a, groups_b)]


def paired_similarity(a: np.ndarray, b: np.ndarray, metric: str = "correlation") -> tuple[np.ndarray, float]:
    """Return the similarity of each row of ``a`` with the same row of ``b``, (n,), and the mean over all wrong pairs.

    With unit vectors u_i, v_j the mean over wrong pairs is (sum_i u_i . sum_j v_j - sum_i u_i . v_i) / (n (n - 1)), so
    the n x n matrix is not needed. Rows without variance are NaN and take no part in the mean.
    """
    check_option("similarity", metric, SIMILARITIES)
    work = np.result_type(a.dtype, b.dtype, np.float32)
    mean_a, mean_b = _means(a, metric, work), _means(b, metric, work)
    products, squares_a, squares_b = np.zeros(len(a)), np.zeros(len(a)), np.zeros(len(a))
    for where in _columns(a, b):
        u, v = a[:, where].astype(work) - mean_a, b[:, where].astype(work) - mean_b
        products += np.einsum("nd,nd->n", u, v)
        squares_a += np.einsum("nd,nd->n", u, u)
        squares_b += np.einsum("nd,nd->n", v, v)
    length_a, length_b = _lengths(squares_a, mean_a, a, work), _lengths(squares_b, mean_b, b, work)
    values = products / (length_a * length_b)
    good = np.isfinite(values)
    n = int(good.sum())
    if n < 2:
        return values, float("nan")
    total = 0.0
    for where in _columns(a, b):
        u = (a[:, where].astype(work) - mean_a)[good] / length_a[good, None]
        v = (b[:, where].astype(work) - mean_b)[good] / length_b[good, None]
        total += float(u.sum(0) @ v.sum(0))
    return values, (total - float(values[good].sum())) / (n * (n - 1))


def _means(x: np.ndarray, metric: str, work: Any) -> np.ndarray:
    """Return what is subtracted from each row, (n, 1)."""
    return (x.mean(1, dtype=np.float64) if metric == "correlation" else np.zeros(len(x)))[:, None].astype(work)


def _lengths(squares: np.ndarray, means: np.ndarray, x: np.ndarray, work: Any) -> np.ndarray:
    """Return the lengths of rows, NaN where they are not above the rounding of the numbers themselves."""
    floor = (4 * np.finfo(work).eps * np.abs(means[:, 0].astype(float))) ** 2 * x.shape[1]
    return np.where(squares > floor, np.sqrt(squares), np.nan)


def _columns(*arrays: np.ndarray) -> Iterator[slice]:
    step = max(1, _CHUNK // max(len(a) for a in arrays))
    for start in range(0, arrays[0].shape[1], step):
        yield slice(start, start + step)


def equal_rows(x: np.ndarray) -> np.ndarray:
    """Number the groups of bit-equal rows, (n,): rows are compared in full only where they begin alike."""
    starts: dict[bytes, list[int]] = {}
    for i, head in enumerate(np.ascontiguousarray(x[:, :16])):
        starts.setdefault(head.tobytes(), []).append(i)
    first = np.arange(len(x))
    for members in starts.values():
        if len(members) > 1:
            whole: dict[bytes, int] = {}
            for i in members:
                first[i] = whole.setdefault(np.ascontiguousarray(x[i]).tobytes(), i)
    return np.unique(first, return_inverse=True)[1]
