import numpy as np
import pytest

from neuro.errors import ShapeMismatch
from neuro.plotting import contact_sheet


def test_every_image_stands_once_in_order_with_its_caption(rng):
    images = [rng.integers(0, 256, (20 + k, 30, 3), dtype=np.uint8) for k in range(5)]
    figure = contact_sheet(images, [f"caption {k}" for k in range(5)], columns=3)
    shown = [ax for ax in figure.axes if ax.images]
    assert len(shown) == 5
    for k, ax in enumerate(shown):
        np.testing.assert_array_equal(ax.images[0].get_array(), images[k])
        assert ax.get_title(loc="left") == f"caption {k}"


def test_dollars_in_captions_are_dollars(tmp_path):
    figure = contact_sheet([np.zeros((8, 8, 3), np.uint8)], ["costs $5 or $x_"])
    figure.savefig(tmp_path / "sheet.png")


def test_captions_must_match_the_images():
    with pytest.raises(ShapeMismatch, match="1 images but 2 captions"):
        contact_sheet([np.zeros((8, 8, 3), np.uint8)], ["a", "b"])
