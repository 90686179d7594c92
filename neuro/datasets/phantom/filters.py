"""The phantom's early vision: oriented energy on a grid of places, and where each category shows.

The filters are the phantom's own (log-Gabor, in the frequency domain), on purpose not those of
:mod:`neuro.features`: an encoder that finds the truth must not have been handed the generator.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Degrees of visual angle that a picture spans, as in NSD.
FIELD_OF_VIEW = 8.4
N_ORIENTATIONS = 4
#: Cycles per degree.
FREQUENCIES = (0.6, 1.2, 2.4)
#: Places along each side of the grid on which energy and categories are kept.
GRID = 16
CATEGORIES = ("face", "body", "animal", "place", "food", "word")


def grid_positions() -> tuple[np.ndarray, np.ndarray]:
    """Return x (rightward) and y (upward) of the grid's places in degrees from the centre, each (GRID * GRID,)."""
    line = (np.arange(GRID) + 0.5) / GRID * FIELD_OF_VIEW - FIELD_OF_VIEW / 2
    x, y = np.meshgrid(line, -line)
    return x.ravel(), y.ravel()


def oriented_energy(images: np.ndarray) -> np.ndarray:
    """Return the amplitude of oriented contrast.

    Parameters
    ----------
    images : uint8 array (n, size, size, 3)

    Returns
    -------
    float32 array (n, orientations * frequencies, GRID * GRID)
    """
    from scipy import fft

    size = images.shape[1]
    work = 4 * GRID if size >= 4 * GRID else size - size % GRID
    grey = _shrink(images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255, work)
    spectrum = fft.fft2(grey - grey.mean((1, 2), keepdims=True), workers=-1)
    out = [_pool(np.abs(fft.ifft2(spectrum * f, workers=-1))) for f in _bank(work)]
    return np.stack(out, axis=1).astype(np.float32)


def colour_maps(images: np.ndarray) -> np.ndarray:
    """Return red-green, blue-yellow and luminance on the grid, float32 (n, 3, GRID * GRID)."""
    work = images.shape[1] - images.shape[1] % GRID
    rgb = images[:, :work, :work].astype(np.float32) / 255
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    return np.stack([_pool(m) for m in (r - g, b - (r + g) / 2, (r + g + b) / 3)], axis=1)


def category_maps(scene: Any) -> np.ndarray:
    """Return how much of each place shows each category, float32 (6, GRID * GRID), from the scene's description."""
    from neuro.datasets.phantom.backgrounds import PLACENESS
    from neuro.datasets.phantom.scenes import coverage

    shares = coverage(scene, GRID)
    out = np.zeros((len(CATEGORIES), GRID, GRID), np.float32)
    background = shares["background"]
    out[CATEGORIES.index("place")] += PLACENESS[scene.background.kind] * background
    for item in scene.objects:
        share = shares[item.name]
        if share is background or item.category not in CATEGORIES:
            continue
        if item.category in ("face", "body"):
            face = shares.get(f"{item.name}:face", 0.0)
            out[0] += face
            out[1] += share - face
        else:
            out[CATEGORIES.index(item.category)] += share
    return out.reshape(len(CATEGORIES), -1)


def _bank(size: int) -> list[np.ndarray]:
    fy, fx = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")
    radius = np.hypot(fx, fy) * size / FIELD_OF_VIEW
    radius[0, 0] = 1e-9
    direction = np.arctan2(fy, fx)
    filters = []
    for k in range(N_ORIENTATIONS):
        # One half of the frequency plane: the result is analytic and its modulus the energy.
        offset = np.angle(np.exp(1j * (direction - np.pi * k / N_ORIENTATIONS)))
        angular = np.exp(-(offset**2) / (2 * 0.4**2))
        filters += [(2 * angular * np.exp(-(np.log2(radius / f) ** 2) / (2 * 0.5**2))) for f in FREQUENCIES]
    return [f.astype(np.float32) for f in filters]


def _shrink(grey: np.ndarray, work: int) -> np.ndarray:
    """Area-average (n, size, size) to (n, work, work) through a matrix, exact for any ratio."""
    size = grey.shape[1]
    edges = np.linspace(0, size, work + 1)
    left, right = np.maximum(edges[:-1, None], np.arange(size)), np.minimum(edges[1:, None], np.arange(size) + 1)
    m = (np.maximum(right - left, 0) * work / size).astype(np.float32)
    return np.einsum("ai,nij,bj->nab", m, grey, m, optimize=True)


def _pool(maps: np.ndarray) -> np.ndarray:
    n, size, _ = maps.shape
    k = size // GRID
    return maps.reshape(n, GRID, k, GRID, k).mean((2, 4), dtype=np.float32).reshape(n, -1)
