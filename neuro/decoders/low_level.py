"""Blurry pictures from brains: latents of an image autoencoder, predicted by a small autoencoder decoder.

A vector becomes a coarse map, and the decoder half of diffusers' VAE upsamples it to the latents of a diffusion model.
Optional auxiliary maps are trained towards the feature maps of an image network (SoftCont) and dropped afterwards.

Letters: B trials, C width, c channels, s height and width of the coarse map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neuro._check import require
from neuro.decoders._blocks import Residual
from neuro.errors import ShapeMismatch

__all__ = ["LatentHead", "SemanticMerge", "vae_decoder"]


def vae_decoder(
    in_channels: int, out_channels: int = 4, block_channels: Sequence[int] = (64, 128, 256), layers: int = 1
) -> nn.Module:
    """Return an untrained VAE decoder of diffusers: (B, in_channels, s, s) -> (B, out_channels, f s, f s).

    ``f = 2 ** (len(block_channels) - 1)``. Channels of the blocks must be multiples of 32 (GroupNorm).
    """
    if any(c % 32 for c in block_channels):
        raise ShapeMismatch(f"block_channels must be multiples of 32, got {tuple(block_channels)}.")
    vae = require("diffusers.models.autoencoders.vae", "the low-level head", "decode")
    return vae.Decoder(
        in_channels=in_channels,
        out_channels=out_channels,
        up_block_types=["UpDecoderBlock2D"] * len(block_channels),
        block_out_channels=tuple(block_channels),
        layers_per_block=layers,
    )


class LatentHead(nn.Module):
    """(B, C) -> latents (B, c, h, w), and auxiliary maps where asked for.

    ``m = GroupNorm(Drop(W e))`` as a coarse map, ``latents = VAEDecoder(m)``, ``maps = three 1 x 1 convolutions of m``.

    Parameters
    ----------
    width : int
    latent_shape : (int, int, int)
        (4, 64, 64) in MindEye, (4, 28, 28) in MindEye2.
    channels : int
        Of the coarse map, which is ``latent size / 2 ** (len(block_channels) - 1)`` on a side.
    block_channels : sequence of int
        (64, 128, 256) in MindEye, (32, 64, 128) in MindEye2.
    dropout : float
    bias : bool
        Of the linear map.
    map_channels : int, optional
        Channels of the auxiliary maps, 512 in both; None leaves them out.
    """

    def __init__(
        self,
        width: int,
        latent_shape: tuple[int, int, int] = (4, 64, 64),
        channels: int = 64,
        block_channels: Sequence[int] = (64, 128, 256),
        dropout: float = 0.0,
        bias: bool = True,
        map_channels: int | None = None,
    ):
        super().__init__()
        c, height, side = latent_shape
        factor = 2 ** (len(block_channels) - 1)
        if height != side or side % factor:
            raise ShapeMismatch(
                f"latents must be square and a multiple of {factor} on a side (for {len(block_channels)} blocks), "
                f"got {latent_shape}."
            )
        self.shape = (channels, side // factor, side // factor)
        self.expand = nn.Sequential(nn.Linear(width, channels * (side // factor) ** 2, bias=bias), nn.Dropout(dropout))
        self.norm = nn.GroupNorm(1, channels)
        self.upsample = vae_decoder(channels, c, block_channels)
        self.maps = None if map_channels is None else _feature_maps(channels, map_channels)

    def coarse(self, embedding: Tensor) -> Tensor:
        """(B, C) -> (B, channels, s, s)."""
        return self.norm(self.expand(embedding).unflatten(1, self.shape))

    def forward(self, embedding: Tensor) -> dict[str, Tensor]:
        """Return ``low_level`` (B, c, h, w) and, where built, ``low_level_maps`` (B, s * s, map_channels)."""
        m = self.coarse(embedding)
        out = {"low_level": self.upsample(m)}
        if self.maps is not None:
            out["low_level_maps"] = self.maps(m).flatten(2).mT
        return out


def _feature_maps(channels: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 1, bias=False),
        nn.GroupNorm(1, hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 1, bias=False),
        nn.GroupNorm(1, hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 1),
    )


class SemanticMerge(nn.Module):
    """Add the semantic embedding to the low-level one, and one residual block (See Through Their Minds).

    In training the low-level embedding of a whole batch gives way, with probability ``drop``, to a learned vector, so
    that a picture can also be had from meaning alone. The coin is torch's, as that of dropout.

    Parameters
    ----------
    width : int
    drop : float
    dropout : float
    """

    def __init__(self, width: int, drop: float = 0.4, dropout: float = 0.15):
        super().__init__()
        self.drop = drop
        self.null = nn.Parameter(torch.empty(width))
        self.block = Residual(
            nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout))
        )
        self.start(torch.Generator().manual_seed(0))

    def start(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.null, std=0.02, generator=generator)

    def forward(self, low_level: Tensor | None, semantic: Tensor) -> Tensor:
        """Both (B, C); ``low_level=None`` reads the learned vector instead."""
        if low_level is None or (self.training and bool(torch.rand((), device="cpu") < self.drop)):
            low_level = self.null.expand_as(semantic)
        return self.block(low_level + semantic)
