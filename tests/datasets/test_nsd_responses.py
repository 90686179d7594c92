"""Responses: what a script does from one end to the other, against what was written."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pytest

from neuro.data import noise_ceiling
from neuro.datasets import NSD
from neuro.datasets.nsd import betas as betas_module
from neuro.datasets.nsd.cache import BetaSource
from neuro.errors import EmptySelection, NeuroDataError, SplitLeakage


@pytest.fixture(scope="module")
def nsd(nsd_tree, tmp_path_factory):
    return NSD(nsd_tree.root, cache=tmp_path_factory.mktemp("cache"))


def truth(tree, voxels, subject=1, space="func1pt8mm"):
    return tree.psc[subject, space][(slice(None), *voxels.geometry.ijk.T)]


@pytest.mark.parametrize(("subject", "prep"), [(1, "b3"), (2, "fithrf_GLMdenoise_RR"), (2, "b2")])
def test_responses_are_what_was_written_in_percent(nsd, nsd_tree, subject, prep):
    r = nsd.responses(subject, roi="nsdgeneral", betas=prep)
    assert r.units == "psc"
    got = r.to_numpy()
    assert np.array_equal(got, truth(nsd_tree, r.voxels, subject))
    assert not np.allclose(got, got / 300)


def test_one_millimetre_betas(nsd, nsd_tree):
    r = nsd.responses(1, roi="nsdgeneral", space="func1mm")
    assert r.shape[0] == 48
    assert np.array_equal(r.to_numpy(), truth(nsd_tree, r.voxels, 1, "func1mm"))


def test_selecting_then_loading_equals_loading_then_selecting(nsd):
    voxels = nsd.voxels(1)
    mask = voxels.roi("V1") & (voxels.table["ncsnr"].to_numpy() > 0.6) & voxels.table["valid"].to_numpy()
    first = nsd.responses(1, voxels=mask).zscore().average_repeats()
    whole = nsd.responses(1, invalid="nan").zscore().average_repeats()
    assert np.array_equal(first.to_numpy(), whole.to_numpy()[:, mask])
    assert np.array_equal(first.to_numpy(), whole.select(voxels=mask).to_numpy())
    assert np.array_equal(first.voxels.geometry.ijk, whole.voxels.select(mask).geometry.ijk)


def test_voxel_blocks_session_blocks_and_direct_reads_are_identical(nsd, nsd_tree, monkeypatch):
    r = nsd.responses(1, roi="nsdgeneral")
    whole = r.to_numpy()
    assert np.array_equal(np.concatenate([b for _, b in r.iter_blocks(7)], axis=1), whole)
    parts = [nsd.responses(1, roi="nsdgeneral", sessions=s, voxels=r.voxels).to_numpy() for s in (1, 2, 3, 4)]
    assert np.array_equal(np.concatenate(parts), whole)
    direct = NSD(nsd_tree.root, cache=None).responses(1, roi="nsdgeneral")
    assert np.array_equal(direct.to_numpy(), whole)
    monkeypatch.setattr(betas_module, "BLOCK_BYTES", 2 * 48 * 5)
    assert np.array_equal(NSD(nsd_tree.root, cache=None).responses(1, roi="nsdgeneral").to_numpy(), whole)


def test_maps_go_back_into_the_volume_and_out_again(nsd, nsd_tree):
    r = nsd.responses(1, roi="nsdgeneral")
    values = r.to_numpy()[:3]
    image = r.voxels.to_nifti(values)
    assert np.array_equal(r.voxels.from_nifti(image), values)
    full = np.asarray(image.dataobj)
    grid = nsd_tree.psc[1, "func1pt8mm"][:3].transpose(1, 2, 3, 0)
    inside = np.isfinite(full)
    assert np.array_equal(full[inside], grid[inside])
    assert inside[..., 0].sum() == r.n_voxels
    assert np.array_equal(image.affine, r.voxels.geometry.affine)


def test_maps_go_back_onto_the_surface_and_out_again(nsd, nsd_tree):
    for space in ("fsaverage", "nativesurface"):
        r = nsd.responses(1, space=space)
        values = r.to_numpy()[0]
        left, right = r.voxels.to_surface(values)
        expected = nsd_tree.psc[1, space][0]
        here = np.isfinite(np.concatenate([left, right]))
        assert np.array_equal(np.concatenate([left, right])[here], expected[here])
        assert here.sum() == len(expected) - 1
        assert np.array_equal(r.voxels.from_surface(left, right), values)


# Voxels without data


@pytest.mark.parametrize("space", ["func1pt8mm", "fsaverage", "nativesurface"])
def test_voxels_out_of_view_are_dropped_kept_as_nan_or_refused(nsd, nsd_tree, space):
    dropped = nsd.responses(1, space=space)
    kept = nsd.responses(1, space=space, invalid="nan")
    assert dropped.provenance[0]["n_invalid"] == kept.provenance[0]["n_invalid"] == kept.n_voxels - dropped.n_voxels > 0
    assert np.isfinite(dropped.to_numpy()).all()
    bad = ~kept.voxels.table["valid"].to_numpy()
    assert bad.sum() == dropped.provenance[0]["n_invalid"]
    assert np.array_equal(np.isnan(kept.to_numpy()).any(0), bad)
    assert np.array_equal(kept.to_numpy()[:, ~bad], dropped.to_numpy())
    with pytest.raises(NeuroDataError, match=r"1 of .* voxels .* no data"):
        nsd.responses(1, space=space, invalid="error")


def test_validity_is_over_the_sessions_used(nsd):
    assert nsd.responses(1, sessions=[1, 2, 3]).provenance[0]["n_invalid"] == 0
    assert nsd.responses(1, sessions=[4]).provenance[0]["n_invalid"] == 1
    assert nsd.responses(1, space="fsaverage", sessions=1).provenance[0]["n_invalid"] == 0


def test_without_valid_files_the_betas_themselves_tell(own_tree, nsd):
    for path in own_tree.root.rglob("valid_session*.nii.gz"):
        path.unlink()
    alone = NSD(own_tree.root, cache=None).responses(1)
    whole = nsd.responses(1)
    assert alone.provenance[0]["n_invalid"] == 1
    assert np.array_equal(alone.to_numpy(), whole.to_numpy())
    assert NSD(own_tree.root, cache=None).responses(1, invalid="nan").voxels.table["valid"].sum() == whole.n_voxels


def test_only_invalid_voxels_is_an_error(nsd):
    whole = nsd.voxels(1)
    with pytest.raises(EmptySelection, match="no voxel has data"):
        nsd.responses(1, voxels=~whole.table["valid"].to_numpy())


def test_a_constant_voxel_becomes_nan_by_zscore_and_never_inf(own_tree, tree_files):
    import h5py

    path = own_tree.betas(1)
    with h5py.File(path) as file:
        data = file["betas"][()]
    data[:, 1, 1, 2] = 300
    path.unlink()
    tree_files["hdf5"](path, data)
    r = NSD(own_tree.root, cache=None).responses(1, sessions=[1, 2])
    at = np.flatnonzero((r.voxels.geometry.ijk == [2, 1, 1]).all(1))[0]
    assert (r.to_numpy()[:48, at] == 1).all()
    z = r.zscore().to_numpy()
    assert np.isnan(z[:48, at]).all()
    assert np.isfinite(np.delete(z, at, axis=1)).all()
    assert np.isfinite(z[48:, at]).all()


# Scaling, repeats, reliability


def test_zscore_by_session_gives_each_session_mean_zero_and_sd_one(nsd):
    z = nsd.responses(1, roi="nsdgeneral").zscore().to_numpy(np.float64).reshape(4, 48, -1)
    assert np.abs(z.mean(1)).max() < 1e-6
    assert np.abs(z.std(1, ddof=1) - 1).max() < 1e-6


def test_zscore_on_training_trials_does_not_see_the_test_trials(own_tree):
    import h5py

    nsd = NSD(own_tree.root, cache=None)
    r = nsd.responses(1, roi="nsdgeneral")
    train = ~r.trials["shared1000"].to_numpy()
    before = r.zscore(fit=train).to_numpy()
    with h5py.File(own_tree.betas(1), "r+") as file:
        rows = np.flatnonzero(~train[:48])
        data = file["betas"][()]
        data[rows] += 900
        file["betas"][...] = data
    after = NSD(own_tree.root, cache=None).responses(1, roi="nsdgeneral").zscore(fit=train).to_numpy()
    assert np.array_equal(before[train], after[train])
    assert not np.array_equal(before[~train], after[~train])


def test_averages_equal_a_plain_loop(nsd, nsd_tree):
    r = nsd.responses(1, roi="nsdgeneral", sessions=[1, 2, 3])
    single = r.zscore().to_numpy(np.float64)
    mean = r.zscore().average_repeats()
    stimulus = nsd_tree.stimulus[1][:144]
    ids = np.unique(stimulus)
    assert mean.trials["stimulus"].tolist() == ids.tolist()
    assert mean.trials["n_repeats"].tolist() == [(stimulus == i).sum() for i in ids]
    expected = np.stack([single[stimulus == i].mean(0) for i in ids])
    np.testing.assert_allclose(mean.to_numpy(), expected, atol=1e-6)


def test_averages_leave_out_trials_without_data(nsd, nsd_tree):
    kept = nsd.responses(1, space="fsaverage", invalid="nan")
    mean = kept.average_repeats().to_numpy()
    stimulus, values = nsd_tree.stimulus[1], nsd_tree.psc[1, "fsaverage"][:, 4]
    for row, image in enumerate(np.unique(stimulus)):
        present = values[stimulus == image]
        present = present[np.isfinite(present)]
        assert np.isnan(mean[row, 4]) if not present.size else np.isclose(mean[row, 4], present.mean(), atol=1e-5)


def test_ncsnr_from_repeats_equals_the_stored_one(nsd, big_tree):
    r = NSD(big_tree.root, cache=None).responses(1, sessions=[1, 2, 3]).zscore().average_repeats(min_repeats=3)
    stored = r.voxels.table["ncsnr"].to_numpy()
    np.testing.assert_allclose(r.ncsnr(), stored, atol=1e-5)
    i, j, k = r.voxels.geometry.ijk.T
    np.testing.assert_allclose(stored, big_tree.ncsnr[1][i, j, k], atol=1e-6)


def test_ncsnr_recovers_what_was_planted_and_global_zscoring_does_not(big_tree):
    r = NSD(big_tree.root, cache=None).responses(1)
    i, j, k = r.voxels.geometry.ijk.T
    planted = big_tree.snr[i, j, k]
    estimate = r.zscore().average_repeats(min_repeats=3).ncsnr()
    assert np.corrcoef(estimate, planted)[0, 1] > 0.99
    assert abs(estimate.mean() / planted.mean() - 1) < 0.02
    assert r.zscore(by=None).average_repeats(min_repeats=3).ncsnr().mean() < 0.75 * planted.mean()


def test_noise_ceiling_uses_the_repeats_that_were_averaged(nsd):
    r = nsd.responses(1, roi="nsdgeneral", sessions=[1, 2, 3]).zscore().average_repeats()
    counts = r.trials["n_repeats"].to_numpy()
    ncsnr = r.voxels.table["ncsnr"].to_numpy()
    expected = ncsnr**2 / (ncsnr**2 + (1 / counts).mean())
    np.testing.assert_allclose(r.noise_ceiling(), expected)
    np.testing.assert_allclose(noise_ceiling(ncsnr, counts), expected)
    assert len(set(counts)) > 1
    np.testing.assert_allclose(r.noise_ceiling(n=3), ncsnr**2 / (ncsnr**2 + 1 / 3))


def test_split_keeps_all_trials_of_a_picture_on_one_side(nsd, nsd_tree):
    r = nsd.responses(1, roi="nsdgeneral")
    for responses in (r, r.zscore().average_repeats()):
        train, test = responses.split("shared1000")
        assert np.array_equal(np.unique(test.stimulus), nsd_tree.shared)
        assert not set(train.stimulus) & set(test.stimulus)
        assert train.n_trials + test.n_trials == responses.n_trials
    with pytest.raises(SplitLeakage):
        r.split((r.trials["session"] == 4).to_numpy())


def test_provenance_says_how_responses_were_made(nsd):
    first, *steps = nsd.responses(1, roi=["V1v", "V1d"]).zscore().average_repeats().provenance
    assert first["betas"] == "fithrf_GLMdenoise_RR"
    assert first["roi"] == ["V1v", "V1d"]
    assert first["space"] == "func1pt8mm"
    assert first["sessions"] == [1, 2, 3, 4]
    assert [s["step"] for s in steps] == ["zscore by session", "average repeats"]


def test_the_fingerprint_changes_with_the_files_and_the_voxels(own_tree):
    def token(**options):
        return NSD(own_tree.root).responses(1, **options).provenance[0]["fingerprint"]

    first = token(roi="nsdgeneral")
    assert token(roi="nsdgeneral") == first != token(roi="V1")
    own_tree.betas(2).touch()
    assert token(roi="nsdgeneral") != first


# Laziness


def test_nothing_opens_betas_until_values_are_read(nsd_tree, monkeypatch):
    opened, read = [], []
    open_, read_ = betas_module.open_hdf5, betas_module.HDF5Reader.read
    monkeypatch.setattr(betas_module, "open_hdf5", lambda path: (opened.append(path), open_(path))[1])
    monkeypatch.setattr(betas_module.HDF5Reader, "read", lambda self, *a: (read.append(self.path), read_(self, *a))[1])
    nsd = NSD(nsd_tree.root, cache=None)
    nsd.subjects, nsd.sessions(1), nsd.trials(1), nsd.voxels(1), nsd.stimuli, nsd.split("shared1000", 1)
    assert not opened
    r = nsd.responses(1, roi="nsdgeneral").zscore().average_repeats()
    assert r.shape[1] > 0
    assert len(set(opened)) == 4  # headers
    assert not read
    next(r.iter_blocks(3))
    assert len(read) == 4


def _block(r, start):
    return r._source.read(slice(start, start + 10))


def test_processes_read_the_same_values(nsd):
    r = nsd.responses(1, roi="nsdgeneral").zscore()
    whole = r.to_numpy()
    again = pickle.loads(pickle.dumps(r))
    assert np.array_equal(again.to_numpy(), whole)
    assert isinstance(nsd.responses(1, roi="nsdgeneral")._source, BetaSource)
    blocks = joblib.Parallel(n_jobs=2)(joblib.delayed(_block)(r, s) for s in (0, 10))
    assert np.array_equal(np.concatenate(blocks, axis=1), whole[:, :20])
