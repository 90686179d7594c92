"""How far apart are two geometries in the Bures metric, the one that Procrustes alignment induces on kernels?

With centred kernels K = -H D H / 2 = F F' of squared Euclidean RDMs and the nuclear norm |.|_*,

    similarity (NBS) = |Fx' Fy|_* / sqrt(tr Kx tr Ky)          metric^2 = tr Kx + tr Ky - 2 |Fx' Fy|_*
    angle = arccos(similarity), the angular Procrustes distance.

From features F is the centred feature matrix itself. Factors avoid the square root of a matrix of low rank, which turns
rounding of 1e-16 into 1e-8.

References
----------
Harvey, Larsen & Williams (2024), UniReps. Tang, Maddox, Dickens, Diethe & Damianou (2020), NeurIPS workshop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro.rsa._array import centred, double, features_pair, lib, like
from neuro.rsa._pairs import to_square

REFERENCE = "Harvey et al. (2024), UniReps; Tang et al. (2020)"
RANK = 1e-12  # eigenvalues below this share of the largest carry nothing


def nbs(x: Any, y: Any) -> Any:
    """Return the normalised Bures similarity of two representations, ``|Xc' Yc|_* / (|Xc| |Yc|)``, from 0 to 1.

    Parameters
    ----------
    x, y : array or tensor (n_stimuli, n_features); numbers of features may differ

    Returns
    -------
    float, or tensor ()
        0 where a representation does not vary over stimuli.
    """
    kind = x
    x, y = features_pair(x, y)
    x, y = centred(x), centred(y)
    xp = lib(x)
    norm = xp.sqrt((x * x).sum() * (y * y).sum())
    return like(nuclear(x, y) / norm if norm > 0 else 0 * norm, kind)


def nuclear(x: Any, y: Any) -> Any:
    """Return |x' y|_*; tall x (n, p), y (n, q) with p, q > n are reduced to n columns first."""
    x, y = reduced(x), reduced(y)
    return lib(x).linalg.svd(x.T @ y, full_matrices=False)[1].sum()


def reduced(x: Any) -> Any:
    """Return (n, min(n, p)) with the same x x': an orthogonal change of features leaves every measure here as it is."""
    if x.shape[1] <= x.shape[0]:
        return x
    return lib(x).linalg.qr(x.T)[1].T


def factors(d: Any) -> list[Any]:
    """Return F (n, rank) with F F' = -H D H / 2 of each condensed squared Euclidean RDM; negative parts are dropped."""
    xp = lib(d)
    out = []
    for row in d:
        square = to_square(double(row))
        rows = square.mean(0)
        kernel = -(square - rows - rows[:, None] + rows.mean()) / 2
        values, vectors = xp.linalg.eigh(kernel)
        keep = values > RANK * abs(values[-1])
        out.append(vectors[:, keep] * xp.sqrt(values[keep]))
    return out


def similarities(a: Any, b: Any) -> Any:
    """Return NBS between all RDMs of ``a`` (n_a, P) and ``b`` (n_b, P), squared Euclidean."""
    cross, trace_a, trace_b = _products(a, b)
    xp = lib(cross)
    scale = trace_a[:, None] * trace_b[None, :]
    return xp.where(scale > 0, cross / xp.sqrt(xp.where(scale > 0, scale, xp.ones_like(scale))), xp.zeros_like(cross))


def metrics(a: Any, b: Any) -> Any:
    """Return the Bures metric between all RDMs (rsatoolbox's "bures_metric" is its square)."""
    cross, trace_a, trace_b = _products(a, b)
    squared = trace_a[:, None] + trace_b[None, :] - 2 * cross
    return safe_root(squared, 1e-15 * (trace_a[:, None] + trace_b[None, :]))


def angles(a: Any, b: Any) -> Any:
    """Return arccos of :func:`similarities`, in radians."""
    xp = lib(a)
    return xp.arccos(xp.clip(similarities(a, b), 0, 1))


def safe_root(squared: Any, floor: Any = 0.0) -> Any:
    """Return the root of what is above its rounding, else 0; gradients there are 0."""
    xp = lib(squared)
    positive = squared > floor
    return xp.where(positive, xp.sqrt(xp.where(positive, squared, xp.ones_like(squared))), xp.zeros_like(squared))


def negative_riemannian(a: Any, b: Any) -> np.ndarray:
    """Return minus the affine-invariant distance of second moments, at the best scales; slow, for parity only.

    With G_ij = (d_1i + d_1j - d_ij) / 2 relative to the first stimulus and P = [-1 | I],
    -min over t of sqrt(sum log^2 eig(e^t1 G_a + e^t2 P P', G_b)). RDMs without full rank give -inf.
    """
    from scipy.linalg import LinAlgError, eigh
    from scipy.optimize import minimize

    from neuro.rsa._array import to_numpy

    left, right = (_referenced(to_numpy(double(z))) for z in (a, b))
    noise = np.eye(left.shape[1]) + 1.0
    out = np.full((len(left), len(right)), -np.inf)
    for i, g in enumerate(left):
        for j, h in enumerate(right):

            def cost(theta: np.ndarray, g: np.ndarray = g, h: np.ndarray = h) -> float:
                try:
                    values = eigh(np.exp(theta[0]) * g + np.exp(theta[1]) * noise, h, eigvals_only=True)
                except LinAlgError:
                    return np.inf
                return float(np.sqrt((np.log(values) ** 2).sum())) if values[0] > 0 else np.inf

            if np.linalg.eigvalsh(h)[0] > 0:
                best = minimize(cost, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
                out[i, j] = -best.fun
    return out


def _referenced(d: np.ndarray) -> np.ndarray:
    square = to_square(d)
    first = square[:, 0, 1:]
    return (first[:, :, None] + first[:, None, :] - square[:, 1:, 1:]) / 2


def _products(a: Any, b: Any) -> tuple[Any, Any, Any]:
    """Nuclear norms of all F' F and traces of all kernels."""
    xp = lib(a)
    left = factors(a)
    right = left if b is a else factors(b)
    traces = [xp.stack([(f * f).sum() for f in side]) for side in (left, right)]
    cross: list[list[Any]] = []
    for i, f in enumerate(left):
        row = [cross[j][i] if b is a and j < i else _nuclear(f, g, xp) for j, g in enumerate(right)]
        cross.append(row)
    return xp.stack([xp.stack(row) for row in cross]), *traces


def _nuclear(f: Any, g: Any, xp: Any) -> Any:
    if 0 in (f.shape[1], g.shape[1]):
        return (f.sum() + g.sum()) * 0
    return xp.linalg.svd(f.T @ g, full_matrices=False)[1].sum()
