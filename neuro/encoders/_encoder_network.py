"""A network as a recipe: what must be known to open it again, without its weights and without code.

Names, tags, settings and seeds are written, with a hash of the weights. Paths are not: what was read from a file, or
was a module of the user's own, is asked for again.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from neuro.encoders._encoder_pixels import projection_of
from neuro.errors import CorruptFile, UnknownModel
from neuro.features.extractor import Extractor
from neuro.features.models import DEFAULT, LIBRARIES
from neuro.features.pipeline import FeatureSource, versions
from neuro.features.preprocess import Preprocess
from neuro.features.projection import PCA, SparseProjection
from neuro.features.sources import CONTROLS, open_source

PCA_FIELDS = ("mean", "components", "variance", "explained")


def card_of(encoder: Any) -> dict[str, Any]:
    """Return what one must know to use an encoder, as plain values."""
    source, ceiling = encoder.extractor, encoder.ceiling
    size = getattr(getattr(source, "preprocess", None), "size", None)
    rois = {name: int(encoder.voxels.roi(name).sum()) for name in encoder.voxels.labels()}
    if ceiling is not None:
        middle = {"mean": float(np.nanmean(ceiling)), "median": float(np.nanmedian(ceiling))}
        ceiling = {"unit": "share of variance", **middle}
    return {
        "input": {
            "tensor": "float (n, 3, height, width), 0 to 1, differentiable",
            "array": "uint8 (n, height, width, 3), 0 to 255",
            "range": [0.0, 1.0],
            "colour_order": "RGB",
            "size": None if size is None else [int(s) for s in size],
        },
        "network": describe_network(source),
        "layers": dict(encoder.layers),
        "scaled": sorted(encoder._scaler),
        "estimator": encoder.about_estimator,
        "output": {"n_voxels": encoder.n_voxels, "index": encoder.index.tolist(), "rois": rois},
        "ceiling": ceiling,
        "license": encoder.license or license_of(source),
        "versions": versions(),
    }


def describe_network(source: FeatureSource) -> dict[str, Any]:
    """Return name, origin and hash of the weights, and precision."""
    identity = source.identity()
    return {
        "name": source.name,
        "weights": source.info().get("weights"),
        "hash": identity["network"].get("weights"),
        "precision": identity.get("precision"),
    }


def license_of(source: FeatureSource) -> str | None:
    """Return the license that a library states for a network's weights; None where it states none."""
    if not isinstance(source, Extractor):
        return "BSD-3-Clause (computed by neuro)"
    if not source.network.trained or source.network.weights.startswith("file "):
        return None
    if source.network.name == "phantom-clip":
        return "BSD-3-Clause (ships with neuro)"
    return (getattr(source.network.module, "pretrained_cfg", None) or {}).get("license") or None


def recipe_of(source: FeatureSource, layers: list[str], arrays: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return how a source is opened again to read ``layers``; principal components go into ``arrays``."""
    if not isinstance(source, Extractor):
        return _control(source)
    network = source.network
    return {
        "source": source_of(network.name),
        "name": network.name,
        "weights": network.weights,
        "trained": network.trained,
        "hash": network.identity["weights"],
        "kwargs": network.identity.get("kwargs", {}),
        "seed": source.seed,
        "preprocess": source.preprocess.to_dict(),
        "precision": source.precision.name,
        "batch_size": source.batch_size,
        "dtype": source.dtype,
        "memory_format": source.memory_format,
        "pool": {name: source.pool_of(name) for name in layers},
        "project": {name: _projection(source, name, arrays) for name in layers},
    }


def source_of(name: str) -> str:
    """Return the library that a network's name names, or "module"."""
    library = name.partition(":")[0]
    return library if library in (*LIBRARIES, "phantom-clip") else "module"


def _projection(source: Extractor, layer: str, arrays: dict[str, torch.Tensor]) -> dict[str, Any] | None:
    projection = projection_of(source, layer)
    if isinstance(projection, SparseProjection):
        return {"kind": "sparse", **{k: getattr(projection, k) for k in ("n_components", "seed", "per_input")}}
    if isinstance(projection, PCA):
        arrays |= {f"pca.{layer}.{k}": torch.from_numpy(getattr(projection, k).copy()) for k in PCA_FIELDS}
        return {"kind": "pca", "fit_ids": projection.fit_ids.tolist()}
    return None


def _control(source: FeatureSource) -> dict[str, Any]:
    known = {kind: name for name, (_, kind) in CONTROLS.items()}
    kind = type(source).__name__
    if kind not in known:
        raise UnknownModel(f"{kind} cannot be stored as a recipe; an Extractor or one of {sorted(known)} can.")
    options = {}
    for name in inspect.signature(type(source)).parameters:
        value = getattr(source, "frequencies" if name == "scales" else name)
        options[name] = list(value) if isinstance(value, tuple) else value
    return {"source": "control", "name": known[kind], "options": options}


def open_network(
    recipe: Mapping[str, Any],
    arrays: Mapping[str, torch.Tensor],
    module: Any = None,
    pretrained: Any = None,
    preprocess: Any = None,
    device: Any = None,
) -> FeatureSource:
    """Open the source that ``recipe_of`` described; weights of another hash are an error."""
    if recipe["source"] == "control":
        if recipe["name"] not in CONTROLS:
            raise CorruptFile(f"the file names the control {recipe['name']!r}; there are {sorted(CONTROLS)}.")
        return open_source(recipe["name"], **recipe["options"])
    source = Extractor(
        _model(recipe, module),
        weights_to_open(recipe, pretrained),
        pool=dict(recipe["pool"]),
        project={name: _open_projection(name, one, arrays) for name, one in recipe["project"].items() if one},
        seed=recipe["seed"],
        device=device,
        precision=recipe["precision"],
        batch_size=recipe["batch_size"],
        preprocess=_open_preprocess(recipe["preprocess"], preprocess),
        input_size=recipe["preprocess"]["size"] if "function" in recipe["preprocess"] else None,
        model_kwargs={k: _revived(v) for k, v in recipe["kwargs"].items()},
        memory_format=recipe["memory_format"],
        dtype=recipe["dtype"],
    )
    if source.network.identity["weights"] != recipe["hash"]:
        raise UnknownModel(
            f"{recipe['name']} has other weights than the network that this encoder was fitted on (fingerprint "
            f"{source.network.identity['weights']} instead of {recipe['hash']}; it had: {recipe['weights']}). "
            "Give the network with the weights of then."
        )
    return source


def _model(recipe: Mapping[str, Any], module: Any) -> Any:
    own = recipe["source"] == "module" or ":local-dir:" in recipe["name"]
    if own and module is None:
        raise UnknownModel(
            f"this encoder was fitted on {recipe['name']}, which no library has: give it again with module=."
        )
    if not own and module is not None:
        raise UnknownModel(f"this encoder was fitted on {recipe['name']}, which is opened by name: leave out module=.")
    return module if own else recipe["name"]


def weights_to_open(recipe: Mapping[str, Any], pretrained: Any) -> Any:
    """Return what ``Extractor`` is given as ``pretrained``."""
    origin = recipe["weights"]
    if origin.startswith("file "):
        if pretrained is None:
            raise UnknownModel(
                f"the weights of {recipe['name']} were read from the {origin}: give its path with pretrained=."
            )
        return pretrained
    if pretrained is not None:
        raise UnknownModel(f"the weights of {recipe['name']} are {origin}: leave out pretrained=.")
    if recipe["source"] == "module":
        return DEFAULT if recipe["trained"] else None
    if not recipe["trained"]:
        return None
    tag = origin.removeprefix("tag ")
    named = "." in recipe["name"].partition(":")[2] and recipe["source"] == "timm"  # the tag is in the name
    return tag if tag != origin and not named else DEFAULT


def _open_projection(layer: str, about: Mapping[str, Any], arrays: Mapping[str, torch.Tensor]) -> Any:
    if about["kind"] == "sparse":
        return SparseProjection(about["n_components"], about["seed"], about["per_input"])
    fields = {k: arrays[f"pca.{layer}.{k}"].numpy() for k in PCA_FIELDS}
    return PCA(**fields, fit_ids=np.array(about["fit_ids"]))


def _open_preprocess(about: Mapping[str, Any], given: Any) -> Any:
    if "function" not in about:
        if given is not None:
            raise ValueError("this encoder knows its preprocessing: leave out preprocess=.")
        return Preprocess(**about)
    if given is None:
        raise UnknownModel(f"the pictures were preprocessed by {about['function']}: give it again with preprocess=.")
    return given


def _revived(value: Any) -> Any:
    """Return a keyword that a network's identity keeps as text, such as ``"(64, 64)"``, as what it was."""
    if isinstance(value, str) and value[:1] in "([":
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return value
    return value
