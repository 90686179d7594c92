"""Metrics of decoded images and embeddings, beside the loops that published evaluations run.

python benchmarks/decoder_metrics.py                     # 982 test images
python benchmarks/decoder_metrics.py --quick             # small sizes, to see that everything runs
python benchmarks/decoder_metrics.py --write-results     # put the table into RESULTS.md

Both sides run in turn in one process, and every row checks first that the results agree:

two-way identification   one ``numpy.corrcoef`` of all pairs of features, then a loop over items that counts
retrieval                normalise, multiply and sort each of 30 random pools of 300, in both directions
pixel correlation        one ``numpy.corrcoef`` per image
SSIM                     scikit-image called per image: what we add is checks, the chance level and the interval
n-way identification     1000 random draws of 50 classes per item, sorted
gallery search           faiss's exact index, built beforehand (left out where faiss is not installed)
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from _timing import arguments, limit_threads, processor, ratio, table, write_section


def main() -> None:
    """Run the benchmark."""
    args = arguments(__doc__).parse_args()
    n, d, pixels, gallery = (120, 2_000, 64, 3_000) if args.quick else (982, 46_656, 425, 73_000)
    rng = np.random.default_rng(0)
    rows = []
    for threads in args.threads:
        with limit_threads(threads):
            rows += [
                identification(n, d, rng, args.repeats),
                retrieval_row(n, d // 4, rng, args.repeats),
                pixel_correlation(n // 4, pixels, rng, args.repeats),
                *structural_similarity(n // 20, pixels, rng, args.repeats),
                n_way_row(n, 1000, rng, args.repeats),
                *gallery_rows(gallery, 768, rng, args.repeats),
            ]
    heads = {"theirs": "loop, s", "items": "items / s"}
    text = f"## Decoder metrics\n\n{processor()}. numpy {np.__version__}.\n\n{table(rows, heads)}\n"
    print(text)
    if args.write_results:
        write_section("decoder-metrics", text, args.write_results)


def throughput(row: dict[str, Any], n: int) -> dict[str, Any]:
    """Add items per second of ours."""
    return row | {"items": f"{n / row['ours']:,.0f}"}


def identification(n: int, d: int, rng: np.random.Generator, repeats: int) -> dict[str, Any]:
    """Two-way identification of n items by d features."""
    from neuro.decoders.metrics.identify import two_way_identification

    true = rng.standard_normal((n, d), dtype=np.float32)
    recon = true + 10 * rng.standard_normal((n, d), dtype=np.float32)

    def loop():
        r = np.corrcoef(true, recon)[:n, n:]
        score = np.zeros(n)
        for j in range(n):
            score[j] = sum(r[i, j] < r[j, j] for i in range(n) if i != j) / (n - 1)
        return score

    row = ratio(
        f"two-way identification, n = {n}, {d:,} features",
        lambda: two_way_identification(recon, true).per_item,
        loop,
        repeats,
        atol=1.5 / n,
    )
    return throughput(row, n)


def retrieval_row(n: int, d: int, rng: np.random.Generator, repeats: int) -> dict[str, Any]:
    """Both directions of retrieval from 30 pools."""
    from neuro.decoders.metrics.gallery import retrieval

    image = rng.standard_normal((n, d), dtype=np.float32)
    brain = image + 30 * rng.standard_normal((n, d), dtype=np.float32)
    pool = min(300, n // 2)

    def loop():
        found = []
        draw = np.random.default_rng(0)
        for _ in range(30):
            members = draw.choice(n, pool, replace=False)
            a, b = (x[members] / np.linalg.norm(x[members], axis=1, keepdims=True) for x in (brain, image))
            s = a @ b.T
            found.append([(np.argsort(-m, axis=1)[:, 0] == np.arange(pool)).mean() for m in (s, s.T)])
        return np.mean(found, axis=0)

    def ours():
        r = retrieval(brain, image, pool, 30, rng=0)
        return np.array([r.brain_to_image.value, r.image_to_brain.value])

    return throughput(ratio(f"retrieval, 30 pools of {pool} of {n}, {d:,} features", ours, loop, repeats, atol=0.01), n)


def pixel_correlation(n: int, size: int, rng: np.random.Generator, repeats: int) -> dict[str, Any]:
    """PixCorr of n images."""
    from neuro.decoders.metrics.pixels import pixcorr

    recon, true = rng.random((2, n, 3, size, size), dtype=np.float32)

    def loop():
        return np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(recon, true, strict=True)])

    name = f"pixel correlation, n = {n}, {size} x {size}"
    return throughput(ratio(name, lambda: pixcorr(recon, true).per_item, loop, repeats, atol=1e-3), n)


def structural_similarity(n: int, size: int, rng: np.random.Generator, repeats: int) -> list[dict[str, Any]]:
    """SSIM of n images, both variants."""
    from skimage.color import rgb2gray
    from skimage.metrics import structural_similarity

    from neuro.decoders.metrics.pixels import ssim

    n = max(n, 8)
    recon, true = rng.random((2, n, 3, size, size), dtype=np.float32)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}

    def loop(axis):
        gray = [rgb2gray(x.astype(float).transpose(0, 2, 3, 1)) for x in (recon, true)]
        return np.array(
            [structural_similarity(a, b, channel_axis=axis, **settings) for a, b in zip(*gray, strict=True)]
        )

    rows = []
    for protocol, axis in (("ssim2d", None), ("ssim_columnwise", 1)):
        row = ratio(
            f"{protocol}, n = {n}, {size} x {size}, without chance",
            lambda protocol=protocol: ssim(recon, true, protocol, n_chance=0).per_item,
            lambda axis=axis: loop(axis),
            repeats,
            atol=1e-6,
        )
        rows.append(throughput(row, n))
    return rows


def n_way_row(n: int, n_classes: int, rng: np.random.Generator, repeats: int) -> dict[str, Any]:
    """50-way top-1; the loop draws 1000 times, ours is exact."""
    from neuro.decoders.metrics.identify import n_way

    logits = rng.standard_normal((n, n_classes))
    classes = rng.integers(0, n_classes, n)
    logits[np.arange(n), classes] += 2

    def loop():
        draw = np.random.default_rng(0)
        score = np.zeros(n)
        for i, c in enumerate(classes):
            others = np.delete(np.arange(n_classes), c)
            for _ in range(1000):
                drawn = logits[i, draw.choice(others, 49, replace=False, shuffle=False)]
                score[i] += (drawn > logits[i, c]).sum() < 1
        return score / 1000

    few = min(n, 50)
    classes, logits = classes[:few], logits[:few]
    n = few
    name = f"50-way top-1 of {n_classes} classes, n = {few}, exact against 1000 draws"
    return throughput(
        ratio(name, lambda: n_way(logits, classes, 50, 1, trials=None).per_item, loop, min(repeats, 2), atol=0.1), few
    )


def gallery_rows(n: int, d: int, rng: np.random.Generator, repeats: int) -> list[dict[str, Any]]:
    """Ten nearest of n for 100 queries."""
    from neuro.decoders.metrics.gallery import Gallery

    x = rng.standard_normal((n, d), dtype=np.float32)
    query = x[:100] + rng.standard_normal((100, d), dtype=np.float32)
    plain = Gallery(x)
    index = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import faiss
    except ImportError:
        pass
    else:
        index = faiss.IndexFlatIP(d)
        index.add(x / np.linalg.norm(x, axis=1, keepdims=True))
    q = query / np.linalg.norm(query, axis=1, keepdims=True)
    theirs = None if index is None else lambda: index.search(q, 10)[1]
    row = ratio(
        f"10 nearest of {n:,} x {d} for 100 queries (faiss)", lambda: plain.search(query, 10).rows, theirs, repeats
    )
    return [throughput(row, 100)]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
