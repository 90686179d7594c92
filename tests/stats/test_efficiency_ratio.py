"""Images needed and ratios of encoders: exact crossings, what theory says of least squares, and calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import LinearRegression, Ridge

from neuro.errors import EmptySelection
from neuro.stats import EfficiencyCurve, data_efficiency, efficiency_curve, images_needed


def of_scores(scores, sizes, names=("a", "b")):
    """Return a curve with given region scores (n_models, n_sizes, n_draws)."""
    scores = np.asarray(scores, dtype=float)[..., None]
    return EfficiencyCurve(tuple(names[: len(scores)]), np.array(sizes), scores, ("all",), scores, "r2", True, 999, 0)


def test_levels_are_reached_where_the_curve_is_a_line(rng):
    sizes = np.array([10, 30, 100, 1000])
    curve = of_scores((0.1 * np.log(sizes))[None, :, None] + np.array([0.0, 0.01, -0.01]), sizes)
    for level in (0.25, 0.4, 0.6):
        found = images_needed(curve, level)
        assert found.value == pytest.approx(np.exp(level / 0.1))
        np.testing.assert_allclose(found.draws, np.exp((level - np.array([0, 0.01, -0.01])) / 0.1))
        assert (found.low, found.high) == (found.draws.min(), found.draws.max())


def test_draws_that_do_not_cross_leave_the_interval_open():
    scores = np.array([[0.1, 0.3, 0.35], [0.2, 0.4, 0.5], [0.28, 0.6, 0.7], [0.3, 0.45, 0.6]]).T[None]
    curve = of_scores(scores, [10, 20, 40])
    assert images_needed(curve, 0.37).high == np.inf
    assert images_needed(curve, 0.29).low == 0
    assert images_needed(curve, 0.37).draws[0] == np.inf
    with pytest.raises(ValueError, match=r"scores 0\.22 at 10 images and 0\.537 at 40.*not at the largest"):
        images_needed(curve, 0.6)
    with pytest.raises(ValueError, match="already at the smallest"):
        images_needed(curve, 0.1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_more_is_needed_for_more_and_falling_curves_are_pooled(seed):
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.uniform(0, 1, 6))[None, :, None] + 0.2 * rng.standard_normal((1, 6, 4))
    curve = of_scores(scores, [4, 8, 16, 32, 64, 128])
    rising = isotonic_regression(curve.roi_scores[0, :, :, 0].mean(1))
    levels = np.sort(rng.uniform(rising[0], rising[-1], 5))
    values = [images_needed(curve, x).value for x in levels if rising[0] < x <= rising[-1]]
    assert (np.diff(values) >= 0).all()
    assert all(4 <= v <= 128 for v in values)


def test_an_encoder_is_as_efficient_as_itself_and_as_its_twin(rng, linear, ridge):
    X, Y = linear(rng, 700, 20, 30)
    models = {"a": ridge(5.0), "b": ridge(5.0), "twin": ridge(6.0)}
    curve = efficiency_curve(models, X[:400], Y[:400], X[400:], Y[400:], [20, 40, 80, 160], 8)
    same = data_efficiency(curve, "a", "b")
    assert (same.ratio, same.low, same.high) == (1, 1, 1)
    twin = data_efficiency(curve, "a", "twin")
    assert twin.low <= 1.05
    assert twin.high >= 0.95
    assert twin.ratio == pytest.approx(1, abs=0.05)


def test_useless_features_cost_the_images_that_theory_says(rng, linear):
    """Where the expected errors of least squares with 10 and 40 features reach the same level."""
    X, Y = linear(rng, 4000, 10, 60)
    X = np.c_[X, rng.standard_normal((4000, 30))]
    models = {
        "lean": lambda a, b, c: LinearRegression().fit(a[:, :10], b).predict(c[:, :10]),
        "stout": LinearRegression(),
    }
    sizes = [16, 20, 28, 40, 48, 56, 80, 120, 200]
    curve = efficiency_curve(models, X[:2000], Y[:2000], X[2000:], Y[2000:], sizes, 20, metric="r2")
    level = 0.3
    error = (1 - level) / np.mean(1 / Y[2000:].var(0))

    def needed(p):
        n = np.linspace(p + 3, 500, 200_000)
        return n[np.argmax((1 + 1 / n) * (n - 2) / (n - p - 2) <= error)]

    found = data_efficiency(curve, "lean", "stout", level)
    truth = needed(40) / needed(10)
    assert found.low < truth < found.high
    assert found.ratio == pytest.approx(truth, rel=0.1)
    assert data_efficiency(curve, "stout", "lean", level).ratio == pytest.approx(1 / found.ratio)
    assert found.images_b.value == pytest.approx(needed(40), rel=0.1)


def test_pairing_draws_narrows_the_interval_of_the_ratio(rng):
    shift = 0.3 * rng.standard_normal(40)  # a draw is good or bad for both
    sizes = np.array([10, 30, 100, 300])
    base = 0.1 * np.log(sizes)[:, None] + 0.1 * shift
    curve = of_scores([base + 0.1 * np.log(3), base], sizes)
    found = data_efficiency(curve, "a", "b", 0.4)
    assert found.ratio == pytest.approx(3)
    assert found.high / found.low < 1.001
    assert found.images_b.high / found.images_b.low > 2


def test_equally_efficient_encoders_have_a_ratio_of_one_in_the_interval(rng, ridge):
    """Two halves of the features with the same weights: alike in truth, but not on one set of test images."""
    B = rng.standard_normal((15, 15)) / 4
    half = {k: lambda a, b, c, k=k: ridge(5.0)(a[:, k::2], b, c[:, k::2]) for k in (0, 1)}
    inside = {"draws": 0, "images": 0}
    for seed in range(30):
        X = rng.standard_normal((400, 30))
        Y = X[:, ::2] @ B + X[:, 1::2] @ B + rng.standard_normal((400, 15))
        data = X[:320], Y[:320], X[320:], Y[320:]
        curve = efficiency_curve(half, *data, [25, 60, 150], 6, n_bootstraps=100, seed=seed)
        for over in inside:
            found = data_efficiency(curve, "0", "1", over=over)
            inside[over] += found.low <= 1 <= found.high
    assert inside["images"] / 30 >= 0.93 - 0.1
    assert inside["images"] > inside["draws"]


def test_what_has_no_crossing_is_refused(rng, linear, ridge):
    X, Y = linear(rng, 60, 4, 3)
    data = X[:40], Y[:40], X[40:], Y[40:]
    curve = efficiency_curve({"a": Ridge(), "b": ridge(1)}, *data, [10, 20], 2, rois={"none": [], "V1": [0]})
    with pytest.raises(ValueError, match="several encoders, say which: a, b"):
        images_needed(curve, 0.5)
    with pytest.raises(ValueError, match="several regions"):
        images_needed(curve, 0.5, name="a")
    with pytest.raises(EmptySelection, match="region 'none' has no score"):
        images_needed(curve, 0.5, name="a", roi="none")
    with pytest.raises(ValueError, match="needs resampled test images"):
        images_needed(of_scores([[[0.1], [0.3]]], [10, 20]), 0.2, over="images")
    with pytest.raises(ValueError, match="'draws' or 'images', got 'voxels'"):
        images_needed(of_scores([[[0.1], [0.3]]], [10, 20]), 0.2, over="voxels")
    far = of_scores([[[0.1], [0.2]], [[0.3], [0.4]]], [10, 20])
    with pytest.raises(ValueError, match="share no range of scores"):
        data_efficiency(far, "a", "b")
