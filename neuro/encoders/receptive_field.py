"""Receptive fields from weights: where the features that drive a voxel lie in the visual field, and how widely."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from neuro.errors import ShapeMismatch
from neuro.linear._arrays import array_of

BLOCK = 2**23  # numbers of the map handled at once


class ReceptiveFields(NamedTuple):
    """Centre and size of every voxel's receptive field, in the units of the positions; NaN where there is no map."""

    x: np.ndarray
    y: np.ndarray
    size: np.ndarray


def receptive_field(importance: Any, positions: Any, *, threshold: float = 0.5, area: Any = None) -> ReceptiveFields:
    """Centre and size of the part of each voxel's map that exceeds ``threshold`` of its maximum.

    The centre is the weighted centroid of that part. The size is its weighted standard deviation (root mean square of
    x and y about the centre), divided by what cutting at ``threshold`` leaves of it for a Gaussian,
    ``sqrt((1 - (1 + L) t) / (1 - t))`` with t the threshold and ``L = log(1 / t)``: a map that is a Gaussian gives back
    its standard deviation. What lies below the threshold (noise spread over the whole field, which would pull every
    centre inwards and inflate every size) does not enter.

    Parameters
    ----------
    importance : array (n_voxels, n_positions), >= 0
        How much each position matters to each voxel, e.g. ``weight_energy`` of an encoder's weights.
    positions : array (n_positions, 2)
        x and y, degrees of visual angle. On a regular grid, unless ``area`` is given.
    threshold : float, in (0, 1)
        Share of a map's maximum below which it is ignored.
    area : array (n_positions,), optional
        Visual area that each position stands for, if that differs between positions.

    Returns
    -------
    ReceptiveFields
        ``x, y, size``, each (n_voxels,), in degrees. A voxel with a map of zeros, or with NaN in it, gets NaN; one with
        a single position above the threshold gets size 0, which means smaller than the grid can say.

    Raises
    ------
    ShapeMismatch
        If the maps and the positions do not have the same number of positions.
    ValueError
        If a map has negative values, or the threshold is not inside (0, 1).

    Examples
    --------
    >>> receptive_field([[0.0, 1.0, 0.0]], [[-1, 0], [0, 2], [1, 0]])
    ReceptiveFields(x=array([0.]), y=array([2.]), size=array([0.]))
    """
    maps, where = np.asarray(array_of(importance)), np.asarray(array_of(positions), dtype=np.float64)
    if maps.ndim != 2 or where.shape != (maps.shape[1], 2):
        raise ShapeMismatch(
            "importance must be (n_voxels, n_positions) and positions (n_positions, 2), "
            f"got shapes {maps.shape} and {where.shape}."
        )
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold!r}.")
    if not np.isfinite(where).all():
        raise ValueError("positions must be finite, got NaN or infinity.")
    cell = np.ones(len(where)) if area is None else np.asarray(array_of(area), dtype=np.float64)
    if cell.shape != (len(where),) or not (cell > 0).all():
        raise ValueError(f"area must be one positive number per position, {len(where):,}, got shape {cell.shape}.")
    x, y, size = (np.full(len(maps), np.nan) for _ in range(3))
    step = max(1, BLOCK // max(len(where), 1))
    for start in range(0, len(maps), step):
        rows = slice(start, start + step)
        x[rows], y[rows], size[rows] = _moments(maps[rows].astype(np.float64), where, threshold, cell)
    return ReceptiveFields(x, y, size)


def _moments(maps: np.ndarray, where: np.ndarray, threshold: float, cell: np.ndarray):
    if (maps < 0).any():
        raise ValueError("importance must not be negative; square or rectify the weights first.")
    peak = maps.max(1)
    valid = np.isfinite(peak) & (peak > 0)
    maps = np.where(valid[:, None], maps, 0) / np.where(valid, peak, 1)[:, None]
    weights = np.where(maps >= threshold, maps, 0) * cell
    with np.errstate(invalid="ignore"):
        weights /= weights.sum(1, keepdims=True)
    centre = weights @ where  # (n_voxels, 2)
    middle = where.mean(0)  # moments about the middle of the field keep their digits
    spread = weights @ ((where - middle) ** 2) - (centre - middle) ** 2
    log = np.log(1 / threshold)
    kept = (1 - (1 + log) * threshold) / (1 - threshold)
    size = np.sqrt(np.maximum(spread.mean(1), 0) / kept)
    size[np.count_nonzero(weights, axis=1) == 1] = 0  # not its rounding
    return centre[:, 0], centre[:, 1], size


def weight_energy(coef: Any, positions: Any) -> tuple[np.ndarray, np.ndarray]:
    """Sum squared weights over the features that share a position.

    Parameters
    ----------
    coef : array (n_voxels, n_features)
        Weights of an encoder, over features of comparable variance.
    positions : array (n_features, 2)
        x and y of every feature, degrees of visual angle; several features (orientations, scales) may share one.

    Returns
    -------
    importance : array (n_voxels, n_positions)
    positions : array (n_positions, 2), the different ones

    Examples
    --------
    >>> importance, positions = weight_energy([[3.0, 4.0, 1.0]], [[0, 0], [0, 0], [1, 0]])
    >>> importance, positions.tolist()
    (array([[25.,  1.]]), [[0.0, 0.0], [1.0, 0.0]])
    """
    weights, where = np.asarray(array_of(coef)), np.asarray(array_of(positions), dtype=np.float64)
    if weights.ndim != 2 or where.shape != (weights.shape[1], 2):
        raise ShapeMismatch(
            "coef must be (n_voxels, n_features) and positions (n_features, 2), "
            f"got shapes {weights.shape} and {where.shape}."
        )
    different, index = np.unique(where, axis=0, return_inverse=True)
    order = np.argsort(index.reshape(-1), kind="stable")
    starts = np.searchsorted(index.reshape(-1)[order], np.arange(len(different)))
    return np.add.reduceat(np.square(weights)[:, order], starts, axis=1), different
