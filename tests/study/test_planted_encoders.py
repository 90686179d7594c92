"""Claims about what several encoders find in a phantom: true ones pass, false ones do not, others are not made."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from neuro.data import Voxels
from neuro.report import EncoderResults, SubjectResults
from neuro.study.config import parse_study
from neuro.study.encode_config import EncodeConfig
from neuro.study.planted_encoders import encoder_checks

BANDS = {"network": ["net", "b"], "edges": ["Gabor", "energy"]}


def config(bands=BANDS):
    return parse_study(
        {
            "dataset": {"kind": "nsd"},
            "models": [
                {"name": "net", "model": "phantom-clip", "layers": ["a", "b"]},
                {"name": "Gabor", "model": "gabor", "layers": ["energy"]},
            ],
            "evaluation": {"split": "shared1000"},
            "encode": [{"name": "banded", "kind": "banded", "bands": bands}],
        }
    )


@pytest.fixture
def subject(rng):
    x, y, size = rng.uniform(-4, 4, (3, 40))
    rois = {"V1": np.arange(40) < 20, "FFA-1": np.arange(40) >= 20}
    truth = {"x": x, "y": y, "size": np.abs(size)}
    return SubjectResults("subj01", Voxels(40), rois, {}, ceiling=np.full(40, 0.5), truth=truth)


@pytest.fixture
def found(subject, rng):
    """Edges add 0.2 in V1, the network 0.2 in FFA-1; receptive fields with an error of 0.3 degrees."""
    early = subject.rois["V1"]
    bands = {
        ("subj01", "banded", "network"): np.where(early, 0.0, 0.2),
        ("subj01", "banded", "edges"): np.where(early, 0.2, 0.0),
    }
    fields = np.stack([subject.truth[k] for k in ("x", "y", "size")]) + rng.normal(0, 0.3, (3, 40))
    empty = pd.DataFrame()
    return EncoderResults(empty, empty, empty, empty, {}, bands=bands, fields={("subj01", "fwRF"): fields})


def checks(found, subject, bands=BANDS):
    return {c["name"]: c for c in encoder_checks(config(bands), found, {"subj01": subject})}


def test_what_holds_passes_with_its_numbers(found, subject):
    got = checks(found, subject)
    assert list(got) == ["subj01 banded: edges", "subj01 banded: network", "subj01 fwRF"]
    assert all(c["passed"] for c in got.values())
    assert got["subj01 banded: edges"]["value"] == "mean unique R² 0.200 against 0.000"
    assert "20 voxels" in got["subj01 fwRF"]["value"]


def test_what_does_not_hold_fails(found, subject, rng):
    turned = {key: 0.2 - values for key, values in found.bands.items()}
    wrong = dataclasses.replace(found, bands=turned, fields={("subj01", "fwRF"): rng.uniform(-4, 4, (3, 40))})
    assert not any(c["passed"] for c in checks(wrong, subject).values())


def test_nothing_is_claimed_of_other_bands_or_without_a_truth(found, subject):
    two_layers = {"network": ["net", "b"], "edges": ["net", "a"]}
    assert list(checks(found, subject, two_layers)) == ["subj01 fwRF"]
    assert list(checks(found, subject, {**BANDS, "third": ["net", "a"]})) == ["subj01 fwRF"]
    assert list(checks(found, dataclasses.replace(subject, truth=None))) == [
        "subj01 banded: edges",
        "subj01 banded: network",
    ]
    only_late = dataclasses.replace(subject, rois={"FFA-1": subject.rois["FFA-1"]})
    assert checks(found, only_late) == {}


def test_few_images_are_compared_on_the_same_embedding_at_the_same_number(found, subject):
    base = config()
    few = EncodeConfig("few", "in-context", "net", "b", network="phantom", curve=(30, 100))
    entries = (few, EncodeConfig("ridge", "ridge", "net", "b", curve=(30, 300)))
    rows = [("few", 30, 0.5), ("ridge", 30, 0.4), ("few", 100, 0.1), ("ridge", 300, 0.9)]
    curve = pd.DataFrame(rows, columns=["model", "n_images", "score"]).assign(subject="subj01", roi="FFA-1")
    results = dataclasses.replace(found, efficiency=curve, bands={}, fields={})

    def claims(*encode):
        return encoder_checks(dataclasses.replace(base, encode=encode), results, {"subj01": subject})

    (one,) = claims(*entries)
    assert one["passed"]
    assert one["value"] == "mean r 0.50 against 0.40"
    assert not claims(few, dataclasses.replace(entries[1], layer="a"))
    assert not claims(few, dataclasses.replace(entries[1], curve=()))
