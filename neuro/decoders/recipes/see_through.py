"""See Through Their Minds: subjects' own residual adapters, tokens that look at one another, meaning behind the blur.

``e = ResMLP(Adapter_s(x))``; tokens of ``e`` attend to one another before they are projected; the low-level branch adds
``e`` to its own embedding, which in two of five training steps is replaced by a learned vector.

Liu et al. (2024), See through their minds: learning transferable neural representation from cross-subject fMRI,
arXiv:2403.06361.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neuro.decoders._blocks import built
from neuro.decoders.adapters import LinearNorm, LinearResidual, SubjectAdapters
from neuro.decoders.heads import TokenProjector
from neuro.decoders.low_level import LatentHead, SemanticMerge
from neuro.decoders.recipes._subject_network import SubjectNetwork, check_subjects, preset_sizes
from neuro.decoders.recipes.mindeye import SMALL_TEMPERATURES, VAE_SCALE, low_level_losses, prior_sizes
from neuro.decoders.recipes.settings import DecoderRecipe, LossTerm
from neuro.decoders.trunks import ResMLP, TokenSelfAttention

SIZES = {
    "nsd": {
        "width": 4096,
        "n_blocks": 4,
        "n_tokens": 257,
        "dim": 768,
        "channels": 128,
        "n_heads": 8,
        "attention_width": 768,
        "hidden": 1536,
        "projector_width": 2048,
        "low_level": True,
        "latent_shape": (4, 64, 64),
        "latent_channels": 64,
        "block_channels": (64, 128, 256),
        "map_channels": 512,
    },
    "phantom": {
        "width": 256,
        "n_blocks": 2,
        "n_tokens": 5,
        "dim": 128,
        "channels": 64,
        "n_heads": 4,
        "attention_width": 128,
        "hidden": 256,
        "projector_width": 256,
        "low_level": True,
        "latent_shape": (8, 16, 16),
        "latent_channels": 32,
        "block_channels": (32, 32, 64),
        "map_channels": None,
    },
}


class SeeThrough(SubjectNetwork):
    """Voxels to tokens and latents.

    ``network(x, subject)`` returns ``prior_tokens`` and ``contrastive_tokens`` (B, n_tokens, dim), ``contrastive_cls``
    (B, dim; the first contrastive token, which is compared with image and text vectors) and, with ``low_level``,
    ``low_level`` (B, c, h, w) and ``low_level_maps``.
    """

    def __init__(
        self,
        n_voxels: Mapping[Hashable, int],
        width: int,
        n_blocks: int,
        n_tokens: int,
        dim: int,
        channels: int,
        n_heads: int,
        attention_width: int,
        hidden: int,
        projector_width: int,
        low_level: bool,
        latent_shape: tuple[int, int, int],
        latent_channels: int,
        block_channels: Sequence[int],
        map_channels: int | None,
    ):
        super().__init__()
        self.adapters = SubjectAdapters(partial(LinearResidual, width=width), n_voxels)
        self.trunk = ResMLP(width, n_blocks)
        self.tokens = TokenSelfAttention(width, n_tokens, dim, channels, n_heads, attention_width, hidden)
        self.projector = TokenProjector(dim, projector_width)
        self.low_level = None
        if low_level:
            head = LatentHead(
                width, latent_shape, latent_channels, block_channels, bias=False, map_channels=map_channels
            )
            self.low_level = _LowLevelBranch(n_voxels, width, n_blocks, head)

    def forward(self, x: Tensor, subject: Hashable) -> dict[str, Tensor]:
        e = self.trunk(self.embed(x, subject))  # (B, C)
        tokens = self.tokens(e)  # (B, N, D)
        contrastive = self.projector(tokens)
        outputs = {
            "prior_tokens": tokens,
            "contrastive_tokens": contrastive,
            "contrastive_cls": contrastive[:, 0],
        }
        return outputs if self.low_level is None else {**outputs, **self.low_level(x, e, subject)}


class _LowLevelBranch(nn.Module):
    """Latents from the voxels and the semantic embedding."""

    def __init__(self, n_voxels: Mapping[Hashable, int], width: int, n_blocks: int, head: LatentHead):
        super().__init__()
        first = partial(LinearNorm, width=width, bias=False, activation=nn.SiLU)
        self.adapters = SubjectAdapters(first, n_voxels)
        self.trunk = ResMLP(width, n_blocks, dropout=0.25, bias=False, activation=nn.SiLU)
        self.merge = SemanticMerge(width)
        self.head = head

    def forward(self, x: Tensor, semantic: Tensor, subject: Hashable) -> dict[str, Tensor]:
        return self.head(self.merge(self.trunk(self.adapters(x, subject)), semantic))


def see_through_network(
    n_voxels: Mapping[Hashable, int], preset: str = "nsd", generator: torch.Generator | None = None, **sizes: Any
) -> SeeThrough:
    """Build the untrained network.

    Parameters
    ----------
    n_voxels : mapping of subject -> int
    preset : {"nsd", "phantom"}
    generator : torch.Generator, optional
        Draws the weights (seed 0 without one).
    **sizes
        Any of ``SIZES[preset]``, changed.
    """
    chosen, counts = preset_sizes(SIZES, preset, sizes), check_subjects(n_voxels)
    return built(lambda: SeeThrough(counts, **chosen), generator)


def see_through_recipe(preset: str = "nsd", **sizes: Any) -> DecoderRecipe:
    """Return the system: tokens, class token with image and text vectors, and prior, weighted anew in every step.

    In each step two weights, the softmax of two squared normal numbers, multiply the contrastive terms and the prior
    (``options["random_weights"]`` names the groups). Targets ``image_tokens``, ``image_embedding``, ``text_embedding``
    and ``low_level``.
    """
    nsd, chosen = preset == "nsd", preset_sizes(SIZES, preset, sizes)
    options = {"temperature": 0.006, "start": 0.004, "end": 0.006} if nsd else SMALL_TEMPERATURES

    def contrast(name: str, output: str, target: str, weight: float = 1.0, **more: Any) -> LossTerm:
        return LossTerm(name, "bimixco_then_soft_clip", output, target, weight, {**options, **more})

    low_level = (
        low_level_losses(chosen["map_channels"] is not None, l1=1 / VAE_SCALE, soft_cont=0.1, temperature=0.075)
        if chosen["low_level"]
        else ()
    )
    prior = prior_sizes(preset)
    decoded = {"image_tokens": "prior", "retrieval_tokens": "contrastive_tokens"}
    return DecoderRecipe(
        name="see_through",
        preset=preset,
        build=partial(see_through_network, preset=preset, **sizes),
        losses=(
            contrast("tokens", "contrastive_tokens", "image_tokens"),
            contrast("cls_image", "contrastive_cls", "image_embedding", 0.5, weight_after=0.2),
            contrast("cls_text", "contrastive_cls", "text_embedding", 0.5, weight_after=0.2),
            LossTerm("prior", "prior", "prior_tokens", "image_tokens", weight=30.0),
            *low_level,
        ),
        epochs=50 if nsd else 30,
        batch_size=32 if nsd else 128,
        learning_rate=3e-4,
        mix={"kind": "bimixco", "probability": 0.5, "beta": 0.15, "until": 0.35},
        inputs={"repeats": "cycle", "noise": 0.01},
        prior={
            "output": "prior_tokens",
            "target": "image_tokens",
            **prior,
            "scale": chosen["dim"] ** 0.5,
            "memory": True,
            "drop_tokens": (0.60, 0.65),
        },
        decoded={**decoded, "low_level": "low_level"} if chosen["low_level"] else decoded,
        generation={
            "pipeline": "versatile" if nsd else "phantom",
            "scheduler": "unipc",
            "steps": 20,
            "guidance": 3.5,
            "strength": 0.85,
            "n_candidates": 1,
        },
        options={"random_weights": (("tokens", "cls_image", "cls_text"), ("prior",))},
        reference="Liu et al. (2024), arXiv:2403.06361",
    )
