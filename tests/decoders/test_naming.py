"""What captions name, held against the scenes they were written from and against shuffling."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from neuro.datasets.phantom import describe, render_scenes, sample_scene
from neuro.decoders.naming import ATTRIBUTES, content_naming, named_content, scene_content, shuffled_chance
from neuro.errors import ShapeMismatch


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene(9, i) for i in range(240)]


@pytest.fixture(scope="module")
def captions(scenes):
    return [describe(scene) for scene in scenes]


def test_nothing_that_a_scenes_own_captions_name_is_wrong(scenes, captions):
    truth = scene_content(scenes)
    for k in range(5):
        named = named_content([group[k] for group in captions])
        for attribute in ATTRIBUTES:
            said = named[attribute] != ""
            assert (named[attribute][said] == truth[attribute][said]).all(), attribute


def test_scenes_own_captions_name_the_category_always_and_details_sometimes(scenes, captions):
    results = content_naming([group[0] for group in captions], scenes, n_permutations=50)
    assert float(results["category"]) == float(results["word"]) == float(results["pose"]) == 1
    assert float(results["label"]) > 0.9
    for r in results.values():
        assert r.details["precision"] == 1
        assert r.details["p"] == pytest.approx(1 / 51)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("an orange cat standing on a table", {"category": "animal", "label": "cat", "colour": "orange"}),
        ("an orange on a table", {"category": "food", "label": "orange", "colour": "", "background": "table"}),
        ("food, an orange", {"category": "food", "label": "orange"}),
        ("the word pizza on a red shop sign", {"category": "word", "label": "shop sign", "word": "pizza"}),
        ("a brown dog near a sign for pizza", {"category": "animal", "label": "dog", "word": ""}),
        ("a smiling face near a woman", {"category": "face", "label": "", "expression": "happy"}),
        ("the face of a young girl with red hair", {"category": "face", "label": "girl", "hair": "red"}),
        ("a man in a red shirt running on a city street", {"pose": "running", "colour": "red", "background": "street"}),
        ("a person with glasses waving", {"category": "body", "label": "", "pose": "waving"}),
        ("a room with a desk, an office", {"category": "place", "label": "office", "background": ""}),
        ("a horse walking on the sand dunes", {"category": "animal", "background": "desert"}),
        ("a path in a green forest with a dog in it", {"category": "place", "label": "forest", "colour": ""}),
        ("", dict.fromkeys(ATTRIBUTES, "")),
        ("colourless ideas sleep furiously", dict.fromkeys(ATTRIBUTES, "")),
    ],
)
def test_the_first_thing_named_is_what_a_caption_is_about(caption, expected):
    row = named_content([caption]).iloc[0]
    assert {k: row[k] for k in expected} == expected


def test_scene_sets_and_scenes_give_the_same_truth(scenes):
    rendered = render_scenes(6, size=32, seed=9)
    pd.testing.assert_frame_equal(scene_content(rendered), scene_content(scenes[:6]))


def test_chance_is_the_mean_over_all_pairings():
    rng = np.random.default_rng(0)
    said = rng.choice(["dog", "cat", ""], 30)
    true = rng.choice(["dog", "cat", "pig"], 30)
    every_pair = np.mean([[s == t and s != "" for s in said] for t in true])
    assert shuffled_chance(said, true) == pytest.approx(every_pair)


def test_chance_is_what_shuffled_captions_score_and_p_is_then_no_evidence(scenes, captions):
    rng = np.random.default_rng(1)
    said = [group[0] for group in captions]
    results = [
        content_naming([said[i] for i in rng.permutation(len(said))], scenes, n_permutations=99, rng=rng)
        for _ in range(15)
    ]
    # one permutation's mean spreads by about sqrt(chance / n)
    values = np.mean([float(r["category"]) for r in results])
    assert values == pytest.approx(1 / 6, abs=4 * np.sqrt(1 / 6 / 240 / 15))
    assert results[0]["category"].chance == pytest.approx(1 / 6, abs=1e-9)
    assert np.mean([r["category"].details["p"] for r in results]) > 0.25
    low, high = results[0]["category"].details["null"]
    assert low < 1 / 6 < high


def test_scenes_without_an_attribute_are_left_out_and_counted(scenes, captions):
    r = content_naming([group[0] for group in captions], scenes, ["word"], n_permutations=5)["word"]
    signs = np.array([scene.category == "word" for scene in scenes])
    assert r.details["scenes"] == signs.sum()
    assert r.details["undefined_items"] == (~signs).sum()
    assert np.isnan(r.per_item[~signs]).all()


def test_an_attribute_that_no_scene_has_is_left_out():
    scenes = [s for s in (sample_scene(9, i) for i in range(40)) if s.category == "food"]
    assert "pose" not in content_naming(["a dog"] * len(scenes), scenes, n_permutations=5)


def test_saying_nothing_scores_zero_with_undefined_precision(scenes):
    r = content_naming([""] * len(scenes), scenes, ["category"], n_permutations=5)["category"]
    assert float(r) == r.chance == r.details["named"] == 0
    assert np.isnan(r.details["precision"])


def test_unequal_lengths_and_unknown_attributes_are_refused(scenes):
    with pytest.raises(ShapeMismatch, match="each of 240 scenes, got 1"):
        content_naming(["a dog"], scenes)
    with pytest.raises(ValueError, match="attributes must be"):
        content_naming(["a dog"], scenes[:1], ["size"])
