"""Small networks that compute several independent binary features, some linear in the input, some not.

Every feature has its own input bits (in +-1): "linear" is the first of them, "xor" the product of two, "parity3" of
three... The network must report all features. Which takes up how much of its hidden layer can then be compared with
how well each is computed; both may be steered by when a feature is taught and how often.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, check_positive_int, require

ACTIVATIONS = ("relu", "tanh")
REACHED = 0.95  # accuracy at which a feature counts as learned


@dataclass(frozen=True, eq=False)
class BiasNetwork:
    """A trained network, its test stimuli and the course of its training.

    Parameters
    ----------
    weights : list of (array (n_in, n_out), array (n_out,))
        Of all layers, input to output.
    activation : str
    X : array (n_test, n_bits)
        Test stimuli, which it was not trained on.
    factors : DataFrame (n_test, n_features) of 0 and 1
        The features of the test stimuli; a column per feature.
    history : DataFrame
        step, feature, accuracy (test) and r2 (share of the last hidden layer's variance).
    learned_at : dict feature -> step
        First recorded step, counted from when the feature is taught, with accuracy of 0.95 and ever after; NaN if none.
    settings : dict
    """

    weights: list[tuple[np.ndarray, np.ndarray]]
    activation: str
    X: np.ndarray
    factors: pd.DataFrame
    history: pd.DataFrame
    learned_at: dict[str, float]
    settings: dict[str, Any]

    def hidden(self, X: Any = None) -> list[np.ndarray]:
        """Return the activations of the hidden layers, (n, n_hidden) each."""
        z, out = np.asarray(self.X if X is None else X, float), []
        for W, b in self.weights[:-1]:
            z = z @ W + b
            z = np.tanh(z) if self.activation == "tanh" else np.maximum(z, 0)
            out.append(z)
        return out

    @property
    def Z(self) -> np.ndarray:
        """The last hidden layer for the test stimuli."""
        return self.hidden()[-1]

    def readout(self, Z: Any) -> np.ndarray:
        """Return the outputs (logits) for activations of the last hidden layer, (n, n_features)."""
        W, b = self.weights[-1]
        return np.asarray(Z, float) @ W + b

    def accuracy(self) -> dict[str, float]:
        """Return the share of test stimuli for which each feature is reported correctly."""
        right = (self.readout(self.Z) > 0) == (self.factors.to_numpy() > 0)
        return dict(zip(self.factors.columns, map(float, right.mean(0)), strict=True))


def train_bias_network(
    features: Mapping[str, str] | None = None,
    *,
    start: Mapping[str, int] | None = None,
    prevalence: Mapping[str, float] | None = None,
    n_bits: int = 4,
    n_hidden: int = 64,
    n_layers: int = 3,
    activation: str = "relu",
    steps: int = 1000,
    batch_size: int = 256,
    learning_rate: float = 0.05,
    n_test: int = 512,
    record_every: int = 20,
    rng: int | np.random.Generator | None = None,
) -> BiasNetwork:
    """Train a network on independent binary features of different difficulty.

    Parameters
    ----------
    features : mapping name -> "linear", "xor" or "parityK"
        {"easy": "linear", "hard": "xor"} by default.
    start : mapping name -> step, optional
        From when a feature is taught; 0 by default.
    prevalence : mapping name -> share in (0, 1], optional
        In what share of the training stimuli the feature's answer is given; 1 by default.
    n_bits : int
        Input bits of each feature, whether they matter or not.
    n_hidden, n_layers, activation
        Of the network; "relu" or "tanh".
    steps, batch_size, learning_rate
        Of gradient descent with momentum 0.9, on fresh random stimuli.
    n_test : int
    record_every : int
        Steps between rows of ``history``.
    rng : int or Generator, optional
        All randomness: weights, stimuli, order.

    Returns
    -------
    BiasNetwork

    References
    ----------
    Lampinen, Chan & Hermann (2024), Learned feature representations are biased by complexity, learning order, position,
    and more, TMLR.
    """
    torch = require("torch", "train_bias_network")
    kinds = dict(features or {"easy": "linear", "hard": "xor"})
    orders = {name: _order(kind) for name, kind in kinds.items()}
    check_option("activation", activation, ACTIVATIONS)
    for name, value in (("steps", steps), ("n_bits", n_bits), ("n_hidden", n_hidden), ("n_layers", n_layers)):
        check_positive_int(name, value)
    if max(orders.values()) > n_bits:
        raise ValueError(f"a parity of {max(orders.values())} needs n_bits of at least that, got {n_bits}.")
    begins = np.array([int((start or {}).get(name, 0)) for name in kinds])
    shares = np.array([float((prevalence or {}).get(name, 1.0)) for name in kinds])
    unknown = sorted((set(start or {}) | set(prevalence or {})) - set(kinds))
    if unknown:
        raise ValueError(f"no feature {unknown[0]!r}; the features are {list(kinds)}.")
    if not ((shares > 0) & (shares <= 1)).all():
        raise ValueError(f"prevalence is a share above 0 and at most 1, got {shares.min():g}.")
    rng = as_rng(rng)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        X = rng.choice([-1.0, 1.0], (n, len(kinds) * n_bits))
        bits = X.reshape(n, len(kinds), n_bits)
        Y = np.stack([bits[:, f, :k].prod(1) > 0 for f, k in enumerate(orders.values())], 1)
        return X, Y.astype(float)

    sizes = [len(kinds) * n_bits, *[n_hidden] * n_layers, len(kinds)]
    parameters = []
    for a, b in pairwise(sizes):
        gain = np.sqrt((2.0 if activation == "relu" else 1.0) / a)
        parameters.append([torch.tensor(rng.normal(0, gain, (a, b))), torch.zeros(b, dtype=torch.float64)])
    flat = [p.requires_grad_() for layer in parameters for p in layer]
    optimiser = torch.optim.SGD(flat, lr=learning_rate, momentum=0.9)

    def forward(x: Any) -> tuple[Any, Any]:
        z = x
        for W, b in parameters[:-1]:
            z = z @ W + b
            z = z.tanh() if activation == "tanh" else z.relu()
        return z, z @ parameters[-1][0] + parameters[-1][1]

    X_test, Y_test = draw(n_test)
    x_test = torch.tensor(X_test)
    rows = []
    for step in range(steps + 1):
        if step % record_every == 0 or step == steps:
            with torch.no_grad():
                z, logits = (v.numpy() for v in forward(x_test))
            shares_of_variance = _single_r2(z, Y_test)
            right = ((logits > 0) == (Y_test > 0)).mean(0)
            rows += [
                {"step": step, "feature": name, "accuracy": right[f], "r2": shares_of_variance[f]}
                for f, name in enumerate(kinds)
            ]
        if step == steps:
            break
        X, Y = draw(batch_size)
        given = (rng.random(Y.shape) < shares) & (step >= begins)
        if not given.any():
            continue
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            forward(torch.tensor(X))[1], torch.tensor(Y), weight=torch.tensor(given.astype(float)), reduction="sum"
        )
        optimiser.zero_grad()
        (loss / batch_size).backward()
        optimiser.step()
    history = pd.DataFrame(rows)
    settings = {"features": kinds, "start": dict(start or {}), "prevalence": dict(prevalence or {}), "steps": steps}
    return BiasNetwork(
        [(W.detach().numpy(), b.detach().numpy()) for W, b in parameters],
        activation,
        X_test,
        pd.DataFrame(Y_test.astype(int), columns=list(kinds)),
        history,
        {name: _learned_at(history, name, begin) for name, begin in zip(kinds, begins, strict=True)},
        {**settings, "n_bits": n_bits, "n_hidden": n_hidden, "n_layers": n_layers},
    )


def _order(kind: str) -> int:
    parity = re.fullmatch(r"parity([1-9]\d*)", kind)
    if parity:
        return int(parity[1])
    return {"linear": 1, "xor": 2}[check_option("feature", kind, ["linear", "xor", "parity3"])]


def _single_r2(z: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Share of the variance of z that each column of Y explains alone."""
    z, y = z - z.mean(0), Y - Y.mean(0)
    total = (z**2).sum()
    return ((y.T @ z) ** 2).sum(1) / np.maximum((y**2).sum(0), 1e-300) / max(total, 1e-300)


def _learned_at(history: pd.DataFrame, name: str, begin: int) -> float:
    rows = history[history["feature"] == name]
    low = np.flatnonzero(rows["accuracy"].to_numpy() < REACHED)
    first = low[-1] + 1 if len(low) else 0
    return float(max(rows["step"].to_numpy()[first] - begin, 0)) if first < len(rows) else float("nan")
