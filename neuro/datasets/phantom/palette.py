"""Colour names and the colours they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro.datasets.phantom.canvas import Colour, mix, shade

NAMED: dict[str, Colour] = {
    "red": (200, 42, 40),
    "orange": (232, 130, 38),
    "yellow": (238, 205, 60),
    "green": (62, 150, 66),
    "blue": (48, 92, 188),
    "purple": (124, 66, 160),
    "pink": (234, 138, 170),
    "brown": (122, 80, 48),
    "black": (38, 36, 40),
    "grey": (134, 134, 138),
    "white": (238, 236, 230),
}
CLOTHES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "grey", "white")
SKIN: tuple[Colour, ...] = (
    (244, 208, 180),
    (230, 184, 150),
    (206, 154, 112),
    (166, 114, 76),
    (120, 78, 52),
    (86, 56, 40),
)
HAIR: dict[str, Colour] = {
    "black": (34, 28, 28),
    "brown": (88, 56, 34),
    "blond": (216, 176, 96),
    "red": (164, 76, 34),
    "grey": (168, 166, 164),
}


def pick(rng: np.random.Generator, options: Any) -> Any:
    """Return one of ``options`` (a sequence), all equally likely."""
    return options[int(rng.random() * len(options))]


def named(rng: np.random.Generator, name: str, spread: float = 0.12) -> Colour:
    """Return a colour that goes by ``name``, a little different each time."""
    return vary(rng, NAMED[name], spread)


def vary(rng: np.random.Generator, colour: Colour, spread: float = 0.1) -> Colour:
    """Return ``colour`` with its brightness and hue jittered."""
    gain = 1 + spread * (2 * rng.random() - 1)
    jitter = 1 + 0.4 * spread * (2 * rng.random(3) - 1)
    return shade([c * j for c, j in zip(colour, jitter, strict=True)], gain)


def dull(colour: Colour, amount: float) -> Colour:
    """Return ``colour`` moved toward its own grey."""
    grey = sum(colour) / 3
    return mix(colour, (grey, grey, grey), amount)
