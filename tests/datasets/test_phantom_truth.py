"""What was planted is in the data: reliability, receptive fields, preferences, drifts."""

from __future__ import annotations

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io

from neuro.data.reliability import ncsnr_from_repeats, noise_ceiling, split_half
from neuro.datasets.phantom import CATEGORIES, load_truth, write_phantom
from neuro.datasets.phantom.cortex import make_cortex
from neuro.datasets.phantom.design import make_design
from neuro.datasets.phantom.filters import FIELD_OF_VIEW, FREQUENCIES, ORIENTATIONS, grid_positions, see
from neuro.datasets.phantom.layout import CATEGORY, EARLY
from neuro.datasets.phantom.simulate import Subject
from neuro.datasets.phantom.subjects import plant

BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
N_IMAGES, TRIALS, SESSIONS = 500, 500, 3


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_phantom(
        tmp_path_factory.mktemp("phantom") / "p",
        n_subjects=1,
        n_sessions=SESSIONS,
        n_images=N_IMAGES,
        size=32,
        grid="small",
        n_jobs=1,
    )


@pytest.fixture(scope="module")
def truth(root):
    return load_truth(root, 1)


@pytest.fixture(scope="module")
def shown(root):
    design = scipy.io.loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat")
    return design["masterordering"][0].astype(int) - 1


@pytest.fixture(scope="module")
def responsive(root, truth):
    """Betas of nsdgeneral in % signal change, by session: (sessions, trials, voxels)."""
    i, j, k = truth["ijk"][truth["general"]].T
    out = []
    for session in range(1, SESSIONS + 1):
        with h5py.File(root / BETAS / f"betas_session{session:02d}.hdf5") as file:
            out.append(file["betas"][()][:, k, j, i] / 300)
    return np.array(out)


def zscore(x, axis):
    return (x - x.mean(axis, keepdims=True)) / x.std(axis, ddof=1, keepdims=True)


def test_reliability_is_recovered_at_the_default_size(rng):
    design = make_design(1, 1000, 4, 750)
    subject = Subject(1, design, seed=0, grid="small")
    signal = rng.standard_normal((1000, len(subject.responsive))).astype(np.float16)
    parts = [subject.betas(signal, s, "fithrf_GLMdenoise_RR")[:, subject.responsive] for s in range(1, 5)]
    z = np.concatenate([zscore(x.astype(float), 0) for x in parts])
    found = ncsnr_from_repeats(z, design.masterordering)
    planted = subject.ncsnr(signal, "fithrf_GLMdenoise_RR", [1, 2, 3, 4])[subject.responsive]
    assert np.corrcoef(found, planted)[0, 1] >= 0.98
    assert found.mean() / planted.mean() == pytest.approx(1, abs=0.01)
    reliability, ceiling = split_half(z, design.masterordering), noise_ceiling(planted, 3)
    assert np.corrcoef(reliability, ceiling)[0, 1] >= 0.97
    assert reliability.mean() == pytest.approx(ceiling.mean(), abs=0.01)


def test_ncsnr_and_split_half_of_the_files_recover_what_was_planted(root, truth, shown, responsive):
    planted = truth["ncsnr"][truth["general"]]
    z = zscore(responsive, 1).reshape(SESSIONS * TRIALS, -1)
    found = ncsnr_from_repeats(z, shown)
    assert np.corrcoef(found, planted)[0, 1] >= 0.96  # half as many pictures as by default
    assert found.mean() / planted.mean() == pytest.approx(1, abs=0.02)
    reliability, ceiling = split_half(z, shown), noise_ceiling(planted, 3)
    assert np.corrcoef(reliability, ceiling)[0, 1] >= 0.93
    assert reliability.mean() == pytest.approx(ceiling.mean(), abs=0.02)
    stored = np.asarray(nib.load(root / BETAS / "ncsnr.nii.gz").dataobj)[tuple(truth["ijk"].T)]
    np.testing.assert_allclose(stored[truth["general"]], found, atol=1e-5)
    # Pure noise: what is left is the sampling error of a variance, clipped at 0.
    assert np.median(stored[~truth["general"]]) < 0.1


def test_drifts_between_sessions_punish_z_scoring_once_over_all(truth, shown, responsive):
    planted = truth["ncsnr"][truth["general"]]
    pooled = zscore(responsive.reshape(SESSIONS * TRIALS, -1), 0)
    assert ncsnr_from_repeats(pooled, shown).mean() < 0.9 * planted.mean()


def test_reliability_is_spread_as_in_nsd(truth):
    inside = truth["ncsnr"][truth["general"]]
    assert not truth["ncsnr"][~truth["general"]].any()
    assert 0.25 < np.median(inside) < 0.5
    assert np.mean(inside < 0.2) > 0.08
    assert 0.8 < np.percentile(inside, 99) < 1.4


def test_signal_is_standard_and_correlates_as_its_reliability_says(truth, shown, responsive):
    signal = truth["signal"].astype(np.float32)
    np.testing.assert_allclose(signal.mean(0), 0, atol=2e-3)
    np.testing.assert_allclose(signal.std(0), 1, atol=2e-3)
    z = zscore(responsive, 1)
    s = zscore(signal[shown].reshape(SESSIONS, TRIALS, -1), 1)
    r = (z * s).sum((0, 1)) / (SESSIONS * (TRIALS - 1))
    ncsnr = truth["ncsnr"][truth["general"]]
    assert np.abs(r - np.sqrt(noise_ceiling(ncsnr, 1))).mean() < 0.03


def test_early_areas_see_the_opposite_side_and_mirror_at_the_meridians(truth):
    early = np.isin(truth["region"], EARLY)
    left, right = (early & (truth["hemi"] == h) for h in "LR")
    assert np.mean(truth["x"][left] > 0) > 0.9
    assert np.mean(truth["x"][right] < 0) > 0.9
    z = truth["ijk"] @ truth["affine"][2, :3]
    for area in ("V1", "V2", "V3"):  # upper field below the calcarine, lower field above
        ventral, dorsal = (truth["region"] == f"{area}{h}" for h in "vd")
        assert np.median(truth["y"][ventral]) > 0.2
        assert np.median(truth["y"][dorsal]) < -0.2
        assert z[ventral].mean() < z[dorsal].mean()


def test_fields_grow_with_eccentricity_and_along_the_hierarchy(truth):
    ecc = truth["layout_eccentricity"]
    sizes = []
    for area in ("V1", "V2", "V3", "hV4"):
        here = np.isin(truth["region"], [area, f"{area}v", f"{area}d"])
        assert np.corrcoef(ecc[here], truth["size"][here])[0, 1] > 0.5
        sizes.append(np.median(truth["size"][here]))
    assert (np.diff(sizes) > 0).all()
    v1 = np.isin(truth["region"], ["V1v", "V1d"])
    assert np.corrcoef(ecc[v1], np.log(truth["frequency"][v1]))[0, 1] < -0.4


def test_receptive_field_maps_follow_the_truth(root, truth):
    here, at = root / "nsddata/ppdata/subj01/func1pt8mm", tuple(truth["ijk"].T)
    maps = {k: np.asarray(nib.load(here / f"prf_{k}.nii.gz").dataobj)[at] for k in ("angle", "eccentricity", "R2")}
    assert maps["angle"].min() >= 0
    assert 90 < maps["angle"].max() < 360
    assert 20 < maps["R2"].max() < 100
    good = np.isin(truth["region"], EARLY) & (maps["R2"] > 20)
    assert good.sum() > 80
    radians = np.radians(maps["angle"][good])
    assert np.corrcoef(maps["eccentricity"][good] * np.cos(radians), truth["x"][good])[0, 1] > 0.95
    assert np.corrcoef(maps["eccentricity"][good] * np.sin(radians), truth["y"][good])[0, 1] > 0.95


@pytest.mark.parametrize(
    ("contrast", "category"), [("faces", "face"), ("bodies", "body"), ("places", "place"), ("word", "word")]
)
def test_localisers_peak_in_the_regions_named_for_them(root, truth, contrast, category):
    image = nib.load(root / f"nsddata/ppdata/subj01/func1pt8mm/floc_{contrast}tval.nii.gz")
    t = np.asarray(image.dataobj)[tuple(truth["ijk"].T)]
    own = [name for name, entry in CATEGORY.items() if entry[3] == category]
    regions, counts = np.unique(truth["region"][truth["general"]], return_counts=True)
    mean = {r: t[truth["region"] == r].mean() for r in regions[counts > 3] if r}
    assert max(mean, key=mean.get) in own
    elsewhere = truth["general"] & ~np.isin(truth["region"], own)
    assert t[np.isin(truth["region"], own)].mean() > t[elsewhere].mean() + 1.5
    assert t[~truth["general"]].std() == pytest.approx(1, abs=0.1)


def test_category_regions_prefer_what_they_are_named_for_and_food_has_a_place(truth):
    cortex = make_cortex(np.random.default_rng(0))
    weights = plant(cortex, np.random.default_rng(0)).categories
    for name, (_, _, _, category) in CATEGORY.items():
        here = (cortex.region == name) & cortex.general
        assert here.sum() >= 4
        assert weights[here].mean(0).argmax() == CATEGORIES.index(category)
        assert np.mean(weights[here].argmax(1) == CATEGORIES.index(category)) > 0.6
    assert not weights[np.isin(cortex.region, EARLY)].any()
    known = np.isin(truth["region"], list(CATEGORY)) & truth["general"]
    np.testing.assert_array_equal(truth["preference"] != "", known)
    assert (truth["preference"] == "food").sum() > 3


def test_betas_alone_tell_faces_from_places_in_ffa_and_ppa(root, truth, shown, responsive):
    table = pd.read_csv(root / "truth/stimuli.tsv", sep="\t")
    category = table["category"].to_numpy()[truth["stimulus"]][shown]
    z = zscore(responsive, 1).reshape(SESSIONS * TRIALS, -1)
    difference = z[category == "face"].mean(0) - z[category == "place"].mean(0)
    region = truth["region"][truth["general"]]
    assert difference[np.isin(region, ["FFA-1", "FFA-2", "OFA"])].mean() > 0.3
    assert difference[np.isin(region, ["PPA", "RSC"])].mean() < -0.3


def test_early_areas_follow_energy_in_their_field_and_category_areas_do_not(root, truth):
    with h5py.File(root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        images = file["imgBrick"][()]
    # An oracle of another kind: local r.m.s. contrast, no filters.
    grey = images.mean(-1)[truth["stimulus"]]
    size = grey.shape[1]
    line = (np.arange(size) + 0.5) / size * FIELD_OF_VIEW - FIELD_OF_VIEW / 2
    edges = np.hypot(np.gradient(grey, axis=1), np.gradient(grey, axis=2))
    x, y = truth["x"], truth["y"]
    r = np.full(len(x), np.nan)
    general = np.flatnonzero(truth["general"])
    for column, v in enumerate(general):
        weight = np.exp(-((line - x[v]) ** 2 + (-line[:, None] - y[v]) ** 2) / (2 * max(truth["size"][v], 0.4) ** 2))
        r[v] = np.corrcoef((edges * weight).sum((1, 2)), truth["signal"][:, column].astype(float))[0, 1]
    v1 = np.isin(truth["region"], ["V1v", "V1d"])
    tuned = truth["preference"] != ""
    assert np.nanmedian(r[v1]) > 0.35
    assert np.nanmedian(r[v1]) > np.nanmedian(np.abs(r[tuned])) + 0.1


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("frequency", FREQUENCIES[1:])
def test_filters_answer_to_their_stripes_where_they_are(orientation, frequency):
    across = np.radians(orientation + 90)
    y, x = (np.mgrid[:96, :96] + 0.5) / 96 * FIELD_OF_VIEW
    wave = np.cos(2 * np.pi * frequency * (np.cos(across) * x - np.sin(across) * y))
    left = np.where(x < FIELD_OF_VIEW / 2, wave, 0)
    image = np.repeat((127 + 100 * left).astype(np.uint8)[:, :, None], 3, axis=2)
    energy = see(image[None])["energy"][0].reshape(len(ORIENTATIONS), len(FREQUENCIES), -1).astype(float)
    gx, _ = grid_positions()
    answer = energy[:, :, gx < -1].mean(-1)
    assert np.unravel_index(answer.argmax(), answer.shape) == (
        ORIENTATIONS.index(orientation),
        FREQUENCIES.index(frequency),
    )
    assert answer.max() > 5 * energy[:, :, gx > 1].mean(-1).max()
