"""What the RSA benchmarks share: times of two callables side by side, peak memory in a fresh process, tables.

from _timing import arguments, child, ratio, table, write_section

row = ratio("cosine", lambda: compare(a, b), lambda: rsatoolbox.rdm.compare(c, d), repeats=5)
row["ratio"]                      # seconds of theirs / seconds of ours
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).with_name("RESULTS.md")


def ratio(
    name: str,
    ours: Callable[[], Any],
    theirs: Callable[[], Any] | None,
    repeats: int = 5,
    *,
    warm: bool = True,
    atol: float | None = None,
    enough: float = 30.0,
) -> dict[str, Any]:
    """Time two callables in turn in this process; medians, their ratio and how far their results lie apart.

    Parameters
    ----------
    name : str
        First column of the table.
    ours, theirs : callables without arguments
        Each returns its result as an array, or None where the results are not to be compared; ``theirs`` may be None.
    repeats : int
        Runs of each, taken in turn (ours, theirs, ours, ...); fewer once ``enough`` seconds are spent, never below 1.
    warm : bool
        Whether one run of each precedes, untimed.
    atol : float, optional
        Stop with an error if the results differ by more than this, relative to the largest entry of theirs.
    enough : float
        Seconds.

    Returns
    -------
    dict with "name", "ours", "theirs" (medians, seconds), "ratio" (theirs / ours), "apart" (largest difference over
    the largest entry, or None), "runs"
    """
    results, times = {}, {"ours": [], "theirs": []}
    sides = {"ours": ours} if theirs is None else {"ours": ours, "theirs": theirs}
    spent = time.perf_counter()
    if warm:
        results = {side: run() for side, run in sides.items()}
    for _ in range(repeats):
        for side, run in sides.items():
            start = time.perf_counter()
            results[side] = run()
            times[side].append(time.perf_counter() - start)
        if time.perf_counter() - spent > enough:
            break
    row: dict[str, Any] = {"name": name, "runs": len(times["ours"]), "theirs": None, "ratio": None, "apart": None}
    row |= {side: statistics.median(seconds) for side, seconds in times.items() if seconds}
    if theirs is not None:
        row["ratio"] = row["theirs"] / row["ours"]
        row["apart"] = apart(results["ours"], results["theirs"])
        if atol is not None and row["apart"] is not None and not row["apart"] <= atol:
            raise SystemExit(f"{name}: the results differ by {row['apart']:.2e} of the largest entry (limit {atol:g}).")
    ratio_text = "" if row["ratio"] is None else f", ratio {row['ratio']:.1f}"
    print(f"  {name}: {row['ours']:.4g} s{ratio_text}", file=sys.stderr, flush=True)
    return row


def apart(ours: Any, theirs: Any) -> float | None:
    """Largest difference over the largest entry of ``theirs``; None without both, NaN where only one has NaN."""
    if ours is None or theirs is None:
        return None
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    if a.shape != b.shape:
        raise SystemExit(f"results of different shapes: {a.shape} and {b.shape}.")
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("nan")
    scale = np.nanmax(np.abs(b), initial=0.0)
    return float(np.nanmax(np.abs(a - b), initial=0.0) / (scale or 1.0))


def child(script: str | Path, job: dict[str, Any], threads: int = 1) -> dict[str, Any]:
    """Run ``python script --child '{job}'`` in a fresh process with that many threads; its last line is JSON.

    There, put the work into ``with PeakMemory() as memory`` and print ``{"memory": memory.own}`` (bytes).
    """
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    done = subprocess.run(
        [sys.executable, str(script), "--child", json.dumps(job)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **limits},
    )
    if done.returncode:
        raise SystemExit(f"measurement failed: {job}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


class PeakMemory:
    """Resident memory while in the ``with`` block: its ``peak``, and by how much that exceeds the start (``own``).

    Linux keeps the peak and lets it be reset (``ru_maxrss`` would not do: it is inherited from the parent process);
    elsewhere a thread looks every 5 ms.
    """

    def __enter__(self) -> PeakMemory:
        import psutil

        self._process, self.peak = psutil.Process(), 0
        self._exact = sys.platform == "linux" and os.access("/proc/self/clear_refs", os.W_OK)
        if self._exact:
            Path("/proc/self/clear_refs").write_text("5")
        else:
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        self._start = self._process.memory_info().rss
        return self

    def __exit__(self, *_) -> None:
        if self._exact:
            lines = Path("/proc/self/status").read_text().splitlines()
            self.peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
        else:
            self._stop.set()
            self._thread.join()
        self.own = self.peak - self._start

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, self._process.memory_info().rss)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with what all scripts take: --quick, --threads, --repeats, --write-results, --child."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="numbers of threads to time with")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write-results", type=Path, nargs="?", const=RESULTS, help="put the table into RESULTS.md")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def limit_threads(n: int) -> Any:
    """Return a context in which BLAS, and torch where loaded, use ``n`` threads."""
    from threadpoolctl import threadpool_limits

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n)
    return threadpool_limits(n)


def processor() -> str:
    """Processor, cores and how busy they are."""
    model = platform.processor() or "CPU"
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    load = f", load average {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return f"{model}, {os.cpu_count()} cores{load}"


def machine() -> str:
    """One line on what this runs on."""
    import neuro

    try:
        from importlib.metadata import version

        toolbox = f", rsatoolbox {version('rsatoolbox')}"
    except ImportError:
        toolbox = ""
    return (
        f"{processor()}. Python {platform.python_version()}, numpy {np.__version__}"
        f"{toolbox}, neuro {neuro.__version__}."
    )


def table(rows: list[dict[str, Any]], columns: dict[str, str] | None = None) -> str:
    """Return a Markdown table of rows of :func:`ratio`; ``columns`` maps more keys to headings (numbers or text)."""
    heads = {"name": "", "ours": "neuro, s", "theirs": "rsatoolbox, s", "ratio": "time ratio", "apart": "apart"}
    heads |= columns or {}
    lines = ["| " + " | ".join(heads.values()) + " |", "|--|" + "--:|" * (len(heads) - 1)]
    lines += ["| " + " | ".join(_cell(key, row.get(key)) for key in heads) + " |" for row in rows]
    return "\n".join(lines)


def _cell(key: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if key == "apart":
        return f"{value:.0e}"
    if key == "ratio":
        return f"**{value:.3g}**" if value < 1000 else f"**{value:,.0f}**"
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}"


def write_section(name: str, text: str, path: Path = RESULTS) -> None:
    """Replace the section between ``<!-- name: start -->`` and ``<!-- name: end -->`` of a Markdown file, or add it."""
    start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
    old = path.read_text() if path.exists() else "# Benchmarks\n"
    section = f"{start}\n{text}\n{end}\n"
    if start in old:
        head, rest = old.split(start, 1)
        new = head + section + rest.split(end + "\n", 1)[-1]
    else:
        new = old.rstrip("\n") + "\n\n" + section
    temporary = path.with_suffix(".tmp")
    temporary.write_text(new)
    os.replace(temporary, path)
