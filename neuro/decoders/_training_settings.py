"""How to train, where training stands, and what a task has to offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from neuro._check import check_option, check_positive_int
from neuro.decoders.schedules import SCHEDULES

PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Parameters
    ----------
    epochs : int
    learning_rate : float
        The greatest of the schedule.
    schedule : {"one_cycle", "cosine", "constant"}
    warmup : float, 0 to 1
        Share of the steps before the greatest rate.
    final_div : float
        By how much the rate ends below where it began (one-cycle) or below its greatest (cosine).
    weight_decay : float
        Of matrices; biases and norms have none.
    accumulate : int
        Batches per optimiser step. Contrastive losses see one batch at a time.
    clip : float or None
        Greatest norm of the gradient.
    precision : {"fp32", "bf16", "fp16"}
        Of the network's products; losses are in float32, and so are weights.
    patience : int or None
        Epochs without a better validation score before training stops. The weights kept are the best epoch's
        whenever the task validates.
    checkpoint_every : int or None
        Steps between checkpoints, beside the one after every epoch.
    seed : int
    """

    epochs: int
    learning_rate: float = 3e-4
    schedule: str = "one_cycle"
    warmup: float = 0.1
    final_div: float = 1000.0
    weight_decay: float = 1e-2
    accumulate: int = 1
    clip: float | None = 1.0
    precision: str = "fp32"
    patience: int | None = None
    checkpoint_every: int | None = None
    seed: int = 0

    def __post_init__(self):
        for name in ("epochs", "accumulate"):
            check_positive_int(name, getattr(self, name))
        for name in ("patience", "checkpoint_every"):
            if getattr(self, name) is not None:
                check_positive_int(name, getattr(self, name))
        check_option("schedule", self.schedule, SCHEDULES)
        check_option("precision", self.precision, PRECISIONS)
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate!r}.")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be above 0 or None, got {self.clip!r}.")


@dataclass(frozen=True)
class Place:
    """Where training stands: all that a task needs to draw its batch."""

    epoch: int
    batch: int
    n_epochs: int
    n_batches: int
    seed: int
    process: int = 0
    n_processes: int = 1

    @property
    def progress(self) -> float:
        """Epochs done, as a share of all, 0 to 1."""
        return (self.epoch + self.batch / self.n_batches) / self.n_epochs

    def rng(self, *purpose: int) -> np.random.Generator:
        """Return the generator of this batch and process, one stream per ``purpose``."""
        return np.random.default_rng([self.seed, self.epoch, self.batch, self.process, *purpose])


class Task(Protocol):
    """What is learned from what."""

    @property
    def n_batches(self) -> int:
        """Batches of an epoch."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Data and settings of the task, as JSON can hold them: a checkpoint of another task is refused."""
        ...

    def losses(self, network: nn.Module, place: Place) -> dict[str, Tensor]:
        """Return weighted loss terms; their sum is minimised."""
        ...

    def validate(self, network: nn.Module) -> dict[str, float] | None:
        """Return scores on stimuli kept apart, "score" (higher is better) among them, or None."""
        ...


@dataclass
class TrainingResult:
    """How a run went: epochs done, the best, and one row of means per epoch."""

    epochs: int = 0
    best_epoch: int | None = None
    best_score: float | None = None
    stopped_early: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
