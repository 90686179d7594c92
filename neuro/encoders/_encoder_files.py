"""Encoders as files: a recipe of the network, arrays as safetensors, and everything else as JSON.

The network's weights are not copied. The stored features of a picture of noise tell whether the network that is opened
again computes what the one that was saved did.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from neuro._files import atomic_path, read_json, write_json
from neuro.data import Voxels
from neuro.encoders._encoder_network import open_network, recipe_of
from neuro.encoders._encoder_pixels import features_of_pictures
from neuro.encoders._encoder_readout import UNITS, LinearReadout, TokenReadout, check_shapes
from neuro.encoders._gradient import GradientEncoder
from neuro.encoders._tokens import Tokens
from neuro.encoders.attention import AttentionEncoder
from neuro.encoders.factorised import FactorisedEncoder
from neuro.encoders.receptive import ReceptiveFieldRidgeCV
from neuro.errors import CorruptFile, NeuroError, ShapeMismatch, UnknownModel
from neuro.features.extractor import Extractor
from neuro.linear._arrays import array_of

FORMAT = "neuro encoder 1"
ABOUT, ARRAYS = "encoder.json", "arrays.safetensors"
TOKEN_CLASSES = {c.__name__: c for c in (AttentionEncoder, FactorisedEncoder, ReceptiveFieldRidgeCV)}
FIELDS = ("fields_", "field_", "coef_", "intercept_", "x_", "y_", "size_")  # of a ReceptiveFieldRidgeCV
SETTINGS = ("extent", "nonlinearity", "grid", "memory_limit")
SAME, ROUGHLY_SAME = 1e-3, 0.05  # relative errors of the same network: in float32, in a lower precision


def check_fitted(estimator: Any) -> None:
    """Say what to do about an estimator that is not fitted."""
    check_is_fitted(
        estimator,
        msg="estimator must be fitted before it is joined to an extractor, but this %(name)s is not: call its fit, or "
        "Encoder.fit with images.",
    )


def describe_estimator(estimator: Any) -> dict[str, Any]:
    """Return class and settings of an estimator, as far as they are plain values."""
    params = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    plain = (str, int, float, bool, type(None))
    return {"class": type(estimator).__name__, "params": {k: v for k, v in params.items() if isinstance(v, plain)}}


def save(encoder: Any, folder: Path) -> Path:
    """Write an encoder's folder."""
    from safetensors.torch import save_file

    arrays: dict[str, torch.Tensor] = {"index": torch.from_numpy(encoder.index)}
    about: dict[str, Any] = {
        "format": FORMAT,
        "network": recipe_of(encoder.extractor, list(dict.fromkeys(encoder.layers.values())), arrays),
        "layers": encoder.layers,
        "scaled": list(encoder._scaler),
        "estimator": encoder.about_estimator,
        "license": encoder.license,
        "card": encoder.card,
    }
    for i, (mean, scale) in enumerate(encoder._scaler.values()):
        arrays |= {f"scaler.{i}.mean": mean, f"scaler.{i}.scale": scale}
    if encoder.ceiling is not None:
        arrays["ceiling"] = torch.from_numpy(encoder.ceiling)
    arrays["probe"] = _probe(encoder)
    with atomic_path(folder, directory=True) as temporary:
        about["readout"] = _save_readout(encoder._readout, temporary, arrays)
        encoder.voxels.save(temporary / "voxels")
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in arrays.items()}, temporary / ARRAYS)
        write_json(temporary / ABOUT, about)
    return folder


def _save_readout(readout: Any, folder: Path, arrays: dict[str, torch.Tensor]) -> dict[str, Any]:
    if isinstance(readout, LinearReadout):
        arrays |= {"weights": readout.weights, "bias": readout.bias}
        return {"kind": "linear", "unit": readout.unit}
    estimator = readout.estimator
    arrays["columns"] = readout.columns
    about = {"kind": "tokens", "class": type(estimator).__name__, "shapes": readout.shapes, "special": readout.special}
    if isinstance(estimator, GradientEncoder):
        estimator.save(folder / "estimator")
        return about
    arrays |= {f"field.{name}": torch.as_tensor(array_of(getattr(estimator, name))) for name in FIELDS}
    about["settings"] = {name: getattr(estimator, name) for name in SETTINGS}
    about["grids"] = {name: [*tokens.grid, tokens.n_channels] for name, tokens in estimator.layers_.items()}
    return about


def load(cls: Any, folder: Path, module: Any, pretrained: Any, preprocess: Any, device: Any) -> Any:
    """Read an encoder's folder and open its network."""
    about, arrays = _read(folder)
    try:
        source = open_network(about["network"], arrays, module, pretrained, preprocess, device)
        encoder = object.__new__(cls)
        readout, estimator = _open_readout(about["readout"], arrays, folder)
        scaler = {k: (arrays[f"scaler.{i}.mean"], arrays[f"scaler.{i}.scale"]) for i, k in enumerate(about["scaled"])}
        check_shapes(readout, about["layers"], source)
        voxels = Voxels.load(folder / "voxels")
        encoder._assemble(source, about["layers"], readout, scaler, voxels, arrays.get("ceiling"), about["license"])
        encoder.estimator, encoder.about_estimator = estimator, about["estimator"]
        encoder.index, probe = arrays["index"].numpy(), arrays["probe"]
        if encoder.index.shape != (len(readout),):
            raise ShapeMismatch(f"index must be of {len(readout):,} voxels, got {encoder.index.shape}.")
    except NeuroError as error:
        if isinstance(error, ShapeMismatch):
            raise ShapeMismatch(f"{folder} holds files that do not fit each other: {error}") from error
        raise
    except (KeyError, TypeError, AttributeError, IndexError, OSError) as error:
        raise CorruptFile(f"{folder} is not a whole encoder ({type(error).__name__}: {error}).") from error
    _check_probe(encoder, probe)
    return encoder


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    missing = [name for name in (ABOUT, ARRAYS) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"no encoder in {folder}: {' and '.join(missing)} missing. Encoder.save writes them.")
    try:
        about, arrays = read_json(folder / ABOUT), load_file(folder / ARRAYS)
    except (SafetensorError, ValueError) as error:
        raise CorruptFile(f"{folder} holds damaged files ({error}).") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise CorruptFile(f"{folder / ABOUT} must say format {FORMAT!r}.")
    return about, arrays


def _open_readout(about: dict[str, Any], arrays: dict[str, torch.Tensor], folder: Path) -> tuple[Any, Any]:
    if about["kind"] == "linear":
        weights, bias = arrays["weights"], arrays["bias"]
        if weights.ndim != 2 or bias.shape != weights.shape[:1] or about["unit"] not in UNITS:
            raise ShapeMismatch(
                "weights must be (n_voxels, n_features) and bias (n_voxels,), got "
                f"{tuple(weights.shape)} and {tuple(bias.shape)}."
            )
        return LinearReadout(weights, bias, about["unit"]), None
    if about["class"] not in TOKEN_CLASSES:
        raise CorruptFile(f"the file names the estimator {about['class']!r}; known are {sorted(TOKEN_CLASSES)}.")
    kind = TOKEN_CLASSES[about["class"]]
    estimator = _open_fields(about, arrays) if kind is ReceptiveFieldRidgeCV else kind.load(folder / "estimator")
    shapes = {name: tuple(shape) for name, shape in about["shapes"].items()}
    special = {name: tuple(places) for name, places in about["special"].items()}
    return TokenReadout(estimator, shapes, special, arrays["columns"]), estimator


def _open_fields(about: dict[str, Any], arrays: dict[str, torch.Tensor]) -> ReceptiveFieldRidgeCV:
    estimator = ReceptiveFieldRidgeCV(**{name: about["settings"][name] for name in SETTINGS})
    found = {name: arrays[f"field.{name}"].numpy() for name in FIELDS}
    n, n_fields = len(np.atleast_2d(found["coef_"])), len(found["fields_"])
    sizes = {name: np.atleast_1d(found[name]).shape[0] for name in ("field_", "intercept_", "x_", "y_", "size_")}
    if any(size != n for size in sizes.values()) or not 0 <= found["field_"].min() <= found["field_"].max() < n_fields:
        raise ShapeMismatch(f"receptive fields must be those of {n:,} voxels among {n_fields:,}, got {sizes}.")
    for name, value in found.items():
        setattr(estimator, name, value if value.ndim else value[()])
    estimator.layers_ = {name: Tokens(None, (g[0], g[1]), g[2]) for name, g in about["grids"].items()}
    return estimator


def _probe(encoder: Any) -> torch.Tensor:
    """Return the features of a picture of noise, layers side by side."""
    source = encoder.extractor
    height, width = getattr(getattr(source, "preprocess", None), "size", (64, 64))
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    layers = list(dict.fromkeys(encoder.layers.values()))
    return torch.cat(list(features_of_pictures(source, [picture], layers).values()), 1)


def _check_probe(encoder: Any, then: torch.Tensor) -> None:
    now = _probe(encoder)
    if now.shape != then.shape:
        raise ShapeMismatch(f"probe must be of shape {tuple(now.shape)}, got {tuple(then.shape)}.")
    error = float(torch.linalg.vector_norm(now - then) / torch.linalg.vector_norm(then).clamp(min=1e-12))
    exact = not isinstance(encoder.extractor, Extractor) or encoder.extractor.precision.name == "float32"
    if not error <= (SAME if exact else ROUGHLY_SAME):
        raise UnknownModel(
            f"{encoder.extractor.name} does not compute what it did when the encoder was saved: the features of the "
            f"stored picture of noise differ by {error:.2g} of their size. Was the network's code, activation or "
            "preprocessing changed?"
        )
