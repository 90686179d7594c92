"""The diffusion model that ships: pictures of the phantom's world from phantom-clip tokens.

A UNet2DConditionModel over 8 x 16 x 16 latents of 64-pixel pictures, in diffusers' own folder layout:
``StableDiffusionPipeline.from_pretrained(FOLDER, text_encoder=None, tokenizer=None, safety_checker=None,
feature_extractor=None, image_encoder=None)`` reads it too. It is told image tokens (5 x 128), text tokens (up to 32 x
128), or both. The VAE's encoder is linear (principal components of 4 x 4 pixels), so latents can be decoded from
responses as well as pixels can. ``metrics.json`` says how it was trained and how well it draws;
``scripts/train_phantom_diffusion.py`` makes all of it. Weights are stored as float16 and computed with in float32.

It knows nothing about photographs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from neuro._check import require
from neuro.decoders.generators.base import as_float_tensor
from neuro.decoders.generators.conditioning import Conditioning
from neuro.decoders.generators.diffusion import TokenDiffusion, dtype_argument
from neuro.errors import MissingWeights

FOLDER = Path(__file__).parent.parent / "phantom_diffusion"
_FILES = (
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "scheduler/scheduler_config.json",
    "conditioning.json",
)


class PhantomDiffusion(TokenDiffusion):
    """:class:`TokenDiffusion` with the defaults that suit the phantom's pictures.

    Reads ``image_tokens`` (n, 5, 128) and ``text_tokens`` (n, up to 32, 128; zeros after the sentence's end) as
    :mod:`neuro.features.tokens` returns them for phantom-clip, one or both. ``image_embedding`` (n, 128) alone stands
    for all five image tokens, which in this CLIP are nearly alike.
    """

    default_steps = 20
    default_guidance = 3.0

    def _told(self, condition: Any, generators: Any) -> Any:
        if "image_embedding" in condition and not any(name in condition for name in self.conditioning.names):
            vector = as_float_tensor(condition["image_embedding"])
            part = self.conditioning.parts[0]
            condition = {part.name: vector[:, None].expand(-1, part.n_tokens, -1)}
        return super()._told(condition, generators)


def load_phantom_pipeline(
    folder: str | Path | None = None, *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> PhantomDiffusion:
    """Load the phantom's diffusion model.

    Parameters
    ----------
    folder : path, optional
        Another folder of the same layout, as ``scripts/train_phantom_diffusion.py --out`` writes.
    dtype : torch.dtype
        The network's numbers.
    device : str or torch.device

    Returns
    -------
    PhantomDiffusion
        Pictures of 64 x 64 pixels.

    Raises
    ------
    MissingWeights
        If a file is missing from the folder.

    Examples
    --------
    >>> pipeline = load_phantom_pipeline()
    >>> pipeline.size, pipeline.latent_shape
    ((64, 64), (8, 16, 16))
    """
    diffusers = require("diffusers", "the phantom's diffusion model", "decode")
    folder = FOLDER if folder is None else Path(folder)
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise MissingWeights(
            f"the phantom's diffusion model in {folder} lacks {', '.join(missing)}. "
            f"Make them with: python scripts/train_phantom_diffusion.py unet --cache CACHE --out {folder}"
        )
    parts = {
        "vae": diffusers.AutoencoderKL.from_pretrained(folder / "vae", **dtype_argument(dtype), local_files_only=True),
        "unet": diffusers.UNet2DConditionModel.from_pretrained(
            folder / "unet", **dtype_argument(dtype), local_files_only=True
        ),
    }
    for model in parts.values():
        model.to(device).eval()
    return PhantomDiffusion(
        **parts,
        scheduler=diffusers.DDIMScheduler.from_pretrained(folder / "scheduler"),
        conditioning=Conditioning.load(folder / "conditioning.json"),
    )
