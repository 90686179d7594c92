"""How well predictions match responses, per voxel.

A metric is a function ``f(Y, Y_hat) -> (n_voxels,)`` of two arrays (n_stimuli, n_voxels). Sums run in float64. A voxel
that is constant or holds NaN scores NaN: it has no score, which is not the same as a score of 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.errors import ShapeMismatch

# Voxels worked on at once: float64 copies of a block stay small whatever the size of the whole.
_BLOCK_VALUES = 8_000_000

Moments = tuple[np.ndarray, np.ndarray, np.ndarray]


def pearson_r(Y: Any, Y_hat: Any) -> Any:
    """Return the Pearson correlation over stimuli, per voxel.

    Parameters
    ----------
    Y, Y_hat : arrays (n_stimuli, n_voxels), numpy or torch
        Measured and predicted responses.

    Returns
    -------
    array (n_voxels,) float64, NaN where either side is constant or not finite; torch in, torch out

    Examples
    --------
    >>> pearson_r(np.array([[1.0], [2.0], [3.0]]), np.array([[2.0], [4.0], [6.0]]))
    array([1.])
    """

    def block(y: np.ndarray, p: np.ndarray) -> np.ndarray:
        y, p = y - y.mean(0), p - p.mean(0)
        return (y * p).sum(0) / np.sqrt((y * y).sum(0) * (p * p).sum(0))

    return _per_voxel(block, Y, Y_hat, needs_varying_prediction=True)


def r2(Y: Any, Y_hat: Any) -> Any:
    """Return the coefficient of determination 1 - SS_residual / SS_total, per voxel; negative if worse than the mean.

    Parameters
    ----------
    Y, Y_hat : arrays (n_stimuli, n_voxels), numpy or torch

    Returns
    -------
    array (n_voxels,), at most 1; NaN where Y is constant or anything is not finite
    """

    def block(y: np.ndarray, p: np.ndarray) -> np.ndarray:
        return 1 - ((y - p) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)

    return _per_voxel(block, Y, Y_hat)


def explained_variance(Y: Any, Y_hat: Any) -> Any:
    """Return 1 - var(Y - Y_hat) / var(Y), per voxel: R2 with the mean error forgiven.

    Parameters
    ----------
    Y, Y_hat : arrays (n_stimuli, n_voxels), numpy or torch

    Returns
    -------
    array (n_voxels,), at most 1; NaN where Y is constant or anything is not finite
    """

    def block(y: np.ndarray, p: np.ndarray) -> np.ndarray:
        return 1 - (y - p).var(0) / y.var(0)

    return _per_voxel(block, Y, Y_hat)


#: Metrics by name; a plug-in is any callable of the same form.
METRICS: dict[str, Callable[[Any, Any], Any]] = {
    "pearson_r": pearson_r,
    "r2": r2,
    "explained_variance": explained_variance,
}


def get_metric(metric: str | Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a metric by name, or the callable given."""
    if callable(metric):
        return metric
    if metric not in METRICS:
        raise ValueError(f"metric must be a function or one of {', '.join(map(repr, METRICS))}, got {metric!r}.")
    return METRICS[metric]


def match(Y: Any, Y_hat: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return both as 2-D numpy arrays of one shape, or say how they differ."""
    Y, Y_hat = _numpy(Y), _numpy(Y_hat)
    if Y.shape != Y_hat.shape:
        raise ShapeMismatch(f"responses {Y.shape} and predictions {Y_hat.shape} must have the same shape.")
    if Y.ndim == 1:
        Y, Y_hat = Y[:, None], Y_hat[:, None]
    if Y.ndim != 2:
        raise ShapeMismatch(f"expected (n_stimuli, n_voxels), got shape {Y.shape}.")
    if len(Y) < 2:
        raise ShapeMismatch(f"a score needs at least 2 stimuli, got {len(Y)}.")
    return Y, Y_hat


def _numpy(x: Any) -> np.ndarray:
    return x.detach().cpu().numpy() if is_tensor(x) else np.asarray(x)


def _per_voxel(
    block: Callable[[np.ndarray, np.ndarray], np.ndarray], Y: Any, Y_hat: Any, needs_varying_prediction: bool = False
) -> Any:
    like = Y
    Y, Y_hat = match(Y, Y_hat)
    out = np.empty(Y.shape[1])
    step = max(1, _BLOCK_VALUES // len(Y))
    for start in range(0, Y.shape[1], step):
        columns = slice(start, start + step)
        y, p = Y[:, columns].astype(np.float64), Y_hat[:, columns].astype(np.float64)
        usable = np.isfinite(y).all(0) & np.isfinite(p).all(0) & _varies(y)
        if needs_varying_prediction:
            usable &= _varies(p)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[columns] = np.where(usable, block(y, p), np.nan)
    if is_tensor(like):
        import torch

        return torch.from_numpy(out).to(like.device)
    return out


def _varies(x: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.ptp(x, axis=0) > 1e-12 * np.abs(x).max(0)
