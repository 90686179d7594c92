"""What a report says of decoders: values beside chance and protocol, ranks, regions, pictures chosen by rank."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from neuro.errors import CorruptFile
from neuro.report import DecoderResults, Shown
from neuro.report.decoder_results import choose_by_rank
from neuro.report.decoders import decoder_answer, decoder_sections, metric_tables
from neuro.report.write import render


def results_of(subjects=("subj01",), n=60):
    rng = np.random.default_rng(0)
    rows, ranks = [], []
    for k, subject in enumerate(subjects):
        for decoder, top1, control in (("ridge", 0.25 + 0.1 * k, False), ("shuffled pairing", 0.02, True)):
            common = {"subject": subject, "decoder": decoder, "n": n, "oracle": False, "control": control}
            for metric, value, chance, protocol, up in (
                ("retrieve_image_given_brain", top1, 1 / 30, "30-way, 30 pools", True),
                ("pixcorr", top1 / 2, 0.0, "phantom", True),
                ("efficientnet_distance", 1 - top1, None, "phantom", False),
            ):
                rows.append(
                    {**common, "metric": metric, "value": value, "ci_low": value - 0.05, "ci_high": value + 0.05,
                     "chance": np.nan if chance is None else chance, "protocol": protocol, "higher_is_better": up}
                )  # fmt: skip
            values = np.ones(n, int) if not control else rng.integers(1, n + 1, n)
            ranks.append(
                pd.DataFrame(
                    {"subject": subject, "decoder": decoder, "direction": "retrieve_image_given_brain",
                     "stimulus": np.arange(n), "rank": values, "n_gallery": n, "control": control}
                )
            )  # fmt: skip
    regions = pd.DataFrame(
        [
            dict(subject=s, decoder="ridge", roi=r, n_voxels=20, output=o, metric="two_way_identification", value=v,
                 ci_low=v - 0.02, ci_high=v + 0.02, chance=0.5)
            for s in subjects
            for r, o, v in (("V1", "low level", 0.81), ("FFA-1", "low level", 0.55), ("V1", "tokens", 0.6))
        ]
    )  # fmt: skip
    image = rng.integers(0, 255, (6, 16, 16, 3), dtype=np.uint8)
    shown = {
        (subjects[0], "ridge"): Shown(
            tuple(range(6)),
            ("best", "best", "median", "median", "worst", "worst"),
            image,
            {"reconstruction": image},
            tuple("abcdef"),
            tuple("uvwxyz"),
            "2-way identification",
        )
    }
    about = {"texts": ["Ridge from voxels to image tokens <phantom-clip>."]}
    return DecoderResults(pd.DataFrame(rows), pd.concat(ranks), regions, pd.DataFrame(), shown, about)


def test_files_give_back_what_was_saved(tmp_path):
    results = results_of(("subj01", "subj02"))
    results.save(tmp_path / "decoders")
    back = DecoderResults.load(tmp_path / "decoders")
    for name in ("table", "ranks", "regions"):
        pd.testing.assert_frame_equal(
            getattr(back, name), getattr(results, name).reset_index(drop=True), check_dtype=False
        )
    found, given = back.shown["subj01", "ridge"], results.shown["subj01", "ridge"]
    np.testing.assert_array_equal(found.decoded["reconstruction"], given.decoded["reconstruction"])
    for name in ("ids", "groups", "captions", "true_captions", "chosen_by"):
        assert getattr(found, name) == getattr(given, name)
    assert back.about == results.about
    assert (back.subjects, back.decoders) == (["subj01", "subj02"], ["ridge"])


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(CorruptFile, match=r"no decoders\.json"):
        DecoderResults.load(tmp_path)


def test_a_row_is_one_metric_under_one_protocol():
    (found,) = metric_tables(results_of())
    assert [row[0].text for row in found.rows] == [
        "image retrieved given brain",
        "PixCorr",
        "efficientnet distance (lower is better)",
    ]
    assert [row[-1].text for row in found.rows] == ["30-way, 30 pools", "phantom", "phantom"]
    results = results_of()
    is_ridge = results.table["decoder"] == "ridge"
    mixed = results.table.assign(protocol=np.where(is_ridge, "mindeye", results.table["protocol"]))
    (found,) = metric_tables(dataclasses.replace(results, table=mixed))
    pixcorr = [row for row in found.rows if row[0].text == "PixCorr"]
    assert [(row[1].text, row[2].text) for row in pixcorr] == [("0.125", "–"), ("–", "0.010")]


def test_other_numbers_of_images_make_another_table_and_means_over_sentences_stay_in_the_file():
    results = results_of()
    other = results.table.assign(n=np.where(results.table["metric"] == "pixcorr", 12, results.table["n"]))
    assert len(list(metric_tables(dataclasses.replace(results, table=other)))) == 2
    hidden = results.table.assign(metric="sentence_" + results.table["metric"])
    assert list(metric_tables(dataclasses.replace(results, table=hidden))) == []


def test_a_cell_holds_value_and_interval_then_chance():
    first = next(metric_tables(results_of())).rows[0]
    assert [c.text for c in first] == ["image retrieved given brain", "0.250", "0.020", "0.033", "30-way, 30 pools"]
    assert first[1].small == "[0.200, 0.300]"


def test_several_subjects_give_mean_and_range():
    first = next(metric_tables(results_of(("subj01", "subj02")))).rows[0]
    assert (first[1].text, first[1].small) == ("0.300", "(0.250 to 0.350)")


def test_oracles_are_called_so():
    results = results_of()
    marked = dataclasses.replace(results, table=results.table.assign(oracle=True))
    assert "(oracle)" in next(metric_tables(marked)).rows[0][1].text


def test_the_answer_names_value_chance_and_the_shuffled_control():
    assert decoder_answer(results_of()) == [
        "From responses alone, ridge finds the seen image 25.0% of the time (30-way, 30 pools; chance 3.3%).",
        "Fitted to shuffled pairs, it does so 2.0% of the time.",
    ]


def test_every_part_that_is_there_gets_a_section():
    results = results_of()
    assert [t for t, _ in decoder_sections(results)] == [
        "Decoding",
        "Decoded images",
        "Retrieval",
        "Decoding by region",
    ]
    bare = dataclasses.replace(results, ranks=pd.DataFrame(), regions=pd.DataFrame(), shown={})
    assert [t for t, _ in decoder_sections(bare)] == ["Decoding"]


def test_the_page_escapes_and_shows_them(study):
    page = render(study, decoders=results_of())
    assert "tokens &lt;phantom-clip&gt;" in page
    assert 'id="figure-decoded-subj01-ridge"' in page
    assert "none chosen by hand" in page


def test_pictures_are_stored_in_true_colour(study):
    import base64
    import io

    from PIL import Image

    page = render(study, decoders=results_of())
    figure = page[page.index('id="figure-decoded-subj01-ridge"') :]
    encoded = re.search(r'src="data:image/jpeg;base64,([^"]+)"', figure)[1]
    picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 256


def test_items_are_chosen_by_rank_without_overlap(rng):
    scores = rng.permutation(30).astype(float)
    rows, groups = choose_by_rank(scores, each=5)
    assert len(set(rows.tolist())) == 15
    assert scores[rows[:5]].tolist() == [29, 28, 27, 26, 25]
    assert sorted(scores[rows[10:]].tolist()) == [0, 1, 2, 3, 4]
    assert groups == ["best"] * 5 + ["median"] * 5 + ["worst"] * 5
    assert abs(np.median(scores[rows[5:10]]) - np.median(scores)) <= 1


def test_undefined_scores_count_as_worst():
    rows, groups = choose_by_rank(np.array([0.2, np.nan, 0.8]), each=4)
    assert (rows.tolist(), groups) == ([2, 0, 1], ["best", "median", "worst"])
