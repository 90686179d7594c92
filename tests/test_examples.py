"""The examples run, at the small sizes they have without arguments."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from neuro.study import load_study

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_example_runs(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda p: p.stem)
def test_study_files_are_valid(path):
    assert load_study(path).models


@pytest.mark.real
def test_macaque_v4_beats_its_controls(real_data, tmp_path):
    """Real images, spikes and network, at one session and two layers; the whole file is what a user runs."""
    import dataclasses

    from neuro.study import run_study

    study = load_study(EXAMPLES / "macaque_v4.toml")
    only = next(r for r in study.dataset.recordings if r.name == "210325")
    root = real_data / "cowley_v4"
    only = dataclasses.replace(
        only,
        images=str(root / "images/images_210325.zip"),
        responses=str(root / "responses_repeat_averaged/responses_210325.npy"),
        repeats=str(root / "responses_raw/responses_210325.npy"),
    )
    weights = real_data / "mobilenetv2_imagenet/mobilenetv2_100_imagenet1001.safetensors"
    network = dataclasses.replace(study.models[0], pretrained=str(weights), layers=("blocks.4",))
    gabor = next(m for m in study.models if m.model == "gabor")
    study = dataclasses.replace(
        study,
        dataset=dataclasses.replace(study.dataset, recordings=(only,)),
        models=(network, gabor),
        evaluation=dataclasses.replace(study.evaluation, n_bootstraps=100, n_permutations=99),
    )
    run = run_study(study, tmp_path / "v4", say=lambda line: None)
    median = run.table[run.table["metric"] == "r"].set_index("model")["median"]
    assert median["MobileNetV2"] == pytest.approx(0.556, abs=0.03)
    assert median["MobileNetV2"] > median["Gabor"] + 0.03
    assert abs(median["shuffled pairing"]) < 0.05
    ceiling = run.table["ceiling"].dropna()
    assert ceiling.iloc[0] == pytest.approx(0.73, abs=0.05)
