"""Decoded captions and their references, brought into one order and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuro.errors import EmptySelection, ShapeMismatch, UnknownStimulus


def align_captions(candidates: Any, references: Any) -> tuple[list[Any], list[str], list[list[str]]]:
    """Return ids, one caption per item, and the list of its references, in one order.

    Examples
    --------
    >>> align_captions({"10": "b", "9": "a"}, {"9": ["x"], "10": ["y"]})[:2]
    (['9', '10'], ['a', 'b'])
    """
    if isinstance(candidates, Mapping) != isinstance(references, Mapping):
        kinds = type(candidates).__name__, type(references).__name__
        raise TypeError(f"candidates and references must both be dicts or both be sequences, got {kinds}.")
    if isinstance(candidates, Mapping):
        keys = sorted_keys(candidates)
        for one, other, name in ((candidates, references, "references"), (references, candidates, "candidates")):
            missing = [k for k in one if k not in other]
            if missing:
                raise UnknownStimulus(f"{len(missing):,} ids have no {name}, first {missing[:3]}.")
        candidates, references = [candidates[k] for k in keys], [references[k] for k in keys]
    else:
        if isinstance(candidates, str) or isinstance(references, str):
            raise TypeError("candidates and references must be sequences over items, not one str.")
        if len(candidates) != len(references):
            raise ShapeMismatch(f"{len(candidates):,} candidates, but references of {len(references):,} items.")
        keys = list(range(len(candidates)))
    if not keys:
        raise EmptySelection("there are no captions to score.")
    texts = [_one_caption(k, c) for k, c in zip(keys, candidates, strict=True)]
    listed = [[r] if isinstance(r, str) else list(r) for r in references]
    for key, refs in zip(keys, listed, strict=True):
        if not refs:
            raise EmptySelection(f"item {key!r} has no reference.")
    return keys, texts, listed


def count_references(references: list[list[str]]) -> str:
    """Say how many references the items have.

    >>> count_references([["a"], ["b", "c"]])
    '1 to 2 references per item'
    """
    low, high = min(map(len, references)), max(map(len, references))
    if low == high:
        return f"{low} reference{'s' * (low > 1)} per item"
    return f"{low} to {high} references per item"


def sorted_keys(mapping: Mapping[Any, Any]) -> list[Any]:
    """Return the keys as integers order them where all are integers, else as text does.

    >>> sorted_keys({"10": 0, "9": 0})
    ['9', '10']
    """
    try:
        return sorted(mapping, key=int)
    except (TypeError, ValueError):
        return sorted(mapping, key=str)


def _one_caption(key: Any, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and len(value) == 1 and isinstance(value[0], str):
        return value[0]
    raise ShapeMismatch(f"item {key!r} must have one decoded caption, got {value!r:.80}. Score several one by one.")
