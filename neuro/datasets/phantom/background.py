"""What is behind the objects, as a description."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuro.datasets.phantom.canvas import Colour

LANDSCAPES = ("mountain", "beach", "forest", "desert", "lake", "field", "snow")
ROOMS = ("bedroom", "kitchen", "living room", "bathroom", "office")
PLACENESS = {
    **dict.fromkeys((*LANDSCAPES, *ROOMS, "street", "city"), 1.0),
    "park": 0.6,
    "wall": 0.3,
    "sky": 0.3,
    "table": 0.15,
    "water": 0.1,
    "texture": 0.0,
}
INDOOR = (*ROOMS, "wall", "table")

SKIES: tuple[tuple[str, Colour, Colour], ...] = (
    ("clear", (84, 146, 216), (196, 222, 240)),
    ("clear", (60, 120, 200), (170, 206, 236)),
    ("cloudy", (136, 152, 172), (206, 212, 216)),
    ("sunset", (92, 84, 148), (248, 168, 104)),
    ("dusk", (44, 54, 102), (168, 128, 150)),
)


@dataclass(frozen=True)
class Background:
    """What is behind the objects.

    Attributes
    ----------
    kind : str
        A key of ``PLACENESS``.
    horizon : float
        Height of the horizon, or of the edge between wall and floor, as a fraction of the picture from the top.
    sky : str
        ``clear``, ``cloudy``, ``sunset``, ``dusk``; empty indoors.
    indoor : bool
    seed : int
        Fixes every detail.
    style : dict
    """

    kind: str
    horizon: float
    sky: str
    indoor: bool
    seed: int
    style: dict[str, Any] = field(default_factory=dict)


def sample_background(rng: np.random.Generator, kind: str, horizon: float | None = None) -> Background:
    """Return a background of a kind, its horizon chosen unless given."""
    horizon = 0.38 + 0.27 * rng.random() if horizon is None else horizon
    sky = int(rng.random() * len(SKIES))
    indoor = kind in INDOOR
    named_sky = "" if indoor or kind in ("texture", "water") else SKIES[sky][0]
    return Background(kind, float(horizon), named_sky, indoor, int(rng.integers(2**31)), {"sky": sky})
