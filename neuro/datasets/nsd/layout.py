"""Where every file of the data set stands, and the names of its subjects, spaces and betas.

Paths are those of the public bucket, so a tree synchronised from it opens as it is. No file is opened here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuro.errors import DataNotDownloaded, SpaceMismatch, UnknownPrep, nearest

BUCKET = "natural-scenes-dataset"
VOLUMES = ("func1pt8mm", "func1mm")
SURFACES = ("fsaverage", "nativesurface")
SPACES = (*VOLUMES, *SURFACES)

# What each preparation of betas is right for stands in the docstring of NSD.responses.
PREPS = {
    "assumehrf": "one canonical response shape",
    "fithrf": "response shape picked per voxel",
    "fithrf_GLMdenoise_RR": "shape per voxel, data-driven noise regressors, ridge",
}
ALIASES = {"b1": "assumehrf", "b2": "fithrf", "b3": "fithrf_GLMdenoise_RR"}

# A phantom's writer leaves this file beside the imitated layout; nothing else is read from it.
PHANTOM_MARKER = "neuro_phantom.json"


def prep_name(betas: str) -> str:
    """Return the full name of a preparation of betas.

    >>> prep_name("b3"), prep_name("betas_fithrf")
    ('fithrf_GLMdenoise_RR', 'fithrf')
    """
    name = ALIASES.get(str(betas), str(betas).removeprefix("betas_"))
    if name not in PREPS:
        known = [*PREPS, *ALIASES]
        raise UnknownPrep(f"no betas {betas!r}{nearest(betas, known)} Betas: {', '.join(known)}.")
    return name


def check_space(space: str) -> str:
    """Return ``space`` if NSD has betas in it."""
    if space not in SPACES:
        raise SpaceMismatch(f"space must be one of {', '.join(SPACES)}, got {space!r}{nearest(space, SPACES)}")
    return space


def subject_number(subject: Any) -> int:
    """Return the number of a subject given as 1, "1", "01" or "subj01".

    >>> subject_number("subj03")
    3
    """
    match = re.fullmatch(r"(?:subj|sub-)?0*(\d+)", str(subject))
    if match is None or isinstance(subject, (bool, float)) or int(match[1]) < 1:
        raise DataNotDownloaded(f"a subject is a number from 1 or a name like 'subj01', got {subject!r}.")
    return int(match[1])


def subject_name(subject: Any) -> str:
    """Return a subject's folder name.

    >>> subject_name(1)
    'subj01'
    """
    return f"subj{subject_number(subject):02d}"


@dataclass(frozen=True)
class Session:
    """The beta files of one session: one for a volume, left and right for a surface."""

    number: int
    paths: tuple[Path, ...]

    @property
    def format(self) -> str:
        """One of hdf5, nii.gz, nii, mgh."""
        return _suffix(self.paths[0])

    def token(self) -> list[Any]:
        """Names, sizes and times of the files: equal token, unchanged file."""
        return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in self.paths]


@dataclass(frozen=True)
class Layout:
    """Paths under one root."""

    root: Path

    @classmethod
    def open(cls, root: str | Path) -> Layout:
        """Check that ``root`` looks like an NSD tree."""
        root = Path(root).expanduser().absolute()
        folders = ("nsddata", "nsddata_betas", "nsddata_stimuli")
        if not root.is_dir():
            raise DataNotDownloaded(f"no folder {root}. Give the folder that holds {', '.join(folders)}.")
        if not any((root / f).is_dir() for f in folders):
            hint = f" Did you mean its parent, {root.parent}?" if root.name in folders else ""
            raise DataNotDownloaded(f"{root} holds none of {', '.join(folders)}, so it is no NSD tree.{hint}")
        return cls(root)

    # Folders

    @property
    def experiment(self) -> Path:
        """Design and picture table."""
        return self.root / "nsddata/experiments/nsd"

    def subject_data(self, subject: int) -> Path:
        """Everything of a person but betas."""
        return self.root / "nsddata/ppdata" / subject_name(subject)

    def space_data(self, subject: int, space: str) -> Path:
        """Masks, maps and regions of a person in a volume space."""
        return self.subject_data(subject) / space

    def labels(self, subject: int, space: str) -> Path:
        """Surface labels and label tables."""
        person = "fsaverage" if space == "fsaverage" else subject_name(subject)
        return self.root / "nsddata/freesurfer" / person / "label"

    def betas(self, subject: int, space: str, prep: str) -> Path:
        """Folder of one preparation of betas."""
        return self.root / "nsddata_betas/ppdata" / subject_name(subject) / space / f"betas_{prep}"

    def stimuli(self) -> list[Path]:
        """Folders in which the pictures have been published."""
        return [self.root / "nsddata_stimuli/stimuli/nsd", self.root / "nsddata/stimuli/nsd"]

    def annotations(self) -> list[Path]:
        """Folders in which COCO annotations may lie."""
        return [f / "annotations" for f in (*self.stimuli(), self.root / "nsddata_stimuli", self.root)]

    def label_tables(self, subject: int, space: str, atlas: str) -> list[Path]:
        """Where the names of an atlas' numbers may stand, best first."""
        own, group = self.labels(subject, "nativesurface"), self.labels(subject, "fsaverage")
        first = [group, own] if space == "fsaverage" else [own, group]
        return [
            *(f / f"{atlas}.mgz.ctab" for f in first),
            *(f / f"{atlas}.ctab" for f in (*first, self.root / "nsddata/templates")),
        ]

    # What is there

    def subjects(self) -> list[int]:
        """Numbers of the people of whom there is any folder."""
        found: set[int] = set()
        for parent in ("nsddata/ppdata", "nsddata_betas/ppdata"):
            folder = self.root / parent
            if folder.is_dir():
                names = [p.name for p in folder.iterdir() if p.is_dir() and re.fullmatch(r"subj\d\d", p.name)]
                found.update(int(n[4:]) for n in names)
        return sorted(found)

    def sessions(self, subject: int, space: str, prep: str, format: str | None = None) -> dict[int, Session]:
        """Sessions whose beta files are all there, by number; HDF5 where both formats are."""
        folder = self.betas(subject, space, prep)
        names = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
        suffixes = ["mgh", "hdf5"] if space in SURFACES else ["hdf5", "nii.gz", "nii"]
        if format is not None:
            if format not in suffixes:
                raise SpaceMismatch(f"betas in {space} come as {' or '.join(suffixes)}, got format={format!r}.")
            suffixes = [format]
        found: dict[int, Session] = {}
        numbers = {int(m[1]) for n in names if (m := re.search(r"betas_session(\d\d)\.", n))}
        for number in sorted(numbers):
            for suffix in suffixes:
                wanted = beta_names(space, number, suffix)
                if names.issuperset(wanted):
                    found[number] = Session(number, tuple(folder / n for n in wanted))
                    break
        return found

    def key(self, path: Path) -> str:
        """Return a path as the bucket names it."""
        return path.relative_to(self.root).as_posix()

    def need(self, paths: Path | Iterable[Path], what: str) -> Path:
        """Return the first of ``paths`` that exists, or say how to get the file."""
        paths = [paths] if isinstance(paths, Path) else list(paths)
        for path in paths:
            if path.is_file():
                return path
        raise DataNotDownloaded(f"{what} needs {paths[0]}, which is not there. {how_to_get(self.key(paths[0]))}")


def beta_names(space: str, session: int, suffix: str) -> list[str]:
    """Return the file names of one session's betas."""
    sides = ("lh.", "rh.") if space in SURFACES else ("",)
    return [f"{side}betas_session{session:02d}.{suffix}" for side in sides]


def how_to_get(key: str) -> str:
    """Return one line on how to fetch a key of the bucket."""
    return (
        f"Get it, after accepting the NSD Data Access Agreement, with: aws s3 cp --no-sign-request s3://{BUCKET}/{key} "
        "(or neuro.datasets.nsd.download)."
    )


def _suffix(path: Path) -> str:
    return "nii.gz" if path.name.endswith(".nii.gz") else path.suffix.lstrip(".")
