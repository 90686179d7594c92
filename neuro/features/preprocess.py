"""From uint8 pictures of any size to what a network expects: resize, crop, scale to 0..1, subtract mean, divide by std.

Resizing stays in uint8 and is torch's own antialiased kernel. Against PIL's, which timm and open_clip use, single
pixels differ by one grey level (under 0.5 % of them when shrinking photographs; enlarging can reach two); it is about
five times faster. ``resize="pil"`` is PIL itself, pixel for pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from neuro._check import check_option
from neuro.errors import ShapeMismatch, nearest

FITS = ("shortest", "squash", "longest")
INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos")

NORMALISATIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "symmetric": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and standard deviation of pixel values on 0..1, by name; "symmetric" maps them to -1..1, "unit" leaves 0..1."""


@dataclass(frozen=True)
class Preprocess:
    """Resize, crop and normalise.

    Parameters
    ----------
    size : (height, width)
        Of the network's input, pixels.
    mean, std : three numbers
        Per colour, for pixel values on 0..1.
    interpolation : {"bicubic", "bilinear", "nearest", "lanczos"}
        Lanczos only with ``resize="pil"``.
    fit : {"shortest", "squash", "longest"}
        How a picture of another aspect ratio fits: the shorter side fills ``resize_to`` and the centre is cropped; the
        picture is squashed; or the longer side fits and the rest is filled.
    resize_to : (height, width), optional
        Size before the centre crop; ``size`` unless given (timm's ``crop_pct`` is size / resize_to).
    fill : three grey levels
        For ``fit="longest"``.
    resize : {"torch", "pil"}
        Which implementation; see the module's note.

    Examples
    --------
    >>> to_input = Preprocess(size=(32, 32))
    >>> to_input([np.zeros((48, 64, 3), np.uint8)]).shape
    torch.Size([1, 3, 32, 32])
    """

    size: tuple[int, int]
    mean: tuple[float, float, float] = NORMALISATIONS["imagenet"][0]
    std: tuple[float, float, float] = NORMALISATIONS["imagenet"][1]
    interpolation: str = "bicubic"
    fit: str = "shortest"
    resize_to: tuple[int, int] | None = None
    fill: tuple[int, int, int] = (0, 0, 0)
    resize: str = "torch"

    def __post_init__(self):
        check_option("interpolation", self.interpolation, INTERPOLATIONS)
        check_option("fit", self.fit, FITS)
        check_option("resize", self.resize, ("torch", "pil"))
        object.__setattr__(self, "size", _pair("size", self.size))
        object.__setattr__(self, "resize_to", _pair("resize_to", self.resize_to or self.size))
        object.__setattr__(self, "mean", _triple("mean", self.mean))
        object.__setattr__(self, "std", _triple("std", self.std))
        object.__setattr__(self, "fill", tuple(int(f) for f in _triple("fill", self.fill)))
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}.")
        if self.resize == "torch" and self.interpolation == "lanczos":
            raise ValueError("interpolation 'lanczos' needs resize='pil'.")

    def __call__(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """Return (n, 3, height, width) float32, channels last in memory."""
        pixels = self.pixels(images)
        scale = torch.tensor([1 / (255 * s) for s in self.std]).view(1, 3, 1, 1)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)]).view(1, 3, 1, 1)
        return pixels.float().mul_(scale).add_(shift)

    def pixels(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """Return the resized and cropped pictures, (n, 3, height, width) uint8, before normalisation."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, image in enumerate(images):
            if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
                raise ShapeMismatch(f"images must be uint8 (height, width, 3), got {image.dtype} {image.shape}.")
            groups.setdefault(image.shape, []).append(i)
        if len(groups) == 1:
            return self._resize(np.stack(images)).contiguous(memory_format=torch.channels_last)
        out = torch.empty((len(images), 3, *self.size), dtype=torch.uint8, memory_format=torch.channels_last)
        for members in groups.values():
            out[members] = self._resize(np.stack([images[i] for i in members]))
        return out

    def _resize(self, stack: np.ndarray) -> torch.Tensor:
        target = self.resized_shape(*stack.shape[1:3])
        if target == stack.shape[1:3]:
            x = torch.from_numpy(stack).permute(0, 3, 1, 2)
        elif self.resize == "pil" or self.interpolation == "nearest":
            x = torch.from_numpy(_resize_pil(stack, target, self.interpolation)).permute(0, 3, 1, 2)
        else:
            x = torch.from_numpy(stack).permute(0, 3, 1, 2)
            x = torch.nn.functional.interpolate(x, size=target, mode=self.interpolation, antialias=True)
        return _centre(x, self.size, self.fill)

    def resized_shape(self, height: int, width: int) -> tuple[int, int]:
        """Return the size a picture is brought to before the centre crop, rounded as torchvision and timm do."""
        to_h, to_w = self.resize_to or self.size
        if self.fit == "squash":
            return to_h, to_w
        if self.fit == "shortest" and to_h == to_w:
            if height <= width:
                return to_h, int(to_h * width / height)
            return int(to_w * height / width), to_w
        ratios = (height / to_h, width / to_w)
        ratio = max(ratios) if self.fit == "longest" else min(ratios)
        return round(height / ratio), round(width / ratio)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, for manifests and fingerprints."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def with_options(self, **changes: Any) -> Preprocess:
        """Return a copy with some fields changed; ``crop_pct`` and ``normalise`` are understood too.

        >>> Preprocess((224, 224)).with_options(crop_pct=0.875, normalise="symmetric").resize_to
        (256, 256)
        """
        known = [f.name for f in fields(self)]
        for key in changes:
            if key not in known and key not in ("crop_pct", "normalise"):
                raise ValueError(
                    f"preprocess has no field {key!r}{nearest(key, known)} (fields: {', '.join([*known, 'crop_pct'])})"
                )
        changes = dict(changes)
        if "normalise" in changes:
            name = check_option("normalise", changes.pop("normalise"), NORMALISATIONS)
            mean, std = NORMALISATIONS[name]
            changes = {"mean": mean, "std": std, **changes}
        size = _pair("size", changes.get("size", self.size))
        if "crop_pct" in changes:
            share = float(changes.pop("crop_pct"))
            if not 0 < share <= 1:
                raise ValueError(f"crop_pct must be above 0 and at most 1, got {share}.")
            changes["resize_to"] = tuple(math.floor(s / share) for s in size)
        elif "size" in changes and "resize_to" not in changes:
            old = self.resize_to or self.size
            changes["resize_to"] = tuple(round(s * o / t) for s, o, t in zip(size, old, self.size, strict=True))
        return replace(self, **changes)


def as_preprocess(given: Any, own: Preprocess | None, input_size: Any = None) -> Preprocess | CallablePreprocess:
    """Combine a network's ``own`` preprocessing with what the user gave (a name, a dict, a Preprocess, a function)."""
    if isinstance(given, Preprocess):
        base: Preprocess | CallablePreprocess = given
    elif isinstance(given, str):
        name = check_option("preprocess", given, NORMALISATIONS)
        mean, std = NORMALISATIONS[name]
        base = replace(own, mean=mean, std=std) if own else Preprocess(_needed(input_size), mean, std)
    elif isinstance(given, Mapping):
        start = own or Preprocess(given.get("size") or _needed(input_size), *NORMALISATIONS["unit"])
        if own is None and not ({"mean", "std", "normalise"} & set(given)):
            raise ValueError(
                "preprocess must say mean and std (or normalise='imagenet', 'clip', 'symmetric' or 'unit')."
            )
        base = start.with_options(**given)
    elif callable(given):
        base = CallablePreprocess(given, _pair("input_size", input_size) if input_size else None)
    elif given is None and own is not None:
        base = own
    else:
        raise ValueError(
            "a network of your own needs preprocess=: 'imagenet', 'clip', 'symmetric' or 'unit' (with input_size=), a "
            f"dict such as dict(size=224, mean=..., std=...), or a function of one PIL image. Got {given!r}."
        )
    if input_size is not None and isinstance(base, Preprocess):
        base = base.with_options(size=_pair("input_size", input_size))
    return base


class CallablePreprocess:
    """A user's own function from one PIL image to a tensor (3, height, width), such as a torchvision transform."""

    def __init__(self, function: Any, size: tuple[int, int] | None = None):
        self.function = function
        if size is None:
            probe = self([np.zeros((256, 256, 3), np.uint8)])
            size = int(probe.shape[2]), int(probe.shape[3])
        self.size = size

    def __call__(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        from PIL import Image

        tensors = [torch.as_tensor(self.function(Image.fromarray(image))) for image in images]
        shapes = {tuple(t.shape) for t in tensors}
        if len(shapes) > 1 or len(next(iter(shapes))) != 3 or next(iter(shapes))[0] != 3:
            raise ShapeMismatch(
                f"preprocess must return tensors of one shape (3, height, width), got {sorted(shapes)}."
            )
        return torch.stack(tensors).float()

    def to_dict(self) -> dict[str, Any]:
        """Return what identifies the function: its description, and its source where that can be had."""
        from neuro.features.fingerprint import describe_callable

        return {"function": describe_callable(self.function), "size": list(self.size)}


def _resize_pil(stack: np.ndarray, target: tuple[int, int], interpolation: str) -> np.ndarray:
    from PIL import Image

    how = getattr(Image.Resampling, interpolation.upper())
    return np.stack([np.asarray(Image.fromarray(i).resize((target[1], target[0]), how)) for i in stack])


def _centre(x: torch.Tensor, size: tuple[int, int], fill: tuple[int, int, int]) -> torch.Tensor:
    height, width = x.shape[2:]
    if height < size[0] or width < size[1]:
        canvas = torch.tensor(fill, dtype=torch.uint8).view(1, 3, 1, 1)
        canvas = canvas.repeat(len(x), 1, max(height, size[0]), max(width, size[1]))
        top, left = max(size[0] - height, 0) // 2, max(size[1] - width, 0) // 2
        canvas[:, :, top : top + height, left : left + width] = x
        x, (height, width) = canvas, canvas.shape[2:]
    top, left = round((height - size[0]) / 2), round((width - size[1]) / 2)
    return x[:, :, top : top + size[0], left : left + size[1]]


def _pair(name: str, value: Any) -> tuple[int, int]:
    pair = (value, value) if np.ndim(value) == 0 else tuple(value)[-2:]
    if len(pair) != 2 or any(int(v) != v or v < 1 for v in pair):
        raise ValueError(f"{name} must be a number of pixels or (height, width), got {value!r}.")
    return int(pair[0]), int(pair[1])


def _triple(name: str, value: Any) -> tuple[float, float, float]:
    values = (value,) * 3 if np.ndim(value) == 0 else tuple(value)
    if len(values) == 1:
        values = values * 3
    if len(values) != 3:
        raise ValueError(f"{name} must be one number or one per colour, got {value!r}.")
    return float(values[0]), float(values[1]), float(values[2])


def _needed(input_size: Any) -> tuple[int, int]:
    if input_size is None:
        raise ValueError("input_size is needed: the height and width in pixels that the network expects.")
    return _pair("input_size", input_size)
