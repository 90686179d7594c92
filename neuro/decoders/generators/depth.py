"""Stable Diffusion told a decoded depth map (Takagi & Nishimoto's depth variant)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from neuro.decoders.generators.base import as_float_tensor
from neuro.decoders.generators.diffusion import Told
from neuro.decoders.generators.stable import StableDiffusion
from neuro.errors import EmptySelection, ShapeMismatch


class DepthDiffusion(StableDiffusion):
    """Depth-to-image: besides the text, a map of depth enters with the latents.

    Reads ``depth`` (n, height, width), larger = nearer as DPT predicts it, in any unit: each map is brought to
    [-1, 1]. A constant map becomes zeros. And ``text_tokens`` or ``prompt``, as :class:`StableDiffusion`.

    Parameters
    ----------
    pipeline : diffusers.StableDiffusionDepth2ImgPipeline
    negative, size
        See :class:`StableDiffusion`.
    """

    def _told(self, condition: Mapping[str, Any], generators: list[torch.Generator]) -> tuple[Told, Told]:
        if "depth" not in condition:
            raise EmptySelection("DepthDiffusion reads depth (n, height, width) besides the text.")
        given, null = super()._told(condition, generators)
        maps = depth_latents(condition["depth"], self.latent_shape[1:]).to(self.device, self.dtype)
        return {**given, "depth": maps}, {**null, "depth": maps}

    def _predict(self, x: torch.Tensor, t: torch.Tensor, told: Told) -> torch.Tensor:
        return super()._predict(torch.cat([x, told["depth"]], 1), t, told)


def depth_latents(depth: Any, size: tuple[int, int]) -> torch.Tensor:
    """Return depth maps (n, height, width) at the latents' size, each in [-1, 1]: (n, 1, *size)."""
    maps = as_float_tensor(depth)
    if maps.ndim != 3:
        raise ShapeMismatch(f"depth must be (n, height, width), got {tuple(maps.shape)}.")
    maps = functional.interpolate(maps[:, None], size, mode="bicubic", align_corners=False)
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    span = torch.where(high > low, high - low, torch.ones_like(high))
    return torch.where(high > low, 2 * (maps - low) / span - 1, torch.zeros_like(maps))
