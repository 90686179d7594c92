"""How far apart are two representations up to a chosen family of transformations? Shape metrics.

Each representation is partially whitened, then rotated (or permuted) onto the other. With Xc'Xc = V diag(lambda) V',

    X -> Xc V diag(alpha + (1 - alpha) lambda^(-1/2)) V',    angle = arccos(max_T <X, Y T> / (|X| |Y|)).

alpha = 1 is Procrustes; alpha = 0 ignores every invertible linear transformation, and the angle is then the arccos of
the mean canonical correlation. All of them satisfy the triangle inequality, so that representations can be averaged
(:func:`barycentre`), clustered and embedded.

Stochastic responses, with mean m_i and covariance S_i for stimulus i, add the Bures distance between covariances:

    distance^2 = min_T mean_i [ alpha |m_i^x - m_i^y T|^2 + (2 - alpha) Bures^2(S_i^x, T' S_i^y T) ].

References
----------
Williams, Kunz, Kornblith & Linderman (2021), NeurIPS. Duong, Zhou, Nassar, Berman, Olieslagers & Williams (2023), ICLR.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int, is_tensor
from neuro.errors import ShapeMismatch
from neuro.rsa._array import centred, double, features_pair, lib, like, number, to_numpy
from neuro.rsa.bures import safe_root
from neuro.rsa.procrustes import CLOSE, angle, pad, procrustes_distance, rotation

FLOOR = 1e-7  # smallest eigenvalue that is whitened, as a share of the largest
GROUPS = ("orthogonal", "permutation")


def shape_distance(
    x: Any, y: Any, alpha: float = 1.0, *, kind: str = "angular", group: str = "orthogonal", rescale: bool = False
) -> Any:
    """Return the shape distance of two representations.

    Parameters
    ----------
    x, y : array or tensor (n_stimuli, n_features); numbers of features may differ (padded with zeros)
    alpha : float, 0 to 1
        1: rotations only; 0: any invertible linear map.
    kind : "angular" (radians, ignores scale) or "euclidean" (units of the whitened features)
    group : "orthogonal" or "permutation" (units matched one to one; alpha 1 is then the natural choice)
    rescale : bool
        Keep the total variance when whitening, which matters for "euclidean".

    Returns
    -------
    float or tensor ()
    """
    check_option("kind", kind, ["angular", "euclidean"])
    check_option("group", group, GROUPS)
    original = x if is_tensor(x) else y
    x, y = features_pair(x, y)
    x, y = partial_whiten(x, alpha, rescale), partial_whiten(y, alpha, rescale)
    if group == "permutation":
        value = _permuted(x, y, kind)
    else:
        value = angle(x, y) if kind == "angular" else procrustes_distance(x, y)
    return like(value, original) if is_tensor(value) else float(value)


def partial_whiten(x: Any, alpha: float, rescale: bool = False) -> Any:
    """Return Xc V diag(alpha + (1 - alpha) lambda^(-1/2)) V'; eigenvalues are floored at 1e-7 of the largest."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 (any linear map) to 1 (rotations only), got {alpha}.")
    xp = lib(x)
    x = centred(double(x))
    if alpha == 1:
        return x
    if x.shape[1] > x.shape[0]:  # the same map through the n x n side, where features outnumber stimuli
        values, vectors = xp.linalg.eigh(x @ x.T)
    else:
        values, vectors = xp.linalg.eigh(x.T @ x)
    if not values[-1] > 0:
        return x
    scale = alpha + (1 - alpha) * xp.clip(values, FLOOR * number(values[-1]), np.inf) ** -0.5
    mix = (vectors * scale) @ vectors.T
    out = mix @ x if x.shape[1] > x.shape[0] else x @ mix
    return out * xp.sqrt((x * x).sum() / (out * out).sum()) if rescale else out


def match(x: Any, y: Any, group: str = "orthogonal") -> Any:
    """Return the T (p, p) of ``group`` that brings centred ``x`` closest to ``y`` (same width): ``x @ T``."""
    check_option("group", group, GROUPS)
    if group == "orthogonal":
        return rotation(x, y)
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(to_numpy(x.T @ y), maximize=True)
    out = x.new_zeros((len(rows), len(rows))) if is_tensor(x) else np.zeros((len(rows), len(rows)))
    out[rows, columns] = 1.0
    return out


def stochastic_shape_distance(
    means_x: Any,
    covariances_x: Any,
    means_y: Any,
    covariances_y: Any,
    alpha: float = 1.0,
    *,
    n_iter: int = 200,
    tol: float = 1e-10,
    n_starts: int = 1,
    rng: int | np.random.Generator | None = 0,
) -> float:
    """Return the shape distance of two stochastic representations, minimised by alternating alignments.

    Parameters
    ----------
    means_x, means_y : array (n_stimuli, p)
        The same p on both sides. Centred over stimuli here.
    covariances_x, covariances_y : array (n_stimuli, p, p), positive semi-definite
    alpha : float, 0 to 2
        2 compares means only (times sqrt 2), 0 covariances only; 1 is the 2-Wasserstein distance of Gaussians.
    n_iter, tol
        Stops when the squared distance falls by less than ``tol`` of itself.
    n_starts : int
        Random rotations tried beside the start from the means; the best result counts (the problem is not convex).
    rng : seed or Generator
    """
    if not 0 <= alpha <= 2:
        raise ValueError(f"alpha must be from 0 (covariances) to 2 (means), got {alpha}.")
    check_positive_int("n_iter", n_iter)
    x, y = (centred(double(to_numpy(m))) for m in (means_x, means_y))
    covariances = [double(to_numpy(c)) for c in (covariances_x, covariances_y)]
    for m, c in zip((x, y), covariances, strict=True):
        if m.shape != x.shape or c.shape != (*x.shape, x.shape[1]):
            raise ShapeMismatch(
                f"means (n, p) and covariances (n, p, p) are needed, alike on both sides, got {m.shape}, {c.shape}."
            )
    roots = [_root(c) for c in covariances]
    generator = as_rng(rng)
    starts = [rotation(y, x)]
    starts += [np.linalg.qr(generator.standard_normal((x.shape[1],) * 2))[0] for _ in range(n_starts)]
    best = min(_alternate(x, y, *roots, alpha, t, n_iter, tol) for t in starts)
    return float(np.sqrt(max(best, 0.0)))


def barycentre(
    representations: Sequence[Any],
    *,
    alpha: float = 1.0,
    group: str = "orthogonal",
    n_iter: int = 100,
    tol: float = 1e-9,
) -> tuple[Any, list[Any]]:
    """Return the mean shape (n, p) and all representations aligned to it, by turns of aligning and averaging.

    Parameters
    ----------
    representations : sequence of arrays or tensors (n_stimuli, p_k)
        Partially whitened with ``alpha`` first; padded with zeros to one width.
    alpha, group : as in :func:`shape_distance`
    n_iter, tol
        Stops when the mean moves by less than ``tol`` of its norm.
    """
    xs = _common([partial_whiten(x, alpha) for x in representations])
    mean = xs[0]
    aligned = xs
    for _ in range(check_positive_int("n_iter", n_iter)):
        aligned = [x @ match(x, mean, group) for x in xs]
        new = sum(aligned[1:], aligned[0]) / len(aligned)
        moved = ((new - mean) ** 2).sum()
        mean = new
        if moved <= tol**2 * (mean * mean).sum():
            break
    return mean, aligned


def tangent_vectors(
    representations: Sequence[Any], mean: Any = None, *, alpha: float = 1.0, group: str = "orthogonal"
) -> Any:
    """Return aligned differences to the barycentre, one flat vector each (n_representations, n p).

    Euclidean methods (PCA, k-means, regression) apply to them.
    """
    if mean is None:
        mean, aligned = barycentre(representations, alpha=alpha, group=group)
    else:
        *xs, mean = _common([*(partial_whiten(x, alpha) for x in representations), centred(double(mean))])
        aligned = [x @ match(x, mean, group) for x in xs]
    return lib(mean).stack([(x - mean).reshape(-1) for x in aligned])


def shape_kmeans(
    representations: Sequence[Any],
    n_clusters: int,
    *,
    alpha: float = 1.0,
    n_iter: int = 50,
    rng: int | np.random.Generator | None = None,
) -> tuple[np.ndarray, list[Any]]:
    """Cluster representations: each belongs to the nearest centre, each centre is the barycentre of its members.

    Returns
    -------
    labels (n_representations,), centres
        Started from representations far apart (k-means++ rule).
    """
    check_positive_int("n_clusters", n_clusters)
    xs = _common([partial_whiten(x, alpha) for x in representations])
    if n_clusters > len(xs):
        raise ValueError(f"{len(xs)} representations cannot form {n_clusters} clusters.")
    generator = as_rng(rng)
    centres = [xs[int(generator.integers(len(xs)))]]
    while len(centres) < n_clusters:
        nearest = np.array([min(float(procrustes_distance(x, c)) for c in centres) ** 2 for x in xs])
        if not nearest.max() > 1e-20 * max(float((x * x).sum()) for x in xs):
            raise ValueError(f"only {len(centres)} different representations for {n_clusters} clusters.")
        centres.append(xs[int(generator.choice(len(xs), p=nearest / nearest.sum()))])
    labels = np.full(len(xs), -1)
    for _ in range(n_iter):
        distance = np.array([[float(procrustes_distance(x, c)) for c in centres] for x in xs])
        new = distance.argmin(1)
        if np.array_equal(new, labels):
            break
        labels = new
        members = [[x for x, label in zip(xs, labels, strict=True) if label == k] for k in range(n_clusters)]
        centres = [barycentre(m)[0] if m else c for m, c in zip(members, centres, strict=True)]
    return labels, centres


def _permuted(x: Any, y: Any, kind: str) -> Any:
    x, y = pad(x, y)
    y = y @ match(y, x, "permutation")
    if kind == "euclidean":
        return safe_root(((x - y) ** 2).sum())
    xp = lib(x)
    norms = safe_root((x * x).sum()) * safe_root((y * y).sum())
    cosine = (x * y).sum() / norms if norms > 0 else 0 * norms
    if cosine < 1 - CLOSE:
        return xp.arccos(cosine)
    return 2 * xp.arcsin(safe_root(((x / safe_root((x * x).sum()) - y / safe_root((y * y).sum())) ** 2).sum()) / 2)


def _common(xs: list[Any]) -> list[Any]:
    if not xs:
        raise ShapeMismatch("at least one representation is needed.")
    if len({x.shape[0] for x in xs}) > 1:
        raise ShapeMismatch(f"all representations need the same stimuli, got {sorted({x.shape[0] for x in xs})} rows.")
    widest = max(xs, key=lambda x: x.shape[1])
    return [pad(x, widest)[0] for x in xs]


def _root(covariances: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariances)
    if (values < -1e-8 * np.abs(values).max()).any():
        raise ValueError(f"covariances must be positive semi-definite, lowest eigenvalue {values.min():.3g}.")
    return (vectors * np.sqrt(np.clip(values, 0, None))[:, None, :]) @ np.swapaxes(vectors, 1, 2)


def _alternate(
    x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, alpha: float, t: np.ndarray, n_iter: int, tol: float
) -> float:
    """Minimise mean_i alpha |m_x - m_y T|^2 + (2 - alpha) |A_i - Q_i B_i T|^2 in all Q_i given T, in T given Q_i."""
    n, p = x.shape
    weights = np.sqrt([alpha, 2 - alpha])
    last = np.inf
    for _ in range(n_iter):
        turned = b @ t
        u, _, vt = np.linalg.svd(a @ np.swapaxes(turned, 1, 2))
        q = u @ vt
        value = float((alpha * ((x - y @ t) ** 2).sum() + (2 - alpha) * ((a - q @ turned) ** 2).sum()) / n)
        if last - value <= tol * abs(value):
            return min(value, last)
        last = value
        target = np.concatenate([weights[0] * x, weights[1] * a.reshape(n * p, p)])
        source = np.concatenate([weights[0] * y, weights[1] * (q @ b).reshape(n * p, p)])
        t = rotation(source, target)
    return last
