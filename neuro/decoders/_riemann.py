"""Symmetric positive definite matrices under the affine-invariant Riemannian metric.

    d(A, B) = |log(A^-1/2 B A^-1/2)|_F         mean = the M that minimises the sum of squared distances
    tangent vector of B at M: log(M^-1/2 B M^-1/2), its upper triangle, off-diagonal entries times sqrt(2)

Distances are the same after any invertible mixing of the channels, A -> W A W'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neuro._check import check_positive_int
from neuro.errors import ShapeMismatch


def spd_function(matrices: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply ``function`` to the eigenvalues of symmetric matrices (..., p, p)."""
    values, vectors = np.linalg.eigh(matrices)
    return (vectors * function(values)[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def check_spd(matrices: Any, name: str = "covariances") -> np.ndarray:
    """Return matrices (n, p, p) in float64, or say that they are not symmetric positive definite."""
    out = np.asarray(matrices, dtype=float)
    if out.ndim != 3 or out.shape[1] != out.shape[2] or not len(out):
        raise ShapeMismatch(f"{name} must be (n, p, p), got shape {out.shape}.")
    if not np.allclose(out, np.swapaxes(out, 1, 2), rtol=1e-7, atol=1e-12 * np.abs(out).max()):
        raise ValueError(f"{name} must be symmetric.")
    values = np.linalg.eigvalsh(out)
    if not (values[:, 0] > values[:, -1] * 1e-14).all():
        bad = int((values[:, 0] <= values[:, -1] * 1e-14).sum())
        raise ValueError(
            f"{name} must be positive definite; {bad} of {len(out)} are not, to rounding. Epochs need more samples "
            "than (stacked) channels and no channel may be a combination of others: use a shrinking estimator ('oas'), "
            "fewer lags, or leave channels out."
        )
    return out


def airm_distance(A: Any, B: Any) -> Any:
    """Return the affine-invariant distance of positive definite matrices.

    Parameters
    ----------
    A, B : arrays (..., p, p)
        Broadcast against each other.

    Returns
    -------
    array (...) or float

    References
    ----------
    Pennec, Fillard & Ayache (2006), International Journal of Computer Vision 66, 41-66.

    Examples
    --------
    >>> float(airm_distance(np.eye(3), np.e * np.eye(3)))         # sqrt(3) logarithmic units
    1.7320508075688772
    """
    A, B = np.asarray(A, dtype=float), np.asarray(B, dtype=float)
    white = np.linalg.inv(np.linalg.cholesky(A))
    ratio = white @ B @ np.swapaxes(white, -1, -2)
    values = np.linalg.eigvalsh((ratio + np.swapaxes(ratio, -1, -2)) / 2)
    if not (values > 0).all():
        raise ValueError("matrices must be positive definite.")
    out = np.sqrt((np.log(values) ** 2).sum(-1))
    return float(out) if out.ndim == 0 else out


def riemannian_mean(
    covariances: Any, weights: Any = None, *, tolerance: float = 1e-9, max_iterations: int = 100
) -> np.ndarray:
    """Return the affine-invariant (Fréchet, Karcher) mean by gradient steps in the tangent space of the last guess.

    Parameters
    ----------
    covariances : array (n, p, p)
    weights : array (n,), optional
    tolerance : float
        Stop when the mean tangent vector is shorter.
    max_iterations : int
        Past them a ``RuntimeError`` is raised.

    Returns
    -------
    array (p, p)

    References
    ----------
    Moakher (2005), SIAM Journal on Matrix Analysis and Applications 26, 735-747.
    """
    C = check_spd(covariances)
    check_positive_int("max_iterations", max_iterations)
    w = np.full(len(C), 1.0) if weights is None else np.asarray(weights, dtype=float)
    if w.shape != (len(C),) or (w < 0).any() or not w.sum() > 0:
        raise ShapeMismatch(f"weights must be {len(C)} numbers, not negative and not all 0; got shape {w.shape}.")
    w = w / w.sum()
    mean = np.tensordot(w, C, 1)
    step, previous = 1.0, np.inf
    for _ in range(max_iterations):
        root, inverse = spd_function(mean, np.sqrt), spd_function(mean, lambda v: 1 / np.sqrt(v))
        tangent = np.tensordot(w, spd_function(_symmetric(inverse @ C @ inverse), np.log), 1)
        size = float(np.linalg.norm(tangent))
        if size < tolerance:
            return mean
        step, previous = (step / 2 if size > previous else step), size
        mean = _symmetric(root @ spd_function(step * tangent, np.exp) @ root)
    raise RuntimeError(
        f"the mean of covariances did not settle in {max_iterations} steps (still {previous:.2g} off, tolerance "
        f"{tolerance:g}). Matrices this far apart or this close to singular need shrinkage ('oas')."
    )


def tangent_vectors(covariances: Any, reference: Any) -> np.ndarray:
    """Return tangent vectors at ``reference``, whose lengths are distances from it.

    Parameters
    ----------
    covariances : array (n, p, p)
    reference : array (p, p)

    Returns
    -------
    array (n, p (p + 1) / 2)

    References
    ----------
    Barachant et al. (2012), IEEE Transactions on Biomedical Engineering 59, 920-928.
    """
    C, reference = check_spd(covariances), check_spd(np.asarray(reference, dtype=float)[None], "reference")[0]
    if C.shape[1:] != reference.shape:
        raise ShapeMismatch(f"covariances of {C.shape[1]} channels, the reference has {len(reference)}.")
    inverse = spd_function(reference, lambda v: 1 / np.sqrt(v))
    logs = spd_function(_symmetric(inverse @ C @ inverse), np.log)
    rows, columns = np.triu_indices(C.shape[1])
    return logs[:, rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0))


def from_tangent_vectors(vectors: Any, reference: Any) -> np.ndarray:
    """Return the covariances (n, p, p) whose tangent vectors at ``reference`` these are."""
    vectors, reference = np.asarray(vectors, dtype=float), np.asarray(reference, dtype=float)
    p = len(reference)
    rows, columns = np.triu_indices(p)
    if vectors.ndim != 2 or vectors.shape[1] != len(rows):
        raise ShapeMismatch(f"vectors must be (n, {len(rows)}) for {p} channels, got shape {vectors.shape}.")
    logs = np.zeros((len(vectors), p, p))
    logs[:, rows, columns] = vectors * np.where(rows == columns, 1.0, np.sqrt(0.5))
    logs[:, columns, rows] = logs[:, rows, columns]
    root = spd_function(reference, np.sqrt)
    return _symmetric(root @ spd_function(logs, np.exp) @ root)


def _symmetric(matrices: np.ndarray) -> np.ndarray:
    return (matrices + np.swapaxes(matrices, -1, -2)) / 2
