"""Ridge over all tokens of an image: what attention has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from neuro.encoders._ensemble import ensemble_weights
from neuro.encoders._tokens import Tokens, as_layers
from neuro.linear._arrays import array_of
from neuro.linear.ridge import RidgeCV


class TokenRidge:
    """``RidgeCV`` on the flattened tokens of every layer, layers weighted by cross-validated correlation.

    Penalties are chosen per voxel by five folds of whole groups, and the weights are those of all rows. Channels are
    scaled as for the networks, by their deviation over all rows of the fit (places are not: that would make the
    borders as important as the middle).
    """

    def __init__(self, grid: Any, sharpness: float, standardize: bool, random_state: int | None, device: Any):
        self.grid, self.sharpness, self.standardize = grid, sharpness, standardize
        self.random_state, self.device = random_state, device

    def fit(self, X: Any, y: Any, groups: Any = None) -> TokenRidge:
        """Fit one ridge per layer."""
        self.scales_: dict[str, torch.Tensor] = {}
        self.ridges_: dict[str, RidgeCV] = {}
        for name, tokens in as_layers(X, self.grid).items():
            _, scale = tokens.moments(np.arange(len(tokens)))
            self.scales_[name] = scale if self.standardize else torch.ones_like(scale)
            ridge = RidgeCV(scoring="r2", extend_grid=True, random_state=self.random_state, device=self.device)
            self.ridges_[name] = ridge.fit(self._flat(name, tokens), y, groups)
        r = np.stack([np.atleast_1d(array_of(ridge.best_score_)) for ridge in self.ridges_.values()])
        self.weights_ = ensemble_weights(np.sqrt(np.clip(r, 0, 1))[None], self.sharpness)[0]  # (n_layers, n_voxels)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict responses (n_stimuli, n_voxels)."""
        total: Any = 0.0
        for (name, tokens), weights in zip(as_layers(X, self.grid).items(), self.weights_, strict=True):
            predicted = array_of(self.ridges_[name].predict(self._flat(name, tokens)))
            total = total + (weights * predicted.reshape(len(predicted), -1))
        return total.reshape(predicted.shape)

    def _flat(self, name: str, tokens: Tokens) -> Any:
        flat = (tokens.read(slice(None)) / self.scales_[name].to(torch.float32)).flatten(1)
        return flat if isinstance(tokens.data, torch.Tensor) else flat.numpy()
