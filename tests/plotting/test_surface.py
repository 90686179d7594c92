import numpy as np
import pytest

from neuro.errors import ShapeMismatch
from neuro.plotting import load_fsaverage5, surface_map
from neuro.plotting.surface import colour_limits

N = 10242


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(0)
    left, right = rng.random(N), rng.random(N)
    left[::2] = np.nan
    return left, right


def test_data_have_the_colours_of_the_bar_and_bare_cortex_is_grey(values):
    from matplotlib import colormaps

    figure = surface_map(*values, views=["lateral"], vmin=0, vmax=1)
    colours = figure.axes[0].collections[0].get_facecolor()
    known = np.isfinite(values[0])
    np.testing.assert_allclose(colours[known], colormaps["viridis"](values[0][known]))
    assert np.ptp(colours[~known][:, :3], axis=1).max() == 0
    assert 0.5 < colours[~known][:, :3].min() < colours[~known][:, :3].max() < 1


@pytest.mark.parametrize(
    ("view", "axis", "sign"), [("lateral", 0, -1), ("medial", 0, 1), ("ventral", 2, -1), ("posterior", 1, -1)]
)
def test_a_view_shows_the_side_it_is_named_after(values, view, axis, sign):
    """The pole of the left hemisphere that faces the viewer is among the triangles drawn, the opposite one is not."""
    hemi = load_fsaverage5()[0]
    figure = surface_map(*values, views=[view])
    shown = np.unique(figure.axes[0].collections[0]._triangulation.triangles)
    near = np.argmax(sign * hemi.inflated[:, axis])
    far = np.argmin(sign * hemi.inflated[:, axis])
    assert near in shown
    assert far not in shown


def test_front_lies_left_on_the_left_hemisphere_seen_from_outside(values):
    hemi = load_fsaverage5()[0]
    mesh = surface_map(*values, views=["lateral"]).axes[0].collections[0]._triangulation
    front, back = np.argmax(hemi.inflated[:, 1]), np.argmin(hemi.inflated[:, 1])
    assert mesh.x[front] < mesh.x[back]


def test_categories_get_one_colour_each():
    left = np.repeat([0.0, 1.0, 2.0], N // 3)
    figure = surface_map(left, np.full(N, np.nan), views=["lateral"], categories=["stem", "block", "head"])
    assert len(np.unique(figure.axes[0].collections[0].get_facecolor(), axis=0)) == 3
    assert [t.get_text() for t in figure.axes[-1].get_yticklabels()] == ["stem", "block", "head"]


def test_colour_limits_start_at_zero_unless_values_are_clearly_negative():
    assert colour_limits(np.array([-0.001, 0.5, 1.0]))[0] == 0
    assert colour_limits(np.array([-0.5, 0.5, 1.0]))[0] == pytest.approx(-0.49, abs=0.02)
    low, high = colour_limits(np.array([np.nan]))
    assert low < high


def test_wrong_sizes_and_views_are_refused(values):
    with pytest.raises(ShapeMismatch, match="10,242"):
        surface_map(np.zeros(5), np.zeros(N))
    with pytest.raises(ValueError, match="'lateral'"):
        surface_map(*values, views=["top"])
