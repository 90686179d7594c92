"""The diffusion model that ships: loads as diffusers' own, keeps its latents' promise, and draws what it is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro._files import read_json
from neuro.decoders.generators.diffusion import encode_images
from neuro.decoders.generators.loading import load_generator
from neuro.decoders.generators.phantom import FOLDER, PhantomDiffusion, load_phantom_pipeline
from neuro.errors import MissingWeights, ShapeMismatch

diffusers = pytest.importorskip("diffusers", reason="diffusers is an extra")


@pytest.fixture(scope="module")
def pipeline():
    return load_phantom_pipeline()


@pytest.fixture(scope="module")
def scenes():
    """Twelve fresh scenes, two of each category: pictures (12, 3, 64, 64) in [0, 1] and first captions."""
    from PIL import Image

    from neuro.datasets.phantom.scenes import render_scenes

    found = render_scenes(12, 96, seed=5150)
    shrunk = [np.asarray(Image.fromarray(x).resize((64, 64), Image.Resampling.BICUBIC)) for x in found.images]
    return np.stack(shrunk).transpose(0, 3, 1, 2).astype(np.float32) / 255, [c[0] for c in found.table["captions"]]


@pytest.fixture(scope="module")
def clip():
    from neuro.features.phantom_clip import load_phantom_clip

    return load_phantom_clip()


def pixels(clip, pictures):
    from PIL import Image

    as_bytes = (pictures.transpose(0, 2, 3, 1) * 255).round().astype(np.uint8)
    return torch.stack([clip[1](Image.fromarray(x)) for x in as_bytes])


@pytest.fixture(scope="module")
def tokens(clip, scenes):
    from neuro.features.tokens import image_tokens, text_tokens

    return {
        "image_tokens": image_tokens(clip[0], pixels(clip, scenes[0])).numpy(),
        "text_tokens": text_tokens(clip[0], clip[2](scenes[1]), padding="zero").numpy(),
    }


def test_the_folder_is_small_and_says_how_it_was_made():
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    assert size < 20e6
    metrics = read_json(FOLDER / "metrics.json")
    assert metrics["stages"]["unet"]["seed"] != metrics["evaluation"]["seed"]
    assert metrics["evaluation"]["n"] >= 300
    assert metrics["evaluation"]["rendered"]["accuracy"] > 0.9


def test_stored_metrics_beat_chance_where_they_should():
    found = read_json(FOLDER / "metrics.json")["evaluation"]
    standard_error = np.sqrt(found["chance"] * (1 - found["chance"]) / found["n"])
    for name in ("from_image_tokens", "from_text_tokens", "from_both"):
        assert found[name]["accuracy"] > found["chance"] + 5 * standard_error
        assert np.trace(found[name]["confusion"]) / found["n"] == pytest.approx(found[name]["accuracy"], abs=1e-4)


def test_plain_diffusers_reads_the_folder_and_draws_the_same(pipeline, tokens):
    absent = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor", "image_encoder"))
    theirs = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(FOLDER, local_files_only=True, **absent)
    theirs.set_progress_bar_config(disable=True)
    for ours, other in ((pipeline.unet, theirs.unet), (pipeline.vae, theirs.vae)):
        for a, b in zip(ours.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b.float())
    states = pipeline.conditioning.assemble({k: v[:1] for k, v in tokens.items()})
    x = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(pipeline.unet(x, 500, states).sample, theirs.unet.float()(x, 500, states).sample)


def test_latents_have_unit_variance_and_are_linear_in_the_picture(pipeline, scenes):
    pictures = torch.from_numpy(scenes[0])
    latents = encode_images(pipeline.vae, pictures)
    assert latents.shape == (12, 8, 16, 16)
    assert latents.std().item() == pytest.approx(1, abs=0.15)
    mixed = encode_images(pipeline.vae, 0.3 * pictures[:6] + 0.7 * pictures[6:])
    torch.testing.assert_close(mixed, 0.3 * latents[:6] + 0.7 * latents[6:], atol=0.02, rtol=0)


def test_round_trip_keeps_the_picture(pipeline, tokens, scenes):
    trip = pipeline.generate(tokens, scenes[0], strength=0)[:, 0]
    psnr = -10 * np.log10(((trip - scenes[0]) ** 2).mean())
    assert psnr > 25


def test_samples_are_nearer_to_their_own_scene_than_to_others(pipeline, tokens, clip, scenes):
    drawn = pipeline.generate({"image_tokens": tokens["image_tokens"]}, steps=12)[:, 0]
    with torch.no_grad():
        a = clip[0].encode_image(pixels(clip, drawn), normalize=True).numpy()
        b = clip[0].encode_image(pixels(clip, scenes[0]), normalize=True).numpy()
    similarity = a @ b.T
    # for every sample, the share of other scenes that are less like it; one half by chance, standard error .09
    assert (similarity < np.diag(similarity)[:, None]).sum(1).mean() / 11 > 0.8


def test_words_alone_steer_the_picture(pipeline, tokens, clip, scenes):
    drawn = pipeline.generate({"text_tokens": tokens["text_tokens"]}, steps=12)[:, 0]
    with torch.no_grad():
        a = clip[0].encode_image(pixels(clip, drawn), normalize=True).numpy()
        b = clip[0].encode_text(clip[2](scenes[1]), normalize=True).numpy()
    similarity = a @ b.T
    assert (similarity < np.diag(similarity)[:, None]).sum(1).mean() / 11 > 0.75


def test_an_embedding_alone_stands_for_all_image_tokens(pipeline, tokens):
    vector = tokens["image_tokens"][:2, 0]
    repeated = {"image_tokens": np.repeat(vector[:, None], 5, axis=1)}
    np.testing.assert_array_equal(
        pipeline.generate({"image_embedding": vector}, steps=2), pipeline.generate(repeated, steps=2)
    )


def test_scale_of_decoded_image_tokens_does_not_matter(pipeline, tokens):
    small = {"image_tokens": 0.01 * tokens["image_tokens"][:2]}
    whole = {"image_tokens": tokens["image_tokens"][:2]}
    np.testing.assert_allclose(pipeline.generate(small, steps=2), pipeline.generate(whole, steps=2), atol=1e-3)


def test_another_networks_tokens_are_refused(pipeline):
    assert isinstance(pipeline, PhantomDiffusion)
    with pytest.raises(ShapeMismatch, match=r"\(n, 5, 128\)"):
        pipeline.generate({"image_tokens": np.ones((2, 257, 768), np.float32)}, steps=1)


def test_bfloat16_loads_and_draws(tokens):
    half = load_phantom_pipeline(dtype=torch.bfloat16)
    out = half.generate({k: v[:1] for k, v in tokens.items()}, steps=2)
    assert half.unet.dtype == torch.bfloat16
    assert np.isfinite(out).all()


def test_it_is_one_of_the_generators_by_name():
    assert isinstance(load_generator("phantom"), PhantomDiffusion)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(MissingWeights, match="train_phantom_diffusion"):
        load_phantom_pipeline(tmp_path)
