"""The pictures of a phantom, and what its voxels see of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuro._files import atomic_path, write_json
from neuro.datasets.phantom.filters import category_maps, colour_maps, oriented_energy

_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Seen:
    """What the early stages make of all pictures: float32 arrays (n_pictures, channels, places)."""

    energy: np.ndarray
    colour: np.ndarray
    shown: np.ndarray

    def take(self, rows: np.ndarray) -> Seen:
        """Return some pictures."""
        return Seen(self.energy[rows], self.colour[rows], self.shown[rows])


def render_block(seed: int, start: int, n: int, size: int) -> tuple[np.ndarray, Seen, list[list[str]], list[str]]:
    """Render pictures ``start`` to ``start + n`` with their maps, captions and categories."""
    from neuro.datasets.phantom.scenes import describe, render, sample_scene

    scenes = [sample_scene(seed, start + i) for i in range(n)]
    images = np.stack([render(s, size) for s in scenes])
    seen = Seen(oriented_energy(images), colour_maps(images), np.stack([category_maps(s) for s in scenes]))
    return images, seen, [describe(s) for s in scenes], [s.category for s in scenes]


def write_pictures(path: Path, captions: Path, n: int, size: int, seed: int, n_jobs: int, table) -> Seen:
    """Render all pictures into ``nsd_stimuli.hdf5`` and COCO-like caption files, and return their maps.

    Parameters
    ----------
    path : where ``imgBrick`` (n, size, size, 3) uint8 goes
    captions : folder of ``captions_{train,val}2017.json``
    n, size, seed, n_jobs : int
    table : DataFrame
        The picture table, for cocoId and cocoSplit.

    """
    import h5py

    parts: list[Seen] = []
    texts: list[list[str]] = []
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        brick = file.create_dataset("imgBrick", (n, size, size, 3), np.uint8)
        for start, (images, seen, said, _) in _blocks(n, size, seed, n_jobs):
            brick[start : start + len(images)] = images
            parts.append(seen)
            texts += said
    for split in ("train2017", "val2017"):
        rows = np.flatnonzero(table["cocoSplit"] == split)
        coco = table["cocoId"].to_numpy()
        content = {
            "info": {"description": "neuro phantom scenes"},
            "images": [{"id": int(coco[r]), "width": size, "height": size} for r in rows],
            "annotations": [
                {"image_id": int(coco[r]), "id": int(r) * 5 + k, "caption": text}
                for r in rows
                for k, text in enumerate(texts[r])
            ],
        }
        write_json(captions / f"captions_{split}.json", content)
    return Seen(*(np.concatenate([getattr(p, f) for p in parts]) for f in ("energy", "colour", "shown")))


def _blocks(n: int, size: int, seed: int, n_jobs: int) -> Iterator[tuple[int, Any]]:
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    starts = range(0, n, _BLOCK)
    jobs = (delayed(render_block)(seed, s, min(_BLOCK, n - s), size) for s in starts)
    results = Parallel(n_jobs=n_jobs, return_as="generator")(jobs)
    yield from zip(starts, tqdm(results, "pictures", len(starts), unit="block"), strict=True)
