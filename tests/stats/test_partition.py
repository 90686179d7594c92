"""Variance partitions against planted regions of a Venn diagram, nested regressions, and explicit resampling."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats import METRICS, bootstrap_weights, structured_partition, variance_partition

NAMES = ("motion", "shape", "text", "time")


def venn(names):
    return [c for size in range(1, len(names) + 1) for c in combinations(names, size)]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_terms_are_the_regions_that_were_planted(n_sets, seed):
    """Give every region of the diagram an area, suppressors included; a model reaches the regions it touches."""
    rng = np.random.default_rng(seed)
    names = NAMES[:n_sets]
    area = {region: rng.normal(0.05, 0.05, 3) for region in venn(names)}
    asked = []

    def score(subset):
        asked.append(subset)
        return sum((a for region, a in area.items() if set(region) & set(subset)), np.zeros(3))

    found = variance_partition(score, names)
    assert sorted(asked) == sorted(area)
    for region, a in area.items():
        np.testing.assert_allclose(found.of(*region), a, atol=1e-12)
        np.testing.assert_allclose(found.of(*reversed(region)), a, atol=1e-12)
    np.testing.assert_allclose(found.terms.sum(0), score(names), atol=1e-12)
    assert found.p is None


def test_two_sets_are_the_textbook_differences(rng):
    r2 = {"a": rng.uniform(0, 0.4, 5), "b": rng.uniform(0, 0.4, 5), ("b", "a"): rng.uniform(0.4, 0.6, 5)}
    found = variance_partition(r2, ["a", "b"], rois={"left": [0, 1], "right": [2, 3, 4]})
    np.testing.assert_allclose(found.of("a"), r2["b", "a"] - r2["b"])
    np.testing.assert_allclose(found.of("b"), r2["b", "a"] - r2["a"])
    np.testing.assert_allclose(found.of("a", "b"), r2["a"] + r2["b"] - r2["b", "a"])
    table = found.to_frame().set_index(["roi", "sets"])
    assert table.loc[("right", "a+b"), "term"] == pytest.approx(found.of("a", "b")[2:].mean())
    assert table.loc[("left", "a"), "r2"] == pytest.approx(r2["a"][:2].mean())
    assert table[["ci_low", "ci_high", "p"]].isna().all().all()


def regression(X, Y, X_test):
    A = np.c_[X, np.ones(len(X))]
    return np.c_[X_test, np.ones(len(X_test))] @ np.linalg.lstsq(A, Y, rcond=None)[0]


def planted(rng, n, v):
    """Three feature sets: one column shared by all, one by the first two, one private each; weights 1, noise 1."""
    columns = rng.standard_normal((n, 5))
    sets = {"a": columns[:, [0, 1, 2]], "b": columns[:, [0, 1, 3]], "c": columns[:, [0, 4]]}
    return sets, columns.sum(1, keepdims=True) + rng.standard_normal((n, v))


def test_regressions_find_the_planted_shares_within_their_intervals(rng):
    truth = {("a",): 1, ("b",): 1, ("c",): 1, ("a", "b"): 1, ("a", "b", "c"): 1, ("a", "c"): 0, ("b", "c"): 0}
    covered = {k: 0 for k in truth}
    for seed in range(40):
        sets, Y = planted(rng, 600, 2)

        def predict(subset, sets=sets, Y=Y):
            X = np.concatenate([sets[name] for name in subset], axis=1)
            return regression(X[:300], Y[:300], X[300:])

        found = variance_partition(predict, ["a", "b", "c"], Y=Y[300:], n_bootstraps=200, seed=seed)
        for k, expected in truth.items():
            row = found.subsets.index(k)
            assert found.roi_terms[row, 0] == pytest.approx(expected / 6, abs=0.11)
            covered[k] += found.roi_low[row, 0] <= expected / 6 <= found.roi_high[row, 0]
    shares = {k: c / 40 for k, c in covered.items()}
    assert min(shares[k] for k in truth if truth[k]) > 0.8, shares
    assert found.roi_p[found.subsets.index(("a",)), 0] < 0.02


@pytest.mark.parametrize("metric", ["r2", "explained_variance"])
def test_intervals_are_those_of_resampled_rows(rng, metric):
    image = np.repeat(np.arange(15), 2)
    Y = rng.standard_normal((30, 4))
    hats = {s: 0.5 * Y + 0.6 * rng.standard_normal(Y.shape) + 0.1 for s in venn(["a", "b"])}
    rois = {"one": [0], "all": [0, 1, 2, 3]}
    found = variance_partition(
        hats, ["a", "b"], Y=Y, groups=image, rois=rois, metric=metric, n_bootstraps=80, level=0.9, seed=5
    )
    np.testing.assert_allclose(found.of("a"), METRICS[metric](Y, hats["a", "b"]) - METRICS[metric](Y, hats["b",]))
    terms = []
    for counts in bootstrap_weights(30, 80, image, 5):
        rows = np.repeat(np.arange(30), counts.astype(int))
        a, b, ab = (METRICS[metric](Y[rows], hats[s][rows]) for s in (("a",), ("b",), ("a", "b")))
        terms.append([ab - b, ab - a, a + b - ab])
    terms = np.array(terms)
    np.testing.assert_allclose(found.low, np.quantile(terms, 0.05, axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.high, np.quantile(terms, 0.95, axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.roi_low[:, 1], np.quantile(terms.mean(2), 0.05, axis=0), rtol=1e-6)
    smaller = np.minimum((terms < 0).sum(0), (terms > 0).sum(0))
    np.testing.assert_allclose(found.p, np.minimum(2 * (1 + smaller) / 81, 1))
    assert found.n_bootstraps == 80


def test_voxels_without_a_score_are_left_out(rng):
    torch = pytest.importorskip("torch")
    Y = rng.standard_normal((40, 3))
    Y[:, 0] = 2.0
    hats = {s: torch.tensor(Y + rng.standard_normal(Y.shape)) for s in venn(["a", "b"])}
    found = variance_partition(hats, ["a", "b"], Y=torch.tensor(Y), n_bootstraps=30)
    assert np.isnan([found.terms[:, 0], found.p[:, 0], found.low[:, 0]]).all()
    np.testing.assert_allclose(found.roi_terms[:, 0], found.terms[:, 1:].mean(1))
    assert np.isfinite(found.roi_p).all()


def test_what_cannot_be_partitioned_is_refused(rng):
    r2 = {s: np.full(3, 0.1 * len(s)) for s in venn(["a", "b"])}
    with pytest.raises(ValueError, match="2 to 4 sets"):
        variance_partition(r2, ["a"])
    with pytest.raises(ValueError, match=r"2 to 4 sets \(31 models for 5\)"):
        variance_partition(r2, list("abcde"))
    with pytest.raises(ValueError, match="the one string 'ab'"):
        variance_partition(r2, "ab")
    with pytest.raises(ValueError, match="must be distinct"):
        variance_partition(r2, ["a", "a"])
    with pytest.raises(ValueError, match=r"lacks the joint models of a\+b\. .*not nested"):
        variance_partition({k: v for k, v in r2.items() if len(k) == 1}, ["a", "b"])
    with pytest.raises(ValueError, match=r"\['c'\] are not among"):
        variance_partition({**r2, ("c",): r2["a",]}, ["a", "b"])
    with pytest.raises(ValueError, match="callable or a dict"):
        variance_partition([0.1, 0.2, 0.3], ["a", "b"])
    with pytest.raises(ShapeMismatch, match=r"got \(2,\) of b and \(3,\) of a"):
        variance_partition({**r2, ("b",): np.zeros(2)}, ["a", "b"])
    with pytest.raises(EmptySelection, match="none of 3 voxels"):
        variance_partition({**r2, ("b",): np.full(3, np.nan)}, ["a", "b"])
    with pytest.raises(ShapeMismatch, match=r"predictions of a: .*one shape"):
        variance_partition(r2, ["a", "b"], Y=np.zeros((10, 3)))
    with pytest.raises(ValueError, match="'r2' or 'explained_variance', got 'pearson_r'"):
        variance_partition(r2, ["a", "b"], metric="pearson_r")
    with pytest.raises(ValueError, match="'a' or 'b', got 'c'"):
        variance_partition(r2, ["a", "b"]).of("c")


# Ordered layers


def test_independent_layers_add_their_own_variance_in_both_directions(rng):
    drives = rng.uniform(0, 0.2, (5, 30))
    layers = [f"layer{k}" for k in range(5)]
    asked = []

    def score(run):
        asked.append(run)
        return sum(drives[layers.index(name)] for name in run)

    found = structured_partition(score, layers, rois={"first": np.arange(10)})
    assert len(asked) == len(set(asked)) == 9
    for run in asked:
        assert run in (tuple(layers[: len(run)]), tuple(layers[-len(run) :]))
    np.testing.assert_allclose(found.forward_increment, drives)
    np.testing.assert_allclose(found.backward_increment, drives)
    np.testing.assert_allclose(found.roi_forward_increment[:, 0], drives[:, :10].mean(1))
    np.testing.assert_allclose(found.forward_r2[0], found.backward_r2[-1])


def test_a_voxel_is_assigned_the_run_of_layers_that_suffices(rng):
    """A voxel driven by one layer, which later layers hold less and less of: no later start, and no earlier end."""
    quality = np.array([[0.2, 0.5, 0.45, 0.3], [0.5, 0.49, 0.1, 0.0], [0.1, 0.1, 0.1, 0.4]]).T

    def score(run):
        return quality[[int(k) for k in run]].max(0)  # nested: the best layer of the run

    found = structured_partition(score, list("0123"))
    np.testing.assert_array_equal(found.forward_layer, [1, 1, 3])
    np.testing.assert_array_equal(found.backward_layer, [1, 0, 3])
    exact = structured_partition(score, list("0123"), share=1.0)
    np.testing.assert_array_equal(exact.forward_layer, [1, 0, 3])
    np.testing.assert_allclose(exact.backward_increment.sum(0), quality.max(0))
    np.testing.assert_allclose(exact.forward_increment.sum(0), quality.max(0))


def test_voxels_that_nothing_predicts_are_assigned_nothing():
    found = structured_partition(lambda run: np.array([-0.1, 0.1 * len(run), np.nan, 0.04]), ["a", "b"], minimum=0.05)
    np.testing.assert_array_equal(found.forward_layer, [-1, 0, -1, -1])
    np.testing.assert_array_equal(found.backward_layer, [-1, 1, -1, -1])
    assert np.isnan(found.forward_r2[:, 2]).all()


def test_what_is_no_run_of_layers_is_refused():
    single = {(k,): np.zeros(3) for k in "abc"}
    with pytest.raises(ValueError, match=r"lacks the joint models of a\+b, a\+b\+c, b\+c\. .*not nested"):
        structured_partition(single, list("abc"))
    with pytest.raises(ShapeMismatch, match="at least 2 layers"):
        structured_partition(single, ["a"])
    with pytest.raises(ValueError, match="share must lie above 0"):
        structured_partition(single, list("abc"), share=95)
    with pytest.raises(EmptySelection, match="none of 3 voxels"):
        structured_partition(lambda run: np.full(3, np.nan), list("abc"))
