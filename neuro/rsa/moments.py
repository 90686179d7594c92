"""Second moments of patterns, matrices between two runs, and framed RDMs: what an RDM leaves out.

    K = X X' / p,    K_cv = mean over folds k != l of A_k A_l' / p,    d_ij = K_ii + K_jj - 2 K_ij

K keeps where the patterns lie relative to zero, which distances forget; a matrix between runs keeps the distance of a
condition to itself; a framed RDM keeps the mean activation by adding two reference patterns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import check_option, is_tensor
from neuro.errors import ShapeMismatch
from neuro.rsa._distances import epsilon, gram, inverse_norms, product, root
from neuro.rsa._patterns import Patterns, as_float, make_plan
from neuro.rsa.container import RDMs
from neuro.rsa.crossnobis import fold_gram
from neuro.rsa.noise import whitener_of

CROSS_METRICS = ("sqeuclidean", "euclidean", "mahalanobis", "correlation", "cosine", "inner")


def second_moment(X: Any, *, noise: Any = None, centre: bool = False) -> Any:
    """Return K = X X' / p, (n_conditions, n_conditions).

    Parameters
    ----------
    X : array or tensor (n_conditions, n_channels)
    noise : array (p, p) or (p,), optional
        Precision of the noise, by which the patterns are whitened.
    centre : bool
        Subtract the mean pattern over conditions first.
    """
    X = _two(X)
    W = None if noise is None else whitener_of(noise, X.shape[1], X)
    diagonal = W is not None and W.ndim == 1
    X = X - _mean(X, 0) if centre else X
    P = Patterns(X, make_plan(len(X)))
    G, _ = gram(P, scale=W if diagonal else None, whiten=None if diagonal else W)
    return _whole(G, X) / P.p


def second_moment_cv(patterns: Any, *, noise: Any = None, centre: bool = False) -> Any:
    """Return the cross-validated second moment, (n_conditions, n_conditions): unbiased by noise, diagonal included.

    Parameters
    ----------
    patterns : array or tensor (n_folds, n_conditions, n_channels)
    noise : array (p, p) or (p,), or one per fold, optional
    centre : bool
        Subtract each fold's mean pattern over conditions first.

    References
    ----------
    Diedrichsen & Kriegeskorte (2017), PLoS Computational Biology 13, e1005508.
    """
    A = as_float(patterns, "patterns")
    A = A - _mean(A, -2) if centre else A
    if A.ndim != 3:
        raise ShapeMismatch(f"patterns must be (n_folds, n_conditions, n_channels), got shape {tuple(A.shape)}.")
    K, n, p = A.shape
    plan = make_plan(K * n, np.tile(np.arange(n), K), np.repeat(np.arange(K), n))
    return _whole(fold_gram(Patterns(A.reshape(K * n, p), plan), noise), A)


def cross_run(a: Any, b: Any, metric: str = "correlation", *, noise: Any = None) -> Any:
    """Return dissimilarities of every pattern of one run to every pattern of another, (n_a, n_b).

    Not symmetric, and its diagonal (a condition against itself in the other run) is data. It is no RDM: keep it as an
    array.

    Parameters
    ----------
    a, b : arrays or tensors (n_a, n_channels), (n_b, n_channels)
    metric : "correlation", "cosine", "sqeuclidean", "euclidean", "mahalanobis" or "inner"
        "inner" is the similarity x'y / p.
    noise : array (p, p) or (p,), optional
        Precision, for "mahalanobis" and "inner".
    """
    check_option("metric", metric, CROSS_METRICS)
    a, b = _two(a), _two(b)
    if a.shape[1] != b.shape[1]:
        raise ShapeMismatch(f"both runs need the same channels, got {a.shape[1]} and {b.shape[1]}.")
    if noise is not None and metric not in ("mahalanobis", "inner"):
        raise ValueError(f"metric={metric!r} takes no noise; mahalanobis and inner do.")
    p, like = a.shape[1], a
    if not is_tensor(a):
        a, b = a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)
    if noise is not None:
        W = whitener_of(noise, p, a)
        a, b = (a * W, b * W) if W.ndim == 1 else (a @ W, b @ W)
    if metric == "inner":
        return _cast(product(a, b) / p, like)
    means = None
    if metric == "correlation":
        means = [_mean(x, 1) for x in (a, b)]
        a, b = a - means[0], b - means[1]
    if metric in ("correlation", "cosine"):
        what = "constant over channels" if means else "zero"
        eps = epsilon(like)
        u, v = (
            inverse_norms((x**2).sum(1), None if means is None else means[k], p, eps, what)
            for k, x in enumerate((a, b))
        )
        return _cast((1 - product(a, b) * u[:, None] * v[None]).clip(0), like)
    middle = _mean(a, 0)
    a, b = a - middle, b - middle
    d = (((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * product(a, b)) / p).clip(0)
    return _cast(root(d) if metric == "euclidean" else d, like)


def framed(X: Any, constant: float = 1.0) -> Any:
    """Append two reference patterns, all 0 and all ``constant``: (n + 2, n_channels)."""
    X = _two(X)
    if not constant > 0:
        raise ValueError(f"constant must be above 0, in units of the responses, got {constant!r}.")
    frame = [0 * X[:1], 0 * X[:1] + constant]
    if is_tensor(X):
        import torch

        return torch.cat([X, *frame])
    return np.concatenate([X, *frame])


def framed_rdm(
    X: Any, metric: str = "sqeuclidean", *, conditions: Any = None, constant: float = 1.0, noise: Any = None
) -> RDMs:
    """Return the RDM of the patterns and of two references, conditions "zero" and "constant".

    Two regions with the same distances but different mean responses have the same RDM; their framed RDMs differ.

    Parameters
    ----------
    X : array or tensor (n_conditions, n_channels)
    metric : "sqeuclidean", "euclidean" or "mahalanobis"
        A constant pattern has no correlation distance.
    conditions : sequence of names, optional
    constant : float
        Value of the second reference, in units of the responses.
    noise : array (p, p) or (p,), optional
    """
    from neuro.rsa.estimate import rdm

    check_option("metric", metric, ("sqeuclidean", "euclidean", "mahalanobis"))
    patterns = framed(X, constant)
    names = [str(c) for c in (range(len(patterns) - 2) if conditions is None else conditions)]
    d = rdm(patterns, metric, noise=noise, conditions=[*names, "zero", "constant"])
    return d.with_dissimilarities(d.dissimilarities, framed=True, constant=constant)


def _two(X: Any) -> Any:
    X = as_float(X)
    if X.ndim != 2:
        raise ShapeMismatch(f"expected patterns (n_conditions, n_channels), got shape {tuple(X.shape)}.")
    finite = X.isfinite() if is_tensor(X) else np.isfinite(X)
    if not bool(finite.all()):
        raise ValueError(f"the patterns hold {int((~finite).sum())} NaN or infinite values: leave these channels out.")
    return X


def _mean(x: Any, axis: int) -> Any:
    return x.mean(axis, keepdim=True) if is_tensor(x) else x.mean(axis, keepdims=True)


def _whole(G: Any, like: Any) -> Any:
    if is_tensor(G):
        return G.to(like.dtype)
    return (np.triu(G) + np.triu(G, 1).T).astype(like.dtype, copy=False)


def _cast(d: Any, like: Any) -> Any:
    return d.to(like.dtype) if is_tensor(d) else d.astype(like.dtype, copy=False)
