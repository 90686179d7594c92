"""Run a study: every step is cached under what it depends on, so a second run computes only what changed."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import neuro
from neuro._files import atomic_path, write_json
from neuro.data import Stimuli
from neuro.errors import StudyError
from neuro.report import RsaResults, StudyResults, SubjectResults, write_report
from neuro.report.results import TABLE_COLUMNS
from neuro.study import geometry, planted, summary
from neuro.study.cache import StepCache
from neuro.study.config import StudyConfig, load_study
from neuro.study.encode import encode_layer
from neuro.study.features import FeatureSet, describe_model, make_features
from neuro.study.maps import describe_derivative, write_maps
from neuro.study.planted_geometry import geometry_checks
from neuro.study.prepare import Prepared, prepare
from neuro.study.provenance import provenance
from neuro.study.rsa import analyse
from neuro.study.subjects import StudySubject, iter_subjects

SHUFFLED = "shuffled pairing"
# Raised when the report shows something else than before from the same results.
REPORT_VERSION = 2


@dataclass(frozen=True)
class StudyRun:
    """What :func:`run_study` did.

    Parameters
    ----------
    output : path
        Folder of all results.
    report : path
        The HTML page.
    table : DataFrame
        The tidy results, as in ``results.tsv``.
    computed, cached : tuple of str
        Steps that ran, and steps whose results stood already.
    seconds : float
        Wall time of this run.
    """

    output: Path
    report: Path
    table: pd.DataFrame
    computed: tuple[str, ...]
    cached: tuple[str, ...]
    seconds: float


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
    say(f"study {config.name!r}: {len(subjects)} subjects, {len(config.models)} models -> {folder}")

    prepared = [prepare(config, cache, s) for s in subjects]
    collections = _collections(subjects)
    features = {
        model.name: [make_features(config, model, c, folder / "features", cache) for c in collections]
        for model in config.models
    }
    rows: list[dict[str, Any]] = []
    results: dict[str, SubjectResults] = {}
    keys: list[str] = []
    for k, (subject, ready) in enumerate(zip(subjects, prepared, strict=True)):
        # Ids do not tell collections apart: two sessions may both have an "image001".
        own = {name: sets[k] if len(sets) > 1 else sets[0] for name, sets in features.items()}
        results[subject.name], new_rows, new_keys = _encode_subject(config, cache, subject, ready, own)
        rows += new_rows
        keys += [ready.key, *new_keys]
    table = summary.finish_table(rows)
    results = {
        name: dataclasses.replace(part, best_layer=summary.choose_layers(table, name)) for name, part in results.items()
    }
    models = [describe_model(m, features[m.name]) for m in config.models]
    if config.evaluation.shuffled_control:
        models.append({"name": SHUFFLED, "kind": "control", "layers": models[0]["layers"]})
    is_phantom = any(s.is_phantom for s in subjects)
    found = planted.checks(table, results, models) if is_phantom else []
    rsa = None
    if config.rsa is not None:
        parts = geometry.from_subjects(config, subjects, features)
        rsa, key = analyse(config, cache, parts, keys)
        keys.append(key)
        if is_phantom:
            found = [*found, *(check for part in parts for check in geometry_checks(subjects, part.brain))]

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

    return _publish(config, cache, folder, start, keys, results_of, rsa)


def _run_rdms(config: StudyConfig, cache: StepCache, folder: Path, start: float) -> StudyRun:
    """Run a study of measured RDMs alone."""
    images = geometry.open_images(config)
    cache.say(f"study {config.name!r}: {len(config.dataset.rdms)} regions, {len(config.models)} models -> {folder}")
    features = {}
    if images is not None:
        features = {m.name: [make_features(config, m, images, folder / "features", cache)] for m in config.models}
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

    return _publish(config, cache, folder, start, [*keys, key], results_of, rsa)


def _publish(
    config: StudyConfig,
    cache: StepCache,
    folder: Path,
    start: float,
    keys: list[str],
    results_of: Callable[[], StudyResults],
    rsa: RsaResults | None,
) -> StudyRun:
    """Write results, maps and report, and say what was done."""
    depends = {"version": REPORT_VERSION, "neuro": neuro.__version__, "steps": keys, "config": config.to_dict()}

    def publish(target: Path) -> None:
        whole = results_of()
        whole.save(target / "study")
        if rsa is not None:
            rsa.save(target / "rsa")
        write_report(whole, target / "report.html", rsa=rsa)
        whole.table.to_csv(target / "results.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.6g")
        if config.maps and whole.subjects:
            for part in whole.subjects.values():
                maps = _maps_of(part, list(whole.models))
                write_maps(target / "maps", part.subject, part.voxels, maps, config.dataset.space)
            describe_derivative(target / "maps", config.title or config.name, neuro.__version__)

    done, _ = cache.run("report", "report", depends, publish)
    for name in ("report.html", "results.tsv"):
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(done / name, temporary)
    for name in ("study", "maps", "rsa"):
        if (done / name).is_dir():
            with atomic_path(folder / name, directory=True) as temporary:
                shutil.copytree(done / name, temporary, dirs_exist_ok=True)
    table = StudyResults.load(done / "study").table
    seconds = time.perf_counter() - start
    run = StudyRun(folder, folder / "report.html", table, tuple(cache.computed), tuple(cache.cached), seconds)
    write_json(folder / "last_run.json", {"computed": run.computed, "cached": run.cached, "seconds": run.seconds})
    cache.say(f"{len(run.computed)} steps computed, {len(run.cached)} cached, {run.seconds:.1f} s -> {run.report}")
    return run


def rebuild_report(folder: str | Path) -> Path:
    """Write ``report.html`` again from the saved results in ``folder``, and return its path."""
    folder = Path(folder)
    if not (folder / "study").is_dir():
        raise StudyError(f"{folder} holds no results of a study (no folder 'study'): run `neuro run` first.")
    rsa = RsaResults.load(folder / "rsa") if (folder / "rsa").is_dir() else None
    return write_report(StudyResults.load(folder / "study"), folder / "report.html", rsa=rsa)


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
        if config.evaluation.shuffled_control and model == config.models[0].name:
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


def _maps_of(part: SubjectResults, models: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return the maps worth a file: r of the best layer and depth of that layer per model, and the ceiling."""
    maps = {}
    for model in models:
        layers = [k for k in model["layers"] if (model["name"], k) in part.scores]
        if not layers:
            continue
        stack = np.stack([part.scores[model["name"], k] for k in layers])
        filled = np.where(np.isfinite(stack), stack, -np.inf)
        maps[f"{model['name']}MaxR"] = stack[filled.argmax(0), np.arange(stack.shape[1])]
        if len(layers) > 1:
            maps[f"{model['name']}BestLayer"] = filled.argmax(0) + 1
    if part.ceiling is not None:
        maps["noiseceiling"] = part.ceiling
    return maps
