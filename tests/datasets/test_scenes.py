"""Scenes: the same from the same seed, true to their description, and with the statistics they promise."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import kstest

from neuro.datasets.phantom.background import PLACENESS, sample_background
from neuro.datasets.phantom.canvas import Canvas, pink_noise
from neuro.datasets.phantom.captions import CATEGORY_WORDS
from neuro.datasets.phantom.scenes import (
    CATEGORIES,
    content,
    coverage,
    describe,
    masks,
    render,
    render_scenes,
    sample_scene,
)


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene(4, i) for i in range(144)]


@pytest.fixture(scope="module")
def shares(scenes):
    return [coverage(scene, 48) for scene in scenes]


@pytest.fixture(scope="module")
def graded(scenes):
    return [content(scene, 48) for scene in scenes[:72]]


def test_a_picture_does_not_depend_on_how_many_are_rendered_or_where_one_begins():
    many = render_scenes(9, size=40, seed=2)
    few = render_scenes(3, size=40, seed=2, start=5)
    np.testing.assert_array_equal(many.images[5:8], few.images)
    assert many.table["captions"].tolist()[5:8] == few.table["captions"].tolist()
    assert many.table["objects"].tolist()[5:8] == few.table["objects"].tolist()
    assert few.table["stimulus"].tolist() == [5, 6, 7]


def test_processes_render_the_same_pictures():
    one = render_scenes(4, size=32, seed=3)
    two = render_scenes(4, size=32, seed=3, n_jobs=2)
    np.testing.assert_array_equal(one.images, two.images)


def test_another_process_renders_the_same_bytes():
    code = "from neuro.datasets.phantom.scenes import *; print(int(render(sample_scene(1, 2), 48).astype(int).sum()))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(out) == int(render(sample_scene(1, 2), 48).astype(int).sum())


def test_seeds_share_no_picture():
    a, b = render_scenes(6, size=32, seed=0).images, render_scenes(6, size=32, seed=1).images
    assert not any(np.array_equal(x, y) for x in a for y in b)


@pytest.mark.parametrize("size", [64, 96, 213])
def test_a_scene_is_the_same_at_every_size(size):
    from PIL import Image

    for i in range(3):
        scene = sample_scene(6, i)
        large = np.asarray(Image.fromarray(render(scene, 425)).resize((48, 48), Image.Resampling.BOX), float)
        small = np.asarray(Image.fromarray(render(scene, size)).resize((48, 48), Image.Resampling.BOX), float)
        assert np.corrcoef(large.ravel(), small.ravel())[0, 1] > 0.93


def test_every_six_scenes_hold_every_category_once(scenes):
    for k in range(0, len(scenes), 6):
        assert {s.category for s in scenes[k : k + 6]} == set(CATEGORIES)


def test_every_kind_of_thing_and_background_turns_up():
    from neuro.datasets.phantom import animals, buildings, food, people, signs
    from neuro.datasets.phantom.background import LANDSCAPES, ROOMS

    drawn = [sample_scene(8, i) for i in range(2000)]
    labels = {o.label for s in drawn for o in s.objects}
    promised = {*animals.KINDS, *food.FOODS, *signs.SIGNS, *buildings.BUILDINGS, *people.WHO, *LANDSCAPES, *ROOMS}
    assert not promised - labels
    assert {s.background.kind for s in drawn} == set(PLACENESS)
    assert {s.kind for s in drawn if s.category == "place"} == {"building", "landscape", "room"}


@pytest.mark.parametrize("axis", ["x", "y"])
def test_main_objects_are_spread_uniformly(axis):
    where = []
    for i in range(1200):
        scene = sample_scene(11, i)
        main = scene[scene.main]
        if not main.is_background:
            where.append(getattr(main, axis))
    low, high = (0.22, 0.78) if axis == "x" else (0.3, 0.7)
    assert kstest(where, "uniform", args=(low, high - low)).pvalue > 0.01


def test_plain_textures_have_amplitude_falling_as_one_over_frequency(rng):
    slopes = [_slope(pink_noise(128, rng)) for _ in range(20)]
    assert abs(np.mean(slopes) + 1) < 0.15
    pictures = []
    for _ in range(10):
        canvas = Canvas(128)
        from neuro.datasets.phantom.backgrounds import draw_background
        from neuro.datasets.phantom.canvas import Light

        draw_background(canvas, sample_background(rng, "texture"))
        pictures.append(canvas.finish(rng, Light(1, 1, 0, 0, 0)).mean(-1))
    assert abs(np.mean([_slope(p) for p in pictures]) + 1) < 0.25


def test_scenes_have_spectra_like_photographs():
    slopes = [_slope(image.mean(-1)) for image in render_scenes(24, size=128, seed=5).images]
    assert -1.6 < np.mean(slopes) < -0.9


def _slope(picture: np.ndarray) -> float:
    """Slope of log amplitude over log frequency, between 3 and n/3 cycles per picture."""
    n = len(picture)
    window = np.outer(np.hanning(n), np.hanning(n))
    power = np.abs(np.fft.fft2((picture - picture.mean()) * window)) ** 2
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(n) * n, np.fft.fftfreq(n) * n))
    edges = np.geomspace(3, n / 3, 9)
    mean = [power[(f >= a) & (f < b)].mean() for a, b in pairwise(edges)]
    return np.polyfit(np.log(np.sqrt(edges[:-1] * edges[1:])), np.log(mean) / 2, 1)[0]


def test_pictures_are_neither_flat_nor_clipped(scenes):
    for scene in scenes[:60]:
        image = render(scene, 48)
        assert image.dtype == np.uint8
        assert image.std() > 12
        assert ((image == 0) | (image == 255)).all(-1).mean() < 0.4


def test_objects_background_and_clutter_share_out_every_pixel(scenes, shares):
    for scene, share in zip(scenes, shares, strict=True):
        main = scene[scene.main]
        once = [k for k in share if ":" not in k and not (k == scene.main and main.is_background)]
        np.testing.assert_allclose(sum(share[k] for k in once), 1, atol=1e-5)


def test_removing_an_object_changes_only_the_pixels_it_showed_in(scenes):
    checked = 0
    for scene in scenes[:60]:
        scene = replace(scene, shadow=0.0)
        before, share = render(scene, 64).astype(int), coverage(scene, 64)
        for item in scene.objects:
            if item.is_background or item.label == "duck":  # ducks make ripples
                continue
            without = replace(scene, objects=tuple(o for o in scene.objects if o.name != item.name), main="")
            changed = (render(without, 64).astype(int) != before).any(-1)
            shown = share[item.name] > 0
            # whiskers and steam are drawn but belong to no object
            assert (changed & ~shown).sum() <= 0.02 * changed.size, (item.label, scene.index)
            if shown.any():
                assert changed[share[item.name] > 0.9].mean() > 0.8 or (share[item.name] > 0.9).sum() < 12
            checked += 1
    assert checked > 60


def test_a_plain_object_changes_nothing_outside_its_mask():
    scene = sample_scene(0, 0)
    clock = replace(scene.objects[-1], name="clock", category="distractor", label="clock", colour="red", x=0.4, y=0.6,
                   size=0.4, parts={}, style={})  # fmt: skip
    base = replace(scene, objects=(), main="", shadow=0.0, clutter="")
    with_clock = replace(base, objects=(clock,))
    share = coverage(with_clock, 96)["clock"]
    np.testing.assert_array_equal(render(with_clock, 96)[share == 0], render(base, 96)[share == 0])
    mask = masks(with_clock, 96)["clock"]
    yy, xx = np.nonzero(mask)
    assert abs((xx.mean() + 0.5) / 96 - 0.4) < 0.01
    assert abs((yy.mean() + 0.5) / 96 - 0.6) < 0.01
    assert abs(mask.mean() - np.pi * (0.48 * 0.4) ** 2) < 0.005


def test_an_object_in_front_hides_what_is_behind():
    scene = sample_scene(0, 0)
    ball = replace(scene.objects[-1], name="a", category="distractor", label="ball", colour="red", x=0.5, y=0.5,
                   size=0.5, parts={}, style={})  # fmt: skip
    both = replace(scene, objects=(ball, replace(ball, name="b", x=0.6)), main="", clutter="")
    seen = masks(both, 64)
    assert not (seen["a"] & seen["b"]).any()
    assert 0.2 < seen["a"].sum() / seen["b"].sum() < 0.9


def test_masks_lie_where_the_description_says(scenes, shares):
    seen = 0
    for scene, share in zip(scenes, shares, strict=True):
        for item in scene.objects:
            if item.is_background or item.category == "face":
                continue
            mask = share[item.name]
            room = min(item.x, 1 - item.x) - item.width / 2, min(item.y, 1 - item.y) - item.height / 2
            if mask.sum() < 20 or min(room) < 0.05 or item.name != scene.main:
                continue
            grid = (np.arange(48) + 0.5) / 48
            x, y = (mask * grid[None, :]).sum() / mask.sum(), (mask * grid[:, None]).sum() / mask.sum()
            assert abs(x - item.x) < 0.3 * item.width + 0.05, (item.label, scene.index)
            assert abs(y - item.y) < 0.3 * item.height + 0.06, (item.label, scene.index)
            seen += 1
    assert seen > 20


def test_face_boxes_hold_the_face_pixels(scenes, shares):
    seen = 0
    for scene, share in zip(scenes, shares, strict=True):
        for item in scene.objects:
            if "face" not in item.parts:
                continue
            face = share[f"{item.name}:face"]
            assert (face <= share[item.name] + 1e-6).all()
            if face.sum() < 14:
                continue
            x, y, w, h = item.parts["face"]
            grid = (np.arange(48) + 0.5) / 48
            inside = (abs(grid[None, :] - x) < 0.75 * w) & (abs(grid[:, None] - y) < 0.75 * h)
            assert face[inside].sum() > 0.93 * face.sum(), (item.label, scene.index)
            seen += 1
    assert seen > 25


def test_people_seen_from_behind_show_no_face(scenes):
    backs = [(s, o) for s in scenes for o in s.objects if o.category == "body" and o.style["back"]]
    assert backs
    assert all("face" not in o.parts and f"{o.name}:face" not in coverage(s, 32) for s, o in backs[:8])


def test_content_agrees_with_the_masks(scenes, shares, graded):
    for scene, share, amount in zip(scenes, shares, graded, strict=False):
        animal = sum(share[o.name].mean() for o in scene.objects if o.category == "animal")
        face = sum((share[k].mean() for k in share if k.endswith(":face")), 0.0)
        people = sum(share[o.name].mean() for o in scene.objects if o.category in ("face", "body"))
        assert amount["animal"] == pytest.approx(animal, abs=1e-6)
        assert amount["face"] == pytest.approx(face, abs=1e-6)
        assert amount["body"] == pytest.approx(people - face, abs=1e-6)
        assert amount["animacy"] == pytest.approx(people + animal, abs=1e-6)
        assert amount["people"] == sum(o.category in ("face", "body") for o in scene.objects)
        assert amount["place"] <= 1 + 1e-6
        assert all(isinstance(v, float) and np.isfinite(v) for v in amount.values())


@pytest.mark.parametrize("category", CATEGORIES)
def test_scenes_of_a_category_hold_more_of_it_than_others(category, scenes, graded):
    own = np.mean([a[category] for s, a in zip(scenes, graded, strict=False) if s.category == category])
    rest = np.mean([a[category] for s, a in zip(scenes, graded, strict=False) if s.category != category])
    assert own > 2 * rest


def test_main_objects_can_be_seen(scenes, shares):
    area = [share[s.main].mean() for s, share in zip(scenes, shares, strict=True)]
    assert np.quantile(area, 0.02) > 0.015
    assert min(area) > 0.005


def test_every_caption_says_what_the_scene_is_about(scenes):
    for scene in scenes:
        for caption in describe(scene):
            assert set(CATEGORY_WORDS[scene.category]) & set(re.findall("[a-z]+", caption)), caption
            assert caption == caption.lower()
            assert re.fullmatch(r"[a-z, ]+", caption), caption
            assert "  " not in caption


def test_captions_differ_and_come_in_fives(scenes):
    captions = [describe(s) for s in scenes]
    assert all(len(c) == 5 for c in captions)
    assert np.mean([len(set(c)) for c in captions]) > 4.7
    assert len({c for group in captions for c in group}) > 0.9 * 5 * len(scenes)
    assert describe(scenes[0], n=8)[:5] == captions[0]


def test_captions_name_only_what_is_there(scenes):
    animals = set(CATEGORY_WORDS["animal"]) - {"animal", "fish", "duck"}
    for scene in scenes:
        labels = {o.label for o in scene.objects}
        signs = {o.style["word"].lower() for o in scene.objects if o.category == "word"}
        said = {w for c in describe(scene) for w in c.replace(",", "").split()}
        assert (said & animals) - signs <= labels


def test_tables_can_be_written_as_json():
    table = render_scenes(12, size=16, seed=7).table
    rows = json.loads(json.dumps(table["objects"].tolist()))
    assert rows == table["objects"].tolist()
    assert {"category", "x", "y", "size", "colour"} <= set(rows[0][0])
    assert json.loads(json.dumps(sample_scene(7, 1).to_dict()))["category"] in CATEGORIES


def test_masks_come_with_the_set():
    scenes = render_scenes(2, size=24, seed=7)
    assert set(scenes.masks(1)) == set(masks(scenes.scenes[1], 24))
    assert all(m.shape == (24, 24) and m.dtype == bool for m in scenes.masks(1).values())


@pytest.mark.parametrize(("argument", "value"), [("n", 0), ("size", 4), ("size", 9.5), ("start", -1), ("seed", -3)])
def test_impossible_requests_are_refused_before_work(argument, value):
    with pytest.raises(ValueError, match=argument):
        render_scenes(**{"n": 2, "size": 16, argument: value})


def test_asking_for_an_absent_object_names_those_present():
    scene = sample_scene(0, 1)
    with pytest.raises(KeyError, match=re.escape(scene.main)):
        scene["unicorn-7"]
