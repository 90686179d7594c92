"""Ridge regression with a given penalty per voxel, as one function of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from neuro.errors import ShapeMismatch
from neuro.linear._alphas import positive
from neuro.linear._arrays import as_tensor, gram64, like_input, working_dtype
from neuro.linear._cv import resolve_form
from neuro.linear._eigh import decompose


def solve_ridge(X: Any, Y: Any, alpha: Any, *, form: str = "auto") -> Any:
    """Minimise ``|y_v - X w_v|^2 + alpha_v |w_v|^2`` for every voxel v.

    With the singular value decomposition ``X = U diag(s) V'`` the weights are
    ``w_v = V diag(s / (s^2 + alpha_v)) U' y_v``. For float64 data it is that decomposition which is used; for float32
    data, the eigendecomposition of ``X'X`` (primal) or ``XX'`` (dual) in float64, which keeps as many digits and costs
    a fraction.

    Parameters
    ----------
    X : array or tensor (n_stimuli, n_features)
        Centred, if the model is to have an intercept.
    Y : array or tensor (n_stimuli, n_voxels)
        Centred likewise.
    alpha : float or array (n_voxels,), > 0
        Penalty.
    form : {"auto", "primal", "dual"}
        Which of the two matrices; "auto" takes the smaller. They agree up to rounding.

    Returns
    -------
    array or tensor (n_voxels, n_features), float32 or float64 as the input, where ``X`` is

    Raises
    ------
    ValueError
        If a penalty is not above 0, or shapes disagree.

    Examples
    --------
    >>> solve_ridge(np.array([[1.0], [-1.0]]), np.array([[2.0], [-2.0]]), alpha=2.0)
    array([[1.]])
    """
    home = X.device if isinstance(X, torch.Tensor) else None
    A = X if isinstance(X, torch.Tensor) else as_tensor(np.asarray(X))
    B = Y if isinstance(Y, torch.Tensor) else as_tensor(np.asarray(Y))
    if A.ndim != 2 or B.ndim != 2 or len(A) != len(B):
        raise ShapeMismatch(
            "X must be (n_stimuli, n_features) and Y (n_stimuli, n_voxels) with the same n_stimuli, "
            f"got {tuple(A.shape)} and {tuple(B.shape)}."
        )
    penalty = positive("alpha", alpha)
    if penalty.ndim > 1 or penalty.size not in (1, B.shape[1]):
        raise ShapeMismatch(f"alpha must be one number or one per voxel, {B.shape[1]:,}; its shape is {penalty.shape}.")
    dtype = working_dtype(A, B)
    A, B = A.to(dtype), B.to(device=A.device, dtype=dtype)
    penalties = torch.from_numpy(np.broadcast_to(penalty.reshape(-1), (B.shape[1],)).copy()).to(A.device)[:, None]
    return like_input(_solve(A, B, penalties, resolve_form(form, A)), home)


def _solve(X: torch.Tensor, Y: torch.Tensor, alpha: torch.Tensor, form: str) -> torch.Tensor:
    if X.dtype == torch.float64:
        U, s, Vt = torch.linalg.svd(X, full_matrices=False)
        return (Y.T @ U).mul_(s / (s**2 + alpha)) @ Vt
    primal = form == "primal"
    lam, V = decompose(gram64(X if primal else X.T), min(X.shape), float(alpha.min()), X.dtype)
    V, shrink = V.to(X.dtype), (1 / (lam + alpha)).to(X.dtype)
    if primal:
        return (Y.T @ X @ V).mul_(shrink) @ V.T
    return (Y.T @ V).mul_(shrink) @ V.T @ X
