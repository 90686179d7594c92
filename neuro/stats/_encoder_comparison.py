"""What the comparison of several encoders found: per voxel, per region, per pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_option
from neuro.stats.compare import Comparison


@dataclass(frozen=True, eq=False)
class EncoderComparison:
    """Result of :func:`compare_encoders`.

    Parameters
    ----------
    names : tuple of str
        Encoders, in the order of the rows of ``scores``.
    scores : array (n_encoders, n_voxels)
    pairs : tuple of (a, b)
        In the order of the rows of what follows: a minus b.
    difference, low, high, p, q : array (n_pairs, n_voxels)
        Difference, confidence interval, two-sided p of each voxel for itself, and the false discovery rate at which it
        survives within its family.
    rois : tuple of str
    roi_scores, roi_score_low, roi_score_high : array (n_encoders, n_rois)
        Mean over the voxels that every encoder has a score for, and its interval.
    roi_difference, roi_low, roi_high, roi_p, roi_q : array (n_pairs, n_rois)
    roi_samples : array (n_encoders, n_resamples, n_rois)
        Bootstrapped means, paired over encoders; differences of them serve :func:`bootstrap_subjects`.
    kind, test, family, level, n_resamples, n_units, seed
        Settings; ``kind`` is the unit of all scores, ``n_units`` the number of images.
    """

    names: tuple[str, ...]
    scores: np.ndarray
    pairs: tuple[tuple[str, str], ...]
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    q: np.ndarray
    rois: tuple[str, ...]
    roi_scores: np.ndarray
    roi_score_low: np.ndarray
    roi_score_high: np.ndarray
    roi_difference: np.ndarray
    roi_low: np.ndarray
    roi_high: np.ndarray
    roi_p: np.ndarray
    roi_q: np.ndarray
    roi_samples: np.ndarray
    kind: str
    test: str
    family: str
    level: float
    n_resamples: int
    n_units: int
    seed: Any

    def between(self, a: str, b: str) -> Comparison:
        """Return the comparison of ``a`` minus ``b``."""
        for name in (a, b):
            check_option("encoder", name, self.names)
        if a == b:
            raise ValueError(f"two different encoders are compared, got {a!r} twice.")
        forward = (a, b) in self.pairs
        k = self.pairs.index((a, b) if forward else (b, a))
        sign = 1 if forward else -1
        i, j = self.names.index(a), self.names.index(b)

        def bounds(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return (low[k], high[k]) if forward else (-high[k], -low[k])

        low, high = bounds(self.low, self.high)
        roi_low, roi_high = bounds(self.roi_low, self.roi_high)
        return Comparison(
            difference=sign * self.difference[k],
            low=low,
            high=high,
            p=self.p[k],
            rois=self.rois,
            roi_a=self.roi_scores[i],
            roi_b=self.roi_scores[j],
            roi_difference=sign * self.roi_difference[k],
            roi_low=roi_low,
            roi_high=roi_high,
            roi_p=self.roi_p[k],
            roi_samples=self.roi_samples[i] - self.roi_samples[j],
            names=(a, b),
            metric=self.kind,
            test=self.test,
            level=self.level,
            n_resamples=self.n_resamples,
            n_units=self.n_units,
            seed=self.seed,
        )

    def best(self, q: float = 0.05) -> np.ndarray:
        """Return per voxel (n_voxels,) the index of the encoder that beats every other at ``q``, else -1."""
        wins = np.zeros((len(self.names), self.scores.shape[1]), int)
        with np.errstate(invalid="ignore"):
            for (a, b), d, found in zip(self.pairs, self.difference, self.q <= q, strict=True):
                wins[self.names.index(a)] += found & (d > 0)
                wins[self.names.index(b)] += found & (d < 0)
        return np.where(wins.max(0) == len(self.names) - 1, wins.argmax(0), -1)

    def to_frame(self) -> pd.DataFrame:
        """Return one tidy row per pair and region."""
        frames = []
        for k, pair in enumerate(self.pairs):
            frame = self.between(*pair).to_frame()
            frame.insert(list(frame.columns).index("p") + 1, "q", self.roi_q[k])
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)
