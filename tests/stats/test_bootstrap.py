"""Bootstrap intervals against explicit resampling, scipy, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest

from neuro.errors import ShapeMismatch
from neuro.stats import METRICS, bootstrap_scores, bootstrap_subjects, bootstrap_weights, pearson_r, resampled_scores
from neuro.stats import bootstrap as module
from neuro.stats.bootstrap import column_quantiles


def correlated(rng, n, v, rho):
    Y = rng.standard_normal((n, v))
    return Y, rho * Y + np.sqrt(1 - rho**2) * rng.standard_normal((n, v))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("metric", METRICS)
def test_scores_under_weights_are_those_of_the_drawn_rows(rng, metric, dtype):
    Y, Y_hat = correlated(rng, 30, 8, 0.6)
    Y, Y_hat = (100 + 20 * Y).astype(dtype), (90 + 3 * Y_hat).astype(dtype)
    weights = bootstrap_weights(30, 20, seed=1)
    (_, samples), *rest = resampled_scores(Y, Y_hat, weights, metric)
    assert not rest
    for row, w in zip(samples, weights.astype(int), strict=True):
        drawn = np.repeat(np.arange(30), w)
        tolerance = {"rtol": 1e-9} if dtype == np.float64 else {"rtol": 2e-4, "atol": 1e-5}
        np.testing.assert_allclose(row, METRICS[metric](Y[drawn], Y_hat[drawn]), **tolerance)
    (_, plain), *_ = resampled_scores(Y, Y_hat, weights, lambda y, p: METRICS[metric](y, p))
    np.testing.assert_allclose(samples, plain, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("rho", [0.0, 0.3, 0.8])
def test_intervals_of_voxels_cover_the_truth(rng, rho, method):
    Y, Y_hat = correlated(rng, 200, 1500, rho)
    found = bootstrap_scores(Y, Y_hat, 500, method=method)
    assert 0.93 <= np.mean((found.low <= rho) & (rho <= found.high)) <= 0.975
    assert found.error.mean() == pytest.approx(found.observed.std(), rel=0.06)


def test_intervals_of_regions_cover_the_truth(rng):
    """Voxels share their noise across images, so the interval must not shrink with their number."""
    hits, widths = 0, []
    for seed in range(250):
        shared = rng.standard_normal((2, 120, 1))
        Y = shared[0] + rng.standard_normal((120, 10))
        Y_hat = 0.5 * shared[0] + shared[1] + 0.5 * rng.standard_normal((120, 10))
        truth = 0.5 / np.sqrt(2 * 1.5)
        found = bootstrap_scores(Y, Y_hat, 300, seed=seed)
        hits += found.roi_low[0] <= truth <= found.roi_high[0]
        widths.append(found.roi_high[0] - found.roi_low[0])
    assert hits / 250 >= 0.93 - 0.03
    assert np.mean(widths) > 0.15


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_intervals_are_those_of_scipy(rng, method):
    from scipy.stats import bootstrap

    Y, Y_hat = correlated(rng, 60, 1, 0.7)

    def r(y, p, axis):
        y, p = y - y.mean(axis, keepdims=True), p - p.mean(axis, keepdims=True)
        return (y * p).sum(axis) / np.sqrt((y * y).sum(axis) * (p * p).sum(axis))

    theirs = bootstrap(
        (Y[:, 0], Y_hat[:, 0]), r, paired=True, vectorized=True, n_resamples=20_000, method=method, rng=rng
    ).confidence_interval
    ours = bootstrap_scores(Y, Y_hat, 20_000, method=method.lower())
    np.testing.assert_allclose([ours.low[0], ours.high[0]], [theirs.low, theirs.high], atol=0.008)
    np.testing.assert_allclose([ours.roi_low[0], ours.roi_high[0]], [ours.low[0], ours.high[0]], atol=1e-9)


def test_repeats_are_drawn_together_and_only_that_is_wide_enough(rng):
    stimulus = rng.permutation(np.repeat(np.arange(40), 5))
    weights = bootstrap_weights(200, 50, stimulus)
    np.testing.assert_array_equal(weights.sum(1), 200)
    for s in range(40):
        assert (np.ptp(weights[:, stimulus == s], axis=1) == 0).all()
    signal, prediction = correlated(rng, 40, 300, 0.0)
    Y, Y_hat = signal[stimulus] + 0.2 * rng.standard_normal((200, 300)), prediction[stimulus]
    inside = {}
    for name, groups in (("rows", None), ("stimuli", stimulus)):
        found = bootstrap_scores(Y, Y_hat, 300, groups)
        inside[name] = np.mean((found.low <= 0) & (found.high >= 0))
    assert inside["stimuli"] > 0.89
    assert inside["rows"] < 0.75
    assert bootstrap_scores(Y, Y_hat, 10, stimulus).n_units == 40


def test_blocks_of_time_stay_together_within_their_run(rng):
    weights = bootstrap_weights(50, 100, groups=np.repeat([0, 1], [20, 30]), block_length=5)
    np.testing.assert_array_equal(weights[:, :20].sum(1), 20)
    np.testing.assert_array_equal(weights[:, 20:].sum(1), 30)
    assert weights.mean() == pytest.approx(1, abs=1e-6)
    ones = bootstrap_weights(50, 2000, block_length=1, seed=1)
    assert ones.var() == pytest.approx(bootstrap_weights(50, 2000, seed=2).var(), rel=0.05)
    white = rng.standard_normal((440, 300))
    Y = np.stack([white[t : t + 20].mean(0) for t in range(400)])
    Y_hat = Y[:, ::-1]  # as autocorrelated as Y, and unrelated to it
    rows, blocks = bootstrap_scores(Y, Y_hat, 200), bootstrap_scores(Y, Y_hat, 200, block_length=40)
    assert np.mean((rows.low <= 0) & (rows.high >= 0)) < 0.7
    assert np.mean((blocks.low <= 0) & (blocks.high >= 0)) > 0.85


def test_the_same_seed_pairs_models_and_regions(rng):
    Y = rng.standard_normal((150, 40))
    noise = rng.standard_normal((150, 40))
    rois = {"a": np.arange(20), "b": np.arange(20, 40)}
    Y[:, 20:] = Y[:, :20] + 0.1 * noise[:, 20:]
    noise[:, 20:] = noise[:, :20]
    one, two = (bootstrap_scores(Y, Y + s * noise, rois=rois, seed=5) for s in (1, 1.1))
    unpaired = bootstrap_scores(Y, Y + 1.1 * noise, rois=rois, seed=6)
    paired_sd = (one.roi_samples - two.roi_samples).std()
    assert paired_sd < 0.3 * (one.roi_samples - unpaired.roi_samples).std()
    difference, low, high = one.difference("a", "b")
    assert difference == pytest.approx(one.roi_observed[0] - one.roi_observed[1])
    assert low < difference < high
    assert high - low < 0.3 * (one.roi_high[0] - one.roi_low[0])
    with pytest.raises(ValueError, match="region must be 'a' or 'b'"):
        one.difference("a", "c")


def test_samples_are_kept_only_when_asked_and_blocks_change_nothing(rng, monkeypatch):
    torch = pytest.importorskip("torch")
    Y, Y_hat = correlated(rng, 40, 30, 0.5)
    rois = {"first": np.arange(30) < 11, "empty": np.zeros(30, bool)}
    for method in ("percentile", "bca"):
        whole = bootstrap_scores(Y, Y_hat, 80, rois=rois, keep_samples=True, method=method)
        assert whole.samples.shape == (80, 30)
        np.testing.assert_allclose(whole.roi_samples[:, 0], whole.samples[:, :11].mean(1), rtol=1e-5)
        assert np.isnan([whole.roi_observed[1], whole.roi_low[1]]).all()
        assert bootstrap_scores(Y, Y_hat, 10).samples is None
        tensors = bootstrap_scores(torch.tensor(Y), torch.tensor(Y_hat), 80, rois=rois, method=method)
        with monkeypatch.context() as patch:
            patch.setattr(module, "column_blocks", lambda n, *_, **__: [slice(i, i + 7) for i in range(0, n, 7)])
            blocked = bootstrap_scores(Y, Y_hat, 80, rois=rois, method=method)
        for other in (blocked, tensors):
            np.testing.assert_allclose(other.low, whole.low, rtol=1e-9)
            np.testing.assert_allclose(other.roi_high, whole.roi_high, rtol=1e-9)


def test_voxels_without_data_are_nan_and_stay_out_of_the_mean(rng):
    Y, Y_hat = correlated(rng, 60, 4, 0.5)
    Y[:, 0], Y[3, 1], Y_hat[:, 2] = 0.1, np.nan, 0.1
    for method in ("percentile", "bca"):
        found = bootstrap_scores(Y, Y_hat, 100, method=method)
        assert np.isnan(found.low[:2]).all()
        assert found.low[2] == found.high[2] == found.observed[2] == 0
        assert found.roi_observed[0] == pytest.approx(found.observed[3] / 2)
        assert found.roi_low[0] < found.roi_observed[0] < found.roi_high[0]


def test_resamples_in_which_a_voxel_never_varies_are_left_out(rng):
    Y = np.zeros((10, 1))
    Y[0] = 1  # a neuron that fired once: a third of the resamples miss that image
    Y_hat = rng.standard_normal((10, 1))
    found = bootstrap_scores(Y, Y_hat, 500, keep_samples=True)
    assert np.isnan(found.samples).mean() == pytest.approx(0.9**10, abs=0.07)
    assert np.isfinite([found.low, found.high, found.error]).all()


def test_quantiles_are_those_of_numpy(rng):
    samples = rng.standard_normal((31, 6))
    samples[rng.random((31, 6)) < 0.2] = np.nan
    levels = np.array([[0.025], [0.5], [0.975]])
    np.testing.assert_allclose(column_quantiles(samples, levels), np.nanquantile(samples, levels[:, 0], axis=0))


def test_claims_about_people_scatter_with_people(rng):
    true = rng.normal(0.3, 0.1, 500)
    samples = true[:, None] + rng.normal(0, 0.02, (500, 1000))
    mean, low, high = bootstrap_subjects(samples, true)
    assert mean == pytest.approx(true.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(true.var() + 0.02**2) / np.sqrt(500), rel=0.1)
    same_images = np.tile(rng.normal(0.3, 0.02, 1000), (8, 1))  # what the images do to all does not average out
    _, low, high = bootstrap_subjects(same_images[..., None], np.full((8, 1), 0.3))
    assert (high - low) / 2 == pytest.approx([1.96 * 0.02], rel=0.1)
    with pytest.raises(ShapeMismatch, match="n_subjects"):
        bootstrap_subjects(samples, true[:-1])


def test_impossible_requests_are_refused(rng):
    Y, Y_hat = correlated(rng, 20, 2, 0.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap_scores(Y, Y_hat, level=95)
    with pytest.raises(ValueError, match="'percentile' or 'bca'"):
        bootstrap_scores(Y, Y_hat, method="basic")
    with pytest.raises(ShapeMismatch, match="at least two images"):
        bootstrap_scores(Y, Y_hat, groups=np.zeros(20))
    with pytest.raises(ShapeMismatch, match="20 rows"):
        bootstrap_weights(20, groups=[1, 2])
    with pytest.raises(ShapeMismatch, match=r"n_resamples, 20"):
        next(resampled_scores(Y, Y_hat, np.ones((5, 19))))
    assert pearson_r(Y, Y_hat).shape == (2,)
