import numpy as np
import pandas as pd
import pytest

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.plotting import to_fsaverage5
from neuro.plotting.variance_partition import (
    CORNERS,
    band_colours,
    rgb_surface_map,
    ternary_shares,
    unique_variance_bars,
    unique_variance_scatter,
    unique_variance_triangle,
)


@pytest.fixture
def unique():
    rows = [("V1", "gabor", 0.2), ("V1", "net", 0.05), ("FFA", "gabor", -0.01), ("FFA", "net", 0.3)]
    table = pd.DataFrame(rows, columns=["roi", "band", "unique"])
    return table.assign(ci_low=table["unique"] - 0.02, ci_high=table["unique"] + 0.03)


def test_bars_are_as_long_as_the_numbers(unique):
    ax = unique_variance_bars(unique, total={"V1": 0.4}).axes[0]
    widths = {c.get_label(): [p.get_width() for p in c.patches] for c in ax.containers}
    assert widths == {"gabor": [0.2, -0.01], "net": [0.05, 0.3]}
    (tick,) = [line for line in ax.get_lines() if line.get_label() == "_total"]
    assert set(tick.get_xdata()) == {0.4}
    assert ax.get_xlim()[0] < -0.03


def test_a_region_that_lacks_a_band_keeps_the_others_in_their_rows(unique):
    ax = unique_variance_bars(unique.iloc[1:], bands=["gabor", "net"], rois=["V1", "FFA"]).axes[0]
    middles = {c.get_label(): [p.get_y() + p.get_height() / 2 for p in c.patches] for c in ax.containers}
    assert [round(m) for m in middles["gabor"]] == [1]
    assert [round(m) for m in middles["net"]] == [0, 1]


def test_dots_stand_at_their_values_and_the_mean_between_them(rng):
    a, b, mask = rng.random(40), rng.random(40), np.arange(40) < 10
    a[3] = np.nan
    figure = unique_variance_scatter({"gabor": a, "net": b}, groups={"V1": mask, "rest": ~mask})
    ax = figure.axes[0]
    good = mask & np.isfinite(a)
    np.testing.assert_allclose(ax.collections[1].get_offsets(), np.column_stack([a, b])[good])
    assert len(ax.collections[0].get_offsets()) == 30
    (mean,) = [line for line in ax.get_lines() if line.get_label() == "mean"]
    np.testing.assert_allclose(mean.get_xydata()[0], [a[good].mean(), b[good].mean()])
    assert ax.get_xlim() == ax.get_ylim()


def test_one_space_alone_is_a_corner_and_all_alike_the_middle():
    unique = {"a": [1.0, 0, 0, 1, 0, -1], "b": [0.0, 2, 0, 1, 0, -1], "c": [0.0, 0, 3, 1, 0, -1]}
    figure = unique_variance_triangle({k: np.array(v) for k, v in unique.items()})
    points = np.asarray(figure.axes[0].collections[1].get_offsets())
    np.testing.assert_allclose(points[:3], CORNERS)
    np.testing.assert_allclose(points[3], CORNERS.mean(0))
    assert len(points) == 4  # voxels to which no space adds anything have no place


def test_shares_sum_to_one_and_do_not_depend_on_the_scale(rng):
    values = rng.standard_normal((4, 50))
    shares, good = ternary_shares(values)
    np.testing.assert_allclose(shares[good].sum(1), 1)
    assert (shares[~good] == 0).all()
    np.testing.assert_allclose(ternary_shares(7 * values)[0], shares)


def test_colours_are_red_green_and_blue():
    values = np.array([[1.0, 0, 0, 0.5, -1, np.nan], [0, 1, 0, 0.5, -1, 0], [0, 0, 1, 0.5, -1, 0]])
    found = band_colours(values, top=1.0)
    np.testing.assert_array_equal(found[:5], [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5], [0, 0, 0]])
    assert np.isnan(found[5, 0])
    assert band_colours(np.eye(3)).max() == 1


def test_the_map_has_the_colours_of_its_voxels(cortex):
    rank = np.linspace(0, 1, len(cortex))
    sides = [to_fsaverage5(cortex, values) for values in (rank, 1 - rank, 0 * rank)]
    left, right = (np.column_stack([s[k] for s in sides]) for k in (0, 1))
    figure = rgb_surface_map(left, right, ["a", "b", "c"], columns=2, width=4.2)
    assert len(figure.axes) == 8
    shades = np.asarray(figure.axes[0].collections[0].get_facecolor())
    known = np.isfinite(left).all(1)
    np.testing.assert_allclose(shades[known, :3], left[known], atol=1e-6)
    assert (np.ptp(shades[~known, :3], axis=1) < 1e-6).all()


def test_bad_input_is_refused(rng):
    two = {"a": rng.random(5), "b": rng.random(5)}
    with pytest.raises(ShapeMismatch, match="expected 2 feature spaces"):
        unique_variance_scatter({**two, "c": rng.random(5)})
    with pytest.raises(ShapeMismatch, match="expected 3 feature spaces"):
        unique_variance_triangle(two)
    with pytest.raises(ShapeMismatch, match="mask of 'V1'"):
        unique_variance_scatter(two, groups={"V1": np.ones(4, bool)})
    with pytest.raises(EmptySelection, match="no voxel"):
        unique_variance_scatter({"a": np.full(5, np.nan), "b": rng.random(5)})
    with pytest.raises(ShapeMismatch, match="three feature spaces"):
        band_colours(np.zeros((2, 5)))
    with pytest.raises(ShapeMismatch, match="10242"):
        rgb_surface_map(np.zeros((5, 3)), np.zeros((5, 3)), ["a", "b", "c"])
