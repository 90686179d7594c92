"""Movies as they come in, for everything that measures motion: one clip, many clips, and how fast they play.

A clip is (n_frames, height, width), grey, or (n_frames, height, width, 3), RGB; uint8, or floating point on 0..1.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neuro._check import check_option, is_tensor
from neuro.errors import DuplicateIds, EmptySelection, ShapeMismatch
from neuro.features._color import LUMA, XYZ, cie_root, linear_rgb

LUMINANCES = ("lstar", "linear", "luma")
"""CIE L* (how light it looks), linear luminance Y (light), or luma (the grey level as stored); all on 0..1 here."""


@dataclass(frozen=True)
class ClipList:
    """Clips of one frame rate: ids, and an iterator that checks each as it is read."""

    ids: list[Any]
    fps: float | None
    _source: Any
    _minimum: int

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[torch.Tensor]:
        first = None
        for i, (key, clip) in enumerate(zip(self.ids, self._source, strict=True)):
            clip = clip[1] if isinstance(clip, tuple) else clip  # some collections give (id, clip)
            frames = check_clip(clip, f"clip {key!r}", self._minimum)
            if first is None:
                first = frames.shape[1:3]
            elif frames.shape[1:3] != first:
                raise ShapeMismatch(
                    f"all clips must have one size: clip {self.ids[0]!r} is {first[0]} x {first[1]} pixels, clip "
                    f"{key!r} (number {i}) is {frames.shape[1]} x {frames.shape[2]}. Resize them, or read them apart."
                )
            yield frames


def read_clips(clips: Any, fps: Any = None, minimum: int = 1) -> ClipList:
    """Return clips from an array, a list of arrays, or anything with ``fps``, ``ids``, ``len()`` and iteration.

    Parameters
    ----------
    clips : array or tensor (n_clips, n_frames, h, w[, 3]), sequence of (n_frames, h, w[, 3]), or a collection of clips
    fps : float, optional
        Frames per second, where ``clips`` does not say; must agree with it where it does.
    minimum : int
        Frames that every clip must have at least.
    """
    array = isinstance(clips, np.ndarray) or is_tensor(clips)
    if array and (clips.ndim not in (4, 5) or (clips.ndim == 5 and clips.shape[-1] != 3) or len(clips) == 0):
        raise ShapeMismatch(
            f"clips must be (n_clips, n_frames, height, width) or (n_clips, n_frames, height, width, 3), "
            f"got {tuple(clips.shape)}{_channels_first(clips.shape[1:])}."
        )
    if array and clips.ndim == 4 and clips.shape[-1] == 3:
        raise ShapeMismatch(
            f"clips must have an axis of clips before their frames, got {tuple(clips.shape)}: clips[None]."
        )
    if not hasattr(clips, "__len__") or isinstance(clips, (str, bytes)):
        raise ShapeMismatch(
            f"clips must be an array, a list of arrays or a collection of clips, got {type(clips).__name__}."
        )
    if len(clips) == 0:
        raise EmptySelection("clips must hold at least one clip, got none.")
    named = getattr(clips, "ids", None)
    ids = list(range(len(clips))) if named is None else [i.item() if isinstance(i, np.generic) else i for i in named]
    if len(ids) != len(clips):
        raise ShapeMismatch(f"clips has {len(ids):,} ids for {len(clips):,} clips.")
    if len(set(ids)) != len(ids):
        raise DuplicateIds("ids of clips must be unique.")
    lengths = getattr(clips, "n_frames", None)
    if lengths is not None and np.ndim(lengths) == 1:  # a collection that knows before it reads
        for key, n in zip(ids, lengths, strict=True):
            _check_length(f"clip {key!r}", int(n), minimum)
    found = ClipList(ids, _agree(getattr(clips, "fps", None), fps, ids), clips, minimum)
    if array or isinstance(clips, (list, tuple)):
        for _ in found:  # in memory already: refuse a bad clip before any work
            pass
    return found


def check_clip(frames: Any, name: str = "frames", minimum: int = 1) -> torch.Tensor:
    """Return a clip as a tensor (n_frames, h, w[, 3]), uint8 or floating, unchanged; or say what is wrong with it."""
    if not is_tensor(frames):
        frames = np.asarray(frames)
    shape = tuple(frames.shape)
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[-1] != 3) or 0 in shape:
        raise ShapeMismatch(
            f"{name} must be (n_frames, height, width) or (n_frames, height, width, 3), got {shape}"
            f"{_channels_first(shape)}."
        )
    if len(shape) == 3 and shape[-1] == 3:
        raise ShapeMismatch(f"{name} must have an axis of frames before (height, width, 3), got {shape}.")
    _check_length(name, shape[0], minimum)
    if not is_tensor(frames):
        if frames.dtype != np.uint8 and frames.dtype.kind != "f":
            raise ValueError(f"{name} must be uint8, or floating point on 0..1, got {frames.dtype}.")
        if frames.dtype.itemsize > 8 or not frames.dtype.isnative or any(s < 0 for s in frames.strides):
            frames = np.ascontiguousarray(frames, dtype=np.uint8 if frames.dtype == np.uint8 else np.float64)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable.*")
            frames = torch.from_numpy(frames)
    elif frames.dtype != torch.uint8 and not frames.is_floating_point():
        raise ValueError(f"{name} must be uint8, or floating point on 0..1, got {frames.dtype}.")
    if frames.is_floating_point():
        _check_range(frames.detach(), name)
    return frames


def check_fps(fps: Any) -> float:
    """Return frames per second as a float above 0."""
    if isinstance(fps, bool) or not np.isscalar(fps) or not np.isfinite(float(fps)) or float(fps) <= 0:
        raise ValueError(f"fps must be frames per second, a number above 0, got {fps!r}.")
    return float(fps)


def luminance(frames: torch.Tensor, kind: str = "lstar") -> torch.Tensor:
    """Return the luminance (n_frames, h, w) on 0..1 of sRGB or grey frames; differentiable.

    >>> luminance(torch.full((1, 1, 1), 0.5), "lstar").round(decimals=3)
    tensor([[[0.5340]]])
    """
    check_option("luminance", kind, LUMINANCES)
    x = frames.float() / 255 if frames.dtype == torch.uint8 else frames
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    if kind != "luma":
        x = linear_rgb(x)
    if x.ndim == 4:
        x = x @ torch.tensor(LUMA if kind == "luma" else XYZ[1], dtype=x.dtype, device=x.device)
    if kind == "lstar":
        x = 1.16 * cie_root(x) - 0.16
    return x


def _check_length(name: str, n: int, minimum: int) -> None:
    if n < minimum:
        raise ShapeMismatch(f"{name} must have at least {minimum} frames, the window of the filters; it has {n}.")


def _check_range(frames: torch.Tensor, name: str) -> None:
    low, high = (float(v) for v in frames.aminmax())
    if not np.isfinite([low, high]).all():
        bad = ~torch.isfinite(frames).flatten(1).all(1)
        raise ValueError(
            f"{name} must be finite: {int(bad.sum()):,} of {len(frames):,} frames hold NaN or infinity, the first is "
            f"frame {int(bad.nonzero()[0, 0])}."
        )
    if low < -1e-4 or high > 1 + 1e-4:
        raise ValueError(
            f"{name} of floating point must lie on 0..1, these go from {low:.4g} to {high:.4g}: divide by 255 what "
            "came from uint8, undo what a network's preprocessing did."
        )


def _agree(own: Any, given: Any, ids: list[Any]) -> float | None:
    if own is not None and np.ndim(own) > 0:
        rates = [check_fps(float(f)) for f in own]
        odd = [i for i, f in enumerate(rates) if f != rates[0]]
        if odd:
            raise ValueError(
                f"all clips must play at one rate: clip {ids[0]!r} has {rates[0]:g} frames per second, clip "
                f"{ids[odd[0]]!r} has {rates[odd[0]]:g}. Bring them to one rate first, or read them apart."
            )
        own = rates[0]
    if own is None:
        return None if given is None else check_fps(given)
    own = check_fps(own)
    if given is not None and check_fps(given) != own:
        raise ValueError(f"fps is {check_fps(given):g} frames per second, but these clips play at {own:g}.")
    return own


def _channels_first(shape: tuple[int, ...]) -> str:
    first = len(shape) == 4 and shape[-1] != 3 and 3 in shape[:2]
    return "; colours come last: move them with numpy.moveaxis(frames, 1, -1)" if first else ""
