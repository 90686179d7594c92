"""Rooms in one-point perspective."""

# fmt: off  (coordinates read better in rows)
from __future__ import annotations

import numpy as np

from neuro.datasets.phantom.background import SKIES, Background
from neuro.datasets.phantom.canvas import Canvas, Colour, Pen, mix, shade
from neuro.datasets.phantom.palette import NAMED, pick, vary


def draw_room(canvas: Canvas, pen: Pen, b: Background, rng: np.random.Generator) -> None:
    """Draw a box in one-point perspective, with the furniture that makes it a kitchen or a bedroom."""
    walls = {
        "bathroom": ((156, 186, 194), (178, 192, 178)),
        "kitchen": ((222, 210, 180), (196, 206, 200)),
        "office": ((196, 198, 202), (176, 186, 200)),
    }
    wall = vary(
        rng,
        pick(
            rng,
            walls.get(b.kind, ((206, 190, 166), (170, 186, 190), (196, 164, 150), (180, 184, 150), (150, 162, 190))),
        ),
        0.1,
    )
    floor = vary(
        rng,
        {"bathroom": (150, 158, 166), "office": (120, 122, 132)}.get(
            b.kind, pick(rng, ((160, 114, 74), (128, 92, 64), (176, 140, 104)))
        ),
        0.1,
    )
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

    def panel(
        a: float, c: float, e: float, g: float, colour: Colour, grain: tuple[float, float] | None = (0.04, 0.04)
    ) -> None:
        pen.area([back(a, c), back(e, c), back(e, g), back(a, g)], colour, grain)

    def cube(
        x: float,
        e: float,
        top: float,
        bottom: float,
        colour: Colour,
        depth: float,
        grain: tuple[float, float] = (0.05, 0.05),
    ) -> None:
        """Draw a box on the floor: front face in picture units, back face ``depth`` toward the vanishing point."""
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
    view = SKIES[b.style["sky"]]
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
        pen.area(
            [(lx - 0.02, near - 0.2), (lx + 0.03, near - 0.2), (lx + 0.055, near - 0.12), (lx - 0.045, near - 0.12)],
            (252, 232, 170),
        )
        pen.area(
            [(lx, near - 0.12), (lx + 0.01, near - 0.12), (lx + 0.01, near - 0.08), (lx, near - 0.08)], (80, 70, 60)
        )
    elif b.kind == "living room":
        sofa = vary(
            rng, pick(rng, ((150, 60, 56), (70, 96, 140), (110, 120, 90), (150, 130, 110), (90, 80, 100))), 0.15
        )
        a, e = (0.04, 0.52) if side else (0.48, 0.96)
        cube(a, e, near - 0.16, near + 0.05, shade(sofa, 0.85), 0.12, (0.06, 0.1))
        cube(a, e, near - 0.03, near + 0.12, sofa, 0.12, (0.06, 0.1))
        for f in (0.0, 0.88):
            cube(
                a + f * (e - a),
                a + (f + 0.12) * (e - a),
                near - 0.09,
                near + 0.13,
                shade(sofa, 0.95),
                0.14,
                (0.06, 0.1),
            )
        for f, c in ((0.18, (230, 190, 90)), (0.66, (230, 226, 214))):
            xx = a + f * (e - a)
            pen.area(
                [(xx, near - 0.11), (xx + 0.08, near - 0.12), (xx + 0.09, near - 0.035), (xx + 0.01, near - 0.03)], c
            )
        t = 0.72 if side else 0.14
        cube(t, t + 0.2, near + 0.06, near + 0.17, (132, 92, 60), 0.2)
        lx = 0.62 if side else 0.36
        pen.limb([(lx, near), (lx, near - 0.3)], [0.012, 0.012], (60, 56, 54))
        pen.area(
            [(lx - 0.03, near - 0.4), (lx + 0.03, near - 0.4), (lx + 0.06, near - 0.28), (lx - 0.06, near - 0.28)],
            (250, 230, 176),
        )
    elif b.kind == "kitchen":
        cupboard = vary(rng, pick(rng, ((226, 222, 210), (130, 156, 150), (170, 120, 76), (110, 130, 160))), 0.1)
        a, e = (-0.05, 0.56) if side else (0.44, 1.05)
        cube(a, e, near - 0.14, near + 0.12, cupboard, 0.3)
        for f in range(4):
            xx = a + (0.06 + 0.24 * f) * (e - a)
            ww = 0.19 * (e - a)
            pen.area(
                [(xx, near - 0.1), (xx + ww, near - 0.1), (xx + ww, near + 0.1), (xx, near + 0.1)],
                shade(cupboard, 1.02),
            )
            pen.line([(xx + 0.8 * ww, near - 0.04), (xx + 0.8 * ww, near + 0.02)], 0.009, (70, 70, 74))
        pen.area([(a, near - 0.16), (e, near - 0.16), (e, near - 0.13), (a, near - 0.13)], (92, 88, 88))
        for f in range(3):
            panel(0.02 + 0.17 * f + 0.45 * side, 0.05, 0.17 + 0.17 * f + 0.45 * side, 0.3, shade(cupboard, 0.95))
        px = (a + e) / 2 + 0.06
        pen.area(
            [(px, near - 0.25), (px + 0.12, near - 0.25), (px + 0.11, near - 0.17), (px + 0.01, near - 0.17)],
            (196, 60, 50),
        )
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
        pen.limb(
            [(a + 0.04, near - 0.05), (a + 0.04, near - 0.17), (a + 0.1, near - 0.17)], [0.014] * 3, (170, 174, 180)
        )
        bx = 0.72 if side else 0.24
        pen.area(
            [(bx - 0.03, near - 0.1), (bx + 0.03, near - 0.1), (bx + 0.025, near + 0.1), (bx - 0.025, near + 0.1)],
            shade(white, 0.85),
        )
        pen.blob(
            [(bx - 0.11, near - 0.15), (bx + 0.11, near - 0.15), (bx + 0.07, near - 0.07), (bx - 0.07, near - 0.07)],
            white,
            (0.02, 0.02),
        )
        pen.ellipse(bx, near - 0.33, 0.085, 0.11, (120, 100, 80))
        pen.ellipse(bx, near - 0.33, 0.072, 0.096, (196, 218, 226), (0.02, 0.02))
    else:  # office
        a, e = (0.08, 0.62) if side else (0.38, 0.92)
        wood = vary(rng, (166, 120, 78), 0.15)
        for xx in (a + 0.02, e - 0.06):
            pen.area(
                [(xx, near - 0.02), (xx + 0.04, near - 0.02), (xx + 0.04, near + 0.2), (xx, near + 0.2)],
                shade(wood, 0.6),
            )
        cube(a, e, near - 0.04, near, wood, 0.3)
        sx = a + 0.16
        pen.area([(sx, near - 0.24), (sx + 0.2, near - 0.24), (sx + 0.2, near - 0.1), (sx, near - 0.1)], (36, 38, 44))
        pen.area(
            [
                (sx + 0.012, near - 0.228),
                (sx + 0.188, near - 0.228),
                (sx + 0.188, near - 0.112),
                (sx + 0.012, near - 0.112),
            ],
            (120, 176, 214),
            None,
        )
        pen.area(
            [(sx + 0.085, near - 0.1), (sx + 0.115, near - 0.1), (sx + 0.13, near - 0.06), (sx + 0.07, near - 0.06)],
            (36, 38, 44),
        )
        cx = (a + e) / 2 + 0.05
        pen.area(
            [(cx - 0.08, near + 0.0), (cx + 0.08, near + 0.0), (cx + 0.07, near + 0.14), (cx - 0.07, near + 0.14)],
            (54, 58, 70),
            (0.04, 0.06),
        )
        pen.limb([(cx, near + 0.14), (cx, near + 0.25)], [0.025, 0.025], (70, 70, 76))
        pen.limb([(cx - 0.08, near + 0.27), (cx, near + 0.24), (cx + 0.08, near + 0.27)], [0.02] * 3, (70, 70, 76))
        shelf = 0.74 if side else 0.02
        cube(shelf, shelf + 0.2, near - 0.42, near + 0.12, shade(wood, 0.9), 0.12)
        for r in range(4):
            y = near - 0.39 + 0.125 * r
            pen.area(
                [(shelf + 0.015, y), (shelf + 0.185, y), (shelf + 0.185, y + 0.1), (shelf + 0.015, y + 0.1)],
                shade(wood, 0.4),
                None,
            )
            for j in range(7):
                xx = shelf + 0.02 + 0.023 * j
                pen.area(
                    [
                        (xx, y + 0.02 + 0.02 * rng.random()),
                        (xx + 0.018, y + 0.03),
                        (xx + 0.018, y + 0.1),
                        (xx, y + 0.1),
                    ],
                    vary(rng, pick(rng, tuple(NAMED.values())), 0.2),
                    None,
                )
