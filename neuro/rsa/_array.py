"""One spelling for numpy arrays and torch tensors: the library of an array, common precision, safe ratios."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.errors import ShapeMismatch

TINY = 1e-13  # a centred vector this much shorter than it was before centring holds rounding only


def lib(*arrays: Any) -> Any:
    """Return torch if any of ``arrays`` is a tensor, else numpy."""
    if any(is_tensor(x) for x in arrays):
        import torch

        return torch
    return np


def together(x: Any, y: Any) -> tuple[Any, Any]:
    """Return both as numpy arrays, or both as tensors of the dtype and device of the one that is a tensor."""
    if is_tensor(x) == is_tensor(y):
        return x, y
    import torch

    if is_tensor(x):
        return x, torch.as_tensor(np.array(y), dtype=x.dtype, device=x.device)
    return torch.as_tensor(np.array(x), dtype=y.dtype, device=y.device), y


def double(x: Any) -> Any:
    """Return ``x`` in float64 (without a copy where it is already)."""
    if is_tensor(x):
        return x.double()
    return np.asarray(x, dtype=np.float64)


def like(result: Any, x: Any) -> Any:
    """Return a float64 result in the precision of the input ``x``: tensors keep theirs, numpy stays float64."""
    return result.to(x.dtype) if is_tensor(x) and x.dtype.is_floating_point else result


def number(x: Any) -> float:
    """Return a scalar as a float, cut from its graph."""
    return float(x.detach()) if is_tensor(x) else float(x)


def to_numpy(x: Any) -> np.ndarray:
    """Return ``x`` as a numpy array, cut from its graph."""
    return x.detach().cpu().numpy() if is_tensor(x) else np.asarray(x)


def constant(value: Any, like_this: Any) -> Any:
    """Return a numpy array as the kind (and device) of ``like_this``."""
    if not is_tensor(like_this):
        return value
    import torch

    return torch.tensor(value, device=like_this.device)


def scores_from(inner: Any, norm_a: Any, norm_b: Any, floor_a: Any = 0.0, floor_b: Any = 0.0) -> Any:
    """Return inner / (norm_a norm_b'), zero where a squared norm does not exceed its floor, NaN where it is NaN.

    ``inner`` (n_a, n_b); ``norm_a`` (n_a,), ``norm_b`` (n_b,) are squared norms.
    """
    xp = lib(inner)
    inverse_a, inverse_b = (
        xp.where(s <= f, xp.zeros_like(s), xp.where(s <= f, xp.ones_like(s), s) ** -0.5)
        for s, f in ((norm_a, floor_a), (norm_b, floor_b))
    )
    return inner * inverse_a[:, None] * inverse_b[None, :]


def features_pair(x: Any, y: Any, minimum: int = 3) -> tuple[Any, Any]:
    """Return two representations (n, p) and (n, q) of the same stimuli in float64, checked."""
    x, y = together(x if is_tensor(x) else np.asarray(x), y if is_tensor(y) else np.asarray(y))
    for name, z in (("x", x), ("y", y)):
        if z.ndim != 2 or 0 in z.shape:
            raise ShapeMismatch(f"{name} must be (n_stimuli, n_features), got shape {tuple(z.shape)}.")
    if x.shape[0] != y.shape[0]:
        raise ShapeMismatch(
            f"x and y must describe the same stimuli: x has {x.shape[0]:,} rows, y has {y.shape[0]:,}. "
            "Were repeats averaged in one but not in the other?"
        )
    if x.shape[0] < minimum:
        raise ShapeMismatch(f"at least {minimum} stimuli are needed, got {x.shape[0]}.")
    return double(x), double(y)


def centred(x: Any) -> Any:
    """Return ``x`` (n, p) minus its mean over stimuli."""
    return x - x.mean(0)
