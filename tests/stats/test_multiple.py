"""Corrections for many tests against worked examples, scipy and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from neuro.errors import ShapeMismatch
from neuro.stats import fdr, holm

P = np.array([0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216])
Q = [0.01, 0.04, 0.084, 0.084, 0.084, 0.1, 0.10571, 0.216, 0.216, 0.216]


def test_benjamini_hochberg_has_the_published_answer():
    np.testing.assert_allclose(fdr(P), Q, atol=5e-6)


@pytest.mark.parametrize("method", ["bh", "by"])
def test_fdr_is_that_of_scipy(rng, method):
    from scipy.stats import false_discovery_control

    p = rng.random((50, 4)) ** 2
    p[::7] = p[0]
    np.testing.assert_allclose(fdr(p, method), false_discovery_control(p.ravel(), method=method).reshape(50, 4))


def test_holm_is_its_step_down_definition(rng):
    p = rng.random(40) ** 3
    expected, largest = np.empty(40), 0.0
    for j, i in enumerate(np.argsort(p)):
        largest = max(largest, (40 - j) * p[i])
        expected[i] = min(largest, 1.0)
    np.testing.assert_allclose(holm(p), expected)


@pytest.mark.parametrize("adjust", [fdr, lambda p, families=None: fdr(p, "by", families), holm])
def test_nan_is_no_test_families_are_separate_and_order_does_not_matter(rng, adjust):
    gaps = np.insert(P, [0, 4, 10], np.nan)
    np.testing.assert_array_equal(adjust(gaps)[np.isfinite(gaps)], adjust(P))
    assert np.isnan(adjust(gaps)[np.isnan(gaps)]).all()
    order = rng.permutation(10)
    np.testing.assert_array_equal(adjust(P[order]), adjust(P)[order])
    family = np.array(["a", "b"] * 5)
    both = adjust(P, families=family)
    np.testing.assert_array_equal(both[family == "a"], adjust(P[family == "a"]))
    np.testing.assert_array_equal(both[family == "b"], adjust(P[family == "b"]))


@pytest.mark.parametrize("adjust", [fdr, lambda p: fdr(p, "by"), holm])
def test_adjusted_values_are_ordered_and_never_smaller_than_p(rng, adjust):
    p = rng.random(200)
    q = adjust(p)
    assert (q >= p).all()
    assert q.max() <= 1
    assert (np.diff(q[np.argsort(p)]) >= 0).all()
    assert adjust([0.03]) == 0.03
    assert adjust(np.array([])).shape == (0,)
    assert np.isnan(adjust(np.full(3, np.nan))).all()
    assert adjust(p.reshape(10, 20)).shape == (10, 20)


def test_false_discoveries_and_any_error_stay_below_the_level(rng):
    from scipy.stats import norm

    truly_null = np.arange(200) < 150
    shares, any_error = [], []
    for _ in range(400):
        p = norm.sf(rng.standard_normal(200) + np.where(truly_null, 0, 3))
        found = fdr(p) <= 0.1
        shares.append((found & truly_null).sum() / max(found.sum(), 1))
        any_error.append(((holm(p) <= 0.1) & truly_null).any())
    assert np.mean(shares) == pytest.approx(0.1 * 0.75, abs=0.015)  # BH controls at level x share of nulls
    assert np.mean(any_error) < 0.1 + 0.03


def test_impossible_p_and_unknown_methods_are_refused():
    with pytest.raises(ValueError, match=r"1 outside, first 1\.2"):
        fdr([0.5, 1.2])
    with pytest.raises(ValueError, match="'bh' or 'by'"):
        fdr(P, "bonferroni")
    with pytest.raises(ShapeMismatch, match="families"):
        holm(P, families=[1, 2])
