"""How far apart are two sets of firing rates? Symmetrised Kullback-Leibler divergence between Poisson distributions.

    d_ij = sum_v (l_i - l_j) (log l_i - log l_j) / p,    l = (rate + prior_lambda prior_weight) / (1 + prior_weight)

Cross-validated over K folds with A_k the rates and L_k the log rates of fold k: every product takes rates and logs from
different folds, G = ((sum A_k)(sum L_k)' - sum A_k L_k') / (K (K - 1) p), d_ij = G_ii + G_jj - G_ij - G_ji.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.errors import EmptySelection
from neuro.rsa._distances import product, squared_pairs
from neuro.rsa._patterns import Patterns

PRIOR = (1.0, 0.1)  # lambda, weight


def poisson(P: Patterns, prior: tuple[float, float] = PRIOR) -> Any:
    """Symmetrised divergence between condition means, (n_pairs,), never negative."""
    return squared_pairs(_gram(P, prior), 1 / P.p)


def poisson_cv(P: Patterns, prior: tuple[float, float] = PRIOR) -> Any:
    """The same, cross-validated over folds; may be negative."""
    K = P.shape[0] if len(P.shape) == 2 else 1
    if K < 2:
        raise EmptySelection(
            f"cross-validation needs at least two folds, got {K}. Give folds=, one label per row, or use "
            "metric='poisson'."
        )
    return squared_pairs(_gram(P, prior), 1 / (K * (K - 1) * P.p), clip=False)


def smoothed(x: Any, prior: tuple[float, float] = PRIOR) -> Any:
    """Rates pulled towards the prior, (x + lambda w) / (1 + w); negative rates are an error."""
    strength, weight = check_prior(prior)
    if bool((x < 0).any()):
        raise ValueError(f"firing rates cannot be negative, got {float(x.min()):g}. Give rates before any z-scoring.")
    return (x + strength * weight) / (1 + weight)


def check_prior(prior: tuple[float, float]) -> tuple[float, float]:
    """Return (lambda, weight), both positive."""
    strength, weight = (float(x) for x in prior)
    if not (strength > 0 and weight > 0):
        raise ValueError(f"prior must be (lambda, weight), both above 0, got {tuple(prior)}.")
    return strength, weight


def _gram(P: Patterns, prior: tuple[float, float]) -> Any:
    """Symmetric part of A L', summed over pairs of folds if there are folds; centred, which changes no distance."""
    total: Any = 0
    for _, A in ((slice(None), P.array()),) if P.tensor else P.blocks():
        A = smoothed(A, prior)
        L = A.log() if P.tensor else np.log(A)
        A, L = _centred(A), _centred(L)
        if A.ndim == 2:
            total = total + product(A, L)
            continue
        total = total + product(A.sum(0), L.sum(0))
        for a, logs in zip(A, L, strict=True):
            total = total - product(a, logs)
    return (total + total.swapaxes(-1, -2)) / 2


def _centred(A: Any) -> Any:
    if is_tensor(A):
        return A - A.mean(-2, keepdim=True)
    return A - A.mean(-2, keepdims=True, dtype=np.float64).astype(A.dtype)
