"""Do areas further along the visual hierarchy prefer deeper layers?

The index is the rank correlation, within a subject, of an area's place in the hierarchy with the preferred depth of its
voxels. Voxels of an area are alike, so areas and not voxels are exchanged for its p: under the null hypothesis every
assignment of the places to the areas was as likely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int
from neuro.errors import EmptySelection, ShapeMismatch, UnknownROI, nearest
from neuro.stats._rois import check_rois
from neuro.stats.compare import sign_flip_test

STATISTICS = ("spearman", "tau-b")
UNITS = ("voxel", "area")
TAILS = ("greater", "two-sided")
# Permutations that are worked on at once: a few MB.
CHUNK = 500


@dataclass(frozen=True, eq=False)
class HierarchyIndex:
    """Result of :func:`hierarchy_index`.

    Parameters
    ----------
    subjects, areas : tuple of str
    rank : array (n_areas,)
        Place of each area along the hierarchy.
    area_depth : array (n_subjects, n_areas)
        Mean preferred depth; NaN where a subject has no such voxel.
    index, p : array (n_subjects,)
        Rank correlation, -1 to 1, and its p over assignments of places to areas.
    mean : float
        Of the index over subjects.
    p_areas : float
        Of the mean, the places exchanged in all subjects alike: would another order of these areas do as well?
    p_people : float
        Of the mean, by flipping the signs of subjects, two-sided: would other people show it, in these areas? NaN with
        one subject.
    unit, statistic, tail, n_permutations, exact, seed
        Settings; ``exact`` if all ``n_permutations`` assignments were used.
    """

    subjects: tuple[str, ...]
    areas: tuple[str, ...]
    rank: np.ndarray
    area_depth: np.ndarray
    index: np.ndarray
    p: np.ndarray
    mean: float
    p_areas: float
    p_people: float
    unit: str
    statistic: str
    tail: str
    n_permutations: int
    exact: bool
    seed: Any


def hierarchy_index(
    depth: Any,
    rois: Mapping[str, Any],
    rank: Mapping[str, float] | Sequence[str] | None = None,
    *,
    unit: str = "voxel",
    statistic: str = "spearman",
    tail: str = "greater",
    n_permutations: int = 10_000,
    seed: int | np.random.Generator = 0,
) -> HierarchyIndex:
    """Return the rank correlation of areas' places in the hierarchy with the depth that their voxels prefer.

    Parameters
    ----------
    depth : array (n_voxels,), or dict subject -> array
        Preferred depth of each voxel, such as ``LayerPreference.soft_depth``; NaN voxels are left out.
    rois : dict area -> boolean mask or indices, or dict subject -> such a dict
        Areas without a common voxel.
    rank : dict area -> number, or sequence of areas from first to last, optional
        Places; areas may share one (face and scene areas), and areas without one are left out. By default the order of
        ``rois``.
    unit : "voxel" or "area"
        What is correlated: every voxel with the place of its area, or the mean depth of each area, which makes small
        areas count as much as large ones.
    statistic : "spearman" or "tau-b"
    tail : "greater" or "two-sided"
    n_permutations : int
        If there are no more assignments than this, all are used: 5,040 for seven areas. With four, the smallest
        one-sided p is 1/24.
    seed : int or Generator

    Returns
    -------
    HierarchyIndex

    Raises
    ------
    UnknownROI
        If an area that has a place does not exist.
    EmptySelection
        If a subject has fewer than three areas with voxels.
    ShapeMismatch
        If areas overlap, or masks do not fit.

    References
    ----------
    Guclu & van Gerven (2015), Journal of Neuroscience 35, 10005-10014. Kendall (1945), Biometrika 33, 239-251 (tau-b).
    Nichols & Holmes (2002), Human Brain Mapping 15, 1-25.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> rois = {name: np.arange(20) + 20 * k for k, name in enumerate(["V1", "V2", "V3", "V4", "LO"])}
    >>> depth = np.repeat([0.1, 0.2, 0.35, 0.4, 0.8], 20) + 0.1 * rng.standard_normal(100)
    >>> found = hierarchy_index(depth, rois)
    >>> print(f"{found.index[0]:.2f}, p = {found.p[0]:.4f}")
    0.90, p = 0.0083
    """
    check_option("unit", unit, UNITS)
    check_option("statistic", statistic, STATISTICS)
    check_option("tail", tail, TAILS)
    check_positive_int("n_permutations", n_permutations)
    depths = dict(depth) if isinstance(depth, Mapping) else {"": depth}
    if not depths:
        raise EmptySelection("depth holds no subject.")
    shared = not any(isinstance(v, Mapping) for v in rois.values())
    if not shared and set(rois) != set(depths):
        raise ShapeMismatch(f"rois must have the subjects of depth, {list(depths)}, got {list(rois)}.")
    rois_of = {name: rois if shared else rois[name] for name in depths}
    areas, places = _places(rank, rois_of)
    values = {name: _areas(d, rois_of[name], areas, name, unit) for name, d in depths.items()}

    exact = factorial(len(areas)) <= n_permutations
    if exact:
        orders = np.array(list(permutations(range(len(areas)))))
    else:
        rng = as_rng(seed)
        drawn = rng.permuted(np.tile(np.arange(len(areas)), (n_permutations, 1)), axis=1)
        orders = np.vstack([np.arange(len(areas)), drawn])
    null = np.stack([_correlations(v, places[orders], statistic) for v in values.values()], axis=1)
    p = _share_reached(null, tail)
    index = null[0]
    mean = null.mean(1, keepdims=True)
    return HierarchyIndex(
        subjects=tuple(str(name) for name in depths),
        areas=areas,
        rank=places,
        area_depth=np.array([[v.mean() if v.size else np.nan for v in by_area] for by_area in values.values()]),
        index=index,
        p=p,
        mean=float(mean[0, 0]),
        p_areas=float(_share_reached(mean, tail)[0]),
        p_people=float(sign_flip_test(index, seed=seed)[1]) if len(index) > 1 else float("nan"),
        unit=unit,
        statistic=statistic,
        tail=tail,
        n_permutations=len(orders) if exact else n_permutations,
        exact=exact,
        seed=seed,
    )


def _places(rank: Any, rois_of: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return areas and their places."""
    known = dict.fromkeys(area for rois in rois_of.values() for area in rois)
    if not isinstance(rank, Mapping):
        rank = {area: k for k, area in enumerate(known if rank is None else rank)}
    for area in rank:
        if area not in known:
            raise UnknownROI(f"no area {area!r} in rois{nearest(area, known)} (there are {', '.join(map(str, known))})")
    places = np.array(list(rank.values()), dtype=float)
    if len(rank) < 3 or len(np.unique(places)) < 2 or not np.isfinite(places).all():
        raise EmptySelection(
            f"a hierarchy needs at least 3 areas and 2 places, got {dict(zip(rank, places.tolist(), strict=True))}."
        )
    return tuple(rank), places


def _areas(depth: Any, rois: Mapping[str, Any], areas: Sequence[str], subject: str, unit: str) -> list[np.ndarray]:
    """Return the depths of each area's voxels, or their mean, of one subject."""
    depth = np.asarray(depth, dtype=float)
    of = f" of subject {subject!r}" if subject else ""
    if depth.ndim != 1:
        raise ShapeMismatch(f"depth{of} must be (n_voxels,), got shape {depth.shape}.")
    masks = check_rois({a: rois.get(a, np.zeros(len(depth), bool)) for a in areas}, len(depth))[1]
    if (masks.sum(0) > 1).any():
        first, second = np.flatnonzero(masks[:, masks.sum(0).argmax()])[:2]
        raise ShapeMismatch(
            f"{int((masks.sum(0) > 1).sum()):,} voxels{of} lie in two areas, such as {areas[first]!r} and "
            f"{areas[second]!r}: give each voxel one place."
        )
    values = [depth[mask & np.isfinite(depth)] for mask in masks]
    if sum(v.size > 0 for v in values) < 3:
        found = [a for a, v in zip(areas, values, strict=True) if v.size]
        raise EmptySelection(f"a hierarchy needs at least 3 areas with preferred depths, got {found}{of}.")
    return [v[:0] if not v.size else v.mean(keepdims=True) for v in values] if unit == "area" else values


def _correlations(values: list[np.ndarray], places: np.ndarray, statistic: str) -> np.ndarray:
    """Correlation of depth and place for each assignment (n, n_areas) of places to the areas' voxels.

    Voxels of an area share their place, so only sums over areas change with the assignment.
    """
    from scipy.stats import rankdata

    n = np.array([v.size for v in values], dtype=float)
    y = np.concatenate(values)
    area = np.repeat(np.arange(len(values)), n.astype(int))
    ties = np.unique(y, return_counts=True)[1].astype(float)
    out = np.empty(len(places))
    if statistic == "spearman":
        ranks = rankdata(y) - (y.size + 1) / 2
        totals = np.bincount(area, ranks, minlength=len(values))
        spread = (ranks**2).sum()
    else:
        ordered = [np.sort(v) for v in values]
        above = np.array([[np.searchsorted(b, a, "left").sum() for b in ordered] for a in values], dtype=float)
        wins = above - above.T
        spread = (y.size**2 - (ties**2).sum()) / 2
    for start in range(0, len(places), CHUNK):
        chunk = places[start : start + CHUNK]
        sign = np.sign(chunk[:, :, None] - chunk[:, None, :])
        if statistic == "spearman":
            middle = sign @ n / 2  # mean rank of an area's voxels among all, centred
            product, squares = middle @ totals, middle**2 @ n
        else:
            product = (sign * wins).sum((1, 2)) / 2
            squares = np.einsum("kij,i,j->k", np.abs(sign), n, n) / 2
        scale = np.sqrt(squares * spread)
        out[start : start + CHUNK] = np.where(scale > 0, product / np.where(scale > 0, scale, 1), 0.0)
    return out


def _share_reached(null: np.ndarray, tail: str) -> np.ndarray:
    """Share of rows, the data (first) included, whose value is at least as large, per column."""
    distance = np.abs(null) if tail == "two-sided" else null
    return (distance >= distance[0] - 1e-9).mean(0)
