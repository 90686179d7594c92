"""Which models predict the data, how far from the noise ceiling, and would that hold for other subjects and stimuli?

A score is the mean over subjects of the similarity between model and data RDM. Resampling subjects, stimuli or both
says how far it generalises; weighted models are scored on stimuli and subjects they were not fitted to.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int
from neuro.rsa._gram import ceiling_terms, cosines, gram, pooled_gram
from neuro.rsa._problem import Problem, problem, whitened
from neuro.rsa._resample import draw_counts, rank_scores, replicate
from neuro.rsa.ceiling import ONE_SUBJECT, Ceiling, check_subjects, pooled_ceilings
from neuro.rsa.crossvalidate import FoldScores, as_cv, cv_scores
from neuro.rsa.result import Result

RESAMPLE = (None, "subject", "stimulus", "both", "dual")
BLOCK = 4_000_000


def evaluate(
    models: Any,
    rdms: Any,
    method: str = "cosine",
    *,
    resample: str | None = "subject",
    cv: Any = None,
    n_boot: int = 1000,
    rng: int | np.random.Generator | None = None,
    n_jobs: int = 1,
    by: str | None = "subject",
    stimuli_by: str | None = None,
    strict: bool = False,
    sigma_k: Any = None,
) -> Result:
    """Score models against data RDMs, with noise ceilings and everything tests need.

    Parameters
    ----------
    models : RDMs (one model each), array, dict of name -> RDM or array, :class:`~neuro.rsa.models.Model`, or a list
        Conditions are matched by name where both sides have names. Tensors are copied into numpy arrays.
    rdms : RDMs or array (n_rdms, n_pairs)
        Data.
    method : str
        Measure of :func:`neuro.rsa.compare`. For ratio-scale distances such as crossnobis "cosine_cov" or "corr_cov",
        for ordinal claims and categorical models "rho-a" or "tau-a".
    resample : None, "subject", "stimulus", "both" or "dual"
        To what the inference generalises: None and "subject" to other subjects (from the variance over subjects, or a
        bootstrap), "stimulus" to other stimuli, "both" to both, conservatively; "dual" to both, without counting
        measurement noise twice. Pairs of a stimulus with its own copy are left out. With few stimuli (20) resampling
        them is conservative: a 5 % test rejects at most 4 %, with 40 about 5 % (benchmarks/rsa_calibration.py).
    cv : None, "stimulus", "subject", "both" or CrossValidation
        Needed for models with free weights.
    n_boot : int
    rng : int, Generator or None
    n_jobs : int
        Processes for cross-validation and for rank measures; does not change the result.
    by : str
        Column of the RDMs' table that names subjects; without a column "subject" each RDM is one. Scores are means over
        the RDMs of a subject, then over subjects.
    stimuli_by : str, optional
        Column of the condition table; its groups of stimuli are resampled and folded as one.
    strict : bool
        As for :func:`~neuro.rsa.ceiling.noise_ceiling`.
    sigma_k : array (n_conditions,) or (n_conditions, n_conditions), optional
        Noise variances of the conditions, or their covariance, in the order of the data: "cosine_cov" and "corr_cov"
        whiten with it, see :func:`neuro.rsa.compare`. For inference over subjects, without ``cv``; ceilings are then
        ``strict``.

    Returns
    -------
    Result

    Raises
    ------
    EmptySelection
        A bootstrap over subjects with one subject, or too few stimuli for the folds.
    ValueError
        Models with weights without ``cv``; unknown options; sigma_k with a resampling of stimuli, with ``cv``, with a
        method that has no use for it, or with unknown pairs.

    References
    ----------
    Nili et al. (2014), PLoS Comput Biol 10, e1003553. Schütt, Kipnis, Diedrichsen & Kriegeskorte (2023), eLife 12,
    e82566.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.random(190)
    >>> data = truth + rng.standard_normal((6, 190))
    >>> result = evaluate({"truth": truth, "other": rng.random(190)}, data, "corr", n_boot=200, rng=0)
    >>> result.scores.round(2)
    array([ 0.26, -0.08])
    """
    check_option("resample", resample, RESAMPLE)
    check_positive_int("n_boot", n_boot, 2)
    folds = as_cv(cv)
    generator = as_rng(rng)
    stimuli = resample in ("stimulus", "both", "dual")
    task = problem(models, rdms, method, by, stimuli_by, strict, stimuli or bool(folds and folds.over != "subject"))
    if resample in ("subject", "both", "dual"):
        check_subjects(task.n_subjects, f"resample={resample!r}")
    flexible = [m.name for m in task.models if m.flexible]
    if flexible and folds is None:
        raise ValueError(
            f"{flexible[0]!r} has weights to fit, and a score on the data they were fitted to is too high: give "
            "cv='both', 'stimulus' or 'subject', or the prediction of weights fitted elsewhere, model.predict(weights)."
        )
    nonnegative = all(bool((x[np.isfinite(x)] >= 0).all()) for x in (task.data, *task.bases))
    if sigma_k is not None:
        if stimuli or folds is not None:
            raise ValueError(
                "sigma_k belongs to the conditions as they are: with it resample must be 'subject' or None and cv None."
            )
        task = whitened(task, sigma_k)
    draws = _draws(task, resample, n_boot, generator)
    ones_c, ones_w = np.ones((1, len(task.stimulus_groups))), np.ones((1, task.n_subjects))
    if folds is None:
        if resample is None and task.n_subjects > 2:
            draws = {"jackknife": (ones_c, 1.0 - np.eye(task.n_subjects))}
        unsplit = [k for k in ("subject", "jackknife") if k in draws]
        full, *found = _plain(task, None, [ones_w, *(draws[k][1] for k in unsplit)], 1)
        resampled = _resampled(task, draws, dict(zip(unsplit, found, strict=True)), n_jobs)
    else:
        plan = folds.resolved(task.n_stimuli, task.n_subjects, resample is not None)
        folds = plan
        seeds = generator.integers(2**62, size=(1 + (n_boot if resample else 0), plan.n_repeats))
        found = cv_scores(task, ones_c, ones_w, plan, seeds[:1], n_jobs)
        full = FoldScores(found.scores.mean(1), found.lower.mean(1), found.upper.mean(1))
        resampled = {k: cv_scores(task, c, w, plan, seeds[1:], n_jobs) for k, (c, w) in draws.items()}
    samples = {k: _sample_array(task, x, draws[k][1]) for k, x in resampled.items()}
    _warn_dropped(samples, np.isfinite(full.scores[0]).all(1))
    if task.n_subjects < 2:
        full.upper[:] = full.lower[:] = np.nan
        samples = {k: _without_ceilings(x) for k, x in samples.items()}
    by_subject = full.scores[0]
    return Result(
        models=tuple(m.name for m in task.models),
        scores=by_subject.mean(1),
        scores_by_subject=by_subject,
        ceiling=_ceiling(task, full, method),
        samples=samples,
        method=method,
        resample=resample,
        cv=dict(folds.settings()) if folds else None,
        n_subjects=task.n_subjects,
        n_stimuli=task.n_stimuli,
        nonnegative=nonnegative,
        seed=int(rng) if isinstance(rng, (int, np.integer)) else None,
    )


def _draws(task: Problem, resample: str | None, n_boot: int, rng: np.random.Generator) -> dict[str, tuple]:
    """Counts of stimuli (B, n_stimuli) and subjects (B, n_subjects) of each kind of resample."""
    if resample is None:
        return {}
    ones_c, ones_w = np.ones((n_boot, len(task.stimulus_groups))), np.ones((n_boot, task.n_subjects))
    c = draw_counts(n_boot, task.stimulus_groups, rng) if resample != "subject" else ones_c
    w = draw_counts(n_boot, np.arange(task.n_subjects), rng) if resample != "stimulus" else ones_w
    kinds = {"subject": (ones_c, w), "stimulus": (c, ones_w), "both": (c, w)}
    return kinds if resample == "dual" else {resample: kinds[resample]}


def _resampled(
    task: Problem, draws: dict[str, tuple], found: dict[str, FoldScores], n_jobs: int
) -> dict[str, FoldScores]:
    out = dict(found)
    kinds = [k for k in ("stimulus", "both") if k in draws]
    if kinds:
        parts = _plain(task, draws[kinds[0]][0], [draws[k][1] for k in kinds], n_jobs)
        out.update(zip(kinds, parts, strict=True))
    return {k: FoldScores(x.scores[:, None], x.lower[:, None], x.upper[:, None]) for k, x in out.items()}


def _plain(task: Problem, counts: np.ndarray | None, weights: list[np.ndarray], n_jobs: int) -> list[FoldScores]:
    """Scores (B or 1, M, S) and ceilings (B, S) under counts of stimuli, for several sets of subject weights."""
    if task.linear:
        return _linear(task, counts, weights)
    if counts is None:
        return [_subjects_only(task, w) for w in weights]
    if task.ranked:
        parts = _in_chunks(_ranked_chunk, task, counts, weights, n_jobs)
    else:
        parts = _in_chunks(_explicit_chunk, task, counts, weights, n_jobs)
    out = [
        FoldScores(*(np.concatenate([getattr(p[k], name) for p in parts]) for name in ("scores", "lower", "upper")))
        for k in range(len(weights))
    ]
    few = _distinct_stimuli(task, counts) < 3
    for x in out:
        x.scores[few], x.lower[few], x.upper[few] = np.nan, np.nan, np.nan
    return out


def _linear(task: Problem, counts: np.ndarray | None, weights: list[np.ndarray]) -> list[FoldScores]:
    stack = np.concatenate([*task.bases, task.data])
    m = len(stack) - len(task.data)
    needed = np.zeros((len(stack), len(stack)), bool)
    needed[:, m:] = True
    n = 1 if counts is None else len(counts)
    step = max(1, min(n, BLOCK // len(stack) ** 2))
    parts: list[list[FoldScores]] = [[] for _ in weights]
    for start in range(0, n, step):
        rows = slice(start, start + step)
        grams = gram(stack, task.method, None if counts is None else counts[rows], needed)
        lengths = grams.norms()
        scores = cosines(grams.inner[:, :m, m:], lengths[:, :m, None], lengths[:, None, m:]) @ task.member
        pooled = pooled_gram(grams, slice(m, None), task.method, task.strict)
        for k, w in enumerate(weights):
            mine = w if counts is None else w[rows]
            lower, upper = ceiling_terms(pooled, mine[:, task.groups], task.groups)
            parts[k].append(FoldScores(scores, lower, upper))
        if counts is not None:
            few = _distinct_stimuli(task, counts[rows]) < 3
            scores[few] = np.nan
            for part in parts:
                part[-1].lower[few], part[-1].upper[few] = np.nan, np.nan
    return [
        FoldScores(*(np.concatenate([getattr(p, name) for p in part]) for name in ("scores", "lower", "upper")))
        for part in parts
    ]


def _subjects_only(task: Problem, weights: np.ndarray) -> FoldScores:
    from neuro.rsa.compare import compare

    by_rdm = np.asarray(compare(np.concatenate(task.bases), task.data, task.method), float)
    lower, upper = pooled_ceilings(task.data, weights[:, task.groups], task.groups, task.method, task.strict, compare)
    return FoldScores((by_rdm @ task.member)[None], lower, upper)


def _in_chunks(work: Any, task: Problem, counts: np.ndarray, weights: list[np.ndarray], n_jobs: int) -> list:
    size = max(1, min(50, -(-len(counts) // max(n_jobs, 1))))
    starts = range(0, len(counts), size)
    packed = [(task, counts[s : s + size], [w[s : s + size] for w in weights]) for s in starts]
    if n_jobs == 1:
        return [work(*p) for p in packed]
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=n_jobs)(delayed(work)(*p) for p in packed))


def _ranked_chunk(task: Problem, counts: np.ndarray, weights: list[np.ndarray]) -> list[FoldScores]:
    by_rdm = np.stack([w[:, task.groups] for w in weights])
    scores, lower, upper = rank_scores(np.concatenate(task.bases), task.data, task.method, counts, by_rdm, task.groups)
    return [FoldScores((scores @ task.member).copy(), lo, up) for lo, up in zip(lower, upper, strict=True)]


def _explicit_chunk(task: Problem, counts: np.ndarray, weights: list[np.ndarray]) -> list[FoldScores]:
    from neuro.rsa.compare import compare

    n, s = len(counts), task.n_subjects
    out = [
        FoldScores(np.full((n, task.n_models, s), np.nan), np.full((n, s), np.nan), np.full((n, s), np.nan))
        for _ in weights
    ]
    few = _distinct_stimuli(task, counts) < 3
    stack, m = np.concatenate([*task.bases, task.data]), sum(len(b) for b in task.bases)
    for b in np.flatnonzero(~few):
        vectors = replicate(stack, counts[b])
        data = vectors[m:]
        scores = np.asarray(compare(vectors[:m], data, task.method), float) @ task.member
        for k, w in enumerate(weights):
            lower, upper = pooled_ceilings(data, w[b : b + 1, task.groups], task.groups, task.method, False, compare)
            out[k].scores[b], out[k].lower[b], out[k].upper[b] = scores, lower[0], upper[0]
    return out


def _distinct_stimuli(task: Problem, counts: np.ndarray) -> np.ndarray:
    return (counts > 0).sum(1)


def _sample_array(task: Problem, x: FoldScores, weights: np.ndarray) -> np.ndarray:
    """Weighted means over subjects: (B, n_repeats, M + 2)."""
    share = weights / weights.sum(1, keepdims=True)
    drawn = weights[:, None, None, :] > 0
    if len(x.scores) == 1 and np.isfinite(x.scores).all():
        scores = (share @ x.scores[0, 0].T)[:, None]
    else:
        scores = (np.where(drawn, x.scores, 0.0) * share[:, None, None, :]).sum(-1)
    bounds = [_drawn_mean(bound, weights) for bound in (x.lower, x.upper)]
    return np.concatenate([scores, *(b[..., None] for b in bounds)], axis=-1)


def _drawn_mean(bound: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over distinct subjects drawn; NaN if one of them has none."""
    drawn = (weights > 0)[:, None, :]
    return np.where(drawn, bound, 0.0).sum(-1) / drawn.sum(-1)


def _without_ceilings(x: np.ndarray) -> np.ndarray:
    out = x.copy()
    out[..., -2:] = np.nan
    return out


def _ceiling(task: Problem, full: FoldScores, method: str) -> Ceiling:
    one = task.n_subjects < 2
    return Ceiling(
        lower=float(full.lower[0].mean()),
        upper=float(full.upper[0].mean()),
        lower_by_subject=full.lower[0],
        upper_by_subject=full.upper[0],
        subjects=task.subjects,
        method=method,
        reason=ONE_SUBJECT if one else "",
    )


def _warn_dropped(samples: dict[str, np.ndarray], scored: np.ndarray) -> None:
    """Warn about models without a score, and about draws without one of the others."""
    if not scored.all():
        warnings.warn(f"{int((~scored).sum())} models have no score (NaN) with some subject.", stacklevel=3)
    for name, x in samples.items() if scored.any() else ():
        dropped = int((~np.isfinite(x[..., :-2][..., scored])).any((1, 2)).sum())
        if dropped == len(x):
            raise ValueError(
                f"no resample of {name} has enough distinct stimuli and subjects; there are too few of them."
            )
        if dropped:
            warnings.warn(
                f"{dropped} of {len(x)} resamples ({name}) had too few distinct stimuli or subjects and are left out.",
                stacklevel=3,
            )
