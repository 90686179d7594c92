"""What was the ridge regression that in-context encoders were first compared with? Reproduced for comparison only.

Per fold f of five consecutive blocks of stimuli and penalty a, with a column of ones appended to the features::

    b_f(a) = (A'A + a I)^-1 A'y      on the other four blocks, the ones' weight (the intercept) penalised like the rest
    s_f(a) = 1 - var(y - A b_f(a)) / var(y)        on block f

The penalty with the best mean score is taken per voxel, and the mean of the five ``b_f`` at that penalty, without a
final fit to all stimuli. Averaging and the penalised intercept cost accuracy: for one's own work take
:class:`~neuro.encoders.RidgeCV`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import check_positive_int, is_tensor
from neuro.errors import ShapeMismatch

ALPHAS = tuple(10.0**k for k in range(-3, 6))


def published_ridge_baseline(X: Any, Y: Any, alphas: Any = ALPHAS, n_folds: int = 5) -> tuple[Any, Any]:
    """Return the weights of the ridge baseline published with BraInCoRL.

    Parameters
    ----------
    X : array or tensor (n_stimuli, n_features)
    Y : array or tensor (n_stimuli, n_voxels)
    alphas : array (n_alphas,), > 0
        The published grid by default, 1e-3 to 1e5.
    n_folds : int
        Consecutive blocks.

    Returns
    -------
    coef : (n_voxels, n_features)
    intercept : (n_voxels,)
        Both of the kind of X, float64.

    Raises
    ------
    ShapeMismatch
        If X and Y have different numbers of rows, or fewer rows than folds.

    References
    ----------
    Yu et al. (2025), arXiv 2505.15813.
    """
    import torch

    home = X.device if is_tensor(X) else None
    A, T = (torch.as_tensor(np.array(a) if not is_tensor(a) else a).double() for a in (X, Y))
    n_folds = check_positive_int("n_folds", n_folds, 2)
    if A.ndim != 2 or T.ndim != 2 or len(A) != len(T) or len(A) < n_folds:
        raise ShapeMismatch(
            f"X must be (n_stimuli, n_features) and Y (n_stimuli, n_voxels) with at least {n_folds} stimuli, "
            f"got {tuple(A.shape)} and {tuple(T.shape)}."
        )
    grid = torch.as_tensor(np.array(alphas, dtype=float).reshape(-1), device=A.device)
    if not len(grid) or not bool((grid > 0).all() & torch.isfinite(grid).all()):
        raise ValueError(f"alphas must be finite numbers above 0, got {np.array(alphas)}.")
    T = T.to(A.device)
    A = torch.cat([A, torch.ones_like(A[:, :1])], 1)
    blocks = torch.tensor_split(torch.arange(len(A), device=A.device), n_folds)
    scores = torch.zeros(len(grid), T.shape[1], dtype=A.dtype, device=A.device)
    folds = []
    for block in blocks:
        train = torch.ones(len(A), dtype=torch.bool, device=A.device)
        train[block] = False
        values, Q = torch.linalg.eigh(A[train].T @ A[train])
        C = Q.T @ (A[train].T @ T[train])
        folds.append((values.clamp_min(0), Q, C))
        spread = T[block].var(0)
        for row, alpha in zip(scores, grid, strict=True):
            left = (T[block] - (A[block] @ Q) @ (C / (values.clamp_min(0) + alpha)[:, None])).var(0)
            row += torch.where(spread > 0, 1 - left / spread, torch.zeros_like(spread))
    best = grid[scores.argmax(0)]
    mean = sum(Q @ (C / (values[:, None] + best)) for values, Q, C in folds) / n_folds
    coef, intercept = mean[:-1].T.contiguous(), mean[-1]
    return (coef, intercept) if home is not None else (coef.numpy(), intercept.numpy())
