"""How much of a test set a decoder could know from its training set: likeness and clusters in a feature space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import as_rng, check_positive_int
from neuro.errors import EmptySelection, ShapeMismatch

ROWS = 1024  # test items held against all training items at once


@dataclass(frozen=True, eq=False)
class OverlapReport:
    """Likeness of test to training items in a feature space.

    Attributes
    ----------
    nearest_similarity : array (n_test,)
        Cosine, of features centred by the training mean, with the nearest training item.
    nearest_train : array (n_test,) of int
        Row of that item.
    usual_similarity : array (n_train,)
        The same for training items and their nearest other training item: the likeness that is usual here.
    near_duplicates : array of int
        Test rows with a training item nearer than those of 99 % of the training items.
    clusters : array (n_test,) of int
        Cluster of each test item, of ``n_clusters`` found in training and test items together.
    train_clusters : array (n_train,) of int
    n_clusters : int
    """

    nearest_similarity: np.ndarray
    nearest_train: np.ndarray
    usual_similarity: np.ndarray
    near_duplicates: np.ndarray
    clusters: np.ndarray
    train_clusters: np.ndarray
    n_clusters: int

    @property
    def in_shared_clusters(self) -> float:
        """Share of test items whose cluster holds a training item."""
        return float(np.isin(self.clusters, self.train_clusters).mean())

    @property
    def novel_items(self) -> np.ndarray:
        """Test rows whose cluster holds no training item: what tests generalisation to new content."""
        return np.flatnonzero(~np.isin(self.clusters, self.train_clusters))

    def summary(self) -> dict[str, float]:
        """Return the figures to print beside a decoder's scores."""
        return {
            "n_train": len(self.usual_similarity),
            "n_test": len(self.nearest_similarity),
            "median_nearest_similarity": float(np.median(self.nearest_similarity)),
            "median_usual_similarity": float(np.median(self.usual_similarity)),
            "near_duplicates": len(self.near_duplicates),
            "in_shared_clusters": self.in_shared_clusters,
            "n_clusters": self.n_clusters,
        }


def train_test_overlap(
    train_features: Any,
    test_features: Any,
    *,
    n_clusters: int = 40,
    rng: int | np.random.Generator | None = 0,
) -> OverlapReport:
    """Report how similar the test items are to training items, and whether they fall into the same clusters.

    Where nearly every test item shares a cluster with training items, a decoder can score well by naming clusters;
    leave whole categories out (:func:`leave_category_out`) to see whether it does more.

    Parameters
    ----------
    train_features : array (n_train, d)
    test_features : array (n_test, d)
        Of a space that means something to a reader, as CLIP's.
    n_clusters : int
        For k-means; a few dozen describe the Natural Scenes Dataset, see the reference.
    rng : int, Generator or None
        Start of k-means.

    References
    ----------
    Shirakawa et al. (2025), Neural Networks, doi:10.1016/j.neunet.2025.107515.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> centres = 10 * rng.standard_normal((3, 5))
    >>> train = centres[:2].repeat(20, 0) + rng.standard_normal((40, 5))
    >>> test = centres.repeat(4, 0) + rng.standard_normal((12, 5))
    >>> train_test_overlap(train, test, n_clusters=3).novel_items
    array([ 8,  9, 10, 11])
    """
    from sklearn.cluster import KMeans

    n_clusters = check_positive_int("n_clusters", n_clusters, 2)
    train, test = (np.asarray(x, dtype=np.float64) for x in (train_features, test_features))
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        raise ShapeMismatch(
            f"features must be (n_train, d) and (n_test, d), got {train.shape} and {test.shape}. Flatten tokens first."
        )
    if len(train) < 2 or len(test) < 1 or len(train) + len(test) < n_clusters:
        raise EmptySelection(
            f"{len(train)} training and {len(test)} test items are too few for {n_clusters} clusters; "
            "at least two training items and one test item are needed."
        )
    centre = train.mean(0)
    a, b = (_unit(x - centre) for x in (train, test))
    similarity, nearest = _nearest(b, a)
    usual, _ = _nearest(a, a, skip_self=True)
    seed = int(as_rng(rng).integers(2**31))
    labels = KMeans(n_clusters, n_init=3, random_state=seed).fit_predict(np.concatenate([train, test]))
    return OverlapReport(
        similarity,
        nearest,
        usual,
        np.flatnonzero(similarity > np.quantile(usual, 0.99)),
        labels[len(train) :],
        labels[: len(train)],
        n_clusters,
    )


def _unit(x: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norm == 0, 1.0, norm)


def _nearest(items: np.ndarray, gallery: np.ndarray, skip_self: bool = False) -> tuple[np.ndarray, np.ndarray]:
    best, where = np.empty(len(items)), np.empty(len(items), dtype=int)
    for start in range(0, len(items), ROWS):
        similarity = items[start : start + ROWS] @ gallery.T
        rows = np.arange(len(similarity))
        if skip_self:
            similarity[rows, start + rows] = -np.inf
        where[start : start + ROWS] = similarity.argmax(1)
        best[start : start + ROWS] = similarity[rows, where[start : start + ROWS]]
    return best, where
