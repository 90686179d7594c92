"""The tidy table of regions against the functions it is made of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from neuro.errors import ShapeMismatch
from neuro.stats import METRICS, Score, bootstrap_scores, pearson_r, permutation_test, roi_summary


@pytest.fixture
def study(rng):
    Y = rng.standard_normal((80, 30))
    Y_hat = 0.5 * Y + rng.standard_normal((80, 30))
    rois = {"V1": np.arange(30) < 12, "FFA": np.arange(12, 20), "none": np.zeros(30, bool)}
    ceiling = rng.uniform(0.3, 0.9, 30)
    ceiling[:4] = 0.02
    return Y, Y_hat, rois, ceiling


def test_rows_are_the_means_of_regions_with_their_labels(study):
    Y, Y_hat, rois, _ = study
    r = pearson_r(Y, Y_hat)
    table = roi_summary(r, rois, labels={"subject": "01", "model": "clip"})
    assert list(table.columns[:5]) == ["subject", "model", "roi", "metric", "score"]
    assert table["roi"].tolist() == ["V1", "FFA", "none"]
    assert (table["metric"] == "r").all()
    np.testing.assert_allclose(table["score"][:2], [r[:12].mean(), r[12:20].mean()])
    np.testing.assert_allclose(table["median"][:2], [np.median(r[:12]), np.median(r[12:20])])
    assert table["n_voxels"].tolist() == [12, 8, 0]
    assert table.loc[2, ["score", "median"]].isna().all()
    assert table[["ci_low", "ci_high", "ceiling", "p", "n_images"]].isna().all().all()


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("metric", METRICS)
def test_intervals_and_p_are_those_of_the_single_functions(study, metric, method):
    Y, Y_hat, rois, _ = study
    image = np.repeat(np.arange(40), 2)
    table = roi_summary(
        None, rois, Y=Y, Y_hat=Y_hat, metric=metric, groups=image, n_bootstraps=200, n_permutations=99, method=method
    )
    boot = bootstrap_scores(Y, Y_hat, 200, image, metric, rois=rois, method=method)
    np.testing.assert_allclose(table["score"], boot.roi_observed)
    np.testing.assert_allclose(table["ci_low"], boot.roi_low)
    np.testing.assert_allclose(table["ci_high"], boot.roi_high)
    np.testing.assert_allclose(table["p"], permutation_test(Y, Y_hat, 99, image, metric, rois=rois).p)
    assert (table["n_images"] == 40).all()


def test_a_ceiling_adds_the_share_of_explainable_variance(study):
    Y, Y_hat, rois, ceiling = study
    r = pearson_r(Y, Y_hat)
    table = roi_summary(r, rois, Y=Y, Y_hat=Y_hat, ceiling=ceiling, n_bootstraps=300).set_index(["metric", "roi"])
    share = r[4:12] * np.abs(r[4:12]) / ceiling[4:12]
    row = table.loc[("r2/NC", "V1")]
    assert row["score"] == pytest.approx(share.mean())
    assert row["ceiling"] == pytest.approx(ceiling[4:12].mean())
    assert (row["n_voxels"], row["n_missing"]) == (8, 4)
    assert row["ci_low"] < row["score"] < row["ci_high"]
    assert table.loc[("r", "V1"), "ceiling"] == pytest.approx(ceiling[:12].mean())
    assert table.loc[("r", "V1"), "n_voxels"] == 12
    corrected = roi_summary(r, rois, ceiling=ceiling, normalised="r/sqrtNC").set_index(["metric", "roi"])
    assert corrected.loc[("r/sqrtNC", "FFA"), "score"] == pytest.approx((r[12:20] / np.sqrt(ceiling[12:20])).mean())


def test_intervals_of_normalised_scores_cover_the_truth(rng):
    hits = 0
    for seed in range(150):
        signal = rng.standard_normal((150, 4))
        Y = signal + rng.standard_normal((150, 4))
        Y_hat = 0.8 * signal + 0.6 * rng.standard_normal((150, 4))
        row = roi_summary(
            None, {"all": np.arange(4)}, Y=Y, Y_hat=Y_hat, ceiling=np.full(4, 0.5), n_bootstraps=200, seed=seed
        )
        hits += row["ci_low"][1] <= 0.64 <= row["ci_high"][1]
    assert hits / 150 >= 0.93 - 0.04


def test_a_score_brings_its_own_ceiling(study):
    Y, Y_hat, rois, ceiling = study
    score = Score.of(Y, Y_hat, ceiling=ceiling)
    pd.testing.assert_frame_equal(roi_summary(score, rois), roi_summary(score.raw, rois, ceiling=ceiling))
    with pytest.raises(ValueError, match="of kind 'r', but metric is 'r2'"):
        roi_summary(score, rois, metric="r2")


def test_voxels_without_data_are_counted_and_left_out(study):
    Y, Y_hat, rois, _ = study
    Y[:, 0] = 1.0
    table = roi_summary(None, rois, Y=Y, Y_hat=Y_hat, n_bootstraps=50, n_permutations=50)
    assert table["n_voxels"].tolist() == [11, 8, 0]
    assert table["n_missing"].tolist() == [1, 0, 0]
    assert table["score"][0] == pytest.approx(pearson_r(Y, Y_hat)[1:12].mean())
    assert np.isfinite(table.loc[0, ["ci_low", "ci_high", "p"]].to_numpy(float)).all()


def test_what_does_not_belong_together_is_refused(study):
    Y, Y_hat, rois, ceiling = study
    r = pearson_r(Y, Y_hat)
    with pytest.raises(ShapeMismatch, match="mask of 'V1' must have one entry per voxel"):
        roi_summary(r, {"V1": np.ones(29, bool)})
    with pytest.raises(ShapeMismatch, match=r"voxel indices in 0\.\.29"):
        roi_summary(r, {"V1": [30]})
    with pytest.raises(ShapeMismatch, match="dict name -> mask"):
        roi_summary(r, np.ones(30, bool))
    with pytest.raises(ValueError, match="not the pearson_r of Y and Y_hat"):
        roi_summary(r[::-1], rois, Y=Y, Y_hat=Y_hat)
    with pytest.raises(ValueError, match="both Y and Y_hat"):
        roi_summary(r, rois, Y=Y)
    with pytest.raises(ValueError, match="give scores"):
        roi_summary(None, rois)
    with pytest.raises(ValueError, match="needs Y and Y_hat"):
        roi_summary(r, rois, n_permutations=100)
    with pytest.raises(ShapeMismatch, match="agree in voxels"):
        roi_summary(r, rois, ceiling=ceiling[:5])
