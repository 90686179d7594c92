"""Eigenvalues of weights, and what noise alone would make of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import check_option
from neuro.errors import ShapeMismatch
from neuro.stats._moments import to_numpy
from neuro.stats.marchenko_pastur import largest_noise_eigenvalue, marchenko_pastur_quantile


def whitening(covariance: Any, p: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the inverse square root and the square root of a covariance, which is scaled to a mean variance of 1."""
    if covariance is None:
        return None, None
    C = np.array(to_numpy(covariance), dtype=float)
    if C.shape != (p, p) or not np.isfinite(C).all():
        raise ShapeMismatch(f"noise_covariance must be a finite ({p}, {p}) array, got shape {C.shape}.")
    values, vectors = np.linalg.eigh((C + C.T) / 2)
    if not values[0] > 1e-10 * values[-1]:
        raise ValueError(
            f"noise_covariance must be positive definite, its eigenvalues go from {values[0]:.2g} to {values[-1]:.2g}. "
            "Add a small multiple of the identity, or reduce the features."
        )
    root = np.sqrt(values / values.mean())
    return (vectors / root) @ vectors.T, (vectors * root) @ vectors.T


def principal(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of rows'rows in descending order and its eigenvectors (n_features, n)."""
    v, p = rows.shape
    if p <= v:
        values, vectors = np.linalg.eigh(rows.T @ rows)
        return np.maximum(values[::-1], 0), vectors[:, ::-1]
    values, left = np.linalg.eigh(rows @ rows.T)
    values, left = np.maximum(values[::-1], 0), left[:, ::-1]
    vectors = rows.T @ left
    length = np.linalg.norm(vectors, axis=0)
    return values, vectors / np.where(length > 0, length, 1)


def largest(rows: np.ndarray) -> float:
    gram = rows.T @ rows if rows.shape[1] <= len(rows) else rows @ rows.T
    return float(np.linalg.eigvalsh(gram)[-1])


def median_noise(values: np.ndarray, n: float, p: int, level: float) -> float:
    """Return the noise variance that makes the median of what is not signal that of Marchenko and Pastur."""
    many = min(int(n), p, len(values))  # the others are zero up to rounding, or what copies share
    k = 0
    while True:
        unit = float(marchenko_pastur_quantile(0.5, n - k, p - k)) * (n - k) / n
        variance = float(np.median(values[k:many])) / unit
        above = int((values[:many] > largest_noise_eigenvalue(n, p, variance, level)).sum())
        # At least half of the eigenvalues must be noise for their median to be one of noise.
        if above <= k or above > many // 2:
            return variance
        k = above


def random_edge(
    rows: np.ndarray, directions: np.ndarray, level: float, n: int, rng: np.random.Generator, shuffle: bool
) -> tuple[float, int]:
    """Return the quantile of the largest eigenvalue of randomised weights, and how many components exceed it."""
    k, (v, p) = 0, rows.shape
    while True:
        rest = rows - (rows @ directions[:, :k]) @ directions[:, :k].T
        # What was removed took its share of the noise along.
        whole = rest * np.sqrt(v * p / ((v - k) * (p - k)))
        null = np.empty(n)
        for i in range(n):
            null[i] = largest(rng.permuted(whole, axis=0) if shuffle else whole * rng.choice([-1.0, 1.0], (v, p)))
        limit = upper(null, level)
        found = int((principal(rest)[0] > limit).sum())
        if not found or k + found > min(v, p) // 2:
            return limit, min(k + found, min(v, p) - 1)
        k += found


def sampled_edge(samples: list[np.ndarray], centre: bool, level: float) -> float:
    """Return the quantile of the largest eigenvalue of samples of noise (n_voxels, n_features)."""
    return upper(np.array([largest(s - s.mean(0) if centre else s) for s in samples]), level)


def upper(null: np.ndarray, level: float) -> float:
    """Return the value that ``level`` of draws from the null exceed; the largest where there are too few."""
    n = len(null)
    return float(np.sort(null)[min(int(np.ceil((1 - level) * (n + 1))) - 1, n - 1)])


def check_samples(noise_weights: Any, shape: tuple[int, int], edge: str) -> np.ndarray | None:
    """Return samples (n_samples, n_voxels, n_features) of the noise of weights."""
    if (noise_weights is not None) != (edge == "noise-weights"):
        raise ValueError("noise_weights and edge='noise-weights' go together.")
    if noise_weights is None:
        return None
    samples = np.array(to_numpy(noise_weights), dtype=float)
    samples = samples[None] if samples.ndim == 2 else samples
    if samples.ndim != 3 or not len(samples) or samples.shape[1:] != shape:
        raise ShapeMismatch(f"noise_weights must be {shape} like coef, or several of them, got {samples.shape}.")
    return samples


def check_noise(noise: Any, n_voxels: int, edge: str) -> Any:
    """Return "median", a float or an array (n_voxels,)."""
    if isinstance(noise, str):
        return check_option("noise", noise, ["median"])
    if edge != "marchenko-pastur":
        raise ValueError(f"noise goes with edge='marchenko-pastur', got edge={edge!r}.")
    variances = np.array(to_numpy(noise), dtype=float)
    if variances.shape not in ((), (n_voxels,)):
        raise ShapeMismatch(f"noise must be one variance or one per voxel ({n_voxels:,}), got {variances.shape}.")
    if not (variances > 0).all():
        raise ValueError(f"noise must be 'median' or variances above 0, got {variances.min():g}.")
    return variances if variances.ndim else float(variances)
