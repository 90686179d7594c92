"""Pairwise comparisons of similarities: who asks, who is compared, what a draw is worth."""

from __future__ import annotations

import numpy as np

from neuro._check import check_option
from neuro.decoders.metrics._similarity import SIMILARITIES
from neuro.errors import ShapeMismatch

ANCHORS = ("recon", "true")
TIES = {"strict": 0.0, "half": 0.5, "win": 1.0}
"""What a comparison that ends in a draw is worth."""
DISTRACTORS = ("all", "one")


def check_options(anchor: str, ties: str, distractors: str, metric: str | None) -> None:
    """Refuse unknown options."""
    check_option("anchor", anchor, ANCHORS)
    check_option("ties", ties, TIES)
    check_option("distractors", distractors, DISTRACTORS)
    if metric is not None:
        check_option("metric", metric, SIMILARITIES)


def questions(similarities: np.ndarray, anchor: str) -> np.ndarray:
    """Return (n questions, n candidates), the right candidate on the diagonal."""
    c = np.asarray(similarities, dtype=float)
    if c.ndim != 2 or c.shape[0] != c.shape[1] or len(c) < 2:
        raise ShapeMismatch(f"similarities must be (n true, n decoded) with n of at least 2, got {c.shape}.")
    return c.T if anchor == "recon" else c


def wrong_candidates(n: int) -> np.ndarray:
    """Return (n, n), False on the diagonal."""
    return ~np.eye(n, dtype=bool)


def share_below(asked: np.ndarray, mask: np.ndarray, worth: float) -> tuple[np.ndarray, int]:
    """Return per question the share of distractors in ``mask`` below the right candidate, and the number of draws.

    The share is NaN without distractors, or where the right candidate's similarity is undefined.
    """
    own = np.diagonal(asked)[:, None]
    with np.errstate(invalid="ignore"):
        comparable = mask & np.isfinite(asked) & np.isfinite(own)
        wins, draws = comparable & (asked < own), comparable & (asked == own)
    count = comparable.sum(1)
    share = (wins.sum(1) + worth * draws.sum(1)) / np.maximum(count, 1)
    return np.where(count > 0, share, np.nan), int(draws.sum())
