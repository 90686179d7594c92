"""A score with what it takes to read it: the raw value, the noise ceiling, and which of several units it is in.

==========  =======================================================================================
kind        what it is
==========  =======================================================================================
r           Pearson correlation; a perfect model reaches sqrt(NC)
r2          coefficient of determination; a perfect model reaches NC
EV          explained variance; a perfect model reaches NC
r2/NC       share of the explainable variance that is explained, from r (as ``r |r| / NC``) or r2
EV/NC       the same from EV
r/sqrtNC    correlation with the noise-free response
==========  =======================================================================================

NC is a share of variance, so a correlation is never divided by NC and an r2 never by sqrt(NC). Numbers of different
kinds are different things: adding or subtracting them raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuro._check import check_option
from neuro.errors import ShapeMismatch
from neuro.stats._moments import to_numpy
from neuro.stats.metrics import resolve_metric

#: Raw kinds and the normalised kinds that each can become, the usual one first.
KINDS: dict[str, tuple[str, ...]] = {"r": ("r2/NC", "r/sqrtNC"), "r2": ("r2/NC",), "EV": ("EV/NC",)}
KIND_OF_METRIC = {"pearson_r": "r", "r2": "r2", "explained_variance": "EV"}


def normalise(values: Any, ceiling: Any, kind: str, raw_kind: str = "r", floor: float = 0.1) -> np.ndarray:
    """Return scores relative to what the noise allows.

    Parameters
    ----------
    values : array (..., n_voxels)
        Scores of kind ``raw_kind``.
    ceiling : array (n_voxels,)
        Noise ceiling as a share of variance, 0 to 1, of the responses that were scored.
    kind : str
        "r2/NC": ``r |r| / NC`` from correlations, keeping the sign so that voxels without signal average to 0; r2 / NC
        from coefficients of determination. "EV/NC". "r/sqrtNC": r / sqrt(NC).
    raw_kind : "r", "r2" or "EV"
    floor : float
        Voxels whose ceiling is not above it become NaN: there the ratio is noise over nearly nothing. 0.1 is an ncsnr
        of about 0.2 for three repeats, the convention.

    Returns
    -------
    array (..., n_voxels), float64; it may exceed 1, by chance or where the ceiling is underestimated

    Examples
    --------
    >>> normalise([0.5, 0.5], [0.5, 0.05], "r2/NC")
    array([0.5, nan])
    """
    check_option("raw_kind", raw_kind, KINDS)
    check_option(f"kind of a normalised {raw_kind}", kind, KINDS[raw_kind])
    x, ceiling = np.asarray(values, dtype=float), np.asarray(ceiling, dtype=float)
    if x.shape[-1:] != ceiling.shape:
        raise ShapeMismatch(f"scores {x.shape} and ceiling {ceiling.shape} must agree in voxels.")
    if np.nanmax(ceiling, initial=0) > 1 or np.nanmin(ceiling, initial=0) < 0:
        raise ValueError(
            f"a noise ceiling is a share of variance between 0 and 1, got {np.nanmin(ceiling):g} to "
            f"{np.nanmax(ceiling):g}. Divide percent by 100."
        )
    if not floor >= 0:
        raise ValueError(f"floor is a noise ceiling of at least 0, got {floor!r}.")
    usable = np.where(ceiling > floor, ceiling, np.nan)
    if kind == "r/sqrtNC":
        return x / np.sqrt(usable)
    return (x * np.abs(x) if raw_kind == "r" else x) / usable


@dataclass(frozen=True, eq=False)
class Score:
    """Scores per voxel that know their kind; arithmetic between kinds raises.

    Parameters
    ----------
    raw : array (n_voxels,)
        As measured.
    kind : str
        What :attr:`values` is: one of the module's table.
    ceiling : array (n_voxels,), optional
        Noise ceiling, share of variance, of the responses that were scored.
    ceiled : array (n_voxels,), optional
        Relative to the ceiling; there if ``kind`` is a normalised one.
    n_repeats : optional
        Trials averaged into each response that was scored, a number or counts.
    error : array (n_voxels,), optional
        Standard error of :attr:`values`.
    raw_kind : "r", "r2" or "EV"
        What ``raw`` is.
    floor : float, optional
        Ceiling below which ``ceiled`` is NaN.

    Examples
    --------
    >>> a = Score(np.array([0.6, 0.3]), "r", ceiling=np.array([0.72, 0.05]))
    >>> a.normalise("r2/NC").values
    array([0.5, nan])
    >>> a - a.normalise("r2/NC")
    Traceback (most recent call last):
    TypeError: cannot combine a score of kind 'r' with one of kind 'r2/NC' (from r): bring both to one kind first.
    """

    raw: np.ndarray
    kind: str = "r"
    ceiling: np.ndarray | None = None
    ceiled: np.ndarray | None = None
    n_repeats: Any = None
    error: np.ndarray | None = None
    raw_kind: str = ""
    floor: float | None = None

    __array_ufunc__ = None  # so that array + score asks the score, which refuses

    def __post_init__(self):
        normalised = [k for kinds in KINDS.values() for k in kinds]
        check_option("kind", self.kind, dict.fromkeys([*KINDS, *normalised]))
        raw_kind = self.raw_kind or (self.kind if self.kind in KINDS else "")
        check_option("raw_kind", raw_kind, KINDS)
        if self.kind not in (raw_kind, *KINDS[raw_kind]):
            raise ValueError(f"a score of kind {self.kind!r} cannot come from {raw_kind!r}.")
        if (self.kind in KINDS) != (self.ceiled is None):
            raise ValueError(f"`ceiled` goes with a normalised kind, got kind {self.kind!r}.")
        object.__setattr__(self, "raw_kind", raw_kind)
        shape = np.shape(self.raw)
        for name in ("raw", "ceiling", "ceiled", "error"):
            value = getattr(self, name)
            if value is None:
                continue
            array = np.array(to_numpy(value), dtype=float)
            if array.shape != shape:
                raise ShapeMismatch(f"{name} must have the shape of raw, {shape}, got {array.shape}.")
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def of(
        cls,
        Y: Any,
        Y_hat: Any,
        metric: str | Callable[[Any, Any], Any] = "pearson_r",
        *,
        ceiling: Any = None,
        n_repeats: Any = None,
    ) -> Score:
        """Return the score of predictions ``Y_hat`` of responses ``Y``, both (n_stimuli, n_voxels)."""
        name, function, formula = resolve_metric(metric)
        if formula is None:
            raise ValueError(f"metric {name!r} has no known kind: use Score(values, kind) and say which.")
        return cls(to_numpy(function(Y, Y_hat)), KIND_OF_METRIC[name], ceiling=ceiling, n_repeats=n_repeats)

    @property
    def values(self) -> np.ndarray:
        """The scores in the units of ``kind``."""
        return self.raw if self.ceiled is None else self.ceiled

    def normalise(self, kind: str | None = None, floor: float = 0.1) -> Score:
        """Return the score relative to its ceiling; see :func:`normalise`."""
        if self.ceiling is None:
            raise ValueError("this score has no noise ceiling to be normalised by: give ceiling=.")
        kind = KINDS[self.raw_kind][0] if kind is None else kind
        ceiled = normalise(self.raw, self.ceiling, kind, self.raw_kind, floor)
        error = None
        if self.error is not None and self.ceiled is None:
            slope = 2 * np.abs(self.raw) if (self.raw_kind, kind) == ("r", "r2/NC") else np.ones_like(self.raw)
            error = slope * self.error / (self.ceiling**0.5 if kind == "r/sqrtNC" else self.ceiling)
            error = np.where(np.isnan(ceiled), np.nan, error)
        return replace(self, kind=kind, ceiled=ceiled, error=error, floor=floor)

    def unnormalised(self) -> Score:
        """Return the raw score."""
        return replace(self, kind=self.raw_kind, ceiled=None, error=None if self.ceiled is not None else self.error)

    def mean(self, mask: Any = None) -> float:
        """Return the mean over voxels (of ``mask``) that have a score."""
        return self._over(np.mean, mask)

    def median(self, mask: Any = None) -> float:
        """Return the median over voxels (of ``mask``) that have a score."""
        return self._over(np.median, mask)

    def __len__(self) -> int:
        return len(self.raw)

    def __repr__(self) -> str:
        n = int(np.isfinite(self.values).sum())
        limit = "" if self.ceiling is None else f", median ceiling {np.nanmedian(self.ceiling):.3f}"
        return f"Score({self.kind}, median {self.median():.3f} over {n:,} of {self.raw.size:,} voxels{limit})"

    def __add__(self, other: Any) -> Score:
        return self if _is_zero(other) else self._combine(other, np.add)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Score:
        return self._combine(other, np.subtract)

    def __rsub__(self, other: Any) -> Score:
        return self._combine(other, lambda a, b: b - a)

    def __mul__(self, factor: Any) -> Score:
        if not isinstance(factor, (int, float, np.number)):
            raise TypeError(f"a score can be scaled by a number only, got {type(factor).__name__}.")
        scaled = {k: None if v is None else v * factor for k, v in (("raw", self.raw), ("ceiled", self.ceiled))}
        return replace(self, **scaled, error=None if self.error is None else self.error * abs(factor))

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Score:
        if not isinstance(divisor, (int, float, np.number)):
            raise TypeError(
                f"a score can be divided by a number only, got {type(divisor).__name__}; "
                "normalise() divides by the ceiling."
            )
        return self * (1 / divisor)

    def _combine(self, other: Any, operation: Callable[[Any, Any], Any]) -> Score:
        if not isinstance(other, Score):
            raise TypeError(
                f"a plain {type(other).__name__} has no kind: wrap it as Score(values, kind), or use score.values."
            )
        if (self.kind, self.raw_kind) != (other.kind, other.raw_kind):
            raise TypeError(
                f"cannot combine a score of kind {self._described()} with one of kind {other._described()}: "
                "bring both to one kind first."
            )
        if self.raw.shape != other.raw.shape:
            raise ShapeMismatch(f"scores of different voxels: shapes {self.raw.shape} and {other.raw.shape}.")
        same = self.ceiling is not None and other.ceiling is not None
        same = same and np.array_equal(self.ceiling, other.ceiling, equal_nan=True)
        # A sum or difference of r has no ceiling of its own unless both had one; their errors are not independent.
        return Score(
            operation(self.raw, other.raw),
            self.kind,
            ceiling=self.ceiling if same else None,
            ceiled=None if self.ceiled is None else operation(self.ceiled, other.ceiled),
            n_repeats=self.n_repeats if same else None,
            raw_kind=self.raw_kind,
            floor=self.floor if self.floor == other.floor else None,
        )

    def _described(self) -> str:
        return repr(self.kind) if self.kind == self.raw_kind else f"{self.kind!r} (from {self.raw_kind})"

    def _over(self, statistic: Callable[[Any], Any], mask: Any) -> float:
        values = self.values if mask is None else self.values[np.asarray(mask)]
        values = values[np.isfinite(values)]
        return float(statistic(values)) if values.size else float("nan")


def _is_zero(other: Any) -> bool:
    """Whether ``other`` is the plain 0 that ``sum`` starts with."""
    return isinstance(other, int) and not isinstance(other, bool) and other == 0
