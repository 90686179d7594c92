"""How does a network learn to read contexts? On voxels whose other responses it must predict, in three stages.

Every step draws one context size n, n + q images and some voxels, lets the network read n responses per voxel, and
lowers, averaged over voxels and query images,

    (y - w . x - b)^2,        [w, b] = network(context)

where y is a measured response, or a synthetic one before noise, which has the same minimum. Stages: synthetic voxels
with contexts of one size; synthetic voxels with contexts of all sizes; measured voxels of other subjects. Randomness
depends on the seed, the stage and the step alone, so a run that was interrupted ends where it would have ended.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neuro._check import check_option, check_positive_int, require
from neuro.encoders._in_context_files import load_network, save_network
from neuro.encoders._in_context_fit import PRECISIONS
from neuro.encoders._in_context_network import InContextNetwork
from neuro.encoders._in_context_stages import Stage as Stage
from neuro.encoders._in_context_stages import three_stages as three_stages
from neuro.encoders._in_context_start import start_from
from neuro.encoders._in_context_state import load_state, restore, save_state
from neuro.encoders._in_context_trainer import Trainer
from neuro.encoders.in_context_config import InContextConfig
from neuro.encoders.in_context_synthetic import SubjectVoxels, SyntheticVoxels, VoxelSource
from neuro.errors import ShapeMismatch

STARTS = ("random", "data")


@dataclass
class TrainingRun:
    """What training returned."""

    network: InContextNetwork
    """The best network of the last stage that was validated."""
    finished: bool
    """False if ``minutes`` ran out."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Per validation: stage, step, loss, explained_variance, by_context, weight_cosine."""
    folder: Path | None = None


def train_in_context(
    subjects: Any,
    config: InContextConfig,
    folder: str | os.PathLike[str],
    *,
    stages: Sequence[Stage] | None = None,
    synthetic: Any = "clusters",
    validation: Any = None,
    start: str = "random",
    seed: int = 0,
    device: Any = None,
    precision: str = "float32",
    accelerator: Any = None,
    validate_every: int = 500,
    n_validation: int = 4,
    minutes: float | None = None,
    resume: bool = True,
    progress: bool | Callable[[str], None] = True,
) -> TrainingRun:
    """Train an in-context network, and write it to a folder that ``InContextEncoder.load`` reads.

    Parameters
    ----------
    subjects : mapping or sequence of (X, Y), or SubjectVoxels
        Training subjects: embeddings (n_images, n_features) and z-scored responses (n_images, n_voxels).
    config : InContextConfig
    folder : path
        Gets ``network.safetensors`` and ``config.json`` (the best of the current stage) and ``training.safetensors``
        (all that resuming needs), each replaced as a whole.
    stages : sequence of Stage
        By default :func:`three_stages`.
    synthetic : SyntheticVoxels or prior
        A prior ("isotropic", "clusters", "empirical") is put over the subjects' training images; the latter two use the
        subjects' ridge weights.
    validation : as ``subjects``, optional
        Subjects to validate measured stages on; by default images kept apart.
    start : {"random", "data"}
        Initial values: random, or with the first and last stage in coordinates in which images vary equally and weights
        are spread as the (synthetic or measured) voxels' are, which a small network learns sooner from.
    seed : int
        Of initial weights, draws and dropout.
    device : str, torch.device or None
        Where to train; None is the CPU. Without effect under ``accelerator``.
    precision : {"float32", "bfloat16"}
        Of products, in mixed precision. Without effect under ``accelerator``.
    accelerator : accelerate.Accelerator, True or None
        For several GPUs: start the script with ``accelerate launch``. Every process draws its own voxels.
    validate_every : int
        Steps between validations, each of which also saves the state.
    n_validation : int
        Draws of every validation, per context size.
    minutes : float, optional
        Stop, resumably, after this time.
    resume : bool
        Go on from the state in ``folder``, if there is one; False starts over.
    progress : bool or callable
        Print a line per validation to standard error, or hand it to a function.

    Returns
    -------
    TrainingRun

    Raises
    ------
    ShapeMismatch
        If embeddings are not of the configuration's size.
    ValueError
        If there are too few images for the contexts and queries asked for.
    StaleStore
        If ``folder`` holds a run with other settings or data.

    Notes
    -----
    AdamW, gradient norm clipped to 1. Validation, and with it the network kept, goes by explained variance
    ``1 - var(y - y_hat) / var(y)``, averaged over voxels and over the smallest and largest context, as far as the
    images kept for validation go.

    References
    ----------
    Yu et al. (2025), arXiv 2505.15813; the synthetic stage, whose program was not released, is our own.
    """
    began = time.monotonic()
    check_option("start", start, STARTS)
    check_option("precision", precision, [p for p in PRECISIONS if p != "float16"])
    check_positive_int("validate_every", validate_every)
    check_positive_int("n_validation", n_validation)
    stages = three_stages() if stages is None else list(stages)
    if not stages:
        raise ValueError("stages must hold at least one Stage, got none.")
    sources = _sources(subjects, synthetic, validation, stages, seed)
    for stage in stages:
        _check_stage(stage, sources[stage.source], config)
    folder = Path(folder)
    identity = {
        "config": config.to_dict(),
        "stages": [asdict(s) for s in stages],
        "start": start,
        "seed": seed,
        "data": {k: s.describe() for k, s in sources.items()},
        "validation": [validate_every, n_validation],
    }
    if accelerator is True:
        accelerator = require("accelerate", "training on several GPUs").Accelerator()
    trainer = Trainer(config, seed, device, precision, accelerator)
    report = _reporter(progress, trainer.main)
    fresh = {"step": 0, "best": None, "waited": 0, "loss": [0.0, 0]}
    position: dict[str, Any] = {"stage": 0, **fresh, "history": [], "identity": identity}
    found = load_state(folder, identity) if resume else None
    if found is not None:
        position = found[0]
        restore(trainer.bare, trainer.optimizer, found[1])
        report(f"going on after stage {position['stage']} and {position['step']} steps")
    elif start == "data":
        source: Any = sources.get("synthetic", sources.get("real"))
        weights = source.sample_weights(4096, seed) if "synthetic" in sources else source.ridge_weights()
        start_from(trainer.bare, source.pool(), weights, seed)
    if found is None and trainer.main:
        save_network(trainer.bare, folder, training=[], stage="untrained")
    finished = True
    while position["stage"] < len(stages) and finished:
        stage, number = stages[position["stage"]], position["stage"]
        total, count = position["loss"]
        while position["step"] < stage.n_steps:
            if minutes is not None and trainer.any(time.monotonic() - began > 60 * minutes):
                finished = False
                break
            total = total + trainer.step(stage, sources[stage.source], number, position["step"])
            count += 1
            position["step"] += 1
            if position["step"] % validate_every and position["step"] < stage.n_steps:
                continue
            scores = trainer.validate(stage, sources[stage.source], n_validation)
            row = {"stage": stage.name, "step": position["step"], "loss": float(total) / count, **scores}
            total, count = 0.0, 0
            better = position["best"] is None or row["explained_variance"] > position["best"]
            position["history"].append(row)
            position |= {"waited": 0 if better else position["waited"] + 1, "loss": [0.0, 0]}
            report(_line(row, stage, time.monotonic() - began))
            if better:
                position["best"] = row["explained_variance"]
                if trainer.main:
                    save_network(trainer.bare, folder, training=position["history"], stage=stage.name)
            if trainer.main:
                save_state(folder, trainer.bare, trainer.optimizer, position)
            if stage.patience is not None and position["waited"] >= stage.patience:
                break
        position["loss"] = [float(total), count]
        if finished:
            position |= {"stage": number + 1, **fresh}
        if trainer.main:
            save_state(folder, trainer.bare, trainer.optimizer, position)
    if accelerator is not None:
        accelerator.wait_for_everyone()
    return TrainingRun(load_network(folder)[0], finished, position["history"], folder)


def _sources(
    subjects: Any, synthetic: Any, validation: Any, stages: Sequence[Stage], seed: int
) -> dict[str, VoxelSource]:
    needed = {stage.source for stage in stages}
    measured = subjects
    if subjects is not None and not hasattr(subjects, "draw"):
        measured = SubjectVoxels(subjects, validation, seed=seed)
    if "real" in needed and measured is None:
        raise ValueError("a stage on measured voxels needs subjects, pairs (X, Y); got None.")
    sources: dict[str, Any] = {"real": measured} if "real" in needed else {}
    if "synthetic" in needed:
        if isinstance(synthetic, str):
            if not isinstance(measured, SubjectVoxels):
                raise ValueError("a prior by name needs subjects; or give synthetic=SyntheticVoxels(pool, prior).")
            weights = None if synthetic == "isotropic" else measured.ridge_weights()
            synthetic = SyntheticVoxels(measured.pool(), synthetic, weights=weights, seed=seed)
        sources["synthetic"] = synthetic
    return sources


def _check_stage(stage: Stage, source: VoxelSource, config: InContextConfig) -> None:
    if source.n_features != config.n_features:
        raise ShapeMismatch(
            f"the {stage.source} voxels have embeddings of {source.n_features} numbers, the network is made for "
            f"{config.n_features}."
        )
    room, wanted = source.most_images(), stage.context[1] + stage.n_queries
    if wanted > room:
        raise ValueError(
            f"stage {stage.name!r} draws up to {stage.context[1]} images of context and {stage.n_queries} queries, but "
            f"there are {room} training images. Lower context or n_queries."
        )
    kept = source.most_images(True)
    if min(stage.context[0], config.min_context) > kept - min(stage.n_queries, kept // 2):
        raise ValueError(
            f"stage {stage.name!r} cannot be validated: only {kept} images are kept for it, too few for contexts of "
            f"{min(stage.context[0], config.min_context)} and other images to predict. Keep more."
        )
    if stage.context[0] < config.min_context and stage.source == "real":
        raise ValueError(
            f"stage {stage.name!r} trains with contexts of {stage.context[0]}, below the configuration's min_context "
            f"{config.min_context}, which fit would refuse. Make them agree."
        )


def _line(row: dict[str, Any], stage: Stage, seconds: float) -> str:
    sizes = ", ".join(f"{size} images {ev:+.3f}" for size, ev in row["by_context"].items())
    cosine = "" if row["weight_cosine"] is None else f", cosine to true weights {row['weight_cosine']:.3f}"
    return (
        f"{stage.name} {row['step']}/{stage.n_steps}: loss {row['loss']:.4f}, explained variance {sizes}{cosine} "
        f"({seconds:.0f} s)"
    )


def _reporter(progress: bool | Callable[[str], None], main: bool) -> Callable[[str], None]:
    if not main or progress is False:
        return lambda text: None
    return progress if callable(progress) else lambda text: print(text, file=sys.stderr, flush=True)
