"""Crossnobis: the closed form against loops over folds and pairs, unbiasedness, its covariance, rsatoolbox."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa._pairs import pair_indices
from neuro.rsa.crossnobis import crossnobis, crossnobis_covariance
from neuro.rsa.estimate import rdm


def loop(A, W):
    """Leave one fold out: mean of the others against it."""
    K, n, p = A.shape
    out = []
    for i, j in itertools.combinations(range(n), 2):
        folds = []
        for k in range(K):
            train = np.delete(A, k, 0).mean(0)
            folds.append((train[i] - train[j]) @ W @ (A[k, i] - A[k, j]) / p)
        out.append(np.mean(folds))
    return np.array(out)


@pytest.fixture
def precision(rng):
    A = rng.standard_normal((9, 20))
    return A @ A.T / 20


@pytest.mark.parametrize("K", [2, 3, 5])
@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("shift", [0, 100])
def test_closed_form_is_the_loop_over_folds(rng, precision, K, tensor, shift):
    A = rng.standard_normal((K, 6, 9)) + shift
    data = torch.tensor(A) if tensor else A
    np.testing.assert_allclose(crossnobis(data), loop(A, np.eye(9)), atol=1e-10)
    np.testing.assert_allclose(crossnobis(data, precision), loop(A, precision), atol=1e-10)
    np.testing.assert_allclose(crossnobis(data, np.diag(precision)), loop(A, np.diag(np.diag(precision))), atol=1e-10)


def test_negative_values_are_kept(rng):
    assert (crossnobis(rng.standard_normal((2, 12, 30))) < 0).any()


def test_one_precision_per_fold(rng):
    A = rng.standard_normal((3, 5, 4))
    B = rng.standard_normal((3, 4, 12))
    precisions = [b @ b.T / 12 for b in B]
    expected = np.zeros(10)
    i, j = pair_indices(5)
    for k, other in itertools.combinations(range(3), 2):
        W = np.linalg.inv((np.linalg.inv(precisions[k]) + np.linalg.inv(precisions[other])) / 2)
        expected += np.einsum("pc,cd,pd->p", A[k, i] - A[k, j], W, A[other, i] - A[other, j]) / 4 / 3
    np.testing.assert_allclose(crossnobis(A, precisions), expected)
    np.testing.assert_allclose(crossnobis(torch.tensor(A), precisions), expected)
    np.testing.assert_allclose(crossnobis(A, [precisions[0]] * 3), crossnobis(A, precisions[0]))
    diagonals = [np.diag(W) for W in precisions]
    np.testing.assert_allclose(crossnobis(A, diagonals), crossnobis(A, [np.diag(w) for w in diagonals]))


def test_rsatoolbox_agrees(rng, precision):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Dataset = pytest.importorskip("rsatoolbox.data").Dataset
        from rsatoolbox.rdm import calc_rdm

        X = rng.standard_normal((4 * 7 * 2, 9))
        names, folds = np.tile(np.repeat(np.arange(7), 2), 4), np.repeat(np.arange(4), 14)
        data = Dataset(X, obs_descriptors={"c": names, "f": folds})
        order = rng.permutation(len(X))
        for noise in (None, precision, [precision * (k + 1) for k in range(4)]):
            expected = calc_rdm(data, "crossnobis", descriptor="c", noise=noise, cv_descriptor="f").dissimilarities
            ours = rdm(X[order], "crossnobis", conditions=names[order], folds=folds[order], noise=noise)
            ours = ours.select(conditions=np.arange(7))
            np.testing.assert_allclose(ours.dissimilarities, expected, atol=1e-12)
        expected = calc_rdm(data, "crossnobis", descriptor="c", cv_descriptor="f", remove_mean=True).dissimilarities
        ours = rdm(X, "crossnobis", conditions=names, folds=folds, remove_mean=True)
        np.testing.assert_allclose(ours.dissimilarities, expected, atol=1e-12)


def test_unbiased_for_identical_patterns_and_for_distances(rng):
    n_sim, K, n, p = 4000, 3, 4, 10
    U = np.zeros((n, p))
    U[3] = 1.5
    A = U + rng.standard_normal((n_sim, K, n, p))
    d = np.stack([crossnobis(a) for a in A])
    i, j = pair_indices(n)
    truth = ((U[i] - U[j]) ** 2).mean(1)
    error = (d.mean(0) - truth) / (d.std(0) / np.sqrt(n_sim))
    assert np.abs(error).max() < 4
    biased = rdm(A[:200].mean(1), "sqeuclidean").dissimilarities.mean(0)
    assert (biased > truth + 0.4).all()


def test_rotation_of_channels_changes_nothing(rng, precision):
    A = rng.standard_normal((3, 6, 9))
    Q = np.linalg.qr(rng.standard_normal((9, 9)))[0]
    np.testing.assert_allclose(crossnobis(A @ Q), crossnobis(A), atol=1e-12)
    np.testing.assert_allclose(crossnobis(A @ Q, Q.T @ precision @ Q), crossnobis(A, precision), atol=1e-11)
    np.testing.assert_allclose(crossnobis(A + rng.standard_normal((3, 1, 9))), crossnobis(A), atol=1e-12)


def test_gradients(rng, precision):
    A = torch.tensor(rng.standard_normal((3, 4, 9)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: crossnobis(a, precision), (A,))
    L = torch.tensor(np.linalg.cholesky(precision), requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: crossnobis(A.detach(), w @ w.T), (L,))


@pytest.mark.parametrize("K", [2, 4])
def test_float32_and_blocks(rng, K, monkeypatch):
    A = (rng.standard_normal((K, 10, 2000)) + 50).astype(np.float32)
    expected = loop(A.astype(float), np.eye(2000))
    X, names, folds = A.reshape(-1, 2000), np.tile(np.arange(10), K), np.repeat(np.arange(K), 10)
    monkeypatch.setattr("neuro.rsa._patterns.BLOCK_BYTES", 1)
    d = rdm(X, "crossnobis", conditions=names, folds=folds).dissimilarities
    assert d.dtype == np.float32
    np.testing.assert_allclose(d[0], expected, atol=3e-5)


def test_default_folds_are_occurrences(rng):
    X = rng.standard_normal((12, 5))
    names = np.tile(np.arange(4), 3)
    np.testing.assert_allclose(
        rdm(X, "crossnobis", conditions=names).dissimilarities,
        rdm(X, "crossnobis", conditions=names, folds=np.repeat(np.arange(3), 4)).dissimilarities,
    )
    with pytest.raises(ShapeMismatch, match="between 2 and 3 rows"):
        rdm(X[:-1], "crossnobis", conditions=names[:-1])


def test_unequal_repeats_within_folds_average_first(rng):
    X = rng.standard_normal((9, 5))
    names, folds = [0, 1, 0, 2, 1, 0, 1, 2, 2], [0, 0, 0, 0, 1, 1, 1, 1, 1]
    A = np.stack(
        [[X[[k for k in range(9) if names[k] == c and folds[k] == f]].mean(0) for c in range(3)] for f in (0, 1)]
    )
    d = rdm(X, "crossnobis", conditions=names, folds=folds)
    np.testing.assert_allclose(d.dissimilarities[0], loop(A, np.eye(5)))
    np.testing.assert_allclose(
        rdm(torch.tensor(X), "crossnobis", conditions=names, folds=folds).dissimilarities[0], loop(A, np.eye(5))
    )


def test_nan_pairwise_takes_channels_known_in_all_four(rng):
    A = rng.standard_normal((3, 5, 30))
    A[rng.random(A.shape) < 0.15] = np.nan
    expected = []
    for i, j in itertools.combinations(range(5), 2):
        products = [(A[k, i] - A[k, j]) * (A[m, i] - A[m, j]) for k, m in itertools.combinations(range(3), 2)]
        expected.append(np.nanmean(np.concatenate(products)))
    X, names, folds = A.reshape(15, 30), np.tile(np.arange(5), 3), np.repeat(np.arange(3), 5)
    for data in (X, torch.tensor(X)):
        d = rdm(data, "crossnobis", conditions=names, folds=folds, nan="pairwise").dissimilarities[0]
        np.testing.assert_allclose(d, expected)


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({}, ValueError, "say with conditions="),
        ({"conditions": np.arange(6)}, EmptySelection, "at least two folds, got 1: every condition has one row"),
        ({"conditions": [0, 1] * 3, "folds": np.zeros(6)}, EmptySelection, "all rows carry the same label"),
        (
            {"conditions": [0, 0, 0, 1, 1, 1], "folds": [0, 1, 2, 0, 0, 0], "unbalanced": False},
            ShapeMismatch,
            "missing",
        ),
        ({"conditions": [0, 1] * 3, "noise": [np.eye(4)] * 2}, ShapeMismatch, "each of 3 folds, got 2"),
        ({"conditions": [0, 1] * 3, "noise": [np.eye(4), np.ones(4), np.eye(4)]}, ShapeMismatch, "all diagonals"),
        ({"conditions": [0, 1] * 3, "noise": np.eye(5)}, ShapeMismatch, r"\(4, 4\)"),
        ({"conditions": [0, 1] * 3, "noise": np.ones((4, 4))}, ValueError, "positive definite|singular"),
        ({"conditions": [0, 1] * 3, "folds": "run"}, ValueError, "fold of every row"),
    ],
)
def test_bad_input(rng, kwargs, error, match):
    with pytest.raises(error, match=match):
        rdm(rng.standard_normal((6, 4)), "crossnobis", **kwargs)


def test_bad_patterns(rng):
    with pytest.raises(ShapeMismatch, match="n_folds, n_conditions"):
        crossnobis(rng.standard_normal((4, 5)))
    with pytest.raises(EmptySelection, match="at least two folds"):
        crossnobis(rng.standard_normal((1, 4, 5)))
    with pytest.raises(EmptySelection, match="two conditions"):
        crossnobis(rng.standard_normal((2, 1, 5)))


@pytest.mark.real
def test_categories_of_haxby_differ_and_shuffled_ones_do_not(real_data, rng):
    import nibabel as nib
    from scipy.signal import detrend

    folder = real_data / "haxby2001_sub001_reduced"
    mask = np.asarray(nib.load(folder / "mask_1slice.nii.gz").dataobj).squeeze() > 0
    D = np.asarray(nib.load(folder / "bold_1slice_all12runs.nii.gz").dataobj).squeeze()[mask].T.astype(float)
    labels, runs = np.array([line.split() for line in (folder / "attributes_literal.txt").read_text().splitlines()]).T
    for run in np.unique(runs):
        here = detrend(D[runs == run], axis=0)
        D[runs == run] = here / np.where(here.std(0) > 0, here.std(0), 1)
    D = D[:, D.std(0) > 0]
    task = labels != "rest"
    D, labels, runs = D[task], labels[task], runs[task]
    d = rdm(D, "crossnobis", conditions=labels, folds=runs, noise="shrinkage_diag")
    assert d.n_conditions == 8
    assert d.settings["n_folds"] == [12]
    assert (d.dissimilarities > 0).mean() > 0.95
    shuffled = []
    for _ in range(20):
        mixed = labels.copy()
        for run in np.unique(runs):  # blocks of nine volumes change places within their run
            blocks = mixed[runs == run].reshape(-1, 9)
            mixed[runs == run] = rng.permutation(blocks).ravel()
        shuffled.append(rdm(D, "crossnobis", conditions=mixed, folds=runs).dissimilarities.mean())
    assert abs(np.mean(shuffled)) < 4 * np.std(shuffled) / np.sqrt(20)
    assert rdm(D, "crossnobis", conditions=labels, folds=runs).dissimilarities.mean() > 10 * np.std(shuffled)


# Sampling covariance


def test_covariance_is_the_formula_with_explicit_contrasts(rng):
    n, p, M = 5, 8, 3
    U = rng.standard_normal((n, p))
    B = rng.standard_normal((n, 9))
    K = B @ B.T
    R = np.cov(rng.standard_normal((p, 40)))
    i, j = pair_indices(n)
    C = np.eye(n)[i] - np.eye(n)[j]
    X, D = C @ K @ C.T, C @ U @ U.T @ C.T / p
    expected = (4 * D * X / M + 2 * X * X / (M * (M - 1))) * np.trace(R @ R) / p**2
    np.testing.assert_allclose(crossnobis_covariance(M, patterns=U, sigma_k=K, sigma_r=R), expected)
    d = ((U[i] - U[j]) ** 2).mean(1)
    np.testing.assert_allclose(crossnobis_covariance(M, dissimilarities=d, sigma_k=K, sigma_r=R), expected)
    second = 2 * X * X / (M * (M - 1)) / p
    np.testing.assert_allclose(crossnobis_covariance(M, n_conditions=n, n_channels=p, sigma_k=K, signal=False), second)
    ones = crossnobis_covariance(M, n_conditions=n, n_channels=p, signal=False)
    np.testing.assert_allclose(crossnobis_covariance(M, sigma_k=np.ones(n), n_channels=p, signal=False), ones)


def test_covariance_is_what_simulations_show(rng):
    n, p, M, n_sim = 4, 20, 3, 20_000
    U = rng.standard_normal((n, p))
    d = np.empty((n_sim, 6))
    i, j = pair_indices(n)
    for k, A in enumerate(U + rng.standard_normal((n_sim, M, n, p))):
        S = A.sum(0)
        G = (S @ S.T - sum(a @ a.T for a in A)) / (M * (M - 1) * p)
        d[k] = G[i, i] + G[j, j] - 2 * G[i, j]
    V = crossnobis_covariance(M, patterns=U)
    assert np.abs(np.cov(d.T) - V).max() < 0.06 * V.max()


def test_covariance_refuses(rng):
    with pytest.raises(ShapeMismatch, match="number of channels is not known"):
        crossnobis_covariance(3, n_conditions=4, signal=False)
    with pytest.raises(ShapeMismatch, match="conditions differs"):
        crossnobis_covariance(3, n_conditions=4, patterns=np.ones((5, 3)))
    with pytest.raises(ValueError, match="signal=False"):
        crossnobis_covariance(3, n_conditions=4, n_channels=5)
    with pytest.raises(ValueError, match="n_folds must be an integer of at least 2"):
        crossnobis_covariance(1, n_conditions=4, n_channels=5, signal=False)
    with pytest.raises(ValueError, match="GiB"):
        crossnobis_covariance(2, n_conditions=1000, n_channels=5, signal=False)
