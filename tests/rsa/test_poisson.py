"""Poisson divergences: loops, rsatoolbox where it is right, unbiasedness, bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from neuro.errors import EmptySelection
from neuro.rsa.estimate import rdm


def smooth(x, strength=1.0, weight=0.1):
    return (x + strength * weight) / (1 + weight)


@pytest.fixture
def rates(rng):
    return rng.poisson(3, (6, 12)).astype(float)


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("prior", [None, (2.0, 0.5)])
def test_symmetrised_divergence(rates, tensor, prior):
    s = smooth(rates, *(prior or (1.0, 0.1)))
    expected = [((a - b) * (np.log(a) - np.log(b))).mean() for a, b in itertools.combinations(s, 2)]
    d = rdm(torch.tensor(rates) if tensor else rates, "poisson", prior=prior)
    np.testing.assert_allclose(d.dissimilarities[0], expected, atol=1e-12)
    assert d.settings["prior"] == list(prior or (1.0, 0.1))


def test_divergence_is_kl_both_ways(rates):
    s = smooth(rates)
    a, b = s[0], s[1]
    kl = (a * np.log(a / b) - a + b).mean() + (b * np.log(b / a) - b + a).mean()
    np.testing.assert_allclose(rdm(rates, "poisson").dissimilarities[0, 0], kl)


@pytest.mark.parametrize("K", [2, 3, 4])
@pytest.mark.parametrize("tensor", [False, True])
def test_cross_validated_is_the_mean_over_all_folds(rng, K, tensor):
    A = rng.poisson(4, (K, 5, 8)).astype(float)
    s, out = smooth(A), []
    for i, j in itertools.combinations(range(5), 2):
        folds = []
        for k in range(K):  # rates of the others, logs of this one
            train, test = np.delete(s, k, 0).mean(0), np.log(s[k])
            folds.append(((train[i] - train[j]) * (test[i] - test[j])).mean())
        out.append(np.mean(folds))
    X, names, folds = A.reshape(-1, 8), np.tile(np.arange(5), K), np.repeat(np.arange(K), 5)
    d = rdm(torch.tensor(X) if tensor else X, "poisson_cv", conditions=names, folds=folds)
    np.testing.assert_allclose(d.dissimilarities[0], out, atol=1e-12)


def test_no_divergence_between_identical_rates_on_average(rng):
    names, folds = np.tile(np.arange(3), 4), np.repeat(np.arange(4), 3)
    d = np.concatenate(
        [
            rdm(rng.poisson(5, (12, 10)), "poisson_cv", conditions=names, folds=folds).dissimilarities
            for _ in range(1500)
        ]
    )
    assert np.abs(d.mean(0) / (d.std(0) / np.sqrt(len(d)))).max() < 4
    assert (d < 0).any()


def test_blocks_and_float32(rates, monkeypatch):
    wide = np.tile(rates, (1, 60)).astype(np.float32)
    whole = rdm(wide, "poisson").dissimilarities
    monkeypatch.setattr("neuro.rsa._patterns.BLOCK_BYTES", 1)
    blocks = rdm(wide, "poisson").dissimilarities
    assert blocks.dtype == np.float32
    np.testing.assert_allclose(blocks, whole, rtol=1e-4)
    np.testing.assert_allclose(blocks, rdm(rates, "poisson").dissimilarities, rtol=1e-4)


def test_gradients(rates):
    t = torch.tensor(rates + 0.5, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rdm(x, "poisson").dissimilarities, (t,))
    names = [0, 1, 2] * 2
    assert torch.autograd.gradcheck(lambda x: rdm(x, "poisson_cv", conditions=names).dissimilarities, (t,))


def test_bad_input(rates):
    with pytest.raises(ValueError, match="cannot be negative, got -1"):
        rdm(rates - rates.max() - 1 + rates.max(), "poisson")
    with pytest.raises(ValueError, match="both above 0"):
        rdm(rates, "poisson", prior=(0, 0.1))
    with pytest.raises(EmptySelection, match="two folds"):
        rdm(rates, "poisson_cv", conditions=np.arange(6))
    rates[0, 0] = np.nan
    with pytest.raises(ValueError, match="1 NaN"):
        rdm(rates, "poisson")
