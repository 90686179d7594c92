"""Targets of images are what the network and the readers give, row by row, in memory or on disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro.data import Stimuli
from neuro.datasets.phantom import render_scenes
from neuro.decoders.targets import image_targets
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.features.phantom_clip import load_phantom_clip
from neuro.features.tokens import image_tokens


@pytest.fixture(scope="module")
def scenes():
    return render_scenes(7, size=64, seed=5)


@pytest.fixture
def stimuli(scenes):
    return Stimuli.from_array(scenes.images, ids=np.arange(10, 17))


def test_tokens_are_the_networks_and_the_embedding_is_its_image_vector(scenes, stimuli):
    from PIL import Image

    found = image_targets(stimuli, batch_size=3)
    model, preprocess, _ = load_phantom_clip()
    pixels = torch.stack([preprocess(Image.fromarray(image)) for image in scenes.images])
    np.testing.assert_allclose(found["image_tokens"], image_tokens(model, pixels).numpy(), atol=2e-3)
    with torch.no_grad():
        np.testing.assert_allclose(found["image_embedding"], model.encode_image(pixels).numpy(), atol=2e-3)
    assert found.ids.tolist() == list(range(10, 17))


def test_batches_do_not_matter(stimuli):
    whole, parts = image_targets(stimuli, batch_size=7), image_targets(stimuli, batch_size=2)
    np.testing.assert_allclose(whole["image_tokens"], parts["image_tokens"], atol=1e-5)


def test_normalised_tokens_start_with_a_unit_vector_and_the_embedding_stays(stimuli):
    plain, unit = image_targets(stimuli), image_targets(stimuli, normalise="cls_norm")
    np.testing.assert_allclose(np.linalg.norm(unit["image_tokens"][:, 0], axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(unit["image_embedding"], plain["image_embedding"])
    ratio = plain["image_tokens"] / unit["image_tokens"]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1, :1], ratio.shape), rtol=1e-3)


def test_readers_see_the_central_square_on_0_to_1():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 20:60] = 255  # the central square is white, the sides are black
    stimuli = Stimuli.from_array(image[None])
    found = image_targets(stimuli, readers={"mean": lambda x: x.mean((1, 2, 3))}, size=16)
    np.testing.assert_allclose(found["mean"], 1.0)


def test_files_hold_the_same_and_nothing_stands_there_before_the_end(stimuli, tmp_path):
    def interrupted(pictures):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        image_targets(stimuli, readers={"bad": interrupted}, size=16, folder=tmp_path / "targets")
    assert list(tmp_path.iterdir()) == []
    found = image_targets(stimuli, folder=tmp_path / "targets", batch_size=3)
    assert isinstance(found["image_tokens"].base, np.memmap) or isinstance(found["image_tokens"], np.memmap)
    np.testing.assert_array_equal(found["image_tokens"], image_targets(stimuli, batch_size=3)["image_tokens"])
    assert found.provenance["network"] == "phantom-clip"


def test_half_precision_halves_the_file(stimuli):
    assert image_targets(stimuli, dtype="float16")["image_tokens"].dtype == np.float16


def test_readers_without_a_size_are_refused(stimuli):
    with pytest.raises(ShapeMismatch, match="at which size"):
        image_targets(stimuli, readers={"low_level": lambda x: x})


def test_sentences_and_nothing_are_refused(stimuli):
    with pytest.raises(ShapeMismatch, match="kind 'text'"):
        image_targets(Stimuli.from_texts(["a cat"]))
    with pytest.raises(EmptySelection):
        image_targets(stimuli.select([]))
