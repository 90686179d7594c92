"""How would the scores vary with other subjects and other stimuli?

A draw is a vector of counts: how often each subject, or each stimulus, stands in the sample. Scores of all draws follow
from matrix products with those counts (:mod:`neuro.rsa._gram` for linear measures, weighted mid-ranks here for rank
correlations) and equal those of explicitly repeated RDMs to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import as_rng
from neuro.rsa._pairs import pair_indices

RANKS = ("spearman", "rho-a", "tau-a", "tau-b")
BLOCK = 8_000_000


def draw_counts(n_boot: int, groups: np.ndarray, rng: Any = None) -> np.ndarray:
    """Counts of draws with replacement, (n_boot, len(groups)); members of a group are drawn together.

    >>> draw_counts(2, np.array([0, 0, 1]), 0).tolist()
    [[0.0, 0.0, 2.0], [1.0, 1.0, 1.0]]
    """
    n = int(groups.max()) + 1
    drawn = as_rng(rng).integers(n, size=(n_boot, n))
    counts = np.zeros((n_boot, n))
    np.add.at(counts, (np.arange(n_boot)[:, None], drawn), 1)
    return counts[:, groups]


def pair_weights(counts: np.ndarray) -> np.ndarray:
    """c_i c_j of the pairs i < j, (B, n_pairs)."""
    i, j = pair_indices(counts.shape[1])
    return counts[:, i] * counts[:, j]


def replicate(vectors: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """RDM vectors (V, n_pairs) with stimuli explicitly repeated; pairs of a stimulus with its copy are NaN."""
    n = len(counts)
    drawn = np.repeat(np.arange(n), counts.astype(int))
    i, j = pair_indices(len(drawn))
    a, b = drawn[i], drawn[j]
    same = a == b
    index = np.where(same, 0, a * n - a * (a + 1) // 2 + b - a - 1)
    return np.where(same, np.nan, vectors[:, index])


def dual_variance(both: Any, subject: Any, stimulus: Any, n_subjects: int, n_stimuli: int) -> np.ndarray:
    """Variance over subjects and stimuli at once, without the double count of measurement noise in a joint bootstrap.

    v = R/(R-1) v_subject + S/(S-1) v_stimulus - [RS / ((R-1)(S-1))] (v_both - v_subject - v_stimulus),
    at least either of its first two terms and at most v_both.

    References
    ----------
    Schütt, Kipnis, Diedrichsen & Kriegeskorte (2023), eLife 12, e82566.
    """
    both, subject, stimulus = (np.asarray(v, float) for v in (both, subject, stimulus))
    r, s = n_subjects / (n_subjects - 1), n_stimuli / (n_stimuli - 1)
    v = r * subject + s * stimulus - r * s * (both - subject - stimulus)
    return np.minimum(np.maximum(np.maximum(v, r * subject), s * stimulus), both)


class Ranked:
    """Vectors sorted once, whose mid-ranks under any pair weights then need one cumulative sum."""

    def __init__(self, vectors: np.ndarray):
        self.order = np.argsort(vectors, axis=1, kind="stable")
        ordered = np.take_along_axis(vectors, self.order, axis=1)
        new = np.ones(vectors.shape, bool)
        new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        self.starts = [np.flatnonzero(row) for row in new]
        self.group = np.cumsum(new, axis=1) - 1

    def centred(self, v: int, weights: np.ndarray) -> np.ndarray:
        """Centred mid-ranks of vector ``v`` when pair p stands ``weights[:, p]`` times, (B, n_pairs)."""
        order, starts = self.order[v], self.starts[v]
        sizes = np.add.reduceat(weights[:, order], starts, axis=1)
        ends = np.cumsum(sizes, axis=1)
        middle = ends - 0.5 * sizes - 0.5 * ends[:, -1:]
        group = np.empty(len(order), np.intp)
        group[order] = self.group[v]
        return middle[:, group]


def rank_products(x: np.ndarray, y: np.ndarray, weights: np.ndarray, method: str) -> np.ndarray:
    """Spearman or rho-a from centred mid-ranks (..., n_pairs) under pair weights."""
    top = (weights * x * y).sum(-1)
    if method == "rho-a":
        n = weights.sum(-1)
        bottom = (n**3 - n) / 12
    else:
        bottom = np.sqrt((weights * x * x).sum(-1) * (weights * y * y).sum(-1))
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def rank_scores(
    models: np.ndarray, data: np.ndarray, method: str, counts: np.ndarray, subjects: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spearman or rho-a of models and ceilings under counts of stimuli.

    Parameters
    ----------
    models : array (M, n_pairs)
    data : array (R, n_pairs)
    method : "spearman" or "rho-a"
    counts : array (B, n_stimuli)
    subjects : array (K, B, R)
        K sets of counts of RDMs that share the draws of stimuli, e.g. all ones and a joint draw.
    groups : int array (R,)

    Returns
    -------
    scores (B, M, R), lower (K, B, S), upper (K, B, S)
    """
    n_models, n_rdms, n_pairs = len(models), len(data), data.shape[1]
    ranked = Ranked(np.concatenate([models, data]))
    n_subjects = int(groups.max()) + 1
    scores = np.empty((len(counts), n_models, n_rdms))
    lower = np.full((len(subjects), len(counts), n_subjects), np.nan)
    upper = np.full((len(subjects), len(counts), n_subjects), np.nan)
    step = max(1, BLOCK // (n_pairs * (n_models + n_rdms)))
    for start in range(0, len(counts), step):
        rows = slice(start, start + step)
        w = pair_weights(counts[rows])
        x = np.stack([ranked.centred(v, w) for v in range(n_models + n_rdms)], 1)
        z = x * w[:, None, :]
        inner = z @ x[:, n_models:].transpose(0, 2, 1)
        total = w.sum(1)
        if method == "rho-a":
            bottom = ((total**3 - total) / 12)[:, None, None]
        else:
            square = np.einsum("bvp,bvp->bv", z, x)
            bottom = np.sqrt(square[:, :n_models, None] * square[:, None, n_models:])
        top = inner[:, :n_models]
        scores[rows] = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
        for k, counted in enumerate(subjects):
            for b in range(len(w)):
                lower[k, start + b], upper[k, start + b] = _rank_ceiling(
                    x[b, n_models:], w[b], counted[start + b], groups, method
                )
    return scores, lower, upper


def _rank_ceiling(
    x: np.ndarray, w: np.ndarray, counted: np.ndarray, groups: np.ndarray, method: str
) -> tuple[np.ndarray, np.ndarray]:
    """Ceilings of one sample: pool ranks, rank the pool under the same pair weights, correlate."""
    n_subjects = int(groups.max()) + 1
    drawn = np.unique(groups[counted > 0])
    leave_out = counted * (groups[None, :] != drawn[:, None])
    pools = np.concatenate([counted[None], leave_out]) @ (2 * x)
    pools = np.rint(pools) if np.abs(pools).max(initial=0) < 2**51 else pools
    kept = w > 0
    wk, xk = w[kept], x[:, kept]
    ranked = Ranked(pools[:, kept])
    pooled = np.concatenate([ranked.centred(v, wk[None]) for v in range(len(pools))])
    score = rank_products(pooled[:, None], xk[None], wk, method)
    lower, upper = np.full(n_subjects, np.nan), np.full(n_subjects, np.nan)
    for k, s in enumerate(drawn):
        mine = groups == s
        upper[s] = score[0, mine].mean()
        if len(drawn) > 1:
            lower[s] = score[k + 1, mine].mean()
    return lower, upper
