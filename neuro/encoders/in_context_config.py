"""Which network is an in-context encoder made of? Sizes of BraInCoRL's published models, and of smaller ones.

Parameters of a network with E features, width D, L blocks and F hidden units: an embedding ``E+1 -> 2D -> D``, L blocks
of ``4 D^2`` (attention) and ``3 D F`` (SwiGLU) weights, and a head ``D -> 2D -> E+1``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from neuro._check import check_positive_int


@dataclass(frozen=True)
class InContextConfig:
    """Sizes of an in-context network, and what it was made for.

    Parameters
    ----------
    n_features : int
        E, numbers in an image embedding.
    width : int
        D, numbers in a token; a multiple of ``n_heads``. Hidden layers of the first and last stage have 2 D.
    n_layers : int
        L, transformer blocks.
    n_heads : int
        Attention heads of ``width / n_heads`` numbers each.
    ffn : int
        F, hidden units of each block's SwiGLU.
    n_tokens : int
        Learned tokens put before the context; the first becomes the voxel's weights.
    dropout : float, 0 to below 1
        While training: on tokens, in the first and last stage, on attention weights and on what attention returns.
    min_context : int
        Fewest context images the network was trained with; shorter contexts are refused.
    embedding : str
        Which embedding the network reads, in words; not checked.

    Examples
    --------
    >>> InContextConfig.clip().width
    560
    """

    n_features: int
    width: int
    n_layers: int
    n_heads: int = 10
    ffn: int = 2048
    n_tokens: int = 4
    dropout: float = 0.0
    min_context: int = 30
    embedding: str = ""

    def __post_init__(self):
        for name in ("n_features", "width", "n_layers", "n_heads", "ffn", "n_tokens", "min_context"):
            object.__setattr__(self, name, check_positive_int(name, getattr(self, name)))
        if self.width % self.n_heads:
            raise ValueError(f"width must be a multiple of n_heads, got {self.width} and {self.n_heads}.")
        if isinstance(self.dropout, bool) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout!r}.")

    @classmethod
    def clip(cls, **changes: Any) -> InContextConfig:
        """Return the published network over CLIP ViT-B/32 embeddings: 97 million parameters."""
        return replace(cls(512, 560, 20, embedding="CLIP ViT-B/32 image embedding, unit length"), **changes)

    @classmethod
    def dino(cls, **changes: Any) -> InContextConfig:
        """Return the published network over DINO ViT-B embeddings: 156 million parameters."""
        return replace(cls(768, 800, 20, embedding="DINO ViT-B image embedding, unit length"), **changes)

    @classmethod
    def siglip(cls, **changes: Any) -> InContextConfig:
        """Return the published network over SigLIP embeddings: 277 million parameters."""
        return replace(cls(1152, 1200, 20, embedding="SigLIP image embedding, unit length"), **changes)

    @classmethod
    def small(cls, **changes: Any) -> InContextConfig:
        """Return the published network of three blocks over CLIP ViT-B/32 embeddings."""
        return replace(cls(512, 560, 3, embedding="CLIP ViT-B/32 image embedding, unit length"), **changes)

    @classmethod
    def phantom(cls, **changes: Any) -> InContextConfig:
        """Return a network over phantom-clip embeddings that two CPU cores train in minutes."""
        base = cls(128, 64, 2, n_heads=4, ffn=128, min_context=20, embedding="phantom-clip output, unit length")
        return replace(base, **changes)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InContextConfig:
        """Return the configuration that ``to_dict`` described."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown setting of an in-context network: {', '.join(unknown)}; known: {sorted(known)}.")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return asdict(self)

    @property
    def sizes(self) -> str:
        """The sizes in words, for messages."""
        return (
            f"{self.n_features} features, width {self.width}, {self.n_layers} blocks, {self.ffn} hidden units, "
            f"{self.n_tokens} learned tokens"
        )

    def bytes_per_voxel(self, n_context: int, itemsize: int = 4) -> int:
        """Return the working memory, in bytes, of one voxel with ``n_context`` images."""
        first = 2 * (self.n_features + 1) + 6 * self.width
        block = 8 * self.width + 4 * self.ffn
        return itemsize * (n_context + self.n_tokens) * max(first, block)
