"""How large do the eigenvalues of pure noise get?

The eigenvalues of ``N'N / n``, N (n, p) of independent entries with variance s^2, fill the interval from
``s^2 (1 - sqrt(p/n))^2`` to ``s^2 (1 + sqrt(p/n))^2`` as n and p grow (and p - n are zero, where p > n). In finite data
the largest one scatters about the upper edge by the Tracy-Widom law.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Points of the numerical integral of the density; quantiles are good to 1e-6.
GRID = 8192


def marchenko_pastur_edges(n: float, p: float, variance: float = 1.0) -> tuple[float, float]:
    """Return the interval of the nonzero eigenvalues of ``N'N / n`` for noise N (n, p).

    Parameters
    ----------
    n, p : float, > 0
        Rows (voxels) and columns (features); n may be an effective number.
    variance : float
        Of an entry.

    References
    ----------
    Marchenko & Pastur (1967), Mathematics of the USSR-Sbornik 1, 457-483.

    Examples
    --------
    >>> marchenko_pastur_edges(400, 100)
    (0.25, 2.25)
    """
    _check(n, p, variance)
    root = np.sqrt(p / n)
    return float(variance * (1 - root) ** 2), float(variance * (1 + root) ** 2)


def marchenko_pastur_density(x: Any, n: float, p: float, variance: float = 1.0) -> np.ndarray:
    """Return the density at ``x`` of the nonzero eigenvalues of ``N'N / n`` for noise N (n, p).

    ``sqrt((b - x) (x - a)) / (2 pi s^2 x min(p/n, 1))`` between the edges a and b, 0 elsewhere.

    Examples
    --------
    >>> marchenko_pastur_density([0.2, 1.0, 2.3], 400, 100).round(3)
    array([0.   , 0.616, 0.   ])
    """
    low, high = marchenko_pastur_edges(n, p, variance)
    x = np.asarray(x, dtype=float)
    inside = (x > low) & (x < high)
    safe = np.where(inside, x, (low + high) / 2)
    height = np.sqrt((high - safe) * (safe - low)) / (2 * np.pi * variance * min(p / n, 1) * safe)
    return np.where(inside, height, 0.0)


def marchenko_pastur_quantile(q: Any, n: float, p: float, variance: float = 1.0) -> np.ndarray:
    """Return quantiles of the nonzero eigenvalues of ``N'N / n`` for noise N (n, p).

    Examples
    --------
    >>> marchenko_pastur_quantile([0.0, 0.5, 1.0], 400, 100).round(3)
    array([0.25 , 0.916, 2.25 ])
    """
    low, high = marchenko_pastur_edges(n, p, variance)
    # x = middle - half cos(angle) removes the square root's infinite slope at both edges.
    angle = np.linspace(0, np.pi, GRID)
    half = (high - low) / 2
    x = (high + low) / 2 - half * np.cos(angle)
    with np.errstate(invalid="ignore", divide="ignore"):
        height = np.where(x > 1e-14 * high, np.sin(angle) ** 2 / x, 0.0)
    if x[0] <= 1e-14 * high:  # n = p: the density goes to infinity at 0, its integral over the angle does not
        height[0] = 2 / half
    mass = np.concatenate([[0], np.cumsum((height[1:] + height[:-1]) / 2)])
    return np.interp(np.asarray(q, dtype=float), mass / mass[-1], x)


def largest_noise_eigenvalue(n: float, p: float, variance: Any = 1.0, level: float = 0.05) -> float:
    """Return what the largest eigenvalue of ``N'N / n`` exceeds with probability ``level``, N (n, p) Gaussian noise.

    With c = p/n and row variances s_i^2, the edge is the smallest value of ``-1/m + mean_i s_i^2 / (1 + c s_i^2 m)``
    for m between ``-1 / (c max s_i^2)`` and 0 (for equal variances the upper edge of :func:`marchenko_pastur_edges`),
    and the largest eigenvalue scatters about it with scale ``(second derivative / 2)^(1/3) p^(-2/3)`` by the
    Tracy-Widom law of order 1, for which a shifted gamma distribution stands in (error of its quantile about 0.01 at
    99 %, less below). The edge itself is exceeded by about one noise matrix in six.

    Parameters
    ----------
    n, p : float
    variance : float or array (n_rows,)
        Of an entry, for all rows or each; if there are more rows than ``n``, the variances are those of a sample.
    level : float

    References
    ----------
    Johnstone (2001), Annals of Statistics 29, 295-327 (equal variances; his n - 1 is used then). Lee & Schnelli (2016),
    Annals of Applied Probability 26, 3786-3839. Chiani (2014), Journal of Multivariate Analysis 129, 69-81.

    Examples
    --------
    >>> round(largest_noise_eigenvalue(400, 100), 3)
    2.285
    >>> round(largest_noise_eigenvalue(400, 100, np.repeat([0.5, 1.5], 200)), 3)
    2.525
    """
    from scipy.optimize import minimize_scalar
    from scipy.stats import gamma

    variances = np.unique(np.asarray(variance, dtype=float), return_counts=True)
    _check(n, p, variances[0].min())
    if not 0 < level < 1:
        raise ValueError(f"level is a probability between 0 and 1 such as 0.05, got {level!r}.")
    if n <= 1:
        raise ValueError(f"the largest eigenvalue of noise needs more than one row, got n={n:g}.")
    t = gamma.ppf(1 - level, 46.446, scale=0.186054) - 9.84801
    if len(variances[0]) == 1:
        a, b = np.sqrt(n - 1), np.sqrt(p)
        return float(variances[0][0] * ((a + b) ** 2 + (a + b) * (1 / a + 1 / b) ** (1 / 3) * t) / n)
    top, c = variances[0][-1], p / n
    s, weight = variances[0] / top, variances[1] / variances[1].sum()

    def spread(u: float) -> float:  # m = -u / c, 0 < u < 1
        return c / u + weight @ (s / (1 - s * u))

    u = float(minimize_scalar(spread, bounds=(1e-9, 1 - 1e-9), method="bounded", options={"xatol": 1e-10}).x)
    curvature = (c / u) ** 3 + c**2 * (weight @ (s / (1 - s * u)) ** 3)
    return float(top * (spread(u) + curvature ** (1 / 3) * p ** (-2 / 3) * t))


def _check(n: float, p: float, variance: float) -> None:
    if not (n > 0 and p > 0 and variance >= 0):
        raise ValueError(f"n and p must be above 0 and variance at least 0, got n={n!r}, p={p!r}, {variance!r}.")
