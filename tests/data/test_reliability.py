"""Reliability and noise ceilings against simulated truth, plain loops and published answers."""

from __future__ import annotations

import numpy as np
import pytest

from neuro.data import reliability
from neuro.data.reliability import (
    ncsnr_from_repeats,
    noise_ceiling,
    repeat_correlation,
    spearman_brown,
    split_half,
)
from neuro.errors import NoRepeats, ShapeMismatch


def simulate(rng, rho, counts, n_voxels):
    """Trials y = sqrt(rho) s + sqrt(1 - rho) e in random order, their stimuli, and the signal per stimulus."""
    stimulus = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    signal = rng.standard_normal((len(counts), n_voxels))
    noise = rng.standard_normal((len(stimulus), n_voxels))
    return np.sqrt(rho) * signal[stimulus] + np.sqrt(1 - rho) * noise, stimulus, signal


def averages(Y, stimulus):
    total = np.zeros((stimulus.max() + 1, Y.shape[1]))
    np.add.at(total, stimulus, Y)
    return total / np.bincount(stimulus)[:, None]


def squared_correlation(a, b):
    a, b = a - a.mean(0), b - b.mean(0)
    return (a * b).sum(0) ** 2 / ((a * a).sum(0) * (b * b).sum(0))


def zscore(Y):
    return (Y - Y.mean(0)) / Y.std(0, ddof=1)


@pytest.mark.parametrize(("rho", "truth"), [(0.05, 0.1364), (0.20, 0.4286), (0.50, 0.7500)])
def test_every_estimator_recovers_the_simulated_ceiling(rng, rho, truth):
    Y, stimulus, signal = simulate(rng, rho, np.full(515, 3), 1500)
    Y = zscore(Y)
    perfect = squared_correlation(averages(Y, stimulus), signal).mean()
    assert perfect == pytest.approx(truth, abs=0.006)
    ceilings = {
        "ncsnr": noise_ceiling(ncsnr_from_repeats(Y, stimulus), 3),
        "ncsnr, not z-scored": noise_ceiling(ncsnr_from_repeats(Y, stimulus, zscored=False), 3),
        "pairs of repeats": spearman_brown(repeat_correlation(Y, stimulus), 3),
        "split halves": split_half(Y, stimulus),
        "random halves": split_half(Y, stimulus, n_splits=3, seed=0),
    }
    for name, ceiling in ceilings.items():
        assert ceiling.mean() == pytest.approx(truth, abs=0.006), name
        assert abs(ceiling.mean() - truth**2) > 0.1, f"{name} is a squared reliability"
    chance = (1 - truth) ** 2 / 515  # what chance adds to the square of a correlation
    assert (perfect - chance) / ceilings["ncsnr"].mean() == pytest.approx(1, abs=0.04 if rho < 0.1 else 0.02)


@pytest.mark.parametrize(("rho", "single"), [(0.05, 0.0504), (0.20, 0.1991), (0.50, 0.4996)])
def test_the_ceiling_of_one_trial_is_the_single_trial_reliability(rng, rho, single):
    Y, stimulus, _ = simulate(rng, rho, np.full(515, 3), 1500)
    assert noise_ceiling(ncsnr_from_repeats(zscore(Y), stimulus), 1).mean() == pytest.approx(single, abs=0.004)


@pytest.mark.parametrize(
    ("rho", "truth", "formula"), [(0.05, 0.0924, 0.0912), (0.2, 0.3261, 0.3237), (0.5, 0.6593, 0.6585)]
)
def test_mixed_repeats_have_the_ceiling_of_the_mean_of_inverse_counts(rng, rho, truth, formula):
    counts = np.repeat([1, 2, 3], [200, 300, 500])
    assert noise_ceiling(np.sqrt(rho / (1 - rho)), counts) == pytest.approx(truth, abs=1e-4)
    Y, stimulus, signal = simulate(rng, rho, counts, 1500)
    assert squared_correlation(averages(Y, stimulus), signal).mean() == pytest.approx(truth, abs=0.006)
    estimated = noise_ceiling(ncsnr_from_repeats(Y, stimulus, zscored=False), counts).mean()
    assert estimated == pytest.approx(formula, abs=0.004)
    assert noise_ceiling(ncsnr_from_repeats(zscore(Y), stimulus), counts).mean() == pytest.approx(formula, abs=0.004)


def test_pooled_estimator_is_the_plain_loop(rng):
    Y, stimulus, _ = simulate(rng, 0.4, rng.integers(1, 5, 60), 7)
    Y = 3 * Y + 10
    Y[rng.random(Y.shape) < 0.1] = np.nan
    expected = []
    for y in Y.T:
        trials = [y[(stimulus == s) & np.isfinite(y)] for s in np.unique(stimulus)]
        trials = [t for t in trials if len(t)]
        noise = sum(((t - t.mean()) ** 2).sum() for t in trials) / sum(len(t) - 1 for t in trials)
        signal = np.var([t.mean() for t in trials], ddof=1) - noise * np.mean([1 / len(t) for t in trials])
        expected.append(np.sqrt(max(signal, 0) / noise))
    np.testing.assert_allclose(ncsnr_from_repeats(Y, stimulus, zscored=False), expected, rtol=1e-10)


def test_triplets_alone_are_the_definition_of_nsd(rng):
    Y, stimulus, _ = simulate(rng, 0.3, rng.integers(1, 4, 80), 5)
    Y = zscore(Y)
    Y[stimulus == np.flatnonzero(np.bincount(stimulus) == 3)[0], 0] = np.nan
    expected = []
    for y in Y.T:
        triplets = [y[stimulus == s] for s in np.unique(stimulus)]
        v2 = np.mean([np.var(t, ddof=1) for t in triplets if len(t) == 3 and np.isfinite(t).all()])
        expected.append(np.sqrt(max(0, 1 - v2)) / np.sqrt(v2))
    np.testing.assert_allclose(ncsnr_from_repeats(Y, stimulus, min_repeats=3), expected, rtol=1e-10)


def test_scaling_within_sessions_recovers_ncsnr_and_scaling_over_all_does_not(rng):
    truth = rng.uniform(0.3, 1.2, 300)
    stimulus = np.concatenate([rng.permutation(np.tile(np.arange(s * 100, s * 100 + 100), 3)) for s in range(4)])
    session = np.repeat(np.arange(4), 300)
    signal = rng.standard_normal((400, 300)) * truth
    gain, offset = rng.uniform(0.5, 2, (4, 300)), rng.normal(0, 3, (4, 300))
    Y = (signal[stimulus] + rng.standard_normal((1200, 300))) * gain[session] + offset[session]
    within = np.concatenate([zscore(Y[session == s]) for s in range(4)])
    good = ncsnr_from_repeats(within, stimulus)
    assert np.corrcoef(good, truth)[0, 1] > 0.97
    assert good.mean() / truth.mean() == pytest.approx(1, abs=0.03)
    # Repeats lie within one session here, so drift between sessions pretends to be signal when scaled over all.
    assert ncsnr_from_repeats(zscore(Y), stimulus).mean() > 1.5 * truth.mean()
    across = rng.permutation(1200)
    Y = (signal[stimulus[across]] + rng.standard_normal((1200, 300))) * gain[session] + offset[session]
    assert ncsnr_from_repeats(zscore(Y), stimulus[across]).mean() < 0.7 * truth.mean()


def test_pure_noise_has_the_clipping_bias_that_the_docstring_states(rng):
    Y, stimulus, _ = simulate(rng, 0.0, np.full(515, 3), 2000)
    ncsnr = ncsnr_from_repeats(zscore(Y), stimulus)
    assert np.mean(ncsnr > 0.2) == pytest.approx(0.07, abs=0.02)
    assert noise_ceiling(ncsnr, 3).mean() == pytest.approx(0.028, abs=0.006)


def test_nan_trials_are_as_if_they_had_not_been_recorded(rng):
    Y, stimulus, _ = simulate(rng, 0.5, np.full(50, 4), 3)
    lost = rng.random(len(Y)) < 0.3
    masked = np.where(lost[:, None], np.nan, Y)
    for estimate in (
        lambda y, s: ncsnr_from_repeats(y, s, zscored=False),
        lambda y, s: ncsnr_from_repeats(y, s),
    ):
        np.testing.assert_allclose(estimate(masked, stimulus), estimate(Y[~lost], stimulus[~lost]), rtol=1e-12)
    trailing = np.sort(stimulus)
    gone = np.arange(len(Y)) % 4 >= rng.integers(2, 5, 50)[trailing]
    masked = np.where(gone[:, None], np.nan, Y)
    for estimate in (split_half, repeat_correlation):
        np.testing.assert_allclose(estimate(masked, trailing), estimate(Y[~gone], trailing[~gone]), rtol=1e-12)


def test_order_of_trials_and_names_of_stimuli_do_not_matter(rng):
    Y, stimulus, _ = simulate(rng, 0.5, np.full(30, 3), 4)
    order = rng.permutation(len(Y))
    names = np.array([f"picture {s:02d}" for s in stimulus])
    expected = ncsnr_from_repeats(Y, stimulus, zscored=False)
    np.testing.assert_allclose(ncsnr_from_repeats(Y[order], names[order], zscored=False), expected, rtol=1e-12)


def test_blocks_of_voxels_give_what_all_at_once_give(rng, monkeypatch):
    Y, stimulus, _ = simulate(rng, 0.5, rng.integers(2, 4, 40), 23)
    functions = (lambda y, s: ncsnr_from_repeats(y, s, zscored=False), repeat_correlation, split_half)
    expected = [f(Y, stimulus) for f in functions]
    monkeypatch.setattr(reliability, "BLOCK_ELEMENTS", 500)
    for f, e in zip(functions, expected, strict=True):
        np.testing.assert_allclose(f(Y, stimulus), e, rtol=1e-12)


def test_constant_voxels_are_nan_and_noiseless_ones_reach_a_ceiling_of_one(rng):
    stimulus = np.repeat(np.arange(10), 2)
    Y = np.c_[np.full(20, 0.1), rng.standard_normal(10)[stimulus], np.full(20, np.nan), rng.standard_normal(20)]
    ncsnr = ncsnr_from_repeats(Y, stimulus, zscored=False)
    assert np.isnan(ncsnr[[0, 2]]).all()
    assert ncsnr[1] == np.inf
    np.testing.assert_array_equal(noise_ceiling(ncsnr[:3], 1), [np.nan, 1, np.nan])
    assert np.isnan(split_half(Y, stimulus)[[0, 2]]).all()
    assert np.isnan(repeat_correlation(Y, stimulus)[[0, 2]]).all()
    assert split_half(Y, stimulus)[1] == pytest.approx(1)


def test_float32_integers_and_tensors_are_taken_and_left_alone(rng):
    torch = pytest.importorskip("torch")
    stimulus = np.repeat(np.arange(20), 3)
    Y = rng.integers(0, 50, (60, 4))
    before = Y.copy()
    expected = ncsnr_from_repeats(Y.astype(float), stimulus, zscored=False)
    for same in (Y, Y.astype(np.float32), torch.tensor(Y)):
        np.testing.assert_allclose(ncsnr_from_repeats(same, stimulus, zscored=False), expected)
    np.testing.assert_array_equal(Y, before)


def test_ceiling_has_the_published_values_and_grows_with_repeats():
    np.testing.assert_allclose([noise_ceiling(0.5, n) for n in (1, 2, 3)], [0.2, 1 / 3, 3 / 7])
    np.testing.assert_allclose([noise_ceiling(1.0, n) for n in (1, 2, 3)], [0.5, 2 / 3, 0.75])
    ncsnr = np.linspace(0, 3, 20)
    ceilings = np.stack([noise_ceiling(ncsnr, n) for n in range(1, 6)])
    assert (np.diff(ceilings[:, 1:], axis=0) > 0).all()
    assert (np.diff(ceilings, axis=1) > 0).all()
    assert ceilings[:, 0].max() == 0
    assert noise_ceiling(1.0, [1] * 200 + [2] * 300 + [3] * 500) == pytest.approx(
        1 / (1 + (200 + 150 + 500 / 3) / 1000)
    )


def test_spearman_brown_is_the_ceiling_said_in_correlations():
    ncsnr = np.linspace(0.1, 2, 5)
    np.testing.assert_allclose(spearman_brown(noise_ceiling(ncsnr, 1), 3), noise_ceiling(ncsnr, 3))
    np.testing.assert_allclose(spearman_brown(spearman_brown(0.3, 2), 0.5), 0.3)


def test_equal_halves_are_corrected_by_the_formula_of_spearman_and_brown(rng):
    Y, stimulus, _ = simulate(rng, 0.3, np.full(40, 4), 6)
    r = split_half(Y, stimulus, corrected=False)
    assert (r < 0).any() or (r > 0).all()
    np.testing.assert_allclose(split_half(Y, stimulus), 2 * r / (1 + r))
    odd, even = (averages(*halved(Y, stimulus, side)) for side in (0, 1))
    np.testing.assert_allclose(r, [np.corrcoef(a, b)[0, 1] for a, b in zip(odd.T, even.T, strict=True)])


def halved(Y, stimulus, side):
    rank = np.array([np.count_nonzero(stimulus[:i] == s) for i, s in enumerate(stimulus)])
    return Y[rank % 2 == side], stimulus[rank % 2 == side]


def test_halves_of_two_and_one_trial_are_not_biased(rng):
    Y, stimulus, _ = simulate(rng, 0.2, np.full(515, 3), 1500)
    r = split_half(Y, stimulus, corrected=False)
    assert spearman_brown(r).mean() < 0.4286 - 0.012
    assert split_half(Y, stimulus).mean() == pytest.approx(0.4286, abs=0.006)


@pytest.mark.parametrize("function", [ncsnr_from_repeats, repeat_correlation, split_half])
def test_data_without_repeats_are_refused(rng, function):
    with pytest.raises(NoRepeats, match=r"trials|shown once"):
        function(rng.standard_normal((10, 2)), np.arange(10))
    with pytest.raises(ShapeMismatch, match=r"\(10, 2\) and \(9,\)"):
        function(rng.standard_normal((10, 2)), np.arange(9))


def test_bad_arguments_are_named(rng):
    Y, stimulus, _ = simulate(rng, 0.5, np.full(20, 2), 3)
    with pytest.raises(ValueError, match="zscored=False"):
        ncsnr_from_repeats(100 * Y, stimulus)
    with pytest.raises(NoRepeats, match="min_repeats = 3"):
        ncsnr_from_repeats(Y, stimulus, min_repeats=3)
    with pytest.raises(ValueError, match="n_repeats must be at least 1"):
        noise_ceiling(0.5, [2, 0])
    with pytest.raises(ValueError, match="negative"):
        noise_ceiling([-0.5])
    with pytest.raises(ValueError, match="seed"):
        split_half(Y, stimulus, n_splits=5)
    with pytest.raises(ValueError, match="positive"):
        spearman_brown(0.5, 0)


@pytest.mark.real
def test_macaque_v4_gives_the_known_answers(real_data):
    raw = np.load(real_data / "cowley_v4/responses_raw/responses_210325.npy", allow_pickle=False)
    n_neurons, n_images, n_repeats = raw.shape
    Y = np.moveaxis(raw, 0, 2).reshape(-1, n_neurons)
    image = np.repeat(np.arange(n_images), n_repeats)
    counts = np.isfinite(raw[0]).sum(1)
    ncsnr = ncsnr_from_repeats(Y, image, zscored=False)
    assert np.median(split_half(Y, image, corrected=False)) == pytest.approx(0.630, abs=0.001)
    assert np.median(spearman_brown(split_half(Y, image, corrected=False))) == pytest.approx(0.773, abs=0.001)
    assert np.median(split_half(Y, image)) == pytest.approx(0.773, abs=0.01)
    assert np.median(ncsnr) == pytest.approx(0.660, abs=0.001)
    assert np.median(noise_ceiling(ncsnr, counts)) == pytest.approx(0.765, abs=0.001)
