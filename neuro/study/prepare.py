"""The responses of one subject made ready once: averaged, split, with the ceiling of the tested images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuro._files import read_json, write_json
from neuro.data import Responses, Voxels
from neuro.errors import EmptySelection, NoRepeats
from neuro.study.cache import StepCache
from neuro.study.config import StudyConfig
from neuro.study.evaluate import Design, centre_folds, make_design
from neuro.study.subjects import StudySubject, subject_key

# Raised when this step computes something else than before from the same settings.
VERSION = 1


@dataclass(frozen=True, eq=False)
class Prepared:
    """One subject, ready to be encoded.

    Parameters
    ----------
    name : str
    design : Design
        Averaged responses of the voxels that have data, and the folds.
    valid : array of bool over all voxels of the subject
    voxels : Voxels
        Those that are valid, as everything below.
    rois : dict name -> mask
    ceiling : array (n_voxels,) or None
        Share of variance of the tested responses that a perfect model could explain.
    counts : dict
    key : str
        Fingerprint of all of it.
    """

    name: str
    design: Design
    valid: np.ndarray
    voxels: Voxels
    rois: dict[str, np.ndarray]
    ceiling: np.ndarray | None
    counts: dict[str, Any]
    key: str

    @property
    def truth(self) -> np.ndarray:
        """Measured responses in the order of the predictions, centred by fold like them."""
        return centre_folds(self.design.Y[self.design.tested], self.design)


def prepare(config: StudyConfig, cache: StepCache, subject: StudySubject) -> Prepared:
    """Return the subject ready to be encoded, from the cache where it stands."""
    ev = config.evaluation
    depends = {
        "version": VERSION,
        "data": subject_key(subject),
        "split": [ev.split, ev.folds, ev.test],
        "seed": config.seed,
    }

    def work(target: Path) -> None:
        design, mean, valid = make_design(subject.responses, ev, config.seed)
        if not valid.any():
            raise EmptySelection(f"{subject.name}: every voxel is constant or has missing responses.")
        counts = {
            **subject.counts,
            "n_train_images": len(design.folds[0][0]),
            "n_test_images": len(design.tested),
            "n_invalid": int((~valid).sum()),
        }
        if "n_repeats" in mean.trials and "repeats" not in counts:
            n = mean.trials["n_repeats"]
            low, high = int(n.min()), int(n.max())
            counts["repeats"] = str(low) if low == high else f"{low}-{high}"
        sides = np.zeros((2, len(design.folds), len(design.stimulus)), bool)
        for i, fold in enumerate(design.folds):
            for side, rows in enumerate(fold):
                sides[side, i, rows] = True
        arrays = {"Y": design.Y, "valid": valid, "stimulus": design.stimulus, "groups": design.groups, "folds": sides}
        ceiling = _ceiling(mean.select(trials=design.tested))
        if ceiling is not None:
            arrays["ceiling"] = ceiling[valid]
        for name, array in arrays.items():
            np.save(target / f"{name}.npy", array, allow_pickle=False)
        write_json(target / "counts.json", counts)

    folder, key = cache.run("responses", f"responses  {subject.name}", depends, work)
    arrays = {p.stem: np.load(p, allow_pickle=False) for p in folder.glob("*.npy")}
    folds = [(np.flatnonzero(a), np.flatnonzero(b)) for a, b in zip(*arrays["folds"], strict=True)]
    valid = arrays["valid"]
    rois = {name: mask[valid] for name, mask in subject.regions.items() if mask[valid].any()}
    if not rois:
        raise EmptySelection(f"{subject.name}: no region holds a voxel with data.")
    return Prepared(
        name=subject.name,
        design=Design(arrays["stimulus"], arrays["Y"], folds, arrays["groups"]),
        valid=valid,
        voxels=subject.responses.voxels.select(np.flatnonzero(valid)),
        rois=rois,
        ceiling=arrays.get("ceiling"),
        counts=read_json(folder / "counts.json"),
        key=key,
    )


def _ceiling(tested: Responses) -> np.ndarray | None:
    """Return the ceiling of the tested responses; None where nothing was repeated and none is stored."""
    try:
        return tested.noise_ceiling()
    except NoRepeats:
        return None
