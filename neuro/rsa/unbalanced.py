"""Distances when conditions have different numbers of rows, in some folds or in none.

    k_ij = mean of x_a' W x_b / p over all pairs of rows a of condition i, b of condition j, from different folds
    d_ij = k_ii + k_jj - 2 k_ij

Without folds all pairs count, those of a row with itself included. With every condition once in every fold this is the
balanced estimator. One Gram matrix of sums and one per fold replace the loop over pairs of rows.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from neuro._check import check_option, is_tensor
from neuro.errors import EmptySelection
from neuro.rsa._array import lib
from neuro.rsa._distances import squared_pairs
from neuro.rsa._patterns import Plan
from neuro.rsa.noise import whitener_of
from neuro.rsa.poisson import PRIOR, smoothed

METRICS_UNBALANCED = ("sqeuclidean", "euclidean", "correlation", "cosine", "mahalanobis", "crossnobis")
METRICS_UNBALANCED += ("poisson", "poisson_cv")
WEIGHTINGS = ("number", "equal")
ROW_BYTES = 64 * 2**20


def unbalanced(
    X: Any,
    plan: Plan,
    metric: str,
    noise: Any = None,
    *,
    remove_mean: bool = False,
    weighting: str = "number",
    prior: tuple[float, float] = PRIOR,
) -> Any:
    """Return distances between conditions from single rows, (n_pairs,); see the module's equation.

    Parameters
    ----------
    X : array or tensor (n_rows, p)
        NaN where a channel is not known in a row (not with a whole precision matrix).
    plan : Plan
        Conditions and folds of the rows (:func:`~neuro.rsa._patterns.make_plan`). Pairs without any two rows of
        different folds are NaN.
    metric : str
        "correlation" and "cosine" normalise single rows, "poisson" averages divergences between single rows.
    weighting : "number" or "equal"
        With NaN: weigh pairs of rows by the channels they share, or all alike.
    """
    check_option("metric", metric, METRICS_UNBALANCED)
    check_option("weighting", weighting, WEIGHTINGS)
    if metric in ("crossnobis", "poisson_cv") and plan.n_folds < 2:
        raise EmptySelection(f"metric={metric!r} needs at least two folds, got {max(plan.n_folds, 1)}.")
    if not is_tensor(X):
        X = X.astype(np.float64, copy=False)
    known = ~X.isnan() if is_tensor(X) else ~np.isnan(X)
    complete = bool(known.all())
    if remove_mean:
        X = X - _row_mean(X, known)
    if metric in ("mahalanobis", "crossnobis") and noise is not None:
        W = whitener_of(noise, X.shape[1], X)
        if W.ndim == 2 and not complete:
            raise ValueError(
                "a whole precision matrix needs all channels: give its diagonal, or nan='drop' to leave channels out."
            )
        X = X * W if W.ndim == 1 else X @ W
    if complete and metric not in ("poisson", "poisson_cv"):
        kappa = _from_sums(_normalised(X, metric), plan) / (X.shape[1] if _per_channel(metric) else 2)
    else:
        kappa = _from_rows(X, known, plan, metric, weighting, prior)
    missing = int((~_upper_known(kappa)).sum())
    if missing:
        warnings.warn(
            f"{missing} of {plan.n * (plan.n + 1) // 2} pairs of conditions share no channel in different folds; "
            "distances that need them are NaN.",
            stacklevel=2,
        )
    d = squared_pairs(kappa, 1.0, clip=False)
    if metric == "euclidean":
        return d.clamp(min=0) ** 0.5 if is_tensor(d) else np.sqrt(np.maximum(d, 0))
    return d


def _from_sums(X: Any, plan: Plan) -> Any:
    """Mean inner product over pairs of rows from different folds, from sums per condition and fold."""
    n = plan.n
    sums = _group_sum(X, plan.codes, n)
    total = sums @ sums.T
    rows_per_condition = np.bincount(plan.codes, minlength=n).astype(float)
    counts = np.outer(rows_per_condition, rows_per_condition)
    if plan.folds is not None:
        for fold in range(plan.n_folds):
            rows = np.flatnonzero(plan.folds == fold)
            present, codes = np.unique(plan.codes[rows], return_inverse=True)
            part = _group_sum(X[_index(rows, X)], codes, len(present))
            where = np.ix_(present, present)
            product = part @ part.T
            if is_tensor(X):
                i, j = (_index(w, X) for w in where)
                total = total.index_put((i, j), -product, accumulate=True)
            else:
                total[where] -= product
            own = np.bincount(codes, minlength=len(present)).astype(float)
            counts[where] -= np.outer(own, own)
    return _divide(total, _like(counts, X))


def _from_rows(X: Any, known: Any, plan: Plan, metric: str, weighting: str, prior: tuple[float, float]) -> Any:
    """The same from the inner products of rows over the channels they share, in blocks of rows."""
    xp = lib(X)
    zero = xp.zeros_like(X)
    M = known.to(X.dtype) if is_tensor(X) else known.astype(X.dtype)
    X0 = xp.where(known, X, zero)
    if metric in ("poisson", "poisson_cv"):
        rates = xp.where(known, smoothed(X0, prior), zero)
        logs = xp.where(known, xp.log(smoothed(X0, prior)), zero)
        entropy = rates * logs
    n, N = plan.n, len(X)
    numerator = denominator = 0
    step = max(1, ROW_BYTES // (8 * N))
    for start in range(0, N, step):
        b = slice(start, min(start + step, N))
        shared = M[b] @ M.T
        if metric in ("poisson", "poisson_cv"):
            cross = rates[b] @ logs.T + logs[b] @ rates.T
            s = (cross - entropy[b] @ M.T - M[b] @ entropy.T) / 2
        elif metric in ("correlation", "cosine"):
            s = _row_correlation(X0, M, b, shared, metric == "correlation") * shared / 2
        else:
            s = X0[b] @ X0.T
        allowed = np.ones((b.stop - b.start, N), bool)
        if plan.folds is not None:
            allowed = plan.folds[b, None] != plan.folds[None]
        weight = _like(allowed.astype(float), X) * (shared > 0)
        values = _divide(s, shared)
        values = xp.where((weight > 0) & ~xp.isnan(values), values, xp.zeros_like(s))
        weight = weight * shared if weighting == "number" else weight
        numerator = numerator + _group_both(values * weight, plan.codes, b, n)
        denominator = denominator + _group_both(weight, plan.codes, b, n)
    return _divide(numerator, denominator)


def _row_correlation(X0: Any, M: Any, b: slice, shared: Any, centre: bool) -> Any:
    """Correlation (or cosine) of rows over the channels that both know."""
    xp = lib(X0)
    if centre:
        X0 = xp.where(M > 0, X0 - _row_mean(X0, M > 0), xp.zeros_like(X0))
    count = xp.where(shared > 0, shared, xp.ones_like(shared))
    xy, xx, yy = X0[b] @ X0.T, X0[b] ** 2 @ M.T, M[b] @ (X0**2).T
    if centre:
        sx, sy = X0[b] @ M.T, M[b] @ X0.T
        xy, xx, yy = xy - sx * sy / count, xx - sx**2 / count, yy - sy**2 / count
    return _divide(xy, (xx.clip(0) * yy.clip(0)) ** 0.5)


def _normalised(X: Any, metric: str) -> Any:
    if metric == "correlation":
        X = X - (X.mean(1, keepdim=True) if is_tensor(X) else X.mean(1, keepdims=True))
    if metric in ("correlation", "cosine"):
        norm = (X**2).sum(1) ** 0.5
        return _divide(X, norm[:, None])
    return X


def _per_channel(metric: str) -> bool:
    return metric not in ("correlation", "cosine")


def _group_sum(X: Any, codes: np.ndarray, n: int) -> Any:
    if is_tensor(X):
        return X.new_zeros((n, X.shape[1])).index_add(0, _index(codes, X), X)
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes, minlength=n)
    return np.add.reduceat(X[order], np.concatenate([[0], np.cumsum(counts)[:-1]]), axis=0)


def _group_both(values: Any, codes: np.ndarray, b: slice, n: int) -> Any:
    """Sum a block of rows x all rows into conditions x conditions."""
    if is_tensor(values):
        by_row = values.new_zeros((n, values.shape[1])).index_add(0, _index(codes[b], values), values)
        return values.new_zeros((n, n)).index_add(1, _index(codes, values), by_row)
    from scipy.sparse import csr_array

    rows = len(codes)
    Z = csr_array((np.ones(rows), (codes, np.arange(rows))), shape=(n, rows))
    return (Z @ (Z[:, b] @ values).T).T


def _row_mean(X: Any, known: Any) -> Any:
    xp = lib(X)
    X0 = xp.where(known, X, xp.zeros_like(X))
    count = known.sum(1)
    return X0.sum(1)[:, None] / count.clip(1)[:, None]


def _divide(a: Any, b: Any) -> Any:
    """A / b, NaN where b is 0."""
    xp = lib(a)
    good = b > 0
    out = a / xp.where(good, b, xp.ones_like(b))
    return xp.where(good, out, xp.full_like(out, float("nan")))


def _upper_known(kappa: Any) -> np.ndarray:
    k = kappa.detach().cpu().numpy() if is_tensor(kappa) else kappa
    return ~np.isnan(k[np.triu_indices(len(k))])


def _index(rows: np.ndarray, like: Any) -> Any:
    if not is_tensor(like):
        return rows
    import torch

    return torch.tensor(rows, device=like.device)


def _like(values: np.ndarray, like: Any) -> Any:
    if not is_tensor(like):
        return values
    import torch

    return torch.tensor(values, dtype=like.dtype, device=like.device)
