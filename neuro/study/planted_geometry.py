"""Does the measured geometry of a phantom's regions agree with the geometry of what was planted in them?"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro.data import Volume
from neuro.rsa import RDMs, compare, rdm, second_order
from neuro.study.planted import claim
from neuro.study.subjects import StudySubject


def geometry_checks(subjects: list[StudySubject], brain: RDMs) -> list[dict[str, Any]]:
    """Return claims about measured RDMs (columns subject, roi) of phantom subjects; none for real data or surfaces.

    The planted RDMs are those of the noiseless responses, over the same images and voxels.
    """
    by_name = {s.name: s for s in subjects}
    table, planted = brain.table, []
    for name, roi in table[["subject", "roi"]].to_numpy():
        subject = by_name.get(name)
        if subject is None or subject.truth_root is None or not isinstance(subject.responses.voxels.geometry, Volume):
            return []
        planted.append(_planted(subject, roi, brain.conditions))
    if len(table) < 4:
        return []
    true = planted[0].concat(*planted[1:]).with_table(table).numpy()
    measured = brain.numpy()
    second = [second_order(x.mean("roi"), "corr") if len(brain.levels("roi")) > 3 else None for x in (measured, true)]
    out = []
    if second[0] is not None and second[1] is not None:
        r = float(compare(second[0].dissimilarities, second[1].dissimilarities, "corr")[0, 0])
        out.append(
            claim(
                "geometry between regions",
                "regions are as similar in their measured geometry as in the planted one",
                f"r = {r:.2f} over pairs of regions",
                "r >= 0.6",
                r >= 0.6,
            )
        )
    hits, chances = [], []
    for name in dict.fromkeys(table["subject"]):
        own = np.flatnonzero(table["subject"] == name)
        similarity = np.asarray(compare(measured.dissimilarities[own], true.dissimilarities[own], "corr"))
        hits += (similarity.argmax(1) == np.arange(len(own))).tolist()
        chances += [1 / len(own)] * len(own)
    accuracy, chance = float(np.mean(hits)), float(np.mean(chances))
    expected = min(0.9, max(0.5, 2 * chance))
    out.append(
        claim(
            "geometry of each region",
            "a region's measured RDM is most like the RDM planted in that region",
            f"{accuracy:.0%} of {len(hits)} RDMs",
            f">= {expected:.0%} (chance {chance:.0%})",
            accuracy >= expected,
        )
    )
    return out


def _planted(subject: StudySubject, roi: str, conditions: np.ndarray) -> RDMs:
    from neuro.datasets.phantom import load_truth

    truth = load_truth(subject.truth_root, subject.name)
    general = np.flatnonzero(truth["general"])
    column = {tuple(v): k for k, v in enumerate(truth["ijk"][general].tolist())}
    mask = np.asarray(subject.regions[roi])
    voxels = [column[tuple(v)] for v in subject.responses.voxels.geometry.ijk[mask].tolist() if tuple(v) in column]
    row = {int(s): k for k, s in enumerate(truth["stimulus"].tolist())}
    signal = truth["signal"][[row[int(c)] for c in conditions]].astype(np.float64)
    return rdm(signal[:, voxels], "correlation", conditions=conditions)
