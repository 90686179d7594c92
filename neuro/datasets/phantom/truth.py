"""What was planted in a phantom."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neuro.datasets.nsd.layout import subject_name
from neuro.errors import DataNotDownloaded


def load_truth(root: str | Path, subject: int | str) -> dict[str, np.ndarray]:
    """Return the truth of one subject of a phantom.

    Parameters
    ----------
    root : path
        The phantom's folder.
    subject : int or "subj01"

    Returns
    -------
    dict of arrays
        Over brain voxels in canonical order, that of ``argwhere(brainmask)``, (n,) or (n, k):

        ``x y size exponent``
            Receptive field in degrees of visual angle, x rightward, y upward; exponent of summation.
        ``orientation frequency hue``
            Preferences: degrees, cycles per degree, degrees.
        ``filters forms hues categories mixture``
            Weights; the columns are named in ``truth/subjXX.json``.
        ``ncsnr``
            What NSD's definition converges to for the b3 betas and the trials that were run; ``ncsnr_<prep>`` for the
            preparations written. ``snr``: the same before chance decided which pictures a session shows.
        ``noise_sd baseline``
            Percent signal change; ``gain offset`` (n_sessions, n) are what changes between sessions.
        ``ijk hemi region early middle stream general cortex preference``
            Where a voxel is; preference is the category it answers to most, in category regions.
        ``layout_angle layout_eccentricity``
            Position in the visual field that the layout gives, before scatter.
        ``invalid``
            (n_sessions, n) bool: out of the field of view.

        Besides: ``stimulus`` (n_images,), the subject's pictures; ``signal`` (n_images, voxels of ``general``) float16,
        the noiseless answers, mean 0 and s.d. 1 over pictures; ``shape affine``; ``fsaverage5_lh fsaverage5_rh``, the
        voxel of each vertex (-1: none); ``native_lh native_rh``, the fsaverage5 vertex of each native one.

    Raises
    ------
    DataNotDownloaded
        If there is no truth for this subject.
    """
    name = subject_name(subject)
    path = Path(root) / "truth" / f"{name}.npz"
    if not path.is_file():
        raise DataNotDownloaded(f"no truth for {name} in {root}: is this a phantom that was written completely?")
    with np.load(path, allow_pickle=False) as file:
        return {k: file[k] for k in file.files}
