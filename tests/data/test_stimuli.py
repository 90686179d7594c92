"""Stimuli: order, laziness, identity, and what bad files say."""

from __future__ import annotations

import pickle
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from neuro.data import Stimuli
from neuro.errors import CorruptFile, DuplicateIds, EmptySelection, ShapeMismatch, UnknownStimulus


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (5, 8, 10, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, images):
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"pic{4 - i}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_array_folder_hdf5_and_zip_give_the_same_pixels_in_the_same_order(folder, images, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    with h5py.File(other / "s.h5", "w") as file:
        file["imgBrick"] = images[::-1]
    with zipfile.ZipFile(other / "s.zip", "w") as archive:
        archive.writestr("inner/", "")
        for path in sorted(folder.glob("*.png"), reverse=True):
            archive.write(path, f"inner/{path.name}")
    backings = {
        "array": Stimuli.from_array(images[::-1]),
        "folder": Stimuli.from_folder(folder),
        "hdf5": Stimuli.from_hdf5(other / "s.h5"),
        "zip": Stimuli.from_zip(other / "s.zip"),
    }
    for name, stimuli in backings.items():
        assert len(stimuli) == 5, name
        np.testing.assert_array_equal(stimuli[stimuli.ids], images[::-1], err_msg=name)
        np.testing.assert_array_equal(stimuli[stimuli.ids[[3, 0, 3]]], images[::-1][[3, 0, 3]], err_msg=name)
        restored = pickle.loads(pickle.dumps(stimuli))
        np.testing.assert_array_equal(restored[stimuli.ids[2]], images[::-1][2], err_msg=name)
    assert backings["folder"].ids.tolist() == [f"pic{i}" for i in range(5)]


def test_selection_keeps_order_table_and_identity(images):
    table = pd.DataFrame({"stimulus": [4, 3, 2, 1, 0], "captions": [["e"], ["d"], ["c"], ["b", "bb"], ["a"]]})
    stimuli = Stimuli.from_array(images, table=table)
    chosen = stimuli.select([3, 1])
    assert chosen.captions() == [["d"], ["b", "bb"]]
    assert chosen.hashes() == stimuli.hashes([3, 1])
    assert chosen.select([1]).fingerprint() == stimuli.select([1]).fingerprint()
    assert chosen.fingerprint() != stimuli.select([1, 3]).fingerprint()
    np.testing.assert_array_equal(chosen[1], images[1])


def test_hash_follows_the_content_and_nothing_else(images):
    changed = images.copy()
    changed[2, 0, 0, 0] ^= 1
    a, b = Stimuli.from_array(images), Stimuli.from_array(changed)
    assert [x == y for x, y in zip(a.hashes(), b.hashes(), strict=True)] == [True, True, False, True, True]


def test_touching_a_file_changes_the_token_but_not_the_hash(folder):
    stimuli = Stimuli.from_folder(folder)
    token, hashes = stimuli.source_token(), stimuli.hashes()
    import os

    os.utime(folder / "pic0.png", ns=(1, 1))
    assert stimuli.source_token() != token
    assert stimuli.hashes() == hashes


def test_batches_cover_everything_once(images):
    stimuli = Stimuli.from_array(images, ids=list("abcde"))
    seen = [(key, item) for ids, items in stimuli.batches(2) for key, item in zip(ids, items, strict=True)]
    assert [k for k, _ in seen] == list("abcde")
    np.testing.assert_array_equal(np.stack([x for _, x in seen]), images)


def test_texts_are_stimuli_too():
    stimuli = Stimuli.from_texts(["one", "two"], ids=["x", "y"])
    assert stimuli.kind == "text"
    assert stimuli["y"] == "two"
    assert stimuli[["y", "x"]] == ["two", "one"]


def test_clips_keep_their_time_axis(rng):
    clips = rng.integers(0, 256, (2, 4, 6, 6, 3), dtype=np.uint8)
    stimuli = Stimuli.from_array(clips)
    assert stimuli.kind == "clip"
    np.testing.assert_array_equal(stimuli[[1]], clips[1:])


def test_images_of_several_sizes_come_as_a_list_and_refuse_to_stack(tmp_path):
    for name, size in (("a", (4, 4)), ("b", (6, 4))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    stimuli = Stimuli.from_folder(tmp_path)
    assert [i.shape for i in stimuli.images()] == [(4, 4, 3), (4, 6, 3)]
    with pytest.raises(ShapeMismatch, match=r"\.images\(ids\)"):
        stimuli[stimuli.ids]


def test_bad_input_is_named(folder, images, tmp_path_factory):
    with pytest.raises(DuplicateIds, match="'a'"):
        Stimuli.from_array(images, ids=list("aabcd"))
    with pytest.raises(UnknownStimulus, match="did you mean 'pic1'"):
        Stimuli.from_folder(folder)[["pic1x"]]
    with pytest.raises(EmptySelection):
        Stimuli.from_folder(tmp_path_factory.mktemp("empty"))
    with pytest.raises(EmptySelection):
        Stimuli.from_array(images).select([])
    with pytest.raises(ShapeMismatch, match="move the colour axis last"):
        Stimuli.from_array(np.zeros((2, 3, 8, 8), np.uint8))
    with pytest.raises(ShapeMismatch, match="Scale to 0"):
        Stimuli.from_array(np.zeros((2, 8, 8, 3)))
    with pytest.raises(ShapeMismatch, match="4 rows for 5 stimuli"):
        Stimuli.from_array(images, table=pd.DataFrame({"x": range(4)}))
    with pytest.raises(ShapeMismatch, match="4 ids for 5"):
        Stimuli.from_array(images, ids=range(4))
    (folder / "pic2.png").write_bytes((folder / "pic2.png").read_bytes()[:40])
    with pytest.raises(CorruptFile, match=r"pic2\.png"):
        Stimuli.from_folder(folder)["pic2"]


def test_truncated_containers_are_named(tmp_path, images):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["imgBrick"] = images
    (tmp_path / "cut.h5").write_bytes((tmp_path / "s.h5").read_bytes()[:-300])
    with pytest.raises(CorruptFile, match=r"cut\.h5"):
        Stimuli.from_hdf5(tmp_path / "cut.h5")
    with pytest.raises(CorruptFile, match=r"no data set 'other'.*imgBrick"):
        Stimuli.from_hdf5(tmp_path / "s.h5", dataset="other")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04nothing")
    with pytest.raises(CorruptFile, match=r"cut\.zip"):
        Stimuli.from_zip(tmp_path / "cut.zip")


def test_opening_a_brick_reads_no_pixels(tmp_path, images, monkeypatch):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["imgBrick"] = images
    reads = []
    original = h5py.Dataset.__getitem__
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda self, *a: reads.append(a) or original(self, *a))
    stimuli = Stimuli.from_hdf5(tmp_path / "s.h5").select([3, 4])
    assert not reads
    np.testing.assert_array_equal(stimuli[[4, 3]], images[[4, 3]])
    assert len(reads) == 1  # neighbours are one read


def test_inputs_are_not_shared(images):
    ids = np.arange(5)
    stimuli = Stimuli.from_array(images, ids=ids)
    ids[0] = 99
    assert stimuli.ids[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        stimuli.ids[0] = 1
    got = stimuli[0]
    got[:] = 0
    assert images[0].any()
