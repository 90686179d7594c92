"""``RDMs``: a stack of representational dissimilarity matrices over the same conditions, with names for both."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import is_tensor
from neuro._files import atomic_path
from neuro.errors import CorruptFile, DuplicateIds, EmptySelection, ShapeMismatch, UnknownStimulus, nearest
from neuro.rsa._array import lib
from neuro.rsa._pairs import n_from_pairs, pair_indices, to_condensed, to_square

SYMMETRY = 1e-6  # largest |D - D'| relative to the largest entry that counts as rounding


class RDMs:
    """Dissimilarities between all pairs of conditions, for one or more regions, layers, subjects...

    Immutable: every method returns a new object.

    Parameters
    ----------
    dissimilarities : array or tensor (n_rdms, n_pairs), (n_pairs,), (n_rdms, n, n) or (n, n)
        Condensed (pairs i < j, row by row, as :func:`scipy.spatial.distance.squareform`) or square. Square matrices
        must be symmetric with a zero diagonal. NaN marks pairs that are not known. A tensor stays where it is.
    conditions : sequence of names, or DataFrame with a column "condition", optional
        Unique names, matched by :func:`~neuro.rsa.compare` and others; 0, 1, 2... by default.
    table : DataFrame or mapping of columns, optional
        One row per RDM: what it is (subject, roi, layer, session, name...).
    metric : str, optional
        How they were computed.
    settings : mapping, optional
        Settings of that computation, small and JSON-able.

    Examples
    --------
    >>> d = RDMs([[1.0, 2.0, 3.0]], conditions=["face", "house", "cat"], table={"roi": ["FFA"]})
    >>> d
    RDMs(1 RDM of 3 conditions; columns: roi)
    >>> d.select(conditions=["cat", "face"]).dissimilarities
    array([[2.]])
    """

    def __init__(
        self,
        dissimilarities: Any,
        conditions: Any = None,
        table: Any = None,
        metric: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ):
        d = as_condensed(dissimilarities)
        if not is_tensor(d):
            d = d.view()
            d.flags.writeable = False
        n_rdms, n = d.shape[0], n_from_pairs(d.shape[1])
        self._d = d
        self._n = n
        # Tables cost more than many comparisons of plain arrays: they are made when they are first needed.
        if conditions is not None:
            self._conditions = _condition_table(conditions, n)
        if table is not None:
            self._table = _rdm_table(table, n_rdms)
        self._metric = metric
        self._settings = dict(settings or {})

    @cached_property
    def _conditions(self) -> pd.DataFrame:
        return pd.DataFrame({"condition": np.arange(self._n)})

    @cached_property
    def _table(self) -> pd.DataFrame:
        return pd.DataFrame(index=range(self.n_rdms))

    @cached_property
    def _names(self) -> np.ndarray:
        names = self._conditions["condition"].to_numpy(copy=True) if "_conditions" in vars(self) else np.arange(self._n)
        names.flags.writeable = False
        return names

    # What it is

    @property
    def dissimilarities(self) -> Any:
        """(n_rdms, n_pairs), read-only."""
        return self._d

    @property
    def matrices(self) -> Any:
        """(n_rdms, n_conditions, n_conditions), a fresh array."""
        return to_square(self._d)

    @property
    def conditions(self) -> np.ndarray:
        """Names of the conditions, (n_conditions,), read-only."""
        return self._names

    @property
    def named(self) -> bool:
        """Whether the conditions have names other than 0, 1, 2..., those of files and arrays without any."""
        return not np.array_equal(self._names, np.arange(self._n))

    @property
    def condition_table(self) -> pd.DataFrame:
        """One row per condition, with its name in "condition"; a copy."""
        return self._conditions.copy()

    @property
    def table(self) -> pd.DataFrame:
        """One row per RDM; a copy."""
        return self._table.copy()

    def levels(self, column: str) -> list[Any]:
        """Return the distinct values of a column of the table, in order of appearance."""
        self._need_column(column)
        return list(dict.fromkeys(self._table[column]))

    @property
    def metric(self) -> str | None:
        """How the dissimilarities were computed, if known."""
        return self._metric

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of that computation; a copy."""
        return dict(self._settings)

    @property
    def n_rdms(self) -> int:
        """Number of RDMs."""
        return int(self._d.shape[0])

    @property
    def n_conditions(self) -> int:
        """Number of conditions."""
        return self._n

    @property
    def names(self) -> list[str]:
        """One label per RDM: its row of the table in short."""
        if "name" in self._table:
            return [str(x) for x in self._table["name"]]
        if not len(self._table.columns):
            return [str(i) for i in range(self.n_rdms)]
        return [" ".join(str(x) for x in row) for row in self._table.itertuples(index=False)]

    def __len__(self) -> int:
        return self.n_rdms

    def __repr__(self) -> str:
        what = f"{self.n_rdms:,} RDM{'s' if self.n_rdms != 1 else ''} of {self.n_conditions:,} conditions"
        kind = f"; {self._metric}" if self._metric else ""
        columns = f"; columns: {', '.join(self._table.columns)}" if len(self._table.columns) else ""
        return f"RDMs({what}{kind}{columns})"

    def __getitem__(self, rdms: Any) -> RDMs:
        return self.select(rdms)

    # New objects from it

    def select(self, rdms: Any = None, conditions: Any = None) -> RDMs:
        """Return some RDMs and/or some conditions, in the order asked for.

        Parameters
        ----------
        rdms : int, slice, index array, boolean mask, or mapping column -> value(s), optional
            ``select({"roi": ["V1", "FFA"], "subject": 1})`` takes the rows of the table that match all.
        conditions : sequence of names, or boolean mask (n_conditions,), optional

        Raises
        ------
        EmptySelection, UnknownStimulus, DuplicateIds, ValueError
        """
        rows = self._rows(rdms)
        d = self._d[rows] if not is_tensor(self._d) else self._d[list(map(int, rows))]
        names = self._conditions
        if conditions is not None:
            order = self._positions(conditions)
            i, j = pair_indices(len(order))
            a, b = np.minimum(order[i], order[j]), np.maximum(order[i], order[j])
            n = self.n_conditions
            index = a * n - a * (a + 1) // 2 + b - a - 1
            if is_tensor(d):
                import torch

                index = torch.tensor(index, device=d.device)
            d = d[:, index]
            names = self._conditions.iloc[order].reset_index(drop=True)
        table = self._table.iloc[rows].reset_index(drop=True)
        return RDMs(d, names, table, self._metric, self._settings)

    def with_table(self, table: Any = None, **columns: Any) -> RDMs:
        """Return the same RDMs with another table, or with columns added to theirs."""
        table = self._table if table is None else _rdm_table(table, self.n_rdms)
        return RDMs(self._d, self._conditions, table.assign(**columns), self._metric, self._settings)

    def with_conditions(self, conditions: Any) -> RDMs:
        """Return the same RDMs with other names, or with a table of conditions."""
        return RDMs(self._d, conditions, self._table, self._metric, self._settings)

    def with_dissimilarities(self, d: Any, metric: str | None = None, **settings: Any) -> RDMs:
        """Return other dissimilarities of the same RDMs, e.g. transformed ones."""
        return RDMs(d, self._conditions, self._table, metric or self._metric, {**self._settings, **settings})

    def concat(self, *others: RDMs) -> RDMs:
        """Return all RDMs in one stack; conditions of the others are brought into this one's order, by name."""
        stacks = [self, *(o.select(conditions=self._shared_order(o)) for o in others)]
        xp = lib(self._d)
        join = xp.cat if is_tensor(self._d) else xp.concatenate
        table = pd.concat([s._table for s in stacks], ignore_index=True)
        metrics = {s._metric for s in stacks}
        metric = self._metric if len(metrics) == 1 else None
        if metric is None and len(metrics) > 1 and "metric" not in table:
            table["metric"] = [s._metric for s in stacks for _ in range(s.n_rdms)]
        return RDMs(join([s._d for s in stacks]), self._conditions, table, metric, self._settings)

    def mean(self, by: str | Sequence[str] | None = None, weights: Any = None) -> RDMs:
        """Return the mean RDM, of all or of those that share their values in column(s) ``by``; NaN pairs are skipped.

        Parameters
        ----------
        by : str or sequence of str, optional
        weights : array (n_rdms,) or (n_rdms, n_pairs), >= 0, optional
            For instance the number of trials behind each.
        """
        w = np.ones((self.n_rdms, 1)) if weights is None else np.asarray(weights, float)
        w = w[:, None] if w.ndim == 1 else w
        if w.shape[0] != self.n_rdms or w.shape[1] not in (1, self._d.shape[1]) or not (w >= 0).all():
            raise ShapeMismatch(f"weights must be ({self.n_rdms},) or {tuple(self._d.shape)} and not negative.")
        columns = [by] if isinstance(by, str) else list(by or [])
        for column in columns:
            self._need_column(column)
        groups = self._table.groupby(columns, sort=False).indices if columns else {(): np.arange(self.n_rdms)}
        means = [_weighted_mean(self._d[np.sort(rows)], w[np.sort(rows)]) for rows in groups.values()]
        keys = [key if isinstance(key, tuple) else (key,) for key in groups]
        table = pd.DataFrame(keys, columns=columns, index=range(len(keys)))
        table["n_rdms"] = [len(rows) for rows in groups.values()]
        join = lib(self._d).stack(means)
        return RDMs(join, self._conditions, table, self._metric, self._settings)

    def numpy(self) -> RDMs:
        """Return the same RDMs as numpy arrays."""
        if not is_tensor(self._d):
            return self
        return self.with_dissimilarities(self._d.detach().cpu().numpy())

    def to_frame(self) -> pd.DataFrame:
        """Return a tidy table: one row per RDM and pair, with condition_a, condition_b, dissimilarity."""
        d, (i, j) = self.numpy()._d, pair_indices(self.n_conditions)
        names = self.conditions
        pairs = pd.DataFrame({"condition_a": names[i], "condition_b": names[j]})
        frames = [
            pairs.assign(**row, dissimilarity=x)
            for row, x in zip(self._table.to_dict("records") or [{}] * len(d), d, strict=True)
        ]
        return pd.concat(frames, ignore_index=True)

    # Files and other packages

    def save(self, path: str | Path) -> None:
        """Write a folder, atomically: rdms.npz (dissimilarities), rdms.tsv, conditions.tsv, rdms.json."""
        with atomic_path(path, directory=True) as folder:
            np.savez(folder / "rdms.npz", dissimilarities=self.numpy()._d)
            self._conditions.to_csv(folder / "conditions.tsv", sep="\t", index=False, na_rep="n/a")
            self._table.assign(rdm=range(self.n_rdms)).to_csv(folder / "rdms.tsv", sep="\t", index=False, na_rep="n/a")
            kind = "int" if np.issubdtype(self.conditions.dtype, np.integer) else "str"
            text = {"metric": self._metric, "settings": self._settings, "condition_names": kind}
            (folder / "rdms.json").write_text(json.dumps(text, indent=2, default=str) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> RDMs:
        """Read what :meth:`save` wrote."""
        folder = Path(path)
        if not (folder / "rdms.npz").is_file():
            raise FileNotFoundError(f"no RDMs at {folder}: expected a folder written by RDMs.save (with rdms.npz).")
        try:
            with np.load(folder / "rdms.npz", allow_pickle=False) as file:
                d = file["dissimilarities"]
            about = json.loads((folder / "rdms.json").read_text(encoding="utf-8"))
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise CorruptFile(f"{folder} does not hold RDMs written by RDMs.save: {error}") from error
        read = {"sep": "\t", "keep_default_na": False, "na_values": ["n/a"]}
        named = {"dtype": {"condition": about["condition_names"]}}
        conditions = pd.read_csv(folder / "conditions.tsv", **read, **named)
        text = (folder / "rdms.tsv").read_text(encoding="utf-8")
        table = pd.read_csv(io.StringIO(text), **read, dtype={"subject": str} if _text_subject(text) else None)
        return cls(d, conditions, table.drop(columns="rdm"), about["metric"], about["settings"])

    def to_rsatoolbox(self) -> Any:
        """Return an ``rsatoolbox.rdm.RDMs`` (needs rsatoolbox)."""
        from neuro._check import require

        toolbox = require("rsatoolbox.rdm", "RDMs.to_rsatoolbox")
        patterns = {("conds" if c == "condition" else c): list(self._conditions[c]) for c in self._conditions}
        return toolbox.RDMs(
            np.array(self.numpy()._d, dtype=float),
            dissimilarity_measure=self._metric,
            rdm_descriptors={c: list(self._table[c]) for c in self._table},
            pattern_descriptors=patterns,
        )

    @classmethod
    def from_rsatoolbox(cls, rdms: Any, conditions: str | None = None) -> RDMs:
        """Return RDMs from an ``rsatoolbox.rdm.RDMs``; ``conditions`` is the pattern descriptor that names them."""
        n = rdms.n_cond
        patterns = {k: list(v) for k, v in rdms.pattern_descriptors.items() if k != "index"}
        key = conditions or next((k for k in ("conds", "condition") if k in patterns), None)
        if conditions is not None and conditions not in patterns:
            raise ValueError(
                f"no pattern descriptor {conditions!r}{nearest(conditions, patterns)}; has {list(patterns)}"
            )
        names = patterns.pop(key) if key else list(range(n))
        table = {k: list(v) for k, v in rdms.rdm_descriptors.items() if k != "index"}
        frame = pd.DataFrame({"condition": names, **patterns})
        return cls(rdms.get_vectors(), frame, pd.DataFrame(table, index=range(rdms.n_rdm)), rdms.dissimilarity_measure)

    # Inside

    def _rows(self, rdms: Any) -> np.ndarray:
        if rdms is None:
            return np.arange(self.n_rdms)
        if isinstance(rdms, Mapping):
            keep = np.ones(self.n_rdms, bool)
            for column, wanted in rdms.items():
                self._need_column(column)
                values = self._table[column]
                several = isinstance(wanted, (list, tuple, set, np.ndarray))
                keep &= np.asarray(values.isin(list(wanted)) if several else values == wanted)
            rows = np.flatnonzero(keep)
        else:
            rows = np.atleast_1d(np.arange(self.n_rdms)[np.asarray(rdms) if isinstance(rdms, list) else rdms])
        if not len(rows):
            raise EmptySelection(f"no RDM of {self.n_rdms} matches {rdms!r}.")
        return rows

    def _positions(self, conditions: Any) -> np.ndarray:
        wanted = np.asarray(conditions)
        if wanted.dtype == bool:
            if wanted.shape != (self.n_conditions,):
                raise ShapeMismatch(f"a mask of conditions has {self.n_conditions} entries, got {wanted.shape}.")
            order = np.flatnonzero(wanted)
        else:
            index = pd.Index(self._names)
            order = index.get_indexer(wanted)
            if (order < 0).any():
                missing = [str(w) for w in wanted[order < 0]]
                raise UnknownStimulus(
                    f"no condition {missing[0]!r}{nearest(missing[0], map(str, index))} "
                    f"({len(missing)} of {len(wanted)} names are unknown)"
                )
        if len(np.unique(order)) != len(order):
            raise DuplicateIds(
                "a condition was asked for twice; the dissimilarity of a condition to itself is not data."
            )
        if len(order) < 2:
            raise EmptySelection(f"an RDM needs at least two conditions, got {len(order)}.")
        return order

    def _need_column(self, column: str) -> None:
        if column not in self._table:
            raise ValueError(
                f"no column {column!r} in the table of RDMs{nearest(column, self._table.columns)}; "
                f"it has {list(self._table.columns)}."
            )

    def _shared_order(self, other: RDMs) -> np.ndarray:
        """Names of ``self``; raises unless ``other`` has the same set."""
        mine, theirs = set(self._names.tolist()), set(other._names.tolist())
        if mine != theirs:
            raise ShapeMismatch(
                f"the RDMs must have the same conditions: {len(mine - theirs)} of {len(mine)} names are missing from "
                f"the other, which has {len(theirs - mine)} more. Use .select(conditions=...) on both first."
            )
        return self.conditions


def as_condensed(d: Any) -> Any:
    """Return (n_rdms, n_pairs) floating point from any form that :class:`RDMs` takes, checked."""
    if not is_tensor(d):
        d = np.asarray(d)
        if d.dtype.kind not in "fiub":
            raise ValueError(f"dissimilarities must be numbers, got dtype {d.dtype}.")
        d = d.astype(float) if d.dtype.kind != "f" else d.copy()
    if d.ndim not in (1, 2, 3) or 0 in d.shape:
        raise ShapeMismatch(f"expected (n_rdms, n_pairs) or square matrices, got shape {tuple(d.shape)}.")
    if d.ndim == 1 or (d.ndim == 2 and d.shape[0] == d.shape[1] and _looks_square(d)):
        d = d[None]
    if d.ndim == 3:
        _check_square(d)
        d = to_condensed(d)
    n_from_pairs(d.shape[1])
    return d


def _looks_square(d: Any) -> bool:
    """A stack of condensed RDMs may happen to be (n, n); only a matrix has a diagonal of zeros."""
    x = d.detach().cpu().numpy() if is_tensor(d) else d
    return bool((np.nan_to_num(np.diagonal(x)) == 0).all()) or not _is_pairs(x.shape[1])


def _is_pairs(n_pairs: int) -> bool:
    try:
        return n_from_pairs(n_pairs) > 0
    except ShapeMismatch:
        return False


def _check_square(d: Any) -> None:
    x = d.detach().cpu().numpy() if is_tensor(d) else d
    if x.shape[1] != x.shape[2]:
        raise ShapeMismatch(f"matrices must be square, got shape {tuple(x.shape)}.")
    finite = np.abs(x[np.isfinite(x)])
    scale = float(finite.max()) if finite.size else 0.0
    diagonal = np.nan_to_num(np.diagonal(x, axis1=1, axis2=2))
    if (np.abs(diagonal) > SYMMETRY * max(scale, 1e-300)).any():
        worst = float(np.abs(diagonal).max())
        raise ValueError(
            f"the diagonal of an RDM must be zero, got up to {worst:.3g}. Similarities? Give 1 - similarity. "
            "Cross-run matrices? Keep them as arrays."
        )
    difference = np.abs(x - np.swapaxes(x, 1, 2))
    mismatch = np.isnan(x) != np.isnan(np.swapaxes(x, 1, 2))
    if mismatch.any() or (np.nan_to_num(difference) > SYMMETRY * max(scale, 1e-300)).any():
        raise ValueError(
            f"an RDM must be symmetric, got |D - D'| up to {np.nan_to_num(difference).max():.3g}. "
            "Average it with its transpose if the asymmetry is noise."
        )


def as_rdms(x: Any) -> RDMs:
    """Return ``x`` as :class:`RDMs` if it is not already."""
    return x if isinstance(x, RDMs) else RDMs(x)


def matched(a: Any, b: Any) -> tuple[RDMs, RDMs]:
    """Return two stacks with the conditions of ``b`` in the order of ``a``.

    Two :class:`RDMs` are matched by name; a plain array has no names and is taken in the order given.
    """
    if isinstance(a, RDMs) and isinstance(b, RDMs):
        if not np.array_equal(a.conditions, b.conditions):
            b = b.select(conditions=a._shared_order(b))
        return a, b
    a, b = as_rdms(a), as_rdms(b)
    if a.n_conditions != b.n_conditions:
        raise ShapeMismatch(f"RDMs of {a.n_conditions} and of {b.n_conditions} conditions cannot be compared.")
    return a, b


def _condition_table(conditions: Any, n: int) -> pd.DataFrame:
    if conditions is None:
        return pd.DataFrame({"condition": np.arange(n)})
    if isinstance(conditions, pd.DataFrame):
        if "condition" not in conditions:
            raise ValueError(f"a table of conditions needs a column 'condition', has {list(conditions.columns)}.")
        table = conditions.reset_index(drop=True).copy()
    else:
        table = pd.DataFrame({"condition": list(conditions)})
    if len(table) != n:
        raise ShapeMismatch(f"RDMs of {n:,} conditions were given {len(table):,} names.")
    names = table["condition"]
    if names.duplicated().any():
        raise DuplicateIds(
            f"condition names must be unique: {names[names.duplicated()].iloc[0]!r} stands more than once."
        )
    return table


def _rdm_table(table: Any, n_rdms: int) -> pd.DataFrame:
    frame = pd.DataFrame(index=range(n_rdms)) if table is None else pd.DataFrame(table).reset_index(drop=True)
    if len(frame) != n_rdms:
        raise ShapeMismatch(f"the table must have one row for each of {n_rdms} RDMs, got {len(frame)}.")
    return frame.copy()


def _weighted_mean(d: Any, w: np.ndarray) -> Any:
    xp = lib(d)
    if is_tensor(d):
        w = xp.as_tensor(w, dtype=d.dtype, device=d.device)
    known = ~xp.isnan(d)
    w = w * known
    total = w.sum(0)
    summed = (w * xp.where(known, d, xp.zeros_like(d))).sum(0)
    safe = xp.where(total > 0, total, xp.ones_like(total))
    return xp.where(total > 0, summed / safe, xp.full_like(summed, float("nan")))


def _text_subject(text: str) -> bool:
    return "subject" in text.split("\n", 1)[0].split("\t")
