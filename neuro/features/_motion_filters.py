r"""The bank of spatiotemporal Gabor filters: which there are, and their responses.

In space a filter is exp(-|r - c|^2 / 2 s^2) exp(i k . (r - c)), a product of a function of x and one of y, so a movie
is filtered along x, then along y. In time it is g(t) exp(i w t). A wave that moves along k turns the spatial response's
phase forwards, z ~ exp(i w t), and one that moves the other way backwards, so both directions share one spatial filter:

    response along +k = |sum_t z(t) h(t)|,    along -k = |sum_t conj(z(t)) h(t)|.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Block:
    """Filters of one spatial frequency: centres, standard deviation of the envelope; lengths in image heights."""

    frequency: float
    size: float
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Layout:
    """All filters of a pyramid.

    Attributes
    ----------
    aspect : float
        Width over height.
    directions : (n_directions,) degrees
    temporal : (n_temporal,) Hz
    local : bool
        Whether each place also has filters of spatial frequency 0.
    """

    blocks: tuple[Block, ...]
    aspect: float
    directions: np.ndarray
    temporal: np.ndarray
    local: bool

    @property
    def orientations(self) -> np.ndarray:
        """Directions below 180 degrees."""
        return self.directions[: len(self.directions) // 2]


def plan_layout(
    aspect: float, directions: int, spatial: tuple[float, ...], temporal: tuple[float, ...], spacing: float
) -> Layout:
    """Return where filters stand: each frequency on its own grid, ``spacing`` envelopes apart, inside the image."""
    blocks = []
    for f in spatial:
        if f > 0:
            size = min(0.6 / f, 0.3)
            x, y = _centres(aspect, size, spacing), _centres(1.0, size, spacing)
            blocks.append(Block(f, size, x, y))
    angles = np.arange(directions) * 360.0 / directions
    return Layout(tuple(blocks), aspect, angles, np.array(temporal, float), 0.0 in spatial)


def table_of(layout: Layout, window: float):
    """Return one row per filter, in the order in which :func:`responses` gives them; ``window`` in seconds."""
    import pandas as pd

    rows = []
    for block in layout.blocks:
        grid = [(x / layout.aspect, y) for x in block.x for y in block.y]
        waves = [(block.frequency, d) for d in layout.directions] + [(0.0, math.nan)] * layout.local
        for f, direction in waves:
            for x, y in grid:
                for w in layout.temporal:
                    if w > 0 or f == 0 or direction < 180:
                        rows.append((x, y, f, w, direction, block.size, duration(w) * window))
    names = ["x", "y", "spatial_frequency", "temporal_frequency", "direction", "size", "duration"]
    return pd.DataFrame(rows, columns=names)


def duration(frequency: float) -> float:
    """Return the standard deviation of a temporal envelope as a share of the window."""
    return min(10 / frequency, 0.3) if frequency > 0 else 0.3


def temporal_filters(layout: Layout, n_taps: int, fps: float) -> np.ndarray:
    """Return filters (n_taps, n_temporal), complex, the earliest frame of the window first."""
    t = np.arange(n_taps)[::-1, None]  # large for early frames: how long ago
    envelope = np.array([duration(w) for w in layout.temporal])
    gauss = np.exp(-((t / n_taps - 0.5) ** 2) / (2 * envelope**2))
    return gauss * np.exp(2j * np.pi * layout.temporal * (t - n_taps / 2) / fps)


def spatial_filters(layout: Layout, block: Block, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return filters along x (n_waves, n_x, width) and y (n_waves, n_y, height), complex; the local one is last."""
    # Pixels stand at 0, ..., 1 from the first to the last, as in the pymoten package.
    along_x = np.linspace(0, layout.aspect, width) - block.x[:, None]
    along_y = np.linspace(0, 1, height) - block.y[:, None]
    angle = np.deg2rad(layout.orientations)
    kx = 2 * np.pi * block.frequency * np.append(np.cos(angle), [0.0] * layout.local)
    ky = -2 * np.pi * block.frequency * np.append(np.sin(angle), [0.0] * layout.local)  # rows run downwards
    gx = np.exp(-(along_x**2) / (2 * block.size**2) + 1j * kx[:, None, None] * along_x)
    gy = np.exp(-(along_y**2) / (2 * block.size**2) + 1j * ky[:, None, None] * along_y)
    return gx, gy


def filter_space(frames: torch.Tensor, gx: torch.Tensor, gy: torch.Tensor) -> torch.Tensor:
    """Return spatial responses (n_frames, n_waves, n_x, n_y), complex, of frames (n_frames, h, w)."""
    n, h, w = frames.shape
    parts = frames.reshape(n * h, w) @ torch.view_as_real(gx).permute(2, 0, 1, 3).reshape(w, -1)
    rows = torch.view_as_complex(parts.reshape(n, h, *gx.shape[:2], 2))  # (n, h, n_waves, n_x)
    return torch.einsum("nhox,oyh->noxy", rows, gy)


def filter_time(z: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """Return amplitudes (n, ..., 2, n_temporal), along k and against it, of z (n + n_taps - 1, ...), complex."""
    windows = z.unfold(0, len(taps), 1)  # (n, ..., n_taps)
    both = torch.stack([taps, taps.conj()], 1).flatten(1)  # |sum conj(z) h| = |sum z conj(h)|
    out = windows @ both
    # The root has no slope at 0: where there is nothing at all, gradients are 0 instead of infinite.
    power = (out.real.square() + out.imag.square()).clamp_min(1e-24)
    return power.sqrt().unflatten(-1, (2, -1))


def arrange(amplitudes: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Return (n, n_filters) of a block, in the table's order, from amplitudes (n, n_waves, n_x, n_y, 2, n_temporal)."""
    half = len(layout.orientations)
    moving = torch.from_numpy(np.flatnonzero(layout.temporal > 0)).to(amplitudes.device)
    forwards = amplitudes[:, :half, ..., 0, :].flatten(1)
    backwards = amplitudes[:, :half, ..., 1, :].index_select(-1, moving).flatten(1)
    return torch.cat([forwards, backwards, amplitudes[:, half:, ..., 0, :].flatten(1)], 1)


def _centres(length: float, size: float, spacing: float) -> np.ndarray:
    k = max(math.floor((length - size * spacing) / (spacing * size) / 2), 0)
    return spacing * size * np.arange(-k, k + 1) + length / 2
