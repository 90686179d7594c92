"""Which stimuli tell models apart best?

Triplets (root, a, b) ask which of a and b is more like the root. With Delta D = D(root, a) - D(root, b) from an early
(low) and a late (high) layer, a set of triplets whose ``|corr(Delta D_low, Delta D_high)|`` is small makes the two
predict the judgements independently. Sets of stimuli for RDM comparisons are chosen to maximise the model separation

    sum_{m < m'} (1 - corr(d_m, d_m'))

of the models' dissimilarities among them. Both by a greedy start and swaps, seeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import as_rng, check_positive_int
from neuro.errors import ShapeMismatch
from neuro.rsa._pairs import pair_indices, to_square
from neuro.rsa.container import as_rdms, matched


@dataclass(frozen=True, eq=False)
class TripletChoice:
    """Result of :func:`select_triplets`.

    Parameters
    ----------
    triplets : array (n, 3)
        root, a, b: positions in the pool.
    low, high : array (n,)
        Delta D of the two, in units of their s.d. over the candidates; below 0, a is the more similar.
    correlation : float
        Of ``low`` and ``high`` over the chosen triplets.
    start : float
        The same after the greedy start, before swaps.
    random : float
        Mean |correlation| of random sets of the same size.
    """

    triplets: np.ndarray
    low: np.ndarray
    high: np.ndarray
    correlation: float
    start: float
    random: float

    @property
    def opposed(self) -> np.ndarray:
        """Triplets for which the two predict opposite judgements, boolean (n,)."""
        return self.low * self.high < 0


@dataclass(frozen=True, eq=False)
class StimulusChoice:
    """Result of :func:`select_stimuli`.

    Parameters
    ----------
    stimuli : array (n,)
        Positions in the pool, ascending.
    separation : float
        Sum over pairs of models of 1 - correlation.
    correlations : array (n_models, n_models)
        Of the models' dissimilarities among the chosen stimuli.
    random : float
        Mean separation of random sets of the same size.
    history : array
        Separation after the greedy start and after every swap.
    """

    stimuli: np.ndarray
    separation: float
    correlations: np.ndarray
    random: float
    history: np.ndarray


def select_triplets(
    low: Any,
    high: Any,
    n: int,
    *,
    n_candidates: int = 5000,
    max_use: int | None = None,
    min_margin: float = 0.5,
    max_sweeps: int = 20,
    rng: int | np.random.Generator | None = None,
) -> TripletChoice:
    """Choose triplets (root, a, b) on which two RDMs predict two-way judgements independently.

    Parameters
    ----------
    low, high : RDMs, condensed or square dissimilarities of one pool
        Of an early and a late layer, say; :class:`~neuro.rsa.RDMs` are matched by name.
    n : int
        Triplets to choose, at least 3.
    n_candidates : int
        Random triplets of the pool to choose from.
    max_use : int, optional
        Triplets that any stimulus may take part in; by default as few as are needed for n triplets, and 2 more.
    min_margin : float
        Candidates have at least this ``|Delta D|`` in both, in s.d., so that each predicts clearly.
    max_sweeps : int
        Passes of swaps.
    rng : int or Generator, optional

    Returns
    -------
    TripletChoice

    References
    ----------
    "What makes a face look like a hat: decoupling low-level and high-level visual properties with image triplets"
    (2024), arXiv 2409.02241.
    """
    check_positive_int("n", n, 3)
    check_positive_int("n_candidates", n_candidates)
    a, b = matched(low, high)
    D = [np.asarray(r.numpy().matrices, float) for r in (a, b)]
    if len(D[0]) != 1 or len(D[1]) != 1:
        raise ShapeMismatch(f"one RDM each is needed, got {len(D[0])} and {len(D[1])}.")
    if not all(np.isfinite(x).all() for x in D):
        raise ValueError("the dissimilarities hold NaN or infinite values.")
    rng = as_rng(rng)
    size = D[0].shape[1]
    if size < 3:
        raise ShapeMismatch(f"triplets need a pool of at least three stimuli, got {size}.")
    use = -(-3 * n // size) + 2 if max_use is None else check_positive_int("max_use", max_use)
    drawn = _draw_triplets(size, n_candidates, rng)
    delta = np.stack([x[0][drawn[:, 0], drawn[:, 1]] - x[0][drawn[:, 0], drawn[:, 2]] for x in D])
    spread = delta.std(1, keepdims=True)
    if not (spread > 0).all():
        raise ValueError("the dissimilarities do not differ between pairs, so they predict nothing.")
    delta = delta / spread
    clear = (np.abs(delta) >= min_margin).all(0)
    drawn, delta = drawn[clear], delta[:, clear]
    if len(drawn) < n:
        raise ValueError(
            f"{len(drawn)} of {n_candidates:,} candidates predict by at least {min_margin:g} s.d.; {n} are asked for: "
            "draw more candidates or lower min_margin."
        )
    chosen = _greedy_triplets(drawn, delta, n, use, size)
    start = float(np.corrcoef(delta[:, chosen])[0, 1])
    chosen = _swap_triplets(drawn, delta, chosen, use, size, max_sweeps, rng)
    x = delta[:, chosen]
    chance = [abs(np.corrcoef(delta[:, rng.choice(len(drawn), n, replace=False)])[0, 1]) for _ in range(50)]
    return TripletChoice(drawn[chosen], x[0], x[1], float(np.corrcoef(x)[0, 1]), start, float(np.mean(chance)))


def select_stimuli(
    models: Any,
    n: int,
    *,
    include: Any = (),
    max_swaps: int = 1000,
    n_starts: int = 3,
    rng: int | np.random.Generator | None = None,
) -> StimulusChoice:
    """Choose the stimuli of a pool among which model RDMs correlate least.

    Parameters
    ----------
    models : RDMs or array (n_models, n_pairs)
        At least two models of the whole pool.
    n : int
        Stimuli to choose, at least 4.
    include : positions, optional
        Stimuli that must be among them.
    max_swaps : int
        Exchanges of a chosen stimulus for another, each the best there is, at most.
    n_starts : int
        Random beginnings of the greedy choice; the best end counts.
    rng : int or Generator, optional

    Returns
    -------
    StimulusChoice
        A local optimum: no exchange of one stimulus separates the models further, unless ``max_swaps`` ran out.

    Notes
    -----
    Correlations of few dissimilarities vary by chance; compare ``separation`` with ``random``, and validate the choice
    on other stimuli, since the models' own dissimilarities chose it.
    """
    rdms = as_rdms(models).numpy()
    if rdms.n_rdms < 2:
        raise ShapeMismatch("telling models apart needs at least two, got one.")
    D = np.asarray(rdms.matrices, float)
    if not np.isfinite(D).all():
        raise ValueError("the models hold NaN or infinite dissimilarities.")
    pool = D.shape[1]
    check_positive_int("n", n, 4)
    check_positive_int("n_starts", n_starts)
    if n > pool:
        raise ValueError(f"{n} stimuli are asked for, the pool has {pool}.")
    fixed = [int(k) for k in include]
    if len(set(fixed)) != len(fixed) or len(fixed) > n or any(not 0 <= k < pool for k in fixed):
        raise ValueError(f"include must be at most {n} different positions below {pool}, got {fixed}.")
    # one scale for all, which correlations do not see: keeps the sums below in range
    D = D / np.maximum(np.abs(D).max((1, 2), keepdims=True), 1e-300)
    rng = as_rng(rng)
    best: tuple[float, list[int], list[float]] | None = None
    for _ in range(n_starts):
        found = _grow(D, n, fixed, rng)
        found, history = _exchange(D, found, fixed, max_swaps)
        if best is None or history[-1] > best[0] + 1e-12:
            best = history[-1], found, history
    assert best is not None
    stimuli = np.sort(best[1])
    chance = [_separation(D, rng.choice(pool, n, replace=False)) for _ in range(50)]
    return StimulusChoice(stimuli, best[0], _correlations(D, stimuli), float(np.mean(chance)), np.array(best[2]))


def model_separation(models: Any) -> float:
    """Return sum_{m < m'} (1 - corr(d_m, d_m')) of model RDMs."""
    d = as_rdms(models).numpy().dissimilarities
    if len(d) < 2:
        raise ShapeMismatch("telling models apart needs at least two, got one.")
    D = to_square(np.asarray(d, float))
    return _separation(D, np.arange(D.shape[1]))


# Triplets


def _draw_triplets(size: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Different triplets with a < b."""
    draws = np.argsort(rng.random((2 * n, size)), axis=1)[:, :3] if size <= 64 else rng.integers(size, size=(3 * n, 3))
    ok = (draws[:, 0] != draws[:, 1]) & (draws[:, 0] != draws[:, 2]) & (draws[:, 1] != draws[:, 2])
    draws = draws[ok]
    draws[:, 1:].sort(axis=1)
    _, first = np.unique(draws, axis=0, return_index=True)
    return draws[np.sort(first)[:n]]


def _greedy_triplets(drawn: np.ndarray, delta: np.ndarray, n: int, use: int, size: int) -> np.ndarray:
    """Add, one by one, the triplet that brings the correlation so far nearest to zero."""
    used = np.zeros(size, int)
    taken = np.zeros(len(drawn), bool)
    sums = np.zeros(5)
    terms = _terms(delta)
    order: list[int] = []
    for step in range(n):
        free = ~taken & (used[drawn] < use).all(1)
        if not free.any():
            raise ValueError(f"only {step} of {n} triplets fit with max_use={use}: raise it or draw more candidates.")
        # one or two triplets always correlate perfectly: keep the sum of products small instead
        cost = np.abs(sums[4] + terms[4]) if step < 2 else np.abs(_correlation(sums[:, None] + terms, step + 1))
        pick = int(np.argmin(np.where(free, cost, np.inf)))
        order.append(pick)
        taken[pick] = True
        used[drawn[pick]] += 1
        sums = sums + terms[:, pick]
    return np.array(order)


def _swap_triplets(
    drawn: np.ndarray,
    delta: np.ndarray,
    chosen: np.ndarray,
    use: int,
    size: int,
    max_sweeps: int,
    rng: np.random.Generator,
) -> np.ndarray:
    chosen, terms, n = chosen.copy(), _terms(delta), len(chosen)
    used = np.bincount(drawn[chosen].ravel(), minlength=size)
    sums = terms[:, chosen].sum(1)
    best = abs(float(_correlation(sums, n)))
    for _ in range(max_sweeps):
        before = best
        for slot in rng.permutation(n):
            old = chosen[slot]
            used[drawn[old]] -= 1
            free = (used[drawn] < use).all(1)
            free[chosen] = False
            rest = sums - terms[:, old]
            cost = np.where(free, np.abs(_correlation(rest[:, None] + terms, n)), np.inf)
            pick = int(np.argmin(cost))
            if cost[pick] < best - 1e-15:
                chosen[slot], best, sums = pick, float(cost[pick]), rest + terms[:, pick]
            used[drawn[chosen[slot]]] += 1
        if best > 0.99 * before:
            break
    return chosen


def _terms(delta: np.ndarray) -> np.ndarray:
    x, y = delta
    return np.stack([x, y, x * x, y * y, x * y])


def _correlation(sums: np.ndarray, n: int) -> np.ndarray:
    """Correlation of n pairs from their sums (5, ...)."""
    x, y, xx, yy, xy = sums
    variance = np.maximum(xx - x * x / n, 0) * np.maximum(yy - y * y / n, 0)
    safe = np.where(variance > 1e-20, variance, 1.0)
    return np.where(variance > 1e-20, (xy - x * y / n) / np.sqrt(safe), 1.0)


# Stimuli


def _grow(D: np.ndarray, n: int, fixed: list[int], rng: np.random.Generator) -> list[int]:
    """Add, one by one, the stimulus that separates the models most; from four, fewer have too few pairs."""
    others = [int(k) for k in rng.permutation(D.shape[1]) if k not in set(fixed)]
    chosen = fixed + others[: max(4 - len(fixed), 0)]
    while len(chosen) < n:
        scores = _scores_with(D, np.array(chosen))
        scores[chosen] = -np.inf
        chosen.append(int(np.argmax(scores)))
    return chosen


def _exchange(D: np.ndarray, chosen: list[int], fixed: list[int], max_swaps: int) -> tuple[list[int], list[float]]:
    chosen = list(chosen)
    history = [_separation(D, np.array(chosen))]
    for _ in range(max_swaps):
        best, move = history[-1] + 1e-10, None
        for slot, old in enumerate(chosen):
            if old in fixed:
                continue
            rest = np.array(chosen[:slot] + chosen[slot + 1 :])
            scores = _scores_with(D, rest)
            scores[chosen] = -np.inf
            pick = int(np.argmax(scores))
            if scores[pick] > best:
                best, move = scores[pick], (slot, pick)
        if move is None:
            break
        chosen[move[0]] = move[1]
        history.append(_separation(D, np.array(chosen)))
    return chosen, history


def _scores_with(D: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Separation of the chosen stimuli and each stimulus of the pool in turn, (pool,), from sums over pairs."""
    i, j = pair_indices(len(chosen))
    d = D[:, chosen[i], chosen[j]]
    rows = D[:, :, chosen]
    n = d.shape[1] + len(chosen)
    sums = d.sum(1)[:, None] + rows.sum(2)
    products = (d @ d.T)[:, :, None] + np.einsum("apc,bpc->abp", rows, rows)
    covariance = products - sums[:, None] * sums[None] / n
    return _separation_of(covariance)


def _separation_of(covariance: np.ndarray) -> np.ndarray:
    """Covariances (m, m, ...) -> sum over pairs of 1 - correlation; a model without variance separates nothing."""
    m = len(covariance)
    a, b = np.triu_indices(m, 1)
    variance = covariance[np.arange(m), np.arange(m)]
    scale = np.sqrt(np.maximum(variance[a], 0) * np.maximum(variance[b], 0))
    known = scale > 1e-12
    r = np.where(known, covariance[a, b] / np.where(known, scale, 1.0), 1.0)
    return (1 - np.clip(r, -1, 1)).sum(0)


def _separation(D: np.ndarray, chosen: np.ndarray) -> float:
    i, j = pair_indices(len(chosen))
    d = D[:, chosen[i], chosen[j]]
    d = d - d.mean(1, keepdims=True)
    return float(_separation_of(d @ d.T))


def _correlations(D: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    i, j = pair_indices(len(chosen))
    d = D[:, chosen[i], chosen[j]]
    d = d - d.mean(1, keepdims=True)
    norm = np.linalg.norm(d, axis=1, keepdims=True)
    d = np.divide(d, norm, out=np.full_like(d, np.nan), where=norm > 0)
    return d @ d.T
