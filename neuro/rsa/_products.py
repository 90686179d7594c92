"""Inner products between stacks of long vectors, block by block so that no float64 copy of a stack is made.

a . b = sum_k (a_k - mean a) (b_k - mean b)     (means optional)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.rsa._array import TINY, double, lib, scores_from

MILD = 1e-3  # share of a sum of squares left after centring above which centring afterwards is harmless
BLOCK = 2**18  # entries of a stack worked on at once (2 MiB, which stays in the cache)


def dots(a: Any, b: Any, mean_a: Any = None, mean_b: Any = None) -> Any:
    """Return a b' of (n_a, k) and (n_b, k), in float64; means (n_a,), (n_b,) are subtracted first."""
    if is_tensor(a):
        a, b = double(a), double(b) if b is not a else None
        a = a if mean_a is None else a - mean_a[:, None]
        b = a if b is None else b if mean_b is None else b - mean_b[:, None]
        return a @ b.T
    if mean_a is None and a.dtype == b.dtype == np.float64:
        return a @ b.T
    out = np.zeros((len(a), len(b)))
    for block in _blocks(max(len(a), len(b)), a.shape[1]):
        left = _centre(a[:, block], mean_a)
        right = left if b is a else _centre(b[:, block], mean_b)
        out += left @ right.T
    return out


def squares(a: Any, mean: Any = None) -> Any:
    """Return the squared norm of every row, in float64."""
    if is_tensor(a):
        a = double(a) if mean is None else double(a) - mean[:, None]
        return (a * a).sum(1)
    if mean is None and a.dtype == np.float64:
        return np.einsum("ij,ij->i", a, a)
    out = np.zeros(len(a))
    for block in _blocks(len(a), a.shape[1]):
        part = _centre(a[:, block], mean)
        out += np.einsum("ij,ij->i", part, part)
    return out


def means(a: Any) -> Any:
    """Return the mean of every row, in float64."""
    return double(a).mean(1) if is_tensor(a) else a.mean(axis=1, dtype=np.float64)


def cosines(a: Any, b: Any, centre: bool = False) -> Any:
    """Return cosines between all rows of ``a`` and of ``b``; with ``centre`` Pearson's correlations. Zero norm: 0."""
    same = b is a
    if not centre:
        inner = dots(a, b)
        norms = _diagonal(inner) if same else squares(a)
        return scores_from(inner, norms, norms if same else squares(b))
    mean_a = means(a)
    mean_b = mean_a if same else means(b)
    if not is_tensor(a) and a.dtype == b.dtype == np.float64:
        shifted = _from_raw(a, b, mean_a, mean_b)
        if shifted is not None:
            return shifted
    inner = dots(a, b, mean_a, mean_b)
    norm_a = _diagonal(inner) if same else squares(a, mean_a)
    norm_b = norm_a if same else squares(b, mean_b)
    floor_a, floor_b = (TINY**2 * a.shape[1] * m**2 for m in (mean_a, mean_b))
    return scores_from(inner, norm_a, norm_b, floor_a, floor_b)


def _from_raw(a: np.ndarray, b: np.ndarray, mean_a: np.ndarray, mean_b: np.ndarray) -> np.ndarray | None:
    """Correlations from uncentred sums, one pass less; None where centring would cancel more than three digits."""
    n = a.shape[1]
    inner = a @ b.T
    raw_a = _diagonal(inner) if b is a else squares(a)
    raw_b = raw_a if b is a else squares(b)
    norm_a, norm_b = raw_a - n * mean_a**2, raw_b - n * mean_b**2
    if not ((norm_a > MILD * raw_a).all() and (norm_b > MILD * raw_b).all()):
        return None
    return scores_from(inner - n * mean_a[:, None] * mean_b, norm_a, norm_b)


def unit(tokens: Any, floor: Any = 0.0) -> Any:
    """Return rows scaled to norm 1; a row whose squared norm does not exceed ``floor`` becomes zero."""
    xp = lib(tokens)
    norm = (tokens * tokens).sum(1)
    none = norm <= floor
    scale = xp.where(none, xp.zeros_like(norm), xp.where(none, xp.ones_like(norm), norm) ** -0.5)
    return tokens * scale[:, None]


def _diagonal(inner: Any) -> Any:
    return inner.diagonal() if is_tensor(inner) else np.diagonal(inner).copy()


def _centre(part: Any, mean: Any) -> Any:
    return part.astype(np.float64, copy=False) if mean is None else np.subtract(part, mean[:, None], dtype=np.float64)


def _blocks(n_rows: int, n_columns: int) -> list[slice]:
    step = max(1024, BLOCK // max(n_rows, 1))
    return [slice(k, k + step) for k in range(0, n_columns, step)]
