"""Choosing triplets that dissociate two layers, and stimuli that separate models."""

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from neuro.errors import ShapeMismatch
from neuro.rsa.container import RDMs
from neuro.rsa.select_stimuli import _scores_with, model_separation, select_stimuli, select_triplets


@pytest.fixture
def layers(rng):
    """Two layers whose dissimilarities correlate."""
    X = rng.normal(size=(40, 6))
    return pdist(X), pdist(np.column_stack([X[:, :4], rng.normal(size=(40, 3))]))


def test_triplets_decorrelate_the_layers(layers):
    found = select_triplets(*layers, 40, rng=0)
    assert found.random > 0.3
    assert abs(found.correlation) < 1e-3
    assert abs(found.correlation) <= abs(found.start)
    assert 0.2 < found.opposed.mean() < 0.8


def test_triplets_state_the_differences_of_their_dissimilarities(layers):
    found = select_triplets(*layers, 30, rng=0)
    for d, delta in zip(layers, (found.low, found.high), strict=True):
        D = squareform(d)
        raw = np.array([D[r, a] - D[r, b] for r, a, b in found.triplets])
        assert np.ptp(raw / delta) < 1e-9 * abs(raw[0] / delta[0])
    assert np.corrcoef(found.low, found.high)[0, 1] == pytest.approx(found.correlation)
    assert (np.abs([found.low, found.high]) >= 0.5).all()


def test_triplets_are_different_and_use_stimuli_sparingly(layers):
    found = select_triplets(*layers, 40, max_use=4, rng=0)
    assert np.bincount(found.triplets.ravel()).max() <= 4
    assert len(np.unique(found.triplets, axis=0)) == 40
    assert (found.triplets[:, 1] < found.triplets[:, 2]).all()
    assert (found.triplets[:, 0] != found.triplets[:, 1]).all()


def test_large_pools_and_seeds(rng):
    a, b = pdist(rng.normal(size=(100, 3))), pdist(rng.normal(size=(100, 3)))
    one, two = (select_triplets(a, b, 20, rng=5) for _ in range(2))
    assert np.array_equal(one.triplets, two.triplets)
    assert abs(one.correlation) < 1e-3
    assert not np.array_equal(one.triplets, select_triplets(a, b, 20, rng=6).triplets)


def test_layers_are_matched_by_name(layers):
    names = np.array([f"i{k:02d}" for k in range(40)])
    order = np.random.default_rng(0).permutation(40)
    low = RDMs(layers[0], conditions=names)
    high = RDMs(layers[1], conditions=names)
    a = select_triplets(low, high, 20, rng=0)
    b = select_triplets(low, high.select(conditions=names[order]), 20, rng=0)
    assert np.array_equal(a.triplets, b.triplets)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 2}, ValueError, "n must be"),
        ({"max_use": 1}, ValueError, "max_use=1"),
        ({"min_margin": 50}, ValueError, "candidates predict"),
        ({"n_candidates": 0}, ValueError, "n_candidates"),
    ],
)
def test_triplets_that_cannot_be(layers, options, error, message):
    with pytest.raises(error, match=message):
        select_triplets(*layers, **{"n": 30, "rng": 0, **options})


def test_layers_that_cannot_be(layers):
    with pytest.raises(ShapeMismatch, match="one RDM each"):
        select_triplets(np.stack(layers), layers[0], 10)
    with pytest.raises(ValueError, match="NaN"):
        select_triplets(np.where(layers[0] > 3, np.nan, layers[0]), layers[1], 10)
    with pytest.raises(ValueError, match="do not differ"):
        select_triplets(np.ones(780), layers[1], 10)
    with pytest.raises(ShapeMismatch, match="cannot be compared"):
        select_triplets(layers[0][:10], layers[1], 10)


# Stimuli


@pytest.fixture
def models(rng):
    base = rng.normal(size=(25, 4))
    return np.stack([pdist(np.column_stack([base, rng.normal(size=(25, 2))])) for _ in range(3)])


def separation(models, chosen):
    d = [squareform(m)[np.ix_(chosen, chosen)][np.triu_indices(len(chosen), 1)] for m in models]
    return sum(1 - np.corrcoef(a, b)[0, 1] for a, b in itertools.combinations(d, 2))


def test_separation_is_that_of_a_loop(models):
    assert model_separation(models) == pytest.approx(separation(models, range(25)))
    D = RDMs(models).matrices
    scores = _scores_with(D, np.array([3, 7, 11, 2, 20]))
    for k in (0, 5, 24):
        assert scores[k] == pytest.approx(separation(models, [3, 7, 11, 2, 20, k]))


def test_chosen_stimuli_separate_the_models(models):
    found = select_stimuli(models, 8, rng=0)
    assert found.separation == pytest.approx(separation(models, found.stimuli))
    assert found.separation > found.random + 0.5
    assert (np.diff(found.history) > 0).all()
    assert found.history[-1] == pytest.approx(found.separation)
    assert np.allclose((1 - found.correlations)[np.triu_indices(3, 1)].sum(), found.separation)
    assert len(set(found.stimuli)) == 8


def test_no_single_exchange_is_better(models):
    found = select_stimuli(models, 6, rng=0)
    for slot, new in itertools.product(range(6), range(25)):
        if new not in found.stimuli:
            other = found.stimuli.copy()
            other[slot] = new
            assert separation(models, other) <= found.separation + 1e-8


def test_small_pools_are_solved_exactly(rng):
    models = rng.random((2, 36))
    best = max(separation(models, c) for c in itertools.combinations(range(9), 5))
    found = select_stimuli(models, 5, n_starts=10, rng=0)
    assert found.separation == pytest.approx(best)


def test_planted_controversy_is_found(rng):
    """Models agree everywhere except among ten stimuli."""
    d = squareform(pdist(rng.normal(size=(30, 3))))
    other = d.copy()
    block = squareform(pdist(rng.normal(size=(10, 3))))
    other[:10, :10] = block
    found = select_stimuli(RDMs(np.stack([d, other])), 6, rng=0)
    assert (found.stimuli < 10).sum() >= 5
    assert found.separation > 5 * found.random


def test_wanted_stimuli_stay(models):
    found = select_stimuli(models, 7, include=[1, 2, 3, 4, 5], rng=0)
    assert {1, 2, 3, 4, 5} <= set(found.stimuli)
    assert np.array_equal(found.stimuli, select_stimuli(models, 7, include=[1, 2, 3, 4, 5], rng=0).stimuli)


def test_choices_that_cannot_be(models):
    with pytest.raises(ShapeMismatch, match="at least two"):
        select_stimuli(models[:1], 6)
    with pytest.raises(ShapeMismatch, match="at least two"):
        model_separation(models[:1])
    with pytest.raises(ValueError, match="pool has 25"):
        select_stimuli(models, 26)
    with pytest.raises(ValueError, match="n must be"):
        select_stimuli(models, 3)
    with pytest.raises(ValueError, match="include"):
        select_stimuli(models, 6, include=[1, 1])
    with pytest.raises(ValueError, match="NaN"):
        select_stimuli(np.where(models > 5, np.nan, models), 6)
