"""Files of models against files of measured geometry: what ``neuro rsa`` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from neuro.data.read import read_array
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.features.store import FeatureStore
from neuro.rsa import RDMs, Result, evaluate, load_rdms, rdm
from neuro.stats import fdr


def compare_files(
    data: str | Path,
    *,
    key: str | None = None,
    responses: bool = False,
    transpose: bool = False,
    axes: Sequence[str] = (),
    average: Sequence[str] = (),
    models: Sequence[str | Path] = (),
    features: str | Path | None = None,
    layers: Sequence[str] | None = None,
    metric: str = "correlation",
    method: str = "corr",
    resample: str | None = None,
    n_boot: int = 1000,
    seed: int = 0,
) -> tuple[Result, pd.DataFrame]:
    """Evaluate model RDMs and layers of a feature store against RDMs or responses in files.

    Parameters
    ----------
    data : path
        Measured RDMs (see :func:`load_rdms`), or with ``responses`` a matrix with one row per image.
    key, axes
        As for :func:`load_rdms`.
    responses, transpose : bool
    average : names of axes
        Averaged over, such as "session".
    models : paths of model RDMs
    features : path of a feature store, optional
    layers : names, optional
    metric : str
        Of responses and features.
    method, resample, n_boot, seed
        As for :func:`evaluate`; ``resample`` is by default "dual" for three subjects or more, else "stimulus".

    Returns
    -------
    Result, and its table with a column ``q`` (p against 0, controlled for the number of models)

    Raises
    ------
    EmptySelection, ShapeMismatch, ValueError, FileNotFoundError
    """
    if not models and features is None:
        raise EmptySelection("no model: give files of model RDMs (models) or a feature store (features).")
    if responses:
        Y = np.asarray(read_array(data, key), dtype=float)
        measured = rdm(Y.T if transpose else Y, metric)
    else:
        measured = load_rdms(data, key, axes=axes, average=average)
    stacks = []
    for path in models:
        stack = load_rdms(path)
        names = stack.names if stack.n_rdms > 1 or "name" in stack.table else [Path(path).stem]
        stacks.append(stack.with_table({"name": names}))
    if features is not None:
        stacks.append(_layers(features, layers, metric))
    for stack in stacks:
        if stack.n_conditions != measured.n_conditions:
            raise ShapeMismatch(
                f"{stack.names[0]} has {stack.n_conditions} conditions, the measured RDMs {measured.n_conditions}."
            )
    # Files without names are in one order; where names are known on one side only, they are taken over.
    named = next((s for s in (measured, *stacks) if s.named), None)
    if named is not None:
        measured, *stacks = (s if s.named else s.with_conditions(named.conditions) for s in (measured, *stacks))
    candidates = stacks[0].concat(*stacks[1:])
    n_subjects = len(measured.levels("subject")) if "subject" in measured.table else measured.n_rdms
    resample = resample or ("dual" if n_subjects >= 3 else "stimulus")
    result = evaluate(candidates, measured, method, resample=resample, n_boot=n_boot, rng=seed)
    table = result.to_frame()
    return result, table.assign(q=fdr(table["p_zero"].to_numpy(float)))


def _layers(folder: str | Path, layers: Sequence[str] | None, metric: str) -> RDMs:
    store = FeatureStore.open(folder)
    names = list(layers) if layers else list(store.layers)
    stacks = [rdm(store.rows(name), metric) for name in names]
    return stacks[0].concat(*stacks[1:]).with_table({"name": names})
