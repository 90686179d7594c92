"""Data and models for curves of data efficiency."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def linear():
    """``linear(rng, n, p, v)``: Gaussian features, weights of length ``signal``, and responses."""

    def make(rng, n, p, v, noise=1.0, signal=1.0):
        X = rng.standard_normal((n, p))
        B = rng.standard_normal((p, v)) * signal / np.sqrt(p)
        return X, X @ B + noise * rng.standard_normal((n, v))

    return make


@pytest.fixture
def ridge():
    """``ridge(penalty)``: fit and predict in one function of arrays."""

    def make(penalty):
        def fit_predict(X, Y, X_test):
            return X_test @ np.linalg.solve(X.T @ X + penalty * np.eye(X.shape[1]), X.T @ Y)

        return fit_predict

    return make
