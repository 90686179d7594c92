"""What a decoder's score cannot show: outputs confined to the training set, tests that resemble training, leaks.

A linear decoder's prediction is a weighted sum of training targets, ``y_hat = m + w (Y - m)``: whatever of a test item
lies outside their span cannot be predicted from any brain. The share of variance outside, and the score of the
orthogonal projection of the truth onto the span, bound what such a decoder can reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from neuro._check import check_positive_int
from neuro.decoders._leaks import leak_test as leak_test
from neuro.decoders._leaks import require_no_duplicates as require_no_duplicates
from neuro.decoders._overlap import OverlapReport as OverlapReport
from neuro.decoders._overlap import train_test_overlap as train_test_overlap
from neuro.decoders.metrics.result import MetricResult, mean_result
from neuro.errors import EmptySelection, ShapeMismatch, SplitLeakage


@dataclass(frozen=True, eq=False)
class CollapseReport:
    """How far the span of the training targets reaches into the test targets.

    Attributes
    ----------
    rank : int
        Dimensions of the span of the centred training targets, at most n_train - 1.
    n_features : int
    outside : MetricResult
        Share of the squared deviation from the training mean that lies outside the span; over all items, and per item.
    best : array (n_test, d)
        Nearest point to each test item inside the span. Score it by any metric to bound that metric.
    best_correlation : MetricResult
        Correlation over features of ``best`` with the truth, both centred by the training mean; per item.
    residual : float or None
        Largest share of a prediction's length (deviation from the training mean) outside the span; None without
        predictions. Rounding for a linear decoder.
    """

    rank: int
    n_features: int
    outside: MetricResult
    best: np.ndarray
    best_correlation: MetricResult
    residual: float | None = None

    def collapsed(self, tolerance: float = 1e-12) -> bool:
        """Whether all predictions lie in the span; for float32 predictions, ask with a tolerance of 1e-5."""
        if self.residual is None:
            raise ValueError("no predictions were given: pass them to output_dimension_collapse.")
        return self.residual < tolerance


def output_dimension_collapse(train_targets: Any, test_targets: Any, predictions: Any = None) -> CollapseReport:
    """Compare the span of training targets with what a test asks for.

    Parameters
    ----------
    train_targets : array (n_train, ...)
        What the decoder was fitted to; flattened per item. Of very wide targets (tokens) pass a part.
    test_targets : array (n_test, ...)
    predictions : array (n_test, ...), optional

    Returns
    -------
    CollapseReport

    Raises
    ------
    ShapeMismatch, EmptySelection

    References
    ----------
    Shirakawa et al. (2025), Neural Networks, doi:10.1016/j.neunet.2025.107515.

    Examples
    --------
    >>> report = output_dimension_collapse(np.array([[1.0, 0, 0], [-1, 0, 0]]), np.array([[3.0, 4, 0]]))
    >>> report.rank, float(report.outside), report.best.tolist()
    (1, 0.64, [[3.0, 0.0, 0.0]])
    """
    train, test = _rows("train_targets", train_targets), _rows("test_targets", test_targets)
    if len(train) < 2 or not len(test):
        raise EmptySelection(f"a span needs at least two training items and one test item: {len(train)}, {len(test)}.")
    _same_width("test_targets", test, train)
    mean = train.mean(0)
    _, s, Vt = np.linalg.svd(train - mean, full_matrices=False)
    basis = Vt[s > s[0] * max(train.shape) * np.finfo(np.float64).eps]  # (rank, d)
    deviation = test - mean
    inside = deviation @ basis.T @ basis
    total = (deviation**2).sum(1)
    lost = ((deviation - inside) ** 2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        per_item = lost / total
        share = lost.sum() / total.sum()
    protocol = f"span of {len(train)} training targets, rank {len(basis)} of {train.shape[1]} features"
    outside = MetricResult(
        "variance_outside_span",
        float(share),
        protocol,
        len(test),
        per_item=per_item,
        higher_is_better=False,
        details={"rank": len(basis)},
    )
    best_correlation = mean_result("best_correlation_in_span", _correlation(inside, deviation), protocol=protocol)
    residual = None
    if predictions is not None:
        predicted = _rows("predictions", predictions)
        _same_width("predictions", predicted, train)
        residual = _outside(predicted - mean, basis)
    return CollapseReport(
        len(basis), train.shape[1], outside, (mean + inside).reshape(np.shape(test_targets)), best_correlation, residual
    )


class CategorySplit(NamedTuple):
    """One category held out: its name, and the rows to train and test on."""

    category: Any
    train: np.ndarray
    test: np.ndarray


def leave_category_out(categories: Any, *, groups: Any = None, min_items: int = 1) -> Iterator[CategorySplit]:
    """Hold out every category in turn.

    Parameters
    ----------
    categories : sequence (n,) of labels, or of sets of labels, or DataFrame (n, n_categories) of bool
        With several labels per item, training keeps the items that lack the held-out one altogether.
    groups : sequence (n,), optional
        Stimulus of each row, where stimuli repeat: all its rows must agree.
    min_items : int
        Smallest test set; rarer categories are not held out (they stay in training).

    Yields
    ------
    CategorySplit
        In sorted order of category; ``train`` and ``test`` are rows, and no stimulus is in both.

    Raises
    ------
    EmptySelection
        If no category can be held out.
    SplitLeakage
        If rows of one stimulus differ in their category.

    Examples
    --------
    >>> [(s.category, s.test.tolist()) for s in leave_category_out(["cat", "dog", "cat", "bus"])]
    [('bus', [3]), ('cat', [0, 2]), ('dog', [1])]
    >>> [(s.category, s.train.tolist()) for s in leave_category_out([{"cat", "dog"}, {"dog"}, {"bus"}])]
    [('bus', [0, 1]), ('cat', [1, 2]), ('dog', [2])]
    """
    min_items = check_positive_int("min_items", min_items)
    has = _memberships(categories)
    n = len(next(iter(has.values()))) if has else 0
    splits = [
        CategorySplit(name, np.flatnonzero(~member), np.flatnonzero(member))
        for name, member in has.items()
        if min_items <= member.sum() < n
    ]
    if not splits:
        raise EmptySelection(
            f"none of {len(has)} categories has {min_items} items or more and leaves any for training; there are {n} "
            "items."
        )
    if groups is not None:
        groups = np.asarray(groups)
        if groups.shape != (n,):
            raise ShapeMismatch(f"groups must be ({n},), got {groups.shape}.")
        for split in splits:
            both = np.intersect1d(groups[split.train], groups[split.test]).tolist()
            if len(both):
                raise SplitLeakage(
                    f"stimulus {both[0]!r} has rows inside and outside category {split.category!r}. "
                    "Give all rows of a stimulus the same labels."
                )
    return iter(splits)


def _memberships(categories: Any) -> dict[Any, np.ndarray]:
    if hasattr(categories, "columns"):
        return {name: categories[name].to_numpy(dtype=bool) for name in sorted(categories.columns)}
    labels: Sequence[Any] = categories.tolist() if hasattr(categories, "tolist") else list(categories)
    sets = [set(x) if isinstance(x, (set, frozenset, list, tuple)) else {x} for x in labels]
    return {name: np.array([name in s for s in sets]) for name in sorted(set().union(*sets))}


def _rows(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim < 2:
        raise ShapeMismatch(f"{name} must be (n, ...), got {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; {np.count_nonzero(~np.isfinite(array))} values are not.")
    return array.reshape(len(array), -1)


def _same_width(name: str, rows: np.ndarray, train: np.ndarray) -> None:
    if rows.shape[1] != train.shape[1]:
        raise ShapeMismatch(
            f"{name} have {rows.shape[1]:,} features per item, the training targets {train.shape[1]:,}."
        )


def _outside(deviation: np.ndarray, basis: np.ndarray) -> float:
    """Return the largest ``|d - P d| / |d|`` over rows; a prediction of the mean itself is inside."""
    length = np.linalg.norm(deviation, axis=1)
    lost = np.linalg.norm(deviation - deviation @ basis.T @ basis, axis=1)
    return float((lost / np.where(length == 0, 1.0, length)).max(initial=0.0))


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
