"""Distances between the rows of X (n, p) from one Gram matrix: G = Y Y', d_ij = G_ii + G_jj - 2 G_ij.

Where the distance allows it, the mean over conditions is subtracted first: it changes no distance and keeps the Gram
matrix from cancelling. numpy data pass in blocks of channels, so that no centred or normalised copy of them is made,
and the Gram matrix is summed in float64, from products in the precision of the data. Tensors take the same formulas
whole, and carry gradients.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.rsa._pairs import pair_indices, to_condensed
from neuro.rsa._patterns import Patterns

LOSS = 100.0  # |mean|^2 over variance up to which centring may wait until after the products
SMALL = 160  # conditions up to which all pairs are gathered at once rather than row by row


# Gram matrices


def gram(
    P: Patterns, centre: bool = False, remove_mean: bool = False, scale: Any = None, whiten: Any = None
) -> tuple[Any, Any]:
    """Return (G, mean): the (n, n) Gram matrix, of which the upper triangle is filled, and each pattern's own mean.

    Parameters
    ----------
    centre : bool
        Subtract a pattern common to all conditions, near their mean, for distances.
    remove_mean : bool
        Subtract each pattern's mean over channels.
    scale : (p,), optional
        Multiplies the channels.
    whiten : (p, q), optional
        Multiplies the patterns from the right.
    """
    if P.tensor:
        return _gram_tensor(P.array(), centre, remove_mean, scale, whiten)
    mean = P.channel_means() if remove_mean else None
    if whiten is None and scale is None and P.whole and not (centre and remove_mean):
        G = _direct(P.X, centre, mean)
        if G is not None:
            return G, mean
    if whiten is not None:
        Y = P.array() - (0 if mean is None else mean)
        if centre:
            Y = Y - Y.mean(-2, keepdims=True, dtype=np.float64)
        P = Patterns(Y @ whiten, _identity_of(Y))
        mean_here, centre = None, False
    else:
        mean_here = mean
    G = Accumulator(P.n, P.X.dtype)
    for columns, Y in P.blocks(centre, mean_here):
        if scale is not None:
            Y *= np.asarray(scale[columns], Y.dtype)
        G.add(Y)
    return G.upper(), mean


def _direct(X: np.ndarray, centre: bool, mean: np.ndarray | None) -> np.ndarray | None:
    """Gram matrix without a copy of X, centred afterwards; None where float64 would lose more than two digits so."""
    step, p = max(1, len(X) // 16), X.shape[1]
    sample = X[::step]
    if mean is not None:
        spread = ((sample - mean[::step]) ** 2).sum(1)
        if not (p * mean[::step, 0] ** 2 < LOSS * spread).all():
            return None
    if centre and len(X) > SMALL:
        common = sample.mean(0)
        spread = ((sample - common) ** 2).sum() / len(sample)
        if not common @ common <= LOSS * spread:
            return None
    if len(X) <= SMALL:
        G = X @ X.T
        if centre and not G.sum() / len(X) <= LOSS * (G.trace() - G.sum() / len(X)):
            return None  # n |mean|^2 and the sum of squares around it
    else:
        total = Accumulator(len(X), X.dtype)
        total.add(X)
        G = total.upper()
    if mean is not None:
        raw, m = G.diagonal(), mean[:, 0]
        if not (raw <= 2 * LOSS * (raw - p * m**2)).all():
            return None
        G -= np.outer(m * p, m)
    return G


class Accumulator:
    """Sum of Y Y' over blocks, by BLAS' symmetric product: half of the work, and no temporary in float64."""

    def __init__(self, n: int, dtype: Any):
        from scipy.linalg.blas import dsyrk, ssyrk

        self._single = dtype == np.float32
        self._syrk = ssyrk if self._single else dsyrk
        self._sum = np.zeros((n, n), order="F")

    def add(self, Y: np.ndarray, sign: float = 1.0) -> None:
        """Add ``sign`` times Y Y', Y (n, b) C-ordered."""
        if self._single:
            self._sum += self._syrk(sign, Y.T, trans=1, lower=1)
        else:
            self._sum = self._syrk(sign, Y.T, 1.0, self._sum, trans=1, lower=1, overwrite_c=1)

    def upper(self) -> np.ndarray:
        """Return the matrix, C-ordered, with its upper triangle filled."""
        return self._sum.T


def _gram_tensor(X: Any, centre: bool, remove_mean: bool, scale: Any, whiten: Any) -> tuple[Any, Any]:
    mean = X.mean(-1, keepdim=True) if remove_mean else None
    Y = X if mean is None else X - mean
    if centre:
        Y = Y - Y.mean(-2, keepdim=True)
    if scale is not None:
        Y = Y * scale
    if whiten is not None:
        Y = Y @ whiten
    return product(Y, Y), mean


def product(Y: Any, Z: Any, width: int = 8192) -> Any:
    """Y Z' over the last axis; a float32 tensor is multiplied in blocks that are summed in float64."""
    if not is_tensor(Y) or Y.element_size() != 4 or Y.device.type == "mps":
        return Y @ Z.swapaxes(-1, -2)
    blocks = [slice(start, start + width) for start in range(0, Y.shape[-1], width)]
    total: Any = 0
    for b in blocks:
        total = total + (Y[..., b] @ Z[..., b].swapaxes(-1, -2)).double()
    return total


# From Gram matrices to pairs


def squared_pairs(G: Any, scale: float = 1.0, clip: bool = True) -> Any:
    """Condensed scale * (g_i + g_j - 2 G_ij) of symmetric (..., n, n); negative rounding errors become 0."""
    n = G.shape[-1]
    if is_tensor(G) or n <= SMALL or G.ndim > 2:
        i, j = _indices(n, G)
        g = G.diagonal(0, -2, -1)
        if not is_tensor(G) and G.ndim == 2:
            d = g.take(i) + g.take(j)
            d -= 2 * G.take(i * n + j)
            d *= scale
        else:
            d = (g[..., i] + g[..., j] - 2 * to_condensed(G)) * scale
        if not clip:
            return d
        return d.clamp(min=0) if is_tensor(d) else np.maximum(d, 0, out=d)
    g = G.diagonal().copy()
    d, start = np.empty(n * (n - 1) // 2), 0
    for i in range(n - 1):
        row = d[start : start + n - 1 - i]
        np.multiply(G[i, i + 1 :], -2.0, out=row)
        row += g[i + 1 :]
        row += g[i]
        start += n - 1 - i
    d *= scale
    return np.maximum(d, 0, out=d) if clip else d


def cosine_pairs(G: Any, inverse: Any) -> Any:
    """Condensed 1 - G_ij u_i u_j of symmetric (..., n, n), u = inverse norms (..., n); never below 0."""
    n = G.shape[-1]
    if is_tensor(G) or n <= SMALL or G.ndim > 2:
        i, j = _indices(n, G)
        d = 1 - to_condensed(G) * inverse[..., i] * inverse[..., j]
        return d.clamp(min=0) if is_tensor(d) else np.maximum(d, 0, out=d)
    d, start = np.empty(n * (n - 1) // 2), 0
    for i in range(n - 1):
        row = d[start : start + n - 1 - i]
        np.multiply(G[i, i + 1 :], inverse[i + 1 :], out=row)
        row *= -inverse[i]
        start += n - 1 - i
    d += 1.0
    return np.maximum(d, 0, out=d)


def root(d: Any) -> Any:
    """Square root whose gradient at 0 is 0 rather than infinite."""
    if not is_tensor(d):
        return np.sqrt(d)
    import torch

    positive = d > 0
    rooted = torch.sqrt(torch.where(positive, d, torch.ones_like(d)))
    return torch.where(d.isnan(), d, torch.where(positive, rooted, torch.zeros_like(d)))


def inverse_norms(g: Any, mean: Any, p: int, eps: float, what: str) -> Any:
    """1 / sqrt(g), NaN where a pattern is constant (or zero): where g is no more than the rounding of its mean."""
    floor = 0.0 if mean is None else p * (16 * eps * mean[..., 0]) ** 2
    flat = g <= floor
    count = int(flat.sum())
    if count:
        warnings.warn(
            f"{count} of {int(np.prod(g.shape))} patterns are {what}, so their distances are undefined (NaN). "
            "Leave these conditions out, or use metric='sqeuclidean'.",
            stacklevel=2,
        )
    if not is_tensor(g):
        with np.errstate(divide="ignore"):
            return np.where(flat, np.nan, 1 / np.sqrt(np.where(flat, 1.0, g)))
    import torch

    safe = torch.where(flat, torch.ones_like(g), g)
    return torch.where(flat, torch.full_like(g, float("nan")), safe.rsqrt())


def epsilon(x: Any) -> float:
    """Rounding unit of the data's dtype."""
    size = x.element_size() if is_tensor(x) else x.dtype.itemsize
    return 2.0**-23 if size == 4 else 2.0**-52


def _indices(n: int, like: Any) -> tuple[Any, Any]:
    i, j = pair_indices(n)
    if not is_tensor(like):
        return i, j
    import torch

    return torch.tensor(i, device=like.device), torch.tensor(j, device=like.device)


def _identity_of(Y: np.ndarray) -> Any:
    from neuro.rsa._patterns import make_plan

    return make_plan(len(Y))


# Metrics


def sqeuclidean(P: Patterns, remove_mean: bool = False) -> Any:
    """|x_i - x_j|^2 / p."""
    return squared_pairs(gram(P, centre=True, remove_mean=remove_mean)[0], 1 / P.p)


def euclidean(P: Patterns, remove_mean: bool = False) -> Any:
    """|x_i - x_j| / sqrt(p)."""
    return root(sqeuclidean(P, remove_mean))


def correlation(P: Patterns) -> Any:
    """1 - Pearson correlation over channels."""
    G, mean = gram(P, remove_mean=True)
    return cosine_pairs(G, inverse_norms(G.diagonal(0, -2, -1), mean, P.p, epsilon(P.X), "constant over channels"))


def cosine(P: Patterns) -> Any:
    """1 - cosine of the angle between patterns."""
    G, _ = gram(P)
    return cosine_pairs(G, inverse_norms(G.diagonal(0, -2, -1), None, P.p, epsilon(P.X), "zero"))


def mahalanobis(P: Patterns, whitener: Any = None, remove_mean: bool = False) -> Any:
    """(x_i - x_j)' W W' (x_i - x_j) / p; the whitener W is (p, p), (p,) for a diagonal, or None for the identity."""
    diagonal = whitener is not None and whitener.ndim == 1
    G, _ = gram(
        P,
        centre=True,
        remove_mean=remove_mean,
        scale=whitener if diagonal else None,
        whiten=None if diagonal else whitener,
    )
    return squared_pairs(G, 1 / P.p)


def batched(X: Any, metric: str, remove_mean: bool = False) -> Any:
    """Distances of many small data sets at once: (..., n, p) -> (..., n_pairs)."""
    tensor = is_tensor(X)
    mean = None
    if metric == "correlation" or remove_mean:
        mean = X.mean(-1, keepdim=True) if tensor else X.mean(-1, keepdims=True, dtype=np.float64)
        X = X - (mean if tensor else mean.astype(X.dtype))
    if metric in ("sqeuclidean", "euclidean"):
        X = X - (X.mean(-2, keepdim=True) if tensor else X.mean(-2, keepdims=True))
    G = product(X, X)
    if not tensor:
        G = G.astype(np.float64, copy=False)
    if metric in ("sqeuclidean", "euclidean"):
        d = squared_pairs(G, 1 / X.shape[-1])
        return root(d) if metric == "euclidean" else d
    what = "constant over channels" if metric == "correlation" else "zero"
    return cosine_pairs(G, inverse_norms(G.diagonal(0, -2, -1), mean, X.shape[-1], epsilon(X), what))


BATCHED = ("sqeuclidean", "euclidean", "correlation", "cosine")
