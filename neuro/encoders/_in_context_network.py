"""How does a network turn a few images and a voxel's responses to them into that voxel's weights? The whole of it.

For one voxel with context embeddings ``x_1..x_S`` (unit length) and responses ``y_1..y_S``::

    t_s   = embed([x_s, y_s])                          one token per context image; learned tokens go before them
    t    += attention(query = log(T) LN(t), key = value = LN(t));   t += swiglu(LN(t))     L times; T counts all tokens
    w, b  = head(t_0);    prediction for an image x = w . x + b

There are no positions, so the order of the context does not matter. The factor log(T) sharpens attention as the context
grows, which keeps a network usable at sizes it did not see. It multiplies what the query projection reads: that
projection's bias is not scaled.

Letters: B voxels, S context images, T = S + learned tokens, E features, D width, H heads, F hidden units.

References
----------
Yu et al. (2025), Meta-Learning an In-Context Transformer Model of Human Higher Visual Cortex, arXiv 2505.15813
(BraInCoRL); Chiang & Cholak (2022), Overcoming a theoretical limitation of self-attention (scaling by the log);
Shazeer (2020), GLU variants improve transformer, arXiv 2002.05202.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from neuro.encoders.in_context_config import InContextConfig
from neuro.errors import ShapeMismatch

SLOPE = 0.1


class ResidualBlock(nn.Module):
    """``LN, LeakyReLU, Linear, LN, LeakyReLU, Linear`` beside a linear bypass (the identity if sizes agree)."""

    def __init__(self, n_in: int, n_hidden: int, n_out: int, dropout: float):
        super().__init__()
        self.norm1, self.linear1 = nn.LayerNorm(n_in), nn.Linear(n_in, n_hidden)
        self.norm2, self.linear2 = nn.LayerNorm(n_hidden), nn.Linear(n_hidden, n_out)
        self.bypass = nn.Linear(n_in, n_out) if n_in != n_out else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (..., n_in)
        h = self.linear1(self.dropout(F.leaky_relu(self.norm1(x), SLOPE)))  # (..., n_hidden)
        h = self.linear2(self.dropout(F.leaky_relu(self.norm2(h), SLOPE)))  # (..., n_out)
        return h + self.bypass(x)


class Attention(nn.Module):
    """Multi-head attention of the first ``n_out`` tokens over all of them, sharpened by the log of their number."""

    def __init__(self, width: int, n_heads: int, dropout: float):
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.in_proj = nn.Linear(width, 3 * width)  # rows: query, key, value
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj.weight)
        nn.init.zeros_(self.in_proj.bias)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, y: torch.Tensor, n_out: int, want_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:  # y (B, T, D)
        B, T, D = y.shape
        W, b = self.in_proj.weight, self.in_proj.bias
        q = F.linear(math.log(T) * y[:, :n_out], W[:D], b[:D])  # (B, n_out, D)
        k, v = F.linear(y, W[D:], b[D:]).chunk(2, dim=-1)  # (B, T, D) each
        q, k, v = (a.view(B, -1, self.n_heads, D // self.n_heads).transpose(1, 2) for a in (q, k, v))  # (B, H, ., D/H)
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        out = self.out_proj(out.transpose(1, 2).reshape(B, n_out, D))  # (B, n_out, D)
        if not want_weights:
            return out, None
        logits = torch.einsum("bhd,bhtd->bht", q[:, :, 0], k)
        return out, torch.softmax(logits / math.sqrt(D // self.n_heads), dim=-1)  # (B, H, T), of the first token


class SwiGLU(nn.Module):
    """``linear2(silu(a) * b)`` with ``[a, b] = linear1(x)``."""

    def __init__(self, width: int, ffn: int):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, 2 * ffn), nn.Linear(ffn, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, T, D)
        a, b = self.linear1(x).chunk(2, dim=-1)  # (B, T, F) each
        return self.linear2(F.silu(a) * b)


class Block(nn.Module):
    """Pre-norm attention and SwiGLU, each added to the tokens."""

    def __init__(self, config: InContextConfig):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.n_heads, config.dropout)
        self.swiglu = SwiGLU(config.width, config.ffn)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: torch.Tensor, n_out: int, want_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:  # x (B, T, D)
        attended, weights = self.attention(self.norm1(x), n_out, want_weights)
        x = x[:, :n_out] + self.dropout(attended)  # (B, n_out, D)
        return x + self.swiglu(self.norm2(x)), weights


class InContextNetwork(nn.Module):
    """From a context to linear weights.

    Parameters
    ----------
    config : InContextConfig
    """

    def __init__(self, config: InContextConfig):
        super().__init__()
        E, D = config.n_features, config.width
        self.config = config
        self.embed = ResidualBlock(E + 1, 2 * D, D, config.dropout)
        self.tokens = nn.Parameter(torch.randn(1, config.n_tokens, D) / math.sqrt(D + 1))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.head = ResidualBlock(D, 2 * D, E + 1, config.dropout)

    def forward(self, X_context: torch.Tensor, Y_context: torch.Tensor, want_attention: bool = False) -> Any:
        """Return the voxels' weights.

        Parameters
        ----------
        X_context : tensor (S, E), shared by all voxels, or (B, S, E); rows of unit length
        Y_context : tensor (B, S)
        want_attention : bool

        Returns
        -------
        weights : tensor (B, E + 1), the intercept last
        attention : tensor (n_layers, B, H, T), only with ``want_attention``
            Of the token that becomes the weights, over the learned tokens and then the context; sums to 1.

        Raises
        ------
        ShapeMismatch
            If shapes disagree with each other or with the configuration.
        """
        B, S = check_context(self.config, X_context, Y_context)
        X_context = X_context.expand(B, S, -1)  # (B, S, E)
        x = self.embed(torch.cat([X_context, Y_context.unsqueeze(-1)], dim=-1))  # (B, S, D)
        x = self.dropout(torch.cat([self.tokens.to(x.dtype).expand(B, -1, -1), x], dim=1))  # (B, T, D)
        attention = []
        for i, block in enumerate(self.blocks):
            last = i == len(self.blocks) - 1  # of the last block's output only token 0 is read, so only it is computed
            x, weights = block(x, 1 if last else x.shape[1], want_attention)
            attention.append(weights)
        weights = self.head(x[:, 0])  # (B, E + 1)
        return (weights, torch.stack(attention)) if want_attention else weights

    @property
    def n_parameters(self) -> int:
        """Numbers that training adjusts."""
        return sum(p.numel() for p in self.parameters())


def apply_weights(weights: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
    """Return predictions (B, Q) of weights (B, E + 1) for images (Q, E), shared by all voxels, or (B, Q, E)."""
    w, b = weights[:, :-1], weights[:, -1:]
    return (w @ X.T if X.ndim == 2 else torch.einsum("bqe,be->bq", X, w)) + b


def check_context(config: InContextConfig, X: torch.Tensor, Y: torch.Tensor) -> tuple[int, int]:
    """Return the numbers of voxels and of context images, or say what is wrong with the shapes."""
    if X.ndim not in (2, 3) or Y.ndim != 2 or X.shape[-2] != Y.shape[1] or (X.ndim == 3 and len(X) != len(Y)):
        raise ShapeMismatch(
            "X_context must be (n_images, n_features) or (n_voxels, n_images, n_features) and Y_context "
            f"(n_voxels, n_images); got {tuple(X.shape)} and {tuple(Y.shape)}."
        )
    if X.shape[-1] != config.n_features:
        raise ShapeMismatch(
            f"embeddings must have {config.n_features} numbers, as the network was made for, got {X.shape[-1]}."
        )
    return len(Y), Y.shape[1]
