"""``solve_ridge`` and ``Ridge`` against closed forms and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge

from neuro.encoders import Ridge, solve_ridge
from neuro.errors import ShapeMismatch


def test_weights_of_data_built_from_its_own_svd_are_the_closed_form(rng):
    U = np.linalg.qr(rng.standard_normal((30, 8)))[0]
    V = np.linalg.qr(rng.standard_normal((12, 8)))[0]
    s = np.linspace(5, 0.5, 8)
    b = rng.standard_normal((8, 4))
    alpha = np.array([0.1, 1.0, 10.0, 100.0])
    expected = (V @ (s[:, None] / (s[:, None] ** 2 + alpha) * b)).T
    np.testing.assert_allclose(solve_ridge(U * s @ V.T, U @ b, alpha), expected, atol=1e-13)


@pytest.mark.parametrize(("n", "p"), [(60, 15), (15, 60), (20, 20)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_primal_is_dual(rng, n, p, dtype):
    X, Y = rng.standard_normal((n, p)).astype(dtype), rng.standard_normal((n, 5)).astype(dtype)
    primal, dual = (solve_ridge(X, Y, 0.7, form=form) for form in ("primal", "dual"))
    assert primal.dtype == dtype
    np.testing.assert_allclose(primal, dual, atol=1e-12 if dtype == np.float64 else 2e-6)


@pytest.mark.parametrize(("n", "p"), [(60, 15), (15, 60)])
@pytest.mark.parametrize("intercept", [True, False])
def test_ridge_equals_scikit_learn_with_a_penalty_per_voxel(planted, n, p, intercept):
    X, Y = planted(n, p, 6)
    alpha = np.logspace(-3, 3, 6)
    ours = Ridge(alpha, fit_intercept=intercept).fit(X, Y)
    theirs = SklearnRidge(alpha, fit_intercept=intercept).fit(X, Y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-8)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-8)
    assert ours.solver_form_ == ("primal" if p <= n else "dual")


def test_float32_small_penalties_keep_their_digits(rng):
    """A float32 kernel loses them: relative errors of 3e-3 at alpha = 1e-3 are on record."""
    X = rng.standard_normal((80, 200)) * np.logspace(0, -2, 200)
    Y = X @ rng.standard_normal((200, 3))
    for alpha in (1e-3, 1e-1):
        exact = solve_ridge(X, Y, alpha)
        single = solve_ridge(X.astype(np.float32), Y.astype(np.float32), alpha)
        assert np.linalg.norm(single - exact) < 3e-5 * np.linalg.norm(exact)


def test_intercept_is_not_penalised():
    X = np.array([[-1.0], [1.0]])
    model = Ridge(1e9).fit(X, np.array([[1000.0], [1002.0]]))
    np.testing.assert_allclose(model.intercept_, [1001.0])
    np.testing.assert_allclose(model.coef_, [[2 / (2 + 1e9)]])


def test_float32_survives_an_offset_a_thousand_times_the_signal(planted, ridge_by_hand):
    X, Y = planted(100, 10, 4)
    X, Y = (X + 300).astype(np.float32), (Y + 3000).astype(np.float32)
    W, _ = ridge_by_hand(X.astype(np.float64), Y.astype(np.float64), 1.0)
    np.testing.assert_allclose(Ridge(1.0).fit(X, Y).coef_, W, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_equals_numpy(planted, dtype):
    X, Y = (torch.from_numpy(a).to(dtype) for a in planted(40, 12, 3))
    ours, theirs = Ridge(2.0).fit(X, Y), Ridge(2.0).fit(X.numpy(), Y.numpy())
    assert isinstance(ours.coef_, torch.Tensor)
    assert isinstance(ours.predict(X), torch.Tensor)
    assert ours.coef_.dtype == dtype
    np.testing.assert_array_equal(ours.coef_.numpy(), theirs.coef_)


def test_one_voxel_stays_two_dimensional_and_flat_stays_flat(planted):
    X, Y = planted(20, 3, 1)
    assert Ridge().fit(X, Y).coef_.shape == (1, 3)
    assert Ridge().fit(X, Y).predict(X).shape == (20, 1)
    assert Ridge().fit(X, Y[:, 0]).coef_.shape == (3,)
    assert isinstance(Ridge().fit(X, Y[:, 0]).intercept_, float)
    assert Ridge().fit(X, Y[:, 0]).predict(X).shape == (20,)


@pytest.mark.parametrize("alpha", [0, -1.0, np.nan, np.inf, "one", [1.0, -2.0], None])
def test_penalties_that_are_not_positive_numbers_are_refused(planted, alpha):
    X, Y = planted(20, 3, 2)
    with pytest.raises(ValueError, match="alpha must be"):
        Ridge(alpha).fit(X, Y)
    with pytest.raises(ValueError, match="alpha must be"):
        solve_ridge(X, Y, alpha)


def test_shapes_that_disagree_are_refused(planted):
    X, Y = planted(20, 3, 2)
    with pytest.raises(ShapeMismatch, match="one per voxel, 2"):
        Ridge([1.0, 2.0, 3.0]).fit(X, Y)
    with pytest.raises(ShapeMismatch, match=r"X has 20 rows, Y has 19 .*averaged"):
        Ridge().fit(X, Y[1:])
    with pytest.raises(ShapeMismatch, match="n_stimuli"):
        solve_ridge(X, Y[1:], 1.0)
    with pytest.raises(ValueError, match="form must be 'auto', 'primal' or 'dual', got 'svd'"):
        Ridge(form="svd").fit(X, Y)
