"""The pictures of a phantom: NSD's brick, COCO-like annotations, and what voxels see of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._files import atomic_path, write_json
from neuro.datasets.phantom.filters import category_maps, see
from neuro.datasets.phantom.scene import CATEGORIES

_BLOCK = 50


@dataclass(frozen=True, eq=False)
class Seen:
    """What voxels see of pictures: float16 maps (n_pictures, channels, places) by name.

    Names: ``energy``, ``form``, ``colour`` (see :func:`neuro.datasets.phantom.filters.see`) and ``category``.
    """

    maps: dict[str, np.ndarray]

    def take(self, rows: np.ndarray) -> Seen:
        """Return some pictures."""
        return Seen({k: v[rows] for k, v in self.maps.items()})

    def __len__(self) -> int:
        return len(self.maps["category"])


class Pictures:
    """Where the pictures of a phantom stand, and how they come about: picture i is scene i of the seed."""

    def __init__(self, root: Path, n: int, size: int, seed: int, n_jobs: int | None):
        self.root, self.n, self.size, self.seed, self.n_jobs = root, n, size, seed, n_jobs

    @property
    def brick(self) -> Path:
        """``nsd_stimuli.hdf5``."""
        return self.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"

    @property
    def table(self) -> Path:
        """What is in each picture, ``truth/stimuli.tsv``."""
        return self.root / "truth/stimuli.tsv"

    @property
    def is_written(self) -> bool:
        """Whether brick, table and annotations stand."""
        names = [f"{kind}_{split}.json" for kind in ("captions", "instances") for split in ("train2017", "val2017")]
        paths = [self.brick, self.table, *(self.brick.parent / "annotations" / n for n in names)]
        return all(p.is_file() for p in paths)

    def write(self, info: pd.DataFrame) -> Seen:
        """Render all pictures, write brick, annotations and table, and return what voxels see.

        Parameters
        ----------
        info : DataFrame
            NSD's picture table, for cocoId and cocoSplit.
        """
        import h5py

        seen: dict[str, np.ndarray] = {}
        rows: list[dict[str, Any]] = []
        with atomic_path(self.brick) as temporary, h5py.File(temporary, "w") as file:
            shape = (self.n, self.size, self.size, 3)
            brick = file.create_dataset("imgBrick", shape, np.uint8, chunks=(1, *shape[1:]))
            for start, (images, maps, described) in self._each(_render_block, "pictures"):
                brick[start : start + len(images)] = images
                _put(seen, maps, start, self.n)
                rows += described
        self._write_annotations(info, rows)
        self._write_table(rows)
        return Seen(seen)

    def look(self) -> Seen:
        """Return what voxels see of pictures that were written before."""
        seen: dict[str, np.ndarray] = {}
        for start, maps in self._each(partial(_look_block, self.brick), "looking at pictures"):
            _put(seen, maps, start, self.n)
        return Seen(seen)

    def write_shared(self, sharedix: np.ndarray) -> None:
        """Write the shared pictures as PNG; both numbers in their names count from 1."""
        import h5py
        from PIL import Image

        folder = self.brick.parent / "shared1000"
        with h5py.File(self.brick) as file:
            for k, number in enumerate(sharedix.tolist(), 1):
                path = folder / f"shared{k:04d}_nsd{number:05d}.png"
                if not path.is_file():
                    with atomic_path(path) as temporary:
                        Image.fromarray(file["imgBrick"][number - 1]).save(temporary, "png")

    def _each(self, work: Any, what: str) -> Iterator[tuple[int, Any]]:
        from joblib import Parallel, delayed
        from tqdm.auto import tqdm

        starts = range(0, self.n, _BLOCK)
        jobs = (delayed(work)(self.seed, s, min(_BLOCK, self.n - s), self.size) for s in starts)
        results = Parallel(n_jobs=self.n_jobs, return_as="generator")(jobs)
        with tqdm(total=self.n, desc=what, unit=" pictures", disable=not sys.stderr.isatty()) as bar:
            for start, result in zip(starts, results, strict=True):
                yield start, result
                bar.update(min(_BLOCK, self.n - start))

    def _write_annotations(self, info: pd.DataFrame, rows: list[dict[str, Any]]) -> None:
        """Write captions and boxes in COCO's JSON, joined by cocoId."""
        coco = info["cocoId"].to_numpy()
        numbers = {name: k for k, name in enumerate((*CATEGORIES, "distractor"), 1)}
        for split in ("train2017", "val2017"):
            which = np.flatnonzero(info["cocoSplit"] == split).tolist()
            images = [
                {"id": int(coco[r]), "file_name": f"{coco[r]:012d}.png", "width": self.size, "height": self.size}
                for r in which
            ]
            head = {"info": {"description": "neuro phantom scenes"}, "licenses": [], "images": images}
            captions = [
                {"image_id": int(coco[r]), "id": 5 * r + k, "caption": text}
                for r in which
                for k, text in enumerate(rows[r]["captions"])
            ]
            boxes = [
                {"image_id": int(coco[r]), "id": 100 * r + k, "category_id": numbers[o["category"]], "iscrowd": 0, **o}
                for r in which
                for k, o in enumerate(rows[r]["objects"])
            ]
            kinds = [{"id": k, "name": name, "supercategory": name} for name, k in numbers.items()]
            folder = self.brick.parent / "annotations"
            write_json(folder / f"captions_{split}.json", {**head, "annotations": captions})
            write_json(folder / f"instances_{split}.json", {**head, "categories": kinds, "annotations": boxes})

    def _write_table(self, rows: list[dict[str, Any]]) -> None:
        table = pd.DataFrame([{k: v for k, v in r.items() if k not in ("captions", "objects")} for r in rows])
        table.insert(0, "stimulus", np.arange(len(table)))
        with atomic_path(self.table) as temporary:
            table.to_csv(temporary, sep="\t", index=False, float_format="%.5g")


def _render_block(
    seed: int, start: int, n: int, size: int
) -> tuple[np.ndarray, dict[str, np.ndarray], list[dict[str, Any]]]:
    """Render pictures ``start`` to ``start + n`` and describe them."""
    from neuro.datasets.phantom.scenes import describe, render, sample_scene

    scenes = [sample_scene(seed, start + i) for i in range(n)]
    images = np.stack([render(s, size) for s in scenes])
    category = np.stack([category_maps(s) for s in scenes])
    areas = category.mean(2, dtype=np.float32)
    rows = []
    for scene, area in zip(scenes, areas, strict=True):
        row = {name: getattr(scene, name) for name in ("category", "kind", "label")}
        row["background"] = scene.background.kind
        row |= dict(zip(CATEGORIES, area.tolist(), strict=True))
        boxes = [_box(item, size) for item in scene.objects]
        rows.append({**row, "captions": describe(scene), "objects": boxes})
    return images, {**see(images), "category": category}, rows


def _look_block(brick: Path, seed: int, start: int, n: int, size: int) -> dict[str, np.ndarray]:
    import h5py

    from neuro.datasets.phantom.scenes import sample_scene

    with h5py.File(brick) as file:
        images = file["imgBrick"][start : start + n]
    return {**see(images), "category": np.stack([category_maps(sample_scene(seed, start + i)) for i in range(n)])}


def _box(item: Any, size: int) -> dict[str, Any]:
    """COCO's box: left, top, width, height in pixels, cut at the border."""
    left, top = max(item.x - item.width / 2, 0), max(item.y - item.height / 2, 0)
    right, bottom = min(item.x + item.width / 2, 1), min(item.y + item.height / 2, 1)
    box = [round(size * v, 1) for v in (left, top, max(right - left, 0), max(bottom - top, 0))]
    return {"category": item.category, "label": item.label, "bbox": box, "area": round(box[2] * box[3], 1)}


def _put(store: dict[str, np.ndarray], maps: dict[str, np.ndarray], start: int, n: int) -> None:
    for name, part in maps.items():
        if name not in store:
            store[name] = np.empty((n, *part.shape[1:]), part.dtype)
        store[name][start : start + len(part)] = part
