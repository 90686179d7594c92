"""Data-efficiency curves against the analytic curves of least squares and ridge, and against being interrupted."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from neuro.errors import CorruptFile, EmptySelection, ShapeMismatch, StaleStore
from neuro.stats import bootstrap_weights, efficiency_curve, r2

SIZES = [30, 60, 120]


# Curves


def test_least_squares_follows_its_expected_error(rng, linear):
    """The squared error of p Gaussian features and an intercept is sigma^2 (1 + 1/n) (n - 2) / (n - p - 2)."""
    X, Y = linear(rng, 6000, 20, 60)
    sizes = np.array([35, 50, 80, 200])
    curve = efficiency_curve(LinearRegression(), X[:3000], Y[:3000], X[3000:], Y[3000:], sizes, 20, metric="r2")
    error = (1 + 1 / sizes) * (sizes - 2) / (sizes - 20 - 2)
    expected = error * np.mean(1 / Y[3000:].var(0))
    ratio = (1 - curve.roi_scores.mean((0, 2))[:, 0]) / expected
    assert (np.abs(ratio - 1) < [0.12, 0.05, 0.03, 0.02]).all()


def test_ridge_with_the_best_penalty_follows_its_analytic_curve(rng, linear, ridge):
    """With weights of variance s^2/p and penalty p sigma^2 / s^2 the expected excess error is sigma^2 tr (X'X + a)^-1.

    The trace is p/n times the Stieltjes transform of the Marchenko-Pastur law at -a/n.
    """
    p, signal = 60, 1.5
    X, Y = linear(rng, 5000, p, 200, signal=signal)
    penalty = p / signal**2
    sizes = np.array([15, 30, 60, 120, 400])
    curve = efficiency_curve(ridge(penalty), X[:3000], Y[:3000], X[3000:], Y[3000:], sizes, 12, metric="r2")
    c, z = p / sizes, penalty / sizes
    stieltjes = (np.sqrt((1 - c + z) ** 2 + 4 * c * z) - (1 - c + z)) / (2 * c * z)
    expected = 1 - (1 + c * stieltjes) / (1 + signal**2)
    np.testing.assert_allclose(curve.roi_scores.mean((0, 2))[:, 0], expected, atol=0.012)
    low, high = curve.interval()
    assert ((low[0, :, 0] - 0.012 < expected) & (expected < high[0, :, 0] + 0.012)).all()


def test_scores_are_those_of_fits_to_the_drawn_images(rng, linear, ridge):
    X, Y = linear(rng, 200, 8, 5)
    rois = {"V1": [0, 1], "V4": [2, 3, 4]}
    seen = []

    def remember(X_train, Y_train, X_test):
        seen.append((X_train, Y_train))
        return ridge(1.0)(X_train, Y_train, X_test)

    models = {"mine": remember, "sklearn": Ridge(1.0, fit_intercept=False)}
    curve = efficiency_curve(models, X[:120], Y[:120], X[120:], Y[120:], SIZES, 3, metric="r2", rois=rois)
    np.testing.assert_allclose(curve.scores[0], curve.scores[1])
    assert [len(a) for a, _ in seen] == SIZES * 3
    for k, (a, b) in enumerate(seen):
        expected = r2(Y[120:], ridge(1.0)(a, b, X[120:]))
        np.testing.assert_allclose(curve.scores[0, k % 3, k // 3], expected)
        assert len(np.unique(a[:, 0])) == len(a)
        rows = np.flatnonzero(np.isin(X[:, 0], a[:, 0]))
        assert rows.max() < 120
        assert set(map(tuple, b)) == set(map(tuple, Y[rows]))
    np.testing.assert_allclose(curve.roi_scores[..., 1], curve.scores[..., 2:].mean(-1))
    table = curve.to_frame().set_index(["model", "roi", "n_images"])
    row = table.loc[("mine", "V4", 60)]
    assert row["score"] == pytest.approx(curve.roi_scores[0, 1, :, 1].mean())
    assert row["error"] == pytest.approx(curve.roi_scores[0, 1, :, 1].std(ddof=1))
    assert row["ci_low"] == pytest.approx(np.quantile(curve.roi_scores[0, 1, :, 1], 0.025))
    assert curve.scores[:, 2].std(1).max() < 1e-9  # all images: nothing left to draw


@pytest.mark.parametrize("nested", [True, False])
def test_subsets_are_nested_only_if_asked(rng, nested, linear, ridge):
    X, Y = linear(rng, 100, 3, 2)
    seen = []

    def remember(X_train, Y_train, X_test):
        seen.append(set(X_train[:, 0]))
        return ridge(1.0)(X_train, Y_train, X_test)

    efficiency_curve(remember, X[:80], Y[:80], X[80:], Y[80:], [10, 20, 40], 4, nested=nested)
    inside = [a <= b for a, b in pairwise(seen) if len(b) > len(a)]
    assert all(inside) == nested
    assert seen[0] != seen[3]


def test_whole_stimuli_are_drawn_and_told_to_the_estimator(rng, linear):
    image = rng.permutation(np.repeat(np.arange(40), 3))
    X, Y = linear(rng, 120, 4, 3)
    X[:, 0] = image
    told = []

    class Grouped(Ridge):
        def fit(self, X, y, groups=None):
            told.append((X[:, 0], groups))
            return super().fit(X, y)

    curve = efficiency_curve(Grouped(), X, Y, *linear(rng, 30, 4, 3), [5, 20], 2, groups=image)
    assert curve.n_units == 40
    assert [len(x) for x, _ in told] == [15, 60] * 2
    for x, groups in told:
        np.testing.assert_array_equal(x, groups)
        np.testing.assert_array_equal(np.unique(groups, return_counts=True)[1], 3)


def test_feature_spaces_tensors_and_one_voxel(rng, linear, ridge):
    torch = pytest.importorskip("torch")
    X, Y = linear(rng, 90, 6, 1)

    def bands(X_train, Y_train, X_test):
        join = lambda x: np.concatenate([x["a"], x["b"]], axis=1)  # noqa: E731
        return ridge(1.0)(join(X_train), Y_train, join(X_test))

    def split(x):
        return {"a": x[:, :2], "b": x[:, 2:]}

    def torch_ridge(X_train, Y_train, X_test):
        assert X_train.dtype == torch.float64
        return X_test @ torch.linalg.solve(X_train.T @ X_train + torch.eye(6), X_train.T @ Y_train)

    plain = efficiency_curve(ridge(1.0), X[:60], Y[:60], X[60:], Y[60:], [10, 30], 2)
    named = efficiency_curve(bands, split(X[:60]), Y[:60], split(X[60:]), Y[60:], [10, 30], 2)
    T, U = torch.tensor(X), torch.tensor(Y)
    tensors = efficiency_curve(torch_ridge, T[:60], U[:60], T[60:], U[60:], [10, 30], 2)
    sklearn = efficiency_curve(Ridge(1.0, fit_intercept=False), X[:60], Y[:60], X[60:], Y[60:], [10, 30], 2)
    for other in (named, tensors, sklearn):
        np.testing.assert_allclose(other.scores, plain.scores)


def test_threads_and_seeds(rng, linear):
    X, Y = linear(rng, 90, 6, 3)
    data = X[:60], Y[:60], X[60:], Y[60:]
    first = efficiency_curve(Ridge(), *data, [10, 30], 3, seed=3)
    np.testing.assert_array_equal(efficiency_curve(Ridge(), *data, [10, 30], 3, seed=3, n_jobs=2).scores, first.scores)
    np.testing.assert_array_equal(efficiency_curve(Ridge(), *data, [10, 30], 2, seed=3).scores, first.scores[:, :, :2])
    assert (efficiency_curve(Ridge(), *data, [10, 30], 3, seed=4).scores != first.scores).any()


def test_resampled_test_images_are_the_same_for_all_fits(rng, tmp_path, linear, ridge):
    X, Y = linear(rng, 150, 8, 5)
    image = np.arange(50) // 2
    rois = {"V1": [0, 1], "V4": [2, 3, 4]}
    data = X[:100], Y[:100], X[100:], Y[100:]
    hats = []

    def remember(X_train, Y_train, X_test):
        hats.append(ridge(1.0)(X_train, Y_train, X_test))
        return hats[-1]

    options = {"metric": "r2", "rois": rois, "n_bootstraps": 40, "test_groups": image, "seed": 6}
    curve = efficiency_curve({"m": remember}, *data, [20, 60], 3, path=tmp_path, **options)
    assert curve.samples.shape == (1, 2, 3, 40, 2)
    rows = np.repeat(np.arange(50), bootstrap_weights(50, 40, image, 6)[11].astype(int))
    for k, hat in enumerate(hats):
        expected = r2(Y[100:][rows], hat[rows])[2:].mean()
        assert curve.samples[0, k % 2, k // 2, 11, 1] == pytest.approx(expected)
    again = efficiency_curve({"m": remember}, *data, [20, 60], 3, path=tmp_path, **options)
    assert len(hats) == 6
    np.testing.assert_array_equal(again.samples, curve.samples)
    np.testing.assert_array_equal(again.scores, curve.scores)
    with pytest.raises(StaleStore, match="resampling differ"):
        efficiency_curve({"m": remember}, *data, [20, 60], 3, path=tmp_path, **{**options, "rois": None})


# Interruption


def test_a_killed_run_continues_with_the_same_numbers(rng, tmp_path, linear, ridge):
    X, Y = linear(rng, 90, 6, 3)
    data = X[:60], Y[:60], X[60:], Y[60:]
    fits = []

    def model(X_train, Y_train, X_test):
        if len(fits) == 4:
            raise KeyboardInterrupt
        fits.append(len(X_train))
        return ridge(1.0)(X_train, Y_train, X_test)

    whole = efficiency_curve({"m": ridge(1.0)}, *data, [10, 20, 30], 3)
    with pytest.raises(KeyboardInterrupt):
        efficiency_curve({"m": model}, *data, [10, 20, 30], 3, path=tmp_path / "run")
    assert len(list((tmp_path / "run").glob("*.npy"))) == 4
    fits[:] = [0] * 5  # no interruption from here on
    again = efficiency_curve({"m": model}, *data, [10, 20, 30], 3, path=tmp_path / "run")
    assert fits[5:] == [20, 30, 10, 20, 30]
    np.testing.assert_array_equal(again.scores, whole.scores)
    more = efficiency_curve({"m": model}, *data, [10, 20, 30], 4, path=tmp_path / "run")
    assert fits[10:] == [10, 20, 30]
    np.testing.assert_array_equal(more.scores[:, :, :3], whole.scores)


def test_a_run_continues_on_another_machine(rng, tmp_path, linear):
    X, Y = linear(rng, 90, 6, 3)
    data = X[:60], Y[:60], X[60:], Y[60:]
    first = efficiency_curve(LinearRegression(n_jobs=1), *data, [10, 30], 1, path=tmp_path)
    again = efficiency_curve(LinearRegression(n_jobs=2), *data, [10, 30], 1, path=tmp_path)
    np.testing.assert_array_equal(again.scores, first.scores)
    with pytest.raises(StaleStore, match="models differ"):
        efficiency_curve(LinearRegression(fit_intercept=False), *data, [10, 30], 1, path=tmp_path)


def test_a_folder_of_another_run_is_refused(rng, tmp_path, linear):
    X, Y = linear(rng, 90, 6, 3)
    data = X[:60], Y[:60], X[60:], Y[60:]
    folder = tmp_path / "run"
    efficiency_curve({"m": Ridge(1.0)}, *data, [10, 30], 1, path=folder)
    changes = {
        "models": ({"m": Ridge(2.0)}, data, [10, 30], {}),
        "data": ({"m": Ridge(1.0)}, (X[:60], Y[:60] + 1e-9, *data[2:]), [10, 30], {}),
        "sizes": ({"m": Ridge(1.0)}, data, [10, 40], {}),
        "metric": ({"m": Ridge(1.0)}, data, [10, 30], {"metric": "r2"}),
        "seed": ({"m": Ridge(1.0)}, data, [10, 30], {"seed": 1}),
        "nested": ({"m": Ridge(1.0)}, data, [10, 30], {"nested": False}),
        "groups": ({"m": Ridge(1.0)}, data, [10, 30], {"groups": np.arange(60)}),
    }
    for name, (models, arrays, sizes, options) in changes.items():
        with pytest.raises(StaleStore, match=f"another run: {name} differ"):
            efficiency_curve(models, *arrays, sizes, 1, path=folder, **options)
    file = next(folder.glob("*.npy"))
    np.save(file, np.zeros((2, 2)))
    with pytest.raises(CorruptFile, match=r"should hold \(1, 3\), it holds \(2, 2\)"):
        efficiency_curve({"m": Ridge(1.0)}, *data, [10, 30], 1, path=folder)
    file.write_bytes(b"\x93NUMPY")
    with pytest.raises(CorruptFile, match="cannot be read"):
        efficiency_curve({"m": Ridge(1.0)}, *data, [10, 30], 1, path=folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(StaleStore, match="not a folder of scores"):
        efficiency_curve({"m": Ridge(1.0)}, *data, [10, 30], 1, path=tmp_path / "other")


def test_what_makes_no_curve_is_refused(rng, linear):
    X, Y = linear(rng, 60, 4, 3)
    data = X[:40], Y[:40], X[40:], Y[40:]
    with pytest.raises(ValueError, match="at most 40, the number of training rows, got 50"):
        efficiency_curve(Ridge(), *data, [10, 50])
    with pytest.raises(ValueError, match="at most 20, the number of training stimuli"):
        efficiency_curve(Ridge(), *data, [30], groups=np.arange(40) // 2)
    with pytest.raises(ValueError, match=r"sizes must rise, got \[30, 10\]"):
        efficiency_curve(Ridge(), *data, [30, 10])
    with pytest.raises(ValueError, match="size must be an integer of at least 2"):
        efficiency_curve(Ridge(), *data, [0.5, 10])
    with pytest.raises(ValueError, match=r"sizes must rise, got \[\]"):
        efficiency_curve(Ridge(), *data, [])
    with pytest.raises(ValueError, match=r"'model' must be an estimator.*got int"):
        efficiency_curve(3, *data, [10])
    with pytest.raises(ValueError, match="got Ridge itself"):
        efficiency_curve(Ridge, *data, [10])
    with pytest.raises(ValueError, match="empty dict"):
        efficiency_curve({}, *data, [10])
    with pytest.raises(ShapeMismatch, match="X and Y must describe the same stimuli, got 40 and 39"):
        efficiency_curve(Ridge(), X[:40], Y[:39], X[40:], Y[40:], [10])
    with pytest.raises(ShapeMismatch, match="Y has 3 voxels, Y_test has 2"):
        efficiency_curve(Ridge(), X[:40], Y[:40], X[40:], Y[40:, :2], [10])
    with pytest.raises(ShapeMismatch, match=r"predictions must be \(20, 3\)"):
        efficiency_curve(lambda a, b, c: np.zeros((3, 20)), *data, [10])
    with pytest.raises(EmptySelection, match="X_test and Y_test: none of 3 voxels"):
        efficiency_curve(Ridge(), X[:40], Y[:40], X[40:], np.ones((20, 3)), [10])
    with pytest.raises(ShapeMismatch, match="feature spaces must have the same rows"):
        efficiency_curve(Ridge(), {"a": X[:40], "b": X[:39]}, Y[:40], X[40:], Y[40:], [10])
