"""From magnetic or electric fields, sample by sample, to what was seen: the parts of a network for M/EEG.

    sensors (B, S, T) --spatial attention--> (B, O, T) --own linear map of the subject--> (B, O, T)
    --dilated convolutions--> (B, C, T) --affine over time--> (B, C') --two heads--> embeddings (B, d)

Spatial attention reads virtual channels off the sensor array: channel o weighs sensor s at (x, y) by the softmax over
sensors of ``sum_kl Re z_kl cos 2 pi (k x + l y) + Im z_kl sin 2 pi (k x + l y)``. As weights are functions of places,
recordings with other sensors, or with some missing, go through the same weights.

Défossez et al. (2023), Nature Machine Intelligence 5, 1097-1107; Benchetrit, Banville & King (2024), ICLR,
arXiv:2310.19812.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuro._check import check_positive_int
from neuro.decoders.losses import unit_rows
from neuro.errors import EmptySelection, ShapeMismatch

MARGIN = 0.1  # of the unit square, left free around the sensors, since the Fourier series is periodic


def fourier_basis(positions: Any, n_harmonics: int = 32) -> Tensor:
    """Return cos and sin of ``2 pi (k x + l y)``, k and l from 0 to n_harmonics - 1.

    Parameters
    ----------
    positions : array (n_sensors, 2)
        In any unit; scaled to the unit square with a margin. Rows of NaN are sensors without a place.
    n_harmonics : int

    Returns
    -------
    tensor (n_sensors, 2 * n_harmonics ** 2), float32; NaN for sensors without a place
    """
    places = scaled_positions(positions)
    k = np.arange(check_positive_int("n_harmonics", n_harmonics))
    phase = 2 * np.pi * (places[:, 0, None, None] * k[:, None] + places[:, 1, None, None] * k)  # (S, K, K)
    waves = np.concatenate([np.cos(phase), np.sin(phase)], 1)  # (S, 2 K, K)
    return torch.from_numpy(waves.reshape(len(places), -1).astype(np.float32))


def scaled_positions(positions: Any) -> np.ndarray:
    """Return positions (n_sensors, 2) within MARGIN to 1 - MARGIN, both axes scaled alike.

    >>> scaled_positions([[0, 0], [10, 5]]).round(3)
    array([[0.1, 0.1],
           [0.9, 0.5]])
    """
    places = np.asarray(positions, dtype=float)
    if places.ndim != 2 or places.shape[1] != 2:
        raise ShapeMismatch(f"positions must be (n_sensors, 2), in a plane, got shape {places.shape}.")
    known = np.isfinite(places).all(1)
    if not known.any():
        raise EmptySelection("no sensor has a position.")
    low = places[known].min(0)
    span = float((places[known].max(0) - low).max()) or 1.0
    out = np.full_like(places, np.nan)
    out[known] = MARGIN + (1 - 2 * MARGIN) * (places[known] - low) / span
    return out


class SpatialAttention(nn.Module):
    """Virtual channels: weighted means of sensors, weights a function of where sensors are.

    Parameters
    ----------
    n_outputs : int
        Virtual channels; 270 as published.
    n_harmonics : int
        Of the Fourier series along each axis; 32 as published.
    dropout : float
        While training, sensors no further than this from a random one are left out of the softmax, the same ones for
        the whole batch; in units of the scaled array, which spans .8.
    """

    def __init__(self, n_outputs: int = 270, n_harmonics: int = 32, dropout: float = 0.1):
        super().__init__()
        self.n_outputs, self.n_harmonics, self.dropout = n_outputs, n_harmonics, dropout
        self.coefficients = nn.Parameter(torch.empty(n_outputs, 2 * n_harmonics**2))
        self.start(torch.Generator().manual_seed(0))

    def start(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.coefficients, std=1 / self.n_harmonics, generator=generator)

    def weights(self, basis: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Return what each virtual channel takes of each sensor, rows summing to 1.

        Parameters
        ----------
        basis : (n_sensors, 2 * n_harmonics ** 2)
            From :func:`fourier_basis`; sensors with NaN get weight 0.
        dropped : bool (n_sensors,), optional
            Sensors to leave out.

        Returns
        -------
        (n_outputs, n_sensors)
        """
        placed = basis.isfinite().all(1)
        usable = placed if dropped is None else placed & ~dropped
        scores = self.coefficients @ basis.nan_to_num().T
        return scores.masked_fill(~usable, -torch.inf).softmax(1)

    def forward(self, x: Tensor, basis: Tensor, places: Tensor) -> Tensor:
        """(B, S, T), basis (S, F), places (S, 2) -> (B, n_outputs, T)."""
        dropped = self.draw_dropped(places) if self.training and self.dropout > 0 else None
        return torch.einsum("os,bst->bot", self.weights(basis, dropped), x)

    def draw_dropped(self, places: Tensor) -> Tensor:
        """Return the sensors near a random one, bool (S,); none, if all would go."""
        known = places.isfinite().all(1).nonzero()[:, 0]
        centre = places[known[torch.randint(len(known), (), device=known.device)]]
        near = (places - centre).norm(dim=1) <= self.dropout
        return near & ~near[known].all()


class SubjectSensors(nn.Module):
    """What is a subject's own: where the sensors are, and a linear map of virtual channels without bias.

    Parameters
    ----------
    n_sensors : int
    positions : array (n_sensors, 2)
    n_outputs, n_harmonics : int
    """

    basis: Tensor
    places: Tensor

    def __init__(self, n_sensors: int, positions: Any, n_outputs: int = 270, n_harmonics: int = 32):
        super().__init__()
        self.n_sensors, self.n_harmonics = n_sensors, n_harmonics
        self.positions = np.array(positions, dtype=float)
        if self.positions.shape != (n_sensors, 2):
            raise ShapeMismatch(
                f"positions must be ({n_sensors}, 2), one place per sensor, got {self.positions.shape}."
            )
        self.register_buffer("basis", torch.empty(n_sensors, 2 * n_harmonics**2))
        self.register_buffer("places", torch.empty(n_sensors, 2))
        self.mix = nn.Linear(n_outputs, n_outputs, bias=False)
        self.start(torch.Generator())

    def start(self, generator: torch.Generator) -> None:
        """Fill the buffers; the map is drawn as any linear one."""
        self.basis.copy_(fourier_basis(self.positions, self.n_harmonics))
        self.places.copy_(torch.from_numpy(scaled_positions(self.positions)))

    def forward(self, x: Tensor, attention: SpatialAttention) -> Tensor:
        channels = attention(x, self.basis, self.places)  # (B, O, T)
        return self.mix(channels.transpose(1, 2)).transpose(1, 2)


class DilatedBlock(nn.Module):
    """Two dilated convolutions with skips, then one to twice the channels and a gated linear unit.

    Block k has dilations ``2 ** (2 k mod 5)`` and ``2 ** ((2 k + 1) mod 5)``; convolutions are three samples wide, with
    batch norm and GELU, and keep the length. The first has a skip only where the number of channels stays.

    Parameters
    ----------
    n_inputs, width : int
    position : int
        k, from 0.
    dropout : float
    """

    def __init__(self, n_inputs: int, width: int, position: int = 0, dropout: float = 0.1):
        super().__init__()
        self.dilations = tuple(2 ** ((2 * position + i) % 5) for i in range(2))
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(n_inputs if i == 0 else width, width, 3, padding=d, dilation=d),
                nn.BatchNorm1d(width),
                nn.GELU(),
                nn.Dropout(dropout),
            )
            for i, d in enumerate(self.dilations)
        )
        self.gate = nn.Conv1d(width, 2 * width, 3, padding=2, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            y = layer(x)
            x = x + y if x.shape == y.shape else y
        return F.glu(self.gate(x), dim=1)


class TimeAffine(nn.Linear):
    """(B, C, T) -> (B, C): one weighted sum over time for all channels, which starts as the mean."""

    def __init__(self, n_times: int):
        super().__init__(n_times, 1)
        self.start(torch.Generator())

    def start(self, generator: torch.Generator) -> None:
        nn.init.constant_(self.weight, 1 / self.in_features)
        nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input)[..., 0]


class EmbeddingHead(nn.Sequential):
    """``W GELU(LN(x)) + b``."""

    def __init__(self, width: int, dim: int):
        super().__init__(nn.LayerNorm(width), nn.GELU(), nn.Linear(width, dim))


def candidate_info_nce(pred: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of finding the seen image among those of the batch, candidates of unit length, predictions not.

    ``-mean_i log softmax_j(p_i . t_j / |t_j|)_i``: how long a prediction is says how sure the network is. One image
    shown several times in a batch is one candidate.

    Parameters
    ----------
    pred, target : (n, ...)
        Flattened; equal rows of ``target`` are one image.

    Returns
    -------
    tensor ()

    Examples
    --------
    >>> candidate_info_nce(torch.eye(4), torch.eye(4))     # log(1 + 3 / e)
    tensor(0.7437)
    >>> candidate_info_nce(torch.ones(2, 3), torch.ones(2, 3))   # one image, twice
    tensor(0.)
    """
    if pred.flatten(1).shape != target.flatten(1).shape:
        raise ShapeMismatch(f"predictions {tuple(pred.shape)} and targets {tuple(target.shape)} differ in shape.")
    images, own = torch.unique(target.flatten(1), dim=0, return_inverse=True)
    with torch.autocast(pred.device.type, enabled=False):
        return F.cross_entropy(pred.flatten(1).float() @ unit_rows(images).float().T, own)


def sensor_loss(outputs: Any, target: Tensor, balance: float = 0.75) -> Tensor:
    """Return ``balance * candidate_info_nce + (1 - balance) * MSE`` of the two heads' outputs for one batch.

    Parameters
    ----------
    outputs : mapping
        With ``contrastive_embedding`` and ``regressed_embedding``, (n, d).
    target : (n, d)
    balance : float, 0 to 1
        lambda; .75 as published.
    """
    if not 0 <= balance <= 1:
        raise ValueError(f"balance must lie between 0 and 1, got {balance!r}.")
    contrast = candidate_info_nce(outputs["contrastive_embedding"], target)
    return balance * contrast + (1 - balance) * F.mse_loss(outputs["regressed_embedding"].float(), target.float())
