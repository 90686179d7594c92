"""What a stored feature depends on, written so that two runs can be compared field by field."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

FEATURES_VERSION = 1
"""Raised whenever this package's own code changes the numbers it writes; stores of another version are stale."""


def hash_weights(module: torch.nn.Module) -> str:
    """Return a hash of every parameter and buffer: name, dtype, shape and bytes."""
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{data.dtype}|{tuple(data.shape)}|".encode())
        if data.numel():
            digest.update(memoryview(data.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def describe_module(module: torch.nn.Module) -> dict[str, str]:
    """Return class and structure of a network, and a hash of its class's source where that can be had."""
    kind = type(module)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "structure": hashlib.blake2b(_plain(repr(module)).encode(), digest_size=10).hexdigest(),
        "source": _source_hash(kind),
    }


def describe_callable(function: Any) -> str:
    """Return a description that stays the same from run to run: no memory addresses, the source of functions hashed."""
    if inspect.isfunction(function) or inspect.ismethod(function):
        return f"{function.__module__}.{function.__qualname__}:{_source_hash(function)}"
    return _plain(repr(function))


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """List the fields in which two nested descriptions differ, as ``"preprocess.mean: 0.5 in the store, 0.4 now"``.

    >>> differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    ['a.b: 1 in the store, 3 now']
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in dict.fromkeys([*old, *new]):
            found += differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        return found
    same = list(old) == list(new) if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)) else old == new
    return [] if same else [f"{path}: {old!r} in the store, {new!r} now"]


def _source_hash(thing: Any) -> str:
    try:
        return hashlib.blake2b(inspect.getsource(thing).encode(), digest_size=8).hexdigest()
    except (OSError, TypeError):
        return "unknown"


def _plain(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
