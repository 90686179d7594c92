"""RDMs from the files people have: npy, npz, MATLAB (also structs of the RSA toolbox), tables, saved RDMs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro.data.read import read_array
from neuro.errors import CorruptFile, ShapeMismatch, nearest
from neuro.rsa.container import RDMs

KINDS = (".npy", ".npz", ".h5", ".hdf5", ".mat", ".tsv", ".csv")


def load_rdms(
    path: str | Path,
    key: str | None = None,
    *,
    conditions: Any = None,
    axes: Sequence[str] = (),
    average: Sequence[str] = (),
    metric: str | None = None,
) -> RDMs:
    """Read RDMs from a file.

    Parameters
    ----------
    path : path
        A folder written by :meth:`RDMs.save`; ``.npy``, a variable of ``.npz``, ``.h5``, ``.mat``: one RDM or several,
        condensed or square; ``.mat`` with a struct array of fields ``RDM`` and ``name`` (RSA toolbox for MATLAB), any
        number of axes; ``.tsv`` or ``.csv``: a square table with condition names as header and first column.
    key : str, optional
        Variable, where the file holds several.
    conditions : names or DataFrame, optional
        Otherwise those of the file, or 0, 1, 2...
    axes : sequence of str
        What the axes of a struct array (or the leading axes of a stack of matrices) are, such as ("subject",
        "session"): they become columns of the table, counted from 1. Axes of length 1 need no name.
    average : sequence of str
        Columns of the table, such as axes, that are averaged over.
    metric : str, optional

    Returns
    -------
    RDMs
        With the column ``name`` where the file has names.

    Raises
    ------
    FileNotFoundError, CorruptFile, ShapeMismatch, ValueError
    """
    found = _load(Path(path), key, conditions, axes, metric)
    unknown = set(average) - set(found.table)
    if unknown:
        raise ValueError(
            f"average names {sorted(unknown)}; {Path(path).name} with axes {list(axes)} has no such columns."
        )
    keep = [c for c in found.table if c not in {*average, "name"}]
    return found.mean(by=keep or None) if average else found


def _load(path: Path, key: str | None, conditions: Any, axes: Sequence[str], metric: str | None) -> RDMs:
    if path.is_dir():
        rdms = RDMs.load(path)
        return rdms if conditions is None else rdms.with_conditions(conditions)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}.")
    if path.suffix not in KINDS:
        raise ValueError(f"RDMs are read from {', '.join(KINDS)} or a folder, got {path.name}.")
    if path.suffix in (".tsv", ".csv"):
        return _from_table(path, conditions, metric)
    array = _read_mat(path, key) if path.suffix == ".mat" else read_array(path, key)
    if array.dtype.names:
        return _from_struct(array, path, conditions, axes, metric)
    table: dict[str, Any] = {}
    if array.ndim > 3:
        table = _axis_columns(array.shape[:-2], axes, path)
        array = array.reshape(-1, *array.shape[-2:])
    elif axes and array.ndim == 3:
        table = _axis_columns(array.shape[:1], axes, path)
    return RDMs(array, conditions, table or None, metric)


def _read_mat(path: Path, key: str | None) -> np.ndarray:
    """Read a variable of a MATLAB file, struct arrays included."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    except (MatReadError, ValueError, OSError) as error:
        raise CorruptFile(f"{path} cannot be read: {error}") from error
    except NotImplementedError:
        return read_array(path, key)  # version 7.3 is HDF5
    if key is None and len(content) == 1:
        return next(iter(content.values()))
    if key is None or key not in content:
        hint = "" if key is None else f", has no {key!r}{nearest(key, content)}"
        raise ValueError(f"{path.name} holds several variables{hint}: choose one with key=..., of {list(content)}.")
    return content[key]


def _from_struct(array: np.ndarray, path: Path, conditions: Any, axes: Sequence[str], metric: str | None) -> RDMs:
    if "RDM" not in (array.dtype.names or ()):
        raise CorruptFile(f"{path.name} holds a struct with fields {array.dtype.names}; expected RDM and name.")
    cells = array.reshape(-1)
    matrices = [np.asarray(cell["RDM"], dtype=float) for cell in cells]
    if len({m.shape for m in matrices}) > 1:
        raise ShapeMismatch(f"the RDMs of {path.name} have different sizes: {sorted({m.shape for m in matrices})}.")
    stack = np.stack(matrices)
    stack = stack[:, 0] if stack.ndim == 3 and stack.shape[1] == 1 and stack.shape[2] > 1 else stack
    table = _axis_columns(array.shape, axes, path)
    if "name" in (array.dtype.names or ()):
        table["name"] = [str(np.asarray(cell["name"]).flat[0]) if np.size(cell["name"]) else "" for cell in cells]
    return RDMs(stack, conditions, table, metric)


def _axis_columns(shape: Sequence[int], axes: Sequence[str], path: Path) -> dict[str, Any]:
    """Columns that count the axes longer than 1, from 1."""
    long = [k for k, n in enumerate(shape) if n > 1]
    if axes and len(axes) != len(long):
        raise ShapeMismatch(f"{path.name} has axes {tuple(shape)}, {len(long)} longer than 1; got axes={list(axes)}.")
    index = np.indices(tuple(shape)).reshape(len(shape), -1)
    return {name: index[k] + 1 for name, k in zip(axes, long, strict=bool(axes))} if axes else {}


def _from_table(path: Path, conditions: Any, metric: str | None) -> RDMs:
    frame = pd.read_csv(
        path, sep="\t" if path.suffix == ".tsv" else ",", index_col=0, keep_default_na=False, na_values=["n/a"]
    )
    rows, columns = [str(r) for r in frame.index], [str(c) for c in frame.columns]
    if rows != columns:
        raise ShapeMismatch(
            f"{path.name} must name the same conditions in its header and its first column, in one order."
        )
    return RDMs(frame.to_numpy(float)[None], columns if conditions is None else conditions, None, metric)
