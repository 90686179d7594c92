"""The loader over the phantom: two people's reading of one description of the formats."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from neuro.data import spearman_brown
from neuro.datasets import NSD
from neuro.datasets.phantom import load_truth, write_phantom

SESSIONS, TRIALS = 3, 120


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    root = tmp_path_factory.mktemp("nsd_phantom") / "phantom"
    write_phantom(
        root,
        n_subjects=1,
        n_sessions=SESSIONS,
        n_images=SESSIONS * TRIALS // 3,
        trials_per_session=TRIALS,
        size=32,
        grid="small",
        surface=True,
        invalid_voxels=4,
        n_jobs=1,
    )
    return NSD(root, cache=None)


def planted(nsd, responses, subject=1):
    truth = load_truth(nsd.root, subject)
    row = {tuple(ijk): n for n, ijk in enumerate(truth["ijk"].tolist())}
    return truth, np.array([row[tuple(ijk)] for ijk in responses.voxels.geometry.ijk.tolist()])


def test_a_phantom_opens_as_nsd_and_says_what_it_is(phantom):
    assert phantom.is_phantom
    assert phantom.subjects == [1]
    assert phantom.sessions(1)["present"].all()
    assert phantom.verify(1)["holds"].all()


def test_voxels_out_of_view_are_found(phantom):
    r = phantom.responses(1)
    assert r.provenance[0]["n_invalid"] == 4
    assert np.isfinite(r.to_numpy()).all()
    assert r.n_trials == SESSIONS * TRIALS


def test_responses_follow_the_planted_signal(phantom):
    r = phantom.responses(1, roi="nsdgeneral")
    truth, at = planted(phantom, r)
    inside = np.flatnonzero(truth["general"])
    signal = truth["signal"][:, np.searchsorted(inside, at)].astype(float)
    rows = pd.Index(truth["stimulus"]).get_indexer(r.stimulus)
    z = r.zscore().to_numpy(float)
    s = signal[rows].reshape(SESSIONS, TRIALS, -1)
    s = ((s - s.mean(1, keepdims=True)) / s.std(1, keepdims=True)).reshape(z.shape)
    found = (z * s).mean(0)
    ncsnr = truth["ncsnr"][at]
    expected = ncsnr / np.sqrt(1 + ncsnr**2)
    assert np.abs(found - expected).mean() < 0.05
    shuffled = (z * np.roll(s, 7, axis=0)).mean(0)
    assert np.abs(shuffled).mean() < 0.1


def test_ncsnr_is_stored_as_planted_and_as_estimated(phantom):
    r = phantom.responses(1, roi="nsdgeneral")
    truth, at = planted(phantom, r)
    stored = r.voxels.table["ncsnr"].to_numpy()
    mean = r.zscore().average_repeats(min_repeats=3)
    np.testing.assert_allclose(mean.ncsnr(), stored, atol=1e-5)
    # 120 pictures leave sampling error; at the default size of a phantom r exceeds .98.
    assert np.corrcoef(stored, truth["ncsnr"][at])[0, 1] > 0.9
    assert abs(stored.mean() / truth["ncsnr"][at].mean() - 1) < 0.1


def test_split_half_reliability_agrees_with_the_noise_ceiling(phantom):
    r = phantom.responses(1, roi="nsdgeneral").zscore()
    z, repeat = r.to_numpy(float), r.trials["repeat"].to_numpy()
    order = np.argsort(r.stimulus, kind="stable")
    first, second = z[order][repeat[order] == 0], z[order][repeat[order] == 1]
    halves = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(first.T, second.T, strict=True)])
    assert abs(spearman_brown(halves).mean() - r.noise_ceiling(n=2).mean()) < 0.05


def test_regions_are_those_planted(phantom):
    voxels = phantom.voxels(1)
    truth = load_truth(phantom.root, 1)
    assert np.array_equal(voxels.geometry.ijk, truth["ijk"])
    assert np.array_equal(voxels.roi("nsdgeneral"), truth["general"])
    assert voxels.table["hemi"].tolist() == truth["hemi"].tolist()
    for name in ("V1v", "hV4", "FFA-1", "PPA"):
        assert np.array_equal(voxels.roi(name), truth["region"] == name)


def test_surface_and_volume_hold_the_same_values(phantom):
    volume, surface = phantom.responses(1), phantom.responses(1, space="fsaverage")
    assert surface.voxels.geometry.mesh == "fsaverage5"
    a = {tuple(x) for x in np.round(volume.to_numpy()[:4].T.astype(float), 4).tolist()}
    b = {tuple(x) for x in np.round(surface.to_numpy()[:4].T.astype(float), 4).tolist()}
    assert len(a & b) > 0.9 * len(b)


def test_pictures_and_captions_belong_together(phantom):
    ids = phantom.split("shared1000", 1).test[:3]
    assert phantom.stimuli[ids].shape == (3, 32, 32, 3)
    assert all(len(c) >= 1 and isinstance(c[0], str) for c in phantom.captions(ids))
