"""Can the region of a held-out subject be told from its RDM, and which transform of RDMs tells best?

Each RDM (transformed) of a left-out subject goes to the region whose centroid over the other subjects is nearest, by
Euclidean distance or by correlation. Thresholds (l, u) of the geo-topological transform that are chosen on the same
data flatter the accuracy: the nested protocol chooses them by leaving subjects out among the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, check_positive_int
from neuro.rsa._cells import (
    Cells,
    Transform,
    best_cells,
    gram_pair,
    labelled,
    leave_one_out_weights,
    transform_name,
    transformed,
)
from neuro.rsa._centroids import KINDS, Labels, accuracies, nearest_class, neighbour_distances, score_classes
from neuro.rsa.topology import DECIMALS, lu_grid


@dataclass(frozen=True, eq=False)
class Identification:
    """Leave-one-subject-out identification; see :func:`identify_regions`.

    Attributes
    ----------
    table : DataFrame, one row per RDM
        subject, region, predicted_euclidean, predicted_correlation, within and across (mean distances to RDMs of the
        same and of other regions of the other subjects), ratio (within / across; small is good).
    regions : array of the region names
    chosen : DataFrame or None
        The (l, u) of every held-out subject with its inner accuracy, where they were chosen.
    transform : str
    """

    table: pd.DataFrame
    regions: np.ndarray
    chosen: pd.DataFrame | None
    transform: str

    @property
    def accuracy(self) -> pd.Series:
        """Share of RDMs identified, by "euclidean" and by "correlation"."""
        hits = {k: float((self.table[f"predicted_{k}"] == self.table["region"]).mean()) for k in KINDS}
        return pd.Series(hits, name="accuracy")

    @property
    def chance(self) -> float:
        """1 / number of regions."""
        return 1 / len(self.regions)

    def confusion(self, kind: str = "euclidean") -> pd.DataFrame:
        """Return counts, true regions (rows) by predicted ones (columns)."""
        check_option("kind", kind, KINDS)
        counts = pd.crosstab(self.table["region"], self.table[f"predicted_{kind}"])
        counts = counts.reindex(index=list(self.regions), columns=list(self.regions), fill_value=0)
        return counts.rename_axis(index="region", columns="predicted")

    def per_region(self, kind: str = "euclidean") -> pd.DataFrame:
        """Return sensitivity (share of its RDMs found) and specificity (share of others not taken for it)."""
        counts = self.confusion(kind).to_numpy()
        hit, true, called = np.diagonal(counts), counts.sum(1), counts.sum(0)
        other = counts.sum() - true
        columns = {"sensitivity": hit / true, "specificity": (other - called + hit) / other, "n": true}
        return pd.DataFrame(columns, index=pd.Index(self.regions, name="region")).reset_index()

    def summary(self) -> pd.DataFrame:
        """Return one row per kind of centroid: accuracy, chance, mean ratio, mean sensitivity and specificity."""
        rows = []
        for kind, accuracy in self.accuracy.items():
            region = self.per_region(str(kind))
            rows.append(
                {
                    "transform": self.transform,
                    "centroid": kind,
                    "accuracy": accuracy,
                    "chance": self.chance,
                    "sensitivity": region["sensitivity"].mean(),
                    "specificity": region["specificity"].mean(),
                    "ratio": self.table["ratio"].mean(),
                    "n": len(self.table),
                }
            )
        return pd.DataFrame(rows)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per RDM; see ``table``."""
        return self.table.copy()


def identify_regions(
    rdms: Any,
    subject: Any = "subject",
    region: Any = "roi",
    *,
    transform: Transform = "rgtm",
    nested: bool | None = None,
    scale: str = "rank",
    step: float = 0.05,
    decimals: int | None = DECIMALS,
) -> Identification:
    """Identify the region (or layer) of each subject's RDMs from those of the other subjects.

    Parameters
    ----------
    rdms : RDMs, or array (n_rdms, n_pairs) or (n_rdms, n, n)
        RDMs of several regions in several subjects (or layers of several networks). Pairs that are NaN in any are left
        out of all.
    subject, region : name of a column of the table of ``rdms``, or one label per RDM
    transform : "rgtm", "rank", "raw", (l, u) or callable
        "rgtm": (l, u) chosen for each left-out subject by the accuracy among the other subjects (nested).
        (l, u): that transform for all. A callable takes (n_rdms, n_pairs) and returns (n_rdms, any), row by row.
    nested : bool, optional
        Whether (l, u) is chosen; follows from ``transform``, and is an error where it contradicts it.
    scale, decimals : see :func:`~neuro.rsa.topology.geo_topological`
    step : float
        Of the grid of (l, u); 0.05 makes 210.

    Returns
    -------
    Identification

    Raises
    ------
    ValueError
        With fewer than two subjects (three to choose l and u), fewer than two regions, or a region that fewer than that
        many subjects have; where an RDM is constant.

    Notes
    -----
    An RDM equally near to two centroids goes to the region that comes first. Of equally accurate (l, u), the widest
    (largest u - l) is taken, then the lowest. Correlation compares RDM vectors less their means, so it ignores the
    overall size of an RDM, which alone can identify regions. The two kinds of centroids choose their own (l, u).
    ``within``, ``across`` and ``ratio`` are those of the Euclidean choice.

    References
    ----------
    Lin & Kriegeskorte (2024), The topology and geometry of neural representations, PNAS 121, e2317881121.
    """
    choose = isinstance(transform, str) and transform == "rgtm"
    if nested is not None and bool(nested) != choose:
        raise ValueError(
            f"nested={nested} and transform={transform!r} contradict each other: transform='rgtm' chooses (l, u) in a "
            "nested way; 'rank', 'raw', (l, u) or a callable leave nothing to choose."
        )
    d, labels = labelled(rdms, subject, region, least_subjects=3 if choose else 2)
    if choose:
        return _nested(Cells(d, scale, decimals), labels, lu_grid(step))
    z = transformed(d, transform, scale, decimals)
    grams = gram_pair(z)
    predicted = {}
    for kind in KINDS:
        score = score_classes(grams[kind], labels, np.ones((1, len(labels))), kind)[0]
        predicted[kind] = labels.regions[nearest_class(score)]
    table = _table(labels, predicted, *neighbour_distances(grams["euclidean"], labels))
    return Identification(table, labels.regions, None, transform_name(transform))


def compare_transforms(
    rdms: Any,
    subject: Any = "subject",
    region: Any = "roi",
    *,
    transforms: Sequence[Transform] | Mapping[str, Transform] = ("raw", "rank", (0.2, 0.8), "rgtm"),
    **options: Any,
) -> pd.DataFrame:
    """Identify regions with several transforms; returns the rows of :meth:`Identification.summary`, one pair for each.

    ``transforms`` may be a dict that names them; ``options`` go to :func:`identify_regions`.
    """
    named = _named(transforms)
    rows = [identify_regions(rdms, subject, region, transform=t, **options).summary() for t in named.values()]
    return pd.concat([r.assign(transform=name) for name, r in zip(named, rows, strict=True)], ignore_index=True)


def noise_robustness(
    rdms: Any,
    subject: Any = "subject",
    region: Any = "roi",
    *,
    transforms: Sequence[Transform] | Mapping[str, Transform] = ("raw", "rank", (0.2, 0.8), "rgtm"),
    levels: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4),
    n_repeats: int = 1,
    clip: bool = True,
    rng: int | np.random.Generator | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Identify regions from RDMs with noise added to every dissimilarity: N(0, (level x sd)^2), sd of that RDM's own.

    Parameters
    ----------
    rdms, subject, region, transforms, options : see :func:`compare_transforms`
    levels : sequence of float, >= 0
    n_repeats : int
        Draws of noise at each level; all transforms see the same draws.
    clip : bool
        Set dissimilarities that noise made negative to 0. Use False for crossnobis, which may be negative.
    rng : int, Generator or None

    Returns
    -------
    DataFrame with level, repeat and the columns of :meth:`Identification.summary`
    """
    if min(levels) < 0:
        raise ValueError(f"noise levels must not be negative, got {list(levels)}.")
    rng, n_repeats = as_rng(rng), check_positive_int("n_repeats", n_repeats)
    d, labels = labelled(rdms, subject, region, least_subjects=2)
    sd = d.std(1, keepdims=True)
    s, c = labels.subjects[labels.subject], labels.regions[labels.region]
    rows = []
    for repeat in range(n_repeats):
        draw = rng.standard_normal(d.shape)
        for level in levels:
            noisy = d + level * sd * draw
            noisy = np.maximum(noisy, 0.0) if clip and level else noisy
            frame = compare_transforms(noisy, s, c, transforms=transforms, **options)
            rows.append(pd.concat([pd.DataFrame({"level": level, "repeat": repeat}, index=frame.index), frame], axis=1))
    return pd.concat(rows, ignore_index=True)


def _nested(cells: Cells, labels: Labels, grid: np.ndarray) -> Identification:
    n_rows, rows = len(labels), np.arange(len(labels))
    weights = leave_one_out_weights(labels)
    inner = {kind: np.empty((len(grid), len(labels.subjects))) for kind in KINDS}
    called = {kind: np.empty((len(grid), n_rows), int) for kind in KINDS}
    within, across = np.empty((len(grid), n_rows)), np.empty((len(grid), n_rows))
    for k, (l, u) in enumerate(grid):
        grams = cells.grams(l, u)
        within[k], across[k] = neighbour_distances(grams["euclidean"], labels)
        for kind in KINDS:
            # Row s of the weights leaves subject s out of everything: its accuracy is the inner one, and its scores of
            # the rows of s are those of a subject never seen.
            score = score_classes(grams[kind], labels, weights, kind)
            inner[kind][k] = accuracies(score, labels, weights)
            called[kind][k] = nearest_class(score[labels.subject, rows])
    predicted, chosen, best = {}, [], {}
    for kind in KINDS:
        best[kind] = best_cells(inner[kind], grid)
        predicted[kind] = labels.regions[called[kind][best[kind][labels.subject], rows]]
        frame = pd.DataFrame({"subject": labels.subjects, "centroid": kind})
        l, u = grid[best[kind]].T
        chosen.append(frame.assign(l=l, u=u, inner_accuracy=inner[kind].max(0)))
    pick = best["euclidean"][labels.subject]
    table = _table(labels, predicted, within[pick, rows], across[pick, rows])
    return Identification(table, labels.regions, pd.concat(chosen, ignore_index=True), "rgtm")


def _table(labels: Labels, predicted: dict[str, np.ndarray], within: np.ndarray, across: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subject": labels.subjects[labels.subject],
            "region": labels.regions[labels.region],
            **{f"predicted_{kind}": p for kind, p in predicted.items()},
            "within": within,
            "across": across,
            "ratio": within / across,
        }
    )


def _named(transforms: Sequence[Transform] | Mapping[str, Transform]) -> dict[str, Transform]:
    if isinstance(transforms, Mapping):
        return dict(transforms)
    return {transform_name(t): t for t in transforms}
