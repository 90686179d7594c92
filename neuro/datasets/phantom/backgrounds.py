"""What lies behind the objects: plain 1/f textures, landscapes, rooms, table tops."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuro.datasets.phantom.canvas import Canvas, Colour, Pen, mix, shade, smooth
from neuro.datasets.phantom.palette import NAMED, pick, vary

LANDSCAPES = ("mountain", "beach", "forest", "desert", "lake", "field", "snow")
ROOMS = ("bedroom", "kitchen", "living room", "bathroom", "office")
PLACENESS = {**dict.fromkeys((*LANDSCAPES, *ROOMS, "street", "city"), 1.0), "park": 0.6, "wall": 0.3, "sky": 0.3, "table": 0.15,
             "water": 0.1, "texture": 0.0}  # fmt: skip
INDOOR = (*ROOMS, "wall", "table")

_SKIES: tuple[tuple[str, Colour, Colour], ...] = (
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
    sky = int(rng.random() * len(_SKIES))
    indoor = kind in INDOOR
    named_sky = "" if indoor or kind in ("texture", "water") else _SKIES[sky][0]
    return Background(kind, float(horizon), named_sky, indoor, int(rng.integers(2**31)), {"sky": sky})


def draw_background(canvas: Canvas, background: Background) -> None:
    """Draw a background over the whole canvas."""
    rng = np.random.default_rng(background.seed)
    pen = Pen(canvas, 0.0, 0.0, 1.0)
    _DRAW[background.kind](canvas, pen, background, rng)


def _sky(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator, clouds: bool = True) -> tuple[Colour, Colour]:
    _, top, low = _SKIES[b.style["sky"]]
    top, low = vary(rng, top, 0.1), vary(rng, low, 0.06)
    canvas.gradient([(0.0, top), (b.horizon, low), (1.0, low)], (0.05, 0.015))
    if b.sky == "sunset":
        x = rng.random()
        for r, a in ((0.11, 0.25), (0.08, 0.3), (0.05, 0.9)):
            pen.veil([(x + r * math.cos(t), b.horizon - 0.06 + r * math.sin(t)) for t in np.arange(16) * 0.3927], (255, 232, 170), a)
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


def _band(pen: Pen, y0: float, y1: float, colour: Colour, grain: tuple[float, float], steps: int = 5, to: Colour | None = None) -> None:
    """Fill from y0 down to y1, passing from ``colour`` to ``to``."""
    to = to or shade(colour, 0.8)
    for k in range(steps):
        a, b = y0 + (y1 - y0) * k / steps, y1
        pen.area([(0, a), (1, a), (1, b), (0, b)], mix(colour, to, k / max(steps - 1, 1)), grain)


def _ridge(pen: Pen, rng: np.random.Generator, y: float, height: float, colour: Colour, grain: tuple[float, float], detail: int = 4) -> list[tuple[float, float]]:
    """Draw hills: a midpoint-displacement skyline above ``y``."""
    line = [rng.random(), rng.random()]
    spread = 1.0
    for _ in range(detail):
        spread *= 0.55
        nxt = [line[0]]
        for a, b in zip(line[:-1], line[1:], strict=True):
            nxt += [(a + b) / 2 + spread * (rng.random() - 0.5), b]
        line = nxt
    points = [(k / (len(line) - 1), y - height * (0.15 + 0.85 * min(max(v, 0), 1.2))) for k, v in enumerate(line)]
    pen.area([*points, (1, y + 0.02), (0, y + 0.02)], colour, grain)
    return points


def _tufts(pen: Pen, rng: np.random.Generator, y0: float, colours: tuple[Colour, ...], n: int, tall: float = 0.05, flowers: bool = False) -> None:
    """Scatter grass tufts (and flowers) that grow toward the viewer."""
    depths = np.sort(rng.random(n)) ** 0.8
    for t, u in zip(depths, rng.random(n), strict=True):
        y = y0 + 0.01 + t * (1 - y0)
        h = tall * (0.25 + t)
        c = shade(pick(rng, colours), 0.75 + 0.5 * rng.random())
        if flowers and rng.random() < 0.3:
            pen.ellipse(u, y, 0.2 * h, 0.2 * h, pick(rng, ((240, 220, 80), (236, 90, 100), (250, 250, 250), (180, 120, 220))), None)
        else:
            pen.area([(u - 0.35 * h, y - 0.7 * h), (u - 0.05 * h, y), (u, y - h), (u + 0.08 * h, y), (u + 0.4 * h, y - 0.6 * h), (u + 0.14 * h, y + 0.1 * h), (u - 0.1 * h, y + 0.1 * h)], c, None)


def _tree(pen: Pen, x: float, y: float, h: float, rng: np.random.Generator, pine: bool, haze: Colour, far: float) -> None:
    trunk = mix((92, 68, 48), haze, far)
    leaf = mix(vary(rng, (52, 104, 52), 0.3), haze, far)
    pen.area([(x - 0.03 * h, y), (x - 0.02 * h, y - 0.4 * h), (x + 0.02 * h, y - 0.4 * h), (x + 0.03 * h, y)], trunk, (0.08, 0.1))
    if pine:
        for k in range(3):
            b, w = y - (0.15 + 0.25 * k) * h, (0.25 - 0.06 * k) * h
            pen.area([(x - w, b), (x, b - 0.42 * h), (x + w, b)], shade(leaf, 0.8 + 0.12 * k), (0.12, 0.16))
    else:
        for dx, dy, r, d in ((-0.16, -0.5, 0.2, 0.78), (0.16, -0.52, 0.2, 0.7), (0.0, -0.72, 0.25, 1.0), (-0.06, -0.6, 0.17, 1.15)):
            pen.ellipse(x + dx * h, y + dy * h, r * h, r * h, shade(leaf, d), (0.12, 0.18))


def _texture(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    a = vary(rng, pick(rng, tuple(NAMED.values())), 0.2)
    a = mix(a, (128, 128, 128), 0.45)
    c = mix(a, pick(rng, tuple(NAMED.values())), 0.35)
    canvas.gradient([(0, a), (1, c)], (0.42, 0.06))


def _plain_sky(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _sky(canvas, pen, b, rng)
    ground = vary(rng, pick(rng, ((104, 132, 70), (150, 136, 104), (128, 126, 122), (176, 160, 112))), 0.15)
    _band(pen, b.horizon, 1, shade(ground, 1.12), (0.12, 0.12))


def _field(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = _sky(canvas, pen, b, rng)
    grass = vary(rng, pick(rng, ((104, 146, 64), (138, 150, 70), (196, 172, 84))), 0.12)
    _ridge(pen, rng, b.horizon, 0.1, mix((74, 106, 84), low, 0.5), (0.08, 0.08))
    for _ in range(4):
        _tree(pen, rng.random(), b.horizon + 0.012, 0.05 + 0.06 * rng.random(), rng, False, low, 0.25)
    _band(pen, b.horizon, 1, shade(grass, 1.1), (0.1, 0.12))
    if rng.random() < 0.5:  # furrows that meet at the horizon
        vx = rng.random()
        for k in range(-7, 8):
            x = vx + 0.22 * k
            pen.veil([(vx, b.horizon), (x - 0.05, 1), (x + 0.05, 1)], shade(grass, 0.6), 0.35)
    _tufts(pen, rng, b.horizon, (grass, shade(grass, 0.75), shade(grass, 1.2)), 46, flowers=True)


def _park(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = _sky(canvas, pen, b, rng)
    grass = vary(rng, (92, 140, 62), 0.12)
    for k in range(9):
        _tree(pen, (k + rng.random()) / 9, b.horizon + 0.02, 0.16 + 0.16 * rng.random(), rng, rng.random() < 0.25, low, 0.2)
    _band(pen, b.horizon, 1, shade(grass, 1.08), (0.1, 0.12))
    x0, x1 = rng.random(), rng.random() * 1.6 - 0.3
    pen.area(smooth([(x0 - 0.02, b.horizon), (x0 + 0.1, b.horizon + 0.1), (x1 - 0.16, 1)], closed=False)
             + smooth([(x1 + 0.22, 1), (x0 + 0.2, b.horizon + 0.1), (x0 + 0.03, b.horizon)], closed=False), (196, 178, 144), (0.08, 0.1))
    _tufts(pen, rng, b.horizon, (grass, shade(grass, 0.75), shade(grass, 1.2)), 30, 0.04, flowers=True)


def _mountain(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = _sky(canvas, pen, b, rng)
    rock = vary(rng, (104, 104, 122), 0.15)
    peaks = sorted(rng.random(3) * 1.1 - 0.05)
    for k, x in enumerate(peaks):
        h = b.horizon * (0.45 + 0.42 * rng.random())
        w = h * (0.75 + 0.5 * rng.random())
        c = mix(rock, low, 0.4 - 0.15 * k)
        y = b.horizon
        left = [(x - w, y + 0.02), (x - 0.6 * w, y - 0.35 * h), (x - 0.36 * w, y - 0.58 * h), (x - 0.12 * w, y - 0.9 * h), (x, y - h)]
        right = [(x + 0.1 * w, y - 0.86 * h), (x + 0.3 * w, y - 0.66 * h), (x + 0.52 * w, y - 0.36 * h), (x + w, y + 0.02)]
        pen.area(left + right, c, (0.14, 0.14))
        pen.area([(x, y - h), (x + 0.05 * w, y - 0.7 * h), (x - 0.05 * w, y - 0.45 * h), (x + 0.12 * w, y - 0.2 * h), (x + 0.05 * w, y + 0.02), (x + w, y + 0.02), *right[::-1][1:]],
                 shade(c, 0.72), (0.14, 0.14))
        snow = mix((246, 248, 252), low, 0.12)
        pen.area([(x, y - h), (x + 0.1 * w, y - 0.86 * h), (x + 0.2 * w, y - 0.76 * h), (x + 0.1 * w, y - 0.72 * h), (x + 0.04 * w, y - 0.64 * h), (x - 0.05 * w, y - 0.74 * h),
                  (x - 0.15 * w, y - 0.66 * h), (x - 0.24 * w, y - 0.75 * h), (x - 0.12 * w, y - 0.9 * h)], snow, (0.04, 0.05))
    _ridge(pen, rng, b.horizon, 0.08, mix((60, 88, 66), low, 0.2), (0.12, 0.16))
    grass = vary(rng, (96, 124, 66), 0.15)
    _band(pen, b.horizon, 1, shade(grass, 1.1), (0.12, 0.14))
    for _ in range(7):
        t = rng.random()
        _tree(pen, rng.random(), b.horizon + 0.02 + 0.3 * t * (1 - b.horizon), 0.07 + 0.14 * t, rng, True, low, 0.15 * (1 - t))
    _tufts(pen, rng, b.horizon, (grass, shade(grass, 0.7)), 30, 0.04)


def _water_band(pen: Pen, rng: np.random.Generator, y0: float, y1: float, colour: Colour, light: Colour, n: int = 26) -> None:
    _band(pen, y0, y1, mix(colour, light, 0.35), (0.07, 0.06), 5, colour)
    for t in np.sort(rng.random(n)):
        y = y0 + t * (y1 - y0)
        x, w = rng.random(), (0.02 + 0.12 * t) * (0.5 + rng.random())
        pen.area([(x - w, y), (x, y - 0.006 * (0.4 + t)), (x + w, y), (x, y + 0.006 * (0.4 + t))], mix(colour, light, 0.4 + 0.5 * rng.random()), None)


def _beach(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = _sky(canvas, pen, b, rng)
    sea = mix(vary(rng, (36, 120, 156), 0.15), low, 0.15)
    shore = b.horizon + (1 - b.horizon) * (0.3 + 0.25 * rng.random())
    _water_band(pen, rng, b.horizon, shore + 0.06, sea, mix(low, (255, 255, 255), 0.4))
    sand = vary(rng, (224, 198, 148), 0.08)
    tilt = 0.12 * (rng.random() - 0.5)
    edge = [(x, shore + tilt * (x - 0.5) + 0.018 * math.sin(9 * x + 6 * rng.random())) for x in np.linspace(0, 1, 9)]
    pen.area(smooth(edge, closed=False) + [(1, 1), (0, 1)], (244, 246, 244), (0.03, 0.05))
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
            pen.area(smooth([(x + lean, y - h), mid, tip, (mid[0], mid[1] + 0.035)]), shade((52, 116, 58), 0.75 + 0.08 * a), (0.08, 0.1))
    for _ in range(9):
        t = rng.random()
        pen.ellipse(rng.random(), shore + 0.1 + t * (0.9 - shore), 0.006 + 0.012 * t, 0.004 + 0.006 * t, shade(sand, 0.7), None)


def _lake(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = _sky(canvas, pen, b, rng)
    _ridge(pen, rng, b.horizon, 0.24, mix((86, 104, 120), low, 0.45), (0.1, 0.1))
    hills = mix((62, 98, 66), low, 0.2)
    line = _ridge(pen, rng, b.horizon, 0.12, hills, (0.12, 0.16))
    water = mix(low, (44, 92, 120), 0.5)
    _water_band(pen, rng, b.horizon, 1, water, mix(low, (255, 255, 255), 0.2))
    pen.veil([(x, 2 * b.horizon - y) for x, y in line] + [(1, b.horizon), (0, b.horizon)], shade(hills, 0.7), 0.6)
    shore = vary(rng, (112, 124, 70), 0.15)
    y = 0.88 + 0.06 * rng.random()
    pen.area(smooth([(0, y), (0.3, y + 0.03), (0.65, y - 0.02), (1, y + 0.04)], closed=False) + [(1, 1), (0, 1)], shore, (0.12, 0.14))
    for _ in range(12):
        x, h = rng.random(), 0.06 + 0.1 * rng.random()
        pen.line([(x, 0.98), (x + 0.02 * (rng.random() - 0.5), 0.96 - h)], 0.007, shade(shore, 0.6 + 0.5 * rng.random()))


def _forest(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    glow = vary(rng, (182, 208, 150), 0.1)
    canvas.gradient([(0, shade(glow, 0.55)), (b.horizon, glow), (1, shade(glow, 0.6))], (0.16, 0.12))
    floor = vary(rng, (104, 92, 52), 0.2)
    _band(pen, b.horizon, 1, mix(floor, glow, 0.35), (0.14, 0.18), 5, shade(floor, 0.75))
    for depth in range(3):
        near = depth / 2
        y = b.horizon + 0.02 + 0.22 * depth * (1 - b.horizon)
        for k in range(9 - 2 * depth):
            x = (k + rng.random()) / (9 - 2 * depth)
            w = (0.012 + 0.022 * near) * (0.8 + 0.5 * rng.random())
            bark = mix(vary(rng, (84, 64, 46), 0.2), glow, 0.6 * (1 - near))
            pen.area([(x - w * 1.4, y), (x - w, y - 0.1), (x - 0.8 * w, -0.02), (x + 0.8 * w, -0.02), (x + w, y - 0.1), (x + w * 1.4, y)], bark, (0.1, 0.18))
            pen.veil([(x + 0.2 * w, -0.02), (x + 0.8 * w, -0.02), (x + w, y - 0.1), (x + w * 1.4, y), (x + 0.4 * w, y)], (0, 0, 0), 0.25)
        for _ in range(13):
            x, yy, r = rng.random(), 0.2 * rng.random() * (1.5 - near), 0.06 + 0.08 * rng.random()
            leaf = mix(vary(rng, (64, 116, 48), 0.35), glow, 0.45 * (1 - near))
            pen.ellipse(x, yy, r * 1.3, r * 0.8, leaf, (0.14, 0.24))
    _tufts(pen, rng, b.horizon + 0.1, ((70, 110, 48), (96, 132, 60), (54, 84, 40)), 34, 0.075)


def _desert(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = _sky(canvas, pen, b, rng, clouds=False)
    sand = vary(rng, (222, 168, 100), 0.1)
    y = b.horizon
    for k in range(4):
        t = k / 3
        amp = 0.04 + 0.05 * t
        phase = 6.28 * rng.random()
        line = [(x, y - amp * (0.5 + 0.5 * math.sin(phase + (4.2 - 0.6 * k) * x))) for x in np.linspace(0, 1, 9)]
        c = mix(sand, low, 0.35 * (1 - t))
        pen.area(smooth(line, closed=False) + [(1, 1), (0, 1)], c, (0.05, 0.08))
        pen.veil(smooth(line, closed=False) + [(x + 0.1, yy + 0.07 + 0.1 * t) for x, yy in reversed(line)], shade(sand, 0.55), 0.3)
        y += (1 - b.horizon) * (0.1 + 0.14 * t)
    for _ in range(int(4 * rng.random())):
        t = rng.random()
        x, yy, h = rng.random(), b.horizon + 0.1 + 0.3 * t, 0.1 + 0.2 * t
        green = vary(rng, (74, 118, 70), 0.15)
        pen.limb([(x, yy), (x, yy - h)], [0.2 * h, 0.18 * h], green, (0.06, 0.12))
        for s in (-1, 1):
            pen.limb([(x, yy - 0.35 * h), (x + s * 0.28 * h, yy - 0.4 * h), (x + s * 0.28 * h, yy - 0.72 * h)], [0.13 * h] * 3, green, (0.06, 0.12))


def _snow(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = _sky(canvas, pen, b, rng)
    snow = mix((238, 242, 250), low, 0.12)
    _ridge(pen, rng, b.horizon, 0.16, mix((150, 164, 188), low, 0.4), (0.06, 0.06))
    _band(pen, b.horizon, 1, shade(snow, 0.94), (0.045, 0.03), 4, snow)
    for _ in range(9):
        t = rng.random() ** 1.5
        x, y, h = rng.random(), b.horizon + 0.02 + 0.35 * t * (1 - b.horizon), 0.1 + 0.22 * t
        _tree(pen, x, y, h, rng, True, low, 0.2 * (1 - t))
        for k in range(3):
            yy, w = y - (0.36 + 0.25 * k) * h, (0.13 - 0.035 * k) * h
            pen.area([(x - w, yy), (x, yy - 0.2 * h), (x + 0.4 * w, yy - 0.05 * h)], snow, None)
    for _ in range(3):
        y = b.horizon + (1 - b.horizon) * (0.2 + 0.7 * rng.random())
        x = rng.random()
        pen.veil(smooth([(x - 0.4, y), (x, y - 0.03), (x + 0.4, y), (x, y + 0.02)]), (140, 160, 200), 0.3)
    for x, y in rng.random((24, 2)):
        pen.ellipse(x, y, 0.006, 0.006, (255, 255, 255), None)


def _facade(pen: Pen, x0: float, x1: float, top: float, bottom: float, wall: Colour, rng: np.random.Generator, haze: Colour, far: float) -> None:
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


def _city(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = _sky(canvas, pen, b, rng)
    for layer in range(2):
        x = -0.05 * rng.random()
        while x < 1:
            w = 0.09 + 0.1 * rng.random()
            wall = vary(rng, pick(rng, ((150, 120, 104), (124, 130, 142), (176, 160, 136), (96, 108, 128))), 0.12)
            _facade(pen, x, x + w, b.horizon - (0.34 - 0.14 * layer) * (0.35 + 0.75 * rng.random()), b.horizon + 0.04, wall, rng, low, 0.5 - 0.3 * layer)
            x += w + 0.01 * rng.random()
    ground = vary(rng, (122, 122, 124), 0.1)
    _band(pen, b.horizon + 0.03, 1, shade(ground, 1.15), (0.08, 0.1))
    _tufts(pen, rng, b.horizon + 0.02, ((84, 118, 62), (70, 100, 54)), 10, 0.03)


def _street(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    _, low = _sky(canvas, pen, b, rng)
    vx, h = 0.3 + 0.4 * rng.random(), b.horizon
    walls = tuple(vary(rng, c, 0.12) for c in ((186, 120, 92), (206, 184, 148), (150, 152, 158), (176, 136, 120), (216, 206, 190)))
    for side in (-1, 1):
        edge = 0.0 if side < 0 else 1.0
        reach = edge - vx
        t = 1.0
        while t > 0.1:  # house after house toward the vanishing point
            t2 = t * (0.62 + 0.12 * rng.random())
            xa, xb = vx + reach * t, vx + reach * t2
            top = 0.75 + 0.35 * rng.random()
            wall = mix(pick(rng, walls), low, 0.4 * (1 - t))

            def at(f: float, level: float, xa: float = xa, xb: float = xb, t: float = t, t2: float = t2, top: float = top) -> tuple[float, float]:
                depth = t + (t2 - t) * f
                return xa + (xb - xa) * f, h - (top * level - 0.22 * (1 - level)) * depth * 0.9

            pen.area([at(0, 1), at(1, 1), at(1, 0), at(0, 0)], shade(wall, 0.8 if side > 0 else 1.0), (0.08, 0.1))
            for lv in (0.24, 0.5, 0.75):
                for f in (0.15, 0.45, 0.73):
                    tall = 0.17 if lv < 0.9 else 0.1
                    pen.area([at(f, lv + tall), at(f + 0.16, lv + tall), at(f + 0.16, lv), at(f, lv)], mix((62, 78, 100), low, 0.3 * (1 - t)), None)
            t = t2
    road = vary(rng, (98, 98, 104), 0.1)
    y0 = h + 0.02
    pen.area([(vx - 0.03, y0), (vx + 0.03, y0), (1.25, 1), (-0.25, 1)], (176, 170, 162), (0.06, 0.08))
    pen.area([(vx - 0.02, y0), (vx + 0.02, y0), (0.98, 1), (0.02, 1)], road, (0.08, 0.1))
    for k in range(5):
        t0, t1 = (k / 5) ** 1.7, ((k + 0.5) / 5) ** 1.7
        ya, yb = y0 + t0 * (1 - y0), y0 + t1 * (1 - y0)
        xa, xb = vx + (0.5 - vx) * t0, vx + (0.5 - vx) * t1
        pen.area([(xa - 0.018 * t0, ya), (xa + 0.018 * t0, ya), (xb + 0.018 * t1, yb), (xb - 0.018 * t1, yb)], (236, 226, 190), None)


def _wall(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    wall = vary(rng, pick(rng, ((206, 196, 176), (168, 186, 196), (196, 170, 160), (176, 190, 160), (150, 150, 160), (120, 136, 160))), 0.12)
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
        pen.area([(x - 0.012, y - 0.012), (x + w + 0.012, y - 0.012), (x + w + 0.012, y + t + 0.012), (x - 0.012, y + t + 0.012)], (96, 66, 44), None)
        art = pick(rng, tuple(NAMED.values()))
        pen.area([(x, y), (x + w, y), (x + w, y + t), (x, y + t)], mix(art, wall, 0.4), None)
        pen.ellipse(x + 0.5 * w, y + 0.55 * t, 0.25 * w, 0.25 * t, shade(art, 0.6), None)
    floor = vary(rng, pick(rng, ((150, 108, 72), (120, 90, 66), (140, 132, 124), (110, 100, 110))), 0.12)
    _floor(pen, rng, b.horizon, floor)
    pen.area([(0, b.horizon - 0.03), (1, b.horizon - 0.03), (1, b.horizon), (0, b.horizon)], shade(wall, 1.15), (0.03, 0.03))


def _floor(pen: Pen, rng: np.random.Generator, y0: float, floor: Colour) -> None:
    _band(pen, y0, 1, shade(floor, 0.85), (0.08, 0.1), 4, shade(floor, 1.05))
    for k in range(-9, 10):
        pen.line([(0.5 + 0.09 * k, y0), (0.5 + 0.24 * k, 1)], 0.005, shade(floor, 0.68))


def _table(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    wall = mix(vary(rng, pick(rng, tuple(NAMED.values())), 0.15), (150, 146, 140), 0.6)
    canvas.gradient([(0, shade(wall, 0.62)), (b.horizon, shade(wall, 0.9)), (1, wall)], (0.13, 0.03))
    for _ in range(5):  # an unfocused room
        x, y, r = rng.random(), b.horizon * rng.random(), 0.05 + 0.08 * rng.random()
        pen.veil([(x + r * math.cos(t), y + r * math.sin(t)) for t in np.arange(14) * 0.449], shade(wall, 1.6), 0.18)
    cloth = rng.random() < 0.35
    top = vary(rng, pick(rng, tuple(NAMED.values())) if cloth else pick(rng, ((160, 112, 70), (190, 148, 100), (110, 74, 50), (200, 196, 190))), 0.12)
    top = mix(top, (170, 160, 150), 0.2)
    _band(pen, b.horizon, 1, shade(top, 0.85), (0.08, 0.1), 4, shade(top, 1.08))
    if cloth:
        for k in range(-9, 10):
            pen.veil([(0.5 + 0.08 * k, b.horizon), (0.5 + 0.08 * k + 0.04, b.horizon), (0.5 + 0.2 * k + 0.1, 1), (0.5 + 0.2 * k, 1)], (255, 255, 255), 0.3)
        for k in range(6):
            y = b.horizon + (1 - b.horizon) * (k / 6) ** 1.4
            pen.veil([(0, y), (1, y), (1, y + 0.03 + 0.01 * k), (0, y + 0.03 + 0.01 * k)], (255, 255, 255), 0.25)
    else:
        for k in range(7):
            y = b.horizon + (1 - b.horizon) * ((k + 0.6) / 7) ** 1.3
            pen.line([(0, y), (1, y + 0.02 * (rng.random() - 0.5))], 0.006, shade(top, 0.72))


def _underwater(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    sea = vary(rng, (34, 122, 168), 0.15)
    canvas.gradient([(0, shade(sea, 1.5)), (0.5, sea), (1, shade(sea, 0.5))], (0.1, 0.03))
    for _ in range(5):
        x, w = rng.random(), 0.03 + 0.05 * rng.random()
        pen.veil([(x, 0), (x + w, 0), (x + w + 0.2, 0.9), (x - 0.06 + 0.1, 0.9)], (220, 244, 250), 0.14)
    y = 0.86 + 0.06 * rng.random()
    pen.area(smooth([(0, y), (0.25, y - 0.03), (0.6, y + 0.02), (1, y - 0.02)], closed=False) + [(1, 1), (0, 1)], mix((206, 190, 140), sea, 0.45), (0.1, 0.12))
    for _ in range(7):
        x, h = rng.random(), 0.1 + 0.22 * rng.random()
        weed = smooth([(x, y + 0.06), (x + 0.03, y - 0.4 * h), (x - 0.02, y - 0.7 * h), (x + 0.02, y - h)], closed=False)
        pen.limb(weed, list(np.linspace(0.03, 0.008, len(weed))), vary(rng, pick(rng, ((44, 110, 70), (160, 70, 80), (90, 120, 50))), 0.2), (0.06, 0.08))
    for x, yy in rng.random((12, 2)):
        r = 0.006 + 0.01 * rng.random()
        pen.veil([(x + r * math.cos(t), yy + r * math.sin(t)) for t in np.arange(10) * 0.63], (230, 246, 255), 0.5)


def _room(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    """Draw a box in one-point perspective, with the furniture that makes it a kitchen or a bedroom."""
    walls = {"bathroom": ((156, 186, 194), (178, 192, 178)), "kitchen": ((222, 210, 180), (196, 206, 200)), "office": ((196, 198, 202), (176, 186, 200))}
    wall = vary(rng, pick(rng, walls.get(b.kind, ((206, 190, 166), (170, 186, 190), (196, 164, 150), (180, 184, 150), (150, 162, 190)))), 0.1)
    floor = vary(rng, {"bathroom": (150, 158, 166), "office": (120, 122, 132)}.get(b.kind, pick(rng, ((160, 114, 74), (128, 92, 64), (176, 140, 104)))), 0.1)
    vx, vy = 0.35 + 0.3 * rng.random(), b.horizon - 0.1
    k = 0.42 + 0.14 * rng.random()
    x0, x1, y0, y1 = vx - k * vx, vx + k * (1 - vx), vy - k * vy, vy + k * (1 - vy)
    canvas.gradient([(0, shade(wall, 1.0)), (1, wall)], (0.06, 0.04))
    pen.area([(0, 0), (1, 0), (x1, y0), (x0, y0)], mix(shade(wall, 1.12), (245, 245, 240), 0.5), (0.04, 0.03))
    pen.area([(0, 0), (x0, y0), (x0, y1), (0, 1)], shade(wall, 0.82), (0.06, 0.05))
    pen.area([(1, 0), (x1, y0), (x1, y1), (1, 1)], shade(wall, 0.7), (0.06, 0.05))
    pen.area([(0, 1), (x0, y1), (x1, y1), (1, 1)], floor, (0.08, 0.1))
    for j in range(1, 8):
        t = j / 8
        pen.line([(x0 + t * (x1 - x0), y1), (-0.15 + 1.3 * t, 1.0)], 0.005, shade(floor, 0.72))
    if b.kind in ("bathroom", "kitchen"):
        for j in range(1, 6):
            y = y1 + (1 - y1) * (j / 6) ** 1.5
            pen.line([(0, y), (1, y)], 0.005, shade(floor, 0.72))

    w, h = x1 - x0, y1 - y0

    def back(x: float, y: float) -> tuple[float, float]:
        return x0 + w * x, y0 + h * y

    def panel(a: float, c: float, e: float, g: float, colour: Colour, grain: tuple[float, float] | None = (0.04, 0.04)) -> None:
        pen.area([back(a, c), back(e, c), back(e, g), back(a, g)], colour, grain)

    def cube(x: float, e: float, top: float, bottom: float, colour: Colour, depth: float, grain: tuple[float, float] = (0.05, 0.05)) -> None:
        """Draw a box on the floor: its front face given in picture units, its back face ``depth`` of the way to the vanishing point."""
        bx, be = x + (vx - x) * depth, e + (vx - e) * depth
        bt = top + (vy - top) * depth
        bb = bottom + (vy - bottom) * depth
        pen.veil([(x - 0.02, bottom), (e + 0.02, bottom + 0.015), (be, bb), (bx, bb)], (0, 0, 0), 0.3)
        if bx < x:
            pen.area([(x, top), (bx, bt), (bx, bb), (x, bottom)], shade(colour, 0.6), grain)
        if be > e:
            pen.area([(e, top), (be, bt), (be, bb), (e, bottom)], shade(colour, 0.6), grain)
        pen.area([(x, top), (e, top), (be, bt), (bx, bt)], shade(colour, 1.15), grain)
        pen.area([(x, top), (e, top), (e, bottom), (x, bottom)], shade(colour, 0.85), grain)

    # window, curtains, picture, rug
    window = 0.1 + 0.4 * rng.random()
    view = _SKIES[b.style["sky"]]
    panel(window - 0.02, 0.14, window + 0.34, 0.56, (246, 244, 238))
    panel(window, 0.17, window + 0.32, 0.4, view[1], (0.03, 0.02))
    panel(window, 0.36, window + 0.32, 0.53, mix(view[2], (120, 150, 90), 0.4), (0.06, 0.06))
    panel(window + 0.15, 0.17, window + 0.17, 0.53, (246, 244, 238), None)
    panel(window, 0.33, window + 0.32, 0.35, (246, 244, 238), None)
    if b.kind in ("bedroom", "living room"):
        cloth = vary(rng, pick(rng, tuple(NAMED.values())), 0.15)
        for a in (window - 0.09, window + 0.3):
            panel(a, 0.1, a + 0.11, 0.64, cloth, (0.05, 0.08))
            panel(a + 0.03, 0.1, a + 0.05, 0.64, shade(cloth, 0.7), None)
        rug = vary(rng, pick(rng, tuple(NAMED.values())), 0.15)
        rx, ry = 0.3 + 0.4 * rng.random(), y1 + (1 - y1) * 0.62
        pen.ellipse(rx, ry, 0.28, 0.3 * (1 - y1), shade(rug, 0.85), (0.08, 0.14))
        pen.ellipse(rx, ry, 0.21, 0.22 * (1 - y1), mix(rug, (230, 220, 200), 0.4), (0.08, 0.14))
    else:
        spot = (window + 0.55) % 0.75
        art = pick(rng, tuple(NAMED.values()))
        panel(spot, 0.2, spot + 0.16, 0.46, (84, 60, 42))
        panel(spot + 0.02, 0.23, spot + 0.14, 0.43, mix(art, wall, 0.35))
    side = rng.random() < 0.5
    near = y1 + (1 - y1) * 0.5
    if b.kind == "bedroom":
        blanket = vary(rng, pick(rng, tuple(NAMED.values())), 0.15)
        a, e = (0.04, 0.5) if side else (0.5, 0.96)
        cube(a, e, near - 0.1, near + 0.12, blanket, 0.42, (0.06, 0.1))
        for f in (0.08, 0.55):
            xx = a + f * (e - a)
            px, py = xx + (vx - xx) * 0.36, near - 0.1 + (vy - near + 0.1) * 0.36
            pen.ellipse(px + 0.06 * (e - a), py - 0.012, 0.15 * (e - a), 0.03, (244, 242, 236))
        fx, fe = a + (vx - a) * 0.42, e + (vx - e) * 0.42
        fy = near - 0.1 + (vy - near + 0.1) * 0.42
        pen.area([(fx, fy - 0.1), (fe, fy - 0.1), (fe, fy), (fx, fy)], (116, 76, 48), (0.05, 0.1))
        lx = e + 0.07 if side else a - 0.07
        cube(lx - 0.06, lx + 0.06, near - 0.07, near + 0.06, (130, 90, 58), 0.25)
        pen.area([(lx - 0.02, near - 0.2), (lx + 0.03, near - 0.2), (lx + 0.055, near - 0.12), (lx - 0.045, near - 0.12)], (252, 232, 170))
        pen.area([(lx, near - 0.12), (lx + 0.01, near - 0.12), (lx + 0.01, near - 0.08), (lx, near - 0.08)], (80, 70, 60))
    elif b.kind == "living room":
        sofa = vary(rng, pick(rng, ((150, 60, 56), (70, 96, 140), (110, 120, 90), (150, 130, 110), (90, 80, 100))), 0.15)
        a, e = (0.04, 0.52) if side else (0.48, 0.96)
        cube(a, e, near - 0.16, near + 0.05, shade(sofa, 0.85), 0.12, (0.06, 0.1))
        cube(a, e, near - 0.03, near + 0.12, sofa, 0.12, (0.06, 0.1))
        for f in (0.0, 0.88):
            cube(a + f * (e - a), a + (f + 0.12) * (e - a), near - 0.09, near + 0.13, shade(sofa, 0.95), 0.14, (0.06, 0.1))
        for f, c in ((0.18, (230, 190, 90)), (0.66, (230, 226, 214))):
            xx = a + f * (e - a)
            pen.area([(xx, near - 0.11), (xx + 0.08, near - 0.12), (xx + 0.09, near - 0.035), (xx + 0.01, near - 0.03)], c)
        t = 0.72 if side else 0.14
        cube(t, t + 0.2, near + 0.06, near + 0.17, (132, 92, 60), 0.2)
        lx = 0.62 if side else 0.36
        pen.limb([(lx, near), (lx, near - 0.3)], [0.012, 0.012], (60, 56, 54))
        pen.area([(lx - 0.03, near - 0.4), (lx + 0.03, near - 0.4), (lx + 0.06, near - 0.28), (lx - 0.06, near - 0.28)], (250, 230, 176))
    elif b.kind == "kitchen":
        cupboard = vary(rng, pick(rng, ((226, 222, 210), (130, 156, 150), (170, 120, 76), (110, 130, 160))), 0.1)
        a, e = (-0.05, 0.56) if side else (0.44, 1.05)
        cube(a, e, near - 0.14, near + 0.12, cupboard, 0.3)
        for f in range(4):
            xx = a + (0.06 + 0.24 * f) * (e - a)
            ww = 0.19 * (e - a)
            pen.area([(xx, near - 0.1), (xx + ww, near - 0.1), (xx + ww, near + 0.1), (xx, near + 0.1)], shade(cupboard, 1.02))
            pen.line([(xx + 0.8 * ww, near - 0.04), (xx + 0.8 * ww, near + 0.02)], 0.009, (70, 70, 74))
        pen.area([(a, near - 0.16), (e, near - 0.16), (e, near - 0.13), (a, near - 0.13)], (92, 88, 88))
        for f in range(3):
            panel(0.02 + 0.17 * f + 0.45 * side, 0.05, 0.17 + 0.17 * f + 0.45 * side, 0.3, shade(cupboard, 0.95))
        px = (a + e) / 2 + 0.06
        pen.area([(px, near - 0.25), (px + 0.12, near - 0.25), (px + 0.11, near - 0.17), (px + 0.01, near - 0.17)], (196, 60, 50))
        pen.line([(px + 0.02, near - 0.265), (px + 0.1, near - 0.265)], 0.014, (60, 60, 64))
        fx = 0.72 if side else 0.06
        cube(fx, fx + 0.2, near - 0.42, near + 0.1, (226, 230, 234), 0.25)
        pen.line([(fx, near - 0.2), (fx + 0.2, near - 0.2)], 0.008, (150, 154, 160))
        pen.line([(fx + 0.03, near - 0.3), (fx + 0.03, near - 0.23)], 0.012, (110, 112, 118))
    elif b.kind == "bathroom":
        for j in range(1, 7):
            pen.line([back(0, j / 7), back(1, j / 7)], 0.004, shade(wall, 0.84))
            pen.line([back(j / 7, 0), back(j / 7, 1)], 0.004, shade(wall, 0.84))
        panel(window, 0.17, window + 0.32, 0.53, (206, 226, 236), None)
        white = (226, 232, 236)
        a, e = (0.02, 0.5) if side else (0.5, 0.98)
        cube(a, e, near - 0.03, near + 0.14, white, 0.22, (0.02, 0.02))
        mx = (a + e) / 2 + 0.11 * (vx - (a + e) / 2)
        pen.ellipse(mx, near - 0.05, 0.19, 0.022, (150, 196, 214), None)
        pen.limb([(a + 0.04, near - 0.05), (a + 0.04, near - 0.17), (a + 0.1, near - 0.17)], [0.014] * 3, (170, 174, 180))
        bx = 0.72 if side else 0.24
        pen.area([(bx - 0.03, near - 0.1), (bx + 0.03, near - 0.1), (bx + 0.025, near + 0.1), (bx - 0.025, near + 0.1)], shade(white, 0.85))
        pen.blob([(bx - 0.11, near - 0.15), (bx + 0.11, near - 0.15), (bx + 0.07, near - 0.07), (bx - 0.07, near - 0.07)], white, (0.02, 0.02))
        pen.ellipse(bx, near - 0.33, 0.085, 0.11, (120, 100, 80))
        pen.ellipse(bx, near - 0.33, 0.072, 0.096, (196, 218, 226), (0.02, 0.02))
    else:  # office
        a, e = (0.08, 0.62) if side else (0.38, 0.92)
        wood = vary(rng, (166, 120, 78), 0.15)
        for xx in (a + 0.02, e - 0.06):
            pen.area([(xx, near - 0.02), (xx + 0.04, near - 0.02), (xx + 0.04, near + 0.2), (xx, near + 0.2)], shade(wood, 0.6))
        cube(a, e, near - 0.04, near, wood, 0.3)
        sx = a + 0.16
        pen.area([(sx, near - 0.24), (sx + 0.2, near - 0.24), (sx + 0.2, near - 0.1), (sx, near - 0.1)], (36, 38, 44))
        pen.area([(sx + 0.012, near - 0.228), (sx + 0.188, near - 0.228), (sx + 0.188, near - 0.112), (sx + 0.012, near - 0.112)], (120, 176, 214), None)
        pen.area([(sx + 0.085, near - 0.1), (sx + 0.115, near - 0.1), (sx + 0.13, near - 0.06), (sx + 0.07, near - 0.06)], (36, 38, 44))
        cx = (a + e) / 2 + 0.05
        pen.area([(cx - 0.08, near + 0.0), (cx + 0.08, near + 0.0), (cx + 0.07, near + 0.14), (cx - 0.07, near + 0.14)], (54, 58, 70), (0.04, 0.06))
        pen.limb([(cx, near + 0.14), (cx, near + 0.25)], [0.025, 0.025], (70, 70, 76))
        pen.limb([(cx - 0.08, near + 0.27), (cx, near + 0.24), (cx + 0.08, near + 0.27)], [0.02] * 3, (70, 70, 76))
        shelf = 0.74 if side else 0.02
        cube(shelf, shelf + 0.2, near - 0.42, near + 0.12, shade(wood, 0.9), 0.12)
        for r in range(4):
            y = near - 0.39 + 0.125 * r
            pen.area([(shelf + 0.015, y), (shelf + 0.185, y), (shelf + 0.185, y + 0.1), (shelf + 0.015, y + 0.1)], shade(wood, 0.4), None)
            for j in range(7):
                xx = shelf + 0.02 + 0.023 * j
                pen.area([(xx, y + 0.02 + 0.02 * rng.random()), (xx + 0.018, y + 0.03), (xx + 0.018, y + 0.1), (xx, y + 0.1)], vary(rng, pick(rng, tuple(NAMED.values())), 0.2), None)


_DRAW = {
    "texture": _texture, "sky": _plain_sky, "field": _field, "park": _park, "mountain": _mountain, "beach": _beach, "lake": _lake,
    "forest": _forest, "desert": _desert, "snow": _snow, "city": _city, "street": _street, "wall": _wall, "table": _table,
    "water": _underwater, **dict.fromkeys(ROOMS, _room),
}  # fmt: skip
