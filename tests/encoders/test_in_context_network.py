"""The in-context network: the published numbers, an independent rewrite in numpy, and what a mistake would change."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.encoders._in_context_files import from_state_dict, load_checkpoint, our_name
from neuro.encoders._in_context_network import InContextNetwork, apply_weights
from neuro.encoders.in_context_baseline import published_ridge_baseline
from neuro.encoders.in_context_config import InContextConfig
from neuro.errors import CorruptFile, ShapeMismatch

TINY = InContextConfig(6, 20, 2, n_heads=10, ffn=16, min_context=2)


@pytest.fixture(scope="module")
def golden():
    """Published outputs of the two transformers, or a skip that says where they were looked for."""
    for folder in (os.environ.get("NEURO_GOLDEN"), Path(__file__).parents[2].parent / "shared" / "golden"):
        if folder and (Path(folder) / "transformers.json").is_file():
            return json.loads((Path(folder) / "transformers.json").read_text())
    pytest.skip("golden numbers not found: set NEURO_GOLDEN to the folder that holds transformers.json")


def wave(start, *shape):
    return np.cos(0.31 * np.arange(math.prod(shape)) + start).reshape(shape)


def unit(a):
    return a / np.linalg.norm(a, axis=-1, keepdims=True)


def released_weights(shapes):
    """Deterministic weights under the released names; 1 is added to the scale of layer norms."""
    norms = ("block.0.weight", "block.4.weight", "layer_norm_1.weight", "layer_norm_2.weight")
    return {
        name: (0.1 * np.sin(0.7 * np.arange(math.prod(shapes[name])) + k) + name.endswith(norms)).reshape(shapes[name])
        for k, name in enumerate(sorted(shapes))
    }


def released_shapes(E=6, D=20, L=2, F=16, R=4):
    def stage(name, a, b):
        h = 2 * D
        return {
            f"{name}.0.block.0.weight": [a],
            f"{name}.0.block.0.bias": [a],
            f"{name}.0.block.3.weight": [h, a],
            f"{name}.0.block.3.bias": [h],
            f"{name}.0.block.4.weight": [h],
            f"{name}.0.block.4.bias": [h],
            f"{name}.0.block.7.weight": [b, h],
            f"{name}.0.block.7.bias": [b],
            f"{name}.0.bypass.weight": [b, a],
            f"{name}.0.bypass.bias": [b],
        }

    shapes = {"cls_token": [1, R, D], **stage("early_layers", E + 1, D), **stage("weight_pred", D, E + 1)}
    for i in range(L):
        p = f"transformer.{i}"
        shapes |= {f"{p}.layer_norm_{j}.{k}": [D] for j in (1, 2) for k in ("weight", "bias")}
        shapes |= {f"{p}.attn.in_proj_weight": [3 * D, D], f"{p}.attn.in_proj_bias": [3 * D]}
        shapes |= {f"{p}.attn.out_proj.weight": [D, D], f"{p}.attn.out_proj.bias": [D]}
        shapes |= {f"{p}.ffn.linear1.weight": [2 * F, D], f"{p}.ffn.linear1.bias": [2 * F]}
        shapes |= {f"{p}.ffn.linear2.weight": [D, F], f"{p}.ffn.linear2.bias": [D]}
    return shapes


def by_hand(w, X, Y, heads=10, mistake=None):
    """Weights (B, E + 1) by loops over voxels, heads and tokens in numpy; ``mistake`` makes one on purpose."""

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * w[name + ".weight"] + w[name + ".bias"]

    def leaky(x):
        return np.where(x > 0, x, (0.01 if mistake == "slope" else 0.1) * x)

    def linear(x, name):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    def stage(x, name):
        h = linear(leaky(norm(x, f"{name}.0.block.0")), f"{name}.0.block.3")
        return linear(leaky(norm(h, f"{name}.0.block.4")), f"{name}.0.block.7") + linear(x, f"{name}.0.bypass")

    def softmax(x):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    n_layers = sum(name.endswith("layer_norm_1.weight") for name in w)
    learned = w["cls_token"][0]
    D = learned.shape[1]
    d = D // heads
    out, attended = [], []
    for x, y in zip(X, Y, strict=True):
        pair = [y[:, None], x] if mistake == "order" else [x, y[:, None]]
        t = np.concatenate([learned, stage(np.concatenate(pair, 1), "early_layers")])
        count = len(x) if mistake == "count" else len(t)
        factor = 1.0 if mistake == "no log" else math.log(count)
        for i in range(n_layers):
            p = f"transformer.{i}"
            u = norm(t, p + ".layer_norm_1")
            W, b = (np.split(w[f"{p}.attn.in_proj_{k}"], 3) for k in ("weight", "bias"))
            q = factor * (u @ W[0].T + b[0]) if mistake == "bias scaled" else (factor * u) @ W[0].T + b[0]
            k, v = u @ W[1].T + b[1], u @ W[2].T + b[2]
            A = [softmax(q[:, s] @ k[:, s].T / math.sqrt(d)) for s in (slice(h * d, h * d + d) for h in range(heads))]
            mixed = np.concatenate([a @ v[:, h * d : h * d + d] for h, a in enumerate(A)], 1)
            t = t + linear(mixed, p + ".attn.out_proj")
            a, b = np.split(linear(norm(t, p + ".layer_norm_2"), p + ".ffn.linear1"), 2, axis=1)
            if mistake == "halves":
                a, b = b, a
            t = t + linear(a / (1 + np.exp(-a)) * b, p + ".ffn.linear2")
        attended.append([a[0] for a in A])
        out.append(stage(t[:4].mean(0) if mistake == "mean token" else t[0], "weight_pred"))
    return np.array(out), np.array(attended)


@pytest.fixture(scope="module")
def tiny():
    """Released-style weights, the network that holds them, and inputs."""
    w = released_weights(released_shapes())
    network = from_state_dict({k: torch.from_numpy(v) for k, v in w.items()}, TINY)
    return w, network, unit(wave(0.0, 2, 5, 6)), wave(1.0, 2, 5), unit(wave(2.0, 2, 3, 6))


def test_golden_numbers(golden):
    case = golden["braincorl"]
    w = released_weights(case["state_dict_sorted"])
    network = from_state_dict({k: torch.from_numpy(v) for k, v in w.items()}, TINY)
    X, Y, Q = (torch.from_numpy(a) for a in (unit(wave(0.0, 2, 5, 6)), wave(1.0, 2, 5), unit(wave(2.0, 2, 3, 6))))
    weights = network(X, Y)
    np.testing.assert_allclose(weights.detach(), case["weights"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(apply_weights(weights, Q).detach(), case["pred"], rtol=0, atol=1e-10)
    assert sorted(released_shapes().items()) == sorted(case["state_dict_sorted"].items())


def test_golden_numbers_of_the_published_ridge(golden):
    case = golden["braincorl_ridge_fast_brainwise"]
    i, j = np.arange(80), np.arange(60)
    X = (np.cos(0.31 * i) + 0.3 * np.sin(1.7 * i) ** 2).reshape(20, 4)
    Y = (np.cos(0.31 * j + 0.5) + np.sin(2.3 * j)).reshape(3, 20).T
    coef, intercept = published_ridge_baseline(X, Y, case["lambdas"])
    np.testing.assert_allclose(np.column_stack([coef, intercept]), case["b_mean_fp"], rtol=0, atol=1e-6)


def test_published_ridge_by_hand(rng):
    X, Y = rng.standard_normal((23, 4)), rng.standard_normal((23, 3)) + 2
    Y[:, 2] = 1.5  # a constant voxel scores 0 everywhere instead of spoiling the choice
    alphas, A, folds = [0.1, 10.0], np.column_stack([X, np.ones(23)]), np.array_split(np.arange(23), 5)
    fits = np.empty((2, 5, 5, 3))
    score = np.zeros((2, 3))
    for a, alpha in enumerate(alphas):
        for f, val in enumerate(folds):
            train = np.setdiff1d(np.arange(23), val)
            fits[a, f] = np.linalg.solve(A[train].T @ A[train] + alpha * np.eye(5), A[train].T @ Y[train])
            for v in range(2):
                score[a, v] += 1 - np.var(Y[val, v] - A[val] @ fits[a, f, :, v]) / np.var(Y[val, v])
    expected = np.stack([fits[score[:, v].argmax(), :, :, v].mean(0) for v in range(3)])
    coef, intercept = published_ridge_baseline(X, Y, alphas)
    np.testing.assert_allclose(np.column_stack([coef, intercept]), expected, atol=1e-12)
    coef_t, _ = published_ridge_baseline(torch.from_numpy(X), torch.from_numpy(Y), alphas)
    np.testing.assert_allclose(coef_t.numpy(), coef, atol=1e-14)
    with pytest.raises(ShapeMismatch, match="at least 5 stimuli"):
        published_ridge_baseline(X[:4], Y[:4])
    with pytest.raises(ValueError, match="above 0"):
        published_ridge_baseline(X, Y, [0.0])


def test_network_is_its_equations(tiny):
    w, network, X, Y, Q = tiny
    expected, attention = by_hand(w, X, Y)
    weights, found = network(torch.from_numpy(X), torch.from_numpy(Y), want_attention=True)
    np.testing.assert_allclose(weights.detach(), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found[-1].detach(), attention, rtol=0, atol=1e-13)
    pred = np.einsum("bqe,be->bq", Q, expected[:, :-1]) + expected[:, -1:]
    np.testing.assert_allclose(apply_weights(weights, torch.from_numpy(Q)).detach(), pred, atol=1e-13)


@pytest.mark.parametrize(
    ("mistake", "difference"),
    [
        ("no log", 0.0593),
        ("count", 0.0159),
        ("bias scaled", 0.0342),
        ("halves", 0.0247),
        ("mean token", 0.0657),
        ("slope", 0.0131),
        ("order", 0.0015),
    ],
)
def test_every_known_mistake_would_be_seen(tiny, mistake, difference):
    w, network, X, Y, Q = tiny
    right = network(torch.from_numpy(X), torch.from_numpy(Y)).detach().numpy()
    wrong = by_hand(w, X, Y, mistake=mistake)[0]
    change = np.abs(np.einsum("bqe,be->bq", Q, (wrong - right)[:, :-1]) + (wrong - right)[:, -1:]).max()
    assert change == pytest.approx(difference, rel=0.05)


def test_order_of_context_does_not_matter_and_voxels_do_not_mix(tiny):
    _, network, X, Y, _ = tiny
    X, Y = torch.from_numpy(X), torch.from_numpy(Y)
    weights = network(X, Y)
    turn = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(network(X[:, turn], Y[:, turn]), weights, rtol=0, atol=1e-13)
    torch.testing.assert_close(network(X[1:], Y[1:])[0], weights[1], rtol=0, atol=1e-13)
    single = network.float()(X.float()[:, turn], Y.float()[:, turn])
    torch.testing.assert_close(single.double(), weights, rtol=0, atol=1e-5)
    network.double()


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_order_of_any_context_gives_the_same_weights(data):
    w = released_weights(released_shapes())
    network = from_state_dict({k: torch.from_numpy(v) for k, v in w.items()}, TINY)
    n = data.draw(st.integers(1, 12))
    order = torch.tensor(data.draw(st.permutations(range(n))))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    X, Y = torch.from_numpy(unit(rng.standard_normal((n, 6)))), torch.from_numpy(rng.standard_normal((2, n)))
    torch.testing.assert_close(network(X[order], Y[:, order]), network(X, Y), rtol=0, atol=1e-12)


def test_shared_context_is_a_context_per_voxel(tiny):
    _, network, X, Y, Q = tiny
    X, Y, Q = torch.from_numpy(X[0]), torch.from_numpy(Y), torch.from_numpy(Q[0])
    weights = network(X, Y)
    torch.testing.assert_close(network(X.expand(2, 5, 6), Y), weights)
    torch.testing.assert_close(apply_weights(weights, Q), apply_weights(weights, Q.expand(2, 3, 6)))


def test_gradients_reach_every_parameter_and_the_images(tiny):
    _, network, X, Y, _ = tiny
    X = torch.from_numpy(X).requires_grad_()
    network.zero_grad()
    network(X, torch.from_numpy(Y)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())
    assert bool((X.grad.abs().sum(-1) > 0).all())


def test_dropout_acts_only_while_training():
    torch.manual_seed(0)
    network = InContextNetwork(InContextConfig(5, 8, 2, n_heads=2, ffn=8, dropout=0.5))
    X, Y = torch.randn(7, 5), torch.randn(3, 7)
    assert not torch.equal(network(X, Y), network(X, Y))
    network.eval()
    torch.testing.assert_close(network(X, Y), network(X, Y))


@pytest.mark.parametrize(
    ("preset", "E", "D", "millions"),
    [("clip", 512, 560, 97.07), ("dino", 768, 800, 156.0), ("siglip", 1152, 1200, 277.04)],
)
def test_presets_have_the_published_sizes(preset, E, D, millions):
    config = getattr(InContextConfig, preset)()
    assert (config.n_features, config.width, config.n_layers, config.n_heads, config.ffn) == (E, D, 20, 10, 2048)
    with torch.device("meta"):
        assert InContextNetwork(config).n_parameters / 1e6 == pytest.approx(millions, abs=0.01)


def test_presets_can_be_changed():
    assert InContextConfig.small().n_layers == 3
    assert InContextConfig.clip(n_layers=2, dropout=0.5) == InContextConfig.from_dict(
        InContextConfig.clip(n_layers=2, dropout=0.5).to_dict()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 21}, "multiple of n_heads"),
        ({"n_layers": 0}, "n_layers must be an integer of at least 1"),
        ({"dropout": 1.0}, "below 1"),
        ({"n_features": 2.5}, "n_features"),
    ],
)
def test_impossible_sizes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        InContextConfig(**{"n_features": 6, "width": 20, "n_layers": 2, **change})


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match=r"unknown setting.*depth"):
        InContextConfig.from_dict({"depth": 3})


@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        ((5, 6), (2, 4), "Y_context"),
        ((3, 5, 6), (2, 5), "Y_context"),
        ((5, 6), (5,), "Y_context"),
        ((5, 7), (2, 5), "6 numbers"),
    ],
)
def test_wrong_shapes_are_refused(tiny, X, Y, message):
    with pytest.raises(ShapeMismatch, match=message):
        tiny[1](torch.zeros(X), torch.zeros(Y))


def test_names_map_one_to_one():
    ours = [our_name(name) for name in released_shapes()]
    assert sorted(ours) == sorted(InContextNetwork(TINY).state_dict())
    assert our_name("_forward_module.model.cls_token") == "tokens"
    assert our_name("val_mse.total") is None


def test_released_checkpoint_loads(tiny, tmp_path):
    w, network, X, Y, _ = tiny
    state = {f"model.{k}": torch.from_numpy(v).float() for k, v in w.items()} | {"val_mse.total": torch.zeros(1)}
    torch.save({"state_dict": state, "hyper_parameters": {"lr": 1e-3, "result_dir": tmp_path}}, tmp_path / "last.ckpt")
    for config in (None, TINY):
        loaded = load_checkpoint(tmp_path / "last.ckpt", config)
        assert loaded.config.sizes == TINY.sizes
        difference = loaded(torch.from_numpy(X).float(), torch.from_numpy(Y).float()).double() - network(
            torch.from_numpy(X), torch.from_numpy(Y)
        )
        assert float(difference.detach().abs().max()) < 1e-5


def test_checkpoint_of_another_network_is_refused(tiny):
    state = {k: torch.from_numpy(v) for k, v in tiny[0].items()}
    with pytest.raises(ShapeMismatch, match=r"it has 6 features, width 20, 2 blocks.*says 512 features, width 560"):
        from_state_dict(state, InContextConfig.clip())
    broken = {**state, "transformer.1.ffn.linear1.weight": torch.zeros(32, 21)}
    with pytest.raises(ShapeMismatch, match=r"blocks\.1\.swiglu\.linear1\.weight must have shape \(32, 20\)"):
        from_state_dict(broken)
    with pytest.raises(CorruptFile, match="no checkpoint of an in-context network"):
        from_state_dict({"conv.weight": torch.zeros(3)})
    with pytest.raises(CorruptFile, match="lacks 1 parameters"):
        from_state_dict({k: v for k, v in state.items() if k != "weight_pred.0.bypass.bias"})
    with pytest.raises(CorruptFile, match="1 unknown"):
        from_state_dict({**state, "weight_pred.1.block.0.bias": torch.zeros(20)})
