"""Landscapes, parks, streets and cities."""

# fmt: off  (coordinates read better in rows)
from __future__ import annotations

import math

import numpy as np

from neuro.datasets.phantom.background import Background
from neuro.datasets.phantom.canvas import Canvas, Colour, Pen, mix, shade, smooth
from neuro.datasets.phantom.palette import pick, vary
from neuro.datasets.phantom.scenery import draw_band, draw_ridge, draw_sky, draw_tree, draw_tufts


def draw_field(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = draw_sky(canvas, pen, b, rng)
    grass = vary(rng, pick(rng, ((104, 146, 64), (138, 150, 70), (196, 172, 84))), 0.12)
    draw_ridge(pen, rng, b.horizon, 0.1, mix((74, 106, 84), low, 0.5), (0.08, 0.08))
    for _ in range(4):
        draw_tree(pen, rng.random(), b.horizon + 0.012, 0.05 + 0.06 * rng.random(), rng, False, low, 0.25)
    draw_band(pen, b.horizon, 1, shade(grass, 1.1), (0.1, 0.12))
    if rng.random() < 0.5:  # furrows that meet at the horizon
        vx = rng.random()
        for k in range(-7, 8):
            x = vx + 0.22 * k
            pen.veil([(vx, b.horizon), (x - 0.05, 1), (x + 0.05, 1)], shade(grass, 0.6), 0.35)
    draw_tufts(pen, rng, b.horizon, (grass, shade(grass, 0.75), shade(grass, 1.2)), 46, flowers=True)


def draw_park(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = draw_sky(canvas, pen, b, rng)
    grass = vary(rng, (92, 140, 62), 0.12)
    for k in range(9):
        draw_tree(
            pen,
            (k + rng.random()) / 9,
            b.horizon + 0.02,
            0.16 + 0.16 * rng.random(),
            rng,
            rng.random() < 0.25,
            low,
            0.2,
        )
    draw_band(pen, b.horizon, 1, shade(grass, 1.08), (0.1, 0.12))
    x0, x1 = rng.random(), rng.random() * 1.6 - 0.3
    pen.area(
        smooth([(x0 - 0.02, b.horizon), (x0 + 0.1, b.horizon + 0.1), (x1 - 0.16, 1)], closed=False)
        + smooth([(x1 + 0.22, 1), (x0 + 0.2, b.horizon + 0.1), (x0 + 0.03, b.horizon)], closed=False),
        (196, 178, 144),
        (0.08, 0.1),
    )
    draw_tufts(pen, rng, b.horizon, (grass, shade(grass, 0.75), shade(grass, 1.2)), 30, 0.04, flowers=True)


def draw_mountain(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = draw_sky(canvas, pen, b, rng)
    rock = vary(rng, (104, 104, 122), 0.15)
    peaks = sorted(rng.random(3) * 1.1 - 0.05)
    for k, x in enumerate(peaks):
        h = b.horizon * (0.45 + 0.42 * rng.random())
        w = h * (0.75 + 0.5 * rng.random())
        c = mix(rock, low, 0.4 - 0.15 * k)
        y = b.horizon
        left = [
            (x - w, y + 0.02),
            (x - 0.6 * w, y - 0.35 * h),
            (x - 0.36 * w, y - 0.58 * h),
            (x - 0.12 * w, y - 0.9 * h),
            (x, y - h),
        ]
        right = [
            (x + 0.1 * w, y - 0.86 * h),
            (x + 0.3 * w, y - 0.66 * h),
            (x + 0.52 * w, y - 0.36 * h),
            (x + w, y + 0.02),
        ]
        pen.area(left + right, c, (0.14, 0.14))
        pen.area(
            [
                (x, y - h),
                (x + 0.05 * w, y - 0.7 * h),
                (x - 0.05 * w, y - 0.45 * h),
                (x + 0.12 * w, y - 0.2 * h),
                (x + 0.05 * w, y + 0.02),
                (x + w, y + 0.02),
                *right[::-1][1:],
            ],
            shade(c, 0.72),
            (0.14, 0.14),
        )
        snow = mix((246, 248, 252), low, 0.12)
        pen.area(
            [
                (x, y - h),
                (x + 0.1 * w, y - 0.86 * h),
                (x + 0.2 * w, y - 0.76 * h),
                (x + 0.1 * w, y - 0.72 * h),
                (x + 0.04 * w, y - 0.64 * h),
                (x - 0.05 * w, y - 0.74 * h),
                (x - 0.15 * w, y - 0.66 * h),
                (x - 0.24 * w, y - 0.75 * h),
                (x - 0.12 * w, y - 0.9 * h),
            ],
            snow,
            (0.04, 0.05),
        )
    draw_ridge(pen, rng, b.horizon, 0.08, mix((60, 88, 66), low, 0.2), (0.12, 0.16))
    grass = vary(rng, (96, 124, 66), 0.15)
    draw_band(pen, b.horizon, 1, shade(grass, 1.1), (0.12, 0.14))
    for _ in range(7):
        t = rng.random()
        draw_tree(
            pen,
            rng.random(),
            b.horizon + 0.02 + 0.3 * t * (1 - b.horizon),
            0.07 + 0.14 * t,
            rng,
            True,
            low,
            0.15 * (1 - t),
        )
    draw_tufts(pen, rng, b.horizon, (grass, shade(grass, 0.7)), 30, 0.04)


def _water_band(
    pen: Pen, rng: np.random.Generator, y0: float, y1: float, colour: Colour, light: Colour, n: int = 26
) -> None:
    draw_band(pen, y0, y1, mix(colour, light, 0.35), (0.07, 0.06), 5, colour)
    for t in np.sort(rng.random(n)):
        y = y0 + t * (y1 - y0)
        x, w = rng.random(), (0.02 + 0.12 * t) * (0.5 + rng.random())
        pen.area(
            [(x - w, y), (x, y - 0.006 * (0.4 + t)), (x + w, y), (x, y + 0.006 * (0.4 + t))],
            mix(colour, light, 0.4 + 0.5 * rng.random()),
            None,
        )


def draw_beach(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = draw_sky(canvas, pen, b, rng)
    sea = mix(vary(rng, (36, 120, 156), 0.15), low, 0.15)
    shore = b.horizon + (1 - b.horizon) * (0.3 + 0.25 * rng.random())
    _water_band(pen, rng, b.horizon, shore + 0.06, sea, mix(low, (255, 255, 255), 0.4))
    sand = vary(rng, (224, 198, 148), 0.08)
    tilt = 0.12 * (rng.random() - 0.5)
    edge = [(x, shore + tilt * (x - 0.5) + 0.018 * math.sin(9 * x + 6 * rng.random())) for x in np.linspace(0, 1, 9)]
    pen.area([*smooth(edge, closed=False), (1, 1), (0, 1)], (244, 246, 244), (0.03, 0.05))
    pen.area([(x, y + 0.02) for x, y in smooth(edge, closed=False)] + [(1, 1), (0, 1)], shade(sand, 0.84), (0.06, 0.1))
    pen.area([(x, y + 0.05) for x, y in smooth(edge, closed=False)] + [(1, 1), (0, 1)], sand, (0.08, 0.12))
    if rng.random() < 0.6:
        x, lean = pick(rng, (0.08, 0.92)) + 0.06 * (rng.random() - 0.5), 0.1 * (rng.random() - 0.5)
        y, h = shore + 0.15, 0.35 + 0.3 * rng.random()
        trunk = smooth([(x, y), (x + lean * 0.4, y - 0.5 * h), (x + lean, y - h)], closed=False)
        pen.limb(trunk, list(np.linspace(0.035, 0.022, len(trunk))), (122, 92, 62), (0.08, 0.14))
        for a in np.linspace(-0.4, 3.6, 7):
            tip = (x + lean + 0.18 * math.cos(a), y - h - 0.1 * math.sin(a) + 0.05)
            mid = (x + lean + 0.1 * math.cos(a), y - h - 0.11 * math.sin(a) - 0.02)
            pen.area(
                smooth([(x + lean, y - h), mid, tip, (mid[0], mid[1] + 0.035)]),
                shade((52, 116, 58), 0.75 + 0.08 * a),
                (0.08, 0.1),
            )
    for _ in range(9):
        t = rng.random()
        pen.ellipse(
            rng.random(), shore + 0.1 + t * (0.9 - shore), 0.006 + 0.012 * t, 0.004 + 0.006 * t, shade(sand, 0.7), None
        )


def draw_lake(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = draw_sky(canvas, pen, b, rng)
    draw_ridge(pen, rng, b.horizon, 0.24, mix((86, 104, 120), low, 0.45), (0.1, 0.1))
    hills = mix((62, 98, 66), low, 0.2)
    line = draw_ridge(pen, rng, b.horizon, 0.12, hills, (0.12, 0.16))
    water = mix(low, (44, 92, 120), 0.5)
    _water_band(pen, rng, b.horizon, 1, water, mix(low, (255, 255, 255), 0.2))
    pen.veil([(x, 2 * b.horizon - y) for x, y in line] + [(1, b.horizon), (0, b.horizon)], shade(hills, 0.7), 0.6)
    shore = vary(rng, (112, 124, 70), 0.15)
    y = 0.88 + 0.06 * rng.random()
    pen.area(
        [*smooth([(0, y), (0.3, y + 0.03), (0.65, y - 0.02), (1, y + 0.04)], closed=False), (1, 1), (0, 1)],
        shore,
        (0.12, 0.14),
    )
    for _ in range(12):
        x, h = rng.random(), 0.06 + 0.1 * rng.random()
        pen.line(
            [(x, 0.98), (x + 0.02 * (rng.random() - 0.5), 0.96 - h)], 0.007, shade(shore, 0.6 + 0.5 * rng.random())
        )


def draw_forest(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    glow = vary(rng, (182, 208, 150), 0.1)
    canvas.gradient([(0, shade(glow, 0.55)), (b.horizon, glow), (1, shade(glow, 0.6))], (0.16, 0.12))
    floor = vary(rng, (104, 92, 52), 0.2)
    draw_band(pen, b.horizon, 1, mix(floor, glow, 0.35), (0.14, 0.18), 5, shade(floor, 0.75))
    for depth in range(3):
        near = depth / 2
        y = b.horizon + 0.02 + 0.22 * depth * (1 - b.horizon)
        for k in range(9 - 2 * depth):
            x = (k + rng.random()) / (9 - 2 * depth)
            w = (0.012 + 0.022 * near) * (0.8 + 0.5 * rng.random())
            bark = mix(vary(rng, (84, 64, 46), 0.2), glow, 0.6 * (1 - near))
            pen.area(
                [
                    (x - w * 1.4, y),
                    (x - w, y - 0.1),
                    (x - 0.8 * w, -0.02),
                    (x + 0.8 * w, -0.02),
                    (x + w, y - 0.1),
                    (x + w * 1.4, y),
                ],
                bark,
                (0.1, 0.18),
            )
            pen.veil(
                [(x + 0.2 * w, -0.02), (x + 0.8 * w, -0.02), (x + w, y - 0.1), (x + w * 1.4, y), (x + 0.4 * w, y)],
                (0, 0, 0),
                0.25,
            )
        for _ in range(13):
            x, yy, r = rng.random(), 0.2 * rng.random() * (1.5 - near), 0.06 + 0.08 * rng.random()
            leaf = mix(vary(rng, (64, 116, 48), 0.35), glow, 0.45 * (1 - near))
            pen.ellipse(x, yy, r * 1.3, r * 0.8, leaf, (0.14, 0.24))
    draw_tufts(pen, rng, b.horizon + 0.1, ((70, 110, 48), (96, 132, 60), (54, 84, 40)), 34, 0.075)


def draw_desert(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = draw_sky(canvas, pen, b, rng, clouds=False)
    sand = vary(rng, (222, 168, 100), 0.1)
    y = b.horizon
    for k in range(4):
        t = k / 3
        amp = 0.04 + 0.05 * t
        phase = 6.28 * rng.random()
        line = [(x, y - amp * (0.5 + 0.5 * math.sin(phase + (4.2 - 0.6 * k) * x))) for x in np.linspace(0, 1, 9)]
        c = mix(sand, low, 0.35 * (1 - t))
        pen.area([*smooth(line, closed=False), (1, 1), (0, 1)], c, (0.05, 0.08))
        pen.veil(
            smooth(line, closed=False) + [(x + 0.1, yy + 0.07 + 0.1 * t) for x, yy in reversed(line)],
            shade(sand, 0.55),
            0.3,
        )
        y += (1 - b.horizon) * (0.1 + 0.14 * t)
    for _ in range(int(4 * rng.random())):
        t = rng.random()
        x, yy, h = rng.random(), b.horizon + 0.1 + 0.3 * t, 0.1 + 0.2 * t
        green = vary(rng, (74, 118, 70), 0.15)
        pen.limb([(x, yy), (x, yy - h)], [0.2 * h, 0.18 * h], green, (0.06, 0.12))
        for s in (-1, 1):
            pen.limb(
                [(x, yy - 0.35 * h), (x + s * 0.28 * h, yy - 0.4 * h), (x + s * 0.28 * h, yy - 0.72 * h)],
                [0.13 * h] * 3,
                green,
                (0.06, 0.12),
            )


def draw_snow(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = draw_sky(canvas, pen, b, rng)
    snow = mix((238, 242, 250), low, 0.12)
    draw_ridge(pen, rng, b.horizon, 0.16, mix((150, 164, 188), low, 0.4), (0.06, 0.06))
    draw_band(pen, b.horizon, 1, shade(snow, 0.94), (0.045, 0.03), 4, snow)
    for _ in range(9):
        t = rng.random() ** 1.5
        x, y, h = rng.random(), b.horizon + 0.02 + 0.35 * t * (1 - b.horizon), 0.1 + 0.22 * t
        draw_tree(pen, x, y, h, rng, True, low, 0.2 * (1 - t))
        for k in range(3):
            yy, w = y - (0.36 + 0.25 * k) * h, (0.13 - 0.035 * k) * h
            pen.area([(x - w, yy), (x, yy - 0.2 * h), (x + 0.4 * w, yy - 0.05 * h)], snow, None)
    for _ in range(3):
        y = b.horizon + (1 - b.horizon) * (0.2 + 0.7 * rng.random())
        x = rng.random()
        pen.veil(smooth([(x - 0.4, y), (x, y - 0.03), (x + 0.4, y), (x, y + 0.02)]), (140, 160, 200), 0.3)
    for x, y in rng.random((24, 2)):
        pen.ellipse(x, y, 0.006, 0.006, (255, 255, 255), None)


def _facade(
    pen: Pen,
    x0: float,
    x1: float,
    top: float,
    bottom: float,
    wall: Colour,
    rng: np.random.Generator,
    haze: Colour,
    far: float,
) -> None:
    c = mix(wall, haze, far)
    pen.area([(x0, top), (x1, top), (x1, bottom), (x0, bottom)], c, (0.07, 0.09))
    columns = max(2, int((x1 - x0) / 0.055))
    rows = max(2, int((bottom - top) / 0.075))
    dx, dy = (x1 - x0) / columns, (bottom - top) / rows
    for r in range(min(rows, 7)):
        for k in range(columns):
            x, y = x0 + (k + 0.25) * dx, top + (r + 0.25) * dy
            glass = (250, 222, 150) if rng.random() < 0.18 else mix((70, 90, 114), haze, far)
            pen.area([(x, y), (x + 0.5 * dx, y), (x + 0.5 * dx, y + 0.55 * dy), (x, y + 0.55 * dy)], glass, None)


def draw_city(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = draw_sky(canvas, pen, b, rng)
    for layer in range(2):
        x = -0.05 * rng.random()
        while x < 1:
            w = 0.09 + 0.1 * rng.random()
            wall = vary(rng, pick(rng, ((150, 120, 104), (124, 130, 142), (176, 160, 136), (96, 108, 128))), 0.12)
            _facade(
                pen,
                x,
                x + w,
                b.horizon - (0.34 - 0.14 * layer) * (0.35 + 0.75 * rng.random()),
                b.horizon + 0.04,
                wall,
                rng,
                low,
                0.5 - 0.3 * layer,
            )
            x += w + 0.01 * rng.random()
    ground = vary(rng, (122, 122, 124), 0.1)
    draw_band(pen, b.horizon + 0.03, 1, shade(ground, 1.15), (0.08, 0.1))
    draw_tufts(pen, rng, b.horizon + 0.02, ((84, 118, 62), (70, 100, 54)), 10, 0.03)


def draw_street(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = draw_sky(canvas, pen, b, rng)
    vx, h = 0.3 + 0.4 * rng.random(), b.horizon
    walls = tuple(
        vary(rng, c, 0.12) for c in ((186, 120, 92), (206, 184, 148), (150, 152, 158), (176, 136, 120), (216, 206, 190))
    )
    for side in (-1, 1):
        edge = 0.0 if side < 0 else 1.0
        reach = edge - vx
        t = 1.0
        while t > 0.1:  # house after house toward the vanishing point
            t2 = t * (0.62 + 0.12 * rng.random())
            xa, xb = vx + reach * t, vx + reach * t2
            top = 0.75 + 0.35 * rng.random()
            wall = mix(pick(rng, walls), low, 0.4 * (1 - t))

            def at(
                f: float, level: float, xa: float = xa, xb: float = xb, t: float = t, t2: float = t2, top: float = top
            ) -> tuple[float, float]:
                depth = t + (t2 - t) * f
                return xa + (xb - xa) * f, h - (top * level - 0.22 * (1 - level)) * depth * 0.9

            pen.area([at(0, 1), at(1, 1), at(1, 0), at(0, 0)], shade(wall, 0.8 if side > 0 else 1.0), (0.08, 0.1))
            for lv in (0.24, 0.5, 0.75):
                for f in (0.15, 0.45, 0.73):
                    tall = 0.17 if lv < 0.9 else 0.1
                    pen.area(
                        [at(f, lv + tall), at(f + 0.16, lv + tall), at(f + 0.16, lv), at(f, lv)],
                        mix((62, 78, 100), low, 0.3 * (1 - t)),
                        None,
                    )
            t = t2
    road = vary(rng, (98, 98, 104), 0.1)
    y0 = h + 0.02
    pen.area([(vx - 0.03, y0), (vx + 0.03, y0), (1.25, 1), (-0.25, 1)], (176, 170, 162), (0.06, 0.08))
    pen.area([(vx - 0.02, y0), (vx + 0.02, y0), (0.98, 1), (0.02, 1)], road, (0.08, 0.1))
    for k in range(5):
        t0, t1 = (k / 5) ** 1.7, ((k + 0.5) / 5) ** 1.7
        ya, yb = y0 + t0 * (1 - y0), y0 + t1 * (1 - y0)
        xa, xb = vx + (0.5 - vx) * t0, vx + (0.5 - vx) * t1
        pen.area(
            [(xa - 0.018 * t0, ya), (xa + 0.018 * t0, ya), (xb + 0.018 * t1, yb), (xb - 0.018 * t1, yb)],
            (236, 226, 190),
            None,
        )
