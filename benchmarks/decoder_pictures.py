"""What the decoded layout and the decoded content each give a reconstruction, and both together.

    neuro decode train --data PHANTOM --output decoder/ && neuro decode predict decoder/ --subject 1 --output decoded/
    python benchmarks/decoder_pictures.py decoded/ --data PHANTOM --images 60

Layout: the decoded latents through the VAE alone. Content: the decoded image tokens, from pure noise.
Both: the generator starts from the layout. Intervals are bootstraps over test images. Prints Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from neuro.datasets import NSD
from neuro.decoders import Decoded, load_generator
from neuro.decoders.generators import low_level_pictures
from neuro.decoders.metrics import evaluate_images

METRICS = ("pixcorr", "ssim", "clip", "clip_untrained")


def main() -> None:
    """Generate, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("decoded", type=Path, nargs="+", help="folders that `neuro decode predict` wrote")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=60, help="of the test images, drawn with the seed")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--strength", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    generator, nsd = load_generator("phantom"), NSD(args.data)
    print("| subject | picture | " + " | ".join(METRICS) + " |\n|--|--|" + "--:|" * len(METRICS))
    for folder in args.decoded:
        decoded = Decoded.load(folder)
        rows = np.sort(np.random.default_rng(args.seed).permutation(len(decoded.ids))[: args.images])
        some = decoded.select(decoded.ids[rows])
        true = np.stack(nsd.stimuli.images(some.ids)).transpose(0, 3, 1, 2).astype(np.float32) / 255
        content = {"image_tokens": some["image_tokens"]}
        how = {"steps": args.steps, "guidance": args.guidance, "seed": args.seed, "ids": some.ids.tolist()}
        pictures = {
            "layout": low_level_pictures(generator.vae, some["low_level"]),
            "content": generator.generate(content, **how)[:, 0],
            "both": generator.generate({**content, "low_level": some["low_level"]}, strength=args.strength, **how)[
                :, 0
            ],
        }
        for name, made in pictures.items():
            found = evaluate_images(made, true, "phantom", metrics=METRICS, rng=args.seed)
            cells = [f"{r.value:.3f} [{r.ci[0]:.3f}, {r.ci[1]:.3f}]" for r in (found[m] for m in METRICS)]
            print(f"| {decoded.subject} | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
