import numpy as np
import pytest

from neuro.errors import ShapeMismatch
from neuro.plotting import prf_maps
from neuro.plotting.prf import angle_colours


@pytest.fixture
def fields(rng):
    x, y, size = rng.uniform(-4, 4, 40), rng.uniform(-4, 4, 40), rng.uniform(0.2, 2, 40)
    return {"x": x + 0.3, "y": y - 0.4, "size": 2 * size, "x_true": x, "y_true": y, "size_true": size}


def test_panels_show_truth_estimate_and_sizes(fields):
    figure = prf_maps(**fields)
    drawn = [ax.collections[0].get_offsets() for ax in figure.axes]
    np.testing.assert_allclose(drawn[0], np.column_stack([fields["x_true"], fields["y_true"]]))
    np.testing.assert_allclose(drawn[1], np.column_stack([fields["x"], fields["y"]]))
    np.testing.assert_allclose(drawn[2], np.column_stack([fields["size_true"], fields["size"]]))


def test_the_error_stated_is_the_distance_planted(fields):
    assert "median error 0.50°" in prf_maps(**fields).axes[1].get_title(loc="left")


def test_both_fields_carry_the_colours_of_the_true_angle(fields):
    first, second = (ax.collections[0].get_facecolors()[:, :3] for ax in prf_maps(**fields).axes[:2])
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, angle_colours(np.arctan2(fields["y_true"], fields["x_true"])))


def test_voxels_without_an_estimate_are_left_out(fields):
    fields["x"] = np.where(np.arange(40) < 5, np.nan, fields["x"])
    assert len(prf_maps(**fields).axes[0].collections[0].get_offsets()) == 35


def test_without_sizes_there_are_two_panels(fields):
    del fields["size"], fields["size_true"]
    assert len(prf_maps(**fields).axes) == 2


def test_unequal_lengths_are_refused(fields):
    with pytest.raises(ShapeMismatch, match="four arrays"):
        prf_maps(**{**fields, "x": fields["x"][:-1]})


def test_the_wheel_closes_and_keeps_its_luminance():
    angle = np.linspace(-np.pi, np.pi, 73)
    rgb = angle_colours(angle)
    np.testing.assert_allclose(rgb[0], rgb[-1], atol=1e-9)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert np.ptp(luminance) < 0.06  # clipping to the screen's colours costs a little
