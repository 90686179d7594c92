"""What the phantom's voxels see of a picture: maps on a coarse grid of the visual field.

Oriented energy, its conjunctions, colour, and where each category shows. The filters are log-Gabors applied in the
frequency domain, on purpose not those of :mod:`neuro.features`: an encoder that finds the truth must not have been
handed the generator.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from neuro.datasets.phantom.scene import CATEGORIES

#: Degrees of visual angle that a picture spans, as in NSD.
FIELD_OF_VIEW = 8.4
#: Orientations of stripes, degrees anticlockwise from horizontal.
ORIENTATIONS = (0.0, 30.0, 60.0, 90.0, 120.0, 150.0)
#: Cycles per degree.
FREQUENCIES = (0.5, 0.9, 1.6, 2.9)
#: Hues, degrees; 0 is red, 90 is yellowish green, 180 cyan, 270 violet.
HUES = (0.0, 60.0, 120.0, 180.0, 240.0, 300.0)
#: Conjunctions of energies: corners and crossings at two scales, texture borders, luminance.
FORMS = ("corners-0.9", "corners-1.6", "texture-borders", "luminance")
#: Places along each side of the grid.
GRID = 24
N_ENERGY = len(ORIENTATIONS) * len(FREQUENCIES)

_OCTAVES = 0.55  # s.d. of a filter over log2 frequency
_ANGLE = np.radians(20)  # s.d. over orientation
# Added to local contrast before it divides: small makes answers depend on orientation alone, large on contrast too.
_SEMISATURATION = 0.12


def grid_positions() -> tuple[np.ndarray, np.ndarray]:
    """Return x (rightward) and y (upward) of the grid's places in degrees from the centre, each (GRID * GRID,)."""
    line = (np.arange(GRID) + 0.5) / GRID * FIELD_OF_VIEW - FIELD_OF_VIEW / 2
    x, y = np.meshgrid(line, -line)
    return x.ravel(), y.ravel()


def see(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the maps that depend on pixels alone.

    Parameters
    ----------
    images : uint8 array (n, size, size, 3)

    Returns
    -------
    dict of float16 arrays (n, channels, GRID * GRID)
        ``energy``: amplitude of oriented contrast, divided by that of all orientations nearby, orientations slowest;
        ``form``: see ``FORMS``; ``colour``: saturation towards each of ``HUES``.
    """
    rgb = _resize(images, _working_size(images.shape[1])) / np.float32(255)
    grey = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    amplitude, fine = _amplitudes(grey)
    contrast = np.sqrt((amplitude**2).mean((1, 2)))  # (n, g, g)
    energy = amplitude / (contrast + _SEMISATURATION)[:, None, None]
    form = np.stack([*_corners(energy), _borders(fine), _pool(grey)], axis=1)
    parts = {"energy": energy, "form": form, "colour": _hues(rgb)}
    return {k: v.reshape(len(images), -1, GRID * GRID).astype(np.float16) for k, v in parts.items()}


def category_maps(scene: Any) -> np.ndarray:
    """Return how much of each place shows each category, float16 (6, GRID * GRID), from the scene's description."""
    from neuro.datasets.phantom.scenes import PLACENESS, coverage

    shares = coverage(scene, GRID)
    out = np.zeros((len(CATEGORIES), GRID, GRID), np.float32)
    background = shares["background"]
    out[CATEGORIES.index("place")] += PLACENESS[scene.background.kind] * background
    for item in scene.objects:
        # The main object of a landscape or a room is the background itself, counted above.
        if shares[item.name] is background or item.category not in CATEGORIES:
            continue
        if item.category in ("face", "body"):
            face = shares.get(f"{item.name}:face", 0.0)
            out[CATEGORIES.index("face")] += face
            # The shoulders of somebody near are little of a body.
            share = 1.0 if item.category == "body" else 0.3
            out[CATEGORIES.index("body")] += share * (shares[item.name] - face)
        else:
            out[CATEGORIES.index(item.category)] += shares[item.name]
    return out.reshape(len(CATEGORIES), -1).astype(np.float16)


def _working_size(size: int) -> int:
    """Sizes are multiples of twice the grid; larger pictures are reduced to four pixels a place."""
    return 4 * GRID if size >= 3 * GRID else 2 * GRID


def _amplitudes(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return amplitudes on the grid, (n, orientations, frequencies, g, g), and the sum of the finest on a finer one."""
    from scipy import fft

    n, size = grey.shape[:2]
    spectrum = fft.fft2(grey - grey.mean((1, 2), keepdims=True))
    out = np.empty((n, len(ORIENTATIONS), len(FREQUENCIES), GRID, GRID), np.float32)
    fine = np.zeros((n, 2 * GRID, 2 * GRID), np.float32)
    for f, frequency in enumerate(FREQUENCIES):
        # A band that ends below half the resolution needs half the pixels.
        work = size // 2 if size == 4 * GRID and frequency * 2 ** (2 * _OCTAVES) * FIELD_OF_VIEW < size / 4 else size
        part = _crop(spectrum, work)
        for o, orientation in enumerate(ORIENTATIONS):
            response = np.abs(fft.ifft2(part * _filter(work, orientation, frequency)))
            out[:, o, f] = _pool(response)
            if f == len(FREQUENCIES) - 1:
                fine += _pool(response, 2 * GRID)
    return out, fine


@lru_cache(maxsize=128)
def _filter(size: int, orientation: float, frequency: float) -> np.ndarray:
    """One half of the frequency plane, so that the result is analytic and its modulus the amplitude."""
    fy, fx = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")
    radius = np.hypot(fx, fy) * size / FIELD_OF_VIEW
    radius[0, 0] = 1e-9
    # Stripes lie across their wave vector. Image rows run downwards: minus makes angles anticlockwise.
    away = np.angle(np.exp(1j * (np.arctan2(-fy, fx) - np.radians(orientation + 90))))
    band = np.exp(-(np.log2(radius / frequency) ** 2) / (2 * _OCTAVES**2))
    return (2 * band * np.exp(-(away**2) / (2 * _ANGLE**2))).astype(np.float32)


def _crop(spectrum: np.ndarray, work: int) -> np.ndarray:
    """Keep the lowest ``work`` frequencies along both axes, scaled for an inverse transform of that size."""
    size = spectrum.shape[1]
    if work == size:
        return spectrum
    keep = np.r_[: work // 2, size - work // 2 : size]
    return spectrum[:, keep[:, None], keep] * np.float32((work / size) ** 2)


def _corners(energy: np.ndarray) -> list[np.ndarray]:
    """Where an orientation meets the one across it: mean over orientations of the product of the two."""
    across = np.roll(energy, len(ORIENTATIONS) // 2, axis=1)
    both = np.sqrt(energy * across).mean(1)
    return [both[:, 1], both[:, 2]]


def _borders(fine: np.ndarray) -> np.ndarray:
    """Where the amount of fine texture changes: oriented energy of fine energy, at one cycle per degree."""
    from scipy import fft

    spectrum = fft.fft2(fine - fine.mean((1, 2), keepdims=True))
    total = np.zeros((len(fine), GRID, GRID), np.float32)
    for orientation in ORIENTATIONS[::2]:
        total += _pool(np.abs(fft.ifft2(spectrum * _filter(2 * GRID, orientation, 0.9))))
    return total


def _hues(rgb: np.ndarray) -> np.ndarray:
    """Saturation towards each hue, (n, hues, g, g)."""
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    red, yellow = _pool(r - (g + b) / 2), _pool(np.float32(np.sqrt(3) / 2) * (g - b))
    angles = np.radians(HUES)
    towards = [np.cos(a) * red + np.sin(a) * yellow for a in angles]
    return np.maximum(np.stack(towards, axis=1), 0)


def _resize(images: np.ndarray, size: int) -> np.ndarray:
    """Average areas: (n, s, s, c) to (n, size, size, c), exact for any ratio."""
    old = images.shape[1]
    if old == size:
        return images.astype(np.float32)
    edges = np.linspace(0, old, size + 1)
    overlap = np.minimum(edges[1:, None], np.arange(old) + 1) - np.maximum(edges[:-1, None], np.arange(old))
    m = (np.maximum(overlap, 0) * size / old).astype(np.float32)
    return np.einsum("ai,nijc,bj->nabc", m, images.astype(np.float32), m, optimize=True)


def _pool(maps: np.ndarray, grid: int = GRID) -> np.ndarray:
    n, size, _ = maps.shape
    k = size // grid
    return maps.reshape(n, grid, k, grid, k).mean((2, 4), dtype=np.float32)
