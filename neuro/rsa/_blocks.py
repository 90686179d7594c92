"""Distances of more conditions than a square matrix has room for: blocks of rows of the upper triangle, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from neuro._check import check_option, check_positive_int, is_tensor
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa._distances import epsilon, inverse_norms, product, root
from neuro.rsa._patterns import Patterns, as_float
from neuro.rsa.noise import whitener_of

STREAMED = ("sqeuclidean", "euclidean", "correlation", "cosine", "mahalanobis")
LARGE = 8192  # conditions from which on the Gram matrix is not held whole
COLUMNS = 4096  # conditions that a block of rows meets at a time
BLOCK_BYTES = 128 * 2**20


def is_large(P: Patterns) -> bool:
    """Whether the square Gram matrix of these conditions would be too much."""
    return P.n > LARGE


def iter_blocks(
    X: Any, metric: str = "correlation", block: int | None = None, *, noise: Any = None, remove_mean: bool = False
) -> Iterator[tuple[slice, Any]]:
    """Iterate over an RDM that is too large to hold: (rows, their distances to all later conditions).

    The second item is the stretch of the condensed RDM that belongs to these rows i: pairs (i, j) for all j > i, row
    by row. All stretches in turn are the condensed RDM.

    Parameters
    ----------
    X : array or tensor (n_conditions, n_channels)
        Finite; a memory map is read in blocks of rows.
    metric : "sqeuclidean", "euclidean", "correlation", "cosine" or "mahalanobis"
    block : int, optional
        Rows per block; by default as many as make 128 MB of distances.
    noise : array (p, p) or (p,), optional
        Precision, for "mahalanobis".
    remove_mean : bool
        As in :func:`~neuro.rsa.rdm`.

    Examples
    --------
    >>> X = np.arange(12.0).reshape(4, 3) ** 2
    >>> [(rows, len(d)) for rows, d in iter_blocks(X, "sqeuclidean", 2)]
    [(slice(0, 2, None), 5), (slice(2, 4, None), 1)]
    """
    check_option("metric", metric, STREAMED)
    X = as_float(X)
    if X.ndim != 2:
        raise ShapeMismatch(f"expected patterns (n_conditions, n_channels), got shape {tuple(X.shape)}.")
    if len(X) < 2:
        raise EmptySelection(f"an RDM needs at least two conditions, got {len(X)}.")
    if noise is not None and metric != "mahalanobis":
        raise ValueError(f"metric={metric!r} takes no noise; mahalanobis does.")
    if remove_mean and metric in ("correlation", "cosine"):
        raise ValueError(f"metric={metric!r} takes no remove_mean.")
    n = len(X)
    rows = check_positive_int("block", block) if block is not None else max(1, BLOCK_BYTES // (8 * n))
    return _iterate(X, metric, min(rows, n), noise, remove_mean)


def _iterate(X: Any, metric: str, rows: int, noise: Any, remove_mean: bool) -> Iterator[tuple[slice, Any]]:
    n, p = X.shape
    prepare, mean = _preparation(X, metric, rows, noise, remove_mean)
    slices = [slice(i, min(i + rows, n)) for i in range(0, n, rows)]
    angular = metric in ("correlation", "cosine")
    squares = _join([_squared_norms(prepare(s)) for s in slices])
    if not bool((squares.isfinite() if is_tensor(squares) else np.isfinite(squares)).all()):
        raise ValueError("the data hold NaN or infinite values: leave these conditions or channels out.")
    if angular:
        what = "constant over channels" if metric == "correlation" else "zero"
        inverse = inverse_norms(squares, mean, p, epsilon(X), what)
    for a in slices:
        Y = prepare(a)
        parts = []
        for start in range(a.start, n, max(rows, COLUMNS)):
            b = slice(start, min(start + max(rows, COLUMNS), n))
            D = product(Y, prepare(b))
            if angular:
                D = 1 - D * inverse[a, None] * inverse[None, b]
            else:
                D = (squares[a, None] + squares[None, b] - 2 * D) / p
            parts.append(D.clip(0))
        d = _upper(_join(parts, axis=1))
        yield a, (root(d) if metric == "euclidean" else d)


def _preparation(X: Any, metric: str, rows: int, noise: Any, remove_mean: bool) -> tuple[Any, Any]:
    """Return a function from a slice of rows to patterns ready for products, and the patterns' own means."""
    tensor = is_tensor(X)
    own = remove_mean or metric == "correlation"
    centre = metric in ("sqeuclidean", "euclidean", "mahalanobis")
    W = None if noise is None else whitener_of(noise, X.shape[1], X)
    mean: Any = None
    if own:
        mean = X.mean(1, keepdim=True) if tensor else X.mean(1, keepdims=True, dtype=np.float64).astype(X.dtype)
    column: Any = 0
    if centre and tensor:
        column = (X if mean is None else X - mean).mean(0)
    elif centre:
        total = np.zeros(X.shape[1])
        for start in range(0, len(X), rows):
            total += X[start : start + rows].sum(0, dtype=np.float64)
        column = (total / len(X) - (0 if mean is None else mean.mean(dtype=np.float64))).astype(X.dtype)

    def prepare(s: slice) -> Any:
        Y = X[s] if tensor else np.ascontiguousarray(X[s])
        if mean is not None:
            Y = Y - mean[s]
        if centre:
            Y = Y - column
        return Y if W is None else (Y * W if W.ndim == 1 else Y @ W)

    return prepare, mean


def fill(P: Patterns, metric: str, noise: Any = None, remove_mean: bool = False) -> Any:
    """Return (n_pairs,) from :func:`iter_blocks`, in the dtype of the data."""
    X = P.array()
    blocks = iter_blocks(X, metric, noise=noise, remove_mean=remove_mean)
    if P.tensor:
        return _join([d for _, d in blocks])
    out, start = np.empty(P.n * (P.n - 1) // 2, X.dtype), 0
    for _, d in blocks:
        out[start : start + len(d)] = d
        start += len(d)
    return out


def _squared_norms(Y: Any) -> Any:
    if is_tensor(Y):
        return (Y.double() ** 2).sum(1) if Y.device.type != "mps" else (Y**2).sum(1)
    return np.einsum("ij,ij->i", Y, Y, dtype=np.float64)


def _upper(D: Any) -> Any:
    """Entries right of the diagonal of a block of rows; its columns start where its rows do."""
    size, width = D.shape
    if is_tensor(D):
        import torch

        return D[torch.ones((size, width), dtype=torch.bool, device=D.device).triu(1)]
    return np.concatenate([D[i, i + 1 :] for i in range(size)])


def _join(parts: list[Any], axis: int = 0) -> Any:
    if is_tensor(parts[0]):
        import torch

        return torch.cat(parts, axis)
    return np.concatenate(parts, axis)
