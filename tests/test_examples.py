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


@pytest.mark.real
def test_geometry_of_the_92_images(real_data, tmp_path):
    """Known answers of this data set: categories, species, models and layers of a real network."""
    import dataclasses
    import tomllib

    from neuro.report import RsaResults
    from neuro.study import parse_study, run_study

    text = (EXAMPLES / "rsa_92_images.toml").read_text(encoding="utf-8").replace("../../shared/real", str(real_data))
    study = parse_study(tomllib.loads(text), tmp_path)
    study = dataclasses.replace(study, rsa=dataclasses.replace(study.rsa, n_bootstraps=100))
    run = run_study(study, tmp_path / "rsa", say=lambda line: None)
    results = RsaResults.load(run.output / "rsa")
    models = results.table("models").set_index(["roi", "model"])
    published = {"animacy": 0.334462, "FaceBodyManmadeNatobj": 0.205324, "monkeyIT": 0.296324, "HMAX": 0.159868}
    for name, score in published.items():
        assert models.loc[("human IT", name), "score"] == pytest.approx(score, abs=1e-5)
    row = models.loc[("human IT", "animacy")]
    assert (row["lower_ceiling"], row["upper_ceiling"]) == pytest.approx((0.37231323, 0.66572088), abs=1e-5)
    matrix = results.table("matrix").set_index(["roi", "layer"])["score"]
    known = {"blocks.2": (0.201, 0.227), "blocks.4": (0.264, 0.333), "global_pool": (0.208, 0.240)}
    for layer, (human, monkey) in known.items():
        assert matrix["human IT", layer] == pytest.approx(human, abs=0.01)
        assert matrix["monkey IT", layer] == pytest.approx(monkey, abs=0.01)
    structure = results.table("structure").set_index(["roi", "model"])
    assert tuple(structure.loc[("human IT", "animacy"), ["within", "between"]]) == pytest.approx(
        (0.795, 0.900), abs=0.01
    )
    assert tuple(structure.loc[("monkey IT", "animacy"), ["within", "between"]]) == pytest.approx(
        (0.957, 1.034), abs=0.01
    )
