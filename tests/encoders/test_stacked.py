"""Stacked regression: exact mixtures, fold-by-fold residuals by hand, planted truth."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from sklearn.model_selection import KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from neuro.encoders import AlphaAtBoundaryWarning, RidgeCV
from neuro.encoders._bands import CollinearBandsWarning
from neuro.encoders.stacked import StackedRidgeCV, _all_supports, _projected_gradient, simplex_weights
from neuro.errors import DuplicateIds, EmptySelection, ShapeMismatch

pytestmark = [
    pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning"),
    pytest.mark.filterwarnings("ignore::neuro.encoders.RepeatedStimuliWarning"),
]


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = {
        "a": rng.standard_normal((90, 8)) + 1,
        "b": 4 * rng.standard_normal((90, 12)),
        "c": rng.standard_normal((90, 5)),
    }
    Y = X["a"] @ rng.standard_normal((8, 6)) * [3, 3, 1, 1, 0, 0] + X["b"] @ rng.standard_normal((12, 6)) * [
        0,
        0,
        1,
        1,
        3,
        3,
    ]
    return X, Y + 2 * rng.standard_normal((90, 6)) + 5


def by_nnls(P):
    """Minimise w'Pw on the simplex: non-negative least squares with the sum as a heavy extra row."""
    L = np.linalg.cholesky(P + 1e-12 * np.eye(len(P)) * np.trace(P))
    heavy = 1e4 * np.sqrt(np.trace(P))
    w, _ = nnls(np.vstack([L.T, heavy * np.ones(len(P))]), np.r_[np.zeros(len(P)), heavy])
    return w / w.sum()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(0, 10_000))
def test_weights_minimise_the_error_on_the_simplex(n_bands, seed):
    rng = np.random.default_rng(seed)
    E = rng.standard_normal((4, 30, n_bands)) * rng.uniform(0.3, 3, n_bands) + rng.standard_normal((4, 30, 1))
    P = np.einsum("vni,vnj->vij", E, E)
    w = simplex_weights(P)
    assert (w >= 0).all()
    np.testing.assert_allclose(w.sum(1), 1)
    np.testing.assert_allclose(w, [by_nnls(p) for p in P], atol=1e-4)
    np.testing.assert_allclose(simplex_weights(torch.from_numpy(P)).numpy(), w)
    np.testing.assert_allclose(simplex_weights(1e-12 * P), w, atol=1e-9)


def test_two_spaces_have_a_closed_form():
    P = np.array([[[2.0, 0.5], [0.5, 1.0]], [[1.0, 2.0], [2.0, 9.0]], [[1.0, 1.0], [1.0, 1.0]]])
    top = (P[:, 1, 1] - P[:, 0, 1])[:2] / (P[:, 0, 0] + P[:, 1, 1] - 2 * P[:, 0, 1])[:2]
    w = simplex_weights(P)
    np.testing.assert_allclose(w[:2, 0], np.clip(top, 0, 1), atol=1e-9)
    np.testing.assert_allclose(w[2], 0.5)  # equal spaces share


def test_many_spaces_go_by_gradient():
    rng = np.random.default_rng(0)
    E = rng.standard_normal((5, 60, 8)) * np.linspace(0.5, 2, 8) + rng.standard_normal((5, 60, 1))
    P = torch.from_numpy(np.einsum("vni,vnj->vij", E, E) / 60)
    np.testing.assert_allclose(_projected_gradient(P, 2000), _all_supports(P), atol=1e-5)
    wide = simplex_weights(np.eye(11)[None] * np.arange(1, 12))
    np.testing.assert_allclose(wide[0], (1 / np.arange(1, 12)) / (1 / np.arange(1, 12)).sum(), atol=1e-5)


def test_against_folds_by_hand(data, ridge_by_hand):
    X, Y = data
    splits = list(KFold(4).split(Y))
    model = StackedRidgeCV(cv=splits).fit(X, Y)
    errors = np.zeros((3, *Y.shape))
    for k, x in enumerate(X.values()):
        alone = RidgeCV(cv=splits).fit(x, Y)
        np.testing.assert_allclose(model.alpha_[k], alone.alpha_)
        for train, val in splits:
            W, b = ridge_by_hand(x[train], Y[train], alone.alpha_)
            errors[k][val] = Y[val] - x[val] @ W.T - b
    P = np.einsum("knv,lnv->vkl", errors, errors) / len(Y)
    expected = np.array([by_nnls(p) for p in P])
    np.testing.assert_allclose(model.stack_weights_.T, expected, atol=1e-5)
    np.testing.assert_allclose(model.band_scores_, 1 - (errors**2).mean(1) / Y.var(0), atol=1e-9)
    best = np.einsum("vk,vkl,vl->v", expected, P, expected)
    np.testing.assert_allclose(model.best_score_, 1 - best / Y.var(0), atol=1e-6)
    assert (model.best_score_ >= model.band_scores_.max(0) - 1e-12).all()
    prediction = sum(
        w[:, None] * RidgeCV(cv=splits).fit(x, Y).predict(x).T
        for w, x in zip(model.stack_weights_, X.values(), strict=True)
    ).T
    np.testing.assert_allclose(model.predict(X), prediction, atol=1e-9)


def test_planted_spaces_are_found(data):
    X, Y = data
    model = StackedRidgeCV().fit(X, Y)
    assert (model.stack_weights_[0, :2] > 0.8).all()
    assert (model.stack_weights_[1, 4:] > 0.8).all()
    assert (model.stack_weights_[2] < 0.2).all()


def test_one_space_is_ridge_and_parts_sum(data):
    X, Y = data
    one = StackedRidgeCV().fit({"b": X["b"]}, Y)
    plain = RidgeCV().fit(X["b"], Y)
    np.testing.assert_array_equal(one.stack_weights_, 1)
    np.testing.assert_allclose(one.coef_, plain.coef_, atol=1e-10)
    np.testing.assert_allclose(one.intercept_, plain.intercept_, atol=1e-10)
    model = StackedRidgeCV().fit(X, Y)
    parts = model.predict(X, split=True)
    np.testing.assert_allclose(sum(parts.values()) + model.y_mean_, model.predict(X), atol=1e-9)
    A = np.hstack(list(X.values()))
    bands = {"a": slice(0, 8), "b": slice(8, 20), "c": slice(20, 25)}
    np.testing.assert_allclose(StackedRidgeCV(bands=bands).fit(A, Y).predict(A), model.predict(X), atol=1e-9)


def test_tensors_flat_responses_and_pickles(data):
    X, Y = data
    model = StackedRidgeCV().fit(X, Y)
    tensors = StackedRidgeCV().fit({k: torch.from_numpy(x) for k, x in X.items()}, torch.from_numpy(Y))
    assert isinstance(tensors.stack_weights_, torch.Tensor)
    assert isinstance(model.encoders_["a"].alpha_, np.ndarray)
    np.testing.assert_allclose(tensors.coef_.numpy(), model.coef_, atol=1e-10)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(tensors)).predict(X), model.predict(X), atol=1e-10)
    flat = StackedRidgeCV().fit(X, Y[:, 2])
    assert flat.stack_weights_.shape == (3,)
    np.testing.assert_allclose(flat.predict(X), StackedRidgeCV().fit(X, Y[:, [2]]).predict(X)[:, 0])
    assert flat.predict(X, split=True)["a"].shape == (90,)
    single = StackedRidgeCV().fit({k: x.astype(np.float32) for k, x in X.items()}, Y.astype(np.float32))
    np.testing.assert_allclose(single.predict(X), model.predict(X), atol=2e-2)


@parametrize_with_checks([StackedRidgeCV()])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def test_bad_input(data):
    X, Y = data
    with pytest.raises(ValueError, match="cv must be"):
        StackedRidgeCV(cv="loo").fit(X, Y)
    with pytest.raises(DuplicateIds):
        StackedRidgeCV(bands={"a": [0, 1], "b": [1, 2]}).fit(X["a"][:, :3], Y)
    with pytest.raises(ValueError, match="in none"):
        StackedRidgeCV(bands={"a": [0, 1]}).fit(X["a"][:, :3], Y)
    with pytest.raises(ShapeMismatch, match="n_voxels, n_bands, n_bands"):
        simplex_weights(np.eye(3))
    with pytest.raises(ValueError, match="1 of 6 voxels"):
        StackedRidgeCV().fit(X, np.where(np.arange(6) == 1, np.nan, Y))
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        StackedRidgeCV().fit({"a": X["a"], "b": X["b"][:-1]}, Y)
    with pytest.raises(EmptySelection, match="at least one"):
        StackedRidgeCV().fit({}, Y)
    constant = StackedRidgeCV().fit(X, np.where(np.arange(6) == 1, 3.0, Y))
    np.testing.assert_allclose(constant.predict(X)[:, 1], 3.0)


def test_collinear_spaces_warn_and_share(data):
    X, Y = data
    with pytest.warns(CollinearBandsWarning, match=r"1 of 3 pairs.*'a' and 'again'"):
        twice = StackedRidgeCV().fit({"a": X["a"], "b": X["b"], "again": 1 - 2 * X["a"]}, Y)
    np.testing.assert_allclose(twice.stack_weights_[0], twice.stack_weights_[2], atol=1e-3)
    np.testing.assert_allclose(
        twice.predict({"a": X["a"], "b": X["b"], "again": 1 - 2 * X["a"]}),
        StackedRidgeCV().fit({"a": X["a"], "b": X["b"]}, Y).predict({"a": X["a"], "b": X["b"]}),
        atol=1e-4,
    )
    wide = np.random.default_rng(0).standard_normal((90, 200))
    with pytest.warns(CollinearBandsWarning):
        StackedRidgeCV().fit({"a": wide, "b": wide[:, ::-1]}, Y)


@pytest.mark.filterwarnings("default::neuro.encoders.AlphaAtBoundaryWarning")
def test_fits_that_warn_alike_warn_once(data):
    X, Y = data
    with pytest.warns(AlphaAtBoundaryWarning, match=r"\d feature spaces warn like this") as caught:
        StackedRidgeCV([1e-3, 2e-3]).fit(X, Y)
    assert len(caught) == 1
