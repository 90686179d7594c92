"""Score one candidate field after another on the same splits, and keep the best of every voxel."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch

from neuro.linear._alphas import EDGE_SHARE, MARGIN, AlphaAtBoundaryWarning, AlphaBoundary
from neuro.linear._chunks import Buffers, Responses, over_chunks
from neuro.linear._design import Design, take
from neuro.linear._folds import FoldTable, fold_sums
from neuro.linear._scores import NEEDS_PARTS, SCORES
from neuro.linear._splits import order_folds


class SplitScores:
    """One split, ready to score any number of candidate features."""

    def __init__(self, split, Y: torch.Tensor, alphas: np.ndarray, scoring: str, dtype, device):
        order, (fold,) = order_folds([split], len(Y), device)
        self.train = torch.from_numpy(split[0]).to(device)
        self.order, self.fold, self.scoring, self.dtype = order, fold, scoring, dtype
        self.alphas = torch.from_numpy(alphas).to(device)
        self.responses = Responses(Y, order, True, dtype, device)

    def of(self, features: torch.Tensor, memory_limit: int, n_jobs: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (n_alphas, n_voxels) of ridge on ``features`` (n, f), and those of the training mean alone.

        Features are standardised by the training rows.
        """
        mean, scale = moments(features[self.train])
        Z = ((features.double() - mean) / scale).to(self.dtype)
        fold = self.fold
        form = "primal" if Z.shape[1] <= fold.n_train else "dual"
        design = Design(Z, self.order, True, form, self.dtype)
        alphas, responses = self.alphas * design.scale**2, self.responses
        table = FoldTable.prepare(design, fold, alphas, responses.n_voxels)
        total = torch.empty(responses.n_voxels, len(alphas), dtype=self.dtype, device=Z.device)
        floor = torch.empty(responses.n_voxels, dtype=self.dtype, device=Z.device)
        parts = self.scoring in NEEDS_PARTS

        def score(voxels: slice, buffers: Buffers) -> None:
            Y = responses.chunk(voxels, buffers)
            products = Y.T @ design.X if form == "primal" else None
            rounding = responses.rounding(voxels)
            sums = fold_sums(table, take(Y, fold.val), Y, products, None, rounding, True, parts, buffers)
            total[voxels] = SCORES[self.scoring](sums)
            floor[voxels] = SCORES[self.scoring](sums.of_baseline())[:, 0]

        over_chunks(score, responses, design.n + 4 * design.rank, memory_limit, n_jobs)
        unit = responses.score_unit(self.scoring)
        return total.T.double().cpu().numpy() * unit, floor.double().cpu().numpy() * unit


def moments(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation (f,) in float64; 1 for the deviation of a constant feature."""
    wide = features.double()
    mean, scale = wide.mean(0), wide.std(0, correction=0)
    return mean, torch.where(scale <= 1e-6 * mean.abs(), 1.0, scale)


@dataclass
class Choice:
    """The best field and penalty of every voxel so far."""

    score: np.ndarray
    field: np.ndarray
    alpha: np.ndarray  # index

    def offer(self, field: int, scores: np.ndarray, falling: np.ndarray) -> None:
        """Take ``field`` where its scores (n_alphas, n_voxels) are better; of equal penalties the largest wins."""
        best = falling[scores[falling].argmax(0)]
        score = scores[best, np.arange(scores.shape[1])]
        better = score > self.score
        self.score[better], self.field[better], self.alpha[better] = score[better], field, best[better]


def boundary_of(choice: Choice, baseline: np.ndarray, alphas: np.ndarray, scoring: str) -> AlphaBoundary:
    above = choice.score > baseline + MARGIN * (np.abs(baseline) if scoring == "neg_mse" else 1.0)
    lower, upper = (choice.alpha == (i if len(alphas) > 1 else -1) for i in (alphas.argmin(), alphas.argmax()))
    counts = [int(np.count_nonzero(x)) for x in (above, lower & above, upper & above, lower & ~above, upper & ~above)]
    return AlphaBoundary(float(alphas.min()), float(alphas.max()), len(above), *counts)


def warn_of_boundary(boundary: AlphaBoundary, given: bool) -> None:
    """Warn once of a grid of penalties that is too narrow; the smallest automatic one is as good as none at all."""
    at = [("largest", boundary.share_at_upper, boundary.upper)]
    if given and boundary.lower < boundary.upper:
        at.append(("smallest", boundary.share_at_lower, boundary.lower))
    parts = [f"the {name} ({a:.3g}) is the best for {100 * share:.0f}%" for name, share, a in at if share > EDGE_SHARE]
    if parts:
        warnings.warn(
            f"The penalty grid is too narrow: of the {boundary.n_above_baseline:,} voxels above baseline, "
            f"{' and '.join(parts)}. Widen alphas.",
            AlphaAtBoundaryWarning,
            stacklevel=3,
        )
