"""Are the things in a picture found where they are? Overlap of decoded and true boxes.

For every picture and every category that its annotation names, the first true box is compared with the first box
decoded under the same *name* (never by position in a list); without one, the overlap is 0. A box counts as found where
its intersection over union exceeds the threshold strictly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from neuro._check import as_rng
from neuro.decoders.metrics._caption_inputs import sorted_keys
from neuro.decoders.metrics._shuffles import check_shuffles, derangement
from neuro.decoders.metrics.result import MetricResult
from neuro.errors import EmptySelection, ShapeMismatch, UnknownStimulus

N_BOOTSTRAPS = 1000


def box_iou(a: Any, b: Any) -> np.ndarray:
    """Return the intersection over union of boxes.

    Parameters
    ----------
    a, b : arrays (..., 4)
        x1, y1, x2, y2 in any one unit; leading axes broadcast. A box turned inside out, or without area, overlaps
        nothing.

    Examples
    --------
    >>> float(box_iou([0, 0, 2, 2], [1, 0, 3, 2]).round(4))
    0.3333
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape[-1:] != (4,) or b.shape[-1:] != (4,):
        raise ShapeMismatch(f"boxes must be (..., 4) as x1, y1, x2, y2, got {a.shape} and {b.shape}.")
    overlap = np.maximum(0, np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])).prod(-1)
    overlap = np.where((a[..., 2:] > a[..., :2]).all(-1) & (b[..., 2:] > b[..., :2]).all(-1), overlap, 0.0)
    union = _area(a) + _area(b) - overlap
    return np.divide(overlap, union, out=np.zeros(np.shape(overlap)), where=union > 0)


def grounding_scores(
    predictions: Mapping[Any, Mapping[str, Any]],
    truth: Mapping[Any, Mapping[str, Any]],
    groups: Mapping[str, Iterable[str]] | None = None,
    *,
    threshold: float = 0.5,
    n_shuffles: int = 3,
    rng: int | np.random.Generator | None = 0,
) -> dict[str, dict[str, MetricResult]]:
    """Score boxes decoded for pictures against the annotated ones.

    Parameters
    ----------
    predictions : dict of picture -> dict of category -> boxes
        A box (4,) or boxes (n, 4); the first counts. Pictures and categories may be missing: they score 0. Further ones
        are ignored.
    truth : dict of picture -> dict of category -> boxes
    groups : dict of group -> names of categories, optional
        Subsets to score by themselves, as salient creatures; they may overlap.
    threshold : float
        For "accuracy": found if the overlap is larger.
    n_shuffles : int
        Chance is the mean score over this many pairings of every prediction with the annotation of another picture.
    rng : int, Generator or None
        For shuffles and bootstrap.

    Returns
    -------
    dict of group -> {"accuracy": MetricResult, "mean_iou": MetricResult}
        "all" first. ``per_item`` and ``n`` count pairs of picture and category; intervals resample pictures, whose
        pairs belong together.

    Raises
    ------
    UnknownStimulus
        If predictions are given for a picture without annotation.
    EmptySelection
        If nothing is annotated, or a group names no annotated category.

    Examples
    --------
    >>> truth = {0: {"dog": [0, 0, 1, 1], "cat": [[0, 0, 0.5, 0.5]]}}
    >>> scores = grounding_scores({0: {"cat": [0, 0, 0.5, 0.4]}}, truth)
    >>> scores["all"]["accuracy"].value, scores["all"]["mean_iou"].value
    (0.5, 0.4)
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must lie in 0..1, got {threshold!r}.")
    n_shuffles = check_shuffles(n_shuffles)
    strangers = [k for k in predictions if k not in truth]
    if strangers:
        raise UnknownStimulus(f"{len(strangers)} pictures have boxes but no annotation, first {strangers[:3]}.")
    keys = sorted_keys(truth)
    true = {k: {name: _first(k, name, boxes) for name, boxes in truth[k].items() if np.size(boxes)} for k in keys}
    pairs = [(k, name) for k in keys for name in true[k]]
    if not pairs:
        raise EmptySelection("no category is annotated in any picture.")
    iou, missing = _overlaps(pairs, true, predictions)
    rng = as_rng(rng)
    wrong = []
    for _ in range(n_shuffles if len(keys) > 1 else 0):
        order = derangement(len(keys), rng)
        other = {k: predictions.get(keys[i], {}) for k, i in zip(keys, order, strict=True)}
        wrong.append(_overlaps(pairs, true, other)[0])
    members = {"all": np.ones(len(pairs), dtype=bool)}
    for group, names in (groups or {}).items():
        wanted = {names} if isinstance(names, str) else set(names)
        members[group] = np.array([name in wanted for _, name in pairs])
        if not members[group].any():
            raise EmptySelection(f"group {group!r} names no annotated category: {sorted(map(str, wanted))[:5]}.")
    position = {k: i for i, k in enumerate(keys)}
    picture = np.array([position[k] for k, _ in pairs])
    out = {}
    for group, inside in members.items():
        details = {"group": group, "missing_predictions": int(missing[inside].sum()), "pictures": len(keys)}
        chance = [w[inside] for w in wrong]
        note = "first box per picture and category name, missing 0"
        out[group] = {
            "accuracy": _result(
                "grounding_accuracy",
                iou[inside] > threshold,
                [w > threshold for w in chance],
                picture[inside],
                f"IoU > {threshold:g}; {note}",
                details,
                rng,
            ),
            "mean_iou": _result(
                "grounding_mean_iou", iou[inside], chance, picture[inside], f"mean IoU; {note}", details, rng
            ),
        }
    return out


def _overlaps(
    pairs: list[tuple[Any, str]], true: Mapping[Any, Mapping[str, np.ndarray]], predictions: Mapping[Any, Mapping]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the overlap of every pair of picture and category, and where nothing was predicted."""
    boxes = [_first(k, name, predictions.get(k, {}).get(name)) for k, name in pairs]
    missing = np.array([b is None for b in boxes])
    found = np.array([np.zeros(4) if b is None else b for b in boxes])
    return np.where(missing, 0.0, box_iou(found, np.array([true[k][name] for k, name in pairs]))), missing


def _result(
    metric: str,
    values: np.ndarray,
    wrong: list[np.ndarray],
    picture: np.ndarray,
    protocol: str,
    details: dict[str, Any],
    rng: np.random.Generator,
) -> MetricResult:
    values = np.asarray(values, dtype=float)
    _, of_pair = np.unique(picture, return_inverse=True)
    sums, counts = np.bincount(of_pair, weights=values), np.bincount(of_pair)
    n = len(sums)
    ci = None
    if n > 1:
        weights = rng.multinomial(n, np.full(n, 1 / n), N_BOOTSTRAPS)
        low, high = np.quantile((weights @ sums) / (weights @ counts), [0.025, 0.975])
        ci = (float(low), float(high))
    chance = float(np.mean(wrong)) if wrong else None
    return MetricResult(metric, float(values.mean()), protocol, len(values), chance, ci, values, details=details)


def _first(key: Any, name: str, boxes: Any) -> Any:
    """Return the first box (4,) of one or several; None for none."""
    if boxes is None or np.size(boxes) == 0:
        return None
    array = np.asarray(boxes, dtype=np.float64)
    box = array if array.ndim == 1 else array[0]
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ShapeMismatch(f"a box of {name!r} in picture {key!r} must be 4 finite numbers, got {box.tolist()!r:.80}.")
    return box


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(0, boxes[..., 2:] - boxes[..., :2]).prod(-1)
