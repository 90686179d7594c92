import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.decoders.metrics.feature_decoding import (
    feature_identification,
    pattern_correlation,
    profile_correlation,
    profile_correlations,
)
from neuro.errors import EmptySelection, ShapeMismatch


@pytest.fixture
def decoded(rng):
    """Units of very different means and scales, half decoded."""
    mean, std = 10 * rng.standard_normal(30), rng.uniform(0.1, 5, 30)
    true = mean + std * rng.standard_normal((25, 30))
    pred = mean + 0.5 * (true - mean) + 0.5 * std * rng.standard_normal((25, 30))
    return pred, true, mean, std


def test_profile_correlation_is_pearson_over_images_per_unit(decoded):
    pred, true, _, _ = decoded
    expected = [np.corrcoef(p, t)[0, 1] for p, t in zip(pred.T, true.T, strict=True)]
    np.testing.assert_allclose(profile_correlations(pred, true), expected)
    result = profile_correlation(pred, true)
    assert result.value == pytest.approx(np.mean(expected))
    assert result.ci[0] < result.value < result.ci[1]
    assert result.n == 25


def test_a_constant_column_is_masked_and_counted(decoded):
    pred, true, mean, std = decoded
    for which in (0, 1):
        arrays = [pred.copy(), true.copy()]
        arrays[which][:, 4] = 3.3
        values = profile_correlations(*arrays)
        assert np.isnan(values).nonzero()[0].tolist() == [4]
        result = profile_correlation(*arrays)
        assert result.details == {"units": 30, "undefined_units": 1}
        assert result.value == pytest.approx(np.nanmean(values))
    flat = std.copy()
    flat[4] = 0
    without = np.delete(np.arange(30), 4)
    masked = pattern_correlation(pred, true, mean, flat)
    assert masked.details["undefined_units"] == 1
    assert masked.value == pytest.approx(
        pattern_correlation(pred[:, without], true[:, without], mean[without], std[without]).value
    )


def test_all_columns_constant_gives_nan_not_a_number_from_nowhere(decoded):
    pred, true, mean, _ = decoded
    result = profile_correlation(np.zeros_like(pred), true)
    assert np.isnan(result.value)
    assert result.details["undefined_units"] == 30
    with pytest.raises(EmptySelection, match="constant over training images"):
        pattern_correlation(pred, true, mean, np.zeros(30))


def test_pattern_correlation_is_pearson_over_normalised_units(decoded):
    pred, true, mean, std = decoded
    z = [(x - mean) / std for x in (pred, true)]
    c = np.array([[np.corrcoef(p, t)[0, 1] for t in z[1]] for p in z[0]])
    result = pattern_correlation(pred, true, mean, std)
    np.testing.assert_allclose(result.per_item, np.diagonal(c))
    assert result.chance == pytest.approx(c[~np.eye(25, dtype=bool)].mean())


def test_without_normalisation_the_mean_pattern_would_decode_everything(decoded, rng):
    _, true, mean, std = decoded
    nothing = mean + 0.01 * std * rng.standard_normal(true.shape)
    raw = pattern_correlation(nothing, true, np.zeros(30), np.ones(30))
    assert raw.value > 0.9
    assert abs(pattern_correlation(nothing, true, mean, std).value) < 0.2


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_affine_maps_of_units_applied_to_data_and_statistics_change_nothing(seed):
    rng = np.random.default_rng(seed)
    pred, true = rng.standard_normal((2, 8, 9))
    mean, std = rng.standard_normal(9), rng.uniform(0.2, 3, 9)
    gain, shift = rng.uniform(0.1, 10, 9), 5 * rng.standard_normal(9)
    moved = [gain * x + shift for x in (pred, true, mean)]
    for measure in (pattern_correlation, feature_identification):
        before, after = measure(pred, true, mean, std), measure(*moved, gain * std)
        np.testing.assert_allclose(after.per_item, before.per_item, atol=1e-8)
    before, after = profile_correlations(pred, true), profile_correlations(*moved[:2])
    np.testing.assert_allclose(after, before, atol=1e-8)


def test_identification_among_test_images_and_among_others(decoded, rng):
    pred, true, mean, std = decoded
    assert feature_identification(true, true, mean, std).value == 1
    assert feature_identification(pred, true, mean, std).value > 0.9
    others = mean + std * rng.standard_normal((40, 30))
    z = [(x - mean) / std for x in (pred, true, others)]
    own = [np.corrcoef(p, t)[0, 1] for p, t in zip(z[0], z[1], strict=True)]
    wrong = [[np.corrcoef(p, o)[0, 1] for o in z[2]] for p in z[0]]
    expected = (np.array(wrong) < np.array(own)[:, None]).mean(1)
    result = feature_identification(pred, true, mean, std, distractors=others)
    np.testing.assert_allclose(result.per_item, expected)
    assert result.details["distractors"] == 40
    assert feature_identification(pred[:1], true[:1], mean, std, distractors=others).n == 1


def test_layers_of_any_shape_and_tensors_are_taken(decoded):
    pred, true, mean, std = decoded
    shaped = [x.reshape(-1, 5, 6) for x in (pred, true)]
    a = pattern_correlation(*shaped, mean.reshape(5, 6), std.reshape(5, 6))
    b = pattern_correlation(torch.tensor(pred), torch.tensor(true), mean, std)
    assert a.value == b.value == pattern_correlation(pred, true, mean, std).value


def test_the_interval_of_profiles_covers_what_other_images_give(rng):
    covered = []
    for _ in range(40):
        true = rng.standard_normal((40, 20))
        pred = 0.5 * true + np.sqrt(0.75) * rng.standard_normal((40, 20))
        low, high = profile_correlation(pred, true, rng=rng).ci
        covered.append(low < 0.5 < high)
    assert np.mean(covered) > 0.8


def test_bad_input_is_refused_in_words(decoded):
    pred, true, mean, std = decoded
    with pytest.raises(ShapeMismatch, match="one value for each of 30 units"):
        pattern_correlation(pred, true, mean[:5], std)
    with pytest.raises(ValueError, match="must not be negative"):
        pattern_correlation(pred, true, mean, -std)
    with pytest.raises(ShapeMismatch, match="at least 2"):
        feature_identification(pred[:1], true[:1], mean, std)
    bad = pred.copy()
    bad[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        profile_correlation(bad, true)
    with pytest.raises(ShapeMismatch, match="distractors have 29 units"):
        feature_identification(pred, true, mean, std, distractors=true[:, :29])
