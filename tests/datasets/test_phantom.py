"""The phantom's files, read with h5py, nibabel and scipy alone, against what was planted."""

from __future__ import annotations

import json
import shutil

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io

from neuro.data.reliability import ncsnr_from_repeats, noise_ceiling, split_half
from neuro.datasets.phantom import load_truth, write_phantom
from neuro.datasets.phantom.cortex import EARLY, make_cortex
from neuro.datasets.phantom.design import make_design
from neuro.datasets.phantom.filters import grid_positions, oriented_energy
from neuro.errors import StoreError

SIZES = {"n_subjects": 2, "n_sessions": 3, "n_images": 60, "size": 64, "trials_per_session": 60}
BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_phantom(
        tmp_path_factory.mktemp("phantom") / "p", **SIZES, grid="small", surface=True, invalid_voxels=3, n_jobs=1
    )


@pytest.fixture(scope="module")
def design(root):
    return scipy.io.loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat")


def shown(design, subject=1, n=180):
    own = design["masterordering"][0, :n].astype(int) - 1
    return design["subjectim"][subject - 1, own].astype(int) - 1


def read_betas(root, truth, session):
    with h5py.File(root / BETAS / f"betas_session{session:02d}.hdf5") as file:
        data = file["betas"]
        assert data.dtype == np.int16
        assert data.chunks == (60, 1, 1, 1)
        assert data.compression is None
        i, j, k = truth["ijk"].T
        return data[()][:, k, j, i]


def test_every_table_names_the_same_pictures(root, design):
    table = pd.read_csv(root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv", index_col=0)
    behaviour = pd.read_csv(root / "nsddata/ppdata/subj01/behav/responses.tsv", sep="\t")
    ids = shown(design)
    np.testing.assert_array_equal(behaviour["73KID"] - 1, ids)
    np.testing.assert_array_equal(behaviour["10KID"], design["masterordering"][0, :180])
    for rep in range(3):
        trial = table[f"subject1_rep{rep}"].to_numpy()
        seen = np.flatnonzero((trial > 0) & (trial <= 180))
        np.testing.assert_array_equal(ids[trial[seen] - 1], seen)
    np.testing.assert_array_equal(np.flatnonzero(table["shared1000"]), design["sharedix"][0] - 1)
    np.testing.assert_array_equal(design["subjectim"][0, :6], design["subjectim"][1, :6])
    assert len(np.unique(design["subjectim"])) == len(table) == 6 + 2 * 54
    assert design["stimpattern"].sum() == 180
    assert (np.bincount(ids)[np.unique(ids)] == 3).all()
    assert behaviour["RUN"].max() == 12


def test_pictures_and_captions_are_there_for_every_id(root):
    with h5py.File(root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        assert file["imgBrick"].shape == (114, 64, 64, 3)
        assert file["imgBrick"].dtype == np.uint8
        assert len(np.unique(file["imgBrick"][()].reshape(114, -1), axis=0)) == 114
    table = pd.read_csv(root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv", index_col=0)
    said = {}
    for split in ("train2017", "val2017"):
        path = root / f"nsddata_stimuli/stimuli/nsd/annotations/captions_{split}.json"
        for note in json.loads(path.read_text())["annotations"]:
            said.setdefault(note["image_id"], []).append(note["caption"])
    assert set(said) == set(table["cocoId"])
    assert all(len(v) == 5 for v in said.values())


def test_betas_are_the_planted_signal_with_gain_offset_and_noise(root, design):
    truth = load_truth(root, 1)
    own = {s: i for i, s in enumerate(truth["stimulus"].tolist())}
    rows = np.array([own[i] for i in shown(design)])
    general = np.flatnonzero(truth["general"])
    signal = truth["signal"].astype(float)[rows]
    for session in (1, 2, 3):
        part = slice((session - 1) * 60, session * 60)
        psc = read_betas(root, truth, session)[:, general] / 300
        strong = (truth["ncsnr"][general] > 0.8) & (psc != 0).any(0)
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip(psc[:, strong].T, signal[part][:, strong].T, strict=True)]
        assert np.mean(r) == pytest.approx(0.69, abs=0.1)  # ncsnr .8-1.1: r = ncsnr / sqrt(1 + ncsnr^2)
        assert np.abs(psc).max() < 109


def test_outside_the_cortex_is_zero_and_regions_follow_the_label_rules(root):
    truth = load_truth(root, 1)
    here = root / "nsddata/ppdata/subj01/func1pt8mm"
    brain = np.asarray(nib.load(here / "brainmask.nii.gz").dataobj) > 0
    assert len(set(brain.shape)) == 3  # a swapped axis would show
    np.testing.assert_array_equal(np.argwhere(brain), truth["ijk"])
    with h5py.File(root / BETAS / "betas_session01.hdf5") as file:
        assert not file["betas"][0].transpose(2, 1, 0)[~brain].any()
    for atlas in ("prf-visualrois", "floc-faces", "nsdgeneral", "Kastner2015"):
        both, left, right = (np.asarray(nib.load(here / f"roi/{p}{atlas}.nii.gz").dataobj) for p in ("", "lh.", "rh."))
        assert (both[~brain] == -1).all()
        assert (both[brain] >= 0).all()
        np.testing.assert_array_equal(np.maximum(left, right), both)
        assert not ((left > -1) & (right > -1)).any()
        table = (root / f"nsddata/freesurfer/subj01/label/{atlas}.mgz.ctab").read_text().splitlines()
        assert table[0] == "0 Unknown"
        names = dict(line.split(maxsplit=1) for line in table)
        for number in np.unique(both[both > 0]):
            inside = both[brain] == number
            if atlas not in ("nsdgeneral", "Kastner2015"):
                assert (truth["region"][inside] == names[str(number)]).all()


def test_voxels_outside_the_field_of_view_are_zero_and_marked(root):
    truth = load_truth(root, 1)
    found = 0
    for session in (1, 2, 3):
        valid = nib.load(root / f"nsddata/ppdata/subj01/func1pt8mm/valid_session{session:02d}.nii.gz")
        valid = np.asarray(valid.dataobj)[tuple(truth["ijk"].T)]
        betas = read_betas(root, truth, session)
        np.testing.assert_array_equal((betas == 0).all(0), valid == 0)
        found += int((valid == 0).sum())
    assert found == 3


def test_surface_and_volume_hold_the_same_values(root):
    truth = load_truth(root, 1)
    folder = root / "nsddata_betas/ppdata/subj01/fsaverage/betas_fithrf_GLMdenoise_RR"
    betas = read_betas(root, truth, 2) / np.float32(300)
    left = np.asarray(nib.load(folder / "lh.betas_session02.mgh").dataobj)
    assert left.shape == (10242, 1, 1, 60)
    assert left.dtype.newbyteorder("=") == np.float32
    values = {v.tobytes() for v in left[:, 0, 0].astype(np.float32)}
    here = [v.tobytes() for v, h in zip(betas.T.astype(np.float32), truth["hemi"], strict=True) if h == "L"]
    assert np.mean([v in values for v in here]) > 0.9


def test_ncsnr_and_split_half_recover_what_was_planted(tmp_path):
    root = write_phantom(tmp_path / "p", 1, 4, 800, 32, trials_per_session=600, grid="small", n_jobs=1)
    truth = load_truth(root, 1)
    Z = []
    for session in range(1, 5):
        with h5py.File(root / BETAS / f"betas_session{session:02d}.hdf5") as file:
            i, j, k = truth["ijk"].T
            betas = file["betas"][()][:, k, j, i].astype(float)
        Z.append((betas - betas.mean(0)) / betas.std(0, ddof=1))
    design = scipy.io.loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat")
    ids = shown(design, n=2400)
    Z, general = np.concatenate(Z)[:, truth["general"]], truth["general"]
    found, planted = ncsnr_from_repeats(Z, ids), truth["ncsnr"][general]
    assert np.corrcoef(found, planted)[0, 1] > 0.98
    assert found.mean() / planted.mean() == pytest.approx(1, abs=0.05)
    reliability = split_half(Z, ids)
    reliable = planted > 0.4
    np.testing.assert_allclose(reliability[reliable].mean(), noise_ceiling(planted, 3)[reliable].mean(), atol=0.05)
    stored = np.asarray(nib.load(root / BETAS / "ncsnr.nii.gz").dataobj)[tuple(truth["ijk"].T)][general]
    np.testing.assert_allclose(stored, found, atol=1e-5)
    raw = np.concatenate([z * (1 + 0.5 * s) + s for s, z in enumerate(np.split(Z, 4))])
    drifting = (raw - raw.mean(0)) / raw.std(0, ddof=1)
    assert ncsnr_from_repeats(drifting, ids).mean() < 0.9 * found.mean()


def test_same_seed_same_arrays_other_seed_others(tmp_path):
    small = {"n_subjects": 1, "n_sessions": 1, "n_images": 20, "size": 32, "trials_per_session": 24, "grid": "small"}
    a, b, c = (write_phantom(tmp_path / k, **small, seed=s, n_jobs=1) for k, s in (("a", 0), ("b", 0), ("c", 1)))
    one, two, three = (load_truth(r, 1) for r in (a, b, c))
    assert all(np.array_equal(one[k], two[k], equal_nan=one[k].dtype.kind == "f") for k in one)
    assert one["ijk"].shape != three["ijk"].shape or not np.array_equal(one["x"], three["x"])
    with h5py.File(a / BETAS / "betas_session01.hdf5") as f, h5py.File(b / BETAS / "betas_session01.hdf5") as g:
        np.testing.assert_array_equal(f["betas"][()], g["betas"][()])


def test_an_interrupted_phantom_goes_on_and_a_finished_one_is_left_alone(tmp_path):
    small = {"n_subjects": 1, "n_sessions": 2, "n_images": 20, "size": 32, "trials_per_session": 24, "grid": "small"}
    whole = write_phantom(tmp_path / "a", **small, n_jobs=1)
    cut = tmp_path / "b"
    shutil.copytree(whole, cut)
    (cut / BETAS / "betas_session02.hdf5").unlink()
    marker = cut / "neuro_phantom.json"
    marker.write_text(marker.read_text().replace('"complete": true', '"complete": false'))
    write_phantom(cut, **small, n_jobs=1)
    with h5py.File(whole / BETAS / "betas_session02.hdf5") as f, h5py.File(cut / BETAS / "betas_session02.hdf5") as g:
        np.testing.assert_array_equal(f["betas"][()], g["betas"][()])
    before = (cut / BETAS / "betas_session01.hdf5").stat().st_mtime_ns
    write_phantom(cut, **small, n_jobs=1)
    assert (cut / BETAS / "betas_session01.hdf5").stat().st_mtime_ns == before
    with pytest.raises(StoreError, match="other seed"):
        write_phantom(cut, **small, seed=3, n_jobs=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("do not touch")
    with pytest.raises(StoreError, match="not empty"):
        write_phantom(tmp_path / "mine", **small)


def test_too_many_trials_for_the_pictures_is_refused_before_work(tmp_path):
    with pytest.raises(ValueError, match="need at least 250 images"):
        write_phantom(tmp_path / "p", 1, 1, 100, 64)
    with pytest.raises(ValueError, match="room for 8"):
        write_phantom(tmp_path / "p", 9, 1, 250, 64)
    assert not (tmp_path / "p").exists()


def test_repeats_fall_into_different_parts_of_the_experiment():
    design = make_design(1, 300, 3, 300, np.random.default_rng(0))
    session = np.arange(900) // 300
    for image in range(1, 301):
        assert sorted(session[design.masterordering == image]) == [0, 1, 2]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_visual_field_is_contralateral_and_mirrored_like_in_people(seed):
    c = make_cortex(np.random.default_rng(seed))
    x = np.cos(np.deg2rad(c.angle)) * c.eccentricity
    y = np.sin(np.deg2rad(c.angle)) * c.eccentricity
    early = np.isin(c.region, EARLY)
    assert np.nanmean(x[c.hemi == "L"]) > 0.3
    assert np.nanmean(x[c.hemi == "R"]) < -0.3
    assert (x[early & (c.hemi == "L")] > -0.3).all()
    for area in ("V1", "V2", "V3"):  # upper field below the calcarine, lower field above
        assert (y[c.region == f"{area}v"] >= -1e-9).all()
        assert (y[c.region == f"{area}d"] <= 1e-9).all()
    z = c.ijk[:, 2]
    assert z[c.region == "V1v"].mean() < z[c.region == "V1d"].mean()


def test_subjects_differ_in_layout_and_size():
    a, b = (make_cortex(np.random.default_rng(s)) for s in (0, 1))
    assert len(a.ijk) != len(b.ijk)
    assert (a.region == "V1v").sum() != (b.region == "V1v").sum() or a.shape != b.shape


def test_category_regions_prefer_what_they_are_named_for(root):
    truth = load_truth(root, 1)
    names = ["face", "body", "animal", "place", "food", "word"]
    for region, preferred in zip(truth["region"], truth["preference"], strict=True):
        assert (region in EARLY or region == "") == (preferred == "")
    tuned = truth["preference"] != ""
    assert (truth["categories"][tuned].argmax(1) == [names.index(p) for p in truth["preference"][tuned]]).all()
    tval = nib.load(root / "nsddata/ppdata/subj01/func1pt8mm/floc_facestval.nii.gz")
    t = np.asarray(tval.dataobj)[tuple(truth["ijk"].T)]
    assert t[truth["preference"] == "face"].mean() > t[truth["preference"] != "face"].mean() + 2


@pytest.mark.parametrize("orientation", [0, 1, 2, 3])
def test_oriented_energy_answers_to_its_own_orientation_and_place(orientation):
    theta = np.pi * orientation / 4
    y, x = np.mgrid[:64, :64] / 64 * 8.4
    wave = np.cos(2 * np.pi * 1.2 * (np.cos(theta) * x + np.sin(theta) * y))
    left = np.where(x < 4.2, wave, 0)
    image = (127 + 100 * np.repeat(left[:, :, None], 3, axis=2)).astype(np.uint8)
    energy = oriented_energy(image[None])[0].reshape(4, 3, -1)
    gx, _ = grid_positions()
    inside = energy[:, 1][:, gx < -1].mean(1)
    assert inside.argmax() == orientation
    assert inside[orientation] > 5 * energy[orientation, 1][gx > 1].mean()
