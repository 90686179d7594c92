"""MindEye2: one network for all people, one linear map each, so that an hour of a new person's data is enough.

``e = Mixer(W_s x)``; tokens, projector and prior as in MindEye, with the 256 x 1664 patch tokens of OpenCLIP bigG; the
low-level head reads the same ``e``.

Scotti et al. (2024), MindEye2: shared-subject models enable fMRI-to-image with one hour of data, ICML,
arXiv:2403.11207.

One thing about the published trunk deserves to be known. Its channel and sequence steps keep separate residual
streams, and its sequence has length one; then the trunk computes ``x + constant``, and its 134 million weights of
channel mixing get no gradient (:class:`neuro.decoders.trunks.Mixer`). The ``nsd`` preset is as published;
``separate_streams=False`` (the ``phantom`` preset) lets the trunk take part.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from neuro.decoders._blocks import built
from neuro.decoders.adapters import LinearAdapter, SubjectAdapters
from neuro.decoders.heads import TokenHead, TokenProjector
from neuro.decoders.low_level import LatentHead
from neuro.decoders.recipes._subject_network import SubjectNetwork, check_subjects, preset_sizes
from neuro.decoders.recipes.mindeye import SMALL_TEMPERATURES, low_level_losses, prior_sizes
from neuro.decoders.recipes.settings import DecoderRecipe, LossTerm
from neuro.decoders.trunks import Mixer

SIZES = {
    "nsd": {
        "width": 4096,
        "n_blocks": 4,
        "n_tokens": 256,
        "dim": 1664,
        "separate_streams": True,
        "low_level": True,
        "latent_shape": (4, 28, 28),
        "channels": 64,
        "block_channels": (32, 64, 128),
        "map_channels": 512,
    },
    "phantom": {
        "width": 256,
        "n_blocks": 2,
        "n_tokens": 5,
        "dim": 128,
        "separate_streams": False,
        "low_level": True,
        "latent_shape": (8, 16, 16),
        "channels": 32,
        "block_channels": (32, 32, 64),
        "map_channels": None,
    },
}


class MindEye2(SubjectNetwork):
    """Voxels to tokens and latents through one shared trunk.

    ``network(x, subject)`` returns ``prior_tokens`` and ``contrastive_tokens`` (B, n_tokens, dim) and, with
    ``low_level``, ``low_level`` (B, c, h, w) and ``low_level_maps``.
    """

    def __init__(
        self,
        n_voxels: Mapping[Hashable, int],
        width: int,
        n_blocks: int,
        n_tokens: int,
        dim: int,
        separate_streams: bool,
        low_level: bool,
        latent_shape: tuple[int, int, int],
        channels: int,
        block_channels: Sequence[int],
        map_channels: int | None,
    ):
        super().__init__()
        self.adapters = SubjectAdapters(partial(LinearAdapter, width=width), n_voxels)
        self.trunk = Mixer(width, n_blocks=n_blocks, separate_streams=separate_streams)
        self.tokens = TokenHead(width, n_tokens, dim)
        self.projector = TokenProjector(dim)
        self.low_level = (
            LatentHead(width, latent_shape, channels, block_channels, dropout=0.3, map_channels=map_channels)
            if low_level
            else None
        )

    def forward(self, x: Tensor, subject: Hashable) -> dict[str, Tensor]:
        e = self.trunk(self.embed(x, subject))  # (B, C)
        tokens = self.tokens(e)  # (B, N, D)
        outputs = {"prior_tokens": tokens, "contrastive_tokens": self.projector(tokens)}
        return outputs if self.low_level is None else {**outputs, **self.low_level(e)}


def mindeye2_network(
    n_voxels: Mapping[Hashable, int], preset: str = "nsd", generator: torch.Generator | None = None, **sizes: Any
) -> MindEye2:
    """Build the untrained network.

    Parameters
    ----------
    n_voxels : mapping of subject -> int
    preset : {"nsd", "phantom"}
    generator : torch.Generator, optional
        Draws the weights (seed 0 without one).
    **sizes
        Any of ``SIZES[preset]``, changed; ``width=1024`` is the published small variant.
    """
    chosen, counts = preset_sizes(SIZES, preset, sizes), check_subjects(n_voxels)
    return built(lambda: MindEye2(counts, **chosen), generator)


def mindeye2_recipe(preset: str = "nsd", fine_tune: bool = False, **sizes: Any) -> DecoderRecipe:
    """Return MindEye2: 30 x prior + contrastive + .5 x (L1 + .1 SoftCont).

    Latents are compared after division by the autoencoder's scaling factor in MindEye, but as they are here.

    Parameters
    ----------
    preset : {"nsd", "phantom"}
    fine_tune : bool
        Batches of one new person (24) instead of pretraining on seven (42, six of each).
    """
    nsd, chosen = preset == "nsd", preset_sizes(SIZES, preset, sizes)
    contrastive = LossTerm(
        "contrastive",
        "bimixco_then_soft_clip",
        "contrastive_tokens",
        "image_tokens",
        options={"temperature": 0.006, "start": 0.004, "end": 0.0075} if nsd else SMALL_TEMPERATURES,
    )
    low_level = (
        low_level_losses(chosen["map_channels"] is not None, l1=0.5, soft_cont=0.05, temperature=0.2)
        if chosen["low_level"]
        else ()
    )
    sampler = {"sampling_steps": 20, "sampler": "ddim"}
    # The published targets are not scaled; unit-length tokens must be, for the noise of the prior to fit them.
    shape = {"heads": 32, "dim_head": 52} if nsd else {"scale": chosen["dim"] ** 0.5}
    decoded = {"image_tokens": "prior", "retrieval_tokens": "contrastive_tokens"}
    return DecoderRecipe(
        name="mindeye2",
        preset=preset,
        build=partial(mindeye2_network, preset=preset, **sizes),
        losses=(contrastive, LossTerm("prior", "prior", "prior_tokens", "image_tokens", weight=30.0), *low_level),
        epochs=150 if nsd else 30,
        batch_size=(24 if fine_tune else 42) if nsd else 128,
        learning_rate=3e-4,
        mix={"kind": "bimixco", "probability": 0.5, "beta": 0.15, "until": 1 / 3},
        inputs={"repeats": "single"},
        prior={"output": "prior_tokens", "target": "image_tokens", **prior_sizes(preset), **shape, **sampler},
        decoded={**decoded, "low_level": "low_level"} if chosen["low_level"] else decoded,
        generation={
            "pipeline": "sdxl_unclip" if nsd else "phantom",
            "scheduler": "euler",
            "steps": 38 if nsd else 20,
            "guidance": 5.0 if nsd else 3.5,
            "strength": 1.0,
            "n_candidates": 1,
            "refiner": {"pipeline": "sdxl_img2img", "steps": 25, "first_step": 12, "guidance": 5.0} if nsd else None,
            "blend": {"generated": 0.75, "low_level": 0.25},
        },
        options={"average": "outputs of trials", "fine_tune": fine_tune},
        reference="Scotti et al. (2024), ICML, arXiv:2403.11207",
    )
