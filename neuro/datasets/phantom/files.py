"""The file formats of NSD, written atomically.

int16 betas hold 300 times the % signal change, clipped to +-32767; 0 where there is no data. Surface betas in .mgh
are % signal change in float32; NaN where there is no data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neuro._files import atomic_path

SCALE = 300
LIMIT = 32767


def to_int16(psc: np.ndarray) -> tuple[np.ndarray, float]:
    """Scale and round betas, NaN to 0; also return the share that had to be clipped."""
    scaled = np.round(np.nan_to_num(psc) * np.float32(SCALE))
    clipped = np.abs(scaled) > LIMIT
    return np.clip(scaled, -LIMIT, LIMIT).astype(np.int16), float(clipped.mean())


def save_hdf5_volume(path: Path, betas: np.ndarray, ijk: np.ndarray, shape: tuple[int, int, int]) -> None:
    """Write int16 betas (n_trials, n_voxels) as ``betas`` (n_trials, Z, Y, X), one chunk per voxel, uncompressed.

    Chunks of voxels outside the brain are not stored; they read as 0.
    """
    import h5py

    x, y, z = shape
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        data = file.create_dataset("betas", (len(betas), z, y, x), np.int16, chunks=(len(betas), 1, 1, 1))
        columns = np.ascontiguousarray(betas.T, dtype=data.dtype)
        # In file order, whole chunks at once: many times faster than assignment by slices.
        for voxel in np.lexsort(ijk.T):
            i, j, k = (int(c) for c in ijk[voxel])
            data.id.write_direct_chunk((0, k, j, i), columns[voxel].tobytes())


def save_nifti_betas(
    path: Path, betas: np.ndarray, ijk: np.ndarray, shape: tuple[int, int, int], affine: np.ndarray
) -> None:
    """Write int16 betas (n_trials, n_voxels) as (X, Y, Z, n_trials) NIfTI, without header scaling."""
    full = np.zeros((*shape, len(betas)), np.int16)
    full[tuple(ijk.T)] = betas.T
    _save_nifti(path, full, affine)


def save_hdf5_surface(path: Path, betas: np.ndarray) -> None:
    """Write int16 betas (n_trials, n_vertices) of one hemisphere."""
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("betas", data=betas.astype(np.int16))


def save_volume(
    path: Path, values: np.ndarray, ijk: np.ndarray, shape: tuple[int, int, int], affine: np.ndarray, fill: float
) -> None:
    """Write one value per voxel as a NIfTI volume in the dtype of ``values``, ``fill`` elsewhere."""
    full = np.full(shape, fill, values.dtype)
    full[tuple(ijk.T)] = values
    _save_nifti(path, full, affine)


def save_mgh(path: Path, values: np.ndarray) -> None:
    """Write values (n_vertices,) or (n_vertices, n_frames) as .mgh or .mgz, (n_vertices, 1, 1[, n_frames])."""
    import nibabel as nib

    shape = (len(values), 1, 1, *values.shape[1:])
    image = nib.MGHImage(np.ascontiguousarray(values).reshape(shape), np.eye(4, dtype=np.float32))
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def save_text(path: Path, text: str) -> None:
    """Write a small text file."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _save_nifti(path: Path, full: np.ndarray, affine: np.ndarray) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(full, affine)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        # nibabel goes by the last two suffixes, the temporary name has only the last one.
        whole = temporary.with_name(temporary.name.removesuffix(".gz") + ".nii.gz")
        try:
            nib.save(image, whole)
            whole.replace(temporary)
        finally:
            whole.unlink(missing_ok=True)
