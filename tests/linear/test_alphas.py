"""The grid of penalties and its edges."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from neuro.encoders import AlphaAtBoundaryWarning, RidgeCV
from neuro.linear._alphas import Grid, auto_alphas


@pytest.fixture
def strong(rng):
    """60 voxels that want a penalty near p sigma^2 / |w|^2 = 9, and 40 of noise, which want an infinite one."""
    X = rng.standard_normal((200, 10))
    Y = X @ rng.standard_normal((10, 100)) + 3 * rng.standard_normal((200, 100))
    Y[:, 60:] = rng.standard_normal((200, 40))
    return X, Y


def test_default_grid_is_in_units_of_the_mean_squared_row(planted):
    X, Y = planted(80, 12, 3)
    model = RidgeCV().fit(X, Y)
    scale = ((X - X.mean(0)) ** 2).sum() / 80
    np.testing.assert_allclose(model.alphas_, np.logspace(-4, 6, 21) * scale)
    np.testing.assert_allclose(auto_alphas(2.0)[[0, -1]], [2e-4, 2e6])


def test_grid_that_stops_too_high_is_reported_with_a_percentage_of_the_predictable_voxels(strong):
    with pytest.warns(AlphaAtBoundaryWarning, match=r"of the \d\d voxels above baseline, the smallest .* \d+%"):
        model = RidgeCV(np.logspace(3, 6, 7)).fit(*strong)
    b, Y = model.boundary_, strong[1]
    above = model.best_score_ > -np.mean([((Y[v] - Y[t].mean(0)) ** 2).mean(0) for t, v in model.splits_], 0)
    assert b.n_voxels == 100
    assert b.n_above_baseline == above.sum()
    assert b.n_at_lower == (above & (model.alpha_ == 1e3)).sum() >= 60
    assert b.n_noise_at_upper == (~above & (model.alpha_ == 1e6)).sum() > 15
    assert b.share_at_lower == b.n_at_lower / b.n_above_baseline
    assert b.lower == 1e3


def test_noise_voxels_alone_do_not_warn(strong):
    X, Y = strong
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = RidgeCV(np.logspace(-3, 12, 16)).fit(X, Y[:, 60:])
    assert model.boundary_.n_noise_at_upper > 0


def test_grid_is_widened_on_request_until_the_optimum_is_inside(strong):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wide = RidgeCV(np.logspace(2, 12, 21), extend_grid=True).fit(*strong)
    assert wide.boundary_.n_extended_lower == 4
    assert wide.boundary_.n_extended_upper == 0
    np.testing.assert_allclose(wide.alphas_, np.logspace(0, 12, 25))
    assert wide.cv_scores_.shape == (25, 100)
    given = RidgeCV(np.logspace(0, 12, 25)).fit(*strong)
    np.testing.assert_allclose(wide.cv_scores_, given.cv_scores_, rtol=1e-9)
    np.testing.assert_allclose(wide.alpha_, given.alpha_)


def test_edges_move_twice_at_most_and_then_warn(strong):
    with pytest.warns(AlphaAtBoundaryWarning, match="Even the widened grid is too narrow"):
        model = RidgeCV(np.logspace(7, 8, 3), extend_grid=True).fit(*strong)
    assert model.boundary_.n_extended_lower == 8
    np.testing.assert_allclose(model.alphas_.min(), 1000.0)


def test_grid_that_is_wide_enough_is_left_alone(strong):
    alphas = np.logspace(-4, 12, 17)
    model = RidgeCV(alphas, extend_grid=True).fit(*strong)
    np.testing.assert_array_equal(model.alphas_, alphas)


def test_rows_of_scores_follow_the_order_given(strong):
    alphas = np.array([10.0, 0.1, 1e12, 1.0])
    mixed, rising = RidgeCV(alphas).fit(*strong), RidgeCV(np.sort(alphas)).fit(*strong)
    np.testing.assert_array_equal(mixed.alphas_, alphas)
    np.testing.assert_allclose(mixed.cv_scores_, rising.cv_scores_[[2, 0, 3, 1]], rtol=1e-9)
    np.testing.assert_array_equal(mixed.alpha_, rising.alpha_)


def test_planned_edges_continue_the_spacing():
    grid = Grid.plan(np.logspace(0, 3, 7), extend=True)
    np.testing.assert_allclose(grid.alphas, np.logspace(-4, 7, 23))
    np.testing.assert_allclose(grid.alphas[grid.given], np.logspace(0, 3, 7))
    with pytest.raises(ValueError, match="at least two alphas"):
        Grid.plan(np.array([1.0]), extend=True)


@pytest.mark.parametrize(
    ("alphas", "message"),
    [
        (0, "above 0, got"),
        ([1.0, -2.0, 0.0], r"above 0, got .*2\.0.* and 1 more"),
        ([1.0, np.nan], "finite and above 0"),
        ([1.0, np.inf], "finite and above 0"),
        ([], "at least one"),
        ([[1.0, 2.0]], "flat list"),
        ("wide", "'auto' or positive numbers, got 'wide'"),
        (None, "finite and above 0"),
        ([1.0, "b"], "positive numbers"),
        ([1.0, 1.0], "differ from one another"),
    ],
)
def test_penalties_that_cannot_be_are_refused_before_any_work(planted, alphas, message):
    X, Y = planted(40, 5, 3)
    with pytest.raises(ValueError, match=message):
        RidgeCV(alphas).fit(X, Y)


@pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning")
def test_penalties_may_be_a_tensor(planted):
    X, Y = (torch.from_numpy(a) for a in planted(40, 5, 3))
    model = RidgeCV(torch.logspace(-3, 12, 4, dtype=torch.float64)).fit(X, Y)
    np.testing.assert_allclose(model.alphas_, np.logspace(-3, 12, 4))
