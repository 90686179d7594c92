"""Bures similarity and metric of kernels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.spatial.distance import pdist

from neuro.errors import ShapeMismatch
from neuro.rsa.bures import angles, factors, metrics, nbs, nuclear, similarities
from neuro.rsa.procrustes import angular_procrustes, procrustes_distance


def rdm(x):
    return pdist(x, "sqeuclidean")[None]


@pytest.fixture
def pair(rng):
    x = rng.standard_normal((20, 6))
    return x, x @ rng.standard_normal((6, 9)) + rng.standard_normal((20, 9))


def test_definition_by_matrix_roots(rng):
    x, y = rng.standard_normal((2, 8, 20))
    k, l = ((z - z.mean(0)) @ (z - z.mean(0)).T for z in (x, y))
    k, l = k + 1e-9 * np.eye(8), l + 1e-9 * np.eye(8)
    root = np.real(sqrtm(k))
    fidelity = np.real(np.trace(sqrtm(root @ l @ root)))
    assert similarities(rdm(x), rdm(y)).item() == pytest.approx(fidelity / np.sqrt(np.trace(k) * np.trace(l)), abs=1e-6)
    expected = np.sqrt(np.trace(k) + np.trace(l) - 2 * fidelity)
    assert metrics(rdm(x), rdm(y)).item() == pytest.approx(expected, abs=1e-5)


def test_rdms_and_features_agree(pair):
    x, y = pair
    assert similarities(rdm(x), rdm(y)).item() == pytest.approx(nbs(x, y), abs=1e-12)
    assert angles(rdm(x), rdm(y)).item() == pytest.approx(angular_procrustes(x, y), abs=1e-12)
    assert metrics(rdm(x), rdm(y)).item() == pytest.approx(procrustes_distance(x, y), abs=1e-10)


def test_squared_metric_from_nuclear_norm(pair):
    x, y = (z - z.mean(0) for z in pair)
    expected = (x**2).sum() + (y**2).sum() - 2 * np.linalg.svd(x.T @ y)[1].sum()
    assert metrics(rdm(x), rdm(y)).item() ** 2 == pytest.approx(expected, rel=1e-12)
    assert nuclear(x, y) == pytest.approx(np.linalg.norm(x.T @ y, "nuc"), rel=1e-12)


def test_no_bias_for_identical_kernels_of_low_rank(rng):
    """Roots of eigenvalues of rank-deficient products give 1 + 3e-8 here."""
    x = rng.standard_normal((92, 20))
    assert abs(similarities(rdm(x), rdm(x)).item() - 1) < 1e-13
    assert metrics(rdm(x), rdm(x)).item() < 1e-5


def test_factors_rebuild_the_kernel(pair):
    x = pair[0] - pair[0].mean(0)
    (f,) = factors(rdm(x))
    assert f.shape == (20, 6)
    np.testing.assert_allclose(f @ f.T, x @ x.T, atol=1e-10)


@given(st.integers(0, 2**32 - 1))
def test_metric_axioms(seed):
    g = np.random.default_rng(seed)
    d = np.concatenate([rdm(g.standard_normal((7, int(p))) * g.uniform(0.1, 5)) for p in g.integers(1, 9, 3)])
    for matrix in (metrics(d, d), angles(d, d)):
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-10)
        assert np.diag(matrix).max() < 1e-5
        assert matrix[0, 2] <= matrix[0, 1] + matrix[1, 2] + 1e-9


def test_representation_without_variation(pair):
    assert nbs(np.ones((20, 3)), pair[1]) == 0


def test_bad_input(pair):
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        nbs(pair[0], pair[1][:-1])
    with pytest.raises(ShapeMismatch, match="n_stimuli, n_features"):
        nbs(pair[0][:, 0], pair[1])


def test_tensors_and_gradients(pair):
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(z) for z in pair)
    assert nbs(x, y).item() == pytest.approx(nbs(*pair), abs=1e-13)
    assert nbs(x.float(), y.float()).dtype == torch.float32
    assert torch.autograd.gradcheck(nbs, (x.requires_grad_(), y.requires_grad_()))
