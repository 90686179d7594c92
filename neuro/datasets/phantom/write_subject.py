"""The files of one phantom subject: anatomy, regions, maps, behaviour, betas in every space, and the truth."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._files import atomic_path, write_json
from neuro.data.reliability import ncsnr_from_repeats
from neuro.datasets.nsd.layout import SURFACES, VOLUMES
from neuro.datasets.phantom.atlases import ATLASES, INDIVIDUAL, label_numbers, template_numbers
from neuro.datasets.phantom.cortex import make_fine_grid
from neuro.datasets.phantom.design import behaviour
from neuro.datasets.phantom.files import (
    SCALE,
    save_hdf5_surface,
    save_hdf5_volume,
    save_mgh,
    save_nifti_betas,
    save_text,
    save_volume,
    to_int16,
)
from neuro.datasets.phantom.filters import FORMS, FREQUENCIES, HUES, ORIENTATIONS
from neuro.datasets.phantom.layout import CATEGORY
from neuro.datasets.phantom.maps import category_contrasts, receptive_field_maps
from neuro.datasets.phantom.mesh import N_VERTICES, SIDES
from neuro.datasets.phantom.pictures import Seen
from neuro.datasets.phantom.scene import CATEGORIES
from neuro.datasets.phantom.simulate import Subject
from neuro.datasets.phantom.subjects import PARTS, signals

_HEMI = {"L": "lh", "R": "rh"}
# Voxels of one block when ncsnr is computed.
_BLOCK = 512


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume space: its grid, and the brain voxel that each of its voxels shows."""

    shape: tuple[int, int, int]
    affine: np.ndarray
    ijk: np.ndarray
    source: np.ndarray

    def save(self, path: Path, values: np.ndarray, fill: float) -> None:
        """Write values of the brain's voxels."""
        if not path.is_file():
            save_volume(path, values[self.source], self.ijk, self.shape, self.affine, fill)


class SubjectWriter:
    """Writes one subject.

    Parameters
    ----------
    root : Path
    subject : Subject
    parameters : dict
        Of the phantom.
    table : DataFrame
        What is in each picture.
    seen : function without arguments
        Gives what voxels see of all pictures; called only when the signal is not on disk.
    """

    def __init__(
        self, root: Path, subject: Subject, parameters: dict[str, Any], table: pd.DataFrame, seen: Callable[[], Seen]
    ):
        self.root, self.subject, self.parameters, self.table, self.seen = root, subject, parameters, table, seen
        missing = [s for who, s in parameters["missing_sessions"] if who == subject.number]
        self.sessions = [s for s in range(1, subject.design.n_sessions + 1) if s not in missing]
        self.missing = tuple(missing)
        self.truth = root / f"truth/{subject.name}.npz"

    def write(self) -> float:
        """Write what is missing; return the largest share of values that were clipped in a session."""
        self._write_truth()
        self._write_behaviour()
        for atlas, names in ATLASES.items():
            lines = "".join(f"{k} {name}\n" for k, name in enumerate(["Unknown", *names]))
            save_text(self._labels / f"{atlas}.mgz.ctab", lines)
            if atlas not in INDIVIDUAL:
                save_text(self.root / f"nsddata/freesurfer/fsaverage/label/{atlas}.mgz.ctab", lines)
        for space, volume in self.volumes.items():
            self._write_volume(self.root / "nsddata/ppdata" / self.subject.name / space, volume)
        if "nativesurface" in self.parameters["spaces"]:
            self._write_native_labels()
        if "fsaverage" in self.parameters["spaces"]:
            self._write_template_labels()
        return max([0.0, *(self._write_betas(prep) for prep in self.parameters["preps"])])

    # What there is to write

    @cached_property
    def signal(self) -> np.ndarray:
        """Noiseless answers, float16 (n_images, n_responsive)."""
        if self.truth.is_file():
            with np.load(self.truth, allow_pickle=False) as file:
                return file["signal"]
        own = self.seen().take(self.subject.pictures)
        return signals(self.subject.tuning, own, self.subject.responsive)

    @cached_property
    def volumes(self) -> dict[str, Volume]:
        """The volume spaces asked for."""
        c = self.subject.cortex
        out = {}
        for space in VOLUMES:
            if space in self.parameters["spaces"]:
                fine = make_fine_grid(c) if space == "func1mm" else None
                everything = np.arange(len(c))
                grid = (c.shape, c.affine, c.ijk, everything)
                out[space] = Volume(*(grid if fine is None else (fine.shape, fine.affine, fine.ijk, fine.source)))
        return out

    @cached_property
    def native(self) -> dict[str, np.ndarray]:
        """The fsaverage5 vertex of every vertex of the person's own surface: most of them, in an order of its own."""
        rng = self.subject.rng(12)
        return {s: rng.permutation(N_VERTICES)[: int(N_VERTICES * rng.uniform(0.9, 0.98))] for s in SIDES}

    @cached_property
    def _maps(self) -> dict[str, np.ndarray]:
        maps = {**receptive_field_maps(self.subject), **category_contrasts(self.subject, self.signal, self.table)}
        return {k: v.astype(np.float32) for k, v in maps.items()}

    @property
    def _labels(self) -> Path:
        return self.root / "nsddata/freesurfer" / self.subject.name / "label"

    def _betas_folder(self, space: str, prep: str) -> Path:
        return self.root / "nsddata_betas/ppdata" / self.subject.name / space / f"betas_{prep}"

    def _vertices(self, space: str) -> dict[str, np.ndarray]:
        """The brain voxel of every vertex of a surface, -1 where the phantom has no data."""
        own = self.subject.cortex.vertices
        return own if space == "fsaverage" else {s: own[s][self.native[s]] for s in SIDES}

    # Everything but betas

    def _write_volume(self, here: Path, volume: Volume) -> None:
        """Write brain mask, mean, valid sessions, regions and localiser maps of one volume space."""
        s = self.subject
        c = s.cortex
        rng = s.rng(13)
        volume.save(here / "brainmask.nii.gz", np.ones(len(c), np.uint8), 0)
        mean = np.where(c.cortex, 1000, 1250) + 40 * rng.standard_normal(len(c))
        volume.save(here / "mean.nii.gz", mean.astype(np.float32), 0)
        for session in self.sessions:
            valid = (~s.invalid[session - 1]).astype(np.uint8)
            volume.save(here / f"valid_session{session:02d}.nii.gz", valid, 0)
        volume.save(here / "valid_prffloc.nii.gz", np.ones(len(c), np.uint8), 0)
        for name, values in self._maps.items():
            volume.save(here / f"{name}.nii.gz", values, np.nan)
        for atlas, numbers in label_numbers(c).items():
            volume.save(here / f"roi/{atlas}.nii.gz", numbers, -1)
            for side, prefix in _HEMI.items():
                half = np.where(c.hemi == side, numbers, -1).astype(np.int16)
                volume.save(here / f"roi/{prefix}.{atlas}.nii.gz", half, -1)

    def _write_native_labels(self) -> None:
        numbers = label_numbers(self.subject.cortex)
        for side, vertices in self._vertices("nativesurface").items():
            for atlas, values in numbers.items():
                on_mesh = np.where(vertices >= 0, np.maximum(values[vertices], 0), 0)
                self._save_mgh(self._labels / f"{_HEMI[side]}.{atlas}.mgz", on_mesh.astype(np.int32))
            for name, values in self._maps.items():
                on_mesh = np.where(vertices >= 0, values[vertices], np.nan).astype(np.float32)
                self._save_mgh(self._labels / f"{_HEMI[side]}.{name.replace('_', '')}.mgz", on_mesh)

    def _write_template_labels(self) -> None:
        folder = self.root / "nsddata/freesurfer/fsaverage/label"
        for side in SIDES:
            paths = {a: folder / f"{_HEMI[side]}.{a}.mgz" for a in ATLASES if a not in INDIVIDUAL}
            if not all(p.is_file() for p in paths.values()):
                for atlas, numbers in template_numbers(side).items():
                    self._save_mgh(paths[atlas], numbers.astype(np.int32))

    def _write_behaviour(self) -> None:
        path = self.root / "nsddata/ppdata" / self.subject.name / "behav/responses.tsv"
        if self.parameters["behaviour"] == "none" or path.is_file():
            return
        table = behaviour(self.subject.design, self.subject.number, self.subject.rng(14), self.missing)
        if self.parameters["behaviour"] == "reduced":
            table = table[["SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID"]]
        with atomic_path(path) as temporary:
            table.to_csv(temporary, sep="\t", index=False)

    def _save_mgh(self, path: Path, values: np.ndarray) -> None:
        if not path.is_file():
            save_mgh(path, values)

    # Betas

    def _write_betas(self, prep: str) -> float:
        """Write one preparation in all spaces, then the ncsnr of what was written; return the share clipped."""
        from tqdm.auto import tqdm

        stored, clipped = [], 0.0
        name = f"{self.subject.name} {prep}"
        for session in tqdm(self.sessions, name, unit=" sessions", disable=not sys.stderr.isatty()):
            betas, share = to_int16(self.subject.betas(self.signal, session, prep))
            clipped = max(clipped, share)
            stored.append(betas)
            self._write_session(prep, session, betas)
        if stored:
            self._write_ncsnr(prep, stored)
        return clipped

    def _write_session(self, prep: str, session: int, betas: np.ndarray) -> None:
        """Write one session in every space and format, the same rounded values in all."""
        name = f"betas_session{session:02d}"
        for space, v in self.volumes.items():
            folder = self._betas_folder(space, prep)
            columns = None if len(v.source) == betas.shape[1] else v.source
            inside = betas if columns is None else betas[:, columns]
            if "hdf5" in self.parameters["formats"] and not (path := folder / f"{name}.hdf5").is_file():
                save_hdf5_volume(path, inside, v.ijk, v.shape)
            if "nii.gz" in self.parameters["formats"] and not (path := folder / f"{name}.nii.gz").is_file():
                save_nifti_betas(path, inside, v.ijk, v.shape, v.affine)
        if "fsaverage" in self.parameters["spaces"]:
            psc = np.where(self.subject.invalid[session - 1], np.float32(np.nan), betas / np.float32(SCALE))
            for side, vertices in self._vertices("fsaverage").items():
                on_mesh = np.where(vertices[:, None] >= 0, psc.T[vertices], np.float32(np.nan))
                self._save_mgh(self._betas_folder("fsaverage", prep) / f"{_HEMI[side]}.{name}.mgh", on_mesh)
        if "nativesurface" in self.parameters["spaces"]:
            for side, vertices in self._vertices("nativesurface").items():
                path = self._betas_folder("nativesurface", prep) / f"{_HEMI[side]}.{name}.hdf5"
                if not path.is_file():
                    save_hdf5_surface(path, np.where(vertices >= 0, betas[:, vertices], np.int16(0)))

    def _write_ncsnr(self, prep: str, stored: list[np.ndarray]) -> None:
        """Write ncsnr by NSD's definition, of all complete pictures and of every second one, where there are any."""
        design = self.subject.design
        shown = np.concatenate([design.shown_rows(s) for s in self.sessions])
        complete = np.flatnonzero(np.bincount(shown) == self.parameters["repeats"])
        kinds = {"ncsnr": complete, "ncsnr_split1": complete[::2], "ncsnr_split2": complete[1::2]}
        if self.parameters["repeats"] < 2 or len(complete) < 2:
            return
        values = {name: np.empty(len(self.subject.cortex), np.float32) for name in kinds}
        for start in range(0, len(self.subject.cortex), _BLOCK):
            v = slice(start, start + _BLOCK)
            z = np.concatenate([_zscored(b[:, v]) for b in stored])
            for name, pictures in kinds.items():
                rows = np.isin(shown, pictures)
                values[name][v] = ncsnr_from_repeats(z[rows], shown[rows], min_repeats=self.parameters["repeats"])
        for space, volume in self.volumes.items():
            for name, x in values.items():
                volume.save(self._betas_folder(space, prep) / f"{name}.nii.gz", x, 0)
        for space in SURFACES:
            if space in self.parameters["spaces"]:
                folder = self._betas_folder(space, prep)
                more = {"nc_3trials": 100 * values["ncsnr"] ** 2 / (values["ncsnr"] ** 2 + 1 / 3)}
                for side, vertices in self._vertices(space).items():
                    for name, x in {**values, **(more if space == "nativesurface" else {})}.items():
                        on_mesh = np.where(vertices >= 0, x[vertices], np.nan).astype(np.float32)
                        self._save_mgh(folder / f"{_HEMI[side]}.{name}.mgh", on_mesh)

    # The truth

    def _write_truth(self) -> None:
        """Write what was planted, one row per brain voxel in canonical order, and the noiseless signal."""
        if self.truth.is_file():
            return
        s = self.subject
        c = s.cortex
        category = np.isin(c.region, list(CATEGORY)) & c.general
        best = np.array(CATEGORIES)[s.tuning.categories.argmax(1)]
        arrays: dict[str, Any] = {
            **{k: v.astype(np.float32) for k, v in s.tuning.to_arrays().items()},
            **{f"ncsnr_{p}": s.ncsnr(self.signal, p, self.sessions) for p in self.parameters["preps"]},
            "ncsnr": s.ncsnr(self.signal, "fithrf_GLMdenoise_RR", self.sessions),
            **{k: getattr(c, k) for k in ("ijk", "hemi", "region", "early", "middle", "stream", "general", "cortex")},
            "layout_angle": c.angle, "layout_eccentricity": c.eccentricity, "affine": c.affine,
            "shape": np.array(c.shape), "preference": np.where(category, best, ""),
            "gain": s.gain.astype(np.float32), "offset": s.offset.astype(np.float32), "invalid": s.invalid,
            "stimulus": s.pictures, "signal": self.signal,
        }  # fmt: skip
        for side, vertices in c.vertices.items():
            arrays[f"fsaverage5_{_HEMI[side]}"] = vertices
        if "nativesurface" in self.parameters["spaces"]:
            arrays |= {f"native_{_HEMI[side]}": vertices for side, vertices in self.native.items()}
        regions, counts = np.unique(c.region[c.general], return_counts=True)
        about = {
            "subject": s.name, "voxels": len(c), "nsdgeneral": int(c.general.sum()), "grid": c.shape,
            "regions": dict(zip(regions.tolist(), counts.tolist(), strict=True)),
            "median_ncsnr_nsdgeneral": float(np.median(arrays["ncsnr"][c.general])),
            "columns": {
                "filters": [f"{o:g} deg, {f:g} cpd" for o in ORIENTATIONS for f in FREQUENCIES],
                "forms": FORMS, "hues": HUES, "categories": CATEGORIES, "mixture": PARTS,
            },
        }  # fmt: skip
        write_json(self.truth.with_suffix(".json"), about)
        with atomic_path(self.truth) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)


def _zscored(betas: np.ndarray) -> np.ndarray:
    """One session's int16 betas over their s.d. (ddof 1); NaN where that is 0."""
    sd = betas.std(0, ddof=1, dtype=np.float64)
    return (betas - betas.mean(0, dtype=np.float64)) / np.where(sd > 0, sd, np.nan)
