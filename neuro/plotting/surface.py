"""Inflated cortex: values on fsaverage5 from four sides, drawn as flat projections of the mesh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neuro._check import check_option
from neuro.errors import ShapeMismatch
from neuro.plotting.cortex import FSAVERAGE5, Hemisphere, load_fsaverage5
from neuro.plotting.style import BASE, INK, SMALL, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VIEWS = ("lateral", "medial", "ventral", "posterior")
SIDES = ("left", "right")


def surface_map(
    left: np.ndarray,
    right: np.ndarray,
    *,
    label: str = "",
    views: Sequence[str] = VIEWS,
    cmap: str = "viridis",
    vmin: float | None = None,
    vmax: float | None = None,
    categories: Sequence[str] | None = None,
    columns: int = 4,
    width: float = 9.6,
) -> Figure:
    """Draw values on the inflated fsaverage5 hemispheres.

    Colours of data are exactly those of the bar (no lighting on data); bare cortex is grey, sulci darker.

    Parameters
    ----------
    left, right : arrays (10242,)
        Values of the vertices, NaN where there are none (see :func:`neuro.plotting.to_fsaverage5`).
    label : str
        Name and unit of the values.
    views : list of "lateral", "medial", "ventral", "posterior"
    cmap : str
        Colour map.
    vmin, vmax : float, optional
        Ends of the colour scale. Without ``vmin`` it starts at 0, or lower where values are negative by more than 5 %
        of the largest; without ``vmax`` it ends at the 99.5th percentile.
    categories : list of str, optional
        The values are indices of these names (layers, say): discrete colours, rounded to the nearest.
    columns : 4 or 2
        4: a row per hemisphere. 2: a row per view, left beside right (narrow pages).
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize

    values = [np.asarray(side, dtype=float) for side in (left, right)]
    if any(v.shape != (FSAVERAGE5,) for v in values):
        raise ShapeMismatch(f"expected 10,242 values per hemisphere, got {values[0].shape} and {values[1].shape}.")
    for view in views:
        check_option("views", view, VIEWS)
    both = np.concatenate(values)
    if categories:
        from neuro.plotting.best_layer import depth_colours

        n = len(categories)
        norm, colours = BoundaryNorm(np.arange(n + 1) - 0.5, n), ListedColormap(depth_colours(n))
        values = [np.rint(v) for v in values]
    else:
        norm, colours = Normalize(*colour_limits(both, vmin, vmax), clip=True), colormaps[cmap]
    hemispheres = load_fsaverage5()
    wide = columns > 2
    spans = [_span(hemispheres[0], view) for view in views]
    scale = (width - (0.9 if wide else 0.1)) / (sum(s[0] for s in spans) if wide else 2 * max(s[0] for s in spans))
    heights = [max(s[1] for s in spans)] * 2 if wide else [s[1] for s in spans]
    title = 0.2
    cells = [(s, v) for s in (0, 1) for v in views] if wide else [(s, v) for v in views for s in (0, 1)]
    below = 0.05 if wide else 1.15 if categories else 0.75
    figure = new_figure(width, sum(h * scale + title for h in heights) + below, dense=True)
    axes = figure.subplots(
        len(heights),
        len(views) if wide else 2,
        squeeze=False,
        width_ratios=[s[0] for s in spans] if wide else None,
        height_ratios=[h * scale + title for h in heights],
    ).ravel()
    for ax, (side, view) in zip(axes, cells, strict=True):
        shades = vertex_colours(hemispheres[side], values[side], norm, colours)
        draw_hemisphere(ax, hemispheres[side], SIDES[side], view, shades)
        ax.set_title(f"{SIDES[side]}, {view}", fontsize=SMALL, color=INK, pad=0)
    placement = (
        {"location": "right", "fraction": 0.025, "pad": 0.01, "aspect": 28}
        if wide
        else {"location": "bottom", "fraction": 0.03, "pad": 0.01, "aspect": 35}
    )
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=list(axes), **placement)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL, length=2)
    bar.set_label(label, fontsize=BASE, color=INK)
    if categories:
        _name_ticks(bar, categories, wide)
    return figure


def colour_limits(values: np.ndarray, vmin: float | None = None, vmax: float | None = None) -> tuple[float, float]:
    """Ends of a colour scale: 0 (or the 0.5th percentile where clearly negative) to the 99.5th percentile."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0 if vmin is None else vmin, 1.0 if vmax is None else vmax
    low, high = np.percentile(finite, [0.5, 99.5])
    if vmax is None:
        vmax = float(high)
    if vmin is None:
        vmin = 0.0 if low > -0.05 * abs(high) else float(low)
    return vmin, vmax if vmax > vmin else vmin + 1e-6


def vertex_colours(hemi: Hemisphere, values: np.ndarray, norm, cmap) -> np.ndarray:
    """RGBA of every vertex, (n_vertices, 4): data through ``norm`` and ``cmap``, elsewhere grey by sulcal depth."""
    grey = 0.80 - 0.16 * np.clip(hemi.sulc / 0.6, -1, 1)
    out = np.column_stack([grey, grey, grey, np.ones_like(grey)])
    known = np.isfinite(values)
    out[known] = cmap(norm(values[known]))
    return out


def draw_hemisphere(ax, hemi: Hemisphere, side: str, view: str, colours: np.ndarray) -> None:
    """Draw one hemisphere seen from ``view`` as shaded triangles, far ones first."""
    from matplotlib.collections import TriMesh
    from matplotlib.tri import Triangulation

    look, up = _direction(side, view)
    right = np.cross(look, up)
    points = hemi.inflated @ np.column_stack([right, up, look])
    corners = points[hemi.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # (right, up, look) is left-handed, which turns the sign of the mesh's outward normals.
    order = np.flatnonzero(normal[:, 2] > 0)
    order = order[np.argsort(-corners[order, :, 2].mean(axis=1))]
    mesh = TriMesh(Triangulation(points[:, 0], points[:, 1], hemi.faces[order]))
    mesh.set_facecolor(colours)
    mesh.set_rasterized(True)
    ax.add_collection(mesh, autolim=False)
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    ax.set(xlim=(low[0] - 2, high[0] + 2), ylim=(low[1] - 2, high[1] + 2), aspect="equal")
    ax.set_axis_off()


def _span(hemi: Hemisphere, view: str) -> np.ndarray:
    """Width and height in mm of a view, so that all views keep one scale."""
    look, up = _direction("left", view)
    return np.ptp(hemi.inflated @ np.column_stack([np.cross(look, up), up]), axis=0) + 4


def _direction(side: str, view: str) -> tuple[np.ndarray, np.ndarray]:
    """Viewing direction and upward direction, RAS axes."""
    inward = np.array([1.0 if side == "left" else -1.0, 0.0, 0.0])
    superior, anterior = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
    # From below, the lateral edge is up: anterior then points as in the lateral view, and four views fill a row.
    return {
        "lateral": (inward, superior),
        "medial": (-inward, superior),
        "ventral": (superior, -inward),
        "posterior": (anterior, superior),
    }[view]


def _name_ticks(bar, names, vertical):
    from neuro.plotting.style import short_names

    n = len(names)
    step = max(1, n // (12 if vertical else 6))
    bar.set_ticks(list(range(0, n, step)), labels=short_names(names)[::step], fontsize=SMALL)
    bar.ax.tick_params(length=0)
    if vertical:
        bar.ax.invert_yaxis()
    else:
        for text in bar.ax.get_xticklabels():
            text.set(rotation=30, ha="right", rotation_mode="anchor")
