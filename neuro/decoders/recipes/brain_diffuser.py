"""Brain-Diffuser: ridge regression to a picture's latents, its CLIP vision tokens and its CLIP text tokens.

Low-level latents give a blurry first picture, which a diffusion model conditioned on both token sequences repaints.
Three closed-form regressions on z-scored, trial-averaged responses; nothing is trained by gradients.

Ozcelik and VanRullen (2023), Natural scene reconstruction from fMRI signals using generative latent diffusion,
Scientific Reports 13, 15666.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import check_option
from neuro.decoders.decoded import Decoded
from neuro.decoders.linear import RidgeDecoder
from neuro.decoders.recipes._linear_system import Generation, LinearSystem, Part, check_preset
from neuro.errors import ShapeMismatch

REFERENCE = "Ozcelik and VanRullen (2023), Scientific Reports 13, 15666"

PENALTIES = {
    "nsd": {"low_level": 5e4, "image_tokens": 6e4, "text_tokens": 1e5},
    "phantom": {"low_level": 3e2, "image_tokens": 3e2, "text_tokens": 3e2},
}
"""For responses z-scored over about 9,000 training images; the phantom of the examples has a few hundred."""

VDVAE_LATENTS = 91168
"""Numbers per picture in the first 31 latents of the ImageNet-64 VDVAE, which the authors decode as ``low_level``:
2 x 16 + 4 x 256 + 8 x 1,024 + 16 x 4,096 + 1 x 16,384."""

GENERATION = {
    "nsd": Generation(
        "VDVAE decoder 64 x 64, enlarged, then Versatile Diffusion with both conditions",
        condition=("image_tokens", "text_tokens"),
        init="low_level",
        strength=0.75,
        steps=50,
        guidance=7.5,
        mixing={"image_tokens": 0.6, "text_tokens": 0.4},
    ),
    "phantom": Generation(
        "phantom pipeline",
        condition=("image_tokens", "text_tokens"),
        init="low_level",
        strength=0.75,
        steps=20,
        guidance=2.0,
    ),
}


def brain_diffuser(preset: str = "nsd", *, rescaling: str = "none", **options: Any) -> LinearSystem:
    """Build the untrained system.

    Parameters
    ----------
    preset : {"nsd", "phantom"}
    rescaling : str
        Scaling of the decoded low-level latents, see :mod:`neuro.decoders.rescaling`. The authors' code standardises
        them by the *test set's* own statistics ("transductive"); say so to reproduce it.
    **options
        Further parameters of the :class:`~neuro.decoders.linear.RidgeDecoder` of all parts, as ``device``.

    Returns
    -------
    LinearSystem
        Its targets: ``low_level`` (n, c, h, w) or (n, 91168), ``image_tokens`` (n, 257, 768), ``text_tokens``
        (n, 77, 768); with the phantom's networks (n, 8, 16, 16), (n, 5, 128), (n, length, 128).

    Examples
    --------
    >>> brain_diffuser("phantom")
    LinearSystem('brain-diffuser', preset='phantom': low_level, image_tokens, text_tokens)
    """
    penalties = check_preset(preset, PENALTIES)
    latents = RidgeDecoder(penalties["low_level"], standardize=True, rescaling=rescaling, **options)
    tokens = {name: penalties[name] for name in ("image_tokens", "text_tokens")}
    parts = (Part(("low_level",), latents), Part(tuple(tokens), RidgeDecoder(tokens, standardize=True, **options)))
    return LinearSystem("brain-diffuser", preset, parts, GENERATION[preset], REFERENCE)


@dataclass(frozen=True)
class RegionNorms:
    """Lengths given to what a region's pattern does to the decoded features, before the intercept is added.

    ``low_level`` and ``low_level_again`` are lengths of all latents of a picture, before and after they are
    standardised across regions; ``image_tokens`` and ``text_tokens`` are those of each token.
    """

    low_level: float = 50.0
    low_level_again: float = 80.0
    image_tokens: float = 15.0
    text_tokens: float = 9.0


def region_conditions(
    system: LinearSystem,
    rois: Mapping[str, Any],
    *,
    subject: Hashable = None,
    norms: RegionNorms | None = None,
    low_level: str = "each",
) -> Decoded:
    """Return features of the picture that a region would see if it alone were active.

    A pattern of 1 inside the region and 0 outside goes through the regression weights; the change of every feature is
    brought to a fixed length and the intercept added: ``norm * W r / |W r| + b``.

    Parameters
    ----------
    system : LinearSystem
        A fitted :func:`brain_diffuser`.
    rois : dict of name -> boolean mask (n_voxels,)
    subject : optional
    norms : RegionNorms, optional
        The authors' for Versatile Diffusion and VDVAE. Other networks have features of other lengths.
    low_level : {"each", "across"}
        "across" standardises the latents over the regions of this call, as the authors did. Then every picture
        depends on which other regions were asked for: compare only within one call.

    Returns
    -------
    Decoded
        One item per region, its ids the names; for :meth:`LinearSystem.reconstruct`.

    Notes
    -----
    A region's pattern is in standard deviations of its voxels. These pictures show what the weights of the regression
    associate with a region, shared noise and stimulus correlations included, not its tuning.
    """
    check_option("low_level", low_level, ("each", "across"))
    system._require_fitted()
    norms = norms or RegionNorms()
    masks = {name: np.asarray(mask) for name, mask in rois.items()}
    for name, mask in masks.items():
        if mask.dtype != bool or mask.ndim != 1 or not mask.any():
            raise ShapeMismatch(
                f"region {name!r} must be a boolean mask with some voxels, got {mask.dtype} {mask.shape}."
            )
    if low_level == "across" and len(masks) < 2:
        raise ValueError("low_level='across' standardises over regions: give at least two, or low_level='each'.")
    patterns = np.stack(list(masks.values())).astype(np.float32)
    change: dict[str, np.ndarray] = {}
    start: dict[str, np.ndarray] = {}
    for decoder in system.decoders_:
        change |= decoder.respond(patterns, subject)
        start |= decoder.intercepts(subject)
    latents = _to_length(change["low_level"].reshape(len(masks), -1), norms.low_level)
    if low_level == "across":
        sd = latents.std(0)
        latents = (latents - latents.mean(0)) / np.where(sd > 0, sd, 1)
    scaled = {"low_level": _to_length(latents, norms.low_level_again).reshape(change["low_level"].shape)}
    for name in ("image_tokens", "text_tokens"):
        scaled[name] = _to_length(change[name], getattr(norms, name))
    arrays = {name: (scaled[name] + start[name]).astype(np.float32) for name in scaled}
    about = {"system": system.name, "conditions": "regions", "low_level": low_level, "rescaling": "region norms"}
    return Decoded(arrays, list(masks), subject, about)


def _to_length(vectors: np.ndarray, length: float) -> np.ndarray:
    """Scale the last axis to a length; zeros stay."""
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors * (length / np.where(norm > 0, norm, 1))
