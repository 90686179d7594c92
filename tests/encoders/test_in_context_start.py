"""Initial values of an in-context network that are taken from data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro.encoders._in_context_network import InContextNetwork
from neuro.encoders._in_context_start import directions, start_from
from neuro.encoders.in_context_config import InContextConfig
from neuro.encoders.in_context_synthetic import SyntheticVoxels
from neuro.encoders.in_context_training import Stage, train_in_context

E, D = 12, 32


@pytest.fixture(scope="module")
def images():
    """A large common mean, and variances that fall off from 1 to 1e-3."""
    rng = np.random.default_rng(0)
    mixing = np.linalg.qr(rng.standard_normal((E, E)))[0]
    X = rng.standard_normal((500, E)) * 0.3 * np.geomspace(1, 0.03, E) @ mixing + 2 * mixing[3]
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(1).standard_normal((300, E)) * np.linspace(0.2, 2, E)


@pytest.mark.parametrize("most", [4, E])
def test_directions_diagonalise_images_and_weights(images, weights, most):
    mean, B, variance = (t.numpy() for t in directions(images, weights, most))
    C = np.cov(images.T, bias=True)
    np.testing.assert_allclose(mean, images.mean(0), atol=1e-12)
    np.testing.assert_allclose(B.T @ C @ B, np.diag(variance), atol=1e-10)
    assert np.all(np.diff(variance) <= 0)
    assert len(variance) <= most
    scaled = weights / np.sqrt(((weights @ C) * weights).sum(1, keepdims=True))
    u = scaled @ np.linalg.pinv(B).T  # coordinates of the weights, exact if all directions are there
    if len(variance) == E:
        np.testing.assert_allclose(u.T @ u / len(u), np.eye(E), atol=1e-6)
        assert variance.sum() == pytest.approx(1)  # every voxel's responses have variance 1


def test_the_network_begins_in_those_coordinates(images, weights):
    network = InContextNetwork(InContextConfig(E, D, 2, n_heads=4, ffn=16)).double()
    k = start_from(network, images, weights, seed=0)
    assert 1 < k <= D // 2
    X = torch.from_numpy(images)
    y = torch.randn(len(X), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = network.embed.bypass(torch.cat([X, y], 1)).numpy()
        out = network(X[:40], y[:40].T).numpy()
    np.testing.assert_allclose(tokens[:, :k].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(np.cov(tokens[:, :k].T, bias=True), np.eye(k), atol=1e-5)
    np.testing.assert_allclose(tokens[:, k], y[:, 0].numpy(), atol=1e-12)
    assert np.all(tokens[:, k + 1 :] == 0)
    w, b = out[:, :-1], out[:, -1]
    np.testing.assert_allclose(b, -w @ images.mean(0), atol=1e-5)  # predictions have mean 0 over images
    assert 0.01 < np.std(images @ w.T + b) < 1


def test_the_first_rectifier_hardly_bends(images, weights):
    """Inputs reach the first matrix nearly linearly, so that its mixture is that of B'x and y."""
    network = InContextNetwork(InContextConfig(E, D, 2, n_heads=4, ffn=16)).double()
    start_from(network, images, weights, seed=0)
    y = torch.where(torch.arange(len(images)) % 2 == 0, 1.0, -1.0).double()[:, None]
    inputs = torch.cat([torch.from_numpy(images), y], 1)
    with torch.no_grad():
        hidden = network.embed.linear1(torch.nn.functional.leaky_relu(network.embed.norm1(inputs), 0.1)).numpy()
    design = np.column_stack([inputs.numpy(), np.ones(len(images))])
    left = hidden - design @ np.linalg.lstsq(design, hidden, rcond=None)[0]
    assert left.var() < 0.05 * hidden.var()


def test_seeds_decide_and_widths_that_equal_the_input_work(images, weights):
    config = InContextConfig(E, E + 1, 1, n_heads=1, ffn=16)
    networks = []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        networks.append(InContextNetwork(config))
        start_from(networks[-1], images, weights, seed)
    a, b, c = (n.embed.linear1.weight for n in networks)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_training_from_data_is_ahead(images, tmp_path):
    source = SyntheticVoxels(images, "isotropic", ceiling=(60.0, 40.0), validation=0.3)
    config = InContextConfig(E, D, 2, n_heads=4, ffn=32, min_context=20)
    stages = [Stage("extend", "synthetic", 60, (20, 40), n_queries=60, voxels=16, lr=3e-3, warmup=10)]
    found = {}
    for start in ("random", "data"):
        run = train_in_context(
            None, config, tmp_path / start, stages=stages, synthetic=source, start=start, validate_every=60,
            progress=False,
        )  # fmt: skip
        found[start] = run.history[-1]["explained_variance"]
    assert found["data"] > found["random"] + 0.1


def test_starts_are_checked(images, tmp_path):
    with pytest.raises(ValueError, match="start must be 'random' or 'data', got 'pca'"):
        train_in_context(None, InContextConfig(E, D, 2, n_heads=4), tmp_path, start="pca")
