"""Boxes against closed forms, and the rule of pairing them by name."""

import numpy as np
import pytest

from neuro.decoders.metrics.grounding import box_iou, grounding_scores
from neuro.errors import EmptySelection, ShapeMismatch, UnknownStimulus

UNIT = [0.0, 0.0, 1.0, 1.0]
HALF = [0.0, 0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        (UNIT, UNIT, 1.0),
        (UNIT, HALF, 0.5),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
        (UNIT, [1, 0, 2, 1], 0.0),
        (UNIT, [2, 2, 3, 3], 0.0),
        ([0, 0, 0, 1], UNIT, 0.0),
        ([1, 1, 0, 0], UNIT, 0.0),
    ],
)
def test_overlap_has_its_closed_form_and_is_symmetric(a, b, iou):
    assert box_iou(a, b) == pytest.approx(iou)
    assert box_iou(b, a) == pytest.approx(iou)


def test_overlap_does_not_depend_on_units_and_broadcasts(rng):
    corner = rng.random((5, 1, 2))
    a = np.concatenate([corner, corner + rng.random((5, 1, 2)) + 0.1], axis=-1)
    corner = rng.random((1, 7, 2))
    b = np.concatenate([corner, corner + rng.random((1, 7, 2)) + 0.1], axis=-1)
    np.testing.assert_allclose(box_iou(a, b), box_iou(640 * a + 3, 640 * b + 3))
    assert box_iou(a, b).shape == (5, 7)
    with pytest.raises(ShapeMismatch, match="x1, y1, x2, y2"):
        box_iou([0, 0, 1], UNIT)


def test_boxes_are_paired_by_name_whatever_their_order():
    truth = {0: {"dog": [UNIT], "cat": [HALF]}}
    scores = grounding_scores({0: {"cat": [HALF], "dog": [UNIT]}}, truth)["all"]
    assert (scores["accuracy"].value, scores["mean_iou"].value) == (1, 1)
    swapped = grounding_scores({0: {"cat": [UNIT], "dog": [HALF]}}, truth)["all"]
    assert (swapped["accuracy"].value, swapped["mean_iou"].value) == (0, 0.5)


def test_only_the_first_box_of_either_side_counts():
    scores = grounding_scores({0: {"dog": [HALF, UNIT]}}, {0: {"dog": [UNIT, HALF]}})["all"]
    np.testing.assert_allclose(scores["mean_iou"].per_item, [0.5])


def test_an_overlap_of_exactly_the_threshold_is_not_found():
    truth, found = {0: {"dog": UNIT}}, {0: {"dog": HALF}}
    assert grounding_scores(found, truth)["all"]["accuracy"].value == 0
    assert grounding_scores(found, truth, threshold=0.49)["all"]["accuracy"].value == 1


def test_what_is_missing_scores_zero_and_is_counted_and_what_is_extra_does_not_matter():
    truth = {0: {"dog": UNIT, "cat": UNIT}, 1: {"bus": UNIT}, 2: {}}
    scores = grounding_scores({0: {"dog": UNIT, "elephant": UNIT}, 2: {"bus": UNIT}}, truth)["all"]
    np.testing.assert_array_equal(scores["mean_iou"].per_item, [1, 0, 0])
    assert scores["mean_iou"].details["missing_predictions"] == 2
    assert scores["accuracy"].n == 3
    assert grounding_scores({0: {"dog": []}}, {0: {"dog": UNIT}})["all"]["mean_iou"].value == 0


def test_a_group_is_scored_over_its_categories_alone():
    truth = {i: {"dog": UNIT, "book": UNIT} for i in range(4)}
    found = {i: {"dog": UNIT, "book": HALF if i < 2 else [2, 2, 3, 3]} for i in range(4)}
    groups = {"salient": ["dog", "cat"], "inconspicuous": "book", "both": ("dog", "book")}
    scores = grounding_scores(found, truth, groups)
    assert list(scores) == ["all", *groups]
    assert scores["salient"]["accuracy"].value == 1
    assert scores["inconspicuous"]["mean_iou"].value == pytest.approx(0.25)
    assert scores["inconspicuous"]["mean_iou"].n == 4
    assert scores["both"]["mean_iou"].value == scores["all"]["mean_iou"].value == pytest.approx(0.625)
    with pytest.raises(EmptySelection, match="group 'none' names no annotated"):
        grounding_scores(found, truth, {"none": ["zebra"]})


def test_chance_pairs_predictions_with_other_pictures():
    boxes = {i: {"dog": [i, 0, i + 1, 1]} for i in range(5)}
    scores = grounding_scores(boxes, boxes)["all"]
    assert (scores["mean_iou"].value, scores["mean_iou"].chance) == (1, 0)
    same = grounding_scores({i: {"dog": UNIT} for i in range(5)}, {i: {"dog": UNIT} for i in range(5)})["all"]
    assert same["accuracy"].chance == 1
    assert grounding_scores({0: {"dog": UNIT}}, {0: {"dog": UNIT}})["all"]["accuracy"].chance is None


def test_intervals_resample_pictures_not_boxes():
    # 40 boxes in each of 4 pictures, all found or none: resampling boxes would give an interval a third as wide.
    truth = {i: {f"c{j}": UNIT for j in range(40)} for i in range(4)}
    found = {i: truth[i] for i in (0, 1)}
    low, high = grounding_scores(found, truth)["all"]["accuracy"].ci
    assert (low, high) == (0, 1)


def test_pictures_are_ordered_as_numbers():
    truth = {"10": {"dog": UNIT}, "9": {"dog": UNIT}}
    scores = grounding_scores({"9": {"dog": UNIT}}, truth)["all"]
    np.testing.assert_array_equal(scores["accuracy"].per_item, [1, 0])


def test_impossible_input_is_refused():
    with pytest.raises(UnknownStimulus, match="no annotation"):
        grounding_scores({5: {"dog": UNIT}}, {0: {"dog": UNIT}})
    with pytest.raises(EmptySelection, match="no category"):
        grounding_scores({}, {0: {}})
    with pytest.raises(ShapeMismatch, match="'dog' in picture 0 must be 4 finite"):
        grounding_scores({0: {"dog": [0, 0, 1]}}, {0: {"dog": UNIT}})
    with pytest.raises(ShapeMismatch, match="4 finite"):
        grounding_scores({}, {0: {"dog": [0, 0, 1, np.nan]}})
    with pytest.raises(ValueError, match="threshold"):
        grounding_scores({}, {0: {"dog": UNIT}}, threshold=1.5)
