"""Maps of a study as files that other programs open: NIfTI volumes and GIFTI surfaces under BIDS names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from neuro._files import atomic_path, write_json
from neuro.data import Volume, Voxels


def write_maps(folder: Path, subject: str, voxels: Voxels, maps: dict[str, np.ndarray], space: str) -> list[str]:
    """Write each map (n_voxels,) and return the file names; nothing where the voxels have no geometry.

    Parameters
    ----------
    folder : path
    subject : str
    voxels : Voxels
    maps : dict description -> values
        The description becomes the ``desc-`` entity.
    space : str
        The ``space-`` entity.
    """
    if voxels.geometry is None:
        return []
    import nibabel as nib

    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for description, values in maps.items():
        stem = f"sub-{_entity(subject.removeprefix('subj'))}"
        tail = f"space-{_entity(space)}_desc-{_entity(description)}"
        values = np.asarray(values, dtype=np.float32)
        if isinstance(voxels.geometry, Volume):
            files = [(f"{stem}_{tail}_statmap.nii.gz", voxels.to_nifti(values))]
        else:
            sides = voxels.to_gifti(values)
            files = [(f"{stem}_hemi-{h}_{tail}_statmap.func.gii", g) for h, g in zip("LR", sides, strict=True)]
        for name, image in files:
            with atomic_path(folder / name) as temporary:
                # nibabel chooses the format by suffix, and the temporary name ends like the final one.
                target = temporary.with_name(temporary.name + name[name.index("_statmap") :])
                nib.save(image, target)
                target.replace(temporary)
            names.append(name)
    return names


def describe_derivative(folder: Path, name: str, version: str) -> None:
    """Write the ``dataset_description.json`` that makes ``folder`` a BIDS derivative."""
    generated = [{"Name": "neuro", "Version": version}]
    description = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": "derivative", "GeneratedBy": generated}
    write_json(folder / "dataset_description.json", description)


def _entity(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text) or "x"
