"""What every cross-validated score over time shares: checked input, folds of whole images, scores of a fold."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from sklearn.base import clone

from neuro._check import check_option
from neuro.data import Responses
from neuro.decoders._window_scores import SCORES, chance_level, score_images
from neuro.decoders._window_times import check_windows, window_features
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.linear._splits import check_groups, make_splits

REPEATS = ("average", "single")


class FoldProblem:
    """Checked input of a cross-validation over windows; parameters as in ``neuro.decoders.windows.decode_windows``."""

    def __init__(
        self,
        Y: Any,
        targets: Any,
        windows: Any,
        times: Any,
        groups: Any,
        cv: Any,
        scoring: Any,
        summary: str,
        repeats: str,
        random_state: int | None,
    ):
        if not callable(scoring):
            check_option("scoring", scoring, SCORES)
        self.scoring, self.repeats = scoring, check_option("repeats", repeats, REPEATS)
        if groups is None and isinstance(Y, Responses) and "stimulus" in Y.trials:
            groups = Y.stimulus
        self.windows = check_windows(windows)
        self.features = window_features(Y, times, self.windows, summary)
        n = len(self.features[0])
        self.targets = rows_of("targets", targets, n)
        codes = check_groups(groups, n)
        self.codes = np.arange(n) if codes is None else codes
        self.images = np.arange(n) if groups is None else _names(groups)
        self.first = np.unique(self.codes, return_index=True)[1]
        truth = self.targets[self.first][self.codes]
        if not np.array_equal(truth, self.targets):
            bad = self.images[self.codes[np.flatnonzero((truth != self.targets).reshape(n, -1).any(1))[0]]]
            raise ShapeMismatch(f"the repeats of an image must have one target; those of {bad} differ.")
        self.splits = make_splits(cv, n, self.codes, random_state)
        sizes = [len(np.unique(self.codes[test])) for _, test in self.splits]
        if scoring in ("two_way", "top1", "top5") and min(sizes) < 2:
            raise EmptySelection("every fold must test at least 2 images; one alone has no rivals. Lower cv.")
        if scoring == "correlation" and self.targets[:1].size < 2:
            raise ShapeMismatch("a correlation over features needs targets of at least 2 features; use 'two_way'.")
        if self.targets.dtype.kind not in "fiub" and scoring != "accuracy":
            raise ShapeMismatch(f"targets of dtype {self.targets.dtype} are labels: use scoring='accuracy'.")
        self.chance = chance_level(scoring, sizes, self.targets[self.first])
        merged = "predictions averaged over repeats" if repeats == "average" else "single trials"
        pool = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)}-{max(sizes)}"
        self.protocol = f"{len(self.splits)} folds by image, {merged}, pool of {pool} images, {summary} of windows"

    def score(self, predicted: Any, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images of a fold (as codes) and their scores."""
        images, where = np.unique(self.codes[test], return_inverse=True)
        unique = self.targets[self.first]
        centre = 0.0 if self.scoring == "accuracy" else unique[np.unique(self.codes[train])].mean(0)
        average = self.repeats == "average"
        return images, score_images(self.scoring, np.asarray(predicted), unique[images], where, average, centre)


def fit_decoder(decoder: Any, X: np.ndarray, targets: np.ndarray, groups: Any = None) -> Any:
    """Return a fitted clone of ``decoder``, ridge regression by default; its ``fit`` gets groups if it knows them."""
    if decoder is None:
        from neuro.linear import RidgeCV

        decoder = RidgeCV()
    fresh = clone(decoder)
    takes_groups = groups is not None and "groups" in inspect.signature(fresh.fit).parameters
    return fresh.fit(X, targets, groups=groups) if takes_groups else fresh.fit(X, targets)


def rows_of(name: str, values: Any, n: int) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim not in (1, 2) or len(values) != n:
        raise ShapeMismatch(f"{name} must have one row for each of {n} trials, got shape {values.shape}.")
    return values


def _names(groups: Any) -> np.ndarray:
    groups = np.asarray(groups)
    return np.unique(groups.astype(str) if groups.dtype == object else groups)
