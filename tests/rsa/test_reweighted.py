"""Feature-reweighted RSA: closed-form moments, planted weights, no gain from noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.spatial.distance import squareform

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa.compare import compare
from neuro.rsa.container import RDMs
from neuro.rsa.reweighted import _moments, _weights, feature_reweighted


def predictors(x):
    i, j = np.triu_indices(len(x), 1)
    return ((x[i] - x[j]) ** 2).T


@pytest.fixture
def planted(rng):
    x = rng.standard_normal((30, 6))
    weights = np.array([3.0, 0, 1, 0, 0.5, 0])
    return x, weights, weights @ predictors(x)


def test_moments_without_the_predictor_matrix_equal_those_with_it(rng):
    x, d = rng.standard_normal((9, 4)) + 3, rng.random((2, 36))
    gram, y = _moments(x, np.stack([squareform(v) for v in d]))
    f = predictors(x)
    f = f - f.mean(1, keepdims=True)
    np.testing.assert_allclose(gram, f @ f.T, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(y, f @ d.T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_weights_equal_a_dense_ridge(rng, nonnegative):
    x, d = rng.standard_normal((12, 5)), rng.random((2, 66))
    alpha = np.array([0.1, 0.5])
    got = _weights(x, np.stack([squareform(v) for v in d]), nonnegative, alpha)
    f = predictors(x)
    f = f - f.mean(1, keepdims=True)
    scale = np.mean((f**2).sum(1))
    for r in range(2):
        stacked = np.vstack([f.T, np.sqrt(scale * alpha[r]) * np.eye(5)])
        target = np.r_[d[r] - d[r].mean(), np.zeros(5)]
        expected = nnls(stacked, target)[0] if nonnegative else np.linalg.lstsq(stacked, target, rcond=None)[0]
        np.testing.assert_allclose(got[r], expected, atol=1e-10)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_planted_weights_are_recovered(planted, nonnegative):
    x, weights, d = planted
    result = feature_reweighted(x, d, nonnegative=nonnegative)
    np.testing.assert_allclose(result.weights[0], weights, atol=0.02)
    assert result.scores[0] > 0.999
    assert result.unweighted[0] < 0.9
    assert result.fold_sizes == (6, 6, 6, 6, 6)
    assert result.alphas.max() <= 1e-3


def test_noise_gains_nothing(rng):
    x = rng.standard_normal((24, 8))
    result = feature_reweighted(x, rng.random((25, 276)), alphas=[1e-3, 1, 1000])
    assert abs(result.scores.mean()) < 4 * result.scores.std() / 5 + 0.02


def test_one_fold_by_hand(planted, rng):
    x, _, d = planted
    d = d + rng.standard_normal(len(d))
    result = feature_reweighted(x, d, alphas=[0.1], folds=3, rng=5)
    fold = np.random.default_rng(5).permutation(30) % 3
    square = squareform(d)
    for j in range(3):
        train, test = fold != j, fold == j
        theta = _weights(x[train], square[np.ix_(train, train)][None], True, np.array([0.1]))[0]
        upper = np.triu_indices(10, 1)
        expected = compare(theta @ predictors(x[test]), square[np.ix_(test, test)][upper], "corr")[0, 0]
        assert result.fold_scores[0, j] == pytest.approx(expected, abs=1e-12)


def test_test_stimuli_do_not_reach_the_fit(planted):
    x, _, d = planted
    fold = np.random.default_rng(0).permutation(30) % 5
    changed = squareform(d)
    test = np.flatnonzero(fold == 0)
    rng = np.random.default_rng(1)
    block = rng.random((len(test), len(test)))
    changed[np.ix_(test, test)] = np.triu(block, 1) + np.triu(block, 1).T
    a, b = feature_reweighted(x, d), feature_reweighted(x, squareform(changed))
    assert a.alphas[0, 0] == b.alphas[0, 0]
    assert a.fold_scores[0, 0] != b.fold_scores[0, 0]


def test_numbers_of_folds(planted, rng):
    for n, folds in [(9, 3), (12, 4), (14, 5), (20, 5)]:
        x = rng.standard_normal((n, 2))
        result = feature_reweighted(x, predictors(x).sum(0), alphas=[0.01])
        assert len(result.fold_sizes) == folds
        assert np.isnan(result.fold_scores).sum() == (n == 14)
        assert np.isfinite(result.scores).all()


@pytest.mark.parametrize("method", ["spearman", "corr_cov"])
def test_other_scores_repeats_names_and_seeds(planted, method):
    x, _, d = planted
    rdms = RDMs(np.stack([d, d[::-1]]), table={"name": ["a", "b"]})
    one = feature_reweighted(x, rdms, method, n_repeats=2, alphas=[0.01, 0.1], rng=1)
    two = feature_reweighted(x, rdms, method, n_repeats=2, alphas=[0.01, 0.1], rng=1)
    np.testing.assert_array_equal(one.fold_scores, two.fold_scores)
    assert one.fold_scores.shape == (2, 10)
    frame = one.to_frame()
    assert list(frame["rdm"]) == ["a", "b"]
    assert frame["score"][0] > 0.95


def test_constant_features_score_zero(rng):
    result = feature_reweighted(np.ones((10, 3)), rng.random(45))
    assert result.scores[0] == 0
    assert not result.weights.any()


def test_tensors_are_read_and_nothing_is_written_to(planted):
    torch = pytest.importorskip("torch")
    x, _, d = planted
    before = x.copy(), d.copy()
    a = feature_reweighted(torch.tensor(x), torch.tensor(d), alphas=[0.1])
    np.testing.assert_allclose(a.scores, feature_reweighted(x, d, alphas=[0.1]).scores)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(d, before[1])


def test_bad_input_is_refused(rng):
    x, d = rng.standard_normal((12, 3)), rng.random(66)
    with pytest.raises(EmptySelection, match="at least 9"):
        feature_reweighted(x[:8], rng.random(28))
    with pytest.raises(ShapeMismatch, match="features must be"):
        feature_reweighted(x[:10], d)
    with pytest.raises(ValueError, match="NaN"):
        feature_reweighted(np.where(x > 2, np.nan, x), np.where(d > 0.9, np.nan, d))
    with pytest.raises(ValueError, match="alphas"):
        feature_reweighted(x, d, alphas=[0.0])
    with pytest.raises(EmptySelection, match="use at most 4 folds"):
        feature_reweighted(x, d, folds=5)
    with pytest.raises(ValueError, match="method must be"):
        feature_reweighted(x, d, "cosine")
