"""Receptive fields as estimated against receptive fields as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neuro.errors import ShapeMismatch
from neuro.plotting.style import INK, LARGE, PALE, PALETTE, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def prf_maps(
    x: np.ndarray,
    y: np.ndarray,
    size: np.ndarray | None = None,
    *,
    x_true: np.ndarray,
    y_true: np.ndarray,
    size_true: np.ndarray | None = None,
    extent: float | None = None,
    columns: int = 3,
    width: float = 9.6,
) -> Figure:
    """Draw true and estimated receptive-field centres in the visual field, and sizes against each other.

    Both visual fields carry the colour of the *true* polar angle: where the estimates keep the wheel in order, the map
    was recovered.

    Parameters
    ----------
    x, y : arrays (n_voxels,)
        Estimated centres, degrees of visual angle, right and up positive.
    size : array (n_voxels,), optional
        Estimated sizes (standard deviation), degrees.
    x_true, y_true, size_true : arrays (n_voxels,)
        The truth, in the same units.
    extent : float, optional
        Half the width of the stimulus in degrees, drawn as a frame; the data's range by default.
    columns : int
        Panels in a row.
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure
    """
    x, y, x_true, y_true = (np.asarray(a, dtype=float) for a in (x, y, x_true, y_true))
    if len({a.shape for a in (x, y, x_true, y_true)}) != 1 or x.ndim != 1:
        raise ShapeMismatch(
            f"centres must be four arrays (n_voxels,), got {x.shape}, {y.shape}, {x_true.shape}, {y_true.shape}."
        )
    good = np.isfinite(x) & np.isfinite(y) & np.isfinite(x_true) & np.isfinite(y_true)
    reach = np.abs(np.concatenate([x[good], y[good], x_true[good], y_true[good], [extent or 0.1]])).max() * 1.06
    sizes = size is not None and size_true is not None
    n = 3 if sizes else 2
    columns = min(columns, n)
    rows = -(-n // columns)
    figure = new_figure(width, rows * (width / columns) + 0.35)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    angle = np.arctan2(y_true, x_true)[good]
    for ax, (u, v), title in zip(
        axes, [(x_true, y_true), (x, y)], ["centres: true", "centres: estimated"], strict=False
    ):
        tidy(ax, title=title, xlabel="x (degrees)", ylabel="y (degrees)")
        ax.axhline(0, color=PALE, linewidth=0.8, zorder=0)
        ax.axvline(0, color=PALE, linewidth=0.8, zorder=0)
        if extent:
            ax.plot(*(extent * np.array([[-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1]])), color="#888888", linewidth=0.9)
        ax.scatter(u[good], v[good], c=angle_colours(angle), s=16, alpha=0.85, linewidths=0)
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    error = np.hypot(x - x_true, y - y_true)[good]
    if good.any():
        axes[1].set_title(
            f"centres: estimated\nmedian error {np.median(error):.2f}°", fontsize=LARGE, loc="left", color=INK, pad=4
        )
    if sizes:
        size, size_true = np.asarray(size, dtype=float), np.asarray(size_true, dtype=float)
        ax = tidy(axes[2], title="sizes", xlabel="true (degrees)", ylabel="estimated (degrees)")
        both = good & np.isfinite(size) & np.isfinite(size_true)
        top = max(np.concatenate([size[both], size_true[both], [0.1]])) * 1.05
        ax.plot([0, top], [0, top], color=INK, linewidth=1.0, linestyle=(0, (4, 2)), label="identity")
        ax.scatter(size_true[both], size[both], s=14, color=PALETTE[0], alpha=0.5, linewidths=0)
        ax.set(xlim=(0, top), ylim=(0, top), aspect="equal")
        if both.sum() > 2 and np.ptp(size_true[both]) > 0 and np.ptp(size[both]) > 0:
            r = np.corrcoef(size[both], size_true[both])[0, 1]
            ax.set_title(f"sizes\nr = {r:.2f}", fontsize=LARGE, loc="left", color=INK, pad=4)
    for ax in axes[n:]:
        ax.set_visible(False)
    return figure


def angle_colours(angle: np.ndarray) -> np.ndarray:
    """RGB of polar angles (radians): a wheel of equal lightness in CIELAB, so that no direction fades on white."""
    angle = np.asarray(angle, dtype=float)
    lightness, chroma = 58.0, 48.0
    fy = (lightness + 16) / 116
    f = np.stack(
        [fy + chroma * np.cos(angle) / 500, np.full_like(angle, fy), fy - chroma * np.sin(angle) / 200], axis=-1
    )
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9505, 1.0, 1.089]  # D65 white
    linear = xyz @ np.array([[3.2406, -0.9689, 0.0557], [-1.5372, 1.8758, -0.2040], [-0.4986, 0.0415, 1.0570]])
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
