"""Several encoders side by side: each a cached step per subject, then their comparison, paired over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._files import read_json, write_json
from neuro.data import Stimuli
from neuro.errors import StudyError
from neuro.report import EncoderResults, Routing
from neuro.stats import compare_encoders, fdr, pearson_r
from neuro.study.cache import StepCache
from neuro.study.config import StudyConfig
from neuro.study.encode_config import EncodeConfig
from neuro.study.encode_fit import efficiency, predict_folds, unique_by_band
from neuro.study.encode_inputs import (
    Inputs,
    describe_inputs,
    make_estimator,
    network_key,
    read_inputs,
    sources_of,
)
from neuro.study.features import FeatureSet
from neuro.study.prepare import Prepared
from neuro.study.summary import layer_rows

# Raised when this step computes something else than before from the same settings.
VERSION = 1


@dataclass
class Gathered:
    """What the encoders of all subjects have found so far."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    comparisons: list[pd.DataFrame] = field(default_factory=list)
    unique: list[pd.DataFrame] = field(default_factory=list)
    efficiency: list[pd.DataFrame] = field(default_factory=list)
    scores: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    bands: dict[tuple[str, str, str], np.ndarray] = field(default_factory=dict)
    fields: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    routing: dict[tuple[str, str], Routing] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def results(self, config: StudyConfig, table: pd.DataFrame, reads: Mapping[str, str]) -> EncoderResults:
        """Return all of it, with q values; ``table`` holds the encoders' rows of the study's table."""

        def joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
            out = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
            if "p" in out and "q" not in out:
                out["q"] = out.groupby("subject")["p"].transform(lambda p: fdr(p.to_numpy()))
            return out

        settings = [
            {"name": e.name, "kind": e.kind, "reads": reads[e.name], "text": e.about.text, "bands": dict(e.bands),
             "options": {**({"network": e.network} if e.network else {}), **e.options}}
            for e in config.encode
        ]  # fmt: skip
        return EncoderResults(
            table=table.reset_index(drop=True),
            comparisons=joined(self.comparisons),
            unique=joined(self.unique),
            efficiency=joined(self.efficiency),
            scores=self.scores,
            bands=self.bands,
            fields=self.fields,
            routing=self.routing,
            encoders=settings,
        )


def check_counts(entries: Sequence[EncodeConfig], subject: Prepared) -> None:
    """Refuse points of a data-efficiency curve that ask for more images than there are for training."""
    n = min(len(train) for train, _ in subject.design.folds)
    for entry in entries:
        if entry.curve and max(entry.curve) > n:
            raise StudyError(
                f"encoder {entry.name!r}: curve asks for {max(entry.curve):,} images, but {subject.name} has {n:,} for "
                "training. Take smaller numbers."
            )


def encode_subject(
    config: StudyConfig,
    cache: StepCache,
    subject: Prepared,
    features: Mapping[str, FeatureSet],
    stimuli: Stimuli,
    found: Gathered,
) -> None:
    """Fit, score and compare all encoders of one subject, and add the results to ``found``."""
    steps: dict[str, tuple[Path, str]] = {}
    for entry in config.encode:
        step = _Step(config, subject, features, stimuli, entry)
        folder, key = cache.run(
            "encoder", f"encoder    {subject.name}  {entry.name}", step.depends | {"examples": entry.examples}, step.fit
        )
        steps[entry.name] = (folder, key)
        _gather(found, subject.name, entry.name, folder)
        if entry.curve:
            more = {"curve": list(entry.curve), "draws": entry.draws}
            where, curve_key = cache.run(
                "curve", f"curve      {subject.name}  {entry.name}", step.depends | more, step.curve
            )
            found.efficiency.append(_read_table(where / "efficiency.json", subject.name, entry.name))
            found.keys.append(curve_key)
    found.keys += [key for _, key in steps.values()]
    if len(steps) > 1:
        folder, key = _compare(config, cache, subject, steps)
        found.comparisons.append(pd.DataFrame(read_json(folder / "comparisons.json")))
        found.keys.append(key)


@dataclass(frozen=True, eq=False)
class _Step:
    """One encoder and one subject."""

    config: StudyConfig
    subject: Prepared
    features: Mapping[str, FeatureSet]
    stimuli: Stimuli
    entry: EncodeConfig

    @property
    def depends(self) -> dict[str, Any]:
        """All that the results depend on."""
        ev, entry = self.config.evaluation, self.entry
        where = sources_of(entry, {model: f.layers for model, f in self.features.items()})
        return {
            "version": VERSION,
            "responses": self.subject.key,
            "features": {name: [self.features[m].fingerprint, m, k] for name, (m, k) in where.items()},
            "encoder": [entry.name, entry.kind, dict(entry.options)],
            "network": network_key(self.estimator()),
            "summary": [ev.n_bootstraps, ev.n_permutations, ev.ceiling_floor],
            "rois": dict(self.subject.rois),
            "seed": self.config.seed,
        }

    def estimator(self, names: Sequence[str] | None = None) -> Any:
        """Return the unfitted encoder, for some of its feature spaces."""
        table = self.subject.voxels.table
        return make_estimator(
            self.entry,
            seed=self.config.seed,
            rois=self.subject.rois,
            hemispheres=table["hemi"].to_numpy(str) if "hemi" in table else None,
            z_scored=self.config.dataset.kind == "nsd" and bool(self.config.dataset.zscore),
            path=self.config.path,
            names=names,
        )

    def inputs(self) -> Inputs:
        """Read the features."""
        return read_inputs(
            self.entry, {m: self.features[m].features for m in self.entry.models}, self.subject.design.stimulus
        )

    def fit(self, target: Path) -> None:
        """Predict, score and summarise; what feature spaces add; where voxels and regions look."""
        subject, entry, ev = self.subject, self.entry, self.config.evaluation
        inputs = self.inputs()
        prediction, _, model = predict_folds(self.estimator(), inputs, subject.design)
        scored = {"prediction": prediction}
        text = describe_inputs(entry, {m: f.layers for m, f in self.features.items()})
        write_json(target / "rows.json", layer_rows(self.config, subject, entry.name, text, scored))
        _save(target / "prediction.npy", prediction)
        _save(target / "r.npy", pearson_r(subject.truth, prediction))
        if inputs.reads == "bands":
            unique, table = unique_by_band(
                prediction, self.estimator, inputs, subject.design, subject.rois, ev.n_bootstraps, self.config.seed
            )
            _save(target / "unique.npy", unique)
            write_json(target / "unique.json", table.to_dict("records"))
        if entry.kind == "receptive-field":
            _save(target / "fields.npy", np.stack([model.x_, model.y_, model.size_]))
        if entry.kind == "attention" and entry.examples:
            self._route(target, model, inputs)

    def _route(self, target: Path, model: Any, inputs: Inputs) -> None:
        """Keep where each region looked in some images that the last fold's encoder has not seen."""
        train, test = self.subject.design.folds[-1]
        rows = np.random.default_rng(self.config.seed).permutation(test)[: self.entry.examples]
        several = len(set(model.grids_.values())) > 1
        layer = model.layers_[-1] if several else None
        _save(target / "routing.npy", model.routing_maps(inputs.scaled_by(train)(rows), layer=layer))
        ids = self.subject.design.stimulus[rows]
        _save(target / "images.npy", np.stack([_square(image) for image in self.stimuli.images(ids)]), np.uint8)
        write_json(target / "routing.json", {"ids": ids.tolist(), "queries": list(model.queries_.names)})

    def curve(self, target: Path) -> None:
        """Score the encoder with fewer images."""
        table = efficiency(
            self.estimator(), self.inputs(), self.subject.design, self.subject.rois, self.entry.curve,
            self.entry.draws, self.config.seed,
        )  # fmt: skip
        write_json(target / "efficiency.json", table.to_dict("records"))


def _compare(
    config: StudyConfig, cache: StepCache, subject: Prepared, steps: Mapping[str, tuple[Path, str]]
) -> tuple[Path, str]:
    ev = config.evaluation
    depends = {"version": VERSION, "steps": [key for _, key in steps.values()], "n": ev.n_bootstraps}

    def work(target: Path) -> None:
        predictions = {name: _load(f / "prediction.npy") for name, (f, _) in steps.items()}
        table = compare_encoders(
            predictions,
            subject.truth,
            rois=subject.rois,
            groups=subject.design.groups[subject.design.tested],
            family="all",
            n_resamples=ev.n_bootstraps,
            seed=config.seed,
        ).to_frame()
        table.insert(0, "subject", subject.name)
        write_json(target / "comparisons.json", table.to_dict("records"))

    return cache.run("compare", f"compare    {subject.name}  {len(steps)} encoders", depends, work)


def _gather(found: Gathered, subject: str, name: str, folder: Path) -> None:
    found.rows += read_json(folder / "rows.json")
    found.scores[subject, name] = _load(folder / "r.npy")
    if (folder / "unique.npy").is_file():
        table = _read_table(folder / "unique.json", subject, name)
        found.unique.append(table)
        for band, values in zip(dict.fromkeys(table["band"]), _load(folder / "unique.npy"), strict=True):
            found.bands[subject, name, band] = values
    if (folder / "fields.npy").is_file():
        found.fields[subject, name] = _load(folder / "fields.npy")
    if (folder / "routing.npy").is_file():
        about = read_json(folder / "routing.json")
        maps, images = _load(folder / "routing.npy"), _load(folder / "images.npy")
        found.routing[subject, name] = Routing(tuple(about["queries"]), tuple(about["ids"]), images, maps)


def _square(image: np.ndarray, side: int = 128) -> np.ndarray:
    """Return a picture (side, side, 3); all pictures of a figure share one size."""
    from PIL import Image

    image = image[len(image) // 2] if image.ndim == 4 else image
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image))
    return np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


def _read_table(path: Path, subject: str, name: str) -> pd.DataFrame:
    table = pd.DataFrame(read_json(path))
    table.insert(0, "subject", subject)
    table.insert(1, "model", name)
    return table


def _save(path: Path, values: Any, dtype: Any = np.float32) -> None:
    np.save(path, np.asarray(values, dtype), allow_pickle=False)


def _load(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)
