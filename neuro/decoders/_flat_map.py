"""Responses laid out on a flat map of cortex, as a picture that an image network reads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuro._check import check_positive_int
from neuro.errors import ShapeMismatch


class FlatMap(nn.Module):
    """Put each voxel's (or vertex's) value on the pixels it owns; other pixels are zero. Nothing is learned.

    Parameters
    ----------
    n_voxels : int
    size : int
        Height and width of the map; 256 in NeuroPictor.
    pixels : int array (size, size), optional
        Which voxel each pixel shows, -1 for none. Without it, voxels fill a square in the middle row by row, in their
        stored order (whose neighbours then need not be neighbours on cortex).

    Raises
    ------
    ShapeMismatch
        If the map is not square of that size, points at voxels there are not, or has too few pixels.
    """

    def __init__(self, n_voxels: int, size: int = 256, pixels: Any | None = None):
        super().__init__()
        self.n_voxels, self.size = check_positive_int("n_voxels", n_voxels), check_positive_int("size", size)
        layout = _in_rows(n_voxels, size) if pixels is None else np.array(pixels, dtype=np.int64)
        if layout.shape != (size, size):
            raise ShapeMismatch(f"pixels must be ({size}, {size}), got {layout.shape}.")
        if layout.min() < -1 or layout.max() >= n_voxels:
            raise ShapeMismatch(
                f"pixels must lie in -1 ... {n_voxels - 1} (voxels of the subject), "
                f"got {layout.min()} ... {layout.max()}."
            )
        self._place = np.flatnonzero(layout.ravel() >= 0)
        self._voxel = layout.ravel()[self._place]

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_voxels) -> (B, size, size)."""
        flat = x.new_zeros(len(x), self.size**2)
        flat[:, torch.as_tensor(self._place, device=x.device)] = x[:, torch.as_tensor(self._voxel, device=x.device)]
        return flat.unflatten(1, (self.size, self.size))

    def read(self, maps: Tensor) -> Tensor:
        """(B, size, size) -> (B, n_voxels): mean over the pixels of each voxel, zero where it has none."""
        place, voxel = (torch.as_tensor(a, device=maps.device) for a in (self._place, self._voxel))
        values = maps.flatten(1)[:, place]
        total = maps.new_zeros(len(maps), self.n_voxels).index_add_(1, voxel, values)
        count = maps.new_zeros(self.n_voxels).index_add_(0, voxel, torch.ones_like(voxel, dtype=maps.dtype))
        return total / count.clamp(min=1)


def _in_rows(n_voxels: int, size: int) -> np.ndarray:
    side = math.ceil(n_voxels**0.5)
    if side > size:
        raise ShapeMismatch(
            f"{n_voxels:,} voxels do not fit on a map of {size} x {size} pixels; give a greater size, or `pixels`."
        )
    layout = np.full((size, size), -1)
    first = (size - side) // 2
    square = np.full(side * side, -1)
    square[:n_voxels] = np.arange(n_voxels)
    layout[first : first + side, first : first + side] = square.reshape(side, side)
    return layout
