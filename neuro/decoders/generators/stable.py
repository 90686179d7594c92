"""Stable Diffusion from decoded text states (Takagi & Nishimoto: decoded text, from a decoded initial picture)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from neuro.decoders.generators.base import as_float_tensor
from neuro.decoders.generators.diffusion import LatentDiffusion, Told, execution_device
from neuro.errors import EmptySelection, MissingWeights, ShapeMismatch


class StableDiffusion(LatentDiffusion):
    """Stable Diffusion (1.x, 2.x, and what is built alike) as image-to-image.

    Reads ``text_tokens`` (n, length, width), the states that its text encoder would hand to cross-attention, or
    ``prompt``, sentences, where the pipeline holds a text encoder.

    Parameters
    ----------
    pipeline : diffusers.StableDiffusionImg2ImgPipeline, or any with the same parts
        :func:`neuro.decoders.generators.load_pipeline` loads one.
    negative : array (length, width), optional
        Text states of the unconditional pass; by default those of the empty prompt, or zeros where the pipeline holds
        no text encoder.
    size : (int, int), optional
        Height and width in pixels.

    References
    ----------
    Takagi & Nishimoto (2023), High-resolution image reconstruction with latent diffusion models from human brain
    activity, CVPR.
    """

    def __init__(self, pipeline: Any, *, negative: Any = None, size: tuple[int, int] | None = None):
        super().__init__(
            pipeline.vae, pipeline.unet, pipeline.scheduler, size=size, device=execution_device(pipeline, pipeline.unet)
        )
        self.pipeline = pipeline
        self.negative = None if negative is None else as_float_tensor(negative)

    def _told(self, condition: Mapping[str, Any], generators: list[torch.Generator]) -> tuple[Told, Told]:
        given, null = self._text(condition, len(generators))
        return {"states": given}, {"states": null}

    def _text(self, condition: Mapping[str, Any], n: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return text states with and without the condition, (n, length, width) each."""
        if "text_tokens" in condition:
            given = as_float_tensor(condition["text_tokens"])
            width = self.unet.config.cross_attention_dim
            if given.ndim != 3 or given.shape[2] != width:
                raise ShapeMismatch(f"text_tokens must be (n, length, {width}), got {tuple(given.shape)}.")
        elif "prompt" in condition:
            given = self._encode([str(p) for p in condition["prompt"]])
        else:
            raise EmptySelection(
                f"{type(self).__name__} reads text_tokens or prompt, got {', '.join(condition) or 'nothing'}."
            )
        null = self._null_text(given, n)
        return given.to(self.device, self.dtype), null.to(self.device, self.dtype)

    def _null_text(self, like: torch.Tensor, n: int) -> torch.Tensor:
        if self.negative is not None:
            null = self.negative[None]
        elif getattr(self.pipeline, "text_encoder", None) is not None:
            null = self._encode([""])
        else:
            null = torch.zeros_like(like[:1])
        if null.shape[1:] != like.shape[1:]:
            raise ShapeMismatch(
                f"text states are {tuple(like.shape[1:])} with the condition and {tuple(null.shape[1:])} without; "
                "both passes must have the same length and width. Give states of that shape as negative."
            )
        return null.expand(n, -1, -1)

    def _encode(self, prompts: list[str]) -> torch.Tensor:
        if getattr(self.pipeline, "text_encoder", None) is None:
            raise MissingWeights(
                "this pipeline holds no text encoder, so it cannot read sentences: give their states as text_tokens, "
                "or load it with its text_encoder and tokenizer."
            )
        return self.pipeline.encode_prompt(prompts, self.device, 1, False)[0].float().cpu()
