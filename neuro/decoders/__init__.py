"""Brain to features, images, words and retrieval.

Parts
    One adapter per subject (:class:`SubjectAdapters`, :class:`LinearNorm`, :class:`PooledBottleneck`...), trunks
    (:class:`ResMLP`, :class:`Mixer`, :class:`TokenSelfAttention`, :class:`Perceiver`), heads, losses
    (:func:`soft_clip`, :func:`bimixco`...), :class:`DiffusionPrior`.
Decoders
    :class:`RidgeDecoder` in closed form for any number of targets; :class:`VoxelSelectionDecoder`;
    :class:`NeuralDecoder` trains any recipe, for one subject or many, and lets new ones in. All give :class:`Decoded`.
Systems of the literature
    ``neuro.decoders.recipes``: :data:`RECIPES` (networks) and :data:`LINEAR_SYSTEMS` (closed form), presets "nsd" and
    "phantom".
From decoded features
    ``neuro.decoders.generators`` make images, :func:`load_captioner` sentences, :func:`select_best` chooses among
    candidates by what an encoder says of them.
Time
    :func:`decode_windows`, :class:`WindowedDecoder`; sensors (MEG, EEG): :class:`SpatialAttention`,
    :class:`AugmentedCovariance`; scans: :class:`ParcelGPT`; movies: :class:`FlowDecoder`; :class:`DemoVAE`.
How good?
    ``neuro.decoders.metrics``: named protocols (:data:`PROTOCOLS`); :func:`output_dimension_collapse`,
    :func:`train_test_overlap`, :func:`leak_test`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuro.decoders._control import ControlledUNet as ControlledUNet
    from neuro.decoders._control import control_copy as control_copy
    from neuro.decoders._flat_map import FlatMap as FlatMap
    from neuro.decoders._flow_grid import pool_flow as pool_flow
    from neuro.decoders._flow_grid import upsample_flow as upsample_flow
    from neuro.decoders._subject_adapters import SubjectAdapters as SubjectAdapters
    from neuro.decoders._subject_adapters import add_subject as add_subject
    from neuro.decoders._subject_adapters import subject_parameters as subject_parameters
    from neuro.decoders._voxel_pool import VoxelPool as VoxelPool
    from neuro.decoders.adapters import LinearAdapter as LinearAdapter
    from neuro.decoders.adapters import LinearNorm as LinearNorm
    from neuro.decoders.adapters import LinearResidual as LinearResidual
    from neuro.decoders.adapters import PerTimeLinear as PerTimeLinear
    from neuro.decoders.adapters import PooledBottleneck as PooledBottleneck
    from neuro.decoders.adapters import TimeAggregation as TimeAggregation
    from neuro.decoders.adapters import VoxelTokenizer as VoxelTokenizer
    from neuro.decoders.aggregation import aggregate_subjects as aggregate_subjects
    from neuro.decoders.aggregation import average_embeddings as average_embeddings
    from neuro.decoders.aggregation import average_outputs as average_outputs
    from neuro.decoders.animation import animate as animate
    from neuro.decoders.animation import reverse_flow as reverse_flow
    from neuro.decoders.animation import warp_frame as warp_frame
    from neuro.decoders.captioner import BlipCaptioner as BlipCaptioner
    from neuro.decoders.captioner import Captioner as Captioner
    from neuro.decoders.captioner import GitCaptioner as GitCaptioner
    from neuro.decoders.captioner import PrefixCaptioner as PrefixCaptioner
    from neuro.decoders.captioner import load_captioner as load_captioner
    from neuro.decoders.decoded import Decoded as Decoded
    from neuro.decoders.demovae import DemoVAE as DemoVAE
    from neuro.decoders.diagnostics import leak_test as leak_test
    from neuro.decoders.diagnostics import leave_category_out as leave_category_out
    from neuro.decoders.diagnostics import output_dimension_collapse as output_dimension_collapse
    from neuro.decoders.diagnostics import require_no_duplicates as require_no_duplicates
    from neuro.decoders.diagnostics import train_test_overlap as train_test_overlap
    from neuro.decoders.eeg import AugmentedCovariance as AugmentedCovariance
    from neuro.decoders.eeg import TangentSpace as TangentSpace
    from neuro.decoders.eeg import airm_distance as airm_distance
    from neuro.decoders.eeg import covariance_pipeline as covariance_pipeline
    from neuro.decoders.eeg import covariances as covariances
    from neuro.decoders.eeg import delay_embed as delay_embed
    from neuro.decoders.eeg import nested_cross_validation as nested_cross_validation
    from neuro.decoders.eeg import riemannian_mean as riemannian_mean
    from neuro.decoders.eeg import tangent_vectors as tangent_vectors
    from neuro.decoders.flow_decoding import FlowDecoder as FlowDecoder
    from neuro.decoders.generators import Generator as Generator
    from neuro.decoders.generators import load_generator as load_generator
    from neuro.decoders.heads import Builder as Builder
    from neuro.decoders.heads import ControlHint as ControlHint
    from neuro.decoders.heads import SemanticTokens as SemanticTokens
    from neuro.decoders.heads import TokenHead as TokenHead
    from neuro.decoders.heads import TokenProjector as TokenProjector
    from neuro.decoders.linear import RidgeDecoder as RidgeDecoder
    from neuro.decoders.linear import RidgePlan as RidgePlan
    from neuro.decoders.linear import plan_ridge as plan_ridge
    from neuro.decoders.losses import cycle as cycle
    from neuro.decoders.losses import info_nce as info_nce
    from neuro.decoders.losses import mse_normalised as mse_normalised
    from neuro.decoders.losses import siglip as siglip
    from neuro.decoders.losses import soft_clip as soft_clip
    from neuro.decoders.losses import soft_cont as soft_cont
    from neuro.decoders.low_level import LatentHead as LatentHead
    from neuro.decoders.low_level import SemanticMerge as SemanticMerge
    from neuro.decoders.low_level import vae_decoder as vae_decoder
    from neuro.decoders.masked_autoencoder import MaskedAutoencoder as MaskedAutoencoder
    from neuro.decoders.meg import DilatedBlock as DilatedBlock
    from neuro.decoders.meg import SpatialAttention as SpatialAttention
    from neuro.decoders.meg import SubjectSensors as SubjectSensors
    from neuro.decoders.meg import candidate_info_nce as candidate_info_nce
    from neuro.decoders.meg import sensor_loss as sensor_loss
    from neuro.decoders.metrics import PROTOCOLS as PROTOCOLS
    from neuro.decoders.mixing import bimixco as bimixco
    from neuro.decoders.mixing import mixco as mixco
    from neuro.decoders.naming import content_naming as content_naming
    from neuro.decoders.naming import named_content as named_content
    from neuro.decoders.naming import scene_content as scene_content
    from neuro.decoders.neural import NeuralDecoder as NeuralDecoder
    from neuro.decoders.prior import DiffusionPrior as DiffusionPrior
    from neuro.decoders.recipes import LINEAR_SYSTEMS as LINEAR_SYSTEMS
    from neuro.decoders.recipes import RECIPES as RECIPES
    from neuro.decoders.recipes.contrastive import contrastive_recipe as contrastive_recipe
    from neuro.decoders.rescaling import TargetStatistics as TargetStatistics
    from neuro.decoders.rescaling import describe_rescaling as describe_rescaling
    from neuro.decoders.rescaling import held_out_predictions as held_out_predictions
    from neuro.decoders.rescaling import rescale_predictions as rescale_predictions
    from neuro.decoders.schedules import cosine_temperature as cosine_temperature
    from neuro.decoders.selection import Selection as Selection
    from neuro.decoders.selection import expected_best as expected_best
    from neuro.decoders.selection import select_best as select_best
    from neuro.decoders.sequence_pretraining import SequenceModel as SequenceModel
    from neuro.decoders.sequence_pretraining import pretrain_sequences as pretrain_sequences
    from neuro.decoders.targets import image_targets as image_targets
    from neuro.decoders.training import TrainingResult as TrainingResult
    from neuro.decoders.training import TrainingSettings as TrainingSettings
    from neuro.decoders.training import train as train
    from neuro.decoders.trunks import Mixer as Mixer
    from neuro.decoders.trunks import Perceiver as Perceiver
    from neuro.decoders.trunks import ResMLP as ResMLP
    from neuro.decoders.trunks import TokenSelfAttention as TokenSelfAttention
    from neuro.decoders.voxel_selection import VoxelSelectionDecoder as VoxelSelectionDecoder
    from neuro.decoders.voxel_selection import select_voxels as select_voxels
    from neuro.decoders.voxel_selection import solve_selected as solve_selected
    from neuro.decoders.wave import ParcelGPT as ParcelGPT
    from neuro.decoders.wave import WholeBrainContrast as WholeBrainContrast
    from neuro.decoders.windows import Generalisation as Generalisation
    from neuro.decoders.windows import TimeCourse as TimeCourse
    from neuro.decoders.windows import WindowedDecoder as WindowedDecoder
    from neuro.decoders.windows import baseline_correct as baseline_correct
    from neuro.decoders.windows import decode_windows as decode_windows
    from neuro.decoders.windows import generalise_over_time as generalise_over_time
    from neuro.decoders.windows import growing_windows as growing_windows
    from neuro.decoders.windows import sliding_windows as sliding_windows
    from neuro.decoders.windows import window_features as window_features

_WHERE = {
    "AugmentedCovariance": "eeg",
    "BlipCaptioner": "captioner",
    "Builder": "heads",
    "Captioner": "captioner",
    "ControlHint": "heads",
    "ControlledUNet": "_control",
    "Decoded": "decoded",
    "DemoVAE": "demovae",
    "DiffusionPrior": "prior",
    "DilatedBlock": "meg",
    "FlatMap": "_flat_map",
    "FlowDecoder": "flow_decoding",
    "Generalisation": "windows",
    "Generator": "generators",
    "GitCaptioner": "captioner",
    "LINEAR_SYSTEMS": "recipes",
    "LatentHead": "low_level",
    "LinearAdapter": "adapters",
    "LinearNorm": "adapters",
    "LinearResidual": "adapters",
    "MaskedAutoencoder": "masked_autoencoder",
    "Mixer": "trunks",
    "NeuralDecoder": "neural",
    "PROTOCOLS": "metrics",
    "ParcelGPT": "wave",
    "PerTimeLinear": "adapters",
    "Perceiver": "trunks",
    "PooledBottleneck": "adapters",
    "PrefixCaptioner": "captioner",
    "RECIPES": "recipes",
    "ResMLP": "trunks",
    "RidgeDecoder": "linear",
    "RidgePlan": "linear",
    "Selection": "selection",
    "SemanticMerge": "low_level",
    "SemanticTokens": "heads",
    "SequenceModel": "sequence_pretraining",
    "SpatialAttention": "meg",
    "SubjectAdapters": "_subject_adapters",
    "SubjectSensors": "meg",
    "TangentSpace": "eeg",
    "TargetStatistics": "rescaling",
    "TimeAggregation": "adapters",
    "TimeCourse": "windows",
    "TokenHead": "heads",
    "TokenProjector": "heads",
    "TokenSelfAttention": "trunks",
    "TrainingResult": "training",
    "TrainingSettings": "training",
    "VoxelPool": "_voxel_pool",
    "VoxelSelectionDecoder": "voxel_selection",
    "VoxelTokenizer": "adapters",
    "WholeBrainContrast": "wave",
    "WindowedDecoder": "windows",
    "add_subject": "_subject_adapters",
    "aggregate_subjects": "aggregation",
    "airm_distance": "eeg",
    "animate": "animation",
    "average_embeddings": "aggregation",
    "average_outputs": "aggregation",
    "baseline_correct": "windows",
    "bimixco": "mixing",
    "candidate_info_nce": "meg",
    "content_naming": "naming",
    "contrastive_recipe": "recipes.contrastive",
    "control_copy": "_control",
    "cosine_temperature": "schedules",
    "covariance_pipeline": "eeg",
    "covariances": "eeg",
    "cycle": "losses",
    "decode_windows": "windows",
    "delay_embed": "eeg",
    "describe_rescaling": "rescaling",
    "expected_best": "selection",
    "generalise_over_time": "windows",
    "growing_windows": "windows",
    "held_out_predictions": "rescaling",
    "image_targets": "targets",
    "info_nce": "losses",
    "leak_test": "diagnostics",
    "leave_category_out": "diagnostics",
    "load_captioner": "captioner",
    "load_generator": "generators",
    "mixco": "mixing",
    "mse_normalised": "losses",
    "named_content": "naming",
    "nested_cross_validation": "eeg",
    "output_dimension_collapse": "diagnostics",
    "plan_ridge": "linear",
    "pool_flow": "_flow_grid",
    "pretrain_sequences": "sequence_pretraining",
    "require_no_duplicates": "diagnostics",
    "rescale_predictions": "rescaling",
    "reverse_flow": "animation",
    "riemannian_mean": "eeg",
    "scene_content": "naming",
    "select_best": "selection",
    "select_voxels": "voxel_selection",
    "sensor_loss": "meg",
    "siglip": "losses",
    "sliding_windows": "windows",
    "soft_clip": "losses",
    "soft_cont": "losses",
    "solve_selected": "voxel_selection",
    "subject_parameters": "_subject_adapters",
    "tangent_vectors": "eeg",
    "train": "training",
    "train_test_overlap": "diagnostics",
    "upsample_flow": "_flow_grid",
    "vae_decoder": "low_level",
    "warp_frame": "animation",
    "window_features": "windows",
}
_MODULES = ("generators", "metrics", "recipes")

__all__ = sorted(_WHERE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name in _WHERE:
        return getattr(importlib.import_module(f"neuro.decoders.{_WHERE[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"neuro.decoders.{name}")
    raise AttributeError(f"module 'neuro.decoders' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
