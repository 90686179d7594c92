"""Training in-context networks: what is drawn, what is learned, and runs that stop and go on."""

from __future__ import annotations

import contextlib
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from neuro.encoders._in_context_network import InContextNetwork
from neuro.encoders._in_context_trainer import Trainer
from neuro.encoders.in_context import InContextEncoder
from neuro.encoders.in_context_config import InContextConfig
from neuro.encoders.in_context_synthetic import SubjectVoxels, SyntheticVoxels
from neuro.encoders.in_context_training import Stage, three_stages, train_in_context
from neuro.errors import CorruptFile, ShapeMismatch, StaleStore

E = 6
CONFIG = InContextConfig(E, 16, 2, n_heads=2, ffn=16, min_context=4)


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    return unit(rng.standard_normal((400, E)) + np.array([1, 0.5, 0, 0, 0, 0]))


@pytest.fixture(scope="module")
def subjects():
    rng = np.random.default_rng(1)
    out = {}
    for name in ("a", "b"):
        X = unit(rng.standard_normal((120, E)))
        Y = X @ rng.standard_normal((E, 9)) * 2 + 0.5 * rng.standard_normal((120, 9))
        out[name] = (X, (Y - Y.mean(0)) / Y.std(0))
    return out


def tiny_stages(n=6, **settings):
    return three_stages((n, n, n), (4, 10), n_queries=10, voxels=8, warmup=2, **settings)


def same(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_three_stages_are_the_published_ones():
    stages = three_stages()
    assert [s.source for s in stages] == ["synthetic", "synthetic", "real"]
    assert [s.context for s in stages] == [(500, 500), (30, 500), (30, 500)]
    assert [s.name for s in three_stages((10, 0, 5))] == ["pretrain", "finetune"]
    assert stages[0].lr_at(200) == pytest.approx(1e-3, rel=1e-2)
    assert stages[0].lr_at(stages[0].n_steps) == pytest.approx(1e-5)


def test_sizes_of_contexts_are_spread_as_asked():
    rng = np.random.default_rng(0)
    for spread, middle in (("uniform", 250), ("log", 100)):
        sizes = [Stage("a", "real", 5, (20, 499), spread).size_of_context(rng) for _ in range(4000)]
        assert (min(sizes), max(sizes)) == (20, 499)
        assert np.mean(np.array(sizes) <= middle) == pytest.approx(0.5, abs=0.04)
    assert Stage("a", "real", 5, (7, 7), "log").size_of_context(rng) == 7


@pytest.mark.parametrize("repeats", [1, 3])
def test_synthetic_voxels_are_scored_without_their_noise(pool, repeats):
    """What is to be lowered does not hold the noise of the queries; the context does."""
    source = SyntheticVoxels(pool, "clusters", ceiling=(2.0, 200.0), repeats=repeats)  # a hundredth is signal
    stage = Stage("a", "synthetic", 5, (30, 30), n_queries=50, voxels=64)
    trainer = Trainer(CONFIG, 0, None, "float32", None)
    draw = source.draw(64, 80, np.random.default_rng([0, 0, 0, 1]))
    with torch.no_grad():
        weights = trainer.bare(torch.from_numpy(draw.X[:30]), torch.from_numpy(draw.Y[:, :30])).numpy()
    signal = draw.weights[:, :-1] @ draw.X[30:].T + draw.weights[:, -1:]
    predicted = weights[:, :-1] @ draw.X[30:].T + weights[:, -1:]
    loss = trainer.step(stage, source, 0, 0)
    assert loss.item() == pytest.approx(((predicted - signal) ** 2).mean(), rel=1e-4)


@pytest.mark.parametrize("prior", ["isotropic", "clusters", "empirical"])
@pytest.mark.parametrize("repeats", [1, 3])
def test_synthetic_voxels_have_the_noise_they_should(pool, prior, repeats):
    source = SyntheticVoxels(
        pool,
        prior,
        weights=np.random.default_rng(3).standard_normal((40, E)) if prior != "isotropic" else None,
        ceiling=(200.0, 300.0),  # close to .4 for all voxels
        repeats=repeats,
    )
    draw = source.draw(600, source.most_images(), np.random.default_rng(2))
    signal = draw.X @ draw.weights[:, :-1].T + draw.weights[:, -1]
    s = 0.4 / (0.4 + repeats * 0.6)
    assert signal.mean(0) == pytest.approx(0, abs=1e-4)
    assert signal.var(0).mean() == pytest.approx(s, rel=0.02)
    assert draw.Y.var(1).mean() == pytest.approx(s + (1 - s) / repeats, rel=0.02)
    assert (signal.var(0) / draw.Y.var(1)).mean() == pytest.approx(0.4, abs=0.02)


def test_priors_draw_what_they_say(pool):
    rng = np.random.default_rng(0)
    weights = np.repeat(np.eye(E)[:2], 20, axis=0) + 0.01 * rng.standard_normal((40, E))
    drawn = unit(SyntheticVoxels(pool, "clusters", weights=weights, n_clusters=2).sample_weights(200, 0))
    nearest = np.abs(drawn).argmax(1)
    assert set(nearest) == {0, 1}
    assert np.abs(drawn).max(1).min() > 0.95
    drawn = unit(SyntheticVoxels(pool, "empirical", weights=weights).sample_weights(500, 0))
    assert drawn[:, :2].sum() > 0
    assert (drawn[:, 2:] ** 2).sum(1).max() < 0.1
    drawn = unit(SyntheticVoxels(pool, "isotropic").sample_weights(4000, 0))
    np.testing.assert_allclose(drawn.T @ drawn / 4000, np.eye(E) / E, atol=0.02)


def test_validation_images_are_never_trained_on(pool, subjects):
    rng = np.random.default_rng(0)
    for source in (SyntheticVoxels(pool, "isotropic"), SubjectVoxels(subjects)):
        rows = [
            {row.tobytes() for _ in range(6) for row in source.draw(3, source.most_images(side), rng, side).X}
            for side in (False, True)
        ]
        assert not rows[0] & rows[1]
    other = SubjectVoxels({"a": subjects["a"]}, {"b": subjects["b"]})
    assert other.most_images() == other.most_images(True) == 120


def test_measured_voxels_keep_images_and_responses_together(subjects):
    source = SubjectVoxels(subjects)
    draw = source.draw(20, 15, np.random.default_rng(4))
    X = np.concatenate([s[0] for s in subjects.values()]).astype(np.float32)
    Y = np.concatenate([s[1] for s in subjects.values()]).astype(np.float32)
    for x, y in zip(draw.X, draw.Y.T, strict=True):
        row = int(np.abs(X - x).sum(1).argmin())
        assert np.abs(X[row] - x).max() < 1e-6
        assert set(y) <= set(Y[row])
    assert source.pool().shape == (216, E)
    assert source.ridge_weights(cv=3).shape[1] == E


def test_seeds_alone_decide_and_the_global_generator_is_left_alone(subjects, tmp_path):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    config = InContextConfig(**{**CONFIG.to_dict(), "dropout": 0.2})
    stages = tiny_stages(2)
    run = [
        train_in_context(subjects, config, tmp_path / str(i), stages=stages, seed=seed, progress=False)
        for i, seed in enumerate((0, 0, 1))
    ]
    assert same(run[0].network, run[1].network)
    assert not same(run[0].network, run[2].network)
    assert torch.equal(torch.get_rng_state(), state)


def test_interrupted_runs_end_where_they_would_have(subjects, tmp_path, monkeypatch):
    settings = {"stages": tiny_stages(), "validate_every": 4, "progress": False}
    config = InContextConfig(**{**CONFIG.to_dict(), "dropout": 0.1})
    whole = train_in_context(subjects, config, tmp_path / "whole", **settings)
    assert whole.finished
    from neuro.encoders import in_context_training as module

    original, calls = module.Trainer.step, []
    for stop in (3, 4, 7):  # within a stage, before a validation, across stages

        def step(self, *args, stop=stop):
            calls.append(args[3])
            if len(calls) == stop:
                raise KeyboardInterrupt
            return original(self, *args)

        calls.clear()
        monkeypatch.setattr(module.Trainer, "step", step)
        with pytest.raises(KeyboardInterrupt):
            train_in_context(subjects, config, tmp_path / "parts", **settings)
    monkeypatch.setattr(module.Trainer, "step", original)
    stopped = train_in_context(subjects, config, tmp_path / "parts", minutes=0, **settings)
    assert not stopped.finished
    parts = train_in_context(subjects, config, tmp_path / "parts", **settings)
    assert same(parts.network, whole.network)
    assert parts.history == whole.history
    again = train_in_context(subjects, config, tmp_path / "parts", **settings)
    assert again.history == whole.history
    assert not list((tmp_path / "parts").glob(".*tmp*"))


def test_time_limits_stop_resumably(subjects, tmp_path, monkeypatch):
    settings = {"stages": tiny_stages(5), "validate_every": 3, "progress": False}
    whole = train_in_context(subjects, CONFIG, tmp_path / "whole", **settings)
    from neuro.encoders import in_context_training as module

    clock = iter(range(10**6))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    runs = 0
    while True:
        run = train_in_context(subjects, CONFIG, tmp_path / "parts", minutes=4 / 60, **settings)
        runs += 1
        if run.finished:
            break
    assert runs > 2
    assert run.history == whole.history
    assert same(run.network, whole.network)


def test_what_was_trained_is_an_encoder(subjects, tmp_path):
    lines = []
    run = train_in_context(subjects, CONFIG, tmp_path / "run", stages=tiny_stages(2), progress=lines.append)
    X, Y = subjects["a"]
    encoder = InContextEncoder.load(tmp_path / "run").fit(X[:30], Y[:30])
    expected = InContextEncoder(run.network).fit(X[:30], Y[:30])
    np.testing.assert_array_equal(encoder.coef_, expected.coef_)
    assert len(lines) == 3
    assert "finetune 2/2" in lines[-1]
    assert "explained variance" in lines[-1]
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings["stage"] == "finetune"
    assert [row["stage"] for row in settings["training"]] == ["pretrain", "extend", "finetune"]


def test_best_network_is_kept_and_patience_ends_a_stage(pool, tmp_path, monkeypatch):
    from neuro.encoders import in_context_training as module

    scores = iter([0.1, 0.5, 0.4, 0.3, 0.2])
    kept = []

    def validate(self, *args):
        kept.append({k: v.clone() for k, v in self.bare.state_dict().items()})
        return {"explained_variance": next(scores), "by_context": {}, "weight_cosine": None}

    monkeypatch.setattr(module.Trainer, "validate", validate)
    stage = Stage("only", "synthetic", 50, (4, 8), n_queries=8, voxels=4, patience=2)
    run = train_in_context(
        None,
        CONFIG,
        tmp_path,
        stages=[stage],
        synthetic=SyntheticVoxels(pool, "isotropic"),
        validate_every=2,
        progress=False,
    )
    assert len(run.history) == 4
    assert run.finished
    assert all(torch.equal(v, kept[1][k]) for k, v in run.network.state_dict().items())


def test_it_learns_to_read_contexts(pool, tmp_path):
    """On voxels of a known prior: better than nothing, and only thanks to the responses in the context."""
    weights = np.eye(E)[:2] + 0.05
    source = SyntheticVoxels(pool, "clusters", weights=np.repeat(weights, 5, 0), n_clusters=2, ceiling=(60.0, 40.0))
    stage = Stage("only", "synthetic", 150, (6, 12), n_queries=16, voxels=32, lr=5e-3, warmup=10, weight_decay=0.01)
    run = train_in_context(
        None, CONFIG, tmp_path, stages=[stage], synthetic=source, validate_every=150, progress=False, n_validation=2
    )
    draw = source.draw(200, 40, np.random.default_rng(9), validation=True)
    X, Y = draw.X, draw.Y.T
    rng = np.random.default_rng(0)

    def score(context):
        predicted = InContextEncoder(run.network).fit(X[:12], context).predict(X[12:])
        return float(np.mean(1 - (Y[12:] - predicted).var(0) / Y[12:].var(0)))

    true, shuffled = score(Y[:12]), score(np.stack([rng.permutation(y) for y in Y[:12].T], 1))
    assert true > 0.35
    assert shuffled < true - 0.15


class OneProcess:
    """Enough of accelerate.Accelerator to see that training goes through it."""

    device, is_main_process, process_index = torch.device("cpu"), True, 0

    def __init__(self):
        self.calls = []

    def prepare(self, *things):
        self.calls.append("prepare")
        return things

    def unwrap_model(self, model):
        return model

    def backward(self, loss):
        self.calls.append("backward")
        loss.backward()

    def autocast(self):
        return contextlib.nullcontext()

    def reduce(self, value, reduction):
        self.calls.append("reduce")
        return value

    def wait_for_everyone(self):
        self.calls.append("wait")


def test_accelerate_changes_nothing_with_one_process(subjects, tmp_path):
    helper = OneProcess()
    settings = {"stages": tiny_stages(2), "progress": False}
    a = train_in_context(subjects, CONFIG, tmp_path / "a", accelerator=helper, minutes=9, **settings)
    b = train_in_context(subjects, CONFIG, tmp_path / "b", **settings)
    assert same(a.network, b.network)
    assert helper.calls.count("backward") == 6
    assert helper.calls[0] == "prepare"
    assert helper.calls[-1] == "wait"


def test_folders_of_other_runs_are_refused(subjects, tmp_path):
    settings = {"stages": tiny_stages(1), "progress": False}
    train_in_context(subjects, CONFIG, tmp_path, **settings)
    with pytest.raises(StaleStore, match=r"other data, seed\. Give another folder"):
        train_in_context(subjects, CONFIG, tmp_path, seed=1, **settings)
    changed = {k: (X, Y[:, ::-1]) for k, (X, Y) in subjects.items()}
    with pytest.raises(StaleStore, match="other data"):
        train_in_context(changed, CONFIG, tmp_path, **settings)
    fresh = train_in_context(subjects, CONFIG, tmp_path, seed=1, resume=False, **settings)
    assert len(fresh.history) == 3
    (tmp_path / "training.safetensors").write_bytes(b"not a file")
    with pytest.raises(CorruptFile, match="Remove it"):
        train_in_context(subjects, CONFIG, tmp_path, **settings)


def test_impossible_training_is_refused(subjects, pool, tmp_path):
    def train(data=subjects, config=CONFIG, **settings):
        train_in_context(data, config, tmp_path, **{"stages": tiny_stages(1), "progress": False, **settings})

    with pytest.raises(ShapeMismatch, match="6 numbers, the network is made for 512"):
        train(config=InContextConfig.small(min_context=4))
    with pytest.raises(ValueError, match=r"up to 500 images of context.*108 training images"):
        train(stages=[Stage("s", "real", 1, (30, 500))])
    config = InContextConfig(**{**CONFIG.to_dict(), "min_context": 9})
    with pytest.raises(ValueError, match="only 12 images are kept for it, too few for contexts of 9"):
        train(config=config, stages=[Stage("s", "real", 1, (9, 20), n_queries=10)])
    with pytest.raises(ValueError, match="below the configuration's min_context 4"):
        train(stages=[Stage("s", "real", 1, (3, 20), n_queries=10)])
    with pytest.raises(ValueError, match="needs subjects"):
        train(None, synthetic=SyntheticVoxels(pool))
    with pytest.raises(ValueError, match="a prior by name needs subjects"):
        train(None, stages=tiny_stages(1)[:1])
    with pytest.raises(ValueError, match="at least one Stage"):
        train(stages=[])
    with pytest.raises(ValueError, match="prior must be"):
        train(synthetic="gaussian")
    X, Y = subjects["a"]
    with pytest.raises(ValueError, match=r"Y of subjects\['a'\] contains NaN"):
        train({"a": (X, np.where(Y > 2, np.nan, Y))})
    with pytest.raises(ShapeMismatch, match="rows must be the same images"):
        train({"a": (X[1:], Y)})
    with pytest.raises(TypeError, match="must be a pair"):
        train({"a": X})
    with pytest.raises(ValueError, match="at least one pair"):
        train({})
    with pytest.raises(ShapeMismatch, match="share one embedding"):
        train({"a": (X, Y), "b": (X[:, :5], Y)})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "dream"}, "source must be"),
        ({"n_steps": 0}, "n_steps"),
        ({"context": (9, 3)}, "smallest, largest"),
        ({"lr": 1e-6}, "lr_end must lie"),
    ],
)
def test_impossible_stages_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Stage(**{"name": "s", "source": "real", "n_steps": 3, "context": (3, 9), **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior": "empirical"}, "needs weights"),
        ({"ceiling": (0, 1)}, "above 0"),
        ({"validation": 1.0}, "between 0 and 1"),
        ({"weights": np.ones((3, E + 1))}, "weights must be finite"),
        ({"repeats": 0}, "repeats"),
    ],
)
def test_impossible_synthetic_voxels_are_refused(pool, settings, message):
    with pytest.raises(ValueError, match=message):
        SyntheticVoxels(pool, **settings)


def test_initial_weights_follow_the_seed(subjects, tmp_path):
    stage = Stage("s", "real", 1, (4, 8), n_queries=4, voxels=2)
    run = train_in_context(subjects, CONFIG, tmp_path, stages=[stage], minutes=0, seed=3, progress=False)
    torch.manual_seed(3)
    assert same(run.network, InContextNetwork(CONFIG))
    assert not run.finished


@pytest.mark.slow
def test_script_trains_and_goes_on(tmp_path):
    path = Path(__file__).parents[2] / "scripts" / "train_phantom_in_context.py"
    main = runpy.run_path(str(path))["main"]
    sizes = ["--subjects", "3", "--images", "150", "--context", "10", "30", "--sizes", "10", "30", "--draws", "1"]
    steps = ["--steps", "2", "2", "2", "--voxels", "4", "--queries", "10", "--threads", "1"]
    first = main(["--out", str(tmp_path), *sizes, *steps, "--minutes", "0"])
    assert not first["finished"]
    last = main(["--out", str(tmp_path), "--ship", str(tmp_path / "shipped"), *sizes, *steps])
    assert last["finished"]
    assert [row["stage"] for row in last["training"]] == ["pretrain", "extend", "finetune"]
    assert set(last["explained_variance"]["30"]) == {"in_context", "in_context_shuffled", "ridge", "published_ridge"}
    assert InContextEncoder.load(tmp_path / "network").network.config.min_context == 10
    shipped = InContextEncoder.load(tmp_path / "shipped")
    assert same(shipped.network, InContextEncoder.load(tmp_path / "network").network)
    assert json.loads((tmp_path / "shipped" / "metrics.json").read_text())["finished"]
