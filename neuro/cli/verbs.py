"""What each verb does: plain calls of the Python API, returning what ``--json`` prints."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

Say = Callable[[str], None]


def demo(args: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Run the demonstration study."""
    from neuro.study.demo import run_demo

    return _run_result(run_demo(args.output, small=args.small, say=say))


def run(args: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Run a study file."""
    from neuro.study import run_study, submit_study

    if args.submit is None:
        return _run_result(run_study(args.study, args.output, say=say))
    jobs = submit_study(args.study, args.output, cluster=args.submit, parameters=parse_options(args.job), say=say)
    return {"jobs": jobs}


def _run_result(done: Any) -> dict[str, Any]:
    return {
        "output": str(done.output),
        "report": str(done.report),
        "computed": list(done.computed),
        "cached": list(done.cached),
        "seconds": round(done.seconds, 1),
    }


def report(args: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Write the report again."""
    from neuro.study import rebuild_report

    path = rebuild_report(args.folder)
    say(f"wrote {path}")
    return {"report": str(path)}


def rsa(args: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Compare models with measured geometry."""
    from neuro._files import atomic_path
    from neuro.plotting import model_bars
    from neuro.study.quick_rsa import compare_files

    result, table = compare_files(
        args.data,
        key=args.key,
        responses=args.responses,
        transpose=args.transpose,
        axes=args.axes,
        average=args.average,
        models=args.models,
        features=args.features,
        layers=args.layers,
        metric=args.metric,
        method=args.method,
        resample=args.resample,
        n_boot=args.bootstraps,
        seed=args.seed,
    )
    say(result.summary())
    output = Path(args.output)
    result.save(output / "result")
    with atomic_path(output / "scores.tsv") as path:
        table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.6g")
    ceiling = (result.ceiling.lower, result.ceiling.upper)
    pairs = result.test_pairs(correction="fdr").rename(columns={"p_corrected": "q"}) if len(table) > 1 else None
    figure = model_bars(table, ceiling=ceiling, pairs=pairs, ylabel=args.method)
    with atomic_path(output / "models.png") as path:
        figure.savefig(path, dpi=150, format="png")
    say(f"wrote {output}/scores.tsv, models.png and result/")
    return {"output": str(output), "models": table.to_dict("records")}


def doctor(args: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Examine the installation."""
    from neuro.cli.doctor import examine

    found = examine()
    for check in found:
        say(f"{'ok  ' if check.ok else 'FAIL' if check.needed else 'note'}  {check.name:<22} {check.text}")
    failed = [c.name for c in found if c.needed and not c.ok]
    say("everything that is needed works." if not failed else f"to repair: {', '.join(failed)}.")
    checks = [{"name": c.name, "ok": c.ok, "needed": c.needed, "text": c.text} for c in found]
    return {"checks": checks, "exit_code": 1 if failed else 0}


def fetch(args: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Plan a download, and do it if the terms were accepted."""
    from neuro.datasets.nsd.download import TERMS, download, plan

    optional = {"parts": args.parts, "endpoint": args.endpoint}
    todo = plan(
        args.folder,
        args.subjects,
        space=args.space,
        betas=args.betas,
        sessions=None if args.sessions is None else parse_numbers(args.sessions),
        **{k: v for k, v in optional.items() if v is not None},
    )
    say(str(todo))
    fetched = len(todo.missing) if args.accept_terms else 0
    if args.accept_terms:
        download(todo, accept_terms=True, n_jobs=args.jobs)
        say(f"fetched {fetched} files; NSD({str(todo.root)!r}) reads them.")
    else:
        say(f"nothing was fetched. {TERMS} If you accepted it, repeat the command with --accept-terms.")
    return {"folder": str(todo.root), "files": len(todo.files), "bytes": todo.n_bytes, "fetched": fetched}


def parse_numbers(text: str) -> list[int]:
    """Return the numbers of a list with ranges.

    >>> parse_numbers("1-3,7")
    [1, 2, 3, 7]
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise ValueError(f"expected numbers and ranges such as 1-10 or 1,2,5, got {text!r}.")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def phantom(args: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Write a phantom."""
    from neuro.datasets.phantom import write_phantom

    root = write_phantom(
        args.folder,
        n_subjects=args.subjects,
        n_sessions=args.sessions,
        n_images=args.images,
        size=args.size,
        seed=args.seed,
        grid=args.grid,
    )
    say(f"phantom in {args.folder}; what was planted is in {Path(args.folder) / 'truth'}")
    return {"root": str(root)}


def features(args: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Extract features into a store."""
    from neuro.data import Stimuli
    from neuro.errors import StudyError
    from neuro.features.sources import is_control, open_source

    options: dict[str, Any] = {}
    if not is_control(args.model):
        given = {"pool": args.pool, "project": args.project, "device": args.device, "pretrained": args.pretrained}
        options = {k: v for k, v in given.items() if v is not None}
        options |= {"seed": args.seed, "batch_size": args.batch_size}
        if args.untrained:
            options["pretrained"] = None
    source = open_source(args.model, **options)
    if args.list:
        layers = {name: list(shape) for name, shape in getattr(source, "layers", {}).items()}
        for name, shape in layers.items():
            say(f"{name:<40} {tuple(shape)}")
        return {"layers": layers}
    if not args.store or not args.images:
        raise StudyError("say which --images to read and where the features shall go with --store (or --list layers).")
    store = source.extract(Stimuli.open(args.images), store=args.store, layers=args.layers, progress=not args.json)
    say(f"{len(store.ids):,} rows x {len(store.layers)} layers in {args.store}")
    return {"store": args.store, "rows": len(store.ids), "layers": list(store.layers)}


def encode(args: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Fit and score an encoder from a store."""
    from neuro.study.quick import encode_files

    found = encode_files(
        args.features,
        args.layer,
        args.responses,
        args.output,
        encoder=args.encoder,
        network=args.network,
        options=parse_options(args.option),
        key=args.key,
        transpose=args.transpose,
        folds=args.folds,
        seed=args.seed,
    )
    say(f"median r {found['median_r']:.3f} over {found['n_voxels']:,} voxels -> {args.output}")
    for name, share in found.get("shares", {}).items():
        say(f"  {name}: {share:.3f} of the variance (mean over voxels)")
    return found


def parse_options(given: list[str]) -> dict[str, Any]:
    """Return options written as name=value; values are TOML, or else text.

    >>> parse_options(["n_iter=10", "scoring=r2", "alphas=[1, 10]"])
    {'n_iter': 10, 'scoring': 'r2', 'alphas': [1, 10]}
    """
    import tomllib

    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise ValueError(f"expected an option as name=value, got {text!r}.")
        try:
            options[name.strip()] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            options[name.strip()] = value.strip()
    return options
