"""The best that any decoder can do where it is known how responses were made.

Embeddings e ~ N(0, S) drive responses x = e W + noise, noise ~ N(0, Q). Then, with J = W Q^-1 W',

    posterior covariance   P = S^1/2 (I + S^1/2 J S^1/2)^-1 S^1/2
    posterior mean         E[e | x] = x Q^-1 W' P = e J P + N(0, P J P)

and no estimate of e has a smaller error. How often that estimate retrieves its own image from a pool follows from the
same Gaussians, without a single voxel: all that matters happens in the space of embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from neuro._check import as_rng, check_option, check_positive_int
from neuro.decoders.metrics._similarity import similarity
from neuro.decoders.metrics.gallery import _integral, _places, expected_retrieval
from neuro.decoders.metrics.identify import expected_top_k
from neuro.errors import ShapeMismatch

SCORES = ("cosine", "correlation", "dot", "likelihood")


@dataclass(frozen=True, eq=False)
class Ceiling:
    """What the optimal decoder of a planted linear-Gaussian model reaches.

    Attributes
    ----------
    retrieval : float
        Top-1, image given brain.
    two_way : float
        Two-way identification with all distractors, images compete.
    r2 : float
        Share of the embedding's variance that the posterior mean explains.
    d_prime : float
        Of the equal-variance Gaussian model with the same retrieval.
    standard_errors : dict
        Monte Carlo error of ``retrieval`` and ``two_way``.
    pool, score
        As asked for.
    """

    retrieval: float
    two_way: float
    r2: float
    d_prime: float
    standard_errors: dict[str, float]
    pool: int
    score: str


def posterior(W: Any, noise: Any, prior: Any = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the optimal linear decoder of x = e W + noise.

    Parameters
    ----------
    W : array (d, n_voxels)
        From embedding to responses.
    noise : float, array (n_voxels,) or (n_voxels, n_voxels)
        Variance of the noise: of every voxel, per voxel, or its covariance. Divide by the repeats that are averaged.
    prior : array (d, d), optional
        Covariance S of the embeddings; the identity by default. It may be singular.

    Returns
    -------
    decoder : array (n_voxels, d)
        ``x @ decoder`` is the posterior mean.
    covariance : array (d, d)
        P, of the embedding given responses.
    information : array (d, d)
        J = W Q^-1 W'.
    """
    W = np.asarray(W, dtype=float)
    if W.ndim != 2:
        raise ShapeMismatch(f"W must be (d, n_voxels), got {W.shape}.")
    d, n_voxels = W.shape
    noise = np.asarray(noise, dtype=float)
    if noise.shape not in ((), (n_voxels,), (n_voxels, n_voxels)):
        raise ShapeMismatch(
            f"noise must be one variance, one per voxel ({n_voxels},) or a covariance ({n_voxels}, {n_voxels}), got "
            f"{noise.shape}."
        )
    variances = np.linalg.eigvalsh(noise) if noise.ndim == 2 else noise
    if not (np.isfinite(variances).all() and np.min(variances) > 0):
        raise ValueError("noise must be finite and positive (definite): without noise the ceiling is 1.")
    S = np.eye(d) if prior is None else np.asarray(prior, dtype=float)
    if S.shape != (d, d):
        raise ShapeMismatch(f"prior must be ({d}, {d}), got {S.shape}.")
    values, vectors = np.linalg.eigh((S + S.T) / 2)
    if values.min() < -1e-8 * max(values.max(), 1e-300):
        raise ValueError("prior must be a covariance: it has a negative eigenvalue.")
    half = vectors * np.sqrt(np.clip(values, 0, None))
    whitened = np.linalg.solve(noise, W.T) if noise.ndim == 2 else W.T / (noise[:, None] if noise.ndim else noise)
    J = W @ whitened
    P = half @ np.linalg.solve(np.eye(d) + half.T @ J @ half, half.T)
    P = (P + P.T) / 2
    return whitened @ P, P, (J + J.T) / 2


def planted_ceiling(
    W: Any,
    noise: Any,
    prior: Any = None,
    *,
    pool: int = 300,
    score: str = "cosine",
    embeddings: Any = None,
    n_samples: int = 3000,
    rng: int | np.random.Generator | None = 0,
) -> Ceiling:
    """Retrieval and two-way identification by the posterior mean in a planted linear-Gaussian model.

    Parameters
    ----------
    W, noise, prior
        As :func:`posterior`.
    pool : int
    score : {"cosine", "correlation", "dot", "likelihood"}
        How an estimate m = E[e | x] is compared with a candidate e': by what decoders use, by m . e', or by the
        log-likelihood of the responses, m' P^-1 e' - e' J e' / 2, the best possible rule.
    embeddings : array (n, d), optional
        The test images themselves, centred as the prior is; otherwise images are drawn from the prior.
    n_samples : int
        Draws of the posterior mean. For ``"dot"`` without ``embeddings`` the rest is an integral over one variable;
        otherwise every draw is ranked among all others, which gives the expectation over all pools without bias.
    rng : int, Generator or None

    Returns
    -------
    Ceiling

    Notes
    -----
    Given m, the right image scores N(m'm, m'Pm) by ``"dot"`` and another N(0, m'Sm): hence two-way
    Phi(m'm / sqrt(m'(P + S)m)) and retrieval the integral of phi(z) Phi((m'm + z sqrt(m'Pm)) / sqrt(m'Sm))^(pool - 1).

    Examples
    --------
    >>> W = np.random.default_rng(0).standard_normal((20, 50))
    >>> quiet, loud = (planted_ceiling(W, v, score="dot").retrieval for v in (1.0, 1000.0))
    >>> quiet > 0.95 and loud < 0.2
    True
    """
    check_option("score", score, SCORES)
    pool, n_samples = check_positive_int("pool", pool, 2), check_positive_int("n_samples", n_samples, 2)
    rng = as_rng(rng)
    _, P, J = posterior(W, noise, prior)
    d = len(P)
    S = np.eye(d) if prior is None else np.asarray(prior, dtype=float)
    trace = np.trace(S)
    r2 = float(1 - np.trace(P) / trace) if trace > 0 else float("nan")
    if embeddings is None and score == "dot":
        M = S - P
        m = rng.standard_normal((n_samples, d)) @ _root(M).T
        own, right, wrong = np.einsum("nd,nd->n", m, m), _quadratic(m, P), _quadratic(m, S)
        scale = np.sqrt(np.where(wrong > 0, wrong, 1.0))
        two_way = norm.cdf(own / np.sqrt(np.where(right + wrong > 0, right + wrong, 1.0)))
        top = _integral(own / scale, np.sqrt(np.clip(right, 0, None)) / scale, pool, n_points=801)
    else:
        e = rng.standard_normal((n_samples, d)) @ _root(S).T if embeddings is None else np.asarray(embeddings, float)
        if e.ndim != 2 or e.shape[1] != d:
            raise ShapeMismatch(f"embeddings must be (n, {d}), got {e.shape}.")
        if len(e) < pool:
            raise ValueError(f"a pool of {pool} needs at least as many images, got {len(e)}.")
        draws = max(1, n_samples // len(e)) if embeddings is not None else 1
        two_ways, tops = [], []
        for _ in range(draws):
            m = e @ J @ P + rng.standard_normal(e.shape) @ _root(P @ J @ P).T
            better, tied = _places(_scores(m, e, J, P, score))
            two_ways.append(1 - (better + tied / 2) / (len(e) - 1))
            tops.append(expected_top_k(better, tied, len(e), pool))
        two_way, top = np.mean(two_ways, axis=0), np.mean(tops, axis=0)
    errors = {name: float(x.std(ddof=1) / np.sqrt(len(x))) for name, x in (("retrieval", top), ("two_way", two_way))}
    value = float(top.mean())
    return Ceiling(value, float(two_way.mean()), r2, equivalent_d_prime(value, pool), errors, pool, score)


def equivalent_d_prime(accuracy: float, pool: int) -> float:
    """Return the d' at which :func:`expected_retrieval` gives an accuracy; infinite at 1, 0 at chance.

    >>> round(equivalent_d_prime(0.207, 300), 2)
    2.0
    """
    pool = check_positive_int("pool", pool, 2)
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy must lie in [0, 1], got {accuracy!r}.")
    low, high = -10.0, 30.0
    if accuracy >= min(1.0, expected_retrieval(high, pool)):
        return float("inf")
    if accuracy <= expected_retrieval(low, pool):
        return float("-inf")
    return float(brentq(lambda x: expected_retrieval(x, pool) - accuracy, low, high, xtol=1e-6))


def _scores(m: np.ndarray, e: np.ndarray, J: np.ndarray, P: np.ndarray, score: str) -> np.ndarray:
    """Score of every estimate (rows) with every image (columns)."""
    if score in ("cosine", "correlation"):
        return similarity(m, e, score)
    if score == "dot":
        return m @ e.T
    # x Q^-1 W' = m P^-1 on the space that images span
    return (m @ np.linalg.pinv(P, hermitian=True)) @ e.T - 0.5 * _quadratic(e, J)[None, :]


def _quadratic(x: np.ndarray, A: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", x @ A, x)


def _root(A: np.ndarray) -> np.ndarray:
    """Return R with R R' = A for a covariance."""
    values, vectors = np.linalg.eigh((A + A.T) / 2)
    return vectors * np.sqrt(np.clip(values, 0, None))
