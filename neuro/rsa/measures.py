"""Which measure of similarity between two representations? All of them, f(X, Y), in one table.

Every entry of ``MEASURES`` says whether it is a score (large is alike) or a distance, its range, and what it does not
see. Which to take:

==================================================  ==============================================================
the question                                        the measure
==================================================  ==============================================================
same similarity structure, few stimuli              "cka-kernel=linear-hsic=song-score" (debiased, the default)
fine differences of geometry, as a true metric      "procrustes-angular-distance", "shape-alpha=0.5-angular-distance"
the same information, whatever its variance         "cca-mean-score", "shape-alpha=0-angular-distance"
the same units, not only the same space             "permutation-angular-distance"
the same neighbours                                 "knn-k=10-similarity=cosine-score", "cknna-k=10-score"
the same topology                                   "rtd-distance"
any dependence at all                               "distance_correlation-bias=corrected-score"
agreement with measured RDMs                        "rsa-..." entries, and :func:`~neuro.rsa.compare`
==================================================  ==============================================================

Crossnobis or other ratio-scale RDMs go with "cosine_cov" or "corr_cov", ordinal claims and categorical models with
"rho-a" or "tau-a" (see :mod:`neuro.rsa.compare`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from neuro._check import check_option
from neuro.errors import nearest
from neuro.rsa._array import centred, features_pair, lib, like
from neuro.rsa._pairs import to_condensed
from neuro.rsa.bures import nbs
from neuro.rsa.cca import cca, svcca
from neuro.rsa.cka import cka, lange_cka, linear_cka
from neuro.rsa.compare import METHODS, compare
from neuro.rsa.distance_correlation import distance_correlation
from neuro.rsa.neighbours import cknna, mutual_knn
from neuro.rsa.procrustes import angular_procrustes, procrustes_distance
from neuro.rsa.rtd import rtd
from neuro.rsa.shape import shape_distance

CONVERSIONS = ("angle", "chord", "one_minus")

ROTATION, SCALE, LINEAR, SHIFT, PERMUTATION = "rotation", "scale", "linear", "shift", "permutation"
RIGID = frozenset({ROTATION, PERMUTATION, SHIFT})


@dataclass(frozen=True)
class Measure:
    """A measure of similarity between two representations of the same stimuli.

    Parameters
    ----------
    function : callable (X (n, p), Y (n, q)) -> float
    kind : "score" or "distance"
    limits : (lowest, highest)
    invariant : set of "shift", "scale", "permutation" (of units), "rotation", "linear" (any invertible map)
        Changes of either representation that leave the value as it is.
    reference : str
    symmetric : bool
        Whether f(X, Y) = f(Y, X).
    metric : bool
        Whether it is a distance with triangle inequality.
    """

    function: Callable[..., Any]
    kind: str
    limits: tuple[float, float]
    invariant: frozenset[str]
    reference: str
    symmetric: bool = True
    metric: bool = False

    def __call__(self, x: Any, y: Any, **options: Any) -> Any:
        return self.function(x, y, **options)


def _rsa(metric: str, method: str, x: Any, y: Any) -> Any:
    """Compare the RDMs of two representations."""
    original = x
    x, y = features_pair(x, y)
    value = compare(_condensed(x, metric), _condensed(y, metric), method)[0, 0]
    return like(value, original) if lib(value) is not np else float(value)


def _condensed(x: Any, metric: str) -> Any:
    xp = lib(x)
    if metric == "sqeuclidean":
        x = centred(x)
    else:
        x = x - x.mean(1)[:, None] if metric == "correlation" else x
        norms = xp.sqrt((x * x).sum(1))
        if bool((norms <= 1e-12 * abs(x).max()).any()):
            raise ValueError(f"a pattern is constant: its {metric} distance is not defined.")
        x = x / norms[:, None]
    norms = (x * x).sum(1)
    square = norms[:, None] + norms[None, :] - 2 * x @ x.T
    return xp.clip(to_condensed(square), 0, np.inf)[None] / (x.shape[1] if metric == "sqeuclidean" else 2)


def _rsa_measure(metric: str, method: str) -> Measure:
    entry = METHODS[method]
    free = {"sqeuclidean": RIGID | {SCALE}, "correlation": frozenset({PERMUTATION, SCALE})}[metric]
    return Measure(partial(_rsa, metric, method), entry.kind, entry.limits, free, entry.reference)


KORNBLITH = "Kornblith et al. (2019), ICML"
WILLIAMS = "Williams et al. (2021), NeurIPS"
HUH = "Huh et al. (2024), ICML"
SAME = RIGID | {SCALE}
MEASURES: dict[str, Measure] = {
    "cka-kernel=linear-hsic=song-score": Measure(linear_cka, "score", (-1, 1), SAME, "Song et al. (2012), JMLR 13"),
    "cka-kernel=linear-hsic=gretton-score": Measure(
        partial(linear_cka, debiased=False), "score", (0, 1), SAME, KORNBLITH
    ),
    "cka-kernel=linear-hsic=lange-score": Measure(lange_cka, "score", (-1, 1), SAME, "Lange et al. (2023), UniReps"),
    "cka-kernel=rbf-hsic=song-score": Measure(partial(cka, kernel="rbf"), "score", (-1, 1), SAME, KORNBLITH),
    "cka-kernel=rbf-hsic=gretton-score": Measure(
        partial(cka, kernel="rbf", debiased=False), "score", (0, 1), SAME, KORNBLITH
    ),
    "nbs-score": Measure(nbs, "score", (0, 1), SAME, "Harvey et al. (2024), UniReps"),
    "procrustes-euclidean-distance": Measure(
        procrustes_distance, "distance", (0, math.inf), RIGID, WILLIAMS, metric=True
    ),
    "procrustes-angular-distance": Measure(
        angular_procrustes, "distance", (0, math.pi / 2), SAME, WILLIAMS, metric=True
    ),
    "shape-alpha=0.5-angular-distance": Measure(
        partial(shape_distance, alpha=0.5), "distance", (0, math.pi / 2), RIGID, WILLIAMS, metric=True
    ),
    "shape-alpha=0-angular-distance": Measure(
        partial(shape_distance, alpha=0.0), "distance", (0, math.pi / 2), SAME | {LINEAR}, WILLIAMS, metric=True
    ),
    "permutation-angular-distance": Measure(
        partial(shape_distance, group="permutation"),
        "distance",
        (0, math.pi),
        frozenset({PERMUTATION, SHIFT, SCALE}),
        WILLIAMS,
        metric=True,
    ),
    "cca-mean-score": Measure(cca, "score", (0, 1), SAME | {LINEAR}, "Raghu et al. (2017), NeurIPS"),
    "cca-mean_square-score": Measure(partial(cca, summary="mean_square"), "score", (0, 1), SAME | {LINEAR}, KORNBLITH),
    "pwcca-score": Measure(
        partial(cca, summary="pwcca"),
        "score",
        (0, 1),
        frozenset({SHIFT, SCALE, PERMUTATION}),
        "Morcos et al. (2018), NeurIPS",
        symmetric=False,
    ),
    "svcca-variance=0.99-score": Measure(svcca, "score", (0, 1), SAME, "Raghu et al. (2017), NeurIPS"),
    "knn-k=10-similarity=cosine-score": Measure(
        mutual_knn, "score", (0, 1), frozenset({ROTATION, SCALE, PERMUTATION}), HUH
    ),
    "knn-k=10-similarity=euclidean-score": Measure(
        partial(mutual_knn, similarity="euclidean"), "score", (0, 1), SAME, HUH
    ),
    "cknna-k=10-score": Measure(cknna, "score", (-math.inf, math.inf), frozenset({ROTATION, SCALE, PERMUTATION}), HUH),
    "distance_correlation-bias=corrected-score": Measure(
        distance_correlation, "score", (-1, 1), SAME, "Szekely & Rizzo (2013), J. Multivar. Anal. 117"
    ),
    "distance_correlation-bias=classical-score": Measure(
        partial(distance_correlation, bias_corrected=False),
        "score",
        (0, 1),
        SAME,
        "Szekely et al. (2007), Ann. Stat. 35",
    ),
    "rtd-distance": Measure(rtd, "distance", (0, math.inf), SAME, "Barannikov et al. (2022), ICML"),
}
MEASURES |= {
    f"rsa-rdm={metric}-compare={method}-{METHODS[method].kind}": _rsa_measure(metric, method)
    for metric in ("sqeuclidean", "correlation")
    for method in ("cosine", "corr", "spearman", "rho-a", "tau-a", "cosine_cov", "corr_cov")
}


def similarity(x: Any, y: Any, measure: str = "cka-kernel=linear-hsic=song-score", **options: Any) -> Any:
    """Return one measure of similarity (or distance, see its entry in ``MEASURES``) of two representations.

    Parameters
    ----------
    x, y : array or tensor (n_stimuli, n_features); numbers of features may differ
    measure : str, a key of ``MEASURES``
    **options
        Passed to its function.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((20, 5))
    >>> round(similarity(x, 3 * x + 1), 12)
    1.0
    """
    if measure not in MEASURES:
        raise ValueError(f"no measure {measure!r}{nearest(measure, MEASURES)} (MEASURES lists all).")
    return MEASURES[measure](x, y, **options)


def pairwise(representations: Any, measure: str = "cka-kernel=linear-hsic=song-score", **options: Any) -> np.ndarray:
    """Return a measure between all pairs of representations (m, m), e.g. of the layers of a network.

    Parameters
    ----------
    representations : sequence, or mapping name -> array (n_stimuli, n_features)
    """
    xs = list(representations.values()) if hasattr(representations, "values") else list(representations)
    if measure not in MEASURES:
        raise ValueError(f"no measure {measure!r}{nearest(measure, MEASURES)} (MEASURES lists all).")
    entry = MEASURES[measure]
    out = np.empty((len(xs), len(xs)))
    for i in range(len(xs)):
        for j in range(len(xs)):
            known = entry.symmetric and j < i
            out[i, j] = out[j, i] if known else float(entry(xs[i], xs[j], **options))
    return out


def to_distance(score: Any, how: str = "angle") -> Any:
    """Turn a score s of at most 1 into a distance.

    Parameters
    ----------
    score : float, array or tensor, -1 to 1 (rounding beyond is cut off)
    how : "angle" (arccos s, radians), "chord" (sqrt(2 - 2 s)) or "one_minus" (1 - s, no metric)

    Examples
    --------
    >>> float(round(to_distance(0.5, "chord"), 6))
    1.0
    """
    check_option("how", how, CONVERSIONS)
    score, xp = _in_range(score, -1.0, 1.0, "a score")
    if how == "one_minus":
        return 1 - score
    return xp.arccos(score) if how == "angle" else xp.sqrt(2 - 2 * score)


def to_score(distance: Any, how: str = "angle") -> Any:
    """Undo :func:`to_distance`."""
    check_option("how", how, CONVERSIONS)
    top = {"angle": math.pi, "chord": 2.0, "one_minus": 2.0}[how]
    distance, xp = _in_range(distance, 0.0, top, "a distance")
    if how == "one_minus":
        return 1 - distance
    return xp.cos(distance) if how == "angle" else 1 - distance**2 / 2


def _in_range(value: Any, low: float, high: float, what: str) -> tuple[Any, Any]:
    xp = lib(value)
    value = value if xp is not np else np.asarray(value, float)[()]
    slack = 1e-9 if xp is np else 1e-5
    if bool(((value < low - slack) | (value > high + slack)).any()):
        raise ValueError(f"{what} lies from {low:g} to {high:.4g}, got {float(value.min())} to {float(value.max())}.")
    return xp.clip(value, low, high), xp
