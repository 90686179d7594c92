"""Whole studies on small data: planted truth is found, nothing is computed twice, and every output is there."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from neuro.cli import main
from neuro.datasets.phantom import render_scenes, write_phantom
from neuro.errors import ShapeMismatch, StudyError, UnknownROI
from neuro.report import RsaResults, StudyResults
from neuro.study import parse_study, rebuild_report, run_study


def quiet(line):
    return None


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    write_phantom(root / "phantom", 2, 2, 160, 64, trials_per_session=240, grid="small", snr=1.5, n_jobs=1)
    return root


def content(**changes):
    study = {
        "study": {"name": "small", "output": "results", "seed": 1},
        "dataset": {"kind": "nsd", "root": "phantom", "subjects": [1, 2], "rois": ["V1", "FFA-1", ["PPA", "OPA"]]},
        "models": [
            {
                "name": "Gabor",
                "model": "gabor",
                "layers": ["energy"],
                "options": {"size": 64, "orientations": 4, "scales": [4, 8], "grid": 8, "degrees": 8.4},
            },
            {"name": "color", "model": "color"},
        ],
        "evaluation": {"split": "shared1000", "n_bootstraps": 50, "n_permutations": 99},
    }
    for section, entries in changes.items():
        study[section] = {**study.get(section, {}), **entries}
    return study


@pytest.fixture(scope="module")
def done(phantom):
    return run_study(parse_study(content(), phantom), say=quiet)


def test_every_output_is_written(done):
    assert done.report.read_text(encoding="utf-8").count("PHANTOM") >= 1
    table = pd.read_csv(done.output / "results.tsv", sep="\t", dtype={"subject": str})
    assert set(table["subject"]) == {"subj01", "subj02"}
    assert set(table["roi"]) == {"V1", "FFA-1", "PPA + OPA"}
    assert set(table["metric"]) == {"r", "r2/NC"}
    assert not table.duplicated(["subject", "roi", "model", "layer", "metric"]).any()
    for subject in ("01", "02"):
        image = nib.load(done.output / f"maps/sub-{subject}_space-func1pt8mm_desc-GaborMaxR_statmap.nii.gz")
        assert np.isfinite(image.get_fdata()).sum() > 100
    assert json.loads((done.output / "maps/dataset_description.json").read_text())["DatasetType"] == "derivative"


def test_what_was_planted_is_found(done):
    whole = StudyResults.load(done.output / "study")
    assert whole.is_phantom
    found = {c["name"]: c for c in whole.checks}
    assert found["subj01 reliability"]["passed"]
    assert found["subj01 receptive fields"]["passed"]
    r = done.table[done.table["metric"] == "r"].set_index(["subject", "model", "roi"])["score"]
    assert r["subj01", "Gabor", "V1"].max() > r["subj01", "color", "V1"].max() + 0.1
    assert r["subj01", "Gabor", "V1"].max() > 0.4
    prf = whole.subjects["subj01"].prf
    assert np.median(np.hypot(prf["x"] - prf["x_true"], prf["y"] - prf["y_true"])) < 0.7


def test_a_second_run_computes_nothing_and_writes_the_same(done, phantom):
    before = (done.output / "results.tsv").read_bytes()
    again = run_study(parse_study(content(), phantom), say=quiet)
    assert not again.computed
    assert len(again.cached) == len(done.computed)
    assert (done.output / "results.tsv").read_bytes() == before


def test_another_alpha_grid_recomputes_only_what_depends_on_it(done, phantom):
    changed = content(encoder={"alphas": {"start": 0, "stop": 5, "n": 6}})
    run = run_study(parse_study(changed, phantom), say=quiet)
    kinds = {step.split()[0] for step in run.computed}
    assert kinds == {"encode", "report"}
    assert {step.split()[0] for step in run.cached} == {"responses", "features"}


def test_one_more_model_computes_only_its_own_steps(done, phantom):
    more = content()
    more["models"].append({"name": "pixels", "model": "pixels"})
    run = run_study(parse_study(more, phantom), say=quiet)
    assert all("pixels" in step or step == "report" for step in run.computed)


def test_the_report_can_be_written_again(done):
    done.report.unlink()
    assert rebuild_report(done.output) == done.report
    assert done.report.stat().st_size > 50_000
    with pytest.raises(StudyError, match="run `neuro run` first"):
        rebuild_report(done.output / "maps")


def test_what_cannot_run_is_said_before_any_work(phantom, tmp_path):
    with pytest.raises(UnknownROI, match="did you mean 'FFA-1'"):
        run_study(parse_study(content(dataset={"rois": ["V1", "FFA1"]}), phantom), tmp_path / "o", say=quiet)
    with pytest.raises(ValueError, match="shared1000"):
        run_study(parse_study(content(evaluation={"split": "shared100"}), phantom), tmp_path / "o", say=quiet)


@pytest.fixture
def recording(tmp_path):
    """Images and a matrix, two pictures being one file under two names."""
    scenes = render_scenes(60, size=32, seed=3)
    (tmp_path / "images").mkdir()
    for i, image in enumerate(scenes.images):
        Image.fromarray(image).save(tmp_path / f"images/{i:03d}.png")
    (tmp_path / "images/059.png").write_bytes((tmp_path / "images/000.png").read_bytes())
    rng = np.random.default_rng(0)
    drive = scenes.images.mean((1, 2)) / 255
    Y = (drive @ rng.standard_normal((3, 8)) * 8 + rng.standard_normal((60, 8))).astype(np.float32)
    Y[:, 5] = 1.0  # a dead channel
    np.save(tmp_path / "Y.npy", Y.T)
    return {
        "study": {"name": "own", "output": "results"},
        "dataset": {
            "kind": "recordings",
            "recordings": [{"name": "rec", "images": "images", "responses": "Y.npy", "transpose": True}],
        },
        "models": [{"name": "color", "model": "color"}],
        "evaluation": {"folds": 4, "n_bootstraps": 20, "n_permutations": 49, "shuffled_control": True},
    }


def test_equal_names_in_two_recordings_are_different_pictures(tmp_path):
    """Each session numbers its own pictures from 0; each must be encoded from its own."""
    rng = np.random.default_rng(0)
    recordings = []
    for k in range(2):
        scenes = render_scenes(60, size=32, seed=k)
        (tmp_path / f"images{k}").mkdir()
        for i, image in enumerate(scenes.images):
            Image.fromarray(image).save(tmp_path / f"images{k}/{i:03d}.png")
        drive = scenes.images.mean((1, 2)) / 255
        np.save(tmp_path / f"Y{k}.npy", drive @ rng.standard_normal((3, 8)) * 8 + 0.3 * rng.standard_normal((60, 8)))
        recordings.append({"name": f"session{k}", "images": f"images{k}", "responses": f"Y{k}.npy"})
    study = {
        "study": {"name": "two", "output": "results"},
        "dataset": {"kind": "recordings", "recordings": recordings},
        "models": [{"name": "color", "model": "color"}],
        "evaluation": {"folds": 4, "n_bootstraps": 20, "n_permutations": 49},
        "rsa": {"metric": "euclidean", "n_bootstraps": 100},
    }
    done = run_study(parse_study(study, tmp_path), say=quiet)
    r = done.table[done.table["metric"] == "r"].set_index("subject")["score"]
    assert r["session0"] > 0.6
    assert r["session1"] > 0.6
    geometry = RsaResults.load(done.output / "rsa").table("matrix").groupby("part")["score"].max()
    assert geometry["session0"] > 0.3
    assert geometry["session1"] > 0.3


def test_plain_files_make_a_study_and_shuffled_pairing_is_at_chance(recording, tmp_path):
    run = run_study(parse_study(recording, tmp_path), say=quiet)
    r = run.table[run.table["metric"] == "r"].groupby("model")["score"].max()
    assert r["color"] > 0.5
    assert abs(r["shuffled pairing"]) < 0.25
    assert run.table["n_voxels"].max() == 7
    assert "PHANTOM" not in run.report.read_text(encoding="utf-8")


def test_identical_files_never_straddle_a_fold(recording, tmp_path):
    from neuro.study.evaluate import make_design
    from neuro.study.subjects import iter_subjects

    study = parse_study(recording, tmp_path)
    (subject,) = iter_subjects(study)
    design, _, _ = make_design(subject.responses, study.evaluation, seed=0)
    fold = {int(row): i for i, (_, test) in enumerate(design.folds) for row in test}
    assert fold[0] == fold[59]
    assert sorted(fold) == list(range(60))


def test_images_and_responses_that_do_not_match_are_named(recording, tmp_path):
    recording["dataset"]["recordings"][0]["transpose"] = False
    with pytest.raises(ShapeMismatch, match="transpose = true"):
        run_study(parse_study(recording, tmp_path), say=quiet)


def test_command_line_answers_bad_input_with_one_line_and_code_2(tmp_path, capsys):
    assert main(["run", str(tmp_path / "none.toml")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no study file" in error
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out


def test_doctor_finds_a_working_installation(capsys):
    assert main(["doctor", "--json"]) == 0
    checks = {c["name"]: c for c in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["torch"]["ok"]
    assert checks["phantom-clip"]["ok"]


def test_features_and_encode_verbs_make_scores(recording, tmp_path, capsys):
    store, out = tmp_path / "store", tmp_path / "encoded"
    assert main(["features", "--model", "color", "--images", str(tmp_path / "images"), "--store", str(store)]) == 0
    layer = next(iter(json.loads((store / "manifest.json").read_text())["layers"]))
    encode = ["encode", "--features", str(store), "--layer", layer, "--responses", str(tmp_path / "Y.npy")]
    assert main([*encode, "--output", str(out)]) == 2
    assert "--transpose" in capsys.readouterr().err
    assert main([*encode, "--output", str(out), "--transpose", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["median_r"] > 0.5
    scores = pd.read_csv(out / "scores.tsv", sep="\t", na_values=["n/a"])
    assert scores["r"].isna().tolist() == [False] * 5 + [True] + [False] * 2
