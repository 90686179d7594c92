"""Routing maps against planted objects: the measures on maps made by hand, and what is planted on the phantom."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from neuro.encoders import routing_agreement
from neuro.errors import EmptySelection, ShapeMismatch

EXAMPLE = Path(__file__).parents[2] / "examples" / "plot_routing_maps.py"


def at(places, n_queries=1, side=4):
    """Maps with all weight on one place (row, column) per image."""
    maps = np.zeros((len(places), n_queries, side, side))
    for i, (row, column) in enumerate(places):
        maps[i, :, row, column] = 1
    return maps


PLACES = [(0, 0), (1, 2), (3, 3), (2, 0)]


def test_maps_on_the_object_have_all_their_weight_there():
    maps = at(PLACES)
    masks = np.kron(maps, np.ones((8, 8))) > 0  # 32 x 32 pixels
    found = routing_agreement(maps, masks)
    np.testing.assert_allclose(found.weight, 1)
    np.testing.assert_allclose(found.area, 1 / 16)
    np.testing.assert_allclose(found.distance, 0, atol=1e-12)
    np.testing.assert_allclose(found.static_weight, 0.25)  # the mean map puts a quarter on each place
    table = found.summary(["food"])
    assert table.loc[0, "query"] == "food"
    assert table.loc[0, "gain"] == pytest.approx(16)
    assert table.loc[0, "n_images"] == 4


def test_maps_that_never_change_are_their_own_static_map():
    maps = at([(1, 1)] * 4, n_queries=2)
    masks = np.stack([at(PLACES)[:, 0], at([(1, 1)] * 4)[:, 0]], 1)
    found = routing_agreement(maps, masks)
    np.testing.assert_array_equal(found.weight, found.static_weight)
    np.testing.assert_array_equal(found.distance, found.static_distance)
    np.testing.assert_allclose(found.weight[:, 0], 0)
    np.testing.assert_allclose(found.weight[:, 1], 1)
    expected = [np.hypot(r - 1, c - 1) / 4 for r, c in PLACES]
    np.testing.assert_allclose(found.distance[:, 0], expected)


@given(arrays(np.float64, (3, 2, 7, 5), elements=st.floats(0, 1)), st.sampled_from([(4, 4), (3, 6), (14, 10)]))
def test_uniform_maps_put_on_an_object_what_it_covers(masks, grid):
    masks[:, :, 0, 0] = 1  # every object shows somewhere
    maps = np.full((3, 2, *grid), 1 / np.prod(grid))
    found = routing_agreement(maps, masks)
    np.testing.assert_allclose(found.weight, found.area, atol=1e-9)
    np.testing.assert_allclose(found.area, masks.mean((2, 3)))
    rng = np.random.default_rng(0)
    any_map = rng.dirichlet(np.ones(np.prod(grid)), (3, 2)).reshape(3, 2, *grid)
    weight = routing_agreement(any_map, masks).weight
    assert ((weight >= -1e-9) & (weight <= 1 + 1e-9)).all()
    rest = routing_agreement(any_map, np.where(masks == 1, 1 - 1e-9, 1 - masks)).weight
    shown = (masks != 1).all((2, 3))
    np.testing.assert_allclose((weight + rest)[shown], 1, atol=1e-6)


def test_objects_that_are_absent_do_not_count():
    maps = at(PLACES, n_queries=2)
    masks = np.repeat(at(PLACES), 2, 1)
    masks[1, 0] = 0
    masks[:3, 1] = 0
    masks[:3, 1, 0, 0] = 0.1  # a corner of it
    found = routing_agreement(maps, masks, smallest=0.02)
    assert np.isfinite(found.weight).tolist() == [[True, False], [False, False], [True, False], [True, True]]
    np.testing.assert_allclose(found.static_weight[0, 0], 1 / 3)
    assert found.summary()["n_images"].tolist() == [3, 1]
    masks[3, 1] = 0
    with pytest.raises(EmptySelection, match=r"queries \[1\]"):
        routing_agreement(maps, masks, smallest=0.02)


def test_positions_alone_give_distances():
    maps = torch.from_numpy(at(PLACES)[:, 0])  # one query
    centres = np.array([((c + 0.5) / 4, (r + 0.5) / 4) for r, c in PLACES])
    centres[2] = np.nan
    found = routing_agreement(maps, positions=centres)
    np.testing.assert_allclose(found.distance[[0, 1, 3]], 0, atol=1e-12)
    assert np.isnan(found.distance[2, 0])
    assert np.isnan(found.weight).all()
    masks = at([(r, 3 - c) for r, c in PLACES])
    both = routing_agreement(maps, masks, centres[:, None])  # weights by the mask, distances by the position
    np.testing.assert_allclose(both.weight[[0, 1, 3]], 0)
    np.testing.assert_allclose(both.distance[[0, 1, 3]], 0, atol=1e-12)


def test_peaks_that_are_level_meet_in_the_middle():
    maps = np.full((1, 1, 2, 2), 0.25)
    assert routing_agreement(maps, positions=[[0.5, 0.5]]).distance.item() == 0


@pytest.mark.parametrize(
    ("maps", "options", "error"),
    [
        (at(PLACES) * 2, {"masks": at(PLACES)}, "sum to one"),
        (at(PLACES) - 0.01, {"masks": at(PLACES)}, "smallest weight of -0.01"),
        (at(PLACES)[0, 0], {"masks": at(PLACES)}, "n_images, n_queries, height, width"),
        (at(PLACES), {"masks": at(PLACES)[:3]}, r"masks must be \(4, 1, H, W\)"),
        (at(PLACES), {"masks": 2 * at(PLACES)}, "shares from 0 to 1, got 0 to 2"),
        (at(PLACES), {"masks": at(PLACES, n_queries=2)}, "as the maps"),
        (at(PLACES), {"positions": np.zeros((4, 3))}, r"positions must be \(4, 1, 2\)"),
        (at(PLACES), {}, "give masks"),
    ],
)
def test_what_does_not_go_together_is_refused(maps, options, error):
    with pytest.raises(ValueError, match=error):
        routing_agreement(maps, **options)


def test_names_are_those_of_the_queries():
    with pytest.raises(ShapeMismatch, match="those of 1 queries, got 2"):
        routing_agreement(at(PLACES), at(PLACES)).summary(["a", "b"])


@pytest.mark.slow
def test_category_areas_attend_to_their_object_and_beat_fixed_windows_on_the_phantom(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(tmp_path)])
    found = runpy.run_path(str(EXAMPLE))
    scores, table = found["scores"], found["agreement"].set_index("query")
    attention, window, ridge = (scores[name] for name in ("attention", "fixed window", "ridge, all tokens"))
    for area in found["CATEGORIES"]:
        assert attention[area] > window[area] + 0.03, area
        assert attention[area] > ridge[area] + 0.03, area
        assert table.loc[area, "weight"] > 1.7 * table.loc[area, "area"], area  # a uniform map
        assert table.loc[area, "weight"] > 1.3 * table.loc[area, "static_weight"], area  # a map that stands still
    assert attention["early"] < window["early"] + 0.02  # nothing moves there: a fixed window is right
