"""From frames to scans: features at the scanner's pace, later than the picture by as much as blood is.

A voxel answers seconds after a stimulus. Either a response function is assumed, ``y(t) = sum_k h(k) x(t - k)``
(:func:`convolve_hrf`), or each delay gets weights of its own, ``y(t) = sum_d w_d x(t - d)`` (:func:`fir_delays`).
Nothing crosses the border between two runs: what came before a run's first scan is taken as 0, so centre features
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from neuro._check import check_positive_int, is_tensor
from neuro.data._runs import as_numpy, as_rows, check_delays, positive, run_borders
from neuro.data.hrf import convolve_hrf as convolve_hrf
from neuro.data.hrf import hrf_kernel as hrf_kernel
from neuro.errors import EmptySelection, ShapeMismatch


def fir_delays(X: Any, delays: Sequence[int] = (2, 3, 4), runs: Any = None) -> Any:
    """Return delayed copies of the features side by side, so that a linear model finds the response's shape itself.

    Parameters
    ----------
    X : array or tensor (n_trs, n_features)
    delays : sequence of int
        In scans (TRs). Row t of the copy for delay d is ``X[t - d]``; negative delays look ahead. The copies stand in
        this order: columns ``k * n_features`` to ``(k + 1) * n_features`` are delay ``delays[k]``.
    runs : array (n_trs,), optional
        The run of each row; each run is one stretch of rows.

    Returns
    -------
    array or tensor (n_trs, n_delays * n_features)
        0 where a delay reaches beyond its run.

    Raises
    ------
    ShapeMismatch
        If X is not two-dimensional or ``runs`` has another length.
    ValueError
        If a delay is no whole number or comes twice, or a run is in several pieces.

    References
    ----------
    Huth, de Heer, Griffiths, Theunissen & Gallant (2016), Nature 532, 453-458.

    Examples
    --------
    >>> fir_delays(np.array([[1.0], [2.0], [3.0], [4.0]]), [0, 1], runs=[0, 0, 1, 1])
    array([[1., 0.],
           [2., 1.],
           [3., 0.],
           [4., 3.]])
    """
    X = as_rows(X)
    steps = check_delays(delays)
    out = []
    for step in steps:
        copy = X.new_zeros(X.shape) if is_tensor(X) else np.zeros_like(X)
        for start, stop in run_borders(len(X), runs):
            length = stop - start - abs(step)
            if length > 0:
                to, source = start + max(step, 0), start + max(-step, 0)
                copy[to : to + length] = X[source : source + length]
        out.append(copy)
    if is_tensor(X):
        import torch

        return torch.cat(out, 1)
    return np.concatenate(out, axis=1)


def downsample_to_tr(features: Any, fps: float, tr: float, n_trs: int | None = None) -> np.ndarray:
    """Return the mean of the features over each scan.

    Frame k lasts from ``k / fps`` to ``(k + 1) / fps`` seconds, scan j from ``j tr`` to ``(j + 1) tr``; a frame that
    two scans share counts in both by its share. Scans shorter than frames repeat them.

    Parameters
    ----------
    features : array (n_frames, n_features)
    fps : float
        Frames (feature rows) per second.
    tr : float
        Seconds per scan.
    n_trs : int, optional
        By default as many as the frames fill.

    Returns
    -------
    float64 array (n_trs, n_features)

    Raises
    ------
    ShapeMismatch
        If the frames do not fill ``n_trs`` scans, by more than half a frame.

    Examples
    --------
    >>> downsample_to_tr(np.array([[1.0], [3.0], [5.0], [7.0]]), fps=2, tr=1)
    array([[2.],
           [6.]])
    """
    X = as_rows(as_numpy(features)).astype(float)
    fps, tr = positive("fps", fps, "frames per second"), positive("tr", tr, "seconds")
    frames_per_tr = fps * tr
    fill = int(np.floor((len(X) + 0.5) / frames_per_tr)) if frames_per_tr >= 1 else round(len(X) / frames_per_tr)
    if n_trs is None:
        n_trs = fill
        if not n_trs:
            raise EmptySelection(f"{len(X)} frames at {fps:g} per second last less than one scan of {tr:g} s.")
    elif check_positive_int("n_trs", n_trs) * frames_per_tr > len(X) + 0.5:
        raise ShapeMismatch(
            f"{n_trs} scans of {tr:g} s need {n_trs * frames_per_tr:g} frames at {fps:g} per second, got {len(X)}. "
            "Add rows for the time without a picture, or ask for fewer scans."
        )
    total = np.concatenate([np.zeros((1, X.shape[1])), np.cumsum(X, axis=0)])
    edges = np.minimum(np.arange(n_trs + 1) * frames_per_tr, len(X))
    whole = np.minimum(edges.astype(int), len(X) - 1)
    at_edges = total[whole] + (edges - whole)[:, None] * X[whole]
    return np.diff(at_edges, axis=0) / np.diff(edges)[:, None]


def time_splits(n: int, n_folds: int = 5, purge: int = 0, runs: Any = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return splits of a time series into successive blocks, with a gap around each held-out block.

    Neighbouring scans are alike, and delays put the same frames into both, so random folds would be too good. Where
    there are at least as many runs as folds, whole runs are held out.

    Parameters
    ----------
    n : int
        Number of scans.
    n_folds : int
    purge : int
        Scans left out of training on either side of a held-out block, within its run: at least the longest delay, or
        the length of the response function.
    runs : array (n,), optional

    Returns
    -------
    list of (train, test) index arrays, for ``cv=`` of any encoder

    Raises
    ------
    ValueError
        If there are too few scans for the folds, or the gaps leave nothing to train on.

    Examples
    --------
    >>> [(train.tolist(), test.tolist()) for train, test in time_splits(6, 3, purge=1)]
    [([3, 4, 5], [0, 1]), ([0, 5], [2, 3]), ([0, 1, 2], [4, 5])]
    """
    check_positive_int("n", n, 2)
    check_positive_int("n_folds", n_folds, 2)
    check_positive_int("purge", purge, 0)
    borders = run_borders(n, runs)
    if len(borders) >= n_folds and len(borders) > 1:
        cuts = [borders[part[0]][0] for part in np.array_split(np.arange(len(borders)), n_folds)] + [n]
    elif n < n_folds:
        raise ValueError(f"n_folds={n_folds} blocks need at least {n_folds} scans, got {n}.")
    else:
        cuts = [int(part[0]) for part in np.array_split(np.arange(n), n_folds)] + [n]
    splits = []
    for start, stop in pairwise(cuts):
        keep = np.ones(n, bool)
        for first, last in borders:
            if first < stop and last > start:  # the gap reaches only into runs that the block is in
                keep[max(first, start - purge) : min(last, stop + purge)] = False
        if not keep.any():
            raise ValueError(
                f"a gap of {purge} scans around scans {start} to {stop - 1} leaves none of {n} to train on. Use more "
                "folds or a smaller gap."
            )
        splits.append((np.flatnonzero(keep), np.arange(start, stop)))
    return splits
