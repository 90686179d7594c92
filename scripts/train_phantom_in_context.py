"""Train an in-context encoder on phantom subjects, and compare it with ridge regression on one it has never seen.

    OMP_WAIT_POLICY=PASSIVE python scripts/train_phantom_in_context.py --out phantom_in_context

Subjects are simulated (``neuro.datasets.phantom``), images are embedded by phantom-clip, and the network is trained in
three stages: synthetic voxels with contexts of one size, synthetic voxels with contexts of all sizes, voxels of all
subjects but two. One of these chooses which network of the last stage is kept. The other is the test: its responses to
images of its own are the context; the images that all subjects saw, which training never sees, are predicted. Less than
20 minutes on two cores with the default settings; stopped before its end (``--minutes``, Ctrl-C), the same command goes
on where it was.

``--out`` gets ``network/`` (for ``InContextEncoder.load``), ``metrics.json`` and, to be thrown away, ``phantom_*/`` and
``data_*.npz``. ``--ship FOLDER`` puts network and metrics where ``phantom_network`` finds them.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from neuro._files import atomic_path, write_json
from neuro.encoders._in_context_files import save_network
from neuro.encoders.in_context import InContextEncoder
from neuro.encoders.in_context_baseline import published_ridge_baseline
from neuro.encoders.in_context_config import InContextConfig
from neuro.encoders.in_context_synthetic import SubjectVoxels, SyntheticVoxels
from neuro.encoders.in_context_training import three_stages, train_in_context
from neuro.linear._alphas import AlphaAtBoundaryWarning
from neuro.linear.ridge import RidgeCV


def log(text: str) -> None:
    """Print a line at once."""
    print(text, file=sys.stderr, flush=True)


def subject_data(out: Path, n_subjects: int, n_images: int, seed: int) -> dict[str, np.ndarray]:
    """Write the phantom, embed its images, and return unit embeddings and z-scored responses per subject and side."""
    path = out / f"data_{n_subjects}_{n_images}_{seed}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    from neuro.datasets import NSD
    from neuro.datasets.phantom import write_phantom
    from neuro.features import Extractor

    begin = time.monotonic()
    folder = out / f"phantom_{n_subjects}_{n_images}_{seed}"
    sessions = -(-3 * n_images // 750)
    write_phantom(
        folder, n_subjects=n_subjects, n_sessions=sessions, n_images=n_images, size=64, seed=seed, grid="small", snr=1.5
    )
    nsd, extractor = NSD(folder), Extractor("phantom-clip")
    data = {}
    for subject in range(1, n_subjects + 1):
        responses = nsd.responses(subject=subject, roi="nsdgeneral").zscore(by="session").average_repeats()
        features = extractor.extract(nsd.stimuli.select(responses.stimulus), layers=["output"], progress=False)
        own, shared = responses.split("shared1000")
        for side, part in (("own", own), ("shared", shared)):
            X = features.rows("output", part.stimulus)
            data[f"X_{side}_{subject}"] = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)
            data[f"Y_{side}_{subject}"] = part.to_numpy().astype(np.float32)
        data[f"ceiling_{subject}"] = shared.noise_ceiling()
    with atomic_path(path) as temporary:
        np.savez(temporary, **data)
    log(f"{n_subjects} subjects with {n_images} images: {time.monotonic() - begin:.0f} s")
    return data


def explained_variance(Y: np.ndarray, Y_hat: np.ndarray) -> np.ndarray:
    """Return ``1 - var(y - y_hat) / var(y)`` per voxel."""
    return 1 - (Y - Y_hat).var(0) / np.maximum(Y.var(0), 1e-12)


def compare(
    encoder: InContextEncoder, data: dict[str, np.ndarray], subject: int, sizes: tuple[int, ...], draws: int, seed: int
) -> dict[str, dict[str, float]]:
    """Score the network and ridge regressions with contexts of each size, on images that nobody was trained with."""
    X, Y, X_test, Y_test = (data[f"{kind}_{side}_{subject}"] for side in ("own", "shared") for kind in "XY")
    rng, table = np.random.default_rng(seed), {}
    for size in sizes:
        scores: dict[str, list[float]] = {}
        for _ in range(draws if size < len(X) else 1):
            rows = rng.choice(len(X), size, replace=False)
            shuffled = np.take_along_axis(Y[rows], rng.permuted(np.tile(np.arange(size), (Y.shape[1], 1)), axis=1).T, 0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AlphaAtBoundaryWarning)
                coef, intercept = published_ridge_baseline(X[rows], Y[rows])
                predicted = {
                    "in_context": encoder.fit(X[rows], Y[rows]).predict(X_test),
                    "in_context_shuffled": encoder.fit(X[rows], shuffled).predict(X_test),
                    "ridge": RidgeCV().fit(X[rows], Y[rows]).predict(X_test),
                    "published_ridge": X_test @ coef.T + intercept,
                }
            for name, Y_hat in predicted.items():
                scores.setdefault(name, []).append(float(explained_variance(Y_test, Y_hat).mean()))
        table[str(size)] = {name: float(np.mean(values)) for name, values in scores.items()}
        log(f"{size} images: " + ", ".join(f"{name} {value:.3f}" for name, value in table[str(size)].items()))
    return table


def main(argv: list[str] | None = None) -> dict:
    """Simulate, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ship", type=Path, help="copy network and metrics to this folder")
    parser.add_argument("--subjects", type=int, default=6, help="the last is the test, the one before validates")
    parser.add_argument("--images", type=int, default=1000, help="per subject, a tenth of them shared")
    parser.add_argument("--steps", type=int, nargs=3, default=(100, 2000, 3200), help="of the three stages")
    parser.add_argument("--context", type=int, nargs=2, default=(20, 500))
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--voxels", type=int, default=16, help="per step")
    parser.add_argument("--lr", type=float, default=6e-3, help="of the first stage; a third of it later")
    parser.add_argument("--prior", choices=("isotropic", "clusters", "empirical"), default="empirical")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=18.0, help="stop training, resumably, after this time")
    parser.add_argument("--sizes", type=int, nargs="+", default=(30, 100, 300, 600, 900), help="contexts to compare at")
    parser.add_argument("--validate-every", type=int, default=500)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--seed", type=int, default=4242, help="of the people, whom no phantom of another seed shares")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    begin, cpu = time.monotonic(), time.process_time()
    data = subject_data(args.out, args.subjects, args.images, args.seed)
    pairs = {f"subject {s}": (data[f"X_own_{s}"], data[f"Y_own_{s}"]) for s in range(1, args.subjects)}
    validating = f"subject {args.subjects - 1}"
    config = InContextConfig.phantom(
        width=args.width, ffn=2 * args.width, n_layers=args.layers, min_context=args.context[0]
    )
    stages = three_stages(
        args.steps,
        tuple(args.context),
        spread="log",
        n_queries=args.queries,
        voxels=args.voxels,
        lr=args.lr,
        weight_decay=0.01,
    )
    measured = SubjectVoxels(
        {k: v for k, v in pairs.items() if k != validating}, {validating: pairs[validating]}, seed=args.seed
    )
    weights = None if args.prior == "isotropic" else measured.ridge_weights()
    synthetic = SyntheticVoxels(
        measured.pool(), args.prior, weights=weights, repeats=3, validation=0.15, seed=args.seed
    )
    run = train_in_context(
        measured,
        config,
        args.out / "network",
        stages=stages,
        synthetic=synthetic,
        start="data",
        seed=args.seed,
        validate_every=args.validate_every,
        n_validation=8,
        minutes=args.minutes,
        progress=log,
    )
    table = compare(InContextEncoder(run.network), data, args.subjects, tuple(args.sizes), args.draws, args.seed)
    metrics = {
        "what": "explained variance, mean over voxels, on a held-out phantom subject and unseen images",
        "finished": run.finished,
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "cpu_minutes": round((time.process_time() - cpu) / 60, 1),
        "parameters": run.network.n_parameters,
        "settings": {k: v for k, v in vars(args).items() if k not in ("out", "ship")},
        "ceiling": float(data[f"ceiling_{args.subjects}"].mean()),
        "explained_variance": table,
        "training": run.history,
    }
    write_json(args.out / "metrics.json", metrics)
    if args.ship is not None:
        save_network(run.network, args.ship)
        write_json(args.ship / "metrics.json", metrics)
    if not run.finished:
        log("not finished: the same command goes on")
    return metrics


if __name__ == "__main__":
    main()
