"""Names and paths."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from neuro.datasets import NSD, open_dataset
from neuro.datasets.nsd.layout import PHANTOM_MARKER, prep_name, subject_number
from neuro.errors import DataNotDownloaded, ShapeMismatch, SpaceMismatch, UnknownPrep


@pytest.mark.parametrize("name", [1, "1", "01", "subj01"])
def test_a_subject_has_one_number_however_it_is_written(name):
    assert subject_number(name) == 1


@pytest.mark.parametrize("name", ["one", 0, -1, 1.0, True, None, "subj01/../subj02"])
def test_other_subject_names_are_refused(name):
    with pytest.raises(DataNotDownloaded):
        subject_number(name)


def test_unknown_betas_name_the_nearest():
    with pytest.raises(UnknownPrep, match="did you mean 'fithrf_GLMdenoise_RR'"):
        prep_name("fithrf_GLMdenoise")


def test_a_subject_that_is_not_on_disk_is_named_with_those_that_are(nsd_tree):
    with pytest.raises(DataNotDownloaded, match=r"no subject 7 .*\[1, 2\]"):
        NSD(nsd_tree.root).voxels(7)


def test_unknown_space_lists_the_spaces(nsd_tree):
    with pytest.raises(SpaceMismatch, match="func1pt8mm"):
        NSD(nsd_tree.root).responses(1, space="func2mm")


def test_preparation_that_is_not_on_disk_says_what_is(nsd_tree):
    with pytest.raises(DataNotDownloaded, match="fithrf_GLMdenoise_RR in func1pt8mm"):
        NSD(nsd_tree.root).responses(1, betas="b1")


def test_a_folder_that_is_no_tree_is_refused_with_a_hint(nsd_tree, tmp_path):
    with pytest.raises(DataNotDownloaded, match="no folder"):
        NSD(tmp_path / "absent")
    with pytest.raises(DataNotDownloaded, match="holds none of"):
        NSD(tmp_path)
    (tmp_path / "nsddata").mkdir()
    with pytest.raises(DataNotDownloaded, match="Did you mean its parent"):
        NSD(tmp_path / "nsddata")


def test_sessions_name_what_is_there_and_what_is_missing(own_tree):
    own_tree.betas(2).unlink()
    own_tree.betas(4).unlink()
    nsd = NSD(own_tree.root)
    table = nsd.sessions(1)
    assert table["present"].tolist() == [True, False, True, False]
    assert table["files"][1] == "betas_session02.hdf5"
    with pytest.warns(UserWarning, match=r"sessions \[2\]"):
        r = nsd.responses(1, roi="nsdgeneral")
    assert r.provenance[0]["sessions"] == [1, 3]
    assert r.provenance[0]["sessions_missing"] == [2, 4]
    assert sorted(r.trials["session"].unique()) == [1, 3]
    with pytest.raises(DataNotDownloaded, match=r"sessions \[2\] are not on disk \(there are \[1, 3\] of 4 planned"):
        nsd.responses(1, sessions=[1, 2])


def test_held_back_sessions_at_the_end_are_no_warning(own_tree):
    own_tree.betas(4).unlink()
    r = NSD(own_tree.root).responses(1, roi="nsdgeneral")  # warnings are errors here
    assert r.provenance[0]["sessions_missing"] == [4]


def test_a_surface_session_needs_both_hemispheres(own_tree):
    own_tree.betas(3, space="fsaverage", suffix="mgh", side="rh.").unlink()
    assert not NSD(own_tree.root).sessions(1, "fsaverage")["present"][2]


def test_hdf5_is_read_where_both_formats_are_there(nsd_tree):
    nsd = NSD(nsd_tree.root)
    assert set(nsd.sessions(2)["format"]) == {"hdf5"}
    assert set(nsd.sessions(2, format="nii.gz")["format"]) == {"nii.gz"}
    assert set(nsd.sessions(2, betas="b2")["format"]) == {"nii.gz"}


def test_a_session_beyond_the_design_is_refused(own_tree):
    own_tree.betas(4).rename(own_tree.betas(5))
    with pytest.raises(ShapeMismatch, match="session 5, but the design plans 4"):
        NSD(own_tree.root).responses(1)


def test_the_marker_tells_a_phantom(own_tree):
    assert not NSD(own_tree.root).is_phantom
    (own_tree.root / PHANTOM_MARKER).write_text("{}")
    nsd = NSD(own_tree.root)
    assert nsd.is_phantom
    assert nsd.responses(1, roi="nsdgeneral").provenance[0]["phantom"]


def test_open_dataset_by_name(nsd_tree):
    assert open_dataset("nsd", nsd_tree.root, cache=None).subjects == [1, 2]
    with pytest.raises(ValueError, match="must be 'nsd'"):
        open_dataset("nds", nsd_tree.root)


def test_a_data_set_can_be_pickled(nsd_tree):
    nsd = pickle.loads(pickle.dumps(NSD(nsd_tree.root)))
    assert nsd.subjects == [1, 2]


def test_importing_loads_nothing_heavy():
    heavy = {"torch", "nilearn", "h5py", "nibabel", "matplotlib", "sklearn"}
    code = f"import neuro.datasets, sys; neuro.datasets.NSD; print(*({heavy} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert loaded.split() == []
