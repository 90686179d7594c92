"""Representation versus computation: shares of variance, decoding, use, and networks that show the bias."""

import itertools

import numpy as np
import pandas as pd
import pytest

from neuro.errors import ShapeMismatch
from neuro.rsa.bias_network import train_bias_network
from neuro.rsa.feature_bias import bias_scores, equalise, factor_parts, feature_bias, feature_use

pytest.importorskip("torch")


@pytest.fixture
def planted(rng):
    """Balanced factors in orthogonal directions with variances 4, 1, 0.25, and noise of total 0.5."""
    grid = np.array(list(itertools.product([-1, 1], repeat=3)) * 25, float)
    Q = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    noise = rng.normal(size=(200, 20)) * np.sqrt(0.5 / 20)
    Z = grid * [2, 1, 0.5] @ Q[:3] + noise
    return Z, pd.DataFrame(grid, columns=["a", "b", "c"])


def test_shares_are_those_planted(planted):
    Z, factors = planted
    found = feature_bias(Z, factors, rng=0)
    total = 4 + 1 + 0.25 + 0.5
    assert np.allclose(found.table["r2"], np.array([4, 1, 0.25]) / total, atol=0.02)
    assert np.allclose(found.table["unique"], found.table["r2"], atol=1e-10)
    assert np.allclose(found.table["r2_cv"], found.table["r2"], atol=0.02)
    assert (found.table["r2_cv"] < found.table["r2"]).all()
    assert found.total_r2 == pytest.approx(found.table["r2"].sum())
    assert np.allclose(found.table["linear"], 1)


def test_shares_are_those_of_a_regression_per_unit(rng):
    Z, x = rng.normal(size=(30, 6)), rng.normal(size=30)
    kind = rng.choice(["p", "q", "r"], 30)
    found = feature_bias(Z, {"x": x, "kind": kind}, decode=False, rng=0).table
    dummies = np.column_stack([np.ones(30), *(kind == k for k in "pq")])

    def share(design):
        residual = Z - design @ np.linalg.lstsq(design, Z, rcond=None)[0]
        return 1 - (residual**2).sum() / ((Z - Z.mean(0)) ** 2).sum()

    ones = np.ones((30, 1))
    assert found["r2"][0] == pytest.approx(share(np.column_stack([ones, x])))
    assert found["r2"][1] == pytest.approx(share(dummies))
    both = share(np.column_stack([dummies, x]))
    assert found["unique"].tolist() == pytest.approx([both - share(dummies), both - share(np.column_stack([ones, x]))])
    assert found["n_regressors"].tolist() == [1, 3]


def test_shares_of_noise_are_nothing_out_of_sample(rng):
    Z = rng.normal(size=(100, 50))
    found = feature_bias(Z, {"x": rng.normal(size=100), "k": rng.integers(0, 2, 100)}, rng=0).table
    assert (found["r2"] > 0).all()
    assert (found["r2_cv"] < 0.005).all()
    assert (found[["linear", "nonlinear"]].abs() < 0.35).all().all()


def test_xor_is_decoded_nonlinearly_only(rng):
    bits = rng.choice([-1.0, 1.0], (300, 2))
    Z = bits @ rng.normal(size=(2, 8)) + 0.05 * rng.normal(size=(300, 8))
    row = feature_bias(Z, {"xor": bits.prod(1)}, rng=0).table.iloc[0]
    assert row["linear"] < 0.2
    assert row["nonlinear"] > 0.95


def test_continuous_factors_are_decoded_by_regression(rng):
    Z = rng.normal(size=(150, 5))
    table = feature_bias(Z, {"sum": Z.sum(1), "square": Z[:, 0] ** 2}, rng=0).table
    assert table["linear"][0] > 0.99
    assert table["linear"][1] < 0.2
    assert table["nonlinear"][1] > 0.4


def test_dissociation_is_the_difference_of_ranks(planted):
    Z, factors = planted
    found = feature_bias(Z, factors, rng=0)
    assert found.table["dissociation"].tolist() == [-0.5, 0, 0.5]
    assert found.dissociation == pytest.approx(1 / 3)


def test_parts_add_up_and_equalised_parts_are_equal(planted):
    Z, factors = planted
    parts, residual = factor_parts(Z, factors)
    assert np.allclose(sum(parts.values()) + residual, Z - Z.mean(0))
    again, rest = factor_parts(equalise(Z, factors), factors)
    norms = [np.linalg.norm(p) for p in again.values()]
    assert np.allclose(norms, norms[0])
    assert np.allclose(rest, residual)
    assert norms[0] ** 2 * 3 == pytest.approx(sum(np.linalg.norm(p) ** 2 for p in parts.values()))


def test_equalising_undoes_the_bias_of_cka(planted, rng):
    """Two systems that compute the same factors in other proportions look different until the parts are equalised."""
    Z, factors = planted
    Q = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    other = factors.to_numpy() * [0.5, 1, 2] @ Q[:3] + rng.normal(size=(200, 20)) * 0.1
    scores = bias_scores(Z, other, factors)
    assert scores["plain"] < 0.35
    assert scores["equalised"] > 0.9
    assert scores["part:a"] == pytest.approx(1)
    assert abs(scores["residual"]) < 0.1


def test_parts_without_variance_have_no_score(rng):
    grid = np.array(list(itertools.product([-1.0, 1.0], repeat=2)) * 5)
    scores = bias_scores(
        np.outer(grid[:, 0], [1, 2.0]), np.outer(grid[:, 0], [2, 1.0]), {"a": grid[:, 0], "b": grid[:, 1]}
    )
    assert np.isnan(scores["part:b"])
    assert np.isnan(scores["residual"])
    assert scores["plain"] == pytest.approx(1)


@pytest.mark.parametrize("how", ["remove", "swap"])
def test_use_follows_the_readout_and_not_the_variance(planted, how):
    Z, factors = planted
    w = np.linalg.lstsq(Z - Z.mean(0), factors["c"], rcond=None)[0]
    table = feature_use(Z, factors, lambda z: (z - Z.mean(0)) @ w, targets=factors[["c"]], how=how, rng=0).set_index(
        "factor"
    )
    assert table.loc["c", "accuracy"] == 1
    assert table.loc["c", "use"] > 0.85
    assert table.loc["a", "use"] == pytest.approx(0, abs=0.02)
    assert table.loc["c", "change"] > 0.7
    assert table.loc[["a", "b"], "change"].max() < 0.05
    assert set(table["output"]) == {"c"}


def test_use_without_targets_reports_change(planted):
    Z, factors = planted
    table = feature_use(Z, factors, lambda z: z[:, :3])
    assert list(table.columns) == ["factor", "output", "change"]
    assert len(table) == 9


@pytest.fixture(scope="module")
def network():
    return train_bias_network({"easy": "linear", "hard": "parity4"}, rng=0, steps=600)


def test_easy_comes_before_hard_and_takes_more_variance(network):
    assert min(network.accuracy().values()) > 0.98
    assert network.learned_at["easy"] < network.learned_at["hard"]
    found = feature_bias(network.Z, network.factors, rng=0)
    table = found.table.set_index("factor")
    assert table.loc["easy", "r2"] > 2.5 * table.loc["hard", "r2"]
    assert (table[["linear", "nonlinear"]].max(axis=1) > 0.95).all()
    assert table.loc["hard", "dissociation"] > 0 > table.loc["easy", "dissociation"]


def test_what_takes_little_variance_is_used_as_much(network):
    table = feature_use(network.Z, network.factors, network.readout, network.factors)
    own = table[table["factor"] == table["output"]].set_index("factor")
    cross = table[table["factor"] != table["output"]]
    assert (own["use"] > 0.8).all()
    assert (cross["use"].abs() < 0.25).all()


def test_history_ends_at_the_network(network):
    last = network.history[network.history["step"] == 600].set_index("feature")
    assert last["accuracy"].to_dict() == pytest.approx(network.accuracy())
    found = feature_bias(network.Z, network.factors, decode=False, rng=0).table.set_index("factor")
    assert np.allclose(last["r2"], found["r2"].loc[last.index])


def test_networks_of_one_seed_are_the_same():
    a, b = (train_bias_network(steps=20, rng=3, n_test=16) for _ in range(2))
    assert all(np.array_equal(p[0], q[0]) for p, q in zip(a.weights, b.weights, strict=True))
    assert np.array_equal(a.X, b.X)


def test_hard_nets_look_less_alike_than_each_to_an_easy_one():
    """Two networks of the same hard task against two of an easy one: the easy ones agree more by CKA."""
    from neuro.rsa.compare import compare
    from neuro.rsa.estimate import rdm

    X = np.random.default_rng(0).choice([-1.0, 1.0], (150, 4))

    def pair(kind):
        nets = [train_bias_network({"f": kind}, rng=s, steps=300, n_test=16, n_layers=2) for s in (1, 2)]
        rdms = [rdm(n.hidden(X)[-1], "sqeuclidean").dissimilarities for n in nets]
        return compare(rdms[0], rdms[1], "cka")[0, 0]

    assert pair("linear") > pair("parity4")


def test_a_feature_is_learned_only_once_it_is_taught_and_sooner_if_taught_often():
    net = train_bias_network(
        {"a": "linear", "b": "linear", "c": "xor"}, start={"b": 60}, rng=0, steps=200, record_every=10
    )
    rows = net.history.set_index(["feature", "step"])["accuracy"]
    assert rows["a"][60] > 0.95
    assert abs(rows["b"][60] - 0.5) < 0.1
    assert rows["b"][200] > 0.95
    assert net.learned_at["b"] <= 100
    rare = train_bias_network({"a": "xor", "b": "xor"}, prevalence={"b": 0.03}, rng=0, steps=300, record_every=10)
    assert rare.learned_at["a"] < (rare.learned_at["b"] if rare.learned_at["b"] == rare.learned_at["b"] else np.inf)


def test_tanh_networks_and_their_layers():
    net = train_bias_network(activation="tanh", steps=5, n_layers=2, n_hidden=8, rng=0, n_test=32)
    assert [z.shape for z in net.hidden()] == [(32, 8), (32, 8)]
    assert np.abs(net.Z).max() <= 1
    assert net.readout(net.Z).shape == (32, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": {"a": "and"}}, "feature must be"),
        ({"features": {"a": "parity9"}}, "needs n_bits"),
        ({"start": {"zzz": 3}}, "no feature 'zzz'"),
        ({"prevalence": {"easy": 0}}, "prevalence"),
        ({"activation": "gelu"}, "activation must be"),
        ({"steps": 0}, "steps"),
    ],
)
def test_networks_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        train_bias_network(**options)


def test_data_that_cannot_be(planted):
    Z, factors = planted
    with pytest.raises(ShapeMismatch, match="n_stimuli, n_units"):
        feature_bias(Z[0], factors)
    with pytest.raises(ValueError, match="NaN"):
        feature_bias(np.where(Z > 1, np.nan, Z), factors)
    with pytest.raises(ShapeMismatch, match="one value for each"):
        feature_bias(Z, factors.iloc[:-1])
    with pytest.raises(ValueError, match="same for all"):
        feature_bias(Z, {"a": np.ones(200)})
    with pytest.raises(ValueError, match="mapping name"):
        feature_bias(Z, factors.to_numpy())
    with pytest.raises(ValueError, match="holds NaN"):
        feature_bias(Z, {"a": np.where(factors["a"] > 0, np.nan, 1)})
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        bias_scores(Z, Z[:-1], factors)
    with pytest.raises(ShapeMismatch, match="readout must return"):
        feature_use(Z, factors, lambda z: z[:3])
    with pytest.raises(ShapeMismatch, match="targets are"):
        feature_use(Z, factors, lambda z: z[:, :2], factors)
    with pytest.raises(ValueError, match="folds"):
        feature_bias(Z[:4], factors[["c"]][:4], n_folds=5)
