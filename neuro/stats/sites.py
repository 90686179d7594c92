"""Which recording sites integrate vision and language? Many gates, one table.

A site integrates if a multimodal model predicts it better than every model of vision alone, of language alone, and of
both put side by side without interaction, and better than itself untrained. Each comparison is paired over events: all
models are scored on the same bootstrapped events, and a difference of scores counts with its own distribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_positive_int
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats._moments import to_numpy
from neuro.stats._sites import CLASSES as CLASSES
from neuro.stats._sites import SampledScores, Standing, check_models, compare_sites, one_row_per_site
from neuro.stats.bootstrap import bootstrap_weights, check_level, resampled_scores
from neuro.stats.metrics import resolve_metric
from neuro.stats.multiple import fdr


@dataclass(frozen=True, eq=False)
class SiteTest:
    """Result of :func:`site_test`.

    Attributes
    ----------
    gates : DataFrame
        One row per site and comparison: ``alignment``, ``site``, ``comparison``, ``model_a``, ``model_b``, ``n_bins``
        that were averaged, ``score_a``, ``score_b``, ``difference``, its interval ``low high``, one-sided ``p`` for a
        being better, ``q`` (false discovery rate among the sites of the comparison), ``passes``. A comparison that a
        site does not allow has p NaN.
    sites : DataFrame
        One row per site: ``alignment``, ``site``; ``best`` model and its ``best_class``; ``bins_<class>``, the most
        bins that a model of the class predicts; a boolean per comparison; ``integrates``: passes "predicted",
        "trained", "vision", "language" and "linear", as far as they were asked; ``by_default``, the class that alone
        predicts the site, or "": where that is "multimodal", the win is over models that predict nothing there.
    level : float
    n_bootstraps, min_bins : int
    """

    gates: pd.DataFrame
    sites: pd.DataFrame
    level: float
    n_bootstraps: int
    min_bins: int

    def summary(self) -> pd.DataFrame:
        """Return one row per comparison: sites where it was made, sites that pass, their share of all sites."""
        rows = []
        for name, part in self.gates.groupby("comparison", sort=False):
            rows.append((name, int(part["p"].notna().sum()), int(part["passes"].sum())))
        wins, alone = self.sites["integrates"], self.sites["by_default"] == "multimodal"
        rows.append(("integrates", len(wins), int((wins & ~alone).sum())))
        rows.append(("integrates by default", len(wins), int((wins & alone).sum())))
        table = pd.DataFrame(rows, columns=["comparison", "n_tested", "n_passes"])
        return table.assign(share=table["n_passes"] / len(self.sites))


def sample_scores(
    Y: Any,
    predictions: Mapping[str, Any],
    *,
    n_bootstraps: int = 1000,
    metric: Any = "pearson_r",
    groups: Any = None,
    seed: int | np.random.Generator = 0,
) -> dict[str, SampledScores]:
    """Score all models on the same resampled events.

    Parameters
    ----------
    Y : array or tensor (n_events, n_sites) or (n_events, n_sites, n_times)
        Responses that no model was fitted to.
    predictions : mapping of model to array or tensor of the shape of Y
    n_bootstraps : int
    metric : str or callable
        As for :func:`~neuro.stats.bootstrap_scores`.
    groups : array (n_events,), optional
        What is drawn together: the stimulus of repeats, or the scene that neighbouring words share.
    seed : int or Generator

    Returns
    -------
    dict of model to SampledScores
        In memory n_bootstraps n_sites n_times float32 per model: average times into windows first.
    """
    if not predictions:
        raise EmptySelection("predictions must name at least one model, got an empty mapping.")
    _, function, _ = resolve_metric(metric)
    shape = tuple(np.shape(Y))
    if len(shape) not in (2, 3):
        raise ShapeMismatch(f"Y must be (n_events, n_sites) or (n_events, n_sites, n_times), got shape {shape}.")
    for name, guess in predictions.items():
        if tuple(np.shape(guess)) != shape:
            raise ShapeMismatch(f"predictions of {name!r} have shape {tuple(np.shape(guess))}, the responses {shape}.")
    weights = bootstrap_weights(shape[0], n_bootstraps, groups, seed)
    flat = Y.reshape(shape[0], -1)
    out = {}
    for name, guess in predictions.items():
        guess = guess.reshape(shape[0], -1)
        samples = np.empty((n_bootstraps, flat.shape[1]), np.float32)
        for columns, part in resampled_scores(flat, guess, weights, metric):
            samples[:, columns] = part
        observed = to_numpy(function(flat, guess)).reshape(shape[1:])
        out[name] = SampledScores(observed, samples.reshape(n_bootstraps, *shape[1:]))
    return out


def site_test(
    scores_by_model: Mapping[str, SampledScores],
    classes: Mapping[str, str],
    controls: Mapping[str, str] | None = None,
    *,
    pairs: Iterable[tuple[str, str]] = (),
    validation: Mapping[str, SampledScores] | None = None,
    min_bins: int | None = None,
    level: float = 0.05,
    sites: Any = None,
    alignment: str = "",
) -> SiteTest:
    """Test each site for vision-language integration, and say which gate it failed.

    Parameters
    ----------
    scores_by_model : mapping of model to SampledScores
        Of the trained models and their controls, as :func:`sample_scores` makes them.
    classes : mapping of model to {"multimodal", "vision", "language", "linear"}
        "linear" are models of both, side by side: what vision and language explain without interacting.
    controls : mapping of model to model, optional
        The untrained twin of each multimodal model.
    pairs : pairs (a, b) of models
        Further comparisons, such as two models that differ in nothing but their training signal.
    validation : mapping of model to SampledScores, optional
        Scores on other events, from which bins and the best model of each class are chosen. By default the tested
        scores themselves: then the best of many models looks better than it is, so give each class as many models.
    min_bins : int, optional
        Bins (times) that a model must predict, the lower end of its 95 % interval above 0, to stand for a site. By
        default 10, or as many as there are if they are fewer; 1 without a time axis.
    level : float
        False discovery rate of each comparison.
    sites : array (n_sites,), optional
        Names.
    alignment : str
        What events were aligned to ("word onset", "scene cut"): a label. See :func:`agreeing_sites`.

    Returns
    -------
    SiteTest
        Comparisons, in this order: "predicted" (best multimodal model against 0, asked of all sites), "trained" (the
        same against its control), "untrained" (the control against it), "vision", "language", "linear" (best multimodal
        against the best of the class), "best > second" (of all models), and "a > b" for each pair. Scores are averaged
        over the bins that either of the two models predicts.

    Raises
    ------
    UnknownModel
        If a name has no scores.
    ValueError
        If a class is unknown, none is multimodal, or a multimodal model is its own control.
    ShapeMismatch
        If scores differ in shape or number of bootstraps.

    Notes
    -----
    p is the share of resamples in which a is not better, the data included. All gates must be passed together, so a
    site that fails one gate is called integrating at most with the probability that this gate errs. With fewer than a
    hundred events the bootstrap rejects somewhat too often.

    References
    ----------
    Subramaniam et al. (2024), ICML, arXiv 2406.14481. Berger & Hsu (1996), Statistical Science 11, 283-319 (tests that
    must all reject).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> Y = rng.standard_normal((200, 2))
    >>> guess = lambda noise: Y + noise * rng.standard_normal((200, 2))
    >>> scores = sample_scores(Y, {"clip": guess([1, 3]), "resnet": guess(3), "bert": guess(3), "both": guess(2)})
    >>> classes = {"clip": "multimodal", "resnet": "vision", "bert": "language", "both": "linear"}
    >>> site_test(scores, classes).sites[["site", "best", "integrates"]]
       site  best  integrates
    0     0  clip        True
    1     1  both       False
    """
    check_level(level)
    pairs, controls = list(pairs), dict(controls or {})
    models = check_models(scores_by_model, classes, controls, pairs, validation)
    observed = next(iter(models.values())).observed
    n_sites, n_bins = observed.shape[0], 1 if observed.ndim == 1 else observed.shape[1]
    min_bins = min(10, n_bins) if min_bins is None else check_positive_int("min_bins", min_bins)
    names = np.arange(n_sites) if sites is None else np.asarray(sites)
    if names.shape != (n_sites,):
        raise ShapeMismatch(f"sites must name each of {n_sites} sites, got shape {names.shape}.")
    standing = Standing(models if validation is None else validation, classes, min_bins)
    gates = compare_sites(models, standing, controls, pairs, 1 - level)
    gates["q"] = fdr(gates["p"].to_numpy(float), families=gates["comparison"].to_numpy(str))
    gates["passes"] = gates["q"].to_numpy() <= level
    table = one_row_per_site(gates, standing)
    for frame in (gates, table):
        frame["site"] = names[frame["site"]]
        frame.insert(0, "alignment", alignment)
    return SiteTest(gates, table, level, len(next(iter(models.values())).samples), min_bins)


def agreeing_sites(*tests: SiteTest) -> pd.DataFrame:
    """Return which sites integrate in every alignment: the strongest claim.

    Returns
    -------
    DataFrame
        ``site``; a boolean column per test, named by its alignment (or its number); ``integrates`` in all of them.
    """
    if len(tests) < 2:
        raise EmptySelection(f"agreement needs at least two tests, got {len(tests)}.")
    names = tests[0].sites["site"].to_numpy()
    out = pd.DataFrame({"site": names})
    for i, test in enumerate(tests):
        if not np.array_equal(test.sites["site"].to_numpy(), names):
            raise ShapeMismatch(f"test {i} is of other sites than the first; the same sites must stand in one order.")
        label = test.sites["alignment"].iloc[0] or str(i)
        out[label if label not in out else f"{label} {i}"] = test.sites["integrates"].to_numpy()
    return out.assign(integrates=out.drop(columns="site").all(axis=1))
