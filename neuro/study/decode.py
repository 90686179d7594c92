"""The decoding of a study: targets, decoders, pictures and captions of every subject, each step cached."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from neuro._check import as_rng
from neuro._files import read_json, write_json
from neuro.data import Stimuli
from neuro.decoders import Decoded, image_targets, load_captioner, load_generator
from neuro.decoders.generators import encode_images, low_level_pictures
from neuro.decoders.metrics import MetricResult, caption_scores, evaluate_images
from neuro.decoders.naming import content_naming, named_content
from neuro.features.fingerprint import hash_weights
from neuro.features.models import DEFAULT
from neuro.report.decoder_results import DecoderResults, Shown, choose_by_rank
from neuro.study.cache import StepCache
from neuro.study.config import StudyConfig
from neuro.study.decode_config import LINEAR, DecodeConfig
from neuro.study.decode_fit import LAYOUT, by_region, decode, score, search_pair
from neuro.study.prepare import Prepared

# Raised when these steps compute something else than before from the same settings.
VERSION = 1
SHUFFLED = "shuffled pairing"
EACH = 5  # images shown of the best, the middle and the worst


@dataclass(eq=False)
class Tools:
    """Generator and captioner of a study, opened once, when first needed."""

    config: DecodeConfig
    _opened: dict[str, Any] = field(default_factory=dict)

    @property
    def generator(self) -> Any:
        """The generator, or None."""
        if "generator" not in self._opened:
            name = self.config.generator
            self._opened["generator"] = load_generator(name, self.config.generator_weights) if name else None
        return self._opened["generator"]

    @property
    def captioner(self) -> Any:
        """The captioner, or None."""
        if "captioner" not in self._opened:
            name = self.config.captioner
            self._opened["captioner"] = load_captioner(name) if name else None
        return self._opened["captioner"]

    def key(self, *parts: str) -> list[str]:
        """Return hashes of the weights of "vae", "unet" (of the generator) or "captioner", where they are networks."""
        networks = {
            "vae": lambda: getattr(self.generator, "vae", None),
            "unet": lambda: getattr(self.generator, "unet", None),
            "captioner": lambda: self.captioner.model,
        }
        found = [networks[part]() for part in parts]
        return [hash_weights(n) if isinstance(n, nn.Module) else str(n) for n in found]

    def low_level_reader(self) -> dict[str, Any]:
        """Return the reader of latents, as :func:`neuro.decoders.image_targets` takes it."""
        if not self.config.low_level:
            return {}
        vae = self.generator.vae
        return {LAYOUT: lambda pictures: encode_images(vae, pictures)}


@dataclass(eq=False)
class GatheredDecoding:
    """Rows of all subjects."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    ranks: list[pd.DataFrame] = field(default_factory=list)
    regions: list[pd.DataFrame] = field(default_factory=list)
    captions: list[pd.DataFrame] = field(default_factory=list)
    shown: dict[tuple[str, str], Shown] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def results(self, config: StudyConfig, is_phantom: bool) -> DecoderResults:
        """Return everything as one object."""
        assert config.decode is not None
        tables = (self.ranks, self.regions, self.captions)
        joined = [pd.concat(t, ignore_index=True) if t else pd.DataFrame() for t in tables]
        about = {"settings": dataclasses.asdict(config.decode), "texts": describe(config.decode, is_phantom)}
        return DecoderResults(pd.DataFrame(self.rows), *joined, self.shown, about)


def describe(config: DecodeConfig, is_phantom: bool) -> list[str]:
    """Return what was done, in words."""
    what = "image tokens and image embeddings" + (" and low-level latents" if config.low_level else "")
    out = [
        f"From the trial-averaged responses to each test image, {', '.join(config.decoders)} decoded {what} of "
        f"{config.target}. Decoders were fitted to training images only; predictions were not rescaled by statistics "
        "of the test set."
    ]
    if config.generator:
        count = f"{config.n_images} test images, drawn with the study’s seed," if config.n_images else "All test images"
        start = f", strength {config.strength:g} from the decoded low-level start" if config.low_level else ""
        how = f"{config.steps} steps, guidance {config.guidance:g}{start}"
        out.append(f"{count} were reconstructed by {config.generator} ({how}).")
    if is_phantom and config.target == "phantom-clip":
        out.append("Target network, generator and captioner know the phantom’s world alone, no photographs.")
    return out


def open_tools(config: StudyConfig) -> Tools:
    """Open what can be missing before anything is computed."""
    assert config.decode is not None
    tools = Tools(config.decode)
    _ = tools.generator, tools.captioner
    return tools


def make_targets(config: StudyConfig, cache: StepCache, tools: Tools, stimuli: Stimuli) -> tuple[Decoded, str]:
    """Return the targets of a collection of images, from the cache where they stand."""
    d = tools.config
    depends = {
        "version": VERSION,
        "stimuli": [stimuli.source_token() or stimuli.fingerprint(), stimuli.ids.tolist()],
        "target": [d.target, str(d.pretrained), d.normalise],
        "vae": tools.key("vae") if d.low_level else None,
    }

    def work(target: Path) -> None:
        image_targets(
            stimuli,
            d.target,
            pretrained=DEFAULT if d.pretrained is None else d.pretrained,
            normalise=d.normalise,
            readers=tools.low_level_reader(),
            size=tools.generator.size[0] if d.low_level else None,
            folder=target / "targets",
        )

    folder, key = cache.run("targets", f"targets  {d.target}", depends, work)
    return Decoded.load(folder / "targets"), key


def decode_subject(
    config: StudyConfig,
    cache: StepCache,
    tools: Tools,
    ready: Prepared,
    stimuli: Stimuli,
    targets: tuple[Decoded, str],
    found: GatheredDecoding,
) -> None:
    """Decode the test images of one subject by every decoder; results go to ``found``."""
    d = tools.config
    true, targets_key = targets
    names = [(name, name, False) for name in d.decoders]
    if d.shuffled_control:
        names.append((SHUFFLED, d.decoders[0], True))
    for label, decoder, control in names:
        decoded, key = _decoded(config, cache, ready, true, targets_key, decoder, control)
        found.keys.append(key)
        metrics, ranks = score(d, decoded, true, config.seed)
        about = {"subject": ready.name, "decoder": label, "control": control}
        found.ranks.append(ranks.assign(**about))
        pictures, key = _pictures(config, cache, tools, decoded, key) if d.generator else (None, key)
        captions, key = _captions(config, cache, tools, decoded, key) if d.captioner else (None, key)
        found.keys.append(key)
        if pictures is not None:
            metrics |= image_scores(d, pictures, stimuli, config.seed)
        if captions is not None and "captions" in stimuli.table:
            scores, table = caption_results(captions, decoded.ids, stimuli, config.seed)
            metrics |= scores
            found.captions.append(table.assign(subject=ready.name, decoder=label))
        found.rows += [{**about, **row_of(name, m)} for name, m in metrics.items()]
        if pictures is not None and not control:
            found.shown[ready.name, label] = shown(pictures, decoded, true, stimuli, captions)
    if d.by_region:
        table, key = _regions(config, cache, ready, true, targets_key)
        found.keys.append(key)
        found.regions.append(table.assign(subject=ready.name, decoder=LINEAR))


def row_of(name: str, result: MetricResult) -> dict[str, Any]:
    """Return a result as a row of the table, under the name that tells it from others of its kind."""
    low, high = result.ci or (np.nan, np.nan)
    return {
        "metric": name,
        "value": result.value,
        "ci_low": low,
        "ci_high": high,
        "chance": np.nan if result.chance is None else result.chance,
        "n": result.n,
        "protocol": result.protocol,
        "higher_is_better": result.higher_is_better,
        "oracle": result.oracle,
    }


@dataclass(frozen=True, eq=False)
class Pictures:
    """Reconstructions of some test images: ids (n,), images (n, 3, h, w) on 0..1 by name."""

    ids: np.ndarray
    images: Mapping[str, np.ndarray]


def _decoded(config, cache, ready: Prepared, true: Decoded, targets_key: str, decoder: str, control: bool):
    d = config.decode
    depends = {
        "version": VERSION,
        "subject": ready.key,
        "targets": targets_key,
        "decoder": decoder,
        "options": d.options,
        "low_level": d.low_level,
        "shuffled": control,
        "seed": config.seed,
    }

    def work(target: Path) -> None:
        found = decode(d, decoder, ready.design, true, ready.name, config.seed, shuffled=control)
        found.save(target / "decoded")

    name = f"decode     {ready.name} {SHUFFLED if control else decoder}"
    folder, key = cache.run("decode", name, depends, work)
    return Decoded.load(folder / "decoded"), key


def _regions(config, cache, ready: Prepared, true: Decoded, targets_key: str) -> tuple[pd.DataFrame, str]:
    d = config.decode
    depends = {
        "version": VERSION,
        "subject": ready.key,
        "targets": targets_key,
        "options": d.options if LINEAR in d.decoders else {},
        "rois": {name: np.flatnonzero(mask).tolist() for name, mask in ready.rois.items()},
        "low_level": d.low_level,
        "seed": config.seed,
    }

    def work(target: Path) -> None:
        linear = d if LINEAR in d.decoders else dataclasses.replace(d, options={})
        table = by_region(linear, ready.design, ready.rois, true, ready.name, config.seed)
        table.to_csv(target / "regions.tsv", sep="\t", index=False, na_rep="n/a")

    folder, key = cache.run("decode-regions", f"decode     {ready.name} by region", depends, work)
    table = pd.read_csv(folder / "regions.tsv", sep="\t", keep_default_na=False, na_values=["n/a"], dtype={"roi": str})
    return table, key


def _pictures(config, cache, tools: Tools, decoded: Decoded, key: str) -> tuple[Pictures, str]:
    d = tools.config
    n = len(decoded.ids) if not d.n_images else min(d.n_images, len(decoded.ids))
    rows = np.sort(as_rng(config.seed).permutation(len(decoded.ids))[:n])
    settings = {
        "generator": [d.generator, d.generator_weights],
        "steps": d.steps,
        "guidance": d.guidance,
        "strength": d.strength,
    }
    depends = {"version": VERSION, "decoded": key, "rows": rows.tolist(), "seed": config.seed, "settings": settings}

    def work(target: Path) -> None:
        some = decoded.select(decoded.ids[rows])
        start = LAYOUT in some
        images = tools.generator.generate(
            some,
            strength=d.strength if start else 1.0,
            steps=d.steps,
            guidance=d.guidance,
            seed=config.seed,
        )[:, 0]
        _save_images(target / "reconstruction.npy", images)
        if start:
            _save_images(target / "low level.npy", low_level_pictures(tools.generator.vae, some[LAYOUT]))

    folder, key = cache.run("pictures", f"pictures   {n} images", depends, work)
    files = [folder / "reconstruction.npy", folder / "low level.npy"]
    images = {f.stem: np.load(f, allow_pickle=False) for f in files if f.is_file()}
    return Pictures(decoded.ids[rows], images), key


def _save_images(path: Path, images: np.ndarray) -> None:
    np.save(path, np.rint(255 * images).astype(np.uint8), allow_pickle=False)


def _captions(config, cache, tools: Tools, decoded: Decoded, key: str) -> tuple[list[str], str]:
    depends = {"version": VERSION, "decoded": key, "captioner": tools.key("captioner"), "seed": config.seed}

    def work(target: Path) -> None:
        write_json(target / "captions.json", tools.captioner.caption(decoded, seed=config.seed))

    folder, key = cache.run("captions", f"captions   {decoded.subject}", depends, work)
    return read_json(folder / "captions.json"), key


def image_scores(d: DecodeConfig, pictures: Pictures, stimuli: Stimuli, seed: int) -> dict[str, MetricResult]:
    """Return the metrics of the study's protocol, of the reconstructions; for the low-level pictures the pixel ones."""
    true = square_images(stimuli, pictures.ids)
    recon = pictures.images["reconstruction"].astype(np.float32) / 255
    found = dict(evaluate_images(recon, true, d.protocol, rng=seed))
    if "low level" in pictures.images:
        low = pictures.images["low level"].astype(np.float32) / 255
        pixel = [name for name in ("pixcorr", "ssim") if name in found]
        for name, result in evaluate_images(low, true, d.protocol, rng=seed, metrics=pixel).items():
            found[f"low_level_{name}"] = dataclasses.replace(result, metric=f"low_level_{name}")
    return found


def square_images(stimuli: Stimuli, ids: np.ndarray) -> np.ndarray:
    """Return true images (n, 3, h, w) on 0..1, of one size."""
    return np.stack([np.asarray(i) for i in stimuli.images(ids)]).transpose(0, 3, 1, 2).astype(np.float32) / 255


def caption_results(
    captions: list[str], ids: np.ndarray, stimuli: Stimuli, seed: int
) -> tuple[dict[str, MetricResult], pd.DataFrame]:
    """Return caption metrics against the stimuli's own captions, and a table of both."""
    references = stimuli.captions(ids)
    found = dict(caption_scores(captions, references, metrics=("bleu", "rouge_l", "cider")))
    named = content_naming(
        captions, named_content([r[0] for r in references]), ("category", "label", "colour"), rng=seed
    )
    found |= {f"caption_{name}": dataclasses.replace(r, metric=f"caption_{name}") for name, r in named.items()}
    table = pd.DataFrame({"stimulus": ids, "caption": captions, "true_caption": [r[0] for r in references]})
    return found, table


def shown(pictures: Pictures, decoded: Decoded, true: Decoded, stimuli: Stimuli, captions: list[str] | None) -> Shown:
    """Choose the best, the middle and the worst reconstructed images by similarity of the decoded embedding."""
    some, truth = decoded.select(pictures.ids), true.select(pictures.ids)
    a, b = (x.reshape(len(x), -1) for x in search_pair(some, truth))
    a, b = a - b.mean(0), b - b.mean(0)
    similarity = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    rows, groups = choose_by_rank(similarity, EACH)
    ids = pictures.ids[rows]
    at = {v: i for i, v in enumerate(decoded.ids.tolist())}
    said = [] if captions is None else [captions[at[i]] for i in ids.tolist()]
    originals = [c[0] for c in stimuli.captions(ids)] if "captions" in stimuli.table else []
    return Shown(
        tuple(ids.tolist()),
        tuple(groups),
        np.stack([np.asarray(i) for i in stimuli.images(ids)]),
        {name: images[rows].transpose(0, 2, 3, 1) for name, images in pictures.images.items()},
        tuple(said),
        tuple(originals),
        "similarity of the decoded embedding to the true one",
    )
