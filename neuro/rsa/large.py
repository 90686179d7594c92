"""How alike are two representations of so many stimuli that their RDMs do not fit into memory?

73,000 stimuli have 2.7 billion pairs. Three ways, none of which holds them:

- squared Euclidean, correlation and cosine distances compared by "cosine", "corr", "cosine_cov", "corr_cov" or any
  linear CKA need only X'Y, X'X, Y'Y and the norms of the patterns: exact, O(n p q), one pass over the rows;
- Euclidean distances (not squared) by the same methods: summed over blocks of pairs, exact but for distances being
  float32 (errors of about 1e-8);
- "spearman" and "rho-a": distances are sorted into bins of about equal numbers of pairs, counted jointly over blocks of
  pairs, and ranks are the average ranks of the bins. That is the exact value for the binned distances; ``bound`` says
  how far it can lie from that of the distances themselves, by

    |error| <= sqrt(2) (t_x + t_y) with t^2 = share of the variance of ranks that lies within bins,

  and in practice the error is of order t^2.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int, is_tensor
from neuro.errors import ShapeMismatch
from neuro.rsa._array import double, lib, scores_from, to_numpy
from neuro.rsa._feature_space import Sums, ratio
from neuro.rsa._whitened import CONSTANTS

log = logging.getLogger(__name__)

METRICS = ("sqeuclidean", "correlation", "cosine", "euclidean")
LINEAR = {"cosine": "cosine", "corr": "corr", "cosine_cov": "biased", "corr_cov": "corr_cov"}
LINEAR |= {"cka": "debiased", "cka_biased": "biased", "cka_lange": "lange"}
RANKED = ("spearman", "rho-a")
FINE = 2**16  # bins of equal width that are mapped to bins of equal numbers of pairs
STRIP = 256  # rows of a block whose distances are sorted into bins at once, so that they stay in the cache
SAMPLE = 2**18  # pairs that decide on the bins


@dataclass(frozen=True)
class LargeComparison:
    """A score and how it came about.

    Parameters
    ----------
    score : float
    method, metric : str
    n_stimuli : int
    exact : bool
        Up to rounding.
    bound : float
        Largest possible ``|score - exact score|``; 0 where exact.
    memory : int
        Bytes of working memory beside the inputs, as estimated beforehand.
    """

    score: float
    method: str
    metric: str
    n_stimuli: int
    exact: bool
    bound: float
    memory: int

    def __float__(self) -> float:
        return self.score


def compare_features(
    x: Any,
    y: Any,
    method: str = "cka",
    metric: str = "sqeuclidean",
    *,
    block: int = 2048,
    n_bins: int = 2048,
    max_memory: float = 24 * 2**30,
    rng: int | np.random.Generator | None = 0,
) -> LargeComparison:
    """Compare the RDMs of two feature matrices without making them.

    Parameters
    ----------
    x, y : array (also memory-mapped) or tensor (n_stimuli, n_features); numbers of features may differ
    method : "cka" (debiased linear CKA), "cka_biased", "cka_lange", "cosine", "corr", "cosine_cov", "corr_cov",
        "spearman" or "rho-a"
    metric : "sqeuclidean", "correlation", "cosine" or "euclidean"
    block : int
        Stimuli per side of a block of pairs, rows per step of a pass over features.
    n_bins : int
        Bins of the rank methods; the error falls with its square.
    max_memory : float, bytes
        Refuse before starting if the estimate is above.
    rng : seed or Generator
        Pairs that decide where the bins lie.

    Returns
    -------
    LargeComparison

    Raises
    ------
    ShapeMismatch, MemoryError, ValueError

    Examples
    --------
    >>> g = np.random.default_rng(0)
    >>> x = g.standard_normal((300, 8))
    >>> compare_features(x, x[:, :6], "spearman").exact
    False
    """
    check_option("method", method, [*LINEAR, *RANKED])
    check_option("metric", metric, METRICS)
    check_positive_int("block", block, 16)
    check_positive_int("n_bins", n_bins, 16)
    n = _checked(x, y)
    memory = memory_needed(n, x.shape[1], y.shape[1], method, metric, block=block, n_bins=n_bins)
    log.info("comparing 2 x %d stimuli by %s of %s needs about %.2f GiB", n, method, metric, memory / 2**30)
    if memory > max_memory:
        raise MemoryError(
            f"comparing {n:,} stimuli needs about {memory / 2**30:.1f} GiB, max_memory is {max_memory / 2**30:.1f}. "
            "Take a smaller block or fewer n_bins."
        )
    bound = 0.0
    if method in RANKED:
        score, bound = _ranked(x, y, method, metric, block, n_bins, as_rng(rng))
    elif metric == "euclidean":
        score = _over_pairs(x, y, LINEAR[method], block)
    else:
        score = _over_rows(x, y, LINEAR[method], metric, block)
    return LargeComparison(score, method, metric, n, method not in RANKED, bound, memory)


def memory_needed(
    n: int, p: int, q: int, method: str = "cka", metric: str = "sqeuclidean", *, block: int = 2048, n_bins: int = 2048
) -> int:
    """Return the working memory of :func:`compare_features` beside its inputs, bytes, an upper estimate."""
    rows = 8 * 4 * block * (p + q) + 8 * 3 * max(p, q) ** 2 + 64 * n
    if method not in RANKED and metric != "euclidean":
        return int(rows)
    features = 4 * n * (p + q)
    entries = block * block
    table = 3 * 8 * n_bins**2 if method in RANKED else 0
    return int(features + 40 * entries + table + rows + 40 * SAMPLE * (method in RANKED))


def _checked(x: Any, y: Any) -> int:
    for name, z in (("x", x), ("y", y)):
        if getattr(z, "ndim", None) != 2 or 0 in z.shape:
            raise ShapeMismatch(f"{name} must be (n_stimuli, n_features), got {getattr(z, 'shape', type(z))}.")
    if len(x) != len(y):
        raise ShapeMismatch(f"x and y must describe the same stimuli: x has {len(x):,} rows, y has {len(y):,}.")
    if len(x) < 4:
        raise ShapeMismatch(f"at least 4 stimuli are needed, got {len(x)}.")
    if is_tensor(x) != is_tensor(y):
        raise TypeError("x and y must both be arrays or both be tensors.")
    return len(x)


# Exact, by features


def _over_rows(x: Any, y: Any, inner: str, metric: str, block: int) -> float:
    starts = range(0, len(x), block)
    centres = []
    for z in (x, y):
        total: Any = 0.0
        for s in starts:
            total = total + _patterns(z[s : s + block], metric).sum(0)
        centres.append(total / len(x))
    cross: list[Any] = [0.0, 0.0, 0.0]
    joint, totals = np.zeros(3), np.zeros(2)
    for s in starts:
        a, b = (_patterns(z[s : s + block], metric) - c for z, c in zip((x, y), centres, strict=True))
        k, l = (a * a).sum(1), (b * b).sum(1)
        cross = [c + u.T @ v for c, (u, v) in zip(cross, ((a, b), (a, a), (b, b)), strict=True)]
        joint += [float((u * v).sum()) for u, v in ((k, l), (k, k), (l, l))]
        totals += [float(k.sum()), float(l.sum())]
    squares = [float((c * c).sum()) for c in cross]
    ends = ((0, 1), (0, 0), (1, 1))
    sums = [
        Sums(np.float64(c), j, totals[i], totals[k], len(x)) for c, j, (i, k) in zip(squares, joint, ends, strict=True)
    ]
    return float(ratio(*sums, inner))


def _patterns(rows: Any, metric: str) -> Any:
    """Rows in float64 whose squared Euclidean distances are the distances of ``metric`` (up to a factor)."""
    rows = double(rows)
    xp = lib(rows)
    if not bool(xp.isfinite(rows.sum())):
        raise ValueError("features contain NaN or infinite values.")
    if metric in ("sqeuclidean", "euclidean"):
        return rows
    if metric == "correlation":
        rows = rows - rows.mean(1)[:, None]
    norms = xp.sqrt((rows * rows).sum(1))
    constant = norms <= 1e-12 * abs(rows).max()
    if bool(constant.any()):
        raise ValueError(f"{int(constant.sum())} patterns are constant: their {metric} distance is not defined.")
    return rows / norms[:, None]


# By blocks of pairs


class _Side:
    """One representation, centred, in float32, ready for blocks of distances."""

    def __init__(self, x: Any, metric: str, block: int):
        starts = range(0, len(x), block)
        mean = sum((_patterns(x[s : s + block], metric).sum(0) for s in starts), start=0.0) / len(x)
        parts = [_single(_patterns(x[s : s + block], metric) - mean) for s in starts]
        self.x = lib(x).concatenate(parts)
        self.norms = (self.x * self.x).sum(1)
        self.root = metric == "euclidean"

    def block(self, rows: slice, columns: slice) -> Any:
        """Distances (n_rows, n_columns)."""
        out = self.x[rows] @ self.x[columns].T
        out *= -2
        out += self.norms[rows][:, None]
        out += self.norms[columns][None, :]
        return self._finish(out)

    def pairs(self, i: Any, j: Any) -> Any:
        """Distances of single pairs (len(i),)."""
        parts = []
        for s in range(0, len(i), 8192):
            a, b = self.x[i[s : s + 8192]], self.x[j[s : s + 8192]]
            parts.append(self._finish(self.norms[i[s : s + 8192]] + self.norms[j[s : s + 8192]] - 2 * (a * b).sum(1)))
        return lib(self.x).concatenate(parts)

    def _finish(self, squared: Any) -> Any:
        if is_tensor(squared):
            squared = squared.clamp_(min=0)
            return squared.sqrt_() if self.root else squared
        np.maximum(squared, 0, out=squared)
        return np.sqrt(squared, out=squared) if self.root else squared


def _single(x: Any) -> Any:
    return x.float() if is_tensor(x) else x.astype(np.float32)


def _tiles(n: int, block: int) -> Iterator[tuple[slice, slice]]:
    """Blocks that cover the upper triangle, the diagonal ones twice over."""
    for i in range(0, n, block):
        for j in range(i, n, block):
            yield slice(i, min(i + block, n)), slice(j, min(j + block, n))


def _over_pairs(x: Any, y: Any, inner: str, block: int) -> float:
    n = len(x)
    sides = [_Side(z, "euclidean", block) for z in (x, y)]
    products = np.zeros(3)  # over ordered pairs i != j
    rows = np.zeros((2, n))
    for r, c in _tiles(n, block):
        blocks = [double(s.block(r, c)) for s in sides]
        diagonal = r == c
        if diagonal:
            for b in blocks:
                b[np.arange(len(b)), np.arange(len(b))] = 0
        twice = 1 if diagonal else 2
        ends = ((0, 1), (0, 0), (1, 1))
        products += [twice * float((blocks[i] * blocks[j]).sum()) for i, j in ends]
        for k, b in enumerate(blocks):
            rows[k, r] += to_numpy(b.sum(1))
            if not diagonal:
                rows[k, c] += to_numpy(b.sum(0))
    return _from_sums(products, rows, n, inner)


def _from_sums(products: np.ndarray, rows: np.ndarray, n: int, inner: str) -> float:
    """Score from sum_ij d d', sum d^2, sum d'^2 over ordered pairs, and row sums of both."""
    totals = rows.sum(1)
    values = []
    for product, (i, j) in zip(products, ((0, 1), (0, 0), (1, 1)), strict=True):
        both = totals[i] * totals[j]
        if inner in ("corr", "corr_cov"):
            mean_i, mean_j = totals[i] / (n * (n - 1)), totals[j] / (n * (n - 1))
            product = product - both / (n * (n - 1))
            across = ((rows[i] - (n - 1) * mean_i) * (rows[j] - (n - 1) * mean_j)).sum()
            values.append(product - (2 / n * across if inner == "corr_cov" else 0))
        elif inner == "cosine":
            values.append(product)
        else:
            c1, c2 = CONSTANTS[inner](n)
            values.append(product - c1 * (rows[i] * rows[j]).sum() + c2 * both)
    inner_xy, norm_x, norm_y = (np.array([v]) for v in values)
    return float(scores_from(inner_xy[None], norm_x, norm_y)[0, 0])


# Ranks, by a joint histogram


def _ranked(
    x: Any, y: Any, method: str, metric: str, block: int, n_bins: int, rng: np.random.Generator
) -> tuple[float, float]:
    n = len(x)
    sides = [_Side(z, metric, block) for z in (x, y)]
    if n * (n - 1) // 2 <= SAMPLE:
        i, j = np.triu_indices(n, 1)
    else:
        i = rng.integers(0, n, SAMPLE)
        j = (i + rng.integers(1, n, SAMPLE)) % n
    bins = [_Bins(s.pairs(_index(i, s.x), _index(j, s.x)), n_bins) for s in sides]
    xp = lib(x)
    counts: Any = None
    buffer = x.new_empty(block * block, dtype=xp.int64) if is_tensor(x) else np.empty(block * block, np.intp)
    strip = block if is_tensor(x) else STRIP
    for r, c in _tiles(n, block):
        width = c.stop - c.start
        code = buffer[: (r.stop - r.start) * width].reshape(-1, width)
        for k in range(0, len(code), strip):
            rows = slice(r.start + k, min(r.start + k + strip, r.stop))
            part = code[k : k + strip]
            part[:] = bins[0](sides[0].block(rows, c))
            part *= n_bins
            part += bins[1](sides[1].block(rows, c))
        if r == c:
            upper = np.triu_indices(width, 1)
            code = code[_index(upper[0], code), _index(upper[1], code)]
        new = xp.bincount(code.reshape(-1), minlength=n_bins**2)
        if counts is None:
            counts = new
        else:
            counts += new
    return _rank_score(to_numpy(counts).reshape(n_bins, n_bins), method)


class _Bins:
    """Map from distances to bins that hold about equal numbers of pairs, through a fine grid of equal widths."""

    def __init__(self, sample: Any, n_bins: int):
        values = to_numpy(sample).astype(np.float64)
        self.low, high = float(values.min()), float(values.max())
        self.scale = (FINE - 1) / (high - self.low) if high > self.low else 0.0
        fine = np.bincount(((values - self.low) * self.scale).astype(np.int64), minlength=FINE)
        middle = np.cumsum(fine) - fine / 2
        table = np.minimum((middle / len(values) * n_bins).astype(np.int32), n_bins - 1)
        self.table = _index(table, sample)

    def __call__(self, d: Any) -> Any:
        """Bins of ``d``, which is overwritten."""
        d -= self.low
        d *= self.scale
        if is_tensor(d):
            return self.table[d.clamp_(0, FINE - 1).long()].long()
        np.clip(d, 0, FINE - 1, out=d)
        return self.table[d.astype(np.uint16)]


def _index(values: np.ndarray, like: Any) -> Any:
    if not is_tensor(like):
        return values
    import torch

    return torch.as_tensor(values, device=like.device)


def _rank_score(counts: np.ndarray, method: str) -> tuple[float, float]:
    n_pairs = float(counts.sum())
    ranks, norms, within = [], [], []
    for axis in (1, 0):
        marginal = counts.sum(axis).astype(np.float64)
        ranks.append(np.cumsum(marginal) - (marginal - 1) / 2 - (n_pairs + 1) / 2)
        norms.append(float((marginal * ranks[-1] ** 2).sum()))
        within.append(max(0.0, 1 - 12 * norms[-1] / (n_pairs**3 - n_pairs)))
    inner = float(ranks[0] @ (counts @ ranks[1]))
    if min(norms) <= 0:
        return 0.0, 0.0
    bound = np.sqrt(2) * (np.sqrt(within[0]) + np.sqrt(within[1]))
    if method == "rho-a":
        return 12 * inner / (n_pairs**3 - n_pairs), float(bound)
    return inner / float(np.sqrt(norms[0] * norms[1])), float(bound)
