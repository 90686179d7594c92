"""Variances and p-values of contrasts of scores from their resamples."""

from __future__ import annotations

import numpy as np

from neuro.errors import EmptySelection


def project(samples: np.ndarray, contrasts: np.ndarray) -> np.ndarray:
    """Project samples on contrasts; a NaN in a column with weight 0 does not matter."""
    known = np.isfinite(samples).all(0)
    if known.all():
        return samples @ contrasts.T
    return np.stack([samples[:, c != 0] @ c[c != 0] for c in contrasts], 1)


def sample_variance(samples: np.ndarray, contrasts: np.ndarray) -> np.ndarray:
    """Variance of contrasts over resamples (B, n_repeats, k), without the variance that folds add.

    v = (n_cv var(mean over repeats) - mean var(single repeat)) / (n_cv - 1).
    """
    values = np.stack([project(samples[:, r], contrasts) for r in range(samples.shape[1])], 1)
    repeats = values.shape[1]
    good = np.isfinite(values).all(1)
    out = np.full(values.shape[2], np.nan)
    for k in range(values.shape[2]):
        x = values[good[:, k], :, k]
        if len(x) < 2:
            continue
        out[k] = x.mean(1).var(ddof=1)
        if repeats > 1:
            out[k] = (repeats * out[k] - x.var(0, ddof=1).mean()) / (repeats - 1)
    return out


def draw_p(draws: np.ndarray, alternative: str) -> np.ndarray:
    """(count + 1) / (B + 1), twice the smaller tail for two-sided."""
    known = np.isfinite(draws)
    n = known.sum(0)
    low = (1 + (np.where(known, draws, np.inf) <= 0).sum(0)) / (1 + n)
    high = (1 + (np.where(known, draws, -np.inf) >= 0).sum(0)) / (1 + n)
    p = {"greater": low, "less": high, "two-sided": np.minimum(2 * np.minimum(low, high), 1.0)}[alternative]
    return np.where(n > 0, p, np.nan)


def wilcoxon(by_subject: np.ndarray, alternative: str) -> tuple[np.ndarray, np.ndarray]:
    """Statistic and p of Wilcoxon's signed ranks for each row; exact without ties up to 50 subjects."""
    from scipy.stats import wilcoxon as test

    statistic, p = np.full(len(by_subject), np.nan), np.full(len(by_subject), np.nan)
    if by_subject.shape[1] < 2:
        raise EmptySelection("a Wilcoxon test over subjects needs at least two of them.")
    for k, x in enumerate(by_subject):
        if not np.isfinite(x).all():
            continue
        if not np.any(x):
            statistic[k], p[k] = 0.0, 1.0
            continue
        exact = len(x) <= 50 and len(np.unique(np.abs(x))) == len(x) and np.all(x != 0)
        found = test(x, alternative=alternative, method="exact" if exact else "approx")
        statistic[k], p[k] = float(found.statistic), float(found.pvalue)
    return statistic, p


def root(variance: np.ndarray) -> np.ndarray:
    """Standard errors; NaN where a variance is negative."""
    return np.sqrt(np.where(variance < 0, np.nan, variance))


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Quotient; NaN where the denominator is not positive."""
    top, bottom = np.broadcast_arrays(np.asarray(top, float), np.asarray(bottom, float))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
