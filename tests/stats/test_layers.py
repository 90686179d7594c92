"""Layer preference against planted layers, against the limits of the weights, and for the bias of choosing the best."""

from __future__ import annotations

import numpy as np
import pytest

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats import layer_preference, pearson_r, resampled_layers, roi_summary


def planted(rng, n, v, n_layers=6, noise=1.0):
    """Responses driven by one layer's signal; neighbouring layers share part of theirs."""
    signals = (
        np.cumsum(rng.standard_normal((n_layers, n, v)), axis=0) / np.sqrt(np.arange(1, n_layers + 1))[:, None, None]
    )
    layer = np.arange(v) * n_layers // v
    Y = signals[layer, :, np.arange(v)].T + noise * rng.standard_normal((n, v))
    return Y, signals, layer


def test_planted_layers_are_found_and_reported_on_other_images(rng):
    Y, signals, layer = planted(rng, 400, 60)
    train, test = slice(0, 200), slice(200, 400)
    select, report = (np.stack([pearson_r(Y[rows], s[rows]) for s in signals]) for rows in (train, test))
    rois = {str(k): layer == k for k in range(6)}
    found = layer_preference(select, report, layers=[f"block{k}" for k in range(6)], rois=rois)
    assert np.mean(found.best == layer) > 0.9
    np.testing.assert_array_equal(found.score, report[found.best, np.arange(60)])
    np.testing.assert_allclose(found.roi_score, roi_summary(found.score, rois)["score"])
    np.testing.assert_allclose(found.roi_best_depth, np.arange(6) / 5, atol=0.06)
    assert (np.diff(found.roi_soft_depth) > 0).all()
    assert (found.roi_share.argmax(1) == np.arange(6)).all()
    np.testing.assert_allclose(found.roi_share.sum(1), 1)
    table = found.to_frame()
    assert table["layer"].tolist() == [f"block{k}" for k in range(6)]
    assert table[["best_depth_low", "soft_depth_high"]].isna().all().all()


def test_weighted_depth_is_its_formula_and_ends_at_the_best_layer(rng):
    S = rng.uniform(-0.2, 0.6, (5, 40))
    depth = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    for power in (1, 2.5):
        w = np.maximum(S, 0) ** power
        expected = depth @ w / w.sum(0)
        np.testing.assert_allclose(layer_preference(S, S - 1, depth=depth, power=power).soft_depth, expected)
    found = layer_preference(S, S - 1, depth=depth, power=5000)
    np.testing.assert_allclose(found.soft_depth, depth[S.argmax(0)], rtol=1e-3)
    np.testing.assert_array_equal(found.best_depth, depth[S.argmax(0)])


def test_the_score_of_a_chosen_layer_is_not_that_it_was_chosen_by(rng):
    """Layers of noise: the best of them has a positive selection score, but none on other images."""
    select, report = rng.standard_normal((2, 10, 4000)) / 20
    found = layer_preference(select, report)
    assert select.max(0).mean() > 0.07
    assert found.roi_score[0] == pytest.approx(0, abs=0.003)
    np.testing.assert_allclose(found.roi_share[0], 0.1, atol=0.02)


def test_intervals_of_depth_cover_that_of_endless_data(rng):
    """With r_1 and r_2 known, the depth of two layers weighted by score is r_2 / (r_1 + r_2)."""
    r = np.array([0.4, 0.7])
    truth = r[1] / r.sum()
    hits = 0
    for seed in range(100):
        Y = rng.standard_normal((120, 1))
        layers = [k * Y + np.sqrt(1 - k**2) * rng.standard_normal((120, 1)) for k in r]
        select = np.stack([pearson_r(Y, x) for x in layers])
        found = layer_preference(select, 0 * select, samples=resampled_layers(Y, layers, 200, seed=seed))
        low, high = found.roi_soft_interval[0]
        hits += low <= truth <= high
        assert found.n_resamples == 200
    assert hits / 100 >= 0.93 - 0.05


def test_resamples_as_one_array_or_in_blocks_are_the_same(rng, monkeypatch):
    from neuro.stats import bootstrap

    Y, signals, layer = planted(rng, 60, 20)
    Y[:, 3] = 1.0
    image = np.repeat(np.arange(20), 3)
    select = np.stack([pearson_r(Y, s) for s in signals])
    rois = {"early": layer < 3, "late": layer >= 3}
    whole = np.concatenate([b for _, b in resampled_layers(Y, signals, 50, image)], axis=2)
    assert whole.shape == (50, 6, 20)
    first = layer_preference(select, 0 * select, rois=rois, samples=whole)
    monkeypatch.setattr(bootstrap, "column_blocks", lambda *_, **__: [slice(i, min(i + 7, 20)) for i in (0, 7, 14)])
    second = layer_preference(select, 0 * select, rois=rois, samples=resampled_layers(Y, signals, 50, image))
    np.testing.assert_allclose(second.roi_best_interval, first.roi_best_interval)
    np.testing.assert_allclose(second.roi_soft_interval, first.roi_soft_interval, rtol=1e-6)
    assert (first.roi_best_interval[:, 0] <= first.roi_best_interval[:, 1]).all()
    assert first.to_frame()["best_depth_low"].notna().all()


def test_voxels_that_no_layer_predicts_have_no_preference(rng):
    S = rng.uniform(0.2, 0.6, (3, 6))
    S[:, 0], S[1, 1], S[:, 2] = np.nan, np.nan, -0.1
    found = layer_preference(S, S + 0.1, rois={"a": [0, 1, 2], "b": [2, 3, 4, 5]})
    np.testing.assert_array_equal(found.best[:3], -1)
    assert np.isnan([found.best_depth[:3], found.soft_depth[:3], found.score[:3]]).all()
    np.testing.assert_array_equal(found.roi_n_voxels, [0, 3])
    assert np.isnan(found.roi_soft_depth[0])
    assert found.roi_soft_depth[1] == pytest.approx(found.soft_depth[3:].mean())
    assert found.to_frame()["layer"].tolist()[0] == ""


def test_what_says_nothing_about_layers_is_refused(rng):
    S = rng.uniform(0.2, 0.6, (3, 4))
    with pytest.raises(ShapeMismatch, match="at least 2 layers, got 1"):
        layer_preference(S[:1], S[:1] + 1)
    with pytest.raises(ShapeMismatch, match=r"both be \(n_layers, n_voxels\), got \(3, 4\) and \(4, 3\)"):
        layer_preference(S, S.T)
    with pytest.raises(ValueError, match="the same scores"):
        layer_preference(S, S.copy())
    with pytest.raises(EmptySelection, match="0 of 4 voxels have scores"):
        layer_preference(np.full((3, 4), np.nan), S)
    with pytest.raises(EmptySelection, match=r"none above minimum=0\.9"):
        layer_preference(S, S + 1, minimum=0.9)
    with pytest.raises(ValueError, match="rise from layer to layer"):
        layer_preference(S, S + 1, depth=[0, 2, 1])
    with pytest.raises(ShapeMismatch, match="one entry for each of 3 layers"):
        layer_preference(S, S + 1, layers=["a", "b"])
    with pytest.raises(ValueError, match="power must be above 0"):
        layer_preference(S, S + 1, power=0)
    with pytest.raises(ShapeMismatch, match="samples must be"):
        layer_preference(S, S + 1, samples=np.zeros((10, 3, 5)))
    with pytest.raises(ShapeMismatch, match="describe 2 voxels, select 4"):
        layer_preference(S, S + 1, samples=iter([(slice(0, 2), np.zeros((10, 3, 2)))]))
    with pytest.raises(ShapeMismatch, match="got predictions of 1"):
        next(resampled_layers(S, [S]))
