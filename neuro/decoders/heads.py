"""From the shared embedding to what a generator or a retrieval needs: token grids, control hints, pseudo-responses.

Letters: B trials, C width of the embedding, N tokens, D channels of a token.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from neuro._check import check_positive_int
from neuro.decoders._blocks import ZeroBottleneck, built, zero_weights
from neuro.errors import ShapeMismatch

__all__ = ["Builder", "ControlHint", "SemanticTokens", "TokenHead", "TokenProjector"]


class TokenHead(nn.Linear):
    """``W e`` as N tokens: (B, C) -> (B, n_tokens, dim).

    257 x 768 in MindEye, 256 x 1664 in MindEye2, 257 x 768 and 77 x 768 in MindBridge. A diffusion prior reads these
    tokens; contrastive losses and retrieval read them through a :class:`TokenProjector`.
    """

    def __init__(self, width: int, n_tokens: int, dim: int):
        check_positive_int("n_tokens", n_tokens)
        super().__init__(width, n_tokens * dim)
        self.n_tokens, self.dim = n_tokens, dim

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).unflatten(-1, (self.n_tokens, self.dim))


class TokenProjector(nn.Sequential):
    """Three times ``W GELU(LN t)``, the same for every token (MindEye, MindEye2).

    Parameters
    ----------
    dim : int
        Channels of a token, in and out.
    hidden : int, optional
        2048 in MindEye; ``dim`` (the default) in MindEye2.
    """

    def __init__(self, dim: int, hidden: int | None = None):
        hidden = hidden or dim
        layers = []
        for n_in, n_out in ((dim, hidden), (hidden, hidden), (hidden, dim)):
            layers += [nn.LayerNorm(n_in), nn.GELU(), nn.Linear(n_in, n_out)]
        super().__init__(*layers)


class ControlHint(nn.Module):
    """Tokens to the map that a ControlNet adds to its first feature map (NeuroPictor). Zero at the start.

    Tokens stand as channels: two convolutions of kernel 1, N -> 2N -> ``channels``; a linear map of each token to
    ``size * size`` places; SiLU; a convolution of kernel 3 that starts at zero.

    Parameters
    ----------
    n_tokens, dim : int
    channels : int
        Of the UNet's first feature map, 320 in Stable Diffusion.
    size : int
        Height and width of the latents, 64 in Stable Diffusion.
    """

    def __init__(self, n_tokens: int = 257, dim: int = 1024, channels: int = 320, size: int = 64):
        super().__init__()
        self.n_tokens, self.size = n_tokens, size
        self.mix = nn.Sequential(nn.Conv1d(n_tokens, 2 * n_tokens, 1), nn.Conv1d(2 * n_tokens, channels, 1))
        self.places = nn.Linear(dim, size**2)
        self.zero = nn.Conv1d(channels, channels, 3, padding=1)
        self.start(torch.Generator())

    def start(self, generator: torch.Generator) -> None:
        zero_weights(self.zero)

    def forward(self, tokens: Tensor) -> Tensor:
        _check_tokens(tokens, self.n_tokens)
        hint = self.places(self.mix(tokens))  # (B, channels, size * size)
        return self.zero(nn.functional.silu(hint)).unflatten(2, (self.size, self.size))


class SemanticTokens(nn.Module):
    """Tokens of a brain to tokens of a text encoder (NeuroPictor): N -> ``hidden`` -> ``n_out`` tokens, linear, LN.

    Parameters
    ----------
    n_tokens, dim : int
        Tokens of the brain; ``dim`` channels also come out.
    n_out : int
        77 for CLIP text.
    hidden : int
    """

    def __init__(self, n_tokens: int = 257, dim: int = 1024, n_out: int = 77, hidden: int = 128):
        super().__init__()
        self.n_tokens = n_tokens
        self.mix = nn.Sequential(nn.Conv1d(n_tokens, hidden, 1), nn.Conv1d(hidden, n_out, 1))
        self.project = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.parallel: nn.Sequential | None = None

    def add_parallel(self) -> None:
        """Add a copy of the branch that ends in a zero convolution, to fine-tune one subject from shared weights.

        The output stays as it was, to the bit, until the copy is trained.
        """
        n_out = self.mix[-1].out_channels
        zero = built(lambda: nn.Conv1d(n_out, n_out, 1)).to(self.project.weight)
        zero_weights(zero)
        self.parallel = nn.Sequential(copy.deepcopy(self.mix), copy.deepcopy(self.project), zero)

    def forward(self, tokens: Tensor) -> Tensor:
        _check_tokens(tokens, self.n_tokens)
        text = self.norm(self.project(self.mix(tokens)))  # (B, n_out, D)
        return text if self.parallel is None else text + self.parallel(tokens)


class Builder(nn.Module):
    """The shared embedding back to a subject's pooled responses (MindBridge): the reverse of `PooledBottleneck`.

    ``q = GELU(LN(W e))``, then ``q + Up(ReLU(Down q))``.

    Parameters
    ----------
    width, n_pooled : int
        Of the embedding, and of the pooled responses.
    bottleneck : int
    """

    def __init__(self, width: int = 2048, n_pooled: int = 8192, bottleneck: int = 128):
        super().__init__()
        self.expand = nn.Sequential(nn.Linear(width, n_pooled), nn.LayerNorm(n_pooled), nn.GELU())
        self.bottleneck = ZeroBottleneck(n_pooled, bottleneck)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.bottleneck(self.expand(embedding))  # (B, C) -> (B, P)


def _check_tokens(tokens: Tensor, n_tokens: int) -> None:
    if tokens.ndim != 3 or tokens.shape[1] != n_tokens:
        raise ShapeMismatch(f"expected (B, {n_tokens} tokens, D), got {tuple(tokens.shape)}.")
