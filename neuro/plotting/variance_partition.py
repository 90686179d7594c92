"""What each feature space adds: per region, voxel by voxel for two or three of them, and on the cortex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.plotting.cortex import FSAVERAGE5, load_fsaverage5
from neuro.plotting.style import (
    BASE,
    INK,
    PALE,
    PALETTE,
    SMALL,
    data_limits,
    fit,
    new_figure,
    panel_grid,
    shared_labels,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])  # of the triangle: first, second, third space
MOST = 1500  # dots in a panel


def unique_variance_bars(
    table: pd.DataFrame,
    *,
    bands: Sequence[str] | None = None,
    rois: Sequence[str] | None = None,
    total: Mapping[str, float] | None = None,
    xlabel: str = "unique variance (R²)",
    width: float = 9.6,
) -> Figure:
    """Draw the unique variance of every feature space as bars, one group per region, with intervals.

    Parameters
    ----------
    table : DataFrame
        Columns ``roi``, ``band``, ``unique``, optionally ``ci_low`` and ``ci_high``; one row per region and band.
    bands : list of str, optional
        Bars from top; all of the table by default.
    rois : list of str, optional
        Groups from top; all of the table by default.
    total : dict roi -> float, optional
        R2 of all feature spaces together, drawn as a tick.
    xlabel : str
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    from matplotlib.lines import Line2D

    rois = list(rois if rois is not None else dict.fromkeys(table["roi"]))
    bands = list(bands if bands is not None else dict.fromkeys(table["band"]))
    cells = table.set_index(["roi", "band"])
    thick = 0.76 / len(bands)
    figure = new_figure(width, len(rois) * max(0.36, 0.15 * len(bands) + 0.1) + 0.95)
    ax = tidy(figure.subplots(), xlabel=xlabel)
    for k, band in enumerate(bands):
        there = [(row, roi) for row, roi in enumerate(rois) if (roi, band) in cells.index]
        y = np.array([row for row, _ in there]) + (k - (len(bands) - 1) / 2) * thick
        found = cells.loc[[(roi, band) for _, roi in there]]
        ax.barh(y, found["unique"], 0.9 * thick, color=PALETTE[k % len(PALETTE)], label=band, zorder=2)
        if {"ci_low", "ci_high"} <= set(found):
            ax.hlines(y, found["ci_low"], found["ci_high"], color=INK, linewidth=1.0, zorder=3)
    for row, roi in enumerate(rois):
        if row % 2 == 0:
            ax.axhspan(row - 0.5, row + 0.5, color="#f4f4f4", linewidth=0, zorder=0)
        if np.isfinite((total or {}).get(roi, np.nan)):
            ax.plot([(total or {})[roi]] * 2, [row - 0.38, row + 0.38], color=INK, linewidth=2.0, label="_total")
    ax.axvline(0, color="#888888", linewidth=0.8)
    ax.set_yticks(range(len(rois)), [fit(r, 0.3 * width) for r in rois], fontsize=BASE)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(rois) - 0.5, -0.5)
    columns = [table[c] for c in ("unique", "ci_low", "ci_high") if c in table]
    low, high = data_limits(*columns, list((total or {}).values()), include=[0.0])
    ax.set_xlim(low if any((c < 0).any() for c in columns) else 0.0, high)
    handles, labels = ax.get_legend_handles_labels()
    if total:
        handles.append(Line2D([], [], color=INK, marker="|", markersize=10, markeredgewidth=2.0, linestyle="none"))
        labels.append("all together")
    columns_of_legend = max(1, int(width / 1.9))
    figure.legend(
        handles, labels, loc="outside upper left", ncols=columns_of_legend, frameon=False, fontsize=SMALL + 0.5
    )
    return figure


def unique_variance_scatter(
    unique: Mapping[str, np.ndarray],
    *,
    groups: Mapping[str, np.ndarray] | None = None,
    columns: int = 4,
    width: float = 9.6,
) -> Figure:
    """Draw the unique variance of one feature space against that of another: a dot per voxel, a diamond at the mean.

    Parameters
    ----------
    unique : dict of two names -> array (n_voxels,)
        The first lies on the horizontal axis.
    groups : dict name -> bool mask (n_voxels,), optional
        One panel each, over all voxels in grey.
    columns : int
        Panels in a row.
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ShapeMismatch
        If there are not two feature spaces of as many voxels.
    """
    names, values = _spaces(unique, 2)
    panels, good = _panels(groups, values)
    low, high = data_limits(*np.nanpercentile(values[:, good], [0.5, 99.5], axis=1), pad=0.08, include=[0.0])
    figure, axes = _square_panels(len(panels), columns, width)
    shared_labels(figure, f"unique variance of {names[0]}", f"unique variance of {names[1]}")
    for ax, (name, mask) in zip(axes, panels.items(), strict=True):
        tidy(ax, title=fit(name, 0.85 * width / min(columns, len(axes))) or None)
        ax.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        ax.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        ax.plot([low, high], [low, high], color=INK, linewidth=0.9, linestyle=(0, (4, 2)), label="equal", zorder=3)
        _dots(ax, values, good, mask & good, PALETTE[0])
        if (mask & good).any():
            _mean(ax, values[:, mask & good].mean(1))
        ax.set_aspect("equal")
    axes[0].set_xlim(low, high)
    axes[0].set_ylim(low, high)
    return figure


def unique_variance_triangle(
    unique: Mapping[str, np.ndarray],
    *,
    groups: Mapping[str, np.ndarray] | None = None,
    columns: int = 4,
    width: float = 9.6,
) -> Figure:
    """Draw how three feature spaces share a voxel's unique variance, as a dot in a triangle.

    A voxel stands at ``sum_k u_k corner_k / sum_k u_k`` with its unique variances u, negative ones taken as 0: at a
    corner if one space alone adds something, in the middle if all add the same. Voxels to which none adds are left
    out. Colours are those of :func:`band_colours` at full brightness; a diamond stands at the mean.

    Parameters
    ----------
    unique : dict of three names -> array (n_voxels,)
        Corners at the left, at the right and at the top.
    groups : dict name -> bool mask (n_voxels,), optional
        One panel each, over all voxels in grey.
    columns : int
        Panels in a row.
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ShapeMismatch
        If there are not three feature spaces of as many voxels.
    """
    names, values = _spaces(unique, 3)
    shares, good = ternary_shares(values)
    panels, _ = _panels(groups, values)
    figure, axes = _square_panels(len(panels), columns, width)
    points = shares @ CORNERS
    colours = shares / np.maximum(shares.max(1, keepdims=True), 1e-12) * 0.9
    for ax, (name, mask) in zip(axes, panels.items(), strict=True):
        ax.set_title(fit(name, 0.85 * width / min(columns, len(axes))), fontsize=BASE + 1, loc="left", color=INK)
        ax.fill(*CORNERS.T, facecolor="none", edgecolor="#888888", linewidth=0.8)
        _dots(ax, points.T, good, mask & good, colours)
        if (mask & good).any():
            _mean(ax, points[mask & good].mean(0))
        for corner, text, ha, va in zip(
            CORNERS, names, ("left", "right", "center"), ("top", "top", "bottom"), strict=True
        ):
            ax.annotate(
                fit(text, 0.45 * width / min(columns, len(axes))), corner, xytext=(0, 3 if va == "bottom" else -3),
                textcoords="offset points", ha=ha, va=va, fontsize=SMALL, color=INK, annotation_clip=False,
            )  # fmt: skip
        ax.set_axis_off()
        ax.set_aspect("equal")
    axes[0].set_xlim(-0.06, 1.06)
    axes[0].set_ylim(-0.14, 1.0)
    return figure


def ternary_shares(unique: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares (n_voxels, n_bands) of unique variances (n_bands, n_voxels), and which voxels have any.

    >>> ternary_shares(np.array([[0.3, -0.1], [0.1, 0.0], [0.0, -0.2]]))[0][0].round(2)
    array([0.75, 0.25, 0.  ])
    """
    positive = np.clip(np.nan_to_num(np.asarray(unique, dtype=float)), 0, None)
    total = positive.sum(0)
    return (positive / np.where(total > 0, total, 1)).T, total > 0


def band_colours(unique: np.ndarray, top: float | None = None) -> np.ndarray:
    """Return red, green and blue (n_voxels, 3) of three unique variances (3, n_voxels).

    Parameters
    ----------
    unique : array (3, n_voxels)
        NaN gives NaN.
    top : float, optional
        Unique variance of full brightness; by default the 95th percentile of each voxel's largest.
    """
    values = np.asarray(unique, dtype=float)
    if values.ndim != 2 or len(values) != 3:
        raise ShapeMismatch(f"expected the unique variance of three feature spaces (3, n_voxels), got {values.shape}.")
    largest = values.max(0)
    if top is None:
        finite = largest[np.isfinite(largest)]
        top = float(np.percentile(finite, 95)) if finite.size else 1.0
    return np.clip(values / (top if top > 0 else 1.0), 0, 1).T


def rgb_surface_map(
    left: np.ndarray,
    right: np.ndarray,
    names: Sequence[str],
    *,
    views: Sequence[str] = ("lateral", "medial", "ventral", "posterior"),
    columns: int = 4,
    width: float = 9.6,
) -> Figure:
    """Draw colours on the inflated fsaverage5 hemispheres: one feature space each in red, green and blue.

    Parameters
    ----------
    left, right : arrays (10242, 3)
        Red, green and blue of the vertices, 0 to 1; NaN where there are none.
    names : list of three str
        Feature spaces shown in red, green and blue.
    views : list of "lateral", "medial", "ventral", "posterior"
    columns : 4 or 2
        4: a row per hemisphere. 2: a row per view, left beside right (narrow pages).
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    from matplotlib.patches import Patch

    from neuro.plotting.surface import SIDES, draw_hemisphere

    colours = [np.asarray(side, dtype=float) for side in (left, right)]
    if any(c.shape != (FSAVERAGE5, 3) for c in colours):
        raise ShapeMismatch(f"expected (10242, 3) per hemisphere, got {colours[0].shape} and {colours[1].shape}.")
    wide = columns > 2
    cells = [(s, v) for s in (0, 1) for v in views] if wide else [(s, v) for v in views for s in (0, 1)]
    rows, across = (2, len(views)) if wide else (len(views), 2)
    figure = new_figure(width, rows * 0.75 * width / across + 0.4, dense=True)
    axes = figure.subplots(rows, across, squeeze=False).ravel()
    hemispheres = load_fsaverage5()
    for ax, (side, view) in zip(axes, cells, strict=True):
        hemi = hemispheres[side]
        grey = 0.80 - 0.16 * np.clip(hemi.sulc / 0.6, -1, 1)
        shades = np.column_stack([grey, grey, grey, np.ones_like(grey)])
        known = np.isfinite(colours[side]).all(1)
        shades[known, :3] = np.clip(colours[side][known], 0, 1)
        draw_hemisphere(ax, hemi, SIDES[side], view, shades)
        ax.set_title(f"{SIDES[side]}, {view}", fontsize=SMALL, color=INK, pad=0)
    handles = [Patch(color=c, label=n) for n, c in zip(names, ("#ff0000", "#00ff00", "#0000ff"), strict=True)]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, fontsize=SMALL + 0.5)
    return figure


def _spaces(unique: Mapping[str, np.ndarray], n: int) -> tuple[list[str], np.ndarray]:
    arrays = [np.asarray(v, dtype=float) for v in unique.values()]
    if len(arrays) != n or any(a.shape != arrays[0].shape or a.ndim != 1 for a in arrays):
        shapes = {k: np.shape(v) for k, v in unique.items()}
        raise ShapeMismatch(f"expected {n} feature spaces, each (n_voxels,), got {shapes}.")
    return list(unique), np.stack(arrays)


def _panels(groups: Mapping[str, np.ndarray] | None, values: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    n = values.shape[1]
    panels = {k: np.asarray(v, bool) for k, v in (groups or {"": np.ones(n, bool)}).items()}
    for name, mask in panels.items():
        if mask.shape != (n,):
            raise ShapeMismatch(f"the mask of {name!r} must have one entry per voxel ({n:,}), got shape {mask.shape}.")
    good = np.asarray(np.isfinite(values).all(axis=0))
    if not good.any():
        raise EmptySelection("no voxel has a value for every feature space.")
    return panels, good


def _square_panels(n: int, columns: int, width: float) -> tuple[Figure, list[Any]]:
    if n == 1:
        figure = new_figure(min(width, 4.4), min(width, 4.4))
        return figure, [figure.subplots()]
    return panel_grid(n, columns, width, 0.95 * min(3.2, width / min(columns, n)), 0.2)


def _mean(ax: Any, point: np.ndarray) -> None:
    ax.plot(*point, "D", color=INK, markersize=6, markeredgecolor="white", markeredgewidth=1.0, label="mean", zorder=4)


def _dots(ax: Any, points: np.ndarray, everyone: np.ndarray, own: np.ndarray, colour: Any) -> None:
    """Draw all voxels pale and those of the panel in colour; many are thinned out evenly."""
    for mask, first in ((everyone & ~own, True), (own, False)):
        at = np.flatnonzero(mask)
        at = at[:: max(1, -(-len(at) // MOST))]
        shade = PALE if first else colour[at] if isinstance(colour, np.ndarray) else colour
        ax.scatter(
            *points[:, at],
            s=4 if first else 7,
            c=shade,
            alpha=0.35 if first else 0.55,
            linewidths=0,
            zorder=1 + (not first),
        )
