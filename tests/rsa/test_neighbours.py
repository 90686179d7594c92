"""Shared neighbours, and distance correlation."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist, squareform

from neuro.errors import ShapeMismatch
from neuro.rsa import neighbours
from neuro.rsa.cka import linear_cka
from neuro.rsa.distance_correlation import distance_correlation
from neuro.rsa.neighbours import cknna, mutual_knn, nearest_neighbours


@pytest.fixture
def pair(rng):
    x = rng.standard_normal((40, 6)) + 0.3
    return x, x[:, :4] @ rng.standard_normal((4, 5)) + 0.5 * rng.standard_normal((40, 5))


def brute(x, k, similarity):
    s = x @ x.T if similarity == "inner" else -cdist(x, x, similarity)
    np.fill_diagonal(s, -np.inf)
    return np.argsort(-s, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("similarity", ["cosine", "inner", "euclidean"])
def test_neighbours_by_brute_force(pair, similarity):
    np.testing.assert_array_equal(nearest_neighbours(pair[0], 7, similarity), brute(pair[0], 7, similarity))


@pytest.mark.parametrize("similarity", ["cosine", "inner", "euclidean"])
def test_mutual_knn_by_brute_force(pair, similarity):
    near = [brute(z, 7, similarity) for z in pair]
    expected = np.mean([len(set(a) & set(b)) / 7 for a, b in zip(*near, strict=True)])
    assert mutual_knn(*pair, k=7, similarity=similarity) == pytest.approx(expected, abs=1e-14)


def test_blocks_change_nothing(pair, monkeypatch):
    whole = nearest_neighbours(pair[0], 5)
    monkeypatch.setattr(neighbours, "BLOCK", 40 * 7)
    np.testing.assert_array_equal(nearest_neighbours(pair[0], 5), whole)


def test_ties_go_to_those_first():
    x = np.array([[1.0, 0], [0, 1], [0, 1], [0, 1], [-1, 0]])
    np.testing.assert_array_equal(nearest_neighbours(x, 2, "euclidean")[0], [1, 2])


def test_limits(pair, rng):
    x = pair[0]
    assert mutual_knn(x, 3 * x) == 1
    assert mutual_knn(x, pair[1], k=39) == 1
    g = rng.standard_normal((2, 400, 20))
    assert mutual_knn(*g, k=20) == pytest.approx(20 / 399, abs=0.01)


def test_cknna_with_all_neighbours_is_cka(pair):
    assert cknna(*pair, k=39) == pytest.approx(linear_cka(*pair), abs=1e-12)


def test_cknna_by_definition(pair):
    n, k = 40, 8
    kernels, masks = [], []
    for z in pair:
        mask = np.zeros((n, n))
        mask[np.arange(n)[:, None], brute(z, k, "inner")] = 1
        z = z - z.mean(0)
        kernels.append(z @ z.T)
        masks.append(mask)

    def product(a, b):
        one = np.ones(n)
        crossed = (one @ a @ b @ one + one @ b @ a @ one) / 2
        return (a * b).sum() + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 * crossed / (n - 2)

    both = masks[0] * masks[1]
    expected = product(kernels[0] * both, kernels[1] * both) / np.sqrt(
        product(kernels[0] * masks[0], kernels[0] * masks[0]) * product(kernels[1] * masks[1], kernels[1] * masks[1])
    )
    assert cknna(*pair, k=k) == pytest.approx(expected, abs=1e-12)
    assert cknna(pair[1], pair[0], k=k) == pytest.approx(expected, abs=1e-12)
    assert cknna(pair[0], pair[0], k=k) == pytest.approx(1, abs=1e-12)
    assert cknna(pair[0], pair[0], k=k, debiased=False) == pytest.approx(1, abs=1e-12)


def test_bad_input(pair):
    with pytest.raises(ValueError, match="k must be below"):
        mutual_knn(*pair, k=40)
    with pytest.raises(ValueError, match="k must be an integer of at least 2"):
        cknna(*pair, k=1)
    with pytest.raises(ValueError, match="similarity must be"):
        mutual_knn(*pair, similarity="dot")
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        mutual_knn(pair[0], pair[1][1:])


def test_tensors(pair):
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(z) for z in pair)
    assert mutual_knn(x, y, 6) == mutual_knn(*pair, 6)
    assert cknna(x, y, 6).item() == pytest.approx(cknna(*pair, 6), abs=1e-12)
    assert torch.autograd.gradcheck(lambda z: cknna(z, y[:12], 5), x[:12].clone().requires_grad_())


# Distance correlation


def test_classical_by_definition(pair):
    a, b = (squareform(pdist(z)) for z in pair)
    a, b = (d - d.mean(0) - d.mean(1)[:, None] + d.mean() for d in (a, b))
    expected = np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))
    assert distance_correlation(*pair, bias_corrected=False) == pytest.approx(expected, abs=1e-12)


def test_bias_corrected_by_u_centring(pair):
    n = 40
    centred = []
    for z in pair:
        d = squareform(pdist(z))
        u = d - d.sum(0) / (n - 2) - d.sum(1)[:, None] / (n - 2) + d.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(u, 0)
        centred.append(u)
    a, b = centred
    expected = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    assert distance_correlation(*pair) == pytest.approx(expected, abs=1e-12)


def test_independent_data_correlate_by_zero(rng):
    values = [distance_correlation(*rng.standard_normal((2, 40, 200))) for _ in range(30)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(30)
    assert distance_correlation(*rng.standard_normal((2, 40, 200)), bias_corrected=False) > 0.9


def test_dependence_without_correlation(rng):
    x = rng.standard_normal((500, 1))
    y = np.abs(x)
    assert abs(np.corrcoef(x[:, 0], y[:, 0])[0, 1]) < 0.15
    assert distance_correlation(x, y) > 0.2


def test_distance_correlation_edge_cases(pair):
    torch = pytest.importorskip("torch")
    assert distance_correlation(np.ones((40, 2)), pair[1]) == 0
    with pytest.raises(ShapeMismatch, match="at least 4"):
        distance_correlation(pair[0][:3], pair[1][:3])
    x, y = (torch.tensor(z) for z in pair)
    for corrected in (True, False):
        expected = distance_correlation(*pair, bias_corrected=corrected)
        assert distance_correlation(x, y, corrected).item() == pytest.approx(expected, abs=1e-10)
    assert torch.autograd.gradcheck(lambda z: distance_correlation(z, y[:10]), x[:10].clone().requires_grad_())
