"""Networks that predict the next latent from the last ones, and the latents they take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from neuro._check import is_tensor
from neuro.errors import ShapeMismatch


class LSTM(nn.Module):
    """One layer over the past latents; its last output, linearly, is the next latent."""

    def __init__(self, width: int, n_past: int, n_hidden: int):
        super().__init__()
        self.core, self.out = nn.LSTM(width, n_hidden, batch_first=True), nn.Linear(n_hidden, width)

    def forward(self, past: torch.Tensor) -> torch.Tensor:  # (B, n_past, D)
        return self.out(self.core(past)[0][:, -1])


class CTRNN(nn.Module):
    """Continuous-time rates: ``a += dt / tau (-a + W_rec h + W_in z + b)``, ``h = max(tanh a, 0)``; dt 1, tau 10."""

    def __init__(self, width: int, n_past: int, n_hidden: int):
        super().__init__()
        self.recurrent = nn.Parameter(1.5 * torch.randn(n_hidden, n_hidden) / n_hidden**0.5)
        self.inward = nn.Linear(width, n_hidden)
        self.outward, self.out = nn.Linear(n_hidden, n_hidden), nn.Linear(n_hidden, width)

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        a = past.new_zeros(len(past), len(self.recurrent))
        for z in past.unbind(1):
            a = a + 0.1 * (-a + a.tanh().clamp_min(0) @ self.recurrent.T + self.inward(z))
        return self.out(self.outward(a.tanh().clamp_min(0)))


class MLP(nn.Module):
    """One hidden layer of rectified units over all past latents together."""

    def __init__(self, width: int, n_past: int, n_hidden: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(n_past * width, n_hidden), nn.ReLU())
        self.out = nn.Linear(n_hidden, width)

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        return self.out(self.layers(past))


class Identity(nn.Module):
    """The last latent: nothing moves."""

    def __init__(self, width: int, n_past: int, n_hidden: int):
        super().__init__()

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        return past[:, -1]


KINDS: dict[str, type[nn.Module]] = {"lstm": LSTM, "ctrnn": CTRNN, "mlp": MLP, "identity": Identity}
"""What predicts the next latent; each maps (B, n_past, n_features) to (B, n_features)."""


def movies_of(latents: Any, n_features: int | None = None) -> list[torch.Tensor]:
    many: Sequence[Any]
    if isinstance(latents, (list, tuple)):
        many = latents
    else:
        ndim = np.ndim(latents)
        if ndim not in (2, 3):
            raise ShapeMismatch(
                "latents must be (n_frames, n_features), (n_movies, n_frames, n_features) or a list of the former, "
                f"got {ndim} axes: flatten or pool the features of a frame first."
            )
        many = latents if ndim == 3 else [latents]
    if not len(many):
        raise ShapeMismatch("latents must hold at least one movie, got none.")
    movies = [movie_of(m, n_features, i) for i, m in enumerate(many)]
    if len({m.shape[1] for m in movies}) > 1:
        raise ShapeMismatch(f"all movies must have the same features, got {sorted({m.shape[1] for m in movies})}.")
    return movies


def movie_of(latents: Any, n_features: int | None = None, number: int = 0) -> torch.Tensor:
    movie = latents if is_tensor(latents) else torch.from_numpy(np.array(latents, dtype=np.float32))
    if movie.ndim != 2 or 0 in movie.shape:
        raise ShapeMismatch(f"latents of a movie must be (n_frames, n_features), got {tuple(movie.shape)}.")
    if n_features is not None and movie.shape[1] != n_features:
        raise ShapeMismatch(f"latents must have {n_features} features, as in fit, got {movie.shape[1]}.")
    if not bool(torch.isfinite(movie).all()):
        raise ValueError(f"latents must be finite: movie {number} holds NaN or infinity.")
    return movie.detach().float()


def like(found: torch.Tensor, given: Any) -> Any:
    first = given[0] if isinstance(given, (list, tuple)) else given
    return found.to(first.device) if is_tensor(first) else found.cpu().numpy()
