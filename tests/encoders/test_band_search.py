"""The search over band weights: its inner sums by hand, what it leaves out, and what halving costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.model_selection import KFold

from neuro.encoders._band_design import BandDesign
from neuro.encoders._band_halving import cover, fill
from neuro.encoders._band_scores import Fractions
from neuro.encoders._bands import sample_weights
from neuro.encoders.banded import BandedRidgeCV
from neuro.linear._chunks import Buffers
from neuro.linear._splits import order_folds

pytestmark = pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning")
ALPHAS = np.logspace(-2, 4, 9)


@pytest.fixture
def two_bands():
    """``two_bands(n, v)``: features in two bands of 20 and 30, responses that follow one or the other."""

    def make(n=80, v=6, dtype=np.float64):
        rng = np.random.default_rng(0)
        X = {"a": rng.standard_normal((n, 20)) + 1, "b": 5 * rng.standard_normal((n, 30)) - 2}
        even = np.arange(v) % 2
        Y = X["a"] @ rng.standard_normal((20, v)) * even + X["b"] @ rng.standard_normal((30, v)) * (1 - even) / 5
        return {k: x.astype(dtype) for k, x in X.items()}, (Y + 3 * rng.standard_normal((n, v))).astype(dtype)

    return make


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_fractions_are_the_sums_of_the_predictions(parts, dtype):
    rng = np.random.default_rng(0)
    lam = np.sort(np.r_[10 ** rng.uniform(-4, 2, 80), np.full(3, 2.0), 2.0 + 1e-7])
    Z, c, y = rng.standard_normal((40, 84)), rng.standard_normal((5, 84)) * np.sqrt(lam), rng.standard_normal((40, 5))
    alphas, y_mean = np.logspace(-1, 4, 7), rng.standard_normal(5)
    given = [torch.from_numpy(a) for a in (lam, Z, alphas)]
    f = 1 / (lam[:, None] + alphas)
    predicted = np.einsum("nk,ka,vk->nva", Z, f, c)
    cross = ((y - y_mean)[:, :, None] * predicted).sum(0)
    quad, total = (predicted**2).sum(0), predicted.sum(0)
    both = torch.zeros(5, 168, dtype=dtype)
    both[:, 84:] = torch.from_numpy(y.T @ Z)
    way = Fractions(given[0], given[1], given[2], dtype)
    buffers = Buffers(dtype, torch.device("cpu"))
    found = way.sums(torch.from_numpy(c).to(dtype), both, torch.from_numpy(y_mean).to(dtype), parts, buffers)
    expected = (None, cross, quad, total) if parts else (quad - 2 * cross, None, None, None)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            tolerance = 1e-8 if dtype == torch.float64 else 2e-4
            np.testing.assert_allclose(ours, theirs, atol=tolerance * np.abs(theirs).max())


def test_bands_that_are_off_are_left_out(two_bands):
    X, Y = two_bands(200, 20, np.float32)
    A = torch.from_numpy(np.hstack([X["a"], X["b"]]))
    design = BandDesign(A, (torch.arange(50) >= 20).long(), None, True, "primal", torch.float32, True)
    fold = order_folds([(np.arange(100), np.arange(100, 200))], 200, A.device)[1][0]
    for weights, kept in (((1.0, 1e-9), 20), ((1.0, 0.0), 20), ((0.7, 0.3), 50), ((1e-9, 1.0), 30)):
        factor, columns = design.at(torch.tensor(weights, dtype=torch.float64)).factor(fold, 1e-3)
        assert len(factor.basis) == kept
        assert (columns is None) == (kept == 50)
        single = BandedRidgeCV(ALPHAS, KFold(4), band_weights=[weights]).fit(X, Y)
        double = BandedRidgeCV(ALPHAS, KFold(4), band_weights=[weights]).fit(
            {k: x.astype(np.float64) for k, x in X.items()}, Y.astype(np.float64)
        )
        np.testing.assert_allclose(single.cv_scores_, double.cv_scores_, rtol=1e-4)
        assert np.mean(single.alpha_ == double.alpha_) >= 0.9  # small penalties on a plateau


def test_several_cores_change_nothing(two_bands):
    X, Y = two_bands()
    cores = torch.get_num_threads()
    models = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            models.append(BandedRidgeCV(n_iter=4).fit(X, Y))
    finally:
        torch.set_num_threads(cores)
    np.testing.assert_allclose(models[0].coef_, models[1].coef_, atol=1e-10)


def test_halving_costs_little_score():
    rng = np.random.default_rng(0)
    X = {name: rng.standard_normal((300, 15)) for name in "abc"}
    share = rng.dirichlet(np.full(3, 0.5), 30)
    Y = sum(x @ rng.standard_normal((15, 30)) * np.sqrt(s) for x, s in zip(X.values(), share.T, strict=True))
    Y += 4 * rng.standard_normal((300, 30))
    train, test = ({name: x[rows] for name, x in X.items()} for rows in (slice(150), slice(150, 300)))
    full = BandedRidgeCV(n_iter=100).fit(train, Y[:150])
    half = BandedRidgeCV(n_iter=100, search="halving").fit(train, Y[:150])
    first = BandedRidgeCV(n_iter=16).fit(train, Y[:150])
    scored = np.isfinite(half.cv_scores_)
    np.testing.assert_allclose(half.cv_scores_[scored], full.cv_scores_[scored], rtol=1e-9)
    assert scored[:16].all()  # all voxels
    assert 16 < scored.any(1).sum() <= 64
    assert scored[16:].mean() < 0.3
    np.testing.assert_array_equal(half.best_score_, np.nanmax(half.cv_scores_, 0))
    lost, gained = full.best_score_ - half.best_score_, full.best_score_ - first.best_score_
    assert lost.mean() < 0.2 * gained.mean()
    assert half.score(test, Y[150:]) >= full.score(test, Y[150:]) - 0.003
    assert half.boundary_.n_above_baseline > 0
    again = BandedRidgeCV(n_iter=100, search="halving").fit(train, Y[:150])
    np.testing.assert_array_equal(again.coef_, half.coef_)
    np.testing.assert_array_equal(again.cv_scores_, half.cv_scores_)


def test_halving_that_leaves_nothing_out_is_the_full_search(two_bands):
    X, Y = two_bands()
    for n_iter in (1, 10):
        full = BandedRidgeCV(n_iter=n_iter).fit(X, Y)
        half = BandedRidgeCV(n_iter=n_iter, search="halving").fit(X, Y)
        np.testing.assert_array_equal(half.cv_scores_, full.cv_scores_)
        np.testing.assert_array_equal(half.coef_, full.coef_)


def test_unknown_scores_are_predicted():
    weights = torch.from_numpy(sample_weights(60, 3, (0.1, 1.0), 0))
    x = (weights + 1e-3).log()
    peak = torch.from_numpy(np.random.default_rng(0).uniform(-4, 0, (3, 7)))
    truth = -(x[:, :, None] - peak).square().sum(1) / 10
    table = truth.clone()
    table[20:] = torch.nan
    table[20:25, :4] = truth[20:25, :4]  # only some voxels have scored these
    filled = fill(weights, table)
    np.testing.assert_array_equal(filled[:20], truth[:20])
    np.testing.assert_array_equal(filled[20:25, :4], truth[20:25, :4])
    left_out = truth[25:] - truth[25:].mean(0)
    assert (filled[25:] - truth[25:]).square().sum() < 0.05 * left_out.square().sum()
    more = cover(truth, [0], 3)
    by_hand, best = [], truth[0]
    for _ in range(3):
        sums = [torch.maximum(best, row).sum() for row in truth]
        by_hand.append(int(np.argmax(sums)))
        best = torch.maximum(best, truth[by_hand[-1]])
    assert more == by_hand
