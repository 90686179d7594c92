"""Pictures and captions: one id, from 0, whichever file they come from."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from neuro.datasets import NSD
from neuro.datasets.nsd import captions as captions_module
from neuro.errors import CorruptFile, DataNotDownloaded, ShapeMismatch, UnknownStimulus

FOLDER = "nsddata_stimuli/stimuli/nsd"


def test_pictures_are_rows_of_the_brick(nsd_tree):
    stimuli = NSD(nsd_tree.root).stimuli
    ids = [5, 0, 5, len(nsd_tree.images) - 1]
    assert np.array_equal(stimuli[ids], nsd_tree.images[ids])
    assert np.array_equal(stimuli[7], nsd_tree.images[7])
    assert stimuli.table["cocoId"][7] == 1021
    assert stimuli.table["shared1000"].sum() == 12


def test_png_files_count_from_one_and_are_the_same_pictures(own_tree):
    (own_tree.root / FOLDER / "nsd_stimuli.hdf5").unlink()
    stimuli = NSD(own_tree.root).stimuli
    assert np.array_equal(stimuli.ids, own_tree.shared)
    assert np.array_equal(stimuli[own_tree.shared], own_tree.images[own_tree.shared])
    assert stimuli.table["shared1000"].all()


def test_odd_png_names_are_refused(own_tree):
    folder = own_tree.root / FOLDER
    (folder / "nsd_stimuli.hdf5").unlink()
    next((folder / "shared1000").iterdir()).rename(folder / "shared1000/mine.png")
    with pytest.raises(CorruptFile, match="no other"):
        _ = NSD(own_tree.root).stimuli


def test_no_pictures_says_how_to_get_them(own_tree):
    import shutil

    shutil.rmtree(own_tree.root / FOLDER)
    with pytest.raises(DataNotDownloaded, match=r"nsd_stimuli\.hdf5"):
        _ = NSD(own_tree.root).stimuli


def test_a_brick_of_another_size_is_refused(own_tree):
    path = own_tree.root / FOLDER / "nsd_stimuli.hdf5"
    path.unlink()
    with h5py.File(path, "w") as file:
        file["imgBrick"] = own_tree.images[:-1]
    with pytest.raises(ShapeMismatch, match="115 pictures"):
        _ = NSD(own_tree.root).stimuli
    (own_tree.experiment / "nsd_stim_info_merged.csv").unlink()
    with pytest.raises(ShapeMismatch, match="the design refers to number 115"):
        _ = NSD(own_tree.root).stimuli


def test_every_trial_has_its_picture(nsd_tree):
    nsd = NSD(nsd_tree.root)
    trials = nsd.trials(2)
    assert np.array_equal(nsd.stimuli[trials["stimulus"][:20]], nsd_tree.images[nsd_tree.stimulus[2][:20]])


def test_captions_are_joined_by_coco_id(nsd_tree, tmp_path):
    nsd = NSD(nsd_tree.root, cache=tmp_path)
    assert nsd.captions(4) == ["caption 0 of 4", "caption 1 of 4"]
    assert [c[0] for c in nsd.captions([5, 4, 5])] == ["caption 0 of 5", "caption 0 of 4", "caption 0 of 5"]
    assert len(nsd.captions()) == len(nsd_tree.images)


def test_captions_are_parsed_once(nsd_tree, tmp_path, monkeypatch):
    first = NSD(nsd_tree.root, cache=tmp_path).captions([1, 2])
    monkeypatch.setattr(captions_module, "read_captions", lambda files: pytest.fail("parsed again"))
    assert NSD(nsd_tree.root, cache=tmp_path).captions([1, 2]) == first


def test_captions_cannot_be_changed_by_a_caller(nsd_tree):
    nsd = NSD(nsd_tree.root, cache=None)
    nsd.captions(3).append("mine")
    assert len(nsd.captions(3)) == 2


def test_a_changed_annotation_file_is_parsed_again(own_tree, tmp_path):
    assert len(NSD(own_tree.root, cache=tmp_path / "c").captions(1)) == 2
    path = own_tree.root / FOLDER / "annotations/captions_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"].append({"image_id": 1003, "caption": "a third"})
    path.write_text(json.dumps(content))
    assert NSD(own_tree.root, cache=tmp_path / "c").captions(1)[-1] == "a third"


def test_half_of_the_annotations_serve_half_of_the_pictures(own_tree):
    (own_tree.root / FOLDER / "annotations/captions_val2017.json").unlink()
    nsd = NSD(own_tree.root, cache=None)
    assert nsd.captions(1)
    with pytest.raises(UnknownStimulus, match=r"first \[0, 4\].*train, val"):
        nsd.captions([0, 1, 4])


def test_no_annotations_say_where_they_go(own_tree):
    for path in (own_tree.root / FOLDER / "annotations").iterdir():
        path.unlink()
    with pytest.raises(DataNotDownloaded, match=r"annotations_trainval2017\.zip"):
        NSD(own_tree.root, cache=None).captions(1)


@pytest.mark.parametrize("content", ["{", "[]", '{"annotations": [{"caption": "x"}]}'])
def test_a_damaged_annotation_file_is_named(own_tree, content):
    (own_tree.root / FOLDER / "annotations/captions_val2017.json").write_text(content)
    with pytest.raises(CorruptFile, match="captions_val2017"):
        NSD(own_tree.root, cache=None).captions(1)


def test_captioned_stimuli_carry_their_captions(nsd_tree):
    stimuli = NSD(nsd_tree.root, cache=None).captioned_stimuli([9, 2])
    assert stimuli.captions(2) == [["caption 0 of 2", "caption 1 of 2"]]
    assert len(NSD(nsd_tree.root, cache=None).captioned_stimuli()) == len(nsd_tree.images)
