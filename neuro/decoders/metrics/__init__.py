"""How good are decoded images, words and embeddings? Named protocols, chance levels, intervals.

No function here returns a bare number: a :class:`MetricResult` says protocol, chance, items, interval and versions, and
:func:`results_table` refuses to put numbers of different protocols side by side.

Images
    :func:`evaluate_images` under one of :data:`PROTOCOLS`; :func:`pixcorr`, :func:`ssim`,
    :func:`two_way_identification`, :func:`n_way`, :func:`correlation_distance`,
    :func:`category_corrected_identification`.
Retrieval
    :func:`retrieval` in both directions, :class:`Gallery`; ceilings: :func:`expected_retrieval`,
    :func:`expected_two_way`.
Words
    :func:`caption_scores`, :func:`caption_identification`, :func:`grounding_scores`.
Features and flow
    :func:`profile_correlation`, :func:`pattern_correlation`, :func:`endpoint_error`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuro.decoders.metrics._categories import (
        category_corrected_identification as category_corrected_identification,
    )
    from neuro.decoders.metrics._categories import expected_from_category as expected_from_category
    from neuro.decoders.metrics._image_protocol import PROTOCOLS as PROTOCOLS
    from neuro.decoders.metrics._image_protocol import ImageProtocol as ImageProtocol
    from neuro.decoders.metrics._n_way import n_way as n_way
    from neuro.decoders.metrics.caption_search import caption_identification as caption_identification
    from neuro.decoders.metrics.caption_search import rdm_correlation as rdm_correlation
    from neuro.decoders.metrics.caption_search import tfidf_vectors as tfidf_vectors
    from neuro.decoders.metrics.captions import CAPTION_METRICS as CAPTION_METRICS
    from neuro.decoders.metrics.captions import caption_scores as caption_scores
    from neuro.decoders.metrics.ceiling import Ceiling as Ceiling
    from neuro.decoders.metrics.ceiling import equivalent_d_prime as equivalent_d_prime
    from neuro.decoders.metrics.ceiling import planted_ceiling as planted_ceiling
    from neuro.decoders.metrics.endpoint import endpoint_error as endpoint_error
    from neuro.decoders.metrics.feature_decoding import feature_identification as feature_identification
    from neuro.decoders.metrics.feature_decoding import pattern_correlation as pattern_correlation
    from neuro.decoders.metrics.feature_decoding import profile_correlation as profile_correlation
    from neuro.decoders.metrics.gallery import Gallery as Gallery
    from neuro.decoders.metrics.gallery import Retrieval as Retrieval
    from neuro.decoders.metrics.gallery import expected_retrieval as expected_retrieval
    from neuro.decoders.metrics.gallery import expected_two_way as expected_two_way
    from neuro.decoders.metrics.gallery import retrieval as retrieval
    from neuro.decoders.metrics.grounding import box_iou as box_iou
    from neuro.decoders.metrics.grounding import grounding_scores as grounding_scores
    from neuro.decoders.metrics.identify import chance_corrected as chance_corrected
    from neuro.decoders.metrics.identify import correlation_distance as correlation_distance
    from neuro.decoders.metrics.identify import two_way_from_similarity as two_way_from_similarity
    from neuro.decoders.metrics.identify import two_way_identification as two_way_identification
    from neuro.decoders.metrics.networks import FeatureReader as FeatureReader
    from neuro.decoders.metrics.networks import load_reader as load_reader
    from neuro.decoders.metrics.pixels import pixcorr as pixcorr
    from neuro.decoders.metrics.pixels import ssim as ssim
    from neuro.decoders.metrics.pixels import structural_similarities as structural_similarities
    from neuro.decoders.metrics.protocols import ImageScores as ImageScores
    from neuro.decoders.metrics.protocols import evaluate_images as evaluate_images
    from neuro.decoders.metrics.result import MetricResult as MetricResult
    from neuro.decoders.metrics.result import mean_result as mean_result
    from neuro.decoders.metrics.result import results_table as results_table
    from neuro.decoders.metrics.tokenise import split_captions as split_captions

_WHERE = {
    "CAPTION_METRICS": "captions",
    "Ceiling": "ceiling",
    "FeatureReader": "networks",
    "Gallery": "gallery",
    "ImageProtocol": "_image_protocol",
    "ImageScores": "protocols",
    "MetricResult": "result",
    "PROTOCOLS": "_image_protocol",
    "Retrieval": "gallery",
    "box_iou": "grounding",
    "caption_identification": "caption_search",
    "caption_scores": "captions",
    "category_corrected_identification": "_categories",
    "chance_corrected": "identify",
    "correlation_distance": "identify",
    "endpoint_error": "endpoint",
    "equivalent_d_prime": "ceiling",
    "evaluate_images": "protocols",
    "expected_from_category": "_categories",
    "expected_retrieval": "gallery",
    "expected_two_way": "gallery",
    "feature_identification": "feature_decoding",
    "grounding_scores": "grounding",
    "load_reader": "networks",
    "mean_result": "result",
    "n_way": "_n_way",
    "pattern_correlation": "feature_decoding",
    "pixcorr": "pixels",
    "planted_ceiling": "ceiling",
    "profile_correlation": "feature_decoding",
    "rdm_correlation": "caption_search",
    "results_table": "result",
    "retrieval": "gallery",
    "split_captions": "tokenise",
    "ssim": "pixels",
    "structural_similarities": "pixels",
    "tfidf_vectors": "caption_search",
    "two_way_from_similarity": "identify",
    "two_way_identification": "identify",
}

__all__ = sorted(_WHERE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name in _WHERE:
        return getattr(importlib.import_module(f"neuro.decoders.metrics.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'neuro.decoders.metrics' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
