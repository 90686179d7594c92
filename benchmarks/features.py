"""What reading layers costs: ``python benchmarks/features.py`` prints Markdown tables in about five minutes.

Overhead: the same prepared batches through the bare network and through ``Extractor`` reading all blocks, pooled. The
two alternate batch by batch, so that whatever else runs on the machine slows both, and the median of the paired ratios
is given. On one thread, the default, processor time is counted instead of elapsed time: a busy machine changes it less.

Precision: what lower precision changes in the features and, on a phantom subject encoded by ridge, in the scores.
``--write-results`` puts the tables into RESULTS.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np
import torch
from _timing import machine, write_section

from neuro.features import Extractor, GaborPyramid, Preprocess, compare_precision, has_amx

NETWORKS = {
    "resnet50": ("timm:resnet50", "layer*"),
    "mobilenetv2_100": ("timm:mobilenetv2_100", "blocks.*"),
    "ViT-B-32 (CLIP)": ("open_clip:ViT-B-32", "transformer.resblocks.*"),
}


clock = time.perf_counter
printed: list[str] = []


def say(text: str) -> None:
    """Print a line, and keep it for RESULTS.md."""
    print(text, flush=True)
    printed.append(text)


def paired(bare, ours, rounds: int) -> tuple[float, float, float]:
    """Seconds of each and the median of ours / bare, alternating; the order within a pair alternates too."""
    bare(), ours()
    a, b = [], []
    for i in range(rounds):
        for function, times in ((bare, a), (ours, b)) if i % 2 else ((ours, b), (bare, a)):
            start = clock()
            function()
            times.append(clock() - start)
    return float(np.median(a)), float(np.median(b)), float(np.median(np.array(b) / np.array(a)))


def overhead(batch: int, rounds: int) -> None:
    say("| network | precision | layers | pool | bare, ms/image | read, ms/image | overhead |")
    say("|---|---|---|---|---|---|---|")
    for label, (name, pattern) in NETWORKS.items():
        base = Extractor(name, pretrained=None, batch_size=batch)
        units = [n for n in base.units if n.startswith(pattern.rstrip("*"))]
        final = "output" if "output" in base.layers else base.units[-1]
        frames = torch.randn(batch, 3, *base.preprocess.size)
        for precision in ("float32", "bfloat16") if has_amx() else ("float32",):
            for pool in ("mean", "spatial:4"):
                extractor = base.with_options(precision=precision, pool=pool, layers=[*units, final])
                module, x = extractor._module, extractor._to_device(frames)

                def bare(module=module, x=x):
                    with torch.no_grad():
                        module(x)

                def ours(extractor=extractor, x=x):
                    extractor.compute((x, [1] * batch), extractor.chosen)

                first, second, ratio = paired(bare, ours, rounds)
                say(
                    f"| {label} | {precision} | {len(units) + 1} | {pool} | {first / batch * 1e3:.1f} | "
                    f"{second / batch * 1e3:.1f} | {100 * (ratio - 1):+.1f} % |"
                )


def precision(n: int) -> None:
    say("")
    say("| network | precision | layer | cosine | relative error | images/s | speedup |")
    say("|---|---|---|---|---|---|---|")
    images = scenes(n)
    for label, (name, pattern) in NETWORKS.items():
        base = Extractor(name, pretrained=None, batch_size=16)
        units = [u for u in base.units if u.startswith(pattern.rstrip("*"))]
        table = compare_precision(
            base, images, ("bfloat16", "amp"), layers=[units[0], units[len(units) // 2], units[-1]]
        )
        for row in table.itertuples():
            say(
                f"| {label} | {row.precision} | {row.layer} | {row.cosine:.5f} | {row.relative_error:.4f} | "
                f"{row.images_per_second:.0f} | {row.speedup:.2f}x |"
            )


def resizing(n: int) -> None:
    from PIL import Image
    from torchvision import transforms

    images = list(scenes(n, 425))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    bicubic = transforms.InterpolationMode.BICUBIC
    steps = [transforms.Resize(224, bicubic), transforms.ToTensor(), transforms.Normalize(mean, std)]
    library = transforms.Compose(steps)
    ways = {
        "torchvision transforms on PIL images": lambda: torch.stack([library(Image.fromarray(i)) for i in images]),
        "Preprocess(resize='pil')": lambda: Preprocess((224, 224), mean, std, resize="pil")(images),
        "Preprocess (torch, uint8)": lambda: Preprocess((224, 224), mean, std)(images),
    }
    exact = Preprocess((224, 224), resize="pil").pixels(images).int()
    say("")
    say("| 425 to 224 pixels, bicubic, normalised | ms/image | largest difference from PIL, grey levels |")
    say("|---|---|---|")
    fast = (Preprocess((224, 224)).pixels(images).int() - exact).abs().max()
    for label, way in ways.items():
        times = []
        way()
        for _ in range(3):
            start = clock()
            way()
            times.append(clock() - start)
        difference = int(fast) if "torch, uint8" in label else 0
        say(f"| {label} | {min(times) / n * 1e3:.2f} | {difference} |")
    pyramid = GaborPyramid()
    start = clock()
    pyramid.extract(np.stack(images), progress=False)
    say("")
    say(f"GaborPyramid(): {(clock() - start) / n * 1e3:.1f} ms/image, resizing included.")


def encoding(n_images: int) -> None:
    """Encode a phantom subject from features of each precision: does the score change?"""
    from neuro.datasets import NSD
    from neuro.datasets.phantom import write_phantom
    from neuro.encoders import RidgeCV
    from neuro.stats import pearson_r

    with tempfile.TemporaryDirectory() as folder:
        nsd = NSD(write_phantom(folder, n_subjects=1, n_sessions=3, n_images=n_images, grid="small"))
        responses = nsd.responses(subject=1, roi="nsdgeneral").zscore(by="session").average_repeats()
        train, test = responses.split("shared1000")
        reliable = responses.voxels.table["ncsnr"].to_numpy() > 0.2
        Y, Y_test = (part.to_numpy()[:, reliable] for part in (train, test))
        base = Extractor("phantom-clip", pool="mean")
        layers = list(base.layers)
        chosen = [layers[0], layers[len(layers) // 2], layers[-1]]
        say("")
        say(f"phantom-clip to a phantom subject, {len(Y):,} training and {len(Y_test):,} test images, {Y.shape[1]:,} "
            "voxels with ncsnr above 0.2:")  # fmt: skip
        say("")
        say("| layer | precision | median r | largest change of a voxel's r | r between predictions, median |")
        say("|---|---|---|---|---|")
        for layer in chosen:
            first = None
            for name in ("float32", "bfloat16", "amp"):
                images = nsd.stimuli.select(np.concatenate([train.stimulus, test.stimulus]))
                features = base.with_options(precision=name, layers=[layer]).extract(images, progress=False)
                X, X_test = (features.rows(layer, part.stimulus) for part in (train, test))
                model = RidgeCV(np.logspace(-1, 7, 17), cv=5).fit(X, Y)
                predicted = model.predict(X_test)
                r = pearson_r(Y_test, predicted)
                first = first or (r, predicted)
                same = float(np.median(pearson_r(first[1], predicted)))
                say(f"| {layer} | {name} | {np.median(r):.4f} | {np.abs(r - first[0]).max():.4f} | {same:.5f} |")


def scenes(n: int, size: int = 256) -> np.ndarray:
    """Smooth coloured noise, n pictures."""
    coarse = torch.rand(n, 3, size // 16, size // 16, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    fine = fine + 0.1 * torch.rand(fine.shape, generator=torch.Generator().manual_seed(1))
    return (fine.clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="0 leaves the choice to torch")
    parser.add_argument("--only", choices=["overhead", "precision", "encoding", "resizing"])
    parser.add_argument("--write-results", action="store_true", help="put the tables into RESULTS.md")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.threads == 1:
        globals()["clock"] = time.process_time
    say("## Feature extraction")
    say("")
    say(f"{machine()}; {torch.get_num_threads()} threads, AMX: {has_amx()}, batch {options.batch}.")
    say("")
    if options.only in (None, "overhead"):
        overhead(options.batch, options.rounds)
    if options.only in (None, "precision"):
        precision(16)
    if options.only in (None, "resizing"):
        resizing(32)
    if options.only in (None, "encoding"):
        encoding(600)
    if options.write_results:
        write_section("features", "\n".join(printed))


if __name__ == "__main__":
    main()
