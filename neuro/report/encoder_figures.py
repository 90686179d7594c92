"""Figures of several encoders side by side."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from neuro import plotting
from neuro.data import Volume
from neuro.errors import SpaceMismatch
from neuro.plotting.efficiency import efficiency_curves
from neuro.plotting.routing import routing_maps_figure
from neuro.plotting.variance_partition import (
    band_colours,
    rgb_surface_map,
    unique_variance_bars,
    unique_variance_scatter,
    unique_variance_triangle,
)
from neuro.report.encoder_results import EncoderResults, Routing
from neuro.report.figures import RGB, Picture, and_subjects, ceiling_words, draw, roi_ceilings, slug
from neuro.report.results import StudyResults, SubjectResults
from neuro.report.summary import Summary

MOST_QUERIES = 6  # regions, spread over all, whose routing maps are drawn
MOST_IMAGES = 4


def compared(results: StudyResults, summary: Summary, encoders: EncoderResults) -> Picture:
    """Score of every encoder per region."""
    group = means(encoders.table[encoders.table["metric"] == summary.metric], ["roi", "model", "layer"])
    rois = [r for r in summary.rois if r in set(group["roi"])]
    told = "; ".join(
        f"{roi}: " + ", ".join(f"{r.model} {r.score:.2f}" for r in group[group["roi"] == roi].itertuples())
        for roi in rois
    )
    return draw(
        "encoders",
        f"{summary.label} of each encoder per region, mean over {summary.noun}{and_subjects(results, summary)}, on the "
        f"same test images; bars: 95% intervals.{ceiling_words(summary)}",
        f"Dot plot comparing encoders per region. {told}.",
        lambda width, columns: plotting.best_layer_by_roi(
            group, models=encoders.names, rois=rois, ceiling=roi_ceilings(summary), xlabel=summary.label, width=width
        ),
    )


def unique_bars(results: StudyResults, summary: Summary, encoders: EncoderResults, name: str) -> Picture:
    """Unique variance of the feature spaces of one encoder per region."""
    own = encoders.unique[encoders.unique["model"] == name]
    group = means(own, ["roi", "band"], ["unique", "ci_low", "ci_high", "r2"])
    rois = [r for r in summary.rois if r in set(group["roi"])]
    told = "; ".join(
        f"{roi}: " + ", ".join(f"{r.band} {r.unique:.3f}" for r in group[group["roi"] == roi].itertuples())
        for roi in rois
    )
    return draw(
        f"unique-{slug(name)}",
        f"{name}: what each feature space explains that the others cannot (R² of all minus R² without it, both fitted "
        f"anew), mean over {summary.noun}{and_subjects(results, summary)}. Lines: 95% intervals, paired over images. "
        "Upright ticks: R² of all together.",
        f"Bars of unique variance per region. {told}.",
        lambda width, columns: unique_variance_bars(
            group,
            bands=encoders.bands_of(name),
            rois=rois,
            total=dict(zip(group["roi"], group["r2"], strict=True)),
            width=width,
        ),
    )


def unique_by_voxel(results: StudyResults, summary: Summary, encoders: EncoderResults, name: str) -> Picture | None:
    """Two feature spaces against each other, or three in a triangle, all subjects together."""
    bands = encoders.bands_of(name)
    if len(bands) not in (2, 3):
        return None
    subjects = [s for s in results.subjects.values() if (s.subject, name, bands[0]) in encoders.bands]
    unique = {b: np.concatenate([encoders.bands[s.subject, name, b] for s in subjects]) for b in bands}
    groups = {}
    for roi in summary.rois:
        mask = np.concatenate([s.rois.get(roi, np.zeros(len(s.voxels), bool)) for s in subjects])
        if mask.any():
            groups[roi] = mask
    medians = "; ".join(
        f"{roi}: " + ", ".join(f"{b} {np.nanmedian(v[mask]):.3f}" for b, v in unique.items())
        for roi, mask in groups.items()
    )
    many = f" of all {summary.people}" if len(subjects) > 1 else ""
    if len(bands) == 2:
        return draw(
            f"unique-dots-{slug(name)}",
            f"{name}: unique variance of {bands[0]} (horizontal) and {bands[1]} (vertical), one dot per "
            f"{summary.singular}{many}; grey: the other regions; diamonds: means. Dashed: both add the same.",
            f"Scatter plots per region. Medians: {medians}.",
            lambda **size: unique_variance_scatter(unique, groups=groups, **size),
        )
    return draw(
        f"unique-dots-{slug(name)}",
        f"{name}: how {', '.join(bands)} share the unique variance of each {summary.singular}{many}. A dot in a "
        "corner: only this space adds something; in the middle: all add the same. Grey: the other regions; diamonds: "
        "means.",
        f"Triangles per region. Medians: {medians}.",
        lambda **size: unique_variance_triangle(unique, groups=groups, **size),
    )


def unique_maps(
    results: StudyResults, summary: Summary, encoders: EncoderResults, name: str, most: int
) -> Iterator[Picture]:
    """What each feature space adds on the cortex: a difference for two, colours for three, the winner for more."""
    bands, drawn = encoders.bands_of(name), 0
    for subject in results.subjects.values():
        if drawn >= most or (subject.subject, name, bands[0]) not in encoders.bands:
            continue
        stack = np.stack([encoders.bands[subject.subject, name, b] for b in bands]).astype(float)
        picture = _unique_map(subject, summary, name, bands, stack)
        drawn += picture is not None
        if picture is not None:
            yield picture


def _unique_map(subject: SubjectResults, summary: Summary, name: str, bands: list[str], stack: np.ndarray):
    who = subject.subject
    if len(bands) == 3:
        colours = band_colours(stack)
        try:
            sides = [plotting.to_fsaverage5(subject.voxels, column) for column in colours.T]
        except SpaceMismatch:
            return None
        left, right = (np.column_stack([s[k] for s in sides]) for k in (0, 1))
        return draw(
            f"unique-map-{slug(name)}-{slug(who)}",
            f"{who}, {name}: unique variance of {bands[0]} in red, {bands[1]} in green and {bands[2]} in blue; mixed "
            "colours: more than one adds something; black: none does. Grey: no data.",
            f"Inflated cortex of {who} coloured by the unique variance of {', '.join(bands)}.",
            lambda **size: rgb_surface_map(left, right, bands, **size),
            cmap=RGB,
        )
    if len(bands) == 2:
        values, cmap = stack[0] - stack[1], "coolwarm"
        top = float(np.nanpercentile(np.abs(values), 99)) or 1.0
        text = f"unique variance of {bands[0]} (red) minus that of {bands[1]} (blue)"
        label, categories = f"{bands[0]} − {bands[1]}", None
    else:
        values = np.where(stack.max(0) > 0, stack.argmax(0).astype(float), np.nan)
        text, top, label, categories, cmap = "the feature space that adds most", 1.0, "", bands, "plasma"
    alt = f"Cortex of {who}: {text}; medians " + ", ".join(
        f"{b} {np.nanmedian(v):.3f}" for b, v in zip(bands, stack, strict=True)
    )
    try:
        left, right = plotting.to_fsaverage5(subject.voxels, values)
    except SpaceMismatch:
        if not isinstance(subject.voxels.geometry, Volume) or categories:
            return None
        image = subject.voxels.to_nifti(values.astype(np.float32))
        return draw(
            f"unique-map-{slug(name)}-{slug(who)}",
            f"{who}, {name}: {text}, in axial slices.",
            alt,
            lambda **size: plotting.volume_map(image, background=None, label=label, **size),
            cmap="viridis",
        )
    return draw(
        f"unique-map-{slug(name)}-{slug(who)}",
        f"{who}, {name}: {text}, on the inflated template cortex (fsaverage5). Grey: no data.",
        alt,
        lambda **size: plotting.surface_map(
            left, right, label=label, cmap=cmap, vmin=-top, vmax=top, categories=categories, **size
        ),
        cmap=cmap,
    )


def efficiency(results: StudyResults, summary: Summary, encoders: EncoderResults) -> Picture:
    """Score against the number of training images."""
    group = means(encoders.efficiency, ["roi", "model", "n_images"])
    rois = [r for r in summary.rois if r in set(group["roi"])]
    draws = sorted(set(encoders.efficiency["n_draws"]))
    told = "; ".join(
        f"{roi}: "
        + ", ".join(f"{r.model} {r.score:.2f} at {r.n_images}" for r in group[group["roi"] == roi].itertuples())
        for roi in rois
    )
    return draw(
        "efficiency",
        f"{summary.label} on the test images against the number of training images, mean over {summary.noun}"
        f"{and_subjects(results, summary)} and {draws[0]:g} random sets of images, the same for all encoders. Bands: "
        "95% range over these sets." + (" Dashed: noise ceiling." if summary.ceiling else ""),
        f"Line plots of score against training images per region. {told}.",
        lambda **size: efficiency_curves(
            group, models=encoders.names, rois=rois, ceiling=roi_ceilings(summary), ylabel=summary.label, **size
        ),
    )


def routing(summary: Summary, subject: str, name: str, found: Routing) -> Picture:
    """Where each region looked in some test images."""
    named = [k for k, q in enumerate(found.queries) if q != "unlabelled"]
    at = [named[round(k)] for k in np.linspace(0, len(named) - 1, min(len(named), MOST_QUERIES))]
    single = all(found.queries[k].startswith("voxel ") for k in at)
    order = [found.queries[k].replace("voxel ", f"{summary.singular} ") if single else found.queries[k] for k in at]
    images, maps = found.images[:MOST_IMAGES], found.maps[:MOST_IMAGES, at]
    return draw(
        f"routing-{slug(name)}-{slug(subject)}",
        f"{subject}, {name}: where each {summary.singular if single else 'region'} looks in test images (rows) that "
        "the encoder has not seen. Bright places have more weight; numbers: the largest in units of a uniform map.",
        f"Test images of {subject} with the routing maps of {', '.join(order)}.",
        lambda width, columns: routing_maps_figure(images, maps, order, width=width),
    )


def fields(subject: SubjectResults, name: str, found: np.ndarray) -> Picture | None:
    """Receptive fields of an encoder against the planted ones, for the voxels of the study's own receptive fields."""
    truth = subject.truth or {}
    if subject.prf is None or "voxel" not in subject.prf or not {"x", "y", "size"} <= set(truth):
        return None
    at = np.asarray(subject.prf["voxel"], int)
    x, y, size = found[:, at]
    true = {f"{k}_true": np.asarray(truth[k], float)[at] for k in ("x", "y", "size")}
    error = np.nanmedian(np.hypot(x - true["x_true"], y - true["y_true"]))
    return draw(
        f"fields-{slug(name)}-{slug(subject.subject)}",
        f"{subject.subject}, {name}: centres of receptive fields as planted and as fitted, coloured by the planted "
        f"polar angle, and sizes against each other ({len(at):,} voxels of early areas).",
        f"Scatter plots of {subject.subject}: true and fitted centres; median distance {error:.2f} degrees.",
        lambda width, columns: plotting.prf_maps(x, y, size, **true, width=width, columns=3 if columns > 2 else 2),
    )


def means(table: pd.DataFrame, keys: list[str], values: list[str] | None = None) -> pd.DataFrame:
    """Means over subjects, in the order of the table."""
    values = values or ["score", "ci_low", "ci_high"]
    return table.groupby(keys, sort=False)[values].mean().reset_index()
