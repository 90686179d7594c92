"""The phantom: scenes, subjects and files with everything planted known.

As an imaging lab has a phantom to test a scanner, this one tests a pipeline.

========================  ============================================================================================
:func:`write_phantom`     the files of the Natural Scenes Dataset, from a simulation
:func:`load_truth`        what was planted in a subject
:func:`planted_betas`     betas before they were rounded into files
:func:`render_scenes`     pictures with captions, objects, masks; :func:`sample_scene`, :func:`render`, :func:`masks`,
                          :func:`describe`, :func:`content` one at a time
:func:`render_clips`      moving pictures with their exact optical flow; :func:`simulate_movie_responses` to them,
                          :func:`write_movie`, :func:`load_movie`
:func:`simulate_sensors`  recordings of M/EEG-like sensors with a planted time course
========================  ============================================================================================

Inside, from pictures to files: ``scenes`` and what it draws with; ``filters`` (what voxels see), ``pictures``;
``mesh``, ``layout``, ``cortex``, ``atlases`` (where they are); ``subjects`` (what they answer), ``simulate`` (noise and
sessions), ``design`` (which picture when), ``maps`` (localisers); ``files``, ``write_subject``, ``write``, ``truth``.
"""

from neuro.datasets.phantom.clips import PhantomClips, render_clips
from neuro.datasets.phantom.movie import MovieResponses, load_movie, simulate_movie_responses, write_movie
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
from neuro.datasets.phantom.sensors import SensorRecordings, simulate_sensors
from neuro.datasets.phantom.simulate import planted_betas
from neuro.datasets.phantom.truth import load_truth
from neuro.datasets.phantom.write import write_phantom

__all__ = [
    "CATEGORIES",
    "MovieResponses",
    "PhantomClips",
    "Scene",
    "SceneSet",
    "SensorRecordings",
    "content",
    "describe",
    "load_movie",
    "load_truth",
    "masks",
    "planted_betas",
    "render",
    "render_clips",
    "render_scenes",
    "sample_scene",
    "simulate_movie_responses",
    "simulate_sensors",
    "write_movie",
    "write_phantom",
]
