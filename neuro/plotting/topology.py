"""Topological RSA in pictures: the triangle of thresholds, the transforms themselves, and representations as graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neuro.plotting.style import BASE, INK, LARGE, PALE, PALETTE, SMALL, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_EDGES = 20_000


def lu_triangle(
    cells: pd.DataFrame,
    value: str = "accuracy_euclidean",
    *,
    chosen: pd.DataFrame | None = None,
    chance: float | None = None,
    families: bool = True,
    label: str = "identification accuracy",
    cmap: str = "viridis",
    vmin: float | None = None,
    vmax: float | None = None,
    width: float = 5.6,
) -> Figure:
    """Draw a value for every pair of thresholds l < u, with the best cell, the chosen ones and the families marked.

    Parameters
    ----------
    cells : DataFrame with columns "l", "u" and ``value``
        On a regular grid, as ``rgtm_grid(...).to_frame()``.
    value : str
    chosen : DataFrame with columns "l" and "u", optional
        One row per choice (e.g. per held-out subject); a dot grows with the number of equal choices.
    chance : float, optional
        Marked on the colour bar.
    families : bool
        Draw the borders of the local, global, geometry and topology sensitive families.
    label, cmap, vmin, vmax, width
        As in :func:`~neuro.plotting.layer_roi_heatmap`.

    Returns
    -------
    matplotlib Figure
    """
    missing = {"l", "u", value} - set(cells.columns)
    if missing:
        raise ValueError(f"cells needs columns 'l', 'u' and {value!r}, has {list(cells.columns)}.")
    l, u, values = (cells[c].to_numpy(dtype=float) for c in ("l", "u", value))
    levels = np.unique(np.round(np.concatenate([l, u]), 9))
    step = float(np.diff(levels).min())
    n = round((levels[-1] - levels[0]) / step) + 1
    image = np.full((n, n), np.nan)
    image[np.round((u - levels[0]) / step).astype(int), np.round((l - levels[0]) / step).astype(int)] = values
    figure = new_figure(width, 0.86 * width)
    ax = figure.subplots()
    low, high = levels[0] - step / 2, levels[-1] + step / 2
    shown = ax.imshow(
        np.ma.masked_invalid(image), origin="lower", extent=(low, high, low, high), cmap=cmap, vmin=vmin, vmax=vmax
    )
    tidy(ax, xlabel="lower threshold l", ylabel="upper threshold u")
    ax.set(xlim=(low, high), ylim=(low, high))
    ticks = np.linspace(0, 1, 6)
    ax.set_xticks(ticks)
    ax.set_yticks(ticks)
    if families:
        _family_borders(ax, step)
    if np.isfinite(values).any():
        from matplotlib.patches import Rectangle

        best = _best(l, u, values)
        for edge, thick in (("white", 3.0), ("#111111", 1.4)):
            corner = (l[best] - step / 2, u[best] - step / 2)
            ax.add_patch(Rectangle(corner, step, step, fill=False, edgecolor=edge, linewidth=thick, zorder=4))
    if chosen is not None:
        counts = chosen.groupby(["l", "u"]).size().reset_index(name="n")
        ax.scatter(
            counts["l"],
            counts["u"],
            s=14 + 10 * counts["n"],
            color="#D55E00",
            edgecolor="white",
            linewidth=0.9,
            zorder=5,
        )
    _triangle_key(ax, chosen is not None)
    bar = figure.colorbar(shown, ax=ax, fraction=0.045, pad=0.03, aspect=22)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL, length=2)
    bar.set_label(label, fontsize=BASE, color=INK)
    bottom, top = shown.get_clim()
    if chance is not None and bottom is not None and top is not None and bottom <= chance <= top:
        bar.ax.axhline(chance, color="white", linewidth=2.4)
        bar.ax.axhline(chance, color=INK, linewidth=1.2)
        bar.ax.text(-0.25, chance, "chance", fontsize=SMALL, color=INK, ha="right", va="center")
    return figure


def transform_curves(
    thresholds: Sequence[tuple[float, float]] | Mapping[str, tuple[float, float]],
    *,
    sigmoid: tuple[float, float] | None = None,
    xlabel: str = "dissimilarity (rank, 0-1)",
    width: float = 4.6,
) -> Figure:
    """Draw what geo-topological transforms do to ranked dissimilarities: clip((rho - l) / (u - l), 0, 1).

    Parameters
    ----------
    thresholds : sequence of (l, u), or mapping name -> (l, u)
        l = u is drawn as a step.
    sigmoid : (alpha, beta), optional
        Adds 1 / (1 + exp(-alpha (rho - beta))).
    xlabel : str
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    named = thresholds if isinstance(thresholds, Mapping) else {_lu_name(l, u): (l, u) for l, u in thresholds}
    for name, (l, u) in named.items():
        if not 0 <= l <= u <= 1:
            raise ValueError(f"{name}: thresholds must obey 0 <= l <= u <= 1, got l={l!r}, u={u!r}.")
    figure = new_figure(width, 0.8 * width)
    ax = tidy(figure.subplots(), xlabel=xlabel, ylabel="transformed dissimilarity")
    dashes = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
    for k, (name, (l, u)) in enumerate(named.items()):
        style = {"color": PALETTE[k % len(PALETTE)], "linestyle": dashes[(k // len(PALETTE)) % len(dashes)]}
        ax.plot([0, l, u, 1], [0, 0, 1, 1], linewidth=1.8, label=name, **style)
    if sigmoid is not None:
        alpha, beta = sigmoid
        rho = np.linspace(0, 1, 201)
        curve = 1 / (1 + np.exp(-alpha * (rho - beta)))
        ax.plot(
            rho, curve, color="#6b6b6b", linestyle=(0, (4, 2)), linewidth=1.6, label=f"sigmoid ({alpha:g}, {beta:g})"
        )
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.04, 1.04))
    ax.legend(frameon=False, fontsize=SMALL, loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=2.2)
    return figure


def representation_graph(
    rdm: Any,
    l: float = 0.0,
    u: float = 0.075,
    *,
    labels: Sequence[str] | None = None,
    groups: Sequence[Any] | None = None,
    colours: Mapping[Any, str] | None = None,
    layout: np.ndarray | None = None,
    title: str | None = None,
    width: float = 5.2,
) -> Figure:
    """Draw a representation as a graph: stimuli as dots on a two-dimensional map, short dissimilarities as edges.

    Parameters
    ----------
    rdm : array (n, n) or (n_pairs,)
        Dissimilarities, finite.
    l, u : float, 0 <= l < u <= 1
        Quantiles: pairs up to l have the strongest edges, pairs from u on none.
    labels : sequence of str, optional
        Written next to the dots.
    groups : sequence, optional
        One per stimulus: gives the dots colours and the figure a legend.
    colours : mapping group -> colour, optional
    layout : array (n, 2), optional
        Where the dots are; multidimensional scaling of ``rdm`` (least squares of distances) by default.
    title : str, optional
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    from matplotlib.collections import LineCollection
    from scipy.spatial.distance import squareform
    from scipy.stats import rankdata

    rdm = np.asarray(rdm, dtype=float)
    d = squareform(rdm, checks=False) if rdm.ndim == 2 else rdm
    if rdm.ndim not in (1, 2) or not np.isfinite(d).all():
        raise ValueError(f"rdm must be finite, (n, n) or (n_pairs,), got shape {rdm.shape}.")
    if not 0 <= l < u <= 1:
        raise ValueError(f"edges need 0 <= l < u <= 1, got l={l!r}, u={u!r}.")
    n = (1 + int(np.sqrt(1 + 8 * len(d)))) // 2
    for name, given in (("labels", labels), ("groups", groups), ("layout", layout)):
        if given is not None and len(given) != n:
            raise ValueError(f"{name} must have one entry for each of {n} stimuli, got {len(given)}.")
    xy = mds_layout(d) if layout is None else np.asarray(layout, dtype=float)
    top = float(np.abs(d).max())
    rho = rankdata(
        np.round(d / top, 10) if top > 0 else d
    )  # symmetric arrangements have ties that rounding would break
    low, high = np.quantile(rho, [l, u])
    strength = 1 - np.clip((rho - low) / (high - low if high > low else 1.0), 0, 1)
    order = np.argsort(strength, kind="stable")
    order = order[strength[order] > 0][-MAX_EDGES:]  # the strongest on top
    i, j = np.triu_indices(n, 1)
    figure = new_figure(width, 0.92 * width + (0.3 if title else 0))
    ax = figure.subplots()
    ink = np.zeros((len(order), 4))
    ink[:, :3], ink[:, 3] = 0.25, 0.12 + 0.68 * strength[order]
    ends = np.stack([xy[i[order]], xy[j[order]]], axis=1)
    ax.add_collection(LineCollection(list(ends), colors=ink, linewidths=0.4 + 1.2 * strength[order], zorder=1))
    size = float(np.clip(2600 / n, 10, 70))
    if groups is None:
        ax.scatter(*xy.T, s=size, color=PALETTE[0], edgecolor="white", linewidth=0.6, zorder=3)
    else:
        names = list(dict.fromkeys(groups))
        palette = dict(colours or {k: PALETTE[m % len(PALETTE)] for m, k in enumerate(names)})
        markers = "osD^vP"
        for m, name in enumerate(names):
            mine = np.array([g == name for g in groups])
            marker = "o" if colours else markers[(m // len(PALETTE)) % len(markers)]
            look = {"color": palette.get(name, PALE), "marker": marker, "label": str(name)}
            ax.scatter(*xy[mine].T, s=size, edgecolor="white", linewidth=0.6, zorder=3, **look)
        figure.legend(frameon=False, fontsize=SMALL, loc="outside lower center", ncols=min(len(names), 4))
    if labels is not None:
        away = xy - xy.mean(0)  # labels stand outside of their dots
        away *= (2 + np.sqrt(size) / 2) / np.maximum(np.hypot(*away.T), 1e-12)[:, None]
        for text, place, (dx, dy) in zip(labels, xy, away, strict=True):
            side = {"ha": "left" if dx >= 0 else "right", "va": "bottom" if dy >= 0 else "top"}
            look = {"fontsize": SMALL - 1, "color": INK, "zorder": 4, **side}
            ax.annotate(str(text), place, (dx, dy), textcoords="offset points", **look)
    ax.margins(0.06)
    ax.set_aspect("equal")
    ax.axis("off")
    if title:
        ax.set_title(title, fontsize=LARGE, loc="left", color=INK)
    return figure


def mds_layout(d: np.ndarray, n_iterations: int = 200) -> np.ndarray:
    """Two-dimensional positions (n, 2) whose distances come close to ``d`` (n_pairs,) in least squares.

    Stress majorisation (Guttman transforms) from the classical solution, so the same every time.
    """
    from scipy.spatial.distance import squareform

    target = squareform(np.asarray(d, dtype=float) - min(0.0, float(np.min(d))))
    n = len(target)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-0.5 * centre @ target**2 @ centre)
    xy = np.zeros((n, 2))
    keep = min(2, n)
    xy[:, :keep] = (vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0)))[:, :keep]
    xy *= np.where(xy.sum(0) < 0, -1.0, 1.0)  # eigenvectors have no sign
    for _ in range(n_iterations):
        distance = np.sqrt(((xy[:, None] - xy[None]) ** 2).sum(2))
        ratio = np.divide(target, distance, out=np.zeros_like(target), where=distance > 1e-12)
        moved = (ratio.sum(1)[:, None] * xy - ratio @ xy) / n
        if np.abs(moved - xy).max() <= 1e-6 * np.abs(xy).max():
            break
        xy = moved
    return xy


def _family_borders(ax: Axes, step: float) -> None:
    """Lines between families, and their names in the empty half or inside."""
    e = step / 2
    line = {"color": "white", "linewidth": 3.0, "zorder": 2, "solid_capstyle": "butt"}
    ink = {"color": "#222222", "linewidth": 1.1, "zorder": 3, "linestyle": (0, (3, 1.5))}
    paths = [
        ([-e, 0.2 + e], [0.4 + 2 * e, 0.2 + e]),  # local: l + u <= 0.4
        ([0.6 - 2 * e, 0.8 - e], [1 + e, 0.8 - e]),  # global: l + u >= 1.6
        ([-e, 0.2 + e], [0.8 - e, 1 + e]),  # geometry: u - l >= 0.8
        ([0.4 - e, 0.4 - e, 0.6 - e], [0.4 + e, 0.6 + e, 0.6 + e]),  # topology: 0.4 <= l, u <= 0.6
    ]
    for x, y in paths:
        ax.plot(x, y, **{**line, "linewidth": 2.2, "alpha": 0.7})
        ax.plot(x, y, **ink)
    for name, tip, text in (
        ("local", (0.14, 0.16), (0.30, 0.08)),
        ("topology", (0.51, 0.53), (0.62, 0.40)),
        ("global", (0.87, 0.89), (0.86, 0.68)),
        ("geometry", (0.05, 0.97), (0.05, 1.10)),
    ):
        arrow = {"arrowstyle": "-", "color": "#555555", "linewidth": 0.8, "shrinkA": 1, "shrinkB": 0}
        ax.annotate(
            name, tip, text, fontsize=SMALL, color=INK, ha="left", va="center", arrowprops=arrow, annotation_clip=False
        )


def _triangle_key(ax: Axes, chosen: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(facecolor="none", edgecolor="#111111", linewidth=1.4, label="best cell (optimistic)")]
    if chosen:
        dot = {"marker": "o", "markersize": 6, "color": "#D55E00", "markeredgecolor": "white", "linestyle": ""}
        handles.append(Line2D([], [], label="chosen, nested", **dot))
    ax.legend(handles=handles, frameon=False, fontsize=SMALL, loc="lower right", borderaxespad=0.1)


def _best(l: np.ndarray, u: np.ndarray, values: np.ndarray) -> int:
    """Largest value; of equal ones the widest (l, u), then the lowest."""
    filled = np.where(np.isfinite(values), np.round(values, 12), -np.inf)
    return int(np.lexsort((l, -np.round(u - l, 9), -filled))[0])


def _lu_name(l: float, u: float) -> str:
    return f"l = {l:g}, u = {u:g}"
