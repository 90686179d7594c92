"""Partial and regression RSA against residuals, dense solvers and shares of planted variance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.stats import rankdata

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa._resample import replicate
from neuro.rsa.models import Weighted
from neuro.rsa.partial import partial_rsa, regress_rsa, variance_partition
from neuro.rsa.permutation import sign_flip_test

N = 12
PAIRS = 66


@pytest.fixture
def inputs(rng):
    models = rng.random((3, PAIRS))
    models[2] += 0.7 * models[0]
    data = models[0] + 0.5 * models[1] + 0.3 * rng.standard_normal((4, PAIRS))
    return models, data


def residual(y, x):
    x = np.column_stack([np.ones(len(y)), *x])
    return y - x @ np.linalg.lstsq(x, y, rcond=None)[0]


@pytest.mark.parametrize("method", ["corr", "spearman"])
def test_partial_correlation_is_the_correlation_of_residuals(inputs, method):
    models, data = inputs
    result = partial_rsa(models, data, method)
    x, y = (rankdata(z, axis=1) if method == "spearman" else z for z in (models, data))
    for j in range(3):
        rest = np.delete(x, j, 0)
        for r in range(4):
            expected = np.corrcoef(residual(x[j], rest), residual(y[r], rest))[0, 1]
            assert result.partial[j, r] == pytest.approx(expected, abs=1e-12)
            assert result.simple[j, r] == pytest.approx(np.corrcoef(x[j], y[r])[0, 1], abs=1e-12)


@pytest.mark.parametrize("method", ["corr", "corr_cov", "cosine", "cosine_cov"])
def test_partial_correlation_is_that_of_the_inverse(inputs, method):
    from neuro.rsa.compare import compare

    models, data = inputs
    result = partial_rsa(models, data[:1], method)
    a = np.linalg.inv(compare(np.vstack([data[:1], models]), None, method))
    expected = -a[0, 1:] / np.sqrt(a[0, 0] * np.diag(a)[1:])
    np.testing.assert_allclose(result.partial[:, 0], expected, atol=1e-10)


def test_collinear_models_are_nan_and_do_not_disturb_the_others(inputs):
    models, data = inputs
    twice = np.vstack([models, 2 * models[1] + 1])
    result = partial_rsa(twice, data, "corr")
    assert np.isnan(result.partial[[1, 3]]).all()
    np.testing.assert_allclose(result.partial[[0, 2]], partial_rsa(models, data, "corr").partial[[0, 2]], atol=1e-10)


def test_group_inference_on_partial_correlations(inputs):
    models, data = inputs
    result = partial_rsa({"a": models[0], "b": models[1], "c": models[2]}, data, "corr")
    found = sign_flip_test(result.partial, names=result.models)
    assert found.p[0] == 1 / 16
    frame = result.to_frame()
    assert len(frame) == 12
    assert set(frame.columns) == {"model", "rdm", "partial", "simple", "method"}
    np.testing.assert_array_equal(frame[frame["model"] == "b"]["partial"], result.partial[1])


def whitening():
    i, j = np.triu_indices(N, 1)
    c = np.zeros((PAIRS, N))
    c[np.arange(PAIRS), i], c[np.arange(PAIRS), j] = 1, -1
    return np.linalg.inv(np.linalg.cholesky((c @ c.T) ** 2))


@pytest.mark.parametrize("solver", ["ols", "nnls"])
@pytest.mark.parametrize("whitened", [False, True])
@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_regression_equals_a_dense_solver(inputs, solver, whitened, ridge):
    models, data = inputs
    result = regress_rsa(models, data, solver=solver, whitened=whitened, ridge=ridge)
    root = whitening() if whitened else np.eye(PAIRS)
    x, y = ((z - z.mean(1, keepdims=True)) @ root.T for z in (models, data))
    penalty = ridge * (x**2).sum(1).mean()
    stacked = np.vstack([x.T, np.sqrt(penalty) * np.eye(3)])
    for r in range(4):
        target = np.r_[y[r], np.zeros(3)]
        expected = nnls(stacked, target)[0] if solver == "nnls" else np.linalg.lstsq(stacked, target, rcond=None)[0]
        np.testing.assert_allclose(result.weights[:, r], expected, atol=1e-9)
        rss = ((y[r] - expected @ x) ** 2).sum()
        assert result.r2[r] == pytest.approx(1 - rss / (y[r] ** 2).sum(), abs=1e-10)


def test_unique_r2_is_what_is_lost_without_the_model(inputs):
    models, data = inputs
    result = regress_rsa(models, data)
    for j in range(3):
        without = regress_rsa(np.delete(models, j, 0), data).r2
        np.testing.assert_allclose(result.unique[j], result.r2 - without, atol=1e-12)
    assert (result.unique >= -1e-12).all()


def test_ranks_and_intercept(inputs):
    models, data = inputs
    ranked = regress_rsa(models, data, ranks=True)
    expected = regress_rsa(rankdata(models, axis=1), rankdata(data, axis=1))
    np.testing.assert_allclose(ranked.weights, expected.weights)
    free = regress_rsa(models, data, intercept=False)
    np.testing.assert_allclose(free.weights[:, 0], np.linalg.lstsq(models.T, data[0], rcond=None)[0], atol=1e-10)
    np.testing.assert_allclose(regress_rsa(models, data + 5).weights, regress_rsa(models, data).weights, atol=1e-10)


def test_planted_weights_are_recovered(rng):
    models = rng.random((3, PAIRS))
    data = np.array([2.0, 0.0, 0.7]) @ models + 3
    for solver in ("ols", "nnls"):
        result = regress_rsa(models, data, solver=solver)
        np.testing.assert_allclose(result.weights[:, 0], [2, 0, 0.7], atol=1e-8)
        assert result.r2[0] == pytest.approx(1)


def test_r2_on_held_out_stimuli_by_hand(inputs):
    models, data = inputs
    result = regress_rsa(models, data, cv=3, rng=2)
    fold = np.random.default_rng(2).permutation(N) % 3
    expected = np.zeros(4)
    for f in range(3):
        parts = [(replicate(z, (fold != f) * 1.0), replicate(z, (fold == f) * 1.0)) for z in (models, data)]
        (x, x_test), (y, y_test) = [[p - p.mean(1, keepdims=True) for p in pair] for pair in parts]
        theta = np.linalg.lstsq(x.T, y.T, rcond=None)[0]
        expected += (1 - ((y_test - theta.T @ x_test) ** 2).sum(1) / (y_test**2).sum(1)) / 3
    np.testing.assert_allclose(result.r2_cv, expected, atol=1e-10)
    assert "r2_cv" in result.to_frame()
    noise = regress_rsa(np.random.default_rng(0).random((20, PAIRS)), data, cv=3)
    assert (noise.r2_cv < noise.r2).all()


@pytest.mark.parametrize("n_groups", [2, 3, 4])
@pytest.mark.parametrize("cv", [None, 3])
def test_shares_add_up_to_the_total(rng, n_groups, cv):
    groups = {f"g{k}": rng.random((1 + k % 2, PAIRS)) for k in range(n_groups)}
    data = rng.random((2, PAIRS))
    frame = variance_partition(groups, data, cv=cv)
    assert len(frame) == 2 * 2**n_groups
    for _, part in frame.groupby("rdm"):
        assert part[part["kind"] != "total"]["r2"].sum() == pytest.approx(
            float(part[part["kind"] == "total"]["r2"].iloc[0])
        )


def test_two_groups_by_the_textbook(inputs):
    models, data = inputs
    frame = variance_partition({"a": models[:1], "b": models[1:]}, data[:1], adjusted=False)
    r2 = {k: regress_rsa(m, data[:1]).r2[0] for k, m in [("a", models[:1]), ("b", models[1:]), ("ab", models)]}
    share = frame.set_index("groups")["r2"]
    kinds = frame.set_index(["groups", "kind"])["r2"]
    assert share["a"] == pytest.approx(r2["ab"] - r2["b"])
    assert share["b"] == pytest.approx(r2["ab"] - r2["a"])
    assert kinds["a & b", "shared"] == pytest.approx(r2["a"] + r2["b"] - r2["ab"])
    assert kinds["a & b", "total"] == pytest.approx(r2["ab"])
    adjusted = variance_partition({"a": models[:1], "b": models[1:]}, data[:1]).set_index(["groups", "kind"])["r2"]
    assert adjusted["a & b", "total"] == pytest.approx(1 - (1 - r2["ab"]) * 65 / (65 - 3))


def test_orthogonal_groups_share_nothing_and_noise_explains_nothing_adjusted(rng):
    q = np.linalg.qr(rng.standard_normal((PAIRS, 3)) - 0)[0].T
    q = np.linalg.qr((q - q.mean(1, keepdims=True)).T)[0].T
    data = 2 * q[0] + q[1]
    kinds = variance_partition({"a": q[:1], "b": q[1:2]}, data, adjusted=False).set_index(["groups", "kind"])["r2"]
    assert kinds["a", "unique"] == pytest.approx(0.8)
    assert kinds["b", "unique"] == pytest.approx(0.2)
    assert kinds["a & b", "shared"] == pytest.approx(0, abs=1e-12)
    noise = rng.standard_normal((300, PAIRS))
    frame = variance_partition({"a": rng.standard_normal((4, PAIRS)), "b": rng.standard_normal((3, PAIRS))}, noise)
    assert abs(frame[frame["kind"] == "total"]["r2"].mean()) < 0.02


def test_bad_input_is_refused(inputs):
    models, data = inputs
    holed = data.copy()
    holed[0, 0] = np.nan
    with pytest.raises(ValueError, match="missing"):
        regress_rsa(models, holed)
    with pytest.raises(ValueError, match="single RDMs"):
        regress_rsa(Weighted(models), data)
    with pytest.raises(ValueError, match="method must be"):
        partial_rsa(models, data, "tau-a")
    with pytest.raises(ValueError, match="solver"):
        regress_rsa(models, data, solver="lasso")
    with pytest.raises(ValueError, match="ridge"):
        regress_rsa(models, data, ridge=np.nan)
    with pytest.raises(EmptySelection, match="three in each"):
        regress_rsa(models, data, cv=5)
    with pytest.raises(ValueError, match="2 to 4 groups"):
        variance_partition({"a": models}, data)
    with pytest.raises(ShapeMismatch, match="use fewer models"):
        regress_rsa(np.random.default_rng(0).random((7, 6)), np.arange(6.0))


def test_a_constant_model_gets_no_weight(inputs):
    models, data = inputs
    with pytest.warns(UserWarning, match="constant"):
        result = regress_rsa(np.vstack([models, np.ones(PAIRS)]), data)
    np.testing.assert_allclose(result.weights[3], 0, atol=1e-12)
    np.testing.assert_allclose(result.weights[:3], regress_rsa(models, data).weights, atol=1e-10)
