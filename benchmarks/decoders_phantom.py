"""Decoding the phantom: what contrast gains over ridge, and what other people's data gain for a new person.

    python -m neuro phantom /data/phantom --subjects 4 ...
    python benchmarks/decoders_phantom.py /data/phantom --parts retrieval transfer

Targets are image embeddings of phantom-clip (``--target tokens``: its 5 x 128 tokens). Test images are those that all
subjects saw; repeats of a test image are averaged. Settings are chosen on a validation split of the training images
(mean reciprocal rank), never on test images. Intervals are bootstraps over test images. Prints Markdown.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuro.datasets import NSD
from neuro.decoders.metrics.result import mean_result
from neuro.decoders.neural import NeuralDecoder
from neuro.decoders.recipes.contrastive import contrastive_recipe
from neuro.features.phantom_clip import load_phantom_clip
from neuro.features.tokens import image_tokens
from neuro.linear import RidgeCV

SMALL = {"width": 512, "n_blocks": 1, "temperature": 0.05, "epochs": 30, "learning_rate": 1e-3, "batch_size": 128}
CANDIDATES: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.03},
    {"n_blocks": 2},
    {"width": 1024},
    {"mix_until": 1 / 3, "loss": "bimixco_then_soft_clip"},
    {"epochs": 60},
)
DIRECTIONS = ("image given brain", "brain given image")


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phantom", type=Path, help="folder of the phantom, in NSD's layout")
    parser.add_argument("--parts", nargs="+", default=["retrieval", "transfer"], choices=["retrieval", "transfer"])
    parser.add_argument("--target", default="embedding", choices=["embedding", "tokens"])
    parser.add_argument("--subject", type=int, default=1, help="of the retrieval part")
    parser.add_argument("--new", type=int, default=4, help="new subject of the transfer part; all others are known")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--roi", default="nsdgeneral")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--candidates", type=int, default=len(CANDIDATES), help="settings to choose among")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, help="folder to keep embeddings in between runs")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = Data(args.phantom, args.roi, args.target, args.cache)
    start = time.perf_counter()
    if "retrieval" in args.parts:
        retrieval_part(data, args)
    if "transfer" in args.parts:
        transfer_part(data, args)
    print(f"\n{time.perf_counter() - start:.0f} s on {args.threads} thread(s)")


class Data:
    """Responses by subject and targets by image."""

    def __init__(self, folder: Path, roi: str, target: str, cache: Path | None = None):
        self.nsd, self.roi, self.target = NSD(folder), roi, f"image_{target}"
        self._responses: dict[int, Any] = {}
        self.target_ids = np.unique(np.concatenate([self.responses(s).stimulus for s in self.nsd.subjects]))
        kept = None if cache is None else cache / f"decoders_phantom_{target}.npy"
        if kept is not None and kept.is_file():
            self.targets = np.load(kept)
        else:
            self.targets = self._embed(target)
            if kept is not None:
                np.save(kept, self.targets)

    def responses(self, subject: int) -> Any:
        """Single trials, z-scored by session."""
        if subject not in self._responses:
            self._responses[subject] = self.nsd.responses(subject=subject, roi=self.roi).zscore()
        return self._responses[subject]

    def split(self, subject: int, sessions: int | None = None) -> tuple[Any, Any]:
        """Training trials of the first sessions, and all test trials."""
        train, test = self.responses(subject).split("shared1000")
        return (train if sessions is None else train.select(trials=f"session <= {sessions}")), test

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Targets of images."""
        return self.targets[np.searchsorted(self.target_ids, ids)]

    def _embed(self, target: str) -> np.ndarray:
        from PIL import Image

        model, preprocess, _ = load_phantom_clip()
        out = []
        for start in range(0, len(self.target_ids), 128):
            pictures = self.nsd.stimuli[self.target_ids[start : start + 128]]
            pixels = torch.stack([preprocess(Image.fromarray(np.asarray(p))) for p in pictures])
            with torch.no_grad():
                tokens = image_tokens(model, pixels, normalise="cls_norm")
            out.append((tokens[:, 0] if target == "embedding" else tokens).numpy())
        return np.concatenate(out)


def retrieval(predicted: np.ndarray, true: np.ndarray) -> tuple[Any, Any]:
    """Top-1 accuracy among all n items, in both directions, with intervals over items."""
    P, T = (
        a.reshape(len(a), -1) / np.linalg.norm(a.reshape(len(a), -1), axis=1, keepdims=True) for a in (predicted, true)
    )
    S = P @ T.T
    own = np.diag(S)
    hits = [(s >= own[:, None]).sum(1) == 1 for s in (S, S.T)]
    return tuple(
        mean_result(name, h, protocol=f"top-1 of {len(S)}, cosine", chance=1 / len(S), rng=0)
        for name, h in zip(DIRECTIONS, hits, strict=True)
    )


def row(name: str, results: tuple[Any, Any], *more: Any) -> str:
    """One row of a Markdown table."""
    cells = [f"{r.value:.3f} [{r.ci[0]:.3f}, {r.ci[1]:.3f}]" for r in results]
    return f"| {' | '.join([name, *cells, *map(str, more)])} |"


def fit_ridge(data: Data, train: Any, test: Any) -> tuple[Any, Any]:
    """Ridge from averaged repeats."""
    X, Z = train.average_repeats(), test.average_repeats()
    Y = data.of(X.stimulus)
    predicted = RidgeCV(cv=5).fit(X.to_numpy(), Y.reshape(len(Y), -1)).predict(Z.to_numpy())
    return retrieval(predicted, data.of(Z.stimulus))


def fit_contrastive(data: Data, train: Any, test: Any, seed: int, **changes: Any) -> tuple[Any, NeuralDecoder]:
    """A contrastive decoder of one or several subjects; scored on the test trials of one."""
    recipe = contrastive_recipe(data.targets.shape[1:], data.target, **{**SMALL, **changes})
    decoder = NeuralDecoder(recipe, random_state=seed)
    decoder.fit(train, {data.target: data.targets}, target_ids=data.target_ids, test_ids=np.unique(test.stimulus))
    return score(data, decoder, test), decoder


def score(data: Data, decoder: NeuralDecoder, test: Any) -> tuple[Any, Any]:
    """Retrieval on test trials."""
    decoded = decoder.predict(test, average_repeats="voxels")
    return retrieval(decoded[data.target], data.of(decoded.ids))


def retrieval_part(data: Data, args: argparse.Namespace) -> None:
    """Ridge, contrast, and contrast with shuffled pairs, for one subject."""
    train, test = data.split(args.subject)
    n_test = len(np.unique(test.stimulus))
    n_train = len(np.unique(train.stimulus))
    print(f"\n### Retrieval, subject {args.subject}: {n_train} training images, top-1 of {n_test}\n")
    print(f"| decoder | {' | '.join(DIRECTIONS)} | validation MRR |\n|---|---|---|---|")
    print(row("ridge (RidgeCV, averaged repeats)", fit_ridge(data, train, test), "-"), flush=True)
    best, chosen = -1.0, {}
    for changes in CANDIDATES[: args.candidates]:
        results, decoder = fit_contrastive(data, train, test, args.seeds[0], **changes)
        reached = decoder.training_.best_score
        text = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in changes.items())
        print(row(f"contrastive, {text or 'default'}", results, f"{reached:.3f}"), flush=True)
        if reached > best:
            best, chosen = reached, changes
    for seed in args.seeds:
        results, decoder = fit_contrastive(data, train, test, seed, **chosen)
        name = f"**contrastive, chosen by validation**, seed {seed}"
        print(row(name, results, f"{decoder.training_.best_score:.3f}"), flush=True)
    print(row("contrastive, pairs shuffled", shuffled_control(data, train, test, args.seeds[0]), "-"), flush=True)


def shuffled_control(data: Data, train: Any, test: Any, seed: int) -> tuple[Any, Any]:
    """Train with the images of the training set permuted."""
    names = np.unique(train.stimulus)
    other = dict(zip(names, np.random.default_rng(seed).permutation(names), strict=True))
    targets = data.targets.copy()
    targets[np.searchsorted(data.target_ids, names)] = data.of(np.array([other[n] for n in names]))
    recipe = contrastive_recipe(data.targets.shape[1:], data.target, **{**SMALL, "epochs": 10})
    decoder = NeuralDecoder(recipe, random_state=seed).fit(train, {data.target: targets}, target_ids=data.target_ids)
    return score(data, decoder, test)


def transfer_part(data: Data, args: argparse.Namespace) -> None:
    """A new subject with few sessions: alone, or entering a decoder of the others in each of three ways."""
    known = [s for s in data.nsd.subjects if s != args.new]
    test = data.split(args.new)[1]
    shared = {data.target: data.targets}
    names = {"target_ids": data.target_ids, "test_ids": np.unique(test.stimulus)}
    sources = [data.split(s)[0] for s in known]
    ways = {"reset-tuned": {}, "reset-tuned beside known subjects": {"source": sources}, "fine-tuned": {"parts": "all"}}
    print(f"\n### New subject {args.new}; known: {known}; gain over training alone, paired over images\n")
    print(f"| sessions | decoder | {' | '.join(DIRECTIONS)} | validation MRR | gain |\n|---|---|---|---|---|---|")
    for seed in args.seeds:
        recipe = contrastive_recipe(data.targets.shape[1:], data.target, **SMALL)
        kept = None if args.cache is None else args.cache / f"pretrained_{data.target}_without_{args.new}_seed_{seed}"
        pretrained = NeuralDecoder(recipe, random_state=seed).fit(sources, shared, folder=kept, **names)
        for n in args.sessions:
            train = data.split(args.new, n)[0]
            if seed == args.seeds[0]:
                print(row(f"{n} | ridge alone", fit_ridge(data, train, test), "-", "-"), flush=True)
            single, alone = fit_contrastive(data, train, test, seed, epochs=60)
            reached = f"{alone.training_.best_score:.3f}"
            print(row(f"{n} | contrastive alone, seed {seed}", single, reached, "-"), flush=True)
            for way, options in ways.items():
                decoder = copy.deepcopy(pretrained)
                decoder.reset_tune(args.new, train, shared, epochs=60, **options, **names)
                results = score(data, decoder, test)
                text = f"{n} | pretrained on {len(known)}, {way}, seed {seed}"
                print(row(text, results, f"{decoder.training_.best_score:.3f}", gain(results, single)), flush=True)


def gain(results: tuple[Any, Any], than: tuple[Any, Any]) -> str:
    """Difference of two decoders on the same images, mean of both directions, with its interval."""
    mine, theirs = (np.mean([r.per_item for r in pair], axis=0) for pair in (results, than))
    r = mean_result("gain", mine - theirs, protocol=results[0].protocol, rng=0)
    return f"{r.value:+.3f} [{r.ci[0]:+.3f}, {r.ci[1]:+.3f}]"


if __name__ == "__main__":
    main()
