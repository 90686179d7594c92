"""Token sequences of CLIP models, against what the models say themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro.errors import ShapeMismatch, UnknownModel
from neuro.features.tokens import image_tokens, normalise_tokens, sentence_lengths, text_tokens


@pytest.fixture(scope="module")
def phantom():
    from neuro.features.phantom_clip import load_phantom_clip

    return load_phantom_clip()


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def vit():
    import open_clip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return open_clip.CLIP(
            embed_dim=16,
            vision_cfg={"image_size": 64, "patch_size": 16, "width": 32, "layers": 2, "head_width": 16},
            text_cfg={"context_length": 9, "vocab_size": 50, "width": 32, "heads": 2, "layers": 2},
        ).eval()


def test_first_token_of_phantom_clip_is_its_image_embedding(phantom, pixels):
    tokens = image_tokens(phantom[0], pixels)
    with torch.no_grad():
        embedding = phantom[0].encode_image(pixels)
    assert tokens.shape == (3, 5, 128)
    torch.testing.assert_close(tokens[:, 0], embedding)


def test_positions_of_the_attention_pool_differ(phantom, pixels):
    tokens = image_tokens(phantom[0], pixels)
    assert (tokens[:, 1:] - tokens[:, :1]).abs().amax((1, 2)).min() > 1e-3


def test_first_token_of_an_open_clip_vit_is_its_image_embedding(vit, pixels):
    tokens = image_tokens(vit, pixels)
    assert tokens.shape == (3, 17, 16)
    with torch.no_grad():
        torch.testing.assert_close(tokens[:, 0], vit.encode_image(pixels))


def test_first_token_of_a_transformers_clip_is_its_image_embedding():
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    config = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, projection_dim=8, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=8,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.CLIPVisionModelWithProjection(config).eval()
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    tokens = image_tokens(model, pixels)
    assert tokens.shape == (2, 17, 8)
    with torch.no_grad():
        torch.testing.assert_close(tokens[:, 0], model(pixels).image_embeds)


def test_state_at_the_end_of_a_sentence_is_its_embedding(phantom, vit):
    model, _, tokenizer = phantom
    ids = tokenizer(["a brown dog on a beach", "a city street"])
    states = text_tokens(model, ids)
    assert states.shape == (2, 32, 128)
    with torch.no_grad():
        embedding = model.encode_text(ids)
    torch.testing.assert_close(states[torch.arange(2), sentence_lengths(ids) - 1], embedding)

    ids = torch.tensor([[48, 5, 7, 49, 0, 0, 0, 0, 0], [48, 3, 49, 0, 0, 0, 0, 0, 0]])
    with torch.no_grad():
        torch.testing.assert_close(text_tokens(vit, ids)[torch.arange(2), [3, 2]], vit.encode_text(ids))


def test_state_at_the_end_of_a_sentence_is_its_embedding_in_transformers():
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    config = transformers.CLIPTextConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, projection_dim=8, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=9, eos_token_id=49, bos_token_id=48,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.CLIPTextModelWithProjection(config).eval()
    ids = torch.tensor([[48, 5, 7, 49, 0], [48, 3, 49, 0, 0]])
    states = text_tokens(model, ids, normalise="cls_norm")
    with torch.no_grad():
        embedding = torch.nn.functional.normalize(model(ids).text_embeds, dim=-1)
    torch.testing.assert_close(states[torch.arange(2), [3, 2]], embedding)


def test_states_do_not_depend_on_padding(phantom):
    model, _, tokenizer = phantom
    ids = tokenizer(["a brown dog"])
    torch.testing.assert_close(text_tokens(model, ids[:, :5]), text_tokens(model, ids)[:, :5])


def test_padding_can_be_zeroed_and_nothing_else(phantom):
    model, _, tokenizer = phantom
    ids = tokenizer(["a brown dog", "a city"])
    kept, zeroed = text_tokens(model, ids), text_tokens(model, ids, padding="zero")
    for row, length in enumerate(sentence_lengths(ids).tolist()):
        assert length in (5, 4)
        torch.testing.assert_close(zeroed[row, :length], kept[row, :length])
        assert (zeroed[row, length:] == 0).all()
        assert (kept[row, length:] != 0).any()


def test_cls_norm_gives_the_first_token_unit_length_and_keeps_ratios(phantom, pixels):
    raw, scaled = image_tokens(phantom[0], pixels), image_tokens(phantom[0], pixels, normalise="cls_norm")
    torch.testing.assert_close(scaled[:, 0].norm(dim=1), torch.ones(3))
    torch.testing.assert_close(scaled * raw[:, 0].norm(dim=1)[:, None, None], raw)


def test_numpy_and_torch_agree_and_silent_items_stay_silent():
    tokens = np.random.default_rng(0).standard_normal((3, 4, 5))
    tokens[1] = 0
    ours = normalise_tokens(tokens)
    assert isinstance(ours, np.ndarray)
    np.testing.assert_allclose(ours, normalise_tokens(torch.from_numpy(tokens)).numpy())
    assert (ours[1] == 0).all()


def test_batches_do_not_matter_and_inputs_stay(phantom, pixels):
    before = pixels.clone()
    ours = image_tokens(phantom[0], pixels, batch_size=2)
    torch.testing.assert_close(ours, image_tokens(phantom[0], pixels), atol=1e-4, rtol=1e-4)
    assert torch.equal(before, pixels)


def test_what_has_no_tokens_is_refused(phantom, pixels):
    with pytest.raises(UnknownModel, match="Linear"):
        image_tokens(torch.nn.Linear(3, 3), pixels)
    with pytest.raises(UnknownModel, match="Linear"):
        text_tokens(torch.nn.Linear(3, 3), [[1, 2]])
    with pytest.raises(ShapeMismatch, match="height"):
        image_tokens(phantom[0], pixels[0])
    with pytest.raises(ShapeMismatch, match="length"):
        text_tokens(phantom[0], [1, 2])
    with pytest.raises(ValueError, match="cls_norm"):
        image_tokens(phantom[0], pixels, normalise="l2")
