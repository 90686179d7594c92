"""The report: one HTML file that stands alone, answer first, everything it rests on below."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from neuro import __version__
from neuro._files import write_text
from neuro.plotting.style import short_names
from neuro.report import figures, tables
from neuro.report.decoder_results import DecoderResults
from neuro.report.decoders import decoder_answer, decoder_sections
from neuro.report.encoder_results import EncoderResults
from neuro.report.encoders import encoder_answer, encoder_sections
from neuro.report.methods import methods
from neuro.report.results import StudyResults
from neuro.report.rsa import rsa_answer, rsa_sections
from neuro.report.rsa_results import RsaResults
from neuro.report.summary import Summary, answer, summarise

MOST_EXAMPLES = 24
MOST_STEPS = 12
MOST_PROVENANCE = ("versions", "seeds", "fingerprints", "timings", "command", "created")


@dataclass(frozen=True)
class Block:
    """A piece of a section: ``kind`` says how ``value`` is shown."""

    kind: str
    value: Any


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; ``name`` is its anchor."""

    name: str
    title: str
    blocks: list[Block]


def write_report(
    results: StudyResults,
    path: str | os.PathLike[str],
    *,
    rsa: RsaResults | None = None,
    encoders: EncoderResults | None = None,
    decoders: DecoderResults | None = None,
    max_maps: int = 4,
) -> Path:
    """Write the report of a study as one self-contained HTML file.

    Images are embedded, styles are inline, nothing is loaded from elsewhere and no script runs. All text that comes
    from the study (captions, names, settings) is escaped.

    Parameters
    ----------
    results : StudyResults
        Without rows in its table (a study of RDMs alone), the page is about ``rsa``.
    path : path
        The file; appears only when complete.
    rsa : RsaResults, optional
        Representational geometry of the same study.
    encoders : EncoderResults, optional
        Several encoders side by side.
    decoders : DecoderResults, optional
        What was decoded from the responses to the test images.
    max_maps : int
        Cortical and receptive-field maps are drawn for at most this many subjects.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    EmptySelection
        If there is nothing to report.
    """
    page = render(results, rsa=rsa, encoders=encoders, decoders=decoders, max_maps=max_maps)
    write_text(path, page)
    return Path(path)


def render(
    results: StudyResults,
    *,
    rsa: RsaResults | None = None,
    encoders: EncoderResults | None = None,
    decoders: DecoderResults | None = None,
    max_maps: int = 4,
) -> str:
    """Return the report of a study as HTML text (see :func:`write_report`)."""
    from jinja2 import Environment, PackageLoader

    summary = None if rsa is not None and not len(results.table) else summarise(results)
    found = [_section(title, *blocks) for title, blocks in rsa_sections(rsa)] if rsa is not None else []
    if summary is not None:
        side_by_side = []
        if encoders is not None:
            side_by_side = [_section(title, *b) for title, b in encoder_sections(results, summary, encoders, max_maps)]
        if decoders is not None:
            side_by_side += [_section(title, *b) for title, b in decoder_sections(decoders)]
        sections = [s for s in build_sections(results, summary, max_maps, found, side_by_side) if s.blocks]
        top, line, numbers = answer(results, summary), byline(results, summary), facts(results, summary)
    else:
        assert rsa is not None
        shown = (_section("Stimuli", *_stimuli(results)), *found, _section("Provenance", *_provenance(results)))
        sections = [s for s in shown if s.blocks]
        top, line, numbers = [], f"Study “{results.name}” · {', '.join(rsa.parts)}", _rsa_facts(rsa)
    if encoders is not None and summary is not None:
        top = [*top, *encoder_answer(encoders, summary)]
    if decoders is not None:
        top = [*top, *decoder_answer(decoders)]
    if rsa is not None:
        top = [*top, *rsa_answer(rsa)]
    environment = Environment(loader=PackageLoader("neuro.report"), autoescape=True, trim_blocks=True)
    css = resources.files("neuro.report").joinpath("templates", "report.css").read_text(encoding="utf-8")
    figure_number, table_number = itertools.count(1), itertools.count(1)
    return environment.get_template("report.html").render(
        version=results.provenance.get("versions", {}).get("neuro", __version__),
        created=results.provenance.get("created", ""),
        title=results.title or results.name,
        byline=line,
        is_phantom=results.is_phantom,
        answer=top,
        facts=numbers,
        sections=sections,
        css=css,
        count_figure=lambda: next(figure_number),
        count_table=lambda: next(table_number),
    )


def byline(results: StudyResults, summary: Summary) -> str:
    """One line under the title."""
    names = list(results.subjects)
    shown = ", ".join(names) if len(names) <= 8 else f"{names[0]} to {names[-1]}"
    return f"Study “{results.name}” · {shown} · {', '.join(summary.layers)}"


def facts(results: StudyResults, summary: Summary) -> list[tuple[str, str]]:
    """The few numbers a reader wants before anything else."""
    n = len(results.subjects)
    out = [(summary.people[:-1] if n == 1 else summary.people, f"{n}")]
    for name, key in (("training images", "n_train_images"), ("test images", "n_test_images")):
        values = sorted({s.counts[key] for s in results.subjects.values() if s.counts.get(key) is not None})
        if values:
            span = (values[0],) if len(values) == 1 else (values[0], values[-1])
            out.append((name, "–".join(f"{v:,}" for v in span)))
    out.append((summary.noun, f"{sum(len(s.voxels) for s in results.subjects.values()):,}"))
    out.append(("regions", f"{len(summary.rois)}"))
    top = summary.best_of(summary.main)
    top = top.loc[top["score"].idxmax()]
    out.append((f"best {summary.label}", tables.fixed(top["score"])))
    return out


def _rsa_facts(rsa: RsaResults) -> list[tuple[str, str]]:
    brain = [stack for name, stack in rsa.rdms.items() if name.startswith("brain ")]
    layers = [stack.n_rdms for name, stack in rsa.rdms.items() if name.startswith("layers ")]
    out = [
        ("RDMs", f"{sum(b.n_rdms for b in brain):,}"),
        ("regions", f"{len({r for b in brain for r in b.table['roi']})}"),
        ("images", f"{max(b.n_conditions for b in brain):,}"),
    ]
    return out + ([("layers", f"{max(layers):,}")] if layers else [])


def _section(title: str, *blocks: Any) -> Section:
    name = "".join(c if c.isalnum() else "-" for c in title.lower())
    return Section(name, title, [b if isinstance(b, Block) else as_block(b) for b in blocks if b is not None])


def build_sections(
    results: StudyResults,
    summary: Summary,
    max_maps: int,
    geometry: list[Section] | None = None,
    side_by_side: list[Section] | None = None,
) -> Iterator[Section]:
    """Everything below the answer, in reading order; ``side_by_side`` after models, ``geometry`` before the methods."""
    yield _section("Data", tables.data(results, summary), tables.regions(results, summary))
    yield _section("Stimuli", *_stimuli(results))
    if results.checks:
        yield _section("Planted truths", tables.checks(results))
    chosen = (
        "A region’s best layer is the one with the highest test score, so its score is slightly optimistic."
        if summary.chosen_on_test
        else "Best layers were chosen within the training images."
    )
    note = chosen if len(summary.layers[summary.main]) > 1 else None
    yield _section("Best layers", note, figures.best_layers(results, summary), tables.best_layers(summary))
    if summary.deep_models:
        yield _section("Layer profiles", figures.profiles(results, summary))
        if len(summary.layers[summary.main]) > 1:
            yield _section("Layers by regions", figures.heatmap(results, summary))
    if len(summary.layers) > 1:
        yield _section("Models and controls", figures.comparison(results, summary), tables.comparison(summary))
    yield from side_by_side or []
    title = {"voxels": "Voxel scores", "vertices": "Vertex scores"}.get(summary.noun, "Channel scores")
    yield _section(title, figures.histograms(results, summary))
    scatter = figures.ceilings(results, summary)
    without = (
        f"No noise ceiling is shown: it needs repeated presentations of the images, or an ncsnr per {summary.singular}."
    )
    yield _section("Noise ceilings", scatter if scatter is not None else Block("note", without))
    yield _section(
        "Cortical maps",
        *(Block("note", m) if isinstance(m, str) else m for m in figures.cortical_maps(results, summary, max_maps)),
    )
    fields = (figures.prf(n, s) for n, s in list(results.subjects.items())[:max_maps])
    yield _section("Receptive fields", *fields)
    yield from geometry or []
    yield _section("Methods", *methods(results, summary))
    yield _section("Provenance", *_provenance(results))


def as_block(value: Any) -> Block:
    """Wrap what a section holds by its type."""
    kinds = {figures.Picture: "picture", tables.Table: "table", str: "text"}
    return Block(kinds[type(value)], value)


def _stimuli(results: StudyResults) -> Iterator[Block]:
    shown = results.examples[:MOST_EXAMPLES]
    if not shown:
        return
    total = len(results.examples)
    yield Block("text", f"{len(shown)} example stimuli{f' of {total}' if total > len(shown) else ''}; ids in brackets.")
    cells = []
    for identity, image, caption in shown:
        uri, size = figures.thumbnail(image)
        cells.append({"id": identity, "uri": uri, "size": size, "caption": caption})
    yield Block("stimuli", cells)


def _grouped(timings: dict[str, Any]) -> dict[str, Any]:
    """Many steps become one row for each kind, the first word of their names."""
    if len(timings) <= MOST_STEPS or not all(isinstance(v, (int, float)) for v in timings.values()):
        return timings
    kinds: dict[str, list[float]] = {}
    for name, seconds in timings.items():
        kinds.setdefault(name.split()[0], []).append(seconds)
    return {f"{kind} ({len(v)} steps)" if len(v) > 1 else kind: sum(v) for kind, v in kinds.items()}


def _provenance(results: StudyResults) -> Iterator[Any]:
    p = results.provenance
    for key, text in (("command", "Command: {}"), ("created", "Created: {}")):
        if p.get(key):
            yield Block("text", text.format(tables.plain_value(p[key])))
    rows = []
    for m in results.models:
        names = [str(n) for n in m.get("layers") or []]
        prepared = m.get("preprocessing")
        rows.append(
            [m["name"], m["kind"], ", ".join(short_names(names, limit=40)) or "–", str(m.get("fingerprint") or "–"),
             tables.plain_value(prepared) if prepared else "–"]
        )  # fmt: skip
    yield tables.make("Models: kind, layers in depth order, fingerprint of weights, preprocessing.",
                      ["model", "kind", "layers", "fingerprint", "preprocessing"], rows, text=[1, 2, 3, 4])  # fmt: skip
    small = []
    if p.get("versions"):
        small.append(tables.pairs("Package versions.", ("package", "version"), p["versions"]))
    if p.get("timings"):
        timings = {k: f"{v:.1f}" if isinstance(v, (int, float)) else v for k, v in _grouped(p["timings"]).items()}
        small.append(tables.pairs("Time per step.", ("step", "seconds"), timings, numeric=True))
    if p.get("seeds"):
        seeds = p["seeds"] if isinstance(p["seeds"], dict) else {"all": p["seeds"]}
        small.append(tables.pairs("Seeds.", ("what", "seed"), seeds))
    if p.get("fingerprints"):
        prints = p["fingerprints"] if isinstance(p["fingerprints"], dict) else {"study": p["fingerprints"]}
        small.append(tables.pairs("Content fingerprints.", ("what", "fingerprint"), prints))
    if small:
        yield Block("tables", small)
    rest = {k: v for k, v in p.items() if k not in MOST_PROVENANCE}
    if rest:
        yield Block("heading", "Further provenance")
        yield Block("code", json.dumps(rest, indent=2, ensure_ascii=False))
    if results.config:
        yield Block("heading", "Configuration, all defaults resolved")
        yield Block("code", json.dumps(results.config, indent=2, ensure_ascii=False))
