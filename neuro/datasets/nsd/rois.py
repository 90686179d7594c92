"""Region label files: which voxel carries which name in which atlas.

In volumes -1 is outside cortex, 0 is cortex without a label, and labels start at 1; on surfaces 0 is "none". A label
is therefore always ``number == label`` or ``number > 0``, never a boolean cast. Names come from ``.ctab`` tables; the
numbers of different atlases mean different things, so a label is always (atlas, name).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neuro._check import check_option
from neuro.data import Voxels
from neuro.datasets.nsd.layout import SURFACES, Layout
from neuro.datasets.nsd.volumes import read_whole_numbers
from neuro.errors import CorruptFile

# Names by number, from 1, for label files whose table was not downloaded.
KNOWN = {
    "nsdgeneral": "nsdgeneral",
    "prf-visualrois": "V1v V1d V2v V2d V3v V3d hV4",
    "prf-eccrois": "ecc0pt5 ecc1 ecc2 ecc4 ecc4+",
    "floc-faces": "OFA FFA-1 FFA-2 mTL-faces aTL-faces",
    "floc-bodies": "EBA FBA-1 FBA-2 mTL-bodies",
    "floc-places": "OPA PPA RSC",
    "floc-words": "OWFA VWFA-1 VWFA-2 mfs-words mTL-words",
    "streams": "early midventral midlateral midparietal ventral lateral parietal",
    "Kastner2015": "V1v V1d V2v V2d V3v V3d hV4 VO1 VO2 PHC1 PHC2 TO2 TO1 LO2 LO1 V3B V3A IPS0 IPS1 IPS2 IPS3 IPS4 "
    "IPS5 SPL1 FEF",
}


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of all voxels of one person and space, as numbers.

    Parameters
    ----------
    index : array (n_voxels,)
        Canonical positions of the voxels.
    hemi : array (n_voxels,) of "L", "R" or "" (unknown)
    numbers : dict atlas -> array (n_voxels,) of int
    names : dict atlas -> {number: name}
    """

    index: np.ndarray
    hemi: np.ndarray
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    names: dict[str, dict[int, str]] = field(default_factory=dict)

    def mask(self, spec: Any, hemi: str = "both") -> np.ndarray:
        """Return the voxels of a region (n_voxels,), named as for :meth:`neuro.data.Voxels.roi`."""
        check_option("hemi", hemi, ["both", "L", "R"])
        pairs = [(a, n) for a, x in self.numbers.items() for n in np.unique(x[x > 0])]
        # One row per (atlas, label) answers which labels are meant; their voxels are then counted as numbers.
        rows = {a: [self.names[a].get(int(n), str(n)) if a == home else "" for home, n in pairs] for a in self.numbers}
        chosen = Voxels(len(pairs), atlases=rows).roi(spec)
        out = np.zeros(len(self.index), bool)
        for (atlas, number), wanted in zip(pairs, chosen, strict=True):
            if wanted:
                out |= self.numbers[atlas] == number
        return out if hemi == "both" else out & (self.hemi == hemi)

    def text(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the labels of some voxels as names, "" where there is none."""
        out = {}
        for atlas, numbers in self.numbers.items():
            present, inverse = np.unique(numbers[rows], return_inverse=True)
            words = [self.names[atlas].get(int(n), str(n)) if n > 0 else "" for n in present]
            out[atlas] = np.array(words, dtype=str)[inverse]
        return out


def read_ctab(path: Path) -> dict[int, str]:
    """Read a label table: a number, blanks, a name on each line."""
    names = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.strip() and not line.startswith("#"):
            parts = line.split()
            if len(parts) < 2 or not re.fullmatch(r"-?\d+", parts[0]):
                raise CorruptFile(f"{path}: expected 'number name' on each line, found {line!r}.")
            names[int(parts[0])] = parts[1]
    return names


def read_labels(layout: Layout, subject: int, space: str, shape: tuple[int, ...], brain: np.ndarray | None) -> Labels:
    """Read all label files of a person and space.

    Parameters
    ----------
    layout : Layout
    subject : int
    space : str
    shape : (X, Y, Z), or (left, right) numbers of vertices
    brain : bool array (X, Y, Z), optional
        The brain mask; without one, cortex and labelled voxels, or else the whole grid.
    """
    if space in SURFACES:
        numbers, names = _surface_numbers(layout, subject, space, shape)
        n = sum(shape)
        return Labels(np.arange(n), np.repeat(np.array(["L", "R"]), shape), numbers, names)
    folder = layout.space_data(subject, space) / "roi"
    found = sorted(p.name.removesuffix(".nii.gz") for p in folder.glob("*.nii.gz")) if folder.is_dir() else []
    atlases = sorted({re.sub(r"^[lr]h\.", "", name) for name in found})
    full: dict[str, np.ndarray] = {}
    side = np.zeros(shape, np.int8)  # 1 left, 2 right
    cortex = [np.zeros(shape, bool), np.zeros(shape, bool)]
    for atlas in atlases:
        files = [f"{h}.{atlas}" for h in ("lh", "rh")]
        halves = [read_whole_numbers(folder / f"{f}.nii.gz", shape) if f in found else None for f in files]
        for code, half in enumerate(halves):
            if half is not None:
                side[(side == 0) & (half > 0)] = code + 1
                if (half < 0).any():  # the file tells cortex (0) from the rest (-1)
                    cortex[code] |= half >= 0
        if atlas in found:
            full[atlas] = read_whole_numbers(folder / f"{atlas}.nii.gz", shape)
        else:
            full[atlas] = np.maximum.reduce([h for h in halves if h is not None])
    side[(side == 0) & cortex[0]] = 1
    side[(side == 0) & cortex[1]] = 2
    labelled = np.logical_or.reduce([np.zeros(shape, bool), *(x > 0 for x in full.values())])
    inside = brain | labelled if brain is not None else labelled | cortex[0] | cortex[1]
    if not inside.any():
        inside = np.ones(shape, bool)
    numbers = {a: x[inside] for a, x in full.items()}
    names = {a: table for a in numbers if (table := _names(layout, subject, space, a)) is not None}
    hemi = np.array(["", "L", "R"])[side[inside]]
    return Labels(np.flatnonzero(inside), hemi, numbers, {a: names.get(a, {}) for a in numbers})


def _surface_numbers(layout: Layout, subject: int, space: str, shape: tuple[int, ...]) -> tuple[Any, Any]:
    folder = layout.labels(subject, space)
    found = [p.name for p in folder.glob("[lr]h.*.mgz")] if folder.is_dir() else []
    numbers: dict[str, np.ndarray] = {}
    names: dict[str, dict[int, str]] = {}
    for atlas in sorted({n[3:].removesuffix(".mgz") for n in found}):
        table = _names(layout, subject, space, atlas)
        if table is None:  # the folder also holds maps of numbers that are no labels
            continue
        halves = []
        for h, n in zip(("lh", "rh"), shape, strict=True):
            path = folder / f"{h}.{atlas}.mgz"
            halves.append(read_whole_numbers(path, (n,)) if path.is_file() else np.zeros(n, np.int32))
        numbers[atlas], names[atlas] = np.concatenate(halves), table
    return numbers, names


def _names(layout: Layout, subject: int, space: str, atlas: str) -> dict[int, str] | None:
    for path in layout.label_tables(subject, space, atlas):
        if path.is_file():
            return read_ctab(path)
    return dict(enumerate(KNOWN[atlas].split(), 1)) if atlas in KNOWN else None
