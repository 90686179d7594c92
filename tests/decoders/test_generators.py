"""What every generator promises, on a tiny random instance of the real networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro.decoders.decoded import Decoded
from neuro.decoders.generators.base import item_generators, steps_run
from neuro.decoders.generators.conditioning import Conditioning, Part
from neuro.decoders.generators.diffusion import TokenDiffusion, decode_latents, denoise, encode_images
from neuro.decoders.generators.low_level_init import blend, low_level_pictures
from neuro.decoders.generators.vae import VAEDecoder
from neuro.errors import CorruptFile, DuplicateIds, EmptySelection, ShapeMismatch

diffusers = pytest.importorskip("diffusers", reason="diffusers is an extra")

CONDITIONING = Conditioning((Part("image_tokens", 3, "cls_norm", 2.0), Part("text_tokens", 4)), width=8)


@pytest.fixture(scope="module")
def vae():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return diffusers.AutoencoderKL(
            block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, latent_channels=4, norm_num_groups=4,
            sample_size=16,
        ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def unet():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return diffusers.UNet2DConditionModel(
            sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=8,
            attention_head_dim=2, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def generator(vae, unet):
    return TokenDiffusion(vae, unet, diffusers.DDIMScheduler(clip_sample=False), CONDITIONING)


@pytest.fixture(scope="module")
def tokens():
    return {"image_tokens": np.random.default_rng(0).standard_normal((3, 3, 8)).astype(np.float32)}


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(1).uniform(size=(3, 3, 16, 16)).astype(np.float32)


class Counting(torch.nn.Module):
    """A UNet that keeps the batch sizes it was called with."""

    def __init__(self, unet):
        super().__init__()
        self.unet, self.config, self.calls = unet, unet.config, []
        self.device, self.dtype = unet.device, unet.dtype

    def forward(self, x, t, **more):
        self.calls.append(len(x))
        return self.unet(x, t, **more)


@pytest.mark.parametrize(
    ("strength", "steps", "expected"),
    [(0.75, 50, 37), (0.85, 20, 17), (0.8, 50, 40), (0.29, 100, 29), (0.52, 25, 13), (0, 50, 0), (1, 7, 7)],
)
def test_strength_says_how_many_steps_are_run(strength, steps, expected):
    assert steps_run(strength, steps) == expected


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "UniPCMultistepScheduler"])
def test_as_many_network_passes_as_steps(vae, unet, tokens, pictures, scheduler):
    counting = Counting(unet)
    generator = TokenDiffusion(vae, counting, getattr(diffusers, scheduler)(), CONDITIONING)
    generator.generate(tokens, pictures, strength=0.85, steps=20, guidance=3.5)
    assert counting.calls == [6] * 17


def test_guidance_of_one_skips_the_unconditional_pass(vae, unet, tokens):
    counting = Counting(unet)
    generator = TokenDiffusion(vae, counting, diffusers.DDIMScheduler(), CONDITIONING)
    generator.generate(tokens, steps=2, guidance=1)
    assert counting.calls == [3, 3]


def test_guidance_of_zero_ignores_the_condition(generator, tokens):
    other = {"image_tokens": -tokens["image_tokens"]}
    kw = {"steps": 2, "guidance": 0.0}
    np.testing.assert_allclose(generator.generate(tokens, **kw), generator.generate(other, **kw), atol=1e-6)
    moved = generator.generate(tokens, steps=2, guidance=3.0) - generator.generate(other, steps=2, guidance=3.0)
    assert np.abs(moved).max() > 1e-5


def test_guidance_is_linear_in_the_two_predictions():
    given, null = torch.full((2, 1, 2, 2), 3.0), torch.full((2, 1, 2, 2), 1.0)
    scheduler = diffusers.DDIMScheduler(prediction_type="sample", clip_sample=False)
    generators = item_generators(0, range(2), 0)
    out = denoise(lambda x, t: torch.cat([null, given]), scheduler, (1, 2, 2), generators, count=1, steps=1, guidance=4)
    torch.testing.assert_close(out, torch.full((2, 1, 2, 2), 9.0))


def test_shapes_range_and_type(generator, tokens):
    out = generator.generate(tokens, steps=2, n=2)
    assert out.shape == (3, 2, 3, 16, 16)
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 1
    assert np.abs(out[:, 0] - out[:, 1]).max() > 1e-3


def test_same_seed_is_same_picture_and_another_seed_is_not(generator, tokens):
    a, b = generator.generate(tokens, steps=2, seed=4), generator.generate(tokens, steps=2, seed=4)
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - generator.generate(tokens, steps=2, seed=5)).max() > 1e-3


def test_an_items_picture_does_not_depend_on_batch_order_or_company(generator, tokens):
    decoded = Decoded(tokens, ids=[30, 10, 20])
    all_at_once = generator.generate(decoded, steps=3, n=2)
    one_by_one = generator.generate(decoded, steps=3, n=2, batch_size=1)
    np.testing.assert_allclose(all_at_once, one_by_one, atol=1e-5)
    turned = generator.generate(decoded.select([20, 30, 10]), steps=3, n=2)
    np.testing.assert_allclose(turned, all_at_once[[2, 0, 1]], atol=1e-5)
    alone = generator.generate(decoded.select([10]), steps=3, n=1)
    np.testing.assert_allclose(alone, all_at_once[[1], :1], atol=1e-5)


def test_items_of_one_condition_differ_by_their_noise(generator, tokens):
    same = {"image_tokens": np.repeat(tokens["image_tokens"][:1], 2, axis=0)}
    out = generator.generate(same, steps=2)
    assert np.abs(out[0] - out[1]).max() > 1e-3


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_stochastic_samplers_draw_from_the_items_generators(vae, unet, tokens):
    generator = TokenDiffusion(vae, unet, diffusers.EulerAncestralDiscreteScheduler(), CONDITIONING)
    together = generator.generate(tokens, steps=3)
    np.testing.assert_allclose(together, generator.generate(tokens, steps=3, batch_size=1), atol=1e-4)


def test_strength_zero_is_the_round_trip_through_the_vae(generator, vae, tokens, pictures):
    out = generator.generate(tokens, pictures, strength=0)
    with torch.no_grad():
        mode = vae.encode(2 * torch.from_numpy(pictures) - 1).latent_dist.mode()
        expected = (vae.decode(mode).sample / 2 + 0.5).clamp(0, 1).numpy()
    np.testing.assert_allclose(out[:, 0], expected, atol=1e-6)


def test_strength_one_ignores_the_initial_picture(generator, tokens, pictures):
    np.testing.assert_array_equal(
        generator.generate(tokens, pictures, steps=2), generator.generate(tokens, 1 - pictures, steps=2)
    )


def test_weak_strength_stays_near_the_initial_picture(generator, tokens, pictures):
    trip = generator.generate(tokens, pictures, strength=0)
    weak, strong = (generator.generate(tokens, pictures, strength=s, steps=20, guidance=1) for s in (0.05, 0.95))
    assert np.abs(weak - trip).mean() < 0.25 * np.abs(strong - trip).mean()


def test_latents_carry_the_scaling_factor(vae, generator, tokens, pictures):
    images = torch.from_numpy(pictures)
    latents = encode_images(vae, images)
    with torch.no_grad():
        mode = vae.encode(2 * images - 1).latent_dist.mode()
    torch.testing.assert_close(latents, mode * vae.config.scaling_factor)
    assert vae.config.scaling_factor == 0.18215
    torch.testing.assert_close(decode_latents(vae, latents), vae.decode(mode).sample.detach() / 2 + 0.5)
    low = {**tokens, "low_level": latents.numpy()}
    kw = {"strength": 0.5, "steps": 4}
    np.testing.assert_allclose(generator.generate(low, **kw), generator.generate(tokens, pictures, **kw), atol=1e-5)


def test_initial_pictures_of_another_size_are_resized(generator, tokens):
    flat = np.full((3, 3, 40, 24), 0.3, np.float32)
    small = np.full((3, 3, 16, 16), 0.3, np.float32)
    np.testing.assert_allclose(
        generator.generate(tokens, flat, strength=0), generator.generate(tokens, small, strength=0), atol=1e-5
    )


def test_inputs_and_global_random_state_are_left_alone(generator, tokens, pictures):
    before = tokens["image_tokens"].copy(), pictures.copy(), torch.get_rng_state(), dict(generator.scheduler.config)
    generator.generate(tokens, pictures, strength=0.5, steps=2)
    np.testing.assert_array_equal(tokens["image_tokens"], before[0])
    np.testing.assert_array_equal(pictures, before[1])
    assert torch.equal(torch.get_rng_state(), before[2])
    assert dict(generator.scheduler.config) == before[3]


def test_bfloat16_is_passed_through(vae, unet, generator, tokens):
    import copy

    half = TokenDiffusion(copy.deepcopy(vae), copy.deepcopy(unet).to(torch.bfloat16), generator.scheduler, CONDITIONING)
    assert half.dtype == torch.bfloat16
    difference = half.generate(tokens, steps=2) - generator.generate(tokens, steps=2)
    assert 0 < np.abs(difference).mean() < 0.05


def test_numbers_that_are_not_finite_are_named(generator, tokens):
    with pytest.raises(FloatingPointError, match="bfloat16"):
        generator.generate({"image_tokens": np.full_like(tokens["image_tokens"], np.inf)}, steps=1)


def test_bad_input_is_refused_before_work(generator, tokens, pictures):
    with pytest.raises(ValueError, match="strength"):
        generator.generate(tokens, pictures, strength=1.5)
    with pytest.raises(EmptySelection, match="low_level"):
        generator.generate(tokens, strength=0.5)
    with pytest.raises(EmptySelection, match="image_tokens or text_tokens"):
        generator.generate({"voxels": np.zeros((2, 3))}, steps=1)
    with pytest.raises(EmptySelection, match="empty"):
        generator.generate({})
    with pytest.raises(ShapeMismatch, match="same items"):
        generator.generate(tokens, pictures[:2])
    with pytest.raises(ShapeMismatch, match=r"\(n, 3, 8\)"):
        generator.generate({"image_tokens": np.ones((2, 3, 9), np.float32)}, steps=1)
    with pytest.raises(ShapeMismatch, match="their own VAE"):
        generator.generate({**tokens, "low_level": np.zeros((3, 4, 4, 4))}, strength=0.5, steps=2)
    with pytest.raises(ShapeMismatch, match="init must be pictures"):
        generator.generate(tokens, pictures[:, :2])
    with pytest.raises(DuplicateIds):
        generator.generate(tokens, ids=[1, 1, 2])
    with pytest.raises(ShapeMismatch, match="ids"):
        generator.generate(tokens, ids=[1, 2])


def test_conditioning_keeps_slots_apart_and_leaves_absent_parts_zero():
    image = np.random.default_rng(2).standard_normal((2, 3, 8))
    text = np.ones((2, 2, 8))
    both = CONDITIONING.assemble({"image_tokens": image, "text_tokens": text})
    assert both.shape == (2, 7, 8)
    assert (both[:, 5:] == 0).all()
    only = CONDITIONING.assemble({"text_tokens": text})
    assert (only[:, :3] == 0).all()
    torch.testing.assert_close(only[:, 3:], both[:, 3:])
    scaled = CONDITIONING.assemble({"image_tokens": 5 * image})
    torch.testing.assert_close(scaled, CONDITIONING.assemble({"image_tokens": image}))
    codes = CONDITIONING._codes()
    gram = codes @ codes.T
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-6)


def test_conditioning_survives_a_file(tmp_path):
    CONDITIONING.save(tmp_path / "conditioning.json")
    assert Conditioning.load(tmp_path / "conditioning.json") == CONDITIONING
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(CorruptFile):
        Conditioning.load(tmp_path / "other.json")


def test_width_of_network_and_conditioning_must_agree(vae, unet):
    with pytest.raises(ShapeMismatch, match="width 8"):
        TokenDiffusion(vae, unet, diffusers.DDIMScheduler(), Conditioning((Part("image_tokens", 3),), width=16))


def test_vae_decoder_decodes_latents_and_round_trips_pictures(vae, pictures):
    decoder = VAEDecoder(vae, (16, 16))
    latents = encode_images(vae, torch.from_numpy(pictures)).numpy()
    from_latents = decoder.generate({"low_level": latents})
    np.testing.assert_allclose(from_latents[:, 0], low_level_pictures(vae, latents), atol=1e-6)
    np.testing.assert_allclose(decoder.generate({}, pictures), from_latents, atol=1e-5)
    with pytest.raises(ShapeMismatch, match="decode to"):
        VAEDecoder(vae, (32, 32)).generate({"low_level": latents})
    with pytest.raises(EmptySelection):
        decoder.generate({"image_tokens": latents})


def test_low_level_pictures_are_resized_for_another_generator(vae, pictures):
    latents = encode_images(vae, torch.from_numpy(pictures))
    assert low_level_pictures(vae, latents, (24, 32)).shape == (3, 3, 24, 32)
    with pytest.raises(ShapeMismatch, match="latents"):
        low_level_pictures(vae, latents[:, :2])


def test_blend_is_a_weighted_mean():
    sharp, blurry = np.full((1, 3, 2, 2), 0.8), np.full((1, 3, 2, 2), 0.4)
    np.testing.assert_allclose(blend(sharp, blurry), 0.7)
    with pytest.raises(ShapeMismatch):
        blend(sharp, blurry[..., :1])
    with pytest.raises(ValueError, match="weight"):
        blend(sharp, blurry, 2)
