import nibabel as nib
import numpy as np
import pytest

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.plotting import volume_map


@pytest.fixture
def image(rng):
    data = np.full((6, 7, 5), np.nan, np.float32)
    data[1:5, 2:6, 1:4] = rng.random((4, 4, 3))
    return nib.Nifti1Image(data, np.diag([2.0, 3.0, 4.0, 1.0]))


def drawn(figure):
    return [np.ma.filled(ax.images[1].get_array(), np.nan) for ax in figure.axes if len(ax.images) == 2]


def test_slices_are_the_data_untouched(image):
    pictures = drawn(volume_map(image, slices=[1, 2, 3]))
    data = image.get_fdata()
    for k, picture in zip([1, 2, 3], pictures, strict=True):
        np.testing.assert_array_equal(picture, data[:, :, k].T)


def test_left_is_left_whatever_the_order_of_the_axes(image):
    flipped = nib.Nifti1Image(image.get_fdata()[::-1], image.affine @ np.diag([-1.0, 1, 1, 1]))
    for a, b in zip(drawn(volume_map(image)), drawn(volume_map(flipped)), strict=True):
        np.testing.assert_allclose(a, b)


def test_slices_are_titled_in_mm_and_hold_voxels(image):
    figure = volume_map(image, slices=3)
    assert [ax.get_title() for ax in figure.axes if len(ax.images) == 2] == ["z = 4 mm", "z = 8 mm", "z = 12 mm"]


def test_anatomy_is_sampled_where_it_lies(image):
    """An anatomy on a finer, shifted grid whose value is the world x coordinate shows x at every drawn position."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -20, -20, -20
    world_x = np.broadcast_to(np.arange(60.0)[:, None, None], (60, 70, 60))
    figure = volume_map(image, background=nib.Nifti1Image(world_x, affine), slices=[2], margin=4)
    ax = figure.axes[0]
    grey = ax.images[0].get_array()
    low, high = ax.images[0].get_extent()[:2]
    n = grey.shape[1]
    x = low + (np.arange(n) + 0.5) * (high - low) / n + 20
    top = np.percentile(world_x[world_x > 0], 98)
    np.testing.assert_allclose(grey[0], 0.3 + 0.6 * np.clip(x / top, 0, 1), atol=1e-6)


def test_empty_and_four_dimensional_images_are_refused(image):
    with pytest.raises(EmptySelection, match="no finite value"):
        volume_map(nib.Nifti1Image(np.full((3, 3, 3), np.nan), np.eye(4)))
    with pytest.raises(ShapeMismatch, match="3-D"):
        volume_map(nib.Nifti1Image(np.zeros((3, 3, 3, 2)), np.eye(4)))
    with pytest.raises(ValueError, match="mni152"):
        volume_map(image, background="t1")
