"""Kernel ridge against scikit-learn, himalaya and plain ridge."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge as SklearnKernelRidge
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.model_selection import KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from neuro.encoders import RidgeCV
from neuro.encoders._kernels import IndefiniteKernelWarning, kernel_matrix
from neuro.encoders.kernel import KernelRidgeCV
from neuro.errors import ShapeMismatch

pytestmark = [
    pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning"),
    pytest.mark.filterwarnings("ignore::neuro.encoders.RepeatedStimuliWarning"),
]
ALPHAS = np.logspace(-3, 2, 8)


@pytest.mark.parametrize(
    ("kernel", "parameters"),
    [
        ("linear", {}),
        ("polynomial", {"degree": 2, "gamma": 0.3, "coef0": 0.5}),
        ("polynomial", {}),
        ("rbf", {"gamma": 0.2}),
        ("sigmoid", {"gamma": 0.1, "coef0": 0.2}),
        ("cosine", {}),
    ],
)
def test_kernels_are_those_of_scikit_learn(kernel, parameters):
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((7, 4)), rng.standard_normal((5, 4))
    ours = kernel_matrix(kernel, torch.from_numpy(A), torch.from_numpy(B), parameters)
    np.testing.assert_allclose(ours, pairwise_kernels(A, B, metric=kernel, **parameters), atol=1e-12)


@pytest.mark.parametrize("shape", [(60, 12), (30, 50)])
@pytest.mark.parametrize("scoring", ["neg_mse", "r2", "pearson"])
def test_a_linear_kernel_is_ridge(planted, shape, scoring):
    X, Y = planted(*shape, 8)
    plain = RidgeCV(scoring=scoring).fit(X, Y)
    model = KernelRidgeCV(scoring=scoring).fit(X, Y)
    np.testing.assert_allclose(model.alpha_, plain.alpha_)
    np.testing.assert_allclose(model.best_score_, plain.best_score_, atol=1e-9)
    np.testing.assert_allclose(model.predict(X + 1), plain.predict(X + 1), atol=1e-8)
    np.testing.assert_allclose(model.coef_, plain.coef_, atol=1e-8)
    np.testing.assert_allclose(model.intercept_, plain.intercept_, atol=1e-8)


@pytest.mark.parametrize("kernel", ["rbf", "polynomial", "cosine", "linear"])
def test_equals_scikit_learn_and_brute_force(planted, kernel):
    X, Y = planted(50, 5, 4)
    splits = list(KFold(4).split(X))
    model = KernelRidgeCV(ALPHAS, splits, kernel=kernel, fit_intercept=False).fit(X, Y)
    scores = np.zeros((len(ALPHAS), 4))
    for train, val in splits:
        for a, alpha in enumerate(ALPHAS):
            their = SklearnKernelRidge(alpha=alpha, kernel=kernel).fit(X[train], Y[train])
            scores[a] -= ((their.predict(X[val]) - Y[val]) ** 2).mean(0) / len(splits)
    np.testing.assert_allclose(model.best_score_, scores.max(0), rtol=1e-6)
    np.testing.assert_allclose(model.alpha_, ALPHAS[scores.argmax(0)])
    their = SklearnKernelRidge(alpha=model.alpha_, kernel=kernel).fit(X, Y)
    if kernel in ("rbf", "polynomial"):  # the others have a null space, where dual weights do not matter
        np.testing.assert_allclose(model.dual_coef_, their.dual_coef_, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.predict(X[:9] + 0.1), their.predict(X[:9] + 0.1), atol=1e-6)


def test_equals_himalaya(planted):
    himalaya = pytest.importorskip("himalaya", reason="needs himalaya: pip install 'neuro[bench]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from himalaya.backend import set_backend

        set_backend("numpy")
        import himalaya.kernel_ridge
    X, Y = planted(50, 5, 8)
    for kernel in ("rbf", "polynomial"):
        theirs = himalaya.kernel_ridge.KernelRidgeCV(ALPHAS, kernel=kernel, cv=KFold(4)).fit(X, Y)
        ours = KernelRidgeCV(ALPHAS, KFold(4), kernel=kernel, fit_intercept=False).fit(X, Y)
        np.testing.assert_allclose(ours.alpha_, theirs.best_alphas_)
        np.testing.assert_allclose(ours.best_score_, np.ravel(theirs.cv_scores_), rtol=1e-7)
        np.testing.assert_allclose(ours.dual_coef_, theirs.dual_coef_, rtol=1e-5, atol=1e-6)


def test_intercept_is_not_penalised(planted):
    X, Y = planted(50, 5, 4)
    options = {"kernel": "rbf", "kernel_params": {"gamma": 0.3}}
    model, shifted = KernelRidgeCV(**options).fit(X, Y), KernelRidgeCV(**options).fit(X, Y + 100)
    np.testing.assert_allclose(shifted.predict(X), model.predict(X) + 100, atol=1e-8)
    np.testing.assert_allclose(model.predict(X).mean(0), Y.mean(0))
    K = kernel_matrix("rbf", torch.from_numpy(X), torch.from_numpy(X), {"gamma": 0.3}).numpy()
    np.testing.assert_allclose(K @ model.dual_coef_ + model.intercept_, model.predict(X), atol=1e-9)


def test_precomputed_and_callable_kernels(planted):
    X, Y = planted(50, 5, 4)

    def quadratic(A, B):
        return (A @ B.T / 5 + 1) ** 2

    named = KernelRidgeCV(kernel="polynomial", kernel_params={"degree": 2}).fit(X, Y)
    free = KernelRidgeCV(kernel=quadratic).fit(X, Y)
    given = KernelRidgeCV(kernel="precomputed").fit(quadratic(X, X), Y)
    np.testing.assert_allclose(free.predict(X[:7]), named.predict(X[:7]), atol=1e-8)
    np.testing.assert_allclose(given.predict(quadratic(X[:7], X)), named.predict(X[:7]), atol=1e-8)
    assert given.X_fit_ is None


def test_learns_what_no_linear_model_can():
    rng = np.random.default_rng(0)
    X, T = rng.uniform(-2, 2, (150, 2)), rng.uniform(-2, 2, (50, 2))

    def truth(Z):
        return np.stack([np.sin(3 * Z[:, 0]), Z[:, 0] * Z[:, 1]], 1)

    Y = truth(X) + 0.1 * rng.standard_normal((150, 2))
    assert KernelRidgeCV(kernel="rbf", kernel_params={"gamma": 1.0}).fit(X, Y).score(T, truth(T)) > 0.9
    assert RidgeCV().fit(X, Y).score(T, truth(T)) < 0.3


def test_tensors_flat_responses_and_pickles(planted):
    X, Y = planted(40, 5, 3)
    model = KernelRidgeCV(kernel="rbf").fit(X, Y)
    tensors = KernelRidgeCV(kernel="rbf").fit(torch.from_numpy(X), torch.from_numpy(Y))
    assert isinstance(tensors.dual_coef_, torch.Tensor)
    np.testing.assert_allclose(tensors.predict(torch.from_numpy(X)).numpy(), model.predict(X), atol=1e-10)
    loaded = pickle.loads(pickle.dumps(tensors))
    np.testing.assert_allclose(loaded.predict(X), model.predict(X), atol=1e-10)
    flat = KernelRidgeCV(kernel="rbf").fit(X, Y[:, 0])
    np.testing.assert_allclose(flat.predict(X), model.predict(X)[:, 0], atol=1e-10)
    single = KernelRidgeCV(kernel="rbf").fit(X.astype(np.float32), Y.astype(np.float32))
    assert single.predict(X.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(single.predict(X.astype(np.float32)), model.predict(X), atol=1e-2)


@parametrize_with_checks([KernelRidgeCV(), KernelRidgeCV(kernel="rbf")])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def test_bad_input(planted):
    X, Y = planted(40, 5, 3)
    with pytest.raises(ValueError, match="kernel must be 'linear'"):
        KernelRidgeCV(kernel="gauss").fit(X, Y)
    with pytest.raises(ValueError, match="does not take"):
        KernelRidgeCV(kernel="rbf", kernel_params={"width": 1}).fit(X, Y)
    with pytest.raises(ShapeMismatch, match="n_stimuli, n_stimuli"):
        KernelRidgeCV(kernel="precomputed").fit(X, Y)
    with pytest.raises(ValueError, match="symmetric"):
        KernelRidgeCV(kernel="precomputed").fit(np.tril(X @ X.T), Y)
    with pytest.raises(ShapeMismatch, match="must give"):
        KernelRidgeCV(kernel=lambda A, B: A @ A.T[:, :3]).fit(X, Y)
    with pytest.raises(ValueError, match="NaN or infinity"):
        KernelRidgeCV(kernel=lambda A, B: A @ B.T * np.nan).fit(X, Y)
    with pytest.raises(AttributeError, match="linear kernels only"):
        KernelRidgeCV(kernel="rbf").fit(X, Y).coef_  # noqa: B018
    Y[:, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 3 voxels"):
        KernelRidgeCV().fit(X, Y)


def test_negative_eigenvalues_are_left_out_with_a_warning(planted):
    X, Y = planted(40, 5, 3)
    K = X @ X.T
    lam, V = np.linalg.eigh(K)
    bad = K - 0.5 * lam[-1] * np.outer(V[:, 0], V[:, 0])
    with pytest.warns(IndefiniteKernelWarning, match="1 of 1 kernels"):
        model = KernelRidgeCV(ALPHAS, kernel="precomputed", fit_intercept=False).fit(bad, Y)
    lam, V = np.linalg.eigh(bad)
    lam, V = lam[lam > 1e-9], V[:, lam > 1e-9]
    np.testing.assert_allclose(model.dual_coef_, V @ ((V.T @ Y) / (lam[:, None] + model.alpha_)), atol=1e-8)
