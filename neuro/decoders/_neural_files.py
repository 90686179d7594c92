"""A neural decoder on disk: ``decoder.json`` and ``weights.safetensors``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from neuro._files import atomic_path, read_json, write_json
from neuro.decoders._checkpoint import read_tensors, write_tensors
from neuro.decoders.recipes.settings import DecoderRecipe
from neuro.errors import CorruptFile, MissingWeights, StaleStore

if TYPE_CHECKING:
    from neuro.decoders.neural import NeuralDecoder

FORMAT = "neuro.neural_decoder 1"
SETTINGS = (
    "validation", "patience", "repeats", "precision", "accumulate", "clip", "checkpoint_every", "random_state",
)  # fmt: skip


def write_decoder(decoder: NeuralDecoder, folder: Path) -> Path:
    """Write a fitted decoder."""
    about = {
        "format": FORMAT,
        "recipe": described(decoder.recipe),
        "settings": {name: getattr(decoder, name) for name in SETTINGS},
        "n_voxels": decoder.n_voxels_,
        "target_shapes": decoder._shapes,
        "seen": decoder._seen,
        "train_ids": decoder.train_ids_,
        "validation_ids": decoder.validation_ids_,
        "training": asdict(decoder.training_),
        "provenance": decoder.provenance_,
    }
    with atomic_path(folder, directory=True) as temporary:
        write_tensors(temporary / "weights.safetensors", decoder.system_.state_dict(), {"format": FORMAT})
        write_json(temporary / "decoder.json", about)
    return folder


def read_decoder(folder: Path, recipe: DecoderRecipe) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the description and the weights."""
    path = folder / "decoder.json"
    if not path.is_file():
        raise MissingWeights(f"{folder} holds no decoder: decoder.json is missing. NeuralDecoder.save writes it.")
    try:
        about = read_json(path)
    except ValueError as error:
        raise CorruptFile(f"{path} is not JSON ({error}).") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise CorruptFile(f"{path} does not describe a neural decoder of this version.")
    before, now = about["recipe"], described(recipe)
    changed = sorted(k for k in {**before, **now} if before.get(k) != now.get(k))
    if changed:
        raise StaleStore(
            f"{folder} was written with another recipe: {', '.join(changed)} differ (there it is {before['name']!r}, "
            f"preset {before['preset']!r}). Load it with the recipe it was trained with."
        )
    return about, read_tensors(folder / "weights.safetensors")[0]


def described(recipe: DecoderRecipe) -> dict[str, Any]:
    """Return the recipe's numbers as JSON gives them back."""
    return json.loads(json.dumps(recipe.describe(), default=str))
