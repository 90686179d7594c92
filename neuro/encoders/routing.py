"""Do routing maps look at what drives an area? Share of the routing weight on an object, against the object's area.

A map that knows nothing puts as much weight on an object as the object covers. A fixed window (the mean map over
images) knows where objects tend to be. Only a map that follows the object beats both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.linear._arrays import array_of

UNIFORM = 1e-3  # by which maps may miss a sum of one


@dataclass(frozen=True, eq=False)
class RoutingAgreement:
    """Where routing maps look, against where an object is; NaN for images that do not show it.

    Attributes
    ----------
    weight : array (n_images, n_queries)
        Share of the map's weight on the object, 0 to 1.
    static_weight : array (n_images, n_queries)
        The same for the query's mean map over the images that show the object.
    area : array (n_images, n_queries)
        Share of the image that the object covers: the weight of a uniform map.
    distance, static_distance : arrays (n_images, n_queries)
        From the peak of the map (of the mean map) to the object's centre, in widths of the image.
    """

    weight: np.ndarray
    static_weight: np.ndarray
    area: np.ndarray
    distance: np.ndarray
    static_distance: np.ndarray

    def summary(self, names: Any = None) -> pd.DataFrame:
        """Return means over images, one row per query.

        Parameters
        ----------
        names : sequence of str, optional
            Of the queries.

        Returns
        -------
        DataFrame
            ``query, n_images, weight, static_weight, area, gain`` (weight over area), ``distance, static_distance``.
        """
        n = self.distance.shape[1]
        names = [f"query {i}" for i in range(n)] if names is None else [str(name) for name in names]
        if len(names) != n:
            raise ShapeMismatch(f"names must be those of {n} queries, got {len(names)}.")
        rows = []
        for i, name in enumerate(names):
            shown = np.isfinite(self.distance[:, i])
            row: dict[str, Any] = {"query": name, "n_images": int(shown.sum())}
            for field in ("weight", "static_weight", "area", "distance", "static_distance"):
                row[field] = float(getattr(self, field)[shown, i].mean()) if shown.any() else np.nan
            row["gain"] = row["weight"] / row["area"] if row["area"] else np.nan
            rows.append(row)
        columns = ["query", "n_images", "weight", "static_weight", "area", "gain", "distance", "static_distance"]
        return pd.DataFrame(rows, columns=columns)


def routing_agreement(
    maps: Any, masks: Any = None, positions: Any = None, *, smallest: float = 0.0
) -> RoutingAgreement:
    """Compare routing maps with where an object is.

    Parameters
    ----------
    maps : array or tensor (n_images, n_queries, height, width), or (n_images, height, width) for one query
        Not negative, each summing to one: ``AttentionEncoder.routing_maps``.
    masks : array (n_images, n_queries, H, W) or (n_images, H, W) for all queries, optional
        Where the object that should drive the query shows: boolean, or the share of each pixel, 0 to 1. Any resolution.
    positions : array (n_images, n_queries, 2) or (n_images, 2), optional
        x and y of the object's centre, as fractions of the image from the left and from the top; NaN where it is
        absent. By default the centroid of the mask.
    smallest : float
        Share of the image below which an object counts as absent.

    Returns
    -------
    RoutingAgreement
        Weights and areas are NaN without ``masks``.

    Raises
    ------
    ShapeMismatch
        If maps, masks and positions do not describe the same images and queries.
    ValueError
        If maps do not sum to one, or masks are not shares.
    EmptySelection
        If no image shows the object of a query.

    Examples
    --------
    >>> maps = np.zeros((1, 2, 2))
    >>> maps[0, 0, 1] = 1.0
    >>> found = routing_agreement(maps, masks=np.array([[[0, 1], [0, 1]]], bool))
    >>> found.weight.item(), found.area.item(), found.distance.item()
    (1.0, 0.5, 0.25)
    """
    M = _check_maps(maps)
    n, q, height, width = M.shape
    if masks is None and positions is None:
        raise ValueError("give masks (where the object shows) or positions (its centre).")
    cover = None if masks is None else _check_masks(masks, n, q)
    centre = None if positions is None else _check_positions(positions, n, q)
    if cover is not None:
        area = cover.mean((2, 3))
        if centre is None:
            centre = _centroid(cover)
        shown = (area > smallest) & np.isfinite(centre).all(2)
        on_grid = np.stack([_on_grid(cover[i], (height, width)) for i in range(n)])  # (n, q, height, width)
    else:
        shown = np.isfinite(centre).all(2)
        area = np.full((n, q), np.nan)
        on_grid = np.full((n, q, 1, 1), np.nan)
    if not shown.any(0).all():
        missing = np.flatnonzero(~shown.any(0)).tolist()
        raise EmptySelection(f"no image shows the object of queries {missing}: leave them out, or give more images.")
    static = np.stack([M[shown[:, k], k].mean(0) for k in range(q)])  # (q, height, width)
    peak, static_peak = _peak(M), _peak(static)
    found = {
        "weight": (M * on_grid).sum((2, 3)),
        "static_weight": (static * on_grid).sum((2, 3)),
        "area": area,
        "distance": np.linalg.norm(peak - centre, axis=2),
        "static_distance": np.linalg.norm(static_peak - centre, axis=2),
    }
    return RoutingAgreement(**{name: np.where(shown, values, np.nan) for name, values in found.items()})


def _check_maps(maps: Any) -> np.ndarray:
    M = np.asarray(array_of(maps), dtype=np.float64)
    M = M[:, None] if M.ndim == 3 else M
    if M.ndim != 4 or 0 in M.shape:
        raise ShapeMismatch(f"maps must be (n_images, n_queries, height, width), got shape {M.shape}.")
    total = M.sum((2, 3))
    if not (M >= 0).all() or not (np.abs(total - 1) <= UNIFORM).all():
        raise ValueError(
            f"each map must be weights that sum to one, got sums from {total.min():.4g} to {total.max():.4g} and a "
            f"smallest weight of {M.min():.4g}."
        )
    return M


def _check_masks(masks: Any, n: int, q: int) -> np.ndarray:
    cover = np.asarray(array_of(masks), dtype=np.float64)
    cover = np.broadcast_to(cover[:, None], (len(cover), q, *cover.shape[1:])) if cover.ndim == 3 else cover
    if cover.ndim != 4 or cover.shape[:2] != (n, q) or 0 in cover.shape:
        raise ShapeMismatch(f"masks must be ({n}, {q}, H, W) or ({n}, H, W), as the maps; got shape {cover.shape}.")
    if not ((cover >= 0) & (cover <= 1)).all():
        raise ValueError(f"masks must be boolean or shares from 0 to 1, got {cover.min():.4g} to {cover.max():.4g}.")
    return cover


def _check_positions(positions: Any, n: int, q: int) -> np.ndarray:
    centre = np.asarray(array_of(positions), dtype=np.float64)
    centre = np.broadcast_to(centre[:, None], (len(centre), q, 2)) if centre.shape == (n, 2) else centre
    if centre.shape != (n, q, 2):
        raise ShapeMismatch(f"positions must be ({n}, {q}, 2) or ({n}, 2), as the maps; got shape {centre.shape}.")
    return centre


def _middles(length: int) -> np.ndarray:
    return (np.arange(length) + 0.5) / length


def _centroid(cover: np.ndarray) -> np.ndarray:
    """Return x and y of the masks' centres, (n, q, 2); NaN for an empty mask."""
    total = cover.sum((2, 3))
    safe = np.where(total > 0, total, np.nan)
    x, y = cover.sum(2) @ _middles(cover.shape[3]), cover.sum(3) @ _middles(cover.shape[2])
    return np.stack([x, y], -1) / safe[..., None]


def _on_grid(cover: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the share of every place of a grid that is covered: means over areas, exact for any ratio of sizes."""
    rows, columns = (_overlap(old, new) for old, new in zip(cover.shape[1:], grid, strict=True))
    return rows @ cover @ columns.T


def _overlap(old: int, new: int) -> np.ndarray:
    """Return (new, old): how much of each old cell lies in each new one, rows summing to one."""
    edges = np.linspace(0, old, new + 1)
    inside = np.minimum(edges[1:, None], np.arange(old) + 1) - np.maximum(edges[:-1, None], np.arange(old))
    return np.maximum(inside, 0) * new / old


def _peak(maps: np.ndarray) -> np.ndarray:
    """Return x and y of the highest place of maps (..., height, width); the middle of several that are equal."""
    height, width = maps.shape[-2:]
    top = maps >= maps.max((-2, -1), keepdims=True)
    count = top.sum((-2, -1))
    return np.stack([top.sum(-2) @ _middles(width), top.sum(-1) @ _middles(height)], -1) / count[..., None]
