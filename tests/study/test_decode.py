"""A phantom study decodes what its subject saw; nothing is computed twice; the verbs do the same step by step."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from neuro.cli import main
from neuro.datasets.phantom import write_phantom
from neuro.decoders import Decoded
from neuro.errors import SplitLeakage, UnknownSubject
from neuro.report import DecoderResults
from neuro.study import parse_study, quick_decode, run_study

pytest.importorskip("diffusers", reason="needs diffusers: pip install 'neuro[decode]'")
pytestmark = pytest.mark.slow
ROIS = ["V1", "V2", "FFA-1", "PPA", "EBA"]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    root = tmp_path_factory.mktemp("decode") / "phantom"
    return write_phantom(root, 1, 2, 300, 64, trials_per_session=300, grid="small", snr=2.0, n_jobs=1)


@pytest.fixture(scope="module")
def study(phantom):
    return parse_study(
        {
            "study": {"name": "decoding", "output": "results"},
            "dataset": {"kind": "nsd", "root": "phantom", "subjects": [1], "rois": ROIS},
            "models": [
                {
                    "name": "Gabor",
                    "model": "gabor",
                    "layers": ["energy"],
                    "options": {"size": 64, "scales": [8], "grid": 4},
                }
            ],
            "evaluation": {"split": "shared1000", "n_bootstraps": 100, "n_permutations": 99},
            "decode": {"pool": 20, "n_images": 9, "steps": 4},
        },
        phantom.parent,
    )


@pytest.fixture(scope="module")
def run(study):
    return run_study(study, say=lambda line: None)


@pytest.fixture(scope="module")
def results(run):
    return DecoderResults.load(run.output / "decoders")


def value(results, metric, decoder="ridge"):
    return float(results.of(metric, decoder)["value"].iloc[0])


def test_seen_images_are_found_and_shuffled_pairs_find_none(results):
    for direction in ("retrieve_image_given_brain", "retrieve_brain_given_image"):
        row = results.of(direction, "ridge").iloc[0]
        assert row["ci_low"] > 2 * row["chance"]
        assert value(results, direction, "shuffled pairing") < row["ci_low"]
    assert value(results, "two_way_tokens") > 0.75
    assert abs(value(results, "two_way_tokens", "shuffled pairing") - 0.5) < 0.2


def test_captions_name_the_planted_category(results):
    row = results.of("caption_category", "ridge").iloc[0]
    assert row["ci_low"] > row["chance"]


def test_ranks_are_those_of_all_test_images(results):
    own = results.ranks[results.ranks["decoder"] == "ridge"]
    assert set(own["n_gallery"]) == {30}
    assert own["rank"].between(1, 30).all()


def test_early_areas_tell_layout_and_category_areas_content(results):
    table = results.regions.pivot(index="roi", columns="output", values="value")
    content, layout = (next(c for c in table if c.startswith(k)) for k in ("content", "layout"))
    gain = table[content] - table[layout]
    assert gain[["FFA-1", "PPA", "EBA"]].mean() > gain[["V1", "V2"]].mean()


def test_pictures_are_best_median_and_worst_of_those_reconstructed(results):
    found = results.shown["subj01", "ridge"]
    assert found.groups == ("best",) * 3 + ("median",) * 3 + ("worst",) * 3
    assert len(set(found.ids)) == 9
    assert found.decoded["reconstruction"].shape == found.true.shape == (9, 64, 64, 3)
    # Low-level pictures alone already resemble the truth more than another one.
    low = found.decoded["low level"].reshape(9, -1).astype(float)
    r = np.corrcoef(found.true.reshape(9, -1), low)[:9, 9:]
    assert np.diag(r).mean() > r[~np.eye(9, dtype=bool)].mean()


def test_report_and_tables_are_written(run):
    page = run.report.read_text(encoding="utf-8")
    for title in ("Decoding", "Decoded images", "Retrieval", "Decoding by region"):
        assert f">{title}</h2>" in page
    table = pd.read_csv(run.output / "decoders.tsv", sep="\t")
    assert {"retrieve_image_given_brain", "pixcorr", "low_level_pixcorr", "bleu4"} <= set(table["metric"])
    assert "subj01" in set(pd.read_csv(run.output / "captions.tsv", sep="\t")["subject"])


def test_a_second_run_computes_nothing(study, run):
    again = run_study(study, say=lambda line: None)
    assert again.computed == ()


def test_verbs_give_what_the_study_gives(phantom, tmp_path, capsys, results):
    d, p = tmp_path / "decoder", tmp_path / "decoded"
    assert main(["decode", "train", "--data", str(phantom), "--output", str(d)]) == 0
    assert main(["decode", "predict", str(d), "--subject", "1", "--output", str(p)]) == 0
    assert main(["decode", "caption", str(p), "--output", str(tmp_path / "c.json")]) == 0
    assert main(["decode", "retrieve", str(p), "--output", str(tmp_path / "r.tsv"), "--top", "3"]) == 0
    images = ["--images", "4", "--steps", "2", "--output", str(tmp_path / "images")]
    assert main(["decode", "reconstruct", str(p), *images]) == 0
    capsys.readouterr()
    scored = ["--images", str(tmp_path / "images"), "--captions", str(tmp_path / "c.json"), "--pool", "20", "--json"]
    assert main(["decode", "evaluate", str(p), *scored, "--output", str(tmp_path / "s.tsv")]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    for metric in ("retrieve_image_given_brain", "two_way_tokens", "caption_category"):
        assert scores[metric]["value"] == pytest.approx(value(results, metric), abs=0.02)
    assert len(list((tmp_path / "images").glob("*.png"))) == 4
    first = pd.read_csv(tmp_path / "r.tsv", sep="\t").query("place == 1")
    assert (first["stimulus"] == first["found"]).mean() > 2 / 30

    with pytest.raises(UnknownSubject, match=r"fitted to subjects \[1\], not to 2"):
        quick_decode.predict(d, tmp_path / "x", subject=2)
    assert main(["decode", "predict", str(d), "--subject", "2", "--output", str(tmp_path / "x")]) == 2
    assert "not to 2" in capsys.readouterr().err
    # A training image among the decoded ones is refused.
    decoded = Decoded.load(p)
    trained = Decoded.load(d / "targets").ids[0]
    leak = Decoded({k: v[:1] for k, v in decoded.items()}, [trained], decoded.subject)
    leak.save(tmp_path / "leak")
    (tmp_path / "leak" / "decode.json").write_text((p / "decode.json").read_text())
    with pytest.raises(SplitLeakage, match="training images"):
        quick_decode.evaluate(tmp_path / "leak", tmp_path / "s.tsv", say=lambda line: None)
