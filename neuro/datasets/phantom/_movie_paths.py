"""What moves in a clip of the phantom, and how fast, as descriptions drawn at random."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from neuro.datasets.phantom.captions import describe
from neuro.datasets.phantom.filters import FIELD_OF_VIEW
from neuro.datasets.phantom.sampling import sample_scene
from neuro.datasets.phantom.scene import Scene

#: Kinds of clips in a block of five: nothing moves, the object does, the camera does, both do.
KINDS = ("static", "object", "object", "camera", "both")
#: Degrees per second.
OBJECT_SPEEDS, PAN_SPEEDS = (1.0, 5.0), (0.5, 2.0)
#: Largest rate of growth, per second; and the largest growth over half a clip.
ZOOM, ZOOM_TOTAL = 0.25, 0.2
#: Side of the world that the camera looks at, in pictures.
WORLD = 1.8
# How far, in degrees, an object may travel in half a clip.
_TRAVEL = 0.6 * FIELD_OF_VIEW
# Objects of scenes fill the picture; these leave room to move.
_SHRINK = 0.75


@dataclass(frozen=True)
class Path:
    """One clip's description. Degrees of visual angle, x rightward, y upward; time 0 is the middle of the clip.

    Attributes
    ----------
    scene : Scene
        One object before a background; the object's own position in it is not used.
    kind : str
        One of ``KINDS``.
    x, y : float
        The object's centre in the middle of the clip.
    velocity_x, velocity_y : float
        Of the object, in the world: where the camera moves along, it stands still on the screen.
    pan_x, pan_y : float
        Velocity of the camera: what stands still moves the other way on the screen.
    zoom : float
        Growth of everything on the screen, log units per second.
    """

    scene: Scene
    kind: str
    x: float
    y: float
    velocity_x: float
    velocity_y: float
    pan_x: float
    pan_y: float
    zoom: float

    @property
    def screen_velocity(self) -> tuple[float, float]:
        """Of the object's centre in the middle of the clip, on the screen, degrees per second."""
        return (
            self.velocity_x - self.pan_x + self.zoom * self.x,
            self.velocity_y - self.pan_y + self.zoom * self.y,
        )

    def captions(self) -> list[str]:
        """Return five sentences about what is seen and how it moves."""
        words = []
        if self.velocity_x or self.velocity_y:
            words.append(f"moving {_direction(self.velocity_x, self.velocity_y)}")
        if self.pan_x or self.pan_y:
            words.append(f"the camera pans {_direction(self.pan_x, self.pan_y)}")
        if self.zoom:
            words.append(f"the camera zooms {'in' if self.zoom > 0 else 'out'}")
        told = ", ".join(words) or "nothing moves"
        return [f"{caption}, {told}" for caption in describe(self.scene)]


def sample_path(seed: int, index: int, seconds: float) -> Path:
    """Draw the clip ``index`` of a seed, ``seconds`` long.

    Categories come once in every six successive indices, kinds of motion as in ``KINDS`` in every five, so that the two
    are independent. In clips of more than two seconds things move more slowly, so that they stay in view.
    """
    block = np.random.default_rng([0x3017, seed, index // len(KINDS)])
    kind = KINDS[int(block.permutation(len(KINDS))[index % len(KINDS)])]
    rng = np.random.default_rng([0x3017, seed, index, 1])
    scene = _one_object(seed, index, rng)
    half = seconds / 2
    angle, speed = rng.uniform(0, 2 * math.pi), _log_uniform(rng, OBJECT_SPEEDS)
    speed = min(speed, _TRAVEL / half) if kind in ("object", "both") else 0.0
    pan_angle, pan = rng.uniform(0, 2 * math.pi), _log_uniform(rng, PAN_SPEEDS)
    moves = kind in ("camera", "both")
    zoom = rng.uniform(-ZOOM, ZOOM) if moves and rng.random() < 0.5 else 0.0
    zoom = float(np.clip(zoom, -ZOOM_TOTAL / half, ZOOM_TOTAL / half))
    room = FIELD_OF_VIEW / 2 * (WORLD - math.exp(ZOOM_TOTAL)) - 0.2
    pan = min(pan, room / half) if moves else 0.0
    x, y = rng.uniform(-0.2, 0.2, 2) * FIELD_OF_VIEW
    return Path(
        scene, kind, float(x), float(y), speed * math.cos(angle), speed * math.sin(angle),
        pan * math.cos(pan_angle), pan * math.sin(pan_angle), zoom,
    )  # fmt: skip


def _one_object(seed: int, index: int, rng: np.random.Generator) -> Scene:
    """A scene of the category that is due, reduced to its main object, which is no background."""
    scene = sample_scene(seed, index)
    category = scene.category
    while scene[scene.main].is_background:
        other = int(rng.integers(2**31))
        scene = next(s for s in (sample_scene(other, k) for k in range(6)) if s.category == category)
    main = scene[scene.main]
    small = replace(
        main, size=main.size * _SHRINK, width=main.width * _SHRINK, height=main.height * _SHRINK, x=0.5, y=0.5
    )
    return replace(scene, objects=(small,), shadow=0.0, clutter="")


def _direction(x: float, y: float) -> str:
    """Word for a direction, y upward."""
    return ("right", "up", "left", "down")[round(math.degrees(math.atan2(y, x)) / 90) % 4]


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))
