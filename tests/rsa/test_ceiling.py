"""Noise ceilings: explicit leave-one-subject-out, rsatoolbox, and what they must bracket."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.io import loadmat
from scipy.stats import rankdata

from neuro.rsa._gram import LINEAR
from neuro.rsa.ceiling import noise_ceiling, pool_rows, pooled_ceilings
from neuro.rsa.compare import compare
from neuro.rsa.container import RDMs

METHODS = [*LINEAR, "spearman", "rho-a", "tau-a"]


@pytest.fixture
def data(rng):
    truth = rng.random(45)
    return truth + 0.5 * rng.standard_normal((5, 45)) + 1


@pytest.fixture(scope="module")
def toolbox():
    pytest.importorskip("rsatoolbox")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import rsatoolbox
        import rsatoolbox.inference
    return rsatoolbox


def pool(data, method):
    if method in ("cosine", "cosine_cov"):
        return (data / np.sqrt((data**2).mean(1, keepdims=True))).mean(0)
    if method in ("corr", "corr_cov"):
        return ((data - data.mean(1, keepdims=True)) / data.std(1, keepdims=True)).mean(0)
    return rankdata(data, axis=1).mean(0)


@pytest.mark.parametrize("method", METHODS)
def test_bounds_equal_an_explicit_loop(data, method):
    upper = [compare(pool(data, method), d, method)[0, 0] for d in data]
    lower = [compare(pool(np.delete(data, j, 0), method), d, method)[0, 0] for j, d in enumerate(data)]
    ceiling = noise_ceiling(data, method)
    np.testing.assert_allclose(ceiling.upper_by_subject, upper, rtol=0, atol=1e-13)
    np.testing.assert_allclose(ceiling.lower_by_subject, lower, rtol=0, atol=1e-13)
    assert tuple(ceiling) == pytest.approx((np.mean(lower), np.mean(upper)))
    assert ceiling.lower < ceiling.upper


@pytest.mark.parametrize("method", METHODS)
def test_bounds_are_those_of_rsatoolbox(data, method, toolbox):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = toolbox.inference.boot_noise_ceiling(toolbox.rdm.RDMs(data), method=method)
    np.testing.assert_allclose(tuple(noise_ceiling(data, method)), expected, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_all_rdms_of_a_subject_are_left_out_together(data, method):
    subjects = ["a", "b", "a", "c", "b"]
    lower = {}
    for s in "abc":
        mine = np.array([x == s for x in subjects])
        lower[s] = compare(pool(data[~mine], method), data[mine], method).mean()
    ceiling = noise_ceiling(RDMs(data, table={"subject": subjects}), method)
    assert ceiling.subjects == ("a", "b", "c")
    np.testing.assert_allclose(ceiling.lower_by_subject, [lower[s] for s in "abc"], atol=1e-13)
    every = noise_ceiling(RDMs(data, table={"subject": subjects, "row": range(5)}), method, by="row")
    np.testing.assert_allclose(tuple(every), tuple(noise_ceiling(data, method)))


@pytest.mark.parametrize("method", ["cosine_cov", "corr_cov"])
def test_strict_upper_bound_is_the_largest_mean_similarity(data, method, rng):
    strict, plain = noise_ceiling(data, method, strict=True), noise_ceiling(data, method)
    assert strict.upper >= plain.upper
    best = pool_rows(data, method, strict=True).mean(0)
    assert compare(best, data, method).mean() == pytest.approx(strict.upper, abs=1e-12)
    for step in (1e-3, 1e-1):
        other = best + step * rng.standard_normal((50, 45))
        assert (compare(other, data, method).mean(1) <= strict.upper + 1e-12).all()


@pytest.mark.parametrize("method", ["cosine", "corr"])
def test_upper_bound_is_the_largest_mean_similarity(data, method, rng):
    upper = noise_ceiling(data, method).upper
    near = pool(data, method) + 0.05 * rng.standard_normal((200, 45))
    assert (compare(near, data, method).mean(1) <= upper + 1e-12).all()


def test_one_subject_gives_nan_with_a_reason(data):
    for x in (data[:1], RDMs(data, table={"subject": ["a"] * 5})):
        ceiling = noise_ceiling(x, "corr")
        assert np.isnan(ceiling.lower)
        assert np.isnan(ceiling.upper)
        assert "one subject" in ceiling.reason
    assert noise_ceiling(data, "corr").reason == ""


@pytest.mark.parametrize("method", METHODS)
def test_identical_subjects_reach_one_and_a_constant_one_scores_zero(data, method):
    same = noise_ceiling(np.repeat(data[:1], 3, 0), method)
    assert tuple(same) == pytest.approx((1, 1))
    flat = np.vstack([data, np.ones(45)])
    ceiling = noise_ceiling(flat, method)
    assert np.isfinite(ceiling.lower_by_subject).all()
    if method not in ("cosine", "cosine_cov"):
        assert ceiling.lower_by_subject[-1] == 0


@pytest.mark.parametrize("method", ["corr", "cosine_cov", "rho-a"])
def test_missing_pairs_are_left_out(data, method):
    holed = data.copy()
    holed[:, 7] = np.nan
    a, b = noise_ceiling(holed, method), noise_ceiling(data, method)
    assert a.lower == pytest.approx(b.lower, abs=0.1)
    if method == "corr":
        kept = np.delete(data, 7, 1)
        expected = [np.corrcoef(pool(np.delete(kept, j, 0), method), d)[0, 1] for j, d in enumerate(kept)]
        np.testing.assert_allclose(a.lower_by_subject, expected, atol=1e-12)


def test_explicit_pools_weigh_subjects_by_their_counts(data):
    weights = np.array([[2.0, 1, 0, 1, 1], [4, 2, 0, 2, 2], [1, 1, 1, 1, 1]])
    groups = np.arange(5)
    lower, upper = pooled_ceilings(data, weights, groups, "spearman")
    np.testing.assert_array_equal(lower[0], lower[1])
    assert np.isnan(upper[0, 2])
    ranks = rankdata(data, axis=1)
    expected = compare(weights[0] @ ranks, data[3], "spearman")[0, 0]
    assert upper[0, 3] == pytest.approx(expected, abs=1e-13)


def test_bures_pools_plain_means(data):
    x = np.abs(data)
    ceiling = noise_ceiling(x, "bures")
    assert ceiling.upper == pytest.approx(compare(x.mean(0), x, "bures").mean())


def test_bad_input_is_refused(data):
    with pytest.raises(ValueError, match="method must be"):
        noise_ceiling(data, "pearson")
    with pytest.raises(ValueError, match="method must be"):
        noise_ceiling(data, "bures_metric")
    with pytest.raises(ValueError, match="no column 'person'"):
        noise_ceiling(RDMs(data), by="person")


def test_input_is_not_written_to(data):
    before = data.copy()
    for method in METHODS:
        noise_ceiling(data, method)
    np.testing.assert_array_equal(data, before)


@pytest.mark.real
def test_ceilings_of_human_it(real_data):
    file = loadmat(real_data / "kriegeskorte92" / "92_brainRDMs.mat")["RDMs"][0]
    square = np.array([[np.asarray(file[i, j]["RDM"], float) for j in range(2)] for i in range(4)]).mean(1)
    human = square[:, *np.triu_indices(92, 1)]
    for method, lower, upper in [
        ("corr", 0.39440994, 0.68041323),
        ("rho-a", 0.37231323, 0.66572088),
        ("cosine", 0.98814295, 0.99333744),
    ]:
        np.testing.assert_allclose(tuple(noise_ceiling(human, method)), (lower, upper), atol=1e-8)
