"""Statistics against closed forms, simulations with known truth, and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.errors import NoRepeats, ShapeMismatch
from neuro.stats import (
    METRICS,
    Score,
    bootstrap_r,
    bootstrap_scores,
    bootstrap_weights,
    compare_models,
    explained_variance,
    fdr,
    get_metric,
    ncsnr_from_repeats,
    noise_ceiling,
    pearson_r,
    permutation_orders,
    permutation_test,
    permutation_test_rois,
    r2,
    roi_summary,
    spearman_brown,
    split_half,
)


@pytest.fixture
def pair(rng):
    Y = rng.standard_normal((60, 9))
    return Y, 0.6 * Y + rng.standard_normal((60, 9))


# Metrics


def test_pearson_r_is_scipys(pair):
    Y, P = pair
    expected = [scipy.stats.pearsonr(a, b).statistic for a, b in zip(Y.T, P.T, strict=True)]
    np.testing.assert_allclose(pearson_r(Y, P), expected, rtol=1e-12)


def test_r2_and_explained_variance_are_sklearns(pair):
    metrics = pytest.importorskip("sklearn.metrics")
    Y, P = pair
    np.testing.assert_allclose(r2(Y, P), metrics.r2_score(Y, P, multioutput="raw_values"))
    expected = metrics.explained_variance_score(Y, P, multioutput="raw_values")
    np.testing.assert_allclose(explained_variance(Y, P), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 50), st.floats(-1e3, 1e3))
def test_invariances_of_the_metrics(seed, scale, shift):
    rng = np.random.default_rng(seed)
    Y, P = rng.standard_normal((2, 12, 4))
    np.testing.assert_allclose(pearson_r(Y, P * scale + shift), pearson_r(Y, P), atol=1e-7)
    np.testing.assert_allclose(explained_variance(Y, P + shift), explained_variance(Y, P), atol=1e-7)
    order = rng.permutation(4)
    for metric in METRICS.values():
        np.testing.assert_allclose(metric(Y[:, order], P[:, order]), metric(Y, P)[order], atol=1e-12)


def test_voxels_without_a_score_are_nan_and_leave_the_others_alone(pair):
    Y, P = (a.astype(np.float32) for a in pair)
    good = pearson_r(Y, P)
    Y[:, 2], P[:, 3], Y[5, 4] = 7.0, -1.0, np.nan
    got = pearson_r(Y, P)
    assert np.isnan(got[[2, 3, 4]]).all()
    np.testing.assert_allclose(np.delete(got, [2, 3, 4]), np.delete(good, [2, 3, 4]))
    assert np.isfinite(r2(Y, P)[3])


def test_tensors_stay_tensors(pair):
    torch = pytest.importorskip("torch")
    got = pearson_r(*(torch.from_numpy(a) for a in pair))
    assert isinstance(got, torch.Tensor)
    np.testing.assert_allclose(got.numpy(), pearson_r(*pair))


def test_wrong_shapes_and_names(pair):
    with pytest.raises(ShapeMismatch, match="same shape"):
        pearson_r(pair[0], pair[1][:-1])
    with pytest.raises(ShapeMismatch, match="at least 2"):
        pearson_r(np.zeros((1, 3)), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="'pearson_r', 'r2'"):
        get_metric("r")


# Reliability: 515 images x 3 repeats, y = sqrt(rho) s + sqrt(1 - rho) e


@pytest.mark.parametrize(("rho", "truth"), [(0.05, 0.1364), (0.20, 0.4286), (0.50, 0.7500)])
def test_ceilings_equal_what_a_perfect_model_explains(rho, truth):
    rng = np.random.default_rng(1)
    n, repeats, v = 515, 3, 1500
    s = rng.standard_normal((n, v))
    Y = np.sqrt(rho) * s[:, None] + np.sqrt(1 - rho) * rng.standard_normal((n, repeats, v))
    Y = Y.reshape(-1, v)
    Y = (Y - Y.mean(0)) / Y.std(0, ddof=1)
    image = np.repeat(np.arange(n), repeats)
    nc = noise_ceiling(ncsnr_from_repeats(Y, image), repeats)
    assert nc.mean() == pytest.approx(truth, abs=0.006)
    perfect = pearson_r(Y.reshape(n, repeats, v).mean(1), s) ** 2
    assert perfect.mean() / nc.mean() == pytest.approx(1, abs=0.04 if rho < 0.1 else 0.02)
    # a reliability is already a share of variance; squaring it again would be .02, .18, .56
    assert split_half(Y, image).mean() == pytest.approx(truth, abs=0.02)
    raw = noise_ceiling(ncsnr_from_repeats(Y * 3 + 5, image, zscored=False), repeats)
    assert raw.mean() == pytest.approx(truth, abs=0.006)


def test_mixed_repeats_use_the_mean_of_one_over_n():
    rng = np.random.default_rng(0)
    counts = np.repeat([1, 2, 3], [200, 300, 500])
    for rho, truth in ((0.05, 0.0924), (0.20, 0.3261), (0.50, 0.6593)):
        ncsnr = np.sqrt(rho / (1 - rho))
        assert noise_ceiling(ncsnr, counts) == pytest.approx(truth, abs=0.002)
    s = rng.standard_normal((1000, 600))
    mean = s * 0.7 + rng.standard_normal(s.shape) / np.sqrt(counts)[:, None]
    assert (pearson_r(mean, s) ** 2).mean() == pytest.approx(noise_ceiling(0.7, counts), abs=0.005)


def test_by_hand():
    np.testing.assert_allclose([noise_ceiling(0.5, n) for n in (1, 2, 3)], [1 / 5, 1 / 3, 3 / 7])
    np.testing.assert_allclose([noise_ceiling(1.0, n) for n in (1, 2, 3)], [1 / 2, 2 / 3, 3 / 4])
    np.testing.assert_allclose(spearman_brown(0.630), 0.773, atol=1e-3)
    # two images, two repeats: noise variance is the mean of the two variances
    Y = np.array([[0.0], [2.0], [10.0], [14.0]])
    noise = (2 + 8) / 2
    signal = np.var([1, 12], ddof=1) - noise / 2
    np.testing.assert_allclose(ncsnr_from_repeats(Y, [0, 0, 1, 1], zscored=False), np.sqrt(signal / noise))


def test_unequal_repeats_and_nan_trials_equal_a_plain_loop(rng):
    counts = rng.integers(1, 6, 40)
    image = rng.permutation(np.repeat(np.arange(40), counts))
    Y = rng.standard_normal((40, 3))[image] + rng.standard_normal((len(image), 3))
    Y[::9, 1] = np.nan
    got = ncsnr_from_repeats(Y, image, zscored=False)
    for v in range(3):
        parts = [Y[(image == i) & np.isfinite(Y[:, v]), v] for i in range(40)]
        parts = [p for p in parts if len(p)]
        many = [p for p in parts if len(p) > 1]
        noise = sum(((p - p.mean()) ** 2).sum() for p in many) / sum(len(p) - 1 for p in many)
        signal = np.var([p.mean() for p in parts], ddof=1) - noise * np.mean([1 / len(p) for p in parts])
        np.testing.assert_allclose(got[v], np.sqrt(max(signal, 0) / noise))


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 5), st.integers(1, 10))
def test_more_repeats_never_lower_the_ceiling(snr, n):
    assert 0 <= noise_ceiling(snr, n) <= noise_ceiling(snr, n + 1) <= 1


def test_reliability_refuses_what_it_cannot_know():
    with pytest.raises(NoRepeats):
        ncsnr_from_repeats(np.zeros((3, 1)), [0, 1, 2])
    with pytest.raises(NoRepeats):
        split_half(np.zeros((3, 1)), [0, 1, 2])
    with pytest.raises(ValueError, match="at least 1"):
        noise_ceiling(1.0, 0)
    with pytest.raises(ValueError, match="negative"):
        noise_ceiling(-1.0)


@pytest.mark.real
def test_macaque_v4_repeats_have_the_known_reliability(real_data):
    raw = np.load(real_data / "cowley_v4/responses_raw/responses_210325.npy", allow_pickle=False)
    neurons, images, repeats = raw.shape
    flat = raw.transpose(1, 2, 0).reshape(-1, neurons)
    keep = np.isfinite(flat).all(1)
    image = np.repeat(np.arange(images), repeats)[keep]
    ncsnr = ncsnr_from_repeats(flat[keep], image, zscored=False)
    counts = np.bincount(image)
    assert np.median(ncsnr) == pytest.approx(0.660, abs=0.01)
    assert np.median(noise_ceiling(ncsnr, counts)) == pytest.approx(0.765, abs=0.01)
    assert np.median(split_half(flat[keep], image)) == pytest.approx(0.773, abs=0.01)


# Many tests


def test_benjamini_hochberg_table():
    p = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216]
    q = [0.01, 0.04, 0.084, 0.084, 0.084, 0.1, 0.10571, 0.216, 0.216, 0.216]
    np.testing.assert_allclose(fdr(p), q, atol=1e-5)
    np.testing.assert_allclose(fdr([*p, np.nan])[:-1], q, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_corrections_are_scipys_and_ordered(p):
    bh, by, holm = (fdr(p, m) for m in ("bh", "by", "holm"))
    np.testing.assert_allclose(bh, scipy.stats.false_discovery_control(p), atol=1e-12)
    np.testing.assert_allclose(by, scipy.stats.false_discovery_control(p, method="by"), atol=1e-12)
    assert (np.asarray(p) <= bh + 1e-12).all()
    assert (bh <= holm + 1e-12).all()
    with pytest.raises(ValueError, match="between 0 and 1"):
        fdr([*p, 1.5])


# Permutation


def test_no_exceedance_gives_one_over_m_plus_one(rng):
    Y = rng.standard_normal((80, 3))
    test = permutation_test(Y, Y + 0.1 * rng.standard_normal(Y.shape), 1000)
    np.testing.assert_allclose(test.p, 1 / 1001)
    np.testing.assert_allclose(test.p_max, 1 / 1001)
    by_roi = permutation_test_rois(Y, Y, {"all": np.ones(3, bool)}, 1000)
    assert by_roi["all"] == pytest.approx(1 / 1001)


def test_null_voxels_are_significant_five_percent_of_the_time(rng):
    Y, P = rng.standard_normal((2, 50, 4000))
    test = permutation_test(Y, P, 300)
    assert (test.p < 0.05).mean() == pytest.approx(0.05, abs=0.012)
    assert (test.p_max < 0.05).mean() < 0.001
    np.testing.assert_allclose(test.observed, pearson_r(Y, P), atol=1e-5)


def test_repeats_move_together_and_shifts_keep_neighbours():
    groups = np.array([0, 0, 1, 1, 2, 2, 3])
    for order in permutation_orders(7, 50, groups, seed=1):
        assert sorted(order) == list(range(7))
        assert all(groups[order[i]] == groups[order[i + 1]] for i in (0, 2, 4))
        assert order[6] == 6
    for order in permutation_orders(9, 20, scheme="shift"):
        np.testing.assert_array_equal(np.diff(order) % 9, 1)


def test_permutation_of_ungrouped_repeats_would_be_anticonservative(rng):
    image = np.repeat(np.arange(15), 6)
    Y, P = (rng.standard_normal((15, 1500))[image] for _ in range(2))
    naive = permutation_test(Y, P, 150).p
    grouped = permutation_test(Y, P, 150, groups=image).p
    assert (naive < 0.05).mean() > 0.2
    assert (grouped < 0.05).mean() == pytest.approx(0.05, abs=0.02)


# Bootstrap


def test_bootstrap_r_equals_r_of_the_drawn_rows(pair):
    Y, P = pair
    weights = bootstrap_weights(len(Y), 5, seed=2)
    for row, got in zip(weights.astype(int), bootstrap_r(Y, P, weights), strict=True):
        drawn = np.repeat(np.arange(len(Y)), row)
        np.testing.assert_allclose(got, pearson_r(Y[drawn], P[drawn]), atol=1e-5)


def test_groups_are_drawn_together():
    groups = np.repeat(np.arange(10), 3)
    weights = bootstrap_weights(30, 20, groups)
    assert (weights.reshape(20, 10, 3) == weights.reshape(20, 10, 3)[:, :, :1]).all()
    np.testing.assert_array_equal(weights.sum(1), 30)


def test_intervals_cover_the_truth_95_percent_of_the_time():
    rng = np.random.default_rng(4)
    rho, hits, trials = 0.5, 0, 300
    for i in range(trials):
        Y = rng.standard_normal((80, 1))
        P = rho * Y + np.sqrt(1 - rho**2) * rng.standard_normal((80, 1))
        interval = bootstrap_scores(Y, P, n_bootstraps=300, seed=i)["all"]
        hits += interval.low <= rho <= interval.high
    assert hits / trials >= 0.91


def test_comparing_a_model_with_itself_finds_nothing_and_a_better_one_is_found(rng):
    Y = rng.standard_normal((150, 20))
    good, bad = Y + rng.standard_normal(Y.shape), Y + 3 * rng.standard_normal(Y.shape)
    same = compare_models(Y, good, good)["all"]
    assert same.difference.value == 0
    assert same.p == 1
    better = compare_models(Y, good, bad)["all"]
    assert better.difference.low > 0
    assert better.p < 0.01
    assert compare_models(Y, bad, good)["all"].difference.value == pytest.approx(-better.difference.value)


def test_paired_differences_are_sharper_than_unpaired_ones(rng):
    Y = rng.standard_normal((100, 30))
    noise = rng.standard_normal(Y.shape)
    a, b = Y + noise, Y + 1.1 * noise
    paired = compare_models(Y, a, b)["all"].difference
    separate = [bootstrap_scores(Y, p, seed=s)["all"].samples for s, p in enumerate((a, b))]
    assert paired.samples.std() < 0.5 * (separate[0] - separate[1]).std()


# Table and Score


def test_roi_summary_is_tidy_and_equals_its_parts(rng):
    Y = rng.standard_normal((90, 12))
    P = Y + rng.standard_normal(Y.shape)
    rois = {"a": np.arange(12) < 5, "b": np.arange(12) >= 5}
    ceiling = np.linspace(0.05, 0.9, 12)
    table = roi_summary(Y, P, rois, ceiling, n_bootstraps=200, n_permutations=99)
    assert isinstance(table, pd.DataFrame)
    r = pearson_r(Y, P)
    row = table.set_index(["roi", "metric"])
    assert row.loc[("a", "r"), "score"] == pytest.approx(r[:5].mean())
    good = rois["a"] & (ceiling > 0.1)
    assert row.loc[("a", "r2/NC"), "score"] == pytest.approx((r[good] ** 2 / ceiling[good]).mean())
    assert row.loc[("a", "r2/NC"), "n_voxels"] == good.sum()
    assert (table["ci_low"] <= table["score"]).all()
    assert (table["score"] <= table["ci_high"]).all()
    assert (table["p"] == 0.01).all()
    with pytest.raises(ShapeMismatch, match="boolean mask"):
        roi_summary(Y, P, {"a": np.arange(5)})


def test_scores_of_different_kinds_do_not_mix():
    r = Score(np.array([0.5, -0.3, 0.4]), "r", ceiling=np.array([0.5, 0.5, 0.05]))
    normalised = r.normalise()
    np.testing.assert_allclose(normalised.raw, [0.5, 0.0, np.nan])
    np.testing.assert_allclose(r.correct_attenuation().raw, [0.5 / np.sqrt(0.5), -0.3 / np.sqrt(0.5), np.nan])
    np.testing.assert_allclose(r - Score(np.zeros(3), "r"), r.raw)
    with pytest.raises(TypeError, match="do not mix"):
        _ = r - normalised
    with pytest.raises(TypeError, match="do not mix"):
        _ = r < normalised
    with pytest.raises(ValueError, match="normalised already"):
        normalised.normalise()
    with pytest.raises(ValueError, match="percent"):
        Score(r.raw, "r", ceiling=np.array([36.0, 20, 10]))
    with pytest.raises(ValueError, match="kind must be"):
        Score(r.raw, "correlation")
