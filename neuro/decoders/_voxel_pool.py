"""From any number of voxels to a fixed number: pooling neighbours in the stored order, or region by region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuro._check import check_option, check_positive_int
from neuro.errors import ShapeMismatch, UnknownROI

POOLINGS = ("max", "avg", "linear")


def bins_per_region(sizes: Mapping[Any, int], n_bins: int) -> dict[Any, int]:
    """Share ``n_bins`` out over regions in proportion to their size, at least one each (largest remainders).

    >>> bins_per_region({"V1": 60, "V2": 30, "FFA": 1}, 10)
    {'V1': 6, 'V2': 3, 'FFA': 1}
    """
    if n_bins < len(sizes):
        raise ShapeMismatch(f"{len(sizes)} regions need at least as many pooled values, got n_pooled = {n_bins}.")
    names, counts = list(sizes), np.array(list(sizes.values()), float)
    exact = 1 + (n_bins - len(names)) * counts / counts.sum()
    bins = np.floor(exact).astype(int)
    for i in np.argsort(bins - exact, kind="stable")[: n_bins - bins.sum()]:
        bins[i] += 1
    return dict(zip(names, bins.tolist(), strict=True))


class VoxelPool(nn.Module):
    """``n_voxels`` values to ``n_pooled``: bin k covers voxels ``floor(k V / P)`` to ``ceil((k + 1) V / P)``.

    Neighbours are neighbours in the *stored order* of voxels, so permuting voxels changes the result. With ``regions``,
    each region is pooled on its own: the order of regions in the file no longer matters, and bin k means the same
    region in every subject if all subjects are given the same number of bins per region.

    Parameters
    ----------
    n_voxels : int
    n_pooled : int or mapping of region -> int
        Values after pooling; a mapping (with ``regions``) says how many each region gets.
    pooling : {"max", "avg", "linear"}
        "linear" resamples the vector at ``n_pooled`` equally spaced places.
    regions : sequence (n_voxels,), optional
        Label of each voxel.
    """

    def __init__(
        self,
        n_voxels: int,
        n_pooled: int | Mapping[Any, int],
        pooling: str = "max",
        regions: Sequence[Any] | None = None,
    ):
        super().__init__()
        check_option("pooling", pooling, POOLINGS)
        self.n_voxels = check_positive_int("n_voxels", n_voxels)
        self.pooling = pooling
        if regions is None:
            if isinstance(n_pooled, Mapping):
                raise ValueError("n_pooled by region needs `regions`, the label of each voxel.")
            self._parts = [(np.arange(n_voxels), check_positive_int("n_pooled", n_pooled))]
        else:
            self._parts = _regions(np.asarray(regions), n_voxels, n_pooled)
        self.n_pooled = sum(n for _, n in self._parts)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_voxels) -> (B, n_pooled)."""
        if len(self._parts) == 1:
            return self._pool(x, self.n_pooled)
        return torch.cat([self._pool(x[:, voxels], n) for voxels, n in self._parts], 1)

    def unpool(self, pooled: Tensor) -> Tensor:
        """(B, n_pooled) -> (B, n_voxels): each voxel gets the mean of the bins that cover it."""
        out = pooled.new_empty(len(pooled), self.n_voxels)
        first = 0
        for voxels, n in self._parts:
            out[:, voxels] = _spread(pooled[:, first : first + n], len(voxels))
            first += n
        return out

    def _pool(self, x: Tensor, n: int) -> Tensor:
        if self.pooling == "max":
            return F.adaptive_max_pool1d(x[:, None], n)[:, 0]
        if self.pooling == "avg":
            return F.adaptive_avg_pool1d(x[:, None], n)[:, 0]
        return F.interpolate(x[:, None], n, mode="linear", align_corners=False)[:, 0]


def _regions(labels: np.ndarray, n_voxels: int, n_pooled: int | Mapping[Any, int]) -> list[tuple[np.ndarray, int]]:
    if labels.shape != (n_voxels,):
        raise ShapeMismatch(f"regions must label each of {n_voxels:,} voxels, got an array of shape {labels.shape}.")
    names, counts = np.unique(labels, return_counts=True)
    found = dict(zip(names.tolist(), counts.tolist(), strict=True))
    bins = n_pooled if isinstance(n_pooled, Mapping) else bins_per_region(found, n_pooled)
    if set(bins) != set(found):
        odd = sorted(set(bins) ^ set(found), key=str)
        raise UnknownROI(
            f"n_pooled and regions must name the same regions; only one of them has {', '.join(map(str, odd))}."
        )
    return [(np.flatnonzero(labels == name), check_positive_int(f"n_pooled[{name!r}]", bins[name])) for name in bins]


def _spread(pooled: Tensor, n_voxels: int) -> Tensor:
    """Mean, for each voxel, of the bins that cover it; the inverse of averaging where bins do not overlap."""
    n = pooled.shape[1]
    voxel = torch.arange(n_voxels, device=pooled.device)
    first = torch.div(voxel * n, n_voxels, rounding_mode="floor")  # bins that cover voxel v: first[v] ... last[v]
    last = torch.div((voxel + 1) * n - 1, n_voxels, rounding_mode="floor")
    total = F.pad(pooled.cumsum(1), (1, 0))
    return (total[:, last + 1] - total[:, first]) / (last + 1 - first)
