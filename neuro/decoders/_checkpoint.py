"""The state of a training run: one file for where it stands, one for its best weights; each whole or absent.

``training.safetensors`` holds the weights and AdamW's moments, with the position (epoch, batch, sums, history) as JSON
in its header; ``best.safetensors`` the weights of the best epoch. Both carry a checksum of their tensors. No state of a
random generator is needed, since every draw is a function of (seed, epoch, batch).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neuro._files import atomic_path
from neuro.errors import CorruptFile, StaleStore

STATE, BEST = "training.safetensors", "best.safetensors"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and JSON atomically, with a checksum."""
    from safetensors.torch import save_file

    plain = {k: v.detach().to("cpu").contiguous() for k, v in tensors.items()}
    header = json.dumps({"about": about, "checksum": checksum(plain)})  # one key: safetensors does not order several
    with atomic_path(path) as temporary:
        save_file(plain, str(temporary), {"neuro": header})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what :func:`write_tensors` wrote.

    Raises
    ------
    CorruptFile
        If the file is torn, of another kind, or its tensors are not those that were written.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {})["neuro"])
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - not a mapping
        about, expected = header["about"], header["checksum"]
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise CorruptFile(
            f"{path} cannot be read as weights of a decoder ({error}). Restore the file, or remove it to train anew."
        ) from error
    if checksum(tensors) != expected:
        raise CorruptFile(
            f"the numbers in {path} are not those that were written (checksum differs). Restore the file, or remove it "
            "to train anew."
        )
    return tensors, about


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of names, types, shapes and contents."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        value = tensors[name].detach().to("cpu").contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        if value.numel():
            digest.update(memoryview(value.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def save_state(folder: Path, network: torch.nn.Module, optimizer: Any, position: Mapping[str, Any]) -> None:
    """Write where a run stands."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in moments.items()}
    write_tensors(folder / STATE, tensors, position)


def load_state(folder: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return tensors and position of a run of this ``identity``, or None where there is no run yet.

    Raises
    ------
    StaleStore
        If the folder holds a run of other settings or data.
    """
    if not (folder / STATE).is_file():
        return None
    tensors, position = read_tensors(folder / STATE)
    before, now = position.get("identity", {}), json.loads(json.dumps(identity))
    changed = sorted(k for k in {**before, **now} if before.get(k) != now.get(k))
    if changed:
        raise StaleStore(
            f"{folder} holds a training run with other {', '.join(changed)}. Give another folder or the same settings "
            "and data, or resume=False to start over."
        )
    return tensors, position


def restore(network: torch.nn.Module, optimizer: Any, tensors: Mapping[str, Tensor]) -> None:
    """Put weights and moments back."""
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, i, key = name.split(".", 2)
            moments.setdefault(int(i), {})[key] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
