"""Regions as named masks, and means over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from neuro.errors import ShapeMismatch


def check_rois(rois: Mapping[str, Any] | None, n_voxels: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Return names and a boolean array (n_rois, n_voxels); None is one region "all" of all voxels."""
    if rois is None:
        return ("all",), np.ones((1, n_voxels), bool)
    if not isinstance(rois, Mapping):
        raise ShapeMismatch(f"rois must be a dict name -> mask over voxels, got {type(rois).__name__}.")
    masks = np.zeros((len(rois), n_voxels), bool)
    for row, (name, mask) in zip(masks, rois.items(), strict=True):
        mask = np.asarray(mask)
        if mask.dtype == bool:
            if mask.shape != (n_voxels,):
                raise ShapeMismatch(
                    f"the mask of {name!r} must have one entry per voxel ({n_voxels:,}), got shape {mask.shape}."
                )
        elif mask.size and (mask.dtype.kind not in "iu" or mask.min() < 0 or mask.max() >= n_voxels):
            raise ShapeMismatch(
                f"region {name!r} must be a boolean mask or voxel indices in 0..{n_voxels - 1}, got {mask.dtype}."
            )
        row[mask if mask.size else []] = True
    return tuple(str(name) for name in rois), masks


class RoiMeans:
    """Accumulates the mean over each region's voxels, NaN voxels left out, from blocks (n_samples, n_block)."""

    def __init__(self, masks: np.ndarray, n_samples: int):
        self._masks = masks.T.astype(np.float32)
        self._sum = np.zeros((n_samples, masks.shape[0]))
        self._count = np.zeros((n_samples, masks.shape[0]))

    def add(self, columns: slice, values: np.ndarray) -> None:
        """Add the voxels ``columns``."""
        mask = self._masks[columns]
        finite = np.isfinite(values)
        if finite.all():
            self._sum += values @ mask
            self._count += mask.sum(0)
        else:
            self._sum += np.where(finite, values, 0) @ mask
            self._count += finite.astype(np.float32) @ mask

    @property
    def means(self) -> np.ndarray:
        """The means, (n_samples, n_rois); NaN where a region has no voxel with data."""
        with np.errstate(invalid="ignore"):
            return self._sum / self._count


def roi_means(values: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the mean of ``values`` (n_voxels,) over each region, NaN voxels left out."""
    means = RoiMeans(masks, 1)
    means.add(slice(None), np.asarray(values, dtype=np.float64)[None])
    return means.means[0]
