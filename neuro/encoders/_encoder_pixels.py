"""From pixels to features, in a form that can be differentiated.

Networks preprocess uint8 pictures: they resize in whole grey levels. Here the same resizing, cropping and scaling is
done on floats, so that a change of a pixel, however small, changes what follows. Without resizing the two agree to the
rounding of floats; resized pixels differ by what rounding to grey levels does, at most ``TOLERANCE``. (PIL resizes now
the one axis first and now the other: where black meets white and a bicubic kernel overshoots, that makes a difference
of some grey levels.)
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from neuro.data import Stimuli
from neuro.errors import ShapeMismatch
from neuro.features.extractor import Extractor
from neuro.features.layers import LayerInfo
from neuro.features.pipeline import BadFeatures, FeatureSource
from neuro.features.pooling import apply_pool
from neuro.features.preprocess import Preprocess
from neuro.features.projection import PCA, SparseProjection
from neuro.features.reader import Reading, read_layers

#: Largest difference between float and uint8 resizing, for pixels on 0..1: two roundings, one per axis.
TOLERANCE = 1.5 / 255
_DOUBLES: weakref.WeakKeyDictionary[torch.nn.Module, torch.nn.Module] = weakref.WeakKeyDictionary()
SLACK = 1e-3  # by which optimisers may overshoot the range of pixels


def check_tensor(images: torch.Tensor) -> torch.Tensor:
    """Return ``images`` if they are a float tensor (n, 3, height, width) on 0..1."""
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise ShapeMismatch(
            "images as a tensor must be (n, 3, height, width), RGB; the shape is "
            f"{tuple(images.shape)}.{' Permute the colours to axis 1.' if images.shape[-1:] == (3,) else ''}"
        )
    if not images.is_floating_point():
        raise ValueError(
            f"images as a tensor must be floats from 0 to 1, got {str(images.dtype).removeprefix('torch.')}. "
            "Divide by 255, or give a numpy array of uint8 (n, height, width, 3)."
        )
    low, high = float(images.detach().min()), float(images.detach().max())
    if not (low >= -SLACK and high <= 1 + SLACK):  # NaN fails, too
        hint = " Divide by 255." if high > 2 and low >= 0 else " Do not normalise them: the encoder does."
        raise ValueError(f"images as a tensor must be floats from 0 to 1, got {low:.4g} to {high:.4g}.{hint}")
    return images


def batches_of(images: Any, size: int) -> Iterator[list[np.ndarray]]:
    """Yield lists of uint8 pictures (height, width, 3), ``size`` at a time, of whatever is no tensor."""
    if isinstance(images, Stimuli):
        for _, items in images.batches(size):
            yield items
        return
    if isinstance(images, np.ndarray) and images.ndim in (3, 4):
        items: Any = images if images.ndim == 4 else images[None]
    elif hasattr(images, "convert") or not isinstance(images, Sequence):
        items = [images]
    else:
        items = images
    if not len(items):
        raise ShapeMismatch("images are empty: give at least one.")
    for start in range(0, len(items), size):
        yield [_picture(item) for item in items[start : start + size]]


def _picture(item: Any) -> np.ndarray:
    if hasattr(item, "convert"):  # PIL
        return np.asarray(item.convert("RGB"))
    array = np.asarray(item)
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3:
        raise ShapeMismatch(
            "images must be uint8 arrays (n, height, width, 3) with values 0 to 255, PIL images, Stimuli, or a float "
            f"tensor (n, 3, height, width) from 0 to 1; got {array.dtype} of shape {array.shape}."
        )
    return array


def preprocess_tensor(images: torch.Tensor, how: Any) -> torch.Tensor:
    """Do to float images (n, 3, height, width) on 0..1 what ``how`` does to uint8 pictures; differentiable."""
    if not isinstance(how, Preprocess):
        raise ValueError(
            "this network's preprocessing is a function of PIL images and cannot be differentiated: give uint8 images, "
            "or make the Extractor with preprocess=dict(size=..., mean=..., std=...)."
        )
    target = how.resized_shape(int(images.shape[2]), int(images.shape[3]))
    x = images
    if target != tuple(x.shape[2:]):
        x = _resize(x, target, how)
    x = _centre(x, how.size, how.fill)
    mean, std = (torch.tensor(v, dtype=x.dtype, device=x.device).view(1, 3, 1, 1) for v in (how.mean, how.std))
    return (x - mean) / std


def _resize(x: torch.Tensor, target: tuple[int, int], how: Preprocess) -> torch.Tensor:
    """Resize as ``how`` does, one axis after the other; grey levels cannot overshoot, nor can these."""
    if how.interpolation == "nearest":
        rows, columns = (_nearest(old, new).to(x.device) for old, new in zip(x.shape[2:], target, strict=True))
        return x[:, :, rows][:, :, :, columns]
    if how.resize == "pil":
        rows, columns = (
            _kernel(old, new, how.interpolation).to(x) for old, new in zip(x.shape[2:], target, strict=True)
        )
        return (rows @ (x @ columns.T).clamp(0, 1)).clamp(0, 1)
    for size in ((int(x.shape[2]), target[1]), target):
        x = torch.nn.functional.interpolate(x, size=size, mode=how.interpolation, antialias=True).clamp(0, 1)
    return x


def _kernel(old: int, new: int, interpolation: str) -> torch.Tensor:
    """Return PIL's weights (new, old): a kernel around every new pixel, as wide as what it stands for."""
    scale = old / new
    wide = max(scale, 1.0)
    reach = {"bilinear": 1, "bicubic": 2, "lanczos": 3}[interpolation] * wide
    middle = (np.arange(new) + 0.5) * scale
    first, last = np.floor(middle - reach + 0.5), np.floor(middle + reach + 0.5)
    place = np.arange(old)
    d = np.abs(place + 0.5 - middle[:, None]) / wide
    if interpolation == "bilinear":
        weights = np.maximum(1 - d, 0)
    elif interpolation == "bicubic":  # a = -1/2
        weights = np.where(d < 1, (1.5 * d - 2.5) * d**2 + 1, np.where(d < 2, ((2.5 - 0.5 * d) * d - 4) * d + 2, 0.0))
    else:
        weights = np.where(d < 3, np.sinc(d) * np.sinc(d / 3), 0.0)
    weights = np.where((place >= first[:, None]) & (place < last[:, None]), weights, 0.0)
    return torch.from_numpy(weights / weights.sum(1, keepdims=True))


def _nearest(old: int, new: int) -> torch.Tensor:
    """Return the pixels that PIL takes, whose places add up step by step, rounding included."""
    places = np.cumsum([0.5 * old / new, *[old / new] * (new - 1)])
    return torch.from_numpy(np.minimum(places.astype(np.int64), old - 1))


def _centre(x: torch.Tensor, size: tuple[int, int], fill: Sequence[int]) -> torch.Tensor:
    """Cut out the middle; where the picture is smaller, surround it by ``fill`` (grey levels)."""
    height, width = x.shape[2:]
    if height < size[0] or width < size[1]:
        grey = torch.tensor(fill, dtype=x.dtype, device=x.device).view(1, 3, 1, 1) / 255
        top, left = max(size[0] - height, 0) // 2, max(size[1] - width, 0) // 2
        below, right = max(size[0] - height, 0) - top, max(size[1] - width, 0) - left
        x = torch.nn.functional.pad(x - grey, (left, right, top, below)) + grey
        height, width = x.shape[2:]
    top, left = round((height - size[0]) / 2), round((width - size[1]) / 2)
    return x[:, :, top : top + size[0], left : left + size[1]]


def features_of_pictures(source: FeatureSource, items: list[np.ndarray], layers: list[str]) -> dict[str, torch.Tensor]:
    """Return layer -> features (n, n_features) exactly as ``source.extract`` computes and keeps them."""
    found = source.compute(source.prepare(items), layers, 0)
    out = {}
    for name in layers:
        block = found[name].astype(source.dtype, copy=False)
        if not np.isfinite(block).all():
            raise BadFeatures(f"layer {name!r} of {source.name} gives infinite or undefined numbers for these images.")
        out[name] = torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32))
    return out


def features_of_tensor(source: FeatureSource, images: torch.Tensor, layers: list[str]) -> dict[str, torch.Tensor]:
    """Return layer -> features (n, n_features) of float images on 0..1, on their device.

    Float64 images are computed in float64 throughout, whatever the extractor's precision.
    """
    if not isinstance(source, Extractor):
        raise ValueError(
            f"{source.name!r} features are computed from uint8 pictures and cannot be differentiated: give uint8 "
            "images, or an encoder over a network."
        )
    grad = torch.is_grad_enabled() and images.requires_grad
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    for chunk in images.split(source.batch_size):
        inputs = preprocess_tensor(chunk.to(source.device), source.preprocess)
        double = inputs.dtype == torch.float64
        found = _read_double(source, inputs, layers, grad) if double else source.read(inputs, layers, grad=grad)
        for name in layers:
            parts[name].append(found[name].to(images.device))
    return {name: torch.cat(part) for name, part in parts.items()}


def _read_double(source: Extractor, inputs: torch.Tensor, layers: list[str], grad: bool) -> dict[str, torch.Tensor]:
    module = _DOUBLES.get(source.network.module)
    if module is None or next(module.parameters()).device != source.device:
        module = copy.deepcopy(source.network.module).to(device=source.device, dtype=torch.float64)
        _DOUBLES[source.network.module] = module
    readings = {}
    for name in layers:
        info = source.layers.info(name)
        reduce = partial(_reduce_double, info=info, pool=source.pool_of(name), projection=projection_of(source, name))
        readings[name] = Reading(info, reduce)
    return read_layers(module, inputs, readings, grad=grad)


def _reduce_double(x: torch.Tensor, info: LayerInfo, pool: str | None, projection: Any) -> torch.Tensor:
    if pool == "mean" and info.layout.startswith("tokens"):  # which ``apply_pool`` averages in float32
        tokens = apply_pool(x, info, "tokens")
        pooled = tokens[:, [i for i in range(tokens.shape[1]) if i not in info.special]].mean(1)
    else:
        pooled = apply_pool(x, info, pool)
    flat = pooled.flatten(1)
    if isinstance(projection, SparseProjection):
        matrix = torch.from_numpy(projection.matrix(flat.shape[1]).toarray())
        return flat @ matrix.to(flat).T
    if isinstance(projection, PCA):
        mean, components = (torch.from_numpy(a.copy()).to(flat) for a in (projection.mean, projection.components))
        return (flat - mean) @ components.T
    return flat


def gradient_of(function: Any, images: torch.Tensor, weights: Any, n_voxels: int, size: int) -> torch.Tensor:
    """Return the gradient (n, 3, height, width) of a weighted sum of responses, ``size`` images at a time."""
    w = torch.full((n_voxels,), 1 / n_voxels) if weights is None else torch.as_tensor(weights).detach()
    if tuple(w.shape) not in ((n_voxels,), (len(images), n_voxels)):
        raise ShapeMismatch(
            f"weights must be ({n_voxels:,},) or ({len(images):,}, {n_voxels:,}), got shape {tuple(w.shape)}."
        )
    out = []
    with torch.enable_grad():
        for x, part in zip(images.split(size), w.expand(len(images), n_voxels).split(size), strict=True):
            x = x.detach().clone().requires_grad_(True)
            y = function(x)
            out.append(torch.autograd.grad((y * part.to(y)).sum(), x)[0])
    return torch.cat(out)


def projection_of(source: Extractor, layer: str) -> SparseProjection | PCA | None:
    """Return what an extractor projects a layer with."""
    wanted = source.layer_specs([layer])[layer]["spec"]["project"]
    if wanted is None:
        return None
    given = source.project.values() if isinstance(source.project, Mapping) else [source.project]
    for one in given:
        projection = SparseProjection(int(one), source.seed) if isinstance(one, (int, np.integer)) else one
        if projection is not None and projection.describe(wanted["in"]) == wanted:
            return projection
    raise ValueError(f"layer {layer!r} is projected by {wanted}, which is not among the extractor's projections.")
