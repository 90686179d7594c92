"""Do two representations give stimuli the same neighbours?

    mutual kNN = mean_i |N_k^x(i) and N_k^y(i)| / k
    CKNNA      = debiased CKA with both kernels kept only where j is a neighbour of i in both

N_k(i): the k most similar stimuli other than i; of equally similar ones those that come first count.

References
----------
Huh, Cheung, Wang & Isola (2024), ICML (The platonic representation hypothesis).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import check_option, check_positive_int, is_tensor
from neuro.rsa._array import centred, double, features_pair, lib, like

SIMILARITIES = ("cosine", "inner", "euclidean")
BLOCK = 2**24  # similarities held at once


def nearest_neighbours(x: Any, k: int = 10, similarity: str = "cosine") -> Any:
    """Return indices (n, k) of the most similar stimuli, nearest first, oneself excluded; blocks of rows at a time.

    Parameters
    ----------
    x : array or tensor (n_stimuli, n_features)
    k : int, 1 to n - 1
    similarity : "cosine", "inner" (product) or "euclidean" (distance)
        Patterns of zero norm have cosine 0 with all.
    """
    check_option("similarity", similarity, SIMILARITIES)
    x, n = double(x), x.shape[0]
    if check_positive_int("k", k) >= n:
        raise ValueError(f"k must be below the number of stimuli ({n}), got {k}.")
    x, offset = _prepared(x, similarity)
    step = max(1, BLOCK // n)
    xp = lib(x)
    out = []
    for start in range(0, n, step):
        block = offset - x[start : start + step] @ x.T
        rows = np.arange(block.shape[0])
        block[rows, start + rows] = np.inf
        order = block.argsort(dim=1, stable=True) if is_tensor(x) else np.argsort(block, axis=1, kind="stable")
        out.append(order[:, :k])
    return xp.concatenate(out)


def mutual_knn(x: Any, y: Any, k: int = 10, similarity: str = "cosine") -> float:
    """Return the mean share of the k nearest neighbours that two representations have in common.

    Parameters
    ----------
    x, y : array or tensor (n_stimuli, n_features)
    k : int, 1 to n - 1
    similarity : "cosine", "inner" or "euclidean"

    Returns
    -------
    float, 0 to 1; k / (n - 1) by chance

    Examples
    --------
    >>> x = np.arange(12.0).reshape(6, 2) ** 2
    >>> mutual_knn(x, 3 * x, k=2)
    1.0
    """
    x, y = features_pair(x, y)
    left, right = (nearest_neighbours(z, k, similarity) for z in (x, y))
    shared = sum(float((left[:, i, None] == right).sum()) for i in range(k))
    return shared / (k * x.shape[0])


def cknna(x: Any, y: Any, k: int = 10, debiased: bool = True, similarity: str = "inner") -> Any:
    """Return CKA restricted to the neighbours that both representations share.

    Parameters
    ----------
    x, y : array or tensor (n_stimuli, n_features)
        Kernels are linear (of patterns scaled to norm 1 for "cosine").
    k : int, 2 to n - 1
        With n - 1 this is CKA.
    debiased : bool
        HSIC_1 of the masked kernels; else their plain sum of products after centring.
    similarity : "inner" or "cosine"

    Returns
    -------
    float or tensor (); NaN where a denominator is not positive
    """
    check_option("similarity", similarity, ["inner", "cosine"])
    check_positive_int("k", k, 2)
    original = x if is_tensor(x) else y
    x, y = features_pair(x, y, 4)
    kernels, masks = [], []
    for z in (x, y):
        near = nearest_neighbours(z, k, similarity)
        mask = z.new_zeros((len(z), len(z))) if is_tensor(z) else np.zeros((len(z), len(z)))
        mask[np.arange(len(z))[:, None], near] = 1.0
        z = _prepared(z, similarity)[0] if similarity == "cosine" else z
        z = centred(z)
        kernels.append(z @ z.T)
        masks.append(mask)
    product = _hsic_masked if debiased else lambda a, b: (a * b).sum()
    cross = product(kernels[0] * masks[0] * masks[1], kernels[1] * masks[0] * masks[1])
    norms = [product(kern * m, kern * m) for kern, m in zip(kernels, masks, strict=True)]
    positive = bool(norms[0] > 0) and bool(norms[1] > 0)
    value = cross / lib(x).sqrt(norms[0] * norms[1]) if positive else cross * np.nan
    return like(value, original) if is_tensor(value) else float(value)


def _hsic_masked(a: Any, b: Any) -> Any:
    """HSIC_1 of matrices with zero diagonals that need not be symmetric (the same for (a, b) and (b, a))."""
    n = a.shape[0]
    crossed = (a.sum(0) * b.sum(1)).sum() / 2 + (b.sum(0) * a.sum(1)).sum() / 2
    total = (a * b).sum() + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 * crossed / (n - 2)
    return total / (n * (n - 3))


def _prepared(x: Any, similarity: str) -> tuple[Any, Any]:
    """Features and an offset per stimulus such that offset_j - x_i . x_j grows as j gets less similar to i."""
    xp = lib(x)
    norms = (x * x).sum(1)
    if similarity == "euclidean":
        return x, norms[None, :] / 2
    if similarity == "cosine":
        x = x / xp.sqrt(xp.where(norms > 0, norms, xp.ones_like(norms)))[:, None]
    return x, 0.0
