"""What linear decoders share: subjects, ids, repeats, output scaling, and predictions streamed to a file."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from sklearn.base import BaseEstimator

from neuro._check import check_option, check_positive_int
from neuro._files import atomic_path, write_json
from neuro._provenance import provenance
from neuro.data import Responses
from neuro.decoders._linear_inputs import Repeats, SubjectRows, all_subjects, one_subject
from neuro.decoders._linear_targets import TargetTable, target_tables
from neuro.decoders.decoded import FORMAT, Decoded
from neuro.decoders.rescaling import POLICIES, TargetStatistics, describe_rescaling, rescale_predictions
from neuro.errors import EmptySelection, ShapeMismatch, SplitLeakage, UnknownSubject

Predictor = Callable[[str, slice], np.ndarray]  # (name, columns) -> (n_rows, n_columns)


class SubjectModel(Protocol):
    """One subject's fitted decoder."""

    n_voxels: int
    shapes: dict[str, tuple[int, ...]]

    def predictor(self, X: np.ndarray, device: Any, memory_limit: int) -> Predictor:
        """Return what predicts any columns of any target for the rows of ``X``."""
        ...

    def chunk(self, n_rows: int, memory_limit: int) -> int:
        """Return how many columns fit into the memory limit at once."""
        ...


class LinearDecoder(BaseEstimator):
    """Base of closed-form decoders: subclasses fit one subject, everything else is here."""

    average_repeats: str
    rescaling: str
    reference_sd: Any
    random_state: int | None
    device: Any
    memory_limit: int

    def _fit_subject(
        self, X: np.ndarray, tables: dict[str, TargetTable], moments: Any, groups: np.ndarray | None
    ) -> SubjectModel:
        raise NotImplementedError

    def fit(self, X: Any, targets: Any, ids: Any = None, groups: Any = None, *, target_ids: Any = None) -> Any:
        """Fit.

        Parameters
        ----------
        X : array, tensor or Responses (n, n_voxels), or dict of subject -> those
            Rows may be single trials or averages over repeats.
        targets : array (n, ...), dict of name -> array (n, ...), or Features
            Memory maps and feature stores are read a few columns at a time. With several subjects either
            ``{subject: targets}``, or targets shared by all.
        ids : sequence (n,), or dict of subject -> sequence, optional
            Stimulus of each row; by default those that ``Responses`` name. Test stimuli are held against them.
        groups : sequence (n,), or dict of subject -> sequence, optional
            What stays together when folds are made; by default the stimulus.
        target_ids : sequence, optional
            Stimulus of each row of the targets, if those have one row per image while X has single trials, or another
            order.

        Returns
        -------
        self

        Raises
        ------
        ShapeMismatch, UnknownStimulus, EmptySelection, ValueError
        """
        self._check()
        subjects = all_subjects(X, ids)
        prepared = []
        for rows in subjects:
            own = _of_subject(targets, X, rows.subject)
            tables = target_tables(own, rows.ids, target_ids, len(rows.X))
            own_groups = groups.get(rows.subject) if isinstance(groups, Mapping) else groups
            prepared.append((rows, tables, rows.ids if own_groups is None else np.asarray(own_groups)))
        self.models_: dict[Hashable, SubjectModel] = {}
        self.train_ids_ = {rows.subject: rows.ids for rows in subjects}
        self.target_statistics_: dict[Hashable, dict[str, TargetStatistics]] = {}
        self.held_out_statistics_: dict[Hashable, dict[str, TargetStatistics]] = {}
        for rows, tables, codes in prepared:
            step = max(1, self.memory_limit // (16 * len(rows.X)))
            moments = {name: table.statistics(step) for name, table in tables.items()}
            self.models_[rows.subject] = self._fit_subject(rows.X, tables, moments, codes)
            self.target_statistics_[rows.subject] = {
                name: TargetStatistics(mean, sd, len(rows.X), 1) for name, (mean, sd) in moments.items()
            }
            if self.rescaling == "train_fold":
                self.held_out_statistics_[rows.subject] = self._held_out(rows, tables, moments, codes)
        self.provenance_ = provenance(self.device, self.random_state, decoder=type(self).__name__)
        return self

    def _check(self) -> None:
        check_option("average_repeats", self.average_repeats, ("voxels", "outputs"))
        check_option("rescaling", self.rescaling, POLICIES)
        check_positive_int("memory_limit", self.memory_limit)
        if self.rescaling == "reference" and self.reference_sd is None:
            raise ValueError(
                "rescaling='reference' needs reference_sd: for every target the standard deviation over units, "
                "averaged over a reference set of images; got None."
            )

    def _held_out(self, rows: SubjectRows, tables, moments, groups, n_folds: int = 5) -> dict[str, TargetStatistics]:
        """Mean and sd of predictions for training items by fits that had not seen their group."""
        unit = np.arange(len(rows.X)) if groups is None else groups
        names, of_row = np.unique(unit, return_inverse=True)
        if len(names) < n_folds:
            raise EmptySelection(f"rescaling='train_fold' needs at least {n_folds} groups, got {len(names)}.")
        fold = np.random.default_rng(self.random_state).permutation(len(names)) % n_folds
        total = {name: np.zeros((2, table.n_targets)) for name, table in tables.items()}
        for k in range(n_folds):
            inside = fold[of_row.reshape(-1)] == k
            kept, out = np.flatnonzero(~inside), np.flatnonzero(inside)
            fitted = {name: table.subset(kept) for name, table in tables.items()}
            step = max(1, self.memory_limit // (16 * len(kept)))
            own = {name: table.statistics(step) for name, table in fitted.items()}
            model = self._fit_subject(rows.X[kept], fitted, own, None if groups is None else groups[kept])
            predict = model.predictor(rows.X[out], self.device, self.memory_limit)
            for name, table in tables.items():
                for columns in table.chunks(model.chunk(len(out), self.memory_limit)):
                    excess = predict(name, columns).astype(np.float64) - moments[name][0][columns]
                    total[name][0, columns] += excess.sum(0)
                    total[name][1, columns] += (excess**2).sum(0)
        n = len(rows.X)
        found = {}
        for name, (first, second) in total.items():
            variance = np.maximum(second - first**2 / n, 0) / (n - 1)
            found[name] = TargetStatistics(moments[name][0] + first / n, np.sqrt(variance), n, 1)
        return found

    def predict(
        self,
        X: Any,
        ids: Any = None,
        subject: Hashable = None,
        *,
        names: Any = None,
        folder: str | Path | None = None,
        allow_training: bool = False,
    ) -> Decoded:
        """Decode.

        Parameters
        ----------
        X : array, tensor or Responses (n_trials, n_voxels)
            Of one subject. Several rows with one id are repeats; they are averaged as ``average_repeats`` says.
        ids : sequence (n_trials,), optional
            By default those that ``Responses`` name, else 0, 1, 2, ...
        subject : optional
            Whose responses; needed if several were fitted and ``Responses`` do not say.
        names : sequence of str, optional
            Decode only these targets.
        folder : path, optional
            Write the predictions there, as ``Decoded.save`` does, and return memory maps: for targets beyond memory.
        allow_training : bool
            Decode stimuli that the decoder was fitted on, say to train a second stage on its outputs.

        Returns
        -------
        Decoded
            Stimuli in order of first appearance.

        Raises
        ------
        ShapeMismatch
            If the number of voxels is another than in ``fit``.
        UnknownSubject
        SplitLeakage
            If a test stimulus was in the training set.
        """
        rows, model, subject = self._rows(X, ids, subject)
        known = rows.ids if rows.ids is not None else np.arange(len(rows.X))
        if rows.ids is not None and not allow_training:
            self._refuse_training(subject, known)
        repeats = Repeats.of(known)
        shapes = self._chosen(model, names)
        about = {**self.provenance_, **self._describe(), "average_repeats": self.average_repeats}
        about |= describe_rescaling(self.rescaling)
        if folder is None:
            arrays = {name: self._empty(len(repeats.ids), shape, model) for name, shape in shapes.items()}
            self._fill(arrays, model, subject, rows.X, repeats)
            arrays = {name: array.reshape(-1, *shapes[name]) for name, array in arrays.items()}
            return Decoded(arrays, repeats.ids, subject, about)
        folder = Path(folder)
        with atomic_path(folder, directory=True) as temporary:
            arrays = {}
            for name, shape in shapes.items():
                path, full = temporary / f"{name}.npy", (len(repeats.ids), *shape)
                arrays[name] = np.lib.format.open_memmap(path, mode="w+", dtype=_dtype(model), shape=full)
            flat = {name: array.reshape(len(array), -1) for name, array in arrays.items()}
            self._fill(flat, model, subject, rows.X, repeats)
            for array in arrays.values():
                array.flush()
            entry = {"format": FORMAT, "ids": repeats.ids.tolist(), "subject": subject, "arrays": list(shapes)}
            write_json(temporary / "decoded.json", {**entry, "provenance": about})
        return Decoded.load(folder)

    def score(
        self, X: Any, targets: Any, ids: Any = None, subject: Hashable = None, *, target_ids: Any = None
    ) -> float:
        """Return R2 averaged over all columns of all targets that the decoder knows.

        Repeats are averaged as in :meth:`predict`; the targets have one row per row of X (or per ``target_ids``).
        ``rescaling="reference"`` acts on whole items and is left out.
        """
        rows, model, subject = self._rows(X, ids, subject)
        known = rows.ids if rows.ids is not None else np.arange(len(rows.X))
        repeats = Repeats.of(known)
        tables = target_tables(_of_subject(targets, X, subject), rows.ids, target_ids, len(rows.X))
        missing = [name for name in tables if name not in model.shapes]
        if missing:
            raise ShapeMismatch(f"no target named {missing[0]!r} was fitted; there is {', '.join(model.shapes)}.")
        total, count = 0.0, 0
        for name, columns, predicted in self._blocks(model, subject, rows.X, repeats, list(tables)):
            truth = repeats.average(tables[name].read(columns, np.float64))
            error = ((truth - predicted) ** 2).sum(0)
            spread = ((truth - truth.mean(0)) ** 2).sum(0)
            r2 = np.where(spread > 0, 1 - error / np.where(spread > 0, spread, 1), (error == 0).astype(float))
            total, count = total + float(r2.sum()), count + len(r2)
        return total / count

    def _describe(self) -> dict[str, Any]:
        return {}

    def _rows(self, X: Any, ids: Any, subject: Hashable) -> tuple[SubjectRows, Any, Hashable]:
        if not hasattr(self, "models_"):
            raise ValueError(f"this {type(self).__name__} is not fitted yet: call fit first.")
        if isinstance(X, Mapping):
            raise ValueError("decode one subject at a time: predict(X[subject], subject=subject).")
        rows = one_subject(X, ids, subject)
        subject = rows.subject
        if subject is None and len(self.models_) == 1:
            subject = next(iter(self.models_))
        if subject not in self.models_ and list(self.models_) == [None] and isinstance(X, Responses):
            subject = None  # fitted on a plain array, which names nobody
        if subject not in self.models_:
            raise UnknownSubject(
                f"subject {subject!r} was not fitted; there is {', '.join(map(repr, self.models_))}. "
                "Every subject has voxels of their own: fit this one first."
            )
        model = self.models_[subject]
        if rows.X.shape[1] != model.n_voxels:
            raise ShapeMismatch(
                f"subject {subject!r} was fitted with {model.n_voxels:,} voxels, X has {rows.X.shape[1]:,}. "
                "Select the same region, and nsdgeneral as mask > 0."
            )
        return rows, model, subject

    def _refuse_training(self, subject: Hashable, ids: np.ndarray) -> None:
        seen = self.train_ids_[subject]
        both = [] if seen is None else np.intersect1d(seen, ids)
        if len(both):
            raise SplitLeakage(
                f"{len(both):,} of {len(np.unique(ids)):,} test stimuli were in the training set, first "
                f"{np.asarray(both)[:3].tolist()}. Split by stimulus; allow_training=True decodes them nevertheless."
            )

    def _chosen(self, model: SubjectModel, names: Any) -> dict[str, tuple[int, ...]]:
        if names is None:
            return model.shapes
        names = [names] if isinstance(names, str) else list(names)
        for name in names:
            check_option("names", name, model.shapes)
        return {name: model.shapes[name] for name in names}

    def _empty(self, n: int, shape: tuple[int, ...], model: SubjectModel) -> np.ndarray:
        return np.empty((n, int(np.prod(shape))), _dtype(model))

    def _fill(self, arrays: dict[str, np.ndarray], model, subject, X: np.ndarray, repeats: Repeats) -> None:
        for name, columns, block in self._blocks(model, subject, X, repeats, list(arrays)):
            arrays[name][:, columns] = block
        if self.rescaling == "reference":
            for name, array in arrays.items():
                sd = self.reference_sd[name] if isinstance(self.reference_sd, Mapping) else self.reference_sd
                for start in range(0, len(array), 256):
                    rows = slice(start, start + 256)
                    array[rows] = rescale_predictions(array[rows], "reference", reference_sd=sd)

    def _blocks(
        self, model: Any, subject: Hashable, X: np.ndarray, repeats: Repeats, names: list[str]
    ) -> Iterator[tuple[str, slice, np.ndarray]]:
        """Predict chunk by chunk; policies that act on single columns are applied here."""
        if self.average_repeats == "voxels":
            X = repeats.average(X)
        predict = model.predictor(X, self.device, self.memory_limit)
        step = model.chunk(len(X), self.memory_limit)
        for name in names:
            n_targets = int(np.prod(model.shapes[name]))
            for start in range(0, n_targets, step):
                columns = slice(start, min(start + step, n_targets))
                block = predict(name, columns)
                if self.average_repeats == "outputs":
                    block = repeats.average(block)
                if self.rescaling in ("train_fold", "transductive"):
                    train = _columns(self.target_statistics_[subject][name], columns)
                    own = self.held_out_statistics_.get(subject, {}).get(name)
                    held_out = None if own is None else _columns(own, columns)
                    block = rescale_predictions(block, self.rescaling, train=train, held_out=held_out)
                yield name, columns, block


def _columns(statistics: TargetStatistics, columns: slice) -> TargetStatistics:
    return TargetStatistics(statistics.mean[columns], statistics.sd[columns], statistics.n, statistics.ddof)


def _dtype(model: Any) -> np.dtype:
    return np.dtype(getattr(model, "dtype", np.float32))


def _of_subject(targets: Any, X: Any, subject: Hashable) -> Any:
    """Return one subject's targets: ``{subject: targets}`` if the keys are the subjects, else what all share."""
    if isinstance(X, Mapping) and isinstance(targets, Mapping) and set(targets) == set(X):
        return targets[subject]
    return targets
