"""One encoder over the folds of one subject: predictions, what each feature space adds, and how many images it needs.

Every encoder sees the same folds of the same images. Scores are those of :mod:`neuro.study.evaluate`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from neuro.encoders import AlphaAtBoundaryWarning
from neuro.stats import compare_models, pearson_r
from neuro.stats._rois import check_rois, roi_means
from neuro.study.encode_inputs import Inputs
from neuro.study.evaluate import Design, centre_folds


def fit_rows(estimator: Any, inputs: Inputs, design: Design, train: np.ndarray) -> tuple[Any, Callable[[Any], Any]]:
    """Return a fitted copy of the estimator, and the function that makes its X from rows."""
    from sklearn.base import clone

    take = inputs.scaled_by(train)
    model = clone(estimator)
    if (getattr(model, "context_size", None) or 0) >= len(train):
        model.set_params(context_size=None, n_bootstrap=1)  # fewer images than a context: all of them
    groups = {"groups": design.groups[train]} if "groups" in inspect.signature(model.fit).parameters else {}
    with warnings.catch_warnings():
        # Counted in the results of the layers instead; folds and bands would repeat it.
        warnings.simplefilter("ignore", AlphaAtBoundaryWarning)
        model.fit(take(train), design.Y[train], **groups)
    return model, take


def predict_folds(
    estimator: Any, inputs: Inputs, design: Design, split: bool = False
) -> tuple[np.ndarray, dict[str, np.ndarray], Any]:
    """Predict every tested image by an encoder that has not seen it.

    Parameters
    ----------
    estimator : unfitted encoder
    inputs : Inputs
        Rows as the design's images.
    design : Design
    split : bool
        Also return the contribution of every feature space, if the encoder has some.

    Returns
    -------
    prediction : array (n_tested, n_voxels), float32
        In the order of ``design.tested``, centred by fold.
    parts : dict name -> the same of each feature space; empty without ``split``
    model : encoder fitted on the last fold
    """
    whole: list[np.ndarray] = []
    parts: dict[str, list[np.ndarray]] = {}
    model = None
    for train, test in design.folds:
        model, take = fit_rows(estimator, inputs, design, train)
        X = take(test)
        whole.append(np.asarray(model.predict(X), np.float32))
        if split:
            for name, part in model.predict(X, split=True).items():
                parts.setdefault(name, []).append(np.asarray(part, np.float32))
    joined = {name: centre_folds(np.concatenate(part), design) for name, part in parts.items()}
    return centre_folds(np.concatenate(whole), design), joined, model


def unique_by_band(
    prediction: np.ndarray,
    estimator: Callable[[list[str]], Any],
    inputs: Inputs,
    design: Design,
    rois: Mapping[str, np.ndarray],
    n_resamples: int,
    seed: int,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Return what each feature space explains that the others cannot: R2 of all minus R2 without it, refitted.

    Parameters
    ----------
    prediction : array (n_tested, n_voxels)
        By all feature spaces together.
    estimator : function from names of feature spaces to an unfitted encoder
    inputs, design
    rois : dict name -> mask
    n_resamples : int
        Of the paired bootstrap over images, and of the test.
    seed : int

    Returns
    -------
    unique : array (n_bands, n_voxels)
        Share of variance; noise makes it negative where there is nothing to add.
    table : DataFrame
        ``roi, band, unique, ci_low, ci_high, p, r2`` (of all bands), the region's means.
    """
    truth = centre_folds(design.Y[design.tested], design)
    unique, tables = [], []
    for name in inputs.data:
        rest = inputs.without(name)
        reduced, _, _ = predict_folds(estimator(list(rest.data)), rest, design)
        found = compare_models(
            truth,
            prediction,
            reduced,
            metric="r2",
            groups=design.groups[design.tested],
            rois=rois,
            n_resamples=n_resamples,
            seed=seed,
        )
        unique.append(found.difference)
        table = found.to_frame().rename(columns={"difference": "unique", "score_a": "r2"}).assign(band=name)
        tables.append(table[["roi", "band", "unique", "ci_low", "ci_high", "p", "r2"]])
    return np.stack(unique), pd.concat(tables, ignore_index=True)


def efficiency(
    estimator: Any,
    inputs: Inputs,
    design: Design,
    rois: Mapping[str, np.ndarray],
    sizes: tuple[int, ...],
    n_draws: int,
    seed: int,
) -> pd.DataFrame:
    """Score an encoder that is given only some of the training images.

    Draw d of n images is the same for every encoder. With several folds the draws take turns.

    Returns
    -------
    DataFrame
        ``roi, n_images, score`` (mean r over voxels and draws), ``ci_low, ci_high`` (95 % range over draws),
        ``n_draws``.
    """
    names, masks = check_rois(rois, design.Y.shape[1])
    rows = []
    for size in sizes:
        found = []
        for draw in range(n_draws):
            train, test = design.folds[draw % len(design.folds)]
            chosen = some_images(train, design.groups, size, np.random.default_rng([seed, size, draw]))
            model, take = fit_rows(estimator, inputs, design, chosen)
            r = pearson_r(design.Y[test], np.asarray(model.predict(take(test)), np.float32))
            found.append(roi_means(np.nan_to_num(r), masks))
        low, high = np.percentile(found, [2.5, 97.5], axis=0)
        for k, (name, mean) in enumerate(zip(names, np.mean(found, axis=0), strict=True)):
            rows.append({"roi": name, "n_images": size, "score": mean, "ci_low": low[k], "ci_high": high[k]})
    return pd.DataFrame(rows).assign(n_draws=n_draws)


def some_images(train: np.ndarray, groups: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``size`` training rows, drawn picture by picture, in their order.

    >>> some_images(np.arange(6), np.array([0, 0, 1, 1, 2, 2]), 4, np.random.default_rng(0))
    array([0, 1, 4, 5])
    """
    pictures = rng.permutation(np.unique(groups[train]))
    place = {p: i for i, p in enumerate(pictures.tolist())}
    order = np.argsort([place[g] for g in groups[train].tolist()], kind="stable")
    return np.sort(train[order[:size]])
