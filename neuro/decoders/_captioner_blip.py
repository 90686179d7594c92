"""BLIP without its image encoder: its text decoder attends to states that come from a brain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from neuro._check import require
from neuro.decoders._captioner_base import PURPOSE, Captioner, weights_missing


class BlipCaptioner(Captioner):
    """The text decoder of BLIP with injected image states as its ``encoder_hidden_states``.

    Tokens are the last hidden states of BLIP's vision transformer after its last norm: 577 x 768 for
    ``Salesforce/blip-image-captioning-base`` at 384 pixels (class token first).

    Parameters
    ----------
    model : transformers.BlipForConditionalGeneration
        Only its text decoder is kept.
    tokenizer : optional
        ``decode(ids, skip_special_tokens=True) -> str``; needed for words.

    References
    ----------
    Li et al. (2022), BLIP: bootstrapping language-image pre-training, ICML.
    """

    def __init__(self, model: Any, tokenizer: Any = None):
        vision = model.config.vision_config
        super().__init__(tokenizer, (vision.image_size // vision.patch_size) ** 2 + 1, vision.hidden_size)
        self.model = model.text_decoder.eval()
        text = model.config.text_config
        self.start, self.end, self.pad = text.bos_token_id, text.sep_token_id, text.pad_token_id

    @classmethod
    def from_pretrained(cls, name: str | Path, *, dtype: torch.dtype = torch.float32) -> BlipCaptioner:
        """Load from a folder or a hub name such as ``Salesforce/blip-image-captioning-base``.

        Raises
        ------
        MissingWeights
            If the network is neither there nor can be downloaded.
        """
        transformers = require("transformers", PURPOSE, "decode")
        with weights_missing(name):
            model = transformers.BlipForConditionalGeneration.from_pretrained(str(name), dtype=dtype)
            return cls(model, transformers.AutoTokenizer.from_pretrained(str(name)))

    def _generate(self, states: torch.Tensor, **settings: Any) -> torch.Tensor:
        start = torch.full((len(states), 1), self.start, device=states.device)
        return self.model.generate(
            input_ids=start,
            eos_token_id=self.end,
            pad_token_id=self.pad,
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:2], dtype=torch.long, device=states.device),
            **settings,
        )
