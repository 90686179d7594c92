"""What can be read from a network, found by running it.

Every module is watched while two inputs, then three, pass through. The axis whose length follows the number of inputs
is the batch (it need not come first, and windowed attention folds image parts into it). The inputs differ in their
upper or in their lower half only, so the axis along which an output's change moves is the vertical one, of maps and of
tokens; tokens whose value no input changes are class or register tokens. Nothing is inferred from names or from the
kind of network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from neuro.errors import UnknownLayer, nearest

_MAX_SPECIAL = 32

_Where = tuple[str, int, "int | str | None"]  # module, call, item


@dataclass(frozen=True)
class LayerInfo:
    """One readable output.

    Attributes
    ----------
    name : str
        Dotted module name; ``@k`` marks the k-th call of a module used several times, ``[i]`` one of several outputs.
    shape : tuple of int
        For one image, as the network gives it.
    layout : {"vector", "channels_first", "channels_last", "tokens", "tokens_last", "other"}
        Tokens are (tokens, channels), "tokens_last" (channels, tokens).
    grid : (height, width) or None
        Of the map or of the tokens that tile the image.
    special : tuple of int
        Positions of class and register tokens.
    """

    name: str
    shape: tuple[int, ...]
    layout: str
    grid: tuple[int, int] | None
    special: tuple[int, ...]
    module: str
    call: int
    item: int | str | None
    batch_axis: int
    fold: int
    outer: bool
    order: int

    def per_image(self, output: torch.Tensor, n: int) -> torch.Tensor:
        """Return the output with the images along the first axis, ``(n, *shape)``."""
        x = output.movedim(self.batch_axis, 0) if self.batch_axis else output
        if self.fold > 1:
            x = (
                x.reshape(n, self.fold, *x.shape[1:])
                if self.outer
                else x.reshape(self.fold, n, *x.shape[1:]).movedim(1, 0)
            )
        return x if x.ndim > 1 else x[:, None]


class Layers(Mapping[str, tuple[int, ...]]):
    """Readable layers in the order in which they finish: name -> shape for one image."""

    def __init__(self, infos: Sequence[LayerInfo], network: str, units: Sequence[str] = ()):
        self._infos = {info.name: info for info in infos}
        self.network = network
        self.units = tuple(units)

    def __getitem__(self, name: str) -> tuple[int, ...]:
        return self.info(name).shape

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __len__(self) -> int:
        return len(self._infos)

    def __contains__(self, name: object) -> bool:
        return name in self._infos

    def get(self, name: str, default: Any = None) -> Any:
        """Return a layer's shape, or ``default``."""
        return self._infos[name].shape if name in self._infos else default

    def info(self, name: str) -> LayerInfo:
        """Return everything known about one layer."""
        if name not in self._infos:
            repeated = [k for k in self._infos if k.startswith((f"{name}@", f"{name}["))]
            hint = f"; it gives several outputs: {', '.join(repeated[:6])}" if repeated else nearest(name, self._infos)
            raise UnknownLayer(f"no layer {name!r} in {self.network}{hint} (.layers lists all {len(self)})")
        return self._infos[name]

    def __repr__(self) -> str:
        width = max((len(n) for n in self._infos), default=0)
        lines = [f"{i.name:<{width}}  {i.shape!s:<20} {i.layout}" for i in self._infos.values()]
        return "\n".join([f"{len(self)} layers of {self.network}", *lines])


def tensors_of(output: Any) -> list[tuple[int | str | None, torch.Tensor]]:
    """Return the tensors of a module's output with the key of each; the key is None where there is only one."""
    if isinstance(output, torch.Tensor):
        return [(None, output)]
    items = (
        output.items()
        if isinstance(output, Mapping)
        else enumerate(output)
        if isinstance(output, (tuple, list))
        else []
    )
    found = [(key, value) for key, value in items if isinstance(value, torch.Tensor)]
    return [(None, found[0][1])] if len(found) == 1 else found


def probe_inputs(size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    """Three noise images (3, 3, h, w): a base, the base with another upper half, the base with another lower half."""
    generator = torch.Generator().manual_seed(seed)
    base, other = torch.randn(2, 3, *size, generator=generator)
    x = torch.stack([base, base, base])
    x[1, :, : size[0] // 2] = other[:, : size[0] // 2]
    x[2, :, size[0] // 2 :] = other[:, size[0] // 2 :]
    return x


def probe(
    module: torch.nn.Module,
    inputs: torch.Tensor,
    network: str = "the network",
    sequence: int | None = None,
    run: Any = None,
) -> Layers:
    """Find every layer of ``module`` whose output follows the number of inputs.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode.
    inputs : tensor, three inputs along the first axis
        From :func:`probe_inputs`; the first two are run alone first.
    network : str
        For error messages.
    sequence : int, optional
        For networks on token sequences: the number of tokens, instead of spatial evidence.
    run : callable, optional
        How to run the module on inputs; ``module(inputs)`` by default.
    """
    run = run or module
    names = {m: name for name, m in module.named_modules()}
    image = (int(inputs.shape[2]), int(inputs.shape[3])) if inputs.ndim == 4 else None
    pair: dict[_Where, tuple[int, ...]] = {}
    found: dict[_Where, LayerInfo] = {}
    evidence: dict[_Where, _Evidence] = {}
    folded: dict[_Where, torch.Tensor] = {}

    def first(where: _Where, out: torch.Tensor):
        pair[where] = tuple(out.shape)

    def second(where: _Where, out: torch.Tensor):
        changed = _batch_axis(pair.get(where), tuple(out.shape))
        if changed is None:
            return
        axis, fold = changed
        info = LayerInfo("", (), "other", None, (), *where, axis, fold, True, len(found))
        x = info.per_image(out, 3)
        found[where] = replace(info, shape=tuple(int(s) for s in x.shape[1:]))
        if fold > 1:
            folded[where] = _signature(out, axis)
        elif sequence is None:
            evidence[where] = _look(x, image)

    def third(where: _Where, out: torch.Tensor):
        if where in folded:
            info = found[where]
            outer = _images_outside(_signature(out, info.batch_axis), folded[where], info.fold)
            if outer is None:
                del found[where]
            else:
                found[where] = replace(info, outer=outer)

    calls = _watch(module, names, inputs[:2], run, first)
    _watch(module, names, inputs, run, second)
    if folded:
        _watch(module, names, inputs[:2], run, third)
    if sequence is None:
        found = _with_layouts(found, evidence, image, _declared_prefix(module))
    else:
        found = {where: replace(info, layout=_sequence_layout(info, sequence)) for where, info in found.items()}
    taken = set(names.values())
    return Layers([_named(info, calls, taken) for info in found.values()], network, _units(module))


def _watch(module, names, inputs, run, visit) -> dict[str, int]:
    counts: dict[str, int] = {}

    def hook(mod, _args, output):
        name = names[mod]
        call = counts.get(name, 0)
        counts[name] = call + 1
        for key, tensor in tensors_of(output):
            if tensor.is_floating_point() and tensor.ndim:
                visit((name, call, key), tensor.detach())

    handles = [m.register_forward_hook(hook) for m in names]
    try:
        with torch.no_grad():
            run(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return counts


def _named(info: LayerInfo, calls: dict[str, int], taken: set[str]) -> LayerInfo:
    name = info.module or ("(output)" if "output" in taken else "output")
    if calls[info.module] > 1:
        name += f"@{info.call}"
    if info.item is not None:
        name += f"[{info.item}]"
    return replace(info, name=name)


def _batch_axis(two: tuple[int, ...] | None, three: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the axis that follows the number of images, and how many parts of each image are folded into it."""
    if two is None or len(two) != len(three):
        return None
    changed = [a for a in range(len(two)) if two[a] != three[a]]
    if len(changed) != 1 or two[changed[0]] * 3 != three[changed[0]] * 2:
        return None
    return changed[0], two[changed[0]] // 2


def _signature(x: torch.Tensor, axis: int) -> torch.Tensor:
    """One random projection of every slice along ``axis``: enough to recognise an image's slice again."""
    flat = x.movedim(axis, 0).reshape(x.shape[axis], -1).float()
    weights = torch.randn(flat.shape[1], generator=torch.Generator().manual_seed(flat.shape[1])).to(flat.device)
    return flat @ weights


def _images_outside(two: torch.Tensor, three: torch.Tensor, fold: int) -> bool | None:
    """Whether the images are the outer factor of a folded axis; None where neither order fits."""
    scale = float(two.abs().mean()) + 1e-12
    outer = float((three.reshape(3, fold)[:2] - two.reshape(2, fold)).abs().mean()) / scale
    inner = float((three.reshape(fold, 3)[:, :2] - two.reshape(fold, 2)).abs().mean()) / scale
    return None if min(outer, inner) > 0.1 else outer <= inner


@dataclass(frozen=True)
class _Evidence:
    """Where an output changed: per axis, how much more in its first half for upper than for lower changes."""

    local: tuple[float, ...]
    change: tuple[torch.Tensor, ...]  # per axis, the largest change in each slice; for pairs of axes only

    def sure(self, axis: int, length: int) -> bool:
        # Along channels the difference is noise with a standard deviation of about 0.4 / sqrt(length).
        clear = self.local[axis] > 0.4 and self.local[axis] > 5 * abs(self.local[1 - axis])
        return clear or self.local[axis] > 2.5 / math.sqrt(length)


def _look(x: torch.Tensor, image: tuple[int, int] | None) -> _Evidence:
    """Compare the outputs (3, ...) of the three probe images."""
    shape = tuple(x.shape[1:])
    unclear = len(shape) == 2 or (len(shape) == 3 and _fits(shape[1:], image) and _fits(shape[:2], image))
    if not unclear:
        return _Evidence((), ())
    x = x.float()
    upper, lower = (x[1] - x[0]).abs(), (x[2] - x[0]).abs()
    local = tuple(_half_share(upper, a) - _half_share(lower, a) for a in range(len(shape)))
    largest = torch.maximum(upper, lower)
    return _Evidence(local, (largest.amax(1), largest.amax(0)) if len(shape) == 2 else ())


def _half_share(change: torch.Tensor, axis: int) -> float:
    profile = change.movedim(axis, 0).reshape(change.shape[axis], -1).mean(1)
    half = len(profile) // 2
    a, b = float(profile[:half].sum()), float(profile[len(profile) - half :].sum())
    return a / (a + b) if a + b > 0 else 0.5


def _with_layouts(found, evidence, image, declared) -> dict[_Where, LayerInfo]:
    """Decide layouts, in order of depth.

    Numbers of tokens are established where evidence is clear, early in the network; later, where attention has mixed
    all places, an axis is known by its length.
    """
    out: dict[_Where, LayerInfo] = {}
    counts: dict[int, tuple[int, ...]] = {}  # number of tokens -> positions of special ones
    for where, info in found.items():
        seen = evidence.get(where)
        if len(info.shape) == 1:
            info = replace(info, layout="vector")
        elif len(info.shape) == 3 and info.fold == 1:
            layout, grid = _map_layout(info.shape, seen, image)
            info = replace(info, layout=layout, grid=grid)
        elif len(info.shape) == 2 and info.fold == 1:
            axis = _token_axis(info.shape, seen, counts)
            if axis is not None:
                info = _as_tokens(info, axis, counts[info.shape[axis]], image, declared)
        out[where] = info
    return out


def _token_axis(shape: tuple[int, ...], seen: _Evidence | None, counts: dict[int, tuple[int, ...]]) -> int | None:
    """Return which of two axes is tokens, establishing its length in ``counts``; None where nothing tells."""
    known = [a for a in (0, 1) if shape[a] in counts]
    if len(known) == 1:
        return known[0]
    axis = None
    if 1 in shape:
        axis = shape.index(1)
    elif seen is not None:
        constant = [_special(c) for c in seen.change]
        # Places already known, and some more that no image changes: class tokens have joined.
        joined = [a for a in (0, 1) if constant[a] and shape[a] - len(constant[a]) in counts]
        sure = joined or [a for a in (0, 1) if seen.sure(a, shape[a])]
        axis = max(sure, key=lambda a: seen.local[a]) if sure else None
    if axis is not None and shape[axis] not in counts:
        counts[shape[axis]] = _special(seen.change[axis]) if seen is not None else ()
    return axis


def _as_tokens(info: LayerInfo, axis: int, special, image, declared: int) -> LayerInfo:
    count = info.shape[axis]
    grid = _grid(count - len(special), image)
    if grid is None and not special and declared and _grid(count - declared, image):
        special, grid = tuple(range(declared)), _grid(count - declared, image)
    return replace(info, layout=("tokens", "tokens_last")[axis], grid=grid, special=special)


def _map_layout(shape, seen: _Evidence | None, image) -> tuple[str, tuple[int, int] | None]:
    first, last = _fits(shape[1:], image), _fits(shape[:2], image)
    if first and last and seen is not None:
        # Height is the second axis of channels-first maps and the first of channels-last ones.
        if max(seen.local[:2]) < 0.1:
            return "other", None
        first, last = seen.local[1] >= seen.local[0], seen.local[0] > seen.local[1]
    if first:
        return "channels_first", (shape[1], shape[2])
    return ("channels_last", (shape[0], shape[1])) if last else ("other", None)


def _sequence_layout(info: LayerInfo, sequence: int) -> str:
    if len(info.shape) == 1:
        return "vector"
    if len(info.shape) != 2 or info.fold > 1 or (info.shape[0] == sequence) == (info.shape[1] == sequence):
        return "other"
    return "tokens" if info.shape[0] == sequence else "tokens_last"


def _special(change: torch.Tensor) -> tuple[int, ...]:
    """Return tokens that no input changed; read where their number first appears, before attention mixes them."""
    constant = torch.nonzero(change <= 1e-6 * change.median()).reshape(-1).tolist()
    return tuple(constant) if len(constant) <= _MAX_SPECIAL else ()


def _fits(pair: tuple[int, ...], image: tuple[int, int] | None) -> bool:
    """Whether (height, width) has the image's proportions, to within a pixel of rounding."""
    if image is None:
        return False
    return abs(pair[0] * image[1] - pair[1] * image[0]) < max(image) and pair[0] <= 2 * image[0] + 2


def _grid(count: int, image: tuple[int, int] | None) -> tuple[int, int] | None:
    if image is None or count < 2:
        return None
    height = round(math.sqrt(count * image[0] / image[1]))
    if height < 1 or count % height or not _fits((height, count // height), image):
        return None
    return height, count // height


def _declared_prefix(module: torch.nn.Module) -> int:
    """What timm networks say about themselves; used only where class tokens could not be seen."""
    for part in (module, getattr(module, "trunk", None)):
        value = getattr(part, "num_prefix_tokens", None)
        if isinstance(value, int):
            return value
    return 0


def _units(module: torch.nn.Module) -> list[str]:
    """Names of the building blocks: children of the root, with lists of blocks and dominating wrappers opened once."""
    total = sum(p.numel() for p in module.parameters()) or 1
    containers = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)
    found: list[str] = []

    def walk(parent: torch.nn.Module, prefix: str):
        for name, child in parent.named_children():
            path = f"{prefix}{name}"
            weights = sum(p.numel() for p in child.parameters())
            if isinstance(child, containers):
                found.extend(f"{path}.{k}" for k, part in child.named_children() if _does_something(part))
            elif weights > total / 2 and next(child.children(), None) is not None:
                walk(child, f"{path}.")
            elif _does_something(child):
                found.append(path)

    walk(module, "")
    return found


def _does_something(module: torch.nn.Module) -> bool:
    return not isinstance(module, (torch.nn.Identity, torch.nn.Dropout, torch.nn.Dropout2d))
