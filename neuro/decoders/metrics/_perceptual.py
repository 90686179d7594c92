"""Learned distances of image pairs: LPIPS and DreamSim, where their packages and weights are installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuro._check import as_rng, check_option, check_positive_int, require
from neuro.decoders.metrics._images import check_image_pairs, describe_size, resize, wrong_partners
from neuro.decoders.metrics.result import MetricResult, mean_result
from neuro.errors import MissingWeights, ShapeMismatch

PERCEPTUAL = {"lpips": 256, "dreamsim": 224}
"""Distances by name, and the image size (pixels) at which each is taken."""
_ALEXNET = "alexnet-owt-7be5be79.pth"


def perceptual_distance(
    recon: Any,
    true: Any,
    name: str = "lpips",
    *,
    network: Callable[[torch.Tensor, torch.Tensor], Any] | None = None,
    size: int | None = None,
    resize_by: str = "tensor_bicubic",
    antialias: bool = True,
    weights: str | Path | None = None,
    device: Any = None,
    batch_size: int = 16,
    rng: int | np.random.Generator | None = 0,
) -> MetricResult:
    """Mean learned distance of reconstructions from true images; lower is better.

    Parameters
    ----------
    recon, true : array or tensor (n, 3, height, width) in [0, 1]
    name : {"lpips", "dreamsim"}
    network : callable, optional
        Two float tensors (b, 3, size, size) in [0, 1] -> distances (b,); :func:`perceptual_network` by default.
    size : int, optional
        256 for LPIPS, 224 for DreamSim.
    resize_by, antialias
        As for :func:`neuro.decoders.metrics.pixels.pixcorr`.
    weights : path, optional
        As :func:`perceptual_network`.
    device, batch_size, rng

    Returns
    -------
    MetricResult
        Chance is the mean distance of random wrong pairs.

    References
    ----------
    Zhang et al. (2018), CVPR (LPIPS); Fu et al. (2023), NeurIPS (DreamSim).
    """
    check_option("name", name, PERCEPTUAL)
    batch_size = check_positive_int("batch_size", batch_size, 2)
    recon, true = check_image_pairs(recon, true)
    label = getattr(network, "label", "a network of the caller's") if network is not None else None
    if network is None:
        network = perceptual_network(name, weights, device=device)
        label = getattr(network, "label", name)
    side = size or PERCEPTUAL[name]
    rng = as_rng(rng)
    values, wrong = [], []
    for start in range(0, len(true), batch_size):
        part = slice(start, start + batch_size)
        a, b = (torch.tensor(np.clip(resize(x[part], side, resize_by, antialias), 0, 1)) for x in (recon, true))
        values.append(_distances(network, a, b))
        if len(a) > 1:
            wrong.append(_distances(network, a, b[wrong_partners(len(b), rng)]))
    return mean_result(
        name,
        np.concatenate(values),
        protocol=f"{label}, {describe_size(side, true, resize_by, antialias)}",
        chance=float(np.concatenate(wrong).mean()) if wrong else None,
        rng=rng,
        higher_is_better=False,
        details={"chance": "random wrong pairs"},
    )


def perceptual_network(
    name: str = "lpips",
    weights: str | Path | None = None,
    *,
    pretrained: bool = True,
    seed: int = 0,
    device: Any = None,
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return a distance of image pairs in [0, 1].

    Parameters
    ----------
    name : {"lpips", "dreamsim"}
    weights : path, optional
        For LPIPS, torchvision's AlexNet file or the folder that holds it (torch hub's cache by default); its own
        linear layers come with the package. For DreamSim, the folder of its checkpoints.
    pretrained : bool
        False leaves LPIPS's AlexNet untrained.

    Raises
    ------
    ModuleNotFoundError
        The package is not installed.
    MissingWeights
        Naming what to download.
    """
    check_option("name", name, PERCEPTUAL)
    if name == "dreamsim":
        package = require("dreamsim", "the DreamSim distance (pip install dreamsim)")
        folder = Path(weights) if weights is not None else Path(torch.hub.get_dir()) / "dreamsim"
        if not folder.is_dir():
            raise MissingWeights(
                f"no DreamSim checkpoints in {folder}. Download the ensemble's checkpoints from "
                "https://github.com/ssundaram21/dreamsim/releases and give weights=<their folder>."
            )
        return _labelled(
            package.dreamsim(pretrained=True, device=device or "cpu", cache_dir=str(folder))[0], "DreamSim"
        )
    lpips = require("lpips", "the LPIPS distance", "metrics")
    path = None
    if pretrained:
        place = Path(weights) if weights is not None else Path(torch.hub.get_dir()) / "checkpoints"
        path = place / _ALEXNET if place.is_dir() or weights is None else place
        if not path.is_file():
            raise MissingWeights(
                f"LPIPS needs torchvision's AlexNet, and {path} is not there. Download "
                f"https://download.pytorch.org/models/{_ALEXNET} and give weights=<its folder>."
            )
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        module = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    if path is not None:
        from neuro.features.models import load_state_dict

        state = load_state_dict(path)
        slices = {
            key: state[f"features.{key.split('.', 1)[1]}"].clone()
            for key in module.net.state_dict()
            if f"features.{key.split('.', 1)[1]}" in state
        }
        module.net.load_state_dict(slices)
    module = module.eval().requires_grad_(False).to(device or "cpu")

    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return module(a.to(device or "cpu"), b.to(device or "cpu"), normalize=True).flatten()

    return _labelled(distance, "LPIPS 0.1 AlexNet" + ("" if pretrained else ", untrained"))


def _labelled(call: Callable[..., Any], label: str) -> Callable[..., Any]:
    def distance(a: torch.Tensor, b: torch.Tensor) -> Any:
        return call(a, b)

    distance.label = label
    return distance


def _distances(network: Callable[..., Any], a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        out = network(a, b)
    out = out.detach().float().cpu().numpy() if isinstance(out, torch.Tensor) else np.asarray(out, dtype=float)
    if out.reshape(-1).shape != (len(a),):
        raise ShapeMismatch(f"the network must give one distance per pair, got {out.shape} for {len(a)} pairs.")
    return out.reshape(-1).astype(float)
