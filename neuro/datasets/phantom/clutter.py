"""Foreground clutter: what hangs or stands between the viewer and the scene."""

# fmt: off  (coordinates and wordings read better in rows)
from __future__ import annotations

import math

import numpy as np

from neuro.datasets.phantom.canvas import Canvas, Pen, shade, smooth
from neuro.datasets.phantom.palette import NAMED, pick, vary


def sample_clutter(rng: np.random.Generator, indoor: bool, category: str) -> str:
    """Return the kind of clutter, or an empty string for none."""
    u = rng.random()
    if u > 0.26 or category == "food":
        return ""
    if indoor and u > 0.12:
        return ""
    return "blobs" if indoor or u < 0.03 else pick(rng, ("leaves", "grass", "fence", "leaves"))


def draw_clutter(canvas: Canvas, kind: str, rng: np.random.Generator) -> None:
    """Draw clutter along an edge of the picture."""
    pen = Pen(canvas, 0.0, 0.0, 1.0)
    if kind == "leaves":
        x0, side = (0.0, 1) if rng.random() < 0.5 else (1.0, -1)
        green = vary(rng, pick(rng, ((44, 96, 44), (70, 110, 40), (150, 90, 40))), 0.2)
        for _ in range(2):
            a, reach = 0.15 + 0.7 * rng.random(), 0.25 + 0.2 * rng.random()
            tip = (x0 + side * reach * math.cos(a), reach * math.sin(a))
            pen.limb([(x0, 0), tip], [0.016, 0.006], (72, 54, 40), (0.06, 0.08))
            for t in np.linspace(0.2, 1, 7):
                x, y = x0 + t * (tip[0] - x0), t * tip[1]
                turn = a * side + 1.6 * (rng.random() - 0.5) + (0 if side > 0 else math.pi)
                r = 0.045 + 0.03 * rng.random()
                pen.ellipse(
                    x,
                    y + 0.02 * (rng.random() - 0.3),
                    r,
                    0.42 * r,
                    shade(green, 0.6 + 0.7 * rng.random()),
                    (0.06, 0.08),
                    turn,
                )
    elif kind == "grass":
        green = vary(rng, (74, 116, 46), 0.25)
        start, width = rng.random() * 0.6, 0.35 + 0.4 * rng.random()
        for _ in range(26):
            x, h, lean = start + width * rng.random(), 0.1 + 0.16 * rng.random(), 0.1 * (rng.random() - 0.5)
            pen.area(
                [
                    (x - 0.012, 1.0),
                    (x + lean * 0.5 - 0.006, 1 - 0.6 * h),
                    (x + lean, 1 - h),
                    (x + lean * 0.5 + 0.006, 1 - 0.55 * h),
                    (x + 0.012, 1.0),
                ],
                shade(green, 0.6 + 0.7 * rng.random()),
                (0.05, 0.06),
            )
    elif kind == "fence":
        wood = vary(rng, pick(rng, ((232, 230, 224), (120, 84, 56))), 0.1)
        top, step = 0.86 + 0.05 * rng.random(), 0.1 + 0.04 * rng.random()
        pen.area(
            [(0, top + 0.045), (1, top + 0.045), (1, top + 0.075), (0, top + 0.075)], shade(wood, 0.75), (0.06, 0.08)
        )
        x = -0.05 * rng.random()
        while x < 1:
            pen.area(
                [(x, 1), (x, top + 0.02), (x + 0.022, top), (x + 0.044, top + 0.02), (x + 0.044, 1)], wood, (0.06, 0.08)
            )
            x += step
    else:  # things too near to be sharp
        for _ in range(2):
            x, y = pick(rng, (0.0, 1.0)), rng.random()
            colour = vary(rng, pick(rng, tuple(NAMED.values())), 0.2)
            rx, ry = 0.07 + 0.07 * rng.random(), 0.09 + 0.1 * rng.random()
            outline = [
                (x + rx * (0.85 + 0.3 * rng.random()) * math.cos(t), y + ry * (0.85 + 0.3 * rng.random()) * math.sin(t))
                for t in np.arange(9) * 0.7
            ]
            pen.area(smooth(outline), shade(colour, 0.7), (0.05, 0.0))
            pen.area(smooth([(x + 0.75 * (a - x), y + 0.75 * (b - y)) for a, b in outline]), shade(colour, 0.8), None)
