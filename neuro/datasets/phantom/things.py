"""Food, signs with words, buildings, and the everyday things that distract from them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neuro.datasets.phantom.canvas import Colour, Pen, mix, shade, smooth
from neuro.datasets.phantom.lettering import draw_word
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
WORDS = (
    "STOP", "OPEN", "CAFE", "HOTEL", "EXIT", "BAKERY", "TAXI", "SALE", "BOOKS", "MUSEUM", "PARK", "BANK", "MARKET",
    "SCHOOL", "BUS", "LIBRARY", "HELLO", "PIZZA", "MUSIC", "RADIO", "BRAIN", "FRESH", "NORTH", "BEACH", "GARDEN", "ZOO",
)  # fmt: skip
SIGNS = ("sign", "billboard", "poster", "book", "shop sign", "stop sign", "chalkboard")
BUILDINGS = ("house", "church", "tower", "castle", "barn", "skyscraper")
DISTRACTORS = ("ball", "tree", "car", "balloon", "lamp", "box", "chair", "vase", "kite", "umbrella", "bicycle", "clock")


# food


def sample_food(rng: np.random.Generator) -> tuple[str, str, dict[str, Any]]:
    """Return (label, colour name, style) of something to eat."""
    kind = pick(rng, tuple(FOODS))
    return kind, pick(rng, FOODS[kind]), {"plate": bool(rng.random() < 0.75), "dish": pick(rng, ("white", "blue", "grey", "brown"))}


def food_aspect(kind: str) -> float:
    """Return width over height of the box around a dish."""
    return {"pizza": 1.5, "salad": 1.45, "soup": 1.5, "bread": 1.5, "eggs": 1.55, "carrots": 1.5, "watermelon": 1.5}.get(kind, 1.3)


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
            pen.blob([(x + 0.06 * r, y - 1.0 * r), (x + 0.4 * r, y - 1.25 * r), (x + 0.6 * r, y - 1.0 * r)], (70, 140, 56))


def _banana(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    for k, drop in enumerate((-0.07, 0.02, 0.1)):
        y = drop - 0.05
        arc = smooth([(-0.4, y - 0.1), (-0.24, y + 0.1), (0.02, y + 0.17), (0.26, y + 0.08), (0.4, y - 0.12)], closed=False)
        widths = list(np.interp(np.linspace(0, 1, len(arc)), [0, 0.15, 0.5, 0.85, 1], [0.03, 0.11, 0.145, 0.11, 0.03]))
        pen.limb(arc, widths, shade(tone, 0.8 + 0.1 * k), (0.05, 0.06))
        pen.limb([(x, yy - 0.02) for x, yy in arc], [0.35 * w for w in widths], shade(tone, 1.0 + 0.08 * k), None)
        pen.ellipse(0.405, y - 0.14, 0.022, 0.035, (84, 62, 34))
        pen.ellipse(-0.405, y - 0.11, 0.018, 0.02, (84, 62, 34))


def _burger(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    pen.blob([(-0.34, 0.1), (0.34, 0.1), (0.33, 0.22), (0, 0.27), (-0.33, 0.22)], (196, 130, 66), (0.05, 0.06))
    pen.blob([(-0.38, 0.06), (0, 0.1), (0.38, 0.06), (0.37, 0.14), (0, 0.18), (-0.37, 0.14)], (86, 48, 30), (0.12, 0.14))
    pen.area([(-0.37, 0.03), (0.37, 0.03), (0.3, 0.12), (0.2, 0.06), (0.02, 0.13), (-0.16, 0.06), (-0.3, 0.11)], (246, 196, 60))
    wave = [(-0.4 + 0.8 * k / 10, 0.04 + (0.045 if k % 2 else 0.0)) for k in range(11)]
    pen.area([(-0.38, -0.04), *wave, (0.38, -0.04)], (98, 170, 66), (0.06, 0.06))
    pen.area([(-0.36, -0.04), (0.36, -0.04), (0.34, 0.02), (-0.34, 0.02)], (204, 52, 40))
    pen.blob([(-0.37, -0.03), (-0.34, -0.18), (-0.18, -0.3), (0.0, -0.33), (0.18, -0.3), (0.34, -0.18), (0.37, -0.03)],
             (206, 138, 66), (0.05, 0.06))
    pen.blob([(-0.3, -0.12), (-0.2, -0.24), (0.0, -0.29), (0.12, -0.24), (-0.08, -0.18)], (230, 172, 100), None)
    for x, y in _scatter(rng, 12, 0.26, 0.1, -0.2):
        pen.ellipse(x, y, 0.018, 0.011, (250, 236, 200), None, turn=rng.random() * 3)


def _cake(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    sponge = (224, 178, 112) if sum(tone) > 300 else (120, 74, 44)
    pen.area(smooth([(-0.3, -0.12), (-0.3, 0.12), (-0.15, 0.19), (0.15, 0.19), (0.3, 0.12), (0.3, -0.12)], closed=False), sponge,
             (0.06, 0.12))
    for y in (-0.01, 0.08):
        pen.line(smooth([(-0.3, y - 0.04), (-0.15, y + 0.02), (0.15, y + 0.02), (0.3, y - 0.04)], closed=False), 0.03, shade(tone, 1.05))
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
            pen.limb([(x, y), (x, y - 0.15)], [0.022, 0.022], pick(rng, ((240, 240, 240), (90, 160, 220), (240, 120, 150))))
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
        pts = [(x + r * (1.0 if k % 2 else 0.72) * math.cos(a + k * 0.785), y + 0.7 * r * (1.0 if k % 2 else 0.72) * math.sin(a + k * 0.785))
               for k in range(8)]
        pen.blob(pts, shade(green, 0.7 + 0.5 * rng.random()), (0.08, 0.1))
        pen.line([(x - 0.5 * r, y), (x + 0.5 * r, y - 0.02)], 0.012, shade(green, 1.35))
    for x, y in _scatter(rng, 6, 0.3, 0.11, -0.08):
        pen.ball(x, y, 0.056, 0.05, (208, 46, 38))
    for x, y in _scatter(rng, 3, 0.26, 0.1, -0.08):
        pen.ellipse(x, y, 0.05, 0.035, (236, 240, 200))
        pen.ellipse(x, y, 0.032, 0.02, (190, 214, 140), None)


def _bread(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    crust = (178, 112, 54)
    pen.blob([(-0.44, 0.08), (-0.42, -0.1), (-0.22, -0.2), (0.1, -0.22), (0.36, -0.14), (0.44, 0.04), (0.4, 0.18), (-0.3, 0.2)], crust,
             (0.1, 0.1))
    pen.blob([(-0.38, -0.06), (-0.2, -0.16), (0.1, -0.18), (0.34, -0.1), (0.1, -0.08), (-0.2, -0.06)], shade(crust, 1.25), None)
    for k in range(4):
        x = -0.24 + 0.16 * k
        pen.blob([(x - 0.02, -0.16), (x + 0.05, -0.12), (x + 0.09, 0.04), (x + 0.05, 0.05), (x, -0.06)], (234, 196, 136), None)
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
        pen.veil([(a - 0.012, b) for a, b in steam] + [(a + 0.012, b) for a, b in reversed(steam)], (255, 255, 255), 0.4)


def _donut(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    pen.ellipse(0, 0.06, 0.36, 0.25, (176, 112, 56), (0.06, 0.06))
    pen.ellipse(0, 0.01, 0.36, 0.24, (214, 154, 92), (0.06, 0.06))
    wave = [((0.33 + 0.02 * math.sin(5 * t)) * math.cos(t), -0.01 + (0.2 + 0.02 * math.sin(5 * t)) * math.sin(t))
            for t in np.linspace(0, 2 * math.pi, 30)]
    pen.area(wave, tone, (0.03, 0.03))
    pen.blob([(-0.26, -0.04), (-0.1, -0.15), (0.1, -0.16), (-0.05, -0.1)], mix(tone, (255, 255, 255), 0.45), None)
    for x, y in _scatter(rng, 34, 0.29, 0.16, -0.01):
        a = rng.random() * 3.1
        pen.line([(x, y), (x + 0.035 * math.cos(a), y + 0.025 * math.sin(a))], 0.014,
                 pick(rng, ((255, 236, 90), (90, 170, 230), (240, 250, 250), (220, 60, 80), (110, 190, 90))))
    pen.ellipse(0, 0.0, 0.115, 0.07, (150, 92, 44))
    pen.ellipse(0, 0.02, 0.1, 0.05, (84, 56, 34), None)


def _eggs(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    for x, y in ((-0.15, 0.02), (0.16, 0.1)):
        pts = [(x + (0.17 + 0.04 * rng.random()) * math.cos(t), y + (0.1 + 0.025 * rng.random()) * math.sin(t)) for t in np.arange(8) * 0.785]
        pen.blob([(a, b + 0.015) for a, b in pts], (214, 206, 190))
        pen.blob(pts, (252, 250, 242), (0.02, 0.02))
        pen.ball(x, y - 0.01, 0.075, 0.055, (246, 176, 40), (0.02, 0.02))
    for k in range(2):
        y = 0.2 - 0.015 * k
        pen.limb(smooth([(-0.26 + 0.3 * k, y), (-0.14 + 0.3 * k, y + 0.02), (-0.02 + 0.3 * k, y - 0.01)], closed=False), [0.05] * 9, (168, 62, 44),
                 (0.1, 0.1))


def _watermelon(pen: Pen, tone: Colour, rng: np.random.Generator) -> None:
    for x, dy, a in ((-0.12, -0.06, -0.2), (0.14, 0.05, 0.15)):
        slice_ = pen.inner(x, dy, 1.0, a)
        for r, c, g in ((0.34, (44, 110, 52), (0.06, 0.06)), (0.315, (196, 222, 160), None), (0.285, tone, (0.06, 0.08))):
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
    "banana": _banana, "burger": _burger, "cake": _cake, "salad": _salad, "bread": _bread, "soup": _soup, "donut": _donut,
    "eggs": _eggs, "watermelon": _watermelon, "carrots": _carrots, "grapes": _grapes,
}  # fmt: skip


# signs


def sample_sign(rng: np.random.Generator) -> tuple[str, str, dict[str, Any]]:
    """Return (label, colour name, style) of something with a word on it."""
    kind = pick(rng, SIGNS)
    word = "STOP" if kind == "stop sign" else pick(rng, WORDS)
    colour = {"stop sign": ("red",), "chalkboard": ("black", "green"), "book": ("white", "red", "blue", "green", "brown")}.get(
        kind, ("red", "blue", "green", "yellow", "white", "black", "orange", "purple")
    )
    return kind, pick(rng, colour), {"word": word, "tilt": float(rng.normal(0, 0.06)), "weight": float(0.8 + 0.5 * rng.random())}


def sign_aspect(kind: str) -> float:
    """Return width over height."""
    return {"stop sign": 0.75, "poster": 0.85, "book": 1.3, "billboard": 1.35, "shop sign": 2.4, "sign": 1.05, "chalkboard": 1.25}[kind]


def draw_sign(pen: Pen, kind: str, colour: str, style: dict[str, Any], rng: np.random.Generator) -> None:
    """Draw a sign; unit = the longest side of its box."""
    board = vary(rng, NAMED[colour], 0.08)
    ink = (30, 28, 34) if sum(board) > 400 else (246, 244, 236)
    if colour in ("white", "yellow") and rng.random() < 0.5:
        ink = pick(rng, ((176, 30, 30), (30, 60, 150), (20, 100, 50)))
    word, weight = style["word"], style["weight"]
    metal = (120, 122, 128)
    if kind == "stop sign":
        pen.shadow(0, 0.5, 0.12, 0.02)
        pen.area([(-0.02, 0.1), (0.025, 0.1), (0.025, 0.5), (-0.02, 0.5)], metal)
        for r, c in ((0.375, (240, 240, 238)), (0.345, board)):
            pen.area([(r * math.cos((k + 0.5) * math.pi / 4), -0.13 + r * math.sin((k + 0.5) * math.pi / 4)) for k in range(8)], c, (0.03, 0.02))
        draw_word(pen, word, 0, -0.13, 0.56, 0.2, ink, weight)
        return
    pen = pen.inner(0, 0, 1.0, style["tilt"])
    if kind == "sign":
        pen.shadow(0, 0.48, 0.12, 0.02)
        pen.area([(-0.03, 0.0), (0.03, 0.0), (0.03, 0.48), (-0.03, 0.48)], (112, 84, 58), (0.06, 0.08))
        _board(pen, 0, -0.17, 0.49, 0.29, board, ink)
        _words(pen, word, 0, -0.17, 0.86, 0.34, ink, weight, rng)
    elif kind == "billboard":
        for x in (-0.3, 0.26):
            pen.area([(x, 0.1), (x + 0.04, 0.1), (x + 0.04, 0.37), (x, 0.37)], metal)
        _board(pen, 0, -0.12, 0.49, 0.25, board, metal)
        _words(pen, word, 0, -0.12, 0.88, 0.32, ink, weight, rng)
    elif kind == "shop sign":
        pen.area([(-0.49, -0.19), (0.49, -0.19), (0.5, 0.1), (-0.5, 0.1)], shade(board, 0.7), (0.03, 0.03))
        pen.area([(-0.47, -0.165), (0.47, -0.165), (0.475, 0.075), (-0.475, 0.075)], board, (0.03, 0.03))
        draw_word(pen, word, 0, -0.045, 0.88, 0.17, ink, weight)
        stripe = NAMED["white"]
        for k in range(10):
            x = -0.5 + 0.1 * k
            pen.area([(x, 0.1), (x + 0.1, 0.1), (x + 0.1, 0.19), (x + 0.05, 0.215), (x, 0.19)], stripe if k % 2 else board)
    elif kind == "poster":
        _board(pen, 0, 0, 0.41, 0.49, board, shade(board, 0.6))
        draw_word(pen, word, 0, -0.3, 0.7, 0.24, ink, weight)
        art = pick(rng, tuple(NAMED.values()))
        pen.ellipse(0.04, 0.06, 0.2, 0.16, mix(art, board, 0.2), None)
        pen.area([(-0.36, 0.2), (-0.1, 0.02), (0.1, 0.16), (0.2, 0.08), (0.36, 0.2)], shade(art, 0.6), None)
        for k in range(3):
            pen.line([(-0.3, 0.29 + 0.06 * k), (0.3 - 0.14 * (k == 2), 0.29 + 0.06 * k)], 0.02, mix(ink, board, 0.35))
    elif kind == "book":
        pen.shadow(0.02, 0.34, 0.5, 0.07)
        pen.area([(-0.5, -0.34), (0.5, -0.34), (0.5, 0.37), (-0.5, 0.37)], shade(board, 0.55), (0.04, 0.05))
        page = (244, 240, 226)
        pen.area([(-0.47, -0.33), (-0.02, -0.3), (-0.02, 0.34), (-0.47, 0.32)], page)
        pen.area([(0.02, -0.3), (0.47, -0.33), (0.47, 0.32), (0.02, 0.34)], shade(page, 0.95))
        pen.veil([(-0.09, -0.31), (0.09, -0.31), (0.09, 0.34), (-0.09, 0.34)], (60, 40, 20), 0.2)
        dark = (40, 38, 44)
        draw_word(pen, word, 0.245, -0.2, 0.4, 0.13, dark, weight)
        for k in range(6):
            y = -0.06 + 0.06 * k
            pen.line([(0.06, y), (0.43 - 0.1 * rng.random(), y)], 0.016, (120, 116, 112))
        for k in range(8):
            y = -0.22 + 0.065 * k
            pen.line([(-0.43, y), (-0.07 - 0.12 * rng.random(), y)], 0.016, (120, 116, 112))
    else:  # chalkboard
        _board(pen, 0, -0.05, 0.49, 0.31, shade(board, 0.75 if colour == "green" else 1.0), (140, 96, 58))
        for s in (-1, 1):
            pen.limb([(0.3 * s, 0.26), (0.4 * s, 0.42)], [0.035, 0.035], (140, 96, 58))
        _words(pen, word, 0, -0.05, 0.84, 0.36, (240, 240, 232), weight * 0.8, rng)


def _board(pen: Pen, x: float, y: float, w: float, h: float, board: Colour, edge: Colour) -> None:
    pen.area([(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)], edge, (0.03, 0.03))
    w, h = w - 0.028, h - 0.028
    pen.area([(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)], board, (0.04, 0.03))


def _words(pen: Pen, word: str, x: float, y: float, w: float, h: float, ink: Colour, weight: float, rng: np.random.Generator) -> None:
    if rng.random() < 0.45:
        draw_word(pen, word, x, y, w, h, ink, weight)
    else:
        draw_word(pen, word, x, y - 0.2 * h, w, 0.7 * h, ink, weight)
        for k in range(2):
            pen.line([(x - 0.36 * w, y + (0.36 + 0.22 * k) * h), (x + (0.36 - 0.2 * k) * w, y + (0.36 + 0.22 * k) * h)], 0.022, ink)


# buildings


def sample_building(rng: np.random.Generator) -> tuple[str, str, dict[str, Any]]:
    """Return (label, colour name, style) of a building."""
    kind = pick(rng, BUILDINGS)
    colour = {"barn": ("red",), "castle": ("grey", "brown"), "skyscraper": ("blue", "grey", "black")}.get(
        kind, ("white", "red", "yellow", "grey", "brown", "orange", "pink", "blue")
    )
    return kind, pick(rng, colour), {"rows": int(2 + 3 * rng.random()), "roof": pick(rng, ("brown", "red", "grey", "black"))}


def building_aspect(kind: str) -> float:
    """Return width over height."""
    return {"house": 1.3, "church": 0.85, "tower": 0.42, "castle": 1.3, "barn": 1.35, "skyscraper": 0.5}[kind]


def _windows(pen: Pen, x0: float, x1: float, y0: float, y1: float, columns: int, rows: int, rng: np.random.Generator,
             frame: Colour = (240, 238, 230), share: float = 0.55) -> None:
    dx, dy = (x1 - x0) / columns, (y1 - y0) / rows
    for r in range(rows):
        for c in range(columns):
            x, y = x0 + (c + 0.5) * dx, y0 + (r + 0.5) * dy
            w, h = dx * share / 2, dy * share * 0.56
            glass = (252, 222, 140) if rng.random() < 0.25 else shade((84, 110, 140), 0.7 + 0.6 * rng.random())
            pen.area([(x - w * 1.25, y - h * 1.2), (x + w * 1.25, y - h * 1.2), (x + w * 1.25, y + h * 1.2), (x - w * 1.25, y + h * 1.2)], frame, None)
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
        pen.area([(0.14, -0.08), (0.28, -0.36), (0.46, -0.08), (0.46, bottom), (0.14, bottom)], shade(wall, 0.74), brick)
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
            for a, b in (((-0.26, 0.08), (0.0, bottom)), ((0.0, 0.08), (-0.26, bottom)), ((-0.26, 0.08), (0.0, 0.08)),
                         ((-0.26, 0.08), (-0.26, bottom)), ((0.0, 0.08), (0.0, bottom))):
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
        pen.area(smooth([(-0.34, 0.5), (-0.34, 0.34), (-0.28, 0.25), (-0.22, 0.34), (-0.22, 0.5)], closed=False), door, None)
        for x in (0.0, 0.15, 0.3):
            pen.area(smooth([(x - 0.04, 0.38), (x - 0.04, 0.2), (x, 0.12), (x + 0.04, 0.2), (x + 0.04, 0.38)], closed=False), (90, 110, 160), None)
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
            pen.veil([(x + 0.03, top), (x + 0.1, top), (x + 0.1, 0.385 if abs(x) > 0.2 else 0.0), (x + 0.03, 0.385 if abs(x) > 0.2 else 0.0)], (0, 0, 0), 0.2)
            if style["rows"] % 2:
                pen.area([(x - 0.12, top), (x, top - 0.17 * (1 if abs(x) > 0.2 else 0.6)), (x + 0.12, top)], roof)
            else:
                for j in range(3):
                    box(x - 0.11 + 0.08 * j, top - 0.05, x - 0.06 + 0.08 * j, top + 0.02, shade(wall, c))
            pen.area([(x - 0.025, top + 0.1), (x + 0.025, top + 0.1), (x + 0.025, top + 0.19), (x - 0.025, top + 0.19)], (40, 38, 44), None)
        pen.area(smooth([(-0.12, 0.385), (-0.12, 0.22), (-0.02, 0.12), (0.08, 0.22), (0.08, 0.385)], closed=False), (62, 42, 30), None)
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
                pen.area([(0.12, y), (0.22, y), (0.22, y + 0.45 / rows), (0.12, y + 0.45 / rows)], shade((110, 140, 170), 0.6), None)
        box(-0.12, 0.43, -0.02, 0.5, (40, 44, 54), None)


# distractors


def sample_distractor(rng: np.random.Generator, indoor: bool) -> tuple[str, str, dict[str, Any]]:
    """Return (label, colour name, style) of a thing that is none of the main categories."""
    kinds = ("ball", "balloon", "lamp", "box", "chair", "vase", "clock") if indoor else (
        "ball", "tree", "car", "balloon", "box", "kite", "umbrella", "bicycle", "tree")
    kind = pick(rng, kinds)
    colour = "green" if kind == "tree" else pick(rng, ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "grey"))
    return kind, colour, {}


def distractor_aspect(kind: str) -> float:
    """Return width over height."""
    return {"tree": 0.75, "car": 2.0, "balloon": 0.6, "lamp": 0.5, "chair": 0.62, "vase": 0.6, "kite": 0.75, "umbrella": 1.05, "bicycle": 1.55}.get(kind, 1.0)


def draw_distractor(pen: Pen, kind: str, colour: str, style: dict[str, Any], rng: np.random.Generator) -> None:
    """Draw a distractor; unit = the longest side of its box."""
    tone = named(rng, colour)
    dark = (44, 42, 46)
    if kind == "ball":
        pen.shadow(0.02, 0.46, 0.4, 0.08)
        pen.ball(0, 0, 0.48, 0.48, tone)
        other = (240, 238, 230) if sum(tone) < 520 else (200, 50, 46)
        pen.line(smooth([(-0.4, -0.22), (0, -0.02), (0.4, -0.22)], closed=False), 0.09, other)
        pen.line(smooth([(-0.38, 0.24), (0, 0.1), (0.38, 0.24)], closed=False), 0.06, other)
    elif kind == "tree":
        pen.shadow(0, 0.49, 0.25, 0.03)
        pen.limb([(0, 0.5), (0.01, 0.2), (0.0, -0.05)], [0.1, 0.07, 0.05], (98, 72, 48), (0.08, 0.14))
        if rng.random() < 0.4:
            for k in range(4):
                y, w = 0.26 - 0.2 * k, 0.34 - 0.07 * k
                pen.area([(-w, y), (0, y - 0.32), (w, y)], shade((44, 100, 62), 0.75 + 0.12 * k), (0.12, 0.2))
        else:
            for x, y, r, d in ((-0.18, 0.04, 0.18, 0.7), (0.19, 0.02, 0.18, 0.62), (0.0, 0.06, 0.2, 0.66), (-0.16, -0.16, 0.2, 0.9),
                               (0.15, -0.18, 0.2, 0.84), (-0.02, -0.28, 0.21, 1.02), (-0.08, -0.1, 0.16, 1.12)):
                pen.ellipse(x, y, r, r, shade(tone, d), (0.14, 0.22))
    elif kind == "car":
        pen.shadow(0, 0.2, 0.52, 0.05)
        pen.blob([(-0.5, 0.12), (-0.49, -0.02), (-0.32, -0.06), (0.3, -0.06), (0.48, 0.0), (0.5, 0.14), (0.3, 0.17), (-0.4, 0.17)], tone, (0.02, 0.03))
        pen.area([(-0.36, -0.05), (-0.24, -0.24), (0.14, -0.24), (0.3, -0.05)], shade(tone, 0.9))
        for pts in (((-0.31, -0.06), (-0.21, -0.2), (-0.05, -0.2), (-0.05, -0.06)), ((-0.02, -0.06), (-0.02, -0.2), (0.12, -0.2), (0.25, -0.06))):
            pen.area(pts, (168, 204, 224), None)
        pen.ellipse(0.45, 0.05, 0.03, 0.03, (252, 240, 190), None)
        for x in (-0.28, 0.28):
            pen.ellipse(x, 0.15, 0.105, 0.105, dark)
            pen.ellipse(x, 0.15, 0.05, 0.05, (190, 190, 194), None)
    elif kind == "balloon":
        pen.limb(smooth([(0, 0.08), (0.04, 0.28), (-0.02, 0.5)], closed=False), [0.012] * 9, (200, 200, 200))
        pen.ball(0, -0.2, 0.26, 0.3, tone, (0.01, 0.01))
        pen.area([(-0.03, 0.12), (0, 0.08), (0.03, 0.12)], shade(tone, 0.7))
    elif kind == "lamp":
        pen.shadow(0, 0.48, 0.18, 0.03)
        pen.ellipse(0, 0.47, 0.14, 0.03, dark)
        pen.limb([(0, 0.46), (0, -0.2)], [0.03, 0.03], dark)
        pen.area([(-0.11, -0.5), (0.11, -0.5), (0.23, -0.16), (-0.23, -0.16)], mix(tone, (255, 240, 190), 0.5), (0.02, 0.03))
        pen.veil([(-0.06, -0.48), (0.03, -0.48), (0.06, -0.17), (-0.14, -0.17)], (255, 250, 220), 0.5)
    elif kind == "box":
        pen.shadow(0.03, 0.44, 0.48, 0.07)
        pen.area([(-0.45, -0.22), (0.12, -0.12), (0.12, 0.46), (-0.45, 0.34)], tone)
        pen.area([(0.12, -0.12), (0.45, -0.26), (0.45, 0.3), (0.12, 0.46)], shade(tone, 0.68))
        pen.area([(-0.45, -0.22), (-0.1, -0.36), (0.45, -0.26), (0.12, -0.12)], shade(tone, 1.2))
    elif kind == "chair":
        wood = mix(tone, (130, 90, 56), 0.4)
        pen.shadow(0, 0.48, 0.26, 0.04)
        for x, y0, y1 in ((-0.24, 0.06, 0.5), (0.22, 0.06, 0.5), (-0.1, 0.02, 0.42), (0.28, -0.02, 0.4)):
            pen.limb([(x, y0), (x, y1)], [0.045, 0.035], shade(wood, 0.75))
        pen.area([(-0.27, 0.03), (0.24, 0.06), (0.31, -0.02), (-0.14, -0.04)], wood)
        pen.area([(-0.27, 0.03), (0.24, 0.06), (0.24, 0.11), (-0.27, 0.08)], shade(wood, 0.7))
        pen.limb([(-0.25, 0.04), (-0.26, -0.5)], [0.05, 0.045], wood)
        pen.limb([(-0.12, -0.02), (-0.13, -0.48)], [0.045, 0.04], shade(wood, 0.8))
        for y in (-0.42, -0.28, -0.14):
            pen.limb([(-0.25, y), (-0.12, y + 0.01)], [0.06, 0.055], shade(wood, 0.92))
    elif kind == "vase":
        pen.shadow(0, 0.47, 0.2, 0.03)
        for x, y in ((-0.14, -0.3), (0.14, -0.28), (0.0, -0.4), (-0.05, -0.22)):
            pen.limb([(0, -0.02), (x, y)], [0.02, 0.015], (70, 130, 60))
            petal = pick(rng, ((232, 80, 110), (246, 206, 70), (240, 240, 246), (170, 90, 190)))
            for k in range(5):
                pen.ellipse(x + 0.05 * math.cos(1.256 * k), y + 0.05 * math.sin(1.256 * k), 0.045, 0.045, petal)
            pen.ellipse(x, y, 0.03, 0.03, (250, 210, 80), None)
        half = [(0.1, -0.06), (0.07, 0.04), (0.2, 0.24), (0.16, 0.42), (0.1, 0.48)]
        pen.area(smooth([*half, *[(-x, y) for x, y in reversed(half)]]), tone, (0.03, 0.03))
        pen.veil(smooth([(-0.13, 0.18), (-0.08, 0.12), (-0.06, 0.3), (-0.11, 0.36)]), (255, 255, 255), 0.4)
    elif kind == "kite":
        pen.limb(smooth([(0, 0.2), (0.1, 0.34), (0.0, 0.5)], closed=False), [0.02] * 9, (230, 230, 230))
        pen.area([(0, -0.5), (0.34, -0.14), (0, 0.22), (-0.34, -0.14)], tone)
        pen.area([(0, -0.5), (0.34, -0.14), (0, -0.14)], shade(tone, 1.3), None)
        pen.area([(0, 0.22), (-0.34, -0.14), (0, -0.14)], shade(tone, 0.7), None)
    elif kind == "umbrella":
        pen.limb([(0, -0.2), (0, 0.4), (0.08, 0.46), (0.13, 0.38)], [0.03] * 4, dark)
        top = [(0.5 * math.cos(t), -0.04 - 0.42 * math.sin(t)) for t in np.linspace(0, math.pi, 14)]
        pen.area([*top, (-0.32, 0.02), (-0.16, -0.05), (0, 0.02), (0.16, -0.05), (0.32, 0.02)], tone, (0.03, 0.03))
        pen.area([(0, -0.46), (0.16, -0.05), (0, 0.02), (-0.16, -0.05)], shade(tone, 1.25), None)
    elif kind == "bicycle":
        pen.shadow(0, 0.32, 0.46, 0.03)
        for x in (-0.3, 0.3):
            ring = [(x + 0.19 * math.cos(t), 0.12 + 0.19 * math.sin(t)) for t in np.linspace(0, 2 * math.pi, 19)]
            pen.limb(ring, [0.035] * 19, dark)
            for t in (0.3, 1.35, 2.4):
                pen.line([(x - 0.18 * math.cos(t), 0.12 - 0.18 * math.sin(t)), (x + 0.18 * math.cos(t), 0.12 + 0.18 * math.sin(t))], 0.008, (170, 170, 174))
        for chain in ([(-0.3, 0.12), (-0.12, -0.16), (0.2, -0.16), (0.0, 0.12), (-0.3, 0.12)], [(0.0, 0.12), (-0.14, -0.22)],
                      [(0.3, 0.12), (0.2, -0.24), (0.28, -0.28)]):
            pen.limb(chain, [0.035] * len(chain), tone)
        pen.limb([(-0.21, -0.23), (-0.08, -0.23)], [0.05, 0.04], dark)
    else:  # clock
        pen.ellipse(0, 0, 0.48, 0.48, tone)
        pen.ellipse(0, 0, 0.4, 0.4, (246, 244, 236), None)
        for k in range(12):
            a = k * math.pi / 6
            pen.line([(0.33 * math.cos(a), 0.33 * math.sin(a)), (0.37 * math.cos(a), 0.37 * math.sin(a))], 0.03, dark)
        a, b = rng.random(2) * 6.28
        pen.line([(0, 0), (0.2 * math.cos(a), 0.2 * math.sin(a))], 0.045, dark)
        pen.line([(0, 0), (0.31 * math.cos(b), 0.31 * math.sin(b))], 0.03, dark)
