"""Was what the phantom planted found? Claims with the number seen, the number expected, and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from neuro.data import Volume
from neuro.report import SubjectResults
from neuro.study.prepare import Prepared
from neuro.study.subjects import StudySubject

EARLY = ("V1", "V2", "V3", "V1v", "V1d", "V2v", "V2d", "V3v", "V3d")
CATEGORY = ("OFA", "FFA-1", "FFA-2", "EBA", "FBA-1", "OPA", "PPA", "RSC", "OWFA", "VWFA-1", "VWFA-2")


def load(subject: StudySubject, valid: np.ndarray) -> dict[str, Any] | None:
    """Return the planted values of a phantom subject's valid voxels, in their order; None for real data or surfaces."""
    geometry = subject.responses.voxels.geometry
    if subject.truth_root is None or not isinstance(geometry, Volume):
        return None
    from neuro.datasets.phantom import load_truth

    truth = load_truth(subject.truth_root, subject.name)
    row = {tuple(v): i for i, v in enumerate(truth["ijk"].tolist())}
    at = np.array([row[tuple(v)] for v in geometry.ijk[valid].tolist()])
    return {k: truth[k][at] for k in ("x", "y", "size", "ncsnr", "region")}


def match_fields(
    fields: np.ndarray, truth: Mapping[str, Any], ready: Prepared, floor: float = 0.3
) -> dict[str, np.ndarray] | None:
    """Return estimated beside true receptive fields of early voxels whose ceiling is above ``floor``."""
    return match(fields, truth, ready.rois, ready.ceiling, floor)


def match(
    fields: np.ndarray,
    truth: Mapping[str, Any],
    rois: Mapping[str, np.ndarray],
    ceiling: np.ndarray | None,
    floor: float = 0.3,
) -> dict[str, np.ndarray] | None:
    """Return x, y, size as estimated and as planted, of early voxels that can be estimated; None for too few."""
    early = np.zeros(fields.shape[1], bool)
    for name, mask in rois.items():
        if name in EARLY:
            early |= mask
    if ceiling is not None:
        early &= ceiling > floor
    early &= np.isfinite(fields).all(0)
    if early.sum() < 3:
        return None
    true = {f"{k}_true": truth[k][early] for k in ("x", "y", "size")}
    found = dict(zip(("x", "y", "size"), fields[:, early], strict=True))
    return {**found, **true, "voxel": np.flatnonzero(early)}


def checks(
    table: pd.DataFrame, results: Mapping[str, SubjectResults], models: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the claims that this study can test: dicts of name, claim, value, expected, passed."""
    out = []
    r = table[table["metric"] == "r"]
    trained = next((m for m in models if m["kind"] == "pretrained"), None)
    untrained = next((m for m in models if m["kind"] == "untrained"), None)
    gabor = next((m for m in models if m.get("model") == "gabor"), None)
    for name, part in results.items():
        mine = r[r["subject"] == name]
        out += [*_reliability(name, part), *_fields(name, part)]
        best = mine.loc[mine.groupby(["model", "roi"])["score"].idxmax()].set_index(["model", "roi"])
        category = [roi for roi in part.rois if roi in CATEGORY]
        early = [roi for roi in part.rois if roi in EARLY]
        if trained is None:
            continue
        depth = {layer: i / max(len(trained["layers"]) - 1, 1) for i, layer in enumerate(trained["layers"])}
        where = {roi: depth[best.loc[(trained["name"], roi), "layer"]] for roi in [*category, *early]}
        if category and early:
            late, soon = np.mean([where[x] for x in category]), np.mean([where[x] for x in early])
            out.append(claim(
                f"{name} hierarchy", "category regions are best explained by later layers than early areas",
                f"mean relative depth {late:.2f} against {soon:.2f}", "later", late > soon,
            ))  # fmt: skip
        if gabor is not None and early:
            gains = [best.loc[(gabor["name"], x), "score"] - best.loc[(trained["name"], x), "score"] for x in early]
            last = trained["layers"][-1]
            deep = mine[(mine["model"] == trained["name"]) & (mine["layer"] == last)].set_index("roi")["score"]
            over = np.mean([best.loc[(gabor["name"], x), "score"] - deep[x] for x in early])
            out.append(claim(
                f"{name} early areas", "Gabor energy explains early areas better than the network's last layer",
                f"mean r {over:+.2f} (best layer instead: {np.mean(gains):+.2f})", "> 0", over > 0,
            ))  # fmt: skip
        if gabor is not None and category:
            over = np.mean([
                best.loc[(trained["name"], x), "score"] - best.loc[(gabor["name"], x), "score"] for x in category
            ])  # fmt: skip
            out.append(claim(
                f"{name} category regions", "the trained network explains category regions better than Gabor energy",
                f"mean r {over:+.2f}", "> 0", over > 0,
            ))  # fmt: skip
        if untrained is not None and category:
            over = np.mean([
                best.loc[(trained["name"], x), "score"] - best.loc[(untrained["name"], x), "score"] for x in category
            ])  # fmt: skip
            out.append(claim(
                f"{name} training", "training improves category regions",
                f"mean r {over:+.2f}", "> 0", over > 0,
            ))  # fmt: skip
    return out


def _reliability(name: str, part: SubjectResults) -> list[dict[str, Any]]:
    table = part.voxels.table
    if part.truth is None or "ncsnr" not in table:
        return []
    found, planted = table["ncsnr"].to_numpy(float), np.asarray(part.truth["ncsnr"], float)
    r = float(np.corrcoef(found, planted)[0, 1])
    ratio = float(found.mean() / planted.mean())
    value = f"r = {r:.3f}, mean ratio {ratio:.2f}"
    return [claim(f"{name} reliability", "ncsnr from repeats equals what was planted", value, "r >= .95", r >= 0.95)]


def _fields(name: str, part: SubjectResults) -> list[dict[str, Any]]:
    if part.prf is None:
        return []
    p = part.prf
    rx, ry = (float(np.corrcoef(p[k], p[f"{k}_true"])[0, 1]) for k in "xy")
    error = float(np.median(np.hypot(p["x"] - p["x_true"], p["y"] - p["y_true"])))
    value = f"x: r = {rx:.2f}, y: r = {ry:.2f}, median error {error:.2f} degrees, {len(p['x'])} voxels"
    text = "receptive fields from Gabor weights stand where they were planted"
    return [claim(f"{name} receptive fields", text, value, "r >= .7", min(rx, ry) >= 0.7)]


def claim(name: str, claim: str, value: str, expected: str, passed: Any) -> dict[str, Any]:
    return {"name": name, "claim": claim, "value": value, "expected": expected, "passed": bool(passed)}
