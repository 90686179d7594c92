"""Stacked regression: one ridge per feature space, and per voxel the mixture of their predictions that errs least.

With the out-of-fold residuals ``e_k`` of the spaces, the weights of a voxel minimise ``w' P w``,
``P_ij = mean(e_i e_j)``, subject to ``w >= 0`` and ``sum(w) = 1``.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted

from neuro._check import check_option, check_positive_int
from neuro._provenance import provenance
from neuro.encoders._band_design import cosines
from neuro.encoders._bands import gathered_warnings, take_bands, warn_of_collinear
from neuro.errors import ShapeMismatch
from neuro.linear._alphas import check_alphas
from neuro.linear._arrays import array_of, as_tensor, like_input, tensor_of
from neuro.linear._linear import LinearEncoder, check_fit_data, times
from neuro.linear._scores import SCORES
from neuro.linear._splits import fold_splits
from neuro.linear.ridge import FORMS, Ridge, RidgeCV

MANY = 8  # spaces up to which all supports are tried, which is exact


def simplex_weights(P: Any, n_steps: int = 2000) -> Any:
    """Minimise ``w' P_v w`` over ``w >= 0``, ``sum(w) = 1`` for every voxel v.

    The minimiser on its support A is ``P_AA^-1 1 / (1' P_AA^-1 1)``. For up to eight spaces all supports are tried;
    beyond, projected gradient steps with momentum approach it.

    Parameters
    ----------
    P : array or tensor (n_voxels, n_bands, n_bands)
        Positive semi-definite.
    n_steps : int
        Gradient steps, for more than eight spaces.

    Returns
    -------
    array or tensor (n_voxels, n_bands), float64

    References
    ----------
    Breiman (1996), Machine Learning 24, 49-64.

    Examples
    --------
    >>> import numpy as np
    >>> simplex_weights(np.array([[[1.0, 0.0], [0.0, 3.0]]])).round(6)
    array([[0.75, 0.25]])
    """
    home = P.device if isinstance(P, torch.Tensor) else None
    A = (P if isinstance(P, torch.Tensor) else as_tensor(P)).double()
    if A.ndim != 3 or A.shape[1] != A.shape[2]:
        raise ShapeMismatch(f"P must be (n_voxels, n_bands, n_bands); its shape is {tuple(A.shape)}.")
    size = A.diagonal(dim1=1, dim2=2).amax(1)
    A = A / torch.where(size > 0, size, 1.0)[:, None, None]
    return like_input(_all_supports(A) if A.shape[1] <= MANY else _projected_gradient(A, n_steps), home)


def _all_supports(P: torch.Tensor) -> torch.Tensor:
    v, s, _ = P.shape
    best = torch.zeros(v, s, dtype=P.dtype, device=P.device)
    lowest = torch.full((v,), torch.inf, dtype=P.dtype, device=P.device)
    for size in range(s, 0, -1):  # of equal errors the fuller mixture wins
        for support in itertools.combinations(range(s), size):
            here = torch.tensor(support, device=P.device)
            block = P[:, here[:, None], here] + 1e-12 * torch.eye(size, dtype=P.dtype, device=P.device)
            w, failed = torch.linalg.solve_ex(block, torch.ones(v, size, 1, dtype=P.dtype, device=P.device))
            w = w[..., 0] / w[..., 0].sum(1, keepdim=True)
            usable = (failed == 0) & torch.isfinite(w).all(1) & (w >= -1e-12).all(1)
            w = torch.where(usable[:, None], w.clamp(min=0), 0.0)
            error = torch.einsum("vi,vij,vj->v", w, block, w)
            better = usable & (error < lowest - 1e-13)
            lowest = torch.where(better, error, lowest)
            full = torch.zeros_like(best).index_copy_(1, here, w)
            best = torch.where(better[:, None], full, best)
    return best / best.sum(1, keepdim=True)


def _projected_gradient(P: torch.Tensor, n_steps: int) -> torch.Tensor:
    check_positive_int("n_steps", n_steps)
    step = 1 / torch.linalg.matrix_norm(P, 2).clamp(min=1e-300)[:, None]
    w = torch.full(P.shape[:2], 1 / P.shape[1], dtype=P.dtype, device=P.device)
    ahead, t = w, 1.0
    for _ in range(n_steps):
        new = onto_simplex(ahead - step * torch.einsum("vij,vj->vi", P, ahead))
        t_new = (1 + (1 + 4 * t * t) ** 0.5) / 2
        ahead, w, t = new + (t - 1) / t_new * (new - w), new, t_new
    return w


def onto_simplex(x: torch.Tensor) -> torch.Tensor:
    """Return the nearest points with entries >= 0 and sum 1 to the rows of ``x``."""
    ordered = x.sort(1, descending=True).values
    excess = (ordered.cumsum(1) - 1) / torch.arange(1, x.shape[1] + 1, dtype=x.dtype, device=x.device)
    last = (ordered > excess).sum(1, keepdim=True) - 1
    return (x - excess.gather(1, last)).clamp(min=0)


def _similarity(X: torch.Tensor, columns: list[torch.Tensor], n_probes: int = 8) -> torch.Tensor:
    """Cosines (n_bands, n_bands) between what the bands' centred kernels make of a few random vectors."""
    probes = torch.randn(len(X), n_probes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = []
    for here in columns:
        band = X[:, here].double()
        band = band - band.mean(0)
        images.append((band @ (band.T @ probes.to(X.device))).flatten())
    images = torch.stack(images)
    return cosines(images @ images.T)


class StackedRidgeCV(LinearEncoder):
    """One ridge regression per feature space, and a convex mixture of their predictions per voxel.

    Parameters
    ----------
    alphas, cv, scoring, fit_intercept, form, random_state, device, memory_limit, n_jobs
        As in ``RidgeCV``, for every space; ``cv`` is without "loo" and "gcv". Out-of-fold residuals come from the same
        splits, at the chosen penalties.
    bands : mapping of name to slice, indices or mask of columns, optional
        The feature spaces of an array X. Without, X is a mapping of arrays, or one band.

    Attributes
    ----------
    stack_weights_ : (n_bands, n_voxels)
        Not negative, summing to 1 for every voxel.
    coef_ : (n_voxels, n_features)
        Of the mixture, which is linear as well.
    intercept_ : (n_voxels,)
    alpha_ : (n_bands, n_voxels)
    band_scores_ : (n_bands, n_voxels)
        Out-of-fold R2 of every space alone.
    best_score_ : (n_voxels,)
        Out-of-fold R2 of the mixture, with weights chosen on the same rows.
    encoders_ : dict of name to RidgeCV
        The spaces alone, fitted to all rows.
    band_names_, splits_, y_mean_, provenance_
        As in ``BandedRidgeCV``.

    References
    ----------
    Wolpert (1992), Neural Networks 5, 241-259; Breiman (1996), Machine Learning 24, 49-64; Lin, Naselaris, Kay & Wehbe
    (2024), PLoS Computational Biology 20, e1012183 (encoding models).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = {"shape": rng.standard_normal((200, 10)), "colour": rng.standard_normal((200, 5))}
    >>> Y = X["shape"] @ rng.standard_normal((10, 3)) + 4 * rng.standard_normal((200, 3))
    >>> encoder = StackedRidgeCV().fit(X, Y)
    >>> bool((encoder.stack_weights_[0] > 0.8).all()), encoder.stack_weights_.sum(0)
    (True, array([1., 1., 1.]))
    """

    def __init__(
        self,
        alphas: Any = "auto",
        cv: Any = 5,
        *,
        bands: Any = None,
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
        self.scoring = scoring
        self.fit_intercept = fit_intercept
        self.form = form
        self.random_state = random_state
        self.device = device
        self.memory_limit = memory_limit
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any, groups: Any = None) -> StackedRidgeCV:
        """Fit every space, and the mixture.

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
        ValueError, DuplicateIds, EmptySelection, ShapeMismatch, SplitLeakage
            As ``BandedRidgeCV`` does.

        Warns
        -----
        CollinearBandsWarning, AlphaAtBoundaryWarning, RepeatedStimuliWarning
            As ``BandedRidgeCV`` does.
        """
        check_option("scoring", self.scoring, SCORES)
        check_option("form", self.form, FORMS)
        check_positive_int("memory_limit", self.memory_limit)
        check_alphas(self.alphas)
        joined, bands_of = take_bands(X, self.bands)
        A, Y, dtype, home, flat = check_fit_data(self, joined, y, self.device)
        bands = bands_of(A.shape[1])
        splits = fold_splits(self.cv, len(A), y, groups, self.random_state, A)
        Y = Y.to(A.device)
        encoders: dict[str, RidgeCV] = {}
        columns = [torch.from_numpy(c).to(A.device) for c in bands.columns]
        if len(columns) > 1:
            warn_of_collinear(_similarity(A, columns).cpu().numpy(), bands.names)
        residuals = []
        with gathered_warnings("feature spaces"):
            for name, here in zip(bands.names, columns, strict=True):
                encoders[name] = RidgeCV(
                    self.alphas,
                    splits,
                    scoring=self.scoring,
                    fit_intercept=self.fit_intercept,
                    form=self.form,
                    memory_limit=self.memory_limit,
                    n_jobs=self.n_jobs,
                ).fit(A[:, here], Y, groups=range(len(A)))  # repeats across splits were looked for above
                residuals.append(self._left_out(A[:, here], Y, encoders[name].alpha_, splits))
        held_out = torch.cat([torch.from_numpy(val) for _, val in splits]).to(A.device)
        errors = torch.stack([e.double() for e in residuals], 2)  # (n_out, n_voxels, n_bands)
        P = torch.einsum("nvi,nvj->vij", errors, errors) / len(errors)
        weights = simplex_weights(P)
        self._keep(encoders, bands, columns, weights, P, Y, held_out, dtype, home, flat)
        self.splits_ = splits
        self.provenance_ = provenance(A.device, self.random_state, dtype=str(dtype).removeprefix("torch."))
        return self

    def _left_out(self, X: torch.Tensor, Y: torch.Tensor, alpha: Any, splits: Any) -> torch.Tensor:
        """Return residuals (n_out, n_voxels) of the held-out rows, split after split."""
        out = []
        for train, val in splits:
            t, f = (torch.from_numpy(rows).to(X.device) for rows in (train, val))
            model = Ridge(alpha, fit_intercept=self.fit_intercept, form=self.form).fit(X[t], Y[t])
            out.append(Y[f] - model.predict(X[f]))
        return torch.cat(out)

    def _keep(self, encoders, bands, columns, weights, P, Y, held_out, dtype, home, flat: bool) -> None:
        coef = torch.empty(len(weights), bands.n_features, dtype=dtype, device=weights.device)
        intercept = torch.zeros(len(weights), dtype=torch.float64, device=weights.device)
        y_mean = Y.mean(0, dtype=torch.float64) * bool(self.fit_intercept)
        offsets = []
        for k, (name, here) in enumerate(zip(bands.names, columns, strict=True)):
            coef[:, here] = encoders[name].coef_ * weights[:, k, None].to(dtype)
            intercept += encoders[name].intercept_ * weights[:, k]
            offsets.append((encoders[name].intercept_ - y_mean) * weights[:, k])
        spread = (Y[held_out].double() - Y.double().mean(0)).square().mean(0)
        varies = spread > 0
        error = torch.cat([P.diagonal(dim1=1, dim2=2), torch.einsum("vi,vij,vj->v", weights, P, weights)[:, None]], 1)
        r2 = torch.where(varies[:, None], 1 - error / torch.where(varies, spread, 1.0)[:, None], 0.0)

        def keep(t: torch.Tensor) -> Any:
            return like_input(t[..., 0].contiguous() if flat else t.contiguous(), home)

        self.coef_ = like_input(coef[0] if flat else coef, home)
        self._offsets = like_input(torch.stack(offsets), home)
        self.intercept_ = float(intercept[0]) if flat else like_input(intercept.to(dtype), home)
        self.y_mean_ = float(y_mean[0]) if flat else like_input(y_mean.to(dtype), home)
        self.stack_weights_ = keep(weights.T)
        self.alpha_ = keep(torch.stack([tensor_of(e.alpha_, weights.device) for e in encoders.values()]))
        self.band_scores_ = keep(r2[:, :-1].T)
        self.best_score_ = float(r2[0, -1]) if flat else keep(r2[:, -1])
        if home is None:  # numpy in, numpy out
            for encoder in encoders.values():
                encoder.__dict__ = {
                    k: array_of(v) if isinstance(v, torch.Tensor) else v for k, v in vars(encoder).items()
                }
        self.encoders_ = encoders
        self.band_names_ = bands.names
        self._bands = bands

    def predict(self, X: Any, *, split: bool = False) -> Any:
        """Predict responses.

        Parameters
        ----------
        X : as in ``fit``
        split : bool
            Return the weighted contribution of every space.

        Returns
        -------
        array or tensor (n_stimuli, n_voxels), or (n_stimuli,) if fitted to flat responses; with ``split``, a dict of
        name to such an array. They sum to the prediction minus ``y_mean_``.
        """
        check_is_fitted(self)
        joined = self._bands.join(X)
        whole = super().predict(joined)
        if not split:
            return whole
        home = whole.device if isinstance(whole, torch.Tensor) else None
        A = tensor_of(joined).detach()
        out = {}
        for k, (name, columns) in enumerate(zip(self._bands.names, self._bands.columns, strict=True)):
            here = torch.from_numpy(columns).to(A.device)
            weights = tensor_of(self.coef_, A.device)
            offset = tensor_of(self._offsets, A.device)[k].to(weights.dtype)
            part = times(A[:, here].to(weights.dtype), weights[..., here])
            out[name] = like_input(part + (offset[0] if weights.ndim == 1 else offset), home)
        return out

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R2, averaged over voxels; X as in ``fit``."""
        check_is_fitted(self)
        return super().score(self._bands.join(X), y, sample_weight)
