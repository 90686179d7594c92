"""Layers of a feature store against one matrix of responses: what ``neuro encode`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._files import atomic_path, write_json
from neuro.data import Responses
from neuro.data.read import read_array
from neuro.encoders import split_scores
from neuro.errors import ShapeMismatch
from neuro.features.store import FeatureStore
from neuro.stats import pearson_r, r2
from neuro.study.config import EncoderConfig, EvaluationConfig
from neuro.study.encode_config import KINDS, EncodeConfig
from neuro.study.encode_fit import predict_folds
from neuro.study.encode_inputs import check_inputs, make_estimator, read_inputs
from neuro.study.evaluate import Design, centre_folds, evaluate, make_design


def encode_files(
    features: str | Path,
    layers: str | Sequence[str],
    responses: str | Path,
    output: str | Path,
    *,
    encoder: str = "ridge",
    network: str | None = None,
    options: Mapping[str, Any] | None = None,
    key: str | None = None,
    transpose: bool = False,
    folds: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """Cross-validate an encoder and write ``scores.tsv``, ``prediction.npy`` and ``encode.json`` into ``output``.

    Parameters
    ----------
    features : folder of a feature store
    layers : name or list of names
        Several are feature spaces for "banded", "multiple-kernel" and "stacked", which need two or more; others read
        them side by side.
    responses : file
        One row per row of the store, in its order (columns if ``transpose``).
    output : folder
        Replaced as a whole.
    encoder : str
        One of :data:`neuro.study.encode_config.KINDS`.
    network : path, optional
        Folder of a trained in-context network, or "phantom".
    options : dict, optional
        Arguments of the encoder's class.
    key : str, optional
        Variable inside the file.
    folds, seed : int
        Outer folds over images.

    Returns
    -------
    dict with median_r, mean_r, n_voxels, n_images, output; ``shares`` (mean R2 of each feature space, product measure)
    where there are some

    Raises
    ------
    StudyError, ShapeMismatch, FileNotFoundError
        Before any work.
    """
    store = FeatureStore.open(features)
    names = [layers] if isinstance(layers, str) else list(layers)
    entry = _entry(store, Path(features).name, encoder, names, network, options or {})
    Y = np.asarray(read_array(responses, key), dtype=np.float32)
    Y = Y.T if transpose else Y
    if len(Y) != len(store):
        hint = " Use --transpose." if Y.ndim == 2 and Y.shape[1] == len(store) else ""
        raise ShapeMismatch(f"{len(store):,} rows in the store, responses of shape {Y.shape} in {responses}.{hint}")
    data = Responses(Y, pd.DataFrame({"stimulus": store.ids}))
    design, _, valid = make_design(data, EvaluationConfig(folds=folds), seed)
    found, prediction = _score(entry, store, Path(features).name, design, seed)
    table = pd.DataFrame({"voxel": np.arange(len(valid))})
    for column, values in found.items():
        table[column] = np.nan
        table.loc[valid, column] = values
    summary = {
        "median_r": float(np.nanmedian(found["r"])),
        "mean_r": float(np.nanmean(found["r"])),
        "n_voxels": int(valid.sum()),
        "n_images": len(store),
        "output": str(output),
    }
    shares = {k.removeprefix("share_"): float(np.nanmean(v)) for k, v in found.items() if k.startswith("share_")}
    summary |= {"shares": shares} if shares else {}
    with atomic_path(output, directory=True) as folder:
        table.to_csv(folder / "scores.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.6g")
        whole = np.full((len(store), len(valid)), np.nan, np.float32)
        whole[np.ix_(store.positions(design.stimulus)[design.tested], np.flatnonzero(valid))] = prediction
        np.save(folder / "prediction.npy", whole, allow_pickle=False)
        settings = {"layer": names[0] if len(names) == 1 else names, "encoder": encoder, "options": dict(options or {})}
        settings |= {"network": network, "folds": folds, "seed": seed, "features": store.fingerprint}
        write_json(folder / "encode.json", summary | settings)
    return summary


def _entry(
    store: FeatureStore, model: str, encoder: str, layers: list[str], network: str | None, options: Mapping[str, Any]
) -> EncodeConfig:
    """Return what the command line asks for as an entry of a study, checked."""
    for layer in layers:
        store[layer]  # names the nearest one
    bands = encoder in KINDS and KINDS[encoder].reads == "bands"
    what: dict[str, Any] = {"bands": {k: (model, k) for k in layers}} if bands else {"model": model, "layer": layers}
    entry = EncodeConfig(encoder, encoder, **what, network=network, options=options)
    known = store.manifest["layers"]
    specs = {k: {"shape": shape, "spec": known[k].get("spec")} for k, shape in store.layers.items()}
    check_inputs([entry], {model: specs}, Path, where="--encoder {name}")
    return entry


def _score(
    entry: EncodeConfig, store: FeatureStore, model: str, design: Design, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return columns of values per voxel, and the prediction in the order of ``design.tested``."""
    inputs = read_inputs(entry, {model: store}, design.stimulus)
    if entry.kind == "ridge" and not entry.options:
        X = np.concatenate(list(inputs.data.values()), axis=1)
        found = evaluate(X, design, EncoderConfig(), seed)
        return {"r": found["r"], "alpha": found["alpha"]}, found["prediction"]
    split = inputs.reads == "bands"
    prediction, parts, fitted = predict_folds(
        make_estimator(entry, seed=seed, z_scored=False), inputs, design, split=split
    )
    truth = centre_folds(design.Y[design.tested], design)
    values = {"r": pearson_r(truth, prediction)}
    if split:
        shares = split_scores(truth, parts, "product")
        values |= {"r2": r2(truth, prediction), **{f"share_{name}": share for name, share in shares.items()}}
    if entry.kind == "receptive-field":
        values |= {"x": fitted.x_, "y": fitted.y_, "size": fitted.size_}
    return values, prediction
