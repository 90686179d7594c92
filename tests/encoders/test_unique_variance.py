"""Unique variance and split scores: closed forms, planted truth, calibration of the permutation test."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.model_selection import KFold

from neuro.encoders import RidgeCV
from neuro.encoders.banded import BandedRidgeCV
from neuro.encoders.multiple_kernel import MultipleKernelRidgeCV
from neuro.encoders.split_scores import split_scores
from neuro.encoders.stacked import StackedRidgeCV
from neuro.encoders.unique_variance import unique_variance
from neuro.errors import EmptySelection, ShapeMismatch

pytestmark = [
    pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning"),
    pytest.mark.filterwarnings("ignore::neuro.encoders.RepeatedStimuliWarning"),
]
ALPHAS = np.logspace(-1, 4, 6)


def simulate(n, seed=0, v=6, noise=1.0, overlap=0.0, weights=((1, 1, 1, 0, 0, 0), (0, 0, 1, 1, 0, 0))):
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, 4))
    X = {k: np.sqrt(1 - overlap) * rng.standard_normal((n, 4)) + np.sqrt(overlap) * common for k in "ab"}
    W = np.random.default_rng(99).standard_normal((2, 4, v))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    Y = sum(x @ w * np.asarray(s) for x, w, s in zip(X.values(), W, weights, strict=True))
    return X, Y + noise * rng.standard_normal((n, v))


# split scores


@pytest.fixture
def parts():
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((40, 5)) + 3
    made = {k: 0.4 * Y + rng.standard_normal((40, 5)) for k in "abc"}
    made["b"] = made["b"] + 0.5 * made["a"]
    return Y, made


def test_terms_sum_to_the_score(parts):
    Y, made = parts
    y, whole = Y - Y.mean(0), sum(made.values())
    whole = whole - whole.mean(0)
    r2 = 1 - ((y - whole) ** 2).sum(0) / (y**2).sum(0)
    for method in ("product", "relative"):
        np.testing.assert_allclose(sum(split_scores(Y, made, method).values()), r2)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(y.T, whole.T, strict=True)]
    np.testing.assert_allclose(sum(split_scores(Y, made, "correlation").values()), r)
    for method in ("product", "relative", "correlation"):
        tensors = split_scores(torch.from_numpy(Y), {k: torch.from_numpy(p) for k, p in made.items()}, method)
        for name, term in split_scores(Y, made, method).items():
            np.testing.assert_allclose(tensors[name].numpy(), term)


def test_terms_equal_himalaya(parts):
    pytest.importorskip("himalaya", reason="needs himalaya: pip install 'neuro[bench]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from himalaya.backend import set_backend

        set_backend("numpy")
        from himalaya.scoring import correlation_score_split, r2_score_split, r2_score_split_svd
    Y, made = parts
    Y = Y - Y.mean(0)
    P = np.stack([p - p.mean(0) for p in made.values()])
    for method, theirs in (
        ("product", r2_score_split(Y, P)),
        ("relative", r2_score_split_svd(Y, P)),
        ("correlation", correlation_score_split(Y, P)),
    ):
        np.testing.assert_allclose(list(split_scores(Y, made, method).values()), theirs, atol=1e-9)


def test_orthogonal_parts_are_split_the_same_way_by_all():
    Q = np.linalg.qr(np.c_[np.ones(30), np.random.default_rng(0).standard_normal((30, 3))])[0]
    Y = Q[:, [1]] + 0.5 * Q[:, [2]] + 0.3 * Q[:, [3]]
    made = {"a": Q[:, [1]], "b": 0.5 * Q[:, [2]]}
    np.testing.assert_allclose(split_scores(Y, made, "product")["b"], 0.25 / (1 + 0.25 + 0.09))
    np.testing.assert_allclose(split_scores(Y, made, "relative")["b"], 0.25 / (1 + 0.25 + 0.09))


def test_constant_voxels_score_zero_and_shapes_are_checked(parts):
    Y, made = parts
    for method in ("product", "relative", "correlation"):
        flat = split_scores(np.full_like(Y, 2.0), {k: np.zeros_like(p) for k, p in made.items()}, method)
        np.testing.assert_array_equal(list(flat.values()), 0)
    with pytest.raises(ShapeMismatch):
        split_scores(Y[:-1], made)
    with pytest.raises(EmptySelection):
        split_scores(Y, {})
    with pytest.raises(ValueError, match="'product', 'relative' or 'correlation'"):
        split_scores(Y, made, "shapley")


# unique variance


def test_refit_is_the_difference_of_two_fits():
    X, Y = simulate(60)
    splits = list(KFold(3).split(Y))
    found = unique_variance(RidgeCV(ALPHAS, cv=4), X, Y, cv=splits)

    def r2(A):
        P = np.empty_like(Y)
        for train, val in splits:
            P[val] = RidgeCV(ALPHAS, cv=4).fit(A[train], Y[train]).predict(A[val])
        return 1 - ((Y - P) ** 2).sum(0) / ((Y - Y.mean(0)) ** 2).sum(0)

    full = r2(np.hstack([X["a"], X["b"]]))
    np.testing.assert_allclose(found.r2, full)
    np.testing.assert_allclose(found.of("a"), full - r2(X["b"]))
    np.testing.assert_allclose(found.of("b"), full - r2(X["a"]))
    np.testing.assert_allclose(found.shared, full - found.unique.sum(0))
    assert found.p is None


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_planted_shares_are_recovered(overlap):
    X, Y = simulate(2000, overlap=overlap)
    T, Z = simulate(2000, seed=1, overlap=overlap)
    found = unique_variance(RidgeCV(ALPHAS), X, Y, test=(T, Z))
    # given the other space, (1 - overlap^2) of a space's variance is left; its signal has variance 1, the noise, too
    truth = np.array([0.5, 0.5, np.nan, 0, 0, 0]) * (1 - overlap**2)
    np.testing.assert_allclose(found.of("a")[[0, 1, 3, 4, 5]], truth[[0, 1, 3, 4, 5]], atol=0.05)
    np.testing.assert_allclose(found.shared[[0, 1, 3]], 0.5 * overlap**2, atol=0.05)
    product = unique_variance(BandedRidgeCV(ALPHAS, n_iter=8), X, Y, test=(T, Z), method="product")
    np.testing.assert_allclose(product.shared, 0, atol=1e-2)
    np.testing.assert_allclose(product.of("a")[:2], 0.5, atol=0.06)


def test_permutations_find_effects_and_only_those():
    X, Y = simulate(80, noise=0.7, v=6)
    rois = {"both": [2], "none": np.arange(6) >= 4, "a": [0, 1]}
    for method, encoder in (("refit", RidgeCV([1.0], cv=2)), ("product", BandedRidgeCV([1.0], cv=2, n_iter=1))):
        found = unique_variance(encoder, X, Y, cv=3, method=method, n_permutations=39, rois=rois)
        assert found.p is not None
        assert found.roi_p is not None
        assert (found.p[0, :3] <= 0.05).all()
        assert (found.p[1, 2:4] <= 0.05).all()
        assert (found.p >= 1 / 40).all()
        assert found.p[:, 4:].min() > 1 / 40
        assert found.rois == ("both", "none", "a")
        np.testing.assert_allclose(found.roi_unique[:, 2], found.unique[:, :2].mean(1))
        np.testing.assert_allclose(found.roi_r2[1], found.r2[4:].mean())
        assert found.roi_p[0, 2] == 1 / 40
        assert found.roi_p[1, 1] > 1 / 40


@pytest.mark.slow
def test_p_values_are_uniform_without_effect():
    X, Y = simulate(60, v=200, weights=(1, 0))
    found = unique_variance(RidgeCV([10.0], cv=2), X, Y, cv=3, n_permutations=99)
    assert found.p is not None
    assert abs((found.p[1] <= 0.1).mean() - 0.1) < 0.08  # voxels share the stimuli, so more than binomial
    assert (found.p[0] <= 0.05).mean() > 0.9


def test_same_seed_same_answer_and_groups_are_kept():
    X, Y = simulate(60)
    groups = np.repeat(np.arange(20), 3)
    first, again = (
        unique_variance(RidgeCV(ALPHAS, cv=3), X, Y, groups=groups, cv=3, n_permutations=3, rng=5) for _ in range(2)
    )
    np.testing.assert_array_equal(first.unique, again.unique)
    np.testing.assert_array_equal(first.p, again.p)
    assert first.seed == 5


@pytest.mark.parametrize(
    "encoder",
    [
        BandedRidgeCV(ALPHAS, cv=3, n_iter=4),
        BandedRidgeCV(ALPHAS, cv=3, band_weights=[[0.5, 0.5], [0.9, 0.1], [1.0, 0.0]]),
        MultipleKernelRidgeCV(ALPHAS, cv=3, kernels={"a": "linear", "b": "rbf"}, n_iter=3),
        StackedRidgeCV(ALPHAS, cv=3),
    ],
)
def test_encoders_with_spaces(encoder):
    X, Y = simulate(80, noise=0.5)
    found = unique_variance(encoder, X, Y, cv=3)
    assert (found.of("a")[:2] > 0.3).all()
    assert (np.abs(found.of("b")[:2]) < 0.1).all()
    product = unique_variance(encoder, X, Y, cv=3, method="product")
    np.testing.assert_allclose(product.r2, found.r2)


def test_bands_of_an_array_and_tensors():
    X, Y = simulate(60)
    A, bands = np.hstack(list(X.values())), {"a": slice(0, 4), "b": slice(4, 8)}
    expected = unique_variance(RidgeCV(ALPHAS), X, Y, cv=3)
    given = unique_variance(RidgeCV(ALPHAS), A, Y, bands=bands, cv=3)
    np.testing.assert_allclose(given.unique, expected.unique)
    own = unique_variance(BandedRidgeCV(ALPHAS, n_iter=3, bands=bands), A, Y, cv=3)
    same = unique_variance(BandedRidgeCV(ALPHAS, n_iter=3), X, Y, cv=3)
    np.testing.assert_allclose(own.unique, same.unique)
    tensors = unique_variance(
        RidgeCV(ALPHAS), {k: torch.from_numpy(x) for k, x in X.items()}, torch.from_numpy(Y), cv=3
    )
    np.testing.assert_allclose(tensors.unique, expected.unique, atol=1e-9)


def test_one_space_is_all_unique():
    X, Y = simulate(60)
    found = unique_variance(RidgeCV(ALPHAS), {"a": X["a"]}, Y, cv=3)
    mean = np.concatenate([np.tile(Y[t].mean(0), (len(f), 1)) for t, f in KFold(3).split(Y)])
    assert mean.shape == Y.shape
    np.testing.assert_allclose(found.unique[0], found.r2, atol=0.2)  # beyond the training means, which score below 0


def test_collinear_spaces_have_nothing_unique():
    X, Y = simulate(200, noise=0.3)
    found = unique_variance(RidgeCV(ALPHAS), {"a": X["a"], "again": 2 * X["a"]}, Y, cv=3)
    np.testing.assert_allclose(found.unique, 0, atol=0.01)
    assert found.shared[0] > 0.8


def test_bad_input():
    X, Y = simulate(30)
    with pytest.raises(ValueError, match="method must be"):
        unique_variance(RidgeCV(), X, Y, method="lesion")
    with pytest.raises(ValueError, match="feature spaces, got RidgeCV"):
        unique_variance(RidgeCV(), X, Y, method="product")
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        unique_variance(RidgeCV(), X, Y[:-1])
    with pytest.raises(ValueError, match="test must have the bands"):
        unique_variance(RidgeCV(), X, Y, test=({"a": X["a"]}, Y))
    with pytest.raises(ShapeMismatch, match="region"):
        unique_variance(RidgeCV(ALPHAS), X, Y, cv=3, rois={"V1": [99]})
    with pytest.raises(ValueError, match="voxels"):
        unique_variance(RidgeCV(ALPHAS), X, np.full_like(Y, np.nan))
    with pytest.raises(ValueError, match="n_permutations"):
        unique_variance(RidgeCV(), X, Y, n_permutations=-1)
