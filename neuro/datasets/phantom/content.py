"""How much of what a scene shows: graded content, which voxels can be tuned to."""

from __future__ import annotations

import math

import numpy as np

from neuro.datasets.phantom.background import LANDSCAPES, PLACENESS
from neuro.datasets.phantom.painting import coverage_of, light_of, paint
from neuro.datasets.phantom.scene import Scene

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
    canvas = paint(scene, size)
    areas = {name: float(share.mean()) for name, share in coverage_of(scene, canvas).items()}
    picture = (
        canvas.finish(np.random.default_rng([0x5CE, scene.seed, scene.index, 3]), light_of(scene)).astype(np.float32)
        / 255
    )
    out = dict.fromkeys(("face", "body", "animal", "place", "food", "word", "building", "landscape", "room"), 0.0)
    smile = 0.0
    for item in scene.objects:
        area = areas[item.name]
        if item.is_background:
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
        "main_x": main.x,
        "main_y": main.y,
        "main_size": main.size,
        "real_size": math.log10(_METRES[main.category]),
        "hue_x": hue_x,
        "hue_y": hue_y,
        "brightness": float(luminance.mean()),
        "contrast": float(luminance.std()),
        "warmth": float(mean[0] - mean[2]),
        "smile": smile,
    }
    return out


def _hue(picture: np.ndarray) -> tuple[float, float]:
    """Mean chroma as a vector in the hue circle."""
    r, g, b = (picture[..., c] for c in range(3))
    return float((r - 0.5 * (g + b)).mean()), float((math.sqrt(3) / 2 * (g - b)).mean())
