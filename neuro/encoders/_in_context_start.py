"""Where does training of an in-context network begin? In coordinates in which images vary equally, if asked to.

Embeddings of joint image-text models share a large mean, and their variance falls off steeply: a few directions hold
nearly all that voxels answer to, and gradient descent learns those one after the other. With embeddings x (mean m,
covariance C) and weights w of other voxels (second moment W, each scaled to responses of variance 1), take the
directions B that diagonalise both, w = B u with cov(u) = I and cov(B'x) = diag(v), the largest v first. The first stage
begins with

    tokens  [v^-1/2 B'(x - m), y] + a random mixture of both,

and the last one with weights in the span of B, the intercept -w.m with them. Architecture and training stay as they
are: only initial values differ.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from neuro.encoders._in_context_network import InContextNetwork

GAIN = 0.1  # of the first normalisation, around 1: its leaky rectifier then passes nearly all inputs unchanged
RELATIVE = 1e-4  # directions with less of the largest variance of responses are left out
SMALL = 0.3  # s.d. of the first predictions' coordinates u, whose prior has 1


def start_from(network: InContextNetwork, images: np.ndarray, weights: np.ndarray, seed: int) -> int:
    """Set the first and last stage's initial values, in place.

    Parameters
    ----------
    network : InContextNetwork
    images : array (n_images, E), unit length
    weights : array (n_voxels, E)
    seed : int

    Returns
    -------
    int
        Directions in use: at most half the network's width.
    """
    E, D = network.config.n_features, network.config.width
    mean, B, variance = directions(images, weights, D // 2)
    k = len(variance)
    rng = torch.Generator().manual_seed(seed)

    def random(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, generator=rng, dtype=torch.float64) / math.sqrt(columns)

    white = (B / variance.sqrt()).T  # (k, E)
    embed, head = network.embed, network.head
    step = math.sqrt(2 / (E + 1)) / GAIN  # of [x, y] per unit of the first normalisation's output, for |y| = 1
    mixed, heard = random(2 * D, k) @ white, random(2 * D, 1)
    first = torch.cat([mixed, heard], 1) * step  # (2D, E + 1)
    out = torch.cat([B, -(mean @ B)[None]])  # (E + 1, k): weights, and the intercept that belongs to them
    with torch.no_grad():
        embed.norm1.weight.fill_(GAIN)
        embed.norm1.bias.fill_(1.0)
        embed.linear1.weight.copy_(first)
        embed.linear1.bias.copy_(-mixed @ mean - first.sum(1))
        beside = embed.bypass
        if isinstance(beside, nn.Linear):  # the identity where E + 1 = D
            beside.weight.zero_()
            beside.bias.zero_()
            beside.weight[:k, :E] = white.to(beside.weight)
            beside.bias[:k] = -(white @ mean).to(beside.bias)
            beside.weight[k, E] = 1.0
        for layer in (head.linear2, head.bypass):
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(out @ random(k, layer.in_features) * SMALL)
                layer.bias.zero_()
    return k


def directions(images: np.ndarray, weights: np.ndarray, most: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the images' mean (E,), directions (E, k) and the variance (k,) of images along them."""
    X = torch.from_numpy(np.array(images, np.float64))
    W = torch.from_numpy(np.array(weights, np.float64))
    mean = X.mean(0)
    C = (X - mean).T @ (X - mean) / len(X)
    W = W / ((W @ C) * W).sum(1, keepdim=True).clamp_min(1e-30).sqrt()
    values, vectors = torch.linalg.eigh(W.T @ W / len(W))
    L = vectors * values.clamp_min(0).sqrt()
    variance, rotation = torch.linalg.eigh(L.T @ C @ L)
    kept = torch.arange(len(variance) - 1, -1, -1)[: int((variance > RELATIVE * variance[-1]).sum())][:most]
    return mean, L @ rotation[:, kept], variance[kept]
