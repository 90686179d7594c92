"""Multiple-kernel ridge against banded ridge, himalaya and dense solves."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.model_selection import KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from neuro.encoders._bands import CollinearBandsWarning
from neuro.encoders._kernels import IndefiniteKernelWarning
from neuro.encoders.banded import BandedRidgeCV
from neuro.encoders.kernel import KernelRidgeCV
from neuro.encoders.multiple_kernel import MultipleKernelRidgeCV
from neuro.errors import DuplicateIds, EmptySelection, ShapeMismatch

pytestmark = [
    pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning"),
    pytest.mark.filterwarnings("ignore::neuro.encoders.RepeatedStimuliWarning"),
]
ALPHAS = np.logspace(-2, 3, 7)
GAMMAS = np.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9], [0.99, 0.01]])


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = {"a": rng.standard_normal((60, 6)) + 1, "b": 2 * rng.standard_normal((60, 9))}
    Y = X["a"] @ rng.standard_normal((6, 5)) + np.linspace(0, 1, 5) * (X["b"] @ rng.standard_normal((9, 5)))
    return X, Y + rng.standard_normal((60, 5)) + 2


@pytest.mark.parametrize(
    "options", [{}, {"scale_bands": False}, {"search": "halving", "n_iter": 30}, {"refine": 4, "n_iter": 5}]
)
def test_linear_kernels_are_banded_ridge(data, options):
    X, Y = data
    options = {"n_iter": 8, **options}
    banded = BandedRidgeCV(form="dual", **options).fit(X, Y)
    model = MultipleKernelRidgeCV(**options).fit(X, Y)
    np.testing.assert_allclose(model.best_score_, banded.best_score_, rtol=1e-6)
    np.testing.assert_allclose(model.deltas_, banded.deltas_, atol=1e-4)
    np.testing.assert_allclose(model.predict(X), banded.predict(X), atol=1e-4)
    np.testing.assert_allclose(model.coef_, banded.coef_, atol=1e-4)
    np.testing.assert_allclose(model.intercept_, banded.intercept_, atol=1e-3)
    for name, part in model.predict(X, split=True).items():
        np.testing.assert_allclose(part, banded.predict(X, split=True)[name], atol=1e-4)


def test_one_kernel_is_kernel_ridge(data):
    X, Y = data
    one = KernelRidgeCV(kernel="rbf").fit(X["a"], Y)
    model = MultipleKernelRidgeCV(kernels="rbf").fit({"a": X["a"]}, Y)
    np.testing.assert_allclose(model.dual_coef_, one.dual_coef_, atol=1e-10)
    np.testing.assert_allclose(model.predict({"a": X["a"] + 1}), one.predict(X["a"] + 1), atol=1e-10)


def test_equals_himalaya_with_mixed_kernels(data):
    himalaya = pytest.importorskip("himalaya", reason="needs himalaya: pip install 'neuro[bench]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from himalaya.backend import set_backend

        set_backend("numpy")
        import himalaya.kernel_ridge
    X, Y = data
    Y = Y - Y.mean(0)
    Ks = np.stack([X["a"] @ X["a"].T, pairwise_kernels(X["b"], metric="rbf")])
    theirs = himalaya.kernel_ridge.MultipleKernelRidgeCV(
        kernels="precomputed",
        cv=KFold(4),
        solver_params={"n_iter": GAMMAS, "alphas": ALPHAS, "progress_bar": False},
    ).fit(Ks, Y)
    ours = MultipleKernelRidgeCV(
        ALPHAS,
        KFold(4),
        kernels={"a": "linear", "b": "rbf"},
        band_weights=GAMMAS,
        scale_bands=False,
        fit_intercept=False,
    ).fit(X, Y)
    np.testing.assert_allclose(ours.deltas_, theirs.deltas_, atol=1e-9)
    np.testing.assert_allclose(ours.cv_scores_, theirs.cv_scores_, rtol=1e-7)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(Ks), atol=1e-8)
    # his dual weights are those of alpha = 1
    np.testing.assert_allclose(ours.dual_coef_ * ours.alpha_, theirs.dual_coef_, atol=1e-7)


@pytest.mark.parametrize("refine", [0, 5])
def test_dual_weights_solve_the_equation(data, refine):
    X, Y = data
    model = MultipleKernelRidgeCV(kernels={"a": "linear", "b": "rbf"}, n_iter=5, refine=refine).fit(X, Y)
    Ks = [X["a"] @ X["a"].T, pairwise_kernels(X["b"], metric="rbf")]
    H = np.eye(60) - 1 / 60
    for v in range(5):
        K = sum(np.exp(d) * model.alpha_[v] * (H @ K @ H) for d, K in zip(model.deltas_[:, v], Ks, strict=True))
        dual = np.linalg.solve(K + model.alpha_[v] * np.eye(60), Y[:, v] - Y[:, v].mean())
        # in the null space of the kernel, dual weights do not matter
        np.testing.assert_allclose(K @ model.dual_coef_[:, v], K @ dual, atol=2e-5)
        np.testing.assert_allclose(model.predict(X)[:, v], K @ dual + Y[:, v].mean(), atol=2e-5)
    parts = model.predict(X, split=True)
    np.testing.assert_allclose(sum(parts.values()) + model.y_mean_, model.predict(X), atol=1e-10)


def test_refined_score_is_that_of_its_weights(data):
    X, Y = data
    splits = list(KFold(4).split(Y))
    model = MultipleKernelRidgeCV("auto", splits, kernels={"a": "linear", "b": "rbf"}, n_iter=4, refine=6).fit(X, Y)
    assert model.refined_.any()
    Ks = [X["a"] @ X["a"].T, pairwise_kernels(X["b"], metric="rbf")]
    for v in range(5):
        score = 0.0
        K = sum(np.exp(d) * K for d, K in zip(model.deltas_[:, v], Ks, strict=True))
        for t, f in splits:
            within, across, y = K[np.ix_(t, t)], K[np.ix_(f, t)], Y[t, v]
            mean = within.mean(0)
            across = across - across.mean(1, keepdims=True) - mean + mean.mean()
            within = within - mean - mean[:, None] + mean.mean()
            p = across @ np.linalg.solve(within + np.eye(len(t)), y - y.mean()) + y.mean()
            score -= ((p - Y[f, v]) ** 2).mean() / len(splits)
        assert model.best_score_[v] == pytest.approx(score, rel=1e-6)


def test_precomputed_tensors_and_pickles(data):
    X, Y = data
    Ks = {name: x @ x.T for name, x in X.items()}
    plain = MultipleKernelRidgeCV(n_iter=5).fit(X, Y)
    given = MultipleKernelRidgeCV(kernels="precomputed", n_iter=5).fit(Ks, Y)
    np.testing.assert_allclose(given.predict({k: K[:9] for k, K in Ks.items()}), plain.predict(X)[:9], atol=1e-8)
    tensors = MultipleKernelRidgeCV(n_iter=5).fit({k: torch.from_numpy(x) for k, x in X.items()}, torch.from_numpy(Y))
    assert isinstance(tensors.coef_, torch.Tensor)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(tensors)).predict(X), plain.predict(X), atol=1e-8)


@parametrize_with_checks([MultipleKernelRidgeCV(kernels="rbf", refine=1)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def test_bad_input(data):
    X, Y = data
    with pytest.raises(ValueError, match=r"kernels must have the bands.*missing \['b'\]"):
        MultipleKernelRidgeCV(kernels={"a": "rbf"}).fit(X, Y)
    with pytest.raises(ValueError, match=r"per band.*\['gamma'\]"):
        MultipleKernelRidgeCV(kernels="rbf", kernel_params={"gamma": 1.0}).fit(X, Y)
    with pytest.raises(ValueError, match="kernel must be"):
        MultipleKernelRidgeCV(kernels="gauss").fit(X, Y)
    with pytest.raises(ValueError, match="2 bands"):
        MultipleKernelRidgeCV(band_weights=[[1.0, 1.0, 1.0]]).fit(X, Y)
    with pytest.raises(ValueError, match="2 are in none"):
        MultipleKernelRidgeCV(bands={"a": slice(0, 4)}).fit(X["a"], Y)
    with pytest.raises(DuplicateIds, match="column 3"):
        MultipleKernelRidgeCV(bands={"a": slice(0, 4), "b": slice(3, 6)}).fit(X["a"], Y)
    with pytest.raises(EmptySelection, match="'b' has no columns"):
        MultipleKernelRidgeCV().fit({"a": X["a"], "b": X["b"][:, :0]}, Y)
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        MultipleKernelRidgeCV().fit({"a": X["a"], "b": X["b"][:-1]}, Y)
    with pytest.raises(ValueError, match="'full' or 'halving'"):
        MultipleKernelRidgeCV(search="half").fit(X, Y)
    with pytest.warns(CollinearBandsWarning):
        MultipleKernelRidgeCV(n_iter=2).fit({"a": X["a"], "b": -2 * X["a"]}, Y)
    with pytest.warns(IndefiniteKernelWarning, match="'b'"):
        MultipleKernelRidgeCV(kernels={"a": "linear", "b": "sigmoid"}, n_iter=2).fit(X, Y)
    with pytest.raises(ValueError, match="1 of 5 voxels"):
        MultipleKernelRidgeCV(n_iter=2).fit(X, np.where(np.arange(5) == 2, np.nan, Y))
