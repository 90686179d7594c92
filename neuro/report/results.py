"""What a study hands on: scores per voxel and per region, what was shown, and how everything was made.

On disk a study is a folder of plain files (json, tsv, npy), readable without neuro.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._files import atomic_path, read_json, write_json
from neuro.data import Voxels
from neuro.errors import CorruptFile, DuplicateIds, ShapeMismatch

#: Columns of :attr:`StudyResults.table`, in order. The first six are needed, the others may be missing (then NaN).
TABLE_COLUMNS = (
    "subject",
    "roi",
    "model",
    "layer",
    "metric",
    "score",
    "ci_low",
    "ci_high",
    "ceiling",
    "n_voxels",
    "n_train",
    "n_test",
    "split",
    "p",
    "q",
)
KINDS = ("pretrained", "untrained", "control")
_TEXT = ("subject", "roi", "model", "layer", "metric", "split")
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class SubjectResults:
    """Scores of one subject (or recording session).

    Parameters
    ----------
    subject : str
        Its name, as in the table of the study.
    voxels : Voxels
        The channels, in the order of all arrays here.
    rois : dict name -> bool array (n_voxels,)
        Regions, in the order in which figures show them.
    scores : dict (model, layer) -> array (n_voxels,)
        Pearson r on the test images; NaN for channels that could not be scored.
    ceiling : array (n_voxels,), optional
        Noise ceiling of the test responses: the share of their variance that a perfect model could explain, 0-1.
    best_layer : dict (model, roi) -> layer, optional
        Layers chosen without looking at the test images. Where absent, reports choose by test score and say so.
    alphas : dict (model, layer) -> array (n_voxels,)
        Ridge penalties.
    counts : dict
        ``n_train_images, n_test_images, n_trials, n_sessions, repeats, n_invalid`` as far as known.
    prf : dict, optional
        ``x, y, size, x_true, y_true, size_true`` in degrees of visual angle and ``voxel`` (index): equally long arrays.
    truth : dict, optional
        What was planted: arrays and plain values.
    """

    subject: str
    voxels: Voxels
    rois: Mapping[str, np.ndarray]
    scores: Mapping[tuple[str, str], np.ndarray]
    ceiling: np.ndarray | None = None
    best_layer: Mapping[tuple[str, str], str] | None = None
    alphas: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    prf: Mapping[str, np.ndarray] | None = None
    truth: Mapping[str, Any] | None = None

    def __post_init__(self):
        n = len(self.voxels)

        def check(what: str, values: Any, dtype: Any = None) -> np.ndarray:
            array = _frozen(values, dtype)
            if array.shape != (n,):
                raise ShapeMismatch(f"{self.subject}: {what} must be ({n:,},), one per voxel, got shape {array.shape}.")
            return array

        rois = {str(k): check(f"region {k!r}", v, bool) for k, v in self.rois.items()}
        scores = {(str(m), str(k)): check(f"scores of {m} {k}", v) for (m, k), v in self.scores.items()}
        alphas = {(str(m), str(k)): check(f"alphas of {m} {k}", v) for (m, k), v in self.alphas.items()}
        _set(self, subject=str(self.subject), rois=rois, scores=scores, alphas=alphas, counts=plain(self.counts))
        if self.ceiling is not None:
            _set(self, ceiling=check("ceiling", self.ceiling))
        if self.best_layer is not None:
            _set(self, best_layer={(str(m), str(r)): str(k) for (m, r), k in self.best_layer.items()})
        if self.prf is not None:
            prf = {str(k): _frozen(v) for k, v in self.prf.items()}
            if len({a.shape for a in prf.values()}) > 1:
                shapes = {k: a.shape for k, a in prf.items()}
                raise ShapeMismatch(f"{self.subject}: the arrays of prf must be equally long, got {shapes}.")
            _set(self, prf=prf)
        if self.truth is not None:
            truth = {str(k): _frozen(v) if isinstance(v, np.ndarray) else plain(v) for k, v in self.truth.items()}
            _set(self, truth=truth)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write plain files into ``folder``, which is replaced as a whole."""
        with atomic_path(folder, directory=True) as path:
            self.voxels.save(path / "voxels")
            for name in ("scores", "alphas"):
                values = getattr(self, name)
                if values:
                    np.save(path / f"{name}.npy", np.stack(list(values.values())), allow_pickle=False)
            if self.rois:
                np.save(path / "rois.npy", np.stack(list(self.rois.values())), allow_pickle=False)
            if self.ceiling is not None:
                np.save(path / "ceiling.npy", self.ceiling, allow_pickle=False)
            meta = {
                "subject": self.subject,
                "rois": list(self.rois),
                "scores": [list(k) for k in self.scores],
                "alphas": [list(k) for k in self.alphas],
                "counts": self.counts,
                "ceiling": self.ceiling is not None,
                "best_layer": None if self.best_layer is None else [[*k, v] for k, v in self.best_layer.items()],
                "prf": _save_mapping(path / "prf", self.prf),
                "truth": _save_mapping(path / "truth", self.truth),
            }
            write_json(path / "subject.json", meta)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> SubjectResults:
        """Read what :meth:`save` wrote."""
        path = Path(folder)
        meta = read_json(path / "subject.json")
        best = meta["best_layer"]
        return cls(
            subject=meta["subject"],
            voxels=Voxels.load(path / "voxels"),
            rois=_load_rows(path / "rois.npy", meta["rois"]),
            scores=_load_rows(path / "scores.npy", [tuple(k) for k in meta["scores"]]),
            ceiling=_load(path / "ceiling.npy") if meta["ceiling"] else None,
            best_layer=None if best is None else {(m, r): k for m, r, k in best},
            alphas=_load_rows(path / "alphas.npy", [tuple(k) for k in meta["alphas"]]),
            counts=meta["counts"],
            prf=_load_mapping(path / "prf", meta["prf"]),
            truth=_load_mapping(path / "truth", meta["truth"]),
        )


@dataclass(frozen=True, eq=False)
class StudyResults:
    """All that a report shows.

    Parameters
    ----------
    name, title : str
        Short name (for files) and headline.
    table : DataFrame
        Tidy: one row per subject, region, model, layer and metric. ``score`` is the mean over the region's voxels on
        the test images, ``ci_low`` and ``ci_high`` its 95 % bootstrap interval over images, ``ceiling`` the mean noise
        ceiling as a share of variance, ``q`` the p value after control of the false discovery rate.
    subjects : dict name -> SubjectResults
    models : list of dict
        ``name``; ``kind``: "pretrained", "untrained" or "control" (classical features); ``layers`` in depth order;
        ``fingerprint``; ``preprocessing``; anything else. A report speaks most of the first pretrained model.
    examples : list of (id, uint8 image (h, w, 3), caption or "")
    config : dict
        The resolved study file.
    provenance : dict
        ``versions`` (package -> version), ``seeds``, ``fingerprints``, ``timings`` (step -> seconds), ``command``,
        ``created``; anything else.
    is_phantom : bool
        The responses were simulated; every report says so at its top.
    checks : list of dict
        Planted truths: ``name, claim, value, expected, passed``.
    """

    name: str
    title: str
    table: pd.DataFrame
    subjects: Mapping[str, SubjectResults]
    models: Sequence[Mapping[str, Any]]
    examples: Sequence[tuple[Any, np.ndarray, str]] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    is_phantom: bool = False
    checks: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self):
        missing = [c for c in TABLE_COLUMNS[:6] if c not in self.table]
        if missing:
            raise ShapeMismatch(
                f"the table lacks {', '.join(missing)}; its columns are {', '.join(self.table.columns)}."
            )
        table = self.table.reset_index(drop=True).copy()
        for column in TABLE_COLUMNS[6:]:
            if column not in table:
                table[column] = "" if column == "split" else np.nan
        extra = [c for c in table.columns if c not in TABLE_COLUMNS]
        table = table[[*TABLE_COLUMNS, *extra]]
        for column in _TEXT:
            table[column] = table[column].astype(str)
        models = [plain(m) for m in self.models]
        for model in models:
            if model.get("kind") not in KINDS:
                raise ValueError(
                    f"kind of model {model.get('name')!r} must be {', '.join(map(repr, KINDS[:-1]))} or {KINDS[-1]!r}, "
                    f"got {model.get('kind')!r}."
                )
        names = [m["name"] for m in models]
        if len(set(names)) != len(names):
            raise DuplicateIds(f"models need distinct names, got {', '.join(names)}.")
        unknown = sorted(set(table["model"]) - set(names))
        if unknown:
            raise ValueError(f"the table holds scores of models that are not listed: {', '.join(unknown)}.")
        subjects = {str(k): v for k, v in self.subjects.items()}
        for name, subject in subjects.items():
            if subject.subject != name:
                raise ValueError(f"results filed under {name!r} say they are of {subject.subject!r}.")
        examples = [(_id(i), _frozen(image), str(caption or "")) for i, image, caption in self.examples]
        checks = [plain(c) for c in self.checks]
        _set(self, table=table, models=models, subjects=subjects, examples=examples, checks=checks)
        _set(self, config=plain(self.config), provenance=plain(self.provenance), is_phantom=bool(self.is_phantom))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write plain files into ``folder``, which is replaced as a whole and appears only when complete."""
        folder = Path(folder)
        with atomic_path(folder, directory=True) as path:
            self.table.to_csv(path / "results.tsv", sep="\t", index=False, na_rep="n/a")
            for k, subject in enumerate(self.subjects.values()):
                subject.save(path / "subjects" / f"{k:03d}")
            (path / "examples").mkdir()
            for k, (_, image, _) in enumerate(self.examples):
                np.save(path / "examples" / f"{k:03d}.npy", image, allow_pickle=False)
            meta = {name: getattr(self, name) for name in ("name", "title", "models", "config", "provenance")}
            meta |= {"is_phantom": self.is_phantom, "checks": self.checks, "format": _FORMAT}
            meta["subjects"] = list(self.subjects)
            meta["examples"] = [[i, caption] for i, _, caption in self.examples]
            write_json(path / "study.json", meta)
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> StudyResults:
        """Read what :meth:`save` wrote."""
        path = Path(folder)
        meta = read_json(path / "study.json")
        if meta.get("format") != _FORMAT:
            raise CorruptFile(
                f"{path / 'study.json'} has format {meta.get('format')!r}, this version of neuro reads {_FORMAT}."
            )
        table = pd.read_csv(path / "results.tsv", sep="\t", dtype=str, keep_default_na=False)
        for column in table.columns.difference(_TEXT):
            table[column] = _numbers(table[column])
        loaded = [SubjectResults.load(path / "subjects" / f"{k:03d}") for k in range(len(meta["subjects"]))]
        images = [_load(path / "examples" / f"{k:03d}.npy") for k in range(len(meta["examples"]))]
        return cls(
            name=meta["name"],
            title=meta["title"],
            table=table,
            subjects={s.subject: s for s in loaded},
            models=meta["models"],
            examples=[(i, image, caption) for (i, caption), image in zip(meta["examples"], images, strict=True)],
            config=meta["config"],
            provenance=meta["provenance"],
            is_phantom=meta["is_phantom"],
            checks=meta["checks"],
        )


def plain(value: Any) -> Any:
    """Return ``value`` as JSON would give it back: tuples as lists, arrays as lists, paths and dates as text."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (set, frozenset)):
        return sorted(plain(v) for v in value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return json.loads(json.dumps(value, default=str))


def _numbers(column: pd.Series) -> pd.Series:
    """Turn text into the integers or exact floats it was written from; columns of words stay as they are."""
    words = column.tolist()
    for kind in (int, float):
        try:
            return pd.Series([kind("nan" if w == "n/a" else w) for w in words], index=column.index, dtype=kind)
        except ValueError:
            continue
    return column


def _id(value: Any) -> int | str:
    return int(value) if isinstance(value, (int, np.integer)) else str(value)


def _frozen(values: Any, dtype: Any = None) -> np.ndarray:
    array = np.array(values, dtype=dtype)
    if array.dtype == object:
        raise ShapeMismatch("expected plain numbers or text, got an array of Python objects.")
    array.flags.writeable = False
    return array


def _set(instance: Any, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(instance, name, value)


def _save_mapping(folder: Path, mapping: Mapping[str, Any] | None) -> Any:
    """Write the arrays of a mapping as 000.npy, 001.npy, ... and return what belongs into the JSON beside them."""
    if mapping is None:
        return None
    folder.mkdir()
    arrays = [k for k, v in mapping.items() if isinstance(v, np.ndarray)]
    for i, name in enumerate(arrays):
        np.save(folder / f"{i:03d}.npy", mapping[name], allow_pickle=False)
    return {"arrays": arrays, "values": {k: v for k, v in mapping.items() if k not in arrays}}


def _load_mapping(folder: Path, meta: Any) -> dict[str, Any] | None:
    if meta is None:
        return None
    return {name: _load(folder / f"{i:03d}.npy") for i, name in enumerate(meta["arrays"])} | meta["values"]


def _load(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)


def _load_rows(path: Path, names: list[Any]) -> dict[Any, np.ndarray]:
    if not names:
        return {}
    rows = _load(path)
    if len(rows) != len(names):
        raise CorruptFile(f"{path} has {len(rows)} rows, its description names {len(names)}.")
    return dict(zip(names, rows, strict=True))
