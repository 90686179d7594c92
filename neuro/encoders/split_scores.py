"""How much of a joint prediction's score does each feature space carry, when the predictions add up?

For ``yhat = sum_k yhat_k`` and responses y, both minus the mean of the evaluated rows, every function here splits one
score of ``yhat`` into terms, one per space, that sum to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from neuro._check import check_option, is_tensor
from neuro.errors import EmptySelection, ShapeMismatch

SPLITS = ("product", "relative", "correlation")


def split_scores(Y: Any, parts: Mapping[str, Any], method: str = "product") -> dict[str, Any]:
    """Split the score of a sum of predictions into one term per space.

    - "product" (product measure): ``sum(2 y yhat_k - yhat_k yhat) / sum(y^2)``, which sums to R2. A suppressor's term
      is negative.
    - "relative" (relative weights): R2 shared in proportion to the spaces' parts in the nearest orthogonal
      predictions. With ``A = [yhat_1 ... yhat_S] = U diag(s) V'``, ``Z = U V'``, ``L = V diag(s) V'`` and
      ``beta = Z' yhat``, space k takes the share ``sum_j L_kj^2 beta_j^2 / |yhat_j|^2`` of ``sum_j beta_j^2``.
    - "correlation": ``cov(y, yhat_k) / (sd(y) sd(yhat))``, which sums to the correlation.

    Parameters
    ----------
    Y : array or tensor (n_stimuli, n_voxels)
    parts : mapping of name to array or tensor (n_stimuli, n_voxels)
        As ``BandedRidgeCV.predict(X, split=True)`` returns them. Constants do not matter.
    method : {"product", "relative", "correlation"}

    Returns
    -------
    dict of name to array or tensor (n_voxels,), float64; 0 for a voxel that is constant

    Notes
    -----
    R2 here is about the mean of the evaluated rows on both sides, so an offset of the predictions is not punished.

    References
    ----------
    Hoffman (1960), Psychological Bulletin 57, 116-131; Pratt (1987) (product measure); Johnson (2000), Multivariate
    Behavioral Research 35, 1-19 (relative weights); Dupre la Tour et al. (2022), NeuroImage 264, 119728.

    Examples
    --------
    >>> y = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    >>> split_scores(y, {"a": 0.5 * y, "b": 0.5 * y})
    {'a': array([0.5]), 'b': array([0.5])}
    """
    check_option("method", method, SPLITS)
    if not parts:
        raise EmptySelection("parts must name at least one space, got an empty mapping.")
    names = list(parts)
    tensors = is_tensor(Y)
    if tensors:
        import torch as xp

        y = Y.double()
        P = xp.stack([parts[name].to(y) for name in names])
    else:
        xp: Any = np
        y = np.asarray(Y, float)
        P = np.stack([np.asarray(parts[name], float) for name in names])
    if y.ndim != 2 or P.shape[1:] != y.shape:
        raise ShapeMismatch(f"Y and every part must be (n_stimuli, n_voxels), got {tuple(y.shape)}, {tuple(P.shape)}.")
    y = y - y.mean(0)
    P = P - P.mean(1)[:, None]
    whole, total = P.sum(0), (y**2).sum(0)
    if method == "correlation":
        terms = _ratio(xp, (P * y).sum(1), xp.sqrt(total * (whole**2).sum(0)))
    else:
        terms = _ratio(xp, (P * (2 * y - whole)).sum(1), total)
    if method == "relative":
        terms = _relative(xp, P, whole) * terms.sum(0)
    return {name: terms[k] for k, name in enumerate(names)}


def _relative(xp: Any, P: Any, whole: Any) -> Any:
    """Shares (n_bands, n_voxels) that sum to 1, or 0 where there is no prediction."""
    A = xp.moveaxis(P, 0, 2)
    A = xp.moveaxis(A, 0, 1)  # (n_voxels, n_stimuli, n_bands)
    U, s, Vt = xp.linalg.svd(A, full_matrices=False)
    V = xp.swapaxes(Vt, 1, 2)
    beta = xp.einsum("vns,vks,nv->vk", U, V, whole)
    L = xp.einsum("vks,vs,vjs->vkj", V, s, V)
    norm = (A**2).sum(1)
    shares = xp.einsum("vkj,vj->kv", L**2, _ratio(xp, beta**2, norm))
    return _ratio(xp, shares, shares.sum(0))


def _ratio(xp: Any, a: Any, b: Any) -> Any:
    """``a / b``, 0 where b is 0."""
    return xp.where(b > 0, a / xp.where(b > 0, b, xp.ones_like(b)), xp.zeros_like(a))
