"""One layer of a feature store against one matrix of responses: what ``neuro encode`` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._files import atomic_path, write_json
from neuro.data import Responses
from neuro.data.read import read_array
from neuro.errors import ShapeMismatch
from neuro.features.store import FeatureStore
from neuro.study.config import EncoderConfig, EvaluationConfig
from neuro.study.evaluate import evaluate, make_design


def encode_files(
    features: str | Path,
    layer: str,
    responses: str | Path,
    output: str | Path,
    *,
    key: str | None = None,
    transpose: bool = False,
    folds: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """Cross-validate voxelwise ridge and write ``scores.tsv``, ``prediction.npy`` and ``encode.json`` into ``output``.

    Parameters
    ----------
    features : folder of a feature store
    layer : str
    responses : file
        One row per row of the store, in its order (columns if ``transpose``).
    output : folder
        Replaced as a whole.
    key : str, optional
        Variable inside the file.
    folds, seed : int
        Outer folds over images.

    Returns
    -------
    dict with median_r, mean_r, n_voxels, n_images, output
    """
    store = FeatureStore.open(features)
    X = store.rows(layer)
    Y = np.asarray(read_array(responses, key), dtype=np.float32)
    Y = Y.T if transpose else Y
    if len(Y) != len(X):
        hint = " Use --transpose." if Y.ndim == 2 and Y.shape[1] == len(X) else ""
        raise ShapeMismatch(f"{len(X):,} rows in the store, responses of shape {Y.shape} in {responses}.{hint}")
    data = Responses(Y, pd.DataFrame({"stimulus": store.ids}))
    design, _, valid = make_design(data, EvaluationConfig(folds=folds), seed)
    order = store.positions(design.stimulus)
    found = evaluate(X[order], design, EncoderConfig(), seed)
    r, alpha = (np.full(len(valid), np.nan) for _ in range(2))
    r[valid], alpha[valid] = found["r"], found["alpha"]
    summary = {
        "median_r": float(np.nanmedian(r)),
        "mean_r": float(np.nanmean(r)),
        "n_voxels": int(valid.sum()),
        "n_images": len(X),
        "output": str(output),
    }
    with atomic_path(output, directory=True) as folder:
        table = pd.DataFrame({"voxel": np.arange(len(r)), "r": r, "alpha": alpha})
        table.to_csv(folder / "scores.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.6g")
        prediction = np.full((len(X), len(valid)), np.nan, np.float32)
        prediction[np.ix_(order[design.tested], np.flatnonzero(valid))] = found["prediction"]
        np.save(folder / "prediction.npy", prediction, allow_pickle=False)
        settings = {"layer": layer, "folds": folds, "seed": seed, "features": store.fingerprint}
        write_json(folder / "encode.json", summary | settings)
    return summary
