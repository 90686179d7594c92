"""Shared dimensions of weights: planted ones counted, none in noise of any known structure, and the algebra of PCA."""

from __future__ import annotations

import numpy as np
import pytest

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats import weight_pca


def planted(rng, n, p, k, strength=1.0):
    """Weights with k shared dimensions, and those directions."""
    directions = rng.standard_normal((k, p))
    return strength * rng.standard_normal((n, k)) @ directions + rng.standard_normal((n, p)), directions


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("n", "p", "k"), [(300, 60, 3), (150, 300, 2), (2000, 50, 6), (400, 100, 1), (80, 80, 2)])
def test_planted_dimensions_are_counted(rng, n, p, k, normalise):
    found = []
    for _ in range(8):
        W, directions = planted(rng, n, p, k)
        pca = weight_pca(W, normalise=normalise)
        found.append(pca.n_components)
        overlap = np.linalg.svd(np.linalg.qr(directions.T)[0].T @ pca.components[:k].T, compute_uv=False)
        assert overlap.min() > 0.85
        assert pca.noise_variance == pytest.approx(1, rel=0.12)
    assert np.mean(np.array(found) == k) >= 7 / 8


@pytest.mark.parametrize("edge", ["permutation", "sign-flip"])
def test_randomised_edges_count_them_too(rng, edge):
    found = [
        weight_pca(planted(rng, 150, 40, k)[0], edge=edge, n_permutations=40, seed=i).n_components
        for i, k in enumerate([1, 2, 3, 4] * 2)
    ]
    assert np.sum(np.array(found) == [1, 2, 3, 4] * 2) >= 7
    assert np.isnan(weight_pca(planted(rng, 50, 20, 1)[0], edge=edge, n_permutations=10).noise_variance)


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        ({"noise": 1.0}, 0.05),
        ({}, 0.08),
        ({"normalise": True}, 0.05),
        ({"edge": "permutation"}, 0.05),
        ({"edge": "sign-flip", "normalise": True}, 0.05),
    ],
)
def test_noise_has_shared_dimensions_in_about_one_of_twenty(rng, settings, rate):
    """The median of eigenvalues is itself an estimate, so its edge is crossed a little more often."""
    runs = 60 if "edge" in settings else 300
    found = [
        weight_pca(rng.standard_normal((150, 50)), n_permutations=39, **settings).n_components for _ in range(runs)
    ]
    assert np.mean(np.array(found) > 0) <= rate + 2.5 * np.sqrt(0.05 * 0.95 / runs)


def test_known_and_unequal_noise_of_voxels(rng):
    """A median takes one noise for all; noisy voxels then look like shared dimensions, their known noise does not."""
    variance = np.exp(1.2 * rng.standard_normal(300))
    known, median, random, plain = [], [], [], []
    for seed in range(10):
        N = np.sqrt(variance)[:, None] * rng.standard_normal((300, 80))
        known.append(weight_pca(N, noise=variance).n_components)
        median.append(weight_pca(N).n_components)
        random.append(weight_pca(N, edge="sign-flip", n_permutations=39, seed=seed).n_components)
        plain.append(weight_pca(rng.standard_normal((300, 80)), noise=1.0).n_components)
    assert sum(k > 0 for k in known) <= 2
    assert sum(k > 0 for k in random) <= 2
    assert sum(k > 0 for k in plain) <= 2
    assert min(median) > 0
    signal, _ = planted(rng, 300, 80, 2, 3.0)
    assert weight_pca(signal + N, noise=variance + 1).n_components == 2


def test_correlated_features_need_their_noise_covariance(rng):
    """Least squares on correlated features: the noise of the weights has covariance inv(X'X)."""
    X = rng.standard_normal((300, 40)) @ (np.diag(np.linspace(1, 0.2, 40)) + 0.1 * rng.standard_normal((40, 40)))
    inverse = np.linalg.inv(X.T @ X)
    shared = rng.standard_normal((500, 2)) @ rng.standard_normal((2, 40))
    for signal, expected in ((np.zeros((500, 40)), 0), (shared, 2)):
        Y = X @ signal.T + 3 * rng.standard_normal((300, 500))
        W = (inverse @ X.T @ Y).T
        whitened = weight_pca(W, noise_covariance=inverse)
        assert whitened.n_components == expected
        assert weight_pca(W).n_components > 2
    rebuilt = whitened.mean + whitened.projections @ whitened.components
    full = weight_pca(W, noise_covariance=inverse, keep=40)
    np.testing.assert_allclose(full.mean + full.projections @ full.components, W, atol=1e-8)
    assert np.corrcoef(rebuilt.ravel(), signal.ravel())[0, 1] > 0.97


def test_halves_of_the_images_tell_the_noise_whatever_its_structure(rng):
    """Features and neighbouring voxels are correlated at once, which no single number describes."""
    mixing = np.exp(-np.abs(np.subtract.outer(np.arange(200), np.arange(200))) / 8)
    X = rng.standard_normal((400, 30)) @ (np.diag(np.linspace(1, 0.3, 30)) + 0.1 * rng.standard_normal((30, 30)))
    shared = rng.standard_normal((200, 2)) @ rng.standard_normal((2, 30))
    inverse = np.linalg.inv(X.T @ X)
    counts = {True: [], False: []}
    for signal in (True, False):
        for _ in range(12):
            Y = signal * X @ shared.T + 2 * rng.standard_normal((400, 200)) @ mixing
            halves = []
            for _ in range(19):
                order = rng.permutation(400)
                halves.append([np.linalg.lstsq(X[h], Y[h], rcond=None)[0].T for h in (order[:200], order[200:])])
            halves = np.array(halves)
            coef, noise = halves.mean((0, 1)), (halves[:, 0] - halves[:, 1]) / 2
            found = weight_pca(coef, edge="noise-weights", noise_weights=noise, noise_covariance=inverse)
            counts[signal].append(found.n_components)
    assert weight_pca(coef, noise_covariance=inverse).n_components > 2  # pure noise, if voxels were independent
    assert np.mean(np.array(counts[False]) > 0) <= 0.2
    assert np.mean(np.array(counts[True]) == 2) >= 0.8


def test_copies_of_voxels_count_once(rng):
    """Neighbours that share their noise are no independent samples of it."""
    counts = []
    for _ in range(10):
        W = np.repeat(rng.standard_normal((100, 60)), 8, axis=0)
        counts.append((weight_pca(W).n_components, weight_pca(W, n_effective=100).n_components))
        single, copied = weight_pca(W[::8]), weight_pca(W, n_effective=100)
        np.testing.assert_allclose(copied.eigenvalues, single.eigenvalues, atol=1e-9)
        assert copied.edge == pytest.approx(single.edge)
    counts = np.array(counts)
    assert (counts[:, 0] > 0).all()
    assert (counts[:, 1] > 0).sum() <= 2


@pytest.mark.parametrize("shape", [(50, 12), (12, 50)])
@pytest.mark.parametrize("centre", [True, False])
def test_components_are_those_of_a_singular_value_decomposition(rng, shape, centre):
    W = rng.standard_normal(shape) + 0.5
    kept = min(shape) - 1
    pca = weight_pca(W, centre=centre, keep=kept)
    rows = W - W.mean(0) if centre else W
    _, s, vt = np.linalg.svd(rows, full_matrices=False)
    np.testing.assert_allclose(pca.eigenvalues, s**2 / (len(W) - centre), atol=1e-10)
    np.testing.assert_allclose(pca.explained, s**2 / (s**2).sum(), atol=1e-10)
    np.testing.assert_allclose(np.abs((pca.components * vt[:kept]).sum(1)), 1)
    np.testing.assert_allclose(pca.projections, rows @ pca.components.T, atol=1e-10)
    np.testing.assert_allclose(pca.components @ pca.components.T, np.eye(kept), atol=1e-10)
    assert (pca.components[np.arange(kept), np.abs(pca.components).argmax(1)] > 0).all()


def test_voxels_without_weights_have_no_projection_and_change_nothing(rng):
    torch = pytest.importorskip("torch")
    W, _ = planted(rng, 60, 20, 2)
    dirty = np.insert(W, [10, 30], [[np.nan] * 20, [0.0] * 20], axis=0)
    clean, found = weight_pca(W, normalise=True), weight_pca(torch.tensor(dirty), normalise=True)
    np.testing.assert_allclose(found.eigenvalues, clean.eigenvalues)
    assert found.n_voxels_used == 60
    assert np.isnan(found.projections[[10, 31]]).all()
    np.testing.assert_allclose(np.delete(found.projections, [10, 31], axis=0), clean.projections)


def test_what_is_no_set_of_weights_is_refused(rng):
    W = rng.standard_normal((20, 6))
    with pytest.raises(ShapeMismatch, match=r"must be \(n_voxels, n_features\), got shape \(6,\)"):
        weight_pca(W[0])
    with pytest.raises(EmptySelection, match="0 of 20 voxels with finite weights"):
        weight_pca(np.full((20, 6), np.nan))
    with pytest.raises(EmptySelection, match="got 1 features and 20"):
        weight_pca(W[:, :1])
    with pytest.raises(ValueError, match="between 2 and the 20 voxels"):
        weight_pca(W, n_effective=21)
    with pytest.raises(ValueError, match="at most 6"):
        weight_pca(W, keep=7)
    with pytest.raises(ValueError, match="'permutation', 'sign-flip' or 'noise-weights'"):
        weight_pca(W, edge="mp")
    with pytest.raises(ValueError, match="cannot change places between voxels"):
        weight_pca(W, edge="permutation", normalise=True)
    with pytest.raises(ValueError, match="goes with edge='marchenko-pastur'"):
        weight_pca(W, edge="sign-flip", noise=1.0)
    with pytest.raises(ValueError, match="go together"):
        weight_pca(W, noise_weights=W)
    with pytest.raises(ValueError, match="go together"):
        weight_pca(W, edge="noise-weights")
    with pytest.raises(ShapeMismatch, match=r"must be \(20, 6\) like coef"):
        weight_pca(W, edge="noise-weights", noise_weights=W[1:])
    with pytest.raises(ShapeMismatch, match="one variance or one per voxel"):
        weight_pca(W, noise=np.ones(6))
    with pytest.raises(ValueError, match="variances above 0, got -1"):
        weight_pca(W, noise=-1.0)
    with pytest.raises(ShapeMismatch, match=r"finite \(6, 6\) array"):
        weight_pca(W, noise_covariance=np.eye(5))
    with pytest.raises(ValueError, match="positive definite"):
        weight_pca(W, noise_covariance=np.ones((6, 6)))
    with pytest.raises(ValueError, match="probability between 0 and 1"):
        weight_pca(W, level=5)
