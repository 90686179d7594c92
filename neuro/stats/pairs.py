"""Can predictions tell stimuli apart? Scores over stimuli, not voxels: two against two, and pattern by pattern."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import check_option, is_tensor
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats._moments import as_columns, double, to_numpy
from neuro.stats.metrics import pearson_r

DISTANCES = ("cosine", "correlation", "euclidean")
# Pairs of one block of rows, 64 MB in float64.
_BLOCK = 2**23


def two_versus_two(Y: Any, Y_hat: Any, distance: str = "cosine", groups: Any = None) -> float:
    """Return the share of pairs of stimuli whose predictions are matched to the right responses (2V2 accuracy).

    A pair i, j is right if ``d(y_i, yhat_i) + d(y_j, yhat_j) < d(y_i, yhat_j) + d(y_j, yhat_i)``, with d over the
    voxels. Chance is 0.5: a tie, such as two equal predictions, counts one half.

    Parameters
    ----------
    Y, Y_hat : array or tensor (n_stimuli, n_voxels)
        Responses and predictions of held-out stimuli, of all test folds together, usually of one region.
    distance : {"cosine", "correlation", "euclidean"}
        Cosine distance is that of the published protocols; a row without length is as far from any other as possible
        without pointing away, 1.
    groups : array (n_stimuli,), optional
        The stimulus of each row, where rows repeat stimuli: pairs of one stimulus are left out, nobody can tell them
        apart.

    Returns
    -------
    float

    Raises
    ------
    ShapeMismatch
        If the shapes differ, or there are fewer than two rows.
    ValueError
        If a value is not finite.

    Notes
    -----
    Pairs share stimuli, so their number is not the number of observations: test with
    :func:`~neuro.stats.permutation_test` over stimuli or across subjects, not with a binomial over pairs.

    References
    ----------
    Mitchell et al. (2008), Science 320, 1191-1195; Oota, Arora, Rowtula, Gupta & Bapi (2022), COLING, arXiv
    2204.08261.

    Examples
    --------
    >>> Y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> two_versus_two(Y, Y), two_versus_two(Y, Y[[1, 0, 2]])
    (1.0, 0.0)
    """
    check_option("distance", distance, DISTANCES)
    Y, Y_hat, _ = as_columns(Y, Y_hat, max_ndim=2)
    n = len(Y)
    for name, values in (("Y", Y), ("Y_hat", Y_hat)):
        _check_finite(name, values)
    labels = np.arange(n)
    if groups is not None:
        labels = to_numpy(groups)
        if labels.shape != (n,):
            raise ShapeMismatch(f"groups must name the stimulus of each of {n:,} rows, got shape {labels.shape}.")
    y, p = double(Y), double(Y_hat)
    if distance == "correlation":
        y, p = (a - a.mean(1)[:, None] for a in (y, p))
    if distance != "euclidean":
        y, p = _unit(y), _unit(p)
    own = to_numpy(_distance(y, p, None, distance))
    right, pairs = 0.0, 0
    step = max(1, _BLOCK // n)
    for start in range(0, n - 1, step):
        rows = slice(start, min(start + step, n))
        crossed = to_numpy(_distance(y[rows], p, True, distance)) + to_numpy(_distance(p[rows], y, True, distance))
        straight = own[rows, None] + own[None]
        used = (np.arange(n) > np.arange(n)[rows, None]) & (labels != labels[rows, None])
        gain = (crossed - straight)[used]
        # Rounding must not decide ties.
        tie = np.abs(gain) <= 1e-12 * np.maximum(1, np.abs(straight[used]))
        right += float(((gain > 0) & ~tie).sum()) + 0.5 * float(tie.sum())
        pairs += gain.size
    if not pairs:
        raise EmptySelection("all rows are of one stimulus: there is no pair to tell apart.")
    return right / pairs


def pearson_per_stimulus(Y: Any, Y_hat: Any) -> Any:
    """Return the correlation over voxels of each stimulus's response and prediction.

    Not per voxel: a prediction of each voxel's mean, the same for all stimuli, already scores well here wherever voxels
    differ in their means. Centre voxels on the training rows first, or report :func:`two_versus_two` beside it.

    Parameters
    ----------
    Y, Y_hat : array or tensor (n_stimuli, n_voxels)

    Returns
    -------
    array or tensor (n_stimuli,), float64
        NaN for a constant response pattern, 0 for a constant prediction.

    References
    ----------
    Oota, Arora, Rowtula, Gupta & Bapi (2022), COLING, arXiv 2204.08261.

    Examples
    --------
    >>> pearson_per_stimulus([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]], [[2.0, 4.0, 6.0], [0.0, 5.0, 2.5]])
    array([ 1., -1.])
    """
    Y, Y_hat = (a if is_tensor(a) else np.asarray(a) for a in (Y, Y_hat))
    if Y.ndim != 2 or tuple(Y.shape) != tuple(Y_hat.shape):
        raise ShapeMismatch(
            f"Y and Y_hat must both be (n_stimuli, n_voxels), got {tuple(Y.shape)} and {tuple(Y_hat.shape)}."
        )
    if Y.shape[1] < 2:
        raise ShapeMismatch(f"a correlation over voxels needs at least two of them, got {Y.shape[1]}.")
    return pearson_r(Y.T, Y_hat.T)


def _check_finite(name: str, values: Any) -> None:
    finite = values.isfinite() if is_tensor(values) else np.isfinite(values)
    if not bool(finite.all()):
        bad = int((~finite).any(0).sum())
        raise ValueError(f"{name} contains NaN or infinity in {bad:,} of {values.shape[1]:,} voxels: leave them out.")


def _unit(a: Any) -> Any:
    """Rows of length 1; rows without length stay 0."""
    norm = (a**2).sum(1) ** 0.5
    return a / (norm + (norm == 0))[:, None]


def _distance(a: Any, b: Any, crossed: Any, distance: str) -> Any:
    """Distances of rows, each to its own partner (n,) or of all to all (n, m)."""
    if distance != "euclidean":
        return 1 - (a @ b.T if crossed else (a * b).sum(1))
    if not crossed:
        return ((a - b) ** 2).sum(1) ** 0.5
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return squared.clip(0) ** 0.5
