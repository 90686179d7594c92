"""Does a caption name what the scene shows? Content of a sentence about a phantom scene, beside the scene's own.

A caption of a phantom scene is about one thing: the first that it names. For each attribute (category, label, colour,
background...) an item counts 1 if the caption names the scene's value, 0 if it names another or none, and is left out
if the scene has no such attribute. A caption chosen for another scene at random is right with probability

    chance = sum_v P(named = v) P(true = v),

which is what shuffling the captions converges to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, check_positive_int
from neuro.datasets.phantom import animals, background, buildings, food, people, signs
from neuro.datasets.phantom.palette import HAIR, NAMED
from neuro.decoders.metrics.result import MetricResult, mean_result
from neuro.errors import ShapeMismatch
from neuro.features.phantom_clip.tokenizer import split_words

ATTRIBUTES = ("category", "label", "colour", "background", "word", "expression", "pose", "hair")

_WORDS = frozenset(w.lower() for w in signs.WORDS)
_MOODS = {
    **dict.fromkeys(("smiling", "laughing", "happy"), "happy"),
    **dict.fromkeys(("sad", "unhappy"), "sad"),
    **dict.fromkeys(("calm", "serious"), "calm"),
    "surprised": "surprised",
    "angry": "angry",
}
_LABELS: dict[str, tuple[str, str]] = {
    **{name: ("animal", name) for name in animals.KINDS},
    **{name: ("food", name) for name in food.FOODS},
    "apples": ("food", "apple"),
    "oranges": ("food", "orange"),
    "bananas": ("food", "banana"),
    **{name: ("word", name) for name in signs.SIGNS},
    **{name: ("place", name) for name in (*buildings.BUILDINGS, *background.LANDSCAPES, *background.ROOMS)},
    "street": ("place", "street"),
    "city street": ("place", "street"),
    "city": ("place", "city"),
    **{name: ("person", name) for name in people.WHO},
    **{name: ("person", "") for name in ("person", "body", "face", "portrait", "head")},
}
_NEAR = ("face", "portrait", "head")
# of phrases that begin at the same word the longest counts: "the sand dunes" are no beach
_BACKGROUNDS: dict[str, str] = {
    "plain background": "texture",
    "blurred background": "texture",
    "tall trees": "forest",
    "the sand dunes": "desert",
    "city street": "street",
    "under water": "water",
    "blue water": "water",
    "the water": "lake",
    "the sand": "beach",
    "the sky": "sky",
    "living room": "living room",
    **{name: name for name in ("park", "beach", "lake", "forest", "desert", "snow", "city", "street", "wall", "table")},
    **{name: name for name in ("field", "mountain", "bedroom", "kitchen", "bathroom", "office")},
    "outdoors": "sky",
    "outside": "sky",
    "farm": "field",
    "mountains": "mountain",
    "sea": "beach",
    "woods": "forest",
    "dunes": "desert",
    "snowy": "snow",
    "skyline": "city",
    "indoors": "wall",
    "bed": "bedroom",
    "sofa": "living room",
    "desk": "office",
}
# after these words "orange" is the fruit; before any other it is the colour of what follows
_AFTER_A_NOUN = (
    *("on", "in", "ready", "next", "near", "and", "with", "under", "against", "by", "at"),
    *("inside", "indoors", "outdoors", "outside", "nearby", "among"),
)


def scene_content(scenes: Any) -> pd.DataFrame:
    """Return what there is to be named in phantom scenes.

    Parameters
    ----------
    scenes : SceneSet, or sequence of Scene

    Returns
    -------
    DataFrame (n scenes)
        One column per attribute, an empty string where the scene has no such thing: ``category``, ``label`` and
        ``colour`` of the main object (a person's shirt), ``background`` (where it is not itself the main object),
        ``word`` on a sign, ``expression`` (happy, sad, surprised, angry, calm; of near faces), ``pose`` (of whole
        bodies) and ``hair`` (of people).
    """
    return pd.DataFrame([_of_scene(scene) for scene in getattr(scenes, "scenes", scenes)], columns=list(ATTRIBUTES))


def named_content(captions: Sequence[str]) -> pd.DataFrame:
    """Return what captions of phantom scenes name: columns as :func:`scene_content`, empty where nothing is named.

    Examples
    --------
    >>> named_content(["a brown dog running in a field near a man"]).iloc[0, :4].tolist()
    ['animal', 'dog', 'brown', 'field']
    """
    return pd.DataFrame([_of_caption(caption) for caption in captions], columns=list(ATTRIBUTES))


def content_naming(
    captions: Sequence[str],
    truth: pd.DataFrame | Any,
    attributes: Sequence[str] = ATTRIBUTES,
    *,
    n_permutations: int = 1000,
    rng: int | np.random.Generator | None = 0,
) -> dict[str, MetricResult]:
    """Return how often captions name what is in the scenes.

    Parameters
    ----------
    captions : sequence of n str
    truth : DataFrame of :func:`scene_content`, SceneSet, or sequence of Scene
        Row i belongs to caption i.
    attributes : sequence of str
        Among ``ATTRIBUTES``.
    n_permutations : int
        Of the captions over the scenes that have the attribute, for the p value.
    rng : int, Generator or None

    Returns
    -------
    dict of attribute -> MetricResult
        The share of scenes with this attribute whose caption names it rightly. ``chance`` is the expected share for
        shuffled captions. ``details``: ``named`` (share of captions that name any value), ``precision`` (right among
        those), ``p`` = (1 + permutations at least as good) / (1 + permutations), ``null`` their central 95 %. An
        attribute that no scene has is left out.

    Raises
    ------
    ShapeMismatch
        If there are not as many captions as scenes.
    """
    for name in attributes:
        check_option("attributes", name, ATTRIBUTES)
    check_positive_int("n_permutations", n_permutations)
    table = truth if isinstance(truth, pd.DataFrame) else scene_content(truth)
    if len(table) != len(captions):
        raise ShapeMismatch(f"there must be one caption for each of {len(table)} scenes, got {len(captions)}.")
    named, rng = named_content(captions), as_rng(rng)
    out = {}
    for name in attributes:
        said, true = named[name].to_numpy(dtype=str), table[name].to_numpy(dtype=str)
        has = true != ""
        if has.any():
            out[name] = _score(name, said, true, has, n_permutations, rng)
    return out


def shuffled_chance(named: Any, true: Any) -> float:
    """Return the expected share of matches if ``named`` (n,) is shuffled: sum over values of P(named) P(true).

    >>> shuffled_chance(["dog", "dog", "cat", ""], ["dog", "cat", "cat", "pig"])
    0.25
    """
    named, true = np.asarray(named, dtype=str), np.asarray(true, dtype=str)
    return float(sum((named == value).mean() * (true == value).mean() for value in np.unique(true) if value))


def _score(
    name: str, said: np.ndarray, true: np.ndarray, has: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> MetricResult:
    items = np.where(has, (said == true).astype(float), np.nan)
    said, true = said[has], true[has]
    value = float((said == true).mean())
    null = np.array([(said[rng.permutation(len(said))] == true).mean() for _ in range(n_permutations)])
    spoken = said != ""
    low, high = np.quantile(null, (0.025, 0.975))
    details = {
        "scenes": int(has.sum()),
        "named": float(spoken.mean()),
        "precision": float((said == true)[spoken].mean()) if spoken.any() else float("nan"),
        "p": float((1 + (null >= value - 1e-12).sum()) / (1 + n_permutations)),
        "null": (float(low), float(high)),
    }
    return mean_result(
        f"names_{name}",
        items,
        protocol="phantom lexicon; unnamed counts as wrong",
        chance=shuffled_chance(said, true),
        rng=rng,
        details=details,
    )


def _of_scene(scene: Any) -> dict[str, str]:
    main = scene[scene.main]
    out: dict[str, str] = dict.fromkeys(ATTRIBUTES, "")
    out |= {"category": scene.category, "label": scene.label, "colour": main.colour}
    if not main.is_background:
        out["background"] = scene.background.kind
    if scene.category == "word":
        out["word"] = main.style["word"].lower()
    if scene.category in ("face", "body"):
        out["hair"] = main.style["hair"]
    if scene.category == "face":
        out["expression"] = _MOODS[main.style["expression"]]
    if scene.category == "body":
        out["pose"] = main.style["pose"]
    return out


def _of_caption(caption: str) -> dict[str, str]:
    out: dict[str, str] = dict.fromkeys(ATTRIBUTES, "")
    words = split_words(caption)
    words, out["word"] = _without_writing(words)
    first = next(((i, k) for i in range(len(words)) if (k := _label_at(words, i))), None)
    if first is None:
        return out
    at, key = first
    kind, label = _LABELS[key]
    rest = words[at + len(key.split()) :]
    if kind != "word":
        out["word"] = ""
    if kind == "person":
        return out | _person(words, rest, key, label)
    is_background = label in background.PLACENESS
    colour = words[at - 1] if at and words[at - 1] in NAMED and not is_background else ""
    where = "" if is_background else _background(rest)
    return out | {"category": kind, "label": label, "colour": colour, "background": where}


def _without_writing(words: list[str]) -> tuple[list[str], str]:
    """Take out the first word that is written on something, so that "a sign for pizza" names no food."""
    out, found = list(words), ""
    for i, word in enumerate(words[:-1]):
        if word in ("says", "say", "reads", "word", "text", "for") and words[i + 1] in _WORDS:
            found, out[i + 1] = found or words[i + 1], ""
    return out, found


def _label_at(words: list[str], i: int) -> str:
    pair = " ".join(words[i : i + 2])
    if pair in _LABELS:
        return pair
    word, after = words[i], words[i + 1] if i + 1 < len(words) else ""
    is_colour = word == "orange" and after and after not in _AFTER_A_NOUN
    return word if word in _LABELS and not is_colour else ""


def _person(words: list[str], rest: list[str], key: str, label: str) -> dict[str, str]:
    if not label and "of" in rest[:3]:  # the face of a young woman; not: a smiling face near a woman
        begin = rest.index("of")
        label = next((w for w in rest[begin : begin + 5] if w in people.WHO), "")
    pose = next((w for w in words if w in people.POSES), "")
    near = any(w in _NEAR for w in words)
    category = "face" if near else "body" if pose or key in ("person", "body") else ""
    dressed = _colour_of("shirt", words)
    mood = next((_MOODS[w] for w in words if w in _MOODS), "") if near else ""
    hair = next((words[i - 1] for i in range(1, len(words)) if words[i] == "hair" and words[i - 1] in HAIR), "")
    return {
        "category": category,
        "label": label,
        "colour": dressed,
        "background": _background(rest),
        "expression": mood,
        "pose": "" if near else pose,
        "hair": hair,
    }


def _colour_of(noun: str, words: list[str]) -> str:
    return next((words[i - 1] for i in range(1, len(words)) if words[i] == noun and words[i - 1] in NAMED), "")


def _background(words: list[str]) -> str:
    """Return the background that is named first; of two that begin together the longer."""
    text = f" {' '.join(words)} "
    found = [(text.find(f" {phrase} "), -len(phrase), kind) for phrase, kind in _BACKGROUNDS.items()]
    found = [match for match in found if match[0] >= 0]
    return min(found)[2] if found else ""
