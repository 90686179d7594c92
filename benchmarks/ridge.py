"""Time and memory of ``neuro.encoders.RidgeCV`` beside himalaya's, on the same data, splits and penalties.

Every measurement is one fit in a fresh process that has loaded its data and made one tiny fit beforehand; what is timed
is the fit alone, and memory is the process's peak during it above what it held before. himalaya runs in its better
backend and batch sizes, found on a reduced problem first, and as kernel ridge where there are more features than
stimuli (where neither library forms the primal weights during the fit; the row "with weights" adds them to ours).

    python benchmarks/ridge.py                                   # all four shapes, in full
    python benchmarks/ridge.py --shapes 750,512,15000 --repeats 3
    python benchmarks/ridge.py --alphas-peer 4                   # himalaya with 2 and 4 penalties, extrapolated
    python benchmarks/ridge.py --voxels 500 --repeats 1          # a quick look that everything runs

Needs himalaya and psutil: pip install 'neuro[bench]'.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from _timing import PeakMemory, processor, write_section

SHAPES = ["750,512,15000", "8859,768,15724", "8859,6144,15724", "1200,20000,10000"]
PEERS = ["ours", "ours-100-alphas", "ours-gcv", "ours-loo", "himalaya"]
N_ALPHAS, N_FOLDS, N_TEST = 20, 5, 200
N_REFERENCE = 500  # voxels that are also fitted in float64, to see who is right where penalties differ
BIG = 2e13  # multiplications of himalaya's cross-validation above which it is tuned on fewer voxels and penalties


def main() -> None:
    """Run the benchmark, or (``--child``) one measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="N,P,V", help="stimuli, features, voxels")
    parser.add_argument("--peers", nargs="+", default=PEERS, choices=PEERS)
    parser.add_argument("--repeats", type=int, nargs="+", default=[3], help="rounds, for all shapes or for each")
    parser.add_argument("--voxels", type=int, help="cap on voxels, for everyone (a quick look)")
    parser.add_argument("--alphas-peer", type=int, help="cap on himalaya's penalties on big shapes; extrapolated")
    parser.add_argument("--folds", type=int, default=N_FOLDS, help="fit only so many of the folds, for everyone")
    parser.add_argument("--setting", help="himalaya's backend,penalties,voxels instead of tuning: numpy,1,4000")
    parser.add_argument("--json", type=Path, help="write every measurement here")
    parser.add_argument(
        "--write-results",
        type=Path,
        nargs="?",
        const=Path(__file__).with_name("RESULTS.md"),
        help="put the table into this file (RESULTS.md beside this script)",
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _measure(json.loads(args.child))
        return
    blocks, raw = [machine()], []
    print(blocks[0], flush=True)
    repeats = args.repeats * len(args.shapes) if len(args.repeats) == 1 else args.repeats
    for text, n_rounds in zip(args.shapes, repeats, strict=True):
        n, p, v = (int(x) for x in text.split(","))
        rows = run_shape(n, p, min(v, args.voxels or v), args, n_rounds)
        raw.append({"shape": [n, p, v], "rows": rows})
        blocks.append(table(n, p, min(v, args.voxels or v), rows))
        print("\n" + blocks[-1], flush=True)
        if args.json:
            args.json.write_text(json.dumps({"machine": blocks[0], "shapes": raw}, indent=1))
        if args.write_results:
            write_section("ridge", "\n\n".join(blocks), args.write_results)


def machine() -> str:
    """Describe what this runs on."""
    import himalaya
    import sklearn
    import torch

    import neuro

    return (
        f"## Ridge\n\n{processor()}. Python {platform.python_version()}, "
        f"numpy {np.__version__}, torch {torch.__version__}, scikit-learn {sklearn.__version__}, "
        f"himalaya {himalaya.__version__}, neuro {neuro.__version__}. float32, {N_ALPHAS} penalties from 1e-4 to 1e6 "
        f"trace(K)/n, {N_FOLDS} folds, intercept. Re-run: `python benchmarks/ridge.py --write-results`."
    )


def run_shape(n: int, p: int, v: int, args: argparse.Namespace, n_rounds: int) -> list[dict]:
    """Measure all peers on one shape, each in a fresh process per round; returns rows with medians over rounds."""
    with tempfile.TemporaryDirectory(prefix="ridge_benchmark_") as folder:
        make_data(Path(folder), n, p, v)
        job = {"folder": folder, "n": n, "p": p, "v": v, "n_folds": args.folds}
        jobs = []
        for peer in args.peers:
            if peer.startswith("ours"):
                variants = [{}] if p <= n or peer != "ours" else [{}, {"weights": True}]
                jobs += [{**job, "peer": peer, **options} for options in variants]
                continue
            if args.setting:
                backend, alphas, targets = args.setting.split(",")
                setting = {"backend": backend, "alphas_batch": int(alphas), "targets_batch": int(targets)}
            else:
                setting = tune_himalaya(job, himalaya_cost(n, p, v) > BIG)
            cap = args.alphas_peer
            if cap and himalaya_cost(n, p, v) > BIG:
                setting["extrapolated_from"] = [cap // 2, cap]
            jobs.append({**job, "peer": peer, **setting})
        # Round after round, so that a machine that slows down slows everybody.
        rounds = [[measure_whole(j) for j in jobs] for _ in range(n_rounds)]
        rows = [median_run(list(runs)) for runs in zip(*rounds, strict=True)]
        base = next((k for k, j in enumerate(jobs) if j["peer"] == "ours" and not j.get("weights")), None)
        for k, row in enumerate(rows):
            if base is not None and k != base:
                row["ratio"] = statistics.median(r[k]["wall"] / r[base]["wall"] for r in rounds)
                if (
                    row["peer"] in ("ours", "himalaya") and "extrapolated_from" not in row
                ):  # others answer another question
                    row.update(agreement(rows[base]["file"], row["file"]))
        double = measure({**job, "peer": "ours-float64", "v_use": min(v, N_REFERENCE)})["file"]
        for row in rows:
            if row["peer"] in ("ours", "himalaya") and "extrapolated_from" not in row:
                row["same_as_float64"] = agreement(double, row["file"])["same_alpha"]
    for row in rows:
        row.pop("file")
    return rows


def make_data(folder: Path, n: int, p: int, v: int) -> None:
    """Write features with a 1/i spectrum and voxels with 0 to 50% explainable variance, a fifth of them noise."""
    import torch

    generator = torch.Generator().manual_seed(0)
    X = torch.randn(n + N_TEST, p, generator=generator).div_(torch.arange(1, p + 1).sqrt())
    np.save(folder / "x_test.npy", X[n:].numpy())
    X = X[:n].clone()
    np.save(folder / "x.npy", X.numpy())
    Y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.float32, (n, v))
    for start in range(0, v, 2000):
        width = min(2000, v - start)
        signal = X @ torch.randn(p, width, generator=generator)
        share = torch.rand(width, generator=generator).mul_(0.5 * 1.25).sub_(0.125).clamp_(min=0)
        signal *= (share / (1 - share)).sqrt() / signal.std(0)
        Y[:, start : start + width] = (signal + torch.randn(n, width, generator=generator)).numpy()
    Y.flush()


def himalaya_cost(n: int, p: int, v: int) -> float:
    """Multiplications of himalaya's cross-validation: a resolution matrix and predictions per fold and penalty."""
    return N_ALPHAS * N_FOLDS * (min(n, p) * 0.8 * n * (max(p, n) + 0.2 * n) + 0.2 * n * 0.8 * n * v)


def tune_himalaya(job: dict, big: bool) -> dict:
    """Return the fastest of himalaya's settings, on one fold (and fewer voxels and penalties, where it is slow)."""
    settings = [
        {"backend": backend, "alphas_batch": alphas, "targets_batch": targets}
        for backend, alphas, targets in itertools.product(
            ("numpy", "torch"),
            (1,) if big else (1, 5, N_ALPHAS),
            (4000,) if big else (None, 4000) if job["v"] > 4000 else (None,),
        )
    ]
    reduced = {"n_folds": 1, "v_use": min(job["v"], 6000), "n_alphas": 3} if big else {"n_folds": 2}
    times = []
    for setting in settings:
        result = measure({**job, **reduced, **setting, "peer": "himalaya"})
        times.append(result["wall"])
        print(f"  tuning himalaya {setting}: {result['wall']:.2f} s", file=sys.stderr, flush=True)
    return settings[int(np.argmin(times))]


def median_run(results: list[dict]) -> dict:
    """Return the run with the median time, and all times."""
    middle = sorted(results, key=lambda r: r["wall"])[len(results) // 2]
    return {**middle, "walls": [r["wall"] for r in results], "cpus": [r["cpu"] for r in results]}


def measure_whole(job: dict) -> dict:
    """Measure one run; where asked, with two numbers of penalties, following the straight line through them to all."""
    if "extrapolated_from" not in job:
        return measure(job)
    fewer, cap = job["extrapolated_from"]
    few, many = (measure({**job, "n_alphas": m}) for m in (fewer, cap))
    for key in ("wall", "cpu"):
        slope = max(many[key] - few[key], 0) / (cap - fewer)
        many[key] += slope * (N_ALPHAS - cap)
    return many


def measure(job: dict) -> dict:
    """Run one measurement in a fresh process."""
    job = {"n_folds": N_FOLDS, "n_alphas": N_ALPHAS, "v_use": job["v"], **job}
    job["file"] = str(Path(job["folder"]) / f"result_{time.monotonic_ns()}.npz")
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(job)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"measurement failed: {job}\n{done.stderr[-3000:]}")
    result = {**job, **json.loads(done.stdout.splitlines()[-1])}
    print(
        f"  {label(result)}: {result['wall']:.2f} s, {result['cpu']:.1f} core-s, {result['memory']:.2f} GB",
        file=sys.stderr,
        flush=True,
    )
    return result


def _measure(job: dict) -> None:
    warnings.simplefilter("ignore")
    folder = Path(job["folder"])
    X = np.load(folder / "x.npy")
    source = np.load(folder / "y.npy", mmap_mode="r")
    Y = np.empty((len(source), job["v_use"]), np.float32)
    for start in range(0, len(source), 512):
        Y[start : start + 512] = source[start : start + 512, : job["v_use"]]
    del source
    scale = float(np.mean([np.sum((row - X.mean(0)) ** 2) for row in X[:: max(1, len(X) // 500)]]))
    n_alphas = 100 if job["peer"] == "ours-100-alphas" else job["n_alphas"]
    alphas = np.logspace(-4, 6, n_alphas) * scale
    order = np.random.default_rng(0).permutation(job["n"])
    splits = [(np.setdiff1d(order, part), np.sort(part)) for part in np.array_split(order, N_FOLDS)][: job["n_folds"]]
    make = _ours if job["peer"].startswith("ours") else _himalaya
    small = np.random.default_rng(0).standard_normal((40, 48 if job["p"] > job["n"] else 8)).astype(np.float32)
    make(job, alphas, [(np.arange(20), np.arange(20, 40))])(small, small[:, :4])  # imports, threads
    run = make(job, alphas, splits)
    with PeakMemory() as memory:
        cpu = os.times()
        start = time.perf_counter()
        model, predict, alpha = run(X, Y)
        wall = time.perf_counter() - start
        used = os.times()
    prediction = predict(np.load(folder / "x_test.npy"))
    np.savez(job["file"], alpha=np.asarray(alpha(model)), prediction=np.asarray(prediction))
    seconds = used.user + used.system - cpu.user - cpu.system
    print(json.dumps({"wall": wall, "cpu": seconds, "memory": memory.own / 1e9, "peak": memory.peak / 1e9}))


def _ours(job: dict, alphas: np.ndarray, splits: list):
    from neuro.encoders import RidgeCV

    cv = {"ours-gcv": "gcv", "ours-loo": "loo"}.get(job["peer"], splits)

    def run(X, Y):
        if job["peer"] == "ours-float64":
            X, Y = X.astype(np.float64), Y.astype(np.float64)
        model = RidgeCV(alphas, cv=cv).fit(X, Y)
        if job.get("weights"):
            _ = model.coef_
        return model, model.predict, lambda m: m.alpha_

    return run


def _himalaya(job: dict, alphas: np.ndarray, splits: list):
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import KernelRidgeCV
    from himalaya.ridge import RidgeCV

    backend = set_backend(job["backend"])
    params = {
        "n_targets_batch": job["targets_batch"],
        "n_targets_batch_refit": job["targets_batch"],
        "n_alphas_batch": job["alphas_batch"],
    }
    splitter = _Splits(splits)

    def run(X, Y):
        kind = KernelRidgeCV if X.shape[1] > X.shape[0] else RidgeCV
        options = {"warn": False} if kind is KernelRidgeCV else {}
        solver = params if kind is KernelRidgeCV else {**params, "warn": False}
        model = kind(alphas.astype(np.float32), cv=splitter, fit_intercept=True, solver_params=solver, **options)
        model.fit(backend.asarray(X), backend.asarray(Y))
        return model, lambda Z: backend.to_numpy(model.predict(backend.asarray(Z))), lambda m: m.best_alphas_

    return run


class _Splits:
    """Index pairs as himalaya wants them."""

    def __init__(self, splits: list):
        self.splits = splits

    def split(self, *_):
        """Yield the pairs."""
        return iter(self.splits)

    def get_n_splits(self, *_):
        """Return how many there are."""
        return len(self.splits)


def agreement(ours: str, theirs: str) -> dict:
    """Share of voxels with the same penalty, and how far held-out predictions lie apart, in units of their spread."""
    with np.load(ours) as a, np.load(theirs) as b:
        v = min(len(a["alpha"]), len(b["alpha"]))
        same = np.isclose(a["alpha"][:v], b["alpha"][:v], rtol=1e-3)
        one, two = a["prediction"][:, :v], b["prediction"][:, :v]
        apart = np.sqrt(((one - two) ** 2).mean(0)) / np.maximum(two.std(0), 1e-6)
        return {"same_alpha": float(same.mean()), "apart": float(np.median(apart[same])) if same.any() else None}


def label(row: dict) -> str:
    """Name a row of the table."""
    if row["peer"] != "himalaya":
        what = {"ours-100-alphas": ", 100 penalties", "ours-gcv": ", cv='gcv'", "ours-loo": ", cv='loo'"}
        what["ours-float64"] = f", float64, {N_REFERENCE} voxels"
        return "neuro" + what.get(row["peer"], "") + (", with weights" if row.get("weights") else "")
    kind = "KernelRidgeCV" if row["p"] > row["n"] else "RidgeCV"
    text = f"himalaya {kind}, {row['backend']}, batches {row['targets_batch'] or 'all'} x {row['alphas_batch']}"
    if "extrapolated_from" in row:
        text += " (time extrapolated from {:,} and {:,} penalties; memory with {:,})".format(
            *row["extrapolated_from"], row["extrapolated_from"][1]
        )
    return text


def table(n: int, p: int, v: int, rows: list[dict]) -> str:
    """Return one shape's Markdown table."""
    lines = [
        f"### {n:,} stimuli, {p:,} features, {v:,} voxels",
        "",
        "| | seconds (all runs) | core-seconds | fit's own memory, GB | process peak, GB | time / neuro's "
        "| same penalty as neuro | as float64 | predictions apart |",
        "|--|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        spread = ", ".join(f"{w:.2f}" for w in sorted(row["walls"]))
        same = f"{100 * row['same_alpha']:.2f}%" if "same_alpha" in row else ""
        apart = f"{row['apart']:.0e}" if row.get("apart") is not None else ""
        double = f"{100 * row['same_as_float64']:.1f}%" if "same_as_float64" in row else ""
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else "1"
        lines.append(
            f"| {label(row)} | **{row['wall']:.2f}** ({spread}) | {statistics.median(row['cpus']):.1f} "
            f"| {row['memory']:.2f} | {row['peak']:.2f} | {ratio} | {same} | {double} | {apart} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
