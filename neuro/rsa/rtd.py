"""Do two representations have the same topology at every scale? Representation topology divergence (RTD).

Distances D1, D2, each divided by its own 0.9 quantile, are joined in one 2n x 2n matrix

    [ 0    D1           ]
    [ D1   min(D1, D2)  ]

whose one-dimensional persistent homology lists the cycles that appear where pairs are joined in either but not in the
first: RTD is the sum of the lengths of these bars, averaged over both orders. 0 for equal topology.

References
----------
Barannikov, Trofimov, Balabin & Burnaev (2022), ICML.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import as_rng, check_positive_int, require
from neuro.errors import ShapeMismatch
from neuro.rsa._array import features_pair, to_numpy
from neuro.rsa._pairs import to_square
from neuro.rsa.container import matched
from neuro.rsa.distance_correlation import distances

LARGEST = 2000  # stimuli in one subsample beyond which memory of the homology becomes a problem


def rtd(
    x: Any, y: Any, *, n_stimuli: int = 500, n_subsamples: int = 10, rng: int | np.random.Generator | None = 0
) -> float:
    """Return the representation topology divergence of two representations (Euclidean distances).

    Parameters
    ----------
    x, y : array or tensor (n_stimuli, n_features)
    n_stimuli : int
        Stimuli per subsample; with no more in the data all are used, once.
    n_subsamples : int
        Random subsamples averaged otherwise.
    rng : seed or Generator

    Returns
    -------
    float, at least 0
    """
    x, y = (to_numpy(z) for z in features_pair(x, y))
    generator, n = as_rng(rng), len(x)
    check_positive_int("n_subsamples", n_subsamples)
    if check_positive_int("n_stimuli", n_stimuli, 3) > LARGEST:
        raise ValueError(f"n_stimuli is at most {LARGEST:,} per subsample (memory), got {n_stimuli:,}.")
    if n <= n_stimuli:
        draws = [np.arange(n)]
    else:
        draws = [np.sort(generator.choice(n, n_stimuli, replace=False)) for _ in range(n_subsamples)]
    values = [_both_orders(to_square(distances(x[d]))[0], to_square(distances(y[d]))[0]) for d in draws]
    return float(np.mean(values))


def rtd_of_rdms(a: Any, b: Any) -> np.ndarray:
    """Return RTD between all RDMs of ``a`` and of ``b`` (distances, matched by name), (n_a, n_b)."""
    a, b = matched(a, b)
    left, right = (to_square(to_numpy(r.dissimilarities).astype(np.float64)) for r in (a, b))
    if a.n_conditions > LARGEST:
        raise ShapeMismatch(f"at most {LARGEST:,} conditions (memory), got {a.n_conditions:,}.")
    return np.array([[_both_orders(d, e) for e in right] for d in left])


def _both_orders(d: np.ndarray, e: np.ndarray) -> float:
    return (_divergence(d, e) + _divergence(e, d)) / 2


def _divergence(d: np.ndarray, e: np.ndarray) -> float:
    ripser = require("ripser", "representation topology divergence", "topology").ripser
    d, e = _normalised(d), _normalised(e)
    n = len(d)
    joined = np.zeros((2 * n, 2 * n))
    joined[:n, n:] = joined[n:, :n] = d
    joined[n:, n:] = np.minimum(d, e)
    joined[joined < 1e-6 * joined.mean()] = 0
    bars = ripser(joined, distance_matrix=True, maxdim=1)["dgms"][1]
    finite = bars[np.isfinite(bars).all(1)]
    return float((finite[:, 1] - finite[:, 0]).sum())


def _normalised(d: np.ndarray) -> np.ndarray:
    if not np.isfinite(d).all() or (d < 0).any():
        raise ValueError("distances must be known and not negative.")
    scale = np.quantile(d, 0.9)
    if not scale > 0:
        raise ValueError("nine tenths of the distances are zero: nothing to compare.")
    return d / scale
