"""Which layer explains each region best, how well it does, and how well anything could."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neuro.plotting.style import BASE, INK, SMALL, data_limits, fit, model_styles, new_figure, short_names, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def best_layer_by_roi(
    table: pd.DataFrame,
    *,
    layers: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    rois: Sequence[str] | None = None,
    ceiling: Mapping[str, float] | None = None,
    individuals: pd.DataFrame | None = None,
    xlabel: str = "Pearson r",
    width: float = 9.6,
) -> Figure:
    """Draw one row per region: the best layer's score with its interval, and the noise ceiling as a tick.

    With one model, dots are coloured by the layer's depth and labelled with its name; with several, each model has its
    own colour and the layers are not written.

    Parameters
    ----------
    table : DataFrame
        Columns ``roi``, ``model``, ``layer``, ``score``, optionally ``ci_low`` and ``ci_high``; one row per region and
        model.
    layers : list of str, optional
        The model's layers from input to output, for the colours (one model only).
    models : list of str, optional
        Models shown, in order from top; all by default.
    kinds : dict model -> "pretrained", "untrained" or "control", optional
    rois : list of str, optional
        Rows from top; all regions of the table by default.
    ceiling : dict roi -> float, optional
        Noise ceiling in units of the score.
    individuals : DataFrame, optional
        Rows with ``roi``, ``model``, ``score`` (one per subject), drawn as small dots.
    xlabel : str
        Name and unit of the score.
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    from matplotlib.lines import Line2D

    rois = list(rois if rois is not None else dict.fromkeys(table["roi"]))
    models = list(models if models is not None else dict.fromkeys(table["model"]))
    single = len(models) == 1
    styles = model_styles({m: (kinds or {}).get(m, "pretrained") for m in models})
    shown = table[table["roi"].isin(rois) & table["model"].isin(models)]
    depth = list(layers if layers is not None else dict.fromkeys(shown["layer"])) if single else []
    names = dict(zip(depth, short_names(depth), strict=True))
    spread = 0.0 if single else 0.56
    step = 0.32 if single else max(0.32, 0.13 * len(models) + 0.1)
    figure = new_figure(width, len(rois) * step + 0.95)
    ax = tidy(figure.subplots(), xlabel=xlabel)
    offsets = np.linspace(-spread / 2, spread / 2, len(models)) if not single else [0.0]
    seen: list[str] = []
    for row, roi in enumerate(rois):
        if row % 2 == 0:
            ax.axhspan(row - 0.5, row + 0.5, color="#f4f4f4", linewidth=0, zorder=0)
        top = (ceiling or {}).get(roi, np.nan)
        if np.isfinite(top):
            ax.plot([top, top], [row - 0.38, row + 0.38], color=INK, linewidth=2.0, label="_ceiling", zorder=2)
        for offset, model in zip(offsets, models, strict=True):
            cell = shown[(shown["roi"] == roi) & (shown["model"] == model)]
            if cell.empty:
                continue
            best = cell.iloc[0]
            colour = _depth_colour(best["layer"], depth) if single else styles[model]["color"]
            y = row + offset
            if {"ci_low", "ci_high"} <= set(cell):
                ax.plot([best["ci_low"], best["ci_high"]], [y, y], color=colour, linewidth=2.2, alpha=0.55, zorder=3)
            if individuals is not None:
                own = individuals[(individuals["roi"] == roi) & (individuals["model"] == model)]["score"]
                ax.plot(own, np.full(len(own), y), ".", color=colour, markersize=3.5, alpha=0.7, zorder=3)
            label = model if model not in seen else None
            seen.append(model)
            ax.plot(
                [best["score"]],
                [y],
                color=colour,
                marker=styles[model]["marker"],
                markersize=8 if single else 5.5,
                markeredgecolor="white",
                markeredgewidth=0.8,
                linestyle="none",
                label=None if single else label,
                zorder=4,
            )
            if single and depth:
                k = depth.index(best["layer"]) if best["layer"] in depth else None
                text = str(best["layer"]) if k is None else f"{names[best['layer']]}  ({k + 1} of {len(depth)})"
                _write_beside(ax, best, top, y, text)
    ax.set_yticks(range(len(rois)), [fit(r, 0.3 * width) for r in rois], fontsize=BASE)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(rois) - 0.5, -0.5)
    columns = [shown[c] for c in ("score", "ci_low", "ci_high") if c in shown]
    low, high = data_limits(*columns, list((ceiling or {}).values()), include=[0.0])
    negative = any((c < 0).any() for c in columns)
    ax.set_xlim(low if negative else 0.0, high)
    ax.axvline(0, color="#888888", linewidth=0.8)
    handles, labels = ax.get_legend_handles_labels()
    if any(np.isfinite(v) for v in (ceiling or {}).values()):
        tick = Line2D([], [], color=INK, marker="|", markersize=10, markeredgewidth=2.0, linestyle="none")
        handles, labels = [*handles, tick], [*labels, "noise ceiling"]
    if labels:
        figure.legend(
            handles,
            labels,
            loc="outside upper left",
            ncols=max(1, int(figure.get_figwidth() / 1.7)),
            frameon=False,
            fontsize=SMALL + 0.5,
            handlelength=1.2,
        )
    return figure


def _write_beside(ax, best, ceiling, y, text):
    """Write the layer left of the interval where the row has room there, else right of all marks."""
    ends = [best["score"], best.get("ci_low", np.nan), best.get("ci_high", np.nan), ceiling]
    left = float(np.nanmin(ends[:3]))
    widest = float(np.nanmax(ends))
    on_left = left > 0.5 * widest
    ax.annotate(
        text,
        (left if on_left else widest, y),
        xytext=(-7 if on_left else 7, 0),
        textcoords="offset points",
        ha="right" if on_left else "left",
        va="center",
        fontsize=SMALL,
        color=INK,
        zorder=5,
    )


def depth_colours(n: int) -> np.ndarray:
    """RGBA of ``n`` layers from first (dark) to last (bright)."""
    from matplotlib import colormaps

    return colormaps["plasma"](np.linspace(0.0, 0.93, max(n, 1)))


def _depth_colour(layer, depth):
    return depth_colours(len(depth))[depth.index(layer)] if layer in depth else INK
