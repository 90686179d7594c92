"""Features: stimuli as numbers.

Networks
    :class:`Extractor` reads layers of open_clip, timm, torchvision and your own networks; :data:`FAMILIES` names some.
    :class:`TextExtractor` reads the text tower of CLIP models over captions.
Controls
    :class:`GaborPyramid`, :class:`ColorStatistics`, :class:`PixelStatistics`; :func:`open_source` opens either by name.
Results
    :class:`Features` in memory, :class:`FeatureStore` in a folder: ``store[layer]``, ``store.rows(layer, ids)``.
Reductions and choices
    :class:`SparseProjection`, :class:`PCA` and :func:`fit_pca`; :class:`Preprocess`; :func:`compare_precision`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuro.features.extractor import Extractor as Extractor
    from neuro.features.families import FAMILIES as FAMILIES
    from neuro.features.gabor import GaborPyramid as GaborPyramid
    from neuro.features.image_statistics import ColorStatistics as ColorStatistics
    from neuro.features.image_statistics import PixelStatistics as PixelStatistics
    from neuro.features.layers import LayerInfo as LayerInfo
    from neuro.features.layers import Layers as Layers
    from neuro.features.models import load_network as load_network
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

_WHERE = {
    "BadFeatures": "pipeline",
    "ColorStatistics": "image_statistics",
    "Extractor": "extractor",
    "FAMILIES": "families",
    "FeatureSource": "pipeline",
    "FeatureStore": "store",
    "Features": "store",
    "GaborPyramid": "gabor",
    "LayerInfo": "layers",
    "LayerRows": "store",
    "Layers": "layers",
    "PCA": "projection",
    "PixelStatistics": "image_statistics",
    "Plan": "pipeline",
    "Preprocess": "preprocess",
    "SparseProjection": "projection",
    "TextExtractor": "text",
    "compare_precision": "precision",
    "fit_pca": "projection",
    "has_amx": "precision",
    "load_network": "models",
    "open_source": "sources",
}

__all__ = sorted(_WHERE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name in _WHERE:
        return getattr(importlib.import_module(f"neuro.features.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'neuro.features' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
