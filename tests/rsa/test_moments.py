"""Second moments, matrices between runs, framed RDMs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa._pairs import to_condensed
from neuro.rsa.crossnobis import crossnobis
from neuro.rsa.estimate import rdm
from neuro.rsa.moments import CROSS_METRICS, cross_run, framed, framed_rdm, second_moment, second_moment_cv


@pytest.fixture
def precision(rng):
    A = rng.standard_normal((9, 20))
    return A @ A.T / 20


def distances(K):
    g = np.diag(K)
    return to_condensed(g[:, None] + g[None] - 2 * K)


@pytest.mark.parametrize("n", [6, 200])
@pytest.mark.parametrize("tensor", [False, True])
def test_second_moment(rng, precision, n, tensor):
    X = rng.standard_normal((n, 9)) + 3
    data = torch.tensor(X) if tensor else X
    np.testing.assert_allclose(second_moment(data), X @ X.T / 9, rtol=1e-9)
    np.testing.assert_allclose(second_moment(data, noise=precision), X @ precision @ X.T / 9, rtol=1e-9)
    Y = X - X.mean(0)
    K = np.asarray(second_moment(data, centre=True, noise=np.diag(precision)))
    np.testing.assert_allclose(K, Y * np.diag(precision) @ Y.T / 9, atol=1e-11)
    np.testing.assert_allclose(distances(np.asarray(second_moment(data))), rdm(X, "sqeuclidean").dissimilarities[0])


@pytest.mark.parametrize("K", [2, 4])
@pytest.mark.parametrize("tensor", [False, True])
def test_cross_validated_second_moment(rng, precision, K, tensor):
    A = rng.standard_normal((K, 5, 9)) + 1
    data = torch.tensor(A) if tensor else A
    expected = np.mean([A[k] @ A[m].T / 9 for k, m in itertools.permutations(range(K), 2)], axis=0)
    G = np.asarray(second_moment_cv(data))
    np.testing.assert_allclose(G, expected, atol=1e-12)
    np.testing.assert_allclose(distances(G), crossnobis(A), atol=1e-12)
    G = np.asarray(second_moment_cv(data, noise=precision, centre=True))
    np.testing.assert_allclose(G.sum(0), 0, atol=1e-11)
    np.testing.assert_allclose(distances(G), crossnobis(A, precision), atol=1e-11)


def test_cross_validated_second_moment_is_unbiased(rng):
    U = rng.standard_normal((3, 12))
    G = np.mean([second_moment_cv(U + rng.standard_normal((2, 3, 12))) for _ in range(3000)], axis=0)
    np.testing.assert_allclose(G, U @ U.T / 12, atol=0.05)
    assert np.diag(second_moment(U + rng.standard_normal((3, 12)))).mean() > np.diag(U @ U.T / 12).mean() + 0.3


@pytest.mark.parametrize("metric", CROSS_METRICS)
@pytest.mark.parametrize("tensor", [False, True])
def test_cross_run_is_the_loop(rng, precision, metric, tensor):
    a, b = rng.standard_normal((4, 9)) + 2, rng.standard_normal((6, 9)) + 1
    W = precision if metric in ("mahalanobis", "inner") else np.eye(9)
    expected = np.empty((4, 6))
    for i, j in np.ndindex(4, 6):
        x, y = a[i], b[j]
        if metric == "correlation":
            expected[i, j] = 1 - np.corrcoef(x, y)[0, 1]
        elif metric == "cosine":
            expected[i, j] = 1 - x @ y / np.sqrt(x @ x * (y @ y))
        elif metric == "inner":
            expected[i, j] = x @ W @ y / 9
        else:
            expected[i, j] = (x - y) @ W @ (x - y) / 9
    expected = np.sqrt(expected) if metric == "euclidean" else expected
    noise = {"noise": precision} if metric in ("mahalanobis", "inner") else {}
    if tensor:
        a, b = torch.tensor(a), torch.tensor(b)
    np.testing.assert_allclose(cross_run(a, b, metric, **noise), expected, rtol=1e-9)


def test_cross_run_with_itself_is_the_rdm(rng):
    X = rng.standard_normal((7, 12)).astype(np.float32)
    for metric in ("correlation", "cosine", "sqeuclidean"):
        D = cross_run(X, X, metric)
        assert D.dtype == np.float32
        np.testing.assert_allclose(to_condensed(D), rdm(X, metric).dissimilarities[0], atol=1e-6)


@pytest.mark.parametrize("tensor", [False, True])
def test_framed_keeps_the_mean_response(rng, tensor):
    X = rng.standard_normal((4, 10))
    Y = X + 2  # the same distances
    a, b = (framed_rdm(torch.tensor(x) if tensor else x, conditions=list("abcd"), constant=2.0) for x in (X, Y))
    assert list(a.conditions) == ["a", "b", "c", "d", "zero", "constant"]
    inner_a, inner_b = (r.numpy().select(conditions=list("abcd")).dissimilarities for r in (a, b))
    np.testing.assert_allclose(inner_a, inner_b)
    D = a.numpy().matrices[0]
    np.testing.assert_allclose(D[:4, 4], (X**2).mean(1))
    np.testing.assert_allclose(D[:4, 5], ((X - 2) ** 2).mean(1))
    assert not np.allclose(D, b.numpy().matrices[0])
    assert framed(X).shape == (6, 10)


def test_gradients(rng):
    A = torch.tensor(rng.standard_normal((3, 4, 5)), requires_grad=True)
    assert torch.autograd.gradcheck(second_moment_cv, (A,))
    assert torch.autograd.gradcheck(lambda a: cross_run(a[0], a[1], "correlation"), (A,))
    assert torch.autograd.gradcheck(lambda a: framed_rdm(a[0]).dissimilarities, (A,))


def test_bad_input(rng):
    X = rng.standard_normal((4, 5))
    with pytest.raises(ShapeMismatch, match="same channels, got 5 and 4"):
        cross_run(X, X[:, :4])
    with pytest.raises(ValueError, match="takes no noise"):
        cross_run(X, X, "cosine", noise=np.eye(5))
    with pytest.raises(ValueError, match="metric must be"):
        framed_rdm(X, "correlation")
    with pytest.raises(ValueError, match="above 0"):
        framed(X, 0)
    with pytest.raises(EmptySelection, match="two folds"):
        second_moment_cv(X[None])
    with pytest.raises(ShapeMismatch, match="n_folds, n_conditions"):
        second_moment_cv(X)
    with pytest.raises(ShapeMismatch, match="expected patterns"):
        second_moment(X[0])
    with pytest.warns(UserWarning, match="1 of 4 patterns are constant"):
        assert np.isnan(cross_run(np.where(np.arange(4)[:, None] == 1, 3.3, X), X)[1]).all()
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        second_moment(X)
