"""A result says what it is, and tables refuse to mix protocols."""

from __future__ import annotations

import json

import numpy as np
import pytest

from neuro.decoders.metrics.result import MetricResult, bootstrap_mean, mean_result, results_table
from neuro.errors import MixedProtocols, ShapeMismatch


def test_interval_of_a_mean_has_the_width_that_theory_says(rng):
    items = rng.standard_normal(2000)
    low, high = bootstrap_mean(items, rng=0, n_bootstraps=4000)
    half = 1.96 * items.std() / np.sqrt(len(items))
    np.testing.assert_allclose([low, high], [items.mean() - half, items.mean() + half], atol=0.06 * half)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        low, high = bootstrap_mean(rng.standard_normal(100), rng, n_bootstraps=300)
        hits += low <= 0 <= high
    assert 0.90 <= hits / 400 <= 0.98


def test_same_seed_same_interval_and_one_item_has_none():
    items = np.arange(10.0)
    assert bootstrap_mean(items, 3) == bootstrap_mean(items, 3)
    assert bootstrap_mean(items[:1]) is None


def test_undefined_items_are_left_out_and_counted():
    r = mean_result("m", [1.0, np.nan, 0.0], protocol="p")
    assert (r.value, r.n, r.details["undefined_items"]) == (0.5, 3, 1)


def test_print_names_protocol_chance_n_direction_and_versions():
    text = repr(mean_result("distance", [0.5, 0.7], protocol="demo", chance=1.0, higher_is_better=False, oracle=True))
    for part in ("distance = 0.6", "demo", "n = 2", "chance 1", "lower is better", "ORACLE", "numpy"):
        assert part in text


def test_results_are_json(rng):
    r = mean_result("m", rng.random(5), protocol="p", chance=0.5)
    back = json.loads(json.dumps(r.to_dict(items=True)))
    np.testing.assert_allclose(back["per_item"], r.per_item)
    assert r.to_dict()["per_item"] is None


def test_tables_refuse_other_protocols_and_other_numbers_of_items():
    a, b = (mean_result("m", [0.0, 1.0], protocol=p) for p in ("one", "two"))
    with pytest.raises(MixedProtocols, match="'one' on 2 items, of 'y' 'two'"):
        results_table({"x": {"m": a}, "y": {"m": b}})
    more = mean_result("m", [0.0, 1.0, 1.0], protocol="one")
    with pytest.raises(MixedProtocols, match="on 3"):
        results_table({"x": {"m": a}, "y": {"m": more}})
    table = results_table({"x": {"m": a}, "y": {"m": mean_result("m", [1.0, 1.0], protocol="one")}})
    assert table["value"].tolist() == [0.5, 1.0]


def test_items_of_another_number_are_refused():
    with pytest.raises(ShapeMismatch, match=r"must be \(3,\)"):
        MetricResult("m", 0.5, "p", 3, per_item=np.zeros(2))
