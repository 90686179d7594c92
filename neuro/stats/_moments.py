"""The five sums that every score here is made of, for numpy arrays and torch tensors alike."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.errors import ShapeMismatch

# Elements of one block of voxels: 32 MB in float64.
BLOCK_ELEMENTS = 2**22


@dataclass(frozen=True)
class Moments:
    """Sums over rows, per voxel (with a leading axis where there is one set of weights per resample).

    ``n`` rows (or sum of weights), ``shift`` = mean of y - mean of y_hat, ``yy`` and ``pp`` = sums of squares of y and
    y_hat about their means, ``yp`` = sum of products. A constant y has ``yy`` NaN, since nothing can be said about it;
    a constant y_hat has ``pp`` 0.
    """

    n: Any
    shift: Any
    yy: Any
    pp: Any
    yp: Any


def correlation_of(m: Moments) -> Any:
    """Pearson r: yp / sqrt(yy pp); 0 where the prediction is constant."""
    xp = namespace(m.yy)
    flat = m.pp == 0
    scale = (m.yy**0.5) * xp.where(flat, xp.ones_like(m.pp), m.pp) ** 0.5
    r = m.yp / scale
    return xp.where(flat, 0 * m.yy, r.clip(-1, 1))


def r2_of(m: Moments) -> Any:
    """1 - sum (y - y_hat)^2 / yy."""
    return 1 - (m.yy - 2 * m.yp + m.pp + m.n * m.shift**2) / m.yy


def explained_variance_of(m: Moments) -> Any:
    """1 - variance of (y - y_hat) / variance of y."""
    return 1 - (m.yy - 2 * m.yp + m.pp) / m.yy


FORMULAS: dict[str, Callable[[Moments], Any]] = {
    "pearson_r": correlation_of,
    "r2": r2_of,
    "explained_variance": explained_variance_of,
}


def moments(Y: Any, Y_hat: Any) -> Moments:
    """Return the moments of one block, in float64."""
    xp = namespace(Y)
    y, p = double(Y), double(Y_hat)
    my, mp = y.mean(0), p.mean(0)
    constant = (y == y[:1]).all(0), (p == p[:1]).all(0)
    y, p = y - my, p - mp
    yy, pp, yp = (y * y).sum(0), (p * p).sum(0), (y * p).sum(0)
    zero = xp.zeros_like(pp)
    return Moments(len(y), my - mp, xp.where(constant[0], zero + np.nan, yy), xp.where(constant[1], zero, pp), yp)


def namespace(x: Any) -> ModuleType:
    """Return torch for a tensor, else numpy."""
    return sys.modules["torch"] if is_tensor(x) else np


def double(x: Any) -> Any:
    """Return ``x`` in float64 (float32 on devices that have no float64)."""
    if is_tensor(x):
        torch = sys.modules["torch"]
        return x.to(torch.float32 if x.device.type == "mps" else torch.float64)
    return np.asarray(x, dtype=np.float64)


def is_single(x: Any) -> bool:
    """Whether ``x`` holds floats of at most 32 bits."""
    return str(x.dtype).removeprefix("torch.") in ("float32", "float16", "bfloat16")


def as_columns(Y: Any, Y_hat: Any, max_ndim: int | None = None) -> tuple[Any, Any, tuple[int, ...]]:
    """Return both as (n_rows, n_columns) and the shape of a result; one tensor makes the other one, on its device."""
    if is_tensor(Y) or is_tensor(Y_hat):
        torch = sys.modules["torch"]
        device = (Y_hat if is_tensor(Y_hat) else Y).device
        Y, Y_hat = (x.detach().to(device) if is_tensor(x) else torch.tensor(x, device=device) for x in (Y, Y_hat))
        numeric = not (Y.is_complex() or Y_hat.is_complex())
    else:
        Y, Y_hat = np.asanyarray(Y), np.asanyarray(Y_hat)
        numeric = Y.dtype.kind in "fiub" and Y_hat.dtype.kind in "fiub"
    if not numeric:
        raise ShapeMismatch(f"responses and predictions must be real numbers, got {Y.dtype} and {Y_hat.dtype}.")
    if tuple(Y.shape) != tuple(Y_hat.shape) or Y.ndim < 1:
        y, p = tuple(Y.shape), tuple(Y_hat.shape)
        hint = " One of them looks transposed." if y == p[::-1] else ""
        raise ShapeMismatch(f"Y and Y_hat must have one shape (n_stimuli, n_voxels), got {y} and {p}.{hint}")
    if max_ndim is not None and Y.ndim > max_ndim:
        raise ShapeMismatch(f"expected (n_stimuli, n_voxels), got shape {tuple(Y.shape)}: select one time first.")
    if Y.shape[0] < 2:
        raise ShapeMismatch(f"a score needs at least 2 rows, got {Y.shape[0]}.")
    shape = tuple(int(s) for s in Y.shape[1:])
    columns = int(np.prod(shape))
    return Y.reshape(Y.shape[0], columns), Y_hat.reshape(Y.shape[0], columns), shape


def column_blocks(n_columns: int, n_rows: int, elements: int = BLOCK_ELEMENTS, smallest: int = 1) -> Iterator[slice]:
    """Slices over columns such that rows x columns stays near ``elements``."""
    step = max(smallest, elements // max(int(n_rows), 1))
    for start in range(0, n_columns, step):
        yield slice(start, min(start + step, n_columns))


def to_numpy(x: Any) -> np.ndarray:
    """Return a numpy array of a tensor or array."""
    return x.detach().cpu().numpy() if is_tensor(x) else np.asarray(x)
