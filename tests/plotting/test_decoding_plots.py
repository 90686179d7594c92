import numpy as np
import pandas as pd
import pytest

from neuro.errors import ShapeMismatch
from neuro.plotting import rank_curves, reconstruction_sheet, scores_by_roi, window_scores


def pictures(n, value):
    return [np.full((8, 8, 3), value + i, dtype=np.uint8) for i in range(n)]


def test_every_decoded_image_stands_below_its_own_truth():
    figure = reconstruction_sheet(
        pictures(5, 0), {"decoded": pictures(5, 100)}, groups=["best", "best", "median", "worst", "worst"], columns=3
    )
    cells = {}
    for ax in figure.axes:
        if ax.images:
            where = ax.get_subplotspec()
            cells[where.rowspan.start, where.colspan.start] = int(ax.images[0].get_array()[0, 0, 0])
    below = {}
    for (row, column), value in cells.items():
        if value < 100:
            below[value] = cells[row + 1, column]
    assert below == {0: 100, 1: 101, 2: 102, 3: 103, 4: 104}
    words = [t.get_text() for ax in figure.axes for t in ax.texts]
    assert [w for w in words if "true" in w] == ["best\ntrue", "median\ntrue", "worst\ntrue"]


def test_groups_wider_than_the_page_are_broken_into_rows():
    figure = reconstruction_sheet(pictures(5, 0), {"decoded": pictures(5, 100)}, groups=["best"] * 5, columns=2)
    columns = {ax.get_subplotspec().colspan.start for ax in figure.axes if ax.images}
    assert columns == {1, 2}
    assert sum(bool(ax.images) for ax in figure.axes) == 10


@pytest.mark.parametrize("wrong", [{"groups": ["best"]}, {"captions": ["a", "b", "c"]}])
def test_labels_of_another_number_are_refused(wrong):
    with pytest.raises(ShapeMismatch, match="2 true images"):
        reconstruction_sheet(pictures(2, 0), {"decoded": pictures(2, 100)}, **wrong)


def test_missing_reconstructions_are_refused():
    with pytest.raises(ShapeMismatch, match="1 of 'decoded'"):
        reconstruction_sheet(pictures(2, 0), {"decoded": pictures(1, 100)})


def test_rank_curve_is_the_cumulative_share_and_chance_the_diagonal(lines):
    ax = rank_curves({"ridge": [1, 1, 2, 10]}, n_gallery=10).axes[0]
    x, y = lines(ax)["ridge"].get_data()
    share = dict(zip(np.asarray(x).tolist(), np.asarray(y).tolist(), strict=True))
    assert (share[1], share[2], share[9], share[10]) == (0.5, 0.75, 0.75, 1.0)
    x, y = lines(ax)["chance"].get_data()
    np.testing.assert_allclose(y, np.asarray(x) / 10)


def test_ranks_outside_the_gallery_are_refused():
    with pytest.raises(ShapeMismatch, match="between 1 and 10"):
        rank_curves({"ridge": [0, 3]}, n_gallery=10)


def test_regions_stand_in_the_order_asked_for_with_their_scores():
    table = pd.DataFrame(
        [
            dict(roi=r, model="tokens", score=s, ci_low=s - 0.1, ci_high=s + 0.1)
            for r, s in (("V1", 0.6), ("FFA", 0.9), ("PPA", 0.8))
        ]
    )
    ax = scores_by_roi(table, rois=["FFA", "V1"], chance=0.5, xlabel="2-way identification").axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["FFA", "V1"]
    dots = [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() == "o"]
    assert dots == [0.9, 0.6]
    assert any(list(line.get_xdata()) == [0.5, 0.5] for line in ax.get_lines())


def test_windows_are_drawn_at_their_ends(lines):
    table = pd.DataFrame([dict(model="ridge", start=t - 0.1, stop=t, score=t) for t in (0.3, 0.1, 0.2)])
    ax = window_scores(table, chance=0.0, ylabel="r").axes[0]
    x, y = lines(ax)["ridge"].get_data()
    np.testing.assert_allclose(x, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(y, x)
