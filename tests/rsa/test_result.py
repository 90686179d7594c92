"""``Result``: tests and intervals against their formulas, and files."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from neuro.errors import CorruptFile, EmptySelection, ShapeMismatch
from neuro.rsa._contrasts import sample_variance
from neuro.rsa._resample import dual_variance
from neuro.rsa.evaluate import evaluate
from neuro.rsa.result import Result

PAIRS = 66


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(1)
    truth = rng.random(PAIRS)
    data = truth + rng.standard_normal((7, PAIRS)) * 0.5
    return {"truth": truth, "half": truth + 0.5 * rng.random(PAIRS), "noise": rng.random(PAIRS)}, data


@pytest.fixture(scope="module")
def fixed(inputs):
    return evaluate(*inputs, "corr", resample=None)


@pytest.fixture(scope="module")
def dual(inputs):
    return evaluate(*inputs, "corr", resample="dual", n_boot=200, rng=0)


def test_fixed_tests_are_t_tests_over_subjects(fixed):
    x = fixed.scores_by_subject
    expected = stats.ttest_1samp(x, 0, axis=1, alternative="greater")
    np.testing.assert_allclose(fixed.test_zero()["p"], expected.pvalue, rtol=1e-9)
    np.testing.assert_allclose(fixed.test_zero()["statistic"], expected.statistic, rtol=1e-9)
    pairs = [(0, 1), (0, 2), (1, 2)]
    np.testing.assert_allclose(
        fixed.test_pairs()["p"], [stats.ttest_rel(x[i], x[j]).pvalue for i, j in pairs], rtol=1e-9
    )


def test_fixed_ceiling_tests_use_the_jackknife(fixed, inputs):
    models, data = inputs
    parts = [evaluate(models, np.delete(data, j, 0), "corr", resample=None).estimates for j in range(7)]
    for contrast in ([1, 0, 0, -1, 0], [0, 1, 0, 0, -1], [0, 0, 0, 1, 0]):
        x = np.array(parts) @ contrast
        variance = 6 / 7 * ((x - x.mean()) ** 2).sum()
        assert fixed.variance(contrast)[0] == pytest.approx(variance, rel=1e-9)
    gap = fixed.scores[0] - fixed.ceiling.lower
    t = gap / np.sqrt(fixed.variance([1, 0, 0, -1, 0])[0])
    assert fixed.test_ceiling()["p"][0] == pytest.approx(2 * stats.t.sf(abs(t), 6))
    np.testing.assert_allclose(fixed.sem, fixed.scores_by_subject.std(1, ddof=1) / np.sqrt(7), rtol=1e-10)


def test_two_subjects_have_no_jackknife_but_a_variance(inputs):
    models, data = inputs
    two = evaluate(models, data[:2], "corr", resample=None)
    assert not two.samples
    np.testing.assert_allclose(two.sem, two.scores_by_subject.std(1, ddof=1) / np.sqrt(2))
    assert np.isfinite(two.test_ceiling()["p"]).all()


def test_less_and_two_sided_are_the_other_tails(fixed):
    greater, less, both = (fixed.test_zero(alternative=a)["p"].to_numpy() for a in ("greater", "less", "two-sided"))
    np.testing.assert_allclose(greater + less, 1, atol=1e-12)
    np.testing.assert_allclose(both, 2 * np.minimum(greater, less), rtol=1e-9)


def test_wilcoxon_over_subjects_is_scipy(fixed):
    x = fixed.scores_by_subject
    found = fixed.test_zero("wilcoxon")["p"]
    np.testing.assert_allclose(found, [stats.wilcoxon(row, alternative="greater").pvalue for row in x])
    found = fixed.test_pairs("wilcoxon")["p"]
    np.testing.assert_allclose(found[0], stats.wilcoxon(x[0] - x[1]).pvalue)


def test_intervals_of_the_t_distribution(fixed):
    expected = stats.t.interval(0.9, 6, fixed.scores, fixed.sem)
    np.testing.assert_allclose(fixed.ci(0.9), np.stack(expected, 1))


def test_bootstrap_variance_is_corrected_for_the_number_of_units(inputs):
    for resample, n in [("subject", 7), ("stimulus", 12), ("both", 7)]:
        result = evaluate(*inputs, "corr", resample=resample, n_boot=100, rng=0)
        raw = result.samples[resample][:, 0].var(0, ddof=1)
        np.testing.assert_allclose(result.variance(), raw * n / (n - 1), rtol=1e-10)
        assert result.dof == n - 1
        np.testing.assert_allclose(np.diag(result.covariance), result.variance())
        c = np.cov(result.samples[resample][:, 0].T) * n / (n - 1)
        np.testing.assert_allclose(result.covariance, c, rtol=1e-7, atol=1e-12)


def test_dual_formula_applies_to_models_differences_and_ceilings(dual):
    for contrast in ([1, 0, 0, 0, 0], [1, -1, 0, 0, 0], [1, 0, 0, -1, 0], [0, 0, 1, 0, -1]):
        raw = {k: (x[:, 0] @ contrast).var(ddof=1) for k, x in dual.samples.items()}
        expected = dual_variance(raw["both"], raw["subject"], raw["stimulus"], 7, 12)
        assert dual.variance(contrast)[0] == pytest.approx(float(expected))
    assert dual.dof == 6


def test_excess_variance_of_folds_is_taken_off(rng):
    truth = rng.standard_normal((4000, 1, 1)) * 2
    folds = rng.standard_normal((4000, 2, 1)) * 3
    samples = truth + folds
    got = sample_variance(samples, np.eye(1))[0]
    mean, single = samples.mean(1).var(ddof=1), samples.var(0, ddof=1).mean()
    assert got == pytest.approx(2 * mean - single)
    assert got == pytest.approx(4, rel=0.15)


def test_bootstrap_p_counts_corrected_draws(dual, inputs):
    result = evaluate(*inputs, "corr", resample="subject", n_boot=300, rng=0)

    def corrected(x, centre):
        z = (x - x.mean()) / x.std(ddof=1)
        return centre + x.std(ddof=1) * np.sqrt(7 / 6) * stats.t.ppf(stats.norm.cdf(z), 6)

    draws = corrected(result.samples["subject"][:, 0, 2], result.scores[2])
    assert result.test_zero("bootstrap")["p"][2] == pytest.approx((1 + (draws <= 0).sum()) / 301)
    x = result.samples["subject"][:, 0] @ [1, 0, 0, -1, 0]
    draws = corrected(x, result.scores[0] - result.ceiling.lower)
    low, high = (1 + (draws <= 0).sum()) / 301, (1 + (draws >= 0).sum()) / 301
    assert result.test_ceiling(test="bootstrap")["p"][0] == pytest.approx(min(1, 2 * min(low, high)))
    for frame in (dual.test_zero("bootstrap"), dual.test_pairs("bootstrap"), dual.test_ceiling("upper", "bootstrap")):
        assert ((frame["p"] > 0) & (frame["p"] <= 1)).all()
    interval = dual.ci(kind="percentile")
    assert (interval[:, 0] < dual.scores).all()
    assert (interval[:, 1] > dual.scores).all()


def test_corrections(dual, fixed):
    raw = dual.test_pairs()["p"].to_numpy()
    np.testing.assert_allclose(dual.test_pairs(correction="bonferroni")["p_corrected"], np.minimum(3 * raw, 1))
    np.testing.assert_allclose(
        dual.test_pairs(correction="fdr")["p_corrected"], stats.false_discovery_control(raw), rtol=1e-12
    )
    largest = dual.test_zero("bootstrap", correction="max")
    assert (largest["p_corrected"] >= dual.test_zero("bootstrap")["p"] - 0.01).all()
    assert largest["p_corrected"][2] > 1.5 * largest["p"][2]
    with pytest.raises(ValueError, match="needs resamples"):
        fixed.test_zero(correction="max")
    with pytest.raises(ValueError, match="needs resamples"):
        fixed.test_zero("bootstrap")


def test_cosine_of_nonnegative_rdms_warns(inputs):
    models, data = inputs
    result = evaluate(models, np.abs(data), "cosine", resample=None)
    assert result.nonnegative
    with pytest.warns(UserWarning, match="above 0 for any model"):
        result.test_zero()
    assert np.isnan(result.to_frame()["p_zero"]).all()
    bures = evaluate(models, np.abs(data), "bures", resample=None)
    assert np.isnan(bures.to_frame()["p_zero"]).all()


def test_effect_sizes(fixed):
    frame = fixed.effect_sizes()
    x = fixed.scores_by_subject
    np.testing.assert_allclose(frame["cohens_d"], x.mean(1) / x.std(1, ddof=1))
    np.testing.assert_allclose(frame["below_lower_ceiling"], fixed.ceiling.lower - fixed.scores)
    np.testing.assert_allclose(frame["share_of_upper_ceiling"], fixed.scores / fixed.ceiling.upper)
    np.testing.assert_array_equal(frame["above_lower_ceiling"], fixed.scores > fixed.ceiling.lower)


def test_summary_and_frame(dual):
    text = dual.summary()
    assert "noise ceiling" in text
    assert "dual bootstrap" in text
    assert all(m in text for m in dual.models)
    frame = dual.to_frame()
    assert list(frame["model"]) == list(dual.models)
    np.testing.assert_allclose(frame[["ci_low", "ci_high"]], dual.ci())
    assert "3 models" in repr(dual)


@pytest.mark.parametrize("resample", [None, "subject", "dual"])
def test_saved_and_loaded_is_the_same_to_the_last_digit(inputs, tmp_path, resample):
    result = evaluate(*inputs, "corr", resample=resample, n_boot=20, rng=3)
    result.save(tmp_path / "result")
    again = Result.load(tmp_path / "result")
    assert again.models == result.models
    np.testing.assert_array_equal(again.scores, result.scores)
    np.testing.assert_array_equal(again.scores_by_subject, result.scores_by_subject)
    assert set(again.samples) == set(result.samples)
    for name in result.samples:
        np.testing.assert_array_equal(again.samples[name], result.samples[name])
    np.testing.assert_array_equal(again.covariance, result.covariance)
    assert again.summary() == result.summary()
    assert (again.method, again.resample, again.cv, again.seed) == ("corr", resample, None, 3)
    assert sorted(p.name for p in (tmp_path / "result").iterdir()) == ["result.json", "samples.tsv", "scores.tsv"]


def test_a_result_of_one_subject_survives_a_file(inputs, tmp_path):
    models, data = inputs
    result = evaluate(models, data[:1], "corr", resample="stimulus", n_boot=10, rng=0)
    result.save(tmp_path / "one")
    again = Result.load(tmp_path / "one")
    assert np.isnan(again.ceiling.lower)
    assert again.ceiling.reason == result.ceiling.reason
    np.testing.assert_array_equal(again.sem, result.sem)


def test_broken_files_are_named(tmp_path, fixed):
    with pytest.raises(FileNotFoundError, match=r"written by Result\.save"):
        Result.load(tmp_path)
    fixed.save(tmp_path / "r")
    about = json.loads((tmp_path / "r" / "result.json").read_text())
    del about["ceiling"]
    (tmp_path / "r" / "result.json").write_text(json.dumps(about))
    with pytest.raises(CorruptFile):
        Result.load(tmp_path / "r")


def test_result_is_immutable(fixed, dual):
    with pytest.raises(dataclasses.FrozenInstanceError):
        fixed.method = "cosine"
    for x in (fixed.scores, fixed.scores_by_subject, *dual.samples.values()):
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 1
    fixed.evaluations[0] = 5
    assert not (fixed.evaluations == 5).any()


def test_bad_requests_are_refused(fixed, inputs):
    with pytest.raises(ValueError, match="test must be"):
        fixed.test_zero("z")
    with pytest.raises(ValueError, match="alternative must be"):
        fixed.test_pairs(alternative="different")
    with pytest.raises(ValueError, match="correction must be"):
        fixed.test_pairs(correction="holm")
    with pytest.raises(ValueError, match="bound must be"):
        fixed.test_ceiling("middle")
    with pytest.raises(ValueError, match="level"):
        fixed.ci(95)
    with pytest.raises(ValueError, match="needs resamples"):
        fixed.ci(kind="percentile")
    with pytest.raises(ShapeMismatch):
        dataclasses.replace(fixed, models=("a",))
    one = evaluate(inputs[0], inputs[1][:1], "corr", resample=None)
    with pytest.raises(EmptySelection):
        one.test_zero("wilcoxon")


def test_one_model_has_no_pairs(inputs):
    result = evaluate(inputs[0]["truth"], inputs[1], "corr", n_boot=10, rng=0)
    assert len(result.test_pairs(correction="fdr")) == 0
