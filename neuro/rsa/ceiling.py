"""How well could any model do, given how much subjects differ?

The best single prediction for all subjects is about the mean of their normalised RDMs ("pool"):

    upper = mean_j sim(pool(all), d_j)      lower = mean_j sim(pool(all but subject j), d_j).

The upper bound has seen the data it predicts and is too high; the lower bound uses one subject less than there are and
is too low; the true model's expected score lies between them. The pool is the mean of d / rms(d) for cosine measures,
of z-scores for correlations, of ranks for rank correlations and of plain dissimilarities otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_option
from neuro.errors import EmptySelection
from neuro.rsa._gram import LINEAR, ceiling_terms, gram, pooled_gram
from neuro.rsa._ranks import average_ranks
from neuro.rsa._resample import RANKS
from neuro.rsa.container import RDMs, as_rdms

ONE_SUBJECT = "one subject: there is nobody else to predict it from"


@dataclass(frozen=True, eq=False)
class Ceiling:
    """Both bounds, of the mean and of every subject.

    Parameters
    ----------
    lower, upper : float
        NaN where ``reason`` says why.
    lower_by_subject, upper_by_subject : array (n_subjects,)
    subjects : tuple
    method : str
    reason : str
        Empty if both bounds are numbers.
    """

    lower: float
    upper: float
    lower_by_subject: np.ndarray
    upper_by_subject: np.ndarray
    subjects: tuple[Any, ...]
    method: str
    reason: str = ""

    def __iter__(self) -> Any:
        return iter((self.lower, self.upper))

    def to_frame(self) -> pd.DataFrame:
        """Return one row per subject."""
        return pd.DataFrame(
            {"subject": self.subjects, "lower": self.lower_by_subject, "upper": self.upper_by_subject}
        ).assign(method=self.method)


def noise_ceiling(rdms: Any, method: str = "cosine", *, by: str = "subject", strict: bool = False) -> Ceiling:
    """Return lower and upper noise ceiling of data RDMs.

    Parameters
    ----------
    rdms : RDMs or array (n_rdms, n_pairs)
    method : str
        Measure of :func:`neuro.rsa.compare`.
    by : str
        Column of the RDMs' table that names subjects. All RDMs of a subject are left out together and its bounds are
        means over them. Without a column "subject" every RDM counts as a subject.
    strict : bool
        For cosine_cov and corr_cov: pool RDMs of unit whitened norm, which makes the upper bound the largest mean
        similarity any RDM can reach. The default pools RDMs of unit plain norm, as rsatoolbox does.

    Returns
    -------
    Ceiling
        ``lower, upper = noise_ceiling(...)`` works too.

    References
    ----------
    Nili et al. (2014), PLoS Comput Biol 10, e1003553.

    Examples
    --------
    >>> ceiling = noise_ceiling(np.array([[1.0, 2, 3], [1, 2, 4], [2, 2, 3]]), "corr")
    >>> round(ceiling.lower, 3), round(ceiling.upper, 3)
    (0.948, 0.977)
    """
    data = as_rdms(rdms)
    groups, subjects = subject_groups(data, by)
    vectors = np.asarray(data.numpy().dissimilarities, float)
    check_method(method)
    weights = np.ones((1, len(vectors)))
    if method in LINEAR and np.isfinite(vectors).all():
        pooled = pooled_gram(gram(vectors, method), slice(None), method, strict)
        lower, upper = ceiling_terms(pooled, weights, groups)
    else:
        lower, upper = pooled_ceilings(vectors, weights, groups, method, strict)
    one = len(subjects) < 2
    return Ceiling(
        lower=_mean(lower[0]),
        upper=float("nan") if one else _mean(upper[0]),
        lower_by_subject=lower[0],
        upper_by_subject=np.full(1, np.nan) if one else upper[0],
        subjects=subjects,
        method=method,
        reason=ONE_SUBJECT if one else "",
    )


def subject_groups(rdms: RDMs, by: str | None) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Subject of each RDM as 0, 1, ... and their names, in order of appearance."""
    table = rdms.table
    if by is None or (by == "subject" and by not in table):
        return np.arange(rdms.n_rdms), tuple(rdms.names)
    if by not in table:
        raise ValueError(f"no column {by!r} in the table of RDMs; it has {list(table.columns)}.")
    codes, names = pd.factorize(table[by], use_na_sentinel=False)
    return np.asarray(codes), tuple(names)


def check_method(method: str) -> None:
    """Refuse unknown measures and distances, of which the smallest would be best."""
    from neuro.rsa.compare import METHODS

    check_option("method", method, [name for name, m in METHODS.items() if m.kind == "score"])


def pool_rows(vectors: np.ndarray, method: str, strict: bool = False) -> np.ndarray:
    """Normalised rows (R, n_pairs) whose mean is the pool; NaN pairs stay NaN."""
    if method in RANKS:
        known = np.isfinite(vectors)
        if known.all():
            return np.asarray(average_ranks(vectors), float)
        out = np.full(vectors.shape, np.nan)
        for row, v, k in zip(out, vectors, known, strict=True):
            row[k] = average_ranks(v[None, k])[0]
        return out
    if method not in LINEAR and not method.startswith("cka"):
        return vectors
    x = vectors - np.nanmean(vectors, axis=1, keepdims=True) if method.startswith("corr") else vectors
    if strict and method.endswith("_cov"):
        if not np.isfinite(vectors).all():
            raise ValueError("strict=True needs RDMs without missing pairs.")
        length = gram(vectors, method).norms()[0][:, None]
    else:
        length = np.sqrt(np.nanmean(x**2, axis=1, keepdims=True))
    small = length <= 1e-12 * np.sqrt(np.nanmean(vectors**2, axis=1, keepdims=True))
    return np.where(small, 0.0, x / np.where(small, 1.0, length))


def pooled_ceilings(
    vectors: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray,
    method: str,
    strict: bool = False,
    compare: Callable[..., Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bound of each subject for any measure, by pooling explicitly; each distinct pool once.

    Parameters
    ----------
    vectors : array (R, n_pairs)
    weights : array (B, R)
        How often each RDM is drawn.
    groups : int array (R,)

    Returns
    -------
    lower, upper : array (B, S)
        NaN for subjects not drawn.
    """
    if compare is None:
        from neuro.rsa.compare import compare
    rows = pool_rows(vectors, method, strict)
    n_subjects = int(groups.max()) + 1
    lower, upper = (np.full((len(weights), n_subjects), np.nan) for _ in range(2))
    everyone, where = _distinct(weights)
    all_scores = _pool_scores(rows, everyone, vectors, method, compare)
    for s in range(n_subjects):
        mine = groups == s
        drawn = np.flatnonzero(weights[:, mine].any(1))
        upper[drawn, s] = all_scores[where[drawn]][:, mine].mean(1)
        left = np.where(mine, 0.0, weights[drawn])
        some = left.any(1)
        if some.any():
            pools, index = _distinct(left[some])
            scores = _pool_scores(rows, pools, vectors[mine], method, compare).mean(1)
            lower[drawn[some], s] = scores[index]
    return lower, upper


def _pool_scores(
    rows: np.ndarray, weights: np.ndarray, targets: np.ndarray, method: str, compare: Callable[..., Any]
) -> np.ndarray:
    out = np.empty((len(weights), len(targets)))
    step = max(1, 4_000_000 // rows.shape[1])
    known = np.isfinite(rows)
    filled = rows if known.all() else np.where(known, rows, 0.0)
    for start in range(0, len(weights), step):
        w = weights[start : start + step]
        pools = w @ filled
        if known.all():
            pools = pools / w.sum(1, keepdims=True)
        else:
            bottom = w @ known.astype(float)
            pools = np.where(bottom > 0, pools / np.where(bottom > 0, bottom, 1.0), np.nan)
        out[start : start + step] = compare(pools, targets, method)
    return out


def _distinct(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows up to scale, which no pool depends on."""
    whole = np.rint(weights).astype(np.int64)
    if np.array_equal(whole, weights):
        divisor = np.gcd.reduce(whole, axis=1)
        weights = whole // np.maximum(divisor, 1)[:, None]
    rows, where = np.unique(weights, axis=0, return_inverse=True)
    return rows.astype(float), np.asarray(where).reshape(-1)


def _mean(x: np.ndarray) -> float:
    return float(np.nanmean(x)) if np.isfinite(x).any() else float("nan")


def check_subjects(n_subjects: int, what: str) -> None:
    """Refuse what cannot be done with one subject."""
    if n_subjects < 2:
        raise EmptySelection(
            f"{what} needs at least two subjects, got {n_subjects}: variability between subjects cannot be estimated "
            "from one. Resample stimuli (resample='stimulus'), use permutation_test, or name subjects with by=..."
        )
