"""Run a study: every step is cached under what it depends on, so a second run computes only what changed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro.data import Stimuli
from neuro.errors import StudyError
from neuro.report import StudyResults, SubjectResults
from neuro.report.results import TABLE_COLUMNS
from neuro.study import encoders, geometry, planted, summary
from neuro.study.cache import StepCache
from neuro.study.config import StudyConfig, load_study
from neuro.study.encode import encode_layer
from neuro.study.encode_inputs import check_inputs, describe_inputs
from neuro.study.features import FeatureSet, describe_model, make_features, open_model
from neuro.study.planted_encoders import encoder_checks
from neuro.study.planted_geometry import geometry_checks
from neuro.study.prepare import Prepared, prepare
from neuro.study.provenance import provenance
from neuro.study.publish import StudyRun, publish
from neuro.study.publish import rebuild_report as rebuild_report
from neuro.study.rsa import analyse
from neuro.study.subjects import StudySubject, iter_subjects

SHUFFLED = "shuffled pairing"


def run_study(
    study: str | Path | StudyConfig, output: str | Path | None = None, say: Callable[[str], None] = print
) -> StudyRun:
    """Run (or resume) a study and write its results, maps and report.

    Parameters
    ----------
    study : path to a TOML file, or StudyConfig
    output : path, optional
        Folder for the results; by default the study's own, relative to its file.
    say : function of one line
        Where progress goes.

    Returns
    -------
    StudyRun

    Raises
    ------
    StudyError
        Before any work, if the study cannot be run as written.
    """
    start = time.perf_counter()
    config = study if isinstance(study, StudyConfig) else load_study(study)
    folder = config.path(config.output) if output is None else Path(output).resolve()
    cache = StepCache(folder / "cache", say)
    if config.dataset.kind == "rdms":
        return _run_rdms(config, cache, folder, start)
    subjects = list(iter_subjects(config))
    _check_regions(config, subjects)
    opened = {model.name: open_model(config, model) for model in config.models}
    if config.encode:
        check_inputs(config.encode, {name: model.specs for name, model in opened.items()}, config.path)
    more = f", {len(config.encode)} encoders" if config.encode else ""
    say(f"study {config.name!r}: {len(subjects)} subjects, {len(config.models)} models{more} -> {folder}")

    prepared = [prepare(config, cache, s) for s in subjects]
    for ready in prepared:
        encoders.check_counts(config.encode, ready)
    collections = _collections(subjects)
    everything = {
        name: [make_features(model, c, folder / "features", cache) for c in collections]
        for name, model in opened.items()
    }
    features = {m.name: everything[m.name] for m in config.models if m.layerwise}
    rows: list[dict[str, Any]] = []
    results: dict[str, SubjectResults] = {}
    keys: list[str] = []
    side_by_side = encoders.Gathered()
    for k, (subject, ready) in enumerate(zip(subjects, prepared, strict=True)):
        # Ids do not tell collections apart: two sessions may both have an "image001".
        all_own = {name: sets[k] if len(sets) > 1 else sets[0] for name, sets in everything.items()}
        own = {name: all_own[name] for name in features}
        results[subject.name], new_rows, new_keys = _encode_subject(config, cache, subject, ready, own)
        rows += new_rows
        keys += [ready.key, *new_keys]
        if config.encode:
            encoders.encode_subject(config, cache, ready, all_own, subject.stimuli, side_by_side)
    table = summary.finish_table([*rows, *side_by_side.rows])
    of_encoder = table["model"].isin([e.name for e in config.encode])
    compared = None
    if config.encode:
        reads = {e.name: describe_inputs(e, {m: f[0].layers for m, f in everything.items()}) for e in config.encode}
        compared = side_by_side.results(config, table[of_encoder], reads)
    table = table[~of_encoder].reset_index(drop=True)
    results = {
        name: dataclasses.replace(part, best_layer=summary.choose_layers(table, name)) for name, part in results.items()
    }
    models = [describe_model(m, features[m.name]) for m in config.models if m.layerwise]
    if config.evaluation.shuffled_control:
        models.append({"name": SHUFFLED, "kind": "control", "layers": models[0]["layers"]})
    is_phantom = any(s.is_phantom for s in subjects)
    found = planted.checks(table, results, models) if is_phantom else []
    if is_phantom and compared is not None:
        found += encoder_checks(config, compared, results)
    rsa = None
    if config.rsa is not None:
        parts = geometry.from_subjects(config, subjects, features)
        rsa, key = analyse(config, cache, parts, keys)
        keys.append(key)
        if is_phantom:
            found = [*found, *(check for part in parts for check in geometry_checks(subjects, part.brain))]
    keys += side_by_side.keys

    def results_of() -> StudyResults:
        return StudyResults(
            name=config.name,
            title=config.title or config.name,
            table=table,
            subjects=results,
            models=models,
            examples=_examples(subjects, config.seed),
            config=config.to_dict(),
            provenance=provenance(config, keys, cache.seconds, time.perf_counter() - start),
            is_phantom=is_phantom,
            checks=found,
        )

    return publish(config, cache, folder, start, keys, results_of, rsa, compared)


def _run_rdms(config: StudyConfig, cache: StepCache, folder: Path, start: float) -> StudyRun:
    """Run a study of measured RDMs alone."""
    images = geometry.open_images(config)
    cache.say(f"study {config.name!r}: {len(config.dataset.rdms)} regions, {len(config.models)} models -> {folder}")
    features = {}
    if images is not None:
        features = {
            m.name: [make_features(open_model(config, m), images, folder / "features", cache)] for m in config.models
        }
    keys = [f.fingerprint for sets in features.values() for f in sets]
    rsa, key = analyse(config, cache, geometry.from_files(config, images, features), keys)

    def results_of() -> StudyResults:
        order = np.random.default_rng(config.seed).permutation(0 if images is None else len(images))[:12]
        shown = [] if images is None else images.ids[np.sort(order)]
        return StudyResults(
            name=config.name,
            title=config.title or config.name,
            table=pd.DataFrame(columns=list(TABLE_COLUMNS)),
            subjects={},
            models=[describe_model(m, features[m.name]) for m in config.models],
            examples=[]
            if images is None
            else [(i, image, "") for i, image in zip(shown, images.images(shown), strict=True)],
            config=config.to_dict(),
            provenance=provenance(config, [*keys, key], cache.seconds, time.perf_counter() - start),
        )

    return publish(config, cache, folder, start, [*keys, key], results_of, rsa)


def _encode_subject(
    config: StudyConfig,
    cache: StepCache,
    subject: StudySubject,
    ready: Prepared,
    features: dict[str, FeatureSet],
) -> tuple[SubjectResults, list[dict[str, Any]], list[str]]:
    """Encode one subject with every layer of every model."""
    rows: list[dict[str, Any]] = []
    keys: list[str] = []
    scores: dict[tuple[str, str], np.ndarray] = {}
    alphas: dict[tuple[str, str], np.ndarray] = {}
    fields: np.ndarray | None = None
    for model, chosen in features.items():
        names = [(model, False)]
        if config.evaluation.shuffled_control and model == next(iter(features)):
            names.append((SHUFFLED, True))
        for layer in chosen.layers:
            for name, shuffled in names:
                found, key = encode_layer(config, cache, ready, chosen, layer, name, shuffled)
                rows += found["rows"]
                keys.append(key)
                scores[name, layer], alphas[name, layer] = found["r"], found["alpha"]
                if "prf" in found and not shuffled:
                    fields = found["prf"]
    truth = planted.load(subject, ready.valid)
    result = SubjectResults(
        subject=subject.name,
        voxels=ready.voxels,
        rois=ready.rois,
        scores=scores,
        ceiling=ready.ceiling,
        alphas=alphas,
        counts=ready.counts,
        prf=None if truth is None or fields is None else planted.match_fields(fields, truth, ready),
        truth=truth,
    )
    return result, rows, keys


def _check_regions(config: StudyConfig, subjects: list[StudySubject]) -> None:
    """Refuse regions that no subject has, before anything is computed."""
    if not subjects:
        raise StudyError("the study has no subject: check dataset.root and dataset.subjects.")
    for roi in config.dataset.rois:
        name = roi if isinstance(roi, str) else " + ".join(roi)
        if not any(name in s.regions for s in subjects):
            for selector in [roi] if isinstance(roi, str) else roi:
                subjects[0].responses.voxels.roi(selector)
            raise StudyError(f"rois: {name!r} holds no voxel in any subject.")


def _collections(subjects: list[StudySubject]) -> list[Stimuli]:
    """Return the stimuli to extract: one collection where subjects share a source, else one each, in their order."""
    tokens = [s.stimuli.source_token() for s in subjects]
    if len(subjects) > 1 and tokens[0] is not None and len(set(tokens)) == 1:
        ids = np.unique(np.concatenate([s.stimuli.ids for s in subjects]))
        return [subjects[0].all_stimuli.select(ids)]
    return [s.stimuli for s in subjects]


def _examples(subjects: list[StudySubject], seed: int, n: int = 12) -> list[tuple[Any, np.ndarray, str]]:
    """Return some pictures with their first caption, drawn with the study's seed."""
    stimuli = subjects[0].stimuli
    ids = np.random.default_rng(seed).permutation(stimuli.ids)[:n]
    captions = [c[0] for c in stimuli.captions(ids)] if "captions" in stimuli.table else [""] * len(ids)
    return list(zip(ids.tolist(), stimuli.images(ids), captions, strict=True))
