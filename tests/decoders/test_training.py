"""The training loop: resumed to the bit, stopped early on stimuli of its own, loud when it diverges."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from neuro.decoders._checkpoint import BEST, STATE, checksum
from neuro.decoders._rows import TokenSource
from neuro.decoders._training_run import decay_groups
from neuro.decoders.training import Place, TrainingSettings, train, validation_split
from neuro.errors import CorruptFile, EmptySelection, ShapeMismatch, SplitLeakage, StaleStore, TrainingDiverged


class Regression:
    """A planted linear map with noise in the inputs and dropout in the network: every source of chance at work."""

    n_batches = 6

    def __init__(self, poison=None, score=None):
        rng = np.random.default_rng(0)
        self.X = torch.from_numpy(rng.standard_normal((60, 5), dtype=np.float32))
        self.Y = self.X @ torch.from_numpy(rng.standard_normal((5, 2), dtype=np.float32))
        self.poison, self.score = poison, score
        self.identity = {"data": "planted"}

    def losses(self, network, place):
        rows = place.rng(1).permutation(50)[:10]
        x = self.X[rows] + 0.1 * torch.from_numpy(place.rng(2).standard_normal((10, 5), dtype=np.float32))
        error = (network(x) - self.Y[rows]).square().mean()
        if self.poison is not None and (place.epoch, place.batch) >= self.poison:
            error = error * float("nan")
        return {"error": error, "size": 1e-3 * sum(p.square().sum() for p in network.parameters())}

    def validate(self, network):
        if self.score is not None:
            return {"score": self.score(self)}
        return {"score": -(network(self.X[50:]) - self.Y[50:]).square().mean().item()}


def network(seed=0):
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(5, 16), nn.LayerNorm(16), nn.Dropout(0.3), nn.Linear(16, 2))
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim == 2:
                p.normal_(std=0.3, generator=generator)
            elif len(p) == 2 or p.abs().sum() == 0:
                p.zero_()
        net[0].bias.zero_()
    return net


SETTINGS = TrainingSettings(epochs=4, learning_rate=1e-2, checkpoint_every=2)


class Killed(Exception):
    pass


def kill_after(step):
    def stop(report):
        if report["step"] == step:
            raise Killed

    return stop


def weights(net):
    return {k: v.numpy().copy() for k, v in net.state_dict().items()}


def assert_same(a, b):
    for name, value in weights(a).items():
        np.testing.assert_array_equal(value, weights(b)[name], err_msg=name)


def test_training_learns_and_keeps_the_best_epoch():
    net = network()
    before = -Regression().validate(net)["score"]
    result = train(net, Regression(), TrainingSettings(epochs=30, learning_rate=3e-2))
    assert result.epochs == 30
    assert -result.best_score < 0.3 * before
    assert not net.training
    assert Regression().validate(net)["score"] == pytest.approx(result.best_score, rel=1e-6)
    assert result.best_score == max(row["validation_score"] for row in result.history)


@pytest.mark.parametrize(("step", "accumulate"), [(1, 1), (2, 1), (6, 1), (7, 1), (23, 1), (2, 4), (5, 4)])
def test_an_interrupted_run_goes_on_to_the_same_bits(step, accumulate, tmp_path):
    settings = TrainingSettings(epochs=4, learning_rate=1e-2, checkpoint_every=2, accumulate=accumulate)
    whole = network()
    expected = train(whole, Regression(), settings, folder=tmp_path / "whole")
    if step < expected.history[-1]["step"]:
        with pytest.raises(Killed):
            train(network(), Regression(), settings, folder=tmp_path / "killed", progress=kill_after(step))
    again = network()
    found = train(again, Regression(), settings, folder=tmp_path / "killed")
    assert_same(whole, again)
    assert found == expected
    for name in ("log.tsv", STATE, BEST):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_killed_many_times_is_the_same_too(tmp_path):
    whole, again = network(), network()
    train(whole, Regression(), SETTINGS)
    for step in (3, 8, 9, 14, 20):
        with pytest.raises(Killed):
            train(network(), Regression(), SETTINGS, folder=tmp_path, progress=kill_after(step))
    train(again, Regression(), SETTINGS, folder=tmp_path)
    assert_same(whole, again)


def test_a_process_killed_with_sigkill_goes_on_to_the_same_bits(tmp_path):
    code = f"""
        import importlib.util, time, torch
        torch.set_num_threads(1)
        spec = importlib.util.spec_from_file_location("m", {__file__!r})
        m = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(m)
        m.train(m.network(), m.Regression(), m.SETTINGS, folder={str(tmp_path)!r}, progress=lambda r: time.sleep(0.2))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    deadline = time.monotonic() + 120
    while not (tmp_path / STATE).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "log.tsv").exists() or len(pd.read_csv(tmp_path / "log.tsv", sep="\t")) < SETTINGS.epochs
    whole, again = network(), network()
    train(whole, Regression(), SETTINGS)
    train(again, Regression(), SETTINGS, folder=tmp_path)
    assert_same(whole, again)


def test_training_is_a_function_of_its_seed_and_leaves_the_global_state_alone():
    nets = [network() for _ in range(3)]
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        torch.manual_seed(int(np.random.default_rng().integers(1 << 30)))
        train(net, Regression(), TrainingSettings(epochs=2, seed=seed))
    assert_same(nets[0], nets[1])
    assert not np.array_equal(nets[0][0].weight.detach(), nets[2][0].weight.detach())
    net, state = network(), torch.get_rng_state()
    train(net, Regression(), TrainingSettings(epochs=1))
    assert torch.equal(state, torch.get_rng_state())


def test_accumulated_batches_are_one_step_on_their_mean():
    class Fixed(Regression):
        n_batches = 2

        def losses(self, network, place):
            rows = slice(25 * place.batch, 25 * place.batch + 25)
            return {"error": (network(self.X[rows]) - self.Y[rows]).square().mean()}

        def validate(self, network):
            return None

    class Whole(Fixed):
        n_batches = 1

        def losses(self, network, place):
            return {"error": (network(self.X[:50]) - self.Y[:50]).square().mean()}

    nets = [nn.Linear(5, 2) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    train(nets[0], Fixed(), TrainingSettings(epochs=5, accumulate=2, schedule="constant"))
    train(nets[1], Whole(), TrainingSettings(epochs=5, schedule="constant"))
    torch.testing.assert_close(nets[0].weight, nets[1].weight, rtol=1e-5, atol=1e-6)


def test_training_stops_when_the_validation_score_no_longer_rises(tmp_path):
    scores = iter([0.1, 0.5, 0.4, 0.45, 0.3, 0.9])
    seen = []
    task = Regression(score=lambda _: next(scores))
    net = network()
    result = train(
        net, task, TrainingSettings(epochs=6, patience=3), folder=tmp_path,
        progress=lambda r: seen.append(weights(net)) if "validation" in r else None,
    )  # fmt: skip
    assert (result.epochs, result.best_epoch, result.best_score, result.stopped_early) == (5, 1, 0.5, True)
    for name, value in weights(net).items():
        np.testing.assert_array_equal(value, seen[1][name])  # the weights of epoch 1, not the last ones
    log = pd.read_csv(tmp_path / "log.tsv", sep="\t")
    assert log["validation_score"].tolist() == [0.1, 0.5, 0.4, 0.45, 0.3]
    assert {"epoch", "step", "error", "size", "gradient_norm"} <= set(log)
    again = train(network(), Regression(), TrainingSettings(epochs=6, patience=3), folder=tmp_path)
    assert again == result  # finished runs are not trained again


def test_without_validation_the_last_epoch_stays():
    task = Regression()
    task.validate = lambda network: None
    nets = [network(), network()]
    assert train(nets[0], task, TrainingSettings(epochs=3, learning_rate=1e-2)).best_epoch is None
    stop = kill_after(18)
    with pytest.raises(Killed):
        train(nets[1], task, TrainingSettings(epochs=3, learning_rate=1e-2), progress=stop)
    assert_same(*nets)


@pytest.mark.parametrize("file", [STATE, BEST])
@pytest.mark.parametrize("how", ["torn", "flipped", "not one"])
def test_a_damaged_checkpoint_is_named(file, how, tmp_path):
    with pytest.raises(Killed):
        train(network(), Regression(), SETTINGS, folder=tmp_path, progress=kill_after(23))
    data = bytearray((tmp_path / file).read_bytes())
    if how == "torn":
        data = data[: len(data) // 2]
    elif how == "flipped":
        data[-9] ^= 1
    else:
        data = bytearray(b"hello")
    (tmp_path / file).write_bytes(data)
    with pytest.raises(CorruptFile, match=file):
        train(network(), Regression(score=lambda _: -1e9), SETTINGS, folder=tmp_path)
    assert (tmp_path / file).read_bytes() == bytes(data)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"settings": TrainingSettings(epochs=4, learning_rate=2e-2)}, "settings"),
        ({"data": "other"}, "task"),
        ({"seed": 1}, "starting weights"),
        ({"frozen": True}, "trained weights"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(change, named, tmp_path):
    with pytest.raises(Killed):
        train(network(), Regression(), SETTINGS, folder=tmp_path, progress=kill_after(5))
    task, net = Regression(), network(change.get("seed", 0))
    task.identity = {"data": change.get("data", "planted")}
    if change.get("frozen"):
        net[0].bias.requires_grad_(False)
    settings = change.get("settings", SETTINGS)
    with pytest.raises(StaleStore, match=f"other {named}"):
        train(net, task, settings, folder=tmp_path)
    assert train(net, task, settings, folder=tmp_path, resume=False).epochs == 4


def test_a_loss_that_is_not_a_number_stops_with_a_report_and_nothing_is_lost(tmp_path):
    net = network()
    with pytest.raises(TrainingDiverged) as raised:
        train(net, Regression(poison=(2, 1)), SETTINGS, folder=tmp_path)
    text = str(raised.value)
    for part in (
        "step 13",
        "epoch 2, batch 1",
        "error = nan",
        "size = ",
        "learning rate",
        "precision fp32",
        "Lower the",
    ):
        assert part in text
    assert all(torch.isfinite(p).all() for p in net.parameters())
    healthy, again = network(), network()
    train(healthy, Regression(), SETTINGS)
    train(again, Regression(), SETTINGS, folder=tmp_path)  # goes on from before
    assert_same(healthy, again)


def test_overflowing_half_precision_is_told_to_use_another(tmp_path):
    class Overflow(Regression):
        def losses(self, network, place):
            return {"error": (1e6 * network(self.X[:10]).half()).float().square().mean()}

    with pytest.raises(TrainingDiverged, match=r"precision fp16. float16 overflows above 65,504.*'bf16'"):
        train(network(), Overflow(), TrainingSettings(epochs=1, precision="fp16"))


def test_gradients_that_overflow_half_precision_lower_the_scale_and_training_goes_on():
    task = Regression()
    net = network()
    before = -task.validate(net.eval())["score"]
    result = train(net, task, TrainingSettings(epochs=10, learning_rate=3e-2, precision="fp16"))
    assert all(torch.isfinite(p).all() for p in net.parameters())
    assert -result.best_score < 0.5 * before


def test_mixed_precision_trains_in_bfloat16_and_keeps_weights_in_float32():
    kinds = set()

    class Watch(Regression):
        def losses(self, network, place):
            kinds.add(network(self.X[:2]).dtype)
            return super().losses(network, place)

    net = network()
    before = -Watch().validate(net.eval())["score"]
    result = train(net, Watch(), TrainingSettings(epochs=10, learning_rate=3e-2, precision="bf16"))
    assert kinds == {torch.bfloat16}
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert -result.best_score < 0.5 * before


def test_half_precision_resumes_with_its_scale(tmp_path):
    settings = TrainingSettings(epochs=3, precision="fp16", checkpoint_every=1)
    whole, again = network(), network()
    train(whole, Regression(), settings)
    with pytest.raises(Killed):
        train(network(), Regression(), settings, folder=tmp_path, progress=kill_after(8))
    train(again, Regression(), settings, folder=tmp_path)
    assert_same(whole, again)


def test_only_matrices_decay():
    net = network()
    decayed, plain = decay_groups(net, 0.01)
    assert [tuple(p.shape) for p in decayed["params"]] == [(16, 5), (2, 16)]
    assert decayed["weight_decay"] == 0.01
    assert plain["weight_decay"] == 0
    assert len(plain["params"]) == 4


def test_frozen_weights_and_their_batch_norms_stay_as_they_are():
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    for p in [*net[0].parameters(), *net[1].parameters()]:
        p.requires_grad_(False)
    before = weights(net)
    train(net, Regression(), TrainingSettings(epochs=2))
    changed = [k for k, v in weights(net).items() if not np.array_equal(v, before[k])]
    assert changed == ["2.weight", "2.bias"]
    net.requires_grad_(False)
    with pytest.raises(ValueError, match="no weight of the network may change"):
        train(net, Regression(), TrainingSettings(epochs=2))


def test_steps_and_scores_go_to_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard logs need tensorboard")
    train(network(), Regression(), TrainingSettings(epochs=2), folder=tmp_path, tensorboard=True)
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_accelerate_gives_the_same_weights_as_plain_torch():
    accelerate = pytest.importorskip("accelerate", reason="extra: decode")
    nets = [network(), network()]
    train(nets[0], Regression(), TrainingSettings(epochs=2))
    train(nets[1].cpu(), Regression(), TrainingSettings(epochs=2), accelerator=accelerate.Accelerator(cpu=True))
    assert_same(*nets)


class Shared(Regression):
    """Half of every batch for each of two processes."""

    def losses(self, network, place: Place):
        size = 10 // place.n_processes
        first = (10 * place.batch) % 50 + place.process * size
        rows = slice(first, first + size)
        return {"error": (network(self.X[rows]) - self.Y[rows]).square().mean()}


def _train_shared(folder=None):
    net = nn.Linear(5, 2)
    nn.init.constant_(net.weight, 0.1)
    nn.init.zeros_(net.bias)
    train(net, Shared(), TrainingSettings(epochs=3, schedule="constant"), folder=folder)
    return net.weight.detach().numpy()


def _two_processes(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    np.save(f"{folder}/{rank}.npy", _train_shared(f"{folder}/run"))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    torch.multiprocessing.spawn(_two_processes, args=(str(tmp_path),), nprocs=2)
    first, second = (np.load(tmp_path / f"{rank}.npy") for rank in (0, 1))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, _train_shared(), rtol=1e-5)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [BEST, "log.tsv", STATE]


def test_the_validation_split_is_by_stimulus_and_never_the_test_set():
    ids = np.repeat(np.arange(100), 3)
    known, held_out = validation_split(ids, 0.1, seed=4)
    assert len(held_out) == 10
    assert not set(known) & set(held_out)
    assert sorted([*known, *held_out]) == list(range(100))
    np.testing.assert_array_equal(held_out, validation_split(ids[::-1], 0.1, seed=4)[1])
    assert not np.array_equal(held_out, validation_split(ids, 0.1, seed=5)[1])
    assert len(validation_split(ids, 0.0)[1]) == 0
    with pytest.raises(SplitLeakage, match="2 of 100 training stimuli are test stimuli, first \\[98, 99\\]"):
        validation_split(ids, 0.1, test_ids=[98, 99, 100])
    with pytest.raises(EmptySelection, match="leaves one side empty"):
        validation_split([1, 2], 0.1)
    with pytest.raises(ValueError, match="below 1"):
        validation_split(ids, 1.0)


def test_settings_that_cannot_be_are_refused():
    for change, text in {
        "epochs": "epochs must be an integer",
        "precision": "precision must be 'fp32'",
        "schedule": "schedule must be 'one_cycle'",
        "clip": "clip must be above 0",
        "learning_rate": "learning_rate must be above 0",
    }.items():
        with pytest.raises(ValueError, match=text):
            TrainingSettings(**{"epochs": 1, **{change: 0}})
    task = Regression()
    task.n_batches = 0
    with pytest.raises(EmptySelection, match="no batch"):
        train(network(), task, SETTINGS)


class Watched:
    """An array that counts what is read of it at once."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.most, self.calls = array, array.shape, array.dtype, 0, []

    def __getitem__(self, key):
        rows = self.array[key]
        self.calls.append(np.asarray(key))
        self.most = max(self.most, len(rows))
        return rows


def test_rows_are_read_sorted_once_and_given_back_in_order(tmp_path):
    array = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float16)
    watched = Watched(array)
    source = TokenSource(watched, shape=(2, 3))
    at = [7, 3, 7, 39, 0]
    np.testing.assert_array_equal(source.read(at), array[at].astype(np.float32).reshape(5, 2, 3))
    assert watched.calls[0].tolist() == [0, 3, 7, 39]
    np.save(tmp_path / "x.npy", array)
    stored = TokenSource(tmp_path / "x.npy")
    assert stored.read(at).dtype == np.float32
    np.testing.assert_array_equal(stored.read(at), array[at])
    assert stored.fingerprint() == TokenSource(array).fingerprint()
    array[0, 0] += 1
    assert stored.fingerprint() != TokenSource(array).fingerprint()
    np.testing.assert_array_equal(TokenSource(torch.from_numpy(array)).read([1]), array[[1]])
    assert source.read([]).shape == (0, 2, 3)
    with pytest.raises(ShapeMismatch, match="cannot be seen as"):
        TokenSource(array, shape=(4, 2))


def test_hdf5_rows_are_read_like_others(tmp_path):
    h5py = pytest.importorskip("h5py")
    array = np.arange(60.0).reshape(20, 3)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        source = TokenSource(file.create_dataset("x", data=array))
        np.testing.assert_array_equal(source.read([5, 2, 5]), array[[5, 2, 5]])


def test_the_checksum_sees_names_types_shapes_and_values():
    x = torch.arange(6.0)
    sums = [checksum({"a": x}), checksum({"b": x}), checksum({"a": x.double()}), checksum({"a": x.reshape(2, 3)}),
            checksum({"a": x + 1})]  # fmt: skip
    assert len(set(sums)) == 5
    assert checksum({"a": x, "b": x}) == checksum({"b": x, "a": x})
    assert json.dumps(sums)
