"""Write a phantom: a tree that any reader of the Natural Scenes Dataset takes for it, and the truth beside it.

Every file is written under another name and renamed, and is left alone where it stands already, so an interrupted
phantom goes on where it stopped. The same seed gives the same arrays; on another processor, matrix products may differ
in the last bit and move a few betas by one step of 1/300 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd

from neuro._check import check_option, check_positive_int
from neuro._files import atomic_path, read_json, write_json
from neuro.datasets.nsd.layout import PHANTOM_MARKER, SPACES, prep_name
from neuro.datasets.phantom.cortex import GRIDS
from neuro.datasets.phantom.design import Design, expdesign, fit_session, picture_table
from neuro.datasets.phantom.pictures import Pictures, Seen
from neuro.datasets.phantom.simulate import PREPS, subject_of
from neuro.datasets.phantom.write_subject import SubjectWriter
from neuro.errors import StoreError

# Raise when the same parameters come to give other files.
_VERSION = 2


def write_phantom(
    root: str | Path,
    n_subjects: int = 4,
    n_sessions: int = 4,
    n_images: int = 1000,
    size: int = 96,
    seed: int = 0,
    *,
    kind: str = "nsd",
    trials_per_session: int | None = None,
    repeats: int = 3,
    grid: str = "standard",
    spaces: Sequence[str] = ("func1pt8mm",),
    surface: bool = False,
    preps: Sequence[str] = ("fithrf_GLMdenoise_RR",),
    formats: Sequence[str] = ("hdf5",),
    snr: float = 1.0,
    missing_sessions: Sequence[tuple[int, int]] = (),
    invalid_voxels: int = 0,
    behaviour: str = "full",
    shared_png: bool = False,
    n_jobs: int | None = -1,
) -> Path:
    """Write a phantom of the Natural Scenes Dataset with known truth.

    Parameters
    ----------
    root : path
        Folder to write; the truth goes to ``root/truth`` (see :func:`neuro.datasets.phantom.load_truth`).
    n_subjects : int, 1 to 8
    n_sessions : int
    n_images : int
        Pictures per subject; a tenth of them are shared by all subjects.
    size : int, at least 32
        Pixels on a side.
    seed : int
        Of everything; two phantoms of different seeds share nothing.
    kind : "nsd"
        Whose files to write.
    trials_per_session : int, optional
        By default NSD's 750, or fewer if ``repeats`` of every picture do not fill that many.
    repeats : int, 1 to 3
        Planned trials of every picture, in random order over the whole experiment. Those that do not fit into the
        sessions are not run, so some pictures are then seen less often, as by NSD subjects with missing sessions.
    grid : "standard" (5 mm voxels, some 1,650 in nsdgeneral) or "small" (8 mm, some 500)
    spaces : sequence of "func1pt8mm", "func1mm", "fsaverage", "nativesurface"
        All from the same betas. func1mm has 1.8 times finer voxels that show the coarse ones; fsaverage stands at the
        resolution of fsaverage5; nativesurface has no mesh files, only vertices.
    surface : bool
        Short for adding "fsaverage" to ``spaces``.
    preps : sequence of "assumehrf", "fithrf", "fithrf_GLMdenoise_RR" (or "b1", "b2", "b3")
        Preparations of betas to write; the simpler ones keep more noise.
    formats : sequence of "hdf5", "nii.gz"
        Of the volumes' betas.
    snr : float, >= 0
        Multiplies every planted ncsnr.
    missing_sessions : sequence of (subject, session)
        Sessions that were "not recorded": their files and trials are left out.
    invalid_voxels : int
        Voxels per subject that fell out of the field of view in one session (0 in all its trials, NaN on fsaverage).
    behaviour : "full", "reduced" or "none"
        All columns of ``responses.tsv``, only those that name the trials, or no file.
    shared_png : bool
        Also write the shared pictures as PNG.
    n_jobs : int
        Processes for rendering, as in joblib; the result does not depend on it.

    Returns
    -------
    Path
        ``root``

    Raises
    ------
    StoreError
        If ``root`` holds something else, or a phantom of other parameters.
    ValueError
        If more trials are asked for than are planned, or an option is none of those above.

    Examples
    --------
    >>> write_phantom("phantom", n_subjects=2, n_sessions=3, n_images=750)  # doctest: +SKIP
    """
    root = Path(root)
    check_option("kind", kind, ["nsd"])
    for name, value in (("n_subjects", n_subjects), ("n_sessions", n_sessions), ("n_images", n_images)):
        check_positive_int(name, value)
    check_positive_int("size", size, 32)
    check_positive_int("seed", seed, 0)
    check_positive_int("invalid_voxels", invalid_voxels, 0)
    check_option("behaviour", behaviour, ["full", "reduced", "none"])
    check_option("grid", grid, GRIDS)
    if n_subjects > 8:
        raise ValueError(f"NSD's tables have room for 8 subjects, got n_subjects={n_subjects}.")
    if not snr >= 0:
        raise ValueError(f"snr must be at least 0, got {snr!r}.")
    for subject, session in missing_sessions:
        if not (1 <= subject <= n_subjects and 1 <= session <= n_sessions):
            raise ValueError(f"missing_sessions names session {session} of subject {subject}, which is not planned.")
    if trials_per_session is None:
        trials_per_session = fit_session(n_images, n_sessions, repeats)
    parameters = {
        "version": _VERSION, "kind": kind, "n_subjects": int(n_subjects), "n_sessions": int(n_sessions),
        "n_images": int(n_images), "size": int(size), "seed": int(seed),
        "trials_per_session": check_positive_int("trials_per_session", trials_per_session),
        "repeats": check_positive_int("repeats", repeats), "grid": grid,
        "spaces": _listed("spaces", spaces, SPACES, ["fsaverage"] if surface else []),
        "preps": _listed("preps", [prep_name(p) for p in preps] if not isinstance(preps, str) else preps, list(PREPS)),
        "formats": _listed("formats", formats, ["hdf5", "nii.gz"]), "snr": float(snr),
        "missing_sessions": sorted([int(a), int(b)] for a, b in missing_sessions),
        "invalid_voxels": int(invalid_voxels), "behaviour": behaviour, "shared_png": bool(shared_png),
    }  # fmt: skip
    design = Design.of(parameters)
    if _is_done(root, parameters):
        return root
    return _Writer(root, parameters, design, n_jobs).write()


def _listed(name: str, values: Sequence[str], allowed: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    if isinstance(values, str) or not len(values):
        raise ValueError(f"{name} must be a list of {', '.join(allowed)}, got {values!r}.")
    values = [*values, *more]
    return list(dict.fromkeys(check_option(name, v, allowed) for v in values))


def _is_done(root: Path, parameters: dict[str, Any]) -> bool:
    """Whether the same phantom stands; refuse a folder that holds anything else, claim an empty one."""
    marker = root / PHANTOM_MARKER
    if marker.is_file():
        found = read_json(marker)
        if found["parameters"] != parameters:
            known = found["parameters"]
            differ = [k for k in {**known, **parameters} if known.get(k) != parameters.get(k)]
            raise StoreError(
                f"{root} holds a phantom with other {', '.join(differ)}. Choose another folder, or remove it."
            )
        return bool(found["complete"])
    if root.is_dir() and any(root.iterdir()):
        raise StoreError(f"{root} is not empty and holds no phantom. Choose another folder.")
    write_json(marker, {"complete": False, "parameters": parameters})
    return False


class _Writer:
    """All files of one phantom."""

    def __init__(self, root: Path, parameters: dict[str, Any], design: Design, n_jobs: int | None):
        self.root, self.parameters, self.design = root, parameters, design
        self.pictures = Pictures(root, design.n_pictures, parameters["size"], parameters["seed"], n_jobs)
        self.info = picture_table(design)

    @cached_property
    def seen(self) -> Seen:
        """What voxels see of all pictures; renders them if that was not done."""
        return self.pictures.look() if self.pictures.is_written else self.pictures.write(self.info)

    def write(self) -> Path:
        """Write what is missing, and say at last that all is there."""
        self._write_experiment()
        if not self.pictures.is_written:
            self.seen  # noqa: B018
        if self.parameters["shared_png"]:
            self.pictures.write_shared(self.design.sharedix)
        table = pd.read_csv(self.pictures.table, sep="\t")
        clipped = {}
        for number in range(1, self.parameters["n_subjects"] + 1):
            subject = subject_of(self.parameters, self.design, number)
            writer = SubjectWriter(self.root, subject, self.parameters, table, partial(getattr, self, "seen"))
            clipped[subject.name] = writer.write()
        marker = {"complete": True, "parameters": self.parameters, "clipped_share": clipped}
        write_json(self.root / PHANTOM_MARKER, marker)
        return self.root

    def _write_experiment(self) -> None:
        import scipy.io

        experiment = self.root / "nsddata/experiments/nsd"
        with atomic_path(experiment / "nsd_expdesign.mat") as temporary:
            scipy.io.savemat(temporary, expdesign(self.design))
        with atomic_path(experiment / "nsd_stim_info_merged.csv") as temporary:
            self.info.to_csv(temporary)
