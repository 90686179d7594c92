"""What lies behind the objects: plain 1/f textures, landscapes, rooms, table tops."""

from __future__ import annotations

import numpy as np

from neuro.datasets.phantom import landscapes, plain
from neuro.datasets.phantom.background import INDOOR, LANDSCAPES, PLACENESS, ROOMS, Background, sample_background
from neuro.datasets.phantom.canvas import Canvas, Pen
from neuro.datasets.phantom.rooms import draw_room

__all__ = ["INDOOR", "LANDSCAPES", "PLACENESS", "ROOMS", "Background", "draw_background", "sample_background"]

_DRAW = {
    "texture": plain.draw_texture,
    "sky": plain.draw_open_ground,
    "field": landscapes.draw_field,
    "park": landscapes.draw_park,
    "mountain": landscapes.draw_mountain,
    "beach": landscapes.draw_beach,
    "lake": landscapes.draw_lake,
    "forest": landscapes.draw_forest,
    "desert": landscapes.draw_desert,
    "snow": landscapes.draw_snow,
    "city": landscapes.draw_city,
    "street": landscapes.draw_street,
    "wall": plain.draw_wall,
    "table": plain.draw_table,
    "water": plain.draw_underwater,
    **dict.fromkeys(ROOMS, draw_room),
}


def draw_background(canvas: Canvas, background: Background) -> None:
    """Draw a background over the whole canvas."""
    rng = np.random.default_rng(background.seed)
    pen = Pen(canvas, 0.0, 0.0, 1.0)
    _DRAW[background.kind](canvas, pen, background, rng)
