"""Text towers: open_clip's own embeddings, averaged over captions."""

import numpy as np
import pandas as pd
import pytest
import torch

from neuro.data import Stimuli
from neuro.errors import ShapeMismatch, StaleStore, UnknownLayer, UnknownModel, UnknownStimulus
from neuro.features.text import TextExtractor

TEXTS = ["a dog on a beach", "two people", "a red car parked next to a tree", "food"]


@pytest.fixture(scope="module")
def text():
    return TextExtractor("open_clip:ViT-S-32-alt", pretrained=None, batch_size=3, device="cpu")


@pytest.fixture(scope="module")
def reference(text):
    """The library's own embeddings."""
    import open_clip

    tokens = open_clip.get_tokenizer("ViT-S-32-alt")(TEXTS)
    with torch.no_grad():
        return text.network.whole.encode_text(tokens).numpy()


def test_the_output_is_open_clips_embedding(text, reference):
    found = text.extract(Stimuli.from_texts(TEXTS, ids=list("abcd")), progress=False)
    np.testing.assert_allclose(found.rows("output"), reference, atol=1e-5)
    assert found.ids.tolist() == list("abcd")


def test_captions_are_averaged(text, reference):
    captions = [TEXTS[:2], TEXTS[2:], [TEXTS[3]]]
    stimuli = Stimuli.from_array(np.zeros((3, 8, 8, 3), np.uint8), table=pd.DataFrame({"captions": captions}))
    found = text.extract(stimuli, progress=False).rows("output")
    expected = np.stack([reference[:2].mean(0), reference[2:].mean(0), reference[3]])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(UnknownStimulus, match="no captions"):
        text.extract(np.zeros((1, 8, 8, 3), np.uint8), progress=False)


def test_normalised_captions_are_averaged_on_the_sphere(reference):
    unit = TextExtractor("open_clip:ViT-S-32-alt", pretrained=None, normalize=True, device="cpu")
    found = unit.extract(Stimuli.from_texts(TEXTS), progress=False).rows("output")
    np.testing.assert_allclose(found, reference / np.linalg.norm(reference, axis=1, keepdims=True), atol=1e-5)


def test_hidden_layers_are_read_at_the_end_of_the_text(text):
    """The embedding is the projection of the last layer at that token."""
    found = text.extract(Stimuli.from_texts(TEXTS), layers=["ln_final", "output"], progress=False)
    projection = text.network.whole.text_projection.detach().numpy()
    np.testing.assert_allclose(found.rows("ln_final") @ projection, found.rows("output"), atol=1e-4)


def test_padding_does_not_enter_means():
    mean = TextExtractor(
        "open_clip:ViT-S-32-alt", pretrained=None, pool="mean", layers=["token_embedding"], device="cpu"
    )
    found = mean.extract(Stimuli.from_texts(["dog"]), progress=False).rows("token_embedding")[0]
    table = mean.network.whole.token_embedding.weight.detach().numpy()
    tokens = mean._tokenize(["dog"])[0]
    np.testing.assert_allclose(found, table[tokens[tokens > 0]].mean(0), atol=1e-6)


def test_reduced_precision_is_close(reference):
    half = TextExtractor("open_clip:ViT-S-32-alt", pretrained=None, precision="bfloat16", device="cpu")
    found = half.extract(Stimuli.from_texts(TEXTS), progress=False).rows("output")
    assert 0 < np.linalg.norm(found - reference) < 0.03 * np.linalg.norm(reference)


def test_phantom_clip_reads_its_own_words():
    from neuro.features.phantom_clip import load_phantom_clip

    model, _, tokenizer = load_phantom_clip()
    sentences = ["a person and a dog", "food on a table"]
    found = TextExtractor("phantom-clip", device="cpu").extract(Stimuli.from_texts(sentences), progress=False)
    with torch.no_grad():
        np.testing.assert_allclose(found.rows("output"), model.encode_text(tokenizer(sentences)), atol=1e-4)


def test_layers_are_probed_and_named(text):
    assert text.layers["output"] == (256,)
    assert text.layers["transformer.resblocks.0"] == (77, 256)
    with pytest.raises(UnknownLayer, match="did you mean 'ln_final'"):
        text.extract(Stimuli.from_texts(TEXTS), layers=["ln_finale"])


def test_changed_captions_make_rows_stale(text, tmp_path):
    text.extract(Stimuli.from_texts(TEXTS), store=tmp_path / "text", progress=False)
    found = text.extract(Stimuli.from_texts(TEXTS), store=tmp_path / "text", progress=False)
    assert found.rows("output").shape == (4, 256)
    with pytest.raises(StaleStore, match=r"1 of these 4 stimuli, first \[3\]"):
        text.extract(Stimuli.from_texts([*TEXTS[:3], "drink"]), store=tmp_path / "text", progress=False)


def test_networks_without_text_and_stimuli_without_captions_are_refused(text):
    with pytest.raises(UnknownModel, match="has no text tower"):
        TextExtractor("timm:resnet10t", pretrained=None)
    stimuli = Stimuli.from_array(np.zeros((2, 8, 8, 3), np.uint8), table=pd.DataFrame({"captions": [["a"], []]}))
    with pytest.raises(ShapeMismatch, match="stimulus 1 has no caption"):
        text.extract(stimuli, progress=False)
