"""Which voxels share a query: regions, hemispheres, single voxels, or masks of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neuro.data import Responses
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.linear._arrays import array_of

UNLABELLED = "unlabelled"
ASKED = (
    "queries must be 'rois', 'hemispheres', 'voxels', 'one', a dict of name -> voxels (boolean mask or indices), "
    "or a boolean array (n_queries, n_voxels)"
)


@dataclass(frozen=True, eq=False)
class Queries:
    """Names of the queries, and the mixture of them that every voxel listens to.

    A voxel of several regions listens to their mean, so that neither its response nor its intercept counts twice.
    """

    names: tuple[str, ...]
    member: torch.Tensor  # (n_voxels,) which mixture
    patterns: torch.Tensor | None  # (n_mixtures, n_queries), rows sum to one; None: mixture i is query i

    def __len__(self) -> int:
        return len(self.names)

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return len(self.member)

    def voxels(self, query: int) -> np.ndarray:
        """Return which voxels listen to one query, (n_voxels,) bool."""
        if self.patterns is None:
            return (self.member == query).numpy()
        return (self.patterns[:, query] > 0)[self.member].numpy()


def resolve_queries(queries: Any, Y: Any, n_voxels: int) -> Queries:
    """Turn what the user asked for into ``Queries``.

    Parameters
    ----------
    queries : str, dict or array
        See ``ASKED``. "rois" and "hemispheres" need ``Y`` to be ``Responses`` whose voxels are labelled.
    Y : array, tensor or Responses
    n_voxels : int
    """
    if isinstance(queries, str):
        if queries == "one":
            return Queries(("all",), torch.zeros(n_voxels, dtype=torch.int64), None)
        if queries == "voxels":
            return Queries(tuple(f"voxel {i}" for i in range(n_voxels)), torch.arange(n_voxels), None)
        if queries not in ("rois", "hemispheres"):
            raise ValueError(f"{ASKED}, got {queries!r}.")
        if not isinstance(Y, Responses):
            raise TypeError(
                f"queries={queries!r} reads regions from Responses, but y is a plain {type(Y).__name__}. "
                "Pass Responses, or queries={'name': voxels, ...}."
            )
        return _from_masks(*_labelled(Y, by_region=queries == "rois"))
    if isinstance(queries, Mapping):
        if not queries:
            raise EmptySelection("queries is an empty dict: name at least one group of voxels.")
        return _from_masks([str(n) for n in queries], np.stack([_mask(n, m, n_voxels) for n, m in queries.items()]))
    array = array_of(queries)
    if array.dtype != bool or array.ndim != 2:
        raise ValueError(f"{ASKED}, got {type(queries).__name__} of dtype {array.dtype} and shape {array.shape}.")
    if array.shape[1] != n_voxels:
        raise ShapeMismatch(f"queries has masks of {array.shape[1]:,} voxels, y has {n_voxels:,}.")
    return _from_masks([f"query {i}" for i in range(len(array))], array)


def _mask(name: Any, which: Any, n_voxels: int) -> np.ndarray:
    which = array_of(which)
    if which.dtype == bool:
        if which.shape != (n_voxels,):
            raise ShapeMismatch(f"query {name!r} has a mask of shape {which.shape}, y has {n_voxels:,} voxels.")
        return which
    if (
        which.dtype.kind not in "iu"
        or which.ndim != 1
        or (which.size and not 0 <= which.min() <= which.max() < n_voxels)
    ):
        raise ValueError(f"query {name!r} must be a boolean mask or voxel indices within 0..{n_voxels - 1}.")
    mask = np.zeros(n_voxels, bool)
    mask[which] = True
    return mask


def _labelled(Y: Responses, by_region: bool) -> tuple[list[str], np.ndarray]:
    voxels = Y.voxels
    n = len(voxels)
    table = voxels.table
    sides = {"": np.ones(n, bool)}
    if "hemi" in table:
        sides = {f"{h} ": (table["hemi"] == h).to_numpy() for h in ("L", "R")}
    elif not by_region:
        raise ValueError("queries='hemispheres' needs voxels with a column 'hemi' (L or R); these have none.")
    if not by_region:
        return [h.strip() for h in sides], np.stack(list(sides.values()))
    labels = voxels.labels()
    if not labels:
        raise ValueError("queries='rois' needs voxels with at least one atlas; these have none.")
    regions = {label: voxels.roi(label) for label in labels}
    regions[UNLABELLED] = ~np.logical_or.reduce(list(regions.values()))
    named = {f"{side}{label}": mask & here for side, here in sides.items() for label, mask in regions.items()}
    named = {name: mask for name, mask in named.items() if mask.any()}
    return list(named), np.stack(list(named.values()))


def _from_masks(names: list[str], masks: np.ndarray) -> Queries:
    """Share every voxel equally among its queries; voxels of none get a query of their own, ``UNLABELLED``."""
    for name, mask in zip(names, masks, strict=True):
        if not mask.any():
            raise EmptySelection(f"query {name!r} has no voxel. Leave it out.")
    rest = ~masks.any(0)
    if rest.any():
        names, masks = [*names, UNLABELLED], np.concatenate([masks, rest[None]])
    packed = np.packbits(masks, 0)  # (n_queries / 8, n_voxels): rows to compare, eight times smaller
    _, first, member = np.unique(packed, axis=1, return_index=True, return_inverse=True)
    patterns = masks[:, first].T.astype(np.float32)
    patterns /= patterns.sum(1, keepdims=True)
    return Queries(tuple(names), torch.from_numpy(member.reshape(-1).astype(np.int64)), torch.from_numpy(patterns))
