"""Noise covariance: against the papers' definitions with loops over samples, rsatoolbox, torch; bad input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa.noise import NOISE_METHODS, invert, noise_covariance, noise_precision


@pytest.fixture
def residuals(rng):
    return rng.standard_normal((30, 7)) @ rng.standard_normal((7, 7))


def ledoit_wolf_loop(E, dof):
    n, p = E.shape
    S = E.T @ E / n
    m = np.trace(S) / p
    d2 = np.sum((S - m * np.eye(p)) ** 2)
    b2 = sum(np.sum((np.outer(e, e) - S) ** 2) for e in E) / n**2
    b2 = min(b2, d2)
    return (b2 / d2 * m * np.eye(p) + (1 - b2 / d2) * S) * n / dof


def schaefer_strimmer_loop(E, dof):
    n, p = E.shape
    S = E.T @ E / dof
    z = E / np.sqrt(np.diag(S))
    R = z.T @ z / (n - 1)
    numerator = np.zeros((p, p))
    for row in z:
        numerator += (np.outer(row, row)) ** 2
    off = ~np.eye(p, dtype=bool)
    variance = n / dof**2 * (numerator / (n - 1) - R**2)
    amount = np.clip(variance[off].sum() / (R[off] ** 2).sum(), 0, 1)
    return np.where(off, S * (1 - amount), S)


def test_shrinkages_are_the_loops_over_samples(residuals):
    E = residuals - residuals.mean(0)
    np.testing.assert_allclose(noise_covariance(residuals, "shrinkage_eye"), ledoit_wolf_loop(E, 29))
    np.testing.assert_allclose(noise_covariance(residuals, "shrinkage_diag"), schaefer_strimmer_loop(E, 29))
    np.testing.assert_allclose(noise_covariance(residuals, "full"), np.cov(residuals.T))
    np.testing.assert_allclose(noise_covariance(residuals, "diag"), residuals.var(0, ddof=1))


@pytest.mark.parametrize("method", NOISE_METHODS)
@pytest.mark.parametrize("dof", [None, 11])
def test_rsatoolbox_agrees(residuals, method, dof):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pytest.importorskip("rsatoolbox.data.noise")
    expected = theirs.cov_from_residuals(residuals, dof=dof, method=method)
    ours = noise_covariance(residuals, method, dof=dof)
    np.testing.assert_allclose(np.diag(ours) if method == "diag" else ours, expected, rtol=1e-10)


@pytest.mark.parametrize("method", NOISE_METHODS)
def test_measurements_lose_their_condition_means(rng, residuals, method):
    names = rng.permutation(np.repeat(np.arange(4), [3, 5, 10, 12]))  # unequal counts
    shifted = residuals + 10 * rng.standard_normal((4, 7))[names]
    own = residuals.copy()
    for k in range(4):
        own[names == k] -= own[names == k].mean(0)
    np.testing.assert_allclose(
        noise_covariance(shifted, method, conditions=names), noise_covariance(own, method, dof=26), rtol=1e-9
    )


def test_rsatoolbox_measurements_agree(rng, residuals):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pytest.importorskip("rsatoolbox.data.noise")
        from rsatoolbox.data import Dataset
    names = np.tile(np.arange(6), 5)
    data = Dataset(residuals, obs_descriptors={"c": names})
    for method in ("shrinkage_diag", "shrinkage_eye", "full"):  # its own count is (conditions - 1) repeats
        expected = theirs.cov_from_measurements(data, "c", method=method, dof=24)
        np.testing.assert_allclose(noise_covariance(residuals, method, conditions=names), expected)
    odd = np.repeat(np.arange(3), [4, 10, 16])
    data = Dataset(residuals, obs_descriptors={"c": odd})
    np.testing.assert_allclose(
        noise_covariance(residuals, "full", conditions=odd), theirs.cov_from_unbalanced(data, "c", method="full")
    )


@pytest.mark.parametrize("method", NOISE_METHODS)
def test_tensors(residuals, method):
    t = torch.tensor(residuals, requires_grad=True)
    np.testing.assert_allclose(noise_covariance(t, method).detach(), noise_covariance(residuals, method))
    names = np.tile(np.arange(5), 6)
    np.testing.assert_allclose(
        noise_covariance(t, method, conditions=names).detach(), noise_covariance(residuals, method, conditions=names)
    )
    assert torch.autograd.gradcheck(lambda x: noise_covariance(x, method), (t,))


@pytest.mark.parametrize("method", NOISE_METHODS)
@pytest.mark.parametrize("tensor", [False, True])
def test_precision_is_the_inverse(residuals, method, tensor):
    data = torch.tensor(residuals) if tensor else residuals
    S, W = np.asarray(noise_covariance(data, method)), np.asarray(noise_precision(data, method))
    np.testing.assert_allclose(S * W if S.ndim == 1 else S @ W, 1.0 if S.ndim == 1 else np.eye(7), atol=1e-9)


def test_shrinkage_makes_few_rows_invertible(rng):
    X = rng.standard_normal((10, 40))
    for method in ("shrinkage_diag", "shrinkage_eye"):
        assert np.isfinite(noise_precision(X, method)).all()
    with pytest.raises(ValueError, match="shrinkage"):
        noise_precision(X, "full")


def test_lists_stacks_and_folds_map_elementwise(rng):
    parts = rng.standard_normal((3, 12, 4))
    each = [noise_covariance(x, dof=5 + k) for k, x in enumerate(parts)]
    for got in (noise_covariance(parts, dof=[5, 6, 7]), noise_covariance(list(parts), dof=[5, 6, 7])):
        np.testing.assert_allclose(got, each)
    folds = np.repeat([2, 0, 1], 12)
    by_fold = noise_covariance(parts.reshape(36, 4), folds=folds)
    np.testing.assert_allclose(by_fold, [noise_covariance(parts[k]) for k in (1, 2, 0)])
    names = np.tile(np.arange(6), 6)
    by_fold = noise_precision(parts.reshape(36, 4), folds=folds, conditions=names)
    np.testing.assert_allclose(by_fold[0], noise_precision(parts[1], conditions=names[:12]))
    per_part = noise_covariance(parts, conditions=[names[:12]] * 3)
    np.testing.assert_allclose(per_part[1], noise_covariance(parts[1], conditions=names[:12]))


def test_float32_stays(residuals):
    for method in NOISE_METHODS:
        S = noise_covariance(residuals.astype(np.float32), method)
        assert S.dtype == np.float32
        np.testing.assert_allclose(S, noise_covariance(residuals, method), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "kwargs", "error", "match"),
    [
        (lambda E: np.where(np.arange(7) == 2, np.nan, E), {}, ValueError, "1 of 7 channels"),
        (lambda E: np.where(np.arange(7) == 2, 4.0, E), {}, ValueError, "1 of 7 channels never vary"),
        (lambda E: E[:1], {}, EmptySelection, "degrees of freedom"),
        (lambda E: E, {"conditions": np.arange(30)}, EmptySelection, "degrees of freedom"),
        (lambda E: E[:2], {}, EmptySelection, "at least 3 rows"),
        (lambda E: E[0], {}, ShapeMismatch, "expected residuals"),
        (lambda E: E, {"method": "ledoit"}, ValueError, "'shrinkage_diag', 'shrinkage_eye'"),
        (lambda E: [E, E], {"folds": np.zeros(30)}, ValueError, "not both"),
        (lambda E: [E, E], {"dof": [1, 2, 3]}, ShapeMismatch, "3 entries for 2"),
        (lambda E: E, {"conditions": [1, 2]}, ShapeMismatch, "each of 30 rows"),
    ],
)
def test_bad_input(residuals, change, kwargs, error, match):
    with pytest.raises(error, match=match):
        noise_covariance(change(residuals), **kwargs)


def test_invert_refuses():
    with pytest.raises(ValueError, match="positive definite"):
        invert(np.diag([1.0, -1.0]))
    with pytest.raises(ValueError, match=r"singular|positive definite"):
        invert(np.ones((3, 3)))
    with pytest.raises(ValueError, match="1 of 2 channels"):
        invert(np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="positive definite"):
        invert(torch.diag(torch.tensor([1.0, -1.0])))
    with pytest.raises(ValueError, match="NaN"):
        invert(np.full((2, 2), np.nan))
