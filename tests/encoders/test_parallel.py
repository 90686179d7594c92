"""Chunks of voxels give the same numbers wherever they are fitted, and what was finished is kept."""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import pytest
import torch

from neuro.data import Responses, Voxels
from neuro.encoders import (
    AlphaAtBoundaryWarning,
    BandedRidgeCV,
    KernelRidgeCV,
    RepeatedStimuliWarning,
    RidgeCV,
    chunked,
    fit_voxel_chunks,
)
from neuro.errors import CorruptFile, ShapeMismatch, StaleStore

N, V = 60, 23


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = {"shape": rng.standard_normal((N, 6)), "colour": 3 * rng.standard_normal((N, 4))}
    signal = X["shape"] @ rng.standard_normal((6, V)) + X["colour"] @ rng.standard_normal((4, V))
    return X, signal + 4 * rng.standard_normal((N, V))


ESTIMATORS = {
    "primal": RidgeCV(),
    "dual": RidgeCV(form="dual", cv=4),
    "leave one out": RidgeCV(cv="loo"),
    "banded": BandedRidgeCV(n_iter=6),
    "refined": BandedRidgeCV(n_iter=6, refine=2),
}
PER_VOXEL = ("coef_", "intercept_", "alpha_", "cv_scores_", "best_score_", "band_weights_", "deltas_", "candidate_")


def given(estimator, X):
    return X if isinstance(estimator, BandedRidgeCV) else np.concatenate(list(X.values()), 1)


def assert_same(found, expected, X):
    for name in PER_VOXEL:
        if hasattr(expected, name):
            np.testing.assert_allclose(
                getattr(found, name), getattr(expected, name), rtol=1e-6, atol=1e-9, err_msg=name
            )
    np.testing.assert_allclose(found.predict(X), expected.predict(X), rtol=1e-6, atol=1e-9)
    assert found.boundary_ == expected.boundary_
    assert found.get_params() == expected.get_params()
    assert set(vars(found)) == set(vars(expected))
    if expected.splits_ is not None:
        for a, b in zip(found.splits_, expected.splits_, strict=True):
            np.testing.assert_array_equal(a[0], b[0])


@pytest.mark.parametrize("n_chunks", [1, 4, 100])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_chunks_are_the_whole(data, name, n_chunks):
    X, Y = given(ESTIMATORS[name], data[0]), data[1]
    expected = ESTIMATORS[name].__class__(**ESTIMATORS[name].get_params()).fit(X, Y)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert_same(fit_voxel_chunks(ESTIMATORS[name], X, Y, n_chunks), expected, X)
    assert not hasattr(ESTIMATORS[name], "coef_")  # left as it was


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed", reason="joblib's dask backend needs dask[distributed]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cluster's own ports and temporary folders
        options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
        with distributed.LocalCluster(**options) as local, distributed.Client(local) as client:
            yield client


@pytest.fixture(autouse=True)
def fresh_workers():
    """Idle workers of earlier tests stop after some minutes, and a job handed to them at that moment is lost."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["loky", "threading", "dask", "dask client", "submitit", "pool"])
def test_every_engine_gives_the_same_numbers(data, engine, request, tmp_path):
    if engine.startswith("dask"):
        client = request.getfixturevalue("cluster")
    if engine == "submitit":
        submitit = pytest.importorskip("submitit", reason="needs submitit, as SLURM does")
        executor = submitit.LocalExecutor(folder=tmp_path / "jobs")
        executor.update_parameters(timeout_min=4)
    for estimator in (RidgeCV(), BandedRidgeCV(n_iter=5)):
        X, Y = given(estimator, data[0]), data[1]
        expected = type(estimator)(**estimator.get_params()).fit(X, Y)
        folder = tmp_path / type(estimator).__name__
        if engine == "submitit":
            found = fit_voxel_chunks(estimator, X, Y, 2, executor, folder=folder)
        elif engine == "dask client":
            found = fit_voxel_chunks(estimator, X, Y, 3, client)
        elif engine == "pool":
            with ThreadPoolExecutor(2) as pool:
                found = fit_voxel_chunks(estimator, X, Y, 3, pool, folder=folder)
        else:
            with joblib.parallel_config(backend=engine, n_jobs=2):
                found = fit_voxel_chunks(estimator, X, Y, 3)
        assert_same(found, expected, X)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "threading", "dask"])
def test_chunks_inside_a_fit_do_not_depend_on_the_backend(data, backend, request):
    """``n_jobs`` inside an estimator shares memory, whatever backend the user has chosen."""
    if backend == "dask":
        request.getfixturevalue("cluster")
    for estimator in (RidgeCV(n_jobs=2), BandedRidgeCV(n_iter=5, n_jobs=2)):
        X, Y = given(estimator, data[0]), data[1]
        expected = type(estimator)(**(estimator.get_params() | {"n_jobs": None})).fit(X, Y)
        with joblib.parallel_config(backend=backend, n_jobs=2):
            found = estimator.fit(X, Y)
        np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found.cv_scores_, expected.cv_scores_, rtol=1e-6, atol=1e-9)


class Killed(ThreadPoolExecutor):
    """A pool that stops taking work after two chunks, as a job that runs out of its time does."""

    def submit(self, function, *arguments):
        self.taken = getattr(self, "taken", 0) + 1
        if self.taken > 2:
            return super().submit(self.stop)
        return super().submit(function, *arguments)

    @staticmethod
    def stop():
        raise TimeoutError("time is up")


@pytest.mark.parametrize("name", ["primal", "dual", "banded"])
def test_finished_chunks_of_a_killed_job_are_kept(data, tmp_path, name, monkeypatch):
    X, Y = given(ESTIMATORS[name], data[0]), data[1]
    with Killed(1) as pool, pytest.raises(TimeoutError) as caught:
        fit_voxel_chunks(ESTIMATORS[name], X, Y, 5, pool, folder=tmp_path / "f")
    assert "2 of 5 chunks are finished" in caught.value.__notes__[0]
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "f").iterdir()}
    assert sorted(before) == ["X.npy", "Y.npy", "chunk-00000.safetensors", "chunk-00001.safetensors", "fit.json"]
    fitted = []
    work = chunked._fit_chunk
    monkeypatch.setattr(chunked, "_fit_chunk", lambda *a: fitted.append(a[3].shape[1]) or work(*a))
    with joblib.parallel_config(backend="threading", n_jobs=1):
        found = fit_voxel_chunks(ESTIMATORS[name], X, Y, 5, folder=tmp_path / "f")
    assert len(fitted) == 3
    assert all((tmp_path / "f" / n).stat().st_mtime_ns == t for n, t in before.items())
    assert_same(found, type(found)(**found.get_params()).fit(X, Y), X)
    fit_voxel_chunks(ESTIMATORS[name], X, Y, 5, folder=tmp_path / "f")  # nothing left to do
    assert len(fitted) == 3


def test_folder_of_another_fit_is_refused(data, tmp_path):
    X, Y = given(RidgeCV(), data[0]), data[1]
    fit_voxel_chunks(RidgeCV(), X, Y, 2, folder=tmp_path / "f")
    for other in [
        (RidgeCV(cv=3), X, Y, 2),
        (RidgeCV(), X + 1, Y, 2),
        (RidgeCV(), X, Y[:, ::-1], 2),
        (RidgeCV(), X, Y, 3),
    ]:
        with pytest.raises(StaleStore, match="chunks of a fit to other data"):
            fit_voxel_chunks(*other, folder=tmp_path / "f")
    (tmp_path / "f" / "chunk-00001.safetensors").write_bytes(b"half a")
    with pytest.raises(CorruptFile, match="not a whole chunk"):
        fit_voxel_chunks(RidgeCV(), X, Y, 2, folder=tmp_path / "f")


def test_repeats_stay_together_in_all_chunks(data):
    X, Y = given(RidgeCV(), data[0]), data[1]
    rows = np.repeat(np.arange(N), 2)
    responses = Responses(Y[rows], pd.DataFrame({"stimulus": rows}), Voxels(V))
    found = fit_voxel_chunks(RidgeCV(), X[rows], responses, 3)
    for train, held_out in found.splits_:
        assert not set(rows[train]) & set(rows[held_out])
    by_groups = fit_voxel_chunks(RidgeCV(), X[rows], Y[rows], 3, groups=rows)
    np.testing.assert_allclose(by_groups.coef_, found.coef_, rtol=1e-5)
    with pytest.warns(RepeatedStimuliWarning) as caught:
        fit_voxel_chunks(RidgeCV(), X[rows], Y[rows], 3)
    assert len(caught) == 1


def test_chance_is_settled_once_for_all_chunks(data):
    X, Y = given(RidgeCV(), data[0]), data[1]
    found = fit_voxel_chunks(RidgeCV(random_state=None), X, Y, 4)
    again = RidgeCV(cv=found.splits_).fit(X, Y)
    np.testing.assert_allclose(found.coef_, again.coef_, rtol=1e-6, atol=1e-9)
    assert found.random_state is None


def test_edge_of_the_grid_is_warned_of_once_for_all_voxels(data):
    X, Y = given(RidgeCV(), data[0]), data[1]
    with pytest.warns(AlphaAtBoundaryWarning) as caught, joblib.parallel_config(backend="threading", n_jobs=2):
        found = fit_voxel_chunks(RidgeCV(alphas=[1e-3, 1e-2]), X, Y, 4)
    assert len(caught) == 1
    assert found.boundary_.n_voxels == V


def test_what_chunks_cannot_do_is_refused(data):
    X, Y = given(RidgeCV(), data[0]), data[1]
    with pytest.raises(ValueError, match="RidgeCV or BandedRidgeCV, got KernelRidgeCV"):
        fit_voxel_chunks(KernelRidgeCV(), X, Y, 2)
    with pytest.raises(ValueError, match="local_alpha=False"):
        fit_voxel_chunks(RidgeCV(local_alpha=False), X, Y, 2)
    with pytest.raises(ValueError, match="extend_grid=True"):
        fit_voxel_chunks(RidgeCV(extend_grid=True), X, Y, 2)
    with pytest.raises(ValueError, match="n_chunks must be"):
        fit_voxel_chunks(RidgeCV(), X, Y, 0)
    with pytest.raises(ShapeMismatch, match="of the same stimuli"):
        fit_voxel_chunks(RidgeCV(), X, Y[:-1], 2)
    with pytest.raises(ShapeMismatch, match=r"got shapes \(60, 10\) and \(60,\)"):
        fit_voxel_chunks(RidgeCV(), X, Y[:, 0], 2)
    with pytest.raises(TypeError, match="tensors are not sent"):
        fit_voxel_chunks(RidgeCV(), torch.from_numpy(X), torch.from_numpy(Y), 2)
    with pytest.raises(TypeError, match="executor must have submit"):
        fit_voxel_chunks(RidgeCV(), X, Y, 2, sys)
