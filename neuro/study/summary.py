"""From scores per voxel to the tidy table of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from neuro.stats import fdr, roi_summary
from neuro.study.config import StudyConfig
from neuro.study.prepare import Prepared


def layer_rows(
    config: StudyConfig, subject: Prepared, model: str, layer: str, found: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the rows of one model and layer: mean r per region, and r2/NC where there is a ceiling."""
    ev = config.evaluation
    table = roi_summary(
        None,
        subject.rois,
        Y=subject.truth,
        Y_hat=found["prediction"],
        ceiling=subject.ceiling,
        floor=ev.ceiling_floor,
        groups=subject.design.groups[subject.design.tested],
        n_bootstraps=ev.n_bootstraps,
        n_permutations=ev.n_permutations,
        seed=config.seed,
        labels={"subject": subject.name, "model": model, "layer": layer},
    )
    inner = found.get("cv_r2")
    if inner is not None:
        table["cv_r2"] = [float(np.nanmean(inner[subject.rois[roi]])) for roi in table["roi"]]
    split = ev.split or (f"{ev.folds} folds" if ev.folds else f"random {ev.test:g}")
    counts = {k: subject.counts[f"{k}_images"] for k in ("n_train", "n_test")}
    table = table.assign(split=split, on_edge=found.get("on_edge", np.nan), **counts)
    return table.to_dict("records")


def finish_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the tidy table with q values: Benjamini-Hochberg over all regions, models and layers of a subject."""
    table = pd.DataFrame(rows)
    table["q"] = table.groupby(["subject", "metric"])["p"].transform(lambda p: fdr(p.to_numpy()))
    return table


def choose_layers(table: pd.DataFrame, subject: str) -> dict[tuple[str, str], str]:
    """Return (model, region) -> the layer with the best inner cross-validation, which no test image has touched."""
    part = table[(table["subject"] == subject) & (table["metric"] == "r") & table["cv_r2"].notna()]
    best = part.loc[part.groupby(["model", "roi"])["cv_r2"].idxmax()]
    return {(m, r): k for m, r, k in best[["model", "roi", "layer"]].itertuples(index=False)}
