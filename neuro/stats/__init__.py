"""Statistics of encoding and decoding, per voxel and by region.

- how good: :func:`pearson_r`, :func:`r2`, :func:`explained_variance`; :data:`METRICS`; :class:`Score`
- how good it could be: :func:`ncsnr_from_repeats`, :func:`noise_ceiling`, :func:`spearman_brown`, :func:`split_half`
- how sure: :func:`permutation_test`, :func:`bootstrap_scores`, :func:`compare_models`, :func:`fdr`
- in a table: :func:`roi_summary`
"""

from neuro.data.reliability import ncsnr_from_repeats, noise_ceiling, spearman_brown, split_half
from neuro.stats.bootstrap import Interval, bootstrap_r, bootstrap_scores, bootstrap_weights, percentile_interval
from neuro.stats.compare import Comparison, compare_models
from neuro.stats.metrics import METRICS, explained_variance, get_metric, pearson_r, r2
from neuro.stats.multiple import fdr
from neuro.stats.permutation import (
    PermutationTest,
    permutation_orders,
    permutation_test,
    permutation_test_rois,
)
from neuro.stats.roi import roi_summary
from neuro.stats.score import Score

__all__ = [
    "METRICS",
    "Comparison",
    "Interval",
    "PermutationTest",
    "Score",
    "bootstrap_r",
    "bootstrap_scores",
    "bootstrap_weights",
    "compare_models",
    "explained_variance",
    "fdr",
    "get_metric",
    "ncsnr_from_repeats",
    "noise_ceiling",
    "pearson_r",
    "percentile_interval",
    "permutation_orders",
    "permutation_test",
    "permutation_test_rois",
    "r2",
    "roi_summary",
    "spearman_brown",
    "split_half",
]
