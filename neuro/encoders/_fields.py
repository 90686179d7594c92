"""Candidate receptive fields, and feature maps seen through them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from neuro._check import check_option, check_positive_int
from neuro.encoders._tokens import Tokens, check_finite
from neuro.errors import ShapeMismatch
from neuro.linear._arrays import array_of


def receptive_field_grid(
    extent: float,
    *,
    n_sizes: int = 8,
    smallest: float = 0.03,
    largest: float = 0.4,
    aperture: float = 1.1,
    spacing: float = 1.0,
) -> np.ndarray:
    """Candidate fields: sizes on a logarithmic scale, centres on a square grid that is finer for smaller sizes.

    Parameters
    ----------
    extent : float
        Width of the image, degrees of visual angle.
    n_sizes : int
    smallest, largest : float
        Range of the standard deviation, as a share of ``extent``.
    aperture : float
        Width of the square that the centres cover, as a share of ``extent``.
    spacing : float
        Distance of neighbouring centres, in standard deviations.

    Returns
    -------
    array (n_fields, 3) : x, y (up), standard deviation, degrees from the middle of the image

    Examples
    --------
    >>> len(receptive_field_grid(8.4)), len(receptive_field_grid(8.4, n_sizes=3, smallest=0.1))
    (2576, 155)
    """
    check_positive_int("n_sizes", n_sizes)
    for name, value in (("extent", extent), ("smallest", smallest), ("aperture", aperture), ("spacing", spacing)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be above 0, got {value!r}.")
    if largest < smallest:
        raise ValueError(f"largest must be at least smallest, {smallest}, got {largest!r}.")
    fields = []
    for size in np.geomspace(smallest, largest, n_sizes):
        half = math.floor(aperture / 2 / (spacing * size))
        centres = np.arange(-half, half + 1) * spacing * size
        x, y = np.meshgrid(centres, centres)
        fields.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, size)], 1))
    return np.concatenate(fields) * extent


def field_weights(fields: np.ndarray, grid: tuple[int, int], extent: float) -> torch.Tensor:
    """Gaussians on a grid of places, each of unit mass: (n_fields, height * width), float64.

    A field much smaller than the grid's step becomes its nearest place.
    """
    height, width = grid
    x = ((np.arange(width) + 0.5) / width - 0.5) * extent
    y = (0.5 - (np.arange(height) + 0.5) / height) * extent
    square = ((y[:, None] - fields[:, None, None, 1]) ** 2) + (x - fields[:, None, None, 0]) ** 2
    exponent = torch.from_numpy(-square / (2 * fields[:, None, None, 2] ** 2)).flatten(1)
    return exponent.softmax(-1)


def pool(layers: dict[str, Tokens], fields: np.ndarray, extent: float, nonlinearity: str | None, dtype, device):
    """Look at all maps through some fields: (n_fields, n_stimuli, n_features), layers side by side."""
    n = len(next(iter(layers.values())))
    columns = []
    for tokens in layers.values():
        weights = field_weights(fields, tokens.grid, extent).to(device)
        pieces = []
        for _, block in tokens.blocks(np.arange(n)):
            check_finite(block)
            block = block.to(device)
            pieces.append((weights.to(block.dtype) @ block).transpose(0, 1))  # (G, T) @ (B, T, C) -> (G, B, C)
        columns.append(torch.cat(pieces, 1))
    seen = torch.cat(columns, 2).to(dtype)
    return torch.log1p(seen.abs()) if nonlinearity == "log" else seen


def check_fields(fields: Any, extent: float) -> np.ndarray:
    """Return candidate fields as float64 (n_fields, 3)."""
    if not (math.isfinite(extent) and extent > 0):
        raise ValueError(f"extent must be above 0 degrees, got {extent!r}.")
    if isinstance(fields, str):
        check_option("fields", fields, ("auto",))
        return receptive_field_grid(extent)
    found = np.array(array_of(fields), dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != 3 or len(found) == 0:
        raise ShapeMismatch(f"fields must be (n_fields, 3): x, y and size in degrees; got shape {found.shape}.")
    if not np.isfinite(found).all() or not (found[:, 2] > 0).all():
        raise ValueError("fields must be finite, with sizes (third column) above 0.")
    return found
