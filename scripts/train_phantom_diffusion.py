"""Train the phantom's latent diffusion model from scratch, in stages, and say how well it draws.

    python scripts/train_phantom_diffusion.py encoder --cache CACHE
    OMP_WAIT_POLICY=PASSIVE python scripts/train_phantom_diffusion.py decoder --cache CACHE --minutes 25 --threads 1
    OMP_WAIT_POLICY=PASSIVE python scripts/train_phantom_diffusion.py unet --cache CACHE --minutes 80 --lr 1e-3
    python scripts/train_phantom_diffusion.py evaluate --cache CACHE

``encoder``: an AutoencoderKL whose encoder is given, not trained: principal components of 4 x 4 pixels. So latents are
fixed from the start, and the two further stages may run side by side. ``decoder``: the way back to pixels, trained.
``unet``: a UNet2DConditionModel over the latents, given phantom-clip tokens of the picture, of one of its five
captions, or of both. ``evaluate``: samples for fresh scenes, judged by a classifier that is trained here on rendered
scenes and has nothing to do with phantom-clip.

Scenes are rendered once into --cache. Every stage writes its weights (float16, atomically) into --out after each epoch,
together with a checkpoint in --cache from which the same command goes on after a kill; metrics.json adds up what all
stages took.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from torch import nn
from torch.nn import functional

from neuro._files import atomic_path, read_json, write_json, write_npy
from neuro.datasets.phantom import captions
from neuro.datasets.phantom.scenes import CATEGORIES, render, sample_scene
from neuro.decoders.generators.conditioning import Conditioning, Part
from neuro.features.tokens import image_tokens, text_tokens

SIZE, RENDERED = 64, 96
CELL, LATENTS, CONSTANT = 4, 8, 64.0
VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": LATENTS,
    "block_out_channels": (16, 32, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 1,
    "norm_num_groups": LATENTS,
    "sample_size": SIZE,
    "mid_block_add_attention": False,
}
UNET = {
    "in_channels": LATENTS,
    "out_channels": LATENTS,
    "sample_size": SIZE // CELL,
    "block_out_channels": (32, 64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 16,
    "attention_head_dim": 4,  # in diffusers' UNets of this kind: the number of heads
    "cross_attention_dim": 128,
    # besides cross-attention the tokens are pooled and scale every block: that is learned much sooner
    "encoder_hid_dim": 128,
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 4,
    "time_embedding_dim": 256,
    "resnet_time_scale_shift": "scale_shift",
}
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "timestep_spacing": "trailing",
    "steps_offset": 1,  # without effect on trailing steps; other values make diffusers warn
}
PARTS = (
    {"name": "image_tokens", "n_tokens": 5, "normalise": "cls_norm", "scale": 12.0},
    {"name": "text_tokens", "n_tokens": 32, "normalise": "none", "scale": 0.7},
)
CONDITIONING = Conditioning(tuple(Part(**part) for part in PARTS), width=UNET["cross_attention_dim"])
SHARES = {"none": 0.1, "image": 0.45, "text": 0.2, "both": 0.25}  # of the training pictures, by what is told of them


def cpu_minutes() -> float:
    """Processor minutes of this process and its children so far."""
    times = os.times()
    return (times.user + times.system + times.children_user + times.children_system) / 60


def log(text: str) -> None:
    """Print with the processor minutes so far."""
    print(f"[{time.strftime('%H:%M:%S')}, {cpu_minutes():6.1f} cpu min] {text}", flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# Scenes
# ---------------------------------------------------------------------------------------------------------------------


def _draw(seed: int, indices: range) -> tuple[np.ndarray, list[list[str]], list[str]]:
    from PIL import Image

    images, texts, categories = [], [], []
    for i in indices:
        scene = sample_scene(seed, i)
        picture = Image.fromarray(render(scene, RENDERED)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        images.append(np.asarray(picture))
        texts.append(captions.describe(scene))
        categories.append(scene.category)
    return np.stack(images), texts, categories


def scenes(seed: int, first: int, n: int, cache: Path, jobs: int = 2) -> tuple[np.ndarray, list[list[str]], np.ndarray]:
    """Return pictures uint8 (n, 64, 64, 3), five captions each, and category numbers (n,); rendered once."""
    stem = cache / f"scenes_{seed}_{first}_{n}"
    if not stem.with_suffix(".json").is_file():
        begin = time.time()
        chunks = [range(i, min(i + 500, first + n)) for i in range(first, first + n, 500)]
        parts = list(Parallel(n_jobs=jobs)(delayed(_draw)(seed, chunk) for chunk in chunks))
        write_npy(stem.with_suffix(".npy"), np.concatenate([p[0] for p in parts]))
        texts = [t for p in parts for t in p[1]]
        write_json(stem.with_suffix(".json"), {"captions": texts, "category": [c for p in parts for c in p[2]]})
        log(f"rendered {n:,} scenes of seed {seed} in {time.time() - begin:.0f} s")
    about = json.loads(stem.with_suffix(".json").read_text())
    numbers = np.array([CATEGORIES.index(c) for c in about["category"]])
    return np.load(stem.with_suffix(".npy")), about["captions"], numbers


def to_network(images: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Bytes (n, h, w, 3) -> float (n, 3, h, w) in [-1, 1]."""
    return torch.as_tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1


# ---------------------------------------------------------------------------------------------------------------------
# What all stages share
# ---------------------------------------------------------------------------------------------------------------------


def save_model(model: nn.Module, folder: Path) -> None:
    """Write a diffusers model in float16 in diffusers' own layout, the folder whole or not at all."""
    import copy

    with atomic_path(folder, directory=True) as temporary:
        copy.deepcopy(model).half().save_pretrained(temporary, safe_serialization=True)


def rate(progress: float, peak: float, warm: float = 0.02) -> float:
    """Learning rate: linear warm-up over the first part, then a cosine down to a hundredth."""
    if progress < warm:
        return peak * progress / warm
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm))))


class Average:
    """Exponential moving average of a model's weights, with a short memory at first."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay, self.steps = decay, 0
        self.values = {k: v.detach().clone() for k, v in model.state_dict().items()}

    def update(self, model: nn.Module) -> None:
        """Move towards the model's present weights."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for k, v in model.state_dict().items():
                self.values[k].lerp_(v, 1 - decay)

    def copy_to(self, model: nn.Module) -> None:
        """Give a model the averaged weights."""
        model.load_state_dict(self.values)


class Clock:
    """Wall minutes and processor minutes of a stage over all its runs."""

    def __init__(self, wall: float = 0.0, cpu: float = 0.0):
        self.wall0, self.cpu0, self.begin, self.cpu_begin = wall, cpu, time.time(), cpu_minutes()

    def wall(self) -> float:
        """Minutes so far."""
        return self.wall0 + (time.time() - self.begin) / 60

    def cpu(self) -> float:
        """Processor minutes so far."""
        return self.cpu0 + cpu_minutes() - self.cpu_begin


def write_checkpoint(path: Path, about: dict, **states: dict) -> None:
    """Write tensors of several state dicts and what else is to be kept into one safetensors file."""
    from safetensors.torch import save

    flat = {
        f"{name}/{k}": v.detach().clone(memory_format=torch.contiguous_format)
        for name, state in states.items()
        for k, v in state.items()
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(flat, metadata={"about": json.dumps(about)}))


def read_checkpoint(path: Path) -> tuple[dict, dict[str, dict[str, torch.Tensor]]] | None:
    """Return what :func:`write_checkpoint` wrote, or None where there is no such file."""
    from safetensors import safe_open

    if not path.is_file():
        return None
    states: dict[str, dict[str, torch.Tensor]] = {}
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
        for key in file.keys():  # noqa: SIM118  (not a dict)
            name, _, k = key.partition("/")
            states.setdefault(name, {})[k] = file.get_tensor(key)
    return about, states


def flatten_moments(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return AdamW's moments as a flat dict of tensors."""
    state = optimiser.state_dict()["state"]
    return {f"{i}.{k}": v for i, moments in state.items() for k, v in moments.items()}


def restore_moments(optimiser: torch.optim.Optimizer, flat: dict[str, torch.Tensor]) -> None:
    """Undo :func:`flatten_moments`."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in flat.items():
        i, _, k = key.partition(".")
        state.setdefault(int(i), {})[k] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def note(out: Path, stage: str, entry: dict) -> None:
    """Put what a stage says of itself into metrics.json, and sum up."""
    path = out / "metrics.json"
    metrics = read_json(path) if path.is_file() else {}
    stages = {**metrics.get("stages", {}), stage: entry}
    write_json(
        path,
        {
            **metrics,
            "what": "a small latent diffusion model trained from scratch on rendered scenes; for checking and "
            "learning, not for photos",
            "precision": "float32 on CPU, stored as float16",
            "torch": torch.__version__,
            "cpu_minutes": round(sum(s["cpu_minutes"] for s in stages.values()), 1),
            "stages": stages,
        },
    )


# ---------------------------------------------------------------------------------------------------------------------
# The autoencoder
# ---------------------------------------------------------------------------------------------------------------------


def cells(images: np.ndarray) -> np.ndarray:
    """Pictures (n, 64, 64, 3), bytes -> their 4 x 4 cells (n, 16, 16, 48) in [-1, 1], as (row, column, colour)."""
    side = SIZE // CELL
    x = images.reshape(-1, side, CELL, side, CELL, 3).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(len(images), side, side, -1).astype(np.float32) / 127.5 - 1


def principal_components(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (48,) and projection (48, 8) of cells: principal components, each over the root of its deviation.

    At its own scale, fine detail would be lost in the noise of nearly all diffusion times; at unit variance it would
    count as much as the colour of the sky.
    """
    x = cells(images).reshape(-1, CELL * CELL * 3)
    mean = x.mean(0)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    values, vectors = values[::-1][:LATENTS], vectors[:, ::-1][:, :LATENTS]
    vectors = vectors * np.sign(vectors.sum(0))
    return mean, (vectors / values**0.25).astype(np.float32)


def linear_encoder(vae: nn.Module, mean: np.ndarray, projection: np.ndarray) -> None:
    """Set the encoder's weights so that the latents' mode is ``(cell - mean) @ projection``.

    Residual branches end in zeros, so only the skips act: the first two levels gather the 4 x 4 pixels of a cell into
    channels. The last normalisation divides by the root mean square of a group of channels; each group holds +y, -y and
    constants so much larger that this is a constant too. And silu(y) - silu(-y) = y.
    """
    encoder = vae.encoder
    with torch.no_grad():
        for block in [r for level in encoder.down_blocks for r in level.resnets] + list(encoder.mid_block.resnets):
            block.conv2.weight.zero_()
            block.conv2.bias.zero_()
        gather, project = (level.downsamplers[0].conv for level in encoder.down_blocks[:2])
        widen, double = (level.resnets[0].conv_shortcut for level in encoder.down_blocks[1:])
        for layer in (encoder.conv_in, gather, widen, project, double, encoder.conv_out, vae.quant_conv):
            layer.weight.zero_()
            layer.bias.zero_()
        for colour in range(3):
            encoder.conv_in.weight[colour, colour, 1, 1] = 1
            for row in range(2):
                for column in range(2):
                    gather.weight[(2 * row + column) * 3 + colour, colour, row, column] = 1
        for channel in range(12):
            widen.weight[channel, channel, 0, 0] = 1
        matrix = torch.from_numpy(projection).reshape(2, 2, 2, 2, 3, LATENTS)  # row, in it, column, in it, colour, out
        for row in range(2):
            for column in range(2):
                part = matrix[row, :, column].reshape(12, LATENTS)
                project.weight[:LATENTS, :12, row, column] = part.T
        project.bias[:LATENTS] = -torch.from_numpy(mean @ projection)
        per_group = VAE["block_out_channels"][-1] // LATENTS
        for k in range(LATENTS):
            first = k * per_group
            double.weight[first, k], double.weight[first + 1, k] = 1, -1
            double.bias[first + 2 : first + per_group] = CONSTANT * torch.tensor([1.0, -1.0]).repeat(per_group // 2 - 1)
            encoder.conv_norm_out.weight[first : first + 2] = CONSTANT * math.sqrt(1 - 2 / per_group)
            encoder.conv_out.weight[k, first, 1, 1], encoder.conv_out.weight[k, first + 1, 1, 1] = 1, -1
            vae.quant_conv.weight[k, k] = 1
        encoder.conv_norm_out.bias.zero_()
        vae.quant_conv.bias[LATENTS:] = -12  # log variance: latents are all but certain


def edges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Differences between neighbouring pixels, down and across."""
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def picture_loss(ours: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of pixels and of their differences."""
    steps = sum(functional.l1_loss(a, b) for a, b in zip(edges(ours), edges(true), strict=True))
    return functional.l1_loss(ours, true) + 0.5 * steps


def psnr(model: nn.Module, images: np.ndarray) -> float:
    """Peak signal to noise of the round trip in dB, the mean squared error taken over all pictures (n, 64, 64, 3)."""
    x = to_network(images)
    with torch.no_grad():
        parts = [model.decode(model.encode(b).latent_dist.mode()).sample.clamp(-1, 1) for b in x.split(50)]
    return float(-10 * torch.log10(functional.mse_loss(torch.cat(parts) / 2, x / 2)))


def make_encoder(args: argparse.Namespace) -> None:
    """Write a VAE whose encoder is linear and whose decoder is still random."""
    from diffusers import AutoencoderKL

    images, _, _ = scenes(args.seed, 0, args.scenes, args.cache)
    mean, projection = principal_components(images[:5000])
    torch.manual_seed(args.seed)
    vae = AutoencoderKL(**VAE)
    linear_encoder(vae, mean, projection)
    expected = (cells(images[:500]) - mean) @ projection
    vae.register_to_config(scaling_factor=round(float(1 / expected.std()), 5))
    with torch.no_grad():
        found = vae.encode(to_network(images[:100])).latent_dist.mode().permute(0, 2, 3, 1)
    error = np.abs(found.numpy() - expected[:100]).max()
    log(f"encoder: largest error {error:.5f}, deviations {expected.std((0, 1, 2)).round(2)}")
    save_model(vae, args.out / "vae")


def train_decoder(args: argparse.Namespace) -> None:
    """Train the decoder of the VAE on windows of 8 x 8 cells."""
    from diffusers import AutoencoderKL

    images, _, _ = scenes(args.seed, 0, args.scenes, args.cache)
    fresh, _, _ = scenes(args.test_seed, 0, args.test_scenes, args.cache)
    model = AutoencoderKL.from_pretrained(args.out / "vae").float()
    scale = model.config["scaling_factor"]
    latents = cached(args.cache, f"latents_{args.seed}", lambda: latents_of(model, images))
    chosen = [*model.post_quant_conv.parameters(), *model.decoder.parameters()]
    optimiser = torch.optim.AdamW(chosen, lr=args.lr, weight_decay=1e-4, betas=(0.9, 0.99), fused=True)
    average, rng = Average(model, 0.995), np.random.default_rng([args.seed, 1])
    noises = torch.Generator().manual_seed(args.seed)
    path, step, clock = args.cache / "decoder.safetensors", 0, Clock()
    found = read_checkpoint(path)
    if found:
        about, states = found
        model.load_state_dict(states["model"])
        average.values, average.steps, step = states["average"], about["step"], about["step"]
        restore_moments(optimiser, states["moments"])
        clock, rng = Clock(about["wall"], about["cpu"]), np.random.default_rng([args.seed, 1, step])
        noises.manual_seed(args.seed + step)
    mean_loss, saved, window = 0.0, time.time(), 8
    while True:
        progress = clock.wall() / args.minutes
        if progress >= 1 or time.time() - saved > 150:
            saved = time.time()
            write_checkpoint(
                path,
                {"step": step, "wall": clock.wall(), "cpu": clock.cpu()},
                model=model.state_dict(),
                average=average.values,
                moments=flatten_moments(optimiser),
            )
            best = AutoencoderKL.from_config(model.config)
            average.copy_to(best)
            save_model(best.eval(), args.out / "vae")
            value = round(psnr(best, fresh[:200]), 2)
            entry = {
                "finished": progress >= 1,
                "encoder": "principal components of 4 x 4 cells, each divided by the root of its deviation",
                "seed": args.seed,
                "scenes": args.scenes,
                "steps": step,
                "batch": args.batch,
                "pictures_seen": step * args.batch * (window * CELL / SIZE) ** 2,
                "lr": args.lr,
                "loss": round(mean_loss, 4),
                "parameters": sum(p.numel() for p in model.parameters()),
                "psnr_db": {"seed": args.test_seed, "n": len(fresh[:200]), "value": value},
                "cpu_minutes": round(clock.cpu(), 1),
                "wall_minutes": round(clock.wall(), 1),
                "threads": args.threads,
            }
            note(args.out, "decoder", entry)
            log(f"decoder: step {step}, loss {mean_loss:.4f}, round trip {value} dB on fresh scenes, saved")
            if progress >= 1:
                return
        for group in optimiser.param_groups:
            group["lr"] = rate(progress, args.lr)
        rows = rng.integers(0, len(images), args.batch)
        corners = rng.integers(0, SIZE // CELL - window + 1, (args.batch, 2))
        z = torch.stack(
            [latents[i, :, a : a + window, b : b + window] for i, (a, b) in zip(rows, corners, strict=True)]
        )
        # what the diffusion model hands over is a little off, too
        z = (z.float() + 0.05 * torch.randn(z.shape, generator=noises)) / scale
        span = window * CELL
        x = np.stack([images[i, CELL * a :, CELL * b :][:span, :span] for i, (a, b) in zip(rows, corners, strict=True)])
        loss = picture_loss(model.decode(z).sample, to_network(x))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(chosen, 1.0)
        optimiser.step()
        average.update(model)
        step += 1
        mean_loss = loss.item() if mean_loss == 0 else 0.98 * mean_loss + 0.02 * loss.item()
        if step % 50 == 0:
            log(f"decoder: step {step}, loss {mean_loss:.4f}, lr {optimiser.param_groups[0]['lr']:.1e}, {progress:.0%}")


# ---------------------------------------------------------------------------------------------------------------------
# The diffusion model
# ---------------------------------------------------------------------------------------------------------------------


def clip_pixels(images: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Bytes (n, 64, 64, 3) -> what phantom-clip's preprocessing makes of pictures of that size."""
    from torchvision.transforms.functional import normalize

    from neuro.features.phantom_clip import FOLDER

    about = read_json(FOLDER / "open_clip_config.json")["preprocess_cfg"]
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2).float() / 255
    return normalize(pixels, about["mean"], about["std"])


def latents_of(vae: nn.Module, images: np.ndarray) -> torch.Tensor:
    """Return scaled latents (n, 8, 16, 16) of pictures, float16."""
    scale = vae.config["scaling_factor"]
    with torch.no_grad():
        parts = [vae.encode(to_network(b)).latent_dist.mode() * scale for b in torch.as_tensor(images).split(100)]
    return torch.cat(parts).half()


def tokens_of(clip: nn.Module, images: np.ndarray) -> torch.Tensor:
    """Return phantom-clip's image tokens (n, 5, 128) of pictures, float16."""
    return torch.cat([image_tokens(clip, clip_pixels(b)).half() for b in torch.as_tensor(images).split(100)])


def cached(cache: Path, name: str, make) -> torch.Tensor:
    """Return a tensor that was computed before, or compute and keep it."""
    path = cache / f"{name}.npy"
    if not path.is_file():
        begin = time.time()
        write_npy(path, make().numpy())
        log(f"{name} in {time.time() - begin:.0f} s")
    return torch.from_numpy(np.load(path))


def told(rng: np.random.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw of which items the image and of which the text is told: two masks (n, 1, 1)."""
    which = rng.choice(list(SHARES), n, p=list(SHARES.values()))
    image, text = np.isin(which, ("image", "both")), np.isin(which, ("text", "both"))
    return torch.from_numpy(image)[:, None, None], torch.from_numpy(text)[:, None, None]


def write_index(out: Path) -> None:
    """Write the scheduler, the conditioning and the model_index.json that diffusers' pipelines read."""
    import diffusers

    diffusers.DDIMScheduler(**SCHEDULE).save_pretrained(out / "scheduler")
    CONDITIONING.save(out / "conditioning.json")
    parts = {"vae": "AutoencoderKL", "unet": "UNet2DConditionModel", "scheduler": "DDIMScheduler"}
    absent = ("text_encoder", "tokenizer", "safety_checker", "feature_extractor", "image_encoder")
    index = {
        "_class_name": "StableDiffusionImg2ImgPipeline",
        "_diffusers_version": diffusers.__version__,
        **{name: ["diffusers", kind] for name, kind in parts.items()},
        **{name: [None, None] for name in absent},
        "requires_safety_checker": False,
    }
    write_json(out / "model_index.json", index)


def train_unet(args: argparse.Namespace) -> None:
    """Train the network that removes noise from latents."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    from neuro.features.phantom_clip import load_phantom_clip

    images, texts, _ = scenes(args.seed, 0, args.scenes, args.cache)
    clip, _, tokenizer = load_phantom_clip()
    vae = AutoencoderKL.from_pretrained(args.out / "vae").float().eval()
    latents = cached(args.cache, f"latents_{args.seed}", lambda: latents_of(vae, images))
    tokens = cached(args.cache, f"tokens_{args.seed}", lambda: tokens_of(clip, images))
    ids = tokenizer([text for group in texts for text in group]).view(len(texts), -1, tokenizer.context_length)
    torch.manual_seed(args.seed)
    model = UNet2DConditionModel(**UNET).to(memory_format=torch.channels_last)
    plain = [p for p in model.parameters() if p.ndim < 2]
    weights = [p for p in model.parameters() if p.ndim >= 2]
    groups = [{"params": weights, "weight_decay": 1e-2}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.99), fused=True)
    scheduler = DDIMScheduler(**SCHEDULE)
    signal = scheduler.alphas_cumprod.float()
    average, path, step, clock = Average(model, 0.995), args.cache / "unet.safetensors", 0, Clock()
    found = read_checkpoint(path)
    if found:
        about, states = found
        model.load_state_dict(states["model"])
        average.values, average.steps, step = states["average"], about["step"], about["step"]
        restore_moments(optimiser, states["moments"])
        clock = Clock(about["wall"], about["cpu"])
    rng = np.random.default_rng([args.seed, 7, step])
    noises = torch.Generator().manual_seed(args.seed + step)
    mean_loss, saved, first = 0.0, time.time(), (step, time.time())
    while True:
        progress = clock.wall() / args.minutes
        if progress >= 1 or time.time() - saved > 180:
            saved = time.time()
            write_checkpoint(
                path,
                {"step": step, "wall": clock.wall(), "cpu": clock.cpu()},
                model=model.state_dict(),
                average=average.values,
                moments=flatten_moments(optimiser),
            )
            best = UNet2DConditionModel.from_config(model.config)
            average.copy_to(best)
            save_model(best, args.out / "unet")
            write_index(args.out)
            entry = {
                "finished": progress >= 1,
                "seed": args.seed,
                "scenes": args.scenes,
                "steps": step,
                "batch": args.batch,
                "pictures_seen": step * args.batch,
                "epochs": round(step * args.batch / args.scenes, 2),
                "lr": args.lr,
                "loss": round(mean_loss, 4),
                "parameters": sum(p.numel() for p in model.parameters()),
                "told": SHARES,
                "cpu_minutes": round(clock.cpu(), 1),
                "wall_minutes": round(clock.wall(), 1),
                "threads": args.threads,
            }
            note(args.out, "unet", entry)
            log(f"unet: step {step}, loss {mean_loss:.4f}, saved")
            if progress >= 1:
                return
        for group in optimiser.param_groups:
            group["lr"] = rate(progress, args.lr)
        rows = torch.from_numpy(rng.integers(0, len(latents), args.batch))
        which = torch.from_numpy(rng.integers(0, ids.shape[1], args.batch))
        image, text = told(rng, args.batch)
        words = torch.zeros(args.batch, ids.shape[2], clip.text_projection.shape[1])
        words[text[:, 0, 0]] = text_tokens(clip, ids[rows, which][text[:, 0, 0]], padding="zero")
        states = CONDITIONING.assemble({"image_tokens": tokens[rows].float() * image, "text_tokens": words})
        z = latents[rows].float()
        noise = torch.randn(z.shape, generator=noises)
        # evenly spread over the batch, so that the loss varies less from step to step
        u = (torch.rand(1, generator=noises) + torch.arange(args.batch) / args.batch) % 1
        t = (u * len(signal)).long()
        a = signal[t].view(-1, 1, 1, 1)
        noisy = (a.sqrt() * z + (1 - a).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        target = a.sqrt() * noise - (1 - a).sqrt() * z
        # all times count alike: what a picture shows is settled where there is much noise
        loss = functional.mse_loss(model(noisy, t, states).sample, target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.update(model)
        step += 1
        mean_loss = loss.item() if mean_loss == 0 else 0.99 * mean_loss + 0.01 * loss.item()
        if step % 50 == 0:
            speed = (step - first[0]) * args.batch / (time.time() - first[1])
            log(f"unet: step {step}, loss {mean_loss:.4f}, {speed:.0f} pictures/s, {progress:.0%}")


# ---------------------------------------------------------------------------------------------------------------------
# What it draws
# ---------------------------------------------------------------------------------------------------------------------


def classifier() -> nn.Module:
    """Return a small network from pictures (n, 3, 64, 64) in [-1, 1] to categories."""
    layers, width = [], 3
    for channels in (16, 32, 64, 128):
        layers += [nn.Conv2d(width, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        layers += [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        width = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, len(CATEGORIES)))


def train_classifier(images: np.ndarray, labels: np.ndarray, seed: int, epochs: int, batch: int = 64) -> nn.Module:
    """Train the judge on rendered scenes, some of them shifted and blurred."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 9])
    model = classifier().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    per_epoch = len(images) // batch
    total, step = epochs * per_epoch, 0
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(images)), per_epoch):
            x = to_network(images[rows])
            x = functional.pad(x, (4, 4, 4, 4), mode="replicate")
            a, b = rng.integers(0, 9, 2)
            x = x[:, :, a : a + SIZE, b : b + SIZE]
            if rng.random() < 0.5:
                soft = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
                x = torch.lerp(x, soft, float(rng.random()))
            loss = functional.cross_entropy(model(x), torch.from_numpy(labels[rows]), label_smoothing=0.05)
            for group in optimiser.param_groups:
                group["lr"] = rate(step / total, 2e-3)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            step += 1
    return model.eval()


def accuracy(model: nn.Module, pictures: np.ndarray, labels: np.ndarray) -> dict:
    """Share of pictures (n, 3, 64, 64) in [0, 1] that the judge puts into the scene's category, and the confusion."""
    with torch.no_grad():
        guess = torch.cat([model(2 * b - 1).argmax(1) for b in torch.from_numpy(pictures).split(100)]).numpy()
    confusion = np.zeros((len(CATEGORIES), len(CATEGORIES)), int)
    np.add.at(confusion, (labels, guess), 1)
    return {"accuracy": round(float((guess == labels).mean()), 4), "confusion": confusion.tolist()}


def correlation(ours: np.ndarray, true: np.ndarray) -> float:
    """Mean over pictures of the correlation of their pixels."""
    a, b = (x.reshape(len(x), -1) - x.reshape(len(x), -1).mean(1, keepdims=True) for x in (ours, true))
    return round(float(((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))).mean()), 4)


def evaluate(args: argparse.Namespace) -> None:
    """Draw fresh scenes from their tokens, have the judge name them, and write a contact sheet."""
    from neuro.decoders.generators.phantom import load_phantom_pipeline
    from neuro.features.phantom_clip import load_phantom_clip

    images, _, labels = scenes(args.seed, 0, args.scenes, args.cache)
    fresh, texts, truth = scenes(args.test_seed, 0, args.test_scenes, args.cache)
    clip, _, tokenizer = load_phantom_clip()
    pipeline = load_phantom_pipeline(args.out)
    path = args.cache / "judge.safetensors"
    found = read_checkpoint(path)
    if found:
        judge = classifier().eval()
        judge.load_state_dict(found[1]["judge"])
    else:
        begin = cpu_minutes()
        judge = train_classifier(images, labels, args.seed, epochs=3)
        write_checkpoint(path, {}, judge=judge.state_dict())
        log(f"judge trained in {cpu_minutes() - begin:.1f} cpu min")
    true = fresh.transpose(0, 3, 1, 2).astype(np.float32) / 255
    image = {"image_tokens": image_tokens(clip, clip_pixels(fresh)).numpy()}
    text = {"text_tokens": text_tokens(clip, tokenizer([t[0] for t in texts]), padding="zero").numpy()}
    shared = {"steps": args.steps, "guidance": args.guidance, "batch_size": 100, "seed": 0}
    drawn = {
        "rendered": true,
        "round_trip": pipeline.generate(image, true, strength=0.0, batch_size=50)[:, 0],
        "from_image_tokens": pipeline.generate(image, n=1, **shared)[:, 0],
        "from_text_tokens": pipeline.generate(text, n=1, **shared)[:, 0],
        "from_both": pipeline.generate({**image, **text}, n=1, **shared)[:, 0],
        "from_image_tokens_and_latents_0.75": pipeline.generate(image, true, strength=0.75, n=1, **shared)[:, 0],
    }
    report = {
        "seed": args.test_seed,
        "n": len(true),
        "steps": args.steps,
        "guidance": args.guidance,
        "chance": round(1 / len(CATEGORIES), 4),
        "classes": list(CATEGORIES),
        "judge": "a convolutional network of eight layers, trained on rendered scenes only",
        **{name: {**accuracy(judge, x, truth), "pixcorr": correlation(x, true)} for name, x in drawn.items()},
    }
    metrics = {**read_json(args.out / "metrics.json"), "evaluation": report}
    if args.record:
        write_json(args.out / "metrics.json", metrics)
    for name in drawn:
        log(f"{name}: accuracy {report[name]['accuracy']}, pixcorr {report[name]['pixcorr']}")
    sheet = [drawn[name] for name in ("rendered", "from_image_tokens")]
    sheet.append(pipeline.generate({k: v[:24] for k, v in image.items()}, **{**shared, "seed": 1})[:, 0])
    sheet += [drawn[name] for name in ("from_text_tokens", "from_image_tokens_and_latents_0.75", "round_trip")]
    contact_sheet([x[:24] for x in sheet], args.cache / "contact_sheet.png")


def contact_sheet(columns: list[np.ndarray], path: Path, per_row: int = 3, zoom: int = 2) -> None:
    """Write pictures (n, 3, h, w), one column for each kind, several scenes side by side."""
    from PIL import Image

    tiles = [np.concatenate(group, 2) for group in zip(*columns, strict=True)]
    edge = np.ones((3, tiles[0].shape[1], 6), np.float32)
    rows = [
        np.concatenate([part for tile in tiles[i : i + per_row] for part in (tile, edge)], 2)
        for i in range(0, len(tiles), per_row)
    ]
    page = (np.concatenate(rows, 1).transpose(1, 2, 0) * 255).round().astype(np.uint8)
    with atomic_path(path) as temporary:
        Image.fromarray(page).resize((page.shape[1] * zoom, page.shape[0] * zoom), Image.Resampling.NEAREST).save(
            temporary, format="PNG"
        )
    log(f"contact sheet: {path}")


def main(argv: list[str] | None = None) -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("stage", choices=("encoder", "decoder", "unet", "evaluate"))
    parser.add_argument("--cache", type=Path, required=True, help="folder for rendered scenes, latents, checkpoints")
    parser.add_argument("--out", type=Path, default=Path("neuro/decoders/phantom_diffusion"))
    parser.add_argument("--scenes", type=int, default=30000)
    parser.add_argument("--seed", type=int, default=31, help="of the training scenes and of the initial weights")
    parser.add_argument("--test-seed", type=int, default=32, help="of the fresh scenes")
    parser.add_argument("--test-scenes", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=12.0, help="wall-clock minutes of this stage, all runs")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20, help="of sampling, in the evaluation")
    parser.add_argument("--guidance", type=float, default=3.0, help="of sampling, in the evaluation")
    parser.add_argument("--no-record", dest="record", action="store_false", help="do not write to metrics.json")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    args.cache.mkdir(parents=True, exist_ok=True)
    if args.stage == "encoder":
        make_encoder(args)
    elif args.stage == "decoder":
        train_decoder(args)
    elif args.stage == "unet":
        train_unet(args)
    else:
        evaluate(args)


if __name__ == "__main__":
    main()
