"""How neuro's figures look: colours that survive colour blindness and grey print, sizes that survive a small page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette without its yellow, which vanishes on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#882255", "#117733")
GREYS = ("#6b6b6b", "#9a9a9a", "#444444")
AMBERS = ("#B57A00", "#A03C6E", "#5F6B00")
INK = "#1a1a1a"
PALE = "#d9d9d9"
SMALL, BASE, LARGE = 8.0, 9.0, 10.0  # points

METRIC_LABELS = {
    "pearson_r": "Pearson r",
    "r": "Pearson r",
    "r2": "R²",
    "explained_variance": "explained variance",
    "r2/NC": "r² / noise ceiling",
    "normalised": "share of the noise ceiling",
}


def metric_label(metric: str) -> str:
    """Return the axis label of a metric's name.

    >>> metric_label("pearson_r")
    'Pearson r'
    """
    return METRIC_LABELS.get(metric, metric.replace("_", " "))


def model_styles(kinds: Mapping[str, str] | Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, line and marker of each model: hues for trained networks, grey dashes for untrained, amber for controls.

    Parameters
    ----------
    kinds : dict name -> "pretrained", "untrained" or "control"; or a list of names, all counted as pretrained

    Returns
    -------
    dict name -> {"color", "linestyle", "marker"}
    """
    if not isinstance(kinds, Mapping):
        kinds = dict.fromkeys(kinds, "pretrained")
    looks = {"untrained": (GREYS, (0, (4, 2)), "s"), "control": (AMBERS, (0, (1, 1.2)), "D")}
    seen: dict[str, int] = {}
    styles = {}
    for name, kind in kinds.items():
        colours, line, marker = looks.get(kind, (PALETTE, "-", "o"))
        k = seen[kind] = seen.get(kind, -1) + 1
        styles[name] = {"color": colours[k % len(colours)], "linestyle": line, "marker": marker}
    return styles


def new_figure(width: float, height: float, *, dense: bool = False) -> Figure:
    """Return an empty figure in inches, drawn by Agg, unknown to pyplot (so nothing has to be closed).

    ``dense`` leaves hardly any space between panels (pictures without axes).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    pads = {"w_pad": 0.01, "h_pad": 0.02, "wspace": 0, "hspace": 0} if dense else {}
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(**pads), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panel_grid(
    n: int, columns: int, width: float, panel_height: float, extra: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``n`` panels of shared axes in rows of ``columns``; unused cells stay empty.

    Tick labels stand at the left and wherever a column ends, also above an empty cell. Fewer panels than columns make a
    narrower figure rather than stretched panels.
    """
    if n < columns:
        width, columns = min(width, max(4.6, 3.2 * n)), max(1, n)
    rows = math.ceil(n / columns)
    if rows == 1:
        panel_height *= 1.25  # room for the label of the vertical axis
    figure = new_figure(width, rows * panel_height + extra)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for k, ax in enumerate(grid.flat):
        if k >= n:
            ax.set_visible(False)
        elif k + columns >= n:
            ax.tick_params(labelbottom=True)
    return figure, list(grid.flat[:n])


def shared_labels(figure: Figure, xlabel: str | None = None, ylabel: str | None = None) -> None:
    """Name the axes once for all panels."""
    if xlabel:
        figure.supxlabel(xlabel, fontsize=BASE, color=INK)
    if ylabel:
        figure.supylabel(ylabel, fontsize=BASE, color=INK)


def top_legend(figure: Figure, axes: Sequence[Axes], names: Sequence[str]) -> None:
    """Put one legend above all panels: the lines labelled ``names``, in this order, each once."""
    handles = {line.get_label(): line for ax in axes for line in ax.get_lines()}
    order = [name for name in names if name in handles]
    figure.legend(
        [handles[name] for name in order],
        order,
        loc="outside upper left",
        ncols=max(1, min(len(order), int(figure.get_figwidth() / 1.7))),
        frameon=False,
        fontsize=SMALL + 0.5,
    )


def tidy(ax: Axes, title: str | None = None, xlabel: str | None = None, ylabel: str | None = None) -> Axes:
    """Strip an axes to what is read: two spines, small ticks, labels given."""
    ax.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set(color="#888888", linewidth=0.8)
    ax.tick_params(labelsize=SMALL, colors=INK, color="#888888", length=3, width=0.8)
    if title is not None:
        ax.set_title(title, fontsize=LARGE, loc="left", color=INK, pad=4)
    if xlabel is not None:
        ax.set_xlabel(xlabel, fontsize=BASE, color=INK)
    if ylabel is not None:
        ax.set_ylabel(ylabel, fontsize=BASE, color=INK)
    return ax


def short_names(names: Sequence[str], limit: int = 18) -> list[str]:
    """Shorten layer names for an axis: each keeps as many of its last dotted parts as tell it from the others.

    >>> short_names(["visual.conv1", "visual.transformer.resblocks.0", "visual.transformer.resblocks.11"])
    ['conv1', 'resblocks.0', 'resblocks.11']
    """
    names = [str(n) for n in names]
    parts = [n.split(".") for n in names]
    short = []
    for name, own in zip(names, parts, strict=True):
        for keep in range(1, len(own) + 1):
            tail = own[-keep:]
            # A bare number says nothing alone: keep the word before it.
            if (tail[0].isdigit() and keep < len(own)) or any(p[-keep:] == tail for p in parts if p != own):
                continue
            short.append(".".join(tail))
            break
        else:
            short.append(name)
    return [s if len(s) <= limit else f"{s[: limit // 2 - 1]}…{s[-(limit // 2) :]}" for s in short]


def fit(text: str, inches: float) -> str:
    """Cut a label that is longer than its place, at about 12 letters an inch.

    >>> fit("nsdgeneral without the named regions", 1.0)
    'nsdgeneral …'
    """
    text, limit = str(text), max(6, int(12 * inches))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def legible_ticks(n: int, inches: float) -> list[int]:
    """Which of ``n`` evenly spaced slanted labels fit on an axis: all, or every k-th.

    >>> legible_ticks(4, 2.0), legible_ticks(12, 1.0)
    ([0, 1, 2, 3], [0, 2, 4, 6, 8, 10])
    """
    return list(range(0, n, max(1, math.ceil(0.15 * n / inches))))


def data_limits(*arrays: Any, pad: float = 0.06, include: Sequence[float] = ()) -> tuple[float, float]:
    """Smallest and largest finite value of all arrays and ``include``, widened by ``pad`` of their range."""
    values = np.concatenate([np.ravel(np.asarray(a, dtype=float)) for a in arrays] + [np.array(include, dtype=float)])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = pad * (high - low) if high > low else 0.05
    return low - margin, high + margin
