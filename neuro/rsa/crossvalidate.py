"""How well do fitted models predict other stimuli and other subjects?

Stimuli and subjects are split into folds together: weights are fitted on training stimuli of training subjects and
scored on test stimuli of test subjects. Pairs across the split are used by neither side. All copies of a resampled
stimulus, and all RDMs of a subject, stay in one fold. Random folds add variance of their own; with n repeats it is
estimated and taken off: v = (n var(mean over repeats) - mean var(single repeat)) / (n - 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuro._check import check_option, check_positive_int
from neuro.errors import EmptySelection
from neuro.rsa._gram import cosines, gram, pooled_gram
from neuro.rsa._problem import Problem
from neuro.rsa._resample import replicate
from neuro.rsa.ceiling import pool_rows
from neuro.rsa.models import fit_gram, fit_vectors

BLOCK = 4_000_000


@dataclass(frozen=True)
class CrossValidation:
    """Folds over stimuli, subjects or both.

    Parameters
    ----------
    over : "stimulus", "subject" or "both"
    k_stimuli, k_subjects : int, optional
        Numbers of folds. By default 2, 3, 4, 5 for fewer than 12, 24, 40, more stimuli and for fewer than 6, 12, 20,
        more subjects; inside a bootstrap for 1 - 1/e of them, the share of distinct ones in a draw.
        1 does not split.
    n_repeats : int
        Random partitions per resample, at least 2 inside a bootstrap.
    """

    over: str = "both"
    k_stimuli: int | None = None
    k_subjects: int | None = None
    n_repeats: int = 2

    def __post_init__(self) -> None:
        check_option("cv", self.over, ["stimulus", "subject", "both"])
        check_positive_int("n_repeats", self.n_repeats)
        for name in ("k_stimuli", "k_subjects"):
            if getattr(self, name) is not None:
                check_positive_int(name, getattr(self, name))

    def resolved(self, n_stimuli: int, n_subjects: int, bootstrapped: bool) -> CrossValidation:
        """Return the same with numbers of folds, 1 for what is not split."""
        share = 1 - np.exp(-1) if bootstrapped else 1.0
        k_stimuli = self.k_stimuli or default_folds(share * n_stimuli, (12, 24, 40))
        k_subjects = self.k_subjects or default_folds(share * n_subjects, (6, 12, 20))
        k_stimuli = 1 if self.over == "subject" else k_stimuli
        k_subjects = 1 if self.over == "stimulus" else k_subjects
        if self.over != "subject" and n_stimuli < 3 * k_stimuli:
            raise EmptySelection(
                f"{k_stimuli} folds need at least {3 * k_stimuli} stimuli, three in each, got {n_stimuli}. "
                "Use fewer folds, or cv='subject'."
            )
        if n_subjects < k_subjects:
            raise EmptySelection(f"{k_subjects} folds need at least as many subjects, got {n_subjects}; cv='stimulus'?")
        if bootstrapped and self.n_repeats < 2:
            raise ValueError("inside a bootstrap n_repeats must be at least 2, to take off the variance of the folds.")
        return replace(self, k_stimuli=k_stimuli, k_subjects=k_subjects)

    def settings(self) -> Mapping[str, Any]:
        """As stored with a result."""
        return {
            "over": self.over,
            "k_stimuli": self.k_stimuli,
            "k_subjects": self.k_subjects,
            "n_repeats": self.n_repeats,
        }


def default_folds(n: float, limits: tuple[int, int, int]) -> int:
    """Number of folds for n units.

    >>> [default_folds(n, (12, 24, 40)) for n in (11, 12, 24, 40)]
    [2, 3, 4, 5]
    """
    return 2 + sum(n >= limit for limit in limits)


def as_cv(cv: Any) -> CrossValidation | None:
    """Return folds from None, "stimulus", "subject", "both" or :class:`CrossValidation`."""
    if cv is None or isinstance(cv, CrossValidation):
        return cv
    check_option("cv", cv, [None, "stimulus", "subject", "both"])
    return CrossValidation(cv)


@dataclass(frozen=True, eq=False)
class FoldScores:
    """Scores (..., M, S) and ceilings (..., S); NaN for subjects not drawn and draws that cannot be split."""

    scores: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def cv_scores(
    task: Problem, counts: np.ndarray, weights: np.ndarray, cv: CrossValidation, seeds: np.ndarray, n_jobs: int = 1
) -> FoldScores:
    """Cross-validated scores of every draw and repeat.

    Parameters
    ----------
    task : Problem
    counts : array (B, n_stimuli)
    weights : array (B, n_subjects)
    cv : CrossValidation, resolved
    seeds : int array (B, n_repeats)
        One per partition.

    Returns
    -------
    FoldScores, arrays (B, n_repeats, ...)
    """
    jobs = [(b, r) for b in range(len(counts)) for r in range(seeds.shape[1])]
    work = _linear_chunk if task.linear else _explicit_chunk
    n_vectors = sum(len(b) for b in task.bases) + len(task.data)
    size = max(1, min(200, BLOCK // (n_vectors**2 * 2 * int(cv.k_stimuli or 1)))) if task.linear else 8
    chunks = [jobs[k : k + size] for k in range(0, len(jobs), size)]
    packed = [
        (task, [counts[b] for b, _ in c], [weights[b] for b, _ in c], cv, [int(seeds[b, r]) for b, r in c])
        for c in chunks
    ]
    if n_jobs == 1:
        parts = [work(*p) for p in packed]
    else:
        from joblib import Parallel, delayed

        parts = [p for p in Parallel(n_jobs=n_jobs)(delayed(work)(*p) for p in packed) if p is not None]
    shape = seeds.shape
    scores = np.concatenate([p.scores for p in parts]).reshape(*shape, task.n_models, task.n_subjects)
    lower, upper = (np.concatenate([getattr(p, k) for p in parts]).reshape(*shape, -1) for k in ("lower", "upper"))
    return FoldScores(scores, lower, upper)


def partition(
    groups: np.ndarray, drawn: np.ndarray, k: int, minimum: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Fold of each unit (-1: not drawn), members of a group together; None if a fold would get too few groups."""
    present = np.unique(groups[drawn > 0])
    if len(present) < minimum * k:
        return None
    fold_of = np.full(int(groups.max()) + 1, -1)
    fold_of[rng.permutation(present)] = np.arange(len(present)) % k
    return np.where(drawn > 0, fold_of[groups], -1)


def _splits(
    task: Problem, c: np.ndarray, w: np.ndarray, cv: CrossValidation, seed: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]] | None:
    """(fold of subjects, train counts, test counts) per fold of stimuli."""
    rng = np.random.default_rng(seed)
    k_stimuli, k_subjects = int(cv.k_stimuli or 1), int(cv.k_subjects or 1)
    stimulus_fold = partition(task.stimulus_groups, c, k_stimuli, 3 if k_stimuli > 1 else 1, rng)
    subject_fold = partition(np.arange(task.n_subjects), w, k_subjects, 1, rng)
    if stimulus_fold is None or subject_fold is None or (c > 0).sum() < 3:
        return None
    subjects = [subject_fold == s for s in range(k_subjects)]
    out = []
    for f in range(k_stimuli):
        test = np.where(stimulus_fold == f, c, 0.0)
        train = c - test if k_stimuli > 1 else c
        if (test > 0).sum() < 3 or (train > 0).sum() < 3:
            return None
        out.append((subject_fold, train, test, subjects))
    return out


def _empty(task: Problem, n: int) -> FoldScores:
    s = task.n_subjects
    return FoldScores(np.full((n, task.n_models, s), np.nan), np.full((n, s), np.nan), np.full((n, s), np.nan))


def _linear_chunk(task: Problem, counts: list, weights: list, cv: CrossValidation, seeds: list) -> FoldScores:
    out = _empty(task, len(counts))
    plans = [_splits(task, c, w, cv, s) for c, w, s in zip(counts, weights, seeds, strict=True)]
    rows = [x for plan in plans if plan for split in plan for x in split[1:3]]
    if not rows:
        return out
    stack = np.concatenate([*task.bases, task.data])
    grams = gram(stack, task.method, np.stack(rows))
    n_basis = len(stack) - len(task.data)
    pooled = pooled_gram(grams, slice(n_basis, None), task.method, task.strict)
    at = 0
    for b, plan in enumerate(plans):
        if not plan:
            continue
        sums = _Sums(task, len(plan))
        for _, _, _, subjects in plan:
            train, test = grams.inner[at], grams.inner[at + 1]
            for chosen in subjects:
                train_subjects = ~chosen if len(subjects) > 1 else np.ones_like(chosen)
                data_weights = (weights[b] * train_subjects)[task.groups]
                for m, rows_m in enumerate(_slices(task)):
                    theta = np.ones(1)
                    if task.models[m].flexible:
                        keep = np.r_[np.arange(n_basis)[rows_m], np.arange(n_basis, len(stack))]
                        k = rows_m.stop - rows_m.start
                        theta = fit_gram(task.models[m], train[np.ix_(keep, keep)], k, data_weights)
                    top = theta @ test[rows_m, n_basis:]
                    length = np.sqrt(max(float(theta @ test[rows_m, rows_m] @ theta), 0.0))
                    lengths = np.sqrt(np.maximum(np.diagonal(test)[n_basis:], 0.0))
                    sums.score(m, chosen, cosines(top, np.full_like(top, length), lengths))
            sums.ceilings(pooled[at + 1], weights[b], subjects)
            at += 2
        out.scores[b], out.lower[b], out.upper[b] = sums.means(weights[b])
    return out


def _explicit_chunk(task: Problem, counts: list, weights: list, cv: CrossValidation, seeds: list) -> FoldScores:
    """The same with RDMs explicitly repeated, for measures that are no inner product and for missing pairs."""
    from neuro.rsa.compare import compare

    out = _empty(task, len(counts))
    for b, (c, w, seed) in enumerate(zip(counts, weights, seeds, strict=True)):
        plan = _splits(task, c, w, cv, seed)
        if not plan:
            continue
        sums = _Sums(task, len(plan))
        for _, train, test, subjects in plan:
            test_data, train_data = replicate(task.data, test), replicate(task.data, train)
            rows = pool_rows(test_data, task.method, task.strict)
            for chosen in subjects:
                train_subjects = ~chosen if len(subjects) > 1 else np.ones_like(chosen)
                copies = np.repeat(np.arange(len(task.data)), (w * train_subjects)[task.groups].astype(int))
                for m, model in enumerate(task.models):
                    basis = replicate(task.bases[m], test)
                    theta = np.ones(1)
                    if model.flexible:
                        known = replicate(task.bases[m], train)
                        theta = fit_vectors(model, known, train_data[copies], task.method, seed)
                    sums.score(m, chosen, np.asarray(compare((theta @ basis)[None], test_data, task.method))[0])
            sums.pooled(rows, test_data, w, subjects, compare)
        out.scores[b], out.lower[b], out.upper[b] = sums.means(w)
    return out


class _Sums:
    """Scores by subject, summed over folds of stimuli."""

    def __init__(self, task: Problem, n_folds: int):
        self.task, self.n_folds = task, n_folds
        self.member = task.member
        self.total = np.zeros((task.n_models, task.n_subjects))
        self.lower, self.upper = np.zeros(task.n_subjects), np.zeros(task.n_subjects)

    def score(self, m: int, chosen: np.ndarray, by_rdm: np.ndarray) -> None:
        """Add one fold's scores of the chosen subjects."""
        self.total[m, chosen] += (by_rdm @ self.member)[chosen]

    def pools(self, w: np.ndarray, subjects: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """RDM weights (1 + n, R) of pools, all data first, and the pool (1...) each subject's lower bound takes."""
        groups, n = self.task.groups, self.task.n_subjects
        if len(subjects) > 1:
            left, which = [w * ~chosen for chosen in subjects], np.argmax(np.stack(subjects), axis=0)
        else:
            left, which = [w * (np.arange(n) != s) for s in range(n)], np.arange(n)
        return np.stack([w, *left])[:, groups], which + 1

    def add(self, scores: np.ndarray, which: np.ndarray, weights: np.ndarray) -> None:
        """Add bounds from scores (n_pools, R)."""
        by_subject = np.where(weights.any(1)[:, None], scores @ self.member, np.nan)
        self.upper += by_subject[0]
        self.lower += by_subject[which, np.arange(len(which))]

    def ceilings(self, pooled: np.ndarray, w: np.ndarray, subjects: list[np.ndarray]) -> None:
        """Bounds from inner products of normalised RDMs."""
        weights, which = self.pools(w, subjects)
        a = weights @ pooled
        lengths = np.sqrt(np.maximum((a * weights).sum(1), 0.0))[:, None]
        own = np.sqrt(np.maximum(np.diagonal(pooled), 0.0))[None]
        self.add(cosines(a, lengths, own), which, weights)

    def pooled(self, rows: np.ndarray, data: np.ndarray, w: np.ndarray, subjects: list, compare: Any) -> None:
        """Bounds from explicit pools."""
        weights, which = self.pools(w, subjects)
        known = np.isfinite(rows)
        bottom = weights @ known.astype(float)
        safe = np.where(bottom > 0, bottom, 1.0)
        pools = np.where(bottom > 0, weights @ np.where(known, rows, 0.0) / safe, np.nan)
        scores = np.zeros((len(pools), len(data)))
        some = weights.any(1)
        scores[some] = compare(pools[some], data, self.task.method)
        self.add(scores, which, weights)

    def means(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means over folds; NaN for subjects not drawn."""
        drawn = w > 0
        return (
            np.where(drawn, self.total / self.n_folds, np.nan),
            np.where(drawn, self.lower / self.n_folds, np.nan),
            np.where(drawn, self.upper / self.n_folds, np.nan),
        )


def _slices(task: Problem) -> list[slice]:
    ends = np.cumsum([len(b) for b in task.bases])
    return [slice(int(e) - len(b), int(e)) for e, b in zip(ends, task.bases, strict=True)]
