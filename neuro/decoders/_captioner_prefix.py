"""A language model that is told what was seen by a few vectors before its first word.

    p(w_1 ... w_T | tokens) = prod_t p(w_t | P(tokens), start, w_1 ... w_{t-1})
    P(tokens) = W (tokens - mean) / scale + b

``P`` gives one vector of the language model's width for each visual token, ``b`` being each position's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from neuro._check import check_positive_int, require
from neuro._files import atomic_path, read_json, write_json, write_text
from neuro.decoders._captioner_base import PURPOSE, Captioner, local_folder, weights_missing
from neuro.errors import CorruptFile, MissingWeights, ShapeMismatch

_PREFIX, _VOCABULARY = "prefix.safetensors", "vocabulary.json"


class TokenPrefix(nn.Module):
    """Visual tokens (n, n_tokens, dim) -> vectors (n, n_tokens, width) that stand before the words.

    Parameters
    ----------
    mean, scale : array or tensor (n_tokens, dim)
        Of the tokens of training images; fixed.
    width : int
        Of the language model.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, mean: Any, scale: Any, width: int):
        super().__init__()
        mean = torch.as_tensor(mean, dtype=torch.float32)
        self.register_buffer("mean", mean.clone())
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32).clone())
        self.weight = nn.Linear(mean.shape[1], check_positive_int("width", width), bias=False)
        self.bias = nn.Parameter(torch.zeros(len(mean), width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Project."""
        return self.weight((tokens - self.mean) / self.scale) + self.bias


class PrefixCaptioner(Captioner):
    """A GPT-2 whose prefix is a linear map of the visual tokens.

    Parameters
    ----------
    model : transformers.GPT2LMHeadModel
    prefix : TokenPrefix
    tokenizer : optional
        ``decode(ids) -> str``; needed for words.
    start, end, pad : int
        Numbers of the marks; by default the configuration's ``bos``, ``eos`` and ``pad`` (or ``eos``).

    Raises
    ------
    ShapeMismatch
        If the prefix is not as wide as the language model.

    References
    ----------
    Mokady, Hertz & Bermano (2021), ClipCap: CLIP prefix for image captioning, arXiv:2111.09734. There the prefix is ten
    vectors computed from one image embedding; here each visual token gives one vector.
    """

    def __init__(self, model: Any, prefix: TokenPrefix, tokenizer: Any = None, *, start=None, end=None, pad=None):
        config = model.config
        if prefix.weight.out_features != config.n_embd:
            raise ShapeMismatch(
                f"the prefix gives vectors of {prefix.weight.out_features}, the language model takes {config.n_embd}."
            )
        super().__init__(tokenizer, *prefix.mean.shape)
        self.model, self.prefix = model.eval(), prefix.eval()
        self.start = config.bos_token_id if start is None else start
        self.end = config.eos_token_id if end is None else end
        self.pad = next(k for k in (pad, config.pad_token_id, self.end) if k is not None)

    @property
    def max_words(self) -> int:
        """Most words that the language model's positions leave room for."""
        return self.model.config.n_positions - self.n_tokens - 1

    @classmethod
    def from_pretrained(cls, name: str | Path, *, dtype: torch.dtype = torch.float32) -> PrefixCaptioner:
        """Read what :meth:`save` wrote, from a folder or from a hub repository of that name.

        Raises
        ------
        MissingWeights
            If the folder or a file in it is not there.
        CorruptFile
            If the prefix is not one.
        """
        transformers = require("transformers", PURPOSE, "decode")
        from safetensors.torch import load_file

        folder = local_folder(name)
        missing = [f for f in ("config.json", "model.safetensors", _PREFIX) if not (folder / f).is_file()]
        if missing:
            raise MissingWeights(
                f"{folder} lacks {', '.join(missing)} of a prefix captioner. PrefixCaptioner.save writes all of them."
            )
        with weights_missing(name):
            model = transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=dtype)
        state = {k: v.to(dtype) for k, v in load_file(folder / _PREFIX).items()}
        if set(state) != {"mean", "scale", "bias", "weight.weight"}:
            raise CorruptFile(f"{folder / _PREFIX} must hold mean, scale, bias and weight.weight, got {sorted(state)}.")
        prefix = TokenPrefix(state["mean"], state["scale"], model.config.n_embd).to(dtype)
        try:
            prefix.load_state_dict(state)
        except RuntimeError as error:
            raise CorruptFile(f"{folder / _PREFIX} does not fit the language model beside it: {error}") from error
        return cls(model, prefix, _tokenizer(folder, transformers))

    def save(self, folder: str | Path) -> Path:
        """Write ``config.json``, ``model.safetensors``, the prefix and a word tokenizer's vocabulary.

        Matrices are stored as float16. Other files of the folder stay; each file is replaced as a whole.
        """
        from safetensors.torch import save

        folder = Path(folder)
        write_text(folder / "config.json", self.model.config.to_json_string())
        tied = {"lm_head.weight"} if self.model.config.tie_word_embeddings else set()
        for file, module in (("model.safetensors", self.model), (_PREFIX, self.prefix)):
            state = {
                k: (v.half() if v.ndim > 1 else v.float()).contiguous().clone()
                for k, v in module.state_dict().items()
                if k not in tied
            }
            with atomic_path(folder / file) as temporary:
                temporary.write_bytes(save(state, metadata={"format": "pt"}))
        if hasattr(self.tokenizer, "words"):
            about = {"context_length": self.tokenizer.context_length, "words": list(self.tokenizer.words)}
            write_json(folder / _VOCABULARY, about)
        elif hasattr(self.tokenizer, "save_pretrained"):
            self.tokenizer.save_pretrained(folder)
        return folder

    def embed(self, tokens: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Return the prefix and the embedded words ``ids`` (n, length) one after the other."""
        return torch.cat([self.prefix(tokens), self.model.transformer.wte(ids)], dim=1)

    def log_likelihood(self, tokens: Any, ids: Any) -> np.ndarray:
        """Return each sentence's log-probability in nats, given its tokens.

        Parameters
        ----------
        tokens : array (n, n_tokens, dim)
        ids : int array (n, length)
            Sentences with start and end mark, padded.

        Returns
        -------
        array (n,)
        """
        states, ids = self.states(tokens), torch.as_tensor(ids)
        with torch.no_grad():
            return sentence_log_likelihood(self, states, ids, self.pad).sum(1).double().numpy()

    def _generate(self, states: torch.Tensor, **settings: Any) -> torch.Tensor:
        if settings["max_new_tokens"] > self.max_words:
            raise ValueError(
                f"max_new_tokens must be at most {self.max_words} (the language model has "
                f"{self.model.config.n_positions} positions), got {settings['max_new_tokens']}."
            )
        start = torch.full((len(states), 1), self.start, device=states.device)
        embeds = self.embed(states, start)
        mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=states.device)
        # sentences that have ended go on with the end mark, because transformers warns of padding among the words
        return self.model.generate(
            inputs_embeds=embeds, attention_mask=mask, eos_token_id=self.end, pad_token_id=self.end, **settings
        )


def sentence_log_likelihood(
    captioner: PrefixCaptioner, states: torch.Tensor, ids: torch.Tensor, pad: int
) -> torch.Tensor:
    """Return the log-probability of each word after the first, (n, length - 1); 0 at padding."""
    hidden = captioner.model.transformer(inputs_embeds=captioner.embed(states, ids[:, :-1])).last_hidden_state
    logits = captioner.model.lm_head(hidden[:, captioner.n_tokens :]).float()
    nats = nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], ignore_index=pad, reduction="none")
    return -nats


def _tokenizer(folder: Path, transformers: Any) -> Any:
    from neuro.features.phantom_clip.tokenizer import WordTokenizer

    if (folder / _VOCABULARY).is_file():
        words = read_json(folder / _VOCABULARY)
        return WordTokenizer(words["words"], words["context_length"], unknown="ignore")
    if (folder / "tokenizer_config.json").is_file():
        return transformers.AutoTokenizer.from_pretrained(folder)
    return None
