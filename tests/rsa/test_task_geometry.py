"""Geometry of task variables: alignment, dimension, parallelism, generalisation, shattering."""

import importlib
import itertools

import numpy as np
import pandas as pd
import pytest

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa.task_geometry import (
    balanced_dichotomies,
    ccgp,
    decoding_accuracy,
    kernel_alignment,
    parallelism_score,
    participation_ratio,
    shattering_dimensionality,
    task_geometry,
    train_task_network,
)

CUBE = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
FIRST, XOR = CUBE[:, 0] > 0, CUBE[:, 0] * CUBE[:, 1] > 0


def cube(rng, n_units=30, noise=0.1, n_trials=12):
    """Three variables along orthogonal directions: fully abstract."""
    Q = np.linalg.qr(rng.normal(size=(n_units, n_units)))[0]
    conditions = np.repeat(np.arange(8), n_trials)
    return CUBE[conditions] @ Q[:3] + noise * rng.normal(size=(len(conditions), n_units)), conditions


def simplex(rng, n_units=60, noise=0.1, n_trials=12):
    """Every condition in its own random direction: high-dimensional, not abstract."""
    conditions = np.repeat(np.arange(8), n_trials)
    return rng.normal(size=(8, n_units))[conditions] + noise * rng.normal(size=(len(conditions), n_units)), conditions


# Alignment and dimension


def test_alignment_is_cka_and_its_partial_correlation(rng):
    from neuro.rsa.cka import linear_cka

    Z, X, Y = (rng.normal(size=(25, k)) for k in (6, 4, 3))
    Z = np.column_stack([Z, X])
    for debiased in (True, False):
        found = kernel_alignment(Z, X, Y, debiased=debiased)
        zx, zy, xy = (float(linear_cka(a, b, debiased)) for a, b in ((Z, X), (Z, Y), (X, Y)))
        assert found["input"] == pytest.approx(zx)
        assert found["label"] == pytest.approx(zy)
        assert found["input_label"] == pytest.approx(xy)
        assert found["input_partial"] == pytest.approx((zx - zy * xy) / np.sqrt((1 - zy**2) * (1 - xy**2)))
        kernels = kernel_alignment(Z, X @ X.T, Y @ Y.T, debiased=debiased, kernels=True)
        assert kernels == pytest.approx(found)


def test_partial_alignment_sees_through_correlated_kernels(rng):
    X = rng.normal(size=(60, 5))
    Y = X[:, :2] + 0.5 * rng.normal(size=(60, 2))
    found = kernel_alignment(X @ np.linalg.qr(rng.normal(size=(5, 5)))[0], X, Y)
    assert found["label"] > 0.4
    assert found["input"] == pytest.approx(1)
    assert np.isnan(kernel_alignment(rng.normal(size=(20, 3)), X[:20], X[:20])["label_partial"])


def test_participation_ratio_counts_dimensions(rng):
    Q = np.linalg.qr(rng.normal(size=(400, 10)))[0]
    Q = np.linalg.qr(Q - Q.mean(0))[0]
    assert participation_ratio(Q) == pytest.approx(10)
    assert participation_ratio(Q[:, :1] @ np.ones((1, 7))) == pytest.approx(1)
    C = np.cov(rng.normal(size=(30, 6)) @ np.diag([3, 2, 1, 1, 1, 0.1]), rowvar=False)
    Z = rng.multivariate_normal(np.zeros(6), C, 30)
    S = np.cov(Z, rowvar=False)
    assert participation_ratio(Z) == pytest.approx(np.trace(S) ** 2 / np.trace(S @ S))
    assert participation_ratio(Z.T) == pytest.approx(
        np.trace(np.cov(Z)) ** 2 / np.trace(np.cov(Z) @ np.cov(Z)), rel=1e-10
    )


def test_participation_ratio_of_tensors(rng):
    torch = pytest.importorskip("torch")
    Z = rng.normal(size=(9, 4))
    t = torch.tensor(Z, requires_grad=True)
    assert float(participation_ratio(t).detach()) == pytest.approx(participation_ratio(Z))
    assert torch.autograd.gradcheck(participation_ratio, (t,))


# Dichotomies and parallelism


@pytest.mark.parametrize(("n", "count"), [(2, 1), (4, 3), (6, 10), (8, 35)])
def test_balanced_dichotomies_are_all_and_different(n, count):
    found = balanced_dichotomies(n)
    assert found.shape == (count, n)
    assert (found.sum(1) == n // 2).all()
    assert len({tuple(r) for r in found} | {tuple(~r) for r in found}) == 2 * count


def test_random_dichotomies_are_different_and_seeded():
    found = balanced_dichotomies(12, 50, rng=0)
    assert len(np.unique(found, axis=0)) == 50
    assert (found.sum(1) == 6).all()
    assert np.array_equal(found, balanced_dichotomies(12, 50, rng=0))
    with pytest.raises(ValueError, match="even"):
        balanced_dichotomies(5)
    with pytest.raises(ValueError, match="limit"):
        balanced_dichotomies(24)


def brute_parallelism(means, side):
    plus, minus = means[side], means[~side]
    best = -np.inf
    for pi in itertools.permutations(range(len(plus))):
        v = [p - minus[k] for p, k in zip(plus, pi, strict=True)]
        cosines = [
            a @ b / np.linalg.norm(a) / np.linalg.norm(b) for k, a in enumerate(v) for l, b in enumerate(v) if k != l
        ]
        best = max(best, np.mean(cosines))
    return best


@pytest.mark.parametrize("n", [4, 6, 8])
def test_parallelism_is_that_of_a_loop_over_pairings(rng, n):
    means = rng.normal(size=(n, 5))
    for side in balanced_dichotomies(n)[:5]:
        assert parallelism_score(means, side) == pytest.approx(brute_parallelism(means, side))


def test_parallelism_of_cubes_and_of_xor():
    assert parallelism_score(CUBE, FIRST) == pytest.approx(1)
    square = np.array(list(itertools.product([-1.0, 1.0], repeat=2)))
    assert parallelism_score(square, square.prod(1) > 0) == pytest.approx(-1)


def test_heuristic_finds_the_exact_pairing(rng, monkeypatch):
    cases = [(rng.normal(size=(8, 4)), side) for side in balanced_dichotomies(8)[::5]]
    exact = [parallelism_score(m, s) for m, s in cases]
    module = importlib.import_module("neuro.rsa.task_geometry")  # neuro.rsa.task_geometry is the function
    monkeypatch.setattr(module, "EXACT", 0)
    assert [parallelism_score(m, s, rng=0) for m, s in cases] == pytest.approx(exact)


def test_heuristic_on_sixteen_conditions():
    grid = np.array(list(itertools.product([-1.0, 1.0], repeat=4)))
    order = np.random.default_rng(0).permutation(16)
    assert parallelism_score(grid[order], grid[order, 2] > 0, rng=0) == pytest.approx(1)


# Read-outs


def test_abstract_variables_generalise_and_xor_does_not(rng):
    Z, conditions = cube(rng)
    assert ccgp(Z, conditions, FIRST) == 1
    assert ccgp(Z, conditions, XOR) < 0.35
    assert decoding_accuracy(Z, conditions, FIRST, rng=0) == 1
    assert decoding_accuracy(Z, conditions, XOR, rng=0) < 0.65


def test_random_positions_shatter_but_do_not_generalise(rng):
    Z, conditions = simplex(rng)
    assert shattering_dimensionality(Z, conditions, rng=0) > 0.99
    scores = [ccgp(*simplex(np.random.default_rng(s)), FIRST) for s in range(12)]
    assert np.mean(scores) == pytest.approx(0.5, abs=0.1)
    Z, conditions = cube(rng)
    # of the 35 dichotomies of a cube's corners, the 3 variables are separable, most others only in part
    assert 0.5 < shattering_dimensionality(Z, conditions, rng=0) < 0.85


def test_ccgp_holds_out_whole_conditions(rng):
    """By hand for one row per condition, two conditions a side: train on one pair, test on the other."""
    means = rng.normal(size=(4, 3))
    side = np.array([True, True, False, False])
    scores = []
    for p, m in itertools.product([0, 1], [2, 3]):
        a, b = means[1 - p], means[5 - m]
        w, mid = a - b, (a + b) / 2
        scores += [((means[p] - mid) @ w > 0), ((means[m] - mid) @ w < 0)]
    assert ccgp(means, np.arange(4), side) == pytest.approx(np.mean(scores))


def test_read_outs_do_not_depend_on_rotation_or_order(rng):
    Z, conditions = cube(rng, noise=1.0)
    Q = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    order = rng.permutation(len(Z))
    a = ccgp(Z, conditions, XOR)
    assert ccgp(Z @ Q + 3, conditions, XOR) == pytest.approx(a)
    assert ccgp(Z[order], conditions[order], XOR) == pytest.approx(a)
    assert ccgp(Z, conditions, ~XOR) == pytest.approx(a)


def test_primal_and_dual_read_outs_agree(rng):
    from neuro.rsa.task_geometry import _accuracy

    Z, y = rng.normal(size=(40, 10)), rng.random(40) < 0.4
    wide = np.column_stack([Z, np.zeros((40, 60))])
    test, y_test = rng.normal(size=(50, 10)), rng.random(50) < 0.5
    assert _accuracy(Z, y, test, y_test) == pytest.approx(
        _accuracy(wide, y, np.column_stack([test, np.zeros((50, 60))]), y_test), abs=0.05
    )


def test_noise_decodes_at_chance():
    scores = []
    for s in range(20):
        g = np.random.default_rng(s)
        conditions = np.repeat(np.arange(8), 6)
        scores.append(decoding_accuracy(g.normal(size=(48, 10)), conditions, FIRST, rng=0))
    assert np.mean(scores) == pytest.approx(0.5, abs=0.05)


def test_report_of_a_cube(rng):
    Z, conditions = cube(rng)
    names = {"first": CUBE[:, 0], "xor": XOR, "third": CUBE[:, 2]}
    table = task_geometry(Z, conditions, names, n_null=39, rng=0)
    table = table.set_index("variable")
    assert (table.loc[["first", "third"], ["ccgp", "ps", "decoding"]] > 0.9).all().all()
    assert (table.loc[["first", "third"], ["ccgp_p", "ps_p", "decoding_p"]] <= 0.05).all().all()
    assert (table.loc["xor", ["ccgp_p", "ps_p"]] > 0.3).all()
    assert table.attrs["participation_ratio"] == pytest.approx(3, abs=0.1)
    again = task_geometry(Z, conditions, pd.DataFrame(names), n_null=39, rng=0).set_index("variable")
    pd.testing.assert_frame_equal(table, again)


# Networks


def test_networks_learn_and_are_seeded():
    pytest.importorskip("torch")
    a, b = (train_task_network(((0, 1),), steps=600, rng=1, n_trials=5) for _ in range(2))
    assert np.array_equal(a.hidden, b.hidden)
    assert a.accuracy == 1
    assert a.losses[-1] < 0.1 * a.losses[0]
    assert a.hidden.shape == a.initial.shape == (40, 100)
    assert np.array_equal(a.labels[:, 0], XOR)


def test_tanh_takes_on_the_labels_and_relu_keeps_the_inputs():
    pytest.importorskip("torch")
    found = {"tanh": [], "relu": []}
    for activation, seed in itertools.product(found, range(3)):
        net = train_task_network(activation=activation, rng=seed, steps=1000, n_trials=10)
        assert net.accuracy == 1
        found[activation].append(kernel_alignment(net.hidden, net.X, 2 * net.labels[net.conditions] - 1))
    tanh, relu = (pd.DataFrame(found[a]) for a in ("tanh", "relu"))
    assert (tanh["label"] > relu["label"] + 0.02).all()
    assert (relu["input"] > tanh["input"] + 0.05).all()
    assert (relu["input_partial"] > tanh["input_partial"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "gelu"}, "activation must be"),
        ({"inputs": "sphere"}, "inputs must be"),
        ({"labels": ((0, 9),)}, "tuples of variables"),
        ({"labels": ()}, "tuples of variables"),
        ({"n_inputs": 2}, "n_inputs"),
    ],
)
def test_networks_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        train_task_network(**options)


def test_data_that_cannot_be(rng):
    Z, conditions = cube(rng, n_trials=2)
    with pytest.raises(ShapeMismatch, match="boolean over 8"):
        ccgp(Z, conditions, FIRST[:4])
    with pytest.raises(ValueError, match="equal size"):
        ccgp(Z, conditions, np.arange(8) < 3)
    with pytest.raises(ValueError, match="leave none"):
        ccgp(Z, conditions, FIRST, n_held_out=4)
    with pytest.raises(ShapeMismatch, match="name each"):
        ccgp(Z, conditions[1:], FIRST)
    with pytest.raises(EmptySelection, match="two conditions"):
        shattering_dimensionality(Z, np.zeros(len(Z)))
    with pytest.raises(ShapeMismatch, match="two trials"):
        decoding_accuracy(CUBE, np.arange(8), FIRST)
    with pytest.raises(ValueError, match="NaN"):
        ccgp(np.where(Z > 0.3, np.nan, Z), conditions, FIRST)
    with pytest.raises(ShapeMismatch, match="two values"):
        task_geometry(Z, conditions, {"a": np.arange(8)})
    with pytest.raises(ValueError, match="mapping"):
        task_geometry(Z, conditions, CUBE)
    with pytest.raises(ShapeMismatch, match="same 16 stimuli"):
        kernel_alignment(Z, Z[1:], Z)
    with pytest.raises(ValueError, match="two conditions on each side"):
        parallelism_score(CUBE[:2], [True, False])
