"""Where areas look: routing maps over their images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuro.errors import ShapeMismatch
from neuro.plotting.style import BASE, GREYS, INK, LARGE, PALETTE, SMALL, fit, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUTLINE = "#56B4E9"  # which the warm colours of the maps leave free
VEIL = 0.55  # of grey over the image, at places without weight


def routing_maps_figure(
    images: Sequence[np.ndarray],
    maps: Any,
    names: Sequence[str],
    *,
    outlines: Any = None,
    titles: Sequence[str] | None = None,
    width: float = 9.6,
) -> Figure:
    """Draw images in rows: each as it is, and then once per query, lit where the query looks.

    Every map has its own scale: 0 to its largest weight, whose value in units of a uniform map ("6x") stands in the
    corner.

    Parameters
    ----------
    images : list of uint8 arrays (H, W, 3)
    maps : array (n_images, n_queries, height, width)
        Not negative; ``AttentionEncoder.routing_maps``.
    names : sequence of str
        Of the queries.
    outlines : array (n_images, n_queries, H, W), optional
        Masks of what should drive each query, drawn as a contour. Empty ones are left out.
    titles : sequence of str, optional
        One per image.
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ShapeMismatch
        If images, maps, names and outlines do not go together.
    """
    M = np.asarray(maps.detach().cpu().numpy() if hasattr(maps, "detach") else maps, dtype=float)
    pictures = [np.asarray(image) for image in images]
    if M.ndim != 4 or M.shape[:2] != (len(pictures), len(names)) or 0 in M.shape:
        raise ShapeMismatch(
            f"maps must be (n_images, n_queries, height, width) for {len(pictures)} images and {len(names)} names, "
            f"got shape {M.shape}."
        )
    for picture in pictures:
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise ShapeMismatch(f"images must be uint8 (H, W, 3), got {picture.dtype} {picture.shape}.")
    contours = None if outlines is None else np.asarray(outlines, dtype=float)
    if contours is not None and (contours.ndim != 4 or contours.shape[:2] != M.shape[:2]):
        raise ShapeMismatch(f"outlines must be ({len(pictures)}, {len(names)}, H, W), got shape {contours.shape}.")
    if titles is not None and len(titles) != len(pictures):
        raise ShapeMismatch(f"{len(pictures)} images but {len(titles)} titles.")
    rows, columns = len(pictures), len(names) + 1
    cell = width / columns
    figure = new_figure(width, rows * cell + 0.3, dense=True)
    axes = figure.subplots(rows, columns, squeeze=False)
    for i, picture in enumerate(pictures):
        for k, ax in enumerate(axes[i]):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            if k == 0:
                ax.imshow(picture)
                if titles is not None:
                    ax.set_ylabel(fit(titles[i], cell), fontsize=SMALL, color=INK)
            else:
                _lit(ax, picture, M[i, k - 1], None if contours is None else contours[i, k - 1])
            if i == 0:
                label = "image" if k == 0 else fit(names[k - 1], cell)
                ax.set_title(label, fontsize=BASE, color=INK, pad=3, parse_math=False)
    return figure


def _lit(ax: Any, picture: np.ndarray, weights: np.ndarray, outline: np.ndarray | None) -> None:
    height, width = picture.shape[:2]
    extent = (0, width, height, 0)
    grey = picture @ np.array([0.299, 0.587, 0.114]) / 255
    ax.imshow(1 - VEIL + VEIL * 0.9 * grey, cmap="gray", vmin=0, vmax=1, extent=extent)
    peak = weights.max()
    share = weights / peak if peak > 0 else weights
    ax.imshow(
        weights, cmap="inferno", vmin=0, vmax=peak if peak > 0 else 1, extent=extent, alpha=0.15 + 0.75 * share,
        interpolation="nearest",
    )  # fmt: skip
    if outline is not None and (outline > 0.5).any() and not (outline > 0.5).all():
        x, y = ((np.arange(n) + 0.5) / n for n in outline.shape[::-1])
        ax.contour(x * width, y * height, outline, levels=[0.5], colors=[OUTLINE], linewidths=1.3)
    if weights.sum() > 0:
        times = peak * weights.size / weights.sum()
        box = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        ax.text(
            0.97, 0.03, f"{times:.1f}x", transform=ax.transAxes, ha="right", va="bottom", fontsize=SMALL, color=INK,
            bbox=box,
        )  # fmt: skip
    ax.set(xlim=(0, width), ylim=(height, 0))


def routing_scores_figure(scores: Any, agreement: Any, *, width: float = 9.6) -> Figure:
    """Draw what attention gains: held-out scores per area and encoder, and weight on the object per area.

    Parameters
    ----------
    scores : mapping of encoder's name -> {area: score}
        Mean correlation of the area's voxels.
    agreement : DataFrame
        ``RoutingAgreement.summary``: columns ``query, weight, static_weight, area``.
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    figure = new_figure(width, 0.34 * width)
    left, right = figure.subplots(1, 2)
    areas = list(next(iter(scores.values())))
    looks = dict(zip(scores, [PALETTE[1], GREYS[1], PALETTE[0], *PALETTE[2:]], strict=False))
    step = 0.8 / len(scores)
    for i, (name, by_area) in enumerate(scores.items()):
        x = np.arange(len(areas)) + (i - (len(scores) - 1) / 2) * step
        left.bar(x, [by_area[a] for a in areas], 0.92 * step, color=looks[name], label=name)
    left.set_xticks(np.arange(len(areas)), areas)
    tidy(left, "Prediction", None, "Pearson r, held-out images")
    left.legend(fontsize=SMALL, frameon=False, ncols=len(scores), loc="upper left", bbox_to_anchor=(0, 1.0))
    left.set_ylim(0, 1.25 * max(max(s.values()) for s in scores.values()))
    kinds = {"weight": ("attention", PALETTE[1]), "static_weight": ("mean map", PALETTE[0]), "area": ("area", GREYS[1])}
    for i, (column, (name, colour)) in enumerate(kinds.items()):
        x = np.arange(len(agreement)) + (i - 1) * 0.27
        right.bar(x, agreement[column], 0.25, color=colour, label=name)
    right.set_xticks(np.arange(len(agreement)), list(agreement["query"]))
    tidy(right, "Routing weight on the object", None, "share of the weight")
    right.set_ylim(0, 1.3 * float(agreement[list(kinds)].to_numpy().max()))
    right.legend(fontsize=SMALL, frameon=False, ncols=3, loc="upper left", bbox_to_anchor=(0, 1.0))
    for ax in (left, right):
        ax.tick_params(axis="x", length=0, labelsize=LARGE - 1)
    return figure
