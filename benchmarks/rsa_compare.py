"""``neuro.rsa.compare`` beside rsatoolbox on the same RDMs, and the comparison of 73,000 x 768 features.

Both run in turn in one process; every row checks first that the results agree. Peak memory is that of one call in a
fresh process, above what it held before. ``--large`` compares two feature matrices of 73,000 x 768 without their RDMs.

    python benchmarks/rsa_compare.py                       # time and memory
    python benchmarks/rsa_compare.py --quick               # small sizes, to see that everything runs
    python benchmarks/rsa_compare.py --large               # 73,000 x 768; --stimuli 5000 for a quick look
    python benchmarks/rsa_compare.py --write-results       # put the tables into RESULTS.md

Needs rsatoolbox and psutil.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _timing import PeakMemory, arguments, child, limit_threads, machine, ratio, table, write_section

SIZES = {92: (100, 100), 515: (8, 8), 1000: (8, 8), 2000: (8, 8)}  # conditions: RDMs on each side
QUICK = {30: (10, 10), 92: (8, 8)}
METHODS = ["cosine", "corr", "cosine_cov", "corr_cov", "spearman", "rho-a", "tau-a", "bures"]
SLOW = {"tau-a": 515, "bures": 515}  # largest n at which these are timed
TOLERANCE = {"bures": 1e-6, "cosine_cov": 1e-8, "corr_cov": 1e-8}
TARGETS = {"cosine": 5, "corr": 5, "cosine_cov": 10, "corr_cov": 10, "tau-a": 1.1, "bures": 2}
LARGE = [
    ("cka", "sqeuclidean"),
    ("cosine", "sqeuclidean"),
    ("corr", "correlation"),
    ("corr_cov", "correlation"),
    ("cosine_cov", "sqeuclidean"),
    ("spearman", "correlation"),
    ("corr", "euclidean"),
]


def main() -> None:
    """Run the benchmark, or (``--child``) one measurement."""
    parser = arguments(__doc__)
    parser.add_argument("--large", action="store_true", help="only the comparison of two large feature matrices")
    parser.add_argument("--stimuli", type=int, default=73_000)
    parser.add_argument("--features", type=int, default=768)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    args = parser.parse_args()
    if args.child:
        return measure(json.loads(args.child))
    text = large(args) if args.large else comparisons(args)
    print(text)
    if args.write_results:
        write_section("rsa-large" if args.large else "rsa-compare", text, args.write_results)
    return None


def comparisons(args: Any) -> str:
    """Time and memory of every method at every size."""
    rows = []
    for threads in args.threads:
        with limit_threads(threads):
            for n, (n_a, n_b) in (QUICK if args.quick else SIZES).items():
                for method in args.methods:
                    if n > SLOW.get(method, n):
                        continue
                    rows.append(one(method, n, n_a, n_b, threads, args))
            n = 30 if args.quick else 92
            rows.append(one("cosine_cov", n, 8, 8, threads, args, sigma=True))
            rows.append(cached(n, 100, 100, args))
    columns = {"target": "target", "memory": "neuro, MB", "memory_theirs": "rsatoolbox, MB"}
    return f"## Comparing RDMs\n\n{machine()}\n\n{table(rows, columns)}\n"


def one(method: str, n: int, n_a: int, n_b: int, threads: int, args: Any, sigma: bool = False) -> dict[str, Any]:
    """One row."""
    ours, theirs = calls(method, n, n_a, n_b, sigma)
    name = f"{method}{' + sigma_k (matrix)' if sigma else ''}, n = {n}, {n_a} x {n_b} RDMs"
    name += f", {threads} threads" if threads > 1 else ""
    row = ratio(name, ours, theirs, args.repeats, atol=1e-4 if sigma else TOLERANCE.get(method, 1e-10))
    row["target"] = 500 if sigma else TARGETS.get(method)
    job = {"method": method, "n": n, "n_a": n_a, "n_b": n_b, "sigma": sigma}
    row["memory"], row["memory_theirs"] = (
        child(__file__, job | {"side": side}, threads)["memory"] / 1e6 for side in ("ours", "theirs")
    )
    return row


def cached(n: int, n_a: int, n_b: int, args: Any) -> dict[str, Any]:
    """Spearman with the ranks kept from an earlier call."""
    from neuro.rsa.compare import compare, prepare

    a, b = rdms(n, n_a, n_b)
    left, right = prepare(a, "spearman"), prepare(b, "spearman")
    theirs = calls("spearman", n, n_a, n_b, False)[1]
    row = ratio(
        f"spearman, ranks kept, n = {n}, {n_a} x {n_b} RDMs",
        lambda: compare(left, right, "spearman"),
        theirs,
        args.repeats,
        atol=1e-10,
    )
    return row | {"target": 10}


def calls(method: str, n: int, n_a: int, n_b: int, sigma: bool) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return our call and theirs, on the same RDMs."""
    from neuro.rsa.compare import compare
    from neuro.rsa.container import RDMs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import rsatoolbox

    a, b = rdms(n, n_a, n_b)
    theirs = [rsatoolbox.rdm.RDMs(z) for z in (a, b)]
    options = {}
    if sigma:
        root = np.random.default_rng(1).standard_normal((n, 2 * n))
        options["sigma_k"] = root @ root.T / (2 * n)
    a, b = RDMs(a), RDMs(b)
    return (
        lambda: compare(a, b, method, **options),
        lambda: rsatoolbox.rdm.compare(*theirs, method=method, **options),
    )


def rdms(n: int, n_a: int, n_b: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared Euclidean RDMs of 20 channels that share some structure."""
    from scipy.spatial.distance import pdist

    g = np.random.default_rng(0)
    shared = g.standard_normal((n, 20))
    d = np.stack([pdist(shared + g.standard_normal((n, 20)), "sqeuclidean") for _ in range(n_a + n_b)])
    return d[:n_a], d[n_a:]


def measure(job: dict[str, Any]) -> None:
    """Run one call in this process and print its peak memory."""
    if "large" in job:
        return measure_large(job)
    ours, theirs = calls(job["method"], job["n"], job["n_a"], job["n_b"], job["sigma"])
    small = calls(job["method"], 10, 2, 2, False)
    run = {"ours": ours, "theirs": theirs}[job["side"]]
    small[job["side"] == "theirs"]()
    with PeakMemory() as memory:
        run()
    print(json.dumps({"memory": memory.own}))
    return None


# 73,000 stimuli


def large(args: Any) -> str:
    """Compare two large feature matrices by several methods, each in a fresh process."""
    n, p = (5000, 96) if args.quick else (args.stimuli, args.features)
    lines = [
        "| method | distances | score | exact | seconds | estimated, GB | peak above the inputs, GB | peak RSS, GB |",
        "|--|--|--:|--|--:|--:|--:|--:|",
    ]
    for method, metric in LARGE:
        job = {"large": True, "n": n, "p": p, "method": method, "metric": metric, "threads": args.threads[0]}
        r = child(__file__, job, args.threads[0])
        exact = "yes" if r["exact"] else f"within {r['bound']:.1e}"
        sizes = " | ".join(f"{r[k] / 1e9:.2f}" for k in ("estimate", "memory", "rss"))
        lines.append(f"| {method} | {metric} | {r['score']:.6f} | {exact} | {r['seconds']:.1f} | {sizes} |")
        print(lines[-1], file=sys.stderr, flush=True)
    threads = f"{args.threads[0]} thread{'s' if args.threads[0] > 1 else ''}"
    head = f"## Two feature matrices of {n:,} x {p} compared\n\n{machine()} {threads}, float32 features.\n"
    return head + "\n" + "\n".join(lines) + "\n"


def measure_large(job: dict[str, Any]) -> None:
    """Make the features, compare them once, print time and peak."""
    import resource

    from neuro.rsa.large import compare_features, memory_needed

    n, p = job["n"], job["p"]
    g = np.random.default_rng(0)
    x = g.standard_normal((n, p), np.float32)
    mix = g.standard_normal((p, p), np.float32) / np.float32(np.sqrt(p))
    y = np.empty_like(x)
    for s in range(0, n, 4096):
        y[s : s + 4096] = x[s : s + 4096] @ mix + g.standard_normal((len(x[s : s + 4096]), p), np.float32)
    compare_features(x[:64], y[:64], job["method"], job["metric"])
    estimate = memory_needed(n, p, p, job["method"], job["metric"])
    print(f"{job['method']} of {job['metric']}: estimated {estimate / 1e9:.2f} GB", file=sys.stderr, flush=True)
    with limit_threads(job["threads"]), PeakMemory() as memory:
        start = time.perf_counter()
        result = compare_features(x, y, job["method"], job["metric"])
        seconds = time.perf_counter() - start
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report = {"score": result.score, "exact": result.exact, "bound": result.bound, "seconds": seconds}
    print(json.dumps(report | {"estimate": estimate, "memory": memory.own, "rss": rss}))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
