"""How different are the responses to any two conditions? Representational dissimilarity matrices from patterns.

    sqeuclidean   |x_i - x_j|^2 / p                  correlation   1 - corr(x_i, x_j)
    euclidean     |x_i - x_j| / sqrt(p)              cosine        1 - x_i.x_j / (|x_i| |x_j|)
    mahalanobis   (x_i - x_j)' W (x_i - x_j) / p     crossnobis    the same, across folds: see neuro.rsa.crossnobis
    poisson       symmetrised KL divergence / p      poisson_cv    the same, across folds: see neuro.rsa.poisson

W is the precision (inverse covariance) of the noise. Dividing by the number of channels p makes regions comparable.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neuro._check import check_option, is_tensor
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa import _blocks, _distances
from neuro.rsa._datasets import (
    condition_table,
    data_sets,
    is_nested,
    n_dims,
    names_of,
    noises_of,
    per_data_set,
    plan_of,
    stack_pairs,
)
from neuro.rsa._metrics import METRICS as METRICS
from neuro.rsa._metrics import Options, check_options, metric_of
from neuro.rsa._nan_pairs import shared_distances
from neuro.rsa._patterns import Patterns, Plan, as_float
from neuro.rsa.container import RDMs
from neuro.rsa.noise import noise_precision, whitener_of
from neuro.rsa.poisson import PRIOR
from neuro.rsa.unbalanced import unbalanced

NAN = ("raise", "pairwise", "drop")


def rdm(
    data: Any,
    metric: str | Callable[[Any], Any] = "correlation",
    *,
    conditions: Any = None,
    folds: Any = None,
    noise: Any = None,
    nan: str = "raise",
    remove_mean: bool = False,
    prior: tuple[float, float] | None = None,
    unbalanced: bool | None = None,
    weighting: str | None = None,
    partial: bool = False,
    table: Any = None,
    **selection: Any,
) -> RDMs:
    """Return the representational dissimilarity matrices of patterns.

    Parameters
    ----------
    data : array or tensor (n_rows, n_channels) or (n_rdms, n_rows, n_channels), list or dict of arrays, or Responses
        Patterns, trials or time points by channels. Arrays of a list may differ in channels; the keys of a dict go
        into the column "name" of the table. :class:`~neuro.data.Responses`, alone or in a list: see ``by`` below.
    metric : str or callable
        A key of :data:`METRICS`, or a function of (n_conditions, n_channels) that returns (n_pairs,).
    conditions : sequence (n_rows,) or DataFrame with a column "condition", optional
        The condition of every row. Rows of one condition are averaged, or sorted into folds by metrics that are
        cross-validated. Conditions come in the order of first appearance. For a list of arrays, one for all or a list.
    folds : sequence (n_rows,), optional
        Run, session or repeat of every row, for cross-validated metrics. By default the k-th row of a condition is
        fold k, if all have equally many rows.
    noise : array (p, p) or (p,), or list, or str, optional
        Precision of the noise (see :func:`~neuro.rsa.noise_precision`) for "mahalanobis" and "crossnobis", or the
        method by which to estimate it from the rows around their condition's mean ("shrinkage_diag"...). For a
        single data set and "crossnobis" a list holds one per fold, ascending; for several data sets one per data set.
    nan : "raise", "pairwise" or "drop"
        What NaN in the data means. "pairwise" takes, for each pair of conditions, the channels that both know; "drop"
        leaves out channels that any row lacks.
    remove_mean : bool
        Subtract each pattern's mean over channels, for the metrics in which this is a choice.
    prior : (lambda, weight), optional
        Of the Poisson metrics; (1, 0.1) by default.
    unbalanced : bool, optional
        Average over all pairs of rows from different folds (see :mod:`neuro.rsa.unbalanced`) instead of over folds'
        means. By default only if some condition is missing from some fold.
    weighting : "number" or "equal", optional
        For ``unbalanced`` data with NaN: weigh pairs of rows by their shared channels ("number", the default) or not.
    partial : bool
        Allow data sets with different conditions: pairs that one lacks are NaN in its RDM.
    table : DataFrame or mapping of columns, optional
        One row per RDM.
    **selection
        For Responses only: ``by``, ``voxels``, ``trials`` (:func:`~neuro.rsa.from_responses.rdm_from_responses`).

    Returns
    -------
    RDMs
        In the precision and on the device of the data; tensors carry gradients.

    Raises
    ------
    ValueError, ShapeMismatch, EmptySelection
        NaN or infinite data, one condition, one fold for a cross-validated metric, unequal counts without folds, a
        precision that is not positive definite, options that the metric does not take.

    Warns
    -----
    UserWarning
        Once, with a count, if patterns are constant and their correlation or cosine distances are NaN.

    Notes
    -----
    One Gram matrix of the patterns gives all pairs, in blocks of channels: memory beside the data is about one
    n x n matrix in float64, and above 8,192 conditions no more than the distances themselves and a block of rows.

    References
    ----------
    Kriegeskorte, Mur & Bandettini (2008), Frontiers in Systems Neuroscience 2, 4.
    Walther et al. (2016), NeuroImage 137, 188-200.
    Schuett et al. (2023), eLife 12, e82566.

    Examples
    --------
    >>> rdm([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 2.0, 4.0]], conditions=["face", "house", "cat"]).dissimilarities
    array([[2.        , 0.01801949, 1.98198051]])
    """
    if _are_responses(data):
        from neuro.rsa.from_responses import rdm_from_responses

        if conditions is not None or table is not None:
            raise ValueError("Responses bring their own conditions (stimuli) and table: leave these arguments out.")
        options = {"noise": noise, "nan": nan, "remove_mean": remove_mean, "prior": prior}
        options |= {"unbalanced": unbalanced, "weighting": weighting}
        return rdm_from_responses(data, metric, folds=folds, partial=partial, options=options, **selection)
    if selection:
        raise TypeError(f"rdm() got unexpected arguments {sorted(selection)}; by, voxels and trials are for Responses.")
    entry, name = metric_of(metric)
    check_options(entry, name, folds, noise, remove_mean, prior, unbalanced, weighting)
    check_option("nan", nan, NAN)
    parts, table, several = data_sets(data, table)
    if not several and isinstance(conditions, list) and is_nested(conditions):
        raise ShapeMismatch("several lists of conditions were given for one data set.")
    row_names = per_data_set(conditions, len(parts), several)
    row_folds = per_data_set(folds, len(parts), several)
    noises = [noise] if not several else noises_of(noise, len(parts))
    options = Options(entry, name, nan, remove_mean, prior, unbalanced, weighting or "number")
    plans: list[Plan] = []
    for k, (x, c, f) in enumerate(zip(parts, row_names, row_folds, strict=True)):
        same = k > 0 and c is row_names[k - 1] and f is row_folds[k - 1] and len(x) == len(parts[k - 1])
        plans.append(plans[-1] if same else plan_of(len(x), names_of(c), f, entry, unbalanced))
    settings = _settings(options, plans, noises, parts)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        d = _batch(data, plans, options) if several and noise is None else None
        if d is None:
            computed = (_one(x, plan, w, options) for x, plan, w in zip(parts, plans, noises, strict=True))
            d, names = stack_pairs(computed, plans, partial)
        else:
            names = plans[0].names
    return RDMs(d, condition_table(names, row_names, plans), table, name, settings)


def _are_responses(data: Any) -> bool:
    module = sys.modules.get("neuro.data.responses")  # not loaded: then these are none
    if module is None:
        return False
    several = isinstance(data, (list, tuple)) and len(data) > 0
    return isinstance(data, module.Responses) or (several and all(isinstance(x, module.Responses) for x in data))


def _one(X: Any, plan: Plan, noise: Any, o: Options) -> Any:
    """Return (n_pairs,) of one data set, in its dtype."""
    if o.nan == "drop":
        keep = ~(X.isnan() if is_tensor(X) else np.isnan(X)).any(0)
        if not bool(keep.any()):
            raise EmptySelection("nan='drop' leaves no channel: every channel is NaN in some row.")
        X = X if bool(keep.all()) else X[:, keep]
    options: dict[str, Any] = {}
    if isinstance(noise, str):
        noise = noise_precision(X, noise, conditions=plan.codes)
    if noise is not None:
        options["noise"] = noise
    if o.remove_mean:
        options["remove_mean"] = True
    if o.prior is not None:
        options["prior"] = o.prior
    if o.unbalanced or (plan.folds is not None and plan.counts.min() == 0):
        if o.nan != "pairwise":
            _refuse_nan(X)
        d = unbalanced(X, plan, o.name, weighting=o.weighting, **options)
        return _cast(d, X)
    if o.nan == "pairwise" and bool((X.isnan() if is_tensor(X) else np.isnan(X)).any()):
        return _cast(_pairwise(X, plan, noise, o), X)
    P = Patterns(X, plan)
    if _blocks.is_large(P) and o.name in _blocks.STREAMED:
        d = _blocks.fill(P, o.name, noise, o.remove_mean)
    else:
        d = o.entry.function(P, **options)
    if bool((d != d).any()):
        _refuse_nan(X)
    return _cast(d, X)


def _pairwise(X: Any, plan: Plan, noise: Any, o: Options) -> Any:
    if o.name not in ("sqeuclidean", "euclidean", "correlation", "cosine", "mahalanobis", "crossnobis"):
        raise ValueError(f"nan='pairwise' is not defined for metric={o.name!r}; use nan='drop'.")
    scale = None
    if noise is not None:
        if isinstance(noise, (list, tuple)) or n_dims(noise) != 1:
            raise ValueError(
                "nan='pairwise' takes the diagonal of a precision only, since a precision matrix mixes channels; use "
                "nan='drop' with the precision of the channels that are left."
            )
        scale = whitener_of(noise, X.shape[1], X)
    known = ~X.isnan() if is_tensor(X) else ~np.isnan(X)
    zero = X.new_zeros(()) if is_tensor(X) else X.dtype.type(0)
    where: Any = np.where
    if is_tensor(X):
        import torch

        where = torch.where
    weights = Patterns(known.to(X.dtype) if is_tensor(X) else known.astype(X.dtype), plan).array()
    sums = Patterns(where(known, X, zero), plan).array()
    means = where(weights > 0, sums / where(weights > 0, weights, zero + 1), zero + float("nan"))
    return shared_distances(means, o.name, scale, o.remove_mean)


def _refuse_nan(X: Any) -> None:
    nan = X.isnan() if is_tensor(X) else np.isnan(X)
    count = int(nan.sum())
    if count:
        rows, channels = int(nan.any(1).sum()), int(nan.any(0).sum())
        whole = int(nan.all(1).sum())
        text = f", {whole} rows are NaN altogether" if whole else ""
        raise ValueError(
            f"the data hold {count:,} NaN, in {rows} of {X.shape[0]} rows and {channels} of {X.shape[1]} channels"
            f"{text}. nan='pairwise' compares conditions over the channels both know, nan='drop' leaves channels out."
        )
    infinite = int((X.isinf() if is_tensor(X) else np.isinf(X)).sum())
    if infinite:
        raise ValueError(f"the data hold {infinite:,} infinite values.")


def _cast(d: Any, X: Any) -> Any:
    return d.to(X.dtype) if is_tensor(d) else d.astype(X.dtype, copy=False)


def _batch(data: Any, plans: Sequence[Plan], o: Options) -> Any:
    """Distances of a stack of small data sets at once, or None where this is not such a stack."""
    if o.name not in _distances.BATCHED or o.nan != "raise" or o.unbalanced or not hasattr(data, "ndim"):
        return None
    X = as_float(data)
    r, n, p = X.shape
    if not plans[0].identity or (not is_tensor(X) and (n > _distances.SMALL or n * p > 2**15)):
        return None
    if is_tensor(X):
        d = _distances.batched(X, o.name, o.remove_mean)
    else:
        step = max(1, 2**17 // (n * (p + n)))
        d = np.concatenate([_distances.batched(X[k : k + step], o.name, o.remove_mean) for k in range(0, r, step)])
    if bool((d != d).any()):
        _refuse_nan(X.reshape(r * n, p))
    return _cast(d, X)


def _settings(o: Options, plans: list[Plan], noises: list[Any], parts: list[Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {"n_channels": sorted({int(x.shape[1]) for x in parts})}
    if o.entry.cross_validated:
        settings["n_folds"] = sorted({plan.n_folds for plan in plans})
    if "noise" in o.entry.takes:
        w = noises[0]
        kind = (
            "none"
            if w is None
            else w
            if isinstance(w, str)
            else "one per fold"
            if isinstance(w, (list, tuple)) or n_dims(w) == 3
            else "matrix"
        )
        settings["noise"] = "diagonal" if kind == "matrix" and n_dims(w) == 1 else kind
    if "prior" in o.entry.takes:
        settings["prior"] = list(o.prior or PRIOR)
    if o.remove_mean:
        settings["remove_mean"] = True
    if o.nan != "raise":
        settings["nan"] = o.nan
    if o.unbalanced or any(plan.folds is not None and plan.counts.min() == 0 for plan in plans):
        settings |= {"unbalanced": True, "weighting": o.weighting}
    return settings
