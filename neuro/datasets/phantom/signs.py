"""Signs, posters, books and boards with a word on them."""

# fmt: off  (coordinates read better in rows)
from __future__ import annotations

import math
from typing import Any

import numpy as np

from neuro.datasets.phantom.canvas import Colour, Pen, mix, shade
from neuro.datasets.phantom.lettering import draw_word
from neuro.datasets.phantom.palette import NAMED, pick, vary

WORDS = (
    "STOP",
    "OPEN",
    "CAFE",
    "HOTEL",
    "EXIT",
    "BAKERY",
    "TAXI",
    "SALE",
    "BOOKS",
    "MUSEUM",
    "PARK",
    "BANK",
    "MARKET",
    "SCHOOL",
    "BUS",
    "LIBRARY",
    "HELLO",
    "PIZZA",
    "MUSIC",
    "RADIO",
    "BRAIN",
    "FRESH",
    "NORTH",
    "BEACH",
    "GARDEN",
    "ZOO",
)
SIGNS = ("sign", "billboard", "poster", "book", "shop sign", "stop sign", "chalkboard")


def sample_sign(rng: np.random.Generator) -> tuple[str, str, dict[str, Any]]:
    """Return (label, colour name, style) of something with a word on it."""
    kind = pick(rng, SIGNS)
    word = "STOP" if kind == "stop sign" else pick(rng, WORDS)
    colour = {
        "stop sign": ("red",),
        "chalkboard": ("black", "green"),
        "book": ("white", "red", "blue", "green", "brown"),
    }.get(kind, ("red", "blue", "green", "yellow", "white", "black", "orange", "purple"))
    return (
        kind,
        pick(rng, colour),
        {"word": word, "tilt": float(rng.normal(0, 0.06)), "weight": float(0.8 + 0.5 * rng.random())},
    )


def sign_aspect(kind: str) -> float:
    """Return width over height."""
    return {
        "stop sign": 0.75,
        "poster": 0.85,
        "book": 1.3,
        "billboard": 1.35,
        "shop sign": 2.4,
        "sign": 1.05,
        "chalkboard": 1.25,
    }[kind]


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
            pen.area(
                [
                    (r * math.cos((k + 0.5) * math.pi / 4), -0.13 + r * math.sin((k + 0.5) * math.pi / 4))
                    for k in range(8)
                ],
                c,
                (0.03, 0.02),
            )
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
            pen.area(
                [(x, 0.1), (x + 0.1, 0.1), (x + 0.1, 0.19), (x + 0.05, 0.215), (x, 0.19)], stripe if k % 2 else board
            )
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


def _words(
    pen: Pen, word: str, x: float, y: float, w: float, h: float, ink: Colour, weight: float, rng: np.random.Generator
) -> None:
    if rng.random() < 0.45:
        draw_word(pen, word, x, y, w, h, ink, weight)
    else:
        draw_word(pen, word, x, y - 0.2 * h, w, 0.7 * h, ink, weight)
        for k in range(2):
            pen.line(
                [(x - 0.36 * w, y + (0.36 + 0.22 * k) * h), (x + (0.36 - 0.2 * k) * w, y + (0.36 + 0.22 * k) * h)],
                0.022,
                ink,
            )
