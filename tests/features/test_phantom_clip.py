"""The small CLIP that ships with the package: it loads, it is open_clip's, it is small, and it sees."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from neuro.datasets.phantom.scenes import render_scenes
from neuro.errors import DataNotDownloaded
from neuro.features.phantom_clip import (
    FOLDER,
    PROMPTS,
    WordTokenizer,
    class_scores,
    classify,
    load_phantom_clip,
    tokenizer,
)


@pytest.fixture(scope="module")
def trained():
    return load_phantom_clip()


@pytest.fixture(scope="module")
def fresh():
    """120 scenes of a seed that neither training nor its own evaluation used."""
    return render_scenes(120, size=96, seed=1234)


@pytest.fixture(scope="module")
def pictures(trained, fresh):
    return torch.stack([trained[1](Image.fromarray(image)) for image in fresh.images])


def test_everything_it_ships_is_below_twelve_megabytes():
    files = [f for f in FOLDER.iterdir() if f.is_file()]
    assert {"open_clip_config.json", "open_clip_model.safetensors", "vocabulary.json"} <= {f.name for f in files}
    assert sum(f.stat().st_size for f in files) < 12e6


def test_it_is_a_plain_open_clip_model_in_float32(trained):
    import open_clip

    model, _, _ = trained
    assert type(model) is open_clip.CLIP
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_open_clip_reads_the_folder_by_itself(trained, pictures):
    import open_clip

    theirs, _, _ = open_clip.create_model_and_transforms(f"local-dir:{FOLDER}")
    tokens = trained[2](["a brown dog running", "the face of a woman"])
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval().encode_image(pictures[:4]), trained[0].encode_image(pictures[:4]))
        torch.testing.assert_close(theirs.encode_text(tokens), trained[0].encode_text(tokens))


def test_both_towers_end_in_one_space(trained, pictures):
    model, _, words = trained
    with torch.no_grad():
        image = model.encode_image(pictures[:3], normalize=True)
        text = model.encode_text(words(["a dog", "a cake on a table"]), normalize=True)
    assert image.shape == (3, text.shape[1])
    torch.testing.assert_close(image.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(text.norm(dim=1), torch.ones(2))


def test_preprocessing_is_recorded_and_applied(trained, fresh):
    config = json.loads((FOLDER / "open_clip_config.json").read_text())["preprocess_cfg"]
    size = config["size"]
    small = Image.fromarray(fresh.images[0]).resize((size, size), Image.Resampling.BICUBIC)
    by_hand = (np.asarray(small, np.float32) / 255 - config["mean"]) / config["std"]
    theirs = trained[1](Image.fromarray(fresh.images[0])).numpy()
    np.testing.assert_allclose(theirs, by_hand.transpose(2, 0, 1), atol=1e-5)


def test_it_names_what_fresh_scenes_show(trained, fresh, pictures):
    guess = classify(trained[0], trained[2], pictures)
    truth = fresh.table["category"].tolist()
    assert np.mean([g == t for g, t in zip(guess, truth, strict=True)]) >= 0.9


def test_it_finds_the_caption_of_a_picture_among_120(trained, fresh, pictures):
    model, _, words = trained
    with torch.no_grad():
        image = model.encode_image(pictures, normalize=True)
        text = model.encode_text(words([c[0] for c in fresh.table["captions"]]), normalize=True)
    rank = ((image @ text.T) > (image * text).sum(1, keepdim=True)).sum(1)
    assert (rank < 5).float().mean() > 0.8  # chance: 0.04


def test_the_untrained_twin_is_at_chance(fresh, pictures):
    model, _, words = load_phantom_clip(pretrained=False, seed=0)
    guess = classify(model, words, pictures)
    accuracy = np.mean([g == t for g, t in zip(guess, fresh.table["category"], strict=True)])
    assert accuracy < 0.4  # one in six, give or take what random features happen to separate


def test_the_untrained_twin_is_fixed_by_its_seed_and_leaves_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    a, b, c = (load_phantom_clip(pretrained=False, seed=s)[0] for s in (1, 1, 2))
    torch.testing.assert_close(torch.rand(1), expected, rtol=0, atol=0)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.visual.conv1.weight, c.visual.conv1.weight)
    assert sum(p.numel() for p in a.parameters()) == sum(p.numel() for p in load_phantom_clip()[0].parameters())


def test_captions_of_fresh_scenes_use_known_words_only(trained, fresh):
    words = WordTokenizer(trained[2].words, trained[2].context_length, unknown="error")
    tokens = words([c for group in fresh.table["captions"] for c in group])
    ends = (tokens == words.end).sum(1)
    assert (ends == 1).all()
    assert (tokens.argmax(1) == (tokens != 0).sum(1) - 1).all()  # open_clip reads at the highest number: the end mark


def test_prompts_use_known_words_only(trained, pictures):
    words = WordTokenizer(trained[2].words, trained[2].context_length, unknown="error")
    assert class_scores(trained[0], words, pictures[:3]).shape == (3, len(PROMPTS))


def test_a_class_of_one_prompt_scores_its_scaled_cosine(trained, pictures):
    model, _, words = trained
    prompts = {"a": ["a brown dog"], "b": ["a pizza"], "ab": ["a brown dog", "a pizza"]}
    scores = class_scores(model, words, pictures[:5], prompts)
    with torch.no_grad():
        cosine = (
            model.encode_image(pictures[:5], normalize=True)
            @ model.encode_text(words(["a brown dog", "a pizza"]), normalize=True).T
        )
    torch.testing.assert_close(scores[:, :2], model.logit_scale.exp().detach() * cosine)
    torch.testing.assert_close(scores[:, 2], scores[:, :2].exp().mean(1).log(), rtol=1e-4, atol=1e-4)


def test_unknown_words_are_named_once_per_call(trained):
    words = trained[2]
    with pytest.warns(UserWarning, match=re.escape("2 word(s) outside")) as record:
        tokens = words(["a quokka on a trampoline", "a dog"])
    assert len(record) == 1
    assert "quokka, trampoline" in str(record[0].message)
    assert tokens[0].tolist().count(2) == 2
    with pytest.raises(ValueError, match="quokka"):
        WordTokenizer(words.words, 20, unknown="error")(["a quokka"])
    assert WordTokenizer(words.words, 20, unknown="ignore")("a quokka")[0, 2] == 2
    with pytest.raises(ValueError, match="'warn', 'error' or 'ignore'"):
        WordTokenizer(words.words, 20, unknown="whatever")


def test_long_sentences_keep_their_end_mark(trained):
    words = trained[2]
    tokens = words(["a dog " * 100, ""])
    assert tokens.shape == (2, words.context_length)
    assert tokens[0, -1] == words.end
    assert tokens[1, :3].tolist() == [1, words.end, 0]


def test_case_and_punctuation_do_not_matter(trained):
    a, b = tokenizer(["A brown dog, running!", "a brown dog running"])
    assert torch.equal(a, b)
    assert trained[2].decode(a) == "a brown dog running"
    assert tokenizer("a dog").shape == (1, trained[2].context_length)


def test_vocabulary_fits_the_embedding_table(trained):
    model, _, words = trained
    assert model.token_embedding.num_embeddings == words.vocab_size == len(words.words) + 4
    assert model.context_length == words.context_length
    assert list(words.words) == sorted(set(words.words))


def test_a_folder_without_weights_says_what_is_missing_and_how_to_make_it(tmp_path):
    with pytest.raises(DataNotDownloaded, match=r"open_clip_model.safetensors.*train_phantom_clip"):
        load_phantom_clip(folder=tmp_path)


def test_metrics_say_how_it_was_made():
    metrics = json.loads((FOLDER / "metrics.json").read_text())
    assert metrics["runs"][-1]["finished"]
    assert metrics["cpu_minutes"] > 0
    assert metrics["evaluation"]["zero_shot_accuracy"] > 0.9
    assert metrics["evaluation"]["seed"] not in {run["seed"] for run in metrics["runs"]}
