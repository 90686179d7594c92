"""The numbers a report speaks of: scores of a group of subjects, the best layers, and the answer in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro.data import Surface, Volume
from neuro.errors import EmptySelection
from neuro.plotting.style import metric_label, short_names
from neuro.report.results import StudyResults

_CORRELATIONS = ("pearson_r", "r")


@dataclass(frozen=True, eq=False)
class Summary:
    """What :func:`summarise` finds.

    Attributes
    ----------
    metric, label : str
        The metric reported and its name on axes.
    main : str
        The model the report speaks of most: the first pretrained one, else the first.
    layers : dict model -> list of str, in depth order
    kinds : dict model -> "pretrained", "untrained" or "control"
    rois : list of str, in the order of figures
    rows : DataFrame
        The rows of the table that enter: one metric, one split, the subjects of the results.
    group : DataFrame
        ``roi, model, layer, depth, n_layers, score, ci_low, ci_high``: means over subjects, and means of their bounds.
    best : DataFrame
        One row per region and model at its best layer: the columns of ``group`` and ``ceiling``, ``share`` (score over
        ceiling), ``n_voxels``, ``q`` (the largest of the subjects').
    ceiling : dict roi -> (mean, lowest, highest subject), in units of the score
    chosen_on_test : bool
        Best layers were chosen by the same scores that are shown.
    noun : str
        What a channel is: "voxels", "vertices" or "channels".
    recordings : bool
        The "subjects" are recordings given as files.
    """

    metric: str
    label: str
    main: str
    layers: dict[str, list[str]]
    kinds: dict[str, str]
    rois: list[str]
    rows: pd.DataFrame
    group: pd.DataFrame
    best: pd.DataFrame
    ceiling: dict[str, tuple[float, float, float]]
    chosen_on_test: bool
    noun: str
    recordings: bool = False

    def best_of(self, model: str) -> pd.DataFrame:
        """Rows of ``best`` of one model, in the order of regions."""
        return self.best.loc[self.best["model"] == model]

    @property
    def singular(self) -> str:
        """``noun`` of one."""
        return {"voxels": "voxel", "vertices": "vertex"}.get(self.noun, "channel")

    @property
    def deep_models(self) -> list[str]:
        """Models with more than one layer."""
        return [m for m, names in self.layers.items() if len(names) > 1]

    @property
    def people(self) -> str:
        """What a row of the data table is, in the plural."""
        return "recordings" if self.recordings else "subjects"


def summarise(results: StudyResults) -> Summary:
    """Bring a study's table into the few tables that a report shows.

    The metric is the table's first. Intervals of a group are the means of its subjects' bounds: they hold for these
    subjects, not for the population, and are wide enough even if the subjects' errors were the same (they share test
    images).

    Raises
    ------
    EmptySelection
        If the table holds no score of the subjects at hand.
    """
    table = results.table[results.table["subject"].isin(list(results.subjects)) & results.table["score"].notna()]
    if table.empty:
        raise EmptySelection(
            f"the table of study {results.name!r} holds no score for its subjects ({', '.join(results.subjects)})."
        )
    metric = str(table["metric"].iloc[0])
    table = table[table["metric"] == metric]
    table = table[table["split"] == table["split"].iloc[0]]
    listed = {m["name"]: [str(x) for x in m.get("layers") or []] for m in results.models}
    layers = {}
    for model, names in listed.items():
        seen = list(dict.fromkeys(table.loc[table["model"] == model, "layer"]))
        if seen:
            layers[model] = [n for n in names if n in seen] + [n for n in seen if n not in names]
    kinds = {m["name"]: m["kind"] for m in results.models if m["name"] in layers}
    order = list(dict.fromkeys(r for s in results.subjects.values() for r in s.rois))
    rois = [r for r in order if r in set(table["roi"])] + [r for r in dict.fromkeys(table["roi"]) if r not in order]
    rows = table.assign(depth=[layers[m].index(k) for m, k in zip(table["model"], table["layer"], strict=True)])
    rows = rows.reset_index(drop=True)
    group = _means(rows, layers, rois)
    ceiling = _ceilings(results, rows, rois, metric)
    best, chosen_on_test = _best(results, rows, group, layers, rois)
    top = np.array([ceiling.get(r, (np.nan,) * 3)[0] for r in best["roi"]])
    best = best.assign(ceiling=top, share=best["score"] / np.where(top > 0, top, np.nan))
    return Summary(
        metric=metric,
        label=metric_label(metric),
        main=next((m for m, kind in kinds.items() if kind == "pretrained"), next(iter(kinds))),
        layers=layers,
        kinds=kinds,
        rois=rois,
        rows=rows,
        group=group,
        best=best,
        ceiling=ceiling,
        chosen_on_test=chosen_on_test,
        noun=channel_noun(results),
        recordings=(results.config.get("dataset") or {}).get("kind") == "recordings",
    )


def known(table: pd.DataFrame, column: str) -> bool:
    """Whether a column holds any value."""
    return bool(table[column].notna().any())


def channel_noun(results: StudyResults) -> str:
    """What one response channel is, in the plural."""
    kinds = {type(s.voxels.geometry) for s in results.subjects.values()}
    return {Volume: "voxels", Surface: "vertices"}.get(kinds.pop(), "channels") if len(kinds) == 1 else "channels"


def answer(results: StudyResults, summary: Summary) -> list[str]:
    """What was found, in a few plain sentences made from the numbers."""
    out = [_headline(summary)]
    own = summary.best_of(summary.main)
    n_layers = len(summary.layers[summary.main])
    if n_layers > 1:
        shallow, deep = own.loc[own["depth"].idxmin()], own.loc[own["depth"].idxmax()]
        names = dict(
            zip(summary.layers[summary.main], short_names(summary.layers[summary.main], limit=40), strict=True)
        )
        if shallow["depth"] == deep["depth"]:
            where = "every region" if len(own) > 1 else str(shallow["roi"])
            out.append(
                f"The layer that predicts {where} best is {names[shallow['layer']]}, number "
                f"{shallow['depth'] + 1} of {n_layers}."
            )
        else:
            early, late = (listed(own.loc[own["depth"] == row["depth"], "roi"]) for row in (shallow, deep))
            out.append(
                f"The best layer lies earliest in {early} ({names[shallow['layer']]}, number {shallow['depth'] + 1} of "
                f"{n_layers}) and latest in {late} ({names[deep['layer']]}, number {deep['depth'] + 1})."
            )
    out += [s for kind in ("untrained", "control") for m in summary.kinds if (s := _against(summary, m, kind))]
    if results.checks:
        failed = [str(c.get("claim") or c.get("name")) for c in results.checks if not c.get("passed")]
        total = len(results.checks)
        if not failed:
            out.append(
                f"All {total} planted-truth checks passed: the analysis finds what was put into the phantom."
                if total > 1
                else "The planted-truth check passed."
            )
        else:
            out.append(
                f"{total - len(failed)} of {total} planted-truth checks passed; not passed: {'; '.join(failed)}."
            )
    return out


def _headline(summary: Summary) -> str:
    own = summary.best_of(summary.main)
    top = own.loc[own["score"].idxmax()]
    text = f"{summary.main} predicts responses to images it was not fitted on"
    q = own["q"].dropna().to_numpy(float)
    if q.size:
        regions = "regions" if q.size > 1 else "region"
        text += f" in {(q < 0.05).sum()} of {q.size} {regions} (false discovery rate q < 0.05)"
    text += f"{', best in' if len(own) > 1 else ' in'} {top['roi']}: mean {summary.label} = {top['score']:.2f}"
    if np.isfinite(top["ci_low"]):
        text += f" (95% interval {top['ci_low']:.2f} to {top['ci_high']:.2f})"
    if np.isfinite(top["share"]):
        text += f", {top['share']:.0%} of the noise ceiling"
    return text + "."


def _against(summary: Summary, other: str, kind: str) -> str:
    if summary.kinds[other] != kind or other == summary.main:
        return ""
    both = summary.best_of(summary.main).merge(summary.best_of(other), on="roi", suffixes=("", "_other"))
    if both.empty:
        return ""
    gap = both["score"] - both["score_other"]
    behind = list(both.loc[gap <= 0, "roi"])
    role = "" if "untrained" in other.lower() else " (untrained)" if kind == "untrained" else " (control)"
    text = (
        f"It is ahead of {other}{role} in {int((gap > 0).sum())} of {len(both)} region{'s' if len(both) > 1 else ''} "
        f"(mean difference {gap.mean():+.2f})"
    )
    if behind and len(behind) < len(both):
        text += f"; {other} is at least as good in {listed(behind)}"
    return text + "."


def _means(rows: pd.DataFrame, layers: Mapping[str, list[str]], rois: list[str]) -> pd.DataFrame:
    keys = ["roi", "model", "layer"]
    group = rows.groupby(keys, sort=False)[["depth", "score", "ci_low", "ci_high"]].mean().reset_index()
    group["depth"] = group["depth"].astype(int)
    group["n_layers"] = [len(layers[m]) for m in group["model"]]
    models = {m: k for k, m in enumerate(layers)}
    key = [(rois.index(r), models[m], d) for r, m, d in zip(group["roi"], group["model"], group["depth"], strict=True)]
    return group.iloc[sorted(range(len(group)), key=key.__getitem__)].reset_index(drop=True)


def _best(results, rows, group, layers, rois):
    """Best layer per region and model: as chosen by the study for each subject, else by the group's score."""
    chosen = {
        (name, roi, model): layer
        for name, subject in results.subjects.items()
        for (model, roi), layer in (subject.best_layer or {}).items()
    }
    keys = list(zip(rows["subject"], rows["roi"], rows["model"], strict=True))
    complete = all(key in chosen for key in set(keys))
    if complete:
        picked = rows[[chosen[key] == layer for key, layer in zip(keys, rows["layer"], strict=True)]]
    else:
        top = group.loc[group.groupby(["roi", "model"], sort=False)["score"].idxmax()]
        picked = rows.merge(top[["roi", "model", "layer"]], on=["roi", "model", "layer"])
    out = []
    for (roi, model), cell in picked.groupby(["roi", "model"], sort=False):
        layer = cell["layer"].mode().iloc[0]
        row = {"roi": roi, "model": model, "layer": layer, "depth": layers[model].index(layer)}
        row |= {"n_layers": len(layers[model]), **cell[["score", "ci_low", "ci_high"]].mean().to_dict()}
        out.append(row | {"n_voxels": cell["n_voxels"].sum(min_count=1), "q": cell["q"].max()})
    best = pd.DataFrame(out)
    models = list(layers)
    order = np.lexsort([[models.index(m) for m in best["model"]], [rois.index(r) for r in best["roi"]]])
    return best.iloc[order].reset_index(drop=True), not complete


def _ceilings(results, rows, rois, metric):
    """Mean over voxels of the ceiling in units of the score (a correlation's ceiling is the root of the variance's)."""
    root = np.sqrt if metric in _CORRELATIONS else np.asarray
    out = {}
    for roi in rois:
        values = []
        for name, subject in results.subjects.items():
            mask = subject.rois.get(roi)
            if subject.ceiling is not None and mask is not None and np.isfinite(subject.ceiling[mask]).any():
                values.append(float(np.nanmean(root(np.clip(subject.ceiling[mask], 0, 1)))))
            else:
                given = rows.loc[(rows["subject"] == name) & (rows["roi"] == roi), "ceiling"].dropna()
                if len(given):
                    values.append(float(root(np.clip(given.iloc[0], 0, 1))))
        if values:
            out[roi] = (float(np.mean(values)), min(values), max(values))
    return out


def listed(names: Any, most: int = 4) -> str:
    """Names in a sentence, at most ``most``."""
    names = [str(n) for n in names]
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
