"""Banded ridge beside himalaya: seconds and memory per candidate, and seconds to a given held-out score.

Per candidate: every measurement is one fit in a fresh process that has loaded its data and made one tiny fit before,
with the same data, splits, penalties and candidate band weights for all; both libraries in float32, himalaya with its
torch backend. The table gives the whole fit (search and weights), that time over the number of candidates, and the
process's peak memory during the fit above what it held before.

To a score: himalaya's held-out R2 after its candidates is the target; ours is the first of a row of settings (few
candidates, halving, gradient steps from the best start) whose held-out R2 reaches it.

    python benchmarks/banded.py                     # 3 bands x 500 features, n 2000, 5000 voxels, 20 and 100 candidates
    python benchmarks/banded.py --quick             # small sizes, to see that everything runs
    python benchmarks/banded.py --threads 1 2 --write-results

Needs himalaya and psutil: pip install 'neuro[bench]'.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

import numpy as np
from _timing import PeakMemory, arguments, child, limit_threads, machine, write_section

N_ALPHAS, N_FOLDS, N_TEST = 20, 5, 500
ALPHAS = np.logspace(-1, 8, N_ALPHAS)
FULL = {"n": 2000, "p": 500, "bands": 3, "v": 5000}
QUICK = {"n": 200, "p": 20, "bands": 3, "v": 60}
PEERS = ("himalaya multiple-kernel", "himalaya group")
SETTINGS: dict[str, dict[str, Any]] = {
    "8 candidates, 5 steps": {"n_iter": 8, "refine": 5},
    "16 candidates, halving, 5 steps": {"n_iter": 16, "halving": True, "refine": 5},
    "16 candidates": {"n_iter": 16},
    "32 candidates, halving": {"n_iter": 32, "halving": True},
    "as many candidates": {},
}


def main() -> None:
    """Run the benchmark, or (``--child``) one measurement."""
    parser = arguments(__doc__)
    parser.add_argument("--candidates", type=int, nargs="+", help="numbers of candidates; 20 100, or 4 with --quick")
    args = parser.parse_args()
    if args.child:
        measure(json.loads(args.child))
        return
    size = QUICK if args.quick else FULL
    candidates = args.candidates or ([4] if args.quick else [20, 100])
    repeats = 1 if args.quick else args.repeats
    blocks = [
        machine() + f" {size['bands']} bands x {size['p']} features, {size['n']:,} stimuli, {size['v']:,} voxels, "
        f"{N_ALPHAS} penalties, {N_FOLDS} folds, float32; medians of up to {repeats} runs."
    ]
    for threads in args.threads:
        rows = []
        for n in candidates:
            rows += per_candidate(size, n, threads, repeats)
        blocks.append(f"{threads} thread(s), the same candidates\n\n" + as_table(rows))
        blocks.append(
            f"{threads} thread(s), to himalaya's held-out R2\n\n" + as_table(to_score(size, candidates[-1], threads))
        )
    text = "\n\n".join(blocks)
    print(text)
    if args.write_results:
        write_section("banded", "## Banded ridge\n\n" + text, args.write_results)


def per_candidate(size: dict[str, int], n: int, threads: int, repeats: int) -> list[dict[str, Any]]:
    """Return one row per solver, for the same candidates."""
    runs: dict[str, list[dict[str, Any]]] = {solver: [] for solver in ("neuro", *PEERS)}
    spent = time.perf_counter()
    for _ in range(repeats):
        for solver, done in runs.items():  # in turn, so that a busy machine is busy for all
            done.append(child(__file__, {"size": size, "n": n, "solver": solver, "options": {}}, threads))
        if time.perf_counter() - spent > 1200:
            break
    ours = float(np.median([run["seconds"] for run in runs["neuro"]]))
    rows = []
    for solver, done in runs.items():
        seconds = float(np.median([run["seconds"] for run in done]))
        rows.append(
            {
                "solver": f"{solver}, {n} candidates",
                "seconds": f"{seconds:.3g}",
                "per candidate": f"{seconds / n:.3g}",
                "of ours": f"{seconds / ours:.2f}",
                "memory, MB": f"{np.median([run['memory'] for run in done]) / 1e6:,.0f}",
                "held-out R2": f"{done[0]['r2']:.5f}",
            }
        )
        print(f"  {rows[-1]['solver']}: {seconds:.3g} s", file=sys.stderr, flush=True)
    return rows


def to_score(size: dict[str, int], n: int, threads: int) -> list[dict[str, Any]]:
    """Return one row for himalaya's multiple-kernel solver and one per setting of ours, until its score is reached."""
    theirs = child(__file__, {"size": size, "n": n, "solver": PEERS[0], "options": {}}, threads)
    rows = [_row(f"{PEERS[0]}, {n} candidates", theirs, theirs)]
    for name, options in SETTINGS.items():
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
        "held-out R2": f"{found['r2']:.5f}",
        "reached": "yes" if found["r2"] >= theirs["r2"] else "no",
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
    size, n_candidates = job["size"], job["n"]
    Xs, Y = simulate(**size)
    n = size["n"]
    rng = np.random.default_rng(1)
    draws = [rng.dirichlet(np.full(len(Xs), (0.1, 1.0)[i % 2])) for i in range(n_candidates - 1)]
    gammas = np.stack([np.full(len(Xs), 1 / len(Xs)), *draws])
    fit = FITS[job["solver"]]
    with limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit([X[:60, :5] for X in Xs], Y[:60, :8], gammas[:2], job["options"])  # imports, threads, first allocations
        with PeakMemory() as memory:
            start = time.perf_counter()
            predict = fit([X[:n] for X in Xs], Y[:n], gammas, job["options"])
            seconds = time.perf_counter() - start
        error = ((Y[n:] - predict([X[n:] for X in Xs])) ** 2).sum(0)
    r2 = float((1 - error / ((Y[n:] - Y[n:].mean(0)) ** 2).sum(0)).mean())
    print(json.dumps({"seconds": seconds, "memory": memory.own, "r2": r2}))


def ours(Xs: list[np.ndarray], Y: np.ndarray, gammas: np.ndarray, options: dict[str, Any]) -> Any:
    """Fit ``BandedRidgeCV``; ``options`` with ``n_iter`` take the first candidates."""
    from sklearn.model_selection import KFold

    from neuro.encoders.banded import BandedRidgeCV

    options = dict(options)
    model = BandedRidgeCV(
        ALPHAS,
        KFold(N_FOLDS),
        band_weights=gammas[: options.pop("n_iter", len(gammas))],
        scale_bands=False,
        fit_intercept=False,
        **options,
    ).fit(_named(Xs), Y)
    return lambda new: model.predict(_named(new))


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

    return predict


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
    return lambda new: np.asarray(model.predict([torch.from_numpy(A) for A in new]))


FITS = {"neuro": ours, PEERS[0]: kernels, PEERS[1]: groups}

if __name__ == "__main__":
    main()
