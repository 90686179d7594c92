"""The captioner that ships: what is in its folder, and that it says what fresh scenes show."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from neuro._files import read_json
from neuro.datasets.phantom import describe, render, sample_scene
from neuro.decoders.captioner import load_captioner
from neuro.decoders.naming import content_naming
from neuro.decoders.phantom_captioner import FOLDER, load_phantom_captioner
from neuro.errors import MissingWeights
from neuro.features.phantom_clip import load_phantom_clip
from neuro.features.tokens import image_tokens

transformers = pytest.importorskip("transformers", reason="neuro[decode]")

N = 90


@pytest.fixture(scope="module")
def captioner():
    return load_phantom_captioner()


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene(61, i) for i in range(N)]


@pytest.fixture(scope="module")
def tokens(scenes):
    model, preprocess, _ = load_phantom_clip()
    return image_tokens(model, torch.stack([preprocess(Image.fromarray(render(s, 96))) for s in scenes])).numpy()


@pytest.fixture(scope="module")
def captions(captioner, tokens):
    return captioner.caption(tokens)


def test_the_folder_is_small_and_transformers_reads_its_language_model(captioner):
    assert sum(f.stat().st_size for f in FOLDER.iterdir() if f.is_file()) < 5e6
    model = transformers.GPT2LMHeadModel.from_pretrained(FOLDER, dtype=torch.float32).eval()
    ids = torch.tensor([[1, 5, 9]])
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, captioner.model(ids).logits)


def test_the_record_says_how_it_was_made_and_keeps_test_scenes_apart():
    metrics = read_json(FOLDER / "metrics.json")
    assert all(run["seed"] != metrics["evaluation"]["seed"] for run in metrics["runs"])
    assert metrics["cpu_minutes"] < 26
    assert metrics["runs"][-1]["finished"]


def test_it_reads_phantom_clips_tokens_and_knows_every_word_of_the_scenes(captioner, tokens, scenes):
    assert (captioner.n_tokens, captioner.dim) == tokens.shape[1:]
    captioner.tokenizer.unknown = "error"
    captioner.tokenizer([c for s in scenes for c in describe(s)])


def test_captions_of_fresh_scenes_name_what_is_there_as_often_as_recorded(captions, scenes):
    recorded = read_json(FOLDER / "metrics.json")["evaluation"]["systems"]["captioner, noise 0"]
    found = content_naming(captions, scenes, ["category", "label", "background"], n_permutations=200)
    for name, r in found.items():
        p = recorded[name]["value"]
        error = np.sqrt(max(p * (1 - p), 0.02) * (1 / r.details["scenes"] + 1 / 600))
        assert float(r) == pytest.approx(p, abs=4 * error), name
        assert r.details["p"] < 0.01, name
        assert float(r) > 3 * r.chance, name


def test_captions_depend_on_the_tokens_of_their_own_scene(captioner, tokens, scenes, captions):
    shuffled = captioner.caption(np.roll(tokens, 7, axis=0))
    assert shuffled == list(np.roll(captions, 7))
    r = content_naming(shuffled, scenes, ["label"], n_permutations=200)["label"]
    assert float(r) < 0.2


def test_sentences_end_before_they_must(captioner, tokens):
    ids = captioner.generate_ids(tokens[:20], 30)
    assert all(captioner.end in row for row in ids)


def test_its_own_caption_is_likelier_than_another_scenes(captioner, tokens, scenes):
    own = captioner.tokenizer([describe(s)[0] for s in scenes])
    right = captioner.log_likelihood(tokens, own)
    wrong = captioner.log_likelihood(np.roll(tokens, 1, axis=0), own)
    assert (right > wrong).mean() > 0.9


def test_noise_in_the_tokens_costs_words_gradually(captioner, tokens, scenes):
    rng = np.random.default_rng(0)
    mean, error = tokens.mean(0), rng.permutation(tokens) - tokens.mean(0)
    scores = []
    for g in (0.9, 0.5, 0.02):  # the best linear decoder shrinks to g and keeps an error of variance g (1 - g)
        noisy = mean + g * (tokens - mean) + np.sqrt(g * (1 - g)) * error
        said = captioner.caption(noisy)
        scores.append(float(content_naming(said, scenes, ["category"], n_permutations=2)["category"]))
    assert scores[0] > scores[1] > scores[2]
    assert scores[0] > 0.85
    assert scores[1] > 0.5


def test_a_folder_without_weights_says_so(tmp_path):
    for name in ("config.json", "prefix.safetensors", "vocabulary.json"):
        shutil.copy(FOLDER / name, tmp_path)
    with pytest.raises(MissingWeights, match=r"lacks model\.safetensors"):
        load_phantom_captioner(tmp_path)


def test_phantom_is_the_captioner_by_default(captioner, tokens, captions):
    assert load_captioner().caption(tokens[:5]) == captions[:5]
