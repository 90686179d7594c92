"""A study's steps as jobs of a cluster: features model by model, encoding subject by subject, then the report.

Jobs share nothing but the study's folder. Each leaves its results in the cache of steps, so a job that dies costs its
own step only, and submitting again computes what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from neuro._check import require
from neuro.errors import StudyError
from neuro.study.cache import StepCache
from neuro.study.config import StudyConfig, load_study
from neuro.study.encoders import Gathered
from neuro.study.run import run_study
from neuro.study.steps import OpenStudy, open_study

CLUSTERS = ("slurm", "local")


def submit_study(
    study: str | Path,
    output: str | Path | None = None,
    *,
    cluster: str = "slurm",
    parameters: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> list[str]:
    """Hand the steps of a study to SLURM, or to local processes, through submitit.

    Parameters
    ----------
    study : path to a TOML file
        On a disk that the nodes see, like all paths in it.
    output : path, optional
        Folder for the results; by default the study's own.
    cluster : {"slurm", "local"}
        "slurm" returns when the jobs are queued, each stage waiting for the one before (``afterok``); "local" runs them
        as processes, and returns when the report is written.
    parameters : dict, optional
        For submitit's executor, such as ``{"timeout_min": 240, "slurm_partition": "gpu", "mem_gb": 32}``.
    say : function of one line

    Returns
    -------
    list of str
        Ids of the jobs, the report's last. Their logs are in ``<output>/jobs``.

    Raises
    ------
    StudyError
        Before anything is queued, if the study cannot be run as written; or if a local job failed.
    """
    if cluster not in CLUSTERS:
        raise StudyError(f"cluster must be one of {', '.join(CLUSTERS)}, got {cluster!r}.")
    submitit = require("submitit", "submitting jobs", extra="cluster")
    path = Path(study).resolve()
    opened = _open(path, output, lambda line: None)
    folder = opened.folder
    executor = submitit.AutoExecutor(folder=folder / "jobs", cluster=cluster)
    settings = {"timeout_min": 24 * 60, **(parameters or {})}
    features = [(fill_features, (path, folder, name)) for name in opened.models]
    encoding = [(encode_subject, (path, folder, subject.name)) for subject in opened.subjects]
    jobs: list[Any] = []
    before: list[Any] = []
    for stage, tasks in (("features", features), ("encoding", encoding), ("report", [(run_study, (path, folder))])):
        executor.update_parameters(**settings, **_after(before, settings) if cluster == "slurm" else {})
        before = [executor.submit(work, *arguments) for work, arguments in tasks]
        jobs += before
        say(f"submitted {stage}: jobs {', '.join(j.job_id for j in before)}")
        if cluster == "local":
            _wait(before, stage, folder)
    return [job.job_id for job in jobs]


def fill_features(study: Path, output: Path, model: str) -> None:
    """Job: compute the features of one model."""
    _open(study, output).features(model)


def encode_subject(study: Path, output: Path, subject: str) -> None:
    """Job: fit everything to one subject; features are read where they stand, and computed where not."""
    opened = _open(study, output)
    k = [s.name for s in opened.subjects].index(subject)
    opened.encode(k, opened.prepared(k), {name: opened.features(name) for name in opened.models}, Gathered())


def _open(study: Path, output: str | Path | None, say: Callable[[str], None] = print) -> OpenStudy:
    config: StudyConfig = load_study(study)
    if config.dataset.kind == "rdms":
        raise StudyError("a study of measured RDMs is one step: run it without submitting.")
    folder = config.path(config.output) if output is None else Path(output).resolve()
    return open_study(config, folder, StepCache(folder / "cache", say))


def _after(before: list[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    if not before:
        return {}
    more = dict(settings.get("slurm_additional_parameters", {}))
    return {"slurm_additional_parameters": more | {"dependency": "afterok:" + ":".join(j.job_id for j in before)}}


def _wait(jobs: list[Any], stage: str, folder: Path) -> None:
    failed = {job.job_id: error for job in jobs if (error := job.exception()) is not None}
    if failed:
        first, error = next(iter(failed.items()))
        raise StudyError(
            f"{len(failed)} of {len(jobs)} jobs of stage {stage!r} failed, first {first}; logs: {folder / 'jobs'}. "
            f"Finished steps are kept: submit again. It said: {_said(error)}"
        )


def _said(error: BaseException) -> str:
    """Return the line of a job's traceback that names the error, or all there is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return named[-1] if named else " ".join(lines)
