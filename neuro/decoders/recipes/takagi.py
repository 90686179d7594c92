"""Takagi and Nishimoto: latents from early visual cortex, meaning from ventral cortex, into Stable Diffusion.

Ridge regression with a penalty per target, chosen by cross-validation, on single trials:

    z   latents of the picture's autoencoder                  <- early visual cortex
    c   text states of the picture's captions                 <- ventral visual cortex

and in the authors' second report, from all of visual cortex, three things that replace or refine them: states of a
captioner's image encoder (so that the condition is a decoded sentence), features of a network to which a GAN fits a
picture (so that the first picture is structured), and states of a depth network (so that the picture keeps its layout).

Takagi and Nishimoto (2023), High-resolution image reconstruction with latent diffusion models from human brain
activity, CVPR; Improving visual image reconstruction from human brain activity using latent diffusion models via
multiple decoded inputs, arXiv:2306.11536.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from neuro._check import check_option
from neuro.decoders.linear import RidgeDecoder
from neuro.decoders.recipes._linear_system import Generation, LinearSystem, Part, check_preset

REFERENCE = "Takagi and Nishimoto (2023), CVPR; arXiv:2306.11536"

EARLY, VENTRAL = "early", "ventral"
STREAMS = ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal")

LATENT_GRID = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # close to ordinary least squares: the edge is where they stand
FEATURE_GRID = (1e4, 2e4, 4e4)
GRIDS = {
    "nsd": {"latents": LATENT_GRID, "features": FEATURE_GRID},
    "phantom": {"latents": 1e2, "features": 3e2},
}

MODES = {
    "latents": {"low_level": EARLY, "text_tokens": VENTRAL},
    "text": {"low_level": EARLY, "caption_states": STREAMS},
    "structure": {"structure": STREAMS, "caption_states": STREAMS},
    "depth": {"low_level": EARLY, "caption_states": STREAMS, "depth_states": STREAMS},
}
"""What is decoded, and where from. The published sizes: ``low_level`` (4, 40, 40), ``text_tokens`` (77, 768),
``caption_states`` of BLIP, ``structure`` of VGG19, ``depth_states`` of DPT-large (4, 577, 1024)."""

_SD = Generation(
    "Stable Diffusion 1.4 from the decoded latents",
    condition=("text_tokens",),
    init="low_level",
    strength=0.8,
    steps=50,
    guidance=5.0,
    n=5,
)
_PHANTOM = replace(_SD, pipeline="phantom pipeline", steps=20, guidance=2.0, n=1)


def takagi_nishimoto(preset: str = "nsd", mode: str = "latents", **options: Any) -> LinearSystem:
    """Build the untrained system.

    Parameters
    ----------
    preset : {"nsd", "phantom"}
        The phantom's penalties are given, since its few images leave little to choose from.
    mode : {"latents", "text", "structure", "depth"}
        What the picture is made of, see ``MODES``.
    **options
        Further parameters of the :class:`~neuro.decoders.linear.RidgeDecoder` of all parts, as ``device``.

    Returns
    -------
    LinearSystem
        ``fit`` takes ``Responses``, or arrays with ``rois``, of single trials; ``target_ids`` names the images.
        Except in ``mode="latents"`` a captioner turns ``caption_states`` into sentences for
        :meth:`~LinearSystem.reconstruct`, ``condition={"prompt": sentences}``. The picture that a GAN fits to
        ``structure`` is encoded to ``low_level`` likewise, and the depth network's head makes ``depth`` (n, h, w) of
        ``depth_states``. The phantom's pipeline reads ``text_tokens`` in place of a prompt, and no depth.

    Examples
    --------
    >>> system = takagi_nishimoto("phantom", mode="depth")
    >>> system.targets, system.parts[0].roi
    (('low_level', 'caption_states', 'depth_states'), 'early')
    """
    grids = check_preset(preset, GRIDS)
    chosen = MODES[check_option("mode", mode, MODES)]
    parts = []
    for name, roi in chosen.items():
        grid = grids["latents" if name in ("low_level", "text_tokens") else "features"]
        parts.append(Part((name,), RidgeDecoder(grid, standardize=True, **options), roi))
    generation = _PHANTOM if preset == "phantom" else _SD
    if preset == "nsd" and mode != "latents":
        generation = replace(_SD, condition=("prompt",))
    if preset == "nsd" and mode == "depth":
        pipeline = "Stable Diffusion 2 with depth from the decoded latents"
        generation = replace(_SD, pipeline=pipeline, condition=("prompt", "depth"))
    return LinearSystem("takagi-nishimoto", preset, tuple(parts), generation, REFERENCE)
