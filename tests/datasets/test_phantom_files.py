"""The phantom's files, read with h5py, nibabel and scipy alone, against NSD's formats and what was planted."""

from __future__ import annotations

import json
import shutil

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io

from neuro.datasets.phantom import load_truth, planted_betas, write_phantom
from neuro.datasets.phantom.atlases import ATLASES
from neuro.errors import DataNotDownloaded, StoreError

B2, B3 = "fithrf", "fithrf_GLMdenoise_RR"
N_IMAGES, TRIALS, SESSIONS = 60, 60, 3
SMALL = {"n_subjects": 1, "n_sessions": 1, "n_images": 18, "size": 32, "grid": "small", "n_jobs": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_phantom(
        tmp_path_factory.mktemp("phantom") / "p",
        n_subjects=2,
        n_sessions=SESSIONS,
        n_images=N_IMAGES,
        size=48,
        grid="small",
        spaces=("func1pt8mm", "func1mm", "fsaverage", "nativesurface"),
        preps=("b2", "b3"),
        formats=("hdf5", "nii.gz"),
        missing_sessions=[(2, 3)],
        invalid_voxels=3,
        shared_png=True,
        n_jobs=1,
    )


@pytest.fixture(scope="module")
def truth(root):
    return load_truth(root, 1)


@pytest.fixture(scope="module")
def design(root):
    return scipy.io.loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat")


@pytest.fixture(scope="module")
def table(root):
    return pd.read_csv(root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv", index_col=0)


def shown(design, subject=1, n=SESSIONS * TRIALS):
    """Picture ids from 0, by the way through the design file."""
    own = design["masterordering"][0, :n].astype(int) - 1
    return design["subjectim"][subject - 1, own].astype(int) - 1


def volume(root, name, space="func1pt8mm"):
    return np.asarray(nib.load(root / f"nsddata/ppdata/subj01/{space}/{name}.nii.gz").dataobj)


def betas(root, session=1, space="func1pt8mm", prep=B3, name="betas_session{:02d}.hdf5"):
    return root / f"nsddata_betas/ppdata/subj01/{space}/betas_{prep}" / name.format(session)


def read_hdf5(path, ijk=None):
    with h5py.File(path) as file:
        data = file["betas"][()]
    if ijk is None:
        return data
    i, j, k = ijk.T
    return data[:, k, j, i]


# Design, pictures, behaviour


def test_every_file_names_the_same_pictures_each_in_its_own_base(root, design, table):
    ids = shown(design)
    behaviour = pd.read_csv(root / "nsddata/ppdata/subj01/behav/responses.tsv", sep="\t")
    np.testing.assert_array_equal(behaviour["73KID"] - 1, ids)
    np.testing.assert_array_equal(behaviour["10KID"], design["masterordering"][0])
    for rep in range(3):
        trial = table[f"subject1_rep{rep}"].to_numpy()  # from 1; 0 = not this person's
        np.testing.assert_array_equal(ids[trial[trial > 0] - 1], np.flatnonzero(trial))
    np.testing.assert_array_equal(np.flatnonzero(table["shared1000"]), design["sharedix"][0] - 1)
    np.testing.assert_array_equal(table["nsdId"], np.arange(len(table)))
    assert design["masterordering"].min() == design["subjectim"].min() == 1
    assert {k: design[k].dtype for k in ("masterordering", "subjectim", "stimpattern")} == {
        "masterordering": np.uint16,
        "subjectim": np.int32,
        "stimpattern": np.uint8,
    }
    with h5py.File(root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        brick = file["imgBrick"][()]
    pngs = sorted((root / "nsddata_stimuli/stimuli/nsd/shared1000").glob("*.png"))
    assert [int(p.stem[-5:]) for p in pngs] == design["sharedix"][0].tolist()
    from PIL import Image

    for png in pngs:
        np.testing.assert_array_equal(np.asarray(Image.open(png)), brick[int(png.stem[-5:]) - 1])


def test_the_plan_shows_every_picture_three_times_and_shares_a_tenth(design, table):
    ids, n_shared = shown(design), N_IMAGES // 10
    assert (np.bincount(ids)[np.unique(ids)] == 3).all()
    assert (np.diff(ids) != 0).all()
    first, second = design["subjectim"]
    np.testing.assert_array_equal(first[:n_shared], design["sharedix"][0])
    np.testing.assert_array_equal(first[:n_shared], second[:n_shared])
    assert (np.diff(design["sharedix"][0].astype(int)) > 0).all()
    assert len(np.unique(design["subjectim"])) == len(table) == n_shared + 2 * (N_IMAGES - n_shared)
    assert design["stimpattern"].shape == (SESSIONS, 12, 75)
    assert (design["stimpattern"].sum((1, 2)) == TRIALS).all()
    assert (design["basiccnt"] * np.array([[1], [2], [3]])).sum() == SESSIONS * TRIALS
    assert table["subject3"].sum() == 0  # the table has room for eight


def test_pictures_differ_and_have_five_captions_and_boxes(root, table):
    folder = root / "nsddata_stimuli/stimuli/nsd"
    with h5py.File(folder / "nsd_stimuli.hdf5") as file:
        assert file["imgBrick"].shape == (114, 48, 48, 3)
        assert file["imgBrick"].dtype == np.uint8
        assert len(np.unique(file["imgBrick"][()].reshape(114, -1), axis=0)) == 114
    said: dict[int, list[str]] = {}
    for split in ("train2017", "val2017"):
        for note in json.loads((folder / f"annotations/captions_{split}.json").read_text())["annotations"]:
            said.setdefault(note["image_id"], []).append(note["caption"])
        inside = set(table.loc[table["cocoSplit"] == split, "cocoId"])
        boxes = json.loads((folder / f"annotations/instances_{split}.json").read_text())["annotations"]
        assert {b["image_id"] for b in boxes} <= inside
        assert all(min(b["bbox"]) >= 0 and b["bbox"][0] + b["bbox"][2] <= 48.1 for b in boxes)
    assert set(said) == set(table["cocoId"])
    assert all(len(v) == 5 for v in said.values())


def test_behaviour_of_a_missing_session_is_missing_too(root):
    behaviour = pd.read_csv(root / "nsddata/ppdata/subj02/behav/responses.tsv", sep="\t")
    assert sorted(behaviour["SESSION"].unique()) == [1, 2]
    assert behaviour["RUN"].max() == 12
    assert not (root / f"nsddata_betas/ppdata/subj02/func1pt8mm/betas_{B3}/betas_session03.hdf5").exists()


# Volumes


def test_betas_are_the_planted_ones_to_half_a_step(root, truth):
    for session, prep in ((1, B3), (2, B3), (2, B2)):
        planted = planted_betas(root, 1, session, prep)
        stored = read_hdf5(betas(root, session, prep=prep), truth["ijk"])
        assert stored.dtype == np.int16
        valid = ~truth["invalid"][session - 1]
        assert np.abs(stored[:, valid] / 300 - planted[:, valid]).max() <= 1 / 600 + 1e-6
        assert not stored[:, ~valid].any()
        assert np.isnan(planted[:, ~valid]).all()
    assert truth["invalid"].sum() == 3


def test_betas_are_baseline_offset_gain_signal_and_noise(root, truth, design):
    row = {s: i for i, s in enumerate(truth["stimulus"].tolist())}
    general = truth["general"]
    for session in (1, 2, 3):
        ids = shown(design)[(session - 1) * TRIALS : session * TRIALS]
        signal = truth["signal"][[row[i] for i in ids.tolist()]].astype(float) * truth["snr"][general]
        psc = planted_betas(root, 1, session)[:, general]
        scale = truth["gain"][session - 1, general] * truth["noise_sd"][general]
        level = truth["baseline"][general] + truth["offset"][session - 1, general]
        noise = (psc - level) / scale - signal
        noise = noise[:, ~np.isnan(noise).any(0)]
        # 60 trials of some 500 voxels, partly shared: the grand variance is known to a few percent.
        assert noise.var() == pytest.approx(1, abs=0.06)
        assert abs(noise.mean()) < 0.06


def test_simpler_preparations_are_noisier(root, truth):
    quiet = ~truth["general"]
    sd = {p: np.nanstd(planted_betas(root, 1, 1, p)[:, quiet], axis=0).mean() for p in ("assumehrf", B2, B3)}
    assert sd["assumehrf"] > 1.1 * sd[B2] > 1.1**2 * sd[B3]
    assert (truth[f"ncsnr_{B2}"][truth["general"]] < truth[f"ncsnr_{B3}"][truth["general"]]).all()


@pytest.mark.parametrize("space", ["func1pt8mm", "func1mm"])
def test_hdf5_is_the_nifti_with_its_axes_reversed(root, space):
    with h5py.File(betas(root, space=space)) as file:
        data = file["betas"]
        assert data.dtype == np.int16
        assert data.chunks == (TRIALS, 1, 1, 1)
        assert data.compression is None
        hdf5 = data[()]
    image = nib.load(betas(root, space=space, name="betas_session{:02d}.nii.gz"))
    assert image.get_data_dtype() == np.int16
    slope, intercept = image.header.get_slope_inter()
    assert slope in (None, 1.0)
    assert intercept in (None, 0.0)
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(3, 2, 1, 0), hdf5)
    brain = volume(root, "brainmask", space) > 0
    assert len(set(brain.shape)) == 3  # a swapped axis would show
    assert not hdf5[:, ~brain.T].any()
    assert (hdf5[:, brain.T] != 0).any(0).mean() > 0.99
    ratio = np.array(volume(root, "brainmask", space).shape) / volume(root, "brainmask").shape
    assert (np.abs(ratio - (1.8 if space == "func1mm" else 1)) < 0.2).all()


def test_both_volumes_show_the_same_brain_at_the_same_place(root):
    coarse, fine = (nib.load(root / f"nsddata/ppdata/subj01/{s}/prf_size.nii.gz") for s in ("func1pt8mm", "func1mm"))
    values = np.asarray(fine.dataobj)
    ijk = np.argwhere(np.isfinite(values))
    mm = nib.affines.apply_affine(fine.affine, ijk)
    there = np.round(nib.affines.apply_affine(np.linalg.inv(coarse.affine), mm)).astype(int)
    np.testing.assert_array_equal(values[tuple(ijk.T)], np.asarray(coarse.dataobj)[tuple(there.T)])


def test_the_truth_is_in_canonical_order(root, truth):
    brain = nib.load(root / "nsddata/ppdata/subj01/func1pt8mm/brainmask.nii.gz")
    np.testing.assert_array_equal(np.argwhere(np.asarray(brain.dataobj) > 0), truth["ijk"])
    np.testing.assert_allclose(brain.affine, truth["affine"], atol=1e-5)


def test_valid_masks_mark_the_voxels_that_are_zero_all_session(root, truth):
    for session in (1, 2, 3):
        valid = volume(root, f"valid_session{session:02d}")[tuple(truth["ijk"].T)]
        stored = read_hdf5(betas(root, session), truth["ijk"])
        np.testing.assert_array_equal((stored == 0).all(0), valid == 0)


@pytest.mark.parametrize("atlas", list(ATLASES))
def test_labels_are_minus_one_outside_cortex_and_named_in_the_table(root, truth, atlas):
    both, left, right = (volume(root, f"roi/{p}{atlas}") for p in ("", "lh.", "rh."))
    at = tuple(truth["ijk"].T)
    assert (both[volume(root, "brainmask") == 0] == -1).all()
    np.testing.assert_array_equal(both[at] >= 0, truth["cortex"])
    np.testing.assert_array_equal(np.maximum(left, right), both)
    np.testing.assert_array_equal(left[at] >= 0, truth["hemi"] == "L")
    np.testing.assert_array_equal(right[at] >= 0, truth["hemi"] == "R")
    lines = (root / f"nsddata/freesurfer/subj01/label/{atlas}.mgz.ctab").read_text().splitlines()
    names = {int(k): v for k, v in (line.split() for line in lines)}
    assert names[0] == "Unknown"
    assert set(np.unique(both[both >= 0]).tolist()) <= set(names)
    assert list(names.values()) == ["Unknown", *ATLASES[atlas]]
    if atlas == "nsdgeneral":
        np.testing.assert_array_equal(both[at] > 0, truth["general"])
    elif atlas.startswith(("prf-visual", "floc-", "streams")):
        known = truth["stream" if atlas == "streams" else "region"]
        for number, name in names.items():
            if number:
                np.testing.assert_array_equal(both[at] == number, known == name)


def test_ncsnr_is_nsd_s_definition_of_the_stored_betas(root, truth, design):
    at = truth["ijk"]
    z = []
    for session in (1, 2, 3):
        x = read_hdf5(betas(root, session), at).astype(float)
        with np.errstate(invalid="ignore"):
            z.append((x - x.mean(0)) / x.std(0, ddof=1))
    z, own = np.concatenate(z), design["masterordering"][0]
    complete = np.unique(own)
    for name, images in (
        ("ncsnr", complete),
        ("ncsnr_split1", complete[::2]),
        ("ncsnr_split2", complete[1::2]),
    ):
        noise = np.mean([z[own == i].var(0, ddof=1) for i in images], axis=0)
        expected = np.sqrt(np.maximum(0, 1 - noise)) / np.sqrt(noise)
        path = betas(root, name=f"{name}.nii.gz")
        fine = ~truth["invalid"].any(0)
        stored = np.asarray(nib.load(path).dataobj)[tuple(at.T)]
        np.testing.assert_allclose(stored[fine], expected[fine], atol=1e-5)


# Surfaces


@pytest.mark.parametrize(("side", "hemi"), [("lh", "L"), ("rh", "R")])
def test_surfaces_hold_the_same_betas_as_the_volume(root, truth, side, hemi):
    planted = planted_betas(root, 1, 2)
    voxel = truth[f"fsaverage5_{side}"]
    image = nib.load(betas(root, 2, "fsaverage", name=side + ".betas_session{:02d}.mgh"))
    on_mesh = np.asarray(image.dataobj)
    assert on_mesh.shape == (10242, 1, 1, TRIALS)
    assert image.get_data_dtype() == np.dtype(">f4")
    on_mesh = on_mesh.squeeze()
    assert np.isnan(on_mesh[voxel < 0]).all()
    inside = voxel[voxel >= 0]
    in_volume = read_hdf5(betas(root, 2), truth["ijk"]) / np.float32(300)
    expected = np.where(truth["invalid"][1], np.float32(np.nan), in_volume)
    np.testing.assert_array_equal(on_mesh[voxel >= 0], expected.T[inside])  # % signal change as it is
    assert set(truth["hemi"][inside]) == {hemi}
    native = truth[f"native_{side}"]
    stored = read_hdf5(betas(root, 2, "nativesurface", name=side + ".betas_session{:02d}.hdf5"))
    assert stored.dtype == np.int16
    expected = np.where(voxel[native] >= 0, np.nan_to_num(planted[:, voxel[native]]), 0)
    assert np.abs(stored / 300 - expected).max() <= 1 / 600 + 1e-6
    labels = root / f"nsddata/freesurfer/subj01/label/{side}.prf-visualrois.mgz"
    numbers = np.asarray(nib.load(labels).dataobj).squeeze()
    assert len(numbers) == len(native)
    assert numbers.min() == 0
    in_volume = volume(root, "roi/prf-visualrois")[tuple(truth["ijk"].T)]
    inside = voxel[native] >= 0
    np.testing.assert_array_equal(numbers[inside], np.maximum(in_volume[voxel[native][inside]], 0))


def test_native_meshes_have_sizes_of_their_own_and_the_template_has_group_labels_only(root, truth):
    other = load_truth(root, 2)
    sizes = {len(t[f"native_{s}"]) for t in (truth, other) for s in ("lh", "rh")}
    assert len(sizes) == 4
    folder = root / "nsddata/freesurfer/fsaverage/label"
    assert {p.name for p in folder.glob("lh.*.mgz")} == {
        f"lh.{a}.mgz" for a in ("nsdgeneral", "streams", "Kastner2015")
    }
    numbers = np.asarray(nib.load(folder / "lh.Kastner2015.mgz").dataobj).squeeze()
    assert (np.bincount(numbers)[1:8] > 20).all()
    ncsnr = np.asarray(nib.load(betas(root, space="nativesurface", name="lh.ncsnr.mgh")).dataobj).squeeze()
    percent = np.asarray(nib.load(betas(root, space="nativesurface", name="lh.nc_3trials.mgh")).dataobj).squeeze()
    np.testing.assert_allclose(percent, 100 * ncsnr**2 / (ncsnr**2 + 1 / 3), rtol=1e-5)


# Options, resuming, refusing


def test_options_leave_things_out(tmp_path):
    root = write_phantom(tmp_path / "p", **{**SMALL, "n_sessions": 2}, repeats=2, behaviour="reduced")
    behaviour = pd.read_csv(root / "nsddata/ppdata/subj01/behav/responses.tsv", sep="\t")
    assert list(behaviour) == ["SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID"]
    design = scipy.io.loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat")
    assert (np.bincount(design["masterordering"][0])[1:] == 2).all()
    table = pd.read_csv(root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv", index_col=0)
    assert not table["subject1_rep2"].any()


def test_trials_beyond_the_sessions_are_not_run(tmp_path):
    root = write_phantom(tmp_path / "p", **SMALL, trials_per_session=40, behaviour="none")
    design = scipy.io.loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat")
    assert design["masterordering"].shape == (1, 54)
    assert design["stimpattern"].sum() == 40
    counts = np.bincount(design["masterordering"][0, :40].astype(int) - 1, minlength=18)
    assert set(counts.tolist()) - {3}  # seen less often, or never
    assert not (root / "nsddata/ppdata/subj01/behav").exists()


def test_same_seed_same_arrays_other_seed_others(tmp_path):
    a, b, c = (
        write_phantom(tmp_path / k, **{**SMALL, "seed": s, "n_jobs": j})
        for k, s, j in (("a", 0, 1), ("b", 0, 2), ("c", 1, 1))
    )
    one, two, three = (load_truth(r, 1) for r in (a, b, c))
    assert set(one) == set(two)
    for k in one:
        np.testing.assert_array_equal(one[k], two[k])
    assert len(one["ijk"]) != len(three["ijk"])
    name = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR/betas_session01.hdf5"
    np.testing.assert_array_equal(read_hdf5(a / name), read_hdf5(b / name))
    brick = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    with h5py.File(a / brick) as f, h5py.File(c / brick) as g:
        assert (f["imgBrick"][0] != g["imgBrick"][0]).any()


def test_an_interrupted_phantom_goes_on_and_a_finished_one_is_left_alone(tmp_path):
    whole = write_phantom(tmp_path / "a", **SMALL)
    files = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    cut = tmp_path / "b"
    shutil.copytree(whole, cut)
    lost = [p for p in files if "betas_session01" in p.name or p.suffix == ".npz" or p.name == "mean.nii.gz"]
    assert len(lost) == 3
    for path in lost:
        (cut / path).unlink()
    marker = cut / "neuro_phantom.json"
    marker.write_text(marker.read_text().replace('"complete": true', '"complete": false'))
    kept = {p: (cut / p).stat().st_mtime_ns for p in files if p.suffix == ".gz" and p not in lost}
    write_phantom(cut, **SMALL)
    assert sorted(p.relative_to(cut) for p in cut.rglob("*") if p.is_file()) == files
    assert all((cut / p).stat().st_mtime_ns == t for p, t in kept.items())
    for path in lost:
        if path.suffix == ".hdf5":
            np.testing.assert_array_equal(read_hdf5(whole / path), read_hdf5(cut / path))
    np.testing.assert_array_equal(load_truth(whole, 1)["signal"], load_truth(cut, 1)["signal"])
    before = {p: p.stat().st_mtime_ns for p in cut.rglob("*")}
    write_phantom(cut, **SMALL)
    assert {p: p.stat().st_mtime_ns for p in cut.rglob("*")} == before


def test_a_folder_with_something_else_is_refused(tmp_path):
    root = write_phantom(tmp_path / "p", **SMALL)
    with pytest.raises(StoreError, match="other seed"):
        write_phantom(root, **SMALL, seed=3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("do not touch")
    with pytest.raises(StoreError, match="not empty"):
        write_phantom(tmp_path / "mine", **SMALL)
    with pytest.raises(DataNotDownloaded, match="no truth for subj02"):
        load_truth(root, 2)
    with pytest.raises(DataNotDownloaded, match="holds no phantom"):
        planted_betas(tmp_path / "mine", 1, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_sessions": 1, "n_images": 100, "trials_per_session": 750}, "need at least 250 images"),
        ({"n_subjects": 9}, "room for 8"),
        ({"repeats": 4}, "repeats must be 1 to 3"),
        ({"n_images": 3}, "a session has 12 to 900 trials, got 2"),
        ({"spaces": ["MNI"]}, "spaces must be 'func1pt8mm'"),
        ({"spaces": "func1mm"}, "spaces must be a list"),
        ({"preps": ["b4"]}, "no betas 'b4'"),
        ({"grid": "huge"}, "grid must be 'standard' or 'small', got 'huge'"),
        ({"snr": -1.0}, "snr must be at least 0"),
        ({"missing_sessions": [(1, 9)]}, "session 9 of subject 1"),
        ({"size": 8}, "size must be an integer of at least 32"),
    ],
)
def test_what_cannot_be_written_is_refused_before_work(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write_phantom(tmp_path / "p", **change)
    assert not (tmp_path / "p").exists()
