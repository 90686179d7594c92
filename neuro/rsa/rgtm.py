"""Which thresholds (l, u) make geo-topological RDMs of a region recognisable: the whole triangle, and its families.

Accuracy of leave-one-subject-out identification in every cell of the grid, and the mean accuracy of families of (l, u)
(local, global, geometry sensitive, topology sensitive, intermediate) with bootstraps that resample whole subjects,
stimuli or both, the same resamples for all families.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, check_positive_int
from neuro.errors import ShapeMismatch
from neuro.rsa._cells import Cells, best_cells, gram_pair, labelled, leave_one_out_weights
from neuro.rsa._centroids import KINDS, Labels, accuracies, neighbour_distances, score_classes
from neuro.rsa._pairs import n_from_pairs
from neuro.rsa.container import as_rdms
from neuro.rsa.topology import DECIMALS, FAMILIES, family_of, lu_grid, sample_family

BLOCK = 2**25  # entries of scores (weightings x rows x regions) held at a time


@dataclass(frozen=True, eq=False)
class RGTMGrid:
    """Identification accuracy over the triangle of (l, u); see :func:`rgtm_grid`.

    Attributes
    ----------
    cells : DataFrame, one row per (l, u)
        l, u, family, accuracy_euclidean, accuracy_correlation, ratio (within / across).
    corners : DataFrame
        The same of the raw RDMs and of the rank RDMs (that is (0, 1) on ranks).
    chosen : DataFrame
        subject, centroid, l, u, inner_accuracy: what the nested protocol would choose for each left-out subject.
    chance : float
    """

    cells: pd.DataFrame
    corners: pd.DataFrame
    chosen: pd.DataFrame
    chance: float

    def best(self, kind: str = "euclidean") -> pd.Series:
        """Return the best cell. Its accuracy is optimistic: report the nested one of ``identify_regions``."""
        check_option("kind", kind, KINDS)
        accuracy = self.cells[f"accuracy_{kind}"].to_numpy()
        return self.cells.iloc[best_cells(accuracy[:, None], self.cells[["l", "u"]].to_numpy())[0]]

    def triangle(self, kind: str = "euclidean") -> pd.DataFrame:
        """Return accuracies as a table, l (rows) by u (columns), NaN where l >= u."""
        check_option("kind", kind, KINDS)
        return self.cells.pivot(index="l", columns="u", values=f"accuracy_{kind}")

    def to_frame(self) -> pd.DataFrame:
        """Return one row per (l, u); see ``cells``."""
        return self.cells.copy()


def rgtm_grid(
    rdms: Any,
    subject: Any = "subject",
    region: Any = "roi",
    *,
    step: float = 0.05,
    scale: str = "rank",
    decimals: int | None = DECIMALS,
) -> RGTMGrid:
    """Identification accuracy for every (l, u) of a grid, 210 cells for steps of 0.05.

    Parameters are those of :func:`~neuro.rsa.identify.identify_regions`; three subjects are needed.
    Dissimilarities are ranked once; every cell is one clip and one Gram matrix, shared by all splits.
    """
    d, labels = labelled(rdms, subject, region, least_subjects=3)
    grid, cells = lu_grid(step), Cells(d, scale, decimals)
    every, leave_out = np.ones((1, len(labels))), leave_one_out_weights(labels)
    inner = {kind: np.empty((len(grid), len(labels.subjects))) for kind in KINDS}
    rows = []
    for k, (l, u) in enumerate(grid):
        grams = cells.grams(l, u)
        rows.append({"l": l, "u": u, "family": family_of(l, u), **_numbers(grams, labels, every)})
        for kind in KINDS:
            inner[kind][k] = accuracies(score_classes(grams[kind], labels, leave_out, kind), labels, leave_out)
    corners = [{"transform": "raw", **_numbers(gram_pair(d), labels, every)}]
    corners.append({"transform": "rank", **_numbers(Cells(d, "rank", decimals).grams(0.0, 1.0), labels, every)})
    chosen = []
    for kind in KINDS:
        l, u = grid[best_cells(inner[kind], grid)].T
        frame = pd.DataFrame({"subject": labels.subjects, "centroid": kind})
        chosen.append(frame.assign(l=l, u=u, inner_accuracy=inner[kind].max(0)))
    tables = pd.DataFrame(rows), pd.DataFrame(corners), pd.concat(chosen, ignore_index=True)
    return RGTMGrid(*tables, chance=1 / len(labels.regions))


@dataclass(frozen=True, eq=False)
class RGTMFamilies:
    """Mean identification accuracy of families of (l, u) with bootstraps; see :func:`rgtm_families`.

    Attributes
    ----------
    thresholds : DataFrame (family, l, u, accuracy), what was drawn and its accuracy
    accuracy : Series, mean of each family
    boots : DataFrame (n_boot, n_families), the same of every resample; NaN rows could not be identified
    kind, resample : str
    n_subjects : int
    chance : float
    """

    thresholds: pd.DataFrame
    accuracy: pd.Series
    boots: pd.DataFrame
    kind: str
    resample: str
    n_subjects: int
    chance: float

    def to_frame(self) -> pd.DataFrame:
        """Return one row per family: accuracy, sd over resamples (the error bar), 95% interval, chance.

        Resamples hold fewer distinct subjects and stimuli, so their accuracies lie lower; the interval is their spread
        about their own mean, moved to the accuracy.
        """
        moved = self.boots - self.boots.mean() + self.accuracy
        low, high = (moved.quantile(q).clip(0, 1) for q in (0.025, 0.975))
        table = pd.DataFrame({"accuracy": self.accuracy, "sd": self.boots.std(), "low": low, "high": high})
        return table.assign(chance=self.chance).rename_axis("family").reset_index()

    def differences(self, test: str = "bootstrap") -> pd.DataFrame:
        """Compare all pairs of families.

        Parameters
        ----------
        test : "bootstrap" or "reference"
            "bootstrap": resampled differences moved to the observed one; two-sided p = 2 (1 + number on the far side
            of 0) / (1 + number of resamples), at most 1. "reference": t = mean / sd of the resampled differences with
            as many degrees of freedom as subjects, as the authors' code computes it; for comparison with it only.

        Returns
        -------
        DataFrame with family_a, family_b, difference, sd, low, high, p (and t)
        """
        check_option("test", test, ["bootstrap", "reference"])
        rows = []
        names = list(self.boots.columns)
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                delta = (self.boots[a] - self.boots[b]).dropna().to_numpy()
                observed = float(self.accuracy[a] - self.accuracy[b])
                moved = delta - delta.mean() + observed
                low, high = np.quantile(moved, [0.025, 0.975])
                row = {"family_a": a, "family_b": b, "difference": observed, "sd": delta.std(ddof=1)}
                p = _paired_p(moved) if test == "bootstrap" else _reference_p(delta, self.n_subjects)
                rows.append(row | {"low": low, "high": high} | p)
        return pd.DataFrame(rows)


def rgtm_families(
    rdms: Any,
    subject: Any = "subject",
    region: Any = "roi",
    *,
    families: Any = FAMILIES,
    n_pairs: int = 10,
    n_boot: int = 1000,
    resample: str = "subject",
    kind: str = "euclidean",
    scale: str = "rank",
    decimals: int | None = DECIMALS,
    rng: int | np.random.Generator | None = None,
) -> RGTMFamilies:
    """Compare families of (l, u) by the mean identification accuracy of pairs drawn from each.

    Parameters
    ----------
    rdms, subject, region, scale, decimals : see :func:`~neuro.rsa.identify.identify_regions`
    families : sequence of names out of ``FAMILIES``, or mapping name -> array (n, 2) of (l, u)
    n_pairs : int
        (l, u) drawn from each named family.
    n_boot : int, at least 2
    resample : "subject", "stimulus", "both" or "rows"
        What is drawn with replacement. Subjects are drawn as blocks, with all their regions, and all copies of a
        subject are left out together. Stimuli: pairs of a stimulus with its own copy are dropped, and every RDM is
        ranked anew. "rows" draws RDMs regardless of subject, as the authors' code does; for comparison with it only.
    kind : "euclidean" or "correlation"
        Centroids compared by distance or by correlation.
    rng : int, Generator or None

    Returns
    -------
    RGTMFamilies

    Notes
    -----
    Resampling subjects reuses one Gram matrix per (l, u) for all resamples. Resampling stimuli needs a Gram matrix per
    (l, u) and resample: n_boot x n_families x n_pairs products (n_rdms x n_stimulus_pairs); lower ``n_boot`` first.
    """
    check_option("resample", resample, ["subject", "stimulus", "both", "rows"])
    check_option("kind", kind, KINDS)
    n_boot, rng = check_positive_int("n_boot", n_boot, 2), as_rng(rng)
    thresholds = _thresholds(families, check_positive_int("n_pairs", n_pairs), rng)
    d, labels = labelled(rdms, subject, region, least_subjects=2)
    pairs = thresholds[["l", "u"]].to_numpy()
    every = np.ones((1, len(labels)))
    weights = _row_weights(labels, n_boot, resample, rng)
    cells, boots = Cells(d, scale, decimals), np.empty((n_boot, len(pairs)))
    observed = np.empty(len(pairs))
    by_subject = resample in ("subject", "rows")
    for k, (l, u) in enumerate(pairs):
        gram = cells.grams(l, u)[kind]
        observed[k] = _accuracy(gram, labels, every, kind)[0]
        if by_subject:
            boots[:, k] = _accuracy(gram, labels, weights, kind)
    if not by_subject:
        if d.shape[1] != as_rdms(rdms).dissimilarities.shape[1]:
            raise ValueError("stimuli cannot be resampled where pairs are NaN; leave those conditions out first.")
        for b, columns in enumerate(_stimulus_columns(n_from_pairs(d.shape[1]), n_boot, rng)):
            sample = Cells(d[:, columns], scale, decimals)
            for k, (l, u) in enumerate(pairs):
                boots[b, k] = _accuracy(sample.grams(l, u)[kind], labels, weights[b : b + 1], kind)[0]
    thresholds = thresholds.assign(accuracy=observed)
    of = thresholds["family"].to_numpy()
    names = list(dict.fromkeys(of))
    mean = pd.Series({name: float(observed[of == name].mean()) for name in names}, name="accuracy")
    table = pd.DataFrame({name: boots[:, of == name].mean(1) for name in names})
    return RGTMFamilies(thresholds, mean, table, kind, resample, len(labels.subjects), 1 / len(labels.regions))


def _thresholds(families: Any, n_pairs: int, rng: np.random.Generator) -> pd.DataFrame:
    given = families if hasattr(families, "items") else {name: sample_family(name, n_pairs, rng) for name in families}
    rows = []
    for name, pairs in given.items():
        array = np.asarray(pairs, dtype=float)
        if array.ndim != 2 or array.shape[1] != 2 or not len(array):
            raise ShapeMismatch(f"(l, u) of family {name!r} must be (n, 2), got shape {array.shape}.")
        rows += [{"family": name, "l": l, "u": u} for l, u in array]
    return pd.DataFrame(rows)


def _row_weights(labels: Labels, n_boot: int, resample: str, rng: np.random.Generator) -> np.ndarray:
    """How often each RDM is drawn, (n_boot, n_rows)."""
    n = len(labels) if resample == "rows" else len(labels.subjects)
    if resample == "stimulus":
        return np.ones((n_boot, len(labels)))
    counts = rng.multinomial(n, np.full(n, 1 / n), size=n_boot).astype(float)
    return counts if resample == "rows" else counts[:, labels.subject]


def _stimulus_columns(n: int, n_boot: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Positions of the pairs of each resample of n stimuli, pairs of a stimulus with itself left out."""
    i, j = np.triu_indices(n, 1)
    out = []
    while len(out) < n_boot:
        drawn = rng.integers(n, size=n)
        a, b = drawn[i], drawn[j]
        a, b = np.minimum(a, b)[a != b], np.maximum(a, b)[a != b]
        if len(np.unique(drawn)) >= 3:  # fewer leave one distinct dissimilarity, which has no rank
            out.append(a * n - a * (a + 1) // 2 + b - a - 1)
    return out


def _accuracy(gram: np.ndarray, labels: Labels, weights: np.ndarray, kind: str) -> np.ndarray:
    step = max(1, BLOCK // (len(labels) * len(labels.regions)))
    parts = []
    for start in range(0, len(weights), step):
        w = weights[start : start + step]
        parts.append(accuracies(score_classes(gram, labels, w, kind), labels, w))
    return np.concatenate(parts)


def _numbers(grams: dict[str, np.ndarray], labels: Labels, every: np.ndarray) -> dict[str, float]:
    within, across = neighbour_distances(grams["euclidean"], labels)
    numbers = {f"accuracy_{kind}": float(_accuracy(grams[kind], labels, every, kind)[0]) for kind in KINDS}
    return numbers | {"ratio": float((within / across).mean())}


def _paired_p(delta: np.ndarray) -> dict[str, float]:
    fewer = min((delta <= 0).sum(), (delta >= 0).sum())
    return {"p": min(1.0, 2 * (1 + int(fewer)) / (1 + len(delta)))}


def _reference_p(delta: np.ndarray, n_subjects: int) -> dict[str, float]:
    from scipy.stats import t as student

    sd = delta.std(ddof=1)
    t = math.copysign(math.inf, delta.mean()) if sd == 0 else float(delta.mean() / sd)
    return {"t": t, "p": float(2 * student.sf(abs(t), n_subjects))}
