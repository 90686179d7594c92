"""Scenes: what is in a picture, the picture, where each thing shows in it, and what one would say about it.

A scene is a description drawn at random from ``(seed, index)`` alone; everything else is computed from it. So picture
``i`` is the same however many are rendered, at whatever size, and in any process.

>>> scene = sample_scene(seed=0, index=3)
>>> scene.category in CATEGORIES and render(scene, 96).shape == (96, 96, 3)
True
"""

from __future__ import annotations

from neuro.datasets.phantom.background import PLACENESS, Background
from neuro.datasets.phantom.captions import describe
from neuro.datasets.phantom.content import content
from neuro.datasets.phantom.painting import coverage, masks, render
from neuro.datasets.phantom.sampling import sample_scene
from neuro.datasets.phantom.scene import CATEGORIES, Scene, SceneObject
from neuro.datasets.phantom.scene_set import SceneSet, render_scenes

__all__ = [
    "CATEGORIES",
    "PLACENESS",
    "Background",
    "Scene",
    "SceneObject",
    "SceneSet",
    "content",
    "coverage",
    "describe",
    "masks",
    "render",
    "render_scenes",
    "sample_scene",
]
