"""Scenes drawn at random: what is where, in front of what, in which light."""

from __future__ import annotations

import math

import numpy as np

from neuro._check import check_positive_int
from neuro.datasets.phantom import animals, buildings, distractors, food, people, signs
from neuro.datasets.phantom.background import LANDSCAPES, PLACENESS, ROOMS, Background, sample_background
from neuro.datasets.phantom.clutter import sample_clutter
from neuro.datasets.phantom.palette import pick
from neuro.datasets.phantom.scene import CATEGORIES, Scene, SceneObject

# what a main object of a category is put before; repeated entries are likelier
_BEHIND: dict[str, tuple[str, ...]] = {
    "face": (
        "texture",
        "texture",
        "wall",
        "wall",
        "park",
        "city",
        "street",
        "beach",
        "living room",
        "office",
        "sky",
        "kitchen",
    ),
    "body": (
        "park",
        "street",
        "beach",
        "field",
        "snow",
        "wall",
        "sky",
        "mountain",
        "texture",
        "living room",
        "lake",
        "city",
    ),
    "animal": ("field", "field", "park", "forest", "snow", "desert", "mountain", "sky", "texture", "beach"),
    "place": ("sky", "park", "field", "mountain", "lake", "snow", "desert", "beach"),
    "food": ("table", "table", "table", "table", "texture", "kitchen"),
    "word": ("wall", "wall", "street", "city", "park", "sky", "texture", "snow"),
}
_PETS = ("dog", "cat", "rabbit", "bird")


def sample_scene(seed: int, index: int) -> Scene:
    """Draw a scene from ``(seed, index)``.

    Main categories come once in every six successive indices, in random order, so that any run of scenes is balanced.
    """
    seed, index = check_positive_int("seed", seed, 0), check_positive_int("index", index, 0)
    block = np.random.default_rng([0x5CE, seed, index // len(CATEGORIES)])
    category = CATEGORIES[int(block.permutation(len(CATEGORIES))[index % len(CATEGORIES)])]
    rng = np.random.default_rng([0x5CE, seed, index, 1])
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
            (
                front
                if extra.y + extra.height / 2 > main.y + main.height / 2
                and extra.size < 0.3
                and not place_is_background
                else behind
            ).append(extra)
    behind.sort(key=lambda o: o.y + o.height / 2)
    front.sort(key=lambda o: o.y + o.height / 2)
    objects = (main, *behind, *front) if place_is_background else (*behind, main, *front)
    kind = category
    if category == "place":
        kind = "landscape" if main.label in LANDSCAPES else "room" if main.label in ROOMS else "building"
    dark = background.sky == "dusk"
    return Scene(
        seed=seed,
        index=index,
        category=category,
        label=main.label,
        kind=kind,
        objects=objects,
        main=main.name,
        background=background,
        brightness=float(rng.uniform(0.82, 1.18) * (0.92 if dark else 1)),
        contrast=float(rng.uniform(0.85, 1.2)),
        warmth=float(np.clip(rng.normal(0, 0.06), -0.15, 0.15)),
        light_angle=float(rng.uniform(0, 2 * math.pi)),
        falloff=float(rng.uniform(0, 0.5)),
        shadow=float(rng.uniform(0.15, 0.55)),
        clutter=sample_clutter(rng, indoor, category),
    )


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
    low, high = {
        "face": (0.36, 0.82),
        "body": (0.5, 0.92),
        "animal": (0.45, 0.82),
        "place": (0.55, 0.95),
        "food": (0.45, 0.9),
        "word": (0.45, 0.9),
    }[category]
    size = float(low + (high - low) * rng.random())
    x, y = rng.uniform(0.22, 0.78), rng.uniform(0.3, 0.7)
    return _make(rng, f"{category}-0", category, kind, float(x), float(y), size)


def _make(
    rng: np.random.Generator,
    name: str,
    category: str,
    kind: str | None,
    x: float,
    y: float,
    size: float,
    indoor: bool = False,
) -> SceneObject:
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
        wide = {
            "standing": 0.34,
            "waving": 0.42,
            "walking": 0.5,
            "running": 0.68,
            "dancing": 0.72,
            "sitting": 0.5,
            "jumping": 0.6,
        }
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
            label, colour, style = food.sample_food(rng)
            ratio = food.food_aspect(label)
        elif category == "word":
            label, colour, style = signs.sample_sign(rng)
            ratio = signs.sign_aspect(label)
        elif category == "place":
            label, colour, style = buildings.sample_building(rng)
            ratio = buildings.building_aspect(label)
        else:
            label, colour, style = distractors.sample_distractor(rng, indoor)
            ratio = distractors.distractor_aspect(label)
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
        kind = (
            pick(rng, ("table", "table", "office"))
            if main.label == "book"
            else pick(rng, ("wall", "wall", "street", "office"))
        )
    base = main.y + main.height / 2
    floating = main.label in ("bird", "poster", "shop sign") or main.category == "face"
    if floating:
        return sample_background(rng, kind)
    if main.category == "food" or main.label == "duck":
        base = main.y - 0.1 * main.size
    low, high = max(0.14, base - 0.42), min(0.68, base - 0.05)
    return sample_background(rng, kind, low + (high - low) * rng.random())


def _sample_extra(
    rng: np.random.Generator, number: int, main: SceneObject, background: Background
) -> SceneObject | None:
    """Place one more object where it does not hide what the picture is about."""
    u = rng.random()
    if background.kind == "water":
        category, kind = ("animal", "fish") if u < 0.8 else ("distractor", None)
    elif background.kind == "table":
        category, kind = ("food", None) if u < 0.55 else ("word", None) if u < 0.65 else ("distractor", None)
    else:
        category, kind = (
            ("distractor", None)
            if u < 0.45
            else ("body", None)
            if u < 0.65
            else ("animal", None)
            if u < 0.82
            else (("word", None) if u < 0.92 or background.indoor else ("place", None))
        )
        if category == "animal":
            kind = (
                pick(rng, _PETS)
                if background.indoor
                else pick(rng, ("dog", "cat", "horse", "cow", "sheep", "bird", "bird", "rabbit"))
            )
    if category == main.category and main.category == "word":
        category = "distractor"
    best = None
    for _ in range(6):
        depth = rng.random()
        size = (0.16 + 0.2 * depth) * (1.15 if category in ("body", "place") else 1.0)
        x = rng.uniform(0.06, 0.94)
        item = _make(rng, f"{category}-{number}", category, kind, float(x), 0.5, float(size), background.indoor)
        if (
            background.kind == "texture"
            or item.label in ("bird", "balloon", "kite", "fish", "clock")
            or (item.style.get("word") and item.label in ("poster", "shop sign"))
        ):
            y = (
                rng.uniform(0.08, 0.9)
                if background.kind in ("texture", "water")
                else rng.uniform(0.08, max(0.1, background.horizon - 0.05))
            )
        else:
            y = background.horizon + (0.04 + 0.9 * depth) * (1 - background.horizon) - 0.5 * item.height
        parts = {k: (a, b + float(y) - 0.5, w, h) for k, (a, b, w, h) in item.parts.items()}
        item = SceneObject(
            **{**{f: getattr(item, f) for f in item.__dataclass_fields__}, "y": float(y), "parts": parts}
        )
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
