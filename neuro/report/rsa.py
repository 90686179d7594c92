"""Sections of a report about representational geometry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from neuro.plotting import embedding_map, layer_curves, layer_roi_heatmap, lu_triangle, model_bars, rdm_images
from neuro.report import tables
from neuro.report.figures import draw
from neuro.report.rsa_results import RsaResults

MOST_REGIONS = 4  # that get figures of their own; tables have all
MOST_CONDITIONS = 120  # images whose RDMs are still legible
METHODS = {
    "corr": "Pearson correlation of RDMs",
    "cosine": "cosine of RDMs",
    "spearman": "Spearman correlation of RDMs",
    "rho-a": "rank correlation ρ-a of RDMs",
    "tau-a": "Kendall τ-a of RDMs",
    "cosine_cov": "whitened cosine of RDMs",
    "corr_cov": "whitened correlation of RDMs",
}


def rsa_sections(results: RsaResults) -> Iterator[tuple[str, list[Any]]]:
    """Yield (title, contents) of each section, several groups of subjects one after another."""
    many = len(results.parts) > 1
    for part in results.parts:
        after = f" ({part})" if many else ""
        for title, function in (
            ("Representational geometry", _rdms),
            ("Models of the geometry", _models),
            ("Layers and the geometry", _layers),
            ("Identifying regions", _identification),
            ("Map of representations", _maps),
        ):
            found = [x for x in function(results, part) if x is not None]
            if found:
                yield title + after, found


def rsa_answer(results: RsaResults) -> list[str]:
    """Sentences for the top of the page."""
    out = []
    label = _label(results)
    models = results.table("models")
    pairs = models[["part", "roi"]].drop_duplicates().to_numpy().tolist() if len(models) else []
    for part, roi in pairs:
        rows = models[(models["part"] == part) & (models["roi"] == roi)]
        best = rows.loc[rows["score"].idxmax()]
        who = f" in {part}" if len(results.parts) > 1 else ""
        text = f"The geometry of {roi}{who} is predicted best by {best['model']} ({label} {tables.fixed(best['score'])}"
        if np.isfinite(best["lower_ceiling"]):
            text += f"; noise ceiling {tables.fixed(best['lower_ceiling'])} to {tables.fixed(best['upper_ceiling'])}"
        out.append(text + ").")
        if len(out) == MOST_REGIONS:
            break
    found = results.table("identification")
    if len(found):
        best = found.loc[found["accuracy"].idxmax()]
        out.append(
            f"Regions of a left-out subject are identified with {best['accuracy']:.0%} accuracy "
            f"({best['transform']} RDMs; chance {best['chance']:.0%})."
        )
    return out


def _rdms(results: RsaResults, part: str) -> Iterator[Any]:
    brain = results.rdms[f"brain {part}"]
    mean = brain.mean("roi")
    regions = list(mean.table["roi"])
    groups = results.settings["groups_of"].get(part)
    n = brain.n_conditions
    if n <= MOST_CONDITIONS:
        shown, names = mean.matrices, regions
        yield draw(
            f"rdms-{_slug(part)}",
            f"Dissimilarity ({brain.metric or 'as given'}) of {n} images, mean over subjects, as percentiles within "
            "each region.",
            f"Dissimilarity matrices of {', '.join(names)}",
            lambda width, columns: rdm_images(shown, names, groups=groups, width=width, columns=columns),
        )
    conditions = results.table("conditions", part)
    if len(conditions) and groups is not None:
        for roi in regions[:2]:
            points = conditions[conditions["roi"] == roi]
            yield draw(
                f"mds-{_slug(part + roi)}",
                f"The {len(points)} images arranged so that distances look like dissimilarities in {roi} (metric MDS, "
                f"stress {points['stress'].iloc[0]:.2f}).",
                f"Multidimensional scaling of {roi}",
                lambda width, columns, points=points: embedding_map(
                    points[["x", "y"]].to_numpy(),
                    [""] * len(points),
                    groups=list(points["group"]),
                    width=min(width, 7.2),
                ),
            )
    structure = results.table("structure", part)
    if len(structure):
        rows = [
            [r.roi, r.model, tables.plain_value(r.within), tables.plain_value(r.between), tables.fixed(r.ratio)]
            for r in structure.itertuples()
        ]
        yield tables.make(
            "Mean dissimilarity of pairs that a binary model calls alike and different.",
            ["region", "model", "alike", "different", "ratio"],
            rows,
            text=[1],
        )


def _models(results: RsaResults, part: str) -> Iterator[Any]:
    found, pairs = results.table("models", part), results.table("pairs", part)
    if not len(found):
        return
    label = _label(results)
    regions = list(dict.fromkeys(found["roi"]))
    for roi in _some(regions):
        table = found[found["roi"] == roi]
        how = _resampling(table)
        ceiling = (float(table["lower_ceiling"].iloc[0]), float(table["upper_ceiling"].iloc[0]))
        individuals = _individuals(table)
        tests = pairs[pairs["roi"] == roi] if len(pairs) else None
        yield draw(
            f"models-{_slug(part + roi)}",
            f"{roi}: {label} with each model. Error bars: standard errors ({how}). Stars: above 0 (q < .05, corrected "
            "over models). Lines above: a filled dot marks a model that exceeds those with open dots (q < .05)."
            + (" Grey band: noise ceiling." if np.isfinite(ceiling).all() else "")
            + (" Dots: subjects." if individuals is not None else ""),
            f"Bars of model scores in {roi}",
            lambda width, columns, t=table, c=ceiling, i=individuals, p=tests: model_bars(
                t, ceiling=c, individuals=i, pairs=p, ylabel=label, width=min(width, 1.6 + 0.62 * max(len(t), 4))
            ),
        )
    rows = []
    for r in found.itertuples():
        ceilings = f"{tables.fixed(r.lower_ceiling)} to {tables.fixed(r.upper_ceiling)}"
        rows.append([r.roi, r.model, tables.fixed(r.score), f"{tables.fixed(r.ci_low)} to {tables.fixed(r.ci_high)}",
                     tables.small(r.q), ceilings if np.isfinite(r.lower_ceiling) else "–"])  # fmt: skip
    yield tables.make(
        f"{label[0].upper()}{label[1:]} of each model; intervals from a {_resampling(found)}.",
        ["region", "model", "score", "95% interval", "q", "noise ceiling"],
        rows,
        text=[1],
    )


def _layers(results: RsaResults, part: str) -> Iterator[Any]:
    found = results.table("layers", part)
    if not len(found):
        return
    regions = _some(list(dict.fromkeys(found["roi"])))
    depth = found.drop_duplicates(["model", "layer"])["model"].value_counts(sort=False)
    deep = [str(m) for m, n in depth.items() if int(n) > 1]
    how = _resampling(found)
    for model in deep:
        own = found[(found["model"] == model) & found["roi"].isin(regions)]
        layers = list(dict.fromkeys(own["layer"]))
        ceilings = {
            (r.roi, r.transform): (r.lower_ceiling, r.upper_ceiling)
            for r in own.drop_duplicates(["roi", "transform"]).itertuples()
            if r.transform == "raw"
        }
        yield draw(
            f"layers-{_slug(part + str(model))}",
            f"{model}: correlation of each layer’s RDM with those of each region, for raw, ranked and geo-topological "
            f"(l = {results.settings['l']:g}, u = {results.settings['u']:g}) RDMs; 95% intervals ({how}). Band: noise "
            "ceiling of raw RDMs.",
            f"Layer curves of {model}",
            lambda width, columns, t=own, k=layers, c=ceilings: layer_curves(
                t, k, panel="roi", ceilings=c, ylabel="correlation of RDMs", width=width
            ),
        )
    matrix = results.table("matrix", part)
    if len(matrix):
        first = deep[0] if deep else matrix["model"].iloc[0]
        own = matrix[matrix["model"] == first]
        frame = own.pivot(index="roi", columns="layer", values="score")
        frame = frame.loc[list(dict.fromkeys(own["roi"])), list(dict.fromkeys(own["layer"]))]
        label = _label(results)
        yield draw(
            f"matrix-{_slug(part)}",
            f"{first}: {label} between layers and mean RDMs of regions; each region’s best layer framed.",
            "Layers by regions",
            lambda width, columns: layer_roi_heatmap(frame, label=label, width=width),
        )


def _identification(results: RsaResults, part: str) -> Iterator[Any]:
    found = results.table("identification", part)
    if not len(found):
        return
    rows = []
    for r in found.itertuples():
        rows.append([r.transform, r.centroid, f"{r.accuracy:.0%}", f"{r.chance:.0%}", tables.fixed(r.sensitivity),
                     tables.fixed(r.specificity)])  # fmt: skip
    yield (
        "The region of each RDM of a left-out subject is guessed from the other subjects’ regional means. The "
        "geo-topological transform drops the smallest and the largest distances and keeps what lies between."
    )
    yield tables.make(
        "Identification of regions, leaving one subject out.",
        ["RDMs", "nearest by", "accuracy", "chance", "sensitivity", "specificity"],
        rows,
        text=[1],
    )
    grid = results.table("grid", part)
    if len(grid):
        yield draw(
            f"triangle-{_slug(part)}",
            "Accuracy for all thresholds: l = 0, u = 1 is the rank RDM, the diagonal a binary graph. The largest value "
            "of this figure is optimistic; the row above whose thresholds were chosen in the other subjects is not.",
            "Triangle of identification accuracies",
            lambda width, columns: lu_triangle(
                grid, "accuracy_correlation", chance=float(found["chance"].iloc[0]), width=min(width, 5.6)
            ),
        )


def _maps(results: RsaResults, part: str) -> Iterator[Any]:
    found = results.table("map", part)
    if not len(found):
        return
    paths = [np.flatnonzero(found["model"] == m) for m in dict.fromkeys(found["model"]) if m]
    kinds = ["region" if k == "region" else m for k, m in zip(found["kind"], found["model"], strict=True)]
    names = [n if k == "region" else "" for n, k in zip(found["name"], found["kind"], strict=True)]
    for path in paths:
        for k in (path[0], path[-1]):
            model = str(found["model"].iloc[k])
            names[k] = model if len(path) == 1 else str(found["name"].iloc[k]).removeprefix(f"{model} ")
    yield draw(
        f"map-{_slug(part)}",
        "Regions and layers arranged by how alike their RDMs are (metric MDS of 1 − similarity, stress "
        f"{found['stress'].iloc[0]:.2f}); lines join the layers of a network from input to output.",
        "Map of regions and layers",
        lambda width, columns: embedding_map(
            found[["x", "y"]].to_numpy(), names, groups=kinds, paths=[list(p) for p in paths], width=min(width, 7.2)
        ),
    )


def _label(results: RsaResults) -> str:
    method = str(results.settings["method"])
    return METHODS.get(method, method)


def _some(regions: list[str]) -> list[str]:
    """At most MOST_REGIONS, spread over all."""
    if len(regions) <= MOST_REGIONS:
        return regions
    return [regions[round(k)] for k in np.linspace(0, len(regions) - 1, MOST_REGIONS)]


def _individuals(table: pd.DataFrame) -> pd.DataFrame | None:
    columns = [c for c in table if str(c).startswith("subject ") and np.isfinite(table[c]).any()]
    if len(columns) < 2:
        return None
    long = table[["model", *columns]].melt(id_vars="model", var_name="subject", value_name="score")
    return long.dropna(subset=["score"])


def _resampling(found: pd.DataFrame) -> str:
    names = {"dual": "bootstrap over subjects and images", "stimulus": "bootstrap over images"}
    several = [names.get(str(x), str(x)) for x in dict.fromkeys(found["resample"])]
    return several[0] if len(several) == 1 else f"{several[0]}, where there is one subject over images"


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text.lower())
