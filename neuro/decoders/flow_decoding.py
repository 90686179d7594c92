"""How did it move? Optical flow decoded from brain responses, on a coarse grid.

Motion at a place is predicted from responses, with features of the first frame beside them: where things are is seen in
the picture, which way they go only in the brain.

    flow (n, H, W, 2) --mean over cells--> (n, gh, gw, 2) ~ f(responses, first-frame features)

f is ridge regression, or a small network, which can multiply what the brain says by what the picture shows. Flow is in
pixels of the full picture per frame, right and down, at every grid size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from neuro._check import check_option, check_positive_int, is_tensor
from neuro._provenance import provenance
from neuro.data import Responses
from neuro.decoders._flow_grid import check_grid, pool_flow, upsample_flow
from neuro.errors import ShapeMismatch, TrainingDiverged
from neuro.linear import RidgeCV
from neuro.linear._splits import check_groups, make_splits

__all__ = ["FlowDecoder", "GatedMLP", "pool_flow", "upsample_flow"]

METHODS = ("ridge", "mlp")


class FlowDecoder(RegressorMixin, BaseEstimator):
    """Responses, and features of the first frame, to optical flow.

    Parameters
    ----------
    grid : (rows, columns)
    method : {"ridge", "mlp"}
    alphas, cv
        Of the ridge, as in :class:`neuro.linear.RidgeCV`. The network validates on the first fold of ``cv``.
    side_weight : float
        Weight of the standardised side features against the standardised responses, both first divided by the square
        root of their number; ridge penalises what is scaled down more.
    width, dropout, epochs, patience, batch_size, learning_rate, weight_decay
        Of the network: one hidden layer of responses times one of the picture, beside their sum; AdamW; the weights of
        the best epoch on validation clips are kept.
    random_state : int
        Of folds, weights and batches.
    device : optional
        Of the network.

    Attributes
    ----------
    mean_flow_ : (rows, columns, 2)
        Of the training clips: a baseline to be told beside any error.
    size_ : (height, width)
        Of the training flow.
    history_ : list of float
        Validation error of the network per epoch, mean squared pixels.
    provenance_ : dict

    References
    ----------
    BrainNRDS (neural representations of dynamic stimuli) regresses flow from fMRI and a first frame; its layers were
    not public, and this design is ours.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> velocity = rng.standard_normal((60, 2))
    >>> flow = np.broadcast_to(velocity[:, None, None], (60, 8, 8, 2))
    >>> x = velocity @ rng.standard_normal((2, 10)) + 0.1 * rng.standard_normal((60, 10))
    >>> decoder = FlowDecoder(grid=(2, 2)).fit(x[:50], flow[:50])
    >>> decoder.predict(x[50:], size=(8, 8)).shape
    (10, 8, 8, 2)
    """

    def __init__(
        self,
        grid: tuple[int, int] = (8, 8),
        method: str = "ridge",
        *,
        alphas: Any = "auto",
        cv: Any = 5,
        side_weight: float = 1.0,
        width: int = 64,
        dropout: float = 0.2,
        epochs: int = 200,
        patience: int = 20,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-2,
        random_state: int = 0,
        device: Any = None,
    ):
        self.grid = grid
        self.method = method
        self.alphas = alphas
        self.cv = cv
        self.side_weight = side_weight
        self.width = width
        self.dropout = dropout
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, flow: Any, frame_features: Any = None, groups: Any = None) -> FlowDecoder:
        """Fit.

        Parameters
        ----------
        X : array or Responses (n, n_voxels)
        flow : array (n, height, width, 2)
            Of full size; it is pooled to the grid.
        frame_features : array (n, n_features), optional
            Of the first frames, any kind.
        groups : array (n,), optional
            The clip of each row if clips recur; kept together in folds.

        Raises
        ------
        ShapeMismatch, ValueError, TrainingDiverged
        """
        check_option("method", self.method, METHODS)
        groups = X.stimulus if groups is None and isinstance(X, Responses) and "stimulus" in X.trials else groups
        brain = _matrix("X", X)
        pooled = np.asarray(pool_flow(_numpy(flow), self.grid), dtype=np.float32)
        side = None if frame_features is None else _matrix("frame_features", frame_features)
        for name, rows in (("flow", pooled), ("frame_features", side)):
            if rows is not None and len(rows) != len(brain):
                raise ShapeMismatch(f"X has {len(brain)} rows, {name} {len(rows)}.")
        self.size_ = tuple(int(v) for v in np.shape(flow)[1:3])
        self.mean_flow_ = pooled.mean(0)
        self.brain_scale_ = _scaling(brain)
        self.side_scale_ = None if side is None else _scaling(side)
        self.n_features_in_ = brain.shape[1]
        inputs, targets = self._inputs(brain, side), pooled.reshape(len(pooled), -1)
        self.history_: list[float] = []
        self.provenance_ = provenance(
            self.device or "cpu", self.random_state, decoder="FlowDecoder", method=self.method, grid=list(self.grid)
        )
        if self.method == "ridge":
            ridge = RidgeCV(self.alphas, self.cv, random_state=self.random_state)
            self.ridge_ = ridge.fit(np.concatenate(inputs, 1), targets, groups=groups)
            return self
        codes = check_groups(groups, len(brain))
        split = make_splits(self.cv, len(brain), codes, self.random_state)[0]
        self._fit_network(inputs, targets, split)
        return self

    def predict(self, X: Any, frame_features: Any = None, size: tuple[int, int] | None = None) -> np.ndarray:
        """Return flow, (n, height, width, 2).

        Parameters
        ----------
        X : array or Responses (n, n_voxels)
        frame_features : array (n, n_features)
            If fitted with some.
        size : (height, width), optional
            By default that of the training flow; ``decoder.grid`` gives the cells themselves.
        """
        check_is_fitted(self)
        brain = _matrix("X", X)
        if brain.shape[1] != self.n_features_in_:
            raise ShapeMismatch(f"fitted to {self.n_features_in_} voxels, got {brain.shape[1]}.")
        if (frame_features is None) != (self.side_scale_ is None):
            raise ShapeMismatch(
                "frame_features must be given to predict if, and only if, they were given to fit; the first frame is "
                "part of what flow is decoded from."
            )
        side = None
        if frame_features is not None and self.side_scale_ is not None:
            side, expected = _matrix("frame_features", frame_features), (len(brain), len(self.side_scale_[0]))
            if side.shape != expected:
                raise ShapeMismatch(f"frame_features must be {expected}, got {side.shape}.")
        inputs = self._inputs(brain, side)
        if self.method == "ridge":
            out = np.asarray(self.ridge_.predict(np.concatenate(inputs, 1)))
        else:
            out = self._run_network(inputs)
        coarse = out.reshape(len(brain), *check_grid(self.grid), 2).astype(np.float32)
        return upsample_flow(coarse, self.size_ if size is None else size)

    def score(self, X: Any, flow: Any, frame_features: Any = None) -> float:
        """Return 1 - EPE / EPE of zero flow, at the resolution of the grid: 0 for a decoder that says nothing moves."""
        truth = np.asarray(pool_flow(_numpy(flow), self.grid), dtype=float)
        said = self.predict(X, frame_features, size=check_grid(self.grid))
        zero = np.linalg.norm(truth, axis=-1).mean()
        return float(1 - np.linalg.norm(said - truth, axis=-1).mean() / zero)

    def _inputs(self, brain: np.ndarray, side: np.ndarray | None) -> list[np.ndarray]:
        parts = [_scaled(brain, self.brain_scale_)]
        if side is not None:
            parts.append(self.side_weight * _scaled(side, self.side_scale_))
        return [p.astype(np.float32) for p in parts]

    def _fit_network(self, inputs: list[np.ndarray], targets: np.ndarray, split: tuple[np.ndarray, np.ndarray]) -> None:
        for name in ("width", "epochs", "patience", "batch_size"):
            check_positive_int(name, getattr(self, name))
        device = torch.device("cpu" if self.device is None else self.device)
        self.flow_scale_ = float(targets.std()) or 1.0
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self.random_state)
            widths = [p.shape[1] for p in inputs]
            network = GatedMLP(widths, self.width, targets.shape[1], self.dropout).to(device)
            data = [torch.from_numpy(p).to(device) for p in inputs]
            wanted = torch.from_numpy(targets / self.flow_scale_).to(device)
            self.network_ = self._train(network, data, wanted, split)

    def _train(self, network: GatedMLP, data: list[Tensor], wanted: Tensor, split: Any) -> GatedMLP:
        rows, held = split[0], torch.from_numpy(split[1]).to(wanted.device)
        optimizer = torch.optim.AdamW(network.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        rng = np.random.default_rng([self.random_state, 2])
        best, best_epoch, state = np.inf, 0, None
        for epoch in range(self.epochs):
            network.train()
            for here in np.array_split(rng.permutation(rows), -(-len(rows) // self.batch_size)):
                at = torch.from_numpy(here).to(wanted.device)
                loss = (network([p[at] for p in data]) - wanted[at]).square().mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            network.eval()
            with torch.no_grad():
                error = float((network([p[held] for p in data]) - wanted[held]).square().mean())
            if not np.isfinite(error):
                raise TrainingDiverged(f"the validation error became {error} in epoch {epoch}. Lower learning_rate.")
            self.history_.append(error * self.flow_scale_**2)
            if error < best:
                best, best_epoch = error, epoch
                state = {k: v.clone() for k, v in network.state_dict().items()}
            elif epoch - best_epoch >= self.patience:
                break
        if state is not None:
            network.load_state_dict(state)
        return network.eval()

    @torch.no_grad()
    def _run_network(self, inputs: list[np.ndarray]) -> np.ndarray:
        device = next(self.network_.parameters()).device
        return self.network_([torch.from_numpy(p).to(device) for p in inputs]).cpu().numpy() * self.flow_scale_


class GatedMLP(nn.Module):
    """``W [h_brain; h_picture; h_brain * h_picture]`` with ``h = GELU(LN(V x))``; without a picture ``W h_brain``."""

    def __init__(self, n_inputs: list[int], width: int, n_outputs: int, dropout: float = 0.2):
        super().__init__()
        self.read = nn.ModuleList(
            nn.Sequential(nn.Linear(n, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout)) for n in n_inputs
        )
        self.write = nn.Linear(width * (3 if len(n_inputs) > 1 else 1), n_outputs)

    def forward(self, parts: list[Tensor]) -> Tensor:
        """One tensor (B, n) per input -> (B, n_outputs)."""
        h = [read(part) for read, part in zip(self.read, parts, strict=True)]
        if len(h) > 1:
            h.append(h[0] * h[1])
        return self.write(torch.cat(h, 1))


def _numpy(x: Any) -> np.ndarray:
    return x.detach().cpu().numpy() if is_tensor(x) else np.asarray(x)


def _matrix(name: str, x: Any) -> np.ndarray:
    x = x.to_numpy() if isinstance(x, Responses) else _numpy(x)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ShapeMismatch(f"{name} must be finite numbers (n, n_columns), got shape {x.shape}.")
    return x


def _scaling(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sd = x.std(0)
    return x.mean(0), np.where(sd > 0, sd, 1.0) * np.sqrt(x.shape[1])


def _scaled(x: np.ndarray, scale: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return (x - scale[0]) / scale[1]
