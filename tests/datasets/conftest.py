"""A second writer of NSD-format trees, independent of the phantom's, so that a shared misreading shows.

Small, asymmetric in every size, and written straight from the formats' description: int16 at 300 times % signal change
in HDF5 (trials, Z, Y, X) and NIfTI (X, Y, Z, trials), float32 % on fsaverage, numbers from 1 in the design and the
behaviour file, from 0 in the picture table.
"""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
from PIL import Image

B2, B3 = "fithrf", "fithrf_GLMdenoise_RR"
RUNS = (5, 3) * 6  # 48 trials a session
CTABS = {
    "nsdgeneral": ["nsdgeneral"],
    "prf-visualrois": ["V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"],
    "floc-places": ["OPA", "PPA", "RSC"],
    "Kastner2015": ["V1v", "V1d", "V2v", "V2d"],
    "RSCgroup": ["RSC", "other"],
}


@dataclass
class Tree:
    """A tree and what was put into it; arrays in % signal change, (trials, X, Y, Z) or (trials, vertices)."""

    root: Path
    stimulus: dict[int, np.ndarray] = field(default_factory=dict)  # from 0, per planned trial
    shared: np.ndarray = field(default_factory=lambda: np.array([]))
    psc: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)
    ncsnr: dict[int, np.ndarray] = field(default_factory=dict)
    snr: np.ndarray = field(default_factory=lambda: np.array([]))
    labels: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)
    hemi: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)
    images: np.ndarray = field(default_factory=lambda: np.array([]))
    n_trials: int = 0
    invalid: tuple[int, int, int] = (0, 0, 0)

    def betas(self, session, subject=1, space="func1pt8mm", prep=B3, suffix="hdf5", side=""):
        folder = self.root / f"nsddata_betas/ppdata/subj{subject:02d}/{space}/betas_{prep}"
        return folder / f"{side}betas_session{session:02d}.{suffix}"

    def roi(self, name, subject=1, space="func1pt8mm"):
        return self.root / f"nsddata/ppdata/subj{subject:02d}/{space}/roi/{name}.nii.gz"

    @property
    def experiment(self):
        return self.root / "nsddata/experiments/nsd"


def ncsnr_by_loop(psc, stimulus, session):
    """NSD's definition, one picture at a time: (trials, voxels) -> (voxels,)."""
    z = np.full(psc.shape, np.nan)
    for s in np.unique(session):
        rows = session == s
        sd = psc[rows].std(0, ddof=1)
        z[rows] = (psc[rows] - psc[rows].mean(0)) / np.where(sd > 0, sd, np.nan)
    variances = []
    for image in np.unique(stimulus):
        rows = np.flatnonzero(stimulus == image)
        if len(rows) == 3:
            variances.append(z[rows].var(0, ddof=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # voxels without data
        noise = np.nanmean(variances, axis=0)
    return np.sqrt(np.maximum(0, 1 - noise)) / np.sqrt(noise)


def save_nifti(path, values, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)


def save_mgh(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values)
    nib.save(nib.MGHImage(values.reshape(values.shape[0], 1, 1, *values.shape[1:]), np.eye(4)), path)


def save_hdf5(path, betas, chunks=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("betas", data=betas, chunks=(betas.shape[0], 1, 1, 1) if chunks else None)


def write_tree(root, n_subjects=2, n_sessions=4, runs=RUNS, grid=(7, 6, 5), n_shared=12, snr=0.8, seed=0, rich=True):
    """Write a tree; ``rich`` adds a second preparation, NIfTI betas, surfaces, 1 mm, pictures and behaviour."""
    rng = np.random.default_rng(seed)
    n = int(sum(runs))
    planned = n * n_sessions
    n_images = planned // 3
    tree = Tree(Path(root), n_trials=n)
    n_all = n_shared + n_subjects * (n_images - n_shared)

    # Design, numbers from 1
    ids = rng.permutation(n_all)
    tree.shared = np.sort(ids[:n_shared])
    own = ids[n_shared:].reshape(n_subjects, -1)
    subjectim = np.concatenate([np.tile(tree.shared, (n_subjects, 1)), own], axis=1)
    order = rng.permutation(np.repeat(np.arange(n_images), 3))
    pattern = np.zeros((n_sessions, len(runs), 75), np.uint8)
    for r, length in enumerate(runs):
        pattern[:, r, 1 : length + 1] = 1
    tree.experiment.mkdir(parents=True)
    scipy.io.savemat(
        tree.experiment / "nsd_expdesign.mat",
        {
            "masterordering": (order + 1)[None].astype(np.uint16),
            "subjectim": (subjectim + 1).astype(np.int32),
            "sharedix": (tree.shared + 1)[None].astype(np.int32),
            "stimpattern": pattern,
        },
    )
    table = pd.DataFrame(
        {
            "cocoId": 1000 + 3 * np.arange(n_all),
            "cocoSplit": np.where(np.arange(n_all) % 4 == 0, "val2017", "train2017"),
            "cropBox": "(0, 0, 0.1, 0.2)",
            "loss": 0.0,
            "nsdId": np.arange(n_all),
            "flagged": False,
            "BOLD5000": False,
            "shared1000": np.isin(np.arange(n_all), tree.shared),
        }
    )
    for subject in range(1, n_subjects + 1):
        tree.stimulus[subject] = subjectim[subject - 1][order]
        table[f"subject{subject}"] = np.isin(np.arange(n_all), subjectim[subject - 1]).astype(int)
        for rep in range(3):
            table[f"subject{subject}_rep{rep}"] = 0
        count = dict.fromkeys(range(n_all), 0)
        for t, image in enumerate(tree.stimulus[subject]):
            table.loc[image, f"subject{subject}_rep{count[image]}"] = t + 1
            count[image] += 1
    table.to_csv(tree.experiment / "nsd_stim_info_merged.csv")

    for subject in range(1, n_subjects + 1):
        shape = tuple(g + subject - 1 for g in grid)
        _write_volume(tree, subject, "func1pt8mm", shape, 1.8, n_sessions, snr, rng)
        if rich:
            _write_behaviour(tree, subject, subjectim, order, runs, n_sessions)
    if rich:
        _write_nifti_betas(tree, n_sessions)
        _write_volume(tree, 1, "func1mm", tuple(g + 2 for g in grid[::-1]), 1.0, 1, snr, rng)
        _write_surfaces(tree, "fsaverage", (23, 19), n_sessions, rng)
        _write_surfaces(tree, "nativesurface", (29, 31), n_sessions, rng)
        _write_pictures(tree, table, rng)
    return tree


def _write_volume(tree, subject, space, shape, mm, n_sessions, snr, rng):
    n_vox = int(np.prod(shape))
    stimulus = tree.stimulus[subject][: tree.n_trials * n_sessions]
    session = np.arange(len(stimulus)) // tree.n_trials
    signal = rng.standard_normal((stimulus.max() + 1, n_vox))[stimulus]
    strength = np.broadcast_to(snr, (n_vox,)) if np.ndim(snr) == 0 else rng.uniform(*snr, n_vox)
    tree.snr = strength.reshape(shape)
    psc = 1.2 * (strength * signal + rng.standard_normal(signal.shape))
    psc *= rng.uniform(0.5, 1.5, (n_sessions, n_vox))[session]
    psc += rng.uniform(-3, 3, (n_sessions, n_vox))[session]
    psc = psc.reshape(-1, *shape)
    # Outside the brain 0; one voxel out of view in the last session.
    brain = np.ones(shape, bool)
    brain[0], brain[:, -1] = False, False
    psc[:, ~brain] = 0
    out = (shape[0] // 2, 1, 2)
    if n_sessions > 1:
        psc[(n_sessions - 1) * tree.n_trials :, *out] = 0
    stored = np.round(psc * 300).astype(np.int16)
    tree.psc[subject, space] = (stored / np.float32(300)).astype(np.float32)
    affine = np.diag([-mm, mm, mm, 1.0])
    affine[:3, 3] = [10 + subject, -20, 5]
    base = tree.root / f"nsddata/ppdata/subj{subject:02d}/{space}"
    save_nifti(base / "brainmask.nii.gz", brain.astype(np.uint8), affine)
    for s in range(n_sessions):
        valid = brain.copy()
        valid[out] &= s < n_sessions - 1 or n_sessions == 1
        save_nifti(base / f"valid_session{s + 1:02d}.nii.gz", valid.astype(np.uint8), affine)
        block = stored[s * tree.n_trials : (s + 1) * tree.n_trials]
        save_hdf5(tree.betas(s + 1, subject, space), block.transpose(0, 3, 2, 1))
    if n_sessions > 1:
        ncsnr = ncsnr_by_loop(tree.psc[subject, space].reshape(len(stimulus), -1).astype(float), stimulus, session)
        tree.ncsnr[subject] = np.nan_to_num(ncsnr).reshape(shape)
        path = tree.betas(1, subject, space).with_name("ncsnr.nii.gz")
        save_nifti(path, tree.ncsnr[subject].astype(np.float32), affine)
    # Regions: -1 outside cortex, 0 cortex, labels from 1; left is the lower half of X.
    cortex = brain.copy()
    cortex[:, :, -1] = False
    left = np.arange(shape[0])[:, None, None] < shape[0] / 2
    tree.hemi[subject, space] = np.where(cortex, np.where(left, "L", "R"), "")
    general = np.zeros(shape, int)
    general[1:, :3, :] = 1
    visual = rng.integers(0, 8, shape)
    for atlas, numbers in {
        "nsdgeneral": general,
        "prf-visualrois": visual,
        "floc-places": rng.integers(0, 4, shape),
        "Kastner2015": np.where(visual > 0, rng.integers(1, 5, shape), 0),
        "RSCgroup": rng.integers(0, 3, shape),
    }.items():
        numbers = np.where(cortex, numbers, -1).astype(np.int16)
        tree.labels[subject, f"{space}/{atlas}"] = numbers
        save_nifti(base / f"roi/{atlas}.nii.gz", numbers, affine)
        save_nifti(base / f"roi/lh.{atlas}.nii.gz", np.where(left, numbers, -1).astype(np.int16), affine)
        save_nifti(base / f"roi/rh.{atlas}.nii.gz", np.where(left, -1, numbers).astype(np.int16), affine)
        table = tree.root / f"nsddata/freesurfer/subj{subject:02d}/label/{atlas}.mgz.ctab"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("\n".join(f"{i} {x}" for i, x in enumerate(["Unknown", *CTABS[atlas]])) + "\n")
    save_nifti(base / "prf_angle.nii.gz", rng.uniform(0, 360, shape).astype(np.float32), affine)


def _write_behaviour(tree, subject, subjectim, order, runs, n_sessions):
    rows = []
    t = 0
    for s in range(n_sessions):
        for r, length in enumerate(runs):
            for k in range(length):
                image = order[t]
                rows.append(
                    (subject, s + 1, r + 1, k + 1, subjectim[subject - 1][image] + 1, image + 1, t % 2, 500 + t)
                )
                t += 1
    columns = ["SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID", "ISOLD", "RT"]
    path = tree.root / f"nsddata/ppdata/subj{subject:02d}/behav/responses.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=columns).to_csv(path, sep="\t", index=False)


def _write_nifti_betas(tree, n_sessions):
    psc = tree.psc[2, "func1pt8mm"]
    stored = np.round(psc * 300).astype(np.int16)
    for s in range(n_sessions):
        block = stored[s * tree.n_trials : (s + 1) * tree.n_trials]
        save_nifti(tree.betas(s + 1, 2, prep=B2, suffix="nii.gz"), block.transpose(1, 2, 3, 0), np.eye(4))
        save_nifti(tree.betas(s + 1, 2, suffix="nii.gz"), block.transpose(1, 2, 3, 0), np.eye(4))


def _write_surfaces(tree, space, sizes, n_sessions, rng):
    n = tree.n_trials
    psc = rng.normal(1, 2, (n * n_sessions, sum(sizes))).astype(np.float32)
    if space == "nativesurface":
        psc = np.round(psc * 300) / np.float32(300)
        psc[n:, 4] = 0  # out of view in all sessions but the first
    else:
        psc[n:, 4] = np.nan
    tree.psc[1, space] = psc
    for s in range(n_sessions):
        block = psc[s * n : (s + 1) * n]
        for side, part in zip(("lh.", "rh."), np.split(block, [sizes[0]], axis=1), strict=True):
            if space == "nativesurface":
                path = tree.betas(s + 1, 1, space, side=side)
                path.parent.mkdir(parents=True, exist_ok=True)
                with h5py.File(path, "w") as file:
                    file.create_dataset("betas", data=np.round(part * 300).astype(np.int16))
            else:
                save_mgh(tree.betas(s + 1, 1, space, suffix="mgh", side=side), part.T)
    folder = tree.root / "nsddata/freesurfer" / ("fsaverage" if space == "fsaverage" else "subj01") / "label"
    numbers = rng.integers(0, 3, sum(sizes)).astype(np.int32)
    tree.labels[1, f"{space}/Kastner2015"] = numbers
    for side, part in zip(("lh", "rh"), np.split(numbers, [sizes[0]]), strict=True):
        save_mgh(folder / f"{side}.Kastner2015.mgz", part)
        save_mgh(folder / f"{side}.curvature.mgz", part.astype(np.float32) / 7)
    (folder / "Kastner2015.mgz.ctab").write_text("0 Unknown\n1 V1v\n2 V1d\n3 V2v\n4 V2d\n")


def _write_pictures(tree, table, rng):
    tree.images = rng.integers(0, 256, (len(table), 9, 9, 3), dtype=np.uint8)
    folder = tree.root / "nsddata_stimuli/stimuli/nsd"
    (folder / "shared1000").mkdir(parents=True)
    with h5py.File(folder / "nsd_stimuli.hdf5", "w") as file:
        file["imgBrick"] = tree.images
    for i, image in enumerate(tree.shared):  # both numbers from 1
        Image.fromarray(tree.images[image]).save(folder / f"shared1000/shared{i + 1:04d}_nsd{image + 1:05d}.png")
    (folder / "annotations").mkdir()
    for part in ("train", "val"):
        entries = []
        for image, row in table[table["cocoSplit"] == f"{part}2017"].iterrows():
            entries += [
                {"image_id": int(row.cocoId), "id": 7, "caption": f" caption {k}\nof {image}"} for k in range(2)
            ]
        (folder / f"annotations/captions_{part}2017.json").write_text(json.dumps({"annotations": entries}))


@pytest.fixture(scope="session")
def nsd_tree(tmp_path_factory):
    """A whole tree; not to be written to."""
    return write_tree(tmp_path_factory.mktemp("nsd") / "tree")


@pytest.fixture
def own_tree(nsd_tree, tmp_path):
    """A copy of the tree that a test may damage."""
    shutil.copytree(nsd_tree.root, tmp_path / "tree")
    return Tree(**{**nsd_tree.__dict__, "root": tmp_path / "tree"})


@pytest.fixture(scope="session")
def big_tree(tmp_path_factory):
    """Three sessions of NSD's length with known, varied reliability; only what that takes."""
    root = tmp_path_factory.mktemp("nsd_big") / "tree"
    runs = (63, 62) * 6
    return write_tree(root, 1, 3, runs, (9, 8, 7), 100, snr=(0.2, 1.5), seed=1, rich=False)


@pytest.fixture
def tree_files():
    """The writers of single files, for tests that make odd ones."""
    return {"nifti": save_nifti, "mgh": save_mgh, "hdf5": save_hdf5, "ncsnr": ncsnr_by_loop}
