"""Regions: numbers, names, hemispheres, and which voxels a space has."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from neuro.data import Voxels
from neuro.datasets import NSD
from neuro.datasets.nsd.rois import read_ctab
from neuro.errors import CorruptFile, DataNotDownloaded, EmptySelection, ShapeMismatch, SpaceMismatch, UnknownROI

SPACE = "func1pt8mm"


@pytest.fixture(scope="module")
def nsd(nsd_tree):
    return NSD(nsd_tree.root, cache=None)


def at(voxels, volume):
    return volume[tuple(voxels.geometry.ijk.T)]


def test_a_label_is_exactly_the_voxels_with_its_number(nsd, nsd_tree):
    voxels = nsd.voxels(1)
    numbers = at(voxels, nsd_tree.labels[1, f"{SPACE}/prf-visualrois"])
    assert (numbers < 0).any()
    for number, name in enumerate(["V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"], 1):
        assert np.array_equal(voxels.roi(name), numbers == number)
    assert np.array_equal(voxels.roi("prf-visualrois"), numbers > 0)
    assert np.array_equal(voxels.roi("V1"), (numbers == 1) | (numbers == 2))


def test_union_intersection_and_hemispheres_are_algebra_on_masks(nsd):
    voxels = nsd.voxels(1)
    assert np.array_equal(voxels.roi(["V1v", "V1d"]), voxels.roi("V1v") | voxels.roi("V1d"))
    both = voxels.roi("V1v") & voxels.roi("nsdgeneral")
    assert voxels.select("V1v").roi("nsdgeneral").sum() == both.sum() > 0
    left, right = voxels.roi("nsdgeneral", hemi="L"), voxels.roi("nsdgeneral", hemi="R")
    assert not (left & right).any()
    assert np.array_equal(left | right, voxels.roi("nsdgeneral"))


@pytest.mark.parametrize("roi", ["nsdgeneral", "V1", "OPA", ["V1v", "hV4"], "Kastner2015:V1v"])
@pytest.mark.parametrize("hemi", ["both", "L", "R"])
def test_reading_a_region_equals_selecting_it_from_the_brain(nsd, roi, hemi):
    whole = nsd.voxels(1)
    part = nsd.voxels(1, roi=roi, hemi=hemi)
    expected = whole.select(whole.roi(roi, hemi=hemi))
    assert np.array_equal(part.geometry.ijk, expected.geometry.ijk)
    assert part.table.equals(expected.table)
    assert {a: part.labels(a) for a in part.atlases} == {a: expected.labels(a) for a in part.atlases}


def test_hemisphere_comes_from_the_label_files(nsd, nsd_tree):
    voxels = nsd.voxels(1)
    assert np.array_equal(voxels.table["hemi"], at(voxels, nsd_tree.hemi[1, SPACE]))


def test_voxels_are_the_brain_mask_in_canonical_order(nsd, nsd_tree):
    voxels = nsd.voxels(1)
    brain = np.asarray(nib.load(nsd_tree.roi("x").parents[1] / "brainmask.nii.gz").dataobj) > 0
    assert np.array_equal(voxels.geometry.ijk, np.argwhere(brain))
    assert np.array_equal(voxels.geometry.affine, nib.load(nsd_tree.roi("nsdgeneral")).affine)


def test_without_a_brain_mask_the_voxels_are_cortex(own_tree):
    (own_tree.roi("x").parents[1] / "brainmask.nii.gz").unlink()
    voxels = NSD(own_tree.root).voxels(1)
    assert np.array_equal(voxels.geometry.ijk, np.argwhere(own_tree.labels[1, f"{SPACE}/nsdgeneral"] >= 0))


def test_a_label_outside_the_brain_mask_is_kept(own_tree, tree_files):
    path = own_tree.roi("x").parents[1] / "brainmask.nii.gz"
    image = nib.load(path)
    tree_files["nifti"](path, np.zeros(image.shape, np.uint8), image.affine)
    voxels = NSD(own_tree.root).voxels(1)
    labelled = np.any([v > 0 for (s, k), v in own_tree.labels.items() if s == 1 and k.startswith(SPACE)], axis=0)
    assert len(voxels) == labelled.sum()


def test_hemispheres_join_where_the_joint_file_is_missing(own_tree, nsd):
    own_tree.roi("nsdgeneral").unlink()
    joined = NSD(own_tree.root).voxels(1, roi="nsdgeneral")
    assert np.array_equal(joined.geometry.ijk, nsd.voxels(1, roi="nsdgeneral").geometry.ijk)


def test_names_are_known_where_the_label_table_was_not_downloaded(own_tree, nsd):
    for path in (own_tree.root / "nsddata/freesurfer").rglob("*.ctab"):
        path.unlink()
    voxels = NSD(own_tree.root).voxels(1)
    assert np.array_equal(voxels.roi("V2d"), nsd.voxels(1).roi("V2d"))
    assert voxels.labels("RSCgroup") == ["1", "2"]  # no published names: numbers


def test_unknown_region_lists_the_nearest_and_all(nsd):
    with pytest.raises(UnknownROI, match="did you mean 'PPA' or 'OPA'"):
        nsd.responses(1, roi="OPPA")
    with pytest.raises(UnknownROI, match="nsdgeneral"):
        nsd.voxels(1, roi="FFA-1")


def test_a_name_in_two_atlases_means_the_one_drawn_in_the_person(nsd, nsd_tree):
    voxels = nsd.voxels(1)
    assert np.array_equal(voxels.roi("RSC"), at(voxels, nsd_tree.labels[1, f"{SPACE}/floc-places"]) == 3)
    assert np.array_equal(voxels.roi("RSCgroup:RSC"), at(voxels, nsd_tree.labels[1, f"{SPACE}/RSCgroup"]) == 1)


def test_a_name_in_two_group_atlases_is_an_error_that_lists_them(own_tree, tree_files):
    labels = own_tree.root / "nsddata/freesurfer/subj01/label"
    (labels / "Kastner2015.mgz.ctab").write_text("0 Unknown\n1 RSC\n2 V1d\n3 V2v\n4 V2d\n")
    for name in ("floc-places", "lh.floc-places", "rh.floc-places"):
        own_tree.roi(name).unlink()
    with pytest.raises(UnknownROI, match="Kastner2015, RSCgroup"):
        NSD(own_tree.root).responses(1, roi="RSC")


def test_no_label_files_is_said_as_that(own_tree):
    for path in own_tree.roi("x").parent.glob("*.nii.gz"):
        path.unlink()
    with pytest.raises(DataNotDownloaded, match="label files"):
        NSD(own_tree.root).responses(1, roi="nsdgeneral")


def test_label_files_of_another_grid_or_with_fractions_are_refused(own_tree, tree_files):
    tree_files["nifti"](own_tree.roi("floc-places"), np.zeros((5, 6, 7), np.int16), np.eye(4))
    with pytest.raises(ShapeMismatch, match=r"floc-places\.nii\.gz: expected"):
        NSD(own_tree.root).voxels(1)
    tree_files["nifti"](own_tree.roi("floc-places"), np.full((7, 6, 5), 0.5, np.float32), np.eye(4))
    with pytest.raises(CorruptFile, match="whole numbers"):
        NSD(own_tree.root).voxels(1)


def test_a_bad_label_table_is_named(tmp_path):
    (tmp_path / "a.ctab").write_text("0 Unknown\n1\n")
    with pytest.raises(CorruptFile, match="number name"):
        read_ctab(tmp_path / "a.ctab")
    (tmp_path / "b.ctab").write_text("#head\n0   Unknown  0 0 0 0\n\n 12 G_and_S  1 2 3 0\n")
    assert read_ctab(tmp_path / "b.ctab") == {0: "Unknown", 12: "G_and_S"}


def test_surface_labels_are_read_and_other_maps_left_alone(nsd, nsd_tree):
    for space, sizes in (("fsaverage", (23, 19)), ("nativesurface", (29, 31))):
        voxels = nsd.voxels(1, space)
        assert voxels.atlases == ["Kastner2015"]
        assert voxels.geometry.n_vertices == sizes
        numbers = nsd_tree.labels[1, f"{space}/Kastner2015"]
        assert np.array_equal(voxels.roi("V1v"), numbers == 1)
        assert voxels.table["hemi"].tolist() == ["L"] * sizes[0] + ["R"] * sizes[1]


# Masks of the caller


def test_a_mask_may_be_given_in_any_form(nsd, nsd_tree, tmp_path):
    whole = nsd.voxels(1)
    mask = whole.roi("hV4")
    chosen = whole.select(mask)
    grid = np.zeros(chosen.geometry.shape, bool)
    grid[tuple(chosen.geometry.ijk.T)] = True
    image = whole.to_nifti(mask.astype(np.uint8), fill=0)
    nib.save(image, tmp_path / "mask.nii.gz")
    expected = nsd.responses(1, roi="hV4", sessions=[1, 2]).to_numpy()
    for form in (mask, grid, image, tmp_path / "mask.nii.gz", str(tmp_path / "mask.nii.gz"), chosen):
        assert np.array_equal(nsd.responses(1, voxels=form, sessions=[1, 2]).to_numpy(), expected)
    inside = nsd.responses(1, roi="nsdgeneral", voxels=mask, sessions=1)
    assert inside.n_voxels == (mask & whole.roi("nsdgeneral")).sum()


def test_the_mask_of_another_subject_is_refused_in_any_form(nsd):
    mine, theirs = nsd.voxels(1), nsd.voxels(2)
    for form, error in (
        (np.ones(len(theirs), bool), ShapeMismatch),
        (np.ones(theirs.geometry.shape, bool), ShapeMismatch),
        (theirs, SpaceMismatch),
        (theirs.to_nifti(np.ones(len(theirs))), SpaceMismatch),
        (Voxels(len(mine)), SpaceMismatch),
        (nsd.voxels(1, "fsaverage"), SpaceMismatch),
        (nsd.voxels(1, "func1mm"), SpaceMismatch),
    ):
        with pytest.raises(error, match=r"subject|geometry"):
            nsd.responses(1, voxels=form)


def test_masks_of_other_kinds_are_refused(nsd):
    with pytest.raises(ShapeMismatch, match="boolean mask"):
        nsd.responses(1, voxels=np.arange(5))
    with pytest.raises(UnknownROI, match="masks go into voxels="):
        nsd.responses(1, roi=np.ones(5, bool))
    with pytest.raises(EmptySelection):
        nsd.responses(1, voxels=np.zeros(len(nsd.voxels(1)), bool))
    with pytest.raises(SpaceMismatch, match="NIfTI mask"):
        nsd.responses(1, space="fsaverage", voxels=nsd.voxels(1).to_nifti(np.ones(len(nsd.voxels(1)))))
    with pytest.raises(ValueError, match="hemi must be"):
        nsd.responses(1, hemi="left")


def test_maps_are_read_at_the_voxels(nsd, nsd_tree):
    path = nsd_tree.roi("x").parents[1] / "prf_angle.nii.gz"
    values = np.asarray(nib.load(path).dataobj)
    part = nsd.voxels(1, roi="V1")
    assert np.array_equal(nsd.map(1, "prf_angle", voxels=part), at(part, values))
    assert np.array_equal(nsd.map(1, "prf_angle"), at(nsd.voxels(1), values))
    assert np.array_equal(nsd.map(1, "Kastner2015", "fsaverage"), nsd_tree.labels[1, "fsaverage/Kastner2015"])
    with pytest.raises(DataNotDownloaded, match="prf_size"):
        nsd.map(1, "prf_size")
    with pytest.raises(ValueError, match="named like"):
        nsd.map(1, "../../secret")
