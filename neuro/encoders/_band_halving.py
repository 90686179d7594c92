"""Which candidates of band weights are worth scoring, for which voxels, given the scores of some?

The best score over penalties is a smooth function of the logarithms of the weights. From candidates that every voxel
has scored, a Gaussian process (one covariance for all voxels, so that prediction is one small matrix times the scores)
predicts the others. The next ones to score are those that together promise the voxels most, each only for voxels
where it is among the best.
"""

from __future__ import annotations

import torch

LEAST = 1e-4  # added to weights (on the simplex): below it a band is as good as left out
LENGTH = 2.5  # of the covariance in log weights, times the root of the number of bands
NOISE = 1e-3  # variance of what the process leaves unexplained, of the score's own variance
ROUNDS = 3  # of predicting and scoring as many more as at first
AMONG = 6  # a voxel scores a candidate that is predicted to be one of so many best


def n_first(n_bands: int) -> int:
    """Candidates that all voxels score first: about twice as many as a quadratic function has coefficients.

    >>> [n_first(n) for n in (2, 3, 5)]
    [10, 16, 34]
    """
    return n_bands * (n_bands + 1) + 4


def fill(weights: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Return ``table`` with predictions in the place of NaN.

    Parameters
    ----------
    weights : tensor (n_candidates, n_bands)
    table : tensor (n_candidates, n_voxels)
        Scores; at least one row is complete.

    Returns
    -------
    tensor (n_candidates, n_voxels)
    """
    unknown = torch.isnan(table)
    known = ~unknown.any(1)
    out = torch.where(unknown, _predict(weights, known, table), table)
    partly = ~unknown.all(1)
    if bool((partly & ~known).any()):  # what some voxels have scored counts as well, for the others as predicted
        out = torch.where(unknown, _predict(weights, partly, out), table)
    return out


def _predict(weights: torch.Tensor, known: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    x = (weights / weights.sum(1, keepdim=True) + LEAST).log()
    distance = (x[:, None] - x[known]).square().sum(2)
    K = (distance / (-2 * LENGTH**2 * weights.shape[1])).exp()
    inner = K[known] + NOISE * torch.eye(int(known.sum()), dtype=K.dtype, device=K.device)
    of_known = torch.linalg.solve(inner, K.T).T.to(table.dtype)
    mean = table[known].mean(0)
    return torch.addmm(mean.expand(len(table), -1), of_known, table[known] - mean)


def cover(table: torch.Tensor, chosen: list[int], n: int) -> list[int]:
    """Return up to ``n`` more candidates, one after the other the one that adds most to the sum of voxels' best scores.

    Parameters
    ----------
    table : tensor (n_candidates, n_voxels)
        Scores that can be added up over voxels.
    chosen : list of int
        Candidates that are there already.
    """
    best = table[chosen].amax(0)
    more: list[int] = []
    for _ in range(n):
        gain = torch.stack([(row - best).clamp_(min=0).sum() for row in table])
        i = int(gain.argmax())
        if not float(gain[i]) > 0:
            break
        more.append(i)
        best = torch.maximum(best, table[i])
    return more


def among_best(table: torch.Tensor, rows: list[int], i: int) -> torch.Tensor:
    """Say (n_voxels,) where candidate ``i`` is among the best few of ``rows``, which hold it."""
    return (table[rows] > table[i]).sum(0) < AMONG
