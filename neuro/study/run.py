"""Run a study: every step is cached under what it depends on, so a second run computes only what changed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro.report import StudyResults, SubjectResults
from neuro.report.results import TABLE_COLUMNS
from neuro.study import encoders, geometry, planted, summary
from neuro.study.cache import StepCache
from neuro.study.config import StudyConfig, load_study
from neuro.study.encode_inputs import describe_inputs
from neuro.study.features import describe_model, make_features, open_model
from neuro.study.planted_decoders import decoder_checks
from neuro.study.planted_encoders import encoder_checks
from neuro.study.planted_geometry import geometry_checks
from neuro.study.provenance import provenance
from neuro.study.publish import StudyRun, publish
from neuro.study.publish import rebuild_report as rebuild_report
from neuro.study.rsa import analyse
from neuro.study.steps import SHUFFLED, open_study
from neuro.study.subjects import StudySubject


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
    opened = open_study(config, folder, cache)
    subjects = opened.subjects
    more = f", {len(config.encode)} encoders" if config.encode else ""
    say(f"study {config.name!r}: {len(subjects)} subjects, {len(config.models)} models{more} -> {folder}")

    prepared = [opened.prepared(k) for k in range(len(subjects))]
    everything = {name: opened.features(name) for name in opened.models}
    features = {m.name: everything[m.name] for m in config.models if m.layerwise}
    rows: list[dict[str, Any]] = []
    results: dict[str, SubjectResults] = {}
    keys: list[str] = []
    side_by_side = encoders.Gathered()
    for k, (subject, ready) in enumerate(zip(subjects, prepared, strict=True)):
        results[subject.name], new_rows, new_keys = opened.encode(k, ready, everything, side_by_side)
        rows += new_rows
        keys += [ready.key, *new_keys]
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
    decoded = None
    if config.decode is not None:
        decoding = opened.decode(prepared)
        decoded = decoding.results(config, is_phantom)
        keys += decoding.keys
        if is_phantom:
            found += decoder_checks(decoded)

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

    return publish(config, cache, folder, start, keys, results_of, rsa, compared, decoded)


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


def _examples(subjects: list[StudySubject], seed: int, n: int = 12) -> list[tuple[Any, np.ndarray, str]]:
    """Return some pictures with their first caption, drawn with the study's seed."""
    stimuli = subjects[0].stimuli
    ids = np.random.default_rng(seed).permutation(stimuli.ids)[:n]
    captions = [c[0] for c in stimuli.captions(ids)] if "captions" in stimuli.table else [""] * len(ids)
    return list(zip(ids.tolist(), stimuli.images(ids), captions, strict=True))
