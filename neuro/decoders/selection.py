"""Which of N reconstructions to show? The one that a scorer likes best, and what that gained over taking any.

    pick_i = argmax_k s(candidate_ik)

    embedding   s = cos(features of the candidate, the decoder's own predicted embedding)
    encoder     s = corr over voxels (brain response predicted for the candidate, measured response)
    oracle      s = cos(features of the candidate, features of the true picture): a bound, never a result

The first two know nothing of the true picture. They can still flatter themselves: candidates picked with the features
that later judge them look better than they are, so a selection remembers its scorer's family and refuses to be judged
by it. For scores that are Gaussian over candidates, with standard deviation sd, the best of N is expected

    E[max of N] = N int x phi(x) Phi(x)^(N - 1) dx

sd above their mean (0.564 for 2, 1.163 for 4, 1.766 for 16).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import check_option, check_positive_int, is_tensor
from neuro.decoders.metrics.result import MetricResult, mean_result
from neuro.errors import ShapeMismatch

SCORES = ("embedding", "encoder", "oracle")
# the same candidate at another place of a batch may score differently in the last bits of float32
TIE = 1e-6


@dataclass(frozen=True, eq=False)
class Selection:
    """Result of :func:`select_best`.

    Attributes
    ----------
    picks : int array (n,)
        Which candidate of each item; the first of those within ``TIE`` of the best.
    scores : array (n, n_candidates)
        NaN where a candidate has no score, as a constant pattern; such are not picked.
    score : str
        One of ``SCORES``.
    scorer : str
        Name of the features or of the encoder that scored.
    family : str or None
        Feature family of the scorer, such as "clip"; what it must not be judged by.
    oracle : bool
        Whether the truth took part.
    """

    picks: np.ndarray
    scores: np.ndarray
    score: str
    scorer: str
    family: str | None = None
    oracle: bool = False

    @property
    def n_candidates(self) -> int:
        """N."""
        return self.scores.shape[1]

    def __repr__(self) -> str:
        oracle = ", ORACLE: chosen with the truth" if self.oracle else ""
        family = f", family {self.family}" if self.family else ""
        return f"Selection(best of {self.n_candidates} for {len(self.picks)} items by {self.scorer}{family}{oracle})"

    def take(self, candidates: Any) -> Any:
        """Return the picked candidates, (n, ...), of an array or tensor (n, n_candidates, ...)."""
        _check_candidates(candidates, len(self.picks), self.n_candidates)
        if is_tensor(candidates):
            import torch

            rows = torch.arange(len(self.picks), device=candidates.device)
            return candidates[rows, torch.from_numpy(self.picks).to(candidates.device)]
        return np.asarray(candidates)[np.arange(len(self.picks)), self.picks]

    def gain(
        self,
        values: Any,
        metric: str,
        *,
        family: str | None = None,
        higher_is_better: bool = True,
        rng: int | np.random.Generator | None = 0,
    ) -> MetricResult:
        """Return how much better the picks are than candidates taken at random.

        Parameters
        ----------
        values : array (n, n_candidates)
            What a metric says of every candidate.
        metric : str
            Its name.
        family : str, optional
            Feature family of the metric. The scorer's own is refused.
        higher_is_better : bool
            Of the metric. The gain is positive where the picks are better, either way.
        rng : int, Generator or None
            Of the bootstrap over items.

        Returns
        -------
        MetricResult
            Mean over items of the pick's value minus the mean of the item's candidates (their sign turned if lower is
            better); chance 0. ``details``: N, scorer, ``picked`` and ``random`` (mean values).

        Raises
        ------
        ValueError
            If scorer and metric are of one family.
        ShapeMismatch
            If there is not one value for each candidate.
        """
        _check_families(self.family, family)
        values = np.asarray(values, dtype=float)
        if values.shape != self.scores.shape:
            raise ShapeMismatch(f"values must be one per candidate, {self.scores.shape}, got {values.shape}.")
        picked, random = values[np.arange(len(values)), self.picks], values.mean(1)
        return mean_result(
            f"gain_{metric}",
            picked - random if higher_is_better else random - picked,
            protocol=f"best of {self.n_candidates} by {self.scorer}, against random choice",
            chance=0.0,
            rng=rng,
            oracle=self.oracle,
            details={
                "n_candidates": self.n_candidates,
                "scorer": self.scorer,
                "family": self.family,
                "picked": float(picked.mean()),
                "random": float(random.mean()),
            },
        )

    def score_gain(self, *, rng: int | np.random.Generator | None = 0) -> MetricResult:
        """Return how far the picks' scores lie above the candidates' mean, in s.d. over candidates, pooled over items.

        Picking the best always raises the score. ``chance`` is what it gains if the scores are Gaussian and mean
        nothing (:func:`expected_best`), so this number says how many candidates were tried, never how good they are.
        Items with an undefined score are left out.
        """
        mean, variance = self.scores.mean(1), self.scores.var(1, ddof=min(1, self.n_candidates - 1))
        sd = float(np.sqrt(np.nanmean(variance))) if np.isfinite(variance).any() else float("nan")
        picked = self.scores[np.arange(len(self.picks)), self.picks]
        return mean_result(
            "gain_score_sd",
            (picked - mean) / sd if sd > 0 else np.full(len(picked), np.nan),
            protocol=f"best of {self.n_candidates} by {self.scorer}, in s.d. over candidates",
            chance=expected_best(self.n_candidates),
            rng=rng,
            oracle=self.oracle,
            details={"n_candidates": self.n_candidates, "scorer": self.scorer, "sd": sd},
        )


def select_best(
    candidates: Any,
    target: Any,
    score: str = "embedding",
    *,
    features: Callable[[Any], Any] | None = None,
    weights: Any = None,
    scorer: str | None = None,
    family: str | None = None,
    evaluation: str | None = None,
    batch_size: int = 64,
) -> Selection:
    """Pick the best of N candidates for every item.

    Parameters
    ----------
    candidates : array or tensor (n, n_candidates, ...)
        Images, or whatever ``features`` takes; without ``features``, the features themselves.
    target : array or tensor (n, ...)
        ``"embedding"``: what the decoder itself predicted, (n, d) or tokens (n, n_tokens, d), which are flattened.
        ``"encoder"``: measured responses (n, n_voxels), averaged over repeats, in the units that the encoder predicts.
        ``"oracle"``: features of the true pictures.
    score : {"embedding", "encoder", "oracle"}
    features : callable, optional
        (m, ...) candidates -> (m, ...) features; for ``"encoder"`` the responses (m, n_voxels) that an encoding model
        predicts for images. It must have been fitted on other items than these.
    weights : array (n_voxels,), optional
        For ``"encoder"``: how much each voxel counts, such as its noise ceiling; by default all the same.
    scorer : str, optional
        Name for the results; by default the score, with the callable's name.
    family : str, optional
        Feature family of the scorer, such as "clip" (of the encoder: of the features it reads).
    evaluation : str, optional
        Feature family that the picks will be judged by. Naming the scorer's own is an error.
    batch_size : int
        Items whose candidates go through ``features`` at once.

    Returns
    -------
    Selection

    Raises
    ------
    ShapeMismatch
        If candidates, target, or weights do not fit together.
    ValueError
        If selection and evaluation would use one feature family, or weights are given to a score without voxels.

    References
    ----------
    Scotti et al. (2023), MindEye, NeurIPS: 16 candidates by the predicted CLIP embedding.
    """
    check_option("score", score, SCORES)
    check_positive_int("batch_size", batch_size)
    _check_families(family, evaluation)
    if weights is not None and score != "encoder":
        raise ValueError(f"weights belong to voxels, so to score='encoder'; got them with score={score!r}.")
    target = _as_array(target).astype(np.float64)
    shape = _shape(candidates)
    if len(shape) < 3 or shape[1] < 1:
        raise ShapeMismatch(f"candidates must be (n, n_candidates, ...), got {shape}.")
    _check_candidates(candidates, len(target), shape[1])
    flat_target = target.reshape(len(target), -1)
    scores = np.empty(shape[:2])
    for begin in range(0, shape[0], batch_size):
        chunk = candidates[begin : begin + batch_size]
        values = _features(chunk, features, len(chunk), shape[1])
        if values.shape[2] != flat_target.shape[1]:
            raise ShapeMismatch(
                f"features of candidates have {values.shape[2]:,} values, the target has {flat_target.shape[1]:,}. "
                + ("Does the encoder predict the voxels that were measured?" if score == "encoder" else "")
            )
        rows = flat_target[begin : begin + batch_size]
        scores[begin : begin + len(rows)] = (
            response_scores(values, rows, weights) if score == "encoder" else cosine_scores(values, rows)
        )
    name = getattr(features, "__name__", type(features).__name__ if features is not None else "")
    named = scorer or (f"{score} ({name})" if name and name != "<lambda>" else score)
    return Selection(best_index(scores), scores, score, named, family, score == "oracle")


def cosine_scores(candidates: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return cos(candidate, target): (n, n_candidates, d) and (n, d) -> (n, n_candidates); NaN for zero vectors."""
    dot = np.einsum("nkd,nd->nk", candidates, target)
    norm = np.linalg.norm(candidates, axis=2) * np.linalg.norm(target, axis=1)[:, None]
    return np.divide(dot, norm, out=np.full(dot.shape, np.nan), where=norm > 0)


def response_scores(predicted: np.ndarray, measured: np.ndarray, weights: Any = None) -> np.ndarray:
    """Return the weighted correlation over voxels of predicted with measured responses.

    Parameters
    ----------
    predicted : array (n, n_candidates, n_voxels)
    measured : array (n, n_voxels)
    weights : array (n_voxels,) >= 0, optional

    Returns
    -------
    array (n, n_candidates), NaN where a pattern does not vary

    Raises
    ------
    ShapeMismatch
        If there is not one weight per voxel.
    ValueError
        If a weight is negative or not finite, or all are 0.
    """
    n_voxels = measured.shape[1]
    w = np.ones(n_voxels) if weights is None else np.asarray(weights, dtype=float)
    if w.shape != (n_voxels,):
        raise ShapeMismatch(f"weights must be one per voxel, ({n_voxels},), got {w.shape}.")
    if not np.isfinite(w).all() or (w < 0).any() or not w.any():
        raise ValueError("weights must be finite, 0 or more, and not all 0.")
    w = w / w.sum()
    x = (predicted - (predicted @ w)[..., None]) * np.sqrt(w)
    y = (measured - (measured @ w)[:, None]) * np.sqrt(w)
    small = 1e-12 * np.abs(predicted).max(initial=1.0)
    x[np.linalg.norm(x, axis=2) <= small] = 0
    y[np.linalg.norm(y, axis=1) <= 1e-12 * np.abs(measured).max(initial=1.0)] = 0
    return cosine_scores(x, y)


def best_index(scores: np.ndarray) -> np.ndarray:
    """Return the first candidate within ``TIE`` of the best, (n, n_candidates) -> int (n,); 0 where all are NaN."""
    filled = np.where(np.isnan(scores), -np.inf, scores)
    best = filled.max(1, keepdims=True)
    return np.where(np.isfinite(best[:, 0]), (filled >= best - TIE).argmax(1), 0)


def expected_best(n_candidates: int) -> float:
    """Return the expected largest of N independent standard normal numbers.

    >>> round(expected_best(2), 4), round(expected_best(16), 4)
    (0.5642, 1.766)
    """
    from scipy.integrate import quad
    from scipy.stats import norm

    n = check_positive_int("n_candidates", n_candidates)
    return float(quad(lambda x: n * x * norm.pdf(x) * norm.cdf(x) ** (n - 1), -12, 12, limit=200)[0])


def _features(chunk: Any, features: Callable[[Any], Any] | None, n: int, n_candidates: int) -> np.ndarray:
    if features is None:
        return _as_array(chunk).astype(np.float64).reshape(n, n_candidates, -1)
    flat = chunk.reshape(n * n_candidates, *_shape(chunk)[2:])
    values = _as_array(features(flat))
    if len(values) != len(flat):
        raise ShapeMismatch(f"features must give one row for each of {len(flat)} candidates, got {values.shape}.")
    return values.astype(np.float64).reshape(n, n_candidates, -1)


def _check_candidates(candidates: Any, n: int, n_candidates: int) -> None:
    shape = _shape(candidates)
    if shape[:2] != (n, n_candidates):
        raise ShapeMismatch(
            f"candidates must begin with (items, candidates) = ({n}, {n_candidates}), got {shape}. Is there one target "
            "per item?"
        )


def _check_families(selection: str | None, evaluation: str | None) -> None:
    if selection is not None and selection == evaluation:
        raise ValueError(
            f"candidates picked by {selection!r} features may not be judged by {evaluation!r} features: that measures "
            "the picking. Judge them by another family, or pick by another."
        )


def _as_array(x: Any) -> np.ndarray:
    return x.detach().float().cpu().numpy() if is_tensor(x) else np.asarray(x)


def _shape(x: Any) -> tuple[int, ...]:
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)
