"""Naming what a picture shows, from words alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_ANIMALS = (
    "dog",
    "cat",
    "horse",
    "zebra",
    "cow",
    "sheep",
    "elephant",
    "giraffe",
    "pig",
    "bird",
    "duck",
    "fish",
    "rabbit",
)
_FOODS = (
    "a pizza",
    "an apple",
    "an orange",
    "bananas",
    "a burger",
    "a cake",
    "salad",
    "bread",
    "a bowl of soup",
    "a donut",
    "eggs",
    "watermelon",
    "carrots",
    "grapes",
)
_LANDSCAPES = (
    "a high mountain with trees",
    "a sandy beach",
    "a forest",
    "a desert",
    "a calm lake and hills",
    "a green field",
    "snow and trees",
)
_ROOMS = ("bedroom", "kitchen", "living room", "bathroom", "office")
_BUILDINGS = ("house", "church", "tower", "castle", "barn", "skyscraper")
_POSES = ("standing", "walking", "running", "waving", "dancing", "sitting", "jumping")
_FEELINGS = ("smiling", "sad", "surprised", "angry", "calm", "laughing")
_SIGNS = ("a sign", "a billboard", "a poster", "a book", "a shop sign", "a stop sign", "a chalkboard")
_PEOPLE = ("man", "woman", "boy", "girl")

PROMPTS: dict[str, tuple[str, ...]] = {
    "face": (
        *(f"a portrait of a {p}" for p in _PEOPLE),
        *(f"the face of a {p}" for p in _PEOPLE),
        *(f"a close up of the face of a {f} woman" for f in _FEELINGS),
    ),
    "body": (
        *(f"a person {pose}" for pose in _POSES),
        *(f"the whole body of a {pose} {p}" for pose in _POSES for p in ("man", "girl")),
    ),
    "animal": (
        *(f"a picture of a brown {a}" for a in _ANIMALS),
        *(f"an animal, a white {a} standing" for a in _ANIMALS),
    ),
    "place": (
        *(f"a view of {s}" for s in _LANDSCAPES),
        *(f"a view of a {r}" for r in _ROOMS),
        *(f"a building, a white {b}" for b in _BUILDINGS),
        "a city street",
        "a city skyline",
    ),
    "food": (*(f"a picture of {f}" for f in _FOODS), *(f"{f} ready to eat" for f in _FOODS)),
    "word": (*(f"{s} that says stop" for s in _SIGNS), *(f"{s} with the word open" for s in _SIGNS)),
}


def class_scores(
    model: Any,
    tokenizer: Callable[..., torch.Tensor],
    images: torch.Tensor,
    prompts: Mapping[str, Sequence[str]] = PROMPTS,
) -> torch.Tensor:
    """Log-likelihood ratio of each class: log mean over its prompts of exp(logit scale x cosine).

    Classes such as "place" hold things that look nothing alike (a bathroom, a desert); the mean of their prompts'
    vectors lies near none of them. So every prompt is a hypothesis of its own, at the temperature the model was trained
    with, and a class is the sum of its hypotheses.

    Parameters
    ----------
    model : open_clip.CLIP
    tokenizer : callable
        Sentences -> LongTensor (n, context_length).
    images : tensor (n, 3, size, size)
        Preprocessed pictures.
    prompts : mapping of class name -> sentences

    Returns
    -------
    tensor (n, n_classes)
        Columns in the order of ``prompts``; only differences within a row mean anything.
    """
    import torch

    with torch.no_grad():
        scaled = model.logit_scale.exp() * model.encode_image(images, normalize=True)
        columns = []
        for sentences in prompts.values():
            logits = scaled @ model.encode_text(tokenizer(list(sentences)), normalize=True).T
            columns.append(logits.logsumexp(1) - math.log(len(sentences)))
    return torch.stack(columns, 1)


def classify(
    model: Any,
    tokenizer: Callable[..., torch.Tensor],
    images: torch.Tensor,
    prompts: Mapping[str, Sequence[str]] = PROMPTS,
) -> list[str]:
    """Return the likeliest class name of each preprocessed image (n, 3, size, size); see :func:`class_scores`."""
    names = list(prompts)
    return [names[int(k)] for k in class_scores(model, tokenizer, images, prompts).argmax(1)]
