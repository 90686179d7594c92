"""The law of the eigenvalues of noise: its closed form, its moments, and simulated matrices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from neuro.stats import (
    largest_noise_eigenvalue,
    marchenko_pastur_density,
    marchenko_pastur_edges,
    marchenko_pastur_quantile,
)


def spectrum(N):
    return np.linalg.eigvalsh(N.T @ N / len(N))


@pytest.mark.parametrize(("n", "p"), [(400, 100), (100, 400), (200, 190), (1000, 20)])
def test_density_integrates_to_one_with_the_moments_of_the_law(n, p):
    low, high = marchenko_pastur_edges(n, p, 2.0)
    moment = [quad(lambda x, k=k: x**k * marchenko_pastur_density(x, n, p, 2.0), low, high)[0] for k in range(3)]
    share = min(n / p, 1)  # of eigenvalues that are not zero: the moments of all are s^2 and s^4 (1 + p/n)
    np.testing.assert_allclose(moment, [1, 2.0 / share, 4.0 * (1 + p / n) / share], rtol=1e-5)
    for q in (0.1, 0.5, 0.9):
        x = float(marchenko_pastur_quantile(q, n, p, 2.0))
        assert quad(lambda x: marchenko_pastur_density(x, n, p, 2.0), low, x)[0] == pytest.approx(q, abs=1e-4)


def test_edges_are_the_formula_and_square_matrices_reach_zero():
    assert marchenko_pastur_edges(900, 100, 4.0) == pytest.approx((4 * (1 - 1 / 3) ** 2, 4 * (1 + 1 / 3) ** 2))
    assert marchenko_pastur_edges(100, 100) == (0.0, 4.0)
    x = np.array([0.05, 0.3, 0.8])
    # For n = p the eigenvalues are 4 cos^2 of an angle with density (4 / pi) sin^2.
    angle = np.arccos(np.sqrt(x) / 2)
    expected = 1 - (2 * angle - np.sin(2 * angle)) / np.pi
    for q, value in zip(expected, x, strict=True):
        assert float(marchenko_pastur_quantile(q, 100, 100)) == pytest.approx(value, rel=2e-3)


@pytest.mark.parametrize(("n", "p"), [(600, 200), (200, 600)])
def test_eigenvalues_of_noise_follow_the_law(rng, n, p):
    values = np.sort(spectrum(rng.standard_normal((n, p))))[-min(n, p) :]
    quantiles = marchenko_pastur_quantile((np.arange(min(n, p)) + 0.5) / min(n, p), n, p)
    np.testing.assert_allclose(values, quantiles, atol=0.03 * values.max())
    low, high = marchenko_pastur_edges(n, p)
    assert low * 0.95 < values[0]
    assert values[-1] < high * 1.03


@pytest.mark.parametrize(("n", "p"), [(300, 40), (60, 150)])
@pytest.mark.parametrize("unequal", [False, True])
def test_the_largest_eigenvalue_of_noise_exceeds_its_quantile_as_often_as_said(rng, n, p, unequal):
    variance = np.exp(0.5 * rng.standard_normal(n)) if unequal else 1.7
    scale = np.sqrt(np.broadcast_to(variance, n))[:, None]
    largest = np.array([spectrum(scale * rng.standard_normal((n, p)))[-1] for _ in range(400)])
    for level in (0.05, 0.5):
        above = np.mean(largest > largest_noise_eigenvalue(n, p, variance, level))
        assert level * 0.3 <= above <= level * 1.5
    # With rows of unequal noise the plain edge is too low for every matrix.
    plain = np.mean(largest > marchenko_pastur_edges(n, p, float(np.mean(variance)))[1])
    assert plain > 0.9 if unequal else plain < 0.25


def test_nearly_equal_variances_give_the_edge_of_equal_ones():
    nearly = 1.3 * (1 + 1e-6 * np.linspace(-1, 1, 500))
    assert largest_noise_eigenvalue(500, 80, nearly, 0.1) == pytest.approx(
        largest_noise_eigenvalue(500, 80, 1.3, 0.1), rel=4e-3
    )


def test_what_is_no_matrix_of_noise_is_refused():
    with pytest.raises(ValueError, match="n and p must be above 0"):
        marchenko_pastur_edges(0, 10)
    with pytest.raises(ValueError, match="more than one row"):
        largest_noise_eigenvalue(1, 10)
    with pytest.raises(ValueError, match="probability between 0 and 1"):
        largest_noise_eigenvalue(10, 10, level=5)
