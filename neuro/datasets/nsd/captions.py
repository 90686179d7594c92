"""COCO captions of NSD's pictures, joined by ``cocoId``.

The annotation files are large, so they are parsed once and the captions of the data set's pictures kept as an index.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from neuro._files import fingerprint, read_json, write_json
from neuro.datasets.nsd.layout import Layout
from neuro.errors import CorruptFile, DataNotDownloaded, UnknownStimulus


def annotation_files(layout: Layout) -> list[Path]:
    """Return the caption files that are there, at most one per part of COCO."""
    found = []
    for part in ("train", "val"):
        name = f"captions_{part}2017.json"
        found += [f / name for f in layout.annotations() if (f / name).is_file()][:1]
    if not found:
        raise DataNotDownloaded(
            f"captions need captions_train2017.json and captions_val2017.json in {layout.annotations()[0]}. They are "
            "in annotations_trainval2017.zip at https://cocodataset.org/#download."
        )
    return found


def read_captions(files: list[Path]) -> dict[int, list[str]]:
    """Parse COCO caption files: captions by cocoId, in the order of the files."""
    captions: dict[int, list[str]] = {}
    for path in files:
        try:
            entries = read_json(path)["annotations"]
            for entry in entries:
                captions.setdefault(int(entry["image_id"]), []).append(" ".join(entry["caption"].split()))
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
            raise CorruptFile(f"{path} is no COCO caption file: {error!r}.") from error
    return captions


def caption_index(layout: Layout, coco_ids: np.ndarray, cache: Path | None) -> pd.Series:
    """Return the captions of every picture as lists, indexed by stimulus id; pictures without any are left out."""
    files = annotation_files(layout)
    token = fingerprint([[[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files], np.asarray(coco_ids)])
    kept = None if cache is None else cache / f"captions_{token}.json"
    if kept is not None and kept.is_file():
        index = read_json(kept)
    else:
        captions = read_captions(files)
        index = {str(i): captions[c] for i, c in enumerate(coco_ids.tolist()) if c in captions}
        if kept is not None:
            write_json(kept, index)
    return pd.Series(list(index.values()), index=pd.Index([int(k) for k in index], dtype=np.int64), dtype=object)


def look_up(index: pd.Series, ids: np.ndarray) -> list[list[str]]:
    """Return copies of the captions of some pictures, order and duplicates kept."""
    at = index.index.get_indexer(ids)
    if (at < 0).any():
        missing = ids[at < 0]
        raise UnknownStimulus(
            f"{len(missing):,} of {len(ids):,} pictures have no caption here, first {missing[:3].tolist()}. "
            "Is one of the two caption files (train, val) missing?"
        )
    return [list(index.iloc[i]) for i in at]
