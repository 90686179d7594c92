"""The gates of :func:`neuro.stats.site_test`: which model stands for a class at a site, and is one better?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_option
from neuro.errors import ShapeMismatch, UnknownModel, nearest
from neuro.stats.bootstrap import percentile_interval

CLASSES = ("multimodal", "vision", "language", "linear")
# What a site must pass to integrate.
REQUIRED = ("predicted", "trained", "vision", "language", "linear")


@dataclass(frozen=True, eq=False)
class SampledScores:
    """A model's scores, and the same on resampled events.

    Parameters
    ----------
    observed : array (n_sites,) or (n_sites, n_times)
    samples : array (n_bootstraps, n_sites) or (n_bootstraps, n_sites, n_times)
        Row b of all models that are compared must be of the same draw of events.
    """

    observed: np.ndarray
    samples: np.ndarray

    def __post_init__(self):
        observed, samples = np.array(self.observed, dtype=float), np.asarray(self.samples)
        if observed.ndim not in (1, 2) or samples.shape[1:] != observed.shape or len(samples) < 2:
            raise ShapeMismatch(
                "expected observed (n_sites[, n_times]) and samples (n_bootstraps, n_sites[, n_times]), got "
                f"{observed.shape} and {samples.shape}."
            )
        for name, value in (("observed", observed), ("samples", samples.view())):
            value.flags.writeable = False
            object.__setattr__(self, name, value)


class Standing:
    """How well each model predicts each site, and who stands for whom.

    Attributes
    ----------
    bins : dict of model to bool array (n_sites, n_bins)
        Bins that the model predicts: the lower end of the 95 % interval of its score is above 0.
    means : dict of model to array (n_sites,)
        Mean score over these bins; -inf where they are fewer than ``min_bins``.
    members : dict of class to list of models
    """

    def __init__(self, scores: Mapping[str, SampledScores], classes: Mapping[str, str], min_bins: int):
        self.classes = dict(classes)
        self.members = {c: [m for m in classes if classes[m] == c] for c in CLASSES}
        self.bins, self.means = {}, {}
        for name, found in scores.items():
            n_sites = len(found.observed)
            flat = found.samples.reshape(len(found.samples), -1)
            low = percentile_interval(flat, 0.95)[0].reshape(n_sites, -1)
            bins = low > 0
            count = bins.sum(1)
            total = np.where(bins, found.observed.reshape(n_sites, -1), 0.0).sum(1)
            self.bins[name] = bins
            self.means[name] = np.where(count >= min_bins, total / np.maximum(count, 1), -np.inf)

    def ranked(self, models: list[str], site: int) -> list[str]:
        """Return models from best to worst at a site."""
        return sorted(models, key=lambda m: -self.means[m][site])

    def best(self, name: str, site: int) -> str | None:
        """Return the best model of a class at a site, None where no model predicts it."""
        first = self.ranked(self.members[name], site)[:1]
        return first[0] if first and np.isfinite(self.means[first[0]][site]) else None


def compare_sites(
    models: Mapping[str, SampledScores],
    standing: Standing,
    controls: Mapping[str, str],
    pairs: list[tuple[str, str]],
    level: float,
) -> pd.DataFrame:
    """Return one row per comparison and site; NaN where a comparison cannot be made."""
    ours: Callable[[int], Any] = lambda s: standing.best("multimodal", s)  # noqa: E731
    plan: dict[str, Callable[[int], tuple[str, str | None] | None]] = {}
    # Asked of every site: noise sites that pass for predicted ones by chance would pass most other gates too.
    plan["predicted"] = lambda s: (ours(s) or standing.members["multimodal"][0], None)
    if controls:
        plan["trained"] = lambda s: (ours(s), controls[ours(s)]) if ours(s) in controls else None
        plan["untrained"] = lambda s: (controls[ours(s)], ours(s)) if ours(s) in controls else None
    for rival in CLASSES[1:]:
        if standing.members[rival]:
            plan[rival] = lambda s, c=rival: (ours(s), standing.ranked(standing.members[c], s)[0]) if ours(s) else None
    if len(standing.classes) > 1:

        def first_two(s: int) -> tuple[str, str] | None:
            first, second = standing.ranked([*standing.classes], s)[:2]
            return (first, second) if np.isfinite(standing.means[first][s]) else None

        plan["best > second"] = first_two
    for a, b in pairs:
        plan[f"{a} > {b}"] = lambda s, a=a, b=b: (a, b) if np.isfinite(_larger(standing, a, b, s)) else None
    n_sites = len(next(iter(models.values())).observed)
    rows = []
    for comparison, ask in plan.items():
        for s in range(n_sites):
            question = ask(s)
            row = {"site": s, "comparison": comparison, "model_a": "", "model_b": "", "n_bins": 0}
            rows.append(row if question is None else row | _compare(models, standing, s, *question, level))
    numbers = ["score_a", "score_b", "difference", "low", "high", "p"]
    return pd.DataFrame(rows, columns=["site", "comparison", "model_a", "model_b", "n_bins", *numbers])


def _larger(standing: Standing, a: str, b: str, s: int) -> float:
    return max(standing.means[a][s], standing.means[b][s])


def _compare(
    models: Mapping[str, SampledScores], standing: Standing, s: int, a: str, b: str | None, level: float
) -> dict[str, Any]:
    """Compare two models at a site, or one with 0, over the bins that either predicts (all, if none)."""
    bins = standing.bins[a][s] | (False if b is None else standing.bins[b][s])
    bins = bins if bins.any() else ~bins
    observed, samples = [], []
    for name in (a, b):
        if name is None:
            observed.append(np.zeros(int(bins.sum())))
            samples.append(np.zeros((1, int(bins.sum()))))
            continue
        found = models[name]
        observed.append(found.observed[s].reshape(-1)[bins])
        samples.append(found.samples[:, s].reshape(len(found.samples), -1)[:, bins])
    difference = float(np.mean(observed[0] - observed[1]))
    drawn = (samples[0] - samples[1]).mean(1, dtype=float)
    low, high = percentile_interval(drawn[:, None], level)
    missing = not np.isfinite(difference)
    p = np.nan if missing else (1 + np.count_nonzero(~(drawn > 0))) / (1 + len(drawn))
    scores = {"score_a": float(np.mean(observed[0])), "score_b": float(np.mean(observed[1])), "difference": difference}
    names = {"model_a": a, "model_b": b or "", "n_bins": int(bins.sum())}
    return names | scores | {"low": float(low[0]), "high": float(high[0]), "p": p}


def one_row_per_site(gates: pd.DataFrame, standing: Standing) -> pd.DataFrame:
    """Return who is best at each site, and which gates it passes."""
    n_sites = len(next(iter(standing.bins.values())))
    rows = []
    for s in range(n_sites):
        best = standing.ranked([*standing.classes], s)[0]
        stands = [c for c, members in standing.members.items() if members and standing.best(c, s)]
        found = bool(np.isfinite(standing.means[best][s]))
        row = {"site": s, "best": best if found else "", "best_class": standing.classes[best] if found else ""}
        for c, members in standing.members.items():
            if members:
                row[f"bins_{c}"] = max(int(standing.bins[m][s].sum()) for m in members)
        rows.append(row | {"by_default": stands[0] if len(stands) == 1 else ""})
    table = pd.DataFrame(rows)
    passes = {name: part["passes"].to_numpy() for name, part in gates.groupby("comparison", sort=False)}
    required = [passes[name] for name in REQUIRED if name in passes]
    table["integrates"] = np.all(required, axis=0) if required else False
    return table.assign(**passes)


def check_models(
    scores: Mapping[str, SampledScores], classes: Any, controls: Any, pairs: Any, validation: Any
) -> dict[str, SampledScores]:
    """Return the scores of all models that are named."""
    for name in classes.values():
        check_option("class of a model", name, CLASSES)
    if "multimodal" not in classes.values():
        raise ValueError(f"classes must name at least one multimodal model, got {sorted(set(classes.values()))}.")
    named = [*classes]
    for model, control in (controls or {}).items():
        if classes.get(model) != "multimodal":
            raise ValueError(f"controls are of multimodal models; {model!r} is none in classes.")
        if control in classes:
            raise ValueError(f"the control {control!r} of {model!r} must be an untrained model without a class.")
        named.append(control)
    for pair in pairs:
        named += list(pair)
    out = {}
    for source in (scores, validation) if validation is not None else (scores,):
        for name in dict.fromkeys(named):
            if name not in source:
                raise UnknownModel(
                    f"no scores of model {name!r}{nearest(name, source) or f'; there are {list(source)}.'}"
                )
            found = source[name]
            first = source[named[0]]
            if found.observed.shape != first.observed.shape or len(found.samples) != len(first.samples):
                raise ShapeMismatch(
                    f"all models must have scores of one shape and number of bootstraps: {named[0]!r} has "
                    f"{first.samples.shape}, {name!r} has {found.samples.shape}."
                )
            out.setdefault(name, found)
    if validation is not None and validation[named[0]].observed.shape != out[named[0]].observed.shape:
        raise ShapeMismatch(
            f"validation scores have shape {validation[named[0]].observed.shape}, the tested ones "
            f"{out[named[0]].observed.shape}."
        )
    return out
