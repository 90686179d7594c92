"""Shape metrics, means and clusters of shapes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from neuro.errors import ShapeMismatch
from neuro.rsa.cca import cca
from neuro.rsa.procrustes import angular_procrustes, procrustes_distance
from neuro.rsa.shape import (
    barycentre,
    match,
    partial_whiten,
    shape_distance,
    shape_kmeans,
    stochastic_shape_distance,
    tangent_vectors,
)


@pytest.fixture
def pair(rng):
    x = rng.standard_normal((30, 6)) * np.arange(1, 7)
    return x, x[:, :4] @ rng.standard_normal((4, 6)) + rng.standard_normal((30, 6))


def turned(x, g):
    return x @ np.linalg.qr(g.standard_normal((x.shape[1],) * 2))[0]


def test_reference_value():
    g = np.random.default_rng(20240)
    x = g.standard_normal((40, 30))
    y = x[:, :20] @ g.standard_normal((20, 25)) + 0.5 * g.standard_normal((40, 25))
    assert shape_distance(x, y, 0.5) == pytest.approx(0.588857801179, abs=2e-12)


def test_ends_of_alpha(pair):
    x, y = pair
    assert shape_distance(x, y, 1) == pytest.approx(angular_procrustes(x, y), abs=1e-13)
    assert shape_distance(x, y, 1, kind="euclidean") == pytest.approx(procrustes_distance(x, y), abs=1e-12)
    assert shape_distance(x, y, 0) == pytest.approx(np.arccos(cca(x, y)), abs=1e-10)


def test_whitening_by_definition(pair):
    x = pair[0] - pair[0].mean(0)
    values, vectors = np.linalg.eigh(x.T @ x)
    expected = x @ vectors @ np.diag(0.3 + 0.7 / np.sqrt(values)) @ vectors.T
    np.testing.assert_allclose(partial_whiten(pair[0], 0.3), expected, atol=1e-11)
    white = partial_whiten(pair[0], 0)
    np.testing.assert_allclose(white.T @ white, np.eye(6), atol=1e-12)
    assert (partial_whiten(pair[0], 0, rescale=True) ** 2).sum() == pytest.approx((x**2).sum())


def test_more_features_than_stimuli(rng):
    """The short way round equals whitening in feature space."""
    x = rng.standard_normal((8, 30))
    x = x - x.mean(0)
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    expected = (u[:, :7] * (s[:7] * (0.4 + 0.6 / s[:7]))) @ vt[:7]
    np.testing.assert_allclose(partial_whiten(x, 0.4), expected, atol=1e-7)


@pytest.mark.parametrize("alpha", [0, 0.3, 1])
def test_invariances(pair, rng, alpha):
    x, y = pair
    value = shape_distance(x, y, alpha)
    assert shape_distance(turned(x, rng) + 2, y, alpha) == pytest.approx(value, abs=1e-10)
    order = rng.permutation(30)
    assert shape_distance(x[order], y[order], alpha) == pytest.approx(value, abs=1e-10)
    if alpha == 0:
        assert shape_distance(x @ rng.standard_normal((6, 6)), y, alpha) == pytest.approx(value, abs=1e-7)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.4, 1.0]), st.sampled_from(["orthogonal", "permutation"]))
def test_metric_axioms(seed, alpha, group):
    g = np.random.default_rng(seed)
    x, y, z = g.standard_normal((3, 9, 4)) * g.uniform(0.1, 3, (3, 1, 4))
    for kind in ("angular", "euclidean"):

        def distance(a, b, kind=kind):
            return shape_distance(a, b, alpha, kind=kind, group=group)

        assert distance(x, y) == pytest.approx(distance(y, x), abs=1e-9)
        assert distance(x, x) < 1e-7
        assert distance(x, z) <= distance(x, y) + distance(y, z) + 1e-8


def test_permutation_is_the_best_of_all(rng):
    x, y = (z - z.mean(0) for z in rng.standard_normal((2, 10, 5)))
    best = min(np.linalg.norm(x - y[:, list(p)]) for p in itertools.permutations(range(5)))
    assert shape_distance(x, y, kind="euclidean", group="permutation") == pytest.approx(best, abs=1e-12)
    order = rng.permutation(5)
    assert shape_distance(x, x[:, order] * 2, group="permutation") < 1e-10
    np.testing.assert_allclose(x @ match(x, x[:, order], "permutation"), x[:, order])
    assert shape_distance(x, y, group="permutation") >= shape_distance(x, y)


def test_stochastic_without_noise_is_procrustes(pair):
    x, y = pair
    none = np.zeros((30, 6, 6))
    expected = procrustes_distance(x, y) / np.sqrt(30)
    assert stochastic_shape_distance(x, none, y, none) == pytest.approx(expected, rel=1e-9)
    assert stochastic_shape_distance(x, none, y, none, 2) == pytest.approx(np.sqrt(2) * expected, rel=1e-9)


def test_stochastic_is_wasserstein_where_no_rotation_helps(rng):
    """In one dimension T is +1 or -1 and the 2-Wasserstein distance of Gaussians is known."""
    x, y = (z - z.mean(0) for z in rng.standard_normal((2, 12, 1)))
    s, t = rng.uniform(0.5, 2, (2, 12, 1, 1))
    expected = min(np.mean((x - sign * y) ** 2) for sign in (1, -1)) + np.mean((np.sqrt(s) - np.sqrt(t)) ** 2)
    assert stochastic_shape_distance(x, s, y, t) == pytest.approx(np.sqrt(expected), rel=1e-9)


def test_stochastic_objective_at_its_best_rotation(rng):
    """Two dimensions: scan all rotations and reflections."""
    x, y = (z - z.mean(0) for z in rng.standard_normal((2, 6, 2)))
    roots = rng.standard_normal((2, 6, 2, 3))
    s, t = (r @ np.swapaxes(r, 1, 2) for r in roots)

    def objective(q):
        total = 0
        for i in range(6):
            b = q.T @ t[i] @ q
            root = np.real(sqrtm(s[i]))
            total += 0.7 * ((x[i] - y[i] @ q) ** 2).sum()
            total += 1.3 * (np.trace(s[i]) + np.trace(b) - 2 * np.trace(np.real(sqrtm(root @ b @ root))))
        return total / 6

    scan = []
    for a in np.linspace(0, 2 * np.pi, 181):
        q = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        scan += [objective(q), objective(q @ np.diag([1, -1]))]
    found = stochastic_shape_distance(x, s, y, t, 0.7, n_starts=8)
    assert found == pytest.approx(np.sqrt(min(scan)), rel=2e-3)
    assert found <= np.sqrt(min(scan)) + 1e-9


def test_stochastic_ignores_rotation(rng):
    x = rng.standard_normal((10, 4))
    root = rng.standard_normal((10, 4, 4))
    s = root @ np.swapaxes(root, 1, 2)
    q = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    assert stochastic_shape_distance(x, s, x @ q, q.T @ s @ q) < 1e-5


def test_barycentre_of_rotated_copies(pair, rng):
    x = pair[0] - pair[0].mean(0)
    mean, aligned = barycentre([turned(x, rng) for _ in range(4)])
    assert procrustes_distance(mean, x) < 1e-10
    for a in aligned:
        np.testing.assert_allclose(a, mean, atol=1e-9)
    np.testing.assert_allclose(tangent_vectors([turned(x, rng) for _ in range(3)]), 0, atol=1e-9)


def test_barycentre_minimises_summed_squares(rng):
    xs = [rng.standard_normal((12, 4)) for _ in range(5)]
    mean, _ = barycentre(xs, n_iter=500)
    cost = sum(procrustes_distance(x, mean) ** 2 for x in xs)
    for _ in range(20):
        other = mean + 0.05 * rng.standard_normal(mean.shape)
        assert sum(procrustes_distance(x, other) ** 2 for x in xs) > cost


def test_tangent_vectors_have_the_distance_to_the_mean(rng):
    xs = [rng.standard_normal((12, 4)), rng.standard_normal((12, 3)), rng.standard_normal((12, 4))]
    mean, _ = barycentre(xs)
    vectors = tangent_vectors(xs, mean)
    assert vectors.shape == (3, 48)
    expected = [procrustes_distance(x, mean) for x in xs]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), expected, atol=1e-9)


def test_kmeans_finds_planted_groups(rng):
    centres = rng.standard_normal((3, 20, 5))
    truth = np.repeat([0, 1, 2], 4)
    xs = [turned(centres[k], rng) + 0.1 * rng.standard_normal((20, 5)) for k in truth]
    labels, found = shape_kmeans(xs, 3, rng=0)
    assert len(found) == 3
    same = labels[:, None] == labels
    np.testing.assert_array_equal(same, truth[:, None] == truth)


def test_bad_input(pair):
    x, y = pair
    with pytest.raises(ValueError, match="alpha must be from 0"):
        shape_distance(x, y, 1.5)
    with pytest.raises(ValueError, match="kind must be"):
        shape_distance(x, y, kind="chord")
    with pytest.raises(ValueError, match="group must be"):
        shape_distance(x, y, group="affine")
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        barycentre([x, y[1:]])
    with pytest.raises(ShapeMismatch, match="at least one"):
        barycentre([])
    with pytest.raises(ValueError, match="cannot form 3"):
        shape_kmeans([x, y], 3)
    with pytest.raises(ValueError, match="only 1 different"):
        shape_kmeans([x, x, x], 2)
    with pytest.raises(ShapeMismatch, match="covariances"):
        stochastic_shape_distance(x, np.zeros((30, 6)), y, np.zeros((30, 6, 6)))
    with pytest.raises(ValueError, match="semi-definite"):
        stochastic_shape_distance(x, -np.stack([np.eye(6)] * 30), y, np.zeros((30, 6, 6)))
    with pytest.raises(ValueError, match="alpha must be from 0"):
        stochastic_shape_distance(x, np.zeros((30, 6, 6)), y, np.zeros((30, 6, 6)), 3)


def test_tensors_and_gradients(pair):
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(z) for z in pair)
    for options in ({"alpha": 0.0}, {"alpha": 0.5}, {"kind": "euclidean"}, {"group": "permutation"}):
        assert shape_distance(x, y, **options).item() == pytest.approx(shape_distance(*pair, **options), abs=1e-10)
    leaf = x[:12].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: shape_distance(z, y[:12], 0.5), leaf)
    mean, _ = barycentre([x, y])
    np.testing.assert_allclose(mean.numpy(), barycentre(list(pair))[0], atol=1e-8)
