"""``FactorisedEncoder``: planted windows are found; the network is its equation; the three kinds of windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from neuro.encoders._queries import resolve_queries
from neuro.encoders.factorised import FactorisedEncoder, WindowNetwork


@pytest.fixture(scope="module")
def planted():
    return plant(smooth=0)


def plant(smooth):
    """Maps of noise (600, 4, 7, 7) over 7 degrees; 12 voxels that look at a degree or so around a known place."""
    rng = np.random.default_rng(0)
    X = gaussian_filter(rng.standard_normal((600, 4, 7, 7)).astype(np.float32), (0, 0, smooth, smooth))
    x, y = rng.integers(-2, 3, (2, 12))
    axis = np.arange(-3, 4)
    windows = np.exp(-((axis - x[:, None, None]) ** 2 + (-axis[:, None] - y[:, None, None]) ** 2) / (2 * 0.7**2))
    windows /= windows.sum((1, 2), keepdims=True)
    signal = np.einsum("ncij,vij,vc->nv", X, windows, rng.standard_normal((12, 4)))
    Y = signal / signal.std(0) + 0.5 * rng.standard_normal((600, 12))
    return X, Y.astype(np.float32), x, y


@pytest.mark.parametrize(("kind", "smooth"), [("softmax", 0), ("gaussian", 0), ("gaussian", 1), ("point", 1)])
def test_planted_windows_are_found(kind, smooth):
    X, Y, x, y = plant(smooth)
    encoder = FactorisedEncoder(kind=kind, extent=7.0, learning_rate=0.03, epochs=60, patience=15).fit(X[:480], Y[:480])
    error, r = np.hypot(encoder.x_ - x, encoder.y_ - y), encoder.score_by_voxel(X[480:], Y[480:])
    size = np.median(encoder.size_)
    print(f"{kind}, {smooth}: median centre error {np.median(error):.2f} degrees, size {size:.2f}, r {r.mean():.2f}")
    assert np.median(error) < (0.3 if kind == "point" else 0.1)
    assert min(np.corrcoef(encoder.x_, x)[0, 1], np.corrcoef(encoder.y_, y)[0, 1]) > 0.95
    assert r.mean() > 0.8  # the best possible is 0.89
    if kind == "gaussian":
        assert size == pytest.approx(0.7, abs=0.1)
    np.testing.assert_allclose(encoder.windows().sum((1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", ["softmax", "gaussian", "point"])
@pytest.mark.parametrize("queries", ["voxels", {"a": [0, 1, 2], "b": [2, 3, 4]}])
@pytest.mark.parametrize("n_channels", [3, 9])  # fewer and more than tokens
def test_network_is_space_times_features(kind, queries, n_channels):
    torch.manual_seed(0)
    asked = resolve_queries(queries, None, 5)
    network = WindowNetwork(n_channels, (2, 3), asked, kind, l1=0.5).eval()
    for p in network.parameters():
        p.data += 0.3 * torch.randn_like(p)
    tokens = torch.randn(4, 6, n_channels)
    m = network.windows()[0]
    torch.testing.assert_close(m.sum(-1), torch.ones(len(asked)))
    shares = torch.from_numpy(np.stack([asked.voxels(q) for q in range(len(asked))])).float()
    window = (shares / shares.sum(0)).T @ m  # (V, T)
    expected = (
        torch.einsum("vt,btc,vc->bv", window, tokens, network.readout.weight[network.readout.back])
        + network.readout.bias
    )
    torch.testing.assert_close(network(tokens), expected)
    assert float(network.penalty().detach()) == pytest.approx(
        0.5 * float(network.readout.weight.detach().abs().sum()) / 5
    )


def test_a_point_is_bilinear_interpolation_and_wanders_only_while_training():
    network = WindowNetwork(2, (5, 7), resolve_queries("one", None, 1), "point", l1=0.0).eval()
    network.centre.data = torch.tensor([[0.3, -0.55]])
    maps = torch.randn(2, 2, 5, 7)
    where = torch.tensor([0.3, 0.55]).expand(2, 1, 1, 2)  # torch counts y downwards
    expected = torch.nn.functional.grid_sample(maps, where, align_corners=True)[:, :, 0, 0]
    seen = (network.windows() @ maps.flatten(2).transpose(1, 2))[:, 0]
    torch.testing.assert_close(seen, expected)
    drawn = network.train().windows(500)
    assert drawn.shape == (500, 1, 35)
    torch.testing.assert_close(drawn.sum(-1), torch.ones(500, 1))
    assert (drawn[0] - drawn[1]).abs().max() > 0.01


def test_penalty_thins_out_the_features(planted):
    X, Y, _, _ = planted
    free, thin = (FactorisedEncoder(l1=l1, epochs=10).fit(X[:200], Y[:200]) for l1 in (0.0, 0.05))
    size = lambda e: float(e.members_[0].network.readout.weight.abs().mean())  # noqa: E731
    assert size(thin) < 0.7 * size(free)


def test_saved_encoders_come_back(planted, tmp_path):
    X, Y, _, _ = planted
    layers = {"a": X[:60], "b": X[:60, :2, :4, :4]}
    encoder = FactorisedEncoder(kind="gaussian", epochs=2, n_runs=2).fit(layers, Y[:60])
    encoder.save(tmp_path / "m")
    loaded = FactorisedEncoder.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict(layers), encoder.predict(layers))
    np.testing.assert_array_equal(loaded.size_, encoder.size_)
    assert loaded.windows("b").shape == (12, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "mask"}, "kind must be 'softmax', 'gaussian' or 'point'"),
        ({"l1": -1.0}, "l1 must not be negative"),
        ({"extent": 0.0}, "extent must be above 0"),
    ],
)
def test_impossible_settings_are_refused(planted, arguments, words):
    with pytest.raises(ValueError, match=words):
        FactorisedEncoder(**arguments).fit(planted[0][:40], planted[1][:40])
