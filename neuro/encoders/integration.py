"""Does a site need image and text together? Joint features against each alone and against their linear union.

Four models of the same held-out responses: image features, text features, both side by side with a penalty each (what
they explain without interacting), and the features of a network that saw both. A site integrates if the last is better
than all three, and better than the same network untrained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import as_rng, check_positive_int
from neuro.encoders._bands import gathered_warnings
from neuro.encoders.banded import BandedRidgeCV
from neuro.encoders.unique_variance import _Data, _responses, _spaces
from neuro.errors import ShapeMismatch
from neuro.linear._splits import check_groups, make_splits
from neuro.stats.bootstrap import check_level
from neuro.stats.metrics import resolve_metric
from neuro.stats.sites import SiteTest, sample_scores, site_test

PARTS = ("image", "text", "joint")
CLASSES = {"joint": "multimodal", "image": "vision", "text": "language", "union": "linear"}


@dataclass(frozen=True, eq=False)
class Integration:
    """Result of :func:`joint_beats_parts`.

    Attributes
    ----------
    integrates : bool array (n_sites,)
        Sites that pass every gate.
    test : SiteTest
        Every gate of every site: models "joint", "image", "text", "union", "untrained", "matched".
    scores : dict of model to array (n_sites,) or (n_sites, n_times)
        On held-out rows.
    nested : bool
    metric : str
    """

    integrates: np.ndarray
    test: SiteTest
    scores: dict[str, np.ndarray]
    nested: bool
    metric: str


def joint_beats_parts(
    X: Mapping[str, Any],
    y: Any,
    *,
    untrained: Any = None,
    matched: Any = None,
    encoder: Any = None,
    nested: bool = False,
    cv: Any = 5,
    groups: Any = None,
    metric: str = "pearson_r",
    n_bootstraps: int = 1000,
    min_bins: int | None = None,
    level: float = 0.05,
    sites: Any = None,
    alignment: str = "",
    rng: int | np.random.Generator | None = 0,
) -> Integration:
    """Test which voxels or sites joint image-text features predict better than their parts.

    Parameters
    ----------
    X : mapping with "image", "text" and "joint" to array or tensor (n_stimuli, n_features)
    y : array, tensor or Responses (n_stimuli, n_sites) or (n_stimuli, n_sites, n_times)
        Average times into windows first, see :func:`~neuro.encoders.time_resolved.average_windows`.
    untrained : array or tensor (n_stimuli, n_features), optional
        The joint features of the same network before training. Without, that gate is not asked.
    matched : array or tensor (n_stimuli, n_features), optional
        Features of a model of one modality that differs from the joint one in nothing else (architecture, data, size):
        SimCLR for SLIP. Adds the comparison "joint > matched" to the table; ``integrates`` does not depend on it.
    encoder : estimator, optional
        Unfitted; cloned for each model. By default ``BandedRidgeCV(n_iter=10)``, which gives image and text in the
        union a penalty each; it is ridge regression for a single set of features.
    nested : bool
        False: joint features stand alone, the published definition; they must hold what image and text hold and more.
        True: joint (untrained, matched) features are added to the union, for features that hold interactions only.
    cv : int, splitter or iterable
        Outer splits; every model predicts the same held-out rows.
    groups : array (n_stimuli,), optional
        What stays together in splits and resamples: the stimulus of each row, or its scene. By default the stimuli that
        ``Responses`` name.
    metric : str
        "pearson_r", "r2" or "explained_variance".
    n_bootstraps, min_bins, level, sites, alignment
        As for :func:`~neuro.stats.sites.site_test`.
    rng : int, Generator or None
        Of splits and resamples.

    Returns
    -------
    Integration

    Raises
    ------
    ValueError
        If X has other parts, or data is not finite.
    ShapeMismatch
        If parts and responses differ in their rows.

    References
    ----------
    Subramaniam et al. (2024), ICML, arXiv 2406.14481; Oota, Arora, Rowtula, Gupta & Bapi (2022), COLING, arXiv
    2204.08261.

    Examples
    --------
    >>> from neuro.encoders import Ridge
    >>> r = np.random.default_rng(0)
    >>> X = {"image": r.standard_normal((300, 2)), "text": r.standard_normal((300, 2))}
    >>> product = X["image"] * X["text"]
    >>> X["joint"] = np.hstack([X["image"], X["text"], product])
    >>> Y = np.column_stack([X["image"][:, 0] + X["text"][:, 0], product[:, 0] + X["text"][:, 0]])
    >>> joint_beats_parts(X, Y + r.standard_normal(Y.shape), encoder=Ridge(1.0)).integrates
    array([False,  True])
    """
    if not isinstance(X, Mapping) or set(X) != set(PARTS):
        got = sorted(map(str, X)) if isinstance(X, Mapping) else type(X).__name__
        raise ValueError(f"X must be a mapping with 'image', 'text' and 'joint', got {got}.")
    check_level(level)
    resolve_metric(metric)
    check_positive_int("n_bootstraps", n_bootstraps, 2)
    extras = {name: A for name, A in (("untrained", untrained), ("matched", matched)) if A is not None}
    spaces, _ = _spaces({**X, **extras}, None)
    codes = check_groups(groups, len(spaces["image"]), y)
    Y = _responses(y, spaces)
    if Y.ndim not in (2, 3):
        raise ShapeMismatch(f"y must be (n_stimuli, n_sites[, n_times]), got shape {tuple(Y.shape)}.")
    flat = Y.reshape(len(Y), -1)
    generator = as_rng(rng)
    splits = make_splits(cv, len(Y), codes, int(generator.integers(2**31)))
    held_out = np.concatenate([val for _, val in splits])
    data = _Data(spaces, flat, codes, splits, None)
    encoder = BandedRidgeCV(n_iter=10) if encoder is None else encoder
    parts = {"image": ("image",), "text": ("text",), "union": ("image", "text")}
    for name in ("joint", *extras):
        parts[name] = ("image", "text", name) if nested else (name,)
    with gathered_warnings("fits"):
        predictions = {m: data.predict(encoder, names, False)[0] for m, names in parts.items()}
    truth = _plain(Y)[held_out]
    drawn = sample_scores(
        truth,
        {m: guess.reshape(truth.shape) for m, guess in predictions.items()},
        n_bootstraps=n_bootstraps,
        metric=metric,
        groups=None if codes is None else codes[held_out],
        seed=generator,
    )
    test = site_test(
        drawn,
        CLASSES,
        {"joint": "untrained"} if untrained is not None else None,
        pairs=[("joint", "matched")] if matched is not None else (),
        min_bins=min_bins,
        level=level,
        sites=sites,
        alignment=alignment,
    )
    scores = {m: s.observed for m, s in drawn.items()}
    return Integration(test.sites["integrates"].to_numpy(bool), test, scores, nested, metric)


def _plain(Y: Any) -> np.ndarray:
    return Y.detach().cpu().numpy() if hasattr(Y, "detach") else np.asarray(Y)
