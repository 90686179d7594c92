"""Two against two and correlation per stimulus: exact small cases, chance, and invariances."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist
from scipy.stats import pearsonr

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats.pairs import DISTANCES, pearson_per_stimulus, two_versus_two


def by_hand(Y, Y_hat, distance):
    d = cdist(Y, Y_hat, distance)
    wins = [d[i, i] + d[j, j] < d[i, j] + d[j, i] for i, j in combinations(range(len(Y)), 2)]
    return np.mean(wins)


@pytest.mark.parametrize("distance", DISTANCES)
def test_small_cases_agree_with_the_definition(rng, distance):
    for n in (2, 3, 7, 20):
        Y = rng.standard_normal((n, 5))
        Y_hat = Y + rng.standard_normal((n, 5))
        assert two_versus_two(Y, Y_hat, distance) == pytest.approx(by_hand(Y, Y_hat, distance), abs=1e-12)


def test_exact_values():
    Y = np.eye(3)
    assert two_versus_two(Y, Y) == 1
    assert two_versus_two(Y[:2], Y[[1, 0]]) == 0
    # of the three pairs of a rotation by one, each compares one hit of the other's place with none: all are lost
    assert two_versus_two(Y, Y[[1, 2, 0]]) == 0
    # swapping two of three loses their pair; the pairs with the third: 1 + 0 against 1 + 1
    assert two_versus_two(Y, Y[[1, 0, 2]]) == pytest.approx(2 / 3)


def test_ties_count_one_half(rng):
    Y = rng.standard_normal((6, 4))
    assert two_versus_two(Y, np.ones((6, 4))) == 0.5
    assert two_versus_two(Y, np.zeros((6, 4))) == 0.5
    same = rng.standard_normal((6, 4))
    same[1] = same[0]
    whole, without = (
        two_versus_two(Y, same),
        [two_versus_two(Y[[i, j]], same[[i, j]]) for i, j in combinations(range(6), 2)],
    )
    assert whole == pytest.approx(np.mean(without))
    assert without[0] == 0.5


def test_chance_is_one_half(rng):
    found = [two_versus_two(rng.standard_normal((12, 8)), rng.standard_normal((12, 8))) for _ in range(300)]
    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / np.sqrt(300))


@given(
    Y=arrays(float, (5, 3), elements=st.integers(-9, 9).map(float)),
    Y_hat=arrays(float, (5, 3), elements=st.integers(-9, 9).map(float)),
    factor=st.floats(0.1, 50),
)
@settings(deadline=None, max_examples=60)
def test_laws(Y, Y_hat, factor):
    found = two_versus_two(Y, Y_hat)
    assert 0 <= found <= 1
    assert two_versus_two(Y, factor * Y_hat) == pytest.approx(found)
    assert two_versus_two(Y_hat, Y) == pytest.approx(found)
    assert two_versus_two(Y, -Y_hat) == pytest.approx(1 - found)
    order = [3, 1, 4, 0, 2]
    assert two_versus_two(Y[order], Y_hat[order]) == pytest.approx(found)


def test_pairs_of_one_stimulus_are_left_out(rng):
    Y, Y_hat = rng.standard_normal((2, 8, 5))
    groups = np.array(list("aabbccdd"))
    d = cdist(Y, Y_hat, "cosine")
    wins = [d[i, i] + d[j, j] < d[i, j] + d[j, i] for i, j in combinations(range(8), 2) if groups[i] != groups[j]]
    assert len(wins) == 24
    assert two_versus_two(Y, Y_hat, groups=groups) == pytest.approx(np.mean(wins))


def test_blocks_and_tensors_give_the_same(rng, monkeypatch):
    Y, Y_hat = rng.standard_normal((2, 40, 5))
    whole = two_versus_two(Y, Y_hat)
    assert two_versus_two(torch.from_numpy(Y), torch.from_numpy(Y_hat)) == whole
    monkeypatch.setattr("neuro.stats.pairs._BLOCK", 120)
    assert two_versus_two(Y, Y_hat) == whole


def test_correlation_per_stimulus_is_that_of_scipy(rng):
    Y, Y_hat = rng.standard_normal((2, 6, 9))
    expected = [pearsonr(y, p).statistic for y, p in zip(Y, Y_hat, strict=True)]
    np.testing.assert_allclose(pearson_per_stimulus(Y, Y_hat), expected)
    found = pearson_per_stimulus(torch.from_numpy(Y), torch.from_numpy(Y_hat))
    np.testing.assert_allclose(found.numpy(), expected)
    Y[2], Y_hat[3] = 1.0, 2.0
    found = pearson_per_stimulus(Y, Y_hat)
    assert np.isnan(found[2])
    assert found[3] == 0
    np.testing.assert_allclose(pearson_per_stimulus(Y[:1], Y_hat[:1]), expected[:1])


def test_bad_input(rng):
    Y = rng.standard_normal((4, 3))
    with pytest.raises(ValueError, match="distance must be"):
        two_versus_two(Y, Y, "manhattan")
    with pytest.raises(ShapeMismatch, match="one shape"):
        two_versus_two(Y, Y[:3])
    with pytest.raises(ShapeMismatch, match="select one time"):
        two_versus_two(Y[..., None], Y[..., None])
    with pytest.raises(ShapeMismatch, match="2 rows"):
        two_versus_two(Y[:1], Y[:1])
    with pytest.raises(ShapeMismatch, match="each of 4 rows"):
        two_versus_two(Y, Y, groups=[1, 2])
    with pytest.raises(EmptySelection, match="one stimulus"):
        two_versus_two(Y, Y, groups=[1, 1, 1, 1])
    bad = Y.copy()
    bad[1, 2] = np.nan
    with pytest.raises(ValueError, match="Y_hat contains NaN or infinity in 1 of 3 voxels"):
        two_versus_two(Y, bad)
    with pytest.raises(ShapeMismatch, match="both be"):
        pearson_per_stimulus(Y, Y[:, :2])
    with pytest.raises(ShapeMismatch, match="at least two"):
        pearson_per_stimulus(Y[:, :1], Y[:, :1])
