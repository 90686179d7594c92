"""What an RSA of a study compares: measured RDMs, RDMs of layers, model RDMs, over the same images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro.data import Stimuli
from neuro.data.read import read_array
from neuro.errors import EmptySelection, ShapeMismatch, StudyError
from neuro.rsa import RDMs, load_rdms, rdm
from neuro.study.config import RdmFile, StudyConfig
from neuro.study.features import FeatureSet
from neuro.study.subjects import StudySubject

FEWEST_SHARED = 20  # images that all subjects saw, for a comparison across subjects


@dataclass(frozen=True, eq=False)
class Geometry:
    """RDMs of one group of subjects that saw the same images.

    Parameters
    ----------
    name : str
        "all subjects", or the subject if everybody saw other images.
    brain : RDMs
        Columns ``subject`` and ``roi``.
    layers : RDMs or None
        Columns ``model`` and ``layer``, in order of depth.
    models : RDMs or None
        Column ``name``.
    groups : array of str (n_conditions,) or None
    """

    name: str
    brain: RDMs
    layers: RDMs | None
    models: RDMs | None
    groups: np.ndarray | None


def open_images(config: StudyConfig) -> Stimuli | None:
    """Return the pictures of an RDM study, if it names them."""
    if config.dataset.images is None:
        return None
    return Stimuli.open(config.path(config.dataset.images))


def from_files(config: StudyConfig, images: Stimuli | None, features: dict[str, list[FeatureSet]]) -> list[Geometry]:
    """Return the geometry of a study of RDM files."""
    names = None if images is None else images.ids
    parts = []
    for entry in config.dataset.rdms:
        rdms = _read(config, entry, names)
        table = rdms.table.drop(columns=["name"], errors="ignore")
        subject = [f"{s}" for s in table["subject"]] if "subject" in table else ["all"] * rdms.n_rdms
        parts.append(rdms.with_table({"subject": subject, "roi": [entry.name] * rdms.n_rdms}))
    brain = parts[0].concat(*parts[1:])
    return [_geometry(config, "all subjects", brain, {model: sets[0] for model, sets in features.items()})]


def from_subjects(
    config: StudyConfig, subjects: list[StudySubject], features: dict[str, list[FeatureSet]]
) -> list[Geometry]:
    """Return the geometry of measured responses: of all subjects together if they share images, else of each."""
    assert config.rsa is not None
    shared = set(subjects[0].responses.stimulus.tolist())
    for subject in subjects[1:]:
        shared &= set(subject.responses.stimulus.tolist())
    tokens = {s.stimuli.source_token() for s in subjects}
    one_source = len(tokens) == 1 and None not in tokens  # equal ids of different collections are different images
    together = len(subjects) == 1 or (one_source and len(shared) >= FEWEST_SHARED)
    parts = [("all subjects" if len(subjects) > 1 else subjects[0].name, subjects)] if together else [
        (s.name, [s]) for s in subjects
    ]  # fmt: skip
    out = []
    for name, members in parts:
        seen = shared if together else set(members[0].responses.stimulus.tolist())
        conditions = _choose(sorted(seen), config.rsa.n_conditions, config.seed)
        stacks = [_subject_rdms(config, subject, conditions) for subject in members]
        k = subjects.index(members[0])
        own = {model: sets[k] if len(sets) > 1 else sets[0] for model, sets in features.items()}
        out.append(_geometry(config, name, stacks[0].concat(*stacks[1:]), own))
    return out


def _geometry(config: StudyConfig, name: str, brain: RDMs, features: dict[str, FeatureSet]) -> Geometry:
    assert config.rsa is not None
    layers = _layer_rdms(config, brain.conditions, features) if config.rsa.layers and features else None
    stacks = []
    for entry in config.rsa.models:
        model = _read(config, entry, brain.conditions)
        if "name" not in model.table or model.n_rdms == 1:
            model = model.with_table({"name": [entry.name if model.n_rdms == 1 else f"{entry.name} {k}"
                                               for k in range(model.n_rdms)]})  # fmt: skip
        stacks.append(model.with_table({"name": model.names}))
    models = stacks[0].concat(*stacks[1:]) if stacks else None
    return Geometry(name, brain, layers, models, _groups(config, brain.n_conditions))


def _subject_rdms(config: StudyConfig, subject: StudySubject, conditions: list[Any]) -> RDMs:
    assert config.rsa is not None
    metric = config.rsa.metric
    trials = subject.responses.select(trials=np.isin(subject.responses.stimulus, conditions))
    data = trials.to_numpy()
    usable = np.isfinite(data).all(0) & (data.std(0) > 0)
    masks = {roi: np.asarray(mask) & usable for roi, mask in subject.regions.items()}
    masks = {roi: mask for roi, mask in masks.items() if mask.sum() > 1}  # one channel has no pattern
    if not masks:
        raise EmptySelection(f"{subject.name}: no region has two channels with data, which RDMs need.")
    folds = "session" if metric in ("crossnobis", "poisson_cv") else None
    found = rdm(trials, metric, by="roi", voxels=masks, folds=folds).select(conditions=conditions)
    return found.with_table({"subject": [subject.name] * len(masks), "roi": list(found.table["roi"])})


def _layer_rdms(config: StudyConfig, conditions: np.ndarray, features: dict[str, FeatureSet]) -> RDMs | None:
    assert config.rsa is not None
    metric = config.rsa.metric if config.rsa.metric in ("correlation", "cosine", "euclidean") else "sqeuclidean"
    stacks: list[RDMs] = []
    table: dict[str, list[str]] = {"model": [], "layer": []}
    for name, chosen in features.items():
        for layer in chosen.layers:
            stacks.append(rdm(chosen.rows(layer, conditions), metric, conditions=conditions))
            table["model"].append(name)
            table["layer"].append(layer)
    return stacks[0].concat(*stacks[1:]).with_table(table) if stacks else None


def _read(config: StudyConfig, entry: RdmFile, names: Any) -> RDMs:
    found = load_rdms(config.path(entry.file), entry.key, axes=entry.axes, average=entry.average)
    if entry.pick is not None:
        found = found.select({"name": entry.pick})
    if names is not None and not found.named:
        if found.n_conditions != len(names):
            raise ShapeMismatch(
                f"{entry.name}: RDMs of {found.n_conditions} conditions in {entry.file}, but {len(names)} images."
            )
        found = found.with_conditions(names)
    return found


def _groups(config: StudyConfig, n: int) -> np.ndarray | None:
    assert config.rsa is not None
    if config.rsa.groups is None:
        return None
    path, key = config.path(config.rsa.groups["file"]), config.rsa.groups.get("key")
    if Path(path).suffix in (".tsv", ".csv"):
        table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", keep_default_na=False)
        if key not in table:
            raise StudyError(f"rsa.groups: {path.name} has no column {key!r}; it has {list(table.columns)}.")
        groups = table[key].to_numpy(str)
    else:
        groups = np.asarray(read_array(path, key)).astype(str)
    if groups.shape != (n,):
        raise ShapeMismatch(
            f"rsa.groups has {groups.shape} entries in {path.name}; expected one for each of {n} images."
        )
    return groups


def _choose(ids: list[Any], n: int, seed: int) -> list[Any]:
    if len(ids) < 4:
        raise EmptySelection(f"an RSA needs at least four images that all subjects saw, got {len(ids)}.")
    if len(ids) <= n:
        return ids
    rows = np.random.default_rng(seed).choice(len(ids), n, replace=False)
    return [ids[k] for k in np.sort(rows)]
