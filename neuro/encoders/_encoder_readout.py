"""From features to voxels: what a fitted estimator computes, as a function of tensors that can be differentiated.

Two kinds: weights of features side by side (every estimator with ``coef_``), and estimators over spatial tokens, whose
own ``predict`` follows gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from neuro.encoders._gradient import GradientEncoder
from neuro.encoders._in_context_fit import unit_rows
from neuro.encoders.in_context import InContextEncoder
from neuro.encoders.receptive import ReceptiveFieldRidgeCV
from neuro.errors import ShapeMismatch
from neuro.features.extractor import Extractor
from neuro.features.pipeline import FeatureSource
from neuro.linear._arrays import array_of, tensor_of

TOKEN_ESTIMATORS = (GradientEncoder, ReceptiveFieldRidgeCV)
UNITS = ("any", "check", "make")  # lengths of feature vectors: as they are; must be 1; brought to 1
Moments = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, eq=False)
class LinearReadout:
    """``y = X w' + b``, layers side by side."""

    weights: torch.Tensor  # (n_voxels, n_features)
    bias: torch.Tensor  # (n_voxels,)
    unit: str = "any"

    def __len__(self) -> int:
        return len(self.weights)

    def __call__(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return responses (n, n_voxels) to features, layer -> (n, n_features of the layer)."""
        X = torch.cat(list(features.values()), 1)
        if self.unit != "any":
            X = unit_rows(X, self.unit == "make")
        weights, bias = self._placed(X.device, torch.promote_types(X.dtype, self.weights.dtype))
        return X.to(weights.dtype) @ weights.T + bias

    def _placed(self, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weights and bias where they are needed; the last place is remembered."""
        last = self.__dict__.get("_last")
        if last is None or last[0].device != device or last[0].dtype != dtype:
            last = self.weights.to(device, dtype), self.bias.to(device, dtype)
            object.__setattr__(self, "_last", last)
        return last

    def take(self, index: torch.Tensor) -> LinearReadout:
        """Return the readout of some voxels."""
        return replace(self, weights=self.weights[index], bias=self.bias[index])


@dataclass(frozen=True, eq=False)
class TokenReadout:
    """An estimator over spatial tokens, and the voxels that are wanted of it."""

    estimator: Any
    shapes: dict[str, tuple[int, ...]]  # of one image's features, by the estimator's names of the layers
    special: dict[str, tuple[int, ...]]  # tokens that are no places
    columns: torch.Tensor

    def __len__(self) -> int:
        return len(self.columns)

    def __call__(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return responses (n, n_voxels) to features, estimator's layer -> (n, n_features of the layer)."""
        tokens = {
            name: as_tokens(x, shape, self.special[name])
            for (name, shape), x in zip(self.shapes.items(), features.values(), strict=True)
        }
        predicted = self.estimator.predict(tokens)
        return predicted.reshape(len(predicted), -1)[:, self.columns.to(predicted.device)]

    def take(self, index: torch.Tensor) -> TokenReadout:
        """Return the readout of some voxels."""
        return replace(self, columns=self.columns[index])


def as_tokens(features: torch.Tensor, shape: tuple[int, ...], special: tuple[int, ...]) -> torch.Tensor:
    """Return flat features as maps (n, C, H, W) or tokens (n, T, C) without class tokens."""
    x = features.reshape(len(features), *shape)
    return x[:, [t for t in range(shape[0]) if t not in special]] if special else x


def is_spatial(estimator: Any) -> bool:
    """Whether an estimator takes spatial tokens instead of feature vectors."""
    return isinstance(estimator, TOKEN_ESTIMATORS)


def match_layers(estimator: Any, layer: Any, source: FeatureSource) -> dict[str, str]:
    """Return the estimator's names of its inputs -> layers of the network, in the order that it joins them.

    Parameters
    ----------
    estimator : fitted estimator
    layer : str, list of str, mapping of the estimator's name to layer, or None for the extractor's only layer
    source : FeatureSource
    """
    layer = only_layer(source) if layer is None else layer
    names = input_names(estimator)
    if isinstance(layer, Mapping):
        given = {str(k): str(v) for k, v in layer.items()}
        if names is None:
            return given
        if set(given) != set(names):
            raise ShapeMismatch(f"layer must name the estimator's inputs {names}, got {list(given)}.")
        return {name: given[name] for name in names}
    layers = [layer] if isinstance(layer, str) else [str(one) for one in layer]
    if not layers or len(set(layers)) < len(layers):
        raise ValueError(f"layer must name at least one layer, each once; got {layers}.")
    if names is not None and set(names) == set(layers):
        return {name: name for name in names}
    if names is None or not is_spatial(estimator):
        return {one: one for one in layers}  # columns of one matrix, side by side
    if len(names) == len(layers) == 1:
        return {names[0]: layers[0]}
    raise ShapeMismatch(f"the estimator was fitted to {names}, but layer names {layers}. Give layer={{name: layer}}.")


def only_layer(source: FeatureSource) -> str:
    """Return the one layer that a source reads unless others are named."""
    chosen = list(source.layer_specs(None))
    if len(chosen) != 1:
        raise ValueError(f"layer must be named: the extractor reads {len(chosen)}, such as {chosen[-1]!r}.")
    return chosen[0]


def input_names(estimator: Any) -> list[str] | None:
    """Return the names of the layers or bands that an estimator was fitted to; None for one matrix."""
    if is_spatial(estimator):
        return list(estimator.layers_)
    return list(estimator.band_names_) if hasattr(estimator, "band_names_") else None


def readout_of(estimator: Any, layers: dict[str, str], source: FeatureSource) -> LinearReadout | TokenReadout:
    """Return what a fitted estimator computes from these layers, checked against their sizes."""
    check_is_fitted(estimator)
    specs = source.layer_specs(list(layers.values()))
    shapes = {name: tuple(int(s) for s in specs[layer]["shape"]) for name, layer in layers.items()}
    if is_spatial(estimator):
        return _token_readout(estimator, layers, shapes, source)
    try:
        coef = estimator.coef_
    except AttributeError as error:
        raise ValueError(
            f"estimator must have linear weights (coef_) or be one of the encoders over spatial tokens; "
            f"{type(estimator).__name__} has none: {error}"
        ) from None
    weights = tensor_of(coef).detach()
    weights = weights.reshape(-1, weights.shape[-1])
    bands = getattr(estimator, "_bands", None)
    if bands is not None and list(layers) == list(bands.names):
        for name, columns in zip(bands.names, bands.columns, strict=True):
            _check_width(f"band {name!r}", layers[name], int(np.prod(shapes[name])), len(columns))
        weights = weights[:, torch.from_numpy(np.concatenate(bands.columns)).to(weights.device)]
    n_features = sum(int(np.prod(shape)) for shape in shapes.values())
    _check_width("the estimator", " + ".join(layers.values()), n_features, weights.shape[1])
    bias = torch.as_tensor(array_of(estimator.intercept_)).reshape(-1).to(weights)
    unit = "any" if not isinstance(estimator, InContextEncoder) else "make" if estimator.normalize else "check"
    return LinearReadout(weights, bias.expand(len(weights)), unit)


def check_shapes(readout: LinearReadout | TokenReadout, layers: dict[str, str], source: FeatureSource) -> None:
    """Refuse a readout that does not fit the layers of a source."""
    specs = source.layer_specs(list(layers.values()))
    shapes = {name: tuple(int(s) for s in specs[layer]["shape"]) for name, layer in layers.items()}
    if isinstance(readout, LinearReadout):
        n_features = sum(int(np.prod(shape)) for shape in shapes.values())
        _check_width("the estimator", " + ".join(layers.values()), n_features, readout.weights.shape[1])
        return
    whole = _token_readout(readout.estimator, layers, shapes, source)
    if whole.shapes != readout.shapes or whole.special != readout.special:
        raise ShapeMismatch(f"tokens were of shapes {readout.shapes}, and are of {whole.shapes} with this network.")
    columns = readout.columns
    if columns.ndim != 1 or not len(columns) or not 0 <= int(columns.min()) <= int(columns.max()) < len(whole):
        raise ShapeMismatch(f"columns must be voxels of the estimator's {len(whole):,}, got {tuple(columns.shape)}.")


def _check_width(who: str, layer: str, given: int, wanted: int) -> None:
    if given != wanted:
        raise ShapeMismatch(
            f"{who} was fitted to {wanted:,} features, but layer {layer!r} gives {given:,} with this extractor. "
            "Was it another layer, pooling, projection or image size?"
        )


def _token_readout(estimator: Any, layers: dict[str, str], shapes: dict, source: FeatureSource) -> TokenReadout:
    special = {}
    for name, layer in layers.items():
        grid, n_channels = _grid_of(estimator, name)
        shape, n_places = shapes[name], grid[0] * grid[1]
        extra = source.layers.info(layer).special if isinstance(source, Extractor) and len(shape) == 2 else ()
        special[name] = tuple(extra) if len(shape) == 2 and shape[0] - len(extra) == n_places else ()
        found = (shape[0] - len(special[name]), shape[1]) if len(shape) == 2 else shape
        if found not in ((n_places, n_channels), (n_channels, *grid)):
            raise ShapeMismatch(
                f"the estimator was fitted to a grid of {grid[0]} x {grid[1]} and {n_channels:,} channels, but layer "
                f"{layer!r} gives {shape} with this extractor. Was it another layer, pooling or image size?"
            )
    if isinstance(estimator, ReceptiveFieldRidgeCV):
        n_voxels = len(np.atleast_1d(estimator.field_))
    else:
        n_voxels = estimator.weights_.shape[-1]
    return TokenReadout(estimator, shapes, special, torch.arange(n_voxels))


def _grid_of(estimator: Any, name: str) -> tuple[tuple[int, int], int]:
    if isinstance(estimator, ReceptiveFieldRidgeCV):
        return estimator.layers_[name].grid, estimator.layers_[name].n_channels
    return tuple(estimator.grids_[name]), estimator.channels_[name]


def check_scaler(scaler: Any, sizes: dict[str, int]) -> dict[str, Moments]:
    """Return layer -> (mean, scale) of the layers that are scaled.

    Parameters
    ----------
    scaler : None, (mean, scale), object with ``mean_`` and ``scale_``, or a mapping of layer to one of these
        Without a mapping, for all layers side by side.
    sizes : dict of layer -> n_features
    """
    if scaler is None:
        return {}
    if isinstance(scaler, Mapping):
        unknown = [name for name in scaler if name not in sizes]
        if unknown:
            raise ValueError(f"scaler must name the layers {list(sizes)}, got {unknown}.")
        return {str(name): _moments(one, sizes[name], f"layer {name!r}") for name, one in scaler.items()}
    mean, scale = _moments(scaler, sum(sizes.values()), "all layers")
    widths = list(sizes.values())
    return dict(zip(sizes, zip(mean.split(widths), scale.split(widths), strict=True), strict=True))


def _moments(given: Any, size: int, what: str) -> Moments:
    if hasattr(given, "scale_"):
        n = len(np.atleast_1d(given.scale_ if given.scale_ is not None else given.mean_))
        mean = np.zeros(n) if getattr(given, "mean_", None) is None else given.mean_
        given = (mean, np.ones(n) if given.scale_ is None else given.scale_)
    try:
        mean, scale = (torch.as_tensor(array_of(part)).detach().clone() for part in given)
    except (TypeError, ValueError):
        raise ValueError(
            f"scaler must be (mean, scale) or have mean_ and scale_, got {type(given).__name__}."
        ) from None
    if mean.shape != (size,) or scale.shape != (size,):
        raise ShapeMismatch(
            f"scaler must have a mean and a scale for each of the {size:,} features of {what}, got shapes "
            f"{tuple(mean.shape)} and {tuple(scale.shape)}."
        )
    if not bool(torch.isfinite(mean).all()) or not bool((scale > 0).all()):
        raise ValueError(f"scaler of {what} must have finite means and scales above 0.")
    return mean, scale


def scaled(features: dict[str, torch.Tensor], scaler: dict[str, Moments]) -> dict[str, torch.Tensor]:
    """Return features minus mean, over scale, where there is one."""
    out = {}
    for name, x in features.items():
        if name in scaler:
            mean, scale = (t.to(x.device) for t in scaler[name])
            x = (x - mean) / scale
        out[name] = x
    return out
