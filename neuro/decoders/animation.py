"""Make a still move: a picture carried along by optical flow.

Flow says where what is at a pixel goes; a picture is painted by asking where what comes to a pixel was. So flow is
first turned round: every pixel p is where the pixel nearest to p + flow(p) comes from. Where several arrive, what moved
most is in front, and wins. Where nothing arrives, because something moved away or things grew apart, the slowest
neighbours' motion goes on, layer by layer from the edge of the gap; if the first frame shows something else there,
which went another way, the pixel shows what its slowest neighbour shows. So what is uncovered takes after what stands
still beside it. Nothing is invented: large uncovered areas are smears, and a video model does better.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from neuro._check import check_positive_int, is_tensor
from neuro.errors import ShapeMismatch

NEIGHBOURS = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])  # x, y


def reverse_flow(flow: Any) -> tuple[Any, Any]:
    """Return where what comes to each pixel was, and where nothing came.

    Parameters
    ----------
    flow : array or tensor (height, width, 2)
        Pixels right and down, from this frame to the next.

    Returns
    -------
    backward : (height, width, 2)
        From each pixel of the next frame to its place in this one.
    uncovered : bool (height, width)
        Where ``backward`` was filled in from neighbours.
    """
    forward = _numpy(flow).astype(float)
    if forward.ndim != 3 or forward.shape[2] != 2 or not np.isfinite(forward).all():
        raise ShapeMismatch(f"flow must be finite, (height, width, 2), got shape {forward.shape}.")
    height, width = forward.shape[:2]
    y, x = np.mgrid[:height, :width]
    to_x, to_y = np.rint(x + forward[..., 0]).astype(int), np.rint(y + forward[..., 1]).astype(int)
    inside = (to_x >= 0) & (to_x < width) & (to_y >= 0) & (to_y < height)
    target, moved = (to_y * width + to_x)[inside], forward[inside]
    order = np.argsort((moved**2).sum(1), kind="stable")  # of equal indices numpy keeps the last: the fastest
    backward = np.zeros((height * width, 2))
    backward[target[order]] = -moved[order]
    covered = np.zeros(height * width, bool)
    covered[target] = True
    backward, covered = backward.reshape(height, width, 2), covered.reshape(height, width)
    filled = _fill(backward, covered, forward) if covered.any() else backward
    if is_tensor(flow):
        return torch.from_numpy(filled).to(flow), torch.from_numpy(~covered).to(flow.device)
    return filled, ~covered


def warp_frame(frame: Any, flow: Any) -> Any:
    """Return the frame after everything moved along ``flow``.

    Parameters
    ----------
    frame : array or tensor (height, width, channels) or (height, width)
        Uint8, or floating point on any scale.
    flow : array or tensor (height, width, 2)
        Pixels right and down.

    Returns
    -------
    as ``frame``
        Bilinear between pixels; what comes from outside is the nearest pixel of the edge.

    Examples
    --------
    >>> frame = np.arange(9.0).reshape(3, 3)
    >>> warp_frame(frame, np.full((3, 3, 2), [1.0, 0.0]))
    array([[0., 0., 1.],
           [3., 3., 4.],
           [6., 6., 7.]])
    """
    _check_pair(frame, flow)
    return _sample(frame, reverse_flow(_numpy(flow))[0])


def animate(frame: Any, flow: Any, n_frames: int | None = None) -> Any:
    """Return a clip that begins with ``frame`` and moves as flow says.

    Every frame is sampled from the first one, at places followed back through all flows, so that it is interpolated
    once and does not blur more and more.

    Parameters
    ----------
    frame : array or tensor (height, width, channels) or (height, width)
    flow : array or tensor (n_steps, height, width, 2), or (height, width, 2) for steady motion
    n_frames : int, optional
        Of the clip, for steady motion: what was at p goes on with the velocity it had there, step after step.

    Returns
    -------
    (n_steps + 1, height, width, ...), as ``frame``
    """
    steps = _numpy(flow)
    if steps.ndim == 3:
        steps = np.broadcast_to(steps, (check_positive_int("n_frames", n_frames or 2, 2) - 1, *steps.shape))
    elif n_frames is not None and n_frames != len(steps) + 1:
        raise ShapeMismatch(f"{len(steps)} flows make {len(steps) + 1} frames, n_frames={n_frames} was asked for.")
    if steps.ndim != 4:
        raise ShapeMismatch(f"flow must be (n_steps, height, width, 2) or (height, width, 2), got {steps.shape}.")
    _check_pair(frame, steps[0])
    steady = np.ndim(flow) == 3
    out, place = [frame], np.zeros(steps.shape[1:])
    back = reverse_flow(steps[0])[0]
    for i, step in enumerate(steps):
        if i and not steady:
            back = reverse_flow(step)[0]
        elif i:
            # Steady motion belongs to things, not to places: the flow field travels with the picture.
            back = reverse_flow(_nearest(steps[0], place))[0]
        place = back + _nearest(place, back)
        out.append(_sample(frame, place))
    return torch.stack(out) if is_tensor(frame) else np.stack(out)


def _nearest(field: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Read a field (h, w, 2) at the pixel nearest to every pixel + offset: motion is not blended across edges."""
    h, w = field.shape[:2]
    at = np.rint(np.stack(np.mgrid[:h, :w][::-1], -1) + offset).astype(int)
    return field[at[..., 1].clip(0, h - 1), at[..., 0].clip(0, w - 1)]


def _sample(image: Any, offset: np.ndarray) -> Any:
    """Read ``image`` (h, w, ...) at every pixel + offset (h, w, 2)."""
    tensor = image if is_tensor(image) else torch.from_numpy(np.array(image))
    flat = tensor if tensor.ndim == 3 else tensor[..., None]
    values = flat.permute(2, 0, 1)[None].to(torch.float64)
    grid = _grid_of(torch.from_numpy(np.array(offset, dtype=float)).to(values.device))
    out = F.grid_sample(values, grid[None], mode="bilinear", padding_mode="border", align_corners=True)[0]
    out = out.permute(1, 2, 0).reshape(tensor.shape)
    out = (out.round() if not tensor.is_floating_point() else out).to(tensor.dtype)
    return out if is_tensor(image) else out.numpy()


def _grid_of(offset: Tensor) -> Tensor:
    height, width = offset.shape[:2]
    y, x = torch.meshgrid(torch.arange(height).to(offset), torch.arange(width).to(offset), indexing="ij")
    scale = torch.tensor([max(width - 1, 1), max(height - 1, 1)]).to(offset)
    return 2 * (torch.stack([x, y], -1) + offset) / scale - 1


def _fill(backward: np.ndarray, known: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """Fill unknown pixels of a backward flow as the top of this module says."""
    out = backward.copy()
    for new, _, near in _layers(out, known):
        slow = near[..., 2] <= near[..., 2].min(0) + 1
        out[new] = (np.where(slow[..., None], near[..., :2], 0)).sum(0) / slow.sum(0)[:, None]
    h, w = known.shape
    here = np.stack(np.mgrid[:h, :w][::-1], -1)
    at = np.rint(here + out).astype(int)
    inside = ((at >= 0) & (at < [w, h])).all(-1)
    went = forward[at[..., 1].clip(0, h - 1), at[..., 0].clip(0, w - 1)]
    hidden = ~known & inside & (np.linalg.norm(went + out, axis=-1) > 1)
    if hidden.any() and not hidden.all():
        source = here + out
        for new, chosen, _ in _layers(out, ~hidden):
            copied = here[new] + NEIGHBOURS[chosen]
            source[new] = source[copied[:, 1], copied[:, 0]]
            out[new] = source[new] - here[new]
    return out


def _layers(values: np.ndarray, known: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield layers of the unknown, from its edge inward and beside slow neighbours first; the caller fills ``values``.

    A layer is its pixels (bool), the slowest known neighbour of each (a row of NEIGHBOURS), and all four neighbours
    (4, n_pixels, 3): flow and speed, infinite where unknown.
    """
    known, (h, w) = known.copy(), known.shape
    speed = np.where(known, np.linalg.norm(values, axis=-1), np.inf)
    while not known.all():
        padded = np.pad(np.dstack([values, speed]), ((1, 1), (1, 1), (0, 0)), constant_values=np.inf)
        near = np.stack([padded[1 + y : 1 + y + h, 1 + x : 1 + x + w] for x, y in NEIGHBOURS])  # (4, h, w, 3)
        least = np.where(known, np.inf, near[..., 2].min(0))
        new = least <= least.min() + 1
        yield new, near[..., 2].argmin(0)[new], near[:, new]
        speed[new] = least[new]
        known |= new


def _check_pair(frame: Any, flow: Any) -> None:
    if np.ndim(frame) not in (2, 3) or np.shape(flow) != (*np.shape(frame)[:2], 2):
        raise ShapeMismatch(
            f"frame must be (height, width[, channels]) and flow (height, width, 2) of the same size, got "
            f"{tuple(np.shape(frame))} and {tuple(np.shape(flow))}. upsample_flow brings coarse flow to full size."
        )


def _numpy(x: Any) -> np.ndarray:
    return x.detach().cpu().numpy() if is_tensor(x) else np.asarray(x)
