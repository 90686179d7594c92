"""Vision networks as sources of features."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np
import torch

from neuro._check import check_option, check_positive_int
from neuro.errors import UnknownLayer
from neuro.features.layers import Layers, probe, probe_inputs
from neuro.features.models import DEFAULT, Network, load_network
from neuro.features.pipeline import DTYPES, FeatureSource, as_stimuli, frames_of, mean_of_groups
from neuro.features.pooling import apply_pool, check_pool, pooled_shape
from neuro.features.precision import resolve_precision
from neuro.features.preprocess import CallablePreprocess, Preprocess, as_preprocess
from neuro.features.projection import PCA, SparseProjection, fit_pca
from neuro.features.reader import Reading, read_layers

MEMORY_FORMATS = ("auto", "channels_last", "contiguous")


class Extractor(FeatureSource):
    """Read layers of a vision network.

    Parameters
    ----------
    model : str or torch.nn.Module
        ``"open_clip:ViT-B-32"``, ``"timm:resnet50"``, ``"torchvision:alexnet"``, ``"phantom-clip"``, or a module, of
        which a copy is taken. ``neuro.features.FAMILIES`` lists names by family.
    pretrained : str, path, True or None
        A tag, a file of weights, True for the library's default, or None: an untrained network with random weights
        from ``seed``, a control to ask for, never a fallback. open_clip networks need it; the others default to True.
    layers : list of names, optional
        Of ``.layers``; ``.units`` (the building blocks) by default.
    pool : str, None, or dict layer -> str or None
        ``"mean"``, ``"cls"``, ``"spatial:k"``, ``"tokens"`` or None, see :mod:`neuro.features.pooling`. Keys of a dict
        may be patterns (``"blocks.*"``); layers that it does not name are averaged.
    project : int, SparseProjection, PCA, or dict layer -> one of these, optional
        Dimensions to keep after pooling: an int stands for a sparse random projection with ``seed``.
    seed : int
        Of untrained weights and random projections.
    device : str or torch.device, optional
        The GPU if there is one, else the CPU.
    precision : {"float32", "bfloat16", "float16", "amp", "auto"}
        See :mod:`neuro.features.precision`.
    batch_size : int
        Images per forward pass.
    preprocess : dict, Preprocess, str or callable, optional
        Fields to change in the network's own preprocessing (``dict(mean=0.5, std=0.5, crop_pct=1.0)``), or all of it. A
        module of your own needs it: ``"imagenet"``, ``"clip"``, ``"symmetric"``, ``"unit"``, or a function.
    input_size : int or (height, width), optional
        Pixels; the network's own by default.
    model_kwargs : dict, optional
        For the library's constructor (``dict(num_classes=1001)``).
    memory_format : {"auto", "channels_last", "contiguous"}
        "auto" takes channels last for networks with more than a few convolutions, which CPUs and tensor cores prefer.
    dtype : {"float32", "float16"}
        In which features are kept.
    workers : int
        Threads that read and resize images while the network runs; a GPU is worth several.

    Examples
    --------
    >>> extractor = Extractor("timm:resnet10t", pretrained=None, input_size=64)
    >>> extractor.layers["layer4"]
    (512, 2, 2)
    >>> features = extractor.extract(np.zeros((2, 64, 64, 3), np.uint8), layers=["layer4"], progress=False)
    >>> features["layer4"].shape
    (2, 512)
    """

    kinds = ("image", "clip")

    def __init__(
        self,
        model: str | torch.nn.Module,
        pretrained: Any = DEFAULT,
        *,
        layers: Sequence[str] | None = None,
        pool: str | Mapping[str, str | None] | None = "mean",
        project: Any = None,
        seed: int = 0,
        device: str | torch.device | None = None,
        precision: str = "float32",
        batch_size: int = 32,
        preprocess: Any = None,
        input_size: Any = None,
        model_kwargs: Mapping[str, Any] | None = None,
        memory_format: str = "auto",
        dtype: str = "float32",
        workers: int = 1,
    ):
        check_option("memory_format", memory_format, MEMORY_FORMATS)
        self.workers = check_positive_int("workers", workers)
        self.dtype = check_option("dtype", dtype, DTYPES)
        self.batch_size = check_positive_int("batch_size", batch_size)
        for one in pool.values() if isinstance(pool, Mapping) else [pool]:
            check_pool(one)
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.seed = seed
        self.pool = dict(pool) if isinstance(pool, Mapping) else pool
        self.project = dict(project) if isinstance(project, Mapping) else project
        for one in self.project.values() if isinstance(self.project, dict) else [self.project]:
            _as_projection(one, seed)
        self._memory_format = memory_format
        kwargs = dict(model_kwargs or {})
        self.network: Network = _load_for_size(model, pretrained, seed, kwargs, input_size)
        self.preprocess: Preprocess | CallablePreprocess = as_preprocess(
            preprocess, self.network.preprocess, input_size
        )
        self.name = self.network.name + ("" if self.network.trained else " (untrained)")
        self._chosen: tuple[str, ...] | None = None
        if layers is not None:
            self._chosen = self._checked_names(layers)

    def with_options(self, **changes: Any) -> Extractor:
        """Return an extractor of the same network with other settings.

        Understands layers, pool, project, device, precision, batch_size, preprocess (changes to the present one),
        memory_format, dtype and workers.
        """
        other = copy.copy(self)
        for cached in ("layers", "_module", "memory_format"):
            other.__dict__.pop(cached, None)
        device = resolve_device(changes.pop("device", self.device))
        precision = changes.pop("precision", self.precision.name)
        other.device, other.precision = device, resolve_precision(precision, device)
        if "pool" in changes:
            other.pool = changes.pop("pool")
            for one in other.pool.values() if isinstance(other.pool, Mapping) else [other.pool]:
                check_pool(one)
        if "project" in changes:
            other.project = changes.pop("project")
            for one in other.project.values() if isinstance(other.project, Mapping) else [other.project]:
                _as_projection(one, self.seed)
        if "dtype" in changes:
            other.dtype = check_option("dtype", changes.pop("dtype"), DTYPES)
        if "batch_size" in changes:
            other.batch_size = check_positive_int("batch_size", changes.pop("batch_size"))
        if "memory_format" in changes:
            other._memory_format = check_option("memory_format", changes.pop("memory_format"), MEMORY_FORMATS)
        if "workers" in changes:
            other.workers = check_positive_int("workers", changes.pop("workers"))
        if "preprocess" in changes:
            now = self.preprocess if isinstance(self.preprocess, Preprocess) else self.network.preprocess
            other.preprocess = as_preprocess(changes.pop("preprocess"), now)
        if other.preprocess.size == self.preprocess.size and "layers" in self.__dict__:
            other.__dict__["layers"] = self.layers
        if "layers" in changes:
            chosen = changes.pop("layers")
            other._chosen = None if chosen is None else other._checked_names(chosen)
        if changes:
            raise ValueError(f"with_options does not understand {sorted(changes)}: make a new Extractor.")
        return other

    @cached_property
    def _module(self) -> torch.nn.Module:
        """The network as it runs: on the device, in its number format and memory layout."""
        module = self.network.module
        if self.precision.weights != torch.float32 or self.device.type != "cpu":
            module = copy.deepcopy(module).to(device=self.device, dtype=self.precision.weights)
        for weight in module.parameters():
            if weight.ndim == 4:  # module.to(memory_format=...) fails on networks that also have 3-D convolutions
                weight.data = weight.data.contiguous(memory_format=self._layout)
        return module

    @cached_property
    def memory_format(self) -> str:
        """Memory layout in use, "channels_last" or "contiguous"."""
        if self._memory_format != "auto":
            return self._memory_format
        convolutions = [m for m in self.network.module.modules() if isinstance(m, torch.nn.Conv2d)]
        # Patch embeddings are convolutions too: it takes more than a few to make a convolutional network.
        return "channels_last" if len(convolutions) > 4 else "contiguous"

    @cached_property
    def layers(self) -> Layers:
        """What can be read: name -> shape for one image, in order of depth."""
        inputs = self._to_device(probe_inputs(self.preprocess.size))
        with self.precision.active(self.device):
            return probe(self._module, inputs, self.name)

    @property
    def units(self) -> list[str]:
        """The network's building blocks (blocks, stages, stem, embedding) in order of depth; the default layers."""
        units = set(self.layers.units)
        found = [name for name in self.layers if name in units or name.partition("@")[0] in units]
        last = "output" if "output" in self.layers else "(output)"
        if last in self.layers and (not found or self.layers[last] != self.layers[found[-1]]):
            found.append(last)
        return found or list(self.layers)

    @property
    def chosen(self) -> tuple[str, ...]:
        """Layers that are read unless others are named."""
        if self._chosen is not None:
            return self._chosen
        return tuple(name for name in self.units if self._can_pool(name))

    def read(
        self, images: torch.Tensor, layers: Sequence[str] | None = None, grad: bool = False
    ) -> dict[str, torch.Tensor]:
        """Return reduced features of preprocessed images as tensors on the device.

        Parameters
        ----------
        images : tensor (n, 3, height, width)
            Already normalised, such as ``extractor.preprocess(list_of_images)``.
        layers : names, optional
        grad : bool
            Keep the graph back to ``images``.

        Returns
        -------
        dict layer -> tensor (n, n_features)
        """
        names = self.chosen if layers is None else self._checked_names(layers)
        readings = {name: self._reading(name) for name in names}
        with self.precision.active(self.device):
            return read_layers(self._module, self._to_device(images), readings, grad=grad)

    def fit_pca(
        self,
        stimuli: Any,
        n_components: int,
        ids: Any = None,
        layers: Sequence[str] | None = None,
        progress: bool = True,
    ) -> dict[str, PCA]:
        """Fit principal components per layer on training images; give the result to ``project=``.

        Parameters
        ----------
        stimuli : Stimuli or array
        n_components : int
        ids : sequence
            The training images; all of ``stimuli`` by default. Recorded in each PCA and in every store made with it.
        """
        stimuli = as_stimuli(stimuli)
        train = stimuli.ids if ids is None else np.asarray(ids)
        features = self.extract(stimuli, layers=layers, ids=train, progress=progress)
        return {name: fit_pca(features[name], n_components, ids=features.ids) for name in features.layers}

    # What FeatureSource asks

    def identity(self) -> dict[str, Any]:
        """Return network, weights, preprocessing and precision."""
        return {
            "network": self.network.identity,
            "preprocess": self.preprocess.to_dict(),
            "precision": self.precision.describe(),
            "clips": "mean over frames",
        }

    def info(self) -> dict[str, Any]:
        """Return how it was run."""
        return {
            "weights": self.network.weights,
            "trained": self.network.trained,
            "device": str(self.device),
            "memory_format": self.memory_format,
            "threads": torch.get_num_threads(),
        }

    def layer_specs(self, layers: Sequence[str] | None) -> dict[str, dict[str, Any]]:
        """Return shape, pooling and projection of the layers asked for."""
        names = self.chosen if layers is None else self._checked_names(layers)
        specs = {}
        for name in names:
            info, pool = self.layers.info(name), self.pool_of(name)
            shape = pooled_shape(info, pool)
            size = int(np.prod(shape, dtype=np.int64))
            projection = self._projection_of(name)
            spec = {"output": list(info.shape), "pool": pool if info.layout != "vector" else None, "project": None}
            if projection is not None:
                spec["project"] = projection.describe(size)
                shape = (projection.out_dim(size),) if spec["project"] is not None else shape
            specs[name] = {"shape": shape, "spec": spec}
        return specs

    def prepare(self, items: list[Any]) -> tuple[torch.Tensor, list[int]]:
        """Return the frames of all stimuli as one tensor, and how many each has."""
        frames, counts = frames_of(items)
        return self.preprocess(frames), counts

    def compute(
        self, prepared: tuple[torch.Tensor, list[int]], layers: Sequence[str], pad_to: int = 0
    ) -> dict[str, np.ndarray]:
        """Return features of one batch, averaged over the frames of clips."""
        frames, counts = prepared
        readings = {name: self._reading(name) for name in layers}
        parts: dict[str, list[np.ndarray]] = {name: [] for name in layers}
        for start in range(0, len(frames), self.batch_size):
            chunk = frames[start : start + self.batch_size]
            n = len(chunk)
            if pad_to > n or (start and n < self.batch_size):
                chunk = torch.cat([chunk, chunk[-1:].expand(max(pad_to, self.batch_size) - n, *chunk.shape[1:])])
            with self.precision.active(self.device):
                found = read_layers(self._module, self._to_device(chunk), readings)
            for name, value in found.items():
                parts[name].append(value[:n].float().cpu().numpy())
        return {name: mean_of_groups(np.concatenate(p), counts) for name, p in parts.items()}

    def pool_of(self, layer: str) -> str | None:
        """Return how a layer is pooled."""
        return _setting(self.pool, layer, "mean") if isinstance(self.pool, dict) else self.pool

    def _projection_of(self, layer: str) -> SparseProjection | PCA | None:
        given = _setting(self.project, layer, None) if isinstance(self.project, dict) else self.project
        return _as_projection(given, self.seed)

    def _reading(self, layer: str) -> Reading:
        info, pool, projection = self.layers.info(layer), self.pool_of(layer), self._projection_of(layer)

        def reduce(x: torch.Tensor) -> torch.Tensor:
            pooled = apply_pool(x, info, pool)
            return pooled.flatten(1).float() if projection is None else projection.apply(pooled)

        return Reading(info, reduce)

    def _can_pool(self, layer: str) -> bool:
        try:
            pooled_shape(self.layers.info(layer), self.pool_of(layer))
        except ValueError:
            return False
        return True

    def _checked_names(self, layers: Sequence[str]) -> tuple[str, ...]:
        names = tuple(dict.fromkeys([layers] if isinstance(layers, str) else layers))
        if not names:
            raise UnknownLayer("no layer asked for: name some of .layers.")
        for name in names:
            pooled_shape(self.layers.info(name), self.pool_of(name))
        return names

    def _to_device(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(device=self.device, dtype=self.precision.weights).contiguous(memory_format=self._layout)

    @property
    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format

    def __repr__(self) -> str:
        return f"Extractor({self.name}, weights: {self.network.weights}, {self.precision.describe()} on {self.device})"


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the device asked for; one that is not there is an error. None means the GPU if there is one."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = torch.device(device)
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "device 'cuda' was asked for and torch sees no GPU here: use device='cpu', or see neuro doctor."
        )
    return found


def _as_projection(given: Any, seed: int) -> SparseProjection | PCA | None:
    if given is None or isinstance(given, (SparseProjection, PCA)):
        return given
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        return SparseProjection(int(given), seed)
    raise ValueError(
        f"project must be a number of dimensions, SparseProjection, PCA, or a dict of them, got {given!r}."
    )


def _setting(table: Mapping[str, Any], layer: str, default: Any) -> Any:
    if layer in table:
        return table[layer]
    for pattern, value in table.items():
        if fnmatchcase(layer, pattern):
            return value
    return default


def _load_for_size(model: Any, pretrained: Any, seed: int, kwargs: dict[str, Any], input_size: Any) -> Network:
    """Networks with position embeddings are built for one size: tell the library's constructor where it can be told."""
    library = model.partition(":")[0] if isinstance(model, str) and input_size is not None else ""
    option = {"timm": "img_size", "open_clip": "force_image_size"}.get(library)
    if option is None or option in kwargs:
        return load_network(model, pretrained, seed, kwargs)
    size = input_size if np.ndim(input_size) == 0 else tuple(input_size)[-2:]
    try:
        return load_network(model, pretrained, seed, {**kwargs, option: size})
    except TypeError as error:
        if option not in str(error):
            raise
        return load_network(model, pretrained, seed, kwargs)
