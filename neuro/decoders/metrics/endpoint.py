"""How far is decoded motion from the true one? Endpoint error of optical flow, beside what knowing nothing would score.

    EPE = mean over pixels of |F_pred - F_true|

Most of a scene stands still, so that predicting no motion at all already scores well: the error of zero flow and of the
mean flow stand in ``details`` of every result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import as_rng, is_tensor
from neuro.decoders.metrics._shuffles import derangement
from neuro.decoders.metrics.result import MetricResult, mean_result
from neuro.errors import EmptySelection, ShapeMismatch


def endpoint_error(
    flow_pred: Any,
    flow_true: Any,
    *,
    valid: Any = None,
    mean_flow: Any = None,
    rng: int | np.random.Generator | None = 0,
) -> MetricResult:
    """Mean endpoint error of decoded optical flow.

    Parameters
    ----------
    flow_pred, flow_true : array or tensor (n, ..., height, width, 2)
        Displacement to the right and down, in pixels, as :func:`neuro.features.optical_flow` gives it.
    valid : array (n, ..., height, width) of bool, optional
        Pixels that count; all by default.
    mean_flow : array (..., height, width, 2) or (2,), optional
        Mean flow of the training set, as a baseline; by default the mean of ``flow_true`` over items, pixel by pixel,
        which no decoder could know.
    rng : int, Generator or None

    Returns
    -------
    MetricResult
        In pixels, lower is better. ``details`` hold ``zero_flow`` and ``mean_flow`` (errors of those baselines),
        ``mean_flow_source``, and ``gain_over_zero_flow`` = 1 - EPE / zero_flow. Chance is the error against the flow of
        another item; None for one item.

    Raises
    ------
    ShapeMismatch, ValueError
    EmptySelection
        If an item has no valid pixel.

    Examples
    --------
    >>> truth = np.zeros((2, 4, 4, 2)) + [3.0, 4.0]
    >>> r = endpoint_error(np.zeros((2, 4, 4, 2)), truth)
    >>> r.value, r.details["zero_flow"], r.details["mean_flow"]
    (5.0, 5.0, 0.0)
    """
    pred, true = _flow("flow_pred", flow_pred), _flow("flow_true", flow_true)
    if pred.shape != true.shape:
        raise ShapeMismatch(f"flow_pred and flow_true must have one shape, got {pred.shape} and {true.shape}.")
    weights = np.ones(true.shape[:-1]) if valid is None else np.asarray(valid).astype(bool).astype(float)
    if weights.shape != true.shape[:-1]:
        raise ShapeMismatch(f"valid must be {true.shape[:-1]}, one value per pixel, got {weights.shape}.")
    pixels = weights.reshape(len(true), -1).sum(1)
    if (pixels == 0).any():
        raise EmptySelection(f"item {int(np.argmin(pixels))} has no valid pixel.")
    inside = weights[..., None] > 0
    if not (np.isfinite(true) | ~inside).all() or not (np.isfinite(pred) | ~inside).all():
        raise ValueError("flow must be finite wherever it is valid: mark occluded pixels with valid=False.")
    pred, true = np.where(inside, pred, 0.0), np.where(inside, true, 0.0)

    def error(flow: Any, counted: np.ndarray = weights) -> np.ndarray:
        distance = np.linalg.norm(flow - true, axis=-1) * counted
        return distance.reshape(len(true), -1).sum(1) / np.maximum(counted.reshape(len(true), -1).sum(1), 1e-300)

    if mean_flow is None:
        share = weights.sum(0)[..., None]
        baseline, source = true.sum(0) / np.where(share == 0, 1.0, share), "the items scored"
    else:
        baseline, source = _array(mean_flow), "given, as of the training set"
        if baseline.shape not in ((2,), true.shape[1:]):
            raise ShapeMismatch(f"mean_flow must be (2,) or {true.shape[1:]}, got {baseline.shape}.")
    items, zero = error(pred), float(error(np.zeros(2)).mean())
    chance = None
    if len(true) > 1:
        order = derangement(len(true), as_rng(rng))
        wrong = error(pred[order], weights * weights[order])
        both = (weights * weights[order]).reshape(len(true), -1).any(1)
        chance = float(wrong[both].mean()) if both.any() else None
    details = {
        "zero_flow": zero,
        "mean_flow": float(error(baseline).mean()),
        "mean_flow_source": source,
        "gain_over_zero_flow": 1 - float(items.mean()) / zero if zero else float("nan"),
    }
    return mean_result(
        "endpoint_error",
        items,
        protocol="pixels, mean over pixels then items" + ("" if valid is None else ", valid pixels"),
        chance=chance,
        rng=rng,
        higher_is_better=False,
        details=details,
    )


def _flow(name: str, flow: Any) -> np.ndarray:
    array = _array(flow)
    if array.ndim < 4 or array.shape[-1] != 2 or not len(array):
        hint = " Move the axis of the two components to the end." if 2 in array.shape[1:-1] else ""
        raise ShapeMismatch(f"{name} must be (n, ..., height, width, 2), got {array.shape}.{hint}")
    return array


def _array(x: Any) -> np.ndarray:
    return np.asarray(x.detach().cpu().numpy() if is_tensor(x) else x, dtype=np.float64)
