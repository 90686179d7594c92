"""Outputs of a network for trials, averaged over the repeats of an image, and under the names of its recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuro._files import hash_bytes
from neuro.decoders._neural_data import SubjectTrials
from neuro.decoders._neural_losses import as_tokens
from neuro.decoders.prior import DiffusionPrior
from neuro.decoders.recipes.settings import DecoderRecipe


@torch.no_grad()
def decode_trials(
    network: nn.Module, trials: SubjectTrials, order: np.ndarray, average_voxels: bool, batch_size: int
) -> dict[str, Tensor]:
    """Return every output for images number ``order``: (n_images, ...) float32 on the CPU.

    Parameters
    ----------
    average_voxels : bool
        Average responses and run once, or run on every trial and average outputs.
    """
    network.eval()
    device = next(network.parameters()).device
    found: dict[str, list[Tensor]] = {}
    for start in range(0, len(order), batch_size):
        images = order[start : start + batch_size]
        if average_voxels:
            outputs = network(torch.from_numpy(trials.read(images)).to(device), trials.subject)
        else:
            outputs = _mean_of_trials(network, trials, images, batch_size, device)
        for name, value in outputs.items():
            found.setdefault(name, []).append(value.float().cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}


def _mean_of_trials(
    network: nn.Module, trials: SubjectTrials, images: np.ndarray, batch_size: int, device: Any
) -> dict[str, Tensor]:
    rows = np.concatenate([trials.trials[i] for i in images])
    counts = torch.tensor([len(trials.trials[i]) for i in images])
    item = torch.repeat_interleave(torch.arange(len(images)), counts).to(device)
    sums: dict[str, Tensor] = {}
    for start in range(0, len(rows), batch_size):
        part = slice(start, start + batch_size)
        x = torch.from_numpy(trials.X.read(rows[part])).to(device)
        for name, value in network(x, trials.subject).items():
            total = sums.setdefault(name, value.new_zeros(len(images), *value.shape[1:], dtype=torch.float32))
            total.index_add_(0, item[part], value.float())
    return {k: v / counts.to(v).reshape(-1, *[1] * (v.ndim - 1)) for k, v in sums.items()}


def name_outputs(
    recipe: DecoderRecipe,
    prior: DiffusionPrior | None,
    outputs: Mapping[str, Tensor],
    images: np.ndarray,
    shapes: Mapping[str, tuple[int, ...] | None],
    *,
    steps: int | None,
    guidance: float,
    seed: int,
    batch_size: int,
) -> dict[str, np.ndarray]:
    """Return arrays (n_images, ...) by the names that the recipe gives them, samples of the prior among them.

    Parameters
    ----------
    outputs : dict name -> (n_images, ...)
    images : (n_images,)
        Ids, of which the prior's noise is made.
    shapes : dict name -> shape of one image's target
    """
    names = dict(recipe.decoded) or {k: k for k in outputs}
    if prior is not None and recipe.prior is not None and not recipe.decoded:
        names[recipe.prior["target"]] = "prior"
    arrays = {}
    for name, source in names.items():
        if source != "prior":
            arrays[name] = outputs[source].numpy()
        elif prior is None or recipe.prior is None:
            raise ValueError(f"{name!r} should come from a prior, but recipe {recipe.name!r} has none.")
        else:
            brain, seeds = as_tokens(outputs[recipe.prior["output"]]), item_seeds(images, seed)
            device = next(prior.parameters()).device
            parts = [slice(start, start + batch_size) for start in range(0, len(brain), batch_size)]
            drawn = [prior.sample(brain[p].to(device), seeds=seeds[p], steps=steps, guidance=guidance) for p in parts]
            tokens = torch.cat(drawn).cpu()
            flat = len(shapes.get(recipe.prior["target"]) or (0, 0)) == 1
            arrays[name] = (tokens[:, 0] if flat else tokens).numpy()
    return arrays


def item_seeds(images: np.ndarray, seed: int) -> list[int]:
    """Return a seed per image, from ``seed`` and the image's id."""
    numbers = (int(hash_bytes(str(value).encode())[:8], 16) for value in images.tolist())
    return [int(np.random.SeedSequence([seed, number]).generate_state(1)[0]) for number in numbers]
