"""Train one network on tokens and responses: seeded, stopped early, and able to go on where it was interrupted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from neuro._files import atomic_path
from neuro.encoders._tokens import Tokens
from neuro.errors import CorruptFile, StaleStore
from neuro.stats import pearson_r


@dataclass(frozen=True)
class Recipe:
    """How to train: AdamW, steps down in learning rate, clipped gradients, best epoch by validation correlation."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    decay: float
    decay_every: int
    clip: float
    patience: int


@dataclass
class Progress:
    """Where the training of one network stands."""

    epoch: int = 0  # epochs done
    best_epoch: int = 0
    best_score: float = -np.inf
    history: list[float] = field(default_factory=list)  # mean validation correlation after each epoch


class Scaled(nn.Module):
    """A network between the units of the tokens and those of the responses."""

    x_mean: torch.Tensor
    x_scale: torch.Tensor
    y_mean: torch.Tensor
    y_scale: torch.Tensor

    def __init__(self, network: nn.Module, x_mean, x_scale, y_mean, y_scale):
        super().__init__()
        self.network = network
        for name, value in (("x_mean", x_mean), ("x_scale", x_scale), ("y_mean", y_mean), ("y_scale", y_scale)):
            self.register_buffer(name, value.float().clone())

    def tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens in the network's units."""
        return ((tokens - self.x_mean) / self.x_scale).to(self.x_mean.dtype)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T, C) -> (B, V)."""
        return self.network(self.tokens(tokens)) * self.y_scale + self.y_mean


def seed_of(*numbers: int) -> int:
    """Return one seed for a tuple of numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let torch draw from ``seed`` inside, and go on as before afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def train(
    model: Scaled,
    tokens: Tokens,
    Y: torch.Tensor,
    split: tuple[np.ndarray, np.ndarray],
    recipe: Recipe,
    seeds: tuple[int, ...],
    device: torch.device,
    checkpoint: Path | None = None,
    key: str = "",
) -> tuple[Progress, torch.Tensor]:
    """Train ``model`` in place; it ends with the weights of its best epoch.

    Parameters
    ----------
    Y : tensor (n_stimuli, n_voxels)
        In the responses' own units.
    split : (training rows, validation rows)
    seeds : ints
        Of shuffling and dropout, together with the epoch: nothing else has to be remembered to go on.
    checkpoint : path, optional
        File to go on from and to write after every epoch.
    key : str
        What the training depends on; a checkpoint of another key is refused.

    Returns
    -------
    progress : Progress
    score : tensor (n_voxels,)
        Validation correlation of the best epoch.
    """
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    progress, best = Progress(), None
    if checkpoint is not None and checkpoint.is_file():
        progress, best = _read(checkpoint, key, model, optimizer)
    rows, held_out = split
    while progress.epoch < recipe.epochs and progress.epoch - progress.best_epoch < recipe.patience:
        epoch = progress.epoch
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * recipe.decay ** (epoch // recipe.decay_every)
        order = np.random.default_rng([*seeds, epoch]).permutation(rows)
        model.train()
        with seeded(seed_of(*seeds, epoch, 1), device):
            for x, y in _batches(tokens, Y, order, recipe.batch_size, device):
                target = (y - model.y_mean) / model.y_scale
                loss = (model.network(model.tokens(x)) - target).square().mean() + model.network.penalty()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
                optimizer.step()
        score = validation_score(model, tokens, Y, held_out, recipe.batch_size, device)
        mean = float(score.mean())
        progress.epoch, progress.history = epoch + 1, [*progress.history, mean]
        if mean > progress.best_score or best is None:
            progress.best_score, progress.best_epoch = mean, epoch + 1
            best = {name: value.detach().clone() for name, value in model.state_dict().items()}
        if checkpoint is not None:
            _write(checkpoint, key, model, optimizer, progress, best)
    if best is not None:
        model.load_state_dict(best)
    model.eval()
    return progress, validation_score(model, tokens, Y, held_out, recipe.batch_size, device)


def _batches(tokens: Tokens, Y: torch.Tensor, rows: np.ndarray, size: int, device: torch.device) -> Iterator[Any]:
    for start in range(0, len(rows), size):
        here = rows[start : start + size]
        yield tokens.read(here, device).float(), Y[torch.from_numpy(here)].to(device).float()


@torch.no_grad()
def validation_score(
    model: Scaled, tokens: Tokens, Y: torch.Tensor, rows: np.ndarray, size: int, device: torch.device
) -> torch.Tensor:
    """Return the correlation (n_voxels,) of predictions and responses on ``rows``; 0 for a constant voxel."""
    model.eval()
    predicted, measured = zip(*((model(x), y) for x, y in _batches(tokens, Y, rows, size, device)), strict=True)
    r = pearson_r(torch.cat(measured), torch.cat(predicted))
    return torch.nan_to_num(r).float().cpu()


def _write(
    path: Path, key: str, model: Scaled, optimizer: torch.optim.Optimizer, progress: Progress, best: Any
) -> None:
    from safetensors.torch import save_file

    tensors = {f"now.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
    about = {"key": key, "progress": json.dumps(asdict(progress))}
    with atomic_path(path) as temporary:
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, about)


def _read(path: Path, key: str, model: Scaled, optimizer: torch.optim.Optimizer) -> tuple[Progress, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        progress = Progress(**json.loads(about["progress"]))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"{path} is not a checkpoint of this kind ({error}). Remove it to start anew.") from error
    if about.get("key") != key:
        raise StaleStore(
            f"{path} was trained with other data or other settings. Name another checkpoint folder, or remove this one."
        )

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    model.load_state_dict(part("now."))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in part("adam.").items():
        i, kind = name.split(".")
        state.setdefault(int(i), {})[kind] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    home = next(model.parameters()).device
    return progress, {k: v.to(home) for k, v in part("best.").items()}
