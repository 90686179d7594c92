"""How token sequences become the cross-attention states of a small latent diffusion model.

Image tokens and text tokens of a CLIP stand one after the other in fixed slots. Each slot adds its own code (a row of a
Hadamard matrix, so that codes are orthogonal), since cross-attention by itself cannot tell one position from another.
What is not given is zero, code included: a query that meets only zeros reads nothing, which is the unconditional state
that classifier-free guidance needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.linalg import hadamard

from neuro._check import check_option
from neuro._files import read_json, write_json
from neuro.decoders.generators.base import as_float_tensor
from neuro.errors import CorruptFile, EmptySelection, ShapeMismatch
from neuro.features.tokens import NORMALISATIONS, normalise_tokens

FORMAT = "neuro.conditioning 1"


@dataclass(frozen=True)
class Part:
    """One token sequence among the conditions: its name, its slots, and how its numbers are scaled.

    Attributes
    ----------
    name : str
        Key among the conditions, as ``"image_tokens"``.
    n_tokens : int
        Slots; a shorter sequence leaves the last ones empty.
    normalise : {"none", "cls_norm"}
        See :func:`neuro.features.tokens.normalise_tokens`.
    scale : float
        Factor after that, which brings the numbers to about unit variance.
    """

    name: str
    n_tokens: int
    normalise: str = "none"
    scale: float = 1.0

    def __post_init__(self):
        check_option("normalise", self.normalise, NORMALISATIONS)


@dataclass(frozen=True)
class Conditioning:
    """The parts in order, their width, and the size of the slot codes.

    Examples
    --------
    >>> c = Conditioning((Part("image_tokens", 2), Part("text_tokens", 3)), width=4, code=0.0)
    >>> c.assemble({"image_tokens": np.ones((1, 2, 4))})[0].sum(1).tolist()
    [4.0, 4.0, 0.0, 0.0, 0.0]
    """

    parts: tuple[Part, ...]
    width: int
    code: float = 0.5

    @property
    def n_tokens(self) -> int:
        """Slots in all."""
        return sum(part.n_tokens for part in self.parts)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts."""
        return tuple(part.name for part in self.parts)

    def assemble(self, condition: Mapping[str, Any]) -> torch.Tensor:
        """Return cross-attention states.

        Parameters
        ----------
        condition : mapping of part name -> array or tensor (n, up to n_tokens, width)
            Any of the parts; further keys are ignored. A token that is zero throughout is absent (padding).

        Returns
        -------
        tensor (n, n_tokens, width), float32

        Raises
        ------
        EmptySelection
            If none of the parts is there.
        ShapeMismatch
            If a sequence has another width, more tokens than slots, or another number of items than the others.
        """
        given = {name: condition[name] for name in self.names if name in condition}
        if not given:
            got = ", ".join(condition) or "nothing"
            raise EmptySelection(f"there is nothing to condition on: expected {' or '.join(self.names)}, got {got}.")
        counts = {name: len(value) for name, value in given.items()}
        if len(set(counts.values())) > 1:
            raise ShapeMismatch(f"conditions must describe the same items, got {counts}.")
        n = next(iter(counts.values()))
        codes = torch.from_numpy(self._codes())
        out = torch.zeros(n, self.n_tokens, self.width)
        start = 0
        for part in self.parts:
            if part.name in given:
                tokens = as_float_tensor(given[part.name])
                if tokens.ndim != 3 or tokens.shape[2] != self.width or tokens.shape[1] > part.n_tokens:
                    raise ShapeMismatch(
                        f"{part.name} must be (n, {part.n_tokens}, {self.width}), got {tuple(tokens.shape)}. "
                        "Was it made by another network?"
                    )
                k = tokens.shape[1]
                present = (tokens != 0).any(2, keepdim=True)
                scaled = normalise_tokens(tokens, part.normalise) * part.scale
                out[:, start : start + k] = (scaled + codes[start : start + k]) * present
            start += part.n_tokens
        return out

    def null(self, n: int) -> torch.Tensor:
        """Return the states of ``n`` items without any condition."""
        return torch.zeros(n, self.n_tokens, self.width)

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        write_json(path, {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, path: str | Path) -> Conditioning:
        """Read what :meth:`save` wrote."""
        about = read_json(path)
        if about.get("format") != FORMAT:
            raise CorruptFile(f"{path} is not the description of a conditioning (format {about.get('format')!r}).")
        return cls(tuple(Part(**part) for part in about["parts"]), about["width"], about["code"])

    def _codes(self) -> np.ndarray:
        size = 1 << max(self.width - 1, self.n_tokens).bit_length()
        return (self.code * hadamard(size)[1 : self.n_tokens + 1, : self.width]).astype(np.float32)
