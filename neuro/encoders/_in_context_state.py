"""The state of a training run in one file, so that it is whole or absent: weights, AdamW's moments, position."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from neuro._files import atomic_path
from neuro.errors import CorruptFile, StaleStore

STATE = "training.safetensors"


def save_state(folder: Path, network: torch.nn.Module, optimizer: Any, position: dict[str, Any]) -> None:
    """Write the state."""
    from safetensors.torch import save

    tensors = {f"network.{k}": v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v).cpu().contiguous() for k, v in moments.items()}
    with atomic_path(folder / STATE) as temporary:
        temporary.write_bytes(save(tensors, metadata={"position": json.dumps(position)}))


def load_state(folder: Path, identity: dict[str, Any]) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
    """Return the position and the tensors of a run of the same ``identity``, or None if there is none.

    Raises
    ------
    StaleStore
        If the folder holds the run of other settings or data.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / STATE
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            position = json.loads(file.metadata()["position"])
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise CorruptFile(f"{path} is no state of a training run ({error}). Remove it to start over.") from error
    before, now = position["identity"], json.loads(json.dumps(identity))
    changed = [k for k in {**before, **now} if before.get(k) != now.get(k)]
    if changed:
        raise StaleStore(
            f"{folder} holds a training run with other {', '.join(sorted(changed))}. Give another folder, the same "
            "settings, or resume=False to start over."
        )
    return position, tensors


def restore(network: torch.nn.Module, optimizer: Any, tensors: dict[str, torch.Tensor]) -> None:
    """Put the state back."""
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, i, key = name.split(".")
            moments.setdefault(int(i), {})[key] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
