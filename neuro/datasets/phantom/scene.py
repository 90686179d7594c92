"""A scene and the things in it, as descriptions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from neuro.datasets.phantom.background import PLACENESS, Background

CATEGORIES = ("face", "body", "animal", "place", "food", "word")


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

    @property
    def is_background(self) -> bool:
        """Whether it is the picture's own background: the main object of a landscape, a room, a street."""
        return self.category == "place" and self.label in PLACENESS


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
        Label of the main object; ``kind`` is ``building``, ``landscape`` or ``room`` for places, else the category.
    objects : tuple of SceneObject
        Back to front. In landscapes and rooms the main object is the background itself.
    main : str
        Name of the main object.
    background : Background
    brightness, contrast, warmth, light_angle, falloff, shadow : float
        Light: gain, contrast gain, red over blue, direction (radians) and strength of its fall across the picture,
        darkness of cast shadows.
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
