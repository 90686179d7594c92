"""A trainable copy of a UNet's encoder beside the frozen UNet, silent until trained (ControlNet).

The copy reads the same noisy latents plus a hint; its feature maps pass zero convolutions and are added to the UNet's
skip connections. Zhang et al. (2023), Adding conditional control to text-to-image diffusion models, ICCV.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from neuro._check import require
from neuro.errors import ShapeMismatch


def control_copy(unet: nn.Module) -> nn.Module:
    """Return diffusers' ControlNet with the UNet's own weights, zero convolutions, and a hint that enters as it is.

    Parameters
    ----------
    unet : diffusers.UNet2DConditionModel

    Returns
    -------
    diffusers.ControlNetModel
        Its ``controlnet_cond`` is a map (B, channels of the UNet's first layer, h, w), added to that layer's output.
    """
    controlnets = require("diffusers", "the ControlNet copy", "decode")
    with torch.device("meta"):
        control = controlnets.ControlNetModel.from_unet(unet, load_weights_from_unet=False)
    control.controlnet_cond_embedding = nn.Identity()
    # Whole modules: from_unet forgets settings such as time_embedding_dim, by which shapes differ.
    for name, _ in list(control.named_children()):
        own = getattr(unet, name, None)
        if isinstance(own, nn.Module):
            setattr(control, name, copy.deepcopy(own))
    empty = {k: v for k, v in control.state_dict().items() if v.is_meta}
    zeros = {k: torch.zeros(v.shape, dtype=unet.dtype, device=unet.device) for k, v in empty.items()}
    control.load_state_dict(zeros, strict=False, assign=True)
    return control.requires_grad_(True)


class ControlledUNet(nn.Module):
    """A UNet and its control copy, called like the UNet, so that samplers and pipelines need not know.

    Parameters
    ----------
    unet : diffusers.UNet2DConditionModel
    control : diffusers.ControlNetModel
        From :func:`control_copy`.
    hint : tensor (B, channels, h, w)
        Repeated where the batch is a multiple of B (conditional and unconditional halves).
    scale : float
        Of the control; 0 is the bare UNet.
    """

    def __init__(self, unet: nn.Module, control: nn.Module, hint: Tensor, scale: float = 1.0):
        super().__init__()
        self.unet, self.control, self.hint, self.scale = unet, control, hint, scale

    @property
    def config(self) -> Any:
        """The UNet's."""
        return self.unet.config

    @property
    def dtype(self) -> torch.dtype:
        """The UNet's."""
        return next(self.unet.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """The UNet's."""
        return next(self.unet.parameters()).device

    def forward(self, sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, **options: Any) -> Any:
        if len(sample) % len(self.hint):
            raise ShapeMismatch(f"a batch of {len(sample)} is no multiple of the {len(self.hint)} control hints.")
        hint = self.hint.to(sample).repeat(len(sample) // len(self.hint), 1, 1, 1)
        down, middle = self.control(
            sample,
            timestep,
            encoder_hidden_states=encoder_hidden_states,
            controlnet_cond=hint,
            conditioning_scale=self.scale,
            return_dict=False,
        )
        return self.unet(
            sample,
            timestep,
            encoder_hidden_states=encoder_hidden_states,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            **options,
        )
