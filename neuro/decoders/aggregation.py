"""Several looks at the same picture, averaged: repeats of one person, or the brains of several people.

Averaging responses before decoding needs repeats of one person (:meth:`neuro.data.Responses.average_repeats`);
averaging what was decoded also works across people, whose voxels have nothing in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.decoders.decoded import Decoded
from neuro.errors import EmptySelection, ShapeMismatch

__all__ = ["aggregate_subjects", "average_embeddings", "average_outputs"]


def average_embeddings(embeddings: Sequence[Any], weights: Sequence[float] | None = None) -> Any:
    """Return ``sum_s w_s e_s / sum_s w_s`` over subjects (or networks).

    Parameters
    ----------
    embeddings : sequence of arrays or tensors of one shape
        Of the same stimuli, in the same order.
    weights : sequence of float, optional
        As noise ceilings, say; equal without them.

    Returns
    -------
    array or tensor of that shape
    """
    arrays = list(embeddings)
    if not arrays:
        raise EmptySelection("there is nothing to average: give the embeddings of one subject at least.")
    shapes = {tuple(a.shape) for a in arrays}
    if len(shapes) > 1:
        raise ShapeMismatch(f"embeddings must have one shape, got {', '.join(map(str, sorted(shapes)))}.")
    w = np.ones(len(arrays)) if weights is None else np.asarray(weights, float)
    if w.shape != (len(arrays),) or (w < 0).any() or w.sum() == 0:
        raise ShapeMismatch(f"weights must be {len(arrays)} numbers, none negative, not all zero; got {weights!r}.")
    w = w / w.sum()
    total = arrays[0] * float(w[0])
    for part, array in zip(w[1:], arrays[1:], strict=True):
        total = total + array * float(part)
    return total


def average_outputs(
    outputs: Mapping[str, Any], stimulus: Any, subject: Any = None, provenance: Mapping | None = None
) -> Decoded:
    """Average what was decoded from each trial over the trials of a stimulus (MindEye2's way).

    Every real trial counts once; an image seen less often is an average of fewer, and ``provenance["repeats"]`` says
    of how many.

    Parameters
    ----------
    outputs : mapping of name -> array or tensor (n_trials, ...)
    stimulus : sequence (n_trials,)
    subject, provenance : optional
        Of the result.

    Returns
    -------
    Decoded
        float32, stimuli in order of first appearance.
    """
    names = np.asarray(stimulus)
    values, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    order = np.argsort(first)  # of first appearance
    rank = np.argsort(order)
    row, counts = rank[inverse], np.bincount(inverse)[order]
    averaged = {}
    for name, output in outputs.items():
        array = output.detach().cpu().float().numpy() if is_tensor(output) else np.asarray(output)
        if len(array) != len(names):
            raise ShapeMismatch(f"{name} must have one row for each of {len(names)} trials, got {array.shape}.")
        total = np.zeros((len(values), *array.shape[1:]), np.float32)
        np.add.at(total, row, array)
        averaged[name] = total / counts.reshape(-1, *[1] * (array.ndim - 1)).astype(np.float32)
    about = {**(provenance or {}), "repeats": counts.tolist(), "averaged": "outputs of trials"}
    return Decoded(averaged, values[order], subject, about)


def aggregate_subjects(decoded: Sequence[Decoded], weights: Sequence[float] | None = None) -> Decoded:
    """Average the decoded arrays of several subjects over the stimuli that all of them saw.

    Parameters
    ----------
    decoded : sequence of Decoded
    weights : sequence of float, optional
        One per subject.

    Returns
    -------
    Decoded
        The arrays that all have, stimuli in the order of the first; ``subject`` is the tuple of subjects.

    Raises
    ------
    EmptySelection
        If no stimulus (or no array) is common to all.
    """
    parts = list(decoded)
    if not parts:
        raise EmptySelection("there is nothing to aggregate: give what was decoded from one subject at least.")
    common = set.intersection(*(set(d.ids.tolist()) for d in parts))
    ids = [i for i in parts[0].ids.tolist() if i in common]
    names = [name for name in parts[0] if all(name in d for d in parts)]
    if not ids or not names:
        raise EmptySelection(
            f"{len(parts)} subjects have {len(ids)} stimuli and {len(names)} decoded arrays in common; "
            "decode stimuli that all of them saw (in NSD, the shared 1000)."
        )
    rows = [d.select(ids) for d in parts]
    arrays = {name: average_embeddings([d[name] for d in rows], weights) for name in names}
    subjects = tuple(d.subject for d in parts)
    about = {
        "averaged": "subjects",
        "weights": None if weights is None else [float(w) for w in weights],
        "of": [dict(d.provenance) for d in parts],
    }
    return Decoded(arrays, np.asarray(ids), subjects, about)
