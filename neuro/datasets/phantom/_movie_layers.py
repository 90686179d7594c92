"""Frames, flow and masks of a clip: two layers that slide over each other.

The world and the object are painted once, at twice the resolution of the screen. A frame shows them through a Gaussian
blur at the positions of its pixels, so that shifts by fractions of a pixel change nothing but the place. With p the
camera's and o the object's place in the world at time t, z the zoom and c the middle of the screen, a point u of the
object is seen at ``c + z (o + u - p)``: the flow of every pixel follows exactly.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from neuro.datasets.phantom._movie_paths import WORLD, Path
from neuro.datasets.phantom.backgrounds import draw_background
from neuro.datasets.phantom.canvas import Canvas
from neuro.datasets.phantom.filters import FIELD_OF_VIEW
from neuro.datasets.phantom.painting import light_of, paint

_FINE = 2  # samples of a layer per pixel of the screen
_BLUR = 0.6  # s.d. in pixels of the screen


def render_path(path: Path, n_frames: int, size: int, fps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render one clip.

    Returns
    -------
    frames : uint8 (n_frames, size, size, 3)
    flow : float32 (n_frames - 1, size, size, 2)
        Pixels per frame, x rightward, y downward, of what each pixel of the earlier frame shows.
    mask : bool (n_frames, size, size)
        Where the object shows.
    """
    world, sprite = _world(path, size), _sprite(path, size)
    per_degree = size / FIELD_OF_VIEW
    step = per_degree / fps  # pixels per frame of a degree per second
    time = np.arange(n_frames) - (n_frames - 1) / 2
    zoom = np.exp(path.zoom * time / fps)
    line = np.arange(size) + 0.5 - size / 2  # pixels from the middle of the screen
    axes = []  # x, then y, in pixels, y downward
    for sign, place, velocity, pan in (
        (1, path.x, path.velocity_x, path.pan_x),
        (-1, path.y, path.velocity_y, path.pan_y),
    ):
        axes.append((sign * place * per_degree, sign * velocity * step, sign * pan * step))
    frames = np.empty((n_frames, size, size, 3), np.uint8)
    mask = np.empty((n_frames, size, size), bool)
    still = path.kind == "static"
    for t in range(n_frames):
        if still and t:
            frames[t], mask[t] = frames[0], mask[0]
            continue
        x, y = (pan * time[t] + line / zoom[t] for _, _, pan in axes)  # places in the world
        behind = _look(world, x, y, zoom[t])
        x, y = (w - place - velocity * time[t] for w, (place, velocity, _) in zip((x, y), axes, strict=True))
        object_ = _look(sprite, x, y, zoom[t])
        alpha = object_[..., 3:]
        frames[t] = np.clip((1 - alpha) * behind + object_[..., :3] + 0.5, 0, 255)
        mask[t] = alpha[..., 0] > 0.5
    growth = (zoom[1:] / zoom[:-1])[:, None, None]
    flow = np.empty((n_frames - 1, size, size, 2), np.float32)
    for k, (_, velocity, pan) in enumerate(axes):
        where = line[None, None, :] if k == 0 else line[None, :, None]
        shift = np.where(mask[:-1], velocity - pan, -pan) * zoom[1:, None, None]
        flow[..., k] = (growth - 1) * where + shift
    return frames, flow, mask


def _world(path: Path, size: int) -> np.ndarray:
    """Background that the camera moves over, (n, n, 3)."""
    scene = path.scene
    canvas = Canvas(math.ceil(WORLD * size) * _FINE)
    draw_background(canvas, scene.background)
    return canvas.finish(_grain(path), light_of(scene)).astype(np.float32)


def _sprite(path: Path, size: int) -> np.ndarray:
    """The object on nothing, (n, n, 4): colours times coverage, and coverage."""
    # Whatever is behind is taken away again below; a texture is quickly painted.
    scene = replace(path.scene, background=replace(path.scene.background, kind="texture"))
    canvas = paint(scene, _FINE * size)
    coverage = canvas.numbers() & 127
    f, n = canvas.factor, canvas.size
    alpha = (coverage > 0).reshape(n, f, n, f).mean((1, 3), dtype=np.float32)[..., None]
    with_object = canvas.finish(_grain(path), light_of(scene)).astype(np.float32)
    empty = Canvas(_FINE * size)
    draw_background(empty, scene.background)
    without = empty.finish(_grain(path), light_of(scene)).astype(np.float32)
    # Edges are mixtures with the background; what the background gave is taken away again.
    colour = np.clip(with_object - (1 - alpha) * without, 0, 255) * (alpha > 0)
    return np.concatenate([colour, alpha], axis=-1)


def _grain(path: Path) -> np.random.Generator:
    return np.random.default_rng([0x3017, path.scene.seed, path.scene.index, 2])


def _look(layer: np.ndarray, x: np.ndarray, y: np.ndarray, zoom: float) -> np.ndarray:
    """Blurred values (size, size, channels) of a layer at places in pixels from its middle; 0 outside."""
    n = len(layer)
    spread = _BLUR * _FINE / zoom
    cols, rows = x * _FINE + n / 2 - 0.5, y * _FINE + n / 2 - 0.5
    reach = 4 * spread
    spans = []
    for at in (rows, cols):
        low, high = max(0, math.floor(at[0] - reach)), min(n, math.ceil(at[-1] + reach) + 1)
        if low >= high:
            return np.zeros((len(y), len(x), layer.shape[2]), np.float32)
        spans.append((slice(low, high), _kernel(at, np.arange(low, high), spread)))
    (down, K), (across, L) = spans
    part = layer[down, across]
    part = np.tensordot(K, part, axes=(1, 0))  # (size, columns, channels)
    return np.einsum("ymc,xm->yxc", part, L, optimize=True)


def _kernel(at: np.ndarray, samples: np.ndarray, spread: float) -> np.ndarray:
    distance = (at[:, None] - samples) / spread
    return (np.exp(-(distance**2) / 2) / (spread * math.sqrt(2 * math.pi))).astype(np.float32)
