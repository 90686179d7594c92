"""``evaluate``: the toolbox's fixed evaluation, known answers on real RDMs, options, and input it must refuse."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.io import loadmat

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa.compare import compare, tokens
from neuro.rsa.container import RDMs
from neuro.rsa.evaluate import evaluate
from neuro.rsa.models import Weighted

N = 10
PAIRS = 45
METHODS = ["cosine", "corr", "cosine_cov", "corr_cov", "spearman", "rho-a", "tau-a"]


@pytest.fixture
def data(rng):
    return rng.random(PAIRS) + 0.5 * rng.random((6, PAIRS))


@pytest.fixture
def models(rng, data):
    return {"mean": data.mean(0), "noise": rng.random(PAIRS), "classes": (rng.random(PAIRS) > 0.5).astype(float)}


@pytest.fixture(scope="module")
def toolbox():
    pytest.importorskip("rsatoolbox")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import rsatoolbox
        import rsatoolbox.inference
        import rsatoolbox.model
    return rsatoolbox


@pytest.mark.parametrize("method", METHODS)
def test_fixed_evaluation_is_that_of_rsatoolbox(toolbox, data, models, method):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = toolbox.inference.eval_fixed(
            [toolbox.model.ModelFixed(k, v) for k, v in models.items()], toolbox.rdm.RDMs(data), method=method
        )
        p_pairs, p_zero, _ = theirs.test_all("t-test")
    ours = evaluate(models, data, method, resample=None)
    np.testing.assert_allclose(ours.scores_by_subject, theirs.evaluations[0], atol=1e-9)
    np.testing.assert_allclose([ours.ceiling.lower, ours.ceiling.upper], theirs.noise_ceiling, atol=1e-9)
    np.testing.assert_allclose(ours.sem, theirs.get_sem(), rtol=1e-7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(ours.test_zero()["p"], p_zero, rtol=1e-6, atol=1e-14)
    np.testing.assert_allclose(ours.test_pairs()["p"], p_pairs[np.triu_indices(3, 1)], rtol=1e-6, atol=1e-12)
    assert ours.dof == 5


@pytest.mark.real
def test_known_answers_of_the_92_images(real_data):
    folder = real_data / "kriegeskorte92"
    file = loadmat(folder / "92_brainRDMs.mat")["RDMs"][0]
    square = np.array([[np.asarray(file[i, j]["RDM"], float) for j in range(2)] for i in range(4)]).mean(1)
    human = square[:, *np.triu_indices(92, 1)]
    listed = loadmat(folder / "92_modelRDMs.mat")["Models"][0]
    upper = np.triu_indices(92, 1)
    models = {str(x["name"].flat[0]): np.asarray(x["RDM"], float)[upper] for x in listed}
    names = ["animacy", "FaceBodyManmadeNatobj", "monkeyIT", "EVA", "HMAX", "V1", "Silhouette", "RADON"]
    by_name = {n: next(v for k, v in models.items() if n.lower() in k.lower().replace(" ", "")) for n in names}
    result = evaluate(by_name, human, "corr", resample=None)
    np.testing.assert_allclose(
        result.scores, [0.387142, 0.281614, 0.333537, 0.259091, 0.152076, 0.024999, 0.115889, 0.036525], atol=1e-6
    )
    np.testing.assert_allclose([result.ceiling.lower, result.ceiling.upper], [0.39440994, 0.68041323], atol=1e-8)
    np.testing.assert_allclose(result.sem[:3], [0.073078, 0.043059, 0.035045], atol=1e-6)
    np.testing.assert_allclose(result.test_zero()["p"][:3], [0.00656319, 0.00363308, 0.00123001], atol=1e-8)
    known = {
        "rho-a": [0.334462, 0.205324, 0.296324, 0.245389, 0.159868, 0.026514, 0.096570, 0.038094],
        "corr_cov": [0.428152, 0.312105, 0.365572, 0.279865, 0.155903, 0.110459, 0.151022, 0.040346],
        "cosine_cov": [0.405076, 0.354827, 0.650077, 0.634558, 0.371823, 0.493661, 0.355193, 0.212901],
    }
    for method, scores in known.items():
        np.testing.assert_allclose(evaluate(by_name, human, method, resample=None).scores, scores, atol=1e-6)
    # The same from both scans as separate RDMs of a subject: bounds leave both out.
    scans = np.array([[np.asarray(file[i, j]["RDM"], float)[upper] for j in range(2)] for i in range(4)])
    both = RDMs(scans.reshape(8, -1), table={"subject": np.repeat(range(4), 2)})
    result = evaluate(by_name, both, "rho-a", resample="subject", n_boot=50, rng=0)
    assert result.n_subjects == 4
    assert result.ceiling.lower < result.ceiling.upper


def test_rdms_of_a_subject_are_averaged_before_subjects(data, models):
    table = RDMs(data, table={"subject": ["a", "a", "a", "b", "b", "c"]})
    result = evaluate(models, table, "corr", resample=None)
    every = compare(np.stack(list(models.values())), data, "corr")
    expected = np.stack([every[:, :3].mean(1), every[:, 3:5].mean(1), every[:, 5]], 1)
    np.testing.assert_allclose(result.scores_by_subject, expected, atol=1e-13)
    assert result.ceiling.subjects == ("a", "b", "c")
    np.testing.assert_allclose(result.sem, expected.std(1, ddof=1) / np.sqrt(3))


@pytest.mark.parametrize("method", ["corr", "cosine_cov", "rho-a"])
def test_subject_bootstrap_variance_agrees_with_the_formula(data, models, method):
    fixed = evaluate(models, data, method, resample=None)
    boot = evaluate(models, data, method, resample="subject", n_boot=4000, rng=0)
    np.testing.assert_allclose(boot.sem, fixed.sem, rtol=0.06)
    np.testing.assert_array_equal(boot.scores, fixed.scores)


def test_grouped_stimuli_are_resampled_together(data, models):
    conditions = RDMs(data).condition_table.assign(pair=np.repeat(range(5), 2))
    result = evaluate(models, RDMs(data, conditions), "corr", resample="stimulus", stimuli_by="pair", n_boot=30, rng=0)
    assert result.n_stimuli == 5
    with pytest.raises(ValueError, match="no column 'triple'"):
        evaluate(models, RDMs(data, conditions), resample="stimulus", stimuli_by="triple")


def test_conditions_are_matched_by_name(data, models):
    names = [f"s{k}" for k in range(N)]
    named = RDMs(data, names)
    shuffled = {k: RDMs(v, names).select(conditions=names[::-1]) for k, v in models.items()}
    a, b = evaluate(models, data, "corr", resample=None), evaluate(shuffled, named, "corr", resample=None)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-14)
    other = RDMs(models["mean"], [*names[1:], "unknown"])
    with pytest.raises(ShapeMismatch, match="same conditions"):
        evaluate(other, named, "corr")


def test_missing_pairs_take_the_explicit_path(data, models):
    holed = data.copy()
    holed[:, 0] = np.nan
    for method in ("corr", "cosine_cov"):
        result = evaluate(models, holed, method, resample="stimulus", n_boot=5, rng=0)
        assert np.isfinite(result.samples["stimulus"]).all()
        expected = compare(np.stack(list(models.values())), holed, method).mean(1)
        np.testing.assert_allclose(result.scores, expected, atol=1e-12)


def test_seeds_repeat_and_processes_do_not_matter(data, models):
    for method, resample, n_jobs in [("corr", "dual", 1), ("rho-a", "both", 2), ("tau-a", "stimulus", 2)]:
        a = evaluate(models, data, method, resample=resample, n_boot=12, rng=4)
        b = evaluate(models, data, method, resample=resample, n_boot=12, rng=4, n_jobs=n_jobs)
        c = evaluate(models, data, method, resample=resample, n_boot=12, rng=5)
        for name in a.samples:
            np.testing.assert_allclose(a.samples[name], b.samples[name], rtol=0, atol=1e-14)
        assert not np.allclose(a.evaluations, c.evaluations)
        assert a.seed == 4


def test_one_subject(data, models):
    for resample in ("subject", "both", "dual"):
        with pytest.raises(EmptySelection, match="at least two subjects"):
            evaluate(models, data[:1], "corr", resample=resample)
    fixed = evaluate(models, data[:1], "corr", resample=None)
    assert "one subject" in fixed.ceiling.reason
    assert np.isnan(fixed.ceiling.lower)
    assert "nan" in fixed.summary()
    with pytest.raises(EmptySelection, match="no estimate of variability"):
        fixed.sem  # noqa: B018
    stimuli = evaluate(models, data[:1], "corr", resample="stimulus", n_boot=50, rng=0)
    assert np.isfinite(stimuli.sem).all()
    assert np.isnan(stimuli.samples["stimulus"][..., -2:]).all()
    assert np.isnan(stimuli.test_ceiling()["p"]).all()
    assert np.isfinite(stimuli.test_zero()["p"]).all()


def test_few_stimuli_are_dropped_with_a_count(rng):
    data = rng.random((3, 6))
    with pytest.warns(UserWarning, match="of 200 resamples"):
        result = evaluate(rng.random((1, 6)), data, "corr", resample="stimulus", n_boot=200, rng=0)
    assert np.isnan(result.samples["stimulus"]).any()
    assert np.isfinite(result.sem).all()
    with pytest.raises(ValueError, match="at least 3 stimuli"):
        evaluate(np.ones((1, 1)), np.ones((3, 1)), "cosine")


def test_constant_models_score_zero_with_a_warning(data):
    with pytest.warns(UserWarning, match="1 models are constant"):
        result = evaluate({"flat": np.full(PAIRS, 0.1), "mean": data.mean(0)}, data, "corr", n_boot=20, rng=0)
    assert result.scores[0] == 0
    assert not result.evaluations[:, 0].any()
    assert result.test_zero()["statistic"][0] == 0


def test_duplicate_models_do_not_differ(data):
    result = evaluate({"a": data.mean(0), "b": data.mean(0)}, data, "corr", n_boot=20, rng=0)
    row = result.test_pairs().iloc[0]
    assert row["difference"] == 0
    assert row["p"] == 1


def test_models_without_a_score_are_nan_with_a_warning(data):
    holed = data[0].copy()
    i, j = np.triu_indices(N, 1)
    holed[(i > 1) | (j > 1)] = np.nan
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(fewer than 3 stimuli|are constant).*")
        with pytest.warns(UserWarning, match="1 models have no score"):
            result = evaluate({"holed": holed, "mean": data.mean(0)}, data, "corr", n_boot=10, rng=0)
    assert np.isnan(result.scores[0])
    assert np.isfinite(result.sem[1])


def test_bad_input_is_refused(data, models):
    with pytest.raises(ValueError, match="resample must be"):
        evaluate(models, data, resample="subjects")
    with pytest.raises(ValueError, match="method must be"):
        evaluate(models, data, "pearson")
    with pytest.raises(ValueError, match="n_boot"):
        evaluate(models, data, n_boot=0)
    with pytest.raises(ValueError, match="has weights to fit"):
        evaluate(Weighted(data), data)
    with pytest.raises(ValueError, match="cannot be resampled"):
        evaluate(models, data, "bures", resample="stimulus")
    with pytest.raises(ValueError, match="infinite"):
        evaluate(models, np.where(data > 1, np.inf, data))
    with pytest.raises(ShapeMismatch):
        evaluate(np.ones((1, 36)), data)


def test_tensors_are_read_and_input_is_not_written_to(data, models):
    torch = pytest.importorskip("torch")
    before = data.copy()
    a = evaluate(models, data, "corr", n_boot=10, rng=0)
    b = evaluate({k: torch.tensor(v) for k, v in models.items()}, torch.tensor(data), "corr", n_boot=10, rng=0)
    np.testing.assert_allclose(a.evaluations, b.evaluations, atol=1e-14)
    np.testing.assert_array_equal(data, before)


def test_float32_is_accumulated_in_float64(data, models):
    a = evaluate(models, data, "corr_cov", resample=None)
    b = evaluate(
        {k: v.astype(np.float32) for k, v in models.items()}, data.astype(np.float32), "corr_cov", resample=None
    )
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-6)


@pytest.mark.parametrize("method", ["cosine_cov", "corr_cov"])
@pytest.mark.parametrize("shape", ["variances", "covariance"])
def test_scores_and_ceilings_whitened_with_a_noise_covariance(method, shape):
    """Scores are those of compare(); the ceiling is each subject against the others, whitened alike."""
    rng = np.random.default_rng(3)
    n, truth = 12, rng.random(66)
    data = truth + 0.5 * rng.random((5, 66))
    models = np.stack([truth, rng.random(66), np.abs(truth - 0.5)])
    root = rng.standard_normal((n, 3 * n))
    sigma = rng.uniform(0.5, 2, n) if shape == "variances" else root @ root.T / (3 * n)
    result = evaluate(models, data, method, n_boot=50, rng=0, sigma_k=sigma)
    np.testing.assert_allclose(result.scores_by_subject, compare(models, data, method, sigma), atol=1e-12)
    unwhitened = evaluate(models, data, method, n_boot=50, rng=0)
    assert np.abs(unwhitened.scores - result.scores).max() > 1e-3
    unit = tokens(data, method, sigma)
    lower = [unit[s] @ (m := np.delete(unit, s, 0).mean(0)) / np.linalg.norm(m) for s in range(5)]
    np.testing.assert_allclose(result.ceiling.lower_by_subject, lower, atol=1e-12)
    assert result.method == method


def test_equal_variances_change_nothing():
    rng = np.random.default_rng(4)
    data, models = rng.random((4, 45)), rng.random((2, 45))
    plain, same = (
        evaluate(models, data, "corr_cov", n_boot=40, rng=0, strict=True, sigma_k=s) for s in (None, np.full(10, 3.0))
    )
    np.testing.assert_allclose(same.scores_by_subject, plain.scores_by_subject, atol=1e-12)
    np.testing.assert_allclose(same.samples["subject"], plain.samples["subject"], atol=1e-12)


def test_where_a_noise_covariance_makes_no_sense():
    rng = np.random.default_rng(5)
    data, model = rng.random((4, 45)), rng.random((1, 45))
    with pytest.raises(ValueError, match="resample must be 'subject'"):
        evaluate(model, data, "corr_cov", resample="stimulus", sigma_k=np.ones(10))
    with pytest.raises(ValueError, match="cv None"):
        evaluate(model, data, "corr_cov", cv="subject", sigma_k=np.ones(10))
    with pytest.raises(ValueError, match="has no use for sigma_k"):
        evaluate(model, data, "spearman", sigma_k=np.ones(10))
    with pytest.raises(ValueError, match="must be"):
        evaluate(model, data, "corr_cov", sigma_k=np.ones(9))
    data[0, 3] = np.nan
    with pytest.raises(ValueError, match="without NaN"):
        evaluate(model, data, "corr_cov", sigma_k=np.ones(10))
