"""Which dissimilarities do people's judgements imply?

From odd-one-out choices: d_ij = 1 - P(i and j are left together | both are shown), P estimated by counts with a Beta
prior. From ratings of pairs: their mean, turned into distances. From arrangements of items on a plane (inverse
multidimensional scaling): an average of on-screen distances over trials, each trial scaled to the others, weighted by
squared distance, since what is placed close together was placed imprecisely relative to its distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_option
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa._pairs import pair_indices
from neuro.rsa.container import RDMs
from neuro.rsa.odd_one_out import check_triplets

CHANCE = 1 / 3


def triplet_counts(triplets: Any, n_items: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each pair was left together, and how often it was shown, both (n_pairs,) of int.

    Parameters
    ----------
    triplets : int array (n_triplets, 3)
        The odd one last.
    n_items : int, optional
        By default the largest item + 1.
    """
    t = check_triplets(triplets, n_items)
    n = int(t.max()) + 1 if n_items is None else n_items
    together, shown = np.zeros((n, n), int), np.zeros((n, n), int)
    for k, (a, b) in enumerate(((0, 1), (0, 2), (1, 2))):
        np.add.at(shown, (t[:, a], t[:, b]), 1)
        if k == 0:
            np.add.at(together, (t[:, a], t[:, b]), 1)
    i, j = pair_indices(n)
    return (together + together.T)[i, j], (shown + shown.T)[i, j]


def rdm_from_triplets(
    triplets: Any, n_items: int | None = None, *, conditions: Any = None, prior: float | str = 0.0
) -> RDMs:
    """Return the RDM of odd-one-out choices, d_ij = 1 - P(i, j left together | both shown).

    Parameters
    ----------
    triplets : int array (n_triplets, 3)
        The odd one last.
    n_items : int, optional
        By default the largest item + 1.
    conditions : sequence of names, optional
    prior : float >= 0 or "empirical"
        Strength of a Beta prior with mean 1/3 (chance), in pseudo-trials: P = (together + prior / 3) /
        (shown + prior). 0 takes plain counts and leaves pairs that were never shown NaN. "empirical" fits mean and
        strength of the prior to the pairs shown (maximum likelihood of the beta-binomial).

    Returns
    -------
    RDMs
        With ``settings``: the prior's mean and strength, and the share of pairs shown.

    References
    ----------
    Hebart et al. (2020), Nature Human Behaviour 4, 1173-1185.
    """
    together, shown = triplet_counts(triplets, n_items)
    if isinstance(prior, str):
        check_option("prior", prior, ["empirical"])
        mean, strength = _beta_binomial(together[shown > 0], shown[shown > 0])
    else:
        mean, strength = CHANCE, float(prior)
        if not (np.isfinite(strength) and strength >= 0):
            raise ValueError(f"prior must be 0 or more pseudo-trials, got {prior!r}.")
    total = shown + strength
    p = np.full(len(shown), np.nan)
    known = total > 0
    p[known] = (together[known] + strength * mean) / total[known]
    settings = {"prior_mean": mean, "prior_strength": strength, "pairs_shown": float((shown > 0).mean())}
    return RDMs(1 - p, conditions, metric="odd_one_out", settings=settings)


def rdm_from_ratings(
    ratings: Any,
    kind: str = "similarity",
    *,
    scale: tuple[float, float] | None = None,
    by: str | Sequence[str] | None = None,
    standardise: str | None = None,
    columns: tuple[str, str, str] = ("a", "b", "rating"),
) -> RDMs:
    """Return RDMs from a table of judged pairs, or from a square matrix of judgements.

    Parameters
    ----------
    ratings : DataFrame with columns a, b, rating, or array (n, n) or (n_raters, n, n)
        Both orders of a pair are averaged, as are repeats; pairs without a rating are NaN, and so is the diagonal's
        part (judgements of an item with itself are not used).
    kind : "similarity" or "dissimilarity"
    scale : (lowest, highest) of the rating scale, optional
        By default the range of the ratings used. d = (highest - rating) / (highest - lowest) for similarities, and
        (rating - lowest) / (highest - lowest) for dissimilarities.
    by : column(s), optional
        One RDM per value, e.g. "rater"; by default one RDM over all.
    standardise : column, optional
        Z-score the ratings within this column's values ("rater") before averaging, which takes out how each person uses
        the scale; ``scale`` is then the range of the z-scores.
    columns : (str, str, str)
        Names of the three columns.
    """
    check_option("kind", kind, ["similarity", "dissimilarity"])
    table, by = _rating_table(ratings, columns, by)
    a, b, rating = columns
    table = table[table[a] != table[b]].dropna(subset=[rating])
    if not len(table):
        raise EmptySelection("no pair of different items has a rating.")
    values = table[rating].to_numpy(float)
    if standardise is not None:
        if scale is not None:
            raise ValueError("scale describes raw ratings: leave it out with standardise.")
        if standardise not in table:
            raise ValueError(f"no column {standardise!r} to standardise within; there are {list(table.columns)}.")
        groups = table.assign(_value=values).groupby(standardise)["_value"]
        sd = np.asarray(groups.transform("std", ddof=0), float)
        values = (values - np.asarray(groups.transform("mean"), float)) / np.where(sd > 0, sd, 1.0)
    low, high = (values.min(), values.max()) if scale is None else (float(scale[0]), float(scale[1]))
    if not high > low:
        raise ValueError(f"the scale must have a range, got {low:g} to {high:g}.")
    if values.min() < low or values.max() > high:
        raise ValueError(
            f"ratings run from {values.min():g} to {values.max():g}, outside the scale {low:g} to {high:g}."
        )
    d = (high - values if kind == "similarity" else values - low) / (high - low)
    names = sorted(set(table[a]) | set(table[b]))
    number = {name: k for k, name in enumerate(names)}
    first, second = (table[c].map(number).to_numpy() for c in (a, b))
    n, keys = len(names), [by] if isinstance(by, str) else list(by or [])
    missing = [key for key in keys if key not in table]
    if missing:
        raise ValueError(f"no column {missing[0]!r}; there are {list(table.columns)}.")
    groups = table.groupby(keys, sort=False).ngroup().to_numpy() if keys else np.zeros(len(table), int)
    i, j = pair_indices(n)
    rdms = []
    for g in range(groups.max() + 1):
        here = groups == g
        total, count = np.zeros((n, n)), np.zeros((n, n))
        np.add.at(total, (first[here], second[here]), d[here])
        np.add.at(count, (first[here], second[here]), 1)
        total, count = (total + total.T)[i, j], (count + count.T)[i, j]
        rdms.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    which = table[keys].iloc[[int(np.argmax(groups == g)) for g in range(len(rdms))]] if keys else None
    settings = {"kind": kind, "scale": [float(low), float(high)], "standardise": standardise}
    return RDMs(np.stack(rdms), names, which, metric="ratings", settings=settings)


def rdm_from_arrangements(
    arrangements: pd.DataFrame,
    *,
    columns: tuple[str, str, str, str] = ("trial", "item", "x", "y"),
    evidence: float = 2.0,
    tolerance: float = 1e-8,
    max_iterations: int = 1000,
) -> RDMs:
    """Return the RDM of items arranged on a plane in one or more trials of some of the items each (inverse MDS).

    The estimate is the evidence-weighted mean over trials of on-screen distances, each trial scaled so that the root
    mean square of its distances is that of the estimate over the same pairs; repeated to convergence.

    Parameters
    ----------
    arrangements : DataFrame
        One row per item and trial, with its position in any unit.
    columns : names of trial, item, x, y
    evidence : float
        The weight of a distance is its share of the trial's largest, to this power; 0 weights all alike.
    tolerance, max_iterations
        Stop when no scaled distance changes by more than this.

    Returns
    -------
    RDMs
        Root mean square 1 over the known pairs; NaN for pairs never arranged together.

    References
    ----------
    Kriegeskorte & Mur (2012), Frontiers in Psychology 3, 245.
    """
    trial, item, x, y = columns
    absent = [c for c in columns if c not in arrangements]
    if absent:
        raise ValueError(f"no column {absent[0]!r} in the arrangements; there are {list(arrangements.columns)}.")
    names = sorted(set(arrangements[item]))
    if len(names) < 2:
        raise EmptySelection(f"an arrangement needs at least two items, got {len(names)}.")
    number = {name: k for k, name in enumerate(names)}
    distances = []
    for key, rows in arrangements.groupby(trial, sort=False):
        if rows[item].duplicated().any():
            raise ValueError(f"trial {key!r} places an item twice.")
        xy = np.full((len(names), 2), np.nan)
        xy[rows[item].map(number).to_numpy()] = rows[[x, y]].to_numpy(float)
        i, j = pair_indices(len(names))
        distances.append(np.hypot(*(xy[i] - xy[j]).T))
    d = np.stack(distances)
    d = d[np.nansum(d, axis=1) > 0]
    if not len(d):
        raise EmptySelection("no trial places two items at different positions.")
    known = np.isfinite(d)
    d = np.where(known, d, 0.0)
    d /= np.sqrt((d**2).sum(1, keepdims=True) / known.sum(1, keepdims=True))
    weights = np.where(known, (d / d.max(1, keepdims=True)) ** evidence if evidence else 1.0, 0.0)
    # pairs that lie on one spot in all their trials keep a mean
    weights = np.where(known & (weights.sum(0) == 0), 1.0, weights)
    total = weights.sum(0)
    seen = total > 0
    scaled = d.copy()
    for _ in range(max_iterations):
        estimate = np.where(seen, (weights * scaled).sum(0) / np.where(seen, total, 1.0), 0.0)
        estimate /= np.sqrt((estimate[seen] ** 2).mean())
        rms = np.sqrt((known * estimate**2).sum(1, keepdims=True) / known.sum(1, keepdims=True))
        new = d * np.where(rms > 0, rms, 1.0)
        change, scaled = np.abs(new - scaled).max(), new
        if change < tolerance:
            break
    out = np.where(seen, estimate, np.nan)
    settings = {"n_trials": len(d), "evidence": evidence, "pairs_arranged": float(seen.mean())}
    return RDMs(out, names, metric="arrangement", settings=settings)


def _rating_table(ratings: Any, columns: tuple[str, str, str], by: Any) -> tuple[pd.DataFrame, Any]:
    a, b, rating = columns
    if isinstance(ratings, pd.DataFrame):
        absent = [c for c in columns if c not in ratings]
        if absent:
            raise ValueError(f"no column {absent[0]!r} in the ratings; there are {list(ratings.columns)}.")
        return ratings.reset_index(drop=True), by
    x = np.asarray(ratings, float)
    stack = x[None] if x.ndim == 2 else x
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2]:
        raise ShapeMismatch(f"ratings are a table or square matrices, got shape {x.shape}.")
    r, i, j = np.indices(stack.shape).reshape(3, -1)
    return pd.DataFrame({a: i, b: j, rating: stack.reshape(-1), "rater": r}), by


def _beta_binomial(hits: np.ndarray, trials: np.ndarray) -> tuple[float, float]:
    """Mean and strength of the Beta prior that makes the counts most likely; strength at most 1e4 (no spread)."""
    from scipy.optimize import minimize
    from scipy.special import betaln

    def cost(theta: np.ndarray) -> float:
        mean, strength = 1 / (1 + np.exp(-theta[0])), np.exp(theta[1])
        a, b = mean * strength, (1 - mean) * strength
        return -float((betaln(hits + a, trials - hits + b) - betaln(a, b)).sum())

    start = np.clip(hits.sum() / trials.sum(), 0.01, 0.99)
    bounds = [(-7.0, 7.0), (np.log(0.01), np.log(1e4))]
    best = minimize(cost, [np.log(start / (1 - start)), np.log(3.0)], bounds=bounds, method="L-BFGS-B")
    return float(1 / (1 + np.exp(-best.x[0]))), float(np.exp(best.x[1]))
