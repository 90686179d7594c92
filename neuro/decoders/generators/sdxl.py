"""SDXL as refiner: a decoded picture made sharper under its decoded caption (MindEye2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from neuro.decoders.generators.base import as_float_tensor
from neuro.decoders.generators.diffusion import Told
from neuro.decoders.generators.stable import StableDiffusion
from neuro.errors import EmptySelection, MissingWeights


class SDXLRefiner(StableDiffusion):
    """SDXL image-to-image, base or refiner.

    Reads ``prompt``, sentences, where the pipeline holds its text encoders; or ``text_tokens`` (n, length, width) and
    ``pooled_text`` (n, d).

    Parameters
    ----------
    pipeline : diffusers.StableDiffusionXLImg2ImgPipeline
    aesthetic, negative_aesthetic : float
        Scores the refiner is told with and without the condition.
    size : (int, int), optional

    Notes
    -----
    MindEye2 runs the last 13 of 25 steps: ``strength=0.52, steps=25, guidance=5``.

    References
    ----------
    Scotti et al. (2024), MindEye2, ICML.
    """

    default_steps = 25
    default_guidance = 5.0

    def __init__(self, pipeline: Any, *, aesthetic: float = 6.0, negative_aesthetic: float = 2.5, **more: Any):
        super().__init__(pipeline, **more)
        self.scores = float(aesthetic), float(negative_aesthetic)

    def _told(self, condition: Mapping[str, Any], generators: list[torch.Generator]) -> tuple[Told, Told]:
        n = len(generators)
        if "text_tokens" in condition:
            if "pooled_text" not in condition:
                raise EmptySelection("SDXLRefiner reads pooled_text (n, d) together with text_tokens.")
            states, null = self._text(condition, n)
            pooled = as_float_tensor(condition["pooled_text"])
            without = torch.zeros_like(pooled)
        elif "prompt" in condition:
            if getattr(self.pipeline, "text_encoder_2", None) is None:
                raise MissingWeights(
                    "this pipeline holds no text encoders, so it cannot read sentences: give text_tokens and "
                    "pooled_text, or load it with text_encoder_2 and tokenizer_2."
                )
            states, null, pooled, without = self.pipeline.encode_prompt(
                [str(p) for p in condition["prompt"]],
                device=self.device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=True,
            )
        else:
            raise EmptySelection(f"SDXLRefiner reads prompt or text_tokens, got {', '.join(condition) or 'nothing'}.")
        here = {"device": self.device, "dtype": self.dtype}
        given_ids, null_ids = (torch.tensor([ids], **here).expand(n, -1) for ids in self._time_ids())
        return (
            {"states": states.to(**here), "pooled": pooled.to(**here), "ids": given_ids},
            {"states": null.to(**here), "pooled": without.to(**here), "ids": null_ids},
        )

    def _time_ids(self) -> tuple[list[float], list[float]]:
        height, width = (float(v) for v in self.size)
        if self.pipeline.config.requires_aesthetics_score:
            given, null = ([height, width, 0.0, 0.0, score] for score in self.scores)
            return given, null
        ids = [height, width, 0.0, 0.0, height, width]
        return ids, ids

    def _predict(self, x: torch.Tensor, t: torch.Tensor, told: Told) -> torch.Tensor:
        return self.unet(
            x,
            t,
            encoder_hidden_states=told["states"],
            added_cond_kwargs={"text_embeds": told["pooled"], "time_ids": told["ids"]},
            return_dict=False,
        )[0]
