"""``RidgeCV`` against brute force, against itself in another form, and against what was planted."""

from __future__ import annotations

import hashlib
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold, LeaveOneGroupOut, ShuffleSplit, TimeSeriesSplit
from torch.utils.flop_counter import FlopCounterMode

from neuro.linear import AlphaAtBoundaryWarning, Ridge, RidgeCV, _folds
from neuro.linear._cv import solve_ridge_cv
from neuro.linear._grid import PartialFractions, Predictions

pytestmark = pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning")
ALPHAS = np.logspace(-2, 5, 9)
SHAPES = [(90, 12), (60, 55), (50, 120)]  # tall; fewer training rows than features; wide


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("scoring", ["neg_mse", "r2", "pearson"])
@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("intercept", [True, False])
def test_scores_are_those_of_fitting_every_fold_and_penalty(planted, cv_by_hand, n, p, scoring, form, intercept):
    X, Y = planted(n, p, 7)
    model = RidgeCV(ALPHAS, scoring=scoring, form=form, fit_intercept=intercept).fit(X, Y)
    expected = cv_by_hand(X, Y, ALPHAS, model.splits_, scoring, intercept)
    np.testing.assert_allclose(model.cv_scores_, expected, rtol=1e-7, atol=1e-8)
    np.testing.assert_array_equal(model.alpha_, ALPHAS[expected.argmax(0)])
    np.testing.assert_allclose(model.best_score_, expected.max(0), rtol=1e-7, atol=1e-8)
    assert model.solver_form_ == form


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize(
    "cv",
    [ShuffleSplit(4, test_size=0.3, random_state=1), TimeSeriesSplit(3, gap=2), KFold(4), KFold(2)],
    ids=["overlapping", "growing", "four", "few long folds"],
)
@pytest.mark.parametrize("way", [PartialFractions, Predictions])
@pytest.mark.parametrize("scoring", ["neg_mse", "pearson"])
def test_every_splitter_and_both_ways_of_scoring_agree_with_brute_force(
    planted, cv_by_hand, monkeypatch, n, p, cv, way, scoring
):
    monkeypatch.setattr(_folds, "cheaper_way", lambda *_: way)
    X, Y = planted(n, p, 5)
    for form in ("primal", "dual"):
        model = RidgeCV(ALPHAS, cv=cv, form=form, scoring=scoring).fit(X, Y)
        expected = cv_by_hand(X, Y, ALPHAS, list(cv.split(X)), scoring)
        np.testing.assert_allclose(model.cv_scores_, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_refit_is_plain_ridge_at_the_chosen_penalties(planted, ridge_by_hand, n, p):
    X, Y = planted(n, p, 6)
    for form in ("primal", "dual"):
        model = RidgeCV(ALPHAS, form=form).fit(X, Y)
        coef, intercept = ridge_by_hand(X, Y, model.alpha_)
        np.testing.assert_allclose(model.coef_, coef, atol=1e-9)
        np.testing.assert_allclose(model.intercept_, intercept, atol=1e-9)
        np.testing.assert_allclose(model.predict(X[:9]), X[:9] @ coef.T + intercept, atol=1e-9)


def test_single_penalty_is_fixed_ridge(planted):
    X, Y = planted(60, 10, 4)
    model = RidgeCV(3.0).fit(X, Y)
    np.testing.assert_allclose(model.coef_, Ridge(3.0).fit(X, Y).coef_, atol=1e-11)
    assert model.cv_scores_.shape == (1, 4)


def test_the_published_recipe_gives_the_published_numbers():
    rs = np.random.RandomState(0)
    X = np.hstack([rs.randn(120, 30), rs.randn(120, 50)])
    X -= X.mean(0)
    W = np.vstack([rs.randn(30, 7) * 0.5, rs.randn(50, 7) * 0.05])
    Y = X @ W + 2 * rs.randn(120, 7)
    Y -= Y.mean(0)
    model = RidgeCV(np.logspace(-2, 4, 13), cv=KFold(5), fit_intercept=False).fit(X, Y)
    np.testing.assert_allclose(np.log10(model.alpha_), [2, 1.5, 1.5, 1.5, 2, 2, 1.5])
    expected = [-7.9444, -7.6579, -7.2001, -6.7958, -9.3553, -7.4534, -6.7551]
    np.testing.assert_allclose(model.best_score_, expected, atol=6e-5)


@pytest.mark.parametrize(("n", "p"), [(300, 40), (120, 300), (150, 130)])
@pytest.mark.parametrize("scoring", ["neg_mse", "r2", "pearson"])
def test_float32_scores_agree_with_float64(planted, n, p, scoring):
    X, Y = planted(n, p, 200)
    double = RidgeCV(scoring=scoring).fit(X, Y)
    single = RidgeCV(double.alphas_, scoring=scoring).fit(X.astype(np.float32), Y.astype(np.float32))
    assert single.cv_scores_.dtype == single.coef_.dtype == np.float32
    # the smallest of the default penalties are 1e-7 of the largest eigenvalue, where float32 data itself is coarse
    np.testing.assert_allclose(single.cv_scores_, double.cv_scores_, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(single.cv_scores_[6:], double.cv_scores_[6:], rtol=2e-5, atol=2e-5)
    lost = double.best_score_ - double.cv_scores_[np.searchsorted(double.alphas_, single.alpha_), np.arange(200)]
    assert lost.max() < 1e-5
    # on the float64 grid both find the same penalty, but for ties within rounding
    assert np.mean(single.alpha_ == double.alpha_) > 0.97


def test_huge_penalties_keep_their_correlation_in_float32(planted):
    """Without the shift of the partial fractions, cancellation drowns |prediction|^2 at large penalties."""
    X, Y = planted(200, 30, 50)
    alphas = np.logspace(4, 10, 4)
    double = RidgeCV(alphas, scoring="pearson").fit(X, Y).cv_scores_
    single = RidgeCV(alphas, scoring="pearson").fit(X.astype(np.float32), Y.astype(np.float32)).cv_scores_
    np.testing.assert_allclose(single, double, atol=2e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_chunks_and_threads_change_nothing(planted, dtype, n, p):
    X, Y = planted(n, p, 40, dtype=dtype)
    whole = RidgeCV().fit(X, Y)
    tolerance = 1e-10 if dtype == np.float64 else 2e-4
    for options in ({"memory_limit": 60_000}, {"memory_limit": 1}, {"n_jobs": 2, "memory_limit": 200_000}):
        chunked = RidgeCV(**options).fit(X, Y)
        np.testing.assert_allclose(chunked.cv_scores_, whole.cv_scores_, rtol=tolerance, atol=tolerance)
        same = chunked.alpha_ == whole.alpha_
        assert same.mean() > 0.9
        np.testing.assert_allclose(chunked.coef_[same], whole.coef_[same], atol=10 * tolerance)
    assert torch.get_num_threads() >= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_torch_equals_numpy(planted, dtype, n, p):
    X, Y = (torch.from_numpy(a).to(dtype) for a in planted(n, p, 6))
    ours, theirs = RidgeCV().fit(X, Y), RidgeCV().fit(X.numpy(), Y.numpy())
    for name in ("coef_", "intercept_", "cv_scores_", "alpha_", "alphas_", "best_score_"):
        assert isinstance(getattr(ours, name), torch.Tensor), name
        assert isinstance(getattr(theirs, name), np.ndarray), name
        np.testing.assert_array_equal(getattr(ours, name).numpy(), getattr(theirs, name))
    np.testing.assert_array_equal(ours.predict(X).numpy(), theirs.predict(X.numpy()))
    assert ours.score(X, Y) == theirs.score(X.numpy(), Y.numpy())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), wide=st.booleans())
def test_permuting_voxels_permutes_the_answer(seed, wide):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((30, 45 if wide else 8)), rng.standard_normal((30, 6))
    order = rng.permutation(6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AlphaAtBoundaryWarning)
        a, b = RidgeCV(cv=3).fit(X, Y), RidgeCV(cv=3).fit(X, Y[:, order])
    np.testing.assert_allclose(b.cv_scores_, a.cv_scores_[:, order], rtol=1e-9, atol=1e-11)
    np.testing.assert_array_equal(b.alpha_, a.alpha_[order])
    np.testing.assert_allclose(b.coef_, a.coef_[order], atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(exponent_x=st.integers(-12, 12), exponent_y=st.integers(-12, 12), wide=st.booleans(), single=st.booleans())
def test_units_of_features_and_responses_do_not_matter(exponent_x, exponent_y, wide, single):
    """MEG comes in 1e-13 tesla; a penalty that is scale-free, and arithmetic that does not underflow, cope."""
    rng = np.random.default_rng(0)
    dtype = np.float32 if single else np.float64
    X = rng.standard_normal((40, 60 if wide else 10)).astype(dtype)
    Y = (X @ rng.standard_normal((X.shape[1], 5)) + 3 * rng.standard_normal((40, 5))).astype(dtype)
    a, b = dtype(2.0) ** exponent_x, dtype(2.0) ** (3 * exponent_y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AlphaAtBoundaryWarning)
        one, two = RidgeCV().fit(X, Y), RidgeCV().fit(X * a, Y * b)
    rtol = 1e-3 if single else 1e-8
    np.testing.assert_allclose(two.cv_scores_ / float(b) ** 2, one.cv_scores_, rtol=rtol)
    np.testing.assert_allclose(two.alpha_ / float(a) ** 2, one.alpha_, rtol=1e-5)
    np.testing.assert_allclose(two.coef_ * (a / b), one.coef_, rtol=rtol, atol=10 * rtol)


def test_cost_is_flat_in_the_number_of_penalties(planted):
    """Counted, not timed: the products with voxels are the same for 10 penalties and for 100."""
    counts = {}
    X, Y = (torch.from_numpy(a) for a in planted(200, 40, 300))
    for n_alphas in (10, 100):
        with FlopCounterMode(display=False) as counter:
            solve_ridge_cv(X, Y, np.logspace(-3, 3, n_alphas), RidgeCV()._splits(200, None), dtype=X.dtype)
        counts[n_alphas] = counter.get_total_flops()
    per_penalty = (counts[100] - counts[10]) / 90
    assert per_penalty < 0.05 * counts[10]


def test_inputs_are_never_written_to_and_may_be_read_only(planted):
    def digest(a):
        return hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()

    for n, p in SHAPES:
        X, Y = planted(n, p, 4)
        groups, alphas = np.arange(n), ALPHAS.copy()
        everything = (X, Y, groups, alphas)
        before = [digest(a) for a in everything]
        for a in everything:
            a.flags.writeable = False
        model = RidgeCV(alphas).fit(X, Y, groups=groups)
        model.predict(X)
        model.score(X, Y)
        assert [digest(a) for a in everything] == before
        for name in ("coef_", "alphas_", "intercept_"):
            assert not any(np.shares_memory(getattr(model, name), a) for a in everything)


def test_fortran_order_strided_and_big_endian_arrays_are_the_same_data(planted):
    X, Y = planted(40, 8, 5)
    expected = RidgeCV().fit(X, Y).coef_
    padded = np.zeros((40, 10))
    padded[:, ::2] = Y
    for Z in (np.asfortranarray(Y), padded[:, ::2], Y[::-1][::-1], Y.astype(">f8")):
        np.testing.assert_allclose(RidgeCV().fit(np.asfortranarray(X), Z).coef_, expected, atol=1e-12)


def test_integer_and_half_precision_responses_are_converted(planted):
    X, Y = planted(60, 8, 5)
    counts = np.round(Y * 10).astype(np.int16)
    a = RidgeCV().fit(X, counts)
    b = RidgeCV().fit(X, counts.astype(np.float64))
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-12)
    half = RidgeCV().fit(X.astype(np.float16), Y.astype(np.float16))
    assert half.coef_.dtype == np.float32


def test_voxels_that_are_constant_are_harmless(planted):
    X, Y = planted(60, 8, 3)
    for dtype in (np.float32, np.float64):
        Z = Y.astype(dtype)
        Z[:, 1] = 123.456
        for scoring in ("neg_mse", "r2", "pearson"):
            model = RidgeCV(scoring=scoring).fit(X.astype(dtype), Z)
            assert np.isfinite(model.cv_scores_).all()
            np.testing.assert_allclose(model.cv_scores_[:, 1], 0, atol=1e-6)
            np.testing.assert_allclose(model.predict(X.astype(dtype))[:, 1], 123.456, rtol=1e-6)
            assert model.boundary_.n_above_baseline <= 2
            assert model.alpha_[1] == model.alphas_.max()


def test_constant_features_are_harmless(planted):
    X, Y = planted(60, 8, 3)
    X[:, 2] = 7.0
    model = RidgeCV().fit(X, Y)
    np.testing.assert_allclose(model.coef_[:, 2], 0, atol=1e-12)
    flat = RidgeCV().fit(np.full((60, 3), 2.0), Y, groups=np.arange(60))
    np.testing.assert_allclose(flat.predict(np.full((1, 3), 2.0))[0], Y.mean(0))


def test_duplicated_features_share_their_weight(planted):
    X, Y = planted(60, 6, 3)
    model = RidgeCV(10.0).fit(np.hstack([X, X]), Y)
    np.testing.assert_allclose(model.coef_[:, :6], model.coef_[:, 6:], atol=1e-10)
    np.testing.assert_allclose(2 * model.coef_[:, :6], Ridge(5.0).fit(X, Y).coef_, atol=1e-10)


def test_shared_penalty_maximises_the_mean_score(planted):
    X, Y = planted(80, 10, 6)
    model = RidgeCV(ALPHAS, local_alpha=False).fit(X, Y)
    assert len(np.unique(model.alpha_)) == 1
    assert model.alpha_[0] == ALPHAS[model.cv_scores_.mean(1).argmax()]


def test_runs_can_be_left_out_one_by_one(planted, cv_by_hand):
    X, Y = planted(70, 10, 4)
    runs = np.repeat(["a", "b", "c", "d", "e"], 14)
    model = RidgeCV(ALPHAS, cv=LeaveOneGroupOut()).fit(X, Y, groups=runs)
    assert len(model.splits_) == 5
    expected = cv_by_hand(X, Y, ALPHAS, list(LeaveOneGroupOut().split(X, groups=runs)))
    np.testing.assert_allclose(model.cv_scores_, expected, rtol=1e-8)


def test_planted_weights_are_recovered(planted):
    rng = np.random.default_rng(3)
    X, W = rng.standard_normal((2000, 20)), rng.standard_normal((5, 20))
    model = RidgeCV().fit(X, X @ W.T + 0.1 * rng.standard_normal((2000, 5)) + 2)
    np.testing.assert_allclose(model.coef_, W, atol=0.02)
    np.testing.assert_allclose(model.intercept_, 2, atol=0.02)
    assert model.score(X, X @ W.T + 2) > 0.999


def test_weights_of_wide_data_wait_until_asked_for_and_follow_the_formula(planted, ridge_by_hand):
    X, Y = planted(10, 100, 30)
    model = RidgeCV(ALPHAS, cv=3).fit(X, Y)
    predicted = model.predict(X)
    assert "_coef" not in vars(model)  # 10 x (100 + 30) numbers are kept, not 100 x 30
    coef, intercept = ridge_by_hand(X, Y, model.alpha_)
    np.testing.assert_allclose(model.coef_, coef, atol=1e-9)
    np.testing.assert_allclose(X @ coef.T + intercept, predicted, atol=1e-8)
    assert not hasattr(RidgeCV(), "coef_")


def test_same_seed_same_splits_and_the_splits_are_kept(planted):
    X, Y = planted(50, 5, 3)
    a, b, c = (RidgeCV(random_state=seed).fit(X, Y) for seed in (0, 0, 1))
    for (t1, v1), (t2, v2) in zip(a.splits_, b.splits_, strict=True):
        np.testing.assert_array_equal(t1, t2)
        np.testing.assert_array_equal(v1, v2)
    assert any(not np.array_equal(x[1], y[1]) for x, y in zip(a.splits_, c.splits_, strict=True))
    again = RidgeCV(cv=a.splits_).fit(X, Y)
    np.testing.assert_array_equal(again.cv_scores_, a.cv_scores_)
    assert a.provenance_["random_state"] == 0
    assert a.provenance_["dtype"] == "float64"
