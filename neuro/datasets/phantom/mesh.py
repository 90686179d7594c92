"""The surface that the phantom's cortex is carved from: fsaverage5, from the copy that nilearn ships.

Angles on the sphere are in degrees. The sphere's area is about 1.8 times that of the cortex, so ten millimetres of
cortex are some 7.6 degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

SIDES = ("L", "R")
N_VERTICES = 10242
DEGREES_PER_MM = 0.762
#: Cortex behind this y coordinate (mm) belongs to the phantom.
FRONT = -28.0
_DEPTHS = (0.0, 0.5, 1.0)
_SUBDIVISION = 2


@dataclass(frozen=True, eq=False)
class Hemisphere:
    """One hemisphere of the mesh.

    Parameters
    ----------
    middle : array (n_vertices, 3)
        Halfway between white and pial surface, mm.
    direction : array (n_vertices, 3)
        Unit vectors of the registration sphere.
    points : array (n, 3)
        A dense sample of the posterior grey matter, at all depths, mm.
    towards : array (n, 3)
        Where on the sphere each of them lies.
    vertex : array (n,)
        The nearest vertex of each.
    """

    middle: np.ndarray
    direction: np.ndarray
    points: np.ndarray
    towards: np.ndarray
    vertex: np.ndarray

    def seed(self, xyz: np.ndarray) -> np.ndarray:
        """Return the direction of the vertex nearest to a place in mm."""
        return self.direction[np.argmin(((self.middle - xyz) ** 2).sum(1))]


@lru_cache(maxsize=1)
def load_mesh() -> dict[str, Hemisphere]:
    """Read both hemispheres."""
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import load_surf_mesh

    files = fetch_surf_fsaverage("fsaverage5")
    out = {}
    for side, name in zip(SIDES, ("left", "right"), strict=True):
        white, pial, sphere = (load_surf_mesh(files[f"{kind}_{name}"]) for kind in ("white", "pial", "sphere"))
        inner, outer = (np.asarray(m.coordinates, dtype=float) for m in (white, pial))
        direction = np.asarray(sphere.coordinates, dtype=float)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        middle = (inner + outer) / 2
        faces = np.asarray(white.faces)
        faces = faces[middle[faces][:, :, 1].min(1) < FRONT]
        weights = _barycentric(_SUBDIVISION)  # (k, 3)
        towards = np.einsum("kc,fcx->fkx", weights, direction[faces]).reshape(-1, 3)
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        nearest = faces[:, weights.argmax(1)].reshape(-1)
        points = [
            np.einsum("kc,fcx->fkx", weights, (inner + d * (outer - inner))[faces]).reshape(-1, 3) for d in _DEPTHS
        ]
        behind = np.concatenate(points)[:, 1] < FRONT
        out[side] = Hemisphere(
            middle, direction, np.concatenate(points)[behind], np.tile(towards, (len(_DEPTHS), 1))[behind],
            np.tile(nearest, len(_DEPTHS))[behind],
        )  # fmt: skip
    return out


def _barycentric(n: int) -> np.ndarray:
    """Corner weights of a regular grid in a triangle, n steps along each side."""
    return np.array([(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)]) / n


def degrees_between(directions: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Return the angle of each unit vector (n, 3) from one, in degrees."""
    return np.degrees(np.arccos(np.clip(directions @ seed, -1, 1)))


def tangent_plane(directions: np.ndarray, centre: np.ndarray, ahead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unroll the sphere around a point, true to distance and direction from it.

    Returns
    -------
    u, w : arrays (n,)
        Degrees from ``centre`` towards ``ahead``, and to the left of that seen from outside.
    """
    u_axis = ahead - centre * (ahead @ centre)
    u_axis /= np.linalg.norm(u_axis)
    w_axis = np.cross(centre, u_axis)
    u, w = directions @ u_axis, directions @ w_axis
    distance = degrees_between(directions, centre) / np.maximum(np.hypot(u, w), 1e-12)
    return u * distance, w * distance
