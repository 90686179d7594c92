r"""Optical flow: how far every pixel moves from one frame to the next.

Lucas and Kanade: motion d is constant near a pixel and brightness is carried along, so over a Gaussian window

    (sum w g g' + lambda I) d = -sum w g e,      g the gradient, e the difference of the frames,

solved from the coarsest level of a pyramid to the finest, each time after warping by what is known so far. ``lambda``
leaves what coarser levels found where there is no texture to tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from neuro._check import check_positive_int, is_tensor
from neuro.errors import ShapeMismatch
from neuro.features._motion_input import check_clip, luminance

SMALLEST = 16  # px of the shorter side at the coarsest level
SMOOTH = 0.5  # px, before differentiating: interpolation between pixels is biased for finer detail


def optical_flow(
    frames: Any,
    *,
    window: float = 3.0,
    n_warps: int = 4,
    regularisation: float = 1e-4,
    n_levels: int | None = None,
    batch_size: int = 16,
) -> Any:
    """Estimate dense flow by pyramidal Lucas-Kanade.

    Parameters
    ----------
    frames : array or tensor (n_frames, height, width) or (n_frames, height, width, 3)
        Uint8 or floating point on 0..1; at least 2 frames of at least 16 x 16 pixels. Colour is turned to grey (luma).
    window : float
        Standard deviation of the window in pixels, at every level.
    n_warps : int
        Solutions per level, each after warping by the one before.
    regularisation : float
        lambda: squared grey levels per squared pixel; larger trusts faint texture less.
    n_levels : int, optional
        Each of half the size; by default as many as keep 16 pixels.
    batch_size : int
        Pairs of frames at once.

    Returns
    -------
    (n_frames - 1, height, width, 2) float32, pixels per frame
        ``flow[t, y, x]`` is (to the right, down): what is at (x, y) in frame t is at (x, y) + flow in frame t + 1.

    References
    ----------
    Lucas & Kanade (1981), IJCAI 674-679; Bouguet (2001), Pyramidal implementation of the Lucas Kanade feature tracker.

    Examples
    --------
    >>> y, x = np.mgrid[:32, :32]
    >>> frames = [0.5 + 0.2 * np.sin((x - t) / 3) + 0.2 * np.cos(y / 4) for t in range(2)]
    >>> np.median(optical_flow(np.array(frames)), axis=(0, 1, 2)).round(1) + 0.0
    array([1., 0.], dtype=float32)
    """
    clip = check_clip(frames)
    if len(clip) < 2 or min(clip.shape[1:3]) < SMALLEST:
        raise ShapeMismatch(
            f"flow needs at least 2 frames of {SMALLEST} x {SMALLEST} pixels, got {len(clip)} of {clip.shape[1]} x "
            f"{clip.shape[2]}."
        )
    if not window > 0 or not regularisation >= 0:
        raise ValueError(f"window must be above 0 and regularisation 0 or more, got {window} and {regularisation}.")
    check_positive_int("n_warps", n_warps)
    check_positive_int("batch_size", batch_size)
    most = int(math.log2(min(clip.shape[1:3]) / SMALLEST)) + 1
    levels = most if n_levels is None else min(check_positive_int("n_levels", n_levels), most)
    out = []
    with torch.no_grad():
        for start in range(0, len(clip) - 1, batch_size):
            grey = luminance(clip[start : start + batch_size + 1], "luma").float()
            flow = solve_flow(grey[:-1, None], grey[1:, None], window, n_warps, regularisation, levels)
            out.append(flow.permute(0, 2, 3, 1))
    flows = torch.cat(out)
    return flows if is_tensor(frames) else flows.numpy()


def solve_flow(
    first: torch.Tensor, second: torch.Tensor, window: float, n_warps: int, regularisation: float, n_levels: int
) -> torch.Tensor:
    """Return flow (n, 2, h, w) from images (n, 1, h, w) on 0..1 to the next ones."""
    pyramid = [(first, second)]
    for _ in range(n_levels - 1):
        pyramid.append(tuple(_halve(image) for image in pyramid[-1]))
    flow = torch.zeros_like(pyramid[-1][0]).repeat(1, 2, 1, 1)
    kernel, smooth = _gauss(window).to(first), _gauss(SMOOTH).to(first)
    for a, b in reversed(pyramid):
        a, b = _blur(a, smooth, "replicate"), _blur(b, smooth, "replicate")
        if flow.shape[2:] != a.shape[2:]:
            ratio = torch.tensor([a.shape[3] / flow.shape[3], a.shape[2] / flow.shape[2]]).to(flow)
            flow = F.interpolate(flow, a.shape[2:], mode="bilinear", align_corners=False) * ratio[:, None, None]
        # The gradients of both frames, averaged, make the estimate symmetric and more exact for large motion.
        ga = _gradient(a)
        gb = _gradient(b)
        for _ in range(n_warps):
            warped, inside = warp(torch.cat([b, gb], 1), flow)
            g = (ga + warped[:, 1:]) / 2
            flow = flow + _increment(g, warped[:, :1] - a, inside, kernel, regularisation)
    return flow


def warp(image: torch.Tensor, flow: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``image`` (n, c, h, w) read at x + flow, and where that is inside it (n, 1, h, w).

    Between pixels stands a Catmull-Rom spline: bilinear interpolation shifts fine texture towards whole pixels, which
    biases flow by some hundredths of a pixel, and torch's own bicubic kernel does not reproduce straight lines.
    """
    n, c, h, w = image.shape
    y, x = torch.meshgrid(torch.arange(h).to(flow), torch.arange(w).to(flow), indexing="ij")
    at_x, at_y = x + flow[:, 0], y + flow[:, 1]
    inside = (at_x >= 0) & (at_x <= w - 1) & (at_y >= 0) & (at_y <= h - 1)
    left, top = at_x.floor(), at_y.floor()
    along_x, along_y = _catmull_rom(at_x - left), _catmull_rom(at_y - top)
    flat, out = image.flatten(2), torch.zeros_like(image)
    for j, weight_y in enumerate(along_y):
        row = (top.long() + j - 1).clamp(0, h - 1) * w
        for i, weight_x in enumerate(along_x):
            index = row + (left.long() + i - 1).clamp(0, w - 1)  # (n, h, w)
            value = flat.gather(2, index.reshape(n, 1, h * w).expand(n, c, h * w)).reshape(n, c, h, w)
            out += value * (weight_x * weight_y)[:, None]
    return out, inside[:, None].to(image)


def flow_features(flow: Any, grid: int | tuple[int, int] = 4, n_directions: int = 8) -> tuple[np.ndarray, list[str]]:
    """Summarise flow in the cells of a grid.

    Parameters
    ----------
    flow : array (n, height, width, 2)
        Pixels per frame, to the right and down, as :func:`optical_flow` gives it.
    grid : int or (rows, columns)
        Cells.
    n_directions : int
        Bins of the direction histogram.

    Returns
    -------
    features : (n, rows * columns * (3 + n_directions)) float32
        Per cell: mean speed (pixels per frame); mean speed towards each direction (the histogram of direction, weighted
        by speed: its bins add up to the mean speed); divergence and curl (per frame; expansion and counter-clockwise
        rotation as seen are positive).
    columns : list of str
        Name of each, as "speed_0_1", "direction_45_0_1": what, row and column of the cell.
    """
    flow = flow.cpu().numpy() if is_tensor(flow) else np.asarray(flow)
    if flow.ndim != 4 or flow.shape[-1] != 2:
        raise ShapeMismatch(f"flow must be (n, height, width, 2), got {flow.shape}.")
    if not np.isfinite(flow).all():
        raise ValueError(f"flow must be finite: {int((~np.isfinite(flow)).sum()):,} numbers are NaN or infinite.")
    rows, columns = (grid, grid) if isinstance(grid, (int, np.integer)) else grid
    check_positive_int("rows", rows)
    check_positive_int("columns", columns)
    check_positive_int("n_directions", n_directions)
    if min(flow.shape[1] // rows, flow.shape[2] // columns) < 2:
        raise ShapeMismatch(f"cells must hold 2 x 2 pixels: {flow.shape[1:3]} pixels, {rows} x {columns} cells.")
    flow = flow.astype(np.float64)
    right, up = flow[..., 0], -flow[..., 1]
    speed = np.hypot(right, up)
    direction = np.rad2deg(np.arctan2(up, right)) % 360
    step = 360 / n_directions
    bins = np.floor((direction + step / 2) / step).astype(int) % n_directions
    along_y, along_x = -1.0, 1.0  # rows run downwards
    d_right, d_up = np.gradient(right, axis=(1, 2)), np.gradient(up, axis=(1, 2))
    divergence = along_x * d_right[1] + along_y * d_up[0]
    curl = along_x * d_up[1] - along_y * d_right[0]
    maps = {"speed": speed}
    maps |= {f"direction_{i * step:g}": np.where(bins == i, speed, 0) for i in range(n_directions)}
    maps |= {"divergence": divergence, "curl": curl}
    found = np.stack([_cells(m, rows, columns) for m in maps.values()], 1)  # (n, n_maps, rows, columns)
    names = [f"{name}_{r}_{c}" for name in maps for r in range(rows) for c in range(columns)]
    return found.reshape(len(flow), -1).astype(np.float32), names


def _increment(
    g: torch.Tensor, e: torch.Tensor, inside: torch.Tensor, kernel: torch.Tensor, regularisation: float
) -> torch.Tensor:
    products = torch.cat([g * g, g[:, :1] * g[:, 1:], g * e], 1) * inside
    xx, yy, xy, xe, ye = _blur(products, kernel).unbind(1)
    xx, yy = xx + regularisation, yy + regularisation
    determinant = (xx * yy - xy * xy).clamp_min(1e-12)
    step = torch.stack([xy * ye - yy * xe, xy * xe - xx * ye], 1) / determinant[:, None]
    # More than a pixel is beyond what a gradient can tell, and would throw later warps off.
    return step / (step.norm(dim=1, keepdim=True)).clamp_min(1.0)


def _catmull_rom(t: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the weights of the four samples around a position ``t`` of the way from the second to the third."""
    return (
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    )


def _gradient(image: torch.Tensor) -> torch.Tensor:
    d = torch.tensor([1.0, -8.0, 0.0, 8.0, -1.0]).to(image) / 12
    padded = F.pad(image, (2, 2, 2, 2), mode="replicate")
    gx = F.conv2d(padded[:, :, 2:-2], d.view(1, 1, 1, 5))
    gy = F.conv2d(padded[:, :, :, 2:-2], d.view(1, 1, 5, 1))
    return torch.cat([gx, gy], 1)


def _halve(image: torch.Tensor) -> torch.Tensor:
    half = ((image.shape[2] + 1) // 2, (image.shape[3] + 1) // 2)
    return F.interpolate(image, half, mode="bilinear", antialias=True, align_corners=False)


def _gauss(sd: float) -> torch.Tensor:
    r = torch.arange(-math.ceil(3 * sd), math.ceil(3 * sd) + 1)
    kernel = torch.exp(-(r**2) / (2 * sd**2))
    return kernel / kernel.sum()


def _blur(maps: torch.Tensor, kernel: torch.Tensor, mode: str = "constant") -> torch.Tensor:
    n, c, h, w = maps.shape
    k = len(kernel) // 2
    flat = F.pad(maps.reshape(n * c, 1, h, w), (k, k, k, k), mode=mode)
    return F.conv2d(F.conv2d(flat, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1)).reshape(n, c, h, w)


def _cells(maps: np.ndarray, rows: int, columns: int) -> np.ndarray:
    edges: Sequence[np.ndarray] = [
        np.linspace(0, s, k + 1).astype(int)[:-1] for s, k in zip(maps.shape[1:], (rows, columns), strict=True)
    ]
    sums = np.add.reduceat(np.add.reduceat(maps, edges[0], 1), edges[1], 2)
    sizes = [np.diff([*e, s]) for e, s in zip(edges, maps.shape[1:], strict=True)]
    return sums / (sizes[0][:, None] * sizes[1])
