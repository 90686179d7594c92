"""How reliable is a voxel, and how well could a perfect model predict it?

With y = signal + noise on every trial, ``ncsnr`` is the s.d. of the signal over the s.d. of the noise. Of the variance
of an average of n trials, the share that any model can explain is the noise ceiling,

    NC(n) = ncsnr^2 / (ncsnr^2 + 1/n).

Everything here that is called reliability or ceiling is in units of explained variance. A squared correlation is
divided by it, a correlation by its square root; squaring it again, or dividing a correlation by it, is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from neuro._check import as_rng, check_positive_int
from neuro.errors import NoRepeats, ShapeMismatch

# Elements of one block of voxels: 64 MB in float64, a few times that while it is worked on.
BLOCK_ELEMENTS = 2**23
# A voxel whose s.d. is below this share of its mean is constant up to rounding.
ROUNDING = 1e-12


def ncsnr_from_repeats(Y: Any, stimulus: Any, zscored: bool = True, min_repeats: int = 2) -> np.ndarray:
    """Return the s.d. of the signal over the s.d. of the noise of single trials, from repeated stimuli.

    The noise variance is pooled over stimuli, sum of squared deviations / sum(n_i - 1), so that stimuli count by what
    they tell; with equal repeats this is the mean of their variances, NSD's definition. The signal variance is

    * 1 - noise, if every voxel was z-scored over the trials of each session (its total variance is then 1);
    * otherwise variance of the stimulus means - noise * mean(1/n_i), which the means contain as noise.

    Negative signal variances become 0, so voxels of pure noise get small positive values on average: with 515 stimuli
    shown three times 7 % of them exceed 0.2.

    Parameters
    ----------
    Y : array (n_trials, n_voxels)
        Single trials. NaN trials of a voxel are left out.
    stimulus : array (n_trials,)
        What was shown on each trial.
    zscored : bool
        Y has mean 0 and s.d. 1 *within each session* (``Responses.zscore(by="session")``). Z-scored once over all
        sessions, or not at all, drifts in gain and baseline count as noise and ncsnr comes out far too low.
    min_repeats : int
        Use stimuli with at least so many trials; 3 is NSD's definition, where incomplete triplets are left out.

    Returns
    -------
    array (n_voxels,), >= 0
        NaN for voxels that are constant or have no repeat; inf for repeats without any noise.

    Raises
    ------
    NoRepeats
        If no stimulus has ``min_repeats`` trials.
    ValueError
        If ``zscored`` is said of responses that are not.

    References
    ----------
    Allen et al. (2022), Nature Neuroscience 25, 116-126, Methods.

    Examples
    --------
    >>> Y = np.array([[1.0], [3.0], [11.0], [13.0]])       # two pictures, twice each
    >>> ncsnr_from_repeats(Y, [7, 7, 8, 8], zscored=False)  # noise variance 2, signal variance 50 - 2/2
    array([4.94974747])
    """
    Y, codes = _check(Y, stimulus)
    check_positive_int("min_repeats", min_repeats, 2)
    most = np.bincount(codes).max()
    if most < min_repeats:
        raise NoRepeats(
            "every stimulus was shown once, so noise cannot be told from signal."
            if most < 2
            else f"no stimulus has min_repeats = {min_repeats} trials; the most is {most}."
        )
    out, total = np.empty(Y.shape[1]), np.empty(Y.shape[1])
    for columns, trials, starts in _sorted_blocks(Y, codes):
        mean, count, deviation = _by_stimulus(trials, starts)
        used = count >= min_repeats
        with np.errstate(invalid="ignore", divide="ignore"):
            noise = np.where(used, deviation, 0.0).sum(0) / np.where(used, count - 1, 0).sum(0)
            n = count.sum(0)
            grand = (mean * count).sum(0) / n
            total[columns] = (deviation.sum(0) + (count * (mean - grand) ** 2).sum(0)) / (n - 1)
            signal = 1.0 - noise if zscored else _variance_of_means(mean, count) - noise * _mean_inverse(count)
            ncsnr = np.sqrt(np.maximum(signal, 0.0)) / np.sqrt(noise)
        # Without this a voxel that never changes would look like signal without noise.
        ncsnr[~(total[columns] > (ROUNDING * grand) ** 2)] = np.nan
        out[columns] = ncsnr
    if zscored and np.isfinite(total).any():
        sd = float(np.sqrt(np.nanmedian(total[np.isfinite(total)])))
        if sd > 0 and not 0.5 < sd < 2:
            raise ValueError(
                f"zscored=True expects voxels with s.d. 1 in each session, got a median s.d. of {sd:.3g}. Z-score "
                "within sessions first, or pass zscored=False."
            )
    return out


def noise_ceiling(ncsnr: Any, n_repeats: Any = 1) -> np.ndarray:
    """Return the share of variance of trial-averaged responses that a perfect model explains.

    NC = ncsnr^2 / (ncsnr^2 + mean(1/n_i)), where n_i trials were averaged into the i-th response. The squared
    correlation of a perfect model is NC, its correlation sqrt(NC). For n = 1 this is the single-trial reliability.

    Parameters
    ----------
    ncsnr : array (n_voxels,), >= 0
    n_repeats : int or array of int, >= 1
        Trials averaged into each response that will be scored: one number, or the count of every response.

    Returns
    -------
    array (n_voxels,), 0 to 1 (NSD's own maps are in percent); NaN where ncsnr is NaN

    Raises
    ------
    ValueError
        If a count is below 1 or an ncsnr is negative.

    References
    ----------
    Allen et al. (2022), Nature Neuroscience 25, 116-126, Methods.

    Examples
    --------
    >>> noise_ceiling(np.array([0.0, 1.0]), n_repeats=3)
    array([0.  , 0.75])
    >>> noise_ceiling(np.array([1.0]), n_repeats=[1, 2, 3]).round(3)
    array([0.621])
    """
    counts = np.atleast_1d(np.asarray(n_repeats, dtype=float))
    if not counts.size or not (counts >= 1).all() or not np.isfinite(counts).all():
        got = "nothing" if not counts.size else f"{counts.min():g}"
        raise ValueError(f"n_repeats must be at least 1 for every response, got {got}.")
    snr = np.asarray(ncsnr, dtype=float)
    if (snr < 0).any():
        raise ValueError(f"ncsnr cannot be negative, got {np.nanmin(snr):g}.")
    with np.errstate(divide="ignore"):
        return 1.0 / (1.0 + np.mean(1.0 / counts) / snr**2)


def spearman_brown(r: Any, n: float = 2) -> np.ndarray:
    """Return the reliability of the mean of ``n`` measurements of which any two correlate ``r``: n r / (1 + (n-1) r).

    The result is a share of variance, like a noise ceiling: never square it.

    Examples
    --------
    >>> spearman_brown(np.array([0.0, 0.5]), 2).round(3)
    array([0.   , 0.667])
    """
    if not n > 0:
        raise ValueError(f"n must be positive, got {n!r}.")
    r = np.asarray(r, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return n * r / (1 + (n - 1) * r)


def repeat_correlation(Y: Any, stimulus: Any) -> np.ndarray:
    """Return the correlation over stimuli between single repeats, averaged over all pairs of repeats.

    Repeat k of a stimulus is its k-th trial; a pair of repeats is compared on the stimuli that have both, and pairs
    with fewer than three such stimuli are left out. ``spearman_brown(r, m)`` makes it the ceiling of the mean of m
    repeats.

    Parameters
    ----------
    Y : array (n_trials, n_voxels)
        Single trials; NaN trials are left out.
    stimulus : array (n_trials,)

    Returns
    -------
    array (n_voxels,), NaN where no pair can be compared

    Raises
    ------
    NoRepeats
        If fewer than three stimuli have two trials.
    """
    Y, codes = _check(Y, stimulus)
    order, rank = _trial_rank(codes)
    slot = np.empty(len(codes), int)
    slot[order] = rank
    n_slots = slot.max() + 1
    rows = np.full((n_slots, codes.max() + 1), -1)
    rows[slot, codes] = np.arange(len(codes))
    total, n_pairs = np.zeros(Y.shape[1]), np.zeros(Y.shape[1])
    for i in range(n_slots):
        for j in range(i + 1, n_slots):
            both = (rows[i] >= 0) & (rows[j] >= 0)
            if both.sum() < 3:
                continue
            for columns in _column_blocks(both.sum(), Y.shape[1]):
                a = np.asarray(Y[rows[i, both], columns], dtype=np.float64)
                b = np.asarray(Y[rows[j, both], columns], dtype=np.float64)
                r, n = _correlation(a, b)
                good = np.isfinite(r) & (n >= 3)
                total[columns] += np.where(good, r, 0.0)
                n_pairs[columns] += good
    if not n_pairs.any() and np.count_nonzero(np.bincount(codes) >= 2) < 3:
        raise NoRepeats("fewer than three stimuli have two trials, so repeats cannot be correlated.")
    with np.errstate(invalid="ignore"):
        return total / n_pairs


def split_half(
    Y: Any, stimulus: Any, *, n_splits: int = 1, seed: int | np.random.Generator | None = None, corrected: bool = True
) -> np.ndarray:
    """Return the reliability of each stimulus' mean over all its trials, from two halves of the trials.

    The correlation r over stimuli between the halves' means becomes the reliability of the full mean by the formula of
    Spearman and Brown, 2 r / (1 + r). That supposes halves of equal size. Where they are not (three trials), the
    signal-to-noise ratio q that solves r = q / sqrt((q + 1/k1)(q + 1/k2)) for halves of k1 and k2 trials gives
    q / (q + 1/k), which is the same for k1 = k2 and right for the others (k: the harmonic mean over stimuli).

    Parameters
    ----------
    Y : array (n_trials, n_voxels)
        Single trials; NaN trials are left out.
    stimulus : array (n_trials,)
    n_splits : int
        Random ways of dealing the trials; their r are averaged. More than one needs a ``seed``.
    seed : int or Generator, optional
        By default the first, third, fifth... trial of a stimulus make one half, the second, fourth... the other.
    corrected : bool
        False returns r itself.

    Returns
    -------
    array (n_voxels,)
        An estimate of the noise ceiling of the mean of all trials, not clipped at 0; NaN for constant voxels.

    Raises
    ------
    NoRepeats
        If fewer than three stimuli have two trials.
    """
    Y, codes = _check(Y, stimulus)
    check_positive_int("n_splits", n_splits)
    if n_splits > 1 and seed is None:
        raise ValueError(
            f"n_splits = {n_splits} random splits need a seed; without one there is only odd against even."
        )
    if np.count_nonzero(np.bincount(codes) >= 2) < 3:
        raise NoRepeats("fewer than three stimuli have two trials to deal into halves.")
    rng = None if seed is None else as_rng(seed)
    n_voxels = Y.shape[1]
    r, first, second, whole = np.zeros((4, n_voxels))
    for _ in range(n_splits):
        order, rank = _trial_rank(codes, rng)
        sides = [order[rank % 2 == side] for side in (0, 1)]
        common = np.intersect1d(codes[sides[0]], codes[sides[1]])
        sides = [side[np.isin(codes[side], common)] for side in sides]
        starts = [np.flatnonzero(np.diff(codes[side], prepend=-1)) for side in sides]
        for columns in _column_blocks(len(sides[0]), n_voxels):
            (a, k1), (b, k2) = (
                _by_stimulus(np.asarray(Y[side, columns], dtype=np.float64), start)[:2]
                for side, start in zip(sides, starts, strict=True)
            )
            both = (k1 > 0) & (k2 > 0)
            r_split, _ = _correlation(np.where(both, a, np.nan), np.where(both, b, np.nan))
            r[columns] += r_split / n_splits
            for total, count in ((first, k1), (second, k2), (whole, k1 + k2)):
                total[columns] += _mean_inverse(np.where(both, count, 0)) / n_splits
    if not corrected:
        return r
    # Root of (1 - r^2) q^2 - r^2 (1/k1 + 1/k2) q - r^2 / (k1 k2) = 0 with the sign of r.
    with np.errstate(invalid="ignore", divide="ignore"):
        square = r**2
        root = np.sqrt(square**2 * (first + second) ** 2 + 4 * (1 - square) * square * first * second)
        q = (square * (first + second) + np.sign(r) * root) / (2 * (1 - square))
        return np.where(square < 1, q / (q + whole), r)


def _check(Y: Any, stimulus: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return Y as it is and the stimulus of each trial as a code 0, 1, 2..."""
    if hasattr(Y, "detach"):
        Y = Y.detach().cpu().numpy()
    Y, stimulus = np.asanyarray(Y), np.asarray(stimulus)
    if Y.ndim != 2 or stimulus.shape != (len(Y),):
        raise ShapeMismatch(
            f"expected Y (n_trials, n_voxels) and stimulus (n_trials,), got shapes {Y.shape} and {stimulus.shape}."
        )
    if Y.dtype.kind not in "fiub":
        raise ShapeMismatch(f"responses must be numbers, got dtype {Y.dtype}.")
    if not len(Y):
        raise NoRepeats("there are no trials.")
    return Y, np.unique(stimulus, return_inverse=True)[1].reshape(-1)


def _column_blocks(n_rows: int, n_voxels: int) -> Iterator[slice]:
    step = max(1, BLOCK_ELEMENTS // max(int(n_rows), 1))
    for start in range(0, n_voxels, step):
        yield slice(start, min(start + step, n_voxels))


def _sorted_blocks(Y: np.ndarray, codes: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Blocks of voxels as float64 with trials sorted by stimulus, and the row at which each stimulus starts."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for columns in _column_blocks(len(Y), Y.shape[1]):
        yield columns, np.asarray(Y[:, columns], dtype=np.float64)[order], starts


def _by_stimulus(trials: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, count and sum of squared deviations, (n_stimuli, n_voxels) each, of trials sorted by stimulus."""
    present = np.isfinite(trials)
    size = np.diff(starts, append=len(trials))
    if present.all():
        count = np.broadcast_to(size[:, None].astype(float), (len(starts), trials.shape[1]))
        mean = np.add.reduceat(trials, starts, axis=0) / count
        deviation = np.add.reduceat((trials - np.repeat(mean, size, axis=0)) ** 2, starts, axis=0)
        return mean, count, deviation
    count = np.add.reduceat(present.astype(float), starts, axis=0)
    mean = np.add.reduceat(np.where(present, trials, 0.0), starts, axis=0) / np.maximum(count, 1)
    apart = np.where(present, trials - np.repeat(mean, size, axis=0), 0.0)
    return mean, count, np.add.reduceat(apart**2, starts, axis=0)


def _variance_of_means(mean: np.ndarray, count: np.ndarray) -> np.ndarray:
    seen = count > 0
    n = seen.sum(0)
    centre = np.where(seen, mean, 0.0).sum(0) / n
    return np.where(seen, (mean - centre) ** 2, 0.0).sum(0) / (n - 1)


def _mean_inverse(count: np.ndarray) -> np.ndarray:
    """Mean of 1/n_i over the stimuli that were seen, per voxel."""
    seen = count > 0
    with np.errstate(invalid="ignore"):
        return np.where(seen, 1.0 / np.maximum(count, 1), 0.0).sum(0) / seen.sum(0)


def _trial_rank(codes: np.ndarray, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Trials sorted by stimulus (at random within it, if ``rng`` is given), and each one's number there, from 0."""
    start = np.arange(len(codes)) if rng is None else rng.permutation(len(codes))
    order = start[np.argsort(codes[start], kind="stable")]
    new = np.diff(codes[order], prepend=-1) != 0
    position = np.arange(len(order))
    return order, position - np.maximum.accumulate(np.where(new, position, 0))


def _correlation(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pearson r per column over the rows where both are finite, and how many these are."""
    both = np.isfinite(a) & np.isfinite(b)
    n = both.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        centred, power = [], []
        for x in (a, b):
            mean = np.where(both, x, 0.0).sum(0) / n
            centred.append(np.where(both, x - mean, 0.0))
            square = (centred[-1] ** 2).sum(0)
            power.append(np.where(square > n * (ROUNDING * mean) ** 2, square, 0.0))
        r = (centred[0] * centred[1]).sum(0) / np.sqrt(power[0] * power[1])
    r[(power[0] == 0) | (power[1] == 0)] = np.nan
    return np.clip(r, -1.0, 1.0), n
