"""Canonical correlations and their summaries."""

import numpy as np
import pytest
from sklearn.cross_decomposition import CCA

from neuro.errors import ShapeMismatch
from neuro.rsa.cca import canonical_correlations, cca, pwcca, svcca


@pytest.fixture
def pair(rng):
    x = rng.standard_normal((60, 5)) * np.arange(1, 6)
    return x, np.hstack([x[:, :2] + rng.standard_normal((60, 2)), rng.standard_normal((60, 2))])


def test_planted_correlations(rng):
    q = np.linalg.qr(rng.standard_normal((50, 7)))[0]
    q = np.linalg.qr(q - q.mean(0))[0]
    rho = np.array([0.9, 0.5, 0.1])
    y = q[:, :3] * rho + q[:, 3:6] * np.sqrt(1 - rho**2)
    x, y = q[:, :3] @ rng.standard_normal((3, 3)) + 1, y @ rng.standard_normal((3, 3)) - 2
    np.testing.assert_allclose(canonical_correlations(x, y), rho, atol=1e-10)
    assert cca(x, y) == pytest.approx(rho.mean(), abs=1e-10)
    assert cca(x, y, "mean_square") == pytest.approx((rho**2).mean(), abs=1e-10)


def test_sklearn(pair):
    x, y = pair
    u, v = CCA(n_components=3, max_iter=5000, tol=1e-12).fit_transform(x, y)
    expected = [np.corrcoef(u[:, k], v[:, k])[0, 1] for k in range(3)]
    np.testing.assert_allclose(canonical_correlations(x, y)[:3], expected, atol=1e-4)


def test_pwcca_by_definition(pair):
    x, y = (z - z.mean(0) for z in pair)
    q, r = (np.linalg.svd(z, full_matrices=False)[0] for z in (x, y))
    u, rho, _ = np.linalg.svd(q.T @ r, full_matrices=False)
    h = q @ u
    weights = [sum(abs(h[:, i] @ x[:, j]) for j in range(5)) for i in range(4)]
    assert pwcca(*pair) == pytest.approx(np.dot(weights, rho) / np.sum(weights), abs=1e-12)


def test_svcca_truncates(rng):
    x = rng.standard_normal((60, 4)) * [10, 10, 10, 0.01]
    y = np.hstack([rng.standard_normal((60, 3)) * 10, 0.01 * x[:, 3:]])
    assert canonical_correlations(x, y)[0] > 0.99
    assert svcca(x, y, 0.99) == pytest.approx(cca(x[:, :3], y[:, :3]), abs=1e-3)
    assert svcca(x, y, 1.0) == pytest.approx(cca(x, y), abs=1e-10)


def test_linear_maps_change_nothing(pair, rng):
    x, y = pair
    np.testing.assert_allclose(
        canonical_correlations(x @ rng.standard_normal((5, 5)) + 3, y), canonical_correlations(x, y), atol=1e-10
    )


def test_repeated_features_do_not_count(pair):
    x, y = pair
    np.testing.assert_allclose(canonical_correlations(np.hstack([x, x]), y), canonical_correlations(x, y), atol=1e-10)


def test_more_features_than_stimuli_correlate_perfectly(rng):
    assert cca(rng.standard_normal((10, 20)), rng.standard_normal((10, 15))) == pytest.approx(1)


def test_no_variation(pair):
    for function in (cca, pwcca, svcca):
        assert function(np.ones((60, 2)), pair[1]) == 0
    assert len(canonical_correlations(np.ones((60, 2)), pair[1])) == 0


def test_bad_input(pair):
    with pytest.raises(ValueError, match="summary must be"):
        cca(*pair, "median")
    with pytest.raises(ValueError, match="variance must be"):
        svcca(*pair, variance=0)
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        cca(pair[0], pair[1][1:])


def test_tensors_and_gradients(pair):
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(z) for z in pair)
    for function in (cca, pwcca, svcca, lambda a, b: cca(a, b, "mean_square")):
        assert function(x, y).item() == pytest.approx(function(*pair), abs=1e-12)
    assert function(x.float(), y.float()).dtype == torch.float32
    leaf = x[:15].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: cca(z, y[:15], "mean_square"), leaf)
