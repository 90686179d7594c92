"""The phantom's cortex: a voxel grid around the back of the fsaverage5 surface, with regions where people have them.

Early areas are a strip model of the occipital pole: eccentricity runs along the calcarine sulcus, polar angle across
it, and V1, V2, V3 mirror one another at the vertical and horizontal meridians. Category areas are discs around
published coordinates. Every subject's layout is shifted, turned and scaled a little, so no two match voxel by voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from neuro._check import check_option

# Voxel edge in mm by grid name.
GRIDS = {"standard": 4.0, "small": 8.0}

# MNI coordinates (|x|, y, z) in mm and radius in units of the fsaverage sphere (radius 100), of one hemisphere;
# hemi says where a region exists.
CATEGORY_REGIONS: dict[str, tuple[str, tuple[float, float, float], float, str]] = {
    "OFA": ("floc-faces", (40, -77, -10), 9.5, "LR"),
    "FFA-1": ("floc-faces", (41, -57, -19), 10.8, "LR"),
    "FFA-2": ("floc-faces", (42, -44, -22), 9.5, "LR"),
    "EBA": ("floc-bodies", (47, -72, 4), 13.5, "LR"),
    "FBA-1": ("floc-bodies", (47, -52, -15), 8.1, "LR"),
    "OPA": ("floc-places", (32, -82, 22), 10.8, "LR"),
    "PPA": ("floc-places", (26, -46, -9), 12.2, "LR"),
    "RSC": ("floc-places", (16, -56, 10), 10.8, "LR"),
    "OWFA": ("floc-words", (44, -80, -3), 6.8, "L"),
    "VWFA-1": ("floc-words", (46, -62, -9), 8.1, "L"),
    "VWFA-2": ("floc-words", (48, -48, -8), 6.8, "L"),
    "food": ("food", (33, -60, -14), 9.5, "LR"),
}
EARLY = ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")
# Half-width of V1 and widths of V2, V3, hV4 across the calcarine, in sphere units.
_WIDTHS = (13.0, 9.0, 8.0, 12.0)
_LENGTH = (-7.0, 46.0)
MAX_ECCENTRICITY = 4.2


@dataclass(frozen=True, eq=False)
class Cortex:
    """One subject's grid and layout.

    Parameters
    ----------
    shape : (3,) ints
    affine : array (4, 4)
        Voxel indices to MNI-like mm.
    ijk : array (n, 3)
        Grey-matter voxels in C order over (X, Y, Z).
    hemi : array (n,) of "L" or "R"
    region : array (n,) of str
        The region that decides a voxel's tuning: an early area, a category region, or "".
    angle, eccentricity : arrays (n,)
        Position in the visual field along the layout: degrees anticlockwise from the right horizontal meridian
        (0-360) and degrees of visual angle; NaN outside the early strip.
    general : bool array (n,)
        The posterior cortex that NSD calls nsdgeneral.
    vertex : array (n,)
        Nearest fsaverage5 vertex of the voxel's hemisphere.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    ijk: np.ndarray
    hemi: np.ndarray
    region: np.ndarray
    angle: np.ndarray
    eccentricity: np.ndarray
    general: np.ndarray
    vertex: np.ndarray


@lru_cache(maxsize=1)
def _mesh() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mid-thickness and sphere coordinates of the two hemispheres of fsaverage5, from the copy nilearn ships."""
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import load_surf_mesh

    files = fetch_surf_fsaverage("fsaverage5")
    out = {}
    for side, name in (("L", "left"), ("R", "right")):
        white, pial, sphere = (
            np.asarray(load_surf_mesh(files[f"{kind}_{name}"]).coordinates, dtype=float)
            for kind in ("white", "pial", "sphere")
        )
        out[side] = ((white + pial) / 2, 100 * sphere / np.linalg.norm(sphere, axis=1, keepdims=True))
    return out


def make_cortex(rng: np.random.Generator, grid: str = "standard") -> Cortex:
    """Carve one subject's grid and lay out its regions.

    Parameters
    ----------
    rng : Generator
        Where this subject differs from others.
    grid : "standard" (4 mm voxels, over a thousand in nsdgeneral) or "small" (8 mm)
    """
    check_option("grid", grid, GRIDS)
    size = GRIDS[grid]
    layout = {side: _layout(side, rng) for side in "LR"}
    points, hemi, vertex = [], [], []
    for side, (mid, _) in _mesh().items():
        back = np.flatnonzero((mid[:, 1] < -30) & (mid[:, 2] < 42))
        points.append(mid[back])
        hemi += [side] * len(back)
        vertex.append(back)
    xyz, side_of, vertex_of = np.concatenate(points), np.array(hemi), np.concatenate(vertex)
    low = xyz.min(0) - 2 * size + rng.uniform(-0.5, 0.5, 3) * size
    shape = np.ceil((xyz.max(0) + 2 * size - low) / size).astype(int)
    # Three different sizes, so that a swapped axis cannot go unnoticed.
    while len(set(shape.tolist())) < 3:
        shape[np.argmax([shape.tolist().count(s) for s in shape])] += 1
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = low
    index = np.round((xyz - low) / size).astype(int)
    flat = np.ravel_multi_index(index.T, tuple(shape))
    distance = np.linalg.norm(index * size + low - xyz, axis=1)
    order = np.lexsort((distance, flat))
    first = np.r_[True, np.diff(flat[order]) != 0]
    chosen = order[first]  # ascending flat index: C order
    ijk = np.stack(np.unravel_index(flat[chosen], tuple(shape)), axis=1)
    side, vertex = side_of[chosen], vertex_of[chosen]
    pick = {key: np.where(side == "L", layout["L"][key][vertex], layout["R"][key][vertex]) for key in layout["L"]}
    return Cortex(
        tuple(int(s) for s in shape), affine, ijk, side, pick["region"], pick["angle"], pick["eccentricity"],
        pick["general"], vertex,
    )  # fmt: skip


def _layout(side: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Regions and visual-field positions of every vertex of one hemisphere."""
    mid, sphere = _mesh()[side]
    sign = -1 if side == "L" else 1

    def on_sphere(x: float, y: float, z: float) -> np.ndarray:
        return sphere[np.argmin(((mid - [sign * x, y, z]) ** 2).sum(1))]

    # A tangent plane at the occipital end of the calcarine: u runs forward along it, w from ventral to dorsal.
    pole, front = on_sphere(9, -98, -2), on_sphere(9, -68, 6)
    dorsal, ventral = on_sphere(8, -92, 20), on_sphere(10, -84, -12)
    centre = pole / np.linalg.norm(pole)
    u = front - centre * (front @ centre)
    u /= np.linalg.norm(u)
    w = np.cross(centre, u)
    w *= np.sign(w @ (dorsal - ventral))
    turn = rng.normal(0, 0.06)
    u, w = np.cos(turn) * u + np.sin(turn) * w, np.cos(turn) * w - np.sin(turn) * u
    along = sphere @ centre / 100
    flat = sphere - along[:, None] * 100 * centre
    length = np.linalg.norm(flat, axis=1)
    scale = 100 * np.arccos(np.clip(along, -1, 1)) / np.maximum(length, 1e-9)
    a = (flat @ u) * scale + rng.normal(0, 1.0)
    b = (flat @ w) * scale + rng.normal(0, 1.0)
    stretch = rng.uniform(0.9, 1.15)

    v1, v2, v3, v4 = np.cumsum(_WIDTHS) * stretch
    across, upper = np.abs(b), b < 0
    in_strip = (a > _LENGTH[0]) & (a < _LENGTH[1]) & (along > 0.3)
    area = np.select([across < v1, across < v2, across < v3], ["V1", "V2", "V3"], "")
    half = np.where(upper, "v", "d")
    region = np.where(in_strip & (area != ""), np.char.add(area, half), "").astype("<U8")
    region[in_strip & upper & (across >= v3) & (across < v4) & (a < 30)] = "hV4"
    # Polar angle from the horizontal (0) to the vertical meridian (90), mirrored at each border.
    t = np.select(
        [across < v1, across < v2, across < v3, across < v4],
        [across / v1, 1 - (across - v1) / (v2 - v1), (across - v2) / (v3 - v2), 1 - (across - v3) / (v4 - v3)],
        np.nan,
    )
    elevation = np.where(upper, 1, -1) * 90 * t
    elevation = np.where(region == "hV4", 90 - 180 * (1 - t), elevation)
    # The left hemisphere sees the right visual field.
    angle = np.where(sign < 0, elevation, 180 - elevation) % 360
    share = np.clip((a - _LENGTH[0]) / (_LENGTH[1] - _LENGTH[0]), 0, 1)
    eccentricity = 0.25 * (MAX_ECCENTRICITY / 0.25) ** share
    outside = ~np.isin(region, EARLY)
    angle, eccentricity = np.where(outside, np.nan, angle), np.where(outside, np.nan, eccentricity)

    best = np.full(len(sphere), np.inf)
    near = np.full(len(sphere), np.inf)
    for name, (_, coordinate, radius, hemis) in CATEGORY_REGIONS.items():
        seed = on_sphere(*(np.array(coordinate) + rng.normal(0, 2.0, 3)))
        distance = 100 * np.arccos(np.clip(sphere @ seed / 1e4, -1, 1))
        near = np.minimum(near, distance - radius)
        relative = distance / (radius * rng.uniform(0.85, 1.2))
        if side not in hemis:
            continue
        wins = (relative < 1) & (relative < best) & outside
        region[wins] = name
        best = np.where(wins, relative, best)
    general = ~outside | (near < 7)
    return {"region": region, "angle": angle, "eccentricity": eccentricity, "general": general}


def label_volumes(cortex: Cortex) -> dict[str, tuple[np.ndarray, dict[int, str]]]:
    """Return atlas name -> (label of each grey voxel (n,), {number: name}), with NSD's names and numbers.

    Kastner2015 stands for a group atlas: it is the layout of the unshifted template, so it disagrees a little.
    """
    region = cortex.region
    template = make_template_regions(cortex)
    ecc = np.digitize(np.nan_to_num(cortex.eccentricity, nan=-1), [0, 0.5, 1, 2, 4])
    tables: dict[str, list[str]] = {
        "nsdgeneral": ["nsdgeneral"],
        "prf-visualrois": list(EARLY),
        "prf-eccrois": ["ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"],
        "floc-faces": ["OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"],
        "floc-bodies": ["EBA", "FBA-1", "FBA-2", "mTL-bodies"],
        "floc-places": ["OPA", "PPA", "RSC"],
        "floc-words": ["OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"],
        "streams": ["early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"],
        "Kastner2015": list(EARLY),
    }
    out = {}
    for atlas, names in tables.items():
        if atlas == "nsdgeneral":
            labels = cortex.general.astype(int)
        elif atlas == "prf-eccrois":
            labels = ecc
        elif atlas == "streams":
            labels = _streams(cortex)
        else:
            source = template if atlas == "Kastner2015" else region
            labels = np.zeros(len(region), int)
            for number, name in enumerate(names, 1):
                labels[source == name] = number
        out[atlas] = (labels, dict(enumerate(names, 1)))
    return out


def make_template_regions(cortex: Cortex) -> np.ndarray:
    """Return the regions of the template (a layout of fixed seed) at a subject's voxels."""
    layout = {side: _layout(side, np.random.default_rng(2015)) for side in "LR"}
    left, right = (layout[side]["region"][cortex.vertex] for side in "LR")
    return np.where(cortex.hemi == "L", left, right)


def _streams(cortex: Cortex) -> np.ndarray:
    """Early, ventral, lateral and parietal parts of nsdgeneral by region and height."""
    z = cortex.ijk @ cortex.affine[2, :3] + cortex.affine[2, 3]
    early = np.isin(cortex.region, [r for r in EARLY if r != "hV4"])
    labels: Any = np.select([early, cortex.region == "hV4", z < -4, z < 14], [1, 2, 5, 6], 7)
    return np.where(cortex.general, labels, 0)
