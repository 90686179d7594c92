"""What encoders cost that are no plain ridge: in-context, attention-routed, and receptive-field encoders.

Every measurement is made in a fresh process that has loaded its data and made one small run of the same kind before;
memory is the process's peak during the measurement above what it held before. Weights are random: they do not change
the cost.

In context: voxels per second that a new subject's context of 100 images is read at (``InContextEncoder.fit``).
Attention: tokens of the Natural Scenes Dataset's size (31 x 31 x 768, 39,548 vertices, 50 queries, batches of 16) are
streamed from a float16 memory map of a few batches. One epoch is the fit of two epochs minus that of one: training and
validation; the time for 9,000 images is that of these few, projected. Receptive fields: the fit of all candidate
fields, for two numbers of voxels.

    python benchmarks/encoders.py                      # about five minutes on two cores
    python benchmarks/encoders.py --quick              # small sizes, to see that everything runs
    python benchmarks/encoders.py --only attention --write-results

With a GPU, the first two are measured there as well. Needs psutil: pip install 'neuro[bench]'.
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from _timing import PeakMemory, arguments, child, limit_threads, machine, write_section

PARTS = ("in-context", "attention", "fields")
N_NSD = 9000  # images that one subject of the Natural Scenes Dataset saw


def main() -> None:
    """Run the benchmark, or (``--child``) one measurement."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    args = parser.parse_args()
    if args.child:
        job = json.loads(args.child)
        print(json.dumps(MEASURES[job.pop("part")](job)))
        return
    import torch

    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    about = machine()
    if "cuda" in devices:
        about += f" {torch.cuda.get_device_name()}."
    blocks = [about + " float32 unless said otherwise."]
    for threads in args.threads:
        for part in args.only:
            rows = TABLES[part](args.quick, devices, threads)
            blocks.append(f"### {HEADINGS[part]}, {threads} thread(s)\n\n" + as_table(rows))
            print(blocks[-1], flush=True)
    if args.write_results:
        write_section("encoders", "## Encoders\n\n" + "\n\n".join(blocks), args.write_results)


def as_table(rows: list[dict[str, str]]) -> str:
    """Return rows with the same keys as a Markdown table."""
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "|--|" + "--:|" * (len(heads) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row[head] for head in heads) + " |" for row in rows])


def megabytes(found: dict[str, float]) -> str:
    """Peak memory of a measurement; on a GPU that of the GPU."""
    return f"{found['memory'] / 1e6:,.0f}"


# In context


def in_context_rows(quick: bool, devices: list[str], threads: int) -> list[dict[str, str]]:
    """Return one row per network and device."""
    sizes = {"phantom": {"cpu": 5000, "cuda": 50_000}, "clip": {"cpu": 12, "cuda": 2000}}
    if quick:
        sizes = {"phantom": {"cpu": 50, "cuda": 500}}
    rows = []
    for preset, voxels in sizes.items():
        for device in devices:
            for precision in ("float32",) if device == "cpu" else ("float32", "bfloat16"):
                job = {"part": "in-context", "preset": preset, "device": device, "precision": precision}
                job |= {"voxels": voxels[device], "context": 100}
                found = child(__file__, job, threads)
                rows.append(
                    {
                        "network": f"InContextConfig.{preset}(), {found['parameters'] / 1e6:.1f} M parameters",
                        "device": device if precision == "float32" else f"{device}, {precision}",
                        "voxels": f"{voxels[device]:,}",
                        "seconds": f"{found['seconds']:.3g}",
                        "voxels per second": f"{voxels[device] / found['seconds']:.3g}",
                        "memory, MB": megabytes(found),
                    }
                )
    return rows


def in_context(job: dict[str, Any]) -> dict[str, float]:
    """Read one context for all voxels."""
    import torch

    from neuro.encoders import InContextConfig, InContextEncoder
    from neuro.encoders.in_context import InContextNetwork

    limit = limit_threads(torch.get_num_threads())
    network = InContextNetwork(getattr(InContextConfig, job["preset"])()).to(job["device"])
    rng = np.random.default_rng(0)
    X = rng.standard_normal((job["context"], network.config.n_features)).astype(np.float32)
    Y = rng.standard_normal((job["context"], job["voxels"])).astype(np.float32)
    encoder = InContextEncoder(network, normalize=True, device=job["device"], precision=job["precision"])
    with limit:
        encoder.fit(X, Y[:, :2])
        return measured(lambda: encoder.fit(X, Y), job["device"]) | {
            "parameters": float(sum(p.numel() for p in network.parameters()))
        }


def measured(run: Any, device: str) -> dict[str, float]:
    """Return seconds and bytes of one call."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    with PeakMemory() as memory:
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "memory": torch.cuda.max_memory_allocated() if device == "cuda" else memory.own}


# Attention


def attention_rows(quick: bool, devices: list[str], threads: int) -> list[dict[str, str]]:
    """Return one row per device."""
    size = {"side": 31, "channels": 768, "voxels": 39_548, "queries": 50, "images": {"cpu": 72, "cuda": 720}}
    if quick:
        size = {"side": 7, "channels": 64, "voxels": 500, "queries": 5, "images": {"cpu": 40, "cuda": 40}}
    rows = []
    for device in devices:
        job = {"part": "attention", "device": device, **size, "images": size["images"][device]}
        found = child(__file__, job, threads)
        rows.append(
            {
                "tokens": f"{size['side']} x {size['side']} x {size['channels']}",
                "vertices": f"{size['voxels']:,}",
                "device": device,
                "images measured": f"{job['images']:,}",
                "images per second, one epoch": f"{job['images'] / found['epoch']:.3g}",
                f"epoch of {N_NSD:,} images, minutes (projected)": f"{found['epoch'] * N_NSD / job['images'] / 60:.3g}",
                "images per second, prediction": f"{job['images'] / found['predict']:.3g}",
                "memory, MB": megabytes(found),
            }
        )
    return rows


def attention(job: dict[str, Any]) -> dict[str, float]:
    """Fit one network for one and for two epochs on tokens in a memory map, and predict."""
    import torch

    from neuro.encoders import AttentionEncoder

    limit = limit_threads(torch.get_num_threads())
    n, v, device = job["images"], job["voxels"], job["device"]
    rng = np.random.default_rng(0)
    names = np.arange(v) % job["queries"]
    queries = {f"area {q}": np.flatnonzero(names == q) for q in range(job["queries"])}
    with tempfile.TemporaryDirectory() as folder, limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "tokens.npy"
        shape = (n, job["side"] ** 2, job["channels"])
        tokens = np.lib.format.open_memmap(path, "w+", np.float16, shape)
        for i in range(n):
            tokens[i] = rng.standard_normal(shape[1:], np.float32)
        tokens.flush()
        X = np.load(path, mmap_mode="r")
        Y = rng.standard_normal((n, v), np.float32)

        def fit(epochs: int) -> Any:
            return AttentionEncoder(queries, epochs=epochs, device=device).fit(X, Y)

        few = {name: voxels[:1] for name, voxels in queries.items()}
        some = np.concatenate(list(few.values()))
        small = {name: [i] for i, name in enumerate(few)}
        AttentionEncoder(small, epochs=1, device=device).fit(X[:30], Y[:30, some])
        one = measured(lambda: fit(1), device)
        encoder: list[Any] = []
        two = measured(lambda: encoder.append(fit(2)), device)
        predict = measured(lambda: encoder[0].predict(X), device)
    return {
        "epoch": two["seconds"] - one["seconds"],
        "predict": predict["seconds"],
        "memory": max(one["memory"], two["memory"]),
    }


# Receptive fields


def field_rows(quick: bool, devices: list[str], threads: int) -> list[dict[str, str]]:
    """Return one row per number of voxels; fields are searched on the CPU."""
    size = {"n": 1000, "maps": 128, "side": 14, "sizes": 3}
    if quick:
        size = {"n": 100, "maps": 8, "side": 7, "sizes": 1}
    rows = []
    for voxels in (100, 300) if quick else (1000, 5000):
        found = child(__file__, {"part": "fields", "voxels": voxels, **size}, threads)
        rows.append(
            {
                "stimuli and maps": f"{size['n']:,} x {size['maps']} maps of {size['side']} x {size['side']}",
                "fields": f"{found['fields']:.0f}",
                "voxels": f"{voxels:,}",
                "seconds": f"{found['seconds']:.3g}",
                "seconds per 1,000 voxels": f"{found['seconds'] / voxels * 1000:.3g}",
                "milliseconds per field": f"{found['seconds'] / found['fields'] * 1000:.3g}",
                "memory, MB": megabytes(found),
            }
        )
    return rows


def fields(job: dict[str, Any]) -> dict[str, float]:
    """Search all fields for all voxels."""
    import torch

    from neuro.encoders import ReceptiveFieldRidgeCV, receptive_field_grid

    limit = limit_threads(torch.get_num_threads())
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((job["n"], job["maps"], job["side"], job["side"])).astype(np.float32)
    Y = rng.standard_normal((job["n"], job["voxels"])).astype(np.float32)
    grid = receptive_field_grid(2.0, n_sizes=job["sizes"], smallest=0.1)
    with limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ReceptiveFieldRidgeCV(grid[:2]).fit(maps[:50], Y[:50, :5])
        found = measured(lambda: ReceptiveFieldRidgeCV(grid).fit(maps, Y), "cpu")
    return found | {"fields": float(len(grid))}


MEASURES = {"in-context": in_context, "attention": attention, "fields": fields}
TABLES = {"in-context": in_context_rows, "attention": attention_rows, "fields": field_rows}
HEADINGS = {
    "in-context": "In-context encoder, context of 100 images",
    "attention": "Attention encoder, tokens streamed from a memory map",
    "fields": "Receptive-field encoder",
}

if __name__ == "__main__":
    main()
