"""Sentences about a scene, put together from its description.

Five people who describe one picture choose different words and mention different things; each caption draws its frame,
its words and how much it tells anew. All words are lower case; the only punctuation is a comma.
"""

# fmt: off  (coordinates and wordings read better in rows)
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neuro._check import check_positive_int
from neuro.datasets.phantom.palette import pick

if TYPE_CHECKING:
    from neuro.datasets.phantom.scenes import Scene, SceneObject

# Words of which every caption of a scene holds at least one, by main category.
CATEGORY_WORDS: dict[str, tuple[str, ...]] = {
    "face": ("face", "portrait", "head"),
    "body": ("standing", "walking", "running", "waving", "dancing", "sitting", "jumping"),
    "animal": (
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
        "animal",
    ),
    "place": (
        "house",
        "church",
        "tower",
        "castle",
        "barn",
        "skyscraper",
        "street",
        "city",
        "building",
        "mountain",
        "beach",
        "forest",
        "desert",
        "lake",
        "field",
        "snow",
        "landscape",
        "bedroom",
        "kitchen",
        "living",
        "bathroom",
        "office",
        "room",
    ),
    "food": (
        "food",
        "pizza",
        "apple",
        "orange",
        "banana",
        "burger",
        "cake",
        "salad",
        "bread",
        "soup",
        "donut",
        "eggs",
        "watermelon",
        "carrots",
        "grapes",
        "apples",
        "oranges",
        "bananas",
        "meal",
        "snack",
    ),
    "word": ("says", "word", "reads", "text", "letters"),
}

_WHERE: dict[str, tuple[str, ...]] = {
    "texture": ("against a plain background", "on a plain background", "in front of a blurred background"),
    "sky": ("outdoors", "under the sky", "outside"),
    "field": ("in a field", "in a green field", "on a farm"),
    "park": ("in a park", "near some trees in a park"),
    "mountain": ("in the mountains", "in front of mountains", "near a mountain"),
    "beach": ("on a beach", "by the sea", "on the sand near the water"),
    "lake": ("by a lake", "on a lake", "near the water"),
    "forest": ("in a forest", "in the woods", "among tall trees"),
    "desert": ("in a desert", "on the sand dunes"),
    "snow": ("in the snow", "on a snowy day"),
    "city": ("in a city", "in front of a city skyline"),
    "street": ("on a street", "on a city street"),
    "wall": ("in front of a wall", "inside by a wall", "indoors"),
    "table": ("on a table", "on a wooden table"),
    "water": ("under water", "in blue water"),
    "bedroom": ("in a bedroom", "near a bed"),
    "kitchen": ("in a kitchen",),
    "living room": ("in a living room", "near a sofa"),
    "bathroom": ("in a bathroom",),
    "office": ("in an office", "near a desk"),
}
_SKY = {
    "clear": ("on a sunny day", "under a blue sky"),
    "cloudy": ("on a cloudy day", "under grey clouds"),
    "sunset": ("at sunset", "under an orange sky"),
    "dusk": ("at night", "at dusk"),
}
_ADVERB = {
    "eating": ("eating grass", "with its head down"),
    "standing": ("standing",),
    "walking": ("walking",),
    "running": ("running",),
    "flying": ("flying",),
    "swimming": ("swimming",),
}
_FEEL = {
    "smiling": ("smiling", "happy"),
    "laughing": ("laughing", "happy"),
    "sad": ("sad", "unhappy"),
    "surprised": ("surprised",),
    "angry": ("angry",),
    "calm": ("calm", "serious"),
}
_PLURAL = {"apple": "apples", "orange": "oranges", "banana": "bananas"}


def article(phrase: str) -> str:
    """Return the phrase with its indefinite article.

    >>> article("orange cat"), article("dog")
    ('an orange cat', 'a dog')
    """
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def describe(scene: Scene, n: int = 5) -> list[str]:
    """Return ``n`` captions of a scene, differently worded; the first five of more are the five of five."""
    n = check_positive_int("n", n)
    out: list[str] = []
    rng = np.random.default_rng([0xCA9, scene.seed, scene.index])
    for _ in range(n):
        caption = ""
        for _ in range(8):  # try not to repeat a sentence
            caption = _caption(scene, rng)
            if caption not in out:
                break
        out.append(caption)
    return out


def _caption(scene: Scene, rng: np.random.Generator) -> str:
    main = scene[scene.main]
    is_background = scene.category == "place" and main.label == scene.background.kind
    parts = [_subject(main, scene, rng)]
    if not is_background and rng.random() < 0.75:
        parts.append(pick(rng, _WHERE[scene.background.kind]))
    others = [o for o in scene.objects if o.name != scene.main]
    if others and rng.random() < 0.6:
        other = pick(rng, others)
        link = ("with", "and") if is_background else ("next to", "near", "and", "with")
        tail = ("in it",) if is_background else ("nearby", "in the background", "")
        word = pick(rng, link)
        end = pick(rng, tail) if word == "with" else ""
        parts.append(f"{word} {_short(other, rng)} {end}".strip())
    sky = scene.background.sky
    if sky and rng.random() < (0.55 if is_background else 0.2):
        parts.append(pick(rng, _SKY[sky]))
    return " ".join(parts)


def _who(item: SceneObject, rng: np.random.Generator) -> str:
    who = item.label
    if who in ("boy", "girl") and rng.random() < 0.4:
        who = pick(rng, (f"young {who}", f"little {who}"))
    return who


def _with(item: SceneObject, rng: np.random.Generator) -> str:
    """Return one thing one would notice about a person."""
    style = item.style
    notes = [f"with {'long ' if style['long'] else 'short '}{style['hair']} hair", f"with {style['hair']} hair"]
    if style["glasses"]:
        notes += ["with glasses", "wearing glasses"]
    if style["beard"]:
        notes += ["with a beard"]
    if style["hat"]:
        notes += [f"in {article(style['hat'] + ' hat')}", f"wearing {article(style['hat'] + ' hat')}"]
    notes += [f"in {article(style['shirt'] + ' shirt')}", f"wearing {article(style['shirt'] + ' shirt')}"]
    if style.get("skirt"):
        notes += [f"in {article(style['trousers'] + ' skirt')}"]
    return pick(rng, notes)


def _subject(item: SceneObject, scene: Scene, rng: np.random.Generator) -> str:
    u = rng.random()
    if item.category == "face":
        who, feel, note = _who(item, rng), pick(rng, _FEEL[item.style["expression"]]), _with(item, rng)
        return pick(
            rng,
            (
                f"a close up of the face of {article(f'{feel} {who}')} {note}",
                f"the face of {article(who)} {note}",
                f"the {feel} face of {article(who)}",
                f"a portrait of {article(f'{feel} {who}')}",
                f"a portrait of {article(who)} {note}",
                f"{article(f'{feel} {who}')} with the face near the camera",
                f"the head and shoulders of {article(who)} {note}",
                f"{article(feel)} face",
            ),
        )
    if item.category == "body":
        who, pose, note = _who(item, rng), item.style["pose"], _with(item, rng)
        back = " seen from behind" if item.style["back"] and u < 0.5 else ""
        return pick(
            rng,
            (
                f"{article(who)} {note} {pose}{back}",
                f"{article(who)} {pose}{back}",
                f"a person {note} {pose}{back}",
                f"the whole body of {article(f'{pose} {who}')}{back}",
                f"{article(f'{pose} {who}')} {note}{back}",
            ),
        )
    if item.category == "animal":
        doing = pick(rng, _ADVERB[item.style["doing"]])
        return pick(
            rng,
            (
                f"{article(f'{item.colour} {item.label}')} {doing}",
                f"{article(item.label)} {doing}",
                f"{article(f'{item.colour} {item.label}')}",
                f"an animal, {article(f'{item.colour} {item.label}')} {doing}",
                f"a picture of {article(f'{item.colour} {item.label}')}",
            ),
        )
    if item.category == "food":
        dish, name = item.style["dish"], item.label
        what = (
            article(name)
            if name not in ("salad", "bread", "soup", "eggs", "carrots", "grapes", "watermelon")
            else pick(rng, (name, f"some {name}"))
        )
        if name in _PLURAL and u < 0.4:
            what = pick(rng, (f"{item.colour} {_PLURAL[name]}", _PLURAL[name]))
        bowl = "bowl" if name in ("soup", "salad") else "plate"
        carried = bowl == "bowl" or item.style["plate"] or name in ("pizza", "eggs", "carrots", "cake")
        forms = [f"{what} ready to eat", f"food, {what}", f"a picture of {what}", f"a snack of {what}", what]
        if carried:
            served = article(f"{dish} {bowl}")
            forms += [
                f"{what} on {served}" if bowl == "plate" else f"{served} of {name}",
                f"{article(bowl)} of food with {what}",
                f"a meal of {what} on {article(bowl)}",
            ]
        return pick(rng, forms)
    if item.category == "word":
        word, kind, colour = item.style["word"].lower(), item.label, item.colour
        colour = "" if kind == "stop sign" and u < 0.5 else colour + " "
        return pick(
            rng,
            (
                f"{article(f'{colour}{kind}')} that says {word}",
                f"{article(kind)} with the word {word}",
                f"{article(f'{colour}{kind}')} with the text {word}",
                f"{article(kind)} that reads {word}",
                f"the word {word} on {article(f'{colour}{kind}')}",
                f"large letters on {article(kind)} that say {word}",
            ),
        )
    return _place(item, scene, rng)


def _place(item: SceneObject, scene: Scene, rng: np.random.Generator) -> str:
    name = item.label
    if scene.kind == "room":
        furniture = {
            "bedroom": ("a bed", "a lamp", "a window"),
            "kitchen": ("cupboards", "a fridge", "a window"),
            "living room": ("a sofa", "a lamp", "a rug"),
            "bathroom": ("a bath", "a mirror", "a sink"),
            "office": ("a desk", "a computer", "a shelf of books"),
        }[name]
        thing = pick(rng, furniture)
        return pick(
            rng,
            (
                f"{article(name)} with {thing}",
                f"an empty {name}",
                f"the inside of {article(name)} with {thing}",
                f"a view of {article(name)}",
                f"a room with {thing}, {article(name)}",
                f"an indoor place, {article(name)}",
            ),
        )
    if scene.kind == "landscape":
        look = {
            "mountain": ("a high mountain with trees", "a mountain landscape", "mountain tops above the grass"),
            "beach": ("a sandy beach", "a beach and the sea", "a quiet beach landscape"),
            "forest": ("a forest", "the trees of a forest", "a path in a green forest"),
            "desert": ("a desert", "a dry desert landscape", "the sand of a desert"),
            "lake": ("a lake", "a calm lake and hills", "a lake landscape"),
            "field": ("a green field", "a field landscape", "a wide field of grass"),
            "snow": ("a landscape in the snow", "snow and trees", "a winter landscape of snow"),
        }[name]
        phrase = pick(rng, look)
        return pick(rng, (phrase, f"a view of {phrase}", f"a wide view of {phrase}", f"an outdoor place, {phrase}"))
    if name == "street":
        return pick(
            rng,
            (
                "a street with houses",
                "a view down a city street",
                "an empty street between buildings",
                "buildings along a street",
                "a city street",
            ),
        )
    if name == "city":
        return pick(
            rng, ("a city skyline", "the tall buildings of a city", "a view of a city", "a city with many buildings")
        )
    colour = item.colour
    return pick(
        rng,
        (
            article(f"{colour} {name}"),
            f"a building, {article(f'{colour} {name}')}",
            f"{article(name)} with a door and windows",
            f"a view of {article(f'{colour} {name}')}",
            f"{article(f'large {colour} {name}')}",
            f"an old {name}",
        ),
    )


def _short(item: SceneObject, rng: np.random.Generator) -> str:
    """Return a few words on an object that the picture is not about."""
    if item.category == "body":
        return article(item.label)
    if item.category == "word":
        return pick(
            rng, (article(item.label), article(item.label), f"{article(item.label)} for {item.style['word'].lower()}")
        )
    if item.category == "food":
        return (
            f"some {item.label}"
            if item.label in ("salad", "bread", "soup", "eggs", "carrots", "grapes", "watermelon")
            else article(item.label)
        )
    return article(f"{item.colour} {item.label}" if rng.random() < 0.6 else item.label)
