"""Banded ridge against brute force, himalaya, plain ridge and planted truth."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.model_selection import KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from neuro.encoders import Ridge, RidgeCV
from neuro.encoders._band_systems import Features, Kernels
from neuro.encoders._bands import CollinearBandsWarning, sample_weights
from neuro.encoders.banded import BandedRidgeCV
from neuro.errors import DuplicateIds, EmptySelection, ShapeMismatch, SplitLeakage

pytestmark = [
    pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning"),
    pytest.mark.filterwarnings("ignore::neuro.encoders.RepeatedStimuliWarning"),
]
ALPHAS = np.logspace(-2, 4, 9)
GAMMAS = np.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9], [0.99, 0.01]])


@pytest.fixture
def two_bands():
    """``two_bands(n, p1, p2, v)``: the first half of the voxels is driven by band a, the other by band b."""

    def make(n=80, p1=10, p2=15, v=6, seed=0, noise=2.0, dtype=np.float64):
        rng = np.random.default_rng(seed)
        X = {"a": rng.standard_normal((n, p1)) + 1, "b": 5 * rng.standard_normal((n, p2)) - 2}
        W = {k: rng.standard_normal((x.shape[1], v)) / x.std() for k, x in X.items()}
        W["a"][:, v // 2 :] *= 0.05
        W["b"][:, : v // 2] *= 0.05
        Y = sum(X[k] @ W[k] for k in X) + noise * rng.standard_normal((n, v)) + 3
        return {k: x.astype(dtype) for k, x in X.items()}, Y.astype(dtype)

    return make


def scaled(X, penalties):
    """Columns such that unit ridge has the bands' penalties."""
    return np.hstack([x / np.sqrt(p) for x, p in zip(X.values(), penalties, strict=True)])


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_published_numbers(form):
    rng = np.random.RandomState(0)
    X1, X2 = rng.randn(120, 30), rng.randn(120, 50)
    X = np.hstack([X1, X2])
    X -= X.mean(0)
    W = np.vstack([rng.randn(30, 7) * 0.5, rng.randn(50, 7) * 0.05])
    Y = X @ W + 2 * rng.randn(120, 7)
    Y -= Y.mean(0)
    options = {"cv": KFold(5), "fit_intercept": False, "scale_bands": False, "form": form}
    alphas = np.logspace(-2, 4, 13)
    plain = BandedRidgeCV(alphas, **options).fit(X, Y)
    np.testing.assert_allclose(np.log10(plain.alpha_), [2, 1.5, 1.5, 1.5, 2, 2, 1.5])
    expected = [-7.9444, -7.6579, -7.2001, -6.7958, -9.3553, -7.4534, -6.7551]
    np.testing.assert_allclose(plain.best_score_, expected, atol=5e-5)
    bands = {"one": slice(0, 30), "two": slice(30, 80)}
    model = BandedRidgeCV(alphas, bands=bands, band_weights=GAMMAS, **options).fit(X, Y)
    np.testing.assert_array_equal(model.candidate_, 3)
    np.testing.assert_allclose(np.log10(model.alpha_), [1.5, 1, 1, 0.5, 1, 1, 0.5], atol=1e-12)
    expected = [-5.9927, -5.6087, -5.2923, -5.1251, -7.1069, -5.4027, -4.6502]
    np.testing.assert_allclose(model.best_score_, expected, atol=5e-5)


@pytest.mark.parametrize("shape", [(60, 12), (30, 50)])
@pytest.mark.parametrize("scoring", ["neg_mse", "r2", "pearson"])
def test_one_band_is_ridge(planted, shape, scoring):
    X, Y = planted(*shape, 8)
    plain = RidgeCV(scoring=scoring).fit(X, Y)
    for model in (
        BandedRidgeCV(scoring=scoring).fit(X, Y),
        BandedRidgeCV(scoring=scoring, scale_bands=False).fit({"all": X}, Y),
        BandedRidgeCV(scoring=scoring, bands={"all": slice(None)}).fit(X, Y),
    ):
        np.testing.assert_allclose(model.alpha_, plain.alpha_)
        np.testing.assert_allclose(model.cv_scores_[0], plain.best_score_, atol=1e-10)
        np.testing.assert_allclose(model.coef_, plain.coef_, atol=1e-10)
        np.testing.assert_allclose(model.intercept_, plain.intercept_, atol=1e-10)
        np.testing.assert_array_equal(model.band_weights_, 1)
        assert model.solver_form_ == plain.solver_form_
        assert model.boundary_ == plain.boundary_


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("scale_bands", [False, True])
def test_fixed_weights_are_ridge_on_scaled_features(two_bands, form, scale_bands):
    X, Y = two_bands()
    gamma = np.array([0.3, 0.7])
    model = BandedRidgeCV(ALPHAS, band_weights=gamma, form=form, scale_bands=scale_bands).fit(X, Y)
    Z = scaled(X, 1 / (gamma * model.band_scales_))
    plain = RidgeCV(ALPHAS).fit(Z, Y)
    np.testing.assert_allclose(model.alpha_, plain.alpha_)
    np.testing.assert_allclose(model.cv_scores_[0], plain.best_score_, rtol=1e-9)
    np.testing.assert_allclose(model.predict(X), plain.predict(Z), atol=1e-9)
    np.testing.assert_allclose(model.deltas_, np.log(gamma * model.band_scales_)[:, None] - np.log(model.alpha_))
    if scale_bands:
        squares = [((x - x.mean(0)) ** 2).sum() for x in X.values()]
        np.testing.assert_allclose(model.band_scales_ * squares, np.mean(squares))


@pytest.mark.parametrize("scoring", ["neg_mse", "r2", "pearson"])
def test_every_candidate_against_brute_force(two_bands, cv_by_hand, scoring):
    X, Y = two_bands()
    splits = list(KFold(4).split(Y))
    model = BandedRidgeCV(ALPHAS, splits, band_weights=GAMMAS, scale_bands=False, scoring=scoring).fit(X, Y)
    tables = np.stack([cv_by_hand(scaled(X, 1 / g), Y, ALPHAS, splits, scoring) for g in GAMMAS])
    np.testing.assert_allclose(model.cv_scores_, tables.max(1), rtol=1e-8)
    np.testing.assert_array_equal(model.candidate_, tables.max(1).argmax(0))
    np.testing.assert_allclose(model.best_score_, tables.max((0, 1)), rtol=1e-8)


@pytest.mark.parametrize("shape", [(80, 10, 15), (30, 40, 25)])
def test_equals_himalaya_kernels(two_bands, himalaya, shape):
    X, Y = two_bands(*shape)
    X, Y = {k: x - x.mean(0) for k, x in X.items()}, Y - Y.mean(0)
    options = {"n_iter": GAMMAS, "alphas": ALPHAS, "progress_bar": False}
    theirs = himalaya.kernel_ridge.MultipleKernelRidgeCV(
        kernels="precomputed", cv=KFold(4), solver_params=options, random_state=0
    ).fit(np.stack([x @ x.T for x in X.values()]), Y)
    ours = BandedRidgeCV(ALPHAS, KFold(4), band_weights=GAMMAS, scale_bands=False, fit_intercept=False).fit(X, Y)
    np.testing.assert_allclose(ours.deltas_, theirs.deltas_, atol=1e-9)
    np.testing.assert_allclose(ours.cv_scores_, theirs.cv_scores_, rtol=1e-8)  # it adds 1e-10 log(alpha)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(np.stack([x @ x.T for x in X.values()])), atol=1e-8)
    split = theirs.predict(np.stack([x @ x.T for x in X.values()]), split=True)
    np.testing.assert_allclose(list(ours.predict(X, split=True).values()), split, atol=1e-8)


def test_equals_himalaya_groups(two_bands, himalaya):
    X, Y = two_bands()
    X, Y = {k: x - x.mean(0) for k, x in X.items()}, Y - Y.mean(0)
    options = {"n_iter": GAMMAS, "alphas": ALPHAS, "progress_bar": False, "warn": False}
    theirs = himalaya.ridge.GroupRidgeCV(groups="input", cv=KFold(4), solver_params=options, random_state=0)
    theirs.fit(list(X.values()), Y)
    ours = BandedRidgeCV(ALPHAS, KFold(4), band_weights=GAMMAS, scale_bands=False, fit_intercept=False).fit(X, Y)
    np.testing.assert_allclose(ours.deltas_, theirs.deltas_, atol=1e-9)
    np.testing.assert_allclose(ours.cv_scores_, theirs.cv_scores_, rtol=1e-8)
    np.testing.assert_allclose(ours.coef_.T, theirs.coef_, atol=1e-8)


@pytest.mark.parametrize(
    "options", [{}, {"refine": 4}, {"search": "halving", "n_iter": 30}, {"cv": [(np.arange(40), np.arange(50, 80))]}]
)
def test_primal_is_dual_and_tensors_are_arrays(two_bands, options):
    X, Y = two_bands()
    options = {"n_iter": 8, **options}
    model = BandedRidgeCV(form="primal", **options).fit(X, Y)
    other = BandedRidgeCV(form="dual", **options).fit(X, Y)
    tensors = BandedRidgeCV(form="primal", **options).fit(
        {k: torch.from_numpy(x) for k, x in X.items()}, torch.from_numpy(Y)
    )
    tolerance = 1e-2 if "refine" in options else 1e-8  # a path of accepted steps amplifies rounding
    np.testing.assert_allclose(other.best_score_, model.best_score_, rtol=tolerance)
    np.testing.assert_allclose(other.coef_, model.coef_, atol=5 * tolerance)
    np.testing.assert_allclose(tensors.coef_.numpy(), model.coef_, atol=1e-9)
    for name in ("deltas_", "band_weights_", "alpha_", "cv_scores_"):
        assert isinstance(getattr(tensors, name), torch.Tensor)
        np.testing.assert_allclose(getattr(tensors, name).numpy(), getattr(model, name), atol=1e-9)


def test_single_precision_agrees(two_bands):
    X, Y = two_bands(200, 20, 30, 20)
    single = {k: x.astype(np.float32) for k, x in X.items()}
    model = BandedRidgeCV(n_iter=10).fit(X, Y)
    small = BandedRidgeCV(n_iter=10, refine=3).fit(single, Y.astype(np.float32))
    assert small.coef_.dtype == np.float32
    np.testing.assert_allclose(small.cv_scores_, model.cv_scores_, rtol=1e-3)
    assert (small.best_score_ >= model.best_score_ * (1 + np.sign(model.best_score_) * -1e-4)).all()


def test_finds_the_band_that_drives_a_voxel(two_bands):
    X, Y = two_bands(150, 10, 15, 10)
    model = BandedRidgeCV(n_iter=30).fit(X, Y)
    assert (model.band_weights_[0, :5] > 0.8).all()
    assert (model.band_weights_[1, 5:] > 0.8).all()
    T, Z = two_bands(150, 10, 15, 10)
    assert (
        model.score(T, Z) > RidgeCV().fit(np.hstack(list(X.values())), Y).score(np.hstack(list(T.values())), Z) - 0.05
    )


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("scoring", ["neg_mse", "r2"])
def test_refined_scores_and_weights_are_those_of_their_penalties(two_bands, cv_by_hand, form, scoring):
    X, Y = two_bands()
    splits = list(KFold(4).split(Y))
    options = {"n_iter": 4, "form": form, "scoring": scoring}
    start = BandedRidgeCV("auto", splits, **options).fit(X, Y)
    model = BandedRidgeCV("auto", splits, refine=6, **options).fit(X, Y)
    assert (model.best_score_ >= start.best_score_).all()
    assert model.refined_.sum() >= 4
    np.testing.assert_array_equal(model.cv_scores_, start.cv_scores_)
    np.testing.assert_allclose(model.band_weights_[:, model.refined_].sum(0), 1)
    by_hand = np.log(model.band_weights_ * model.band_scales_[:, None] / model.alpha_)
    np.testing.assert_allclose(model.deltas_, by_hand, atol=1e-9)
    for v in range(Y.shape[1]):
        Z = scaled(X, np.exp(-model.deltas_[:, v]))
        score = cv_by_hand(Z, Y[:, [v]], [1.0], splits, scoring)[0, 0]
        assert model.best_score_[v] == pytest.approx(score, rel=1e-6)
        ridge = Ridge(1.0).fit(Z, Y[:, [v]])
        np.testing.assert_allclose(model.predict(X)[:, v], ridge.predict(Z)[:, 0], atol=1e-6)


def test_gradient_is_that_of_the_held_out_error():
    rng = np.random.default_rng(0)
    X, T = (torch.from_numpy(rng.standard_normal((n, 9))) for n in (20, 7))
    y, z = (torch.from_numpy(rng.standard_normal((3, n))) for n in (20, 7))
    band, delta = torch.tensor([0, 1, 2] * 3), torch.from_numpy(rng.standard_normal((3, 3)))
    within, across = (torch.stack([A[:, band == k] @ X[:, band == k].T for k in range(3)]) for A in (X, T))
    features, kernels = Features(X.T @ X, T, band, 3), Kernels(within, across)

    def solve(rows, delta, right):
        return torch.stack([torch.linalg.solve(A, r) for A, r in zip(dense(rows, delta), right, strict=True)])

    def dense(rows, delta):
        eye = torch.eye(9 if rows is features else 20, dtype=torch.float64)
        return [rows.operator(d.expand(len(eye), -1))(eye) for d in delta]

    def error(rows, delta):
        a = solve(rows, delta, rows.right_side(delta, y @ X if rows is features else y))
        e = rows.predict(delta, a) - z
        return a, e, e.square().sum(1)

    np.testing.assert_allclose(error(features, delta)[2], error(kernels, delta)[2])
    for rows in (features, kernels):
        a, e, _ = error(rows, delta)
        slope = rows.gradient(delta, a, solve(rows, delta, rows.adjoint(delta, e)), e)
        for k in range(3):
            shift = 1e-5 * torch.eye(3, dtype=torch.float64)[k]
            numeric = (error(rows, delta + shift)[2] - error(rows, delta - shift)[2]) / 2e-5
            np.testing.assert_allclose(slope[:, k], numeric, rtol=1e-6, atol=1e-8)


def test_refinement_reaches_the_optimum(two_bands, cv_by_hand):
    X, Y = two_bands(v=4)
    splits = list(KFold(4).split(Y))
    model = BandedRidgeCV("auto", splits, n_iter=10, refine=40).fit(X, Y)
    for v in range(4):

        def loss(delta, v=v):
            return -cv_by_hand(scaled(X, np.exp(-delta)), Y[:, [v]], [1.0], splits)[0, 0]

        best = minimize(loss, model.deltas_[:, v], method="Nelder-Mead", options={"maxiter": 200}).fun
        assert -model.best_score_[v] <= best * 1.01


def test_split_predictions_sum_to_the_prediction(two_bands):
    X, Y = two_bands()
    T, _ = two_bands(seed=1)
    model = BandedRidgeCV(n_iter=6).fit(X, Y)
    parts = model.predict(T, split=True)
    assert list(parts) == ["a", "b"]
    np.testing.assert_allclose(parts["a"] + parts["b"] + model.y_mean_, model.predict(T), atol=1e-10)
    np.testing.assert_allclose(sum(p.mean(0) for p in model.predict(X, split=True).values()), 0, atol=1e-10)
    np.testing.assert_allclose(model.predict(np.hstack(list(T.values()))), model.predict(T))
    np.testing.assert_allclose(model.predict({"b": T["b"], "a": T["a"]}), model.predict(T))
    np.testing.assert_array_equal(model.coef_of("b"), model.coef_[:, 10:])


def test_bands_may_interleave(two_bands):
    X, Y = two_bands(p1=10, p2=10)
    A = np.empty((80, 20))
    A[:, ::2], A[:, 1::2] = X["a"], X["b"]
    odd = np.arange(20) % 2 == 1
    model = BandedRidgeCV(n_iter=6, bands={"a": slice(0, None, 2), "b": odd}).fit(A, Y)
    apart = BandedRidgeCV(n_iter=6).fit(X, Y)
    np.testing.assert_allclose(model.predict(A), apart.predict(X), atol=1e-9)
    np.testing.assert_allclose(model.coef_of("a"), apart.coef_of("a"), atol=1e-9)
    np.testing.assert_allclose(model.predict(A, split=True)["b"], apart.predict(X, split=True)["b"], atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"refine": 3, "search": "halving", "n_iter": 16}])
def test_chunks_and_threads_change_nothing_and_inputs_stay(two_bands, options):
    X, Y = two_bands(v=9)
    before = [x.copy() for x in (*X.values(), Y)]
    options = {"n_iter": 6, **options}
    whole = BandedRidgeCV(**options).fit(X, Y)
    parts = BandedRidgeCV(memory_limit=20_000, n_jobs=2, **options).fit(X, Y)
    np.testing.assert_allclose(parts.coef_, whole.coef_, atol=1e-4 if options else 1e-10)
    np.testing.assert_allclose(parts.best_score_, whole.best_score_, rtol=1e-4 if options else 1e-10)
    for a, b in zip(before, (*X.values(), Y), strict=True):
        np.testing.assert_array_equal(a, b)


def test_flat_responses_and_pickles(two_bands):
    X, Y = two_bands()
    flat = BandedRidgeCV(n_iter=5, refine=2).fit(X, Y[:, 0])
    square = BandedRidgeCV(n_iter=5, refine=2).fit(X, Y[:, :1])
    assert flat.coef_.shape == (25,)
    assert flat.predict(X).shape == (80,)
    assert flat.predict(X, split=True)["a"].shape == (80,)
    assert isinstance(flat.alpha_, float)
    np.testing.assert_allclose(flat.coef_, square.coef_[0])
    again = pickle.loads(pickle.dumps(square))
    np.testing.assert_array_equal(again.predict(X), square.predict(X))


@parametrize_with_checks([BandedRidgeCV(), BandedRidgeCV(form="dual", refine=2, search="halving")])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(1, 30), st.integers(0, 99))
def test_candidates_are_on_the_simplex(n_bands, n, seed):
    weights = sample_weights(n, n_bands, (0.1, 1.0), seed)
    assert weights.shape == (n if n_bands > 1 else 1, n_bands)
    np.testing.assert_allclose(weights.sum(1), 1)
    np.testing.assert_allclose(weights[0], 1 / n_bands)
    np.testing.assert_array_equal(weights, sample_weights(n, n_bands, (0.1, 1.0), seed))


# bad input


@pytest.mark.parametrize(
    ("bands", "error", "says"),
    [
        ({"a": slice(0, 3)}, ValueError, "2 are in none"),
        ({"a": slice(0, 3), "b": slice(2, 5)}, DuplicateIds, r"column 2 in \['a', 'b'\]"),
        ({"a": slice(0, 5), "b": []}, (EmptySelection, ShapeMismatch), "b"),
        ({"a": slice(0, 5), "b": slice(5, 9)}, EmptySelection, "'b' has no columns"),
        ({"a": [0, 1, 2, 3, 9]}, ShapeMismatch, "5 columns"),
        ({}, EmptySelection, "at least one"),
        ([slice(0, 5)], ValueError, "map names"),
    ],
)
def test_bands_that_are_no_partition(bands, error, says):
    rng = np.random.default_rng(0)
    with pytest.raises(error, match=says):
        BandedRidgeCV(bands=bands).fit(rng.standard_normal((20, 5)), rng.standard_normal((20, 2)))


def test_mappings_that_do_not_fit(two_bands):
    X, Y = two_bands()
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        BandedRidgeCV().fit({"a": X["a"], "b": X["b"][:-1]}, Y)
    with pytest.raises(EmptySelection):
        BandedRidgeCV().fit({}, Y)
    with pytest.raises(EmptySelection, match="'b' has no columns"):
        BandedRidgeCV().fit({"a": X["a"], "b": X["b"][:, :0]}, Y)
    with pytest.raises(ShapeMismatch, match="n_features"):
        BandedRidgeCV().fit({"a": X["a"][:, 0]}, Y)
    with pytest.raises(ValueError, match="got both"):
        BandedRidgeCV(bands={"a": slice(None)}).fit(X, Y)
    with pytest.raises(TypeError, match="arrays or all"):
        BandedRidgeCV().fit({"a": X["a"], "b": torch.from_numpy(X["b"])}, Y)
    model = BandedRidgeCV(n_iter=3).fit(X, Y)
    with pytest.raises(ValueError, match=r"missing \['b'\]"):
        model.predict({"a": X["a"]})
    with pytest.raises(ShapeMismatch, match="15 features"):
        model.predict({"a": X["a"], "b": X["b"][:, :4]})
    with pytest.raises(ValueError, match="'a' or 'b'"):
        model.coef_of("c")


def test_options_that_do_not_fit(two_bands):
    X, Y = two_bands()
    for options, says in (
        ({"band_weights": [[1, 2, 3]]}, "2 bands"),
        ({"band_weights": [[-1, 2]]}, "not negative"),
        ({"band_weights": [[0, 0]]}, "all zero"),
        ({"band_weights": "even"}, "numbers"),
        ({"n_iter": 0}, "n_iter"),
        ({"concentration": 0}, "concentration"),
        ({"refine": -1}, "refine"),
        ({"refine": 2, "scoring": "pearson"}, "pearson"),
        ({"scoring": "r"}, "scoring"),
        ({"search": "some"}, "search"),
        ({"alphas": [0.0]}, "above 0"),
        ({"cv": "loo"}, "cv must be"),
        ({"form": "wide"}, "form"),
    ):
        with pytest.raises(ValueError, match=says):
            BandedRidgeCV(**options).fit(X, Y)


def test_voxels_without_data(two_bands):
    X, Y = two_bands()
    Y[:, [1, 4]] = np.nan
    with pytest.raises(ValueError, match="2 of 6 voxels"):
        BandedRidgeCV().fit(X, Y)
    Y[:, [1, 4]] = 7.0  # constant instead
    model = BandedRidgeCV(n_iter=4, refine=3, scoring="r2").fit(X, Y)
    np.testing.assert_allclose(model.predict(X)[:, 1], 7.0)
    np.testing.assert_array_equal(model.best_score_[[1, 4]], 0)


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_collinear_bands_warn_once_and_predict(two_bands, form):
    X, Y = two_bands()
    twice = {"a": X["a"], "b": X["b"], "c": 3 * X["a"] + 1}
    with pytest.warns(CollinearBandsWarning, match=r"1 of 3 pairs.*'a' and 'c'") as caught:
        model = BandedRidgeCV(n_iter=5, form=form).fit(twice, Y)
    assert len([w for w in caught if w.category is CollinearBandsWarning]) == 1
    assert np.isfinite(model.coef_).all()


def test_groups_stay_together_and_leaks_are_refused(two_bands):
    X, Y = two_bands()
    groups = np.repeat(np.arange(40), 2)
    model = BandedRidgeCV(n_iter=3).fit(X, Y, groups=groups)
    for train, val in model.splits_:
        assert not set(groups[train]) & set(groups[val])
    with pytest.raises(SplitLeakage):
        BandedRidgeCV(cv=KFold(3, shuffle=True, random_state=0)).fit(X, Y, groups=groups)


def test_weight_zero_leaves_a_band_out(two_bands):
    X, Y = two_bands()
    for options in ({}, {"refine": 3}, {"form": "dual", "refine": 3}):
        model = BandedRidgeCV(ALPHAS, band_weights=[[1.0, 0.0]], **options).fit(X, Y)
        np.testing.assert_array_equal(model.coef_of("b"), 0)
        assert np.isneginf(model.deltas_[1]).all()
    np.testing.assert_allclose(
        BandedRidgeCV(ALPHAS, band_weights=[[1.0, 0.0]], scale_bands=False).fit(X, Y).coef_of("a"),
        RidgeCV(ALPHAS).fit(X["a"], Y).coef_,
        atol=1e-9,
    )
