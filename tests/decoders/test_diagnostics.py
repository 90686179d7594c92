"""Diagnostics against planted truths: spans, overlaps, leaks, held-out categories."""

import numpy as np
import pandas as pd
import pytest
import torch

from neuro.decoders.diagnostics import (
    leak_test,
    leave_category_out,
    output_dimension_collapse,
    require_no_duplicates,
    train_test_overlap,
)
from neuro.errors import EmptySelection, ShapeMismatch, SplitLeakage


def ridge(X, Y, Z, alpha=10.0):
    x0, y0 = X.mean(0), Y.mean(0)
    K = (X - x0) @ (X - x0).T
    return (Z - x0) @ (X - x0).T @ np.linalg.solve(K + alpha * np.eye(len(X)), Y - y0) + y0


def test_ridge_predictions_lie_in_the_span_of_the_training_targets(rng):
    X, Z = rng.standard_normal((20, 8)), rng.standard_normal((6, 8))
    Y, T = rng.standard_normal((20, 50)), rng.standard_normal((6, 50))
    report = output_dimension_collapse(Y, T, ridge(X, Y, Z))
    assert report.residual < 1e-12
    assert report.collapsed()
    assert report.rank == 19


def test_predictions_elsewhere_are_not_called_collapsed(rng):
    Y, T = rng.standard_normal((20, 50)), rng.standard_normal((6, 50))
    assert not output_dimension_collapse(Y, T, T).collapsed()
    with pytest.raises(ValueError, match="no predictions"):
        output_dimension_collapse(Y, T).collapsed()


def test_a_planted_orthogonal_part_is_the_share_outside(rng):
    basis = np.linalg.qr(rng.standard_normal((30, 30)))[0]
    Y = rng.standard_normal((40, 5)) @ basis[:5] + 2
    inside = rng.standard_normal((9, 5)) @ basis[:5]
    outside = rng.standard_normal((9, 25)) @ basis[5:]
    report = output_dimension_collapse(Y, Y.mean(0) + inside + outside)
    assert report.rank == 5
    share = (outside**2).sum(1) / ((inside + outside) ** 2).sum(1)
    np.testing.assert_allclose(report.outside.per_item, share, atol=1e-12)
    assert float(report.outside) == pytest.approx((outside**2).sum() / ((inside + outside) ** 2).sum())
    np.testing.assert_allclose(report.best, Y.mean(0) + inside, atol=1e-12)
    expected = [np.corrcoef(a, a + b)[0, 1] for a, b in zip(inside, outside, strict=True)]
    np.testing.assert_allclose(report.best_correlation.per_item, expected, atol=1e-12)


def test_no_linear_decoder_beats_the_best_prediction_in_the_span(rng):
    X, Z = rng.standard_normal((15, 40)), rng.standard_normal((6, 40))
    W = rng.standard_normal((40, 60))
    Y, T = X @ W, Z @ W
    best = output_dimension_collapse(Y, T).best
    for alpha in (1e-6, 1.0, 100.0):
        assert ((ridge(X, Y, Z, alpha) - T) ** 2).sum() > ((best - T) ** 2).sum()


def test_more_independent_targets_than_features_leave_nothing_outside(rng):
    report = output_dimension_collapse(rng.standard_normal((50, 3, 4)), rng.standard_normal((5, 3, 4)))
    assert report.rank == 12
    assert float(report.outside) < 1e-24
    assert report.best.shape == (5, 3, 4)
    assert float(report.best_correlation) == pytest.approx(1)


def test_an_item_at_the_training_mean_has_no_share_and_is_inside(rng):
    Y = rng.standard_normal((10, 4))
    report = output_dimension_collapse(Y, np.stack([Y.mean(0), Y[0]]), np.stack([Y.mean(0), Y[0]]))
    assert np.isnan(report.outside.per_item[0])
    assert report.residual < 1e-12


def test_collapse_of_wrong_shapes_is_refused(rng):
    with pytest.raises(ShapeMismatch, match="test_targets have 4 features per item, the training targets 3"):
        output_dimension_collapse(np.ones((5, 3)), np.ones((5, 4)))
    with pytest.raises(EmptySelection, match="two training items"):
        output_dimension_collapse(np.ones((1, 3)), np.ones((5, 3)))
    with pytest.raises(ValueError, match="finite; 1 values"):
        output_dimension_collapse(np.ones((4, 3)), np.array([[1.0, np.nan, 0]]))


def test_copies_are_near_duplicates_and_fresh_items_are_not(rng):
    train = rng.standard_normal((300, 20))
    test = np.concatenate([train[[5, 7]] + 1e-3 * rng.standard_normal((2, 20)), rng.standard_normal((50, 20))])
    report = train_test_overlap(train, test, n_clusters=5)
    assert {0, 1} <= set(report.near_duplicates)
    assert len(report.near_duplicates) < 6
    np.testing.assert_array_equal(report.nearest_train[:2], [5, 7])
    assert report.nearest_similarity[:2].min() > 0.999


def test_nearest_neighbours_are_those_of_a_dense_search(rng, monkeypatch):
    monkeypatch.setattr("neuro.decoders._overlap.ROWS", 7)
    train, test = rng.standard_normal((30, 4)), rng.standard_normal((20, 4))
    report = train_test_overlap(train, test, n_clusters=2)
    a, b = (x - train.mean(0) for x in (train, test))
    cosine = (b @ a.T) / np.linalg.norm(b, axis=1)[:, None] / np.linalg.norm(a, axis=1)
    np.testing.assert_array_equal(report.nearest_train, cosine.argmax(1))
    own = (a @ a.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(a, axis=1))
    np.fill_diagonal(own, -2)
    np.testing.assert_allclose(report.usual_similarity, own.max(1))


def test_items_of_an_unseen_cluster_are_novel(rng):
    centres = 10 * np.eye(4, 6)
    train = centres[:3].repeat(20, 0) + 0.1 * rng.standard_normal((60, 6))
    test = centres.repeat(5, 0) + 0.1 * rng.standard_normal((20, 6))
    report = train_test_overlap(train, test, n_clusters=4)
    np.testing.assert_array_equal(report.novel_items, np.arange(15, 20))
    assert report.summary()["in_shared_clusters"] == 0.75
    same = train_test_overlap(train, train[::2] + 0.1, n_clusters=3)
    assert same.in_shared_clusters == 1


def test_overlap_of_wrong_shapes_is_refused():
    with pytest.raises(ShapeMismatch, match="Flatten tokens"):
        train_test_overlap(np.ones((4, 2, 3)), np.ones((4, 2, 3)))
    with pytest.raises(EmptySelection, match="40 clusters"):
        train_test_overlap(np.ones((4, 3)), np.ones((4, 3)))


def test_a_picture_under_two_names_is_found(rng):
    train = rng.integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    test = rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    require_no_duplicates(train, test)
    with pytest.raises(SplitLeakage, match=r"1 of 3 test items .* test 'c' is train 'p3'"):
        require_no_duplicates(
            train, [test[0], test[1], train[3]], train_ids=[f"p{i}" for i in range(5)], test_ids=list("abc")
        )
    with pytest.raises(SplitLeakage, match="2 of 2 test items are"):
        require_no_duplicates(torch.tensor(train), torch.tensor(train[:2]))


def test_equal_bytes_of_another_shape_or_type_are_not_duplicates():
    require_no_duplicates([np.zeros((2, 3), np.float32)], [np.zeros((3, 2), np.float32), np.zeros((2, 3), np.int32)])


def test_leak_test_passes_a_decoder_of_single_items_and_reports_rounding(rng):
    W = rng.standard_normal((8, 5)).astype(np.float32)
    X = rng.standard_normal((6, 8)).astype(np.float32)
    assert leak_test(lambda X: {"a": X @ W, "b": torch.tensor(X)}, X, 10 * X[0]) < 1e-5
    assert leak_test(lambda X: X @ torch.tensor(W), torch.tensor(X), torch.tensor(X[:1])) < 1e-5


def test_leak_test_catches_a_network_that_normalises_over_the_batch(rng):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 5), torch.nn.BatchNorm1d(5))
    X = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(SplitLeakage, match="standard deviations when another item"):
        leak_test(net.train(), X, 10 * X[0])
    assert leak_test(net.eval(), X, 10 * X[0]) < 1e-5


def test_leak_test_catches_what_shows_only_for_single_items(rng):
    X = rng.standard_normal((6, 8))

    def centred_unless_alone(Z):
        return Z if len(Z) == 1 else Z - X[0]

    with pytest.raises(SplitLeakage, match="when an item is tested alone"):
        leak_test(centred_unless_alone, X, X[1])

    def refuses_one(Z):
        if len(Z) == 1:
            raise ValueError("n = 1")
        return Z

    with pytest.raises(SplitLeakage, match="cannot be predicted alone"):
        leak_test(refuses_one, X, X[1])


def test_leak_test_treats_new_nans_as_a_leak(rng):
    X = rng.standard_normal((3, 2))
    with pytest.raises(SplitLeakage, match="inf"):
        leak_test(lambda Z: Z if len(Z) < 4 else np.full_like(Z, np.nan), X, X[0])


def test_leak_test_says_when_rows_are_missing(rng):
    X = rng.standard_normal((3, 2))
    with pytest.raises(ShapeMismatch, match="one row for each of 3"):
        leak_test(lambda Z: Z[1:], X, X[0])
    with pytest.raises(ShapeMismatch, match="extra_row must be"):
        leak_test(lambda Z: Z, X, np.ones(3))
    with pytest.raises(EmptySelection):
        leak_test(lambda Z: Z, X[:0], np.ones(2))


def test_held_out_categories_partition_labelled_items(rng):
    labels = rng.integers(0, 4, 30)
    splits = list(leave_category_out(labels))
    assert [s.category for s in splits] == [0, 1, 2, 3]
    for s in splits:
        np.testing.assert_array_equal(np.sort(np.concatenate([s.train, s.test])), np.arange(30))
        assert set(labels[s.test]) == {s.category}
        assert s.category not in labels[s.train]


def test_an_item_of_several_categories_never_trains_when_one_is_held_out():
    table = pd.DataFrame({"dog": [1, 1, 0, 0], "cat": [1, 0, 1, 0]}).astype(bool)
    got = {s.category: (s.train.tolist(), s.test.tolist()) for s in leave_category_out(table)}
    assert got == {"cat": ([1, 3], [0, 2]), "dog": ([2, 3], [0, 1])}
    sets = [{"dog", "cat"}, {"dog"}, {"cat"}, set()]
    assert {s.category: (s.train.tolist(), s.test.tolist()) for s in leave_category_out(sets)} == got


def test_rare_categories_stay_in_training():
    splits = list(leave_category_out(["a", "a", "b", "c", "c"], min_items=2))
    assert [s.category for s in splits] == ["a", "c"]
    assert 2 in splits[0].train
    with pytest.raises(EmptySelection, match="none of 1 categories"):
        leave_category_out(["a", "a"])


def test_rows_of_one_stimulus_must_agree_on_its_category():
    list(leave_category_out(["a", "a", "b"], groups=[1, 1, 2]))
    with pytest.raises(SplitLeakage, match="stimulus 1 has rows inside and outside category 'a'"):
        leave_category_out(["a", "b", "b"], groups=np.array([1, 1, 2]).tolist())
    with pytest.raises(ShapeMismatch, match="groups"):
        leave_category_out(["a", "b"], groups=[1])
