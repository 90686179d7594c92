"""Capital letters as strokes, so that words need no font file and turn and scale like everything else."""

from __future__ import annotations

from neuro.datasets.phantom.canvas import Colour, Pen

# Strokes on a grid 4 wide and 6 high, y down; each stroke is a run of digit pairs xy.
_GLYPHS: dict[str, tuple[float, str]] = {
    "A": (4, "06 20 46|13.6 33.6"),
    "B": (4, "06 00 20 31 32 23 03|23 34 35 26 06"),
    "C": (4, "41 30 10 01 05 16 36 45"),
    "D": (4, "00 06 26 45 41 20 00"),
    "E": (3.6, "40 00 06 46|03 33"),
    "F": (3.6, "40 00 06|03 33"),
    "G": (4, "41 30 10 01 05 16 36 45 43 23"),
    "H": (4, "00 06|40 46|03 43"),
    "I": (1, "00 06"),
    "J": (3.4, "30 35 26 16 05"),
    "K": (4, "00 06|40 03 46"),
    "L": (3.4, "00 06 46"),
    "M": (5, "06 00 24 40 46"),
    "N": (4, "06 00 46 40"),
    "O": (4, "10 30 41 45 36 16 05 01 10"),
    "P": (4, "06 00 30 41 42 33 03"),
    "Q": (4, "10 30 41 45 36 16 05 01 10|24 46"),
    "R": (4, "06 00 30 41 42 33 03|23 46"),
    "S": (4, "41 30 10 01 02 13 33 44 45 36 16 05"),
    "T": (4, "00 40|20 26"),
    "U": (4, "00 05 16 36 45 40"),
    "V": (4, "00 26 40"),
    "W": (5, "00 16 22 36 40"),
    "X": (4, "00 46|40 06"),
    "Y": (4, "00 23 40|23 26"),
    "Z": (4, "00 40 06 46"),
}


def _strokes(text: str) -> list[list[tuple[float, float]]]:
    return [[(float(pair[0]), float(pair[1:])) for pair in run.split()] for run in text.split("|")]


LETTERS = {letter: (width, _strokes(code)) for letter, (width, code) in _GLYPHS.items()}


def draw_word(
    pen: Pen, word: str, x: float, y: float, width: float, height: float, ink: Colour, weight: float = 1.0
) -> None:
    """Write ``word`` (A-Z) centred on (x, y), as large as fits into ``width`` by ``height``."""
    gap = 1.5
    advance = [LETTERS[c][0] for c in word]
    total = sum(advance) + gap * (len(word) - 1)
    sy = min(height / 6.9, 1.7 * width / (total + 0.9))
    sx = min(width / (total + 0.9), sy * 1.25)
    left, top = x - sx * total / 2, y - sy * 3
    for letter, step in zip(word, advance, strict=True):
        squeeze = 1.25 if letter in "M" else 1.25 if letter == "W" else 1.0
        for stroke in LETTERS[letter][1]:
            points = [(left + sx * (px * squeeze if step > 1 else 0.5), top + sy * py) for px, py in stroke]
            pen.line(points, 0.92 * weight * min(sx, sy), ink)
        left += sx * (step + gap)
