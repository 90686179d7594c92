"""Clips: one frame rate and frame size for all, lazily read, and what differing clips say."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from neuro.data import Clips, Stimuli
from neuro.errors import CorruptFile, EmptySelection, ShapeMismatch, UnknownStimulus


@pytest.fixture
def movies(rng):
    return rng.integers(0, 256, (3, 12, 6, 8, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, movies):
    """Clips "a" and "b" as folders of frames, "c" as an array; frame names need numbers read as numbers."""
    for name, movie in zip("ab", movies, strict=False):
        (tmp_path / name).mkdir()
        for k, frame in enumerate(movie):
            Image.fromarray(frame).save(tmp_path / name / f"frame{k}.png")
        (tmp_path / name / "notes.txt").write_text("no frame")
    np.save(tmp_path / "c.npy", movies[2])
    return tmp_path


def test_array_folder_and_hdf5_give_the_same_frames(folder, movies, tmp_path_factory):
    path = tmp_path_factory.mktemp("h5") / "m.h5"
    with h5py.File(path, "w") as file:
        file["clips"] = movies
        file["clips"].attrs["fps"] = 24.0
    backings = {
        "array": Clips.from_array(movies, ids=list("abc"), fps=24),
        "folder": Clips.from_folder(folder, fps=24),
        "hdf5": Clips.from_hdf5(path, ids=list("abc")),
    }
    for name, clips in backings.items():
        assert clips.ids.tolist() == ["a", "b", "c"], name
        assert (clips.fps, clips.frame_size, clips.n_frames.tolist(), clips.kind) == (24.0, (6, 8), [12] * 3, "clip")
        np.testing.assert_array_equal(clips[["c", "a", "a"]], movies[[2, 0, 0]], err_msg=name)
        for i, (key, frames) in enumerate(clips):
            assert key == "abc"[i]
            np.testing.assert_array_equal(frames, movies[i], err_msg=name)
        restored = pickle.loads(pickle.dumps(clips))
        np.testing.assert_array_equal(restored.frames("b", slice(2, 9, 3)), movies[1, 2:9:3], err_msg=name)
    assert backings["array"].hashes(["c"]) == backings["folder"].hashes(["c"]) == backings["hdf5"].hashes(["c"])
    np.testing.assert_allclose(backings["folder"].duration, 0.5)


def test_selection_keeps_rate_captions_and_identity(movies):
    table = pd.DataFrame({"stimulus": [2, 1, 0], "captions": [["c"], ["b", "bb"], ["a"]]})
    clips = Clips.from_array(movies, fps=10, table=table)
    chosen = clips.select([2, 1])
    assert isinstance(chosen, Clips)
    assert isinstance(chosen, Stimuli)
    assert (chosen.fps, chosen.captions()) == (10, [["c"], ["b", "bb"]])
    assert chosen.fingerprint() == clips.select([2, 1]).fingerprint()
    assert chosen.fingerprint() != clips.select([1, 2]).fingerprint()
    assert chosen.with_table(pd.DataFrame({"x": [1, 2]})).table["x"].tolist() == [1, 2]
    np.testing.assert_array_equal(next(iter(chosen.batches(1)))[1][0], movies[2])


def test_fingerprint_follows_content_and_rate(movies):
    changed = movies.copy()
    changed[1, 5, 0, 0, 0] ^= 1
    a, b = Clips.from_array(movies, fps=10), Clips.from_array(changed, fps=10)
    assert [x == y for x, y in zip(a.hashes(), b.hashes(), strict=True)] == [True, False, True]
    assert len({a.fingerprint(), b.fingerprint(), Clips.from_array(movies, fps=20).fingerprint()}) == 3
    assert a.fingerprint() == Clips.from_array(movies.copy(), fps=10).fingerprint()


def test_other_frame_rates_are_refused_or_resampled_nearest_in_time(movies):
    with pytest.raises(ShapeMismatch, match=r"0 has 30 frames per second, clip 2 has 15.*resample=True"):
        Clips.from_array(movies, fps=[30, 30, 15])
    clips = Clips.from_array(movies, fps=[30, 30, 15], resample=True)
    assert clips.fps == 15
    assert clips.n_frames.tolist() == [6, 6, 12]
    # frame i of 15 per second stands for the time between frames 2i and 2i + 1 of 30 per second
    np.testing.assert_array_equal(clips.frames(0), movies[0, 1::2])
    np.testing.assert_array_equal(clips.frames(2), movies[2])
    np.testing.assert_allclose(clips.duration, [0.4, 0.4, 0.8])
    up = Clips.from_array(movies, fps=10, resample=30)
    np.testing.assert_array_equal(up.frames(1), movies[1].repeat(3, axis=0))
    named = Clips.from_array(movies, ids=list("abc"), fps={"c": 15, "a": 30, "b": 30}, resample=True)
    np.testing.assert_array_equal(named.frames("a"), clips.frames(0))
    assert named.select(["b", "a"]).fps == 15
    np.testing.assert_array_equal(named.select(["b", "a"]).frames("b"), clips.frames(1))
    assert clips.hashes()[2] != Clips.from_array(movies, fps=30).hashes()[2]
    same = Clips.from_array(movies, fps=[30, 30, 30], resample=True)
    assert same.fingerprint() == Clips.from_array(movies, fps=30).fingerprint()


@pytest.mark.parametrize(("have", "want"), [(24, 30), (25, 10), (60, 24), (12, 5)])
def test_resampled_frames_are_nearest_in_time(have, want):
    movie = np.zeros((1, 50, 2, 2, 3), np.uint8)
    movie[0, :, 0, 0, 0] = np.arange(50)
    picked = Clips.from_array(movie, fps=have, resample=want).frames(0)[:, 0, 0, 0].astype(int)
    middle = (np.arange(len(picked)) + 0.5) / want
    error = np.abs((picked + 0.5) / have - middle)
    best = np.abs((np.arange(50)[:, None] + 0.5) / have - middle).min(0)
    np.testing.assert_allclose(error, best, atol=1e-12)
    assert abs(len(picked) / want - 50 / have) <= 0.5 / want


def test_stills_are_pictures(movies):
    clips = Clips.from_array(movies, fps=10)
    still = clips.stills()
    assert still.kind == "image"
    np.testing.assert_array_equal(still[2], movies[2, 6])
    np.testing.assert_array_equal(clips.stills("last")[[1, 0]], movies[[1, 0], -1])
    np.testing.assert_array_equal(clips.stills("mean")[0], np.round(movies[0].mean(0)))
    assert still.fingerprint() != clips.stills("first").fingerprint()
    with pytest.raises(ValueError, match="'middle', 'first', 'last' or 'mean'"):
        clips.stills("best")


def test_clips_of_several_lengths_come_one_by_one(tmp_path, movies):
    np.save(tmp_path / "long.npy", movies[0])
    np.save(tmp_path / "short.npy", movies[1, :5])
    clips = Clips.from_folder(tmp_path, fps=10)
    assert clips.n_frames.tolist() == [12, 5]
    assert repr(clips).startswith("Clips(2 of 5-12 frames, 6 x 8, 10 fps")
    with pytest.raises(ShapeMismatch, match=r"\.images\(ids\)"):
        clips[["long", "short"]]


def test_inputs_are_not_shared(movies):
    clips = Clips.from_array(movies, fps=10)
    before = movies.copy()
    clips.frames(0)[:] = 0
    np.testing.assert_array_equal(movies, before)
    with pytest.raises(ValueError, match="read-only"):
        clips.n_frames[0] = 1


def test_opening_reads_no_frames(folder, monkeypatch):
    reads = []
    original = Image.Image.convert
    monkeypatch.setattr(Image.Image, "convert", lambda self, *a, **k: reads.append(1) or original(self, *a, **k))
    clips = Clips.from_folder(folder, fps=10).select(["a", "b"])
    assert clips.n_frames.tolist() == [12, 12]
    assert not reads
    clips.frames("a")
    assert len(reads) == 12


def test_touching_a_frame_changes_the_token_but_not_the_hash(folder):
    import os

    clips = Clips.from_folder(folder, fps=10)
    token, hashes = clips.source_token(), clips.hashes()
    os.utime(folder / "a" / "frame3.png", ns=(1, 1))
    assert clips.source_token() != token
    assert clips.hashes() == hashes
    slow = Clips.from_folder(folder, fps={"a": 20, "b": 20, "c": 10}, resample=True)
    assert slow.source_token() != clips.source_token()
    assert slow.stills().source_token() not in (None, slow.source_token())


@pytest.mark.parametrize(
    ("fps", "message"),
    [
        (None, "frames per second the clips have"),
        (0, "above 0 frames per second, got 0 for clip 0"),
        (float("nan"), "above 0"),
        ([10, 10], "one for each of 3 clips"),
        ({0: 10, 1: 10}, r"no rate for 1 clips, first \[2\]"),
    ],
)
def test_bad_rates_are_named(movies, fps, message):
    with pytest.raises(ValueError, match=message):
        Clips.from_array(movies, fps=fps)


def test_bad_input_is_named(folder, movies, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    with pytest.raises(ShapeMismatch, match=r"\(n, n_frames, height, width, 3\)"):
        Clips.from_array(movies[0], fps=10)
    with pytest.raises(ShapeMismatch, match="uint8"):
        Clips.from_array(movies.astype(float), fps=10)
    with pytest.raises(ShapeMismatch, match="got images from an array"):
        Clips(Stimuli.from_array(movies[0])._backing, [0], np.array([0]), None, 10)
    with pytest.raises(ValueError, match="resample must be"):
        Clips.from_array(movies, fps=10, resample=-3)
    with pytest.raises(FileNotFoundError):
        Clips.from_folder(other / "none", fps=10)
    with pytest.raises(EmptySelection, match="no clip"):
        Clips.from_folder(other, fps=10)
    with pytest.raises(UnknownStimulus):
        Clips.from_folder(folder, fps=10).frames("d")
    with pytest.raises(ShapeMismatch, match="frames 0 to 11"):
        Clips.from_folder(folder, fps=10).frames("a", [12])
    (folder / "empty").mkdir()
    with pytest.raises(EmptySelection, match="empty"):
        Clips.from_folder(folder, fps=10)
    Image.new("RGB", (8, 9)).save(folder / "empty" / "f0.png")
    with pytest.raises(ShapeMismatch, match=r"a is 6 x 8, clip empty is 9 x 8"):
        Clips.from_folder(folder, fps=10)
    (folder / "empty" / "f0.png").write_bytes(b"nothing")
    with pytest.raises(CorruptFile, match=r"f0\.png"):
        Clips.from_folder(folder, fps=10)


def test_a_frame_of_another_size_and_bad_arrays_are_named(folder):
    Image.new("RGB", (9, 9)).save(folder / "b" / "frame7.png")
    clips = Clips.from_folder(folder, fps=10)
    with pytest.raises(ShapeMismatch, match=r"clip b: frame frame7\.png is 9 x 9, the first frame 6 x 8"):
        clips.frames("b")
    np.save(folder / "c.npy", np.zeros((3, 6, 8, 3)))
    with pytest.raises(ShapeMismatch, match=r"c\.npy must be uint8 \(n_frames"):
        Clips.from_folder(folder, fps=10)
    (folder / "c.npy").write_bytes(b"\x93NUMPY nothing")
    with pytest.raises(CorruptFile, match=r"c\.npy"):
        Clips.from_folder(folder, fps=10)


def test_bad_hdf5_is_named(tmp_path, movies):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["pictures"] = movies[0]
    with pytest.raises(FileNotFoundError):
        Clips.from_hdf5(tmp_path / "none.h5", fps=10)
    with pytest.raises(CorruptFile, match=r"no data set 'clips'.*pictures"):
        Clips.from_hdf5(tmp_path / "m.h5", fps=10)
    with pytest.raises(ShapeMismatch, match=r"uint8 clips \(n, n_frames"):
        Clips.from_hdf5(tmp_path / "m.h5", "pictures", fps=10)
