"""The transformer inside the diffusion prior: which clean tokens stand behind these noisy ones, given brain tokens?

Two forms. *Joint*: one non-causal transformer over ``[brain tokens; time; noisy tokens]``, of which the last are read.
*Memory*: a decoder over ``[time; noisy tokens]`` that looks at the brain tokens by cross-attention only.

Attention follows the priors of DALL-E 2 replications, which MindEye adopted: one key and value for all heads, a learned
null key, cosine similarities times 16, rotary positions and a relative-position bias; feed-forward by SwiGLU.
Departure: relative distances are told apart in both directions, as fits a transformer that sees both.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COSINE_SCALE = 16.0
N_BUCKETS, MAX_DISTANCE = 32, 128  # of the relative-position bias, as in T5
ROTARY = 32  # numbers of each head that rotate with position, at most


class PriorNetwork(nn.Module):
    """Predict clean tokens from noisy ones.

    Parameters
    ----------
    n_tokens, dim : int
        Of the tokens, of brain and image alike.
    depth, heads, dim_head : int
    memory : bool
        Brain tokens enter by cross-attention only.
    """

    def __init__(self, n_tokens: int, dim: int, depth: int, heads: int, dim_head: int, memory: bool = False):
        super().__init__()
        self.memory = memory
        self.time = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, dim)
        )
        self.positions = nn.Parameter(torch.empty(n_tokens, dim))
        self.null_brain = nn.Parameter(torch.empty(n_tokens, dim))
        self.null_image = nn.Parameter(torch.empty(n_tokens, dim))
        self.bias = nn.Embedding(N_BUCKETS, heads)
        self.layers = nn.ModuleList(_Layer(dim, heads, dim_head, memory) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def start(self, generator: torch.Generator) -> None:
        for tokens in (self.positions, self.null_brain, self.null_image):
            nn.init.normal_(tokens, std=tokens.shape[1] ** -0.5, generator=generator)

    def forward(
        self,
        noisy: Tensor,
        t: Tensor,
        brain: Tensor,
        keep_brain: Tensor | None = None,
        keep_image: Tensor | None = None,
        keep_tokens: Tensor | None = None,
    ) -> Tensor:
        """Return clean tokens.

        Parameters
        ----------
        noisy, brain : (B, N, D)
        t : (B,)
            Time step.
        keep_brain, keep_image : (B,) bool, optional
            Where False, learned null tokens stand in for the brain's or the noisy image's.
        keep_tokens : (B, N) bool, optional
            Brain tokens that cross-attention may look at.

        Returns
        -------
        (B, N, D)
        """
        if keep_brain is not None:
            brain = torch.where(keep_brain[:, None, None], brain, self.null_brain.to(brain.dtype))
        if keep_image is not None:
            noisy = torch.where(keep_image[:, None, None], noisy, self.null_image.to(noisy.dtype))
        n = noisy.shape[1]
        parts = [self.time(sinusoids(t, noisy.shape[2]).to(noisy))[:, None], noisy + self.positions]
        x = torch.cat(parts if self.memory else [brain, *parts], 1)  # (B, [N +] 1 + N, D)
        bias = self._relative(x.shape[1]).to(x.dtype)
        for layer in self.layers:
            x = layer(x, bias, brain if self.memory else None, keep_tokens)
        return self.out(self.norm(x[:, -n:]))

    def _relative(self, n: int) -> Tensor:
        """Bias (heads, n, 1 + n) of every query on the null key (none) and every key."""
        at = torch.arange(n, device=self.bias.weight.device)
        values = self.bias(relative_buckets(at[None] - at[:, None]))  # (n, n, heads)
        return F.pad(values.permute(2, 0, 1), (1, 0))


class _Layer(nn.Module):
    def __init__(self, dim: int, heads: int, dim_head: int, memory: bool):
        super().__init__()
        self.attention = _Attention(dim, heads, dim_head)
        self.cross = _Attention(dim, heads, dim_head) if memory else None
        self.norm = nn.LayerNorm(dim, bias=False)
        self.up = nn.Linear(dim, 8 * dim, bias=False)
        self.down = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x: Tensor, bias: Tensor, memory: Tensor | None, keep: Tensor | None) -> Tensor:
        x = x + self.attention(x, x, bias=bias)
        if self.cross is not None:
            mask = None if keep is None else F.pad(keep, (1, 0), value=True)[:, None, None]  # (B, 1, 1, 1 + N)
            x = x + self.cross(x, memory, bias=mask)
        value, gate = self.up(self.norm(x)).chunk(2, -1)
        return x + self.down(value * F.silu(gate))


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int, dim_head: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim, bias=False)
        self.to_q = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim_head, bias=False)
        self.null = nn.Parameter(torch.empty(2, dim_head))
        self.out = nn.Linear(heads * dim_head, dim, bias=False)
        self.out_norm = nn.LayerNorm(dim, bias=False)

    def start(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.null, generator=generator)

    def forward(self, x: Tensor, source: Tensor | None, bias: Tensor | None) -> Tensor:
        own = source is x
        x = self.norm(x)
        q = self.to_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, n, dim_head)
        k, v = self.to_kv(x if own else source).chunk(2, -1)  # (B, m, dim_head), the same for all heads
        if own:
            q, k = rotate(q), rotate(k)
        null_k, null_v = (self.null[i].to(k.dtype).expand(len(k), 1, -1) for i in (0, 1))
        k, v = torch.cat([null_k, k], 1), torch.cat([null_v, v], 1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        k, v = (a[:, None].expand(-1, self.heads, -1, -1) for a in (k, v))
        mixed = F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype), attn_mask=bias, scale=COSINE_SCALE)
        return self.out_norm(self.out(mixed.transpose(1, 2).flatten(2)))


def sinusoids(t: Tensor, dim: int) -> Tensor:
    """Return sines and cosines (B, dim) of time steps (B,), wavelengths from 2 pi to 10,000 times that.

    >>> sinusoids(torch.tensor([0]), 4)
    tensor([[0., 0., 1., 1.]])
    """
    half = (dim + 1) // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / max(half - 1, 1))
    angles = t.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)[:, :dim]


def rotate(x: Tensor) -> Tensor:
    """Turn pairs of the first numbers of ``x`` (..., n, d) by angles proportional to their position (rotary)."""
    size = min(ROTARY, x.shape[-1]) // 2 * 2
    if not size:
        return x
    rates = 10_000.0 ** (-torch.arange(0, size, 2, device=x.device) / size)
    angles = torch.arange(x.shape[-2], device=x.device)[:, None] * rates  # (n, size / 2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    even, odd = x[..., :size:2], x[..., 1:size:2]
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)
    return torch.cat([turned, x[..., size:]], -1)


def relative_buckets(distance: Tensor) -> Tensor:
    """Return the class (0 to 31) of signed distances: exact when near, by logarithm up to 128 away, one half a side.

    >>> relative_buckets(torch.tensor([0, 1, -1, 7, 1000, -1000]))
    tensor([ 0, 17,  1, 23, 31, 15])
    """
    half = N_BUCKETS // 2
    exact = half // 2
    near = distance.abs()
    far = torch.log(near.clamp_min(1) / exact) / math.log(MAX_DISTANCE / exact) * (half - exact)
    bucket = torch.where(near < exact, near, (exact + far.long()).clamp_max(half - 1))
    return bucket + (distance > 0) * half
