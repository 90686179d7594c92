"""How well do predictions match responses? One number per voxel.

Rules shared by all metrics: rows are stimuli (or trials, or time points), every further axis is a response channel; a
channel whose responses are constant or contain NaN gives NaN, since nothing could be explained there, and so do NaN
predictions; a *constant prediction* is a prediction, and scores 0 as a correlation. Sums run in float64 over blocks
of channels. Torch in, torch out, on the same device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neuro._check import check_option
from neuro.stats._moments import FORMULAS, Moments, as_columns, column_blocks, moments, namespace


def pearson_r(Y: Any, Y_hat: Any) -> Any:
    """Return the Pearson correlation of responses and predictions per voxel.

    Parameters
    ----------
    Y : array or tensor (n_stimuli, n_voxels)
        Responses. Further axes are kept: (n_stimuli, n_voxels, n_times) gives (n_voxels, n_times).
    Y_hat : array or tensor of the same shape
        Predictions.

    Returns
    -------
    array or tensor (n_voxels,), float64
        NaN for constant or NaN responses, 0 for constant predictions.

    Raises
    ------
    ShapeMismatch
        If the shapes differ or there are fewer than 2 rows.

    Examples
    --------
    >>> pearson_r([[1.0, 1.0], [2.0, 0.0], [3.0, 1.0]], [[2.0, 1.0], [4.0, 1.0], [6.0, 1.0]])
    array([1., 0.])
    """
    return _score(FORMULAS["pearson_r"], Y, Y_hat)


def r2(Y: Any, Y_hat: Any) -> Any:
    """Return the coefficient of determination per voxel: 1 - sum (y - y_hat)^2 / sum (y - mean y)^2.

    Not the square of :func:`pearson_r`: a prediction with the wrong scale or mean loses, down to minus infinity.
    The mean is that of the rows given. Parameters and result as for :func:`pearson_r`.

    Examples
    --------
    >>> r2([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    -6.0
    """
    return _score(FORMULAS["r2"], Y, Y_hat)


def explained_variance(Y: Any, Y_hat: Any) -> Any:
    """Return 1 - variance of (y - y_hat) / variance of y per voxel: like :func:`r2`, but blind to a wrong mean.

    Parameters and result as for :func:`pearson_r`.

    Examples
    --------
    >>> explained_variance([1.0, 2.0, 3.0], [11.0, 12.0, 13.0])
    1.0
    """
    return _score(FORMULAS["explained_variance"], Y, Y_hat)


#: What a ``metric=`` string means; any callable ``f(Y, Y_hat) -> (n_voxels,)`` may stand in its place.
METRICS: dict[str, Callable[[Any, Any], Any]] = {
    "pearson_r": pearson_r,
    "r2": r2,
    "explained_variance": explained_variance,
}


def resolve_metric(metric: str | Callable[[Any, Any], Any]) -> tuple[str, Callable[[Any, Any], Any], Any]:
    """Return (name, function, formula on moments or None) of a metric given by name or as a callable."""
    if callable(metric):
        name = next((n for n, f in METRICS.items() if f is metric), getattr(metric, "__name__", "callable"))
        known = METRICS.get(name) is metric
    else:
        name, known = check_option("metric", metric, METRICS), True
    function: Any = METRICS[name] if known else metric
    return name, function, FORMULAS[name] if known else None


def _score(formula: Callable[[Moments], Any], Y: Any, Y_hat: Any) -> Any:
    Y, Y_hat, shape = as_columns(Y, Y_hat)
    xp = namespace(Y)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        parts = [formula(moments(Y[:, b], Y_hat[:, b])) for b in column_blocks(Y.shape[1], Y.shape[0])]
    if not parts:
        return xp.zeros(shape) if xp is np else xp.zeros(shape, device=Y.device, dtype=xp.float64)
    out = xp.concatenate(parts).reshape(shape)
    return float(out) if shape == () and xp is np else out
