"""The same numbers on a GPU as on the CPU, and results that stay there."""

import numpy as np
import pytest

from neuro.rsa import METHODS, compare, geo_topological, linear_cka, nbs, procrustes_distance, rdm

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]


@pytest.fixture
def patterns(rng):
    return rng.standard_normal((3, 24, 40))


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "correlation", "cosine"])
def test_rdms(patterns, metric):
    there = rdm(torch.tensor(patterns, device="cuda"), metric)
    assert there.dissimilarities.is_cuda
    np.testing.assert_allclose(there.numpy().dissimilarities, rdm(patterns, metric).dissimilarities, atol=1e-10)


def test_crossnobis(rng):
    X, names, folds = rng.standard_normal((24, 30)), np.tile(np.arange(8), 3), np.repeat(np.arange(3), 8)
    there = rdm(torch.tensor(X, device="cuda"), "crossnobis", conditions=names, folds=folds)
    here = rdm(X, "crossnobis", conditions=names, folds=folds)
    np.testing.assert_allclose(there.numpy().dissimilarities, here.dissimilarities, atol=1e-10)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "neg_riem_dist"])
def test_comparers(patterns, method):
    d = rdm(patterns, "sqeuclidean").dissimilarities
    there = compare(torch.tensor(d, device="cuda"), method=method)
    assert there.is_cuda
    np.testing.assert_allclose(there.cpu().numpy(), compare(d, method=method), atol=1e-7)


def test_measures_of_features_and_the_transform(patterns):
    x, y = (torch.tensor(p, device="cuda") for p in patterns[:2])
    for function in (linear_cka, nbs, procrustes_distance):
        assert float(function(x, y)) == pytest.approx(float(function(*patterns[:2])), abs=1e-8)
    d = rdm(patterns, "correlation").dissimilarities
    there = geo_topological(torch.tensor(d, device="cuda"), 0.2, 0.8)
    np.testing.assert_allclose(there.cpu().numpy(), geo_topological(d, 0.2, 0.8), atol=1e-8)
