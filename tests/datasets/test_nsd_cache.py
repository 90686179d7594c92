"""The cache of betas: built once, whole or absent, never stale, small in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from neuro.datasets import NSD
from neuro.datasets.nsd import betas as betas_module
from neuro.datasets.nsd import cache as cache_module
from neuro.datasets.nsd.cache import cache_folder
from neuro.errors import CorruptFile, StoreError


@pytest.fixture
def reads(monkeypatch):
    """Sessions read from the data set, in order."""
    seen = []
    original = betas_module.SessionReader.read

    def read(self, *args):
        seen.append(self.session.number)
        return original(self, *args)

    monkeypatch.setattr(betas_module.SessionReader, "read", read)
    return seen


def files(folder):
    return sorted(folder.rglob("*.npy"))


def test_each_session_is_read_once_and_later_from_the_cache(nsd_tree, tmp_path, reads):
    r = NSD(nsd_tree.root, cache=tmp_path).responses(1, roi="nsdgeneral")
    assert not files(tmp_path)
    first = r.to_numpy()
    assert reads == [1, 2, 3, 4]
    again = NSD(nsd_tree.root, cache=tmp_path).responses(1, roi="nsdgeneral")
    assert np.array_equal(again.zscore().to_numpy(), r.zscore().to_numpy())
    assert np.array_equal(again.select("V1").to_numpy(), first[:, r.voxels.roi("V1")])
    assert reads == [1, 2, 3, 4]


def test_the_cache_holds_what_the_data_set_holds(nsd_tree, tmp_path):
    r = NSD(nsd_tree.root, cache=tmp_path).responses(1, roi="nsdgeneral")
    psc = r.to_numpy()
    arrays = [np.load(p, allow_pickle=False) for p in files(tmp_path)]
    assert [a.dtype for a in arrays] == [np.int16] * 4
    assert np.array_equal(np.concatenate(arrays, axis=1).T / np.float32(300), psc)


def test_an_interrupted_build_goes_on_where_it_stopped(own_tree, tmp_path, reads, monkeypatch):
    nsd = NSD(own_tree.root, cache=tmp_path / "cache")
    original = betas_module.HDF5Reader.read

    def stop(self, *args):
        if "session03" in self.path.name:
            raise KeyboardInterrupt
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(betas_module.HDF5Reader, "read", stop)
        with pytest.raises(KeyboardInterrupt):
            nsd.responses(1, roi="nsdgeneral").to_numpy()
    assert len(files(tmp_path / "cache")) == 2
    assert not [p for p in (tmp_path / "cache").rglob("*") if ".tmp" in p.name]
    reads.clear()
    resumed = nsd.responses(1, roi="nsdgeneral").to_numpy()
    assert reads == [3, 4]
    assert np.array_equal(resumed, NSD(own_tree.root, cache=None).responses(1, roi="nsdgeneral").to_numpy())


def test_a_killed_build_leaves_no_half_session(nsd_tree, tmp_path):
    script = f"""
        import time
        from neuro.datasets import NSD
        from neuro.datasets.nsd import betas
        read = betas.HDF5Reader.read
        def slow(self, *args):
            if "session02" in self.path.name:
                print("reading", flush=True)
                time.sleep(60)
            return read(self, *args)
        betas.HDF5Reader.read = slow
        NSD({str(nsd_tree.root)!r}, cache={str(tmp_path)!r}).responses(1, roi="nsdgeneral").to_numpy()
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"reading\n"
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert [p.name[:9] for p in files(tmp_path) if not p.name.startswith(".")] == ["session01"]
    again = NSD(nsd_tree.root, cache=tmp_path).responses(1, roi="nsdgeneral").to_numpy()
    assert np.array_equal(again, NSD(nsd_tree.root, cache=None).responses(1, roi="nsdgeneral").to_numpy())


def test_a_replaced_session_is_built_again_and_its_old_copy_removed(own_tree, tmp_path, reads):
    nsd = NSD(own_tree.root, cache=tmp_path / "cache")
    first = nsd.responses(1, roi="nsdgeneral").to_numpy()
    import h5py

    with h5py.File(own_tree.betas(2), "r+") as file:
        data = file["betas"][()]
        data[:, data.any(0)] += 30
        file["betas"][...] = data
    reads.clear()
    second = nsd.responses(1, roi="nsdgeneral").to_numpy()
    assert reads == [2]
    assert len(files(tmp_path / "cache")) == 4
    np.testing.assert_allclose(second[48:96], first[48:96] + 0.1, atol=1e-5)
    assert np.array_equal(np.delete(second, np.s_[48:96], 0), np.delete(first, np.s_[48:96], 0))


def test_a_new_session_costs_only_itself(own_tree, tmp_path, reads):
    path = own_tree.betas(4)
    path.rename(path.with_suffix(".later"))
    nsd = NSD(own_tree.root, cache=tmp_path / "cache")
    mask = nsd.voxels(1).roi("V1")
    nsd.responses(1, voxels=mask, invalid="nan").to_numpy()
    path.with_suffix(".later").rename(path)
    reads.clear()
    nsd.responses(1, voxels=mask, invalid="nan").to_numpy()
    assert reads == [4]


@pytest.mark.parametrize("damage", [lambda b: b[:-10], lambda b: b[:20], lambda b: b"", lambda b: b"\x80\x04" + b])
def test_a_damaged_cache_file_is_built_again(nsd_tree, tmp_path, reads, damage):
    first = NSD(nsd_tree.root, cache=tmp_path).responses(1, roi="nsdgeneral").to_numpy()
    victim = files(tmp_path)[1]
    victim.write_bytes(damage(victim.read_bytes()))
    reads.clear()
    assert np.array_equal(NSD(nsd_tree.root, cache=tmp_path).responses(1, roi="nsdgeneral").to_numpy(), first)
    assert reads == [2]


def test_a_pickle_in_place_of_a_cache_file_is_never_loaded(nsd_tree, tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    r = NSD(nsd_tree.root, cache=tmp_path).responses(1, roi="nsdgeneral")
    first = r.to_numpy()
    victim = files(tmp_path)[1]
    victim.write_bytes(pickle.dumps(Bomb()))
    assert np.array_equal(NSD(nsd_tree.root, cache=tmp_path).responses(1, roi="nsdgeneral").to_numpy(), first)
    np.save(victim, np.array([Bomb()], dtype=object), allow_pickle=True)
    assert np.array_equal(NSD(nsd_tree.root, cache=tmp_path).responses(1, roi="nsdgeneral").to_numpy(), first)
    assert not (tmp_path / "exploded").exists()


def test_blocks_of_any_size_write_the_same_cache(nsd_tree, tmp_path, monkeypatch):
    for space in ("func1pt8mm", "fsaverage"):
        NSD(nsd_tree.root, cache=tmp_path / "a").responses(1, space=space).to_numpy()
        with monkeypatch.context() as patch:
            patch.setattr(
                betas_module.SessionReader, "blocks", lambda self, n: [slice(a, a + 7) for a in range(0, n, 7)]
            )
            NSD(nsd_tree.root, cache=tmp_path / "b").responses(1, space=space).to_numpy()
    a, b = files(tmp_path / "a"), files(tmp_path / "b")
    assert len(a) == 8
    assert [p.read_bytes() for p in a] == [p.read_bytes() for p in b]


def test_full_disk_is_said_before_anything_is_written(nsd_tree, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda p: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(StoreError, match=r"needs 0\.00 GB"):
        NSD(nsd_tree.root, cache=tmp_path).responses(1, roi="nsdgeneral").to_numpy()
    assert not files(tmp_path)


def test_a_cache_that_cannot_be_written_says_so(nsd_tree, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="no cache can be written"):
        NSD(nsd_tree.root, cache=tmp_path / "file").responses(1, roi="nsdgeneral").to_numpy()


def test_a_disk_that_fills_up_keeps_the_sessions_written_before(nsd_tree, tmp_path, monkeypatch):
    original = os.fsync
    calls = []

    def fsync(handle):
        calls.append(handle)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        original(handle)

    monkeypatch.setattr(cache_module.os, "fsync", fsync)
    with pytest.raises(StoreError, match="No space left"):
        NSD(nsd_tree.root, cache=tmp_path).responses(1, roi="nsdgeneral").to_numpy()
    assert len(files(tmp_path)) == 2


def test_the_place_of_the_cache(tmp_path, monkeypatch):
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.delenv("NEURO_CACHE", raising=False)
    assert cache_folder(root, None) is None
    assert cache_folder(root, "auto") == root / ".neuro_cache"
    assert cache_folder(root, tmp_path / "c").parent == tmp_path / "c"
    assert cache_folder(root, tmp_path / "c") != cache_folder(tmp_path, tmp_path / "c")
    monkeypatch.setenv("NEURO_CACHE", str(tmp_path / "env"))
    assert cache_folder(root, "auto").parent == tmp_path / "env"
    monkeypatch.delenv("NEURO_CACHE")
    monkeypatch.setattr(cache_module.os, "access", lambda path, mode: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(root, "auto").parent == tmp_path / "xdg/neuro"


def test_a_corrupt_source_is_not_called_a_cache_problem(own_tree, tmp_path):
    nsd = NSD(own_tree.root, cache=tmp_path / "cache")
    r = nsd.responses(1, roi="nsdgeneral")
    path = own_tree.betas(2)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CorruptFile, match="betas_session02"):
        r.to_numpy()
