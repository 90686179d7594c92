"""Figures of routing maps: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from neuro.errors import ShapeMismatch
from neuro.plotting import routing_maps_figure, routing_scores_figure


@pytest.fixture
def given(rng):
    images = rng.integers(0, 256, (2, 20, 30, 3), dtype=np.uint8)
    maps = rng.dirichlet(np.ones(12), (2, 3)).reshape(2, 3, 3, 4)
    outlines = np.zeros((2, 3, 10, 15))
    outlines[0, 1, 6:9, 9:14] = 1
    return images, maps, ["face", "food", "word"], outlines


def test_every_image_stands_beside_the_maps_of_every_query(given):
    images, maps, names, outlines = given
    figure = routing_maps_figure(list(images), torch.from_numpy(maps), names, outlines=outlines, titles=["a", "b"])
    axes = np.array(figure.axes).reshape(2, 4)
    assert [ax.get_title() for ax in axes[0]] == ["image", *names]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["a", "b"]
    for i in range(2):
        np.testing.assert_array_equal(axes[i, 0].images[0].get_array(), images[i])
        for k in range(3):
            drawn = axes[i, k + 1].images[1]
            np.testing.assert_allclose(drawn.get_array(), maps[i, k])
            assert tuple(drawn.get_extent()) == (0, 30, 20, 0)
            assert drawn.get_clim() == (0, pytest.approx(maps[i, k].max()))
            assert axes[i, k + 1].texts[0].get_text() == f"{12 * maps[i, k].max():.1f}x"
    assert len(axes[0, 2].collections) == 1  # the one outline that is not empty
    assert not any(ax.collections for ax in [*axes[0, [1, 3]], *axes[1]])
    figure.savefig("/dev/null", format="png")


def test_outline_surrounds_what_it_outlines(given):
    """Rows of masks run downwards, as those of images do."""
    images, maps, names, outlines = given
    figure = routing_maps_figure(images, maps, names, outlines=outlines)
    points = np.concatenate([path.vertices for path in figure.axes[2].collections[0].get_paths()])
    x, y = points[:, 0] / 30, points[:, 1] / 20
    assert x.min() == pytest.approx(9 / 15, abs=0.05)
    assert x.max() == pytest.approx(14 / 15, abs=0.05)
    assert y.min() == pytest.approx(6 / 10, abs=0.06)
    assert y.max() == pytest.approx(9 / 10, abs=0.06)


def test_maps_without_weight_are_drawn_dark(given):
    images, maps, names, _ = given
    figure = routing_maps_figure(images[:1], 0 * maps[:1], names)
    assert not figure.axes[1].texts


def test_what_does_not_go_together_is_refused(given):
    images, maps, names, outlines = given
    with pytest.raises(ShapeMismatch, match="for 2 images and 2 names"):
        routing_maps_figure(images, maps, names[:2])
    with pytest.raises(ShapeMismatch, match="for 1 images"):
        routing_maps_figure(images[:1], maps, names)
    with pytest.raises(ShapeMismatch, match="images must be uint8"):
        routing_maps_figure(images / 255, maps, names)
    with pytest.raises(ShapeMismatch, match="outlines must be"):
        routing_maps_figure(images, maps, names, outlines=outlines[:, :2])
    with pytest.raises(ShapeMismatch, match="2 images but 1 titles"):
        routing_maps_figure(images, maps, names, titles=["a"])


def test_scores_are_bars_per_area_and_encoder():
    scores = {"attention": {"food": 0.7, "V1": 0.3}, "ridge": {"food": 0.5, "V1": 0.6}}
    agreement = pd.DataFrame({"query": ["food"], "weight": [0.4], "static_weight": [0.2], "area": [0.1]})
    figure = routing_scores_figure(scores, agreement)
    left, right = figure.axes
    assert [bar.get_height() for bars in left.containers for bar in bars] == [0.7, 0.3, 0.5, 0.6]
    assert [bar.get_height() for bars in right.containers for bar in bars] == [0.4, 0.2, 0.1]
    assert [t.get_text() for t in left.get_xticklabels()] == ["food", "V1"]
    figure.savefig("/dev/null", format="png")
