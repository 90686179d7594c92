"""Sections of a report about what was decoded from responses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from neuro.plotting.decoding import rank_curves, reconstruction_sheet, scores_by_roi
from neuro.report import tables
from neuro.report.decoder_results import DecoderResults, Shown
from neuro.report.figures import Picture, draw, draw_photos, slug

MOST_SHEETS = 1  # subject whose pictures are drawn: the page shall stay below 6 MB
LABELS = {
    "retrieve_image_given_brain": "image retrieved given brain",
    "retrieve_brain_given_image": "brain retrieved given image",
    "two_way_identification": "2-way identification",
    "two_way_tokens": "2-way identification of tokens",
    "two_way_low_level": "2-way identification of low-level latents",
    "pixcorr": "PixCorr",
    "ssim": "SSIM",
    "clip": "2-way identification of pictures by CLIP",
    "clip_untrained": "the same by the untrained network",
    "clip_distance": "correlation distance in CLIP",
    "low_level_pixcorr": "PixCorr of the low-level picture",
    "low_level_ssim": "SSIM of the low-level picture",
    **{f"bleu{k}": f"BLEU-{k} of captions" for k in (1, 2, 3, 4)},
    "rouge_l": "ROUGE-L of captions",
    "cider": "CIDEr of captions",
    "caption_category": "captions that name the category",
    "caption_label": "captions that name the kind of thing",
    "caption_colour": "captions that name the colour",
}
HIDDEN = "sentence_"  # means over sentences of what the table has for the collection; they are in decoders.tsv
DIRECTIONS = {
    "retrieve_image_given_brain": "The true image given the brain’s embedding",
    "retrieve_brain_given_image": "The right brain pattern given an image’s embedding",
}


def decoder_sections(results: DecoderResults) -> Iterator[tuple[str, list[Any]]]:
    """Yield (title, contents) of each section that the results can fill."""
    texts = [str(t) for t in results.about.get("texts", [])]
    yield "Decoding", [*texts, *metric_tables(results)]
    sheets = [sheet(results, *key, found) for key, found in results.shown.items()][:MOST_SHEETS]
    if sheets:
        yield "Decoded images", sheets
    curves = list(retrieval(results))
    if curves:
        yield "Retrieval", curves
    if len(results.regions):
        yield "Decoding by region", [by_region(results)]


def decoder_answer(results: DecoderResults) -> list[str]:
    """Sentences for the top of the page."""
    out = []
    for decoder in results.decoders:
        rows = results.of("retrieve_image_given_brain", decoder)
        if len(rows):
            first = rows.iloc[0]
            out.append(
                f"From responses alone, {decoder} finds the seen image {rows['value'].mean():.1%} of the time "
                f"({first['protocol']}; chance {first['chance']:.1%})."
            )
    is_control = results.table["control"].astype(bool)
    shuffled = results.table[is_control & (results.table["metric"] == "retrieve_image_given_brain")]
    if len(shuffled):
        out.append(f"Fitted to shuffled pairs, it does so {shuffled['value'].mean():.1%} of the time.")
    named = results.table[~is_control & (results.table["metric"] == "caption_category")]
    if len(named):
        out.append(
            f"Decoded captions name the category of {named['value'].mean():.0%} of the test images "
            f"(chance {named['chance'].mean():.0%})."
        )
    return out


def label(metric: str) -> str:
    """Return a metric's name as the report prints it.

    >>> label("pixcorr"), label("clip_two_way")
    ('PixCorr', 'clip two way')
    """
    return LABELS.get(metric, metric.replace("_", " "))


def three(value: Any) -> str:
    """Three decimals, a true minus, a dash where unknown.

    >>> three(0.0333), three(-0.5), three(float("nan"))
    ('0.033', '−0.500', '–')
    """
    return "–" if value is None or not np.isfinite(value) else f"{value:.3f}".replace("-", "−")


def metric_tables(results: DecoderResults) -> Iterator[tables.Table]:
    """One table per set of test images; a row is one metric under one protocol."""
    table = results.table[~results.table["metric"].str.startswith(HIDDEN)]
    systems = list(dict.fromkeys(table["decoder"]))
    n_subjects = len(results.subjects)
    for n in dict.fromkeys(table["n"]):
        part = table[table["n"] == n]
        there = [s for s in systems if (part["decoder"] == s).any()]
        rows = []
        for metric, protocol in part[["metric", "protocol"]].drop_duplicates().to_numpy().tolist():
            own = part[(part["metric"] == metric) & (part["protocol"] == protocol)]
            arrow = "" if all(own["higher_is_better"]) else " (lower is better)"
            chance = own.loc[~own["control"].astype(bool), "chance"].dropna()
            rows.append(
                [
                    label(metric) + arrow,
                    *(_cell(own[own["decoder"] == s], n_subjects) for s in there),
                    "–" if chance.empty else three(chance.mean()),
                    protocol,
                ]
            )
        how = "in brackets the 95% interval over images" if n_subjects == 1 else "in brackets the range over subjects"
        yield tables.make(
            f"{n:,} test images; {how}. A number holds under its protocol and compares with no other. Chance: the same "
            "decoded items beside other images.",
            ["", *there, "chance", "protocol"],
            rows,
            text=[len(there) + 2],
            prose=True,
        )


def _cell(rows: pd.DataFrame, n_subjects: int) -> Any:
    if rows.empty:
        return "–"
    value = three(rows["value"].mean())
    if any(rows["oracle"]):
        value += " (oracle)"
    if n_subjects > 1:
        return tables.Cell(value, f"({three(rows['value'].min())} to {three(rows['value'].max())})")
    low, high = rows.iloc[0][["ci_low", "ci_high"]]
    return tables.Cell(value, f"[{three(low)}, {three(high)}]" if np.isfinite(low) else "")


def sheet(results: DecoderResults, subject: str, decoder: str, found: Shown) -> Picture:
    """The best, middle and worst reconstructions of one subject below the images that were seen."""
    captions = list(found.captions) or None
    names = ", ".join(found.decoded)
    extra = " Below: the caption decoded from the same responses." if captions else ""
    told = "; ".join(f"{g} {i}: {c}" for g, i, c in zip(found.groups, found.ids, found.true_captions, strict=False))
    return draw_photos(
        f"decoded-{slug(subject)}-{slug(decoder)}",
        f"{subject}, {decoder}: seen images and what was decoded ({names}). The best, the middle and the worst of all "
        f"test images by {found.chosen_by}, none chosen by hand.{extra}",
        f"Pairs of images. {told}.",
        lambda width, columns: reconstruction_sheet(
            list(found.true),
            {name: list(images) for name, images in found.decoded.items()},
            groups=list(found.groups),
            captions=captions,
            columns=5 if columns > 2 else 3,
            width=width,
        ),
    )


def retrieval(results: DecoderResults) -> Iterator[Picture]:
    """How often the true image is among the first k of all test images, per direction, all subjects together."""
    ranks = results.ranks
    if ranks.empty:
        return
    for direction, part in ranks.groupby("direction", sort=False):
        n = int(part["n_gallery"].min())
        part = part[part["n_gallery"] == n]
        curves = {name: own["rank"].to_numpy() for name, own in part.groupby("decoder", sort=False)}
        controls = list(dict.fromkeys(part.loc[part["control"].astype(bool), "decoder"]))
        medians = "; ".join(f"{name}: median rank {np.median(v):.0f} of {n}" for name, v in curves.items())
        yield draw(
            f"ranks-{slug(str(direction))}",
            f"{DIRECTIONS.get(str(direction), str(direction))}: share of test images whose match is among the k most "
            f"similar of {n:,}{' (all subjects)' if len(results.subjects) > 1 else ''}. {medians}.",
            f"Curves of retrieval. {medians}.",
            lambda width, columns, curves=curves, n=n, controls=controls: rank_curves(
                curves, n, controls=controls, width=width
            ),
        )


def by_region(results: DecoderResults) -> Picture:
    """How well each region alone decodes what."""
    group = (
        results.regions.groupby(["roi", "output"], sort=False)[["value", "ci_low", "ci_high", "chance"]]
        .mean()
        .reset_index()
        .rename(columns={"value": "score", "output": "model"})
    )
    metric = label(str(results.regions["metric"].iloc[0]))
    chance = group["chance"].dropna()
    told = "; ".join(f"{r.roi}, {r.model}: {r.score:.2f}" for r in group.itertuples())
    return draw(
        "decoding-by-region",
        f"{metric} when only the voxels of one region are decoded"
        f"{', mean over subjects' if len(results.subjects) > 1 else ''}; bars: 95% intervals over images.",
        f"Dots per region. {told}.",
        lambda width, columns: scores_by_roi(
            group, chance=None if chance.empty else float(chance.iloc[0]), xlabel=metric, width=width
        ),
    )
