"""From sentences to the words that caption metrics count.

Published scores of COCO captions rest on the Penn Treebank rules as Stanford's tokeniser applies them: lower case,
clitics split off ("can't" -> "ca n't", "dog's" -> "dog 's"), hyphenated words kept whole, then a fixed list of
punctuation dropped. Brackets, ``%`` and ``&`` are not on that list and count as words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from neuro._check import check_option
from neuro.decoders.metrics._java import stanford_ptb

DROPPED = frozenset(["''", "'", "``", "`", '"', ".", "?", "!", ",", ":", "-", "--", "—", "–", "...", "…", ". . .", ";"])

# Words whose full stop belongs to them: in any case; only with a capital; only before a number.
_ABBREVIATIONS = (
    "jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thu|thurs|fri|ala|ariz|calif|colo|conn|ct|dak|fla|ga"
    "|ind|kans?|ky|md|mich|minn|mo|mont|neb|nev|okla|penn|tenn|va|vt|wisc?|wyo|mrs?|ms|drs?|profs?|gen|sens?|reps?"
    "|govs?|lt|col|sgt|capt|cpl|pvt|cmdr|maj|adm|rev|hon|pres|supt|insp|mme|mlle|ste?|mt|ft|messrs|esq|jr|sr|bros|ph"
    "|inc|cos?|corp|ltd|plc|assn|dept|univ|bldg|ave|blvd|rd|sq|etc|vs|al|est|ext|tel|cf|wm|alex|jos|elec|intl|natl"
    "|bancorp|invt|sys|rt"
)
_CAPITALISED = "|".join(
    f"{w}|{w.upper()}" for w in ("Ark", "Del", "Ill", "La", "Mass", "Miss", "Ore", "Pa", "Tex", "Wash")
)
_BEFORE_NUMBERS = "pp|op|figs?|nos?|ca"

_NORMALISED = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "£": "#", "€": "$", "¢": " cents "})
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_SPLIT = {
    "cannot": "can not",
    "gonna": "gon na",
    "gotta": "got ta",
    "wanna": "wan na",
    "lemme": "lem me",
    "gimme": "gim me",
    "'tis": "'t is",
    "'twas": "'t was",
    "y'all": "y' all",
}
_TOKEN = re.compile(
    rf"""
    (?:https?://|www\.)[^\s"<>]*[\w/] | [\w.+-]+@[\w-]+(?:\.[\w-]+)+ | [@\#][A-Za-z]\w*
  | \.{{3,}} | \.(?:\ \.){{2,}} | … | --+ | [—–]
  | (?:(?i:{_ABBREVIATIONS})|{_CAPITALISED})\.(?![^\W_]) | (?i:{_BEFORE_NUMBERS})\.(?=\s*\d)
  | (?:[A-Za-z]\.)+(?:[A-Za-z](?![^\W_]))?(?![^\W_])                             # u.s. p.m. t.v
  | [-+]?\d+(?::\d+)+ | \d+(?:\.\d+)+(?:-[A-Za-z]+|(?=[A-Za-z]))
  | [-+]?(?:\d[\d,]*)?\.?\d+(?:[.,/]\d+)*(?![^\W_]|['&/-]\w)                  # 3.5 1,000 1/2
  | '(?:\d\ds|(?i:em|cause|n|tis|twas|s|m|d|re|ve|ll))\b
  | (?i:o'clock|d'ye)\b | [A-Za-z]+(?=n't[A-Za-z])
  | [A-HJ-XZn]'[A-Za-z]{{2,}} | [A-Za-z]*[aeiouyAEIOUY]'[aeiouAEIOU][A-Za-z]*
  | [^\W_]+(?:(?:[-/_]|\.(?![\d_])|&(?=[A-Za-z]))[^\W_]+)*(?i:'(?:t|s|m|d|re|ve|ll)\b)*     # t-shirt and/or at&t can't
  | [?!]+
  | \S
    """,
    re.VERBOSE,
)
_CLITIC = re.compile(r"(?i)^(.+?)(n't|'(?:s|m|d|re|ve|ll))((?:'(?:ve|d|ll|s))*)$")


def split_captions(texts: Sequence[str], tokeniser: str = "ptb") -> list[list[str]]:
    """Split captions into words.

    Parameters
    ----------
    texts : sequence of str
    tokeniser : {"ptb", "ptb_java", "words"}
        An entry of :data:`TOKENISERS`.

    Raises
    ------
    ValueError, TypeError
    ModuleNotFoundError
        For "ptb_java" without Java or pycocoevalcap.

    Examples
    --------
    >>> split_captions(["A cat isn't a dog."])
    [['a', 'cat', 'is', "n't", 'a', 'dog']]
    """
    check_option("tokeniser", tokeniser, TOKENISERS)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"captions must be str, caption {i} is {type(text).__name__}: {text!r:.80}.")
    return TOKENISERS[tokeniser][0](texts)


def ptb_words(text: str) -> list[str]:
    """Split a caption by Penn Treebank rules, lower-case, punctuation dropped; in pure Python.

    On 4,913 human and 3,928 decoded captions of COCO pictures it gives the words of Stanford's tokeniser 3.4.1. It
    departs from it on what captions hardly hold, as emoticons or currency codes.

    Examples
    --------
    >>> ptb_words("A man can't ride the dog's t-shirt, at 5 p.m.")
    ['a', 'man', 'ca', "n't", 'ride', 'the', 'dog', "'s", 't-shirt', 'at', '5', 'p.m.']
    """
    words = []
    for match in _TOKEN.finditer(text.translate(_NORMALISED)):
        words += _parts(match.group().lower())
    return [w for w in words if w not in DROPPED]


def plain_words(text: str) -> list[str]:
    """Split a caption into lower-case runs of letters.

    >>> plain_words("A man's 2 t-shirts.")
    ['a', 'man', 's', 't', 'shirts']
    """
    return re.findall("[a-z]+", text.lower())


def _parts(token: str) -> list[str]:
    if token in _BRACKETS:
        return [_BRACKETS[token]]
    if token in _SPLIT:
        return _SPLIT[token].split()
    clitic = _CLITIC.match(token)
    if clitic is None:
        return [token]
    stem, first, rest = clitic.groups()
    return [stem, first, *re.findall("'[a-z]+", rest)]


def _stanford_words(texts: Sequence[str]) -> list[list[str]]:
    return [[w for w in words if w not in DROPPED] for words in stanford_ptb(texts)]


TOKENISERS: dict[str, tuple[Callable[[Sequence[str]], list[list[str]]], str]] = {
    "ptb": (lambda texts: [ptb_words(t) for t in texts], "Penn Treebank words (pure Python)"),
    "ptb_java": (_stanford_words, "Penn Treebank words (Stanford 3.4.1)"),
    "words": (lambda texts: [plain_words(t) for t in texts], "lower-case runs of letters"),
}
"""Name -> (function of a list of captions, what a result says of it)."""
