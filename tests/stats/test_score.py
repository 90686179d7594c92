"""Scores, their ceilings, and the kinds that do not mix."""

from __future__ import annotations

import numpy as np
import pytest

from neuro.errors import ShapeMismatch
from neuro.stats import KINDS, Score, noise_ceiling, normalise, pearson_r, r2


@pytest.fixture
def score():
    return Score(np.array([0.6, -0.3, 0.2, np.nan]), ceiling=[0.72, 0.5, 0.05, 0.5], n_repeats=3)


def test_correlations_are_squared_or_divided_by_the_root_never_by_the_ceiling(score):
    np.testing.assert_allclose(score.normalise().values, [0.5, -0.18, np.nan, np.nan])
    np.testing.assert_allclose(
        score.normalise("r/sqrtNC").values, [0.6 / np.sqrt(0.72), -0.3 / np.sqrt(0.5), np.nan, np.nan]
    )
    explained = Score([0.36, -0.1], "r2", ceiling=[0.72, 0.5]).normalise()
    assert explained.kind == "r2/NC"
    np.testing.assert_allclose(explained.values, [0.5, -0.2])
    assert Score([0.36], "EV", ceiling=[0.72]).normalise().kind == "EV/NC"
    np.testing.assert_allclose(score.normalise().raw, score.raw)


def test_a_perfect_model_of_noisy_responses_scores_one(rng):
    ncsnr = np.full(300, 0.8)
    signal = rng.standard_normal((2000, 300)) * ncsnr
    Y = signal + rng.standard_normal((2000, 300)) / np.sqrt(3)
    ceiling = noise_ceiling(ncsnr, 3)
    for metric in ("pearson_r", "r2", "explained_variance"):
        found = Score.of(Y, signal, metric, ceiling=ceiling, n_repeats=3)
        for kind in KINDS[found.raw_kind]:
            assert found.normalise(kind).mean() == pytest.approx(1, abs=0.01)


def test_voxels_without_signal_average_to_nothing(rng):
    Y, Y_hat = rng.standard_normal((2, 100, 3000))
    assert normalise(pearson_r(Y, Y_hat), np.full(3000, 0.2), "r2/NC").mean() == pytest.approx(0, abs=0.005)


def test_scores_above_one_are_kept():
    assert Score([0.9], ceiling=[0.3]).normalise().values[0] == pytest.approx(2.7)


def test_kinds_do_not_mix(score):
    other = Score([0.1, 0.1, 0.1, 0.1], ceiling=score.ceiling)
    np.testing.assert_allclose((score - other).values, [0.5, -0.4, 0.1, np.nan])
    np.testing.assert_allclose((score.normalise() - other.normalise()).values[:2], [0.5 - 0.01 / 0.72, -0.18 - 0.02])
    np.testing.assert_allclose((sum([score, other]) / 2).values[:2], [0.35, -0.1])
    np.testing.assert_allclose((2 * score).values[:2], [1.2, -0.6])
    for wrong in (score.normalise(), score.normalise("r/sqrtNC"), Score(other.raw, "r2"), Score(other.raw, "EV")):
        for operation in (lambda a, b: a + b, lambda a, b: a - b, lambda a, b: b - a):
            with pytest.raises(TypeError, match="cannot combine a score of kind"):
                operation(score, wrong)
    from_r2 = Score([0.1, 0.1, 0.1, 0.1], "r2", ceiling=score.ceiling).normalise()
    with pytest.raises(TypeError, match=r"'r2/NC' \(from r\) with one of kind 'r2/NC' \(from r2\)"):
        score.normalise() - from_r2
    for plain in (0.1, score.raw, 1):
        for operation in (lambda a, b: a + b, lambda a, b: a - b, lambda a, b: b - a):
            with pytest.raises(TypeError, match="has no kind"):
                operation(score, plain)
    with pytest.raises(TypeError, match="divided by a number"):
        score / score
    with pytest.raises(TypeError, match="scaled by a number"):
        score * score.raw


def test_results_keep_the_ceiling_only_if_both_have_it(score):
    assert (score - Score(score.raw)).ceiling is None
    assert (score - Score(score.raw, ceiling=[0.1] * 4)).ceiling is None
    np.testing.assert_array_equal((score - score).ceiling, score.ceiling)
    assert score.normalise().unnormalised().kind == "r"
    np.testing.assert_array_equal(score.normalise().unnormalised().values, score.values)


def test_errors_follow_the_scale():
    score = Score([0.6], ceiling=[0.72], error=[0.01])
    assert score.normalise().error[0] == pytest.approx(2 * 0.6 * 0.01 / 0.72)
    assert score.normalise("r/sqrtNC").error[0] == pytest.approx(0.01 / np.sqrt(0.72))
    assert (score * -2).error[0] == pytest.approx(0.02)
    assert (score - score).error is None


def test_summaries_leave_out_voxels_without_a_score(score):
    assert score.mean() == pytest.approx((0.6 - 0.3 + 0.2) / 3)
    assert score.median([True, True, False, False]) == pytest.approx(0.15)
    assert np.isnan(score.mean([False, False, False, True]))
    assert len(score) == 4
    assert repr(score) == "Score(r, median 0.200 over 3 of 4 voxels, median ceiling 0.500)"


def test_scores_know_their_metric_and_cannot_be_changed(rng):
    Y, Y_hat = rng.standard_normal((2, 20, 3))
    score = Score.of(Y, Y_hat, r2)
    assert score.kind == "r2"
    np.testing.assert_array_equal(score.values, r2(Y, Y_hat))
    with pytest.raises(ValueError, match="read-only"):
        score.raw[0] = 1
    with pytest.raises(AttributeError):
        score.kind = "r"


def test_impossible_scores_are_refused(score):
    with pytest.raises(ValueError, match="Divide percent by 100"):
        Score([0.5], ceiling=[36.0]).normalise()
    with pytest.raises(ValueError, match="'r2/NC' or 'r/sqrtNC', got 'EV/NC'"):
        score.normalise("EV/NC")
    with pytest.raises(ValueError, match="kind must be"):
        Score([0.5], "correlation")
    with pytest.raises(ValueError, match="no noise ceiling"):
        Score([0.5]).normalise()
    with pytest.raises(ValueError, match="goes with a normalised kind"):
        Score([0.5], "r", ceiled=[0.4])
    with pytest.raises(ShapeMismatch, match="shape of raw"):
        Score([0.5, 0.4], ceiling=[0.5])
    with pytest.raises(ShapeMismatch, match="different voxels"):
        score - Score([0.1])
    with pytest.raises(ValueError, match="no known kind"):
        Score.of(np.eye(3), np.eye(3), lambda y, p: y[0])
    with pytest.raises(ValueError, match="floor"):
        score.normalise(floor=-1)
