"""Representational dissimilarity matrices as pictures, and second-order maps of many of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuro.errors import ShapeMismatch
from neuro.plotting.style import BASE, INK, LARGE, PALETTE, SMALL, fit, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rdm_images(
    matrices: Any,
    titles: Sequence[str] = (),
    *,
    groups: Sequence[Any] | None = None,
    percentiles: bool = True,
    columns: int = 4,
    width: float = 9.6,
    cmap: str = "viridis",
) -> Figure:
    """Draw RDMs side by side, conditions sorted by group, groups named and divided by lines.

    Parameters
    ----------
    matrices : array (n_rdms, n, n)
        NaN stays grey.
    titles : sequence of str
    groups : sequence (n,), optional
        Category of each condition; they are shown in the order of their first appearance.
    percentiles : bool
        Show percentile ranks of dissimilarities within each matrix, so that RDMs of different units compare by eye.
    columns : int
        Matrices in a row.
    width : float
        Inches.
    cmap : str

    Returns
    -------
    matplotlib Figure
    """
    matrices = np.asarray(matrices, dtype=float)
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2]:
        raise ShapeMismatch(f"matrices must be (n_rdms, n, n), got {matrices.shape}.")
    n_rdms, n = matrices.shape[:2]
    order, names, edges = _sorted_groups(groups, n)
    columns = min(columns, n_rdms)
    rows = math.ceil(n_rdms / columns)
    side = min(width / columns, 3.6)
    figure = new_figure(max(side * columns + 0.7, 3.4), rows * (side + 0.35) + (0.75 if names else 0.1))
    axes = figure.subplots(rows, columns, squeeze=False)
    low, high = (0, 100) if percentiles else (float(np.nanmin(matrices)), float(np.nanmax(matrices)))
    image = None
    for k, ax in enumerate(axes.flat):
        if k >= n_rdms:
            ax.set_visible(False)
            continue
        shown = _percentiles(matrices[k]) if percentiles else matrices[k]
        ax.set_facecolor("#bbbbbb")
        shown = np.ma.masked_invalid(shown[np.ix_(order, order)])
        image = ax.imshow(shown, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
        if k < len(titles):
            ax.set_title(fit(titles[k], side), fontsize=LARGE, loc="left", color=INK, pad=4)
        ax.spines[:].set_visible(False)
        for edge in edges[1:-1]:
            ax.axhline(edge - 0.5, color="white", linewidth=0.9)
            ax.axvline(edge - 0.5, color="white", linewidth=0.9)
        middles = [(a + b - 1) / 2 for a, b in itertools.pairwise(edges)]
        first, last = k % columns == 0, k + columns >= n_rdms
        ax.set_xticks(middles if names and last else [], names if names and last else [], rotation=45, ha="right",
                      rotation_mode="anchor", fontsize=SMALL)  # fmt: skip
        ax.set_yticks(middles if names and first else [], names if names and first else [], fontsize=SMALL)
        ax.tick_params(length=0, colors=INK)
    if image is not None:
        bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.015, aspect=25, shrink=0.6 if rows == 1 else 0.9)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=SMALL, length=2)
        bar.set_label("dissimilarity (percentile)" if percentiles else "dissimilarity", fontsize=BASE, color=INK)
    return figure


def embedding_map(
    points: Any,
    labels: Sequence[str],
    *,
    groups: Sequence[Any] | None = None,
    paths: Sequence[Sequence[int]] = (),
    note: str | None = None,
    width: float = 6.4,
) -> Figure:
    """Draw a two-dimensional arrangement (MDS, UMAP) of conditions, regions or layers.

    Parameters
    ----------
    points : array (n, 2)
    labels : sequence of str (n,)
        Empty strings for points without a name.
    groups : sequence (n,), optional
        Colours, in the order of first appearance.
    paths : sequences of indices
        Points joined by a line, such as the layers of a network from input to output.
    note : str, optional
        Printed below, such as the stress.
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) != len(labels):
        raise ShapeMismatch(f"expected points (n, 2) and n labels, got {points.shape} and {len(labels)} labels.")
    figure = new_figure(width, 0.8 * width)
    ax = figure.subplots()
    kinds = ["all"] * len(points) if groups is None else [str(g) for g in groups]
    order = list(dict.fromkeys(kinds))
    for path in paths:
        ax.plot(points[list(path), 0], points[list(path), 1], color="#999999", linewidth=1.0, zorder=1)
    for k, kind in enumerate(order):
        own = np.array([g == kind for g in kinds])
        marker = "osD^vP"[k // len(PALETTE) % 6]
        colour = PALETTE[k % len(PALETTE)]
        ax.scatter(*points[own].T, s=34, color=colour, marker=marker, label=kind, zorder=2, edgecolor="white")
    span = np.ptp(points, axis=0).max() or 1.0
    for (x, y), dx, dy, label in zip(points, *_nudges(points, span), labels, strict=True):
        if label:
            ax.annotate(label, (x, y), (x + dx, y + dy), fontsize=SMALL, color=INK, ha="left" if dx > 0 else "right",
                        va="center", zorder=3)  # fmt: skip
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.14)
    tidy(ax)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    if groups is not None and len(order) > 1:
        ax.legend(frameon=False, fontsize=SMALL, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    if note:
        ax.set_xlabel(note, fontsize=SMALL, color=INK)
    return figure


def _nudges(points: np.ndarray, span: float) -> tuple[np.ndarray, np.ndarray]:
    """Shift every label away from the nearest other point."""
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag(np.full(len(points), np.inf))
    nearest = points[distance.argmin(1)] if len(points) > 1 else points
    dx = np.where(points[:, 0] >= nearest[:, 0], 0.018, -0.018) * span
    dy = np.clip((points[:, 1] - nearest[:, 1]) / span, -0.02, 0.02) * span
    return dx, dy


def _sorted_groups(groups: Sequence[Any] | None, n: int) -> tuple[np.ndarray, list[str], list[int]]:
    if groups is None:
        return np.arange(n), [], [0, n]
    kinds = [str(g) for g in groups]
    if len(kinds) != n:
        raise ShapeMismatch(f"groups must name one group for each of {n} conditions, got {len(kinds)}.")
    names = list(dict.fromkeys(kinds))
    position = {name: k for k, name in enumerate(names)}
    codes = np.array([position[k] for k in kinds])
    return np.argsort(codes, kind="stable"), names, [0, *np.cumsum(np.bincount(codes)).tolist()]


def _percentiles(matrix: np.ndarray) -> np.ndarray:
    """Percentile rank of each off-diagonal entry; 0 on the diagonal."""
    from scipy.stats import rankdata

    i, j = np.triu_indices(len(matrix), 1)
    d = matrix[i, j]
    known = np.isfinite(d)
    ranks = np.full(len(d), np.nan)
    if known.any():
        ranks[known] = 100 * (rankdata(d[known]) - 0.5) / known.sum()
    out = np.zeros_like(matrix)
    out[i, j] = out[j, i] = ranks
    return out
