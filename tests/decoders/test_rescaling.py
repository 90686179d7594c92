"""Scaling of predictions: what each policy restores, and that none but the labelled one lets test items meet."""

import numpy as np
import pytest
import torch

from neuro.decoders.diagnostics import leak_test
from neuro.decoders.rescaling import (
    POLICIES,
    TargetStatistics,
    describe_rescaling,
    held_out_predictions,
    rescale_predictions,
)
from neuro.errors import EmptySelection, ShapeMismatch, SplitLeakage


@pytest.fixture
def data(rng):
    train = rng.standard_normal((40, 3, 4)) * 2 + 5
    held_out = 0.3 * train + rng.standard_normal((40, 3, 4)) * 0.1
    return train, held_out, 0.3 * rng.standard_normal((7, 3, 4)) + 1


def rescale(policy, train, held_out):
    return lambda p: rescale_predictions(p, policy, train=train, held_out=held_out, reference_sd=2.5)


@pytest.mark.parametrize("ddof", [0, 1])
def test_transductive_output_has_the_training_mean_and_spread_in_every_column(data, ddof):
    train, _, p = data
    out = rescale_predictions(p, "transductive", train=TargetStatistics.fit(train, ddof=ddof))
    np.testing.assert_allclose(out.mean(0), train.mean(0), atol=1e-12)
    np.testing.assert_allclose(out.std(0, ddof=ddof), train.std(0, ddof=ddof), atol=1e-12)


def test_transductive_refuses_a_single_item(data):
    train, _, p = data
    with pytest.raises(ValueError, match="one item has no spread"):
        rescale_predictions(p[:1], "transductive", train=train)


def test_only_transductive_is_labelled_as_leaking():
    assert {p for p in POLICIES if describe_rescaling(p)["leaks"]} == {"transductive"}
    assert "LEAKS" in describe_rescaling("transductive")["meaning"]


@pytest.mark.parametrize("policy", [p for p in POLICIES if p != "transductive"])
def test_no_other_policy_lets_a_further_test_item_change_anything(data, policy):
    train, held_out, p = data
    assert leak_test(rescale(policy, train, held_out), p, 100 * p[:1]) == 0


def test_the_leak_test_catches_transductive(data):
    train, held_out, p = data
    with pytest.raises(SplitLeakage):
        leak_test(rescale("transductive", train, held_out), p, 100 * p[:1])


def test_none_returns_equal_values_in_a_new_array(data):
    p = data[2]
    out = rescale_predictions(p)
    assert out is not p
    np.testing.assert_array_equal(out, p)
    out[:] = 0
    assert p.any()


def test_train_fold_of_the_held_out_predictions_themselves_restores_the_targets_statistics(data):
    train, held_out, _ = data
    out = rescale_predictions(held_out, "train_fold", train=train, held_out=held_out)
    np.testing.assert_allclose(out.mean(0), train.mean(0), atol=1e-12)
    np.testing.assert_allclose(out.std(0), train.std(0), atol=1e-12)


def test_train_fold_undoes_a_known_shrinkage(rng):
    truth = rng.standard_normal((5, 3))
    train = rng.standard_normal((50, 3)) * 2
    m = train.mean(0)
    out = rescale_predictions(m + 0.1 * (truth - m), "train_fold", train=train, held_out=m + 0.1 * (train - m))
    np.testing.assert_allclose(out, truth, atol=1e-12)


def test_reference_gives_every_item_the_reference_spread_and_keeps_its_mean(data):
    p = data[2]
    out = rescale_predictions(p, "reference", reference_sd=2.5)
    np.testing.assert_allclose(out.reshape(7, -1).std(1, ddof=1), 2.5)
    np.testing.assert_allclose(out.reshape(7, -1).mean(1), p.reshape(7, -1).mean(1))
    shifted = rescale_predictions(p, "reference", reference_sd=2.5, reference_mean=-1.0)
    np.testing.assert_allclose(shifted.reshape(7, -1).mean(1), -1)


def test_a_shared_offset_is_forgiven_by_transductive_alone(data):
    train, held_out, p = data

    def rows(policy, x):
        return rescale_predictions(x, policy, train=train, held_out=held_out)

    np.testing.assert_allclose(rows("transductive", p + 3), rows("transductive", p), atol=1e-10)
    assert np.abs(rows("train_fold", p + 3) - rows("train_fold", p)).min() > 1


def test_constant_predictions_become_the_training_mean(data):
    train = data[0]
    out = rescale_predictions(np.full((5, 3, 4), 0.7), "transductive", train=train)
    np.testing.assert_allclose(out, np.broadcast_to(train.mean(0), out.shape))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_give_what_arrays_give(data, policy, dtype):
    train, held_out, p = data
    p = p.astype(dtype)
    before = p.copy()
    expected = rescale(policy, train, held_out)(p)
    got = rescale(policy, train, held_out)(torch.tensor(p))
    assert isinstance(got, torch.Tensor)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5 if dtype == np.float32 else 1e-12)
    assert got.numpy().dtype == dtype
    assert expected.dtype == dtype
    np.testing.assert_array_equal(p, before)


def test_statistics_in_blocks_are_the_statistics_of_the_whole(rng, monkeypatch):
    train = rng.standard_normal((20, 5, 7)).astype(np.float32)
    monkeypatch.setattr("neuro.decoders.rescaling.COLUMNS", 4)
    s = TargetStatistics.fit(train, ddof=1)
    np.testing.assert_allclose(s.mean, train.astype(float).mean(0), rtol=1e-12)
    np.testing.assert_allclose(s.sd, train.astype(float).std(0, ddof=1), rtol=1e-12)
    with pytest.raises(ValueError, match="read-only"):
        s.mean[0] = 1


def test_statistics_know_which_stimuli_they_were_taken_from(rng):
    s = TargetStatistics.fit(rng.standard_normal((4, 2)), ids=[10, 11, 12, 13])
    s.require_disjoint([1, 2])
    with pytest.raises(SplitLeakage, match=r"1 test stimuli .* \[12\]"):
        s.require_disjoint([1, 12])
    with pytest.raises(ValueError, match="do not know their stimuli"):
        TargetStatistics.fit(np.zeros((4, 2))).require_disjoint([1])


def test_held_out_predictions_never_see_the_stimulus_they_predict():
    groups = np.repeat(np.arange(10), 3)
    Y = groups[:, None].astype(float)

    def fit_predict(X, Y_fit, Z):
        assert not set(np.unique(Y_fit)) & set(Z.ravel())
        return Z + 0.5

    out = held_out_predictions(fit_predict, Y, Y, groups=groups, n_folds=4)
    np.testing.assert_array_equal(out, Y + 0.5)


def test_held_out_predictions_of_ridge_shrink_more_than_those_in_sample(rng):
    X, W = rng.standard_normal((60, 30)), rng.standard_normal((30, 4))
    Y = X @ W + 5 * rng.standard_normal((60, 4))

    def ridge(X, Y, Z):
        return Z @ np.linalg.solve(X.T @ X + 10 * np.eye(30), X.T @ Y)

    held_out = held_out_predictions(ridge, X, Y)

    def error(p):
        return ((p - Y) ** 2).mean()

    assert error(held_out) > 2 * error(ridge(X, Y, X))


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"policy": "zscore"}, ValueError, "policy must be 'none', 'train_fold'"),
        ({"policy": "train_fold"}, ValueError, "needs train"),
        ({"policy": "train_fold", "train": np.zeros((3, 3))}, ValueError, "needs held_out"),
        ({"policy": "transductive", "train": np.zeros((3, 4))}, ShapeMismatch, r"one item of train is \(4,\)"),
        ({"policy": "reference"}, ValueError, "reference_sd"),
        ({"policy": "reference", "reference_sd": -1.0}, ValueError, "positive"),
    ],
)
def test_a_policy_says_what_it_lacks(kwargs, error, match):
    with pytest.raises(error, match=match):
        rescale_predictions(np.ones((2, 3)), **kwargs)


def test_wrong_shapes_are_named():
    with pytest.raises(ShapeMismatch, match=r"\(1, \.\.\.\)"):
        rescale_predictions(np.ones(3))
    with pytest.raises(EmptySelection, match="no spread"):
        TargetStatistics.fit(np.ones((1, 3)), ddof=1)
    with pytest.raises(ShapeMismatch, match="ids must name 3"):
        TargetStatistics.fit(np.ones((3, 3)), ids=[1])
    with pytest.raises(EmptySelection, match="5 folds"):
        held_out_predictions(lambda *a: a[2], np.ones((3, 1)), np.ones((3, 1)))
    with pytest.raises(ShapeMismatch, match="X has 3 rows, Y has 4"):
        held_out_predictions(lambda *a: a[2], np.ones((3, 1)), np.ones((4, 1)))
