"""phantom-captioner: a small language model that puts phantom-clip's image tokens into words; ships with the package.

A GPT-2 of transformers' own kind (``config.json``, ``model.safetensors``) with a linear prefix (``prefix.safetensors``)
and whole words (``vocabulary.json``). ``metrics.json`` says how it was trained and how well it does;
``scripts/train_phantom_captioner.py`` makes all of it. It knows the phantom's scenes and nothing about photographs.
"""

from __future__ import annotations

from pathlib import Path

from neuro.decoders._captioner_prefix import PrefixCaptioner

__all__ = ["FOLDER", "load_phantom_captioner"]

FOLDER = Path(__file__).parent


def load_phantom_captioner(folder: str | Path | None = None) -> PrefixCaptioner:
    """Load phantom-captioner, float32 on the CPU; it reads phantom-clip image tokens (n, 5, 128).

    Parameters
    ----------
    folder : path, optional
        Another folder of the same layout, as ``scripts/train_phantom_captioner.py --out`` writes.

    Raises
    ------
    MissingWeights
        If a file is missing from the folder.
    """
    return PrefixCaptioner.from_pretrained(FOLDER if folder is None else folder)
