"""What was planted in a phantom."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
    dict of arrays over grey voxels in canonical order (n,): ``x y size`` (degrees), ``orientation frequency``,
    ``filters categories mixture`` (weights), ``ncsnr noise_sd baseline``, ``ijk hemi region preference general``; and
    ``stimulus`` (n_images,) with ``signal`` (n_images, voxels of ``general``), the noiseless answers
    """
    name = subject if isinstance(subject, str) else f"subj{int(subject):02d}"
    path = Path(root) / "truth" / f"{name}.npz"
    if not path.is_file():
        raise DataNotDownloaded(f"no truth for {name} in {root}: is this a phantom that was written completely?")
    with np.load(path, allow_pickle=False) as file:
        return {k: file[k] for k in file.files}
