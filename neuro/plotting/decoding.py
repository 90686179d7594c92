"""What was decoded: pictures beside the truth, ranks in a gallery, scores by region and by time, each with chance."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neuro.errors import ShapeMismatch
from neuro.plotting.style import BASE, INK, SMALL, data_limits, fit, model_styles, new_figure, tidy, top_legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHANCE = {"color": "#777777", "linestyle": (0, (4, 2)), "linewidth": 1.0}


def reconstruction_sheet(
    true: Sequence[np.ndarray],
    rows: Mapping[str, Sequence[np.ndarray]],
    *,
    groups: Sequence[str] | None = None,
    captions: Sequence[str] | None = None,
    columns: int = 8,
    width: float = 9.6,
) -> Figure:
    """Draw every true image above what was decoded from the responses to it.

    Parameters
    ----------
    true : list of n uint8 arrays (h, w, 3)
    rows : dict of name -> list of n uint8 arrays (h, w, 3)
        What stands below, from top: as {"reconstruction": ..., "low level": ...}.
    groups : list of n str, optional
        As "best", "median", "worst"; images of one group stand together and under its name.
    captions : list of n str, optional
        Below each column.
    columns : int
        Images side by side.
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    n = len(true)
    for name, images in rows.items():
        if len(images) != n:
            raise ShapeMismatch(f"{n} true images, but {len(images)} of {name!r}.")
    for what, given in (("groups", groups), ("captions", captions)):
        if given is not None and len(given) != n:
            raise ShapeMismatch(f"{n} true images, but {len(given)} {what}.")
    groups = list(groups) if groups is not None else [""] * n
    columns = max(1, min(columns, max(groups.count(g) for g in groups)))
    bands = _bands(groups, columns)
    margin = 0.9 if width > 6 else 0.6
    cell = (width - margin) / columns
    wrapped = [textwrap.wrap(str(c), max(6, int(cell / 0.072))) for c in captions or [""] * n]
    stack = {"true": true, **rows}
    heights = []
    for _, members in bands:
        heights += [cell] * len(stack) + [0.13 * max((len(wrapped[i]) for i in members), default=0) + 0.16]
    figure = new_figure(width, sum(heights) + 0.1, dense=True)
    grid = figure.add_gridspec(
        len(heights), columns + 1, height_ratios=heights, width_ratios=[margin, *[cell] * columns]
    )
    top = 0
    for group, members in bands:
        for k, (name, images) in enumerate(stack.items()):
            label = figure.add_subplot(grid[top + k, 0])
            label.set_axis_off()
            text = f"{group}\n{name}" if group and k == 0 else name
            label.text(
                1.0, 0.5, _fit_lines(text, margin), ha="right", va="center", fontsize=SMALL, color=INK, linespacing=1.2,
                transform=label.transAxes, parse_math=False,
            )  # fmt: skip
            for c, i in enumerate(members):
                ax = figure.add_subplot(grid[top + k, c + 1])
                ax.set_axis_off()
                ax.imshow(np.asarray(images[i]), vmin=0, vmax=255, cmap="gray" if np.ndim(images[i]) == 2 else None)
        for c, i in enumerate(members):
            ax = figure.add_subplot(grid[top + len(stack), c + 1])
            ax.set_axis_off()
            ax.text(
                0.02, 1.0, "\n".join(wrapped[i]), va="top", fontsize=SMALL - 1, color=INK, linespacing=1.1,
                transform=ax.transAxes, parse_math=False,
            )  # fmt: skip
        top += len(stack) + 1
    return figure


def _fit_lines(text: str, inches: float) -> str:
    """Wrap a label, line by line, to its place."""
    return "\n".join("\n".join(textwrap.wrap(line, max(8, int(inches / 0.06)))) for line in text.splitlines())


def _bands(groups: list[str], columns: int) -> list[tuple[str, list[int]]]:
    """Split images into rows: one group after the other, each row at most ``columns`` wide."""
    out = []
    for group in dict.fromkeys(groups):
        members = [i for i, g in enumerate(groups) if g == group]
        out += [(group, members[k : k + columns]) for k in range(0, len(members), columns)]
    return out


def rank_curves(
    ranks: Mapping[str, Any],
    n_gallery: int,
    *,
    controls: Sequence[str] = (),
    ylabel: str = "share of test images",
    width: float = 9.6,
) -> Figure:
    """Draw how often the true image is among the k most similar of the gallery, for every k.

    Parameters
    ----------
    ranks : dict of decoder -> integer array (n_items,)
        Rank of the true image, 1 = most similar.
    n_gallery : int
        Images to choose from; chance is k / n_gallery.
    controls : sequence of str
        Decoders drawn as controls (shuffled pairing).

    Returns
    -------
    matplotlib Figure
    """
    if n_gallery < 2:
        raise ShapeMismatch(f"a gallery has at least 2 images, got {n_gallery}.")
    figure = new_figure(min(width, 5.6), 3.3)
    ax = tidy(figure.subplots(), xlabel=f"among the k most similar of {n_gallery:,}", ylabel=ylabel)
    k = np.unique(np.geomspace(1, n_gallery, 60).round().astype(int))
    styles = model_styles({name: "control" if name in controls else "pretrained" for name in ranks})
    for name, values in ranks.items():
        values = np.sort(np.asarray(values, dtype=float))
        if values.size and not (values[0] >= 1 and values[-1] <= n_gallery):
            raise ShapeMismatch(
                f"ranks of {name!r} must lie between 1 and {n_gallery}, got {values[0]} to {values[-1]}."
            )
        share = np.searchsorted(values, k, side="right") / max(1, values.size)
        style = {key: styles[name][key] for key in ("color", "linestyle")}
        ax.plot(k, share, linewidth=1.8, label=name, **style)
    ax.plot(k, k / n_gallery, label="chance", **CHANCE)
    ax.set_xscale("log")
    ticks = [t for t in (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000) if t <= n_gallery]
    ax.set_xticks(ticks, [f"{t:,}" for t in ticks])
    ax.minorticks_off()
    ax.set_ylim(0, 1.02)
    ax.set_xlim(1, n_gallery)
    top_legend(figure, [ax], [*ranks, "chance"])
    return figure


def scores_by_roi(
    table: pd.DataFrame,
    *,
    rois: Sequence[str] | None = None,
    chance: float | None = None,
    xlabel: str,
    width: float = 9.6,
) -> Figure:
    """Draw how well each region alone decodes, with intervals over images.

    Parameters
    ----------
    table : DataFrame
        ``roi``, ``model`` (what is decoded), ``score``, optionally ``ci_low`` and ``ci_high``.
    rois : list of str, optional
        Rows from top.
    chance : float, optional
        Drawn as a dashed line.
    xlabel : str
        Name of the score.

    Returns
    -------
    matplotlib Figure
    """
    rois = list(rois if rois is not None else dict.fromkeys(table["roi"]))
    models = list(dict.fromkeys(table["model"]))
    styles = model_styles(models)
    figure = new_figure(min(width, 6.4), 0.32 * len(rois) + 1.0)
    ax = tidy(figure.subplots(), xlabel=xlabel)
    for row, roi in enumerate(rois):
        if row % 2 == 0:
            ax.axhspan(row - 0.5, row + 0.5, color="#f4f4f4", linewidth=0, zorder=0)
        offsets = np.linspace(-0.2, 0.2, len(models)) if len(models) > 1 else [0.0]
        for offset, model in zip(offsets, models, strict=True):
            cell = table[(table["roi"] == roi) & (table["model"] == model)]
            if cell.empty:
                continue
            first, colour = cell.iloc[0], styles[model]["color"]
            if {"ci_low", "ci_high"} <= set(cell):
                ax.plot(
                    [first["ci_low"], first["ci_high"]], [row + offset] * 2, color=colour, linewidth=2.2, alpha=0.55
                )
            ax.plot(
                [first["score"]], [row + offset], color=colour, marker=styles[model]["marker"], linestyle="none",
                markersize=6, markeredgecolor="white", markeredgewidth=0.8, label=model, zorder=4,
            )  # fmt: skip
    if chance is not None:
        ax.axvline(chance, label="chance", zorder=1, **CHANCE)
    ax.set_yticks(range(len(rois)), [fit(r, 0.3 * width) for r in rois], fontsize=BASE)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(rois) - 0.5, -0.5)
    bounds = [table[c] for c in ("score", "ci_low", "ci_high") if c in table]
    ax.set_xlim(*data_limits(*bounds, include=[] if chance is None else [chance]))
    if len(models) > 1 or chance is not None:
        top_legend(figure, [ax], [*models, "chance"] if len(models) > 1 else ["chance"])
    return figure


def window_scores(
    table: pd.DataFrame, *, chance: float | None = None, ylabel: str, unit: str = "s", width: float = 9.6
) -> Figure:
    """Draw the score of a decoder in each time window, with intervals, and where the windows lie.

    Parameters
    ----------
    table : DataFrame
        ``model``, ``start`` and ``stop`` (times from stimulus onset), ``score``, optionally ``ci_low``, ``ci_high``.
    chance : float, optional
    ylabel : str
    unit : str
        Of the times.

    Returns
    -------
    matplotlib Figure
    """
    models = list(dict.fromkeys(table["model"]))
    styles = model_styles(models)
    figure = new_figure(min(width, 6.8), 3.2)
    ax = tidy(figure.subplots(), xlabel=f"end of the window ({unit} from onset)", ylabel=ylabel)
    for model in models:
        own = table[table["model"] == model].sort_values("stop")
        colour = styles[model]["color"]
        if {"ci_low", "ci_high"} <= set(own):
            ax.fill_between(own["stop"], own["ci_low"], own["ci_high"], color=colour, alpha=0.18, linewidth=0)
        ax.plot(own["stop"], own["score"], color=colour, linewidth=1.8, label=model)
    if chance is not None:
        ax.axhline(chance, label="chance", **CHANCE)
    ax.axvline(0, color="#888888", linewidth=0.8)
    top_legend(figure, [ax], [*models, "chance"])
    return figure
