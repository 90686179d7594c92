"""Backgrounds that are hardly a place: textures, open ground, walls, table tops, water."""

# fmt: off  (coordinates read better in rows)
from __future__ import annotations

import math

import numpy as np

from neuro.datasets.phantom.background import Background
from neuro.datasets.phantom.canvas import Canvas, Colour, Pen, mix, shade, smooth
from neuro.datasets.phantom.palette import NAMED, pick, vary
from neuro.datasets.phantom.scenery import draw_band, draw_sky


def draw_texture(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    a = vary(rng, pick(rng, tuple(NAMED.values())), 0.2)
    a = mix(a, (128, 128, 128), 0.45)
    c = mix(a, pick(rng, tuple(NAMED.values())), 0.35)
    canvas.gradient([(0, a), (1, c)], (0.42, 0.06))


def draw_open_ground(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    draw_sky(canvas, pen, b, rng)
    ground = vary(rng, pick(rng, ((104, 132, 70), (150, 136, 104), (128, 126, 122), (176, 160, 112))), 0.15)
    draw_band(pen, b.horizon, 1, shade(ground, 1.12), (0.12, 0.12))


def draw_wall(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    wall = vary(
        rng,
        pick(
            rng, ((206, 196, 176), (168, 186, 196), (196, 170, 160), (176, 190, 160), (150, 150, 160), (120, 136, 160))
        ),
        0.12,
    )
    canvas.gradient([(0, shade(wall, 0.86)), (b.horizon, wall), (1, wall)], (0.07, 0.05))
    style = rng.random()
    if style < 0.25:
        for k in range(12):
            x = k / 12
            pen.veil([(x, 0), (x + 0.04, 0), (x + 0.04, b.horizon), (x, b.horizon)], shade(wall, 0.7), 0.3)
    elif style < 0.5:
        rows = max(2, int(b.horizon / 0.06))
        for r in range(rows):
            y = b.horizon * r / rows
            pen.line([(0, y), (1, y)], 0.006, shade(wall, 0.72))
            for k in range(7):
                x = (k + 0.5 * (r % 2)) / 7
                pen.line([(x, y), (x, y + b.horizon / rows)], 0.006, shade(wall, 0.72))
    elif style < 0.75:
        x, w = 0.1 + 0.6 * rng.random(), 0.16 + 0.1 * rng.random()
        y, t = b.horizon * 0.15, b.horizon * 0.5
        pen.area(
            [
                (x - 0.012, y - 0.012),
                (x + w + 0.012, y - 0.012),
                (x + w + 0.012, y + t + 0.012),
                (x - 0.012, y + t + 0.012),
            ],
            (96, 66, 44),
            None,
        )
        art = pick(rng, tuple(NAMED.values()))
        pen.area([(x, y), (x + w, y), (x + w, y + t), (x, y + t)], mix(art, wall, 0.4), None)
        pen.ellipse(x + 0.5 * w, y + 0.55 * t, 0.25 * w, 0.25 * t, shade(art, 0.6), None)
    floor = vary(rng, pick(rng, ((150, 108, 72), (120, 90, 66), (140, 132, 124), (110, 100, 110))), 0.12)
    _floor(pen, rng, b.horizon, floor)
    pen.area(
        [(0, b.horizon - 0.03), (1, b.horizon - 0.03), (1, b.horizon), (0, b.horizon)], shade(wall, 1.15), (0.03, 0.03)
    )


def _floor(pen: Pen, rng: np.random.Generator, y0: float, floor: Colour) -> None:
    draw_band(pen, y0, 1, shade(floor, 0.85), (0.08, 0.1), 4, shade(floor, 1.05))
    for k in range(-9, 10):
        pen.line([(0.5 + 0.09 * k, y0), (0.5 + 0.24 * k, 1)], 0.005, shade(floor, 0.68))


def draw_table(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    wall = mix(vary(rng, pick(rng, tuple(NAMED.values())), 0.15), (150, 146, 140), 0.6)
    canvas.gradient([(0, shade(wall, 0.62)), (b.horizon, shade(wall, 0.9)), (1, wall)], (0.13, 0.03))
    for _ in range(5):  # an unfocused room
        x, y, r = rng.random(), b.horizon * rng.random(), 0.05 + 0.08 * rng.random()
        pen.veil([(x + r * math.cos(t), y + r * math.sin(t)) for t in np.arange(14) * 0.449], shade(wall, 1.6), 0.18)
    cloth = rng.random() < 0.35
    top = vary(
        rng,
        pick(rng, tuple(NAMED.values()))
        if cloth
        else pick(rng, ((160, 112, 70), (190, 148, 100), (110, 74, 50), (200, 196, 190))),
        0.12,
    )
    top = mix(top, (170, 160, 150), 0.2)
    draw_band(pen, b.horizon, 1, shade(top, 0.85), (0.08, 0.1), 4, shade(top, 1.08))
    if cloth:
        for k in range(-9, 10):
            pen.veil(
                [
                    (0.5 + 0.08 * k, b.horizon),
                    (0.5 + 0.08 * k + 0.04, b.horizon),
                    (0.5 + 0.2 * k + 0.1, 1),
                    (0.5 + 0.2 * k, 1),
                ],
                (255, 255, 255),
                0.3,
            )
        for k in range(6):
            y = b.horizon + (1 - b.horizon) * (k / 6) ** 1.4
            pen.veil([(0, y), (1, y), (1, y + 0.03 + 0.01 * k), (0, y + 0.03 + 0.01 * k)], (255, 255, 255), 0.25)
    else:
        for k in range(7):
            y = b.horizon + (1 - b.horizon) * ((k + 0.6) / 7) ** 1.3
            pen.line([(0, y), (1, y + 0.02 * (rng.random() - 0.5))], 0.006, shade(top, 0.72))


def draw_underwater(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    sea = vary(rng, (34, 122, 168), 0.15)
    canvas.gradient([(0, shade(sea, 1.5)), (0.5, sea), (1, shade(sea, 0.5))], (0.1, 0.03))
    for _ in range(5):
        x, w = rng.random(), 0.03 + 0.05 * rng.random()
        pen.veil([(x, 0), (x + w, 0), (x + w + 0.2, 0.9), (x - 0.06 + 0.1, 0.9)], (220, 244, 250), 0.14)
    y = 0.86 + 0.06 * rng.random()
    pen.area(
        [*smooth([(0, y), (0.25, y - 0.03), (0.6, y + 0.02), (1, y - 0.02)], closed=False), (1, 1), (0, 1)],
        mix((206, 190, 140), sea, 0.45),
        (0.1, 0.12),
    )
    for _ in range(7):
        x, h = rng.random(), 0.1 + 0.22 * rng.random()
        weed = smooth(
            [(x, y + 0.06), (x + 0.03, y - 0.4 * h), (x - 0.02, y - 0.7 * h), (x + 0.02, y - h)], closed=False
        )
        pen.limb(
            weed,
            list(np.linspace(0.03, 0.008, len(weed))),
            vary(rng, pick(rng, ((44, 110, 70), (160, 70, 80), (90, 120, 50))), 0.2),
            (0.06, 0.08),
        )
    for x, yy in rng.random((12, 2)):
        r = 0.006 + 0.01 * rng.random()
        pen.veil([(x + r * math.cos(t), yy + r * math.sin(t)) for t in np.arange(10) * 0.63], (230, 246, 255), 0.5)
