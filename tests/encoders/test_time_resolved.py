"""One ridge per site and time: equal to RidgeCV in every bin, and planted latencies come back."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from neuro.data import Responses
from neuro.encoders import RidgeCV
from neuro.encoders.time_resolved import TimeResolvedRidgeCV, average_windows
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats import pearson_r

TIMES = np.arange(-20, 41) * 0.025  # -0.5 to 1 s
LATENCIES = np.array([0.1, 0.3, 0.6])
ALPHAS = np.logspace(-1, 4, 6)
# Most bins hold noise, which belongs to the largest penalty.
pytestmark = pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning")


@pytest.fixture(scope="module")
def planted():
    """Sites that answer 0.1, 0.3 and 0.6 s after the event, in bumps of 0.05 s, and one that never does."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((240, 6))
    W = rng.standard_normal((3, 6))
    Y = rng.standard_normal((240, 4, len(TIMES)))
    bump = np.exp(-((TIMES - LATENCIES[:, None]) ** 2) / (2 * 0.05**2))
    Y[:, :3] += (X @ W.T)[..., None] * bump
    return X, Y, W, bump


def test_every_bin_is_the_ridge_of_that_bin(planted):
    X, Y, _, _ = planted
    encoder = TimeResolvedRidgeCV(ALPHAS, cv=4).fit(X, Y, times=TIMES)
    assert encoder.coef_.shape == (4, 61, 6)
    np.testing.assert_array_equal(encoder.lags_, TIMES)
    for t in (0, 24, 60):
        alone = RidgeCV(ALPHAS, cv=4).fit(X, Y[:, :, t])
        np.testing.assert_allclose(encoder.coef_[:, t], alone.coef_, atol=1e-10)
        np.testing.assert_allclose(encoder.intercept_[:, t], alone.intercept_, atol=1e-10)
        np.testing.assert_array_equal(encoder.alpha_[:, t], alone.alpha_)
        np.testing.assert_allclose(encoder.best_score_[:, t], alone.best_score_)
        np.testing.assert_allclose(encoder.predict(X[:5])[:, :, t], alone.predict(X[:5]), atol=1e-10)


@pytest.mark.parametrize("window", [None, 0.1, 0.2])
def test_planted_latencies_are_recovered(planted, window):
    X, Y, _, _ = planted
    encoder = TimeResolvedRidgeCV(ALPHAS, cv=4, window=window).fit(X[:160], Y[:160], times=TIMES)
    scores = encoder.scores(X[160:], Y[160:], times=TIMES)
    assert scores.shape == (4, len(encoder.lags_))
    np.testing.assert_allclose(encoder.latency(scores)[:3], LATENCIES, atol=0.051)
    before = encoder.lags_ < -0.1
    assert np.abs(scores[:3, before]).mean() < 0.12
    assert scores[:3].max(1).min() > 0.8
    assert np.abs(scores[3]).mean() < 0.12


def test_weights_follow_the_planted_time_course(planted):
    X, Y, W, bump = planted
    encoder = TimeResolvedRidgeCV(ALPHAS, cv=4).fit(X, Y, times=TIMES)
    expected = W[:, None] * bump[..., None]
    assert np.abs(encoder.coef_[:3] - expected).mean() < 0.06
    for site in range(3):
        assert np.corrcoef(encoder.coef_[site].ravel(), expected[site].ravel())[0, 1] > 0.95


def test_windows_average_the_times_inside_them(planted):
    _, Y, _, _ = planted
    found, lags = average_windows(Y, TIMES, lags=[-0.2, 0.0, 0.2], window=0.2)
    np.testing.assert_array_equal(lags, [-0.2, 0.0, 0.2])
    for k, lag in enumerate(lags):
        inside = (np.round(TIMES - lag, 6) >= -0.1) & (np.round(TIMES - lag, 6) < 0.1)
        assert inside.sum() == 8
        np.testing.assert_allclose(found[..., k], Y[..., inside].mean(-1))
    # neighbouring windows share no time and leave none out
    whole, _ = average_windows(Y[..., :60], TIMES[:60], lags=np.arange(-0.4, 0.91, 0.2), window=0.2)
    np.testing.assert_allclose(whole[..., :6].mean(-1), Y[..., :48].mean(-1))
    assert len(average_windows(Y, TIMES, window=0.2)[1]) == 61 - 7
    nearest, _ = average_windows(Y, TIMES, lags=[0.11, 0.26])
    np.testing.assert_array_equal(nearest, Y[..., [24, 30]])


def test_responses_bring_times_and_groups(planted):
    X, Y, _, _ = planted
    stimulus = np.repeat(np.arange(120), 2)
    responses = Responses(Y, pd.DataFrame({"stimulus": stimulus}), times=TIMES)
    given = TimeResolvedRidgeCV(ALPHAS, cv=4, window=0.1).fit(X, responses)
    plain = TimeResolvedRidgeCV(ALPHAS, cv=4, window=0.1).fit(X, Y.astype(np.float32), stimulus, times=TIMES)
    np.testing.assert_allclose(given.coef_, plain.coef_, atol=1e-5)
    for train, val in given.ridge_.splits_:
        assert not set(stimulus[train]) & set(stimulus[val])
    np.testing.assert_allclose(given.scores(X, responses), plain.scores(X, Y, times=TIMES), atol=1e-5)


def test_scores_and_score_are_those_of_the_predictions(planted):
    X, Y, _, _ = planted
    encoder = TimeResolvedRidgeCV(ALPHAS, cv=4, window=0.2, lags=[0.1, 0.3]).fit(X, Y, times=TIMES)
    truth, _ = average_windows(Y, TIMES, [0.1, 0.3], 0.2)
    np.testing.assert_allclose(encoder.scores(X, Y, times=TIMES), pearson_r(truth, encoder.predict(X)))
    residual = ((truth - encoder.predict(X)) ** 2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0)
    assert encoder.score(X, Y, times=TIMES) == pytest.approx((1 - residual).mean())


def test_tensors_cloning_and_pickling(planted):
    X, Y, _, _ = planted
    encoder = TimeResolvedRidgeCV(ALPHAS, cv=4, window=0.2).fit(X, Y, times=TIMES)
    tensors = clone(encoder).fit(torch.from_numpy(X), torch.from_numpy(Y), times=TIMES)
    assert isinstance(tensors.coef_, torch.Tensor)
    np.testing.assert_allclose(tensors.coef_.numpy(), encoder.coef_, atol=1e-10)
    scores = tensors.scores(torch.from_numpy(X), torch.from_numpy(Y), times=TIMES)
    np.testing.assert_allclose(tensors.latency(scores), encoder.latency(encoder.scores(X, Y, times=TIMES)))
    restored = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(restored.predict(X[:3]), encoder.predict(X[:3]))


def test_inputs_are_left_alone(planted):
    X, Y, _, _ = planted
    before = X.copy(), Y.copy()
    TimeResolvedRidgeCV(ALPHAS, cv=4).fit(X, Y, times=TIMES)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(Y, before[1])


def test_sites_that_score_nowhere_have_no_latency(planted):
    X, Y, _, _ = planted
    encoder = TimeResolvedRidgeCV(ALPHAS, cv=4, lags=[0.1, 0.3]).fit(X, Y, times=TIMES)
    found = encoder.latency(np.array([[0.1, 0.2], [-0.1, -0.2], [np.nan, np.nan], [np.nan, 0.1]]))
    np.testing.assert_array_equal(found, [0.3, np.nan, np.nan, 0.3])
    with pytest.raises(ShapeMismatch, match=r"must be \(4, 2\)"):
        encoder.latency(np.ones((4, 3)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"window": 0}, ValueError, "window must be above 0"),
        ({"window": float("nan")}, ValueError, "window must be above 0"),
        ({"window": 9.0}, EmptySelection, "no window of 9 is whole"),
        ({"window": 0.01, "lags": [0.0375]}, EmptySelection, "no time lies in the window of 0.01"),
        ({"window": 0.2, "lags": [0.98]}, EmptySelection, "lag 0.98 with its window of 0.2 reaches beyond"),
        ({"lags": [2.0]}, EmptySelection, "lag 2 reaches beyond the times, which go from -0.5 to 1"),
        ({"lags": []}, EmptySelection, "one or more"),
        ({"lags": [np.nan]}, EmptySelection, "finite"),
    ],
)
def test_bad_windows(planted, options, error, message):
    X, Y, _, _ = planted
    with pytest.raises(error, match=message):
        TimeResolvedRidgeCV(ALPHAS, **options).fit(X, Y, times=TIMES)


def test_bad_input(planted):
    X, Y, _, _ = planted
    encoder = TimeResolvedRidgeCV(ALPHAS, cv=4)
    with pytest.raises(ShapeMismatch, match="use RidgeCV"):
        encoder.fit(X, Y[:, :, 0])
    with pytest.raises(ShapeMismatch, match="no time axis: use RidgeCV"):
        encoder.fit(X, Responses(Y[:, :, 0]))
    with pytest.raises(ShapeMismatch, match="61 ascending numbers"):
        encoder.fit(X, Y, times=TIMES[:5])
    with pytest.raises(ShapeMismatch, match="ascending"):
        encoder.fit(X, Y, times=TIMES[::-1])
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        encoder.fit(X[:-1], Y, times=TIMES)
    bad = Y.copy()
    bad[3, 2, 5] = np.nan
    with pytest.raises(ValueError, match=r"1 of 4 sites \(the first is 2\)"):
        encoder.fit(X, bad, times=TIMES)
    encoder.fit(X, Y, times=TIMES)
    with pytest.raises(ShapeMismatch, match="240 events and 4 sites"):
        encoder.scores(X, Y[:, :3], times=TIMES)
