"""What a report says of several encoders: every number of the tables, every figure, for volumes, neurons, any bands."""

from __future__ import annotations

import dataclasses
import itertools
import re

import numpy as np
import pandas as pd
import pytest

from neuro.report import EncoderResults, Routing
from neuro.report.encoder_figures import fields, routing, unique_by_voxel, unique_maps
from neuro.report.encoders import differences, encoder_answer, encoder_sections, unique
from neuro.report.summary import summarise
from neuro.report.write import render

NAMES = ("ridge", "banded", "attention")


def results_of(study, bands=("net", "gabor"), seed=0):
    """Encoders of a made-up study: banded is 0.1 above ridge, attention 0.2 below; the first band adds 0.2 in V1."""
    rng = np.random.default_rng(seed)
    level = {"ridge": 0.4, "banded": 0.5, "attention": 0.2}
    table, pairs, unique, curve, scores, values = [], [], [], [], {}, {}
    for name, subject in study.subjects.items():
        for roi in subject.rois:
            shared = {"subject": name, "roi": roi}
            for model in NAMES:
                score = level[model]
                table.append(
                    shared | {"model": model, "layer": "clip", "metric": "r", "score": score, "split": "shared1000"}
                    | {"ci_low": score - 0.05, "ci_high": score + 0.05}
                )  # fmt: skip
                curve += [
                    shared
                    | {"model": model, "n_images": n, "score": score * s, "ci_low": 0, "ci_high": 1, "n_draws": 5}
                    for n, s in ((30, 0.5), (300, 1.0))
                ]
            for a, b in itertools.combinations(NAMES, 2):
                d = level[a] - level[b]
                pairs.append(
                    shared | {"model_a": a, "model_b": b, "metric": "r", "score_a": level[a], "score_b": level[b]}
                    | {"difference": d, "ci_low": d - 0.02, "ci_high": d + 0.02, "p": 0.001, "q": 0.004}
                )  # fmt: skip
            for k, band in enumerate(bands):
                u = 0.2 if (k == 0) == (roi == "V1") else 0.01
                unique.append(
                    shared | {"model": "banded", "band": band, "unique": u, "ci_low": u - 0.01, "ci_high": u + 0.01}
                    | {"p": 0.001, "q": 0.002, "r2": 0.35}
                )  # fmt: skip
        n = len(subject.voxels)
        for model in NAMES:
            scores[name, model] = rng.random(n)
        for band in bands:
            values[name, "banded", band] = rng.normal(0.1, 0.1, n).astype(np.float32)
    maps = rng.random((2, 3, 4, 4))
    images = rng.integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    first = next(iter(study.subjects))
    routing = {(first, "attention"): Routing(("V1", "FFA-1", "unlabelled"), (3, 7), images, maps)}
    texts = {"ridge": "ridge with a penalty per {channel}", "banded": "a penalty per {channel} and space"}
    encoders = [
        {"name": n, "kind": n, "reads": "clip", "text": texts.get(n, "regions look"), "bands": {}, "options": {"cv": 5}}
        for n in NAMES
    ]
    frames = (pd.DataFrame(rows) for rows in (table, pairs, unique, curve))
    return EncoderResults(*frames, scores=scores, bands=values, routing=routing, encoders=encoders)


def bare(encoders):
    """Scores and comparisons alone."""
    empty = pd.DataFrame()
    return dataclasses.replace(encoders, unique=empty, efficiency=empty, bands={}, routing={})


@pytest.fixture(scope="module")
def encoders(study):
    return results_of(study)


def test_saved_and_loaded_they_are_the_same(encoders, tmp_path):
    encoders.save(tmp_path / "encoders")
    again = EncoderResults.load(tmp_path / "encoders")
    for name in ("table", "comparisons", "unique", "efficiency"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(encoders, name), check_dtype=False)
    for name in ("scores", "bands", "fields"):
        here, there = getattr(encoders, name), getattr(again, name)
        assert list(here) == list(there)
        assert all(np.array_equal(here[k], there[k]) for k in here)
    (key,) = again.routing
    assert again.routing[key].queries == encoders.routing[key].queries
    np.testing.assert_array_equal(again.routing[key].maps, encoders.routing[key].maps)
    assert again.encoders == encoders.encoders


def test_differences_are_turned_towards_the_reader(study, encoders):
    (table,) = differences(summarise(study), encoders)
    assert table.head == ["region", "ridge", "banded", "attention"]
    assert [c.text for c in table.rows[0]] == ["V1", "0.40", "0.50", "0.20"]
    assert [c.small for c in table.rows[0]] == ["", "", "(+0.100, 2 of 2)", "(−0.200, 2 of 2)"]
    assert [c.mark for c in table.rows[0]] == ["", "", "top", ""]


def test_one_subject_gets_q_instead_of_counts(study):
    one = dataclasses.replace(study, subjects={"subj01": study.subjects["subj01"]})
    (table,) = differences(summarise(one), results_of(one))
    assert table.rows[0][2].small == "(+0.100, q = 0.004)"


def test_unique_variance_and_what_is_shared_sum_to_all(study, encoders):
    table = unique(summarise(study), encoders, "banded")
    assert [c.text for c in table.rows[0]] == ["V1", "0.35", "+0.200", "+0.010", "+0.140"]
    assert table.rows[0][2].small == "(2 of 2)"


@pytest.mark.parametrize("bands", [("a", "b"), ("a", "b", "c"), ("a", "b", "c", "d")])
def test_any_number_of_feature_spaces_has_its_figures(study, bands):
    encoders, summary = results_of(study, bands), summarise(study)
    assert (unique_by_voxel(study, summary, encoders, "banded") is None) == (len(bands) > 3)
    (picture,) = unique_maps(study, summary, encoders, "banded", 1)
    assert picture.name == "unique-map-banded-subj01"


EVIL = "<script>x</script>"


@pytest.fixture(scope="module")
def page(neurons):
    """The page of neurons, one encoder of which has a wicked name."""
    encoders = results_of(neurons)
    changed = {
        name: getattr(encoders, name).replace({key: {"ridge": EVIL} for key in ("model", "model_a", "model_b")})
        for name in ("table", "comparisons", "efficiency")
    }
    renamed = [{**e, "name": EVIL if e["name"] == "ridge" else e["name"]} for e in encoders.encoders]
    return render(neurons, encoders=dataclasses.replace(encoders, **changed, encoders=renamed))


def test_neurons_have_no_maps_but_all_else(page, neurons):
    assert not list(unique_maps(neurons, summarise(neurons), results_of(neurons), "banded", 4))
    for name in ("encoders", "unique-banded", "unique-dots-banded", "routing-attention-session-1", "efficiency"):
        assert page.count(f'id="figure-{name}"') == 1
    words = re.sub(r"<[^>]*>", " ", page.split("<body>")[1])
    assert "a penalty per channel and space" in words
    assert "voxel" not in words.lower()


def test_names_of_encoders_are_escaped(page):
    assert "<script" not in page
    assert "&lt;script&gt;x" in page


def test_sections_stand_after_the_models(page):
    order = ["models-and-controls", "encoders-compared", "what-each-feature-space-adds", "routing-maps",
             "data-efficiency", "channel-scores"]  # fmt: skip
    places = [page.index(f'<h2 id="{name}"') for name in order]
    assert places == sorted(places)


def test_maps_of_single_neurons_are_not_called_voxels_or_regions(neurons, rng):
    maps, images = rng.random((1, 2, 4, 4)), np.zeros((1, 32, 32, 3), np.uint8)
    picture = routing(summarise(neurons), "s", "attention", Routing(("voxel 0", "voxel 1"), (3,), images, maps))
    assert "where each channel looks" in picture.caption
    assert "channel 0, channel 1" in picture.alt


def test_receptive_fields_are_shown_where_the_truth_is_known(study, neurons):
    subject = study.subjects["subj01"]
    n, own = len(subject.voxels), subject.prf["voxel"]
    truth = {k: np.zeros(n) for k in ("x", "y", "size")}
    known = dataclasses.replace(subject, truth=truth)
    found = np.zeros((3, n))
    found[0, own] = 0.3
    picture = fields(known, "fwRF", found)
    assert "median distance 0.30 degrees" in picture.alt
    assert f"({len(own)} voxels" in picture.caption
    assert fields(subject, "fwRF", found) is None
    assert fields(next(iter(neurons.subjects.values())), "fwRF", found) is None


def test_the_answer_counts_regions(study, encoders):
    first, second = encoder_answer(encoders, summarise(study))
    assert first == "Of 3 encoders on the same images, the highest Pearson r is that of banded in 8 of 8 regions."
    assert second.startswith("In banded, feature spaces add most")
    assert "net in V1 (+0.20)" in second
    assert "gabor in V2 (+0.20)" in second


def test_results_without_bands_curves_or_routing_have_one_section(study):
    encoders = bare(results_of(study))
    assert [title for title, _ in encoder_sections(study, summarise(study), encoders)] == ["Encoders compared"]
