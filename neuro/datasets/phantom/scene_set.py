"""Many scenes at once: pictures and a table that says what is on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neuro._check import check_positive_int

if TYPE_CHECKING:
    from neuro.datasets.phantom.scenes import Scene


@dataclass(frozen=True, eq=False)
class SceneSet:
    """Rendered scenes.

    Attributes
    ----------
    images : uint8 array (n, size, size, 3)
    table : DataFrame
        One row per picture: ``stimulus`` (the scene's index), ``category``, ``kind``, ``label``, ``background``,
        ``captions`` (list of 5 str) and ``objects`` (list of JSON-able dicts: name, category, label, x, y, size, width,
        height, colour, parts).
    scenes : tuple of Scene
    """

    images: np.ndarray
    table: pd.DataFrame
    scenes: tuple[Scene, ...]

    def __len__(self) -> int:
        return len(self.images)

    def masks(self, position: int) -> dict[str, np.ndarray]:
        """Return the masks of the picture at ``position``: dict of object name -> bool (size, size)."""
        from neuro.datasets.phantom.scenes import masks

        return masks(self.scenes[position], self.images.shape[1])


_COLUMNS = ("name", "category", "label", "x", "y", "size", "width", "height", "colour", "parts")


def render_scenes(n: int, size: int = 96, seed: int = 0, start: int = 0, n_jobs: int | None = 1) -> SceneSet:
    """Render the ``n`` scenes of a seed that begin at index ``start``.

    Parameters
    ----------
    n : int
        How many.
    size : int
        Pixels a side.
    seed : int
        Which world of scenes; different seeds share none.
    start : int
        First index: ``render_scenes(3, start=5)`` gives the last three of ``render_scenes(8)``.
    n_jobs : int, optional
        Processes, as in joblib; the pictures do not depend on it.

    Examples
    --------
    >>> scenes = render_scenes(2, size=32)
    >>> scenes.images.shape, list(scenes.table["stimulus"]), len(scenes.table["captions"][0])
    ((2, 32, 32, 3), [0, 1], 5)
    """
    from neuro.datasets.phantom.captions import describe
    from neuro.datasets.phantom.scenes import sample_scene

    n, size = check_positive_int("n", n), check_positive_int("size", size, 8)
    start, seed = check_positive_int("start", start, 0), check_positive_int("seed", seed, 0)
    scenes = tuple(sample_scene(seed, start + i) for i in range(n))
    if n_jobs in (None, 1):
        images = _render_run(seed, start, n, size)
    else:
        from joblib import Parallel, delayed

        step = 64
        runs = [(start + i, min(step, n - i)) for i in range(0, n, step)]
        images = np.concatenate(Parallel(n_jobs=n_jobs)(delayed(_render_run)(seed, a, k, size) for a, k in runs))
    table = pd.DataFrame(
        {
            "stimulus": np.arange(start, start + n),
            "category": [s.category for s in scenes],
            "kind": [s.kind for s in scenes],
            "label": [s.label for s in scenes],
            "background": [s.background.kind for s in scenes],
            "captions": [describe(s) for s in scenes],
            "objects": [[_row(item) for item in s.objects] for s in scenes],
        }
    )
    return SceneSet(images, table, scenes)


def _row(item) -> dict:
    return {k: {p: list(box) for p, box in item.parts.items()} if k == "parts" else getattr(item, k) for k in _COLUMNS}


def _render_run(seed: int, start: int, n: int, size: int) -> np.ndarray:
    from neuro.datasets.phantom.scenes import render, sample_scene

    images = np.empty((n, size, size, 3), dtype=np.uint8)
    for i in range(n):
        images[i] = render(sample_scene(seed, start + i), size)
    return images
