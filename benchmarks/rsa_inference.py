"""Time of bootstraps of RSA evaluations with noise ceilings, against rsatoolbox: 8 subjects, 10 models, 92 stimuli.

python benchmarks/rsa_inference.py [--quick] [--write-results]

Both sides draw the same numbers of resamples. The toolbox is timed on fewer (``--theirs``, at least two) and its time,
which is proportional to them, is scaled up. Before timing, one resample drawn by the toolbox is checked to score the
same here.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import statistics
import sys
import time
import warnings
from typing import Any
from unittest import mock

import numpy as np
from _timing import arguments, limit_threads, machine, table, write_section

TARGETS = {
    ("subject", "cosine"): 500,
    ("subject", "corr"): 500,
    ("subject", "cosine_cov"): 500,
    ("subject", "spearman"): 5,
    ("subject", "rho-a"): 5,
    ("subject", "tau-a"): 5,
    ("stimulus", "cosine"): 50,
    ("stimulus", "corr"): 50,
    ("stimulus", "cosine_cov"): 50,
    ("stimulus", "rho-a"): 5,
}


def simulated(n_subjects: int, n_models: int, n_stimuli: int) -> tuple[np.ndarray, np.ndarray]:
    """Models and data that share a geometry, condensed."""
    rng = np.random.default_rng(0)
    n_pairs = n_stimuli * (n_stimuli - 1) // 2
    truth = rng.random(n_pairs)
    return truth + rng.random((n_models, n_pairs)), truth + 0.5 * rng.random((n_subjects, n_pairs))


def toolbox_run(models: np.ndarray, data: np.ndarray, method: str, resample: str, n: int) -> Any:
    """One bootstrap of n resamples by rsatoolbox."""
    import rsatoolbox

    inference = rsatoolbox.inference
    run = inference.eval_bootstrap_rdm if resample == "subject" else inference.eval_bootstrap_pattern
    fixed = [rsatoolbox.model.ModelFixed(str(k), m) for k, m in enumerate(models)]
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        return run(fixed, rsatoolbox.rdm.RDMs(data), method=method, N=n)


def difference(models: np.ndarray, data: np.ndarray, method: str, resample: str) -> float:
    """Largest difference of scores and ceilings for one resample that rsatoolbox draws."""
    import rsatoolbox
    from rsatoolbox.inference import boot_noise_ceiling, bootstrap_sample_pattern, bootstrap_sample_rdm

    stack = rsatoolbox.rdm.RDMs(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fixed = [rsatoolbox.rdm.RDMs(m[None]) for m in models]
        if resample == "subject":
            sample, drawn = bootstrap_sample_rdm(stack)
            counts = np.bincount(drawn, minlength=len(data))
        else:
            sample, drawn = bootstrap_sample_pattern(stack)
            counts = np.bincount(drawn, minlength=stack.n_cond)
            fixed = [m.subsample_pattern("index", drawn) for m in fixed]
        scores = [rsatoolbox.rdm.compare(m, sample, method).mean() for m in fixed]
        expected = np.array([*scores, *boot_noise_ceiling(sample, method, rdm_descriptor="index")])
    module = importlib.import_module("neuro.rsa.evaluate")
    with mock.patch.object(module, "draw_counts", lambda n, *_: np.tile(counts.astype(float), (n, 1))):
        result = module.evaluate(models, data, method, resample=resample, n_boot=2)
    found = float(np.abs(result.samples[resample][0, 0] - expected).max())
    if not found < 1e-6:
        raise SystemExit(f"{resample}, {method}: scores of the same resample differ by {found:.1e}.")
    return found


def seconds(run: Any, repeats: int) -> float:
    """Median time of a callable."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measured(resample: str, method: str, models: np.ndarray, data: np.ndarray, n_boot: int, theirs: int, repeats: int):
    """One row of the table."""
    from neuro.rsa.evaluate import evaluate

    def ours() -> Any:
        return evaluate(models, data, method, resample=resample, n_boot=n_boot, rng=0)

    row: dict[str, Any] = {"name": f"{resample}, {method}, B = {n_boot:,}", "theirs": None, "ratio": None}
    ours()
    row["ours"] = seconds(ours, repeats)
    try:
        row["apart"] = difference(models, data, method, resample)
    except ImportError:
        return row
    row["theirs"] = seconds(lambda: toolbox_run(models, data, method, resample, theirs), 1) * n_boot / theirs
    row["ratio"] = row["theirs"] / row["ours"]
    target = TARGETS.get((resample, method))
    row["target"] = "" if target is None else f"{target}x {'reached' if row['ratio'] >= target else 'MISSED'}"
    print(f"  {row['name']}: {row['ours']:.4g} s, ratio {row['ratio']:.0f}", file=sys.stderr)
    return row


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--theirs", type=int, default=6, help="resamples to time rsatoolbox with")
    parser.add_argument("--only", nargs="+", help="measures")
    args = parser.parse_args()
    sizes = (4, 3, 20) if args.quick else (8, 10, 92)
    n_boot = 50 if args.quick else 1000
    models, data = simulated(*sizes)
    rows = []
    with limit_threads(args.threads[0]):
        for resample, method in TARGETS:
            if args.only and method not in args.only:
                continue
            repeats = 1 if method in ("spearman", "rho-a", "tau-a") or args.quick else args.repeats
            rows.append(measured(resample, method, models, data, n_boot, args.theirs, repeats))
    text = table(rows, {} if args.quick else {"target": "target"})
    head = f"{machine()} {sizes[0]} subjects, {sizes[1]} models, {sizes[2]} stimuli, with ceilings; one thread."
    print(text)
    if args.write_results:
        write_section("rsa_inference", f"## RSA inference\n\n{head}\n\n{text}", args.write_results)


if __name__ == "__main__":
    main()
