"""Response channels: which regions they belong to, how reliable they are, and where their values go back to.

The order of volume voxels is fixed once: C order over (X, Y, Z) of the mask, the order of ``image[mask]`` in NIfTI axes
and of ``block[:, k, j, i]`` in NSD's HDF5 files. Surfaces: left vertices ascending, then right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neuro._check import check_option
from neuro._files import atomic_path, read_json, write_json
from neuro.errors import EmptySelection, ShapeMismatch, SpaceMismatch, UnknownROI, nearest

if TYPE_CHECKING:
    from nibabel.gifti import GiftiImage
    from nibabel.nifti1 import Nifti1Image

# Where a label stands in several atlases, one drawn in the person wins over one moved from a group.
_INDIVIDUAL = ("prf-", "floc-")
_GROUPS = {"V1": ("V1v", "V1d"), "V2": ("V2v", "V2d"), "V3": ("V3v", "V3d")}


@dataclass(frozen=True, eq=False)
class Volume:
    """A voxel grid.

    Parameters
    ----------
    shape : (3,) ints
        Grid size along X, Y, Z.
    affine : array (4, 4)
        Voxel indices to mm.
    ijk : array (n_voxels, 3)
        Grid indices of each voxel.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    ijk: np.ndarray

    def __post_init__(self):
        ijk = np.array(self.ijk, dtype=np.int64).reshape(-1, 3)
        shape = tuple(int(s) for s in self.shape)
        if len(shape) != 3:
            raise ShapeMismatch(f"a volume has three axes, got shape {shape}.")
        if len(ijk) and ((ijk < 0).any() or (ijk >= np.array(shape)).any()):
            raise ShapeMismatch(f"voxel indices must lie inside the grid {shape}; largest index is {ijk.max(0)}.")
        if len(np.unique(np.ravel_multi_index(ijk.T, shape))) != len(ijk):
            raise ShapeMismatch("each voxel may be listed once; the indices hold duplicates.")
        for name, value in (("shape", shape), ("affine", np.array(self.affine, dtype=float)), ("ijk", ijk)):
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.ijk)

    @property
    def xyz(self) -> np.ndarray:
        """Positions in mm, (n_voxels, 3)."""
        return self.ijk @ self.affine[:3, :3].T + self.affine[:3, 3]

    def take(self, index: np.ndarray) -> Volume:
        """Return the geometry of some voxels."""
        return Volume(self.shape, self.affine, self.ijk[index])


@dataclass(frozen=True, eq=False)
class Surface:
    """Vertices of the two hemispheres of a mesh.

    Parameters
    ----------
    mesh : str
        Name of the mesh, as "fsaverage", "fsaverage5" or "nativesurface".
    n_vertices : (int, int)
        Vertices of the whole left and right mesh.
    hemi : array (n_voxels,) of "L" or "R"
    vertex : array (n_voxels,) of int
    """

    mesh: str
    n_vertices: tuple[int, int]
    hemi: np.ndarray
    vertex: np.ndarray

    def __post_init__(self):
        hemi, vertex = np.array(self.hemi, dtype="<U1"), np.array(self.vertex, dtype=np.int64)
        sizes = (int(self.n_vertices[0]), int(self.n_vertices[1]))
        if hemi.shape != vertex.shape or not np.isin(hemi, ["L", "R"]).all():
            raise ShapeMismatch("hemi must give 'L' or 'R' for every vertex.")
        limit = np.where(hemi == "L", sizes[0], sizes[1])
        if (vertex < 0).any() or (vertex >= limit).any():
            raise ShapeMismatch(f"vertex numbers must lie below the mesh sizes {sizes}, largest is {vertex.max()}.")
        for name, value in (("n_vertices", sizes), ("hemi", hemi), ("vertex", vertex)):
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.vertex)

    def take(self, index: np.ndarray) -> Surface:
        """Return the geometry of some vertices."""
        return Surface(self.mesh, self.n_vertices, self.hemi[index], self.vertex[index])


class Voxels:
    """One row per response channel (voxel, vertex, electrode, sensor, neuron).

    Parameters
    ----------
    table : DataFrame with n_voxels rows, or int
        What is known of each channel: ``hemi`` ("L"/"R"), ``ncsnr``, anything else. An int makes an empty table.
    geometry : Volume or Surface, optional
        How to put values back into an image.
    atlases : dict name -> array (n_voxels,) of str, optional
        The label of each voxel in each atlas, "" where it has none. A boolean array is an atlas with one label,
        its own name.

    Examples
    --------
    >>> voxels = Voxels(4, atlases={"floc-faces": ["OFA", "FFA-1", "", "FFA-1"]})
    >>> voxels.roi("FFA-1")
    array([False,  True, False,  True])
    """

    def __init__(
        self,
        table: pd.DataFrame | int,
        geometry: Volume | Surface | None = None,
        atlases: Mapping[str, Sequence[str] | np.ndarray] | None = None,
    ):
        frame = pd.DataFrame(index=range(table)) if isinstance(table, (int, np.integer)) else table
        self._table = frame.reset_index(drop=True).copy()
        self.geometry = geometry
        n = len(self._table)
        if geometry is not None and len(geometry) != n:
            raise ShapeMismatch(f"the table has {n:,} rows but the geometry {len(geometry):,} voxels.")
        if isinstance(geometry, Surface) and "hemi" not in self._table:
            self._table["hemi"] = geometry.hemi
        self._atlases = {str(name): _as_labels(str(name), labels, n) for name, labels in (atlases or {}).items()}

    @classmethod
    def from_mask(
        cls, mask: Any, atlases: Mapping[str, tuple[Any, Mapping[int, str]]] | None = None, table: Any = None
    ) -> Voxels:
        """Make voxels from a NIfTI mask (image or path; values above 0 are in) and optional label images.

        Parameters
        ----------
        mask : NIfTI image or path
            The grid and the voxels on it.
        atlases : dict name -> (label image or path, {integer: label}), optional
            Label images on the same grid. Numbers missing from the table, 0 and below, are "no label".
        table : DataFrame, optional
            Further columns, one row per voxel of the mask in canonical order.
        """
        image = _load_image(mask)
        inside = np.asarray(image.dataobj) > 0
        if inside.ndim != 3:
            raise ShapeMismatch(f"a mask has three axes, got shape {inside.shape}.")
        geometry = Volume(inside.shape, image.affine, np.argwhere(inside))
        if not len(geometry):
            raise EmptySelection("the mask holds no voxel above 0.")
        labels = {}
        for name, (atlas, names) in (atlases or {}).items():
            values = np.asarray(_load_image(atlas).dataobj)
            if values.shape[:3] != inside.shape:
                raise ShapeMismatch(f"atlas {name!r} has grid {values.shape[:3]}, the mask {inside.shape}.")
            labels[name] = [names.get(int(v), "") if v > 0 else "" for v in values[tuple(geometry.ijk.T)]]
        return cls(len(geometry) if table is None else table, geometry, labels)

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        where = {Volume: "volume", Surface: "surface"}.get(type(self.geometry), "no geometry")
        return f"Voxels({len(self):,}, {where}, atlases={self.atlases})"

    @property
    def table(self) -> pd.DataFrame:
        """A copy of the table, one row per voxel."""
        return self._table.copy()

    @property
    def atlases(self) -> list[str]:
        """Names of the atlases."""
        return list(self._atlases)

    def atlas(self, name: str) -> np.ndarray:
        """Return the label of every voxel in one atlas, (n_voxels,) str, "" where it has none."""
        if name not in self._atlases:
            raise UnknownROI(f"no atlas {name!r}{nearest(name, self._atlases)} Atlases here: {self.atlases}.")
        return self._atlases[name].copy()

    def labels(self, atlas: str | None = None) -> list[str]:
        """Return the labels present, as ``"atlas:label"`` (or bare for one atlas)."""
        if atlas is not None:
            return [str(x) for x in np.unique(self.atlas(atlas)) if x]
        return [f"{a}:{x}" for a in self._atlases for x in self.labels(a)]

    def resolve(self, spec: str, atlas: str | None = None) -> list[str]:
        """Return the ``"atlas:label"`` names that a region name stands for, without guessing between atlases."""
        if atlas is None and ":" in spec:
            atlas, spec = spec.split(":", 1)
        if atlas is not None:
            present = self.labels(atlas)
            wanted = [spec] if spec in present else [g for g in _GROUPS.get(spec, ()) if g in present]
            if not wanted:
                raise UnknownROI(
                    f"no region {spec!r} in atlas {atlas!r}{nearest(spec, present)} Regions: {', '.join(present)}."
                )
            return [f"{atlas}:{w}" for w in wanted]
        if spec in self._atlases:
            return [f"{spec}:{x}" for x in self.labels(spec)]
        for wanted in ([spec], list(_GROUPS.get(spec, ()))):
            homes = [a for a in self._atlases if wanted and set(wanted) & set(self.labels(a))]
            own = [a for a in homes if a.startswith(_INDIVIDUAL)] or homes
            if len(own) > 1:
                raise UnknownROI(
                    f"{spec!r} is a region of several atlases: {', '.join(own)}. Say which, as {own[0] + ':' + spec!r}."
                )
            if own:
                return [f"{own[0]}:{w}" for w in wanted if w in self.labels(own[0])]
        bare = sorted({x.split(":", 1)[1] for x in self.labels()} | set(self._atlases))
        raise UnknownROI(f"no region {spec!r}{nearest(spec, bare)} Regions here: {', '.join(bare) or 'none'}.")

    def roi(self, spec: Any = None, atlas: str | None = None, hemi: str = "both") -> np.ndarray:
        """Return the voxels of a region as a boolean mask (n_voxels,).

        Parameters
        ----------
        spec : str, list of str, boolean array or None
            A label ("FFA-1"), an atlas (any of its labels: "nsdgeneral"), "atlas:label", a list (the union), a mask
            (checked and returned), or None (all voxels). "V1", "V2", "V3" join their ventral and dorsal halves.
            A label of several atlases means the one drawn in the person (prf-*, floc-*); among group atlases it is
            an error that lists them. Masks combine with ``&``, ``|`` and ``~``.
        atlas : str, optional
            Look in this atlas only.
        hemi : "both", "L" or "R"

        Raises
        ------
        UnknownROI
            With the nearest names and all that exist.
        """
        check_option("hemi", hemi, ["both", "L", "R"])
        if spec is None:
            mask = np.ones(len(self), bool)
        elif isinstance(spec, str):
            mask = np.zeros(len(self), bool)
            for name in self.resolve(spec, atlas):
                home, label = name.split(":", 1)
                mask |= self._atlases[home] == label
        elif isinstance(spec, (list, tuple)) and spec and all(isinstance(s, str) for s in spec):
            mask = np.logical_or.reduce([self.roi(s, atlas) for s in spec])
        else:
            mask = np.asarray(spec)
            if mask.dtype != bool or mask.shape != (len(self),):
                raise UnknownROI(
                    f"a region is a name, a list of names or a boolean mask of {len(self):,} voxels; "
                    f"got {type(spec).__name__} of dtype {mask.dtype}, shape {mask.shape}."
                )
            mask = mask.copy()
        if hemi != "both":
            if "hemi" not in self._table:
                raise UnknownROI("these voxels carry no hemisphere, so hemi='both' is the only choice.")
            mask &= (self._table["hemi"] == hemi).to_numpy()
        return mask

    def select(self, which: Any) -> Voxels:
        """Return some voxels: a region (see :meth:`roi`), a mask or an array of indices."""
        index = self.index(which)
        geometry = None if self.geometry is None else self.geometry.take(index)
        return Voxels(self._table.iloc[index], geometry, {a: x[index] for a, x in self._atlases.items()})

    def index(self, which: Any) -> np.ndarray:
        """Return the indices that a region, a mask or an index array stands for; empty is an error."""
        array = None if which is None or isinstance(which, str) else np.asarray(which)
        if array is not None and array.dtype.kind in "iu":
            index = array.reshape(-1).astype(np.int64)
            if index.size and (index.min() < -len(self) or index.max() >= len(self)):
                raise ShapeMismatch(f"voxel index {index.max()} is outside the {len(self):,} voxels here.")
            index = index % max(len(self), 1)
        else:
            index = np.flatnonzero(self.roi(which))
        if not index.size:
            raise EmptySelection(f"the selection {which if isinstance(which, str) else ''} holds no voxel.")
        return index

    def with_columns(self, **columns: Any) -> Voxels:
        """Return the same voxels with further (or replaced) columns in the table."""
        for name, values in columns.items():
            if np.ndim(values) and len(values) != len(self):
                raise ShapeMismatch(f"column {name!r} has {len(values):,} values for {len(self):,} voxels.")
        return Voxels(self._table.assign(**columns), self.geometry, self._atlases)

    def with_atlas(self, name: str, labels: Any) -> Voxels:
        """Return the same voxels with one more atlas: an array of labels, or a boolean mask."""
        return Voxels(self._table, self.geometry, {**self._atlases, name: labels})

    # Putting values back into images

    def to_nifti(self, values: Any, fill: float = np.nan) -> Nifti1Image:
        """Put values into a volume: (n_voxels,) gives a 3-D image, (k, n_voxels) a 4-D one; elsewhere ``fill``."""
        import nibabel as nib

        volume = self._need(Volume, "to_nifti")
        values = self._match(values)
        dtype = values.dtype if values.dtype in (np.float32, np.float64, np.int16, np.uint8) else np.dtype(np.float32)
        if dtype.kind in "iu" and np.isnan(fill):
            dtype = np.dtype(np.float32)
        out = np.full((*volume.shape, *values.shape[:-1]), fill, dtype)
        out[tuple(volume.ijk.T)] = np.moveaxis(values, -1, 0)
        image = nib.Nifti1Image(out, volume.affine)
        image.header.set_xyzt_units("mm")
        return image

    def from_nifti(self, image: Any) -> np.ndarray:
        """Read the values of these voxels from a NIfTI image on their grid; the inverse of :meth:`to_nifti`."""
        volume = self._need(Volume, "from_nifti")
        image = _load_image(image)
        data = np.asanyarray(image.dataobj)
        if data.shape[:3] != volume.shape:
            raise ShapeMismatch(f"the image has grid {data.shape[:3]}, these voxels live on {volume.shape}.")
        if not np.allclose(image.affine, volume.affine, atol=1e-3):
            raise SpaceMismatch("the image's affine differs from that of these voxels: it is another space.")
        return np.moveaxis(data[tuple(volume.ijk.T)], 0, -1)

    def to_surface(self, values: Any, fill: float = np.nan) -> tuple[np.ndarray, np.ndarray]:
        """Put values onto the mesh: arrays over all left and all right vertices, (..., n_vertices)."""
        surface = self._need(Surface, "to_surface")
        values = self._match(values)
        dtype = np.result_type(values.dtype, np.float32) if np.isnan(fill) else values.dtype
        sides = []
        for side, size in zip("LR", surface.n_vertices, strict=True):
            full = np.full((*values.shape[:-1], size), fill, dtype)
            here = surface.hemi == side
            full[..., surface.vertex[here]] = values[..., here]
            sides.append(full)
        return sides[0], sides[1]

    def from_surface(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Read the values of these vertices from whole-mesh arrays; the inverse of :meth:`to_surface`."""
        surface = self._need(Surface, "from_surface")
        left, right = np.asarray(left), np.asarray(right)
        got = (left.shape[-1], right.shape[-1])
        if got != surface.n_vertices:
            raise ShapeMismatch(f"the meshes have {surface.n_vertices} vertices, got arrays of {got}.")
        out = np.empty((*left.shape[:-1], len(self)), np.result_type(left, right))
        for side, full in (("L", left), ("R", right)):
            here = surface.hemi == side
            out[..., here] = full[..., surface.vertex[here]]
        return out

    def to_gifti(self, values: Any, fill: float = np.nan) -> tuple[GiftiImage, GiftiImage]:
        """Put values onto the mesh as GIFTI functional images, left and right; (k, n_voxels) gives k arrays each."""
        from nibabel import gifti

        images = []
        for side, structure in zip(self.to_surface(values, fill), ("CortexLeft", "CortexRight"), strict=True):
            arrays = [
                gifti.GiftiDataArray(row.astype(np.float32), intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32")
                for row in np.atleast_2d(side)
            ]
            meta = gifti.GiftiMetaData({"AnatomicalStructurePrimary": structure})
            images.append(gifti.GiftiImage(darrays=arrays, meta=meta))
        return images[0], images[1]

    # Files

    def save(self, folder: str | Path) -> None:
        """Write table, atlases and geometry as tsv, json and npy into ``folder``."""
        with atomic_path(folder, directory=True) as temporary:
            self._table.to_csv(temporary / "table.tsv", sep="\t", index=False, na_rep="n/a")
            frame = pd.DataFrame(dict(self._atlases), index=range(len(self)))
            frame.to_csv(temporary / "atlases.tsv", sep="\t", index=False)
            kind, g = None, self.geometry
            if isinstance(g, Volume):
                kind = {"kind": "volume", "shape": g.shape, "affine": g.affine}
                np.save(temporary / "ijk.npy", g.ijk, allow_pickle=False)
            elif isinstance(g, Surface):
                kind = {"kind": "surface", "mesh": g.mesh, "n_vertices": g.n_vertices}
                np.save(temporary / "vertex.npy", g.vertex, allow_pickle=False)
                np.save(temporary / "hemi.npy", g.hemi, allow_pickle=False)
            write_json(temporary / "geometry.json", {"n_voxels": len(self), "geometry": kind})

    @classmethod
    def load(cls, folder: str | Path) -> Voxels:
        """Read what :meth:`save` wrote."""
        folder = Path(folder)
        meta = read_json(folder / "geometry.json")
        kind, n = meta["geometry"], meta["n_voxels"]
        geometry = None
        if kind and kind["kind"] == "volume":
            ijk = np.load(folder / "ijk.npy", allow_pickle=False)
            geometry = Volume(tuple(kind["shape"]), np.array(kind["affine"]), ijk)
        elif kind:
            hemi, vertex = (np.load(folder / f"{f}.npy", allow_pickle=False) for f in ("hemi", "vertex"))
            geometry = Surface(kind["mesh"], tuple(kind["n_vertices"]), hemi, vertex)
        table, atlases = (_read_tsv(folder / f"{f}.tsv", n, f == "atlases") for f in ("table", "atlases"))
        return cls(table, geometry, {str(a): atlases[a].to_numpy(dtype=str) for a in atlases.columns})

    def _need(self, kind: type, method: str) -> Any:
        if not isinstance(self.geometry, kind):
            have = type(self.geometry).__name__ if self.geometry is not None else "no geometry"
            raise SpaceMismatch(f"{method} needs voxels with a {kind.__name__}, these have {have}.")
        return self.geometry

    def _match(self, values: Any) -> np.ndarray:
        values = np.asarray(values)
        if not values.ndim or values.shape[-1] != len(self):
            raise ShapeMismatch(f"expected values for {len(self):,} voxels on the last axis, got shape {values.shape}.")
        return values.astype(np.uint8) if values.dtype == bool else values


def _as_labels(name: str, labels: Any, n: int) -> np.ndarray:
    array = np.asarray(labels)
    if array.dtype == bool:
        array = np.where(array, name, "")
    if array.shape != (n,):
        raise ShapeMismatch(f"atlas {name!r} labels {array.shape} voxels, expected ({n},).")
    array = array.astype(str)
    array.flags.writeable = False
    return array


def _load_image(image: Any) -> Any:
    if isinstance(image, (str, Path)):
        import nibabel as nib

        return nib.load(image)
    return image


def _read_tsv(path: Path, n: int, text: bool) -> pd.DataFrame:
    if not path.read_text(encoding="utf-8").strip():
        return pd.DataFrame(index=range(n))
    if text:
        return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=["n/a"])
