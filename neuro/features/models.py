"""Finding a network by name, giving it weights, and knowing what it expects to see.

=====================================  ==========================================================
``"open_clip:ViT-B-32"``               image tower of any open_clip network
``"timm:resnet50"``                    any timm network (``"timm:resnet50.a1_in1k"`` with a tag)
``"torchvision:alexnet"``              any torchvision classifier
``"phantom-clip"``                     the small CLIP that ships with neuro
a ``torch.nn.Module``                  a copy of it, as it is now
=====================================  ==========================================================

Weights are never random by accident: ``pretrained=None`` says "untrained" and takes a seed, anything else must load
completely or fail.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import pickle
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from neuro.errors import CorruptFile, DownloadError, UnknownModel, nearest
from neuro.features.fingerprint import describe_module, hash_weights
from neuro.features.preprocess import Preprocess

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz", ".tar")
LIBRARIES = ("open_clip", "timm", "torchvision")


class _Default:
    def __repr__(self) -> str:
        return "the library's default weights"


DEFAULT: Any = _Default()
"""Stands for ``pretrained`` not being given."""


@dataclass(frozen=True, eq=False)
class Network:
    """A loaded network: float32, on the CPU, in evaluation mode.

    Attributes
    ----------
    name : str
    module : torch.nn.Module
        The part that sees images; for text, a module from tokens to embeddings.
    preprocess : Preprocess or None
        The network's own; None for a user's module.
    weights : str
        Where they came from, in words.
    trained : bool
    identity : dict
        What a fingerprint must contain; the weights by their bytes.
    whole : torch.nn.Module or None
        The complete image-text model of open_clip networks.
    """

    name: str
    module: torch.nn.Module
    preprocess: Preprocess | None
    weights: str
    trained: bool
    identity: dict[str, Any]
    whole: torch.nn.Module | None = None


def load_network(
    model: str | torch.nn.Module,
    pretrained: Any = DEFAULT,
    seed: int = 0,
    model_kwargs: Mapping[str, Any] | None = None,
    keep_text: bool = False,
) -> Network:
    """Load a network by name, or wrap a module.

    Parameters
    ----------
    model : str or torch.nn.Module
    pretrained : str, path, True or None
        A tag of the library (``"laion2b_s34b_b79k"``), a file of weights, True for the library's default weights, or
        None for an untrained network. timm, torchvision and phantom-clip default to True; open_clip has no default.
    seed : int
        Of the random weights of an untrained network.
    model_kwargs : dict, optional
        Passed to the library's constructor.
    keep_text : bool
        Keep the text tower of open_clip networks.

    Raises
    ------
    UnknownModel
        No such library, network or tag; the nearest names are given.
    FileNotFoundError, CorruptFile
        The file of weights is missing, or does not fit the network.
    DownloadError
        The weights had to be fetched and could not be.
    """
    kwargs = dict(model_kwargs or {})
    if isinstance(model, torch.nn.Module):
        return _from_module(model, pretrained, kwargs)
    if isinstance(model, (str, os.PathLike)):
        text = os.fspath(model)
        if text == "phantom-clip":
            return _phantom(pretrained, seed, kwargs, keep_text)
        library, _, name = text.partition(":")
        if library in LIBRARIES and name:
            if pretrained is False:
                pretrained = None
            load = {"open_clip": _open_clip, "timm": _timm, "torchvision": _torchvision}[library]
            return load(name, pretrained, seed, kwargs, keep_text)
        raise UnknownModel(_unknown(text))
    raise UnknownModel(
        f"model must be a name such as 'timm:resnet50' or a torch.nn.Module, got {type(model).__name__}."
    )


def load_state_dict(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read a state dict from safetensors or from torch's own format; nothing in the file is ever executed."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights at {path}.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CorruptFile(
            f"{path} cannot be read as weights alone: it is damaged, or holds more than tensors and was refused. "
            f"Save the network's state_dict() as safetensors. ({_first_line(error)})"
        ) from error
    except Exception as error:
        if type(error).__name__ == "SafetensorError":
            raise CorruptFile(f"{path} is not a whole safetensors file ({error}).") from error
        raise
    for key in ("state_dict", "model_state_dict", "model", "module"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise CorruptFile(f"{path} does not hold a state dict (names -> tensors).")
    state = {str(k): v for k, v in state.items()}
    if state and all(k.startswith("module.") for k in state):
        state = {k.removeprefix("module."): v for k, v in state.items()}
    return state


def _from_module(module: torch.nn.Module, pretrained: Any, kwargs: dict[str, Any]) -> Network:
    if kwargs:
        raise ValueError("model_kwargs belong to networks given by name, not to a module.")
    own = copy.deepcopy(module)
    name, weights, trained = type(module).__name__, "as given", True
    if pretrained is None:
        weights, trained = "as given, declared untrained", False
    elif pretrained is not DEFAULT:
        _load_strictly(own, load_state_dict(pretrained), name, pretrained)
        weights = f"file {Path(pretrained).name}"
    return _network(name, own, None, weights, trained, {"source": "module"})


def _timm(name: str, pretrained: Any, seed: int, kwargs: dict[str, Any], keep_text: bool) -> Network:
    import timm

    _no_text(keep_text, f"timm:{name}")
    hub = name.startswith(("hf-hub:", "hf_hub:", "local-dir:"))
    if not hub and not timm.is_model(name):
        raise UnknownModel(
            f"timm has no network {name!r}{nearest(name, timm.list_models())} (timm.list_models() lists all)"
        )
    if "." in name and not hub and name not in timm.list_pretrained():
        base = name.split(".")[0]
        raise UnknownModel(f"timm has no weights {name!r}; {base} comes with {timm.list_pretrained(f'{base}.*')}.")
    if pretrained is DEFAULT:
        pretrained = True
    file = _weights_file(pretrained)
    if file is None and isinstance(pretrained, str):
        if "." in name:
            raise ValueError(f"the weights are named twice: {name!r} and pretrained={pretrained!r}.")
        name, pretrained = f"{name}.{pretrained}", True
        if name not in timm.list_pretrained():
            base = name.split(".")[0]
            raise UnknownModel(f"timm has no weights {name!r}; {base} comes with {timm.list_pretrained(f'{base}.*')}.")
    with _seeded(seed), _quiet(), _as_download(f"weights of timm:{name}", pretrained is True):
        module = timm.create_model(name, pretrained=pretrained is True, **kwargs)
    weights = _describe_weights(pretrained, file, seed)
    if file is not None:
        state = load_state_dict(file)
        adapt = getattr(sys.modules.get(type(module).__module__), "checkpoint_filter_fn", None)
        own = module.state_dict()
        if adapt is not None and {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in own.items()}:
            state = adapt(state, module)  # checkpoints of other authors, position embeddings of another size
        _load_strictly(module, state, f"timm:{name}", file)
    elif pretrained is True:
        tag = getattr(module, "pretrained_cfg", {}).get("tag")
        weights = f"tag {tag}" if tag else weights
    identity = {"source": "timm", "name": name.split(".")[0], "kwargs": _plain(kwargs)}
    own = _timm_preprocess(module, kwargs)
    return _network(f"timm:{name}", module, own, weights, pretrained is not None, identity)


def _timm_preprocess(module: torch.nn.Module, kwargs: Mapping[str, Any]) -> Preprocess:
    import timm

    config = timm.data.resolve_model_data_config(module)
    size = tuple(config["input_size"][-2:])
    if kwargs.get("img_size"):
        size = kwargs["img_size"] if isinstance(kwargs["img_size"], (tuple, list)) else (kwargs["img_size"],) * 2
    share = config["crop_pct"]
    mean = config["mean"]
    mode = {"center": "shortest", "squash": "squash", "border": "longest"}[config["crop_mode"] or "center"]
    return Preprocess(
        size=tuple(size),
        mean=mean,
        std=config["std"],
        interpolation="bicubic" if config["interpolation"] == "random" else config["interpolation"],
        fit=mode,
        resize_to=tuple(int(s // share) for s in size),
        fill=tuple(round(255 * m) for m in mean) if mode == "longest" else (0, 0, 0),
    )


def _open_clip(name: str, pretrained: Any, seed: int, kwargs: dict[str, Any], keep_text: bool) -> Network:
    import open_clip

    schema = name.startswith(("hf-hub:", "local-dir:"))
    known = open_clip.list_models()
    if not schema and name.replace("/", "-") not in known:
        raise UnknownModel(
            f"open_clip has no network {name!r}{nearest(name, known)} (open_clip.list_models() lists all)"
        )
    tags = [] if schema else open_clip.list_pretrained_tags_by_model(name)
    if not schema and (pretrained is DEFAULT or pretrained is True):
        raise ValueError(
            f"open_clip:{name} needs pretrained=: one of {tags}, the path of a file of weights, or None for an "
            "untrained network."
        )
    file = None if schema else _weights_file(pretrained)
    untrained = pretrained is None
    if not schema and file is None and not untrained and pretrained not in tags:
        raise UnknownModel(
            f"open_clip:{name} has no weights {pretrained!r}{nearest(pretrained, tags)} (its tags: {', '.join(tags)})"
        )
    if file is None and not untrained and not schema:
        tag = open_clip.get_pretrained_cfg(name, pretrained) or {}
        ours = (open_clip.get_model_config(name) or {}).get("quick_gelu", False)
        if tag.get("quick_gelu", False) and not ours:
            # open_clip only warns here and computes with another activation than the weights were trained with.
            kwargs.setdefault("force_quick_gelu", True)
    wanted = None if untrained or schema else str(file or pretrained)
    with _seeded(seed), _quiet(), _as_download(f"weights of open_clip:{name}", not untrained and file is None):
        if file is not None:
            load_state_dict(file) if file.suffix != ".npz" else None  # damaged files get our own error
        try:
            whole = open_clip.create_model(
                name,
                pretrained=wanted,
                load_weights=not untrained,
                pretrained_text=False,
                require_pretrained=not untrained,
                weights_only=True,
                **kwargs,
            )
        except (RuntimeError, AssertionError, KeyError) as error:
            if file is None:
                raise
            raise CorruptFile(f"{file} does not fit open_clip:{name}: {_first_line(error)}") from error
    identity = {"source": "open_clip", "name": _schema_name(name), "kwargs": _plain(kwargs)}
    weights = _describe_weights(pretrained, file, seed) if not schema or untrained else "of the model folder"
    return _clip_network(f"open_clip:{name}", whole, weights, not untrained, identity, keep_text)


def _phantom(pretrained: Any, seed: int, kwargs: dict[str, Any], keep_text: bool) -> Network:
    from neuro.features.phantom_clip import load_phantom_clip

    if kwargs:
        raise ValueError("phantom-clip takes no model_kwargs.")
    if pretrained not in (DEFAULT, True, False, None):
        raise ValueError(f"phantom-clip takes pretrained=True or None (untrained), got {pretrained!r}.")
    trained = pretrained is DEFAULT or pretrained is True
    with _seeded(seed), _quiet():
        whole = load_phantom_clip(pretrained=trained, seed=seed)[0]
    weights = "shipped with neuro" if trained else f"untrained, seed {seed}"
    identity = {"source": "phantom-clip", "name": "phantom-clip", "kwargs": {}}
    return _clip_network("phantom-clip", whole, weights, trained, identity, keep_text)


def _clip_network(name, whole, weights, trained, identity, keep_text) -> Network:
    import open_clip

    config = open_clip.get_model_preprocess_cfg(whole)
    size = config["size"]
    own = Preprocess(
        size=tuple(size) if isinstance(size, (tuple, list)) else (size, size),
        mean=config.get("mean", open_clip.OPENAI_DATASET_MEAN),
        std=config.get("std", open_clip.OPENAI_DATASET_STD),
        interpolation="bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
        fit=config.get("resize_mode") or "shortest",
        fill=config.get("fill_color") or 0,
    )
    network = _network(name, whole.visual, own, weights, trained, identity)
    return replace(network, whole=whole.eval().requires_grad_(False)) if keep_text else network


def _torchvision(name: str, pretrained: Any, seed: int, kwargs: dict[str, Any], keep_text: bool) -> Network:
    import torchvision.models

    _no_text(keep_text, f"torchvision:{name}")
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UnknownModel(f"torchvision has no network {name!r}{nearest(name, known)}")
    choices = torchvision.models.get_model_weights(name)
    if pretrained is DEFAULT:
        pretrained = True
    file = _weights_file(pretrained)
    chosen: Any = choices.DEFAULT
    if isinstance(pretrained, str) and file is None:
        names = [w.name for w in choices]
        if pretrained not in names:
            raise UnknownModel(f"torchvision:{name} has no weights {pretrained!r}; it comes with {names}.")
        chosen = choices[pretrained]
    fetch = pretrained is not None and file is None
    if not fetch:
        kwargs.setdefault("init_weights", True) if name in ("googlenet", "inception_v3") else None
    with _seeded(seed), _quiet(), _as_download(f"weights of torchvision:{name}", fetch):
        module = torchvision.models.get_model(name, weights=chosen if fetch else None, **kwargs)
    if file is not None:
        _load_strictly(module, load_state_dict(file), f"torchvision:{name}", file)
    preset = chosen.transforms()
    resize = getattr(preset, "resize_size", None) or preset.crop_size
    own = Preprocess(
        size=(preset.crop_size[0],) * 2,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
        resize_to=(resize[0],) * 2,
    )
    identity = {"source": "torchvision", "name": name, "kwargs": _plain(kwargs)}
    weights = f"tag {chosen.name}" if fetch else _describe_weights(pretrained, file, seed)
    return _network(f"torchvision:{name}", module, own, weights, pretrained is not None, identity)


def _network(name, module, own, weights, trained, identity) -> Network:
    module = module.eval().requires_grad_(False)
    if any(t.is_meta for t in module.state_dict().values() if isinstance(t, torch.Tensor)):
        raise ValueError(f"{name} has parameters on the meta device, without values: load its weights first.")
    if identity["source"] in ("module", "phantom-clip") or identity.get("name", "").startswith(("local-dir", "hf-hub")):
        identity = {**identity, **describe_module(module)}
    identity = {**identity, "weights": hash_weights(module)}
    return Network(name, module, own, weights, trained, identity)


def _load_strictly(module: torch.nn.Module, state: Mapping[str, torch.Tensor], name: str, path: Any) -> None:
    own = module.state_dict()
    missing, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    shapes = [
        f"{k} is {tuple(state[k].shape)} in the file, {tuple(own[k].shape)} in the network"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    missing = [k for k in missing if not k.endswith("num_batches_tracked")]
    if missing or extra or shapes:
        said = [f"{len(missing)} tensors missing (first {missing[0]})"] if missing else []
        said += [f"{len(extra)} unknown (first {extra[0]})"] if extra else []
        said += [f"{len(shapes)} of another shape ({shapes[0]})"] if shapes else []
        raise CorruptFile(
            f"{path} does not fit {name}: {'; '.join(said)}. Are the network's options (model_kwargs) right?"
        )
    module.load_state_dict(dict(state), strict=False)


def _weights_file(pretrained: Any) -> Path | None:
    """Return ``pretrained`` as the path of a file; None where it is not one; a path that leads nowhere is an error."""
    if isinstance(pretrained, os.PathLike) or (isinstance(pretrained, str) and Path(pretrained).is_file()):
        path = Path(pretrained)
        if not path.is_file():
            raise FileNotFoundError(f"no file of weights at {path}.")
        return path
    if isinstance(pretrained, str) and (os.sep in pretrained or pretrained.endswith(WEIGHT_SUFFIXES)):
        raise FileNotFoundError(f"no file of weights at {pretrained}.")
    return None


def _describe_weights(pretrained: Any, file: Path | None, seed: int) -> str:
    if pretrained is None:
        return f"untrained, seed {seed}"
    return f"file {file.name}" if file is not None else "default" if pretrained is True else f"tag {pretrained}"


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random weights from ``seed``, leaving torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' own notices away; what matters is checked and raised here."""
    root, before = logging.getLogger(), logging.getLogger().level
    silent = logging.NullHandler()  # without any handler, logging.info() would install one for the whole process
    root.addHandler(silent)
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(before)
        root.removeHandler(silent)


@contextlib.contextmanager
def _as_download(what: str, fetching: bool) -> Iterator[None]:
    """Turn a failed fetch into one clear error."""
    try:
        yield
    except Exception as error:
        chain = f"{type(error).__name__} {error} {type(error.__cause__).__name__} {type(error.__context__).__name__}"
        signs = (
            "download",
            "Connect",
            "URLError",
            "HTTP",
            "LocalEntryNotFound",
            "OfflineMode",
            "resolve",
            "Failed initial",
        )
        if not fetching or isinstance(error, (CorruptFile, UnknownModel)) or not any(s in chain for s in signs):
            raise
        raise DownloadError(
            f"{what} could not be fetched ({_first_line(error)}). Check the connection (HF_HUB_OFFLINE=1 keeps the hub "
            "from being asked), or give pretrained=<file of weights>, or pretrained=None for an untrained network."
        ) from error


def _unknown(text: str) -> str:
    library, _, name = text.partition(":")
    if name:
        return (
            f"no library {library!r}{nearest(library, [*LIBRARIES, 'phantom-clip'])} (there are {', '.join(LIBRARIES)})"
        )
    import open_clip
    import timm

    options = [
        "phantom-clip",
        *(f"timm:{n}" for n in timm.list_models()),
        *(f"open_clip:{n}" for n in open_clip.list_models()),
    ]
    exact = [o for o in options if o.partition(":")[2] == text]
    hint = f"; did you mean {' or '.join(map(repr, exact))}?" if exact else ""
    if not hint:
        bare = nearest(text, [o.partition(":")[2] or o for o in options])
        hint = bare or "."
    return f"no network {text!r}{hint} Names start with their library: 'timm:resnet50', 'open_clip:ViT-B-32'."


def _schema_name(name: str) -> str:
    """Name for fingerprints: a local folder's path does not matter, only what is in it."""
    return "local-dir" if name.startswith("local-dir:") else name


def _plain(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    keep = (str, int, float, bool, type(None))
    return {k: v if isinstance(v, keep) else repr(v) for k, v in sorted(kwargs.items())}


def _no_text(wanted: bool, name: str) -> None:
    if wanted:
        raise UnknownModel(f"{name} has no text tower: use an open_clip network or 'phantom-clip'.")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
