"""Kernel ridge: regression on the similarities between stimuli, with one penalty per voxel.

Minimises ``|y_v - K c_v - b_v|^2 + alpha_v c_v' K c_v``; the prediction for a new stimulus is
``sum_i c_vi k(x, x_i) + b_v``.
"""

from __future__ import annotations

from typing import Any

from neuro.encoders.multiple_kernel import KernelSearch


class KernelRidgeCV(KernelSearch):
    """Kernel ridge regression with a penalty per voxel, chosen by cross-validation.

    With ``kernel="linear"`` the predictions are those of ``RidgeCV``.

    Parameters
    ----------
    alphas : "auto", float or array (n_alphas,), > 0
        Penalties to try. "auto" is ``logspace(-4, 6, 21)`` in units of trace(K) / n of the centred kernel.
    cv : int, scikit-learn splitter or iterable of (train, validation)
    kernel : {"linear", "polynomial", "rbf", "sigmoid", "cosine", "precomputed"} or callable
        A callable takes arrays (n, n_features) and (m, n_features) and returns (n, m). With "precomputed", X is the
        kernel: (n_stimuli, n_stimuli) in ``fit``, (n_new, n_stimuli) in ``predict``.
    kernel_params : dict, optional
        Arguments of the kernel: ``gamma`` (1 / n_features unless given), ``coef0`` (1), ``degree`` (3).
    scoring : {"neg_mse", "r2", "pearson"}
    fit_intercept : bool
        Centre kernel and responses, in each split on its own training rows.
    random_state : int or None
        Seed of the folds.
    device, memory_limit, n_jobs
        As in ``RidgeCV``.

    Attributes
    ----------
    dual_coef_ : (n_stimuli, n_voxels)
    intercept_ : (n_voxels,)
    alpha_ : (n_voxels,)
    alphas_, best_score_, boundary_, splits_, provenance_
        As in ``RidgeCV``.
    cv_scores_ : (1, n_voxels)
        Best score over penalties.
    coef_ : (n_voxels, n_features)
        Primal weights, of a linear kernel only.
    X_fit_ : (n_stimuli, n_features)
        Training stimuli, which predictions need; not kept for "precomputed".

    References
    ----------
    Saunders, Gammerman & Vovk (1998), ICML, 515-521.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, (200, 1))
    >>> Y = np.sin(3 * X) + 0.2 * rng.standard_normal((200, 1))
    >>> KernelRidgeCV(kernel="rbf", kernel_params={"gamma": 2.0}).fit(X, Y).score(X, Y) > 0.9
    True
    """

    def __init__(
        self,
        alphas: Any = "auto",
        cv: Any = 5,
        *,
        kernel: Any = "linear",
        kernel_params: dict[str, Any] | None = None,
        scoring: str = "neg_mse",
        fit_intercept: bool = True,
        random_state: int | None = 0,
        device: Any = None,
        memory_limit: int = 2**30,
        n_jobs: int | None = None,
    ):
        self.alphas = alphas
        self.cv = cv
        self.kernel = kernel
        self.kernel_params = kernel_params
        self.scoring = scoring
        self.fit_intercept = fit_intercept
        self.random_state = random_state
        self.device = device
        self.memory_limit = memory_limit
        self.n_jobs = n_jobs

    # one kernel: nothing to search
    n_iter, band_weights, concentration, refine, scale_bands, bands = 1, None, 1.0, 0, False, None

    def fit(self, X: Any, y: Any, groups: Any = None) -> KernelRidgeCV:
        """Choose penalties and fit.

        Parameters
        ----------
        X : array or tensor (n_stimuli, n_features), or the kernel (n_stimuli, n_stimuli) if precomputed
        y : array, tensor or Responses (n_stimuli, n_voxels) or (n_stimuli,)
        groups : array (n_stimuli,), optional
            What must stay together in a split; by default the stimuli that ``Responses`` name.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If data is not finite, penalties are not above 0, or a precomputed kernel is not square and symmetric.
        SplitLeakage
            If a group stands on both sides of a split.

        Warns
        -----
        IndefiniteKernelWarning
            If the kernel has negative eigenvalues.
        AlphaAtBoundaryWarning, RepeatedStimuliWarning
            As in ``RidgeCV``.
        """
        self._fit(X, y, groups, None, {"features": self.kernel}, {"features": self.kernel_params or {}})
        return self

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that X may be a kernel."""
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags
