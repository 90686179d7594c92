"""A network under training: its optimiser, one step, the end of an epoch, and its files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neuro.decoders._checkpoint import BEST, checksum, load_state, read_tensors, restore, save_state, write_tensors
from neuro.decoders._training_settings import PRECISIONS, Place, Task, TrainingResult, TrainingSettings
from neuro.decoders.schedules import learning_rate
from neuro.errors import TrainingDiverged


class TrainingRun:
    """A network under training: optimiser, position, files."""

    def __init__(
        self, network: nn.Module, task: Task, settings: TrainingSettings, folder: Path | None, device: Any, accelerator
    ):
        self.network, self.task, self.settings, self.folder = network, task, settings, folder
        home = next(network.parameters()).device
        self.device = (
            accelerator.device if accelerator is not None else torch.device(home if device is None else device)
        )
        self.weights = [p for p in network.parameters() if p.requires_grad]
        if not self.weights:
            raise ValueError("no weight of the network may change: all have requires_grad=False.")
        self.identity = {
            "settings": {k: v for k, v in asdict(settings).items() if k != "checkpoint_every"},
            "task": dict(task.identity),
            "trained weights": [k for k, p in network.named_parameters() if p.requires_grad],
            "starting weights": checksum(network.state_dict()),
        }
        network.to(self.device)
        self.optimizer = torch.optim.AdamW(decay_groups(network, settings.weight_decay), settings.learning_rate)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.process, self.n_processes = (
            (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed else (0, 1)
        )
        self.main = self.process == 0
        self.steps_per_epoch = math.ceil(task.n_batches / settings.accumulate)
        self.n_steps = self.steps_per_epoch * settings.epochs
        self.result = TrainingResult()
        self.batch = 0  # batches done of the epoch under way
        self.sums: dict[str, float] = {}
        self.best: dict[str, Tensor] | None = None

    @property
    def steps(self) -> int:
        """Optimiser steps done."""
        return self.result.epochs * self.steps_per_epoch + math.ceil(self.batch / self.settings.accumulate)

    def step(self) -> dict[str, Any]:
        """Take one optimiser step and report it."""
        settings = self.settings
        set_training(self.network)
        rate = learning_rate(
            self.steps,
            self.n_steps,
            settings.learning_rate,
            settings.schedule,
            warmup=settings.warmup,
            final_div=settings.final_div,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        batches = range(self.batch, min(self.batch + settings.accumulate, self.task.n_batches))
        terms: dict[str, float] = {}
        for batch in batches:
            values = self._backward(batch, len(batches))
            for name, value in values.items():
                terms[name] = terms.get(name, 0.0) + value / len(batches)
            self._refuse_nan(terms, rate, "loss")
        norm = self._update(terms, rate)
        self.batch = batches.stop
        for name, value in {**terms, "gradient_norm": norm}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        return {
            "step": self.steps,
            "n_steps": self.n_steps,
            "epoch": self.result.epochs,
            "lr": rate,
            "total": sum(terms.values()),
            "terms": terms,
            "gradient_norm": norm,
        }

    def _backward(self, batch: int, share: int) -> dict[str, float]:
        settings = self.settings
        place = Place(
            self.result.epochs,
            batch,
            settings.epochs,
            self.task.n_batches,
            settings.seed,
            self.process,
            self.n_processes,
        )
        lower = PRECISIONS[settings.precision]
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int(place.rng(0).integers(2**62)))  # of dropout
            with torch.autocast(self.device.type, dtype=lower or torch.bfloat16, enabled=lower is not None):
                losses = self.task.losses(self.network, place)
            total = torch.stack([v.float() for v in losses.values()]).sum()
            self.scaler.scale(total / share).backward()
        return dict(zip(losses, torch.stack([v.detach().float() for v in losses.values()]).tolist(), strict=True))

    def _update(self, terms: Mapping[str, float], rate: float) -> float:
        self._average_gradients()
        self.scaler.unscale_(self.optimizer)
        clip = math.inf if self.settings.clip is None else self.settings.clip
        norm = float(nn.utils.clip_grad_norm_(self.weights, clip))
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)  # skips the step, and lowers the scale, where float16 overflowed
            self.scaler.update()
            if self.scaler.get_scale() < 1:
                self._refuse_nan({**terms, "gradient": norm}, rate, "gradient", always=True)
            return norm if math.isfinite(norm) else 0.0
        self._refuse_nan({**terms, "gradient": norm}, rate, "gradient")
        self.optimizer.step()
        return norm

    def _average_gradients(self) -> None:
        if self.n_processes == 1:
            return
        waiting = []
        for weight in self.weights:
            if weight.grad is None:  # a subject that only other processes drew
                weight.grad = torch.zeros_like(weight)
            waiting.append(torch.distributed.all_reduce(weight.grad, async_op=True))
        for handle in waiting:
            handle.wait()
        for weight in self.weights:
            if weight.grad is not None:
                weight.grad.div_(self.n_processes)

    def _refuse_nan(self, terms: Mapping[str, float], rate: float, what: str, always: bool = False) -> None:
        if not always and all(math.isfinite(v) for v in terms.values()):
            return
        advice = {
            "fp16": "float16 overflows above 65,504: train with precision='bf16', or 'fp32'.",
            "bf16": "Lower the learning rate or clip, or train with precision='fp32'.",
            "fp32": "Lower the learning rate or clip, and look for NaN or extreme values in the responses.",
        }[self.settings.precision]
        kept = "" if self.folder is None else f" The last checkpoint in {self.folder} is whole."
        raise TrainingDiverged(
            f"the {what} became {'too small to scale' if always else 'NaN or infinite'} at step {self.steps} (epoch "
            f"{self.result.epochs}, batch {self.batch}): {', '.join(f'{k} = {v:.4g}' for k, v in terms.items())}; "
            f"learning rate {rate:.3g}, precision {self.settings.precision}. {advice}{kept}"
        )

    def end_epoch(self) -> dict[str, float] | None:
        """Validate, remember the best weights, and write down the epoch's means."""
        result, settings = self.result, self.settings
        self.network.eval()
        with torch.no_grad():
            scores = self.task.validate(self.network)
        row = {"epoch": result.epochs, "step": self.steps}
        row |= {k: v / self.steps_per_epoch for k, v in self.sums.items()}
        row |= {f"validation_{k}": v for k, v in (scores or {}).items()}
        result.history.append(row)
        if scores is not None:
            score = scores["score"]
            if not math.isfinite(score):
                raise TrainingDiverged(f"the validation score became {score} after epoch {result.epochs}.")
            if result.best_score is None or score > result.best_score:
                result.best_score, result.best_epoch = score, result.epochs
                self._keep_best()
            since = result.epochs - (result.best_epoch or 0)
            result.stopped_early = settings.patience is not None and since >= settings.patience
        result.epochs += 1
        self.batch, self.sums = 0, {}
        return scores

    def _keep_best(self) -> None:
        if self.folder is None:
            self.best = {k: v.detach().cpu().clone() for k, v in self.network.state_dict().items()}
        elif self.main:
            write_tensors(self.folder / BEST, self.network.state_dict(), {"epoch": self.result.epochs})

    def save(self) -> None:
        """Write a checkpoint."""
        if self.folder is None or not self.main:
            return
        position = {
            "identity": self.identity,
            "result": asdict(self.result),
            "batch": self.batch,
            "sums": self.sums,
            "scaler": self.scaler.state_dict(),
        }
        save_state(self.folder, self.network, self.optimizer, position)

    def resume(self) -> None:
        """Go on from the folder's checkpoint, if there is one."""
        found = None if self.folder is None else load_state(self.folder, self.identity)
        if found is None:
            return
        tensors, position = found
        restore(self.network, self.optimizer, tensors)
        self.result = TrainingResult(**position["result"])
        self.batch, self.sums = position["batch"], position["sums"]
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(position["scaler"])

    def finish(self) -> None:
        """Put the best weights in."""
        if self.result.best_epoch is not None:
            if self.n_processes > 1:
                torch.distributed.barrier()
            best = self.best if self.folder is None else read_tensors(self.folder / BEST)[0]
            self.network.load_state_dict(best)
        self.network.eval()


def decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups: matrices decay, biases, norms and single numbers do not."""
    trained = [(k, p) for k, p in network.named_parameters() if p.requires_grad]
    plain = [p for k, p in trained if p.ndim < 2 or k.rsplit(".", 1)[-1] == "bias"]
    kept = {id(p) for p in plain}
    return [
        {"params": [p for _, p in trained if id(p) not in kept], "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def set_training(network: nn.Module) -> None:
    """Switch to training mode, except batch norms whose weights are frozen: their running means would still move."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not any(
            p.requires_grad for p in module.parameters()
        ):
            module.eval()
