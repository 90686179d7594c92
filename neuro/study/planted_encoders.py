"""Do several encoders tell apart what the phantom planted in early areas and in category regions?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from neuro.report import EncoderResults, SubjectResults
from neuro.study.config import StudyConfig
from neuro.study.planted import CATEGORY, EARLY, claim, match


def encoder_checks(
    config: StudyConfig, encoders: EncoderResults, results: Mapping[str, SubjectResults]
) -> list[dict[str, Any]]:
    """Return claims about feature spaces and receptive fields of phantom subjects."""
    out = []
    for name, part in results.items():
        out += [
            check for entry in config.encode if entry.bands for check in _bands(config, encoders, entry, name, part)
        ]
        out += [
            check
            for (subject, encoder), fields in encoders.fields.items()
            if subject == name
            for check in _fields(encoder, name, part, fields)
        ]
        out += _few_images(config, encoders, name)
    return out


def _bands(config: StudyConfig, encoders: EncoderResults, entry, name: str, part: SubjectResults):
    """Yield what a Gabor band and a network band add where they should."""
    sources = {m.name: m.model for m in config.models}
    found = {band: encoders.bands.get((name, entry.name, band)) for band in entry.bands}
    gabor = [b for b, (model, _) in entry.bands.items() if sources[model] == "gabor" and found[b] is not None]
    network = [b for b, (model, _) in entry.bands.items() if sources[model] not in ("gabor", "color", "pixels")]
    masks = {k: [part.rois[r] for r in part.rois if r in names] for k, names in (("early", EARLY), ("late", CATEGORY))}
    if len(entry.bands) != 2 or not gabor or not network or not masks["early"] or not masks["late"]:
        return
    for band, where, other, text in (
        (gabor[0], "early", "late", "Gabor energy adds more to the network in early areas than in category regions"),
        (network[0], "late", "early", "the network adds more to Gabor energy in category regions than in early areas"),
    ):
        values = np.asarray(found[band])
        here, there = (np.mean([np.nanmean(values[m]) for m in masks[k]]) for k in (where, other))
        yield claim(
            f"{name} {entry.name}: {band}",
            text,
            f"mean unique R² {here:.3f} against {there:.3f}",
            "larger",
            here > there,
        )


def _few_images(config: StudyConfig, encoders: EncoderResults, name: str):
    """Yield whether a trained in-context network beats ridge on the same embedding, at the fewest images of a curve."""
    for entry in config.encode:
        for other in config.encode:
            same = (entry.model, entry.layer) == (other.model, other.layer)
            if (entry.kind, other.kind) != ("in-context", "ridge") or entry.model is None or not same:
                continue
            shared = set(entry.curve) & set(other.curve)
            if not shared:
                continue
            n, table = min(shared), encoders.efficiency
            own = table[(table["subject"] == name) & (table["n_images"] == n) & table["roi"].isin(CATEGORY)]
            if own.empty:
                continue
            few, ridge = (own.loc[own["model"] == e.name, "score"].mean() for e in (entry, other))
            text = f"from {n} images the trained network predicts category regions better than ridge does"
            yield claim(f"{name} {entry.name}", text, f"mean r {few:.2f} against {ridge:.2f}", "larger", few > ridge)


def _fields(encoder: str, name: str, part: SubjectResults, fields: np.ndarray):
    """Yield whether receptive fields of early voxels stand where they were planted."""
    if part.truth is None:
        return
    p = match(fields, part.truth, part.rois, part.ceiling)
    if p is None:
        return
    rx, ry = (float(np.corrcoef(p[k], p[f"{k}_true"])[0, 1]) for k in "xy")
    error = float(np.median(np.hypot(p["x"] - p["x_true"], p["y"] - p["y_true"])))
    value = f"x: r = {rx:.2f}, y: r = {ry:.2f}, median error {error:.2f} degrees, {len(p['x'])} voxels"
    text = "receptive fields fitted to network features stand where they were planted"
    yield claim(f"{name} {encoder}", text, value, "r >= .7", min(rx, ry) >= 0.7)
