"""How well are single feature units decoded? Profile and pattern correlation, and identification by pattern.

    profile correlation of a unit    corr over images of decoded and true values of that unit
    pattern correlation of an image  corr over units of (decoded - m) / s and (true - m) / s

with m, s the mean and standard deviation of each unit over *training* images. Without that normalisation the pattern
of means, which all images share, gives a high correlation to any prediction.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import as_rng, check_positive_int
from neuro.decoders.metrics._similarity import check_pairs, flat_features, paired_similarity, similarity
from neuro.decoders.metrics.identify import two_way_identification
from neuro.decoders.metrics.result import MetricResult, mean_result
from neuro.errors import EmptySelection, ShapeMismatch

_BLOCK = 1 << 22


def profile_correlations(pred: Any, true: Any) -> np.ndarray:
    """Correlation over images of decoded and true values, per unit.

    Parameters
    ----------
    pred, true : array or tensor (n_images, ...)

    Returns
    -------
    array (n_units,), float64
        NaN where decoded or true values are constant.
    """
    p, t = check_pairs(("pred", "true"), pred, true)
    out = np.empty(p.shape[1])
    step = max(1, _BLOCK // len(p))
    for start in range(0, p.shape[1], step):
        part = slice(start, start + step)
        columns = (np.ascontiguousarray(x[:, part].T, dtype=float) for x in (p, t))
        out[part] = paired_similarity(*columns)[0]
    return out


def profile_correlation(
    pred: Any, true: Any, *, rng: int | np.random.Generator | None = 0, n_bootstraps: int = 200
) -> MetricResult:
    """Mean over units of the correlation over images.

    Parameters
    ----------
    pred, true : array or tensor (n_images, ...)
    rng : int, Generator or None
        For the bootstrap over images.
    n_bootstraps : int
        0 for no interval.

    Returns
    -------
    MetricResult
        Chance 0; units that are constant in either are left out and counted.

    References
    ----------
    Shen et al. (2019), PLOS Computational Biology 15, e1006633; Horikawa & Kamitani (2017), Nature Communications 8.
    """
    n_bootstraps = check_positive_int("n_bootstraps", n_bootstraps, 0)
    p, t = check_pairs(("pred", "true"), pred, true)
    values = profile_correlations(p, t)
    good = np.isfinite(values)
    details = {"units": len(values), "undefined_units": int((~good).sum())}
    protocol = "correlation over images per unit, mean over units"
    if not good.any():
        return MetricResult("profile_correlation", float("nan"), protocol, len(p), 0.0, details=details)
    ci = None
    if n_bootstraps:
        rng = as_rng(rng)
        means = _bootstrap_profiles(p[:, good], t[:, good], n_bootstraps, rng)
        low, high = np.nanquantile(means, [0.025, 0.975])
        ci = (float(low), float(high))
    return MetricResult("profile_correlation", float(values[good].mean()), protocol, len(p), 0.0, ci, details=details)


def pattern_correlation(
    pred: Any,
    true: Any,
    train_mean: Any,
    train_std: Any,
    *,
    rng: int | np.random.Generator | None = 0,
) -> MetricResult:
    """Mean over images of the correlation over units, after normalising both by statistics of the training images.

    Parameters
    ----------
    pred, true : array or tensor (n_images, ...)
    train_mean, train_std : array (...)
        Of each unit over training images. Units with a deviation of 0 are left out and counted.
    rng : int, Generator or None
        For the bootstrap over images.

    Returns
    -------
    MetricResult
        Chance is the mean over wrong pairs of images.
    """
    p, t = check_pairs(("pred", "true"), pred, true)
    p, t, masked = _normalised(p, t, train_mean, train_std)
    values, wrong = paired_similarity(p, t)
    return mean_result(
        "pattern_correlation",
        values,
        protocol="correlation over units per image, both normalised by the training images",
        chance=wrong if np.isfinite(wrong) else None,
        rng=rng,
        details={"units": p.shape[1], "undefined_units": masked, "chance": "all wrong pairs"},
    )


def feature_identification(
    pred: Any,
    true: Any,
    train_mean: Any,
    train_std: Any,
    *,
    distractors: Any = None,
    ties: str = "strict",
    rng: int | np.random.Generator | None = 0,
) -> MetricResult:
    """Pairwise identification of the true image by its decoded pattern, both normalised by the training images.

    Parameters
    ----------
    pred, true : array or tensor (n_images, ...)
    train_mean, train_std : array (...)
    distractors : array or tensor (n_distractors, ...), optional
        True features of other images to choose against; the other test images by default.
    ties : {"strict", "half", "win"}
        With test images as distractors.
    rng : int, Generator or None

    Returns
    -------
    MetricResult
        Chance .5.
    """
    p, t = check_pairs(("pred", "true"), pred, true, at_least=2 if distractors is None else 1)
    if distractors is None:
        p, t, masked = _normalised(p, t, train_mean, train_std)
        protocol = f"recon-anchored, ties {ties}, all test images, normalised by the training images"
        result = two_way_identification(p, t, "recon", ties, rng=rng, protocol=protocol)
        result.details["undefined_units"] = masked
        return result
    others = flat_features("distractors", distractors, at_least=1)
    if others.shape[1] != p.shape[1]:
        raise ShapeMismatch(f"distractors have {others.shape[1]} units, pred {p.shape[1]}.")
    n = len(t)
    p, both, masked = _normalised(p, np.concatenate([t, others]), train_mean, train_std)
    own, wrong = paired_similarity(p, both[:n])[0][:, None], similarity(p, both[n:])
    items = np.where(np.isfinite(own[:, 0]), (wrong < own).mean(1) + 0.5 * (wrong == own).mean(1), np.nan)
    return mean_result(
        "two_way_identification",
        items,
        protocol=f"recon-anchored, ties half, {len(others)} other images, normalised by the training images",
        chance=0.5,
        rng=rng,
        details={"distractors": len(others), "undefined_units": masked},
    )


def _normalised(p: np.ndarray, t: np.ndarray, mean: Any, std: Any) -> tuple[np.ndarray, np.ndarray, int]:
    statistics = [np.asarray(x, dtype=float).reshape(-1) for x in (mean, std)]
    for name, x in zip(("train_mean", "train_std"), statistics, strict=True):
        if x.shape != (p.shape[1],):
            raise ShapeMismatch(f"{name} must have one value for each of {p.shape[1]} units, got {x.shape}.")
        if not np.isfinite(x).all():
            raise ValueError(f"{name} holds NaN or infinite numbers.")
    m, s = statistics
    if (s < 0).any():
        raise ValueError("train_std must not be negative.")
    good = s > 0
    if not good.any():
        raise EmptySelection("all units are constant over training images: no pattern is left to correlate.")
    p, t = ((x[:, good] - m[good]) / s[good] for x in (p, t))
    return p, t, int((~good).sum())


def _bootstrap_profiles(p: np.ndarray, t: np.ndarray, n_bootstraps: int, rng: np.random.Generator) -> np.ndarray:
    """Return the mean profile correlation of images drawn with replacement, (n_bootstraps,)."""
    n, n_units = p.shape
    draws = rng.integers(0, n, (n_bootstraps, n))
    weights = np.stack([np.bincount(d, minlength=n) for d in draws]) / n
    total, count = np.zeros(n_bootstraps), np.zeros(n_bootstraps)
    step = max(1, _BLOCK // max(n, n_bootstraps))
    for start in range(0, n_units, step):
        x, y = (np.asarray(z[:, start : start + step], dtype=float) for z in (p, t))
        x, y = x - x.mean(0), y - y.mean(0)
        x, y = x / x.std(0), y / y.std(0)
        mx, my = weights @ x, weights @ y
        vx, vy = weights @ (x * x) - mx**2, weights @ (y * y) - my**2
        variance = np.where((vx > 1e-12) & (vy > 1e-12), vx * vy, np.nan)
        r = (weights @ (x * y) - mx * my) / np.sqrt(variance)
        total += np.nansum(r, axis=1)
        count += np.isfinite(r).sum(1)
    return total / np.where(count > 0, count, np.nan)
