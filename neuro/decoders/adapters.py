"""One input network per subject: from that person's voxels to a space that all people share.

People differ in the number and the meaning of their voxels, so the first layer is theirs alone and everything after it
may be shared. :class:`SubjectAdapters` keeps them by subject; adding a person leaves every other weight as it was.

Letters: B trials, V voxels, C width of the shared space, T time points, N tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neuro._check import check_option
from neuro.decoders._blocks import Residual, ZeroBottleneck
from neuro.decoders._flat_map import FlatMap
from neuro.decoders._subject_adapters import SubjectAdapters, add_subject, subject_parameters
from neuro.decoders._voxel_pool import VoxelPool
from neuro.errors import ShapeMismatch

__all__ = [
    "FlatMap",
    "LinearAdapter",
    "LinearNorm",
    "LinearResidual",
    "PerTimeLinear",
    "PooledBottleneck",
    "SubjectAdapters",
    "TimeAggregation",
    "VoxelPool",
    "VoxelTokenizer",
    "add_subject",
    "subject_parameters",
]


class LinearAdapter(nn.Linear):
    """``W x + b``: a linear regression, trained with the rest of the network (MindEye2; bias-free in Dynadiff).

    Parameters
    ----------
    n_voxels, width : int
    bias : bool
    scaled_normal : bool
        Start from ``N(0, 1) / sqrt(n_voxels)`` instead of torch's usual uniform weights.
    """

    def __init__(self, n_voxels: int, width: int, bias: bool = True, scaled_normal: bool = False):
        super().__init__(n_voxels, width, bias=bias)
        self.n_voxels = n_voxels
        self.scaled_normal = scaled_normal
        self.start(torch.Generator().manual_seed(0))

    def start(self, generator: torch.Generator) -> None:
        if self.scaled_normal:
            nn.init.normal_(self.weight, std=self.n_voxels**-0.5, generator=generator)


class LinearNorm(nn.Sequential):
    """``Drop(GELU(LN(W x)))`` (MindEye).

    Parameters
    ----------
    n_voxels, width : int
    dropout : float
    bias : bool
    activation : callable
        ``nn.SiLU`` and ``bias=False`` give the low-level network's first layer.
    """

    def __init__(
        self,
        n_voxels: int,
        width: int,
        dropout: float = 0.5,
        bias: bool = True,
        activation: Callable[[], nn.Module] = nn.GELU,
    ):
        super().__init__(nn.Linear(n_voxels, width, bias=bias), nn.LayerNorm(width), activation(), nn.Dropout(dropout))
        self.n_voxels = n_voxels


class LinearResidual(nn.Sequential):
    """:class:`LinearNorm` and one residual block of the subject's own (See Through Their Minds)."""

    def __init__(self, n_voxels: int, width: int, dropout: float = 0.5, block_dropout: float = 0.15):
        block = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(block_dropout))
        super().__init__(LinearNorm(n_voxels, width, dropout), Residual(block))
        self.n_voxels = n_voxels


class PooledBottleneck(nn.Module):
    """Voxels pooled to a fixed number, a bottleneck that starts as the identity, and a linear map (MindBridge).

    ``p = pool(x)``, ``p + Up(ReLU(Down p))``, then ``Drop(GELU(LN(W p)))``. Every subject's weights have the same
    shapes, so a new person may start from another's.

    Parameters
    ----------
    n_voxels, width : int
    n_pooled, pooling, regions
        As in :class:`VoxelPool`. Without ``regions``, voxels are pooled in their stored order and permuting them
        changes the output.
    bottleneck : int
    dropout : float
    """

    def __init__(
        self,
        n_voxels: int,
        width: int = 2048,
        n_pooled: int | Mapping[Any, int] = 8192,
        bottleneck: int = 128,
        pooling: str = "max",
        dropout: float = 0.5,
        regions: Sequence[Any] | None = None,
    ):
        super().__init__()
        self.n_voxels = n_voxels
        self.pool = VoxelPool(n_voxels, n_pooled, pooling, regions)
        self.bottleneck = ZeroBottleneck(self.pool.n_pooled, bottleneck)
        self.project = nn.Sequential(
            nn.Linear(self.pool.n_pooled, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout)
        )

    def embed(self, pooled: Tensor) -> Tensor:
        """(B, n_pooled) -> (B, C)."""
        return self.project(self.bottleneck(pooled))

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(self.pool(x))  # (B, V) -> (B, P) -> (B, C)


class PerTimeLinear(nn.Module):
    """A linear map of its own for each time point: ``y_t = W_t x_t + b_t`` (Dynadiff's grouped convolution).

    Parameters
    ----------
    n_voxels, width, n_times : int
        Input is (B, n_times, n_voxels), output (B, n_times, width).
    """

    def __init__(self, n_voxels: int, width: int, n_times: int, bias: bool = True):
        super().__init__()
        self.n_voxels, self.n_times = n_voxels, n_times
        self.weight = nn.Parameter(torch.empty(n_times, width, n_voxels))
        self.bias = nn.Parameter(torch.empty(n_times, width)) if bias else None
        self.start(torch.Generator().manual_seed(0))

    def start(self, generator: torch.Generator) -> None:
        bound = self.n_voxels**-0.5
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        _check_times(x, self.n_times)
        y = torch.einsum("btv,tcv->btc", x, self.weight)  # (B, T, C)
        return y + self.bias if self.bias is not None else y


class TimeAggregation(nn.Module):
    """(B, T, C) -> (B, C): a learned weighted sum over time, or the mean.

    Parameters
    ----------
    n_times : int
    how : {"linear", "mean"}
        "linear" starts as the mean.
    """

    def __init__(self, n_times: int, how: str = "linear"):
        super().__init__()
        check_option("how", how, ("linear", "mean"))
        self.n_times = n_times
        self.weight = nn.Parameter(torch.empty(n_times)) if how == "linear" else None
        self.bias = nn.Parameter(torch.empty(1)) if how == "linear" else None
        self.start(torch.Generator().manual_seed(0))

    def start(self, generator: torch.Generator) -> None:
        if self.weight is not None:
            nn.init.constant_(self.weight, 1 / self.n_times)
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        _check_times(x, self.n_times)
        if self.weight is None or self.bias is None:
            return x.mean(1)
        return torch.einsum("btc,t->bc", x, self.weight) + self.bias


class VoxelTokenizer(nn.Module):
    """Voxels to tokens, each token with a projection of its own: ``token_k = W_k GELU(LN(W x)) + b_k``.

    UMBRAE's tokenizer lifts every voxel by one shared ``Linear(1, N)`` and then maps voxels by one shared
    ``Linear(V, C)``. Without a nonlinearity in between, token k is ``a_k (W x) + c_k (W 1) + d``: whatever the
    brain, the N tokens span at most three dimensions. Here the N x C matrix has full rank.

    Parameters
    ----------
    n_voxels : int
    n_tokens, width : int
        Output is (B, n_tokens, width).
    hidden : int
        What tokens are read from.
    """

    def __init__(self, n_voxels: int, n_tokens: int = 256, width: int = 1024, hidden: int = 512):
        super().__init__()
        self.n_voxels = n_voxels
        self.read = nn.Sequential(nn.Linear(n_voxels, hidden), nn.LayerNorm(hidden), nn.GELU())
        self.weight = nn.Parameter(torch.empty(n_tokens, width, hidden))
        self.bias = nn.Parameter(torch.empty(n_tokens, width))
        self.start(torch.Generator().manual_seed(0))

    def start(self, generator: torch.Generator) -> None:
        bound = self.weight.shape[-1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound, generator=generator)
        nn.init.uniform_(self.bias, -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bh,nch->bnc", self.read(x), self.weight) + self.bias  # (B, N, C)


def _check_times(x: Tensor, n_times: int) -> None:
    if x.ndim != 3 or x.shape[1] != n_times:
        raise ShapeMismatch(f"expected (B, {n_times} time points, C), got {tuple(x.shape)}.")
