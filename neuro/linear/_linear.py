"""What every linear encoder shares: checks of the input, predictions, and a life outside the GPU it was fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from neuro.data import Responses
from neuro.errors import ShapeMismatch
from neuro.linear._arrays import array_of, as_tensor, check_device, tensor_of, working_dtype


class LinearEncoder(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Base of encoders with ``coef_`` (n_voxels, n_features) and ``intercept_`` (n_voxels,).

    Numpy in, numpy out; tensors in, tensors on the same device out. A fitted object pickles with numpy arrays inside.
    """

    intercept_: Any
    n_features_in_: int

    def predict(self, X: Any) -> Any:
        """Predict responses.

        Parameters
        ----------
        X : array or tensor (n_stimuli, n_features)

        Returns
        -------
        array or tensor (n_stimuli, n_voxels), or (n_stimuli,) if fitted to flat responses
        """
        check_is_fitted(self)
        if not isinstance(X, torch.Tensor):
            X = validate_data(self, _no_float16(X), reset=False, dtype=[np.float64, np.float32])
            return self._apply(as_tensor(X)).numpy()
        if X.ndim != 2 or X.shape[1] != self.n_features_in_:
            raise ShapeMismatch(
                f"X must be (n_stimuli, {self.n_features_in_}), as in fit; its shape is {tuple(X.shape)}."
            )
        _check_finite("X", X, "features")
        return self._apply(X.detach())

    def _apply(self, X: torch.Tensor) -> torch.Tensor:
        weights = tensor_of(self.coef_, X.device)
        return times(X.to(weights.dtype), weights) + tensor_of(self.intercept_, X.device)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R2, averaged over voxels.

        Parameters
        ----------
        X : array or tensor (n_stimuli, n_features)
        y : array, tensor or Responses (n_stimuli, n_voxels)
        sample_weight : array (n_stimuli,), optional

        Returns
        -------
        float
        """
        y = plain(y, X)
        return float(super().score(array_of(X) if isinstance(X, torch.Tensor) else X, array_of(y), sample_weight))

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with tensors as numpy arrays, so that it loads where the device of the fit is not."""
        state = super().__getstate__()
        return {k: array_of(v) if isinstance(v, torch.Tensor) else v for k, v in state.items()}


def plain(Y: Any, X: Any) -> Any:
    """Return ``Responses`` as an array or a tensor, whichever the features are; anything else as it is."""
    if not isinstance(Y, Responses):
        return Y
    return Y.to_torch() if isinstance(X, torch.Tensor) else Y.to_numpy()


def check_fit_data(estimator: Any, X: Any, Y: Any, device: Any):
    """Check and convert what ``fit`` was given.

    Returns
    -------
    X : tensor (n_stimuli, n_features), on the device to compute on
    Y : tensor (n_stimuli, n_voxels), where it was
    dtype : torch.dtype to compute in
    home : torch.device or None
        Where results go; None is numpy.
    flat : bool
        Whether Y was one-dimensional.
    """
    Y = plain(Y, X)
    if isinstance(X, torch.Tensor) != isinstance(Y, torch.Tensor):
        raise TypeError(f"X and Y must both be arrays or both be tensors, got {type(X).__name__}, {type(Y).__name__}.")
    if isinstance(X, torch.Tensor):
        home: torch.device | None = X.device
        X, Y = X.detach(), Y.detach()
        _check_tensors(X, Y)
        estimator.n_features_in_ = X.shape[1]
    else:
        home = None
        X, Y = _no_float16(X), _no_float16(Y)
        try:
            X, Y = validate_data(
                estimator, X, Y, multi_output=True, y_numeric=True, dtype=[np.float64, np.float32], ensure_min_samples=2
            )
        except ValueError:
            _say_more(X, Y)
            raise
        if not isinstance(Y, np.ndarray):
            raise TypeError(f"Y must be a dense array, got {type(Y).__name__}.")
        X, Y = as_tensor(X), as_tensor(Y)
    flat = Y.ndim == 1
    Y = Y.reshape(len(Y), -1)
    if Y.shape[1] == 0:
        raise ValueError("Y has no voxels: its shape is (n_stimuli, 0). Was the selection empty?")
    dtype = working_dtype(X, Y)
    return X.to(check_device(device, X)), Y, dtype, home, flat


def _check_tensors(X: torch.Tensor, Y: torch.Tensor) -> None:
    if X.ndim != 2 or Y.ndim not in (1, 2):
        raise ShapeMismatch(
            "X must be (n_stimuli, n_features) and Y (n_stimuli, n_voxels) or (n_stimuli,), "
            f"got shapes {tuple(X.shape)} and {tuple(Y.shape)}."
        )
    if len(X) != len(Y):
        _refuse_lengths(len(X), len(Y))
    if len(X) < 2 or X.shape[1] == 0:
        raise ValueError(f"X must have at least 2 rows and 1 feature, its shape is {tuple(X.shape)}.")
    if X.is_complex() or Y.is_complex():
        raise ValueError("X and Y must be real, got complex numbers.")
    _check_finite("X", X, "features")
    _check_finite("Y", Y.reshape(len(Y), -1), "voxels")


def _say_more(X: Any, Y: Any) -> None:
    """Raise a clearer error than scikit-learn's, where there is one."""
    if not (isinstance(X, np.ndarray) and isinstance(Y, np.ndarray) and X.ndim == 2 and Y.ndim in (1, 2)):
        return
    if len(X) != len(Y):
        _refuse_lengths(len(X), len(Y))
    for name, A, columns in (("X", X, "features"), ("Y", Y, "voxels")):
        if A.dtype.kind == "f" and A.size:
            _check_finite(name, as_tensor(A.reshape(len(A), -1)), columns)


def _refuse_lengths(n_x: int, n_y: int) -> None:
    raise ShapeMismatch(
        f"X and Y must describe the same stimuli: X has {n_x:,} rows, Y has {n_y:,} (inconsistent numbers of samples). "
        "Were repeats averaged in one but not in the other?"
    )


def _check_finite(name: str, A: torch.Tensor, columns: str) -> None:
    if not A.is_floating_point() or bool(torch.isfinite(A.sum(dtype=torch.float64 if A.dtype.itemsize < 4 else None))):
        return
    bad = ~torch.isfinite(A)
    n_bad = int(bad.any(0).sum())
    if n_bad:
        first = int(torch.nonzero(bad.any(0))[0])
        raise ValueError(
            f"{name} contains NaN or infinity in {n_bad:,} of {A.shape[1]:,} {columns} (the first is {first}). "
            f"Leave those {columns} out, or the rows where they are missing."
        )


def _no_float16(a: Any) -> Any:
    """Return half precision, which is for storage, as float32."""
    return a.astype(np.float32) if isinstance(a, np.ndarray) and a.dtype == np.float16 else a


def times(X: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return ``X @ weights.T`` for weights (n_voxels, n_features) or (n_features,)."""
    return X @ (weights.T if weights.ndim == 2 else weights)
