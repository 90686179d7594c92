"""Entries [[encode]]: what is wrong is named, with the nearest name, before anything runs."""

from __future__ import annotations

import inspect

import pytest

import neuro.encoders
from neuro.errors import StudyError
from neuro.study.config import parse_study
from neuro.study.encode_config import KINDS, EncodeConfig, options_of

BANDS = {"net": ["net", "b"], "gabor": ["Gabor", "energy"]}


def study(*entries, **model):
    return {
        "dataset": {"kind": "nsd", "root": "x"},
        "models": [
            {"name": "net", "model": "phantom-clip", "layers": ["a", "b"], **model},
            {"name": "Gabor", "model": "gabor", "layers": ["energy"]},
        ],
        "evaluation": {"split": "shared1000"},
        "encode": list(entries),
    }


def entry(**changes):
    return {"name": "e", "kind": "ridge", "model": "net", "layer": "b", **changes}


def test_every_kind_can_be_said():
    network = {"in-context": {"network": "folder"}}
    entries = []
    for kind, about in KINDS.items():
        reads = {"bands": BANDS} if about.reads == "bands" else {"model": "net", "layer": "b"}
        entries.append({"name": kind, "kind": kind, **reads, **network.get(kind, {})})
    config = parse_study(study(*entries))
    assert [e.kind for e in config.encode] == list(KINDS)
    assert all(hasattr(neuro.encoders, about.estimator) for about in KINDS.values())


def test_studies_without_encoders_are_as_before():
    assert parse_study(study()).encode == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "bandd"}, "unknown kind 'bandd'; did you mean 'banded'"),
        ({"options": {"alpha": [1]}}, "unknown option 'alpha' of kind 'ridge'; did you mean 'alphas'"),
        ({"options": {"bands": {}}}, "unknown option 'bands'"),
        ({"model": "nett"}, "unknown model 'nett'; did you mean 'net'"),
        ({"layer": "c"}, "no layer 'c' of model 'net'. Layers: a, b"),
        ({"layer": None}, "'net' has 2 layers: say which"),
        ({"name": "net"}, "distinct names"),
        ({"bands": BANDS}, "either model"),
        ({"model": None}, "either model"),
        ({"kind": "banded"}, "two bands or more, got "),
        ({"kind": "banded", "model": None, "bands": {"net": ["net", "b"]}}, r"two bands or more, got \['net'\]"),
        ({"kind": "banded", "model": None, "bands": {**BANDS, "x": ["net"]}}, r"band 'x' must be \[model, layer\]"),
        ({"kind": "banded", "model": None, "bands": {**BANDS, "x": ["Gabr", "e"]}}, "did you mean 'Gabor'"),
        ({"kind": "banded", "model": None, "bands": {**BANDS, "x": ["Gabor", "energi"]}}, "did you mean 'energy'"),
        ({"kind": "attention", "model": None, "bands": BANDS}, "reads model and layer, not bands"),
        ({"kind": "attention", "options": {"queries": "roi"}}, "queries must be 'rois'"),
        ({"kind": "in-context"}, "needs network"),
        ({"network": "x"}, "needs network"),
        ({"kind": "in-context", "network": "x", "layer": ["a", "b"]}, "reads one layer"),
        ({"curve": [5]}, "at least 10"),
        ({"curve": [30, 30]}, "different numbers"),
        ({"draws": 1}, "at least 2"),
        ({"examples": -1}, "examples must be"),
        ({"colour": 1}, r"unknown entry 'colour' in encode\[0\]"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_reason(changes, message):
    with pytest.raises(StudyError, match=message):
        parse_study(study({k: v for k, v in entry(**changes).items() if v is not None}))


def test_the_entry_is_named():
    with pytest.raises(StudyError, match=r"encode\[1\] \('second'\): unknown kind"):
        parse_study(study(entry(), entry(name="second", kind="x")))


def test_one_bracket_and_two_of_a_name():
    content = study()
    content["encode"] = entry()
    with pytest.raises(StudyError, match="two brackets"):
        parse_study(content)
    with pytest.raises(StudyError, match="distinct names"):
        parse_study(study(entry(), entry()))


def test_responses_are_needed_and_one_model_is_encoded_layer_by_layer():
    content = study(entry())
    content["dataset"] = {"kind": "rdms", "images": "i", "rdms": [{"name": "IT", "file": "f"}]}
    with pytest.raises(StudyError, match="needs responses"):
        parse_study(content)
    content = study(layerwise=False)
    content["models"][1]["layerwise"] = False
    with pytest.raises(StudyError, match="layerwise = false"):
        parse_study(content)


@pytest.mark.parametrize("kind", KINDS)
def test_options_are_those_of_the_class(kind):
    known = inspect.signature(getattr(neuro.encoders, KINDS[kind].estimator).__init__).parameters
    assert set(options_of(kind)) <= set(known)
    assert not {"self", "bands", "network", "grid", "random_state", "checkpoint"} & set(options_of(kind))


def test_layers_of_an_entry():
    assert EncodeConfig("e", "ridge", "net", "b").layers_of("net") == ("b",)
    assert EncodeConfig("e", "ridge", "net", ["a", "b"]).layers_of("net") == ("a", "b")
    banded = EncodeConfig("e", "banded", bands=BANDS)
    assert banded.models == ("net", "Gabor")
    assert banded.layers_of("Gabor") == ("energy",)
