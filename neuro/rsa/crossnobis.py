"""Cross-validated squared Mahalanobis distance: which conditions differ reliably from fold to fold?

With A_k (n, p) the whitened condition means of fold k = 1..K and S their sum, the average over all ordered pairs of
different folds is

    G = (S S' - sum_k A_k A_k') / (K (K - 1) p),    d_ij = G_ii + G_jj - 2 G_ij.

Noise of different folds is independent, so its expectation is the true squared distance over p: 0 for identical
patterns. Negative values are legitimate and are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from neuro._check import check_positive_int, is_tensor
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa._distances import Accumulator, product, squared_pairs
from neuro.rsa._pairs import n_from_pairs, pair_indices
from neuro.rsa._patterns import Patterns, as_float, make_plan
from neuro.rsa.noise import invert, whitener_of

MAX_COVARIANCE_BYTES = 8 * 2**30


def crossnobis(patterns: Any, noise: Any = None, *, remove_mean: bool = False) -> Any:
    """Return cross-validated squared Mahalanobis distances over n_channels, (n_pairs,).

    Parameters
    ----------
    patterns : array or tensor (n_folds, n_conditions, n_channels)
        Condition means of every fold, at least two folds.
    noise : array (p, p) or (p,), or a list of n_folds of them, optional
        Precision of the noise, whole or its diagonal; the identity by default, which costs nothing. With one per fold
        each pair of folds k, l is whitened by the inverse of the mean of their covariances.
    remove_mean : bool
        Subtract each pattern's mean over channels.

    Raises
    ------
    ShapeMismatch, EmptySelection, ValueError

    References
    ----------
    Walther et al. (2016), NeuroImage 137, 188-200.
    """
    A = as_float(patterns, "patterns")
    if A.ndim != 3:
        raise ShapeMismatch(f"patterns must be (n_folds, n_conditions, n_channels), got shape {tuple(A.shape)}.")
    K, n, p = A.shape
    plan = make_plan(K * n, np.tile(np.arange(n), K), np.repeat(np.arange(K), n))
    return crossnobis_of(Patterns(A.reshape(K * n, p), plan), noise, remove_mean)


def crossnobis_of(P: Patterns, noise: Any = None, remove_mean: bool = False) -> Any:
    """The same of :class:`Patterns` with folds."""
    return squared_pairs(fold_gram(P, noise, centre=True, remove_mean=remove_mean), 1.0, clip=False)


def fold_gram(P: Patterns, noise: Any = None, centre: bool = False, remove_mean: bool = False) -> Any:
    """G of the module's equation, (n, n): the cross-validated second moment of the patterns over channels.

    For numpy the upper triangle is filled, and for two folds all of it.
    """
    K = P.shape[0] if len(P.shape) == 2 else 1
    if K < 2:
        raise EmptySelection(
            f"cross-validation needs at least two folds (runs, sessions, repeats), got {K}. Give folds=, one label "
            "per row, or use metric='mahalanobis'."
        )
    if isinstance(noise, (list, tuple)) or (noise is not None and noise.ndim == 3):
        return _fold_gram_of_pairs(P, list(noise), centre, remove_mean)
    W = None if noise is None else whitener_of(noise, P.p, P.X)
    if P.tensor or (W is not None and W.ndim == 2):
        A = _prepared(P.array(), centre, remove_mean)
        A = A if W is None else (A * W if W.ndim == 1 else A @ W)
        if P.tensor:
            S = A.sum(0)
            G = product(S, S) - sum(product(a, a) for a in A)
            return (G + G.swapaxes(-1, -2)) / (2 * K * (K - 1) * P.p)
        blocks: Any = ((slice(None), A),)
        W = None
    else:
        blocks = P.blocks(centre, P.channel_means() if remove_mean else None)
    if K == 2:
        return _gram_of_two(P, blocks, W)
    total = Accumulator(P.n, np.float64 if not isinstance(blocks, Iterator) else P.X.dtype)
    for columns, A in blocks:
        if W is not None:
            A *= W[columns].astype(A.dtype)
        total.add(A.sum(0))
        for a in A:
            total.add(a, -1.0)
    return total.upper() / (K * (K - 1) * P.p)


def _gram_of_two(P: Patterns, blocks: Any, W: Any) -> np.ndarray:
    total = np.zeros((P.n, P.n))
    for columns, A in blocks:
        if W is not None:
            A *= W[columns].astype(A.dtype)
        total += A[0] @ A[1].T
    total += total.T.copy()
    total /= 2 * P.p
    return total


def _prepared(A: Any, centre: bool, remove_mean: bool) -> Any:
    if is_tensor(A):
        A = A - A.mean(-1, keepdim=True) if remove_mean else A
        return A - A.mean(-2, keepdim=True) if centre else A
    A = A - A.mean(-1, keepdims=True, dtype=np.float64) if remove_mean else A
    return A - A.mean(-2, keepdims=True, dtype=np.float64) if centre else A.astype(np.float64)


def _fold_gram_of_pairs(P: Patterns, noise: list[Any], centre: bool, remove_mean: bool) -> Any:
    """Mean over pairs of folds, each whitened by the inverse of the mean of their two covariances."""
    K = P.shape[0]
    if len(noise) != K:
        raise ShapeMismatch(f"a list of precisions must have one for each of {K} folds, got {len(noise)}.")
    if len({x.ndim for x in noise}) != 1:
        raise ShapeMismatch("the precisions of all folds must be matrices, or all diagonals.")
    for x in noise:
        whitener_of(x, P.p, P.X)
    if P.tensor:
        import torch

        noise = [x if is_tensor(x) else torch.tensor(np.asarray(x)) for x in noise]
        noise = [x.to(P.X.device, P.X.dtype) for x in noise]
    else:
        noise = [np.asarray(x, dtype=np.float64) for x in noise]
    covariances = [invert(x) for x in noise]
    A, total = _prepared(P.array(), centre, remove_mean), 0
    for k in range(K):
        for other in range(k + 1, K):
            W = whitener_of(invert((covariances[k] + covariances[other]) / 2), P.p, P.X)
            a, b = (A[k] * W, A[other] * W) if W.ndim == 1 else (A[k] @ W, A[other] @ W)
            G = product(a, b)
            total = total + G + G.swapaxes(-1, -2)
    return total / (K * (K - 1) * P.p)


def crossnobis_covariance(
    n_folds: int,
    *,
    n_conditions: int | None = None,
    n_channels: int | None = None,
    patterns: Any = None,
    dissimilarities: Any = None,
    sigma_k: Any = None,
    sigma_r: Any = None,
    signal: bool = True,
) -> np.ndarray:
    """Return the sampling covariance of crossnobis dissimilarities, (n_pairs, n_pairs).

    V = [4 D o X / M + 2 X o X / (M (M - 1))] tr(R R) / p^2 with M folds, X = C sigma_k C' and C the contrasts of all
    pairs, D = C U U' C' / p of the true patterns U (n, p), R the covariance between channels that whitening left, and o
    the elementwise product. For spherical noise the factor tr(R R) / p^2 is 1 / p.

    Parameters
    ----------
    n_folds : int, >= 2
    n_conditions, n_channels : int, optional
        Needed where neither patterns nor dissimilarities (nor sigma_k, sigma_r) tell.
    patterns : array (n, p), optional
        True (or estimated) whitened patterns, for the term that depends on the signal.
    dissimilarities : array (n_pairs,), optional
        Squared distances over p instead of patterns: D follows from them.
    sigma_k : array (n, n) or (n,), optional
        Covariance of the estimated condition means of one fold; the identity by default.
    sigma_r : array (p, p), optional
        The identity by default.
    signal : bool
        Include the first term, which needs patterns or dissimilarities. Whitened comparisons of RDMs use the second
        term alone.

    References
    ----------
    Diedrichsen et al. (2021), Neurons, Behavior, Data analysis, and Theory 5(3).
    """
    M = check_positive_int("n_folds", n_folds, 2)
    U = None if patterns is None else np.asarray(patterns, float)
    d = None if dissimilarities is None else np.asarray(dissimilarities, float).reshape(-1)
    K = None if sigma_k is None else np.asarray(sigma_k, float)
    R = None if sigma_r is None else np.asarray(sigma_r, float)
    sizes = [n_conditions, *(len(x) for x in (U, K) if x is not None), None if d is None else n_from_pairs(len(d))]
    n = _one_size("conditions", sizes)
    p = _one_size("channels", [n_channels, None if U is None else U.shape[1], None if R is None else len(R)])
    n_pairs = n * (n - 1) // 2
    if 8 * n_pairs**2 > MAX_COVARIANCE_BYTES:
        raise ValueError(f"the covariance of {n_pairs:,} pairs needs {8 * n_pairs**2 / 2**30:,.0f} GiB; take fewer.")
    if signal and U is None and d is None:
        raise ValueError("the signal's term needs patterns= or dissimilarities=; signal=False leaves it out.")
    i, j = pair_indices(n)
    K = np.eye(n) if K is None else np.diag(K) if K.ndim == 1 else K
    X = _contrast(K, i, j)
    V = 2 * X * X / (M * (M - 1))
    if signal:
        if U is not None:
            G = U @ U.T / p
        else:
            square = np.zeros((n, n))
            square[i, j] = square[j, i] = d
            G = -0.5 * square  # C G C' is that of the centred matrix
        V += 4 * _contrast(G, i, j) * X / M
    return V * ((R * R.T).sum() / p**2 if R is not None else 1 / p)


def _contrast(K: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """C K C' for the contrasts of pairs (i, j)."""
    rows = K[i] - K[j]
    return rows[:, i] - rows[:, j]


def _one_size(name: str, sizes: Sequence[int | None]) -> int:
    known = {int(s) for s in sizes if s is not None}
    if len(known) != 1:
        what = "is not known: give it" if not known else f"differs between arguments: {sorted(known)}"
        raise ShapeMismatch(f"the number of {name} {what}.")
    return known.pop()
