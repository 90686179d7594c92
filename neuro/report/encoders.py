"""Sections of a report about several encoders fitted to the same images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from neuro.report import encoder_figures as figures
from neuro.report import tables
from neuro.report.encoder_results import EncoderResults
from neuro.report.results import StudyResults
from neuro.report.summary import Summary, listed

MOST_MAPS = 2  # subjects, or encoders, whose maps are drawn: the page shall stay below 6 MB


def encoder_sections(
    results: StudyResults, summary: Summary, encoders: EncoderResults, max_maps: int = 4
) -> Iterator[tuple[str, list[Any]]]:
    """Yield (title, contents) of each section that the results can fill."""
    contents = [described(summary, encoders), figures.compared(results, summary, encoders)]
    yield "Encoders compared", [*contents, *differences(summary, encoders)]
    spaces: list[Any] = []
    with_bands = [e for e in encoders.names if encoders.bands_of(e)]
    first = with_bands[0] if with_bands else ""  # the others' maps are among the files
    for name in with_bands:
        spaces.append(figures.unique_bars(results, summary, encoders, name))
        spaces.append(figures.unique_by_voxel(results, summary, encoders, name))
        if name == first:
            spaces += figures.unique_maps(results, summary, encoders, name, min(max_maps, MOST_MAPS))
        spaces.append(unique(summary, encoders, name))
    if spaces:
        yield "What each feature space adds", [x for x in spaces if x is not None]
    if encoders.routing:
        first_of = {name: (subject, found) for (subject, name), found in reversed(encoders.routing.items())}
        shown = [figures.routing(summary, subject, name, found) for name, (subject, found) in first_of.items()]
        yield "Routing maps", shown[:MOST_MAPS]
    drawn = [
        figures.fields(results.subjects[subject], name, found)
        for (subject, name), found in encoders.fields.items()
        if subject in results.subjects
    ]
    drawn = [picture for picture in drawn if picture is not None][: min(max_maps, MOST_MAPS)]
    if drawn:
        yield "Receptive fields of encoders", drawn
    if len(encoders.efficiency):
        yield "Data efficiency", [figures.efficiency(results, summary, encoders)]


def encoder_answer(encoders: EncoderResults, summary: Summary) -> list[str]:
    """Sentences for the top of the page."""
    group = figures.means(encoders.table[encoders.table["metric"] == summary.metric], ["roi", "model"])
    if len(encoders.names) < 2 or group.empty:
        return []
    best = group.loc[group.groupby("roi", sort=False)["score"].idxmax()]
    counts = best["model"].value_counts()
    ahead = [f"{name} in {counts[name]}" for name in encoders.names if name in counts]
    n = len(best)
    out = [f"Of {len(encoders.names)} encoders on the same images, the highest {summary.label} is that of "
           f"{listed(ahead)} of {n} region{'s' if n > 1 else ''}."]  # fmt: skip
    for name in encoders.names:
        if encoders.bands_of(name):
            own = encoders.unique[encoders.unique["model"] == name]
            mean = own.groupby(["band", "roi"], sort=False)["unique"].mean()
            most = [f"{band} in {mean[band].idxmax()} ({mean[band].max():+.2f})" for band in encoders.bands_of(name)]
            out.append(f"In {name}, feature spaces add most to the others’ R² here: {listed(most)}.")
            break
    return out


def described(summary: Summary, encoders: EncoderResults) -> tables.Table:
    """What each encoder is and what it reads."""
    rows = []
    for e in encoders.encoders:
        options = ", ".join(f"{k} = {tables.plain_value(v)}" for k, v in e["options"].items())
        rows.append([e["name"], e["text"].format(channel=summary.singular), e["reads"], options or "–"])
    return tables.make(
        "Encoders fitted to the same images, folds and responses.",
        ["encoder", "what it is", "reads", "settings other than the defaults"],
        rows,
        text=[1, 2, 3],
        prose=True,
    )


def differences(summary: Summary, encoders: EncoderResults) -> Iterator[tables.Table]:
    """Scores, and paired differences to the first encoder."""
    names, found = encoders.names, encoders.table[encoders.table["metric"] == summary.metric]
    group = figures.means(found, ["roi", "model"]).set_index(["roi", "model"])
    rois = [r for r in summary.rois if (r, names[0]) in group.index]
    n, rows = len(encoders.subjects), []
    for roi in rois:
        top = group.loc[roi]["score"].max()
        row: list[Any] = [roi]
        for name in names:
            score = group.loc[(roi, name), "score"]
            small = "" if name == names[0] else _difference(encoders, roi, names[0], name, n)
            row.append(tables.Cell(tables.fixed(score), small, "top" if score == top else ""))
        rows.append(row)
    caption = f"{summary.label} of each encoder; bold: the highest."
    if len(names) > 1:
        what = "its q" if n == 1 else f"the number of {summary.people} with q < 0.05"
        whose = "" if n == 1 else f" of each of {n} {summary.people}"
        caption += (
            f" Beside it the difference to {names[0]}, paired over images, and {what} (false discovery rate over "
            f"regions and pairs of encoders{whose}). All pairs, with intervals, are in encoders.tsv."
        )
    yield tables.make(caption, ["region", *names], rows)


def _difference(encoders: EncoderResults, roi: str, first: str, name: str, n_subjects: int) -> str:
    pairs = encoders.comparisons
    rows = pairs[(pairs["roi"] == roi) & (pairs["model_a"] == first) & (pairs["model_b"] == name)]
    if rows.empty:
        return ""
    value = signed(-rows["difference"].mean(), 3)
    if n_subjects > 1:
        return f"({value}, {int((rows['q'] < 0.05).sum())} of {len(rows)})"
    q = tables.small(rows["q"].iloc[0])
    return f"({value}, q {q if q[0] == '<' else f'= {q}'})"


def unique(summary: Summary, encoders: EncoderResults, name: str) -> tables.Table:
    """Unique variance per region, with what is shared."""
    own = encoders.unique[encoders.unique["model"] == name]
    bands, n = encoders.bands_of(name), len(set(own["subject"]))
    rows = []
    for roi in [r for r in summary.rois if r in set(own["roi"])]:
        part = own[own["roi"] == roi]
        total = part.groupby("subject")["r2"].first().mean()
        row: list[Any] = [roi, tables.fixed(total)]
        for band in bands:
            cell = part[part["band"] == band]
            small = (
                f"({int((cell['q'] < 0.05).sum())} of {len(cell)})" if n > 1 else f"q {tables.small(cell['q'].iloc[0])}"
            )
            row.append(tables.Cell(signed(cell["unique"].mean(), 3), small))
        shared = total - sum(part.loc[part["band"] == b, "unique"].mean() for b in bands)
        rows.append([*row, signed(shared, 3)])
    how = (
        f"in brackets the number of {summary.people} with q < 0.05"
        if n > 1
        else "q: false discovery rate over regions and spaces"
    )
    return tables.make(
        f"{name}: R² of all feature spaces, what each adds to the others, and the rest, which more than one of them "
        f"could explain; {how}.",
        ["region", "R², all", *bands, "shared"],
        rows,
    )


def signed(value: Any, digits: int = 2) -> str:
    """A number with its sign, a true minus, a dash where unknown.

    >>> signed(0.123), signed(-0.001), signed(-0.001, 3)
    ('+0.12', '0.00', '−0.001')
    """
    if value is None or not np.isfinite(value):
        return "–"
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if any(c in "123456789" for c in text) else text[1:]
