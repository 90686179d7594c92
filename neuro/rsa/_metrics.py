"""The metrics of ``rdm`` by name, and which options each takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial as bind
from typing import Any

import numpy as np

from neuro._check import check_option, is_tensor
from neuro.errors import ShapeMismatch
from neuro.rsa import _distances
from neuro.rsa._patterns import Patterns
from neuro.rsa.crossnobis import crossnobis_of
from neuro.rsa.noise import whitener_of
from neuro.rsa.poisson import check_prior, poisson, poisson_cv
from neuro.rsa.unbalanced import METRICS_UNBALANCED, WEIGHTINGS


@dataclass(frozen=True)
class Metric:
    """An entry of :data:`METRICS`.

    Parameters
    ----------
    function : callable
        Of :class:`~neuro.rsa._patterns.Patterns` and the options it takes, to (n_pairs,).
    takes : tuple of str
        Among "noise", "remove_mean", "prior".
    cross_validated : bool
        Whether it needs folds.
    about : str
    """

    function: Callable[..., Any]
    takes: tuple[str, ...] = ()
    cross_validated: bool = False
    about: str = ""


def _mahalanobis(P: Patterns, noise: Any = None, remove_mean: bool = False) -> Any:
    if isinstance(noise, (list, tuple)):
        raise ShapeMismatch("metric='mahalanobis' takes one precision per data set; one per fold is for 'crossnobis'.")
    return _distances.mahalanobis(P, None if noise is None else whitener_of(noise, P.p, P.X), remove_mean)


METRICS: dict[str, Metric | Callable[[Any], Any]] = {
    "correlation": Metric(_distances.correlation, about="1 - Pearson correlation over channels"),
    "cosine": Metric(_distances.cosine, about="1 - cosine"),
    "sqeuclidean": Metric(_distances.sqeuclidean, ("remove_mean",), about="squared Euclidean / n_channels"),
    "euclidean": Metric(_distances.euclidean, ("remove_mean",), about="Euclidean / sqrt(n_channels)"),
    "mahalanobis": Metric(_mahalanobis, ("noise", "remove_mean"), about="squared Mahalanobis / n_channels"),
    "crossnobis": Metric(crossnobis_of, ("noise", "remove_mean"), True, "cross-validated squared Mahalanobis / n"),
    "poisson": Metric(poisson, ("prior",), about="symmetrised KL divergence / n_channels"),
    "poisson_cv": Metric(poisson_cv, ("prior",), True, "cross-validated symmetrised KL divergence / n_channels"),
}
"""Dissimilarities by name; a callable (n, p) -> (n_pairs,) may be added under a name of its own."""


@dataclass(frozen=True)
class Options:
    entry: Metric
    name: str
    nan: str
    remove_mean: bool
    prior: tuple[float, float] | None
    unbalanced: bool | None
    weighting: str


def metric_of(metric: Any) -> tuple[Metric, str]:
    if callable(metric):
        return Metric(bind(_custom, metric)), getattr(metric, "__name__", "custom")
    check_option("metric", metric, METRICS)
    entry = METRICS[metric]
    return (entry, metric) if isinstance(entry, Metric) else (Metric(bind(_custom, entry)), metric)


def _custom(function: Callable[[Any], Any], P: Patterns) -> Any:
    X = P.array()
    bad = (~X.isfinite()).sum() if P.tensor else (~np.isfinite(X)).sum()
    if int(bad):
        raise ValueError(f"{int(bad)} values of the patterns are NaN or infinite; nan='drop' leaves channels out.")
    if not P.tensor:
        X = X.view()
        X.flags.writeable = False
    d = function(X)
    d = d if is_tensor(d) else np.asarray(d, dtype=float)
    if tuple(d.shape) != (P.n * (P.n - 1) // 2,):
        raise ShapeMismatch(
            f"a metric must return one value for each of {P.n * (P.n - 1) // 2:,} pairs of {P.n} conditions, "
            f"got shape {tuple(d.shape)}."
        )
    return d


def check_options(
    entry: Metric, name: str, folds: Any, noise: Any, remove_mean: bool, prior: Any, unbal: Any, weighting: Any
) -> None:
    given = {"noise": noise is not None, "remove_mean": bool(remove_mean), "prior": prior is not None}
    for option, is_given in given.items():
        if is_given and option not in entry.takes:
            takers = [k for k, m in METRICS.items() if isinstance(m, Metric) and option in m.takes]
            raise ValueError(f"metric={name!r} takes no {option}; {', '.join(takers)} do.")
    if folds is not None and not entry.cross_validated and not unbal:
        takers = [k for k, m in METRICS.items() if isinstance(m, Metric) and m.cross_validated]
        raise ValueError(f"metric={name!r} is not cross-validated, so it takes no folds; {', '.join(takers)} do.")
    if unbal and name not in METRICS_UNBALANCED:
        raise ValueError(f"unbalanced=True is for {', '.join(METRICS_UNBALANCED)}, not for metric={name!r}.")
    if weighting is not None:
        check_option("weighting", weighting, WEIGHTINGS)
        if not unbal:
            raise ValueError("weighting is for unbalanced=True only.")
    if prior is not None:
        check_prior(prior)
