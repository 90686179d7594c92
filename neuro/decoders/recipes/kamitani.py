"""Deep image reconstruction: every unit of a network decoded from its best voxels, and a picture fitted to all layers.

Each unit of every layer has a ridge regression of its own on the 500 voxels that correlate most with it. Decoded
features are judged unit by unit over images (profile correlation) and image by image over units (pattern correlation),
and a picture is found by gradient descent in the latent space of an image generator G:

    argmin_z  sum_l w_l |phi_l(G(z)) - y_l|^2,        w_l proportional to 1 / |y_l|^2, summing to 1.

Horikawa and Kamitani (2017), Nature Communications 8, 15037; Shen, Horikawa, Majima and Kamitani (2019), Deep image
reconstruction from human brain activity, PLOS Computational Biology 15, e1006633.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neuro.decoders.decoded import Decoded
from neuro.decoders.generators.base import item_generators
from neuro.decoders.recipes._linear_system import LinearSystem, Part, check_preset
from neuro.decoders.voxel_selection import VoxelSelectionDecoder
from neuro.errors import EmptySelection, ShapeMismatch

REFERENCE = "Horikawa and Kamitani (2017), Nature Communications 8, 15037; Shen et al. (2019), PLOS Comput Biol 15"

VGG19_LAYERS = (
    *(f"conv{block}_{i}" for block, n in ((1, 2), (2, 2), (3, 4), (4, 4), (5, 4)) for i in range(1, n + 1)),
    *("fc6", "fc7", "fc8"),
)
SETTINGS = {"nsd": {"n_select": 500, "alpha": 100.0}, "phantom": {"n_select": 100, "alpha": 100.0}}


@dataclass(frozen=True)
class Inversion:
    """Gradient descent in the latent space of an image generator.

    Attributes
    ----------
    steps : int
    learning_rate : (float, float)
        First and last, linear in between; gradients are divided by their mean absolute value.
    momentum, decay : float
        Of the gradient, and of z towards 0 in each step.
    n_latents : int
    upper : float or array (n_latents,)
        Latents are kept in [0, upper]: three times the range of activations that the authors measured.
    """

    steps: int = 200
    learning_rate: tuple[float, float] = (2.0, 1e-10)
    momentum: float = 0.9
    decay: float = 0.01
    n_latents: int = 4096
    upper: Any = float("inf")


def kamitani(preset: str = "nsd", *, roi: Any = None, rescaling: str = "none", **options: Any) -> LinearSystem:
    """Build the untrained system.

    Parameters
    ----------
    preset : {"nsd", "phantom"}
        The published 500 voxels per unit, or 100.
    roi : str or tuple of str, optional
        Decode from one region instead of all voxels.
    rescaling : str
        The authors' pictures are made from features with ``rescaling="reference"`` (and ``reference_sd`` by layer).
    **options
        Further parameters of :class:`~neuro.decoders.voxel_selection.VoxelSelectionDecoder`.

    Returns
    -------
    LinearSystem
        Its targets are whatever layers ``fit`` is given, as ``{layer: array (n, ...)}``; ``VGG19_LAYERS`` are the
        published ones.

    Examples
    --------
    >>> kamitani("phantom").parts[0].decoder.n_select, len(VGG19_LAYERS)
    (100, 19)
    """
    settings = check_preset(preset, SETTINGS)
    decoder = VoxelSelectionDecoder(**(settings | options), rescaling=rescaling)
    return LinearSystem("kamitani", preset, (Part(None, decoder, roi),), None, REFERENCE)


def fit_pictures(
    decoded: Decoded | Mapping[str, Any],
    features: Callable[[torch.Tensor], Mapping[str, torch.Tensor]],
    generator: Callable[[torch.Tensor], torch.Tensor],
    *,
    settings: Inversion | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Find pictures whose features are the decoded ones.

    Parameters
    ----------
    decoded : Decoded, or dict of layer -> array (n, ...)
    features : callable
        Pictures (b, 3, h, w) in [0, 1] -> {layer: tensor (b, ...)}, differentiable.
    generator : callable
        Latents (b, n_latents) -> pictures (b, 3, h, w) in [0, 1], differentiable.
    settings : Inversion, optional
    seed : int
        An item's first latents are fixed by the seed and the item, whatever else is decoded.

    Returns
    -------
    pictures : array (n, 3, h, w), float32
        The best of each item's steps.
    losses : array (n,)
        Their weighted squared distances: 1 is a picture without any of the decoded features, 0 one with all.
    """
    settings = settings or Inversion()
    if not len(decoded):
        raise EmptySelection("no layer was decoded.")
    items = list(getattr(decoded, "ids", range(len(next(iter(decoded.values()))))))
    pictures, losses = [], []
    for i, item in enumerate(items):
        wanted = {name: torch.from_numpy(np.array(value[i], dtype=np.float32)) for name, value in decoded.items()}
        z = torch.randn(1, settings.n_latents, generator=item_generators(seed, [item], 0)[0])
        best, least = _descend(z, wanted, features, generator, settings)
        pictures.append(best.numpy())
        losses.append(least)
    return np.concatenate(pictures).astype(np.float32), np.array(losses)


def _descend(z, wanted, features, generator, settings: Inversion) -> tuple[torch.Tensor, float]:
    inverse = {name: 1 / y.square().sum().clamp(min=1e-12) for name, y in wanted.items()}
    weight = {name: value / sum(inverse.values()) for name, value in inverse.items()}
    total = sum(weight[name] * y.square().sum() for name, y in wanted.items())
    upper = torch.as_tensor(settings.upper, dtype=z.dtype)
    z, velocity = z.clamp(min=0).minimum(upper), torch.zeros_like(z)
    first, last = settings.learning_rate
    best, least = None, float("inf")
    for step in range(settings.steps + 1):
        z = z.detach().requires_grad_(True)
        picture = generator(z)
        found = features(picture)
        terms = []
        for name, y in wanted.items():
            if name not in found or found[name].shape[1:] != y.shape:
                got = tuple(found[name].shape[1:]) if name in found else "nothing"
                raise ShapeMismatch(f"features must return {name!r} of shape {tuple(y.shape)} per item, got {got}.")
            terms.append(weight[name] * (found[name][0] - y).square().sum())
        loss = torch.stack(terms).sum() / total
        value = float(loss.detach())
        if value < least:
            best, least = picture.detach(), value
        if step == settings.steps:
            break
        (gradient,) = torch.autograd.grad(loss, z)
        rate = first + (last - first) * step / max(settings.steps - 1, 1)
        velocity = settings.momentum * velocity + gradient / gradient.abs().mean().clamp(min=1e-20)
        z = ((1 - settings.decay) * (z.detach() - rate * velocity)).clamp(min=0).minimum(upper)
    if best is None:
        raise FloatingPointError("the loss was never finite: look for NaN in the decoded features.")
    return best, least
