"""Can the shown image be told from others by what was decoded? Two-way and n-way identification.

With C_ij = similarity of the true features of item i and the decoded features of item j, two-way identification is

    anchored at the reconstruction   score_j = #{i != j: C_ij < C_jj} / (n - 1)    (true images compete)
    anchored at the truth            score_i = #{j != i: C_ij < C_ii} / (n - 1)    (reconstructions compete)

and its mean over items. The two differ: reconstructions that look like everything ("hubs") hurt only the first, and
one constant prediction scores exactly .5 in the first and, with ties counted as lost, 0 in the second.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import as_rng, check_option
from neuro.decoders.metrics._categories import (
    categories_from_similarity,
    category_corrected_identification,
    expected_from_category,
)
from neuro.decoders.metrics._n_way import expected_top_k, n_way
from neuro.decoders.metrics._pairwise import TIES, check_options, questions, share_below, wrong_candidates
from neuro.decoders.metrics._similarity import SIMILARITIES, check_pairs, paired_similarity, similarity
from neuro.decoders.metrics.result import MetricResult, mean_result

__all__ = [
    "categories_from_similarity",
    "category_corrected_identification",
    "chance_corrected",
    "correlation_distance",
    "expected_from_category",
    "expected_top_k",
    "feature_similarity",
    "n_way",
    "two_way_from_similarity",
    "two_way_identification",
]


def two_way_identification(
    recon_features: Any,
    true_features: Any,
    anchor: str = "recon",
    ties: str = "strict",
    distractors: str = "all",
    *,
    metric: str = "correlation",
    n_permutations: int = 0,
    rng: int | np.random.Generator | None = 0,
    protocol: str | None = None,
) -> MetricResult:
    """How often the decoded features are closer to their own image than to another one.

    Parameters
    ----------
    recon_features, true_features : array or tensor (n, ...)
        Of what was decoded and of what was shown; flattened per item.
    anchor : {"recon", "true"}
        Which side is held fixed; see the module's note. Papers differ.
    ties : {"strict", "half", "win"}
        Draws count 0, 1/2 or 1.
    distractors : {"all", "one"}
        All other items, or one drawn at random per item that *may be the item itself* (some published code does so;
        chance is then (n - 1)/(2n) plus what a draw is worth over n).
    metric : {"correlation", "cosine"}
    n_permutations : int
        Above 0, ``details["p_value"]`` holds the probability of at least this score when image labels are permuted.
        The n(n - 1) comparisons are dependent, so that a binomial test of them would be wrong.
    rng : int, Generator or None
        For the bootstrap over items, the single distractors and the permutations.
    protocol : str, optional
        Name in the result; the settings in words by default.

    Returns
    -------
    MetricResult
        Items without variance are undefined, left out and counted.

    Raises
    ------
    ShapeMismatch
        Different shapes, or fewer than two items.
    ValueError
        NaN features, unknown options.

    References
    ----------
    Ozcelik & VanRullen (2023), Scientific Reports 13, 15666; Takagi & Nishimoto (2023), CVPR; Kamitani lab's pairwise
    identification.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((20, 50))
    >>> two_way_identification(x, x).value, two_way_identification(-x, x).value
    (1.0, 0.0)
    """
    check_options(anchor, ties, distractors, metric)
    recon, true = check_pairs(("recon_features", "true_features"), recon_features, true_features)
    return two_way_from_similarity(
        similarity(true, recon, metric),
        anchor,
        ties,
        distractors,
        metric=metric,
        n_permutations=n_permutations,
        rng=rng,
        protocol=protocol,
    )


def two_way_from_similarity(
    similarities: np.ndarray,
    anchor: str = "recon",
    ties: str = "strict",
    distractors: str = "all",
    *,
    metric: str = "correlation",
    n_permutations: int = 0,
    rng: int | np.random.Generator | None = 0,
    protocol: str | None = None,
) -> MetricResult:
    """Two-way identification from similarities (n true items, n decoded items); see :func:`two_way_identification`.

    For similarities averaged over several reconstructions of an item, or of any other kind.
    """
    check_options(anchor, ties, distractors, None)
    asked = questions(similarities, anchor)
    n, worth, rng = len(asked), TIES[ties], as_rng(rng)
    own = np.diagonal(asked)[:, None]
    if distractors == "one":
        drawn = np.take_along_axis(asked, rng.integers(0, n, (n, 1)), axis=1)
        lower, equal = (drawn < own)[:, 0], (drawn == own)[:, 0]
        items = np.where(np.isfinite(drawn - own)[:, 0], lower + worth * equal, np.nan)
        chance = 0.5 + (worth - 0.5) / n
        tied = int(equal.sum())
    else:
        others = wrong_candidates(n)
        items, tied = share_below(asked, others, worth)
        chance = 0.5
    details: dict[str, Any] = {
        "anchor": anchor,
        "ties": ties,
        "distractors": distractors,
        "similarity": metric,
        "tied_comparisons": tied,
    }
    if n_permutations:
        details |= {"p_value": _permutation_p(asked, worth, n_permutations, rng), "n_permutations": n_permutations}
    name = protocol or f"{anchor}-anchored, ties {ties}, {distractors} distractors, {metric}"
    return mean_result("two_way_identification", items, protocol=name, chance=chance, rng=rng, details=details)


def chance_corrected(result: MetricResult, ceiling: float = 1.0) -> MetricResult:
    """Rescale a result so that chance is 0 and the ceiling 1: (value - chance) / (ceiling - chance).

    Parameters
    ----------
    result : MetricResult
        With a chance level.
    ceiling : float
        What could be reached at best, as :func:`neuro.decoders.metrics.ceiling.planted_ceiling` gives it.
    """
    if result.chance is None:
        raise ValueError(f"{result.metric} has no chance level to correct for.")
    if not np.isfinite(ceiling) or ceiling == result.chance:
        raise ValueError(f"ceiling must be finite and differ from chance ({result.chance:g}), got {ceiling!r}.")
    scale = ceiling - result.chance

    def corrected(x):
        return (x - result.chance) / scale

    return MetricResult(
        f"{result.metric}_corrected",
        corrected(result.value),
        f"{result.protocol}; (value - {result.chance:.6g}) / ({ceiling:.6g} - {result.chance:.6g})",
        result.n,
        0.0,
        None if result.ci is None else (corrected(result.ci[0]), corrected(result.ci[1])),
        None if result.per_item is None else corrected(result.per_item),
        result.higher_is_better,
        result.oracle,
        {**result.details, "raw": result.value, "raw_chance": result.chance, "ceiling": ceiling},
        result.versions,
    )


def correlation_distance(
    recon_features: Any,
    true_features: Any,
    *,
    metric: str = "correlation",
    rng: int | np.random.Generator | None = 0,
    protocol: str | None = None,
) -> MetricResult:
    """Mean of 1 - corr(decoded, true) over items; lower is better, chance is its mean over all wrong pairs."""
    check_option("metric", metric, SIMILARITIES)
    recon, true = check_pairs(("recon_features", "true_features"), recon_features, true_features)
    values, wrong = paired_similarity(recon, true, metric)
    return mean_result(
        f"{metric}_distance",
        1 - values,
        protocol=protocol or f"1 - {metric} per item",
        chance=1 - wrong,
        rng=rng,
        higher_is_better=False,
        details={"chance": "mean over all wrong pairs"},
    )


def feature_similarity(
    recon_features: Any,
    true_features: Any,
    *,
    metric: str = "cosine",
    rng: int | np.random.Generator | None = 0,
    protocol: str | None = None,
) -> MetricResult:
    """Mean cosine (or correlation) of decoded with true features; chance is its mean over all wrong pairs."""
    check_option("metric", metric, SIMILARITIES)
    recon, true = check_pairs(("recon_features", "true_features"), recon_features, true_features)
    values, wrong = paired_similarity(recon, true, metric)
    return mean_result(
        f"{metric}_similarity",
        values,
        protocol=protocol or f"{metric} per item",
        chance=wrong,
        rng=rng,
        details={"chance": "mean over all wrong pairs"},
    )


def _permutation_p(asked: np.ndarray, worth: float, n_permutations: int, rng: np.random.Generator) -> float:
    """Return the share of label permutations (the identity counted) that score at least as high as the true pairing."""
    n = len(asked)
    shares = np.full((n, n), np.nan)
    for row, values in zip(shares, asked, strict=True):
        good = np.isfinite(values)
        ordered = np.sort(values[good])
        low, high = (np.searchsorted(ordered, values[good], side) for side in ("left", "right"))
        row[good] = (low + worth * (high - low - 1)) / max(len(ordered) - 1, 1)
    items = np.arange(n)
    observed = np.nanmean(np.diagonal(shares))
    null = [np.nanmean(shares[items, rng.permutation(n)]) for _ in range(n_permutations)]
    return float((1 + np.sum(np.array(null) >= observed - 1e-12)) / (1 + n_permutations))
