"""Buildings seen from outside."""

# fmt: off  (coordinates read better in rows)
from __future__ import annotations

from typing import Any

import numpy as np

from neuro.datasets.phantom.canvas import Colour, Pen, mix, shade, smooth
from neuro.datasets.phantom.palette import NAMED, pick, vary

BUILDINGS = ("house", "church", "tower", "castle", "barn", "skyscraper")


def sample_building(rng: np.random.Generator) -> tuple[str, str, dict[str, Any]]:
    """Return (label, colour name, style) of a building."""
    kind = pick(rng, BUILDINGS)
    colour = {"barn": ("red",), "castle": ("grey", "brown"), "skyscraper": ("blue", "grey", "black")}.get(
        kind, ("white", "red", "yellow", "grey", "brown", "orange", "pink", "blue")
    )
    return (
        kind,
        pick(rng, colour),
        {"rows": int(2 + 3 * rng.random()), "roof": pick(rng, ("brown", "red", "grey", "black"))},
    )


def building_aspect(kind: str) -> float:
    """Return width over height."""
    return {"house": 1.3, "church": 0.85, "tower": 0.42, "castle": 1.3, "barn": 1.35, "skyscraper": 0.5}[kind]


def _windows(
    pen: Pen,
    x0: float,
    x1: float,
    y0: float,
    y1: float,
    columns: int,
    rows: int,
    rng: np.random.Generator,
    frame: Colour = (240, 238, 230),
    share: float = 0.55,
) -> None:
    dx, dy = (x1 - x0) / columns, (y1 - y0) / rows
    for r in range(rows):
        for c in range(columns):
            x, y = x0 + (c + 0.5) * dx, y0 + (r + 0.5) * dy
            w, h = dx * share / 2, dy * share * 0.56
            glass = (252, 222, 140) if rng.random() < 0.25 else shade((84, 110, 140), 0.7 + 0.6 * rng.random())
            pen.area(
                [
                    (x - w * 1.25, y - h * 1.2),
                    (x + w * 1.25, y - h * 1.2),
                    (x + w * 1.25, y + h * 1.2),
                    (x - w * 1.25, y + h * 1.2),
                ],
                frame,
                None,
            )
            pen.area([(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)], glass, None)
            if pen.pixels * w > 2.2:
                pen.line([(x, y - h), (x, y + h)], w * 0.2, frame)
                pen.line([(x - w, y), (x + w, y)], w * 0.2, frame)


def draw_building(pen: Pen, kind: str, colour: str, style: dict[str, Any], rng: np.random.Generator) -> None:
    """Draw a building; unit = the longest side of its box."""
    wall = vary(rng, NAMED[colour], 0.12)
    wall = mix(wall, (170, 160, 150), 0.3)
    roof = vary(rng, NAMED[style["roof"]], 0.15)
    roof = mix(roof, (110, 80, 66), 0.35)
    brick = (0.07, 0.1)
    door = pick(rng, ((92, 58, 36), (40, 70, 56), (120, 34, 30), (50, 56, 90)))

    def box(x0: float, y0: float, x1: float, y1: float, c: Colour, grain=brick) -> None:
        pen.area([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], c, grain)

    if kind in ("house", "barn"):
        bottom = 0.385
        pen.shadow(0.04, bottom, 0.52, 0.04)
        box(-0.42, -0.08, 0.14, bottom, wall)
        pen.area(
            [(0.14, -0.08), (0.28, -0.36), (0.46, -0.08), (0.46, bottom), (0.14, bottom)], shade(wall, 0.74), brick
        )
        if kind == "house" and rng.random() < 0.7:
            box(-0.28, -0.385, -0.19, -0.2, shade(wall, 0.6))
        pen.area([(-0.47, -0.06), (-0.33, -0.37), (0.29, -0.37), (0.14, -0.06)], roof, (0.08, 0.16))
        for k in range(1, 6):
            y = -0.06 - 0.052 * k
            pen.line([(-0.47 + 0.023 * k, y), (0.14 + 0.025 * k, y)], 0.007, shade(roof, 0.7))
        pen.area([(0.26, -0.385), (0.31, -0.385), (0.5, -0.05), (0.455, -0.05)], shade(roof, 0.7), brick)
        if kind == "barn":
            white = (236, 232, 224)
            box(-0.26, 0.08, 0.0, bottom, shade(wall, 0.6), None)
            for a, b in (
                ((-0.26, 0.08), (0.0, bottom)),
                ((0.0, 0.08), (-0.26, bottom)),
                ((-0.26, 0.08), (0.0, 0.08)),
                ((-0.26, 0.08), (-0.26, bottom)),
                ((0.0, 0.08), (0.0, bottom)),
            ):
                pen.line([a, b], 0.022, white)
            _windows(pen, 0.22, 0.4, -0.12, 0.06, 1, 1, rng)
        else:
            box(-0.19, 0.14, -0.06, bottom, (238, 234, 224), None)
            box(-0.175, 0.155, -0.075, bottom, door, None)
            _windows(pen, -0.4, -0.2, -0.02, 0.36, 1, min(style["rows"], 2), rng)
            _windows(pen, -0.04, 0.13, -0.02, 0.36, 1, min(style["rows"], 2), rng)
            _windows(pen, 0.18, 0.43, -0.04, 0.36, 2, 2, rng, frame=shade((240, 238, 230), 0.8))
    elif kind == "church":
        pen.shadow(0.03, 0.5, 0.42, 0.03)
        box(-0.12, 0.05, 0.42, 0.5, wall)
        pen.area([(-0.14, 0.06), (-0.02, -0.14), (0.34, -0.14), (0.44, 0.06)], roof, (0.08, 0.14))
        box(-0.42, -0.14, -0.1, 0.5, shade(wall, 0.92))
        pen.area([(-0.2, -0.14), (-0.1, -0.14), (-0.1, 0.5), (-0.2, 0.5)], shade(wall, 0.74), brick)
        pen.area([(-0.45, -0.13), (-0.26, -0.44), (-0.07, -0.13)], shade(roof, 0.9), (0.08, 0.14))
        pen.line([(-0.26, -0.5), (-0.26, -0.42)], 0.016, (70, 62, 50))
        pen.line([(-0.29, -0.475), (-0.23, -0.475)], 0.016, (70, 62, 50))
        pen.ellipse(-0.28, -0.03, 0.06, 0.06, (244, 240, 228), None)
        pen.line([(-0.28, -0.03), (-0.28, -0.075)], 0.014, (30, 30, 30))
        pen.line([(-0.28, -0.03), (-0.245, -0.03)], 0.014, (30, 30, 30))
        pen.area(
            smooth([(-0.34, 0.5), (-0.34, 0.34), (-0.28, 0.25), (-0.22, 0.34), (-0.22, 0.5)], closed=False), door, None
        )
        for x in (0.0, 0.15, 0.3):
            pen.area(
                smooth([(x - 0.04, 0.38), (x - 0.04, 0.2), (x, 0.12), (x + 0.04, 0.2), (x + 0.04, 0.38)], closed=False),
                (90, 110, 160),
                None,
            )
    elif kind == "tower":
        pen.shadow(0.02, 0.5, 0.2, 0.025)
        pen.area([(-0.13, -0.26), (0.13, -0.26), (0.19, 0.5), (-0.19, 0.5)], wall, brick)
        if rng.random() < 0.5:
            band = (240, 238, 232) if sum(wall) < 500 else (190, 50, 44)
            for k in range(3):
                y = -0.12 + 0.2 * k
                w = 0.13 + 0.06 * (y + 0.26) / 0.76
                pen.area([(-w, y), (w, y), (w + 0.007, y + 0.09), (-w - 0.007, y + 0.09)], band, None)
        pen.veil([(0.03, -0.26), (0.13, -0.26), (0.19, 0.5), (0.05, 0.5)], (0, 0, 0), 0.25)
        box(-0.17, -0.3, 0.17, -0.25, shade(wall, 0.6))
        box(-0.1, -0.4, 0.1, -0.3, (250, 224, 140))
        for x in (-0.1, -0.03, 0.04, 0.1):
            pen.line([(x, -0.4), (x, -0.3)], 0.014, (60, 56, 52))
        pen.area([(-0.13, -0.39), (0, -0.5), (0.13, -0.39)], roof)
        for y in (-0.16, 0.06, 0.26):
            pen.area([(-0.03, y), (0.025, y), (0.025, y + 0.08), (-0.03, y + 0.08)], (50, 60, 80), None)
        pen.area([(-0.05, 0.38), (0.05, 0.38), (0.05, 0.5), (-0.05, 0.5)], door, None)
    elif kind == "castle":
        pen.shadow(0.0, 0.385, 0.5, 0.03)
        box(-0.36, -0.02, 0.36, 0.385, wall)
        for k in range(7):
            box(-0.36 + 0.107 * k, -0.07, -0.3 + 0.107 * k, -0.01, wall)
        for x, top, c in ((-0.38, -0.2, 0.95), (0.38, -0.2, 0.78), (0.1, -0.28, 0.86)):
            box(x - 0.1, top, x + 0.1, 0.385 if abs(x) > 0.2 else 0.0, shade(wall, c))
            pen.veil(
                [
                    (x + 0.03, top),
                    (x + 0.1, top),
                    (x + 0.1, 0.385 if abs(x) > 0.2 else 0.0),
                    (x + 0.03, 0.385 if abs(x) > 0.2 else 0.0),
                ],
                (0, 0, 0),
                0.2,
            )
            if style["rows"] % 2:
                pen.area([(x - 0.12, top), (x, top - 0.17 * (1 if abs(x) > 0.2 else 0.6)), (x + 0.12, top)], roof)
            else:
                for j in range(3):
                    box(x - 0.11 + 0.08 * j, top - 0.05, x - 0.06 + 0.08 * j, top + 0.02, shade(wall, c))
            pen.area(
                [(x - 0.025, top + 0.1), (x + 0.025, top + 0.1), (x + 0.025, top + 0.19), (x - 0.025, top + 0.19)],
                (40, 38, 44),
                None,
            )
        pen.area(
            smooth([(-0.12, 0.385), (-0.12, 0.22), (-0.02, 0.12), (0.08, 0.22), (0.08, 0.385)], closed=False),
            (62, 42, 30),
            None,
        )
        for x in (-0.22, 0.2):
            pen.area([(x - 0.02, 0.12), (x + 0.02, 0.12), (x + 0.02, 0.22), (x - 0.02, 0.22)], (40, 38, 44), None)
    else:  # skyscraper
        pen.shadow(0.02, 0.5, 0.28, 0.02)
        tall = rng.random() < 0.5
        box(0.08, -0.3 if tall else -0.4, 0.24, 0.5, shade(wall, 0.62), (0.05, 0.04))
        box(-0.24, -0.4, 0.1, 0.5, wall, (0.06, 0.04))
        if tall:
            box(-0.16, -0.46, 0.02, -0.39, shade(wall, 0.85))
            pen.limb([(-0.07, -0.45), (-0.07, -0.5)], [0.018, 0.01], (90, 90, 96))
        rows = 9 + style["rows"]
        for r in range(rows):
            y = -0.37 + 0.82 * r / rows
            for c in range(5):
                x = -0.22 + 0.063 * c
                glass = (250, 226, 150) if rng.random() < 0.2 else shade((150, 190, 220), 0.55 + 0.5 * rng.random())
                pen.area([(x, y), (x + 0.046, y), (x + 0.046, y + 0.5 / rows), (x, y + 0.5 / rows)], glass, None)
            if r > 1:
                pen.area(
                    [(0.12, y), (0.22, y), (0.22, y + 0.45 / rows), (0.12, y + 0.45 / rows)],
                    shade((110, 140, 170), 0.6),
                    None,
                )
        box(-0.12, 0.43, -0.02, 0.5, (40, 44, 54), None)
