"""Generators by name: pipelines of diffusers from the hub or from a folder, and what to do when they are not there."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from neuro._check import check_option, require
from neuro._files import read_json
from neuro.decoders.generators.base import Generator
from neuro.decoders.generators.controlnet import ControlNetDiffusion
from neuro.decoders.generators.depth import DepthDiffusion
from neuro.decoders.generators.diffusion import dtype_argument
from neuro.decoders.generators.ip_adapter import IPAdapterDiffusion
from neuro.decoders.generators.sdxl import SDXLRefiner
from neuro.decoders.generators.stable import StableDiffusion
from neuro.decoders.generators.unclip import UnCLIPDiffusion
from neuro.decoders.generators.vae import VAEDecoder
from neuro.decoders.generators.versatile import VersatileDiffusion
from neuro.errors import MissingWeights

# kind -> (generator, class of diffusers' pipeline, a published checkpoint, about how large)
KINDS: dict[str, tuple[type[Generator], str, str, str]] = {
    "stable-diffusion": (
        StableDiffusion,
        "StableDiffusionImg2ImgPipeline",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "4 GB",
    ),
    "depth": (DepthDiffusion, "StableDiffusionDepth2ImgPipeline", "sd2-community/stable-diffusion-2-depth", "5 GB"),
    "controlnet": (
        ControlNetDiffusion,
        "StableDiffusionControlNetPipeline",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "4 GB and 1.4 GB for each ControlNet",
    ),
    "ip-adapter": (
        IPAdapterDiffusion,
        "StableDiffusionImg2ImgPipeline",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "4 GB and the adapter",
    ),
    "unclip": (
        UnCLIPDiffusion,
        "StableUnCLIPImg2ImgPipeline",
        "sd2-community/stable-diffusion-2-1-unclip",
        "6 GB",
    ),
    "sdxl": (
        SDXLRefiner,
        "StableDiffusionXLImg2ImgPipeline",
        "stabilityai/stable-diffusion-xl-refiner-1.0",
        "6 GB",
    ),
    "versatile": (
        VersatileDiffusion,
        "VersatileDiffusionDualGuidedPipeline",
        "shi-labs/versatile-diffusion",
        "several GB",
    ),
}

IP_ADAPTER = {"name": "h94/IP-Adapter", "subfolder": "models", "weight_name": "ip-adapter_sd15.safetensors"}


def load_generator(
    kind: str,
    name: str | Path | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    **loading: Any,
) -> Generator:
    """Load a pipeline and wrap it as a :class:`Generator`.

    Parameters
    ----------
    kind : str
        A key of ``KINDS``: "stable-diffusion", "depth", "controlnet", "ip-adapter", "unclip", "sdxl", "versatile"; or
        "vae", a decoder of latents alone; or "phantom", the one that ships.
    name : str or path, optional
        Hub name or local folder; a published checkpoint of that kind by default.
    options : dict, optional
        For the generator's class, as ``{"scales": {"depth": 0.7}}``.
    **loading
        For :func:`load_pipeline`; for "vae" and "phantom" only ``dtype`` and ``device`` (and ``local_files_only``).

    Raises
    ------
    MissingWeights
        If the weights are not there and cannot be had.
    """
    check_option("kind", kind, [*KINDS, "vae", "phantom"])
    if kind == "vae":
        return _load_vae(name or "stabilityai/sd-vae-ft-mse", options or {}, **loading)
    if kind == "phantom":
        from neuro.decoders.generators.phantom import load_phantom_pipeline

        return load_phantom_pipeline(name, **loading)
    generator: Any = KINDS[kind][0]
    return generator(load_pipeline(kind, name, **loading), **(options or {}))


def load_pipeline(
    kind: str,
    name: str | Path | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    local_files_only: bool = False,
    attention_slicing: bool = False,
    cpu_offload: str | None = None,
    controlnets: Sequence[str | Path] = (),
    ip_adapter: Mapping[str, Any] | None = None,
    **more: Any,
) -> Any:
    """Load one of diffusers' pipelines for a kind of generator.

    Parameters
    ----------
    kind : str
        A key of ``KINDS``.
    name : str or path, optional
        Hub name or local folder with a ``model_index.json``.
    dtype : torch.dtype
        float16 and bfloat16 halve the memory. In float16 the VAE stays in float32, where it does not overflow.
    device : str or torch.device
    local_files_only : bool
        Never ask the hub: only folders and what was downloaded before.
    attention_slicing : bool
        Slower, with less memory.
    cpu_offload : {None, "model", "sequential"}
        Keep weights in main memory and bring to ``device`` what is needed (accelerate).
    controlnets : sequence of names or folders
        For "controlnet".
    ip_adapter : dict, optional
        Arguments of diffusers' ``load_ip_adapter``, the first as ``"name"``, for "ip-adapter".
    **more
        For the pipeline's ``from_pretrained``, as ``text_encoder=None``.

    Raises
    ------
    MissingWeights
        If the weights are not there and cannot be had; the message names what to download and where to put it.
    """
    check_option("kind", kind, KINDS)
    check_option("cpu_offload", cpu_offload, (None, "model", "sequential"))
    diffusers = require("diffusers", f"the generator {kind!r}", "decode")
    _, pipeline_class, published, size = KINDS[kind]
    name = published if name is None else name
    shared = {**dtype_argument(dtype), "local_files_only": local_files_only, "use_safetensors": True}
    if kind == "controlnet":
        if not controlnets:
            raise ValueError(
                "controlnets must name at least one ControlNet, as 'lllyasviel/control_v11f1p_sd15_depth'."
            )
        nets = [_load(diffusers.ControlNetModel, c, "1.4 GB", "config.json", shared) for c in controlnets]
        more["controlnet"] = nets[0] if len(nets) == 1 else nets
    pipeline = _load(getattr(diffusers, pipeline_class), name, size, "model_index.json", {**shared, **more})
    if kind == "ip-adapter":
        given = dict(ip_adapter or IP_ADAPTER)
        source = given.pop("name")
        try:
            pipeline.load_ip_adapter(source, local_files_only=local_files_only, **given)
        except (OSError, ValueError) as error:
            raise MissingWeights(_advice("the IP-Adapter", source, "0.1 GB")) from error
    if dtype == torch.float16 and getattr(pipeline.vae.config, "force_upcast", False):
        pipeline.vae.to(torch.float32)
    if attention_slicing:
        pipeline.enable_attention_slicing()
    if cpu_offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif cpu_offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)
    return pipeline


def _load_vae(
    name: str | Path,
    options: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    local_files_only: bool = False,
) -> VAEDecoder:
    diffusers = require("diffusers", "a VAE", "decode")
    shared = {**dtype_argument(dtype), "local_files_only": local_files_only, "use_safetensors": True}
    vae = _load(diffusers.AutoencoderKL, name, "0.3 GB", "config.json", shared).to(device).eval()
    return VAEDecoder(vae, **{"size": (vae.config.sample_size,) * 2, **options})


def _load(cls: Any, name: str | Path, size: str, index: str, options: Mapping[str, Any]) -> Any:
    folder = Path(name).expanduser()
    local = folder.is_dir() or isinstance(name, Path) or str(name).startswith((".", "/", "~"))
    if local and not (folder / index).is_file():
        raise MissingWeights(f"{folder} holds no {index}. {_advice(cls.__name__, name, size)}")
    if local and index == "model_index.json":
        # parts that were saved as absent must be said to be absent again
        absent = {part: None for part, kind in read_json(folder / index).items() if kind == [None, None]}
        options = {**absent, **options}
    try:
        with warnings.catch_warnings():
            # diffusers still passes an argument that the hub's client no longer needs
            warnings.filterwarnings("ignore", ".*local_dir_use_symlinks", UserWarning)
            return cls.from_pretrained(folder if local else name, **options)
    except OSError as error:
        raise MissingWeights(_advice(cls.__name__, name, size)) from error


def _advice(what: str, name: str | Path, size: str) -> str:
    local = isinstance(name, Path) or str(name).startswith((".", "/", "~"))
    if local:
        return f"To have weights for {what} there, copy a folder in diffusers' layout (safetensors) to {name}."
    return (
        f"weights for {what} ({name}, about {size}) are not on this machine and could not be downloaded. On a machine "
        f"with a network: hf download {name} --local-dir FOLDER; then give that FOLDER as name. Mind its licence."
    )
