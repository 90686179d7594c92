"""Banded ridge beside himalaya: seconds and memory per candidate, and seconds to a given held-out score.

Per candidate: every measurement is one fit in a fresh process that has loaded its data and made one tiny fit before,
with the same data, splits, penalties and candidate band weights for all; both libraries in float32, himalaya with its
torch backend. The table gives the whole fit (search and weights), that time over the number of candidates, the same
in seconds that cores were busy (which other work on the machine changes less), the process's peak memory during the fit
above what it held before, and the share of voxels that got the same candidate and penalty as with ours.

To a score (for 32 candidates or more): the held-out R2 of himalaya's multiple-kernel solver is the target. Ours
searches ten times as many candidates by halving and, if that does not reach it, the same candidates in full.

    python benchmarks/banded.py                     # 3 bands x 500 features, n 2000, 5000 voxels, 20 candidates
    python benchmarks/banded.py --quick             # small sizes, to see that everything runs
    python benchmarks/banded.py --candidates 20 100 --repeats 1 --write-results

The group solver, the slowest, is measured for the smallest number of candidates.

Needs himalaya and psutil: pip install 'neuro[bench]'.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from _timing import PeakMemory, arguments, child, limit_threads, machine, write_section

N_ALPHAS, N_FOLDS, N_TEST = 20, 5, 500
MANY = 32  # candidates from which on the time to their score is measured
ALPHAS = np.logspace(-1, 8, N_ALPHAS)
FULL = {"n": 2000, "p": 500, "bands": 3, "v": 5000}
QUICK = {"n": 200, "p": 20, "bands": 3, "v": 60}
PEERS = {"multiple-kernel": "himalaya, multiple-kernel", "group": "himalaya, group"}
SETTINGS: dict[str, dict[str, Any]] = {
    "halving of ten times as many": {"times": 10, "search": "halving"},
    "the same candidates": {},
}


def main() -> None:
    """Run the benchmark, or (``--child``) one measurement."""
    parser = arguments(__doc__)
    parser.add_argument("--candidates", type=int, nargs="+", help="numbers of candidates; 20, or 4 and 32 with --quick")
    parser.add_argument("--peers", choices=list(PEERS), nargs="+", default=list(PEERS))
    args = parser.parse_args()
    if args.child:
        measure(json.loads(args.child))
        return
    size = QUICK if args.quick else FULL
    candidates = args.candidates or ([4, 32] if args.quick else [20])
    repeats = 1 if args.quick else args.repeats
    about = f"{size['bands']} bands x {size['p']} features, {size['n']:,} stimuli, {size['v']:,} voxels"
    blocks = [
        f"{machine()} himalaya {version('himalaya')}. {about}, {N_ALPHAS} penalties, {N_FOLDS} folds, float32; "
        f"medians of up to {repeats} runs."
    ]

    def say(*lines: str) -> None:
        blocks.extend(lines)
        if args.write_results:
            write_section("banded", "## Banded ridge\n\n" + "\n\n".join(blocks), args.write_results)

    for threads in args.threads:
        for n in candidates:
            peers = [peer for peer in args.peers if peer != "group" or n == min(candidates)]
            rows, runs = per_candidate(size, n, peers, threads, repeats)
            say(f"{threads} thread(s), the same {n} candidates", as_table(rows))
            if n >= MANY and "multiple-kernel" in peers:
                heading = f"{threads} thread(s), to the held-out R2 of himalaya's multiple-kernel solver"
                say(heading, as_table(to_score(size, n, runs, threads)))
    print("\n\n".join(blocks))


def per_candidate(
    size: dict[str, int], n: int, peers: list[str], threads: int, repeats: int
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return one row per solver, for the same candidates, and the median run of each."""
    runs: dict[str, list[dict[str, Any]]] = {solver: [] for solver in ("neuro", *peers)}
    spent = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        files = {solver: str(Path(folder) / f"{solver}.npy") for solver in runs}
        for _ in range(repeats):
            for solver, done in runs.items():  # in turn, so that a busy machine is busy for all
                job = {"size": size, "n": n, "solver": solver, "options": {}, "deltas": files[solver]}
                done.append(child(__file__, job, threads))
                print(f"  {solver}, {n} candidates: {done[-1]['seconds']:.3g} s", file=sys.stderr, flush=True)
            if time.perf_counter() - spent > 1200:
                break
        deltas = {solver: np.load(file) for solver, file in files.items()}
    median = {solver: sorted(done, key=lambda run: run["seconds"])[len(done) // 2] for solver, done in runs.items()}
    rows = [
        {
            "solver": f"{PEERS.get(solver, solver)}, {n} candidates",
            "seconds": f"{run['seconds']:.3g}",
            "per candidate": f"{run['seconds'] / n:.3g}",
            "time / neuro's": f"{run['seconds'] / median['neuro']['seconds']:.2f}",
            "core-seconds per candidate": f"{run['core'] / n:.3g}",
            "core-seconds / neuro's": f"{run['core'] / median['neuro']['core']:.2f}",
            "memory, MB": f"{run['memory'] / 1e6:,.0f}",
            "held-out R2": f"{run['r2']:.5f}",
            "same candidate and penalty": f"{100 * same(deltas[solver], deltas['neuro']):.2f}%",
        }
        for solver, run in median.items()
    ]
    return rows, median


def same(theirs: np.ndarray, ours: np.ndarray) -> float:
    """Share of voxels with the same log weights (n_bands, n_voxels), those that are as good as off aside."""
    floor = ours.max(0) - 15
    return float(np.isclose(np.maximum(theirs, floor), np.maximum(ours, floor), atol=1e-2).all(0).mean())


def to_score(size: dict[str, int], n: int, runs: dict[str, dict[str, Any]], threads: int) -> list[dict[str, Any]]:
    """Return one row for himalaya's multiple-kernel solver and one per setting of ours, until its score is reached."""
    theirs = runs["multiple-kernel"]
    rows = [_row(f"{PEERS['multiple-kernel']}, {n} candidates", theirs, theirs)]
    for name, options in SETTINGS.items():
        found = runs["neuro"]
        if options:
            found = child(__file__, {"size": size, "n": n, "solver": "neuro", "options": options}, threads)
        rows.append(_row(f"neuro, {name}", found, theirs))
        if found["r2"] >= theirs["r2"]:
            break
    return rows


def _row(name: str, found: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    return {
        "solver": name,
        "seconds": f"{found['seconds']:.3g}",
        "times faster": f"{theirs['seconds'] / found['seconds']:.2f}",
        "core-seconds": f"{found['core']:.3g}",
        "times fewer core-seconds": f"{theirs['core'] / found['core']:.2f}",
        "held-out R2": f"{found['r2']:.5f}",
        "reached": "yes" if found["r2"] >= theirs["r2"] else "no",
        "memory, MB": f"{found['memory'] / 1e6:,.0f}",
    }


def as_table(rows: list[dict[str, Any]]) -> str:
    """Return rows with the same keys as a Markdown table."""
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "|--|" + "--:|" * (len(heads) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row[head] for head in heads) + " |" for row in rows])


def simulate(n: int, p: int, bands: int, v: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return bands with decaying spectra and voxels that weight them unevenly; the last ``N_TEST`` rows are a test."""
    rng = np.random.default_rng(0)
    rows = n + N_TEST
    Xs = [rng.standard_normal((rows, p)) / np.sqrt(np.arange(1, p + 1)) for _ in range(bands)]
    Xs = [(X / np.linalg.norm(X[:n]) * np.sqrt(n)).astype(np.float32) for X in Xs]
    share = rng.dirichlet(np.full(bands, 0.5), v)
    Y = np.zeros((rows, v), np.float32)
    for X, s in zip(Xs, share.T, strict=True):
        signal = X @ rng.standard_normal((p, v), np.float32)
        Y += signal / signal.std(0) * np.sqrt(s)
    Y += rng.standard_normal((rows, v), np.float32)
    Y -= Y[:n].mean(0)
    return [X - X[:n].mean(0) for X in Xs], Y.astype(np.float32)


def measure(job: dict[str, Any]) -> None:
    """Fit once, timed, and print seconds, memory and held-out R2."""
    import torch

    limit = limit_threads(torch.get_num_threads())
    size = job["size"]
    options = dict(job["options"])
    n_candidates = job["n"] * options.pop("times", 1)
    Xs, Y = simulate(**size)
    n = size["n"]
    rng = np.random.default_rng(1)
    draws = [rng.dirichlet(np.full(len(Xs), (0.1, 1.0)[i % 2])) for i in range(n_candidates - 1)]
    gammas = np.stack([np.full(len(Xs), 1 / len(Xs)), *draws])
    fit = FITS[job["solver"]]
    with limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit([X[:60, :5] for X in Xs], Y[:60, :8], gammas[:2], options)  # imports, threads, first allocations
        with PeakMemory() as memory:
            start, core = time.perf_counter(), time.process_time()
            predict, deltas = fit([X[:n] for X in Xs], Y[:n], gammas, options)
            seconds, core = time.perf_counter() - start, time.process_time() - core
        error = ((Y[n:] - predict([X[n:] for X in Xs])) ** 2).sum(0)
    if "deltas" in job:
        np.save(job["deltas"], np.asarray(deltas))
    r2 = float((1 - error / ((Y[n:] - Y[n:].mean(0)) ** 2).sum(0)).mean())
    print(json.dumps({"seconds": seconds, "core": core, "memory": memory.own, "r2": r2}))


def ours(Xs: list[np.ndarray], Y: np.ndarray, gammas: np.ndarray, options: dict[str, Any]) -> Any:
    """Fit ``BandedRidgeCV``; return what predicts, and the log weights."""
    from sklearn.model_selection import KFold

    from neuro.encoders.banded import BandedRidgeCV

    model = BandedRidgeCV(
        ALPHAS,
        KFold(N_FOLDS),
        band_weights=gammas,
        scale_bands=False,
        fit_intercept=False,
        **options,
    ).fit(_named(Xs), Y)
    return (lambda new: model.predict(_named(new))), model.deltas_


def _named(Xs: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"band {k}": X for k, X in enumerate(Xs)}


def kernels(Xs: list[np.ndarray], Y: np.ndarray, gammas: np.ndarray, options: dict[str, Any]) -> Any:
    """Fit himalaya's ``MultipleKernelRidgeCV`` on linear kernels, formed within the time."""
    import torch
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import MultipleKernelRidgeCV
    from sklearn.model_selection import KFold

    set_backend("torch")
    Ks = np.stack([X @ X.T for X in Xs])
    given = {"n_iter": torch.from_numpy(gammas).float(), "alphas": torch.from_numpy(ALPHAS).float()}
    given |= {"progress_bar": False, "n_targets_batch": 1000, "n_alphas_batch": 5}
    model = MultipleKernelRidgeCV(kernels="precomputed", cv=KFold(N_FOLDS), solver_params=given)
    model.fit(torch.from_numpy(Ks), torch.from_numpy(Y))
    train = [X.copy() for X in Xs]

    def predict(new: list[np.ndarray]) -> np.ndarray:
        across = np.stack([A @ X.T for A, X in zip(new, train, strict=True)])
        return np.asarray(model.predict(torch.from_numpy(across)))

    return predict, model.deltas_


def groups(Xs: list[np.ndarray], Y: np.ndarray, gammas: np.ndarray, options: dict[str, Any]) -> Any:
    """Fit himalaya's ``GroupRidgeCV``."""
    import torch
    from himalaya.backend import set_backend
    from himalaya.ridge import GroupRidgeCV
    from sklearn.model_selection import KFold

    set_backend("torch")
    given = {"n_iter": torch.from_numpy(gammas).float(), "alphas": torch.from_numpy(ALPHAS).float()}
    given |= {"progress_bar": False, "n_targets_batch": 1000, "n_alphas_batch": 5, "warn": False}
    model = GroupRidgeCV(groups="input", cv=KFold(N_FOLDS), solver_params=given)
    model.fit([torch.from_numpy(X) for X in Xs], torch.from_numpy(Y))
    return (lambda new: np.asarray(model.predict([torch.from_numpy(A) for A in new]))), model.deltas_


FITS = {"neuro": ours, "multiple-kernel": kernels, "group": groups}

if __name__ == "__main__":
    main()
