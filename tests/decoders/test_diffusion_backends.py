"""Every back end on tiny random instances of diffusers' own classes, against diffusers' own pipelines."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro.decoders.generators.base import item_generators
from neuro.decoders.generators.controlnet import ControlNetDiffusion
from neuro.decoders.generators.depth import DepthDiffusion, depth_latents
from neuro.decoders.generators.diffusion import encode_images
from neuro.decoders.generators.ip_adapter import IPAdapterDiffusion
from neuro.decoders.generators.loading import KINDS, load_generator, load_pipeline
from neuro.decoders.generators.sdxl import SDXLRefiner
from neuro.decoders.generators.stable import StableDiffusion
from neuro.decoders.generators.unclip import UnCLIPDiffusion
from neuro.decoders.generators.vae import VAEDecoder
from neuro.decoders.generators.versatile import VersatileDiffusion
from neuro.errors import EmptySelection, MissingWeights, ShapeMismatch

diffusers = pytest.importorskip("diffusers", reason="diffusers is an extra")
transformers = pytest.importorskip("transformers", reason="transformers is an extra")

WIDTH, LENGTH, N = 8, 5, 2

VISION = transformers.CLIPVisionConfig(
    hidden_size=8, intermediate_size=8, projection_dim=6, num_hidden_layers=1, num_attention_heads=2, image_size=8,
    patch_size=4,
)  # fmt: skip


def seeded(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().eval()


def tiny_unet(seed=0, **more):
    return seeded(
        lambda: diffusers.UNet2DConditionModel(
            sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=2,
            cross_attention_dim=WIDTH, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), **more,
        ),
        seed,
    )  # fmt: skip


def tiny_vae():
    return seeded(
        lambda: diffusers.AutoencoderKL(
            block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, latent_channels=4, norm_num_groups=4,
            sample_size=16,
        )
    )  # fmt: skip


def ddim():
    return diffusers.DDIMScheduler(clip_sample=False, steps_offset=1)


def stable(unet=None, **more):
    parts = {"text_encoder": None, "tokenizer": None, "safety_checker": None, "feature_extractor": None, **more}
    pipeline = diffusers.StableDiffusionImg2ImgPipeline(
        vae=tiny_vae(), unet=tiny_unet() if unet is None else unet, scheduler=ddim(), requires_safety_checker=False,
        **parts,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draws(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def text():
    return {"text_tokens": draws(N, LENGTH, WIDTH)}


@pytest.fixture
def pictures():
    return np.random.default_rng(1).uniform(size=(N, 3, 16, 16)).astype(np.float32)


def theirs(pipeline, condition, pictures, ids=range(N), **more):
    """What diffusers' own pipeline makes of the same latents, states and noise."""
    states = torch.from_numpy(condition["text_tokens"])
    with torch.no_grad():
        out = pipeline(
            prompt_embeds=states, negative_prompt_embeds=torch.zeros_like(states),
            image=encode_images(pipeline.vae, torch.from_numpy(pictures)), strength=0.75, num_inference_steps=8,
            guidance_scale=3.0, generator=item_generators(7, ids, 0), output_type="pt", **more,
        )  # fmt: skip
    return out.images.numpy()


OURS = {"strength": 0.75, "steps": 8, "guidance": 3.0, "seed": 7}


def test_stable_diffusion_equals_diffusers_pipeline(text, pictures):
    pipeline = stable()
    ours = StableDiffusion(pipeline).generate(text, pictures, **OURS)
    assert ours.shape == (N, 1, 3, 16, 16)
    np.testing.assert_allclose(ours[:, 0], theirs(pipeline, text, pictures), atol=1e-5)


@pytest.fixture(scope="module")
def text_parts(tmp_path_factory):
    """A tiny CLIP text encoder and a tokenizer of a few letters."""
    words = ["a", "d", "o", "g", "a</w>", "d</w>", "o</w>", "g</w>", "<|startoftext|>", "<|endoftext|>"]
    folder = tmp_path_factory.mktemp("tokenizer")
    import json

    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=LENGTH)
    config = transformers.CLIPTextConfig(
        vocab_size=len(words), hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=LENGTH, projection_dim=WIDTH, bos_token_id=8, eos_token_id=9, pad_token_id=9,
    )  # fmt: skip
    return {"text_encoder": seeded(lambda: transformers.CLIPTextModel(config)), "tokenizer": tokenizer}


def test_sentences_are_read_where_there_is_a_text_encoder(text_parts, pictures):
    pipeline = stable(**text_parts)
    generator = StableDiffusion(pipeline)
    ours = generator.generate({"prompt": ["a dog", "good"]}, pictures, **OURS)
    expected = pipeline(
        ["a dog", "good"], image=encode_images(pipeline.vae, torch.from_numpy(pictures)), strength=0.75,
        num_inference_steps=8, guidance_scale=3.0, generator=item_generators(7, range(N), 0), output_type="pt",
    ).images.numpy()  # fmt: skip
    np.testing.assert_allclose(ours[:, 0], expected, atol=1e-5)
    with pytest.raises(MissingWeights, match="text_tokens"):
        StableDiffusion(stable()).generate({"prompt": ["a", "b"]}, steps=1)
    with pytest.raises(ShapeMismatch, match="negative"):
        generator.generate({"text_tokens": draws(N, 3, WIDTH)}, steps=1)


def test_own_negative_states_are_used(text):
    pipeline = stable()
    plain, other = StableDiffusion(pipeline), StableDiffusion(pipeline, negative=draws(LENGTH, WIDTH, seed=5))
    kw = {"steps": 2, "guidance": 3.0}
    assert np.abs(plain.generate(text, **kw) - other.generate(text, **kw)).max() > 1e-5
    kw["guidance"] = 1.0
    np.testing.assert_array_equal(plain.generate(text, **kw), other.generate(text, **kw))


def test_depth_enters_beside_the_latents(text, pictures):
    pipeline = diffusers.StableDiffusionDepth2ImgPipeline(
        vae=tiny_vae(), text_encoder=None, tokenizer=None, unet=tiny_unet(in_channels=5), scheduler=ddim(),
        depth_estimator=None, feature_extractor=None,
    )  # fmt: skip
    generator = DepthDiffusion(pipeline)
    depth = np.random.default_rng(2).uniform(5, 90, (N, 16, 16))
    seen = []
    hook = pipeline.unet.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    out = generator.generate({**text, "depth": depth}, pictures, **OURS)
    hook.remove()
    assert out.shape == (N, 1, 3, 16, 16)
    expected = pipeline.prepare_depth_map(
        torch.zeros(N, 3, 16, 16), torch.from_numpy(depth), N, True, torch.float32, torch.device("cpu")
    )
    assert len(seen) == 6
    for x in seen:
        torch.testing.assert_close(x[:, 4:], expected)
    with pytest.raises(EmptySelection, match="depth"):
        generator.generate(text, steps=1)


def test_a_flat_depth_map_is_zeros_not_nan():
    assert (depth_latents(np.full((1, 4, 4), 3.0), (2, 2)) == 0).all()
    with pytest.raises(ShapeMismatch):
        depth_latents(np.zeros((1, 3, 4, 4)), (2, 2))


def control_pipeline(unet, nets):
    pipeline = diffusers.StableDiffusionControlNetImg2ImgPipeline(
        vae=tiny_vae(), text_encoder=None, tokenizer=None, unet=unet, controlnet=nets, scheduler=ddim(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def controlnet(unet, seed=None):
    net = diffusers.ControlNetModel.from_unet(unet, conditioning_channels=3).eval()
    if seed is not None:
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for part in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
                part.weight.copy_(0.3 * torch.randn(part.weight.shape, generator=rng))
    return net


def test_untrained_controlnets_leave_the_base_network_bit_for_bit(text, pictures):
    unet = tiny_unet()
    pipeline = control_pipeline(unet, [controlnet(unet), controlnet(unet)])
    # the hint network of diffusers shrinks eightfold, as the large VAEs do; ours here shrinks twofold
    generator = ControlNetDiffusion(pipeline, {"depth": 0.7, "colour": 0.5})
    generator._pictures = lambda name, value: torch.zeros(N, 3, 64, 64)
    condition = {**text, "depth": pictures[:, 0], "colour": pictures}
    plain = StableDiffusion(stable(unet)).generate(text, pictures, **OURS)
    np.testing.assert_array_equal(generator.generate(condition, pictures, **OURS), plain)


def test_several_controlnets_equal_diffusers_pipeline(text):
    unet = tiny_unet()
    vae = seeded(
        lambda: diffusers.AutoencoderKL(
            block_out_channels=(8,) * 4, down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, latent_channels=4, norm_num_groups=4,
            sample_size=64,
        )
    )  # fmt: skip
    pipeline = control_pipeline(unet, [controlnet(unet, 1), controlnet(unet, 2)])
    pipeline.vae, pipeline.vae_scale_factor = vae, 8
    pictures = np.random.default_rng(3).uniform(size=(N, 3, 64, 64)).astype(np.float32)
    controls = {"depth": 1 - pictures[:, 0], "colour": pictures}
    generator = ControlNetDiffusion(pipeline, {"depth": 0.7, "colour": 0.2})
    ours = generator.generate({**text, **controls}, pictures, **OURS)
    images = [torch.from_numpy(controls["depth"])[:, None].expand(-1, 3, -1, -1), torch.from_numpy(pictures)]
    states = torch.from_numpy(text["text_tokens"])
    expected = pipeline(
        prompt_embeds=states, negative_prompt_embeds=torch.zeros_like(states), strength=0.75, num_inference_steps=8,
        image=encode_images(vae, torch.from_numpy(pictures)), control_image=images, height=64, width=64,
        guidance_scale=3.0, controlnet_conditioning_scale=[0.7, 0.2], generator=item_generators(7, range(N), 0),
        output_type="pt",
    ).images.numpy()  # fmt: skip
    np.testing.assert_allclose(ours[:, 0], expected, atol=1e-5)
    without = ControlNetDiffusion(pipeline, {"depth": 0.0, "colour": 0.0}).generate(
        {**text, **controls}, pictures, **OURS
    )
    assert np.abs(without - ours).max() > 1e-4


def test_controlnets_and_their_names_must_fit(text):
    unet = tiny_unet()
    pipeline = control_pipeline(unet, controlnet(unet))
    with pytest.raises(ShapeMismatch, match="1 ControlNets"):
        ControlNetDiffusion(pipeline, {"a": 1.0, "b": 1.0})
    generator = ControlNetDiffusion(pipeline, {"depth": 1.0})
    with pytest.raises(EmptySelection, match="depth"):
        generator.generate(text, steps=1)
    with pytest.raises(ShapeMismatch, match="depth must be pictures"):
        generator.generate({**text, "depth": np.zeros((N, 2, 4, 4))}, steps=1)


def with_ip_adapter(pipeline, d):
    unet, key, attention = pipeline.unet, 1, {}
    rng = torch.Generator().manual_seed(3)
    for name, module in unet.attn_processors.items():
        if "attn2" not in name:
            continue
        hidden = dict(unet.named_modules())[name.removesuffix(".processor")].to_q.in_features
        for part in ("to_k_ip", "to_v_ip"):
            attention[f"{key}.{part}.weight"] = torch.randn(hidden, WIDTH, generator=rng)
        key += 2
        del module
    projection = {
        "proj.weight": torch.randn(4 * WIDTH, d, generator=rng), "proj.bias": torch.zeros(4 * WIDTH),
        "norm.weight": torch.ones(WIDTH), "norm.bias": torch.zeros(WIDTH),
    }  # fmt: skip
    pipeline.load_ip_adapter(
        {"image_proj": projection, "ip_adapter": attention}, subfolder="", weight_name="", image_encoder_folder=None
    )
    return pipeline


def test_ip_adapter_equals_diffusers_pipeline(text, pictures):
    pipeline = with_ip_adapter(stable(), 6)
    vectors = draws(N, 6, seed=4)
    generator = IPAdapterDiffusion(pipeline, scale=0.8)
    ours = generator.generate({**text, "image_embedding": vectors}, pictures, **OURS)
    for i in range(N):  # of several prompts at a time, that pipeline repeats every embedding for each
        embeds = torch.from_numpy(vectors)[None, [i]]
        expected = theirs(
            pipeline, {"text_tokens": text["text_tokens"][[i]]}, pictures[[i]], ids=[i],
            ip_adapter_image_embeds=[torch.cat([torch.zeros_like(embeds), embeds])],
        )  # fmt: skip
        np.testing.assert_allclose(ours[i], expected, atol=1e-5)
    other = generator.generate({**text, "image_embedding": -vectors}, pictures, **OURS)
    assert np.abs(other - ours).max() > 1e-4


def test_ip_adapter_must_be_there(text):
    with pytest.raises(MissingWeights, match="load_ip_adapter"):
        IPAdapterDiffusion(stable())
    with pytest.raises(EmptySelection, match="image_embedding"):
        IPAdapterDiffusion(with_ip_adapter(stable(), 6)).generate(text, steps=1)


def test_unclip_equals_diffusers_pipeline(text):
    unet = tiny_unet(class_embed_type="projection", projection_class_embeddings_input_dim=12)
    pipeline = diffusers.StableUnCLIPImg2ImgPipeline(
        feature_extractor=None,
        image_encoder=seeded(lambda: transformers.CLIPVisionModelWithProjection(VISION)),
        image_normalizer=diffusers.pipelines.stable_diffusion.StableUnCLIPImageNormalizer(embedding_dim=6),
        image_noising_scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=None, text_encoder=None, unet=unet, scheduler=ddim(), vae=tiny_vae(),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    vectors = draws(N, 6, seed=4)
    generator = UnCLIPDiffusion(pipeline, noise_level=20)
    ours = generator.generate({**text, "image_embedding": vectors}, steps=4, guidance=3.0, seed=7)
    states = torch.from_numpy(text["text_tokens"])
    expected = pipeline(
        prompt_embeds=states, negative_prompt_embeds=torch.zeros_like(states), noise_level=20, num_inference_steps=4,
        image_embeds=torch.from_numpy(vectors), guidance_scale=3.0, generator=item_generators(7, range(N), 0),
        output_type="pt",
    ).images.numpy()  # fmt: skip
    np.testing.assert_allclose(ours[:, 0], expected, atol=1e-5)
    with pytest.raises(ShapeMismatch, match=r"\(n, 6\)"):
        generator.generate({**text, "image_embedding": draws(N, 5)}, steps=1)
    with pytest.raises(EmptySelection, match="image_embedding"):
        generator.generate(text, steps=1)


@pytest.mark.parametrize("aesthetics", [True, False])
def test_sdxl_refiner_equals_diffusers_pipeline(text, pictures, aesthetics):
    ids = 5 if aesthetics else 6
    unet = tiny_unet(
        addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=4 * ids + 7
    )
    pipeline = diffusers.StableDiffusionXLImg2ImgPipeline(
        vae=tiny_vae(), text_encoder=None, text_encoder_2=None, tokenizer=None, tokenizer_2=None, unet=unet,
        scheduler=ddim(), requires_aesthetics_score=aesthetics, add_watermarker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    pooled = draws(N, 7, seed=6)
    ours = SDXLRefiner(pipeline).generate({**text, "pooled_text": pooled}, pictures, **OURS)
    pooled = torch.from_numpy(pooled)
    expected = theirs(
        pipeline, text, pictures, pooled_prompt_embeds=pooled,
        negative_pooled_prompt_embeds=torch.zeros_like(pooled), original_size=(16, 16), target_size=(16, 16),
    )  # fmt: skip
    np.testing.assert_allclose(ours[:, 0], expected, atol=1e-5)
    with pytest.raises(EmptySelection, match="pooled_text"):
        SDXLRefiner(pipeline).generate(text, steps=1)
    with pytest.raises(MissingWeights, match="pooled_text"):
        SDXLRefiner(pipeline).generate({"prompt": ["a", "b"]}, steps=1)


def versatile(**more):
    pipeline = diffusers.VersatileDiffusionDualGuidedPipeline(
        tokenizer=None, image_feature_extractor=None, text_encoder=None, image_encoder=None, image_unet=tiny_unet(0),
        text_unet=tiny_unet(9), vae=tiny_vae(), scheduler=ddim(),
    )  # fmt: skip
    return VersatileDiffusion(pipeline, n_tokens=(LENGTH, 7), **more)


def test_versatile_with_the_image_alone_is_the_image_network(pictures):
    image, text = draws(N, 7, WIDTH), draws(N, LENGTH, WIDTH, seed=2)
    ours = versatile(text_ratio=0.0).generate({"image_tokens": image, "text_tokens": text}, pictures, **OURS)
    plain = StableDiffusion(stable(tiny_unet(0))).generate({"text_tokens": image}, pictures, **OURS)
    np.testing.assert_allclose(ours, plain, atol=1e-5)


def test_versatile_mixes_text_in(pictures):
    condition = {"image_tokens": draws(N, 7, WIDTH), "text_tokens": draws(N, LENGTH, WIDTH, seed=2)}
    turned = {**condition, "image_tokens": -condition["image_tokens"]}
    text_only = versatile(text_ratio=1.0)
    np.testing.assert_allclose(
        text_only.generate(condition, pictures, **OURS), text_only.generate(turned, pictures, **OURS), atol=1e-6
    )
    mixed = versatile(text_ratio=0.4)
    assert np.abs(mixed.generate(condition, pictures, **OURS) - mixed.generate(turned, pictures, **OURS)).max() > 1e-5
    zeros = {**condition, "text_tokens": np.zeros_like(condition["text_tokens"])}
    left_out = {"image_tokens": condition["image_tokens"]}
    np.testing.assert_array_equal(mixed.generate(zeros, pictures, **OURS), mixed.generate(left_out, pictures, **OURS))


def test_versatile_refuses_another_token_grid(pictures):
    with pytest.raises(ShapeMismatch, match=r"\(2, 7, 8\)"):
        versatile().generate({"image_tokens": draws(N, 6, WIDTH)}, steps=1)
    with pytest.raises(EmptySelection, match="image_tokens"):
        versatile().generate({"text_tokens": draws(N, LENGTH, WIDTH)}, steps=1)
    with pytest.raises(ValueError, match="text_ratio"):
        versatile(text_ratio=2)


def test_pipelines_load_from_folders(tmp_path, text):
    pipeline = stable()
    pipeline.save_pretrained(tmp_path / "sd")
    generator = load_generator("stable-diffusion", tmp_path / "sd", local_files_only=True)
    expected = StableDiffusion(pipeline).generate(text, steps=2)
    np.testing.assert_allclose(generator.generate(text, steps=2), expected, atol=1e-6)
    half = load_pipeline("stable-diffusion", str(tmp_path / "sd"), dtype=torch.float16, attention_slicing=True)
    assert half.unet.dtype == torch.float16
    assert half.vae.dtype == torch.float32
    assert any("Sliced" in type(p).__name__ for p in half.unet.attn_processors.values())


def test_a_vae_alone_loads_from_a_folder(tmp_path, pictures):
    vae = tiny_vae()
    vae.save_pretrained(tmp_path / "vae")
    loaded = load_generator("vae", tmp_path / "vae", local_files_only=True)
    assert loaded.size == (16, 16)
    np.testing.assert_array_equal(loaded.generate({}, pictures), VAEDecoder(vae, (16, 16)).generate({}, pictures))
    with pytest.raises(MissingWeights, match=r"config\.json"):
        load_generator("vae", tmp_path)


def test_offloading_is_passed_through(tmp_path, monkeypatch):
    stable().save_pretrained(tmp_path / "sd")
    asked = []
    for name in ("enable_model_cpu_offload", "enable_sequential_cpu_offload"):
        monkeypatch.setattr(
            diffusers.StableDiffusionImg2ImgPipeline, name, lambda self, device, name=name: asked.append((name, device))
        )
    for way in ("model", "sequential"):
        load_pipeline("stable-diffusion", tmp_path / "sd", cpu_offload=way, device="cuda:1")
    assert asked == [("enable_model_cpu_offload", "cuda:1"), ("enable_sequential_cpu_offload", "cuda:1")]
    with pytest.raises(ValueError, match="cpu_offload"):
        load_pipeline("stable-diffusion", tmp_path / "sd", cpu_offload="yes")


def test_controlnets_load_from_folders(tmp_path):
    unet = tiny_unet()
    stable(unet).save_pretrained(tmp_path / "sd")
    controlnet(unet).save_pretrained(tmp_path / "depth")
    generator = load_generator(
        "controlnet", tmp_path / "sd", controlnets=[tmp_path / "depth"] * 2,
        options={"scales": {"depth": 0.7, "edges": 0.2}},
    )  # fmt: skip
    assert isinstance(generator, ControlNetDiffusion)
    assert list(generator.controls) == ["depth", "edges"]
    with pytest.raises(ValueError, match="at least one ControlNet"):
        load_pipeline("controlnet", tmp_path / "sd")


@pytest.mark.parametrize("kind", KINDS)
def test_missing_weights_say_what_to_get_and_where_to_put_it(tmp_path, kind, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    kw = {"controlnets": ["nobody/no-such-net"]} if kind == "controlnet" else {}
    with pytest.raises(MissingWeights, match=r"hf download nobody/no-such-(net|model) --local-dir"):
        load_pipeline(kind, "nobody/no-such-model", local_files_only=True, **kw)


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(MissingWeights, match=r"model_index\.json"):
        load_pipeline("stable-diffusion", tmp_path)
    stable().save_pretrained(tmp_path / "sd")
    (tmp_path / "sd" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(MissingWeights, match="copy a folder"):
        load_pipeline("stable-diffusion", tmp_path / "sd")
    with pytest.raises(ValueError, match="kind"):
        load_generator("dalle")
