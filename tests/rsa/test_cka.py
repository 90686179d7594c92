"""CKA and HSIC."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from neuro.errors import ShapeMismatch
from neuro.rsa.cka import MinibatchCKA, cka, hsic, kernel_cka, lange_cka, linear_cka, minibatch_cka, rbf_kernel
from neuro.rsa.compare import compare


def rdm(x):
    return pdist(x, "sqeuclidean")


@pytest.fixture
def fixture_a():
    np.random.seed(0)  # noqa: NPY002 (the reference values are defined by it)
    return np.random.uniform(size=(30, 25)), np.random.uniform(size=(30, 25))  # noqa: NPY002


@pytest.fixture
def fixture_b():
    g = np.random.default_rng(20240)
    x = g.standard_normal((40, 30))
    return x, x[:, :20] @ g.standard_normal((20, 25)) + 0.5 * g.standard_normal((40, 25))


@pytest.fixture
def pair(rng):
    x = rng.standard_normal((30, 7)) + 3
    return x, x[:, :5] @ rng.standard_normal((5, 4)) + rng.standard_normal((30, 4))


def test_consensus_value(fixture_a):
    assert linear_cka(*fixture_a, debiased=False) == pytest.approx(0.489342739104415, abs=1e-12)


def test_reference_values(fixture_b):
    assert linear_cka(*fixture_b, debiased=False) == pytest.approx(0.736592614775, abs=2e-12)
    assert linear_cka(*fixture_b) == pytest.approx(0.633071353129, abs=2e-12)
    assert lange_cka(*fixture_b) == pytest.approx(0.636771624729, abs=2e-12)


@pytest.mark.parametrize("p", [3, 200])
def test_features_kernels_and_rdms_agree(rng, p):
    x, y = rng.standard_normal((2, 25, p))
    for function, options, method in [
        (linear_cka, {"debiased": False}, "cosine_cov"),
        (linear_cka, {}, "cka"),
        (lange_cka, {}, "cka_lange"),
    ]:
        expected = compare(rdm(x), rdm(y), method).item()
        assert function(x, y, **options) == pytest.approx(expected, abs=1e-11)
    for debiased in (True, False):
        expected = linear_cka(x, y, debiased)
        assert kernel_cka(x @ x.T, y @ y.T, debiased) == pytest.approx(expected, abs=1e-11)
        assert cka(x, y, lambda z: z @ z.T, debiased) == pytest.approx(expected, abs=1e-11)


def test_hsic_definitions(rng):
    x, y = rng.standard_normal((2, 8, 3))
    k, l = x @ x.T, y @ y.T
    n, h = 8, np.eye(8) - 1 / 8
    assert hsic(k, l, debiased=False) == pytest.approx(np.trace(k @ h @ l @ h) / 49, abs=1e-13)
    total = 0.0  # the U-statistic: mean over distinct i, j, q, r
    for i in range(n):
        for j in set(range(n)) - {i}:
            for q in set(range(n)) - {i, j}:
                for r in set(range(n)) - {i, j, q}:
                    total += k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q])
    assert hsic(k, l) == pytest.approx(total / (n * (n - 1) * (n - 2) * (n - 3)), abs=1e-12)


def test_independent_noise():
    """Biased CKA of noise with n = 50, p = 5000 is 0.99, debiased 0."""
    g = np.random.default_rng(1)
    pairs = [g.standard_normal((2, 50, 5000)) for _ in range(20)]
    assert np.mean([linear_cka(*z, debiased=False) for z in pairs]) == pytest.approx(0.990, abs=0.001)
    debiased = np.array([linear_cka(*z) for z in pairs])
    assert abs(debiased.mean()) < 0.03
    assert debiased.min() < 0  # not clipped
    assert debiased.std() == pytest.approx(0.029, abs=0.015)


@pytest.mark.parametrize("function", [linear_cka, lange_cka, cka, lambda x, y: cka(x, y, "rbf")])
def test_invariances(pair, rng, function):
    x, y = pair
    value = function(x, y)
    turn = np.linalg.qr(rng.standard_normal((7, 7)))[0]
    order = rng.permutation(30)
    assert function(5 * x @ turn - 2, y) == pytest.approx(value, abs=1e-10)
    assert function(x[order], y[order]) == pytest.approx(value, abs=1e-10)
    assert function(y, x) == pytest.approx(value, abs=1e-12)
    assert function(x, x) == pytest.approx(1, abs=1e-10)


def test_rbf_width(pair):
    x, y = pair
    score, widths = cka(x, y, "rbf", width=0.5, return_widths=True)
    assert widths == pytest.approx([0.5 * np.median(pdist(z)) for z in pair], rel=1e-9)
    k, w = rbf_kernel(x, 0.5)
    np.testing.assert_allclose(k[0, 1], np.exp(-pdist(x, "sqeuclidean")[0] / (2 * w**2)), rtol=1e-10)
    assert score == pytest.approx(kernel_cka(k, rbf_kernel(y, 0.5)[0]), abs=1e-12)
    assert cka(x, y, "rbf", width=100) == pytest.approx(linear_cka(x, y), abs=1e-3)


def test_minibatches(rng):
    x = rng.standard_normal((1024, 10))
    y = x @ rng.standard_normal((10, 10)) + 2 * rng.standard_normal((1024, 10))
    assert minibatch_cka(x, y, 1024, rng=0) == pytest.approx(linear_cka(x, y), abs=1e-10)
    assert minibatch_cka(x, y, 64, rng=0, n_epochs=4) == pytest.approx(linear_cka(x, y), abs=0.02)
    stream = MinibatchCKA()
    assert np.isnan(stream.score)
    products = np.zeros(3)
    for rows in (slice(0, 20), slice(20, 50)):
        stream.update(x[rows], y[rows])
        k, l = (z[rows] @ z[rows].T for z in (x, y))
        products += [hsic(k, l), hsic(k, k), hsic(l, l)]
    assert stream.score == pytest.approx(products[0] / np.sqrt(products[1] * products[2]), abs=1e-10)


def test_no_variation_gives_nan(pair):
    for function in (linear_cka, lange_cka):
        assert np.isnan(function(np.ones((30, 3)), pair[1]))
        assert np.isnan(function(pair[0], np.full((30, 3), 1 / 3)))
    assert np.isnan(kernel_cka(np.ones((30, 30)), np.eye(30)))


def test_bad_input(pair):
    x, y = pair
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        linear_cka(x, y[1:])
    with pytest.raises(ShapeMismatch, match="at least 4 stimuli"):
        linear_cka(x[:3], y[:3])
    with pytest.raises(ShapeMismatch, match="at least 4"):
        hsic(np.eye(3), np.eye(3))
    with pytest.raises(ValueError, match="kernel must be 'linear'"):
        cka(x, y, "poly")
    with pytest.raises(ValueError, match="positive fraction"):
        cka(x, y, "rbf", width=0)
    with pytest.raises(ValueError, match="median distance"):
        cka(np.ones((30, 2)), y, "rbf")
    with pytest.raises(ShapeMismatch, match="square kernels"):
        hsic(x, y)
    with pytest.raises(ValueError, match="batch_size"):
        minibatch_cka(x, y, 3)
    with pytest.raises(ShapeMismatch, match="do not fill"):
        minibatch_cka(x, y, 256)


def test_tensors_and_gradients(pair):
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(z) for z in pair)
    for function in (linear_cka, lange_cka, lambda a, b: linear_cka(a, b, False), lambda a, b: cka(a, b, "rbf")):
        assert function(x, y).item() == pytest.approx(function(*pair), abs=1e-12)
        assert function(x.float(), y.float()).dtype == torch.float32
    leaf = x[:8].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: linear_cka(z, y[:8]), leaf)
    assert torch.autograd.gradcheck(lambda z: linear_cka(z, y[:8], debiased=False), leaf)
    assert torch.autograd.gradcheck(lambda z: kernel_cka(z @ z.T, y[:8] @ y[:8].T), leaf)
