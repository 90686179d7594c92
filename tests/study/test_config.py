"""Study files: what is wrong is named before anything runs."""

from __future__ import annotations

import pytest

from neuro.errors import StudyError
from neuro.study.config import alpha_grid, load_study, parse_study


def minimal(**changes):
    content = {
        "dataset": {"kind": "nsd", "root": "x"},
        "models": [{"name": "a", "model": "gabor"}],
        "evaluation": {"split": "shared1000"},
    }
    for path, value in changes.items():
        section, _, key = path.partition("__")
        if key:
            content[section] = {**content.get(section, {}), key: value}
        else:
            content[section] = value
    return content


def test_a_minimal_study_has_every_default_written_out():
    study = parse_study(minimal(), "/somewhere")
    assert study.to_dict()["encoder"] == {"kind": "ridge", "alphas": "auto", "cv": 5}
    assert study.path("y") == __import__("pathlib").Path("/somewhere/y")
    assert "folder" not in study.to_dict()  # moving a study changes no fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset__kinds": "nsd"}, "unknown entry 'kinds' in dataset; did you mean 'kind'"),
        ({"dataset": {"root": "x"}}, "dataset needs an entry 'kind'"),
        ({"dataset__kind": "nds"}, "must be 'nsd', 'recordings' or 'rdms'"),
        ({"dataset__kind": "recordings"}, "at least one"),
        ({"model": []}, r"unknown section \[model\]; did you mean 'models'"),
        ({"models": []}, "distinct names"),
        ({"models": [{"name": "a", "model": "x"}] * 2}, "distinct names"),
        ({"evaluation": {}}, "exactly one of"),
        ({"evaluation": {"split": "a", "folds": 5}}, "exactly one of"),
        ({"evaluation": {"folds": 1}}, "at least 2"),
        ({"evaluation": {"test": 1.5}}, "between 0 and 1"),
        ({"encoder__kind": "lasso"}, "must be 'ridge'"),
        ({"encoder__alphas": [1.0, 0.0]}, "must be positive"),
        ({"encoder__alphas": {"start": 0, "stop": 3}}, "needs start, stop"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_reason(changes, message):
    with pytest.raises(StudyError, match=message):
        parse_study(minimal(**changes))


def test_files_that_are_no_studies(tmp_path):
    with pytest.raises(StudyError, match="no study file"):
        load_study(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[study\n")
    with pytest.raises(StudyError, match="not valid TOML"):
        load_study(tmp_path / "bad.toml")


def test_alpha_grids():
    assert alpha_grid("auto") == "auto"
    assert alpha_grid({"start": 0, "stop": 2, "n": 3}).tolist() == [1, 10, 100]
    assert alpha_grid([1, 2]).tolist() == [1, 2]
