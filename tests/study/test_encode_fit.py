"""Encoders over folds: equal to the library called by hand, with no leak, and planted feature spaces come back."""

from __future__ import annotations

import numpy as np
import pytest

from neuro.encoders import BandedRidgeCV, InContextConfig, InContextEncoder, RidgeCV
from neuro.encoders._in_context_network import InContextNetwork
from neuro.stats import pearson_r, r2
from neuro.study.config import EncoderConfig
from neuro.study.encode_fit import efficiency, fit_rows, predict_folds, some_images, unique_by_band
from neuro.study.encode_inputs import Inputs
from neuro.study.evaluate import Design, evaluate

ROIS = {"shape": np.array([True, True, False, False]), "colour": np.array([False, False, True, True])}


@pytest.fixture
def spaces(rng):
    return {"shape": 3 + 5 * rng.standard_normal((150, 6)), "colour": rng.standard_normal((150, 4)).astype(np.float32)}


@pytest.fixture
def design(rng, spaces):
    """Two voxels want shape, two want colour; five folds."""
    drive = [spaces["shape"] @ rng.standard_normal((6, 2)) / 12, spaces["colour"] @ rng.standard_normal((4, 2)) / 2]
    Y = np.concatenate(drive, 1) + 0.5 * rng.standard_normal((150, 4))
    parts = np.array_split(rng.permutation(150), 5)
    folds = [(np.setdiff1d(np.arange(150), p), np.sort(p)) for p in parts]
    return Design(np.arange(150), Y.astype(np.float32), folds, np.arange(150))


def test_ridge_is_what_the_layers_of_a_study_get(spaces, design):
    both = Inputs(spaces, "features")
    prediction, _, _ = predict_folds(RidgeCV(cv=5, scoring="r2", random_state=0), both, design)
    found = evaluate(np.concatenate(list(spaces.values()), 1), design, EncoderConfig(), 0)
    np.testing.assert_allclose(prediction, found["prediction"], atol=1e-4)


def test_units_of_features_do_not_matter(spaces, design):
    estimator = BandedRidgeCV(n_iter=3)
    prediction, _, _ = predict_folds(estimator, Inputs(spaces, "bands"), design)
    scaled = {"shape": 100 * spaces["shape"] - 7, "colour": 0.01 * spaces["colour"]}
    other, _, _ = predict_folds(estimator, Inputs(scaled, "bands"), design)
    np.testing.assert_allclose(prediction, other, atol=2e-3)


def test_test_images_are_not_looked_at(spaces, design):
    one = Design(design.stimulus, design.Y, design.folds[:1], design.groups)
    before, _, _ = predict_folds(BandedRidgeCV(n_iter=2), Inputs(spaces, "bands"), one)
    Y = design.Y.copy()
    Y[one.tested] = 99
    after, _, _ = predict_folds(
        BandedRidgeCV(n_iter=2), Inputs(spaces, "bands"), Design(one.stimulus, Y, one.folds, one.groups)
    )
    np.testing.assert_array_equal(before, after)


def test_parts_sum_to_the_prediction_up_to_a_constant(spaces, design):
    prediction, parts, _ = predict_folds(BandedRidgeCV(n_iter=3), Inputs(spaces, "bands"), design, split=True)
    difference = prediction - sum(parts.values())
    np.testing.assert_allclose(difference - difference.mean(0), 0, atol=1e-4)


def test_planted_feature_spaces_are_unique_where_they_were_planted(spaces, design):
    inputs = Inputs(spaces, "bands")
    estimator = BandedRidgeCV(n_iter=5)
    prediction, _, _ = predict_folds(estimator, inputs, design)
    unique, table = unique_by_band(prediction, lambda names: estimator, inputs, design, ROIS, 200, 0)
    assert unique.shape == (2, 4)
    assert (unique[0, :2] > 0.3).all()
    assert (unique[1, 2:] > 0.3).all()
    assert (np.abs([unique[0, 2:], unique[1, :2]]) < 0.05).all()
    cells = table.set_index(["roi", "band"])
    assert cells.loc[("shape", "shape"), "p"] < 0.01
    assert cells.loc[("shape", "shape"), "ci_low"] > 0.2
    np.testing.assert_allclose(cells.loc[("colour", "colour"), "unique"], unique[1, 2:].mean(), rtol=1e-6)
    centred = np.concatenate([design.Y[t] - design.Y[t].mean(0) for _, t in design.folds])
    np.testing.assert_allclose(cells.loc[("shape", "shape"), "r2"], r2(centred, prediction)[:2].mean(), rtol=1e-5)


def test_more_images_predict_better_and_all_of_them_as_the_study_does(spaces, design):
    inputs, estimator = Inputs(spaces, "features"), RidgeCV(random_state=0)
    table = efficiency(estimator, inputs, design, ROIS, (15, 120), 5, 0)
    score = table.pivot(index="roi", columns="n_images", values="score")
    assert (score[120] > score[15] + 0.05).all()
    assert (table["ci_low"] <= table["score"]).all()
    assert (table["score"] <= table["ci_high"]).all()
    r = []
    for train, test in design.folds:
        one = Design(design.stimulus, design.Y, [(train, test)], design.groups)
        r.append(pearson_r(design.Y[test], predict_folds(estimator, inputs, one)[0])[:2].mean())
    np.testing.assert_allclose(score.loc["shape", 120], np.mean(r), atol=1e-5)


def test_some_images_are_whole_pictures_and_the_same_for_the_same_seed(rng):
    groups = np.repeat(np.arange(20), 2)
    train = np.arange(40)
    chosen = some_images(train, groups, 10, np.random.default_rng(3))
    assert len(chosen) == 10
    assert (np.bincount(groups[chosen], minlength=20) % 2 == 0).all()
    np.testing.assert_array_equal(chosen, some_images(train, groups, 10, np.random.default_rng(3)))
    assert set(some_images(train[5:], groups, 35, rng)) == set(train[5:])


def test_contexts_are_no_longer_than_the_images_there_are(design, rng):
    """A data-efficiency curve goes below the context size that an in-context encoder was given."""
    config = InContextConfig(10, 8, 1, n_heads=1, ffn=8, n_tokens=1, min_context=5)
    estimator = InContextEncoder(InContextNetwork(config), normalize=True, standardize=True, context_size=60)
    inputs = Inputs({"embedding": rng.standard_normal((150, 10))}, "embedding")
    assert fit_rows(estimator, inputs, design, np.arange(120))[0].context_size_ == 60
    assert fit_rows(estimator, inputs, design, np.arange(60))[0].context_size_ == 60
    assert fit_rows(estimator, inputs, design, np.arange(20))[0].context_size_ == 20
    assert estimator.context_size == 60
