"""Slices through a volume: the values as they are (no interpolation), on anatomy or on a grey brain of the mask."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.plotting.style import BASE, INK, SMALL, new_figure
from neuro.plotting.surface import colour_limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def volume_map(
    image: Any,
    *,
    background: Any = None,
    label: str = "",
    cmap: str = "viridis",
    vmin: float | None = None,
    vmax: float | None = None,
    slices: int | Sequence[int] = 8,
    margin: float = 12.0,
    columns: int = 4,
    width: float = 9.6,
) -> Figure:
    """Draw axial slices of a 3-D NIfTI image, neurological view (left is left).

    Parameters
    ----------
    image : NIfTI image (X, Y, Z)
        Values, NaN where there are none (:meth:`neuro.data.Voxels.to_nifti`).
    background : NIfTI image or "mni152", optional
        Anatomy in the same space, on any grid; "mni152" takes the template bundled with nilearn. Without it the voxels'
        silhouette is shown in grey.
    label : str
        Name and unit of the values.
    cmap : str
    vmin, vmax : float, optional
        Ends of the colour scale, as in :func:`neuro.plotting.surface_map`.
    slices : int or list of int
        How many slices, spread over equal shares of the voxels; or the slice numbers in the grid reoriented to RAS.
    margin : float
        mm shown around the voxels.
    columns : int
        Slices in a row.
    width : float
        Inches.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    EmptySelection
        If no voxel is finite.
    """
    import nibabel as nib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    image = nib.as_closest_canonical(image)
    data = np.asarray(image.dataobj, dtype=float)
    if data.ndim != 3:
        raise ShapeMismatch(f"a volume map draws one 3-D image, got shape {data.shape}.")
    known = np.isfinite(data)
    if not known.any():
        raise EmptySelection("the image holds no finite value to draw.")
    size = np.linalg.norm(image.affine[:3, :3], axis=0)
    cuts = _cuts(known, slices)
    cells = np.argwhere(known)
    pad = np.ceil(margin / size).astype(int)
    low, high = cells.min(0) - pad, cells.max(0) + pad + 1
    norm = Normalize(*colour_limits(data, vmin, vmax), clip=True)
    columns = max(1, min(columns, len(cuts)))
    rows = -(-len(cuts) // columns)
    shape = (high[1] - low[1]) * size[1] / ((high[0] - low[0]) * size[0])
    upright = columns <= 2
    cell = (width - (0.1 if upright else 0.9)) / columns
    figure = new_figure(width, rows * (cell * shape + 0.22) + (0.6 if upright else 0.05), dense=True)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    extent = ((low[0] - 0.5) * size[0], (high[0] - 0.5) * size[0], (low[1] - 0.5) * size[1], (high[1] - 0.5) * size[1])
    anatomy = None if background is None else _anatomy(background)
    for ax in axes:
        ax.set_axis_off()
    for ax, k in zip(axes, cuts, strict=False):
        grey, shades = _backdrop(known, anatomy, image.affine, k, low, high)
        ax.imshow(grey.T, origin="lower", extent=extent, cmap="Greys_r", vmin=shades[0], vmax=shades[1])
        whole = (-0.5 * size[0], (data.shape[0] - 0.5) * size[0], -0.5 * size[1], (data.shape[1] - 0.5) * size[1])
        drawn = np.ma.masked_invalid(data[:, :, k].T)
        ax.imshow(drawn, origin="lower", extent=whole, cmap=cmap, norm=norm, interpolation="nearest")
        ax.set(xlim=extent[:2], ylim=extent[2:])
        z = float((image.affine @ [*cells.mean(0)[:2], k, 1.0])[2])
        ax.set_title(f"z = {z:.0f} mm", fontsize=SMALL, color=INK, pad=2)
    for x, side in ((0.02, "L"), (0.98, "R")):
        axes[0].text(
            x, 0.02, side, transform=axes[0].transAxes, fontsize=SMALL, ha="left" if x < 0.5 else "right", color=INK
        )
    placement = (
        {"location": "bottom", "fraction": 0.03, "pad": 0.01, "aspect": 35}
        if upright
        else {"location": "right", "fraction": 0.025, "pad": 0.01, "aspect": 28}
    )
    bar = figure.colorbar(ScalarMappable(norm, cmap), ax=list(axes), **placement)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL, length=2)
    bar.set_label(label, fontsize=BASE, color=INK)
    return figure


def _cuts(known: np.ndarray, slices: int | Sequence[int]) -> list[int]:
    if not isinstance(slices, (int, np.integer)):
        return [int(k) for k in slices]
    per_slice = known.sum(axis=(0, 1))
    share = np.cumsum(per_slice) / per_slice.sum()
    wanted = (np.arange(slices) + 0.5) / slices
    return sorted({int(np.searchsorted(share, w)) for w in wanted})


def _backdrop(known, anatomy, affine, k, low, high):
    """Grey values of one slice and their scale: anatomy, three samples a voxel, or the silhouette of the mask."""
    if anatomy is None:
        i, j = (np.arange(low[a], high[a]) for a in (0, 1))
        grey = np.zeros((len(i), len(j)))
        inside = [(v >= 0) & (v < n) for v, n in ((i, known.shape[0]), (j, known.shape[1]))]
        grey[np.ix_(*inside)] = known.any(axis=2)[np.ix_(i[inside[0]], j[inside[1]])]
        return 1 - 0.14 * grey, (0.0, 1.0)
    from scipy.ndimage import map_coordinates

    data, inverse, top = anatomy
    fine = 3
    i, j = (low[a] - 0.5 + (np.arange((high[a] - low[a]) * fine) + 0.5) / fine for a in (0, 1))
    grid = np.stack([*np.meshgrid(i, j, indexing="ij"), np.full((len(i), len(j)), float(k)), np.ones((len(i), len(j)))])
    where = np.tensordot(inverse @ affine, grid, axes=1)[:3]
    grey = map_coordinates(data, where, order=1, cval=0.0)
    # Air is white like the page, tissue mid-grey, so that dark colours of the data stand out.
    return np.where(grey > 0.15 * top, 0.3 + 0.6 * np.clip(grey / top, 0, 1), 1.0), (0.0, 1.0)


def _anatomy(background):
    if isinstance(background, str):
        if background != "mni152":
            raise ValueError(f"background must be 'mni152' or a NIfTI image, got {background!r}.")
        return _mni152()
    data = np.nan_to_num(np.asarray(background.dataobj, dtype=float))
    return data, np.linalg.inv(background.affine), float(np.percentile(data[data > 0], 98)) if (data > 0).any() else 1.0


@functools.cache
def _mni152():
    from nilearn.datasets import load_mni152_template

    return _anatomy(load_mni152_template(resolution=2))
