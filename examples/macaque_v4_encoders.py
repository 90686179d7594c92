"""
Seven encoders of macaque V4, on the same folds
===============================================

Which way from a network to a neuron predicts macaque V4 best? Three recordings (Cowley, Stan, Pillow & Smith 2023,
bioRxiv), a MobileNetV2 trained on ImageNet, and on session 210325 the same five folds of pictures for

- ridge over all places of one layer, banded ridge over that layer and Gabor energies,
- a receptive field per neuron (fwRF), a factorised readout, attention routing,
- an in-context encoder that was trained on the other two sessions, with 30, 100, 300 and all training pictures, next to
  ridge on the same small embedding and the same pictures.

``python examples/macaque_v4_encoders.py --data DATA --output table.tsv``, with the folders ``cowley_v4`` and
``mobilenetv2_imagenet`` in DATA. Without ``--data`` the same program runs on a small simulation, where neurons look
through windows at the maps of phantom-clip: enough to see it work, no result about any brain.
"""

# %%
from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import adaptive_avg_pool2d

from neuro.data import Stimuli
from neuro.encoders import (
    AlphaAtBoundaryWarning,
    AttentionEncoder,
    BandedRidgeCV,
    FactorisedEncoder,
    InContextConfig,
    InContextEncoder,
    ReceptiveFieldRidgeCV,
    RidgeCV,
    SubjectVoxels,
    SyntheticVoxels,
    receptive_field_grid,
    three_stages,
    train_in_context,
)
from neuro.features import Extractor, GaborPyramid
from neuro.stats import compare_models, ncsnr_from_repeats, noise_ceiling, pearson_r

# %%
# Sessions: pictures, spike counts, which pictures are the same, and how good a prediction could be.


@dataclass(frozen=True, eq=False)
class Session:
    """One recording; n pictures, v neurons."""

    maps: np.ndarray  # (n, n_maps, height, width)
    gabor: np.ndarray  # (n, n_energies)
    Y: np.ndarray  # (n, v), means over repeats
    picture: np.ndarray  # (n,), equal for equal pictures
    ceiling: np.ndarray | None = None  # (v,), share of the variance of Y that could be explained


def read_session(data: Path, name: str, store: Path | None = None) -> Session:
    """Read a session, with features of MobileNetV2's blocks.4, averaged to 7 x 7 places, and Gabor energies."""
    stimuli = Stimuli.open(data / f"cowley_v4/images/images_{name}.zip")
    network = Extractor(
        "timm:mobilenetv2_100",
        str(data / "mobilenetv2_imagenet/mobilenetv2_100_imagenet1001.safetensors"),
        pool="spatial:7",
        input_size=224,
        # The weights were converted from TensorFlow: "same" padding, inputs in [-1, 1], 1001 classes.
        model_kwargs={"num_classes": 1001, "pad_type": "same"},
        preprocess={"mean": 0.5, "std": 0.5, "interpolation": "bicubic"},
    )
    rows = [
        source.extract(stimuli, store and store / f"{name}-{layer}", layers=[layer], progress=False)[layer][:]
        for source, layer in ((network, "blocks.4"), (GaborPyramid(), "energy"))
    ]
    Y = np.load(data / f"cowley_v4/responses_repeat_averaged/responses_{name}.npy").T.astype(np.float32)
    raw = data / f"cowley_v4/responses_raw/responses_{name}.npy"
    ceiling = ceiling_of(np.load(raw)) if raw.is_file() else None
    maps = rows[0].reshape(len(Y), -1, 7, 7)
    return Session(maps, rows[1], Y, pd.factorize(np.array(stimuli.hashes()))[0], ceiling)


def ceiling_of(raw: np.ndarray) -> np.ndarray:
    """Return the noise ceiling (v,) of means over single repeats (v, n, repeats), NaN where there were fewer."""
    trials = raw.transpose(1, 2, 0)
    there = np.isfinite(trials).all(2)
    image = np.repeat(np.arange(len(there)), there.sum(1))
    return noise_ceiling(ncsnr_from_repeats(trials[there], image, zscored=False), there.sum(1))


def stand_in(n: tuple[int, ...] = (120, 120, 100), seed: int = 0) -> list[Session]:
    """Simulate small sessions: 12 neurons each, a Gaussian window times feature weights, and noise."""
    from neuro.datasets.phantom import render_scenes

    extractor, gabor = Extractor("phantom-clip", pool="spatial:4"), GaborPyramid(64, 4, [4, 8], 4)
    place = np.stack(np.meshgrid(*[np.arange(4)] * 2), -1).reshape(-1, 2)
    rng, sessions = np.random.default_rng(seed), []
    for k, size in enumerate(n):
        stimuli = Stimuli.from_array(render_scenes(size, size=64, seed=seed + k).images)
        maps = extractor.extract(stimuli, layers=["layer2"], progress=False)["layer2"][:].reshape(size, -1, 4, 4)
        maps = maps[:, :: maps.shape[1] // 24]
        windows = np.exp(-((place - rng.uniform(0, 3, (12, 1, 2))) ** 2).sum(-1) / 2)
        z = (maps - maps.mean((0, 2, 3), keepdims=True)) / maps.std((0, 2, 3), keepdims=True)
        signal = np.einsum("nct,vt,vc->nv", z.reshape(*z.shape[:2], -1), windows, rng.standard_normal((12, z.shape[1])))
        signal = (signal - signal.mean(0)) / signal.std(0)
        raw = (signal[..., None] + 2 * rng.standard_normal((size, 12, 8))).transpose(1, 0, 2)
        energies = gabor.extract(stimuli, layers=["energy"], progress=False)["energy"][:]
        Y = raw.mean(2).T.astype(np.float32)
        sessions.append(Session(maps, energies, Y, np.arange(size), ceiling_of(raw)))
    return sessions


# %%
# A small embedding of unit length for the in-context encoder and for ridge beside it: principal components of the maps
# at 3 x 3 places. Components come from the training sessions, mean and s.d. of the maps from the session's own pictures
# (never from responses): the sessions show different kinds of pictures.


def embedding(sessions: list[Session], n_dims: int, places: int = 3) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function from maps (n, n_maps, h, w), and those to standardise with, to unit rows (n, n_dims)."""

    def standardised(maps: np.ndarray, reference: np.ndarray) -> np.ndarray:
        X, R = (
            adaptive_avg_pool2d(torch.from_numpy(np.ascontiguousarray(m)), places).flatten(1).double().numpy()
            for m in (maps, reference)
        )
        return (X - R.mean(0)) / (R.std(0) + 1e-9)

    X = np.concatenate([standardised(s.maps, s.maps) for s in sessions])
    axes = np.linalg.svd(X, full_matrices=False)[2][:n_dims].T

    def embed(maps: np.ndarray, reference: np.ndarray) -> np.ndarray:
        E = standardised(maps, reference) @ axes
        return (E / np.linalg.norm(E, axis=1, keepdims=True)).astype(np.float32)

    return embed


def train_network(sessions: list[Session], embed: Callable, settings: dict[str, Any], folder: Path, seed: int) -> Any:
    """Train an in-context network on sessions: synthetic neurons over their pictures first, then their own neurons."""
    pairs = []
    for s in sessions:  # equal pictures once, so that none is context and query at a time
        first = np.unique(s.picture, return_index=True)[1]
        Y = np.stack([s.Y[s.picture == p].mean(0) for p in s.picture[first]])
        pairs.append((embed(s.maps[first], s.maps[first]), (Y - Y.mean(0)) / Y.std(0)))
    measured = SubjectVoxels(pairs, held_out=0.2, seed=seed)
    synthetic = SyntheticVoxels(
        measured.pool(),
        settings["prior"],
        weights=measured.ridge_weights(),
        ceiling=(8.0, 4.0),
        validation=0.2,
        seed=seed,
    )
    config = InContextConfig(
        measured.n_features,
        settings["width"],
        settings["layers"],
        n_heads=4,
        ffn=2 * settings["width"],
        min_context=settings["context"][0],
        embedding="principal components of network maps, unit length",
    )
    stages = three_stages(
        settings["steps"],
        settings["context"],
        n_queries=settings["n_queries"],
        voxels=16,
        lr=settings["lr"],
        weight_decay=0.01,
        spread="log",
    )
    return train_in_context(
        measured,
        config,
        folder,
        stages=stages,
        synthetic=synthetic,
        start="data",
        seed=seed,
        validate_every=500,
        progress=False,
    ).network


# %%
# What is compared. Every fit sees the training pictures of a fold alone; penalties, bands, fields and epochs are chosen
# inside it. The other settings were chosen on session 190923, never on 210325.

FULL: dict[str, Any] = {
    "n_dims": 64,
    "in_context": {
        "prior": "empirical", "width": 64, "layers": 2, "context": (20, 500), "n_queries": 150, "lr": 6e-3,
        "steps": (100, 4500, 1000),
    },
    "fields": {"n_sizes": 6, "smallest": 0.08},
    "factorised": {"n_runs": 3, "l1": 1e-2},
    "attention": {
        "n_dims": 64, "n_heads": 4, "n_hidden": 128, "learning_rate": 2e-3, "clip": 1.0, "epochs": 40, "n_runs": 3,
    },
    "banded": {"n_iter": 20},
}  # fmt: skip
TINY: dict[str, Any] = {
    "n_dims": 16,
    "in_context": {
        "prior": "empirical", "width": 16, "layers": 2, "context": (10, 50), "n_queries": 20, "lr": 9e-3,
        "steps": (5, 60, 20),
    },
    "fields": {"n_sizes": 2, "smallest": 0.2},
    "factorised": {"epochs": 5},
    "attention": {
        "n_dims": 16, "n_heads": 2, "n_hidden": 16, "learning_rate": 2e-3, "clip": 1.0, "epochs": 3,
    },
    "banded": {"n_iter": 4},
}  # fmt: skip


def scaled(X: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Standardise features with the training rows' mean and s.d."""
    mean, sd = X[train].mean(0), X[train].std(0)
    return ((X - mean) / np.where(sd > 1e-6, sd, 1)).astype(np.float32)


def ridge(s: Session, train: np.ndarray, test: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """Predict by ridge over all places and maps."""
    X = scaled(s.maps.reshape(len(s.maps), -1), train)
    return RidgeCV(scoring="r2").fit(X[train], s.Y[train], groups=s.picture[train]).predict(X[test])


def banded(s: Session, train: np.ndarray, test: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """Predict by banded ridge over the network and Gabor energies."""
    bands = {"network": scaled(s.maps.reshape(len(s.maps), -1), train), "gabor": scaled(s.gabor, train)}
    model = BandedRidgeCV(scoring="r2", refine=5, **settings["banded"])
    model.fit({k: X[train] for k, X in bands.items()}, s.Y[train], groups=s.picture[train])
    return model.predict({k: X[test] for k, X in bands.items()})


def receptive_field(s: Session, train: np.ndarray, test: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """Predict through a Gaussian window per neuron, chosen with its penalty by five inner folds."""
    model = ReceptiveFieldRidgeCV(receptive_field_grid(2.0, **settings["fields"]), cv=5, scoring="r2")
    return model.fit(s.maps[train], s.Y[train], groups=s.picture[train]).predict(s.maps[test])


def factorised(s: Session, train: np.ndarray, test: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """Predict through a free window per neuron, learnt by gradient."""
    model = FactorisedEncoder("voxels", **settings["factorised"])
    return model.fit(s.maps[train], s.Y[train], groups=s.picture[train]).predict(s.maps[test])


def attention(s: Session, train: np.ndarray, test: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """Predict by attention routing, one query per neuron."""
    model = AttentionEncoder("voxels", **settings["attention"])
    return model.fit(s.maps[train], s.Y[train], groups=s.picture[train]).predict(s.maps[test])


METHODS = {
    "ridge": ridge,
    "banded (network + Gabor)": banded,
    "receptive field (fwRF)": receptive_field,
    "factorised": factorised,
    "attention routing": attention,
}


def folds_of(s: Session, n: int = 5, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Part the pictures, not the rows, into folds (train, test)."""
    parts = np.array_split(np.random.default_rng(seed).permutation(np.unique(s.picture)), n)
    sides = [np.isin(s.picture, part) for part in parts]
    return [(np.flatnonzero(~test), np.flatnonzero(test)) for test in sides]


def predict_folds(predict: Callable, s: Session, folds: list, *args: Any) -> tuple[np.ndarray, float]:
    """Return predictions of all tested rows, centred by fold, and the seconds they took."""
    begin, out = time.perf_counter(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AlphaAtBoundaryWarning)
        for train, test in folds:
            Y_hat = np.asarray(predict(s, train, test, *args), np.float64)
            out.append(Y_hat - Y_hat.mean(0))
    return np.concatenate(out), time.perf_counter() - begin


def from_context(model: Any, embed: Callable, size: int | None, seed: int) -> Callable:
    """Return a predictor that sees responses to ``size`` of the training pictures, the same for every model."""

    def predict(s: Session, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        X = embed(s.maps, s.maps[train])
        rng = np.random.default_rng([seed, len(train), int(test[0])])
        rows = train if size is None else rng.choice(train, size, replace=False)
        return model.fit(X[rows], s.Y[rows]).predict(X[test])

    return predict


# %%
# Scores: correlations over all tested pictures; shares of what could be explained; and differences to ridge, whose
# intervals come from resampling pictures, the same draws for both.


def score(s: Session, folds: list, predictions: dict[str, tuple[Any, float]], versus: dict[str, str]) -> pd.DataFrame:
    """Return one row per model."""
    rows = np.concatenate([test for _, test in folds])
    truth = np.concatenate([s.Y[test] - s.Y[test].mean(0) for _, test in folds])
    table = []
    for name, (Y_hat, seconds) in predictions.items():
        r = pearson_r(truth, Y_hat)
        row = {"model": name, "median_r": np.median(r), "mean_r": np.mean(r)}
        if s.ceiling is not None:
            row["mean_r2_over_ceiling"] = np.mean(np.sign(r) * r**2 / s.ceiling)
        other = versus.get(name)
        if other is not None:
            with_ = compare_models(truth, Y_hat, predictions[other][0], groups=s.picture[rows], seed=0)
            row |= {
                "versus": other,
                "difference": with_.roi_difference[0],
                "low": with_.roi_low[0],
                "high": with_.roi_high[0],
                "p": with_.roi_p[0],
            }
        table.append({**row, "seconds": seconds})
    return pd.DataFrame(table)


def compare(
    sessions: list[Session],
    settings: dict[str, Any],
    *,
    n_folds: int = 5,
    fit_folds: int | None = None,
    sizes: tuple[int | None, ...] = (30, 100, 300, None),
    methods: tuple[str, ...] | None = None,
    in_context: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare encoders on the last session; the others train the in-context network.

    Parameters
    ----------
    sessions : list of Session
    settings : dict
        ``FULL`` or ``TINY``.
    n_folds, fit_folds : int
        Parts of the pictures, and how many of them to test on (all by default).
    sizes : tuple
        Contexts; None is all training pictures.
    methods : tuple of names, optional
        Of ``METHODS``; all by default.
    in_context : bool
    seed : int
    """
    *others, s = sessions
    folds = folds_of(s, n_folds, seed)[:fit_folds]
    predictions: dict[str, tuple[Any, float]] = {}
    versus: dict[str, str] = {}
    for name in METHODS if methods is None else methods:
        predictions[name] = predict_folds(METHODS[name], s, folds, settings)
        versus[name] = "ridge"
        print(f"{name}: {predictions[name][1]:.1f} s", flush=True)
    versus.pop("ridge", None)
    if in_context:
        embed = embedding(others, settings["n_dims"])
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", AlphaAtBoundaryWarning)
            begin = time.perf_counter()
            network = train_network(others, embed, settings["in_context"], Path(folder), seed)
        print(f"in-context network: trained in {time.perf_counter() - begin:.0f} s", flush=True)
        models = {
            "in-context": InContextEncoder(network, standardize=True),
            "ridge on its embedding": RidgeCV(scoring="r2"),
        }
        for size in sizes:
            words = "all" if size is None else str(size)
            for name, model in models.items():
                predictions[f"{name}, {words} pictures"] = predict_folds(
                    from_context(model, embed, size, seed), s, folds
                )
            versus[f"in-context, {words} pictures"] = f"ridge on its embedding, {words} pictures"
    return score(s, folds, predictions, versus)


def main(argv: list[str] | None = None) -> pd.DataFrame:
    """Run the comparison and print the table."""
    parser = argparse.ArgumentParser(description="Encoders of macaque V4, on the same folds.")
    parser.add_argument("--data", type=Path, help="folder that holds cowley_v4 and mobilenetv2_imagenet")
    parser.add_argument("--output", type=Path, help="where to write the table (TSV)")
    parser.add_argument("--store", type=Path, help="keep features here, to run again without computing them")
    parser.add_argument("--folds", type=int, help="test on so many of the five folds only")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.data is None:
        print("No --data given: a small simulation, not the brain. Scores say only that the program works.")
        table = compare(stand_in(seed=args.seed), TINY, fit_folds=args.folds or 2, sizes=(30, None), seed=args.seed)
    else:
        sessions = [read_session(args.data, name, args.store) for name in ("190923", "190925", "210325")]
        ceiling = np.median(sessions[-1].ceiling)
        print(f"{sessions[-1].Y.shape[1]} neurons, {len(sessions[-1].Y)} pictures, median ceiling {ceiling:.3f}")
        table = compare(sessions, FULL, fit_folds=args.folds, seed=args.seed)
    print(table.round(3).to_string(index=False))
    if args.output is not None:
        table.to_csv(args.output, sep="\t", index=False, na_rep="n/a")
    return table


if __name__ == "__main__":
    main()
