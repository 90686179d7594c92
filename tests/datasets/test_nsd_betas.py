"""Beta files: scale, axis order and damage, format by format."""

from __future__ import annotations

import gzip
import shutil

import h5py
import nibabel as nib
import numpy as np
import pytest

from neuro.datasets import NSD
from neuro.datasets.nsd import betas as betas_module
from neuro.datasets.nsd.betas import HDF5Reader, StreamReader, to_psc
from neuro.errors import CorruptFile, ShapeMismatch

GRID = (8, 7, 6)  # subject 2


@pytest.fixture(params=["hdf5", "nii.gz"])
def reader(request, nsd_tree):
    path = nsd_tree.betas(2, 2, suffix=request.param)
    return (HDF5Reader if request.param == "hdf5" else StreamReader).open(path, GRID)


def truth(tree, session=2):
    return tree.psc[2, "func1pt8mm"][(session - 1) * 48 : session * 48]


def test_reader_gives_any_voxels_in_any_order(reader, nsd_tree, rng):
    flat = truth(nsd_tree).reshape(48, -1)
    for index in (np.arange(336), rng.permutation(336)[:50], np.array([335]), np.array([7, 7, 3])):
        got = to_psc(reader.read(index))
        assert np.array_equal(np.nan_to_num(got), flat[:, index].T)


def test_stored_values_are_300_times_percent(reader, nsd_tree):
    flat = truth(nsd_tree).reshape(48, -1)
    stored = reader.read(np.arange(336))
    assert stored.dtype == np.int16
    assert np.array_equal(stored, np.round(flat.T * 300))


def test_the_first_trials_alone_can_be_read(reader):
    index = np.arange(0, 336, 5)
    assert np.array_equal(reader.read(index, 7), reader.read(index)[:, :7])


def test_hdf5_and_nifti_hold_the_same_bits_for_any_mask(nsd_tree, rng):
    hdf5 = HDF5Reader.open(nsd_tree.betas(1, 2), GRID)
    nifti = StreamReader.open(nsd_tree.betas(1, 2, suffix="nii.gz"), GRID)
    raw = np.asarray(nib.load(nifti.path).dataobj)
    for _ in range(3):
        mask = rng.random(GRID) < 0.2
        index = np.flatnonzero(mask)
        assert np.array_equal(hdf5.read(index), nifti.read(index))
        assert np.array_equal(hdf5.read(index), raw[mask])  # the order of image[mask]


@pytest.mark.parametrize("by_voxel", [True, False])
def test_hdf5_reads_the_same_whatever_the_chunks_and_runs(own_tree, tree_files, monkeypatch, rng, by_voxel):
    path = own_tree.betas(1, 2)
    with h5py.File(path) as file:
        data = file["betas"][()]
    path.unlink()
    tree_files["hdf5"](path, data, chunks=by_voxel)
    monkeypatch.setattr(betas_module, "BLOCK_BYTES", 2 * 48 * 3)  # runs of three voxels at most
    reader = HDF5Reader.open(path, GRID)
    assert reader.by_voxel == by_voxel
    index = rng.permutation(336)[:120]
    assert np.array_equal(reader.read(index), data.transpose(3, 2, 1, 0).reshape(336, 48)[index])


def test_a_voxel_that_is_zero_all_session_has_no_data():
    stored = np.array([[0, 0, 0], [0, 3, 0], [300, 300, 300]], np.int16)
    expected = np.array([[np.nan] * 3, [0, 0.01, 0], [1, 1, 1]], np.float32)
    assert np.array_equal(to_psc(stored), expected, equal_nan=True)
    assert betas_module.no_data(stored).tolist() == [True, False, False]
    assert betas_module.no_data(np.full((1, 4), np.nan, np.float32)).tolist() == [True]


def test_int16_becomes_percent_once_in_float32():
    stored = np.arange(-32767, 32768, 7, dtype=np.int16)[:, None]
    psc = to_psc(stored)
    assert psc.dtype == np.float32
    assert np.array_equal(psc[stored[:, 0] != 0], (stored.astype(np.float32) / np.float32(300))[stored[:, 0] != 0])


def test_surface_values_are_percent_already(nsd_tree):
    nsd = NSD(nsd_tree.root, cache=None)
    for space in ("fsaverage", "nativesurface"):
        r = nsd.responses(1, space=space, invalid="nan")
        expected = nsd_tree.psc[1, space].copy()
        expected[48:, 4] = np.nan
        assert np.array_equal(r.to_numpy(), expected, equal_nan=True)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_an_unknown_header_scale_is_refused(own_tree, scale):
    path = own_tree.betas(1, 2, suffix="nii.gz")
    image = nib.load(path)
    data = np.asarray(image.dataobj)
    header = image.header.copy()
    header.set_slope_inter(scale, 0)
    new = nib.Nifti1Image(data, image.affine, header)
    new.header.set_data_dtype(np.int16)
    path.unlink()
    # nibabel rescales when it saves, so the header is patched in place.
    plain = path.with_name(path.name[:-3])
    nib.save(nib.Nifti1Image(data, image.affine), plain)
    raw = bytearray(plain.read_bytes())
    raw[112:116] = np.float32(scale).tobytes()
    plain.write_bytes(bytes(raw))
    with pytest.raises(CorruptFile, match="header scales"):
        StreamReader.open(plain, GRID)


def test_a_header_that_scales_by_one_300th_is_not_applied_twice(own_tree, nsd_tree):
    image = nib.load(own_tree.betas(1, 2, suffix="nii.gz"))
    plain = own_tree.betas(1, 2, suffix="nii")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), plain)
    raw = bytearray(plain.read_bytes())
    raw[112:116] = np.float32(1 / 300).tobytes()
    plain.write_bytes(bytes(raw))
    got = to_psc(StreamReader.open(plain, GRID).read(np.arange(336)))
    assert np.array_equal(np.nan_to_num(got), truth(nsd_tree, 1).reshape(48, -1).T)


# Damage


def replaced(tree, change, subject=1, suffix="hdf5"):
    path = tree.betas(2, subject, suffix=suffix)
    with h5py.File(path) as file:
        data = file["betas"][()]
    path.unlink()
    with h5py.File(path, "w") as file:
        change(file, data)
    return NSD(tree.root, cache=None)


def test_truncated_hdf5_is_named_before_anything_is_read(own_tree):
    path = own_tree.betas(3)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CorruptFile, match=r"betas_session03.*cut short"):
        NSD(own_tree.root).responses(1, roi="nsdgeneral")


def test_a_hdf5_that_is_something_else_is_named(own_tree):
    own_tree.betas(3).write_bytes(b"<html>403 Forbidden</html>")
    with pytest.raises(CorruptFile, match="betas_session03"):
        NSD(own_tree.root).responses(1)


def test_wrong_axis_order_is_refused_with_the_reason(own_tree):
    nsd = replaced(own_tree, lambda f, d: f.create_dataset("betas", data=d.transpose(3, 2, 1, 0)))
    with pytest.raises(ShapeMismatch, match="axes are reversed"):
        nsd.responses(1)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint16])
def test_wrong_type_of_numbers_is_refused(own_tree, dtype):
    nsd = replaced(own_tree, lambda f, d: f.create_dataset("betas", data=d.astype(dtype)))
    with pytest.raises(CorruptFile, match="must be int16"):
        nsd.responses(1)


def test_missing_dataset_lists_what_is_there(own_tree):
    nsd = replaced(own_tree, lambda f, d: f.create_dataset("beta", data=d))
    with pytest.raises(CorruptFile, match=r"no data set 'betas'; it holds \['beta'\]"):
        nsd.responses(1)


def test_wrong_number_of_trials_is_refused(own_tree):
    nsd = replaced(own_tree, lambda f, d: f.create_dataset("betas", data=d[:40]))
    with pytest.raises(ShapeMismatch, match="holds 40 trials, the design plans 48"):
        nsd.responses(1)


def test_betas_of_another_subject_do_not_fit(own_tree):
    shutil.copy(own_tree.betas(2, 2), own_tree.betas(2, 1))
    with pytest.raises(ShapeMismatch, match="expected betas"):
        NSD(own_tree.root).responses(1)


def test_nifti_with_reversed_axes_is_refused(own_tree, tree_files):
    path = own_tree.betas(2, 2, prep="fithrf", suffix="nii.gz")
    data = np.asarray(nib.load(path).dataobj)
    tree_files["nifti"](path, np.ascontiguousarray(data.transpose(2, 1, 0, 3)), np.eye(4))
    with pytest.raises(ShapeMismatch, match="axes are reversed"):
        NSD(own_tree.root).responses(2, betas="b2")


def test_float_nifti_is_refused(own_tree, tree_files):
    path = own_tree.betas(2, 2, prep="fithrf", suffix="nii.gz")
    data = np.asarray(nib.load(path).dataobj)
    tree_files["nifti"](path, data.astype(np.float32) / 300, np.eye(4))
    with pytest.raises(CorruptFile, match="must be int16"):
        NSD(own_tree.root).responses(2, betas="b2")


def test_truncated_nifti_gives_no_partial_result(own_tree, tmp_path):
    path = own_tree.betas(4, 2, prep="fithrf", suffix="nii.gz")
    path.write_bytes(path.read_bytes()[:-3000])
    nsd = NSD(own_tree.root, cache=tmp_path / "cache")
    with pytest.raises(CorruptFile, match=r"betas_session04.*ends early"):
        nsd.responses(2, betas="b2", roi="nsdgeneral").to_numpy()
    kept = sorted(p.name[:9] for p in (tmp_path / "cache").rglob("*.npy"))
    assert kept == ["session01", "session02", "session03"]
    assert not list((tmp_path / "cache").rglob("*.tmp*"))


def test_truncated_mgh_is_named_before_anything_is_read(own_tree):
    path = own_tree.betas(2, space="fsaverage", suffix="mgh", side="lh.")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptFile, match=r"lh.betas_session02.mgh is .* bytes, expected"):
        NSD(own_tree.root).responses(1, space="fsaverage")


def test_gzip_of_noise_is_named(own_tree):
    path = own_tree.betas(2, 2, prep="fithrf", suffix="nii.gz")
    path.write_bytes(gzip.compress(b"noise" * 300))
    with pytest.raises(CorruptFile, match="betas_session02"):
        NSD(own_tree.root).responses(2, betas="b2")
