"""Learn how brains go on before learning what they see: pretraining of a transformer on scans without stimuli.

Two objectives, one network (:class:`neuro.decoders.wave.ParcelGPT`):

- *next*: from the scans up to t, foresee scan t + 1, ``mean |x_hat_{t+1} - x_{t+1}|``;
- *masked*: some entries of each scan are hidden behind a learned value; fill them in from the scan's other parcels and
  the scans before, ``mean |x_hat - x|`` over hidden entries alone.

Thomas, Ré & Poldrack (2022), NeurIPS 35, 21255-21269 (both objectives, for fMRI).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuro._check import check_option, check_positive_int
from neuro.decoders.wave import ParcelGPT, pad_sequences
from neuro.errors import ShapeMismatch, TrainingDiverged

OBJECTIVES = ("next", "masked")


class SequenceModel(nn.Module):
    """A transformer over scans with a way back to parcels.

    Parameters
    ----------
    encoder : ParcelGPT
        Trained in place; afterwards it is what decoding starts from.
    seed : int
        Of the way back.
    """

    def __init__(self, encoder: ParcelGPT, seed: int = 0):
        super().__init__()
        self.encoder = encoder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.back = nn.Linear(encoder.width, encoder.n_parcels)
        self.hidden = nn.Parameter(torch.zeros(encoder.n_parcels))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, P) -> (B, T, P): what each position says, having seen itself and what was before."""
        return self.back(self.encoder.states(self.encoder.embed(x), lengths))

    def hide(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Return scans with entries under the mask ``hidden`` (B, T, P) replaced by the learned value."""
        return torch.where(hidden, self.hidden, x)


def next_scan_loss(model: SequenceModel, x: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean absolute error of every scan but the first, foreseen from those before; x (B, T, P)."""
    if x.shape[1] < 2:
        raise ShapeMismatch(f"to foresee a scan takes sequences of at least 2, got {x.shape[1]}.")
    error = (model(x[:, :-1], (lengths - 1).clamp_min(1)) - x[:, 1:]).abs().mean(-1)  # (B, T - 1)
    valid = torch.arange(1, x.shape[1], device=x.device) < lengths[:, None]
    return (error * valid).sum() / valid.sum().clamp_min(1)


def masked_loss(model: SequenceModel, x: Tensor, lengths: Tensor, hidden: Tensor) -> Tensor:
    """Return the mean absolute error over hidden entries of valid scans; x, hidden (B, T, P)."""
    valid = (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[..., None]
    counted = hidden & valid
    if not counted.any():
        raise ValueError("no entry is hidden: hide a larger share.")
    return (model(model.hide(x, hidden), lengths) - x).abs()[counted].mean()


@dataclass(frozen=True)
class PretrainingRun:
    """How a stage went: training loss of each step; loss on sequences kept apart, and that of a mean-only guess.

    ``baseline`` is the loss of guessing every parcel's training median, on the same entries.
    """

    objective: str
    history: list[float] = field(repr=False)
    validation: float
    baseline: float


def pretrain_sequences(
    model: SequenceModel,
    sequences: Sequence[Any],
    objective: str = "next",
    *,
    n_steps: int = 5000,
    batch_size: int = 16,
    learning_rate: float = 1e-4,
    weight_decay: float = 0.03,
    hidden_share: float = 0.15,
    validation: float = 0.1,
    seed: int = 0,
) -> PretrainingRun:
    """Train ``model`` in place on one objective; stages follow one another by calling it again.

    Parameters
    ----------
    model : SequenceModel
    sequences : sequence of arrays (n_scans, n_parcels)
        z-scored within each; of any length up to the encoder's positions.
    objective : {"next", "masked"}
    n_steps, batch_size : int
    learning_rate, weight_decay : float
        Of AdamW; the rate falls to 0 along a cosine after a tenth of the steps.
    hidden_share : float, 0 to 1
        Of entries, for "masked".
    validation : float, 0 to 1
        Share of the sequences kept apart, at least one.
    seed : int
        Of the split, batches, hidden entries and dropout.

    Returns
    -------
    PretrainingRun

    Raises
    ------
    TrainingDiverged
        If the loss is no longer finite.
    """
    check_option("objective", objective, OBJECTIVES)
    check_positive_int("n_steps", n_steps)
    check_positive_int("batch_size", batch_size)
    if not 0 < validation < 1 or not 0 < hidden_share < 1:
        raise ValueError(f"validation and hidden_share must lie between 0 and 1, got {validation} and {hidden_share}.")
    x, lengths = pad_sequences(sequences)
    if len(x) < 2:
        raise ShapeMismatch("at least 2 sequences are needed, one to train on and one to validate on.")
    if not torch.isfinite(x).all():
        raise ValueError("sequences contain NaN or infinity.")
    rng = np.random.default_rng([seed, 0])
    order = rng.permutation(len(x))
    n_held = max(1, round(validation * len(x)))
    held, kept = torch.from_numpy(order[:n_held]), order[n_held:]
    if not len(kept):
        raise ShapeMismatch(f"a validation share of {validation} of {len(x)} sequences leaves none to train on.")
    draw = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device

    def loss_of(rows: Tensor, generator: torch.Generator) -> Tensor:
        scans, n = x[rows].to(device), lengths[rows].to(device)
        if objective == "next":
            return next_scan_loss(model, scans, n)
        hidden = torch.rand(scans.shape, generator=generator) < hidden_share
        return masked_loss(model, scans, n, hidden.to(device))

    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, learning_rate, weight_decay=weight_decay)
    warm = max(1, n_steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, warm, n_steps))
    history = []
    model.train()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # of dropout
        for step in range(n_steps):
            rows = torch.from_numpy(rng.choice(kept, min(batch_size, len(kept)), replace=False))
            loss = loss_of(rows, draw)
            if not torch.isfinite(loss):
                raise TrainingDiverged(f"the loss became {loss.item()} at step {step}. Lower learning_rate.")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            history.append(float(loss.detach()))
    model.eval()
    with torch.no_grad():
        found = float(loss_of(held, torch.Generator().manual_seed(seed + 1)))
    return PretrainingRun(objective, history, found, _baseline(x, lengths, kept, held, objective))


def _baseline(x: Tensor, lengths: Tensor, kept: np.ndarray, held: Tensor, objective: str) -> float:
    median = torch.cat([x[i, : lengths[i]] for i in kept]).median(0).values
    first = 1 if objective == "next" else 0
    rest = torch.cat([x[i, first : lengths[i]] for i in held.tolist()])
    return float((rest - median).abs().mean())


def _rate(step: int, warm: int, n_steps: int) -> float:
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, n_steps - warm))))
