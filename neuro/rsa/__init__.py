"""How alike are representations? Geometry, topology, and inference about both.

- RDMs: :class:`RDMs`, :func:`rdm`, :func:`load_rdms`, :func:`rdm_movie`, :func:`cross_temporal`, :func:`cross_run`,
  :func:`second_moment`, :func:`framed_rdm`, :func:`iter_blocks`
- Noise: :func:`noise_covariance`, :func:`noise_precision`, :func:`crossnobis_covariance`
- Comparing: :func:`compare` (``METHODS``), :func:`prepare`, :func:`tokens`; of features: :func:`linear_cka`,
  :func:`cka`, :func:`cca`, :func:`procrustes_distance`, :func:`angular_procrustes`, :func:`shape_distance`,
  :func:`mutual_knn`, :func:`distance_correlation`, :func:`rtd`...: ``MEASURES``, :func:`similarity`; too large for
  memory: :func:`compare_features`
- Models: :class:`Fixed`, :class:`Select`, :class:`Weighted`, :class:`Interpolate`, :func:`model_family`
- Inference: :func:`evaluate` -> :class:`Result`, :func:`noise_ceiling`, :func:`permutation_test`,
  :func:`sign_flip_test`, :func:`mantel_moments`, :class:`CrossValidation`
- Variance: :func:`partial_rsa`, :func:`regress_rsa`, :func:`variance_partition`, :func:`feature_reweighted`
- Topology: :func:`geo_topological`, :func:`rank_transform`, :func:`rgdm`, :func:`agtdm`, :func:`persistence`,
  :func:`identify_regions`, :func:`rgtm_grid`, :func:`rgtm_families`, :func:`noise_robustness`
- Maps: :func:`second_order`, :func:`embed`, :func:`layer_by_area`
- Searchlight: :class:`Searchlight`, :func:`surface_neighbours`, :func:`group_max_stat`
- Behaviour: :func:`rdm_from_triplets`, :func:`rdm_from_ratings`, :func:`rdm_from_arrangements`,
  :func:`odd_one_out_accuracy`, :func:`level_report`, :class:`AlignmentProbe`
- Computation: :func:`feature_bias`, :func:`feature_use`, :func:`task_geometry`, :func:`ccgp`,
  :func:`parallelism_score`, :func:`shattering_dimensionality`
- Stimuli: :func:`select_triplets`, :func:`select_stimuli`
"""

from neuro.rsa._blocks import iter_blocks
from neuro.rsa._methods import METHODS
from neuro.rsa._metrics import METRICS
from neuro.rsa.adaptive import AdaptiveDependence, agtdm, threshold_distances
from neuro.rsa.alignment import AlignmentProbe, align_probe, object_folds, split_triplets
from neuro.rsa.behaviour import rdm_from_arrangements, rdm_from_ratings, rdm_from_triplets, triplet_counts
from neuro.rsa.bias_network import train_bias_network
from neuro.rsa.bures import nbs
from neuro.rsa.cca import canonical_correlations, cca, pwcca, svcca
from neuro.rsa.ceiling import Ceiling, noise_ceiling
from neuro.rsa.cka import MinibatchCKA, cka, hsic, kernel_cka, lange_cka, linear_cka, minibatch_cka
from neuro.rsa.compare import compare, prepare, tokens
from neuro.rsa.container import RDMs
from neuro.rsa.crossnobis import crossnobis, crossnobis_covariance
from neuro.rsa.crossvalidate import CrossValidation
from neuro.rsa.distance_correlation import distance_correlation
from neuro.rsa.estimate import rdm
from neuro.rsa.evaluate import evaluate
from neuro.rsa.feature_bias import FeatureBias, bias_scores, equalise, factor_parts, feature_bias, feature_use
from neuro.rsa.geodesic import Geodesics, geodesics, rgdm
from neuro.rsa.group_maps import GroupTest, group_max_stat
from neuro.rsa.identify import Identification, compare_transforms, identify_regions, noise_robustness
from neuro.rsa.large import LargeComparison, compare_features, memory_needed
from neuro.rsa.maps import Embedding, embed, layer_by_area, second_order
from neuro.rsa.measures import MEASURES, pairwise, similarity, to_distance, to_score
from neuro.rsa.models import Fixed, Interpolate, Model, Select, Weighted, model_family
from neuro.rsa.moments import cross_run, framed, framed_rdm, second_moment, second_moment_cv
from neuro.rsa.movie import cross_temporal, rdm_movie
from neuro.rsa.neighbours import cknna, mutual_knn, nearest_neighbours
from neuro.rsa.noise import noise_covariance, noise_precision
from neuro.rsa.odd_one_out import (
    agreement_ceiling,
    choice_entropy,
    choice_probabilities,
    error_consistency,
    level_report,
    odd_one_out,
    odd_one_out_accuracy,
    response_entropy,
    sample_triplets,
    triplet_levels,
)
from neuro.rsa.partial import PartialResult, RegressionResult, partial_rsa, regress_rsa, variance_partition
from neuro.rsa.permutation import MantelMoments, PermutationResult, mantel_moments, permutation_test, sign_flip_test
from neuro.rsa.persistence import Barcodes, bottleneck_distance, persistence, wasserstein_distance
from neuro.rsa.procrustes import ProcrustesAlignment, angular_procrustes, procrustes_distance
from neuro.rsa.read import load_rdms
from neuro.rsa.result import Result
from neuro.rsa.reweighted import ReweightedResult, feature_reweighted
from neuro.rsa.rgtm import RGTMFamilies, RGTMGrid, rgtm_families, rgtm_grid
from neuro.rsa.rtd import rtd, rtd_of_rdms
from neuro.rsa.searchlight import Searchlight, surface_neighbours
from neuro.rsa.select_stimuli import model_separation, select_stimuli, select_triplets
from neuro.rsa.shape import barycentre, shape_distance, shape_kmeans, stochastic_shape_distance, tangent_vectors
from neuro.rsa.task_geometry import (
    balanced_dichotomies,
    ccgp,
    decoding_accuracy,
    kernel_alignment,
    parallelism_score,
    participation_ratio,
    shattering_dimensionality,
    task_geometry,
)
from neuro.rsa.task_network import train_task_network
from neuro.rsa.topology import (
    FAMILIES,
    family_of,
    geo_topological,
    in_family,
    lu_grid,
    rank_transform,
    sample_family,
    sigmoid_transform,
)

__all__ = [
    "FAMILIES",
    "MEASURES",
    "METHODS",
    "METRICS",
    "AdaptiveDependence",
    "AlignmentProbe",
    "Barcodes",
    "Ceiling",
    "CrossValidation",
    "Embedding",
    "FeatureBias",
    "Fixed",
    "Geodesics",
    "GroupTest",
    "Identification",
    "Interpolate",
    "LargeComparison",
    "MantelMoments",
    "MinibatchCKA",
    "Model",
    "PartialResult",
    "PermutationResult",
    "ProcrustesAlignment",
    "RDMs",
    "RGTMFamilies",
    "RGTMGrid",
    "RegressionResult",
    "Result",
    "ReweightedResult",
    "Searchlight",
    "Select",
    "Weighted",
    "agreement_ceiling",
    "agtdm",
    "align_probe",
    "angular_procrustes",
    "balanced_dichotomies",
    "barycentre",
    "bias_scores",
    "bottleneck_distance",
    "canonical_correlations",
    "cca",
    "ccgp",
    "choice_entropy",
    "choice_probabilities",
    "cka",
    "cknna",
    "compare",
    "compare_features",
    "compare_transforms",
    "cross_run",
    "cross_temporal",
    "crossnobis",
    "crossnobis_covariance",
    "decoding_accuracy",
    "distance_correlation",
    "embed",
    "equalise",
    "error_consistency",
    "evaluate",
    "factor_parts",
    "family_of",
    "feature_bias",
    "feature_reweighted",
    "feature_use",
    "framed",
    "framed_rdm",
    "geo_topological",
    "geodesics",
    "group_max_stat",
    "hsic",
    "identify_regions",
    "in_family",
    "iter_blocks",
    "kernel_alignment",
    "kernel_cka",
    "lange_cka",
    "layer_by_area",
    "level_report",
    "linear_cka",
    "load_rdms",
    "lu_grid",
    "mantel_moments",
    "memory_needed",
    "minibatch_cka",
    "model_family",
    "model_separation",
    "mutual_knn",
    "nbs",
    "nearest_neighbours",
    "noise_ceiling",
    "noise_covariance",
    "noise_precision",
    "noise_robustness",
    "object_folds",
    "odd_one_out",
    "odd_one_out_accuracy",
    "pairwise",
    "parallelism_score",
    "partial_rsa",
    "participation_ratio",
    "permutation_test",
    "persistence",
    "prepare",
    "procrustes_distance",
    "pwcca",
    "rank_transform",
    "rdm",
    "rdm_from_arrangements",
    "rdm_from_ratings",
    "rdm_from_triplets",
    "rdm_movie",
    "regress_rsa",
    "response_entropy",
    "rgdm",
    "rgtm_families",
    "rgtm_grid",
    "rtd",
    "rtd_of_rdms",
    "sample_family",
    "sample_triplets",
    "second_moment",
    "second_moment_cv",
    "second_order",
    "select_stimuli",
    "select_triplets",
    "shape_distance",
    "shape_kmeans",
    "shattering_dimensionality",
    "sigmoid_transform",
    "sign_flip_test",
    "similarity",
    "split_triplets",
    "stochastic_shape_distance",
    "surface_neighbours",
    "svcca",
    "tangent_vectors",
    "task_geometry",
    "threshold_distances",
    "to_distance",
    "to_score",
    "tokens",
    "train_bias_network",
    "train_task_network",
    "triplet_counts",
    "triplet_levels",
    "variance_partition",
    "wasserstein_distance",
]
