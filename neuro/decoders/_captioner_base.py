"""What all captioners share: checks of the tokens, batches, and sampling that does not depend on them."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuro._check import check_positive_int, require
from neuro.decoders.decoded import Decoded
from neuro.errors import MissingWeights, ShapeMismatch

PURPOSE = "captioning"


class Captioner(ABC):
    """Visual tokens -> sentences, by a language model that reads them in place of its image encoder's states.

    Parameters
    ----------
    tokenizer : object with ``decode``, or None
        None: only :meth:`generate_ids` works.
    n_tokens, dim : int
        The grid that the language model was trained on.
    """

    model: Any

    def __init__(self, tokenizer: Any, n_tokens: int, dim: int):
        self.tokenizer, self.n_tokens, self.dim = tokenizer, int(n_tokens), int(dim)

    def caption(
        self,
        tokens: Any,
        max_new_tokens: int = 25,
        *,
        num_beams: int = 1,
        temperature: float = 0.0,
        seed: int = 0,
        batch_size: int = 64,
    ) -> list[str]:
        """Return one sentence per item.

        Parameters
        ----------
        tokens : array or tensor (n, n_tokens, dim), or Decoded (its ``image_tokens``)
        max_new_tokens : int
            Most words (or word pieces) of a sentence; 25 as in Brain Captioning.
        num_beams : int
            Width of the beam search; 1 takes the likeliest word each time.
        temperature : float, >= 0
            0 is deterministic. Above, words are drawn from softmax(logits / temperature), without beams.
        seed : int
            Of the drawn words. Item i draws from a generator of its own, (seed, i), whatever the batch.
        batch_size : int

        Raises
        ------
        ShapeMismatch
            If the tokens are not of the grid that the language model reads.
        ValueError
            If tokens are not finite, there is no tokenizer, or beams meet a temperature.
        """
        if self.tokenizer is None:
            raise ValueError("this captioner has no tokenizer to turn numbers into words; generate_ids gives numbers.")
        ids = self.generate_ids(
            tokens,
            max_new_tokens,
            num_beams=num_beams,
            temperature=temperature,
            seed=seed,
            batch_size=batch_size,
        )
        return [self._sentence(row) for row in ids]

    def generate_ids(
        self,
        tokens: Any,
        max_new_tokens: int = 25,
        *,
        num_beams: int = 1,
        temperature: float = 0.0,
        seed: int = 0,
        batch_size: int = 64,
    ) -> list[list[int]]:
        """Return the numbers of the words as the language model gave them, marks included; see :meth:`caption`."""
        check_positive_int("max_new_tokens", max_new_tokens)
        check_positive_int("num_beams", num_beams)
        check_positive_int("batch_size", batch_size)
        check_positive_int("seed", seed, 0)
        if not temperature >= 0:
            raise ValueError(f"temperature must be 0 or more, got {temperature!r}.")
        if temperature and num_beams > 1:
            raise ValueError("a temperature draws words at random, beams search for the likeliest: choose one of them.")
        states = self.states(tokens)
        processors = require("transformers", PURPOSE, "decode").LogitsProcessorList
        out = []
        for begin in range(0, len(states), batch_size):
            batch = states[begin : begin + batch_size]
            settings: dict[str, Any] = {"num_beams": num_beams, "do_sample": False, "max_new_tokens": max_new_tokens}
            if temperature:
                rows = range(begin, begin + len(batch))
                settings["logits_processor"] = processors([GumbelNoise(temperature, seed, rows)])
            with torch.no_grad():
                out += self._generate(batch, **settings).tolist()
        return out

    def states(self, tokens: Any) -> torch.Tensor:
        """Return checked tokens (n, n_tokens, dim) in the language model's type, on its device."""
        if isinstance(tokens, Decoded):
            tokens = tokens["image_tokens"]
        shape = tuple(tokens.shape) if hasattr(tokens, "shape") else np.shape(tokens)
        if len(shape) != 3 or shape[1:] != (self.n_tokens, self.dim):
            raise ShapeMismatch(
                f"{type(self).__name__} reads tokens of shape (n, {self.n_tokens}, {self.dim}), got {shape}. Decode "
                "the targets that this captioner was trained on, or project onto them first."
            )
        weight = next(self.model.parameters())
        if not isinstance(tokens, torch.Tensor):
            tokens = torch.from_numpy(np.array(tokens, dtype=np.float32))
        bad = int((~torch.isfinite(tokens)).flatten(1).any(1).sum())
        if bad:
            raise ValueError(f"tokens must be finite; those of {bad} of {len(tokens)} items are not.")
        return tokens.detach().to(weight.device, weight.dtype)

    @abstractmethod
    def _generate(self, states: torch.Tensor, **settings: Any) -> torch.Tensor:
        """Return int64 (n, length)."""

    def _sentence(self, ids: list[int]) -> str:
        from neuro.features.phantom_clip.tokenizer import WordTokenizer

        if isinstance(self.tokenizer, WordTokenizer):
            return self.tokenizer.decode(ids)
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()


class GumbelNoise:
    """Turn "take the largest" into a draw from softmax(logits / temperature): argmax(logits / temperature + Gumbel).

    Parameters
    ----------
    temperature : float, > 0
    seed : int
    rows : range
        Number of each row of the batch among all items; a row's draws depend on nothing else.

    References
    ----------
    Gumbel (1954); Maddison, Tarlow & Minka (2014), A* sampling, NeurIPS.
    """

    def __init__(self, temperature: float, seed: int, rows: range):
        self.temperature = temperature
        self._generators = [np.random.default_rng([seed, row]) for row in rows]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores with noise, (n, n_words)."""
        noise = np.stack([g.gumbel(size=scores.shape[1]) for g in self._generators])
        return scores / self.temperature + torch.from_numpy(noise).to(scores.device, scores.dtype)


def local_folder(name: str | Path) -> Path:
    """Return the folder of that name, or the downloaded hub repository; MissingWeights where there is neither."""
    folder = Path(name)
    if folder.is_dir():
        return folder
    with weights_missing(name):
        return Path(require("huggingface_hub", PURPOSE, "decode").snapshot_download(str(name)))


@contextlib.contextmanager
def weights_missing(name: str | Path) -> Iterator[None]:
    """Say what to download, and where to put it, when a network's files cannot be had."""
    text = str(name)
    is_path = isinstance(name, Path) or text.startswith(("/", ".", "~")) or text.count("/") > 1
    if is_path and not Path(text).is_dir():
        raise MissingWeights(
            f"there is no folder {text}. Give a folder with config.json and model.safetensors, or the name of a hub "
            "repository such as 'microsoft/git-base-coco'."
        )
    try:
        yield
    except (OSError, ValueError) as error:
        if is_path or Path(text).is_dir():
            raise MissingWeights(f"the captioner in {text} cannot be read: {error}") from error
        raise MissingWeights(
            f"the captioner {text!r} is neither a folder here nor in the local cache, and could not be downloaded. Put "
            f"it on disk with: hf download {text} --local-dir FOLDER, and pass FOLDER."
        ) from error
