"""Initial pictures from low-level decoding, and the blend with them at the end.

MindEye starts its diffusion from the decoded low-level picture; MindEye2 scores 0.75 of the enhanced picture plus 0.25
of the blurry one, which raises pixel metrics: report such scores with and without.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from neuro.decoders.generators.base import as_float_tensor
from neuro.decoders.generators.diffusion import decode_latents
from neuro.errors import ShapeMismatch


def low_level_pictures(vae: Any, latents: Any, size: tuple[int, int] | None = None, batch_size: int = 16) -> np.ndarray:
    """Return the pictures that decoded latents stand for.

    Parameters
    ----------
    vae : diffusers.AutoencoderKL
        Whose latents they are.
    latents : array (n, c, h, w)
        With the scaling factor in them.
    size : (int, int), optional
        Resize to this (bilinear, antialiased), as for a generator that works at another size.
    batch_size : int

    Returns
    -------
    array (n, 3, height, width), float32 in [0, 1]
    """
    z = as_float_tensor(latents)
    if z.ndim != 4 or z.shape[1] != vae.config.latent_channels:
        raise ShapeMismatch(f"latents must be (n, {vae.config.latent_channels}, h, w), got {tuple(z.shape)}.")
    pictures = torch.cat([decode_latents(vae, part).clamp(0, 1).cpu() for part in z.split(batch_size)])
    if size is not None:
        pictures = functional.interpolate(pictures, size, mode="bilinear", antialias=True).clamp(0, 1)
    return pictures.numpy()


def blend(sharp: np.ndarray, blurry: np.ndarray, weight: float = 0.75) -> np.ndarray:
    """Return ``weight * sharp + (1 - weight) * blurry``; MindEye2's published scores are of such pictures.

    >>> float(blend(np.ones((1, 3, 2, 2)), np.zeros((1, 3, 2, 2))).mean())
    0.75
    """
    sharp, blurry = np.asarray(sharp), np.asarray(blurry)
    if sharp.shape != blurry.shape:
        raise ShapeMismatch(f"both sets of pictures must have one shape, got {sharp.shape} and {blurry.shape}.")
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must lie between 0 and 1, got {weight!r}.")
    return weight * sharp + (1 - weight) * blurry
