"""Tensors and a few words about them in one safetensors file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch

from neuro._files import atomic_path
from neuro.errors import CorruptFile, DataNotDownloaded


def write_safetensors(path: str | os.PathLike[str], state: Mapping[str, torch.Tensor], **metadata: str) -> Path:
    """Write tensors and metadata, the file whole or not at all."""
    from safetensors.torch import save

    tensors = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))
    return Path(path)


def read_safetensors(path: str | os.PathLike[str], format: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return tensors and metadata of a file, which must say that it is of this ``format``."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise DataNotDownloaded(f"no file at {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CorruptFile(f"{path} is not a whole safetensors file ({error}).") from error
    if metadata.get("format") != format:
        raise CorruptFile(f"{path} must be a file of format {format!r}, it says {metadata.get('format')!r}.")
    return state, metadata
