"""Voxels in chunks, on as many machines as there are: fit each chunk apart, and put one fitted estimator together.

Voxels do not see each other in ridge regression, so chunks give what one fit gives. Splits and candidates are settled
once, before the voxels are parted. A chunk is a plain function that returns (or writes) arrays, so any engine can run
it: joblib with whatever backend is active (processes, threads, dask), a ``concurrent.futures`` pool, a dask client, or
a submitit executor for a cluster.
"""

from __future__ import annotations

import os
import threading
import warnings
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from neuro._check import check_positive_int, is_tensor
from neuro.encoders._bands import Bands, is_named, take_bands
from neuro.encoders._chunk_files import ChunkFolder, read_chunk, write_chunk
from neuro.encoders.banded import BandedRidgeCV
from neuro.errors import ShapeMismatch
from neuro.linear._alphas import AlphaAtBoundaryWarning, AlphaBoundary, warn_of_edges
from neuro.linear._arrays import as_tensor
from neuro.linear._linear import plain
from neuro.linear._splits import check_groups, fold_splits
from neuro.linear.ridge import RidgeCV

#: Axis of the voxels, of every fitted array that has one.
VOXEL_AXIS = {
    RidgeCV: {"_coef": 0, "_dual": 0, "intercept_": 0, "alpha_": 0, "best_score_": 0, "cv_scores_": 1},
    BandedRidgeCV: {
        **{"coef_": 0, "intercept_": 0, "y_mean_": 0, "alpha_": 0, "best_score_": 0, "candidate_": 0, "refined_": 0},
        **{"cv_scores_": 1, "band_weights_": 1, "deltas_": 1},
    },
}
SETTLED = ("splits_", "_bands", "band_names_", "boundary_")  # by the caller, for all chunks


def fit_voxel_chunks(
    estimator: Any,
    X: Any,
    Y: Any,
    n_chunks: int,
    executor: Any = None,
    *,
    groups: Any = None,
    folder: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
) -> Any:
    """Fit chunks of voxels apart, and return one fitted estimator.

    Parameters
    ----------
    estimator : RidgeCV or BandedRidgeCV
        Left as it is; a fitted copy is returned.
    X : array (n_stimuli, n_features), or mapping of band to array
    Y : array or Responses (n_stimuli, n_voxels)
    n_chunks : int
        Chunks of neighbouring voxels, of even sizes.
    executor : object with ``submit(function, *arguments)`` or ``map_array``, optional
        ``concurrent.futures`` pool, dask client, submitit executor. None is joblib, with the backend that
        ``joblib.parallel_config`` names.
    groups : array (n_stimuli,), optional
        As in the estimator's ``fit``.
    folder : path, optional
        Chunks are written there as they are finished, and a later call with the same data and settings fits only those
        that are missing. Jobs then read X and Y from files there (which is what a cluster needs: the folder must be one
        that all machines see) instead of being sent them.
    n_jobs : int or None
        Of joblib; None is the backend's own choice.

    Returns
    -------
    estimator of the same class and settings, fitted to all voxels, with numpy arrays inside

    Raises
    ------
    ValueError
        If the estimator chooses something by all voxels together (``local_alpha=False``, ``extend_grid=True``), or is
        of another class.
    StaleStore
        If ``folder`` holds chunks of other data or settings.

    Warns
    -----
    AlphaAtBoundaryWarning
        Once, for all voxels.

    Notes
    -----
    Each chunk decomposes the features anew. That costs little while a chunk's voxels outnumber the features; a single
    machine is served better by the estimator itself, which goes through voxels in chunks and decomposes once.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.standard_normal((60, 5)), rng.standard_normal((60, 8))
    >>> in_chunks = fit_voxel_chunks(RidgeCV(), X, Y, n_chunks=3)
    >>> np.allclose(in_chunks.coef_, RidgeCV().fit(X, Y).coef_)
    True
    """
    check_positive_int("n_chunks", n_chunks)
    _check_estimator(estimator)
    if any(is_tensor(part) for part in [Y, *(X.values() if is_named(X) else [X])]):
        raise TypeError("X and Y must be arrays or memory maps: tensors are not sent to other processes.")
    joined, bands_of = take_bands(X, getattr(estimator, "bands", None))
    A, responses = np.asarray(joined), np.asarray(plain(Y, joined))
    if A.ndim != 2 or responses.ndim != 2 or len(A) != len(responses) or 0 in responses.shape:
        raise ShapeMismatch(
            "X must be (n_stimuli, n_features) and Y (n_stimuli, n_voxels), of the same stimuli; "
            f"got shapes {A.shape} and {responses.shape}."
        )
    bands = bands_of(A.shape[1])
    job, splits = _settled(estimator, A, Y, groups, bands)
    edges = np.linspace(0, responses.shape[1], min(n_chunks, responses.shape[1]) + 1).astype(int)
    parts = [slice(int(a), int(b)) for a, b in pairwise(edges)]
    with warnings.catch_warnings():  # of threads in this process: one warning for all chunks follows
        warnings.simplefilter("ignore", AlphaAtBoundaryWarning)
        if folder is None:
            tasks = [(*job, A, responses[:, part], i == 0) for i, part in enumerate(parts)]
            chunks = _run(_fit_chunk, tasks, executor, n_jobs)
        else:
            store = ChunkFolder.open(Path(folder), [type(estimator).__name__, *job], A, responses, parts)
            tasks = [(*job, str(store.path), part, i, store.key) for i, part in enumerate(parts) if i in store.missing]
            try:
                _run(_fit_chunk_file, tasks, executor, n_jobs)
            except BaseException as error:
                done = len(parts) - len(store.missing)
                error.add_note(
                    f"{done} of {len(parts)} chunks are finished and kept in {store.path}: fit again to go on."
                )
                raise
            chunks = [read_chunk(store.chunk(i), store.key) for i in range(len(parts))]
    return _joined(estimator, chunks, splits, bands)


def _check_estimator(estimator: Any) -> None:
    if type(estimator) not in VOXEL_AXIS:
        names = [kind.__name__ for kind in VOXEL_AXIS]
        raise ValueError(f"estimator must be {' or '.join(names)}, got {type(estimator).__name__}.")
    if not getattr(estimator, "local_alpha", True):
        raise ValueError(
            "local_alpha=False chooses one penalty by all voxels, so chunks would differ: fit them at once."
        )
    if getattr(estimator, "extend_grid", False):
        raise ValueError("extend_grid=True moves the grid by all voxels, so chunks would differ: give wider alphas.")


def _settled(estimator: Any, X: np.ndarray, Y: Any, groups: Any, bands: Bands):
    """Return (estimator, groups) as chunks get them, and the splits: nothing random is left to a chunk."""
    own = clone(estimator)
    if own.random_state is None:
        own.random_state = int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(own, BandedRidgeCV):
        own.bands = dict(zip(bands.names, bands.columns, strict=True))
    if isinstance(own.cv, str):
        return (own, check_groups(groups, len(X), Y)), None
    splits = fold_splits(own.cv, len(X), Y, groups, own.random_state, as_tensor(X))
    own.cv = splits
    return (own, np.arange(len(X))), splits  # repeats across splits were looked for here


def _fit_chunk(estimator: Any, groups: Any, X: np.ndarray, Y: np.ndarray, whole: bool) -> dict[str, Any]:
    """Return what a fit to some voxels found; ``whole``: with what is the same for all voxels, too."""
    if threading.current_thread() is threading.main_thread():  # of a process of its own
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AlphaAtBoundaryWarning)
            fitted = clone(estimator).fit(X, Y, groups=groups)
    else:
        fitted = clone(estimator).fit(X, Y, groups=groups)
    settings = set(fitted.get_params(deep=False))
    found: dict[str, Any] = {"boundary": asdict(fitted.boundary_), "shared": {}, "plain": {}, "voxels": {}, "sums": {}}
    for name, value in vars(fitted).items():
        if name in settings or name in SETTLED:
            continue
        if not isinstance(value, np.ndarray):
            found["plain"][name] = value
        elif name in VOXEL_AXIS[type(fitted)]:
            found["voxels"][name] = value
        else:
            found["sums"][name] = [float(np.sum(value, dtype=np.float64)), float(np.abs(value).sum(dtype=np.float64))]
            if whole:
                found["shared"][name] = value
    return found


def _fit_chunk_file(estimator: Any, groups: Any, folder: str, part: slice, i: int, key: str) -> None:
    """Fit one chunk from the folder's files, and leave it there."""
    X, Y = (np.load(Path(folder) / name, mmap_mode="r", allow_pickle=False) for name in ("X.npy", "Y.npy"))
    found = _fit_chunk(estimator, groups, X, np.ascontiguousarray(Y[:, part]), i == 0)
    write_chunk(ChunkFolder.chunk_of(Path(folder), i), found, key)


def _run(function: Any, tasks: list[tuple], executor: Any, n_jobs: int | None) -> list[Any]:
    if not tasks:
        return []
    if executor is None:
        from joblib import Parallel, delayed

        return list(Parallel(n_jobs=n_jobs)(delayed(function)(*task) for task in tasks))
    if hasattr(executor, "map_array"):  # submitit: one array of jobs instead of many
        jobs = executor.map_array(function, *zip(*tasks, strict=True))
    elif hasattr(executor, "submit"):
        jobs = [executor.submit(function, *task) for task in tasks]
    else:
        raise TypeError(f"executor must have submit(function, *arguments), got {type(executor).__name__}.")
    results, failed = [], None
    for job in jobs:  # wait for all: what finishes is kept
        try:
            results.append(job.result())
        except Exception as error:
            failed = failed or error
    if failed is not None:
        raise failed
    return results


def _joined(estimator: Any, chunks: list[dict[str, Any]], splits: Any, bands: Bands) -> Any:
    first, fitted = chunks[0], clone(estimator)
    for i, chunk in enumerate(chunks):
        if chunk["voxels"].keys() != first["voxels"].keys():
            raise ShapeMismatch(f"chunk {i} holds {sorted(chunk['voxels'])}, chunk 0 {sorted(first['voxels'])}.")
        for name, (total, size) in chunk["sums"].items():
            if not np.isclose(total, first["sums"][name][0], rtol=0, atol=1e-6 * max(size, 1e-300)):
                raise ShapeMismatch(f"{name} differs between chunks 0 and {i}: were they fitted to the same features?")
    axes = VOXEL_AXIS[type(estimator)]
    for name in first["voxels"]:
        setattr(fitted, name, np.concatenate([chunk["voxels"][name] for chunk in chunks], axis=axes[name]))
    for name, value in {**first["shared"], **first["plain"]}.items():
        setattr(fitted, name, value)
    counts = [chunk["boundary"] for chunk in chunks]
    same = ("lower", "upper", "n_extended_lower", "n_extended_upper")
    fitted.boundary_ = AlphaBoundary(**{k: v if k in same else sum(c[k] for c in counts) for k, v in counts[0].items()})
    fitted.splits_ = splits
    if isinstance(fitted, BandedRidgeCV):
        fitted._bands, fitted.band_names_ = bands, bands.names
    warn_of_edges(fitted.boundary_, False)
    return fitted
