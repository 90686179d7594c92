"""Time-resolved decoding: what is planted at a time is found at that time, and nothing comes from the future."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from neuro.datasets.phantom.sensors import simulate_sensors
from neuro.decoders._window_scores import chance_level, from_similarity, score_images
from neuro.decoders.windows import (
    WindowedDecoder,
    baseline_correct,
    decode_windows,
    generalise_over_time,
    growing_windows,
    sliding_windows,
    window_features,
)
from neuro.errors import EmptySelection, ShapeMismatch, SplitLeakage

TIMES = np.arange(-10, 40) / 50


@pytest.fixture(scope="module")
def meg():
    images = np.random.default_rng(5).standard_normal((120, 6))
    return images, simulate_sensors(images, n_sensors=20, n_repeats=2, snr=1.0, interval=(0.1, 0.2), seed=1)


def test_planted_effect_is_retrieved_only_by_windows_that_cover_it(meg):
    images, recorded = meg
    Y = recorded.responses[1]
    windows = sliding_windows(TIMES, 0.1)
    course = decode_windows(Y, images[Y.stimulus], windows, decoder=Ridge(100.0))
    covers = (windows[:, 0] < 0.2) & (windows[:, 1] > 0.1)
    assert windows[covers].tolist() == [[0.1, 0.2]]
    assert course.peak == (0.1, 0.2)
    assert course.scores[covers].min() > 0.8
    assert course.above_chance[covers].all()
    assert np.abs(course.scores[~covers] - 0.5).max() < 0.1


def test_growing_windows_know_nothing_before_the_effect_and_keep_it_afterwards(meg):
    images, recorded = meg
    Y = recorded.responses[1]
    windows = growing_windows(TIMES, 0.1, start=0.0)
    scores = decode_windows(Y, images[Y.stimulus], windows, decoder=Ridge(100.0)).scores
    assert abs(scores[0] - 0.5) < 0.1  # 0 to 0.1 s
    assert scores[1:].min() > 0.75


def test_future_samples_never_change_an_online_prediction(meg, rng):
    images, recorded = meg
    Y = recorded.responses[1].to_numpy()
    stimulus = recorded.responses[1].stimulus
    for windows in (sliding_windows(TIMES, 0.1, 0.04), growing_windows(TIMES, 0.1, start=0.0)):
        online = WindowedDecoder(windows).fit(Y, images[stimulus], stimulus, times=TIMES)
        whole = online.predict(Y, times=TIMES)
        assert len(whole) == len(windows)
        for now in (20, 33):
            future = Y.copy()
            future[:, :, now:] = rng.standard_normal(future[:, :, now:].shape) * 1e6
            over = [i for i, (_, stop) in enumerate(windows) if stop <= TIMES[now] + 1e-9]
            heard = online.predict(Y[:, :, :now], times=TIMES[:now])
            changed = online.predict(future, times=TIMES)
            assert len(heard) == len(over) > 0
            for i in over:
                np.testing.assert_array_equal(heard[i], whole[i])
                np.testing.assert_array_equal(changed[i], whole[i])


def test_scores_of_a_window_do_not_depend_on_samples_outside_it(meg, rng):
    images, recorded = meg
    Y = recorded.responses[1].to_numpy()
    stimulus = recorded.responses[1].stimulus
    other = rng.standard_normal(Y.shape)
    inside = (TIMES >= 0.1) & (TIMES < 0.2)
    other[:, :, inside] = Y[:, :, inside]
    settings = dict(times=TIMES, groups=stimulus, decoder=Ridge(100.0), n_bootstraps=10)
    a, b = (decode_windows(y, images[stimulus], [[0.1, 0.2]], **settings) for y in (Y, other))
    np.testing.assert_array_equal(a.results[0].per_item, b.results[0].per_item)


def test_shuffled_pairing_is_at_chance(meg, rng):
    images, recorded = meg
    Y = recorded.responses[1]
    shuffled = images[rng.permutation(len(images))][Y.stimulus]
    result = decode_windows(Y, shuffled, [[0.1, 0.2]], decoder=Ridge(100.0)).results[0]
    assert result.ci[0] < 0.5 < result.ci[1]


def test_repeats_are_merged_so_that_the_pool_holds_each_image_once(meg):
    images, recorded = meg
    Y = recorded.responses[1]
    for repeats in ("average", "single"):
        course = decode_windows(
            Y, images[Y.stimulus], [[0.1, 0.2]], decoder=Ridge(100.0), scoring="top1", repeats=repeats
        )
        assert course.results[0].n == 120
        assert "pool of 24 images" in course.results[0].protocol
        assert course.results[0].chance == pytest.approx(1 / 24)


def test_a_repeat_of_an_image_is_no_rival_of_itself():
    truth = np.eye(3)
    trials, where = np.repeat(truth, 4, 0), np.repeat(np.arange(3), 4)
    for average in (True, False):
        assert score_images("top1", trials, truth, where, average).tolist() == [1, 1, 1]
        assert score_images("two_way", trials, truth, where, average).tolist() == [1, 1, 1]


def test_averaging_repeats_beats_single_trials(meg):
    images, recorded = meg
    Y = recorded.responses[1]
    average, single = (
        decode_windows(Y, images[Y.stimulus], [[0.1, 0.2]], decoder=Ridge(100.0), repeats=r).scores[0]
        for r in ("average", "single")
    )
    assert average > single + 0.02


def test_identical_predictions_score_exactly_chance():
    same = np.ones((5, 5))
    own = np.arange(5)
    assert from_similarity("two_way", same, own).tolist() == [0.5] * 5
    assert from_similarity("top1", same, own).tolist() == [0.2] * 5
    assert from_similarity("top5", same, own).tolist() == [1.0] * 5
    assert chance_level("top1", [5, 5], np.eye(5)) == 0.2


def test_chance_of_labels_is_that_of_naming_the_commonest():
    assert chance_level("accuracy", [2], np.array(["a", "b", "a", "a"])) == 0.75


def test_labels_are_decoded_by_a_classifier_with_repeats_kept_together(meg):
    _, recorded = meg
    Y = recorded.responses[1]
    label = np.where(recorded.components[:, 0] > 0, "left", "right")[Y.stimulus]
    course = decode_windows(Y, label, [[-0.1, 0.0], [0.1, 0.2]], decoder=LogisticRegression(C=1e-2), scoring="accuracy")
    before, during = course.scores
    assert during > 0.75
    assert abs(before - course.results[0].chance) < 0.15


def test_generalisation_is_high_only_where_training_and_testing_windows_share_the_code(meg):
    images, recorded = meg
    Y = recorded.responses[1]
    windows = np.array([[0.0, 0.1], [0.1, 0.15], [0.15, 0.2], [0.2, 0.3]])
    found = generalise_over_time(Y, images[Y.stimulus], windows, decoder=Ridge(10.0))
    inside = found.scores[1:3, 1:3]
    assert inside.min() > 0.8
    assert np.abs(found.scores[:, [0, 3]] - 0.5).max() < 0.12  # nothing there to be read
    # Trained on noise, weights are an arbitrary map of the signal, the same in all folds: not right, nor exactly .5.
    assert found.scores[[0, 3], 1:3].max() < inside.min() - 0.1


def test_diagonal_of_generalisation_is_the_time_course(meg):
    images, recorded = meg
    Y = recorded.responses[1]
    windows = sliding_windows(TIMES, 0.25)
    settings = dict(decoder=Ridge(10.0), summary="mean")
    course = decode_windows(Y, images[Y.stimulus], windows, n_bootstraps=10, **settings)
    found = generalise_over_time(Y, images[Y.stimulus], windows, **settings)
    np.testing.assert_allclose(np.diag(found.scores), course.scores, rtol=1e-12)


def test_the_interval_covers_images_not_trials(meg):
    images, recorded = meg
    Y = recorded.responses[1].to_numpy()
    stimulus = recorded.responses[1].stimulus
    settings = dict(times=TIMES, decoder=Ridge(100.0), repeats="single")
    once = decode_windows(Y, images[stimulus], [[0.1, 0.2]], groups=stimulus, **settings)
    # The same recordings, every trial written twice: nothing was learned, so the interval stays as wide.
    twice = decode_windows(
        np.repeat(Y, 2, 0), np.repeat(images[stimulus], 2, 0), [[0.1, 0.2]], groups=np.repeat(stimulus, 2), **settings
    )
    width = [np.diff(r.results[0].ci).item() for r in (once, twice)]
    assert width[1] == pytest.approx(width[0], rel=0.1)


def test_an_all_window_decoder_is_the_plain_decoder(meg):
    images, recorded = meg
    Y = recorded.responses[1].to_numpy()
    targets = images[recorded.responses[1].stimulus]
    said = WindowedDecoder([[-0.2, 0.8]], Ridge(5.0)).fit(Y, targets, times=TIMES).predict(Y, times=TIMES)[0]
    flat = Y.reshape(len(Y), -1)
    np.testing.assert_allclose(said, Ridge(5.0).fit(flat, targets).predict(flat), rtol=1e-5, atol=1e-5)


def test_baseline_has_mean_zero_afterwards_and_the_input_is_untouched(rng):
    Y = rng.standard_normal((4, 3, 50)) + 7
    before = Y.copy()
    out = baseline_correct(Y, TIMES, (-0.2, 0.0))
    np.testing.assert_allclose(out[:, :, TIMES < 0].mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(out), np.diff(Y))
    np.testing.assert_array_equal(Y, before)


def test_windows_hold_start_but_not_stop(rng):
    Y = rng.standard_normal((2, 3, 50))
    for features, (a, b) in zip(
        window_features(Y, TIMES, sliding_windows(TIMES, 0.1)), sliding_windows(TIMES, 0.1), strict=True
    ):
        assert features.shape == (2, 3 * 5)
        inside = np.flatnonzero((a - 1e-6 < TIMES) & (b - 1e-6 > TIMES))
        np.testing.assert_array_equal(features, Y[:, :, inside].reshape(2, -1))


def test_windows_tile_the_recording():
    windows = sliding_windows(TIMES, 0.1)
    assert len(windows) == 10
    assert (windows[0, 0], windows[-1, 1]) == (-0.2, 0.8)
    assert growing_windows(TIMES, 0.2)[-1].tolist() == [-0.2, 0.8]


def test_table_has_a_row_per_window(meg):
    images, recorded = meg
    Y = recorded.responses[1]
    table = decode_windows(Y, images[Y.stimulus], [[0.1, 0.2]], decoder=Ridge(), n_bootstraps=10).table()
    assert table[["start", "stop", "chance", "n"]].iloc[0].tolist() == [0.1, 0.2, 0.5, 120]
    assert (table["ci_low"] < table["value"]).all()


def test_bad_input_is_refused(meg, rng):
    images, recorded = meg
    Y = recorded.responses[1]
    targets = images[Y.stimulus]
    with pytest.raises(EmptySelection, match="no sample lies in 2 to 3 s"):
        decode_windows(Y, targets, [[2.0, 3.0]])
    with pytest.raises(EmptySelection, match="does not fit"):
        sliding_windows(TIMES, 5.0)
    with pytest.raises(ShapeMismatch, match="one target; those of 0 differ"):
        decode_windows(Y, targets + np.arange(len(targets))[:, None] * (Y.stimulus == 0)[:, None], [[0.1, 0.2]])
    half = np.arange(240)
    with pytest.raises(SplitLeakage):
        decode_windows(Y, targets, [[0.1, 0.2]], cv=[(half[:120], half[120:])])
    with pytest.raises(EmptySelection, match="at least 2 images"):
        decode_windows(Y, targets, [[0.1, 0.2]], cv=120)
    with pytest.raises(ShapeMismatch, match="different number of samples"):
        generalise_over_time(Y, targets, [[0.1, 0.2], [0.1, 0.3]], summary="samples")
    with pytest.raises(ValueError, match="scoring must be"):
        decode_windows(Y, targets, [[0.1, 0.2]], scoring="forward")
    with pytest.raises(ShapeMismatch, match="are labels"):
        decode_windows(Y, np.where(Y.stimulus > 3, "a", "b"), [[0.1, 0.2]])
    with pytest.raises(ShapeMismatch, match="times"):
        decode_windows(Y.to_numpy(), targets, [[0.1, 0.2]])
    with pytest.raises(ShapeMismatch, match="start before stop"):
        decode_windows(Y, targets, [[0.2, 0.1]])
