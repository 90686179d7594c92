"""What captions of decoded tokens name on a phantom, beside chance, another person's caption and retrieval.

Ridge regression reads phantom-clip's image tokens (5 x 128) out of one subject's voxels; phantom-captioner puts those
of the shared test images into words. Each caption is compared with the scene (``neuro.decoders.naming``). Beside it:

- ``picture``: the captioner over the picture's own tokens, what it would say if decoding were perfect;
- ``another caption``: what a second person says of the picture;
- ``nearest training caption``: the caption of the training image whose embedding is nearest to the decoded one;
- ``shuffled brain``: the same decoder fitted on responses to other images.

    python benchmarks/decoder_captions.py PHANTOM              # a folder that neuro.datasets.phantom.write_phantom made
    python benchmarks/decoder_captions.py PHANTOM --subject 2 --beams 4 --show 20
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from neuro._files import read_json
from neuro.datasets import NSD
from neuro.datasets.phantom import describe, sample_scene
from neuro.decoders.captioner import load_captioner
from neuro.decoders.metrics.result import MetricResult, mean_result
from neuro.decoders.naming import ATTRIBUTES, content_naming, scene_content
from neuro.features.phantom_clip import load_phantom_clip
from neuro.features.tokens import image_tokens
from neuro.linear.ridge import RidgeCV

BRAIN, NEAREST = "brain", "nearest training caption"


def main() -> None:
    """Run it and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("phantom", type=Path)
    parser.add_argument("--subject", type=int, default=1)
    parser.add_argument("--roi", default="nsdgeneral")
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=0, help="print that many captions beside their truth")
    args = parser.parse_args()
    found = caption_naming(args.phantom, args.subject, roi=args.roi, num_beams=args.beams, seed=args.seed)
    print(naming_table(found["results"]))
    print()
    print(difference_table(found["differences"]))
    for k in range(min(args.show, len(found["truth"]))):
        print(f"\n{found['stimulus'][k]}: {found['truth'][k]}")
        for system, captions in found["captions"].items():
            print(f"    {system}: {captions[k]}")


def caption_naming(
    path: Path, subject: int = 1, *, roi: str = "nsdgeneral", num_beams: int = 1, seed: int = 0
) -> dict[str, Any]:
    """Decode tokens of the shared images from one subject, caption them, and score what the captions name.

    Parameters
    ----------
    path : path
        A phantom.
    subject : int
    roi : str
        Voxels to decode from.
    num_beams : int
    seed : int
        Of folds, permutations and the shuffled brain.

    Returns
    -------
    dict
        ``results`` (system -> attribute -> MetricResult), ``differences`` (attribute -> MetricResult: brain minus
        nearest training caption), ``captions`` (system -> list), ``truth`` (a caption of each scene), ``stimulus``.
    """
    nsd, world = NSD(path), read_json(Path(path) / "neuro_phantom.json")["parameters"]["seed"]
    responses = nsd.responses(subject=subject, roi=roi).zscore().average_repeats()
    train, test = responses.split("shared1000")
    tokens = {k: stimulus_tokens(nsd, part.stimulus) for k, part in (("train", train), ("test", test))}
    X, X_test = train.to_numpy(), test.to_numpy()
    Y = tokens["train"].reshape(len(X), -1)
    shuffled = np.random.default_rng(seed).permutation(len(X))
    decoded = {
        "picture": tokens["test"],
        BRAIN: RidgeCV(random_state=seed).fit(X, Y).predict(X_test).reshape(tokens["test"].shape),
        "shuffled brain": RidgeCV(random_state=seed).fit(X[shuffled], Y).predict(X_test).reshape(tokens["test"].shape),
    }
    scenes = [sample_scene(world, int(k)) for k in test.stimulus]
    references = [describe(scene) for scene in scenes]
    nearest = nearest_rows(decoded[BRAIN][:, 0], tokens["train"][:, 0])
    captioner = load_captioner("phantom")
    captions = {
        "another caption": [group[1] for group in references],
        **{name: captioner.caption(value, num_beams=num_beams) for name, value in decoded.items()},
        NEAREST: [describe(sample_scene(world, int(k)))[0] for k in train.stimulus[nearest]],
    }
    truth = scene_content(scenes)
    results = {name: content_naming(said, truth, rng=seed) for name, said in captions.items()}
    differences = {
        name: mean_result(
            f"{name}: brain - nearest",
            np.subtract(results[BRAIN][name].per_item, results[NEAREST][name].per_item),
            protocol="paired",
            chance=0.0,
            rng=seed,
        )
        for name in results[BRAIN]
    }
    return {
        "results": results,
        "differences": differences,
        "captions": captions,
        "truth": [group[0] for group in references],
        "stimulus": test.stimulus,
    }


def stimulus_tokens(nsd: NSD, ids: np.ndarray, batch_size: int = 100) -> np.ndarray:
    """Return phantom-clip's image tokens of stimuli, float32 (n, 5, 128)."""
    model, preprocess, _ = load_phantom_clip()
    out = []
    for begin in range(0, len(ids), batch_size):
        pictures = [Image.fromarray(np.asarray(nsd.stimuli[k])) for k in ids[begin : begin + batch_size].tolist()]
        out.append(image_tokens(model, torch.stack([preprocess(p) for p in pictures])).numpy())
    return np.concatenate(out)


def nearest_rows(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Return the gallery row of largest cosine for each query."""
    unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    return (queries @ unit.T).argmax(1)


def naming_table(results: dict[str, dict[str, MetricResult]]) -> str:
    """Return shares of scenes named rightly, with 95 % intervals; below, chance (captions shuffled) of each system."""
    rows = ["| captions | " + " | ".join(ATTRIBUTES) + " |", "|--|" + "--:|" * len(ATTRIBUTES)]
    for system, found in results.items():
        cells = [f"{float(found[a]):.3f} {interval(found[a], '.3f')}" for a in ATTRIBUTES]
        rows.append(f"| {system} | " + " | ".join(cells) + " |")
        cells = [f"{found[a].chance:.3f}, p = {found[a].details['p']:.3f}" for a in ATTRIBUTES]
        rows.append("| *chance* | " + " | ".join(cells) + " |")
    counts = [str(results[BRAIN][a].details["scenes"]) for a in ATTRIBUTES]
    return "\n".join([*rows, "| scenes | " + " | ".join(counts) + " |"])


def difference_table(differences: dict[str, MetricResult]) -> str:
    """Return brain minus nearest training caption, paired over scenes."""
    rows = ["| attribute | brain - nearest training caption |", "|--|--:|"]
    rows += [f"| {a} | {float(r):+.3f} {interval(r, '+.3f')} |" for a, r in differences.items()]
    return "\n".join(rows)


def interval(result: MetricResult, form: str) -> str:
    """Return the 95 % interval in brackets, nothing where there is none."""
    return "" if result.ci is None else f"[{result.ci[0]:{form}}, {result.ci[1]:{form}}]"


if __name__ == "__main__":
    main()
