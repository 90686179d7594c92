r"""Latent dynamics: what comes next, in the space of a frozen network's features.

A small network predicts the latent of a frame from those of the ``n_past`` frames before, z_t ~ f(z_{t-7}, ...,
z_{t-1}), trained on the squared error of one step. As features of a movie it gives the predicted state and the error
of the prediction; fed with its own predictions, it goes on where the movie stops.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from neuro._check import check_option, check_positive_int
from neuro.errors import CorruptFile, ShapeMismatch
from neuro.features._motion_dynamics import KINDS, like, movie_of, movies_of
from neuro.features._motion_files import read_safetensors, write_safetensors
from neuro.features.extractor import resolve_device

FORMAT = "neuro latent dynamics 1"


class LatentDynamics(BaseEstimator):
    """Predict the next latent of a movie from the last ones.

    Parameters
    ----------
    kind : {"lstm", "ctrnn", "mlp", "identity"}
        The last two are controls: no recurrence, and no dynamics.
    n_past : int
        Latents that a prediction sees, exactly.
    n_hidden : int
    stride : int
        Frames from one latent to the next: 1 takes every frame, 6 (the published training) every sixth.
    epochs, batch_size : int
        Over all windows of all sequences, shuffled.
    lr : float
        Of Adam.
    standardise : bool
        Bring each feature to mean 0 and standard deviation 1 over the training latents, inside; predictions come back
        in the units of the latents. Off as published.
    seed : int
        Of weights and batches.
    device : str, torch.device or None
        Where to compute; None is where the latents are.

    Attributes
    ----------
    network_ : torch.nn.Module
    n_features_in_ : int
    losses_ : (epochs,)
        Mean squared error of each epoch, in the units the network sees.

    References
    ----------
    Nayebi, Rajalingham, Jazayeri & Yang (2023), Neural Foundations of Mental Simulation, NeurIPS, arXiv 2305.11772.

    Examples
    --------
    >>> t = np.arange(60)
    >>> latents = np.stack([np.sin(t / 5), np.cos(t / 5)], 1)
    >>> dynamics = LatentDynamics("mlp", n_hidden=32, epochs=200, lr=1e-2).fit(latents)
    >>> dynamics.rollout(latents[:7], 3).shape, bool(dynamics.score(latents) > 0.99)
    ((3, 2), True)
    """

    def __init__(
        self,
        kind: str = "lstm",
        n_past: int = 7,
        *,
        n_hidden: int = 1024,
        stride: int = 1,
        epochs: int = 100,
        batch_size: int = 32,
        lr: float = 1e-4,
        standardise: bool = False,
        seed: int = 0,
        device: Any = None,
    ):
        self.kind = kind
        self.n_past = n_past
        self.n_hidden = n_hidden
        self.stride = stride
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.standardise = standardise
        self.seed = seed
        self.device = device

    def fit(self, latents: Any, y: Any = None) -> LatentDynamics:
        """Train on one or more movies.

        Parameters
        ----------
        latents : array (n_frames, n_features), (n_movies, n_frames, n_features), or list of (n_frames, n_features)
            Features of frames, in order, at one frame rate. Movies are never joined.
        y : ignored

        Raises
        ------
        ShapeMismatch
            If no movie has ``n_past`` latents and one more, or movies differ in features.
        ValueError
            If latents are not finite.
        """
        check_option("kind", self.kind, KINDS)
        for name in ("n_past", "n_hidden", "stride", "epochs", "batch_size"):
            check_positive_int(name, getattr(self, name))
        movies = movies_of(latents)
        windows = [w for m in movies if len(w := self._windows(m, self.n_past + 1))]
        if not windows:
            raise ShapeMismatch(
                f"no movie is long enough: n_past={self.n_past} latents and the next, {self.stride} frames apart, are "
                f"{self.n_past * self.stride + 1} frames; the longest has {max(len(m) for m in movies)}."
            )
        home = movies[0].device if self.device is None else resolve_device(self.device)
        data = torch.cat(windows).to(home)
        self.n_features_in_ = data.shape[-1]
        rows = torch.cat(movies).double()
        scale = rows.std(0, correction=0) if self.standardise else torch.ones_like(rows[0])
        mean = rows.mean(0) if self.standardise else torch.zeros_like(rows[0])
        self.mean_, self.scale_ = mean.float().to(home), torch.where(scale > 0, scale, 1).float().to(home)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network_ = KINDS[self.kind](self.n_features_in_, self.n_past, self.n_hidden).to(home)
        self.losses_ = self._train((data - self.mean_) / self.scale_)
        return self

    def predict_next(self, context: Any) -> Any:
        """Return the next latent (n_features,) after a context, or (n, n_features) after n of them.

        Parameters
        ----------
        context : array or tensor (n_frames, n_features) or (n, n_frames, n_features)
            At least ``n_past`` latents, ``stride`` frames apart if it is not 1; only the last ones are seen.
        """
        past, single = self._context(context)
        with torch.no_grad():
            found = self._predict(past)
        return like(found[0] if single else found, context)

    def rollout(self, context: Any, n: int) -> Any:
        """Return the next ``n`` latents, each predicted from the ones before, predicted ones included.

        Parameters
        ----------
        context : as for :meth:`predict_next`
        n : int

        Returns
        -------
        (n, n_features), or (n_contexts, n, n_features)
        """
        check_positive_int("n", n)
        past, single = self._context(context)
        found = []
        with torch.no_grad():
            for _ in range(n):
                found.append(self._predict(past))
                past = torch.cat([past[:, 1:], found[-1][:, None]], 1)
        latents = torch.stack(found, 1)
        return like(latents[0] if single else latents, context)

    def features(self, latents: Any) -> dict[str, Any]:
        """Return what the dynamics say about every frame of a movie.

        Parameters
        ----------
        latents : array or tensor (n_frames, n_features)

        Returns
        -------
        dict
            "predicted" (n_frames, n_features), the latent expected from the frames before; "error" (n_frames,
            n_features), the latent minus that; "surprise" (n_frames,), the error's length; "valid" (n_frames,), False
            for the first ``n_past * stride`` frames, where nothing can be predicted and the others are NaN.
        """
        check_is_fitted(self, "network_")
        movie = movie_of(latents, self.n_features_in_).to(self.mean_.device)
        start = self.n_past * self.stride
        predicted = torch.full_like(movie, torch.nan)
        if len(movie) > start:
            with torch.no_grad():
                predicted[start:] = self._predict(self._windows(movie, self.n_past)[: len(movie) - start])
        error = movie - predicted
        found = {"predicted": predicted, "error": error, "surprise": error.norm(dim=1)}
        found["valid"] = torch.arange(len(movie), device=movie.device) >= start
        return {name: like(value, latents) for name, value in found.items()}

    def score(self, latents: Any, y: Any = None) -> float:
        """Return the share of variance of the next latents that is predicted, over all features together."""
        check_is_fitted(self, "network_")
        windows = [
            self._windows(m.to(self.mean_.device), self.n_past + 1) for m in movies_of(latents, self.n_features_in_)
        ]
        data = torch.cat(windows)
        if len(data) < 2:
            raise ShapeMismatch(f"a score needs two latents that follow {self.n_past} others, got {len(data)}.")
        with torch.no_grad():
            left = (data[:, -1] - self._predict(data[:, :-1])).double().square().sum()
        truth = data[:, -1].double()
        return float(1 - left / (truth - truth.mean(0)).square().sum().clamp_min(1e-30))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write weights and settings as one safetensors file."""
        check_is_fitted(self, "network_")
        state = {f"network.{k}": v for k, v in self.network_.state_dict().items()}
        state |= {"mean": self.mean_, "scale": self.scale_, "losses": torch.from_numpy(self.losses_)}
        settings = {**self.get_params(), "device": None}
        return write_safetensors(path, state, format=FORMAT, settings=json.dumps(settings))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LatentDynamics:
        """Read what :meth:`save` wrote, on the CPU."""
        state, metadata = read_safetensors(path, FORMAT)
        try:
            found = cls(**json.loads(metadata["settings"]))
            found.mean_, found.scale_, found.losses_ = state["mean"], state["scale"], state["losses"].numpy()
            found.n_features_in_ = len(found.mean_)
            found.network_ = KINDS[found.kind](found.n_features_in_, found.n_past, found.n_hidden)
            weights = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
            found.network_.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CorruptFile(f"{path} does not hold the weights its settings describe: {error}") from error
        return found

    def _train(self, data: torch.Tensor) -> np.ndarray:
        parameters = list(self.network_.parameters())
        if not parameters:
            with torch.no_grad():
                return np.array([float((self.network_(data[:, :-1]) - data[:, -1]).square().mean())])
        optimizer = torch.optim.Adam(parameters, lr=self.lr)
        rng, losses = np.random.default_rng(self.seed), []
        for _ in range(self.epochs):
            order, total = torch.from_numpy(rng.permutation(len(data))).to(data.device), 0.0
            for rows in order.split(self.batch_size):
                loss = (self.network_(data[rows, :-1]) - data[rows, -1]).square().mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += float(loss.detach()) * len(rows)
            losses.append(total / len(data))
        return np.array(losses)

    def _predict(self, past: torch.Tensor) -> torch.Tensor:
        parts = [self.network_((part - self.mean_) / self.scale_) for part in past.split(4096)]
        return torch.cat(parts) * self.scale_ + self.mean_

    def _windows(self, movie: torch.Tensor, n: int) -> torch.Tensor:
        """Return windows (n_windows, n, n_features) of latents ``stride`` frames apart, one from every frame on."""
        span = (n - 1) * self.stride + 1
        if len(movie) < span:
            return movie.new_zeros(0, n, movie.shape[1])
        return movie.unfold(0, span, 1)[..., :: self.stride].transpose(1, 2)

    def _context(self, context: Any) -> tuple[torch.Tensor, bool]:
        check_is_fitted(self, "network_")
        found = movies_of(context, self.n_features_in_)
        if any(len(m) < self.n_past for m in found):
            raise ShapeMismatch(
                f"a context must have at least n_past={self.n_past} latents, got {min(len(m) for m in found)}."
            )
        past = torch.stack([m[-self.n_past :] for m in found]).to(self.mean_.device)
        return past, not isinstance(context, (list, tuple)) and np.ndim(context) == 2


def fit_to_frames(latents: Any, n_frames: int) -> np.ndarray:
    """Stretch latents (n, n_features) linearly in time to (n_frames, n_features): first and last stay.

    For dynamics that run at another rate than the movie's: a context and the rollout after it, together.

    >>> fit_to_frames(np.array([[0.0], [1.0]]), 3).ravel().tolist()
    [0.0, 0.5, 1.0]
    """
    movie = movie_of(latents).double().cpu().numpy()
    at = np.linspace(0, len(movie) - 1, check_positive_int("n_frames", n_frames))
    low = np.minimum(at.astype(int), max(len(movie) - 2, 0))
    part = (at - low)[:, None]
    return (1 - part) * movie[low] + part * movie[np.minimum(low + 1, len(movie) - 1)]
