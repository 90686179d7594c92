"""Banded ridge: how much of each feature space does a voxel want? One penalty per voxel and space.

Minimises, for every voxel v, ``|y_v - sum_k X_k w_vk - b_v|^2 + alpha_v sum_k |w_vk|^2 / gamma_vk``. The weights
``gamma_v`` of the bands (feature spaces) and ``alpha_v`` are chosen by cross-validation.
"""

from __future__ import annotations

from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted

from neuro._check import check_option
from neuro.encoders._band_design import BandDesign
from neuro.encoders._band_fit import BandSearch
from neuro.encoders._bands import take_bands
from neuro.linear._alphas import check_alphas
from neuro.linear._arrays import like_input, matmul64, tensor_of
from neuro.linear._cv import resolve_form
from neuro.linear._linear import LinearEncoder, check_fit_data, times
from neuro.linear._splits import fold_splits, order_folds
from neuro.linear.ridge import FORMS


class BandedRidgeCV(BandSearch, LinearEncoder):
    """Ridge regression with one penalty per voxel and feature space, chosen by cross-validation.

    Candidate band weights are shared by all voxels, drawn at random from the simplex or given; every candidate is a
    ridge regression over all penalties at once, and each voxel keeps its best pair. Gradient steps (``refine``) then
    give every voxel its own weights.

    Parameters
    ----------
    alphas : "auto", float or array (n_alphas,), > 0
        Penalties to try with each candidate. "auto" is ``logspace(-4, 6, 21)`` in units of the mean squared norm of a
        centred row of X, per band.
    cv : int, scikit-learn splitter or iterable of (train, validation)
        As in ``RidgeCV``, without "loo" and "gcv".
    bands : mapping of name to slice, indices or mask of columns, optional
        The feature spaces of an array X; they must cover its columns once. Without, X is a mapping of arrays, or one
        band.
    n_iter : int
        Candidates: equal weights first, then draws from Dirichlet distributions.
    band_weights : array (n_candidates, n_bands), optional
        Candidates, instead of ``n_iter`` draws. Used as they are; rows need not sum to 1.
    concentration : float or sequence of floats, > 0
        Of the Dirichlet distributions, which take turns: 0.1 favours few bands, 1 is uniform.
    refine : int
        Steps of gradient descent on every voxel's log weights, from its best candidate. A step that does not improve
        the cross-validated score is taken back. 0 is random search alone. A handful of candidates and steps often
        reaches what a hundred candidates do.
    search : {"full", "halving"}
        "full" scores every candidate for every voxel. "halving" scores the first ``n_bands (n_bands + 1) + 4``,
        predicts the others from them (scores are smooth in the log weights), and scores those that promise most, for
        the voxels they are promising for; three times. With three bands these are 64 candidates, most of them for
        few voxels, of whatever number: ``n_iter`` may be large. Scores are true ones, on all splits; where there are
        no more candidates than are scored first, it is the full search.
    scale_bands : bool
        Bring the bands to the same mean squared norm first, by one factor per band (``band_scales_``), so that equal
        weights mean equal shares whatever the units and widths of the bands.
    scoring : {"neg_mse", "r2", "pearson"}
    fit_intercept : bool
    form : {"auto", "primal", "dual"}
        Diagonalise the features' Gram matrix or the stimuli's kernel; "auto" takes the smaller. The dual form holds one
        kernel (n_stimuli, n_stimuli) in float64 per band.
    random_state : int or None
        Seed of the folds and of the candidates.
    device, memory_limit, n_jobs
        As in ``RidgeCV``.

    Attributes
    ----------
    coef_ : (n_voxels, n_features)
    intercept_ : (n_voxels,)
    alpha_ : (n_voxels,)
    band_weights_ : (n_bands, n_voxels)
        ``gamma``.
    deltas_ : (n_bands, n_voxels)
        ``log(gamma_k band_scales_k / alpha)``: the penalty on the weights of band k is ``exp(-deltas_[k])``.
    cv_scores_ : (n_candidates, n_voxels)
        Score of each candidate with its best penalty, averaged over splits; NaN where it was left out.
    best_score_ : (n_voxels,)
        After refinement.
    candidates_ : (n_candidates, n_bands)
    candidate_ : (n_voxels,)
        Index of the best candidate.
    refined_ : (n_voxels,), bool
        Whether the gradient improved on it.
    band_names_ : tuple of str
    band_scales_ : (n_bands,)
    y_mean_ : (n_voxels,)
        Mean of the training responses.
    alphas_, boundary_, splits_, solver_form_, provenance_
        As in ``RidgeCV``.

    Notes
    -----
    With one band this is ``RidgeCV``. Gram matrices, kernels and decompositions are in float64, products with voxels in
    the precision of the data. ``coef_`` is formed during the fit.

    References
    ----------
    Nunez-Elizalde, Huth & Gallant (2019), NeuroImage 197, 482-492; Dupre la Tour, Eickenberg, Nunez-Elizalde & Gallant
    (2022), NeuroImage 264, 119728 (random search, gradient).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = {"shape": rng.standard_normal((200, 10)), "colour": rng.standard_normal((200, 5))}
    >>> Y = X["shape"] @ rng.standard_normal((10, 3)) + 2 * rng.standard_normal((200, 3))
    >>> encoder = BandedRidgeCV(n_iter=10).fit(X, Y)
    >>> encoder.band_names_, encoder.band_weights_.shape
    (('shape', 'colour'), (2, 3))
    >>> bool((encoder.band_weights_[0] > 0.8).all())
    True
    """

    def __init__(
        self,
        alphas: Any = "auto",
        cv: Any = 5,
        *,
        bands: Any = None,
        n_iter: int = 100,
        band_weights: Any = None,
        concentration: Any = (0.1, 1.0),
        refine: int = 0,
        search: str = "full",
        scale_bands: bool = True,
        scoring: str = "neg_mse",
        fit_intercept: bool = True,
        form: str = "auto",
        random_state: int | None = 0,
        device: Any = None,
        memory_limit: int = 2**30,
        n_jobs: int | None = None,
    ):
        self.alphas = alphas
        self.cv = cv
        self.bands = bands
        self.n_iter = n_iter
        self.band_weights = band_weights
        self.concentration = concentration
        self.refine = refine
        self.search = search
        self.scale_bands = scale_bands
        self.scoring = scoring
        self.fit_intercept = fit_intercept
        self.form = form
        self.random_state = random_state
        self.device = device
        self.memory_limit = memory_limit
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any, groups: Any = None) -> BandedRidgeCV:
        """Choose band weights and penalties, and fit.

        Parameters
        ----------
        X : mapping of name to array or tensor (n_stimuli, n_features of the band), or one (n_stimuli, n_features)
        y : array, tensor or Responses (n_stimuli, n_voxels) or (n_stimuli,)
        groups : array (n_stimuli,), optional
            What must stay together in a split; by default the stimuli that ``Responses`` name.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If data is not finite, bands do not cover the columns, penalties are not above 0, or candidates are
            negative.
        DuplicateIds, EmptySelection, ShapeMismatch
            If bands overlap, are empty, or disagree about the stimuli.
        SplitLeakage
            If a group stands on both sides of a split.

        Warns
        -----
        CollinearBandsWarning
            If two bands are the same up to a factor.
        AlphaAtBoundaryWarning, RepeatedStimuliWarning
            As in ``RidgeCV``.
        """
        self._check_options()
        check_option("form", self.form, FORMS)
        check_alphas(self.alphas)
        joined, bands_of = take_bands(X, self.bands)
        A, Y, dtype, home, flat = check_fit_data(self, joined, y, self.device)
        bands = bands_of(A.shape[1])
        splits = fold_splits(self.cv, len(A), y, groups, self.random_state, A)
        order, folds = order_folds(splits, len(A), A.device)
        band = torch.from_numpy(bands.of_column).to(A.device)
        design = BandDesign(
            A, band, order, bool(self.fit_intercept), resolve_form(self.form, A), dtype, bool(self.scale_bands)
        )
        coef, dual, y_mean, _ = self._search(design, folds, order, Y, bands.names, home, flat)
        del dual
        intercept = (y_mean - matmul64(coef, design.x_mean)).to(dtype)
        self.coef_ = like_input(coef[0] if flat else coef, home)
        self.intercept_ = float(intercept[0]) if flat else like_input(intercept, home)
        self.y_mean_ = float(y_mean[0]) if flat else like_input(y_mean.to(dtype), home)
        self._x_mean = like_input(design.x_mean, home)
        self._bands = bands
        self.band_names_ = bands.names
        self.splits_ = splits
        return self

    def predict(self, X: Any, *, split: bool = False) -> Any:
        """Predict responses.

        Parameters
        ----------
        X : as in ``fit``
        split : bool
            Return the contribution of every band.

        Returns
        -------
        array or tensor (n_stimuli, n_voxels), or (n_stimuli,) if fitted to flat responses; with ``split``, a dict of
        name to such an array: ``(X_k - mean of the training rows) w_k``. They sum to the prediction minus ``y_mean_``.
        """
        check_is_fitted(self)
        joined = self._bands.join(X)
        if not split:
            return super().predict(joined)
        prediction = super().predict(joined)  # checks X
        A = tensor_of(joined).detach()
        weights, mean = tensor_of(self.coef_, A.device), tensor_of(self._x_mean, A.device)
        home = A.device if isinstance(prediction, torch.Tensor) else None
        out = {}
        for name, columns in zip(self._bands.names, self._bands.columns, strict=True):
            here = torch.from_numpy(columns).to(A.device)
            centred = (A[:, here].double() - mean[here]).to(weights.dtype)
            out[name] = like_input(times(centred, weights[..., here]), home)
        return out

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R2, averaged over voxels; X as in ``fit``."""
        check_is_fitted(self)
        return super().score(self._bands.join(X), y, sample_weight)

    def coef_of(self, band: str) -> Any:
        """Return the weights (n_voxels, n_features of the band) of one band, by name."""
        check_is_fitted(self)
        check_option("band", band, self.band_names_)
        return self.coef_[..., self._bands.columns[self.band_names_.index(band)]]
