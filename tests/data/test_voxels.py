"""Voxels: region algebra, and maps that are exact inverses of masking."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.data import Surface, Volume, Voxels
from neuro.errors import EmptySelection, ShapeMismatch, SpaceMismatch, UnknownROI

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2.5, -72], [0, 0, 0, 1]])


def make_volume(rng, shape=(5, 7, 4), share=0.4):
    mask = rng.random(shape) < share
    return mask, Voxels.from_mask(nib.Nifti1Image(mask.astype(np.uint8), AFFINE))


def test_canonical_order_is_nifti_masking_and_reversed_hdf5_indexing(rng):
    mask, voxels = make_volume(rng)
    volume = rng.standard_normal((6, *mask.shape))
    i, j, k = voxels.geometry.ijk.T
    np.testing.assert_array_equal(volume[:, i, j, k], volume[:, mask])
    hdf5 = np.ascontiguousarray(volume.transpose(0, 3, 2, 1))  # (trials, Z, Y, X)
    np.testing.assert_array_equal(hdf5[:, k, j, i], volume[:, mask])
    assert not np.array_equal(hdf5[:, mask.T], volume[:, mask])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.sampled_from(["float32", "float64", "int16"]))
def test_volume_round_trip_is_bit_exact(seed, k, dtype):
    rng = np.random.default_rng(seed)
    mask, voxels = make_volume(rng, shape=(3, 5, 4), share=0.5)
    values = (rng.standard_normal((k, len(voxels))) * 100).astype(dtype)
    image = voxels.to_nifti(values)
    np.testing.assert_array_equal(voxels.from_nifti(image), values)
    outside = np.asarray(image.dataobj)[~mask]
    assert np.isnan(outside).all()
    np.testing.assert_array_equal(image.affine, AFFINE)
    one = voxels.to_nifti(values[0])
    assert one.shape == mask.shape
    np.testing.assert_array_equal(voxels.from_nifti(one), values[0])


def test_round_trip_survives_the_disk(rng, tmp_path):
    _, voxels = make_volume(rng)
    values = rng.standard_normal(len(voxels)).astype(np.float32)
    nib.save(voxels.to_nifti(values), tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(voxels.from_nifti(tmp_path / "map.nii.gz"), values)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_surface_round_trip_is_bit_exact(seed):
    rng = np.random.default_rng(seed)
    sizes = (11, 17)
    keep = [np.sort(rng.permutation(n)[: n // 2]) for n in sizes]
    geometry = Surface("test", sizes, np.repeat(["L", "R"], [len(x) for x in keep]), np.concatenate(keep))
    voxels = Voxels(len(geometry), geometry)
    values = rng.standard_normal((3, len(voxels))).astype(np.float32)
    left, right = voxels.to_surface(values)
    assert (left.shape, right.shape) == ((3, 11), (3, 17))
    np.testing.assert_array_equal(voxels.from_surface(left, right), values)
    assert np.isnan(left).sum() == 3 * (11 - len(keep[0]))
    gifti = voxels.to_gifti(values)
    np.testing.assert_array_equal(np.stack([a.data for a in gifti[0].darrays]), left)
    np.testing.assert_array_equal(voxels.table["hemi"], geometry.hemi)


@pytest.fixture
def voxels():
    return Voxels(
        pd.DataFrame({"hemi": list("LLLRRR"), "ncsnr": np.linspace(0, 1, 6)}),
        atlases={
            "nsdgeneral": np.array([True, True, True, True, False, True]),
            "prf-visualrois": ["V1v", "V1d", "V2v", "V1v", "", ""],
            "Kastner2015": ["V1v", "V1v", "V1d", "", "IPS0", "LO1"],
            "HCP": ["", "", "", "", "", "LO1"],
            "floc-faces": ["", "", "", "", "FFA-1", "FFA-2"],
        },
    )


def test_regions_by_label_atlas_union_and_hemisphere(voxels):
    assert voxels.roi("FFA-1").tolist() == [False, False, False, False, True, False]
    assert voxels.roi("nsdgeneral").sum() == 5
    assert voxels.roi(["V1v", "V1d"]).tolist() == [True, True, False, True, False, False]
    np.testing.assert_array_equal(voxels.roi("V1"), voxels.roi("V1v") | voxels.roi("V1d"))
    assert voxels.roi("V1v", hemi="L").sum() == 1
    np.testing.assert_array_equal(
        voxels.roi("V1v", hemi="L") | voxels.roi("V1v", hemi="R"), voxels.roi("V1v", hemi="both")
    )
    assert (voxels.roi("nsdgeneral") & (voxels.table["ncsnr"] > 0.5)).sum() == 2


def test_a_clash_prefers_the_persons_own_atlas_and_resolves_by_atlas(voxels):
    np.testing.assert_array_equal(voxels.roi("V1v"), voxels.roi("prf-visualrois:V1v"))
    assert voxels.roi("Kastner2015:V1v").tolist() == [True, True, False, False, False, False]
    np.testing.assert_array_equal(voxels.roi("V1v", atlas="Kastner2015"), voxels.roi("Kastner2015:V1v"))
    with pytest.raises(UnknownROI, match="several atlases: Kastner2015, HCP"):
        voxels.roi("LO1")


def test_unknown_regions_list_the_alternatives(voxels):
    with pytest.raises(UnknownROI, match="did you mean 'FFA-1'"):
        voxels.roi("FFA1")
    with pytest.raises(UnknownROI, match="did you mean 'floc-faces'"):
        voxels.roi("FFA-1", atlas="floc-face")
    with pytest.raises(ValueError, match="hemi must be"):
        voxels.roi("V1", hemi="left")
    with pytest.raises(EmptySelection):
        voxels.select(np.zeros(6, bool))
    with pytest.raises(UnknownROI, match="boolean mask of 6"):
        voxels.roi(np.ones(5, bool))


def test_selection_carries_table_atlases_and_geometry(rng):
    _, voxels = make_volume(rng)
    voxels = voxels.with_columns(ncsnr=rng.random(len(voxels))).with_atlas("half", np.arange(len(voxels)) % 2 == 0)
    half = voxels.select("half")
    np.testing.assert_array_equal(half.geometry.ijk, voxels.geometry.ijk[::2])
    np.testing.assert_array_equal(half.table["ncsnr"], voxels.table["ncsnr"][::2])
    assert (half.atlas("half") == "half").all()


def test_label_images_become_atlases_and_minus_one_is_never_a_label(rng):
    shape = (4, 5, 3)
    labels = rng.integers(-1, 3, shape)
    mask = np.ones(shape, np.uint8)
    image = nib.Nifti1Image(labels.astype(np.int16), AFFINE)
    voxels = Voxels.from_mask(nib.Nifti1Image(mask, AFFINE), {"a": (image, {1: "one", 2: "two"})})
    assert voxels.roi("one").sum() == (labels == 1).sum()
    assert voxels.roi("a").sum() == (labels > 0).sum()


@pytest.mark.parametrize("kind", ["volume", "surface", "none"])
def test_save_and_load_round_trip(kind, rng, tmp_path, voxels):
    geometry = {
        "volume": Volume((2, 3, 4), AFFINE, np.argwhere(np.ones((2, 3, 4)))[:6]),
        "surface": Surface("m", (4, 5), np.array(list("LLLRRR")), np.array([0, 1, 3, 0, 2, 4])),
        "none": None,
    }[kind]
    voxels = Voxels(voxels.table, geometry, {a: voxels.atlas(a) for a in voxels.atlases})
    voxels.save(tmp_path / "v")
    back = Voxels.load(tmp_path / "v")
    pd.testing.assert_frame_equal(back.table, voxels.table, check_dtype=False)
    assert back.labels() == voxels.labels()
    if kind == "volume":
        np.testing.assert_array_equal(back.geometry.ijk, geometry.ijk)
    if kind == "surface":
        np.testing.assert_array_equal(back.geometry.vertex, geometry.vertex)


def test_wrong_sizes_and_spaces_are_named(rng, voxels):
    _, here = make_volume(rng)
    with pytest.raises(ShapeMismatch, match=r"expected values for"):
        here.to_nifti(np.zeros(len(here) + 1))
    with pytest.raises(SpaceMismatch, match="no geometry"):
        voxels.to_nifti(np.zeros(6))
    with pytest.raises(SpaceMismatch, match="needs voxels with a Surface"):
        here.to_surface(np.zeros(len(here)))
    with pytest.raises(ShapeMismatch, match="grid"):
        here.from_nifti(nib.Nifti1Image(np.zeros((3, 3, 3)), AFFINE))
    with pytest.raises(SpaceMismatch, match="affine"):
        here.from_nifti(nib.Nifti1Image(np.zeros((5, 7, 4)), np.eye(4)))
    with pytest.raises(ShapeMismatch, match="6 rows but the geometry 1"):
        Voxels(voxels.table, Volume((2, 2, 2), AFFINE, [[0, 0, 0]]))
    with pytest.raises(ShapeMismatch, match="inside the grid"):
        Volume((2, 2, 2), AFFINE, [[0, 0, 2]])
    with pytest.raises(ShapeMismatch, match="duplicates"):
        Volume((2, 2, 2), AFFINE, [[0, 0, 1], [0, 0, 1]])
