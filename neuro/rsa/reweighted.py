"""How well does a model predict an RDM if its features may be weighted?

The dissimilarity predicted for stimuli i and j is sum_v theta_v (x_iv - x_jv)^2 up to a constant, with ridge weights,
non-negative by default. Weights and penalty are found on training stimuli, scores on pairs of test stimuli; pairs
across the split are not used. The P x p matrix of predictors is never built: with features centred on the training
stimuli and L the graph Laplacian of their RDM,

    sum_(i<j) (a_i - a_j)^2 (b_i - b_j)^2 = n sum a^2 b^2 + sum a^2 sum b^2 + 2 (sum a b)^2
    sum_(i<j) (a_i - a_j)^2 d_ij = a' L a.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, check_positive_int, is_tensor
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa._pairs import pair_indices, to_square
from neuro.rsa.container import as_rdms

ALPHAS = tuple(float(a) for a in np.logspace(-4, 3, 15))
FEWEST = 9  # stimuli; three folds of three


@dataclass(frozen=True, eq=False)
class ReweightedResult:
    """Result of :func:`feature_reweighted`.

    Parameters
    ----------
    rdms : tuple of str
    scores, unweighted : array (n_rdms,)
        Mean similarity over test folds of the reweighted prediction, and of equal weights on the same pairs.
    fold_scores : array (n_rdms, n_repeats * n_folds)
        NaN for folds with fewer than three stimuli, whose pairs cannot be correlated.
    alphas : array (n_rdms, n_repeats * n_folds)
        Penalties chosen within the training stimuli, in units of the mean squared length of the predictors.
    weights : array (n_rdms, n_features)
        From all stimuli with the median penalty.
    fold_sizes : tuple of int
        Test stimuli per fold. Scores depend on it; compare only scores with the same.
    method : str
    nonnegative : bool
    """

    rdms: tuple[str, ...]
    scores: np.ndarray
    unweighted: np.ndarray
    fold_scores: np.ndarray
    alphas: np.ndarray
    weights: np.ndarray
    fold_sizes: tuple[int, ...]
    method: str
    nonnegative: bool

    def to_frame(self) -> pd.DataFrame:
        """Return one row per RDM."""
        return pd.DataFrame(
            {
                "rdm": self.rdms,
                "score": self.scores,
                "unweighted": self.unweighted,
                "alpha": np.median(self.alphas, axis=1),
                "method": self.method,
                "fold_size": min(self.fold_sizes),
            }
        )


def feature_reweighted(
    features: Any,
    rdms: Any,
    method: str = "corr",
    *,
    nonnegative: bool = True,
    alphas: Any = ALPHAS,
    folds: int | None = None,
    inner_folds: int = 4,
    n_repeats: int = 1,
    rng: int | np.random.Generator | None = 0,
) -> ReweightedResult:
    """Fit a weight per feature to data RDMs and score it on other stimuli.

    Parameters
    ----------
    features : array or tensor (n_stimuli, n_features)
        As they are; scale them first if the penalty should treat them alike.
    rdms : RDMs or array
        Data, each RDM fitted for itself; stimuli in the order of the features.
    method : str
        Measure of test scores, one that ignores a constant: "corr", "spearman", "rho-a", "tau-a", "tau-b", "corr_cov".
    nonnegative : bool
        Weights >= 0, without which predictions need not be dissimilarities.
    alphas : sequence of float, > 0
        Penalties to choose from, in units of the mean squared length of the predictors.
    folds : int, optional
        Outer folds over stimuli: 5 from 14 stimuli on, else n // 3 by default.
    inner_folds : int
        Folds within the training stimuli; fewer where these are few.
    n_repeats : int
    rng : int, Generator or None

    Returns
    -------
    ReweightedResult

    Raises
    ------
    EmptySelection
        Fewer than 9 stimuli.

    References
    ----------
    Kaniuth & Hebart (2022), NeuroImage 257, 119294. Storrs et al. (2021), J. Cogn. Neurosci. 33, 2044-2064.
    """
    check_option("method", method, ["corr", "spearman", "rho-a", "tau-a", "tau-b", "corr_cov"])
    x = features.detach().cpu().numpy() if is_tensor(features) else np.asarray(features)
    x = x.astype(float)
    data = as_rdms(rdms).numpy()
    d = np.asarray(data.dissimilarities, float)
    n = data.n_conditions
    if x.ndim != 2 or len(x) != n:
        raise ShapeMismatch(f"features must be ({n}, n_features) for RDMs of {n} stimuli, got shape {x.shape}.")
    if not np.isfinite(x).all() or not np.isfinite(d).all():
        raise ValueError("features or dissimilarities contain NaN or infinite values; select complete stimuli.")
    if n < FEWEST:
        raise EmptySelection(f"nested folds over stimuli need at least {FEWEST} of them, got {n}.")
    penalties = np.sort(np.asarray(list(alphas), float))
    if not penalties.size or (penalties <= 0).any():
        raise ValueError(f"alphas must be positive, got {list(alphas)}.")
    k = check_positive_int("folds", folds, 2) if folds is not None else (5 if n >= 14 else n // 3)
    if n < 3 * k - 1:
        raise EmptySelection(f"{k} folds of three stimuli need {3 * k}, got {n}; use at most {n // 3} folds.")
    check_positive_int("inner_folds", inner_folds, 2)
    check_positive_int("n_repeats", n_repeats)
    generator = as_rng(rng)
    fold = np.stack([generator.permutation(n) % k for _ in range(n_repeats)])
    inner_order = [[generator.permutation(int((f != j).sum())) for j in range(k)] for f in fold]
    squares = to_square(d)
    scores, plain, chosen = (np.full((len(d), n_repeats * k), np.nan) for _ in range(3))
    for r in range(n_repeats):
        for j in range(k):
            test, train = np.flatnonzero(fold[r] == j), np.flatnonzero(fold[r] != j)
            alpha = _choose(x[train], squares[:, train][:, :, train], method, nonnegative, penalties, inner_folds,
                            inner_order[r][j])  # fmt: skip
            at = r * k + j
            chosen[:, at] = alpha
            if len(test) < 3:
                continue
            theta = _weights(x[train], squares[:, train][:, :, train], nonnegative, alpha)
            target = _upper(squares[:, test][:, :, test])
            scores[:, at] = _scored(_predicted(x[test], theta), target, method)
            plain[:, at] = _scored(_predicted(x[test], np.ones_like(theta)), target, method)
    return ReweightedResult(
        rdms=tuple(data.names),
        scores=np.nanmean(scores, axis=1),
        unweighted=np.nanmean(plain, axis=1),
        fold_scores=scores,
        alphas=chosen,
        weights=_weights(x, squares, nonnegative, np.median(chosen, axis=1)),
        fold_sizes=tuple(int((fold[0] == j).sum()) for j in range(k)),
        method=method,
        nonnegative=nonnegative,
    )


def _moments(x: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centred Gram matrix (p, p) of the predictors and their products with the RDMs (p, R)."""
    n = len(x)
    n_pairs = n * (n - 1) / 2
    a = x - x.mean(0)
    power = a**2
    total = power.sum(0)
    cross = a.T @ a
    gram = n * power.T @ power + np.outer(total, total) + 2 * cross**2
    gram -= np.outer(n * total, n * total) / n_pairs
    y = np.stack(
        [
            (power * d.sum(1)[:, None]).sum(0) - (a * (d @ a)).sum(0) - n * total * d.sum() / 2 / n_pairs
            for d in squares
        ],
        axis=1,
    )
    return gram, y


def _weights(x: np.ndarray, squares: np.ndarray, nonnegative: bool, alpha: np.ndarray) -> np.ndarray:
    """Ridge weights (R, p) for one penalty per RDM."""
    gram, y = _moments(x, squares)
    scale = np.trace(gram) / len(gram)
    if scale <= 0:
        return np.zeros((len(squares), x.shape[1]))
    if not nonnegative:
        values, vectors = np.linalg.eigh(gram)
        return ((vectors.T @ y) / (np.maximum(values, 0)[:, None] + scale * alpha)).T @ vectors.T
    return np.stack([_nonnegative(gram, y[:, r], scale * a) for r, a in enumerate(alpha)])


def _nonnegative(gram: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    from scipy.linalg import solve_triangular
    from scipy.optimize import nnls

    root = np.linalg.cholesky(gram + penalty * np.eye(len(gram)))
    size = np.abs(y).max()
    if size == 0:
        return np.zeros(len(y))
    return nnls(root.T, solve_triangular(root, y / size, lower=True), maxiter=30 * len(y) + 100)[0] * size


def _choose(
    x: np.ndarray,
    squares: np.ndarray,
    method: str,
    nonnegative: bool,
    penalties: np.ndarray,
    inner_folds: int,
    order: np.ndarray,
) -> np.ndarray:
    """Penalty of the highest mean score over inner folds for each RDM; the larger of two that tie."""
    if len(penalties) == 1:
        return np.full(len(squares), penalties[0])
    k = max(2, min(inner_folds, len(x) // 3))
    fold = np.empty(len(x), int)
    fold[order] = np.arange(len(x)) % k
    total = np.zeros((len(penalties), len(squares)))
    for j in range(k):
        test, train = np.flatnonzero(fold == j), np.flatnonzero(fold != j)
        target = _upper(squares[:, test][:, :, test])
        for p, penalty in enumerate(penalties):
            part = squares[:, train][:, :, train]
            theta = _weights(x[train], part, nonnegative, np.full(len(squares), penalty))
            total[p] += np.nan_to_num(_scored(_predicted(x[test], theta), target, method))
    return penalties[len(penalties) - 1 - np.argmax(total[::-1], axis=0)]


def _predicted(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """sum_v theta_v (x_iv - x_jv)^2 of all pairs, (R, n_pairs)."""
    i, j = pair_indices(len(x))
    return theta @ ((x[i] - x[j]) ** 2).T


def _upper(squares: np.ndarray) -> np.ndarray:
    i, j = pair_indices(squares.shape[1])
    return squares[:, i, j]


def _scored(predicted: np.ndarray, target: np.ndarray, method: str) -> np.ndarray:
    from neuro.rsa.compare import compare

    return np.array(
        [np.asarray(compare(p[None], t[None], method))[0, 0] for p, t in zip(predicted, target, strict=True)]
    )
