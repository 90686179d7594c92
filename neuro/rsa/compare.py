"""How alike are two RDMs? One call compares all RDMs of one stack with all of another.

    compare(a, b, method)[i, j] = similarity of a_i and b_j

Which method?

- ratio-scale dissimilarities (crossnobis, squared Euclidean): "cosine_cov" or "corr_cov", which know that distances
  sharing a stimulus covary; "cosine_cov" takes zero as meaningful, "corr_cov" does not;
- ordinal claims, or models with many ties (categories): "rho-a" or "tau-a", never "spearman" or "tau-b", which reward
  a model for its ties;
- few stimuli and many channels: "cka" (debiased), because any two noisy geometries look alike to "cosine_cov";
- fine differences of geometry, and a true metric: "bures_metric" and "angular" (squared Euclidean RDMs);
- neighbourhoods and topology: :func:`~neuro.rsa.geo_topological`, :func:`~neuro.rsa.mutual_knn`.

A vector of zero norm has a score of 0 with everything. Pairs that are NaN in either RDM are left out of that comparison
only, and the result is NaN where fewer than three stimuli remain (four for "cka").
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import check_option, is_tensor
from neuro.errors import ShapeMismatch
from neuro.rsa import _whitened
from neuro.rsa._array import constant, double, lib, like, to_numpy, together
from neuro.rsa._methods import LINEAR, METHODS
from neuro.rsa._pairs import n_from_pairs, pair_indices
from neuro.rsa._products import squares
from neuro.rsa.container import RDMs, as_condensed, as_rdms, matched


def compare(a: Any, b: Any = None, method: str = "cosine", sigma_k: Any = None) -> Any:
    """Compare all RDMs of ``a`` with all RDMs of ``b``.

    Parameters
    ----------
    a, b : RDMs, Prepared, or array or tensor (n_rdms, n_pairs), (n_pairs,), (n_rdms, n, n) or (n, n)
        Two :class:`RDMs` are matched by the names of their conditions. ``b`` is ``a`` by default.
    method : str
        An entry of ``METHODS``: "cosine", "corr", "spearman", "rho-a", "tau-a", "tau-b", "cosine_cov", "corr_cov",
        "cka" (debiased), "cka_biased" (= cosine_cov), "cka_lange", "bures", "bures_metric", "angular",
        "neg_riem_dist". The last eight and "cosine_cov" take RDMs of squared Euclidean type.
    sigma_k : array (n,) or (n, n), optional
        Variance of each condition's noise, or their covariance; for "cosine_cov" and "corr_cov", where none means equal
        and independent noise.

    Returns
    -------
    array (n_a, n_b), float64; a tensor where ``a`` or ``b`` is one
        Gradients flow except through ranks.

    Raises
    ------
    ShapeMismatch
        Other conditions, or a sigma_k of another size.
    ValueError
        An unknown method, or sigma_k with a method that has no use for it.

    Warns
    -----
    UserWarning
        Once, with a count, where unknown pairs leave fewer than three stimuli to compare.

    Examples
    --------
    >>> compare([[1.0, 2.0, 3.0]], [[2.0, 4.0, 6.0], [3.0, 2.0, 1.0]], "corr").round(6)
    array([[ 1., -1.]])
    """
    check_option("method", method, METHODS)
    if isinstance(a, Prepared) or isinstance(b, Prepared):
        return _compare_prepared(a, b, method, sigma_k)
    same = b is None or b is a
    x, y = _condensed(a, a if same else b)
    sigma = _sigma(sigma_k, method, n_from_pairs(x.shape[1]))
    return like(_scores(x, x if same else y, method, sigma), x)


def tokens(d: Any, method: str = "cosine", sigma_k: Any = None) -> Any:
    """Return one vector per RDM such that ``compare(a, b) == tokens(a) @ tokens(b).T``.

    Vectors have norm 1, those of "rho-a" at most 1, and 0 where the score is 0 with everything.

    Parameters
    ----------
    d : RDMs or anything they are made from
        Without NaN.
    method : str
        "cosine", "corr", "spearman", "rho-a", "cosine_cov", "corr_cov", "cka", "cka_biased" or "cka_lange".
    sigma_k : array (n,) or (n, n), optional

    Returns
    -------
    array or tensor (n_rdms, k), float64
    """
    check_option("method", method, [name for name, m in METHODS.items() if m.tokens])
    rdms = as_rdms(d)
    sigma = _sigma(sigma_k, method, rdms.n_conditions)
    x = rdms.dissimilarities
    if _has_unknown(x):
        raise ValueError("tokens need RDMs without NaN; compare() leaves out unknown pairs per comparison.")
    return _tokens(x, method, sigma)


@dataclass(frozen=True, eq=False)
class Prepared:
    """RDMs with their tokens, so that many calls of :func:`compare` rank or whiten them once."""

    rdms: RDMs
    method: str
    tokens: Any
    sigma_k: np.ndarray | None = None


def prepare(d: Any, method: str = "cosine", sigma_k: Any = None) -> Prepared:
    """Return RDMs with cached :func:`tokens`, to be given to :func:`compare` in place of RDMs.

    Examples
    --------
    >>> models = prepare(np.eye(3), "spearman")
    >>> compare(models, [[3.0, 2.0, 1.0]], "spearman").shape
    (3, 1)
    """
    rdms = as_rdms(d)
    return Prepared(rdms, method, tokens(rdms, method, sigma_k), _sigma(sigma_k, method, rdms.n_conditions))


def _condensed(a: Any, b: Any) -> tuple[Any, Any]:
    """Dissimilarities of both, in one order of conditions; without names no RDMs need be made."""
    if b is a:
        x = a.dissimilarities if isinstance(a, RDMs) else as_condensed(a)
        return x, x
    if isinstance(a, RDMs) and isinstance(b, RDMs):
        a, b = matched(a, b)
    x, y = (z.dissimilarities if isinstance(z, RDMs) else as_condensed(z) for z in (a, b))
    if x.shape[1] != y.shape[1]:
        n_x, n_y = n_from_pairs(x.shape[1]), n_from_pairs(y.shape[1])
        raise ShapeMismatch(f"RDMs of {n_x} and of {n_y} conditions cannot be compared.")
    return together(x, y)


def _compare_prepared(a: Any, b: Any, method: str, sigma_k: Any) -> Any:
    ready = a if isinstance(a, Prepared) else b
    b = a if b is None else b
    if ready.method != method:
        raise ValueError(f"these RDMs were prepared for method {ready.method!r}, not for {method!r}.")
    if sigma_k is None:
        sigma_k = ready.sigma_k
    sides = []
    for side, other in ((a, b), (b, a)):
        if not isinstance(side, Prepared):
            target = other.rdms if isinstance(side, RDMs) else None
            if target is not None and not np.array_equal(side.conditions, target.conditions):
                side = matched(target, side)[1]
            side = prepare(side, method, sigma_k)
        sides.append(side)
    a, b = sides
    for side in sides:
        if side.method != method:
            raise ValueError(f"these RDMs were prepared for method {side.method!r}, not for {method!r}.")
        if not np.array_equal(-1 if side.sigma_k is None else side.sigma_k, -1 if sigma_k is None else sigma_k):
            raise ValueError("these RDMs were prepared with another sigma_k.")
    if a.rdms.n_conditions != b.rdms.n_conditions:
        raise ShapeMismatch(
            f"RDMs of {a.rdms.n_conditions} and of {b.rdms.n_conditions} conditions cannot be compared."
        )
    if not _same_order(a, b):
        raise ShapeMismatch("both sides were prepared with other conditions, or in another order; select() first.")
    x, y = together(a.tokens, b.tokens)
    return like(x @ y.T, a.rdms.dissimilarities)


def _same_order(a: Prepared, b: Prepared) -> bool:
    names = [s.rdms.conditions for s in (a, b)]
    unnamed = [np.array_equal(n, np.arange(len(n))) for n in names]
    return any(unnamed) or np.array_equal(*names)


def _sigma(sigma_k: Any, method: str, n: int) -> np.ndarray | None:
    if sigma_k is None:
        return None
    if METHODS[method].unknown != "whitened":
        raise ValueError(f"method {method!r} has no use for sigma_k; 'cosine_cov' and 'corr_cov' take it.")
    return _whitened.check_sigma(sigma_k, n)


def _scores(x: Any, y: Any, method: str, sigma: np.ndarray | None) -> Any:
    if n_from_pairs(x.shape[1]) < METHODS[method].fewest:
        _warn(x.shape[0] * y.shape[0], x.shape[0] * y.shape[0], METHODS[method].fewest)
        return double(x)[:, :1] * double(y)[:, :1].T * float("nan")
    if method in LINEAR:  # NaN shows in the result: no pass to look for it
        result = _complete(x, y, method, sigma)
        if not bool(lib(result).isnan(result).any()):
            return result
    if _has_unknown(x) or (y is not x and _has_unknown(y)):
        return _scores_of_known(x, y, method, sigma)
    return _complete(x, y, method, sigma)


def _complete(x: Any, y: Any, method: str, sigma: np.ndarray | None) -> Any:
    if sigma is None:
        return METHODS[method].scores(x, y)
    left = _tokens(x, method, sigma)
    return left @ (left if y is x else _tokens(y, method, sigma)).T


def _tokens(x: Any, method: str, sigma: np.ndarray | None) -> Any:
    entry = METHODS[method]
    if sigma is not None:
        return _whitened.sigma_tokens(x, sigma, entry.centre)
    assert entry.tokens is not None
    return entry.tokens(x)


def _scores_of_known(x: Any, y: Any, method: str, sigma: np.ndarray | None) -> Any:
    """Scores block by block of RDMs that know the same pairs."""
    groups_x = _by_mask(x)
    groups_y = groups_x if y is x else _by_mask(y)
    rows, columns, blocks, n_short = [], [], [], 0
    for mask_x, which_x in groups_x:
        blocks.append([])
        for mask_y, which_y in groups_y:
            left, right = x[constant(which_x, x)], y[constant(which_y, y)]
            block = _masked(left, right, mask_x & mask_y, method, sigma)
            if block is None:
                n_short += len(which_x) * len(which_y)
                block = double(left)[:, :1] * double(right)[:, :1].T * float("nan")
            blocks[-1].append(block)
        rows.append(which_x)
    columns = [which for _, which in groups_y]
    if n_short:
        _warn(n_short, x.shape[0] * y.shape[0], METHODS[method].fewest)
    if is_tensor(x):
        import torch

        joined = torch.cat([torch.cat(row, 1) for row in blocks], 0)
    else:
        joined = np.block(blocks)
    return joined[_inverse(rows, x)][:, _inverse(columns, x)]


def _masked(x: Any, y: Any, known: np.ndarray, method: str, sigma: np.ndarray | None) -> Any:
    """Scores of RDMs over the pairs ``known`` to all of them, or None where too few stimuli remain."""
    entry = METHODS[method]
    n = n_from_pairs(len(known))
    i, j = pair_indices(n)
    if entry.unknown == "stimuli":
        keep = _complete_subset(known, n)
    else:
        keep = np.zeros(n, bool)
        keep[i[known]] = keep[j[known]] = True
    if keep.sum() < entry.fewest:
        return None
    inside = keep[i] & keep[j]
    if sigma is not None:
        sigma = sigma[keep] if sigma.ndim == 1 else sigma[np.ix_(keep, keep)]
    within = known[inside]
    used = constant(np.flatnonzero(inside & known), x)
    x, y = x[:, used], (None if y is x else y[:, used])
    y = x if y is None else y
    if entry.unknown == "whitened" and not within.all():
        return _whitened.masked_scores(x, y, within, sigma, entry.centre)
    return _complete(x, y, method, sigma)


def _complete_subset(known: np.ndarray, n: int) -> np.ndarray:
    """Stimuli left when those with most unknown pairs are dropped, one by one, until all pairs are known."""
    i, j = pair_indices(n)
    unknown = np.zeros((n, n), bool)
    unknown[i, j] = unknown[j, i] = ~known
    keep = np.ones(n, bool)
    count = unknown.sum(1)
    while count.any():
        worst = int(count.argmax())
        keep[worst] = False
        count = count - unknown[worst]
        count[worst] = 0
        unknown[:, worst] = False
    return keep


def _by_mask(x: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    known = ~np.isnan(to_numpy(x))
    groups: dict[bytes, list[int]] = {}
    for row, mask in enumerate(known):
        groups.setdefault(np.packbits(mask).tobytes(), []).append(row)
    return [(known[rows[0]], np.array(rows)) for rows in groups.values()]


def _inverse(groups: list[np.ndarray], x: Any) -> Any:
    order = np.concatenate(groups)
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.arange(len(order))
    return constant(inverse, x)


def _has_unknown(x: Any) -> bool:
    total = to_numpy(squares(x))
    return bool(np.isnan(total).any()) and bool(np.isnan(to_numpy(x)).any())


def _warn(n_short: int, n: int, fewest: int) -> None:
    warnings.warn(
        f"{n_short:,} of {n:,} comparisons have fewer than {fewest} stimuli with known dissimilarities: NaN.",
        UserWarning,
        stacklevel=4,
    )
