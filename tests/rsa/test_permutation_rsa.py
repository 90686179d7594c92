"""Permutation tests: moments against all permutations, scores against a loop, p against their definition."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from scipy.spatial.distance import squareform

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa.compare import compare
from neuro.rsa.evaluate import evaluate
from neuro.rsa.models import Weighted
from neuro.rsa.permutation import mantel_moments, permutation_test, sign_flip_test

METHODS = ["cosine", "corr", "cosine_cov", "corr_cov", "spearman", "rho-a", "tau-a"]


def test_mantel_moments_equal_all_permutations_of_six_stimuli(rng):
    a, b = rng.random(15), rng.standard_normal(15) + 0.5
    square = squareform(b, checks=False)
    upper = np.triu_indices(6, 1)
    sums = np.array([a @ square[np.ix_(p, p)][upper] for p in permutations(range(6))])
    mean, variance = mantel_moments(a, b)
    assert mean == pytest.approx(sums.mean(), rel=1e-12)
    assert variance == pytest.approx(sums.var(), rel=1e-12)


def test_mantel_formula_as_published(rng):
    a, b = (squareform(rng.random(28)) for _ in range(2))
    n = 8
    (a0, a1, a2), (b0, b1, b2) = [(x.sum() ** 2, (x**2).sum(), (x.sum(1) ** 2).sum()) for x in (a, b)]
    mean = a.sum() * b.sum() / (n * (n - 1))
    variance = (
        2 * a1 * b1 / (n * (n - 1))
        + 4 * (a2 - a1) * (b2 - b1) / (n * (n - 1) * (n - 2))
        + (a0 - 4 * a2 + 2 * a1) * (b0 - 4 * b2 + 2 * b1) / (n * (n - 1) * (n - 2) * (n - 3))
        - a0 * b0 / (n * (n - 1)) ** 2
    )
    got = mantel_moments(squareform(a), squareform(b))
    assert 2 * got.mean == pytest.approx(mean, rel=1e-12)
    assert 4 * got.variance == pytest.approx(variance, rel=1e-9)
    many = mantel_moments(np.stack([squareform(a)] * 2), squareform(b))
    assert many.mean.shape == many.variance.shape == (2, 1)
    assert many.variance[1, 0] == pytest.approx(got.variance)


@pytest.mark.parametrize("method", METHODS)
def test_null_scores_equal_a_loop_over_permuted_matrices(rng, method):
    models, data = rng.random((2, 28)), rng.random((3, 28))
    found = permutation_test(models, data, method, n_permutations=15, rng=1)
    generator = np.random.default_rng(1)
    upper = np.triu_indices(8, 1)
    for row in found.null:
        p = generator.permutation(8)
        permuted = np.stack([squareform(m)[np.ix_(p, p)][upper] for m in models])
        np.testing.assert_allclose(row, compare(permuted, data, method).mean(1), rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.scores, compare(models, data, method).mean(1), atol=1e-13)


def test_null_moments_of_cosine_are_mantels(rng):
    a, b = rng.random(45), rng.random(45)
    found = permutation_test(a, b, "cosine", n_permutations=20_000, rng=0)
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    mean, variance = mantel_moments(a, b)
    assert found.null.mean() == pytest.approx(mean / scale, abs=4 * np.sqrt(variance / 20_000) / scale)
    assert found.null.std() == pytest.approx(np.sqrt(variance) / scale, rel=0.03)


def test_p_and_largest_score_are_counts(rng):
    models, data = rng.random((3, 28)), rng.random((4, 28))
    for alternative in ("greater", "less", "two-sided"):
        found = permutation_test(models, data, "corr", n_permutations=200, rng=0, alternative=alternative)
        centre = found.null.mean(0) if alternative == "two-sided" else 0
        change = {"greater": lambda x: x, "less": lambda x: -x, "two-sided": lambda x, c=centre: np.abs(x - c)}[
            alternative
        ]
        seen, null = change(found.scores), change(found.null)
        np.testing.assert_allclose(found.p, (1 + (null >= seen).sum(0)) / 201)
        np.testing.assert_allclose(found.p_max, (1 + (null.max(1)[:, None] >= seen).sum(0)) / 201)
        assert (found.p_max >= found.p).all()


def test_true_model_is_found_where_a_cosine_against_zero_says_nothing(rng):
    truth = rng.random(66)
    data = truth + rng.random((4, 66))
    found = permutation_test({"truth": truth, "other": rng.random(66)}, data, "cosine", n_permutations=199, rng=0)
    assert found.p[0] == 1 / 200
    assert found.p[1] > 0.05
    assert found.scores[1] > 0.5
    frame = found.to_frame()
    assert list(frame["model"]) == ["truth", "other"]
    assert frame["z"][0] > 4


def test_constant_models_have_p_one(rng):
    with pytest.warns(UserWarning, match="constant"):
        found = permutation_test(np.ones(28), rng.random((2, 28)), "corr", n_permutations=50, rng=0)
    assert found.p[0] == 1
    assert np.isnan(found.z[0])


def test_sign_flips_of_few_subjects_are_all_of_them(rng):
    x = rng.standard_normal((2, 5)) + 0.5
    found = sign_flip_test(x)
    means = np.array([x @ np.array(s) / 5 for s in product([1, -1], repeat=5)])
    np.testing.assert_allclose(found.p, (means >= x.mean(1) - 1e-12).mean(0))
    np.testing.assert_allclose(found.p_max, (means.max(1)[:, None] >= x.mean(1) - 1e-12).mean(0))
    assert sign_flip_test(np.ones((1, 5))).p[0] == 1 / 32


def test_sign_flips_take_a_result_and_are_seeded(rng):
    data = rng.standard_normal((20, 28)) + rng.random(28)
    result = evaluate(rng.random((2, 28)), data, "corr", resample=None)
    a, b = sign_flip_test(result, n_permutations=500, rng=1), sign_flip_test(result, n_permutations=500, rng=1)
    np.testing.assert_array_equal(a.null, b.null)
    assert a.models == result.models
    assert len(a.null) == 500


def test_blocks_do_not_change_the_result(rng, monkeypatch):
    import importlib

    models, data = rng.random((2, 28)), rng.random((3, 28))
    a = permutation_test(models, data, "corr", n_permutations=30, rng=0)
    monkeypatch.setattr(importlib.import_module("neuro.rsa.permutation"), "BLOCK", 60)
    np.testing.assert_allclose(
        a.null, permutation_test(models, data, "corr", n_permutations=30, rng=0).null, atol=1e-15
    )


def test_bad_input_is_refused(rng):
    x = rng.random((3, 28))
    with pytest.raises(ValueError, match="weights to fit"):
        permutation_test(Weighted(x), x)
    holed = x.copy()
    holed[0, 0] = np.nan
    with pytest.raises(ValueError, match="missing"):
        permutation_test(x, holed)
    with pytest.raises(EmptySelection, match="at least 4"):
        permutation_test(np.arange(3.0), np.arange(3.0))
    with pytest.raises(ValueError, match="alternative"):
        permutation_test(x, x, alternative="more")
    with pytest.raises(ValueError, match="n_permutations"):
        permutation_test(x, x, n_permutations=0)
    with pytest.raises(EmptySelection, match="at least two"):
        sign_flip_test(np.ones((2, 1)))
    with pytest.raises(ShapeMismatch, match="names"):
        sign_flip_test(x, names=["a"])
    with pytest.raises(ShapeMismatch):
        mantel_moments(np.ones(6), np.ones(10))
    with pytest.raises(EmptySelection):
        mantel_moments(np.ones(3), np.ones(3))
