"""The RSA of a study: model comparison, layer curves, structure, identification of regions, second-order maps."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._files import fingerprint
from neuro.report.rsa_results import RsaResults
from neuro.rsa import (
    RDMs,
    compare,
    embed,
    evaluate,
    geo_topological,
    identify_regions,
    layer_by_area,
    rank_transform,
    rgtm_grid,
    second_order,
)
from neuro.stats import fdr
from neuro.study.cache import StepCache
from neuro.study.config import RsaConfig, StudyConfig
from neuro.study.geometry import Geometry

# Raised when this step computes something else than before from the same settings.
VERSION = 1
FEWEST_FOR_DUAL = 3  # subjects, for inference to the population of subjects


def analyse(config: StudyConfig, cache: StepCache, parts: list[Geometry], keys: list[str]) -> tuple[RsaResults, str]:
    """Compare what is in ``parts``; from the cache where it stands.

    Parameters
    ----------
    config, cache
    parts : list of Geometry
    keys : list of str
        Fingerprints of responses and features.

    Returns
    -------
    RsaResults, and the key of the step
    """
    assert config.rsa is not None
    depends = {
        "version": VERSION,
        "rsa": dataclasses.asdict(config.rsa),
        "seed": config.seed,
        "keys": sorted(set(keys)),
        "rdms": [fingerprint([p.name, *(_content(r) for r in (p.brain, p.layers, p.models))]) for p in parts],
        "groups": [None if p.groups is None else p.groups.tolist() for p in parts],
    }

    def work(target: Path) -> None:
        compute(config.rsa, parts, config.seed).save(target / "results")

    folder, key = cache.run("rsa", "rsa", depends, work)
    return RsaResults.load(folder / "results"), key


def compute(rsa: RsaConfig, parts: list[Geometry], seed: int = 0) -> RsaResults:
    """Do the analyses of all parts."""
    found: dict[str, list[pd.DataFrame]] = {}
    rdms: dict[str, RDMs] = {}
    for part in parts:
        models, pairs = _models(rsa, part, seed)
        tables = {
            "models": models,
            "pairs": pairs,
            "layers": _layers(rsa, part, seed),
            "structure": _structure(part),
            "identification": _identification(rsa, part),
            "grid": _grid(rsa, part),
            "matrix": _matrix(rsa, part),
            "map": _map(rsa, part),
            "conditions": _conditions(part),
        }
        for name, table in tables.items():
            if len(table):
                found.setdefault(name, []).append(table.assign(part=part.name))
        rdms[f"brain {part.name}"] = part.brain.numpy()
        for name, stack in (("layers", part.layers), ("model RDMs", part.models)):
            if stack is not None:
                rdms[f"{name} {part.name}"] = stack.numpy()
    settings = {**dataclasses.asdict(rsa), "seed": seed, "parts": [p.name for p in parts]}
    settings["groups_of"] = {p.name: None if p.groups is None else p.groups.tolist() for p in parts}
    return RsaResults({k: pd.concat(v, ignore_index=True) for k, v in found.items()}, rdms, settings)


def _candidates(rsa: RsaConfig, part: Geometry) -> RDMs | None:
    """Model RDMs, the categories as a model, and the last layer of every network."""
    stacks = []
    if part.models is not None:
        stacks.append(part.models)
    if part.groups is not None:
        different = (part.groups[:, None] != part.groups[None]).astype(float)
        stacks.append(RDMs(different[None], part.brain.conditions, {"name": ["categories"]}))
    if part.layers is not None:
        table = part.layers.table
        last = table.groupby("model", sort=False).tail(1).index
        names = [f"{m}, {k}" if (table["model"] == m).sum() > 1 else m for m, k in table.loc[last].to_numpy()]
        stacks.append(part.layers.select(np.asarray(last)).with_table({"name": names}))
    return stacks[0].concat(*stacks[1:]) if stacks else None


def _others(candidates: RDMs, data: RDMs) -> RDMs:
    """Leave out models that are the measured RDM itself."""
    same = np.asarray(compare(candidates.numpy(), data.mean().numpy(), "corr"))[:, 0] > 1 - 1e-9
    return candidates if same.all() else candidates.select(~same)


def _evaluate(rsa: RsaConfig, models: RDMs, data: RDMs, method: str, seed: int) -> Any:
    resample = "dual" if data.n_rdms >= FEWEST_FOR_DUAL else "stimulus"
    return evaluate(models, data, method, resample=resample, n_boot=rsa.n_bootstraps, rng=seed)


def _models(rsa: RsaConfig, part: Geometry, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score, interval, corrected p and ceilings of every model in every region; and tests of all pairs of models."""
    candidates, scores, pairs = _candidates(rsa, part), [], []
    if candidates is None:
        return pd.DataFrame(), pd.DataFrame()
    for roi in part.brain.levels("roi"):
        data = part.brain.select({"roi": roi})
        result = _evaluate(rsa, _others(candidates, data), data, rsa.method, seed)
        table = result.to_frame()
        table["q"] = fdr(table["p_zero"].to_numpy(float))
        by_subject = {
            f"subject {s}": v for s, v in zip(result.ceiling.subjects, result.scores_by_subject.T, strict=True)
        }
        scores.append(table.assign(roi=roi, **by_subject))
        if len(table) > 1:
            pairs.append(result.test_pairs(correction="fdr").rename(columns={"p_corrected": "q"}).assign(roi=roi))
    return pd.concat(scores, ignore_index=True), pd.concat(pairs, ignore_index=True) if pairs else pd.DataFrame()


def _transformed(rsa: RsaConfig, rdms: RDMs, transform: str) -> RDMs:
    if transform == "raw":
        return rdms
    return rank_transform(rdms) if transform == "rank" else geo_topological(rdms, rsa.l, rsa.u)


def _layers(rsa: RsaConfig, part: Geometry, seed: int) -> pd.DataFrame:
    """Score of every layer in every region, for raw, ranked and geo-topological RDMs, by their correlation."""
    rows = []
    if part.layers is None:
        return pd.DataFrame()
    table = part.layers.table
    for transform in rsa.transforms:
        layers, brain = (_transformed(rsa, r.numpy(), transform) for r in (part.layers, part.brain))
        layers = layers.with_table({"name": [str(k) for k in range(layers.n_rdms)]})
        for roi in part.brain.levels("roi"):
            result = _evaluate(rsa, layers, brain.select({"roi": roi}), "corr", seed)
            scores = result.to_frame().drop(columns="model")
            rows.append(pd.concat([table, scores], axis=1).assign(roi=roi, transform=transform))
    return pd.concat(rows, ignore_index=True)


def _structure(part: Geometry) -> pd.DataFrame:
    """Mean dissimilarity of pairs that binary model RDMs call alike (0) and different (1)."""
    rows = []
    models = part.models
    stacks = [] if models is None else list(zip(models.names, models.dissimilarities, strict=True))
    if part.groups is not None:
        i, j = np.triu_indices(len(part.groups), 1)
        stacks.append(("categories", (part.groups[i] != part.groups[j]).astype(float)))
    for name, model in stacks:
        if set(np.unique(model)) != {0.0, 1.0}:
            continue
        for roi in part.brain.levels("roi"):
            mean = np.nanmean(part.brain.select({"roi": roi}).dissimilarities, axis=0)
            same, different = float(np.nanmean(mean[model == 0])), float(np.nanmean(mean[model == 1]))
            rows.append({"roi": roi, "model": name, "within": same, "between": different, "ratio": different / same})
    return pd.DataFrame(rows)


def _complete(rsa: RsaConfig, part: Geometry) -> tuple[RDMs | None, int]:
    """RDMs of the regions that every subject has, and the number of subjects; None where nothing can be identified."""
    n_subjects = len(part.brain.levels("subject"))
    counts = part.brain.table.groupby("roi", sort=False)["subject"].nunique()
    shared = counts[counts == n_subjects].index
    if not rsa.identify or n_subjects < 2 or len(shared) < 2:
        return None, n_subjects
    return part.brain.select({"roi": list(shared)}).numpy(), n_subjects


def _grid(rsa: RsaConfig, part: Geometry) -> pd.DataFrame:
    """Accuracy of identification for all thresholds (l, u), which is optimistic where it is largest."""
    brain, n_subjects = _complete(rsa, part)
    return pd.DataFrame() if brain is None or n_subjects < 3 else rgtm_grid(brain).to_frame()


def _identification(rsa: RsaConfig, part: Geometry) -> pd.DataFrame:
    """Accuracy of naming the region of a left-out subject's RDM, by geometry and topology."""
    brain, n_subjects = _complete(rsa, part)
    if brain is None:
        return pd.DataFrame()
    ways = {"raw": "raw", "rank": "rank", f"geo-topological ({rsa.l:g}, {rsa.u:g})": (rsa.l, rsa.u)}
    if n_subjects > 2:
        ways["geo-topological, (l, u) chosen in the other subjects"] = "rgtm"
    frames = [identify_regions(brain, transform=way).summary().assign(transform=name) for name, way in ways.items()]
    return pd.concat(frames, ignore_index=True)


def _matrix(rsa: RsaConfig, part: Geometry) -> pd.DataFrame:
    """Similarity of every layer to the mean RDM of every region."""
    if part.layers is None:
        return pd.DataFrame()
    areas = part.brain.mean("roi")
    areas = areas.with_table({"name": list(areas.table["roi"])})
    matrix = layer_by_area(part.layers, areas, rsa.method)
    table = part.layers.table
    rows = [
        {"roi": roi, "model": table["model"][k], "layer": table["layer"][k], "score": value}
        for roi, values in zip(matrix.index, matrix.to_numpy(), strict=True)
        for k, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def _map(rsa: RsaConfig, part: Geometry) -> pd.DataFrame:
    """Regions and layers arranged by how alike their RDMs are."""
    areas = part.brain.mean("roi")
    stack = areas.with_table({"name": list(areas.table["roi"])}).numpy()
    kind, model = ["region"] * stack.n_rdms, [""] * stack.n_rdms
    if part.layers is not None:
        table = part.layers.table
        stack = stack.concat(part.layers.numpy().with_table({"name": [f"{m} {k}" for m, k in table.to_numpy()]}))
        kind += ["layer"] * len(table)
        model += list(table["model"])
    if stack.n_rdms < 4:
        return pd.DataFrame()
    method = rsa.method if rsa.method in ("corr", "spearman", "rho-a", "cosine", "corr_cov", "cosine_cov") else "corr"
    found = embed(second_order(stack, method))
    return pd.DataFrame(
        {"name": stack.names, "kind": kind, "model": model, "x": found.points[:, 0], "y": found.points[:, 1]}
    ).assign(stress=found.stress)


def _conditions(part: Geometry) -> pd.DataFrame:
    """Images arranged by their mean dissimilarity in each region."""
    rows = []
    for roi in part.brain.levels("roi"):
        mean = part.brain.select({"roi": roi}).mean()
        found = embed(mean)
        points = pd.DataFrame({"condition": mean.conditions, "x": found.points[:, 0], "y": found.points[:, 1]})
        points["group"] = "" if part.groups is None else part.groups
        rows.append(points.assign(roi=roi, stress=found.stress))
    return pd.concat(rows, ignore_index=True)


def _content(rdms: RDMs | None) -> Any:
    if rdms is None:
        return None
    return [rdms.numpy().dissimilarities, rdms.names, [str(c) for c in rdms.conditions], rdms.metric]
