"""Unbalanced designs: against loops over pairs of rows, the balanced estimators, rsatoolbox; folds, NaN."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch

from neuro.errors import EmptySelection
from neuro.rsa.estimate import rdm


def loop(X, names, folds, weighting="number", similarity=None):
    similarity = similarity or (lambda a, b: a * b)
    n = max(names) + 1
    kappa = np.full((n, n), np.nan)
    for i, j in itertools.product(range(n), repeat=2):
        total = weight = 0.0
        for a, b in itertools.product(np.flatnonzero(names == i), np.flatnonzero(names == j)):
            if folds is not None and folds[a] == folds[b]:
                continue
            products = similarity(X[a], X[b])
            known = np.isfinite(products)
            if not known.any():
                continue
            w = known.sum() if weighting == "number" else 1
            total += w * products[known].mean()
            weight += w
        kappa[i, j] = total / weight if weight else np.nan
    return np.array([kappa[i, i] + kappa[j, j] - 2 * kappa[i, j] for i, j in itertools.combinations(range(n), 2)])


@pytest.fixture
def design(rng):
    names = np.array([0, 0, 1, 1, 2, 2, 3, 3, 0, 1, 2, 2, 3, 0, 1, 1])
    folds = np.array([0, 1, 0, 1, 0, 1, 0, 1, 2, 2, 2, 2, 2, 0, 1, 3])
    return rng.standard_normal((16, 9)) + 1, names, folds


@pytest.mark.parametrize("tensor", [False, True])
def test_the_loop_over_pairs_of_rows(design, tensor):
    X, names, folds = design
    data = torch.tensor(X) if tensor else X
    with_folds = rdm(data, "crossnobis", conditions=names, folds=folds, unbalanced=True).dissimilarities[0]
    np.testing.assert_allclose(with_folds, loop(X, names, folds), atol=1e-12)
    without = rdm(data, "sqeuclidean", conditions=names, unbalanced=True).dissimilarities[0]
    np.testing.assert_allclose(without, loop(X, names, None), atol=1e-12)
    np.testing.assert_allclose(without, rdm(X, "sqeuclidean", conditions=names).dissimilarities[0], atol=1e-12)


@pytest.mark.parametrize("weighting", ["number", "equal"])
@pytest.mark.parametrize("tensor", [False, True])
def test_missing_channels(rng, design, weighting, tensor):
    X, names, folds = design
    X[rng.random(X.shape) < 0.2] = np.nan
    data = torch.tensor(X) if tensor else X
    kwargs = {"conditions": names, "unbalanced": True, "nan": "pairwise", "weighting": weighting}
    d = rdm(data, "crossnobis", folds=folds, **kwargs).dissimilarities[0]
    np.testing.assert_allclose(d, loop(X, names, folds, weighting), atol=1e-12)
    d = rdm(data, "sqeuclidean", **kwargs).dissimilarities[0]
    np.testing.assert_allclose(d, loop(X, names, None, weighting), atol=1e-12)


def test_row_blocks_do_not_matter(rng, design, monkeypatch):
    X, names, folds = design
    X[rng.random(X.shape) < 0.2] = np.nan
    kwargs = {"conditions": names, "folds": folds, "unbalanced": True, "nan": "pairwise"}
    for metric in ("crossnobis", "correlation"):
        whole = rdm(X, metric, **kwargs).dissimilarities
        with monkeypatch.context() as m:
            m.setattr("neuro.rsa.unbalanced.ROW_BYTES", 1)
            np.testing.assert_allclose(rdm(X, metric, **kwargs).dissimilarities, whole)


@pytest.mark.parametrize("metric", ["crossnobis", "poisson_cv"])
@pytest.mark.parametrize("repeats", [1, 2])
def test_balanced_designs_give_the_balanced_estimate(rng, metric, repeats):
    X = rng.uniform(0, 4, (3 * 5 * repeats, 7))
    names, folds = np.tile(np.arange(5), 3 * repeats), np.repeat(np.arange(3), 5 * repeats)
    noise = {"noise": np.linspace(1, 3, 7)} if metric == "crossnobis" else {}
    a = rdm(X, metric, conditions=names, folds=folds, **noise).dissimilarities
    b = rdm(X, metric, conditions=names, folds=folds, unbalanced=True, **noise).dissimilarities
    if metric == "poisson_cv" and repeats > 1:
        return  # the log of a mean is not the mean of logs
    np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "correlation", "cosine", "mahalanobis", "poisson"])
@pytest.mark.parametrize("missing", [False, True])
def test_one_row_per_condition_is_the_plain_metric(rng, metric, missing):
    X = rng.uniform(1, 4, (6, 8))
    if missing:
        if metric in ("correlation", "cosine"):
            X[:, 3] = np.nan
        else:
            X[:, [2, 5]] = np.nan
    kwargs = {"nan": "pairwise"} if missing else {}
    plain = rdm(X[:, np.isfinite(X[0])], metric)
    d = rdm(X, metric, unbalanced=True, **kwargs)
    np.testing.assert_allclose(d.dissimilarities, plain.dissimilarities, rtol=1e-9)


def test_rsatoolbox_agrees(rng, design):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Dataset = pytest.importorskip("rsatoolbox.data").Dataset
        from rsatoolbox.rdm import calc_rdm_unbalanced

        X, names, folds = design
        X = np.abs(X)
        B = rng.standard_normal((9, 20))
        W = B @ B.T / 20
        holes = X.copy()
        holes[rng.random(X.shape) < 0.2] = np.nan
        order = np.argsort(names, kind="stable")
        cases = [
            ("sqeuclidean", "euclidean", False, {}, X),
            ("correlation", "correlation", False, {}, X),
            ("correlation", "correlation", True, {}, X),
            ("mahalanobis", "mahalanobis", False, {"noise": W}, X),
            ("crossnobis", "crossnobis", True, {}, X),
            ("crossnobis", "crossnobis", True, {"noise": W}, X),
            ("poisson", "poisson", False, {}, X),
            ("poisson_cv", "poisson_cv", True, {}, X),
            ("sqeuclidean", "euclidean", False, {}, holes),
            ("crossnobis", "crossnobis", True, {}, holes),
            ("poisson_cv", "poisson_cv", True, {}, holes),
        ]
        for weighting in ("number", "equal"):
            for ours, theirs, crossed, extra, values in cases:
                if weighting == "equal" and not crossed:
                    continue  # there it sums a row's product with itself but does not count it
                data = Dataset(values[order], obs_descriptors={"c": names[order], "f": folds[order]})
                cv = {"cv_descriptor": "f"} if crossed else {}
                expected = calc_rdm_unbalanced(data, theirs, descriptor="c", weighting=weighting, **cv, **extra)
                d = rdm(
                    values,
                    ours,
                    conditions=names,
                    folds=folds if crossed else None,
                    unbalanced=True,
                    nan="pairwise",
                    weighting=weighting,
                    **extra,
                )
                np.testing.assert_allclose(d.dissimilarities, expected.dissimilarities, atol=1e-10, err_msg=ours)


def test_a_condition_missing_from_a_fold_takes_the_unbalanced_path(design):
    X, names, folds = design
    d = rdm(X, "crossnobis", conditions=names, folds=folds)
    assert d.settings["unbalanced"] is True
    np.testing.assert_allclose(d.dissimilarities[0], loop(X, names, folds), atol=1e-12)


def test_unbiased_with_unequal_counts(rng):
    names, folds = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2]), np.array([0, 1, 2, 0, 1, 0, 1, 2, 2])
    values = [rdm(rng.standard_normal((9, 6)), "crossnobis", conditions=names, folds=folds) for _ in range(1500)]
    d = np.concatenate([v.dissimilarities for v in values])
    assert np.abs(d.mean(0) / (d.std(0) / np.sqrt(len(d)))).max() < 4


def test_pair_without_two_folds_is_nan_with_a_count(rng):
    X = rng.standard_normal((5, 4))
    with pytest.warns(UserWarning, match="1 of 6 pairs"):
        d = rdm(X, "crossnobis", conditions=[0, 0, 1, 1, 2], folds=[0, 1, 0, 1, 0]).dissimilarities[0]
    np.testing.assert_array_equal(np.isnan(d), [False, True, True])


def test_gradients(design):
    X, names, folds = design
    t = torch.tensor(np.abs(X) + 0.1, requires_grad=True)
    for metric in ("crossnobis", "correlation", "poisson_cv"):
        assert torch.autograd.gradcheck(
            lambda x, m=metric: rdm(x, m, conditions=names, folds=folds, unbalanced=True).dissimilarities, (t,)
        )


def test_bad_input(rng, design):
    X, names, folds = design
    with pytest.raises(ValueError, match="unbalanced=True is for"):
        rdm(X, lambda x: x, conditions=names, unbalanced=True)
    with pytest.raises(ValueError, match="weighting must be"):
        rdm(X, "sqeuclidean", conditions=names, unbalanced=True, weighting="rows")
    with pytest.raises(EmptySelection, match="at least two folds"):
        rdm(X, "crossnobis", conditions=names, folds=np.zeros(16), unbalanced=True)
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match="1 NaN"):
        rdm(X, "crossnobis", conditions=names, folds=folds)
    with pytest.raises(ValueError, match="whole precision matrix needs all channels"):
        rdm(X, "crossnobis", conditions=names, folds=folds, noise=np.eye(9), nan="pairwise")
