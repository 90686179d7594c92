"""In-context networks as files: ours (safetensors and JSON), and checkpoints that others trained, by their names.

The names of BraInCoRL's released checkpoints map to ours one to one::

    cls_token                              tokens
    early_layers.0.block.{0, 3, 4, 7}      embed.{norm1, linear1, norm2, linear2};   early_layers.0.bypass: embed.bypass
    transformer.L.layer_norm_{1, 2}        blocks.L.norm{1, 2}
    transformer.L.attn.in_proj_{weight, bias}, out_proj      blocks.L.attention.in_proj.{weight, bias}, out_proj
    transformer.L.ffn.linear{1, 2}         blocks.L.swiglu.linear{1, 2}
    weight_pred.0                          head, as embed
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from neuro._files import atomic_path, read_json
from neuro.encoders._in_context_network import InContextNetwork
from neuro.encoders.in_context_config import InContextConfig
from neuro.errors import CorruptFile, DataNotDownloaded, ShapeMismatch
from neuro.features.models import load_state_dict

WEIGHTS, SETTINGS = "network.safetensors", "config.json"
FORMAT = "neuro in-context network 1"

_LAYERS = {"0": "norm1", "3": "linear1", "4": "norm2", "7": "linear2"}
_STAGES = {"early_layers": "embed", "weight_pred": "head"}
_RULES = (
    (r"cls_token", lambda m: "tokens"),
    (
        r"(early_layers|weight_pred)\.0\.block\.([0347])\.(weight|bias)",
        lambda m: f"{_STAGES[m[1]]}.{_LAYERS[m[2]]}.{m[3]}",
    ),
    (r"(early_layers|weight_pred)\.0\.bypass\.(weight|bias)", lambda m: f"{_STAGES[m[1]]}.bypass.{m[2]}"),
    (r"transformer\.(\d+)\.layer_norm_([12])\.(weight|bias)", lambda m: f"blocks.{m[1]}.norm{m[2]}.{m[3]}"),
    (r"transformer\.(\d+)\.attn\.in_proj_(weight|bias)", lambda m: f"blocks.{m[1]}.attention.in_proj.{m[2]}"),
    (r"transformer\.(\d+)\.attn\.out_proj\.(weight|bias)", lambda m: f"blocks.{m[1]}.attention.out_proj.{m[2]}"),
    (r"transformer\.(\d+)\.ffn\.linear([12])\.(weight|bias)", lambda m: f"blocks.{m[1]}.swiglu.linear{m[2]}.{m[3]}"),
)
_PREFIXES = ("module.", "model.", "_forward_module.", "_orig_mod.", "_fsdp_wrapped_module.")
_OURS = ("tokens", "embed.", "blocks.", "head.")
_THEIRS = ("cls_token", "early_layers.", "transformer.", "weight_pred.")


def our_name(name: str) -> str | None:
    """Return our name of a released parameter, itself if it is ours already, None if it is no part of the network.

    >>> our_name("model.transformer.3.ffn.linear1.weight")
    'blocks.3.swiglu.linear1.weight'
    """
    for prefix in _PREFIXES * 2:
        name = name.removeprefix(prefix)
    if name.startswith(_OURS):
        return name
    for pattern, rename in _RULES:
        match = re.fullmatch(pattern, name)
        if match:
            return rename(match)
    return name if name.startswith(_THEIRS) else None


def from_state_dict(state: Mapping[str, torch.Tensor], config: InContextConfig | None = None) -> InContextNetwork:
    """Build a network from a state dict with our names or the released ones.

    Parameters
    ----------
    state : dict of tensors
        Anything beside the network's parameters (metrics, optimisers) is left aside.
    config : InContextConfig, optional
        Read off the shapes if not given, with the published 10 heads, which no shape tells.

    Raises
    ------
    ShapeMismatch
        If the state is of a network of other sizes than ``config`` says.
    CorruptFile
        If it is no in-context network, or parts are missing.
    """
    found = {ours: v for name, v in state.items() if (ours := our_name(name)) is not None}
    sizes = config_of(found)
    if config is None:
        config = sizes
    elif config.sizes != sizes.sizes:
        raise ShapeMismatch(
            f"the checkpoint is of another network: it has {sizes.sizes}; the configuration says {config.sizes}. "
            "Give the preset the checkpoint was trained with (InContextConfig.clip(), .dino(), .siglip()), or none."
        )
    with torch.device("meta"):
        network = InContextNetwork(config)
    expected = network.state_dict()
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        raise CorruptFile(
            f"the checkpoint lacks {len(missing)} parameters of the network and has {len(extra)} unknown ones, "
            f"the first is {(missing or extra)[0]!r}. Was it saved whole, by this architecture?"
        )
    for name, value in expected.items():
        if found[name].shape != value.shape:
            raise ShapeMismatch(
                f"{name} must have shape {tuple(value.shape)} in a network with {config.sizes}; "
                f"the checkpoint has {tuple(found[name].shape)}."
            )
    dtype = found["tokens"].dtype if found["tokens"].dtype == torch.float64 else torch.float32
    network.load_state_dict({k: v.detach().to(dtype).clone() for k, v in found.items()}, assign=True)
    return network.requires_grad_(True).eval()


def config_of(state: Mapping[str, torch.Tensor]) -> InContextConfig:
    """Read sizes off a state dict with our names; the number of heads is the published one if it divides the width."""
    try:
        n_features = state["embed.norm1.weight"].shape[0] - 1
        _, n_tokens, width = state["tokens"].shape
        ffn = state["blocks.0.swiglu.linear2.weight"].shape[1]
    except (KeyError, ValueError, IndexError) as error:
        raise CorruptFile(
            "this is no checkpoint of an in-context network: expected tokens (or cls_token), an embedding, transformer "
            f"blocks and a head, got {len(state)} matching parameters."
        ) from error
    n_layers = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("blocks."))
    return InContextConfig(
        n_features, width, n_layers, n_heads=10 if width % 10 == 0 else 1, ffn=ffn, n_tokens=n_tokens
    )


def load_checkpoint(path: str | os.PathLike[str], config: InContextConfig | None = None) -> InContextNetwork:
    """Load a network that BraInCoRL's program (or a user's own) saved; nothing in the file is executed.

    Parameters
    ----------
    path : path
        ``.safetensors``, or torch's own format (``.ckpt``, ``.pt``), whose pickled part is restricted to tensors, plain
        values and paths.
    config : InContextConfig, optional
        What the file must be; read off it if not given.
    """
    # Lightning keeps the folder of the run among its settings
    allow = getattr(torch.serialization, "safe_globals", None)
    paths: list[Any] = [pathlib.PosixPath, pathlib.PurePosixPath]
    with allow(paths) if allow else nullcontext():
        return from_state_dict(load_state_dict(path), config)


def save_network(network: InContextNetwork, folder: str | os.PathLike[str], **more: Any) -> Path:
    """Write ``network.safetensors`` and ``config.json``, each whole or not at all."""
    from safetensors.torch import save

    from neuro._files import write_json

    folder = Path(folder)
    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        temporary.write_bytes(save(state, metadata={"format": "pt"}))
    write_json(folder / SETTINGS, {"format": FORMAT, "network": network.config.to_dict(), **more})
    return folder


def load_network(folder: str | os.PathLike[str]) -> tuple[InContextNetwork, dict[str, Any]]:
    """Return the network that ``save_network`` wrote, and what else stands in its ``config.json``."""
    folder = Path(folder)
    missing = [name for name in (WEIGHTS, SETTINGS) if not (folder / name).is_file()]
    if missing:
        raise DataNotDownloaded(
            f"no in-context network in {folder}: {', '.join(missing)} is missing. Train one with train_in_context, or "
            "read a released checkpoint with InContextEncoder.from_checkpoint."
        )
    settings = read_json(folder / SETTINGS)
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise CorruptFile(f"{folder / SETTINGS} must say format {FORMAT!r}.")
    config = InContextConfig.from_dict(settings["network"])
    return from_state_dict(load_state_dict(folder / WEIGHTS), config), settings
