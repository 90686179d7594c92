"""Which channels stand around each centre of a searchlight?

Volumes: integer offsets o with |o| < radius become linear offsets on a mask padded by the radius, so that a whole block
of centres is one table look-up; what lies outside the mask is never used. Surfaces: discs of geodesic distance on the
mesh. Time: windows. All are kept as one sparse table (centre, channels) in compressed rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuro._check import check_positive_int
from neuro._files import atomic_path
from neuro.errors import CorruptFile, EmptySelection, ShapeMismatch

LOOKUPS = 2**21  # table look-ups per block of centres
SOURCES = 64  # vertices of a mesh whose discs are found together


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """Channels around each centre, in compressed rows.

    Parameters
    ----------
    indptr : array (n_centres + 1,) of int
        Centre c has the channels ``indices[indptr[c]:indptr[c + 1]]``.
    indices : array of int
        Channels, ascending within each centre.
    centres : array (n_centres,) of int
        The channel that each score is written to.
    n_channels : int
        Channels of the data.

    Examples
    --------
    >>> n = sphere_neighbours(np.ones((3, 1, 1), bool), radius=1.5)
    >>> [list(map(int, n[c])) for c in range(3)]
    [[0, 1], [0, 1, 2], [1, 2]]
    """

    indptr: np.ndarray
    indices: np.ndarray
    centres: np.ndarray
    n_channels: int

    def __post_init__(self):
        for name, dtype in (("indptr", np.int64), ("indices", np.int32), ("centres", np.int64)):
            value = np.array(getattr(self, name), dtype=dtype)
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        n = len(self.centres)
        if self.indptr.shape != (n + 1,) or self.indptr[0] != 0 or self.indptr[-1] != len(self.indices):
            raise ShapeMismatch(
                f"indptr must run from 0 to {len(self.indices):,} in {n + 1:,} entries, got {self.indptr.shape}."
            )
        if (np.diff(self.indptr) < 0).any():
            raise ShapeMismatch("indptr must not descend.")
        for name in ("indices", "centres"):
            value = getattr(self, name)
            if value.size and (value.min() < 0 or value.max() >= self.n_channels):
                raise ShapeMismatch(
                    f"{name} must lie in 0..{self.n_channels - 1:,}, got {value.min():,} to {value.max():,}."
                )

    def __len__(self) -> int:
        return len(self.centres)

    def __getitem__(self, centre: int) -> np.ndarray:
        if not -len(self) <= centre < len(self):
            raise IndexError(f"centre {centre} of {len(self)}")
        c = centre % len(self)
        return self.indices[self.indptr[c] : self.indptr[c + 1]]

    def __repr__(self) -> str:
        mean = len(self.indices) / max(len(self), 1)
        return f"Neighbourhoods({len(self):,} centres of {mean:.1f} channels among {self.n_channels:,})"

    @property
    def sizes(self) -> np.ndarray:
        """Channels per centre, (n_centres,)."""
        return np.diff(self.indptr)

    def to_sparse(self) -> Any:
        """Return a scipy CSR matrix of ones, (n_centres, n_channels)."""
        from scipy.sparse import csr_array

        ones = np.ones(len(self.indices))
        return csr_array((ones, self.indices, self.indptr), shape=(len(self), self.n_channels))

    def save(self, path: str | Path) -> None:
        """Write one ``.npz`` file."""
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, indptr=self.indptr, indices=self.indices, centres=self.centres, n_channels=self.n_channels)

    @classmethod
    def load(cls, path: str | Path) -> Neighbourhoods:
        """Read what :meth:`save` wrote."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(file["indptr"], file["indices"], file["centres"], int(file["n_channels"]))
        except (KeyError, ValueError, EOFError) as error:
            raise CorruptFile(f"{path} does not hold neighbourhoods written by Neighbourhoods.save: {error}") from error


def as_neighbourhoods(x: Any, centres: Any = None, n_channels: int | None = None) -> Neighbourhoods:
    """Return :class:`Neighbourhoods` from a sparse matrix, a list of index arrays, or what is one already.

    Parameters
    ----------
    x : Neighbourhoods, scipy sparse matrix (n_centres, n_channels), or sequence of index arrays
        Non-zero entries of a row are the channels of that centre.
    centres : array (n_centres,) of int, optional
        By default 0, 1, 2...
    n_channels : int, optional
        Needed for a sequence.
    """
    if isinstance(x, Neighbourhoods):
        return x
    if hasattr(x, "tocsr"):
        csr = x.tocsr().copy()
        csr.eliminate_zeros()
        csr.sort_indices()
        rows = np.arange(csr.shape[0]) if centres is None else np.asarray(centres)
        if len(rows) and rows.max() >= csr.shape[1]:
            raise ShapeMismatch(f"{csr.shape[0]:,} centres of {csr.shape[1]:,} channels: say which with `centres`.")
        return Neighbourhoods(csr.indptr, csr.indices, rows, csr.shape[1])
    lists = [np.unique(np.asarray(row, dtype=np.int64)) for row in x]
    if n_channels is None:
        raise ValueError("neighbourhoods given as lists need n_channels, the number of channels of the data.")
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in lists])])
    indices = np.concatenate(lists) if lists else np.zeros(0, int)
    return Neighbourhoods(indptr, indices, np.arange(len(lists)) if centres is None else centres, n_channels)


def sphere_neighbours(
    mask: Any, radius: float, *, threshold: float = 0.0, voxel_size: float | Sequence[float] = 1.0
) -> Neighbourhoods:
    """Return the spheres around all voxels of a mask, truncated to the mask.

    Parameters
    ----------
    mask : boolean array (X, Y, Z)
        Its voxels, in C order, are the channels.
    radius : float
        A voxel belongs to the sphere if its distance is *below* the radius, in units of ``voxel_size``.
    threshold : float, 0 to 1
        Centres are kept if at least this share of their whole sphere lies in the mask. 0 keeps every voxel.
    voxel_size : float or three floats
        1 gives the radius in voxels; the zooms of the image give it in mm.

    Returns
    -------
    Neighbourhoods
    """
    inside = np.asarray(mask) > 0
    if inside.ndim != 3:
        raise ShapeMismatch(f"a mask has three axes, got shape {inside.shape}.")
    if not inside.any():
        raise EmptySelection("the mask holds no voxel above 0.")
    _check_radius(radius)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is a share between 0 and 1, got {threshold!r}.")
    size = np.broadcast_to(np.asarray(voxel_size, float), (3,))
    if not (np.isfinite(size) & (size > 0)).all():
        raise ValueError(f"voxel_size must be positive, got {voxel_size!r}.")
    pad = np.minimum(np.ceil(radius / size).astype(int), inside.shape)
    grid = np.stack(np.meshgrid(*(np.arange(-p, p + 1) for p in pad), indexing="ij"), -1).reshape(-1, 3)
    squared = ((grid * size) ** 2).sum(1)
    whole = int((_full_sphere(radius, size) < radius**2).sum())
    offsets = grid[squared < radius**2]

    padded = np.array(inside.shape) + 2 * pad
    strides = np.array([padded[1] * padded[2], padded[2], 1])
    steps = np.sort(offsets @ strides)
    voxels = (np.argwhere(inside) + pad) @ strides
    table = np.full(int(np.prod(padded)), -1, np.int32)
    table[voxels] = np.arange(len(voxels), dtype=np.int32)

    counts, parts, kept = [], [], []
    for start in range(0, len(voxels), max(LOOKUPS // len(steps), 1)):
        here = voxels[start : start + max(LOOKUPS // len(steps), 1)]
        found = table[here[:, None] + steps]
        in_mask = found >= 0
        n = in_mask.sum(1)
        if threshold > 0:
            keep = n >= threshold * whole - 1e-9
            found, in_mask, n = found[keep], in_mask[keep], n[keep]
            kept.append(start + np.flatnonzero(keep))
        else:
            kept.append(np.arange(start, start + len(here)))
        counts.append(n)
        parts.append(found[in_mask])
    centres = np.concatenate(kept)
    if not len(centres):
        raise EmptySelection(f"no sphere of radius {radius:g} has {threshold:.0%} of its {whole} voxels in the mask.")
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return Neighbourhoods(indptr, np.concatenate(parts), centres, len(voxels))


def window_neighbours(times: Any, width: float, *, step: int = 1) -> Neighbourhoods:
    """Return the time points within ``width`` / 2 of every ``step``-th time, windows truncated to the data.

    Parameters
    ----------
    times : array (n_times,), ascending
        Seconds.
    width : float
        Seconds; 0 takes single time points.
    step : int
        Centres are every ``step``-th time point.
    """
    t = np.asarray(times, float)
    if t.ndim != 1 or not len(t) or (np.diff(t) <= 0).any():
        raise ShapeMismatch("times must be one ascending axis.")
    if not width >= 0:
        raise ValueError(f"width must be 0 s or more, got {width!r}.")
    centres = np.arange(0, len(t), check_positive_int("step", step))
    slack = 1e-9 * max(1.0, float(np.abs(t).max()))
    first = np.searchsorted(t, t[centres] - width / 2 - slack)
    stop = np.searchsorted(t, t[centres] + width / 2 + slack)
    sizes = stop - first
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    indices = np.arange(indptr[-1]) - np.repeat(indptr[:-1] - first, sizes)
    return Neighbourhoods(indptr, indices, centres, len(t))


def product_neighbours(space: Neighbourhoods, time: Neighbourhoods) -> Neighbourhoods:
    """Return neighbourhoods over channels x times: channel v at time t is number v * n_times + t.

    For data (n, n_channels, n_times), reshaped to (n, n_channels * n_times).
    """
    from scipy.sparse import kron

    both = kron(space.to_sparse(), time.to_sparse(), format="csr")
    centres = (space.centres[:, None] * time.n_channels + time.centres).reshape(-1)
    return as_neighbourhoods(both, centres)


def whole_neighbourhood(n_channels: int) -> Neighbourhoods:
    """Return one neighbourhood of all channels, for :func:`product_neighbours` with time windows."""
    return Neighbourhoods([0, n_channels], np.arange(n_channels), [0], n_channels)


def disc_neighbours(
    vertices: Any, faces: Any, radius: float, *, keep: Any = None, threshold: float = 0.0
) -> Neighbourhoods:
    """Return the geodesic discs around the vertices of a mesh.

    Distances run along edges and, where that is shorter, straight across two triangles that share an edge (unfolded
    into their plane), which brings the excess over true geodesics from about 15 % to a few percent.

    Parameters
    ----------
    vertices : array (n_vertices, 3)
        Positions, mm.
    faces : array (n_faces, 3) of int
    radius : float
        mm; a vertex belongs to the disc if its distance is *below* the radius.
    keep : boolean mask or indices, optional
        The vertices that are channels, e.g. without the medial wall; paths may cross the others.
    threshold : float, 0 to 1
        Centres are kept if at least this share of their disc's vertices is kept.
    """
    from scipy.sparse.csgraph import dijkstra
    from scipy.spatial import KDTree

    xyz, triangles = np.asarray(vertices, float), np.asarray(faces)
    if xyz.ndim != 2 or xyz.shape[1] != 3 or triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ShapeMismatch(f"a mesh is (n_vertices, 3) and (n_faces, 3), got {xyz.shape} and {triangles.shape}.")
    if triangles.size and (triangles.min() < 0 or triangles.max() >= len(xyz)):
        raise ShapeMismatch(f"faces name vertices 0..{triangles.max()}, the mesh has {len(xyz):,}.")
    _check_radius(radius)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is a share between 0 and 1, got {threshold!r}.")
    chosen = np.arange(len(xyz)) if keep is None else np.arange(len(xyz))[np.asarray(keep)]
    if not len(chosen):
        raise EmptySelection("no vertex of the mesh is kept.")
    number = np.full(len(xyz), -1)
    number[chosen] = np.arange(len(chosen))
    graph = mesh_graph(xyz, triangles)
    counts, parts, kept = [], [], []
    # a geodesic is no shorter than the straight line: sources close together need only the mesh around them
    tree = KDTree(xyz)
    nearby = KDTree(xyz[chosen]).indices
    for start in range(0, len(chosen), SOURCES):
        here = nearby[start : start + SOURCES]
        around = tree.query_ball_point(xyz[chosen[here]], radius)
        patch = np.unique(np.concatenate([np.asarray(a, dtype=np.int64) for a in around]))
        sources = np.searchsorted(patch, chosen[here])
        near = dijkstra(graph[patch][:, patch], indices=sources, limit=radius) < radius
        total, columns = near.sum(1), number[patch] >= 0
        near = near[:, columns]
        rows = np.flatnonzero(near.sum(1) >= threshold * total - 1e-9)
        counts.append(near[rows].sum(1))
        parts.append(number[patch[columns]][np.nonzero(near[rows])[1]])
        kept.append(here[rows])
    centres, sizes = np.concatenate(kept), np.concatenate(counts)
    if not len(centres):
        raise EmptySelection(f"no disc of radius {radius:g} has {threshold:.0%} of its vertices kept.")
    indices, first = np.concatenate(parts), np.concatenate([[0], np.cumsum(sizes)[:-1]])
    order = np.argsort(centres)
    indptr = np.concatenate([[0], np.cumsum(sizes[order])])
    position = np.arange(indptr[-1]) + np.repeat(first[order] - indptr[:-1], sizes[order])
    return Neighbourhoods(indptr, indices[position], centres[order], len(chosen))


def mesh_graph(vertices: np.ndarray, faces: np.ndarray) -> Any:
    """Return the graph of edges and unfolded diagonals, CSR of lengths (n_vertices, n_vertices)."""
    from scipy.sparse import coo_array

    n = len(vertices)
    a, b, opposite = (np.concatenate([faces[:, k] for k in order]) for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1)))
    low, high = np.minimum(a, b), np.maximum(a, b)
    code = low.astype(np.int64) * n + high
    order = np.argsort(code, kind="stable")
    code, low, high, opposite = code[order], low[order], high[order], opposite[order]
    _, first, count = np.unique(code, return_index=True, return_counts=True)
    edges = np.stack([low[first], high[first]])
    lengths = np.linalg.norm(vertices[edges[0]] - vertices[edges[1]], axis=1)

    shared = first[count == 2]
    p, q = vertices[low[shared]], vertices[high[shared]]
    across = np.stack([opposite[shared], opposite[shared + 1]])
    edge = np.linalg.norm(q - p, axis=1)
    unit = (q - p) / np.maximum(edge, 1e-300)[:, None]
    along = [((vertices[o] - p) * unit).sum(1) for o in across]
    height = [np.linalg.norm(vertices[o] - p - x[:, None] * unit, axis=1) for o, x in zip(across, along, strict=True)]
    total = np.maximum(height[0] + height[1], 1e-300)
    crossing = (along[0] * height[1] + along[1] * height[0]) / total
    straight = (crossing > 0) & (crossing < edge) & (across[0] != across[1])
    diagonal = np.hypot(along[0] - along[1], height[0] + height[1])

    ends = np.concatenate([edges, across[:, straight]], axis=1)
    weights = np.concatenate([lengths, diagonal[straight]])
    low, high = ends.min(0), ends.max(0)
    order = np.lexsort((weights, high, low))
    low, high, weights = low[order], high[order], weights[order]
    fresh = np.ones(len(low), bool)
    fresh[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    low, high, weights = low[fresh], high[fresh], weights[fresh]
    rows, columns = np.concatenate([low, high]), np.concatenate([high, low])
    return coo_array((np.concatenate([weights, weights]), (rows, columns)), shape=(n, n)).tocsr()


def mask_fingerprint(mask: np.ndarray) -> str:
    """Return a digest of a mask's shape and voxels."""
    return hashlib.sha256(repr(mask.shape).encode() + np.packbits(mask).tobytes()).hexdigest()


def _check_radius(radius: float) -> None:
    if not (np.isfinite(radius) and radius > 0):
        raise ValueError(f"radius must be positive, got {radius!r}.")


def _full_sphere(radius: float, size: np.ndarray) -> np.ndarray:
    axes = [(np.arange(-k, k + 1) * s) ** 2 for k, s in zip(np.ceil(radius / size).astype(int), size, strict=True)]
    return axes[0][:, None, None] + axes[1][:, None] + axes[2]
