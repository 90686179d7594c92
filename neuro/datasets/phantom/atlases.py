"""The phantom's regions under NSD's names and numbers.

Regions called prf-* and floc-* are the person's own; Kastner2015 is a group atlas and only roughly theirs, so the two
disagree at borders as they do in people.
"""

from __future__ import annotations

import numpy as np

from neuro.datasets.phantom.cortex import Cortex
from neuro.datasets.phantom.layout import EARLY, ECCENTRICITY_BORDERS, MIDDLE, Layout
from neuro.datasets.phantom.mesh import FRONT, load_mesh

#: Atlas -> names of its labels, numbered from 1. A few of them no phantom has, as not every person has all of NSD's.
ATLASES: dict[str, list[str]] = {
    "nsdgeneral": ["nsdgeneral"],
    "prf-visualrois": list(EARLY),
    "prf-eccrois": ["ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"],
    "floc-faces": ["OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"],
    "floc-bodies": ["EBA", "FBA-1", "FBA-2", "mTL-bodies"],
    "floc-places": ["OPA", "PPA", "RSC"],
    "floc-words": ["OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"],
    "streams": ["early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"],
    "Kastner2015": [*EARLY, *MIDDLE, "IPS4", "IPS5", "SPL1", "FEF"],
}
#: Drawn in the person, so not on the template surface but as moved there.
INDIVIDUAL = ("prf-visualrois", "prf-eccrois", "floc-faces", "floc-bodies", "floc-places", "floc-words")


def label_numbers(cortex: Cortex) -> dict[str, np.ndarray]:
    """Return atlas -> int16 number of every brain voxel (n,): -1 outside cortex, 0 without a label, labels from 1."""
    out = {}
    for atlas, names in ATLASES.items():
        if atlas == "nsdgeneral":
            numbers = cortex.general.astype(np.int16)
        elif atlas == "prf-eccrois":
            early = np.isin(cortex.early, ATLASES["prf-visualrois"])
            numbers = np.where(early, np.digitize(cortex.eccentricity, ECCENTRICITY_BORDERS) + 1, 0)
        else:
            labels = {"Kastner2015": cortex.template, "streams": cortex.stream}.get(atlas, cortex.region)
            numbers = _numbers(labels, names)
        out[atlas] = np.where(cortex.cortex, numbers, -1).astype(np.int16)
    return out


def _numbers(labels: np.ndarray, names: list[str]) -> np.ndarray:
    out = np.zeros(len(labels), np.int16)
    for number, name in enumerate(names, 1):
        out[labels == name] = number
    return out


def template_numbers(side: str) -> dict[str, np.ndarray]:
    """Return group atlas -> number of every fsaverage5 vertex of a hemisphere, (10242,): 0 without label."""
    directions = load_mesh()[side].direction
    places = Layout(side).at(directions)
    behind = load_mesh()[side].middle[:, 1] < FRONT
    area = np.where(places.early != "", places.early, places.middle)
    labels = {
        "nsdgeneral": np.where(places.general, "nsdgeneral", ""),
        "streams": np.where(places.general, places.stream, ""),
        "Kastner2015": area,
    }
    return {atlas: np.where(behind, _numbers(x, ATLASES[atlas]), 0) for atlas, x in labels.items()}
