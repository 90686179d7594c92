"""What the averages hide: scores of single voxels, against controls and against what noise allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from neuro._check import check_option
from neuro.errors import ShapeMismatch
from neuro.plotting.style import (
    INK,
    PALETTE,
    SMALL,
    data_limits,
    fit,
    model_styles,
    new_figure,
    panel_grid,
    shared_labels,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def voxel_histograms(
    scores: Mapping[str, Mapping[str, np.ndarray]],
    *,
    kinds: Mapping[str, str] | None = None,
    xlabel: str = "Pearson r",
    bins: int = 30,
    columns: int = 4,
    width: float = 9.6,
    noun: str = "voxels",
) -> Figure:
    """Draw the distribution of voxel scores per region: trained models filled, controls as outlines, medians as ticks.

    Parameters
    ----------
    scores : dict region -> dict model -> array (n_voxels,)
        Non-finite values are left out.
    kinds : dict model -> "pretrained", "untrained" or "control", optional
    xlabel : str
        Name and unit of the scores.
    bins : int
        Bins over the range of all values; the same for all panels.
    columns : int
        Panels in a row.
    width : float
        Inches.
    noun : str
        What is counted, for the axis.

    Returns
    -------
    matplotlib Figure
    """
    models = list(dict.fromkeys(m for cell in scores.values() for m in cell))
    kinds = {m: (kinds or {}).get(m, "pretrained") for m in models}
    styles = model_styles(kinds)
    low, high = data_limits(*[v for cell in scores.values() for v in cell.values()], pad=0.0, include=[0.0])
    edges = np.linspace(low, high, bins + 1)
    figure, axes = panel_grid(len(scores), columns, width, 1.35, 0.6)
    handles = {}
    shared_labels(figure, xlabel, f"share of {noun}")
    for ax, (roi, cell) in zip(axes, scores.items(), strict=True):
        n = max((int(np.isfinite(np.asarray(v)).sum()) for v in cell.values()), default=0)
        tidy(ax, title=f"{fit(roi, 0.85 * width / min(columns, len(axes)) - 0.7)}, n = {n:,}")
        ax.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        for model, values in cell.items():
            values = np.asarray(values, dtype=float)
            values = values[np.isfinite(values)]
            if not values.size:
                continue
            share = np.histogram(values, edges)[0] / values.size
            colour, main = styles[model]["color"], kinds[model] == "pretrained"
            if main:
                ax.stairs(share, edges, fill=True, color=colour, alpha=0.35, linewidth=0)
            drawn = ax.stairs(
                share, edges, color=colour, linewidth=1.2, linestyle=styles[model]["linestyle"], label=model
            )
            handles.setdefault(model, drawn)
            ax.plot(
                [np.median(values)], [0.97], transform=ax.get_xaxis_transform(), color=colour, marker="v", markersize=5
            )
    axes[0].set_ylim(0, axes[0].get_ylim()[1] * 1.12)
    axes[0].set_xlim(low, high)
    if len(handles) > 1:
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside upper left",
            ncols=max(1, int(figure.get_figwidth() / 1.7)),
            frameon=False,
            fontsize=SMALL + 0.5,
        )
    return figure


def noise_ceiling_scatter(
    score: np.ndarray,
    ceiling: np.ndarray,
    *,
    groups: Mapping[str, np.ndarray] | None = None,
    score_kind: str = "r",
    max_points: int = 1500,
    columns: int = 4,
    width: float = 9.6,
) -> Figure:
    """Draw each voxel's explained variance against its noise ceiling, with the identity line.

    A correlation enters squared with its sign kept, so that voxels predicted worse than chance lie below zero. A voxel
    on the identity line is predicted as well as its noise allows. Each panel states the explained share of the
    explainable variance: the sum over voxels of the one over that of the other.

    Parameters
    ----------
    score : array (n_voxels,)
        Test-set correlations, or shares of variance (see ``score_kind``).
    ceiling : array (n_voxels,)
        Noise ceiling as a share of variance, 0-1.
    groups : dict name -> bool mask (n_voxels,), optional
        One panel each; without it one panel with all voxels.
    score_kind : "r" or "variance"
    max_points : int
        Panels with more voxels show their density in hexagons instead of points.
    columns : int
        Panels in a row.
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    check_option("score_kind", score_kind, ["r", "variance"])
    score, ceiling = np.asarray(score, dtype=float), np.asarray(ceiling, dtype=float)
    if score.shape != ceiling.shape or score.ndim != 1:
        raise ShapeMismatch(f"score and ceiling must both be (n_voxels,), got {score.shape} and {ceiling.shape}.")
    explained = score * np.abs(score) if score_kind == "r" else score
    panels = dict(groups) if groups else {"": np.ones(len(score), bool)}
    good = np.isfinite(explained) & np.isfinite(ceiling)
    low, high = data_limits(explained[good], ceiling[good], pad=0.04, include=[0.0])
    if len(panels) == 1:
        figure = new_figure(min(width, 4.4), min(width, 4.4))
        axes = [figure.subplots()]
    else:
        side = min(3.2, width / min(columns, len(panels)))
        figure, axes = panel_grid(len(panels), columns, width, 0.95 * side, 0.2)
    ylabel = "explained variance" if score_kind == "variance" else "explained variance (r²)"
    shared_labels(figure, "noise ceiling (share of variance)", ylabel)
    for ax, (name, mask) in zip(axes, panels.items(), strict=True):
        here = np.asarray(mask, bool) & good
        x, y = ceiling[here], explained[here]
        tidy(ax, title=fit(name, 0.85 * width / min(columns, len(axes))) or None)
        ax.plot([low, high], [low, high], color=INK, linewidth=1.0, linestyle=(0, (4, 2)), label="identity", zorder=3)
        ax.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        if len(x) > max_points:
            ax.hexbin(x, y, gridsize=40, mincnt=1, bins="log", cmap="Blues", extent=(low, high, low, high), zorder=2)
        else:
            ax.scatter(x, y, s=7, color=PALETTE[0], alpha=0.4, linewidths=0, zorder=2)
        total = float(x[x > 0].sum())
        if total > 0:
            share = float(y[x > 0].sum()) / total
            ax.text(0.04, 0.93, f"{share:.0%} of ceiling", transform=ax.transAxes, fontsize=SMALL, va="top", color=INK)
        ax.set_aspect("equal")
    axes[0].set_xlim(low, high)
    axes[0].set_ylim(low, high)
    return figure
