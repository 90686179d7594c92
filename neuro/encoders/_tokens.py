"""Spatial tokens, read a few stimuli at a time from wherever they lie: maps (n, C, H, W) or token rows (n, T, C)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.linear._arrays import as_tensor

ONLY = "tokens"  # name of the layer where there is only one


@dataclass(frozen=True, eq=False)
class Tokens:
    """One layer's tokens: an array, a memory map or a tensor, never copied as a whole."""

    data: Any
    grid: tuple[int, int]
    n_channels: int

    def __len__(self) -> int:
        return len(self.data)

    def read(self, rows: np.ndarray | slice, device: Any = None) -> torch.Tensor:
        """Return some stimuli as (B, T, C), in float32 or float64, tokens in row-major order."""
        if isinstance(self.data, torch.Tensor):
            block = self.data[rows if isinstance(rows, slice) else torch.as_tensor(rows, device=self.data.device)]
        elif isinstance(rows, slice):
            block = as_tensor(np.asarray(self.data[rows]))
        else:  # files are read in ascending order
            order = np.argsort(rows, kind="stable")
            back = np.empty_like(order)
            back[order] = np.arange(len(order))
            block = as_tensor(np.asarray(self.data[rows[order]])[back])
        block = block.to(device=device, dtype=torch.float64 if block.dtype == torch.float64 else torch.float32)
        return block.flatten(2).transpose(1, 2) if block.ndim == 4 else block

    def blocks(self, rows: np.ndarray, n_bytes: int = 2**26):
        """Yield (places among ``rows``, tokens), a bounded amount at a time."""
        step = max(1, n_bytes // (8 * self.n_channels * math.prod(self.grid)))
        for start in range(0, len(rows), step):
            here = slice(start, start + step)
            yield here, self.read(rows[here])

    def moments(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation (C,) of every channel over these stimuli and all places, in float64.

        A constant channel gets 1 for its standard deviation.
        """
        count, total, square = 0, 0.0, 0.0
        origin = self.read(rows[:1]).double().mean((0, 1))  # so that one pass keeps its digits
        for _, block in self.blocks(rows):
            x = block.double() - origin
            check_finite(x)
            count, total, square = (
                count + x.shape[0] * x.shape[1],
                total + x.sum((0, 1)),
                square + x.square().sum((0, 1)),
            )
        mean = total / count
        variance = (square / count - mean**2).clamp(min=0)
        constant = variance <= 1e-14 * (origin + mean) ** 2
        return origin + mean, torch.where(constant, 1.0, variance).sqrt()

    def like(self, name: str, other: Tokens) -> None:
        """Refuse tokens of another grid or another number of channels than ``other``."""
        if (self.grid, self.n_channels) != (other.grid, other.n_channels):
            raise ShapeMismatch(
                f"layer {name!r} must have {describe(other)}, as in fit; got {describe(self)}. "
                "Was the image size, the layer or the grid= changed?"
            )


def describe(tokens: Tokens) -> str:
    """Say grid and channels in words."""
    return f"a grid of {tokens.grid[0]} x {tokens.grid[1]} and {tokens.n_channels:,} channels"


def check_finite(block: torch.Tensor) -> None:
    """Refuse NaN and infinity."""
    if not bool(torch.isfinite(block.sum())) and not bool(torch.isfinite(block).all()):
        bad = int((~torch.isfinite(block)).flatten(1).any(1).sum())
        raise ValueError(f"X contains NaN or infinity in the tokens of at least {bad:,} stimuli. Leave those out.")


def as_layers(X: Any, grid: Any = None) -> dict[str, Tokens]:
    """Check X and name its layers.

    Parameters
    ----------
    X : array or tensor (n, C, H, W) or (n, T, C), or a dict of them, layer by layer
    grid : (height, width), optional
        Of (n, T, C) tokens; by default the square that T is.
    """
    named = {str(k): v for k, v in X.items()} if isinstance(X, Mapping) else {ONLY: X}
    if not named:
        raise EmptySelection("X is an empty dict: give the tokens of at least one layer.")
    layers = {name: _one_layer(name, data, grid) for name, data in named.items()}
    lengths = {name: len(tokens) for name, tokens in layers.items()}
    if len(set(lengths.values())) > 1:
        raise ShapeMismatch(f"all layers must describe the same stimuli, got {lengths} rows.")
    return layers


def _one_layer(name: str, data: Any, grid: Any) -> Tokens:
    if not hasattr(data, "shape"):
        data = np.asarray(data)
    shape = tuple(int(s) for s in data.shape)
    if len(shape) == 4 and 0 not in shape:
        found = (shape[2], shape[3])
        if grid is not None and tuple(grid) != found:
            raise ShapeMismatch(f"layer {name!r} has maps of {found[0]} x {found[1]}, but grid={tuple(grid)}.")
        return Tokens(data, found, shape[1])
    if len(shape) != 3 or 0 in shape:
        raise ShapeMismatch(f"X must be maps (n, C, H, W) or tokens (n, T, C); layer {name!r} has shape {shape}.")
    n_tokens = shape[1]
    if grid is not None:
        height, width = (int(g) for g in grid)
        if height * width != n_tokens:
            raise ShapeMismatch(
                f"layer {name!r} has {n_tokens:,} tokens, but grid={height, width} has {height * width:,} places."
                + _class_token(n_tokens, height * width)
            )
        return Tokens(data, (height, width), shape[2])
    side = math.isqrt(n_tokens)
    if side**2 != n_tokens:
        raise ShapeMismatch(
            f"layer {name!r} has {n_tokens:,} tokens, which is no square: pass grid=(height, width)."
            + _class_token(n_tokens, side**2)
        )
    return Tokens(data, (side, side), shape[2])


def _class_token(n_tokens: int, n_places: int) -> str:
    return " One too many: leave out the class token." if n_tokens == n_places + 1 else ""
