"""Drifting gratings and plaids, to measure tuning with: always the same for the same arguments."""

from __future__ import annotations

import numpy as np

from neuro._check import check_positive_int
from neuro.features._motion_input import check_fps


def drifting_grating(
    direction: float,
    sf: float,
    tf: float,
    *,
    size: tuple[int, int] = (64, 64),
    n_frames: int = 24,
    fps: float = 24.0,
    contrast: float = 1.0,
    phase: float = 0.0,
    mean: float = 0.5,
) -> np.ndarray:
    """Return a sinusoidal grating that drifts, (n_frames, height, width) float32 on 0..1.

    Parameters
    ----------
    direction : float
        Of motion, in degrees: 0 rightwards, 90 upwards.
    sf : float
        Spatial frequency in cycles per image height.
    tf : float
        Temporal frequency in Hz; it moves at tf / sf image heights per second.
    size : (height, width)
        Pixels.
    n_frames : int
    fps : float
        Frames per second; 1 makes ``tf`` cycles per frame.
    contrast : float
        Michelson contrast, 0 to 1.
    phase : float
        In degrees, at the image's centre in the first frame.
    mean : float
        Mean grey level.

    Raises
    ------
    ValueError
        If a frequency is beyond what pixels or frames can show, or grey levels would leave 0..1.

    Examples
    --------
    >>> movie = drifting_grating(0, sf=1, tf=1, size=(8, 8), n_frames=2, fps=8)
    >>> bool(np.allclose(movie[1, :, 1:], movie[0, :, :-1]))  # one column to the right per frame
    True
    """
    return _render([(direction, contrast)], sf, tf, size, n_frames, fps, phase, mean)


def plaid(
    direction: float,
    sf: float,
    tf: float,
    *,
    angle: float = 120.0,
    size: tuple[int, int] = (64, 64),
    n_frames: int = 24,
    fps: float = 24.0,
    contrast: float = 1.0,
    phase: float = 0.0,
    mean: float = 0.5,
) -> np.ndarray:
    """Return two superimposed gratings of half the contrast each, drifting at direction - angle / 2 and + angle / 2.

    ``sf`` and ``tf`` are those of each grating, as in :func:`drifting_grating`; the pattern moves in ``direction`` at
    tf / sf / cos(angle / 2). Returns (n_frames, height, width) float32 on 0..1.
    """
    if not 0 < angle < 180:
        raise ValueError(f"angle must lie between 0 and 180 degrees, got {angle}.")
    parts = [(direction - angle / 2, contrast / 2), (direction + angle / 2, contrast / 2)]
    return _render(parts, sf, tf, size, n_frames, fps, phase, mean)


def _render(parts, sf, tf, size, n_frames, fps, phase, mean) -> np.ndarray:
    if np.shape(size) != (2,):
        raise ValueError(f"size must be (height, width) in pixels, got {size!r}.")
    height, width = (check_positive_int(n, s) for n, s in zip(("height", "width"), size, strict=True))
    fps = check_fps(fps)
    if not 0 <= sf <= height / 2:
        raise ValueError(
            f"sf must lie between 0 and {height / 2:g} cycles per image height (half the pixels), got {sf}."
        )
    if not 0 <= tf <= fps / 2:
        raise ValueError(f"tf must lie between 0 and {fps / 2:g} Hz (half the frame rate), got {tf}.")
    swing = mean * sum(c for _, c in parts)
    if min(c for _, c in parts) < 0 or swing > min(mean, 1 - mean) + 1e-9:
        raise ValueError(f"grey levels must stay on 0..1; a mean of {mean} and this contrast reach {mean + swing:.3g}.")
    t = np.arange(check_positive_int("n_frames", n_frames))[:, None, None] / fps
    y, x = np.mgrid[:height, :width] + 0.5
    x, y = (x - width / 2) / height, (height / 2 - y) / height  # y upwards
    movie = np.full((n_frames, height, width), float(mean))
    for direction, contrast in parts:
        a = np.deg2rad(direction)
        cycles = sf * (x * np.cos(a) + y * np.sin(a)) - tf * t
        movie += mean * contrast * np.cos(2 * np.pi * cycles + np.deg2rad(phase))
    return movie.clip(0, 1).astype(np.float32)
