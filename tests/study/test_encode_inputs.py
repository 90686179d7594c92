"""What encoders read: layers with places, feature spaces, embeddings; what has no places is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from neuro.encoders import InContextConfig, InContextEncoder, in_context
from neuro.encoders._in_context_network import InContextNetwork
from neuro.errors import StudyError
from neuro.features.store import Features
from neuro.study.encode_config import EncodeConfig
from neuro.study.encode_inputs import check_inputs, make_estimator, network_key, read_inputs

SPECS = {
    "net": {
        "maps": {"shape": (4, 3, 3), "spec": {"pool": "spatial:3", "project": None}},
        "mixed": {"shape": (50,), "spec": {"pool": "spatial:3", "project": {"n": 50}}},
        "mean": {"shape": (8,), "spec": {"pool": "mean", "project": None}},
        "point": {"shape": (8, 1, 1), "spec": {"pool": "spatial:3", "project": None}},
        "tokens": {"shape": (9, 5), "spec": {"pool": "tokens", "project": None}},
        "class token": {"shape": (10, 5), "spec": {"pool": "tokens", "project": None}},
    }
}


def rf(layer):
    return EncodeConfig("rf", "receptive-field", "net", layer)


@pytest.mark.parametrize("layer", ["maps", "tokens"])
def test_layers_with_places_are_taken(layer):
    check_inputs([rf(layer)], SPECS, Path)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("mixed", "is projected to 50 numbers, which mixes places. Give a model pool = 'spatial:7'"),
        ("mean", r"shape \(8,\) \(pool 'mean'\), which are no grid"),
        ("point", "single place"),
        ("class token", "no grid of places"),
        ("map", "no layer 'map' of model 'net'; did you mean 'maps'"),
    ],
)
def test_layers_without_places_are_refused(layer, message):
    with pytest.raises(StudyError, match=message):
        check_inputs([rf(layer)], SPECS, Path)


def test_wrong_values_of_options_are_named_with_their_entry():
    entry = EncodeConfig("rf", "receptive-field", "net", "maps", options={"fields": {"n_sizes": 0}})
    with pytest.raises(StudyError, match=r"encode\[0\] \('rf'\): n_sizes must be"):
        check_inputs([entry], SPECS, Path)
    with pytest.raises(StudyError, match="alphas must be positive"):
        check_inputs([EncodeConfig("r", "ridge", "net", "mean", options={"alphas": [-1]})], SPECS, Path)


@pytest.fixture
def features(rng):
    """Maps (n, C, h, w) and the same as tokens (n, T, C), as a store returns them: flat rows and shapes."""
    maps = rng.standard_normal((6, 5, 3, 3)).astype(np.float32)
    tokens = maps.reshape(6, 5, 9).transpose(0, 2, 1)
    rows = {"maps": maps.reshape(6, -1), "tokens": tokens.reshape(6, -1)}
    return maps, {"net": Features(np.arange(6), rows, {"maps": (5, 3, 3), "tokens": (9, 5)}, {})}


def test_maps_and_tokens_are_one_thing(features):
    maps, store = features
    ids = np.array([4, 1])
    for layer in ("maps", "tokens"):
        inputs = read_inputs(rf(layer), store, ids)
        np.testing.assert_array_equal(inputs.scaled_by(np.array([0]))(np.array([0, 1])), maps[ids])


def test_several_layers_stay_apart(features):
    _, store = features
    inputs = read_inputs(EncodeConfig("a", "attention", "net", ["maps", "tokens"]), store, np.arange(6))
    X = inputs.scaled_by(np.arange(3))(np.arange(6))
    np.testing.assert_array_equal(X["maps"], X["tokens"])
    side_by_side = read_inputs(EncodeConfig("r", "ridge", "net", ["maps", "tokens"]), store, np.arange(6))
    assert side_by_side.scaled_by(np.arange(3))(np.arange(6)).shape == (6, 90)


def test_features_are_z_scored_by_the_training_rows_alone(features):
    maps, store = features
    bands = {"a": ("net", "maps"), "b": ("net", "tokens")}
    inputs = read_inputs(EncodeConfig("b", "banded", bands=bands), store, np.arange(6))
    X = inputs.scaled_by(np.arange(4))(np.arange(6))
    flat = maps.reshape(6, -1)
    np.testing.assert_allclose(X["a"], (flat - flat[:4].mean(0)) / flat[:4].std(0), rtol=1e-4, atol=1e-5)
    assert list(inputs.without("a").data) == ["b"]


def test_queries_are_the_regions_of_the_subject():
    rois = {"V1": np.array([True, False, False]), "FFA": np.array([False, True, True])}
    entry = EncodeConfig("a", "attention", "net", "maps")
    assert make_estimator(entry, rois=rois).queries.keys() == rois.keys()
    assert make_estimator(entry).queries == "one"
    sides = EncodeConfig("a", "attention", "net", "maps", options={"queries": "hemispheres"})
    found = make_estimator(sides, rois=rois, hemispheres=np.array(["L", "L", "R"])).queries
    assert {k: v.tolist() for k, v in found.items()} == {"L": [True, True, False], "R": [False, False, True]}
    assert make_estimator(EncodeConfig("f", "factorised", "net", "maps"), rois=rois).queries == "voxels"


def test_kernels_lose_those_of_a_space_that_is_left_out():
    options = {"kernels": {"a": "rbf", "b": "linear"}}
    entry = EncodeConfig("k", "multiple-kernel", bands={"a": ("net", "maps"), "b": ("net", "mean")}, options=options)
    assert make_estimator(entry).kernels == options["kernels"]
    assert make_estimator(entry, names=["b"]).kernels == {"b": "linear"}


@pytest.fixture
def network(tmp_path):
    """An untrained in-context network for embeddings of 8 numbers."""
    config = InContextConfig(8, 8, 1, n_heads=1, ffn=8, n_tokens=1, min_context=20)
    InContextEncoder(InContextNetwork(config)).save(tmp_path / "network")
    return tmp_path / "network"


def in_context_entry(network, layer="mean"):
    return EncodeConfig("few", "in-context", "net", layer, network=str(network))


def test_in_context_networks_are_opened_before_any_work(network, tmp_path):
    check_inputs([in_context_entry(network)], SPECS, Path)
    with pytest.raises(StudyError, match="layer 'mixed' of 'net': the network reads embeddings of 8 numbers, got 50"):
        check_inputs([in_context_entry(network, "mixed")], SPECS, Path)
    short = dataclasses.replace(in_context_entry(network), curve=(10, 30))
    with pytest.raises(StudyError, match="curve asks for 10 images, but the network was trained with at least 20"):
        check_inputs([short], SPECS, Path)
    with pytest.raises(StudyError, match="no in-context network in"):
        check_inputs([in_context_entry(tmp_path / "none")], SPECS, Path)


def test_in_context_networks_standardise_what_the_study_did_not(network):
    entry = in_context_entry(network)
    assert not make_estimator(entry, z_scored=True).standardize
    assert make_estimator(entry, z_scored=False).standardize
    assert make_estimator(entry).normalize
    assert network_key(make_estimator(entry)) == network_key(make_estimator(entry, seed=3))
    assert network_key(make_estimator(rf("maps"))) is None


def test_a_missing_phantom_network_is_said(monkeypatch):
    monkeypatch.delattr(in_context, "phantom_network")
    with pytest.raises(StudyError, match="ships no in-context network"):
        make_estimator(in_context_entry("phantom"))
