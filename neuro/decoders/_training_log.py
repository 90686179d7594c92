"""What a training run writes down: one row of means per epoch in ``log.tsv``, every step in TensorBoard if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuro._check import require
from neuro._files import write_text

LOG = "log.tsv"


class TrainingLog:
    """Log of a run; without a folder it writes nothing.

    ``log.tsv`` is written whole after each epoch from the run's own history, so that after an interruption it holds
    no epoch twice.
    """

    def __init__(self, folder: Path | None, tensorboard: bool = False):
        self.folder = folder
        self.writer: Any = None
        if tensorboard and folder is not None:
            require("tensorboard", "tensorboard=True")
            self.writer = require("torch.utils.tensorboard", "tensorboard=True").SummaryWriter(str(folder))

    def write(self, history: Sequence[dict[str, float]]) -> None:
        """Write all epochs so far."""
        if self.folder is None or not history:
            return
        columns = list(dict.fromkeys(k for row in history for k in row))
        lines = ["\t".join(columns), *("\t".join(_cell(row.get(c)) for c in columns) for row in history)]
        write_text(self.folder / LOG, "\n".join(lines) + "\n")

    def step(self, report: dict[str, Any]) -> None:
        """Note one step."""
        if self.writer is None:
            return
        values = {**report["terms"], "total": report["total"], "lr": report["lr"]}
        for name, value in values.items():
            self.writer.add_scalar(f"train/{name}", value, report["step"])

    def epoch(self, history: Sequence[dict[str, float]]) -> None:
        """Note the end of an epoch."""
        self.write(history)
        if self.writer is not None:
            for name, value in history[-1].items():
                if name.startswith("validation_"):
                    self.writer.add_scalar(name.replace("_", "/", 1), value, int(history[-1]["step"]))

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self.writer is not None:
            self.writer.close()


def _cell(value: float | None) -> str:
    return "n/a" if value is None else repr(value)
