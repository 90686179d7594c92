"""Ridge regression from features to voxels: one penalty per voxel, chosen by cross-validation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from neuro._check import check_option, check_positive_int
from neuro._provenance import provenance
from neuro.errors import ShapeMismatch, SplitLeakage
from neuro.linear._alphas import check_alphas, positive, warn_of_edges
from neuro.linear._arrays import like_input, matmul64, tensor_of
from neuro.linear._cv import resolve_form, solve_ridge_cv
from neuro.linear._linear import LinearEncoder, check_fit_data, times
from neuro.linear._scores import SCORES
from neuro.linear._solve import solve_ridge
from neuro.linear._splits import check_groups, make_splits, warn_of_repeats

FORMS = ("auto", "primal", "dual")


class Ridge(LinearEncoder):
    """Ridge regression with a given penalty per voxel.

    Minimises ``|y_v - X w_v - b_v|^2 + alpha_v |w_v|^2``; the intercept ``b_v`` is not penalised.

    Parameters
    ----------
    alpha : float or array (n_voxels,), > 0
    fit_intercept : bool
        False expects centred data.
    form : {"auto", "primal", "dual"}
        Solve with the features' Gram matrix or the stimuli's kernel; "auto" takes the smaller.
    device : str, torch.device or None
        Where to compute; None is where the data is.

    Attributes
    ----------
    coef_ : (n_voxels, n_features)
    intercept_ : (n_voxels,)
    solver_form_ : str
        "primal" or "dual".

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [2.0]])
    >>> Ridge(alpha=2.0).fit(X, 4 * X + 1).coef_
    array([[2.]])
    """

    def __init__(self, alpha: Any = 1.0, *, fit_intercept: bool = True, form: str = "auto", device: Any = None):
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.form = form
        self.device = device

    def fit(self, X: Any, y: Any) -> Ridge:
        """Fit.

        Parameters
        ----------
        X : array or tensor (n_stimuli, n_features)
        y : array, tensor or Responses (n_stimuli, n_voxels) or (n_stimuli,)

        Returns
        -------
        self
        """
        check_option("form", self.form, FORMS)
        alpha = positive("alpha", self.alpha)
        A, Y, dtype, home, flat = check_fit_data(self, X, y, self.device)
        if alpha.ndim > 1 or alpha.size not in (1, Y.shape[1]):
            raise ShapeMismatch(
                f"alpha must be one number or one per voxel, {Y.shape[1]:,}; its shape is {alpha.shape}."
            )
        A, Y = A.double(), Y.to(device=A.device, dtype=dtype)
        x_mean, y_mean = A.mean(0) * self.fit_intercept, Y.mean(0, dtype=torch.float64) * self.fit_intercept
        coef = solve_ridge((A - x_mean).to(dtype), Y - y_mean.to(dtype), alpha, form=self.form)
        intercept = y_mean - matmul64(coef, x_mean)
        self.solver_form_ = resolve_form(self.form, A)
        self.coef_ = like_input(coef[0] if flat else coef, home)
        self.intercept_ = _scalar_if(flat, like_input(intercept.to(dtype), home))
        return self


class RidgeCV(LinearEncoder):
    """Ridge regression with a penalty per voxel, chosen by cross-validation.

    Minimises ``|y_v - X w_v - b_v|^2 + alpha_v |w_v|^2`` for every voxel v. Each split centres on its own training rows
    and is decomposed once; all penalties are scored from that decomposition together, so a finer grid costs next to
    nothing. The final weights are fitted to all rows.

    Parameters
    ----------
    alphas : "auto", float or array (n_alphas,), > 0
        Penalties to try. "auto" is ``logspace(-4, 6, 21)`` in units of trace(K) / n, the mean squared norm of a
        centred row of X, which makes the grid independent of the features' units. Numbers are taken as they are.
    cv : int, scikit-learn splitter, iterable of (train, validation), "loo" or "gcv"
        An int makes that many shuffled folds of whole groups (``GroupKFold``). "loo" is exact leave-one-out and "gcv"
        generalised cross-validation: other criteria, not approximations of K folds, and valid only without repeats.
    scoring : {"neg_mse", "r2", "pearson"}
        What is averaged over splits and maximised. "loo" and "gcv" know "neg_mse" only.
    fit_intercept : bool
        Fit an intercept, which is not penalised. False expects centred data.
    form : {"auto", "primal", "dual"}
        Diagonalise the features' Gram matrix or the stimuli's kernel; "auto" takes the smaller. They agree.
    local_alpha : bool
        One penalty per voxel, or one for all voxels (by the mean score).
    extend_grid : bool
        Where the best penalty of more than 5% of the voxels above baseline is the smallest (or largest) of the grid,
        move that edge by two decades, at most twice.
    random_state : int or None
        Seed of the folds, for an int ``cv``.
    device : str, torch.device or None
        Where to compute; None is where the data is. An absent device is an error.
    memory_limit : int
        Bytes of working memory beside data and results: bounds the chunks of voxels, and how many decompositions of
        folds are held at once. The decomposition itself needs some ten n_features^2 (or n_stimuli^2) numbers.
    n_jobs : int or None
        Threads over chunks of voxels, through joblib. Seldom useful: the products inside use all cores.

    Attributes
    ----------
    alpha_ : (n_voxels,)
        Chosen penalty.
    coef_ : (n_voxels, n_features)
        Weights. With many more features than stimuli they are worked out when first asked for; predictions do not
        need them.
    intercept_ : (n_voxels,)
    alphas_ : (n_alphas,)
        Penalties tried.
    cv_scores_ : (n_alphas, n_voxels)
        Score of each penalty, averaged over splits.
    best_score_ : (n_voxels,)
        Score of the chosen penalty.
    boundary_ : AlphaBoundary
        How many voxels sit on the edges of the grid, those that predict nothing counted apart.
    splits_ : list of (train, validation) or None
        The splits that were used; None for "loo" and "gcv".
    solver_form_ : str
        "primal" or "dual".
    provenance_ : dict
        Versions, device, dtype, seed.

    Notes
    -----
    Gram matrices, kernels and decompositions are in float64; products with voxels in the precision of the data
    (float32 if both X and Y are no wider, else float64). How all penalties are scored at once is explained in
    ``neuro/linear/_grid.py``.

    References
    ----------
    Hoerl & Kennard (1970), Technometrics 12, 55-67; Golub, Heath & Wahba (1979), Technometrics 21, 215-223 (GCV).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, W = rng.standard_normal((200, 10)), rng.standard_normal((10, 3))
    >>> encoder = RidgeCV(cv=5).fit(X, X @ W + 5 * rng.standard_normal((200, 3)))
    >>> encoder.coef_.shape, encoder.alpha_.shape, encoder.cv_scores_.shape
    ((3, 10), (3,), (21, 3))
    """

    def __init__(
        self,
        alphas: Any = "auto",
        cv: Any = 5,
        *,
        scoring: str = "neg_mse",
        fit_intercept: bool = True,
        form: str = "auto",
        local_alpha: bool = True,
        extend_grid: bool = False,
        random_state: int | None = 0,
        device: Any = None,
        memory_limit: int = 2**30,
        n_jobs: int | None = None,
    ):
        self.alphas = alphas
        self.cv = cv
        self.scoring = scoring
        self.fit_intercept = fit_intercept
        self.form = form
        self.local_alpha = local_alpha
        self.extend_grid = extend_grid
        self.random_state = random_state
        self.device = device
        self.memory_limit = memory_limit
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any, groups: Any = None) -> RidgeCV:
        """Choose penalties and fit.

        Parameters
        ----------
        X : array or tensor (n_stimuli, n_features)
            Features. Never written to.
        y : array, tensor or Responses (n_stimuli, n_voxels) or (n_stimuli,)
            Responses.
        groups : array (n_stimuli,), optional
            What must stay together in a split: the stimulus of each row if rows are single trials, or the run.
            By default the stimuli that ``Responses`` name; for plain arrays, every row is its own.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If data is not finite, penalties are not above 0, shapes disagree, or there are too few rows for the folds.
        SplitLeakage
            If a group stands on both sides of a split, or "loo" or "gcv" is asked for with repeats.

        Warns
        -----
        AlphaAtBoundaryWarning
            If the best penalty of more than 5% of the voxels above baseline is on the edge of the grid.
        RepeatedStimuliWarning
            If equal rows of X stand on both sides of a split and ``groups`` was not given.
        """
        check_option("scoring", self.scoring, SCORES)
        check_option("form", self.form, FORMS)
        check_positive_int("memory_limit", self.memory_limit)
        grid = check_alphas(self.alphas)
        A, Y, dtype, home, flat = check_fit_data(self, X, y, self.device)
        codes = check_groups(groups, len(A), y)
        splits = self._splits(len(A), codes)
        if codes is None:
            warn_of_repeats(A, None if isinstance(splits, str) else splits)
        found = solve_ridge_cv(
            A,
            Y,
            grid,
            splits,
            scoring=self.scoring,
            intercept=bool(self.fit_intercept),
            form=self.form,
            local_alpha=self.local_alpha,
            extend_grid=self.extend_grid,
            dtype=dtype,
            memory_limit=self.memory_limit,
            n_jobs=self.n_jobs,
        )
        warn_of_edges(found.boundary, self.extend_grid)
        self._keep(found, home, flat, dtype, A.device)
        self.splits_ = None if isinstance(splits, str) else splits
        return self

    def _splits(self, n: int, codes: np.ndarray | None):
        if not isinstance(self.cv, str):
            return make_splits(self.cv, n, codes, self.random_state)
        check_option("cv", self.cv, ("loo", "gcv"))
        if self.scoring != "neg_mse":
            raise ValueError(f"cv={self.cv!r} works with scoring='neg_mse' only, got {self.scoring!r}.")
        if codes is not None and codes.max() + 1 < n:
            raise SplitLeakage(
                f"cv={self.cv!r} leaves out single rows, but groups has {n - codes.max() - 1:,} repeats: the other "
                "repeats would give a left-out row away. Use an int or a group splitter as cv, or average repeats."
            )
        return self.cv

    def _keep(
        self, found: Any, home: torch.device | None, flat: bool, dtype: torch.dtype, device: torch.device
    ) -> None:
        for name in ("_coef", "_dual", "_X_train"):
            self.__dict__.pop(name, None)
        if found.coef is None:
            slope = matmul64(found.dual, matmul64(found.X_train, found.x_mean))
            self._dual = like_input(found.dual[0] if flat else found.dual, home)
            self._X_train = like_input(found.X_train, home)
        else:
            slope = matmul64(found.coef, found.x_mean)
            self._coef = like_input(found.coef[0] if flat else found.coef, home)
        self.intercept_ = _scalar_if(flat, like_input((found.y_mean - slope).to(dtype), home))
        numpy_like = (lambda a: torch.from_numpy(a).to(home)) if home is not None else (lambda a: a)
        scores = found.cv_scores
        best = scores[found.best, np.arange(scores.shape[1])]
        alpha = found.alphas[found.best]
        self.alphas_ = numpy_like(found.alphas)
        self.alpha_ = float(alpha[0]) if flat else numpy_like(alpha)
        self.cv_scores_ = numpy_like(scores[:, 0] if flat else scores)
        self.best_score_ = float(best[0]) if flat else numpy_like(best)
        self.boundary_ = found.boundary
        self.solver_form_ = found.form
        self.provenance_ = provenance(device, self.random_state, dtype=str(dtype).removeprefix("torch."))

    @property
    def coef_(self) -> Any:
        """Weights (n_voxels, n_features)."""
        if "_coef" not in self.__dict__:
            if "_dual" not in self.__dict__:
                raise AttributeError(f"'{type(self).__name__}' object has no attribute 'coef_': call fit first.")
            self._coef = self._dual @ self._X_train
        return self._coef

    def _apply(self, X: torch.Tensor) -> torch.Tensor:
        if "_dual" not in self.__dict__:
            return super()._apply(X)
        dual, rows = tensor_of(self._dual, X.device), tensor_of(self._X_train, X.device)
        return times(X.to(rows.dtype) @ rows.T, dual) + tensor_of(self.intercept_, X.device)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with tensors as numpy arrays, without what can be worked out again."""
        state = super().__getstate__()
        if "_dual" in state:
            state.pop("_coef", None)
        return state


def _scalar_if(flat: bool, values: Any) -> Any:
    return float(values[0]) if flat else values
