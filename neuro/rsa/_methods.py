"""Which ways there are to compare RDMs: what each computes, its range, and how it treats unknown pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro.rsa import _ranks, _whitened, bures
from neuro.rsa._array import TINY, double
from neuro.rsa._products import cosines, unit

FEWEST = 3  # stimuli that must survive the unknown pairs


@dataclass(frozen=True)
class Method:
    """One way to compare RDMs.

    Parameters
    ----------
    scores : callable (a (n_a, P), b (n_b, P)) -> (n_a, n_b)
    kind : "score" (large is alike) or "distance"
    limits : (lowest, highest) value possible
    reference : str
    tokens : callable (d (m, P)) -> (m, k), optional
        Vectors whose dot products are the scores.
    unknown : "pairs", "whitened" or "stimuli"
        What is left out for unknown pairs: those pairs; those pairs, with their covariance; or whole stimuli, those
        with most unknown pairs first, until all pairs are known.
    centre : bool
        Whether each RDM's mean is removed first.
    fewest : int
        Stimuli below which the result is NaN.
    """

    scores: Callable[[Any, Any], Any]
    kind: str
    limits: tuple[float, float]
    reference: str
    tokens: Callable[[Any], Any] | None = None
    unknown: str = "pairs"
    centre: bool = False
    fewest: int = FEWEST


def _token_scores(a: Any, b: Any, make: Callable[[Any], Any]) -> Any:
    left = make(a)
    return left @ (left if b is a else make(b)).T


def _centred_unit(d: Any) -> Any:
    d = double(d)
    floor = TINY**2 * 100 * (d * d).sum(1)
    return unit(d - d.mean(1)[:, None], floor)


def _whitened_method(kind: str, centre: bool, unknown: str, limits: tuple[float, float], reference: str) -> Method:
    return Method(
        lambda a, b: _whitened.scores(a, b, kind, centre),
        "score",
        limits,
        reference,
        lambda d: _whitened.tokens(d, kind, centre),
        unknown,
        centre,
        4 if kind == "debiased" else FEWEST,
    )


DIEDRICHSEN = "Diedrichsen et al. (2021), Neurons, Behavior, Data analysis, and Theory 5(3)"
SCHUETT = "Schuett et al. (2023), eLife 12:e82566"
METHODS: dict[str, Method] = {
    "cosine": Method(lambda a, b: cosines(a, b), "score", (-1, 1), DIEDRICHSEN, lambda d: unit(double(d))),
    "corr": Method(
        lambda a, b: cosines(a, b, centre=True),
        "score",
        (-1, 1),
        "Kriegeskorte et al. (2008), Front. Syst. Neurosci. 2:4",
        lambda d: _centred_unit(d),
        centre=True,
    ),
    "spearman": Method(
        lambda a, b: _token_scores(a, b, _ranks.spearman_tokens),
        "score",
        (-1, 1),
        "Spearman (1904), Am. J. Psychol. 15",
        _ranks.spearman_tokens,
    ),
    "rho-a": Method(
        lambda a, b: _token_scores(a, b, _ranks.rho_a_tokens), "score", (-1, 1), SCHUETT, _ranks.rho_a_tokens
    ),
    "tau-a": Method(lambda a, b: _ranks.tau(a, b, "a"), "score", (-1, 1), "Nili et al. (2014), PLoS Comput. Biol. 10"),
    "tau-b": Method(lambda a, b: _ranks.tau(a, b, "b"), "score", (-1, 1), "Kendall (1945), Biometrika 33"),
    "cosine_cov": _whitened_method("biased", False, "whitened", (-1, 1), DIEDRICHSEN),
    "corr_cov": _whitened_method("biased", True, "whitened", (-1, 1), DIEDRICHSEN),
    "cka": _whitened_method("debiased", False, "stimuli", (-1, 1), "Song et al. (2012), JMLR 13"),
    "cka_biased": _whitened_method("biased", False, "whitened", (-1, 1), "Kornblith et al. (2019), ICML"),
    "cka_lange": _whitened_method("lange", False, "stimuli", (-1, 1), "Lange et al. (2023), NeurIPS UniReps"),
    "bures": Method(bures.similarities, "score", (0, 1), bures.REFERENCE, unknown="stimuli"),
    "bures_metric": Method(bures.metrics, "distance", (0, np.inf), bures.REFERENCE, unknown="stimuli"),
    "angular": Method(bures.angles, "distance", (0, np.pi / 2), bures.REFERENCE, unknown="stimuli"),
    "neg_riem_dist": Method(
        bures.negative_riemannian, "score", (-np.inf, 0), "Shahbazi et al. (2021), NeuroImage 239", unknown="stimuli"
    ),
}


LINEAR = ("cosine", "corr", "cosine_cov", "corr_cov", "cka", "cka_biased", "cka_lange")
