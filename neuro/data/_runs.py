"""Time series in runs: where each run begins, and checks that all functions of time series share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.errors import ShapeMismatch


def check_delays(delays: Any) -> list[int]:
    """Return delays as a list of int: whole numbers, each once."""
    steps = np.atleast_1d(np.asarray(delays))
    if steps.ndim != 1 or not steps.size or steps.dtype.kind not in "iu":
        raise ValueError(f"delays must be whole numbers of scans, such as (2, 3, 4), got {delays!r}.")
    if len(np.unique(steps)) != len(steps):
        raise ValueError(f"delays must differ, got {steps.tolist()}.")
    return steps.tolist()


def run_borders(n: int, runs: Any) -> list[tuple[int, int]]:
    """Return (start, stop) of each run."""
    if runs is None:
        return [(0, n)]
    labels = as_numpy(runs)
    if labels.shape != (n,):
        raise ShapeMismatch(f"runs must name one run for each of {n:,} rows, got shape {labels.shape}.")
    starts = np.concatenate([[0], np.flatnonzero(labels[1:] != labels[:-1]) + 1, [n]])
    if len(np.unique(labels)) != len(starts) - 1:
        names, pieces = np.unique(labels[starts[:-1]], return_counts=True)
        raise ValueError(
            f"a run must be one stretch of rows; run {names[pieces > 1][0]} comes in {pieces.max()} pieces. Sort rows "
            "by run, or number repeats of a run apart."
        )
    return list(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))


def as_rows(X: Any) -> Any:
    """Return X as a tensor or array, if it has rows and columns."""
    X = X if is_tensor(X) else np.asarray(X)
    if X.ndim != 2 or not len(X):
        raise ShapeMismatch(f"X must be (n_rows, n_features), got shape {tuple(X.shape)}.")
    return X


def as_numpy(a: Any) -> np.ndarray:
    """Return a tensor or anything array-like as an array."""
    return a.detach().cpu().numpy() if is_tensor(a) else np.asarray(a)


def positive(name: str, value: Any, unit: str) -> float:
    """Return ``value`` as float, if it is a finite number above 0."""
    if not (isinstance(value, (int, float, np.number)) and math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be above 0 {unit}, got {value!r}.")
    return float(value)
