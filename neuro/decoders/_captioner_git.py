"""GIT with its image encoder taken out: the states it would have given come from a brain."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from neuro._check import require
from neuro.decoders._captioner_base import PURPOSE, Captioner, weights_missing


class GitCaptioner(Captioner):
    """The text decoder of GIT over injected image states.

    Tokens are the last hidden states of GIT's image encoder, before its visual projection: 197 x 768 for GIT-base at
    224 pixels (class token first), 257 x 1024 for GIT-large.

    Parameters
    ----------
    model : transformers.GitForCausalLM
        Left as it is; the captioner shares all of its weights but the image encoder's.
    tokenizer : optional
        ``decode(ids, skip_special_tokens=True) -> str``; needed for words.

    References
    ----------
    Wang et al. (2022), GIT: a generative image-to-text transformer, TMLR.
    Ferrante et al. (2023), Brain Captioning, arXiv:2305.11560: GIT-base-coco, states by ridge regression.
    """

    def __init__(self, model: Any, tokenizer: Any = None):
        vision = model.config.vision_config
        super().__init__(tokenizer, (vision.image_size // vision.patch_size) ** 2 + 1, vision.hidden_size)
        self.model = _with_states(model).eval()

    @classmethod
    def from_pretrained(cls, name: str | Path, *, dtype: torch.dtype = torch.float32) -> GitCaptioner:
        """Load from a folder or a hub name such as ``microsoft/git-base-coco``.

        Raises
        ------
        MissingWeights
            If the network is neither there nor can be downloaded.
        """
        transformers = require("transformers", PURPOSE, "decode")
        with weights_missing(name):
            model = transformers.GitForCausalLM.from_pretrained(str(name), dtype=dtype)
            return cls(model, transformers.AutoTokenizer.from_pretrained(str(name)))

    def _generate(self, states: torch.Tensor, **settings: Any) -> torch.Tensor:
        config = self.model.config
        start = torch.full((len(states), 1), config.bos_token_id, device=states.device)
        return self.model.generate(input_ids=start, pixel_values=states[:, None], max_length=None, **settings)


class _States(nn.Module):
    """Stands where the image encoder stood: a "picture" (n, 1, n_tokens, dim) is its own states."""

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=pixel_values[:, 0])


def _with_states(model: Any) -> Any:
    """Return the model with another image encoder; the one that was passed keeps its own."""
    outer, inner = copy.copy(model), copy.copy(model.git)
    inner._modules = {**model.git._modules, "image_encoder": _States()}
    outer._modules = {**model._modules, "git": inner}
    return outer
