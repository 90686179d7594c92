"""Networks between a subject's adapter and the heads, shared by all subjects.

Letters: B trials, C width, S sequence, N tokens, D channels of a token.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from neuro._check import check_positive_int
from neuro.decoders._blocks import Attention, FeedForward, Residual
from neuro.errors import ShapeMismatch

__all__ = ["Mixer", "Perceiver", "ResMLP", "TokenSelfAttention"]


class ResMLP(nn.Sequential):
    """``n_blocks`` times ``x + Drop(GELU(LN(W x)))`` (MindEye, MindBridge, See Through Their Minds).

    Parameters
    ----------
    width : int
        4096 in MindEye, 2048 in MindBridge.
    n_blocks : int
    dropout : float
    activation_first : bool
        ``LN(GELU(W x))`` instead.
    bias, activation
        MindEye's low-level network has ``bias=False, activation=nn.SiLU, dropout=0.25``.
    """

    def __init__(
        self,
        width: int,
        n_blocks: int = 4,
        dropout: float = 0.15,
        activation_first: bool = False,
        bias: bool = True,
        activation: Callable[[], nn.Module] = nn.GELU,
    ):
        def block() -> nn.Module:
            pair = (nn.LayerNorm(width), activation())
            pair = pair[::-1] if activation_first else pair
            return Residual(nn.Sequential(nn.Linear(width, width, bias=bias), *pair, nn.Dropout(dropout)))

        super().__init__(*(block() for _ in range(n_blocks)))


class Mixer(nn.Module):
    """Alternate between mixing channels and mixing places of a sequence (MindEye2).

    Each of ``n_blocks`` steps is ``x + MLP(LN x)`` over channels, then the same over the sequence, with
    ``MLP = Linear-GELU-Drop-Linear``.

    Parameters
    ----------
    width : int
    sequence : int
        Places of the sequence; 1 in MindEye2.
    n_blocks : int
    dropout : float
    separate_streams : bool
        As published: channel and sequence steps each add to their *own* last result. With ``sequence=1`` this takes
        the channel steps out of the network: LN over one value is its bias, so a sequence step adds a constant to
        the stream it owns, and that stream started at the input. The trunk is then ``x + constant`` and the channel
        MLPs get no gradient. False adds both to one stream, as mixers do.
    """

    def __init__(
        self, width: int, sequence: int = 1, n_blocks: int = 4, dropout: float = 0.15, separate_streams: bool = False
    ):
        super().__init__()
        self.width, self.sequence, self.separate_streams = width, sequence, separate_streams

        def mlp(n: int) -> nn.Module:
            return nn.Sequential(nn.LayerNorm(n), nn.Linear(n, n), nn.GELU(), nn.Dropout(dropout), nn.Linear(n, n))

        self.channels = nn.ModuleList(mlp(width) for _ in range(n_blocks))
        self.places = nn.ModuleList(mlp(sequence) for _ in range(n_blocks))

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, C) or, for a sequence of one, (B, C) -> (B, S * C)."""
        x = x.reshape(len(x), self.sequence, self.width)
        by_channel, by_place = x, x.mT  # (B, S, C), (B, C, S)
        for mix_channels, mix_places in zip(self.channels, self.places, strict=True):
            by_channel = by_channel + mix_channels(x)
            if not self.separate_streams:
                by_place = by_channel.mT
            by_place = by_place + mix_places(by_channel.mT)
            x = by_place.mT
            if not self.separate_streams:
                by_channel = x
        return x.flatten(1)


class TokenSelfAttention(nn.Module):
    """A vector unfolds into tokens, which look at one another (See Through Their Minds).

    ``t = W GELU(LN x)`` as N tokens, ``t + Attention(t)``, then ``W2 Drop(GELU(LN(W1 LN t)))``, shared over tokens.

    Parameters
    ----------
    width : int
        Of the input vector.
    n_tokens, dim : int
        Output is (B, n_tokens, dim).
    channels : int
        Of a token while attending.
    n_heads, attention_width : int
        Queries, keys and values have ``attention_width`` channels over all heads.
    hidden : int
    dropout : float
    """

    def __init__(
        self,
        width: int = 4096,
        n_tokens: int = 257,
        dim: int = 768,
        channels: int = 128,
        n_heads: int = 8,
        attention_width: int = 768,
        hidden: int = 1536,
        dropout: float = 0.15,
    ):
        super().__init__()
        if attention_width % n_heads:
            raise ShapeMismatch(f"attention_width {attention_width} must be a multiple of n_heads {n_heads}.")
        self.n_tokens = n_tokens
        self.unfold = nn.Sequential(nn.LayerNorm(width), nn.GELU(), nn.Linear(width, n_tokens * channels))
        self.attention = Residual(Attention(channels, n_heads, attention_width // n_heads))
        self.out = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.unfold(x).unflatten(1, (self.n_tokens, -1))  # (B, N, channels)
        return self.out(self.attention(tokens))  # (B, N, D)


class Perceiver(nn.Module):
    """A fixed number of learned latents reads any number of tokens (UMBRAE).

    Each layer: ``z + Attention(LN z -> [LN tokens; LN z])``, then ``z + FeedForward(LN z)``; a last LN.

    Parameters
    ----------
    width : int
        Channels of latents and of the output.
    n_latents, depth, n_heads, head_width : int
    memory_width : int, optional
        Channels of the tokens read, if not ``width``; they are mapped linearly.
    mlp_ratio : float
    """

    def __init__(
        self,
        width: int = 1024,
        n_latents: int = 256,
        depth: int = 6,
        n_heads: int = 16,
        head_width: int = 96,
        memory_width: int | None = None,
        mlp_ratio: float = 4.0,
    ):
        super().__init__()
        check_positive_int("n_latents", n_latents)
        self.latents = nn.Parameter(torch.empty(n_latents, width))
        self.read = nn.Identity() if memory_width in (None, width) else nn.Linear(memory_width or width, width)
        self.layers = nn.ModuleList(
            _PerceiverLayer(width, n_heads, head_width, round(width * mlp_ratio)) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.start(torch.Generator().manual_seed(0))

    def start(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.latents, generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.read(tokens)  # (B, M, C)
        z = self.latents.expand(len(tokens), -1, -1)  # (B, N, C)
        for layer in self.layers:
            z = layer(z, tokens)
        return self.norm(z)


class _PerceiverLayer(nn.Module):
    def __init__(self, width: int, n_heads: int, head_width: int, hidden: int):
        super().__init__()
        self.norm_tokens, self.norm_latents, self.norm = (nn.LayerNorm(width) for _ in range(3))
        self.attention = Attention(width, n_heads, head_width, bias=False)
        self.feed_forward = FeedForward(width, hidden, bias=False)

    def forward(self, z: Tensor, tokens: Tensor) -> Tensor:
        query = self.norm_latents(z)
        z = z + self.attention(query, torch.cat([self.norm_tokens(tokens), query], 1))
        return z + self.feed_forward(self.norm(z))
