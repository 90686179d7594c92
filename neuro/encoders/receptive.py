"""Where does a voxel look, and what does it see there? A population receptive field times feature weights (fwRF).

    y_v = sum_c w_vc z_c(g_v) + b_v,      z_c(g) = standardised  f( sum_ij  G_g(i, j) F_c(i, j) )

``F_c`` are the feature maps of a network, ``G_g`` a Gaussian of centre (x, y) and size sigma with unit mass on every
map's own grid, ``f`` the identity or ``log(1 + |.|)``. Candidate fields ``g`` are tried one by one: each is decomposed
once per split, all penalties and voxels are scored from that decomposition (``_grid``), and every voxel keeps the field
and the penalty that predict its held-out stimuli best. Means and deviations of ``z`` come from the training rows of a
split alone.

St-Yves & Naselaris (2018), The feature-weighted receptive field, NeuroImage 180, 188-202.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from neuro._check import check_option, check_positive_int
from neuro._provenance import provenance
from neuro.encoders._ensemble import check_responses, hold_out
from neuro.encoders._field_scores import Choice, SplitScores, boundary_of, moments, warn_of_boundary
from neuro.encoders._fields import check_fields, pool
from neuro.encoders._fields import receptive_field_grid as receptive_field_grid
from neuro.encoders._tokens import Tokens, as_layers
from neuro.errors import ShapeMismatch
from neuro.linear._alphas import auto_alphas, check_alphas
from neuro.linear._arrays import array_of, check_device, like_input, tensor_of, working_dtype
from neuro.linear._linear import plain
from neuro.linear._scores import SCORES
from neuro.linear._solve import solve_ridge
from neuro.linear._splits import check_groups, make_splits
from neuro.stats import r2

NONLINEARITIES = (None, "log")


class ReceptiveFieldRidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Population receptive field times feature weights, both chosen per voxel by held-out prediction.

    Parameters
    ----------
    fields : "auto" or array (n_fields, 3)
        Candidates: x, y (up) and standard deviation, degrees from the middle. "auto" is ``receptive_field_grid``.
    alphas : "auto" or array (n_alphas,), > 0
        Penalties, for standardised features. "auto" is ``logspace(-4, 6, 21)`` times the number of features.
    cv : float, int, scikit-learn splitter, or iterable of (train, validation)
        A number below 1 holds out that share of the stimuli once: one decomposition per field. An int makes that many
        folds of whole groups, and as many decompositions per field.
    extent : float
        Width and height of the maps, degrees of visual angle. With the default, 2, positions run from -1 to 1.
    nonlinearity : None or "log"
        ``log(1 + |.|)`` of what a field sees.
    scoring : {"neg_mse", "r2", "pearson"}
    grid : (height, width), optional
        Of tokens given as rows (n, T, C), if they are no square.
    random_state : int or None
        Seed of the splits.
    device : str, torch.device or None
        None is where the data is.
    memory_limit : int
        Bytes of working memory: how many fields are pooled at once, and the chunks of voxels.
    n_jobs : int or None
        Threads over chunks of voxels.

    Attributes
    ----------
    x_, y_, size_ : (n_voxels,)
        Centre and standard deviation of every voxel's field, degrees.
    field_ : (n_voxels,)
        Its row in ``fields_`` (n_fields, 3).
    coef_ : (n_voxels, n_features)
        Feature weights, for features as pooled (not standardised), layers side by side.
    intercept_, alpha_, best_score_ : (n_voxels,)
    alphas_ : (n_alphas,)
    boundary_ : AlphaBoundary
    splits_ : list of (train, validation)
    provenance_ : dict
        As in ``RidgeCV``.

    Notes
    -----
    The cost is one decomposition of n_features^2 (or n_stimuli^2) numbers per field and split; voxels and penalties
    come at the price of a few products. "auto" has some 2,600 fields; ``receptive_field_grid`` makes coarser ones.

    References
    ----------
    St-Yves & Naselaris (2018), NeuroImage 180, 188-202.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> maps = rng.standard_normal((200, 3, 9, 9))
    >>> y = maps[:, :, 2, 6] @ [1.0, -1.0, 2.0]
    >>> model = ReceptiveFieldRidgeCV(receptive_field_grid(9, n_sizes=1, smallest=1 / 9, largest=1 / 9), extent=9)
    >>> model = model.fit(maps, y[:, None] @ np.ones((1, 2)))
    >>> model.x_, model.y_
    (array([2., 2.]), array([2., 2.]))
    """

    def __init__(
        self,
        fields: Any = "auto",
        alphas: Any = "auto",
        cv: Any = 0.1,
        *,
        extent: float = 2.0,
        nonlinearity: str | None = None,
        scoring: str = "neg_mse",
        grid: Any = None,
        random_state: int | None = 0,
        device: Any = None,
        memory_limit: int = 2**30,
        n_jobs: int | None = None,
    ):
        self.fields = fields
        self.alphas = alphas
        self.cv = cv
        self.extent = extent
        self.nonlinearity = nonlinearity
        self.scoring = scoring
        self.grid = grid
        self.random_state = random_state
        self.device = device
        self.memory_limit = memory_limit
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any, groups: Any = None) -> ReceptiveFieldRidgeCV:
        """Choose fields and penalties, and fit the feature weights.

        Parameters
        ----------
        X : array or tensor (n_stimuli, n_maps, height, width) or (n_stimuli, n_tokens, n_maps), or a dict of them
            Feature maps; the layers of a dict may have different grids.
        y : array, tensor or Responses (n_stimuli, n_voxels) or (n_stimuli,)
        groups : array (n_stimuli,), optional
            Rows that must not be parted by a split: repeats of one stimulus. ``Responses`` know theirs.

        Returns
        -------
        self

        Raises
        ------
        ShapeMismatch
            If grids, rows or fields disagree.
        ValueError
            If data is not finite or a parameter is impossible.
        SplitLeakage
            If a group stands on both sides of a split.

        Warns
        -----
        AlphaAtBoundaryWarning
            If the best penalty of more than 5% of the predictable voxels is on the edge of the grid.
        """
        check_option("nonlinearity", self.nonlinearity, NONLINEARITIES)
        check_option("scoring", self.scoring, SCORES)
        check_positive_int("memory_limit", self.memory_limit)
        fields = check_fields(self.fields, self.extent)
        layers = as_layers(X, self.grid)
        first = next(iter(layers.values())).data
        Y, flat = check_responses(y, layers)
        home = first.device if isinstance(first, torch.Tensor) else None
        device = check_device(self.device, first if home is not None else torch.empty(0))
        n_features = sum(tokens.n_channels for tokens in layers.values())
        alphas = check_alphas(self.alphas)
        alphas = auto_alphas(n_features) if alphas is None else alphas
        self.splits_ = self._splits(len(Y), check_groups(groups, len(Y), y))
        some = [tokens.read(slice(0, 1)) for tokens in layers.values()]
        dtype = max((working_dtype(t, Y) for t in some), key=lambda d: d.itemsize)

        splits = [SplitScores(s, Y, alphas, self.scoring, dtype, device) for s in self.splits_]
        n_voxels = Y.shape[1]
        choice = Choice(np.full(n_voxels, -np.inf), np.zeros(n_voxels, np.int64), np.zeros(n_voxels, np.int64))
        falling, baseline = np.argsort(-alphas), np.zeros(n_voxels)
        for start, seen in self._pooled(layers, fields, n_features, dtype, device):
            for i, features in enumerate(seen):
                scores, floor = zip(*(s.of(features, self.memory_limit, self.n_jobs) for s in splits), strict=True)
                choice.offer(start + i, np.mean(scores, 0), falling)
                baseline = np.mean(floor, 0)
        self.boundary_ = boundary_of(choice, baseline, alphas, self.scoring)
        warn_of_boundary(self.boundary_, given=not isinstance(self.alphas, str))

        coef, intercept = self._refit(layers, Y, fields, choice, alphas, dtype, device)
        self.coef_ = like_input(coef[0] if flat else coef, home)
        self.intercept_ = like_input(intercept[0] if flat else intercept, home)
        self.alphas_, self.fields_ = alphas, fields
        squeeze = (lambda a: a[0]) if flat else (lambda a: a)
        self.field_, self.alpha_, self.best_score_ = (
            squeeze(a) for a in (choice.field, alphas[choice.alpha], choice.score)
        )
        self.x_, self.y_, self.size_ = (squeeze(a) for a in fields[choice.field].T)
        self.layers_ = {name: Tokens(None, tokens.grid, tokens.n_channels) for name, tokens in layers.items()}
        self.provenance_ = provenance(device, self.random_state, dtype=str(dtype).removeprefix("torch."))
        return self

    def _splits(self, n: int, codes: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
        if isinstance(self.cv, float):
            if not 0 < self.cv < 1:
                raise ValueError(f"cv as a share of the stimuli must lie between 0 and 1, got {self.cv!r}.")
            return [hold_out(n, codes, self.cv, np.random.default_rng(self.random_state), name="cv")]
        if isinstance(self.cv, str):
            raise ValueError(f"cv must be a share, a number of folds, a splitter or pairs of indices, got {self.cv!r}.")
        return make_splits(self.cv, n, codes, self.random_state)

    def _pooled(self, layers, fields: np.ndarray, n_features: int, dtype, device) -> Iterator[tuple[int, torch.Tensor]]:
        n = len(next(iter(layers.values())))
        step = max(1, int(self.memory_limit // (4 * n * n_features * dtype.itemsize)))
        for start in range(0, len(fields), step):
            yield start, pool(layers, fields[start : start + step], self.extent, self.nonlinearity, dtype, device)

    def _refit(self, layers, Y: torch.Tensor, fields: np.ndarray, choice: Choice, alphas: np.ndarray, dtype, device):
        """Solve on all rows; weights for features as they are pooled."""
        n_features = sum(tokens.n_channels for tokens in layers.values())
        coef = torch.empty(Y.shape[1], n_features, dtype=dtype, device=device)
        intercept = torch.empty(Y.shape[1], dtype=dtype, device=device)
        chosen = np.unique(choice.field)
        for start, seen in self._pooled(layers, fields[chosen], n_features, dtype, device):
            for i, features in enumerate(seen):
                voxels = np.flatnonzero(choice.field == chosen[start + i])
                y = Y[:, torch.from_numpy(voxels)].to(device=device, dtype=dtype)
                mean, scale = moments(features)
                y_mean = y.mean(0, dtype=torch.float64)
                Z = ((features.double() - mean) / scale).to(dtype)
                w = solve_ridge(Z, y - y_mean.to(dtype), alphas[choice.alpha[voxels]]).double() / scale
                where = torch.from_numpy(voxels).to(device)
                coef[where], intercept[where] = w.to(dtype), (y_mean - w @ mean).to(dtype)
        return coef, intercept

    def predict(self, X: Any) -> Any:
        """Predict responses.

        Parameters
        ----------
        X : as in ``fit``, with the same layers and grids
            Predictions for tensors that require a gradient carry it.

        Returns
        -------
        array or tensor (n_stimuli, n_voxels), or (n_stimuli,) if fitted to flat responses
        """
        check_is_fitted(self)
        layers = as_layers(X, self.grid)
        if set(layers) != set(self.layers_):
            raise ShapeMismatch(f"X must have the layers {list(self.layers_)}, as in fit; got {list(layers)}.")
        layers = {name: layers[name] for name in self.layers_}
        for name, tokens in layers.items():
            tokens.like(name, self.layers_[name])
        data = next(iter(layers.values())).data
        tensors = isinstance(data, torch.Tensor)
        device = check_device(None if tensors else self.device, data if tensors else torch.empty(0))
        coef, intercept = tensor_of(self.coef_, device), tensor_of(np.atleast_1d(array_of(self.intercept_)), device)
        flat, coef = coef.ndim == 1, coef.reshape(-1, coef.shape[-1])
        field = np.atleast_1d(self.field_)
        chosen = np.unique(field)
        parts, order = [], []
        for start, seen in self._pooled(layers, self.fields_[chosen], coef.shape[1], coef.dtype, device):
            for i, features in enumerate(seen):
                voxels = np.flatnonzero(field == chosen[start + i])
                where = torch.from_numpy(voxels).to(device)
                parts.append(features @ coef[where].T + intercept[where])
                order.append(voxels)
        predicted = torch.cat(parts, 1)[:, torch.from_numpy(np.argsort(np.concatenate(order))).to(device)]
        predicted = predicted[:, 0] if flat else predicted
        return predicted if tensors else predicted.cpu().numpy()

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R2, averaged over voxels; constant voxels count as 0."""
        if sample_weight is not None:
            return float(super().score(X, array_of(plain(y, None)), sample_weight))
        return float(np.nan_to_num(array_of(r2(array_of(plain(y, None)), array_of(self.predict(X))))).mean())

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with tensors as numpy arrays, so that it loads where the device of the fit is not."""
        state = super().__getstate__()
        return {k: array_of(v) if isinstance(v, torch.Tensor) else v for k, v in state.items()}
