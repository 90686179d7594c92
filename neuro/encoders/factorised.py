"""Space times features: each area looks at the image through one fixed window, each voxel weighs what it sees there.

    y_v = sum_c a_vc sum_t m_rt F_ct + b_v

with tokens F, one window m per query r (a region, or a voxel) that does not depend on the image, and feature weights a
per voxel. Windows are a softmax over places, a Gaussian of free centre and size, or a point (looked at by bilinear
interpolation) whose position is uncertain while training. Only ``a`` is penalised: shrinking a window's shape would
pull it towards the middle or the mean instead of making it simpler.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neuro._check import check_option
from neuro.encoders._attention_network import Readout
from neuro.encoders._gradient import GradientEncoder
from neuro.encoders._queries import Queries
from neuro.encoders._tokens import Tokens
from neuro.encoders.receptive_field import receptive_field

KINDS = ("softmax", "gaussian", "point")


class WindowNetwork(nn.Module):
    """Tokens through fixed windows; B images, Q queries, T tokens, C channels.

    Coordinates run from -1 to 1 over the middles of the outermost places, x to the right and y up.
    """

    places: torch.Tensor

    def __init__(self, n_channels: int, grid: tuple[int, int], queries: Queries, kind: str, l1: float):
        super().__init__()
        self.grid, self.kind, self.l1 = grid, kind, l1
        n = len(queries)
        y, x = torch.meshgrid(_axis(grid[0]).flip(0), _axis(grid[1]), indexing="ij")
        self.register_buffer("places", torch.stack([x, y], -1).reshape(-1, 2), persistent=False)  # (T, 2)
        if kind == "softmax":
            self.logits = nn.Parameter(torch.zeros(n, len(self.places)))
        else:
            self.centre = nn.Parameter(torch.empty(n, 2).uniform_(-0.1, 0.1))
        if kind == "gaussian":
            self.log_size = nn.Parameter(torch.full((n,), -0.5))
        if kind == "point":  # centre + spread @ noise, so that spread spread' is the covariance
            self.spread = nn.Parameter(torch.eye(2).expand(n, 2, 2).clone())
        self.readout = Readout(queries.member, queries.patterns, n_channels)

    def windows(self, n_images: int = 1) -> torch.Tensor:
        """(1, Q, T), or (B, Q, T) where every image is looked at elsewhere; sums to one over T."""
        if self.kind == "softmax":
            return self.logits.softmax(-1)[None]
        if self.kind == "gaussian":
            square = (self.places - self.centre[:, None]).square().sum(-1)  # (Q, T)
            return (-0.5 * square * torch.exp(-2 * self.log_size)[:, None]).softmax(-1)[None]
        centre = self.centre[None]
        if self.training:
            noise = torch.randn(n_images, *self.centre.shape, device=self.centre.device)  # (B, Q, 2)
            centre = centre + torch.einsum("qij,bqj->bqi", self.spread, noise)
        centre = centre.clamp(-1, 1)
        near = [1 - (centre[..., None, i] - self.places[:, i]).abs() / _step(self.grid[1 - i]) for i in (0, 1)]
        return near[0].clamp(min=0) * near[1].clamp(min=0)  # hat functions: bilinear interpolation

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T, C) -> (B, V)."""
        windows = self.windows(len(tokens))
        readout = self.readout
        one_each = len(windows) == 1 and readout.patterns is None and windows.shape[1] == len(readout.bias)
        if one_each and windows.shape[-1] < tokens.shape[-1]:  # the smaller of (B, T, V) and (B, V, C)
            return torch.einsum("btv,vt->bv", tokens @ readout.weight.T, windows[0]) + readout.bias
        return readout(windows @ tokens)

    def fields(self, extent: float) -> np.ndarray:
        """Return x, y and size of the windows, (3, Q), for maps that are ``extent`` wide and high."""
        height, width = self.grid
        if self.kind == "softmax":
            unit = 0.5 * extent * (1 - 1 / np.array([max(width, 2), max(height, 2)]))
            return np.array(receptive_field(self.windows()[0].detach().cpu().numpy(), self.places.cpu().numpy() * unit))
        unit = 0.5 * extent * (1 - 1 / np.array([width, height]))
        centre = self.centre.detach().clamp(-1, 1).cpu().double().numpy() * unit
        if self.kind == "gaussian":
            size = np.exp(self.log_size.detach().cpu().double().numpy()) * unit.mean()
        else:
            size = np.zeros(len(centre))
        return np.stack([*centre.T, size])

    def penalty(self) -> torch.Tensor:
        """L1 norm of the feature weights, a mean over voxels."""
        return self.l1 * self.readout.weight.abs().sum(1).mean()


def _axis(length: int) -> torch.Tensor:
    return torch.linspace(-1, 1, length) if length > 1 else torch.zeros(1)


def _step(length: int) -> float:
    return 2 / (length - 1) if length > 1 else 2.0


class FactorisedEncoder(GradientEncoder):
    """Encoder with one fixed spatial window per query and feature weights per voxel, trained by gradient.

    Parameters
    ----------
    queries : "voxels", "rois", "hemispheres", "one", dict or boolean array (n_queries, n_voxels)
        Who shares a window; see ``AttentionEncoder``.
    kind : {"softmax", "gaussian", "point"}
        Any window; an isotropic Gaussian; or a point whose position is drawn from a Gaussian (with full covariance)
        for every training image and is its mean afterwards. A point needs maps that are smooth over several places;
        on finer ones the other two find their way more surely.
    l1 : float, >= 0
        Penalty on the feature weights of a voxel.
    extent : float
        Width and height of the maps, degrees of visual angle: the unit of ``x_, y_, size_``.
    n_runs, sharpness, epochs, batch_size, patience, learning_rate, weight_decay, decay, decay_every, clip, validation
        As in ``AttentionEncoder``.
    standardize, grid, random_state, checkpoint, device
        As in ``AttentionEncoder``.

    Attributes
    ----------
    x_, y_, size_ : (n_queries,)
        Centre and standard deviation of the windows, degrees from the middle of the image, x to the right, y up. For
        "softmax" those of the part above half of the maximum (``receptive_field``); points have size 0. Mean over the
        ensemble, weighted as the predictions are.
    weights_, validation_r_, splits_, progress_, queries_, layers_, grids_
        As in ``AttentionEncoder``.

    References
    ----------
    Klindt, Ecker, Euler & Bethge (2017), NeurIPS 30 (space times features); Lurz et al. (2021), ICLR (points);
    St-Yves & Naselaris (2018), NeuroImage 180, 188-202 (Gaussian windows).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.standard_normal((40, 8, 3, 3)), rng.standard_normal((40, 5))
    >>> FactorisedEncoder(epochs=1).fit(X, Y).windows().shape
    (5, 3, 3)
    """

    def __init__(
        self,
        queries: Any = "voxels",
        *,
        kind: str = "softmax",
        l1: float = 0.0,
        extent: float = 2.0,
        n_runs: int = 1,
        sharpness: float = 40.0,
        epochs: int = 40,
        batch_size: int = 32,
        patience: int = 8,
        learning_rate: float = 1e-2,
        weight_decay: float = 1e-4,
        decay: float = 0.5,
        decay_every: int = 10,
        clip: float = 1.0,
        validation: float = 0.1,
        standardize: bool = True,
        grid: Any = None,
        random_state: int | None = 0,
        checkpoint: Any = None,
        device: Any = None,
    ):
        self.queries = queries
        self.kind = kind
        self.l1 = l1
        self.extent = extent
        self.n_runs = n_runs
        self.sharpness = sharpness
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.decay = decay
        self.decay_every = decay_every
        self.clip = clip
        self.validation = validation
        self.standardize = standardize
        self.grid = grid
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.device = device

    def _recipe(self) -> Any:
        check_option("kind", self.kind, KINDS)
        if self.l1 < 0:
            raise ValueError(f"l1 must not be negative, got {self.l1!r}.")
        if not self.extent > 0:
            raise ValueError(f"extent must be above 0 degrees, got {self.extent!r}.")
        return super()._recipe()

    def _network(self, tokens: Tokens, queries: Queries) -> nn.Module:
        return WindowNetwork(tokens.n_channels, tokens.grid, queries, self.kind, self.l1)

    def windows(self, layer: str | None = None) -> np.ndarray:
        """Return the windows (n_queries, height, width) of one layer, averaged over runs; each sums to one."""
        check_is_fitted(self)
        name = self.layers_[0] if layer is None else check_option("layer", layer, self.layers_)
        i = self.layers_.index(name)
        shares = self.query_shares()[:, i]  # (n_runs, Q)
        total = sum(s[:, None] * self._windows(run, i) for run, s in enumerate(shares / shares.sum(0)))
        return np.asarray(total).reshape(-1, *self.grids_[name])

    def _windows(self, run: int, layer: int) -> np.ndarray:
        model: Any = self.members_[run * len(self.layers_) + layer]
        return model.network.windows()[0].cpu().double().numpy()

    def _fields(self) -> np.ndarray:
        """Return x, y and size of every window, (3, n_queries), averaged over the ensemble."""
        check_is_fitted(self)
        shares, total = self.query_shares(), np.zeros((3, len(self.queries_)))
        for run in range(len(shares)):
            for i in range(len(self.layers_)):
                model: Any = self.members_[run * len(self.layers_) + i]
                total += shares[run, i] * model.network.fields(self.extent)
        return total

    @property
    def x_(self) -> np.ndarray:
        """Horizontal position (n_queries,), degrees."""
        return self._fields()[0]

    @property
    def y_(self) -> np.ndarray:
        """Vertical position (n_queries,), degrees."""
        return self._fields()[1]

    @property
    def size_(self) -> np.ndarray:
        """Standard deviation (n_queries,), degrees."""
        return self._fields()[2]
