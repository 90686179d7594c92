"""RDM movies and the geometry shared between times."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from neuro.data import Responses
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa.estimate import rdm
from neuro.rsa.movie import cross_temporal, rdm_movie


@pytest.fixture
def data(rng):
    return rng.standard_normal((8, 12, 5)) + 1


@pytest.mark.parametrize("metric", ["correlation", "sqeuclidean", "mahalanobis", "poisson"])
@pytest.mark.parametrize("tensor", [False, True])
def test_each_time_is_an_rdm(data, metric, tensor, monkeypatch):
    data = np.abs(data)
    noise = {"noise": np.linspace(1, 2, 12)} if metric == "mahalanobis" else {}
    expected = [rdm(data[:, :, t], metric, **noise).dissimilarities[0] for t in range(5)]
    times = [-0.1, 0.0, 0.1, 0.2, 0.3]
    movie = rdm_movie(torch.tensor(data) if tensor else data, metric, times=times, **noise)
    np.testing.assert_allclose(movie.numpy().dissimilarities, expected, rtol=1e-9)
    assert list(movie.table["time"]) == times
    monkeypatch.setattr("neuro.rsa.movie.BLOCK_BYTES", 1)
    again = rdm_movie(torch.tensor(data) if tensor else data, metric, times=times, **noise)
    np.testing.assert_allclose(again.numpy().dissimilarities, movie.numpy().dissimilarities, rtol=1e-9)


def test_crossnobis_movie(data):
    kwargs = {"conditions": np.tile(np.arange(4), 2), "folds": np.repeat([0, 1], 4)}
    movie = rdm_movie(data, "crossnobis", **kwargs)
    expected = [rdm(data[:, :, t], "crossnobis", **kwargs).dissimilarities[0] for t in range(5)]
    np.testing.assert_allclose(movie.dissimilarities, expected)


@pytest.mark.parametrize("tensor", [False, True])
def test_windows_average_first(data, tensor):
    times = np.arange(5) / 10
    movie = rdm_movie(torch.tensor(data) if tensor else data, times=times, windows=[(0, 0.2), (0.2, 0.5)]).numpy()
    np.testing.assert_allclose(movie.dissimilarities[0], rdm(data[:, :, :2].mean(2)).dissimilarities[0])
    np.testing.assert_allclose(movie.dissimilarities[1], rdm(data[:, :, 2:].mean(2)).dissimilarities[0])
    assert list(movie.table.columns) == ["time", "start", "stop"]
    np.testing.assert_allclose(movie.table["time"], [0.1, 0.35])


def test_responses_bring_stimuli_times_and_folds(rng):
    trials = pd.DataFrame({"stimulus": [5, 6, 7] * 2, "session": [1] * 3 + [2] * 3})
    values = rng.standard_normal((6, 4, 3)).astype(np.float32)
    responses = Responses(values, trials, times=[0.0, 0.1, 0.2])
    movie = rdm_movie(responses, "crossnobis", folds="session")
    assert list(movie.conditions) == [5, 6, 7]
    expected = rdm(values[:, :, 1], "crossnobis", conditions=trials["stimulus"], folds=trials["session"])
    np.testing.assert_allclose(movie.dissimilarities[1], expected.dissimilarities[0], rtol=1e-5)
    np.testing.assert_allclose(movie.table["time"], [0, 0.1, 0.2])


def pair_loop(A, B, p):
    n, T = A.shape[0], A.shape[2]
    out = np.empty((T, T, n * (n - 1) // 2))
    for t, u in np.ndindex(T, T):
        for k, (i, j) in enumerate(itertools.combinations(range(n), 2)):
            out[t, u, k] = (A[i, :, t] - A[j, :, t]) @ (B[i, :, u] - B[j, :, u]) / p
    return out


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("whitened", [False, True])
def test_shared_geometry_of_two_times(data, tensor, whitened):
    noise = np.diag(np.linspace(1, 2, 12)) + 0.1 if whitened else None
    W = np.eye(12) if noise is None else np.linalg.cholesky(noise)
    Y = np.einsum("nct,cd->ndt", data, W)
    expected = pair_loop(Y, Y, 12)
    x = torch.tensor(data) if tensor else data
    np.testing.assert_allclose(cross_temporal(x, noise=noise, pairs=True), expected, atol=1e-10)
    np.testing.assert_allclose(cross_temporal(x, noise=noise), expected.mean(-1), atol=1e-10)


@pytest.mark.parametrize("tensor", [False, True])
def test_shared_geometry_across_folds(rng, tensor):
    A = rng.standard_normal((3, 4, 6, 5))
    expected = np.mean([pair_loop(A[k], A[m], 6) for k, m in itertools.permutations(range(3), 2)], axis=0)
    x = A.reshape(12, 6, 5)
    kwargs = {"conditions": np.tile(np.arange(4), 3), "folds": np.repeat(np.arange(3), 4)}
    x = torch.tensor(x) if tensor else x
    np.testing.assert_allclose(cross_temporal(x, pairs=True, **kwargs), expected, atol=1e-12)
    np.testing.assert_allclose(cross_temporal(x, **kwargs), expected.mean(-1), atol=1e-12)


def test_bad_input(data):
    with pytest.raises(ShapeMismatch, match="n_rows, n_channels, n_times"):
        rdm_movie(data[0])
    with pytest.raises(ShapeMismatch, match="each of 5 times"):
        rdm_movie(data, times=[1, 2])
    with pytest.raises(EmptySelection, match=r"\(9, 10\); times go from 0 to 4"):
        rdm_movie(data, windows=[(9, 10)])
    with pytest.raises(ShapeMismatch, match="n_rows, n_channels, n_times"):
        cross_temporal(data[0])
    with pytest.raises(EmptySelection, match="at least two folds"):
        cross_temporal(data, conditions=np.arange(8), folds=np.zeros(8))
    with pytest.raises(ShapeMismatch, match="no time axis"):
        rdm_movie(Responses(np.ones((3, 2))))
    data[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="1 NaN"):
        cross_temporal(data)
    with pytest.raises(ValueError, match="NaN"):
        rdm_movie(data)
