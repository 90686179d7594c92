import numpy as np
import pytest

from neuro.errors import ShapeMismatch
from neuro.plotting import embedding_map, rdm_images


def square(rng, n):
    d = rng.random((n, n))
    d = d + d.T
    np.fill_diagonal(d, 0)
    return d


def test_conditions_are_sorted_by_group_and_ranked(rng):
    d = square(rng, 6)
    groups = ["b", "a", "b", "a", "c", "b"]
    figure = rdm_images(d[None], ["V1"], groups=groups)
    shown = np.asarray(figure.axes[0].images[0].get_array())
    order = [0, 2, 5, 1, 3, 4]
    i, j = np.triu_indices(6, 1)
    ranks = d[i, j].argsort().argsort()
    expected = np.zeros((6, 6))
    expected[i, j] = expected[j, i] = 100 * (ranks + 0.5) / 15
    np.testing.assert_allclose(shown, expected[np.ix_(order, order)])
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["b", "a", "c"]
    assert figure.axes[0].get_title(loc="left") == "V1"
    assert len(figure.axes[0].lines) == 4  # two borders, each across and down


def test_values_can_be_shown_and_unknown_pairs_stay_empty(rng):
    d = square(rng, 4)
    d[0, 1] = d[1, 0] = np.nan
    shown = rdm_images(np.stack([d, 2 * d]), percentiles=False).axes[1].images[0]
    assert np.ma.getmaskarray(shown.get_array()).sum() == 2
    assert shown.get_clim()[1] == pytest.approx(np.nanmax(2 * d))
    ranked = rdm_images(d[None]).axes[0].images[0].get_array()
    assert np.ma.getmaskarray(ranked).sum() == 2


def test_map_holds_the_points_their_groups_and_paths(rng):
    points = rng.standard_normal((5, 2))
    figure = embedding_map(points, [*list("abcd"), ""], groups=["x", "y", "x", "y", "x"], paths=[[0, 2, 4]], note="n")
    ax = figure.axes[0]
    np.testing.assert_allclose(np.asarray(ax.collections[0].get_offsets()), points[[0, 2, 4]])
    np.testing.assert_allclose(np.asarray(ax.collections[1].get_offsets()), points[[1, 3]])
    np.testing.assert_allclose(ax.lines[0].get_xydata(), points[[0, 2, 4]])
    assert [t.get_text() for t in ax.texts] == list("abcd")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["x", "y"]


def test_wrong_shapes_are_named(rng):
    with pytest.raises(ShapeMismatch, match=r"\(n_rdms, n, n\)"):
        rdm_images(np.ones((4, 4)))
    with pytest.raises(ShapeMismatch, match="each of 4 conditions, got 2"):
        rdm_images(np.ones((1, 4, 4)), groups=["a", "b"])
    with pytest.raises(ShapeMismatch, match="n labels"):
        embedding_map(np.ones((3, 2)), ["a"])
