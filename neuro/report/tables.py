"""The tables of a report, as text ready for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro.plotting.style import short_names
from neuro.report.results import StudyResults
from neuro.report.summary import Summary, known


@dataclass(frozen=True)
class Cell:
    """Text of one cell, a smaller remark after it, and how it is marked ("top", "pass", "fail" or nothing)."""

    text: str
    small: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """Caption, column heads, rows of cells (the first is the row's head), which columns are numbers; prose wraps."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numeric: Sequence[bool]
    prose: bool = False


def make(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]], text: Sequence[int] = (), prose: bool = False
) -> Table:
    """Make a table; columns other than the first and those in ``text`` are numbers."""
    cells = [[c if isinstance(c, Cell) else Cell(str(c)) for c in row] for row in rows]
    return Table(caption, list(head), cells, [k > 0 and k not in text for k in range(len(head))], prose)


def data(results: StudyResults, summary: Summary) -> Table:
    """What was measured: one row per subject; columns that no subject knows are left out."""
    columns = (
        ("sessions", "n_sessions"),
        ("trials", "n_trials"),
        ("images, training", "n_train_images"),
        ("images, test", "n_test_images"),
        ("repeats", "repeats"),
    )
    there = [(h, k) for h, k in columns if any(s.counts.get(k) is not None for s in results.subjects.values())]
    excluded = any(s.counts.get("n_invalid") is not None for s in results.subjects.values())
    rows = []
    for name, s in results.subjects.items():
        row = [name, *(number(s.counts.get(k)) for _, k in there), f"{len(s.voxels):,}"]
        if excluded:
            row.append(number(s.counts.get("n_invalid")))
        row.append("–" if s.ceiling is None else fixed(_median(s.ceiling)))
        rows.append(row)
    head = ["", *(h for h, _ in there), summary.noun, *(["excluded"] if excluded else []), "median noise ceiling"]
    caption = f"The data of each {summary.people[:-1]}. The noise ceiling is a share of variance, 0 to 1."
    if excluded:
        caption += f" Excluded: {summary.noun} without valid responses."
    return make(caption, head, rows)


def regions(results: StudyResults, summary: Summary) -> Table:
    """Region sizes and median ceilings per subject."""
    rows = []
    for roi in summary.rois:
        row: list[Any] = [roi]
        for s in results.subjects.values():
            mask = s.rois.get(roi)
            if mask is None or not mask.any():
                row.append("–")
                continue
            row.append(
                Cell(f"{int(mask.sum()):,}", "" if s.ceiling is None else f"({fixed(_median(s.ceiling[mask]))})")
            )
        rows.append(row)
    what = f"Number of {summary.noun} per region and {summary.people[:-1]}"
    if any(s.ceiling is not None for s in results.subjects.values()):
        what += "; in brackets the median noise ceiling (share of variance)"
    return make(f"{what}.", ["region", *results.subjects], rows)


def best_layers(summary: Summary) -> Table:
    """Best layer per region of the main model."""
    own = summary.best_of(summary.main)
    names = dict(zip(summary.layers[summary.main], short_names(summary.layers[summary.main], limit=40), strict=True))
    ceiling, q = bool(summary.ceiling), known(own, "q")
    rows = []
    for r in own.itertuples():
        row: list[Any] = [
            r.roi,
            Cell(names[r.layer], f"({r.depth + 1} of {r.n_layers})"),
            fixed(r.score),
            f"{fixed(r.ci_low)} to {fixed(r.ci_high)}" if np.isfinite(r.ci_low) else "–",
        ]
        if ceiling:
            row += [fixed(r.ceiling), f"{r.share:.0%}" if np.isfinite(r.share) else "–"]
        if q:
            row.append(small(r.q))
        rows.append([*row, number(r.n_voxels)])
    head = ["region", "best layer", summary.label, "95% interval"]
    head += ["noise ceiling", "share of ceiling"] if ceiling else []
    head += ["q"] if q else []
    caption = f"Best layer of {summary.main} per region."
    if ceiling:
        caption += f" The ceiling is given in units of {summary.label}."
    return make(caption, [*head, summary.noun], rows, text=[1])


def comparison(summary: Summary) -> Table:
    """Scores of all models at their best layers; the highest of each region is bold."""
    models = list(summary.layers)
    rows = []
    for roi in summary.rois:
        cells = summary.best[summary.best["roi"] == roi].set_index("model")
        top = cells["score"].max()
        row: list[Any] = [roi]
        for model in models:
            if model not in cells.index:
                row.append("–")
                continue
            c = cells.loc[model]
            interval = f"[{fixed(c['ci_low'])}, {fixed(c['ci_high'])}]" if np.isfinite(c["ci_low"]) else ""
            row.append(Cell(fixed(c["score"]), interval, "top" if c["score"] == top else ""))
        rows.append(row)
    kinds = {"pretrained": "", "untrained": " (untrained)", "control": " (control)"}
    head = [m if "untrained" in m.lower() else m + kinds[summary.kinds[m]] for m in models]
    return make(f"{summary.label} of each model at its best layer, with 95% intervals; bold: the highest.",
                ["region", *head], rows)  # fmt: skip


def checks(results: StudyResults) -> Table:
    """Planted truths and what was found."""
    rows = []
    for c in results.checks:
        passed = bool(c.get("passed"))
        verdict = Cell("passed", mark="pass") if passed else Cell("not passed", mark="fail")
        found = [plain_value(c.get(k)) for k in ("claim", "value", "expected")]
        rows.append([str(c.get("name") or ""), *found, verdict])
    return make(
        "What was planted in the phantom, and whether the analysis found it.",
        ["check", "claim", "found", "expected", "verdict"],
        rows,
        text=[1, 2, 3, 4],
        prose=True,
    )


def pairs(caption: str, head: tuple[str, str], values: dict[str, Any], numeric: bool = False) -> Table:
    """Two columns: names and values."""
    return make(caption, head, [[k, plain_value(v)] for k, v in values.items()], text=[] if numeric else [1])


def fixed(value: Any) -> str:
    """Two decimals, a true minus sign, a dash where unknown."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.2f}".replace("-", "−")


def small(value: Any) -> str:
    """P and q values: three decimals, or "< 0.001"."""
    if value is None or not np.isfinite(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def number(value: Any) -> str:
    """A count with thousands separated; text and ranges as they are."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, (list, tuple)):
        return ", ".join(number(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k}: {number(v)}" for k, v in value.items())
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return f"{int(value):,}" if float(value).is_integer() else f"{value:.2f}"
    return str(value)


def plain_value(value: Any) -> str:
    """Any value of a check or of provenance as a short text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if not np.isfinite(value) else f"{value:.3g}".replace("-", "−")
    if isinstance(value, dict):
        return ", ".join(f"{k}: {plain_value(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(plain_value(v) for v in value)
    return "–" if value is None else str(value)


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else np.nan
