"""The steps of a study one by one: features of a model, responses of a subject, everything fitted to a subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuro.data import Stimuli
from neuro.errors import StudyError
from neuro.report import SubjectResults
from neuro.study import decode, encoders, planted
from neuro.study.cache import StepCache
from neuro.study.config import StudyConfig
from neuro.study.encode import encode_layer
from neuro.study.encode_inputs import check_inputs
from neuro.study.features import FeatureSet, OpenModel, make_features, open_model
from neuro.study.prepare import Prepared, prepare
from neuro.study.subjects import StudySubject, iter_subjects

SHUFFLED = "shuffled pairing"


@dataclass(frozen=True, eq=False)
class OpenStudy:
    """A study whose data and models are found and fit each other; its steps can be done one by one, in any process.

    Parameters
    ----------
    config : StudyConfig
    folder : path
        Of the results.
    cache : StepCache
    subjects : list of StudySubject
    models : dict of name -> OpenModel
    collections : list of Stimuli
        One for all subjects, or one each.
    tools : Tools, optional
        Of the decoders, where the study decodes.
    """

    config: StudyConfig
    folder: Path
    cache: StepCache
    subjects: list[StudySubject]
    models: dict[str, OpenModel]
    collections: list[Stimuli]
    tools: decode.Tools | None = None

    def features(self, model: str) -> list[FeatureSet]:
        """Return the features of a model for each collection, computing what is missing."""
        return [make_features(self.models[model], c, self.folder / "features", self.cache) for c in self.collections]

    def prepared(self, k: int) -> Prepared:
        """Return the responses of one subject, ready to be encoded."""
        ready = prepare(self.config, self.cache, self.subjects[k])
        encoders.check_counts(self.config.encode, ready)
        return ready

    def encode(
        self, k: int, ready: Prepared, features: Mapping[str, list[FeatureSet]], found: encoders.Gathered
    ) -> tuple[SubjectResults, list[dict[str, Any]], list[str]]:
        """Encode one subject layer by layer; results of the encoders side by side go to ``found``."""
        # Ids do not tell collections apart: two sessions may both have an "image001".
        own = {name: sets[k] if len(sets) > 1 else sets[0] for name, sets in features.items()}
        layerwise = {m.name: own[m.name] for m in self.config.models if m.layerwise}
        out = _encode_subject(self.config, self.cache, self.subjects[k], ready, layerwise)
        if self.config.encode:
            encoders.encode_subject(self.config, self.cache, ready, own, self.subjects[k].stimuli, found)
        return out

    def decode(self, prepared: list[Prepared]) -> decode.GatheredDecoding:
        """Decode the test images of every subject."""
        assert self.tools is not None
        targets = [decode.make_targets(self.config, self.cache, self.tools, c) for c in self.collections]
        found = decode.GatheredDecoding()
        for k, (subject, ready) in enumerate(zip(self.subjects, prepared, strict=True)):
            own = targets[k] if len(targets) > 1 else targets[0]
            decode.decode_subject(self.config, self.cache, self.tools, ready, subject.stimuli, own, found)
        return found


def open_study(config: StudyConfig, folder: Path, cache: StepCache) -> OpenStudy:
    """Find the data and open the models of a study; refuse what cannot be run, before anything is computed."""
    subjects = list(iter_subjects(config))
    _check_regions(config, subjects)
    models = {model.name: open_model(config, model) for model in config.models}
    if config.encode:
        check_inputs(config.encode, {name: model.specs for name, model in models.items()}, config.path)
    tools = decode.open_tools(config) if config.decode is not None else None
    return OpenStudy(config, folder, cache, subjects, models, _collections(subjects), tools)


def _encode_subject(
    config: StudyConfig,
    cache: StepCache,
    subject: StudySubject,
    ready: Prepared,
    features: dict[str, FeatureSet],
) -> tuple[SubjectResults, list[dict[str, Any]], list[str]]:
    """Encode one subject with every layer of every model."""
    rows: list[dict[str, Any]] = []
    keys: list[str] = []
    scores: dict[tuple[str, str], np.ndarray] = {}
    alphas: dict[tuple[str, str], np.ndarray] = {}
    fields: np.ndarray | None = None
    for model, chosen in features.items():
        names = [(model, False)]
        if config.evaluation.shuffled_control and model == next(iter(features)):
            names.append((SHUFFLED, True))
        for layer in chosen.layers:
            for name, shuffled in names:
                found, key = encode_layer(config, cache, ready, chosen, layer, name, shuffled)
                rows += found["rows"]
                keys.append(key)
                scores[name, layer], alphas[name, layer] = found["r"], found["alpha"]
                if "prf" in found and not shuffled:
                    fields = found["prf"]
    truth = planted.load(subject, ready.valid)
    result = SubjectResults(
        subject=subject.name,
        voxels=ready.voxels,
        rois=ready.rois,
        scores=scores,
        ceiling=ready.ceiling,
        alphas=alphas,
        counts=ready.counts,
        prf=None if truth is None or fields is None else planted.match_fields(fields, truth, ready),
        truth=truth,
    )
    return result, rows, keys


def _check_regions(config: StudyConfig, subjects: list[StudySubject]) -> None:
    """Refuse regions that no subject has, before anything is computed."""
    if not subjects:
        raise StudyError("the study has no subject: check dataset.root and dataset.subjects.")
    for roi in config.dataset.rois:
        name = roi if isinstance(roi, str) else " + ".join(roi)
        if not any(name in s.regions for s in subjects):
            for selector in [roi] if isinstance(roi, str) else roi:
                subjects[0].responses.voxels.roi(selector)
            raise StudyError(f"rois: {name!r} holds no voxel in any subject.")


def _collections(subjects: list[StudySubject]) -> list[Stimuli]:
    """Return the stimuli to extract: one collection where subjects share a source, else one each, in their order."""
    tokens = [s.stimuli.source_token() for s in subjects]
    if len(subjects) > 1 and tokens[0] is not None and len(set(tokens)) == 1:
        ids = np.unique(np.concatenate([s.stimuli.ids for s in subjects]))
        return [subjects[0].all_stimuli.select(ids)]
    return [s.stimuli for s in subjects]
