"""Scores of the images of one fold, each image once among the candidates."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro.errors import ShapeMismatch

SCORES = ("two_way", "top1", "top5", "correlation", "accuracy")


def score_images(
    scoring: Any, predicted: np.ndarray, truth: np.ndarray, where: np.ndarray, average: bool, centre: Any = 0.0
) -> np.ndarray:
    """Return a score per image.

    Parameters
    ----------
    scoring : one of SCORES or callable
    predicted : array (n_trials, n_features), or labels (n_trials,)
    truth : array (n_images, n_features), or labels (n_images,)
    where : int array (n_trials,)
        The image of each trial, a row of ``truth``.
    average : bool
        Average the predictions of an image's trials first; otherwise its trials' scores. Labels have no average: their
        scores are averaged.
    centre : float or array (n_features,)
        Subtracted from predictions and candidates before they are compared: the mean of the training images.

    Returns
    -------
    array (n_images,)
    """
    n = len(truth)
    if scoring == "accuracy":
        return mean_by(np.asarray(predicted == truth[where], dtype=float), where, n)
    predicted = predicted.reshape(len(predicted), -1).astype(float)
    truth = truth.reshape(n, -1).astype(float)
    if predicted.shape[1] != truth.shape[1]:
        raise ShapeMismatch(f"the decoder gives {predicted.shape[1]} features, targets have {truth.shape[1]}.")
    rows, own = (mean_by(predicted, where, n), np.arange(n)) if average else (predicted, where)
    if callable(scoring):
        values = np.asarray(scoring(rows, truth[own]), dtype=float)
        if values.shape != (len(rows),):
            raise ShapeMismatch(f"scoring must return one number per item, ({len(rows)},), got {values.shape}.")
    else:
        values = from_similarity(scoring, row_correlation(rows - centre, truth - centre), own)
    return values if average else mean_by(values, where, n)


def from_similarity(scoring: str, similarity: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return scores (n,) from the similarity (n, n_candidates) of predictions to candidates; ties count half."""
    right = np.take_along_axis(similarity, own[:, None], 1)
    if scoring == "correlation":
        return right[:, 0]
    rivals = np.ones(similarity.shape, bool)
    rivals[np.arange(len(own)), own] = False
    above, equal = ((similarity > right) & rivals).sum(1), ((similarity == right) & rivals).sum(1)
    if scoring == "two_way":
        return 1 - (above + equal / 2) / (similarity.shape[1] - 1)
    k = int(scoring.removeprefix("top"))
    return np.clip((k - above) / (equal + 1), 0.0, 1.0)  # the place among equals is drawn at random


def row_correlation(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Return correlations of rows, (len(A), len(B)); for rows of one number, which have none, minus their distance."""
    if A.shape[1] == 1:
        return -np.abs(A - B.T)
    A, B = A - A.mean(1, keepdims=True), B - B.mean(1, keepdims=True)
    a, b = np.linalg.norm(A, axis=1), np.linalg.norm(B, axis=1)
    return (A @ B.T) / np.maximum(a[:, None] * b[None], 1e-300)


def mean_by(values: np.ndarray, where: np.ndarray, n: int) -> np.ndarray:
    """Return means of rows by group, (n, ...)."""
    out = np.zeros((n, *values.shape[1:]))
    np.add.at(out, where, values)
    return out / np.bincount(where, minlength=n).reshape(-1, *[1] * (values.ndim - 1))


def chance_level(scoring: Any, sizes: list[int], truth: np.ndarray) -> float | None:
    """Return the expected score of a decoder that knows nothing, for folds of so many images."""
    if scoring == "two_way":
        return 0.5
    if scoring == "correlation":
        return 0.0
    if scoring == "accuracy":
        return float(np.unique(truth, return_counts=True)[1].max() / len(truth))
    if callable(scoring):
        return None
    k = int(scoring.removeprefix("top"))
    return float(np.average([min(1.0, k / n) for n in sizes], weights=sizes))
