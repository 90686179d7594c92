"""Estimator manners: scikit-learn's checks, devices, pickles, and errors that say what to do."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import RidgeCV as SklearnRidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from neuro.encoders import Ridge, RidgeCV
from neuro.errors import ShapeMismatch

pytestmark = [
    pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning"),
    pytest.mark.filterwarnings("ignore::neuro.encoders.RepeatedStimuliWarning"),
]


@parametrize_with_checks(
    [
        RidgeCV(),
        RidgeCV(form="dual"),
        RidgeCV(cv="loo"),
        RidgeCV(cv="gcv", extend_grid=True),
        RidgeCV([0.1, 1.0], cv=KFold(3), scoring="pearson", fit_intercept=False),
        Ridge(),
        Ridge(form="dual"),
    ]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def test_single_target_equals_scikit_learn_with_the_same_folds(planted):
    X, Y = planted(80, 12, 5)
    alphas, cv = np.logspace(-2, 4, 10), KFold(5, shuffle=True, random_state=0)
    ours = RidgeCV(alphas, cv=cv).fit(X, Y)
    for v in range(5):
        theirs = SklearnRidgeCV(alphas, cv=cv, scoring="neg_mean_squared_error").fit(X, Y[:, v])
        assert ours.alpha_[v] == theirs.alpha_
        assert ours.best_score_[v] == pytest.approx(theirs.best_score_)
        np.testing.assert_allclose(ours.coef_[v], theirs.coef_, atol=1e-9)
        assert ours.intercept_[v] == pytest.approx(theirs.intercept_)


def test_score_is_the_mean_r2_over_voxels(planted):
    X, Y = planted(80, 12, 5)
    for A, B in ((X, Y), (torch.from_numpy(X), torch.from_numpy(Y))):
        model = RidgeCV().fit(A, B)
        assert isinstance(model.score(A, B), float)
        assert model.score(A, B) == pytest.approx(r2_score(Y, model.predict(X), multioutput="uniform_average"))


def test_works_in_pipelines_and_model_selection(planted):
    X, Y = planted(60, 6, 3)
    scores = cross_val_score(make_pipeline(StandardScaler(), RidgeCV()), X, Y, cv=3)
    assert scores.shape == (3,)
    assert clone(RidgeCV(cv=3, scoring="r2")).get_params()["scoring"] == "r2"


def test_flat_responses_give_flat_results(planted):
    X, Y = planted(40, 5, 1)
    model = RidgeCV().fit(X, Y[:, 0])
    assert model.coef_.shape == (5,)
    assert isinstance(model.alpha_, float)
    assert isinstance(model.intercept_, float)
    assert model.cv_scores_.shape == (21,)
    assert model.predict(X).shape == (40,)
    square = RidgeCV().fit(X, Y)
    assert square.coef_.shape == (1, 5)
    assert square.predict(X).shape == (40, 1)
    np.testing.assert_allclose(square.coef_[0], model.coef_)


@pytest.mark.parametrize(("n", "p"), [(40, 5), (10, 100)])
def test_fitted_on_tensors_pickles_and_predicts_on_numpy(planted, n, p):
    X, Y = (torch.from_numpy(a) for a in planted(n, p, 30))
    model = RidgeCV(cv=3).fit(X, Y)
    loaded = pickle.loads(pickle.dumps(model))
    assert not any(isinstance(value, torch.Tensor) for value in vars(loaded).values())
    np.testing.assert_allclose(loaded.predict(X.numpy()), model.predict(X).numpy(), atol=1e-12)
    np.testing.assert_allclose(loaded.predict(X).numpy(), model.predict(X).numpy(), atol=1e-12)
    np.testing.assert_allclose(loaded.coef_, model.coef_.numpy(), atol=1e-12)
    np.testing.assert_allclose(model.predict(X.numpy()), model.predict(X).numpy(), atol=1e-12)
    assert isinstance(model.predict(X.numpy()), np.ndarray)


def test_pickle_predicts_in_another_process(planted, tmp_path):
    X, Y = planted(30, 4, 2)
    model = Ridge().fit(torch.from_numpy(X), torch.from_numpy(Y))
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "x.npy", X)
    code = (
        "import pickle, numpy as np, pathlib;"
        "m = pickle.loads(pathlib.Path('model.pkl').read_bytes());"
        "np.save('y.npy', m.predict(np.load('x.npy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model.predict(X))


def test_gradients_are_not_carried_along(planted):
    X, Y = (torch.from_numpy(a).requires_grad_() for a in planted(30, 4, 2))
    model = RidgeCV().fit(X, Y)
    assert not model.coef_.requires_grad
    assert not model.predict(X).requires_grad


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "mps"])
def test_absent_device_is_an_error(planted, device):
    X, Y = planted(20, 4, 2)
    with pytest.raises(ValueError, match="device"):
        RidgeCV(device=device).fit(X, Y)
    assert isinstance(RidgeCV(device="cpu").fit(X, Y).coef_, np.ndarray)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(("n", "p"), [(200, 30), (60, 200)])
def test_gpu_equals_cpu(planted, n, p):
    X, Y = (torch.from_numpy(a) for a in planted(n, p, 40))
    cpu = RidgeCV().fit(X, Y)
    gpu = RidgeCV().fit(X.cuda(), Y.cuda())
    assert gpu.coef_.is_cuda
    assert gpu.predict(X.cuda()).is_cuda
    np.testing.assert_allclose(gpu.cv_scores_.cpu(), cpu.cv_scores_, rtol=1e-7)
    np.testing.assert_allclose(gpu.coef_.cpu(), cpu.coef_, atol=1e-8)
    moved = RidgeCV(device="cuda").fit(X.numpy(), Y.numpy())
    assert isinstance(moved.coef_, np.ndarray)
    np.testing.assert_allclose(moved.coef_, cpu.coef_, atol=1e-8)


def test_data_that_cannot_be_fitted_is_refused_with_what_to_do(planted):
    X, Y = planted(20, 4, 6)
    holed = Y.copy()
    holed[3, [2, 5]] = np.nan
    as_tensors = (lambda *arrays: [torch.from_numpy(a) for a in arrays], lambda *arrays: arrays)
    for kind in as_tensors:
        with pytest.raises(ValueError, match=r"Y contains NaN or infinity in 2 of 6 voxels \(the first is 2\)"):
            RidgeCV().fit(*kind(X, holed))
        with pytest.raises(ValueError, match="X contains NaN or infinity in 1 of 4 features"):
            RidgeCV().fit(*kind(np.where(np.arange(4) == 1, np.inf, X), Y))
        with pytest.raises(ShapeMismatch, match=r"X has 20 rows, Y has 18 .*averaged"):
            RidgeCV().fit(*kind(X, Y[2:]))
        with pytest.raises(ValueError, match=r"no voxels|0 feature"):
            RidgeCV().fit(*kind(X, Y[:, :0]))
        with pytest.raises(ValueError, match=r"n_samples = 1|minimum of 2|at least 2 rows"):
            RidgeCV().fit(*kind(X[:1], Y[:1]))
        with pytest.raises(ValueError, match="cv=5 folds need at least 5 rows, got 4"):
            RidgeCV().fit(*kind(X[:4], Y[:4]))
    with pytest.raises(TypeError, match="both be arrays or both be tensors"):
        RidgeCV().fit(X, torch.from_numpy(Y))
    with pytest.raises(ShapeMismatch, match=r"must be \(n_stimuli, 4\), as in fit"):
        RidgeCV().fit(X, Y).predict(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="X contains NaN"):
        RidgeCV().fit(X, Y).predict(torch.full((1, 4), torch.nan))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scoring": "mse"}, "scoring must be 'neg_mse', 'r2' or 'pearson', got 'mse'"),
        ({"form": "svd"}, "form must be 'auto', 'primal' or 'dual', got 'svd'"),
        ({"memory_limit": 0}, "memory_limit must be an integer of at least 1"),
    ],
)
def test_options_that_do_not_exist_are_refused(planted, options, message):
    X, Y = planted(20, 4, 2)
    with pytest.raises(ValueError, match=message):
        RidgeCV(**options).fit(X, Y)
