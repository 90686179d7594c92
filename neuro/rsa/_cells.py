"""Geo-topological RDMs of many thresholds from one ranking, and the labels and transforms of identification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neuro.errors import ShapeMismatch, nearest
from neuro.rsa._centroids import Labels, centred
from neuro.rsa.container import RDMs, as_rdms
from neuro.rsa.topology import DECIMALS, check_thresholds, gt_clip, quantiles, sorted_last, unit_ranks, unit_scale

Transform = str | tuple[float, float] | Callable[[np.ndarray], np.ndarray]


class Cells:
    """Geo-topological RDMs of many (l, u): ranked (or scaled) and sorted once, one clip and one Gram for each."""

    def __init__(self, d: np.ndarray, scale: str = "rank", decimals: int | None = DECIMALS):
        self.rho = unit_scale(d, scale, decimals)
        self.ordered = sorted_last(self.rho)

    def vectors(self, l: float, u: float) -> np.ndarray:
        """Transformed RDMs (n_rdms, n_pairs)."""
        return gt_clip(self.rho, *quantiles(self.ordered, [l, u]))

    def grams(self, l: float, u: float) -> dict[str, np.ndarray]:
        """Gram matrices of :func:`gram_pair`."""
        return gram_pair(self.vectors(l, u))


def gram_pair(z: np.ndarray) -> dict[str, np.ndarray]:
    """Gram matrices of rows and of rows less their mean."""
    gram = z @ z.T
    return {"euclidean": gram, "correlation": centred(gram, z.mean(1), z.shape[1])}


def labelled(rdms: Any, subject: Any, region: Any, least_subjects: int) -> tuple[np.ndarray, Labels]:
    """Dissimilarities (n_rdms, n_pairs) known in all RDMs, float64, and labels, checked."""
    stack = as_rdms(rdms).numpy()
    labels = Labels.of(
        _column(stack, "subject", subject), _column(stack, "region", region), least_subjects=least_subjects
    )
    d = stack.dissimilarities.astype(float)
    known = ~np.isnan(d).any(0)
    if not known.any():
        raise ValueError("no pair of conditions is known in all RDMs; select RDMs that share conditions.")
    return d[:, known], labels


def transformed(d: np.ndarray, transform: Transform, scale: str, decimals: int | None) -> np.ndarray:
    """Apply a transform other than the nested one."""
    if callable(transform):
        z = np.asarray(transform(d.copy()), dtype=float)
        if z.ndim != 2 or len(z) != len(d) or not np.isfinite(z).all():
            raise ShapeMismatch(f"a transform must return ({len(d)}, any) finite numbers, got shape {z.shape}.")
        return z
    if isinstance(transform, str):
        if transform == "raw":
            return d
        if transform == "rank":
            return unit_ranks(d, decimals)
    elif len(transform) == 2:
        check_thresholds(*transform)
        return Cells(d, scale, decimals).vectors(*transform)
    raise ValueError(f"transform must be 'rgtm', 'rank', 'raw', (l, u) or a callable, got {transform!r}.")


def transform_name(transform: Transform) -> str:
    """Return a short name for tables.

    >>> transform_name((0.2, 0.8))
    'GT(0.2, 0.8)'
    """
    if isinstance(transform, str):
        return transform
    if callable(transform):
        return getattr(transform, "__name__", type(transform).__name__)
    return f"GT({transform[0]:g}, {transform[1]:g})"


def best_cells(accuracy: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Index of the most accurate cell in each column (n_cells, n): ties go to the widest, then to the lowest l."""
    preference = np.lexsort((grid[:, 0], -np.round(grid[:, 1] - grid[:, 0], 9)))
    rounded = np.round(np.nan_to_num(accuracy, nan=-1.0), 12)[preference]
    return preference[rounded.argmax(0)]


def leave_one_out_weights(labels: Labels) -> np.ndarray:
    """Weights (n_subjects, n_rows) that are 0 for one subject each."""
    return (labels.subject[None] != np.arange(len(labels.subjects))[:, None]).astype(float)


def _column(stack: RDMs, what: str, given: Any) -> np.ndarray:
    table = stack.table
    if isinstance(given, str):
        if given not in table:
            raise ValueError(
                f"no column {given!r} in the table of RDMs{nearest(given, table.columns)}; it has "
                f"{list(table.columns)}. Give the {what} of each RDM instead: {what}=[...]."
            )
        return table[given].to_numpy()
    labels = np.asarray(given, dtype=object).ravel()
    if len(labels) != stack.n_rdms:
        raise ShapeMismatch(f"{what} must name {stack.n_rdms} RDMs, got {len(labels)} labels.")
    return labels
