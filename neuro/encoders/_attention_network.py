"""The network of the attention-routed encoder: which places of an image does each brain area listen to?

A fixed set of learned queries, one per brain area, looks at the spatial tokens of an image. With memory ``m`` (tokens),
positions ``p`` and query embeddings ``e``, one decoder layer computes (``t0 = 0``)

    t1  = t0 + MHA(query = LN1(t0) + e, key = m + p, value = m)
    t2  = t1 + W2 relu(W1 LN3(t1))
    out = LN(t2)

Values carry neither position nor normalisation: what arrives at an area is a weighted mean of the image's own tokens,
and the weights, the *routing map*, depend on the image. Queries exchange nothing. (Self-attention among them, which
detection networks have, would stand before they have seen the image, and could only rename the embeddings.)
The second variant, ``"raw_values"``, has no value projection, no residual around the attention and no outer norms.

Adeli, Sun & Kriegeskorte (2025), Transformer brain encoders explain human high-level visual responses,
arXiv:2505.17329. Letters: B images, Q queries, T tokens, C channels, H heads, V voxels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from neuro._check import check_option
from neuro.encoders._queries import Queries

VARIANTS = ("transformer", "raw_values")


def sine_positions(height: int, width: int, n_channels: int) -> torch.Tensor:
    """Two-dimensional sine code of the places of a grid, rows in the first half of the channels, columns in the second.

    With ``F = n_channels / 2`` features per axis, coordinate ``r = 1..height`` becomes ``u = 2 pi r / (height + 1e-6)``
    and feature j is ``sin(u / t_j)`` for even j, ``cos(u / t_j)`` for odd j, with ``t_j = 10000^(2 floor(j / 2) / F)``.

    Parameters
    ----------
    height, width : int
    n_channels : int, even

    Returns
    -------
    tensor (height * width, n_channels), float64
        Tokens in row-major order.
    """
    n_features = n_channels // 2
    j = torch.arange(n_features, dtype=torch.float64)
    period = 10000 ** (2 * torch.floor(j / 2) / n_features)

    def axis(length: int) -> torch.Tensor:
        u = 2 * math.pi * torch.arange(1, length + 1, dtype=torch.float64) / (length + 1e-6)
        angle = u[:, None] / period  # (length, F)
        return torch.where(j % 2 == 0, angle.sin(), angle.cos())

    rows = axis(height)[:, None].expand(height, width, n_features)
    columns = axis(width)[None].expand(height, width, n_features)
    return torch.cat([rows, columns], -1).reshape(height * width, -1)


def split_heads(x: torch.Tensor, n_heads: int) -> torch.Tensor:
    """(..., N, C) -> (..., H, N, C / H): head h is a contiguous slice of the channels."""
    return x.unflatten(-1, (n_heads, -1)).transpose(-2, -3)


class CrossAttention(nn.Module):
    """Queries look at keys, and take home values: softmax(q k' / sqrt(C / H)) v, head by head."""

    def __init__(self, n_channels: int, n_heads: int, dropout: float, project_values: bool):
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(n_channels, n_channels)
        self.key = nn.Linear(n_channels, n_channels)
        self.value = nn.Linear(n_channels, n_channels) if project_values else nn.Identity()
        self.out = nn.Linear(n_channels, n_channels)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.query, self.key, self.value, self.out):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def weights(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Share of each token in what each query receives: (B or 1, Q, C), (B, T, C) -> (B, H, Q, T)."""
        q = split_heads(self.query(queries), self.n_heads)  # (B or 1, H, Q, C / H)
        k = split_heads(self.key(keys), self.n_heads)  # (B, H, T, C / H)
        return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)

    def forward(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(B or 1, Q, C), (B, T, C), (B, T, C) -> (B, Q, C)."""
        v = split_heads(self.value(values), self.n_heads)  # (B, H, T, C / H)
        mixed = self.dropout(self.weights(queries, keys)) @ v  # (B, H, Q, C / H)
        return self.out(mixed.transpose(-2, -3).flatten(-2))


class RoutingDecoder(nn.Module):
    """One decoder layer from spatial tokens to one token per query; see the module's equations.

    Parameters
    ----------
    n_channels : int
        C, a multiple of ``n_heads``.
    n_heads, n_hidden : int
        Attention heads; width of the feed-forward part.
    dropout : float
    variant : {"transformer", "raw_values"}
    """

    def __init__(
        self,
        n_channels: int,
        n_heads: int = 16,
        n_hidden: int = 1024,
        dropout: float = 0.1,
        variant: str = "transformer",
    ):
        super().__init__()
        self.variant = check_option("variant", variant, VARIANTS)
        if n_channels % n_heads:
            raise ValueError(f"channels must split evenly over heads, got {n_channels} channels and {n_heads} heads.")
        norms = variant == "transformer"
        self.attention = CrossAttention(n_channels, n_heads, dropout, project_values=norms)
        self.norm1 = nn.LayerNorm(n_channels) if norms else nn.Identity()
        self.norm3 = nn.LayerNorm(n_channels)
        self.norm_out = nn.LayerNorm(n_channels) if norms else nn.Identity()
        self.linear1, self.linear2 = nn.Linear(n_channels, n_hidden), nn.Linear(n_hidden, n_channels)
        self.dropout = nn.Dropout(dropout)

    def asked(self, queries: torch.Tensor) -> torch.Tensor:
        """What enters the query projection: (Q, C) -> (1, Q, C)."""
        queries = queries[None]
        if self.variant == "raw_values":
            return queries
        return self.norm1(torch.zeros_like(queries)) + queries  # of the norm, the bias survives

    def routing(self, queries: torch.Tensor, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Attention weights: (Q, C), (B, T, C), (T, C) or (B, T, C) -> (B, H, Q, T), summing to one over T."""
        return self.attention.weights(self.asked(queries), tokens + positions)

    def forward(self, queries: torch.Tensor, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(Q, C), (B, T, C), (T, C) or (B, T, C) -> (B, Q, C)."""
        t = self.attention(self.asked(queries), tokens + positions, tokens)
        if self.variant == "transformer":
            t = self.dropout(t)
        hidden = self.dropout(F.relu(self.linear1(self.norm3(t))))
        return self.norm_out(t + self.dropout(self.linear2(hidden)))


class Readout(nn.Module):
    """Query tokens to voxels: ``y_v = w_v . sum_r m_rv out_r + b_v``, with ``sum_r m_rv = 1`` for every voxel.

    Voxels with the same column of ``m`` read the same mixture of tokens, so they share one product; nothing of size
    (B, Q, V) is ever made.

    Parameters
    ----------
    member : integer tensor (V,)
        The mixture that each voxel reads, 0..P - 1.
    patterns : tensor (P, Q) or None
        The mixtures, rows sum to one: ``m_rv = patterns[member[v], r]``. None: mixture p is query p.
    n_channels : int

    Attributes
    ----------
    weight : (V, C)
        w, with voxels of one mixture side by side: voxel v is row ``back[v]``. The bias is in the voxels' own order.
    """

    back: torch.Tensor
    patterns: torch.Tensor | None

    def __init__(self, member: torch.Tensor, patterns: torch.Tensor | None, n_channels: int):
        super().__init__()
        order = torch.argsort(member, stable=True)
        self.counts = torch.bincount(member).tolist()
        self.register_buffer("patterns", None if patterns is None else patterns.float(), persistent=False)
        self.register_buffer("back", torch.argsort(order), persistent=False)
        bound = n_channels**-0.5
        self.weight = nn.Parameter(torch.empty(len(member), n_channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(len(member)))

    def forward(self, out: torch.Tensor) -> torch.Tensor:
        """(B, Q, C) -> (B, V)."""
        mixed = out if self.patterns is None else torch.einsum("pq,bqc->bpc", self.patterns.to(out.dtype), out)
        if 4 * len(self.counts) > len(self.weight):  # few voxels per mixture: (B, V, C) is no bigger than what came
            repeats = torch.tensor(self.counts, device=out.device)
            y = (mixed[:, : len(repeats)].repeat_interleave(repeats, 1) * self.weight).sum(-1)
        else:
            y = torch.cat([mixed[:, p] @ w.T for p, w in enumerate(self.weight.split(self.counts))], 1)
        return y[:, self.back] + self.bias


class RoutingNetwork(nn.Module):
    """Tokens to voxels: (projection,) decoder, readout.

    Parameters
    ----------
    n_channels : int
        Of the tokens.
    grid : (height, width)
        Of the tokens, in row-major order.
    queries : Queries
        Which voxel listens to which query.
    n_dims : int or None
        Project tokens to this many channels first; None leaves them as they are.
    n_heads, n_hidden, dropout, variant
        As in ``RoutingDecoder``.
    """

    positions: torch.Tensor

    def __init__(self, n_channels: int, grid: tuple[int, int], queries: Queries, n_dims: int | None, **decoder: Any):
        super().__init__()
        dim = n_channels if n_dims is None else n_dims
        if dim % 2:
            raise ValueError(f"positions need an even number of channels, got {dim}; set n_dims to an even number.")
        self.project = nn.Identity() if n_dims is None else nn.Linear(n_channels, dim)
        self.queries = nn.Parameter(torch.randn(len(queries), dim))
        self.register_buffer("positions", sine_positions(*grid, dim).float(), persistent=False)
        self.decoder = RoutingDecoder(dim, **decoder)
        self.readout = Readout(queries.member, queries.patterns, dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T, C) -> (B, V)."""
        return self.readout(self.decoder(self.queries, self.project(tokens), self.positions))

    def routing(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T, C) -> (B, H, Q, T)."""
        return self.decoder.routing(self.queries, self.project(tokens), self.positions)

    def penalty(self) -> torch.Tensor | float:
        """Nothing beyond weight decay."""
        return 0.0
