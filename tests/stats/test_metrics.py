"""Scores per voxel against numpy and scikit-learn, one voxel at a time."""

from __future__ import annotations

import numpy as np
import pytest

from neuro.errors import ShapeMismatch
from neuro.stats import METRICS, _moments, explained_variance, pearson_r, r2


@pytest.fixture
def pair(rng):
    Y = rng.standard_normal((40, 7)) * rng.uniform(0.1, 10, 7) + 5
    return Y, 0.5 * Y + rng.standard_normal((40, 7)) - 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scores_are_those_of_numpy_and_scikit_learn(pair, dtype):
    metrics = pytest.importorskip("sklearn.metrics")
    Y, Y_hat = (a.astype(dtype) for a in pair)
    wide = [a.astype(np.float64) for a in (Y, Y_hat)]
    expected = [np.corrcoef(y, p)[0, 1] for y, p in zip(*(a.T for a in wide), strict=True)]
    np.testing.assert_allclose(pearson_r(Y, Y_hat), expected, rtol=1e-12)
    np.testing.assert_allclose(r2(Y, Y_hat), metrics.r2_score(*wide, multioutput="raw_values"), rtol=1e-12)
    np.testing.assert_allclose(
        explained_variance(Y, Y_hat),
        metrics.explained_variance_score(*wide, multioutput="raw_values"),
        rtol=1e-12,
    )


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_perfect_prediction_scores_one_and_blocks_change_nothing(pair, metric, monkeypatch):
    Y, Y_hat = pair
    np.testing.assert_allclose(metric(Y, Y), 1, rtol=1e-12)
    whole = metric(Y, Y_hat)
    monkeypatch.setattr(_moments.column_blocks, "__defaults__", (100, 1))
    np.testing.assert_allclose(metric(Y, Y_hat), whole, rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_torch_gives_the_numpy_values_as_a_tensor(pair, metric):
    torch = pytest.importorskip("torch")
    Y, Y_hat = (a.astype(np.float32) for a in pair)
    out = metric(torch.tensor(Y), torch.tensor(Y_hat))
    assert isinstance(out, torch.Tensor)
    np.testing.assert_allclose(out.numpy(), metric(Y, Y_hat), rtol=1e-12)
    mixed = metric(Y, torch.tensor(Y_hat, requires_grad=True))
    np.testing.assert_allclose(mixed.numpy(), metric(Y, Y_hat), rtol=1e-12)
    assert metric(torch.tensor(Y[:, 0]), torch.tensor(Y_hat[:, 0])).shape == ()


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_voxels_without_data_are_nan_and_warn_nobody(rng, metric, library):
    Y = rng.standard_normal((30, 6))
    Y[:, 0] = 0.1  # constant
    Y[3, 1] = np.nan
    Y[3, 2] = np.inf
    Y_hat = rng.standard_normal((30, 6))
    Y_hat[2, 3] = np.nan
    wrap = pytest.importorskip("torch").tensor if library == "torch" else np.array
    score = np.asarray(metric(wrap(Y), wrap(Y_hat)))
    assert np.isnan(score[:4]).all()
    assert np.isfinite(score[4:]).all()


def test_a_constant_prediction_is_a_prediction_that_explains_nothing(rng):
    Y = rng.standard_normal((30, 2))
    Y_hat = np.full((30, 2), 0.1)
    np.testing.assert_array_equal(pearson_r(Y, Y_hat), 0)
    np.testing.assert_allclose(explained_variance(Y, Y_hat), 0, atol=1e-15)
    np.testing.assert_allclose(r2(Y, np.broadcast_to(Y.mean(0), Y.shape)), 0, atol=1e-15)
    assert (r2(Y, Y_hat) < 0).all()


def test_float32_data_far_from_zero_keep_their_digits(rng):
    Y = (rng.standard_normal((5000, 3)) + 1000).astype(np.float32)
    Y_hat = (Y + rng.standard_normal((5000, 3))).astype(np.float32)
    expected = [np.corrcoef(y, p)[0, 1] for y, p in zip(Y.T.astype(float), Y_hat.T.astype(float), strict=True)]
    np.testing.assert_allclose(pearson_r(Y, Y_hat), expected, rtol=1e-10)
    half = (rng.standard_normal((5000, 3)) * 100).astype(np.float16)
    np.testing.assert_allclose(pearson_r(half, half), 1, rtol=1e-12)


def test_invariances_tell_the_metrics_apart(pair):
    Y, Y_hat = pair
    np.testing.assert_allclose(pearson_r(Y, 3 * Y_hat + 7), pearson_r(Y, Y_hat))
    np.testing.assert_allclose(pearson_r(Y, -Y_hat), -pearson_r(Y, Y_hat))
    np.testing.assert_allclose(explained_variance(Y, Y_hat + 7), explained_variance(Y, Y_hat))
    assert (r2(Y, Y_hat) <= explained_variance(Y, Y_hat)).all()
    order = np.random.default_rng(1).permutation(40)
    for metric in METRICS.values():
        np.testing.assert_allclose(metric(Y[order], Y_hat[order]), metric(Y, Y_hat), rtol=1e-10)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_further_axes_are_kept_and_one_voxel_is_a_number(rng, metric):
    Y, Y_hat = rng.standard_normal((2, 20, 4, 3))
    score = metric(Y, Y_hat)
    assert score.shape == (4, 3)
    assert score[1, 2] == pytest.approx(metric(Y[:, 1, 2], Y_hat[:, 1, 2]))
    assert isinstance(metric(Y[:, 1, 2], Y_hat[:, 1, 2]), float)
    assert metric(Y[:, :0, 0], Y_hat[:, :0, 0]).shape == (0,)


def test_shapes_that_cannot_be_scored_are_refused(pair):
    Y, Y_hat = pair
    with pytest.raises(ShapeMismatch, match="transposed"):
        pearson_r(Y, Y_hat.T)
    with pytest.raises(ShapeMismatch, match=r"\(40, 7\) and \(39, 7\)"):
        r2(Y, Y_hat[:-1])
    with pytest.raises(ShapeMismatch, match="at least 2 rows, got 1"):
        r2(Y[:1], Y_hat[:1])
    with pytest.raises(ShapeMismatch, match="real numbers"):
        pearson_r(Y.astype(str), Y_hat)


def test_inputs_are_left_as_they_were(pair):
    Y, Y_hat = pair
    copies = Y.copy(), Y_hat.copy()
    Y.flags.writeable = Y_hat.flags.writeable = False
    for metric in METRICS.values():
        metric(Y, Y_hat)
    np.testing.assert_array_equal(Y, copies[0])
    np.testing.assert_array_equal(Y_hat, copies[1])
