"""Data sets as ``rdm`` takes them: which arrays, whose labels, and how their distances become one stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import is_tensor
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa._metrics import Metric
from neuro.rsa._patterns import Plan, as_float, make_plan
from neuro.rsa.container import RDMs


def data_sets(data: Any, table: Any) -> tuple[list[Any], Any, bool]:
    """Return the data sets, the table of RDMs, and whether there may be several."""
    if isinstance(data, Mapping):
        if not data:
            raise EmptySelection("the dict of data is empty.")
        frame = pd.DataFrame(table) if table is not None else pd.DataFrame(index=range(len(data)))
        if "name" not in frame:
            frame = frame.assign(name=[str(k) for k in data])
        data, table = list(data.values()), frame
    elif isinstance(data, pd.DataFrame):
        data = data.to_numpy()
    if isinstance(data, (list, tuple)) and len(data) and n_dims(data[0]) == 2:
        parts = [as_float(x) for x in data]
    else:
        array = as_float(data)
        if array.ndim not in (2, 3):
            raise ShapeMismatch(
                f"data must be (n_rows, n_channels) or (n_rdms, n_rows, n_channels), got shape {tuple(array.shape)}. "
                "One channel is data[:, None]."
            )
        if array.ndim == 2:
            return [_checked(array)], table, False
        parts = list(array)
    return [_checked(x) for x in parts], table, True


def _checked(x: Any) -> Any:
    if x.ndim != 2:
        raise ShapeMismatch(f"each data set must be (n_rows, n_channels), got shape {tuple(x.shape)}.")
    if x.shape[1] == 0 or x.shape[0] == 0:
        raise EmptySelection(f"data of shape {tuple(x.shape)} hold nothing.")
    return x


def n_dims(x: Any) -> int:
    return x.ndim if hasattr(x, "ndim") else np.ndim(x)


def is_nested(x: Any) -> bool:
    return len(x) > 0 and not isinstance(x[0], str) and (np.ndim(x[0]) == 1 or isinstance(x[0], pd.DataFrame))


def per_data_set(value: Any, n: int, several: bool) -> list[Any]:
    if several and isinstance(value, (list, tuple)) and is_nested(value):
        if len(value) != n:
            raise ShapeMismatch(f"{len(value)} lists of labels were given for {n} data sets.")
        return list(value)
    return [value] * n


def noises_of(noise: Any, n: int) -> list[Any]:
    if noise is None or isinstance(noise, str) or (not isinstance(noise, (list, tuple)) and n_dims(noise) < 3):
        return [noise] * n
    if len(noise) != n:
        raise ShapeMismatch(
            f"noise must be one precision for all of {n} data sets or a list of {n}, got {len(noise)}. One per fold of "
            "several data sets is a list of lists."
        )
    return list(noise)


def names_of(conditions: Any) -> Any:
    if isinstance(conditions, pd.DataFrame):
        if "condition" not in conditions:
            raise ValueError(f"a table of conditions needs a column 'condition', has {list(conditions.columns)}.")
        return conditions["condition"]
    return conditions


def plan_of(n_rows: int, conditions: Any, folds: Any, entry: Metric, unbal: bool | None) -> Plan:
    if entry.cross_validated:
        if conditions is None:
            raise ValueError(
                "a cross-validated metric compares the same conditions across folds: say with conditions= (and folds=) "
                "which rows belong together."
            )
        plan = make_plan(n_rows, conditions, "occurrence" if folds is None else folds)
        if plan.n_folds < 2:
            raise EmptySelection(
                f"a cross-validated metric needs at least two folds, got {plan.n_folds}: "
                + ("every condition has one row." if folds is None else "all rows carry the same label.")
            )
        if unbal is False and plan.counts.min() == 0:
            missing = int((plan.counts.min(0) == 0).sum())
            raise ShapeMismatch(
                f"{missing} of {plan.n} conditions are missing from some of {plan.n_folds} folds: leave them out, or "
                "let unbalanced be None or True."
            )
        return plan
    return make_plan(n_rows, conditions, folds)


def stack_pairs(computed: Iterator[Any], plans: list[Plan], partial: bool) -> tuple[Any, np.ndarray]:
    """Return the distances of all data sets in one array, and the conditions they are of."""
    names = plans[0].names
    same = all(plan is plans[0] or np.array_equal(plan.names, names) for plan in plans)
    if not same:
        sets = [set(plan.names.tolist()) for plan in plans]
        _check_same(sets, partial, "data set")
        names = np.asarray(list(dict.fromkeys(x for plan in plans for x in plan.names.tolist())))
    out: Any = None
    for k, (d, plan) in enumerate(zip(computed, plans, strict=True)):
        d = d if same else _spread(d, plan.names, names)
        if len(plans) == 1:
            return d[None], names
        if is_tensor(d):
            out = [*(out or []), d]
            continue
        out = np.empty((len(plans), len(d)), d.dtype) if out is None else out
        if d.dtype != out.dtype:
            out = out.astype(np.result_type(out, d))
        out[k] = d
    if isinstance(out, list):
        import torch

        return torch.stack(out), names
    return out, names


def _check_same(sets: list[set[Any]], partial: bool, what: str) -> None:
    if partial or all(s == sets[0] for s in sets):
        return
    odd = next(k for k, s in enumerate(sets) if s != sets[0])
    raise ShapeMismatch(
        f"{what} {odd} has {len(sets[odd] - sets[0])} conditions that {what} 0 lacks, and lacks "
        f"{len(sets[0] - sets[odd])} of its. partial=True makes NaN of the pairs that one lacks."
    )


def stack_rdms(rdms: list[RDMs], table: Any, partial: bool = False) -> RDMs:
    """Return RDMs of single data sets in one stack, conditions ascending where they differ; see ``partial`` of rdm."""
    names = rdms[0].conditions
    if any(not np.array_equal(r.conditions, names) for r in rdms):
        sets = [set(r.conditions.tolist()) for r in rdms]
        _check_same(sets, partial, "group")
        names = np.asarray(sorted(set.union(*sets)))
    d = [
        r.dissimilarities[0]
        if np.array_equal(r.conditions, names)
        else _spread(r.dissimilarities[0], r.conditions, names)
        for r in rdms
    ]
    settings = {**rdms[0].settings, "n_channels": sorted({c for r in rdms for c in r.settings["n_channels"]})}
    return RDMs(np.stack(d), names, table, rdms[0].metric, settings)


def _spread(d: Any, names: np.ndarray, everything: np.ndarray) -> Any:
    """Put the pairs of ``names`` where they belong among those of ``everything``; NaN elsewhere."""
    n = len(everything)
    where = pd.Index(everything).get_indexer(names)
    i, j = np.triu_indices(len(names), 1)
    a, b = np.minimum(where[i], where[j]), np.maximum(where[i], where[j])
    index = a * n - a * (a + 1) // 2 + b - a - 1
    size = n * (n - 1) // 2
    if is_tensor(d):
        import torch

        out = torch.full((size,), float("nan"), dtype=d.dtype, device=d.device)
        return out.index_put((torch.as_tensor(index, device=d.device),), d)
    out = np.full(size, np.nan, d.dtype)
    out[index] = d
    return out


def condition_table(names: np.ndarray, row_names: list[Any], plans: list[Plan]) -> Any:
    """Names of the conditions, with what a table of rows says alike of all rows of each."""
    frame = row_names[0]
    if not isinstance(frame, pd.DataFrame) or len(plans[0].names) != len(names):
        return names
    grouped = frame.groupby("condition", sort=False)
    same = [c for c in frame if c != "condition" and bool((grouped[c].nunique(dropna=False) == 1).all())]
    firsts = frame.drop_duplicates("condition").set_index("condition").loc[names]
    return firsts[same].reset_index()
