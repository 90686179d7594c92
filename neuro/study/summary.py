"""From scores per voxel to the tidy table: means by region with intervals, ceilings and tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng
from neuro.stats import fdr


def bootstrap_weights(n_images: int, n_bootstraps: int, groups: np.ndarray, seed: int) -> np.ndarray:
    """Return how often each image is drawn in each bootstrap sample, (n_bootstraps, n_images) float32.

    Whole groups (repeats or identical pictures) are drawn together. The same matrix serves all models and voxels of a
    subject, so that differences between them are paired.
    """
    rng = as_rng(seed)
    _, group = np.unique(groups, return_inverse=True)
    k = group.max() + 1
    draws = rng.multinomial(k, np.full(k, 1 / k), size=n_bootstraps)
    return draws[:, group].astype(np.float32).reshape(n_bootstraps, n_images)


def bootstrap_r(truth: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the Pearson r of every voxel in every bootstrap sample, (n_bootstraps, n_voxels), by weighted sums."""
    n = weights.sum(1, keepdims=True)
    y, p = truth - truth.mean(0), prediction - prediction.mean(0)
    sums = [weights @ a for a in (y, p, y * p, y * y, p * p)]
    my, mp, yp, yy, pp = (s / n for s in sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (yp - my * mp) / np.sqrt((yy - my**2) * (pp - mp**2))


def permutation_p(
    truth: np.ndarray, prediction: np.ndarray, rois: Mapping[str, np.ndarray], n_permutations: int, seed: int
) -> dict[str, float]:
    """Return p of each region's mean r under shuffled images, (1 + #{null >= observed}) / (1 + n_permutations)."""
    rng = as_rng(seed)
    n = len(truth)

    def unit(a: np.ndarray) -> np.ndarray:
        a = a - a.mean(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.nan_to_num(a / np.linalg.norm(a, axis=0))

    y, p = unit(truth), unit(prediction)
    out = {}
    orders = np.stack([np.arange(n), *(rng.permutation(n) for _ in range(n_permutations))])
    for roi, mask in rois.items():
        # Mean over voxels of sum_i y[pi(i)] p[i] needs only the image-by-image products of the region.
        cross = (y[:, mask] @ p[:, mask].T) / max(mask.sum(), 1)
        means = cross[orders, np.arange(n)].sum(1)
        out[roi] = (1 + int((means[1:] >= means[0] - 1e-12).sum())) / (1 + n_permutations)
    return out


def region_rows(
    names: tuple[str, str, str],
    scores: Mapping[str, Any],
    rois: Mapping[str, np.ndarray],
    truth: np.ndarray,
    ceiling: np.ndarray | None,
    weights: np.ndarray,
    settings: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return the table rows of one (subject, model, layer): mean r per region, and r2/NC where there is a ceiling."""
    r, prediction = scores["r"], scores["prediction"]
    p = permutation_p(truth, prediction, rois, settings["n_permutations"], settings["seed"])
    floor = settings["ceiling_floor"]
    samples = bootstrap_r(truth, prediction, weights)
    rows = []
    for roi, mask in rois.items():
        common = {
            "subject": names[0],
            "roi": roi,
            "model": names[1],
            "layer": names[2],
            "n_train": settings["n_train"],
            "n_test": settings["n_test"],
            "split": settings["split"],
            "cv_r2": float(np.nanmean(scores["cv_r2"][mask])),
        }
        limit = float(np.nanmean(ceiling[mask])) if ceiling is not None else np.nan
        low, high = np.nanpercentile(np.nanmean(samples[:, mask], axis=1), [2.5, 97.5])
        rows.append(
            common
            | {"metric": "r", "score": float(np.nanmean(r[mask])), "median": float(np.nanmedian(r[mask]))}
            | {"ci_low": low, "ci_high": high, "ceiling": limit, "n_voxels": int(mask.sum()), "p": p[roi]}
        )
        if ceiling is None:
            continue
        reliable = mask & (ceiling > floor)
        if not reliable.any():
            continue
        normalised = np.maximum(samples[:, reliable], 0) ** 2 / ceiling[reliable]
        low, high = np.nanpercentile(np.nanmean(normalised, axis=1), [2.5, 97.5])
        value = np.maximum(r[reliable], 0) ** 2 / ceiling[reliable]
        rows.append(
            common
            | {"metric": "r2/NC", "score": float(np.nanmean(value)), "median": float(np.nanmedian(value))}
            | {"ci_low": low, "ci_high": high, "ceiling": float(np.nanmean(ceiling[reliable]))}
            | {"n_voxels": int(reliable.sum()), "p": p[roi]}
        )
    return rows


def finish_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the tidy table with q values: Benjamini-Hochberg over all regions, models and layers of a subject."""
    table = pd.DataFrame(rows)
    table["q"] = np.nan
    for _, part in table[table["metric"] == "r"].groupby("subject"):
        table.loc[part.index, "q"] = fdr(part["p"].to_numpy())
    same = ["subject", "roi", "model", "layer"]
    q = table[table["metric"] == "r"].set_index(same)["q"]
    others = table["metric"] != "r"
    table.loc[others, "q"] = [q[tuple(k)] for k in table.loc[others, same].to_numpy()]
    return table


def choose_layers(table: pd.DataFrame, subject: str) -> dict[tuple[str, str], str]:
    """Return (model, region) -> the layer with the best inner cross-validation, which no test image has touched."""
    part = table[(table["subject"] == subject) & (table["metric"] == "r")]
    best = part.loc[part.groupby(["model", "roi"])["cv_r2"].idxmax()]
    return {(m, r): k for m, r, k in best[["model", "roi", "layer"]].itertuples(index=False)}
