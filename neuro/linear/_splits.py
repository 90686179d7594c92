"""Splits: which stimuli are held out together.

Repeats of one image are not independent: a fold that trains on one repeat and validates on another rewards overfitting.
So every splitter is given ``groups``, and the default splits whole groups at random, with a seed.
"""

from __future__ import annotations

import numbers
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neuro.data import Responses
from neuro.errors import SplitLeakage


class RepeatedStimuliWarning(UserWarning):
    """Equal rows of X stand on both sides of a split, and ``groups`` was not given."""


def check_groups(groups: Any, n_rows: int, y: Any = None) -> np.ndarray | None:
    """Return ``groups`` as integer codes (n_rows,), by default the stimuli that ``y`` names if it is ``Responses``."""
    if groups is None and isinstance(y, Responses) and "stimulus" in y.trials:
        groups = y.stimulus
    if groups is None:
        return None
    if isinstance(groups, torch.Tensor):
        groups = groups.cpu().numpy()
    groups = np.asarray(groups)
    if groups.shape != (n_rows,):
        raise ValueError(f"groups must have one entry per row of X, {n_rows:,}; its shape is {groups.shape}.")
    if groups.dtype.kind == "f" and np.isnan(groups).any():
        raise ValueError(f"groups must name a group for every row; {int(np.isnan(groups).sum()):,} entries are NaN.")
    return np.unique(groups.astype(str) if groups.dtype == object else groups, return_inverse=True)[1].reshape(-1)


def fold_splits(cv: Any, n_rows: int, y: Any, groups: Any, seed: int | None, X: Any = None):
    """Return the splits that the arguments of ``fit`` mean; with ``X`` warn of ungrouped rows that repeat."""
    if isinstance(cv, str):
        raise ValueError(f"cv must be a number of folds, a splitter or an iterable of splits, got {cv!r}.")
    codes = check_groups(groups, n_rows, y)
    splits = make_splits(cv, n_rows, codes, seed)
    if codes is None and X is not None:
        warn_of_repeats(X, splits)
    return splits


def make_splits(cv: Any, n_rows: int, groups: np.ndarray | None, seed: int | None):
    """Return [(train, validation), ...], each an ascending integer array.

    Parameters
    ----------
    cv : int, scikit-learn splitter, or iterable of (train, validation) indices
        An int is a shuffled ``GroupKFold``.
    n_rows : int
    groups : integer array (n_rows,) or None
        None: every row its own.
    seed : int or None
        Of the shuffling, for an int ``cv``.

    Raises
    ------
    SplitLeakage
        If a group stands on both sides of a split.
    ValueError
        If a split is empty, overlaps, or there are too few rows for the folds.
    """
    if isinstance(cv, numbers.Integral) and not isinstance(cv, bool):
        groups_or_rows = np.arange(n_rows) if groups is None else groups
        n_groups = len(np.unique(groups_or_rows))
        n_folds = int(cv)
        if n_folds < 2:
            raise ValueError(f"cv must be at least 2 folds, a splitter, 'loo' or 'gcv', got {cv}.")
        if n_groups < n_folds:
            what = "rows" if groups is None else "groups"
            raise ValueError(
                f"cv={cv} folds need at least {cv} {what}, got {n_groups} {what} (n_samples = {n_rows}). Lower cv."
            )
        from sklearn.model_selection import GroupKFold

        splitter = GroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
        pairs = splitter.split(np.zeros((n_rows, 1), np.float32), groups=groups_or_rows)
    elif hasattr(cv, "split"):
        with warnings.catch_warnings():  # whether groups stay together is checked below
            warnings.filterwarnings("ignore", message="The groups parameter is ignored")
            pairs = list(cv.split(np.zeros((n_rows, 1), np.float32), np.zeros(n_rows, np.float32), groups))
    elif isinstance(cv, str) or not hasattr(cv, "__iter__"):
        raise ValueError(
            "cv must be a number of folds, a scikit-learn splitter, an iterable of (train, validation) indices, "
            f"'loo' or 'gcv', got {cv!r}."
        )
    else:
        pairs = cv
    splits = [_check_split(i, pair, n_rows) for i, pair in enumerate(pairs)]
    if not splits:
        raise ValueError("cv must give at least one split, got none.")
    if groups is not None:
        for i, (train, val) in enumerate(splits):
            shared = np.intersect1d(groups[train], groups[val])
            if len(shared):
                raise SplitLeakage(
                    f"{len(shared):,} groups stand on both sides of split {i}, so the splitter does not keep groups "
                    "together. Use an int, GroupKFold, LeaveOneGroupOut or GroupShuffleSplit as cv."
                )
    return splits


def _check_split(i: int, pair: Any, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        sides = [np.asarray(side) for side in pair]
        sides = [np.flatnonzero(s) if s.dtype == bool else s for s in sides]
        train, val = sides
        if train.dtype.kind not in "iu" or val.dtype.kind not in "iu" or train.ndim != 1 or val.ndim != 1:
            raise TypeError
    except (TypeError, ValueError):
        raise ValueError(f"split {i} of cv must be a pair of index arrays (train, validation), got {pair!r}.") from None
    for name, side in (("training", train), ("validation", val)):
        if len(side) == 0:
            raise ValueError(f"split {i} of cv has no {name} rows.")
        if side.min() < 0 or side.max() >= n_rows:
            raise ValueError(f"split {i} of cv has {name} rows outside 0..{n_rows - 1}.")
        if len(np.unique(side)) != len(side):
            raise ValueError(f"split {i} of cv names a {name} row twice.")
    if len(np.intersect1d(train, val)):
        raise SplitLeakage(f"split {i} of cv has {len(np.intersect1d(train, val))} rows on both sides.")
    return np.sort(train).astype(np.int64), np.sort(val).astype(np.int64)


def warn_of_repeats(X: torch.Tensor, splits: list[tuple[np.ndarray, np.ndarray]] | None) -> None:
    """Warn, once, if equal rows of X stand on both sides of a split (``splits`` None: of any leave-one-out split)."""
    same = _equal_rows(X)
    if same is None:
        return
    members, label = np.unique(same, return_counts=True)
    repeated = members[label > 1]
    if splits is not None:
        across = np.zeros(int(same.max()) + 1, bool)
        for train, val in splits:
            across[np.intersect1d(same[train], same[val])] = True
        repeated = repeated[across[repeated]]
    if len(repeated):
        warnings.warn(
            f"{len(repeated):,} stimuli occur more than once (equal rows of X) and stand on both sides of a split, "
            "which favours penalties that are too small. Pass groups= (the stimulus of each row), or average repeats.",
            RepeatedStimuliWarning,
            stacklevel=4,
        )


def _equal_rows(X: torch.Tensor) -> np.ndarray | None:
    """Label rows so that equal rows share a label; None if all differ. One pass over X."""
    n, p = X.shape
    direction = torch.randn(p, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    direction = direction.to(dtype=X.dtype, device=X.device)
    key = (X @ direction).double().cpu().numpy()
    order = np.argsort(key, kind="stable")
    gap = np.diff(key[order])
    scale = float(np.abs(key).max()) or 1.0
    close = np.flatnonzero(gap <= 1e-5 * scale if X.dtype == torch.float32 else gap <= 1e-12 * scale)
    if not len(close):
        return None
    equal = np.zeros(n - 1, bool)
    for block in np.array_split(close, max(1, len(close) * p // 2**22)):
        left = torch.from_numpy(order[block]).to(X.device)
        right = torch.from_numpy(order[block + 1]).to(X.device)
        equal[block] = (X[left] == X[right]).all(1).cpu().numpy()
    if not equal.any():
        return None
    label = np.empty(n, np.int64)
    label[order] = np.concatenate([[0], np.cumsum(~equal)])
    return label


@dataclass(frozen=True)
class Fold:
    """One split, as rows of the reordered data: slices where possible, so that taking them copies nothing."""

    train: tuple[slice, ...] | torch.Tensor
    val: slice | torch.Tensor
    n_train: int
    n_val: int
    complement: bool  # training rows are all rows but the validation rows


def order_folds(splits: list[tuple[np.ndarray, np.ndarray]], n_rows: int, device: torch.device):
    """Return (order, folds): a permutation of the rows that makes validation sets contiguous, and the folds in it.

    Validation sets that overlap (ShuffleSplit, repeated K-fold) leave the order as it is and are index tensors.
    """
    count = np.bincount(np.concatenate([val for _, val in splits]), minlength=n_rows)
    contiguous = count.max() <= 1
    order = np.arange(n_rows)
    if contiguous:
        order = np.concatenate([*(val for _, val in splits), np.flatnonzero(count == 0)])
    place = np.empty(n_rows, np.int64)
    place[order] = np.arange(n_rows)
    folds, start = [], 0
    for train, val in splits:
        complement = len(train) + len(val) == n_rows
        stop = start + len(val)
        if contiguous:
            where = slice(start, stop)
            rest = tuple(s for s in (slice(0, start), slice(stop, n_rows)) if s.stop > s.start)
        else:
            where = torch.from_numpy(val).to(device)
            rest = torch.from_numpy(train).to(device)
        if not complement:
            rest = torch.from_numpy(np.sort(place[train])).to(device)
        folds.append(Fold(rest, where, len(train), len(val), complement))
        start = stop
    return torch.from_numpy(order).to(device), folds
