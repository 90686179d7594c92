"""Studies with several encoders: every output is there, nothing is computed twice, what depends on nothing stays."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from neuro.cli import main
from neuro.datasets.phantom import render_scenes
from neuro.encoders import InContextConfig, InContextEncoder
from neuro.encoders._in_context_network import InContextNetwork
from neuro.errors import DataNotDownloaded, StudyError
from neuro.report import EncoderResults
from neuro.study import parse_study, rebuild_report, run_study

N = 70


def quiet(line):
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures, responses driven by their mean colour (first four) and by light on their left side (last two)."""
    root = tmp_path_factory.mktemp("encoders")
    scenes = render_scenes(N, size=64, seed=3)
    (root / "images").mkdir()
    for i, image in enumerate(scenes.images):
        Image.fromarray(image).save(root / f"images/{i:03d}.png")
    rng = np.random.default_rng(0)
    colour = scenes.images.mean((1, 2)) / 255
    left = scenes.images[:, :, :20].mean((1, 2, 3)) / 255
    Y = np.column_stack([colour @ rng.standard_normal((3, 4)) * 8, left * 8, -left * 8])
    np.save(root / "Y.npy", (Y + 0.4 * rng.standard_normal(Y.shape)).astype(np.float32))
    (root / "voxels.tsv").write_text("area\n" + "colour\n" * 4 + "left\n" * 2)
    config = InContextConfig(128, 8, 1, n_heads=1, ffn=8, n_tokens=1, min_context=5)
    InContextEncoder(InContextNetwork(config)).save(root / "network")
    return root


ENTRIES = {
    "ridge": {"kind": "ridge", "model": "color", "layer": "color"},
    "banded": {
        "kind": "banded",
        "bands": {"colour": ["color", "color"], "gabor": ["Gabor", "energy"]},
        "options": {"n_iter": 3},
        "curve": [20, 40],
        "draws": 2,
    },
    "fwRF": {
        "kind": "receptive-field",
        "model": "net",
        "options": {"cv": 4, "fields": {"n_sizes": 1, "smallest": 0.3}},
    },
    "attention": {
        "kind": "attention",
        "model": "net",
        "options": {"n_heads": 2, "n_hidden": 8, "n_dims": 8, "epochs": 1},
        "examples": 3,
    },
    "few": {"kind": "in-context", "model": "embedding", "network": "network"},
}


def content(*names, **changes):
    study = {
        "study": {"name": "own", "output": "results"},
        "dataset": {
            "kind": "recordings",
            "recordings": [{"name": "rec", "images": "images", "responses": "Y.npy", "voxels": "voxels.tsv"}],
        },
        "models": [
            {"name": "color", "model": "color"},
            {
                "name": "Gabor",
                "model": "gabor",
                "options": {"size": 32, "orientations": 2, "scales": [2], "grid": 4},
                "layerwise": False,
            },
            {
                "name": "net",
                "model": "phantom-clip",
                "layers": ["act1"],
                "pool": "spatial:4",
                "layerwise": False,
            },
            {"name": "embedding", "model": "phantom-clip", "layers": ["output"], "layerwise": False},
        ],
        "evaluation": {"folds": 3, "n_bootstraps": 50, "n_permutations": 49},
        "encode": [{"name": name, **ENTRIES[name]} for name in names or ENTRIES],
    }
    return {**study, **changes}


@pytest.fixture(scope="module")
def done(folder):
    return run_study(parse_study(content(), folder), say=quiet)


@pytest.fixture(scope="module")
def found(done):
    return EncoderResults.load(done.output / "encoders")


def test_one_tidy_table_holds_layers_and_encoders(done):
    table = pd.read_csv(done.output / "results.tsv", sep="\t")
    r = table[table["metric"] == "r"]
    assert set(r["model"]) == {"color", *ENTRIES}
    assert set(r["roi"]) == {"colour", "left"}
    layers = r.drop_duplicates("model").set_index("model")["layer"]
    assert layers["banded"] == "color color + Gabor energy"
    assert layers["fwRF"] == "net act1"
    assert (r["ci_low"] <= r["score"]).all()
    assert r["q"].notna().all()


def test_the_same_ridge_gets_the_same_score(done):
    r = done.table[done.table["metric"] == "r"].set_index(["model", "layer", "roi"])["score"]
    for roi in ("colour", "left"):
        assert r["ridge", "color color", roi] == pytest.approx(r["color", "color", roi], abs=1e-6)


def test_every_pair_is_compared_in_every_region(done, found):
    table = pd.read_csv(done.output / "encoders.tsv", sep="\t")
    assert len(table) == 2 * 5 * 4 / 2
    row = table[(table["model_a"] == "ridge") & (table["model_b"] == "few") & (table["roi"] == "colour")].iloc[0]
    r = found.table[(found.table["metric"] == "r") & (found.table["roi"] == "colour")].set_index("model")["score"]
    assert row["difference"] == pytest.approx(r["ridge"] - r["few"], abs=1e-4)
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    assert row["q"] <= 0.05


def test_what_was_planted_in_a_band_is_its_own(done, found):
    table = pd.read_csv(done.output / "unique_variance.tsv", sep="\t").set_index(["roi", "band"])
    assert table.loc[("colour", "colour"), "unique"] > 0.2
    assert table.loc[("colour", "colour"), "q"] <= 0.05
    assert abs(table.loc[("colour", "gabor"), "unique"]) < 0.1
    assert found.bands_of("banded") == ["colour", "gabor"]
    values = found.bands["rec", "banded", "colour"]
    assert values[:4].mean() == pytest.approx(table.loc[("colour", "colour"), "unique"], abs=1e-5)


def test_more_images_help(done):
    table = pd.read_csv(done.output / "efficiency.tsv", sep="\t").set_index(["roi", "n_images"])
    assert set(table["model"]) == {"banded"}
    assert table.loc[("colour", 40), "score"] > table.loc[("colour", 20), "score"]


def test_routing_maps_are_kept_with_their_images(found):
    routing = found.routing["rec", "attention"]
    assert routing.queries == ("colour", "left")
    assert routing.maps.shape == (3, 2, 4, 4)
    np.testing.assert_allclose(routing.maps.sum((2, 3)), 1, rtol=1e-4)
    assert routing.images.shape == (3, 128, 128, 3)
    assert len(set(routing.ids)) == 3


def test_receptive_fields_lie_on_the_side_that_drives_the_voxel(found):
    x, _, _ = found.fields["rec", "fwRF"]
    assert (x[4:] < 0).all()


def test_the_report_tells_all_of_it_and_can_be_written_again(done):
    for text in (done.report.read_text(encoding="utf-8"), rebuild_report(done.output).read_text(encoding="utf-8")):
        for title in ("Encoders compared", "What each feature space adds", "Routing maps", "Data efficiency"):
            assert f">{title}</h2>" in text


def test_a_second_run_computes_nothing(done, folder):
    again = run_study(parse_study(content(), folder), say=quiet)
    assert not again.computed
    pd.testing.assert_frame_equal(again.table, done.table)


def test_a_changed_encoder_recomputes_itself_the_comparison_and_the_report(done, folder):
    changed = content()
    changed["encode"][0] = {**changed["encode"][0], "options": {"alphas": {"start": -2, "stop": 4, "n": 4}}}
    run = run_study(parse_study(changed, folder), say=quiet)
    assert {" ".join(step.split()[:1]) for step in run.computed} == {"encoder", "compare", "report"}
    assert [step for step in run.computed if step.startswith("encoder")] == ["encoder    rec  ridge"]


def test_another_curve_fits_only_the_curve(done, folder):
    changed = content()
    changed["encode"][1] = {**changed["encode"][1], "curve": [20]}
    run = run_study(parse_study(changed, folder), say=quiet)
    assert {step.split()[0] for step in run.computed} == {"curve", "report"}


def test_one_encoder_is_not_compared(folder, tmp_path):
    run = run_study(parse_study(content("ridge"), folder), tmp_path / "one", say=quiet)
    assert not (run.output / "encoders.tsv").exists()
    assert "ridge" in set(run.table["model"])


def test_curves_beyond_the_training_images_are_refused_before_features(folder, tmp_path):
    study = content("banded")
    study["encode"][0] = {**study["encode"][0], "curve": [20, 60]}
    with pytest.raises(StudyError, match=r"'banded': curve asks for 60 images, but rec has 46 for training"):
        run_study(parse_study(study, folder), tmp_path / "o", say=quiet)
    assert not (tmp_path / "o" / "features").exists()


def test_layers_without_places_are_refused_before_any_work(folder, tmp_path):
    study = content("fwRF")
    study["encode"][0] = {**study["encode"][0], "model": "embedding"}
    with pytest.raises(StudyError, match=r"reads places, but layer 'output' of 'embedding'"):
        run_study(parse_study(study, folder), tmp_path / "o", say=quiet)
    assert not (tmp_path / "o").exists()


@pytest.fixture(scope="module")
def store(folder):
    assert main(["features", "--model", "phantom-clip", "--images", str(folder / "images"), "--layers", "layer1.1",
                 "layer2.1", "output", "--pool", "spatial:4", "--store", str(folder / "store")]) == 0  # fmt: skip
    return folder / "store"


def encode(store, folder, out, *more):
    given = ["--features", str(store), "--responses", str(folder / "Y.npy"), "--output", str(out), "--folds", "3"]
    return main(["encode", *given, *more])


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("banded", ["--layer", "layer1.1", "layer2.1", "--option", "n_iter=2"]),
        ("multiple-kernel", ["--layer", "layer1.1", "layer2.1", "--option", "n_iter=2"]),
        ("stacked", ["--layer", "layer1.1", "layer2.1"]),
    ],
)
def test_command_line_weighs_layers_as_bands(kind, more, store, folder, tmp_path, capsys):
    assert encode(store, folder, tmp_path / "o", "--encoder", kind, *more, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    scores = pd.read_csv(tmp_path / "o/scores.tsv", sep="\t")
    np.testing.assert_allclose(scores["share_layer1.1"] + scores["share_layer2.1"], scores["r2"], atol=1e-4)
    assert said["shares"]["layer1.1"] == pytest.approx(scores["share_layer1.1"].mean(), abs=1e-5)
    about = json.loads((tmp_path / "o/encode.json").read_text())
    assert (about["encoder"], about["layer"]) == (kind, ["layer1.1", "layer2.1"])


def test_command_line_fits_the_other_kinds(store, folder, tmp_path, capsys):
    small = ["--option", "epochs=1", "n_heads=2", "n_hidden=8", "n_dims=8"]
    assert encode(store, folder, tmp_path / "a", "--encoder", "attention", "--layer", "layer2.1", *small) == 0
    fields = ["--option", "fields={n_sizes=1, smallest=0.2}", "extent=8.4"]
    assert encode(store, folder, tmp_path / "f", "--encoder", "receptive-field", "--layer", "layer2.1", *fields) == 0
    scores = pd.read_csv(tmp_path / "f/scores.tsv", sep="\t")
    assert {"x", "y", "size"} <= set(scores)
    network = ["--network", str(folder / "network")]
    assert encode(store, folder, tmp_path / "i", "--encoder", "in-context", "--layer", "output", *network) == 0
    kernel = ["--option", "kernel=rbf"]
    assert encode(store, folder, tmp_path / "k", "--encoder", "kernel", "--layer", "output", "layer2.1", *kernel) == 0
    assert np.load(tmp_path / "k/prediction.npy").shape == (N, 6)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--encoder", "bandd", "--layer", "output"], "did you mean 'banded'"),
        (["--encoder", "banded", "--layer", "output"], "two bands or more"),
        (["--layer", "outptu"], "did you mean 'output'"),
        (["--encoder", "attention", "--layer", "output"], "reads places"),
        (["--encoder", "in-context", "--layer", "output"], "needs network"),
        (["--layer", "output", "--option", "alpha=1"], "unknown option 'alpha'"),
        (["--layer", "output", "--option", "alpha"], "name=value"),
    ],
)
def test_command_line_answers_bad_input_in_one_line(more, message, store, folder, tmp_path, capsys):
    assert encode(store, folder, tmp_path / "o", *more) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises((StudyError, DataNotDownloaded, ValueError), match=r"no encoders\.json"):
        EncoderResults.load(tmp_path)
