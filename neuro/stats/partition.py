"""What do several sets of features explain alone, and what together?

Every combination of sets is a model of its own, fitted jointly with its own hyper-parameters; their scores are then
added and subtracted. With R2(T) the score of the model on the sets T, what exactly the sets T of all sets S share is

    sum over K in T of (-1)^(|K| + 1) R2((S - T) + K),

so that the terms of all T sum to R2(S). Negative terms are kept: held-out scores are noisy, and suppressors exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_option, check_positive_int
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats._moments import as_columns, to_numpy
from neuro.stats._rois import RoiMeans, check_rois, roi_means
from neuro.stats.bootstrap import bootstrap_weights, check_level, percentile_interval, resampled_scores
from neuro.stats.compare import _sign_p
from neuro.stats.metrics import METRICS

Subset = tuple[str, ...]
#: Scores that are shares of variance, so that they can be subtracted.
SHARES = ("r2", "explained_variance")


@dataclass(frozen=True, eq=False)
class VariancePartition:
    """Result of :func:`variance_partition`. ``n_terms`` is 2^n_sets - 1.

    Parameters
    ----------
    sets : tuple of str
    subsets : tuple of tuple of str
        Small ones first, in the order of the rows below.
    r2 : array (n_terms, n_voxels)
        Score of the model on these sets.
    terms : array (n_terms, n_voxels)
        What exactly these sets share: one set's row is its unique variance, and all rows sum to the score of all sets.
    rois : tuple of str
    roi_r2, roi_terms : array (n_terms, n_rois)
    low, high, p : array (n_terms, n_voxels), or None
        Interval and two-sided bootstrap p of ``terms``, where predictions were given.
    roi_low, roi_high, roi_p : array (n_terms, n_rois), or None
    metric, level, n_bootstraps, seed
        Settings.
    """

    sets: Subset
    subsets: tuple[Subset, ...]
    r2: np.ndarray
    terms: np.ndarray
    rois: tuple[str, ...]
    roi_r2: np.ndarray
    roi_terms: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None
    p: np.ndarray | None
    roi_low: np.ndarray | None
    roi_high: np.ndarray | None
    roi_p: np.ndarray | None
    metric: str
    level: float
    n_bootstraps: int
    seed: Any

    def of(self, *names: str) -> np.ndarray:
        """Return what exactly these sets share, (n_voxels,); of one set its unique variance."""
        for name in names:
            check_option("set", name, self.sets)
        return self.terms[self.subsets.index(tuple(s for s in self.sets if s in names))]

    def to_frame(self) -> pd.DataFrame:
        """Return one tidy row per region and term."""
        blank = np.full(self.roi_terms.shape, np.nan)
        low, high, p = (blank if x is None else x for x in (self.roi_low, self.roi_high, self.roi_p))
        return pd.DataFrame(
            [
                {"roi": roi, "sets": "+".join(subset), "r2": self.roi_r2[k, j], "term": self.roi_terms[k, j]}
                | {"ci_low": low[k, j], "ci_high": high[k, j], "p": p[k, j]}
                for j, roi in enumerate(self.rois)
                for k, subset in enumerate(self.subsets)
            ]
        )


def variance_partition(
    score: Callable[[Subset], Any] | Mapping[Any, Any],
    sets: Sequence[str],
    *,
    Y: Any = None,
    groups: Any = None,
    rois: Mapping[str, Any] | None = None,
    metric: str = "r2",
    n_bootstraps: int = 1000,
    level: float = 0.95,
    seed: int | np.random.Generator = 0,
) -> VariancePartition:
    """Divide the variance that sets of features explain into what each subset of them shares exclusively.

    Parameters
    ----------
    score : callable, or dict subset -> array
        Takes a tuple of set names, fits a model on these sets *with hyper-parameters of its own*, and returns its
        held-out R2 (n_voxels,), or, with ``Y``, its predictions (n_rows, n_voxels). Called once for each of the
        2^n_sets - 1 subsets, whose names come in the order of ``sets``. A dict holds the same under tuples.
    sets : sequence of str
        Two to four.
    Y : array or tensor (n_rows, n_voxels), optional
        Held-out responses: scores come from predictions, and the terms get intervals and p by resampling images.
    groups : array (n_rows,), optional
        The stimulus of each row, where rows are repeats.
    rois : dict name -> boolean mask or indices, optional
        By default one region "all".
    metric : "r2" or "explained_variance"
        Of predictions.
    n_bootstraps : int
    level : float
    seed : int or Generator

    Returns
    -------
    VariancePartition

    Raises
    ------
    ValueError
        If there are fewer than two or more than four sets, or the dict lacks a subset.
    ShapeMismatch
        If results differ in shape.
    EmptySelection
        If no voxel has a score from every model.

    References
    ----------
    Borcard, Legendre & Drapeau (1992), Ecology 73, 1045-1055. de Heer, Huth, Griffiths, Gallant & Theunissen (2017),
    Journal of Neuroscience 37, 6539-6557.

    Examples
    --------
    >>> r2 = {("a",): [0.3], ("b",): [0.2], ("a", "b"): [0.4]}
    >>> found = variance_partition(r2, ["a", "b"])
    >>> dict(zip(found.subsets, found.terms[:, 0].round(2).tolist()))
    {('a',): 0.2, ('b',): 0.1, ('a', 'b'): 0.1}
    """
    check_option("metric", metric, SHARES)
    check_level(level)
    check_positive_int("n_bootstraps", n_bootstraps)
    names = check_names("sets", sets)
    if not 2 <= len(names) <= 4:
        raise ValueError(
            f"a partition takes 2 to 4 sets ({2 ** len(names) - 1} models for {len(names)}), got {list(names)}."
        )
    subsets = tuple(c for size in range(1, len(names) + 1) for c in combinations(names, size))
    results = collect(score, subsets, names)
    hats = []
    if Y is None:
        r2 = stack_scores(results)
    else:
        for subset, hat in results.items():
            try:
                Y, hat, _ = as_columns(Y, hat, max_ndim=2)
            except ShapeMismatch as error:
                raise ShapeMismatch(f"predictions of {'+'.join(subset)}: {error}") from None
            hats.append(hat)
        r2 = stack_scores({s: to_numpy(METRICS[metric](Y, hat)) for s, hat in zip(subsets, hats, strict=True)})
    roi_names, masks = check_rois(rois, r2.shape[1])
    r2 = np.where(np.isfinite(r2).all(0), r2, np.nan)
    mixing = _inclusion_exclusion(names, subsets)
    terms = mixing @ r2
    roi_terms = np.stack([roi_means(t, masks) for t in terms])
    bounds: dict[str, Any] = dict.fromkeys(("low", "high", "p", "roi_low", "roi_high", "roi_p"))
    if Y is not None:
        weights = bootstrap_weights(len(Y), n_bootstraps, groups, seed)
        low, high, p = np.empty((3, *terms.shape))
        means = [RoiMeans(masks, n_bootstraps) for _ in subsets]
        for blocks in zip(*(resampled_scores(Y, hat, weights, metric) for hat in hats), strict=True):
            columns = blocks[0][0]
            samples = np.tensordot(mixing, np.stack([scores for _, scores in blocks]).astype(float), 1)
            for k, (mean, sample) in enumerate(zip(means, samples, strict=True)):
                mean.add(columns, sample)
                low[k, columns], high[k, columns] = percentile_interval(sample, level)
                p[k, columns] = _sign_p(sample, terms[k, columns])
        limits = [percentile_interval(mean.means, level) for mean in means]
        bounds = {"low": low, "high": high, "p": p} | {
            "roi_low": np.stack([a for a, _ in limits]),
            "roi_high": np.stack([b for _, b in limits]),
            "roi_p": np.stack([_sign_p(mean.means, t) for mean, t in zip(means, roi_terms, strict=True)]),
        }
    return VariancePartition(
        sets=names,
        subsets=subsets,
        r2=r2,
        terms=terms,
        rois=roi_names,
        roi_r2=np.stack([roi_means(r, masks) for r in r2]),
        roi_terms=roi_terms,
        **bounds,
        metric=metric,
        level=level,
        n_bootstraps=0 if Y is None else n_bootstraps,
        seed=seed,
    )


def check_names(what: str, names: Sequence[str]) -> Subset:
    """Return distinct names as a tuple."""
    if isinstance(names, str):
        raise ValueError(f"{what} must be a sequence of names, got the one string {names!r}.")
    out = tuple(str(name) for name in names)
    if len(set(out)) < len(out):
        raise ValueError(f"{what} must be distinct, got {list(out)}.")
    return out


def collect(score: Any, subsets: Sequence[Subset], names: Subset) -> dict[Subset, Any]:
    """Return what ``score`` says of every subset, which a dict must hold before any work."""
    if callable(score):
        return {subset: score(subset) for subset in subsets}
    if not isinstance(score, Mapping):
        raise ValueError(f"score must be a callable or a dict subset -> array, got {type(score).__name__}.")
    given: dict[Subset, Any] = {}
    for key, value in score.items():
        parts = {key} if isinstance(key, str) else {str(k) for k in key}
        if unknown := sorted(parts - set(names)):
            raise ValueError(f"score holds {key!r}, but {unknown} are not among {list(names)}.")
        given[tuple(n for n in names if n in parts)] = value
    if missing := [subset for subset in subsets if subset not in given]:
        raise ValueError(
            f"score lacks the joint models of {', '.join('+'.join(s) for s in missing)}. Scores of models that are not "
            "nested in one another cannot be subtracted: fit each of these combinations."
        )
    return {subset: given[subset] for subset in subsets}


def stack_scores(results: Mapping[Subset, Any]) -> np.ndarray:
    """Return scores (n_subsets, n_voxels)."""
    arrays = {s: np.asarray(to_numpy(r), dtype=float) for s, r in results.items()}
    first = next(iter(arrays.values())).shape
    for subset, array in arrays.items():
        if array.ndim != 1 or array.shape != first:
            raise ShapeMismatch(
                f"scores must all be (n_voxels,), got {array.shape} of {'+'.join(subset)} and {first} of "
                f"{'+'.join(next(iter(arrays)))}."
            )
    r2 = np.stack(list(arrays.values()))
    if not np.isfinite(r2).all(0).any():
        raise EmptySelection(f"none of {r2.shape[1]:,} voxels has a score from every model.")
    return r2


def _inclusion_exclusion(names: Subset, subsets: tuple[Subset, ...]) -> np.ndarray:
    """Return the matrix (n_terms, n_terms) that turns scores into terms."""
    row_of = {subset: k for k, subset in enumerate(subsets)}
    out = np.zeros((len(subsets), len(subsets)))
    for k, term in enumerate(subsets):
        rest = set(names) - set(term)
        for size in range(len(term) + 1):
            for part in combinations(term, size):
                union = tuple(n for n in names if n in rest or n in part)
                if union:
                    out[k, row_of[union]] += (-1) ** (size + 1)
    return out
