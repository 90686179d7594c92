"""Naming what a picture shows, from words alone."""

from __future__ import annotations

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


def class_embeddings(
    model: Any, tokenizer: Callable[..., torch.Tensor], prompts: Mapping[str, Sequence[str]] = PROMPTS
) -> torch.Tensor:
    """Return one unit vector per class, (n_classes, n_dims): the mean of its prompts' unit vectors."""
    import torch

    rows = []
    with torch.no_grad():
        for sentences in prompts.values():
            mean = model.encode_text(tokenizer(list(sentences)), normalize=True).mean(0)
            rows.append(mean / mean.norm())
    return torch.stack(rows)


def classify(
    model: Any,
    tokenizer: Callable[..., torch.Tensor],
    images: torch.Tensor,
    prompts: Mapping[str, Sequence[str]] = PROMPTS,
) -> list[str]:
    """Return the class name of each preprocessed image (n, 3, size, size): the nearest of the class vectors."""
    import torch

    with torch.no_grad():
        features = model.encode_image(images, normalize=True)
    names = list(prompts)
    return [names[int(k)] for k in (features @ class_embeddings(model, tokenizer, prompts).T).argmax(1)]
