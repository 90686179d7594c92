"""Whole words to numbers: the vocabulary of a small CLIP that has read only the phantom's captions.

open_clip's own byte-pair vocabulary has 49,408 entries; its embedding table alone would be several times this whole
network. Numbers: 0 padding, 1 start, 2 unknown word, then the words, and last the end mark, because open_clip reads a
sentence at its highest number.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neuro._check import check_option
from neuro._files import read_json

if TYPE_CHECKING:
    import torch

PAD, START, UNKNOWN = 0, 1, 2
_WORD = re.compile(r"[a-z]+")


def split_words(text: str) -> list[str]:
    """Return the lower-case words of a sentence; digits and punctuation separate words.

    >>> split_words("A red sign, that says STOP!")
    ['a', 'red', 'sign', 'that', 'says', 'stop']
    """
    return _WORD.findall(text.lower())


class WordTokenizer:
    """Sentences -> LongTensor (n, context_length), the calling convention of open_clip's tokenizers.

    Parameters
    ----------
    words : sequence of str
        Known words, lower case.
    context_length : int
        Numbers per sentence. Longer sentences lose their last words, never the end mark.
    unknown : {"warn", "error", "ignore"}
        What to do about words outside the vocabulary, which all become the one "unknown" number: warn once per call
        with the words, raise ValueError, or keep silent.

    Examples
    --------
    >>> tokenizer = WordTokenizer(["a", "dog"], context_length=5)
    >>> tokenizer(["A dog."]).tolist(), tokenizer.decode([1, 3, 4, 5, 0])
    ([[1, 3, 4, 5, 0]], 'a dog')
    """

    def __init__(self, words: Sequence[str], context_length: int, unknown: str = "warn"):
        self.words = tuple(words)
        self.context_length = int(context_length)
        self.unknown = check_option("unknown", unknown, ["warn", "error", "ignore"])
        self.numbers = {word: k for k, word in enumerate(self.words, start=UNKNOWN + 1)}
        self.end = UNKNOWN + 1 + len(self.words)
        self.vocab_size = self.end + 1

    @classmethod
    def from_file(cls, path: str | Path, unknown: str = "warn") -> WordTokenizer:
        """Read the vocabulary JSON: ``{"context_length": int, "words": [...]}``."""
        value = read_json(path)
        return cls(value["words"], value["context_length"], unknown)

    def __call__(self, texts: str | Iterable[str], context_length: int | None = None) -> torch.Tensor:
        """Return int64 (n_texts, context_length)."""
        import torch

        texts = [texts] if isinstance(texts, str) else list(texts)
        length = context_length or self.context_length
        out = torch.zeros((len(texts), length), dtype=torch.int64)
        strangers: dict[str, None] = {}
        for row, text in enumerate(texts):
            words = split_words(text)
            strangers.update(dict.fromkeys(w for w in words if w not in self.numbers))
            ids = [START, *(self.numbers.get(w, UNKNOWN) for w in words[: length - 2]), self.end]
            out[row, : len(ids)] = torch.tensor(ids)
        if strangers and self.unknown != "ignore":
            shown = ", ".join(list(strangers)[:8]) + (", ..." if len(strangers) > 8 else "")
            message = (
                f"{len(strangers)} word(s) outside phantom-clip's vocabulary of {len(self.words)}: {shown}. "
                "It was trained on the phantom's captions only; such words carry no meaning in it. "
                "For real captions use a real CLIP."
            )
            if self.unknown == "error":
                raise ValueError(message)
            warnings.warn(message, stacklevel=2)
        return out

    def encode(self, text: str) -> list[int]:
        """Return the numbers of a sentence's words, without marks."""
        return [self.numbers.get(w, UNKNOWN) for w in split_words(text)]

    def decode(self, numbers: Iterable[int]) -> str:
        """Return the words that numbers stand for, up to the end mark."""
        out = []
        for k in (int(k) for k in numbers):
            if k == self.end:
                break
            if k > START:
                out.append("<unknown>" if k == UNKNOWN else self.words[k - UNKNOWN - 1])
        return " ".join(out)
