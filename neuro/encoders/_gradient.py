"""What encoders trained by gradient share: checks, seeded splits, an ensemble over layers and runs, files.

Every run holds out its own part of the stimuli (whole groups), every layer gets its own network. With ``r`` the
validation correlation of a voxel, the ensemble's prediction is ``sum w y`` with

    w[run, layer, voxel] = softmax over layers of (sharpness r) / n_runs,

so that the weights of a voxel sum to one.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neuro._check import check_positive_int
from neuro._files import atomic_path, fingerprint, hash_bytes, read_json, write_json
from neuro._provenance import provenance
from neuro.encoders._ensemble import check_responses, ensemble_weights, hold_out
from neuro.encoders._queries import Queries, resolve_queries
from neuro.encoders._tokens import Tokens, as_layers, check_finite
from neuro.encoders._training import Recipe, Scaled, seed_of, seeded, train
from neuro.errors import CorruptFile, ShapeMismatch
from neuro.linear._arrays import array_of, check_device
from neuro.linear._linear import plain
from neuro.linear._splits import check_groups
from neuro.stats import pearson_r, r2

NOT_SETTINGS = ("epochs", "device", "checkpoint", "baselines", "queries", "n_runs")


class GradientEncoder(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Base of encoders that are trained by gradient on spatial tokens."""

    queries: Any
    grid: Any
    n_runs: int
    sharpness: float
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    decay: float
    decay_every: int
    clip: float
    patience: int
    validation: float
    standardize: bool
    random_state: int | None
    checkpoint: Any
    device: Any

    def _network(self, tokens: Tokens, queries: Queries) -> nn.Module:
        raise NotImplementedError

    def fit(self, X: Any, y: Any, groups: Any = None) -> Any:
        """Train.

        Parameters
        ----------
        X : array or tensor (n_stimuli, n_channels, height, width) or (n_stimuli, n_tokens, n_channels), or a dict
            Spatial tokens without class token, layer by layer if a dict. Memory maps are read batch by batch.
        y : array, tensor or Responses (n_stimuli, n_voxels) or (n_stimuli,)
            Responses.
        groups : array (n_stimuli,), optional
            What must stay together on one side of the split between training and validation: the stimulus of each row
            if rows are single trials. By default the stimuli that ``Responses`` name; for arrays, every row is its own.

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
        recipe = self._recipe()
        layers = as_layers(X, self.grid)
        Y, flat = check_responses(y, layers)
        self.queries_ = resolve_queries(self.queries, y, Y.shape[1])
        codes = check_groups(groups, len(Y), y)
        seed = int(np.random.SeedSequence().generate_state(1)[0]) if self.random_state is None else self.random_state
        first = next(iter(layers.values()))
        device = check_device(self.device, first.data if isinstance(first.data, torch.Tensor) else torch.empty(0))
        folder = None if self.checkpoint is None else Path(self.checkpoint)
        key = self._key(layers, Y, codes, seed)
        members, scores = nn.ModuleList(), []
        self.splits_, self.progress_ = [], []
        for run in range(self.n_runs):
            split = hold_out(len(Y), codes, self.validation, np.random.default_rng([seed, run]))
            self.splits_.append(split)
            for i, (name, tokens) in enumerate(layers.items()):
                model = self._model(tokens, Y, split[0], seed_of(seed, run, i))
                file = None if folder is None else folder / f"run{run}-layer{i}.safetensors"
                part = fingerprint([key, run, name])
                progress, r = train(model, tokens, Y, split, recipe, (seed, run, i), device, file, part)
                members.append(model.requires_grad_(False))
                scores.append(r.numpy())
                self.progress_.append(progress)
        self.layers_ = list(layers)
        self.grids_ = {name: tokens.grid for name, tokens in layers.items()}
        self.channels_ = {name: tokens.n_channels for name, tokens in layers.items()}
        self.members_ = members
        self.validation_r_ = np.stack(scores).reshape(self.n_runs, len(layers), -1)
        self.weights_ = ensemble_weights(self.validation_r_, self.sharpness)
        self.flat_ = flat
        self.provenance_ = provenance(device, seed)
        return self

    def _recipe(self) -> Recipe:
        for name in ("n_runs", "epochs", "batch_size", "decay_every", "patience"):
            check_positive_int(name, getattr(self, name))
        for name in ("learning_rate", "decay", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)!r}.")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation must be a share of the stimuli between 0 and 1, got {self.validation!r}.")
        return Recipe(
            self.epochs,
            self.batch_size,
            self.learning_rate,
            self.weight_decay,
            self.decay,
            self.decay_every,
            self.clip,
            self.patience,
        )

    def _model(self, tokens: Tokens, Y: torch.Tensor, rows: np.ndarray, seed: int) -> Scaled:
        """Return an untrained network between units that only the training rows ``rows`` have set."""
        x_mean, x_scale = tokens.moments(rows)
        if not self.standardize:
            x_mean, x_scale = torch.zeros_like(x_mean), torch.ones_like(x_scale)
        where = torch.from_numpy(rows)
        known = (voxels[where].double() for voxels in Y.split(4096, 1))
        y_mean, y_scale = map(torch.cat, zip(*((y.mean(0), y.std(0, correction=0)) for y in known), strict=True))
        y_scale = torch.where(y_scale <= 1e-6 * y_mean.abs(), 1.0, y_scale)
        with seeded(seed, torch.device("cpu")):
            network = self._network(tokens, self.queries_)
        return Scaled(network, x_mean, x_scale, y_mean, y_scale)

    def _key(self, layers: dict[str, Tokens], Y: torch.Tensor, codes: Any, seed: int) -> str:
        settings = {k: v for k, v in self.get_params().items() if k not in NOT_SETTINGS}
        some = np.unique(np.linspace(0, len(Y) - 1, 32).astype(int))
        data = [hash_bytes(t.read(some).cpu().contiguous().numpy()) for t in layers.values()]
        data += [
            hash_bytes(Y[torch.from_numpy(some)].cpu().contiguous().numpy()),
            Y.sum(0, dtype=torch.float64).cpu().numpy(),
        ]
        member, patterns = self.queries_.member.numpy(), self.queries_.patterns
        asked = [self.queries_.names, member, None if patterns is None else patterns.numpy()]
        settings = {k: v if isinstance(v, (int, float, str, type(None))) else repr(v) for k, v in settings.items()}
        shapes = [list(t.data.shape) for t in layers.values()]
        return fingerprint([type(self).__name__, settings, seed, list(layers), shapes, data, asked, codes])

    def predict(self, X: Any) -> Any:
        """Predict responses.

        Parameters
        ----------
        X : as in ``fit``, of the same layers and grids
            For tensors that require a gradient, the predictions carry it.

        Returns
        -------
        array or tensor (n_stimuli, n_voxels), float32, or (n_stimuli,) if fitted to flat responses
        """
        check_is_fitted(self)
        layers = self._known_layers(X)
        data = next(iter(layers.values())).data
        tensors = isinstance(data, torch.Tensor)
        device = check_device(self.device if not tensors else None, data if tensors else torch.empty(0))
        members = self.members_.to(device)
        weights = torch.from_numpy(self.weights_).to(device)
        follow = tensors and torch.is_grad_enabled() and any(t.data.requires_grad for t in layers.values())
        out = []
        with torch.set_grad_enabled(follow):
            for start in range(0, len(data), self.batch_size):
                rows = slice(start, start + self.batch_size)
                total: Any = 0.0
                for i, tokens in enumerate(layers.values()):
                    block = tokens.read(rows, device)
                    check_finite(block)
                    for run in range(len(weights)):
                        total = total + weights[run, i] * members[run * len(layers) + i](block)
                out.append(total)
        predicted = torch.cat(out)
        predicted = predicted[:, 0] if self.flat_ else predicted
        return predicted if tensors else predicted.cpu().numpy()

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R2, averaged over voxels; constant voxels count as 0."""
        if sample_weight is not None:
            return float(super().score(X, array_of(plain(y, None)), sample_weight))
        return float(np.nan_to_num(array_of(r2(array_of(plain(y, None)), array_of(self.predict(X))))).mean())

    def score_by_voxel(self, X: Any, y: Any) -> np.ndarray:
        """Return the correlation of predictions and responses (n_voxels,); NaN for a constant voxel."""
        return np.atleast_1d(array_of(pearson_r(array_of(plain(y, None)), array_of(self.predict(X)))))

    def _known_layers(self, X: Any) -> dict[str, Tokens]:
        layers = as_layers(X, self.grid)
        if set(layers) != set(self.layers_):
            raise ShapeMismatch(f"X must have the layers {self.layers_}, as in fit; got {list(layers)}.")
        for name, tokens in layers.items():
            tokens.like(name, Tokens(None, self.grids_[name], self.channels_[name]))
        return {name: layers[name] for name in self.layers_}

    def query_shares(self) -> np.ndarray:
        """How much each network of the ensemble counts for each query: (n_runs, n_layers, n_queries), sums to one.

        The mean of ``weights_`` over the voxels that listen to the query.
        """
        shares = [self.weights_[..., self.queries_.voxels(q)].mean(-1) for q in range(len(self.queries_))]
        return np.stack(shares, -1)

    def save(self, folder: Any) -> None:
        """Write the fitted encoder: ``model.safetensors`` and ``model.json``, atomically.

        Everything that ``predict`` needs is inside, scalings included; fitted baselines are not.
        """
        from safetensors.torch import save_file

        check_is_fitted(self)
        tensors = {f"members.{k}": v.cpu().contiguous() for k, v in self.members_.state_dict().items()}
        tensors |= {"weights": torch.from_numpy(self.weights_), "validation_r": torch.from_numpy(self.validation_r_)}
        tensors["queries.member"] = self.queries_.member
        if self.queries_.patterns is not None:
            tensors["queries.patterns"] = self.queries_.patterns
        params = self.get_params() | {"checkpoint": None, "device": None}
        if not isinstance(self.queries, str):
            params["queries"] = None  # as masks, among the tensors
        about = {
            "class": type(self).__name__,
            "params": params,
            "query_names": list(self.queries_.names),
            "layers": self.layers_,
            "grids": self.grids_,
            "channels": self.channels_,
            "flat": self.flat_,
            "provenance": self.provenance_,
        }
        with atomic_path(folder, directory=True) as temporary:
            save_file(tensors, temporary / "model.safetensors")
            write_json(temporary / "model.json", about)

    @classmethod
    def load(cls, folder: Any) -> Any:
        """Read what ``save`` wrote.

        Raises
        ------
        CorruptFile
            If the files do not fit each other, or are those of another class.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        try:
            about, tensors = read_json(folder / "model.json"), load_file(folder / "model.safetensors")
            if about["class"] != cls.__name__:
                raise CorruptFile(f"{folder} holds a {about['class']}, not a {cls.__name__}.")
            queries = Queries(tuple(about["query_names"]), tensors["queries.member"], tensors.get("queries.patterns"))
            params = about["params"]
            if params["queries"] is None:
                params["queries"] = {name: queries.voxels(i) for i, name in enumerate(queries.names)}
            encoder: Any = cls(**params)
            encoder.queries_, encoder.layers_, encoder.flat_ = queries, about["layers"], about["flat"]
            encoder.grids_ = {name: tuple(grid) for name, grid in about["grids"].items()}
            encoder.channels_, encoder.provenance_ = about["channels"], about["provenance"]
            encoder.weights_, encoder.validation_r_ = (tensors[k].numpy() for k in ("weights", "validation_r"))
            members = nn.ModuleList()
            for _ in range(len(encoder.weights_)):
                for name in encoder.layers_:
                    tokens = Tokens(None, encoder.grids_[name], encoder.channels_[name])
                    with seeded(0, torch.device("cpu")):  # leave the caller's random numbers alone
                        network = encoder._network(tokens, queries)
                    c, v = torch.zeros(tokens.n_channels), torch.zeros(queries.n_voxels)
                    members.append(Scaled(network, c, c, v, v))
            members.load_state_dict(
                {k.removeprefix("members."): v for k, v in tensors.items() if k.startswith("members.")}
            )
        except CorruptFile:
            raise
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CorruptFile(f"{folder} does not hold a whole {cls.__name__}: {error}") from error
        encoder.members_ = members.eval().requires_grad_(False)
        return encoder

    def __getstate__(self) -> dict[str, Any]:
        """Return the state on the CPU, so that it loads where the device of the fit is not."""
        state: Any = super().__getstate__()
        if "members_" in state:
            state["members_"] = copy.deepcopy(state["members_"]).cpu()
        return state
