"""Images for metrics: checked once, read in batches, resized by a named method with antialiasing said explicitly."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import check_option, check_positive_int
from neuro.decoders.metrics._similarity import as_array
from neuro.errors import ShapeMismatch

RESIZES = ("pil_bicubic", "pil_bilinear", "tensor_bilinear", "tensor_bicubic")
"""PIL works on 8-bit pictures and always antialiases; tensors stay floating point and antialias if told to."""


def check_images(name: str, images: Any, samples: bool = False, at_least: int = 1) -> np.ndarray:
    """Return images as an array (n, 3, height, width), or (n, k, 3, height, width) where ``samples`` are allowed.

    Raises
    ------
    ShapeMismatch
        Another shape, or fewer images than ``at_least``.
    ValueError
        Not floating point, not finite, or not in [0, 1].
    """
    x = as_array(images)
    allowed = (4, 5) if samples else (4,)
    if x.ndim not in allowed or x.shape[-3] != 3:
        many = " or (n, samples, 3, height, width)" if samples else ""
        raise ShapeMismatch(f"{name} must be RGB images (n, 3, height, width){many}, got {x.shape}.")
    if len(x) < at_least:
        raise ShapeMismatch(f"{name} has {len(x)} item, needs at least {at_least}: score several test items at once.")
    if x.dtype.kind != "f":
        raise ValueError(f"{name} must be floating point in [0, 1], got {x.dtype}. Divide 8-bit images by 255.")
    for i, image in enumerate(x):
        low, high = float(image.min()), float(image.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError(
                f"{name} holds NaN or infinite pixels (first: item {i}). Did decoding overflow in float16?"
            )
        if low < -1e-3 or high > 1 + 1e-3:
            raise ValueError(
                f"{name} must lie in [0, 1], item {i} spans {low:.3g} to {high:.3g}. "
                "Divide by 255, or map [-1, 1] by (x + 1) / 2."
            )
    return x


def check_image_pairs(recon: Any, true: Any, samples: bool = False, at_least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return reconstructions and true images of the same items; their sizes may differ."""
    r, t = check_images("recon", recon, samples, at_least), check_images("true", true, False, at_least)
    if len(r) != len(t):
        raise ShapeMismatch(f"recon has {len(r)} items, true {len(t)}: they must be the same items in the same order.")
    return r, t


def resize(
    images: np.ndarray, size: int | tuple[int, int], method: str = "tensor_bilinear", antialias: bool = True
) -> np.ndarray:
    """Return images (n, 3, h, w) squashed to ``size``, float32; unchanged where they have it already.

    Parameters
    ----------
    images : array (n, 3, height, width) in [0, 1]
    size : int or (height, width)
    method : {"pil_bicubic", "pil_bilinear", "tensor_bilinear", "tensor_bicubic"}
        PIL rounds to 8 bits, as pipelines that go through picture files do. Bicubic tensors may leave [0, 1] slightly.
    antialias : bool
        For tensors. torchvision's default changed from off to on in its release 0.17, hence no default is relied on.
    """
    check_option("method", method, RESIZES)
    height, width = size if isinstance(size, tuple) else (size, size)
    for side in (height, width):
        check_positive_int("size", side)
    x = np.asarray(images, dtype=np.float32)
    if method.startswith("pil") and not antialias:
        raise ValueError("PIL always antialiases: antialias=False needs a tensor method.")
    if x.shape[-2:] == (height, width):
        return x
    interpolation = method.split("_")[1]
    if method.startswith("tensor"):
        import torch
        from torch.nn.functional import interpolate

        out = interpolate(
            torch.tensor(x), (height, width), mode=interpolation, antialias=antialias, align_corners=False
        )
        return out.numpy()
    from PIL import Image

    how = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[interpolation]
    eight = np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    done = [np.asarray(Image.fromarray(picture).resize((width, height), how)) for picture in eight]
    return np.stack(done).transpose(0, 3, 1, 2).astype(np.float32) / 255


def wrong_partners(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return for each of n >= 2 items another one, each taken once, in a random cyclic order, (n,) int."""
    order = rng.permutation(n)
    out = np.empty(n, dtype=int)
    out[order] = np.roll(order, 1)
    return out


def describe_size(size: int | tuple[int, int] | None, true: np.ndarray, method: str, antialias: bool) -> str:
    """Return words for the size at which images are compared, and how they came there."""
    height, width = (size if isinstance(size, tuple) else (size, size)) if size else true.shape[-2:]
    antialiased = "" if method.startswith("pil") else ", antialiased" if antialias else ", not antialiased"
    return f"{height}x{width} by {method}{antialiased}"
