"""What a section [decode] may say, and what it says when it may not."""

from __future__ import annotations

import pytest

from neuro.errors import StudyError
from neuro.study import parse_study
from neuro.study.decode_config import DecodeConfig

BASE = {
    "dataset": {"kind": "nsd", "root": "phantom"},
    "models": [{"name": "Gabor", "model": "gabor"}],
    "evaluation": {"split": "shared1000"},
}


def test_defaults_are_ridge_on_the_phantoms_networks():
    study = parse_study({**BASE, "decode": {}})
    assert study.decode == DecodeConfig()
    assert study.decode.decoders == ("ridge",)
    assert parse_study(BASE).decode is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"decoders": ["rigde"]}, "unknown decoder 'rigde'; did you mean 'ridge'"),
        ({"decoders": []}, "distinct decoders"),
        ({"protocol": "mindey"}, "must be of"),
        ({"pool": 1}, "at least 2"),
        ({"n_images": -1}, "at least 0"),
        ({"strength": 1.5}, "between 0 and 1"),
        ({"generator": False}, "low_level needs the VAE"),
        ({"genertor": "phantom"}, "did you mean 'generator'"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_runs(given, message):
    with pytest.raises(StudyError, match=message):
        parse_study({**BASE, "decode": given})


def test_a_study_of_rdms_decodes_nothing():
    content = {
        "dataset": {"kind": "rdms", "rdms": [{"name": "IT", "file": "it.npz"}]},
        "rsa": {"layers": False},
        "decode": {},
    }
    with pytest.raises(StudyError, match="needs responses"):
        parse_study(content)


def test_decoding_without_pictures_is_possible():
    study = parse_study({**BASE, "decode": {"generator": False, "captioner": False, "low_level": False}})
    assert study.decode.generator is False
