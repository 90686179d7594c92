"""Stable Diffusion held to decoded pictures by ControlNets (Brain Captioning: depth, structure, colour)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from neuro.decoders.generators.base import as_float_tensor
from neuro.decoders.generators.diffusion import Told
from neuro.decoders.generators.stable import StableDiffusion
from neuro.errors import EmptySelection, ShapeMismatch


class ControlNetDiffusion(StableDiffusion):
    """Stable Diffusion with one or several ControlNets, from noise or from an initial picture.

    Reads, for every ControlNet, the control pictures of its name, (n, 3, h, w) or (n, h, w) in [0, 1]; and
    ``text_tokens`` or ``prompt``, as :class:`StableDiffusion`.

    Parameters
    ----------
    pipeline : diffusers.StableDiffusionControlNetPipeline or StableDiffusionControlNetImg2ImgPipeline
        Its ControlNets, in order, get the names of ``scales``.
    scales : dict of name -> float
        How strongly each acts.
    negative, size
        See :class:`StableDiffusion`.

    References
    ----------
    Ferrante et al. (2023), Brain Captioning; Zhang et al. (2023), Adding conditional control to text-to-image
    diffusion models, ICCV.
    """

    default_steps = 30
    default_guidance = 9.0

    def __init__(self, pipeline: Any, scales: Mapping[str, float], **more: Any):
        super().__init__(pipeline, **more)
        nets = pipeline.controlnet
        nets = list(getattr(nets, "nets", nets if isinstance(nets, (list, tuple)) else [nets]))
        if len(nets) != len(scales):
            raise ShapeMismatch(f"the pipeline holds {len(nets)} ControlNets, but {len(scales)} are named in scales.")
        self.scales = dict(scales)
        self.controls = dict(zip(self.scales, nets, strict=True))

    def _told(self, condition: Mapping[str, Any], generators: list[torch.Generator]) -> tuple[Told, Told]:
        missing = [name for name in self.controls if name not in condition]
        if missing:
            raise EmptySelection(f"no control pictures for {', '.join(missing)} among {', '.join(condition)}.")
        given, null = super()._told(condition, generators)
        pictures = {f"control:{name}": self._pictures(name, condition[name]) for name in self.controls}
        return {**given, **pictures}, {**null, **pictures}

    def _pictures(self, name: str, value: Any) -> torch.Tensor:
        x = as_float_tensor(value)
        x = x[:, None].expand(-1, 3, -1, -1) if x.ndim == 3 else x
        if x.ndim != 4 or x.shape[1] != 3:
            raise ShapeMismatch(f"{name} must be pictures (n, 3, h, w) or (n, h, w) in [0, 1], got {tuple(x.shape)}.")
        if tuple(x.shape[-2:]) != self.size:
            x = functional.interpolate(x, self.size, mode="bilinear", antialias=True)
        return x.to(self.device, self.dtype)

    def _predict(self, x: torch.Tensor, t: torch.Tensor, told: Told) -> torch.Tensor:
        down, middle = None, None
        for name, net in self.controls.items():
            more, last = net(
                x,
                t,
                encoder_hidden_states=told["states"],
                controlnet_cond=told[f"control:{name}"],
                conditioning_scale=self.scales[name],
                return_dict=False,
            )
            down = more if down is None else [a + b for a, b in zip(down, more, strict=True)]
            middle = last if middle is None else middle + last
        return self.unet(
            x,
            t,
            encoder_hidden_states=told["states"],
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]
