"""What did this person see, in words? A language model reads decoded visual tokens instead of a picture's.

    caption = argmax_w p(w_1 ... w_T | tokens)          tokens (n_tokens, dim), decoded from a brain

One call, three language models: GIT (tokens are concatenated before the words), BLIP (words attend to them), and any
GPT-2 with a linear prefix, as the small one for the phantom that ships with the package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from neuro._check import check_option, require
from neuro.decoders._captioner_base import PURPOSE, Captioner, GumbelNoise, weights_missing
from neuro.decoders._captioner_blip import BlipCaptioner
from neuro.decoders._captioner_git import GitCaptioner
from neuro.decoders._captioner_prefix import PrefixCaptioner, TokenPrefix

__all__ = [
    "CAPTIONERS",
    "BlipCaptioner",
    "Captioner",
    "GitCaptioner",
    "GumbelNoise",
    "PrefixCaptioner",
    "TokenPrefix",
    "load_captioner",
]

CAPTIONERS: dict[str, Any] = {"git": GitCaptioner, "blip": BlipCaptioner, "gpt2": PrefixCaptioner}


def load_captioner(name: str | Path = "phantom", *, dtype: torch.dtype = torch.float32) -> Captioner:
    """Load a captioner by what its configuration says it is.

    Parameters
    ----------
    name : str or path
        ``"phantom"``: phantom-captioner, which ships. Otherwise a folder in transformers' format or a hub name, such as
        ``microsoft/git-base-coco`` or ``Salesforce/blip-image-captioning-base``.
    dtype : torch.dtype
        To compute with.

    Returns
    -------
    Captioner

    Raises
    ------
    MissingWeights
        If the network is neither there nor can be downloaded.
    ValueError
        If it is none of the kinds in ``CAPTIONERS``.

    Examples
    --------
    >>> captioner = load_captioner("phantom")  # doctest: +SKIP
    >>> captioner.caption(tokens)  # doctest: +SKIP
    ['a brown dog running in a field', ...]
    """
    if name == "phantom":
        from neuro.decoders.phantom_captioner import load_phantom_captioner

        return load_phantom_captioner()
    transformers = require("transformers", PURPOSE, "decode")
    with weights_missing(name):
        kind = transformers.AutoConfig.from_pretrained(str(name)).model_type
    check_option(f"model_type of {name}", kind, CAPTIONERS)
    return CAPTIONERS[kind].from_pretrained(name, dtype=dtype)
