"""Generalisation matrices against planted shared and private parts, sklearn's leave-one-out, and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats import EncodingData, bootstrap_weights, generalisation_matrix, pearson_r, r2
from neuro.stats._generalise import linear_map


def people(rng, n, share, v=20, p=10, n_test=200, noise=1.0, n_people=3):
    """Voxels at the same places whose weights have correlation ``share`` between people."""
    common = rng.standard_normal((p, v))
    out = {}
    for k in range(n_people):
        own = rng.standard_normal((p, v))
        own -= common * ((own * common).sum(0) / (common**2).sum(0))  # private means orthogonal to what is shared
        own *= np.linalg.norm(common, axis=0) / np.linalg.norm(own, axis=0)
        W = np.sqrt(share) * common + np.sqrt(1 - share) * own
        X = rng.standard_normal((n + n_test, p))
        Y = X @ W + noise * rng.standard_normal((n + n_test, v))
        out[f"S{k}"] = (X[:n], Y[:n], X[n:], Y[n:])
    return out


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_the_matrix_holds_the_share_of_weights_that_people_have_in_common(rng, share):
    """With unit features the correlation is ``w_i w_j``, so that of another person's encoder is ``share`` times ours.

    Private weights of two people are orthogonal to the common ones but not to one another, which scatters about 0.
    """
    found = generalisation_matrix(Ridge(1.0), people(rng, 800, share, v=200, p=40), n_bootstraps=200)
    away = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(found.normalised[0, away, 0], share, atol=0.05)
    np.testing.assert_array_equal(found.normalised[0, ~away, 0], 1)
    np.testing.assert_array_equal(found.low[0, ~away, 0], 1)
    mean, low, high = found.transfer()
    assert mean[0, 0] == pytest.approx(found.normalised[0, away, 0].mean())
    assert low[0, 0] < share + 0.02
    assert high[0, 0] > share - 0.02
    assert high[0, 0] - low[0, 0] < 0.1


def test_intervals_cover_what_other_images_would_have_shown(rng):
    """The encoders stay as they are; a large test set tells their true ratio."""
    hits = 0
    for seed in range(40):
        data = people(rng, 100, 0.5, v=3, n_test=4100, n_people=2)
        small = {k: (X, Y, X_test[:100], Y_test[:100]) for k, (X, Y, X_test, Y_test) in data.items()}
        large = {k: (X, Y, X_test[100:], Y_test[100:]) for k, (X, Y, X_test, Y_test) in data.items()}
        found = generalisation_matrix(Ridge(1.0), small, n_bootstraps=200, seed=seed)
        truth = generalisation_matrix(Ridge(1.0), large, n_bootstraps=1).normalised[0, 0, 1, 0]
        hits += found.low[0, 0, 1, 0] <= truth <= found.high[0, 0, 1, 0]
    assert hits / 40 >= 0.93 - 0.08


def test_cells_are_fits_here_and_tests_there(rng):
    data = people(rng, 60, 0.6, v=5, n_test=40)
    rois = {"V1": [0, 1], "V4": [2, 3, 4]}
    image = np.arange(40) // 2
    full = {k: EncodingData(*d, rois=rois, test_groups=image) for k, d in data.items()}
    models = {"weak": Ridge(1000.0), "strong": lambda a, b, c: Ridge(1.0).fit(a, b).predict(c)}
    found = generalisation_matrix(models, full, metric="r2", n_bootstraps=50, seed=2)
    assert (found.models, found.names, found.rois) == (("weak", "strong"), ("S0", "S1", "S2"), ("V1", "V4"))
    for m, alpha in enumerate((1000.0, 1.0)):
        for i, source in enumerate(data.values()):
            fitted = Ridge(alpha).fit(*source[:2])
            for j, (_, _, X_test, Y_test) in enumerate(data.values()):
                expected = r2(Y_test, fitted.predict(X_test))
                np.testing.assert_allclose(found.scores[m, i, j], [expected[:2].mean(), expected[2:].mean()])
    counts = bootstrap_weights(40, 50, image, 2)[7]
    rows = np.repeat(np.arange(40), counts.astype(int))
    _, _, X_test, Y_test = data["S1"]
    both = [r2(Y_test[rows], Ridge(1.0).fit(*data[k][:2]).predict(X_test)[rows])[2:].mean() for k in ("S0", "S1")]
    np.testing.assert_allclose(found.samples[1, :2, 1, 7, 1], both)
    draws = found.samples[1, 0, 1, :, 1] / found.samples[1, 1, 1, :, 1]
    assert found.low[1, 0, 1, 1] == pytest.approx(np.quantile(draws, 0.025))
    table = found.to_frame().set_index(["model", "fitted", "tested", "roi"])
    assert len(table) == 36
    row = table.loc[("strong", "S0", "S1", "V4")]
    assert row["score"] == pytest.approx(found.scores[1, 0, 1, 1])
    assert row["normalised"] == pytest.approx(found.normalised[1, 0, 1, 1])
    assert row["ci_low"] == pytest.approx(found.low[1, 0, 1, 1])


def own_places(rng, n, n_shared, private):
    """Voxels mix the same three features and three that each person has for itself; returns data and the best ratio.

    What S0 can tell of a voxel of S1 is the common part of its weights w, so the correlation is |common| / |w| of ours.
    """
    axes = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    X_shared = rng.standard_normal((n_shared, 12))
    out, ratio = {}, 0.0
    for k, v in enumerate((30, 45)):
        common = np.sqrt(1 - private) * axes[:, :3] @ rng.standard_normal((3, v))
        own = np.sqrt(private) * axes[:, 3 + 3 * k : 6 + 3 * k] @ rng.standard_normal((3, v))
        X = np.concatenate([X_shared, rng.standard_normal((n, 12))])
        Y = X @ (common + own) + 0.5 * rng.standard_normal((len(X), v))
        out[f"S{k}"] = EncodingData(X[: -n // 2], Y[: -n // 2], X[-n // 2 :], Y[-n // 2 :], shared=np.arange(n_shared))
        length = np.linalg.norm(common + own, axis=0)
        sd = np.sqrt(length**2 + 0.25)
        ratio = (np.linalg.norm(common, axis=0) / sd).mean() / (length / sd).mean()
    return out, ratio


@pytest.mark.parametrize("private", [0.0, 0.5, 1.0])
def test_a_linear_map_finds_what_other_places_have_in_common(rng, private):
    data, ratio = own_places(rng, 600, 500, private)
    found = generalisation_matrix(Ridge(1.0), data, match="linear", n_bootstraps=50)
    assert found.normalised[0, 0, 1, 0] == pytest.approx(ratio, abs=0.06)
    assert (found.normalised[0, [0, 1], [0, 1], 0] == 1).all()


@pytest.mark.parametrize("shape", [(40, 15), (25, 60)])
def test_the_map_is_ridge_regression_with_leave_one_out(rng, shape):
    n, v = shape
    A = rng.standard_normal((n, v)) + 2
    B = A @ rng.standard_normal((v, 6)) * [1, 0.5, 0.2, 0.1, 0, 3] + 2 * rng.standard_normal((n, 6)) - 1
    H = rng.standard_normal((7, v))
    A0 = A - A.mean(0)
    grid = np.logspace(-4, 5, 19) * np.linalg.eigvalsh(A0 @ A0.T).mean()
    theirs = RidgeCV(alphas=grid, alpha_per_target=True).fit(A, B)
    np.testing.assert_allclose(linear_map(A, B, H), theirs.predict(H), atol=1e-6)


def test_regions_are_means_of_people_with_different_voxels(rng):
    common = rng.standard_normal((10, 2))
    out = {}
    for name, sizes in (("S0", (20, 30)), ("S1", (40, 10))):
        W = np.repeat(common, sizes, axis=1) + 3 * rng.standard_normal((10, 50))
        X = rng.standard_normal((400, 10))
        Y = X @ W + rng.standard_normal((400, 50))
        rois = {"V1": np.arange(sizes[0]), "V4": np.arange(sizes[0], 50)}
        Y[:, 0] = np.nan
        out[name] = EncodingData(X[:300], Y[:300], X[300:], Y[300:], rois=rois)
    found = generalisation_matrix(Ridge(1.0), out, match="rois", n_bootstraps=20)
    first, second = out["S0"], out["S1"]
    mean = [np.nanmean(d.Y_test[:, d.rois["V4"]], axis=1) for d in (first, second)]
    fitted = Ridge(1.0).fit(first.X, np.stack([np.nanmean(first.Y[:, m], axis=1) for m in first.rois.values()], axis=1))
    expected = [pearson_r(y, fitted.predict(d.X_test)[:, 1]) for y, d in zip(mean, (first, second), strict=True)]
    np.testing.assert_allclose(found.scores[0, 0, :, 1], expected)
    assert found.normalised[0, 0, 1].min() > 0.3


def test_tensors_feature_spaces_and_missing_voxels(rng):
    torch = pytest.importorskip("torch")
    data = people(rng, 60, 0.6, v=4, n_test=30)
    data["S1"][3][:, 2] = 0.5
    plain = generalisation_matrix(Ridge(1.0, fit_intercept=False), data, n_bootstraps=20)

    def solve(X, Y, X_test):
        return X_test @ torch.linalg.solve(X.T @ X + torch.eye(X.shape[1]), X.T @ Y)

    tensors = generalisation_matrix(solve, {k: tuple(map(torch.tensor, d)) for k, d in data.items()}, n_bootstraps=20)
    np.testing.assert_allclose(tensors.scores, plain.scores)
    np.testing.assert_allclose(tensors.low, plain.low)

    def named(X, Y, X_test):
        X, X_test = (np.concatenate(list(x.values()), axis=1) for x in (X, X_test))
        return Ridge(1.0, fit_intercept=False).fit(X, Y).predict(X_test)

    def split(X):
        return {"a": X[:, :4], "b": X[:, 4:]}

    spaces = {k: (split(X), Y, split(X_test), Y_test) for k, (X, Y, X_test, Y_test) in data.items()}
    np.testing.assert_allclose(generalisation_matrix(named, spaces, n_bootstraps=20).scores, plain.scores)
    _, _, X_test, Y_test = data["S1"]
    fitted = Ridge(1.0, fit_intercept=False).fit(*data["S0"][:2])
    expected = pearson_r(Y_test, fitted.predict(X_test))
    assert plain.scores[0, 0, 1, 0] == pytest.approx(expected[[0, 1, 3]].mean())


def test_a_reference_that_predicts_nothing_gives_no_ratio(rng):
    data = people(rng, 60, 0.6, v=4, n_test=60, n_people=2)
    X, Y, X_test, Y_test = data["S1"]
    data["S1"] = (X, Y, X_test, -Y_test)  # its own encoder predicts the opposite
    found = generalisation_matrix(Ridge(1.0), data, n_bootstraps=20)
    assert np.isnan(found.normalised[0, :, 1]).all()
    assert np.isfinite(found.normalised[0, :, 0]).all()
    assert np.isfinite(found.scores).all()


def test_what_does_not_fit_together_is_refused(rng):
    data = people(rng, 30, 0.6, v=4, n_test=20, n_people=2)
    X, Y, X_test, Y_test = data["S1"]

    def refused(text, other, error=ShapeMismatch):
        with pytest.raises(error, match=text):
            generalisation_matrix(Ridge(), {"S0": data["S0"], "S1": other})

    with pytest.raises(ShapeMismatch, match="dict of at least 2"):
        generalisation_matrix(Ridge(), {"S0": data["S0"]})
    refused("got tuple of 2", (X, Y))
    refused("got ndarray", X)
    refused(r"'S0' has 4 voxels, 'S1' has 3.*match='rois' or 'linear'", (X, Y[:, :3], X_test, Y_test[:, :3]))
    refused("same features", (X[:, :5], Y, X_test[:, :5], Y_test))
    refused("same features", (X, Y, X_test[:, :5], Y_test))
    refused("Y of 'S1' has 4 voxels, Y_test has 3", (X, Y, X_test, Y_test[:, :3]))
    refused("X and Y of 'S1' must describe the same stimuli", (X, Y[1:], X_test, Y_test))
    refused("none of 4 voxels", (X, np.full_like(Y, np.nan), X_test, Y_test), EmptySelection)
    refused("same names in the same order", EncodingData(*data["S1"], rois={"V1": [0]}))
    with pytest.raises(ValueError, match="needs regions"):
        generalisation_matrix(Ridge(), data, match="rois")
    both = {k: EncodingData(*d, rois={"V1": [0], "V2": []}) for k, d in data.items()}
    with pytest.raises(EmptySelection, match="'S0' has no voxel with finite responses in 'V2'"):
        generalisation_matrix(Ridge(), both, match="rois")
    with pytest.raises(ShapeMismatch, match="at least 3 images that all data sets share"):
        generalisation_matrix(Ridge(), data, match="linear")
    for rows, text in (
        ([0, 1, 1], r"distinct rows in 0\.\.29"),
        ([0, 1, 30], r"distinct rows in 0\.\.29"),
        ([0, 1, 2, 3], "3 rows of 'S0', 4 of 'S1'"),
    ):
        both = {
            "S0": EncodingData(*data["S0"], shared=[0, 1, 2]),
            "S1": EncodingData(*data["S1"], shared=rows),
        }
        with pytest.raises(ShapeMismatch, match=text):
            generalisation_matrix(Ridge(), both, match="linear")
    with pytest.raises(ShapeMismatch, match="groups of 'S1' must name one group"):
        generalisation_matrix(Ridge(), {**data, "S1": EncodingData(*data["S1"], groups=np.zeros(3))})
    with pytest.raises(ValueError, match="'voxels', 'rois' or 'linear', got 'anatomy'"):
        generalisation_matrix(Ridge(), data, match="anatomy")
