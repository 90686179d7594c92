"""Leave-one-subject-out identification by nearest class centroid, for many weightings, from one Gram matrix.

For a row x of subject s, training rows t of other subjects with weights w_t and class centroids m_c,

    ||x - m_c||^2 = K_xx - 2 sum_t w_t K_xt / W_c + sum_tt' w_t w_t' K_tt' / W_c^2      (sums over rows t of class c),

so every split, bootstrap of rows and nested split costs small matrix products on K = Z Z', never the vectors Z again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

KINDS = ("euclidean", "correlation")
TIE = 1e-10  # relative difference of scores that counts as rounding


@dataclass(frozen=True, eq=False)
class Labels:
    """Which subject and which class each row is of.

    ``subject`` and ``region`` are codes (n_rows,) into ``subjects`` and ``regions``.
    """

    subject: np.ndarray
    region: np.ndarray
    subjects: np.ndarray
    regions: np.ndarray

    @classmethod
    def of(cls, subject: np.ndarray, region: np.ndarray, least_subjects: int) -> Labels:
        """Codes in order of appearance; raises where leaving a subject out is impossible."""
        codes_s, subjects = pd.factorize(np.asarray(subject, dtype=object))
        codes_r, regions = pd.factorize(np.asarray(region, dtype=object))
        if (codes_s < 0).any() or (codes_r < 0).any():
            raise ValueError("every RDM needs a subject and a region, some are missing.")
        if len(subjects) < least_subjects:
            raise ValueError(
                f"identification leaves one subject out and needs at least {least_subjects} subjects here, got "
                f"{len(subjects)}."
            )
        if len(regions) < 2:
            raise ValueError(
                f"identification needs at least two regions (or layers) to tell apart, got {len(regions)}."
            )
        seen = pd.crosstab(codes_s, codes_r).to_numpy() > 0
        few = seen.sum(0) < least_subjects
        if few.any():
            raise ValueError(
                f"{regions[few][0]!r} was recorded in {int(seen.sum(0)[few][0])} of {len(subjects)} subjects; each "
                f"region needs at least {least_subjects}. Select the regions that are shared."
            )
        return cls(codes_s, codes_r, np.asarray(subjects), np.asarray(regions))

    def __len__(self) -> int:
        return len(self.subject)


def centred(gram: np.ndarray, means: np.ndarray, n_columns: float) -> np.ndarray:
    """Gram matrix of rows less their means (n_rows,)."""
    return gram - n_columns * np.outer(means, means)


def score_classes(gram: np.ndarray, labels: Labels, weights: np.ndarray, kind: str = "euclidean") -> np.ndarray:
    """How near each row is to each class centroid of the other subjects; larger is nearer, -inf without training rows.

    Parameters
    ----------
    gram : array (n_rows, n_rows)
        For kind "correlation", of centred rows.
    weights : array (n_weightings, n_rows), >= 0
        Of the rows as training data.

    Returns
    -------
    array (n_weightings, n_rows, n_classes), minus squared distances or correlations
    """
    s, c = labels.subject, labels.region
    n_rows, n_classes = len(labels), len(labels.regions)
    other = s[:, None] != s[None]
    alike = c[:, None] == c[None]
    is_class = (c[:, None] == np.arange(n_classes)).astype(float)
    b = len(weights)
    spread = (weights.T[:, :, None] * is_class[:, None, :]).reshape(n_rows, -1)  # (n_rows, b * n_classes)
    cross = ((gram * other) @ spread).reshape(n_rows, b, n_classes)
    mass = (other.astype(float) @ spread).reshape(n_rows, b, n_classes)
    # Sums within a class over pairs of training rows: all, less those with one end in the subject, plus both ends.
    both = weights * (weights @ (gram * alike))
    own = weights * (weights @ (gram * (alike & ~other)))
    cell = np.zeros((n_rows, len(labels.subjects) * n_classes))
    cell[np.arange(n_rows), s * n_classes + c] = 1.0
    left_out = ((own - 2 * both) @ cell).reshape(b, -1, n_classes)
    within = ((both @ is_class)[:, None] + left_out)[:, s]  # (b, n_rows, n_classes)
    cross, mass = cross.transpose(1, 0, 2), mass.transpose(1, 0, 2)
    absent = mass <= 0
    mass = np.where(absent, 1.0, mass)
    size = np.diagonal(gram)[None, :, None]
    if kind == "euclidean":
        score = -(size - 2 * cross / mass + within / mass**2)
    else:
        norm = np.sqrt(np.maximum(size * within, 0.0))
        score = np.divide(cross, norm, out=np.full_like(cross, -1.0), where=norm > 1e-12 * size)
    return np.where(absent, -np.inf, score)


def nearest_class(score: np.ndarray) -> np.ndarray:
    """Class of the largest score along the last axis; of those equal up to rounding the first, so that the order of
    summation (blocks, threads) has no say.
    """
    top = score.max(-1, keepdims=True)
    slack = TIE * np.where(np.isfinite(top), abs(top), 0.0)
    return (score >= top - slack).argmax(-1)


def accuracies(score: np.ndarray, labels: Labels, weights: np.ndarray) -> np.ndarray:
    """Weighted share of rows identified (n_weightings,); NaN where no row has a class to choose from."""
    right = (nearest_class(score) == labels.region[None]) & np.isfinite(score.max(2))
    possible = np.isfinite(score).any(2) & (weights > 0)
    total = weights.sum(1)
    share = (weights * right).sum(1) / np.where(total > 0, total, 1.0)
    return np.where(possible.any(1), share, np.nan)


def neighbour_distances(gram: np.ndarray, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Mean distance of each row to the same-class and to the other-class rows of the other subjects."""
    size = np.diagonal(gram)
    distance = np.sqrt(np.maximum(size[:, None] + size[None] - 2 * gram, 0.0))
    other = labels.subject[:, None] != labels.subject[None]
    alike = labels.region[:, None] == labels.region[None]

    def mean(mask: np.ndarray) -> np.ndarray:
        return (distance * mask).sum(1) / mask.sum(1)

    return mean(other & alike), mean(other & ~alike)
