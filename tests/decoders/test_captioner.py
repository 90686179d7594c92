"""Captioners: a language model over injected states says exactly what it says over its own encoder's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from neuro.decoders.captioner import (
    BlipCaptioner,
    GitCaptioner,
    GumbelNoise,
    PrefixCaptioner,
    TokenPrefix,
    load_captioner,
)
from neuro.decoders.decoded import Decoded
from neuro.errors import CorruptFile, MissingWeights, ShapeMismatch
from neuro.features.phantom_clip.tokenizer import WordTokenizer

transformers = pytest.importorskip("transformers", reason="neuro[decode]")

N_WORDS = 40


def sharpen(model):
    """Make a random network's choices depend on its input: larger weights, larger differences."""
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.mul_(8)
    return model


@pytest.fixture(scope="module")
def git():
    torch.manual_seed(0)
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    config = transformers.GitConfig(
        vision_config=vision,
        vocab_size=N_WORDS,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        max_position_embeddings=64,
    )
    return sharpen(transformers.GitForCausalLM(config)).eval()


@pytest.fixture(scope="module")
def blip():
    torch.manual_seed(0)
    text = {
        "vocab_size": N_WORDS,
        "hidden_size": 24,
        "encoder_hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "sep_token_id": 3,
        "pad_token_id": 0,
        "max_position_embeddings": 64,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
        "initializer_range": 0.1,
    }
    config = transformers.BlipConfig(text_config=text, vision_config=vision)
    return sharpen(transformers.BlipForConditionalGeneration(config)).eval()


@pytest.fixture
def words():
    return WordTokenizer(["a", "dog", "cat", "red"], 8, unknown="error")


@pytest.fixture
def prefix_captioner(words):
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=words.vocab_size,
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=1,
        eos_token_id=words.end,
        pad_token_id=0,
    )
    prefix = TokenPrefix(torch.zeros(3, 6), torch.ones(3, 6), 16)
    return PrefixCaptioner(sharpen(transformers.GPT2LMHeadModel(config)), prefix, words)


@pytest.fixture
def pictures():
    return torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def tokens():
    return np.random.default_rng(0).normal(size=(7, 3, 6)).astype(np.float32)


def states_of(model, pictures):
    encoder = model.git.image_encoder if hasattr(model, "git") else model.vision_model
    with torch.no_grad():
        return encoder(pixel_values=pictures).last_hidden_state


@pytest.mark.parametrize("num_beams", [1, 3])
def test_git_over_its_encoders_states_says_what_git_says_of_the_pictures(git, pictures, num_beams):
    own = git.generate(
        pixel_values=pictures,
        input_ids=torch.ones(5, 1, dtype=torch.long),
        max_new_tokens=9,
        max_length=None,
        num_beams=num_beams,
        do_sample=False,
    )
    ours = GitCaptioner(git).generate_ids(states_of(git, pictures), 9, num_beams=num_beams)
    assert ours == own.tolist()
    assert len({tuple(row) for row in ours}) > 1, "pictures must matter for this test to mean anything"


@pytest.mark.parametrize("num_beams", [1, 3])
def test_blip_over_its_encoders_states_says_what_blip_says_of_the_pictures(blip, pictures, num_beams):
    own = blip.generate(pixel_values=pictures, max_new_tokens=9, num_beams=num_beams, do_sample=False)
    ours = BlipCaptioner(blip).generate_ids(states_of(blip, pictures), 9, num_beams=num_beams)
    assert ours == own.tolist()
    assert len({tuple(row) for row in ours}) > 1


def test_the_model_that_was_passed_keeps_its_image_encoder(git, pictures):
    before = git.generate(pixel_values=pictures, max_new_tokens=4, max_length=None)
    encoder = git.git.image_encoder
    GitCaptioner(git).generate_ids(states_of(git, pictures), 4)
    assert git.git.image_encoder is encoder
    assert torch.equal(git.generate(pixel_values=pictures, max_new_tokens=4, max_length=None), before)


def test_the_prefix_is_the_equation(rng):
    mean, scale, x = rng.normal(size=(3, 6)), rng.uniform(0.5, 2, (3, 6)), rng.normal(size=(4, 3, 6))
    prefix = TokenPrefix(mean, scale, 5)
    with torch.no_grad():
        prefix.bias.copy_(torch.from_numpy(rng.normal(size=(3, 5))))
        got = prefix(torch.from_numpy(x).float()).numpy()
    expected = (x - mean) / scale @ prefix.weight.weight.detach().numpy().T + prefix.bias.detach().numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_greedy_words_are_the_likeliest_of_each_step(prefix_captioner, tokens):
    ids = prefix_captioner.generate_ids(tokens[:1], 6)[0]
    model, states = prefix_captioner.model, prefix_captioner.states(tokens[:1])
    said = [prefix_captioner.start]
    for word in ids:
        with torch.no_grad():
            logits = model(inputs_embeds=prefix_captioner.embed(states, torch.tensor([said]))).logits[0, -1]
        assert int(logits.argmax()) == word
        said.append(word)
        if word == prefix_captioner.end:
            break


def test_log_likelihoods_of_all_sentences_of_one_word_sum_to_one(prefix_captioner, tokens):
    n = prefix_captioner.model.config.vocab_size
    sentences = np.stack([np.full(n - 1, 1), np.arange(1, n)], 1)
    nats = prefix_captioner.log_likelihood(np.repeat(tokens[:1], n - 1, 0), sentences)
    with torch.no_grad():
        embeds = prefix_captioner.embed(prefix_captioner.states(tokens[:1]), torch.tensor([[1]]))
        padding = prefix_captioner.model(inputs_embeds=embeds).logits[0, -1].softmax(0)[0]
    assert np.exp(nats).sum() + float(padding) == pytest.approx(1, abs=1e-5)


def test_batches_and_order_do_not_change_sentences(prefix_captioner, tokens):
    for settings in ({}, {"temperature": 1.5, "seed": 4}, {"num_beams": 2}):
        whole = prefix_captioner.generate_ids(tokens, 8, **settings)
        single = prefix_captioner.generate_ids(tokens, 8, batch_size=1, **settings)
        assert [r[: len(s)] for r, s in zip(whole, single, strict=True)] == single
    reversed_order = prefix_captioner.caption(tokens[::-1].copy(), 8)[::-1]
    assert reversed_order == prefix_captioner.caption(tokens, 8)


def test_drawn_words_follow_the_softmax():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    noise = GumbelNoise(0.7, seed=3, rows=range(20_000))
    drawn = noise(torch.zeros(20_000, 1), logits.expand(20_000, -1)).argmax(1)
    share = torch.bincount(drawn, minlength=4) / 20_000
    assert torch.allclose(share, (logits / 0.7).softmax(0), atol=0.015)


def test_drawing_leaves_the_global_random_state_alone(prefix_captioner, tokens):
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = prefix_captioner.generate_ids(tokens, 8, temperature=2.0, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002
    assert prefix_captioner.generate_ids(tokens, 8, temperature=2.0, seed=1) == first
    assert prefix_captioner.generate_ids(tokens, 8, temperature=2.0, seed=2) != first


def test_decoded_tokens_arrays_and_tensors_give_the_same_sentences(prefix_captioner, tokens):
    decoded = Decoded({"image_tokens": tokens}, ids=np.arange(7))
    captions = prefix_captioner.caption(decoded)
    assert captions == prefix_captioner.caption(tokens) == prefix_captioner.caption(torch.from_numpy(tokens))
    assert len(captions) == 7
    assert prefix_captioner.caption(tokens[:0]) == []


def test_a_captioner_comes_back_from_its_folder(prefix_captioner, tokens, tmp_path):
    prefix_captioner.save(tmp_path / "c")
    again = load_captioner(tmp_path / "c")
    assert isinstance(again, PrefixCaptioner)
    assert again.caption(tokens) == prefix_captioner.caption(tokens)
    for a, b in zip(again.model.parameters(), prefix_captioner.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_git_and_blip_folders_load(git, blip, pictures, tmp_path):
    tokenizer = pytest.importorskip("tokenizers")
    vocabulary = {w: k for k, w in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *(f"w{k}" for k in range(36))])}
    words = tokenizer.Tokenizer(tokenizer.models.WordLevel(vocabulary, unk_token="[UNK]"))
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )
    for model, kind in ((git, GitCaptioner), (blip, BlipCaptioner)):
        folder = tmp_path / kind.__name__
        model.save_pretrained(folder)
        words.save_pretrained(folder)
        captioner = load_captioner(str(folder))
        assert type(captioner) is kind
        states = states_of(model, pictures)
        ids, sentences = captioner.generate_ids(states, 6), captioner.caption(states, 6)
        expected = [" ".join(f"w{k - 4}" for k in row if k >= 4) for row in ids]
        assert [s.replace("[UNK]", "").split() for s in sentences] == [s.split() for s in expected]


def test_wrong_token_grids_are_refused_before_work(prefix_captioner, git, tokens):
    with pytest.raises(ShapeMismatch, match=r"\(n, 3, 6\), got \(7, 2, 6\)"):
        prefix_captioner.caption(tokens[:, :2])
    with pytest.raises(ShapeMismatch, match=r"\(n, 5, 16\), got \(7, 3, 6\)"):
        GitCaptioner(git).generate_ids(tokens)
    with pytest.raises(ShapeMismatch, match="vectors of 5"):
        PrefixCaptioner(prefix_captioner.model, TokenPrefix(torch.zeros(3, 6), torch.ones(3, 6), 5))


def test_unusable_requests_are_refused(prefix_captioner, git, tokens):
    broken = tokens.copy()
    broken[2, 0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 7 items"):
        prefix_captioner.caption(broken)
    with pytest.raises(ValueError, match="choose one of them"):
        prefix_captioner.caption(tokens, num_beams=2, temperature=1.0)
    with pytest.raises(ValueError, match="0 or more"):
        prefix_captioner.caption(tokens, temperature=-1.0)
    with pytest.raises(ValueError, match="at most 28"):
        prefix_captioner.caption(tokens, 40)
    with pytest.raises(ValueError, match="no tokenizer"):
        GitCaptioner(git).caption(torch.zeros(1, 5, 16))


@pytest.mark.parametrize("kind", [GitCaptioner, BlipCaptioner, PrefixCaptioner])
def test_missing_weights_name_what_to_get(kind, tmp_path, monkeypatch):
    with pytest.raises(MissingWeights, match="there is no folder"):
        kind.from_pretrained(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingWeights, match="empty"):
        kind.from_pretrained(tmp_path / "empty")


def test_a_hub_name_that_is_not_here_says_how_to_get_it(monkeypatch):
    import huggingface_hub

    def offline(*_, **__):
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(MissingWeights, match="hf download some/captioner"):
        PrefixCaptioner.from_pretrained("some/captioner")


def test_a_prefix_of_another_network_is_refused(prefix_captioner, tmp_path):
    from safetensors.torch import save_file

    prefix_captioner.save(tmp_path)
    save_file({"mean": torch.zeros(3, 6)}, tmp_path / "prefix.safetensors")
    with pytest.raises(CorruptFile, match="must hold"):
        load_captioner(tmp_path)
    save_file(TokenPrefix(torch.zeros(3, 6), torch.ones(3, 6), 7).state_dict(), tmp_path / "prefix.safetensors")
    with pytest.raises(CorruptFile, match="does not fit"):
        load_captioner(tmp_path)


def test_other_kinds_of_model_are_named(tmp_path):
    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="must be 'git', 'blip' or 'gpt2', got 'bert'"):
        load_captioner(tmp_path)


def test_importing_the_module_does_not_load_transformers():
    code = "import neuro.decoders.captioner, sys; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
