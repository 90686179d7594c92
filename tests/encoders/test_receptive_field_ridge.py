"""``ReceptiveFieldRidgeCV`` against planted fields and against brute force; no leak; bad input."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import KFold

from neuro.encoders import AlphaAtBoundaryWarning
from neuro.encoders._fields import field_weights
from neuro.encoders.receptive import ReceptiveFieldRidgeCV, receptive_field_grid
from neuro.errors import ShapeMismatch, SplitLeakage

ALPHAS = np.logspace(-1, 4, 6)
pytestmark = pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning")


def looks(maps, fields, extent, log=False):
    """What every field sees of every map, place by place: (n_fields, n_stimuli, n_maps)."""
    out = []
    for x0, y0, size in fields:
        height, width = maps.shape[2:]
        weights = np.empty((height, width))
        for i in range(height):
            for j in range(width):
                x, y = ((j + 0.5) / width - 0.5) * extent, (0.5 - (i + 0.5) / height) * extent
                weights[i, j] = np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * size**2))
        seen = np.einsum("ncij,ij->nc", maps, weights / weights.sum())
        out.append(np.log(1 + np.abs(seen)) if log else seen)
    return np.array(out)


@pytest.fixture(scope="module")
def planted():
    """Maps of white noise (400, 6, 12, 12) over 8 degrees, and 60 voxels of known field and weights, half noise."""
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((400, 6, 12, 12)).astype(np.float32)
    fields = np.stack([rng.uniform(-3, 3, 60), rng.uniform(-3, 3, 60), rng.uniform(0.6, 1.8, 60)], 1)
    signal = np.einsum("vnc,vc->nv", looks(maps, fields, 8.0), rng.standard_normal((60, 6)))
    Y = signal / signal.std(0) + rng.standard_normal(signal.shape)
    return maps, Y.astype(np.float32), fields


@pytest.fixture(scope="module")
def candidates():
    return receptive_field_grid(8.0, n_sizes=4, smallest=0.06, largest=0.25, aperture=0.9)


@pytest.mark.parametrize(("cv", "centre_error"), [(0.1, 0.45), (5, 0.4)])
def test_planted_fields_are_recovered(planted, candidates, cv, centre_error):
    maps, Y, fields = planted
    model = ReceptiveFieldRidgeCV(candidates, cv=cv, extent=8.0).fit(maps[:320], Y[:320])
    error = np.hypot(model.x_ - fields[:, 0], model.y_ - fields[:, 1])
    r = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(model.predict(maps[320:]).T, Y[320:].T, strict=True)])
    r_x, r_size = np.corrcoef(model.x_, fields[:, 0])[0, 1], np.corrcoef(model.size_, fields[:, 2])[0, 1]
    print(f"cv={cv}: median centre error {np.median(error):.3f} degrees, r(x) {r_x:.3f}, r(size) {r_size:.3f}")
    assert np.median(error) < centre_error  # centres of candidates stand 0.5 to 2 degrees apart
    assert (error < candidates[model.field_, 2]).mean() > 0.9  # within one step of the grid
    assert r_x > 0.95
    assert r_size > 0.6
    assert r.mean() > 0.6  # the best possible is 0.71
    assert model.score(maps[320:], Y[320:]) > 0.35


def test_shuffled_stimuli_predict_nothing(planted, candidates):
    maps, Y, _ = planted
    order = np.random.default_rng(1).permutation(320)
    model = ReceptiveFieldRidgeCV(candidates, cv=5, extent=8.0).fit(maps[:320], Y[order])
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(model.predict(maps[320:]).T, Y[320:].T, strict=True)]
    assert abs(np.nanmean(r)) < 0.1


FEW = np.array([[-1.0, 1.0, 0.5], [1.0, 1.0, 1.0], [0.0, -1.0, 2.0], [2.0, 0.0, 0.1]])


def brute_force(maps, Y, splits, fields, scoring, log):
    """Every field, fold, penalty and voxel by a dense solve; features standardised by the fold's training rows."""
    seen = looks(maps, fields, 6.0, log)
    scores = np.zeros((len(fields), len(ALPHAS), Y.shape[1]))
    for g, features in enumerate(seen):
        for train, val in splits:
            mean, std = features[train].mean(0), features[train].std(0)
            Z, held = (features[train] - mean) / std, (features[val] - mean) / std
            y0 = Y[train].mean(0)
            for a, alpha in enumerate(ALPHAS):
                W = np.linalg.solve(Z.T @ Z + alpha * np.eye(Z.shape[1]), Z.T @ (Y[train] - y0))
                P = held @ W + y0
                if scoring == "pearson":
                    scores[g, a] += [np.corrcoef(p, y)[0, 1] for p, y in zip(P.T, Y[val].T, strict=True)]
                else:
                    scores[g, a] -= ((P - Y[val]) ** 2).mean(0)
    return seen, scores / len(splits)


@pytest.mark.parametrize("n_maps", [5, 70])  # fewer and more features than training rows
@pytest.mark.parametrize(("cv", "scoring", "log"), [(3, "neg_mse", False), (0.2, "pearson", True)])
def test_choices_and_weights_are_those_of_brute_force(rng, n_maps, cv, scoring, log):
    maps, Y = rng.standard_normal((50, n_maps, 4, 6)) + 1, rng.standard_normal((50, 7)) + 2
    Y[:, :3] += 3 * looks(maps, FEW[:3], 6.0, log)[:, :, 0].T
    model = ReceptiveFieldRidgeCV(
        FEW, ALPHAS, cv=cv, extent=6.0, scoring=scoring, nonlinearity="log" if log else None
    ).fit(maps, Y)
    seen, scores = brute_force(maps, Y, model.splits_, FEW, scoring, log)
    np.testing.assert_allclose(model.best_score_, scores.max((0, 1)), rtol=1e-8)
    np.testing.assert_array_equal(model.field_, scores.max(1).argmax(0))
    for v in range(7):
        features = seen[model.field_[v]]
        mean, std = features.mean(0), features.std(0)
        Z = (features - mean) / std
        w = np.linalg.solve(Z.T @ Z + model.alpha_[v] * np.eye(n_maps), Z.T @ (Y[:, v] - Y[:, v].mean())) / std
        np.testing.assert_allclose(model.coef_[v], w, atol=1e-9)
        np.testing.assert_allclose(model.predict(maps)[:, v], (features - mean) @ w + Y[:, v].mean(), atol=1e-9)


def test_held_out_rows_do_not_reach_the_scaling(rng):
    maps, Y = rng.standard_normal((40, 3, 4, 4)), rng.standard_normal((40, 5))
    split = [(np.arange(30), np.arange(30, 40))]
    maps[30:] *= 100  # of which standard deviations over all rows would know
    model = ReceptiveFieldRidgeCV(FEW, ALPHAS, cv=split, extent=6.0).fit(maps, Y)
    _, scores = brute_force(maps, Y, split, FEW, "neg_mse", log=False)
    np.testing.assert_allclose(model.best_score_, scores.max((0, 1)))


def test_nothing_depends_on_chunks_threads_kind_of_array_or_order_of_voxels(planted):
    maps, Y, _ = planted
    maps, Y = maps[:120].astype(np.float64), Y[:120].astype(np.float64)
    before = hashlib.sha256(maps.tobytes() + Y.tobytes()).hexdigest()
    plain = ReceptiveFieldRidgeCV(FEW, extent=8.0, cv=3).fit(maps, Y)
    for other in (
        ReceptiveFieldRidgeCV(FEW, extent=8.0, cv=3, memory_limit=2**16).fit(maps, Y),
        ReceptiveFieldRidgeCV(FEW, extent=8.0, cv=3, n_jobs=2).fit(maps, Y),
        ReceptiveFieldRidgeCV(FEW, extent=8.0, cv=3).fit(torch.from_numpy(maps), torch.from_numpy(Y)),
    ):
        np.testing.assert_array_equal(other.field_, plain.field_)
        np.testing.assert_array_equal(other.alpha_, plain.alpha_)
        np.testing.assert_allclose(other.coef_, plain.coef_, atol=1e-10)
    assert isinstance(other.coef_, torch.Tensor)
    assert isinstance(other.predict(torch.from_numpy(maps)), torch.Tensor)
    loaded = pickle.loads(pickle.dumps(other))
    np.testing.assert_allclose(loaded.predict(maps), plain.predict(maps), atol=1e-10)
    backwards = ReceptiveFieldRidgeCV(FEW, extent=8.0, cv=3).fit(maps, Y[:, ::-1].copy())
    np.testing.assert_array_equal(backwards.field_, plain.field_[::-1])
    assert hashlib.sha256(maps.tobytes() + Y.tobytes()).hexdigest() == before
    assert clone(other).get_params()["n_jobs"] is None


def test_layers_of_different_grids_stand_side_by_side(rng):
    fine, coarse = rng.standard_normal((60, 3, 8, 8)), rng.standard_normal((60, 2, 4, 4))
    y = np.einsum("gnc,c->n", looks(coarse, FEW[1:2], 6.0), [1.0, -2.0])
    layers = {"fine": fine, "coarse": coarse}
    model = ReceptiveFieldRidgeCV(FEW, extent=6.0).fit(layers, y)
    assert model.field_ == 1
    assert model.coef_.shape == (5,)
    np.testing.assert_allclose(model.coef_, [0, 0, 0, 1, -2], atol=0.01)
    assert model.predict(layers).shape == (60,)
    tokens = {"fine": fine.reshape(60, 3, 64).swapaxes(1, 2), "coarse": coarse.reshape(60, 2, 16).swapaxes(1, 2)}
    np.testing.assert_allclose(model.predict(tokens), model.predict(layers))


def test_predictions_carry_gradients_to_the_maps(rng):
    maps = torch.from_numpy(rng.standard_normal((30, 3, 4, 4)))
    model = ReceptiveFieldRidgeCV(FEW, cv=3, nonlinearity="log").fit(maps, maps.mean((2, 3)))
    x = maps[:2].clone().requires_grad_()
    assert torch.autograd.gradcheck(model.predict, (x,))


def test_repeats_stay_on_one_side(rng):
    maps, Y = np.repeat(rng.standard_normal((30, 2, 3, 3)), 2, 0), rng.standard_normal((60, 4))
    stimulus = np.repeat(np.arange(30), 2)
    for cv in (0.2, 4):
        for train, val in ReceptiveFieldRidgeCV(FEW, cv=cv).fit(maps, Y, groups=stimulus).splits_:
            assert not set(stimulus[train]) & set(stimulus[val])
    with pytest.raises(SplitLeakage):
        ReceptiveFieldRidgeCV(FEW, cv=KFold(4, shuffle=True, random_state=0)).fit(maps, Y, groups=stimulus)


def test_constant_voxels_and_maps_are_no_accident(rng):
    maps, Y = rng.standard_normal((40, 3, 4, 4)), rng.standard_normal((40, 4))
    maps[:, 1], Y[:, 2] = 7.0, 5.0
    model = ReceptiveFieldRidgeCV(FEW).fit(maps, Y)
    np.testing.assert_allclose(model.predict(maps)[:, 2], 5)
    assert np.isfinite(model.coef_).all()


def test_a_narrow_grid_of_penalties_is_reported_once(planted):
    maps, Y, _ = planted
    with pytest.warns(AlphaAtBoundaryWarning, match=r"the smallest \(1e\+04\) is the best for") as record:
        ReceptiveFieldRidgeCV(FEW, [1e4, 1e5], extent=8.0).fit(maps, Y)
    assert len(record) == 1


def test_windows_have_unit_mass_and_y_points_up():
    weights = field_weights(np.array([[1.0, 1.0, 0.3], [0.0, 0.0, 1e-4], [5.0, -5.0, 0.01]]), (4, 5), 4.0)
    np.testing.assert_allclose(weights.sum(1), 1)
    assert np.unravel_index(int(weights[0].argmax()), (4, 5))[0] < 2  # upper half
    assert weights[2].argmax() == 19  # beyond the corner: the corner


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"fields": "grid"}, ValueError, "fields must be 'auto'"),
        ({"fields": np.zeros((2, 2))}, ShapeMismatch, r"\(n_fields, 3\)"),
        ({"fields": np.zeros((0, 3))}, ShapeMismatch, r"\(n_fields, 3\)"),
        ({"fields": [[0, 0, 0.0]]}, ValueError, "above 0"),
        ({"fields": [[np.nan, 0, 1.0]]}, ValueError, "finite"),
        ({"extent": 0.0}, ValueError, "extent must be above 0"),
        ({"nonlinearity": "sqrt"}, ValueError, "nonlinearity must be"),
        ({"scoring": "mse"}, ValueError, "scoring must be"),
        ({"cv": 1.5}, ValueError, "between 0 and 1"),
        ({"cv": 0.01}, ValueError, "change cv="),
        ({"cv": "loo"}, ValueError, "cv must be a share"),
        ({"alphas": [0.0, 1.0]}, ValueError, "above 0"),
        ({"grid": (3, 3)}, ShapeMismatch, r"grid=\(3, 3\)"),
    ],
)
def test_impossible_settings_are_refused(rng, arguments, error, words):
    maps, Y = rng.standard_normal((30, 2, 4, 4)), rng.standard_normal((30, 3))
    with pytest.raises(error, match=words):
        ReceptiveFieldRidgeCV(**({"fields": FEW} | arguments)).fit(maps, Y)


def test_impossible_data_is_refused(rng):
    maps, Y = rng.standard_normal((30, 2, 4, 4)), rng.standard_normal((30, 3))
    model = ReceptiveFieldRidgeCV(FEW)
    bad_maps, bad_Y = maps.copy(), Y.copy()
    bad_maps[3, 0, 0, 0], bad_Y[2, 1] = np.nan, np.inf
    for X, y, error, words in (
        (maps[:, 0, 0], Y, ShapeMismatch, "maps"),
        (maps[:20], Y, ShapeMismatch, "20 rows, y has 30"),
        (bad_maps, Y, ValueError, "X contains NaN"),
        (maps, bad_Y, ValueError, "1 of 3 voxels"),
        (torch.from_numpy(maps), Y, TypeError, "both be tensors"),
        ({}, Y, ValueError, "empty dict"),
    ):
        with pytest.raises(error, match=words):
            model.fit(X, y)
    model.fit(maps, Y)
    with pytest.raises(ShapeMismatch, match="4 x 4 and 2 channels, as in fit; got a grid of 3 x 3"):
        model.predict(maps[:, :, :3, :3])
    with pytest.raises(ShapeMismatch, match="must have the layers"):
        model.predict({"a": maps})
    with pytest.raises(ValueError, match="largest must be"):
        receptive_field_grid(8.0, smallest=0.5)
