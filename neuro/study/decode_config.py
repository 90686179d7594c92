"""What a study decodes: what its section ``[decode]`` may say, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neuro.errors import StudyError, nearest

LINEAR = "ridge"


@dataclass(frozen=True)
class DecodeConfig:
    """What is decoded from the responses to the test images.

    Parameters
    ----------
    decoders : list of str
        "ridge" (closed form, a penalty per target) or the name of a network recipe (``neuro.decoders.RECIPES``).
    target : str
        The CLIP whose image tokens are decoded: "phantom-clip", or "open_clip:NAME" with ``pretrained``.
    pretrained : str
        Weights tag or file of the target.
    normalise : str
        "none" or "cls_norm", as in :func:`neuro.features.tokens.image_tokens`.
    generator : str or false
        "phantom", or a kind of diffusers pipeline ("stable-diffusion", "versatile", "unclip"...; see
        :func:`neuro.decoders.load_generator`); its VAE gives the low-level targets.
    generator_weights : str
        Folder or hub name of the pipeline, if not the published one of its kind.
    captioner : str or false
        "phantom", or folder or hub name of a captioner.
    low_level : bool
        Also decode the latents of the generator's VAE.
    n_images : int
        Test images that are reconstructed, drawn with the study's seed; 0 for all.
    pool : int
        Images to choose from in retrieval; fewer if there are fewer test images.
    repeats : int
        Pools drawn.
    by_region : bool
        Also decode from the voxels of each region alone.
    protocol : str
        Of the image metrics (``neuro.decoders.metrics.PROTOCOLS``).
    shuffled_control : bool
        Fit the first decoder once more to responses that belong to other images.
    steps : int
        Of diffusion.
    guidance, strength : float
        Classifier-free guidance, and how much of the low-level start is replaced (1: all).
    options : dict
        Settings of the decoders other than the defaults, as ``{ epochs = 20 }``.
    """

    decoders: tuple[str, ...] = (LINEAR,)
    target: str = "phantom-clip"
    pretrained: Any = None
    normalise: str = "none"
    generator: Any = "phantom"
    generator_weights: str | None = None
    captioner: Any = "phantom"
    low_level: bool = True
    n_images: int = 60
    pool: int = 300
    repeats: int = 30
    by_region: bool = True
    protocol: str = "phantom"
    shuffled_control: bool = True
    steps: int = 20
    guidance: float = 3.0
    strength: float = 0.8
    options: Mapping[str, Any] = field(default_factory=dict)


def check_decode(decode: DecodeConfig, kind: str) -> None:
    """Refuse settings that cannot be run, for a data set of this kind."""
    from neuro.decoders import PROTOCOLS, RECIPES

    if kind == "rdms":
        raise StudyError("[decode] needs responses, but dataset.kind is 'rdms'.")
    if not decode.decoders or len(set(decode.decoders)) != len(decode.decoders):
        raise StudyError(f"decode.decoders must name distinct decoders, got {list(decode.decoders)}.")
    known = [LINEAR, *RECIPES]
    for name in decode.decoders:
        if name not in known:
            raise StudyError(f"unknown decoder {name!r}{nearest(name, known) or '.'} Decoders: {', '.join(known)}.")
    if decode.protocol not in PROTOCOLS:
        raise StudyError(f"decode.protocol must be of {', '.join(PROTOCOLS)}, got {decode.protocol!r}.")
    for name in ("n_images", "pool", "repeats", "steps"):
        value = getattr(decode, name)
        least = 0 if name == "n_images" else 2 if name == "pool" else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise StudyError(f"decode.{name} must be a whole number of at least {least}, got {value!r}.")
    if not 0 <= decode.strength <= 1:
        raise StudyError(f"decode.strength must lie between 0 and 1, got {decode.strength}.")
    if decode.low_level and not decode.generator:
        raise StudyError("decode.low_level needs the VAE of a generator: name one, or set low_level = false.")
