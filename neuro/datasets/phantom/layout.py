"""Where the phantom's areas lie on the cortex, and what part of the visual field each place sees.

Early areas unroll around the fovea at the occipital pole: u runs forward along the calcarine sulcus, w from ventral to
dorsal. V1 is a strip along u with a round foveal end; V2 and V3 lie around it like shells, so that each area's dorsal
and ventral halves meet at the fovea. Eccentricity grows exponentially with u and polar angle with the distance from
V1's middle, turning back at each border. The other areas are discs around published coordinates.

Every person's layout is turned, shifted and stretched a little, and every disc moved and resized.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro.datasets.phantom.mesh import DEGREES_PER_MM, degrees_between, load_mesh, tangent_plane

EARLY = ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")
ECCENTRICITY_BORDERS = (0.5, 1.0, 2.0, 4.0)

# MNI coordinates (|x|, y, z) and radius along the cortex, both in mm.
Disc = tuple[float, float, float, float]
#: Areas with a retinotopic map between early and category-selective cortex, by their names in Kastner2015.
MIDDLE: dict[str, Disc] = {
    "VO1": (28, -71, -10, 8),
    "VO2": (27, -63, -9, 8),
    "PHC1": (28, -56, -9, 7),
    "PHC2": (30, -48, -9, 7),
    "TO2": (43, -69, 4, 7),
    "TO1": (46, -77, 4, 7),
    "LO2": (40, -82, 5, 8),
    "LO1": (32, -87, 5, 9),
    "V3B": (31, -86, 15, 8),
    "V3A": (19, -88, 23, 11),
    "IPS0": (27, -77, 28, 12),
    "IPS1": (23, -69, 38, 10),
    "IPS2": (20, -67, 48, 10),
    "IPS3": (22, -61, 55, 9),
}
# Where discs meet, the border is half-way: regions of different atlases do not overlap, as some of NSD's do.
#: Category-selective regions: atlas, disc on the left and on the right (None: absent), preferred category.
CATEGORY: dict[str, tuple[str, Disc | None, Disc | None, str]] = {
    "OFA": ("floc-faces", (39, -78, -11, 9), (40, -77, -10, 10), "face"),
    "FFA-1": ("floc-faces", (40, -62, -17, 10), (40, -61, -17, 11), "face"),
    "FFA-2": ("floc-faces", (40, -45, -21, 9), (40, -44, -20, 10), "face"),
    "EBA": ("floc-bodies", (46, -74, 4, 13), (47, -71, 4, 14), "body"),
    "FBA-1": ("floc-bodies", (46, -53, -16, 9), (46, -52, -16, 9), "body"),
    "FBA-2": ("floc-bodies", (46, -38, -21, 9), (46, -37, -20, 9), "body"),
    "OPA": ("floc-places", (32, -84, 21, 10), (33, -81, 22, 11), "place"),
    "PPA": ("floc-places", (27, -48, -9, 12), (27, -46, -9, 13), "place"),
    "RSC": ("floc-places", (16, -58, 11, 10), (16, -56, 12, 11), "place"),
    "OWFA": ("floc-words", (43, -82, -5, 9), (43, -81, -5, 6), "word"),
    "VWFA-1": ("floc-words", (48, -63, -9, 10), (48, -62, -9, 7), "word"),
    "VWFA-2": ("floc-words", (51, -53, -11, 9), None, "word"),
    "food-lateral": ("food", (34, -68, -14, 8), (34, -67, -14, 8), "food"),
    "food-medial": ("food", (34, -52, -15, 8), (34, -51, -15, 8), "food"),
}
#: These are missing, on the right, in some people.
_SOMETIMES = ("FBA-2", "OWFA", "VWFA-1")
# Around which places the streams lie.
_STREAMS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "midventral": ((28, -81, -11), (28, -71, -10), (36, -76, -12)),
    "midlateral": ((32, -87, 5), (40, -82, 2), (42, -80, -4)),
    "midparietal": ((31, -86, 15), (19, -88, 23), (26, -80, 26)),
    "ventral": ((40, -57, -18), (27, -47, -9), (42, -44, -20), (28, -60, -9), (46, -60, -13)),
    "lateral": ((46, -73, 4), (50, -62, 4), (46, -68, 10), (40, -76, 14)),
    "parietal": ((23, -69, 38), (20, -65, 50), (32, -74, 32)),
}
# Fovea and a place further along the calcarine, MNI, by side.
_FOVEA = {"L": (-16, -98, -9), "R": (17, -97, -6)}
_ALONG = {"L": (-14, -79, 9), "R": (15, -76, 9)}

# Of the unrolled early areas, in degrees of the sphere: half-width of V1, and borders of V1, V2, V3 and of the area
# beyond (hV4 below, V3A above) in units of it.
_HALF_WIDTH = 10.0
_BORDERS = (1.0, 1.75, 2.4, 3.2)
_LENGTH = 40.0
# Eccentricity = _FOVEAL * exp(u / _SCALE): .3 degrees at V1's tip, 5 at its end. People have less cortex for the
# centre and much more periphery, which NSD's pictures do not reach.
_FOVEAL, _SCALE = 0.3, 14.0


@dataclass(frozen=True, eq=False)
class Places:
    """What lies at each of n places of one hemisphere.

    Parameters
    ----------
    early, middle : arrays (n,) of str
        Early visual area and further retinotopic area, "" elsewhere.
    angle, eccentricity : arrays (n,)
        Centre of the visual field seen: degrees anticlockwise from the right (0-360), degrees of visual angle; NaN
        outside retinotopic areas.
    discs : dict region -> array (n,)
        Distance from the middle of each category region in units of its radius: below 1 is inside.
    stream : array (n,) of str
    general : bool array (n,)
        Responsive visual cortex, NSD's nsdgeneral.
    """

    early: np.ndarray
    middle: np.ndarray
    angle: np.ndarray
    eccentricity: np.ndarray
    discs: dict[str, np.ndarray]
    stream: np.ndarray
    general: np.ndarray


class Layout:
    """One person's layout of one hemisphere.

    Parameters
    ----------
    side : "L" or "R"
    rng : Generator or None
        What makes this person differ from the template; None gives the template.
    """

    def __init__(self, side: str, rng: np.random.Generator | None = None):
        draw: Any = rng if rng is not None else _Template()
        self.side = side
        self.hemisphere = load_mesh()[side]
        self.sign = -1 if side == "L" else 1
        self.turn = np.radians(draw.normal(0, 4))
        self.shift = draw.normal(0, 1.2, 2)
        self.width, self.length = draw.uniform(0.88, 1.14, 2)
        self.discs: dict[str, tuple[np.ndarray, float]] = {}
        everything = {**{k: d for k, (_, *sides, _) in CATEGORY.items() for d in [sides[side == "R"]]}, **MIDDLE}
        for name, disc in everything.items():
            moved, scale, luck = draw.normal(0, 2.0, 3), draw.uniform(0.85, 1.2), draw.uniform(0, 1)
            absent = side == "R" and name in _SOMETIMES and luck < 0.2
            if disc is not None and not absent:
                x, y, z, radius = disc
                seed = self.hemisphere.seed(np.array([self.sign * x, y, z]) + moved)
                self.discs[name] = (seed, radius * scale * DEGREES_PER_MM)

    def unroll(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return u and w of places on the sphere, degrees; w grows dorsally."""
        h = self.hemisphere
        u, w = tangent_plane(directions, h.seed(_at(_FOVEA, self.side)), h.seed(_at(_ALONG, self.side)))
        # To the left of forward, seen from outside, is dorsal on the left hemisphere and ventral on the right.
        w = w if self.side == "L" else -w
        u, w = u - self.shift[0], w - self.shift[1]
        c, s = np.cos(self.turn), np.sin(self.turn)
        return (c * u + s * w) / self.length, (c * w - s * u) / self.width

    def at(self, directions: np.ndarray) -> Places:
        """Say what lies at places of the sphere, unit vectors (n, 3)."""
        early, angle, eccentricity = self._early(directions)
        relative = {name: degrees_between(directions, seed) / radius for name, (seed, radius) in self.discs.items()}
        middle = np.full(len(directions), "", "<U8")
        nearest = np.full(len(directions), 1.0)
        for name in MIDDLE:
            wins = (relative[name] < nearest) & (early == "")
            middle[wins] = name
            nearest = np.where(wins, relative[name], nearest)
            a, e = self._map_of(name, directions[wins])
            angle[wins], eccentricity[wins] = a, e
        discs = {name: np.where(early == "", r, np.inf) for name, r in relative.items() if name in CATEGORY}
        stream = self._stream(directions, early)
        general = self._general(directions, early)
        return Places(early, middle, angle, eccentricity, discs, stream, general)

    def _early(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        u, w = self.unroll(directions)
        tip = _HALF_WIDTH
        # A half-line from the tip along u: straight beside it, round behind it.
        distance = np.where(u >= tip, np.abs(w), np.hypot(u - tip, w)) / (_HALF_WIDTH * (1 + 0.004 * np.maximum(u, 0)))
        upper = w < 0
        v1, v2, v3, v4 = _BORDERS
        # Beyond the stimulated field an area goes on, but nothing there is part of the experiment.
        inside = (u < _LENGTH - 4 * (distance > v1)) & (directions @ self.hemisphere.seed(_at(_FOVEA, self.side)) > 0.3)
        area = np.select([distance < v1, distance < v2, distance < v3], ["V1", "V2", "V3"], "")
        early = np.where(inside & (area != ""), np.char.add(area, np.where(upper, "v", "d")), "").astype("<U8")
        fourth = inside & upper & (distance >= v3) & (distance < v4) & (u > -8) & (u < 26)
        early[fourth] = "hV4"
        # Share of the way from the horizontal (0) to the vertical meridian (1).
        share = np.select(
            [distance < v1, distance < v2, distance < v3],
            [distance / v1, 1 - (distance - v1) / (v2 - v1), (distance - v2) / (v3 - v2)],
            0,
        )
        elevation = np.where(upper, 90.0, -90.0) * share
        elevation[fourth] = 90 - 180 * (distance[fourth] - v3) / (v4 - v3)
        angle = self._angle(elevation)
        eccentricity = _FOVEAL * np.exp(np.clip(u, -12, None) / _SCALE)
        outside = early == ""
        angle[outside], eccentricity[outside] = np.nan, np.nan
        return early, angle, eccentricity

    def _angle(self, elevation: np.ndarray) -> np.ndarray:
        """Turn degrees above the horizontal into polar angle; the left hemisphere sees the right field."""
        return np.where(self.side == "L", elevation, 180 - elevation) % 360

    def _map_of(self, name: str, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Polar angle and eccentricity in one of the further areas: a half-field across its disc."""
        seed, radius = self.discs[name]
        fovea = self.hemisphere.seed(_at(_FOVEA, self.side))
        # Foveal parts face away from the periphery of V1; odd and even areas mirror each other.
        a, b = tangent_plane(directions, seed, seed - 0.5 * fovea)
        flip = 1 if list(MIDDLE).index(name) % 2 else -1
        angle = self._angle(85 * flip * np.clip(b / radius, -1, 1))
        return angle, 0.5 * np.exp(1.1 * (1 + np.clip(a / radius, -1, 1)))

    def _stream(self, directions: np.ndarray, early: np.ndarray) -> np.ndarray:
        best = np.full(len(directions), np.inf)
        out = np.full(len(directions), "", "<U11")
        for name, places in _STREAMS.items():
            for x, y, z in places:
                distance = degrees_between(directions, self.hemisphere.seed(np.array([self.sign * x, y, z])))
                out = np.where(distance < best, name, out)
                best = np.minimum(best, distance)
        out = np.where(early == "hV4", "midventral", out)
        return np.where((early != "") & (early != "hV4"), "early", out)

    def _general(self, directions: np.ndarray, early: np.ndarray) -> np.ndarray:
        """Early areas, category regions and the nearer retinotopic areas, with a margin around each."""
        u, w = self.unroll(directions)
        out = (early != "") | ((u > -20) & (u < _LENGTH) & (np.abs(w) < _HALF_WIDTH * _BORDERS[2]))
        for name, (seed, radius) in self.discs.items():
            if name not in ("IPS1", "IPS2", "IPS3"):
                out |= degrees_between(directions, seed) < radius + 4.5
        return out


def _at(places: dict[str, tuple[float, float, float]], side: str) -> np.ndarray:
    return np.array(places[side])


class _Template:
    """Draws the expected value of everything: the layout of nobody in particular."""

    def normal(self, loc: float = 0.0, scale: float = 1.0, size: int | None = None) -> Any:
        return loc if size is None else np.full(size, float(loc))

    def uniform(self, low: float = 0.0, high: float = 1.0, size: int | None = None) -> Any:
        middle = (low + high) / 2
        return middle if size is None else np.full(size, middle)
