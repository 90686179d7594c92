"""Ridge from voxels to all numbers of all CLIP tokens: ours at once, scikit-learn token by token.

What is timed is what a decoding study does: fit on the training images, decode the test images. Ours decomposes the
responses once and streams targets from a memory map and predictions to one; the peer is the loop of published code,
``sklearn.linear_model.Ridge(alpha).fit(X, tokens[:, i])`` for every token ``i``, which decomposes the responses anew
for each. Both run in this process, in turn, on the same float32 data. The loop is timed on some of the tokens, which
all cost the same, and multiplied: the table says on how many. Decoded values are compared on those tokens. Memory is
that of a fresh process which only fits and decodes, above what it held with its data.

    python benchmarks/decoder_ridge.py                        # a sixth of every size but the tokens: a minute or two
    python benchmarks/decoder_ridge.py --full                 # 8,859 x 15,724 -> 257 x 768; 9 GB of disk
    python benchmarks/decoder_ridge.py --full --peer-tokens 1 # the same, with one token of the peer
    python benchmarks/decoder_ridge.py --quick

Needs psutil: pip install 'neuro[bench]'.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from _timing import PeakMemory, arguments, child, limit_threads, machine, write_section

ALPHA = 6e4
FULL = {"images": 8859, "voxels": 15724, "tokens": 257, "dim": 768, "test": 982}
SMALL = {"images": 1500, "voxels": 2620, "tokens": 257, "dim": 128, "test": 164}
QUICK = {"images": 200, "voxels": 300, "tokens": 9, "dim": 32, "test": 20}


def main() -> None:
    """Run the benchmark, or (``--child``) the memory measurement."""
    parser = arguments(__doc__)
    parser.add_argument("--full", action="store_true", help="the size of one subject of the Natural Scenes Dataset")
    for name in SMALL:
        parser.add_argument(f"--{name}", type=int, help=f"number of {name}")
    parser.add_argument("--peer-tokens", type=int, help="tokens of the loop that are timed (2 in full, else 6)")
    parser.add_argument("--in-memory", action="store_true", help="targets as an array: coefficients are worked out")
    parser.add_argument("--folder", help="where the data go while it runs; by default a temporary folder")
    args = parser.parse_args()
    if args.child:
        _measure_memory(json.loads(args.child))
        return
    size = FULL if args.full else QUICK if args.quick else SMALL
    size = {name: getattr(args, name) or default for name, default in size.items()}
    n_timed = min(args.peer_tokens or (2 if args.full else 6), size["tokens"])
    print(machine(), flush=True)
    rows = []
    with tempfile.TemporaryDirectory(prefix="decoder_ridge_", dir=args.folder) as folder:
        make_data(Path(folder), **size)
        for threads in args.threads:
            with limit_threads(threads):
                rows.append(measure(Path(folder), size, n_timed, args.in_memory, args.full))
            job = {"folder": folder, "in_memory": args.in_memory}
            rows[-1] |= {"threads": threads, "memory": child(__file__, job, threads)["memory"]}
            print(json.dumps(rows[-1]), flush=True)
    text = table(size, rows)
    print("\n" + text)
    if args.write_results:
        write_section("decoder_ridge", f"## Ridge decoders\n\n{machine()}\n\n{text}", args.write_results)


def make_data(folder: Path, images: int, voxels: int, tokens: int, dim: int, test: int) -> None:
    """Write responses (a decaying spectrum and noise) and targets, float32."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((images + test, 64), dtype=np.float32) / np.sqrt(np.arange(1, 65, dtype=np.float32))
    X = latent @ rng.standard_normal((64, voxels), dtype=np.float32)
    X += rng.standard_normal(X.shape, dtype=np.float32)
    np.save(folder / "X.npy", X[:images])
    np.save(folder / "X_test.npy", X[images:])
    Y = np.lib.format.open_memmap(folder / "Y.npy", mode="w+", dtype=np.float32, shape=(images, tokens, dim))
    to_token = rng.standard_normal((tokens, 64, dim), dtype=np.float32)
    for start in range(0, images, 256):
        block = slice(start, min(start + 256, images))
        Y[block] = np.einsum("nk,tkd->ntd", latent[block], to_token, optimize=True)
        Y[block] += rng.standard_normal(Y[block].shape, dtype=np.float32)
    Y.flush()


def decode_all(folder: Path, in_memory: bool) -> tuple[float, float]:
    """Fit ours and decode into a file; returns the seconds of each."""
    from neuro.decoders.linear import RidgeDecoder

    X, X_test = np.load(folder / "X.npy"), np.load(folder / "X_test.npy")
    Y = np.load(folder / "Y.npy", mmap_mode=None if in_memory else "r")
    start = time.perf_counter()
    decoder = RidgeDecoder(alpha=ALPHA).fit(X, {"image_tokens": Y})
    fitted = time.perf_counter()
    decoder.predict(X_test, folder=folder / "decoded")
    return fitted - start, time.perf_counter() - fitted


def one_token(X: np.ndarray, Y: np.ndarray, X_test: np.ndarray, token: int) -> np.ndarray:
    """Fit and decode one token as published code does."""
    from sklearn.linear_model import Ridge

    return Ridge(alpha=ALPHA).fit(X, np.array(Y[:, token])).predict(X_test)


def measure(folder: Path, size: dict, n_timed: int, in_memory: bool, full: bool) -> dict:
    """Time both; ours three times (in full once), the loop on ``n_timed`` tokens after a warm-up outside the clock."""
    ours = [decode_all(folder, in_memory) for _ in range(1 if full else 3)]
    decoded = np.load(folder / "decoded" / "image_tokens.npy", mmap_mode="r")
    X, X_test = np.load(folder / "X.npy"), np.load(folder / "X_test.npy")
    Y = np.load(folder / "Y.npy", mmap_mode="r")
    if not full:
        one_token(X, Y, X_test, 0)
    seconds, apart = [], 0.0
    for token in np.linspace(0, size["tokens"] - 1, n_timed).astype(int):
        start = time.perf_counter()
        found = one_token(X, Y, X_test, int(token))
        seconds.append(time.perf_counter() - start)
        apart = max(apart, float(np.abs(found - decoded[:, token]).max() / np.abs(found).max()))
    wall = statistics.median([sum(pair) for pair in ours])
    loop = statistics.median(seconds) * size["tokens"]
    return {
        "fit": statistics.median([fit for fit, _ in ours]),
        "decode": statistics.median([decode for _, decode in ours]),
        "wall": wall,
        "token": statistics.median(seconds),
        "timed": n_timed,
        "loop": loop,
        "ratio": loop / wall,
        "apart": apart,
    }


def _measure_memory(job: dict) -> None:
    folder = Path(job["folder"])
    import sklearn.linear_model  # noqa: F401
    import torch  # noqa: F401

    import neuro.decoders.linear  # noqa: F401

    with PeakMemory() as memory:
        decode_all(folder, job["in_memory"])
    print(json.dumps({"memory": memory.own}))


def table(size: dict, rows: list[dict]) -> str:
    """Return the Markdown table of one problem size."""
    weights = 4e-9 * size["voxels"] * size["tokens"] * size["dim"]
    lines = [
        f"### {size['images']:,} images x {size['voxels']:,} voxels -> {size['tokens']} x {size['dim']} tokens, "
        f"{size['test']:,} decoded",
        "",
        f"Weights of all tokens, which the loop keeps or writes, are {weights:.2f} GB; ours include responses, memory "
        "that maps targets and predictions counted where the system had it resident.",
        "",
        "| threads | neuro: fit, s | decode, s | both, s | scikit-learn, s per token (tokens timed) "
        "| loop over all tokens, s (extrapolated) | time ratio | apart | neuro's memory, GB |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in rows:
        seconds = f"{r['fit']:.2f} | {r['decode']:.2f} | **{r['wall']:.2f}** | {r['token']:.3f} ({r['timed']})"
        ratio = f"{r['loop']:.1f} | **{r['ratio']:.1f}** | {r['apart']:.0e} | {r['memory'] / 1e9:.2f}"
        lines.append(f"| {r['threads']} | {seconds} | {ratio} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
