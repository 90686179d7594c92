"""Cross-validation: exact against explicit subsets, no leakage, variance of folds."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from neuro.errors import EmptySelection
from neuro.rsa._problem import problem
from neuro.rsa._resample import draw_counts, replicate
from neuro.rsa.compare import compare
from neuro.rsa.crossvalidate import CrossValidation, _explicit_chunk, _linear_chunk, cv_scores, partition
from neuro.rsa.evaluate import evaluate
from neuro.rsa.models import Fixed, Interpolate, Select, Weighted

N = 14
PAIRS = N * (N - 1) // 2


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    basis = rng.random((3, PAIRS))
    data = np.array([1.0, 0.4, 0.0]) @ basis + 0.3 * rng.standard_normal((6, PAIRS))
    return basis, data


def all_models(basis):
    return [Weighted(basis, "w"), Select(basis, "s"), Interpolate(basis, "i"), Fixed(basis[0], "f")]


@pytest.mark.parametrize("method", ["cosine", "corr", "cosine_cov", "corr_cov"])
@pytest.mark.parametrize("over", ["stimulus", "subject", "both"])
def test_inner_products_equal_explicit_subsets_of_rdms(inputs, method, over):
    basis, data = inputs
    task = problem(all_models(basis), data, method, None, None, False, True)
    cv = CrossValidation(over, 2, 2).resolved(N, 6, True)
    rng = np.random.default_rng(4)
    counts, weights = list(draw_counts(4, np.arange(N), rng)), list(draw_counts(4, np.arange(6), rng))
    counts[0], weights[0] = np.ones(N), np.ones(6)
    fast = _linear_chunk(task, counts, weights, cv, [1, 2, 3, 4])
    slow = _explicit_chunk(task, counts, weights, cv, [1, 2, 3, 4])
    assert np.isfinite(fast.scores[0]).all()
    for name in ("scores", "lower", "upper"):
        got, expected = getattr(fast, name), getattr(slow, name)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["corr", "cosine_cov"])
def test_one_fold_by_hand(inputs, method):
    basis, data = inputs
    task = problem([Weighted(basis)], data, method, None, None, False, False)
    cv = CrossValidation("both", 2, 2, 1).resolved(N, 6, False)
    got = cv_scores(task, np.ones((1, N)), np.ones((1, 6)), cv, np.array([[7]]))
    rng = np.random.default_rng(7)
    stimuli = partition(np.arange(N), np.ones(N), 2, 3, rng)
    subjects = partition(np.arange(6), np.ones(6), 2, 1, rng)
    expected = np.zeros(6)
    for f in range(2):
        train, test = (stimuli != f).astype(float), (stimuli == f).astype(float)
        for s in range(2):
            theta = Weighted(replicate(basis, train)).fit(replicate(data, train)[subjects != s], method)
            found = compare(theta @ replicate(basis, test), replicate(data, test), method)[0]
            expected[subjects == s] += found[subjects == s] / 2
    np.testing.assert_allclose(got.scores[0, 0, 0], expected, atol=1e-12)


def test_cv_ceilings_leave_out_test_subjects_on_test_stimuli(inputs):
    _, data = inputs
    task = problem({"f": data[0]}, data, "corr", None, None, False, False)
    cv = CrossValidation("both", 2, 3, 1).resolved(N, 6, False)
    got = cv_scores(task, np.ones((1, N)), np.ones((1, 6)), cv, np.array([[3]]))
    rng = np.random.default_rng(3)
    stimuli = partition(np.arange(N), np.ones(N), 2, 3, rng)
    subjects = partition(np.arange(6), np.ones(6), 3, 1, rng)
    lower = np.zeros(6)
    for f in range(2):
        d = replicate(data, (stimuli == f).astype(float))
        z = (d - d.mean(1, keepdims=True)) / d.std(1, keepdims=True)
        for j in range(6):
            lower[j] += np.corrcoef(z[subjects != subjects[j]].mean(0), d[j])[0, 1] / 2
    np.testing.assert_allclose(got.lower[0, 0], lower, atol=1e-12)


def test_weights_fitted_to_noise_do_not_score_above_chance():
    rng = np.random.default_rng(1)
    basis, data = rng.standard_normal((10, 190)), rng.standard_normal((8, 190))
    model = Weighted(basis, "w", nonnegative=False)
    fitted = compare(model.predict(model.fit(data, "corr")), data, "corr").mean()
    scores = [
        evaluate(model, rng.standard_normal((8, 190)), "corr", resample=None, cv="stimulus", rng=k).scores[0]
        for k in range(30)
    ]
    assert fitted > 0.05
    assert abs(np.mean(scores)) < 4 * np.std(scores) / np.sqrt(30)


@pytest.mark.parametrize("resample", [None, "subject", "stimulus", "dual"])
def test_true_weights_are_found_inside_a_bootstrap(inputs, resample):
    basis, data = inputs
    with np.errstate(all="raise"):
        result = evaluate(all_models(basis), data, "corr", resample=resample, cv="both", n_boot=15, rng=0)
    scores = dict(zip(result.models, result.scores, strict=True))
    assert scores["w"] > scores["f"] - 0.05
    assert result.cv is not None
    assert result.cv["over"] == "both"
    assert "cross-validated" in result.summary()
    if resample:
        assert all(x.shape[1:] == (2, 6) for x in result.samples.values())


def test_fixed_models_need_no_weights_and_cover_all_subjects_once(inputs):
    basis, data = inputs
    cv = CrossValidation("subject", k_subjects=3, n_repeats=3)
    folded = evaluate({"f": basis[0]}, data, "corr", resample=None, cv=cv, rng=0)
    plain = evaluate({"f": basis[0]}, data, "corr", resample=None)
    np.testing.assert_allclose(folded.scores_by_subject, plain.scores_by_subject, atol=1e-13)


def test_rank_measures_are_folded_too(inputs):
    basis, data = inputs
    models = [Weighted(basis, "w"), Select(basis, "s")]
    a = evaluate(models, data, "rho-a", resample="both", cv="both", n_boot=3, rng=0)
    b = evaluate(models, data, "rho-a", resample="both", cv="both", n_boot=3, rng=0, n_jobs=2)
    np.testing.assert_array_equal(a.samples["both"], b.samples["both"])
    assert np.isfinite(a.scores).all()


def test_chunks_and_processes_do_not_change_the_result(inputs, monkeypatch):
    basis, data = inputs
    a = evaluate(all_models(basis), data, "corr_cov", resample="both", cv="both", n_boot=6, rng=0)
    b = evaluate(all_models(basis), data, "corr_cov", resample="both", cv="both", n_boot=6, rng=0, n_jobs=2)
    monkeypatch.setattr(importlib.import_module("neuro.rsa.crossvalidate"), "BLOCK", 1)
    c = evaluate(all_models(basis), data, "corr_cov", resample="both", cv="both", n_boot=6, rng=0)
    np.testing.assert_allclose(a.samples["both"], b.samples["both"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(a.samples["both"], c.samples["both"], rtol=0, atol=1e-12)


def test_copies_and_groups_stay_in_one_fold():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 2)
    drawn = np.array([2, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    fold = partition(groups, drawn, 2, 2, rng)
    assert fold is not None
    assert (fold[drawn == 0] == -1).all()
    np.testing.assert_array_equal(fold[::2], fold[1::2])
    assert partition(groups, drawn, 2, 3, rng) is None


def test_default_numbers_of_folds():
    for n, k in [(11, 2), (12, 3), (23, 3), (24, 4), (40, 5)]:
        assert CrossValidation("stimulus").resolved(n, 9, False).k_stimuli == k
    for n, k in [(5, 2), (6, 3), (12, 4), (20, 5)]:
        assert CrossValidation("subject").resolved(30, n, False).k_subjects == k
    inside = CrossValidation("both").resolved(40, 20, True)
    assert (inside.k_stimuli, inside.k_subjects) == (4, 4)


def test_bad_folds_are_refused(inputs):
    basis, data = inputs
    model = Weighted(basis)
    with pytest.raises(EmptySelection, match="three in each"):
        evaluate(model, data, "corr", cv=CrossValidation("stimulus", k_stimuli=5))
    with pytest.raises(EmptySelection, match="folds need at least as many subjects"):
        evaluate(model, data[:1], "corr", resample=None, cv="both")
    with pytest.raises(ValueError, match="cv must be"):
        evaluate(model, data, "corr", cv="stimuli")
    with pytest.raises(ValueError, match="at least 2"):
        evaluate(model, data, "corr", cv=CrossValidation("both", n_repeats=1))
    with pytest.raises(ValueError, match="k_stimuli"):
        CrossValidation("both", k_stimuli=0)
    with pytest.raises(ValueError, match="cannot be resampled"):
        evaluate(model, data, "bures", cv="stimulus")


def test_draws_without_enough_stimuli_are_dropped_with_a_count():
    rng = np.random.default_rng(0)
    basis, data = rng.random((2, 28)), rng.random((4, 28))
    with pytest.warns(UserWarning, match="of 40 resamples"):
        result = evaluate(Weighted(basis), data, "corr", resample="stimulus", cv="stimulus", n_boot=40, rng=0)
    assert np.isnan(result.samples["stimulus"]).any()


def test_one_subject_can_be_folded_over_stimuli(inputs):
    basis, data = inputs
    result = evaluate(Weighted(basis), data[:1], "corr", resample="stimulus", cv="stimulus", n_boot=10, rng=0)
    assert np.isfinite(result.scores).all()
    assert np.isnan(result.ceiling.upper)
