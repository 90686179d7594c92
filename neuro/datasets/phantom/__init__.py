"""The phantom: scenes, subjects and files with everything planted known.

As an imaging lab has a phantom to test a scanner, this one tests a pipeline. :func:`write_phantom` writes the files of
the Natural Scenes Dataset from a simulation; :func:`load_truth` says what was planted; :func:`render_scenes` and
:func:`sample_scene` make the pictures.
"""

from neuro.datasets.phantom.scenes import (
    CATEGORIES,
    Scene,
    SceneSet,
    content,
    describe,
    masks,
    render,
    render_scenes,
    sample_scene,
)
from neuro.datasets.phantom.truth import load_truth
from neuro.datasets.phantom.write import write_phantom

__all__ = [
    "CATEGORIES",
    "Scene",
    "SceneSet",
    "content",
    "describe",
    "load_truth",
    "masks",
    "render",
    "render_scenes",
    "sample_scene",
    "write_phantom",
]
