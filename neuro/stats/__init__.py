"""Scores per voxel, how good they could be, and how sure they are.

- Scores: :func:`pearson_r`, :func:`r2`, :func:`explained_variance`, all in ``METRICS``; :class:`Score`
- Reliability: :func:`ncsnr_from_repeats`, :func:`noise_ceiling`, :func:`split_half`, :func:`repeat_correlation`,
  :func:`spearman_brown`
- Chance: :func:`permutation_test`, :func:`sign_flip_test`
- Many tests: :func:`fdr`, :func:`holm`
- Uncertainty: :func:`bootstrap_scores`, :func:`bootstrap_weights`, :func:`bootstrap_subjects`
- Two models: :func:`compare_models`
- Many encoders: :func:`compare_encoders`
- Depth: :func:`layer_preference`, :func:`resampled_layers`, :func:`hierarchy_index`
- Shared dimensions: :func:`weight_pca`, :func:`align_components`, :func:`marchenko_pastur_edges`
- Partition: :func:`variance_partition`, :func:`structured_partition`
- Data efficiency: :func:`efficiency_curve`, :func:`images_needed`, :func:`data_efficiency`
- Generalisation: :func:`generalisation_matrix`, :class:`EncodingData`
- Regions: :func:`roi_summary`
- Sites, stimuli: :func:`site_test`, :func:`sample_scores`, :func:`agreeing_sites`, :func:`two_versus_two`,
  :func:`pearson_per_stimulus`
"""

from neuro.data.reliability import (
    ncsnr_from_repeats,
    noise_ceiling,
    repeat_correlation,
    spearman_brown,
    split_half,
)
from neuro.stats._encoder_comparison import EncoderComparison
from neuro.stats._generalise import EncodingData
from neuro.stats.bootstrap import Bootstrap, bootstrap_scores, bootstrap_subjects, bootstrap_weights, resampled_scores
from neuro.stats.compare import Comparison, compare_models, sign_flip_test
from neuro.stats.compare_many import compare_encoders
from neuro.stats.component_alignment import ComponentAlignment, align_components
from neuro.stats.efficiency import EfficiencyCurve, efficiency_curve
from neuro.stats.efficiency_ratio import DataEfficiency, ImagesNeeded, data_efficiency, images_needed
from neuro.stats.generalise import GeneralisationMatrix, generalisation_matrix
from neuro.stats.hierarchy import HierarchyIndex, hierarchy_index
from neuro.stats.layers import LayerPreference, layer_preference, resampled_layers
from neuro.stats.marchenko_pastur import (
    largest_noise_eigenvalue,
    marchenko_pastur_density,
    marchenko_pastur_edges,
    marchenko_pastur_quantile,
)
from neuro.stats.metrics import METRICS, explained_variance, pearson_r, r2
from neuro.stats.multiple import fdr, holm
from neuro.stats.ordered_partition import StructuredPartition, structured_partition
from neuro.stats.pairs import pearson_per_stimulus, two_versus_two
from neuro.stats.partition import VariancePartition, variance_partition
from neuro.stats.permutation import PermutationTest, permutation_test
from neuro.stats.roi import roi_summary
from neuro.stats.score import KINDS, Score, normalise
from neuro.stats.sites import SampledScores, SiteTest, agreeing_sites, sample_scores, site_test
from neuro.stats.weight_components import WeightPCA, weight_pca

__all__ = [
    "KINDS",
    "METRICS",
    "Bootstrap",
    "Comparison",
    "ComponentAlignment",
    "DataEfficiency",
    "EfficiencyCurve",
    "EncoderComparison",
    "EncodingData",
    "GeneralisationMatrix",
    "HierarchyIndex",
    "ImagesNeeded",
    "LayerPreference",
    "PermutationTest",
    "SampledScores",
    "Score",
    "SiteTest",
    "StructuredPartition",
    "VariancePartition",
    "WeightPCA",
    "agreeing_sites",
    "align_components",
    "bootstrap_scores",
    "bootstrap_subjects",
    "bootstrap_weights",
    "compare_encoders",
    "compare_models",
    "data_efficiency",
    "efficiency_curve",
    "explained_variance",
    "fdr",
    "generalisation_matrix",
    "hierarchy_index",
    "holm",
    "images_needed",
    "largest_noise_eigenvalue",
    "layer_preference",
    "marchenko_pastur_density",
    "marchenko_pastur_edges",
    "marchenko_pastur_quantile",
    "ncsnr_from_repeats",
    "noise_ceiling",
    "normalise",
    "pearson_per_stimulus",
    "pearson_r",
    "permutation_test",
    "r2",
    "repeat_correlation",
    "resampled_layers",
    "resampled_scores",
    "roi_summary",
    "sample_scores",
    "sign_flip_test",
    "site_test",
    "spearman_brown",
    "split_half",
    "structured_partition",
    "two_versus_two",
    "variance_partition",
    "weight_pca",
]
