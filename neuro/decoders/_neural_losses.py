"""A recipe's loss terms on one batch of several subjects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuro.decoders.losses import info_nce, mae, mse, mse_normalised, soft_clip, soft_cont
from neuro.decoders.mixing import apply_mix, bimixco
from neuro.decoders.prior import DiffusionPrior
from neuro.decoders.recipes.settings import DecoderRecipe, LossTerm
from neuro.decoders.schedules import cosine_temperature
from neuro.decoders.training import Place
from neuro.errors import ShapeMismatch

CONTRASTIVE = ("bimixco_then_soft_clip", "soft_clip", "info_nce")
PIXELWISE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "l1": mae, "normalised_mse": mse_normalised}


class DecoderSystem(nn.Module):
    """A recipe's network and, where the recipe has one, its diffusion prior."""

    def __init__(self, network: Any, prior: DiffusionPrior | None = None):
        super().__init__()
        self.network = network
        self.prior = prior


@dataclass
class Batch:
    """Inputs and outputs by subject; outputs, targets and mix of all of them, one subject after the other.

    ``mix`` is (partners, shares) over all rows, or None where inputs were not mixed.
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, dict[str, Tensor]]
    targets: dict[str, Tensor]
    mix: tuple[Tensor, Tensor] | None = None
    joined: dict[str, Tensor] = field(init=False)

    def __post_init__(self):
        names = next(iter(self.outputs.values()))
        self.joined = {k: torch.cat([out[k] for out in self.outputs.values()]) for k in names}

    def mixed_target(self, name: str) -> Tensor:
        """Return targets in the proportions of the inputs."""
        return self.targets[name] if self.mix is None else apply_mix(self.targets[name], *self.mix)

    def targets_of_subjects(self) -> dict[str, dict[str, Tensor]]:
        """Return mixed targets by subject."""
        out, start = {}, 0
        for subject, x in self.inputs.items():
            rows = slice(start, start + len(x))
            out[subject] = {name: self.mixed_target(name)[rows] for name in self.targets}
            start += len(x)
        return out


def mixing_epochs(recipe: DecoderRecipe, n_epochs: int) -> int:
    """Return the number of epochs with mixed inputs."""
    if recipe.mix.get("kind", "none") == "none":
        return 0
    return int(recipe.mix.get("until", 1.0) * n_epochs)


def batch_losses(recipe: DecoderRecipe, system: DecoderSystem, batch: Batch, place: Place) -> dict[str, Tensor]:
    """Return every weighted term.

    Regression targets (latents, tokens of the prior) are mixed as the inputs were; contrastive ones enter unmixed,
    with partners and shares beside them.
    """
    switch = mixing_epochs(recipe, place.n_epochs)
    gather = place.n_processes > 1
    factors = _random_weights(recipe, place)
    own: Mapping[str, Tensor] = {}
    if any(term.kind == "own" for term in recipe.losses):
        generator = torch.Generator().manual_seed(int(place.rng(4).integers(2**62)))
        own = system.network.own_losses(batch.inputs, batch.outputs, batch.targets_of_subjects(), generator)
    losses = {}
    for term in recipe.losses:
        weight = term.options.get("weight_after", term.weight) if place.epoch >= switch else term.weight
        if term.kind == "own":
            value = own[term.output]
        elif term.kind in CONTRASTIVE:
            value = _contrastive(term, batch, place, switch, gather)
        elif term.kind == "prior":
            value = prior_loss(system, batch.joined[term.output], batch.mixed_target(term.target), place.rng(3))
        elif term.kind == "soft_cont":
            teacher, augmented = (batch.mixed_target(t) for t in (term.target, term.options["augmented"]))
            value = soft_cont(batch.joined[term.output], teacher, augmented, term.options["temperature"])
        else:
            value = PIXELWISE[term.kind](*paired(batch.joined[term.output], batch.mixed_target(term.target), term))
        losses[term.name] = weight * factors.get(term.name, 1.0) * value
    return losses


def _contrastive(term: LossTerm, batch: Batch, place: Place, switch: int, gather: bool) -> Tensor:
    pred, target = paired(batch.joined[term.output], batch.targets[term.target], term)
    options = term.options
    if batch.mix is not None:
        return bimixco(pred, target, *batch.mix, options["temperature"], gather=gather)
    if term.kind == "bimixco_then_soft_clip":
        epochs = max(place.n_epochs - switch, 1)
        tau = cosine_temperature(place.epoch - switch, epochs, options["start"], options["end"])
        return soft_clip(pred, target, tau, gather=gather)
    loss = soft_clip if term.kind == "soft_clip" else info_nce
    return loss(pred, target, options["temperature"], gather=gather)


def prior_loss(system: DecoderSystem, brain: Tensor, image: Tensor, rng: np.random.Generator) -> Tensor:
    """Return the prior's loss; a vector counts as one token."""
    if system.prior is None:
        raise ValueError("a loss of kind 'prior' needs recipe.prior, the settings of the diffusion prior.")
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    return system.prior.loss(as_tokens(brain), as_tokens(image), generator)


def as_tokens(x: Tensor) -> Tensor:
    """(n, d) -> (n, 1, d); tokens as they are."""
    return x[:, None] if x.ndim == 2 else x


def paired(pred: Tensor, target: Tensor, term: LossTerm) -> tuple[Tensor, Tensor]:
    """Refuse outputs and targets of different shapes."""
    if pred.shape[1:] != target.shape[1:]:
        raise ShapeMismatch(
            f"term {term.name!r}: output {term.output!r} is {tuple(pred.shape[1:])} per image, target {term.target!r} "
            f"{tuple(target.shape[1:])}. Build the recipe for these targets (n_tokens, dim, latent_shape), or extract "
            "the targets that it asks for."
        )
    return pred, target


def _random_weights(recipe: DecoderRecipe, place: Place) -> dict[str, float]:
    """Factors of groups of terms, drawn for each step: the softmax of squared normal numbers."""
    groups = recipe.options.get("random_weights")
    if not groups:
        return {}
    shared = np.random.default_rng([place.seed, place.epoch, place.batch, 1 << 20])  # the same in all processes
    z = np.exp(shared.standard_normal(len(groups)) ** 2)
    return {name: float(w) for group, w in zip(groups, z / z.sum(), strict=True) for name in group}


def check_recipe(recipe: DecoderRecipe, targets: Any) -> None:
    """Refuse targets that a recipe needs and that are not there."""
    needed = list(recipe.targets)
    needed += [t.options["augmented"] for t in recipe.losses if "augmented" in t.options]
    missing = [name for name in needed if name not in targets]
    if missing:
        raise ValueError(
            f"recipe {recipe.name!r} needs targets {', '.join(dict.fromkeys(needed))}; {', '.join(missing)} not given "
            f"(there is {', '.join(targets.names) or 'nothing'}). Give them, or leave their terms out: "
            "recipe.with_settings(losses=...)."
        )
