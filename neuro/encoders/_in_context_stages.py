"""In what order does an in-context network learn? The stages of its training as data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import check_option, check_positive_int

SOURCES = ("synthetic", "real")
SPREADS = ("uniform", "log")


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Parameters
    ----------
    name : str
    source : {"synthetic", "real"}
    n_steps : int
    context : (smallest, largest)
        Sizes of contexts, drawn per step.
    spread : {"uniform", "log"}
        Uniformly, as published, or uniformly on a log scale: large contexts cost in proportion to their size.
    n_queries : int
        Images whose responses are predicted; next to the context they cost nothing.
    voxels : int
        Per step (and process).
    lr, lr_end : float
        Learning rate after warming up, and at the end of a cosine.
    warmup : int
        Steps.
    weight_decay : float
        On matrices.
    patience : int or None
        Validations without a better one that end the stage early.
    """

    name: str
    source: str
    n_steps: int
    context: tuple[int, int]
    spread: str = "uniform"
    n_queries: int = 100
    voxels: int = 80
    lr: float = 1e-3
    lr_end: float = 1e-5
    warmup: int = 100
    weight_decay: float = 0.1
    patience: int | None = None

    def __post_init__(self):
        check_option("source", self.source, SOURCES)
        check_option("spread", self.spread, SPREADS)
        for name in ("n_steps", "n_queries", "voxels"):
            check_positive_int(name, getattr(self, name))
        if len(self.context) != 2 or not 1 <= self.context[0] <= self.context[1]:
            raise ValueError(f"context must be (smallest, largest), at least 1, got {self.context!r}.")
        object.__setattr__(self, "context", tuple(int(c) for c in self.context))
        if not 0 <= self.lr_end <= self.lr:
            raise ValueError(f"lr_end must lie between 0 and lr = {self.lr}, got {self.lr_end}.")

    def size_of_context(self, rng: np.random.Generator) -> int:
        """Draw the size of a step's context."""
        low, high = self.context
        if self.spread == "uniform":
            return int(rng.integers(low, high + 1))
        return int(np.exp(rng.uniform(np.log(low), np.log(high + 1))))

    def lr_at(self, step: int) -> float:
        """Learning rate of a step."""
        warm = min(1.0, (step + 1) / max(self.warmup, 1))
        return warm * (self.lr_end + (self.lr - self.lr_end) * 0.5 * (1 + math.cos(math.pi * step / self.n_steps)))


def three_stages(
    n_steps: Sequence[int] = (20000, 20000, 20000), context: tuple[int, int] = (30, 500), **settings: Any
) -> list[Stage]:
    """Return the published recipe: synthetic at the largest size, synthetic at all sizes, measured voxels at all sizes.

    Parameters
    ----------
    n_steps : three ints
        Steps of each stage; 0 leaves a stage out. (How many the authors took is not known.)
    context : (smallest, largest)
    **settings
        Of all stages. Learning rates after the first stage start at a third of the first's.
    """
    lr = settings.pop("lr", 1e-3)
    rows = (("pretrain", "synthetic", (context[1],) * 2, lr), ("extend", "synthetic", context, lr / 3))
    rows = (*rows, ("finetune", "real", context, lr / 3))
    return [
        Stage(name, source, n, sizes, lr=rate, **settings)
        for (name, source, sizes, rate), n in zip(rows, n_steps, strict=True)
        if n
    ]
