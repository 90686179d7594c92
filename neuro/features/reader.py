"""One forward pass, all layers asked for: reduced inside the hook, stopped after the last of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from neuro.features.layers import LayerInfo, tensors_of

Reducer = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Reading:
    """One layer to read and what to do with its output (n, *shape) at once; the result is (n, ...)."""

    info: LayerInfo
    reduce: Reducer


class _Done(Exception):
    """All layers have been read: the rest of the network need not run."""


def read_layers(
    module: torch.nn.Module,
    inputs: torch.Tensor,
    readings: Mapping[str, Reading],
    run: Callable[[torch.Tensor], Any] | None = None,
    grad: bool = False,
) -> dict[str, torch.Tensor]:
    """Return the reduced output of every layer in ``readings``.

    What is returned never shares memory with the network's own tensors. A hook's output is often overwritten by the
    next in-place ReLU, and ``detach``, ``float`` and, on the CPU, ``cpu`` do not copy; so whatever still shares storage
    after reduction is cloned.

    Parameters
    ----------
    module : torch.nn.Module
    inputs : tensor whose first axis is the batch
    readings : dict name -> Reading
    run : callable, optional
        How to run the module; ``module(inputs)`` by default.
    grad : bool
        Keep the graph, for optimising inputs.
    """
    n = inputs.shape[0]
    wanted: dict[str, dict[tuple[int, Any], tuple[str, Reading]]] = {}
    for name, reading in readings.items():
        info = reading.info
        wanted.setdefault(info.module, {})[info.call, info.item] = (name, reading)
    found: dict[str, torch.Tensor] = {}

    def watch(of_module: dict[tuple[int, Any], tuple[str, Reading]]):
        calls = 0

        def hook(_module, _args, output):
            nonlocal calls
            for key, tensor in tensors_of(output):
                if (calls, key) in of_module:
                    name, reading = of_module[calls, key]
                    found[name] = _own(reading.reduce(reading.info.per_image(tensor, n)), tensor)
            calls += 1
            if len(found) == len(readings):
                raise _Done

        return hook

    modules = dict(module.named_modules())
    handles = [modules[name].register_forward_hook(watch(part)) for name, part in wanted.items()]
    try:
        with torch.set_grad_enabled(grad):
            (run or module)(inputs)
    except _Done:
        pass
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name in readings if name not in found]
    if missing:
        raise RuntimeError(
            f"layer {missing[0]!r} was seen while probing but not now: the network takes different paths."
        )
    return {name: found[name] for name in readings}


def _own(x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    return x.clone() if x.untyped_storage().data_ptr() == source.untyped_storage().data_ptr() else x
