"""Write a phantom: a tree that any reader of the Natural Scenes Dataset takes for it, and the truth beside it.

Every file is written under another name and renamed, and is skipped where it stands already, so an interrupted phantom
goes on where it stopped. The same seed gives the same arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuro._check import check_option, check_positive_int
from neuro._files import atomic_path, read_json, write_json
from neuro.data.reliability import ncsnr_from_repeats
from neuro.datasets.nsd.layout import PHANTOM_MARKER
from neuro.datasets.phantom.cortex import Cortex, label_volumes, make_cortex
from neuro.datasets.phantom.design import Design, behaviour, expdesign, make_design, picture_table
from neuro.datasets.phantom.pictures import Seen, write_pictures
from neuro.datasets.phantom.subjects import PREFERENCE, Tuning, plant, signals
from neuro.errors import StoreError

SCALE = 300
# Betas of the simpler preparations are noisier.
PREPS = {"assumehrf": 1.5, "fithrf": 1.2, "fithrf_GLMdenoise_RR": 1.0}
_VERSION = 1
_FLOC = {"faces": 0, "bodies": 1, "animals": 2, "places": 3, "food": 4, "words": 5}


def write_phantom(
    root: str | Path,
    n_subjects: int = 4,
    n_sessions: int = 4,
    n_images: int = 1000,
    size: int = 96,
    seed: int = 0,
    *,
    trials_per_session: int = 750,
    grid: str = "standard",
    preps: Sequence[str] = ("fithrf_GLMdenoise_RR",),
    surface: bool = False,
    snr: float = 1.0,
    missing_sessions: Sequence[tuple[int, int]] = (),
    invalid_voxels: int = 0,
    n_jobs: int = -1,
) -> Path:
    """Write a phantom of the Natural Scenes Dataset with known truth.

    Parameters
    ----------
    root : path
        Folder to write; the truth goes to ``root/truth``.
    n_subjects : int, 1 to 8
    n_sessions, trials_per_session : int
        At most three trials of every picture are run.
    n_images : int
        Pictures per subject; a tenth of them (the first of its plan) are shared by all subjects.
    size : int
        Pixels on a side.
    seed : int
    grid : "standard" (4 mm voxels) or "small" (8 mm)
    preps : sequence of "assumehrf", "fithrf", "fithrf_GLMdenoise_RR"
        Preparations of betas to write; the simpler ones are noisier.
    surface : bool
        Also write fsaverage files, at the resolution of fsaverage5 (10,242 vertices a side).
    snr : float
        Multiplies every planted ncsnr.
    missing_sessions : sequence of (subject, session)
        Sessions that were "not recorded": their files are left out.
    invalid_voxels : int
        Voxels per subject that fell out of the field of view in one session (0 in all its trials).
    n_jobs : int
        Processes for rendering, as in joblib.

    Returns
    -------
    Path
        ``root``

    Raises
    ------
    StoreError
        If ``root`` holds something else.
    ValueError
        If more trials are asked for than three of every picture.
    """
    root = Path(root)
    for name, value in (("n_subjects", n_subjects), ("n_sessions", n_sessions), ("n_images", n_images)):
        check_positive_int(name, value)
    check_positive_int("size", size, 32)
    if n_subjects > 8:
        raise ValueError(f"NSD's tables have room for 8 subjects, got n_subjects={n_subjects}.")
    for prep in preps:
        check_option("preps", prep, PREPS)
    rng = np.random.default_rng([seed, 0])
    design = make_design(n_subjects, n_images, n_sessions, trials_per_session, rng)
    parameters = {
        "version": _VERSION, "n_subjects": n_subjects, "n_sessions": n_sessions, "n_images": n_images, "size": size,
        "seed": seed, "trials_per_session": trials_per_session, "grid": grid, "preps": list(preps),
        "surface": surface, "snr": snr, "missing_sessions": [list(m) for m in missing_sessions],
        "invalid_voxels": invalid_voxels,
    }  # fmt: skip
    if _is_done(root, parameters):
        return root
    seen = _write_experiment(root, design, size, seed, n_jobs)
    clipped = {}
    for subject in range(1, n_subjects + 1):
        missing = {s for who, s in missing_sessions if who == subject}
        writer = _Subject(root, subject, design, seed, grid, snr, missing, invalid_voxels)
        clipped[f"subj{subject:02d}"] = writer.write(seen, list(preps), surface)
    write_json(root / PHANTOM_MARKER, {"complete": True, "parameters": parameters, "clipped_share": clipped})
    return root


def _is_done(root: Path, parameters: dict[str, Any]) -> bool:
    """Whether the same phantom stands; refuse a folder that holds anything else, claim an empty one."""
    marker = root / PHANTOM_MARKER
    if marker.is_file():
        found = read_json(marker)
        if found["parameters"] != parameters:
            differ = [k for k in parameters if found["parameters"].get(k) != parameters[k]]
            raise StoreError(f"{root} holds a phantom with other {', '.join(differ)}. Choose another folder.")
        return bool(found["complete"])
    if root.is_dir() and any(root.iterdir()):
        raise StoreError(f"{root} is not empty and holds no phantom. Choose another folder.")
    write_json(marker, {"complete": False, "parameters": parameters})
    return False


def _write_experiment(root: Path, design: Design, size: int, seed: int, n_jobs: int) -> Seen:
    import scipy.io

    experiment = root / "nsddata/experiments/nsd"
    table = picture_table(design)
    with atomic_path(experiment / "nsd_expdesign.mat") as temporary:
        scipy.io.savemat(temporary, expdesign(design))
    with atomic_path(experiment / "nsd_stim_info_merged.csv") as temporary:
        table.to_csv(temporary)
    brick = root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    kept = root / "truth/pictures.npz"
    if brick.is_file() and kept.is_file():
        with np.load(kept, allow_pickle=False) as file:
            return Seen(file["energy"], file["colour"], file["shown"])
    captions = root / "nsddata_stimuli/stimuli/nsd/annotations"
    seen = write_pictures(brick, captions, design.n_pictures, size, seed, n_jobs, table)
    with atomic_path(kept) as temporary:
        np.savez(temporary, energy=seen.energy.astype(np.float16), colour=seen.colour, shown=seen.shown)
    # Read back, so that an interrupted phantom and an uninterrupted one see the same rounded numbers.
    with np.load(kept, allow_pickle=False) as file:
        return Seen(file["energy"], file["colour"], file["shown"])


class _Subject:
    """One subject's files."""

    def __init__(
        self,
        root: Path,
        subject: int,
        design: Design,
        seed: int,
        grid: str,
        snr: float,
        missing: set[int],
        invalid_voxels: int,
    ):
        self.root, self.subject, self.design, self.seed, self.missing = root, subject, design, seed, missing
        self.name = f"subj{subject:02d}"
        rng = np.random.default_rng([seed, subject, 1])
        self.cortex: Cortex = make_cortex(rng, grid)
        self.tuning: Tuning = plant(self.cortex, rng, snr)
        self.rng = rng
        n = len(self.cortex.ijk)
        self.gain = rng.lognormal(0, 0.25, (design.n_sessions, n))
        self.offset = rng.normal(0, 1.0, (design.n_sessions, n))
        # (session, voxel) pairs outside the field of view.
        out = rng.permutation(np.flatnonzero(self.cortex.general))[:invalid_voxels]
        self.invalid = list(zip(rng.integers(0, design.n_sessions, len(out)), out, strict=True))

    def write(self, seen: Seen, preps: list[str], surface: bool) -> float:
        """Write everything and return the share of values that were clipped to int16."""
        own = self.design.subjectim[self.subject - 1] - 1
        part = seen.take(own)
        signal = signals(self.tuning, part.energy.astype(np.float32), part.colour, part.shown)
        trials = self.design.masterordering[: self.design.n_sessions * self.design.trials_per_session] - 1
        self._write_truth(signal, own)
        self._write_anatomy()
        with atomic_path(self._data("behav/responses.tsv")) as temporary:
            table = behaviour(self.design, self.subject, np.random.default_rng([self.seed, self.subject, 2]))
            table.to_csv(temporary, sep="\t", index=False)
        return max(self._write_betas(prep, signal[trials], trials, surface) for prep in preps)

    def _data(self, name: str) -> Path:
        return self.root / "nsddata/ppdata" / self.name / name

    def _write_betas(self, prep: str, signal: np.ndarray, trials: np.ndarray, surface: bool) -> float:
        """Simulate and write the betas of all sessions, then the ncsnr computed from what was written."""
        from tqdm.auto import tqdm

        t, d = self.tuning, self.design
        folder = self.root / f"nsddata_betas/ppdata/{self.name}/func1pt8mm/betas_{prep}"
        noise_sd = t.noise_sd * PREPS[prep]
        values, clipped = [], 0.0
        recorded = [s for s in range(d.n_sessions) if s + 1 not in self.missing]
        for s in tqdm(recorded, f"{self.name} {prep}", unit="session"):
            rng = np.random.default_rng([self.seed, self.subject, 3, s, list(PREPS).index(prep)])
            rows = slice(s * d.trials_per_session, (s + 1) * d.trials_per_session)
            noise = rng.standard_normal((d.trials_per_session, len(t.x)), dtype=np.float32)
            psc = (signal[rows] * t.ncsnr + noise) * t.noise_sd
            if prep != "fithrf_GLMdenoise_RR":
                psc = signal[rows] * (t.ncsnr * t.noise_sd) + noise * noise_sd
            psc = t.baseline + self.offset[s] + self.gain[s] * psc
            scaled = np.round(psc * SCALE)
            clipped += float((np.abs(scaled) > 32767).mean()) / len(recorded)
            betas = np.clip(scaled, -32767, 32767).astype(np.int16)
            for session, voxel in self.invalid:
                if session == s:
                    betas[:, voxel] = 0
            values.append(betas)
            path = folder / f"betas_session{s + 1:02d}.hdf5"
            if not path.is_file():
                self._write_session(path, betas)
            if surface:
                self._write_surface(prep, s, betas)
        shown = np.concatenate([trials[s * d.trials_per_session : (s + 1) * d.trials_per_session] for s in recorded])
        self._write_ncsnr(folder, values, shown, surface, prep)
        return clipped

    def _write_session(self, path: Path, betas: np.ndarray) -> None:
        import h5py

        x, y, z = self.cortex.shape
        full = np.zeros((len(betas), z, y, x), np.int16)
        i, j, k = self.cortex.ijk.T
        full[:, k, j, i] = betas
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file.create_dataset("betas", data=full, chunks=(len(betas), 1, 1, 1))

    def _write_ncsnr(self, folder: Path, values: list[np.ndarray], shown: np.ndarray, surface: bool, prep: str) -> None:
        zscored = []
        for betas in values:
            sd = betas.std(0, ddof=1, dtype=np.float64)
            zscored.append((betas - betas.mean(0, dtype=np.float64)) / np.where(sd > 0, sd, np.nan))
        Z = np.concatenate(zscored)
        times = np.bincount(shown, minlength=shown.max() + 1)
        complete = np.flatnonzero(times == times.max())
        kinds = {"ncsnr": complete, "ncsnr_split1": complete[::2], "ncsnr_split2": complete[1::2]}
        for name, pictures in kinds.items():
            rows = np.isin(shown, pictures)
            out = np.zeros(Z.shape[1])
            if times.max() > 1:
                out = np.nan_to_num(ncsnr_from_repeats(Z[rows], shown[rows]))
            self._save_volume(folder / f"{name}.nii.gz", out.astype(np.float32), 0.0)
            if surface:
                self._save_surface(prep, name, out[:, None], 0.0)

    def _write_surface(self, prep: str, session: int, betas: np.ndarray) -> None:
        psc = betas.T.astype(np.float32) / SCALE
        for s, voxel in self.invalid:
            if s == session:
                psc[voxel] = np.nan
        self._save_surface(prep, f"betas_session{session + 1:02d}", psc, 0.0)

    def _save_surface(self, prep: str, name: str, values: np.ndarray, fill: float) -> None:
        """Write values (n_voxels, k) to the vertices nearest to the voxels, as fsaverage .mgh."""
        import nibabel as nib

        folder = self.root / f"nsddata_betas/ppdata/{self.name}/fsaverage/betas_{prep}"
        for side, prefix in (("L", "lh"), ("R", "rh")):
            full = np.full((10242, values.shape[1]), fill, np.float32)
            here = self.cortex.hemi == side
            full[self.cortex.vertex[here]] = values[here]
            full = full.reshape(10242, 1, 1, *([-1] if values.shape[1] > 1 else []))
            path = folder / f"{prefix}.{name}.mgh"
            if not path.is_file():
                with atomic_path(path) as temporary:
                    nib.save(nib.MGHImage(full, np.eye(4, dtype=np.float32)), temporary)

    def _save_volume(self, path: Path, values: np.ndarray, fill: float) -> None:
        import nibabel as nib

        volume = np.full(self.cortex.shape, fill, values.dtype)
        volume[tuple(self.cortex.ijk.T)] = values
        image = nib.Nifti1Image(volume, self.cortex.affine)
        image.header.set_xyzt_units("mm")
        # nibabel chooses compression by the suffix of the whole name.
        with atomic_path(path) as temporary:
            whole = temporary.with_name(temporary.name.removesuffix(".gz") + ".nii.gz")
            nib.save(image, whole)
            whole.replace(temporary)

    def _write_anatomy(self) -> None:
        """Write brain mask, mean, valid sessions, regions, and the localisers with some estimation noise."""
        c, t = self.cortex, self.tuning
        rng = np.random.default_rng([self.seed, self.subject, 4])
        n = len(c.ijk)
        here = self._data("func1pt8mm/x").parent
        self._save_volume(here / "brainmask.nii.gz", np.ones(n, np.uint8), 0)
        self._save_volume(here / "mean.nii.gz", rng.normal(1000, 80, n).astype(np.float32), 0)
        for s in range(self.design.n_sessions):
            valid = np.ones(n, np.uint8)
            valid[[v for session, v in self.invalid if session == s]] = 0
            self._save_volume(here / f"valid_session{s + 1:02d}.nii.gz", valid, 0)
        retinotopic = ~np.isnan(c.eccentricity)
        angle = np.rad2deg(np.arctan2(t.y, t.x)) + rng.normal(0, 8, n)
        maps = {
            "prf_angle": angle % 360,
            "prf_eccentricity": np.hypot(t.x, t.y) * rng.lognormal(0, 0.1, n),
            "prf_size": t.size * rng.lognormal(0, 0.15, n),
            "prf_R2": np.where(retinotopic, 60, 5) * t.ncsnr**2 / (t.ncsnr**2 + 0.3),
        }
        for name, k in _FLOC.items():
            contrast = t.categories[:, k] - np.delete(t.categories, k, axis=1).mean(1)
            strength = t.mixture[:, 2] * t.ncsnr * contrast
            maps[f"floc_{name}tval"] = 12 * strength + rng.normal(0, 1, n)
        for name, values in maps.items():
            self._save_volume(here / f"{name}.nii.gz", values.astype(np.float32), np.nan)
        labels = self.root / f"nsddata/freesurfer/{self.name}/label"
        for atlas, (numbers, table) in label_volumes(c).items():
            for prefix, side in (("", None), ("lh.", "L"), ("rh.", "R")):
                values = np.where(c.hemi == side, numbers, -1) if side else numbers
                self._save_volume(here / f"roi/{prefix}{atlas}.nii.gz", values.astype(np.int16), -1)
            lines = ["0 Unknown", *(f"{k} {v}" for k, v in table.items())]
            with atomic_path(labels / f"{atlas}.mgz.ctab") as temporary:
                temporary.write_text("\n".join(lines) + "\n")
            shared = self.root / "nsddata/freesurfer/fsaverage/label" / f"{atlas}.mgz.ctab"
            if not shared.is_file():
                with atomic_path(shared) as temporary:
                    temporary.write_text("\n".join(lines) + "\n")

    def _write_truth(self, signal: np.ndarray, own: np.ndarray) -> None:
        """Write what was planted: one row per grey voxel in canonical order, and the noiseless signal."""
        c = self.cortex
        run = self.design.masterordering[: self.design.n_sessions * self.design.trials_per_session] - 1
        # ncsnr as it holds for the trials that were run: s.d. of the signal over them, over that of the noise.
        arrays = {
            **self.tuning.to_arrays(),
            "ncsnr": self.tuning.ncsnr * signal[run].std(0),
            "ijk": c.ijk,
            "hemi": c.hemi,
            "region": c.region,
            "preference": np.array([PREFERENCE.get(r, "") for r in c.region.tolist()]),
            "general": c.general,
            "stimulus": own,
            "signal": signal[:, c.general].astype(np.float16),
        }
        with atomic_path(self.root / f"truth/{self.name}.npz") as temporary:
            np.savez_compressed(temporary, **arrays)
