"""RDMs of ``Responses``: by region, subject, session or any other column of the trials, stimuli as conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from neuro.data import Responses
from neuro.errors import EmptySelection, NoRepeats, ShapeMismatch, nearest
from neuro.rsa._datasets import stack_rdms
from neuro.rsa._metrics import METRICS, Metric
from neuro.rsa.container import RDMs
from neuro.rsa.estimate import rdm


def rdm_from_responses(
    responses: Responses | Sequence[Responses],
    metric: Any = "correlation",
    *,
    by: str | Sequence[str] = (),
    folds: Any = None,
    voxels: Any = None,
    trials: Any = None,
    partial: bool = False,
    options: Mapping[str, Any] | None = None,
) -> RDMs:
    """Return one RDM per group of trials and region; ``rdm(responses, ...)`` is the same.

    Parameters
    ----------
    responses : Responses or sequence of Responses
        Of several subjects: an RDM of each, with the column "subject".
    metric : str or callable
        See :func:`~neuro.rsa.rdm`. Trials of one stimulus are averaged, or sorted into folds.
    by : str or sequence of str
        "roi", the name of an atlas (its regions), or columns of the trials table ("session", "run"...): an RDM of each
        combination. The table's columns are called so, with an atlas under "roi".
    folds : str or sequence (n_trials,), optional
        For cross-validated metrics: a column of the trials table ("session", "repeat"; "run" means each run of each
        session). By default "repeat" if there is one, else the k-th trial of a stimulus is fold k.
    voxels : region name(s), mask, indices, or dict name -> any of these, optional
        Voxels to use; with ``by="roi"`` the regions, one RDM each. All regions of all atlases by default.
    trials : mask, indices or query, optional
    partial : bool
        Allow groups that saw different stimuli: pairs that one lacks are NaN.
    options : mapping
        noise, nan, remove_mean, prior, unbalanced, weighting of :func:`~neuro.rsa.rdm`. ``noise`` may be a method of
        :func:`~neuro.rsa.noise_covariance`, or a dict region -> precision.

    Returns
    -------
    RDMs
        Conditions in ascending order of stimulus; table with subject (where known), the groups, n_voxels, n_trials.
    """
    several = [responses] if isinstance(responses, Responses) else list(responses)
    keys = [by] if isinstance(by, str) else list(by)
    cross_validated = isinstance(METRICS.get(metric) if isinstance(metric, str) else None, Metric) and bool(
        METRICS[metric].cross_validated
    )
    results: list[RDMs] = []
    rows: list[dict[str, Any]] = []
    for number, one in enumerate(several):
        if one.times is not None:
            raise ShapeMismatch("these responses have a time axis: use rdm_movie, or select one time.")
        one = one if trials is None else one.select(trials=trials)
        subject = _constant(one.trials, "subject")
        for group, part in _trial_groups(one, [k for k in keys if not _is_region_key(one, k)]):
            for roi, which in _regions(one, [k for k in keys if _is_region_key(one, k)], voxels):
                local = part if which is None else part.select(voxels=which)
                results.append(_single(local, metric, folds, cross_validated, dict(options or {}), roi))
                row: dict[str, Any] = {} if subject is None and len(several) == 1 else {"subject": subject}
                if row and subject is None:
                    row["subject"] = number
                row |= {} if roi is None else {"roi": roi}
                rows.append({**row, **group, "n_voxels": local.n_voxels, "n_trials": local.n_trials})
    return stack_rdms(results, pd.DataFrame(rows), partial)


def fold_labels(trials: pd.DataFrame, column: str) -> np.ndarray:
    """Return the fold of every trial: the values of a column, runs being told apart between sessions."""
    if column not in trials:
        raise ValueError(f"no column {column!r} in the trials table{nearest(column, trials.columns)}")
    columns = ["session", "run"] if column == "run" and "session" in trials else [column]
    return trials.groupby(columns, sort=True).ngroup().to_numpy()


def _single(
    responses: Responses, metric: Any, folds: Any, cross_validated: bool, options: dict[str, Any], roi: str | None
) -> RDMs:
    stimulus = responses.stimulus
    order = np.argsort(stimulus, kind="stable")
    labels = None
    table = responses.trials
    if folds is not None:
        labels = fold_labels(table, folds) if isinstance(folds, str) else np.asarray(folds)
        if labels.shape != stimulus.shape:
            raise ShapeMismatch(
                f"folds must name a column of the trials table or give one label for each of {len(stimulus):,} trials, "
                f"got shape {labels.shape}; a column is needed with by= trials or trials=."
            )
    elif cross_validated:
        if len(np.unique(stimulus)) == len(stimulus):
            raise NoRepeats(
                f"metric={metric!r} needs repeats of stimuli, and here each has one trial. Was it averaged?"
            )
        labels = table["repeat"].to_numpy() if "repeat" in table else None
    noise = options.get("noise")
    if isinstance(noise, Mapping):
        if roi not in noise:
            raise ValueError(f"no precision for region {roi!r}: noise has {list(noise)}.")
        options["noise"] = noise[roi]
    return rdm(
        responses.to_numpy()[order],
        metric,
        conditions=stimulus[order],
        folds=None if labels is None else labels[order],
        **options,
    )


def _is_region_key(responses: Responses, key: str) -> bool:
    return key not in responses.trials and (key == "roi" or key in responses.voxels.atlases)


def _trial_groups(responses: Responses, keys: list[str]) -> list[tuple[dict[str, Any], Responses]]:
    table = responses.trials
    for key in keys:
        if key not in table:
            known = ["roi", *responses.voxels.atlases, *table.columns]
            raise ValueError(f"by={key!r} is no column of the trials, no atlas{nearest(key, known)} Known: {known}.")
    if not keys:
        return [({}, responses)]
    groups = table.groupby(keys, sort=True).indices
    return [
        (dict(zip(keys, k if isinstance(k, tuple) else (k,), strict=True)), responses.select(trials=np.sort(rows)))
        for k, rows in groups.items()
    ]


def _regions(responses: Responses, keys: list[str], voxels: Any) -> list[tuple[str | None, Any]]:
    if len(keys) > 1:
        raise ValueError(f"by may name one set of regions, got {keys}.")
    if isinstance(voxels, Mapping):
        return list(voxels.items())
    if not keys:
        return [(voxels if isinstance(voxels, str) else None, voxels)]
    if voxels is not None:
        names = [voxels] if isinstance(voxels, str) else list(voxels)
        if not all(isinstance(name, str) for name in names):
            raise ValueError("with by='roi', voxels must be region names or a dict of name -> voxels.")
        return [(name, name) for name in names]
    atlas = None if keys[0] == "roi" else keys[0]
    labels = responses.voxels.labels(atlas)
    full = [f"{atlas}:{x}" for x in labels] if atlas else labels
    if not full:
        raise EmptySelection("these voxels belong to no region: give voxels={name: mask}.")
    bare = [x.split(":", 1)[1] for x in full]
    return [(b if bare.count(b) == 1 else f, f) for b, f in zip(bare, full, strict=True)]


def _constant(table: pd.DataFrame, column: str) -> Any:
    values = table[column].unique() if column in table else []
    return values[0] if len(values) == 1 else None
