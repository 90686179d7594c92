"""How many times as data-efficient is one encoder as another?

Where a curve of score over images crosses a level, by interpolation over the logarithm of their number on the best
rising fit (isotonic regression). Draws of training images and resamples of test images are the same for all encoders,
so the ratio of two is taken within each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuro._check import check_option
from neuro.errors import EmptySelection
from neuro.stats.bootstrap import check_level
from neuro.stats.efficiency import EfficiencyCurve

OVER = ("draws", "images")


@dataclass(frozen=True, eq=False)
class ImagesNeeded:
    """Result of :func:`images_needed`.

    Parameters
    ----------
    value : float
        Images at which the mean curve reaches the level.
    low, high : float
        Interval: 0 if curves reach the level before the smallest size, inf if after the largest.
    draws : array (n_draws,) or (n_bootstraps,)
        Of each draw, or resample, with 0 and inf alike.
    name, roi, level, over, coverage
        Settings.
    """

    value: float
    low: float
    high: float
    draws: np.ndarray
    name: str
    roi: str
    level: float
    over: str
    coverage: float


@dataclass(frozen=True, eq=False)
class DataEfficiency:
    """Result of :func:`data_efficiency`: ``a`` is ``ratio`` times as data-efficient as ``b``.

    Parameters
    ----------
    ratio : float
        Images that b needs over those that a needs.
    low, high : float
        Interval of the paired ratio.
    draws : array (n_draws,) or (n_bootstraps,)
        Of each draw, or resample; NaN where neither encoder crosses the level within the sizes.
    images_a, images_b : ImagesNeeded
    level, over, coverage
        Settings.
    """

    ratio: float
    low: float
    high: float
    draws: np.ndarray
    images_a: ImagesNeeded
    images_b: ImagesNeeded
    level: float
    over: str
    coverage: float


def images_needed(
    curve: EfficiencyCurve,
    level: float,
    *,
    name: str | None = None,
    roi: str | None = None,
    over: str = "draws",
    coverage: float = 0.95,
) -> ImagesNeeded:
    """Return how many images an encoder needs to reach a score.

    Parameters
    ----------
    curve : EfficiencyCurve
    level : float
        Mean score of the region, in the curve's metric.
    name : str, optional
        Encoder; the only one by default.
    roi : str, optional
        Region; the only one by default.
    over : "draws" or "images"
        What the interval is about. "draws": one other set of training images of this pool. "images": other test images
        and other draws, for the mean curve; needs ``efficiency_curve(..., n_bootstraps=...)``.
    coverage : float

    Returns
    -------
    ImagesNeeded

    Raises
    ------
    ValueError
        If the mean curve does not cross the level between its smallest and largest size.
    EmptySelection
        If the region has no scores.

    Examples
    --------
    >>> scores = np.array([0.1, 0.2, 0.3])[None, :, None, None]  # at 10, 100 and 1,000 images
    >>> sizes = np.array([10, 100, 1000])
    >>> curve = EfficiencyCurve(("ridge",), sizes, scores, ("all",), scores, "pearson_r", True, 1000, 0)
    >>> round(images_needed(curve, 0.25).value)
    316
    """
    check_option("over", over, OVER)
    check_level(coverage)
    i, j = _index("encoder", name, curve.names), _index("region", roi, curve.rois)
    scores = curve.roi_scores[i, :, :, j]
    if not np.isfinite(scores).all():
        raise EmptySelection(f"region {curve.rois[j]!r} has no score from {curve.names[i]!r} at every size.")
    mean = _rising(scores.mean(1))
    value = _crossing(curve.sizes, mean, level)
    if value in (0, np.inf):
        when = "already at the smallest" if value == 0 else "not at the largest"
        raise ValueError(
            f"{curve.names[i]!r} scores {mean[0]:.3g} at {curve.sizes[0]:,} images and {mean[-1]:.3g} at "
            f"{curve.sizes[-1]:,} in {curve.rois[j]!r}, so it reaches {level:.3g} {when} size. Choose a level between."
        )
    draws = np.array([_crossing(curve.sizes, _rising(c), level) for c in _curves(curve, i, j, over)])
    low, high = _limits(draws, coverage)
    return ImagesNeeded(value, low, high, draws, curve.names[i], curve.rois[j], float(level), over, coverage)


def data_efficiency(
    curve: EfficiencyCurve,
    a: str,
    b: str,
    level: float | None = None,
    *,
    roi: str | None = None,
    over: str = "draws",
    coverage: float = 0.95,
) -> DataEfficiency:
    """Return how many times as many images encoder b needs as encoder a for the same score.

    Parameters
    ----------
    curve : EfficiencyCurve
        Of both encoders.
    a, b : str
    level : float, optional
        Score at which they are compared; by default the middle of the range that both curves cross. The ratio depends
        on it, unless the curves are shifted copies on a logarithmic axis.
    roi : str, optional
        Region; the only one by default.
    over : "draws" or "images"
        As in :func:`images_needed`. A claim about the encoders needs "images"; with "draws" the interval is too narrow
        for one, since all draws are scored on the same test images.
    coverage : float

    Returns
    -------
    DataEfficiency

    Raises
    ------
    ValueError
        If a curve does not cross the level, or there is no level that both cross.

    Examples
    --------
    >>> scores = np.array([[0.2, 0.3, 0.4], [0.1, 0.2, 0.3]])[:, :, None, None]
    >>> sizes = np.array([10, 100, 1000])
    >>> curve = EfficiencyCurve(("clip", "gabor"), sizes, scores, ("all",), scores, "pearson_r", True, 1000, 0)
    >>> round(data_efficiency(curve, "clip", "gabor").ratio)
    10
    """
    if level is None:
        j = _index("region", roi, curve.rois)
        means = [_rising(curve.roi_scores[_index("encoder", k, curve.names), :, :, j].mean(1)) for k in (a, b)]
        bottom, top = max(m[0] for m in means), min(m[-1] for m in means)
        if not bottom < top:
            raise ValueError(
                f"{a!r} and {b!r} share no range of scores: they go from {means[0][0]:.3g} to {means[0][-1]:.3g} and "
                f"from {means[1][0]:.3g} to {means[1][-1]:.3g}. Add smaller or larger sizes."
            )
        level = float((bottom + top) / 2)
    needed = [images_needed(curve, level, name=k, roi=roi, over=over, coverage=coverage) for k in (a, b)]
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = needed[1].draws / needed[0].draws
    low, high = _limits(draws, coverage)
    return DataEfficiency(needed[1].value / needed[0].value, low, high, draws, *needed, float(level), over, coverage)


def _index(what: str, name: str | None, names: tuple[str, ...]) -> int:
    if name is None:
        if len(names) > 1:
            raise ValueError(f"the curve has several {what}s, say which: {', '.join(names)}.")
        return 0
    return names.index(check_option(what, name, names))


def _curves(curve: EfficiencyCurve, i: int, j: int, over: str) -> np.ndarray:
    """Return curves (n, n_sizes): one per draw, or means over resampled draws on resampled test images."""
    if over == "draws":
        return curve.roi_scores[i, :, :, j].T
    if curve.samples is None:
        raise ValueError("over='images' needs resampled test images: efficiency_curve(..., n_bootstraps=1000).")
    samples = curve.samples[i, :, :, :, j]  # (n_sizes, n_draws, n_bootstraps)
    n_draws, n = samples.shape[1:]
    drawn = np.random.default_rng(curve.seed).integers(n_draws, size=(n_draws, n))
    return np.take_along_axis(samples, drawn[None], axis=1).mean(1).T


def _rising(scores: np.ndarray) -> np.ndarray:
    """Return the non-decreasing curve with the least squared distance."""
    from sklearn.isotonic import isotonic_regression

    return np.asarray(isotonic_regression(scores))


def _crossing(sizes: np.ndarray, rising: np.ndarray, level: float) -> float:
    """Return where the curve reaches the level: 0 if before the first size, inf if after the last."""
    reached = rising >= level
    if not reached.any():
        return np.inf
    k = int(reached.argmax())
    if k == 0:
        return float(sizes[0]) if rising[0] == level else 0.0
    part = (level - rising[k - 1]) / (rising[k] - rising[k - 1])
    return float(np.exp((1 - part) * np.log(sizes[k - 1]) + part * np.log(sizes[k])))


def _limits(draws: np.ndarray, coverage: float) -> tuple[float, float]:
    """Return the central share of draws, outwards to the next draw, since 0 and inf cannot be interpolated."""
    known = np.sort(draws[~np.isnan(draws)])
    if not known.size:
        return float("nan"), float("nan")
    tail = (1 - coverage) / 2
    below = int(np.floor(tail * (known.size - 1)))
    return float(known[below]), float(known[known.size - 1 - below])
