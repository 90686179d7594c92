"""Fitting whatever predicts: sklearn-like estimators and callables, on arrays, tensors or named feature spaces."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.errors import ShapeMismatch


def check_models(estimators: Any) -> dict[str, Any]:
    """Return name -> estimator or callable; a single one is called "model"."""
    models = dict(estimators) if isinstance(estimators, Mapping) else {"model": estimators}
    if not models:
        raise ValueError("estimators is an empty dict: give at least one encoder.")
    for name, model in models.items():
        if isinstance(model, type) or not (callable(model) or is_estimator(model)):
            raise ValueError(
                f"{name!r} must be an estimator with fit and predict, or a callable (X_train, Y_train, X_test) -> "
                f"predictions, got {model.__name__ + ' itself' if isinstance(model, type) else type(model).__name__}."
            )
    return {str(name): model for name, model in models.items()}


def is_estimator(model: Any) -> bool:
    """Whether ``model`` has ``fit`` and ``predict``."""
    return hasattr(model, "fit") and hasattr(model, "predict")


def n_rows(X: Any) -> int:
    """Return the number of rows of an array or of named feature spaces."""
    if isinstance(X, Mapping):
        rows = {str(name): len(x) for name, x in X.items()}
        if len(set(rows.values())) != 1:
            raise ShapeMismatch(f"feature spaces must have the same rows, got {rows}.")
        return next(iter(rows.values()))
    return len(X)


def take(X: Any, rows: np.ndarray) -> Any:
    """Return some rows, of every feature space where there are several."""
    if isinstance(X, Mapping):
        return {name: take(x, rows) for name, x in X.items()}
    if is_tensor(X):
        import torch

        return X[torch.as_tensor(rows, device=X.device)]
    return np.asarray(X)[rows]


def fitted(model: Any, X: Any, Y: Any, groups: np.ndarray | None) -> Any:
    """Return a fitted clone of an estimator."""
    from sklearn.base import clone

    copy: Any = clone(model, safe=False)
    takes = groups is not None and "groups" in inspect.signature(copy.fit).parameters
    copy.fit(X, Y, **({"groups": groups} if takes else {}))
    return copy


def fit_predict(model: Any, X: Any, Y: Any, X_test: Any, groups: np.ndarray | None, shape: tuple[int, ...]) -> Any:
    """Return predictions of a freshly fitted model."""
    hat = fitted(model, X, Y, groups).predict(X_test) if is_estimator(model) else model(X, Y, X_test)
    return as_predictions(hat, shape)


def as_predictions(hat: Any, shape: tuple[int, ...]) -> Any:
    """Return predictions as (n_rows, n_voxels); estimators drop the axis of a single voxel."""
    hat = hat if hasattr(hat, "shape") else np.asarray(hat)
    if tuple(hat.shape) == tuple(shape):
        return hat
    if shape[1] == 1 and tuple(hat.shape) == (shape[0],):
        return hat.reshape(-1, 1)
    raise ShapeMismatch(f"predictions must be {tuple(shape)}, one per test row and voxel, got {tuple(hat.shape)}.")
