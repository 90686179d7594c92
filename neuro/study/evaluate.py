"""One layer against one subject: fit on training images, predict images that were never fitted.

Scores are Pearson r over all predicted images. With several folds, responses and predictions are centred within each
fold first, since every fold has its own intercept.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import as_rng
from neuro.data import Responses
from neuro.encoders import AlphaAtBoundaryWarning, RidgeCV
from neuro.errors import SplitLeakage
from neuro.stats import pearson_r
from neuro.study.config import EncoderConfig, EvaluationConfig, alpha_grid


@dataclass(frozen=True, eq=False)
class Design:
    """Images and folds of one subject.

    Parameters
    ----------
    stimulus : array (n_images,)
    Y : array (n_images, n_voxels), float32
    folds : list of (train rows, test rows)
    groups : array (n_images,)
        Pictures that must not straddle a split.
    """

    stimulus: np.ndarray
    Y: np.ndarray
    folds: list[tuple[np.ndarray, np.ndarray]]
    groups: np.ndarray

    @property
    def tested(self) -> np.ndarray:
        """Rows that are predicted, in the order of the predictions."""
        return np.concatenate([test for _, test in self.folds])


def make_design(responses: Responses, evaluation: EvaluationConfig, seed: int) -> tuple[Design, Responses, np.ndarray]:
    """Return the design, the averaged responses behind it, and the voxels that have data.

    Voxels that are constant or NaN in any averaged response are left out.
    """
    mean = responses.average_repeats() if "n_repeats" not in responses.trials else responses
    Y = mean.to_numpy()
    valid = np.isfinite(Y).all(0) & (np.ptp(Y, axis=0) > 0)
    by = "picture" if "picture" in mean.trials else "stimulus"
    unit = mean.stimulus if by == "stimulus" else mean.trials[by].to_numpy()
    rows = np.arange(len(mean))
    if evaluation.folds is not None:
        units = as_rng(seed).permutation(np.unique(unit))
        parts = np.array_split(units, evaluation.folds)
        folds = [(rows[~np.isin(unit, part)], rows[np.isin(unit, part)]) for part in parts]
    else:
        at = {s: i for i, s in enumerate(mean.stimulus.tolist())}
        train, test = mean.split(evaluation.split, test=evaluation.test, by=by, seed=seed)
        folds = [tuple(np.array([at[s] for s in side.stimulus.tolist()]) for side in (train, test))]
    for train_rows, test_rows in folds:
        both = np.intersect1d(unit[train_rows], unit[test_rows])
        if len(both):
            raise SplitLeakage(f"{len(both)} pictures stand in training and test, first {both[:3].tolist()}.")
    return Design(mean.stimulus, Y[:, valid], folds, unit), mean, valid


def centre_folds(values: np.ndarray, design: Design) -> np.ndarray:
    """Subtract the mean of every fold from rows that stand in the order of ``design.tested``."""
    if len(design.folds) == 1:
        return values
    out, start = np.empty_like(values), 0
    for _, test in design.folds:
        part = slice(start, start + len(test))
        out[part] = values[part] - values[part].mean(0)
        start += len(test)
    return out


def evaluate(X: np.ndarray, design: Design, encoder: EncoderConfig, seed: int) -> dict[str, Any]:
    """Fit, predict and score one feature matrix.

    Parameters
    ----------
    X : array (n_images, n_features), rows as ``design.stimulus``
    design : Design
    encoder : EncoderConfig
    seed : int

    Returns
    -------
    dict with ``prediction`` (n_tested, n_voxels) float32 in the order of ``design.tested``, centred by fold;
    ``r``, ``cv_r2`` (inner cross-validation on training images only), ``alpha`` (n_voxels,); ``on_edge``, the
    share of voxels whose penalty is the smallest or largest of the grid; ``encoder``, fitted on the last fold
    """
    predictions, alphas, inner, edges = [], [], [], []
    model = None
    for train, test in design.folds:
        mean, scale = column_scale(X[train])
        model = RidgeCV(alphas=alpha_grid(encoder.alphas), cv=encoder.cv, scoring="r2", random_state=seed)
        with warnings.catch_warnings():
            # Counted in the results instead: one line per layer and fold would bury the progress.
            warnings.simplefilter("ignore", AlphaAtBoundaryWarning)
            model.fit((X[train] - mean) / scale, design.Y[train], groups=design.groups[train])
        edges.append(_share_on_edge(model))
        predictions.append(model.predict((X[test] - mean) / scale))
        alphas.append(model.alpha_)
        inner.append(model.cv_scores_.max(0))
    prediction = centre_folds(np.concatenate(predictions).astype(np.float32), design)
    truth = centre_folds(design.Y[design.tested], design)
    return {
        "prediction": prediction,
        "r": pearson_r(truth, prediction),
        "cv_r2": np.mean(inner, axis=0),
        "alpha": np.exp(np.mean(np.log(alphas), axis=0)),
        "on_edge": float(np.mean(edges)),
        "encoder": model,
    }


def column_scale(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and s.d. of the training rows; constant features get 1."""
    mean = X.mean(0, dtype=np.float64).astype(np.float32)
    sd = X.std(0, dtype=np.float64).astype(np.float32)
    return mean, np.where(sd > 1e-6 * (np.abs(mean) + 1e-12), sd, 1).astype(np.float32)


def _share_on_edge(model: RidgeCV) -> float:
    grid = np.asarray(model.alphas_)
    return float(np.isin(model.alpha_, [grid.min(), grid.max()]).mean())
