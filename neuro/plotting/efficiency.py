"""How many images does an encoder need? Score against the size of the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neuro.plotting.style import INK, SMALL, data_limits, fit, model_styles, panel_grid, shared_labels, tidy, top_legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def efficiency_curves(
    table: pd.DataFrame,
    *,
    models: Sequence[str] | None = None,
    rois: Sequence[str] | None = None,
    ceiling: Mapping[str, float] | None = None,
    ylabel: str = "Pearson r",
    columns: int = 4,
    width: float = 9.6,
) -> Figure:
    """Draw data-efficiency curves: one panel per region, one line per encoder, on a logarithmic axis of images.

    Parameters
    ----------
    table : DataFrame
        Columns ``roi``, ``model``, ``n_images``, ``score``, optionally ``ci_low`` and ``ci_high``.
    models : list of str, optional
        Lines; their colours are those of all models of a study if these are named in the same order.
    rois : list of str, optional
        Panels; all of the table by default.
    ceiling : dict roi -> float, optional
        Noise ceiling in units of the score.
    ylabel : str
        Name and unit of the score.
    columns : int
        Panels in a row.
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    models = list(models if models is not None else dict.fromkeys(table["model"]))
    rois = list(rois if rois is not None else dict.fromkeys(table["roi"]))
    styles = model_styles(models)
    shown = table[table["model"].isin(models) & table["roi"].isin(rois)]
    sizes = np.sort(shown["n_images"].unique())
    figure, axes = panel_grid(len(rois), columns, width, 1.6, 0.5)
    shared_labels(figure, "training images", ylabel)
    for ax, roi in zip(axes, rois, strict=True):
        tidy(ax, title=fit(roi, 0.85 * width / max(1, min(columns, len(axes)))))
        ax.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        top = (ceiling or {}).get(roi, np.nan)
        if np.isfinite(top):
            ax.axhline(top, color=INK, linewidth=1.2, linestyle=(0, (6, 2)), label="noise ceiling", zorder=1)
        for model in models:
            cell = shown[(shown["roi"] == roi) & (shown["model"] == model)].sort_values("n_images")
            if cell.empty:
                continue
            colour, x = styles[model]["color"], cell["n_images"].to_numpy(float)
            if {"ci_low", "ci_high"} <= set(cell):
                low, high = cell["ci_low"].to_numpy(float), cell["ci_high"].to_numpy(float)
                ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0, zorder=2)
            ax.plot(x, cell["score"], color=colour, marker="o", markersize=3.5, linewidth=1.6, label=model, zorder=3)
    axes[0].set_xscale("log")
    for ax in axes:
        ax.set_xticks(sizes, [f"{n:,}" for n in sizes], fontsize=SMALL)
        ax.minorticks_off()
    bounds = [shown[c] for c in ("score", "ci_low", "ci_high") if c in shown]
    axes[0].set_ylim(*data_limits(*bounds, list((ceiling or {}).values()), include=[0.0]))
    top_legend(figure, axes, [*models, "noise ceiling"])
    return figure
