"""Moving pictures: an object that moves over a world that the camera moves over, with the flow of every pixel known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neuro._check import check_positive_int
from neuro.data import Clips
from neuro.datasets.phantom.filters import FIELD_OF_VIEW
from neuro.errors import ShapeMismatch

if TYPE_CHECKING:
    from neuro.datasets.phantom._movie_paths import Path

_NUMBERS = ("x", "y", "velocity_x", "velocity_y", "pan_x", "pan_y", "zoom")


@dataclass(frozen=True, eq=False)
class PhantomClips:
    """Rendered clips and what was planted in them.

    Attributes
    ----------
    clips : Clips
        n clips of n_frames frames; its table has ``category``, ``label`` and ``captions`` (list of 5 str).
    flow : float32 array (n, n_frames - 1, size, size, 2)
        Exact optical flow in pixels per frame, x rightward, y downward: what pixel (row, column) of frame t shows is
        at ``(row + flow[t, row, column, 1], column + flow[t, row, column, 0])`` in frame t + 1.
    masks : bool array (n, n_frames, size, size)
        Where the object shows.
    motion : DataFrame
        One row per clip, in degrees of visual angle and seconds, x rightward, **y upward**: ``stimulus``; ``kind``
        (static, object, camera, both: what moves); ``category``, ``label`` of the object; ``x y``, its centre in the
        middle of the clip, and ``size``; ``velocity_x velocity_y``, its velocity in the world; ``pan_x pan_y``,
        velocity of the camera; ``zoom``, growth of everything in log units per second; ``speed`` and ``direction``
        of the object on the screen, middle of the clip: degrees per second; degrees, 0 rightward, 90 upward, NaN for
        standing still.
    """

    clips: Clips
    flow: np.ndarray
    masks: np.ndarray
    motion: pd.DataFrame

    def __post_init__(self):
        n, frames, size = len(self.clips), int(self.clips.n_frames[0]), self.clips.frame_size
        if self.flow.shape != (n, frames - 1, *size, 2) or self.masks.shape != (n, frames, *size):
            raise ShapeMismatch(
                f"{n} clips of {frames} frames of {size[0]} x {size[1]} need flow {(n, frames - 1, *size, 2)} and "
                f"masks {(n, frames, *size)}, got {self.flow.shape} and {self.masks.shape}."
            )
        if len(self.motion) != n:
            raise ShapeMismatch(f"the motion table has {len(self.motion)} rows for {n} clips.")
        for name in ("flow", "masks"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def degrees_per_pixel(self) -> float:
        """Degrees of visual angle that a pixel spans."""
        return FIELD_OF_VIEW / self.clips.frame_size[1]

    def visible(self, position: int) -> np.ndarray:
        """Return which pixels of each frame of a clip are still seen in the next, bool (n_frames - 1, size, size).

        False where flow leaves the picture, the object hides what was there, or a pixel lies on the object's edge.
        """
        from scipy.ndimage import maximum_filter, minimum_filter

        mask, flow = self.masks[position], self.flow[position]
        size = mask.shape[1]
        whole, some = (f(mask, size=(1, 5, 5), mode="nearest") for f in (minimum_filter, maximum_filter))
        pure = whole == some  # away from the object's edge, which the blur spreads
        rows, columns = np.mgrid[:size, :size]
        x, y = columns + flow[..., 0], rows + flow[..., 1]
        inside = (x >= 0) & (x <= size - 1) & (y >= 0) & (y <= size - 1)
        frame = np.arange(len(flow))[:, None, None] + 1
        there = frame, *(np.clip(np.round(a).astype(int), 0, size - 1) for a in (y, x))
        return inside & pure[:-1] & pure[there] & (mask[there] == mask[:-1])

    def select(self, ids) -> PhantomClips:
        """Return the clips of these ids, in this order."""
        at = self.clips.positions(ids)
        table = self.motion.iloc[at].reset_index(drop=True)
        return PhantomClips(self.clips.select(ids), self.flow[at], self.masks[at], table)


def render_clips(
    n_clips: int, n_frames: int = 20, size: int = 64, fps: float = 10, seed: int = 0, n_jobs: int | None = 1
) -> PhantomClips:
    """Render clips of one object each before a background, with known motion.

    A fifth of the clips are static, in two fifths the object moves, in a fifth the camera (it pans, or pans and zooms),
    in a fifth both. Objects are of all six categories, whatever moves.

    Parameters
    ----------
    n_clips : int
    n_frames : int
        At least 2.
    size : int
        Pixels a side.
    fps : float
        Frames per second.
    seed : int
        Which world of clips. Clip i does not depend on how many are rendered.
    n_jobs : int, optional
        Processes, as in joblib; the clips do not depend on it.

    Returns
    -------
    PhantomClips

    Examples
    --------
    >>> movies = render_clips(2, n_frames=4, size=24)
    >>> movies.clips.frames(0).shape, movies.flow.shape, movies.masks.shape
    ((4, 24, 24, 3), (2, 3, 24, 24, 2), (2, 4, 24, 24))
    """
    from neuro.datasets.phantom._movie_layers import render_path
    from neuro.datasets.phantom._movie_paths import sample_path

    n_clips, n_frames = check_positive_int("n_clips", n_clips), check_positive_int("n_frames", n_frames, 2)
    size, seed = check_positive_int("size", size, 16), check_positive_int("seed", seed, 0)
    if not (isinstance(fps, (int, float, np.number)) and np.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be above 0 frames per second, got {fps!r}.")
    paths = [sample_path(seed, i, n_frames / fps) for i in range(n_clips)]
    render = partial(render_path, n_frames=n_frames, size=size, fps=float(fps))
    if n_jobs in (None, 1):
        rendered = [render(path) for path in paths]
    else:
        from joblib import Parallel, delayed

        rendered = Parallel(n_jobs=n_jobs)(delayed(render)(path) for path in paths)
    frames, flow, masks = (np.stack(parts) for parts in zip(*rendered, strict=True))
    ids = np.arange(n_clips)
    motion = pd.DataFrame([_row(path) for path in paths])
    motion.insert(0, "stimulus", ids)
    table = motion[["stimulus", "category", "label"]].assign(captions=[path.captions() for path in paths])
    return PhantomClips(Clips.from_array(frames, ids, table, fps=float(fps)), flow, masks, motion)


def _row(path: Path) -> dict:
    main = path.scene[path.scene.main]
    vx, vy = path.screen_velocity
    speed = float(np.hypot(vx, vy))
    row = {"kind": path.kind, "category": main.category, "label": main.label}
    row |= {name: getattr(path, name) + 0.0 for name in _NUMBERS}  # no -0.0
    direction = float(np.degrees(np.arctan2(vy, vx)) % 360) if speed > 0 else np.nan
    return row | {"size": main.size * FIELD_OF_VIEW, "speed": speed, "direction": direction}
