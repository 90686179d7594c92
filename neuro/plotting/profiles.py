"""Where along a network does each region's best description lie? Score against depth, one panel per region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neuro.plotting.style import (
    SMALL,
    data_limits,
    fit,
    legible_ticks,
    model_styles,
    panel_grid,
    shared_labels,
    short_names,
    tidy,
    top_legend,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CEILING = "#8a6d9e"


def layer_profile(
    table: pd.DataFrame,
    layers: Mapping[str, Sequence[str]],
    *,
    kinds: Mapping[str, str] | None = None,
    rois: Sequence[str] | None = None,
    ceiling: Mapping[str, Any] | None = None,
    individuals: pd.DataFrame | None = None,
    ylabel: str = "Pearson r",
    columns: int = 4,
    width: float = 9.6,
    by: str = "roi",
) -> Figure:
    """Draw the score of every layer in depth order, one line per model, one panel per region.

    Models with a single layer (Gabor energies, pixels) are horizontal lines. Where the networks have different
    layers, the axis is relative depth, 0 the first and 1 the last layer read.

    Parameters
    ----------
    table : DataFrame
        Columns ``roi``, ``model``, ``layer``, ``score`` and, for bands, ``ci_low`` and ``ci_high``; one row per
        combination.
    layers : dict model -> list of str
        Each model's layers from input to output. Models are drawn in this order.
    kinds : dict model -> "pretrained", "untrained" or "control", optional
        Decides colours and dashes.
    rois : list of str, optional
        Panels, in order; all regions of the table by default.
    ceiling : dict roi -> float or (low, high), optional
        Noise ceiling in the units of the score: a line, or a band where subjects differ.
    individuals : DataFrame, optional
        Further rows with a column ``subject``, drawn as thin lines.
    ylabel : str
        Name and unit of the score.
    columns : int
        Panels in a row.
    width : float
        Figure width in inches.
    by : "roi" or "model"
        "model" swaps the roles: one panel per model, one line per region (no ceilings).

    Returns
    -------
    matplotlib Figure
    """
    rois = list(rois if rois is not None else dict.fromkeys(table["roi"]))
    deep = {m: list(names) for m, names in layers.items() if len(names) > 1}
    named = len({tuple(v) for v in deep.values()}) <= 1
    ticks = short_names(next(iter(deep.values()))) if deep and named else []
    panels, lines = (rois, list(layers)) if by == "roi" else (list(deep), rois)
    styles = model_styles(kinds or lines) if by == "roi" else _roi_styles(rois)
    shown = table[table["model"].isin(list(layers)) & table["roi"].isin(rois)]
    ends = [b for v in (ceiling or {}).values() for b in np.atleast_1d(v)]
    bounds = [shown[c] for c in ("score", "ci_low", "ci_high") if c in shown]
    extra = 0.3 + (0.45 if ticks else 0.15)
    figure, axes = panel_grid(len(panels), columns, width, 1.55 if columns > 2 else 1.6, extra)
    for ax, panel in zip(axes, panels, strict=True):
        tidy(ax, title=fit(panel, 0.85 * width / max(1, min(columns, len(axes)))))
        ax.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        if by == "roi" and ceiling and panel in ceiling:
            _draw_ceiling(ax, ceiling[panel])
        for line in lines:
            roi, model = (panel, line) if by == "roi" else (line, panel)
            cell = shown[(shown["roi"] == roi) & (shown["model"] == model)].set_index("layer")
            names = [n for n in layers[model] if n in cell.index]
            if not names:
                continue
            x = _positions(layers[model], names, bool(ticks), len(ticks))
            if individuals is not None:
                own = individuals[(individuals["roi"] == roi) & (individuals["model"] == model)]
                for _, rows in own.groupby("subject", sort=False):
                    values = rows.set_index("layer")["score"].reindex(names).to_numpy(float)
                    _line(ax, x, values, styles[line], linewidth=0.7, alpha=0.45, end=len(ticks) - 1 if ticks else 1)
            band = cell.loc[names]
            end = len(ticks) - 1 if ticks else 1
            if {"ci_low", "ci_high"} <= set(band):
                low, high = band["ci_low"].to_numpy(float), band["ci_high"].to_numpy(float)
                if len(names) == 1:
                    ax.axhspan(low[0], high[0], color=styles[line]["color"], alpha=0.13, linewidth=0)
                else:
                    ax.fill_between(x, low, high, color=styles[line]["color"], alpha=0.22, linewidth=0)
            values = band["score"].to_numpy(float)
            _line(ax, x, values, styles[line], linewidth=1.8, end=end, label=line, marker=1 < len(names) <= 14)
    axes[0].set_ylim(*data_limits(*bounds, ends, include=[0.0]))
    shown_ticks = legible_ticks(len(ticks), 0.85 * width / max(1, min(columns, len(axes))))
    shared_labels(figure, None if ticks else "relative depth", ylabel)
    for ax in axes:
        if ticks:
            ax.set_xticks(
                shown_ticks,
                [ticks[i] for i in shown_ticks],
                rotation=45,
                ha="right",
                rotation_mode="anchor",
                fontsize=SMALL,
            )
    names = [*lines, "noise ceiling"]
    if len({line.get_label() for ax in axes for line in ax.get_lines()} & set(names)) > 1:
        top_legend(figure, axes, names)
    return figure


def _positions(layers: Sequence[str], names: Sequence[str], named: bool, n: int) -> np.ndarray:
    index = np.array([list(layers).index(name) for name in names], dtype=float)
    return index if named or len(layers) < 2 else index / (len(layers) - 1)


def _line(ax, x, values, style, *, linewidth, alpha=1.0, end=1, label=None, marker=False):
    if len(x) == 1:
        x, values = np.array([0.0, end]), np.repeat(values, 2)
    ax.plot(
        x,
        values,
        color=style["color"],
        linestyle=style["linestyle"] if label else "-",
        linewidth=linewidth,
        alpha=alpha,
        label=label,
        marker=style["marker"] if marker else None,
        markersize=3.2,
    )


def _draw_ceiling(ax, value):
    ends = np.atleast_1d(np.asarray(value, dtype=float))
    if not np.isfinite(ends).all():
        return
    ax.axhline(ends.mean(), color=CEILING, linewidth=1.2, linestyle=(0, (6, 2)), label="noise ceiling", zorder=1)
    if len(ends) == 2 and ends[1] > ends[0]:
        ax.axhspan(ends[0], ends[1], color=CEILING, alpha=0.18, linewidth=0, zorder=0)


def _roi_styles(rois):
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0.0, 0.88, len(rois)))
    return {r: {"color": c, "linestyle": "-", "marker": "o"} for r, c in zip(rois, colours, strict=True)}
