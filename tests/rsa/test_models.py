"""Weights of models: exact against dense solvers on explicitly whitened vectors, recovered where planted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from neuro.errors import DuplicateIds, EmptySelection, ShapeMismatch, UnknownStimulus
from neuro.rsa._least_squares import nnls_gram, solve_gram
from neuro.rsa.compare import compare
from neuro.rsa.container import RDMs
from neuro.rsa.models import (
    Fixed,
    Interpolate,
    Select,
    Weighted,
    as_models,
    fit_vectors,
    model_family,
)

N = 8
PAIRS = N * (N - 1) // 2
LINEAR = ["cosine", "corr", "cosine_cov", "corr_cov"]


def whitened(x, method):
    """Vectors whose plain inner products are those of the measure, from the dense covariance of distances."""
    x = np.atleast_2d(x)
    if method.startswith("corr"):
        x = x - x.mean(1, keepdims=True)
    if not method.endswith("_cov"):
        return x
    i, j = np.triu_indices(N, 1)
    c = np.zeros((PAIRS, N))
    c[np.arange(PAIRS), i], c[np.arange(PAIRS), j] = 1, -1
    return np.linalg.solve(np.linalg.cholesky((c @ c.T) ** 2), x.T).T


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture
def planted(rng):
    basis = rng.random((4, PAIRS))
    data = np.array([1.0, 0.0, 0.5, 0.0]) @ basis + 0.05 * rng.standard_normal((5, PAIRS))
    return basis, data


@pytest.mark.parametrize("method", LINEAR)
def test_nonnegative_weights_are_nnls_of_whitened_vectors(rng, method):
    for _ in range(10):
        basis, data = rng.standard_normal((4, PAIRS)), rng.standard_normal((5, PAIRS))
        expected = nnls(whitened(basis, method).T, unit(whitened(data, method)).mean(0))[0]
        theta = Weighted(basis).fit(data, method)
        if expected.any():
            np.testing.assert_allclose(theta, expected / np.linalg.norm(expected), atol=1e-10)
        else:
            assert not theta.any()


@pytest.mark.parametrize("method", LINEAR)
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_free_weights_are_ridge_of_whitened_vectors(rng, method, ridge):
    basis, data = rng.random((3, PAIRS)), rng.random((5, PAIRS))
    x, y = whitened(basis, method), unit(whitened(data, method)).mean(0)
    penalty = ridge * np.mean((x**2).sum(1))
    expected = np.linalg.solve(x @ x.T + penalty * np.eye(3), x @ y)
    theta = Weighted(basis, nonnegative=False, ridge=ridge).fit(data, method)
    np.testing.assert_allclose(theta, expected / np.linalg.norm(expected), atol=1e-10)


@pytest.mark.parametrize("method", LINEAR)
def test_fitted_weights_have_the_largest_mean_similarity(planted, method, rng):
    basis, data = planted
    model = Weighted(basis)
    best = compare(model.predict(model.fit(data, method)), data, method).mean()
    others = rng.dirichlet(np.ones(4), 300) @ basis
    assert best >= compare(others, data, method).mean(1).max() - 1e-12


@pytest.mark.parametrize("method", [*LINEAR, "spearman", "rho-a", "tau-a"])
def test_planted_weights_are_recovered(planted, method):
    basis, data = planted
    theta = Weighted(basis).fit(data, method)
    assert np.linalg.norm(theta) == pytest.approx(1)
    tolerance = 0.05 if method in LINEAR else 0.2
    np.testing.assert_allclose(theta, np.array([1, 0, 0.5, 0]) / np.sqrt(1.25), atol=tolerance)


@pytest.mark.parametrize("method", ["spearman", "tau-a"])
def test_rank_search_is_seeded_and_never_below_its_starts(planted, method):
    basis, data = planted
    model = Weighted(basis)
    theta = model.fit(data, method, rng=3)
    np.testing.assert_array_equal(theta, model.fit(data, method, rng=3))
    assert compare(model.predict(theta), data, method).mean() >= compare(basis, data, method).mean(1).max()


def test_select_takes_the_most_similar(planted):
    basis, data = planted
    for method in ("corr", "tau-a"):
        theta = Select(basis).fit(data, method)
        assert theta.sum() == 1
        assert theta.argmax() == compare(basis, data, method).mean(1).argmax()


@pytest.mark.parametrize("method", LINEAR)
def test_interpolate_is_the_best_of_a_fine_grid(rng, method):
    basis = rng.random((3, PAIRS))
    data = 0.3 * basis[1] + 0.7 * basis[2] + 0.05 * rng.standard_normal((4, PAIRS))
    theta = Interpolate(basis).fit(data, method)
    assert theta.sum() == pytest.approx(1)
    assert theta[0] == 0
    position = np.linspace(0, 2, 2001)
    grid = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(3))) @ basis
    best = compare(grid, data, method).mean(1).max()
    assert compare(theta @ basis, data, method).mean() == pytest.approx(best, abs=1e-6)


def test_interpolate_on_ranks_is_close(rng):
    basis = rng.random((3, PAIRS))
    data = 0.3 * basis[1] + 0.7 * basis[2] + 0.01 * rng.standard_normal((4, PAIRS))
    np.testing.assert_allclose(Interpolate(basis).fit(data, "spearman"), [0, 0.3, 0.7], atol=0.1)


def test_interpolate_falls_back_on_the_better_end_where_all_weights_are_zero(rng):
    basis = rng.random((2, PAIRS))
    theta = Interpolate(basis).fit(-basis.sum(0)[None], "corr")
    assert sorted(theta) == [0, 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 6), st.floats(0, 1))
def test_active_sets_equal_scipy(seed, k, penalty):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((12, k)), rng.standard_normal(12)
    stacked = np.vstack([x, np.sqrt(penalty) * np.eye(k)])
    expected = nnls(stacked, np.r_[y, np.zeros(k)])[0]
    np.testing.assert_allclose(nnls_gram(x.T @ x, x.T @ y, penalty), expected, atol=1e-8)


def test_duplicate_and_constant_columns_do_no_harm(rng):
    x = rng.random((2, PAIRS))
    basis = np.vstack([x, x[0], np.ones(PAIRS)])
    data = x[0] + x[1]
    for nonnegative in (True, False):
        model = Weighted(basis, nonnegative=nonnegative)
        theta = model.fit(data, "corr")
        assert np.isfinite(theta).all()
        assert compare(model.predict(theta), data, "corr")[0, 0] == pytest.approx(1)
    np.testing.assert_allclose(solve_gram(np.ones((2, 2)), np.ones(2)), [0.5, 0.5])
    assert not nnls_gram(np.zeros((2, 2)), np.zeros(2)).any()


def test_missing_pairs_are_left_out_of_a_fit(planted):
    basis, data = planted
    holed = data.copy()
    holed[0, 3] = np.nan
    theta = fit_vectors(Weighted(basis), basis, holed, "corr")
    np.testing.assert_allclose(theta, Weighted(basis).fit(data, "corr"), atol=0.1)


def test_family_has_all_subsets_once():
    family = model_family({"a": np.arange(3.0), "b": np.ones(3), "c": np.array([2.0, 1, 5])})
    assert [m.name for m in family] == ["a", "b", "c", "a + b", "a + c", "b + c", "a + b + c"]
    assert [type(m) for m in family[:3]] == [Fixed] * 3
    assert len(model_family(np.random.default_rng(0).random((4, 6)), max_size=2)) == 10
    with pytest.raises(ValueError, match="subsets"):
        model_family(np.ones((13, 6)))


def test_models_come_from_everything_promised(rng):
    x = rng.random((2, PAIRS))
    named = RDMs(x, table={"name": ["a", "b"]})
    assert [m.name for m in as_models(named)] == ["a", "b"]
    assert [m.name for m in as_models({"u": x[0], "v": named[1], "w": Weighted(x)})] == ["u", "v", "w"]
    assert [m.name for m in as_models([Fixed(x[0], "f"), named])] == ["f", "a", "b"]
    assert [m.name for m in as_models([x[0], named])] == ["model 0", "a", "b"]
    assert len(as_models(list(x))) == len(as_models(x)) == 2
    np.testing.assert_array_equal(as_models(x)[1].predict(), x[1])
    with pytest.raises(DuplicateIds, match="unique"):
        as_models([Fixed(x[0], "f"), Fixed(x[1], "f")])
    with pytest.raises(EmptySelection):
        as_models([])


def test_conditions_are_matched_by_name(rng):
    x = rng.random(PAIRS)
    data = RDMs(x, conditions=list("abcdefgh"))
    shuffled = data.select(conditions=list("hgfedcba"))
    np.testing.assert_array_equal(Fixed(shuffled).aligned(data)[0], x)
    np.testing.assert_array_equal(Fixed(x).aligned(data)[0], x)
    with pytest.raises((ShapeMismatch, UnknownStimulus)):
        Fixed(RDMs(x, conditions=list("abcdefgX"))).aligned(data)


def test_bad_models_are_refused(rng):
    x = rng.random((2, PAIRS))
    with pytest.raises(ShapeMismatch, match="Fixed is one RDM"):
        Fixed(x)
    with pytest.raises(ShapeMismatch, match="at least two"):
        Interpolate(x[0])
    with pytest.raises(ValueError, match="ridge"):
        Weighted(x, ridge=-1)
    with pytest.raises(ShapeMismatch, match="weights"):
        Weighted(x).predict([1, 2, 3])
    with pytest.raises(ShapeMismatch):
        Weighted(x).fit(np.ones((2, 3)))


def test_torch_models_are_read(rng):
    torch = pytest.importorskip("torch")
    x = rng.random((2, PAIRS))
    np.testing.assert_allclose(Weighted(torch.tensor(x)).fit(torch.tensor(x[:1]), "corr"), [1, 0], atol=1e-12)
