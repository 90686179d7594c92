"""Which image was seen? Retrieval in both directions, its ceiling for Gaussian scores, and search in a gallery.

With S_ij = cosine of brain embedding i and image embedding j,

    retrieve image given brain   is the largest of row i    at j = i    (brain_to_image)
    retrieve brain given image   is the largest of column j at i = j    (image_to_brain)

among a pool of candidates; chance is 1 / pool. The words forward and backward are avoided: published code prints them
exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_ndtr
from scipy.stats import binom, norm

from neuro._check import as_rng, check_option, check_positive_int
from neuro.decoders.metrics._nearest import Found, Gallery
from neuro.decoders.metrics._similarity import check_pairs, equal_rows, similarity
from neuro.decoders.metrics.identify import expected_top_k
from neuro.decoders.metrics.result import MetricResult
from neuro.errors import ShapeMismatch

__all__ = ["Found", "Gallery", "Retrieval", "expected_retrieval", "expected_two_way", "retrieval"]

DIRECTIONS = ("brain_to_image", "image_to_brain")


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Retrieval in both directions.

    Attributes
    ----------
    brain_to_image : MetricResult
        Image given brain.
    image_to_brain : MetricResult
        Brain given image.
    ranks : dict of direction -> array (n,)
        Place of the right candidate among all n test items, 0 is first; a place shared by t others counts t/2.
    pool : int
    """

    brain_to_image: MetricResult
    image_to_brain: MetricResult
    ranks: dict[str, np.ndarray]
    pool: int

    @property
    def retrieve_image_given_brain(self) -> MetricResult:
        """The same as ``brain_to_image``."""
        return self.brain_to_image

    @property
    def retrieve_brain_given_image(self) -> MetricResult:
        """The same as ``image_to_brain``."""
        return self.image_to_brain

    def rank_curve(self, direction: str = "brain_to_image") -> np.ndarray:
        """Share of items whose right candidate is among the first k of all n, for k = 1..n."""
        check_option("direction", direction, DIRECTIONS)
        ranks = self.ranks[direction]
        return np.searchsorted(np.sort(ranks), np.arange(len(ranks)), side="right") / len(ranks)

    def results(self) -> dict[str, MetricResult]:
        """Both results by name, as tables take them."""
        return {r.metric: r for r in (self.brain_to_image, self.image_to_brain)}

    def __repr__(self) -> str:
        return f"{self.brain_to_image}\n{self.image_to_brain}"


def retrieval(
    brain_embeddings: Any,
    image_embeddings: Any,
    pool: int = 300,
    repeats: int | None = 30,
    rng: int | np.random.Generator | None = 0,
    *,
    k: int = 1,
    metric: str = "cosine",
    n_bootstraps: int = 1000,
    protocol: str | None = None,
) -> Retrieval:
    """Share of items whose right counterpart is the most similar (among the k most similar) of a pool.

    Parameters
    ----------
    brain_embeddings, image_embeddings : array or tensor (n, ...)
        Of the same items in the same order; tokens are flattened and normalised together.
    pool : int
        Candidates, the right one included.
    repeats : int or None
        Random pools; None takes the expectation over all pools, which is exact and needs no draws.
    rng : int, Generator or None
        For pools and bootstrap.
    k : int
    metric : {"cosine", "correlation"}
    n_bootstraps : int
        Draws of images for the interval. (An interval over overlapping pools would say how far pools differ, not what
        other images would give.)
    protocol : str, optional
        Name in the results.

    Returns
    -------
    Retrieval
        Candidates that tie with the right one share its place: t others take 1/(t + 1) of the credit at the top.
        ``details`` count tied items and repeated rows.

    Raises
    ------
    ValueError
        Fewer items than the pool, NaN embeddings, an embedding without length.
    ShapeMismatch
        Different shapes.

    Examples
    --------
    >>> e = np.eye(6)
    >>> r = retrieval(e + 2 * e[0], e, pool=6)
    >>> round(r.brain_to_image.value, 4), r.image_to_brain.value
    (0.1667, 1.0)
    """
    pool, k = check_positive_int("pool", pool, 2), check_positive_int("k", k)
    brain, image = check_pairs(("brain_embeddings", "image_embeddings"), brain_embeddings, image_embeddings)
    n = len(brain)
    if n < pool:
        raise ValueError(
            f"retrieval from a pool of {pool} needs at least as many test items, got {n}. Give pool={n} or less; "
            "accuracies of different pools cannot be compared."
        )
    if k >= pool:
        raise ValueError(f"k must be below the pool of {pool}, got {k}.")
    rng = as_rng(rng)
    s = similarity(brain, image, metric)
    for name, bad in (("brain_embeddings", np.isnan(s).all(1)), ("image_embeddings", np.isnan(s).all(0))):
        if bad.any():
            raise ValueError(f"{name} has {bad.sum()} rows without length (first: {np.argmax(bad)}): nothing to rank.")
    pools = _pools(n, pool, repeats, rng)
    resampled = [rng.integers(0, n, n) for _ in range(n_bootstraps)]
    drawn = "all pools" if pools is None else f"{len(pools)} random pools"
    name = protocol or f"top-{k} of {pool}, {drawn}, {metric} of flattened embeddings"
    repeated = {key: n - len(np.unique(equal_rows(x))) for key, x in (("brains", brain), ("images", image))}
    results, ranks = {}, {}
    for direction, asked in zip(DIRECTIONS, (s, s.T), strict=True):
        better, tied = _places(asked)
        ranks[direction] = better + tied / 2
        hits, counts, value = _score(asked, better, tied, pool, pools, k)
        with np.errstate(invalid="ignore"):
            means = [hits[i].sum() / counts[i].sum() for i in resampled]
        results[direction] = MetricResult(
            {"brain_to_image": "retrieve_image_given_brain", "image_to_brain": "retrieve_brain_given_image"}[direction],
            value,
            name,
            n,
            k / pool,
            tuple(float(q) for q in np.quantile(means, [0.025, 0.975])) if n_bootstraps else None,
            np.divide(hits, counts, out=np.full(n, np.nan), where=counts > 0),
            details={
                "direction": direction,
                "pool": pool,
                "repeats": None if pools is None else len(pools),
                "all_pools": float(expected_top_k(better, tied, n, pool, k).mean()),
                "median_rank": float(np.median(ranks[direction])),
                "tied_items": int((tied > 0).sum()),
                "repeated_rows": repeated,
            },
        )
    return Retrieval(results["brain_to_image"], results["image_to_brain"], ranks, pool)


def expected_retrieval(d_prime: float, pool: int, k: int = 1) -> float:
    """Top-k accuracy where wrong candidates score N(0, 1) and the right one N(d', 1), all independent.

    For k = 1 the integral of phi(s - d') Phi(s)^(pool - 1).

    Parameters
    ----------
    d_prime : float
    pool : int
        Candidates, the right one included.

    Examples
    --------
    >>> [round(expected_retrieval(d, 300), 4) for d in (0, 1, 2, 3)]
    [0.0033, 0.039, 0.207, 0.548]
    """
    pool, k = check_positive_int("pool", pool), check_positive_int("k", k)
    if not np.isfinite(d_prime):
        raise ValueError(f"d_prime must be finite, got {d_prime!r}.")
    return float(_integral(np.array([d_prime]), np.ones(1), pool, k)[0])


def expected_two_way(d_prime: float) -> float:
    """Two-way accuracy where a wrong candidate scores N(0, 1) and the right one N(d', 1): Phi(d' / sqrt 2).

    >>> [round(expected_two_way(d), 4) for d in (0, 1, 2, 3)]
    [0.5, 0.7602, 0.9214, 0.9831]
    """
    return float(norm.cdf(d_prime / np.sqrt(2)))


def _integral(mean: np.ndarray, sd: np.ndarray, pool: int, k: int = 1, n_points: int = 4001) -> np.ndarray:
    """Probability that N(mean, sd^2) is among the k largest of itself and pool - 1 draws of N(0, 1), per entry."""
    z = np.linspace(-9, 9, n_points)
    weights = norm.pdf(z) * (z[1] - z[0])
    out = np.empty(len(mean))
    for i, (m, s) in enumerate(zip(mean, sd, strict=True)):
        scores = m + s * z
        below = np.exp((pool - 1) * log_ndtr(scores)) if k == 1 else binom.cdf(k - 1, pool - 1, norm.sf(scores))
        out[i] = weights @ below
    return out


def _pools(n: int, pool: int, repeats: int | None, rng: np.random.Generator) -> list[np.ndarray] | None:
    if repeats is None:
        return None
    repeats = check_positive_int("repeats", repeats)
    if pool == n:
        return [np.arange(n)]
    return [rng.choice(n, pool, replace=False) for _ in range(repeats)]


def _places(asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many wrong candidates score higher than the right one, and how many just as high."""
    if asked.shape[0] != asked.shape[1]:
        raise ShapeMismatch(f"similarities must be square, got {asked.shape}.")
    own = np.diagonal(asked)[:, None]
    return (asked > own).sum(1), (asked == own).sum(1) - 1


def _score(
    asked: np.ndarray, better: np.ndarray, tied: np.ndarray, pool: int, pools: list[np.ndarray] | None, k: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Credit and number of draws per item, and the mean over pools."""
    n = len(asked)
    if pools is None:
        hits = expected_top_k(better, tied, n, pool, k)
        return hits, np.ones(n), float(hits.mean())
    hits, counts, accuracies = np.zeros(n), np.zeros(n), []
    for members in pools:
        b, t = _places(asked[np.ix_(members, members)])
        credit = np.clip((k - b) / (t + 1), 0, 1)
        hits[members] += credit
        counts[members] += 1
        accuracies.append(credit.mean())
    return hits, counts, float(np.mean(accuracies))
