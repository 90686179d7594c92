"""What do sensors do together? Decoding from covariances of epochs, as oscillations and imagined movements ask for.

An epoch of C channels is described by its covariance, and by that of its channels stacked with copies of themselves,
delayed by l, 2 l, .. (p - 1) l samples: the *augmented covariance*, (p C, p C), which holds autocovariances as well.
Of T samples T - (p - 1) l are left. Covariances are compared on their own manifold (affine-invariant metric), flattened
at their mean, and classified there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from neuro._check import check_option, check_positive_int, require
from neuro.decoders._riemann import (
    airm_distance,
    check_spd,
    from_tangent_vectors,
    riemannian_mean,
    tangent_vectors,
)
from neuro.decoders.metrics.result import MetricResult, mean_result
from neuro.errors import ShapeMismatch

__all__ = [
    "AugmentedCovariance",
    "TangentSpace",
    "airm_distance",
    "covariance_pipeline",
    "covariances",
    "delay_embed",
    "from_tangent_vectors",
    "nested_cross_validation",
    "riemannian_mean",
    "tangent_vectors",
]

ESTIMATORS = ("empirical", "oas", "ledoit_wolf")
GRID = {
    "covariance__order": tuple(range(1, 11)),
    "covariance__lag": tuple(range(1, 11)),
    "svm__C": (0.5, 1.0, 1.5),
    "svm__kernel": ("rbf", "linear"),
}


def delay_embed(x: Any, order: int = 1, lag: int = 1) -> np.ndarray:
    """Stack channels with delayed copies of themselves.

    Parameters
    ----------
    x : array (n_epochs, n_channels, n_times)
    order : int
        p: copies, the undelayed one included.
    lag : int
        l: samples between successive copies.

    Returns
    -------
    array (n_epochs, order * n_channels, n_times - (order - 1) * lag)
        Copy k holds ``x[:, :, k * lag :]``, so that copy 0 is the oldest sample.

    Examples
    --------
    >>> delay_embed([[[0, 1, 2, 3, 4]]], order=2, lag=3)
    array([[[0, 1],
            [3, 4]]])
    """
    x = _epochs(x)
    order, lag = check_positive_int("order", order), check_positive_int("lag", lag)
    left = x.shape[2] - (order - 1) * lag
    if left < 2:
        raise ShapeMismatch(
            f"order={order} and lag={lag} leave {left} of {x.shape[2]} samples; 2 are the least for a covariance. "
            "Use fewer or shorter lags, or longer epochs."
        )
    return np.concatenate([x[:, :, k * lag : k * lag + left] for k in range(order)], axis=1)


def covariances(x: Any, estimator: str = "oas") -> np.ndarray:
    """Return the covariance of every epoch, each channel's mean over the epoch removed.

    Parameters
    ----------
    x : array (n_epochs, n_channels, n_times)
    estimator : {"empirical", "oas", "ledoit_wolf"}
        Sum of squares / n_times, or that shrunk towards a multiple of the identity: an epoch with few samples for its
        (stacked) channels has no invertible empirical covariance.

    Returns
    -------
    array (n_epochs, n_channels, n_channels)

    References
    ----------
    Chen et al. (2010), IEEE Transactions on Signal Processing 58, 5016-5029 (oracle approximating shrinkage);
    Ledoit & Wolf (2004), Journal of Multivariate Analysis 88, 365-411.
    """
    x = _epochs(x).astype(float)
    check_option("estimator", estimator, ESTIMATORS)
    x = x - x.mean(-1, keepdims=True)
    if estimator == "empirical":
        return x @ np.swapaxes(x, 1, 2) / x.shape[2]
    from sklearn.covariance import ledoit_wolf, oas

    shrink = oas if estimator == "oas" else ledoit_wolf
    return np.stack([shrink(epoch.T, assume_centered=True)[0] for epoch in x])


class AugmentedCovariance(TransformerMixin, BaseEstimator):
    """Epochs (n, C, T) to covariances (n, p C, p C) of their channels and delayed copies.

    Parameters
    ----------
    order : int
        p; 1 gives plain covariances.
    lag : int
        l, in samples.
    estimator : {"oas", "empirical", "ledoit_wolf"}

    References
    ----------
    Carrara & Papadopoulo (2024), Journal of Neural Engineering 21, 026048. All but the (p - 1) l samples that have no
    delayed partner are used.

    Examples
    --------
    >>> AugmentedCovariance(order=3, lag=2).fit_transform(np.random.default_rng(0).standard_normal((5, 4, 50))).shape
    (5, 12, 12)
    """

    def __init__(self, order: int = 4, lag: int = 8, estimator: str = "oas"):
        self.order = order
        self.lag = lag
        self.estimator = estimator

    def fit(self, X: Any, y: Any = None) -> AugmentedCovariance:
        """Remember the number of channels."""
        self.n_channels_ = _epochs(X).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return covariances (n_epochs, order * n_channels, order * n_channels)."""
        check_is_fitted(self)
        X = _epochs(X)
        if X.shape[1] != self.n_channels_:
            raise ShapeMismatch(f"expected epochs of {self.n_channels_} channels, got {X.shape[1]}.")
        return covariances(delay_embed(X, self.order, self.lag), self.estimator)


class TangentSpace(TransformerMixin, BaseEstimator):
    """Covariances (n, p, p) to vectors (n, p (p + 1) / 2) in the plane that touches their manifold at the mean.

    Parameters
    ----------
    metric : str
        "riemann" (affine-invariant), or the name of another metric of pyriemann ("logeuclid", "wasserstein", ...), of
        which the mean is then taken; the plane is the same kind.

    Attributes
    ----------
    reference_ : (p, p)
        Mean of the training covariances.
    """

    def __init__(self, metric: str = "riemann"):
        self.metric = metric

    def fit(self, X: Any, y: Any = None) -> TangentSpace:
        """Find the mean."""
        X = check_spd(X)
        if self.metric == "riemann":
            self.reference_ = riemannian_mean(X)
        else:
            peer = require("pyriemann.tangentspace", f"the {self.metric!r} mean of covariances", "eeg")
            self.reference_ = np.asarray(peer.TangentSpace(metric=self.metric).fit(X).reference_)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return tangent vectors at the mean."""
        check_is_fitted(self)
        return tangent_vectors(X, self.reference_)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Return the covariances of tangent vectors."""
        check_is_fitted(self)
        return from_tangent_vectors(X, self.reference_)


def covariance_pipeline(order: int = 1, lag: int = 1, *, estimator: str = "oas", C: float = 1.0, kernel: str = "rbf"):
    """Return augmented covariance -> tangent space -> support vector machine, untrained.

    Steps are named ``covariance``, ``tangent`` and ``svm``.
    """
    from sklearn.pipeline import Pipeline
    from sklearn.svm import SVC

    steps = [
        ("covariance", AugmentedCovariance(order, lag, estimator)),
        ("tangent", TangentSpace()),
        ("svm", SVC(C=C, kernel=kernel)),
    ]
    return Pipeline(steps)


def nested_cross_validation(
    X: Any,
    y: Any,
    groups: Any = None,
    *,
    grid: Mapping[str, Sequence[Any]] | None = None,
    pipeline: Any = None,
    cv: int = 5,
    inner_cv: int = 3,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> tuple[MetricResult, list[dict[str, Any]]]:
    """Score epochs' classification, the number of lags and all else chosen within the training part alone.

    Parameters
    ----------
    X : array (n_epochs, n_channels, n_times)
    y : labels (n_epochs,)
    groups : array (n_epochs,), optional
        What must stay together, such as the run: held out whole, outside and inside. Without, folds keep the shares of
        labels.
    grid : mapping of parameter -> values, optional
        By default ``GRID``: order and lag 1 to 10, C .5, 1, 1.5, both kernels: 600 pipelines per fold. Settings that
        leave an epoch fewer than 2 samples are an error, so long epochs are needed for all of it.
    pipeline : estimator, optional
        :func:`covariance_pipeline` by default.
    cv, inner_cv : int
        Folds outside and inside.
    random_state : int
    n_jobs : int, optional
        Of the grid, through joblib.

    Returns
    -------
    accuracy : MetricResult
        Over epochs; chance is the share of the commonest label.
    chosen : list of dict
        The settings that each training part chose.
    """
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold

    X, y = _epochs(X), np.asarray(y)
    if y.shape != (len(X),):
        raise ShapeMismatch(f"y must have one label for each of {len(X)} epochs, got shape {y.shape}.")
    check_positive_int("cv", cv, 2)
    check_positive_int("inner_cv", inner_cv, 2)
    if groups is not None and np.shape(groups) != (len(X),):
        raise ShapeMismatch(f"groups must have one entry for each of {len(X)} epochs, got shape {np.shape(groups)}.")
    groups = None if groups is None else np.asarray(groups)
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    outer, inner = (splitter(k, shuffle=True, random_state=random_state) for k in (cv, inner_cv))
    right, chosen = np.zeros(len(X)), []
    for train, test in outer.split(X, y, groups):
        search = GridSearchCV(
            covariance_pipeline() if pipeline is None else pipeline,
            {k: list(v) for k, v in (GRID if grid is None else grid).items()},
            cv=inner,
            n_jobs=n_jobs,
            error_score="raise",
        )
        search.fit(X[train], y[train], groups=None if groups is None else groups[train])
        right[test] = search.predict(X[test]) == y[test]
        chosen.append(dict(search.best_params_))
    chance = float(np.unique(y, return_counts=True)[1].max() / len(y))
    held = "stratified folds" if groups is None else "folds of whole groups"
    protocol = f"nested cross-validation, {cv} x {inner_cv} {held}"
    return mean_result("accuracy", right, protocol=protocol, chance=chance, rng=random_state), chosen


def _epochs(x: Any) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim != 3:
        raise ShapeMismatch(f"epochs must be (n_epochs, n_channels, n_times), got shape {x.shape}.")
    if not np.isfinite(x).all():
        raise ValueError(f"epochs contain NaN or infinity, in {int((~np.isfinite(x)).any((1, 2)).sum())} of {len(x)}.")
    return x
