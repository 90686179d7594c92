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
from neuro.report import StudyResults, SubjectResults, write_report
from neuro.study import planted, summary
from neuro.study.cache import StepCache
from neuro.study.config import StudyConfig, load_study
from neuro.study.encode import encode_layer
from neuro.study.features import FeatureSet, describe_model, make_features
from neuro.study.maps import describe_derivative, write_maps
from neuro.study.prepare import Prepared, prepare
from neuro.study.provenance import provenance
from neuro.study.subjects import StudySubject, iter_subjects

SHUFFLED = "shuffled pairing"
# Raised when the report shows something else than before from the same results.
REPORT_VERSION = 1


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
    for subject, ready in zip(subjects, prepared, strict=True):
        results[subject.name], new_rows, new_keys = _encode_subject(config, cache, subject, ready, features)
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
    depends = {"version": REPORT_VERSION, "neuro": neuro.__version__, "steps": keys, "config": config.to_dict()}

    def publish(target: Path) -> None:
        whole = StudyResults(
            name=config.name,
            title=config.title or config.name,
            table=table,
            subjects=results,
            models=models,
            examples=_examples(subjects, config.seed),
            config=config.to_dict(),
            provenance=provenance(config, keys, cache.seconds, time.perf_counter() - start),
            is_phantom=is_phantom,
            checks=planted.checks(table, results, models) if is_phantom else [],
        )
        whole.save(target / "study")
        write_report(whole, target / "report.html")
        table.to_csv(target / "results.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.6g")
        if config.maps:
            for part in results.values():
                maps = _maps_of(part, models)
                write_maps(target / "maps", part.subject, part.voxels, maps, config.dataset.space)
            describe_derivative(target / "maps", config.title or config.name, neuro.__version__)

    done, _ = cache.run("report", "report", depends, publish)
    for name in ("report.html", "results.tsv"):
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(done / name, temporary)
    for name in ("study", "maps"):
        if (done / name).is_dir():
            with atomic_path(folder / name, directory=True) as temporary:
                shutil.copytree(done / name, temporary, dirs_exist_ok=True)
    run = StudyRun(
        folder, folder / "report.html", table, tuple(cache.computed), tuple(cache.cached), time.perf_counter() - start
    )
    write_json(folder / "last_run.json", {"computed": run.computed, "cached": run.cached, "seconds": run.seconds})
    say(f"{len(run.computed)} steps computed, {len(run.cached)} cached, {run.seconds:.1f} s -> {run.report}")
    return run


def rebuild_report(folder: str | Path) -> Path:
    """Write ``report.html`` again from the saved results in ``folder``, and return its path."""
    folder = Path(folder)
    if not (folder / "study").is_dir():
        raise StudyError(f"{folder} holds no results of a study (no folder 'study'): run `neuro run` first.")
    return write_report(StudyResults.load(folder / "study"), folder / "report.html")


def _encode_subject(
    config: StudyConfig,
    cache: StepCache,
    subject: StudySubject,
    ready: Prepared,
    features: dict[str, list[FeatureSet]],
) -> tuple[SubjectResults, list[dict[str, Any]], list[str]]:
    """Encode one subject with every layer of every model."""
    rows: list[dict[str, Any]] = []
    keys: list[str] = []
    scores: dict[tuple[str, str], np.ndarray] = {}
    alphas: dict[tuple[str, str], np.ndarray] = {}
    fields: np.ndarray | None = None
    for model, sets in features.items():
        chosen = next(f for f in sets if f.covers(ready.design.stimulus))
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
    """Return the stimuli to extract: one collection where subjects share a source, else one each."""
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
