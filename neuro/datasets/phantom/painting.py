"""A scene's picture, and where in it each thing shows."""

from __future__ import annotations

import numpy as np

from neuro._check import check_positive_int
from neuro.datasets.phantom import animals, buildings, distractors, food, people, signs
from neuro.datasets.phantom.backgrounds import draw_background
from neuro.datasets.phantom.canvas import FLAG, Canvas, Light, Pen
from neuro.datasets.phantom.clutter import draw_clutter
from neuro.datasets.phantom.scene import Scene

_CLUTTER = 126  # number under which foreground clutter is drawn


def paint(scene: Scene, size: int) -> Canvas:
    """Draw a scene, back to front, on a canvas of ``size`` pixels; grain and light are still to come."""
    canvas = Canvas(check_positive_int("size", size, 8))
    canvas.shadow = scene.shadow
    draw_background(canvas, scene.background)
    for number, item in enumerate(scene.objects, start=1):
        if item.is_background:
            continue
        canvas.ink = number
        rng = np.random.default_rng(item.seed)
        pen = Pen(canvas, item.x, item.y, item.size, item.flip)
        if item.category == "face":
            people.draw_face(pen, item.style, rng)
        elif item.category == "body":
            people.draw_body(pen, item.style, rng)
        elif item.category == "animal":
            animals.draw_animal(pen, item.label, item.colour, item.style, rng)
        elif item.category == "food":
            food.draw_food(pen, item.label, item.colour, item.style, rng)
        elif item.category == "word":
            signs.draw_sign(pen, item.label, item.colour, item.style, rng)
        elif item.category == "place":
            buildings.draw_building(pen, item.label, item.colour, item.style, rng)
        else:
            distractors.draw_distractor(pen, item.label, item.colour, item.style, rng)
    if scene.clutter:
        canvas.ink = _CLUTTER
        draw_clutter(canvas, scene.clutter, np.random.default_rng([0x5CE, scene.seed, scene.index, 2]))
    return canvas


def light_of(scene: Scene) -> Light:
    """Return the light that a scene is seen in."""
    return Light(scene.brightness, scene.contrast, scene.warmth, scene.light_angle, scene.falloff)


def render(scene: Scene, size: int = 96) -> np.ndarray:
    """Return the picture, uint8 (size, size, 3)."""
    rng = np.random.default_rng([0x5CE, scene.seed, scene.index, 3])
    return paint(scene, size).finish(rng, light_of(scene))


def coverage(scene: Scene, size: int = 96) -> dict[str, np.ndarray]:
    """Return the share of each pixel in which each object shows, in steps of a sub-sample.

    Returns
    -------
    dict of name -> float32 array (size, size), 0-1
        One entry per object; ``"<name>:face"`` for a person's visible face; ``"background"`` and ``"clutter"``.
        Objects, background and clutter add up to 1 everywhere; the main object of a landscape or room is the
        background and is not counted twice.
    """
    return coverage_of(scene, paint(scene, size))


def coverage_of(scene: Scene, canvas: Canvas) -> dict[str, np.ndarray]:
    """Count, for :func:`coverage`, whose number each sample of a painted canvas bears."""
    numbers, f, size = canvas.numbers(), canvas.factor, canvas.size

    def share(where: np.ndarray) -> np.ndarray:
        return where.reshape(size, f, size, f).mean((1, 3), dtype=np.float32)

    whose = numbers & 127
    out = {}
    background = share(whose == 0)
    for number, item in enumerate(scene.objects, start=1):
        out[item.name] = background if item.is_background else share(whose == number)
        if "face" in item.parts:
            out[f"{item.name}:face"] = share(numbers == number + FLAG)
    out["background"] = background
    out["clutter"] = share(whose == _CLUTTER)
    return out


def masks(scene: Scene, size: int = 96) -> dict[str, np.ndarray]:
    """Return the pixels that mostly show each object, name -> bool (size, size); keys as in :func:`coverage`."""
    return {name: share > 0.5 for name, share in coverage(scene, size).items()}
