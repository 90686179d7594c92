"""Delays as a step of a scikit-learn pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from neuro._check import is_tensor
from neuro.data._runs import as_rows, check_delays
from neuro.data.delays import fir_delays
from neuro.errors import ShapeMismatch


class Delayer(TransformerMixin, BaseEstimator):
    """:func:`~neuro.data.fir_delays` as a step of a pipeline.

    Parameters
    ----------
    delays : sequence of int
        In scans (TRs).

    Attributes
    ----------
    delays_ : tuple of int

    Examples
    --------
    >>> delayer = Delayer([1, 2])
    >>> delayer.fit_transform(np.array([[1.0], [2.0], [3.0]]))
    array([[0., 0.],
           [1., 0.],
           [2., 1.]])
    >>> delayer.by_delay(np.array([[5.0, 7.0]])).shape      # weights (n_voxels, n_delays * n_features)
    (1, 2, 1)
    """

    def __init__(self, delays: Sequence[int] = (2, 3, 4)):
        self.delays = delays

    def fit(self, X: Any, y: Any = None) -> Delayer:
        """Note the number of features; X as in :meth:`transform`."""
        self.delays_ = tuple(check_delays(self.delays))
        if is_tensor(X):
            self.n_features_in_ = as_rows(X).shape[1]
        else:
            validate_data(self, X, dtype=[np.float64, np.float32])
        return self

    def transform(self, X: Any, runs: Any = None) -> Any:
        """Return delayed copies side by side.

        Parameters
        ----------
        X : array or tensor (n_trs, n_features)
        runs : array (n_trs,), optional
            Nothing crosses the border of a run. A pipeline passes none: there, X is one run.
        """
        check_is_fitted(self)
        if not is_tensor(X):
            X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        elif as_rows(X).shape[1] != self.n_features_in_:
            raise ShapeMismatch(f"X must be (n_trs, {self.n_features_in_}), as in fit; its shape is {tuple(X.shape)}.")
        return fir_delays(X, self.delays_, runs)

    def by_delay(self, weights: Any) -> Any:
        """Return weights (..., n_delays * n_features) of a model of the copies as (..., n_delays, n_features)."""
        check_is_fitted(self)
        k, p = len(self.delays_), self.n_features_in_
        if weights.shape[-1] != k * p:
            raise ShapeMismatch(
                f"weights must have {k * p} columns, {k} delays of {p} features, got shape {tuple(weights.shape)}."
            )
        return weights.reshape(*weights.shape[:-1], k, p)
