"""Procrustes distances and held-out alignment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes

from neuro.errors import ShapeMismatch
from neuro.rsa.bures import nbs
from neuro.rsa.procrustes import ProcrustesAlignment, angular_procrustes, procrustes_distance


@pytest.fixture
def pair(rng):
    x = rng.standard_normal((30, 7)) + 3
    return x, x[:, :5] @ rng.standard_normal((5, 4)) + rng.standard_normal((30, 4))


def turned(x, rng):
    return x @ np.linalg.qr(rng.standard_normal((x.shape[1],) * 2))[0]


def test_consensus_value():
    np.random.seed(0)  # noqa: NPY002 (the reference value is defined by it)
    x, y = np.random.uniform(size=(30, 25)), np.random.uniform(size=(30, 25))  # noqa: NPY002
    assert angular_procrustes(x, y) == pytest.approx(0.762981579934097, abs=1e-12)


def test_reference_values():
    g = np.random.default_rng(20240)
    x = g.standard_normal((40, 30))
    y = x[:, :20] @ g.standard_normal((20, 25)) + 0.5 * g.standard_normal((40, 25))
    assert angular_procrustes(x, y) == pytest.approx(0.586592311446, abs=2e-12)
    assert nbs(x, y) == pytest.approx(0.832831755942, abs=2e-12)


def test_scipy(rng):
    x, y = (z - z.mean(0) for z in rng.standard_normal((2, 20, 6)))
    q = orthogonal_procrustes(x, y)[0]
    assert procrustes_distance(x, y) == pytest.approx(np.linalg.norm(x @ q - y), abs=1e-12)


def test_cosine_of_the_angle_is_nbs(pair):
    assert np.cos(angular_procrustes(*pair)) == pytest.approx(nbs(*pair), abs=1e-13)


def test_invariances(pair, rng):
    x, y = pair
    assert angular_procrustes(4 * turned(x, rng) + 1, y) == pytest.approx(angular_procrustes(x, y), abs=1e-12)
    assert procrustes_distance(turned(x, rng) + 1, y) == pytest.approx(procrustes_distance(x, y), abs=1e-11)


def test_identical_shapes_are_at_zero(pair, rng):
    """No loss of half the digits as in arccos(1 - 1e-16)."""
    x = pair[0]
    assert angular_procrustes(x, turned(x, rng)) < 1e-13
    assert procrustes_distance(x, turned(x, rng)) < 1e-12
    wide = np.hstack([turned(x, rng), np.zeros((30, 3))])
    assert angular_procrustes(x, wide) < 1e-13


@pytest.mark.parametrize("angle", [1e-9, 1e-6, 1e-3, 0.1])
def test_small_angles(rng, angle):
    """Two features swapped for others in proportion: the angle is known."""
    q = np.linalg.qr(rng.standard_normal((30, 9)))[0]
    q = np.linalg.qr(q - q.mean(0))[0]
    x, y = q[:, :1], np.cos(angle) * q[:, :1] + np.sin(angle) * q[:, 1:2]
    assert angular_procrustes(x, y) == pytest.approx(angle, rel=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_metric_axioms(seed):
    g = np.random.default_rng(seed)
    x, y, z = (g.standard_normal((8, int(p))) * g.uniform(0.1, 10) for p in g.integers(1, 12, 3))
    for distance in (angular_procrustes, procrustes_distance):
        assert distance(x, y) == pytest.approx(distance(y, x), abs=1e-10)
        assert distance(x, x) < 1e-9
        assert distance(x, z) <= distance(x, y) + distance(y, z) + 1e-9


def test_no_variation_is_a_right_angle(pair):
    assert angular_procrustes(np.ones((30, 2)), pair[1]) == pytest.approx(np.pi / 2)


def test_alignment_on_other_stimuli(rng):
    x = rng.standard_normal((60, 5))
    y = np.hstack([turned(x, rng), np.zeros((60, 2))]) * 3 + 1
    model = ProcrustesAlignment().fit(x[:40], y[:40])
    assert model.score(x[40:], y[40:]) == pytest.approx(1, abs=1e-12)
    scaled = ProcrustesAlignment(scaling=True).fit(x[:40], y[:40])
    np.testing.assert_allclose(scaled.transform(x[40:]), y[40:], atol=1e-10)
    assert scaled.scale_ == pytest.approx(3)


def test_alignment_to_noise_does_not_generalise(rng):
    x, y = rng.standard_normal((2, 60, 100))
    model = ProcrustesAlignment().fit(x[:40], y[:40])
    assert model.score(x[:40], y[:40]) > 0.7
    assert abs(model.score(x[40:], y[40:])) < 0.1


def test_alignment_is_scored_by_training_means(rng):
    x = rng.standard_normal((60, 5))
    y = turned(x, rng)
    model = ProcrustesAlignment().fit(x[:40], y[:40])
    assert model.score(x[40:], y[40:] + 5) < 0.9


def test_bad_input(pair):
    x, y = pair
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        angular_procrustes(x, y[1:])
    model = ProcrustesAlignment().fit(x, y)
    with pytest.raises(ShapeMismatch, match=r"\(n_stimuli, 7\)"):
        model.transform(y)
    with pytest.raises(ShapeMismatch, match="30 stimuli"):
        model.score(x, y[1:])


def test_tensors_and_gradients(pair):
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(z) for z in pair)
    for function in (angular_procrustes, procrustes_distance):
        assert function(x, y).item() == pytest.approx(function(*pair), abs=1e-12)
        assert function(x.float(), y.float()).dtype == torch.float32
        assert torch.autograd.gradcheck(function, (x[:9].clone().requires_grad_(), y[:9].clone().requires_grad_()))
    model = ProcrustesAlignment().fit(x, y)
    assert model.score(x, y).item() == pytest.approx(ProcrustesAlignment().fit(*pair).score(*pair), abs=1e-12)


def test_gradient_close_to_the_target(pair):
    torch = pytest.importorskip("torch")
    x = torch.tensor(pair[0])
    y = (x + 1e-5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()).requires_grad_()
    before = angular_procrustes(x, y)
    (gradient,) = torch.autograd.grad(before, y)
    assert torch.isfinite(gradient).all()
    after = angular_procrustes(x, y.detach() - 0.5 * before.detach() / (gradient**2).sum() * gradient)
    assert after < 0.7 * before
