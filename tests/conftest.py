"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real data sets, or a skip that says where it was looked for."""
    candidates = [os.environ.get("NEURO_REAL_DATA"), Path(__file__).parents[1].parent / "shared" / "real"]
    for path in candidates:
        if path and (Path(path) / "README.md").is_file():
            return Path(path)
    pytest.skip(
        "real data not found: set NEURO_REAL_DATA to the folder that holds cowley_v4, mobilenetv2_imagenet, ..."
    )


# Oracles and data for linear models, which several folders test.


@pytest.fixture
def ridge_by_hand():
    """Weights and intercepts from a dense solve per voxel: ``(X'X + alpha I)^-1 X'y`` of centred data."""

    def solve(X, Y, alpha, intercept=True):
        x0, y0 = X.mean(0) * intercept, Y.mean(0) * intercept
        A = X - x0
        alpha = np.broadcast_to(alpha, Y.shape[1:])
        eye = np.eye(X.shape[1])
        W = np.array([np.linalg.solve(A.T @ A + a * eye, A.T @ y) for a, y in zip(alpha, (Y - y0).T, strict=True)])
        return W, y0 - W @ x0

    return solve


@pytest.fixture
def cv_by_hand():
    """Scores (n_alphas, n_voxels) from fitting and predicting every fold and penalty one by one."""

    def score(X, Y, alphas, splits, scoring="neg_mse", intercept=True):
        total = np.zeros((len(alphas), Y.shape[1]))
        for train, val in splits:
            x0, y0 = X[train].mean(0) * intercept, Y[train].mean(0) * intercept
            U, s, Vt = np.linalg.svd(X[train] - x0, full_matrices=False)
            for row, alpha in zip(total, alphas, strict=True):
                P = (X[val] - x0) @ Vt.T @ ((s / (s**2 + alpha))[:, None] * (U.T @ (Y[train] - y0))) + y0
                error = ((P - Y[val]) ** 2).mean(0)
                if scoring == "neg_mse":
                    row -= error
                elif scoring == "r2":
                    row += 1 - error / Y[val].var(0)
                else:
                    row += [np.corrcoef(p, y)[0, 1] for p, y in zip(P.T, Y[val].T, strict=True)]
        return total / len(splits)

    return score


@pytest.fixture
def planted():
    """``planted(n, p, v)`` -> X with a decaying spectrum and an offset, Y with voxels from pure noise to clean."""

    def make(n, p, v, seed=0, dtype=np.float64):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((n, p)) / np.sqrt(np.arange(1, p + 1)) + 1.5
        signal = (X - X.mean(0)) @ rng.standard_normal((p, v))
        Y = np.linspace(0, 2, v) * signal / signal.std(0) + rng.standard_normal((n, v)) + 4
        return X.astype(dtype), Y.astype(dtype)

    return make


@pytest.fixture
def himalaya():
    """The peer library, on numpy."""
    module = pytest.importorskip("himalaya", reason="needs himalaya: pip install 'neuro[bench]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from himalaya.backend import set_backend

        set_backend("numpy")
        import himalaya.kernel_ridge
        import himalaya.ridge  # noqa: F401

        yield module
