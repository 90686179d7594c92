"""Brain Captioning: ridge regression to what a captioner sees, and the captioner's own words.

The states of GIT's image encoder are decoded and handed to its language model in place of those of a picture. Two
further regressions give the latents of the picture and of its depth map; with the caption they steer a diffusion model
through three ControlNets.

Ferrante, Boccato, Ozcelik, VanRullen and Toschi (2023), Brain captioning: decoding human brain activity into images and
text, arXiv:2305.11560.
"""

from __future__ import annotations

from typing import Any

from neuro.decoders.decoded import Decoded
from neuro.decoders.linear import RidgeDecoder
from neuro.decoders.recipes._linear_system import Generation, LinearSystem, Part, check_preset
from neuro.errors import EmptySelection

REFERENCE = "Ferrante et al. (2023), arXiv:2305.11560"

PENALTIES = {
    "nsd": {"image_tokens": 6e4, "low_level": 5e4, "depth_low_level": 5e4},
    "phantom": {"image_tokens": 3e2, "low_level": 3e2, "depth_low_level": 3e2},
}
MAX_WORDS = 25
CONTROLS = {"depth": 0.7, "instruct-pix2pix": 0.2, "shuffle": 0.5}
"""Scales of the three ControlNets; a generator with these names reads a control picture for each."""

GENERATION = {
    "nsd": Generation(
        "Stable Diffusion 1.5 with three ControlNets, prompted by the decoded caption",
        condition=("prompt", *CONTROLS),
        strength=1.0,
        steps=30,
        guidance=9.0,
        mixing=CONTROLS,
    ),
    "phantom": Generation(
        "phantom pipeline", condition=("image_tokens",), init="low_level", strength=0.8, steps=20, guidance=2.0
    ),
}


class BrainCaptioning(LinearSystem):
    """A linear system that also puts what it decodes into words."""

    def caption(self, captioner: Any, decoded: Decoded, **changes: Any) -> list[str]:
        """Return one sentence per item.

        Parameters
        ----------
        captioner : Captioner
            As :func:`neuro.decoders.captioner.load_captioner` gives: "microsoft/git-base-coco", or the phantom's.
        decoded : Decoded
            With ``image_tokens`` in the grid that the captioner reads.
        **changes
            Settings of ``captioner.caption``; by default at most 25 words.
        """
        if "image_tokens" not in decoded:
            raise EmptySelection(f"a caption is written from image_tokens; decoded were {', '.join(decoded)}.")
        return captioner.caption(decoded["image_tokens"], **({"max_new_tokens": MAX_WORDS} | changes))


def brain_captioning(
    preset: str = "nsd", *, depth: bool = True, rescaling: str = "none", **options: Any
) -> BrainCaptioning:
    """Build the untrained system.

    Parameters
    ----------
    preset : {"nsd", "phantom"}
    depth : bool
        Decode latents of the depth map too.
    rescaling : str
        Scaling of the decoded latents, see :mod:`neuro.decoders.rescaling`; the authors' code is "transductive".
    **options
        Further parameters of the :class:`~neuro.decoders.linear.RidgeDecoder` of all parts, as ``device``.

    Returns
    -------
    BrainCaptioning
        Its targets: ``image_tokens`` (n, 197, 768), the states of GIT-base-coco's image encoder; ``low_level`` and
        ``depth_low_level``, latents of the picture and of its depth map.

    Examples
    --------
    >>> brain_captioning("phantom", depth=False)
    BrainCaptioning('brain-captioning', preset='phantom': image_tokens, low_level)
    """
    penalties = check_preset(preset, PENALTIES)
    latents = {name: penalties[name] for name in ("low_level", "depth_low_level")[: 1 + depth]}
    parts = (
        Part(("image_tokens",), RidgeDecoder(penalties["image_tokens"], standardize=True, **options)),
        Part(tuple(latents), RidgeDecoder(latents, standardize=True, rescaling=rescaling, **options)),
    )
    return BrainCaptioning("brain-captioning", preset, parts, GENERATION[preset], REFERENCE)
