"""How reliable a voxel is, and how well a perfect model could predict it.

With responses y = signal + noise per trial, ``ncsnr`` is the s.d. of the signal over that of the noise, and the share
of variance of an n-trial average that any model can explain is ncsnr^2 / (ncsnr^2 + 1/n).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro.errors import NoRepeats, ShapeMismatch


def ncsnr_from_repeats(Y: Any, stimulus: Any, zscored: bool = True) -> np.ndarray:
    """Return signal s.d. over noise s.d. of single trials from repeated stimuli.

    The noise variance is pooled over stimuli, sum of squared deviations / sum(n_i - 1); for equal repeats that is NSD's
    mean of variances. Z-scored responses have total variance 1, so the signal variance is 1 - noise; otherwise it is
    the variance of the stimulus means less their share of noise, noise * mean(1/n_i). Negative estimates become 0.

    Parameters
    ----------
    Y : array (n_trials, n_voxels)
        Single trials; NaN trials of a voxel are left out, voxels without any repeat give NaN.
    stimulus : array (n_trials,)
        What was shown in each trial.
    zscored : bool
        Whether every voxel has mean 0 and s.d. 1 within each session. Z-scoring once over sessions that drift
        underestimates reliability.

    Returns
    -------
    array (n_voxels,)

    Raises
    ------
    NoRepeats
        If no stimulus has two trials.

    References
    ----------
    Allen et al. (2022), Nature Neuroscience 25, 116-126, Methods.
    """
    Y = np.asarray(Y, dtype=np.float64)
    codes = _codes(Y, stimulus)
    if np.bincount(codes).max() < 2:
        raise NoRepeats("every stimulus was shown once, so noise cannot be told from signal.")
    # NSD's definition uses the images that have all their trials; pooling uses every image with at least two.
    mean, count, deviation = _by_stimulus(Y, codes)
    repeated = count >= 2
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = np.where(repeated, count - 1, 0).sum(0)
        noise = np.where(repeated, deviation, 0.0).sum(0) / freedom
        if zscored:
            signal = 1.0 - noise
        else:
            seen = count > 0
            means = np.where(seen, mean, np.nan)
            inverse = np.where(seen, 1.0 / np.maximum(count, 1), np.nan)
            signal = _nanvar(means) - noise * np.nanmean(inverse, axis=0)
        return np.sqrt(np.maximum(signal, 0.0)) / np.sqrt(noise)


def noise_ceiling(ncsnr: Any, n_repeats: Any = 1) -> np.ndarray:
    """Return the share of variance of trial-averaged responses that a perfect model explains.

    NC = ncsnr^2 / (ncsnr^2 + mean(1/n_i)), where n_i trials went into the i-th response. The best correlation a model
    can reach is sqrt(NC).

    Parameters
    ----------
    ncsnr : array (n_voxels,), >= 0
    n_repeats : int or array of int, >= 1
        Trials averaged into each response; an array gives the count of every response.

    Returns
    -------
    array (n_voxels,), 0 to 1 (NSD's own maps are in percent); NaN where ncsnr is NaN

    Raises
    ------
    ValueError
        If a count is below 1 or an ncsnr negative.

    References
    ----------
    Allen et al. (2022), Nature Neuroscience 25, 116-126, Methods.

    Examples
    --------
    >>> noise_ceiling(np.array([0.0, 1.0]), n_repeats=3)
    array([0.  , 0.75])
    >>> float(noise_ceiling(1.0, n_repeats=[1, 2, 3]).round(3))
    0.621
    """
    counts = np.atleast_1d(np.asarray(n_repeats, dtype=float))
    if not counts.size or not (counts >= 1).all():
        raise ValueError(f"n_repeats must be at least 1 everywhere, got {counts.min() if counts.size else 'nothing'}.")
    snr = np.asarray(ncsnr, dtype=float)
    if (snr < 0).any():
        raise ValueError(f"ncsnr cannot be negative, got {np.nanmin(snr):g}.")
    return snr**2 / (snr**2 + np.mean(1.0 / counts))


def spearman_brown(r: Any, n: float = 2) -> np.ndarray:
    """Return the reliability of the mean of ``n`` measurements that correlate ``r``: n r / (1 + (n-1) r).

    The result is already a share of variance: a noise-normalised score is r^2 / reliability, and the ceiling of a
    correlation its square root.

    Examples
    --------
    >>> float(spearman_brown(0.5, 2).round(3))
    0.667
    """
    r = np.asarray(r, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return n * r / (1 + (n - 1) * r)


def split_half(Y: Any, stimulus: Any, seed: int | None = None) -> np.ndarray:
    """Return the reliability of full averages from two halves of the repeats, by Spearman and Brown.

    Parameters
    ----------
    Y : array (n_trials, n_voxels)
        Single trials; NaN trials are left out.
    stimulus : array (n_trials,)
    seed : int, optional
        How trials are dealt to the halves; by default first, third, fifth... against second, fourth...

    Returns
    -------
    array (n_voxels,): 2 r / (1 + r) with r the correlation over stimuli between the halves' means
    """
    Y = np.asarray(Y, dtype=np.float64)
    codes = _codes(Y, stimulus)
    order = np.arange(len(codes)) if seed is None else np.random.default_rng(seed).permutation(len(codes))
    sorted_ = order[np.argsort(codes[order], kind="stable")]
    first = np.r_[True, np.diff(codes[sorted_]) != 0]
    rank = np.arange(len(sorted_)) - np.maximum.accumulate(np.where(first, np.arange(len(sorted_)), 0))
    half = np.empty(len(codes), int)
    half[sorted_] = rank % 2
    sides = []
    for side in (0, 1):
        mean, count, _ = _by_stimulus(Y[half == side], codes[half == side], codes.max() + 1)
        sides.append(np.where(count > 0, mean, np.nan))
    both = np.isfinite(sides[0]) & np.isfinite(sides[1])
    if not both.any():
        raise NoRepeats("no stimulus has two trials to deal into halves.")
    a, b = (np.where(both, s, np.nan) for s in sides)
    a, b = a - np.nanmean(a, axis=0), b - np.nanmean(b, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.nansum(a * b, axis=0) / np.sqrt(np.nansum(a * a, axis=0) * np.nansum(b * b, axis=0))
    return spearman_brown(r, 2)


def _codes(Y: np.ndarray, stimulus: Any) -> np.ndarray:
    stimulus = np.asarray(stimulus)
    if Y.ndim != 2 or stimulus.shape != (len(Y),):
        raise ShapeMismatch(
            f"expected Y (n_trials, n_voxels) and stimulus (n_trials,), got {Y.shape}, {stimulus.shape}."
        )
    return np.unique(stimulus, return_inverse=True)[1]


def _by_stimulus(Y: np.ndarray, codes: np.ndarray, n: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, count and sum of squared deviations per stimulus, each (n_stimuli, n_voxels), NaN left out."""
    n = int(codes.max()) + 1 if n is None else n
    present = np.isfinite(Y)
    filled = np.where(present, Y, 0.0)
    total, count = np.zeros((n, Y.shape[1])), np.zeros((n, Y.shape[1]))
    np.add.at(total, codes, filled)
    np.add.at(count, codes, present)
    mean = total / np.maximum(count, 1)
    deviation = np.zeros_like(total)
    np.add.at(deviation, codes, np.where(present, (Y - mean[codes]) ** 2, 0.0))
    return mean, count, deviation


def _nanvar(means: np.ndarray) -> np.ndarray:
    n = np.isfinite(means).sum(0)
    centred = means - np.nanmean(means, axis=0)
    return np.nansum(centred**2, axis=0) / (n - 1)
