"""Things to eat, on plates, in bowls or bare."""

# fmt: off  (coordinates read better in rows)
from __future__ import annotations

import math
from typing import Any

import numpy as np

from neuro.datasets.phantom.canvas import Colour, Pen, mix, shade, smooth
from neuro.datasets.phantom.palette import NAMED, named, pick, vary

FOODS: dict[str, tuple[str, ...]] = {
    "pizza": ("yellow",),
    "apple": ("red", "green", "yellow"),
    "orange": ("orange",),
    "banana": ("yellow",),
    "burger": ("brown",),
    "cake": ("pink", "white", "brown", "yellow"),
    "salad": ("green",),
    "bread": ("brown",),
    "soup": ("orange", "green", "red"),
    "donut": ("pink", "brown", "white"),
    "eggs": ("white",),
    "watermelon": ("red",),
    "carrots": ("orange",),
    "grapes": ("purple", "green"),
}


def sample_food(rng: np.random.Generator) -> tuple[str, str, dict[str, Any]]:
    """Return (label, colour name, style) of something to eat."""
    kind = pick(rng, tuple(FOODS))
    return (
        kind,
        pick(rng, FOODS[kind]),
        {"plate": bool(rng.random() < 0.75), "dish": pick(rng, ("white", "blue", "grey", "brown"))},
    )


def food_aspect(kind: str) -> float:
    """Return width over height of the box around a dish."""
    return {
        "pizza": 1.5,
        "salad": 1.45,
        "soup": 1.5,
        "bread": 1.5,
        "eggs": 1.55,
        "carrots": 1.5,
        "watermelon": 1.5,
    }.get(kind, 1.3)


def draw_food(pen: Pen, kind: str, colour: str, style: dict[str, Any], rng: np.random.Generator) -> None:
    """Draw a dish; unit = width of its box."""
    tone = vary(rng, NAMED[colour], 0.1)
    lower = {"soup": 0.1, "salad": 0.1}.get(kind, 0.12)
    pen.shadow(0.02, lower + 0.08, 0.52, 0.26)
    dish = named(rng, style["dish"], 0.06)
    if kind in ("soup", "salad"):
        half = [(-0.48, -0.02), (-0.4, 0.2), (-0.22, 0.32), (0.22, 0.32), (0.4, 0.2), (0.48, -0.02)]
        pen.area(smooth(half, closed=False), shade(dish, 0.82))
        pen.veil([(0.1, 0.0), (0.48, 0.0), (0.4, 0.2), (0.22, 0.32), (0.1, 0.32)], (0, 0, 0), 0.18)
        pen.ellipse(0, -0.02, 0.5, 0.24, dish)
        pen.ellipse(0, -0.02, 0.43, 0.19, shade(dish, 0.75), None)
    elif style["plate"] or kind in ("pizza", "eggs", "carrots", "cake"):
        pen.ellipse(0, lower, 0.5, 0.26, shade(dish, 0.75))
        pen.ellipse(0, lower - 0.02, 0.5, 0.25, dish)
        pen.ellipse(0, lower - 0.015, 0.37, 0.175, shade(dish, 0.88), None)
    _FOOD[kind](pen, tone, rng)


def _scatter(rng: np.random.Generator, n: int, rx: float, ry: float, y: float = 0.0) -> list[tuple[float, float]]:
    r, t = np.sqrt(rng.random(n)), rng.random(n) * 2 * math.pi
    points = np.stack([rx * r * np.cos(t), y + ry * r * np.sin(t)], 1)
    return [(float(a), float(b)) for a, b in points[np.argsort(points[:, 1])]]


def _pizza(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    pen.ellipse(0, 0.09, 0.44, 0.22, (150, 92, 44))
    pen.ellipse(0, 0.065, 0.44, 0.215, (214, 154, 84), (0.08, 0.1))
    pen.ellipse(0, 0.06, 0.375, 0.175, (196, 60, 34), (0.08, 0.1))
    pen.ellipse(0, 0.06, 0.355, 0.162, (244, 206, 104), (0.1, 0.1))
    for x, y in _scatter(rng, 9, 0.3, 0.125, 0.06):
        pen.ellipse(x, y + 0.006, 0.056, 0.029, (120, 24, 18), None)
        pen.ellipse(x, y, 0.052, 0.026, (198, 54, 40), None)
    for x, y in _scatter(rng, 9, 0.32, 0.135, 0.06):
        pen.ellipse(x, y, 0.024, 0.011, (66, 130, 54), None, turn=rng.random() * 3)
    if rng.random() < 0.5:
        for a in np.arange(4) * math.pi / 4 + rng.random():
            c, s = math.cos(a), math.sin(a)
            pen.line([(-0.43 * c, 0.06 - 0.21 * s), (0.43 * c, 0.06 + 0.21 * s)], 0.01, (150, 96, 44))


def _fruit(pen: Pen, tone: Colour, rng: np.random.Generator, leaf: bool) -> None:
    spots = [(0.0, 0.0, 0.24)] if rng.random() < 0.5 else [(-0.2, -0.02, 0.19), (0.19, -0.02, 0.19), (0.0, 0.08, 0.2)]
    for x, y, r in spots:
        body = vary(rng, tone, 0.12)
        pen.ball(x, y, r, r * 0.95, body, (0.06, 0.06))
        pen.ellipse(x - 0.3 * r, y - 0.4 * r, 0.16 * r, 0.11 * r, mix(body, (255, 255, 255), 0.7), None, turn=-0.6)
        pen.ellipse(x, y - 0.8 * r, 0.26 * r, 0.1 * r, shade(body, 0.6), None)
        if leaf:
            pen.limb([(x, y - 0.8 * r), (x + 0.08 * r, y - 1.15 * r)], [0.1 * r, 0.08 * r], (90, 60, 36))
            pen.blob(
                [(x + 0.06 * r, y - 1.0 * r), (x + 0.4 * r, y - 1.25 * r), (x + 0.6 * r, y - 1.0 * r)], (70, 140, 56)
            )


def _banana(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    for k, drop in enumerate((-0.07, 0.02, 0.1)):
        y = drop - 0.05
        arc = smooth(
            [(-0.4, y - 0.1), (-0.24, y + 0.1), (0.02, y + 0.17), (0.26, y + 0.08), (0.4, y - 0.12)], closed=False
        )
        widths = list(np.interp(np.linspace(0, 1, len(arc)), [0, 0.15, 0.5, 0.85, 1], [0.03, 0.11, 0.145, 0.11, 0.03]))
        pen.limb(arc, widths, shade(tone, 0.8 + 0.1 * k), (0.05, 0.06))
        pen.limb([(x, yy - 0.02) for x, yy in arc], [0.35 * w for w in widths], shade(tone, 1.0 + 0.08 * k), None)
        pen.ellipse(0.405, y - 0.14, 0.022, 0.035, (84, 62, 34))
        pen.ellipse(-0.405, y - 0.11, 0.018, 0.02, (84, 62, 34))


def _burger(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    pen.blob([(-0.34, 0.1), (0.34, 0.1), (0.33, 0.22), (0, 0.27), (-0.33, 0.22)], (196, 130, 66), (0.05, 0.06))
    pen.blob(
        [(-0.38, 0.06), (0, 0.1), (0.38, 0.06), (0.37, 0.14), (0, 0.18), (-0.37, 0.14)], (86, 48, 30), (0.12, 0.14)
    )
    pen.area(
        [(-0.37, 0.03), (0.37, 0.03), (0.3, 0.12), (0.2, 0.06), (0.02, 0.13), (-0.16, 0.06), (-0.3, 0.11)],
        (246, 196, 60),
    )
    wave = [(-0.4 + 0.8 * k / 10, 0.04 + (0.045 if k % 2 else 0.0)) for k in range(11)]
    pen.area([(-0.38, -0.04), *wave, (0.38, -0.04)], (98, 170, 66), (0.06, 0.06))
    pen.area([(-0.36, -0.04), (0.36, -0.04), (0.34, 0.02), (-0.34, 0.02)], (204, 52, 40))
    pen.blob(
        [(-0.37, -0.03), (-0.34, -0.18), (-0.18, -0.3), (0.0, -0.33), (0.18, -0.3), (0.34, -0.18), (0.37, -0.03)],
        (206, 138, 66),
        (0.05, 0.06),
    )
    pen.blob([(-0.3, -0.12), (-0.2, -0.24), (0.0, -0.29), (0.12, -0.24), (-0.08, -0.18)], (230, 172, 100), None)
    for x, y in _scatter(rng, 12, 0.26, 0.1, -0.2):
        pen.ellipse(x, y, 0.018, 0.011, (250, 236, 200), None, turn=rng.random() * 3)


def _cake(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    sponge = (224, 178, 112) if sum(tone) > 300 else (120, 74, 44)
    pen.area(
        smooth([(-0.3, -0.12), (-0.3, 0.12), (-0.15, 0.19), (0.15, 0.19), (0.3, 0.12), (0.3, -0.12)], closed=False),
        sponge,
        (0.06, 0.12),
    )
    for y in (-0.01, 0.08):
        pen.line(
            smooth([(-0.3, y - 0.04), (-0.15, y + 0.02), (0.15, y + 0.02), (0.3, y - 0.04)], closed=False),
            0.03,
            shade(tone, 1.05),
        )
    pen.veil([(0.06, -0.1), (0.3, -0.12), (0.3, 0.12), (0.15, 0.19), (0.06, 0.2)], (0, 0, 0), 0.15)
    drips = []
    for k in range(13):
        x = -0.31 + 0.62 * k / 12
        drips.append((x, -0.12 + 0.06 * math.sqrt(max(0, 1 - (x / 0.32) ** 2)) + (0.075 if k % 2 else 0.0)))
    pen.area([*smooth(drips, 3, closed=False), (0.31, -0.15), (-0.31, -0.15)], tone)
    pen.ellipse(0, -0.14, 0.31, 0.105, shade(tone, 1.12))
    if rng.random() < 0.6:
        for k in range(5):
            x, y = -0.18 + 0.09 * k, -0.15 + 0.03 * (k % 2)
            pen.limb(
                [(x, y), (x, y - 0.15)], [0.022, 0.022], pick(rng, ((240, 240, 240), (90, 160, 220), (240, 120, 150)))
            )
            pen.ellipse(x, y - 0.18, 0.016, 0.03, (255, 200, 70))
    else:
        for k in range(6):
            a = k * math.pi / 3
            pen.ball(0.21 * math.cos(a), -0.155 + 0.06 * math.sin(a), 0.05, 0.05, (206, 34, 44))


def _salad(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    for x, y in _scatter(rng, 20, 0.36, 0.15, -0.07):
        r = 0.09 + 0.05 * rng.random()
        green = mix(tone, (150, 200, 80), rng.random())
        a = rng.random() * 6
        pts = [
            (
                x + r * (1.0 if k % 2 else 0.72) * math.cos(a + k * 0.785),
                y + 0.7 * r * (1.0 if k % 2 else 0.72) * math.sin(a + k * 0.785),
            )
            for k in range(8)
        ]
        pen.blob(pts, shade(green, 0.7 + 0.5 * rng.random()), (0.08, 0.1))
        pen.line([(x - 0.5 * r, y), (x + 0.5 * r, y - 0.02)], 0.012, shade(green, 1.35))
    for x, y in _scatter(rng, 6, 0.3, 0.11, -0.08):
        pen.ball(x, y, 0.056, 0.05, (208, 46, 38))
    for x, y in _scatter(rng, 3, 0.26, 0.1, -0.08):
        pen.ellipse(x, y, 0.05, 0.035, (236, 240, 200))
        pen.ellipse(x, y, 0.032, 0.02, (190, 214, 140), None)


def _bread(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    crust = (178, 112, 54)
    pen.blob(
        [
            (-0.44, 0.08),
            (-0.42, -0.1),
            (-0.22, -0.2),
            (0.1, -0.22),
            (0.36, -0.14),
            (0.44, 0.04),
            (0.4, 0.18),
            (-0.3, 0.2),
        ],
        crust,
        (0.1, 0.1),
    )
    pen.blob(
        [(-0.38, -0.06), (-0.2, -0.16), (0.1, -0.18), (0.34, -0.1), (0.1, -0.08), (-0.2, -0.06)],
        shade(crust, 1.25),
        None,
    )
    for k in range(4):
        x = -0.24 + 0.16 * k
        pen.blob(
            [(x - 0.02, -0.16), (x + 0.05, -0.12), (x + 0.09, 0.04), (x + 0.05, 0.05), (x, -0.06)],
            (234, 196, 136),
            None,
        )
    pen.veil(smooth([(-0.44, 0.08), (0, 0.1), (0.43, 0.06), (0.4, 0.18), (-0.3, 0.2)]), (0, 0, 0), 0.2)


def _soup(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    pen.ellipse(0, 0.0, 0.41, 0.175, shade(tone, 0.85), (0.08, 0.05))
    pen.ellipse(-0.05, -0.02, 0.3, 0.11, shade(tone, 1.08), None)
    pen.line(smooth([(-0.2, 0.02), (-0.06, -0.07), (0.08, 0.0), (0.2, -0.06)], closed=False), 0.025, (250, 240, 220))
    for x, y in _scatter(rng, 10, 0.32, 0.12, 0.0):
        pen.ellipse(x, y, 0.025, 0.013, pick(rng, ((80, 150, 60), (220, 90, 40), (240, 230, 190))), None)
    pen.limb([(0.2, 0.02), (0.5, -0.3)], [0.035, 0.03], (190, 192, 198))
    for k in range(2):
        x = -0.1 + 0.14 * k
        steam = smooth([(x, -0.2), (x + 0.04, -0.27), (x, -0.34)], closed=False)
        pen.veil(
            [(a - 0.012, b) for a, b in steam] + [(a + 0.012, b) for a, b in reversed(steam)], (255, 255, 255), 0.4
        )


def _donut(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    pen.ellipse(0, 0.06, 0.36, 0.25, (176, 112, 56), (0.06, 0.06))
    pen.ellipse(0, 0.01, 0.36, 0.24, (214, 154, 92), (0.06, 0.06))
    wave = [
        ((0.33 + 0.02 * math.sin(5 * t)) * math.cos(t), -0.01 + (0.2 + 0.02 * math.sin(5 * t)) * math.sin(t))
        for t in np.linspace(0, 2 * math.pi, 30)
    ]
    pen.area(wave, tone, (0.03, 0.03))
    pen.blob([(-0.26, -0.04), (-0.1, -0.15), (0.1, -0.16), (-0.05, -0.1)], mix(tone, (255, 255, 255), 0.45), None)
    for x, y in _scatter(rng, 34, 0.29, 0.16, -0.01):
        a = rng.random() * 3.1
        pen.line(
            [(x, y), (x + 0.035 * math.cos(a), y + 0.025 * math.sin(a))],
            0.014,
            pick(rng, ((255, 236, 90), (90, 170, 230), (240, 250, 250), (220, 60, 80), (110, 190, 90))),
        )
    pen.ellipse(0, 0.0, 0.115, 0.07, (150, 92, 44))
    pen.ellipse(0, 0.02, 0.1, 0.05, (84, 56, 34), None)


def _eggs(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    for x, y in ((-0.15, 0.02), (0.16, 0.1)):
        pts = [
            (x + (0.17 + 0.04 * rng.random()) * math.cos(t), y + (0.1 + 0.025 * rng.random()) * math.sin(t))
            for t in np.arange(8) * 0.785
        ]
        pen.blob([(a, b + 0.015) for a, b in pts], (214, 206, 190))
        pen.blob(pts, (252, 250, 242), (0.02, 0.02))
        pen.ball(x, y - 0.01, 0.075, 0.055, (246, 176, 40), (0.02, 0.02))
    for k in range(2):
        y = 0.2 - 0.015 * k
        pen.limb(
            smooth([(-0.26 + 0.3 * k, y), (-0.14 + 0.3 * k, y + 0.02), (-0.02 + 0.3 * k, y - 0.01)], closed=False),
            [0.05] * 9,
            (168, 62, 44),
            (0.1, 0.1),
        )


def _watermelon(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    for x, dy, a in ((-0.12, -0.06, -0.2), (0.14, 0.05, 0.15)):
        slice_ = pen.inner(x, dy, 1.0, a)
        for r, c, g in (
            (0.34, (44, 110, 52), (0.06, 0.06)),
            (0.315, (196, 222, 160), None),
            (0.285, tone, (0.06, 0.08)),
        ):
            slice_.area([(r * math.cos(t), -0.1 + r * math.sin(t)) for t in np.linspace(0, math.pi, 18)], c, g)
        for k in range(9):
            t = 0.35 + 2.4 * k / 8
            r = 0.12 + 0.1 * (k % 2)
            slice_.ellipse(r * math.cos(t), -0.09 + r * math.sin(t), 0.012, 0.02, (30, 20, 20), None)


def _carrots(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    for k in range(4):
        y = -0.1 + 0.085 * k
        x = 0.03 * (k % 2)
        for j in range(4):
            pen.line([(x - 0.26, y), (x - 0.44 + 0.02 * j, y - 0.1 + 0.06 * j)], 0.03, (64, 140 + 12 * j, 54))
        arc = smooth([(x - 0.28, y), (x, y + 0.01), (x + 0.4, y + 0.04)], closed=False)
        pen.limb(arc, list(np.linspace(0.12, 0.02, len(arc))), shade(tone, 0.85 + 0.08 * k), (0.06, 0.06))
        pen.limb([(a, b - 0.02) for a, b in arc], list(np.linspace(0.04, 0.008, len(arc))), shade(tone, 1.15), None)


def _grapes(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    pen.limb([(0.0, -0.25), (0.04, -0.36)], [0.03, 0.03], (110, 80, 44))
    pen.blob([(0.04, -0.3), (0.2, -0.37), (0.3, -0.26), (0.18, -0.2)], (80, 140, 60))
    for row, count in enumerate((5, 6, 5, 4, 2)):
        for k in range(count):
            x = (k - (count - 1) / 2) * 0.125 + 0.02 * (rng.random() - 0.5)
            pen.ball(x, -0.2 + 0.1 * row, 0.075, 0.072, vary(rng, tone, 0.2), (0.02, 0.02))


_FOOD = {
    "pizza": _pizza,
    "apple": lambda pen, tone, rng: _fruit(pen, tone, rng, True),
    "orange": lambda pen, tone, rng: _fruit(pen, tone, rng, False),
    "banana": _banana,
    "burger": _burger,
    "cake": _cake,
    "salad": _salad,
    "bread": _bread,
    "soup": _soup,
    "donut": _donut,
    "eggs": _eggs,
    "watermelon": _watermelon,
    "carrots": _carrots,
    "grapes": _grapes,
}
