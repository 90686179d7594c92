"""What happens inside one searchlight: a Gram matrix, a dissimilarity matrix, scores; nothing else is kept.

With channel rows a_v (one value per condition), G = sum_v a_v a_v' over the sphere and
D_ij = (G_ii + G_jj - 2 G_ij) / p. Cross-validated over K folds (crossnobis), G becomes
(S S' - sum_k A_k A_k') / (K (K - 1)) with S = sum_k A_k.

A score that is linear in D, <D, W> = sum_{i<j} w_ij D_ij, needs no RDM: with the graph Laplacian L = diag(W 1) - W it
is tr(L G) / p = sum_v a_v' L a_v / p, one quadratic form per channel and then a sparse sum over the sphere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro.errors import ShapeMismatch
from neuro.rsa._neighbours import Neighbourhoods
from neuro.rsa._pairs import n_from_pairs, pair_indices, to_square

SQUARED = ("sqeuclidean", "mahalanobis", "crossnobis")  # linear in the Gram matrix
METRICS = ("correlation", "cosine", "sqeuclidean", "euclidean", "mahalanobis", "crossnobis")
LINEAR = ("inner", "regression")  # scores linear in the dissimilarities
TOKENS = ("cosine", "corr", "spearman", "rho-a", "cosine_cov", "corr_cov", "cka", "cka_biased", "cka_lange")
BLOCK_ELEMENTS = 2**18  # Gram entries per block of centres
CONSTANT = 1e-13  # a pattern whose s.d. is this small beside its mean has no variance but rounding
TIE = 1e-12  # a permuted score this close below the observed one counts as equal


@dataclass(frozen=True, eq=False)
class Patterns:
    """What the searchlight reads: rows (n_channels, n_folds, n_conditions), and how to turn them into an RDM.

    ``residuals`` (n_channels, n_observations) with ``dof`` give each sphere its own noise precision by ``noise``.
    """

    rows: np.ndarray
    metric: str | Callable[[np.ndarray], np.ndarray]
    noise: str | None = None
    residuals: np.ndarray | None = None
    dof: float | None = None

    @property
    def n_conditions(self) -> int:
        return self.rows.shape[2]

    @property
    def linear(self) -> bool:
        """Whether an RDM is a plain sum over channels."""
        return self.metric in SQUARED and self.residuals is None


def block_size(n_conditions: int) -> int:
    """Centres computed together: a function of the conditions alone, so that scores never depend on chunks or jobs."""
    return int(np.clip(BLOCK_ELEMENTS // n_conditions**2, 1, 512))


def sphere_rdms(patterns: Patterns, neighbourhoods: Neighbourhoods, start: int, stop: int) -> np.ndarray:
    """Return condensed RDMs (stop - start, n_pairs) of consecutive centres."""
    n = patterns.n_conditions
    i, j = pair_indices(n)
    indptr, indices = neighbourhoods.indptr, neighbourhoods.indices
    grams = np.empty((stop - start, n, n))
    custom = np.empty((stop - start, len(i))) if callable(patterns.metric) else None
    for row in range(stop - start):
        here = indices[indptr[start + row] : indptr[start + row + 1]]
        if not len(here):
            grams[row] = np.nan
            continue
        a = patterns.rows[here]
        if patterns.residuals is not None:
            a = _whitened(a, patterns, here)
        if custom is not None:
            custom[row] = patterns.metric(np.ascontiguousarray(a[:, 0].T))
        else:
            grams[row] = _gram(a, patterns.metric)
    if custom is not None:
        return custom
    return _dissimilarities(grams, patterns.metric, i, j)


def _gram(a: np.ndarray, metric: Any) -> np.ndarray:
    """Rows (p, n_folds, n) -> (n, n), divided by p where the metric is."""
    p, n_folds, n = a.shape
    if metric == "crossnobis":
        total, flat = a.sum(1), a.reshape(p * n_folds, n)
        return (total.T @ total - flat.T @ flat) / (n_folds * (n_folds - 1) * p)
    a = a[:, 0]
    if metric == "cosine":
        return a.T @ a
    if metric == "correlation":
        mean = a.mean(0)
        a = a - mean
        gram = a.T @ a
        flat = gram.ravel()[:: n + 1] <= CONSTANT**2 * p * mean**2
        gram[flat, flat] = 0.0
        return gram
    return (a.T @ a) / p


def _dissimilarities(grams: np.ndarray, metric: str, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    n = grams.shape[1]
    flat = grams.reshape(len(grams), n * n)
    diagonal, cross = flat[:, :: n + 1], np.take(flat, i * n + j, axis=1)
    if metric in ("correlation", "cosine"):
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = 1 / np.sqrt(diagonal)
            scale[~np.isfinite(scale)] = np.nan
            cross *= scale[:, i]
            cross *= scale[:, j]
        return np.clip(1 - cross, 0, 2, out=cross)
    d = diagonal[:, i] + diagonal[:, j] - 2 * cross
    if metric == "crossnobis":
        return d
    np.maximum(d, 0, out=d)
    return np.sqrt(d) if metric == "euclidean" else d


def _whitened(a: np.ndarray, patterns: Patterns, here: np.ndarray) -> np.ndarray:
    from neuro.rsa.noise import noise_precision

    assert patterns.residuals is not None
    residuals = patterns.residuals[here].T
    if not (np.isfinite(residuals).all() and np.isfinite(a).all() and np.ptp(residuals, axis=0).all()):
        return np.full_like(a, np.nan)
    precision = noise_precision(residuals, patterns.noise, dof=patterns.dof)
    root = np.linalg.cholesky(precision)
    return (root.T @ a.reshape(len(a), -1)).reshape(a.shape)


# Scores


class Scorer:
    """Compares RDMs (c, n_pairs) with fixed models -> (c, n_models); the models are prepared once."""

    def __init__(self, models: np.ndarray, method: str | Callable[[np.ndarray, np.ndarray], np.ndarray]):
        self.models, self.method = models, method
        self._tokens: np.ndarray | None = None
        self.weights = linear_weights(models, method) if method in LINEAR else None
        if self.weights is None and not callable(method):
            self._tokens = _tokens(models, method)

    def __call__(self, rdms: np.ndarray) -> np.ndarray:
        out = np.full((len(rdms), len(self.models)), np.nan)
        good = np.isfinite(rdms).all(1)
        if not good.any():
            return out
        d = rdms[good]
        if self.weights is not None:
            out[good] = d @ self.weights.T
        elif callable(self.method):
            out[good] = self.method(d, self.models)
        elif self._tokens is not None:
            out[good] = _tokens(d, self.method) @ self._tokens.T
        else:
            from neuro.rsa.compare import compare

            out[good] = compare(d, self.models, method=self.method)
        return out


def _tokens(d: np.ndarray, method: str) -> np.ndarray | None:
    """Unit vectors whose inner products are the scores, where the method has such."""
    from neuro.rsa.compare import tokens

    if method not in TOKENS:
        return None
    return tokens(d, method)


def linear_weights(models: np.ndarray, method: str) -> np.ndarray:
    """Return weights w (n_models, n_pairs) with score = <w, d>: the models, or the regression of d on them and 1."""
    if method == "inner":
        return models
    design = np.column_stack([np.ones(models.shape[1]), models.T])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(
            f"regression on {len(models)} models and a constant needs them to be linearly independent; drop one."
        )
    return np.linalg.pinv(design)[1:]


def linear_scores(patterns: Patterns, neighbourhoods: Neighbourhoods, weights: np.ndarray) -> np.ndarray:
    """Return <D, w> for all centres and weights, (n_weights, n_centres), without any RDM."""
    if not patterns.linear:
        raise ValueError("scores without RDMs need squared distances and noise that is at most one value per channel.")
    n_folds = patterns.rows.shape[1]
    forms = np.empty((len(weights), len(patterns.rows)))
    for w, out in zip(weights, forms, strict=True):
        square = to_square(w)
        laplacian = np.diag(square.sum(0)) - square
        if patterns.metric == "crossnobis":
            total = patterns.rows.sum(1)
            each = np.einsum("vkn,vkn->v", patterns.rows @ laplacian, patterns.rows)
            out[:] = (_quadratic(total, laplacian) - each) / (n_folds * (n_folds - 1))
        else:
            out[:] = _quadratic(patterns.rows[:, 0], laplacian)
    sizes = neighbourhoods.sizes
    with np.errstate(invalid="ignore", divide="ignore"):
        return (neighbourhoods.to_sparse() @ forms.T).T / np.where(sizes > 0, sizes, np.nan)


def _quadratic(rows: np.ndarray, laplacian: np.ndarray) -> np.ndarray:
    return np.einsum("vn,vn->v", rows @ laplacian, rows)


def score_chunk(
    patterns: Patterns, neighbourhoods: Neighbourhoods, scorer: Scorer, start: int, stop: int, n_models: int
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Return start, scores (n_models, stop - start), counts of null >= score, and the largest null per permutation.

    Models beyond the first ``n_models`` are their permutations, n_models at a time.
    """
    n_perm = len(scorer.models) // n_models - 1
    scores, counts, largest = [], [], np.full((n_perm, n_models), -np.inf)
    step = block_size(patterns.n_conditions)
    for first in range(start, stop, step):
        block = scorer(sphere_rdms(patterns, neighbourhoods, first, min(first + step, stop)))
        observed, null = block[:, :n_models], block[:, n_models:].reshape(len(block), n_perm, n_models)
        scores.append(observed)
        counts.append((null >= observed[:, None] - TIE).sum(1))
        known = ~np.isnan(observed).any(1)
        if n_perm and known.any():
            np.maximum(largest, null[known].max(0), out=largest)
    return start, np.concatenate(scores).T, np.concatenate(counts).T, largest


def permuted_models(models: np.ndarray, n_permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Return the models, then n_permutations copies with shuffled conditions, all models alike."""
    if not n_permutations:
        return models
    n = n_from_pairs(models.shape[1])
    i, j = pair_indices(n)
    out = np.empty(((n_permutations + 1) * len(models), models.shape[1]))
    out[: len(models)] = models
    square = to_square(models)
    for k in range(1, n_permutations + 1):
        order = rng.permutation(n)
        out[k * len(models) : (k + 1) * len(models)] = square[:, order[i], order[j]]
    return out


# Patterns from observations


def cell_means(data: np.ndarray, conditions: np.ndarray, folds: np.ndarray | None) -> np.ndarray:
    """Average observations (N, n_channels) with the same condition (and fold) -> rows (n_channels, n_folds, n)."""
    from scipy.sparse import csr_array

    n = int(conditions.max()) + 1
    k = 1 if folds is None else int(folds.max()) + 1
    cell = conditions if folds is None else folds * n + conditions
    counts = np.bincount(cell, minlength=k * n)
    if (counts == 0).any():
        raise ShapeMismatch(
            f"{int((counts == 0).sum())} of {k * n} combinations of fold and condition have no observation: every "
            "fold must hold every condition."
        )
    average = csr_array((1 / counts[cell], (cell, np.arange(len(cell)))), shape=(k * n, len(cell)))
    means = np.asarray(average @ data, dtype=float)
    return np.ascontiguousarray(means.reshape(k, n, -1).transpose(2, 0, 1))
