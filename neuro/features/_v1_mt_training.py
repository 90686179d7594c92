"""Train the V1-MT model to report optical flow: seeded, resumable, and the same numbers whether interrupted or not."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuro._check import check_positive_int, is_tensor
from neuro._files import fingerprint, hash_bytes
from neuro.errors import ShapeMismatch, StaleStore
from neuro.features._motion_files import read_safetensors, write_safetensors
from neuro.features._motion_input import luminance, read_clips
from neuro.features.v1_mt import V1MT, check_frames

FORMAT = "neuro V1-MT training 1"


@dataclass(frozen=True)
class FlowRun:
    """What a training did.

    Attributes
    ----------
    losses : (n_steps,)
        Sequence loss of every step done so far.
    finished : bool
        Whether all steps are done.
    """

    losses: np.ndarray
    finished: bool


def train_flow(
    model: V1MT,
    clips: Any,
    flows: Any,
    *,
    n_steps: int = 1000,
    batch_size: int = 8,
    lr: float = 8e-5,
    weight_decay: float = 1e-2,
    gamma: float = 0.85,
    seed: int = 0,
    path: str | os.PathLike[str] | None = None,
    save_every: int = 100,
    resume: bool = True,
    minutes: float | None = None,
    progress: bool | Callable[[str], None] = False,
) -> FlowRun:
    """Train ``model``, in place, on clips whose flow is known.

    Minimises ``sum_i gamma^(n - i) |flow_i - flow|_1`` over the flows of all n rounds, with AdamW and a one-cycle rate
    that rises to ``lr`` over three tenths of the steps.

    Parameters
    ----------
    model : V1MT
        Trained on the device it is on.
    clips : array (n_clips, n_frames, h, w[, 3]), list of clips, or a collection with ``ids`` and iteration
        Exactly as many frames as the model's window.
    flows : array (n_clips, h, w, 2)
        Flow of the middle frame in pixels per frame, to the right and down.
    n_steps, batch_size : int
    lr, weight_decay, gamma : float
    seed : int
        Of the order of clips.
    path : path, optional
        A safetensors file that holds weights and optimiser, written every ``save_every`` steps and at the end.
    resume : bool
        Go on from ``path``, if it is there; False starts over.
    minutes : float, optional
        Stop, resumably, after this time.
    progress : bool or callable
        Print a line per save to standard error, or hand it to a function.

    Raises
    ------
    ShapeMismatch
        If clips and flows disagree with each other or with the model.
    StaleStore
        If ``path`` holds a training with other settings, data, or another model.
    """
    began = time.monotonic()
    for name, value in (("n_steps", n_steps), ("batch_size", batch_size), ("save_every", save_every)):
        check_positive_int(name, value)
    if not 0 < gamma <= 1 or not lr > 0:
        raise ValueError(f"gamma must lie on 0..1 and lr above 0, got {gamma} and {lr}.")
    X, Y = _check_data(model, clips, flows)
    identity = fingerprint(
        {
            "model": model.settings,
            "data": [hash_bytes(X.cpu().numpy()), hash_bytes(Y.cpu().numpy())],
            "recipe": [n_steps, batch_size, lr, weight_decay, gamma, seed],
        }
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    losses: list[float] = []
    if path is not None and resume and Path(path).is_file():
        losses = _load(Path(path), model, optimizer, identity)
    report = progress if callable(progress) else (lambda line: print(line, file=sys.stderr)) if progress else None
    model.train()
    device = next(model.parameters()).device
    for step in range(len(losses), n_steps):
        rows = np.random.default_rng([seed, step]).choice(len(X), min(batch_size, len(X)), replace=False)
        for group in optimizer.param_groups:
            group["lr"] = one_cycle(step, n_steps, lr)
        loss = sequence_loss(model(X[rows].to(device)), Y[rows].to(device), gamma)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        late = minutes is not None and time.monotonic() - began > 60 * minutes
        if late or (step + 1) % save_every == 0 or step + 1 == n_steps:
            if path is not None:
                _save(Path(path), model, optimizer, losses, identity)
            if report is not None:
                report(f"step {step + 1:,} of {n_steps:,}: loss {np.mean(losses[-save_every:]):.4f}")
        if late:
            break
    model.eval()
    return FlowRun(np.array(losses), len(losses) == n_steps)


def sequence_loss(flows: Sequence[torch.Tensor], truth: torch.Tensor, gamma: float = 0.85) -> torch.Tensor:
    """Return ``sum_i gamma^(n - i) mean |flow_i - truth|`` over rounds i = 1 ... n; tensors are (B, 2, H, W).

    >>> one, zero = torch.ones(1, 2, 8, 8), torch.zeros(1, 2, 8, 8)
    >>> sequence_loss([one, one], zero, gamma=0.5)
    tensor(1.5000)
    """
    weights = [gamma ** (len(flows) - 1 - i) for i in range(len(flows))]
    return sum((w * (f - truth).abs().mean() for w, f in zip(weights, flows, strict=True)), torch.zeros(()).to(truth))


def one_cycle(step: int, n_steps: int, peak: float) -> float:
    """Return the learning rate of a step: from peak / 25 up over three tenths, down to peak / 250,000; cosines."""
    top = 0.3 * n_steps - 1
    if step <= top:
        a, b, t = peak / 25, peak, step / top if top > 0 else 1.0
    else:
        a, b, t = peak, peak / 25e4, (step - top) / max(n_steps - 1 - top, 1e-9)
    return b + (a - b) * (1 + math.cos(math.pi * t)) / 2


def end_point_error(flow: Any, truth: Any, axis: int = -1) -> Any:
    """Return the length of the difference of two flows, whose two components stand on ``axis``.

    >>> float(end_point_error(np.array([3.0, 4.0]), np.zeros(2)))
    5.0
    """
    difference = flow - truth
    return difference.square().sum(axis).sqrt() if is_tensor(difference) else np.sqrt((difference**2).sum(axis))


def _check_data(model: V1MT, clips: Any, flows: Any) -> tuple[torch.Tensor, torch.Tensor]:
    found = []
    listed = read_clips(clips, minimum=model.n_frames)
    for key, clip in zip(listed.ids, listed, strict=True):
        if len(clip) != model.n_frames:
            raise ShapeMismatch(
                f"clips must have the {model.n_frames} frames of a window, clip {key!r} has {len(clip)}."
            )
        found.append(luminance(clip, "luma").float())
    X = torch.stack(found)
    check_frames(model, X)
    Y = torch.as_tensor(np.array(flows, dtype=np.float32) if not is_tensor(flows) else flows).float()
    if tuple(Y.shape) != (len(X), *X.shape[2:], 2):
        raise ShapeMismatch(
            f"flows must be (n_clips, height, width, 2) = {(len(X), *X.shape[2:], 2)}, got {tuple(Y.shape)}."
        )
    if not bool(torch.isfinite(Y).all()):
        raise ValueError(f"flows must be finite: {int((~torch.isfinite(Y)).sum()):,} numbers are NaN or infinite.")
    return X, Y.permute(0, 3, 1, 2).contiguous()


def _save(path: Path, model: V1MT, optimizer: torch.optim.Optimizer, losses: list[float], identity: str) -> None:
    state = {f"model.{k}": v for k, v in model.state_dict().items()}
    for i, kept in optimizer.state_dict()["state"].items():
        state |= {f"adam.{i}.{k}": v for k, v in kept.items()}
    write_safetensors(path, state, format=FORMAT, identity=identity, losses=json.dumps(losses))


def _load(path: Path, model: V1MT, optimizer: torch.optim.Optimizer, identity: str) -> list[float]:
    state, metadata = read_safetensors(path, FORMAT)
    if metadata.get("identity") != identity:
        raise StaleStore(
            f"{path} holds a training with other settings, clips, flows or model: resume=False starts over, another "
            "path keeps both."
        )
    model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    kept: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in state.items():
        if name.startswith("adam."):
            _, i, key = name.split(".")
            kept.setdefault(int(i), {})[key] = value
    optimizer.load_state_dict({"state": kept, "param_groups": optimizer.state_dict()["param_groups"]})
    return json.loads(metadata["losses"])
