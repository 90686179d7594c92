"""The paragraph of a paper's methods section that a study's configuration implies.

Every sentence comes from entries that are present; what the configuration does not say is not claimed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuro.report.results import StudyResults
from neuro.report.summary import Summary, known


def methods(results: StudyResults, summary: Summary) -> list[str]:
    """Return the methods as paragraphs: data, features, encoding model, evaluation, software."""
    config = results.config
    paragraphs = [
        _data(results, summary, config.get("dataset") or {}),
        _features(results, config.get("models") or []),
        _encoder(summary, config.get("encoder") or {}),
        _evaluation(results, summary, config.get("evaluation") or {}),
        _side_by_side(summary, config.get("encode") or [], config.get("evaluation") or {}),
        _software(results),
    ]
    return [p for p in paragraphs if p]


def _data(results: StudyResults, summary: Summary, data: Mapping[str, Any]) -> str:
    n = len(results.subjects)
    kind = data.get("kind")
    people = f"{n} {summary.people if n != 1 else summary.people[:-1]}"
    if results.is_phantom:
        out = f"Responses of {people} were simulated with known properties (a phantom)"
        if kind == "nsd":
            out += " and written in the file formats of the Natural Scenes Dataset (Allen et al., 2022)"
        out += "."
    elif kind == "nsd":
        out = (
            f"Responses of {people} come from the Natural Scenes Dataset (Allen et al., 2022, Nature Neuroscience 25)."
        )
    else:
        out = f"Responses of {people} were given as one matrix of images by {summary.noun} each."
    if kind == "nsd":
        details = [f"single-trial betas of preparation {data['betas']}"] if data.get("betas") else []
        details += [f"space {data['space']}"] if data.get("space") else []
        details += [f"{summary.noun} of {data['voxels']}"] if data.get("voxels") else []
        if details:
            out += f" They are {', '.join(details)}."
        if data.get("zscore"):
            out += f" Responses of each voxel were standardised within each {data['zscore']}."
        out += " Repeated presentations of an image were averaged."
    invalid = [s.counts.get("n_invalid") for s in results.subjects.values()]
    if any(invalid):
        out += f" {sum(i or 0 for i in invalid):,} {summary.noun} without valid data were left out."
    return out


def _features(results: StudyResults, configured: Sequence[Mapping[str, Any]]) -> str:
    by_name = {m.get("name"): m for m in configured}
    parts = []
    for model in results.models:
        name, own = model["name"], by_name.get(model["name"], {})
        n = len(model.get("layers") or [])
        what = {"pretrained": "trained network", "untrained": "untrained network", "control": "classical control"}
        bits = [what[model["kind"]]]
        if own.get("model") and own["model"] != name:
            bits.append(str(own["model"]))
        if model["kind"] == "pretrained" and isinstance(own.get("pretrained"), str):
            bits.append(f"weights {own['pretrained']}")
        if n:
            bits.append(f"{n} layer{'s' if n > 1 else ''}")
        if isinstance(own.get("pool"), str):
            bits.append(f"pooling: {own['pool']}")
        if own.get("project"):
            bits.append(f"projected to {int(own['project']):,} dimensions")
        parts.append(f"{name} ({', '.join(bits)})")
    for own in configured:
        if own.get("layerwise", True):
            continue
        bits = ["read by encoders only", *([str(own["model"])] if own.get("model") != own.get("name") else [])]
        bits += [f"pooling: {own['pool']}"] if isinstance(own.get("pool"), str) else []
        parts.append(f"{own['name']} ({', '.join(bits)})")
    return f"Images were described by features of {'; '.join(parts)}." if parts else ""


def _encoder(summary: Summary, encoder: Mapping[str, Any]) -> str:
    if encoder.get("kind", "ridge") != "ridge":
        return ""
    singular = summary.singular
    out = (
        f"For each {singular} and each layer, a linear map from features to responses was fitted by ridge regression "
        "with an unpenalised intercept."
    )
    alphas = encoder.get("alphas")
    cv = encoder.get("cv")
    if isinstance(alphas, Mapping) and {"start", "stop", "n"} <= set(alphas):
        grid = f"{alphas['n']} values from {_power(10.0 ** alphas['start'])} to {_power(10.0 ** alphas['stop'])}"
    elif isinstance(alphas, Sequence) and not isinstance(alphas, str) and len(alphas):
        grid = (
            f"{len(alphas)} value{'s' if len(alphas) > 1 else ''} from {_power(min(alphas))} to {_power(max(alphas))}"
        )
    else:
        grid = "a grid of values"
    within = f"by {cv}-fold cross-validation" if isinstance(cv, int) else "by cross-validation"
    return f"{out} Its penalty was chosen for each {singular} among {grid} {within} within the training images."


def _evaluation(results: StudyResults, summary: Summary, evaluation: Mapping[str, Any]) -> str:
    counts = [s.counts for s in results.subjects.values()]
    n_test = _span([c.get("n_test_images") for c in counts])
    n_train = _span([c.get("n_train_images") for c in counts])
    if evaluation.get("folds"):
        out = (
            f"Predictions were made by {evaluation['folds']}-fold cross-validation over images, so that each image was "
            "predicted by models that had not seen it; identical images stayed in one fold."
        )
    else:
        out = "Models were evaluated on images that they were not fitted on"
        if evaluation.get("split"):
            out += f" (split “{evaluation['split']}”)"
        elif evaluation.get("test"):
            out += f" (a random {evaluation['test']:.0%} of the images)"
        if n_train and n_test:
            out += f": {n_train} images for training, {n_test} for testing"
        out += "."
    out += (
        f" The score is {'Pearson’s r' if summary.metric in ('pearson_r', 'r') else summary.label} between predicted "
        f"and measured responses over images, per {summary.singular}, averaged over the {summary.noun} of a region."
    )
    if known(summary.group, "ci_low"):
        n = evaluation.get("n_bootstraps")
        out += f" Intervals are 95% bootstrap intervals over test images{f' ({n:,} resamples)' if n else ''}"
        out += ";" if len(results.subjects) > 1 else "."
        if len(results.subjects) > 1:
            who = summary.people
            out += f" over several {who} the mean of their bounds is shown, which holds for these {who}."
    if known(results.table, "p"):
        n = evaluation.get("n_permutations")
        out += f" P values come from permutations of the images{f' ({n:,})' if n else ''}"
        out += ", with the false discovery rate controlled (q)." if known(results.table, "q") else "."
    if summary.ceiling:
        out += (
            f" The noise ceiling is the share of a {summary.singular}’s response variance that repeats across "
            "presentations; for correlations its square root is shown."
        )
    if summary.chosen_on_test:
        over = f" averaged over {summary.people}" if len(results.subjects) > 1 else ""
        out += (
            f" The best layer of a region is the one with the highest test score{over}; its score is therefore "
            "slightly optimistic."
        )
    else:
        out += " The best layer of a region was chosen within the training images."
    return out


def _side_by_side(summary: Summary, encode: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any]) -> str:
    """How several encoders were compared, and what was done with their feature spaces."""
    if not encode:
        return ""
    n = evaluation.get("n_bootstraps")
    out = f"{len(encode)} encoder{'s' if len(encode) > 1 else ''} ({', '.join(str(e['name']) for e in encode)}) "
    out += "were fitted to the same images in the same folds." if len(encode) > 1 else "was fitted besides."
    if len(encode) > 1:
        out += (
            " Differences between them have 95% bootstrap intervals over test images, paired, and p values from "
            f"exchanging the predictions of randomly chosen images{f' ({n:,} times each)' if n else ''}."
        )
    if any(e.get("bands") and e.get("kind") not in ("ridge", "kernel") for e in encode):
        out += (
            " The unique variance of a feature space is the R² of all spaces minus that without it, both with "
            "hyper-parameters of their own."
        )
    if any(e.get("curve") for e in encode):
        out += " For data-efficiency curves encoders were fitted to random sets of the training images."
    return out


def _software(results: StudyResults) -> str:
    versions = results.provenance.get("versions") or {}
    names = [f"{k} {v}" for k, v in versions.items()]
    if not names:
        return ""
    seed = results.config.get("seed")
    text = f"Analyses used {', '.join(names[:-1]) + ' and ' + names[-1] if len(names) > 1 else names[0]}"
    return text + (f"; random seed {seed}." if isinstance(seed, int) else ".")


def _power(value: float) -> str:
    exponent = np.log10(value)
    superscript = str(round(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{superscript}" if abs(exponent - round(exponent)) < 1e-6 else f"{value:g}"


def _span(values: Sequence[Any]) -> str:
    known = sorted({int(v) for v in values if v is not None})
    if not known:
        return ""
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"
