"""Data sets brought together: regions, common voxels, or a linear map between two people's voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats._fit import n_rows
from neuro.stats._moments import to_numpy
from neuro.stats._rois import check_rois
from neuro.stats.efficiency import check_data


@dataclass(frozen=True, eq=False)
class EncodingData:
    """Training and test images and responses of one subject or data set.

    Parameters
    ----------
    X : array, tensor, or dict of them (n_rows, n_features)
    Y : array or tensor (n_rows, n_voxels)
    X_test, Y_test
        The same of images that are not among the training images.
    rois : dict name -> boolean mask or indices, optional
    groups, test_groups : array (n_rows,), optional
        The stimulus of each row, where rows are repeats.
    shared : array of int, optional
        Training rows of the images that all data sets have, in the same order in all; one row per image.
    """

    X: Any
    Y: Any
    X_test: Any
    Y_test: Any
    rois: Mapping[str, Any] | None = None
    groups: Any = None
    test_groups: Any = None
    shared: Any = None


@dataclass(frozen=True, eq=False)
class Prepared(EncodingData):
    """Checked, with regions as masks (n_rois, n_voxels)."""

    masks: Any = None


def prepare(datasets: Mapping[str, Any], match: str) -> tuple[dict[str, Prepared], tuple[str, ...]]:
    """Return checked data sets and the names of regions."""
    if not isinstance(datasets, Mapping) or len(datasets) < 2:
        raise ShapeMismatch("datasets must be a dict of at least 2, each (X, Y, X_test, Y_test) or EncodingData.")
    data = {str(name): _checked(str(name), given) for name, given in datasets.items()}
    first_name, first = next(iter(data.items()))
    for name, d in data.items():
        if _width(d.X) != _width(first.X) or _width(d.X_test) != _width(first.X):
            raise ShapeMismatch(
                f"all data sets need the same features: {first_name!r} has {_width(first.X)}, {name!r} has "
                f"{_width(d.X)} for training and {_width(d.X_test)} for test."
            )
        if list(d.rois or ()) != list(first.rois or ()):
            raise ShapeMismatch(
                f"regions must have the same names in the same order: {first_name!r} has {list(first.rois or ())}, "
                f"{name!r} has {list(d.rois or ())}."
            )
        if match == "voxels" and d.Y.shape[1] != first.Y.shape[1]:
            raise ShapeMismatch(
                f"{first_name!r} has {first.Y.shape[1]:,} voxels, {name!r} has {d.Y.shape[1]:,}: they cannot be "
                "compared one by one. Use match='rois' or 'linear', or bring both to a common space."
            )
        if match == "linear":
            _check_shared(name, d, first_name, first)
    if match == "rois" and not first.rois:
        raise ValueError("match='rois' needs regions: give EncodingData(..., rois=...).")
    prepared = {}
    for name, d in data.items():
        regions, masks = check_rois(d.rois, d.Y.shape[1])
        if match == "rois":
            Y, Y_test = (_region_means(name, y, masks, regions) for y in (d.Y, d.Y_test))
            d, masks = replace(d, Y=Y, Y_test=Y_test), np.eye(len(regions), dtype=bool)
        elif match == "linear":
            d = replace(d, Y=to_numpy(d.Y), Y_test=to_numpy(d.Y_test))
        prepared[name] = Prepared(**{**vars(d), "masks": masks})
    return prepared, check_rois(first.rois, first.Y.shape[1])[0]


def join(parts: list[Any]) -> Any:
    """Return rows below one another, of every feature space where there are several."""
    if isinstance(parts[0], Mapping):
        return {name: join([p[name] for p in parts]) for name in parts[0]}
    if is_tensor(parts[0]):
        import torch

        return torch.cat(parts)
    return np.concatenate([np.asarray(p) for p in parts])


def linear_map(A: Any, B: Any, H: Any) -> np.ndarray:
    """Return ``H`` (m, v_a) mapped by the ridge regression of B (n, v_b) on A (n, v_a), as (m, v_b).

    Penalties, one per column of B, by exact leave-one-out: residual / (1 - leverage), with 1/n in the leverage for the
    intercept. Everything stays in the n-dimensional space of images, so no (v_a, v_b) matrix is formed.
    """
    A, B, H = (np.asarray(to_numpy(x), dtype=float) for x in (A, B, H))
    a, b = A.mean(0), B.mean(0)
    A = A - a
    d, U = np.linalg.eigh(A @ A.T)
    d = np.maximum(d, 0)
    C = U.T @ (B - b)
    best, chosen = np.full(B.shape[1], np.inf), np.full(B.shape[1], d.mean())
    for alpha in np.logspace(-4, 5, 19) * max(d.mean(), np.finfo(float).tiny):
        shrink = d / (d + alpha)
        leverage = (U**2) @ shrink + 1 / len(B)
        error = (((B - b - U @ (shrink[:, None] * C)) / (1 - leverage)[:, None]) ** 2).sum(0)
        chosen, best = np.where(error < best, alpha, chosen), np.minimum(error, best)
    return ((H - a) @ A.T @ U) @ (C / (d[:, None] + chosen)) + b


def _checked(name: str, given: Any) -> EncodingData:
    if not isinstance(given, EncodingData):
        if not isinstance(given, (tuple, list)) or len(given) != 4:
            raise ShapeMismatch(
                f"{name!r} must be (X, Y, X_test, Y_test) or EncodingData, got {type(given).__name__}"
                + (f" of {len(given)}." if isinstance(given, (tuple, list)) else ".")
            )
        given = EncodingData(*given)
    Y = check_data(given.X, given.Y, f"X and Y of {name!r}")
    Y_test = check_data(given.X_test, given.Y_test, f"X_test and Y_test of {name!r}")
    if Y.shape[1] != Y_test.shape[1]:
        raise ShapeMismatch(f"Y of {name!r} has {Y.shape[1]:,} voxels, Y_test has {Y_test.shape[1]:,}.")
    groups = None if given.groups is None else np.asarray(given.groups)
    if groups is not None and groups.shape != (len(Y),):
        raise ShapeMismatch(f"groups of {name!r} must name one group for each of {len(Y):,} rows, got {groups.shape}.")
    return replace(given, Y=Y, Y_test=Y_test, groups=groups)


def _check_shared(name: str, d: EncodingData, first_name: str, first: EncodingData) -> None:
    for label, one in ((first_name, first), (name, d)):
        rows = np.asarray([] if one.shared is None else one.shared)
        if rows.ndim != 1 or rows.size < 3 or rows.dtype.kind not in "iu":
            raise ShapeMismatch(
                f"match='linear' needs at least 3 images that all data sets share: give the training rows of {label!r} "
                "as EncodingData(..., shared=rows)."
            )
        if rows.min() < 0 or rows.max() >= n_rows(one.X) or len(np.unique(rows)) < rows.size:
            raise ShapeMismatch(f"shared of {label!r} must be distinct rows in 0..{n_rows(one.X) - 1}.")
        if not np.isfinite(to_numpy(one.Y)[rows]).all():
            raise EmptySelection(f"Y of {label!r} contains NaN in shared rows: leave those voxels out first.")
    if len(d.shared) != len(first.shared):
        raise ShapeMismatch(
            f"shared must name the same images in all: {len(first.shared):,} rows of {first_name!r}, "
            f"{len(d.shared):,} of {name!r}."
        )


def _width(X: Any) -> Any:
    if isinstance(X, Mapping):
        return {str(name): _width(x) for name, x in X.items()}
    return tuple(np.shape(X))[1:]


def _region_means(name: str, Y: Any, masks: np.ndarray, regions: tuple[str, ...]) -> np.ndarray:
    values = np.asarray(to_numpy(Y), dtype=float)
    use = masks & np.isfinite(values).all(0)
    if empty := [r for r, m in zip(regions, use, strict=True) if not m.any()]:
        raise EmptySelection(f"{name!r} has no voxel with finite responses in {', '.join(map(repr, empty))}.")
    return np.where(np.isfinite(values), values, 0) @ (use.T / use.sum(1))
