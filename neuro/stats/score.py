"""A score that knows what it is: raw value, ceiling, and which of the kinds of number it carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import check_option
from neuro.errors import ShapeMismatch

#: "r" correlation, "r2" determination or its square, "EV" explained variance; "r2/NC" and "r/sqrtNC" noise-normalised.
KINDS = ("r", "r2", "EV", "r2/NC", "r/sqrtNC")


@dataclass(frozen=True, eq=False)
class Score:
    """Scores per voxel with their ceiling.

    Parameters
    ----------
    raw : array (n_voxels,)
    kind : str
        What ``raw`` is; one of ``KINDS``. Numbers of different kinds do not add, subtract or compare.
    ceiling : array (n_voxels,), optional
        Noise ceiling as a share of variance, 0 to 1.
    n_repeats : int, optional
        Trials averaged into the responses that were scored.
    """

    raw: np.ndarray
    kind: str
    ceiling: np.ndarray | None = None
    n_repeats: int | None = None

    def __post_init__(self):
        check_option("kind", self.kind, KINDS)
        raw = np.array(self.raw, dtype=float)
        raw.flags.writeable = False
        object.__setattr__(self, "raw", raw)
        if self.ceiling is not None:
            ceiling = np.array(self.ceiling, dtype=float)
            if ceiling.shape != raw.shape:
                raise ShapeMismatch(f"ceiling {ceiling.shape} and scores {raw.shape} must have the same shape.")
            if ((ceiling < 0) | (ceiling > 1)).any():
                raise ValueError("a ceiling is a share of variance, 0 to 1 (NSD's own maps are in percent).")
            ceiling.flags.writeable = False
            object.__setattr__(self, "ceiling", ceiling)

    def normalise(self, floor: float = 0.1) -> Score:
        """Return r^2/NC (from "r", negative r counting 0), EV/NC or R2/NC as kind "r2/NC".

        Voxels whose ceiling is not above ``floor`` become NaN: dividing by nearly nothing makes noise look like signal.
        Values are not capped at 1; cap for display only.
        """
        if self.ceiling is None:
            raise ValueError("no ceiling: give Score(..., ceiling=...) to normalise.")
        if self.kind not in ("r", "r2", "EV"):
            raise ValueError(f"a score of kind {self.kind!r} is normalised already.")
        explained = np.maximum(self.raw, 0) ** 2 if self.kind == "r" else self.raw
        usable = self.ceiling > floor
        ceiled = np.full(self.raw.shape, np.nan)
        ceiled[usable] = explained[usable] / self.ceiling[usable]
        return Score(ceiled, "r2/NC", self.ceiling, self.n_repeats)

    def correct_attenuation(self, floor: float = 0.1) -> Score:
        """Return r/sqrt(NC) as kind "r/sqrtNC"; NaN where the ceiling is not above ``floor``."""
        if self.ceiling is None or self.kind != "r":
            raise ValueError(f"r/sqrt(NC) needs a score of kind 'r' with a ceiling, this is {self.kind!r}.")
        usable = self.ceiling > floor
        out = np.full(self.raw.shape, np.nan)
        out[usable] = self.raw[usable] / np.sqrt(self.ceiling[usable])
        return Score(out, "r/sqrtNC", self.ceiling, self.n_repeats)

    def mean(self) -> float:
        """Return the mean over voxels that have a score."""
        return float(np.nanmean(self.raw))

    def _other(self, other: Any) -> Any:
        if isinstance(other, Score):
            if other.kind != self.kind:
                raise TypeError(f"scores of kind {self.kind!r} and {other.kind!r} do not mix: bring both to one kind.")
            return other.raw
        return other

    def __sub__(self, other: Any) -> np.ndarray:
        return self.raw - self._other(other)

    def __add__(self, other: Any) -> np.ndarray:
        return self.raw + self._other(other)

    def __lt__(self, other: Any) -> np.ndarray:
        return self.raw < self._other(other)

    def __gt__(self, other: Any) -> np.ndarray:
        return self.raw > self._other(other)
