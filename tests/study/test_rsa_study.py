"""The RSA of a study: planted relations come back, files of RDMs alone make a study, and the command line agrees."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import squareform

from neuro.cli import main
from neuro.datasets.phantom import render_scenes, write_phantom
from neuro.errors import ShapeMismatch, StudyError
from neuro.report import RsaResults, StudyResults
from neuro.rsa import RDMs, compare, evaluate, rdm
from neuro.study import parse_study, rebuild_report, run_study


def quiet(line):
    return None


GABOR = {
    "name": "Gabor",
    "model": "gabor",
    "layers": ["energy"],
    "options": {"size": 64, "orientations": 4, "scales": [4, 8], "grid": 8, "degrees": 8.4},
}
ROIS = ["V1", "V2", "V3", "FFA-1", "PPA", "OPA"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A study of two phantom subjects with 40 shared images."""
    root = tmp_path_factory.mktemp("rsa_study")
    write_phantom(root / "phantom", 2, 2, 400, 64, trials_per_session=600, grid="small", snr=2.0, n_jobs=1)
    content = {
        "study": {"name": "geometry", "output": "results"},
        "dataset": {"kind": "nsd", "root": "phantom", "subjects": [1, 2], "rois": ROIS},
        "models": [GABOR],
        "evaluation": {"split": "shared1000", "n_bootstraps": 50, "n_permutations": 99},
        "rsa": {"n_bootstraps": 100},
    }
    return root, content, run_study(parse_study(content, root), say=quiet)


def test_planted_geometry_comes_back(measured):
    _, _, done = measured
    checks = {c["name"]: c for c in StudyResults.load(done.output / "study").checks}
    assert checks["geometry between regions"]["passed"], checks["geometry between regions"]
    assert checks["geometry of each region"]["passed"], checks["geometry of each region"]


def test_tables_are_tidy_and_hold_what_the_functions_say(measured):
    _, _, done = measured
    results = RsaResults.load(done.output / "rsa")
    brain, layers = results.rdms["brain all subjects"], results.rdms["layers all subjects"]
    assert set(brain.table["roi"]) == set(ROIS)
    assert brain.n_conditions == 40
    models = results.table("models")
    assert not models.duplicated(["part", "roi", "model"]).any()
    v1 = brain.select({"roi": "V1"})
    direct = evaluate(layers, v1, "corr", resample="stimulus", n_boot=100, rng=0)
    row = models[(models["roi"] == "V1") & (models["model"] == "Gabor")].iloc[0]
    assert row["score"] == pytest.approx(direct.scores[0], rel=1e-6)
    assert row["ci_low"] == pytest.approx(direct.ci()[0, 0], rel=1e-6)
    assert row["lower_ceiling"] == pytest.approx(direct.ceiling.lower, rel=1e-6)
    matrix = results.table("matrix").set_index("roi")["score"]
    assert matrix["V1"] == pytest.approx(float(compare(layers, v1.mean(), "corr")[0, 0]), rel=1e-6)
    assert matrix["V1"] > matrix["FFA-1"] + 0.1  # the planted filters are V1's
    found = results.table("identification")
    assert set(found["transform"]) == {"raw", "rank", "geo-topological (0.2, 0.8)"}
    assert found["accuracy"].max() > 1 / 6
    np.testing.assert_allclose(found["chance"], 1 / 6, rtol=1e-6)


def test_a_second_run_computes_nothing_and_a_changed_comparer_only_what_depends_on_it(measured):
    root, content, _ = measured
    again = run_study(parse_study(content, root), say=quiet)
    assert not again.computed
    changed = run_study(parse_study({**content, "rsa": {"n_bootstraps": 100, "method": "rho-a"}}, root), say=quiet)
    assert changed.computed == ("rsa", "report")


def test_report_shows_the_geometry(measured):
    _, _, done = measured
    page = done.report.read_text(encoding="utf-8")
    for text in (
        "Representational geometry",
        "Identifying regions",
        "Map of representations",
        "geometry of each region",
    ):
        assert text in page
    before = page
    assert rebuild_report(done.output).read_text(encoding="utf-8") == before


@pytest.fixture
def files(tmp_path, rng):
    """Four subjects whose RDM is a planted one plus noise, a model of it, another model, pictures and categories."""
    n = 16
    (tmp_path / "images").mkdir()
    from PIL import Image

    for k, image in enumerate(render_scenes(n, size=64, seed=0).images):
        Image.fromarray(image).save(tmp_path / "images" / f"{k:02d}.png")
    truth = rng.random(n * (n - 1) // 2)
    noisy = truth + 0.4 * rng.standard_normal((4, 2, len(truth)))
    stack = np.stack([[squareform(d) for d in subject] for subject in noisy])
    np.save(tmp_path / "brain.npy", stack)
    np.savez(tmp_path / "models.npz", good=squareform(truth), bad=squareform(rng.random(len(truth))))
    np.savez(tmp_path / "groups.npz", kind=np.repeat(["face", "house"], n // 2))
    content = {
        "study": {"name": "files", "output": "results"},
        "dataset": {
            "kind": "rdms",
            "images": "images",
            "rdms": [{"name": "IT", "file": "brain.npy", "axes": ["subject", "session"], "average": ["session"]}],
        },
        "models": [GABOR],
        "rsa": {
            "method": "corr",
            "n_bootstraps": 100,
            "models": [{"name": m, "file": "models.npz", "key": m} for m in ("good", "bad")],
            "groups": {"file": "groups.npz", "key": "kind"},
        },
    }
    return tmp_path, content, noisy, truth


def test_a_study_of_rdms_alone(files):
    root, content, noisy, truth = files
    done = run_study(parse_study(content, root), say=quiet)
    models = RsaResults.load(done.output / "rsa").table("models").set_index("model")
    by_hand = np.mean([np.corrcoef(truth, d)[0, 1] for d in noisy.mean(1)])
    assert models.loc["good", "score"] == pytest.approx(by_hand, rel=1e-6)
    assert models["score"].idxmax() == "good"
    assert models.loc["good", "resample"] == "dual"
    assert {"bad", "categories", "Gabor"} <= set(models.index)
    page = done.report.read_text(encoding="utf-8")
    assert "is predicted best by good" in page
    assert "PHANTOM" not in page
    assert not run_study(parse_study(content, root), say=quiet).computed


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dataset": {"kind": "rdms", "rdms": []}}, StudyError, "at least one"),
        ({"rsa": {"l": 0.8, "u": 0.2}}, StudyError, "l < u"),
        ({"rsa": {"transforms": ["square"]}}, StudyError, "transforms"),
        ({"rsa": {"metod": "corr"}}, StudyError, "did you mean 'method'"),
        ({"rsa": {"groups": {"path": "x"}}}, StudyError, "file and key"),
        ({"rsa": {"models": [{"name": "m"}]}}, StudyError, "'file'"),
    ],
)
def test_what_cannot_be_run_is_refused_before_work(files, change, error, message):
    root, content, *_ = files
    with pytest.raises(error, match=message):
        parse_study({**content, **change}, root)


def test_files_that_do_not_fit_are_named(files):
    root, content, *_ = files
    np.savez(root / "small.npz", m=squareform(np.arange(1.0, 11.0)))
    content["rsa"]["models"] = [{"name": "small", "file": "small.npz", "key": "m"}]
    with pytest.raises(ShapeMismatch, match=r"small.*5 conditions.*16"):
        run_study(parse_study(content, root), say=quiet)


def test_command_line_compares_files(files, capsys):
    root, _, noisy, truth = files
    for name in ("good", "bad"):
        np.save(root / f"{name}.npy", np.load(root / "models.npz")[name])
    words = ["rsa", "--data", str(root / "brain.npy"), "--axes", "subject", "session", "--average", "session"]
    words += ["--models", str(root / "good.npy"), str(root / "bad.npy"), "--bootstraps", "100"]
    assert main([*words, "--output", str(root / "out"), "--json"]) == 0
    said = {row["model"]: row for row in json.loads(capsys.readouterr().out)["models"]}
    by_hand = np.mean([np.corrcoef(truth, d)[0, 1] for d in noisy.mean(1)])
    assert said["good"]["score"] == pytest.approx(by_hand)
    table = pd.read_csv(root / "out" / "scores.tsv", sep="\t")
    assert table["model"].tolist() == ["good", "bad"]
    assert (root / "out" / "models.png").read_bytes().startswith(b"\x89PNG")
    assert main(["rsa", "--data", str(root / "brain.npy"), "--output", str(root / "out")]) == 2
    assert "no model" in capsys.readouterr().err


def test_command_line_takes_responses_and_a_feature_store(tmp_path, rng, capsys):
    from neuro.data import Stimuli
    from neuro.features.sources import open_source

    images = np.stack(list(render_scenes(12, size=64, seed=0).images))
    stimuli = Stimuli.from_array(images, ids=[f"{k:02d}" for k in range(12)])
    store = tmp_path / "store"
    features = open_source("color").extract(stimuli, store=store, progress=False)
    layer = next(iter(features.layers))
    X = features.rows(layer)
    np.save(tmp_path / "betas.npy", X @ rng.standard_normal((X.shape[1], 300)))
    words = ["rsa", "--data", str(tmp_path / "betas.npy"), "--responses", "--features", str(store)]
    assert main([*words, "--bootstraps", "100", "--output", str(tmp_path / "out"), "--json"]) == 0
    (row,) = [r for r in json.loads(capsys.readouterr().out)["models"] if r["model"] == layer]
    expected = compare(rdm(X), rdm(np.load(tmp_path / "betas.npy")), "corr")[0, 0]
    assert row["score"] == pytest.approx(float(expected), rel=1e-6)
    assert np.isnan(row["lower_ceiling"])
    assert isinstance(rdm(X), RDMs)
