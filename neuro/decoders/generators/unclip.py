"""Stable unCLIP: pictures from a decoded CLIP image embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from neuro._check import check_positive_int
from neuro.decoders.generators.base import as_float_tensor
from neuro.decoders.generators.diffusion import Told
from neuro.decoders.generators.stable import StableDiffusion
from neuro.errors import EmptySelection, ShapeMismatch


class UnCLIPDiffusion(StableDiffusion):
    """Stable unCLIP, from noise or from an initial picture.

    Reads ``image_embedding`` (n, d); and, where given, ``text_tokens`` or ``prompt`` (the empty prompt otherwise).

    Parameters
    ----------
    pipeline : diffusers.StableUnCLIPImg2ImgPipeline
    noise_level : int
        Step of the pipeline's own schedule up to which noise is added to the embedding: it says how far the embedding
        is to be trusted.
    negative, size
        See :class:`StableDiffusion`.

    References
    ----------
    Ramesh et al. (2022), Hierarchical text-conditional image generation with CLIP latents.
    """

    default_steps = 20
    default_guidance = 10.0

    def __init__(self, pipeline: Any, *, noise_level: int = 0, **more: Any):
        super().__init__(pipeline, **more)
        self.noise_level = check_positive_int("noise_level", noise_level, minimum=0)

    def _told(self, condition: Mapping[str, Any], generators: list[torch.Generator]) -> tuple[Told, Told]:
        if "image_embedding" not in condition:
            raise EmptySelection(f"UnCLIPDiffusion reads image_embedding, got {', '.join(condition) or 'nothing'}.")
        if "text_tokens" not in condition and "prompt" not in condition:
            condition = {**condition, "prompt": [""] * len(generators)}
        given, null = super()._told(condition, generators)
        vectors = as_float_tensor(condition["image_embedding"])
        width = self.pipeline.image_normalizer.config.embedding_dim
        if vectors.ndim != 2 or vectors.shape[1] != width:
            raise ShapeMismatch(f"image_embedding must be (n, {width}), got {tuple(vectors.shape)}.")
        noise = torch.stack([torch.randn(width, generator=g) for g in generators])
        labels = self.pipeline.noise_image_embeddings(
            vectors.to(self.device, self.dtype), self.noise_level, noise=noise.to(self.device, self.dtype)
        )
        return {**given, "labels": labels}, {**null, "labels": torch.zeros_like(labels)}

    def _predict(self, x: torch.Tensor, t: torch.Tensor, told: Told) -> torch.Tensor:
        return self.unet(x, t, encoder_hidden_states=told["states"], class_labels=told["labels"], return_dict=False)[0]
