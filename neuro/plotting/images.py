"""A look at the stimuli themselves."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neuro.errors import ShapeMismatch
from neuro.plotting.style import INK, SMALL, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def contact_sheet(
    images: Sequence[np.ndarray], captions: Sequence[str] | None = None, *, columns: int = 6, width: float = 9.6
) -> Figure:
    """Draw images in rows, each with its caption below.

    Parameters
    ----------
    images : list of uint8 arrays (h, w, 3) or (h, w)
        Any sizes; each keeps its proportions.
    captions : list of str, optional
        Wrapped to the width of a cell.
    columns : int
        Images in a row.
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    if captions is not None and len(captions) != len(images):
        raise ShapeMismatch(f"{len(images)} images but {len(captions)} captions.")
    columns = max(1, min(columns, len(images)))
    cell = width / columns
    # At 8 points a letter is about 0.063 inches wide.
    wrapped = [textwrap.wrap(str(c), max(8, int(cell / 0.068))) for c in captions or [""] * len(images)]
    lines = max((len(w) for w in wrapped), default=0)
    rows = -(-len(images) // columns)
    figure = new_figure(width, rows * (cell + 0.14 * lines + 0.06) + 0.05)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, image, text in zip(axes, images, wrapped, strict=False):
        ax.imshow(np.asarray(image), cmap="gray" if np.ndim(image) == 2 else None, vmin=0, vmax=255)
        ax.set_title(
            "\n".join(text), fontsize=SMALL, color=INK, y=-0.02, va="top", loc="left", pad=0, linespacing=1.15,
            parse_math=False,
        )  # fmt: skip
    return figure
