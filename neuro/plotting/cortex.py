"""The template cortex (fsaverage5, as bundled with nilearn), and how values of voxels or vertices come to lie on it.

A vertex takes the mean over cortical depths, from the white to the pial surface, of the voxels its column passes
through: nilearn's ``vol_to_surf`` with nearest-voxel depth sampling, but leaving out what lies outside the voxels
instead of mixing it in.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuro.data import Surface, Volume, Voxels
from neuro.errors import SpaceMismatch

FSAVERAGE5 = 10242
FSAVERAGE_SIZES = (10242, 40962, 163842)


@dataclass(frozen=True, eq=False)
class Hemisphere:
    """One hemisphere of fsaverage5: coordinates (10242, 3) in mm (MNI305), faces (20480, 3), sulcal depth (10242,)."""

    inflated: np.ndarray
    white: np.ndarray
    pial: np.ndarray
    faces: np.ndarray
    sulc: np.ndarray

    def at_depth(self, depth: float) -> np.ndarray:
        """Coordinates between the white (0) and the pial surface (1)."""
        return (1 - depth) * self.white + depth * self.pial


@functools.cache
def load_fsaverage5() -> tuple[Hemisphere, Hemisphere]:
    """Read the left and right hemisphere from the files inside the nilearn package; no network is used."""
    import nibabel as nib
    from nilearn.datasets import fetch_surf_fsaverage

    files = fetch_surf_fsaverage("fsaverage5")
    sides = []
    for side in ("left", "right"):
        arrays = {k: nib.load(files[f"{k}_{side}"]).darrays for k in ("infl", "white", "pial", "sulc")}
        hemi = Hemisphere(
            inflated=np.array(arrays["infl"][0].data, dtype=float),
            white=np.array(arrays["white"][0].data, dtype=float),
            pial=np.array(arrays["pial"][0].data, dtype=float),
            faces=np.array(arrays["infl"][1].data, dtype=np.int64),
            sulc=np.array(arrays["sulc"][0].data, dtype=float),
        )
        for array in vars(hemi).values():
            array.flags.writeable = False
        sides.append(hemi)
    return sides[0], sides[1]


def is_mni_like(volume: Volume) -> bool:
    """Whether voxels lie where the template's cortex is.

    An affine does not say which space it leads to, so the voxels themselves are asked: either at least 85 % of them lie
    within one voxel (and no less than 4 mm) of the middle of fsaverage's cortex, or they cover at least 80 % of it. The
    voxels of a subject's own space fail both, unless they happen to be aligned with the template.
    """
    from scipy.spatial import cKDTree

    cortex = np.vstack([h.at_depth(0.5) for h in load_fsaverage5()])
    reach = max(4.0, float(np.linalg.norm(volume.affine[:3, :3], axis=0).max()))
    near = np.isfinite(cKDTree(cortex).query(volume.xyz, distance_upper_bound=reach)[0]).mean()
    covered = np.isfinite(cKDTree(volume.xyz).query(cortex, distance_upper_bound=reach)[0]).mean()
    return bool(near >= 0.85 or covered >= 0.8)


def to_fsaverage5(
    voxels: Voxels, values: np.ndarray, *, depths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0), check: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Bring values of voxels or vertices onto the fsaverage5 mesh.

    fsaverage and fsaverage6 contain fsaverage5 as their first 10,242 vertices, so their values are taken there.

    Parameters
    ----------
    voxels : Voxels
        With a volume in the template's space, or vertices of an fsaverage mesh.
    values : array (n_voxels,)
    depths : list of float
        Cortical depths sampled for volumes, 0 white to 1 pial.
    check : bool
        Refuse volumes that do not lie on the template's cortex (see :func:`is_mni_like`).

    Returns
    -------
    left, right : arrays (10242,), NaN where no voxel lies

    Raises
    ------
    SpaceMismatch
        If there is no geometry, or it is that of another space; the message says why.
    """
    geometry = voxels.geometry
    if geometry is None:
        raise SpaceMismatch(
            "these channels carry no position in a brain (neurons or electrodes, perhaps), so no cortical map is drawn."
        )
    if isinstance(geometry, Surface):
        if set(geometry.n_vertices) - set(FSAVERAGE_SIZES) or len(set(geometry.n_vertices)) != 1:
            raise SpaceMismatch(
                f"the mesh {geometry.mesh!r} ({geometry.n_vertices[0]:,} and {geometry.n_vertices[1]:,} vertices) is "
                "not fsaverage; resample the data to fsaverage to draw it on the template."
            )
        left, right = voxels.to_surface(np.asarray(values, dtype=float))
        return left[:FSAVERAGE5], right[:FSAVERAGE5]
    if check and not is_mni_like(geometry):
        raise SpaceMismatch(
            "the voxels do not lie on the template's cortex (a subject's own space), so they cannot be drawn on it; "
            "resample the data to MNI space or fsaverage for a surface map."
        )
    grid = np.full(geometry.shape, np.nan)
    grid[tuple(geometry.ijk.T)] = np.asarray(values, dtype=float)
    left, right = (sample_depths(grid, geometry.affine, hemi, depths) for hemi in load_fsaverage5())
    return left, right


def sample_depths(grid: np.ndarray, affine: np.ndarray, hemi: Hemisphere, depths: Sequence[float]) -> np.ndarray:
    """Mean over depths of the finite voxels nearest to each vertex's column, (n_vertices,)."""
    inverse = np.linalg.inv(affine)
    total, count = np.zeros(len(hemi.white)), np.zeros(len(hemi.white))
    for depth in depths:
        ijk = np.rint(hemi.at_depth(depth) @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
        inside = ((ijk >= 0) & (ijk < grid.shape)).all(axis=1)
        sample = np.full(len(ijk), np.nan)
        sample[inside] = grid[tuple(ijk[inside].T)]
        here = np.isfinite(sample)
        total[here] += sample[here]
        count[here] += 1
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
