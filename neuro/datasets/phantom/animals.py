"""Animals seen from the side: one four-legged plan with many proportions, birds, fish."""

# fmt: off  (coordinates and wordings read better in rows)
from __future__ import annotations

import math
from typing import Any

import numpy as np

from neuro.datasets.phantom.canvas import Colour, Pen, shade, smooth
from neuro.datasets.phantom.palette import NAMED, pick, vary

# leg length, leg width, body height, neck length, neck angle (degrees above forward), head length, snout, ear, tail,
# coat colours
_PLANS: dict[str, tuple[Any, ...]] = {
    "dog": (0.26, 0.062, 0.25, 0.12, 48, 0.21, 0.55, "flop", "up", ("brown", "black", "white", "orange", "grey")),
    "cat": (0.19, 0.05, 0.22, 0.07, 45, 0.19, 0.12, "peak", "long", ("orange", "black", "grey", "white", "brown")),
    "horse": (0.38, 0.058, 0.26, 0.26, 52, 0.24, 0.75, "small", "hair", ("brown", "black", "white", "orange")),
    "zebra": (0.34, 0.058, 0.27, 0.22, 50, 0.22, 0.7, "small", "hair", ("white",)),
    "cow": (0.26, 0.07, 0.33, 0.10, 30, 0.23, 0.5, "side", "rope", ("white", "brown", "black")),
    "sheep": (0.2, 0.045, 0.34, 0.07, 35, 0.17, 0.35, "side", "none", ("white", "grey", "black")),
    "elephant": (0.27, 0.125, 0.42, 0.05, 30, 0.27, 0.0, "huge", "rope", ("grey",)),
    "giraffe": (0.40, 0.045, 0.22, 0.50, 66, 0.16, 0.6, "small", "rope", ("yellow", "orange")),
    "pig": (0.14, 0.07, 0.33, 0.05, 20, 0.2, 0.35, "peak", "curl", ("pink",)),
}
QUADRUPEDS = tuple(_PLANS)
KINDS = (*QUADRUPEDS, "bird", "duck", "fish", "rabbit")
DOING = {"bird": ("flying", "standing"), "duck": ("swimming", "standing"), "fish": ("swimming",)}


def sample_animal(rng: np.random.Generator, kind: str | None = None) -> tuple[str, str, dict[str, Any]]:
    """Return (label, colour name, style) of an animal."""
    kind = str(kind or pick(rng, KINDS))
    coat = {
        "bird": ("red", "blue", "yellow", "black", "green"),
        "duck": ("white", "yellow", "brown"),
        "fish": ("orange", "blue", "yellow", "red", "purple"),
        "rabbit": ("white", "brown", "grey"),
    }
    colour = pick(rng, coat[kind] if kind in coat else _PLANS[kind][9])
    doing = pick(rng, DOING.get(kind, ("standing", "walking", "running", "eating")))
    return kind, colour, {"doing": doing, "patches": bool(rng.random() < 0.35)}


def aspect(kind: str, style: dict[str, Any]) -> float:
    """Return width over height of the animal's box."""
    if kind == "giraffe":
        return 0.7
    if kind == "horse":
        return 1.05
    return {"bird": 1.35, "fish": 1.75, "duck": 1.25, "rabbit": 1.0, "pig": 1.6, "elephant": 1.3}.get(kind, 1.3)


def draw_animal(pen: Pen, kind: str, colour: str, style: dict[str, Any], rng: np.random.Generator) -> None:
    """Draw an animal facing right; the pen's unit is the longest side of its box, its origin the box's centre."""
    coat = vary(rng, NAMED[colour], 0.15)
    if colour == "black":
        coat = (58, 52, 50)
    if colour == "white":
        coat = (226, 222, 212)
    draw = {"bird": _bird, "duck": _duck, "fish": _fish, "rabbit": _rabbit}.get(kind)
    if draw:
        draw(pen, coat, style, rng)
    else:
        _quadruped(pen, kind, coat, style, rng)


def _eye(pen: Pen, x: float, y: float, r: float) -> None:
    pen.ellipse(x, y, r * 1.25, r * 1.25, (235, 230, 220), None)
    pen.ellipse(x, y, r, r, (20, 16, 14), None)
    pen.ellipse(x - 0.3 * r, y - 0.35 * r, r * 0.35, r * 0.35, (255, 255, 255), None)


def _quadruped(pen: Pen, kind: str, coat: Colour, style: dict[str, Any], rng: np.random.Generator) -> None:
    leg, leg_w, body_h, neck, rise, head, snout, ear, tail, _ = _PLANS[kind]
    doing = style["doing"]
    grain = (0.16, 0.14) if kind == "sheep" else (0.09, 0.09)
    scale = 0.98 if kind in ("giraffe", "horse") else 1.0
    pen = pen.inner(-0.03 if kind != "giraffe" else -0.06, 0, scale)
    half = 0.42
    half = {"giraffe": 0.2, "horse": 0.33, "zebra": 0.34, "dog": 0.33, "cat": 0.34, "elephant": 0.38}.get(kind, half)
    bottom = {"giraffe": 0.5, "horse": 0.46, "pig": 0.31, "sheep": 0.38, "elephant": 0.38}.get(kind, 0.37)
    back_y = bottom - leg - body_h
    mid_y = back_y + body_h / 2
    rump, chest = (-half * 0.92, mid_y), (half * 0.45, mid_y)
    swing = {"walking": 0.35, "running": 0.85}.get(doing, 0.06)
    phase = rng.random() * 2 - 1
    pen.shadow(-0.05, bottom, half * 1.05, 0.045)

    def limb(x: float, angle: float, dim: float) -> None:
        top = (x, mid_y + body_h * 0.15)
        length = bottom - top[1] - leg_w * 0.3
        knee = (top[0] + length * 0.5 * math.sin(angle), top[1] + length * 0.5 * math.cos(angle))
        bend = angle - 0.35 * abs(angle)
        foot = (knee[0] + length * 0.5 * math.sin(bend), knee[1] + length * 0.5 * math.cos(bend))
        dark = kind in ("horse", "sheep")
        pen.limb([top, knee, foot], [leg_w * 1.7, leg_w, leg_w * 0.8], shade(coat, dim), grain)
        hoof = (52, 42, 36) if kind in ("horse", "cow", "zebra", "giraffe") or dark else shade(coat, dim * 0.8)
        pen.ellipse(foot[0] + leg_w * 0.2, foot[1] + leg_w * 0.1, leg_w * 0.62, leg_w * 0.4, hoof)

    a = swing * (0.6 + 0.4 * phase)
    limb(rump[0] + 0.09, a, 0.62)
    limb(chest[0] + 0.03, -a, 0.62)
    tx, ty = -half * 1.02, back_y + body_h * 0.25
    if tail == "up":
        pen.limb(
            smooth([(tx, ty), (tx - 0.08, ty - 0.08), (tx - 0.07, ty - 0.2)], closed=False), [0.045] * 9, coat, grain
        )
    elif tail == "long":
        pen.limb(
            smooth([(tx, ty), (tx - 0.1, ty + 0.02), (tx - 0.13, ty - 0.14), (tx - 0.07, ty - 0.25)], closed=False),
            [0.045] * 13,
            shade(coat, 0.9),
            grain,
        )
    elif tail == "hair":
        pen.blob(
            [(tx, ty), (tx - 0.08, ty + 0.08), (tx - 0.09, ty + 0.3), (tx - 0.03, ty + 0.28), (tx + 0.03, ty + 0.05)],
            (60, 44, 34) if kind == "horse" else (70, 66, 62),
            (0.12, 0.16),
        )
    elif tail == "rope":
        pen.limb([(tx, ty), (tx - 0.035, ty + 0.12), (tx - 0.03, ty + 0.24)], [0.03, 0.02, 0.02], shade(coat, 0.8))
        pen.ellipse(tx - 0.03, ty + 0.26, 0.02, 0.035, (60, 46, 38))
    elif tail == "curl":
        pen.limb([(tx, ty), (tx - 0.05, ty - 0.03), (tx - 0.03, ty - 0.07), (tx - 0.07, ty - 0.06)], [0.022] * 4, coat)
    limb(rump[0] + 0.02, -a, 0.95)
    # neck and head
    angle = math.radians(-38 if doing == "eating" and neck > 0.1 else rise)
    nx, ny = half * 0.72, back_y + body_h * 0.32
    hx, hy = nx + neck * math.cos(angle), ny - neck * math.sin(angle)
    body = [
        (-half, mid_y - body_h * 0.18),
        (-half * 0.75, back_y + body_h * 0.02),
        (0, back_y + body_h * 0.07),
        (half * 0.6, back_y),
        (half * 0.92, mid_y - body_h * 0.1),
        (half * 0.84, mid_y + body_h * 0.3),
        (half * 0.4, mid_y + body_h * 0.5),
        (-half * 0.35, mid_y + body_h * 0.42),
        (-half * 0.85, mid_y + body_h * 0.36),
    ]
    base = (nx - body_h * 0.12, ny + body_h * 0.1)
    pen.blob(body, coat, grain)
    wide = body_h * (0.85 if kind != "giraffe" else 0.7)
    pen.limb([base, (hx, hy)], [wide, head * 0.55], coat, grain)
    pen.veil(
        smooth(
            [
                (-half, mid_y + body_h * 0.1),
                (0, mid_y + body_h * 0.22),
                (half * 0.9, mid_y + body_h * 0.1),
                (half * 0.84, mid_y + body_h * 0.3),
                (half * 0.4, mid_y + body_h * 0.48),
                (-half * 0.85, mid_y + body_h * 0.36),
            ]
        ),
        (0, 0, 0),
        0.22,
    )
    pen.veil(
        smooth(
            [
                (-half * 0.8, back_y + body_h * 0.16),
                (0, back_y + body_h * 0.14),
                (half * 0.7, back_y + body_h * 0.1),
                (half * 0.4, mid_y - body_h * 0.2),
                (-half * 0.5, mid_y - body_h * 0.16),
            ]
        ),
        (255, 255, 250),
        0.16,
    )
    _pattern(pen, kind, style, rng, coat, half, back_y, mid_y, body_h, base, (hx, hy))
    if kind == "horse":
        pen.limb([(nx - 0.06, ny - 0.06), (hx - head * 0.22, hy - head * 0.2)], [0.1, 0.07], (56, 42, 34), (0.12, 0.16))
    limb(chest[0] + 0.07, a, 1.0)
    down = math.radians(62 if doing == "eating" else 30 if snout > 0.5 else 12)
    skull = pen.inner(hx, hy, head, down)
    _head(skull, kind, coat, snout, ear, grain)


def _head(pen: Pen, kind: str, coat: Colour, snout: float, ear: str, grain: tuple[float, float]) -> None:
    face = shade(coat, 1.05)
    if kind == "sheep":
        face = (70, 62, 58)
    if ear == "flop":
        pass
    elif ear == "peak":
        for x, d in ((-0.22, 0.75), (0.12, 1.0)):
            pen.area([(x - 0.15, -0.25), (x - 0.02, -0.78), (x + 0.17, -0.25)], shade(face, d), grain)
            pen.area([(x - 0.07, -0.28), (x - 0.01, -0.62), (x + 0.1, -0.28)], (206, 150, 140), None)
    elif ear == "small":
        for x, d in ((-0.2, 0.75), (-0.05, 1.0)):
            pen.area([(x - 0.1, -0.25), (x - 0.06, -0.62), (x + 0.1, -0.28)], shade(face, d), grain)
        if kind == "giraffe":
            pen.limb([(0.0, -0.3), (0.02, -0.68)], [0.06, 0.06], shade(face, 0.7))
            pen.ellipse(0.02, -0.7, 0.06, 0.06, (60, 44, 36))
    elif ear == "side":
        pen.ellipse(-0.38, -0.2, 0.22, 0.1, shade(face, 0.85), turn=0.4)
        if kind == "cow":
            pen.limb([(-0.1, -0.3), (-0.12, -0.6), (0.05, -0.72)], [0.1, 0.08, 0.03], (222, 212, 190))
    if kind == "elephant":
        pen.ball(0, 0, 0.5, 0.5, coat, grain)
        trunk = smooth([(0.3, 0.1), (0.5, 0.45), (0.42, 0.95), (0.55, 1.25)], closed=False)
        pen.limb(trunk, list(np.linspace(0.42, 0.15, len(trunk))), coat, grain)
        pen.limb([(0.28, 0.35), (0.5, 0.68), (0.75, 0.68)], [0.1, 0.08, 0.02], (240, 236, 220))
        pen.blob(
            [(-0.1, -0.42), (-0.55, -0.5), (-0.82, -0.1), (-0.6, 0.4), (-0.25, 0.5), (-0.02, 0.15)],
            shade(coat, 0.82),
            grain,
        )
        _eye(pen, 0.2, -0.08, 0.055)
        return
    pen.ball(0, 0, 0.42, 0.38, face, grain)
    if snout:
        nose = 0.3 + 0.45 * snout
        pen.limb([(0.1, 0.08), (nose, 0.14)], [0.55, 0.36 if kind != "pig" else 0.4], face, grain)
        tip = {"pig": (214, 120, 130), "cow": (210, 160, 150)}.get(kind, (34, 28, 28))
        big = 0.16 if kind in ("pig", "cow") else 0.1
        pen.ellipse(nose + 0.1, 0.06, big * 0.8, big, tip, None)
        pen.line([(nose + 0.08, 0.24), (nose - 0.2, 0.26)], 0.03, shade(face, 0.5))
    if kind == "cat":
        pen.ellipse(0.2, 0.12, 0.2, 0.15, shade(face, 1.2), None)
        pen.area([(0.27, 0.02), (0.4, 0.02), (0.34, 0.1)], (214, 120, 120), None)
        for dy in (-0.03, 0.05, 0.13):
            pen.line([(0.3, 0.1 + dy * 0.3), (0.68, 0.06 + dy)], 0.014, (240, 240, 240))
        pen.ellipse(0.16, -0.1, 0.09, 0.1, (150, 190, 70), None)
        pen.ellipse(0.17, -0.1, 0.035, 0.09, (12, 12, 12), None)
    else:
        _eye(pen, 0.12, -0.1, 0.07)
    if ear == "flop":
        pen.blob([(-0.2, -0.32), (-0.02, -0.25), (-0.06, 0.2), (-0.22, 0.4), (-0.36, 0.1)], shade(face, 0.62), grain)


def _pattern(
    pen: Pen,
    kind: str,
    style: dict[str, Any],
    rng: np.random.Generator,
    coat: Colour,
    half: float,
    back_y: float,
    mid_y: float,
    body_h: float,
    base: tuple[float, float],
    head: tuple[float, float],
) -> None:
    if kind == "zebra":
        for k in range(11):
            x = -half * 0.88 + k * half * 0.155
            t = (x / half) ** 2
            y0, y1 = back_y + body_h * (0.06 + 0.1 * t), mid_y + body_h * (0.4 - 0.15 * t)
            pen.line(smooth([(x, y0), (x + 0.015, mid_y), (x - 0.01, y1)], 3, closed=False), 0.021, (34, 32, 34))
        for k in range(5):
            t = (k + 1) / 6
            x, y = base[0] + t * (head[0] - base[0]), base[1] + t * (head[1] - base[1])
            w = 0.1 - 0.05 * t
            pen.line([(x - w, y - w * 0.7), (x + w, y + w * 0.7)], 0.018, (34, 32, 34))
    elif kind == "giraffe":
        brown = (150, 92, 44)
        for k in range(22):
            if k < 12:
                x, y = half * (rng.random() * 1.5 - 0.85), mid_y + body_h * (rng.random() * 0.7 - 0.38)
            else:
                t = (k - 12 + 0.5) / 10
                x = base[0] + t * (head[0] - base[0]) + 0.04 * (rng.random() - 0.5) * (1.4 - t)
                y = base[1] + t * (head[1] - base[1])
            r = 0.02 + 0.016 * rng.random()
            pen.area([(x + r * math.cos(u) * 1.1, y + r * math.sin(u)) for u in (0.2, 1.3, 2.5, 3.8, 5.2)], brown, None)
    elif kind == "cow" or (style["patches"] and kind in ("dog", "cat", "horse")):
        dark = (46, 40, 38) if sum(coat) > 400 else (226, 220, 210)
        for _ in range(5):
            x, y = half * (rng.random() * 1.4 - 0.75), mid_y + body_h * (rng.random() * 0.44 - 0.28)
            r = 0.045 + 0.04 * rng.random()
            pts = [
                (x + r * (0.8 + 0.5 * rng.random()) * math.cos(u), y + r * (0.6 + 0.4 * rng.random()) * math.sin(u))
                for u in np.arange(6) * 1.05
            ]
            pen.blob(pts, dark, None)
    elif kind == "cat":
        for k in range(6):
            x = -half * 0.7 + k * half * 0.24
            pen.line([(x, back_y + body_h * 0.1), (x + 0.012, mid_y)], 0.022, shade(coat, 0.68))
    elif kind == "sheep":
        for k in range(26):
            t = 2 * math.pi * k / 26
            r = 1.0 if k % 2 else 0.7
            x, y = half * 0.9 * r * math.cos(t) - 0.02, mid_y + body_h * 0.45 * r * math.sin(t)
            pen.ball(x, y, 0.062, 0.062, shade(coat, 0.92 + 0.12 * rng.random() - 0.12 * math.sin(t)), (0.14, 0.12))
        pen.ellipse(0, mid_y, half * 0.6, body_h * 0.3, coat, None)


def _bird(pen: Pen, coat: Colour, style: dict[str, Any], rng: np.random.Generator) -> None:
    grain = (0.1, 0.12)
    beak = (236, 164, 48)
    if style["doing"] == "flying":
        pen.blob([(-0.02, -0.02), (-0.18, -0.2), (-0.22, -0.36), (0.05, -0.3), (0.2, -0.06)], shade(coat, 0.62), grain)
        pen.area([(-0.3, 0.04), (-0.5, -0.02), (-0.48, 0.1), (-0.5, 0.18), (-0.28, 0.14)], shade(coat, 0.7), grain)
        pen.blob([(-0.34, 0.07), (-0.1, -0.04), (0.18, -0.05), (0.34, 0.03), (0.2, 0.15), (-0.1, 0.19)], coat, grain)
        pen.ball(0.32, -0.02, 0.12, 0.11, coat, grain)
        pen.area([(0.42, -0.06), (0.52, 0.0), (0.41, 0.04)], beak)
        wing = [(0.16, 0.02), (0.08, -0.2), (-0.12, -0.36), (-0.36, -0.38), (-0.24, -0.2), (-0.14, 0.06)]
        pen.blob(wing, shade(coat, 0.84), grain)
        for k in range(4):
            pen.line([(0.02 - 0.05 * k, -0.02), (-0.1 - 0.07 * k, -0.28 + 0.01 * k)], 0.012, shade(coat, 0.55))
        _eye(pen, 0.35, -0.04, 0.022)
        return
    pen.shadow(0, 0.36, 0.24, 0.035)
    for x in (0.0, 0.08):
        pen.limb([(x, 0.2), (x + 0.01, 0.35), (x + 0.07, 0.36)], [0.022, 0.022, 0.018], (200, 130, 50))
    pen.area([(-0.22, 0.06), (-0.5, 0.22), (-0.44, 0.3), (-0.18, 0.18)], shade(coat, 0.65), grain)
    pen.blob(
        [(-0.28, 0.06), (-0.1, -0.1), (0.12, -0.18), (0.27, -0.05), (0.2, 0.16), (0.0, 0.26), (-0.2, 0.2)], coat, grain
    )
    pen.ellipse(0.14, 0.1, 0.1, 0.12, shade(coat, 1.4), None)
    pen.blob([(-0.3, 0.12), (-0.12, -0.06), (0.06, -0.02), (0.05, 0.12), (-0.12, 0.19)], shade(coat, 0.72), grain)
    pen.ball(0.22, -0.2, 0.15, 0.14, coat, grain)
    pen.area([(0.34, -0.25), (0.5, -0.18), (0.34, -0.14)], beak)
    _eye(pen, 0.26, -0.23, 0.028)


def _duck(pen: Pen, coat: Colour, style: dict[str, Any], rng: np.random.Generator) -> None:
    grain = (0.08, 0.1)
    if style["doing"] == "swimming":
        for k in range(3):
            w = 0.44 + 0.05 * k
            pen.line(
                smooth([(-w, 0.32 + 0.03 * k), (0, 0.36 + 0.03 * k), (w, 0.32 + 0.03 * k)], 3, closed=False),
                0.014,
                (220, 232, 240),
            )
    else:
        pen.shadow(-0.02, 0.4, 0.25, 0.03)
        for x in (-0.02, 0.08):
            pen.limb([(x, 0.28), (x, 0.38), (x + 0.07, 0.39)], [0.03, 0.03, 0.03], (230, 130, 40))
    pen.blob(
        [
            (-0.48, -0.02),
            (-0.3, 0.02),
            (-0.05, -0.02),
            (0.2, 0.0),
            (0.32, 0.12),
            (0.22, 0.28),
            (-0.1, 0.33),
            (-0.36, 0.22),
        ],
        coat,
        grain,
    )
    pen.blob([(-0.36, 0.06), (-0.1, 0.02), (0.1, 0.08), (0.02, 0.2), (-0.2, 0.22)], shade(coat, 0.78), grain)
    green = (40, 104, 70) if sum(coat) < 420 else coat
    pen.limb([(0.2, 0.1), (0.24, -0.18)], [0.2, 0.13], green, grain)
    pen.ball(0.25, -0.22, 0.13, 0.12, green, grain)
    pen.blob([(0.34, -0.24), (0.5, -0.2), (0.49, -0.14), (0.35, -0.15)], (236, 150, 40))
    _eye(pen, 0.29, -0.25, 0.024)


def _fish(pen: Pen, coat: Colour, style: dict[str, Any], rng: np.random.Generator) -> None:
    fin = shade(coat, 0.72)
    pen.area(smooth([(-0.26, 0.0), (-0.5, -0.2), (-0.43, 0.0), (-0.5, 0.2)]), fin, (0.06, 0.08))
    pen.blob([(-0.12, -0.16), (-0.02, -0.28), (0.18, -0.2), (0.16, -0.12)], fin)
    pen.blob([(-0.06, 0.16), (0.0, 0.27), (0.1, 0.16)], fin)
    body = [
        (-0.32, 0.0),
        (-0.1, -0.18),
        (0.18, -0.2),
        (0.4, -0.08),
        (0.5, 0.02),
        (0.38, 0.12),
        (0.16, 0.19),
        (-0.1, 0.17),
    ]
    pen.blob(body, coat, (0.06, 0.08))
    pen.veil(
        smooth([(-0.3, 0.03), (0.1, 0.07), (0.46, 0.05), (0.38, 0.12), (0.16, 0.19), (-0.1, 0.17)]),
        (255, 255, 240),
        0.35,
    )
    if style["patches"]:
        for x in (-0.12, 0.06, 0.22):
            pen.line([(x, -0.16), (x + 0.02, 0.0), (x, 0.15)], 0.045, (240, 238, 230))
    else:
        for k in range(10):
            x, y = -0.2 + 0.045 * k, 0.07 * math.sin(k * 2.1)
            pen.line([(x, y - 0.03), (x + 0.02, y), (x, y + 0.03)], 0.01, shade(coat, 0.6))
    pen.line([(0.27, -0.14), (0.24, 0.0), (0.27, 0.13)], 0.014, shade(coat, 0.5))
    pen.blob([(0.16, 0.0), (0.02, -0.02), (0.0, 0.08), (0.14, 0.07)], fin, None)
    _eye(pen, 0.36, -0.05, 0.034)
    pen.line([(0.47, 0.05), (0.41, 0.065)], 0.012, shade(coat, 0.45))


def _rabbit(pen: Pen, coat: Colour, style: dict[str, Any], rng: np.random.Generator) -> None:
    grain = (0.1, 0.12)
    pen.shadow(-0.03, 0.46, 0.36, 0.04)
    pen.ball(-0.38, 0.22, 0.1, 0.1, shade(coat, 1.2), grain)
    for x, d in ((0.14, 0.8), (0.24, 1.0)):
        pen.blob(
            [(x - 0.05, -0.1), (x - 0.1, -0.34), (x - 0.07, -0.49), (x, -0.44), (x + 0.06, -0.12)],
            shade(coat, d),
            grain,
        )
        pen.blob([(x - 0.02, -0.14), (x - 0.06, -0.34), (x - 0.04, -0.42), (x + 0.02, -0.16)], (224, 160, 160), None)
    pen.ball(-0.1, 0.18, 0.32, 0.28, coat, grain)
    pen.ball(-0.18, 0.3, 0.18, 0.15, coat, grain)
    pen.ellipse(-0.12, 0.43, 0.17, 0.045, shade(coat, 0.9), grain)
    pen.limb([(0.13, 0.25), (0.18, 0.44)], [0.1, 0.06], coat, grain)
    pen.ball(0.22, 0.02, 0.19, 0.17, coat, grain)
    _eye(pen, 0.27, -0.02, 0.034)
    pen.ellipse(0.4, 0.04, 0.025, 0.02, (210, 120, 130), None)
