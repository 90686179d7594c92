"""Permutation tests against exact enumeration, plain loops, and simulations under the null hypothesis."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from neuro.errors import ShapeMismatch
from neuro.stats import explained_variance, pearson_r, permutation_test, r2
from neuro.stats.permutation import _drawer


def correlated(rng, n, v, strength=1.0):
    Y = rng.standard_normal((n, v))
    return Y, strength * Y + rng.standard_normal((n, v))


def test_nothing_as_good_gives_one_over_one_more_than_the_number(rng):
    Y, Y_hat = correlated(rng, 200, 3, strength=3)
    test = permutation_test(Y, Y_hat, 1000)
    np.testing.assert_array_equal(test.p, 1 / 1001)
    np.testing.assert_array_equal(test.p_fwer, 1 / 1001)
    assert test.null_max.shape == (1000,)
    np.testing.assert_array_equal(test.observed, pearson_r(Y, Y_hat))


@pytest.mark.parametrize("n", [8, 100])
def test_a_twentieth_of_null_voxels_is_below_a_twentieth(rng, n):
    Y, Y_hat = rng.standard_normal((2, n, 4000))
    p = permutation_test(Y, Y_hat, 1000).p
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.01)
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.03)


def test_p_is_that_of_all_permutations(rng):
    Y, Y_hat = correlated(rng, 6, 5, strength=0.7)
    every = np.array([pearson_r(Y[list(order)], Y_hat) for order in permutations(range(6))])
    exact = (every >= pearson_r(Y, Y_hat) - 1e-9).mean(0)
    np.testing.assert_allclose(permutation_test(Y, Y_hat, 20_000, seed=3).p, exact, atol=0.012)
    middle = every.mean(0)
    exact = (np.abs(every - middle) >= np.abs(pearson_r(Y, Y_hat) - middle) - 1e-9).mean(0)
    two_sided = permutation_test(Y, Y_hat, 20_000, seed=3, tail="two-sided")
    np.testing.assert_allclose(two_sided.p, exact, atol=0.012)


def test_p_scatters_over_seeds_no_more_than_independent_permutations(rng):
    """Permutations built in pairs would be worth less than their number if pairs sharing a half were dependent."""
    Y, Y_hat = correlated(rng, 40, 1, strength=0.1)
    p = np.array([permutation_test(Y, Y_hat, 400, seed=s).p[0] for s in range(300)])
    independent = np.sqrt(p.mean() * (1 - p.mean()) / 400)
    assert 0.85 < p.std() / independent < 1.15


def test_null_distribution_has_the_moments_of_shuffling(rng):
    Y, Y_hat = correlated(rng, 50, 400)
    test = permutation_test(Y, Y_hat, 1000)
    np.testing.assert_allclose(test.null_mean, 0, atol=0.03)
    np.testing.assert_allclose(test.null_sd, 1 / np.sqrt(49), rtol=0.15)  # exactly 1 / sqrt(n - 1)
    assert test.null_sd.mean() == pytest.approx(1 / np.sqrt(49), rel=0.01)


def test_largest_score_controls_any_false_positive_and_is_sharper_than_holm_for_voxels_that_agree(rng):
    false_positives = 0
    for seed in range(200):
        Y, Y_hat = rng.standard_normal((2, 30, 40))
        false_positives += permutation_test(Y, Y_hat, 199, seed=seed).p_fwer.min() <= 0.05
    assert false_positives / 200 <= 0.05 + 0.035
    y, y_hat = correlated(rng, 30, 1, strength=0.6)
    same = permutation_test(np.repeat(y, 40, 1), np.repeat(y_hat, 40, 1), 999)
    np.testing.assert_allclose(same.p_fwer, same.p)


@pytest.mark.parametrize("metric", [pearson_r, r2, explained_variance])
def test_every_metric_agrees_with_a_plain_loop(rng, metric):
    Y, Y_hat = correlated(rng, 25, 6, strength=0.4)
    Y_hat = 0.5 * Y_hat + 1
    named = permutation_test(Y, Y_hat, 2000, metric=metric)
    assert named.metric == metric.__name__
    order = np.random.default_rng(5)
    null = np.array([metric(Y[order.permutation(25)], Y_hat) for _ in range(2000)])
    np.testing.assert_allclose(named.p, (1 + (null >= metric(Y, Y_hat)).sum(0)) / 2001, atol=0.05)
    np.testing.assert_allclose(named.null_mean, null.mean(0), atol=0.1 * null.std(0).max())
    np.testing.assert_allclose(named.null_sd, null.std(0), rtol=0.1)
    plain = permutation_test(Y, Y_hat, 500, metric=lambda y, p: metric(y, p))
    np.testing.assert_allclose(plain.p, named.p, atol=0.09)
    # With the data's sums fixed all three rank pairings alike.
    np.testing.assert_allclose(named.p, permutation_test(Y, Y_hat, 2000).p, atol=1e-12)


def test_repeats_of_a_stimulus_move_together_and_only_that_is_calibrated(rng):
    stimulus = np.repeat(np.arange(15), 6)
    Y, Y_hat = (rng.standard_normal((15, 1500))[stimulus] for _ in range(2))
    Y = Y + 0.3 * rng.standard_normal(Y.shape)
    naive = permutation_test(Y, Y_hat, 400).p
    whole = permutation_test(Y, Y_hat, 400, groups=stimulus).p
    assert np.mean(naive < 0.05) > 0.2
    assert np.mean(whole < 0.05) == pytest.approx(0.05, abs=0.02)


def test_stimuli_change_places_with_those_of_as_many_repeats(rng):
    groups = np.array([3, 1, 1, 0, 2, 2, 0, 7, 7, 7])
    orders = _drawer(10, groups, "stimuli", None)(rng, 300)
    size = np.bincount(groups)[groups]
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(10), (300, 1)))
    assert (size[orders] == size).all()
    assert (groups[orders[:, 1]] == groups[orders[:, 2]]).all()
    assert (orders[:, 7:] == [7, 8, 9]).all()
    assert set(groups[orders[:, 1]]) == {0, 1, 2}


def test_shifts_keep_neighbours_and_blocks_keep_their_rows(rng):
    runs = np.repeat([0, 1], [10, 14])
    for order in _drawer(24, runs, "shift", None)(rng, 50):
        np.testing.assert_array_equal(np.diff(order[:10]) % 10, 1)
        np.testing.assert_array_equal(np.diff(order[10:] - 10) % 14, 1)
    blocks = _drawer(24, runs, "blocks", 4)(rng, 50)
    assert (blocks[:, 8:10] == [8, 9]).all()
    assert (blocks[:, 22:] == [22, 23]).all()
    np.testing.assert_array_equal(np.diff(blocks[:, 10:22].reshape(50, 3, 4)), 1)
    assert len(np.unique(blocks[:, 10:22], axis=0)) == 6


def autocorrelated(rng, n, v):
    white = rng.standard_normal((n + 40, v))
    return np.stack([white[t : t + 40].mean(0) for t in range(n)])


def test_only_shifts_and_blocks_are_calibrated_for_time_series(rng):
    Y, Y_hat = autocorrelated(rng, 800, 300), autocorrelated(rng, 800, 300)
    false = {
        "stimuli": np.mean(permutation_test(Y, Y_hat, 300).p < 0.05),
        "shift": np.mean(permutation_test(Y, Y_hat, 300, scheme="shift").p < 0.05),
        "blocks": np.mean(permutation_test(Y, Y_hat, 300, scheme="blocks", block_length=80).p < 0.05),
    }
    assert false["stimuli"] > 0.25
    assert false["shift"] < 0.1
    assert false["blocks"] < 0.1


def test_regions_are_tested_by_their_mean(rng):
    Y, Y_hat = correlated(rng, 60, 30, strength=0.15)
    Y_hat[:, 20:] = rng.standard_normal((60, 10))
    rois = {"signal": np.arange(30) < 20, "noise": np.arange(20, 30), "empty": np.zeros(30, bool)}
    test = permutation_test(Y, Y_hat, 1000, rois=rois)
    assert test.rois == ("signal", "noise", "empty")
    np.testing.assert_allclose(test.observed[:2], [pearson_r(Y, Y_hat)[rois[k]].mean() for k in ("signal", "noise")])
    loop = np.random.default_rng(1)
    null = [pearson_r(Y[loop.permutation(60)], Y_hat) for _ in range(1000)]
    for i, roi in enumerate(("signal", "noise")):
        expected = (1 + sum(r[rois[roi]].mean() >= test.observed[i] for r in null)) / 1001
        assert test.p[i] == pytest.approx(expected, abs=0.06)
    assert test.p[0] < 0.01
    assert np.isnan(test.p[2])
    assert test.null.shape == (1000, 3)


def test_voxels_without_data_are_nan_and_constant_predictions_are_not_significant(rng):
    Y, Y_hat = correlated(rng, 40, 4)
    Y[:, 0], Y[3, 1], Y_hat[:, 2] = 0.1, np.nan, 0.1
    test = permutation_test(Y, Y_hat, 100)
    assert np.isnan(test.p[:2]).all()
    assert np.isnan(test.p_fwer[:2]).all()
    assert test.p[2] == 1
    assert test.p[3] == pytest.approx(1 / 101)


def test_same_seed_same_answer_blocked_or_not_numpy_or_torch(rng, monkeypatch):
    from neuro.stats import permutation

    torch = pytest.importorskip("torch")
    Y, Y_hat = (a.astype(np.float32) for a in correlated(rng, 30, 50, strength=0.2))
    test = permutation_test(Y, Y_hat, 150, seed=7)
    assert (test.p != permutation_test(Y, Y_hat, 150, seed=8).p).any()
    tensors = permutation_test(torch.tensor(Y), torch.tensor(Y_hat), 150, seed=7)
    assert isinstance(tensors.p, np.ndarray)
    monkeypatch.setattr(permutation, "column_blocks", lambda *_, **__: [slice(i, i + 7) for i in range(0, 50, 7)])
    for other in (tensors, permutation_test(Y, Y_hat, 150, seed=7)):
        np.testing.assert_allclose(other.p, test.p)
        np.testing.assert_allclose(other.p_fwer, test.p_fwer)
        np.testing.assert_allclose(other.null_max, test.null_max, rtol=1e-5)


def test_what_cannot_be_permuted_is_refused(rng):
    Y, Y_hat = correlated(rng, 12, 2)
    with pytest.raises(ValueError, match="no two of the same size"):
        permutation_test(Y, Y_hat, groups=np.zeros(12))
    with pytest.raises(ValueError, match="no two blocks"):
        permutation_test(Y, Y_hat, scheme="blocks", block_length=7)
    with pytest.raises(ValueError, match="block_length goes with"):
        permutation_test(Y, Y_hat, block_length=7)
    with pytest.raises(ValueError, match="'stimuli', 'shift' or 'blocks'"):
        permutation_test(Y, Y_hat, scheme="rows")
    with pytest.raises(ValueError, match="'pearson_r', 'r2' or 'explained_variance'"):
        permutation_test(Y, Y_hat, metric="r")
    with pytest.raises(ShapeMismatch, match="12 rows"):
        permutation_test(Y, Y_hat, groups=np.arange(11))
    with pytest.raises(ShapeMismatch, match="select one time first"):
        permutation_test(Y[:, :, None], Y_hat[:, :, None])
    with pytest.raises(ShapeMismatch, match="mask of 'V1'"):
        permutation_test(Y, Y_hat, rois={"V1": np.ones(3, bool)})
