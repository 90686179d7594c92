"""Pictures from decoded VAE latents alone: the blurry reconstruction of a low-level decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from neuro.decoders.generators.base import Generator, as_float_tensor
from neuro.decoders.generators.diffusion import decode_latents, encode_images
from neuro.errors import EmptySelection, ShapeMismatch


class VAEDecoder(Generator):
    """Decode latents; no noise, no steps.

    Reads ``low_level`` (n, c, h, w), already multiplied by the VAE's scaling factor. Initial pictures, where given, go
    through the encoder instead: the best this VAE could do. Strength, steps, guidance and seed change nothing.

    Parameters
    ----------
    vae : diffusers.AutoencoderKL
    size : (int, int)
        Height and width of the pictures in pixels.
    """

    default_steps = 1
    default_guidance = 1.0

    def __init__(self, vae: Any, size: tuple[int, int]):
        self.vae = vae
        self.size = (int(size[0]), int(size[1]))

    def _draw(
        self,
        condition: Mapping[str, Any],
        init: torch.Tensor | None,
        count: int,
        steps: int,
        guidance: float,
        generators: list[torch.Generator],
    ) -> torch.Tensor:
        if init is not None:
            latents = encode_images(self.vae, init, self.size)
        elif "low_level" in condition:
            latents = as_float_tensor(condition["low_level"])
        else:
            raise EmptySelection(f"VAEDecoder reads low_level, got {', '.join(condition) or 'nothing'}.")
        pictures = decode_latents(self.vae, latents)
        if tuple(pictures.shape[-2:]) != self.size:
            raise ShapeMismatch(
                f"latents {tuple(latents.shape)} decode to {tuple(pictures.shape[-2:])} pixels, not to {self.size}."
            )
        return pictures
