"""Bootstraps by matrix products equal bootstraps by explicitly repeated RDMs."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from neuro.rsa._gram import LINEAR, gram
from neuro.rsa._resample import Ranked, draw_counts, dual_variance, pair_weights, rank_scores, replicate
from neuro.rsa.compare import compare
from neuro.rsa.evaluate import evaluate

N = 9
PAIRS = N * (N - 1) // 2


def repeated(d, counts):
    """Condensed RDM of stimuli repeated ``counts`` times, pairs of copies NaN, by a double loop."""
    square = np.zeros((N, N))
    square[np.triu_indices(N, 1)] = d
    square += square.T
    drawn = [i for i in range(N) for _ in range(int(counts[i]))]
    return np.array(
        [np.nan if drawn[a] == drawn[b] else square[drawn[a], drawn[b]]
         for a in range(len(drawn)) for b in range(a + 1, len(drawn))]
    )  # fmt: skip


def pool(data, method):
    rows = []
    for d in data:
        known = d[np.isfinite(d)]
        if method in ("cosine", "cosine_cov"):
            rows.append(d / np.sqrt(np.mean(known**2)))
        elif method in ("corr", "corr_cov"):
            rows.append((d - known.mean()) / known.std())
        else:
            ranks = np.full(d.shape, np.nan)
            ranks[np.isfinite(d)] = rankdata(known)
            rows.append(ranks)
    return np.mean(rows, axis=0)


def explicit(models, data, method, counts, weights):
    """Scores and ceilings of one draw of stimuli and subjects, the way they are defined."""
    m = np.array([repeated(d, counts) for d in models])
    subjects = [j for j in range(len(data)) for _ in range(int(weights[j]))]
    d = np.array([repeated(x, counts) for x in data])
    scores = compare(m, d[subjects], method).mean(1)
    upper, lower = [], []
    for j in sorted(set(subjects)):
        upper.append(compare(pool(d[subjects], method), d[j], method)[0, 0])
        others = [k for k in subjects if k != j]
        lower.append(compare(pool(d[others], method), d[j], method)[0, 0] if others else np.nan)
    return np.r_[scores, np.mean(lower), np.mean(upper)]


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(3)
    truth = rng.random(PAIRS)
    data = truth + 0.5 * rng.random((4, PAIRS))
    models = np.stack([truth, rng.random(PAIRS), np.round(2 * rng.random(PAIRS)), np.ones(PAIRS) + truth > 1.5])
    return models.astype(float), data


@pytest.mark.parametrize("method", [*LINEAR, "spearman", "rho-a", "tau-a"])
@pytest.mark.parametrize("resample", ["subject", "stimulus", "both"])
def test_every_bootstrap_sample_with_ceilings_equals_explicit_resampling(problem, method, resample):
    models, data = problem
    n_boot = 12 if method == "tau-a" else 25
    result = evaluate(models, data, method, resample=resample, n_boot=n_boot, rng=5)
    rng = np.random.default_rng(5)
    counts = np.ones((n_boot, N)) if resample == "subject" else draw_counts(n_boot, np.arange(N), rng)
    weights = np.ones((n_boot, 4)) if resample == "stimulus" else draw_counts(n_boot, np.arange(4), rng)
    expected = [explicit(models, data, method, c, w) for c, w in zip(counts, weights, strict=True)]
    np.testing.assert_allclose(result.samples[resample][:, 0], expected, rtol=0, atol=1e-13)


def test_dual_holds_the_three_bootstraps_of_the_same_draws(problem):
    models, data = problem
    result = evaluate(models, data, "corr", resample="dual", n_boot=20, rng=2)
    rng = np.random.default_rng(2)
    counts, weights = draw_counts(20, np.arange(N), rng), draw_counts(20, np.arange(4), rng)
    ones_c, ones_w = np.ones((20, N)), np.ones((20, 4))
    for name, c, w in [("both", counts, weights), ("subject", ones_c, weights), ("stimulus", counts, ones_w)]:
        expected = [explicit(models, data, "corr", x, y) for x, y in zip(c, w, strict=True)]
        np.testing.assert_allclose(result.samples[name][:, 0], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("method", [*LINEAR, "spearman", "rho-a"])
def test_all_counts_one_is_the_fixed_evaluation(problem, method, monkeypatch):
    models, data = problem
    module = importlib.import_module("neuro.rsa.evaluate")
    monkeypatch.setattr(module, "draw_counts", lambda n, groups, rng: np.ones((n, len(groups))))
    fixed = evaluate(models, data, method, resample=None)
    for resample in ("subject", "stimulus", "both"):
        sample = evaluate(models, data, method, resample=resample, n_boot=2).samples[resample][0, 0]
        np.testing.assert_allclose(sample, fixed.estimates, rtol=0, atol=1e-13)


@pytest.mark.parametrize("method", ["cosine_cov", "corr_cov"])
@pytest.mark.parametrize(
    "counts", [[4, 1, 1, 0, 0, 0, 0, 0, 0], [5, 1, 1, 1, 0, 0, 0, 0, 0], [7, 1, 1, 0, 0, 0, 0, 0, 0]]
)
def test_whitened_product_where_one_stimulus_dominates_a_draw(rng, method, counts):
    x = rng.random((4, PAIRS))
    g = gram(x, method, np.array([counts]))
    length = g.norms()[0]
    explicit = compare(replicate(x, np.array(counts)), None, method)
    np.testing.assert_allclose(g.inner[0] / np.outer(length, length), explicit, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", LINEAR)
def test_whitened_lengths_come_from_the_covariance_of_distances(rng, method):
    x = rng.random((3, PAIRS))
    i, j = np.triu_indices(N, 1)
    c = np.zeros((PAIRS, N))
    c[np.arange(PAIRS), i], c[np.arange(PAIRS), j] = 1, -1
    v = (c @ c.T) ** 2 if method.endswith("_cov") else np.eye(PAIRS)
    y = x - x.mean(1, keepdims=True) if method.startswith("corr") else x
    np.testing.assert_allclose(gram(x, method).inner[0], y @ np.linalg.solve(v, y.T), rtol=1e-10, atol=1e-12)


def test_gram_leaves_out_what_is_not_needed_and_keeps_the_rest(rng):
    x = rng.random((4, PAIRS))
    needed = np.zeros((4, 4), bool)
    needed[0, 2] = True
    ones = np.ones((1, N))
    full, part = gram(x, "corr_cov").inner[0], gram(x, "corr_cov", ones, needed).inner[0]
    known = np.isfinite(part)
    np.testing.assert_array_equal(known, needed | needed.T | np.eye(4, dtype=bool))
    np.testing.assert_allclose(part[known], full[known], rtol=1e-13)


def test_result_does_not_depend_on_block_sizes(rng, monkeypatch):
    models, data = rng.random((3, PAIRS)), rng.random((4, PAIRS))
    for method in ("corr_cov", "rho-a"):
        before = evaluate(models, data, method, resample="both", n_boot=30, rng=0).samples["both"]
        for where in ("_gram", "_resample", "evaluate"):
            monkeypatch.setattr(importlib.import_module(f"neuro.rsa.{where}"), "BLOCK", 200)
        after = evaluate(models, data, method, resample="both", n_boot=30, rng=0).samples["both"]
        np.testing.assert_allclose(before, after, rtol=0, atol=1e-14)
        monkeypatch.undo()


def test_replicate_equals_a_double_loop(rng):
    x = rng.random((2, PAIRS))
    counts = draw_counts(1, np.arange(N), 1)[0]
    np.testing.assert_array_equal(replicate(x, counts), [repeated(d, counts) for d in x])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30), st.booleans())
def test_weighted_mid_ranks_are_ranks_of_repeated_values(seed, n, ties):
    rng = np.random.default_rng(seed)
    x = rng.integers(4, size=(1, n)) if ties else rng.random((1, n))
    w = rng.integers(4, size=n)
    w[0] = 1
    got = Ranked(x.astype(float)).centred(0, w[None].astype(float))[0]
    expected = rankdata(np.repeat(x[0], w)) - (w.sum() + 1) / 2
    np.testing.assert_allclose(np.repeat(got, w), expected, atol=1e-12)


def test_rank_scores_share_draws_of_stimuli_between_sets_of_subjects(rng):
    models, data = rng.random((2, PAIRS)), rng.random((3, PAIRS))
    counts = draw_counts(4, np.arange(N), 0)
    weights = np.stack([np.ones((4, 3)), draw_counts(4, np.arange(3), 1)])
    scores, _, upper = rank_scores(models, data, "rho-a", counts, weights, np.arange(3))
    assert scores.shape == (4, 2, 3)
    assert upper.shape == (2, 4, 3)
    np.testing.assert_array_equal(np.isnan(upper[1]), weights[1] == 0)


def test_groups_of_stimuli_are_drawn_as_blocks():
    groups = np.array([0, 0, 1, 2, 2, 2])
    counts = draw_counts(50, groups, 0)
    np.testing.assert_array_equal(counts[:, 0], counts[:, 1])
    np.testing.assert_array_equal(counts[:, 3], counts[:, 5])
    np.testing.assert_array_equal(counts[:, [0, 2, 3]].sum(1), 3)


def test_pair_weights_are_products_of_counts():
    np.testing.assert_array_equal(pair_weights(np.array([[2.0, 1.0, 0.0]])), [[2, 0, 0]])


def test_dual_formula_and_its_bounds():
    both, subject, stimulus, r, s = 10.0, 3.0, 4.0, 5, 9
    a, b = 5 / 4 * subject, 9 / 8 * stimulus
    expected = a + b - 5 * 9 / (4 * 8) * (both - subject - stimulus)
    assert dual_variance(both, subject, stimulus, r, s) == pytest.approx(max(expected, a, b))
    assert dual_variance(8.0, subject, stimulus, r, s) == pytest.approx(a + b - 45 / 32)
    assert dual_variance(100.0, subject, stimulus, r, s) == pytest.approx(max(a, b))
    assert dual_variance(4.0, subject, stimulus, r, s) == 4.0


def test_dual_formula_is_that_of_rsatoolbox(rng):
    import warnings

    pytest.importorskip("rsatoolbox")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from rsatoolbox.util.inference_util import _dual_bootstrap
    v = rng.random((3, 20))
    np.testing.assert_allclose(dual_variance(*v, 6, 20), _dual_bootstrap(v, 6, 20), rtol=1e-12)


@pytest.mark.parametrize("method", ["cosine", "corr", "cosine_cov", "corr_cov", "rho-a"])
@pytest.mark.parametrize("axis", ["stimulus", "both"])
def test_resamples_drawn_by_rsatoolbox_score_the_same(problem, method, axis):
    pytest.importorskip("rsatoolbox")
    models, data = problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import rsatoolbox
        from rsatoolbox.inference import boot_noise_ceiling, bootstrap_sample, bootstrap_sample_pattern

        toolbox = rsatoolbox.rdm.RDMs(data)
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(0)  # noqa: NPY002
        module = importlib.import_module("neuro.rsa.evaluate")
        for _ in range(4):
            rows = np.arange(4)
            if axis == "both":
                sample, rows, drawn = bootstrap_sample(toolbox)
            else:
                sample, drawn = bootstrap_sample_pattern(toolbox)
            predicted = [rsatoolbox.rdm.RDMs(m[None]).subsample_pattern("index", drawn) for m in models]
            scores = [rsatoolbox.rdm.compare(m, sample, method).mean() for m in predicted]
            expected = [*scores, *boot_noise_ceiling(sample, method, rdm_descriptor="index")]
            counts = np.bincount(drawn, minlength=N)[None].astype(float)
            weights = np.bincount(rows, minlength=4)[None].astype(float)
            with pytest.MonkeyPatch.context() as patch:
                draws = iter([counts, weights] if axis == "both" else [counts])
                patch.setattr(module, "draw_counts", lambda n, *_, d=draws: np.repeat(next(d), n, 0))
                result = evaluate(models, data, method, resample=axis, n_boot=2)
            np.testing.assert_allclose(result.samples[axis][0, 0], expected, rtol=0, atol=1e-7)
        np.random.set_state(state)  # noqa: NPY002
