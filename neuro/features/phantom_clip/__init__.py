"""phantom-clip: a small CLIP, trained on the phantom's scenes and captions, that ships with the package.

Both towers are open_clip's own (a ModifiedResNet of eight blocks at 64 pixels, a three-layer text transformer), in
open_clip's own folder layout, so ``open_clip.create_model_and_transforms("local-dir:" + str(FOLDER))`` reads it too;
only the tokenizer is ours (whole words). ``metrics.json`` says how it was trained and how well it does;
``scripts/train_phantom_clip.py`` makes all of it. Weights are stored as float16 and computed with in float32.

It knows nothing about photographs. It is there so that every step of a study can be run, checked and learned offline.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuro.errors import DataNotDownloaded
from neuro.features.phantom_clip.tokenizer import WordTokenizer
from neuro.features.phantom_clip.zero_shot import PROMPTS, class_scores, classify

if TYPE_CHECKING:
    import torch

__all__ = ["FOLDER", "PROMPTS", "WordTokenizer", "class_scores", "classify", "load_phantom_clip", "tokenizer"]

FOLDER = Path(__file__).parent
_FILES = ("open_clip_config.json", "open_clip_model.safetensors", "vocabulary.json")


def load_phantom_clip(
    pretrained: bool = True, seed: int = 0, folder: str | Path | None = None
) -> tuple[Any, Any, WordTokenizer]:
    """Load phantom-clip.

    Parameters
    ----------
    pretrained : bool
        False gives the untrained twin: the same network with the random weights that ``seed`` fixes.
    seed : int
        Of the untrained twin's weights; the caller's random state is left alone.
    folder : path, optional
        Another folder of the same layout, as ``scripts/train_phantom_clip.py --out`` writes.

    Returns
    -------
    model : open_clip.CLIP
        In evaluation mode, float32, on the CPU.
    preprocess : callable
        PIL image -> float tensor (3, 64, 64).
    tokenizer : WordTokenizer
        Sentences -> LongTensor (n, context_length).

    Raises
    ------
    DataNotDownloaded
        If a file is missing from the folder.
    """
    import open_clip
    import torch

    folder = FOLDER if folder is None else Path(folder)
    missing = [
        name for name in _FILES if not (folder / name).is_file() and (pretrained or not name.endswith("safetensors"))
    ]
    if missing:
        raise DataNotDownloaded(
            f"phantom-clip in {folder} lacks {', '.join(missing)}. "
            f"Make them with: python scripts/train_phantom_clip.py --out {folder}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, _, preprocess = open_clip.create_model_and_transforms(
            f"local-dir:{folder}", load_weights=bool(pretrained)
        )
    return model.eval(), preprocess, WordTokenizer.from_file(folder / "vocabulary.json")


def tokenizer(texts: str | list[str]) -> torch.Tensor:
    """Return the numbers of sentences' words, int64 (n, context_length)."""
    return WordTokenizer.from_file(FOLDER / "vocabulary.json")(texts)
