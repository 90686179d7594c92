"""One training step of MindEye beside the floor of its own matrix products, and the memory it takes.

    python benchmarks/decoder_training.py                       # the phantom preset, on the CPU
    python benchmarks/decoder_training.py --preset nsd --voxels 15724 --batch 32 --device cuda

A step is forward, losses, backward and the optimiser's update of network and prior, through the same loop that
``NeuralDecoder.fit`` runs. The floor is the time of the products of its linear layers alone (forward, and two for the
gradients, of the same shapes, in the same precision, in the same process): no step can be faster. Attention
products, the losses and everything elementwise come on top. Floating-point operations are counted by torch.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from neuro.decoders import RECIPES, NeuralDecoder


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="mindeye")
    parser.add_argument("--preset", default="phantom", choices=["phantom", "nsd"])
    parser.add_argument("--voxels", type=int, default=1650)
    parser.add_argument("--batch", type=int, help="default: the recipe's")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=12, help="timed; three more to warm up")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = RECIPES[args.recipe](args.preset)
    batch = args.batch or recipe.batch_size
    recipe = recipe.with_settings(batch_size=batch, epochs=1)
    n_tokens, dim = (257, 768) if args.preset == "nsd" else (5, 128)
    n = (args.steps + 3) * batch
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, args.voxels)).astype(np.float32)
    targets = {"image_tokens": rng.standard_normal((batch, n_tokens, dim)).astype(np.float32)}
    ids = np.arange(n) % batch

    marks: list[float] = []

    def tick(report: dict) -> None:
        if args.device != "cpu":
            torch.cuda.synchronize()
        marks.append(time.perf_counter())

    shapes: list[tuple[int, int, int]] = []
    decoder = NeuralDecoder(
        recipe, validation=0, repeats="single", precision=args.precision, device=args.device, random_state=0
    )
    with RecordLinears(shapes):
        decoder.fit({1: X[:batch]}, targets, ids={1: ids[:batch]})
    with FlopCounterMode(display=False) as counter:
        decoder.fit({1: X[:batch]}, targets, ids={1: ids[:batch]})
    decoder.fit({1: X}, targets, ids={1: ids}, progress=tick)
    step = statistics.median(np.diff(marks)[2:])
    floor = _floor(shapes, args.device, torch.bfloat16 if args.precision == "bf16" else torch.float32)
    flops = counter.get_total_flops()
    count = f", {sum(p.numel() for p in decoder.system_.parameters()):,} weights"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if args.device != "cpu":
        peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"\n{args.recipe}, {args.preset} preset, {args.voxels:,} voxels, batch {batch}, {args.precision}{count}\n")
    print("| one step, ms | floor of its products, ms | step / floor | GFLOP (torch's count) | samples/s | peak GiB |")
    print("|--:|--:|--:|--:|--:|--:|")
    rest = f"{flops / 1e9:.2f} | {batch / step:,.0f} | {peak:.2f}"
    print(f"| {1e3 * step:.1f} | {1e3 * floor:.1f} | {step / floor:.2f} | {rest} |")


class RecordLinears:
    """Note (rows, inputs, outputs) of every linear layer that is called with gradients on."""

    def __init__(self, shapes: list[tuple[int, int, int]]):
        self.shapes = shapes

    def __enter__(self):
        self.forward = nn.Linear.forward

        def noted(layer, x):
            if torch.is_grad_enabled():
                self.shapes.append((x.numel() // x.shape[-1], layer.in_features, layer.out_features))
            return self.forward(layer, x)

        nn.Linear.forward = noted

    def __exit__(self, *error):
        nn.Linear.forward = self.forward


def _floor(shapes: list[tuple[int, int, int]], device: str, dtype: torch.dtype, repeats: int = 7) -> float:
    """Seconds of Y = X W, dX = dY W', dW = X' dY for all layers, median of repeats."""
    made = [
        (torch.randn(n, i, device=device, dtype=dtype), torch.randn(i, o, device=device, dtype=dtype),
         torch.randn(n, o, device=device, dtype=dtype))
        for n, i, o in shapes
    ]  # fmt: skip
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for x, w, dy in made:
            torch.mm(x, w)
            torch.mm(dy, w.T)
            torch.mm(x.T, dy)
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


if __name__ == "__main__":
    main()
