"""Pieces that several networks of decoders are made of, and how their weights are drawn.

Weights never come from torch's global generator: :func:`built` makes a network without memory, allocates it, and draws
every weight from the generator it is given. A module that wants other than torch's usual starting values says so in a
method ``start(generator)``, which is called after its children are drawn (and by its constructor, for use alone).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Module = TypeVar("Module", bound=nn.Module)

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d)


@torch.no_grad()
def draw_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights of ``module`` anew, in the order of its definition.

    Linear maps and convolutions get torch's usual ``U(-a, a)`` with ``a = 1 / sqrt(fan_in)`` for weights and biases,
    norms one and zero, embeddings ``N(0, 1)``; then ``start(generator)`` of each module that has one, children first.

    Raises
    ------
    TypeError
        If a module holds weights that none of these rules covers.
    """
    for part in module.modules():
        if isinstance(part, _WEIGHTED):
            bound = part.weight[0].numel() ** -0.5
            for weight in part.parameters(recurse=False):
                weight.uniform_(-bound, bound, generator=generator)
        elif isinstance(part, _NORMS):
            part.reset_parameters()
        elif isinstance(part, nn.Embedding):
            part.weight.normal_(generator=generator)
        elif not hasattr(part, "start") and any(True for _ in part.parameters(recurse=False)):
            raise TypeError(f"{type(part).__name__} holds weights but does not say how they start (method `start`).")
    for part in reversed(list(module.modules())):
        if hasattr(part, "start"):
            part.start(generator)


def built(make: Callable[[], Module], generator: torch.Generator | None = None) -> Module:
    """Return ``make()`` with weights drawn from ``generator`` (seed 0 where none is given).

    Under ``torch.device("meta")`` the network stays without memory.
    """
    wanted = torch.get_default_device()
    with torch.device("meta"):
        module = make()
    if wanted.type == "meta":
        return module
    module.to_empty(device="cpu")
    draw_weights(module, torch.Generator().manual_seed(0) if generator is None else generator)
    return module.to(wanted)


def count_parameters(module: nn.Module) -> int:
    """Return the number of weights, shared ones once."""
    return sum(p.numel() for p in module.parameters())


def zero_weights(*modules: nn.Module) -> None:
    """Set all weights of these modules to zero, so that they say nothing at the start of training."""
    with torch.no_grad():
        for module in modules:
            for weight in module.parameters():
                weight.zero_()


class Residual(nn.Module):
    """``x + f(x)``."""

    def __init__(self, f: nn.Module):
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return x + self.f(x)


class ZeroBottleneck(nn.Module):
    """``x + Up(ReLU(Down x))`` with ``Up`` zero at the start: the identity, until trained."""

    def __init__(self, width: int, bottleneck: int):
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.start(torch.Generator())

    def start(self, generator: torch.Generator) -> None:
        zero_weights(self.up)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(self.down(x).relu())


class Attention(nn.Module):
    """Multi-head attention ``softmax(q k' / sqrt(d)) v``, from tokens ``x`` to ``memory`` (to themselves without one).

    Parameters
    ----------
    width : int
        Channels of ``x`` and of the output.
    n_heads, head_width : int
        Queries, keys and values have ``n_heads * head_width`` channels.
    memory_width : int, optional
        Channels of the memory, if not ``width``.
    """

    def __init__(self, width: int, n_heads: int, head_width: int, memory_width: int | None = None, bias: bool = True):
        super().__init__()
        inner = n_heads * head_width
        self.n_heads = n_heads
        self.query = nn.Linear(width, inner, bias=bias)
        self.key_value = nn.Linear(memory_width or width, 2 * inner, bias=bias)
        self.out = nn.Linear(inner, width, bias=bias)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        q = self._heads(self.query(x))  # (B, H, N, d)
        k, v = (self._heads(part) for part in self.key_value(x if memory is None else memory).chunk(2, -1))
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, H, N, d)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    """``Linear(GELU(Linear(x)))``."""

    def __init__(self, width: int, hidden: int, bias: bool = True):
        super().__init__(nn.Linear(width, hidden, bias=bias), nn.GELU(), nn.Linear(hidden, width, bias=bias))


class TransformerBlock(nn.Module):
    """Pre-norm transformer block: ``x + Attention(LN x)``, then ``x + FeedForward(LN x)``."""

    def __init__(self, width: int, n_heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, n_heads, width // n_heads)
        self.feed_forward = FeedForward(width, round(width * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))
