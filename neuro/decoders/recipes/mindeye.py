"""MindEye: retrieval by contrast, reconstruction by a diffusion prior, and a blurry picture from a network of its own.

``e = ResMLP(LinearNorm_s(x))``; ``prior tokens = W e`` go to the diffusion prior; ``contrastive tokens =
projector(prior tokens)`` are for retrieval. The low-level network starts from the voxels again and predicts the latents
of the picture in a diffusion model's autoencoder.

Scotti et al. (2023), Reconstructing the mind's eye, NeurIPS, arXiv:2305.18274. Published for one subject at a time; the
networks here take any number.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neuro.decoders._blocks import built
from neuro.decoders.adapters import LinearNorm, SubjectAdapters
from neuro.decoders.heads import TokenHead, TokenProjector
from neuro.decoders.low_level import LatentHead
from neuro.decoders.recipes._subject_network import SubjectNetwork, check_subjects, preset_sizes
from neuro.decoders.recipes.settings import DecoderRecipe, LossTerm
from neuro.decoders.trunks import ResMLP

REFERENCE = "Scotti et al. (2023), NeurIPS, arXiv:2305.18274"
VAE_SCALE = 0.18215  # of Stable Diffusion's latents, by which the published L1 loss is divided

SEMANTIC_SIZES = {
    "nsd": {"width": 4096, "n_blocks": 4, "n_tokens": 257, "dim": 768, "projector_width": 2048},
    "phantom": {"width": 256, "n_blocks": 2, "n_tokens": 5, "dim": 128, "projector_width": 256},
}
LOW_LEVEL_SIZES = {
    "nsd": {
        "width": 4096,
        "n_blocks": 4,
        "latent_shape": (4, 64, 64),
        "channels": 64,
        "block_channels": (64, 128, 256),
        "map_channels": 512,
    },
    "phantom": {
        "width": 256,
        "n_blocks": 1,
        "latent_shape": (8, 16, 16),
        "channels": 32,
        "block_channels": (32, 32, 64),
        "map_channels": None,
    },
}


class MindEye(SubjectNetwork):
    """Voxels to two grids of tokens.

    ``network(x, subject)`` returns ``prior_tokens`` and ``contrastive_tokens``, both (B, n_tokens, dim).
    """

    def __init__(
        self,
        n_voxels: Mapping[Hashable, int],
        width: int,
        n_blocks: int,
        n_tokens: int,
        dim: int,
        projector_width: int,
    ):
        super().__init__()
        self.adapters = SubjectAdapters(partial(LinearNorm, width=width), n_voxels)
        self.trunk = ResMLP(width, n_blocks)
        self.tokens = TokenHead(width, n_tokens, dim)
        self.projector = TokenProjector(dim, projector_width)

    def forward(self, x: Tensor, subject: Hashable) -> dict[str, Tensor]:
        e = self.trunk(self.embed(x, subject))  # (B, C)
        tokens = self.tokens(e)  # (B, N, D)
        return {"prior_tokens": tokens, "contrastive_tokens": self.projector(tokens)}


class MindEyeLowLevel(SubjectNetwork):
    """Voxels to latents of a picture.

    ``network(x, subject)`` returns ``low_level`` (B, c, h, w) and, if built with maps, ``low_level_maps``.
    """

    def __init__(
        self,
        n_voxels: Mapping[Hashable, int],
        width: int,
        n_blocks: int,
        latent_shape: tuple[int, int, int],
        channels: int,
        block_channels: Sequence[int],
        map_channels: int | None,
    ):
        super().__init__()
        first = partial(LinearNorm, width=width, bias=False, activation=nn.SiLU)
        self.adapters = SubjectAdapters(first, n_voxels)
        self.trunk = ResMLP(width, n_blocks, dropout=0.25, bias=False, activation=nn.SiLU)
        self.head = LatentHead(width, latent_shape, channels, block_channels, bias=False, map_channels=map_channels)

    def forward(self, x: Tensor, subject: Hashable) -> dict[str, Tensor]:
        return self.head(self.trunk(self.embed(x, subject)))


def mindeye_network(
    n_voxels: Mapping[Hashable, int], preset: str = "nsd", generator: torch.Generator | None = None, **sizes: Any
) -> MindEye:
    """Build the untrained semantic network.

    Parameters
    ----------
    n_voxels : mapping of subject -> int
    preset : {"nsd", "phantom"}
        Published sizes, or small ones.
    generator : torch.Generator, optional
        Draws the weights (seed 0 without one).
    **sizes
        Any of ``SEMANTIC_SIZES[preset]``, changed.
    """
    chosen, counts = preset_sizes(SEMANTIC_SIZES, preset, sizes), check_subjects(n_voxels)
    return built(lambda: MindEye(counts, **chosen), generator)


def mindeye_low_level_network(
    n_voxels: Mapping[Hashable, int], preset: str = "nsd", generator: torch.Generator | None = None, **sizes: Any
) -> MindEyeLowLevel:
    """Build the untrained low-level network; arguments as in :func:`mindeye_network`, of ``LOW_LEVEL_SIZES``."""
    chosen, counts = preset_sizes(LOW_LEVEL_SIZES, preset, sizes), check_subjects(n_voxels)
    return built(lambda: MindEyeLowLevel(counts, **chosen), generator)


def mindeye_recipe(preset: str = "nsd", **sizes: Any) -> DecoderRecipe:
    """Return the semantic half of MindEye: 30 x prior + BiMixCo, then SoftCLIP.

    Targets ``image_tokens``: all tokens of CLIP ViT-L/14 after its last norm and projection, divided by the length of
    the class token.
    """
    nsd = preset == "nsd"
    contrastive = LossTerm(
        "contrastive",
        "bimixco_then_soft_clip",
        "contrastive_tokens",
        "image_tokens",
        options={"temperature": 0.006, "start": 0.004, "end": 0.0075} if nsd else SMALL_TEMPERATURES,
    )
    dim = preset_sizes(SEMANTIC_SIZES, preset, sizes)["dim"]
    return DecoderRecipe(
        name="mindeye",
        preset=preset,
        build=partial(mindeye_network, preset=preset, **sizes),
        losses=(contrastive, LossTerm("prior", "prior", "prior_tokens", "image_tokens", weight=30.0)),
        epochs=240 if nsd else 30,
        batch_size=32 if nsd else 128,
        learning_rate=3e-4,
        mix={"kind": "bimixco", "probability": 0.5, "beta": 0.15, "until": 1 / 3},
        inputs={"repeats": "cycle"},
        prior={"output": "prior_tokens", "target": "image_tokens", **prior_sizes(preset), "scale": dim**0.5},
        decoded={"image_tokens": "prior", "retrieval_tokens": "contrastive_tokens"},
        augment={"crop": 0.6, "flip": True, "jitter": True, "gray": True} if nsd else {},
        generation={
            "pipeline": "versatile" if nsd else "phantom",
            "scheduler": "unipc",
            "steps": 20,
            "guidance": 3.5,
            "strength": 0.85,
            "n_candidates": 16,
            "scorer": "own_embedding",
        },
        reference=REFERENCE,
    )


def mindeye_low_level_recipe(preset: str = "nsd", **sizes: Any) -> DecoderRecipe:
    """Return the low-level half: L1 / .18215 to the latents, + .1 SoftCont to feature maps where maps are built.

    Targets ``low_level`` (latents times the autoencoder's scaling factor) and, at ``nsd`` size, ``teacher_maps`` and
    ``teacher_maps_augmented``: VICRegL ConvNeXt-XL maps of the picture and of its augmentation, (B, 256, 512).
    """
    nsd = preset == "nsd"
    maps = preset_sizes(LOW_LEVEL_SIZES, preset, sizes)["map_channels"] is not None
    return DecoderRecipe(
        name="mindeye_low_level",
        preset=preset,
        build=partial(mindeye_low_level_network, preset=preset, **sizes),
        losses=low_level_losses(maps, l1=1 / VAE_SCALE, soft_cont=0.1, temperature=0.075),
        epochs=120 if nsd else 30,
        batch_size=8 if nsd else 64,
        learning_rate=5e-4,
        inputs={"repeats": "cycle"},
        decoded={"low_level": "low_level"},
        reference=REFERENCE,
    )


SMALL_TEMPERATURES = {"temperature": 0.05, "start": 0.05, "end": 0.05}  # for tokens whose cosines spread less


def prior_sizes(preset: str) -> dict[str, Any]:
    """Sizes of MindEye's diffusion prior."""
    small = {"depth": 2, "heads": 4, "dim_head": 32}
    shape = {"depth": 6, "heads": 12, "dim_head": 64} if preset == "nsd" else small
    return {**shape, "timesteps": 100, "sampling_steps": 100, "sampler": "ddpm", "drop_brain": 0.2, "drop_image": 0.2}


def low_level_losses(maps: bool, l1: float, soft_cont: float, temperature: float) -> tuple[LossTerm, ...]:
    """L1 to latents and, with maps, SoftCont to a teacher's maps."""
    latents = LossTerm("low_level", "l1", "low_level", "low_level", weight=l1)
    if not maps:
        return (latents,)
    options = {"temperature": temperature, "augmented": "teacher_maps_augmented"}
    return latents, LossTerm("maps", "soft_cont", "low_level_maps", "teacher_maps", soft_cont, options)
