"""Stable Diffusion told a decoded image embedding through an IP-Adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from neuro.decoders.generators.base import as_float_tensor
from neuro.decoders.generators.diffusion import Told
from neuro.decoders.generators.stable import StableDiffusion
from neuro.errors import EmptySelection, MissingWeights


class IPAdapterDiffusion(StableDiffusion):
    """Stable Diffusion whose UNet carries an IP-Adapter.

    Reads ``image_embedding`` (n, d), the CLIP image embedding the adapter was trained with; and, where given,
    ``text_tokens`` or ``prompt`` (the empty prompt otherwise).

    Parameters
    ----------
    pipeline : diffusers.StableDiffusionImg2ImgPipeline
        After ``load_ip_adapter``.
    scale : float
        How strongly the picture's embedding acts.
    reads : str
        Name of the array: ``"image_tokens"`` for the "plus" adapters, which read hidden states.
    null : array, optional
        What the adapter is told in the unconditional pass, of one item's shape; zeros by default.
    negative, size
        See :class:`StableDiffusion`.

    References
    ----------
    Ye et al. (2023), IP-Adapter: text compatible image prompt adapter for text-to-image diffusion models.
    """

    def __init__(
        self, pipeline: Any, *, scale: float = 1.0, reads: str = "image_embedding", null: Any = None, **more: Any
    ):
        super().__init__(pipeline, **more)
        if self.unet.config.encoder_hid_dim_type != "ip_image_proj":
            raise MissingWeights(
                "this pipeline's UNet carries no IP-Adapter: load one with pipeline.load_ip_adapter('h94/IP-Adapter', "
                "subfolder='models', weight_name='ip-adapter_sd15.safetensors')."
            )
        pipeline.set_ip_adapter_scale(scale)
        self.reads = reads
        self.null = None if null is None else as_float_tensor(null)

    def _told(self, condition: Mapping[str, Any], generators: list[torch.Generator]) -> tuple[Told, Told]:
        if self.reads not in condition:
            raise EmptySelection(f"IPAdapterDiffusion reads {self.reads}, got {', '.join(condition) or 'nothing'}.")
        if "text_tokens" not in condition and "prompt" not in condition:
            condition = {**condition, "prompt": [""] * len(generators)}
        given, null = super()._told(condition, generators)
        image = as_float_tensor(condition[self.reads])
        without = torch.zeros_like(image) if self.null is None else self.null.expand_as(image)
        # the second axis counts the pictures an item is told of
        return (
            {**given, "image": image[:, None].to(self.device, self.dtype)},
            {**null, "image": without[:, None].to(self.device, self.dtype)},
        )

    def _predict(self, x: torch.Tensor, t: torch.Tensor, told: Told) -> torch.Tensor:
        return self.unet(
            x,
            t,
            encoder_hidden_states=told["states"],
            added_cond_kwargs={"image_embeds": [told["image"]]},
            return_dict=False,
        )[0]
