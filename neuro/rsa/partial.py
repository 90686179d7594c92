"""What does each model explain that the others do not?

Partial correlation of data RDM d_0 with model d_j, the other models held constant (centred or ranked vectors):

    A = (Z'Z)^+,  r_0j|rest = - A_0j / sqrt(A_00 A_jj).

Regression: least squares of centred data on centred models, theta = argmin |d - M'theta|^2 (+ ridge, or theta >= 0),
in the plain metric or in V^-1 of the whitened measures. Variance partitioning: R^2 of all unions of 2 to 4 groups,
and by inclusion and exclusion the shares unique to a group and common to several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, check_positive_int
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa._gram import gram
from neuro.rsa._least_squares import nnls_gram, solve_gram
from neuro.rsa._problem import Problem, problem
from neuro.rsa._ranks import average_ranks
from neuro.rsa.models import as_models

COLLINEAR = 1e-10  # share of a model's variance that must be left by the others


@dataclass(frozen=True, eq=False)
class PartialResult:
    """Result of :func:`partial_rsa`.

    Parameters
    ----------
    models, rdms : tuple of str
    partial, simple : array (n_models, n_rdms)
        Correlation with the other models held constant, and without; NaN where the others explain a model completely.
    method : str
    """

    models: tuple[str, ...]
    rdms: tuple[str, ...]
    partial: np.ndarray
    simple: np.ndarray
    method: str

    def to_frame(self) -> pd.DataFrame:
        """Return one row per model and RDM."""
        m, r = np.indices(self.partial.shape).reshape(2, -1)
        return pd.DataFrame(
            {
                "model": np.array(self.models, object)[m],
                "rdm": np.array(self.rdms, object)[r],
                "partial": self.partial.ravel(),
                "simple": self.simple.ravel(),
                "method": self.method,
            }
        )


@dataclass(frozen=True, eq=False)
class RegressionResult:
    """Result of :func:`regress_rsa`.

    Parameters
    ----------
    models, rdms : tuple of str
    weights : array (n_models, n_rdms)
    r2 : array (n_rdms,)
        On the pairs that were fitted.
    unique : array (n_models, n_rdms)
        R^2 lost without the model, all others refitted.
    r2_cv : array (n_rdms,) or None
        On held-out stimuli, mean over folds; may be negative.
    solver, metric : str
    """

    models: tuple[str, ...]
    rdms: tuple[str, ...]
    weights: np.ndarray
    r2: np.ndarray
    unique: np.ndarray
    r2_cv: np.ndarray | None
    solver: str
    metric: str

    def to_frame(self) -> pd.DataFrame:
        """Return one row per model and RDM."""
        m, r = np.indices(self.weights.shape).reshape(2, -1)
        out = pd.DataFrame(
            {
                "model": np.array(self.models, object)[m],
                "rdm": np.array(self.rdms, object)[r],
                "weight": self.weights.ravel(),
                "unique_r2": self.unique.ravel(),
                "r2": self.r2[r],
            }
        )
        return out if self.r2_cv is None else out.assign(r2_cv=self.r2_cv[r])


def partial_rsa(models: Any, rdms: Any, method: str = "spearman") -> PartialResult:
    """Return the correlation of each data RDM with each model, all other models held constant.

    Parameters
    ----------
    models, rdms
        As for :func:`neuro.rsa.evaluate`; models without weights.
    method : "corr", "spearman", "corr_cov", "cosine" or "cosine_cov"
        Geometry in which the others are projected out: of centred or ranked vectors, or whitened.

    Returns
    -------
    PartialResult
        Group inference: ``sign_flip_test(result.partial)``.

    Examples
    --------
    >>> a, b = np.random.default_rng(0).random((2, 190))
    >>> result = partial_rsa({"a": a, "a + b": a + b}, b, "corr")
    >>> result.partial.round(3).ravel(), result.simple.round(3).ravel()
    (array([-1.,  1.]), array([0.082, 0.723]))
    """
    from neuro.rsa.compare import tokens

    check_option("method", method, ["corr", "spearman", "corr_cov", "cosine", "cosine_cov"])
    task = _fixed_problem(models, rdms, method)
    z = np.asarray(tokens(np.concatenate([*task.bases, task.data]), method), float)
    m = task.n_models
    k = z @ z.T
    partial = np.full((m, len(task.data)), np.nan)
    d = np.arange(m, m + len(task.data))
    for j in range(m):
        rest = np.array([i for i in range(m) if i != j], int)
        inverse = np.linalg.pinv(k[np.ix_(rest, rest)], rcond=1e-12, hermitian=True) if len(rest) else np.zeros((0, 0))
        onto = inverse @ k[np.ix_(rest, [j, *d])]
        left = k[j, [j, *d]] - k[j, rest] @ onto
        own = np.diagonal(k)[d] - (k[np.ix_(rest, d)] * onto[:, 1:]).sum(0)
        good = own > 1e-14
        if left[0] > COLLINEAR:
            partial[j, good] = np.clip(left[1:][good] / np.sqrt(left[0] * own[good]), -1, 1)
    return PartialResult(_model_names(task), _rdm_names(rdms, task), partial, k[:m, m:].copy(), method)


def regress_rsa(
    models: Any,
    rdms: Any,
    *,
    solver: str = "ols",
    ridge: float = 0.0,
    whitened: bool = False,
    ranks: bool = False,
    intercept: bool = True,
    cv: int | None = None,
    rng: int | np.random.Generator | None = 0,
) -> RegressionResult:
    """Regress data RDMs on model RDMs.

    Parameters
    ----------
    models, rdms
        As for :func:`neuro.rsa.evaluate`; models without weights.
    solver : "ols" or "nnls"
        Ordinary or non-negative least squares. Weights of collinear models are the shortest solution.
    ridge : float, >= 0
        Penalty on squared weights in units of the mean squared length of the models; for collinear models.
    whitened : bool
        Least squares in the metric V^-1, V the covariance of distances that share stimuli.
    ranks : bool
        Regress ranks on ranks.
    intercept : bool
        Subtract means first.
    cv : int, optional
        Folds over stimuli: weights from pairs of training stimuli, R^2 on pairs of test stimuli, means of either
        subtracted on its own.
    rng : int, Generator or None
        Assignment to folds.

    Returns
    -------
    RegressionResult
    """
    check_option("solver", solver, ["ols", "nnls"])
    if not (np.isfinite(ridge) and ridge >= 0):
        raise ValueError(f"ridge must be finite and not negative, got {ridge!r}.")
    metric = ("corr" if intercept else "cosine") + ("_cov" if whitened else "")
    task = _fixed_problem(models, rdms, metric)
    stack = np.concatenate([*task.bases, task.data])
    stack = np.asarray(average_ranks(stack), float) if ranks else stack
    m = task.n_models
    inner = gram(stack, metric).inner[0]
    weights, r2 = _fit(inner, m, np.arange(m), solver, ridge)
    unique = np.stack([r2 - _fit(inner, m, np.delete(np.arange(m), j), solver, ridge)[1] for j in range(m)])
    r2_cv = None
    if cv is not None:
        r2_cv = _cv_r2(stack, m, [np.arange(m)], metric, solver, ridge, cv, rng)[0]
    return RegressionResult(_model_names(task), _rdm_names(rdms, task), weights, r2, unique, r2_cv, solver, metric)


def variance_partition(
    groups: Mapping[str, Any],
    rdms: Any,
    *,
    adjusted: bool = True,
    cv: int | None = None,
    solver: str = "ols",
    ridge: float = 0.0,
    whitened: bool = False,
    ranks: bool = False,
    rng: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Split the variance of data RDMs into shares unique to groups of models and common to several.

    Parameters
    ----------
    groups : dict of name -> models
        2 to 4 groups, each one or several RDMs.
    rdms : RDMs or array
    adjusted : bool
        R^2 adjusted for the number of models, 1 - (1 - R^2)(P - 1)/(P - k - 1); ignored with ``cv``. Pairs are not
        independent, so that this corrects too little; ``cv`` does not have that problem.
    cv : int, optional
        Folds over stimuli, the same for all unions.
    solver, ridge, whitened, ranks, rng
        As for :func:`regress_rsa`.

    Returns
    -------
    DataFrame
        One row per RDM and share: ``groups`` (names joined by " & "), ``kind`` ("unique", "shared" or "total") and
        ``r2``. Shares of one RDM add up to its total; common ones may be negative (suppression).

    References
    ----------
    Nimon & Oswald (2013), Organ. Res. Methods 16, 650-674. Hebart et al. (2018), eLife 7, e32816.
    """
    names = list(groups)
    if not 2 <= len(names) <= 4:
        raise ValueError(f"variance is partitioned among 2 to 4 groups, got {len(names)}: {names}.")
    parts = [as_models(g) for g in groups.values()]
    models = [_renamed(m, f"{name}: {m.name}") for name, part in zip(names, parts, strict=True) for m in part]
    metric = "corr_cov" if whitened else "corr"
    task = _fixed_problem(models, rdms, metric)
    stack = np.concatenate([*task.bases, task.data])
    stack = np.asarray(average_ranks(stack), float) if ranks else stack
    owner = np.repeat(np.arange(len(names)), [len(p) for p in parts])
    m, n_pairs = task.n_models, task.data.shape[1]
    unions = [frozenset(c) for size in range(1, len(names) + 1) for c in combinations(range(len(names)), size)]
    columns = [np.flatnonzero(np.isin(owner, list(u))) for u in unions]
    if cv is not None:
        values = _cv_r2(stack, m, columns, metric, solver, ridge, cv, rng)
    else:
        inner = gram(stack, metric).inner[0]
        values = [_fit(inner, m, c, solver, ridge)[1] for c in columns]
        if adjusted:
            values = [
                1 - (1 - v) * (n_pairs - 1) / (n_pairs - len(c) - 1) for v, c in zip(values, columns, strict=True)
            ]
    r2 = {frozenset(): np.zeros(len(task.data)), **dict(zip(unions, values, strict=True))}
    everything = frozenset(range(len(names)))
    frames = []
    for u in unions:
        rest = everything - u
        share = np.zeros(len(task.data))
        for size in range(len(u) + 1):
            for t in combinations(sorted(u), size):
                share += (-1) ** (size + 1) * r2[rest | frozenset(t)]
        label = " & ".join(names[i] for i in sorted(u))
        frames.append(_rows(rdms, task, label, "unique" if len(u) == 1 else "shared", share))
    frames.append(_rows(rdms, task, " & ".join(names), "total", r2[everything]))
    return pd.concat(frames, ignore_index=True)


def _fit(inner: np.ndarray, m: int, columns: np.ndarray, solver: str, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n_columns, R) and R^2 (R,) from inner products of m models followed by data."""
    k, y = inner[np.ix_(columns, columns)], inner[columns, m:]
    theta = _solve(k, y, solver, ridge)
    return theta, _r2(inner, m, columns, theta)


def _solve(k: np.ndarray, y: np.ndarray, solver: str, ridge: float) -> np.ndarray:
    if not len(k):
        return np.zeros((0, y.shape[1]))
    penalty = ridge * float(np.trace(k)) / len(k)
    solve = nnls_gram if solver == "nnls" else solve_gram
    return np.stack([solve(k, column, penalty) for column in y.T], axis=1)


def _r2(inner: np.ndarray, m: int, columns: np.ndarray, theta: np.ndarray) -> np.ndarray:
    k, y = inner[np.ix_(columns, columns)], inner[columns, m:]
    total = np.diagonal(inner)[m:]
    explained = 2 * (theta * y).sum(0) - (theta * (k @ theta)).sum(0)
    return np.divide(explained, total, out=np.full(len(total), np.nan), where=total > 0)


def _cv_r2(
    stack: np.ndarray, m: int, unions: list[np.ndarray], metric: str, solver: str, ridge: float, cv: int, rng: Any
) -> list[np.ndarray]:
    """Mean R^2 on held-out stimuli of each union of models."""
    from neuro.rsa._pairs import n_from_pairs

    check_positive_int("cv", cv, 2)
    n = n_from_pairs(stack.shape[1])
    if n < 3 * cv:
        raise EmptySelection(f"{cv} folds need at least {3 * cv} stimuli, three in each, got {n}.")
    fold = as_rng(rng).permutation(n) % cv
    test = (fold == np.arange(cv)[:, None]).astype(float)
    train_inner, test_inner = gram(stack, metric, 1 - test).inner, gram(stack, metric, test).inner
    out = []
    for columns in unions:
        values = [
            _r2(te, m, columns, _fit(tr, m, columns, solver, ridge)[0])
            for tr, te in zip(train_inner, test_inner, strict=True)
        ]
        out.append(np.mean(values, axis=0))
    return out


def _fixed_problem(models: Any, rdms: Any, method: str) -> Problem:
    task = problem(models, rdms, method, None, None, False, False)
    if any(m.flexible for m in task.models):
        raise ValueError("models must be single RDMs here; the regression finds the weights.")
    if not task.complete:
        raise ValueError("pairs are missing (NaN); select complete conditions first.")
    if task.n_models >= task.data.shape[1]:
        raise ShapeMismatch(f"{task.n_models} models of {task.data.shape[1]} pairs explain anything; use fewer models.")
    return task


def _renamed(model: Any, name: str) -> Any:
    import copy

    model = copy.copy(model)
    model.name = name
    return model


def _model_names(task: Problem) -> tuple[str, ...]:
    return tuple(m.name for m in task.models)


def _rdm_names(rdms: Any, task: Problem) -> tuple[str, ...]:
    return tuple(str(s) for s in task.subjects)


def _rows(rdms: Any, task: Problem, label: str, kind: str, r2: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"rdm": _rdm_names(rdms, task), "groups": label, "kind": kind, "r2": r2})
