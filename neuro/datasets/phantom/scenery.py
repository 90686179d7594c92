"""Pieces of outdoor scenery: skies, hills, grass, trees."""

# fmt: off  (coordinates read better in rows)
from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from neuro.datasets.phantom.background import SKIES, Background
from neuro.datasets.phantom.canvas import Canvas, Colour, Pen, mix, shade
from neuro.datasets.phantom.palette import pick, vary


def draw_sky(
    canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator, clouds: bool = True
) -> tuple[Colour, Colour]:
    _, top, low = SKIES[b.style["sky"]]
    top, low = vary(rng, top, 0.1), vary(rng, low, 0.06)
    canvas.gradient([(0.0, top), (b.horizon, low), (1.0, low)], (0.05, 0.015))
    if b.sky == "sunset":
        x = rng.random()
        for r, a in ((0.11, 0.25), (0.08, 0.3), (0.05, 0.9)):
            pen.veil(
                [(x + r * math.cos(t), b.horizon - 0.06 + r * math.sin(t)) for t in np.arange(16) * 0.3927],
                (255, 232, 170),
                a,
            )
    if clouds:
        light = mix(low, (255, 255, 255), 0.6)
        for _ in range(int(rng.random() * (6 if b.sky == "cloudy" else 4))):
            x, y, w = rng.random(), rng.random() * b.horizon * 0.75, 0.08 + 0.12 * rng.random()
            for k in range(5):
                dx, r = (k - 2) * 0.42 * w, w * (0.5 - 0.1 * abs(k - 2)) * (0.7 + 0.5 * rng.random())
                pen.ellipse(x + dx, y + 0.1 * w, r * 1.2, r * 0.5, shade(light, 0.92), None)
            for k in range(4):
                dx, r = (k - 1.5) * 0.4 * w, w * 0.36 * (0.7 + 0.5 * rng.random())
                pen.ellipse(x + dx - 0.02 * w, y, r * 1.1, r * 0.48, light, None)
    return top, low


def draw_band(
    pen: Pen, y0: float, y1: float, colour: Colour, grain: tuple[float, float], steps: int = 5, to: Colour | None = None
) -> None:
    """Fill from y0 down to y1, passing from ``colour`` to ``to``."""
    to = to or shade(colour, 0.8)
    for k in range(steps):
        a, b = y0 + (y1 - y0) * k / steps, y1
        pen.area([(0, a), (1, a), (1, b), (0, b)], mix(colour, to, k / max(steps - 1, 1)), grain)


def draw_ridge(
    pen: Pen,
    rng: np.random.Generator,
    y: float,
    height: float,
    colour: Colour,
    grain: tuple[float, float],
    detail: int = 4,
) -> list[tuple[float, float]]:
    """Draw hills: a midpoint-displacement skyline above ``y``."""
    line = [rng.random(), rng.random()]
    spread = 1.0
    for _ in range(detail):
        spread *= 0.55
        nxt = [line[0]]
        for a, b in pairwise(line):
            nxt += [(a + b) / 2 + spread * (rng.random() - 0.5), b]
        line = nxt
    points = [(k / (len(line) - 1), y - height * (0.15 + 0.85 * min(max(v, 0), 1.2))) for k, v in enumerate(line)]
    pen.area([*points, (1, y + 0.02), (0, y + 0.02)], colour, grain)
    return points


def draw_tufts(
    pen: Pen,
    rng: np.random.Generator,
    y0: float,
    colours: tuple[Colour, ...],
    n: int,
    tall: float = 0.05,
    flowers: bool = False,
) -> None:
    """Scatter grass tufts (and flowers) that grow toward the viewer."""
    depths = np.sort(rng.random(n)) ** 0.8
    for t, u in zip(depths, rng.random(n), strict=True):
        y = y0 + 0.01 + t * (1 - y0)
        h = tall * (0.25 + t)
        c = shade(pick(rng, colours), 0.75 + 0.5 * rng.random())
        if flowers and rng.random() < 0.3:
            pen.ellipse(
                u,
                y,
                0.2 * h,
                0.2 * h,
                pick(rng, ((240, 220, 80), (236, 90, 100), (250, 250, 250), (180, 120, 220))),
                None,
            )
        else:
            pen.area(
                [
                    (u - 0.35 * h, y - 0.7 * h),
                    (u - 0.05 * h, y),
                    (u, y - h),
                    (u + 0.08 * h, y),
                    (u + 0.4 * h, y - 0.6 * h),
                    (u + 0.14 * h, y + 0.1 * h),
                    (u - 0.1 * h, y + 0.1 * h),
                ],
                c,
                None,
            )


def draw_tree(
    pen: Pen, x: float, y: float, h: float, rng: np.random.Generator, pine: bool, haze: Colour, far: float
) -> None:
    trunk = mix((92, 68, 48), haze, far)
    leaf = mix(vary(rng, (52, 104, 52), 0.3), haze, far)
    pen.area(
        [(x - 0.03 * h, y), (x - 0.02 * h, y - 0.4 * h), (x + 0.02 * h, y - 0.4 * h), (x + 0.03 * h, y)],
        trunk,
        (0.08, 0.1),
    )
    if pine:
        for k in range(3):
            b, w = y - (0.15 + 0.25 * k) * h, (0.25 - 0.06 * k) * h
            pen.area([(x - w, b), (x, b - 0.42 * h), (x + w, b)], shade(leaf, 0.8 + 0.12 * k), (0.12, 0.16))
    else:
        for dx, dy, r, d in (
            (-0.16, -0.5, 0.2, 0.78),
            (0.16, -0.52, 0.2, 0.7),
            (0.0, -0.72, 0.25, 1.0),
            (-0.06, -0.6, 0.17, 1.15),
        ):
            pen.ellipse(x + dx * h, y + dy * h, r * h, r * h, shade(leaf, d), (0.12, 0.18))
