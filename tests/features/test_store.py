"""The store: rows by id, only what is missing computed, nothing stale reused, nothing lost."""

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from neuro.data import Stimuli
from neuro.errors import CorruptFile, StaleStore, StoreError, StoreLocked, UnknownLayer
from neuro.features import writer
from neuro.features.pipeline import FeatureSource
from neuro.features.store import HEADER, FeatureStore, LayerRows


class Counting(FeatureSource):
    """Two layers with known values, counting what it computes: plain numpy, so that processes start fast."""

    name = "counting"
    batch_size = 4

    def __init__(self, version=1):
        self.version = version
        self.computed = []

    def identity(self):
        return {"network": {"source": "counting", "weights": self.version}, "preprocess": {"mean": [0.5, 0.5]}}

    def layer_specs(self, layers):
        all_layers = {"mean": (3,), "corner/pixel": (2, 3)}
        return {k: {"shape": all_layers[k], "spec": {"pool": None}} for k in (all_layers if layers is None else layers)}

    def compute(self, prepared, layers, pad_to=0):
        self.computed += [(layer, float(i.mean())) for i in prepared for layer in layers]
        mean = np.stack([i.reshape(-1, 3).mean(0) for i in prepared])
        corner = np.stack([i[0, :2].reshape(-1) for i in prepared])
        return {k: {"mean": mean, "corner/pixel": corner}[k].astype(np.float32) for k in layers}


@pytest.fixture
def source():
    return Counting()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


def extract(source, stimuli, path, **options):
    return source.extract(stimuli, store=path, progress=False, **options)


def contents(path):
    return {p.name: p.read_bytes() for p in sorted(path.iterdir()) if p.name != "lock"}


def test_a_store_gives_what_memory_gives(source, stimuli, path):
    memory, stored = source.extract(stimuli, progress=False), extract(source, stimuli, path)
    again = FeatureStore.open(path)
    for layer in memory.layers:
        np.testing.assert_array_equal(stored.rows(layer), memory.rows(layer))
        np.testing.assert_array_equal(again[layer][:], memory[layer][:])
        np.testing.assert_array_equal(again.rows(layer, ["im03", "im01", "im03"]), memory.rows(layer)[[3, 1, 3]])
    assert again.ids.tolist() == stimuli.ids.tolist()
    assert again.layers == {"mean": (3,), "corner/pixel": (2, 3)}
    assert again.maps("corner/pixel").shape == (12, 2, 3)
    assert stored.fingerprint == memory.fingerprint == again.fingerprint
    assert again["mean"].shape == (12, 3)
    assert np.asarray(again["mean"], dtype=np.float64).dtype == np.float64


def test_numpy_reads_a_layers_file(source, stimuli, path):
    stored = extract(source, stimuli, path)
    np.testing.assert_array_equal(np.load(path / "000_mean.npy", allow_pickle=False), stored.rows("mean"))
    mapped = np.load(path / "001_corner_pixel.npy", mmap_mode="r", allow_pickle=False)
    assert mapped.shape == (12, 6)


def test_nothing_is_computed_twice(source, stimuli, path):
    extract(source, stimuli, path)
    assert len(source.computed) == 24
    before = contents(path)
    extract(source, stimuli, path)
    assert len(source.computed) == 24
    assert contents(path) == before


def test_only_missing_stimuli_are_computed_and_any_order_is_given_back(source, stimuli, path):
    extract(source, stimuli.select(["im05", "im02"]), path)
    source.computed.clear()
    found = extract(source, stimuli, path)
    assert len(source.computed) == 20
    np.testing.assert_array_equal(found.rows("mean"), source.extract(stimuli, progress=False).rows("mean"))
    assert found.ids.tolist() == stimuli.ids.tolist()


def test_only_missing_layers_are_computed(source, stimuli, path):
    extract(source, stimuli.select(["im05", "im02", "im03"]), path, layers=["mean"])
    source.computed.clear()
    extract(source, stimuli.select(["im02", "im07"]), path)
    assert sorted(layer for layer, _ in source.computed) == ["corner/pixel", "corner/pixel", "mean"]
    store = FeatureStore.open(path)
    assert store.finished("corner/pixel").tolist() == ["im02", "im07"]
    with pytest.raises(StoreError, match="lacks 2 of 4 stimuli"):
        store["corner/pixel"]
    expected = source.extract(stimuli.select(["im07", "im02"]), progress=False)
    np.testing.assert_array_equal(store.rows("corner/pixel", ["im07", "im02"]), expected.rows("corner/pixel"))
    with pytest.raises(StoreError, match="lacks 1 of these 2 stimuli"):
        store.rows("corner/pixel", ["im07", "im05"])
    found = extract(source, stimuli, path)
    np.testing.assert_array_equal(
        found.rows("corner/pixel"), source.extract(stimuli, progress=False).rows("corner/pixel")
    )


@pytest.mark.parametrize("ids", [[7, 3, 11, 5], ["01", "1", "NA", "ä/b"]])
def test_integer_and_text_ids_survive(source, pictures, path, ids):
    stimuli = Stimuli.from_array(pictures[:4], ids=ids)
    extract(source, stimuli, path)
    store = FeatureStore.open(path)
    assert store.ids.tolist() == ids
    assert store.ids.dtype.kind == ("i" if isinstance(ids[0], int) else "U")
    np.testing.assert_array_equal(store.rows("mean", ids[::-1]), store.rows("mean")[::-1])


def test_a_store_made_otherwise_is_never_reused_and_the_difference_is_named(source, stimuli, path):
    extract(source, stimuli, path)
    before = contents(path)
    with pytest.raises(StaleStore, match=r"network.weights: 1 in the store, 2 now"):
        extract(Counting(version=2), stimuli, path)

    class Pooled(Counting):
        def layer_specs(self, layers):
            return {k: {**v, "spec": {"pool": "max"}} for k, v in super().layer_specs(layers).items()}

    with pytest.raises(StaleStore, match=r"layers\['mean'\].spec.pool: None in the store, 'max' now"):
        extract(Pooled(), stimuli, path)
    half = Counting()
    half.dtype = "float16"
    with pytest.raises(StaleStore, match="float16"):
        extract(half, stimuli, path)
    assert contents(path) == before


def test_another_version_of_this_code_makes_a_store_stale(source, stimuli, path, monkeypatch):
    extract(source, stimuli, path)
    from neuro.features import pipeline

    monkeypatch.setattr(pipeline, "FEATURES_VERSION", 2)
    with pytest.raises(StaleStore, match="features_version: 1 in the store, 2 now"):
        extract(source, stimuli, path)


@pytest.mark.parametrize(
    "changes", [{"pool": None}, {"precision": "bfloat16"}, {"preprocess": "imagenet"}, {"project": 8}]
)
def test_every_choice_of_an_extractor_enters_the_fingerprint(toy, stimuli, path, changes):
    from neuro.features.extractor import Extractor

    base = Extractor(toy, preprocess="unit", input_size=16, layers=["mix"], device="cpu")
    extract(base, stimuli.select(["im00", "im01"]), path)
    with pytest.raises(StaleStore):
        extract(base.with_options(**changes), stimuli.select(["im00", "im01"]), path)


def test_other_weights_make_a_store_stale(make_toy, stimuli, path):
    from neuro.features.extractor import Extractor

    extract(Extractor(make_toy(0), preprocess="unit", input_size=16, layers=["mix"], device="cpu"), stimuli, path)
    with pytest.raises(StaleStore, match=r"network\.weights"):
        extract(Extractor(make_toy(1), preprocess="unit", input_size=16, layers=["mix"], device="cpu"), stimuli, path)


def test_changed_contents_are_an_error_or_recomputed_by_choice(source, pictures, path):
    extract(source, Stimuli.from_array(pictures), path)
    changed = pictures.copy()
    changed[[2, 9]] = 255 - changed[[2, 9]]
    with pytest.raises(StaleStore, match=r"other contents for 2 of these 12 stimuli, first \[2, 9\]"):
        extract(source, Stimuli.from_array(changed), path)
    source.computed.clear()
    found = extract(source, Stimuli.from_array(changed), path, on_change="recompute")
    assert len(source.computed) == 4
    np.testing.assert_array_equal(found.rows("mean"), source.extract(changed, progress=False).rows("mean"))
    assert FeatureStore.open(path).ids.tolist() == list(range(12))


def test_unchanged_files_are_not_hashed_again(source, pictures, tmp_path, path):
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"im{i:02d}.png")
    stimuli = Stimuli.from_folder(folder)
    hashed = []

    class Watching(Counting):
        def hashes(self, stimuli, ids):
            hashed.extend(ids)
            return super().hashes(stimuli, ids)

    extract(Watching(), stimuli, path)
    assert len(hashed) == 12
    extract(Watching(), stimuli, path)
    assert len(hashed) == 12
    # The same pixels under new times are compared once, and then known.
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    extract(Watching(), Stimuli.from_folder(folder), path)
    extract(Watching(), Stimuli.from_folder(folder), path)
    assert len(hashed) == 24
    # Two overlapping selections, in turns, as subjects who share images.
    for _ in range(2):
        for ids in (stimuli.ids[:8], stimuli.ids[4:]):
            extract(Watching(), Stimuli.from_folder(folder).select(ids), path)
    assert len(hashed) == 24 + 16
    Image.fromarray(255 - pictures[3]).save(folder / "im03.png")
    with pytest.raises(StaleStore, match="'im03'"):
        extract(Watching(), Stimuli.from_folder(folder), path)


def test_float16_halves_the_size_and_reads_as_float32(stimuli, path):
    from neuro.features.image_statistics import PixelStatistics

    source = PixelStatistics(grid=2, size=16, dtype="float16")
    found = extract(source, stimuli, path)
    exact = PixelStatistics(grid=2, size=16).extract(stimuli, progress=False)
    assert found["pixels"].dtype == np.float16
    assert found.rows("pixels").dtype == np.float32
    np.testing.assert_allclose(found.rows("pixels"), exact.rows("pixels"), rtol=1e-3)


# Crashes


CRASH = """
    import os, signal, sys
    import numpy as np
    from neuro._files import write_json
    from neuro.data import Stimuli
    from neuro.features import writer
    sys.path.insert(0, {tests!r})
    from test_store import Counting

    images = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
    stimuli = Stimuli.from_array(images)
    writer.COMMIT_SECONDS = -1.0

    def run(folder, fatal=None):
        "Extract in a child; with a number, die by SIGKILL in the middle of the n-th write, or at the n-th fsync."
        child = os.fork()
        if child:
            return os.waitpid(child, 0)[1]
        left = [fatal]
        real_write, real_fsync, real_json = writer._write_at, os.fsync, writer.write_json

        def due():
            if left[0] is not None:
                left[0] -= 1
                return left[0] == 0

        def die():
            os.kill(os.getpid(), signal.SIGKILL)

        def write(file, offset, data):
            if due():
                real_write(file, offset, data[: len(data) // 2])
                die()
            real_write(file, offset, data)

        def fsync(handle):
            if due():
                die()
            real_fsync(handle)

        def json(path, value):
            if due():
                die()
            real_json(path, value)

        writer._write_at, os.fsync, writer.write_json = write, fsync, json
        try:
            Counting().extract(stimuli, store=folder, progress=False)
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)

    def contents(folder):
        return {{p: open(os.path.join(folder, p), "rb").read() for p in sorted(os.listdir(folder)) if p != "lock"}}

    root = sys.argv[1]
    assert run(os.path.join(root, "whole")) == 0
    expected = contents(os.path.join(root, "whole"))
    n = 0
    while True:
        n += 1
        folder = os.path.join(root, str(n))
        status = run(folder, fatal=n)
        if status == 0:
            break
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
        assert run(folder) == 0, n
        assert contents(folder) == expected, n
        twice = os.path.join(root, f"{{n}}-twice")
        run(twice, fatal=n); run(twice, fatal=n)
        assert run(twice) == 0, n
        assert contents(twice) == expected, n
    print(n - 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_write_the_next_run_ends_with_the_same_bytes(tmp_path):
    script = textwrap.dedent(CRASH).format(tests=os.path.dirname(__file__))
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


EXTRACT = """
    import sys
    import numpy as np
    import torch
    from neuro.data import Stimuli
    from neuro.features import Extractor, writer

    writer.COMMIT_SECONDS = 0.02
    torch.manual_seed(0)
    blocks = [torch.nn.Sequential(torch.nn.Conv2d(c, 32, 3, padding=1), torch.nn.ReLU(True)) for c in (3, 32, 32)]
    extractor = Extractor(
        torch.nn.Sequential(*blocks), preprocess="unit", input_size=48, layers=["0", "2"], batch_size=8, device="cpu"
    )
    images = np.random.default_rng(0).integers(0, 256, (400, 48, 48, 3), dtype=np.uint8)
    for path in sys.argv[1:]:
        extractor.extract(Stimuli.from_array(images), store=path, progress=False)
"""


def test_a_real_kill_9_costs_no_finished_row(tmp_path):
    """The extraction of a real network is killed twice while it writes, then finished, against an undisturbed run."""
    script, killed, whole = textwrap.dedent(EXTRACT), tmp_path / "killed", tmp_path / "whole"
    seen = []
    for rows in (1, 150):
        process = subprocess.Popen([sys.executable, "-c", script, str(killed)])
        index = killed / "index.jsonl"
        while not (index.exists() and index.read_bytes().count(b"\n") * 8 >= rows):
            assert process.poll() is None, "finished before it could be killed"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        seen.append(len(FeatureStore.open(killed).finished("2")))
    assert 0 < seen[0] < seen[1] < 400
    subprocess.run([sys.executable, "-c", script, str(killed), str(whole)], check=True)
    assert contents(killed) == contents(whole)
    assert FeatureStore.open(killed).ids.tolist() == list(range(400))


def test_an_interrupt_keeps_what_was_computed(stimuli, path):
    class Interrupted(Counting):
        def compute(self, prepared, layers, pad_to=0):
            if len(self.computed) >= 16:
                raise KeyboardInterrupt
            return super().compute(prepared, layers, pad_to)

    with pytest.raises(KeyboardInterrupt):
        extract(Interrupted(), stimuli, path)
    assert len(FeatureStore.open(path).finished("mean")) == 8
    source = Counting()
    extract(source, stimuli, path)
    assert len(source.computed) == 8


# Two processes


HOLD = """
    import sys, time
    from pathlib import Path
    from neuro.features.writer import _acquire
    lock = _acquire(Path(sys.argv[1]))
    print("holding", flush=True)
    time.sleep(60)
"""


def test_two_processes_cannot_write_one_store_and_a_dead_ones_lock_is_no_lock(source, stimuli, path):
    path.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "holding\n"
        with pytest.raises(StoreLocked, match=f"being written by process {process.pid} on "):
            extract(source, stimuli, path)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert (path / "lock").read_text().startswith(f"process {process.pid} ")
    extract(source, stimuli, path)


def test_a_finished_store_is_read_while_another_process_holds_it(source, stimuli, path):
    extract(source, stimuli, path)
    manifest = FeatureStore.open(path).manifest
    with writer.StoreWriter(path, manifest["identity"], {}, {}):
        np.testing.assert_array_equal(
            extract(source, stimuli, path).rows("mean"), source.extract(stimuli, progress=False).rows("mean")
        )


# Disks


def test_a_full_disk_is_said_before_the_work(source, stimuli, path, monkeypatch):
    monkeypatch.setattr(writer.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(StoreError, match=r"need 432 B and 100 B are free there"):
        extract(source, stimuli, path)
    assert not source.computed


def test_a_disk_that_fills_up_loses_nothing(source, stimuli, path, monkeypatch):
    real, calls = writer._write_at, []

    def fill_up(file, offset, data):
        calls.append(offset)
        if len(calls) > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, offset, data)

    monkeypatch.setattr(writer, "_write_at", fill_up)
    monkeypatch.setattr(writer, "COMMIT_SECONDS", -1.0)
    with pytest.raises(StoreError, match=r"the disk is full\. 12 rows are safe; run again to go on from there"):
        extract(source, Stimuli.from_array(np.concatenate([stimuli[stimuli.ids]] * 3)), path)
    monkeypatch.setattr(writer, "_write_at", real)
    assert len(FeatureStore.open(path).finished("mean")) == 12


LIMITED = """
    import resource, signal, sys
    import numpy as np
    sys.path.insert(0, {tests!r})
    from test_store import Counting
    from neuro.data import Stimuli
    from neuro.errors import StoreError
    from neuro.features import writer

    writer.COMMIT_SECONDS = -1.0
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
    images = np.zeros((200, 4, 4, 3), np.uint8)
    try:
        Counting().extract(Stimuli.from_array(images), store=sys.argv[1], progress=False)
    except StoreError as error:
        print(error)
"""


def test_a_write_that_the_system_refuses_leaves_a_good_store(source, path):
    pytest.importorskip("resource")
    script = textwrap.dedent(LIMITED).format(tests=os.path.dirname(__file__))
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60)
    assert "file size limit" in done.stdout, done.stderr
    assert "rows are safe" in done.stdout
    kept = FeatureStore.open(path)
    assert 0 < len(kept) < 200
    assert kept.rows("mean", kept.finished("mean")).shape == (len(kept.finished("mean")), 3)
    extract(source, np.zeros((200, 4, 4, 3), np.uint8), path)
    assert len(FeatureStore.open(path)) == 200


def test_a_place_that_cannot_be_written_is_a_clear_error(source, stimuli, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot open the feature store"):
        extract(source, stimuli, tmp_path / "file" / "store")
    with pytest.raises(StoreError):
        extract(source, stimuli, "/proc/neuro-store")
    if os.geteuid():
        folder = tmp_path / "readonly"
        folder.mkdir(mode=0o500)
        with pytest.raises(StoreError, match="no permission"):
            extract(source, stimuli, folder / "store")
    assert not source.computed


def test_a_finished_store_on_a_read_only_disk_is_used(source, stimuli, path, monkeypatch):
    extract(source, stimuli, path)

    def refuse(folder):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(writer, "_acquire", refuse)
    assert extract(source, stimuli, path).rows("mean").shape == (12, 3)
    with pytest.raises(StoreError, match="the file system is read-only"):
        extract(source, Stimuli.from_array(stimuli[stimuli.ids], ids=np.arange(12)), path)


def test_a_folder_with_other_things_is_not_taken_over(source, stimuli, path):
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"not a feature store and not empty \(thesis.tex"):
        extract(source, stimuli, path)
    assert (path / "thesis.tex").read_text() == "years of work"


# Damage


def test_a_pickle_where_an_array_should_be_is_refused(source, stimuli, path):
    extract(source, stimuli, path)
    (path / "000_mean.npy").write_bytes(pickle.dumps(np.zeros((12, 3))))
    with pytest.raises(CorruptFile, match="is a pickle, which neuro never reads"):
        FeatureStore.open(path)


def test_an_object_array_is_refused(source, stimuli, path):
    extract(source, stimuli, path)
    with open(path / "000_mean.npy", "wb") as file:
        np.save(file, np.array([{"a": 1}] * 36, dtype=object).reshape(12, 3), allow_pickle=True)
    with pytest.raises(CorruptFile, match="should hold float32 rows of 3 features"):
        FeatureStore.open(path)


def test_a_truncated_layer_is_named(source, stimuli, path):
    extract(source, stimuli, path)
    with open(path / "000_mean.npy", "r+b") as file:
        file.truncate(HEADER + 50)
    with pytest.raises(CorruptFile, match=r"000_mean.npy is truncated: 12 rows need 272 bytes, it has 178"):
        FeatureStore.open(path)


def test_damage_inside_the_index_is_found(source, stimuli, path):
    extract(source, stimuli, path)
    data = bytearray((path / "index.jsonl").read_bytes())
    data[40] ^= 1
    (path / "index.jsonl").write_bytes(data)
    with pytest.raises(CorruptFile, match="damaged at byte 0"):
        FeatureStore.open(path)


def test_a_manifest_may_not_point_outside(source, stimuli, path):
    extract(source, stimuli, path)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["layers"]["mean"]["file"] = "../../etc/passwd"
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptFile, match="outside the store"):
        FeatureStore.open(path)


def test_what_is_no_store_says_so(tmp_path):
    with pytest.raises(StoreError, match="no feature store at"):
        FeatureStore.open(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(CorruptFile, match="not JSON"):
        FeatureStore.open(tmp_path)


def test_unknown_layers_of_a_store_name_the_nearest(source, stimuli, path):
    extract(source, stimuli, path)
    with pytest.raises(UnknownLayer, match="did you mean 'mean'"):
        FeatureStore.open(path)["means"]


def test_rows_are_read_like_an_array(rng):
    base = rng.normal(size=(9, 4)).astype(np.float32)
    at = np.array([3, 4, 5, 8, 0, 0])
    rows, array = LayerRows(base, at), base[at]
    mask = np.array([True, False, True, True, False, False])
    for key in (
        2,
        -1,
        slice(1, 5),
        slice(None, None, -1),
        [0, 2, 2],
        mask,
        np.array([5, 1]),
        (slice(1, 3), 2),
        (3, [0, 1]),
    ):
        np.testing.assert_array_equal(rows[key], array[key])
    np.testing.assert_array_equal(np.asarray(rows), array)
    np.testing.assert_array_equal(rows.take(np.array([5, 0]))[:], array[[5, 0]])
    assert rows.shape == array.shape
    assert len(list(rows)) == 6


def test_reading_a_store_needs_no_torch(source, stimuli, path):
    extract(source, stimuli, path)
    code = (
        "import sys; from neuro.features import FeatureStore; "
        f"print(FeatureStore.open({str(path)!r}).rows('mean').shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "(12, 3) False"
