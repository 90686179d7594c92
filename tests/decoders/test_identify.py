import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.decoders.metrics.identify import (
    category_corrected_identification,
    chance_corrected,
    correlation_distance,
    expected_from_category,
    expected_top_k,
    feature_similarity,
    n_way,
    two_way_from_similarity,
    two_way_identification,
)
from neuro.decoders.metrics.result import MetricResult
from neuro.errors import ShapeMismatch

ANCHORS = ["recon", "true"]


def by_loop(recon, true, anchor):
    """Pairwise identification with one corrcoef per comparison."""
    n = len(recon)
    c = [[np.corrcoef(true[i].ravel(), recon[j].ravel())[0, 1] for j in range(n)] for i in range(n)]
    if anchor == "recon":
        return np.mean([[c[i][j] < c[j][j] for i in range(n) if i != j] for j in range(n)], axis=1)
    return np.mean([[c[i][j] < c[i][i] for j in range(n) if i != j] for i in range(n)], axis=1)


@pytest.mark.parametrize("anchor", ANCHORS)
def test_two_way_is_the_count_over_all_pairs(rng, anchor):
    true = rng.standard_normal((12, 3, 4, 2))
    recon = true + 2 * rng.standard_normal(true.shape)
    result = two_way_identification(recon, true, anchor)
    np.testing.assert_allclose(result.per_item, by_loop(recon, true, anchor), atol=1e-12)
    assert result.value == pytest.approx(result.per_item.mean())
    assert (result.n, result.chance) == (12, 0.5)
    assert anchor in result.protocol


@pytest.mark.parametrize(
    ("anchor", "ties", "value"),
    [
        ("recon", "strict", 0.5),
        ("recon", "half", 0.5),
        ("true", "strict", 0.0),
        ("true", "half", 0.5),
        ("true", "win", 1),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_constant_prediction_separates_the_anchorings(rng, anchor, ties, value, dtype):
    true = rng.standard_normal((101, 37)).astype(dtype)
    recon = np.tile(rng.standard_normal(37).astype(dtype), (101, 1))
    result = two_way_identification(recon, true, anchor, ties)
    assert result.value == pytest.approx(value, abs=1e-12)
    assert result.details["tied_comparisons"] == (101 * 100 if anchor == "true" else 0)


@pytest.mark.parametrize("anchor", ANCHORS)
def test_perfect_decoding_scores_one_and_sign_flipped_zero(rng, anchor):
    x = rng.standard_normal((30, 50))
    x -= x.mean(1, keepdims=True)
    assert two_way_identification(x, x, anchor).value == 1
    assert two_way_identification(-x, x, anchor).value == 0


def test_hubs_hurt_only_the_recon_anchored_score(rng):
    true = rng.standard_normal((200, 100))
    recon = 0.3 * true + 0.9 * true[0] + 0.3 * rng.standard_normal(true.shape)
    at_recon, at_true = (two_way_identification(recon, true, a) for a in ANCHORS)
    assert at_recon.value < at_true.value
    assert at_recon.ci[1] < 1


def test_a_single_distractor_that_may_be_the_item_itself_has_its_own_chance(rng):
    similarities = rng.standard_normal((982, 982))
    result = two_way_from_similarity(similarities, "true", "win", "one")
    assert result.chance == pytest.approx(0.500509, abs=5e-7)
    lost = rng.standard_normal((40, 40))
    np.fill_diagonal(lost, -10)
    means = [two_way_from_similarity(lost, "true", "win", "one", rng=i).value for i in range(25)]
    assert np.mean(means) == pytest.approx(1 / 40, abs=4 * np.sqrt(1 / 40 / (25 * 40)))
    some = similarities[:9, :9]
    items = two_way_from_similarity(some, "true", "win").per_item
    drawn = [two_way_from_similarity(some, "true", "win", "one", rng=i).per_item for i in range(25)]
    np.testing.assert_allclose(np.mean(drawn, axis=0), 1 / 9 + 8 / 9 * items, atol=4 * 0.5 / np.sqrt(25))


def test_category_knowledge_alone_gives_the_expectation_for_k_categories(rng):
    k, per = 5, 60
    kind = np.repeat(np.arange(k), per)
    centres = rng.standard_normal((k, 40))
    true = centres[kind] + 0.3 * rng.standard_normal((k * per, 40))
    recon = centres[kind] + 1.5 * rng.standard_normal((k * per, 40))
    out = category_corrected_identification(recon, true, kind)
    q = out["between_categories"].value
    assert 0.6 < q < 0.999
    assert out["within_category"].value == pytest.approx(0.5, abs=0.05)
    assert out["two_way"].value == pytest.approx(expected_from_category(q, k), abs=0.012)
    assert out["expected_from_category"].value == pytest.approx(expected_from_category(q, k), abs=0.003)
    assert out["two_way"].value == pytest.approx(two_way_identification(recon, true).value)


def test_the_split_by_category_adds_up(rng):
    kind = np.array(["a"] * 3 + ["b"] * 7 + ["c"])
    true, recon = rng.standard_normal((2, 11, 8))
    out = category_corrected_identification(recon, true, kind, "true")
    same = np.array([(kind == c).sum() - 1 for c in kind]) / 10
    within = np.where(same > 0, out["within_category"].per_item, 0)
    together = same * np.nan_to_num(within) + (1 - same) * out["between_categories"].per_item
    np.testing.assert_allclose(together, out["two_way"].per_item)
    assert np.isnan(out["within_category"].per_item[-1])
    assert out["within_category"].details["undefined_items"] == 1


def test_permutation_p_values_are_uniform_without_signal_and_small_with_it(rng):
    p = []
    for i in range(50):
        true, recon = rng.standard_normal((2, 10, 6))
        p.append(two_way_identification(recon, true, n_permutations=99, rng=i).details["p_value"])
    assert np.mean(p) == pytest.approx(0.5, abs=4 / np.sqrt(12 * 50))
    assert np.mean(np.array(p) <= 0.2) == pytest.approx(0.2, abs=4 * 0.4 / np.sqrt(50))
    true = rng.standard_normal((20, 30))
    assert two_way_identification(true, true, n_permutations=199).details["p_value"] == pytest.approx(1 / 200)


def test_permutation_null_is_identification_of_relabelled_images(rng):
    true, recon = rng.standard_normal((2, 4, 6))
    scores = [two_way_identification(recon, true[list(o)], "recon").value for o in itertools.permutations(range(4))]
    observed = two_way_identification(recon, true, n_permutations=6000, rng=1)
    exact = np.mean(np.array(scores) >= observed.value - 1e-9)
    assert observed.details["p_value"] == pytest.approx(exact, abs=4 * 0.5 / np.sqrt(6000))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 100), anchor=st.sampled_from(ANCHORS))
def test_identification_ignores_item_order_units_order_and_positive_affine_maps(seed, scale, anchor):
    rng = np.random.default_rng(seed)
    true = rng.standard_normal((9, 12))
    recon = true + rng.standard_normal((9, 12))
    before = two_way_identification(recon, true, anchor)
    order, units = rng.permutation(9), rng.permutation(12)
    gains, shifts = rng.uniform(0.5, 2, (2, 9, 1)) * scale, rng.standard_normal((2, 9, 1))
    moved = two_way_identification(
        (recon * gains[0] + shifts[0])[order][:, units], (true * gains[1] + shifts[1])[order][:, units], anchor
    )
    np.testing.assert_allclose(moved.per_item, before.per_item[order], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_give_the_same_as_arrays_and_nothing_is_written_to(rng, dtype):
    true = rng.standard_normal((15, 3, 8)).astype(dtype)
    recon = (true + rng.standard_normal(true.shape)).astype(dtype)
    copies = true.copy(), recon.copy()
    a = two_way_identification(recon, true)
    b = two_way_identification(torch.tensor(recon, requires_grad=True), torch.tensor(true))
    assert a.value == b.value
    assert np.array_equal(true, copies[0])
    assert np.array_equal(recon, copies[1])


def test_constant_features_are_undefined_and_counted(rng):
    true = rng.standard_normal((8, 5)).astype(np.float32)
    recon = true + 0.1
    recon[3] = 0.7
    result = two_way_identification(recon, true)
    assert np.isnan(result.per_item[3])
    assert result.value == 1
    assert result.details["undefined_items"] == 1
    assert two_way_identification(recon, true, "true").value == 1


def test_bad_input_is_refused_in_words(rng):
    x = rng.standard_normal((6, 4))
    with pytest.raises(ShapeMismatch, match="at least 2"):
        two_way_identification(x[:1], x[:1])
    with pytest.raises(ShapeMismatch, match=r"\(6, 4\) and \(5, 4\)"):
        two_way_identification(x, x[:5])
    bad = x.copy()
    bad[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN.*1 of 6.*item 2"):
        two_way_identification(bad, x)
    with pytest.raises(ValueError, match="anchor must be 'recon' or 'true'"):
        two_way_identification(x, x, "both")
    with pytest.raises(ShapeMismatch, match="one category for each"):
        category_corrected_identification(x, x, [1, 2])
    with pytest.raises(ValueError, match="at least two"):
        category_corrected_identification(x, x, ["cat"] * 6)


@pytest.mark.parametrize("measure", [correlation_distance, feature_similarity])
@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_chance_of_a_paired_measure_is_its_mean_over_wrong_pairs(rng, measure, metric):
    true = rng.standard_normal((7, 30)) + 0.5
    recon = true + rng.standard_normal(true.shape)
    result = measure(recon, true, metric=metric)
    values = [[measure(recon[[i, i]], true[[j, j]], metric=metric).per_item[0] for j in range(7)] for i in range(7)]
    wrong = np.array(values)[~np.eye(7, dtype=bool)]
    assert result.chance == pytest.approx(wrong.mean())
    assert result.value == pytest.approx(np.diagonal(values).mean())
    assert result.higher_is_better == (measure is feature_similarity)


def test_correlation_distance_is_one_minus_pearson(rng):
    true, recon = rng.standard_normal((2, 5, 20))
    expected = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(true, recon, strict=True)]
    np.testing.assert_allclose(correlation_distance(recon, true).per_item, expected)


def test_n_way_draws_agree_with_the_exact_expectation(rng):
    logits = rng.standard_normal((40, 60))
    classes = rng.integers(0, 60, 40)
    logits[np.arange(40), classes] += 1.5
    exact = n_way(logits, classes, 10, 2, trials=None)
    drawn = n_way(logits, classes, 10, 2, trials=4000)
    np.testing.assert_allclose(drawn.per_item, exact.per_item, atol=4 * 0.5 / np.sqrt(4000))
    assert exact.chance == 0.2


def test_n_way_by_enumeration_of_all_draws(rng):
    p = rng.standard_normal((3, 7)).round(1)
    p[0, 1] = p[0, 2]
    classes = np.array([1, 0, 6])
    for row, c, got in zip(p, classes, n_way(p, classes, 4, 2, trials=None).per_item, strict=True):
        hits = []
        for others in itertools.combinations([i for i in range(7) if i != c], 3):
            b, t = (row[list(others)] > row[c]).sum(), (row[list(others)] == row[c]).sum()
            hits.append(np.clip((2 - b) / (t + 1), 0, 1))
        assert got == pytest.approx(np.mean(hits))


@pytest.mark.parametrize("trials", [None, 3000])
def test_n_way_of_a_classifier_that_knows_and_of_one_that_does_not(trials):
    classes = np.arange(20)
    assert n_way(np.eye(20), classes, 20, 1, trials).value == 1
    know_nothing = n_way(np.full((20, 20), 0.05), classes, 10, 3, trials)
    assert know_nothing.value == pytest.approx(0.3, abs=0.01)
    assert know_nothing.details["tied_items"] == 20


def test_n_way_refuses_what_cannot_be(rng):
    p = rng.random((4, 5))
    with pytest.raises(ValueError, match="at most the 5 classes"):
        n_way(p, np.zeros(4, int), 50)
    with pytest.raises(ValueError, match=r"0\.\.4"):
        n_way(p, np.full(4, 5), 3)
    with pytest.raises(ShapeMismatch, match="integer class"):
        n_way(p, np.zeros(4), 3)


def test_top_k_over_all_pools_by_enumeration(rng):
    scores = np.array([3.0, 2.0, 2.0, 2.0, 1.0, 0.0])
    for item, k in itertools.product(range(6), (1, 2)):
        hits = []
        for others in itertools.combinations([i for i in range(6) if i != item], 3):
            b, t = (scores[list(others)] > scores[item]).sum(), (scores[list(others)] == scores[item]).sum()
            hits.append(np.clip((k - b) / (t + 1), 0, 1))
        better = np.array([(scores > scores[item]).sum()])
        tied = np.array([(scores == scores[item]).sum() - 1])
        assert expected_top_k(better, tied, 6, 4, k)[0] == pytest.approx(np.mean(hits))


def test_chance_correction_maps_chance_to_zero_and_the_ceiling_to_one():
    def result(value):
        return MetricResult("m", value, "p", 2, 0.5, (0.5, 0.9), np.array([0.5, 0.9]))

    assert chance_corrected(result(0.5), 0.9).value == 0
    assert chance_corrected(result(0.9), 0.9).value == pytest.approx(1)
    corrected = chance_corrected(result(0.7), 0.9)
    assert corrected.ci == (0, pytest.approx(1))
    assert "0.9" in corrected.protocol
    with pytest.raises(ValueError, match="differ from chance"):
        chance_corrected(result(0.7), 0.5)
    with pytest.raises(ValueError, match="no chance"):
        chance_corrected(MetricResult("m", 1.0, "p", 2))
