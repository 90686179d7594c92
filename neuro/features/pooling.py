"""Reducing one layer's output to what is kept, inside the hook.

=============  ===========================================================================================
``"mean"``     average over space or patch tokens (class and register tokens left out): (channels,)
``"cls"``      the class token: (channels,)
``"spatial:k"``  average in a k x k grid (the layer's own grid where that is smaller): (channels, k, k)
``"tokens"``   all tokens or positions: (tokens, channels); class tokens first, where they stand
``None``       the output as it is, flattened when stored
=============  ===========================================================================================

A vector (a pooled embedding, logits) has nothing to pool and passes every choice.
"""

from __future__ import annotations

import torch

from neuro.errors import ShapeMismatch
from neuro.features.layers import LayerInfo

POOLS = ("mean", "cls", "spatial:k", "tokens", None)


def check_pool(pool: str | None) -> tuple[str | None, int]:
    """Return (kind, k) of a pooling name.

    >>> check_pool("spatial:7")
    ('spatial', 7)
    """
    if pool in (None, "mean", "cls", "tokens"):
        return pool, 0
    kind, _, size = str(pool).partition(":")
    if kind == "spatial" and size.isdigit() and int(size) > 0:
        return "spatial", int(size)
    raise ValueError(f"pool must be 'mean', 'cls', 'spatial:k' (such as 'spatial:7'), 'tokens' or None, got {pool!r}.")


def pooled_shape(info: LayerInfo, pool: str | None) -> tuple[int, ...]:
    """Return what is left of one image's output; a pooling that the layer cannot have is an error."""
    kind, k = check_pool(pool)
    if info.layout == "vector" or kind is None:
        return info.shape
    if info.layout == "other":
        raise ShapeMismatch(
            f"layer {info.name!r} with shape {info.shape} has no axis that could be told to be space or tokens, so "
            f"pool={pool!r} has no meaning there: use pool=None (and project=, to keep it small) or another layer."
        )
    channels = info.shape[0] if info.layout in ("channels_first", "tokens_last") else info.shape[-1]
    if kind == "mean":
        return (channels,)
    if kind == "cls":
        if not info.special:
            raise ShapeMismatch(
                f"layer {info.name!r} with shape {info.shape} has no class token: use pool='mean' there."
            )
        return (channels,)
    if kind == "tokens":
        return (_numel(info.shape) // channels, channels)
    if info.grid is None:
        raise ShapeMismatch(
            f"the tokens of layer {info.name!r} with shape {info.shape} do not tile the image, so there is no grid for "
            f"pool={pool!r}: use 'mean', 'cls' or 'tokens'."
        )
    return (channels, min(k, info.grid[0]), min(k, info.grid[1]))


def apply_pool(x: torch.Tensor, info: LayerInfo, pool: str | None) -> torch.Tensor:
    """Pool ``x`` (n, *info.shape); the result may be a view of ``x``."""
    kind, _ = check_pool(pool)
    if info.layout == "vector" or kind is None:
        return x
    if info.layout in ("channels_first", "channels_last"):
        maps = x if info.layout == "channels_first" else x.permute(0, 3, 1, 2)
        if kind == "mean":
            return _mean_of_maps(maps)
        if kind == "tokens":
            return maps.flatten(2).transpose(1, 2)
        return _grid_mean(maps, pooled_shape(info, pool)[1:])
    tokens = x if info.layout == "tokens" else x.transpose(1, 2)  # (n, N, C)
    if kind == "tokens":
        return tokens
    if kind == "cls":
        return tokens[:, info.special[0]]
    patches = _patches(tokens, info.special)
    if kind == "mean":
        return patches.float().mean(1)
    maps = patches.transpose(1, 2).unflatten(2, info.grid)
    return _grid_mean(maps, pooled_shape(info, pool)[1:])


def _patches(tokens: torch.Tensor, special: tuple[int, ...]) -> torch.Tensor:
    if not special:
        return tokens
    if special == tuple(range(len(special))):
        return tokens[:, len(special) :]
    kept = [i for i in range(tokens.shape[1]) if i not in special]
    return tokens[:, kept]


def _mean_of_maps(maps: torch.Tensor) -> torch.Tensor:
    height, width = maps.shape[2:]
    if maps.dtype in (torch.bfloat16, torch.float16):
        # torch's mean over bfloat16 maps takes ten times as long on the CPU as avg_pool2d. Averaging strips first and
        # the strips' means in float32 keeps the rounding of half-precision results small.
        strips = max(s for s in range(1, min(8, height) + 1) if height % s == 0)
        return torch.nn.functional.avg_pool2d(maps, (height // strips, width)).float().mean((2, 3))
    return torch.nn.functional.avg_pool2d(maps, (height, width)).flatten(1)


def _grid_mean(maps: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    if maps.stride(1) == 1:  # tokens seen as maps: pooling a strided view would transpose it first
        maps = maps.contiguous(memory_format=torch.channels_last)
    if maps.shape[2] % size[0] == 0 and maps.shape[3] % size[1] == 0:
        return torch.nn.functional.avg_pool2d(maps, (maps.shape[2] // size[0], maps.shape[3] // size[1]))
    return torch.nn.functional.adaptive_avg_pool2d(maps, list(size))


def _numel(shape: tuple[int, ...]) -> int:
    count = 1
    for s in shape:
        count *= s
    return count
