"""The in-context encoder as an estimator: contexts in, linear weights out, files, and input it refuses."""

from __future__ import annotations

import hashlib
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from neuro.encoders._in_context_files import save_network
from neuro.encoders._in_context_network import InContextNetwork
from neuro.encoders.in_context import InContextEncoder, ResponseScaleWarning
from neuro.encoders.in_context_config import InContextConfig
from neuro.errors import CorruptFile, DataNotDownloaded, ShapeMismatch

E, N, V = 8, 24, 13


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    network = InContextNetwork(InContextConfig(E, 20, 2, n_heads=4, ffn=16, min_context=5, embedding="test"))
    with torch.no_grad():  # far from the initial weights, so that attention differs between images
        for p in network.parameters():
            p += 0.3 * torch.randn_like(p)
    return network.double().eval()


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((N, E))
    Y = rng.standard_normal((N, V))
    return X / np.linalg.norm(X, axis=1, keepdims=True), (Y - Y.mean(0)) / Y.std(0)


def test_weights_are_what_the_network_emits(network, data):
    X, Y = data
    encoder = InContextEncoder(network).fit(X, Y)
    with torch.no_grad():
        weights = network(torch.from_numpy(X), torch.from_numpy(Y.T)).numpy()
    np.testing.assert_allclose(encoder.coef_, weights[:, :-1], atol=1e-12)
    np.testing.assert_allclose(encoder.intercept_, weights[:, -1], atol=1e-12)
    np.testing.assert_allclose(encoder.predict(X[:4]), X[:4] @ weights[:, :-1].T + weights[:, -1], atol=1e-12)
    assert isinstance(encoder.score(X, Y), float)
    np.testing.assert_array_equal(encoder.X_context_, X)
    np.testing.assert_array_equal(encoder.Y_context_, Y)


@pytest.mark.parametrize("changes", [{"voxel_batch": 1}, {"voxel_batch": 5}, {"memory_limit": 1}])
def test_chunks_of_voxels_do_not_change_results(network, data, changes):
    whole, parts = InContextEncoder(network).fit(*data), InContextEncoder(network, **changes).fit(*data)
    np.testing.assert_allclose(parts.coef_, whole.coef_, atol=1e-12)
    np.testing.assert_allclose(parts.context_attention(), whole.context_attention(), atol=1e-12)


def test_memory_bounds_the_chunks(network, monkeypatch):
    from neuro.encoders import _in_context_fit as module

    seen = []
    call = module.Runner.__call__
    monkeypatch.setattr(module.Runner, "__call__", lambda s, X, Y, a=False: seen.append(Y.shape[1]) or call(s, X, Y, a))
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, E))
    limit = 7 * network.config.bytes_per_voxel(N, 8)
    InContextEncoder(network, normalize=True, memory_limit=limit).fit(X, rng.standard_normal((N, 20)))
    assert seen == [7, 7, 6]


def test_order_of_the_context_does_not_matter(network, data):
    X, Y = data
    order = np.random.default_rng(0).permutation(N)
    a, b = InContextEncoder(network).fit(X, Y), InContextEncoder(network).fit(X[order], Y[order])
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-12)
    np.testing.assert_allclose(a.context_attention()[:, order], b.context_attention(), atol=1e-12)
    voxels = np.arange(V)[::-1]
    np.testing.assert_allclose(InContextEncoder(network).fit(X, Y[:, voxels]).coef_, a.coef_[voxels], atol=1e-12)


@pytest.mark.parametrize("n", [5, 9, N])
def test_contexts_of_any_size_are_read(network, data, n):
    encoder = InContextEncoder(network).fit(data[0][:n], data[1][:n])
    assert encoder.coef_.shape == (V, E)
    assert encoder.context_size_ == n


def test_tensors_in_tensors_out(network, data):
    X, Y = (torch.from_numpy(a) for a in data)
    a, b = InContextEncoder(network).fit(X, Y), InContextEncoder(network).fit(*data)
    assert isinstance(a.coef_, torch.Tensor)
    assert isinstance(a.context_attention(), torch.Tensor)
    np.testing.assert_allclose(a.coef_.numpy(), b.coef_, atol=1e-13)
    np.testing.assert_allclose(a.predict(X).numpy(), b.predict(data[0]), atol=1e-13)


def test_single_precision_networks_answer_in_single_precision(network, data):
    import copy

    single = copy.deepcopy(network).float()
    encoder = InContextEncoder(single).fit(*data)
    assert encoder.coef_.dtype == np.float32
    np.testing.assert_allclose(encoder.coef_, InContextEncoder(network).fit(*data).coef_, atol=1e-3)


def test_half_precision_products_are_close(network, data):
    import copy

    single = copy.deepcopy(network).float()
    full = InContextEncoder(single).fit(*data).coef_
    half = InContextEncoder(single, precision="bfloat16").fit(*data).coef_
    assert half.dtype == np.float32
    assert np.corrcoef(full.ravel(), half.ravel())[0, 1] > 0.99


def test_one_voxel_as_a_vector(network, data):
    X, Y = data
    one, all_ = InContextEncoder(network).fit(X, Y[:, 2]), InContextEncoder(network).fit(X, Y)
    assert one.coef_.shape == (E,)
    assert isinstance(one.intercept_, float)
    np.testing.assert_allclose(one.predict(X), all_.predict(X)[:, 2], atol=1e-12)
    assert one.context_attention().shape == (N,)
    assert one.selectivity(X[:3]).shape == (3,)


def test_networks_are_left_as_they_are(network, data):
    before = {k: v.clone() for k, v in network.state_dict().items()}
    digest = [hashlib.sha256(a.tobytes()).hexdigest() for a in data]
    network.train()
    InContextEncoder(network, normalize=True, standardize=True).fit(*data).predict(data[0])
    assert network.training
    network.eval()
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert [hashlib.sha256(a.tobytes()).hexdigest() for a in data] == digest


def test_averaged_contexts_are_the_mean_over_draws(network, data):
    X, Y = data
    encoder = InContextEncoder(network, n_bootstrap=4, context_size=10, random_state=7).fit(X, Y)
    rng, expected = np.random.default_rng(7), 0
    for _ in range(4):
        rows = rng.choice(N, 10, replace=False)
        expected = expected + InContextEncoder(network).fit(X[rows], Y[rows]).predict(X) / 4
    np.testing.assert_allclose(encoder.predict(X), expected, atol=1e-12)
    again = InContextEncoder(network, n_bootstrap=4, context_size=10, random_state=7, voxel_batch=3).fit(X, Y)
    np.testing.assert_allclose(again.coef_, encoder.coef_, atol=1e-12)


def test_standardised_responses_may_have_any_unit(network, data):
    X, Y = data
    scale, shift = np.linspace(0.1, 90, V), np.linspace(-50, 70, V)
    plain = InContextEncoder(network, standardize=True).fit(X, Y)
    other = InContextEncoder(network, standardize=True).fit(X, Y * scale + shift)
    np.testing.assert_allclose(other.predict(X), plain.predict(X) * scale + shift, atol=1e-9)
    np.testing.assert_allclose(plain.coef_, InContextEncoder(network).fit(X, Y).coef_, atol=1e-10)


@pytest.mark.parametrize("standardize", [False, True])
def test_constant_voxels_stay_constant(network, data, standardize):
    X, Y = data[0], data[1].copy()
    Y[:, 4] = 0.3
    encoder = InContextEncoder(network, standardize=standardize).fit(X, Y)
    assert np.all(encoder.coef_[4] == 0)
    assert encoder.intercept_[4] == pytest.approx(0.3)


def test_embeddings_of_other_lengths(network, data):
    X, Y = data
    lengths = np.linspace(0.5, 9, N)[:, None]
    with pytest.raises(
        ValueError, match=r"24 of 24 have other lengths|have other lengths, from 0.5 to 9.*normalize=True"
    ):
        InContextEncoder(network).fit(X * lengths, Y)
    plain = InContextEncoder(network).fit(X, Y)
    normalised = InContextEncoder(network, normalize=True).fit(X * lengths, Y)
    np.testing.assert_allclose(normalised.coef_, plain.coef_, atol=1e-12)
    np.testing.assert_allclose(normalised.predict(3 * X), plain.predict(X), atol=1e-12)
    with pytest.raises(ValueError, match="unit length"):
        plain.predict(3 * X)
    plain.predict(X.astype(np.float16))  # rounding is no offence
    for encoder in (InContextEncoder(network), InContextEncoder(network, normalize=True)):
        broken = X.copy()
        broken[6] = 0
        with pytest.raises(ValueError, match=r"1 rows that are zero.*first is 6"):
            encoder.fit(broken, Y)


def test_too_short_a_context_is_refused(network, data):
    with pytest.raises(ValueError, match="4 images, but the network was trained with at least 5"):
        InContextEncoder(network).fit(data[0][:4], data[1][:4])
    with pytest.raises(ValueError, match="3 images, but the network"):
        InContextEncoder(network, n_bootstrap=2, context_size=3).fit(*data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_bootstrap": 0}, "n_bootstrap"),
        ({"n_bootstrap": 3}, "below the 24 images"),
        ({"n_bootstrap": 3, "context_size": N}, "would be the same"),
        ({"context_size": N + 1}, "below the 24"),
        ({"context_size": 2.5}, "context_size"),
        ({"voxel_batch": 0}, "voxel_batch"),
        ({"memory_limit": 0}, "memory_limit"),
        ({"precision": "float8"}, "precision must be"),
        ({"device": "cuda:77"}, "device must name"),
    ],
)
def test_impossible_settings_are_refused(network, data, settings, message):
    with pytest.raises(ValueError, match=message):
        InContextEncoder(network, **settings).fit(*data)


def test_wrong_data_is_refused(network, data):
    X, Y = data
    with pytest.raises(ShapeMismatch, match=r"8 features, as the network was made for \(test\), got 7"):
        InContextEncoder(network).fit(X[:, :7], Y)
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        InContextEncoder(network).fit(X, Y[:-1])
    broken = Y.copy()
    broken[:, 3] = np.nan
    with pytest.raises(ValueError, match=r"1 of 13 voxels \(the first is 3\)"):
        InContextEncoder(network).fit(X, broken)
    with pytest.raises(TypeError, match=r"network must be .*got InContextConfig.*train_in_context"):
        InContextEncoder(network.config).fit(X, Y)
    with pytest.raises(NotFittedError):
        InContextEncoder(network).predict(X)
    with pytest.raises(NotFittedError):
        InContextEncoder(network).context_attention()


def test_responses_that_are_no_z_scores_are_reported_once(network, data):
    X, Y = data
    with pytest.warns(ResponseScaleWarning, match=r"13 of 13 voxels \(100%\)") as seen:
        InContextEncoder(network).fit(X, 50 * Y + 400)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        InContextEncoder(network, standardize=True).fit(X, 50 * Y + 400)


def test_attention_over_the_context(network, data):
    X, Y = data
    encoder = InContextEncoder(network).fit(X, Y)
    with torch.no_grad():
        _, attention = network(torch.from_numpy(X), torch.from_numpy(Y.T), want_attention=True)  # (L, V, H, T)
    context = attention.mean(2)[:, :, 4:].numpy()
    np.testing.assert_allclose(encoder.context_attention(0), context[0], atol=1e-12)
    np.testing.assert_allclose(encoder.context_attention(-1), context[1], atol=1e-12)
    np.testing.assert_allclose(encoder.context_attention(), context.mean(0), atol=1e-12)
    np.testing.assert_allclose(encoder.context_attention(1, voxels=[2, 0]), context[1, [2, 0]], atol=1e-12)
    mask = np.arange(V) < 3
    np.testing.assert_allclose(encoder.context_attention(1, voxels=mask), context[1, :3], atol=1e-12)
    total = encoder.context_attention().sum(1)
    assert np.all((total > 0) & (total < 1))
    for layer in (2, -3, "last", True):
        with pytest.raises(ValueError, match="2 blocks"):
            encoder.context_attention(layer)


def test_selectivity_is_the_angle_between_weights_and_text(network, data):
    X, Y = data
    encoder = InContextEncoder(network).fit(X, Y)
    text = 5 * np.random.default_rng(5).standard_normal((3, E))
    unit = text / np.linalg.norm(text, axis=1, keepdims=True)
    cosine = (encoder.coef_ / np.linalg.norm(encoder.coef_, axis=1, keepdims=True)) @ unit.T
    np.testing.assert_allclose(encoder.selectivity(text), cosine, atol=1e-12)
    np.testing.assert_allclose(encoder.selectivity(text, kind="response"), encoder.predict(unit).T, atol=1e-12)
    assert isinstance(encoder.selectivity(torch.from_numpy(text)), torch.Tensor)
    with pytest.raises(ShapeMismatch, match=r"\(n_texts, 8\)"):
        encoder.selectivity(text[:, :5])
    with pytest.raises(ValueError, match="kind must be"):
        encoder.selectivity(text, kind="angle")
    with pytest.raises(ValueError, match="no direction"):
        encoder.selectivity(0 * text)


def test_saved_encoders_come_back(network, data, tmp_path):
    X, Y = data
    for y in (Y, Y[:, 0]):
        encoder = InContextEncoder(network, normalize=True, standardize=True).fit(X, y)
        loaded = InContextEncoder.load(encoder.save(tmp_path / "encoder"))
        assert {p.suffix for p in (tmp_path / "encoder").iterdir()} == {".safetensors", ".json"}
        np.testing.assert_array_equal(loaded.predict(X), encoder.predict(X))
        np.testing.assert_allclose(loaded.context_attention(), encoder.context_attention(), atol=1e-12)
        assert loaded.normalize
        assert loaded.standardize
        np.testing.assert_allclose(loaded.fit(X, y).coef_, encoder.coef_, atol=1e-12)


def test_unfitted_encoders_and_folders_of_networks(network, data, tmp_path):
    save_network(network, tmp_path / "network")
    expected = InContextEncoder(network).fit(*data).coef_
    by_folder = InContextEncoder(tmp_path / "network").fit(*data)
    np.testing.assert_allclose(by_folder.coef_, expected, atol=1e-12)
    loaded = InContextEncoder.load(tmp_path / "network", voxel_batch=4)
    assert loaded.voxel_batch == 4
    assert not hasattr(loaded, "coef_")
    np.testing.assert_allclose(loaded.fit(*data).coef_, expected, atol=1e-12)
    InContextEncoder(network).save(tmp_path / "unfitted")
    assert not hasattr(InContextEncoder.load(tmp_path / "unfitted"), "coef_")


def test_damaged_folders_are_refused(network, tmp_path):
    with pytest.raises(DataNotDownloaded, match="train_in_context"):
        InContextEncoder.load(tmp_path / "nowhere")
    folder = save_network(network, tmp_path / "network")
    whole = (folder / "network.safetensors").read_bytes()
    (folder / "network.safetensors").write_bytes(whole[:500])
    with pytest.raises(CorruptFile, match="safetensors"):
        InContextEncoder.load(folder)
    (folder / "network.safetensors").write_bytes(whole)
    settings = (folder / "config.json").read_text()
    (folder / "config.json").write_text(settings.replace('"width": 20', '"width": 24'))
    with pytest.raises(ShapeMismatch, match=r"width 20.*width 24"):
        InContextEncoder.load(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(CorruptFile, match="format"):
        InContextEncoder.load(folder)


def test_checkpoints_of_others_by_name(network, data, tmp_path):
    theirs = {"embed": "early_layers.0", "head": "weight_pred.0"}
    layers = {"norm1": "block.0", "linear1": "block.3", "norm2": "block.4", "linear2": "block.7", "bypass": "bypass"}
    state = {}
    for name, value in network.state_dict().items():
        parts = name.split(".")
        if parts[0] in theirs:
            name = f"{theirs[parts[0]]}.{layers[parts[1]]}.{parts[2]}"
        else:
            for ours, their in (
                ("tokens", "cls_token"),
                ("blocks", "transformer"),
                ("attention.in_proj.", "attn.in_proj_"),
                ("attention", "attn"),
                ("swiglu", "ffn"),
                ("norm", "layer_norm_"),
            ):
                name = name.replace(ours, their)
        state[name] = value
    torch.save(state, tmp_path / "released.pt")
    config = InContextConfig(E, 20, 2, n_heads=4, ffn=16, min_context=5)
    encoder = InContextEncoder.from_checkpoint(tmp_path / "released.pt", config, standardize=True)
    assert encoder.standardize
    expected = InContextEncoder(network, standardize=True).fit(*data).coef_
    np.testing.assert_allclose(encoder.fit(*data).coef_, expected, atol=1e-12)
    with pytest.raises(ShapeMismatch, match="another network"):
        InContextEncoder.from_checkpoint(tmp_path / "released.pt", InContextConfig.dino())


def test_pickles_and_clones(network, data):
    encoder = InContextEncoder(network).fit(*(torch.from_numpy(a) for a in data))
    loaded = pickle.loads(pickle.dumps(encoder))
    assert isinstance(loaded.coef_, np.ndarray)
    np.testing.assert_allclose(loaded.predict(data[0]), encoder.predict(torch.from_numpy(data[0])).numpy())
    twin = clone(encoder)
    assert not hasattr(twin, "coef_")
    np.testing.assert_allclose(twin.fit(*data).coef_, loaded.coef_, atol=1e-13)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_gives_the_same_weights(network, data):
    there = InContextEncoder(network, device="cuda").fit(*data)
    np.testing.assert_allclose(there.coef_, InContextEncoder(network).fit(*data).coef_, atol=1e-10)
    assert network.tokens.device.type == "cpu"
