"""Best of N: the pick is the true best where the truth is planted, and what is gained is what theory says."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from neuro.decoders.metrics.result import results_table
from neuro.decoders.selection import (
    Selection,
    best_index,
    cosine_scores,
    expected_best,
    response_scores,
    select_best,
)
from neuro.errors import ShapeMismatch


@pytest.fixture
def planted(rng):
    """Pictures, candidates of which one is the picture, and a linear encoder's noise-free responses."""
    images = rng.normal(size=(20, 3, 4, 4))
    candidates = images[:, None] + rng.normal(size=(20, 6, 3, 4, 4))
    best = rng.integers(0, 6, 20)
    candidates[np.arange(20), best] = images
    W = rng.normal(size=(48, 70))

    def encoder(x):
        return x.reshape(len(x), -1) @ W

    return images, candidates, best, encoder


def test_with_the_planted_encoder_and_no_noise_the_pick_is_the_true_best(planted):
    images, candidates, best, encoder = planted
    picked = select_best(candidates, encoder(images), "encoder", features=encoder)
    np.testing.assert_array_equal(picked.picks, best)
    np.testing.assert_allclose(picked.scores[np.arange(20), best], 1)
    np.testing.assert_array_equal(picked.take(candidates), images)


def test_tensors_and_batches_change_nothing(planted):
    images, candidates, _, encoder = planted
    whole = select_best(candidates, encoder(images), "encoder", features=encoder)

    def on_tensors(x):
        assert isinstance(x, torch.Tensor)
        return torch.from_numpy(encoder(x.double().numpy()))

    pieces = select_best(
        torch.from_numpy(candidates), torch.from_numpy(encoder(images)), "encoder", features=on_tensors, batch_size=3
    )
    np.testing.assert_array_equal(pieces.picks, whole.picks)
    np.testing.assert_allclose(pieces.scores, whole.scores, atol=1e-5)
    assert torch.equal(pieces.take(torch.from_numpy(candidates)), torch.from_numpy(images))


def test_own_embedding_picks_the_nearest_by_cosine_whatever_its_length(rng):
    target = rng.normal(size=(8, 5, 3))
    candidates = target[:, None] + rng.normal(size=(8, 4, 5, 3))
    candidates[:, 2] = 0.01 * target
    picked = select_best(candidates, target)
    assert (picked.picks == 2).all()
    assert not picked.oracle


def test_identical_candidates_give_the_first(rng):
    image = rng.normal(size=(5, 1, 6)).repeat(4, 1)
    image[:, 1:] *= 1 + 1e-9 * np.arange(1, 4)[:, None]
    assert (select_best(image, rng.normal(size=(5, 6))).picks == 0).all()


def test_undefined_scores_are_not_picked(rng):
    candidates = rng.normal(size=(3, 4, 6))
    candidates[:, 0] = 0
    candidates[2] = 0
    picked = select_best(candidates, rng.normal(size=(3, 6)))
    assert np.isnan(picked.scores[:, 0]).all()
    assert (picked.picks[:2] > 0).all()
    assert picked.picks[2] == 0
    np.testing.assert_array_equal(best_index(np.array([[np.nan, 1, 2], [np.nan] * 3])), [2, 0])


def test_response_scores_are_the_correlation_over_voxels(rng):
    predicted, measured = rng.normal(size=(3, 4, 30)), rng.normal(size=(3, 30))
    expected = [[np.corrcoef(p, y)[0, 1] for p in row] for row, y in zip(predicted, measured, strict=True)]
    np.testing.assert_allclose(response_scores(predicted, measured), expected)
    np.testing.assert_allclose(response_scores(3 * predicted + 2, 5 * measured - 1), expected)


def test_voxels_that_count_twice_are_voxels_that_are_there_twice(rng):
    predicted, measured = rng.normal(size=(3, 4, 10)), rng.normal(size=(3, 10))
    weights = np.array([2.0, 1, 0, 1, 3, 1, 1, 2, 0, 1])
    rows = np.repeat(np.arange(10), weights.astype(int))
    np.testing.assert_allclose(
        response_scores(predicted, measured, weights), response_scores(predicted[..., rows], measured[:, rows])
    )


def test_patterns_that_do_not_vary_have_no_score(rng):
    predicted = rng.normal(size=(1, 3, 8))
    predicted[0, 1] = 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = response_scores(predicted, rng.normal(size=(1, 8)))
    assert np.isnan(scores[0]).tolist() == [False, True, False]


@pytest.mark.parametrize(("n", "value"), [(1, 0.0), (2, np.pi**-0.5), (3, 1.5 * np.pi**-0.5), (16, 1.7659914)])
def test_the_expected_best_is_the_order_statistic(n, value):
    assert expected_best(n) == pytest.approx(value, abs=1e-6)


def test_gaussian_scores_gain_the_order_statistic_and_more_with_more_candidates(rng):
    gains = []
    for n in (2, 4, 16):
        scores = rng.normal(size=(4000, n))
        gain = Selection(best_index(scores), scores, "embedding", "noise").score_gain()
        standard_error = gain.per_item.std() / np.sqrt(4000)
        assert float(gain) == pytest.approx(gain.chance, abs=4 * standard_error)
        assert gain.chance == pytest.approx(expected_best(n))
        gains.append(float(gain))
    assert gains == sorted(gains)


def test_the_pick_of_a_scorer_with_correlation_r_gains_r_times_the_order_statistic(rng):
    truth = rng.normal(size=(5000, 8))
    for r in (0.0, 0.5, 1.0):
        scores = r * truth + np.sqrt(1 - r**2) * rng.normal(size=truth.shape)
        gain = Selection(best_index(scores), scores, "encoder", "noisy").gain(truth, "truth")
        assert float(gain) == pytest.approx(r * expected_best(8), abs=4 / np.sqrt(5000))
        low, high = gain.ci
        assert low < float(gain) < high
        assert gain.details["n_candidates"] == 8
        assert gain.details["picked"] - gain.details["random"] == pytest.approx(float(gain))


def test_where_lower_is_better_the_gain_is_turned_round(rng):
    scores = rng.normal(size=(50, 4))
    chosen = Selection(best_index(scores), scores, "encoder", "x")
    distance = chosen.gain(-scores, "distance", higher_is_better=False)
    assert float(distance) == pytest.approx(float(chosen.gain(scores, "similarity")))


def test_an_oracle_stays_one_in_every_result(rng):
    candidates, target = rng.normal(size=(9, 4, 5)), rng.normal(size=(9, 5))
    chosen = select_best(candidates, target, "oracle")
    assert chosen.oracle
    assert chosen.gain(rng.normal(size=(9, 4)), "m").oracle
    assert chosen.score_gain().oracle
    assert "ORACLE" in repr(chosen)
    assert results_table({"s": {"gain": chosen.score_gain()}})["oracle"].all()


def test_the_scorers_own_family_may_not_judge(rng):
    candidates, target = rng.normal(size=(9, 4, 5)), rng.normal(size=(9, 5))
    with pytest.raises(ValueError, match="may not be judged by 'clip'"):
        select_best(candidates, target, family="clip", evaluation="clip")
    chosen = select_best(candidates, target, family="clip", evaluation="dino")
    with pytest.raises(ValueError, match="may not be judged by 'clip'"):
        chosen.gain(chosen.scores, "clip_cosine", family="clip")
    assert chosen.gain(chosen.scores, "dino_cosine", family="dino").details["family"] == "clip"


def test_judging_by_the_picking_scores_flatters(rng):
    scores = rng.normal(size=(500, 16))
    chosen = Selection(best_index(scores), scores, "embedding", "noise")
    assert float(chosen.gain(scores, "same")) > 1.5
    low, high = chosen.gain(rng.normal(size=(500, 16)), "other").ci
    assert low < 0 < high


def test_names_say_who_scored(planted):
    images, candidates, _, encoder = planted
    chosen = select_best(candidates, encoder(images), "encoder", features=encoder, family="pixels")
    assert chosen.scorer == "encoder (encoder)"
    assert chosen.n_candidates == 6
    assert "best of 6 for 20 items by encoder (encoder), family pixels" in repr(chosen)
    assert select_best(candidates, images, scorer="pixels").scorer == "pixels"


def test_inputs_are_left_alone(planted):
    images, candidates, _, encoder = planted
    responses = encoder(images)
    responses[0] = 1.0
    before = candidates.copy(), responses.copy()
    select_best(candidates, responses, "encoder", features=encoder, weights=np.ones(70))
    np.testing.assert_array_equal(candidates, before[0])
    np.testing.assert_array_equal(responses, before[1])


def test_what_does_not_fit_is_refused_before_work(rng):
    def never(_):
        raise AssertionError("called before the check")

    candidates, target = rng.normal(size=(9, 4, 5)), rng.normal(size=(9, 5))
    with pytest.raises(ShapeMismatch, match=r"begin with \(items, candidates\) = \(8, 4\)"):
        select_best(candidates, target[:8], features=never)
    with pytest.raises(ShapeMismatch, match="must be \\(n, n_candidates"):
        select_best(candidates[:, 0], target, features=never)
    with pytest.raises(ValueError, match="score must be"):
        select_best(candidates, target, "best", features=never)
    with pytest.raises(ValueError, match="weights belong to voxels"):
        select_best(candidates, target, weights=np.ones(5), features=never)
    with pytest.raises(ShapeMismatch, match=r"have 5 values, the target has 4. Does the encoder"):
        select_best(candidates, target[:, :4], "encoder")
    with pytest.raises(ShapeMismatch, match="one per voxel"):
        select_best(candidates, target, "encoder", weights=np.ones(4))
    with pytest.raises(ValueError, match="not all 0"):
        select_best(candidates, target, "encoder", weights=np.zeros(5))
    with pytest.raises(ShapeMismatch, match="one row for each"):
        select_best(candidates, target, features=lambda x: x[:3])
    chosen = select_best(candidates, target)
    with pytest.raises(ShapeMismatch, match="one per candidate"):
        chosen.gain(np.ones((9, 3)), "m")
    with pytest.raises(ShapeMismatch):
        chosen.take(candidates[:, :2])


def test_expected_best_agrees_with_quantiles_of_the_maximum():
    u = (np.arange(200_000) + 0.5) / 200_000
    assert expected_best(10) == pytest.approx(ndtri(u ** (1 / 10)).mean(), abs=1e-4)


def test_cosines_do_not_depend_on_rotation(rng):
    x, y = rng.normal(size=(4, 3, 6)), rng.normal(size=(4, 6))
    Q = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    np.testing.assert_allclose(cosine_scores(x @ Q, y @ Q), cosine_scores(x, y))
