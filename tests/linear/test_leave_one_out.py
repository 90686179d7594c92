"""Exact leave-one-out and generalised cross-validation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV as SklearnRidgeCV
from sklearn.model_selection import LeaveOneOut

from neuro.encoders import RidgeCV
from neuro.errors import SplitLeakage

pytestmark = pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning")
ALPHAS = np.logspace(-2, 4, 7)


@pytest.mark.parametrize(("n", "p"), [(30, 6), (20, 18), (15, 40)])
@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("intercept", [True, False])
def test_formula_is_leaving_out_every_row(planted, cv_by_hand, n, p, form, intercept):
    X, Y = planted(n, p, 4)
    model = RidgeCV(ALPHAS, cv="loo", form=form, fit_intercept=intercept).fit(X, Y)
    expected = cv_by_hand(X, Y, ALPHAS, list(LeaveOneOut().split(X)), intercept=intercept)
    np.testing.assert_allclose(model.cv_scores_, expected, rtol=1e-10, atol=1e-10)
    folds = RidgeCV(ALPHAS, cv=LeaveOneOut(), form=form, fit_intercept=intercept).fit(X, Y)
    np.testing.assert_allclose(folds.cv_scores_, expected, rtol=1e-8)
    np.testing.assert_array_equal(folds.alpha_, model.alpha_)
    assert model.splits_ is None


@pytest.mark.parametrize(("n", "p"), [(40, 6), (20, 50)])
def test_equals_scikit_learn_target_by_target(planted, n, p):
    X, Y = planted(n, p, 5)
    alphas = np.logspace(-2, 7, 99)
    ours = RidgeCV(alphas, cv="loo").fit(X, Y)
    for v in range(5):
        theirs = SklearnRidgeCV(alphas).fit(X, Y[:, v])
        assert ours.alpha_[v] == pytest.approx(theirs.alpha_)
        assert ours.best_score_[v] == pytest.approx(theirs.best_score_, rel=1e-8)
        np.testing.assert_allclose(ours.predict(X)[:, v], theirs.predict(X), rtol=1e-9)


@pytest.mark.parametrize(("n", "p"), [(40, 6), (20, 50)])
@pytest.mark.parametrize("form", ["primal", "dual"])
def test_gcv_is_its_definition(planted, n, p, form):
    X, Y = planted(n, p, 3)
    model = RidgeCV(ALPHAS, cv="gcv", form=form).fit(X, Y)
    A = X - X.mean(0)
    for i, alpha in enumerate(ALPHAS):
        H = A @ np.linalg.solve(A.T @ A + alpha * np.eye(p), A.T) + 1 / n
        error = ((Y - H @ Y) ** 2).mean(0) / (1 - np.trace(H) / n) ** 2
        np.testing.assert_allclose(model.cv_scores_[i], -error, rtol=1e-7)


def test_centring_outside_does_not_choose_the_smallest_penalty_for_wide_data(planted):
    """The trap: leave-one-out on globally centred data without the intercept inside interpolates the left-out row."""
    X, Y = planted(30, 60, 20)
    model = RidgeCV(cv="loo").fit(X, Y)
    assert (model.alpha_ > model.alphas_[0]).mean() > 0.9


def test_float32_follows_float64(planted):
    for n, p in ((200, 20), (40, 100)):
        X, Y = planted(n, p, 30)
        for cv in ("loo", "gcv"):
            double = RidgeCV(ALPHAS, cv=cv).fit(X, Y)
            single = RidgeCV(ALPHAS, cv=cv).fit(X.astype(np.float32), Y.astype(np.float32))
            np.testing.assert_allclose(single.cv_scores_, double.cv_scores_, rtol=1e-3)


def test_repeats_are_refused(planted):
    X, Y = planted(20, 4, 2)
    for cv in ("loo", "gcv"):
        with pytest.raises(SplitLeakage, match=f"cv='{cv}' leaves out single rows, but groups has 10 repeats"):
            RidgeCV(cv=cv).fit(X, Y, groups=np.repeat(np.arange(10), 2))
        RidgeCV(cv=cv).fit(X, Y, groups=np.arange(20))


def test_other_scores_are_refused(planted):
    X, Y = planted(20, 4, 2)
    with pytest.raises(ValueError, match="cv='loo' works with scoring='neg_mse' only, got 'r2'"):
        RidgeCV(cv="loo", scoring="r2").fit(X, Y)
    with pytest.raises(ValueError, match="cv must be 'loo' or 'gcv', got 'lo'"):
        RidgeCV(cv="lo").fit(X, Y)
