"""Attention-routed encoding: each area attends to the places of an image that matter to it, wherever they are.

A receptive field is a fixed window. Areas that prefer faces or food respond to their category at many places, so a
fixed window must either be wide, and collect clutter, or miss. Here every query (an area, say) has weights over the
image's tokens that depend on the image itself, its *routing map*:

    y_v = w_v . out_r(v)(image) + b_v,    out_r = decoder(query_r, tokens)

with the decoder of ``_attention_network``. Fixed windows (``FactorisedEncoder``) and ridge over all tokens are the
fair comparisons, and can be fitted in the same call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neuro._check import check_option, check_positive_int
from neuro.encoders._attention_network import VARIANTS, RoutingNetwork
from neuro.encoders._baselines import TokenRidge
from neuro.encoders._gradient import GradientEncoder
from neuro.encoders._queries import Queries
from neuro.encoders._tokens import Tokens, check_finite
from neuro.encoders.factorised import FactorisedEncoder
from neuro.errors import ShapeMismatch
from neuro.linear._arrays import array_of, check_device
from neuro.linear._linear import plain
from neuro.stats import pearson_r

BASELINES = ("ridge", "factorised")


class AttentionEncoder(GradientEncoder):
    """Encoder whose queries attend to an image's spatial tokens.

    Parameters
    ----------
    queries : "rois", "hemispheres", "voxels", "one", dict or boolean array (n_queries, n_voxels)
        Who shares a routing map. "rois" and "hemispheres" read regions from ``Responses``, regions apart for each
        hemisphere; voxels of no region share one more query. A dict names groups of voxels (boolean masks or indices).
        A voxel of several groups listens to their mean.
    variant : {"transformer", "raw_values"}
        Decoder; see ``RoutingDecoder``.
    n_heads, n_hidden : int
        Attention heads and feed-forward width.
    n_dims : int or None
        Project tokens to this many channels first; None keeps their own (a multiple of ``n_heads``).
    dropout : float
    n_runs : int
        Networks per layer, each with its own start and its own held-out stimuli.
    sharpness : float
        Of the softmax over layers, by validation correlation; see ``ensemble_weights``.
    epochs, batch_size, patience : int
        At most ``epochs``; training stops ``patience`` epochs after the best one, which is kept.
    learning_rate, weight_decay, decay, decay_every, clip : float, float, float, int, float
        AdamW; the rate is multiplied by ``decay`` every ``decay_every`` epochs; gradients are clipped to norm ``clip``.
    validation : float
        Share of the stimuli (of the groups) that each run holds out to choose its epoch and its weights.
    standardize : bool
        Scale every channel by its mean and standard deviation over the training tokens. False: tokens as they are.
    grid : (height, width), optional
        Of tokens given as rows (n, T, C), if they are no square.
    baselines : tuple of {"ridge", "factorised"}
        Fit these too, to the same tokens, stimuli and groups, for ``compare``. Ridge takes all tokens flattened
        (n_tokens * n_channels features) and trains on all rows; ``FactorisedEncoder`` has the same queries and runs.
    random_state : int or None
        Seed of splits, starts, shuffling and dropout.
    checkpoint : path, optional
        Folder where every network's training is kept after each epoch. Fitting again with the same data and settings
        goes on from there; ``epochs`` and ``n_runs`` may grow.
    device : str, torch.device or None
        None is where the data is.

    Attributes
    ----------
    queries_ : Queries
        ``queries_.names``, and ``queries_.voxels(i)``: who listens to query i.
    weights_ : (n_runs, n_layers, n_voxels)
        Of the ensemble; each voxel's sum to one.
    validation_r_ : (n_runs, n_layers, n_voxels)
        Correlation on the stimuli that a run held out, at its best epoch.
    splits_ : list of (training rows, validation rows), one per run
    progress_ : list
        ``history`` and ``best_epoch`` of every network, runs before layers.
    layers_, grids_ : list of str, dict
    baselines_ : dict
        The fitted baselines.

    Notes
    -----
    Responses are standardised per voxel with the training rows' mean and deviation; the loss is the mean squared error
    over all voxels. Published settings for the Natural Scenes Dataset, which are the defaults here: DINOv2 ViT-B/14
    tokens (31 x 31 x 768) of the layers 1, 3, 5, 7 from the end, ten runs, batches of 16.
    With hundreds instead of thousands of stimuli, fewer channels (``n_dims=64, n_heads=4, n_hidden=128``), a higher
    rate (``learning_rate=2e-3, clip=1.0``), more epochs and a few runs serve better.

    References
    ----------
    Adeli, Sun & Kriegeskorte (2025), Transformer brain encoders explain human high-level visual responses,
    arXiv:2505.17329.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.standard_normal((40, 8, 3, 3)), rng.standard_normal((40, 5))
    >>> encoder = AttentionEncoder({"early": [0, 1], "late": [2, 3, 4]}, n_heads=2, n_hidden=8, epochs=1).fit(X, Y)
    >>> encoder.predict(X).shape, encoder.routing_maps(X).shape
    ((40, 5), (40, 2, 3, 3))
    """

    def __init__(
        self,
        queries: Any = "rois",
        *,
        variant: str = "transformer",
        n_heads: int = 16,
        n_hidden: int = 1024,
        n_dims: int | None = None,
        dropout: float = 0.1,
        n_runs: int = 1,
        sharpness: float = 40.0,
        epochs: int = 15,
        batch_size: int = 16,
        patience: int = 5,
        learning_rate: float = 5e-4,
        weight_decay: float = 1e-4,
        decay: float = 0.5,
        decay_every: int = 4,
        clip: float = 0.1,
        validation: float = 0.1,
        standardize: bool = True,
        grid: Any = None,
        baselines: Any = (),
        random_state: int | None = 0,
        checkpoint: Any = None,
        device: Any = None,
    ):
        self.queries = queries
        self.variant = variant
        self.n_heads = n_heads
        self.n_hidden = n_hidden
        self.n_dims = n_dims
        self.dropout = dropout
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
        self.baselines = baselines
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.device = device

    def _network(self, tokens: Tokens, queries: Queries) -> nn.Module:
        return RoutingNetwork(
            tokens.n_channels,
            tokens.grid,
            queries,
            self.n_dims,
            n_heads=self.n_heads,
            n_hidden=self.n_hidden,
            dropout=self.dropout,
            variant=self.variant,
        )

    def fit(self, X: Any, y: Any, groups: Any = None) -> AttentionEncoder:
        """Train, and fit the baselines that were asked for.

        Parameters
        ----------
        X : array or tensor (n_stimuli, n_channels, height, width) or (n_stimuli, n_tokens, n_channels), or a dict
            Spatial tokens without class token, layer by layer if a dict. Memory maps are read batch by batch.
        y : array, tensor or Responses (n_stimuli, n_voxels) or (n_stimuli,)
        groups : array (n_stimuli,), optional
            Rows that must not be parted by a split: repeats of one stimulus. ``Responses`` know theirs.

        Returns
        -------
        self

        Raises
        ------
        ShapeMismatch
            If token grids, rows or masks disagree.
        ValueError
            If data is not finite or a parameter is impossible.
        StaleStore
            If ``checkpoint`` holds a training on other data or with other settings.
        """
        check_option("variant", self.variant, VARIANTS)
        check_positive_int("n_heads", self.n_heads)
        check_positive_int("n_hidden", self.n_hidden)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout!r}.")
        if isinstance(self.baselines, str):
            raise ValueError(f"baselines must be a tuple of names from {BASELINES}, got the string {self.baselines!r}.")
        for name in self.baselines:
            check_option("baselines", name, BASELINES)
        super().fit(X, y, groups)
        self.baselines_ = {name: self._baseline(name).fit(X, y, groups) for name in self.baselines}
        return self

    def _baseline(self, name: str) -> Any:
        if name == "ridge":
            return TokenRidge(self.grid, self.sharpness, self.standardize, self.random_state, self.device)
        return FactorisedEncoder(
            self.queries,
            n_runs=self.n_runs,
            sharpness=self.sharpness,
            validation=self.validation,
            standardize=self.standardize,
            grid=self.grid,
            random_state=self.random_state,
            device=self.device,
        )

    def compare(self, X: Any, y: Any) -> dict[str, np.ndarray]:
        """Score this encoder and its baselines on the same stimuli.

        Parameters
        ----------
        X, y : as in ``fit``, held out from it

        Returns
        -------
        dict of name ("attention", "ridge", ...) -> array (n_voxels,)
            Correlation of predictions and responses; NaN for a constant voxel.
        """
        measured = array_of(plain(y, None))
        scores = {"attention": self.score_by_voxel(X, measured)}
        for name, encoder in getattr(self, "baselines_", {}).items():  # files hold none
            scores[name] = np.atleast_1d(array_of(pearson_r(measured, array_of(encoder.predict(X)))))
        return scores

    def routing_maps(self, X: Any, *, layer: str | None = None, by_head: bool = False) -> Any:
        """Where each query looks in each image.

        Parameters
        ----------
        X : as in ``fit``
        layer : str, optional
            Maps of this layer only. By default the mean over layers, each weighted by what it counts for the query's
            voxels, if all have the same grid.
        by_head : bool
            Keep attention heads apart. Heads of different runs have nothing to do with one another, so this is for
            ``n_runs=1``.

        Returns
        -------
        array or tensor (n_stimuli, n_queries, height, width), or (n_stimuli, n_queries, n_heads, height, width)
            Attention weights; every map sums to one.

        Raises
        ------
        ShapeMismatch
            If layers of different grids would have to be averaged.
        """
        check_is_fitted(self)
        layers = self._known_layers(X)
        chosen = self.layers_ if layer is None else [check_option("layer", layer, self.layers_)]
        grids = {self.grids_[name] for name in chosen}
        if len(grids) > 1:
            raise ShapeMismatch(f"layers have different grids, {self.grids_}: choose one with layer=.")
        if by_head and self.n_runs * len(chosen) > 1:
            raise ValueError("by_head=True needs one run and one layer: heads of different networks do not correspond.")
        data = layers[chosen[0]].data
        tensors = isinstance(data, torch.Tensor)
        device = check_device(self.device if not tensors else None, data if tensors else torch.empty(0))
        members = self.members_.to(device)
        shares = torch.from_numpy(self.query_shares()).to(device)  # (runs, layers, Q)
        places = [self.layers_.index(name) for name in chosen]
        shares = shares[:, places] / shares[:, places].sum((0, 1))
        out = []
        with torch.no_grad():
            for start in range(0, len(data), self.batch_size):
                total: Any = 0.0
                for i, name in enumerate(chosen):
                    block = layers[name].read(slice(start, start + self.batch_size), device)
                    check_finite(block)
                    for run in range(len(shares)):
                        model: Any = members[run * len(self.layers_) + places[i]]
                        maps = model.network.routing(model.tokens(block))  # (B, H, Q, T)
                        maps = maps.transpose(1, 2) if by_head else maps.mean(1)  # (B, Q, H, T) or (B, Q, T)
                        total = total + maps * shares[run, i].reshape(-1, *[1] * (maps.ndim - 2))
                out.append(total)
        found = torch.cat(out).unflatten(-1, grids.pop())
        return found if tensors else found.cpu().numpy()
