"""People: a head seen near, and whole bodies in everyday poses."""

# fmt: off  (coordinates and wordings read better in rows)
from __future__ import annotations

import math
from typing import Any

import numpy as np

from neuro.datasets.phantom.canvas import Colour, Pen, mix, shade, smooth
from neuro.datasets.phantom.palette import CLOTHES, HAIR, NAMED, SKIN, pick, vary

WHO = ("man", "woman", "boy", "girl")
EXPRESSIONS = ("smiling", "laughing", "sad", "surprised", "angry", "calm")
POSES = ("standing", "walking", "running", "waving", "dancing", "sitting", "jumping")

# Joint angles in degrees from straight down, positive toward the walking direction:
# (upper arm, lower arm) x 2, (thigh, shin) x 2, lean of the trunk.
_JOINTS: dict[str, tuple[float, ...]] = {
    "standing": (12, 4, -12, -4, 5, 3, -5, -3, 0),
    "walking": (28, 42, -30, -14, 26, 14, -18, -38, 3),
    "running": (58, 130, -58, 20, 62, 8, -18, -86, 12),
    "waving": (12, 4, -128, -166, 5, 3, -5, -3, -2),
    "dancing": (124, 150, -82, -52, 34, -18, -24, -8, -7),
    "sitting": (24, 62, 12, 58, 84, 4, 74, -4, -3),
    "jumping": (132, 150, -132, -150, 42, -40, -36, -70, 0),
}


def sample_person(rng: np.random.Generator, near: bool) -> tuple[str, str, dict[str, Any]]:
    """Return (label, colour name, style) of a person."""
    who = pick(rng, WHO)
    shirt = pick(rng, CLOTHES)
    style: dict[str, Any] = {
        "skin": int(rng.random() * len(SKIN)),
        "hair": pick(rng, tuple(HAIR)),
        "expression": pick(rng, EXPRESSIONS),
        "yaw": float(np.clip(rng.normal(0, 0.35), -0.75, 0.75)),
        "tilt": float(rng.normal(0, 0.10)),
        "glasses": bool(rng.random() < 0.18),
        "hat": pick(rng, CLOTHES) if rng.random() < 0.2 else "",
        "shirt": shirt,
        "trousers": pick(rng, ("blue", "black", "brown", "grey", "green", "white", "red")),
        "long": bool(rng.random() < (0.7 if who in ("woman", "girl") else 0.1)),
        "beard": bool(who == "man" and rng.random() < 0.4),
        "skirt": bool(who in ("woman", "girl") and rng.random() < 0.45),
        "child": who in ("boy", "girl"),
    }
    if not near:
        style["pose"] = pick(rng, POSES)
        style["back"] = bool(rng.random() < 0.22)
        style["stripes"] = bool(rng.random() < 0.25)
    return who, shirt, style


def draw_face(pen: Pen, style: dict[str, Any], rng: np.random.Generator) -> None:
    """Draw head and shoulders; the pen's unit is the height of the head, its origin the head's centre."""
    skin = vary(rng, SKIN[style["skin"]], 0.06)
    shirt = vary(rng, NAMED[style["shirt"]])
    width = 0.72 if style["child"] else 0.92
    if style["long"]:
        _long_hair(pen, vary(rng, HAIR[style["hair"]], 0.1))
    shoulders = [(-0.17, 0.52), (-0.5 * width, 0.66), (-0.86 * width, 0.8), (-1.02 * width, 1.1), (-1.1 * width, 1.9)]
    outline = smooth(shoulders, closed=False) + smooth([(-x, y) for x, y in reversed(shoulders)], closed=False)
    pen.area(outline, shirt, (0.05, 0.05))
    pen.veil([(0.3, 0.6), (0.86 * width, 0.8), (1.02 * width, 1.1), (1.1 * width, 1.9), (0.62, 1.9)], (0, 0, 0), 0.13)
    pen.area([(-0.17, 0.25), (0.17, 0.25), (0.19, 0.58), (0.0, 0.72), (-0.19, 0.58)], shade(skin, 0.84))
    pen.veil([(-0.17, 0.36), (0.17, 0.36), (0.17, 0.48), (0.0, 0.56), (-0.17, 0.48)], (30, 10, 0), 0.25)
    pen.line([(-0.2, 0.56), (0.0, 0.76), (0.2, 0.56)], 0.05, shade(shirt, 0.72))
    draw_head(pen.inner(0, 0, 1.0, style["tilt"]), style, rng, skin)


def draw_head(pen: Pen, style: dict[str, Any], rng: np.random.Generator, skin: Colour, back: bool = False) -> None:
    """Draw a head of height 1; its pixels carry the face mark unless it is seen from behind."""
    canvas = pen.canvas
    canvas.flag = not back
    hair = vary(rng, HAIR[style["hair"]], 0.1)
    yaw = 0.0 if back else style["yaw"]
    jaw = 0.30 if style["child"] else 0.27 + 0.05 * rng.random()
    if back:
        pen.ball(0, 0, 0.38, 0.48, hair, (0.12, 0.16))
        if style["hat"]:
            _hat(pen, vary(rng, NAMED[style["hat"]]))
        canvas.flag = False
        return
    pen.ellipse(-0.37 + 0.06 * yaw, 0.03, 0.06, 0.1, shade(skin, 0.85))
    pen.ellipse(0.37 + 0.06 * yaw, 0.03, 0.06, 0.1, shade(skin, 0.75))
    half = [(0.0, -0.49), (0.22, -0.45), (0.36, -0.25), (0.375, 0.0), (0.34, 0.2), (jaw * 0.8, 0.38), (0.1, 0.485)]
    outline = half + [(-x, y) for x, y in reversed(half[1:])]
    pen.blob(outline, shade(skin, 0.86))
    pen.blob([(0.9 * x - 0.025, 0.95 * y - 0.01) for x, y in outline], skin, None)
    pen.blob([(0.62 * x - 0.06, 0.7 * y - 0.03) for x, y in outline], shade(skin, 1.07), None)
    detail = pen.pixels >= 16

    def turn(x: float, y: float, out: float = 0.0) -> tuple[float, float]:
        radius = 0.37
        s = max(-1.0, min(1.0, x / radius))
        depth = math.sqrt(max(0.0, 1 - s * s)) + out
        return radius * (s * math.cos(yaw) + depth * math.sin(yaw)), y

    expression = style["expression"]
    squeeze = math.cos(yaw) ** 0.5
    eye_y, big = -0.03, 1.18 if style["child"] else 1.0
    iris = pick(rng, ((70, 45, 25), (50, 90, 140), (70, 110, 60), (40, 30, 25)))
    brow = shade(hair, 0.75)
    for side in (-1, 1):
        x, y = turn(0.16 * side, eye_y)
        pen.ellipse(x, y + 0.005, 0.095 * squeeze, 0.07, shade(skin, 0.78), None)
        tall = {"surprised": 0.062, "laughing": 0.028, "sad": 0.04, "angry": 0.036}.get(expression, 0.048) * big
        pen.ellipse(x, y, 0.078 * squeeze * big, tall, (244, 242, 238), None)
        shift = 0.02 * math.sin(yaw * 2)
        pen.ellipse(x + shift, y, 0.036 * big, min(tall, 0.042 * big), iris, None)
        pen.ellipse(x + shift, y, 0.02 * big, min(tall, 0.024), (12, 10, 10), None)
        if detail:
            pen.ellipse(x + shift - 0.012, y - 0.015, 0.01, 0.01, (255, 255, 255), None)
            pen.line(
                [(x - 0.085 * squeeze, y - tall * 0.4), (x, y - tall), (x + 0.085 * squeeze, y - tall * 0.4)],
                0.018,
                shade(skin, 0.4),
            )
        up = {"surprised": -0.06, "angry": 0.02}.get(expression, -0.01)
        tip = {"sad": 0.045, "angry": -0.05}.get(expression, 0.0)  # outer minus inner end of the brow
        inner, outer = turn(0.07 * side, 0)[0], turn(0.25 * side, 0)[0]
        pen.line(
            [(inner, -0.14 + up - tip / 2), ((inner + outer) / 2, -0.165 + up), (outer, -0.135 + up + tip / 2)],
            0.03,
            brow,
        )
    nose_x = turn(0, 0, 0.18)[0]
    bridge = turn(0, 0)[0]
    pen.area(
        [(bridge - 0.02, -0.03), (bridge + 0.03, -0.03), (nose_x + 0.085, 0.16), (nose_x, 0.19), (nose_x - 0.03, 0.15)],
        shade(skin, 0.8),
        None,
    )
    pen.area(
        [(bridge - 0.02, -0.03), (bridge + 0.012, -0.03), (nose_x + 0.03, 0.16), (nose_x - 0.06, 0.165)],
        shade(skin, 1.12),
        None,
    )
    if detail:
        pen.ellipse(nose_x - 0.035, 0.175, 0.017, 0.011, shade(skin, 0.45), None)
        pen.ellipse(nose_x + 0.04, 0.175, 0.017, 0.011, shade(skin, 0.45), None)
    if style["beard"]:
        half = [(0.36, 0.05), (0.35, 0.22), (0.26, 0.42), (0.1, 0.52), (-0.1, 0.52), (-0.26, 0.42), (-0.35, 0.22)]
        half += [(-0.36, 0.05), (-0.27, 0.2), (-0.14, 0.215), (0.0, 0.2), (0.14, 0.215), (0.27, 0.2)]
        pen.area(smooth(half), shade(hair, 0.9), (0.1, 0.15))
    _mouth(pen, turn(0, 0, 0.04)[0], 0.3, 0.13 * squeeze, expression, skin, style)
    if style["glasses"]:
        frame = (30, 30, 34)
        for side in (-1, 1):
            x, y = turn(0.165 * side, eye_y)
            rx, ry = 0.12 * squeeze, 0.1
            ring = [(x + rx * math.cos(t), y + ry * math.sin(t)) for t in np.linspace(0, 2 * math.pi, 13)]
            pen.veil(ring, (200, 225, 240), 0.25)
            pen.line(ring, 0.022, frame)
        pen.line([(turn(-0.06, 0)[0], eye_y), (turn(0.06, 0)[0], eye_y)], 0.022, frame)
    _hair(pen, style, hair, rng)
    if style["hat"]:
        _hat(pen, vary(rng, NAMED[style["hat"]]))
    canvas.flag = False


def _mouth(pen: Pen, x: float, y: float, w: float, expression: str, skin: Colour, style: dict[str, Any]) -> None:
    lip = mix(shade(skin, 0.62), (176, 40, 50), 0.65 if style["long"] else 0.35)
    if expression == "laughing":
        pen.blob(
            [
                (x - w, y - 0.035),
                (x, y - 0.02),
                (x + w, y - 0.035),
                (x + 0.6 * w, y + 0.075),
                (x, y + 0.1),
                (x - 0.6 * w, y + 0.075),
            ],
            lip,
            None,
        )
        pen.blob([(x - 0.8 * w, y - 0.015), (x, y - 0.0), (x + 0.8 * w, y - 0.015), (x, y + 0.075)], (80, 16, 20), None)
        pen.area(
            [(x - 0.7 * w, y - 0.015), (x + 0.7 * w, y - 0.015), (x + 0.45 * w, y + 0.028), (x - 0.45 * w, y + 0.028)],
            (248, 246, 240),
            None,
        )
    elif expression == "surprised":
        pen.ellipse(x, y + 0.03, 0.07, 0.09, lip, None)
        pen.ellipse(x, y + 0.03, 0.045, 0.065, (60, 14, 18), None)
    else:
        bend = {"smiling": 0.055, "sad": -0.05, "angry": -0.025}.get(expression, 0.004)
        top = [
            (x - w, y - bend),
            (x - 0.4 * w, y + 0.2 * bend - 0.02),
            (x, y + 0.4 * bend - 0.008),
            (x + 0.4 * w, y + 0.2 * bend - 0.02),
            (x + w, y - bend),
        ]
        low = [(x + 0.5 * w, y + 0.5 * bend + 0.035), (x, y + bend + 0.045), (x - 0.5 * w, y + 0.5 * bend + 0.035)]
        pen.area(top + low, lip, None)
        pen.line(
            [
                (x - w, y - bend),
                (x - 0.4 * w, y + 0.5 * bend),
                (x, y + 0.7 * bend),
                (x + 0.4 * w, y + 0.5 * bend),
                (x + w, y - bend),
            ],
            0.02,
            shade(lip, 0.55),
        )


def _hair(pen: Pen, style: dict[str, Any], hair: Colour, rng: np.random.Generator) -> None:
    grain = (0.09, 0.16)
    fringe = rng.random()
    part = 0.25 * (rng.random() - 0.5)
    low = 0.12 if style["long"] else -0.02
    if fringe < 0.25:
        front = [(0.33, -0.18), (0.2, -0.22), (part, -0.2), (-0.2, -0.22), (-0.33, -0.18)]
    elif fringe < 0.8:
        front = [(0.335, -0.12), (0.27, -0.27), (part, -0.36), (-0.27, -0.27), (-0.335, -0.12)]
    else:
        front = [(0.34, -0.08), (0.31, -0.22), (part + 0.1, -0.31), (part - 0.12, -0.24), (-0.33, -0.14)]
    cap = [(-0.39, low), (-0.42, -0.2), (-0.34, -0.42), (-0.16, -0.53), (0.1, -0.54), (0.32, -0.44), (0.42, -0.2)]
    pen.area(smooth([*cap, (0.39, low), *front]), hair, grain)
    pen.area(smooth([(-0.3, -0.36), (-0.1, -0.47), (0.05, -0.47), (-0.12, -0.4)]), shade(hair, 1.35), None)


def _long_hair(pen: Pen, hair: Colour) -> None:
    half = [(0.1, -0.54), (0.34, -0.44), (0.44, -0.1), (0.46, 0.3), (0.5, 0.75), (0.3, 0.84)]
    pen.area(smooth([*half, *[(-x, y) for x, y in reversed(half)]]), shade(hair, 0.8), (0.12, 0.16))


def _hat(pen: Pen, colour: Colour) -> None:
    pen.area(
        smooth([(-0.37, -0.26), (-0.36, -0.48), (-0.2, -0.66), (0.2, -0.66), (0.36, -0.48), (0.37, -0.26)]),
        colour,
        (0.05, 0.05),
    )
    pen.ellipse(0, -0.27, 0.52, 0.075, shade(colour, 0.8), (0.05, 0.05))
    pen.area([(-0.36, -0.38), (0.36, -0.38), (0.37, -0.29), (-0.37, -0.29)], shade(colour, 0.5), None)


def _reach(p: tuple[float, float], angle: float, length: float) -> tuple[float, float]:
    return (p[0] + length * math.sin(angle), p[1] + length * math.cos(angle))


def body_pose(style: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return joints and proportions of a whole person, in units of its height.

    ``rng`` must be fresh from the object's seed: drawing calls this first, and so can whoever asks where the head is.
    """
    child, pose = style["child"], style["pose"]
    angles = np.radians(_JOINTS[pose]) + rng.normal(0, 0.05, 9)
    *limbs, lean = (float(a) for a in angles)
    head = 0.21 if child else 0.155
    leg = 0.225 if child else 0.25
    trunk = 1 - head - 2 * leg - 0.02
    bulk = (0.9 if style["long"] else 1.0) * (0.92 + 0.2 * rng.random())
    th1, sh1, th2, sh2 = limbs[4:]
    lift = max(_reach(_reach((0, 0), th1, leg), sh1, leg)[1], _reach(_reach((0, 0), th2, leg), sh2, leg)[1])
    hip = (0.0, 0.485 - lift - (0.1 if pose == "jumping" else 0.0))
    if pose == "sitting":
        hip = (-0.06, 0.1)
    neck = (hip[0] + trunk * math.sin(lean), hip[1] - trunk * math.cos(lean))
    face = (neck[0] + 0.55 * head * math.sin(lean) + 0.01, neck[1] - 0.53 * head)
    return {
        "angles": limbs,
        "lean": lean,
        "head": head,
        "leg": leg,
        "arm": 0.155 if child else 0.17,
        "bulk": bulk,
        "hip": hip,
        "neck": neck,
        "face": face,
    }


def draw_body(pen: Pen, style: dict[str, Any], rng: np.random.Generator) -> None:
    """Draw a whole person; the pen's unit is the person's height, its origin the middle of the person."""
    pose = body_pose(style, rng)
    angles, head, leg, arm, bulk, hip, neck, lean = (
        pose["angles"],
        pose["head"],
        pose["leg"],
        pose["arm"],
        pose["bulk"],
        pose["hip"],
        pose["neck"],
        pose["lean"],
    )
    ua1, la1, ua2, la2, th1, sh1, th2, sh2 = angles
    skin = vary(rng, SKIN[style["skin"]], 0.06)
    shirt = vary(rng, NAMED[style["shirt"]])
    trousers = vary(rng, NAMED[style["trousers"]])
    shoe = pick(rng, ((40, 34, 32), (90, 54, 34), (225, 222, 215), (150, 30, 34)))
    hips = [(hip[0] - 0.045 * bulk, hip[1]), (hip[0] + 0.045 * bulk, hip[1])]
    shoulders = [(neck[0] - 0.085 * bulk, neck[1] + 0.035), (neck[0] + 0.085 * bulk, neck[1] + 0.035)]
    pen.shadow(hip[0], 0.49, 0.2, 0.03)
    if style["pose"] == "sitting":  # a stool
        wood = (128, 92, 60)
        pen.area([(-0.2, 0.16), (0.08, 0.16), (0.08, 0.2), (-0.2, 0.2)], wood)
        for x in (-0.18, 0.03):
            pen.area([(x, 0.2), (x + 0.03, 0.2), (x + 0.03, 0.5), (x, 0.5)], shade(wood, 0.75))

    reach = _reach

    def leg_of(root: tuple[float, float], thigh: float, shin: float, dim: float) -> None:
        knee = reach(root, thigh, leg)
        foot = reach(knee, shin, leg - 0.02)
        bare = style["skirt"]
        cloth = shade(skin if bare else trousers, dim)
        pen.limb([root, knee, foot], [0.098 * bulk, 0.072, 0.05], cloth, (0.05, 0.05))
        pen.ellipse(foot[0] + 0.022, foot[1] + 0.008, 0.045, 0.019, shade(shoe, dim), turn=shin * 0.3)

    def arm_of(root: tuple[float, float], upper: float, lower: float, dim: float) -> None:
        elbow = reach(root, upper, arm)
        hand = reach(elbow, lower, arm * 0.9)
        pen.limb([root, elbow, hand], [0.062, 0.05, 0.036], shade(skin if style["skirt"] else shirt, dim), (0.05, 0.04))
        pen.ellipse(*hand, 0.026, 0.026, shade(skin, dim))

    arm_of(shoulders[1], ua2, la2, 0.72)
    leg_of(hips[1], th2, sh2, 0.74)
    leg_of(hips[0], th1, sh1, 1.0)
    waist = ((neck[0] + 2 * hip[0]) / 3, (neck[1] + 2 * hip[1]) / 3)
    slim = 0.062 if style["long"] else 0.078
    outline = [
        (neck[0] - 0.04, neck[1] + 0.0),
        (shoulders[0][0] - 0.015, shoulders[0][1]),
        (waist[0] - slim * bulk, waist[1]),
        (hip[0] - 0.088 * bulk, hip[1] + 0.03),
        (hip[0] + 0.088 * bulk, hip[1] + 0.03),
        (waist[0] + slim * bulk, waist[1]),
        (shoulders[1][0] + 0.015, shoulders[1][1]),
        (neck[0] + 0.04, neck[1]),
    ]
    torso = smooth(outline, 3)
    pen.area(torso, shirt, (0.05, 0.05))
    if style["stripes"]:
        other = (240, 240, 236) if sum(shirt) < 450 else (60, 60, 90)
        for k in range(1, 7):
            t = k / 7
            x, y, w = neck[0] + t * (hip[0] - neck[0]), neck[1] + t * (hip[1] - neck[1]) + 0.02, 0.07 * bulk
            pen.line([(x - w, y), (x + w, y)], 0.014, other)
    pen.veil(
        [
            (neck[0] + 0.02, neck[1]),
            shoulders[1],
            (waist[0] + slim * bulk, waist[1]),
            (hip[0] + 0.088 * bulk, hip[1] + 0.03),
            (hip[0] + 0.03, hip[1] + 0.03),
        ],
        (0, 0, 0),
        0.25,
    )
    if style["skirt"]:
        drop = 0.2
        swing = 0.5 * (math.sin(th1) + math.sin(th2)) * 0.12
        pen.area(
            [
                (hip[0] - 0.07 * bulk, hip[1] - 0.06),
                (hip[0] + 0.07 * bulk, hip[1] - 0.06),
                (hip[0] + 0.155 + swing, hip[1] + drop),
                (hip[0] - 0.155 + swing, hip[1] + drop),
            ],
            trousers,
            (0.06, 0.05),
        )
        pen.veil(
            [
                (hip[0], hip[1] - 0.06),
                (hip[0] + 0.07 * bulk, hip[1] - 0.06),
                (hip[0] + 0.155 + swing, hip[1] + drop),
                (hip[0] + 0.04 + swing, hip[1] + drop),
            ],
            (0, 0, 0),
            0.22,
        )
    pen.limb([neck, (neck[0] + 0.3 * head * math.sin(lean), neck[1] - 0.25 * head)], [0.05, 0.045], shade(skin, 0.84))
    top = pen.inner(*pose["face"], head, lean * 0.6)
    if style["long"] and not style["back"]:
        _long_hair(top, vary(rng, HAIR[style["hair"]], 0.1))
    draw_head(top, style, rng, skin, back=style["back"])
    if style["long"] and style["back"]:
        _long_hair(top, vary(rng, HAIR[style["hair"]], 0.1))
    arm_of(shoulders[0], ua1, la1, 1.0)
