"""The last step of a study: results, maps and report, written once and copied to where people look."""

from __future__ import annotations

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
from neuro.errors import StudyError
from neuro.report import DecoderResults, EncoderResults, RsaResults, StudyResults, SubjectResults, write_report
from neuro.study.cache import StepCache
from neuro.study.config import StudyConfig
from neuro.study.maps import describe_derivative, write_maps

# Raised when the report shows something else than before from the same results.
REPORT_VERSION = 4
FOLDERS = ("study", "maps", "rsa", "encoders", "decoders")


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


def publish(
    config: StudyConfig,
    cache: StepCache,
    folder: Path,
    start: float,
    keys: list[str],
    results_of: Callable[[], StudyResults],
    rsa: RsaResults | None = None,
    encoders: EncoderResults | None = None,
    decoders: DecoderResults | None = None,
) -> StudyRun:
    """Write results, maps and report, and say what was done.

    Parameters
    ----------
    config, cache
    folder : path
        Of all results.
    start : float
        When the run began (``time.perf_counter()``).
    keys : list of str
        Of all steps that the report rests on.
    results_of : function returning StudyResults
        Called only if the report has to be written.
    rsa, encoders, decoders : optional
    """
    depends = {"version": REPORT_VERSION, "neuro": neuro.__version__, "steps": keys, "config": config.to_dict()}

    def work(target: Path) -> None:
        whole = results_of()
        whole.save(target / "study")
        if rsa is not None:
            rsa.save(target / "rsa")
        table = whole.table
        if encoders is not None:
            encoders.save(target / "encoders")
            table = pd.concat([table, encoders.table], ignore_index=True)
            for name in ("comparisons", "unique", "efficiency"):
                _write_table(target / f"{FILES[name]}.tsv", getattr(encoders, name))
        if decoders is not None:
            decoders.save(target / "decoders")
            _write_table(target / "decoders.tsv", decoders.table)
            _write_table(target / "captions.tsv", decoders.captions)
        write_report(whole, target / "report.html", rsa=rsa, encoders=encoders, decoders=decoders)
        _write_table(target / "results.tsv", table)
        if config.maps and whole.subjects:
            for part in whole.subjects.values():
                maps = maps_of(part, list(whole.models))
                if encoders is not None:
                    maps |= encoder_maps(part.subject, encoders)
                write_maps(target / "maps", part.subject, part.voxels, maps, config.dataset.space)
            describe_derivative(target / "maps", config.title or config.name, neuro.__version__)

    done, _ = cache.run("report", "report", depends, work)
    for path in (done / "report.html", *sorted(done.glob("*.tsv"))):
        with atomic_path(folder / path.name) as temporary:
            shutil.copyfile(path, temporary)
    for name in FOLDERS:
        if (done / name).is_dir():
            with atomic_path(folder / name, directory=True) as temporary:
                shutil.copytree(done / name, temporary, dirs_exist_ok=True)
    table = StudyResults.load(done / "study").table
    if (done / "encoders").is_dir():
        table = pd.concat([table, EncoderResults.load(done / "encoders").table], ignore_index=True)
    seconds = time.perf_counter() - start
    run = StudyRun(folder, folder / "report.html", table, tuple(cache.computed), tuple(cache.cached), seconds)
    write_json(folder / "last_run.json", {"computed": run.computed, "cached": run.cached, "seconds": run.seconds})
    cache.say(f"{len(run.computed)} steps computed, {len(run.cached)} cached, {run.seconds:.1f} s -> {run.report}")
    return run


FILES = {"comparisons": "encoders", "unique": "unique_variance", "efficiency": "efficiency"}


def _write_table(path: Path, table: pd.DataFrame) -> None:
    if len(table):
        table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.6g")


def rebuild_report(folder: str | Path) -> Path:
    """Write ``report.html`` again from the saved results in ``folder``, and return its path."""
    folder = Path(folder)
    if not (folder / "study").is_dir():
        raise StudyError(f"{folder} holds no results of a study (no folder 'study'): run `neuro run` first.")
    rsa = RsaResults.load(folder / "rsa") if (folder / "rsa").is_dir() else None
    encoders = EncoderResults.load(folder / "encoders") if (folder / "encoders").is_dir() else None
    decoders = DecoderResults.load(folder / "decoders") if (folder / "decoders").is_dir() else None
    study = StudyResults.load(folder / "study")
    return write_report(study, folder / "report.html", rsa=rsa, encoders=encoders, decoders=decoders)


def maps_of(part: SubjectResults, models: list[dict[str, Any]]) -> dict[str, np.ndarray]:
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


def encoder_maps(subject: str, encoders: EncoderResults) -> dict[str, np.ndarray]:
    """Return what encoders found per voxel: r, the unique variance of feature spaces, receptive fields."""
    maps = {f"{name}R": values for (s, name), values in encoders.scores.items() if s == subject}
    maps |= {f"{name}Unique{band}": v for (s, name, band), v in encoders.bands.items() if s == subject}
    for (s, name), values in encoders.fields.items():
        if s == subject:
            maps |= {f"{name}{what}": v for what, v in zip(("X", "Y", "Size"), values, strict=True)}
    return maps
