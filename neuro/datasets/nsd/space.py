"""One person's brain in one space: grid or mesh, regions, reliability, and which voxels a caller means.

Canonical positions number all voxels of a grid in C order over (X, Y, Z), or left vertices and then right ones. The
voxels of a space are the brain mask, and what a region labels outside it, on a grid; all vertices on a surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_option
from neuro.data import Surface, Volume, Voxels
from neuro.datasets.nsd.betas import hdf5_shape
from neuro.datasets.nsd.layout import PREPS, SURFACES, Layout, subject_name
from neuro.datasets.nsd.rois import Labels, read_labels
from neuro.datasets.nsd.volumes import read_values, shape_and_affine
from neuro.errors import DataNotDownloaded, ShapeMismatch, SpaceMismatch, UnknownROI

VOXEL_MM = {"func1pt8mm": 1.8, "func1mm": 1.0}
# The template comes in sizes; each is the first vertices of the next.
FSAVERAGE = {2562: "fsaverage4", 10242: "fsaverage5", 40962: "fsaverage6"}


class SubjectSpace:
    """The files of one person and space that are not betas; read when first needed, then kept."""

    def __init__(self, layout: Layout, subject: int, space: str):
        self.layout, self.subject, self.space = layout, subject, space
        self.is_surface = space in SURFACES

    def __repr__(self) -> str:
        return f"subject {self.subject} in {self.space}"

    # Grid or mesh

    @property
    def shape(self) -> tuple[int, ...]:
        """(X, Y, Z), or numbers of left and right vertices."""
        return self._grid[0]

    @property
    def affine(self) -> np.ndarray | None:
        """Voxel indices to mm; None where no file on disk says."""
        return self._grid[1]

    @property
    def mesh(self) -> str:
        """Name of the mesh of a surface space."""
        if self.space == "fsaverage":
            return FSAVERAGE.get(self.shape[0], "fsaverage")
        return f"{subject_name(self.subject)}-native"

    @cached_property
    def _grid(self) -> tuple[tuple[int, ...], np.ndarray | None]:
        """Sizes from the smallest files that tell, beta files last."""
        sides = ("lh", "rh") if self.is_surface else ("",)
        grids = [self._first_grid(n, side) for n, side in enumerate(sides)]
        if self.is_surface:
            return tuple(int(np.prod(shape)) for shape, _ in grids), None
        return grids[0]

    def _first_grid(self, n: int, side: str) -> tuple[tuple[int, ...], np.ndarray | None]:
        betas = [self.layout.betas(self.subject, self.space, p) for p in PREPS]
        if self.is_surface:
            labels = self.layout.labels(self.subject, self.space)
            maps = [*sorted(labels.glob(f"{side}.*.mgz")), *(b / f"{side}.ncsnr.mgh" for b in betas)]
        else:
            maps = [self.brain_mask, *sorted(self.regions.glob("*.nii.gz")), *(b / "ncsnr.nii.gz" for b in betas)]
        for prep in PREPS:
            maps += [s.paths[n] for s in self.layout.sessions(self.subject, self.space, prep).values()]
        for path in maps:
            if path.is_file():
                if path.suffix == ".hdf5":  # (n_trials, Z, Y, X) or (n_trials, n_vertices)
                    return hdf5_shape(path)[:0:-1], None
                shape, affine = shape_and_affine(path)
                return shape[:3], affine
        raise DataNotDownloaded(f"nothing of {self} under {self.layout.root}, not even a mask or a label file.")

    # Regions

    @property
    def brain_mask(self) -> Path:
        """The brain mask of a volume."""
        return self.layout.space_data(self.subject, self.space) / "brainmask.nii.gz"

    @property
    def regions(self) -> Path:
        """Folder of the label files."""
        if self.is_surface:
            return self.layout.labels(self.subject, self.space)
        return self.layout.space_data(self.subject, self.space) / "roi"

    @cached_property
    def labels(self) -> Labels:
        """All voxels and their labels."""
        brain = None
        if not self.is_surface and self.brain_mask.is_file():
            brain = read_values(self.brain_mask, self.shape) > 0
        return read_labels(self.layout, self.subject, self.space, self.shape, brain)

    def mask(self, roi: Any, hemi: str) -> np.ndarray:
        """Return a region as a mask over all voxels of the space."""
        check_option("hemi", hemi, ["both", "L", "R"])
        labels = self.labels
        if roi is None:
            return np.ones(len(labels.index), bool) if hemi == "both" else labels.hemi == hemi
        listed = isinstance(roi, Sequence) and len(roi) > 0 and all(isinstance(r, str) for r in roi)
        if not isinstance(roi, str) and not listed:
            raise UnknownROI(f"roi is a name or a list of names, got {type(roi).__name__}; masks go into voxels=.")
        if not labels.numbers:
            raise DataNotDownloaded(f"regions of {self} need label files in {self.regions}; there are none.")
        return labels.mask(roi if isinstance(roi, str) else list(roi), hemi)

    def selection(self, voxels: Any) -> np.ndarray:
        """Return the caller's choice of voxels as a mask over all voxels of the space.

        ``voxels`` is None (all), a mask over these voxels or over the grid, a NIfTI mask or its path, or Voxels.
        """
        index = self.labels.index
        if voxels is None:
            return np.ones(len(index), bool)
        if isinstance(voxels, Voxels):
            at = self.positions(voxels)
            outside = np.setdiff1d(at, index)
            if outside.size:
                raise SpaceMismatch(
                    f"{outside.size:,} of the voxels given lie outside the brain of {self}. Are they another person's?"
                )
            return np.isin(index, at)
        if isinstance(voxels, (str, Path)):
            import nibabel as nib

            voxels = nib.load(voxels)
        if hasattr(voxels, "affine"):
            if self.is_surface:
                raise SpaceMismatch(f"a NIfTI mask selects voxels of a volume, not of {self.space}.")
            if self.affine is not None and not np.allclose(voxels.affine, self.affine, atol=1e-3):
                raise SpaceMismatch(f"the mask's affine is not that of {self}: it is of another person or space.")
            voxels = np.asarray(voxels.dataobj) > 0
        mask = np.asarray(voxels)
        if mask.dtype != bool:
            raise ShapeMismatch(f"voxels must be a boolean mask, Voxels or a NIfTI mask, got dtype {mask.dtype}.")
        if mask.shape == self.shape and not self.is_surface:
            mask = mask.reshape(-1)[index]
        if mask.shape != index.shape:
            grid = "" if self.is_surface else f" on a grid {self.shape}"
            raise ShapeMismatch(
                f"the mask has shape {mask.shape}; {self} has {len(index):,} voxels{grid}. Is it another person's mask?"
            )
        return mask

    # Voxels

    def positions(self, voxels: Voxels) -> np.ndarray:
        """Return the canonical positions of voxels of this space; those of another one are an error."""
        g = voxels.geometry
        if isinstance(g, Surface):
            if self.is_surface and g.mesh == self.mesh and g.n_vertices == self.shape:
                return g.vertex + np.where(g.hemi == "R", self.shape[0], 0)
            have = f"{g.mesh} {g.n_vertices}"
        elif isinstance(g, Volume):
            if g.shape == self.shape and (self.affine is None or np.allclose(g.affine, self.affine, atol=1e-3)):
                return np.asarray(np.ravel_multi_index(tuple(g.ijk.T), g.shape))
            have = f"a grid {g.shape}" + (" with another affine" if g.shape == self.shape else "")
        else:
            have = "no geometry"
        mine = f"{self.mesh} {self.shape}" if self.is_surface else f"a grid {self.shape}"
        raise SpaceMismatch(f"the voxels given have {have}, {self} has {mine}: they are of another person or space.")

    def voxels(self, rows: np.ndarray, prep: str, valid: np.ndarray | None) -> Voxels:
        """Return some of the voxels with regions, ncsnr and geometry.

        Parameters
        ----------
        rows : array of int
            Rows of ``labels.index``.
        prep : str
            Whose ncsnr.
        valid : bool array (len(rows),), optional
            Voxels with data; the ncsnr of others becomes NaN.
        """
        index = self.labels.index[rows]
        table = pd.DataFrame({"hemi": self.labels.hemi[rows]})
        folder = self.layout.betas(self.subject, self.space, prep)
        for name in ("ncsnr", "ncsnr_split1", "ncsnr_split2"):
            paths = (
                [folder / f"{h}.{name}.mgh" for h in ("lh", "rh")] if self.is_surface else [folder / f"{name}.nii.gz"]
            )
            if all(p.is_file() for p in paths):
                table[name] = self.read_map(paths)[index].astype(float)
                if valid is not None:
                    table.loc[~valid, name] = np.nan
        if valid is None and self.is_surface and "ncsnr" in table:
            valid = ~table["ncsnr"].isna().to_numpy()
        if valid is not None:
            table["valid"] = valid
        return Voxels(table, self._geometry(index), self.labels.text(rows))

    def _geometry(self, index: np.ndarray) -> Volume | Surface:
        if self.is_surface:
            left, right = self.shape
            hemi = np.where(index < left, "L", "R")
            return Surface(self.mesh, (left, right), hemi, np.where(index < left, index, index - left))
        affine = np.diag([*[VOXEL_MM[self.space]] * 3, 1.0]) if self.affine is None else self.affine
        x, y, z = self.shape
        return Volume((x, y, z), affine, np.stack(np.unravel_index(index, self.shape), axis=1))

    def read_map(self, paths: list[Path]) -> np.ndarray:
        """Return the values of one file (volume) or of left and right (surface) at all canonical positions."""
        sizes = [(n,) for n in self.shape] if self.is_surface else [self.shape]
        return np.concatenate([read_values(p, size).reshape(-1) for p, size in zip(paths, sizes, strict=True)])

    def valid(self, sessions: Sequence[int], index: np.ndarray) -> np.ndarray | None:
        """Which voxels were in the field of view in all sessions; None where files do not tell."""
        folder = self.layout.space_data(self.subject, self.space)
        paths = [folder / f"valid_session{n:02d}.nii.gz" for n in sessions]
        if self.is_surface or not paths or not all(p.is_file() for p in paths):
            return None
        return np.logical_and.reduce([read_values(p, self.shape).reshape(-1)[index] > 0 for p in paths])
