"""Features: stimuli as numbers.

Networks
    :class:`Extractor` reads layers of open_clip, timm, torchvision and your own networks; :data:`FAMILIES` names some.
    :class:`TextExtractor` reads the text tower of CLIP models over captions.
Controls
    :class:`GaborPyramid`, :class:`ColorStatistics`, :class:`PixelStatistics`; :func:`open_source` opens either by name.
Movies
    :class:`MotionEnergy`, the trainable :class:`V1MT` with :func:`train_flow`, :class:`LatentDynamics`;
    :func:`optical_flow` and :func:`flow_features`. :func:`direction_tuning`,
    :func:`speed_tuning`, :func:`plaid_tuning` and :func:`opponent_pooling` say what units of motion do.
Results
    :class:`Features` in memory, :class:`FeatureStore` in a folder: ``store[layer]``, ``store.rows(layer, ids)``.
Reductions and choices
    :class:`SparseProjection`, :class:`PCA` and :func:`fit_pca`; :class:`Preprocess`; :func:`compare_precision`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuro.features._motion_stimuli import drifting_grating as drifting_grating
    from neuro.features._motion_stimuli import plaid as plaid
    from neuro.features._motion_tuning import PlaidTuning as PlaidTuning
    from neuro.features._motion_tuning import Tuning as Tuning
    from neuro.features._motion_tuning import direction_tuning as direction_tuning
    from neuro.features._motion_tuning import opponent_pooling as opponent_pooling
    from neuro.features._motion_tuning import plaid_tuning as plaid_tuning
    from neuro.features._motion_tuning import speed_tuning as speed_tuning
    from neuro.features._v1_mt_training import FlowRun as FlowRun
    from neuro.features._v1_mt_training import end_point_error as end_point_error
    from neuro.features._v1_mt_training import train_flow as train_flow
    from neuro.features.extractor import Extractor as Extractor
    from neuro.features.families import FAMILIES as FAMILIES
    from neuro.features.flow import flow_features as flow_features
    from neuro.features.flow import optical_flow as optical_flow
    from neuro.features.gabor import GaborPyramid as GaborPyramid
    from neuro.features.image_statistics import ColorStatistics as ColorStatistics
    from neuro.features.image_statistics import PixelStatistics as PixelStatistics
    from neuro.features.latent_dynamics import LatentDynamics as LatentDynamics
    from neuro.features.latent_dynamics import fit_to_frames as fit_to_frames
    from neuro.features.layers import LayerInfo as LayerInfo
    from neuro.features.layers import Layers as Layers
    from neuro.features.models import load_network as load_network
    from neuro.features.motion_energy import MotionEnergy as MotionEnergy
    from neuro.features.pipeline import BadFeatures as BadFeatures
    from neuro.features.pipeline import FeatureSource as FeatureSource
    from neuro.features.pipeline import Plan as Plan
    from neuro.features.precision import compare_precision as compare_precision
    from neuro.features.precision import has_amx as has_amx
    from neuro.features.preprocess import Preprocess as Preprocess
    from neuro.features.projection import PCA as PCA
    from neuro.features.projection import SparseProjection as SparseProjection
    from neuro.features.projection import fit_pca as fit_pca
    from neuro.features.sources import open_source as open_source
    from neuro.features.store import Features as Features
    from neuro.features.store import FeatureStore as FeatureStore
    from neuro.features.store import LayerRows as LayerRows
    from neuro.features.text import TextExtractor as TextExtractor
    from neuro.features.v1_mt import V1MT as V1MT

_WHERE = {
    "BadFeatures": "pipeline",
    "ColorStatistics": "image_statistics",
    "Extractor": "extractor",
    "FAMILIES": "families",
    "FeatureSource": "pipeline",
    "FeatureStore": "store",
    "Features": "store",
    "FlowRun": "_v1_mt_training",
    "GaborPyramid": "gabor",
    "LatentDynamics": "latent_dynamics",
    "LayerInfo": "layers",
    "LayerRows": "store",
    "Layers": "layers",
    "MotionEnergy": "motion_energy",
    "PCA": "projection",
    "PixelStatistics": "image_statistics",
    "PlaidTuning": "_motion_tuning",
    "Plan": "pipeline",
    "Preprocess": "preprocess",
    "SparseProjection": "projection",
    "TextExtractor": "text",
    "Tuning": "_motion_tuning",
    "V1MT": "v1_mt",
    "compare_precision": "precision",
    "direction_tuning": "_motion_tuning",
    "drifting_grating": "_motion_stimuli",
    "end_point_error": "_v1_mt_training",
    "fit_pca": "projection",
    "fit_to_frames": "latent_dynamics",
    "flow_features": "flow",
    "has_amx": "precision",
    "load_network": "models",
    "open_source": "sources",
    "opponent_pooling": "_motion_tuning",
    "optical_flow": "flow",
    "plaid": "_motion_stimuli",
    "plaid_tuning": "_motion_tuning",
    "speed_tuning": "_motion_tuning",
    "train_flow": "_v1_mt_training",
}

__all__ = sorted(_WHERE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name in _WHERE:
        return getattr(importlib.import_module(f"neuro.features.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'neuro.features' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
