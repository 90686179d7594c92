"""Identification within and between categories: what is left once the category is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import as_rng, check_positive_int
from neuro.decoders.metrics._pairwise import TIES, check_options, questions, share_below, wrong_candidates
from neuro.decoders.metrics._similarity import check_pairs, similarity
from neuro.decoders.metrics.result import MetricResult, mean_result
from neuro.errors import ShapeMismatch


def category_corrected_identification(
    recon_features: Any,
    true_features: Any,
    categories: Any,
    anchor: str = "recon",
    ties: str = "strict",
    *,
    metric: str = "correlation",
    rng: int | np.random.Generator | None = 0,
    protocol: str | None = None,
) -> dict[str, MetricResult]:
    """Two-way identification split by whether the distractor shares the item's category.

    A decoder that knows the category and nothing else wins all comparisons between categories and half of those
    within. With a share f_i of same-category distractors and accuracy q between categories its expected score is the
    mean of f_i/2 + (1 - f_i) q; for k large categories of equal size, 1/(2k) + (1 - 1/k) q.

    Parameters
    ----------
    recon_features, true_features, anchor, ties, metric, rng, protocol
        As :func:`two_way_identification`.
    categories : sequence (n,)
        Category of each true image.

    Returns
    -------
    dict
        ``two_way`` with all distractors, ``between_categories``, ``within_category`` (chance .5: only this shows more
        than the category), and ``expected_from_category``, what the accuracy between categories alone would give.
    """
    check_options(anchor, ties, "all", metric)
    recon, true = check_pairs(("recon_features", "true_features"), recon_features, true_features)
    return categories_from_similarity(
        similarity(true, recon, metric), categories, anchor, ties, metric=metric, rng=rng, protocol=protocol
    )


def categories_from_similarity(
    similarities: np.ndarray,
    categories: Any,
    anchor: str = "recon",
    ties: str = "strict",
    *,
    metric: str = "correlation",
    rng: int | np.random.Generator | None = 0,
    protocol: str | None = None,
) -> dict[str, MetricResult]:
    """:func:`category_corrected_identification` from similarities (n true items, n decoded items)."""
    check_options(anchor, ties, "all", None)
    asked = questions(similarities, anchor)
    kinds, kind = check_categories(categories, len(asked))
    same = kind[:, None] == kind[None, :]
    others, worth = wrong_candidates(len(asked)), TIES[ties]
    rng = as_rng(rng)
    name = protocol or f"{anchor}-anchored, ties {ties}, all distractors, {metric}"
    parts = {"two_way": others, "between_categories": others & ~same, "within_category": others & same}
    out = {}
    for part, mask in parts.items():
        items, tied = share_below(asked, mask, worth)
        details = {"anchor": anchor, "ties": ties, "categories": len(kinds), "tied_comparisons": tied}
        named = "two_way_identification" if part == "two_way" else f"two_way_{part}"
        out[part] = mean_result(named, items, protocol=name, chance=0.5, rng=rng, details=details)
    share = (others & same).sum(1) / (len(asked) - 1)
    expected = share / 2 + (1 - share) * out["between_categories"].per_item
    details = {"note": "what the accuracy between categories alone would give", "mean_share_same": float(share.mean())}
    out["expected_from_category"] = mean_result(
        "two_way_expected_from_category", expected, protocol=name, chance=0.5, rng=rng, details=details
    )
    return out


def check_categories(categories: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the names of at least two categories and the category number of each of n items.

    Raises
    ------
    ShapeMismatch
        Not one name per item.
    ValueError
        Only one category.
    """
    labels = np.asarray(categories)
    if labels.shape != (n,):
        raise ShapeMismatch(f"categories must name one category for each of {n} items, got {labels.shape}.")
    kinds, kind = np.unique(labels, return_inverse=True)
    if len(kinds) < 2:
        raise ValueError(f"all items are of category {kinds.tolist()[0]!r}: comparing categories needs at least two.")
    return kinds, kind


def expected_from_category(q: float, k: int) -> float:
    """Two-way accuracy of a decoder that knows k equally frequent categories only: 1/(2k) + (1 - 1/k) q.

    Parameters
    ----------
    q : float
        Accuracy between categories.
    k : int
        Categories; the number of items is large.

    Examples
    --------
    >>> expected_from_category(1.0, 4)
    0.875
    """
    k = check_positive_int("k", k)
    return 0.5 / k + (1 - 1 / k) * q
