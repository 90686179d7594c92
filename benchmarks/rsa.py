"""Time and memory of ``neuro.rsa.rdm`` beside rsatoolbox's ``calc_rdm``, on the same patterns, in the same process.

Results are checked to be equal (float64: to 1e-9 of the largest distance). Memory is the peak above what the data
themselves take, each side in a fresh process that made one tiny RDM beforehand. In the float32 rows neuro is given
float32 and rsatoolbox float64. Squared Euclidean distances are one symmetric product of BLAS on both sides, so there
the times can hardly differ in float64.

    python benchmarks/rsa.py                                # all shapes, one thread
    python benchmarks/rsa.py --threads 1 2 --write-results
    python benchmarks/rsa.py --quick                        # small shapes, to see that everything runs

Needs rsatoolbox, psutil and threadpoolctl.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
from _timing import PeakMemory, arguments, child, limit_threads, machine, ratio, table, write_section

SHAPES = [(92, 1000, 100), (515, 10000, 8), (1000, 15000, 8)]  # conditions, channels, RDMs
QUICK = [(30, 200, 5), (92, 1000, 3)]
CASES = ["correlation", "sqeuclidean", "crossnobis", "correlation-float32", "sqeuclidean-float32"]
THEIR_NAMES = {"sqeuclidean": "euclidean"}
N_FOLDS = 2


def main() -> None:
    """Run the benchmark, or (``--child``) one measurement of memory."""
    parser = arguments(__doc__)
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--shapes", nargs="+", metavar="N,P,R", help="conditions, channels, RDMs")
    parser.add_argument("--no-memory", action="store_true", help="times only")
    args = parser.parse_args()
    if args.child:
        _measure(json.loads(args.child))
        return
    shapes = QUICK if args.quick else SHAPES
    if args.shapes:
        shapes = [tuple(int(x) for x in text.split(",")) for text in args.shapes]
    blocks = [f"## RDMs\n\n{machine()} Re-run: `python benchmarks/rsa.py --threads 1 2 --write-results`."]
    for threads in args.threads:
        rows = []
        for n, p, r in shapes:
            rows += [measure(case, n, p, r, threads, args) for case in args.cases]
        columns = {"memory_ours": "neuro's own, MB", "memory_theirs": "rsatoolbox's, MB", "memory": "memory ratio"}
        blocks.append(f"### {threads} thread{'s' if threads > 1 else ''}\n\n{table(rows, columns)}")
        print("\n" + blocks[-1], flush=True)
    if args.write_results:
        write_section("rsa-rdms", "\n\n".join(blocks), args.write_results)


def make_data(case: str, n: int, p: int, r: int) -> np.ndarray:
    """(r, n, p) patterns with a common part, as responses have; N_FOLDS n of them for crossnobis."""
    rng = np.random.default_rng(0)
    n = n * N_FOLDS if case == "crossnobis" else n
    data = rng.standard_normal((r, n, p))
    data += rng.standard_normal((r, 1, p))
    return data


def measure(case: str, n: int, p: int, r: int, threads: int, args: Any) -> dict[str, Any]:
    """One row: both sides in turn here, and their memory in fresh processes."""
    data = make_data(case, n, p, r)
    with limit_threads(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = sides(case, data)
        name = f"{case}, {n} x {p:,} x {r}"
        single = case.endswith("float32")
        row = ratio(name, ours, theirs, args.repeats, atol=1e-4 if single else 1e-9)
    if not args.no_memory:
        job = {"case": case, "n": n, "p": p, "r": r}
        for side in ("ours", "theirs"):
            row[f"memory_{side}"] = child(__file__, {**job, "side": side}, threads)["memory"] / 1e6
        row["memory"] = row["memory_theirs"] / max(row["memory_ours"], 0.01)
    return row


def sides(case: str, data: np.ndarray) -> tuple[Any, Any]:
    """Two callables without arguments that return the distances, (n_rdms, n_pairs)."""
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm

    from neuro.rsa.estimate import rdm

    metric = case.split("-")[0]
    if metric == "crossnobis":
        n = data.shape[1] // N_FOLDS
        labels, folds = np.tile(np.arange(n), N_FOLDS), np.repeat(np.arange(N_FOLDS), n)
        sets = [Dataset(x, obs_descriptors={"c": labels, "f": folds}) for x in data]
        return (
            lambda: rdm(data, "crossnobis", conditions=labels, folds=folds).dissimilarities,
            lambda: np.concatenate(
                [calc_rdm(s, "crossnobis", descriptor="c", cv_descriptor="f").dissimilarities for s in sets]
            ),
        )
    sets = [Dataset(x) for x in data]
    mine = data.astype(np.float32) if case.endswith("float32") else data
    their = THEIR_NAMES.get(metric, metric)
    return (
        lambda: rdm(mine, metric).dissimilarities,
        lambda: np.concatenate([calc_rdm(s, their).dissimilarities for s in sets]),
    )


def _measure(job: dict[str, Any]) -> None:
    warnings.simplefilter("ignore")
    which = 0 if job["side"] == "ours" else 1
    sides(job["case"], make_data(job["case"], 4, 6, 2))[which]()
    run = sides(job["case"], make_data(job["case"], job["n"], job["p"], job["r"]))[which]
    with PeakMemory() as memory:
        result = run()
    del result
    print(json.dumps({"memory": memory.own}))


if __name__ == "__main__":
    main()
