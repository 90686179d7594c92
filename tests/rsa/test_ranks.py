"""Ranks and Kendall's tau against scipy and against counting every pair."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from neuro.rsa import _ranks
from neuro.rsa._ranks import average_ranks, count_discordant, discordant, rho_a_tokens, spearman_tokens, tau

VALUES = st.integers(-3, 3)


def brute(x, y):
    """Concordant minus discordant, pairs untied in x, in y, all pairs."""
    upper = np.triu_indices(len(x), 1)
    s, t = (np.sign(z[:, None] - z)[upper] for z in (x, y))
    return (s * t).sum(), (s != 0).sum(), (t != 0).sum(), len(s)


@given(arrays(float, (2, 9), elements=VALUES))
def test_average_ranks_equal_scipy(d):
    np.testing.assert_array_equal(average_ranks(d), stats.rankdata(d, axis=1))


@given(arrays(float, 11, elements=VALUES), arrays(float, 11, elements=VALUES))
def test_tau_counts_pairs(x, y):
    score, untied_x, untied_y, total = brute(x, y)
    assert tau(x[None], y[None], "a").item() == pytest.approx(score / total, abs=1e-14)
    expected = score / np.sqrt(untied_x * untied_y) if untied_x and untied_y else 0
    assert tau(x[None], y[None], "b").item() == pytest.approx(expected, abs=1e-14)


@given(arrays(float, 13, elements=VALUES), arrays(float, 13, elements=VALUES))
def test_both_counters_of_discordant_pairs(x, y):
    order = np.argsort(x)
    dense = [np.unique(z, return_inverse=True)[1].astype(np.intp) + 1 for z in (x[order], y[order])]
    upper = np.triu_indices(len(x), 1)
    s, t = (np.sign(z[:, None] - z)[upper] for z in (x, y))
    assert count_discordant(*dense) == discordant(*dense) == (s * t < 0).sum()


@pytest.mark.parametrize("n", [3, 4, 5, 64, 1000, 1027])
def test_numpy_counter_at_many_lengths(rng, n):
    for ties in (3, 10**9):
        x = np.sort(rng.integers(0, ties, n))
        y = rng.integers(0, ties, n)
        dense = [np.unique(z, return_inverse=True)[1].astype(np.intp) + 1 for z in (x, y)]
        assert count_discordant(*dense) == discordant(*dense)


def test_tau_without_the_compiled_counter(rng, monkeypatch):
    a, b = rng.integers(0, 9, (2, 4, 300)).astype(float)
    expected = tau(a, b)
    monkeypatch.setattr(_ranks, "_counter", lambda: count_discordant)
    np.testing.assert_array_equal(tau(a, b), expected)


def test_tau_of_a_stack_with_itself(rng):
    a = rng.integers(0, 9, (4, 300)).astype(float)
    for kind in "ab":
        np.testing.assert_array_equal(tau(a, a, kind), tau(a, a.copy(), kind))


def test_tau_b_equals_scipy(rng):
    a, b = rng.integers(0, 40, (2, 3, 500)).astype(float)
    expected = [[stats.kendalltau(x, y).statistic for y in b] for x in a]
    np.testing.assert_allclose(tau(a, b, "b"), expected, atol=1e-13)


def test_without_ties_a_and_b_agree(rng):
    a, b = rng.standard_normal((2, 3, 200))
    np.testing.assert_allclose(tau(a, b, "a"), tau(a, b, "b"), atol=1e-14)
    np.testing.assert_allclose(rho_a_tokens(a), spearman_tokens(a), atol=1e-14)


@given(arrays(float, (2, 15), elements=VALUES))
def test_rho_a_tie_factor(d):
    """rho-a = Spearman sqrt(Tx Ty), T = 1 - sum over ties (t^3 - t) / (P^3 - P)."""
    p = d.shape[1]
    factors = [1 - sum(t**3 - t for t in np.unique(row, return_counts=True)[1].astype(float)) / (p**3 - p) for row in d]
    spearman = (spearman_tokens(d)[0] * spearman_tokens(d)[1]).sum()
    rho_a = (rho_a_tokens(d)[0] * rho_a_tokens(d)[1]).sum()
    assert rho_a == pytest.approx(spearman * np.sqrt(factors[0] * factors[1]), abs=1e-12)


def test_rho_a_is_spearman_under_random_breaking_of_ties(rng):
    x, y = rng.integers(0, 3, 40).astype(float), rng.standard_normal(40)
    y += x
    broken = [stats.spearmanr(x + 1e-6 * rng.standard_normal(40), y).statistic for _ in range(2000)]
    rho_a = (rho_a_tokens(x[None]) * rho_a_tokens(y[None])).sum()
    assert rho_a == pytest.approx(np.mean(broken), abs=4 * np.std(broken) / np.sqrt(2000))


def test_tensors(rng):
    torch = pytest.importorskip("torch")
    d = rng.integers(0, 9, (3, 50)).astype(float)
    np.testing.assert_array_equal(average_ranks(torch.tensor(d)).numpy(), average_ranks(d))
    np.testing.assert_array_equal(average_ranks(torch.tensor(d).T.contiguous().T).numpy(), average_ranks(d))
    np.testing.assert_array_equal(tau(torch.tensor(d), torch.tensor(d)).numpy(), tau(d, d))
