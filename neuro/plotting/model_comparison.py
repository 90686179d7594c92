"""How well does each model predict the measured geometry, and could it have done better?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neuro.errors import EmptySelection
from neuro.plotting.style import (
    INK,
    PALETTE,
    SMALL,
    data_limits,
    fit,
    legible_ticks,
    model_styles,
    new_figure,
    short_names,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CEILING = "#c9c9c9"


def model_bars(
    table: pd.DataFrame,
    *,
    ceiling: tuple[float, float] | None = None,
    individuals: pd.DataFrame | None = None,
    pairs: pd.DataFrame | None = None,
    alpha: float = 0.05,
    sort: bool = True,
    ylabel: str = "RDM similarity",
    width: float | None = None,
) -> Figure:
    """Draw a bar per model with its standard error, the noise ceiling as a grey band, and what differs from what.

    Stars stand below models that predict better than chance (``q`` below ``alpha``). Above the bars, one line per
    model: a filled dot at the model, open dots at those that it exceeds significantly.

    Parameters
    ----------
    table : DataFrame
        Columns ``model, score, sem`` and, for stars, ``q`` (corrected p against 0 or chance).
    ceiling : (lower, upper), optional
    individuals : DataFrame, optional
        Columns ``model, subject, score``: small dots.
    pairs : DataFrame, optional
        Columns ``model_a, model_b, difference, q``: tests of score_a - score_b.
    alpha : float
    sort : bool
        Best model first.
    ylabel : str
    width : float, optional
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    if not len(table):
        raise EmptySelection("no model to draw: the table has no rows.")
    if sort:
        table = table.sort_values("score", ascending=False, kind="stable")
    names = [str(m) for m in table["model"]]
    score, sem = table["score"].to_numpy(float), table["sem"].to_numpy(float)
    lines = [] if pairs is None else _comparisons(pairs, names, alpha)
    width = width or float(np.clip(1.6 + 0.62 * len(names), 4.0, 9.6))
    figure = new_figure(width, 3.3 + 0.13 * len(lines))
    ax = figure.subplots()
    x = np.arange(len(names))
    if ceiling is not None and np.isfinite(ceiling).all():
        ax.axhspan(*ceiling, color=CEILING, linewidth=0, zorder=0, label="noise ceiling")
    ax.bar(x, score, 0.7, color=PALETTE[0], zorder=2)
    ax.errorbar(x, score, np.nan_to_num(sem), fmt="none", ecolor=INK, elinewidth=1.2, zorder=4)
    if individuals is not None:
        for k, name in enumerate(names):
            own = individuals.loc[individuals["model"].astype(str) == name, "score"].to_numpy(float)
            spread = np.linspace(-0.22, 0.22, len(own)) if len(own) > 1 else np.zeros(len(own))
            ax.scatter(k + spread, own, s=9, color="white", edgecolor="#333333", linewidth=0.7, zorder=3)
    ax.axhline(0, color=INK, linewidth=0.8, zorder=2)
    values = [score - np.nan_to_num(sem), score + np.nan_to_num(sem), [] if ceiling is None else ceiling]
    low, high = data_limits(*values, [] if individuals is None else individuals["score"], include=[0.0])
    step = 0.045 * (high - low)
    if "q" in table:
        for k, q in enumerate(table["q"].to_numpy(float)):
            if q < alpha:
                ax.text(k, low - 1.3 * step, "*", ha="center", va="center", fontsize=12, color=INK)
        low -= 2.2 * step
    for row, (winner, beaten) in enumerate(lines):
        y = high + (row + 0.5) * step
        ends = [winner, *beaten]
        ax.plot([min(ends), max(ends)], [y, y], color="#555555", linewidth=0.9)
        ax.plot(beaten, np.full(len(beaten), y), "o", color="#555555", markerfacecolor="white", markersize=3.6)
        ax.plot([winner], [y], "o", color="#111111", markersize=4.2)
    ax.set_ylim(low, high + (len(lines) + 0.6) * step)
    shown = [fit(n, 1.6) for n in short_names(names, limit=24)]
    ax.set_xticks(x, shown, rotation=45, ha="right", rotation_mode="anchor", fontsize=SMALL)
    tidy(ax, ylabel=ylabel)
    if ceiling is not None and np.isfinite(ceiling).all():
        ax.legend(frameon=False, fontsize=SMALL, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1)
    return figure


def layer_curves(
    table: pd.DataFrame,
    layers: Sequence[str],
    *,
    ceilings: Mapping[str, tuple[float, float]] | None = None,
    by: str = "transform",
    panel: str | None = None,
    ylabel: str = "RDM similarity",
    width: float = 9.6,
) -> Figure:
    """Draw similarity to the measured RDMs layer by layer with bootstrap intervals, one line per transform or model.

    Parameters
    ----------
    table : DataFrame
        Columns ``layer, score, ci_low, ci_high`` and those named by ``by`` and ``panel``.
    layers : sequence of str
        From input to output.
    ceilings : dict line -> (lower, upper), optional
        Noise ceilings, pale bands in the colours of their lines; with panels, the keys are (panel, line).
    by : str
        Column that makes lines.
    panel : str, optional
        Column that makes panels.
    ylabel : str
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    panels = [None] if panel is None else list(dict.fromkeys(table[panel]))
    lines = list(dict.fromkeys(table[by]))
    styles = model_styles([str(line) for line in lines])
    figure = new_figure(width, 3.4)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    x, names = np.arange(len(layers)), short_names(list(layers))
    for ax, value in zip(axes, panels, strict=True):
        shown = table if panel is None else table[table[panel] == value]
        tidy(ax, title=None if value is None else fit(str(value), width / len(panels)))
        ax.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        for line in lines:
            rows = shown[shown[by] == line].set_index("layer").reindex(layers)
            style: dict[str, Any] = styles[str(line)]
            ax.plot(x, rows["score"], color=style["color"], marker="o", markersize=3.4, label=str(line), zorder=3)
            if {"ci_low", "ci_high"} <= set(rows):
                low, high = rows["ci_low"].to_numpy(float), rows["ci_high"].to_numpy(float)
                ax.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)
            key = line if panel is None else (value, line)
            band = (ceilings or {}).get(key)  # type: ignore[arg-type]
            if band is not None and np.isfinite(band).all():
                ax.axhspan(*band, color=style["color"], alpha=0.10, linewidth=0, zorder=0)
        ticks = legible_ticks(len(layers), 0.85 * width / len(panels))
        ax.set_xticks(ticks, [names[k] for k in ticks], rotation=45, ha="right", rotation_mode="anchor", fontsize=SMALL)
    axes[0].set_ylabel(ylabel, fontsize=SMALL + 1, color=INK)
    handles, labels = axes[0].get_legend_handles_labels()
    if len(lines) > 1:
        figure.legend(handles, labels, loc="outside upper left", ncols=len(lines), frameon=False, fontsize=SMALL + 0.5)
    return figure


def _comparisons(pairs: pd.DataFrame, names: list[str], alpha: float) -> list[tuple[int, list[int]]]:
    """For each model, in the order of the bars, those it beats significantly."""
    place = {name: k for k, name in enumerate(names)}
    beaten: dict[int, list[int]] = {}
    for row in pairs.itertuples(index=False):
        a, b = place.get(str(row.model_a)), place.get(str(row.model_b))
        if a is None or b is None or not row.q < alpha:
            continue
        winner, loser = (a, b) if row.difference > 0 else (b, a)
        beaten.setdefault(winner, []).append(loser)
    return [(k, sorted(beaten[k])) for k in sorted(beaten)]
