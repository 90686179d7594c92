"""What voxels of a phantom answer to moving pictures, frame by frame, before blood and noise.

Motion voxels are like neurons of area MT: where there is contrast in the receptive field, von Mises tuning to the
direction of the planted flow times log-Gaussian tuning to its speed. They read the flow, not a filter bank, so that an
encoder that finds the truth was not handed the generator. Category voxels sum where an object of their category shows.
Joint voxels answer to the product: their category, moving their way.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuro.datasets.phantom.clips import PhantomClips
from neuro.datasets.phantom.filters import FIELD_OF_VIEW
from neuro.datasets.phantom.scene import CATEGORIES

KINDS = ("motion", "category", "joint")
#: Places along each side at which flow, contrast and masks are read.
GRID = 16
#: Concentration of direction tuning (full width at half height 87 degrees), and width of speed tuning in octaves.
CONCENTRATION, OCTAVES, SPEED_OFFSET = 2.5, 1.16, 0.33
# Answer to categories other than the preferred one, at most.
_OTHERS = 0.2


def plant_voxels(n_voxels: int, shares: tuple[float, float, float], rng: np.random.Generator) -> pd.DataFrame:
    """Return tuning, one row per voxel: kind, direction, speed, x, y, size, category, in order of kinds."""
    bounds = np.round(np.cumsum(np.array(shares) / sum(shares)) * n_voxels).astype(int)
    kind = np.repeat(KINDS, np.diff(bounds, prepend=0))
    moves, sees = kind != "category", kind != "motion"
    direction = rng.uniform(0, 360, n_voxels)
    speed = np.exp(rng.uniform(*np.log([1.0, 4.0]), n_voxels))
    category = np.array(CATEGORIES)[rng.integers(len(CATEGORIES), size=n_voxels)]
    reach = 0.22 * FIELD_OF_VIEW
    return pd.DataFrame(
        {
            "kind": kind,
            "direction": np.where(moves, direction, np.nan),
            "speed": np.where(moves, speed, np.nan),
            "x": rng.uniform(-reach, reach, n_voxels),
            "y": rng.uniform(-reach, reach, n_voxels),
            "size": np.where(sees, rng.uniform(2.0, 3.0, n_voxels), rng.uniform(1.0, 1.6, n_voxels)),
            "category": np.where(sees, category, "none"),
        }
    )


def drives(movies: PhantomClips, voxels: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Return answers to every frame, float64 (n_clips, n_frames, n_voxels), not negative."""
    n, frames = len(movies), int(movies.clips.n_frames[0])
    per_frame = movies.degrees_per_pixel * movies.clips.fps  # pixels per frame -> degrees per second
    field = _fields(voxels)
    moves, sees = (voxels["kind"] != "category").to_numpy(), (voxels["kind"] != "motion").to_numpy()
    direction, speed = voxels["direction"].to_numpy()[moves], voxels["speed"].to_numpy()[moves]
    liking = _OTHERS * rng.random((len(voxels), len(CATEGORIES)))
    liking[voxels["category"].to_numpy()[:, None] == np.array(CATEGORIES)] = 1
    category = movies.motion["category"].map(CATEGORIES.index).to_numpy()
    motion, content = np.ones((2, n, frames, len(voxels)))
    for i, (_, pixels) in enumerate(movies.clips):
        flow = _sampled(movies.flow[i]) * per_frame
        velocity = np.concatenate([flow, flow[-1:]])  # the last frame moves like the one before
        tuned = direction_tuning(velocity, direction) * speed_tuning(velocity, speed)
        tuned *= _contrast(pixels)[..., None]
        motion[i][:, moves] = np.einsum("tgv,gv->tv", tuned, field[:, moves], optimize=True)
        shown = _block_means(movies.masks[i].astype(float)).reshape(frames, -1)
        content[i][:, sees] = shown @ field[:, sees] * liking[sees, category[i]]
    return motion * content


def direction_tuning(velocity: np.ndarray, preferred: np.ndarray) -> np.ndarray:
    """Von Mises tuning, 1 at the preferred direction: velocity (..., 2) with y downward -> (..., n_voxels)."""
    angle = np.arctan2(-velocity[..., 1], velocity[..., 0])
    return np.exp(CONCENTRATION * (np.cos(angle[..., None] - np.radians(preferred)) - 1))


def speed_tuning(velocity: np.ndarray, preferred: np.ndarray) -> np.ndarray:
    """Log-Gaussian tuning, 1 at the preferred speed, 0 for standing still: (..., 2) -> (..., n_voxels).

    References
    ----------
    Nover, Anderson & DeAngelis (2005), Journal of Neuroscience 25, 10049-10060.
    """
    speed = np.hypot(velocity[..., 0], velocity[..., 1])[..., None]
    octaves = np.log2((speed + SPEED_OFFSET) / (preferred + SPEED_OFFSET))
    return np.exp(-(octaves**2) / (2 * OCTAVES**2)) * (speed > 1e-6)


def _fields(voxels: pd.DataFrame) -> np.ndarray:
    """Gaussian receptive fields, (GRID * GRID, n_voxels), each with sum 1."""
    line = (np.arange(GRID) + 0.5) / GRID * FIELD_OF_VIEW - FIELD_OF_VIEW / 2
    x, y = (a.reshape(-1, 1) for a in np.meshgrid(line, -line))
    at_x, at_y, size = (voxels[c].to_numpy() for c in ("x", "y", "size"))
    field = np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * size**2))
    return field / field.sum(0)


def _sampled(flow: np.ndarray) -> np.ndarray:
    """Flow (t, size, size, 2) at the middle of each place of the grid, (t, GRID * GRID, 2)."""
    size = flow.shape[1]
    at = ((np.arange(GRID) + 0.5) * size / GRID).astype(int)
    return flow[:, at][:, :, at].reshape(len(flow), -1, 2)


def _contrast(pixels: np.ndarray) -> np.ndarray:
    """Root mean square slope of luminance, compressed, (t, GRID * GRID): motion of a blank wall is not seen."""
    grey = pixels @ np.array([0.299, 0.587, 0.114]) / 255
    down, across = np.gradient(grey, axis=(1, 2))
    slope = np.sqrt(_block_means(down**2 + across**2)).reshape(len(pixels), -1)
    return slope / (slope + 0.05)


def _block_means(maps: np.ndarray) -> np.ndarray:
    """Means over the places of the grid, (t, size, size) -> (t, GRID, GRID)."""
    size = maps.shape[1]
    edges = (np.arange(GRID) * size / GRID).astype(int)
    count: np.ndarray = np.diff(np.append(edges, size)).astype(float)
    sums = np.add.reduceat(np.add.reduceat(maps, edges, axis=1), edges, axis=2)
    return sums / np.outer(count, count)
