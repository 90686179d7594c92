"""The same answers as himalaya on the same splits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import KFold

from neuro.encoders import RidgeCV
from neuro.encoders.banded import BandedRidgeCV

pytestmark = pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning")
ALPHAS = np.logspace(-2, 5, 12)


@pytest.mark.parametrize("intercept", [True, False])
def test_tall_data_equal_its_ridge(planted, himalaya, intercept):
    X, Y = planted(120, 30, 25)
    if not intercept:
        X, Y = X - X.mean(0), Y - Y.mean(0)
    cv = KFold(5, shuffle=True, random_state=3)
    ours = RidgeCV(ALPHAS, cv=cv, fit_intercept=intercept).fit(X, Y)
    theirs = himalaya.ridge.RidgeCV(ALPHAS, cv=cv, fit_intercept=intercept).fit(X, Y)
    np.testing.assert_allclose(ours.alpha_, theirs.best_alphas_)
    np.testing.assert_allclose(ours.best_score_, np.ravel(theirs.cv_scores_), rtol=3e-9)  # it adds 1e-10 log(alpha)
    np.testing.assert_allclose(ours.coef_, theirs.coef_.T, atol=1e-9)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-9)
    if intercept:
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-9)


def test_wide_data_equal_its_kernel_ridge(planted, himalaya):
    X, Y = planted(60, 150, 25)
    X, Y = X - X.mean(0), Y - Y.mean(0)
    cv = KFold(4)
    ours = RidgeCV(ALPHAS, cv=cv, fit_intercept=False).fit(X, Y)
    theirs = himalaya.kernel_ridge.KernelRidgeCV(ALPHAS, cv=cv).fit(X, Y)
    np.testing.assert_allclose(ours.alpha_, theirs.best_alphas_)
    np.testing.assert_allclose(ours.best_score_, np.ravel(theirs.cv_scores_), rtol=3e-9)  # it adds 1e-10 log(alpha)
    np.testing.assert_allclose(ours.coef_, theirs.get_primal_coef().T, atol=1e-9)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-9)


def test_wide_data_with_an_intercept_predict_the_same(planted, himalaya):
    X, Y = planted(60, 150, 25)
    cv = KFold(4, shuffle=True, random_state=0)
    ours = RidgeCV(ALPHAS, cv=cv).fit(X, Y)
    theirs = himalaya.kernel_ridge.KernelRidgeCV(ALPHAS, cv=cv, fit_intercept=True).fit(X, Y)
    np.testing.assert_allclose(ours.alpha_, theirs.best_alphas_)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-8)


def test_float32_takes_its_penalties(planted, himalaya):
    X, Y = planted(300, 80, 400, dtype=np.float32)
    cv = KFold(5)
    ours = RidgeCV(ALPHAS, cv=cv).fit(X, Y)
    theirs = himalaya.ridge.RidgeCV(ALPHAS.astype(np.float32), cv=cv, fit_intercept=True).fit(X, Y)
    assert np.mean(np.isclose(ours.alpha_, theirs.best_alphas_)) > 0.99
    np.testing.assert_allclose(ours.best_score_, np.ravel(theirs.cv_scores_), rtol=1e-4)


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_single_precision_bands_take_its_candidates_and_penalties(planted, himalaya, form):
    X, Y = planted(300, 80, 200, dtype=np.float32)
    Xs = {"a": X[:, :30] - X[:, :30].mean(0), "b": X[:, 30:] - X[:, 30:].mean(0)}
    Y = Y - Y.mean(0)
    gammas = np.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9], [1 - 1e-6, 1e-6], [1e-9, 1 - 1e-9]], np.float32)
    ours = BandedRidgeCV(ALPHAS, KFold(5), band_weights=gammas, scale_bands=False, fit_intercept=False, form=form).fit(
        Xs, Y
    )
    kernels = np.stack([x @ x.T for x in Xs.values()])
    theirs = himalaya.kernel_ridge.MultipleKernelRidgeCV(
        kernels="precomputed",
        cv=KFold(5),
        solver_params={"n_iter": gammas, "alphas": ALPHAS.astype(np.float32), "progress_bar": False},
    ).fit(kernels, Y)
    same = np.isclose(ours.deltas_, theirs.deltas_, atol=1e-3).all(0)
    assert same.mean() > 0.98
    np.testing.assert_allclose(ours.best_score_, theirs.cv_scores_.max(0), rtol=1e-4)
    np.testing.assert_allclose(ours.predict(Xs)[:, same], theirs.predict(kernels)[:, same], atol=2e-3)
