r"""Second stage of the V1-MT model: local motion signals exchange messages until they agree on how surfaces move.

Places are the nodes of a graph. Each has a value and an embedding that says what it belongs to; at every step

    A_ij    = exp(s cos(a_i, a_j)) / max,     s = 3 pi sig(mean of a readout of the embeddings) + 1
    message = MLP([value, LN(Linear(D^-1/2 A D^-1/2 value))])
    value, a <- ConvGRU(value, message), ConvGRU(a, message)

with the same weights at all steps. What is read out after a step, (Linear GELU Linear(value))^2 over its mean over
places and channels, is the MT response; one linear decoder turns it into flow, whichever the step.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from neuro.features._v1_mt_energy import CELL


class ConvGRU(nn.Module):
    """Gated recurrent unit with 3 x 3 convolutions; state and message have the same width."""

    def __init__(self, width: int):
        super().__init__()
        self.gates = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.candidate = nn.Conv2d(2 * width, width, 3, padding=1)

    def forward(self, state: torch.Tensor, message: torch.Tensor) -> torch.Tensor:  # (B, C, h, w) both
        keep, reset = self.gates(torch.cat([state, message], 1)).sigmoid().chunk(2, 1)
        new = self.candidate(torch.cat([reset * state, message], 1)).tanh()
        return keep * state + (1 - keep) * new


class Integration(nn.Module):
    """V1 responses (B, C, h, w) to MT responses (B, C, h, w) and mask logits (B, 9 * 64, h, w) of every step."""

    def __init__(self, width: int, n_iterations: int):
        super().__init__()
        self.n_iterations = n_iterations
        self.to_value, self.to_embedding = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.sharpness = nn.Linear(width, 1)
        self.gather = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
        self.message = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))
        self.update_value, self.update_embedding = ConvGRU(width), ConvGRU(width)
        self.readout = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.mask = nn.Conv2d(width, 9 * CELL**2, 3, padding=1)

    def forward(self, v1: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        B, C, h, w = v1.shape
        value, embedding = self.to_value(v1).tanh(), self.to_embedding(v1).tanh()
        place = positions(C, h, w).to(v1)
        found = []
        for _ in range(self.n_iterations):
            nodes = value.flatten(2).transpose(1, 2)  # (B, N, C)
            mixed = self.affinity(embedding + place) @ nodes
            message = self.message(torch.cat([nodes, self.gather(mixed)], -1)).transpose(1, 2).reshape(B, C, h, w)
            value = self.update_value(value, message)
            embedding = self.update_embedding(embedding, message)
            response = self.readout(value.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).square()
            response = response / (response.mean((1, 2, 3), keepdim=True) + 1e-6)
            found.append((response, self.mask(value)))
        return found

    def affinity(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return normalised affinities (B, N, N) of embeddings (B, C, h, w)."""
        a = embedding.flatten(2).transpose(1, 2)  # (B, N, C)
        s = 3 * math.pi * self.sharpness(a).mean((1, 2)).sigmoid() + 1  # (B,)
        unit = F.normalize(a, dim=-1)
        cosine = unit @ unit.transpose(1, 2)
        A = torch.exp(s[:, None, None] * (cosine - cosine.amax((1, 2), keepdim=True)))
        root = A.sum(-1).rsqrt()
        return root[:, :, None] * A * root[:, None, :]


class FlowDecoder(nn.Module):
    """A linear map from MT responses (B, C, h, w) to flow (B, 2, h, w), in px per frame."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(width, width // 2, 1), nn.Conv2d(width // 2, width // 4, 1))
        self.second = nn.Conv2d(width // 4, width // 8, 1)
        self.flow = nn.Conv2d(width // 4 + width // 8, 2, 1)

    def forward(self, response: torch.Tensor) -> torch.Tensor:
        first = self.first(response)
        return self.flow(torch.cat([first, self.second(first)], 1))


def upsample(flow: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return flow (B, 2, 8 h, 8 w): every pixel a convex combination of the 3 x 3 cells around it.

    Parameters
    ----------
    flow : tensor (B, 2, h, w)
    mask : tensor (B, 9 * 64, h, w), logits
    """
    B, _, h, w = flow.shape
    weight = mask.reshape(B, 1, 9, CELL, CELL, h, w).softmax(2)
    around = F.unfold(F.pad(flow, (1, 1, 1, 1), mode="replicate"), 3).reshape(B, 2, 9, 1, 1, h, w)
    return (weight * around).sum(2).permute(0, 1, 4, 2, 5, 3).reshape(B, 2, CELL * h, CELL * w)


def positions(width: int, h: int, w: int) -> torch.Tensor:
    """Return sine and cosine codes (width, h, w) of rows and columns, of wavelengths from 2 to 10,000 pi cells."""
    quarter = -(-width // 4)
    rate = 10_000 ** (-torch.arange(quarter) / max(quarter - 1, 1))
    row, column = torch.arange(h)[:, None] * rate, torch.arange(w)[:, None] * rate  # (h, quarter), (w, quarter)
    code = [f(row)[:, None].expand(h, w, quarter) for f in (torch.sin, torch.cos)]
    code += [f(column)[None].expand(h, w, quarter) for f in (torch.sin, torch.cos)]
    return torch.cat(code, -1)[..., :width].permute(2, 0, 1)
