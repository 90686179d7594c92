"""One phantom subject's brain: a voxel grid around the back of the fsaverage5 surface, and what lies in each voxel.

Coordinates are MNI-like, so that maps of a phantom project onto fsaverage as maps of people do. Grid origin, obliquity
and layout differ between subjects; no two have the same number of voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuro._check import check_option
from neuro.datasets.phantom.layout import CATEGORY, Layout
from neuro.datasets.phantom.mesh import FRONT, N_VERTICES, SIDES, load_mesh

#: Voxel edge of func1pt8mm in mm by grid name. func1mm is finer by the factor of NSD's grids.
GRIDS = {"standard": 5.0, "small": 8.0}
FINER = 1.8


@dataclass(frozen=True, eq=False)
class Cortex:
    """One subject's grid and layout; n brain voxels in C order over (X, Y, Z).

    Parameters
    ----------
    shape : (3,) ints
        All different, so that a swapped axis cannot go unnoticed.
    affine : array (4, 4)
        Voxel indices to mm.
    ijk : array (n, 3)
    hemi : array (n,) of "L", "R" or ""
        "" where there is brain but no cortex.
    early, middle, stream : arrays (n,) of str
        Early visual area, further retinotopic area, stream; "" elsewhere.
    region : array (n,) of str
        What decides a voxel's tuning: an early area, else a category region, else a further area, else "".
    angle, eccentricity : arrays (n,)
        Position in the visual field by the layout; NaN outside retinotopic areas.
    discs : dict region -> array (n,)
        Distance from the middle of each category region over its radius; below 1 is inside.
    general : bool array (n,)
    template : array (n,) of str
        Area in the group atlas, which is not quite this person's.
    vertices : dict side -> array (10242,)
        The voxel that each fsaverage5 vertex lies in, -1 where the grid ends.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    ijk: np.ndarray
    hemi: np.ndarray
    early: np.ndarray
    middle: np.ndarray
    stream: np.ndarray
    region: np.ndarray
    angle: np.ndarray
    eccentricity: np.ndarray
    discs: dict[str, np.ndarray]
    general: np.ndarray
    template: np.ndarray
    vertices: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.ijk)

    @property
    def cortex(self) -> np.ndarray:
        """Which voxels hold cortex, bool (n,)."""
        return self.hemi != ""

    @property
    def xyz(self) -> np.ndarray:
        """Voxel centres in mm, (n, 3)."""
        return self.ijk @ self.affine[:3, :3].T + self.affine[:3, 3]


@dataclass(frozen=True, eq=False)
class FineGrid:
    """The same brain on func1mm's grid: each fine voxel shows the coarse voxel it lies in.

    Parameters
    ----------
    shape, affine, ijk : as in Cortex
    source : array (n_fine,)
        Row of the coarse voxel.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    ijk: np.ndarray
    source: np.ndarray


def make_cortex(rng: np.random.Generator, grid: str = "standard") -> Cortex:
    """Carve one subject's grid and lay out its areas.

    Parameters
    ----------
    rng : Generator
        Where this subject differs from others.
    grid : "standard" (5 mm voxels, some 2,000 in nsdgeneral) or "small" (8 mm, some hundreds)
    """
    size = GRIDS[check_option("grid", grid, GRIDS)]
    layouts = {side: Layout(side, rng) for side in SIDES}
    mesh = load_mesh()
    points = np.concatenate([mesh[s].points for s in SIDES])
    affine, shape = _grid(points, size, rng)
    index = np.round((points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).astype(int)
    flat = np.ravel_multi_index(tuple(index.T), shape)
    off_centre = np.linalg.norm(index @ affine[:3, :3].T + affine[:3, 3] - points, axis=1)
    # Of the sampled points in a voxel, the one nearest to its centre speaks for it.
    order = np.lexsort((off_centre, flat))
    cortical = order[np.r_[True, np.diff(flat[order]) != 0]]
    grey = np.zeros(np.prod(shape), bool)
    grey[flat[cortical]] = True
    brain = np.flatnonzero(_fill(grey.reshape(shape)))
    n = len(brain)
    at = np.searchsorted(brain, flat[cortical])  # brain row of every cortical voxel
    sides = np.repeat(SIDES, [len(mesh[s].points) for s in SIDES])[cortical]
    towards = np.concatenate([mesh[s].towards for s in SIDES])[cortical]

    hemi = np.full(n, "", "<U1")
    hemi[at] = sides
    text = {k: np.full(n, "", "<U12") for k in ("early", "middle", "stream", "template")}
    angle, eccentricity, general = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, bool)
    discs = {name: np.full(n, np.inf) for name in CATEGORY}
    for side in SIDES:
        here = sides == side
        rows, places = at[here], layouts[side].at(towards[here])
        for key in ("early", "middle", "stream"):
            text[key][rows] = getattr(places, key)
        angle[rows], eccentricity[rows], general[rows] = places.angle, places.eccentricity, places.general
        for name, distance in places.discs.items():
            discs[name][rows] = distance
        group = Layout(side).at(towards[here])
        text["template"][rows] = np.where(group.early != "", group.early, group.middle)
    text["stream"][~general] = ""
    region = _region(text["early"], text["middle"], discs)
    ijk = np.stack(np.unravel_index(brain, shape), axis=1)
    vertices = {s: _voxel_of_vertices(s, ijk, hemi, affine) for s in SIDES}
    return Cortex(
        shape, affine, ijk, hemi, text["early"], text["middle"], text["stream"], region, angle, eccentricity, discs,
        general, text["template"], vertices,
    )  # fmt: skip


def make_fine_grid(cortex: Cortex) -> FineGrid:
    """Cover a brain with smaller voxels, on axes of its own."""
    size = np.linalg.norm(cortex.affine[:3, 0])
    step = size / FINER
    corners = np.array([[-0.5, -0.5, -0.5], np.array(cortex.shape) - 0.5])
    count = np.ceil((corners[1] - corners[0]) * size / step).astype(int)
    count += [0, 1, 2]
    while len(set(count.tolist())) < 3:
        count[1] += 1
    affine = cortex.affine.copy()
    affine[:3, :3] /= FINER
    affine[:3, 3] = cortex.affine[:3, :3] @ (corners[0] + 0.5 / FINER) + cortex.affine[:3, 3]
    rows = np.full(cortex.shape, -1)
    rows[tuple(cortex.ijk.T)] = np.arange(len(cortex))
    axes = [np.round(corners[0, a] + (np.arange(count[a]) + 0.5) / FINER).astype(int) for a in range(3)]
    inside = [a < n for a, n in zip(axes, cortex.shape, strict=True)]
    full = np.full(count, -1)
    full[np.ix_(*inside)] = rows[np.ix_(*(a[k] for a, k in zip(axes, inside, strict=True)))]
    ijk = np.argwhere(full >= 0)
    shape = (int(count[0]), int(count[1]), int(count[2]))
    return FineGrid(shape, affine, ijk, full[tuple(ijk.T)])


def _grid(points: np.ndarray, size: float, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int, int]]:
    """A slightly oblique grid around the points, with a margin of one to three voxels."""
    a, b, c = np.radians(rng.uniform(-4, 4, 3))
    turn = (
        np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        @ np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        @ np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    )
    turned = points @ turn  # along the grid's own axes
    low = turned.min(0) - size * rng.uniform(1, 2.5, 3)
    count = np.ceil((turned.max(0) - low) / size).astype(int) + 1 + rng.integers(1, 3, 3)
    while len(set(count.tolist())) < 3:
        count[np.argmax([count.tolist().count(k) for k in count.tolist()])] += 1
    affine = np.eye(4)
    affine[:3, :3] = turn * size
    affine[:3, 3] = turn @ low
    return affine, (int(count[0]), int(count[1]), int(count[2]))


def _fill(grey: np.ndarray) -> np.ndarray:
    """Cortex and what it encloses."""
    from scipy import ndimage

    closed = ndimage.binary_closing(np.pad(grey, 2), ndimage.generate_binary_structure(3, 1), 2)[2:-2, 2:-2, 2:-2]
    return np.asarray(ndimage.binary_fill_holes(closed | grey))


def _region(early: np.ndarray, middle: np.ndarray, discs: dict[str, np.ndarray]) -> np.ndarray:
    nearest = np.full(len(early), 1.0)
    region = middle.copy()
    for name, distance in discs.items():
        wins = distance < nearest
        region[wins] = name
        nearest = np.where(wins, distance, nearest)
    return np.where(early != "", early, region)


def _voxel_of_vertices(side: str, ijk: np.ndarray, hemi: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The cortical voxel of the same hemisphere nearest to each vertex; -1 for the front of the brain."""
    from scipy.spatial import cKDTree

    rows = np.flatnonzero(hemi == side)
    tree = cKDTree(ijk[rows] @ affine[:3, :3].T + affine[:3, 3])
    middle = load_mesh()[side].middle
    behind = middle[:, 1] < FRONT
    out = np.full(N_VERTICES, -1)
    out[behind] = rows[tree.query(middle[behind])[1]]
    return out
