"""A number that says what it is: no metric of a decoder is a bare float.

The same name stands for different computations in different papers (which size, which network, which anchor, which
test set), so a value travels with its protocol, its chance level, the number of items and the versions that made it.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng
from neuro.errors import MixedProtocols, ShapeMismatch

PACKAGES = ("neuro", "numpy", "torch", "torchvision", "scikit-image", "open_clip_torch", "transformers", "diffusers")


@dataclass(frozen=True, eq=False)
class MetricResult:
    """One metric of one set of decoded items.

    Attributes
    ----------
    metric : str
        What was computed, as "pixcorr" or "retrieve_image_given_brain".
    value : float
    protocol : str
        How: whose settings, or the settings themselves.
    n : int
        Test items.
    chance : float or None
        Expected value for decoded items that know nothing of the truth; None where there is no such number.
    ci : (float, float) or None
        95 % interval over test items (bootstrap), not over pools or distractors.
    per_item : array (n,) or None
        The value of each item, where the metric is a mean of such values.
    higher_is_better : bool
    oracle : bool
        Whether the truth took part in making what is scored (best of N by similarity to it): not a result.
    details : dict
        What else is worth knowing: direction, pool, number of ties, weights of the network.
    versions : dict
        Packages that took part.

    Examples
    --------
    >>> r = mean_result("accuracy", [1.0, 0.0, 1.0, 1.0], protocol="demo", chance=0.5, rng=0)
    >>> float(r), r.n, r.chance
    (0.75, 4, 0.5)
    """

    metric: str
    value: float
    protocol: str
    n: int
    chance: float | None = None
    ci: tuple[float, float] | None = None
    per_item: np.ndarray | None = None
    higher_is_better: bool = True
    oracle: bool = False
    details: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: versions())

    def __post_init__(self):
        if self.per_item is not None:
            items = np.array(self.per_item, dtype=float)
            if items.shape != (self.n,):
                raise ShapeMismatch(f"per_item of {self.metric} must be ({self.n},), got {items.shape}.")
            items.setflags(write=False)
            object.__setattr__(self, "per_item", items)

    def __float__(self) -> float:
        return float(self.value)

    def __repr__(self) -> str:
        interval = "" if self.ci is None else f" [{self.ci[0]:.4g}, {self.ci[1]:.4g}]"
        chance = "" if self.chance is None else f", chance {self.chance:.4g}"
        direction = "" if self.higher_is_better else ", lower is better"
        oracle = ", ORACLE: chosen with the truth" if self.oracle else ""
        used = ", ".join(f"{k} {v}" for k, v in self.versions.items())
        about = f"{self.protocol}, n = {self.n}{chance}{direction}{oracle}; {used}"
        return f"{self.metric} = {self.value:.4g}{interval} ({about})"

    def to_dict(self, items: bool = False) -> dict[str, Any]:
        """Return what JSON can hold; the values of single items only if asked."""
        out = asdict(self)
        out["per_item"] = self.per_item.tolist() if items and self.per_item is not None else None
        return out


def mean_result(
    metric: str,
    per_item: Any,
    *,
    protocol: str,
    chance: float | None = None,
    rng: int | np.random.Generator | None = 0,
    n_bootstraps: int = 1000,
    **more: Any,
) -> MetricResult:
    """Return the mean over items as a result, with its bootstrap interval over items.

    Items that are NaN (no variance, no answer) are left out of mean and interval and counted in ``details``.
    """
    items = np.asarray(per_item, dtype=float)
    good = items[np.isfinite(items)]
    value, ci = (float(good.mean()), bootstrap_mean(good, rng, n_bootstraps)) if len(good) else (float("nan"), None)
    details = dict(more.pop("details", {}))
    if len(good) < len(items):
        details["undefined_items"] = len(items) - len(good)
    return MetricResult(metric, value, protocol, len(items), chance, ci, items, details=details, **more)


def bootstrap_mean(
    items: np.ndarray, rng: int | np.random.Generator | None = 0, n_bootstraps: int = 1000, level: float = 0.95
) -> tuple[float, float] | None:
    """Return the percentile interval of the mean of ``items`` (n,), drawn with replacement; None for one item."""
    if len(items) < 2:
        return None
    n = len(items)
    # How often each item is drawn is multinomial; a block of draws at a time.
    size = max(1, 4_000_000 // n)
    rng, share = as_rng(rng), np.full(n, 1 / n)
    starts = range(0, n_bootstraps, size)
    counts = (rng.multinomial(n, share, min(size, n_bootstraps - start)) for start in starts)
    means = np.concatenate([drawn @ items / n for drawn in counts])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of those packages that are installed, and Python's."""
    found = {name: _version(name) for name in packages}
    return {"python": platform.python_version(), **{name: v for name, v in found.items() if v is not None}}


@functools.cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def results_table(results: Mapping[str, Mapping[str, MetricResult]]) -> pd.DataFrame:
    """Return one row per system and metric.

    Parameters
    ----------
    results : dict of system -> dict of metric -> MetricResult

    Raises
    ------
    MixedProtocols
        If one metric was computed under different protocols, or on different numbers of items.
    """
    rows = []
    seen: dict[str, tuple[str, MetricResult]] = {}
    for system, metrics in results.items():
        for name, r in metrics.items():
            other, first = seen.setdefault(name, (system, r))
            if (first.protocol, first.n) != (r.protocol, r.n):
                raise MixedProtocols(
                    f"{name} of {other!r} is {first.protocol!r} on {first.n} items, of {system!r} {r.protocol!r} on "
                    f"{r.n}: such numbers cannot be compared. Score both under one protocol, or make two tables."
                )
            low, high = r.ci or (float("nan"), float("nan"))
            rows.append(
                {
                    "system": system,
                    "metric": name,
                    "value": r.value,
                    "ci_low": low,
                    "ci_high": high,
                    "chance": float("nan") if r.chance is None else r.chance,
                    "n": r.n,
                    "protocol": r.protocol,
                    "higher_is_better": r.higher_is_better,
                    "oracle": r.oracle,
                }
            )
    return pd.DataFrame(rows)
