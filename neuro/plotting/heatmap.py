"""All regions and all layers at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neuro.plotting.style import BASE, INK, SMALL, fit, legible_ticks, new_figure, short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def layer_roi_heatmap(
    scores: pd.DataFrame,
    *,
    label: str = "Pearson r",
    mark_best: bool = True,
    annotate: bool = True,
    cmap: str = "viridis",
    vmin: float | None = None,
    vmax: float | None = None,
    width: float = 9.6,
) -> Figure:
    """Draw a region x layer matrix, numbers in the cells, the best layer of each region framed.

    Parameters
    ----------
    scores : DataFrame (n_rois, n_layers)
        Index: regions from top. Columns: layers from input to output. NaN cells stay white.
    label : str
        Name and unit of the values.
    mark_best : bool
        Frame the largest value of each row.
    annotate : bool
        Write the values into the cells.
    cmap : str
        A sequential colour map.
    vmin, vmax : float, optional
        Ends of the colour scale; from the values by default.
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    values = scores.to_numpy(dtype=float)
    rows, columns = values.shape
    figure = new_figure(width, max(0.3 * rows, 1.4) + 1.15)
    ax = figure.subplots()
    image = ax.imshow(np.ma.masked_invalid(values), cmap=cmap, vmin=vmin, vmax=vmax, aspect="auto")
    names, shown = short_names(list(scores.columns)), legible_ticks(columns, 0.8 * width)
    ax.set_xticks(shown, [names[j] for j in shown], rotation=45, ha="right", rotation_mode="anchor", fontsize=SMALL)
    ax.set_yticks(range(rows), [fit(i, 0.3 * width) for i in scores.index], fontsize=BASE)
    ax.set_xlabel("layer, from input to output", fontsize=BASE, color=INK)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, colors=INK)
    ax.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.5)
    ax.tick_params(which="minor", length=0)
    if annotate and columns * 0.36 <= width:
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value):
                ax.text(j, i, _compact(value), ha="center", va="center", fontsize=SMALL - 0.5, color=_ink(image, value))
    if mark_best:
        from matplotlib.patches import Rectangle

        thick = min(1.6, 8.0 * width / columns)  # narrow cells keep some of their colour
        for i in np.flatnonzero(np.isfinite(values).any(axis=1)):
            j = int(np.nanargmax(values[i]))
            for edge, line in (("white", 2 * thick), ("#111111", thick)):
                ax.add_patch(Rectangle((j - 0.46, i - 0.44), 0.92, 0.88, fill=False, edgecolor=edge, linewidth=line))
    bar = figure.colorbar(image, ax=ax, fraction=0.03, pad=0.015, aspect=25)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL, length=2)
    bar.set_label(label, fontsize=BASE, color=INK)
    return figure


def _compact(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1)


def _ink(image, value):
    red, green, blue, _ = image.cmap(image.norm(value))
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else "#111111"
