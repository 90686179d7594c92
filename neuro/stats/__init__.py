"""Scores per voxel, how good they could be, and how sure they are.

Scores            :func:`pearson_r`, :func:`r2`, :func:`explained_variance`, all in ``METRICS``; :class:`Score`
Reliability       :func:`ncsnr_from_repeats`, :func:`noise_ceiling`, :func:`split_half`, :func:`repeat_correlation`,
                  :func:`spearman_brown`
Chance            :func:`permutation_test`, :func:`sign_flip_test`
Many tests        :func:`fdr`, :func:`holm`
Uncertainty       :func:`bootstrap_scores`, :func:`bootstrap_weights`, :func:`bootstrap_subjects`
Two models        :func:`compare_models`
Regions           :func:`roi_summary`
"""

from neuro.data.reliability import (
    ncsnr_from_repeats,
    noise_ceiling,
    repeat_correlation,
    spearman_brown,
    split_half,
)
from neuro.stats.bootstrap import Bootstrap, bootstrap_scores, bootstrap_subjects, bootstrap_weights, resampled_scores
from neuro.stats.compare import Comparison, compare_models, sign_flip_test
from neuro.stats.metrics import METRICS, explained_variance, pearson_r, r2
from neuro.stats.multiple import fdr, holm
from neuro.stats.permutation import PermutationTest, permutation_test
from neuro.stats.roi import roi_summary
from neuro.stats.score import KINDS, Score, normalise

__all__ = [
    "KINDS",
    "METRICS",
    "Bootstrap",
    "Comparison",
    "PermutationTest",
    "Score",
    "bootstrap_scores",
    "bootstrap_subjects",
    "bootstrap_weights",
    "compare_models",
    "explained_variance",
    "fdr",
    "holm",
    "ncsnr_from_repeats",
    "noise_ceiling",
    "normalise",
    "pearson_r",
    "permutation_test",
    "r2",
    "repeat_correlation",
    "resampled_scores",
    "roi_summary",
    "sign_flip_test",
    "spearman_brown",
    "split_half",
]
