"""Paired comparisons against explicit swaps, exact enumeration, and simulations of equally good models."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from neuro.errors import ShapeMismatch
from neuro.stats import METRICS, bootstrap_scores, compare_models, pearson_r, sign_flip_test
from neuro.stats.compare import _swapped_differences
from neuro.stats.metrics import resolve_metric


def models(rng, n, v, noise_a=1.0, noise_b=1.0):
    """Two predictions that share half of their error, as features of two networks do."""
    Y = rng.standard_normal((n, v))
    shared = rng.standard_normal((n, v))
    errors = [(shared + rng.standard_normal((n, v))) / np.sqrt(2) for _ in range(2)]
    return Y, Y + noise_a * errors[0], Y + noise_b * errors[1]


@pytest.mark.parametrize(("test", "limit"), [("swap", 0.06), ("bootstrap", 0.075)])
def test_equally_good_models_differ_a_twentieth_of_the_time(rng, test, limit):
    Y, a, b = models(rng, 100, 1500)
    found = compare_models(Y, a, b, test=test, n_resamples=500)
    assert 0.035 < np.mean(found.p < 0.05) < limit
    assert np.mean((found.low <= 0) & (found.high >= 0)) > 0.92


def test_equally_good_models_that_err_differently_are_still_calibrated(rng):
    Y = rng.standard_normal((300, 1500))
    a = Y + rng.standard_normal(Y.shape)
    b = Y * rng.choice([0.0, 1.0], Y.shape)  # perfect for half of the images, blind to the others: the same r
    assert pearson_r(Y, a).mean() == pytest.approx(pearson_r(Y, b).mean(), abs=0.01)
    for test in ("swap", "bootstrap"):
        assert np.mean(compare_models(Y, a, b, test=test, n_resamples=500).p < 0.05) < 0.075


def test_regions_of_voxels_that_share_noise_are_calibrated(rng):
    false = 0
    for seed in range(150):
        Y, a, b = (np.repeat(x, 8, axis=1) + 0.5 * rng.standard_normal((60, 8)) for x in models(rng, 60, 1))
        false += compare_models(Y, a, b, n_resamples=199, seed=seed).roi_p[0] <= 0.05
    assert false / 150 <= 0.05 + 0.04


@pytest.mark.parametrize("test", ["swap", "bootstrap"])
def test_the_better_model_wins_by_what_it_is_better(rng, test):
    Y, a, b = models(rng, 300, 30, 0.8, 1.5)
    rois = {"first": np.arange(10), "rest": np.arange(30) >= 10}
    found = compare_models(Y, a, b, rois=rois, test=test, names=("clip", "gabor"))
    np.testing.assert_allclose(found.difference, pearson_r(Y, a) - pearson_r(Y, b))
    np.testing.assert_allclose(found.roi_difference, [found.difference[:10].mean(), found.difference[10:].mean()])
    np.testing.assert_allclose(found.roi_a - found.roi_b, found.roi_difference)
    assert (found.roi_low > 0).all()
    assert (found.roi_p < 0.01).all()
    truth = 1 / np.sqrt(1 + 0.8**2) - 1 / np.sqrt(1 + 1.5**2)
    assert found.roi_low[1] < truth < found.roi_high[1]
    assert np.mean((found.low < truth) & (found.high > truth)) > 0.8
    table = found.to_frame()
    assert isinstance(table, pd.DataFrame)
    assert table[["roi", "model_a", "model_b", "n_images"]].to_numpy().tolist() == [
        ["first", "clip", "gabor", 300],
        ["rest", "clip", "gabor", 300],
    ]
    back = compare_models(Y, b, a, rois=rois, test=test)
    np.testing.assert_allclose(back.roi_low, -found.roi_high, rtol=1e-9)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_swapped_scores_are_those_of_swapped_rows(rng, metric, dtype):
    Y, a, b = (x.astype(dtype) for x in models(rng, 40, 6, 0.7, 1.6))
    a = 3 * a + 2
    swaps = rng.integers(2, size=(12, 40))
    (_, null), *_ = _swapped_differences(Y, a, b, swaps, *resolve_metric(metric)[1:], metric)
    if metric == "pearson_r":
        a, b = ((x - x.mean(0)) / x.std(0) for x in (a, b))
    for row, swap in zip(null, swaps.astype(bool)[:, :, None], strict=True):
        first, second = np.where(swap, b, a), np.where(swap, a, b)
        expected = METRICS[metric](Y, first) - METRICS[metric](Y, second)
        np.testing.assert_allclose(row, expected, atol=1e-9 if dtype == np.float64 else 1e-4, rtol=1e-5)


@pytest.mark.parametrize("test", ["swap", "bootstrap"])
def test_a_model_does_not_differ_from_itself(rng, test):
    Y, a, _ = models(rng, 50, 5)
    found = compare_models(Y, a, a, test=test, n_resamples=200)
    np.testing.assert_array_equal(found.difference, 0)
    np.testing.assert_array_equal(found.p, 1)
    np.testing.assert_array_equal([found.roi_p[0], found.roi_low[0], found.roi_high[0]], [1, 0, 0])


def test_pairing_makes_the_interval_narrower(rng):
    Y = rng.standard_normal((120, 20))
    noise = rng.standard_normal((120, 20))
    paired = compare_models(Y, Y + noise, Y + 1.1 * noise)
    separate = [bootstrap_scores(Y, Y + s * noise, seed=i) for i, s in enumerate((1, 1.1))]
    assert paired.roi_samples.std() < 0.5 * (separate[0].roi_samples - separate[1].roi_samples).std()


def test_repeats_of_an_image_are_drawn_and_swapped_together(rng):
    image = np.repeat(np.arange(40), 5)
    Y, a, b = (x[image] for x in models(rng, 40, 800))
    Y = Y + 0.3 * rng.standard_normal(Y.shape)
    for test in ("swap", "bootstrap"):
        assert np.mean(compare_models(Y, a, b, test=test, n_resamples=200).p < 0.05) > 0.2
        found = compare_models(Y, a, b, groups=image, test=test, n_resamples=200)
        assert np.mean(found.p < 0.05) < 0.12
        assert found.n_units == 40


def test_tensors_callables_and_missing_voxels(rng):
    torch = pytest.importorskip("torch")
    Y, a, b = models(rng, 40, 5)
    for test in ("swap", "bootstrap"):
        plain = compare_models(Y, a, b, metric="r2", test=test, n_resamples=50)
        tensors = compare_models(*map(torch.tensor, (Y, a, b)), metric="r2", test=test, n_resamples=50)
        np.testing.assert_allclose(tensors.p, plain.p)
        called = compare_models(Y, a, b, metric=lambda y, p: METRICS["r2"](y, p), test=test, n_resamples=50)
        np.testing.assert_allclose(called.p, plain.p)
        np.testing.assert_allclose(called.low, plain.low, rtol=1e-6)
        Y_bad = Y.copy()
        Y_bad[:, 0] = 0.1
        missing = compare_models(Y_bad, a, b, test=test, n_resamples=50)
        assert np.isnan(missing.p[0])
        assert missing.roi_difference[0] == pytest.approx(np.nanmean(missing.difference))
    with pytest.raises(ShapeMismatch, match="one shape"):
        compare_models(Y, a, b[:, 1:])
    with pytest.raises(ValueError, match="'swap' or 'bootstrap'"):
        compare_models(Y, a, b, test="t")


def test_sign_flips_are_enumerated_where_that_is_possible(rng):
    from scipy.stats import permutation_test

    d = rng.normal(0.5, 1, (8, 3))
    signs = np.array(list(product([1, -1], repeat=8)))
    expected = (np.abs(signs @ d) >= np.abs(d.sum(0)) - 1e-12).mean(0)
    mean, p = sign_flip_test(d)
    np.testing.assert_allclose(mean, d.mean(0))
    np.testing.assert_allclose(p, expected)
    theirs = permutation_test((d[:, 0],), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert p[0] == pytest.approx(theirs.pvalue)
    np.testing.assert_allclose(sign_flip_test(d, 200, seed=1)[1], expected, atol=0.12)
    assert sign_flip_test(np.ones(6))[1] == 2 / 64


def test_sign_flips_of_noise_are_uniform_and_missing_subjects_are_left_out(rng):
    d = rng.standard_normal((8, 4000))
    assert np.mean(sign_flip_test(d)[1] <= 0.05) == pytest.approx(12 / 256, abs=0.01)
    d[3, 0] = np.nan
    d[:, 1] = np.nan
    mean, p = sign_flip_test(d[:, :2])
    assert p[0] == pytest.approx(sign_flip_test(np.delete(d[:, 0], 3))[1])
    assert np.isnan([mean[1], p[1]]).all()
    with pytest.raises(ShapeMismatch, match="at least 2"):
        sign_flip_test([0.3])
