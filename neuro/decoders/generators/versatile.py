"""Versatile Diffusion: decoded CLIP image tokens and text tokens, mixed (Brain-Diffuser, MindEye, MindBridge).

diffusers keeps these pipelines among its deprecated ones; nothing else of ours depends on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from neuro.decoders.generators.base import as_float_tensor
from neuro.decoders.generators.diffusion import LatentDiffusion, Told, execution_device
from neuro.errors import EmptySelection, ShapeMismatch


class VersatileDiffusion(LatentDiffusion):
    """Versatile Diffusion, image variation or dual guided.

    Reads ``image_tokens`` (n, 257, 768), divided by the length of the first; and, in the dual-guided pipeline,
    ``text_tokens`` (n, 77, 768), projected and divided by the length of the sentence's embedding. Text that is not
    given is zeros, as in MindEye.

    Parameters
    ----------
    pipeline : diffusers.VersatileDiffusionDualGuidedPipeline or VersatileDiffusionImageVariationPipeline
        From here on its transformers mix in the proportion of ``text_ratio``, by a module of ours: the mixing block of
        recent versions of diffusers cannot be called by its own networks, which hand it an attention mask.
    text_ratio : float, 0 to 1
        Share of the text: Brain-Diffuser .4, MindBridge .5, MindEye 0.
    n_tokens : (int, int)
        Text tokens and image tokens.
    null : dict, optional
        ``image_tokens`` (257, 768) and ``text_tokens`` (77, 768) of the unconditional pass, as those of an all-zero
        picture and of the empty prompt (Brain-Diffuser); zeros by default.
    size : (int, int), optional

    References
    ----------
    Xu et al. (2023), Versatile Diffusion, ICCV; Ozcelik & VanRullen (2023), Scientific Reports 13, 15666.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        text_ratio: float = 0.4,
        n_tokens: tuple[int, int] = (77, 257),
        null: Mapping[str, Any] | None = None,
        size: tuple[int, int] | None = None,
    ):
        if not 0 <= text_ratio <= 1:
            raise ValueError(f"text_ratio must lie between 0 (image only) and 1 (text only), got {text_ratio!r}.")
        super().__init__(
            pipeline.vae,
            pipeline.image_unet,
            pipeline.scheduler,
            size=size,
            device=execution_device(pipeline, pipeline.image_unet),
        )
        self.pipeline = pipeline
        self.n_text, self.n_image = n_tokens
        self.null = {name: as_float_tensor(value) for name, value in (null or {}).items()}
        self.dual = mix_transformers(self.unet, float(text_ratio), self.n_text)

    def _told(self, condition: Mapping[str, Any], generators: list[torch.Generator]) -> tuple[Told, Told]:
        if "image_tokens" not in condition:
            raise EmptySelection(f"VersatileDiffusion reads image_tokens, got {', '.join(condition) or 'nothing'}.")
        n, width = len(generators), self.unet.config.cross_attention_dim
        parts = (
            {"text_tokens": self.n_text, "image_tokens": self.n_image} if self.dual else {"image_tokens": self.n_image}
        )
        given, null = [], []
        for name, length in parts.items():
            zeros = torch.zeros(n, length, width)
            tokens = as_float_tensor(condition[name]) if name in condition else zeros
            without = self.null[name].expand(n, -1, -1) if name in self.null else zeros
            for found in (tokens, without):
                if tuple(found.shape) != (n, length, width):
                    raise ShapeMismatch(f"{name} must be ({n}, {length}, {width}), got {tuple(found.shape)}.")
            given.append(tokens)
            null.append(without)
        here = {"device": self.device, "dtype": self.dtype}
        return {"states": torch.cat(given, 1).to(**here)}, {"states": torch.cat(null, 1).to(**here)}


class Mixer(torch.nn.Module):
    """Two transformers side by side: one reads the text's tokens, one the image's; their changes are averaged."""

    def __init__(self, dual: Any, text_ratio: float, n_text: int):
        super().__init__()
        self.transformers = dual.transformers
        self.text_ratio, self.n_text = text_ratio, n_text

    def forward(
        self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, timestep: Any = None, **ignored: Any
    ) -> tuple[torch.Tensor]:
        """Return what one transformer would."""
        text, image = encoder_hidden_states[:, : self.n_text], encoder_hidden_states[:, self.n_text :]
        of_image, of_text = (
            part(hidden_states, encoder_hidden_states=states, timestep=timestep, return_dict=False)[0]
            for part, states in zip(self.transformers, (image, text), strict=True)
        )
        return (self.text_ratio * of_text + (1 - self.text_ratio) * of_image,)


def mix_transformers(unet: torch.nn.Module, text_ratio: float, n_text: int) -> bool:
    """Put a :class:`Mixer` in place of every pair of transformers; return whether there are any."""
    found = [(name, m) for name, m in unet.named_modules() if type(m).__name__ in ("DualTransformer2DModel", "Mixer")]
    for name, dual in found:
        parent, _, last = name.rpartition(".")
        setattr(unet.get_submodule(parent), last, Mixer(dual, text_ratio, n_text))
    return bool(found)
