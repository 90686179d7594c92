"""Voxel selection: plain ridge with all voxels, the planted voxels with few, and one solution by any route."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge

from neuro.decoders.linear import RidgeDecoder
from neuro.decoders.voxel_selection import VoxelSelectionDecoder, select_voxels, solve_selected, zscore_columns
from neuro.errors import EmptySelection, ShapeMismatch, SplitLeakage


@pytest.fixture
def planted_units(rng):
    """Six units that 5 voxels each carry, among 200; training and test rows."""
    units = rng.standard_normal((260, 6))
    X = rng.standard_normal((260, 200)) * rng.uniform(0.5, 4, 200) + 10
    informative = rng.permutation(200)[:30].reshape(6, 5)
    for unit, voxels in enumerate(informative):
        X[:, voxels] += 6 * units[:, [unit]]
    return X[:200], 3 * units[:200] + 5, X[200:], 3 * units[200:] + 5, np.sort(informative, axis=1)


def by_hand(X, Y, X_new, n_select, alpha):
    """One unit after another, with numpy's correlation and a dense solve."""
    out = np.empty((len(X_new), Y.shape[1]))
    mean, sd = X.mean(0), X.std(0, ddof=1)
    for t, y in enumerate(Y.T):
        r = np.array([np.corrcoef(x, y)[0, 1] for x in X.T])
        S = np.argsort(-np.abs(r))[:n_select]
        Z, z = (X[:, S] - mean[S]) / sd[S], (y - y.mean()) / y.std(ddof=1)
        w = np.linalg.solve(Z.T @ Z + alpha * np.eye(len(S)), Z.T @ z)
        out[:, t] = (X_new[:, S] - mean[S]) / sd[S] @ w * y.std(ddof=1) + y.mean()
    return out


@pytest.mark.parametrize("n_select", [3, 40, 190])
def test_every_unit_is_ridge_on_its_own_voxels(planted_units, n_select):
    X, Y, X_new, _, _ = planted_units
    ours = VoxelSelectionDecoder(n_select, alpha=100.0).fit(X, Y).predict(X_new)["targets"]
    np.testing.assert_allclose(ours, by_hand(X, Y, X_new, n_select, 100.0), rtol=1e-9)


def test_all_voxels_are_plain_ridge_on_z_scores(planted_units):
    X, Y, X_new, _, _ = planted_units
    ours = VoxelSelectionDecoder(n_select=500, alpha=100.0).fit(X, Y).predict(X_new)["targets"]
    plain = RidgeDecoder(alpha=100.0, standardize=True).fit(X, Y).predict(X_new)["targets"]
    np.testing.assert_allclose(ours, plain, rtol=1e-9)
    mean, sd = X.mean(0), X.std(0, ddof=1)
    sklearns = SklearnRidge(alpha=100.0).fit((X - mean) / sd, Y).predict((X_new - mean) / sd)
    np.testing.assert_allclose(ours, sklearns, rtol=1e-9)


def test_only_informative_voxels_are_selected(planted_units):
    X, Y, _, _, informative = planted_units
    decoder = VoxelSelectionDecoder(n_select=5, alpha=1.0).fit(X, {"units": Y})
    np.testing.assert_array_equal(decoder.selected()["units"], informative)


def test_selection_beats_all_voxels_where_few_are_informative(planted_units):
    X, Y, X_new, truth, _ = planted_units
    few, all_voxels = (VoxelSelectionDecoder(k, alpha=1.0).fit(X[:60], Y[:60]).score(X_new, truth) for k in (5, 200))
    assert few > all_voxels + 0.1
    assert few > 0.9


def test_near_constant_voxels_are_never_selected(planted_units):
    X, Y, X_new, _, _ = planted_units
    rounding = 1e4 + 1e-6 * Y[:, :1]  # correlates perfectly, by less than float32 could tell
    X, X_new = np.c_[X, np.full(len(X), 3.0), rounding], np.c_[X_new, np.zeros((len(X_new), 2))]
    decoder = VoxelSelectionDecoder(n_select=1000, alpha=100.0).fit(X, Y)
    assert decoder.selected()["targets"].max() < 200
    expected = VoxelSelectionDecoder(n_select=1000, alpha=100.0).fit(X[:, :200], Y).predict(X_new[:, :200])
    np.testing.assert_allclose(decoder.predict(X_new)["targets"], expected["targets"], rtol=1e-9)
    with pytest.raises(EmptySelection, match="none of the 3 voxels varies"):
        VoxelSelectionDecoder().fit(np.ones((10, 3)), Y[:10])


def test_a_constant_unit_is_predicted_as_its_mean(planted_units):
    X, Y, X_new, _, _ = planted_units
    Y = np.c_[Y, np.full(len(Y), 4.0)]
    np.testing.assert_allclose(VoxelSelectionDecoder(7).fit(X, Y).predict(X_new)["targets"][:, -1], 4.0)


def test_selection_follows_the_sign_free_correlation(rng):
    Z = zscore_columns(rng.standard_normal((50, 30)))[0]
    T = zscore_columns(rng.standard_normal((50, 4)))[0]
    r = np.corrcoef(Z.T, T.T)[30:, :30]
    np.testing.assert_array_equal(select_voxels(Z, T, 6), np.sort(np.argsort(-np.abs(r), axis=1)[:, :6], axis=1))
    np.testing.assert_array_equal(select_voxels(Z, -T, 6), select_voxels(Z, T, 6))


@pytest.mark.parametrize("n_select", [10, 60])  # fewer and more voxels than items
def test_gram_kernel_and_batches_agree(rng, n_select):
    Z, T = rng.standard_normal((40, 80)), rng.standard_normal((40, 9))
    voxels = np.array([rng.permutation(80)[:n_select] for _ in range(9)])
    one = solve_selected(Z, T, voxels, 5.0)
    np.testing.assert_allclose(solve_selected(Z, T, voxels, 5.0, batch=2), one, rtol=1e-10)
    gram = torch.from_numpy(Z.T @ Z)
    np.testing.assert_allclose(solve_selected(Z, T, voxels, 5.0, gram=gram), one, rtol=1e-8, atol=1e-12)
    for t, S in enumerate(voxels):
        A = Z[:, S]
        np.testing.assert_allclose(one[t], np.linalg.solve(A.T @ A + 5 * np.eye(n_select), A.T @ T[:, t]), rtol=1e-8)


@pytest.mark.parametrize("memory_limit", [2**31, 300_000, 1])
def test_memory_limit_changes_nothing(planted_units, memory_limit, tmp_path):
    X, Y, X_new, _, _ = planted_units
    np.save(tmp_path / "units.npy", Y)
    decoder = VoxelSelectionDecoder(20, memory_limit=memory_limit)
    decoder.fit(X, np.load(tmp_path / "units.npy", mmap_mode="r"))
    found = decoder.predict(X_new, folder=tmp_path / "out")["targets"]
    np.testing.assert_allclose(found, by_hand(X, Y, X_new, 20, 100.0), rtol=1e-8)


def test_single_precision_agrees(planted_units):
    X, Y, X_new, _, _ = planted_units
    single = VoxelSelectionDecoder(20).fit(X.astype(np.float32), Y.astype(np.float32)).predict(X_new)["targets"]
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, by_hand(X, Y, X_new, 20, 100.0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("policy", ["none", "train_fold", "reference", "transductive"])
def test_only_the_transductive_policy_lets_test_items_see_one_another(planted_units, policy):
    X, Y, X_new, _, _ = planted_units
    reference = {"reference_sd": 2.0} if policy == "reference" else {}
    decoder = VoxelSelectionDecoder(20, rescaling=policy, **reference).fit(X, Y)
    few, more = decoder.predict(X_new[:5])["targets"], decoder.predict(X_new)["targets"][:5]
    assert np.allclose(few, more, rtol=1e-9) == (policy != "transductive")


def test_bad_input_is_named(planted_units):
    X, Y, X_new, _, _ = planted_units
    decoder = VoxelSelectionDecoder(5).fit(X, Y, ids=np.arange(200))
    with pytest.raises(ShapeMismatch, match="fitted with 200 voxels, X has 199"):
        decoder.predict(X_new[:, 1:])
    with pytest.raises(SplitLeakage, match="were in the training set"):
        decoder.predict(X_new, ids=np.arange(199, 259))
    with pytest.raises(ValueError, match="n_select must be an integer"):
        VoxelSelectionDecoder(0).fit(X, Y)
    with pytest.raises(ShapeMismatch, match="alpha must be one number"):
        VoxelSelectionDecoder(alpha=[1.0, 2.0]).fit(X, Y)
