"""Named protocols: all that must be fixed before two image scores may stand in one table.

The published evaluations differ in the size at which pixels are compared, in who is resized, how and with or without
antialiasing, in the weights behind one network's name, and in what two-way identification compares. Each is one
:class:`ImageProtocol`, an entry of ``PROTOCOLS``; :func:`evaluate_images` computes all its metrics and every result
carries its name. A protocol changed by ``dataclasses.replace`` names its changes, and a network put in the place of a
published one is named too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, check_positive_int
from neuro.decoders.metrics._categories import check_categories
from neuro.decoders.metrics._image_protocol import PROTOCOLS, ImageProtocol, NetworkUse
from neuro.decoders.metrics._images import check_image_pairs, check_images, resize
from neuro.decoders.metrics._similarity import paired_similarity, similarity
from neuro.decoders.metrics.identify import categories_from_similarity, two_way_from_similarity
from neuro.decoders.metrics.networks import FeatureReader, load_reader, read_features
from neuro.decoders.metrics.pixels import pixcorr_of_batches, ssim_of_batches
from neuro.decoders.metrics.result import MetricResult, mean_result, results_table
from neuro.errors import ShapeMismatch

__all__ = ["PROTOCOLS", "ImageProtocol", "ImageScores", "NetworkUse", "evaluate_images"]


class ImageScores(dict[str, MetricResult]):
    """Results by metric; ``print(scores)`` shows a table."""

    def table(self, system: str = "reconstruction") -> pd.DataFrame:
        """Return one row per metric, as :func:`neuro.decoders.metrics.result.results_table`."""
        return results_table({system: self})

    def __str__(self) -> str:
        rows = self.table().drop(columns="system")
        return rows.to_string(index=False, float_format=lambda x: f"{x:.4f}")


def evaluate_images(
    recon: Any,
    true: Any,
    protocol: str | ImageProtocol = "mindeye",
    networks: Mapping[str, Callable[..., Any]] | None = None,
    categories: Any = None,
    rng: int | np.random.Generator | None = 0,
    *,
    blurry: Any = None,
    metrics: Iterable[str] | None = None,
    weights: str | Path | None = None,
    download: bool = False,
    device: Any = None,
    batch_size: int = 32,
    n_permutations: int = 0,
    oracle: bool = False,
) -> ImageScores:
    """Score reconstructions by all metrics of a protocol.

    Parameters
    ----------
    recon : array or tensor (n, 3, height, width) in [0, 1], or (n, samples, 3, height, width)
        Several samples only where the protocol says what becomes of them.
    true : array or tensor (n, 3, height, width) in [0, 1]
        The same items in the same order; sizes may differ.
    protocol : str or ImageProtocol
        A name of ``PROTOCOLS``, or one of your own.
    networks : dict of name -> callable, optional
        Feature networks by metric (``"clip"``), each from float images (b, 3, size, size) in [0, 1] to features. Those
        not given are the protocol's, see :func:`neuro.decoders.metrics.networks.load_reader`.
    categories : sequence (n,), optional
        Adds identification within and between categories for every two-way metric, where distractors are "all".
    rng : int, Generator or None
        Bootstrap, single distractors, permutations.
    blurry : images like recon, optional
        Low-level images to blend in, for protocols that do; without them the images are scored as they are and the
        results say so.
    metrics : iterable of str, optional
        Some of the protocol's metrics; all by default.
    weights, download, device
        For the protocol's own networks.
    batch_size : int
    n_permutations : int
        Above 0, p-values of two-way metrics by permuting images.
    oracle : bool
        Whether the true images took part in choosing the reconstructions; marks every result.

    Returns
    -------
    ImageScores
        dict of metric -> MetricResult.

    Raises
    ------
    MissingWeights
        Before anything is computed, naming what to download.
    ShapeMismatch, ValueError
        Images that do not fit, a single test item, NaN, pixels outside [0, 1], unknown names.
    """
    p = protocol if isinstance(protocol, ImageProtocol) else PROTOCOLS[check_option("protocol", protocol, PROTOCOLS)]
    wanted = p.metrics if metrics is None else tuple(metrics)
    for name in wanted:
        check_option("metrics", name, p.metrics)
    batch_size = check_positive_int("batch_size", batch_size)
    recon, true = check_image_pairs(recon, true, samples=True, at_least=2)
    if recon.ndim == 5 and p.samples == "single":
        raise ShapeMismatch(
            f"protocol {p.name!r} scores one reconstruction per image, got {recon.shape[1]} samples. Choose one "
            "without the help of the true image, or take protocol 'takagi' or 'phantom'."
        )
    samples = recon if recon.ndim == 5 else recon[:, None]
    if categories is not None:
        check_categories(categories, len(true))
    low = _low_level(blurry, p, samples)
    label = p.label if p.blend is None or low is not None else f"{p.label}, without the blurry blend"
    uses = [use for use in p.networks if use.metric in wanted]
    readers = _readers(uses, networks, p, weights, download, device)
    rng = as_rng(rng)
    about = {"test_set": p.test_set, "samples": samples.shape[1]}
    source = _Source(p, samples, true, low, batch_size)

    out: dict[str, MetricResult] = {}
    if "pixcorr" in wanted:
        parts = [
            pixcorr_of_batches(source.pixels(s), p.pixcorr, protocol=label, rng=rng, details=about)
            for s in range(samples.shape[1])
        ]
        out["pixcorr"] = _mean_of(parts, rng)
    if "ssim" in wanted:
        parts = [
            ssim_of_batches(source.pixels(s), p.ssim, label=label, rng=rng, details=about)
            for s in range(samples.shape[1])
        ]
        out["ssim"] = _mean_of(parts, rng)
    for use in uses:
        reader, named = readers[use.metric]
        out |= _feature_scores(use, reader, f"{label}{named}", source, categories, n_permutations, rng, about)
    return ImageScores({k: replace(r, oracle=True) if oracle else r for k, r in out.items()})


class _Source:
    """The images as a protocol wants to see them, batch by batch."""

    def __init__(self, p: ImageProtocol, samples: np.ndarray, true: np.ndarray, low: np.ndarray | None, batch: int):
        self.p, self.samples, self.true, self.low, self.batch = p, samples, true, low, batch

    def _parts(self) -> Iterator[slice]:
        for start in range(0, len(self.true), self.batch):
            yield slice(start, start + self.batch)

    def _first(self, x: np.ndarray) -> np.ndarray:
        size = self.p.pre_resize
        return x if size is None else resize(x, size, self.p.pixel_resize, self.p.antialias)

    def _decoded(self, part: slice, s: int) -> np.ndarray:
        x = self._first(self.samples[part, s])
        if self.low is None:
            return x
        blurry = resize(self._first(self.low[part]), x.shape[-2:], self.p.pixel_resize, self.p.antialias)
        share = self.p.blend or 1.0
        return share * x + (1 - share) * blurry

    def pixels(self, s: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for part in self._parts():
            size = self.p.pixel_size or self.true.shape[-2:]
            decoded, true = self._decoded(part, s), self._first(self.true[part])
            how = self.p.pixel_resize, self.p.antialias
            yield resize(decoded, size, *how), resize(true, size, *how)

    def inputs(self, size: int | tuple[int, int], s: int | None) -> Iterator[np.ndarray]:
        for part in self._parts():
            x = self._first(self.true[part]) if s is None else self._decoded(part, s)
            yield resize(x, size, self.p.network_resize, self.p.antialias)


def _feature_scores(
    use: NetworkUse,
    reader: Callable[..., Any],
    label: str,
    source: _Source,
    categories: Any,
    n_permutations: int,
    rng: np.random.Generator,
    about: dict[str, Any],
) -> dict[str, MetricResult]:
    p = source.p
    size = use.size or getattr(reader, "size", None) or source.true.shape[-2:]
    true = read_features(reader, source.inputs(size, None), use.metric)
    decoded = [read_features(reader, source.inputs(size, s), use.metric) for s in range(source.samples.shape[1])]
    about = {**about, "network": getattr(reader, "label", "a network of the caller's"), "input_size": size}
    if use.score == "distance":
        pairs = [paired_similarity(x, true) for x in decoded]
        return {
            use.metric: mean_result(
                "correlation_distance",
                1 - np.mean([values for values, _ in pairs], axis=0),
                protocol=label,
                chance=1 - float(np.mean([wrong for _, wrong in pairs])),
                rng=rng,
                higher_is_better=False,
                details={**about, "chance": "all wrong pairs"},
            )
        }
    matrices = [similarity(true, x, p.similarity) for x in decoded]
    if p.samples != "metric":
        matrices = [np.mean(matrices, axis=0)]
    settings = {"metric": p.similarity, "rng": rng, "protocol": label}
    parts = [
        two_way_from_similarity(c, p.anchor, p.ties, p.distractors, n_permutations=n_permutations, **settings)
        for c in matrices
    ]
    out = {use.metric: _mean_of(parts, rng)}
    if categories is not None and p.distractors == "all":
        split = [categories_from_similarity(c, categories, p.anchor, p.ties, **settings) for c in matrices]
        for name in split[0]:
            if name != "two_way":
                out[f"{use.metric}_{name}"] = _mean_of([one[name] for one in split], rng)
    return {k: replace(r, details={**r.details, **about}) for k, r in out.items()}


def _mean_of(parts: list[MetricResult], rng: np.random.Generator) -> MetricResult:
    """Average the values of items over samples."""
    first = parts[0]
    if len(parts) == 1:
        return first
    chances = [r.chance for r in parts if r.chance is not None]
    p_values = [r.details["p_value"] for r in parts if "p_value" in r.details]
    details = {k: v for k, v in first.details.items() if k not in ("p_value", "tied_comparisons", "undefined_items")}
    if p_values:
        details["p_value_of_each_sample"] = p_values
    return mean_result(
        first.metric,
        np.mean([r.per_item for r in parts], axis=0),
        protocol=first.protocol,
        chance=float(np.mean(chances)) if chances else None,
        rng=rng,
        higher_is_better=first.higher_is_better,
        details=details,
    )


def _low_level(blurry: Any, p: ImageProtocol, samples: np.ndarray) -> np.ndarray | None:
    if blurry is None:
        return None
    if p.blend is None:
        raise ValueError(f"protocol {p.name!r} scores images as they are: blurry= is for protocols with a blend.")
    low = check_images("blurry", blurry)
    if len(low) != len(samples):
        raise ShapeMismatch(f"blurry has {len(low)} items, recon {len(samples)}: they must be the same items.")
    return low


def _readers(
    uses: list[NetworkUse],
    given: Mapping[str, Callable[..., Any]] | None,
    p: ImageProtocol,
    weights: str | Path | None,
    download: bool,
    device: Any,
) -> dict[str, tuple[Callable[..., Any], str]]:
    """Return the network of every metric, and what that adds to the protocol's name unless it is the published one."""
    given = dict(given or {})
    for name in given:
        check_option("networks", name, [use.metric for use in p.networks])
    loaded: dict[tuple[str, bool], FeatureReader] = {}
    out: dict[str, tuple[Callable[..., Any], str]] = {}
    for use in uses:
        if use.metric in given:
            reader = given[use.metric]
            official = use.pretrained and getattr(reader, "name", None) == use.network
            named = "" if official else f"; {use.metric} by {getattr(reader, 'label', 'a network of the caller')}"
            out[use.metric] = (reader, named)
            continue
        key = (use.network, use.pretrained)
        if key not in loaded:
            loaded[key] = load_reader(use.network, weights, download=download, pretrained=use.pretrained, device=device)
        out[use.metric] = (loaded[key], "")
    return out
