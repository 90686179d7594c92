"""Decoders of a study: fitted to the training images of one subject, asked about its test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng
from neuro.decoders import RECIPES, Decoded, NeuralDecoder, RidgeDecoder
from neuro.decoders.metrics import retrieval, two_way_identification
from neuro.decoders.metrics.result import MetricResult
from neuro.errors import EmptySelection
from neuro.study.decode_config import LINEAR, DecodeConfig
from neuro.study.evaluate import Design

CONTENT, LAYOUT = "image_tokens", "low_level"
OUTPUTS = {CONTENT: "content (image tokens)", LAYOUT: "layout (low-level latents)"}


def decode(
    decode: DecodeConfig,
    decoder: str,
    design: Design,
    targets: Decoded,
    subject: str,
    seed: int,
    *,
    voxels: np.ndarray | None = None,
    shuffled: bool = False,
) -> Decoded:
    """Return what is decoded from the responses to every tested image, never having been fitted to that image.

    Parameters
    ----------
    decode : DecodeConfig
    decoder : str
        "ridge" or the name of a recipe.
    design : Design
    targets : Decoded
        Of all images of the design.
    subject : str
    seed : int
    voxels : mask or indices (n_voxels,), optional
        Decode from these alone.
    shuffled : bool
        Give the training responses to other training images: a decoder that can know nothing.
    """
    Y = design.Y if voxels is None else design.Y[:, voxels]
    parts = []
    for train, test in design.folds:
        rows = as_rng(seed).permutation(train) if shuffled else train
        ids = design.stimulus[train]
        fitted = fit_decoder(decode, decoder, {subject: Y[rows]}, {subject: ids}, targets, seed)
        parts.append(fitted.predict(Y[test], ids=design.stimulus[test], subject=subject))
    return join(parts)


def fit_decoder(
    decode: DecodeConfig,
    decoder: str,
    X: Mapping[Any, np.ndarray],
    ids: Mapping[Any, np.ndarray],
    targets: Decoded,
    seed: int,
) -> Any:
    """Fit one decoder to the responses of one or several subjects.

    Parameters
    ----------
    decode, decoder
    X : dict of subject -> array (n_trials, n_voxels)
    ids : dict of subject -> stimulus of each row
    targets : Decoded
        With rows for all these stimuli, in any order; memory maps are read a part at a time.
    seed : int
    """
    wanted = targets_of(decode, decoder, targets)
    if decoder == LINEAR:
        options = {"alpha": "auto", "standardize": True, **decode.options}
        return RidgeDecoder(**options, random_state=seed).fit(dict(X), wanted, ids=dict(ids), target_ids=targets.ids)
    recipe = recipe_of(decode, decoder)
    return NeuralDecoder(recipe, random_state=seed).fit(dict(X), wanted, ids=dict(ids), target_ids=targets.ids)


def recipe_of(decode: DecodeConfig, decoder: str) -> Any:
    """Return the recipe at the size that fits the target, with the settings that the study changes."""
    preset = "phantom" if decode.target == "phantom-clip" else "nsd"
    return RECIPES[decoder](preset).with_settings(**dict(decode.options))


def targets_of(decode: DecodeConfig, decoder: str, targets: Decoded) -> dict[str, np.ndarray]:
    """Return the arrays that a decoder learns."""
    if decoder == LINEAR:
        names = [CONTENT, "image_embedding", *([LAYOUT] if decode.low_level else [])]
    else:
        names = list(recipe_of(decode, decoder).targets)
    return {name: targets[name] for name in names}


def join(parts: Sequence[Decoded]) -> Decoded:
    """Return the rows of several folds as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    arrays = {name: np.concatenate([p[name] for p in parts]) for name in first}
    return Decoded(arrays, np.concatenate([p.ids for p in parts]), first.subject, first.provenance)


# What is searched with, and in what; the first that was decoded.
SEARCH = (("retrieval_tokens", CONTENT), ("image_embedding", "image_embedding"), (CONTENT, CONTENT))


def search_pair(decoded: Decoded, targets: Decoded) -> tuple[np.ndarray, np.ndarray]:
    """Return what is searched with, and the same of the true images, each (n, ...)."""
    for name, target in SEARCH:
        if name in decoded:
            return np.array(decoded[name]), np.array(targets[target])
    raise EmptySelection(f"nothing that can be searched with was decoded, only {', '.join(decoded)}.")


def score(
    decode: DecodeConfig, decoded: Decoded, targets: Decoded, seed: int
) -> tuple[dict[str, MetricResult], pd.DataFrame]:
    """Return retrieval and identification of what was decoded, and the rank of every image.

    Returns
    -------
    dict of metric -> MetricResult
    DataFrame ``direction, stimulus, rank, n_gallery``
    """
    true = targets.select(decoded.ids)
    pool = min(decode.pool, len(decoded.ids))
    found = retrieval(
        *search_pair(decoded, true),
        pool,
        decode.repeats,
        seed,
        protocol=f"{pool}-way, {decode.repeats} pools",
    )
    results = dict(found.results())
    for name in (CONTENT, LAYOUT):
        if name in decoded:
            short = "tokens" if name == CONTENT else "low_level"
            results[f"two_way_{short}"] = two_way_identification(decoded[name], true[name], rng=seed)
    direction = {"brain_to_image": "retrieve_image_given_brain", "image_to_brain": "retrieve_brain_given_image"}
    ranks = [
        pd.DataFrame(
            {
                "direction": direction[way],
                "stimulus": decoded.ids,
                "rank": np.floor(r).astype(int) + 1,
                "n_gallery": len(r),
            }
        )
        for way, r in found.ranks.items()
    ]
    return results, pd.concat(ranks, ignore_index=True)


def by_region(
    decode_config: DecodeConfig,
    design: Design,
    rois: Mapping[str, np.ndarray],
    targets: Decoded,
    subject: str,
    seed: int,
) -> pd.DataFrame:
    """Return two-way identification of content and layout decoded by ridge from each region alone."""
    rows = []
    for roi, mask in rois.items():
        decoded = decode(decode_config, LINEAR, design, targets, subject, seed, voxels=mask)
        true = targets.select(decoded.ids)
        for name in (CONTENT, LAYOUT):
            if name not in decoded:
                continue
            r = two_way_identification(decoded[name], true[name], rng=seed)
            low, high = r.ci or (np.nan, np.nan)
            rows.append(
                {"roi": roi, "n_voxels": int(np.sum(mask)), "output": OUTPUTS[name], "metric": r.metric,
                 "value": r.value, "ci_low": low, "ci_high": high, "chance": r.chance}
            )  # fmt: skip
    return pd.DataFrame(rows)
