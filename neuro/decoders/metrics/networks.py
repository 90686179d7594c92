"""The feature networks of image protocols: which layer of which network with which weights.

=============  =========================================  ===========================  ==================
name           network                                    features                     weights
=============  =========================================  ===========================  ==================
alexnet2       torchvision AlexNet                        after ReLU of convolution 2  IMAGENET1K_V1
alexnet5       torchvision AlexNet                        after ReLU of convolution 5  IMAGENET1K_V1
inception      torchvision Inception-v3                   average pool                 IMAGENET1K_V1
clip           open_clip ViT-L/14                         image embedding              openai
clip_b32       open_clip ViT-B/32                         image embedding              openai
effnet_v1      torchvision EfficientNet-B1                average pool                 IMAGENET1K_V1
effnet_v2      torchvision EfficientNet-B1                average pool                 IMAGENET1K_V2
swav           torchvision ResNet-50                      average pool                 SwAV, 800 epochs
phantom_clip   phantom-clip, ships with neuro             image embedding              its own
=============  =========================================  ===========================  ==================

A feature network is any callable from images, a float tensor (b, 3, height, width) in [0, 1], to features (b, ...):
what :func:`load_reader` returns is one, a function of yours is another. Nothing is fetched unless asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuro._check import check_option
from neuro.decoders.metrics._perceptual import PERCEPTUAL, perceptual_distance, perceptual_network
from neuro.errors import CorruptFile, DownloadError, MissingWeights, ShapeMismatch, UnknownLayer, nearest

__all__ = [
    "NETWORKS",
    "PERCEPTUAL",
    "FeatureReader",
    "NetworkSpec",
    "load_reader",
    "perceptual_distance",
    "perceptual_network",
    "read_features",
]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_TORCHVISION = "https://download.pytorch.org/models/"


@dataclass(frozen=True)
class NetworkSpec:
    """Where features come from.

    Attributes
    ----------
    model : str
        As :func:`neuro.features.load_network` names it.
    layer : str or None
        Dotted module name; None for the network's output.
    weights : str
        Tag of the library.
    file, url : str
        The file of weights, and where it is published.
    size : int
        Height and width of the network's own input, pixels.
    mean, std : three numbers
        For pixel values on 0..1.
    kwargs : tuple of (name, value)
        Of the network's constructor.
    """

    model: str
    layer: str | None
    weights: str
    file: str
    url: str
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    kwargs: tuple[tuple[str, Any], ...] = ()


def _vision(model: str, layer: str, weights: str, file: str, size: int, **kwargs: Any) -> NetworkSpec:
    url = _TORCHVISION + file
    return NetworkSpec(f"torchvision:{model}", layer, weights, file, url, size, *_IMAGENET, tuple(kwargs.items()))


def _clip(model: str, repository: str) -> NetworkSpec:
    file = f"{model}.openai.safetensors"
    url = f"https://huggingface.co/{repository}/resolve/main/open_clip_model.safetensors"
    return NetworkSpec(f"open_clip:{model}", None, "openai", file, url, 224, *_CLIP, (("force_quick_gelu", True),))


NETWORKS: dict[str, NetworkSpec] = {
    "alexnet2": _vision("alexnet", "features.4", "IMAGENET1K_V1", "alexnet-owt-7be5be79.pth", 224),
    "alexnet5": _vision("alexnet", "features.11", "IMAGENET1K_V1", "alexnet-owt-7be5be79.pth", 224),
    "inception": _vision(
        "inception_v3", "avgpool", "IMAGENET1K_V1", "inception_v3_google-0cc3c7bd.pth", 299, transform_input=True
    ),
    "clip": _clip("ViT-L-14", "timm/vit_large_patch14_clip_224.openai"),
    "clip_b32": _clip("ViT-B-32", "timm/vit_base_patch32_clip_224.openai"),
    "effnet_v1": _vision("efficientnet_b1", "avgpool", "IMAGENET1K_V1", "efficientnet_b1_rwightman-bac287d4.pth", 240),
    "effnet_v2": _vision("efficientnet_b1", "avgpool", "IMAGENET1K_V2", "efficientnet_b1-c27df63c.pth", 240),
    "swav": NetworkSpec(
        "torchvision:resnet50",
        "avgpool",
        "SwAV 800 epochs",
        "swav_800ep_pretrain.pth.tar",
        "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar",
        224,
        *_IMAGENET,
    ),
    "phantom_clip": NetworkSpec("phantom-clip", None, "shipped", "", "", 64, (0.45, 0.45, 0.43), (0.24, 0.23, 0.25)),
}
"""Feature networks by name."""


class FeatureReader:
    """A network read at one layer.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode; it is not copied, and nothing stays attached to it.
    layer : str, optional
        Dotted module name; the network's output by default. Computation stops there.
    mean, std : three numbers
        Subtracted from pixel values on 0..1, and divided by.
    size : int, optional
        The network's own input size, used where a protocol names none.
    label : str
        For results.
    name : str, optional
        Key of ``NETWORKS`` whose trained network this is; then results carry the protocol's plain name.
    device : optional
        The network's own by default.

    Raises
    ------
    UnknownLayer
        If the network has no such layer.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        layer: str | None = None,
        *,
        mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
        std: tuple[float, float, float] = (1.0, 1.0, 1.0),
        size: int | None = None,
        label: str = "a network of the caller's",
        name: str | None = None,
        device: Any = None,
    ):
        layers = dict(network.named_modules())
        if layer is not None and layer not in layers:
            raise UnknownLayer(f"no layer {layer!r} in {label}{nearest(layer, layers)}")
        self.network = network if device is None else network.to(device)
        self.layer, self.size, self.label, self.name = layer, size, label, name
        self.mean, self.std = mean, std

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return features (b, d), float32 on the CPU, of images (b, 3, height, width) in [0, 1]."""
        device = next((p.device for p in self.network.parameters()), torch.device("cpu"))
        mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        x = (images.to(device, torch.float32) - mean) / std
        with torch.inference_mode():
            out = self.network(x) if self.layer is None else self._until(x)
        return out.reshape(len(images), -1).float().cpu().clone()

    def _until(self, x: torch.Tensor) -> torch.Tensor:
        caught: list[torch.Tensor] = []

        def keep(_module, _inputs, output):
            caught.append(output.clone())
            raise _Reached

        handle = self.network.get_submodule(self.layer).register_forward_hook(keep)
        try:
            self.network(x)
        except _Reached:
            pass
        finally:
            handle.remove()
        if not caught:
            raise UnknownLayer(f"layer {self.layer!r} of {self.label} takes no part in computing its output.")
        return caught[0]


class _Reached(Exception):
    """The layer has been computed; the rest of the network need not be."""


def load_reader(
    name: str,
    weights: str | Path | None = None,
    *,
    download: bool = False,
    pretrained: bool = True,
    seed: int = 0,
    device: Any = None,
) -> FeatureReader:
    """Build a feature network with its published weights.

    Parameters
    ----------
    name : str
        Key of ``NETWORKS``.
    weights : path, optional
        Folder that holds the file of weights under its published name, or that file; the caches of torch hub and of
        the Hugging Face hub by default.
    download : bool
        Whether missing weights may be fetched. (SwAV's must be put there by hand.)
    pretrained : bool
        False for the untrained twin with weights from ``seed``, a control.
    device : optional

    Raises
    ------
    MissingWeights
        Naming the file, where to get it and where to put it.
    CorruptFile
        The file does not fit the network.
    UnknownModel, ValueError
        Unknown name.
    """
    from neuro.features.models import load_network

    spec = NETWORKS[check_option("name", name, NETWORKS)]
    kwargs = dict(spec.kwargs)
    if not pretrained:
        loaded = load_network(spec.model, None, seed=seed, model_kwargs=kwargs or None)
        label, official = f"{spec.model}, untrained, seed {seed}", None
    elif name == "phantom_clip":
        loaded, label, official = load_network(spec.model), "phantom-clip", name
    else:
        path = _find(name, spec, weights)
        if name == "swav":
            if path is None:
                raise MissingWeights(_missing(name, spec, weights, fetchable=False))
            loaded = load_network(_swav(path))
        elif path is not None:
            loaded = load_network(spec.model, path, model_kwargs=kwargs or None)
        elif download:
            try:
                loaded = load_network(spec.model, spec.weights, model_kwargs=kwargs or None)
            except DownloadError as error:
                raise MissingWeights(f"{_missing(name, spec, weights)} Fetching failed: {error}") from error
        else:
            raise MissingWeights(_missing(name, spec, weights))
        label, official = f"{spec.model}, {spec.weights}", name
    return FeatureReader(
        loaded.module,
        spec.layer,
        mean=spec.mean,
        std=spec.std,
        size=spec.size,
        label=f"{label}, {spec.layer or 'output'}",
        name=official,
        device=device,
    )


def read_features(network: Callable[[torch.Tensor], Any], batches: Any, name: str = "the network") -> np.ndarray:
    """Run a feature network over batches of images and return float32 features (n, d).

    Parameters
    ----------
    network : callable
        Float tensor (b, 3, height, width) in [0, 1] -> features (b, ...), tensor or array.
    batches : iterable of array (b, 3, height, width)
    name : str
        For error messages.

    Raises
    ------
    ShapeMismatch
        If it does not give one row per image.
    ValueError
        If it gives NaN.
    """
    rows = []
    for images in batches:
        with torch.no_grad():
            out = network(torch.tensor(np.asarray(images, dtype=np.float32)))
        out = out.detach().float().cpu().numpy() if isinstance(out, torch.Tensor) else np.asarray(out, np.float32)
        if out.ndim < 1 or len(out) != len(images):
            raise ShapeMismatch(f"{name} must give one row of features per image, got {out.shape} for {len(images)}.")
        if not np.isfinite(out).all():
            raise ValueError(f"{name} gave NaN or infinite features. Does it compute in float16?")
        rows.append(out.reshape(len(out), -1))
    return np.concatenate(rows)


def _find(name: str, spec: NetworkSpec, weights: str | Path | None) -> Path | None:
    if weights is not None:
        path = Path(weights)
        path = path / spec.file if path.is_dir() else path
        if not path.is_file():
            raise MissingWeights(_missing(name, spec, weights))
        return path
    if spec.model.startswith("torchvision"):
        path = Path(torch.hub.get_dir()) / "checkpoints" / spec.file
        return path if path.is_file() else None
    import huggingface_hub

    repository, _, file = spec.url.removeprefix("https://huggingface.co/").partition("/resolve/main/")
    found = huggingface_hub.try_to_load_from_cache(repository, file)
    return Path(found) if isinstance(found, str) else None


def _missing(name: str, spec: NetworkSpec, weights: str | Path | None, fetchable: bool = True) -> str:
    place = Path(weights) if weights is not None else Path(torch.hub.get_dir()) / "checkpoints"
    place = place if place.suffix in (".pth", ".pt", ".tar", ".safetensors") else place / spec.file
    allow = ", or allow fetching with download=True" if fetchable else ""
    return (
        f"no weights for {name} ({spec.model}, {spec.weights}): {place} is not there. Download {spec.url}, save it as "
        f"{spec.file} in a folder and give weights=<that folder>{allow}. Or put a network of your own in its place: "
        f"networks={{{name!r}: callable}}."
    )


def _swav(path: Path) -> torch.nn.Module:
    import torchvision.models

    from neuro.features.models import load_state_dict

    with torch.random.fork_rng(devices=[]):
        module = torchvision.models.resnet50(weights=None)
    module.fc = torch.nn.Identity()
    own = module.state_dict()
    state: Mapping[str, torch.Tensor] = {k: v for k, v in load_state_dict(path).items() if k in own}
    wrong = [k for k in own if k not in state or state[k].shape != own[k].shape]
    if wrong:
        raise CorruptFile(f"{path} does not hold SwAV's ResNet-50: {len(wrong)} tensors do not fit (first {wrong[0]}).")
    module.load_state_dict(dict(state))
    return module.eval().requires_grad_(False)
