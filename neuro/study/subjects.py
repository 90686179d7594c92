"""Subjects of a study, from an NSD tree or from plain files, as one kind of object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._files import fingerprint
from neuro.data import Responses, Stimuli, Voxels
from neuro.data.read import read_array
from neuro.data.reliability import ncsnr_from_repeats
from neuro.errors import DataNotDownloaded, ShapeMismatch, UnknownROI
from neuro.study.config import Recording, StudyConfig


@dataclass(frozen=True, eq=False)
class StudySubject:
    """What a study needs of one subject.

    Parameters
    ----------
    name : str
    stimuli : Stimuli
        The pictures that its responses name.
    all_stimuli : Stimuli
        The collection they come from, perhaps shared with other subjects.
    responses : Responses
        Single trials or averages, lazy, z-scored as the study says.
    source : dict
        What identifies the data on disk; enters the keys of cached results.
    regions : dict name -> selector for ``Voxels.roi``
    is_phantom : bool
    truth_root : path, optional
        Where a phantom keeps its truth.
    counts : dict
        For the report: sessions present, trials, voxels dropped...
    """

    name: str
    stimuli: Stimuli
    all_stimuli: Stimuli
    responses: Responses
    source: dict[str, Any]
    regions: dict[str, Any]
    is_phantom: bool = False
    truth_root: Path | None = None
    counts: dict[str, Any] = field(default_factory=dict)


def iter_subjects(study: StudyConfig) -> Iterator[StudySubject]:
    """Open the subjects of a study one by one; nothing large is read."""
    if study.dataset.kind == "nsd":
        yield from _nsd_subjects(study)
    else:
        for recording in study.dataset.recordings:
            yield _recording(study, recording)


def _nsd_subjects(study: StudyConfig) -> Iterator[StudySubject]:
    from neuro.datasets import NSD

    config = study.dataset
    nsd = NSD(study.path(config.root))
    subjects = list(config.subjects) or list(nsd.subjects)
    for subject in subjects:
        responses = nsd.responses(
            subject=subject, roi=config.voxels, betas=config.betas, space=config.space, sessions=config.sessions
        )
        n_trials, sessions = responses.n_trials, responses.trials["session"].nunique()
        if config.zscore:
            responses = responses.zscore(by=config.zscore)
        regions = _regions(responses.voxels, config.rois)
        ids = np.unique(responses.stimulus)
        try:
            stimuli = nsd.captioned_stimuli(ids)
        except DataNotDownloaded:
            stimuli = nsd.stimuli.select(ids)  # captions are a separate download
        yield StudySubject(
            name=f"subj{int(subject):02d}",
            stimuli=stimuli,
            all_stimuli=nsd.stimuli,
            responses=responses,
            source={
                "kind": "nsd",
                "subject": int(subject),
                "voxels": config.voxels,
                "zscore": config.zscore,
            },
            regions=regions,
            is_phantom=nsd.is_phantom,
            truth_root=nsd.root if nsd.is_phantom else None,
            counts={"n_trials": n_trials, "n_sessions": int(sessions)},
        )


def _recording(study: StudyConfig, recording: Recording) -> StudySubject:
    images = study.path(recording.images)
    stimuli = Stimuli.open(images)
    path = study.path(recording.responses)
    data = np.array(read_array(path, recording.key), dtype=np.float32)
    if recording.transpose:
        data = data.T
    if data.ndim != 2 or len(data) != len(stimuli):
        hint = " Set transpose = true." if data.ndim == 2 and data.shape[1] == len(stimuli) else ""
        raise ShapeMismatch(
            f"{recording.name}: {len(stimuli):,} images in {images.name}, but responses of shape {data.shape} in "
            f"{path.name}; expected one row per image.{hint}"
        )
    voxels = _recording_voxels(study, recording, data.shape[1])
    # Pictures that are the same file content are one picture, whatever they are called.
    picture = pd.factorize(np.array(stimuli.hashes()))[0]
    counts: dict[str, Any] = {"n_trials": len(data), "n_distinct_pictures": int(picture.max() + 1)}
    trials = pd.DataFrame({"stimulus": stimuli.ids, "picture": picture})
    if recording.repeats:
        ncsnr, n = _from_repeats(study.path(recording.repeats), data.shape, recording.transpose)
        voxels = voxels.with_columns(ncsnr=ncsnr)
        trials["n_repeats"] = n
        counts |= {"n_trials": int(n.sum()), "repeats": f"{n.min()}-{n.max()}"}
    files = [study.path(f) for f in (recording.responses, recording.repeats, recording.voxels, recording.mask) if f]
    return StudySubject(
        name=recording.name,
        stimuli=stimuli,
        all_stimuli=stimuli,
        responses=Responses(data, trials, voxels, subject=recording.name),
        source={
            "kind": "recording",
            "files": [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files],
            "stimuli": stimuli.source_token() or stimuli.fingerprint(),
            "transpose": recording.transpose,
            "key": recording.key,
        },
        regions=_regions(voxels, study.dataset.rois),
        counts=counts,
    )


def _recording_voxels(study: StudyConfig, recording: Recording, n: int) -> Voxels:
    voxels = Voxels.from_mask(study.path(recording.mask)) if recording.mask else Voxels(n)
    if len(voxels) != n:
        raise ShapeMismatch(f"{recording.name}: the mask holds {len(voxels):,} voxels, the responses {n:,} channels.")
    if recording.voxels:
        table = pd.read_csv(study.path(recording.voxels), sep="\t", keep_default_na=False, na_values=["n/a"])
        if len(table) != n:
            raise ShapeMismatch(f"{recording.name}: {len(table):,} rows in {recording.voxels}, {n:,} channels.")
        text = [c for c in table if not pd.api.types.is_numeric_dtype(table[c])]
        voxels = Voxels(table, voxels.geometry, {c: table[c].fillna("").to_numpy(str) for c in text if c != "hemi"})
    return voxels


def _from_repeats(path: Path, shape: tuple[int, int], transpose: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return ncsnr per channel and repeats per image from (n_images, n_channels, n_repeats), NaN where missing."""
    repeats = np.asarray(read_array(path), dtype=np.float64)
    if transpose and repeats.ndim == 3:
        repeats = np.swapaxes(repeats, 0, 1)
    if repeats.ndim != 3 or repeats.shape[:2] != shape:
        raise ShapeMismatch(
            f"{path.name} must be (n_images, n_channels, n_repeats) = ({shape}, ...), got {repeats.shape}."
        )
    n = np.isfinite(repeats).all(1).sum(-1)
    if n.min() < 1:
        raise ShapeMismatch(f"{path.name}: {int((n < 1).sum())} images have no complete repeat.")
    flat = np.moveaxis(repeats, 2, 1).reshape(-1, shape[1])
    image = np.repeat(np.arange(shape[0]), repeats.shape[2])
    keep = np.isfinite(flat).all(1)
    return ncsnr_from_repeats(flat[keep], image[keep], zscored=False), n


def _regions(voxels: Voxels, rois: Any) -> dict[str, Any]:
    """Names to selectors: what the study asks for, else every region of the individual atlases, else all channels."""
    if rois:
        found = {}
        for roi in rois:
            name, selector = (roi, roi) if isinstance(roi, str) else (" + ".join(roi), list(roi))
            try:
                mask = voxels.roi(selector)
            except UnknownROI:
                continue  # not every person has every region; run_study refuses one that nobody has
            if mask.any():
                found[name] = mask
        return found
    own = [x for x in voxels.labels() if x.startswith(("prf-visualrois", "floc-"))]
    if own:
        return {x.split(":", 1)[1]: voxels.roi(x) for x in own}
    named = {x.split(":", 1)[1]: voxels.roi(x) for x in voxels.labels()}
    return named or {"all": np.ones(len(voxels), bool)}


def subject_key(subject: StudySubject) -> str:
    """Return a fingerprint of the subject's data as the study uses it."""
    return fingerprint({"source": subject.source, "provenance": subject.responses.provenance})
