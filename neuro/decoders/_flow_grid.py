"""Optical flow between full pictures and coarse grids; values stay in pixels of the full picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from neuro._check import check_positive_int, is_tensor
from neuro.errors import ShapeMismatch


def pool_flow(flow: Any, grid: tuple[int, int]) -> Any:
    """Return the mean flow of the cells of a grid.

    Parameters
    ----------
    flow : array or tensor (n, height, width, 2)
    grid : (rows, columns)
        Cells are as equal as the picture's size allows.

    Returns
    -------
    (n, rows, columns, 2), as the input

    Examples
    --------
    >>> pool_flow(np.ones((1, 6, 6, 2)), (2, 3)).shape
    (1, 2, 3, 2)
    """
    x = _flow("flow", flow)
    rows, columns = check_grid(grid)
    if rows > x.shape[1] or columns > x.shape[2]:
        raise ShapeMismatch(f"a grid of {rows} x {columns} is finer than pictures of {x.shape[1]} x {x.shape[2]}.")
    return _like(F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), (rows, columns)).permute(0, 2, 3, 1), flow)


def upsample_flow(coarse: Any, size: tuple[int, int]) -> Any:
    """Return flow of full pictures (n, height, width, 2) from that of cells, bilinear between their centres.

    Values stay as they are: they are in pixels of the full picture already.
    """
    x = _flow("coarse", coarse)
    out = F.interpolate(x.permute(0, 3, 1, 2), check_grid(size), mode="bilinear", align_corners=False)
    return _like(out.permute(0, 2, 3, 1), coarse)


def _flow(name: str, flow: Any) -> Tensor:
    x = flow if is_tensor(flow) else torch.from_numpy(np.ascontiguousarray(flow, dtype=np.float64).copy())
    if x.ndim != 4 or x.shape[-1] != 2:
        raise ShapeMismatch(f"{name} must be (n, height, width, 2), right and down, got {tuple(x.shape)}.")
    return x


def _like(x: Tensor, source: Any) -> Any:
    if is_tensor(source):
        return x
    dtype = np.asarray(source).dtype
    return x.numpy().astype(dtype if dtype.kind == "f" else np.float64)


def check_grid(grid: Any) -> tuple[int, int]:
    """Return (rows, columns), whole numbers of at least 1."""
    rows, columns = grid
    return check_positive_int("rows of a grid", rows), check_positive_int("columns of a grid", columns)
