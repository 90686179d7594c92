"""What the networks of an ensemble share: checked responses, seeded splits, and weights that sum to one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from neuro.encoders._tokens import Tokens
from neuro.errors import ShapeMismatch
from neuro.linear._arrays import as_tensor
from neuro.linear._linear import plain


def hold_out(
    n: int, codes: np.ndarray | None, share: float, rng: np.random.Generator, name: str = "validation"
) -> tuple[np.ndarray, np.ndarray]:
    """Return (training rows, validation rows): a random share of the groups is held out."""
    codes = np.arange(n) if codes is None else codes
    n_groups = int(codes.max()) + 1
    n_out = max(1, round(share * n_groups))
    held = np.zeros(n_groups, bool)
    held[rng.permutation(n_groups)[:n_out]] = True
    rows, out = np.flatnonzero(~held[codes]), np.flatnonzero(held[codes])
    if len(out) < 3 or len(rows) < 2:
        raise ValueError(
            f"{name}={share} of {n_groups:,} different stimuli leaves {len(rows)} rows to train on and {len(out)} to "
            f"validate with; at least 2 and 3 are needed. Give more stimuli, or change {name}=."
        )
    return rows, out


def ensemble_weights(r: np.ndarray, sharpness: float) -> np.ndarray:
    """Return weights (n_runs, n_layers, n_voxels) from validation correlations of the same shape.

    A softmax of ``sharpness * r`` over layers, divided by the number of runs: the weights of a voxel sum to one.

    >>> ensemble_weights(np.zeros((2, 2, 1)), 40).ravel()
    array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    e = np.exp(sharpness * (r.astype(np.float64) - r.max(1, keepdims=True)))
    return (e / e.sum(1, keepdims=True) / len(r)).astype(np.float32)


def check_responses(y: Any, layers: dict[str, Tokens]) -> tuple[torch.Tensor, bool]:
    first = next(iter(layers.values()))
    tensors = isinstance(first.data, torch.Tensor)
    y = plain(y, first.data)
    if tensors != isinstance(y, torch.Tensor):
        raise TypeError(
            f"X and y must both be arrays or both be tensors, got {type(first.data).__name__}, {type(y).__name__}."
        )
    Y = y.detach() if isinstance(y, torch.Tensor) else as_tensor(np.asarray(y))
    if Y.ndim not in (1, 2) or 0 in Y.shape:
        raise ShapeMismatch(f"y must be (n_stimuli, n_voxels) or (n_stimuli,), got shape {tuple(Y.shape)}.")
    if len(Y) != len(first):
        raise ShapeMismatch(
            f"X and y must describe the same stimuli: X has {len(first):,} rows, y has {len(Y):,}. "
            "Were repeats averaged in one but not in the other?"
        )
    flat, Y = Y.ndim == 1, Y.reshape(len(Y), -1)
    bad = ~torch.isfinite(Y).all(0)
    if bool(bad.any()):
        raise ValueError(
            f"y contains NaN or infinity in {int(bad.sum()):,} of {len(bad):,} voxels "
            f"(the first is {int(torch.nonzero(bad)[0])}). Leave those voxels out, or the rows where they are missing."
        )
    return Y, flat
