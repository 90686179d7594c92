"""The figures of a report: each drawn for a wide and for a narrow page, with a caption and a text in its place."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from neuro import plotting
from neuro.data import Volume
from neuro.errors import SpaceMismatch
from neuro.report.results import StudyResults, SubjectResults
from neuro.report.summary import Summary

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

WIDE = {"width": 9.6, "columns": 4}
NARROW = {"width": 4.2, "columns": 2}
DPI = 140
PHOTO_DPI = 96
RGB = "rgb"  # in the place of a colour map: red, green and blue are values
MAP_BYTES = 2_500_000  # of maps, before no further subject is drawn: the page shall stay below 6 MB


@dataclass(frozen=True)
class Picture:
    """One figure of the page: data URIs for wide and narrow pages, size in CSS pixels, what it shows."""

    name: str
    caption: str
    alt: str
    wide: str
    narrow: str
    size: tuple[int, int]


def draw(name: str, caption: str, alt: str, function: Callable[..., Figure], cmap: str | None = None) -> Picture:
    """Draw ``function(width=..., columns=...)`` for both page widths; ``cmap`` as in :func:`png`."""
    wide, size = png(function(**WIDE), cmap)
    narrow, _ = png(function(**NARROW), cmap)
    return Picture(name, caption, alt, wide, narrow, size)


def draw_photos(name: str, caption: str, alt: str, function: Callable[..., Figure]) -> Picture:
    """Draw as :func:`draw` a figure that consists of photographs: in true colour, compressed as such."""
    wide, size = jpeg(function(**WIDE))
    narrow, _ = jpeg(function(**NARROW))
    return Picture(name, caption, alt, wide, narrow, size)


def jpeg(figure: Figure, dpi: int = PHOTO_DPI) -> tuple[str, tuple[int, int]]:
    """JPEG data URI of a figure, and its size in CSS pixels (96 per inch)."""
    from PIL import Image

    figure.set_dpi(dpi)
    canvas = cast("FigureCanvasAgg", figure.canvas)
    canvas.draw()
    out = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(out, "JPEG", quality=75)
    width, height = figure.get_size_inches() * 96
    return _uri("image/jpeg", out.getvalue()), (round(width), round(height))


def png(figure: Figure, cmap: str | None = None, dpi: int = DPI) -> tuple[str, tuple[int, int]]:
    """PNG data URI of a figure in 256 colours (a third of the size), and its size in CSS pixels (96 per inch).

    The colours are the figure's most frequent ones; for maps, whose greys would crowd out the data, those of the colour
    map and greys, or with :data:`RGB` those of a colour cube and greys.
    """
    from PIL import Image

    figure.set_dpi(dpi)
    canvas = cast("FigureCanvasAgg", figure.canvas)
    canvas.draw()  # once, where savefig would draw twice and encode in full colour
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    if cmap is None:
        image = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    else:
        from matplotlib import colormaps

        steps = np.linspace(0, 1, 6)
        cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
        hues = cube if cmap == RGB else colormaps[cmap](np.linspace(0, 1, 160))[:, :3]
        greys = np.linspace(0, 1, 256 - len(hues))
        colours = np.vstack([hues, np.repeat(greys[:, None], 3, axis=1)])
        palette = Image.new("P", (1, 1))
        palette.putpalette(np.rint(255 * colours).astype(int).ravel().tolist())
        white = np.asarray(image).min(axis=2) == 255
        index = np.array(image.quantize(palette=palette, dither=Image.Dither.NONE))
        index[white] = len(colours) - 1  # Pillow's search is coarse; the page must stay white.
        image = Image.fromarray(index, mode="P")
        image.putpalette(palette.getpalette())
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    width, height = figure.get_size_inches() * 96
    return _uri("image/png", out.getvalue()), (round(width), round(height))


def thumbnail(image: np.ndarray, side: int = 224) -> tuple[str, tuple[int, int]]:
    """JPEG data URI of a stimulus, at most ``side`` pixels; clips show their middle frame."""
    from PIL import Image

    image = np.asarray(image)
    if image.ndim == 4:
        image = image[len(image) // 2]
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    picture = Image.fromarray(np.ascontiguousarray(image).astype(np.uint8)).convert("RGB")
    picture.thumbnail((side, side))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=88)
    return _uri("image/jpeg", out.getvalue()), picture.size


def best_layers(results: StudyResults, summary: Summary) -> Picture:
    """Best layer per region of the main model."""
    own = summary.best_of(summary.main)
    told = "; ".join(f"{r.roi}: {r.layer}, {r.score:.2f}" for r in own.itertuples())
    caption = (
        f"Best layer of {summary.main} per region. Dots: {summary.label}, mean over {summary.noun}"
        f"{and_subjects(results, summary)}; dark colours are early layers, bright ones late. Bars: 95% intervals."
        f"{ceiling_words(summary)}"
    )
    return draw(
        "best-layer",
        caption,
        f"Dot plot of the best score per region with the layer it comes from. {told}.",
        lambda width, columns: plotting.best_layer_by_roi(
            own,
            layers=summary.layers[summary.main],
            rois=[r for r in summary.rois if r in set(own["roi"])],
            ceiling=roi_ceilings(summary),
            xlabel=summary.label,
            width=width,
        ),
    )


def profiles(results: StudyResults, summary: Summary) -> Picture:
    """Score by depth per region, all models."""
    several = len(results.subjects) > 1
    rows = summary.group[summary.group["model"] == summary.main]
    peaks = rows.loc[rows.groupby("roi", sort=False)["score"].idxmax()]
    told = "; ".join(
        f"{r.roi} peaks at layer {r.depth + 1} of {r.n_layers} ({r.score:.2f})" for r in peaks.itertuples()
    )
    caption = (
        f"{summary.label} of every layer, from input to output, per region. Lines: mean over {summary.noun}"
        f"{and_subjects(results, summary)}; bands: 95% intervals."
    )
    if several and len(results.subjects) <= 8:
        caption += f" Thin lines: single {summary.people}."
    if summary.ceiling:
        caption += f" Dashed purple: noise ceiling{f' (band: range over {summary.people})' if several else ''}."
    return draw(
        "layer-profiles",
        caption,
        f"Line plots of score against layer, one panel per region. {summary.main}: {told}.",
        lambda **size: plotting.layer_profile(
            summary.group,
            summary.layers,
            kinds=summary.kinds,
            rois=summary.rois,
            ceiling={r: (low, high) for r, (_, low, high) in summary.ceiling.items()},
            individuals=summary.rows if several and len(results.subjects) <= 8 else None,
            ylabel=summary.label,
            **size,
        ),
    )


def heatmap(results: StudyResults, summary: Summary) -> Picture:
    """Region x layer matrix of the main model, in shares of the ceiling where it is known."""
    rows = summary.group[summary.group["model"] == summary.main]
    matrix = rows.pivot(index="roi", columns="layer", values="score")
    matrix = matrix.reindex(index=[r for r in summary.rois if r in matrix.index], columns=summary.layers[summary.main])
    normalised = bool(summary.ceiling) and all(summary.ceiling.get(r, (0.0,))[0] > 0 for r in matrix.index)
    if normalised:
        matrix = matrix.div([summary.ceiling[r][0] for r in matrix.index], axis=0)
    label = f"{summary.label} / ceiling" if normalised else summary.label
    what = f"as a share of each region’s noise ceiling ({label})" if normalised else f"({label})"
    best = matrix.idxmax(axis=1)
    floor = min(0.0, float(np.nanmin(matrix.to_numpy())))
    return draw(
        "heat-map",
        f"All layers of {summary.main} in all regions, {what}. The best layer of each region is framed.",
        f"Heat map, regions by layers. Framed: {'; '.join(f'{r}: {k}' for r, k in best.items())}.",
        lambda width, columns: plotting.layer_roi_heatmap(matrix, label=label, vmin=floor, width=width),
    )


def comparison(results: StudyResults, summary: Summary) -> Picture:
    """All models at their best layers."""
    told = []
    for roi in summary.rois:
        cells = summary.best[summary.best["roi"] == roi]
        told.append(f"{roi}: " + ", ".join(f"{r.model} {r.score:.2f}" for r in cells.itertuples()))
    which = "at its own best layer" if summary.chosen_on_test else "at the layer chosen in training,"
    return draw(
        "models",
        f"Each model {which} per region: {summary.label}, mean over {summary.noun}"
        f"{and_subjects(results, summary)}, with 95% intervals.{ceiling_words(summary)}",
        f"Dot plot comparing models per region. {'; '.join(told)}.",
        lambda width, columns: plotting.best_layer_by_roi(
            summary.best,
            models=list(summary.layers),
            kinds=summary.kinds,
            rois=summary.rois,
            ceiling=roi_ceilings(summary),
            xlabel=summary.label,
            width=width,
        ),
    )


def histograms(results: StudyResults, summary: Summary) -> Picture | None:
    """Voxel scores per region, models against controls, all subjects pooled."""
    shown = [m for m in summary.kinds if summary.kinds[m] != "pretrained"][:3]
    shown = [summary.main, *[m for m in shown if m != summary.main]]
    values = {}
    for roi in summary.rois:
        cell = {m: pooled(results, roi, m, layer_of(summary, roi, m)) for m in shown}
        cell = {m: v for m, v in cell.items() if np.isfinite(v).any()}
        if cell:
            values[roi] = cell
    if not values:
        return None
    told = "; ".join(
        f"{r}: " + ", ".join(f"{m} {np.nanmedian(v):.2f}" for m, v in c.items()) for r, c in values.items()
    )
    whose = f" of all {summary.people}" if len(results.subjects) > 1 else ""
    return draw(
        "voxel-scores",
        f"Test-set Pearson r of single {summary.noun}{whose}, each model at its best layer for the region. "
        f"Triangles: medians. n: number of {summary.noun}.",
        f"Histograms of scores per region. Medians: {told}.",
        lambda **size: plotting.voxel_histograms(values, kinds=summary.kinds, noun=summary.noun, **size),
    )


def ceilings(results: StudyResults, summary: Summary) -> Picture | None:
    """Explained against explainable variance per voxel."""
    scores, tops, parts, start = [], [], [], 0
    for roi in summary.rois:
        r = pooled(results, roi, summary.main, layer_of(summary, roi, summary.main))
        c = pooled_ceiling(results, roi, summary.main, layer_of(summary, roi, summary.main))
        good = np.isfinite(r) & np.isfinite(c)
        if not good.any():
            continue
        parts.append((roi, start, start + len(r)))
        scores.append(r)
        tops.append(c)
        start += len(r)
    if not parts:
        return None
    score, top = np.concatenate(scores), np.concatenate(tops)
    index = np.arange(start)
    groups = {roi: (index >= low) & (index < high) for roi, low, high in parts}
    shares = []
    for roi, mask in groups.items():
        both = mask & np.isfinite(score) & np.isfinite(top) & (top > 0)
        if both.any():
            shares.append(f"{roi} {np.sum(score[both] * np.abs(score[both])) / top[both].sum():.0%}")
    return draw(
        "noise-ceiling",
        f"Explained variance (r², with the sign of r) of {summary.main} at each region’s best layer against the noise "
        f"ceiling, one dot per {summary.singular}. On the dashed line a model explains all that the noise leaves to "
        "explain. Percentages: explained over explainable variance, summed.",
        f"Scatter plots per region with the identity line. Share of explainable variance: {', '.join(shares)}.",
        lambda **size: plotting.noise_ceiling_scatter(score, top, groups=groups, **size),
    )


def cortical_maps(results: StudyResults, summary: Summary, most: int) -> Iterator[Picture | str]:
    """Maps of each subject (at most ``most``, and as many as a page can carry), or sentences that say why not."""
    reasons: dict[str, list[str]] = {}
    drawn = weight = 0
    for name, subject in results.subjects.items():
        if drawn >= most or weight > MAP_BYTES:
            break
        layers = [k for k in summary.layers[summary.main] if (summary.main, k) in subject.scores]
        if not any(np.isfinite(subject.scores[summary.main, k]).any() for k in layers):
            continue
        stack = np.stack([subject.scores[summary.main, k] for k in layers])
        best = int(np.argmax([np.nanmean(row) if np.isfinite(row).any() else -np.inf for row in stack]))
        pictures = list(_surface_maps(name, subject, summary, layers, stack, best, reasons))
        if isinstance(subject.voxels.geometry, Volume):
            pictures.append(_volume_map(name, subject, summary, layers[best], stack[best]))
        drawn += bool(pictures)
        weight += sum(len(p.wide) + len(p.narrow) for p in pictures)
        yield from pictures
    for reason, names in reasons.items():
        yield f"{', '.join(names)}: {reason}"
    if drawn and drawn + sum(map(len, reasons.values())) < len(results.subjects):
        yield f"Maps of the first {drawn} of {len(results.subjects)} {summary.people} are shown."


def _surface_maps(name, subject, summary, layers, stack, best, reasons):
    try:
        left, right = plotting.to_fsaverage5(subject.voxels, stack[best])
    except SpaceMismatch as error:
        reasons.setdefault(str(error), []).append(name)
        return
    short = plotting.short_names(summary.layers[summary.main])
    label = short[summary.layers[summary.main].index(layers[best])]
    yield draw(
        f"surface-{slug(name)}",
        f"{name}: test-set Pearson r of {summary.main}, layer {label} (the best on average over all {summary.noun}), "
        "on the inflated template cortex (fsaverage5). Grey: no data; darker grey: sulci.",
        f"Inflated left and right cortex of {name} from the side, from inside, from below and from behind, coloured by "
        f"score; median {np.nanmedian(stack[best]):.2f}.",
        lambda **size: plotting.surface_map(left, right, label="Pearson r", **size),
        cmap="viridis",
    )
    if len(layers) < 2:
        return
    floor = chance_level(subject)
    reached = np.nanmax(np.where(np.isfinite(stack), stack, -np.inf), axis=0)
    winner = np.where(reached > floor, np.argmax(np.nan_to_num(stack, nan=-np.inf), axis=0).astype(float), np.nan)
    if not np.isfinite(winner).any():
        return
    names = [short[summary.layers[summary.main].index(k)] for k in layers]
    depth_left, depth_right = plotting.to_fsaverage5(subject.voxels, winner)
    yield draw(
        f"depth-{slug(name)}",
        f"{name}: the layer of {summary.main} that predicts each place best (highest test-set r), where it reaches "
        f"r > {floor:.2f}. Dark: early layers; bright: late layers.",
        f"Inflated cortex of {name} coloured by the best layer, from {short[0]} to {short[-1]}.",
        lambda **size: plotting.surface_map(depth_left, depth_right, label="best layer", categories=names, **size),
        cmap="plasma",
    )


def _volume_map(name, subject, summary, layer, values):
    template = plotting.is_mni_like(subject.voxels.geometry)
    where = "on the MNI152 template" if template else "on the voxels’ silhouette (no anatomy was given)"
    label = plotting.short_names(summary.layers[summary.main])[summary.layers[summary.main].index(layer)]
    return draw(
        f"volume-{slug(name)}",
        f"{name}: test-set Pearson r of {summary.main}, layer {label}, in axial slices {where}. Left is left; voxels "
        "as measured, without interpolation.",
        f"Axial slices of {name} coloured by score; median {np.nanmedian(values):.2f}.",
        lambda **size: plotting.volume_map(
            subject.voxels.to_nifti(np.asarray(values, dtype=np.float32)),
            background="mni152" if template else None,
            label="Pearson r",
            **size,
        ),
        cmap="viridis",
    )


def prf(name: str, subject: SubjectResults) -> Picture | None:
    """Estimated receptive fields against the truth."""
    fields = subject.prf or {}
    if not {"x", "y", "x_true", "y_true"} <= set(fields):
        return None
    error = np.hypot(fields["x"] - fields["x_true"], fields["y"] - fields["y_true"])
    n = int(np.isfinite(error).sum())
    return draw(
        f"prf-{slug(name)}",
        f"{name}: receptive-field centres in the visual field as planted and as estimated, coloured by the planted "
        f"polar angle, and sizes against each other ({n:,} voxels).",
        f"Scatter plots of {name}: true and estimated centres; median distance {np.nanmedian(error):.2f} degrees.",
        lambda width, columns: plotting.prf_maps(
            fields["x"],
            fields["y"],
            fields.get("size"),
            x_true=fields["x_true"],
            y_true=fields["y_true"],
            size_true=fields.get("size_true"),
            width=width,
            columns=3 if columns > 2 else 2,
        ),
    )


def chance_level(subject: SubjectResults) -> float:
    """The r that 5 % of unrelated pairs of series exceed with as many test images; 0.1 if their number is unknown."""
    n = subject.counts.get("n_test_images")
    return 1.645 / np.sqrt(n) if n else 0.1


def layer_of(summary: Summary, roi: str, model: str) -> str:
    """Best layer of a model in a region."""
    row = summary.best[(summary.best["roi"] == roi) & (summary.best["model"] == model)]
    return str(row["layer"].iloc[0]) if len(row) else ""


def pooled(results: StudyResults, roi: str, model: str, layer: str) -> np.ndarray:
    """Scores of a region's voxels of all subjects, (n_voxels,)."""
    found = [s.scores[model, layer][s.rois[roi]] for s in _with(results, roi, model, layer)]
    return np.concatenate(found).astype(float) if found else np.empty(0)


def pooled_ceiling(results: StudyResults, roi: str, model: str, layer: str) -> np.ndarray:
    """Ceilings in the order of :func:`pooled`; NaN for subjects without."""
    found = [
        np.full(int(s.rois[roi].sum()), np.nan) if s.ceiling is None else s.ceiling[s.rois[roi]]
        for s in _with(results, roi, model, layer)
    ]
    return np.concatenate(found).astype(float) if found else np.empty(0)


def _with(results, roi, model, layer):
    return [s for s in results.subjects.values() if roi in s.rois and (model, layer) in s.scores]


def roi_ceilings(summary: Summary) -> dict[str, float]:
    """Mean ceiling of each region in units of the score."""
    return {roi: mean for roi, (mean, _, _) in summary.ceiling.items()}


def ceiling_words(summary: Summary) -> str:
    """What a caption says of ceilings."""
    return " Upright ticks: noise ceiling." if summary.ceiling else ""


def and_subjects(results: StudyResults, summary: Summary) -> str:
    """What a caption says of a mean over subjects."""
    n = len(results.subjects)
    return f" and {n} {summary.people}" if n > 1 else ""


def slug(name: str) -> str:
    """A name as part of an anchor."""
    return "".join(c if c.isalnum() else "-" for c in name)


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
