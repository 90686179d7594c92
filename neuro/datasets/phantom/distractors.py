"""Everyday things that belong to none of the main categories."""

# fmt: off  (coordinates read better in rows)
from __future__ import annotations

import math
from typing import Any

import numpy as np

from neuro.datasets.phantom.canvas import Pen, mix, shade, smooth
from neuro.datasets.phantom.palette import named, pick

DISTRACTORS = ("ball", "tree", "car", "balloon", "lamp", "box", "chair", "vase", "kite", "umbrella", "bicycle", "clock")


def sample_distractor(rng: np.random.Generator, indoor: bool) -> tuple[str, str, dict[str, Any]]:
    """Return (label, colour name, style) of a thing that is none of the main categories."""
    kinds = (
        ("ball", "balloon", "lamp", "box", "chair", "vase", "clock")
        if indoor
        else ("ball", "tree", "car", "balloon", "box", "kite", "umbrella", "bicycle", "tree")
    )
    kind = pick(rng, kinds)
    colour = (
        "green"
        if kind == "tree"
        else pick(rng, ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "grey"))
    )
    return kind, colour, {}


def distractor_aspect(kind: str) -> float:
    """Return width over height."""
    return {
        "tree": 0.75,
        "car": 2.0,
        "balloon": 0.6,
        "lamp": 0.5,
        "chair": 0.62,
        "vase": 0.6,
        "kite": 0.75,
        "umbrella": 1.05,
        "bicycle": 1.55,
    }.get(kind, 1.0)


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
            for x, y, r, d in (
                (-0.18, 0.04, 0.18, 0.7),
                (0.19, 0.02, 0.18, 0.62),
                (0.0, 0.06, 0.2, 0.66),
                (-0.16, -0.16, 0.2, 0.9),
                (0.15, -0.18, 0.2, 0.84),
                (-0.02, -0.28, 0.21, 1.02),
                (-0.08, -0.1, 0.16, 1.12),
            ):
                pen.ellipse(x, y, r, r, shade(tone, d), (0.14, 0.22))
    elif kind == "car":
        pen.shadow(0, 0.2, 0.52, 0.05)
        pen.blob(
            [
                (-0.5, 0.12),
                (-0.49, -0.02),
                (-0.32, -0.06),
                (0.3, -0.06),
                (0.48, 0.0),
                (0.5, 0.14),
                (0.3, 0.17),
                (-0.4, 0.17),
            ],
            tone,
            (0.02, 0.03),
        )
        pen.area([(-0.36, -0.05), (-0.24, -0.24), (0.14, -0.24), (0.3, -0.05)], shade(tone, 0.9))
        for pts in (
            ((-0.31, -0.06), (-0.21, -0.2), (-0.05, -0.2), (-0.05, -0.06)),
            ((-0.02, -0.06), (-0.02, -0.2), (0.12, -0.2), (0.25, -0.06)),
        ):
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
        pen.area(
            [(-0.11, -0.5), (0.11, -0.5), (0.23, -0.16), (-0.23, -0.16)], mix(tone, (255, 240, 190), 0.5), (0.02, 0.03)
        )
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
                pen.line(
                    [
                        (x - 0.18 * math.cos(t), 0.12 - 0.18 * math.sin(t)),
                        (x + 0.18 * math.cos(t), 0.12 + 0.18 * math.sin(t)),
                    ],
                    0.008,
                    (170, 170, 174),
                )
        for chain in (
            [(-0.3, 0.12), (-0.12, -0.16), (0.2, -0.16), (0.0, 0.12), (-0.3, 0.12)],
            [(0.0, 0.12), (-0.14, -0.22)],
            [(0.3, 0.12), (0.2, -0.24), (0.28, -0.28)],
        ):
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
