"""What decoders are trained to give: for every image its CLIP tokens and, for its layout, latents of a VAE."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuro._check import check_positive_int
from neuro._files import atomic_path, write_json
from neuro.data import Stimuli
from neuro.decoders.decoded import FORMAT, Decoded
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.features.fingerprint import hash_weights
from neuro.features.models import DEFAULT, load_network
from neuro.features.tokens import image_tokens, normalise_tokens


def image_targets(
    stimuli: Stimuli,
    network: str = "phantom-clip",
    *,
    pretrained: Any = DEFAULT,
    normalise: str = "none",
    readers: Mapping[str, Callable[[torch.Tensor], Any]] | None = None,
    size: int | None = None,
    folder: str | Path | None = None,
    dtype: str = "float32",
    batch_size: int = 64,
    progress: bool = False,
) -> Decoded:
    """Compute the targets of images: ``image_tokens`` (n, n_tokens, d), ``image_embedding`` (n, d), and more if asked.

    Parameters
    ----------
    stimuli : Stimuli
        Images.
    network : str
        A CLIP, as :class:`neuro.features.Extractor` names it: "phantom-clip", "open_clip:ViT-L-14".
    pretrained : str or path, optional
        Its weights.
    normalise : {"none", "cls_norm"}
        See :func:`neuro.features.tokens.image_tokens`. The image embedding is the first token as the network gives it.
    readers : dict of name -> function, optional
        Further targets: a function from images (b, 3, size, size) on 0..1 to an array (b, ...), as
        ``{"low_level": generator.encode}``.
    size : int, optional
        Pixels a side for the readers.
    folder : path, optional
        Write the arrays there while they are computed and return memory maps; the folder appears whole or not at all.
        257 x 768 tokens of 10,000 images are 7.9 GB in float32, half in float16.
    dtype : {"float32", "float16"}
        Of what is stored.
    batch_size : int
    progress : bool
        Show a bar.

    Returns
    -------
    Decoded
        One row per stimulus; ``provenance`` names network, weights and normalisation.

    Raises
    ------
    ShapeMismatch
        If readers are given without a size, or stimuli are no images.
    UnknownModel, DownloadError
        If the network or its weights cannot be had.
    """
    check_positive_int("batch_size", batch_size)
    readers = dict(readers or {})
    if readers and size is None:
        raise ShapeMismatch(f"say at which size (pixels) {', '.join(readers)} read the images.")
    if not len(stimuli):
        raise EmptySelection("there are no stimuli to compute targets of.")
    if stimuli.kind != "image":
        raise ShapeMismatch(f"targets are computed from images, these stimuli are of kind {stimuli.kind!r}.")
    clip = load_network(network, pretrained, keep_text=True)
    model, preprocess = clip.whole or clip.module, clip.preprocess
    if preprocess is None:
        raise ShapeMismatch(f"{network} says nothing of how it wants images to be prepared.")
    about = {
        "network": network,
        "weights": hash_weights(model),
        "normalise": normalise,
        "dtype": dtype,
        "size": size,
        "targets": ["image_tokens", "image_embedding", *readers],
    }
    out = _Rows(len(stimuli), dtype)
    starts = range(0, len(stimuli), batch_size)
    with out.into(folder, stimuli.ids, about):
        for start, (_, images) in zip(_bar(starts, progress), stimuli.batches(batch_size), strict=True):
            raw = image_tokens(model, preprocess(images))
            out.put("image_tokens", start, normalise_tokens(raw, normalise))
            out.put("image_embedding", start, raw[:, 0])
            if readers:
                pictures = _square(images, int(size or 0))
                for name, read in readers.items():
                    out.put(name, start, read(pictures))
    if folder is not None:
        return Decoded.load(folder)
    return Decoded(out.arrays, stimuli.ids, provenance=about)


class _Rows:
    """Arrays whose rows are filled batch by batch, in memory or in files."""

    def __init__(self, n: int, dtype: str):
        self.n, self.dtype = n, np.dtype(dtype)
        self.arrays: dict[str, np.ndarray] = {}
        self.folder: Path | None = None

    def put(self, name: str, start: int, values: Any) -> None:
        """Write rows from ``start`` on; the first rows of a name say what shape all have."""
        values = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
        if name not in self.arrays:
            shape = (self.n, *values.shape[1:])
            if self.folder is None:
                self.arrays[name] = np.empty(shape, self.dtype)
            else:
                file = self.folder / f"{name}.npy"
                self.arrays[name] = np.lib.format.open_memmap(file, "w+", self.dtype, shape)
        self.arrays[name][start : start + len(values)] = values

    @contextlib.contextmanager
    def into(self, folder: str | Path | None, ids: np.ndarray, about: dict[str, Any]) -> Iterator[None]:
        """Let the rows go to files; at the end the folder stands where it was asked for."""
        if folder is None:
            yield
            return
        with atomic_path(folder, directory=True) as self.folder:
            yield
            for array in self.arrays.values():
                array.flush()
            card = {"format": FORMAT, "ids": ids.tolist(), "subject": None, "arrays": list(self.arrays)}
            write_json(self.folder / "decoded.json", {**card, "provenance": about})
            self.arrays = {}


def _square(images: list[np.ndarray], size: int) -> torch.Tensor:
    """Return (n, 3, size, size) on 0..1: the central square of each image, resized with antialiasing."""
    from PIL import Image

    out = np.empty((len(images), size, size, 3), np.float32)
    for i, image in enumerate(images):
        picture = Image.fromarray(np.ascontiguousarray(image)).convert("RGB")
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.crop((left, top, left + side, top + side))
        out[i] = np.asarray(square.resize((size, size), Image.Resampling.BICUBIC), np.float32) / 255
    return torch.from_numpy(out).permute(0, 3, 1, 2).contiguous()


def _bar(items: Any, progress: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(items, desc="targets", disable=not progress)
