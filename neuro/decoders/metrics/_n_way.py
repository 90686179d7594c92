"""n-way identification by a classifier, and the expectation of top-k accuracy over random pools."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import hypergeom

from neuro._check import as_rng, check_positive_int
from neuro.decoders.metrics._similarity import as_array
from neuro.decoders.metrics.result import MetricResult, mean_result
from neuro.errors import ShapeMismatch


def n_way(
    probabilities: Any,
    true_classes: Any,
    n: int = 50,
    k: int = 1,
    trials: int | None = 1000,
    rng: int | np.random.Generator | None = 0,
    *,
    protocol: str | None = None,
) -> MetricResult:
    """How often the true class is among the top k of itself and n - 1 random other classes.

    Parameters
    ----------
    probabilities : array (n_items, n_classes)
        A classifier's probabilities (or logits) for what was decoded.
    true_classes : array (n_items,), int
        The class of the shown image, usually by the same classifier.
    n : int
        Classes compared in a trial, the true one included.
    k : int
    trials : int or None
        Random draws per item, as published; None takes the exact expectation, a hypergeometric probability.
    rng : int, Generator or None

    Returns
    -------
    MetricResult
        Chance k/n. Equal probabilities are put in random order.

    References
    ----------
    Chen et al. (2023), CVPR (Mind-Vis): 50-way top-1 over 1000 trials.
    """
    p = as_array(probabilities)
    classes = as_array(true_classes)
    if p.ndim != 2 or classes.shape != (len(p),) or classes.dtype.kind not in "iu":
        raise ShapeMismatch(
            "n_way needs probabilities (n_items, n_classes) and one integer class per item, got "
            f"{p.shape} and {classes.shape} {classes.dtype}."
        )
    if not np.isfinite(p).all():
        raise ValueError("probabilities hold NaN or infinite numbers.")
    n_classes = p.shape[1]
    n, k = check_positive_int("n", n, 2), check_positive_int("k", k)
    if n > n_classes or k >= n:
        raise ValueError(f"n must be at most the {n_classes} classes and k below n, got n = {n}, k = {k}.")
    if len(classes) and (classes.min() < 0 or classes.max() >= n_classes):
        raise ValueError(f"true_classes must lie in 0..{n_classes - 1}, got {classes.min()}..{classes.max()}.")
    own = p[np.arange(len(p)), classes][:, None]
    better, tied = (p > own).sum(1), (p == own).sum(1) - 1
    rng = as_rng(rng)
    if trials is None:
        items = expected_top_k(better, tied, n_classes, n, k)
    else:
        trials = check_positive_int("trials", trials)
        rank = better[:, None] + np.floor(rng.random((len(p), trials)) * (tied[:, None] + 1)).astype(int)
        items = (rng.hypergeometric(rank, n_classes - 1 - rank, n - 1) < k).mean(1)
    name = protocol or f"{n}-way top-{k}, {'exact' if trials is None else f'{trials} trials'}"
    details = {"n_way": n, "k": k, "classes": n_classes, "tied_items": int((tied > 0).sum())}
    return mean_result("n_way_identification", items, protocol=name, chance=k / n, rng=rng, details=details)


def expected_top_k(better: np.ndarray, tied: np.ndarray, n: int, pool: int, k: int = 1) -> np.ndarray:
    """Probability of being among the top k of a random pool, over all pools that hold the item.

    Parameters
    ----------
    better, tied : array (n_items,), int
        Other candidates that score higher than, or just as, the right one.
    n : int
        All candidates, the right one included.
    pool : int
        Candidates of a pool, the right one included.
    """
    out = hypergeom.cdf(k - 1, n - 1, better, pool - 1).astype(float)
    for i in np.flatnonzero(tied):
        out[i] = hypergeom.cdf(k - 1, n - 1, better[i] + np.arange(tied[i] + 1), pool - 1).mean()
    return out
