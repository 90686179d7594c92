"""Scenes: what is in a picture, the picture, where each thing shows in it, and what one would say about it.

A scene is a description drawn at random from ``(seed, index)`` alone; everything else is computed from it. So picture
``i`` is the same however many are rendered, at whatever size, and in any process.

>>> scene = sample_scene(seed=0, index=3)
>>> scene.category in CATEGORIES and render(scene, 96).shape == (96, 96, 3)
True
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from neuro._check import check_positive_int
from neuro.datasets.phantom import animals, people, things
from neuro.datasets.phantom.backgrounds import LANDSCAPES, PLACENESS, ROOMS, Background, draw_background, sample_background
from neuro.datasets.phantom.canvas import Canvas, Light, Pen
from neuro.datasets.phantom.captions import describe
from neuro.datasets.phantom.clutter import draw_clutter, sample_clutter
from neuro.datasets.phantom.palette import NAMED, pick
from neuro.datasets.phantom.scene_set import SceneSet, render_scenes

__all__ = [
    "CATEGORIES", "Background", "Scene", "SceneObject", "SceneSet", "content", "coverage", "describe", "masks", "render",
    "render_scenes", "sample_scene",
]  # fmt: skip

CATEGORIES = ("face", "body", "animal", "place", "food", "word")
_CLUTTER = 126  # number under which foreground clutter is drawn
_FLAG = 128


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One thing in a scene.

    Attributes
    ----------
    name : str
        Unique in its scene, such as ``"animal-1"``; the key of its mask.
    category : str
        One of ``CATEGORIES``, or ``"distractor"``. A person seen near is a ``face``, a whole person a ``body``.
    label : str
        ``"woman"``, ``"dog"``, ``"church"``, ``"pizza"``, ``"stop sign"``...
    x, y : float
        Centre as a fraction of the picture, from the left and from the top. Of a face: the centre of the head.
    size : float
        Longest side of the nominal box as a fraction of the picture. Of a face: height of the head.
    width, height : float
        Nominal box as fractions of the picture.
    colour : str
        Colour name (clothes, for people).
    parts : dict
        Part name -> (x, y, width, height) as fractions of the picture; ``face`` for people.
    style : dict
        Whatever else decides its looks: expression, pose, hair, the word on a sign...
    flip : int
        -1 where mirrored.
    seed : int
        Fixes every detail.
    """

    name: str
    category: str
    label: str
    x: float
    y: float
    size: float
    width: float
    height: float
    colour: str
    parts: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)
    style: dict[str, Any] = field(default_factory=dict)
    flip: int = 1
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture's description.

    Attributes
    ----------
    seed, index : int
        Where it was drawn from.
    category : str
        Main category, one of ``CATEGORIES``.
    label, kind : str
        Label of the main object; for places ``kind`` is ``building``, ``landscape`` or ``room``, otherwise the category.
    objects : tuple of SceneObject
        Back to front. In landscapes and rooms the main object is the background itself.
    main : str
        Name of the main object.
    background : Background
    brightness, contrast, warmth, light_angle, falloff, shadow : float
        Light: gain, contrast gain, red over blue, direction (radians) and strength of its fall across the picture, darkness of cast shadows.
    clutter : str
        What stands in the foreground: ``""``, ``leaves``, ``grass``, ``fence`` or ``blobs``.
    """

    seed: int
    index: int
    category: str
    label: str
    kind: str
    objects: tuple[SceneObject, ...]
    main: str
    background: Background
    brightness: float
    contrast: float
    warmth: float
    light_angle: float
    falloff: float
    shadow: float
    clutter: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the description as plain, JSON-able numbers, strings, lists and dicts."""
        return asdict(self)

    def __getitem__(self, name: str) -> SceneObject:
        """Return the object of that name."""
        for item in self.objects:
            if item.name == name:
                return item
        raise KeyError(f"no object {name!r} in this scene; it has {[o.name for o in self.objects]}.")


# what a main object of a category is put before; repeated entries are likelier
_BEHIND: dict[str, tuple[str, ...]] = {
    "face": ("texture", "texture", "wall", "wall", "park", "city", "street", "beach", "living room", "office", "sky", "kitchen"),
    "body": ("park", "street", "beach", "field", "snow", "wall", "sky", "mountain", "texture", "living room", "lake", "city"),
    "animal": ("field", "field", "park", "forest", "snow", "desert", "mountain", "sky", "texture", "beach"),
    "place": ("sky", "park", "field", "mountain", "lake", "snow", "desert", "beach"),
    "food": ("table", "table", "table", "table", "texture", "kitchen"),
    "word": ("wall", "wall", "street", "city", "park", "sky", "texture", "snow"),
}  # fmt: skip
_PETS = ("dog", "cat", "rabbit", "bird")


def sample_scene(seed: int, index: int) -> Scene:
    """Draw a scene from ``(seed, index)``.

    Main categories come once in every six successive indices, in random order, so that any run of scenes is balanced.
    """
    block = np.random.default_rng([0x5CE, int(seed), int(index) // len(CATEGORIES)])
    category = CATEGORIES[int(block.permutation(len(CATEGORIES))[int(index) % len(CATEGORIES)])]
    rng = np.random.default_rng([0x5CE, int(seed), int(index), 1])
    main = _sample_main(rng, category)
    place_is_background = main.category == "place" and main.label in PLACENESS
    background = _sample_behind(rng, main)
    indoor = background.indoor
    behind: list[SceneObject] = []
    front: list[SceneObject] = []
    crowd = rng.random()
    count = 0 if crowd < 0.35 else 1 if crowd < 0.75 else 2 if crowd < 0.93 else 3
    if place_is_background:
        count = min(count, 1 + (crowd > 0.9))
    for k in range(count):
        extra = _sample_extra(rng, k + 1, main, background)
        if extra is not None:
            (front if extra.y + extra.height / 2 > main.y + main.height / 2 and extra.size < 0.3 and not place_is_background
             else behind).append(extra)
    behind.sort(key=lambda o: o.y + o.height / 2)
    front.sort(key=lambda o: o.y + o.height / 2)
    objects = (main, *behind, *front) if place_is_background else (*behind, main, *front)
    kind = category
    if category == "place":
        kind = "landscape" if main.label in LANDSCAPES else "room" if main.label in ROOMS else "building"
    dark = background.sky == "dusk"
    return Scene(
        seed=int(seed), index=int(index), category=category, label=main.label, kind=kind, objects=objects, main=main.name,
        background=background, brightness=float(rng.uniform(0.82, 1.18) * (0.92 if dark else 1)), contrast=float(rng.uniform(0.85, 1.2)),
        warmth=float(np.clip(rng.normal(0, 0.06), -0.15, 0.15)), light_angle=float(rng.uniform(0, 2 * math.pi)),
        falloff=float(rng.uniform(0, 0.5)), shadow=float(rng.uniform(0.15, 0.55)), clutter=sample_clutter(rng, indoor, category),
    )  # fmt: skip


def _sample_main(rng: np.random.Generator, category: str) -> SceneObject:
    kind = None
    if category == "place":
        u = rng.random()
        if u < 0.36:
            label = pick(rng, LANDSCAPES)
        elif u < 0.66:
            label = pick(rng, ROOMS)
        elif u < 0.76:
            label = pick(rng, ("street", "city"))
        else:
            label = ""
        if label:
            return SceneObject("place-0", "place", label, 0.5, 0.5, 1.0, 1.0, 1.0, "", seed=int(rng.integers(2**31)))
    low, high = {"face": (0.36, 0.82), "body": (0.5, 0.92), "animal": (0.45, 0.82), "place": (0.55, 0.95), "food": (0.45, 0.9), "word": (0.45, 0.9)}[category]
    size = float(low + (high - low) * rng.random())
    x, y = rng.uniform(0.22, 0.78), rng.uniform(0.3, 0.7)
    return _make(rng, f"{category}-0", category, kind, float(x), float(y), size)


def _make(rng: np.random.Generator, name: str, category: str, kind: str | None, x: float, y: float, size: float, indoor: bool = False) -> SceneObject:
    """Fill in an object of a category at a place."""
    seed = int(rng.integers(2**31))
    flip = 1 if rng.random() < 0.5 else -1
    parts: dict[str, tuple[float, float, float, float]] = {}
    if category == "face":
        label, colour, style = people.sample_person(rng, near=True)
        width, height = 0.84 * size, size
        parts["face"] = (x, y, 0.84 * size, 1.03 * size)
    elif category == "body":
        label, colour, style = people.sample_person(rng, near=False)
        wide = {"standing": 0.34, "waving": 0.42, "walking": 0.5, "running": 0.68, "dancing": 0.72, "sitting": 0.5, "jumping": 0.6}
        width, height = wide[style["pose"]] * size, size
        if not style["back"]:
            pose = people.body_pose(style, np.random.default_rng(seed))
            (fx, fy), head = pose["face"], pose["head"] * size
            parts["face"] = (x + flip * fx * size, y + fy * size, 0.84 * head, 1.03 * head)
    else:
        if category == "animal":
            label, colour, style = animals.sample_animal(rng, kind)
            ratio = animals.aspect(label, style)
        elif category == "food":
            label, colour, style = things.sample_food(rng)
            ratio = things.food_aspect(label)
        elif category == "word":
            label, colour, style = things.sample_sign(rng)
            ratio = things.sign_aspect(label)
        elif category == "place":
            label, colour, style = things.sample_building(rng)
            ratio = things.building_aspect(label)
        else:
            label, colour, style = things.sample_distractor(rng, indoor)
            ratio = things.distractor_aspect(label)
        width, height = size * min(1.0, ratio), size / max(1.0, ratio)
        if category == "word":
            flip = 1
    return SceneObject(name, category, label, x, y, size, width, height, colour, parts, style, flip, seed)


def _sample_behind(rng: np.random.Generator, main: SceneObject) -> Background:
    if main.category == "place" and main.label in PLACENESS:
        return sample_background(rng, main.label)
    kind = pick(rng, _BEHIND[main.category])
    if main.category == "animal":
        if main.label == "fish":
            kind = "water" if rng.random() < 0.9 else "texture"
        elif main.label == "duck" and main.style["doing"] == "swimming":
            kind = "lake"
        elif main.label in _PETS and rng.random() < 0.3:
            kind = pick(rng, ("wall", "living room", "bedroom"))
    if main.category == "word" and main.label in ("book", "chalkboard", "poster") and rng.random() < 0.85:
        kind = pick(rng, ("table", "table", "office")) if main.label == "book" else pick(rng, ("wall", "wall", "street", "office"))
    base = main.y + main.height / 2
    floating = main.label in ("bird", "poster", "shop sign") or main.category == "face"
    if floating:
        return sample_background(rng, kind)
    if main.category == "food" or main.label == "duck":
        base = main.y - 0.1 * main.size
    low, high = max(0.14, base - 0.42), min(0.68, base - 0.05)
    return sample_background(rng, kind, low + (high - low) * rng.random())


def _sample_extra(rng: np.random.Generator, number: int, main: SceneObject, background: Background) -> SceneObject | None:
    """Place one more object where it does not hide what the picture is about."""
    u = rng.random()
    if background.kind == "water":
        category, kind = ("animal", "fish") if u < 0.8 else ("distractor", None)
    elif background.kind == "table":
        category, kind = ("food", None) if u < 0.55 else ("word", None) if u < 0.65 else ("distractor", None)
    else:
        category, kind = ("distractor", None) if u < 0.45 else ("body", None) if u < 0.65 else ("animal", None) if u < 0.82 else (
            ("word", None) if u < 0.92 or background.indoor else ("place", None))
        if category == "animal":
            kind = pick(rng, _PETS) if background.indoor else pick(rng, ("dog", "cat", "horse", "cow", "sheep", "bird", "bird", "rabbit"))
    if category == main.category and main.category == "word":
        category = "distractor"
    best = None
    for _ in range(6):
        depth = rng.random()
        size = (0.16 + 0.2 * depth) * (1.15 if category in ("body", "place") else 1.0)
        x = rng.uniform(0.06, 0.94)
        item = _make(rng, f"{category}-{number}", category, kind, float(x), 0.5, float(size), background.indoor)
        if background.kind == "texture" or item.label in ("bird", "balloon", "kite", "fish", "clock") or item.style.get("word") and item.label in ("poster", "shop sign"):
            y = rng.uniform(0.08, 0.9) if background.kind in ("texture", "water") else rng.uniform(0.08, max(0.1, background.horizon - 0.05))
        else:
            y = background.horizon + (0.04 + 0.9 * depth) * (1 - background.horizon) - 0.5 * item.height
        parts = {k: (a, b + float(y) - 0.5, w, h) for k, (a, b, w, h) in item.parts.items()}
        item = SceneObject(**{**{f: getattr(item, f) for f in item.__dataclass_fields__}, "y": float(y), "parts": parts})
        overlap = _overlap(item, main)
        if best is None or overlap < best[0]:
            best = (overlap, item)
        if overlap < 0.1:
            break
    if best is None or (best[0] > 0.35 and main.label not in PLACENESS):
        return None
    return best[1]


def _overlap(a: SceneObject, b: SceneObject) -> float:
    """Share of a's box that lies inside b's."""
    w = min(a.x + a.width / 2, b.x + b.width / 2) - max(a.x - a.width / 2, b.x - b.width / 2)
    bottom = b.y + b.height / 2 if b.category != "face" else 1.0  # shoulders
    h = min(a.y + a.height / 2, bottom) - max(a.y - a.height / 2, b.y - b.height / 2)
    return max(0.0, w) * max(0.0, h) / (a.width * a.height)


def _paint(scene: Scene, size: int) -> Canvas:
    canvas = Canvas(check_positive_int("size", size, 8))
    canvas.shadow = scene.shadow
    draw_background(canvas, scene.background)
    for number, item in enumerate(scene.objects, start=1):
        if item.name == scene.main and _is_background(item):
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
            things.draw_food(pen, item.label, item.colour, item.style, rng)
        elif item.category == "word":
            things.draw_sign(pen, item.label, item.colour, item.style, rng)
        elif item.category == "place":
            things.draw_building(pen, item.label, item.colour, item.style, rng)
        else:
            things.draw_distractor(pen, item.label, item.colour, item.style, rng)
    if scene.clutter:
        canvas.ink = _CLUTTER
        draw_clutter(canvas, scene.clutter, np.random.default_rng([0x5CE, scene.seed, scene.index, 2]))
    return canvas


def _is_background(item: SceneObject) -> bool:
    return item.category == "place" and item.label in PLACENESS


def _light(scene: Scene) -> Light:
    return Light(scene.brightness, scene.contrast, scene.warmth, scene.light_angle, scene.falloff)


def render(scene: Scene, size: int = 96) -> np.ndarray:
    """Return the picture, uint8 (size, size, 3)."""
    rng = np.random.default_rng([0x5CE, scene.seed, scene.index, 3])
    return _paint(scene, size).finish(rng, _light(scene))


def coverage(scene: Scene, size: int = 96) -> dict[str, np.ndarray]:
    """Return the share of each pixel in which each object shows, in steps of a sub-sample.

    Returns
    -------
    dict of name -> float32 array (size, size), 0-1
        One entry per object; ``"<name>:face"`` for a person's visible face; ``"background"`` and ``"clutter"``.
        Objects, background and clutter add up to 1 everywhere. The main object of a landscape or room is the background.
    """
    return _coverage(scene, _paint(scene, size))


def _coverage(scene: Scene, canvas: Canvas) -> dict[str, np.ndarray]:
    numbers, f, size = canvas.numbers(), canvas.factor, canvas.size

    def share(where: np.ndarray) -> np.ndarray:
        return where.reshape(size, f, size, f).mean((1, 3), dtype=np.float32)

    whose = numbers & 127
    out = {}
    background = share(whose == 0)
    for number, item in enumerate(scene.objects, start=1):
        out[item.name] = background if item.name == scene.main and _is_background(item) else share(whose == number)
        if "face" in item.parts:
            out[f"{item.name}:face"] = share(numbers == number + _FLAG)
    out["background"] = background
    out["clutter"] = share(whose == _CLUTTER)
    return out


def masks(scene: Scene, size: int = 96) -> dict[str, np.ndarray]:
    """Return the pixels that mostly show each object: dict of name -> bool (size, size); keys as in :func:`coverage`."""
    return {name: share > 0.5 for name, share in coverage(scene, size).items()}


# metres, for a rough axis of real-world size
_METRES = {"face": 0.25, "body": 1.6, "animal": 1.0, "food": 0.25, "word": 0.8, "place": 30.0}


def content(scene: Scene, size: int = 48) -> dict[str, float]:
    """Return graded content, each a float: what a voxel could be tuned to.

    Returns
    -------
    dict
        ``face body animal food word``: visible area as a fraction of the picture (a body without its face; faces inside
        bodies count as faces). ``place``: visible scenery times how much of a place it is, plus buildings.
        ``building landscape room``: the same, apart. ``people``, ``animals``, ``objects``: numbers of them.
        ``animacy``: face + body + animal. ``indoor``: 0 or 1. ``open``: share of landscape or sky. ``clutter``: area.
        ``main_x main_y main_size``: main object. ``real_size``: log10 metres of the main object.
        ``hue_x hue_y``: dominant hue as a vector whose length is its saturation. ``brightness contrast warmth``: of
        the pixels (0-1). ``smile``: visible face area times 1 (smiling, laughing), -1 (sad, angry) or 0.
    """
    canvas = _paint(scene, size)
    areas = {name: float(share.mean()) for name, share in _coverage(scene, canvas).items()}
    picture = canvas.finish(np.random.default_rng([0x5CE, scene.seed, scene.index, 3]), _light(scene)).astype(np.float32) / 255
    out = dict.fromkeys(("face", "body", "animal", "place", "food", "word", "building", "landscape", "room"), 0.0)
    smile = 0.0
    for item in scene.objects:
        area = areas[item.name]
        if item.name == scene.main and _is_background(item):
            continue
        if item.category in ("face", "body"):
            face = areas.get(f"{item.name}:face", 0.0)
            out["face"] += face
            out["body"] += area - face
            mood = {"smiling": 1, "laughing": 1, "sad": -1, "angry": -1}
            smile += face * mood.get(item.style["expression"], 0)
        elif item.category == "place":
            out["building"] += area
        elif item.category in out:
            out[item.category] += area
    kind, bare = scene.background.kind, areas["background"]
    group = "room" if scene.background.indoor else "building" if kind in ("street", "city") else "landscape"
    out[group] += PLACENESS[kind] * bare
    out["place"] = out["building"] + out["landscape"] + out["room"]
    main = scene[scene.main]
    mean = picture.mean((0, 1))
    luminance = picture @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    hue_x, hue_y = _hue(picture)
    out |= {
        "people": float(sum(o.category in ("face", "body") for o in scene.objects)),
        "animals": float(sum(o.category == "animal" for o in scene.objects)),
        "objects": float(len(scene.objects)),
        "animacy": out["face"] + out["body"] + out["animal"],
        "indoor": float(scene.background.indoor),
        "open": bare * float(kind in (*LANDSCAPES, "sky", "park") and kind != "forest"),
        "clutter": areas["clutter"],
        "main_x": main.x, "main_y": main.y, "main_size": main.size,
        "real_size": math.log10(_METRES[main.category]),
        "hue_x": hue_x, "hue_y": hue_y,
        "brightness": float(luminance.mean()), "contrast": float(luminance.std()), "warmth": float(mean[0] - mean[2]),
        "smile": smile,
    }  # fmt: skip
    return out


def _hue(picture: np.ndarray) -> tuple[float, float]:
    """Mean chroma as a vector in the hue circle."""
    r, g, b = (picture[..., c] for c in range(3))
    return float((r - 0.5 * (g + b)).mean()), float((math.sqrt(3) / 2 * (g - b)).mean())


def colour_hue(name: str) -> float:
    """Return the hue (0-1) of a colour name."""
    return colorsys.rgb_to_hsv(*(c / 255 for c in NAMED[name]))[0]
