"""Multiple-kernel ridge: one kernel per feature space, weighted per voxel.

Minimises ``|y_v - K_v c_v - b_v|^2 + alpha_v c_v' K_v c_v`` with ``K_v = sum_k gamma_vk K_k``. With linear kernels this
is banded ridge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from neuro.encoders._band_design import KernelDesign
from neuro.encoders._band_fit import BandSearch
from neuro.encoders._bands import Bands, check_names, is_named, take_bands
from neuro.encoders._kernels import check_kernel, check_square, kernel_matrix, warn_of_indefinite
from neuro.linear._alphas import check_alphas
from neuro.linear._arrays import like_input, tensor_of
from neuro.linear._linear import LinearEncoder, check_fit_data
from neuro.linear._splits import fold_splits, order_folds

SAFE = ("linear", "rbf", "cosine")  # positive semi-definite by construction


class KernelSearch(BandSearch, LinearEncoder):
    """What kernel ridge with one and with several kernels share."""

    fit_intercept: bool
    device: Any
    scale_bands: bool
    X_fit_: Any

    def _fit(self, X: Any, y: Any, groups: Any, bands: Any, kernels: dict[str, Any], params: dict[str, Any]) -> None:
        self._check_options()
        check_alphas(self.alphas)
        for kernel in kernels.values():
            check_kernel(kernel)
        joined, bands_of = take_bands(X, bands)
        A, Y, dtype, home, flat = check_fit_data(self, joined, y, self.device)
        owned = bands_of(A.shape[1])
        kernels = {name: kernels[name] for name in owned.names}
        precomputed = {name: kernel == "precomputed" for name, kernel in kernels.items()}
        rows = None if any(precomputed.values()) else A
        splits = fold_splits(self.cv, len(A), y, groups, self.random_state, rows)
        Ks = self._kernels(A.double(), None, owned, kernels, params)
        unsafe = [i for i, kernel in enumerate(kernels.values()) if callable(kernel) or kernel not in SAFE]
        warn_of_indefinite([Ks[i] for i in unsafe], [repr(owned.names[i]) for i in unsafe], stacklevel=4)
        order, folds = order_folds(splits, len(A), A.device)
        intercept = bool(self.fit_intercept)
        design = KernelDesign(torch.stack(Ks), order, intercept, dtype, bool(self.scale_bands))
        _, dual, y_mean, delta = self._search(design, folds, order, Y, owned.names, home, flat)
        assert dual is not None
        alpha = tensor_of(np.atleast_1d(self.alpha_) if flat else self.alpha_, delta.device)
        factors = (delta + alpha.log()[:, None]).exp()  # (n_voxels, n_bands): of the kernels as they are
        offset = y_mean.clone()
        if intercept:
            for k, K in enumerate(Ks):
                offset -= factors[:, k] * (dual.double() @ K.mean(0))
        self._factors = like_input(factors.to(dtype), home)
        self.dual_coef_ = like_input(dual[0] if flat else dual.T.contiguous(), home)
        self.intercept_ = float(offset[0]) if flat else like_input(offset.to(dtype), home)
        self.y_mean_ = float(y_mean[0]) if flat else like_input(y_mean.to(dtype), home)
        self._kernel_means = like_input(torch.stack([K.mean(0) for K in Ks]) * intercept, home)
        self._bands, self._kernel_of, self._params = owned, kernels, {n: params.get(n, {}) for n in owned.names}
        self.X_fit_ = None if all(precomputed.values()) else like_input(A, home)
        self.band_names_ = owned.names
        self.splits_ = splits

    def _kernels(
        self, A: torch.Tensor, new: torch.Tensor | None, bands: Bands, kernels: dict[str, Any], params: dict[str, Any]
    ) -> list[torch.Tensor]:
        """Return kernels between ``new`` (or ``A``) and ``A``, one band after the other."""
        out = []
        for name, columns in zip(bands.names, bands.columns, strict=True):
            here = torch.from_numpy(columns).to(A.device)
            if kernels[name] == "precomputed":
                out.append(check_square(A[:, here], f"kernel {name!r}") if new is None else new[:, here])
            else:
                rows = A[:, here]
                K = kernel_matrix(kernels[name], rows if new is None else new[:, here], rows, params.get(name))
                out.append(check_square(K, f"kernel {name!r}") if new is None else K)
        return out

    def predict(self, X: Any, *, split: bool = False) -> Any:
        """Predict responses.

        Parameters
        ----------
        X : as in ``fit``; of a precomputed kernel, (n_new, n_stimuli of the fit)
        split : bool
            Return the contribution of every kernel.

        Returns
        -------
        array or tensor (n_new, n_voxels), or (n_new,) if fitted to flat responses; with ``split``, a dict of name to
        such an array. They sum to the prediction minus ``y_mean_``.
        """
        check_is_fitted(self)
        joined = self._bands.join(X)
        if not split:
            return super().predict(joined)
        self._split: dict[str, torch.Tensor] | None = {}
        try:
            whole = super().predict(joined)
            parts = self._split
        finally:
            del self._split
        assert parts is not None
        home = whole.device if isinstance(whole, torch.Tensor) else None
        return {name: like_input(part, home) for name, part in parts.items()}

    def _apply(self, X: torch.Tensor) -> torch.Tensor:
        dual, factors = tensor_of(self.dual_coef_, X.device), tensor_of(self._factors, X.device)
        flat = dual.ndim == 1
        dual = dual[:, None] if flat else dual
        means = tensor_of(self._kernel_means, X.device)
        A = torch.empty(0, X.shape[1]) if self.X_fit_ is None else tensor_of(self.X_fit_, X.device)
        Ks = self._kernels(A.double(), X.double(), self._bands, self._kernel_of, self._params)
        total = torch.zeros(len(X), dual.shape[1], dtype=dual.dtype, device=X.device)
        for k, (name, K) in enumerate(zip(self._bands.names, Ks, strict=True)):
            part = ((K - means[k]).to(dual.dtype) @ dual) * factors[:, k]
            total += part
            if getattr(self, "_split", None) is not None:
                self._split[name] = part[:, 0] if flat else part  # type: ignore[index]
        total += tensor_of(np.atleast_1d(self.y_mean_) if flat else self.y_mean_, X.device).to(dual.dtype)
        return total[:, 0] if flat else total

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R2, averaged over voxels; X as in ``fit``."""
        check_is_fitted(self)
        return super().score(self._bands.join(X), y, sample_weight)

    @property
    def coef_(self) -> Any:
        """Primal weights (n_voxels, n_features), if all kernels are linear."""
        if "dual_coef_" not in self.__dict__:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute 'coef_': call fit first.")
        others = [name for name, kernel in self._kernel_of.items() if callable(kernel) or kernel != "linear"]
        if others:
            raise AttributeError(f"primal weights exist for linear kernels only; {others} are not. Use dual_coef_.")
        rows, factors = tensor_of(self.X_fit_), tensor_of(self._factors)
        dual = tensor_of(self.dual_coef_)
        flat = dual.ndim == 1
        weights = (dual.reshape(len(dual), -1).T @ rows.to(dual.dtype)) * factors[
            :, torch.from_numpy(self._bands.of_column).to(factors.device)
        ]
        home = self.dual_coef_.device if isinstance(self.dual_coef_, torch.Tensor) else None
        return like_input(weights[0] if flat else weights, home)


class MultipleKernelRidgeCV(KernelSearch):
    """Kernel ridge over several kernels, with weights and a penalty per voxel chosen by cross-validation.

    Parameters
    ----------
    alphas, cv, n_iter, band_weights, concentration, refine, search, scoring, fit_intercept, random_state
        As in ``BandedRidgeCV``, a kernel in the place of a band.
    kernels : str, callable or mapping of name to either
        Kernel of every band, or one for all: those of ``KernelRidgeCV``. A precomputed kernel is a band of n_stimuli
        columns.
    kernel_params : mapping of name to dict, optional
        Arguments of the bands' kernels.
    bands : mapping of name to slice, indices or mask of columns, optional
        The feature spaces of an array X. Without, X is a mapping of arrays, or one band.
    scale_bands : bool
        Bring the centred kernels to the same trace first (``band_scales_``).
    device, memory_limit, n_jobs
        As in ``RidgeCV``. All kernels are held, in float64: 8 n_bands n_stimuli^2 bytes, a few times over.

    Attributes
    ----------
    dual_coef_ : (n_stimuli, n_voxels)
        The prediction is ``sum_k exp(deltas_[k]) alpha_ K_k(x, X_fit_) dual_coef_ + intercept_``.
    coef_ : (n_voxels, n_features)
        Primal weights, if all kernels are linear.
    intercept_, alpha_, band_weights_, deltas_, cv_scores_, best_score_, candidates_, candidate_, refined_
        As in ``BandedRidgeCV``.
    X_fit_ : (n_stimuli, n_features) or None
        Training stimuli, which predictions need.

    References
    ----------
    Bach, Lanckriet & Jordan (2004), ICML; Dupre la Tour et al. (2022), NeuroImage 264, 119728.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = {"shape": rng.standard_normal((100, 3)), "colour": rng.standard_normal((100, 5))}
    >>> Y = X["shape"] @ rng.standard_normal((3, 2)) + rng.standard_normal((100, 2))
    >>> model = MultipleKernelRidgeCV(kernels={"shape": "linear", "colour": "rbf"}, n_iter=5).fit(X, Y)
    >>> model.dual_coef_.shape, model.band_weights_.shape
    ((100, 2), (2, 2))
    """

    def __init__(
        self,
        alphas: Any = "auto",
        cv: Any = 5,
        *,
        kernels: Any = "linear",
        kernel_params: Any = None,
        bands: Any = None,
        n_iter: int = 100,
        band_weights: Any = None,
        concentration: Any = (0.1, 1.0),
        refine: int = 0,
        search: str = "full",
        scale_bands: bool = True,
        scoring: str = "neg_mse",
        fit_intercept: bool = True,
        random_state: int | None = 0,
        device: Any = None,
        memory_limit: int = 2**30,
        n_jobs: int | None = None,
    ):
        self.alphas = alphas
        self.cv = cv
        self.kernels = kernels
        self.kernel_params = kernel_params
        self.bands = bands
        self.n_iter = n_iter
        self.band_weights = band_weights
        self.concentration = concentration
        self.refine = refine
        self.search = search
        self.scale_bands = scale_bands
        self.scoring = scoring
        self.fit_intercept = fit_intercept
        self.random_state = random_state
        self.device = device
        self.memory_limit = memory_limit
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any, groups: Any = None) -> MultipleKernelRidgeCV:
        """Choose kernel weights and penalties, and fit.

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
            As ``BandedRidgeCV`` and ``KernelRidgeCV`` do.

        Warns
        -----
        CollinearBandsWarning, IndefiniteKernelWarning, AlphaAtBoundaryWarning, RepeatedStimuliWarning
        """
        names = _names(X, self.bands)
        if isinstance(self.kernels, Mapping):
            check_names("kernels", self.kernels, names)
            kernels = dict(self.kernels)
        else:
            kernels = dict.fromkeys(names, self.kernels)
        params = dict(self.kernel_params or {})
        unknown = [name for name in params if name not in names]
        if unknown:
            raise ValueError(f"kernel_params must be given per band {list(names)}, got {unknown}.")
        self._fit(X, y, groups, self.bands, kernels, params)
        return self


def _names(X: Any, bands: Any) -> tuple[str, ...]:
    if is_named(X):
        return tuple(str(name) for name in X)
    return tuple(str(name) for name in bands) if isinstance(bands, Mapping) else ("features",)
