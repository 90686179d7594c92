"""How does the geometry unfold in time? One RDM per time, and the geometry that two times share.

    d_ij(t, t') = (x_i(t) - x_j(t))' (x_i(t') - x_j(t')) / p,    mean over pairs = 2 / (n - 1) sum_i y_i(t)' y_i(t') / p

with y the patterns minus their mean over conditions: one Gram matrix of times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import is_tensor
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa._pairs import pair_indices
from neuro.rsa._patterns import Patterns, as_float, make_plan
from neuro.rsa.container import RDMs
from neuro.rsa.estimate import rdm
from neuro.rsa.noise import whitener_of

BLOCK_BYTES = 256 * 2**20


def rdm_movie(
    data: Any,
    metric: str | Callable[[Any], Any] = "correlation",
    *,
    times: Any = None,
    windows: Sequence[tuple[float, float]] | None = None,
    **options: Any,
) -> RDMs:
    """Return one RDM per time, with the column "time" (seconds) in its table.

    Parameters
    ----------
    data : array or tensor (n_rows, n_channels, n_times), or Responses with times
    metric, **options
        As for :func:`~neuro.rsa.rdm`: conditions, folds, noise (one precision for all times)... For Responses the
        conditions are the stimuli, and ``folds`` may name a column of its trials.
    times : array (n_times,), optional
        Seconds; indices by default.
    windows : sequence of (start, stop), optional
        Average the responses within start <= time < stop first; "time" is then the middle of a window.
    """
    data, times, options = _with_times(data, times, options)
    X = as_float(data)
    if X.ndim != 3:
        raise ShapeMismatch(f"expected (n_rows, n_channels, n_times), got shape {tuple(X.shape)}.")
    times = _checked_times(times, X.shape[2])
    table = pd.DataFrame({"time": times})
    groups: list[Any] = [slice(t, t + 1) for t in range(len(times))]
    if windows is not None:
        groups = [np.flatnonzero((times >= a) & (times < b)) for a, b in windows]
        empty = [w for w, g in zip(windows, groups, strict=True) if not len(g)]
        if empty or not groups:
            raise EmptySelection(
                f"no time lies in {empty[0] if empty else 'no window'}; times go from {_range(times)}."
            )
        table = pd.DataFrame(
            {
                "time": [(a + b) / 2 for a, b in windows],
                "start": [a for a, _ in windows],
                "stop": [b for _, b in windows],
            }
        )
    itemsize = X.element_size() if is_tensor(X) else X.itemsize
    step = max(1, BLOCK_BYTES // (X.shape[0] * X.shape[1] * itemsize))
    movies = []
    for start in range(0, len(groups), step):
        part = groups[start : start + step]
        movies.append(rdm(_stack(X, part, windows is None), metric, **options))
    d = [m.dissimilarities for m in movies]
    if is_tensor(d[0]):
        import torch

        joined = torch.cat(d)
    else:
        joined = np.concatenate(d)
    return RDMs(joined, movies[0].condition_table, table, movies[0].metric, movies[0].settings)


def cross_temporal(
    data: Any,
    *,
    conditions: Any = None,
    folds: Any = None,
    noise: Any = None,
    pairs: bool = False,
) -> Any:
    """Return the geometry that patterns share between any two times, (n_times, n_times).

    The mean over pairs of conditions of d_ij(t, t') of the module's equation: the diagonal holds mean squared
    distances over p, off it is how much of them stays the same in the same channels. To compare RDMs of different times
    instead, whatever channels carry them, compare the movie with itself: ``compare(movie, movie)``.

    Parameters
    ----------
    data : array or tensor (n_rows, n_channels, n_times)
    conditions : sequence (n_rows,), optional
    folds : sequence (n_rows,), optional
        Take the two times from different folds, every condition being in every fold: then noise adds nothing, on the
        diagonal as elsewhere.
    noise : array (p, p) or (p,), optional
        Precision.
    pairs : bool
        Return (n_times, n_times, n_pairs) instead of the mean over pairs.
    """
    X = as_float(data)
    if X.ndim != 3:
        raise ShapeMismatch(f"expected (n_rows, n_channels, n_times), got shape {tuple(X.shape)}.")
    finite = X.isfinite() if is_tensor(X) else np.isfinite(X)
    if not bool(finite.all()):
        raise ValueError(f"the data hold {int((~finite).sum()):,} NaN or infinite values: leave these channels out.")
    rows, p, T = X.shape
    plan = make_plan(rows, conditions, folds)
    if folds is not None and (plan.n_folds < 2 or plan.counts.min() == 0):
        raise EmptySelection(f"needs every condition in each of at least two folds, got {plan.n_folds} fold(s).")
    W = None if noise is None else whitener_of(noise, p, X)
    A = (
        Patterns(X.reshape(rows, p * T), plan)
        .array()
        .reshape(*((plan.n_folds,) if folds is not None else ()), plan.n, p, T)
    )
    if not is_tensor(A):
        A = A.astype(np.float64, copy=False)
    A = A - (A.mean(-3, keepdim=True) if is_tensor(A) else A.mean(-3, keepdims=True))
    A = A.swapaxes(-1, -2)  # (..., n, T, p)
    if W is not None:
        A = A * W if W.ndim == 1 else A @ W
    if pairs:
        i, j = pair_indices(plan.n)
        if is_tensor(A):
            import torch

            i, j = torch.tensor(i, device=A.device), torch.tensor(j, device=A.device)
        Y = A[..., i, :, :] - A[..., j, :, :]  # (..., n_pairs, T, p)
        out = _across(Y, folds is not None) / p
        return out.permute(1, 2, 0) if is_tensor(out) else out.transpose(1, 2, 0)
    Y = A.swapaxes(-2, -3)  # (..., T, n, p)
    Y = Y.reshape(*Y.shape[:-2], plan.n * p)
    return _across(Y, folds is not None) * 2 / ((plan.n - 1) * p)


def _across(Y: Any, crossed: bool) -> Any:
    """Y Y', or its mean over ordered pairs of different folds, the first axis."""
    if not crossed:
        return Y @ Y.swapaxes(-1, -2)
    K, S = len(Y), Y.sum(0)
    total = S @ S.swapaxes(-1, -2)
    for y in Y:
        total = total - y @ y.swapaxes(-1, -2)
    return total / (K * (K - 1))


def _with_times(data: Any, times: Any, options: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    if not hasattr(data, "iter_blocks"):
        return data, times, options
    if data.times is None:
        raise ShapeMismatch("these responses have no time axis: use rdm.")
    from neuro.rsa.from_responses import fold_labels

    options = {"conditions": data.stimulus, **options}
    if isinstance(options.get("folds"), str) and options["folds"] != "occurrence":
        options["folds"] = fold_labels(data.trials, options["folds"])
    return data.to_numpy(), data.times if times is None else times, options


def _checked_times(times: Any, n: int) -> np.ndarray:
    times = np.arange(n) if times is None else np.asarray(times)
    if times.shape != (n,):
        raise ShapeMismatch(f"times must hold one value for each of {n} times, got shape {times.shape}.")
    return times


def _range(times: np.ndarray) -> str:
    return f"{times.min():g} to {times.max():g}"


def _stack(X: Any, groups: list[Any], single: bool) -> Any:
    """(n_groups, n_rows, n_channels), each a time or the mean over some."""
    if single:
        part = X[:, :, groups[0].start : groups[-1].stop]
        return part.permute(2, 0, 1) if is_tensor(X) else np.ascontiguousarray(part.transpose(2, 0, 1))
    means = [X[:, :, list(g)].mean(2) for g in groups]
    if is_tensor(X):
        import torch

        return torch.stack(means)
    return np.stack(means)
